"""Training on a made-up market: it learns what is there, the same every time, and nothing from behind a cut."""

import json
import signal
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tests.learn.training_kit import decisions, market

from quotelife.errors import ArtifactError, QuotelifeError
from quotelife.features.schema import INDEX
from quotelife.learn import dataset as files
from quotelife.learn import gradient_boosting, train, training
from quotelife.learn.gradient_boosting import Recipe, boost
from quotelife.learn.hazard_fit import HazardData, event_bins, fit_curve, fit_hazard, fit_level, score
from quotelife.learn.labels import NEVER
from quotelife.learn.samples import Market, drawn, folds, markets, rows_a_label, stored
from quotelife.learn.splits import fitted_on, levelled_on, seen_until_ns
from quotelife.learn.static_calibration import hazard_logits, levelled, passage_logits, with_level
from quotelife.learn.training import (
    COLUMNS,
    IMBALANCE_COLUMN,
    VECTORISED,
    Fitted,
    data_digest,
    pool,
    train_logistic,
    train_trees,
    train_universal,
    tuned,
)
from quotelife.model.artifact import load_artifact, save_artifact, simulated
from quotelife.model.curve import CurveModel
from quotelife.model.golden import GoldenModel
from quotelife.model.transform import TRANSFORMS, apply
from quotelife.model.tree_curve import TreeCurveModel
from quotelife.records import HORIZONS_NS

pytest.importorskip("xgboost")
SMALL = Recipe(trees=30, depth=3, eta=0.2, leaf_rows=20, bins=32)


@pytest.fixture(scope="module")
def small() -> Market:
    return market()


@pytest.mark.parametrize(("thresholds", "words"), [((1e9,), "none of"), ((-50.0,), "all of")])
def test_a_span_of_one_outcome_alone_is_refused_by_every_model(
    thresholds: tuple[float, ...], words: str
) -> None:
    one = market(thresholds=thresholds)
    with pytest.raises(QuotelifeError, match=words):
        train_logistic(one, [0])
    with pytest.raises(QuotelifeError, match=words):
        train_trees(one, [0], SMALL)


@pytest.fixture(scope="module")
def trees(small: Market) -> TreeCurveModel:
    return train_trees(small, [0, 1], SMALL).model


@pytest.fixture(scope="module")
def refitted(small: Market) -> Fitted:
    return train_trees(small, [0, 1], SMALL, refit=True)


@pytest.fixture(scope="module")
def universal(small: Market) -> TreeCurveModel:
    return train_universal([small], SMALL, rows_wanted=2_000).model


@pytest.fixture(scope="module")
def logistic(small: Market) -> CurveModel:
    return train_logistic(small, [0])


def inputs(n: int, seed: int = 3) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    return rng.normal(0.0, 1.0, (n, 128)), rng.integers(0, 2**64, (n, 2), dtype=np.uint64)


def test_bins_of_labels_are_those_of_the_grid_and_censored_where_unseen() -> None:
    """One passed after 700 ms and lost sight of at 710: of the bin that ends at 750 nothing is known."""
    ms = 1_000_000
    passage = np.array([0, 25 * ms, 25 * ms + 1, NEVER, NEVER, 700 * ms, 5_000 * ms], dtype=np.int64)
    observed = np.array([5_000, 5_000, 5_000, 5_000, 499, 710, 5_000], dtype=np.int64) * ms
    event, known = event_bins(passage, observed)
    assert event.tolist() == [0, 0, 1, 12, 12, 6, 11]
    assert known.tolist() == [12, 12, 12, 12, 5, 6, 12]


def test_scores_leave_out_what_was_not_seen() -> None:
    """Rows censored at 500 ms count up to 250 ms and not beyond, passed or not."""
    p = np.tile(np.linspace(0.1, 0.9, 12), (5, 1))
    metrics, _ = score(p, np.array([0, 12, 12, 7, 2]), np.array([12, 12, 5, 12, 5]))
    assert [entry["rows"] for entry in metrics] == [5] * 5 + [3] * 7


