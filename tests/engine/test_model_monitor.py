"""The monitor of served models in an engine: what it sees, what it does, and the way back."""

import json
import math
from pathlib import Path
from typing import Any

import pytest

from quotelife.config import Config
from quotelife.engine import Engine
from quotelife.explain.decision import explain
from quotelife.explain.grounds import Grounds
from quotelife.inputs import Change, InputTap
from quotelife.model.artifact import builtin_artifact, load_artifact, save_artifact
from quotelife.model.ladder import Cause, Level, StepSource
from quotelife.model.lineup import LineUp, Serving
from quotelife.records import (
    DecisionCode,
    DecisionRecord,
    EventBuffer,
    ObservedFlags,
    PostureCode,
    ReasonFlags,
    RequestRecord,
    RuleCode,
)
from reference import jump_kit
from reference.jump_kit import RATE, START_NS

S = 1_000_000_000
LADDER = {"worst": "step_down", "labels_min": 500, "well_after": "5min", "window": "10min"}
ALPHA, OMEGA = 0, 1


class Desk:
    """An engine with a market, a timer every 100 ms and a decision of each client every second."""

    def __init__(self, monitor: dict[str, Any], rate: float = RATE, **learning: Any) -> None:
        self.engine = Engine(
            jump_kit.config(monitor, **learning), model=jump_kit.model(rate), start_ns=START_NS
        )
        self.steps: list[tuple[int, dict[str, Any]]] = []
        self.sequences: list[int] = []
        self.decisions: list[tuple[DecisionRecord, DecisionRecord]] = []
        self.levels: set[Level] = set()
        self.causes = Cause(0)
        self.now_ns = START_NS
        self.seed = 0
        self.engine.record_to(InputTap(self.told))

    def told(self, name: str, sequence: int, *values: Any) -> None:
        self.sequences.append(sequence)
        if name == "change" and values[0] is Change.STEPPED:
            self.steps.append((sequence, values[1]))

    def run(self, seconds: float, rate: float = RATE) -> None:
        self.seed += 1
        bid = self.engine.instrument_status(0, self.now_ns).bid_ticks or 1_000_000
        for i, (now_ns, buffer) in enumerate(
            jump_kit.quotes([(seconds, rate)], self.seed, start_ns=self.now_ns, bid=bid)
        ):
            self.engine.on_events(buffer)
            if i % 2:
                self.engine.on_timer(now_ns)
                group = self.engine.monitors.group(0)
                self.levels.add(Level(group.level))
                for each in group.models:
                    self.causes |= Cause(each.causes)
            if i % 20 == 19:
                self.decisions.append((self.decide(now_ns, ALPHA), self.decide(now_ns, OMEGA)))
            self.now_ns = now_ns

    def decide(self, now_ns: int, client: int) -> DecisionRecord:
        decided = DecisionRecord()
        self.engine.decide(RequestRecord(0, 1, now_ns=now_ns, counterparty=client), decided)
        return decided


def test_a_right_model_in_calm_is_never_warned_of_and_scores_as_it_should() -> None:
    """An hour and some 28,000 labels under the shipped limits: no alarm of any kind."""
    desk = Desk({})
    desk.run(3600)
    assert desk.levels == {Level.WELL} and desk.causes == Cause(0) and desk.steps == []
    (model,) = desk.engine.monitors.group(0).models
    opened, resolved, *lost = desk.engine.label_counts()
    assert opened > resolved > 28_000 and lost == [0, 0, 0]
    for scores, p in zip(model.scores, (0.0247, 0.0952), strict=True):
        assert scores.labels > 28_000
        assert scores.prevalence == pytest.approx(p, rel=0.35)
        assert scores.brier == pytest.approx(scores.prevalence, rel=0.2)
        assert scores.ece < 0.03
    assert model.psi == () and "does not say" in model.psi_note


