"""A simulated market as batches of events, one venue update each, and the configuration it belongs to."""

from collections.abc import Iterator

from quotelife.config import Config
from quotelife.engine import Engine
from quotelife.records import EventBuffer
from quotelife.sim.events import EventWriter
from quotelife.sim.market import BTC, ETH, MarketConfig, MarketSimulator
from quotelife.units import NS_PER_S

START_NS = 1_700_000_000 * NS_PER_S
CONFIG = Config.model_validate_json("""{
  "version": 1,
  "model": {"artifact": "logistic"},
  "instruments": [
    {"name": "BTC", "venue": "sim", "symbol": "BTCUSDT", "tick_size": "0.1", "lot_size": "0.001", "warmup": "1s",
     "drivers": ["ETH"], "volatility_index": "dvol"},
    {"name": "ETH", "venue": "sim", "symbol": "ETHUSDT", "tick_size": "0.01", "lot_size": "0.001", "warmup": "1s",
     "drivers": ["BTC"]}],
  "tiers": {"strategic": {"posture": "client_priority"}, "regular": {"posture": "liquidity_provider"}},
  "counterparties": {"alpha": {"tier": "strategic"}, "beta": {"tier": "regular"}},
  "desks": {"main": {"allow_request_override": true}, "other": {}},
  "signals": {"volatility_indices": ["dvol"]}
}""")


def market(seconds: float, seed: int = 1, start_ns: int = START_NS) -> Iterator[EventBuffer]:
    """The updates of BTC and ETH, each in a buffer that is good until the next."""
    simulator = MarketSimulator(MarketConfig(symbols=(BTC, ETH)), seed, start_ns)
    buffer = EventBuffer(65536)
    writer = EventWriter(buffer, [0, 1])
    simulator.advance(start_ns + NS_PER_S)
    for symbol in (0, 1):
        writer.write_snapshot(simulator.snapshot(symbol))
        yield buffer
        buffer.clear()
    for update in simulator.run(seconds):
        writer.write(update)
        yield buffer
        buffer.clear()


def play(engine: Engine, buffer: EventBuffer) -> None:
    """One update, and a timer behind it."""
    engine.on_events(buffer)
    engine.on_timer(engine.now_ns)
