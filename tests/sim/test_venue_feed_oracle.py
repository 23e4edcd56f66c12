"""Live feed against the simulated venue, with the simulator's book as the oracle, faults and all."""

import asyncio
import json
import time
from collections.abc import AsyncIterator
from typing import Any

import aiohttp
import pytest
import structlog
from aiohttp.test_utils import TestServer

from quotelife.book.level_book import Book
from quotelife.instruments import Instrument, InstrumentTable
from quotelife.records import EventBuffer, EventFlags, EventKindCode
from quotelife.sim.market import MarketConfig, MarketSimulator
from quotelife.units import NS_PER_MS, NS_PER_S
from quotelife_server.clock import SystemClock
from quotelife_server.feeds.binance import BinanceFeed
from quotelife_server.feeds.settings import BinanceFeedConfig
from quotelife_server.simvenue.venue import SimulatedVenue

WHOLE = 5000


class Books:
    """A sink: one book an instrument, by nothing but the events; whole between SNAPSHOT_END and CLEAR."""

    def __init__(self, count: int) -> None:
        self.books = [Book() for _ in range(count)]
        self.whole = [False] * count
        self.sequence = [0] * count
        self.clears = [0] * count
        self.crossed_while_whole = 0

    def __call__(self, buffer: EventBuffer) -> None:
        for event in buffer.array():
            i = int(event["instrument"])
            if i >= len(self.books):
                continue
            book, kind, sequence = self.books[i], int(event["kind"]), int(event["sequence"])
            if kind in (EventKindCode.SNAPSHOT_BEGIN, EventKindCode.CLEAR):
                book.clear()
                self.whole[i] = False
                self.clears[i] += kind == EventKindCode.CLEAR
            elif kind == EventKindCode.LEVEL:
                book.level(int(event["side"]), int(event["price_ticks"]), int(event["size_lots"]))
                self.sequence[i] = sequence
            elif kind == EventKindCode.SNAPSHOT_END:
                self.whole[i] = True
                self.sequence[i] = max(self.sequence[i], sequence)
            if event["flags"] & EventFlags.LAST and self.whole[i]:
                book.refresh(self.sequence[i])
                self.crossed_while_whole += book.crossed


class Rig:
    """A venue, a feed on it, and what the feed made of it."""

    def __init__(self, venue: SimulatedVenue, server: TestServer, books: Books, feed: BinanceFeed) -> None:
        self.venue = venue
        self.server = server
        self.books = books
        self.feed = feed

    async def fault(self, **body: Any) -> None:
        url = self.server.make_url("/control/fault")
        async with aiohttp.ClientSession() as session, session.post(url, json=body) as response:
            assert response.status == 200, await response.text()

    async def until_whole(self, timeout_s: float = 10.0) -> None:
        end = time.monotonic() + timeout_s
        while not all(self.books.whole):
            assert time.monotonic() < end, f"not whole: {self.feed.figures().counters}"
            await asyncio.sleep(0.01)

    async def assert_equal_to_oracle(self) -> None:
        """Stop the market on the beat of its depth stream, let everything arrive, compare whole books."""
        market = self.venue.market
        await self.venue.freeze()
        interval = market.config.depth_interval_ns
        beat = market.start_ns + -(-(market.now_ns - market.start_ns) // interval) * interval
        self.venue.run_to(beat + interval)
        oracles = [market.snapshot(i, WHOLE) for i in range(len(self.books.books))]
        end = time.monotonic() + 5
        while not all(self.books.whole) or [o.last_update_id for o in oracles] != self.books.sequence:
            assert time.monotonic() < end, (self.books.sequence, [o.last_update_id for o in oracles])
            await asyncio.sleep(0.01)
        for book, oracle in zip(self.books.books, oracles, strict=True):
            assert book.bids(WHOLE) == list(oracle.bids)
            assert book.asks(WHOLE) == list(oracle.asks)
        assert self.books.crossed_while_whole == 0


@pytest.fixture(params=["spot", "usdm", "coinm"])
async def rig(request: pytest.FixtureRequest) -> AsyncIterator[Rig]:
    config = MarketConfig(market=request.param)
    venue = SimulatedVenue(MarketSimulator(config, 21, time.time_ns()))
    server = TestServer(venue.app)
    await server.start_server()
    table = InstrumentTable(
        Instrument(i, each.symbol, f"binance-{request.param}", each.symbol, each.tick_size, each.lot_size)
        for i, each in enumerate(config.symbols)
    )
    address = f"{server.host}:{server.port}"
    settings = BinanceFeedConfig.model_validate_json(
        json.dumps(
            {
                "kind": "binance",
                "name": "rig",
                "market": request.param,
                "ws_url": f"ws://{address}",
                "rest_url": f"http://{address}",
                "instruments": [each.name for each in table],
                "snapshot": {"interval": "10ms", "retry_min": "20ms", "retry_max": "100ms"},
                "reconnect": {"min": "20ms", "max": "100ms"},
                "liveness": {"ping": "200ms", "idle": "5s"},
            }
        )
    )
    books = Books(len(table))
    clock = SystemClock(NS_PER_S)
    feed = BinanceFeed.from_table(settings, table, sink=books, clock=clock, logger=structlog.get_logger())
    await feed.start()
    made = Rig(venue, server, books, feed)
    await made.until_whole()
    yield made
    await feed.stop()
    await server.close()


async def test_undisturbed_the_books_are_the_venues(rig: Rig):
    rig.venue.market.schedule_shock(rig.venue.market.now_ns + 200 * NS_PER_MS, 500 * NS_PER_MS)
    await asyncio.sleep(1.0)
    await rig.assert_equal_to_oracle()
    assert rig.feed.figures().counters["gaps"] == 0


@pytest.mark.parametrize("kind", ["drop", "reorder"])
async def test_lost_and_swapped_batches_are_noticed_and_mended(rig: Rig, kind: str):
    clears = rig.books.clears[0]
    await rig.fault(kind=kind, stream="btcusdt@depth*", count=1)
    end = time.monotonic() + 3
    while rig.books.clears[0] == clears:
        assert time.monotonic() < end, "the break was not noticed"
        await asyncio.sleep(0.01)
    await rig.until_whole()
    await rig.assert_equal_to_oracle()
    assert rig.feed.figures().counters["gaps"] >= 1


async def test_doubled_messages_change_nothing(rig: Rig):
    await rig.fault(kind="duplicate", count=50)
    await asyncio.sleep(0.5)
    await rig.assert_equal_to_oracle()
    assert rig.feed.figures().counters["gaps"] == 0


async def test_a_cut_connection_and_failing_snapshots_are_survived(rig: Rig):
    await rig.fault(kind="rest_error", count=3)
    await rig.fault(kind="cut")
    end = time.monotonic() + 3
    while all(rig.books.whole):
        assert time.monotonic() < end, "the cut was not noticed"
        await asyncio.sleep(0.005)
    await rig.until_whole()
    await rig.assert_equal_to_oracle()
    counters = rig.feed.figures().counters
    assert counters["reconnects"] >= 1
    assert counters["snapshot_failures"] >= 1
