"""Rolling recalibration against a twin that keeps every label and fits without bins."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from quotelife.model.recalibration import LOGIT_MAX, UNKNOWN, RollingCalibration
from quotelife.records import HORIZONS_NS
from reference import calibration_twin as twin

S = 1_000_000_000
ANCHOR = (500_000_000,)
P500 = HORIZONS_NS.index(500_000_000)
P2S = HORIZONS_NS.index(2 * S)


def sigmoid(v: NDArray[np.float64]) -> NDArray[np.float64]:
    return np.asarray(1.0 / (1.0 + np.exp(-v)))


def stream(seed: int, n: int, a: float, b: float) -> tuple[NDArray[np.float64], NDArray[np.int8]]:
    """P as a model says it, and hits that follow logit P' = a + b logit P."""
    rng = np.random.default_rng(seed)
    z = rng.normal(-3.0, 1.5, n)
    return sigmoid(z), (rng.random(n) < sigmoid(a + b * z)).astype(np.int8)


def curves(p500: NDArray[np.float64]) -> NDArray[np.float64]:
    """Weibull curves through P(500 ms)."""
    return np.asarray(-np.expm1(np.log1p(-p500)[:, None] * (np.array(HORIZONS_NS) / 5e8) ** 1.2))


@pytest.mark.parametrize(("a", "b"), [(0.0, 1.0), (0.7, 1.0), (-1.0, 0.6), (0.5, 1.6)])
@pytest.mark.parametrize("n", [0, 1, 50, 5000])
def test_the_pair_is_that_of_a_newton_fit_without_bins(n: int, a: float, b: float) -> None:
    p, hit = stream(n, n, a, b)
    rolling = RollingCalibration(1800 * S, ridge=5.0, anchors_ns=ANCHOR)
    for i in range(n):
        rolling.add(i * 1_000_000, [p[i]], [hit[i]])
    assert rolling.at(n * 1_000_000)[0] == pytest.approx(twin.fit(p, hit, 5.0), abs=0.01)


def test_without_labels_the_curve_stays_as_it_is_to_the_bit() -> None:
    p = curves(np.array([0.013]))[0]
    assert RollingCalibration(S).apply(5, p).tolist() == p.tolist()


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 2**31), st.integers(100, 2000))
def test_prequential_sees_labels_known_by_then_within_the_window_and_nothing_else(seed: int, n: int) -> None:
    rng = np.random.default_rng(seed)
    now = np.sort(rng.integers(10 * S, 200 * S, n))
    p, _ = stream(seed, n, 0.0, 1.0)
    hit = rng.integers(UNKNOWN, 2, (n, 1)).astype(np.int8)
    resolved = (now + rng.integers(0, 5 * S, n))[:, None]
    rolling = RollingCalibration(30 * S, ridge=20.0, refit_ns=0, anchors_ns=ANCHOR)
    given_curves = curves(p)
    out, pairs = rolling.prequential(now, given_curves, resolved, hit)
    for i in rng.integers(0, n, 3):
        seen = [
            k
            for k in range(n)
            if hit[k, 0] != UNKNOWN
            and resolved[k, 0] <= now[i]
            and twin.in_window(30 * S, int(now[i]), int(resolved[k, 0]))
        ]
        a, b = twin.fit([given_curves[k, P500] for k in seen], [hit[k, 0] for k in seen], 20.0)
        # hits at random make a far from the identity: bins of a quarter of a logit tell
        expected_a, expected_b = np.clip(a, -4, 4), np.clip(b, 0.25, 4)
        if (a, b) == (expected_a, expected_b):
            assert pairs[i, 0] == pytest.approx((a, b), abs=0.03)
            logit = np.log(given_curves[i] / (1 - given_curves[i])).clip(-LOGIT_MAX, LOGIT_MAX)
            assert out[i] == pytest.approx(sigmoid(pairs[i, 0, 0] + pairs[i, 0, 1] * logit), rel=1e-9)


