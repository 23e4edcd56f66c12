"""The curve of trees: what its parameters mean, and which it refuses."""

import copy
import math
from typing import Any

import numpy as np
import pytest

from quotelife.errors import ArtifactError
from quotelife.features.schema import INDEX
from quotelife.model.artifact import load_artifact, save_artifact
from quotelife.model.tree_curve import TreeCurveModel
from reference import tree_kit

LEAF = tree_kit.LEAF
FEATURE = {"name": "queue_imbalance", "per": None, "reference": 0.0}
# One split on queue_imbalance at 0.5 (missing goes right), one on ln(h/σ) at ln 2.
STUMPS = tree_kit.packed(
    [3, 3], [1, LEAF, LEAF, 2, LEAF, LEAF], [0.5, -1.0, 1.0, math.log(2.0), 0.25, -0.25], 0.5
)
PLAIN: dict[str, Any] = {
    "intercepts": [0.0] * 12,
    "features": [FEATURE],
    "log_threshold": True,
    "ensembles": [{"weights": [1.0] * 12, **STUMPS}],
}


def changed(**parts: Any) -> dict[str, Any]:
    return {**copy.deepcopy(PLAIN), **parts}


def logits(
    parameters: dict[str, Any], features: dict[str, float], *, h: float = 1.0, sigma: float = 1.0
) -> Any:
    """Logit of P at each horizon."""
    curve = TreeCurveModel(parameters).curve(features, h_ticks=h, sigma_ticks=sigma)
    assert curve is not None
    return np.log(curve) - np.log1p(-curve)


@pytest.mark.parametrize(
    ("features", "h", "margin"),
    [
        ({"queue_imbalance": 0.4}, 1.0, 0.5 - 1.0 + 0.25),
        ({"queue_imbalance": 0.5}, 1.0, 0.5 + 1.0 + 0.25),
        ({"queue_imbalance": 0.4}, 3.0, 0.5 - 1.0 - 0.25),
        ({}, 1.0, 0.5 + 1.0 + 0.25),
        ({"queue_imbalance": math.nan}, 1.0, 0.5 + 1.0 + 0.25),
    ],
)
def test_the_margin_moves_every_bin(features: dict[str, float], h: float, margin: float) -> None:
    np.testing.assert_allclose(logits(PLAIN, features, h=h), [margin] * 12, atol=1e-9)


def test_each_horizon_has_its_intercept_and_its_weight_of_each_ensemble() -> None:
    other = tree_kit.packed([1], [LEAF], [3.0], 1.0)
    grid = np.arange(12)
    model = changed(
        intercepts=(grid - 6.0).tolist(),
        ensembles=[
            {"weights": (0.1 * grid).tolist(), **STUMPS},
            {"weights": (0.5 - 0.02 * grid).tolist(), **other},
        ],
    )
    expected = grid - 6.0 + 0.1 * grid * 1.75 + (0.5 - 0.02 * grid) * 4.0
    np.testing.assert_allclose(logits(model, {}), expected, atol=1e-9)


def test_a_horizon_that_would_fall_below_a_shorter_one_is_as_likely_as_that() -> None:
    """The largest so far, not the last: the third is above the second and below the first."""
    model = changed(intercepts=[0.0, -2.0, -1.0, 1.0, 0.5, *[2.0] * 7])
    expected = np.array([0.0, 0.0, 0.0, 1.0, 1.0, *[2.0] * 7]) + 1.75
    np.testing.assert_allclose(logits(model, {}), expected, atol=1e-9)


