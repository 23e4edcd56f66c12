"""Feeds whose gaps are judged by a timer: random losses on simulated time, a few more through real sockets.

A hole shows with the first frame that says of something later that it was sent. From then on the books must be GAPPED
within 5 ms, the next answer a DECLINE, and nothing may be GAPPED that is only late. When it shows is kept here by the
plainest means, apart from the receivers: by number, when it came and when anything first spoke of it.
"""

import asyncio
import heapq
import random
import socket
import time
from collections.abc import Callable
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
import structlog
import uvloop

from quotelife.book.quality import QualityCause
from quotelife.config import load_config
from quotelife.engine import Engine
from quotelife.feed.binary import BinaryDecoder
from quotelife.feed.itch import ItchDecoder
from quotelife.feed.mold import MoldReceiver
from quotelife.records import (
    DecisionCode,
    DecisionRecord,
    EventBuffer,
    QualityCode,
    ReasonFlags,
    RequestRecord,
)
from quotelife.sim.itch_wire import ItchMarket, ItchSymbol, mold_packet
from quotelife_client.binary import BinaryEncoder, record
from quotelife_client.types import BookSide, EventKind
from quotelife_server.feeds.binary import BinaryFeed
from quotelife_server.feeds.itch import ItchFeed
from quotelife_server.feeds.settings import BinaryFeedConfig, ItchFeedConfig
from quotelife_server.simvenue.itch import ItchVenue

MS = 1_000_000
BOUND_NS = 5 * MS
LOOK_NS = MS  # how often a feed looks at an open hole
OPEN_NS = 34_200_000 * MS
RECOVERED_NS = (8 * MS, 20 * MS)
NAMES = ("AAA", "BBB")


def engine_of(folder: Path, *, order_level: bool) -> Engine:
    path = folder / "config.yaml"
    path.write_text(
        "version: 1\ninstruments:\n"
        + "".join(
            f"  - {{name: {name}, venue: v, symbol: {name}, tick_size: 0.01, lot_size: 1, warmup: 0s, "
            f"order_level: {str(order_level).lower()}}}\n"
            for name in NAMES
        ),
        encoding="utf-8",
    )
    return Engine(load_config(path))


class Shown:
    """By number: when it came, and when anything said that it had been sent."""

    def __init__(self) -> None:
        self.first = 1  # the first number that has not come
        self.came: set[int] = set()
        self.told: dict[int, int] = {}  # number → when a frame with it, or a heartbeat behind it, first came

    def forget(self, before: int) -> None:
        """No number before this one is missed any more."""
        self.first = max(self.first, before)
        self.came = {number for number in self.came if number >= self.first}
        self.told = {number: at for number, at in self.told.items() if number >= self.first}
        self._go_on()

    def frame(self, first: int, end: int, now_ns: int) -> None:
        self.came.update(range(first, end))
        self.heartbeat(end, now_ns)
        self._go_on()

    def _go_on(self) -> None:
        while self.first in self.came:
            self.came.discard(self.first)
            self.told.pop(self.first, None)
            self.first += 1

    def heartbeat(self, end: int, now_ns: int) -> None:
        if end > self.first:
            self.told.setdefault(end - 1, now_ns)

    def hole_since_ns(self) -> int | None:
        return min((at for number, at in self.told.items() if number >= self.first), default=None)


