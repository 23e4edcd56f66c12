"""Handlers over a real engine with quotes watched; turns of the event loop and its timers are made by hand."""

import heapq
from collections import deque
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from quote_expiry.v1 import quote_expiry_service_pb2 as expiry
from quotelife.engine import Engine
from quotelife.records import EventBuffer, EventFlags, EventKindCode, SideCode
from quotelife_server.alerts import Alerts
from quotelife_server.handlers import Service, State
from quotelife_server.ledger import NoJournal
from quotelife_server.rpc import CallContext, Deferred, RpcError, Stream, StreamHandler
from quotelife_server.watching import Ear
from reference.service_kit import CONFIG, Kit

WATCH = "/quote_expiry.v1.QuoteExpiryService/WatchQuotes"


class HandSchedule:
    """A loop without a loop."""

    def __init__(self, now_ns: Callable[[], int]) -> None:
        self._now_ns = now_ns
        self._soon: deque[Callable[[], None]] = deque()
        self._timers: list[tuple[int, int, _Timer]] = []
        self._made = 0

    def soon(self, call: Callable[[], None]) -> object:
        self._soon.append(call)
        return None

    def later(self, delay_s: float, call: Callable[[], None]) -> "_Timer":
        timer = _Timer(call)
        self._made += 1
        heapq.heappush(self._timers, (self._now_ns() + round(delay_s * 1e9), self._made, timer))
        return timer

    def turn(self) -> None:
        for _ in range(len(self._soon)):
            self._soon.popleft()()

    def settle(self) -> None:
        while self._soon:
            self.turn()

    def due(self, until_ns: int) -> Iterator[int]:
        """Times of the timers until then, each called when the next is asked for."""
        while self._timers and self._timers[0][0] <= until_ns:
            at_ns, _, timer = heapq.heappop(self._timers)
            yield at_ns
            timer.run()
            self.settle()


class _Timer:
    def __init__(self, call: Callable[[], None]) -> None:
        self._call: Callable[[], None] | None = call

    def cancel(self) -> None:
        self._call = None

    def run(self) -> None:
        if self._call is not None:
            self._call()


class Watcher:
    """A client's end of a stream, which reads whenever something is there unless it is ``stalled``."""

    def __init__(self) -> None:
        self.said: list[expiry.WatchQuotesResponse] = []
        self.writes = 0
        self.finished: list[RpcError | None] = []
        self.stalled = False
        self._waiting: deque[bytes | Callable[[], bytes]] = deque()
        self.handler: StreamHandler | None = None

    def send(self, payload: bytes | Callable[[], bytes]) -> None:
        if not self.finished:
            self._waiting.append(payload)

    def finish(self, error: RpcError | None = None) -> None:
        self.finished.append(error)

    def pull(self) -> None:
        """As a transport does: what waits is written, as long as the client reads."""
        while self._waiting and not self.stalled:
            payload = self._waiting.popleft()
            message = expiry.WatchQuotesResponse.FromString(
                payload if isinstance(payload, bytes) else payload()
            )
            self.writes += 1
            self.said += message.batch.messages if message.HasField("batch") else [message]

    def read(self) -> list[expiry.WatchQuotesResponse]:
        """What has come since the last call."""
        self.pull()
        said, self.said = self.said, []
        return [each for each in said if each.WhichOneof("message")]

    def kinds(self) -> list[str]:
        return [str(each.WhichOneof("message")) for each in self.read() if not each.HasField("heartbeat")]

    def say(self, **message: Any) -> Deferred | None:
        """Raises what the service ends the stream with, if this does."""
        assert self.handler is not None
        ended = len(self.finished)
        done = self.handler.on_message(expiry.WatchQuotesRequest(**message).SerializeToString())
        for error in self.finished[ended:]:
            if error is not None:
                raise error
        return done


