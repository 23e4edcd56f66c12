"""What every answer of a journal's ledger goes through: noted, put into the batch of its turn, released.

All else that a ledger does, rare or once a turn, is ``journaling``'s.
"""

from quotelife.errors import JournalError
from quotelife_server import convert


cdef class Standing:
    """Does a firm answer still stand that was decided now for ``counterparty``, or has a kill come meanwhile, in force
    still or ended already?"""

    def __init__(self, engine, str counterparty not None):
        self.engine = engine
        self.counterparty = counterparty
        self.changes = engine.kill_changes

    def __call__(self, bytes reply not None):
        """Asked of a serialised ``GetExpiryResponse`` just before it leaves."""
        cdef uint64_t changes = self.engine.kill_changes
        if changes == self.changes:
            return True
        return not (self.engine.killed_since(self.changes, self.counterparty) and convert.firm(reply))


cdef class Waiting(Deferred):
    """An answer that waits for its records. A replay has an id and no sequences, an acknowledgement neither."""

    def __init__(self, Turn turn, bytes reply not None, sequences=(), str request_id not None="",
                 bytes digest not None=b"", bytes request not None=b"", stands=None, unanswered=None, *,
                 bint strict=False):
        """``stands`` is asked when it leaves; ``strict``: fails where it cannot be recorded."""
        self.turn = turn
        self.reply = reply
        self.sequences = sequences
        self.request_id = request_id
        self.digest = digest
        self.request = request
        self.stands = stands
        self.unanswered = unanswered
        self.strict = strict

    cpdef bytes leaving(self):
        """Raises also where a kill has come that it must not outlive."""
        reply = self.outcome
        if type(reply) is not bytes:
            return Deferred.leaving(self)
        if self.stands is not None and not self.stands(reply):
            if self.ledger is not None:
                self.ledger.taken_back(self)
            self.outcome = convert.killed_meanwhile()
            raise self.outcome
        return reply


cdef class Batch:
    """Answers of one turn of the event loop."""

    def __cinit__(self):
        self.turn = Turn()
        self.waiting = []

    def release(self):
        """They are where they were to be."""
        cdef Waiting each
        for each in self.waiting:
            if each.outcome is None:       # as ``resolve``, without its call
                each.outcome = each.reply
                if each.callback is not None:
                    each.callback(each.reply)
        self.turn.over()


cdef class Outgoing:
    """``fault``: why the journal takes no records now, empty while it does."""

    cpdef int check(self) except -1:
        """Raises ``RpcError`` while nothing may be decided or changed."""
        if self._refuses and (self.fault or self._writer.no_room()):
            self._refuse()
        return 0

    cdef bint may_have(self, str request_id, int64_t now_ns) except -1:
        """Whether there is a reply to the id, as far as memory tells: false is certain."""
        return self._replies.has(request_id, now_ns) or self._index.may_have(request_id)

    cpdef Waiting take(self, Waiting waiting, int64_t now_ns):
        """Note an answer. It leaves once its record is as safe as the configuration says, or can never be written."""
        waiting.ledger = self
        waiting.turn = self._batch.turn
        if self.fault or (not self._refuses and self._writer.no_room()) or not self._note(waiting):
            self._not_taken(waiting, now_ns)
            return waiting
        if waiting.request_id:
            self._replies.keep(waiting.request_id, waiting.digest, waiting.reply, now_ns)
        self._batch.waiting.append(waiting)
        if not self._scheduled:
            self._commit_soon()
        return waiting

    cpdef bint _note(self, Waiting waiting) except -1:
        # False where its record, or that of one of its decisions, has found no room.
        try:
            self._writer.answer(waiting.sequences, waiting.request_id.encode(), waiting.digest, waiting.request,
                                waiting.reply)
        except JournalError:
            return False
        return True
