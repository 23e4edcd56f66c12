"""What every answer of a journal's ledger goes through: noted, put into the batch of its turn, written, released.

All else that a ledger does, which is rare, is ``journaling``'s.
"""

from collections import deque

from posix.time cimport CLOCK_MONOTONIC, clock_gettime, timespec

from quotelife.errors import JournalError
from quotelife_server import convert


cdef inline int64_t _steady_ns() noexcept nogil:
    cdef timespec now
    clock_gettime(CLOCK_MONOTONIC, &now)
    return <int64_t>now.tv_sec * 1_000_000_000 + now.tv_nsec


cdef class Standing:
    """Does a firm answer still stand that was decided now for ``counterparty``, or has a kill come meanwhile, in force
    still or ended already?"""

    def __init__(self, Engine engine not None, str counterparty not None):
        self.engine = engine
        self.counterparty = counterparty
        self.changes = engine._killed.changes

    def __call__(self, bytes reply not None):
        """Asked of a serialised ``GetExpiryResponse`` just before it leaves."""
        return self.stands(reply)

    cdef bint stands(self, bytes reply) except -1:
        if self.engine._killed.changes == self.changes:
            return True
        return not (self.engine.killed_since(self.changes, self.counterparty) and convert.firm(reply))


cdef class Waiting(Deferred):
    """An answer that waits for its records. A replay has an id and no sequences, an acknowledgement neither."""

    def __init__(self, Turn turn, bytes reply not None, sequences=(), str request_id not None="",
                 bytes digest not None=b"", bytes request not None=b"", stands=None, unanswered=None, *,
                 bint strict=False, bint is_replay=False):
        """``stands`` is asked when it leaves; ``strict``: fails where it cannot be recorded; ``is_replay``: its ``ledger``
        hears when it leaves."""
        self.turn = turn
        self.reply = reply
        self.sequences = sequences
        self.request_id = request_id
        self.digest = digest
        self.request = request
        self.stands = stands
        self.unanswered = unanswered
        self.strict = strict
        self.is_replay = is_replay

    @property
    def sequences(self):
        """Input sequences of its decisions, a list or tuple."""
        if self.sequence:
            return (self.sequence,)
        return () if self._sequences is None else self._sequences

    @sequences.setter
    def sequences(self, values):
        self.sequence = values[0] if len(values) == 1 else 0
        self._sequences = None if self.sequence else values

    cpdef bytes leaving(self):
        """Raises also where a kill has come that it must not outlive."""
        reply = self.outcome
        if type(reply) is not bytes:
            return Deferred.leaving(self)
        if (
            (<Standing>self.stands).stands(<bytes>reply) if type(self.stands) is Standing
            else self.stands is None or self.stands(reply)
        ):
            if self.is_replay and self.ledger is not None:
                self.ledger.replayed(self)
            return <bytes>reply
        if self.ledger is not None:
            self.ledger.taken_back(self)
        self.outcome = convert.killed_meanwhile()
        raise self.outcome


cdef class Batch:
    """Answers of one turn of the event loop."""

    def __cinit__(self, hasten=None):
        self.turn = Turn(hasten)
        self.waiting = []

    cpdef int release(self) except -1:
        """They are where they were to be."""
        cdef Waiting each
        for each in self.waiting:
            if each.outcome is None:       # as ``resolve``, without its call
                each.outcome = each.reply
                if each.callback is not None:
                    tell_outcome(each.callback, each.reply)
        self.turn.over()
        return 0


cdef class JournalFigures:
    """Counters for status and metrics. ``commits``: how long writes took, by ``bounds_ns``."""

    def __init__(self, bounds_ns):
        self.commits = Latencies(bounds_ns)

    @property
    def commit_counts(self):
        return self.commits.counts

    @property
    def commit_sum_ns(self):
        return self.commits.sum_ns