class WatchKit(Kit):
    """``advance`` lets time pass: timers fire, and what they bring is done."""

    def __init__(
        self,
        folder: Path,
        *,
        text: str = CONFIG,
        queue_max: int = 65_536,
        before: Callable[[Engine, int], None] = lambda engine, now_ns: None,
        **more: Any,
    ) -> None:
        """``before``: what the engine has taken, and when, before the service begins, as after a restart."""
        super().__init__(folder, text=text, **more)
        before(self.engine, self.clock.now_ns())
        self.schedule = HandSchedule(self.clock.now_ns)
        self.ear = Ear()
        self.alerts = Alerts()
        self.engine.record_to(self.ear.tap)
        first = self.service
        self.service = Service(
            self.engine,
            self.clock,
            boot_id="b00t",
            metrics=first.metrics,
            replies=first.replies,
            in_flight=first.in_flight,
            retry_delay_ns=first.retry_delay_ns,
            ledger=NoJournal(first.replies, self.schedule.soon),
            ear=self.ear,
            schedule=self.schedule,
            alerts=self.alerts,
            watch_queue_max=queue_max,
        )
        self.service.set_state(State.SERVING)
        self.watching = self.service.watching
        self.watching.begin()
        self._buffer = EventBuffer(64)

    def connect(self) -> Watcher:
        entry = self.service.methods[WATCH]
        assert isinstance(entry, Stream)
        watcher = Watcher()
        watcher.handler = self.service.open_stream(entry, watcher, CallContext(WATCH))
        return watcher

    def open(self, owner: str = "oms", **fields: Any) -> Watcher:
        watcher = self.connect()
        watcher.say(open=expiry.WatchOpen(owner=owner, **fields))
        return watcher

    def register(self, watcher: Watcher, name: str, **fields: Any) -> expiry.GetExpiryResponse:
        reply = self.get(**fields)
        watcher.say(register=expiry.WatchRegister(quote_id=name, decision_id=reply.decision_id))
        return reply

    def advance(self, ns: int, *, beat: Watcher | None = None) -> None:
        """``beat``: is heard at every timer, and reads. The market stays as it is."""
        until_ns = self.clock.now_ns() + ns
        for at_ns in self.schedule.due(until_ns):
            self.clock.set_ns(max(at_ns, self.clock.now_ns()))
            self.fresh()
            if beat is not None and not beat.finished:
                beat.say(heartbeat=expiry.WatchHeartbeat(at_utc_ns=at_ns))
                beat.pull()
        self.clock.set_ns(until_ns)
        self.schedule.settle()

    def move(self, instrument: int, ticks: int) -> None:
        """Both best prices of an instrument move by so many ticks, in one message."""
        bid, ask = self._top(instrument)
        self._levels(instrument, bid, ask, ticks)

    def fresh(self) -> None:
        """The venue lives, and nothing has changed."""
        for instrument in range(3):
            bid, ask = self._top(instrument)
            self._levels(instrument, bid, ask, 0)

    def _levels(self, instrument: int, bid: int, ask: int, ticks: int) -> None:
        gone = [(SideCode.BID, price) for price in range(bid, bid + ticks, -1)]
        gone += [(SideCode.ASK, price) for price in range(ask, ask + ticks)]
        levels = [(side, price, 0) for side, price in gone]
        levels += [(SideCode.BID, bid + ticks, 1000), (SideCode.ASK, ask + ticks, 1000)]
        for place, (side, price, lots) in enumerate(levels):
            self._buffer.append(
                EventKindCode.LEVEL,
                instrument=instrument,
                side=side,
                receive_ns=self.clock.now_ns(),
                price_ticks=price,
                size_lots=lots,
                flags=EventFlags.LAST if place == len(levels) - 1 else 0,
                sequence=10**6,
            )
        self.engine.on_events(self._buffer)
        self._buffer.clear()

    def _top(self, instrument: int) -> tuple[int, int]:
        status = self.engine.instrument_status(instrument, self.clock.now_ns())
        return status.bid_ticks, status.ask_ticks
