"""The backtest of a market whose odds are known: who knows them, wins; what comes later plays no part."""

import json
from bisect import bisect_right
from copy import deepcopy
from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from quotelife.config.schema import HeldToleranceSettings, Recalibration
from quotelife.errors import QuotelifeError
from quotelife.learn.backtest import (
    FLOWS,
    IMBALANCE,
    Case,
    Plan,
    anchor_labels,
    fitted_later,
    frontiers,
    held_tolerance,
    joined,
    judge,
    make_case,
    model_curves,
    passages,
    policy_rows,
    scores,
    seen_in_training,
    values,
    worst_run,
)  # fmt: skip
from quotelife.learn.dataset import DatasetError, Decisions
from quotelife.learn.hazard_fit import auc, brier_skill
from quotelife.learn.realdata import SETS, _value_targets, targets
from quotelife.learn.served import ANCHOR_AT, recalibrated
from quotelife.learn.withdrawal import PATHS_NS, withdrawal_targets, withdrawal_values
from quotelife.model.artifact import builtin_artifact, load_artifact
from quotelife.model.first_passage import FirstPassageModel
from quotelife.model.recalibration import ANCHORS_NS, UNKNOWN, RollingCalibration
from reference import flow_twin as twin

MS = twin.MS
RECALIBRATION = Recalibration.model_validate(
    {"enabled": True, "window": "1min", "refit": "300ms", "ridge": 10.0}
)
PLAN = Plan(block_ns=10_000 * MS, recalibration=RECALIBRATION, horizons_ns=(500 * MS, 2000 * MS),
            purge_ns=6_000 * MS, rows_max=20_000)  # fmt: skip


@pytest.fixture(scope="module")
def market() -> Decisions:
    return twin.market(5, seconds=900)


def informed_curves(d: Decisions) -> np.ndarray:
    """Curves of somebody who half knows the future: high where h is passed within 2 s, but for one in five."""
    rng = np.random.default_rng(9)
    h = d.h_ticks[:, 0]
    bad = (passages(d, h) <= 2000 * MS) ^ (rng.random(len(d)) < 0.2)
    return np.where(bad[:, None], np.linspace(0.05, 0.9, 12), np.linspace(0.001, 0.1, 12))


@pytest.fixture(scope="module")
def case(market: Decisions) -> Case:
    h = market.h_ticks[:, 0]
    curves = {"half knows": informed_curves(market), "first": model_curves(FirstPassageModel(), market, h)}
    return make_case("walk", "1tick", market, h, curves, PLAN)


@pytest.fixture(scope="module")
def judged(case: Case) -> str:
    return json.dumps(judge(case, "half knows", ["half knows"]), allow_nan=False)


def test_who_half_knows_the_future_scores_and_trades_better(case: Case) -> None:
    """AUC well above first passage, and at half fill far fewer pick-offs than a fixed life has."""
    by_model = {m["model"]: m for m in scores(case)[1]["models"]}
    assert by_model["half knows"]["auc"] > 0.75 > by_model["first"]["auc"] + 0.15
    rows = {(r["model"], r["policy"], r["fill"]): r for r in frontiers(case, ["half knows", "first"])}
    assert rows["half knows", "expected value", 0.5]["change"] < -0.15
    assert rows["half knows", "expected value", 0.5]["interval"][1] < -0.05
    assert (
        abs(rows["first", "expected value", 0.5]["change"]) < 0.1
    )  # σ is the same for all: nothing to choose by


def test_all_figures_come_in_json_and_again_to_the_bit(case: Case, judged: str) -> None:
    result = json.loads(judged)
    assert judged == json.dumps(judge(case, "half knows", ["half knows"]), allow_nan=False)
    values = {(v["case"], v["slice"], v["policy"]): v for v in result["value"]}
    for name in ("fast client, marked at accept", "toxic slow client, walks away"):
        assert values[name, "all", "expected value"]["value"] > values[name, "all", "static best"]["value"]
        assert values[name, "all", "static best"]["over_static"] == 0.0
    for figures in result["outcomes"].values():
        kinds = ("filled", "picked_off", "expired", "declined", "withdrawn")
        assert sum(figures[kind] for kind in kinds) == len(policy_rows(case, case.split.test, ["half knows"]))


