"""The tree hazard: what its parameters mean, and which it refuses."""

import copy
import math
from typing import Any

import numpy as np
import pytest

from quotelife.errors import ArtifactError
from quotelife.features.schema import INDEX
from quotelife.model.artifact import load_artifact, save_artifact
from quotelife.model.curve import first_passage
from quotelife.model.tree_hazard import TreeHazardModel
from reference import tree_kit

LEAF = tree_kit.LEAF
FEATURE = {"name": "queue_imbalance", "transform": "identity", "per": None, "reference": 0.0}
# One split on queue_imbalance at 0.5 (missing goes right), one on ln(h/σ) at ln 2.
STUMPS = tree_kit.packed(
    [3, 3], [1, LEAF, LEAF, 2, LEAF, LEAF], [0.5, -1.0, 1.0, math.log(2.0), 0.25, -0.25], 0.5
)
PLAIN: dict[str, Any] = {
    "intercepts": [0.0] * 12,
    "offset": {"coefficient": 1.0, "min": -700.0, "max": 700.0},
    "features": [FEATURE],
    "log_threshold": True,
    "ensembles": [{"weight": 1.0, "slope": 0.0, **STUMPS}],
}


def changed(**parts: Any) -> dict[str, Any]:
    return {**copy.deepcopy(PLAIN), **parts}


def logits(
    parameters: dict[str, Any], features: dict[str, float], *, h: float = 1.0, sigma: float = 1.0
) -> Any:
    """Logit of each bin's hazard less first passage's."""
    out = []
    for curve in (
        TreeHazardModel(parameters).curve(features, h_ticks=h, sigma_ticks=sigma),
        first_passage(h, sigma),
    ):
        assert curve is not None
        p = np.concatenate([[0.0], curve])
        hazard = np.diff(p) / (1.0 - p[:-1])
        out.append(np.log(hazard) - np.log1p(-hazard))
    return out[0] - out[1]


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


def test_the_slope_turns_the_margin_over_the_horizon() -> None:
    got = logits(changed(ensembles=[{"weight": 2.0, "slope": 0.3, **STUMPS}]), {"queue_imbalance": 1.0})
    grid = np.array([25, 50, 100, 150, 250, 500, 750, 1000, 1500, 2000, 3000, 5000]) / 500.0
    np.testing.assert_allclose(got, (2.0 + 0.3 * np.log(grid)) * 1.75, atol=1e-9)


def test_each_ensemble_has_its_weight_and_slope() -> None:
    other = tree_kit.packed([1], [LEAF], [3.0], 1.0)
    model = changed(
        ensembles=[{"weight": 0.5, "slope": 0.1, **STUMPS}, {"weight": 0.25, "slope": -0.1, **other}]
    )
    grid = np.log(np.array([25, 50, 100, 150, 250, 500, 750, 1000, 1500, 2000, 3000, 5000]) / 500.0)
    expected = (0.5 + 0.1 * grid) * 1.75 + (0.25 - 0.1 * grid) * 4.0
    np.testing.assert_allclose(logits(model, {}), expected, atol=1e-9)


