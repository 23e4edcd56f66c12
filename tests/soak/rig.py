"""The service against simulated venues with faults at random: what it knows is held against what the venues know.

From message to message: a book that the engine calls GOOD has the digest that the venue's own had after the same
message. At checkpoints faults end, every instrument must be GOOD again in bounded time, the market stands still, and
whole books are compared, entry by entry, with the engine's best prices and number of orders beside them.
"""

import asyncio
import json
import random
import time
from collections import Counter, deque
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any

from quotelife.records import EventBuffer, EventKindCode, QualityCode
from quotelife.units import NS_PER_S
from quotelife_server.app import Application, open_feeds
from quotelife_server.feeds.base import Feed, Sink
from reference.event_books import rows
from soak.books import Received
from soak.venues import Handler

RECOVERY_S = 60.0
"""Within so long after the last fault everything must be GOOD: many times the longest wait of any feed."""
STANDS_S = 1.5
TURN_S = 0.05  # longer between two looks was not our doing
SETTLE_S = 0.3
PROGRESS_S = 10.0
ENGINE_FAILS = 0.03  # of all faults: what the feed hands on is refused, and it must begin anew
LOOK_S = 0.5
ROWS_KEPT = 60
BOOK_KINDS = {int(kind) for kind in EventKindCode if kind not in (EventKindCode.TRADE, EventKindCode.QUOTE)}


class SoakFailure(AssertionError):
    """A book that did not become what it must be."""


class Patience:
    """So many seconds in which this process ran: a machine that gave it no turn has not been waited for."""

    def __init__(self, seconds: float) -> None:
        self._left_s = seconds
        self._seen_s = time.monotonic()

    def over(self) -> bool:
        now_s = time.monotonic()
        self._left_s -= min(now_s - self._seen_s, TURN_S)
        self._seen_s = now_s
        return self._left_s < 0


class Watched:
    """One handler, its feed, its instruments in the engine, and what has been found of it."""

    def __init__(self, handler: Handler, first: int, rng: random.Random) -> None:
        self.handler = handler
        self.rng = rng
        self.indices = range(first, first + len(handler.symbols))
        self.received = [Received(handler.order_level) for _ in handler.symbols]
        self.recent: list[deque[Any]] = [deque(maxlen=ROWS_KEPT) for _ in handler.symbols]
        self.feed: Feed | None = None
        self.faults: Counter[str] = Counter()
        self.fails = False  # the engine refuses the next events
        self.events = 0
        self.compared = 0
        self.checkpoints = 0
        self.retries = 0
        self.wrong: list[str] = []
        self.recovery_s = 0.0
        self.outdated_s = 0.0

    @property
    def name(self) -> str:
        return self.handler.name


