"""A service with a book smaller than that of the simulated Coinbase loses sight, and comes back by itself."""

import asyncio
import time
from collections.abc import Callable
from decimal import Decimal
from functools import partial
from pathlib import Path

from aiohttp.test_utils import TestServer

from quotelife.book.quality import QualityCause
from quotelife.records import QualityCode
from quotelife.sim.market import MarketConfig, MarketSimulator, SymbolConfig
from quotelife.sim.updates import DepthUpdate
from quotelife.units import NS_PER_MS
from quotelife_server.app import Application
from quotelife_server.simvenue.streamed import SimulatedCoinbase
from reference.service_kit import write_config

CONFIG = """
version: 1
model: {{artifact: first_passage}}
instruments:
  - {{name: BTC, venue: coinbase, symbol: BTC-USD, tick_size: 0.1, lot_size: 0.001, warmup: 0s, book_levels_max: 20}}
feeds:
  - kind: coinbase
    name: line
    ws_url: {url}
    instruments: [BTC]
    request_interval: 1ms
    resubscribe: {{retry_min: 10ms, retry_max: 200ms}}
server: {{address: "127.0.0.1:0", metrics_address: "127.0.0.1:0", log_level: error}}
"""


async def test_a_book_that_is_walked_out_of_comes_back_and_is_right_whenever_it_is_good(
    tmp_path: Path,
) -> None:
    symbol = SymbolConfig(
        symbol="BTC-USD",
        tick_size=Decimal("0.1"),
        lot_size=Decimal("0.001"),
        start_price=Decimal(60_000),
        volatility_bps=0.3,  # 18 ticks in a second: the twenty levels kept are left within a few
    )
    market = MarketConfig(symbols=(symbol,), levels=300, depth_interval_ns=20 * NS_PER_MS)
    venue = SimulatedCoinbase(MarketSimulator(market, 3, time.time_ns()))
    book = venue.books[0]
    tops: set[tuple[int, ...]] = set()

    def note() -> None:
        bid, ask = max(book.bids), min(book.asks)
        tops.add((bid, book.bids[bid], ask, book.asks[ask]))

    def apply(before: Callable[[DepthUpdate], None], update: DepthUpdate) -> None:
        before(update)
        note()

    note()
    book.apply = partial(apply, book.apply)  # type: ignore[method-assign]
    server = TestServer(venue.app)
    await server.start_server()
    path = write_config(tmp_path, CONFIG.format(url=f"ws://{server.host}:{server.port}"))
    good, spells, lost = 0, 0, False
    try:
        app = Application(path)
        await app.start()
        try:
            end = time.monotonic() + 20.0
            while spells < 3:
                assert time.monotonic() < end, (good, spells, [each.figures() for each in app.feeds])
                await asyncio.sleep(0.002)
                status = app.engine.instrument_status(0, app.engine.now_ns)
                if status.quality == QualityCode.GOOD:
                    shown = status.bid_ticks, status.bid_lots, status.ask_ticks, status.ask_lots
                    assert shown in tops
                    good += 1
                    spells += lost
                    lost = False
                elif status.quality_cause == QualityCause.BEYOND_KNOWN_DEPTH:
                    lost = True
            counters = app.feeds[0].figures().counters
            assert counters["drifts"] >= 3
            assert (counters["reconnects"], counters["gaps"]) == (0, 0)
        finally:
            await app.drain()
    finally:
        await server.close()
    assert good > 20
