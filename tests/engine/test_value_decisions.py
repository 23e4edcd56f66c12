"""Decisions by expected value: what they say, when they are not firm, and that they follow from their record."""

import json
import math
from typing import Any

import pytest

from quotelife.config import Config
from quotelife.config.schema import TierValue
from quotelife.decision.expected_value import ExpectedValue
from quotelife.engine import Engine
from quotelife.records import (
    BindingFlags,
    DecisionCode,
    DecisionRecord,
    ModeCode,
    ReasonFlags,
    RequestRecord,
    SignalCode,
)
from reference.market_kit import CONFIG, START_NS, market

MS = 1_000_000
S = 1000 * MS
ALPHA, BETA = 0, 1  # client priority, liquidity provider


def value_config(tier: dict[str, Any] | None = None, **posture: Any) -> Config:
    """All postures by expected value and the whole curve, without weights; all counterparties alike."""
    content = CONFIG.model_dump(mode="json", by_alias=True)
    base = {"mode": "expected_value", "tolerance_source": "curve", "tolerance": 0.5}
    base |= {"life_min": "100ms", "life_max": "5s", **posture}
    for name in content["postures"]:
        weights = dict.fromkeys(content["postures"][name]["weights"], 0.0)
        content["postures"][name] |= base | {"weights": weights}
    for each in (*content["tiers"].values(), content["defaults"]):
        each["value"] |= tier or {}
    content["model"]["artifact"] = "first_passage"
    content["instruments"][0]["adverse_ticks"] = 20.0  # edges below it leave h and the curve alone
    return Config.model_validate_json(json.dumps(content))


def engine_of(config: Config) -> Engine:
    engine = Engine(config, start_ns=START_NS)
    for buffer in market(8.0):
        engine.on_events(buffer)
    return engine


def decide(engine: Engine, side: int = 1, **options: Any) -> DecisionRecord:
    """One decision, redone from its record by an engine that has seen no market: equal bytes."""
    now_ns = options.pop("now_ns", engine.now_ns)
    request = RequestRecord(0, side, now_ns=now_ns, **{"counterparty": BETA, **options})
    decided, redone = DecisionRecord(), DecisionRecord()
    engine.decide(request, decided)
    blank = Engine(engine.config, start_ns=START_NS)
    blank.redo(request, decided, redone)
    assert redone.canonical() == decided.canonical()
    return decided


@pytest.fixture(scope="module")
def engine() -> Engine:
    return engine_of(value_config())


def test_the_life_is_the_one_of_the_largest_value(engine: Engine) -> None:
    """Life, value and break-even of a decision are those of ``ExpectedValue`` on its own curve and cap."""
    decision = decide(engine, edge_ticks=8.0, client_deadline_ns=engine.now_ns + 4 * S)
    assert DecisionCode(decision.kind) is DecisionCode.QUOTE
    assert ModeCode(decision.mode) is ModeCode.EXPECTED_VALUE
    solver = ExpectedValue(TierValue(), engine.config.postures.liquidity_provider.value)
    best = solver.best(decision.p, edge_ticks=8.0, h_ticks=decision.h_ticks, low_ns=100 * MS, high_ns=4 * S)
    assert 100 * MS < best.life_ns < 4 * S, "the case must have a maximum of its own"
    assert decision.life_ns == best.life_ns
    assert BindingFlags(decision.binding) is BindingFlags.VALUE
    assert decision.expected_value_ticks == best.life_value_ticks
    assert decision.break_even_edge_ticks == best.break_even_ticks
    assert decision.p_life <= decision.alpha


def test_without_price_or_edge_the_tolerance_decides(engine: Engine) -> None:
    decision = decide(engine)
    assert DecisionCode(decision.kind) is DecisionCode.QUOTE
    assert decision.reasons & ReasonFlags.NO_EDGE
    assert ModeCode(decision.mode) is ModeCode.TOLERANCE_CURVE
    assert math.isnan(decision.expected_value_ticks) and math.isnan(decision.break_even_edge_ticks)
    cap = decide(engine_of(value_config(mode="tolerance")), now_ns=decision.now_ns)
    assert decision.life_ns == cap.life_ns


@pytest.mark.parametrize("no_value", ["indicative", "decline"])
def test_an_edge_that_earns_nothing_gives_no_firm_quote(no_value: str) -> None:
    """e + ρ ≤ 0: INDICATIVE or DECLINE, and the edge from which it would be firm."""
    engine = engine_of(value_config(value={"no_value": no_value, "pick_off_weight": 1.0}))
    decision = decide(engine, edge_ticks=-1.0)
    assert DecisionCode(decision.kind).name.lower() == no_value
    assert (decision.life_ns, decision.expiry_ns) == (0, decision.now_ns)
    assert decision.reasons & ReasonFlags.EDGE_TOO_SMALL
    assert 0 < decision.break_even_edge_ticks < math.inf
    enough = decide(engine, edge_ticks=decision.break_even_edge_ticks + 1e-3)
    assert enough.h_ticks == decision.h_ticks
    assert DecisionCode(enough.kind) is DecisionCode.QUOTE


