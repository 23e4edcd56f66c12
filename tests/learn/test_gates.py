"""The promotion gates answer as they must where the answer is known."""

import json
from bisect import bisect_right
from dataclasses import replace
from typing import Any, get_args

import numpy as np
import pytest

from quotelife.config.schema import PromotionMarket, Recalibration
from quotelife.errors import QuotelifeError
from quotelife.features.schema import NAMES
from quotelife.learn import gates, served
from quotelife.learn.dataset import DatasetError
from quotelife.learn.gates import Bounds, Gate, GatesError, Judged
from quotelife.model.artifact import builtin_artifact, load_artifact
from quotelife.model.first_passage import FirstPassageModel
from quotelife.model.golden import GoldenModel
from quotelife.model.promotion import REQUIRED, read_verdict
from quotelife.model.recalibration import ANCHORS_NS, RollingCalibration
from quotelife.records import HORIZONS_NS
from reference import dataset_kit

SHORT, LONG = HORIZONS_NS.index(500_000_000), HORIZONS_NS.index(2_000_000_000)
ROWS = 40_000
BOUNDS = Bounds()
S = 1_000_000_000
Floats = np.ndarray[Any, np.dtype[np.float64]]


def truth(seed: int = 3, rows: int = ROWS) -> tuple[Floats, np.ndarray[Any, np.dtype[np.int8]]]:
    """Curves that rise with τ, and outcomes drawn from them."""
    rng = np.random.default_rng(seed)
    level = rng.normal(-3.0, 1.5, rows)[:, None] + np.linspace(-1.0, 2.0, len(HORIZONS_NS))
    p = 1.0 / (1.0 + np.exp(-level))
    outcome = (rng.random(rows)[:, None] < p).astype(np.int8)
    return p, outcome


def judged(champion: Floats, challenger: Floats, outcome: Any) -> Judged:
    now = np.arange(len(outcome), dtype=np.int64) * 250_000_000
    return Judged("EUR 1tick", now, champion, challenger, outcome)


def flat(outcome: Any) -> Floats:
    return np.broadcast_to(outcome.mean(axis=0), outcome.shape).copy()


def stretched(p: Floats, by: float) -> Floats:
    return 1.0 / (1.0 + np.exp(-by * np.log(p / (1.0 - p))))


def by_name(found: list[Gate]) -> dict[str, Gate]:
    return {gate.name: gate for gate in found}


def test_an_equal_model_does_not_beat_the_champion() -> None:
    p, outcome = truth()
    found = by_name(gates.skill([judged(p, p.copy(), outcome)], BOUNDS))
    assert not found["beats_champion_log_loss"].passed
    assert not found["beats_champion_brier"].passed
    assert found["beats_champion_brier"].figure == 0.0
    assert found["not_worse_500 ms"].passed


def test_a_clearly_better_model_passes_every_gate_of_skill_and_calibration() -> None:
    p, outcome = truth()
    pair = [judged(flat(outcome), p, outcome)]
    assert all(gate.passed for gate in gates.skill(pair, BOUNDS))
    assert all(gate.passed for gate in gates.calibration(pair, BOUNDS))


def test_a_clearly_worse_model_fails_every_gate_of_skill() -> None:
    p, outcome = truth()
    assert not any(gate.passed for gate in gates.skill([judged(p, flat(outcome), outcome)], BOUNDS))


def test_a_gain_that_is_real_but_small_against_its_blocks_is_no_gain() -> None:
    """The same mean gain: spread over all blocks it beats the champion, from one block of 60 it does not."""
    p, outcome = truth(rows=60 * 240)
    even = challenge_by(p, outcome, np.full(len(p), 0.02))
    lumpy = challenge_by(p, outcome, np.where(np.arange(len(p)) < 240, 1.2, 0.0))
    for shift, passed in ((even, True), (lumpy, False)):
        gate = by_name(gates.skill([judged(p, shift, outcome)], BOUNDS))["beats_champion_log_loss"]
        assert gate.figure is not None and gate.figure < 0.0
        assert gate.passed is passed


def challenge_by(p: Floats, outcome: Any, gain: Floats) -> Floats:
    """Curves whose logit is moved towards the outcome, at every horizon alike."""
    logit = np.log(p / (1.0 - p)) + np.where(outcome == 1, gain[:, None], -gain[:, None])
    return 1.0 / (1.0 + np.exp(-logit))


