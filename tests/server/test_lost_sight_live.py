"""A service that is told too few levels, or keeps too few, loses sight of the best ones and comes back by itself."""

import asyncio
import time
from collections.abc import Callable, Sequence
from decimal import Decimal
from functools import partial
from pathlib import Path

from aiohttp import web
from aiohttp.test_utils import TestServer

from quotelife.book.quality import QualityCause
from quotelife.records import QualityCode
from quotelife.sim.market import MarketConfig, MarketSimulator, SymbolConfig
from quotelife.sim.updates import DepthUpdate, VenueUpdate
from quotelife.units import NS_PER_MS
from quotelife_server.app import Application
from quotelife_server.simvenue.streamed import SimulatedCoinbase
from quotelife_server.simvenue.venue import SimulatedVenue
from reference.service_kit import write_config

CUT_SNAPSHOT = """
version: 1
model: {{artifact: first_passage}}
instruments:
  - {{name: BTC, venue: binance-spot, symbol: BTCUSDT, tick_size: 0.1, lot_size: 0.001, warmup: 0s}}
feeds:
  - kind: binance
    name: line
    market: spot
    ws_url: ws://{address}
    rest_url: http://{address}
    instruments: [BTC]
    streams: [depth@100ms]
    snapshot: {{limit: 20, interval: 1ms, retry_min: 10ms, retry_max: 200ms}}
server: {{address: "127.0.0.1:0", metrics_address: "127.0.0.1:0", log_level: error}}
"""
SMALL_BOOK = """
version: 1
model: {{artifact: first_passage}}
instruments:
  - {{name: BTC, venue: coinbase, symbol: BTC-USD, tick_size: 0.1, lot_size: 0.001, warmup: 0s, book_levels_max: 20}}
feeds:
  - kind: coinbase
    name: line
    ws_url: ws://{address}
    instruments: [BTC]
    request_interval: 1ms
    resubscribe: {{retry_min: 10ms, retry_max: 200ms}}
server: {{address: "127.0.0.1:0", metrics_address: "127.0.0.1:0", log_level: error}}
"""
Tops = set[tuple[int, ...]]


def market(symbol: str) -> MarketSimulator:
    """18 ticks in a second: the twenty levels that the service has are left within a few."""
    moving = SymbolConfig(
        symbol=symbol,
        tick_size=Decimal("0.1"),
        lot_size=Decimal("0.001"),
        start_price=Decimal(60_000),
        volatility_bps=0.3,
    )
    config = MarketConfig(symbols=(moving,), market="spot", levels=300, depth_interval_ns=20 * NS_PER_MS)
    return MarketSimulator(config, 3, time.time_ns())


async def is_right_whenever_it_is_good(app: web.Application, config: str, tops: Tops, folder: Path) -> None:
    """Three times out of sight and back; ``tops`` are all that the venue had, bid and ask with their sizes."""
    server = TestServer(app)
    await server.start_server()
    path = write_config(folder, config.format(address=f"{server.host}:{server.port}"))
    good, spells, lost = 0, 0, False
    try:
        service = Application(path)
        await service.start()
        try:
            end = time.monotonic() + 20.0
            while spells < 3:
                assert time.monotonic() < end, (good, spells, [each.figures() for each in service.feeds])
                await asyncio.sleep(0.002)
                status = service.engine.instrument_status(0, service.engine.now_ns)
                if status.quality == QualityCode.GOOD:
                    shown = status.bid_ticks, status.bid_lots, status.ask_ticks, status.ask_lots
                    assert shown in tops
                    good += 1
                    spells += lost
                    lost = False
                elif status.quality_cause == QualityCause.BEYOND_KNOWN_DEPTH:
                    lost = True
            counters = service.feeds[0].figures().counters
            assert counters["drifts"] >= 3
            assert (counters["reconnects"], counters["gaps"]) == (0, 0)
        finally:
            await service.drain()
    finally:
        await server.close()
    assert good > 20


async def test_a_cut_snapshot_that_is_walked_out_of_is_asked_for_anew_and_good_is_always_right(
    tmp_path: Path,
) -> None:
    simulator = market("BTCUSDT")
    venue = SimulatedVenue(simulator)
    whole = simulator.snapshot(0, 5000)
    bids, asks = dict(whole.bids), dict(whole.asks)
    tops: Tops = set()

    def publish(before: Callable[[Sequence[VenueUpdate]], None], updates: Sequence[VenueUpdate]) -> None:
        for update in updates:
            if isinstance(update, DepthUpdate):
                for side, changes in ((bids, update.bids), (asks, update.asks)):
                    side.update(changes)
                    for price in [price for price, lots in changes if not lots]:
                        del side[price]
                bid, ask = max(bids), min(asks)
                tops.add((bid, bids[bid], ask, asks[ask]))
        before(updates)

    venue.publish = partial(publish, venue.publish)  # type: ignore[method-assign]
    await is_right_whenever_it_is_good(venue.app, CUT_SNAPSHOT, tops, tmp_path)


async def test_a_book_that_is_walked_out_of_comes_back_and_is_right_whenever_it_is_good(
    tmp_path: Path,
) -> None:
    venue = SimulatedCoinbase(market("BTC-USD"))
    book = venue.books[0]
    tops: Tops = set()

    def note() -> None:
        bid, ask = max(book.bids), min(book.asks)
        tops.add((bid, book.bids[bid], ask, book.asks[ask]))

    def apply(before: Callable[[DepthUpdate], None], update: DepthUpdate) -> None:
        before(update)
        note()

    note()
    book.apply = partial(apply, book.apply)  # type: ignore[method-assign]
    await is_right_whenever_it_is_good(venue.app, SMALL_BOOK, tops, tmp_path)
