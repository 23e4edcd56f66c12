"""The throttle alone, against a list of times, and in the engine."""

import random
from pathlib import Path

import pytest

from engine.test_engine import MS, T0, TEXT, S, ask, make_config, warm
from quotelife.config import Config
from quotelife.decision.kill import STRANGERS, KillSource
from quotelife.decision.throttle import Throttle
from quotelife.engine import Engine
from quotelife.inputs import Change, InputTap
from quotelife.records import (
    NO_INDEX_VALUE,
    DecisionCode,
    DecisionRecord,
    ObservedFlags,
    ReasonFlags,
    RequestRecord,
    RuleCode,
)

FREE, HELD, TRIPPED = range(3)
ALPHA, BETA = 0, 1


def config_of(tmp_path: Path, throttle: str, *, tier: str = "", alpha: str = "") -> Config:
    text = TEXT + f"throttle: {throttle}\ndefaults: {{unknown_counterparty_tier: regular}}\n"
    if tier:
        text = text.replace("regular: {", f"regular: {{throttle: {tier}, ")
    if alpha:
        text = text.replace("alpha: {", f"alpha: {{throttle: {alpha}, ")
    return make_config(tmp_path, text)


AUTOMATIC = "{decisions_max: 3, window: 1s, release: automatic, pause: 5s}"
MANUAL = "{decisions_max: 3, window: 1s}"


def twin(times: list[int], decisions_max: int, window_ns: int, pause_ns: int) -> list[int]:
    """What each decision comes to, by counting the ones that were let through before it."""
    out: list[int] = []
    passed: list[int] = []
    held_until_ns = 0
    for t in times:
        if t < held_until_ns:
            out.append(HELD)
        elif sum(t - window_ns < each <= t for each in passed) >= decisions_max:
            held_until_ns, passed = t + pause_ns, []
            out.append(TRIPPED)
        else:
            passed.append(t)
            out.append(FREE)
    return out