def test_a_loss_on_one_market_is_not_hidden_by_gains_on_others() -> None:
    p, outcome = truth()
    good = [replace(judged(flat(outcome), p, outcome), market=f"{name} 1tick") for name in "ABC"]
    bad = replace(judged(p, stretched(p, 0.7), outcome), market="AMZN 1tick")
    found = by_name(gates.skill([*good, bad], BOUNDS))
    assert found["beats_champion_log_loss"].passed and found["not_worse_500 ms"].passed
    gate = found["no_market_worse"]
    assert not gate.passed and gate.figure is not None and gate.figure > 0.0
    assert "worse at AMZN 1tick at" in gate.reason and "A 1tick" not in gate.reason
    assert "Holm over 8" in gate.reason
    assert by_name(gates.skill(good, BOUNDS))["no_market_worse"].passed


def test_among_forty_markets_that_are_alike_one_that_looks_worse_by_chance_fails_nothing() -> None:
    """Challengers of noise, on each of whom some market is worse at 5 % by itself: without Holm most would fail."""
    alone = refused = 0
    for seed in range(6):
        rng = np.random.default_rng(seed)
        several = []
        for place in range(20):
            p, outcome = truth(seed=100 * seed + place, rows=60 * 60)
            noise = np.exp(rng.normal(0.0, 0.01, len(p)))[:, None]
            pair = judged(stretched(p, 1.0) * noise / (1.0 + p * (noise - 1.0)), p, outcome)
            now = pair.now_ns * 4  # 60 blocks
            several.append(replace(pair, market=f"{place} 1tick", now_ns=now))
        alone += any(not by_name(gates.skill([each], BOUNDS))["not_worse_2 s"].passed for each in several)
        refused += not by_name(gates.skill(several, BOUNDS))["no_market_worse"].passed
    assert alone > refused <= 1


def test_a_market_with_too_little_of_its_own_is_named_as_not_asked() -> None:
    p, outcome = truth()
    short = replace(judged(p[:500], stretched(p[:500], 0.5), outcome[:500]), market="NEW 1tick")
    gate = by_name(gates.skill([judged(p, p, outcome), short], BOUNDS))["no_market_worse"]
    assert gate.passed and "2 with too few blocks" in gate.reason and "Holm over 2" in gate.reason


def test_blocks_shorter_than_two_labels_are_refused() -> None:
    with pytest.raises(GatesError, match="twice the longest label; record for longer"):
        Bounds(block_ns=9_000_000_000)


def test_an_overconfident_model_fails_at_its_calibration_though_it_ranks_better() -> None:
    p, outcome = truth()
    pair = [judged(flat(outcome), stretched(p, 0.6), outcome)]
    found = by_name(gates.calibration(pair, BOUNDS))
    assert not found["ece_500 ms"].passed
    assert not found["ece_2 s"].passed
    assert found["ece_2 s"].bound == 0.01


def test_the_targets_of_crypto_are_wider() -> None:
    p, outcome = truth()
    pair = [judged(flat(outcome), stretched(p, 0.9), outcome)]
    assert not by_name(gates.calibration(pair, BOUNDS))["ece_500 ms"].passed
    crypto = Bounds(ece=tuple(gates.MARKETS["crypto"].items()))
    assert all(gate.passed for gate in gates.calibration(pair, crypto))


def test_one_bad_market_is_not_hidden_by_a_good_one() -> None:
    p, outcome = truth()
    good, bad = judged(p, p, outcome), judged(p, stretched(p, 0.6), outcome)
    alone = by_name(gates.calibration([bad], BOUNDS))["ece_500 ms"].figure
    assert by_name(gates.calibration([good, bad, good], BOUNDS))["ece_500 ms"].figure == alone


def test_a_model_that_wins_at_one_horizon_must_not_lose_at_the_other() -> None:
    p, outcome = truth()
    champion, challenger = flat(outcome), p.copy()
    champion[:, LONG] = p[:, LONG]
    challenger[:, LONG] = stretched(p[:, LONG], 0.8)
    found = by_name(gates.skill([judged(champion, challenger, outcome)], BOUNDS))
    assert found["beats_champion_log_loss"].passed
    assert not found["not_worse_2 s"].passed
    assert found["not_worse_500 ms"].passed


