"""A FIX feed with a sink that keeps books, and what tests wait for."""

import asyncio
import time
from collections.abc import Callable
from decimal import Decimal
from typing import Any

import structlog

from quotelife.feed.symbol_feed import SyncState
from quotelife.instruments import Instrument, InstrumentTable
from quotelife.records import EventBuffer
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
        "resubscribe": {"retry_min": "10ms", "retry_max": "20ms"},
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
