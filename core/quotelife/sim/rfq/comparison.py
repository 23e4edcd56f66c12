"""A static expiry, alone and watched, against the engine's lives in one RFQ market: ``quotelife demo --scenario
rfq-market``."""

from collections.abc import Sequence
from typing import Any

from quotelife.config import Config
from quotelife.errors import QuotelifeError
from quotelife.model.curve import CurveModel
from quotelife.sim.market import MarketConfig, MarketSimulator
from quotelife.sim.rfq.accounts import Accounts
from quotelife.sim.rfq.dealers import Dealer, EngineDealer, StaticDealer
from quotelife.sim.rfq.market import Listener, RfqMarket
from quotelife.sim.rfq.population import CLIENTS, Client, Population
from quotelife.sim.source import instrument_of, shocks
from quotelife.units import NS_PER_MS, NS_PER_S

START_NS = 1_767_225_600 * NS_PER_S  # 2026-01-01T00:00:00Z
WARM_UP_NS = 10 * NS_PER_S  # before the first request: books and the first windows
TAIL_NS = 20 * NS_PER_S  # after the last one, so that nothing is left open
STATIC_LIFE_NS = 2 * NS_PER_S
EDGE_IN_H = 0.5  # so that a sniper takes something: he comes once the price has moved h
SECONDS_LEAST = 60.0
SECONDS_MOST = 24 * 3600.0


def compare(
    config: Config,
    *,
    seed: int,
    seconds: float,
    clients: Sequence[Client] = CLIENTS,
    per_second: float = 4.0,
    static_life_ns: int = STATIC_LIFE_NS,
    path_ns: int = 5 * NS_PER_MS,
    watch: bool = True,
    model: CurveModel | None = None,
    listeners: Sequence[Listener] = (),
) -> dict[str, Any]:
    """Three dealers in ``seconds`` of the simulated market with its news, on the same requests and at the same prices:
    a static expiry, the same with the engine's watch, and the engine's lives with it. ``watch`` false: nobody is
    watched, and there are two.

    Returns what was run and ``dealers``, the accounts: numbers, strings, lists and dicts, equal for equal arguments.
    Raises ``QuotelifeError`` where ``config`` does not know the simulated instruments, ``ValueError`` on ``seconds``
    outside [60, 86400].
    """
    if not SECONDS_LEAST <= seconds <= SECONDS_MOST:
        raise ValueError(f"seconds must lie in [{SECONDS_LEAST:g}, {SECONDS_MOST:g}]")
    market_config = MarketConfig()
    table = config.instrument_table()
    adverse = []
    for symbol in market_config.symbols:
        settings = config.instruments[instrument_of(table, symbol).index]
        if settings.adverse_bps <= 0:
            raise QuotelifeError(
                f"{settings.name}: adverse_bps is {settings.adverse_bps:g}; dealers quote {EDGE_IN_H:g} of it, so it "
                "must be above 0"
            )
        adverse.append(settings.adverse_bps)
    edges = [EDGE_IN_H * bps for bps in adverse]
    stop_ns = START_NS + round(seconds * NS_PER_S) // market_config.step_ns * market_config.step_ns
    market = MarketSimulator(market_config, seed, START_NS)
    planned = shocks(seed, START_NS, stop_ns)
    for shock in planned:
        market.add_shock(shock)
    static = f"static {static_life_ns / NS_PER_S:g} s"

    def asks_engine(name: str, life_ns: int | None = None) -> Dealer:
        return EngineDealer(
            name,
            config,
            symbols=market_config.symbols,
            edge_bps=edges,
            start_ns=START_NS - 1,
            model=model,
            watch=watch,
            life_ns=life_ns,
            path_ns=path_ns,
        )

    dealers: list[Dealer] = [
        StaticDealer(static, life_ns=static_life_ns, edge_bps=edges, adverse_bps=adverse),
        # What the watch does without the lives: else they would be credited with it.
        *([asks_engine(f"{static}, watched", static_life_ns)] if watch else []),
        asks_engine("quotelife"),
    ]
    population = Population(
        clients,
        symbols=len(market_config.symbols),
        seed=seed,
        start_ns=START_NS + WARM_UP_NS,
        stop_ns=stop_ns - TAIL_NS,
        per_second=per_second,
    )
    accounts = Accounts(
        [dealer.name for dealer in dealers], [symbol.tick_size for symbol in market_config.symbols]
    )
    RfqMarket(
        market, dealers, population.inquiries(), stop_ns=stop_ns, listeners=[accounts, *listeners]
    ).run()
    return {
        "scenario": "rfq-market",
        "seed": seed,
        "seconds": seconds,
        "shocks": len(planned),
        "requests_per_second": per_second,
        "edge_in_h": EDGE_IN_H,
        "adverse_bps": adverse,
        "withdrawal_path_ms": path_ns / NS_PER_MS,
        "watched": watch,
        "model": config.model.artifact if model is None else model.kind,
        "dealers": accounts.data(),
    }