def test_paths_that_end_early_bend_no_hazard_and_no_level() -> None:
    """Passages at a constant rate, half of the paths lost sight of within 5 s, whatever they did: every hazard and
    every P is found as it would be from the whole."""
    rng = np.random.default_rng(2)
    n, s = 40_000, 1_000_000_000
    passage = (rng.exponential(2.0, n) * s).astype(np.int64)
    observed = np.where(rng.random(n) < 0.5, rng.uniform(0, 5.0, n) * s, 5 * s).astype(np.int64)
    passage[passage > observed] = NEVER
    event, known = event_bins(passage, observed)
    true = -np.expm1(-np.array(HORIZONS_NS) / 2e9)
    hazard = 1.0 - (1.0 - true) / (1.0 - np.concatenate([[0.0], true[:-1]]))
    flat, none = np.zeros((n, 12)), np.zeros((n, 0))
    fitted = fit_hazard(HazardData(none, none.astype(bool), flat, event, known), ridge=1e-6).intercepts
    np.testing.assert_allclose(1.0 / (1.0 + np.exp(-fitted)), hazard, rtol=0.06)
    level = fit_level(flat, event, known, passed=True, ridge=1e-6).shift
    np.testing.assert_allclose(1.0 / (1.0 + np.exp(-level)), true, rtol=0.05)


def test_the_trees_learn_what_moves_the_price(small: Market, trees: TreeCurveModel) -> None:
    metrics, _ = train.evaluate(trees, [small], {"A": [0, 1]})
    at_500 = [entry for entry in metrics if entry["horizon_ns"] == 500_000_000]
    assert [entry["threshold"] for entry in at_500] == ["1tick", "3tick"]
    assert all(entry["auc"] > 0.6 for entry in at_500)
    against, favourable = (
        trees.curve({"queue_imbalance": z}, h_ticks=1.0, sigma_ticks=2.0) for z in (0.9, -0.9)
    )
    assert against is not None and favourable is not None
    assert against[5] > 1.2 * favourable[5]


def test_the_logistic_learns_it_too_and_is_calibrated(small: Market, logistic: CurveModel) -> None:
    metrics, _ = train.evaluate(logistic, [small], {"A": [0]})
    entry = next(entry for entry in metrics if entry["horizon_ns"] == 500_000_000)
    assert entry["auc"] > 0.6 and entry["calibration_error"] < 0.1


def test_equal_data_and_seed_give_equal_bytes_and_another_seed_others(
    small: Market, trees: TreeCurveModel, logistic: CurveModel
) -> None:
    afresh = market()
    again = train_trees(afresh, [0, 1], SMALL).model.parameters()
    assert trees.parameters() == again
    other = train_trees(small, [0, 1], Recipe(**{**vars(SMALL), "seed": 2})).model.parameters()
    assert other["ensembles"][0]["values"] != again["ensembles"][0]["values"]
    assert logistic.parameters() == train_logistic(afresh, [0]).parameters()
    assert data_digest([small]) == data_digest([afresh]) != data_digest([market(2)])


def test_an_interrupted_boosting_goes_on_to_the_same_bytes(tmp_path: Path, monkeypatch: Any) -> None:
    """Stopped after each checkpoint in turn; and a checkpoint of other data is not taken up."""
    monkeypatch.setattr(gradient_boosting, "ROUNDS", 10)
    rng = np.random.default_rng(0)
    columns = rng.normal(size=(2_000, 4)).astype(np.float32)
    hit, weight = rng.random(2_000) < 1.0 / (1.0 + np.exp(columns[:, 0] + columns[:, 3])), np.ones(2_000)

    def run(hit: Any, folder: Path | None, stop: int = 99) -> bytes:
        def progress(done: int, of: int) -> None:
            if done == stop:
                raise KeyboardInterrupt

        return bytes(boost(columns, hit, weight, SMALL, checkpoint=folder, progress=progress).save_raw("ubj"))

    whole = run(hit, None)
    for stop in (10, 20):
        with pytest.raises(KeyboardInterrupt):
            run(hit, tmp_path, stop)
    started: list[int] = []
    resumed = boost(
        columns, hit, weight, SMALL, checkpoint=tmp_path, progress=lambda done, of: started.append(done)
    )
    assert started[0] == 20 and bytes(resumed.save_raw("ubj")) == whole
    assert run(~hit, tmp_path) == run(~hit, None) != whole
    for path in tmp_path.glob("*.ubj"):
        path.write_bytes(path.read_bytes()[:-5])
    assert run(hit, tmp_path) == whole


def test_an_interrupt_while_xgboost_reads_the_data_comes_after(monkeypatch: Any) -> None:
    """In its callbacks into Python it would be swallowed, and break the heap."""
    import xgboost

    read = []

    class Matrix(xgboost.QuantileDMatrix):  # type: ignore[misc]
        def __init__(self, *arguments: Any, **options: Any) -> None:
            signal.raise_signal(signal.SIGINT)
            super().__init__(*arguments, **options)
            read.append(self.num_row())

    monkeypatch.setattr(xgboost, "QuantileDMatrix", Matrix)
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        with pytest.raises(KeyboardInterrupt):
            boost(np.zeros((50, 2), np.float32), np.arange(50) % 2 == 0, np.ones(50), SMALL)
        assert read == [50]
        assert signal.getsignal(signal.SIGINT) is signal.default_int_handler
    finally:
        signal.signal(signal.SIGINT, before)


