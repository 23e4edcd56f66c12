"""The FIX feed on loopback against the tests' own acceptor: faults of every kind, and the book equal at the end."""

import asyncio
import os
import random
import time
from pathlib import Path
from typing import Any

import pytest
import structlog
import uvloop
from pydantic import ValidationError

from quotelife.records import EventKindCode, StatusKind
from quotelife_server.feeds.fix import FixFeed
from reference.fix_kit import config, equal, opened, until
from reference.fix_venue import FixVenue, message


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


def logged_on() -> tuple[FixFeed, Any]:
    """A feed of A and B that nobody carries bytes for: what it sends is dropped."""
    feed, sink = opened(config(1))
    feed.session.connected(time.time_ns())
    feed.on_bytes(message("A", 1, (98, 0), (108, 5), (141, "Y")))
    return feed, sink


def test_a_garbled_message_distrusts_at_once_though_no_number_shows_the_hole() -> None:
    async def run() -> None:
        feed, sink = logged_on()
        entries = [(268, 2), (269, 0), (270, 100), (271, 5), (269, 1), (270, 101), (271, 7)]
        feed.on_bytes(message("W", 2, (55, "A"), (262, "A.1"), *entries))
        assert sink.books[0].whole
        lost = message("X", 3, (262, "A.1"), (268, 1), (279, 2), (269, 0), (270, 100))
        feed.on_bytes(lost.replace(b"270=100", b"270=200"))
        assert not sink.books[0].whole
        feed._down()

    uvloop.run(run())


def test_a_refresh_that_was_gap_filled_is_asked_for_again_when_the_gap_ends() -> None:
    async def run() -> None:
        feed, _ = logged_on()
        feed.on_bytes(message("0", 4))
        feed.on_bytes(message("4", 2, (43, "Y"), (123, "Y"), (36, 5)))
        await until(lambda: feed.subscriptions == 4, 2.0)
        feed._down()

    uvloop.run(run())


def test_a_late_refresh_inside_a_gap_makes_no_book_whole() -> None:
    """What followed it was dropped as out of turn, and is gap-filled: the book would lack it for good."""

    async def run() -> None:
        feed, sink = logged_on()
        entries = [(268, 2), (269, 0), (270, 100), (271, 5), (269, 1), (270, 101), (271, 7)]
        change = [(268, 1), (279, 2), (269, 0), (270, 100)]
        feed.on_bytes(message("X", 3, (262, "A.1"), *change))
        feed.on_bytes(message("W", 2, (55, "A"), (262, "A.1"), *entries))
        assert not sink.books[0].whole
        feed.on_bytes(message("4", 3, (43, "Y"), (123, "Y"), (36, 4)))
        assert not sink.books[0].whole
        await until(lambda: feed.subscriptions == 4, 2.0)
        feed.on_bytes(message("W", 4, (55, "A"), (262, "A.3"), *entries))
        feed.on_bytes(message("W", 5, (55, "A"), (262, "A.4"), *entries))
        assert sink.books[0].whole
        feed._down()

    uvloop.run(run())


def test_a_refresh_that_never_comes_is_asked_for_again() -> None:
    async def run() -> None:
        venue = FixVenue(["A", "B"], seed=3)
        venue.unanswered = 2
        feed, sink = opened(
            config(await venue.start(), resubscribe={"timeout": "200ms", "retry_min": "10ms"})
        )
        await feed.start()
        try:
            await until(lambda: equal(venue, feed, sink))
            assert venue.unanswered == 0 and feed.subscriptions >= 4 and venue.connections == 1
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
        (
            {"resubscribe": {"retry_min": "20s"}},
            "resubscribe.retry_min: must not exceed resubscribe.retry_max",
        ),
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
