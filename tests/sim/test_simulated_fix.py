"""The simulated FIX venue, from its command line and from the feed's side; docs/fix.md."""

import asyncio
import json
import sys
import time
from collections.abc import Callable
from decimal import Decimal
from typing import Any

import aiohttp
import structlog
import uvloop

from quotelife.instruments import Instrument, InstrumentTable
from quotelife.sim.market import MarketConfig, MarketSimulator
from quotelife.units import NS_PER_MS
from quotelife_server.feeds.fix import FixFeed
from quotelife_server.feeds.settings import FixFeedConfig
from quotelife_server.simvenue.fix import SimulatedFix
from reference.event_books import AppliedBooks
from reference.fix_kit import RealClock, until

TABLE = InstrumentTable(
    [
        Instrument(0, "BTCUSDT", "bank", "BTCUSDT", Decimal("0.1"), Decimal("0.001")),
        Instrument(1, "ETHUSDT", "bank", "ETHUSDT", Decimal("0.01"), Decimal("0.001")),
    ]
)


def feed_of(port: int, **fields: Any) -> tuple[FixFeed, AppliedBooks]:
    written = {
        "kind": "fix",
        "name": "bank",
        "address": f"127.0.0.1:{port}",
        "sender": "QUOTELIFE",
        "target": "SIM",
        "instruments": ("BTCUSDT", "ETHUSDT"),
        "heartbeat": "1s",
        "reconnect": {"min": "10ms", "max": "20ms"},
        "resubscribe": {"timeout": "300ms", "retry_min": "10ms", "retry_max": "20ms"},
    }
    config = FixFeedConfig.model_validate(written | fields)
    books = AppliedBooks(2)
    feed = FixFeed.from_table(
        config, TABLE, sink=books.drain, clock=RealClock(),
        logger=structlog.get_logger(),
    )  # fmt: skip
    return feed, books


def equal(venue: SimulatedFix, books: AppliedBooks) -> bool:
    return all(
        books[at].whole and books[at].levels() == (book.bids, book.asks)
        for at, book in enumerate(venue.books)
    )


def against_the_venue(act: Callable[[SimulatedFix, FixFeed, AppliedBooks], Any], **fields: Any) -> None:
    """``act`` while the feed runs; then the market stands still and the books are the venue's."""

    async def run() -> None:
        market = MarketSimulator(MarketConfig(depth_interval_ns=20 * NS_PER_MS), 3, time.time_ns())
        venue = SimulatedFix(market)
        feed, books = feed_of(await venue.listen("127.0.0.1", 0), **fields)
        await feed.start()
        try:
            await until(lambda: books[0].whole and books[1].whole)
            await act(venue, feed, books)
            await venue.freeze()
            await until(lambda: equal(venue, books))
        finally:
            await feed.stop()
            await venue.close()

    uvloop.run(run())


def test_undisturbed_the_books_are_the_venues() -> None:
    async def act(venue: SimulatedFix, feed: FixFeed, books: AppliedBooks) -> None:
        await asyncio.sleep(0.5)
        counters = feed.figures().counters
        assert counters["messages"] > 50
        assert (counters["garbled"], counters["decode_errors"], counters["gaps"]) == (0, 0, 0)

    against_the_venue(act)


def test_who_asks_for_full_refreshes_gets_them() -> None:
    async def act(venue: SimulatedFix, feed: FixFeed, books: AppliedBooks) -> None:
        changes = feed.decoder.stats("BTCUSDT").depths
        await until(lambda: feed.decoder.stats("BTCUSDT").depths > changes + 5)
        assert venue.requests == 2

    against_the_venue(act, incremental=False)


def test_a_wrong_checksum_and_numbers_left_out_are_gaps_of_the_session() -> None:
    async def act(venue: SimulatedFix, feed: FixFeed, books: AppliedBooks) -> None:
        for number, kind in enumerate(("bad_checksum", "skip"), start=1):
            venue.fault(kind)
            await until(lambda n=number: feed.session.gaps >= n)
            await until(lambda: books[0].whole and books[1].whole)
        assert feed.session.garbled == 1
        assert feed.reconnects == 0

    against_the_venue(act)


def test_a_logout_is_followed_by_another_logon() -> None:
    async def act(venue: SimulatedFix, feed: FixFeed, books: AppliedBooks) -> None:
        venue.fault("logout")
        await until(lambda: venue.logons == 2 and books[0].whole and books[1].whole)

    against_the_venue(act)


def test_a_venue_that_is_away_is_found_when_it_is_back() -> None:
    async def act(venue: SimulatedFix, feed: FixFeed, books: AppliedBooks) -> None:
        venue.fault("restart", duration_ms=200)
        await until(lambda: not feed.connected)
        await until(lambda: feed.connected and books[0].whole and books[1].whole)
        assert feed.reconnects >= 2

    against_the_venue(act)


async def test_its_command_line_gives_a_port_for_fix_and_one_for_faults() -> None:
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "quotelife_server.simvenue", "--venue", "fix", stdout=asyncio.subprocess.PIPE
    )
    assert process.stdout is not None
    told = json.loads(await asyncio.wait_for(process.stdout.readline(), 30))
    feed, books = feed_of(told["port"])
    await feed.start()
    try:
        await until(lambda: books[0].whole and books[1].whole)
        url = f"http://127.0.0.1:{told['control_port']}/control/fault"
        async with aiohttp.ClientSession() as session, session.post(url, json={"kind": "cut"}) as answer:
            assert answer.status == 200, await answer.text()
        await until(lambda: feed.reconnects >= 1 and books[0].whole and books[1].whole)
    finally:
        await feed.stop()
        process.terminate()
        await asyncio.wait_for(process.wait(), 10)
