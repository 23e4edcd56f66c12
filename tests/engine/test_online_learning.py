"""What the engine learns from the market while it runs; its labels are held against a dataset's next door."""

import json
from collections.abc import Iterator
from typing import Any

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
from quotelife.records import (
    DecisionRecord,
    EventBuffer,
    EventKindCode,
    ModelRoleCode,
    RequestRecord,
)
from reference import jump_kit
from reference.market_kit import CONFIG, START_NS, market, play

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


def test_off_a_decision_is_what_it_was() -> None:
    engine, decided = Engine(learning_config(enabled=False), start_ns=START_NS), DecisionRecord()
    for buffer in market(15.0):
        play(engine, buffer)
    engine.decide(RequestRecord(0, 1, now_ns=engine.now_ns, counterparty=BETA), decided)
    assert decided.calibration == (0.0, 1.0, 0.0, 1.0)
    assert decided.held_alpha == 0.05
    assert np.array_equal(decided.p, first_passage(decided.h_ticks, decided.sigma_ticks))


def test_probes_calibrate_an_instrument_that_nobody_asks_for() -> None:
    engine = Engine(learning_config(probe="250ms"), start_ns=START_NS)
    for buffer in market(20.0):
        play(engine, buffer)
    for group in engine.learned():
        labels = group.labels[0][0]
        assert 100 < labels < 160  # two sides, four times a second, warmup and the last 500 ms left out
        assert group.overflowed == 0


def test_a_gap_leaves_what_is_open_unknown() -> None:
    engine = Engine(learning_config(probe="250ms"), start_ns=START_NS)
    for buffer in market(10.0):
        play(engine, buffer)
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
        play(engine, buffer)
    (group,) = engine.learned()
    assert (group.name, group.opened > 100) == ("crypto", True)


def lined_up(lineup: LineUp, **keys: Any) -> Engine:
    return Engine(learning_config(**keys), lineup=lineup, models=MODELS, start_ns=START_NS)


def everywhere(serving: Serving) -> LineUp:
    return LineUp(serving, serving, serving)


def side_by_side(engine: Engine, plain: Engine) -> Iterator[tuple[DecisionRecord, DecisionRecord]]:
    """The decisions of two engines in the same market, those for which a curve was drawn."""
    for i, buffer in enumerate(market(15.0)):
        play(engine, buffer)
        play(plain, buffer)
        if i % 5:
            continue
        request = RequestRecord(0, 1 if i % 2 else -1, now_ns=engine.now_ns, counterparty=BETA)
        decided, would = DecisionRecord(), DecisionRecord()
        engine.decide(request, decided)
        plain.decide(request, would)
        if would.h_ticks > 0:
            yield decided, would


def test_each_model_is_followed_by_its_own_curves_on_the_same_labels() -> None:
    """A shadow has the pairs that it would have had as the champion, and answers under them."""
    engine = lined_up(everywhere(Serving(shadows=(LOGISTIC,))))
    plain = lined_up(everywhere(Serving(champion=LOGISTIC)))
    seen = 0
    for decided, would in side_by_side(engine, plain):
        (shadow,) = engine.shadows()
        assert tuple(shadow["calibration"].tolist()) == would.calibration
        assert tuple(shadow["p"].tolist()) == would.p
        seen += would.calibration not in ((0.0, 1.0, 0.0, 1.0), decided.calibration)
    assert seen > 100


def test_in_a_canary_the_champion_answers_as_it_would_without_it() -> None:
    engine = lined_up(everywhere(Serving(challenger=LOGISTIC, canary_bp=10_000)))
    plain = lined_up(LineUp())
    seen = 0
    for decided, would in side_by_side(engine, plain):
        assert decided.model_role == ModelRoleCode.CHALLENGER
        (shadow,) = engine.shadows()
        assert tuple(shadow["p"].tolist()) == would.p
        seen += decided.calibration not in ((0.0, 1.0, 0.0, 1.0), would.calibration)
    assert seen > 100


def test_a_promotion_keeps_both_models_pairs_and_what_is_open() -> None:
    engine = lined_up(everywhere(Serving(shadows=(LOGISTIC,))), rate=0.01, probe="250ms")
    for buffer in market(12.0):
        play(engine, buffer)
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
        play(engine, buffer)
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
        play(engine, buffer)
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