def test_pieces_that_do_not_go_together_are_not_joined(market: Decisions) -> None:
    later = replace(market, now_ns=market.now_ns + 10**13, tick_size=0.5)
    with pytest.raises(DatasetError, match="X: its pieces do not go together: tick_size"):
        joined([market, later])


def test_rows_without_a_threshold_do_not_choose_the_fixed_life(case: Case) -> None:
    """σ was not known there, and so no h in σ: the value of every fixed life was no number, and the shortest won."""
    h = case.h_ticks.copy()
    h[case.split.train[:50]] = np.nan
    lacking = replace(case, h_ticks=h)
    found, all_known = ({row["static_life_ns"] for row in values(each, "first")} for each in (lacking, case))
    assert found == all_known


def test_recalibration_knows_nothing_of_later_labels(market: Decisions) -> None:
    """Passages of the second half turned round: curves of the first half stay as they are."""
    p = informed_curves(market)
    passage = np.where(market.now_ns % 3 == 0, 100 * MS, np.iinfo(np.int64).max)
    half = len(market) // 2
    turned = passage.copy()
    turned[half:] = 100 * MS
    one, two = (recalibrated(market, anchor_labels(market, t), p, RECALIBRATION) for t in (passage, turned))
    assert np.array_equal(one[:half], two[:half]) and not np.array_equal(one[half:], two[half:])


def test_a_label_teaches_from_the_second_message_behind_its_end(market: Decisions) -> None:
    """A plain twin that goes through the decisions one by one."""
    p = informed_curves(market)
    hits = anchor_labels(market, passages(market, market.h_ticks[:, 0]))
    messages = market.path.time_ns[market.path.good].tolist()
    pending = []
    for i, now_ns in enumerate(market.now_ns.tolist()):
        for anchor, tau_ns in enumerate(ANCHORS_NS):
            end = bisect_right(messages, now_ns + market.latency_ns + tau_ns)
            behind = messages[end : end + 2]
            if hits[i, anchor] >= 0 and len(behind) == 2:
                pending.append((behind[1], i, anchor))
    pending.sort()
    twin = RollingCalibration(
        RECALIBRATION.window_ns, ridge=RECALIBRATION.ridge, refit_ns=RECALIBRATION.refit_ns
    )
    expected = []
    for i, now_ns in enumerate(market.now_ns.tolist()):
        while pending and pending[0][0] <= now_ns:
            at_ns, k, anchor = pending.pop(0)
            known = [UNKNOWN, UNKNOWN]
            known[anchor] = int(hits[k, anchor])
            twin.add(at_ns, p[k, ANCHOR_AT], known)
        expected.append(twin.apply(now_ns, p[i]))
    assert np.array_equal(recalibrated(market, hits, p, RECALIBRATION), np.array(expected), equal_nan=True)


def test_the_test_slice_teaches_nothing_to_the_fixed_life(case: Case, market: Decisions) -> None:
    """The path after the second cut shifted away: best fixed life and loss given pick-off stay."""
    cut = case.split.cuts_ns[1] + 6_000 * MS
    late = market.path.time_ns > cut
    path = replace(market.path, **{
        name: np.where(late, 2.0 * getattr(market.path, name) - 990.0, getattr(market.path, name))
        for name in ("mid_ticks", "microprice_ticks")
    })  # fmt: skip
    other = replace(case, decisions=replace(market, path=path))
    learned = [
        {(v["case"], v["static_life_ns"], v["loss_in_h"], v["watch_share"]) for v in values(c, "half knows")}
        for c in (case, other)
    ]
    assert learned[0] == learned[1]


def test_held_tolerance_brings_an_overconfident_model_down(case: Case) -> None:
    """Without it a model that says a third of what it should is passed more often than α + 3 points."""
    tenth = replace(case, curves={"low": np.clip(case.curves["first"] / 10.0, 0.0, 1.0)})
    rows = {
        (r["posture"], r["model"], r["held"]): r
        for r in held_tolerance(tenth, "low", HeldToleranceSettings(rate=0.01, target=1.0))
    }
    free, held = (rows["liquidity_provider", "low", held] for held in (False, True))
    assert free["realised"] > 0.08
    assert held["realised_all"] < free["realised_all"]
    assert held["mean_life_ms"] < free["mean_life_ms"]


