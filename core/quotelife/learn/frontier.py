"""Pick-offs of a policy against a fixed life at equal fill: the fair measure of who chooses lives well.

A family of lives has one parameter that makes all of them longer, searched for the values at which the benign fill
is what the levels ask; between two of them the pick-offs are linear in the fill, which is what a coin between the two
would give. A fixed life has its fill in closed form.
"""

from collections.abc import Callable
from math import exp, log
from typing import Any

import numpy as np

from quotelife.learn.bootstrap import block_sums, interval, weights
from quotelife.learn.dataset import Floats, Longs
from quotelife.learn.flow import Met

LEVELS = (0.2, 0.3, 0.5, 0.7, 0.9)
COARSE = 7
HALVINGS = 5
CLOSE = 0.005

Family = Callable[[float], Longs]


def static_picked(met: Met, level: float) -> Floats:
    """(n,) pick-offs of the fixed life with that fill."""
    life = np.full(len(met.decisions), met.flow.life_at_fill(level), dtype=np.int64)
    return met.settle(life).picked


def frontier(
    met: Met,
    family: Family,
    low: float,
    high: float,
    block: Longs,
    *,
    seed: int,
    levels: tuple[float, ...] = LEVELS,
) -> list[dict[str, Any]]:
    """For each level ``{fill, static, policy, change, interval}``: pick-offs a request and policy / static − 1.

    ``family`` gives lives (n,) for a parameter in [``low``, ``high``], both above 0, along which fill rises. A level
    beyond its reach has no policy and no change, and rows in too few blocks no interval.
    """
    points: dict[float, Floats] = {}

    def point(parameter: float) -> Floats:
        if parameter not in points:
            settled = met.settle(family(parameter))
            points[parameter] = block_sums(block, np.column_stack([settled.fill, settled.picked]))
        return points[parameter]

    def fill(parameter: float) -> float:
        return float(point(parameter)[:, 0].sum()) / rows / met.flow.hit_probability

    rows = len(met.decisions)
    for k in range(COARSE):
        point(exp(log(low) + (log(high) - log(low)) * k / (COARSE - 1)))
    for level in levels:
        for _ in range(HALVINGS):
            known = sorted(points)
            fills = [fill(parameter) for parameter in known]
            place = int(np.searchsorted(fills, level))
            if place in (0, len(known)) or min(abs(f - level) for f in fills) < CLOSE:
                break
            point(exp(0.5 * (log(known[place - 1]) + log(known[place]))))
    known = sorted(points)
    count = np.bincount(block).astype(np.float64)
    sums = np.stack([points[parameter] for parameter in known], axis=2)  # (blocks, 2, points)
    static = block_sums(block, np.column_stack([static_picked(met, level) for level in levels]))
    drawn = np.vstack([np.ones(len(count)), weights(len(count), seed=seed)])
    total = (drawn @ count)[:, None]
    fills_drawn = (drawn @ sums[:, 0, :]) / total / met.flow.hit_probability
    picked_drawn = (drawn @ sums[:, 1, :]) / total
    static_drawn = (drawn @ static) / total
    out = []
    for i, level in enumerate(levels):
        policy = np.array(
            [
                np.interp(level, np.maximum.accumulate(f), p, left=np.nan, right=np.nan)
                for f, p in zip(fills_drawn, picked_drawn, strict=True)
            ]
        )
        with np.errstate(divide="ignore", invalid="ignore"):
            change = policy / static_drawn[:, i] - 1.0
        reached = bool(np.isfinite(change[0]))
        out.append(
            {
                "fill": level,
                "static": float(static_drawn[0, i]),
                "policy": float(policy[0]) if reached else None,
                "change": float(change[0]) if reached else None,
                "interval": interval(change[1:], len(count)) if reached else None,
            }
        )
    return out