@pytest.mark.parametrize("seed", range(20))
def test_the_window_counts_as_a_list_of_times_would(tmp_path: Path, seed: int) -> None:
    rng = random.Random(seed)
    most, window, pause = rng.randint(1, 9), rng.randint(1, 500), rng.randint(1, 300)
    limit = f"{{decisions_max: {most}, window: {window}ns, release: automatic, pause: {pause}ns}}"
    throttle = Throttle(config_of(tmp_path, limit))
    t, times = T0, []
    for _ in range(2_000):
        t += rng.choice((0, 1, rng.randint(0, 60), rng.randint(0, 2 * window // most + 1)))
        times.append(t)
    assert [throttle.probe(ALPHA, each) for each in times] == twin(times, most, window, pause)
    assert throttle.trips == twin(times, most, window, pause).count(TRIPPED) > 0


def test_a_decision_exactly_a_window_ago_is_out(tmp_path: Path) -> None:
    throttle = Throttle(config_of(tmp_path, AUTOMATIC))
    for t in (T0, T0 + 1, T0 + 2):
        assert throttle.probe(ALPHA, t) == FREE
    assert throttle.probe(ALPHA, T0 + S) == FREE
    assert throttle.probe(ALPHA, T0 + S) == TRIPPED


def test_the_word_of_the_counterparty_goes_before_its_tiers_and_that_before_everybodys(
    tmp_path: Path,
) -> None:
    config = config_of(
        tmp_path, "{decisions_max: 1}", tier="{decisions_max: 2}", alpha="{decisions_max: null}"
    )
    throttle = Throttle(config)
    assert [throttle.probe(ALPHA, T0) for _ in range(50)] == [FREE] * 50
    assert [throttle.probe(BETA, T0) for _ in range(3)] == [FREE, FREE, TRIPPED]
    assert [throttle.probe(None, T0) for _ in range(3)] == [FREE, FREE, TRIPPED], "by the tier of strangers"
    alone = Throttle(config_of(tmp_path, "{decisions_max: 1}"))
    assert [alone.probe(None, T0), alone.probe(77, T0)] == [FREE, TRIPPED], "strangers count together"


def test_a_reload_keeps_counts_of_unchanged_limits_and_every_hold(tmp_path: Path) -> None:
    throttle = Throttle(config_of(tmp_path, AUTOMATIC))
    for _ in range(4):
        throttle.probe(BETA, T0)
    for _ in range(3):
        throttle.probe(ALPHA, T0)
    text = TEXT.replace("  alpha:", "  aardvark: {tier: regular}\n  alpha:") + f"throttle: {AUTOMATIC}\n"
    throttle.follow(Throttle(make_config(tmp_path, text)))
    assert throttle.probe(0, T0) == FREE
    assert throttle.probe(1, T0) == TRIPPED
    assert throttle.probe(2, T0) == HELD
    throttle.follow(Throttle(make_config(tmp_path)))
    assert throttle.probe(ALPHA, T0) == FREE, "switched off"


# --- in the engine ------------------------------------------------------------------------------------------


def warmed(config: Config) -> Engine:
    engine = Engine(config, start_ns=T0)
    warm(engine)
    return engine


def burst(engine: Engine, n: int, counterparty: int = ALPHA, t: int | None = None) -> list[DecisionRecord]:
    return [ask(engine, t or engine.now_ns, counterparty=counterparty) for _ in range(n)]


def kinds(decisions: list[DecisionRecord]) -> list[str]:
    return [DecisionCode(each.kind).name for each in decisions]


def test_no_throttle_unless_configured(tmp_path: Path) -> None:
    assert set(kinds(burst(warmed(make_config(tmp_path)), 300))) == {"QUOTE"}


def test_an_automatic_throttle_declines_for_its_pause(tmp_path: Path) -> None:
    engine = warmed(config_of(tmp_path, AUTOMATIC))
    t = engine.now_ns
    decisions = burst(engine, 5)
    assert kinds(decisions) == ["QUOTE"] * 3 + ["DECLINE"] * 2
    for each in decisions[3:]:
        assert ReasonFlags(each.reasons) == ReasonFlags.THROTTLED
        assert ObservedFlags.THROTTLED in ObservedFlags(each.observed)
        assert RuleCode(each.rule) is RuleCode.KILL_SWITCH
    assert kinds(burst(engine, 1, BETA)) == ["QUOTE"]
    assert not engine.kills()
    assert ReasonFlags.THROTTLED in ReasonFlags(burst(engine, 1, t=t + 5 * S - 1)[0].reasons)
    assert ReasonFlags.THROTTLED not in ReasonFlags(burst(engine, 1, t=t + 5 * S)[0].reasons)


def test_a_throttle_released_by_hand_becomes_a_kill_that_sinks_are_told_of(tmp_path: Path) -> None:
    engine = warmed(config_of(tmp_path, MANUAL))
    told: list[tuple[object, ...]] = []
    engine.record_to(InputTap(lambda *what: told.append(what)))
    first, t = engine.input_sequence, engine.now_ns
    decisions = burst(engine, 5)
    assert kinds(decisions) == ["QUOTE"] * 3 + ["DECLINE"] * 2
    assert ReasonFlags(decisions[3].reasons) == ReasonFlags.THROTTLED
    assert ReasonFlags(decisions[4].reasons) == ReasonFlags.THROTTLED | ReasonFlags.KILLED
    assert [what[0] for what in told] == ["decision"] * 4 + ["change", "decision"]
    assert [what[1] for what in told] == list(range(first + 1, first + 7))
    payload = {"counterparty": "alpha", "reason": "more than 3 decisions in 1s", "source": 3, "since_ns": t}
    assert told[4][2:] == (Change.KILLED, payload, t)


def test_a_kill_by_the_throttle_ends_by_enable_alone_and_the_count_starts_again(tmp_path: Path) -> None:
    engine = warmed(config_of(tmp_path, MANUAL))
    burst(engine, 4)
    assert ReasonFlags.KILLED in ReasonFlags(burst(engine, 1, t=engine.now_ns + 3600 * S)[0].reasons)
    assert [(kill.counterparty, kill.source) for kill in engine.kills()] == [("alpha", KillSource.THROTTLE)]
    assert engine.enable(engine.now_ns, counterparty="alpha")
    stopped = [bool(ReasonFlags(each.reasons) & ReasonFlags.THROTTLED) for each in burst(engine, 4)]
    assert stopped == [False, False, False, True]


def test_strangers_trip_together_and_are_enabled_together(tmp_path: Path) -> None:
    engine = warmed(config_of(tmp_path, MANUAL))
    assert kinds(burst(engine, 2, NO_INDEX_VALUE) + burst(engine, 2, 99)) == ["QUOTE"] * 3 + ["DECLINE"]
    assert [kill.counterparty for kill in engine.kills()] == [STRANGERS]
    assert engine.enable(engine.now_ns, counterparty=STRANGERS)
    assert kinds(burst(engine, 1, NO_INDEX_VALUE)) == ["QUOTE"]


def test_killed_decisions_are_not_counted(tmp_path: Path) -> None:
    engine = warmed(config_of(tmp_path, MANUAL))
    engine.kill(engine.now_ns)
    burst(engine, 50)
    engine.enable(engine.now_ns)
    assert kinds(burst(engine, 3)) == ["QUOTE"] * 3


def test_the_second_side_of_a_request_is_not_counted_and_shares_its_lot(tmp_path: Path) -> None:
    engine = warmed(config_of(tmp_path, AUTOMATIC))
    t, out = engine.now_ns, []
    for _ in range(4):
        for second in (False, True):
            decision = DecisionRecord()
            side = -1 if second else 1
            request = RequestRecord(0, side, now_ns=t, counterparty=ALPHA, second_side=second)
            engine.decide(request, decision)
            out.append(DecisionCode(decision.kind).name)
    assert out == ["QUOTE"] * 6 + ["DECLINE"] * 2


@pytest.mark.parametrize("throttle", [MANUAL, AUTOMATIC])
def test_throttled_decisions_are_redone_from_their_records(tmp_path: Path, throttle: str) -> None:
    config = config_of(tmp_path, throttle)
    engine, blank = warmed(config), Engine(config, start_ns=T0)
    for i in range(12):
        request = RequestRecord(0, 1, now_ns=engine.now_ns + i * MS, counterparty=i % 2, price_ticks=1000)
        decided, redone = DecisionRecord(), DecisionRecord()
        engine.decide(request, decided)
        blank.redo(request, decided, redone)
        assert redone.canonical() == decided.canonical()


def test_inputs_applied_again_give_the_same_bytes_whether_or_not_the_kill_comes_again(tmp_path: Path) -> None:
    """The engine makes the kill itself; the recorded one then finds it in force and is no input."""
    config = config_of(tmp_path, MANUAL)
    engine, again = Engine(config, start_ns=T0), Engine(config, start_ns=T0)
    told: list[tuple[object, ...]] = []
    engine.record_to(InputTap(lambda *what: told.append(what)))
    for i in range(40):
        if i == 20:
            engine.enable(T0 + i, counterparty="alpha")
        engine.decide(RequestRecord(0, 1, now_ns=T0 + i, counterparty=i % 2), DecisionRecord())
    for name, sequence, *rest in told:
        if name == "decision":
            request, recorded = rest
            decision = DecisionRecord()
            again.decide(request, decision)  # type: ignore[arg-type]
            assert decision.canonical() == recorded.canonical()  # type: ignore[attr-defined]
            continue
        change, payload, now_ns = rest
        apply = again.kill if change is Change.KILLED else again.enable
        payload = dict(payload)  # type: ignore[call-overload]
        apply(now_ns, **payload)  # type: ignore[arg-type]
        assert again.input_sequence == sequence
    assert again.kills() == engine.kills() != []