def test_worst_run_is_the_worst_of_all_windows() -> None:
    hit = np.array([0, 1, 1, 0, 0, 1, 1, 1, 0])
    assert worst_run(hit, 4) == 0.75
    assert worst_run(hit[:3], 4) is None


def fitted(levels: list[Any] | None, **spans: Any) -> Any:
    """A model that is its manifest."""
    training = {"span_start_ns": 0, "span_end_ns": 0, "fitted_on": [], **spans}
    return SimpleNamespace(
        manifest={"training": training | ({} if levels is None else {"levelled_on": levels})}
    )


def test_a_model_is_said_to_have_seen_the_test_slice_by_its_trees_or_by_its_level(case: Case) -> None:
    """And one whose manifest does not tell the spans of its level by all of its span."""
    cut, end = case.split.cuts_ns[1], int(case.decisions.now_ns[-1])
    before, inside, later = ["A", 0, cut - 1], ["B", cut, cut + 1], ["C", end + 1, end + 2]
    models = {
        "none": fitted([before], fitted_on=[before]),
        "trees": fitted([before], fitted_on=[before, inside]),
        "level": fitted([inside], fitted_on=[before]),
        "old": fitted(None, fitted_on=[before], span_end_ns=cut),
        "old, before": fitted(None, fitted_on=[before], span_end_ns=cut - 1),
        "future": fitted([later], fitted_on=[before]),
        "all time": fitted([before], fitted_on=[["A", 0, end + 1]]),
    }
    seen = seen_in_training(case, models)
    assert [name for name in models if seen[name]] == ["trees", "level", "old", "all time"]
    later_ones = fitted_later(case, models)
    assert [name for name in models if later_ones[name]] == ["future", "all time"]


def test_a_block_is_twice_the_longest_horizon_or_more() -> None:
    Plan(block_ns=4_000 * MS, horizons_ns=(500 * MS, 2000 * MS))
    with pytest.raises(ValueError, match="must be 4 s or more"):
        Plan(block_ns=3_999 * MS, horizons_ns=(500 * MS, 2000 * MS))


@pytest.mark.parametrize("part", ["train", "test"])
def test_a_slice_on_which_no_policy_can_be_judged_is_named(case: Case, part: str) -> None:
    """All its paths end before 5 s: scores are there, and what policies need is said."""
    observed = case.decisions.observed_ns.copy()
    rows = getattr(case.split, part)
    observed[rows] = np.minimum(observed[rows], 4_999 * MS)
    blind = replace(case, decisions=replace(case.decisions, observed_ns=observed))
    assert scores(blind)[0]["rows"] == scores(case)[0]["rows"] > 0
    for figure in (lambda: frontiers(blind, ["first"]), lambda: values(blind, "first")):
        with pytest.raises(QuotelifeError, match=f"walk: .* the {part} slice .* record for longer"):
            figure()


def test_a_horizon_that_no_test_row_was_seen_to_has_no_figures(case: Case) -> None:
    observed = case.decisions.observed_ns.copy()
    observed[case.split.test] = np.minimum(observed[case.split.test], 1_999 * MS)
    short, long = scores(replace(case, decisions=replace(case.decisions, observed_ns=observed)))
    assert short["rows"] > 0 and short["models"][0]["ece"] is not None
    assert long["rows"] == 0 and long["prevalence"] is None and long["models"][0]["ece"] is None
    json.dumps(long, allow_nan=False)


def test_pieces_join_into_one_with_a_hole_between(market: Decisions) -> None:
    later = replace(
        market, now_ns=market.now_ns + 10**13, path=replace(market.path, time_ns=market.path.time_ns + 10**13)
    )
    both = joined([market, later])
    assert len(both) == 2 * len(market)
    gap = both.path.at(np.array([int(market.path.time_ns[-1]) + 5]), "mid")
    assert np.isnan(gap).all()
    assert both.path.at(both.now_ns, "mid").tolist() == both.mid_ticks.tolist()


