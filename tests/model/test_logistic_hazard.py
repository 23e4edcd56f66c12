"""The logistic hazard: what its parameters mean, and which it refuses."""

import copy
import math
from typing import Any

import numpy as np
import pytest

from quotelife.errors import ArtifactError
from quotelife.model.curve import first_passage
from quotelife.model.logistic import LogisticHazardModel
from quotelife.model.transform import TRANSFORMS, apply
from reference import model_twin

PLAIN: dict[str, Any] = {
    "intercepts": [0.0] * 12,
    "clip": 8.0,
    "offset": {"coefficient": 1.0, "min": -700.0, "max": 700.0},
    "features": [],
}
TERM = {
    "name": "queue_imbalance",
    "transform": "identity",
    "mean": 0.0,
    "scale": 1.0,
    "weight": 0.5,
    "slope": 0.0,
    "missing": 0.0,
}


def changed(**parts: Any) -> dict[str, Any]:
    return {**copy.deepcopy(PLAIN), **parts}


@pytest.mark.parametrize("ratio", np.geomspace(1e-6, 60.0, 60))
def test_with_offset_alone_it_is_first_passage(ratio: float) -> None:
    """c = 1, w = b = 0 reproduces first passage to rounding, relative to P however small P is."""
    curve = LogisticHazardModel(PLAIN).curve({}, h_ticks=ratio, sigma_ticks=1.0)
    np.testing.assert_allclose(curve, first_passage(ratio, 1.0), rtol=1e-11, atol=1e-290)


def test_without_offset_it_is_a_plain_hazard_and_needs_no_volatility() -> None:
    model = LogisticHazardModel(
        changed(intercepts=[math.log(0.1 / 0.9)] * 12, offset={**PLAIN["offset"], "coefficient": 0.0})
    )
    curve = model.curve({}, h_ticks=1.0, sigma_ticks=math.nan)
    np.testing.assert_allclose(curve, 1.0 - 0.9 ** np.arange(1, 13), rtol=1e-14)


def test_small_probabilities_keep_their_digits() -> None:
    model = LogisticHazardModel(
        changed(intercepts=[-60.0] * 12, offset={**PLAIN["offset"], "coefficient": 0.0})
    )
    curve = model.curve({}, h_ticks=1.0, sigma_ticks=1.0)
    np.testing.assert_allclose(curve, math.exp(-60.0) * np.arange(1, 13), rtol=1e-12)


def test_an_invalid_feature_adds_its_missing_term_instead() -> None:
    model = LogisticHazardModel(changed(features=[{**TERM, "mean": 0.3, "slope": 0.2, "missing": 0.7}]))
    shifted = LogisticHazardModel(changed(intercepts=[0.7] * 12))
    assert np.allclose(
        model.curve({}, h_ticks=1.0, sigma_ticks=1.0),
        shifted.curve({}, h_ticks=1.0, sigma_ticks=1.0),
        rtol=1e-14,
    )
    assert not np.allclose(
        model.curve({"queue_imbalance": 0.0}, h_ticks=1.0, sigma_ticks=1.0),
        shifted.curve({}, h_ticks=1.0, sigma_ticks=1.0),
    )


def test_the_slope_turns_the_weight_over_the_horizon_around_500_ms() -> None:
    """At 500 ms only the weight counts; a positive slope makes the feature count more beyond."""
    features = {"queue_imbalance": 1.0}
    sloped = LogisticHazardModel(changed(features=[{**TERM, "slope": 0.3}]))
    level = LogisticHazardModel(changed(features=[TERM]))
    bin_hazard = []
    for model in (sloped, level):
        p = np.concatenate([[0.0], model.curve(features, h_ticks=2.0, sigma_ticks=2.0)])
        bin_hazard.append(np.diff(p) / (1.0 - p[:-1]))
    logit = np.log(bin_hazard) - np.log1p(-np.array(bin_hazard))
    expected = 0.3 * np.log(np.array(model_twin.GRID_MS) / 500.0)
    np.testing.assert_allclose(logit[0] - logit[1], expected, atol=1e-9)


def test_features_are_clipped_after_scaling() -> None:
    model = LogisticHazardModel(changed(clip=2.0, features=[TERM]))
    at_clip, beyond = (
        model.curve({"queue_imbalance": v}, h_ticks=1.0, sigma_ticks=1.0) for v in (2.0, 1e300)
    )
    assert at_clip is not None and beyond is not None
    assert at_clip.tolist() == beyond.tolist()


def test_the_offset_is_clipped() -> None:
    """A diffusion calls a far threshold impossible; a market jumps: the floor of the offset leaves room."""
    model = LogisticHazardModel(changed(offset={"coefficient": 1.0, "min": -10.0, "max": 10.0}))
    curve = model.curve({}, h_ticks=1000.0, sigma_ticks=1.0)
    assert curve is not None
    np.testing.assert_allclose(curve[0], 1.0 / (1.0 + math.exp(10.0)), rtol=1e-12)


@pytest.mark.parametrize("name", TRANSFORMS)
@pytest.mark.parametrize("x", [-1e300, -3.0, -1e-12, 0.0, 1e-12, 0.5, 7.0, 1e300])
def test_transforms_are_those_of_the_twin(name: str, x: float) -> None:
    assert apply(name, x) == pytest.approx(model_twin.TRANSFORM[name](x), rel=1e-12, abs=1e-15)


@pytest.mark.parametrize(
    ("parameters", "message"),
    [
        (changed(intercepts=[0.0] * 11), "intercepts"),
        (changed(intercepts=[0.0] * 11 + [math.nan]), r"intercepts\.11"),
        (changed(intercepts=[0.0] * 11 + [True]), r"intercepts\.11"),
        (changed(intercepts=[0.0] * 11 + [10**400]), r"intercepts\.11"),
        (changed(clip=0.0), r"parameters\.clip"),
        (changed(offset={"coefficient": math.inf, "min": -1.0, "max": 1.0}), r"offset\.coefficient"),
        (changed(offset={"coefficient": 1.0, "min": 1.0, "max": -1.0}), r"offset\.max"),
        (changed(offset={"coefficient": 1.0, "min": 1.0}), "offset: add max"),
        (changed(extra=1), "remove unknown extra"),
        (changed(features={}), "features"),
        (changed(features=[7]), r"features\[0\]: an object"),
        (changed(features=[TERM, TERM]), r"features\[1\].*twice"),
        (changed(features=[{**TERM, "name": "moon_phase"}]), "moon_phase"),
        (changed(features=[{**TERM, "name": None}]), "name: text"),
        (changed(features=[{**TERM, "transform": "sqrt"}]), "sqrt"),
        (changed(features=[{**TERM, "transform": []}]), "transform: text"),
        (changed(features=[{**TERM, "transform": "log"}]), "loses the sign"),
        (changed(features=[{**TERM, "scale": 0.0}]), "scale"),
        (changed(features=[{**TERM, "weight": "1"}]), "weight"),
        ([], "an object"),
    ],
)
def test_parameters_that_do_not_fit_are_refused_by_name(parameters: Any, message: str) -> None:
    with pytest.raises(ArtifactError, match=message):
        LogisticHazardModel(parameters)
