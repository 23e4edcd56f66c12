"""A service that asks the simulated Binance for short snapshots walks out of them, and comes back by itself."""

import asyncio
import time
from collections.abc import Sequence
from decimal import Decimal
from functools import partial
from pathlib import Path

from aiohttp.test_utils import TestServer

from quotelife.book.quality import QualityCause
from quotelife.records import QualityCode
from quotelife.sim.market import MarketConfig, MarketSimulator, SymbolConfig
from quotelife.sim.updates import DepthUpdate, VenueUpdate
from quotelife.units import NS_PER_MS
from quotelife_server.app import Application
from quotelife_server.simvenue.venue import SimulatedVenue
from reference.service_kit import write_config

CONFIG = """
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


async def test_a_cut_snapshot_that_is_walked_out_of_is_asked_for_anew_and_good_is_always_right(
    tmp_path: Path,
) -> None:
    symbol = SymbolConfig(
        symbol="BTCUSDT",
        tick_size=Decimal("0.1"),
        lot_size=Decimal("0.001"),
        start_price=Decimal(60_000),
        volatility_bps=0.3,  # 18 ticks in a second: the twenty levels told are left within a few
    )
    config = MarketConfig(symbols=(symbol,), market="spot", levels=300, depth_interval_ns=20 * NS_PER_MS)
    market = MarketSimulator(config, 3, time.time_ns())
    venue = SimulatedVenue(market)
    whole = market.snapshot(0, 5000)
    bids, asks = dict(whole.bids), dict(whole.asks)
    tops: set[tuple[int, ...]] = set()

    def publish(before: object, updates: Sequence[VenueUpdate]) -> None:
        for update in updates:
            if isinstance(update, DepthUpdate):
                for side, changes in ((bids, update.bids), (asks, update.asks)):
                    side.update(changes)
                    for price in [price for price, lots in changes if not lots]:
                        del side[price]
                bid, ask = max(bids), min(asks)
                tops.add((bid, bids[bid], ask, asks[ask]))
        before(updates)  # type: ignore[operator]

    venue.publish = partial(publish, venue.publish)  # type: ignore[method-assign]
    server = TestServer(venue.app)
    await server.start_server()
    path = write_config(tmp_path, CONFIG.format(address=f"{server.host}:{server.port}"))
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