def test_the_difference_is_that_of_the_plain_formula() -> None:
    p, outcome = truth()
    q = stretched(p, 0.8)
    found = by_name(gates.skill([judged(q, p, outcome)], BOUNDS))
    total = 0.0
    for k in (SHORT, LONG):
        hit = outcome[:, k] == 1
        rate = hit.mean()
        change = np.mean((p[:, k] - hit) ** 2) - np.mean((q[:, k] - hit) ** 2)
        total += change / (rate * (1 - rate)) / 2
    assert found["beats_champion_brier"].figure == pytest.approx(total)


def test_unknown_labels_and_rows_without_an_answer_count_for_neither() -> None:
    p, outcome = truth()
    q, censored = stretched(p, 0.8), outcome.copy()
    whole = by_name(gates.skill([judged(q[:30_000], p[:30_000], outcome[:30_000])], BOUNDS))
    censored[30_000:35_000] = -1
    holed = q.copy()
    holed[35_000:] = np.nan
    found = by_name(gates.skill([judged(holed, p, censored)], BOUNDS))
    assert found["beats_champion_brier"].figure == pytest.approx(whole["beats_champion_brier"].figure)


def test_too_few_blocks_are_refused_with_the_mend() -> None:
    p, outcome = truth(rows=1000)
    with pytest.raises(
        GatesError, match="at least 30 blocks and both outcomes are needed: record for longer"
    ):
        gates.skill([judged(p, p, outcome)], BOUNDS)


def test_the_same_seed_gives_the_same_verdict() -> None:
    p, outcome = truth()
    pair = [judged(stretched(p, 0.9), p, outcome)]
    assert gates.skill(pair, BOUNDS) == gates.skill(pair, BOUNDS)


def test_only_what_neither_model_was_fitted_on_is_judged() -> None:
    data = dataset_kit.decisions(400)
    fitted = FirstPassageModel()
    until = int(data.now_ns[200])
    other = load_artifact(builtin_artifact("first_passage"))
    fitted.stamp({**other.manifest, "training": {"span_start_ns": 0, "span_end_ns": until}})
    (found,) = gates.unseen([data], (fitted, other))
    assert found.now_ns.min() > until + HORIZONS_NS[-1] + data.latency_ns
    assert len(found) == np.sum(data.now_ns > until + HORIZONS_NS[-1] + data.latency_ns)


def test_a_dataset_that_was_all_seen_is_refused() -> None:
    data = dataset_kit.decisions(40)
    fitted = FirstPassageModel()
    other = load_artifact(builtin_artifact("first_passage"))
    fitted.stamp({**other.manifest, "training": {"span_end_ns": int(data.now_ns[-1])}})
    with pytest.raises(
        GatesError, match=r"no decision of EUR lies after 1970-01-01 .* first_passage .* record more"
    ):
        gates.unseen([data], (other, fitted))


@pytest.mark.parametrize("name", ["simulated_trees", "logistic"])
def test_a_model_of_the_simulator_has_no_time_on_the_clock_of_recordings(name: str) -> None:
    model = load_artifact(builtin_artifact(name))
    assert model.manifest and model.manifest["training"]["span_end_ns"] > 0
    data = dataset_kit.decisions(40)  # in 1970
    (found,) = gates.unseen([data], (model, load_artifact(builtin_artifact("first_passage"))))
    assert len(found) == len(data)


def test_a_fitted_model_that_does_not_say_until_when_is_refused() -> None:
    """It would count as having seen nothing, and be judged on what it was fitted on."""
    other = load_artifact(builtin_artifact("first_passage"))
    model = FirstPassageModel()
    model.stamp({**other.manifest, "training": {"data_digest": "0"}})
    with pytest.raises(GatesError, match="train it again"):
        gates.unseen([dataset_kit.decisions(40)], (other, model))


def test_a_champion_does_not_challenge_itself() -> None:
    model = load_artifact(builtin_artifact("first_passage"))
    with pytest.raises(GatesError, match="is the champion"):
        gates.check(model, model, [dataset_kit.decisions(40)])


