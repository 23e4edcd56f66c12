"""The sums of calibration against a plain twin, and how often they are wrong."""

import math

import numpy as np
import pytest

from quotelife.config.schema import Cusum
from quotelife.model.ladder import cusum_limits
from quotelife.model.monitor import CusumView

TAU = 1000


def twin(labels: list[tuple[int, float, bool]], odds: float) -> tuple[float, float]:
    """Block by block over a sorted copy: mean log likelihood ratio of each, summed with a floor of 0, by parity; the
    newest block of each parity is still open."""
    values = {0: [0.0, 0.0], 1: [0.0, 0.0]}
    blocks: dict[int, list[list[float]]] = {}
    for decided, p, hit in labels:
        w = []
        for ratio in (odds, 1 / odds):
            w.append((math.log(ratio) if hit else 0.0) - math.log(1 - p + ratio * p))
        blocks.setdefault(decided // TAU, []).append(w)
    newest = {parity: max((b for b in blocks if b % 2 == parity), default=None) for parity in (0, 1)}
    for block in sorted(blocks):
        if block == newest[block % 2]:
            continue
        for k in range(2):
            mean = sum(w[k] for w in blocks[block]) / len(blocks[block])
            values[block % 2][k] = max(0.0, values[block % 2][k] + mean)
    return max(values[0][0], values[1][0]), max(values[0][1], values[1][1])


@pytest.mark.parametrize("odds", [1.5, 2.0, 4.0])
def test_sums_are_those_of_a_plain_twin(odds: float) -> None:
    rng = np.random.default_rng(5)
    view, labels, seen = CusumView(TAU, odds), [], []
    decided = 10 * TAU
    for i in range(3000):
        decided += int(rng.integers(0, 700))
        p = float(rng.beta(1, 12))
        hit = bool(rng.random() < min(1.0, p * (3 if 1000 < i < 2000 else 1)))
        labels.append((decided, p, hit))
        found = view.add(decided, p, hit)
        if i % 97 == 0:
            assert found == pytest.approx(twin(labels, odds), abs=1e-9)
        seen.append(found[0])
    assert max(seen) > 5.0
    view.reset()
    assert view.values == (0.0, 0.0)


def shared_fate(
    rng: np.random.Generator, blocks: int, p: float, wrong: float = 1.0
) -> list[tuple[int, float, bool]]:
    """Eight labels a block that all hit or all miss: as dependent as can be. The share of hits is ``wrong`` times p."""
    return [
        (block * TAU + 100 * i, p, hit)
        for block, hit in enumerate(rng.random(blocks) < wrong * p)
        for i in range(8)
    ]


@pytest.mark.parametrize("p", [0.005, 0.05, 0.3])
def test_a_right_model_is_found_wrong_no_more_often_than_the_limit_says(p: float) -> None:
    """Mean time between false alarms of one direction: at least e^limit blocks, whatever labels share (see monitor)."""
    rng = np.random.default_rng(6)
    blocks, limit = 60_000, math.log(2000)
    for direction in range(2):
        view, alarms = CusumView(TAU), 0
        for label in shared_fate(rng, blocks, p):
            if view.add(*label)[direction] >= limit:
                alarms += 1
                view.reset()
        assert alarms <= blocks / 2000 + 3 * math.sqrt(blocks / 2000)


def test_p_three_times_too_low_is_found_within_the_time_the_docs_tell() -> None:
    """At P = .05: (limit / mean w of the truth) blocks of each parity; the median of ten markets within twice that."""
    rng = np.random.default_rng(7)
    p, truth, limit = 0.05, 0.15, math.log(4 * 86_400 * 30 / 2)
    drift = truth * math.log(2) - math.log(1 + p)
    delays = []
    for _ in range(10):
        view = CusumView(TAU)
        for label in shared_fate(rng, 20_000, p, wrong=3.0):
            if view.add(*label)[0] >= limit:
                delays.append(label[0] // TAU)
                break
    assert len(delays) == 10
    assert np.median(delays) < 2 * 2 * limit / drift


def test_odds_below_the_allowance_never_add_up() -> None:
    """A quarter more hits than P says is not what is looked for (R = 2: up to 1.44 times the odds)."""
    rng = np.random.default_rng(8)
    view = CusumView(TAU)
    top = max(view.add(*label)[0] for label in shared_fate(rng, 50_000, 0.05, wrong=1.25))
    assert top < math.log(4 * 86_400 * 30 / 2)


def false_alarms(groups: int, limits: list[float], seconds: int) -> int:
    """How often any sum of any of ``groups`` right models comes to its limit, and begins anew: both horizons and both
    directions, labels of one block all alike, groups apart from each other."""
    rng, alarms = np.random.default_rng(groups), 0
    for _ in range(groups):
        for tau_ns, limit in zip((500_000_000, 2_000_000_000), limits, strict=True):
            low, high = CusumView(tau_ns, 4.0), CusumView(tau_ns, 4.0)
            for block, hit in enumerate((rng.random(seconds * 1_000_000_000 // tau_ns) < 0.3).tolist()):
                for k, view in enumerate((low, high)):
                    if view.add(block * tau_ns, 0.3, hit)[k] >= limit:
                        alarms += 1
                        view.reset()
    return alarms


def test_false_alarms_of_many_groups_together_are_no_more_often_than_configured() -> None:
    """300 groups for ten minutes, one alarm in two minutes allowed over all. The limits of a single group let through
    many times that: what is configured is of the service."""
    cusum = Cusum(warn="2min")
    groups, seconds = 300, 600
    allowed = seconds / 120
    at = [limits[0] for limits in cusum_limits(cusum, groups)]
    assert false_alarms(groups, at, seconds) <= allowed + 3 * math.sqrt(allowed)
    alone = [limits[0] for limits in cusum_limits(cusum, 1)]
    assert false_alarms(groups, alone, seconds) > 10 * allowed


def test_a_limit_is_the_logarithm_of_the_blocks_in_its_time_over_all_sums() -> None:
    for k, tau_s in enumerate((0.5, 2.0)):
        for n in (1, 1000):
            want = [math.log(4 * n * days * 86_400 / tau_s) for days in (1, 7, 30)]
            assert cusum_limits(Cusum(), n)[k] == pytest.approx(want, rel=1e-12)
    with pytest.raises(ValueError, match="at least one monitor"):
        cusum_limits(Cusum(), 0)


@pytest.mark.parametrize(("tau", "odds"), [(0, 2.0), (1, 1.0), (1, math.nan)])
def test_what_makes_no_sum_is_refused(tau: int, odds: float) -> None:
    with pytest.raises(ValueError, match="above"):
        CusumView(tau, odds)