def test_break_even_parts_quotes_from_no_quotes() -> None:
    """Half the takers informed: an edge a little below break-even gives NO_VALUE, one a little above a quote."""
    engine = engine_of(value_config({"informed_share": 0.5}, life_min="2s"))
    none = decide(engine, edge_ticks=0.01)
    assert DecisionCode(none.kind) is DecisionCode.INDICATIVE
    assert none.reasons & ReasonFlags.NO_VALUE
    assert none.expected_value_ticks <= 1e-9
    least = none.break_even_edge_ticks
    assert 0.1 < least < none.h_ticks, "the case must have a break-even that h does not move with"
    assert DecisionCode(decide(engine, edge_ticks=least - 1e-3).kind) is DecisionCode.INDICATIVE
    firm = decide(engine, edge_ticks=least + 1e-3)
    assert DecisionCode(firm.kind) is DecisionCode.QUOTE
    assert firm.expected_value_ticks > 0


def test_cap_below_the_minimum_is_not_firm_by_default_and_clipped_when_told() -> None:
    tight = {"tolerance": 1e-3, "life_min": "1s"}
    decision = decide(engine_of(value_config(**tight)), edge_ticks=1.0)
    assert DecisionCode(decision.kind) is DecisionCode.INDICATIVE
    assert decision.reasons & ReasonFlags.BELOW_MINIMUM
    assert BindingFlags(decision.binding) is BindingFlags.BELOW_MINIMUM
    assert math.isnan(decision.expected_value_ticks) and decision.break_even_edge_ticks == math.inf
    clipped = decide(engine_of(value_config(**tight, below_minimum="clip")), edge_ticks=15.0)
    assert DecisionCode(clipped.kind) is DecisionCode.QUOTE
    assert clipped.life_ns == S
    assert clipped.reasons & ReasonFlags.BELOW_MINIMUM


@pytest.mark.parametrize("mode", ["expected_value", "tolerance"])
@pytest.mark.parametrize("below", ["clip", "decline"])
def test_a_refusal_for_the_edge_names_the_minimum_only_where_it_refuses_too(mode: str, below: str) -> None:
    engine = engine_of(value_config(mode=mode, tolerance=1e-3, life_min="1s", below_minimum=below))
    decision = decide(engine, edge_ticks=-50.0)
    assert decision.life_ns == 0
    reasons = ReasonFlags(decision.reasons)
    if below == "clip":
        assert reasons is ReasonFlags.EDGE_TOO_SMALL
        assert not decision.binding & BindingFlags.BELOW_MINIMUM
    else:
        assert reasons & ReasonFlags.BELOW_MINIMUM


def test_value_never_lives_beyond_the_tolerance() -> None:
    """Either source: no longer than the same posture would by tolerance, and P(life) ≤ α."""
    for source in ("p500", "curve"):
        by_value = engine_of(value_config(tolerance_source=source, tolerance=0.2))
        by_tolerance = engine_of(value_config(mode="tolerance", tolerance_source=source, tolerance=0.2))
        for edge in (0.5, 3.0, 8.0, 20.0):
            for side in (1, -1):
                mine = decide(by_value, side, edge_ticks=edge)
                cap = decide(by_tolerance, side, edge_ticks=edge)
                assert mine.life_ns <= cap.life_ns
                assert mine.p_life <= mine.alpha


def test_the_deadline_is_part_of_the_choice(engine: Engine) -> None:
    """A deadline before the best life: the life ends there, and its value is that of the shorter life."""
    free = decide(engine, edge_ticks=8.0)
    left = free.life_ns // 2 // 1000 * 1000
    bound = decide(engine, edge_ticks=8.0, client_deadline_ns=engine.now_ns + left)
    assert bound.life_ns == left
    assert BindingFlags(bound.binding) is BindingFlags.CLIENT_DEADLINE
    assert bound.expected_value_ticks < free.expected_value_ticks
    solver = ExpectedValue(TierValue(), engine.config.postures.liquidity_provider.value)
    worth = solver.value(bound.p, edge_ticks=8.0, h_ticks=bound.h_ticks, tau_ns=left)
    assert bound.expected_value_ticks == pytest.approx(worth, abs=1e-12)


def test_a_deadline_before_the_minimum_declines(engine: Engine) -> None:
    decision = decide(engine, edge_ticks=8.0, client_deadline_ns=engine.now_ns + 50 * MS)
    assert DecisionCode(decision.kind) is DecisionCode.DECLINE
    assert decision.reasons & ReasonFlags.DEADLINE_TOO_CLOSE


