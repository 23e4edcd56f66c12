"""Input weights: an input moves the lives of the postures that weight it, and no other's."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from quotelife.config.schema import ClientPriority, LiquidityProvider, RiskAverse, RiskInputs, Weights
from quotelife.decision.life import PostureLife
from quotelife.decision.risk import INPUTS, Risk, scaled_tolerance

RISK = Risk(RiskInputs())
POSTURES = {each.__name__: each() for each in (ClientPriority, LiquidityProvider, RiskAverse)}

# One step towards more risk and one towards less, in the feature that carries the input.
MOVES = {
    "fill_rate": ("counterparty_fill_rate", 0.1, 0.6),
    "size_ratio": ("counterparty_size_ratio", 3.0, 0.4),
    "depth": ("depth_ratio", 0.4, 2.5),
    "imbalance": ("book_imbalance", 0.5, -0.5),
    "inventory": ("inventory", 0.5, -0.5),
    "vwap_deviation": ("vwap_deviation_500ms", 1e-4, -1e-4),
    "cancel_rate": ("cancel_ratio", 3.0, 0.4),
    "spread_volatility": ("spread_volatility_ratio", 3.0, 0.4),
    "update_frequency": ("top_update_ratio", 3.0, 0.4),
    "driver_velocity": ("driver0_velocity_500ms", 0.05, -0.05),
}
WEIGHTED = {
    "ClientPriority": {"fill_rate", "size_ratio", "depth"},
    "LiquidityProvider": {"imbalance", "inventory", "vwap_deviation", "cancel_rate"},
    "RiskAverse": {"spread_volatility", "update_frequency", "driver_velocity"},
}


def life_ns(name: str, features: dict[str, float]) -> int:
    settings = POSTURES[name]
    alpha = scaled_tolerance(settings.tolerance, settings.weights.model_dump(), RISK.scores(features))
    return PostureLife(settings).life(0.03, alpha).life_ns


def test_every_input_has_a_weight_key_and_a_move() -> None:
    assert list(INPUTS) == list(Weights.model_fields) == list(RiskInputs.model_fields) == list(MOVES)


@pytest.mark.parametrize("posture", POSTURES)
@pytest.mark.parametrize("name", INPUTS)
def test_an_input_moves_exactly_the_postures_that_weight_it(posture: str, name: str) -> None:
    """More risk shortens, less lengthens; a posture that does not weight the input stays put."""
    feature, worse, better = MOVES[name]
    plain, risky, safe = (life_ns(posture, given_) for given_ in ({}, {feature: worse}, {feature: better}))
    if name in WEIGHTED[posture]:
        assert risky < plain < safe
    else:
        assert risky == plain == safe


def test_default_weights_are_small_and_as_the_table_says() -> None:
    """As shipped: small and non-zero for the inputs that a posture is about, zero for all others."""
    for name, settings in POSTURES.items():
        weights = settings.weights.model_dump()
        assert WEIGHTED[name] == {key for key, weight in weights.items() if weight}
        assert max(weights.values()) <= 0.1


def test_scores_are_standardised_and_clipped() -> None:
    scores = RISK.scores({"book_imbalance": 0.2, "cancel_ratio": math.exp(1.4), "inventory": -50.0})
    assert scores["imbalance"] == pytest.approx(0.5)
    assert scores["cancel_rate"] == pytest.approx(2.0)
    assert scores["inventory"] == -3.0


def test_an_input_that_is_not_valid_scores_zero() -> None:
    assert set(RISK.scores({}).values()) == {0.0}


def test_an_empty_depth_is_the_worst_and_no_cancels_the_best() -> None:
    """ln 0 ends at the clip, in the input's own direction, not in an infinity."""
    scores = RISK.scores({"depth_ratio": 0.0, "cancel_ratio": 0.0})
    assert (scores["depth"], scores["cancel_rate"]) == (3.0, -3.0)


@pytest.mark.parametrize(
    ("velocities", "expected"),
    [
        ((0.03, -0.06), 1.0),
        ((-0.06, 0.03), 1.0),
        ((-0.03, -0.06), -1.0),
        ((None, -0.03), -1.0),
        ((0.03, None), 1.0),
    ],
)
def test_the_worse_driver_counts(velocities: tuple[float | None, float | None], expected: float) -> None:
    features = {f"driver{i}_velocity_500ms": v for i, v in enumerate(velocities) if v is not None}
    assert RISK.scores(features)["driver_velocity"] == pytest.approx(expected)


def test_a_feature_that_is_no_number_scores_zero() -> None:
    assert RISK.scores({"book_imbalance": math.nan})["imbalance"] == 0.0


def test_weights_of_zero_leave_the_tolerance_alone() -> None:
    """The figures of ``test_life`` stand on this: not one bit may change."""
    assert scaled_tolerance(0.02, {}, dict.fromkeys(INPUTS, 3.0)) == 0.02


def test_tolerance_follows_the_formula_and_its_cap() -> None:
    weights, scores = {"depth": 0.1, "imbalance": 0.2}, {"depth": -1.0, "imbalance": 2.0}
    assert scaled_tolerance(0.1, weights, scores) == pytest.approx(0.1 * math.exp(-0.3))
    assert scaled_tolerance(0.4, {"depth": 10.0}, {"depth": -3.0}) == 0.5


@given(
    st.floats(1e-6, 0.5),
    st.dictionaries(st.sampled_from(INPUTS), st.floats(0, 10)),
    st.dictionaries(
        st.sampled_from([feature for feature, _, _ in MOVES.values()]), st.floats(allow_nan=True)
    ),
)
def test_tolerance_stays_in_its_range_whatever_comes(
    alpha: float, weights: dict[str, float], features: dict[str, float]
) -> None:
    """α stays above 0 and at most 0.5 even on infinities and NaN; scores stay within ±3."""
    scores = RISK.scores(features)
    assert all(-3 <= score <= 3 for score in scores.values())
    assert 0 < scaled_tolerance(alpha, weights, scores) <= 0.5