class Rig:
    """The service with one feed for each handler; ``tell`` gets a line of figures now and then."""

    def __init__(
        self, handlers: Iterable[Handler], seed: int, folder: Path, tell: Callable[[dict[str, Any]], None]
    ) -> None:
        self.seed = seed
        self.watched: list[Watched] = []
        self.by_index: list[tuple[Watched, int]] = []
        self._folder = folder
        self._tell = tell
        self._began_s = time.monotonic()
        for handler in handlers:
            each = Watched(handler, len(self.by_index), random.Random(f"{seed}-{handler.name}"))
            self.watched.append(each)
            self.by_index += [(each, at) for at in range(len(handler.symbols))]
        self.app: Application

    # The service.

    async def start(self) -> None:
        feeds = []
        for number, each in enumerate(self.watched):
            own = await each.handler.start(self.seed + number)
            instruments = [entry["name"] for entry in each.handler.instruments()]
            feeds.append({"name": each.name, "instruments": instruments} | own)
        written = {
            "version": 1,
            "instruments": [entry for each in self.watched for entry in each.handler.instruments()],
            "feeds": feeds,
            "server": {
                "address": "127.0.0.1:0",
                "metrics_address": "127.0.0.1:0",
                "drain": {"notice": "0ns"},
                "log_level": "error",
            },
        }
        path = self._folder / "config.yaml"
        path.write_text(json.dumps(written), encoding="utf-8")

        def opened(config: Any, instruments: Any, clock: Any, sink: Sink, greeks: Any) -> Sequence[Feed]:
            return open_feeds(config, instruments, clock, self._behind(sink), greeks)

        self.app = Application(path, open_feeds=opened)
        for each, feed in zip(self.watched, self.app.feeds, strict=True):
            each.feed = feed
        await self.app.start()

    async def stop(self) -> None:
        await self.app.drain()
        for each in self.watched:
            await each.handler.stop()

    def _behind(self, sink: Sink) -> Sink:
        def both(buffer: EventBuffer) -> None:
            told = rows(buffer)
            if told and told[0].instrument < len(self.by_index):
                each, _ = self.by_index[told[0].instrument]
                if each.fails:
                    each.fails = False
                    raise RuntimeError("the engine fails, as a soak has it")
            sink(buffer)
            self._hear(told)

        return both

    # From message to message.

    def _hear(self, told: Sequence[Any]) -> None:
        touched: dict[int, None] = {}
        for row in told:
            if row.instrument >= len(self.by_index):
                continue
            each, at = self.by_index[row.instrument]
            each.events += 1
            try:
                each.received[at].apply(row)
            except KeyError:
                self._found_wrong(each, at, f"an order that is not there: {row}")
            if row.kind in BOOK_KINDS:
                touched[row.instrument] = None
                each.recent[at].append(row)
        for index in touched:
            self._judge(index)

    def quality(self, index: int) -> QualityCode:
        return QualityCode(self.app.engine.instrument_status(index, self.app.engine.now_ns).quality)

    def _judge(self, index: int) -> None:
        each, at = self.by_index[index]
        received = each.received[at]
        if self.quality(index) is not QualityCode.GOOD:
            return
        if not received.whole or received.row is None:
            self._found_wrong(each, at, "GOOD, though its book is not whole")
        elif received.ended:
            each.compared += 1
            key = each.handler.key(received.row)
            if not each.handler.truths[at].was(received.book.digest, key):
                self._found_wrong(each, at, f"GOOD, but not what the venue's book was at {key}")

    def _found_wrong(self, each: Watched, at: int, what: str) -> None:
        each.wrong.append(f"{each.handler.symbols[at]}: {what}")
        if len(each.wrong) <= 3:
            self._tell(
                {"handler": each.name, "wrong": each.wrong[-1], "rows": [str(row) for row in each.recent[at]]}
            )

    # Faults and checkpoints.

    async def run(
        self, seconds: float, between_s: tuple[float, float], pause_s: tuple[float, float]
    ) -> dict[str, str]:
        """Soak all handlers at once; what was found, by handler, empty when nothing was.

        ``between_s``: from checkpoint to checkpoint; ``pause_s``: from fault to fault.
        """
        await self.start()
        for each in self.watched:
            self._tell(self.figures(each))
        looking = asyncio.create_task(self._look())
        try:
            results = await asyncio.gather(
                *(self._soak(each, seconds, between_s, pause_s) for each in self.watched),
                return_exceptions=True,
            )
        finally:
            looking.cancel()
            ended = await asyncio.gather(looking, return_exceptions=True)
            for each in self.watched:
                self._tell(self.figures(each) | {"done": True})
            await self.stop()
        found = {
            each.name: str(result)
            for each, result in zip(self.watched, results, strict=True)
            if isinstance(result, BaseException)
        }
        found |= {each.name: each.wrong[0] for each in self.watched if each.wrong}
        if not isinstance(ended[0], asyncio.CancelledError):
            found["watching"] = repr(ended[0])
        return found

    async def _soak(
        self, each: Watched, seconds: float, between_s: tuple[float, float], pause_s: tuple[float, float]
    ) -> None:
        rng = each.rng
        end_s = time.monotonic() + seconds
        try:
            await self._until(lambda: self._good(each), each, "never became GOOD", Patience(RECOVERY_S))
            while time.monotonic() < end_s:
                stretch_s = min(end_s, time.monotonic() + rng.uniform(*between_s))
                while time.monotonic() < stretch_s:
                    self._hit(each)
                    await asyncio.sleep(rng.uniform(*pause_s))
                await self._checkpoint(each)
        except Exception as error:
            self._tell({"handler": each.name, "failed": f"{type(error).__name__}: {error}"})
            raise

    def _hit(self, each: Watched) -> None:
        if each.rng.random() < ENGINE_FAILS:
            each.fails = True
            each.faults["engine"] += 1
        else:
            each.faults[each.handler.hit(each.rng)] += 1

    async def _checkpoint(self, each: Watched) -> None:
        handler = each.handler
        each.fails = False
        await handler.calm()
        began_s = time.monotonic()
        patience = Patience(RECOVERY_S)
        await self._until(lambda: self._good(each), each, "did not become GOOD again", patience)
        each.recovery_s = max(each.recovery_s, time.monotonic() - began_s)
        while True:
            await asyncio.sleep(SETTLE_S)  # what was lost last shows with the message after it
            await self._until(lambda: self._good(each), each, "did not stay GOOD", patience)
            await handler.freeze()
            try:
                # A market that stands still for long is silence to a feed: then it goes on, and we try again.
                stands_s = time.monotonic() + STANDS_S
                different = self._differences(each)
                while different and not patience.over() and time.monotonic() < stands_s:
                    await asyncio.sleep(0.01)
                    different = self._differences(each)
                if not different:
                    break
                if patience.over():
                    raise SoakFailure(f"{each.name} is not the venue's book: {different}")
                each.retries += 1
            finally:
                handler.thaw()
        each.checkpoints += 1

    def _good(self, each: Watched) -> bool:
        return all(self.quality(index) is QualityCode.GOOD for index in each.indices)

    def _differences(self, each: Watched) -> list[str]:
        out = []
        for at, index in enumerate(each.indices):
            received, truth, symbol = each.received[at], each.handler.truths[at], each.handler.symbols[at]
            if self.quality(index) is not QualityCode.GOOD:
                out.append(f"{symbol} is {self.quality(index).name}")
            if received.book.all != truth.book.all:
                missing = dict(truth.book.all.items() - received.book.all.items())
                extra = dict(received.book.all.items() - truth.book.all.items())
                out.append(
                    f"{symbol}: {len(missing)} missing, {len(extra)} too many: {missing} {extra}"[:600]
                )
            best = tuple(self.app.engine.level_top(index)[1:])
            status = self.app.engine.instrument_status(index, self.app.engine.now_ns)
            shown = (status.bid_ticks, status.bid_lots, status.ask_ticks, status.ask_lots)
            if not best == shown == truth.book.top(each.handler.order_level):
                out.append(f"{symbol}: the engine's best prices are {best}, with quotes {shown}")
            if each.handler.order_level and status.orders != len(truth.book.all):
                out.append(f"{symbol}: the engine holds {status.orders} orders of {len(truth.book.all)}")
        return out

    async def _until(self, holds: Callable[[], bool], each: Watched, what: str, patience: Patience) -> None:
        while not holds():
            if patience.over():
                raise SoakFailure(f"{each.name} {what}: {self._differences(each)}, {self.figures(each)}")
            await asyncio.sleep(0.01)

    async def _look(self) -> None:
        """Best prices against the received book, how old a GOOD book may be, and progress."""
        told_s = time.monotonic()
        while True:
            await asyncio.sleep(LOOK_S)
            now_s = time.monotonic()
            for index, (each, at) in enumerate(self.by_index):
                received = each.received[at]
                if not received.whole or not received.ended or received.row is None:
                    continue
                best = tuple(self.app.engine.level_top(index)[1:])
                own = received.book.top(each.handler.order_level)
                if self.quality(index) is QualityCode.GOOD:
                    if best != own:
                        self._found_wrong(
                            each, at, f"the engine's best prices are {best}, received were {own}"
                        )
                    truth = each.handler.truths[at]
                    age_s = truth.outdated_s(each.handler.key(received.row), now_s)
                    each.outdated_s = max(each.outdated_s, age_s)
            if now_s - told_s >= PROGRESS_S:
                told_s = now_s
                for each in self.watched:
                    self._tell(self.figures(each))

    def figures(self, each: Watched) -> dict[str, Any]:
        engine = self.app.engine
        now_ns = engine.now_ns
        not_good_ns = 0
        for index in each.indices:
            status = engine.instrument_status(index, now_ns)
            not_good_ns += sum(status.quality_ns) - status.quality_ns[QualityCode.GOOD]
        assert each.feed is not None
        counters = each.feed.figures().counters
        return {
            "t": round(time.monotonic() - self._began_s, 1),
            "handler": each.name,
            "events": each.events,
            "faults": sum(each.faults.values()),
            "disconnects": counters.get("reconnects", 0),
            "snapshots": sum(received.snapshots for received in each.received),
            "gaps": sum(received.gaps for received in each.received),
            "checkpoints": each.checkpoints,
            "retries": each.retries,
            "compared": each.compared,
            "wrong": len(each.wrong),
            "not_good_s": round(not_good_ns / NS_PER_S / len(each.indices), 1),
            "recovery_max_s": round(each.recovery_s, 2),
            "outdated_max_s": round(each.outdated_s, 2),
            "cpu_s": round(time.process_time(), 1),
            "kinds": dict(each.faults),
            "counters": dict(counters),
        }