def test_an_overconfident_model_is_warned_of_steps_down_and_comes_back_when_it_is_right_again() -> None:
    desk = Desk(LADDER)
    desk.run(300)
    assert desk.steps == []
    desk.run(600, rate=8 * RATE)
    assert {Level.WARNED, Level.DEGRADED} <= desk.levels and Cause.P_LOW in desk.causes
    ((sequence, down),) = desk.steps
    assert (down["group"], down["down"], down["source"]) == ("X", True, StepSource.MONITOR)
    assert "P is too low" in down["reason"] and desk.sequences.count(sequence) == 1
    assert desk.sequences == sorted(desk.sequences)
    group = desk.engine.monitors.group(0)
    assert group.down and group.since_ns == down["since_ns"] and group.reason == down["reason"]
    desk.run(900)
    assert [payload["down"] for _, payload in desk.steps] == [True, False]
    back = desk.steps[1][1]
    assert back["source"] == StepSource.MONITOR and "well for 300 s" in back["reason"]
    assert back["since_ns"] - down["since_ns"] > 300 * S
    for alpha, omega in desk.decisions:
        stepped = down["since_ns"] <= alpha.now_ns < back["since_ns"]
        assert bool(alpha.observed & ObservedFlags.STEPPED_DOWN) == stepped
        assert alpha.posture_requested == PostureCode.CLIENT_PRIORITY
        assert bool(alpha.reasons & ReasonFlags.MODEL_STEPPED_DOWN) == stepped
        if alpha.kind == DecisionCode.QUOTE and stepped:
            assert alpha.posture_effective == PostureCode.RISK_AVERSE
        # Who is careful enough already is left as he was.
        assert omega.posture_effective == PostureCode.RISK_AVERSE
        assert not omega.reasons & ReasonFlags.MODEL_STEPPED_DOWN
    lives = {
        alpha.posture_effective: alpha.life_ns
        for alpha, _ in desk.decisions
        if alpha.kind == DecisionCode.QUOTE
    }
    assert lives[PostureCode.RISK_AVERSE] < lives[PostureCode.CLIENT_PRIORITY]


def test_where_alerts_are_all_that_is_configured_nobody_steps_down() -> None:
    desk = Desk({**LADDER, "worst": "alert"})
    desk.run(60)
    desk.run(600, rate=8 * RATE)
    assert Level.WORST in desk.levels and desk.steps == []
    assert all(alpha.posture_effective == PostureCode.CLIENT_PRIORITY for alpha, _ in desk.decisions[5:])


def test_too_few_labels_never_step_down() -> None:
    """The same market, but more labels wanted than it gives."""
    desk = Desk({**LADDER, "labels_min": 100_000})
    desk.run(60)
    desk.run(600, rate=8 * RATE)
    assert Level.WORST not in desk.levels and Level.DEGRADED in desk.levels and desk.steps == []


def test_p_that_is_too_high_is_degraded_but_no_reason_to_step_down() -> None:
    desk = Desk(LADDER, rate=10 * RATE)
    desk.run(1200)
    assert Level.DEGRADED in desk.levels and Level.WORST not in desk.levels
    assert Cause.P_HIGH in desk.causes and Cause.P_LOW not in desk.causes and desk.steps == []


def stepped_down(**more: Any) -> Desk:
    desk = Desk({**LADDER, **more})
    desk.run(60)
    desk.run(400, rate=8 * RATE)
    assert desk.engine.monitors.is_down(0)
    return desk


def test_without_an_automatic_return_only_an_operator_brings_it_back() -> None:
    desk = stepped_down(automatic_return=False)
    desk.run(1200)
    assert desk.engine.monitors.is_down(0)
    before = desk.engine.input_sequence
    assert desk.engine.step(desk.now_ns, "X", False, reason="looked at") is True
    assert desk.engine.input_sequence == before + 1
    assert desk.steps[-1][1]["source"] == StepSource.OPERATOR
    assert desk.engine.step(desk.now_ns, "X", False) is False and desk.engine.input_sequence == before + 1
    assert not desk.decide(desk.now_ns, ALPHA).observed & ObservedFlags.STEPPED_DOWN
    with pytest.raises(ValueError, match="unknown instrument group Y"):
        desk.engine.step(desk.now_ns, "Y", False)


def test_an_operator_s_override_does_not_lift_a_step_down() -> None:
    desk = stepped_down(automatic_return=False)
    desk.engine.set_override(
        now_ns=desk.now_ns, expires_ns=desk.now_ns + 60 * S, posture=int(PostureCode.CLIENT_PRIORITY)
    )
    decided = desk.decide(desk.now_ns, OMEGA)
    assert (decided.posture_requested, decided.posture_effective) == (
        PostureCode.CLIENT_PRIORITY,
        PostureCode.RISK_AVERSE,
    )


