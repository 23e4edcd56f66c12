"""What the engine learns from the market while it runs, against first passages searched on the whole path."""

import json
from typing import Any, NamedTuple

import numpy as np
import pytest

from quotelife.config import Config
from quotelife.engine import LEARNED_EVERY_NS, Engine
from quotelife.errors import QuotelifeError
from quotelife.inputs import InputTap
from quotelife.journal.state import OperationalState
from quotelife.model.artifact import builtin_artifact, load_artifact
from quotelife.model.curve import CurveModel, first_passage
from quotelife.model.lineup import LineUp, Serving
from quotelife.model.recalibration import RollingCalibration
from quotelife.records import (
    BindingFlags,
    DecisionCode,
    DecisionRecord,
    EventBuffer,
    EventKindCode,
    ModelRoleCode,
    RequestRecord,
)
from reference.market_kit import CONFIG, START_NS, market

MS = 1_000_000
S = 1000 * MS
BETA = 1  # liquidity provider
MODELS: dict[str, CurveModel] = {
    model.digest: model
    for model in (load_artifact(builtin_artifact(name)) for name in ("first_passage", "golden", "logistic"))
}
PASSAGE, GOLDEN, LOGISTIC = MODELS
ANCHOR_NS = (500 * MS, 2 * S)


def learning_config(
    *, rate: float | None = None, target: float = 1.0, probe: str = "0s", enabled: bool = True, **more: Any
) -> Config:
    content = CONFIG.model_dump(mode="json", by_alias=True)
    content["model"]["artifact"] = "first_passage"
    content["learning"] = {
        "probe_interval": probe,
        "recalibration": {"enabled": enabled, "refit": "1us", "ridge": 1.0},
    }
    for each in content["instruments"]:
        each["reference"] = "mid"
        each["adverse_ticks"] = 3.0
    for posture in content["postures"].values():
        posture["weights"] = dict.fromkeys(posture["weights"], 0.0)
        posture["tolerance_source"] = "curve"
        if rate is not None:
            posture["held_tolerance"] = {"enabled": True, "rate": rate, "target": target}
    return Config.model_validate_json(json.dumps(content))


class Run(NamedTuple):
    decisions: list[DecisionRecord]
    path: list[tuple[int, float]]  # engine time and mid after each batch
    heard_ns: dict[
        int, int
    ]  # by input sequence of a decision, the instrument's latest message: labels end there


def run(engine: Engine, seconds: float = 40.0, every: int = 5) -> Run:
    """Decisions on BTC, both sides, after every so many batches."""
    decisions, path, heard_ns = [], [], {}
    for i, buffer in enumerate(market(seconds)):
        engine.on_events(buffer)
        status = engine.instrument_status(0, engine.now_ns)
        path.append((engine.now_ns, (status.bid_ticks + status.ask_ticks) / 2))
        if i % every == 0:
            decided = DecisionRecord()
            engine.decide(
                RequestRecord(0, 1 if i % 2 else -1, now_ns=engine.now_ns, counterparty=BETA), decided
            )
            decisions.append(decided)
            heard_ns[decided.input_sequence] = status.last_event_ns
    return Run(decisions, path, heard_ns)


def passage_ns(run_: Run, decided: DecisionRecord) -> int:
    """First touch after the decision, by looking at every later mid."""
    for t, mid in run_.path:
        if t >= decided.now_ns and decided.side * (decided.mid_ticks - mid) >= decided.h_ticks:
            return t - decided.now_ns
    return 2**63 - 1