def test_a_position_makes_fills_that_add_to_it_dearer() -> None:
    """κ: a long position is worth less value to a bid and more to an offer."""
    engine = engine_of(value_config(value={"inventory_weight": 0.2, "pick_off_weight": 1.0}))
    flat = {side: decide(engine, side, edge_ticks=8.0).expected_value_ticks for side in (1, -1)}
    engine.on_signal(
        SignalCode.INVENTORY,
        receive_ns=engine.now_ns,
        source_ns=engine.now_ns,
        value=50.0,
        value2=100.0,
        instrument=0,
    )
    long = {side: decide(engine, side, edge_ticks=8.0).expected_value_ticks for side in (1, -1)}
    assert long[1] < flat[1]
    assert long[-1] > flat[-1]


def test_priors_are_those_of_the_tier() -> None:
    """A counterparty's tier gives the hit probability; whoever falls in no tier gets the defaults'."""
    content = value_config().model_dump(mode="json", by_alias=True)
    content["tiers"]["strategic"]["value"]["hit_probability"] = 0.9
    content["tiers"]["regular"]["value"]["hit_probability"] = 0.6
    content["defaults"]["value"]["hit_probability"] = 0.2
    for name in content["postures"]:
        content["postures"][name]["value"]["pick_off_weight"] = 0.0
        content["postures"][name]["value"]["relationship_in_h"] = 0.0
        content["postures"][name]["value"]["inventory_weight"] = 0.0
    engine = engine_of(Config.model_validate_json(json.dumps(content)))
    worth = [
        decide(engine, counterparty=who, edge_ticks=8.0).expected_value_ticks for who in (ALPHA, BETA, 7)
    ]
    assert worth[0] / worth[1] == pytest.approx(0.9 / 0.6)
    assert worth[1] / worth[2] == pytest.approx(0.6 / 0.2)


@pytest.mark.parametrize("tolerance", [0.5, 0.02])
def test_a_watched_quote_lives_no_shorter_and_tells_the_life_of_no_watch(tolerance: float) -> None:
    """The life of no watch is that of the same request unwatched; what the watch leaves of P(life) is tolerated."""
    engine = engine_of(value_config({"watch_leaves": 0.25}, tolerance=tolerance))
    watched, alone = (decide(engine, edge_ticks=8.0, watched=each) for each in (True, False))
    assert alone.life_without_watch_ns == 0
    assert watched.life_without_watch_ns == alone.life_ns > 0
    assert alone.life_ns < watched.life_ns <= 5 * S
    assert 0.25 * watched.p_life <= watched.alpha == alone.alpha
    assert watched.expected_value_ticks > alone.expected_value_ticks
    assert watched.break_even_edge_ticks <= alone.break_even_edge_ticks
    bound = decide(engine, edge_ticks=8.0, watched=True, client_deadline_ns=engine.now_ns + 200 * MS)
    assert bound.life_ns == 200 * MS and bound.life_without_watch_ns <= 200 * MS


def test_a_quote_that_is_firm_for_its_watch_alone_has_no_life_without_it() -> None:
    engine = engine_of(value_config({"watch_leaves": 0.0, "informed_share": 0.9}, life_min="1s"))
    needed = decide(engine, edge_ticks=0.5).break_even_edge_ticks
    assert needed > 0.5, "the case must have no value unwatched"
    assert decide(engine, edge_ticks=0.5).kind != DecisionCode.QUOTE
    watched = decide(engine, edge_ticks=0.5, watched=True)
    assert watched.kind == DecisionCode.QUOTE and watched.life_without_watch_ns == 0


def test_a_watch_changes_nothing_where_value_does_not_decide() -> None:
    """By tolerance, and by value where a watch leaves everything: the unwatched decision, beside what tells of it."""
    for config in (
        value_config({"watch_leaves": 0.25}, mode="tolerance"),
        value_config({"watch_leaves": 1.0}),
    ):
        engine = engine_of(config)
        watched, alone = (decide(engine, edge_ticks=8.0, watched=each) for each in (True, False))
        assert watched.life_without_watch_ns == watched.life_ns == alone.life_ns > 0
        assert (watched.p_life, watched.binding) == (alone.p_life, alone.binding)


def test_the_end_without_a_watch_is_registered(engine: Engine) -> None:
    request = RequestRecord(0, 1, now_ns=engine.now_ns, counterparty=BETA, edge_ticks=8.0, watched=True)
    decided = DecisionRecord()
    engine.decide(request, decided)
    quote = engine.watch(engine.now_ns, owner="oms", name="q", requests=[request], decisions=[decided])
    live = engine.live_quote(quote)
    assert live is not None and live.expiry_ns == decided.expiry_ns
    assert live.unwatched_ns == decided.now_ns + decided.life_without_watch_ns < live.expiry_ns
