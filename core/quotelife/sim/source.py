"""The simulated market as a source of a replay, headlines and all."""

from collections.abc import Iterator

import numpy as np

from quotelife.engine import Engine
from quotelife.errors import QuotelifeError
from quotelife.instruments import Instrument, InstrumentTable
from quotelife.records import NO_INDEX_VALUE, EventBuffer, SignalCode
from quotelife.replay.run import ReplayReport
from quotelife.sim.events import EventWriter
from quotelife.sim.market import MarketConfig, MarketSimulator, NewsShock, SymbolConfig
from quotelife.sim.updates import NewsItem, VenueUpdate
from quotelife.units import NS_PER_MS, NS_PER_S

LATENCY_NS = 1 * NS_PER_MS
SHOCK_GAP_S = 170.0  # mean calm between two shocks, beside ten seconds that are always calm
CALM_NS = 60 * NS_PER_S  # at the start, so that windows fill before the first shock
CHUNK_NS = 1 * NS_PER_S


class SimulatedSource:
    """``duration_ns`` of the market that ``seed`` and ``config`` give, with news shocks at random times.

    Its instruments are those of ``table`` with the symbols and grids of ``config``. Equal arguments give equal events.
    Raises ``QuotelifeError`` when one is not in the table.
    """

    def __init__(
        self,
        table: InstrumentTable,
        *,
        seed: int,
        start_ns: int,
        duration_ns: int,
        config: MarketConfig | None = None,
    ) -> None:
        self._config = config or MarketConfig()
        self.instruments = [instrument_of(table, symbol) for symbol in self._config.symbols]
        self._seed = seed
        self._start_ns = start_ns
        self._stop_ns = (
            start_ns + duration_ns // self._config.step_ns * self._config.step_ns
        )  # whole steps only

    def steps(self, engine: Engine, report: ReplayReport) -> Iterator[int]:
        """One update or headline a step."""
        market = MarketSimulator(self._config, self._seed, self._start_ns)
        for shock in shocks(self._seed, self._start_ns, self._stop_ns):
            market.schedule_shock(
                shock.start_ns,
                shock.duration_ns,
                intensity=shock.intensity,
                direction=shock.direction,
                score=shock.score,
            )
        buffer = EventBuffer(8192)
        writer = EventWriter(buffer, [each.index for each in self.instruments], LATENCY_NS)
        for symbol in range(len(self.instruments)):
            yield self._start_ns + LATENCY_NS
            writer.write_snapshot(market.snapshot(symbol))
            engine.on_events(buffer)
            buffer.clear()
        while market.now_ns < self._stop_ns:
            updates = market.advance(min(self._stop_ns, market.now_ns + CHUNK_NS))
            for item in in_order(updates, market.news()):
                yield item.time_ns + LATENCY_NS
                if isinstance(item, NewsItem):
                    engine.on_signal(
                        SignalCode.NEWS,
                        receive_ns=item.time_ns + LATENCY_NS,
                        source_ns=item.time_ns,
                        value=item.score,
                        instrument=NO_INDEX_VALUE
                        if item.symbol is None
                        else self.instruments[item.symbol].index,
                    )
                    report.signals += 1
                    continue
                writer.write(item)
                engine.on_events(buffer)
                buffer.clear()
                report.sources[self.instruments[item.symbol].name].lines += 1


def shocks(seed: int, start_ns: int, stop_ns: int) -> list[NewsShock]:
    """The news shocks of a simulated span: as often and as strong as those the shipped model was fitted on."""
    rng = np.random.default_rng([seed, 0x5EED])
    out: list[NewsShock] = []
    at = start_ns + CALM_NS
    while True:
        at += round(rng.exponential(SHOCK_GAP_S) * NS_PER_S) + 10 * NS_PER_S
        if at >= stop_ns:
            return out
        direction = int(rng.choice([-1, 1]))
        out.append(
            NewsShock(
                at,
                round(rng.uniform(1.0, 6.0) * NS_PER_S),
                intensity=float(rng.uniform(0.2, 1.0)),
                direction=direction,
                score=float(direction),
            )
        )


def in_order(updates: list[VenueUpdate], news: list[NewsItem]) -> Iterator[VenueUpdate | NewsItem]:
    """Both by time, a headline before what happens at the same instant."""
    waiting = list(news)
    for update in updates:
        while waiting and waiting[0].time_ns <= update.time_ns:
            yield waiting.pop(0)
        yield update
    yield from waiting


def instrument_of(table: InstrumentTable, wanted: SymbolConfig) -> Instrument:
    """The instrument with a symbol's name and grid; ``QuotelifeError`` when there is none."""
    for instrument in table:
        grid = (instrument.symbol, instrument.tick_size, instrument.lot_size)
        if grid == (wanted.symbol, wanted.tick_size, wanted.lot_size):
            return instrument
    raise QuotelifeError(
        f"the configuration has no instrument with symbol {wanted.symbol}, tick_size {wanted.tick_size} and lot_size "
        f"{wanted.lot_size}, which the simulated market trades; configs/demo has it"
    )