def test_another_model_or_configuration_ends_the_step_down_as_an_input_of_its_own() -> None:
    desk = stepped_down(automatic_return=False)
    desk.engine.apply_model(other(), desk.now_ns)
    assert desk.steps[-1][1]["down"] is False and desk.steps[-1][1]["source"] == StepSource.MODEL
    desk = stepped_down(automatic_return=False)
    desk.engine.apply_config(jump_kit.config({**LADDER, "worst": "alert"}), desk.now_ns, model=None)
    assert desk.steps[-1][1]["down"] is False and desk.steps[-1][1]["source"] == StepSource.CONFIGURATION
    assert not desk.engine.monitors.is_down(0)


def test_an_instrument_in_a_new_group_takes_step_and_tolerance_along_and_the_old_group_ends() -> None:
    desk = stepped_down(automatic_return=False)
    model = desk.steps[-1][1]["model"]
    content = json.loads(desk.engine.config.model_dump_json(by_alias=True))
    content["postures"]["risk_averse"]["held_tolerance"] = {"enabled": True, "rate": 0.02}
    desk.engine.apply_config(Config.model_validate_json(json.dumps(content)), desk.now_ns)
    desk.run(60, rate=40 * RATE)
    held = desk.engine.held_alpha(0, PostureCode.RISK_AVERSE)
    assert held < 0.5 * 0.8 * 0.02
    content["instruments"][0]["group"] = "desk"
    desk.engine.apply_config(Config.model_validate_json(json.dumps(content)), desk.now_ns)
    (came, went) = (payload for _, payload in desk.steps[-2:])
    assert (came["group"], came["down"], came["model"], went["group"], went["down"]) == (
        "desk", True, model, "X", False,
    )  # fmt: skip
    assert desk.engine.held_alpha(0, PostureCode.RISK_AVERSE) == held
    assert [name for name, *_ in desk.engine.monitors.steps()] == ["desk"]
    assert desk.decide(desk.now_ns, ALPHA).reasons & ReasonFlags.MODEL_STEPPED_DOWN
    left = desk.engine.learned()[0]
    assert (left.name, left.memory_bytes) == ("X", 0)


def other() -> Any:
    return load_artifact(builtin_artifact("logistic"))


def test_models_that_serve_side_by_side_are_told_apart(tmp_path: Path) -> None:
    """The champion of one posture is right, that of the other is not: only the other one is warned of. Probes ask the
    two in turn: 8 labels a second, and one of a client of each."""
    desk = Desk({"window": "10min"}, rate=8 * RATE)
    wrong = saved(tmp_path, RATE)
    desk.engine.apply_lineup(
        LineUp(risk_averse=Serving(champion=wrong.digest)), {wrong.digest: wrong}, desk.now_ns
    )
    desk.run(900, rate=8 * RATE)
    by_model = {each.model: each for each in desk.engine.monitors.group(0).models}
    assert set(by_model) == {0, number(wrong)}
    assert by_model[0].level <= Level.WARNED and not by_model[0].causes & (Cause.P_LOW | Cause.P_HIGH)
    assert by_model[number(wrong)].level >= Level.DEGRADED and by_model[number(wrong)].causes & Cause.P_LOW
    for each in by_model.values():
        assert each.scores[0].labels in range(2600, 3001)


def saved(folder: Path, rate: float) -> Any:
    """The model of a rate as an artifact, so that it has a digest of its own."""
    name = f"rate{rate:g}".replace(".", "_")
    return load_artifact(
        save_artifact(jump_kit.model(rate), folder, name=name, description="constant hazard", folder=name)
    )


def number(model: Any) -> int:
    return int(model.digest[:16], 16)


@pytest.mark.parametrize("probe_interval", ["0s", "250ms"])
def test_the_labels_of_another_model_do_not_bring_a_group_back(tmp_path: Path, probe_interval: str) -> None:
    """What answers Client Priority alone is wrong; down, all clients are answered by the other one, which is right.
    Without probes nobody asks the wrong one any more, with them it goes on being wrong: either way it stays down."""
    desk = Desk(LADDER, probe_interval=probe_interval)
    low, right = saved(tmp_path, RATE), saved(tmp_path, 8 * RATE)
    lineup = LineUp(client_priority=Serving(champion=low.digest), risk_averse=Serving(champion=right.digest))
    desk.engine.apply_lineup(lineup, {low.digest: low, right.digest: right}, desk.now_ns)
    desk.run(2400, rate=8 * RATE)
    ((_, down),) = desk.steps
    assert down["down"] and int(down["model"], 16) == number(low)
    by_model = {each.model: each for each in desk.engine.monitors.group(0).models}
    assert by_model[number(right)].cusum_labels[0] > (500 if probe_interval == "0s" else 0)
    on_their_way = 2  # when the step came
    assert (by_model[number(low)].cusum_labels[0] <= on_their_way) == (probe_interval == "0s")


