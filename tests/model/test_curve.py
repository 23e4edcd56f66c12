"""The curve between its grid points, and backwards."""

import math
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from quotelife.model.curve import enforce, first_passage, invert, probability_at
from quotelife.records import HORIZONS_NS
from reference import model_twin

GAMMA = 1.7317483049889
LAST = HORIZONS_NS[-1]
TAU = st.integers(min_value=-5, max_value=2 * LAST)
PROBABILITY = st.one_of(
    st.floats(0.0, 1.0),
    st.sampled_from([0.0, 5e-324, 1e-300, 1e-17, 1e-9, 0.5, 1.0 - 2**-53, 1.0]),
    st.floats(-30.0, 0.0).map(lambda e: 10.0**e),
)
CURVE = st.lists(PROBABILITY, min_size=12, max_size=12).map(sorted)


def weibull(p500: float, gamma: float = GAMMA) -> np.ndarray:
    return -np.expm1(math.log1p(-p500) * (np.array(HORIZONS_NS) / 500e6) ** gamma)


@given(CURVE)
def test_grid_points_are_returned_as_they_are(p: list[float]) -> None:
    assert [probability_at(p, tau) for tau in HORIZONS_NS] == p


@pytest.mark.parametrize("tau_ms", [1, 10, 24.9, 33, 75, 333, 700, 1234, 4999, 7000])
def test_a_weibull_time_is_read_exactly_also_before_and_after_the_grid(tau_ms: float) -> None:
    expected = -math.expm1(math.log1p(-0.15) * (tau_ms / 500.0) ** GAMMA)
    assert probability_at(weibull(0.15), int(tau_ms * 1e6)) == pytest.approx(expected, rel=1e-12)


def test_a_hazard_of_zero_is_read_as_the_smallest_there_is() -> None:
    p = [0.0] * 5 + [-math.expm1(-0.2)] * 7
    half_way = math.sqrt(250e6 * 500e6)
    assert probability_at(p, int(half_way)) == pytest.approx(-math.expm1(-math.sqrt(1e-12 * 0.2)), rel=1e-6)
    assert probability_at(p, 200_000_000) == 0.0


def test_a_life_is_not_longer_where_the_curve_rises_from_zero() -> None:
    p = [0.0] * 7 + [1.0] * 5
    higher = [x + 0.25 * (1 - x) for x in p]
    assert invert(higher, 0.5) <= invert(p, 0.5)


def test_before_the_grid_the_hazard_is_never_above_the_straight_line() -> None:
    p = [0.2] + [0.21] * 11  # front-loaded: the segment's own exponent is far below 1
    assert probability_at(p, 12_500_000) == pytest.approx(-math.expm1(math.log1p(-0.2) / 2), rel=1e-14)


def test_a_threshold_passed_already_leaves_no_life() -> None:
    p = [1.0] * 12
    assert [probability_at(p, tau) for tau in (0, 1, 10**7, LAST + 1)] == [0.0, 1.0, 1.0, 1.0]
    assert [invert(p, alpha) for alpha in (0.0, 0.5, 1.0)] == [0, 0, LAST]


def test_certainty_inside_the_grid_is_reached_without_infinities() -> None:
    p = [0.0] * 3 + [0.1] * 3 + [1.0] * 6
    taus = np.linspace(1, LAST, 500).astype(int)
    values = [probability_at(p, int(tau)) for tau in taus]
    assert np.isfinite(values).all() and (np.diff(values) >= 0).all()
    assert HORIZONS_NS[5] < invert(p, 0.9) < HORIZONS_NS[6]


@settings(max_examples=300)
@given(CURVE, st.lists(TAU, min_size=2, max_size=20).map(sorted))
def test_never_falls_and_stays_between_its_neighbours(p: list[float], taus: list[int]) -> None:
    values = [probability_at(p, tau) for tau in taus]
    assert all(0.0 <= value <= 1.0 for value in values)
    for a, b in pairwise(values):
        assert b >= a * (1.0 - 1e-13)  # exp and log round in the last place
    for tau, value in zip(taus, values, strict=True):
        for grid, known in zip(HORIZONS_NS, p, strict=True):
            assert value <= known if tau <= grid else value >= known