def test_later_labels_change_no_earlier_curve() -> None:
    n = 4000
    p, hit = stream(3, n, -1.0, 0.7)
    now = np.arange(n) * 100_000_000
    resolved = np.stack([now + 500_000_000, now + 2 * S], axis=1)
    hits = np.stack([hit, hit], axis=1)
    before, _ = RollingCalibration(100 * S).prequential(now, curves(p), resolved, hits)
    hits[n // 2 :] = 1
    after, _ = RollingCalibration(100 * S).prequential(now, curves(p), resolved, hits)
    known = now < now[n // 2] + 500_000_000
    assert np.array_equal(before[known], after[known])
    assert not np.array_equal(before, after)


def test_the_batch_is_what_one_by_one_gives() -> None:
    n = 3000
    p, hit = stream(5, n, 0.5, 0.8)
    now = np.arange(n) * 50_000_000
    resolved = np.repeat((now + 75_000_000)[:, None], 2, axis=1)
    rows = curves(p)
    batch, pairs = RollingCalibration(20 * S).prequential(now, rows, resolved, np.stack([hit, hit], axis=1))
    one = RollingCalibration(20 * S)
    for i in range(n):
        if i >= 2:
            one.add(int(resolved[i - 2, 0]), rows[i - 2, [P500, P2S]], [hit[i - 2]] * 2)
        assert one.at(int(now[i])).tolist() == pairs[i].tolist()
        assert one.apply(int(now[i]), rows[i]).tolist() == batch[i].tolist()


def test_what_has_left_the_window_leaves_no_trace() -> None:
    rolling = RollingCalibration(60 * S, anchors_ns=ANCHOR)
    p, hit = stream(1, 500, 2.0, 1.0)
    for i in range(500):
        rolling.add(i * 1_000_000, [p[i]], [hit[i]])
    assert rolling.at(S)[0].tolist() != [0.0, 1.0]
    assert rolling.at(62 * S)[0].tolist() == [0.0, 1.0]
    assert rolling.labels == ((0, 0),)


def test_pairs_change_no_more_often_than_refit_says() -> None:
    rolling = RollingCalibration(1000 * S, refit_ns=10 * S, anchors_ns=ANCHOR)
    p, hit = stream(2, 100, 2.0, 1.0)
    seen = []
    for i in range(100):
        rolling.add(i * S, [p[i]], [hit[i]])
        seen.append(rolling.at(i * S)[0].tolist())
    changes = [i for i in range(1, 100) if seen[i] != seen[i - 1]]
    assert changes == list(range(10, 100, 10))
    assert rolling.fits == 10


@pytest.mark.parametrize("hit", [0, 1])
def test_at_its_bounds_the_pair_is_the_best_that_they_leave(hit: int) -> None:
    """Whatever the labels, the pair stays inside, and no pair on a grid inside fits better."""
    rng = np.random.default_rng(4)
    p = sigmoid(rng.normal(-6.0 if hit else 3.0, 1.0, 3000))
    hits = np.full(3000, hit)
    rolling = RollingCalibration(1800 * S, ridge=1.0, anchors_ns=ANCHOR, a_max=1.5, b_min=0.5, b_max=2.0)
    for i in range(3000):
        rolling.add(i, [p[i]], [hits[i]])
    a, b = rolling.at(3000)[0]
    assert abs(a) <= 1.5
    assert 0.5 <= b <= 2.0
    z = np.array([twin.logit(value) for value in p])
    best = min(
        (twin.loss(z, hits.astype(float), 1.0, x, y), x, y)
        for x in np.linspace(-1.5, 1.5, 61)
        for y in np.linspace(0.5, 2.0, 61)
    )
    assert twin.loss(z, hits.astype(float), 1.0, a, b) <= best[0] + 1e-3 * abs(best[0])


CURVE = st.lists(st.floats(0.0, 1.0), min_size=12, max_size=12).map(sorted)
PAIR = st.tuples(st.floats(-4.0, 4.0), st.floats(0.25, 4.0))


@given(CURVE, CURVE, PAIR, PAIR)
def test_a_calibrated_curve_never_falls_and_rises_with_the_curve_before(
    p: list[float], q: list[float], first: tuple[float, float], second: tuple[float, float]
) -> None:
    """Never falls with τ; and where P falls with h before, it does so after."""
    rolling = RollingCalibration(S)
    lower, upper = np.minimum(p, q), np.maximum(p, q)
    low, high = rolling.calibrate([lower, upper], [first, second])
    assert np.all(np.diff(low) >= 0)
    assert np.all((low >= 0) & (high <= 1))
    assert np.all(low <= high)


def test_between_anchors_the_pair_is_linear_in_log_tau_and_level_outside() -> None:
    rolling = RollingCalibration(S)
    p = curves(np.array([0.02]))[0]
    out = rolling.calibrate(p, [(-0.5, 1.0), (0.5, 1.2)])[0]
    z = np.log(p / (1 - p))
    share = np.clip(np.log(np.array(HORIZONS_NS) / 5e8) / np.log(4.0), 0.0, 1.0)
    assert out == pytest.approx(np.maximum.accumulate(sigmoid(-0.5 + share + (1.0 + 0.2 * share) * z)))


def test_a_threshold_that_is_passed_stays_passed() -> None:
    assert RollingCalibration(S).calibrate(np.ones(12), [(-4.0, 0.3), (-4.0, 0.3)])[0].tolist() == [1.0] * 12


def test_rows_without_an_answer_stay_and_give_no_label() -> None:
    rolling = RollingCalibration(S)
    rows = np.full((2, 12), np.nan)
    out, _ = rolling.prequential([1, 2], rows, [[1, 1], [2, 2]], [[1, 1], [1, 1]])
    assert np.isnan(out).all()
    assert rolling.labels == ((0, 0), (0, 0))


def test_time_may_not_go_back_nor_a_label_come_before_its_decision() -> None:
    rolling = RollingCalibration(S)
    rolling.add(10, [0.1, 0.2], [1, 0])
    with pytest.raises(ValueError, match="goes back"):
        rolling.at(9)
    with pytest.raises(ValueError, match="before its decision"):
        rolling.prequential([20], np.full((1, 12), 0.1), [[19, 25]], [[0, 0]])
    with pytest.raises(ValueError, match="order of time"):
        rolling.prequential([30, 20], np.full((2, 12), 0.1), [[40, 40]] * 2, [[0, 0]] * 2)


@pytest.mark.parametrize(
    "settings_",
    [
        {"ridge": 0.0},
        {"b_min": 0.0},
        {"b_max": 0.5},
        {"anchors_ns": (500_000_001,)},
        {"anchors_ns": (2 * S, 500_000_000)},
        {"refit_ns": -1},
    ],
)
def test_settings_out_of_range_are_refused(settings_: dict[str, object]) -> None:
    with pytest.raises(ValueError, match="must"):
        RollingCalibration(S, **settings_)  # type: ignore[arg-type]