def test_with_probes_a_model_of_one_posture_brings_its_group_back_when_it_is_right_again(
    tmp_path: Path,
) -> None:
    desk = Desk(LADDER)
    low, high = saved(tmp_path, RATE), saved(tmp_path, 8 * RATE)
    lineup = LineUp(client_priority=Serving(champion=low.digest), risk_averse=Serving(champion=high.digest))
    desk.engine.apply_lineup(lineup, {low.digest: low, high.digest: high}, desk.now_ns)
    desk.run(900, rate=8 * RATE)
    assert desk.engine.monitors.is_down(0)
    desk.run(1200)
    assert [payload["down"] for _, payload in desk.steps] == [True, False]


def test_a_challenger_that_is_wrong_is_told_of_and_lowers_nobody(tmp_path: Path) -> None:
    """Its canary has to end, not the quotes of all other clients; as champion it would make the group step down."""
    right, wrong = saved(tmp_path, 8 * RATE), saved(tmp_path, RATE)
    models = {right.digest: right, wrong.digest: wrong}
    canary = Serving(champion=right.digest, challenger=wrong.digest, canary_bp=10_000)
    desk = Desk(LADDER)
    everywhere = Serving(champion=right.digest)
    desk.engine.apply_lineup(LineUp(canary, everywhere, everywhere), models, desk.now_ns)
    desk.run(1200, rate=8 * RATE)
    by_model = {each.model: each for each in desk.engine.monitors.group(0).models}
    assert by_model[number(wrong)].level == Level.WORST and not by_model[number(wrong)].champion
    assert by_model[number(right)].champion and not by_model[number(right)].causes & Cause.P_LOW
    assert desk.steps == [] and not desk.engine.monitors.is_down(0)
    assert not desk.engine.step(desk.now_ns, "X", True, model=number(wrong))
    promoted = Serving(champion=wrong.digest)
    desk.engine.apply_lineup(LineUp(promoted, everywhere, everywhere), models, desk.now_ns)
    desk.run(400, rate=8 * RATE)
    ((_, down),) = desk.steps
    assert int(down["model"], 16) == number(wrong)


def test_every_decision_redone_from_its_record_keeps_the_step_down() -> None:
    desk = stepped_down(automatic_return=False)
    recorded, again = desk.decide(desk.now_ns, ALPHA), DecisionRecord()
    request = RequestRecord(0, 1, now_ns=recorded.now_ns, counterparty=ALPHA)
    desk.engine.redo(request, recorded, again)
    assert recorded.canonical() == again.canonical()


def test_an_explanation_says_that_the_group_has_stepped_down_and_what_it_would_have_been() -> None:
    desk = stepped_down(automatic_return=False)
    for client, lowered in ((ALPHA, True), (OMEGA, False)):
        decided = desk.decide(desk.now_ns, client)
        request = RequestRecord(0, 1, now_ns=decided.now_ns, counterparty=client)
        explanation = explain(request, decided, Grounds.of(desk.engine, decided))
        step = explanation.rule_path[-2]
        assert (step.rule, step.posture) == (RuleCode.MODEL_MONITOR, PostureCode.RISK_AVERSE)
        assert step.applied == lowered and "has stepped down" in step.detail
        assert ("has made the group step down, Client Priority otherwise" in explanation.summary) == lowered


def test_decisions_unlike_those_of_the_training_are_warned_of_by_name() -> None:
    """The shipped trees on a market of single quotes, which they were not fitted on; and only with enough samples."""
    trees = load_artifact(builtin_artifact("simulated_trees"))
    for samples_min, warned in ((100, True), (100_000, False)):
        desk = Desk({"features": {"samples_min": samples_min, "every": 2}})
        desk.engine.apply_model(trees, desk.now_ns)
        desk.run(200)
        (model,) = desk.engine.monitors.group(0).models
        assert bool(model.causes & Cause.FEATURES) == warned and (model.psi_above > 0) == warned
        assert model.level == Level.WELL, "nothing is known to be wrong with its answers"
        assert (model.name, model.simulated) == ("simulated_trees", True)
        assert desk.engine.monitors.unwell(5) == ((0, []), (0, []), (warned, [0] * warned))
        assert model.psi_samples > 500 and model.psi[0][1] > 0.25 and not model.psi_own
        assert [value for _, value in model.psi] == sorted((value for _, value in model.psi), reverse=True)


