"""A seeded market of correlated instruments: prices, order flow, news. No sockets, no wall clock.

Per symbol a latent efficient price moves as a diffusion with stochastic volatility; market makers keep the
book around it, and limit, cancel and market orders arrive as Poisson processes. A hidden order-flow signal
leans on sizes, on aggressor sides and on the drift of the latent price, so that book imbalance foretells the
next move modestly, as real books do. Correlation comes from one common factor.

A news shock multiplies volatility and order flow, tears the spread open and makes it jump, empties the side
that the price runs into, and replaces the common factor by symbol-own noise.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from decimal import Decimal
from math import exp, sqrt
from typing import Any, NamedTuple

from quotelife.sim.flow import SIZE_SPREAD, TILT, FlowState, SymbolFlow
from quotelife.sim.streams import RandomStream
from quotelife.sim.updates import BookSnapshot, NewsItem, VenueUpdate
from quotelife.units import NS_PER_MS, NS_PER_S

MARKETS = ("spot", "usdm", "coinm")

# The pull of the shock: everything is 1 in calm and this at intensity 1.
SHOCK_VOLATILITY = 8.0
SHOCK_FLOW = 8.0
SHOCK_HALF_SPREAD = 16.0
SHOCK_SIGNAL = 2.4  # hidden signal, in its own standard deviations, along the shock's direction
SHOCK_RISE_NS = 40 * NS_PER_MS

SIGNAL_SECONDS = 0.5  # memory of the hidden order-flow signal
SIGNAL_DRIFT = 0.9  # drift of the latent price per unit of signal, in sigmas per second
ACTIVITY_SPREAD = 0.2  # standard deviation of log-volatility
HALF_SPREAD_TICKS = 0.22
SPREAD_NOISE = 0.15  # standard deviation of the log of a half spread, in calm
SHOCK_SPREAD_NOISE = 0.45  # and what a full shock adds to it
ACTIVITY_SECONDS = 45.0  # memory of log-volatility
SPREAD_SECONDS = 0.12  # memory of the market makers' half spreads


@dataclass(frozen=True, slots=True)
class SymbolConfig:
    """One instrument of the simulated venue.

    ``volatility_bps`` is per square root of a second, ``flow_per_second`` counts limit, cancel and market
    orders together, ``level_lots`` is the typical size at one price, ``shock_drift_bps`` is how far a shock
    of intensity 1 drives the price over its whole duration. The rest says how makers quote in calm and what a
    shock of intensity 1 multiplies: ``half_spread_ticks`` and the standard deviation of its log, how far sizes
    spread (``size_spread``, of their log) and how strongly the hidden signal leans on them (``tilt``).
    """

    symbol: str
    tick_size: Decimal
    lot_size: Decimal
    start_price: Decimal
    volatility_bps: float = 0.1
    flow_per_second: float = 140.0
    level_lots: float = 1500.0
    shock_drift_bps: float = 6.0
    half_spread_ticks: float = HALF_SPREAD_TICKS
    spread_noise: float = SPREAD_NOISE
    shock_spread_noise: float = SHOCK_SPREAD_NOISE
    shock_half_spread: float = SHOCK_HALF_SPREAD
    shock_volatility: float = SHOCK_VOLATILITY
    shock_flow: float = SHOCK_FLOW
    size_spread: float = SIZE_SPREAD
    tilt: float = TILT

    def __post_init__(self) -> None:
        for name in (
            "tick_size",
            "lot_size",
            "start_price",
            "volatility_bps",
            "flow_per_second",
            "level_lots",
            "half_spread_ticks",
            "shock_half_spread",
            "shock_volatility",
            "shock_flow",
        ):
            if not getattr(self, name) > 0:
                raise ValueError(f"{self.symbol}: {name} must be above 0")
        for name in ("spread_noise", "shock_spread_noise", "size_spread", "tilt"):
            if not 0 <= getattr(self, name) <= 2:
                raise ValueError(f"{self.symbol}: {name} must lie in [0, 2]")
        if self.start_price % self.tick_size:
            raise ValueError(f"{self.symbol}: start_price must be a multiple of tick_size")
        if self.start_price / self.tick_size < 2000:
            raise ValueError(
                f"{self.symbol}: start_price must be at least 2000 ticks, so that the book has room"
            )


BTC = SymbolConfig(
    symbol="BTCUSDT",
    tick_size=Decimal("0.10"),
    lot_size=Decimal("0.001"),
    start_price=Decimal("60000.00"),
    volatility_bps=0.1,
    level_lots=1500.0,
    shock_drift_bps=2.0,
)
ETH = SymbolConfig(
    symbol="ETHUSDT",
    tick_size=Decimal("0.01"),
    lot_size=Decimal("0.001"),
    start_price=Decimal("3000.00"),
    volatility_bps=0.14,
    level_lots=15000.0,
    shock_drift_bps=8.0,
)


@dataclass(frozen=True, slots=True)
class MarketConfig:
    """The whole venue.

    ``correlation`` is that of latent returns between any two symbols. ``step_ns`` is the grid of the latent
    prices and the grain of ``advance``; ``depth_interval_ns``, a multiple of it, is the beat of the depth
    stream. ``levels`` populated a side are kept (a little fewer stand at times, more after a move).
    """

    symbols: tuple[SymbolConfig, ...] = (BTC, ETH)
    market: str = "usdm"
    correlation: float = 0.75
    depth_interval_ns: int = 100 * NS_PER_MS
    step_ns: int = 5 * NS_PER_MS
    levels: int = 40

    def __post_init__(self) -> None:
        if self.market not in MARKETS:
            raise ValueError(f"market must be one of {', '.join(MARKETS)}, not {self.market!r}")
        if not self.symbols:
            raise ValueError("symbols: name at least one")
        if len({symbol.symbol for symbol in self.symbols}) != len(self.symbols):
            raise ValueError("symbols must differ")
        if not 0 <= self.correlation < 1:
            raise ValueError("correlation must lie in [0, 1)")
        if self.step_ns <= 0 or self.depth_interval_ns <= 0 or self.depth_interval_ns % self.step_ns:
            raise ValueError("depth_interval_ns must be a positive multiple of step_ns")
        if not 20 <= self.levels <= 500:
            raise ValueError("levels must lie in 20..500")

    def index(self, symbol: str) -> int:
        """Dense number of a symbol; ``KeyError`` when there is none."""
        for i, config in enumerate(self.symbols):
            if config.symbol == symbol:
                return i
        raise KeyError(symbol)


@dataclass(frozen=True, slots=True)
class NewsShock:
    """A headline at ``start_ns`` and what it does to the market for ``duration_ns``, then fading.

    ``intensity`` 1 is the full shock, 0 none; ``direction`` −1 drives prices down, +1 up. ``fade_ns`` is the
    time constant of the return to calm. ``score`` ``None``: the market moves and no headline tells why.
    """

    start_ns: int
    duration_ns: int
    intensity: float = 1.0
    direction: int = -1
    score: float | None = -1.0
    symbol: int | None = None
    headline: str = "Headline: withdrawals halted at a large venue"
    fade_ns: int = 300 * NS_PER_MS

    def __post_init__(self) -> None:
        if self.duration_ns <= 0 or self.fade_ns <= 0:
            raise ValueError("duration_ns and fade_ns must be above 0")
        if self.direction not in (-1, 1):
            raise ValueError("direction must be -1 or 1")
        if not 0 <= self.intensity <= 2:
            raise ValueError("intensity must lie in [0, 2]")
        if self.score is not None and not -1 <= self.score <= 1:
            raise ValueError("score must lie in [-1, 1]")

    def moved_to(self, start_ns: int, direction: int) -> NewsShock:
        """The same shock at another time, in another direction."""
        return replace(self, start_ns=start_ns, direction=direction)

    def level(self, now_ns: int) -> float:
        """How much of the shock there is: 0 before, ``intensity`` during, fading after."""
        age = now_ns - self.start_ns
        if age <= 0:
            return 0.0
        if age <= self.duration_ns:
            return self.intensity * min(1.0, age / SHOCK_RISE_NS)
        gone = (age - self.duration_ns) / self.fade_ns
        return self.intensity * exp(-gone) if gone < 12 else 0.0


@dataclass(slots=True)
class _Latent:
    price_ticks: float
    sigma_ticks: float  # calm, per sqrt(second)
    drift_ticks: float  # over a whole shock of intensity 1
    signal: float = 0.0
    noise_bid: float = 0.0  # log half spreads, own noise
    noise_ask: float = 0.0
    state: FlowState = field(default_factory=FlowState)


class _Mood(NamedTuple):
    """What one symbol feels in one step: what follows from its shock alone, in calm the same step by step."""

    pull: float  # of the signal to its target
    target: float
    push: float  # drift, ticks per second
    common: float  # share of the common factor in a move, and of the symbol's own
    own: float
    volatility: float  # multiplies the calm one
    fresh: float  # new noise in the half spreads
    half_spread: float  # ticks
    flow: float  # multiplies the calm one


class MarketSimulator:
    """The simulated venue's matching side.

    ``advance(to_ns)`` simulates all whole steps up to ``to_ns`` and returns what happened, in time order. The
    stream depends on (config, seed, start, shocks) alone, not on how time is cut into calls.
    """

    def __init__(self, config: MarketConfig, seed: int, start_ns: int) -> None:
        self.config = config
        self.seed = seed
        self.start_ns = start_ns
        self.now_ns = start_ns
        self._common = RandomStream(seed, "latent")
        self._own = [RandomStream(seed, f"latent.{symbol.symbol}") for symbol in config.symbols]
        self._activity = 0.0
        self._shocks: list[NewsShock] = []
        self._news: deque[NewsItem] = deque()
        self._latent: list[_Latent] = []
        self._calm: list[_Mood] = []
        self._flows: list[SymbolFlow] = []
        stride = 1 if config.market == "spot" else 40
        for i, symbol in enumerate(config.symbols):
            price = float(symbol.start_price / symbol.tick_size)
            self._latent.append(
                _Latent(
                    price_ticks=price + 0.5,
                    sigma_ticks=price * symbol.volatility_bps * 1e-4,
                    drift_ticks=price * symbol.shock_drift_bps * 1e-4,
                )
            )
            self._calm.append(self._mood(i, None))
            self._flows.append(
                SymbolFlow(
                    index=i,
                    stream=RandomStream(seed, f"flow.{symbol.symbol}"),
                    flow_per_second=symbol.flow_per_second,
                    level_lots=symbol.level_lots,
                    levels=config.levels,
                    id_stride=stride,
                    start_ns=start_ns,
                    start_ticks=price + 0.5,
                    size_spread=symbol.size_spread,
                    tilt=symbol.tilt,
                )
            )

    def schedule_shock(self, at_ns: int, duration_ns: int, **settings: Any) -> NewsShock:
        """Plan a news shock; ``settings`` are the other fields of ``NewsShock``."""
        shock = NewsShock(start_ns=at_ns, duration_ns=duration_ns, **settings)
        self.add_shock(shock)
        return shock

    def add_shock(self, shock: NewsShock) -> None:
        """Plan a news shock; ``ValueError`` when it starts in the past or names no symbol of this market."""
        if shock.start_ns < self.now_ns:
            raise ValueError("start_ns: a shock cannot start in the past")
        if shock.symbol is not None and not 0 <= shock.symbol < len(self.config.symbols):
            raise ValueError(f"symbol must lie in 0..{len(self.config.symbols) - 1}")
        self._shocks.append(shock)
        self._shocks.sort(key=lambda planned: planned.start_ns)

    def shock_level(self, symbol: int) -> float:
        """How much of a shock a symbol feels now: 0 calm, 1 full."""
        shock = self._felt(self.now_ns, symbol)
        return shock.level(self.now_ns) if shock else 0.0

    def advance(self, to_ns: int) -> list[VenueUpdate]:
        """Simulate every whole step that ends by ``to_ns``; all updates of it, in time order."""
        step = self.config.step_ns
        interval = self.config.depth_interval_ns
        out: list[VenueUpdate] = []
        merged: list[VenueUpdate] = []
        while self.now_ns + step <= to_ns:
            begin = self.now_ns
            end = begin + step
            for shock in self._shocks:
                if begin <= shock.start_ns < end and shock.score is not None:
                    self._news.append(NewsItem(shock.start_ns, shock.symbol, shock.score, shock.headline))
            self._move_latent(begin, step)
            merged.clear()
            for latent, flow in zip(self._latent, self._flows, strict=True):
                flow.step(begin, end, latent.price_ticks, latent.state, merged)
            merged.sort(key=_time)
            out += merged
            if (end - self.start_ns) % interval == 0:
                for flow in self._flows:
                    batch = flow.take_batch(end)
                    if batch is not None:
                        out.append(batch)
            self.now_ns = end
        now = self.now_ns
        self._shocks = [s for s in self._shocks if s.start_ns >= now or s.level(now) > 0.0]
        return out

    def news(self) -> list[NewsItem]:
        """Headlines that have come out since the last call."""
        items = list(self._news)
        self._news.clear()
        return items

    def snapshot(self, symbol: int, limit: int = 1000) -> BookSnapshot:
        """The book as of everything that ``advance`` has returned, best ``limit`` levels a side."""
        return self._flows[symbol].snapshot(self.now_ns, limit)

    def latent_ticks(self, symbol: int) -> float:
        """The hidden efficient price: for tests of the simulator, not for its users."""
        return self._latent[symbol].price_ticks

    def run(self, seconds: float, chunk_ns: int = NS_PER_S) -> Iterator[VenueUpdate]:
        """Every update of the next ``seconds``, without holding more than a chunk of them."""
        stop = self.now_ns + round(seconds * NS_PER_S)
        while self.now_ns + self.config.step_ns <= stop:
            yield from self.advance(min(stop, self.now_ns + max(chunk_ns, self.config.step_ns)))

    def _move_latent(self, begin: int, step: int) -> None:
        dt = step / NS_PER_S
        root = sqrt(dt)
        wander = ACTIVITY_SPREAD * sqrt(2.0 * dt / ACTIVITY_SECONDS)
        self._activity += wander * self._common.normal() - self._activity * dt / ACTIVITY_SECONDS
        activity = exp(self._activity)
        factor = self._common.normal()
        stir = sqrt(2.0 * dt / SIGNAL_SECONDS)
        keep = exp(-dt / SPREAD_SECONDS)
        least = 4.0 * self.config.levels  # a book needs room above zero
        for i, (latent, own, mood) in enumerate(zip(self._latent, self._own, self._calm, strict=True)):
            if self._shocks:
                planned = self._felt(begin, i)
                if planned:
                    mood = self._mood(i, planned)
            normal = own.normal
            signal = latent.signal
            signal += (mood.target - signal) * mood.pull + stir * normal()
            latent.signal = signal
            sigma = latent.sigma_ticks * activity * mood.volatility
            move = (mood.common * factor + mood.own * normal()) * root
            drift = SIGNAL_DRIFT * latent.sigma_ticks * signal + mood.push
            latent.price_ticks = max(latent.price_ticks + sigma * move + drift * dt, least)
            latent.noise_bid = latent.noise_bid * keep + mood.fresh * normal()
            latent.noise_ask = latent.noise_ask * keep + mood.fresh * normal()
            state = latent.state
            state.half_bid = mood.half_spread * exp(latent.noise_bid)
            state.half_ask = mood.half_spread * exp(latent.noise_ask)
            state.signal = signal
            state.flow = activity * mood.flow

    def _mood(self, i: int, planned: NewsShock | None) -> _Mood:
        """Of symbol ``i`` in the step that begins now, in a shock or in calm."""
        begin = self.now_ns
        dt = self.config.step_ns / NS_PER_S
        symbol = self.config.symbols[i]
        shock = planned.level(begin) if planned else 0.0
        full = min(1.0, shock)
        push = 0.0
        if planned and begin < planned.start_ns + planned.duration_ns:
            push = planned.direction * shock * self._latent[i].drift_ticks * NS_PER_S / planned.duration_ns
        tied = self.config.correlation * (1.0 - full)
        keep = exp(-dt / SPREAD_SECONDS)
        return _Mood(
            # The signal runs to its target ten times faster in a shock than it wanders in calm.
            pull=min(1.0, (1.0 + 9.0 * full) * dt / SIGNAL_SECONDS),
            target=SHOCK_SIGNAL * planned.direction * full if planned else 0.0,
            push=push,
            common=sqrt(tied),
            own=sqrt(1.0 - tied),
            volatility=symbol.shock_volatility**shock,
            fresh=sqrt(1.0 - keep * keep) * (symbol.spread_noise + symbol.shock_spread_noise * full),
            half_spread=symbol.half_spread_ticks * symbol.shock_half_spread**shock,
            flow=symbol.shock_flow**shock,
        )

    def _felt(self, now_ns: int, symbol: int) -> NewsShock | None:
        """The strongest shock that a symbol feels, ``None`` in calm."""
        felt = None
        strongest = 0.0
        for shock in self._shocks:
            if shock.symbol in (None, symbol):
                level = shock.level(now_ns)
                if level > strongest:
                    felt, strongest = shock, level
        return felt


def _time(update: VenueUpdate) -> int:
    return update[0]