class Simulation:
    """Time, what is on its way, and an engine; checked after every step."""

    def __init__(self, engine: Engine, seed: int) -> None:
        self.engine = engine
        self.rng = random.Random(seed)
        self.now_ns = OPEN_NS
        self.shown = Shown()
        self.gone: set[int] = set()  # numbers that no line brought
        self.flagged = self.mended = 0
        self.latest_ns = 0  # from shown to GAPPED, at most
        self._on_the_way: list[tuple[int, int, Callable[[], None]]] = []
        self._count = 0
        self._was_gapped = False
        self._hole = 0  # the number whose loss was flagged

    def at(self, when_ns: int, what: Callable[[], None]) -> None:
        self._count += 1
        heapq.heappush(self._on_the_way, (when_ns, self._count, what))

    def run(self, until_ns: int) -> None:
        while self._on_the_way and self._on_the_way[0][0] <= until_ns:
            self.now_ns, _, what = heapq.heappop(self._on_the_way)
            self.check()
            what()
            self.check()
        self.now_ns = until_ns

    def quality(self, index: int = 0) -> QualityCode:
        return QualityCode(self.engine.instrument_status(index, self.now_ns).quality)

    def check(self) -> None:
        since_ns = self.shown.hole_since_ns()
        gapped = self.quality() is QualityCode.GAPPED
        assert gapped or since_ns is None or self.now_ns - since_ns <= BOUND_NS, "a hole older than the bound"
        if gapped and not self._was_gapped:
            assert self.shown.first in self.gone, "it was only late"
            assert since_ns is not None
            self.latest_ns = max(self.latest_ns, self.now_ns - since_ns)
            self._hole = self.shown.first
            self.flagged += 1
            self.ask()
        elif self._was_gapped and not gapped:
            assert self.shown.first > self._hole, "whole while it is missing"
            self.mended += 1
        self._was_gapped = gapped

    def go(
        self, *, gaps: int, steps: int = 1_000_000, bursts: tuple[int, int] = (1, 30), most_apart_ns: int = MS
    ) -> None:
        """Until so many gaps were mended, or so many steps made; between bursts the books equal the venue's."""
        while self.mended < gaps and steps > 0:
            for _ in range(self.rng.randrange(*bursts)):
                self.step()
                steps -= 1
                self.run(self.now_ns + self.rng.randrange(most_apart_ns // 20, most_apart_ns))
            self.heartbeat()
            end_ns = self.now_ns + 2000 * MS
            self.run(self.now_ns + 10 * MS)
            while self.quality() is not QualityCode.GOOD:
                assert self.now_ns < end_ns
                self.run(self.now_ns + 20 * MS)
            assert self.shown.hole_since_ns() is None
            for i in range(len(NAMES)):
                assert tuple(self.engine.level_top(i)[1:]) == self.best(i)

    def step(self) -> None:
        raise NotImplementedError

    def heartbeat(self) -> None:
        raise NotImplementedError

    def best(self, index: int) -> tuple[int, int, int, int]:
        raise NotImplementedError

    def ask(self) -> None:
        assert all(self.quality(i) is QualityCode.GAPPED for i in range(len(NAMES)))
        status = self.engine.instrument_status(0, self.now_ns)
        assert QualityCause(status.quality_cause) is QualityCause.LOST_MESSAGES
        decision = DecisionRecord()
        self.engine.decide(RequestRecord(0, 1, now_ns=self.now_ns, size_lots=10), decision)
        assert DecisionCode(decision.kind) is DecisionCode.DECLINE
        assert decision.reasons & ReasonFlags.DATA_NOT_GOOD


class MoldLines(Simulation):
    """An ITCH day over line A and B, each late by up to a millisecond, and a re-request server that takes its time."""

    def __init__(self, engine: Engine, seed: int, *, losses: tuple[float, float], gaps: float) -> None:
        super().__init__(engine, seed)
        self.losses, self.gaps = losses, gaps
        self.buffer = EventBuffer(4096)
        decoder = ItchDecoder(self.buffer, [(name, i, Decimal("0.01"), 1) for i, name in enumerate(NAMES)])
        # As the feed sets it for a bound of 5 ms: a look may come up to LOOK_NS late.
        self.mold = MoldReceiver(
            decoder, rerequest=True, gap_ns=BOUND_NS - LOOK_NS, retry_ns=60_000 * MS, request_messages=10_000
        )
        self.day = ItchMarket([ItchSymbol(name) for name in NAMES], seed, midnight_ns=0, start_ns=self.now_ns)
        self.messages: list[bytes] = []
        self.looking = False
        self.publish(self.day.opening, safe=True)

    def publish(self, messages: list[bytes], *, safe: bool = False) -> None:
        first = len(self.messages) + 1
        self.messages += messages
        packet = mold_packet("S", first, messages)
        both = not safe and self.rng.random() < self.gaps
        brought = False
        for line, loss in enumerate(self.losses):
            if not both and (safe or self.rng.random() >= loss):
                brought = True
                self.at(
                    self.now_ns + self.rng.randrange(MS),
                    lambda line=line: self.take(line, packet, first, first + len(messages)),
                )
        if not brought:
            self.gone.update(range(first, first + len(messages)))

    def heartbeat(self) -> None:
        end = len(self.messages) + 1
        for line in (0, 1):
            self.at(
                self.now_ns + self.rng.randrange(MS),
                lambda line=line: self.take(line, mold_packet("S", end, []), end, end),
            )

    def take(self, line: int, packet: bytes, first: int, end: int) -> None:
        if first == end:
            self.shown.heartbeat(end, self.now_ns)
        else:
            self.shown.frame(first, end, self.now_ns)
        self.mold.packet(packet, line, self.now_ns)
        self.drain()
        if self.mold.missing_since_ns and not self.looking:
            self.look()

    def look(self) -> None:
        # The feed's own rhythm while something is missing.
        self.mold.tick(self.now_ns)
        self.drain()
        request = self.mold.request(self.now_ns)
        if request is not None:
            first, count = int.from_bytes(request[10:18], "big"), int.from_bytes(request[18:20], "big")
            answer = mold_packet("S", first, self.messages[first - 1 : first - 1 + count])
            self.at(
                self.now_ns + self.rng.randrange(*RECOVERED_NS),
                lambda: self.take(2, answer, first, first + count),
            )
        self.looking = self.mold.missing_since_ns != 0
        if self.looking:
            self.at(self.now_ns + self.rng.randrange(1, LOOK_NS + 1), self.look)

    def drain(self) -> None:
        self.engine.on_events(self.buffer)
        self.buffer.clear()
        assert not self.mold.more

    def step(self) -> None:
        self.publish(self.day.advance(self.rng.choice((1, 1, 2, 5))))

    def best(self, index: int) -> tuple[int, int, int, int]:
        return self.day.encoder.best(index)


class BinaryDatagrams(Simulation):
    """Frames of level records, late by up to 1.5 ms, some lost; a snapshot of both books when they are GAPPED."""

    REORDER_NS = 4 * MS

    def __init__(self, engine: Engine, seed: int, *, gaps: float) -> None:
        super().__init__(engine, seed)
        self.gaps = gaps
        self.buffer = EventBuffer(65_536)
        self.decoder = BinaryDecoder(self.buffer, range(len(NAMES)), 1, window=40)
        self.encoder = BinaryEncoder(1, session=1)
        self.books: list[tuple[dict[int, int], dict[int, int]]] = [
            ({999: 5, 990: 1}, {1001: 5, 1010: 1}) for _ in NAMES
        ]
        self.number = 1
        self.timer = self.renewing = False
        self.decoder.connected(self.now_ns)
        self.drain()
        self.snapshot()
        self.run(self.now_ns + 2 * MS)  # a session begins with the first frame that comes

    def publish(self, *records: bytes, safe: bool = False) -> None:
        first, frame = self.number, self.encoder.frame(b"".join(records))
        self.number += len(records)
        if not safe and self.rng.random() < self.gaps:
            self.gone.update(range(first, self.number))
            return
        end = self.number
        self.at(self.now_ns + self.rng.randrange(3 * MS // 2), lambda: self.take(frame, first, end))

    def step(self) -> None:
        instrument, side = self.rng.randrange(len(NAMES)), self.rng.choice((BookSide.BID, BookSide.ASK))
        price = 1000 + (self.rng.randrange(1, 20) if side == BookSide.ASK else -self.rng.randrange(1, 20))
        lots = self.rng.choice((0, 5, 7, 9))
        self.books[instrument][side == BookSide.ASK][price] = lots
        self.publish(
            record(EventKind.LEVEL, instrument, side=side, price_ticks=price, size_lots=lots, last=True)
        )

    def snapshot(self) -> None:
        records = []
        for instrument, sides in enumerate(self.books):
            records.append(record(EventKind.SNAPSHOT_BEGIN, instrument))
            for side, levels in zip((BookSide.BID, BookSide.ASK), sides, strict=True):
                records += [
                    record(EventKind.LEVEL, instrument, side=side, price_ticks=price, size_lots=lots)
                    for price, lots in levels.items()
                    if lots
                ]
            records.append(record(EventKind.SNAPSHOT_END, instrument, last=True))
        self.snapshot_number = self.number
        self.publish(*records, safe=True)

    def heartbeat(self) -> None:
        frame, end = self.encoder.heartbeat(), self.number
        self.at(self.now_ns + self.rng.randrange(MS), lambda: self.take(frame, end, end))

    def take(self, frame: bytes, first: int, end: int) -> None:
        if first == end:
            self.shown.heartbeat(end, self.now_ns)
        else:
            self.shown.frame(first, end, self.now_ns)
        self.decoder.datagram(frame, self.now_ns)
        self.drain()
        self.set_timer()

    def set_timer(self) -> None:
        # As the feed: one timer, that looks again when the hole it was set for has gone; it fires up to LOOK_NS late.
        if self.decoder.missing_since_ns and not self.timer:
            due_ns = max(self.now_ns, self.decoder.missing_since_ns + self.REORDER_NS)
            self.timer = True
            self.at(due_ns + self.rng.randrange(LOOK_NS), self.on_timer)

    def on_timer(self) -> None:
        self.timer = False
        since_ns = self.decoder.missing_since_ns
        if since_ns and self.now_ns - since_ns >= self.REORDER_NS:
            self.decoder.give_up(self.now_ns)
            self.drain()
        self.set_timer()

    def drain(self) -> None:
        self.engine.on_events(self.buffer)
        self.buffer.clear()

    def check(self) -> None:
        gapped = self.quality() is QualityCode.GAPPED
        if self.renewing and not gapped:
            self.renewing = False
            self.shown.forget(self.snapshot_number)  # all that was lost before is in it
        super().check()
        if gapped and not self.renewing:
            self.renewing = True
            self.at(self.now_ns + self.rng.randrange(*RECOVERED_NS), self.snapshot)

    def best(self, index: int) -> tuple[int, int, int, int]:
        bids, asks = self.books[index]
        bid = max((price for price, lots in bids.items() if lots), default=0)
        ask = min((price for price, lots in asks.items() if lots), default=0)
        return bid, bids.get(bid, 0), ask, asks.get(ask, 0)


TWO_LOSSES = (0.05, 0.05)


@pytest.fixture
def rng_seed() -> int:
    return random.SystemRandom().randrange(2**32)


def gaps_of_itch(folder: Path, gaps: int, seed: int) -> None:
    lines = MoldLines(engine_of(folder, order_level=True), seed, losses=TWO_LOSSES, gaps=0.1)
    lines.go(gaps=gaps)
    assert lines.flagged == lines.mended == lines.mold.gaps >= gaps, f"seed {seed}"
    assert BOUND_NS - LOOK_NS <= lines.latest_ns <= BOUND_NS, f"seed {seed}"


def gaps_of_binary(folder: Path, gaps: int, seed: int) -> None:
    line = BinaryDatagrams(engine_of(folder, order_level=False), seed, gaps=0.1)
    line.go(gaps=gaps)
    assert line.flagged == line.mended >= gaps, f"seed {seed}"
    assert line.REORDER_NS <= line.latest_ns <= BOUND_NS, f"seed {seed}"


def test_random_gaps_of_both_itch_lines_are_flagged_within_the_gap_timer(tmp_path):
    gaps_of_itch(tmp_path, 200, seed=5)


def test_random_gaps_of_binary_datagrams_are_flagged_within_the_gap_timer(tmp_path):
    gaps_of_binary(tmp_path, 200, seed=5)


@pytest.mark.slow
@pytest.mark.parametrize("gaps", [gaps_of_itch, gaps_of_binary])
def test_ten_thousand_random_gaps(tmp_path, gaps, rng_seed):
    gaps(tmp_path, 10_000, rng_seed)


@pytest.mark.parametrize("losses", [(0.3, 0.0), (0.0, 0.3)])
def test_what_one_itch_line_lost_is_no_gap(tmp_path, losses):
    lines = MoldLines(engine_of(tmp_path, order_level=True), 7, losses=losses, gaps=0.0)
    lines.go(gaps=1, steps=3000)
    assert (lines.flagged, lines.mold.gaps, lines.mold.lost, lines.gone) == (0, 0, 0, set())
    assert lines.mold.line_counts["rerequested"] == (0, 0)


def test_binary_datagrams_that_are_only_late_are_no_gap(tmp_path):
    """One is always missing somewhere, none for long."""
    line = BinaryDatagrams(engine_of(tmp_path, order_level=False), 7, gaps=0.0)
    line.go(gaps=1, steps=3000, bursts=(500, 501), most_apart_ns=MS // 5)
    assert (line.flagged, line.decoder.gaps, line.decoder.lost) == (0, 0, 0)
    assert line.decoder.reordered > 500


# --- through sockets ----------------------------------------------------------------------------------------

SOCKET_GAPS = 40


@pytest.fixture
def event_loop_policy() -> asyncio.AbstractEventLoopPolicy:
    return uvloop.EventLoopPolicy()


class WallClock:
    def now_ns(self) -> int:
        return time.time_ns()


class Looks:
    """Stands before a feed's look at a hole: how old is the oldest that a look leaves unflagged, or flags?

    The machine may be late with a look, and then is with the flag; no look that was due may have left it out.
    """

    def __init__(self, feed: Any, engine: Engine, look: str, since_ns: Callable[[], int]) -> None:
        self.flagged_ns: list[int] = []
        self.left_ns = 0
        self._since_ns = since_ns
        self._engine = engine
        self._look = getattr(feed, look)
        setattr(feed, look, self)

    def gapped(self) -> bool:
        status = self._engine.instrument_status(0, self._engine.now_ns)
        return QualityCode(status.quality) is QualityCode.GAPPED

    def __call__(self) -> Any:
        since_ns, now_ns, before = self._since_ns(), time.time_ns(), self.gapped()
        out = self._look()
        if since_ns and not before:
            if self.gapped():
                self.flagged_ns.append(time.time_ns() - since_ns)
            elif self._since_ns() == since_ns:
                self.left_ns = max(self.left_ns, now_ns - since_ns)
        return out


async def until(condition: Callable[[], bool], seconds: float = 10.0) -> None:
    async with asyncio.timeout(seconds):
        while not condition():  # noqa: ASYNC110 (the other side is a socket)
            await asyncio.sleep(0.001)


def free_port() -> int:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as udp:
        udp.bind(("127.0.0.1", 0))
        return int(udp.getsockname()[1])


async def test_gaps_of_itch_through_sockets_are_flagged_at_the_look_that_is_due(tmp_path):
    """Four milliseconds old; looks are a millisecond apart, as far as the machine lets them be."""
    engine = engine_of(tmp_path, order_level=True)
    lines = [f"127.0.0.1:{free_port()}" for _ in range(2)]
    venue = ItchVenue(lines=lines)
    await venue.start()
    settings = {"line_a": lines[0], "line_b": lines[1], "rerequest": venue.rerequest_address}
    config = ItchFeedConfig(
        kind="itch", name="n", transport="mold", instruments=NAMES, reorder="3ms", gap="5ms", **settings
    )
    feed: Any = ItchFeed.from_table(
        config, engine.instruments, sink=engine.on_events, clock=WallClock(), logger=structlog.get_logger()
    )
    await feed.start()
    looks = Looks(feed, engine, "_tick", lambda: feed.mold.missing_since_ns)
    day = ItchMarket([ItchSymbol(name) for name in NAMES], midnight_ns=0, start_ns=OPEN_NS)
    rng = random.Random(1)
    answers, venue.answers = venue.answers, lambda request: []  # type: ignore[method-assign]
    try:
        venue.publish([*day.opening, *day.advance(50)])
        for gap in range(SOCKET_GAPS):
            await until(lambda: feed.mold.expected == len(venue.messages) + 1 and not looks.gapped())
            venue.answers = lambda request: []  # type: ignore[method-assign]
            venue.mute = True
            venue.publish(day.advance(rng.randrange(1, 4)))
            venue.mute = False
            if gap % 4:
                venue.publish(day.advance(rng.randrange(1, 4)))
            else:
                venue.flush()  # a heartbeat shows it
            await until(looks.gapped)
            venue.answers = answers  # type: ignore[method-assign]
    finally:
        await feed.stop()
        await venue.stop()
    assert len(looks.flagged_ns) == feed.mold.gaps == SOCKET_GAPS
    assert 0 < looks.left_ns < BOUND_NS - LOOK_NS
    assert min(looks.flagged_ns) <= BOUND_NS


async def test_gaps_of_binary_datagrams_through_sockets_are_flagged_when_their_timer_fires(tmp_path):
    """Two milliseconds after the hole showed, by default."""
    engine = engine_of(tmp_path, order_level=False)
    config = BinaryFeedConfig(
        kind="binary", name="n", transport="udp", address="127.0.0.1:0", instruments=NAMES
    )  # type: ignore[call-arg]
    feed = BinaryFeed.from_table(
        config, engine.instruments, sink=engine.on_events, clock=WallClock(), logger=structlog.get_logger()
    )
    await feed.start()
    looks = Looks(feed, engine, "_on_gap_timer", lambda: feed.decoder.missing_since_ns)
    encoder, rng = BinaryEncoder(1), random.Random(1)
    level = record(EventKind.LEVEL, 0, side=BookSide.BID, price_ticks=10, size_lots=1, last=True)
    book = b"".join(
        record(EventKind.SNAPSHOT_BEGIN, i)
        + record(EventKind.LEVEL, i, side=BookSide.BID, price_ticks=10, size_lots=1)
        + record(EventKind.LEVEL, i, side=BookSide.ASK, price_ticks=11, size_lots=1)
        + record(EventKind.SNAPSHOT_END, i, last=True)
        for i in range(len(NAMES))
    )
    try:
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as udp:
            udp.connect(feed.address or ("", 0))
            for gap in range(SOCKET_GAPS):
                udp.send(encoder.frame(book))
                await until(lambda gap=gap: feed.decoder.resyncs == len(NAMES) * (gap + 1))
                assert not looks.gapped()
                encoder.frame(rng.randrange(1, 4) * level)
                udp.send(encoder.frame(level) if gap % 4 else encoder.heartbeat())
                await until(looks.gapped)
    finally:
        await feed.stop()
    assert len(looks.flagged_ns) == feed.decoder.gaps == SOCKET_GAPS
    assert looks.left_ns < config.reorder_ns
    assert min(looks.flagged_ns) <= BOUND_NS