def several(rates: list[float], monitor: dict[str, Any], **groups: str) -> Config:
    """Instruments X0, X1, …, one for each of ``rates``; ``groups`` of those that are named."""
    content = json.loads(jump_kit.config(monitor).model_dump_json(by_alias=True))
    (first,) = content["instruments"]
    content["instruments"] = [
        {**first, "name": f"X{i}", "symbol": f"X{i}", "group": groups.get(f"X{i}")} for i in range(len(rates))
    ]
    return Config.model_validate_json(json.dumps(content))


def run_several(engine: Engine, rates: list[float], seconds: float) -> None:
    """Each instrument on a market of its own rate; those of one rate are one market."""
    markets = {
        rate: jump_kit.quotes([(seconds, rate)], 5, bid=1_000_000 + 10_000 * k)
        for k, rate in enumerate(dict.fromkeys(rates))
    }
    for step in zip(*markets.values(), strict=True):
        now_ns = step[0][0]
        of = dict(zip(markets, step, strict=True))
        buffer = EventBuffer(16)
        for i, rate in enumerate(rates):
            bid = int(of[rate][1].array()["price_ticks"][0])
            buffer.clear()
            jump_kit.put(buffer, now_ns, bid, instrument=i)
            engine.on_events(buffer)
        engine.on_timer(now_ns)


def test_limits_follow_the_number_of_groups_and_models_through_reloads(tmp_path: Path) -> None:
    """What is configured is of the whole service: three instruments by themselves, then two of them together, then a
    second model beside the first."""
    rates = [RATE] * 3
    engine = Engine(several(rates, {}), model=jump_kit.model(RATE), start_ns=START_NS)
    run_several(engine, rates, 10)

    def warned_at() -> float:
        return engine.monitors.group(0).models[0].limits[1][0]

    at_one = math.log(4 * 86_400 / 2)
    assert engine.monitors.inhabited == 3 and warned_at() == pytest.approx(at_one + math.log(3))
    engine.apply_config(several(rates, {}, X1="X0"), engine.now_ns, model=None)
    assert engine.monitors.inhabited == 2 and warned_at() == pytest.approx(at_one + math.log(2))
    second = saved(tmp_path, 2 * RATE)
    engine.apply_lineup(
        LineUp(risk_averse=Serving(champion=second.digest)), {second.digest: second}, engine.now_ns
    )
    assert warned_at() == pytest.approx(at_one + math.log(4))


def test_the_worst_groups_are_named_first_and_each_is_told_once() -> None:
    """Four markets, all but the second beyond P, the last by most; and 70 groups that go wrong at one timer."""
    rates = [8 * RATE, RATE, 4 * RATE, 16 * RATE]
    engine = Engine(
        several(rates, {"cusum": {"warn": "1min"}}), model=jump_kit.model(RATE), start_ns=START_NS
    )
    run_several(engine, rates, 200)
    (_, warned), (n, places), _ = engine.monitors.unwell(5)
    groups = [engine.monitors.group(g) for g in range(4)]
    beyond = {
        g: max(each.cusum[k][0] / each.limits[k][0] for k in range(2))
        for g, each in ((g, group.models[0]) for g, group in enumerate(groups))
        if groups[g].level >= Level.DEGRADED
    }
    assert n == len(beyond) >= 2 and places == sorted(beyond, key=lambda g: -beyond[g])
    assert places[0] == 3 and 1 not in warned + places
    assert engine.monitors.unwell(1)[1] == (n, [3])
    told, more = engine.monitors.newly()
    assert {place for place, *_ in told} == {0, 2, 3} and more == 0
    assert all(causes & Cause.P_LOW for *_, causes in told) and len(told) <= 6
    assert engine.monitors.newly() == ((), 0)


def test_of_more_that_go_wrong_at_once_than_there_is_room_for_the_rest_is_counted() -> None:
    rates = [16 * RATE] * 70
    engine = Engine(
        several(rates, {"cusum": {"warn": "1min"}}), model=jump_kit.model(RATE), start_ns=START_NS
    )
    run_several(engine, rates, 120)
    told, more = engine.monitors.newly()
    (warned, _), (degraded, _), _ = engine.monitors.unwell(0)
    assert warned + degraded > 64 and len(told) == 64 and more >= warned + degraded - 64
