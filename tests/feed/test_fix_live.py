"""The FIX feed on loopback against the tests' own acceptor: faults of every kind, and the book equal at the end."""

import asyncio
import os
import random
import time
from collections.abc import Callable
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
import structlog
import uvloop
from pydantic import ValidationError

from quotelife.feed.symbol_feed import SyncState
from quotelife.instruments import Instrument, InstrumentTable
from quotelife.records import EventBuffer, EventKindCode, StatusKind
from quotelife_server.feeds.fix import FixFeed
from quotelife_server.feeds.settings import FixFeedConfig
from reference.event_books import AppliedBooks, EventRow
from reference.fix_venue import FixVenue

TABLE = InstrumentTable(
    [Instrument(n, symbol, "bank", symbol, Decimal("0.5"), Decimal(1)) for n, symbol in enumerate("AB")]
)


class RealClock:
    def now_ns(self) -> int:
        return time.time_ns()  # SendingTime is checked over there


class Sink:
    def __init__(self) -> None:
        self.books = AppliedBooks(2)
        self.rows: list[EventRow] = []

    def __call__(self, buffer: EventBuffer) -> None:
        self.rows += self.books.drain(buffer)


def config(port: int, **fields: Any) -> FixFeedConfig:
    base: dict[str, Any] = {
        "kind": "fix",
        "name": "bank",
        "address": f"127.0.0.1:{port}",
        "sender": "US",
        "target": "V",
        "instruments": ("A", "B"),
        "heartbeat": "1s",
        "reconnect": {"min": "10ms", "max": "20ms"},
        "resubscribe": {"min": "10ms", "max": "20ms"},
    }
    return FixFeedConfig.model_validate(base | fields)


def opened(settings: FixFeedConfig) -> tuple[FixFeed, Sink]:
    sink = Sink()
    feed = FixFeed.from_table(settings, TABLE, sink=sink, clock=RealClock(), logger=structlog.get_logger())
    return feed, sink


async def until(condition: Callable[[], bool], seconds: float = 10.0) -> None:
    async with asyncio.timeout(seconds):
        while not condition():  # noqa: ASYNC110 (the other side is a socket)
            await asyncio.sleep(0.005)


def equal(venue: FixVenue, feed: FixFeed, sink: Sink, depth: int = 0) -> bool:
    for index, symbol in enumerate("AB"):
        if feed.decoder.state(symbol) != SyncState.SYNCED:
            return False
        bids, asks = sink.books[index].levels()
        if (sorted(bids.items(), reverse=True), sorted(asks.items())) != venue.books[symbol].best(depth):
            return False
    return True


async def against_faults(seed: int, named: bool, seconds: float) -> None:
    venue = FixVenue(["A", "B"], seed=seed, named=named, faults=0.02)
    feed, sink = opened(config(await venue.start(), resend_timeout="300ms"))
    rng = random.Random(seed)
    await feed.start()
    try:
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            venue.tick()
            await asyncio.sleep(rng.choice((0.0, 0.001, 0.005)))
        venue.faults = 0.0
        # A change that was lost as the very last message shows with the next one.
        for _ in range(400):
            venue.tick()
            await asyncio.sleep(0.01)
            if equal(venue, feed, sink):
                break
        await until(lambda: equal(venue, feed, sink))
        assert {"lost", "changed", "dropped", "garbage", "unknown"} >= set(venue.made) and len(venue.made) > 3
    finally:
        await feed.stop()
        await venue.stop()
    assert sum(row.kind == EventKindCode.CLEAR for row in sink.rows) > 0
    assert venue.connections > 1 or "dropped" not in venue.made


@pytest.mark.parametrize("named", [False, True])
def test_the_book_equals_the_venues_after_faults_of_every_kind(named: bool) -> None:
    uvloop.run(against_faults(7, named, 2.0))


@pytest.mark.slow
@pytest.mark.parametrize("named", [False, True])
def test_the_book_equals_the_venues_after_a_long_run_of_faults(named: bool) -> None:
    uvloop.run(against_faults(8, named, float(os.environ.get("QUOTELIFE_FEED_SECONDS", "60"))))


def test_a_depth_is_kept_by_ourselves() -> None:
    async def run() -> None:
        venue = FixVenue(["A", "B"], seed=2)
        feed, sink = opened(config(await venue.start(), depth=5))
        await feed.start()
        try:
            await until(lambda: equal(venue, feed, sink, 5))
            assert all(len(sink.books[0].levels()[side]) == 5 for side in (0, 1))
        finally:
            await feed.stop()
            await venue.stop()
        assert venue.logouts == 1

    uvloop.run(run())


def test_a_venue_that_falls_silent_is_left_and_found_again() -> None:
    async def run() -> None:
        venue = FixVenue(["A", "B"], seed=3)
        feed, sink = opened(config(await venue.start()))
        await feed.start()
        try:
            await until(lambda: equal(venue, feed, sink))
            venue.mute = True
            await until(lambda: not feed.connected)
            assert any(r.kind == EventKindCode.STATUS and r.aux == StatusKind.FEED_DOWN for r in sink.rows)
            assert not sink.books[0].whole
            venue.mute = False
            await until(lambda: equal(venue, feed, sink))
            assert feed.figures().counters["reconnects"] >= 1
        finally:
            await feed.stop()
            await venue.stop()

    uvloop.run(run())


def test_market_data_that_stops_though_heartbeats_come_is_noticed() -> None:
    async def run() -> None:
        venue = FixVenue(["A", "B"], seed=3)
        feed, sink = opened(config(await venue.start(), mute="1500ms"))
        await feed.start()
        try:
            await until(lambda: equal(venue, feed, sink))
            connections = venue.connections
            await until(lambda: venue.connections > connections)
        finally:
            await feed.stop()
            await venue.stop()

    uvloop.run(run())


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"heartbeat": "1500ms"}, "heartbeat: FIX counts whole seconds"),
        ({"authentication": "password"}, "authentication: password needs username and password_file"),
        ({"username": "me"}, "username and password_file need password or deribit"),
        ({"resubscribe": {"min": "2s", "max": "1s"}}, "resubscribe.min: must not exceed resubscribe.max"),
        ({"sender": "a b"}, "sender"),
    ],
)
def test_settings_that_do_not_fit_are_named(fields: dict[str, Any], words: str) -> None:
    with pytest.raises(ValidationError, match=words):
        config(1, **fields)


def test_a_password_file_that_is_missing_is_named_and_tried_again(tmp_path: Path) -> None:
    async def run() -> None:
        venue = FixVenue(["A", "B"], seed=3)
        secret = tmp_path / "secret"
        settings = {"authentication": "deribit", "username": "me", "password_file": str(secret)}
        feed, sink = opened(config(await venue.start(), **settings))
        with structlog.testing.capture_logs() as logs:
            await feed.start()
            try:
                await until(lambda: any(str(secret) in str(entry.get("reason")) for entry in logs))
                secret.write_text("s3cret\n")
                await until(lambda: equal(venue, feed, sink))
            finally:
                await feed.stop()
                await venue.stop()

    uvloop.run(run())