def test_nothing_behind_the_second_cut_is_learned(small: Market, trees: TreeCurveModel) -> None:
    """Features and labels of the last part made anew: the same model."""
    piece = small.pieces[0]
    x, passage = piece.x.copy(), piece.passage_ns.copy()
    rows = small.rows[0]["test"]
    x[rows] = 7.0
    passage[rows] = 0
    from dataclasses import replace

    changed = Market("A", (replace(piece, x=x, passage_ns=passage),), small.rows)
    assert train_trees(changed, [0, 1], SMALL).model.parameters() == trees.parameters()


def test_curves_rise_with_the_horizon_and_fall_with_the_threshold(trees: TreeCurveModel) -> None:
    n = 100
    h = np.geomspace(0.01, 100.0, n)
    for seed in range(30):
        x, valid = inputs(1, seed)
        p, answered = trees.curves(np.repeat(x, n, axis=0), np.repeat(valid, n, axis=0), h, np.full(n, 2.0))
        assert answered.all()
        assert (np.diff(p, axis=1) >= 0.0).all() and (np.diff(p, axis=0) <= 1e-12).all()


def test_a_universal_model_serves_thresholds_that_nobody_stored(small: Market) -> None:
    other = market(5, instrument="B")
    model = train_universal([small, other], SMALL, rows_wanted=4_000).model
    rows = drawn(other, "test", np.random.default_rng(1), 2_000, 1)[0]
    metrics, _ = score(rows.curves(model), rows.event, rows.known)
    assert next(entry for entry in metrics if entry["horizon_ns"] == 500_000_000)["auc"] > 0.7


def test_random_thresholds_are_labelled_as_stored_ones_are(small: Market) -> None:
    """The stored threshold drawn by hand gives the stored label."""
    sample = stored(small, "calibrate", 1)[0]
    from quotelife.learn.samples import passages

    again = passages(sample.decisions, sample.rows, sample.h_ticks)
    np.testing.assert_array_equal(again, sample.passage_ns)
    z = drawn(small, "calibrate", np.random.default_rng(0), 10_000, 2)
    assert len(z) == 2 and all(
        ((s.h_ticks > 0.29 * s.sigma_ticks) & (s.h_ticks < 6.01 * s.sigma_ticks)).all() for s in z
    )


def test_a_decision_without_volatility_or_with_a_hole_ahead_is_not_taken_for_a_miss(small: Market) -> None:
    """σ unknown: in no part. A hole before the horizon: not known."""
    piece = small.pieces[0]
    used = np.concatenate(list(small.rows[0].values()))
    assert np.isnan(piece.sigma_ticks).any() and not np.isnan(piece.sigma_ticks[used]).any()
    sample = stored(small, "train", 1)[0]
    cut_short = piece.observed_ns[sample.rows] < 5_000_000_000
    unpassed = sample.event == 12
    assert (cut_short & unpassed).any()
    assert (sample.known[cut_short & unpassed] < 12).all() and (
        sample.known[~cut_short & unpassed] == 12
    ).all()


def test_labels_of_trees_of_hazards_and_outcomes_of_a_dataset_are_known_for_the_same_rows(
    small: Market,
) -> None:
    """Passed or not, also where the threshold was passed before the path was lost."""
    samples = stored(small, "train", 1)
    rows = pool(samples)
    for k in (5, 9):
        known, hit, _ = rows.labels(HORIZONS_NS[k])
        outcome = np.concatenate([s.decisions.outcome(HORIZONS_NS[k], 1)[s.rows] for s in samples])
        assert (~known & hit).any()
        assert (known == (outcome >= 0)).all() and (hit[known] == (outcome[known] == 1)).all()
        binned = np.concatenate([s.known for s in samples]) > k
        assert (binned == known).all()


def test_a_stack_has_room_for_what_it_stands_on(
    small: Market, trees: TreeCurveModel, universal: TreeCurveModel
) -> None:
    stack = train_trees(small, [0], SMALL, base=universal).model.parameters()
    assert len(stack["ensembles"]) == 6
    for entry, own in zip(stack["ensembles"], universal.parameters()["ensembles"], strict=False):
        assert entry["values"] == own["values"]
    fewer = trees.parameters()
    fewer["features"][0]["per"] = None
    with pytest.raises(QuotelifeError, match="other columns"):
        train_trees(small, [0], SMALL, base=TreeCurveModel(fewer))