@pytest.mark.parametrize("name", ["first_passage", "golden", "logistic"])
def test_shipped_models_keep_the_invariants(name: str) -> None:
    model = load_artifact(builtin_artifact(name))
    found = gates.invariants(model, [dataset_kit.decisions(300)])
    assert {gate.name for gate in found} == {
        "schema", "self_test", "probes", "no_nan", "monotone_horizon", "monotone_threshold", "mirror",
    }  # fmt: skip
    assert [gate.name for gate in found if not gate.passed] == []


class Broken(GoldenModel):
    """Golden, but for one fault of its curves."""

    fault = ""

    def curves(self, x: Any, valid: Any, h_ticks: Any, sigma_ticks: Any) -> Any:
        p, answered = super().curves(x, valid, h_ticks, sigma_ticks)
        if self.fault == "no_nan":
            p[0, 3] = np.nan
        elif self.fault == "monotone_horizon":
            p[:, 5] = p[:, 4] / 2
        elif self.fault == "monotone_threshold":
            p *= (np.asarray(h_ticks) / (1.0 + np.asarray(h_ticks)))[:, None]
        elif self.fault == "mirror":
            p *= np.where(np.asarray(x)[:, NAMES.index("depth_bid_1")] > 0.5, 0.9, 1.0)[:, None]
        return p, answered


@pytest.mark.parametrize("fault", ["no_nan", "monotone_horizon", "monotone_threshold", "mirror"])
def test_a_broken_invariant_is_found_and_named(fault: str) -> None:
    whole = load_artifact(builtin_artifact("golden"))
    model = Broken(whole.parameters())
    model.fault = fault
    model.stamp(whole.manifest, whole.files)
    found = by_name(gates.invariants(model, [dataset_kit.decisions(300)]))
    assert not found[fault].passed
    others = {name for name, gate in found.items() if not gate.passed} - {fault}
    assert others <= {"probes"}


def test_every_threshold_of_the_dataset_is_tried_and_rows_without_one_are_not() -> None:
    data = dataset_kit.decisions(300)
    whole = load_artifact(builtin_artifact("golden"))
    wide = replace(data, h_ticks=data.h_ticks * [1.0, 1.0, 1000.0])

    class Far(GoldenModel):
        def curves(self, x: Any, valid: Any, h_ticks: Any, sigma_ticks: Any) -> Any:
            p, answered = super().curves(x, valid, h_ticks, sigma_ticks)
            p[np.asarray(h_ticks) > 200.0, 3] = np.nan
            p[np.isnan(h_ticks)] = np.nan
            return p, answered

    model = Far(whole.parameters())
    model.stamp(whole.manifest, whole.files)
    assert by_name(gates.invariants(model, [data]))["no_nan"].passed
    assert not by_name(gates.invariants(model, [wide]))["no_nan"].passed


def test_pieces_of_an_instrument_that_do_not_go_together_are_refused() -> None:
    """1 tick of one would be judged together with 1 tick, ten times as large, of the other."""
    first = dataset_kit.decisions()
    later = replace(first, now_ns=first.now_ns + 10**12, tick_size=10 * first.tick_size)
    golden, champion = (load_artifact(builtin_artifact(name)) for name in ("golden", "first_passage"))
    with pytest.raises(DatasetError, match="EUR: its pieces do not go together: tick_size"):
        gates.check(golden, champion, [later, first])


def test_a_model_of_another_schema_or_self_test_is_refused() -> None:
    whole = load_artifact(builtin_artifact("golden"))
    model = GoldenModel(whole.parameters())
    model.stamp({**whole.manifest, "schema": {"version": 1, "hash": "0" * 64}})
    found = by_name(gates.invariants(model, [dataset_kit.decisions(50)]))
    assert not found["schema"].passed
    assert not found["self_test"].passed


def test_latency_is_told_against_first_passage_and_the_champion_and_bound() -> None:
    model = load_artifact(builtin_artifact("logistic"))
    champion = load_artifact(builtin_artifact("golden"))
    wide = gates.latency(model, champion, Bounds(decision_to_yardstick=1e9, decision_to_champion=1e9))
    tight = gates.latency(model, champion, Bounds(decision_to_yardstick=1e-9, decision_to_champion=1e-9))
    assert [gate.name for gate in wide] == ["latency_yardstick", "latency_champion"]
    assert all(gate.passed and gate.figure and gate.figure > 0 for gate in wide)
    assert not any(gate.passed for gate in tight)


