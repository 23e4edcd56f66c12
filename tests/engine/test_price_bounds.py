"""A price, a reference or an edge that leaves the market gets no long life, and is told why."""

import json
import math
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest

from quotelife.config import Config
from quotelife.engine import Engine
from quotelife.explain.decision import explain
from quotelife.explain.grounds import Grounds
from quotelife.records import (
    DECISION_DTYPE,
    NO_INDEX_VALUE,
    BindingFlags,
    DecisionCode,
    DecisionRecord,
    ReasonFlags,
    RequestRecord,
)
from reference.market_kit import CONFIG, START_NS, market

MS = 1_000_000
CLIENT_PRIORITY, RISK_AVERSE = 0, 2  # counterparties by their tier's posture
H = 10.0  # ticks, without an edge
BOUNDS = ((250 * MS, 5000 * MS), (100 * MS, 2000 * MS), (100 * MS, 750 * MS))
POSTURES = ("client_priority", "liquidity_provider", "risk_averse")


def engine_of(
    desk: dict[str, Any] | None = None, mode: str = "tolerance", adverse_ticks: float = H, **bounds: Any
) -> Engine:
    """Plain postures by first passage, weights zero, one client for each."""
    content = CONFIG.model_dump(mode="json", by_alias=True)
    content["tiers"] = {name: {"posture": name} for name in POSTURES}
    content["counterparties"] = {name: {"tier": name} for name in POSTURES}
    content["defaults"] = {"price_bounds": bounds}
    content["desks"] = {"careful": {"price_bounds": desk}}
    for name in POSTURES:
        weights = dict.fromkeys(content["postures"][name]["weights"], 0.0)
        content["postures"][name] |= {"mode": mode, "weights": weights}
    content["model"]["artifact"] = "first_passage"
    content["instruments"][0] |= {"adverse_ticks": adverse_ticks, "adverse_bps": 0.0}
    engine = Engine(Config.model_validate_json(json.dumps(content)), start_ns=START_NS)
    for buffer in market(8.0):
        engine.on_events(buffer)
    return engine


def decide(
    engine: Engine,
    side: int = 1,
    counterparty: int = CLIENT_PRIORITY,
    desk: int = NO_INDEX_VALUE,
    **options: Any,
) -> DecisionRecord:
    """One decision, redone from its record by an engine that has seen no market: equal bytes."""
    request = RequestRecord(
        0, side, **{"now_ns": engine.now_ns, "counterparty": counterparty, "desk": desk} | options
    )
    decided, redone = DecisionRecord(), DecisionRecord()
    engine.decide(request, decided)
    Engine(engine.config, start_ns=START_NS).redo(request, decided, redone)
    assert redone.canonical() == decided.canonical()
    return decided


@pytest.fixture(scope="module")
def engine() -> Iterator[Engine]:
    yield engine_of(edge_widens_max=10.0)


def room_of(decision: DecisionRecord, bps: float = 100.0, spreads: float = 10.0) -> float:
    return max(bps * 1e-4 * decision.mid_ticks, spreads * decision.spread_ticks)


def test_mid_and_spread_are_those_of_the_book(engine: Engine) -> None:
    decision = decide(engine)
    _, bid, _, ask, _ = engine.level_top(0)
    assert (decision.mid_ticks, decision.spread_ticks) == ((bid + ask) / 2, ask - bid)


@pytest.mark.parametrize("side", [1, -1])
@pytest.mark.parametrize("sign", [1, -1])
def test_a_price_is_firm_up_to_the_bound_and_declined_beyond(engine: Engine, side: int, sign: int) -> None:
    """On the generous side; on the other side a loss of more than h is refused well before."""
    plain = decide(engine)
    mid, room = plain.mid_ticks, room_of(plain)
    inside = decide(engine, side, price_ticks=mid + sign * room * 0.999)
    beyond = decide(engine, side, price_ticks=mid + sign * room * 1.001)
    assert not inside.reasons & ReasonFlags.PRICE_FAR
    assert (DecisionCode(inside.kind) is DecisionCode.QUOTE) == (side * sign < 0)
    assert DecisionCode(beyond.kind) is DecisionCode.DECLINE
    assert ReasonFlags(beyond.reasons) is ReasonFlags.PRICE_FAR
    assert BindingFlags(beyond.binding) is BindingFlags.MARKET
    assert (beyond.life_ns, beyond.expiry_ns) == (0, beyond.now_ns)