cdef class Outgoing:
    """``fault``: why the journal takes no records now, empty while it does."""

    def __cinit__(self):
        self._hasten = self._commit_scheduled
        self._batch = Batch(self._hasten)
        self._held = deque()
        self._after_write = []
        self._segment = -1

    def check(self):
        """Raises ``RpcError`` while nothing may be decided or changed."""
        self.may_decide()

    cdef int may_decide(self) except -1:
        if self._refuses and (self.fault or self._writer.no_room()):
            self._refuse()
        return 0

    cdef bint may_have(self, str request_id, int64_t now_ns) except -1:
        # Whether there is a reply to the id, as far as memory tells: false is certain.
        return self._replies.has(request_id, now_ns) or self._index.may_have(request_id)

    def take(self, Waiting waiting not None, int64_t now_ns):
        """Note an answer. It leaves once its record is as safe as the configuration says, or can never be written."""
        self.hold(waiting, now_ns)
        return waiting

    cdef int hold(self, Waiting waiting, int64_t now_ns) except -1:
        # ``take``.
        waiting.ledger = self
        waiting.turn = self._batch.turn
        waiting.turn.is_long = self._syncs
        if self.fault or (not self._refuses and self._writer.no_room()) or not self.note(waiting):
            self._not_taken(waiting, now_ns)
            return 0
        if waiting.request_id:
            self._replies.keep(waiting.request_id, waiting.digest, waiting.reply, now_ns)
        self._batch.waiting.append(waiting)
        return self.commit_soon()

    def _note(self, Waiting waiting not None):
        return self.note(waiting)

    cdef bint note(self, Waiting waiting) except -1:
        # False where its record, or that of one of its decisions, has found no room.
        if waiting.sequence:
            return self._writer.answer_one(
                waiting.sequence, waiting.request_id, waiting.digest, waiting.request, waiting.reply)
        try:
            self._writer.answer(waiting.sequences, waiting.request_id.encode(), waiting.digest, waiting.request,
                                waiting.reply)
        except JournalError:
            return False
        return True

    # --- commit ---------------------------------------------------------------------------------------------------

    def _commit_soon(self):
        self.commit_soon()

    cdef int commit_soon(self) except -1:
        if not self._scheduled:
            self._scheduled = True
            self._call_soon(self._hasten)
        return 0

    def _commit_scheduled(self):
        if self._scheduled:                # or the turn has been hastened to its end
            self.commit()

    def _commit(self):
        self.commit()

    cdef int commit(self) except -1:
        cdef list calls
        self._scheduled = False
        try:
            if not self.fault:             # ``tick`` tries again, not every turn
                self.write()
        finally:
            if self._after_write:
                calls = self._after_write
                self._after_write = []
                for call in calls:
                    tell(call)
        return 0

    cdef int write(self) except -1:
        cdef JournalWriter writer = self._writer
        cdef Batch batch = self._batch
        cdef uint64_t number, size, left
        cdef int64_t started_ns
        if self._served_last:
            self._say_gap()
        if batch.waiting:
            batch.number = writer.next_number - 1
            self._held.append(batch)
            self._batch = Batch(self._hasten)
        size = writer.pending()
        started_ns = _steady_ns()
        try:
            number = writer.commit(False)
        except JournalError as error:
            self._fail(error)
            return 0
        left = writer.pending()
        if left < size:
            self.figures.bytes += size - left
        self.figures.commits.observe(_steady_ns() - started_ns)
        if not self._syncs:
            self.release(number)
        if self._held or (left and writer.holds_back()) or (self._syncs and number > writer.durable_number):
            self._work()
        if <int64_t>writer.segment != self._segment:
            self._segment = writer.segment
            self._segment_began()
        return 0

    def _release(self, uint64_t number):
        self.release(number)

    cdef int release(self, uint64_t number) except -1:
        # Answers whose records are as safe as the configuration says up to ``number``.
        held = self._held
        while held and (<Batch>held[0]).number <= number:
            (<Batch>held.popleft()).release()
        return 0