def test_it_falls_with_the_threshold_where_the_maximum_passes_from_one_horizon_to_another() -> None:
    """Weights and intercepts that take turns: P of every horizon falls in h all the same."""
    rng = np.random.default_rng(5)
    entry = tree_kit.random_ensemble(rng, 2, trees=40, depth=4, falls_with=(1,))
    model = TreeCurveModel(
        changed(
            intercepts=rng.normal(0.0, 1.0, 12).tolist(),
            ensembles=[{"weights": rng.uniform(0.0, 3.0, 12).tolist(), **entry}],
        )
    )
    curves = np.array(
        [
            model.curve({"queue_imbalance": 0.3}, h_ticks=h, sigma_ticks=1.0)
            for h in np.geomspace(0.01, 50, 300)
        ]
    )
    assert (np.diff(curves, axis=0) <= 0.0).all() and (np.diff(curves, axis=1) >= 0.0).all()
    assert np.ptp(curves[:, 5]) > 0.05


def test_columns_are_what_the_trees_read() -> None:
    """From what ``columns`` gives, ``margins`` come as by hand, and a missing input is NaN."""
    model = TreeCurveModel(changed(features=[{**FEATURE, "per": "sigma"}]))
    x = np.zeros((3, 128))
    x[:, INDEX["queue_imbalance"]] = [3.0, -1.0, 7.0]
    valid = np.full((3, 2), 2**64 - 1, dtype=np.uint64)
    valid[2] = 0
    columns = model.columns(x, valid, np.array([1.0, 4.0, 1.0]), np.full(3, 2.0))
    expected = [
        [1.5, math.log(0.5)],
        [-0.5, math.log(2.0)],
        [math.nan, math.log(0.5)],
    ]
    np.testing.assert_array_equal(columns, np.array(expected, dtype=np.float32))
    np.testing.assert_array_equal(model.margins(columns)[:, 0], [1.75, -0.75, 1.75])


def test_a_column_of_before_that_was_not_transformed_is_one_of_now() -> None:
    old = TreeCurveModel(changed(features=[{**FEATURE, "transform": "identity"}]))
    assert old.parameters() == TreeCurveModel(changed()).parameters()


@pytest.mark.parametrize(("x", "margin"), [(0.9, -0.25), (1.1, 1.75)])
def test_a_feature_per_sigma_is_divided_by_it(x: float, margin: float) -> None:
    model = changed(features=[{**FEATURE, "per": "sigma"}])
    np.testing.assert_allclose(
        logits(model, {"queue_imbalance": x}, h=2.0, sigma=2.0), [margin] * 12, atol=1e-9
    )


def with_room(tree: dict[str, Any], **parts: Any) -> dict[str, Any]:
    names = ("spread_ticks", "microprice_deviation")
    return changed(
        features=[{**FEATURE, "name": name} for name in names],
        log_room=True,
        ensembles=[{"weights": [1.0] * 12, **tree}],
        **parts,
    )


# One split on ln(h/room) at ln 2; missing goes left.
ROOM = tree_kit.packed([3], [4, LEAF, LEAF], [math.log(2.0), 1.0, -1.0], 0.0)


@pytest.mark.parametrize(
    ("spread", "deviation", "h", "margin"),
    [
        (4.0, 1.0, 1.99, 1.0),
        (4.0, 1.0, 2.01, -1.0),
        (4.0, -1.0, 5.99, 1.0),
        (4.0, -1.0, 6.01, -1.0),
        (4.0, 2.0, 1e-6, -1.0),
        (math.nan, 1.0, 100.0, 1.0),
        (4.0, math.nan, 100.0, 1.0),
    ],
)
def test_room_is_what_is_left_of_the_spread_on_the_side_of_the_adverse_move(
    spread: float, deviation: float, h: float, margin: float
) -> None:
    """Half the spread less the deviation, signed as models take it; none left is the least."""
    features = {"spread_ticks": spread, "microprice_deviation": deviation}
    known = {name: value for name, value in features.items() if not math.isnan(value)}
    np.testing.assert_allclose(logits(with_room(ROOM), known, h=h, sigma=h), [margin] * 12, atol=1e-9)


def test_effects_of_inputs_add_up() -> None:
    model = TreeCurveModel(PLAIN)
    told = model.attribute(
        {"queue_imbalance": 0.9}, h_ticks=1.0, sigma_ticks=1.0, h_reference=3.0, sigma_reference=1.0
    )
    assert told is not None
    assert told.logit == pytest.approx(told.baseline + sum(told.effects.values()), abs=1e-9)
    assert told.effects["queue_imbalance"] > 0.5 and told.effects["h_ticks"] > 0.5


