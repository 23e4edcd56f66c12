"""One quote and one taker at a time, in plain Python: the oracle of ``quotelife.learn.flow``."""

from bisect import bisect_right
from collections.abc import Callable
from math import erf, log, sqrt

import numpy as np

from quotelife.learn.dataset import Decisions, ReferencePath
from quotelife.learn.labels import first_passage_ns, observed_ns

MS = 1_000_000
LONGEST = 5000 * MS
STEPS = (-1.5, -0.25, 0.0, 0.25, 1.5)
SHARES = (0.02, 0.32, 0.32, 0.32, 0.02)


def market(seed: int, *, seconds: int = 60, every_ms: int = 500, h: float = 1.0) -> Decisions:
    """A walk in steps of a quarter tick and a few jumps, asked on both sides; observed fully but for the end."""
    rng = np.random.default_rng(seed)
    time = np.cumsum(rng.integers(1 * MS, 60 * MS, size=seconds * 33)).astype(np.int64)
    mid = 1000.0 + np.cumsum(rng.choice(STEPS, size=len(time), p=SHARES))
    path = ReferencePath(
        time, mid, mid + rng.choice([-0.125, 0.125], size=len(time)), np.ones(len(time), bool)
    )
    now = np.repeat(np.arange(int(time[0]) + 1, int(time[-1]), every_ms * MS), 2)
    side = np.tile(np.array([-1, 1], dtype=np.int8), len(now) // 2)
    n = len(now)
    observed = observed_ns(path, now, latency_ns=0, longest_ns=LONGEST)
    reference = path.at(now, "microprice")
    passage = first_passage_ns(
        path, "microprice", now, side, reference, h, latency_ns=0, observed_ns=observed
    )
    return Decisions(
        instrument="X", group="x", tick_size=1.0, reference="microprice", latency_ns=0, now_ns=now, side=side,
        x=np.zeros((n, 88), np.float32), sigma_ticks=np.ones(n), reference_ticks=reference,
        mid_ticks=path.at(now, "mid"), spread_ticks=np.ones(n), regime=np.zeros(n, np.int8), observed_ns=observed,
        h_ticks=np.full((n, 1), h), passage_ns=passage[:, None], path=path, thresholds=("h",),
    )[observed >= LONGEST]  # fmt: skip


def price_at(times: list[int], values: list[float], at: int) -> float:
    return values[bisect_right(times, at) - 1]


def first(
    times: list[int], values: list[float], now: int, until: int, passed: Callable[[float], bool]
) -> int | None:
    """Age of the first value, from the one in force at ``now`` on, that has passed; None by ``until``."""
    place = bisect_right(times, now) - 1
    while place < len(times) and times[place] <= until:
        if passed(values[place]):
            return max(0, times[place] - now)
        place += 1
    return None


def accepted(age: float, median: float, sigma: float, latency: float) -> float:
    if age <= latency:
        return 0.0
    return 0.5 * (1.0 + erf((log(age - latency) - log(median)) / sigma / sqrt(2.0)))
