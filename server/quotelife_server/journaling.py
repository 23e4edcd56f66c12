"""No answer leaves before its records: group commit, durability, and what happens while the journal fails.

Life of an answer. A handler decides and hands the reply to ``JournalLedger.answer``. Everything that one turn of
the event loop brought is one batch, and is written with one write: first in the next turn, before new input is looked
at, or as soon as nothing seems to join it (``Turn.end_soon``). With ``process-crash`` that releases its
answers; with ``power-loss`` a worker thread syncs what has been written, and each sync releases every batch that it
covers: while one runs, the next collects. Signals, overrides, reloads and kills are acknowledged in the same way.
Syncs, sidecars, copies of models and the mending of a journal are the worker threads', never the loop's. A look for an
answer that memory no longer has reads on it.

When the disk does not take a batch, or what it took is found removed or changed, the answers under way are taken back
(``refuse``) or leave marked (``serve-unjournaled``), and ``tick`` tries again until the journal is whole.
"""

import contextlib
import errno
from collections.abc import Callable, Sequence
from typing import NoReturn

from quotelife.engine import Engine
from quotelife.errors import JournalError
from quotelife.inputs import InputSink
from quotelife.journal.decisions import Decided
from quotelife.journal.index import first_numbers, load_sidecar, scan_stored, segment_names, stop_numbers
from quotelife.journal.records import Answer
from quotelife.journal.recovery import recover, retain, unnamed_models
from quotelife.journal.storage import DirectoryStorage, Storage
from quotelife.journal.writer import JournalWriter
from quotelife.units import NS_PER_S, NS_PER_US
from quotelife_server import convert
from quotelife_server.alerts import JOURNAL_LOSES, Alerts
from quotelife_server.deferred import tell
from quotelife_server.ledger import Stands
from quotelife_server.log import get_logger
from quotelife_server.outgoing import Batch, JournalFigures, Outgoing, Waiting
from quotelife_server.reply_store import ReplyStore
from quotelife_server.rpc import Code, Deferred, RpcError
from quotelife_server.settings import Server

RETRY_NS = NS_PER_S
CHECK_NS = NS_PER_S  # how often the files being written are compared with what their names lead to
PROBE_NS = (
    2 * NS_PER_S
)  # a journal at rest is tried this often, so that a full disk is known before it is needed
TIDY_NS = 60 * NS_PER_S
LOSS_ALERT_NS = 60 * NS_PER_S
MAKE_ROOM_NS = 5 * NS_PER_S  # while the disk refuses, what is past keeping is removed so often
UNREADABLE_SAID_NS = NS_PER_S
BEGAN_MARGIN_NS = (
    NS_PER_S  # the first answers in a segment may be so much older than the tick before it was seen
)
PAUSE_S = 0.001  # between pieces of a segment that a worker reads or removes
PROBE = "probe.tmp"
PROBE_BYTES = 4096
COMMIT_BOUNDS_NS = tuple(
    us * NS_PER_US for us in (5, 10, 20, 50, 100, 200, 500, 1_000, 5_000, 20_000, 100_000)
)

_log = get_logger(__name__)