def test_the_pair_of_each_decision_is_fitted_to_the_labels_known_by_then() -> None:
    engine = Engine(learning_config(), start_ns=START_NS)
    done = run(engine)
    curves = [d for d in done.decisions if d.h_ticks > 0]
    assert len(curves) > 500
    pending = [(d.now_ns + tau, k, d) for d in curves for k, tau in enumerate(ANCHOR_NS)]
    pending.sort(key=lambda each: each[:2])
    twin = RollingCalibration(1800 * S, ridge=1.0, refit_ns=0)
    moved = 0
    for decided in curves:
        while pending and pending[0][0] < done.heard_ns[decided.input_sequence]:
            resolved, k, label = pending.pop(0)
            p = first_passage(label.h_ticks, label.sigma_ticks)[[5, 9]]
            hit = [-1, -1]
            hit[k] = int(passage_ns(done, label) <= ANCHOR_NS[k])
            twin.add(resolved, p, hit)
        pairs = twin.at(done.heard_ns[decided.input_sequence])
        assert decided.calibration == pytest.approx(tuple(pairs.ravel()), abs=1e-9)
        moved += decided.calibration != (0.0, 1.0, 0.0, 1.0)
        raw = first_passage(decided.h_ticks, decided.sigma_ticks)
        assert decided.p == pytest.approx(tuple(twin.calibrate(raw, pairs)[0]), rel=1e-9)
    assert moved > 400
    (btc, eth) = engine.learned()
    assert btc.labels[0][0] > 400
    assert eth.labels == ((0, 0), (0, 0))


@pytest.mark.parametrize("target", [1.0, 0.8])
def test_the_tolerance_in_force_follows_the_realised_passages(target: float) -> None:
    """Hits as they happen, misses by the end of 500 ms, 2 s or 5 s that the life lies within."""
    engine = Engine(learning_config(rate=0.01, target=target, enabled=False), start_ns=START_NS)
    done = run(engine)
    postures = {d.posture_effective for d in done.decisions if d.kind == DecisionCode.QUOTE}
    assert len(postures) >= 1
    for posture in postures:
        alpha = target * {1: 0.10, 2: 0.05, 3: 0.02}[posture]
        inputs = []
        for d in done.decisions:
            if d.posture_effective != posture or d.kind != DecisionCode.QUOTE or not d.h_ticks:
                continue
            shortest = bool(d.binding & (BindingFlags.MINIMUM | BindingFlags.BELOW_MINIMUM))
            passed = passage_ns(done, d)
            end = next(each for each in (*ANCHOR_NS, 5 * S) if each >= d.life_ns)
            if passed <= end:
                inputs.append((d.now_ns + passed, 1, passed <= d.life_ns, shortest))
            else:
                inputs.append((d.now_ns + end, 0, False, shortest))
        inputs.sort(key=lambda each: each[:2])
        held, debt, at = alpha, 0.0, 0
        for d in done.decisions:
            if d.posture_effective != posture or not d.h_ticks:
                continue
            heard = done.heard_ns[d.input_sequence]
            while at < len(inputs) and (inputs[at][0] < heard or (inputs[at][1] and inputs[at][0] <= heard)):
                step = 0.01 * (alpha - inputs[at][2])
                if inputs[at][3]:
                    debt += step
                    step, debt = max(debt, 0.0), min(max(debt, -alpha), 0.0)
                held = min(max(held + step, 0.0), alpha)
                at += 1
            assert d.held_alpha == pytest.approx(held, abs=1e-12)
            assert d.alpha == d.held_alpha


def test_off_a_decision_is_what_it_was() -> None:
    decided = run(Engine(learning_config(enabled=False), start_ns=START_NS), 15.0).decisions[-1]
    assert decided.calibration == (0.0, 1.0, 0.0, 1.0)
    assert decided.held_alpha == 0.05
    assert np.array_equal(decided.p, first_passage(decided.h_ticks, decided.sigma_ticks))


def test_probes_calibrate_an_instrument_that_nobody_asks_for() -> None:
    engine = Engine(learning_config(probe="250ms"), start_ns=START_NS)
    for buffer in market(20.0):
        engine.on_events(buffer)
    for group in engine.learned():
        labels = group.labels[0][0]
        assert 100 < labels < 160  # two sides, four times a second, warmup and the last 500 ms left out
        assert group.overflowed == 0


def test_a_gap_leaves_what_is_open_unknown() -> None:
    engine = Engine(learning_config(probe="250ms"), start_ns=START_NS)
    for buffer in market(10.0):
        engine.on_events(buffer)
    before = engine.learned()[0]
    buffer = EventBuffer(8)
    buffer.append(EventKindCode.STATUS, instrument=0, receive_ns=engine.now_ns, aux=5, flags=1)
    engine.on_events(buffer)
    engine.on_timer(engine.now_ns + 10 * S)
    after = engine.learned()[0]
    assert after.labels == before.labels
    assert after.censored > before.censored


