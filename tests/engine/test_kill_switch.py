"""The kill switch of the engine: first of all rules, an input like any other, kept by name."""

import random
from pathlib import Path

import pytest

from engine.test_engine import MS, T0, TEXT, S, ask, make_config, warm
from quotelife.decision.kill import STRANGERS, KillSource, KillStatus
from quotelife.engine import Engine
from quotelife.inputs import Change, InputTap
from quotelife.records import (
    NO_INDEX_VALUE,
    DecisionCode,
    DecisionRecord,
    EventBuffer,
    EventKindCode,
    ObservedFlags,
    QualityCode,
    ReasonFlags,
    RegimeCode,
    RequestRecord,
    RuleCode,
    StatusKind,
)

ALPHA, BETA = 0, 1


@pytest.fixture
def engine(tmp_path: Path) -> Engine:
    engine = Engine(make_config(tmp_path), start_ns=T0)
    warm(engine)
    return engine


def kind(engine: Engine, counterparty: int = ALPHA) -> DecisionCode:
    return DecisionCode(ask(engine, engine.now_ns, counterparty=counterparty).kind)


def test_everybody_is_declined_while_everybody_is_killed(engine: Engine) -> None:
    assert kind(engine) is DecisionCode.QUOTE
    engine.kill(engine.now_ns, reason="fat finger")
    for counterparty in (ALPHA, BETA, NO_INDEX_VALUE):
        decision = ask(engine, engine.now_ns, counterparty=counterparty)
        assert DecisionCode(decision.kind) is DecisionCode.DECLINE
        assert RuleCode(decision.rule) is RuleCode.KILL_SWITCH
        assert ReasonFlags(decision.reasons) == ReasonFlags.KILLED
        assert ObservedFlags.KILLED in ObservedFlags(decision.observed)
        assert decision.expiry_ns == decision.now_ns
    assert engine.enable(engine.now_ns)
    assert kind(engine) is DecisionCode.QUOTE


def test_a_killed_counterparty_is_alone_in_that(engine: Engine) -> None:
    engine.kill(engine.now_ns, counterparty="alpha")
    assert kind(engine, ALPHA) is DecisionCode.DECLINE
    assert kind(engine, BETA) is DecisionCode.QUOTE
    assert kind(engine, NO_INDEX_VALUE) is DecisionCode.QUOTE
    assert engine.killed(ALPHA) and not engine.killed(BETA) and not engine.killed(None)


def test_counterparties_that_are_not_configured_can_be_killed_together(engine: Engine) -> None:
    engine.kill(engine.now_ns, counterparty=STRANGERS)
    assert kind(engine, NO_INDEX_VALUE) is DecisionCode.DECLINE
    assert kind(engine, 77) is DecisionCode.DECLINE
    assert kind(engine, ALPHA) is DecisionCode.QUOTE


def test_enabling_everybody_leaves_the_kill_of_one(engine: Engine) -> None:
    engine.kill(engine.now_ns, counterparty=ALPHA)
    engine.kill(engine.now_ns)
    assert engine.enable(engine.now_ns)
    assert [kill.counterparty for kill in engine.kills()] == ["alpha"]
    assert kind(engine, ALPHA) is DecisionCode.DECLINE
    assert kind(engine, BETA) is DecisionCode.QUOTE


def test_the_kill_stands_before_bad_data_and_halts(tmp_path: Path) -> None:
    engine = Engine(make_config(tmp_path), start_ns=T0)
    engine.kill(T0)
    cold = ask(engine, T0 + MS)
    assert (QualityCode(cold.quality), RuleCode(cold.rule)) == (QualityCode.WARMING, RuleCode.KILL_SWITCH)
    assert ReasonFlags(cold.reasons) == ReasonFlags.KILLED
    buffer = EventBuffer(4)
    buffer.append(EventKindCode.STATUS, receive_ns=T0 + 2 * MS, aux=StatusKind.HALT)
    engine.on_events(buffer)
    halted = ask(engine, T0 + 3 * MS)
    assert (RegimeCode(halted.regime), RuleCode(halted.rule)) == (RegimeCode.HALT, RuleCode.KILL_SWITCH)