class OpenJournal:
    """A journal's folder taken for this process: what the runs before left is recovered, and writing goes on."""

    def __init__(
        self, server: Server, engine: Engine, boot_id: str, now_ns: int, sinks: Sequence[InputSink] = ()
    ) -> None:
        """Restores overrides, kills and signals into the fresh ``engine`` and notes its inputs from here on,
        beside ``sinks``.

        Raises ``JournalError`` when another process writes there, the journal is damaged or its disk refuses.
        """
        self.settings = settings = server.journal
        assert settings.directory is not None
        self.answers_ns = server.replies.age_max_ns
        try:
            self.storage = DirectoryStorage(settings.directory)
        except JournalError as error:  # another process has it
            raise JournalError(f"server.journal.directory: {error}") from None
        except OSError as error:
            raise cannot_begin(settings.directory, error) from error
        try:
            self.recovered = recover(self.storage, now_ns, self.answers_ns)
            self.writer = JournalWriter(
                self.storage,
                boot_id=boot_id,
                segment_bytes=settings.segment_bytes,
                buffer_bytes=settings.buffer_bytes,
                power_loss=settings.durability == "power-loss",
                next_number=self.recovered.next_number,
                segment=self.recovered.segment,
            )
            self.writer.begin(engine, now_ns, self.recovered.state)
            engine.record_to(*sinks, self.writer)
            left_out = self.recovered.state.restore(engine, now_ns)
        except OSError as error:
            self.storage.close()
            raise cannot_begin(settings.directory, error) from error
        except BaseException:
            self.storage.close()
            raise
        for line in (*self.recovered.mended, *left_out):
            _log.warning("journal at start", what=line)

    def close(self) -> None:
        self.storage.close()


class EarlierAnswers:
    """Answers that have left memory or never were in it: in segments to which nothing is appended any more."""

    def __init__(self, journal: OpenJournal) -> None:
        self._journal = journal
        self._index = journal.recovered.answers
        self._decisions = journal.recovered.decisions
        self.indexed_segment = journal.recovered.segment
        self._models_named: dict[str, frozenset[str]] = {}
        self._without_sidecar: set[str] = set()
        self.unreadable = 0
        self._said_ns = 0

    def take_back(self, sequences: Sequence[int]) -> None:
        """These answers of this boot were never sent."""
        self._index.take_back(self._journal.writer.boot_id, sequences)

    def find(self, request_id: str, now_ns: int) -> Answer | None:
        """The newest answer that was not taken back. Raises ``RpcError`` when it was given and cannot be read."""
        try:
            return self._index.find(request_id.encode(), now_ns - self._journal.answers_ns)
        except (JournalError, OSError) as error:
            self._say_unreadable(now_ns, error, request_id=request_id)
            raise RpcError(
                Code.DATA_LOSS, "request_id: was answered, and the answer cannot be read back; use a new id"
            ) from None

    def decided(self, decision_id: str, now_ns: int) -> Decided | None:
        """The answer with that decision. Raises ``RpcError`` when it was given and cannot be read."""
        try:
            return self._decisions.find(decision_id, now_ns - self._journal.answers_ns)
        except (JournalError, OSError) as error:
            self._say_unreadable(now_ns, error, decision_id=decision_id)
            raise RpcError(
                Code.DATA_LOSS, "decision_id: was answered, and the answer cannot be read back"
            ) from None

    def _say_unreadable(self, now_ns: int, error: Exception, **what: str) -> None:
        self.unreadable += 1
        if now_ns - self._said_ns >= UNREADABLE_SAID_NS:  # a client retries as often as it likes
            self._said_ns = now_ns
            _log.error(
                "an answer that was given cannot be read back",
                error=str(error),
                since_start=self.unreadable,
                **what,
            )

    def index_closed(self, now_ns: int, current: int) -> None:
        """Take in the segments that have been closed since and have been given their sidecars; ``current`` was the one
        being written when that began. Any one thread."""
        storage = self._journal.storage
        names = segment_names(storage)
        stops = stop_numbers(first_numbers(storage, names))
        since_ns = now_ns - self._journal.answers_ns
        for (number, name), stop in zip(names, stops, strict=True):
            again = name in self._without_sidecar
            if not again and not self.indexed_segment < number < current:
                continue
            index = load_sidecar(storage, name, pause_s=PAUSE_S)
            if index is not None:
                self._decisions.add(index, since_ns)
                self._without_sidecar.discard(name)
            if again:
                continue
            if index is None:
                # The disk refused it; or left unsealed after a failed write, the segment ends where a later one begins.
                self._without_sidecar.add(name)
                try:
                    index = scan_stored(storage, name, stop, pause_s=PAUSE_S)
                except JournalError as error:
                    _log.error("a segment cannot be read", segment=storage.where(name), error=str(error))
                    continue
            self._index.add(index, since_ns, pause_s=PAUSE_S)
        self.indexed_segment = max(self.indexed_segment, current - 1)

    def remove_old(self, now_ns: int) -> None:
        """Remove what is past keeping. Any one thread."""
        settings, storage, writer = self._journal.settings, self._journal.storage, self._journal.writer
        retain(
            storage,
            now_ns,
            age_ns=settings.keep_ns,
            total_bytes=settings.keep_bytes or 0,
            held_from=writer.first_held,
            abandoned=writer.take_abandoned(),
            answers_ns=self._journal.answers_ns,
            removing=self._forget,
            pause_s=PAUSE_S,
        )
        for digest in unnamed_models(storage, writer.models, self._models_named):
            writer.remove_model(digest)

    def _forget(self, segment: str) -> None:
        self._without_sidecar.discard(segment)
        self._index.forget(segment)
        self._decisions.forget(segment)