def test_instruments_of_one_group_learn_together() -> None:
    content = json.loads(learning_config(probe="250ms").model_dump_json(by_alias=True))
    for each in content["instruments"]:
        each["group"] = "crypto"
    engine = Engine(Config.model_validate_json(json.dumps(content)), start_ns=START_NS)
    for buffer in market(20.0):
        engine.on_events(buffer)
    (group,) = engine.learned()
    assert (group.name, group.opened > 100) == ("crypto", True)


def lined_up(lineup: LineUp, **keys: Any) -> Engine:
    return Engine(learning_config(**keys), lineup=lineup, models=MODELS, start_ns=START_NS)


def everywhere(serving: Serving) -> LineUp:
    return LineUp(serving, serving, serving)


def test_each_model_is_followed_by_its_own_curves_on_the_same_labels() -> None:
    """A shadow has the pairs that it would have had as the champion, and answers under them."""
    engine = lined_up(everywhere(Serving(shadows=(LOGISTIC,))))
    plain = lined_up(everywhere(Serving(champion=LOGISTIC)))
    seen = 0
    for i, buffer in enumerate(market(15.0)):
        engine.on_events(buffer)
        plain.on_events(buffer)
        if i % 5:
            continue
        request = RequestRecord(0, 1 if i % 2 else -1, now_ns=engine.now_ns, counterparty=BETA)
        decided, would = DecisionRecord(), DecisionRecord()
        engine.decide(request, decided)
        plain.decide(request, would)
        if would.h_ticks > 0:
            (shadow,) = engine.shadows()
            assert tuple(shadow["calibration"].tolist()) == would.calibration
            assert tuple(shadow["p"].tolist()) == would.p
            seen += would.calibration not in ((0.0, 1.0, 0.0, 1.0), decided.calibration)
    assert seen > 100


def test_in_a_canary_the_champion_answers_as_it_would_without_it() -> None:
    engine = lined_up(everywhere(Serving(challenger=LOGISTIC, canary_bp=10_000)))
    plain = lined_up(LineUp())
    seen = 0
    for i, buffer in enumerate(market(15.0)):
        engine.on_events(buffer)
        plain.on_events(buffer)
        if i % 5:
            continue
        request = RequestRecord(0, 1 if i % 2 else -1, now_ns=engine.now_ns, counterparty=BETA)
        decided, would = DecisionRecord(), DecisionRecord()
        engine.decide(request, decided)
        plain.decide(request, would)
        if would.h_ticks > 0:
            assert decided.model_role == ModelRoleCode.CHALLENGER
            (shadow,) = engine.shadows()
            assert tuple(shadow["p"].tolist()) == would.p
            seen += decided.calibration not in ((0.0, 1.0, 0.0, 1.0), would.calibration)
    assert seen > 100


def test_a_promotion_keeps_both_models_pairs_and_what_is_open() -> None:
    engine = lined_up(everywhere(Serving(shadows=(LOGISTIC,))), rate=0.01, probe="250ms")
    for buffer in market(12.0):
        engine.on_events(buffer)
    before = engine.learned()[0]
    old, new = before.models
    assert (old.model, new.model) == (PASSAGE[:16], LOGISTIC[:16])
    assert old.calibration != new.calibration and before.calibration == old.calibration
    engine.apply_lineup(everywhere(Serving(champion=LOGISTIC)), MODELS, engine.now_ns)
    after = engine.learned()[0]
    assert after.calibration == new.calibration
    assert after.models == (old._replace(serves=False), new)
    assert after.censored == before.censored
    engine.apply_lineup(LineUp(), MODELS, engine.now_ns)
    assert engine.learned()[0].calibration == old.calibration


def test_other_settings_start_from_the_identity() -> None:
    engine = Engine(learning_config(probe="250ms"), start_ns=START_NS)
    for buffer in market(10.0):
        engine.on_events(buffer)
    content = json.loads(learning_config(probe="250ms").model_dump_json(by_alias=True))
    content["learning"]["recalibration"]["ridge"] = 5.0
    assert engine.learned()[0].labels[0][0] > 0
    engine.apply_config(Config.model_validate_json(json.dumps(content)), engine.now_ns)
    assert [group.labels for group in engine.learned()] == [((0, 0), (0, 0))] * 2
    assert [group.memory_bytes for group in engine.learned()] == [0, 0]