def test_a_killed_decision_is_redone_from_its_record(engine: Engine, tmp_path: Path) -> None:
    blank = Engine(make_config(tmp_path), start_ns=T0)  # nobody is killed there
    engine.kill(engine.now_ns, counterparty="alpha")
    engine.kill(engine.now_ns)
    for counterparty in (ALPHA, BETA):
        request = RequestRecord(0, 1, now_ns=engine.now_ns, counterparty=counterparty, price_ticks=1000)
        decided, redone = DecisionRecord(), DecisionRecord()
        engine.decide(request, decided)
        blank.redo(request, decided, redone)
        assert redone.canonical() == decided.canonical()


def test_sinks_are_told_of_kills_and_enables_as_inputs(engine: Engine) -> None:
    told: list[tuple[object, ...]] = []
    engine.record_to(InputTap(lambda *what: told.append(what)))
    first, now = engine.input_sequence, engine.now_ns + MS
    engine.kill(now, counterparty=ALPHA, reason="limit", source=KillSource.FILE)
    engine.enable(now + MS, counterparty="alpha", reason="mended")
    killed = {"counterparty": "alpha", "reason": "limit", "source": 2, "since_ns": now}
    enabled = {"counterparty": "alpha", "reason": "mended", "source": 1}
    assert told == [
        ("change", first + 1, Change.KILLED, killed, now),
        ("change", first + 2, Change.ENABLED, enabled, now + MS),
    ]


def test_what_is_in_force_already_is_no_input(engine: Engine) -> None:
    """Restoring twice, or from two places, leaves one kill as it was."""
    kill = engine.kill(engine.now_ns, reason="first", since_ns=T0)
    sequence = engine.input_sequence
    assert engine.kill(engine.now_ns + S, reason="second", source=KillSource.FILE) == kill
    assert not engine.enable(engine.now_ns, counterparty="alpha")
    assert engine.input_sequence == sequence
    assert engine.kills() == [KillStatus(None, "first", KillSource.RPC, T0)]


def test_kills_follow_names_through_reloads(engine: Engine, tmp_path: Path) -> None:
    """The counterparties get other indices; a name that goes takes its kill away and brings it back."""
    engine.kill(engine.now_ns, counterparty="beta")
    more = TEXT.replace("  alpha:", "  aardvark: {tier: regular}\n  alpha:")
    engine.apply_config(make_config(tmp_path, more), engine.now_ns)
    assert [engine.killed(index) for index in range(3)] == [False, False, True]
    without = TEXT.replace("  beta: {tier: regular}\n", "")
    engine.apply_config(make_config(tmp_path, without), engine.now_ns)
    assert not engine.killed(0) and not engine.killed(None)
    assert [kill.counterparty for kill in engine.kills()] == ["beta"]
    engine.apply_config(make_config(tmp_path), engine.now_ns)
    assert kind(engine, BETA) is DecisionCode.DECLINE
    assert kind(engine, ALPHA) is DecisionCode.QUOTE


def test_an_index_out_of_range_is_refused_and_is_no_input(engine: Engine) -> None:
    sequence = engine.input_sequence
    for act in (engine.kill, engine.enable):
        with pytest.raises(ValueError, match="counterparty index 2"):
            act(engine.now_ns, counterparty=2)
    assert engine.input_sequence == sequence and not engine.kills()


def test_what_was_killed_since_is_what_the_history_says(engine: Engine) -> None:
    """Against the whole list of kills turned on, ended ones among them."""
    rng = random.Random(5)
    names = (None, "alpha", "beta", STRANGERS)
    history: list[tuple[int, str | None]] = []
    for _ in range(300):
        name = rng.choice(names)
        if rng.random() < 0.5:
            before = engine.kill_changes
            engine.kill(engine.now_ns, counterparty=name)
            if engine.kill_changes > before:
                history.append((engine.kill_changes, name))
        else:
            engine.enable(engine.now_ns, counterparty=name)
        changes = rng.randint(0, engine.kill_changes)
        for asker, group in (("alpha", "alpha"), ("beta", "beta"), ("somebody", STRANGERS), ("", STRANGERS)):
            expected = any(at > changes and killed in (None, group) for at, killed in history)
            assert engine.killed_since(changes, asker) == expected
    assert len(history) > 50