class JournalLedger(Outgoing):
    """A ``Ledger`` whose answers leave once their records are as safe as the configuration says."""

    def __init__(
        self,
        journal: "OpenJournal",
        replies: ReplyStore,
        *,
        now_ns: Callable[[], int],
        call_soon: Callable[[Callable[[], None]], object],
        in_thread: Callable[[Callable[[], int], Callable[[int | BaseException], None]], None],
        on_change: Callable[[], None] = lambda: None,
    ) -> None:
        """``call_soon`` runs something first in the next turn; ``in_thread`` runs its first argument in a worker
        thread (four may be needed at a time) and then, back in the loop, its second with what came of it;
        ``on_change`` is told when ``fault`` comes and when it goes.
        """
        writer, settings = journal.writer, journal.settings
        self._journal = journal
        self._writer = writer
        self._storage = journal.storage
        self._replies = replies
        self._now_ns = now_ns
        self._call_soon = call_soon
        self._in_thread = in_thread
        self._on_change = on_change
        self._refuses = settings.on_failure == "refuse"
        self.durability = settings.durability
        self._syncs = settings.durability == "power-loss"
        self._working = False
        self._probing = False
        self._tidying = False
        self._writing_behind = False
        self._tried_ns = self._checked_ns = now_ns()
        self._earlier = EarlierAnswers(journal)
        self._index = journal.recovered.answers
        self._segment_began_ns: dict[int, int] = {}
        self._ticked_ns = self._tidied_ns = now_ns()
        self._segments = len(segment_names(journal.storage))
        replies.held_from_ns = self._ticked_ns
        self.fault = ""
        self.failing_since_ns = 0
        self.figures = JournalFigures(COMMIT_BOUNDS_NS)

    @property
    def records(self) -> int:
        """Written since start."""
        return self._writer.committed_number - self._journal.recovered.next_number + 1

    @property
    def shadows_lost(self) -> int:
        """Answers of shadows that found no room in the buffer."""
        return self._writer.shadows_lost

    @property
    def labels_lost(self) -> int:
        """Resolved labels that found no room in the buffer."""
        return self._writer.labels_lost

    @property
    def watches_lost(self) -> int:
        """Words on live quotes that found no room in the buffer."""
        return self._writer.watches_lost

    @property
    def inputs_lost(self) -> int:
        """Inputs that found no room in the buffer."""
        return self._writer.lost

    @property
    def failures(self) -> int:
        return self._writer.failures

    @property
    def unreadable(self) -> int:
        """Retries of answers that were given and could not be read back."""
        return self._earlier.unreadable

    @property
    def segments(self) -> int:
        """On disk, as of the last time finished ones were put away."""
        return self._segments

    @property
    def failing_text(self) -> str:
        """For people: what is wrong, and what it means meanwhile."""
        meanwhile = (
            "nothing is decided until it can be written" if self._refuses else "answers leave unjournaled"
        )
        return f"the journal cannot be written: {self.fault}; {meanwhile}"

    @property
    def refusing(self) -> bool:
        return self._refuses and bool(self.fault)

    def begin(self, call_soon: Callable[[Callable[[], None]], object] | None = None) -> None:
        """Write what the start brought, before anything is answered. A disk that refuses is a ``fault`` like any.
        ``call_soon``: that of the event loop itself, known by now, in place of the one given at first."""
        if call_soon is not None:
            self._call_soon = call_soon
        try:
            self._writer.prepare()
        except JournalError as error:
            self._fail(error)
        self._commit()

    # --- answers ----------------------------------------------------------------------------------------------

    def _refuse(self) -> NoReturn:
        self.figures.refused += 1
        raise cannot_be_written()

    def find(self, request_id: str, now_ns: int) -> tuple[bytes, bytes] | None:
        found = self._replies.find(request_id, now_ns)
        if found is not None:
            return found
        answer = self._earlier.find(request_id, now_ns)
        if answer is None:
            return None
        self._replies.keep(request_id, answer.digest, answer.reply, answer.now_ns)
        return answer.digest, answer.reply

    def decided(self, decision_id: str, now_ns: int) -> Decided | None:
        return self._earlier.decided(decision_id, now_ns)

    def recalled_counted(self) -> Sequence[str]:
        return self._journal.recovered.state.counted()

    def answer(
        self,
        sequences: Sequence[int],
        request_id: str,
        digest: bytes,
        request: bytes,
        reply: bytes,
        now_ns: int,
        stands: Stands | None = None,
        unanswered: Callable[[], None] | None = None,
    ) -> Deferred:
        return self.take(
            Waiting(None, reply, sequences, request_id, digest, request, stands, unanswered), now_ns
        )

    def _not_taken(self, waiting: Waiting, now_ns: int) -> None:
        """Under a fault, or there was no room for its record."""
        if self._refuses:
            self._take_back([waiting])  # decided before the fault, complete only now
        else:
            waiting.resolve(self._without_record(waiting, now_ns))

    def replay(self, request_id: str, reply: bytes, stands: Stands) -> Deferred:
        waiting = Waiting(self._batch.turn, reply, (), request_id, stands=stands, is_replay=True)
        waiting.ledger = self
        if self._batch.waiting or self._held:
            waits = (each for batch in (*self._held, self._batch) for each in batch.waiting)
            first = next((each for each in waits if each.sequences and each.request_id == request_id), None)
            if first is not None:
                waiting.stands = first.stands  # a kill since the decision, not since the retry
            return self._after_commit(waiting)
        waiting.resolve(reply)
        return waiting

    def acknowledge(self, reply: bytes) -> bytes | Deferred:
        if not self.fault:
            return self._after_commit(Waiting(self._batch.turn, reply))
        if self._refuses:
            raise in_force_unrecorded()
        return reply

    def check_recording(self) -> None:
        if self.fault or self._writer.full:
            raise cannot_be_written()

    def recorded(self) -> Deferred:
        waiting = Waiting(self._batch.turn, b"", strict=True)
        if self.fault:
            waiting.resolve(cannot_be_written())
            return waiting
        return self._after_commit(waiting)

    def after_write(self, call: Callable[[], None]) -> None:
        if self.fault:
            self._call_soon(call)
            return
        self._after_write.append(call)
        self._commit_soon()

    def taken_back(self, waiting: Waiting) -> None:
        """A kill came before the answer could leave: it was recorded, and nobody has seen it, unless a retry has."""
        if waiting.sequences and not self._replies.was_replayed(waiting.request_id):
            self._writer.refuse(waiting.sequences)
            self._earlier.take_back(waiting.sequences)
            if waiting.request_id:
                self._replies.forget(waiting.request_id)

    def replayed(self, waiting: Waiting) -> None:
        """The stored reply leaves. Whoever asked first may not have it yet; it counts as given all the same."""
        self._replies.note_replay(waiting.request_id)

    def _after_commit(self, waiting: Waiting) -> Deferred:
        self._batch.waiting.append(waiting)
        self._commit_soon()
        return waiting

    # --- commit -----------------------------------------------------------------------------------------------

    def _segment_began(self) -> None:
        """Another segment than before is under way."""
        if self._writer.segment not in self._segment_began_ns:
            self._segment_began_ns[self._writer.segment] = self._ticked_ns - BEGAN_MARGIN_NS
            self._tidy(self._now_ns())

    def _say_gap(self) -> None:
        """Tell the journal of answers that left and found no room in it, once there is some."""
        if self._served_last and not self._writer.full:
            self._writer.gap(
                self._served_first, self._served_last, "answers left that found no room in the journal"
            )
            self._served_first = self._served_last = 0

    def _work(self) -> None:
        """What answers wait for and only a device can do."""
        if not self._working:
            self._working = True
            self._in_thread(self._writer.sync if self._syncs else self._writer.prepare, self._worked)

    def _worked(self, outcome: int | BaseException) -> None:
        self._working = False
        if isinstance(outcome, BaseException):
            self._fail(outcome)
            return
        self._release(outcome)
        if self._writer.pending_bytes:
            self._commit()
        elif self._held:
            self._work()

    # --- failure and recovery ---------------------------------------------------------------------------------

    def tick(self, now_ns: int) -> None:
        """Several times a second: commit what nobody waits for, look after the disk, put finished segments away."""
        if self.fault:
            if now_ns - self._tried_ns >= RETRY_NS and not self._working:
                self._tried_ns = now_ns
                if now_ns - self._tidied_ns >= MAKE_ROOM_NS and not self._tidying:
                    self._make_room(now_ns)
                else:
                    self._try_again()
            return
        if now_ns - self._checked_ns >= CHECK_NS:
            self._checked_ns = now_ns
            try:
                self._writer.check()
            except (JournalError, OSError) as error:
                self._fail(error)
                return
        if self._writer.pending_bytes or self._served_last:
            self._tried_ns = now_ns
            self._commit_soon()
        elif now_ns - self._tried_ns >= PROBE_NS and not self._probing:
            self._tried_ns = now_ns
            self._probing = True
            self._in_thread(lambda: probe(self._storage), self._probed)
        if now_ns - self._tidied_ns >= (RETRY_NS if self._writer.unfinished else TIDY_NS):
            self._tidy(now_ns)
        if self._writer.behind_due and not self._writing_behind:
            self._writing_behind = True
            self._in_thread(lambda: self._writer.write_behind(PAUSE_S), self._written_behind)
        self._ticked_ns = now_ns

    def _written_behind(self, outcome: int | BaseException) -> None:
        self._writing_behind = False
        if isinstance(outcome, BaseException):
            _log.error("records could not be handed to the device", exc_info=outcome)

    def _probed(self, outcome: int | BaseException) -> None:
        self._probing = False
        if isinstance(outcome, BaseException) and not self.fault:
            self._fail(outcome)

    def _tidy(self, now_ns: int) -> None:
        """Index segments that were closed, remove those past keeping."""
        if self._tidying:
            return
        self._tidying = True
        self._tidied_ns = now_ns

        def tidy() -> int:
            current = self._writer.segment  # what is closed from here on gets its sidecar the next time
            self._writer.finish_segments(PAUSE_S)
            self._earlier.index_closed(now_ns, current)
            self._earlier.remove_old(now_ns)
            return len(segment_names(self._storage))

        self._in_thread(tidy, self._tidied)

    def _tidied(self, outcome: int | BaseException) -> None:
        self._tidying = False
        if isinstance(outcome, BaseException):
            _log.error("segments of the journal could not be put away", exc_info=outcome)
            return
        self._segments = outcome
        for number in [n for n in self._segment_began_ns if n <= self._earlier.indexed_segment]:
            del self._segment_began_ns[number]
        self._segment = -1
        self._replies.held_from_ns = min(self._segment_began_ns.values(), default=self._ticked_ns)

    def _make_room(self, now_ns: int) -> None:
        """Remove what is past keeping, a full disk may take records then, and try again."""
        self._working = self._tidying = True
        self._tidied_ns = now_ns

        def remove() -> int:
            self._storage.hold()  # in a folder that is another's by now nothing is this one's to remove
            self._earlier.remove_old(now_ns)
            return len(segment_names(self._storage))

        def removed(outcome: int | BaseException) -> None:
            self._tidied(outcome)
            self._try_again()

        self._in_thread(remove, removed)

    def _try_again(self) -> None:
        self._working = True

        def mend() -> int:
            self._writer.mend()
            return probe(self._storage)

        self._in_thread(mend, self._mended)

    def _mended(self, outcome: int | BaseException) -> None:
        self._working = False
        if isinstance(outcome, BaseException):
            self.fault = str(outcome)
            return
        # What was written again lies in a segment of a later number: memory keeps its answers for as long.
        if self._segment_began_ns:
            self._segment_began_ns.setdefault(self._writer.segment, min(self._segment_began_ns.values()))
        try:
            self._writer.commit(wait=False)
        except JournalError as error:
            self.fault = str(error)
            return
        if self._syncs:
            self._working = True
            self._in_thread(self._writer.sync, self._synced_again)
        else:
            self._recover()

    def _synced_again(self, outcome: int | BaseException) -> None:
        self._working = False
        if isinstance(outcome, BaseException):
            self.fault = str(outcome)
        else:
            self._recover()

    def _recover(self) -> None:
        self.fault = ""
        self._commit_soon()
        _log.warning(
            "the journal takes records again",
            failed_for_s=(self._now_ns() - self.failing_since_ns) / NS_PER_S,
            refused=self.figures.refused,
            unjournaled=self.figures.unjournaled,
        )
        self._on_change()

    def _fail(self, error: BaseException) -> None:
        batches = [*self._held, self._batch]
        waiting = [each for batch in batches for each in batch.waiting]
        self._held.clear()
        self._batch = Batch(self._hasten)
        news = not self.fault
        self.fault = str(error) or type(error).__name__
        if news:
            self.failing_since_ns = self._tried_ns = self._now_ns()
            tell(self._on_change)
        if self._refuses:
            self._take_back(waiting)
        else:
            self._release_marked(waiting)
        for batch in batches:
            batch.turn.over()

    def _take_back(self, waiting: Sequence[Waiting]) -> None:
        """Nobody has seen these answers and nobody will: a retry is decided anew."""
        for each in waiting:
            if each.sequences:
                self._writer.refuse(each.sequences)
                self._earlier.take_back(each.sequences)
                self.figures.refused += 1
                if each.request_id:
                    self._replies.forget(each.request_id)
        for each in waiting:
            if each.unanswered is not None:
                tell(each.unanswered)
            if each.sequences:
                each.resolve(cannot_be_written())
            elif each.request_id:
                kept = self._replies.find(each.request_id, self._now_ns())
                each.resolve(cannot_be_written() if kept is None else kept[1])
            elif each.strict:
                each.resolve(cannot_be_written())
            else:
                each.resolve(in_force_unrecorded())

    def _release_marked(self, waiting: Sequence[Waiting]) -> None:
        for each in waiting:
            if each.sequences:
                each.resolve(self._without_record(each, self._now_ns()))
            elif each.request_id:
                kept = self._replies.find(each.request_id, self._now_ns())
                each.resolve(each.reply if kept is None else kept[1])
            elif each.strict:
                each.resolve(cannot_be_written())
            else:
                each.resolve(each.reply)

    def _without_record(self, waiting: Waiting, now_ns: int) -> bytes:
        """The reply as it leaves before its record. The record waits for the disk to come back and counts instead of
        one noted earlier; where there is no room for it, a gap will be told of."""
        waiting.reply = convert.unjournaled(waiting.reply)
        self.figures.unjournaled += 1
        if (self._writer.full or not self._note(waiting)) and waiting.sequences:
            self._served_first = self._served_first or waiting.sequences[0]
            self._served_last = waiting.sequences[-1]
        if waiting.request_id:
            self._replies.keep(waiting.request_id, waiting.digest, waiting.reply, now_ns)
        return waiting.reply

    # --- end --------------------------------------------------------------------------------------------------

    def close(self) -> None:
        """Commit, seal, sync: nothing may be in a worker thread any more. Answers still waiting are settled."""
        batches = [*self._held, self._batch]
        try:
            if self._served_last:
                self._writer.commit()
                self._say_gap()
            self._writer.close()
        except (JournalError, OSError) as error:
            self._fail(error)
        else:
            for batch in batches:
                batch.release()
        finally:
            self._journal.close()