def test_a_stack_takes_the_refitted_base_at_the_worth_of_the_first(
    small: Market, universal: TreeCurveModel
) -> None:
    again = train_universal([small], SMALL, rows_wanted=2_000, refit=True).model
    fitted = train_trees(small, [0], SMALL, base=universal, base_refit=again)
    stack = fitted.model.parameters()
    plain = train_trees(small, [0], SMALL, base=universal).model.parameters()
    worth = [[e["weights"] for e in each["ensembles"]] for each in (stack, plain)]
    assert worth[0] == worth[1]
    grown = again.parameters()["ensembles"]
    assert [e["values"] for e in stack["ensembles"][: len(grown)]] == [e["values"] for e in grown]
    assert stack["ensembles"][len(grown) :] == plain["ensembles"][len(grown) :]
    assert stack != plain and fitted.half.parameters() == plain


def test_the_last_ensembles_of_a_market_read_queue_imbalance_alone_and_count(
    small: Market, trees: TreeCurveModel
) -> None:
    (rows, *_) = stored(small, "calibrate", 0)
    columns = rows.columns(trees)
    assert np.isfinite(columns[:, IMBALANCE_COLUMN]).any()
    other = columns[::-1].copy()
    other[:, IMBALANCE_COLUMN] = columns[:, IMBALANCE_COLUMN]
    own, again = trees.margins(columns), trees.margins(other)
    assert own.shape[1] == 4
    np.testing.assert_array_equal(own[:, 2:], again[:, 2:])
    assert (own[:, :2] != again[:, :2]).any()
    assert all(np.ptp(own[:, place]) > 0.1 for place in (2, 3))
    worth = np.array([entry["weights"] for entry in trees.parameters()["ensembles"]])
    assert (worth[2:, 5:].sum(axis=0) > 0.1).all()