def test_a_target_missed_is_said_to_be_missed(judged: str) -> None:
    """The figures of a case under the name of a set: unmet where they are, met where they are."""
    result = json.loads(judged) | {"name": "GBP", "reference": "microprice"}
    result["frontier"] = [{**row, "change": -0.5, "interval": [-0.6, -0.3]} for row in result["frontier"]]
    found = {entry["what"]: entry for entry in targets([result])}
    assert found["frontier at 50 % fill, upper end"]["met"] is True
    assert found["AUC 500 ms"]["met"] is False and found["AUC 500 ms"]["value"] < 0.895
    known = [row for row in targets([result]) if row["what"].startswith("held")]
    assert all(row["met"] is None and "2,000" in row["reason"] for row in known if row["value"] is None)
    result["frontier"] = [{**row, "change": 0.2, "interval": [0.1, 0.3]} for row in result["frontier"]]
    worse = {entry["what"]: entry for entry in targets([result])}
    assert worse["frontier at 50 % fill, upper end"]["met"] is False
    assert worse["frontier at 90 % fill"]["met"] is False


def test_a_builtin_artifact_answers_every_row(market: Decisions) -> None:
    """Rows that the model cannot answer get first passage, as the engine does."""
    blind = replace(market, x=np.full_like(market.x, np.nan))
    p = model_curves(load_artifact(builtin_artifact("logistic")), blind, blind.h_ticks[:, 0])
    assert not np.isnan(p).any() and (np.diff(p, axis=1) >= 0).all()


@pytest.mark.parametrize(("skill", "met"), [(0.0598, False), (0.06, True)])
def test_a_figure_is_not_rounded_up_to_its_target(judged: str, skill: float, met: bool) -> None:
    """A skill of .0598 does not meet .060."""
    result = json.loads(judged) | {"name": "AMZN", "reference": "microprice"}
    for horizon in result["horizons"]:
        for model in horizon["models"]:
            model["brier_skill"] = skill
    found = {entry["what"]: entry for entry in targets([result])}
    assert found["Brier skill 500 ms"]["met"] is met


def test_the_mean_over_crypto_takes_the_model_that_each_set_chose() -> None:
    """Not the best one of each, nor the first set's."""

    def entry(name: str, chosen: str) -> dict[str, Any]:
        aucs = {"a": 0.6, "b": 0.8, IMBALANCE: 0.7}
        models = [{"model": model, "auc": auc, "ece": 0.01} for model, auc in aucs.items()]
        empty: dict[str, Any] = {"frontier": [], "value": [], "held_tolerance": []}
        horizons = [{"horizon_ns": ms * MS, "models": models} for ms in (500, 2000)]
        return {"name": name, "reference": "microprice", "model": chosen, "horizons": horizons, **empty}

    names = [spec.name for spec in SETS if spec.crypto]
    found = targets([entry(name, "b" if i == 0 else "a") for i, name in enumerate(names)])
    (mean,) = [each for each in found if each["set"] == "crypto, mean of four"]
    assert mean["value"] == pytest.approx(0.65) and mean["met"] is False
    (mean,) = [each for each in targets([entry(names[0], "b")]) if each["set"] == "crypto, mean of four"]
    assert mean["value"] is None and mean["met"] is None and names[1] in mean["reason"]


def value_rows(over_static: list[float], over_unwatched: list[float] | None) -> list[dict[str, Any]]:
    row = {
        "case": "c",
        "slice": "all",
        "policy": "expected value + withdrawal",
        "over_static": 0.1,
        "over_static_interval": over_static,
        "over_unwatched": -0.1,
        "over_unwatched_interval": over_unwatched,
    }
    return [row, {**row, "slice": "top risk decile", "over_static_interval": [-2.0, -1.0]}]


@pytest.mark.parametrize(
    ("over_static", "over_unwatched", "met"),
    [
        ([0.0, 0.2], [-0.2, 0.01], True),
        ([0.0, 0.2], [-0.2, -0.01], False),
        ([-0.2, -0.1], [0.1, 0.2], False),
        ([0.0, 0.2], None, None),
    ],
)
def test_value_under_a_watch_is_held_against_both_fixed_lives(
    over_static: list[float], over_unwatched: list[float] | None, met: bool | None
) -> None:
    """By the paired differences: worse than the fixed life without a watch is missed, however bad the one with it."""
    (target,) = _value_targets("X", value_rows(over_static, over_unwatched))
    assert target["met"] is met
    assert target.get("interval") == (
        over_unwatched if met is not False or over_static[0] == 0 else over_static
    )