def test_a_verdict_is_yes_only_when_every_gate_says_so() -> None:
    yes, no = Gate("a", True, 1.0, 2.0, ""), Gate("b", False, None, None, "")
    assert gates.Verdict("x", "y", 1, (yes, yes)).promoted
    assert not gates.Verdict("x", "y", 1, (yes, no)).promoted
    assert gates.Verdict("x", "y", 1, (yes, no)).as_json()["gates"][1] == {
        "name": "b",
        "passed": False,
        "reason": "",
    }


@pytest.fixture(scope="module")
def whole() -> gates.Verdict:
    """A verdict of ``check`` on two instruments, of one of which there is too little."""
    models = (load_artifact(builtin_artifact(name)) for name in ("logistic", "first_passage"))
    much, little = dataset_kit.decisions(4000), dataset_kit.decisions(400, instrument="GBP")
    return gates.check(
        *models, [much, little], Bounds(block_ns=10 * S, decision_to_yardstick=1e9), thresholds=("1tick",)
    )


def test_a_verdict_asks_every_gate_that_a_promotion_needs(whole: gates.Verdict) -> None:
    assert {gate.name for gate in whole.gates} == REQUIRED


def test_a_verdict_written_down_is_what_a_promotion_reads(whole: gates.Verdict) -> None:
    said = read_verdict(json.dumps(replace(whole, at="2026-03-18").as_json()).encode())
    assert (said.challenger, said.champion, said.lacking) == (whole.challenger, whole.champion, ())
    assert said.refused == tuple(gate.name for gate in whole.gates if not gate.passed)
    assert said.loosened == (
        "latency_yardstick at most 1e+09 instead of 5",
        "blocks of 10 s instead of 60 s",
        "thresholds left out: 0.5bp, 1sigma",
    )


def test_a_verdict_on_simulated_decisions_says_so_and_promotes_for_a_reason_only() -> None:
    models = [load_artifact(builtin_artifact(name)) for name in ("logistic", "first_passage")]
    made_up = replace(dataset_kit.decisions(400, instrument="GBP"), simulated=True)
    bounds = Bounds(block_ns=10 * S, decision_to_yardstick=1e9)
    found = gates.check(*models, [dataset_kit.decisions(4000), made_up], bounds)
    assert found.loosened[-1] == "judged on simulated decisions of GBP"


def test_a_verdict_names_the_market_by_whose_bounds_it_was_given(whole: gates.Verdict) -> None:
    assert whole.market == "full_day"
    found = replace(whole, at="2026-03-18", market="crypto")
    assert read_verdict(json.dumps(found.as_json()).encode()).market == "crypto"


def test_there_are_bounds_of_every_market_that_a_configuration_can_name() -> None:
    assert set(gates.MARKETS) == set(gates.BLOCK_NS) == set(get_args(PromotionMarket))


def test_blocks_shorter_than_the_markets_are_loosened_and_longer_ones_are_not() -> None:
    """Shorter blocks make narrower intervals."""
    assert Bounds(block_ns=59 * S).loosened == ("blocks of 59 s instead of 60 s",)
    assert Bounds(block_ns=61 * S).loosened == ()
    crypto = tuple(gates.MARKETS["crypto"].items())
    assert Bounds(ece=crypto, block_ns=10 * S, market="crypto").loosened == ()


