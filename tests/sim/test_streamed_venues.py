"""Live Deribit, Coinbase and OKX feeds against simulated venues: whatever happens, the venue's own book."""

import asyncio
import json
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from decimal import Decimal
from functools import partial
from typing import Any

import aiohttp
import pytest
import structlog
from aiohttp.test_utils import TestServer
from pydantic import TypeAdapter

from quotelife.instruments import Instrument, InstrumentTable
from quotelife.records import EventBuffer, EventFlags, EventKindCode
from quotelife.sim.market import MarketConfig, MarketSimulator
from quotelife.sim.updates import DepthUpdate
from quotelife.units import NS_PER_MS, NS_PER_S
from quotelife_server.clock import SystemClock
from quotelife_server.feeds.coinbase import CoinbaseFeed
from quotelife_server.feeds.deribit import DeribitFeed
from quotelife_server.feeds.okx import OkxFeed
from quotelife_server.feeds.settings import FeedConfig
from quotelife_server.feeds.subscribing import Outgoing, SubscribingFeed
from quotelife_server.simvenue.streamed import (
    SimulatedCoinbase,
    SimulatedDeribit,
    SimulatedOkx,
    StreamedVenue,
)
from reference.event_books import AppliedBooks, rows

VENUES = ("deribit", "coinbase", "okx")
BEAT_NS = 20 * NS_PER_MS
Levels = tuple[dict[int, int], dict[int, int]]


