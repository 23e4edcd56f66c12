"""A made-up market small enough to train on in a test: the mid drifts against what queue_imbalance says.

Its volatility swings, at times it is not known, and every minute the feed is gone for a second.
"""

import numpy as np

from quotelife.features.schema import INDEX, NAMES
from quotelife.learn.dataset import Decisions, ReferencePath
from quotelife.learn.labels import first_passage_ns, observed_ns
from quotelife.learn.samples import Market, markets
from quotelife.records import HORIZONS_NS

STEP_NS = 20_000_000
EVERY_NS = 100_000_000
SIGMA = 2.0  # in the middle; it swings from half to twice that
SWING_S = 40.0
HOLE_EVERY_S, HOLE_S = 60.0, 1.0
START_NS = 1_700_000_000_000_000_000


def decisions(
    seed: int, seconds: int = 240, *, instrument: str = "A", thresholds: tuple[float, ...] = (1.0, 3.0)
) -> Decisions:
    """Both sides ask every 100 ms, but in a hole. Signed imbalance z in [−1, 1] pushes the mid by 3·z ticks a second
    against it. σ is unknown for 2 s after a hole."""
    rng = np.random.default_rng(seed)
    steps = round(seconds * 1e9) // STEP_NS
    hold = round(2e9) // STEP_NS
    push = np.repeat(rng.uniform(-1.0, 1.0, steps // hold + 1), hold)[:steps]
    clock_s = STEP_NS * 1e-9 * np.arange(steps)
    sigma = SIGMA * 2.0 ** np.sin(2.0 * np.pi * clock_s / SWING_S)
    moves = rng.normal(0.0, sigma * np.sqrt(STEP_NS * 1e-9)) - 3.0 * push * STEP_NS * 1e-9
    time_ns = START_NS + STEP_NS * np.arange(steps, dtype=np.int64)
    mid = 10_000.0 + np.cumsum(moves)
    since_hole_s = clock_s % HOLE_EVERY_S - HOLE_EVERY_S / 2.0
    good = (since_hole_s < 0.0) | (since_hole_s >= HOLE_S)
    known = good & ((since_hole_s < 0.0) | (since_hole_s >= HOLE_S + 2.0))
    path = ReferencePath(time_ns, np.where(good, mid, np.nan), np.where(good, mid, np.nan), good)
    at = np.arange(steps // 10, steps, EVERY_NS // STEP_NS)
    at = at[good[at]]
    place, side = np.repeat(at, 2), np.tile(np.array([-1, 1], dtype=np.int8), len(at))
    now = time_ns[place]
    x = rng.normal(0.0, 1.0, (len(now), len(NAMES))).astype(np.float32)
    x[:, INDEX["queue_imbalance"]] = push[place] * side
    x[rng.random(x.shape) < 0.05] = np.nan
    n = len(now)
    watched = observed_ns(path, now, latency_ns=1_000_000, longest_ns=HORIZONS_NS[-1])
    h = np.tile(np.array(thresholds), (n, 1))
    passage = np.column_stack(
        [
            first_passage_ns(
                path, "mid", now, side, mid[place], h[:, j].copy(), latency_ns=1_000_000, observed_ns=watched
            )
            for j in range(len(thresholds))
        ]
    )
    return Decisions(
        instrument=instrument,
        group=instrument,
        tick_size=0.01,
        reference="mid",
        latency_ns=1_000_000,
        now_ns=now,
        side=side,
        x=x,
        sigma_ticks=np.where(known[place], sigma[place], np.nan),
        reference_ticks=mid[place],
        mid_ticks=mid[place],
        spread_ticks=np.ones(n),
        regime=np.zeros(n, dtype=np.int8),
        observed_ns=watched,
        h_ticks=h,
        passage_ns=passage,
        path=path,
        thresholds=tuple(f"{t:g}tick" for t in thresholds),
    )


def market(
    seed: int = 1, seconds: int = 240, *, instrument: str = "A", thresholds: tuple[float, ...] = (1.0, 3.0)
) -> Market:
    return markets([decisions(seed, seconds, instrument=instrument, thresholds=thresholds)])[0]
