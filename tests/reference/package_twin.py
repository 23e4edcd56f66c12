"""Packages in plain Python: docs/packages.md read literally, no shared code."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

GRID_S = (0.025, 0.05, 0.1, 0.15, 0.25, 0.5, 0.75, 1.0, 1.5, 2.0, 3.0, 5.0)


def first_passage(h: float, sigma: float) -> list[float]:
    """2Φ(−h/(σ√τ)) at each horizon."""
    if sigma == 0.0:
        return [0.0] * len(GRID_S)
    return [math.erfc(h / (sigma * math.sqrt(2.0 * tau))) for tau in GRID_S]


def frechet(curves: Sequence[Sequence[float]]) -> tuple[list[float], list[float]]:
    """The lower and the upper bound."""
    columns = list(zip(*curves, strict=True))
    return [max(column) for column in columns], [min(1.0, math.fsum(column)) for column in columns]


@dataclass
class Leg:
    """As it counts for the desk: ``side`` +1 long; prices in the currency of the underlying."""

    side: int
    ratio: float
    tick: float
    h_ticks: float
    delta: float
    gamma: float = 0.0
    vega: float = 0.0
    residual: bool = True  # greeks do not explain all of it


@dataclass
class ByGreeks:
    """What greeks make of a package; ``h`` in price units of the underlying, or of the package where neutral."""

    neutral: bool
    side: int
    net: float
    h: float
    residual: float  # price units per sqrt(second), of what ``h`` is in


def by_greeks(
    legs: Sequence[Leg], *, edge: float = 0.0, share: float, volatility_points: float, residual_ticks: float
) -> ByGreeks:
    net = sum(leg.side * leg.ratio * leg.delta for leg in legs)
    gross = sum(abs(leg.ratio * leg.delta) for leg in legs)
    gamma = sum(leg.side * leg.ratio * leg.gamma for leg in legs)
    vega = sum(leg.side * leg.ratio * leg.vega for leg in legs)
    h = max(edge, sum(leg.ratio * leg.tick * leg.h_ticks for leg in legs))
    residual = math.hypot(
        vega * volatility_points,
        *(leg.ratio * leg.tick * residual_ticks for leg in legs if leg.residual),
    )
    side = 1 if net >= 0 else -1
    if abs(net) <= share * gross:
        return ByGreeks(True, side, net, h, residual)
    low, high = 0.0, h / abs(net)
    if gamma < 0:  # the smallest move that costs h, by bisection
        for _ in range(200):
            x = (low + high) / 2
            low, high = (low, x) if abs(net) * x - gamma * x * x / 2 >= h else (x, high)
    return ByGreeks(False, side, net, high, residual / abs(net))