class Losses:
    """An alert for ``LOSS_ALERT_NS`` after records have found no room in the journal's buffer."""

    def __init__(self, ledger: JournalLedger, alerts: Alerts) -> None:
        self._ledger = ledger
        self._alerts = alerts
        self._known = (0, 0, 0, 0)
        self._until_ns = 0

    def check(self, now_ns: int) -> None:
        ledger = self._ledger
        counts = (ledger.inputs_lost, ledger.watches_lost, ledger.labels_lost, ledger.shadows_lost)
        if counts != self._known:
            self._known = counts
            self._until_ns = now_ns + LOSS_ALERT_NS
        if now_ns < self._until_ns:
            named = zip(
                counts, ("inputs", "words on live quotes", "labels", "answers of shadows"), strict=True
            )
            text = ", ".join(f"{count:,} {what}" for count, what in named if count)
            self._alerts.raise_(
                JOURNAL_LOSES,
                f"found no room in the journal's buffer since start: {text}; "
                "raise server.journal.buffer_bytes, or see to the disk",
                now_ns,
            )
        else:
            self._alerts.clear(JOURNAL_LOSES, now_ns)


def probe(storage: Storage) -> int:
    """Write a small file and remove it; 0. Raises ``OSError`` when the disk does not take it."""
    with contextlib.suppress(FileNotFoundError):
        storage.remove(PROBE)
    file = storage.create(PROBE)
    try:
        if file.write(memoryview(bytes(PROBE_BYTES))) < PROBE_BYTES:
            raise OSError("no room is left")
    finally:
        file.close()
        storage.remove(PROBE)
    return 0


def cannot_begin(directory: str, error: OSError) -> JournalError:
    where = (
        error.filename if isinstance(error.filename, str) and error.filename.startswith("/") else directory
    )
    mend = {
        errno.ENOSPC: "make room there, or set server.journal.keep_bytes",
        errno.EDQUOT: "make room there, or set server.journal.keep_bytes",
        errno.EROFS: "mount it for writing",
        errno.EACCES: "make the folder and its files the service's own",
        errno.EPERM: "make the folder and its files the service's own",
        errno.EEXIST: "that is a file",
        errno.ENOTDIR: "that is a file",
    }.get(error.errno or 0, "see to the disk")
    return JournalError(
        f"server.journal.directory: {where}: {error.strerror or error}: the journal cannot be made ready to go on; "
        f"{mend}, or name another folder"
    )


def cannot_be_written() -> RpcError:
    return RpcError(Code.UNAVAILABLE, "the journal cannot be written", (convert.retry_info(RETRY_NS),))


def in_force_unrecorded() -> RpcError:
    """Of a change that the engine has taken and the journal has not."""
    return RpcError(
        Code.UNAVAILABLE,
        "the journal cannot be written: the change is in force and will be recorded once it can be",
        (convert.retry_info(RETRY_NS),),
    )