def test_a_market_of_many_labels_has_trees_over_all_columns_alone(
    small: Market, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its 115 s of the first part, purged, are some 230 labels of 500 ms, at one threshold as at two."""
    for labels, ensembles in ((150, 2), (300, 4)):
        monkeypatch.setattr(training, "IMBALANCE_LABELS", labels)
        for places in ([0], [0, 1]):
            grown = train_trees(small, places, replace(SMALL, trees=2)).model.parameters()
            assert len(grown["ensembles"]) == ensembles


@pytest.mark.parametrize("step", [1, 3])
def test_rows_a_label_are_the_labels_open_at_once_over_all_thresholds(small: Market, step: int) -> None:
    """Both sides each 100 ms at two thresholds are some 20 rows at 500 ms: brute force over every millisecond."""
    samples = [replace(s, rows=s.rows[::step]) for j in (0, 1) for s in stored(small, "calibrate", j)]
    found = rows_a_label(samples)
    now = np.concatenate([s.decisions.now_ns[s.rows] for s in samples]) // 1_000_000
    for k in (3, 5, 8):
        horizon = HORIZONS_NS[k] // 1_000_000
        count = np.zeros(int(np.ptp(now)) + horizon)
        for t in now - now.min():
            count[t : t + horizon] += 1
        alone = [np.mean(1.0 / count[t : t + horizon]) for t in now - now.min()]
        assert found[k] == pytest.approx(len(now) / np.sum(alone), rel=1e-9)


def test_rows_that_overlap_move_a_weight_no_further_than_one_of_them() -> None:
    """Each row ten times over under ten times the ridge is the row once, but for the little that holds an intercept;
    without, the weight leaves its prior."""
    rng = np.random.default_rng(8)
    z = rng.normal(size=(300, 1, 1)).repeat(12, axis=1)
    event = passages_of(np.linspace(-3.0, 0.0, 12) + 0.2 * z[:, :, 0], rng)
    once = fit_curve(z, event, ridge=np.linspace(5.0, 20.0, 12)).weights
    often = [
        fit_curve(z.repeat(10, axis=0), event.repeat(10), ridge=times * np.linspace(5.0, 20.0, 12)).weights
        for times in (10.0, 1.0)
    ]
    np.testing.assert_allclose(often[0], once, atol=0.03)
    assert abs(often[1][5, 0] - 1.0) > 1.1 * abs(once[5, 0] - 1.0)


def test_a_refit_grows_the_trees_on_both_parts_under_the_weights_it_had(
    trees: TreeCurveModel, refitted: Fitted
) -> None:
    again, before = refitted.model.parameters(), trees.parameters()
    assert refitted.half.parameters() == before
    assert again["intercepts"] == before["intercepts"]
    for mine, theirs in zip(again["ensembles"], before["ensembles"], strict=True):
        assert mine["weights"] == theirs["weights"]
        assert mine["values"] != theirs["values"]


def passages_of(logit: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """(n,) bins in which a curve of logits (n, 12), rising, is passed, 12 if in none."""
    return (rng.random((len(logit), 1)) >= 1.0 / (1.0 + np.exp(-logit))).sum(axis=1)


def test_each_horizon_is_fitted_for_itself_and_no_weight_is_negative() -> None:
    """The first of three margins is worth more the longer the horizon; the second, turned round, 0; the third none."""
    rng = np.random.default_rng(2)
    n = 40_000
    z = np.abs(rng.normal(size=(n, 12, 3))).cumsum(axis=1) / 6.0
    worth = np.linspace(0.6, 1.2, 12)
    logit = np.linspace(-4.0, -1.0, 12) + worth * z[:, :, 0]
    event = passages_of(logit, rng)
    z[:, :, 1] = -z[:, :, 0] + 0.1 * z[:, :, 1]
    fit = fit_curve(z, event, ridge=1.0)
    assert (fit.weights >= 0.0).all() and (fit.weights[6:, 1] == 0.0).all()
    np.testing.assert_allclose(fit.weights[4:, 0], worth[4:], atol=0.1)
    np.testing.assert_allclose(fit.weights[4:, 2], 0.0, atol=0.1)
    np.testing.assert_allclose(fit.intercepts[4:], np.linspace(-4.0, -1.0, 12)[4:], atol=0.15)


def test_a_row_that_was_not_seen_to_the_horizon_is_no_miss_there() -> None:
    """A third is seen up to 500 ms alone: beyond as if it were not there, up to then as if it were."""
    rng = np.random.default_rng(3)
    z = rng.normal(size=(9_000, 1, 1)).repeat(12, axis=1)
    event = passages_of(np.linspace(-3.0, 0.0, 12) + z[:, :, 0], rng)
    short = (np.arange(9_000) % 3 == 0) & (event > 5)
    fit = fit_curve(z, np.where(short, 12, event), np.where(short, 6, 12))
    np.testing.assert_array_equal(fit.intercepts[:6], fit_curve(z, event).intercepts[:6])
    rest = fit_curve(z[~short], event[~short])
    np.testing.assert_allclose(fit.intercepts[7:], rest.intercepts[7:], atol=0.02)
    np.testing.assert_allclose(fit.weights[7:], rest.weights[7:], atol=0.02)


@pytest.mark.parametrize("hits", [0, 3])
def test_a_horizon_of_few_hits_is_shaped_like_its_neighbour_and_as_seldom_passed_as_it_is(hits: int) -> None:
    """25 ms of 20 000 rows: near the next weight, and P within a few times the share that was passed."""
    rng = np.random.default_rng(6)
    n = 20_000
    z = rng.normal(-3.0, 1.0, size=(n, 1, 1)).repeat(12, axis=1)
    event = np.maximum(passages_of(np.linspace(-2.0, 1.0, 12) + z[:, :, 0], rng), 1)
    event[rng.choice(n, hits, replace=False)] = 0
    fit = fit_curve(z, event)
    p = 1.0 / (1.0 + np.exp(-(fit.intercepts[0] + fit.weights[0, 0] * z[:, 0, 0])))
    assert (hits + 0.5) / n / 3 < p.mean() < 3 * (hits + 3) / n
    assert abs(fit.weights[0, 0] - fit.weights[1, 0]) < 0.7


def test_weights_of_rows_are_rows() -> None:
    """Weight 2 is the row twice."""
    rng = np.random.default_rng(4)
    logit, event = rng.normal(-3.0, 1.0, (500, 12)), rng.integers(0, 13, 500)
    weight = rng.integers(1, 4, 500)
    twice = np.repeat(np.arange(500), weight)
    a = fit_level(logit, event, weight=weight.astype(float))
    b = fit_level(logit[twice], event[twice])
    np.testing.assert_allclose(np.append(a.shift, a.scale), np.append(b.shift, b.scale), rtol=1e-9)


@pytest.mark.parametrize("kind", ["trees", "logistic"])
def test_a_level_moves_every_hazard_of_trees_every_p_as_it_says(
    small: Market, trees: TreeCurveModel, logistic: CurveModel, kind: str
) -> None:
    model = trees if kind == "trees" else logistic
    sample = stored(small, "calibrate", 0)[0]
    rng = np.random.default_rng(1)
    fit = fit_level(np.full((10, 12), -3.0), np.full(10, 12))
    fit = type(fit)(np.cumsum(rng.uniform(0, 0.3, 12)), 0.8)  # rising, so that no maximum is in the way
    logits = passage_logits if kind == "trees" else hazard_logits
    before, after = (sample.curves(m) for m in (model, with_level(model, fit)))
    rising = (np.diff(before, axis=1) > 0.0).all(axis=1)
    assert rising.mean() > 0.3
    np.testing.assert_allclose(logits(after)[rising], fit.shift + 0.8 * logits(before)[rising], atol=1e-6)


def test_calibration_mends_a_model_that_is_told_too_much(small: Market, trees: TreeCurveModel) -> None:
    bent = with_level(trees, type(fit_level(np.zeros((1, 12)), np.array([12])))(np.full(12, 1.5), 0.5))
    mended = levelled(bent, stored(small, "train", 0), ridge=1.0)
    errors = {}
    for name, model in (("bent", bent), ("mended", mended)):
        metrics, _ = train.evaluate(model, [small], {"A": [0]})
        errors[name] = next(
            entry["calibration_error"] for entry in metrics if entry["horizon_ns"] == 500_000_000
        )
    assert errors["mended"] < errors["bent"] / 2
    with pytest.raises(QuotelifeError, match="no level"):
        levelled(GoldenModel(), stored(small, "calibrate", 0))


def test_transforms_of_arrays_are_those_of_the_models() -> None:
    assert set(VECTORISED) == set(TRANSFORMS)
    x = np.array([-3.0, -0.2, 0.0, 1e-12, 0.7, 40.0])
    for name, function in VECTORISED.items():
        np.testing.assert_allclose(function(x), [apply(name, value) for value in x], rtol=1e-14, atol=1e-15)


def test_no_column_is_in_ticks_or_lots() -> None:
    from quotelife.features.schema import SCHEMA

    for name, per in COLUMNS:
        unit = SCHEMA[INDEX[name]].unit
        assert "lots" not in unit and "bp" not in unit
        assert ("ticks" in unit) == (per == "sigma"), name


def test_an_artifact_says_what_it_was_fitted_to(small: Market, tmp_path: Path) -> None:
    plan = train.Plan("trees", tmp_path, recipe={"trees": 20, "depth": 2}, thresholds=("3tick",))
    (done,) = train.train([small], plan)
    training = load_artifact(done.folder).manifest["training"]
    assert training["data_digest"] == data_digest([small]) and training["seed"] == 1
    assert training["span_end_ns"] + 5_000_000_000 < training["instruments"][0]["test_start_ns"]
    assert {entry["threshold"] for entry in done.model.manifest["metrics"]} == {"3tick"}
    costs = {entry["threshold"]: entry["loss_in_h"] for entry in training["loss_given_pickoff"]}
    assert 0.9 < costs["3tick"] < 1.6 and costs["1tick"] > costs["3tick"]
    assert not (tmp_path / train.CHECKPOINTS).exists()
    path = done.folder / "parameters.json"
    path.write_bytes(path.read_bytes().replace(b"cancels", b"cancelz", 1))
    with pytest.raises(ArtifactError):
        load_artifact(done.folder)
    found = train.calibrate(
        train.train([small], train.Plan("logistic", tmp_path, thresholds=("1tick",)))[0].model,
        [small],
        train.Plan("calibrated", tmp_path, thresholds=("1tick",)),
        force=True,
    )
    assert found.trained is not None and found.before[0]["horizon_ns"] > 0
    assert found.trained.model.name == "logistic_A_calibrated"
    assert found.trained.summary()["metrics"] == found.after
    json.dumps(found.trained.summary())


def test_what_a_model_was_made_from_counts_as_seen(
    small: Market, trees: TreeCurveModel, universal: TreeCurveModel, tmp_path: Path
) -> None:
    """Calibrated or stacked on earlier data, it has still seen the later data that its origin was fitted to, or that a
    base whose trees are older was calibrated on."""
    later = 10**19 // 2
    origin = save_artifact(
        trees, tmp_path, name="origin", description="", training={"span_end_ns": later, "rows": 1}
    )
    plan = train.Plan("calibrated", tmp_path, thresholds=("1tick",))
    done = train.calibrate(load_artifact(origin), [small], plan, force=True).trained
    assert done is not None and seen_until_ns(done.model.manifest) == later
    folder = save_artifact(
        universal, tmp_path, name="base", description="", training={**seen(0, 1), "span_end_ns": later}
    )
    plan = train.Plan("trees", tmp_path, thresholds=("1tick",), stack=folder, recipe={"trees": 4, "depth": 2})
    assert seen_until_ns(train.train([small], plan)[0].model.manifest) == later


def test_a_manifest_says_how_much_of_its_data_was_simulated(small: Market, tmp_path: Path) -> None:
    """Also of what it was made from; its spans count all the same, for the next dataset may be of the same clock."""
    wholly = replace(small, pieces=tuple(replace(piece, simulated=True) for piece in small.pieces))
    plan = train.Plan("logistic", tmp_path, name="m", thresholds=("1tick",))
    (recorded,), (made_up,) = train.train([small], plan), train.train([wholly], plan)
    for done, share, words in ((recorded, 0.0, "recorded"), (made_up, 1.0, "simulated")):
        manifest = done.model.manifest
        assert manifest["training"]["simulated_share"] == share
        assert simulated(manifest["training"]) == (share == 1.0)
        assert manifest["description"].startswith(f"Fitted on {words} decisions of A")
        assert fitted_on(manifest) and seen_until_ns(manifest) == small.span_ns("calibrate")[1]
    plan = train.Plan("calibrated", tmp_path, thresholds=("1tick",))
    again = train.calibrate(made_up.model, [small], plan, force=True).trained
    assert again is not None
    told = again.model.manifest["training"]
    rows, before = told["rows"], made_up.model.manifest["training"]["rows"]
    assert told["simulated_share"] == pytest.approx(before / (rows + before))
    assert again.model.manifest["description"].startswith("Fitted on simulated and recorded decisions of A")
    plan = train.Plan("calibrated", tmp_path / "twice", thresholds=("1tick",))
    twice = train.calibrate(again.model, [small], plan, force=True).trained
    assert twice is not None
    assert twice.model.manifest["training"]["simulated_share"] == pytest.approx(before / (2 * rows + before))


def seen(start: int, end: int) -> dict[str, Any]:
    return {"span_start_ns": start, "span_end_ns": end, "fitted_on": [["A", start, end]]}


def test_nothing_is_stacked_on_trees_that_have_seen_where_they_would_be_weighed(
    small: Market, trees: TreeCurveModel, tmp_path: Path
) -> None:
    """A base grown up to the cut will do; one that saw a decision behind the cut is refused, and so is one that was
    calibrated later but grown there, or grown after all of it."""
    cut, end = small.span_ns("calibrate")[0], small.span_ns("test")[1]
    base = save_artifact(trees, tmp_path, name="base", description="", training=seen(0, cut - 1))
    train.check_unseen(load_artifact(base), [small])
    for name, record in (
        ("refit", seen(0, cut)),
        ("later", seen(end + 1, end + 2)),
        ("level", {**seen(end + 1, end + 2), "fitted_on": [["A", 0, cut]]}),
    ):
        folder = save_artifact(trees, tmp_path, name=name, description="", training=record)
        with pytest.raises(
            QuotelifeError, match=rf"{name}: its trees have seen A in the part of A .* --refit"
        ):
            train.train([small], train.Plan("trees", tmp_path, thresholds=("1tick",), stack=folder))


def test_a_stack_tells_what_all_its_trees_were_fitted_on(
    small: Market, universal: TreeCurveModel, tmp_path: Path
) -> None:
    cut = small.span_ns("calibrate")[0]
    folder = save_artifact(universal, tmp_path, name="base", description="", training=seen(5, 7))
    plan = train.Plan("trees", tmp_path, thresholds=("1tick",), stack=folder, refit=True,
                      recipe={"trees": 10, "depth": 2, "leaf_rows": 20.0})  # fmt: skip
    (done,) = train.train([small], plan)
    training = done.model.manifest["training"]
    own = ("A", small.span_ns("train")[0], small.span_ns("calibrate")[1])
    assert fitted_on(done.model.manifest) == [own, ("A", 5, 7)]
    assert levelled_on(done.model.manifest) == [("A", *small.span_ns("calibrate")), ("", 5, 7)]
    assert training["span_start_ns"] == 5 and training["span_end_ns"] > cut
    assert max(training["importance"], key=training["importance"].get) in ("queue_imbalance", "log_h_sigma")


def test_calibration_takes_only_what_came_after_all_that_a_model_was_fitted_on(
    tmp_path: Path, trees: TreeCurveModel
) -> None:
    made = decisions(1, 240)
    piece = files.Piece(
        name="A", day="", instrument="A", group="A", reference=made.reference, rows=len(made), points=len(made.path),
        first_ns=int(made.now_ns[0]), last_ns=int(made.now_ns[-1]), key="A", digest=made.digest(),
    )  # fmt: skip
    folder = tmp_path / "data"
    folder.mkdir()
    files.write_decisions(made, folder / piece.decisions_file, folder / piece.path_file, {})
    head = {**files.schema_head(), "pieces": [vars(piece)], "digest": "d", "settings": {}}
    (folder / files.HEAD).write_text(json.dumps(head))
    until = int(made.now_ns[len(made) // 2])
    artifact = save_artifact(trees, tmp_path, name="m", description="", training=seen(0, until))
    (found,) = train.open_markets([folder], after=load_artifact(artifact))
    kept = np.concatenate([found.pieces[0].now_ns[rows] for rows in found.rows[0].values()])
    assert kept.min() > until + found.purge_ns and found.span_ns("train")[0] < until + 7 * 10**9
    late = save_artifact(trees, tmp_path, name="late", description="", training=seen(0, int(made.now_ns[-1])))
    with pytest.raises(QuotelifeError, match="A: every decision lies within what late was fitted on"):
        train.open_markets([folder], after=load_artifact(late))


def test_folds_test_what_lies_behind_what_they_train_on_and_reach_no_test_row(small: Market) -> None:
    """Purge before the tested span; the last part, and what was purged at the cuts, in no fold."""
    piece = small.pieces[0]
    end = piece.now_ns[small.rows[0]["calibrate"]].max()
    found = folds(small, 3)
    tested: list[int] = []
    for fold in found:
        train, test = (piece.now_ns[fold.rows[0][name]] for name in ("train", "calibrate"))
        assert len(train) and train.max() + small.purge_ns < test.min() and test.max() <= end
        assert len(fold.rows[0]["test"]) == 0
        tested += fold.rows[0]["calibrate"].tolist()
    assert (
        len(set(tested))
        == len(tested)
        > 0.6 * sum(len(small.rows[0][part]) for part in ("train", "calibrate"))
    )
    with pytest.raises(QuotelifeError, match=r"A: .* too short for 40 folds"):
        folds(market(1, 120), 40)


def test_tuning_keeps_its_budget_and_takes_the_least_loss_over_all_folds(small: Market) -> None:
    pairs = [tuple(stored(fold, part, 0) for part in ("train", "calibrate")) for fold in folds(small, 2)]
    recipe = Recipe(trees=10, depth=2, leaf_rows=20)
    best, tried = tuned(pairs, recipe, 2)  # type: ignore[arg-type]
    assert len(tried) == 2 and min(tried, key=lambda entry: entry["log_loss"])["depth"] == best.depth
    total = rows = 0.0
    for train_samples, tested in pairs:
        (alone,) = tuned([(train_samples, tested)], recipe, 1)[1]
        n = sum(len(sample.rows) for sample in tested)
        total, rows = total + n * alone["log_loss"], rows + n
    assert tried[0]["log_loss"] == pytest.approx(total / rows, rel=1e-3)


def test_recipes_are_tried_on_as_many_rows_as_the_fit_takes(
    small: Market, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Only what is tested is thinned: a leaf of so many rows is another part of a thinned market."""
    monkeypatch.setattr(train, "CALIBRATION_ROWS", 50)
    plan = train.Plan("trees", Path("unused"), thresholds=("1tick",), rows_wanted=700)
    for (grown, tested), fold in zip(train._folded([small], plan, 1), folds(small, 3), strict=True):
        assert sum(len(s.rows) for s in grown) == sum(len(s.rows) for s in stored(fold, "train", 0)) > 50
        assert 0 < sum(len(s.rows) for s in tested) <= 50
    for grown, tested in train._folded([small], replace(plan, model="universal"), 1):
        assert sum(len(s.rows) for s in grown) == pytest.approx(700, rel=0.5)
        assert 0 < sum(len(s.rows) for s in tested) <= 50


def test_a_part_whose_decisions_know_no_volatility_is_named() -> None:
    made = decisions(1, 240)
    late = made.now_ns > made.now_ns[0] + 0.645 * (made.now_ns[-1] - made.now_ns[0])
    blind = replace(made, sigma_ticks=np.where(late, np.nan, made.sigma_ticks))
    with pytest.raises(QuotelifeError, match=r"A: σ is unknown .* of the part to test; record for longer"):
        markets([blind])


def test_what_cannot_be_trained_names_the_mend(small: Market, tmp_path: Path) -> None:
    with pytest.raises(QuotelifeError, match="'9tick' is not stored; there are: 1tick, 3tick"):
        train.train([small], train.Plan("trees", tmp_path, thresholds=("9tick",)))
    with pytest.raises(QuotelifeError, match="none of logistic, trees, universal"):
        train.train([small], train.Plan("forest", tmp_path))
    with pytest.raises(QuotelifeError, match="choose another"):
        boost(np.zeros((5, 2), np.float32), np.zeros(5, bool), np.ones(5), SMALL)
    with pytest.raises(QuotelifeError, match="A: 10 s leave nothing"):
        markets([decisions(1, 11)])
