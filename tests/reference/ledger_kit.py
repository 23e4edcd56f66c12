"""Handlers over a real engine and a real journal; turns of the event loop are made by hand."""

from collections import deque
from collections.abc import Callable
from pathlib import Path
from typing import Any
from unittest.mock import patch

from quote_expiry.v1 import quote_expiry_service_pb2 as expiry
from quotelife.engine import Engine
from quotelife.journal.reader import Journal
from quotelife_server.handlers import Service, State
from quotelife_server.in_flight import InFlight
from quotelife_server.journaling import JournalLedger, OpenJournal
from quotelife_server.metrics import Metrics
from quotelife_server.reply_store import ReplyStore
from quotelife_server.rpc import CallContext, Deferred, RpcError, Unary
from quotelife_server.settings import JournalSettings
from quotelife_server.watching import Ear
from reference.faulty_storage import FaultyStorage
from reference.service_kit import GET_EXPIRY, MS, T0, Kit, Market, S
from reference.watch_kit import HandSchedule


class Call:
    """One call: ``outcome`` is ``None`` until it has been answered."""

    def __init__(self, answer: bytes | Deferred | RpcError) -> None:
        self.outcome: bytes | BaseException | None = None
        self._answer = answer
        if isinstance(answer, Deferred):
            answer.then(self._resolved)
        else:
            self.outcome = answer

    def _resolved(self, _: bytes | BaseException) -> None:
        """As a transport does, it lets the answer leave at once."""
        assert self.outcome is None
        assert isinstance(self._answer, Deferred)
        try:
            self.outcome = self._answer.leaving()
        except Exception as error:
            self.outcome = error

    @property
    def reply(self) -> bytes:
        assert isinstance(self.outcome, bytes), self.outcome
        return self.outcome

    @property
    def error(self) -> RpcError:
        assert isinstance(self.outcome, RpcError), self.outcome
        return self.outcome

    @property
    def expiry(self) -> expiry.GetExpiryResponse:
        return expiry.GetExpiryResponse.FromString(self.reply)


class JournalKit(Kit):
    """``turn`` ends a turn of the loop, ``work`` lets the worker thread do one thing."""

    def __init__(self, folder: Path, **settings: Any) -> None:
        super().__init__(folder)
        self.folder = folder / "journal"
        self._settings = settings
        self._boots = 0
        self._start()

    def restart(self, *, replies_bytes: int = 2**23) -> None:
        """Another process on the same journal. The one before is left as a kill leaves it, but for the lock."""
        self.storage.close()
        self.engine = Engine(self.config, start_ns=self.clock.now_ns())
        self.clock.set_ns(Market(self.engine).run(self.clock.now_ns(), 20.0))
        self._start(replies_bytes)

    def _start(self, replies_bytes: int = 2**23) -> None:
        self._boots += 1
        journal_settings = JournalSettings(directory=str(self.folder), **self._settings)
        server = self.config.server.model_copy(update={"journal": journal_settings})
        self.soon: deque[Callable[[], None]] = deque()
        self.thread: deque[tuple[Callable[[], int], Callable[[int | BaseException], None]]] = deque()
        with patch("quotelife_server.journaling.DirectoryStorage", FaultyStorage):
            ear = Ear()
            self.journal = OpenJournal(
                server, self.engine, f"b00t{self._boots}", self.clock.now_ns(), [ear.tap]
            )
        storage = self.journal.storage
        assert isinstance(storage, FaultyStorage)
        self.storage = storage
        replies = ReplyStore(replies_bytes, 24 * 3600 * S)
        self.ledger = JournalLedger(
            self.journal,
            replies,
            now_ns=self.clock.now_ns,
            call_soon=self.soon.append,
            in_thread=lambda work, done: self.thread.append((work, done)),
            on_change=lambda: self.service.judge_health(),
        )
        self.service = Service(
            self.engine,
            self.clock,
            boot_id=self.journal.writer.boot_id,
            metrics=Metrics(),
            replies=replies,
            in_flight=InFlight(256),
            retry_delay_ns=20 * MS,
            ledger=self.ledger,
            ear=ear,
            schedule=HandSchedule(self.clock.now_ns),
        )
        self.service.set_state(State.SERVING)
        self.ledger.begin()
        self.work_off()

    def turn(self) -> None:
        for _ in range(len(self.soon)):
            self.soon.popleft()()

    def work(self, meanwhile: Callable[[], None] = lambda: None) -> None:
        """``meanwhile`` happens in the loop after the thread is through and before the loop hears of it."""
        work, done = self.thread.popleft()
        try:
            outcome: int | BaseException = work()
        except Exception as error:
            outcome = error
        meanwhile()
        done(outcome)

    def work_off(self) -> None:
        while self.soon or self.thread:
            self.turn()
            if self.thread:
                self.work()

    def pass_time(self, seconds: float) -> None:
        """The clock moves on, and what the application does ten times a second is done."""
        for _ in range(round(seconds * 10)):
            self.clock.set_ns(self.clock.now_ns() + 100 * MS)
            self.ledger.tick(self.clock.now_ns())
            self.work_off()

    def send(self, method: str, payload: bytes) -> Call:
        entry = self.service.methods[method]
        assert isinstance(entry, Unary)
        try:
            return Call(self.service.unary(entry, payload, CallContext(method)))
        except RpcError as error:
            return Call(error)

    def ask(self, **fields: Any) -> Call:
        return self.send(GET_EXPIRY, self.payload(**fields))

    def read(self) -> Journal:
        return Journal(self.folder)


__all__ = ["T0", "Call", "JournalKit"]