def test_what_was_noted_is_known_to_the_next_engine() -> None:
    """By the journal's fold, through JSON: the same pairs, labels and tolerances; another model's are left out."""
    config = learning_config(rate=0.01, probe="250ms")
    engine = Engine(config, start_ns=START_NS)
    state = OperationalState()
    engine.record_to(InputTap(lambda name, sequence, *values: told(state, name, values)))
    for i, buffer in enumerate(market(12.0)):
        engine.on_events(buffer)
        if i % 100 == 0:
            engine.note_learned(engine.now_ns)
    now_ns = engine.now_ns + LEARNED_EVERY_NS
    assert engine.note_learned(now_ns) == 2
    assert engine.note_learned(now_ns + LEARNED_EVERY_NS) == 0
    state.config = engine.config_payload()
    kept = OperationalState.from_json(json.loads(json.dumps(state.to_json(now_ns))))
    was = engine.learned()
    again = Engine(config, start_ns=now_ns)
    assert kept.restore(again, now_ns) == []
    for old, new in zip(was, again.learned(), strict=True):
        assert (new.labels, new.tolerance) == (old.labels, old.tolerance)
        assert new.calibration != ((0.0, 1.0), (0.0, 1.0))
    once = again.learned()
    kept.restore(again, now_ns)
    assert again.learned() == once
    other = Engine(config, model=MODELS[LOGISTIC], start_ns=now_ns)
    kept.restore(other, now_ns)
    assert [group.calibration for group in other.learned()] == [((0.0, 1.0), (0.0, 1.0))] * 2
    assert [group.tolerance for group in other.learned()] == [group.tolerance for group in was]


def told(state: OperationalState, name: str, values: tuple[Any, ...]) -> None:
    if name == "change":
        state.change(values[0], json.loads(json.dumps(values[1])))


@pytest.mark.parametrize("part", ["AAAA", "not base64!", None])
def test_what_no_engine_has_noted_is_refused(part: Any) -> None:
    engine = Engine(learning_config(), start_ns=START_NS)
    models = {PASSAGE[:16]: {"window_ns": 900 * S, "parts": {str(START_NS // (15 * S)): part}}}
    before = engine.input_sequence
    with pytest.raises(QuotelifeError, match="learned"):
        engine.apply_learned({"groups": [{"group": "BTC", "held": [], "models": models}]}, START_NS)
    assert engine.input_sequence == before


def test_a_decision_resolves_no_label_and_refits_no_pair() -> None:
    """Labels that have come to their end wait for the next message or timer, whatever is asked meanwhile."""
    engine = Engine(learning_config(probe="50ms"), start_ns=START_NS)
    for buffer in market(8.0):
        engine.on_events(buffer)
    before = engine.learned()[0]
    decided = DecisionRecord()
    engine.decide(RequestRecord(0, 1, now_ns=engine.now_ns + 400 * MS, counterparty=BETA), decided)
    assert engine.learned()[0]._replace(opened=0) == before._replace(opened=0)
    assert decided.calibration == tuple(x for pair in before.calibration for x in pair)
    engine.on_timer(engine.now_ns)
    after = engine.learned()[0]
    assert after.labels[0][0] > before.labels[0][0]
    assert after.calibration != before.calibration


def test_pairs_fade_by_timers_where_nothing_comes_any_more() -> None:
    """Labels leave the window of a silent instrument too, a few groups a timer in turn."""
    content = json.loads(learning_config(probe="250ms").model_dump_json(by_alias=True))
    content["learning"]["recalibration"] |= {"window": "10s", "refit": "1s"}
    engine = Engine(Config.model_validate_json(json.dumps(content)), start_ns=START_NS)
    for buffer in market(10.0):
        engine.on_events(buffer)
    assert any(group.calibration[0] != (0.0, 1.0) for group in engine.learned())
    for second in range(1, 15):
        engine.on_timer(engine.now_ns + second * S)
    assert [group.calibration for group in engine.learned()] == [((0.0, 1.0), (0.0, 1.0))] * 2