def test_a_fat_finger_in_the_edge_is_a_fat_finger_in_the_price(engine: Engine) -> None:
    """Ten percent of edge, no price given: the price that follows from it counts."""
    decision = decide(engine, edge_ticks=0.1 * decide(engine).mid_ticks)
    assert ReasonFlags(decision.reasons) is ReasonFlags.PRICE_FAR


def test_a_reference_is_held_against_the_own_mid(engine: Engine) -> None:
    mid = decide(engine).mid_ticks
    far = decide(engine, reference_ticks=1.1 * mid)
    assert DecisionCode(far.kind) is DecisionCode.DECLINE
    assert ReasonFlags(far.reasons) is ReasonFlags.REFERENCE_FAR
    assert BindingFlags(far.binding) is BindingFlags.MARKET
    both = decide(engine, reference_ticks=1.1 * mid, price_ticks=1.1 * mid - 3)
    assert ReasonFlags(both.reasons) is ReasonFlags.REFERENCE_FAR | ReasonFlags.PRICE_FAR
    assert DecisionCode(decide(engine, reference_ticks=1.001 * mid).kind) is DecisionCode.QUOTE


def test_what_the_market_moved_since_pricing_is_not_the_price_s_fault() -> None:
    """The bound is laid around the mid of the moment of pricing, by which the price was made."""
    engine = engine_of(bps=0.0, spreads=1.0)
    now = decide(engine)
    for age in (500 * MS, 1000 * MS, 3000 * MS, 6000 * MS):
        aged = decide(engine, priced_at_ns=engine.now_ns - age)
        then = now.mid_ticks + aged.moved_ticks
        if abs(aged.moved_ticks) > now.spread_ticks:
            break
    else:
        pytest.fail("the market must have moved by more than the bound")
    for price, far in ((then, False), (then + 1.5 * now.spread_ticks, True), (now.mid_ticks, True)):
        decision = decide(engine, price_ticks=price, priced_at_ns=engine.now_ns - age)
        assert bool(decision.reasons & ReasonFlags.PRICE_FAR) == far


def test_a_desk_has_bounds_of_its_own_and_its_kind_of_answer() -> None:
    engine = engine_of(desk={"bps": 5.0, "spreads": 1.0, "beyond": "indicative"})
    mid = decide(engine).mid_ticks
    price = mid * (1 - 20e-4)
    assert DecisionCode(decide(engine, price_ticks=price).kind) is DecisionCode.QUOTE
    assert DecisionCode(decide(engine, desk=0, price_ticks=price).kind) is DecisionCode.INDICATIVE


def test_an_edge_widens_h_up_to_a_multiple_and_says_so() -> None:
    engine = engine_of(edge_widens_max=3.0)
    plain = decide(engine)
    cap = 3.0 * max(H, plain.spread_ticks)
    below, above = decide(engine, edge_ticks=cap), decide(engine, edge_ticks=cap * 1.5)
    assert plain.h_ticks == H
    assert (below.h_ticks, above.h_ticks) == (cap, cap)
    assert not below.reasons & ReasonFlags.EDGE_CAPPED
    assert above.reasons & ReasonFlags.EDGE_CAPPED
    assert (above.life_ns, above.edge_ticks) == (below.life_ns, cap * 1.5)


