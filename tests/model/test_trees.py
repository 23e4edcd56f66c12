"""Trees add up to XGBoost's margins, bit for bit, and no file is read that could not be evaluated."""

import itertools
import json
from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from quotelife.errors import ArtifactError
from quotelife.learn.boosters import ensemble_parameters
from quotelife.model.booster_file import read_booster
from quotelife.model.tree_curve import unpack
from quotelife.model.trees import LEAF, TreeEnsemble
from reference import tree_kit

xgboost = pytest.importorskip("xgboost", reason="pip install 'quotelife[learn]'")
COLUMNS = 9


def table(rng: np.random.Generator, n: int) -> np.ndarray:
    """Rows as a market could give them and as it could not: a constant column, ties, NaN, infinities, extremes."""
    x = rng.normal(size=(n, COLUMNS)).astype(np.float32)
    x[:, 1] = 3.0
    x[:, 2] = np.round(x[:, 2])
    x[:, 3] *= np.float32(1e20)
    x[rng.random(x.shape) < 0.1] = np.nan
    return x


def extreme(rng: np.random.Generator, x: np.ndarray, booster: Any) -> np.ndarray:
    """Some values on thresholds of the booster or beside them, some infinite, some the largest and smallest."""
    out = x.copy()
    ensemble = read_booster(bytes(booster.save_raw("ubj")))
    split = np.flatnonzero(ensemble.slots != LEAF)
    if len(split):
        chosen = rng.choice(split, size=len(x))
        on = ensemble.values[chosen]
        step = rng.choice(np.array([-np.inf, np.inf, np.nan], np.float32), size=len(x))
        on = np.where(np.isnan(step), on, np.nextafter(on, step))
        out[np.arange(len(x)), ensemble.slots[chosen] // 2] = on
    odd = np.array([np.inf, -np.inf, 3.4e38, -3.4e38, 1e-45, -0.0, 0.0], np.float32)
    where = rng.random(x.shape) < 0.05
    out[where] = rng.choice(odd, size=int(where.sum()))
    return out


def train(seed: int, depth: int, trees: int, **options: Any) -> Any:
    rng = np.random.default_rng(seed)
    x = table(rng, 400)
    y = (np.nan_to_num(x[:, 0] * x[:, 2]) + rng.normal(size=400) > 0.3).astype(float)
    fixed = {"objective": "binary:logistic", "max_depth": depth, "nthread": 1, "min_child_weight": 0.1}
    return xgboost.train(fixed | options, xgboost.DMatrix(x, y), trees)


@pytest.fixture(scope="module")
def small() -> Any:
    return train(3, 3, 4)


def equal_margins(booster: Any, rng: np.random.Generator, rows: int) -> None:
    x = extreme(rng, table(rng, rows), booster)
    expected = booster.inplace_predict(x, predict_type="margin")
    for form in ("ubj", "json"):
        ensemble = read_booster(bytes(booster.save_raw(form)))
        assert ensemble.margins(x).tobytes() == expected.astype(np.float32).tobytes()
    linked = TreeEnsemble(
        ensemble.features, ensemble.base, ensemble.sizes, ensemble.slots, ensemble.values, fill=0
    )
    assert linked.margins(x).tobytes() == expected.tobytes()


SHAPES = [
    (1, 1),
    (1, 30),
    (2, 8),
    (3, 17),
    (4, 100),
    (5, 7),
    (6, 40),
    (7, 9),
    (8, 3),
    (9, 16),
    (10, 25),
    (12, 9),
]


@pytest.mark.parametrize(("depth", "trees"), SHAPES)
def test_margins_are_xgboosts_bit_for_bit(depth: int, trees: int) -> None:
    equal_margins(train(depth, depth, trees), np.random.default_rng(depth), 3_000)


@pytest.mark.parametrize("base_score", [1e-6, 0.01, 0.1, 0.3, 0.5, 1 / 3, 0.77, 0.999, 1 - 1e-6])
def test_the_base_margin_is_rounded_as_xgboost_rounds_it(base_score: float) -> None:
    equal_margins(train(1, 3, 5, base_score=base_score), np.random.default_rng(1), 500)


@pytest.mark.parametrize(
    ("objective", "options"),
    [
        ("reg:squarederror", {}),
        ("reg:logistic", {}),
        ("count:poisson", {"base_score": 0.7}),
        ("reg:gamma", {"base_score": 0.7}),
        ("binary:logistic", {"num_parallel_tree": 3, "subsample": 0.5}),
        ("binary:logistic", {"tree_method": "exact", "gamma": 2.0}),
        ("binary:logistic", {"grow_policy": "lossguide", "max_leaves": 20, "max_depth": 0}),
        ("binary:logistic", {"monotone_constraints": (1, 0, -1, 0, 0, 0, 0, 0, 0)}),
        ("binary:logistic", {"booster": "gbtree", "learning_rate": 1e-3}),
    ],
)
def test_margins_of_other_objectives_and_ways_to_grow(objective: str, options: dict[str, Any]) -> None:
    rng = np.random.default_rng(2)
    x = table(rng, 400)
    y = rng.uniform(0.01, 0.99, 400) if not objective.startswith("binary") else rng.integers(0, 2, 400)
    booster = xgboost.train(
        {"max_depth": 4, "nthread": 1, **options, "objective": objective}, xgboost.DMatrix(x, y), 12
    )
    equal_margins(booster, rng, 1_000)


def test_margins_of_accelerated_failure_times() -> None:
    rng = np.random.default_rng(5)
    x = table(rng, 400)
    data = xgboost.DMatrix(x)
    low = rng.uniform(0.1, 5, 400)
    data.set_float_info("label_lower_bound", low)
    data.set_float_info("label_upper_bound", np.where(rng.random(400) < 0.3, np.inf, low))
    booster = xgboost.train({"objective": "survival:aft", "max_depth": 4, "nthread": 1}, data, 20)
    equal_margins(booster, rng, 2_000)


@pytest.mark.slow
@pytest.mark.parametrize("depth", range(1, 11))
@pytest.mark.parametrize("trees", [1, 50, 500])
def test_margins_of_a_million_rows(depth: int, trees: int) -> None:
    """30 boosters by 40,000 rows."""
    base_score = float(np.random.default_rng(trees + depth).uniform(0.001, 0.999))
    booster = train(100 * depth + trees, depth, trees, base_score=base_score)
    equal_margins(booster, np.random.default_rng(depth * trees), 40_000)


def test_a_booster_without_trees_is_its_base() -> None:
    booster = train(1, 3, 0, base_score=0.25)
    assert (
        read_booster(bytes(booster.save_raw("json"))).margins(np.zeros((2, COLUMNS))).tolist()
        == [pytest.approx(np.log(0.25 / 0.75))] * 2
    )


@settings(max_examples=50, deadline=None)
@given(seed=st.integers(0, 2**32), trees=st.integers(0, 20), depth=st.integers(0, 6), fill=st.integers(0, 8))
def test_equals_plain_recursion_however_it_is_laid_out(seed: int, trees: int, depth: int, fill: int) -> None:
    rng = np.random.default_rng(seed)
    entry = tree_kit.random_ensemble(rng, 5, trees=trees, depth=depth)
    plain = tree_kit.unpacked(entry)
    x = rng.normal(size=(10, 5))
    x[rng.random(x.shape) < 0.3] = np.nan
    got = TreeEnsemble(5, entry["base"], *plain, fill=fill).margins(x)
    assert got.tolist() == [tree_kit.margin(*plain, entry["base"], row) for row in x]


def test_a_booster_becomes_parameters(small: Any) -> None:
    entry = ensemble_parameters(small, 0.5)
    assert entry["weights"] == [0.5] * 12
    x = table(np.random.default_rng(1), 100)
    expected = small.inplace_predict(x, predict_type="margin")
    assert unpack(entry, COLUMNS, "here").margins(x).tobytes() == expected.tobytes()


def test_monotone_training_is_seen_and_its_absence_too() -> None:
    rng = np.random.default_rng(4)
    x = rng.normal(size=(3_000, 3))
    y = (rng.normal(size=3_000) - 0.4 * x[:, 2] + np.sin(3 * x[:, 2]) + x[:, 0] > 0).astype(float)
    options = {"objective": "binary:logistic", "max_depth": 5, "nthread": 1}
    free = xgboost.train(options, xgboost.DMatrix(x, y), 30)
    bound = xgboost.train(options | {"monotone_constraints": (0, 0, -1)}, xgboost.DMatrix(x, y), 30)
    assert not read_booster(bytes(free.save_raw())).falls_with(2)
    assert read_booster(bytes(bound.save_raw())).falls_with(2)


def four(leaves: Sequence[float]) -> TreeEnsemble:
    """A split on column 0, on either side of it one on column 1."""
    return TreeEnsemble(2, 0.0, [7], [0, 2, 2, *[LEAF] * 4], [0.0, 0.0, 0.0, *leaves])


@pytest.mark.parametrize("leaves", list(itertools.permutations((1.0, 2.0, 3.0, 4.0))))
def test_a_tree_falls_where_the_least_leaf_on_the_left_is_not_below_the_greatest_on_the_right(
    leaves: tuple[float, ...],
) -> None:
    assert four(leaves).falls_with(0) is (min(leaves[:2]) >= max(leaves[2:]))
    assert four(leaves).falls_with(1) is (leaves[0] >= leaves[1] and leaves[2] >= leaves[3])


@pytest.mark.parametrize("swap", [None, *itertools.product(range(4), range(4, 8))])
def test_one_leaf_deep_down_is_enough_for_a_rise(swap: tuple[int, int] | None) -> None:
    leaves = [8.0, 7.0, 6.0, 5.0, 4.0, 3.0, 2.0, 1.0]
    if swap is not None:
        one, other = swap
        leaves[one], leaves[other] = leaves[other], leaves[one]
    tree = TreeEnsemble(2, 0.0, [15], [0, *[2] * 6, *[LEAF] * 8], [*[0.0] * 7, *leaves])
    assert tree.falls_with(0) is (swap is None)


def edited(booster: Any, change: Any) -> bytes:
    model = json.loads(bytes(booster.save_raw("json")))
    change(model["learner"], model["learner"]["gradient_booster"]["model"]["trees"][0])
    return json.dumps(model).encode()


@pytest.mark.parametrize(
    ("change", "match"),
    [
        (lambda m, t: t["left_children"].__setitem__(0, 10_000), "children: node 0"),
        (lambda m, t: t["left_children"].__setitem__(0, 0), "children: node 0"),
        (lambda m, t: t["right_children"].__setitem__(0, -1), "children: node 0"),
        (lambda m, t: t["left_children"].__setitem__(1, 2), "two splits lead to"),
        (lambda m, t: t["right_children"].__setitem__(0, t["left_children"][0]), "two splits lead to"),
        (lambda m, t: t["split_indices"].__setitem__(0, COLUMNS), "split_indices: node 0"),
        (lambda m, t: t["split_indices"].__setitem__(0, -1), "split_indices: node 0"),
        (lambda m, t: t["split_indices"].__setitem__(0, 2**80), "whole numbers"),
        (lambda m, t: t["default_left"].__setitem__(0, 2), "default_left: node 0"),
        (lambda m, t: t["split_conditions"].__setitem__(0, float("nan")), "no threshold"),
        (lambda m, t: t["split_conditions"].__setitem__(0, float("-inf")), "no threshold"),
        (lambda m, t: t["split_conditions"].__setitem__(-1, float("inf")), "no value of a leaf"),
        (lambda m, t: t["split_conditions"].pop(), "entries for"),
        (lambda m, t: t["split_conditions"].__setitem__(0, "1"), "numbers"),
        (lambda m, t: t["split_type"].__setitem__(0, 1), "categorical"),
        (lambda m, t: t["tree_param"].update(size_leaf_vector="3"), "several outputs"),
        (lambda m, t: t.pop("left_children"), "left_children"),
        (lambda m, t: t.update({key: [] for key in t if isinstance(t[key], list)}), "0 entries"),
        (lambda m, t: m["learner_model_param"].update(num_class="3"), "classes"),
        (lambda m, t: m["learner_model_param"].update(num_target="2"), "targets"),
        (lambda m, t: m["learner_model_param"].update(num_feature="0"), "split_indices"),
        (lambda m, t: m["learner_model_param"].update(base_score="[5E-1,5E-1]"), "base_score"),
        (lambda m, t: m["learner_model_param"].update(base_score="1"), "base_score"),
        (lambda m, t: m["learner_model_param"].update(base_score="e"), "base_score"),
        (lambda m, t: m["objective"].update(name="multi:softprob"), "multi:softprob"),
        (lambda m, t: m["gradient_booster"].update(name="dart"), "dart"),
        (lambda m, t: m["gradient_booster"].update(name="gblinear"), "gblinear"),
        (lambda m, t: m.pop("gradient_booster"), "gradient_booster"),
        (lambda m, t: m["gradient_booster"]["model"].update(trees={}), "trees"),
    ],
)
def test_what_is_corrupt_or_not_supported_is_named(small: Any, change: Any, match: str) -> None:
    with pytest.raises(ArtifactError, match=match):
        read_booster(edited(small, change))


@pytest.mark.parametrize(
    ("sizes", "slots", "values", "match"),
    [
        ([1], [0], [0.0], "children beyond"),
        ([3], [0, LEAF, LEAF, LEAF], [0.0] * 4, "as many nodes"),
        ([3, 0], [0, LEAF, LEAF], [0.0] * 3, "without a node"),
        ([-1, 4], [0, LEAF, LEAF], [0.0] * 3, "without a node"),
        ([3], [LEAF, LEAF, LEAF], [0.0] * 3, "hangs on no split"),
        ([2], [LEAF, LEAF], [0.0] * 2, "hangs on no split"),
        ([3], [8, LEAF, LEAF], [0.0] * 3, "feature 4 is beyond"),
        ([3], [0, LEAF, LEAF], [np.nan, 0.0, 0.0], "no threshold"),
        ([3], [0, LEAF, LEAF], [0.0, np.nan, 0.0], "no value"),
        ([3], [0, LEAF, LEAF], [0.0, 1e31, 0.0], "no value"),
    ],
)
def test_arrays_that_are_no_trees_are_refused(sizes: Any, slots: Any, values: Any, match: str) -> None:
    with pytest.raises(ArtifactError, match=match):
        TreeEnsemble(4, 0.0, sizes, slots, values)


def survives(raw: bytes) -> None:
    """Bytes are refused, or give trees that can be evaluated."""
    try:
        ensemble = read_booster(raw)
    except ArtifactError:
        return
    x = np.array([np.nan, 0.0, np.inf, -np.inf], np.float32)
    margins = ensemble.margins(np.repeat(x[:, None], ensemble.features, axis=1))
    assert np.isfinite(margins).all()


@pytest.mark.parametrize("form", ["ubj", "json"])
@settings(max_examples=300, deadline=None)
@given(data=st.data())
def test_damaged_files_are_refused_or_harmless(form: str, data: st.DataObject) -> None:
    raw = bytearray(_SAVED[form])
    for _ in range(data.draw(st.integers(1, 6))):
        at = data.draw(st.integers(0, len(raw) - 1))
        raw[at : at + data.draw(st.integers(0, 9))] = data.draw(st.binary(max_size=9))
    survives(bytes(raw[: data.draw(st.integers(len(raw) // 2, len(raw) + 1))]))


@settings(max_examples=300, deadline=None)
@given(
    body=st.binary(max_size=200), head=st.sampled_from([b"", b"{", b"{U\1a[", b'{"', b"{U\1a[$d#", b"{U\1a["])
)
def test_any_bytes_are_refused_or_harmless(body: bytes, head: bytes) -> None:
    survives(head + body)


def test_deep_nesting_and_endless_lengths_are_refused() -> None:
    for raw in (
        b"{U\1a" + b"[" * 10**6,
        b'{"a":' + b"[" * 10**6,
        b"{U\1a[$d#L\x7f" + b"\xff" * 7,
        b"{U\1a[#L\x7f" + b"\xff" * 7,
        b'{"a":' + b"1" * 10**5 + b"}",
    ):
        with pytest.raises(ArtifactError):
            read_booster(raw)


_SAVED = {form: bytes(train(9, 2, 3).save_raw(form)) for form in ("ubj", "json")}
