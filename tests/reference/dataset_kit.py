"""Decisions made by hand, for tests of what reads and writes them."""

import numpy as np

from quotelife.features.schema import NAMES
from quotelife.learn.dataset import LONGEST_NS, Decisions, ReferencePath, threshold_ticks
from quotelife.learn.labels import first_passage_ns, observed_ns
from quotelife.units import NS_PER_MS, NS_PER_S


def decisions(
    n: int = 40, *, seed: int = 1, instrument: str = "EUR", latency_ns: int = NS_PER_MS
) -> Decisions:
    """n decisions, both sides in turn, on a random walk of half ticks with one hole; one feature in ten is NaN."""
    rng = np.random.default_rng(seed)
    time = np.arange(0, n * 100 * NS_PER_MS + 10 * NS_PER_S, 50 * NS_PER_MS)
    good = np.ones(len(time), bool)
    good[[len(time) // 2, -1]] = False
    mid = np.where(good, 1000 + np.cumsum(rng.integers(-1, 2, len(time))) / 2, np.nan)
    path = ReferencePath(time, mid, mid + np.where(good, rng.uniform(-0.4, 0.4, len(time)), np.nan), good)
    now = np.sort(rng.integers(0, n * 100, n)) * NS_PER_MS
    side = np.where(np.arange(n) % 2, 1, -1).astype(np.int8)
    x = rng.normal(size=(n, len(NAMES))).astype(np.float32)
    x[rng.random(x.shape) < 0.1] = np.nan
    sigma = np.where(rng.random(n) < 0.1, np.nan, rng.uniform(0.5, 2, n))
    middle = path.at(now, "mid")
    watched = observed_ns(path, now, latency_ns=latency_ns, longest_ns=LONGEST_NS)
    thresholds = ("1tick", "0.5bp", "1sigma")
    h = np.stack([threshold_ticks(spec, sigma, middle) for spec in thresholds], axis=1)
    return Decisions(
        instrument=instrument,
        group=instrument,
        tick_size=0.01,
        reference="mid",
        latency_ns=latency_ns,
        now_ns=now,
        side=side,
        x=x,
        sigma_ticks=sigma,
        reference_ticks=middle,
        mid_ticks=middle,
        spread_ticks=np.ones(n),
        regime=rng.integers(0, 2, n).astype(np.int8),
        observed_ns=watched,
        h_ticks=h,
        passage_ns=np.stack(
            [
                first_passage_ns(
                    path, "mid", now, side, middle, each, latency_ns=latency_ns, observed_ns=watched
                )
                for each in h.T
            ],
            axis=1,
        ),
        path=path,
        thresholds=thresholds,
    )