class Desk:
    """Sink and judge: every book that is whole is held against what the venue had published at its instant."""

    def __init__(self, venue: StreamedVenue[Any], unknown: int = 0) -> None:
        self.venue = venue
        self.books = AppliedBooks(len(venue.books) + unknown)
        self.truth: dict[tuple[int, int], Levels] = {}  # by symbol and millisecond
        self.checked = 0
        self.greeks: list[tuple[int, dict[str, Any]]] = []
        for index, book in enumerate(venue.books):
            self._remember(index)
            book.apply = partial(self._apply, index, book.apply)  # type: ignore[method-assign]

    def _apply(self, index: int, apply: Callable[[DepthUpdate], None], update: DepthUpdate) -> None:
        apply(update)
        self._remember(index)

    def _remember(self, index: int) -> None:
        book = self.venue.books[index]
        self.truth[index, book.time_ns // NS_PER_MS] = (dict(book.bids), dict(book.asks))

    def __call__(self, buffer: EventBuffer) -> None:
        for event in rows(buffer):
            index = event.instrument
            book = self.books[index]
            book.apply(event)
            ends = event.kind in (EventKindCode.LEVEL, EventKindCode.SNAPSHOT_END)
            if ends and event.flags & EventFlags.LAST and book.whole:
                assert book.levels() == self.truth[index, event.exchange_ns // NS_PER_MS]
                self.checked += 1
        buffer.clear()

    def on_greeks(self, instrument: int, **told: Any) -> None:
        self.greeks.append((instrument, told))

    def whole(self) -> bool:
        return all(self.books[index].whole for index in range(len(self.venue.books)))

    def equal(self) -> bool:
        return self.whole() and all(
            self.books[index].levels() == (book.bids, book.asks)
            for index, book in enumerate(self.venue.books)
        )


class Rig:
    """A venue, a feed on it, and what the feed made of it."""

    def __init__(
        self, kind: str, venue: StreamedVenue[Any], server: TestServer, desk: Desk, feed: SubscribingFeed
    ) -> None:
        self.kind = kind
        self.venue = venue
        self.server = server
        self.desk = desk
        self.feed = feed

    async def fault(self, **body: Any) -> None:
        url = self.server.make_url("/control/fault")
        async with aiohttp.ClientSession() as session, session.post(url, json=body) as response:
            assert response.status == 200, await response.text()

    async def until(self, holds: Callable[[], bool], timeout_s: float = 10.0) -> None:
        end = time.monotonic() + timeout_s
        while not holds():
            assert time.monotonic() < end, self.feed.figures().counters
            await asyncio.sleep(0.005)

    async def ends_equal(self) -> None:
        await self.fault(kind="clear")
        await self.until(self.desk.whole)
        await self.venue.freeze()
        await self.until(self.desk.equal)
        assert all(self.desk.books[i].crossed == 0 for i in range(len(self.venue.books)))

    def counter(self, name: str) -> int:
        return self.feed.figures().counters[name]


@asynccontextmanager
async def rig_of(kind: str, seed: int, *, unknown: int = 0, **changes: Any) -> AsyncIterator[Rig]:
    """``unknown``: instruments that the venue does not have, named before its own."""
    market = MarketSimulator(MarketConfig(depth_interval_ns=BEAT_NS), seed, time.time_ns())
    venue: StreamedVenue[Any] = {
        "deribit": lambda: SimulatedDeribit(market, heartbeat_scale=0.02),
        "coinbase": lambda: SimulatedCoinbase(market),
        "okx": lambda: SimulatedOkx(market),
    }[kind]()
    server = TestServer(venue.app)
    await server.start_server()
    known = [
        Instrument(i, each.symbol, kind, each.symbol, each.tick_size, each.lot_size)
        for i, each in enumerate(market.config.symbols)
    ]
    delisted = [
        Instrument(len(known) + i, f"GONE{i}", kind, f"GONE{i}", Decimal("0.01"), Decimal("0.001"))
        for i in range(unknown)
    ]
    table = InstrumentTable(known + delisted)
    written: dict[str, Any] = {
        "kind": kind,
        "name": "rig",
        "ws_url": f"ws://{server.host}:{server.port}{venue.PATH.rstrip('/')}",
        "instruments": [each.name for each in delisted + known],
        "request_interval": "1ms",
        "resubscribe": {"timeout": "400ms", "retry_min": "10ms", "retry_max": "100ms"},
        "reconnect": {"min": "20ms", "max": "100ms", "timeout": "1s"},
        "liveness": {"ping": "100ms", "idle": "1s", "mute": "1s"},
    }
    if kind == "deribit":
        written["greeks_interval"] = "10ms"
    settings: Any = TypeAdapter(FeedConfig).validate_json(json.dumps(written | changes))
    desk = Desk(venue, unknown)
    kinds: dict[str, Any] = {"deribit": DeribitFeed, "coinbase": CoinbaseFeed, "okx": OkxFeed}
    extra = {"greeks": desk.on_greeks} if kind == "deribit" else {}
    feed: SubscribingFeed = kinds[kind].from_table(
        settings,
        table,
        sink=desk,
        clock=SystemClock(NS_PER_S),
        logger=structlog.get_logger(),
        **extra,
    )
    await feed.start()
    try:
        yield Rig(kind, venue, server, desk, feed)
    finally:
        await feed.stop()
        await server.close()


@pytest.fixture(params=VENUES)
async def rig(request: pytest.FixtureRequest) -> AsyncIterator[Rig]:
    async with rig_of(request.param, 5) as made:
        await made.until(made.desk.whole)
        yield made


async def test_undisturbed_the_books_are_the_venues(rig: Rig):
    await asyncio.sleep(0.5)
    await rig.ends_equal()
    assert rig.desk.checked > 20
    assert (rig.counter("gaps"), rig.counter("decode_errors"), rig.counter("venue_errors")) == (0, 0, 0)
    assert rig.counter("resubscriptions") == 0


@pytest.mark.parametrize("fault", ["drop", "reorder", "garbage"])
async def test_a_broken_book_is_subscribed_anew_on_the_same_connection(rig: Rig, fault: str):
    await rig.fault(kind=fault, stream="book.BTCUSDT", count=1)
    await rig.until(lambda: rig.counter("resubscriptions") >= 1)
    await rig.ends_equal()
    assert rig.counter("gaps") + rig.counter("decode_errors") >= 1
    assert rig.counter("reconnects") == 0


async def test_only_the_broken_book_is_lost_where_the_venue_numbers_by_book(rig: Rig):
    """Coinbase numbers the connection: there all books are."""
    await rig.fault(kind="drop", stream="book.BTCUSDT", count=1)
    await rig.until(lambda: rig.counter("resubscriptions") >= 1)
    await rig.ends_equal()
    assert rig.desk.books[0].gaps >= 1
    assert (rig.desk.books[1].gaps >= 1) == (rig.kind == "coinbase")


async def test_doubled_messages_change_nothing(rig: Rig):
    await rig.fault(kind="duplicate", count=50)
    await asyncio.sleep(0.4)
    await rig.ends_equal()
    assert (rig.counter("gaps"), rig.counter("resubscriptions")) == (0, 0)
    assert rig.counter("duplicates") > 0


async def test_a_snapshot_that_does_not_come_is_asked_for_again(rig: Rig):
    await rig.fault(kind="garbage", stream="book.BTCUSDT", count=1)
    await rig.fault(kind="drop", stream="book.BTCUSDT", count=40)
    await rig.until(lambda: rig.counter("resubscriptions") >= 2)
    await rig.ends_equal()
    assert rig.counter("reconnects") == 0


async def test_a_cut_connection_is_made_again(rig: Rig):
    await rig.fault(kind="cut")
    await rig.until(lambda: rig.counter("reconnects") >= 1)
    await rig.ends_equal()


async def test_a_muted_feed_with_an_open_socket_is_found(rig: Rig):
    """Heartbeats and pongs go on; no market data: the connection is made anew within the bound."""
    await rig.fault(kind="mute", duration_ms=1500)
    await rig.until(lambda: rig.counter("reconnects") >= 1, timeout_s=4.0)
    await rig.ends_equal()


@pytest.mark.parametrize("kind", VENUES)
async def test_a_symbol_that_the_venue_has_not_keeps_no_other_out(kind: str):
    """Coinbase and OKX refuse the whole request; the others come in smaller and smaller ones."""
    patient = {"ping": "100ms", "idle": "5s", "mute": "5s"}
    async with rig_of(kind, 12, unknown=1, liveness=patient) as rig:
        await rig.until(rig.desk.whole)
        await rig.until(lambda: all(rig.feed.decoder.stats(name).trades for name in rig.venue.names))
        await rig.venue.freeze()
        await rig.until(rig.desk.equal)
        assert rig.counter("reconnects") == 0


async def test_a_broken_book_waits_for_no_other_request():
    async with rig_of("deribit", 13, request_interval="20ms") as rig:
        await rig.until(rig.desk.whole)
        request = {"jsonrpc": "2.0", "id": 10_000, "method": "public/get_instrument", "params": {}}
        rig.feed.send(*[Outgoing(json.dumps(request).encode())] * 250)  # 5 s of them
        await rig.fault(kind="drop", stream="book.BTCUSDT", count=1)
        await rig.until(lambda: not rig.desk.whole(), timeout_s=1.0)
        await rig.until(rig.desk.whole, timeout_s=1.0)


async def test_a_connection_that_ends_in_the_middle_of_a_message_is_made_again(rig: Rig):
    await rig.fault(kind="half")
    await rig.until(lambda: rig.counter("reconnects") >= 1)
    await rig.ends_equal()


async def test_an_open_socket_that_neither_sends_nor_reads_is_found(rig: Rig):
    """Not even pings are answered: no frame at all."""
    await rig.fault(kind="stall", duration_ms=60_000)
    await rig.until(lambda: rig.counter("reconnects") >= 1, timeout_s=4.0)
    await rig.ends_equal()


async def test_what_means_nothing_between_messages_leaves_the_venues_book(rig: Rig):
    await rig.fault(kind="noise", stream="book.*", count=8)
    await rig.until(lambda: rig.venue.faults.hits["noise"] == 8)
    await rig.ends_equal()
    assert rig.counter("decode_errors") >= 1


async def test_an_okx_message_with_a_wrong_checksum_breaks_the_book():
    async with rig_of("okx", 6) as rig:
        await rig.until(rig.desk.whole)
        await rig.fault(kind="wrong_checksum", count=1)
        await rig.until(lambda: rig.counter("gaps") >= 1)
        await rig.ends_equal()
        assert rig.counter("reconnects") == 0


async def test_okx_is_kept_alive_by_its_own_ping():
    async with rig_of("okx", 7, keep_alive="50ms") as rig:
        assert isinstance(rig.venue, SimulatedOkx)
        venue = rig.venue
        await rig.until(lambda: venue.pings >= 2)
        assert rig.counter("decode_errors") == 0


async def test_deribit_tests_are_answered_and_greeks_handed_on():
    async with rig_of("deribit", 8) as rig:
        assert isinstance(rig.venue, SimulatedDeribit)
        venue = rig.venue
        await rig.until(lambda: venue.tests_answered >= 3)
        await rig.until(lambda: len(rig.desk.greeks) >= 4)
        assert rig.counter("reconnects") == 0
        instrument, told = rig.desk.greeks[-1]
        assert instrument in (0, 1)
        assert told["delta_gamma"] == (0.5, 0.001)
        assert told["volatility_underlying"][0] == 60.0


async def test_a_deribit_instrument_that_is_finer_than_configured_is_named():
    async with rig_of("deribit", 9) as rig:
        await rig.until(rig.desk.whole)
        coarse = Instrument(0, "BTCUSDT", "deribit", "BTCUSDT", Decimal("0.25"), Decimal("0.004"))
        rig.feed._instruments["BTCUSDT"] = coarse  # type: ignore[attr-defined]
        rig.feed.send(*rig.feed.subscriptions(["BTCUSDT"]))
        await rig.until(lambda: rig.counter("grids_too_coarse") == 2)


async def test_a_deribit_channel_that_the_venue_has_not_is_named():
    async with rig_of("deribit", 10, trades="agg2") as rig:
        await rig.until(lambda: rig.counter("channels_refused") == 2)
        await rig.until(rig.desk.whole)