def test_columns_are_what_the_trees_read() -> None:
    """From what ``columns`` gives, ``margins`` come as by hand, and a missing input is NaN."""
    model = TreeHazardModel(changed(features=[{**FEATURE, "per": "sigma", "transform": "asinh"}]))
    x = np.zeros((3, 128))
    x[:, INDEX["queue_imbalance"]] = [3.0, -1.0, 7.0]
    valid = np.full((3, 2), 2**64 - 1, dtype=np.uint64)
    valid[2] = 0
    columns = model.columns(x, valid, np.array([1.0, 4.0, 1.0]), np.full(3, 2.0))
    expected = [
        [math.asinh(1.5), math.log(0.5)],
        [math.asinh(-0.5), math.log(2.0)],
        [math.nan, math.log(0.5)],
    ]
    np.testing.assert_array_equal(columns, np.array(expected, dtype=np.float32))
    np.testing.assert_array_equal(model.margins(columns)[:, 0], [1.75, -0.75, 1.75])


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
        ensembles=[{"weight": 1.0, "slope": 0.0, **tree}],
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
    model = TreeHazardModel(PLAIN)
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
        (changed(ensembles=[{"weight": 1.0, "slope": 0.0, **RISING}]), "rises with the threshold"),
        (changed(ensembles=[]), "1 to 4"),
        (changed(ensembles=[{"weight": 1.0, "slope": 0.0, **STUMPS}] * 5), "1 to 4"),
        (changed(ensembles=[{"weight": -1.0, "slope": 0.0, **STUMPS}]), r"ensembles\[0\]\.weight"),
        (
            changed(ensembles=[{"weight": 1.0, "slope": 0.0, **STUMPS, "base": math.nan}]),
            r"ensembles\[0\]\.base",
        ),
        (
            changed(ensembles=[{"weight": 1.0, "slope": 0.0, **STUMPS, "values": "a?"}]),
            r"ensembles\[0\]\.values: not base64",
        ),
        (
            changed(ensembles=[{"weight": 1.0, "slope": 0.0, **STUMPS, "values": "YWI="}]),
            r"values: not base64 of f4",
        ),
        (changed(ensembles=[{"weight": 1.0, "slope": 0.0, **STUMPS, "values": 7}]), r"values: text"),
        (changed(ensembles=[{"weight": 1.0, "slope": 0.0, **STUMPS, "sizes": ""}]), r"ensembles\[0\]\.sizes"),
        (changed(features=[], log_threshold=True), "feature 1 is beyond"),
        (changed(features=[], log_threshold=False), "at least one column"),
        (changed(log_threshold=1), "log_threshold: true or false"),
        (changed(log_room=1), "log_room: true or false"),
        (changed(log_room=True), "log_room: reads spread_ticks and microprice_deviation; name them"),
        (
            with_room(tree_kit.packed([3], [4, LEAF, LEAF], [0.0, -1.0, 1.0], 0.0)),
            "rises with the threshold; train it with monotone_constraints -1 on column 2",
        ),
        (changed(ensembles=[{"weight": 1.0, "slope": 0.4, **STUMPS}]), "below 0 at horizon 0"),
        (changed(ensembles=[{"weight": 1.0, "slope": -0.5, **STUMPS}]), "below 0 at horizon 11"),
        (changed(offset={"coefficient": -1.0, "min": -1.0, "max": 1.0}), "rise with the threshold"),
        (changed(features=[{**FEATURE, "name": "threshold"}]), "log_threshold"),
        (changed(features=[{**FEATURE, "name": "moon_phase"}]), "moon_phase"),
        (changed(features=[{**FEATURE, "per": "tick"}]), "per"),
        (changed(features=[{**FEATURE, "transform": "log"}]), "loses the sign"),
        (changed(features=[{**FEATURE, "reference": None}]), "reference"),
        (changed(features=[FEATURE, {**FEATURE, "reference": 1.0}]), "another reference"),
        (changed(extra=1), "remove unknown extra"),
        ([], "an object"),
    ],
)
def test_parameters_that_do_not_fit_are_refused_by_name(parameters: Any, message: str) -> None:
    with pytest.raises(ArtifactError, match=message):
        TreeHazardModel(parameters)


def test_a_model_as_large_as_those_measured_is_stored(tmp_path: Any) -> None:
    """300 trees of depth 6."""
    entry = tree_kit.random_ensemble(np.random.default_rng(1), 2, trees=300, depth=6, falls_with=(1,))
    model = TreeHazardModel(changed(ensembles=[{"weight": 1.0, "slope": 0.0, **entry}]))
    loaded = load_artifact(save_artifact(model, tmp_path, name="m", description=""))
    assert loaded.parameters() == model.parameters()