def test_a_negative_edge_gets_the_shortest_life_and_from_h_on_none(engine: Engine) -> None:
    """Risk Averse has no relationship value that could pay for a loss."""
    at_mid = decide(engine, counterparty=RISK_AVERSE, edge_ticks=0.0)
    slightly = decide(engine, counterparty=RISK_AVERSE, edge_ticks=-0.5)
    through = decide(engine, counterparty=RISK_AVERSE, edge_ticks=-H)
    assert at_mid.life_ns > 100 * MS and not at_mid.reasons & ReasonFlags.EDGE_TOO_SMALL
    assert slightly.life_ns == 100 * MS and slightly.reasons & ReasonFlags.EDGE_TOO_SMALL
    assert BindingFlags(slightly.binding) is BindingFlags.EDGE | BindingFlags.MINIMUM
    assert DecisionCode(through.kind) is DecisionCode.DECLINE
    assert BindingFlags(through.binding) is BindingFlags.EDGE


@pytest.mark.parametrize("counterparty", [CLIENT_PRIORITY, RISK_AVERSE])
def test_in_a_market_wider_than_h_the_loss_must_reach_the_spread(counterparty: int) -> None:
    """As on the other side, where the larger of both bounds what an edge adds to h. The spread is put in the record."""
    engine = engine_of(adverse_ticks=1.0)
    spread = 7.0

    def in_a_wide_market(edge_ticks: float) -> DecisionRecord:
        request = RequestRecord(0, 1, now_ns=engine.now_ns, counterparty=counterparty, edge_ticks=edge_ticks)
        decision, redone = DecisionRecord(), DecisionRecord()
        engine.decide(request, decision)
        record = np.frombuffer(decision.canonical(), DECISION_DTYPE).copy()
        record["spread_ticks"] = spread
        engine.redo(request, DecisionRecord.from_bytes(record.tobytes()), redone)
        return redone

    within, reached = in_a_wide_market(-0.99 * spread), in_a_wide_market(-spread)
    assert within.h_ticks == 1.0
    assert DecisionCode(within.kind) is DecisionCode.QUOTE
    assert within.life_ns == BOUNDS[counterparty][0]
    assert DecisionCode(reached.kind) is DecisionCode.DECLINE
    assert ReasonFlags(reached.reasons) is ReasonFlags.EDGE_TOO_SMALL
    assert BindingFlags(reached.binding) is BindingFlags.EDGE


def test_relationship_value_pays_for_a_small_loss(engine: Engine) -> None:
    """Client Priority: ρ = 0.1 h = 1 tick."""
    assert decide(engine, edge_ticks=-0.99).life_ns == decide(engine).life_ns
    assert decide(engine, edge_ticks=-1.01).life_ns == 250 * MS


def test_negative_edges_can_be_refused_altogether() -> None:
    engine = engine_of(negative_edge="refuse", beyond="indicative")
    decision = decide(engine, edge_ticks=-2.0)
    assert DecisionCode(decision.kind) is DecisionCode.INDICATIVE
    assert BindingFlags(decision.binding) is BindingFlags.EDGE


@pytest.mark.parametrize("mode", ["step", "expected_value"])
def test_every_mode_is_bounded(mode: str) -> None:
    engine = engine_of(mode=mode)
    decision = decide(engine, price_ticks=0.9 * decide(engine).mid_ticks)
    assert ReasonFlags(decision.reasons) is ReasonFlags.PRICE_FAR


def test_the_explanation_gives_the_figures(engine: Engine) -> None:
    mid = decide(engine).mid_ticks
    request = RequestRecord(0, 1, now_ns=engine.now_ns, price_ticks=0.9 * mid)
    decision = DecisionRecord()
    engine.decide(request, decision)
    explanation = explain(request, decision, Grounds.of(engine, decision))
    assert explanation.summary == "Declined: the quoted price lies too far from the market."
    (step,) = [each for each in explanation.constraints if each.binding]
    assert step.constraint is BindingFlags.MARKET and step.life_ns == 0
    assert step.detail == (
        f"the price {0.9 * mid:.10g} must lie within {room_of(decision):.6g} ticks of the mid {mid:.10g}"
    )