RISING = tree_kit.packed([3], [2, LEAF, LEAF], [0.0, -1.0, 1.0], 0.0)


@pytest.mark.parametrize(
    ("parameters", "message"),
    [
        (changed(ensembles=[{"weights": [1.0] * 12, **RISING}]), "rises with the threshold"),
        (changed(ensembles=[]), "1 to 6"),
        (changed(ensembles=[{"weights": [1.0] * 12, **STUMPS}] * 7), "1 to 6"),
        (changed(ensembles=[{"weights": [*[1.0] * 11, -1e-9], **STUMPS}]), r"ensembles\[0\]\.weights"),
        (changed(ensembles=[{"weights": [1.0] * 11, **STUMPS}]), r"weights: a list of 12 numbers"),
        (changed(ensembles=[{"weights": 1.0, **STUMPS}]), r"weights: a list of 12 numbers"),
        (changed(intercepts=[0.0] * 13), "intercepts: a list of 12 numbers"),
        (
            changed(ensembles=[{"weights": [1.0] * 12, **STUMPS, "base": math.nan}]),
            r"ensembles\[0\]\.base",
        ),
        (
            changed(ensembles=[{"weights": [1.0] * 12, **STUMPS, "values": "a?"}]),
            r"ensembles\[0\]\.values: not base64",
        ),
        (
            changed(ensembles=[{"weights": [1.0] * 12, **STUMPS, "values": "YWI="}]),
            r"values: not base64 of f4",
        ),
        (changed(ensembles=[{"weights": [1.0] * 12, **STUMPS, "values": 7}]), r"values: text"),
        (changed(ensembles=[{"weights": [1.0] * 12, **STUMPS, "sizes": ""}]), r"ensembles\[0\]\.sizes"),
        (changed(features=[], log_threshold=True), "feature 1 is beyond"),
        (changed(features=[], log_threshold=False), "at least one column"),
        (changed(log_threshold=1), "log_threshold: true or false"),
        (changed(log_room=1), "log_room: true or false"),
        (changed(log_room=True), "log_room: reads spread_ticks and microprice_deviation; name them"),
        (
            with_room(tree_kit.packed([3], [4, LEAF, LEAF], [0.0, -1.0, 1.0], 0.0)),
            "rises with the threshold; train it with monotone_constraints -1 on column 2",
        ),
        (changed(offset={"coefficient": 1.0, "min": -1.0, "max": 1.0}), "remove unknown offset"),
        (changed(features=[{**FEATURE, "name": "threshold"}]), "log_threshold"),
        (changed(features=[{**FEATURE, "name": "moon_phase"}]), "moon_phase"),
        (changed(features=[{**FEATURE, "per": "tick"}]), "per"),
        (changed(features=[{**FEATURE, "transform": "log"}]), "train them again"),
        (changed(features=[{**FEATURE, "reference": None}]), "reference"),
        (changed(features=[FEATURE, {**FEATURE, "reference": 1.0}]), "another reference"),
        (changed(extra=1), "remove unknown extra"),
        ([], "an object"),
    ],
)
def test_parameters_that_do_not_fit_are_refused_by_name(parameters: Any, message: str) -> None:
    with pytest.raises(ArtifactError, match=message):
        TreeCurveModel(parameters)


def test_a_model_as_large_as_those_measured_is_stored(tmp_path: Any) -> None:
    """300 trees of depth 6."""
    entry = tree_kit.random_ensemble(np.random.default_rng(1), 2, trees=300, depth=6, falls_with=(1,))
    model = TreeCurveModel(changed(ensembles=[{"weights": [1.0] * 12, **entry}]))
    loaded = load_artifact(save_artifact(model, tmp_path, name="m", description=""))
    assert loaded.parameters() == model.parameters()