@settings(max_examples=300)
@given(CURVE, TAU)
def test_follows_the_written_rules(p: list[float], tau: int) -> None:
    assert probability_at(p, tau) == pytest.approx(model_twin.probability_at(p, tau), rel=1e-9, abs=1e-300)


@settings(max_examples=500)
@given(CURVE, PROBABILITY)
def test_the_inverse_never_exceeds_alpha_and_a_little_more_does(p: list[float], alpha: float) -> None:
    tau = invert(p, alpha)
    assert 0 <= tau <= LAST
    assert probability_at(p, tau) <= alpha
    if tau < LAST:
        beyond = probability_at(p, tau + 2)
        assert beyond > alpha or beyond == pytest.approx(alpha, rel=1e-12)


@settings(max_examples=300)
@given(CURVE, PROBABILITY, PROBABILITY)
def test_the_inverse_rises_with_alpha(p: list[float], a: float, b: float) -> None:
    low, high = sorted((a, b))
    assert invert(p, low) <= invert(p, high) + 1


@settings(max_examples=200)
@given(CURVE, st.floats(1e-6, 0.999))
def test_the_inverse_agrees_with_bisection(p: list[float], alpha: float) -> None:
    low, high = 0, LAST + 1
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (middle, high) if model_twin.probability_at(p, middle) <= alpha else (low, middle)
    tau = invert(p, alpha)
    assert abs(tau - low) <= 2 or model_twin.probability_at(p, max(tau, low)) == pytest.approx(
        alpha, rel=1e-9
    )


def test_the_last_horizon_means_never_exceeded_on_the_grid() -> None:
    p = weibull(0.001)
    assert invert(p, p[-1]) == LAST
    assert invert(p, np.nextafter(p[-1], 0.0)) < LAST


@pytest.mark.parametrize("alpha", [-1e-300, -1.0, math.nan, -math.inf])
def test_no_tolerance_gives_no_life(alpha: float) -> None:
    assert invert(weibull(0.01), alpha) == 0


@pytest.mark.parametrize(
    ("p500", "life_ms"),
    [(0.01, 748.29), (0.02, 500.0), (0.05, 291.95), (0.10, 192.66), (0.15, 150.0), (0.20, 124.91)],
)
def test_a_weibull_curve_inverts_to_the_tolerance_lives(p500: float, life_ms: float) -> None:
    """The whole curve gives the life that P(500 ms) alone gives."""
    assert invert(weibull(p500), 0.02) / 1e6 == pytest.approx(life_ms, abs=0.006)


def test_enforce_clips_and_takes_the_running_maximum() -> None:
    assert enforce([-0.1, 0.2, 0.1, 0.3] + [2.0] * 8).tolist() == [0.0, 0.2, 0.2, 0.3] + [1.0] * 8
    with pytest.raises(ValueError, match="NaN"):
        enforce([0.0] * 11 + [math.nan])


@pytest.mark.parametrize("p", [[0.1] * 11, [0.2, 0.1] + [0.3] * 10, [math.nan] * 12, [0.5] * 11 + [1.1]])
def test_what_is_no_curve_is_refused(p: list[float]) -> None:
    with pytest.raises(ValueError, match="curve"):
        probability_at(p, 1)
    with pytest.raises(ValueError, match="curve"):
        invert(p, 0.1)


def test_first_passage_leaves_nothing_out_at_its_edges() -> None:
    assert first_passage(0.0, 1.0).tolist() == [1.0] * 12
    assert first_passage(-1.0, 0.0).tolist() == [1.0] * 12
    assert first_passage(1.0, 0.0).tolist() == [0.0] * 12
    assert first_passage(1.0, math.nan).tolist() == [1.0] * 12
    assert first_passage(math.nan, 1.0).tolist() == [1.0] * 12
    assert first_passage(1.0, -1.0).tolist() == [1.0] * 12
    assert first_passage(1.0, math.inf).tolist() == [1.0] * 12
    assert first_passage(math.inf, 1.0).tolist() == [0.0] * 12