def test_the_explanation_of_a_negative_edge_and_of_a_capped_one(engine: Engine) -> None:
    def explained(**options: Any) -> str:
        request = RequestRecord(0, 1, now_ns=engine.now_ns, counterparty=RISK_AVERSE, **options)
        decision = DecisionRecord()
        engine.decide(request, decision)
        return explain(request, decision, Grounds.of(engine, decision)).summary

    assert "set by the posture's minimum and a negative edge" in explained(edge_ticks=-0.5)
    assert explained(edge_ticks=-H).startswith("Declined: edge and relationship value together are too small")
    widest = 10 * max(H, decide(engine).spread_ticks)
    assert f"an edge of {widest + 1:.4g} ticks widens h to {widest:.4g} only" in explained(
        edge_ticks=widest + 1
    )


def test_no_input_gets_a_longer_life_for_leaving_the_market(engine: Engine) -> None:
    """Random prices, references, edges, sides: inside the posture's bounds, RA ≤ LP ≤ CP, nothing firm beyond."""
    check_random_inputs(engine, 500, seed=11)


@pytest.mark.slow
def test_no_input_gets_a_longer_life_for_leaving_the_market_a_million_times(engine: Engine) -> None:
    check_random_inputs(engine, 340_000, seed=12)


def check_random_inputs(engine: Engine, count: int, seed: int) -> None:
    """``count`` inputs, each for the three postures and once more with a reference of the same kind."""
    rng = np.random.default_rng(seed)
    plain = decide(engine)
    mid, room = plain.mid_ticks, room_of(plain)
    widest = 10 * max(H, plain.spread_ticks)
    decision = DecisionRecord()
    seen = 0
    for _ in range(count):
        side = 1 if rng.random() < 0.5 else -1
        options: dict[str, float] = {}
        scale = room * 10 ** rng.uniform(-4, 1)
        if rng.random() < 0.6:
            options["price_ticks"] = mid + scale * rng.uniform(-1, 1)
        if rng.random() < 0.4:
            options["edge_ticks"] = scale * rng.uniform(-1, 1)
        if rng.random() < 0.4:
            options["reference_ticks"] = mid + scale * rng.uniform(-1, 1)
        if rng.random() < 0.01:
            options[rng.choice(list(options) or ["price_ticks"])] = rng.choice([-1e18, 0.0, 1e18, 1e300])
        lives = []
        for client, (shortest, longest) in enumerate(BOUNDS):
            engine.decide(
                RequestRecord(0, side, now_ns=engine.now_ns, counterparty=client, **options), decision
            )
            seen += 1
            case = (side, options, client)
            firm = DecisionCode(decision.kind) is DecisionCode.QUOTE
            assert firm == (decision.life_ns > 0), case
            assert not firm or shortest <= decision.life_ns <= longest, case
            assert decision.h_ticks <= widest * (1 + 1e-12), case
            reference = options.get("reference_ticks", decision.reference_ticks)
            if "price_ticks" in options:
                price = options["price_ticks"]
            else:
                price = reference - side * options.get("edge_ticks", 0.0)
            priced = "price_ticks" in options or "edge_ticks" in options
            far = (priced and abs(price - mid) > room) or (
                "reference_ticks" in options and abs(reference - mid) > room
            )
            assert far == bool(decision.binding & BindingFlags.MARKET), case
            if far:
                assert DecisionCode(decision.kind) is DecisionCode.DECLINE, case
            elif priced and side * (reference - price) < -0.1 * H - 1e-6:  # beyond what any relationship pays
                assert decision.life_ns <= shortest, case
                assert decision.reasons & ReasonFlags.EDGE_TOO_SMALL, case
            lives.append(decision.life_ns if firm else 0)
        assert lives[2] <= lives[1] <= lives[0], (side, options)
    assert seen == 3 * count
    assert not math.isnan(room)