def test_differences_are_taken_request_by_request(case: Case) -> None:
    """A fixed life over itself is nothing in every draw; under a watch there are two differences, to the means of both
    fixed lives."""
    rows = {
        (v["slice"], v["policy"]): v for v in values(case, "half knows") if v["case"] == next(iter(FLOWS))
    }
    fixed, fixed_watched, watched = (
        rows["all", name]
        for name in ("static best", "static best + withdrawal", "expected value + withdrawal")
    )
    assert fixed["over_unwatched_interval"] == fixed_watched["over_static_interval"] == [0.0, 0.0]
    assert watched["over_unwatched"] == pytest.approx(watched["value"] - fixed["value"])
    assert watched["over_static"] == pytest.approx(watched["value"] - fixed_watched["value"])
    for key in ("over_static", "over_unwatched"):
        low, high = watched[f"{key}_interval"]
        assert low < watched[key] < high


def test_the_comparator_rolls_like_the_models_and_its_auc_is_its_own(case: Case) -> None:
    (entry,) = [m for m in scores(case)[0]["models"] if m["model"] == IMBALANCE]
    hit = case.passage_ns[case.split.test] <= 500 * MS
    raw, served = (p[case.split.test, 5] for p in (case.ranks[IMBALANCE], case.curves[IMBALANCE]))
    assert entry["auc"] == auc(raw, hit) != auc(served, hit)
    assert entry["brier_skill"] == brier_skill(served, hit)


@pytest.fixture(scope="module")
def by_path(case: Case) -> list[dict[str, Any]]:
    return withdrawal_values(case, "half knows")


def test_a_watch_is_worth_less_the_longer_its_withdrawal_takes(
    case: Case, by_path: list[dict[str, Any]]
) -> None:
    """Each row of the table is there once; without a watch it is what ``values`` says; fewer pick-offs the sooner."""
    keys = [(row["case"], row["path_ns"], row["policy"]) for row in by_path]
    assert len(set(keys)) == len(keys) == len(FLOWS) * (3 + 4 * len(PATHS_NS))
    found = dict(zip(keys, by_path, strict=True))
    plain = {(v["case"], v["policy"]): v["value"] for v in values(case, "half knows") if v["slice"] == "all"}
    for name in FLOWS:
        for policy in ("static best", "static 2 s", "expected value"):
            assert found[name, None, policy]["value"] == plain[name, policy]
            assert found[name, 5 * MS, policy]["value"] == plain[name, f"{policy} + withdrawal"]
        picked = [found[name, path, "static 2 s"]["pickoffs"] for path in (*PATHS_NS, None)]
        assert picked == sorted(picked) and picked[0] < picked[-1]


def test_a_life_that_counts_on_its_watch_is_no_shorter(by_path: list[dict[str, Any]]) -> None:
    """Over the life of no watch: nothing by itself, and longer wherever the share of losses left is below 1."""
    found = {(row["case"], row["path_ns"], row["policy"]): row for row in by_path}
    shares = set()
    for name in FLOWS:
        for path in PATHS_NS:
            joint, short = (
                found[name, path, policy] for policy in ("expected value", "expected value, life of no watch")
            )
            assert short["over_short"] == 0.0
            assert joint["over_short"] == pytest.approx(joint["value"] - short["value"])
            assert joint["life_ms"] >= short["life_ms"] - 1e-3
            shares.add(joint["watch_share"])
    assert min(shares) < 1.0


def test_a_withdrawal_row_is_held_against_both_fixed_lives(by_path: list[dict[str, Any]]) -> None:
    entry = {"name": "walk", "reference": "microprice", "withdrawal": deepcopy(by_path)}
    first = withdrawal_targets([entry])
    assert len(first) == len(FLOWS) * (1 + len(PATHS_NS))
    assert not withdrawal_targets([{**entry, "reference": "mid"}])
    for row in entry["withdrawal"]:
        row["over_static_interval"], row["over_unwatched_interval"] = [0.0, 0.1], [-0.2, -0.1]
    worse = withdrawal_targets([entry])
    assert [row["met"] for row in worse] == [row["what"].endswith("no withdrawal") for row in worse]