def test_what_an_engine_was_given_it_does_not_note_again() -> None:
    """Only the parts of the window in which it learned something itself."""
    config = jump_kit.config({"enabled": False}, recalibration={"enabled": True})

    def make(start_ns: int) -> tuple[Engine, list[Any]]:
        engine, notes = Engine(config, model=jump_kit.model(jump_kit.RATE), start_ns=start_ns), []
        engine.record_to(
            InputTap(lambda name, sequence, *values: notes.append(values[1]) if name == "change" else None)
        )
        return engine, notes

    engine, notes = make(START_NS)
    for _, buffer in jump_kit.quotes([(100.0, jump_kit.RATE)], start_ns=START_NS):
        play(engine, buffer)
    now_ns = engine.now_ns
    assert engine.note_learned(now_ns) == 1
    known = notes[-1]
    ((of,),) = (each["models"].values() for each in known["groups"])
    first = now_ns // (of["window_ns"] // 60)
    assert len(of["parts"]) == 7
    for times in (1, 2):  # what it has already is not told twice either
        again, notes = make(now_ns)
        for _ in range(times):
            again.apply_learned(known, now_ns)
        assert again.note_learned(now_ns + LEARNED_EVERY_NS) == 0
    later = jump_kit.quotes([(30.0, jump_kit.RATE)], start_ns=now_ns)
    for _, buffer in later:
        play(again, buffer)
    assert again.note_learned(again.now_ns) == 1
    ((news,),) = (each["models"].values() for each in notes[-1]["groups"])
    assert first <= min(map(int, news["parts"])) < max(map(int, news["parts"]))


def test_a_reload_keeps_what_the_shortest_lives_owe() -> None:
    """Cut to what the new configuration allows, and no further."""
    engine, notes = Engine(learning_config(rate=0.01), start_ns=START_NS), []
    engine.record_to(InputTap(lambda name, sequence, *values: notes.append(values)))
    engine.apply_learned(
        {"groups": [{"group": "BTC", "held": [[0.0, -0.3], [0.01, -0.9], [0.0, 0.0]], "models": {}}]},
        START_NS,
    )
    engine.apply_config(learning_config(rate=0.01, target=0.8), START_NS + 1)
    engine.note_learned(START_NS + LEARNED_EVERY_NS + 1)
    (group,) = (each for each in notes[-1][1]["groups"] if each["group"] == "BTC")
    assert group["held"] == [[0.0, -0.3], [0.01, pytest.approx(-20 * 0.8 * 0.05)], [0.0, 0.0]]


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
    """Labels that have come to their end wait for the messages that show it, whatever is asked meanwhile."""
    engine = Engine(learning_config(probe="50ms"), start_ns=START_NS)
    updates = market(9.0)
    for buffer in updates:
        play(engine, buffer)
        if engine.now_ns > START_NS + 8 * S:
            break
    before = engine.learned()[0]
    decided = DecisionRecord()
    engine.decide(RequestRecord(0, 1, now_ns=engine.now_ns + 400 * MS, counterparty=BETA), decided)
    assert engine.learned()[0]._replace(opened=0) == before._replace(opened=0)
    assert decided.calibration == tuple(x for pair in before.calibration for x in pair)
    for buffer in updates:
        play(engine, buffer)
    after = engine.learned()[0]
    assert after.labels[0][0] > before.labels[0][0]
    assert after.calibration != before.calibration


def test_pairs_fade_by_timers_where_nothing_comes_any_more() -> None:
    """Labels leave the window of a silent instrument too, a few groups a timer in turn."""
    content = json.loads(learning_config(probe="250ms").model_dump_json(by_alias=True))
    content["learning"]["recalibration"] |= {"window": "10s", "refit": "1s"}
    engine = Engine(Config.model_validate_json(json.dumps(content)), start_ns=START_NS)
    for buffer in market(10.0):
        play(engine, buffer)
    assert any(group.calibration[0] != (0.0, 1.0) for group in engine.learned())
    for second in range(1, 15):
        engine.on_timer(engine.now_ns + second * S)
    assert [group.calibration for group in engine.learned()] == [((0.0, 1.0), (0.0, 1.0))] * 2