def test_a_verdict_names_what_was_judged_and_since_when(whole: gates.Verdict) -> None:
    much, little = whole.instruments
    data = dataset_kit.decisions(4000)
    assert (much.rows, much.from_ns, much.to_ns) == (4000, data.now_ns[0], data.now_ns[-1])
    assert much.blocks == len(np.unique(data.now_ns[data.outcome(2 * S, 0) >= 0] // (10 * S))) >= 30
    assert (much.asked, little.asked) == (True, False)
    with pytest.raises(QuotelifeError, match="is not readable"):
        read_verdict(json.dumps(whole.as_json()).encode())
    said = read_verdict(json.dumps(replace(whole, at="2026-03-18T18:00Z").as_json()).encode())
    assert said.instruments == {"EUR"}
    assert said.recalibration == BOUNDS.recalibration.model_dump(mode="json")
    assert (said.from_ns, said.to_ns) == (much.from_ns, much.to_ns)


def test_bounds_as_they_are_for_their_market_are_not_loosened() -> None:
    assert Bounds().loosened == ()
    crypto = tuple(gates.MARKETS["crypto"].items())
    assert Bounds(ece=crypto, market="crypto").loosened == ()
    assert Bounds(ece=crypto).loosened == (
        "ece_500 ms at most 0.05 instead of 0.004",
        "ece_2 s at most 0.05 instead of 0.01",
    )
    assert Bounds(ece=crypto[:1], market="crypto").loosened == ("ece_2 s at most inf instead of 0.05",)
    assert Bounds(level=0.5, decision_to_champion=11.0).loosened == (
        "latency_champion at most 11 instead of 10",
        "intervals of 0.5 instead of 0.95",
    )


def test_a_block_with_labels_at_one_horizon_only_does_not_part_the_draws_of_the_two() -> None:
    """With equal losses at both horizons the interval of their mean is that of either: drawn apart, it is narrower."""
    p, outcome = truth(rows=60 * 240)
    mine = stretched(p, 0.9)
    for each in (p, mine, outcome):
        each[:, LONG] = each[:, SHORT]
    outcome[-240:, LONG] = -1
    found = by_name(gates.skill([judged(p, mine, outcome)], BOUNDS))
    together, short, long = (
        found[name].interval for name in ("beats_champion_log_loss", "not_worse_500 ms", "not_worse_2 s")
    )
    assert together and short and long
    least = min(short[1] - short[0], long[1] - long[0])
    assert together[1] - together[0] > 0.97 * least


def test_thresholds_can_be_chosen_by_name() -> None:
    data = dataset_kit.decisions(40)
    found = gates.with_thresholds(data, ("1sigma",))
    assert found.thresholds == ("1sigma",)
    assert np.array_equal(found.passage_ns[:, 0], data.passage_ns[:, 2])
    with pytest.raises(GatesError, match="there are: 1tick"):
        gates.with_thresholds(data, ("9tick",))


def test_each_model_is_judged_under_the_pairs_that_its_own_labels_gave_by_then() -> None:
    """Against one call of ``at`` a decision, labels added by hand at the second message behind their horizon."""
    data = dataset_kit.decisions(400)
    models = [load_artifact(builtin_artifact(name)) for name in ("first_passage", "logistic")]
    settings = Recalibration.model_validate({"enabled": True, "window": "20s", "refit": "1s", "ridge": 2.0})
    found = gates.served(models[1], models[0], data, 0, Bounds(recalibration=settings))
    outcome = np.stack([data.outcome(ns) for ns in ANCHORS_NS], axis=1)
    messages = data.path.time_ns[data.path.good].tolist()
    for model, curves in zip(models, (found.champion, found.challenger), strict=True):
        raw = gates.raw_curves(model, data, 0)
        twin = RollingCalibration(20 * S, ridge=2.0, refit_ns=S)
        labels = sorted(
            (messages[second], i, k)
            for i in range(len(data))
            for k, tau in enumerate(ANCHORS_NS)
            if outcome[i, k] >= 0
            and not np.isnan(raw[i, 0])
            and (second := bisect_right(messages, int(data.now_ns[i]) + data.latency_ns + tau) + 1)
            < len(messages)
        )
        for i in range(len(data)):
            while labels and labels[0][0] <= data.now_ns[i]:
                resolved, row, k = labels.pop(0)
                hit = [-1, -1]
                hit[k] = int(outcome[row, k])
                twin.add(resolved, raw[row, served.ANCHOR_AT], hit)
            pairs = twin.at(int(data.now_ns[i]))
            assert np.array_equal(curves[i], twin.calibrate(raw[i], pairs)[0], equal_nan=True)
        assert not np.array_equal(curves, raw, equal_nan=True)


def test_where_recalibration_is_off_raw_curves_are_judged() -> None:
    data = dataset_kit.decisions(400)
    champion, challenger = (load_artifact(builtin_artifact(name)) for name in ("first_passage", "logistic"))
    off = Recalibration.model_validate({"enabled": False})
    found = gates.served(challenger, champion, data, 0, Bounds(recalibration=off))
    assert np.array_equal(found.challenger, gates.raw_curves(challenger, data, 0), equal_nan=True)
