"""Packages: SPEC section 7 held against single decisions and a plain twin, and every record taken again."""

import random
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from engine.test_engine import MS, T0, S, Tape, ask, make_config
from quotelife.config import Config
from quotelife.decision.expected_value import ExpectedValue
from quotelife.engine import Engine
from quotelife.errors import ConfigError
from quotelife.instruments import name_hash
from quotelife.records import (
    DecisionCode,
    DecisionRecord,
    EventFlags,
    EventKindCode,
    ModeCode,
    PostureCode,
    QualityCode,
    ReasonFlags,
    RegimeCode,
    RequestFlags,
    RequestRecord,
    SideCode,
    SignalCode,
    WithdrawCode,
)
from reference import package_twin as twin

TEXT = """
version: 1
model: {artifact: first_passage}
learning: {recalibration: {enabled: false}, monitor: {enabled: false}}
instruments:
  - {name: ETH, venue: test, symbol: ETH, tick_size: 0.1, lot_size: 0.001, warmup: 1s}
  - {name: BTC, venue: test, symbol: BTC, tick_size: 0.5, lot_size: 0.001, warmup: 1s, adverse_bps: 5}
  - {name: SOL, venue: test, symbol: SOL, tick_size: 0.01, lot_size: 0.1, warmup: 1s, adverse_ticks: 2}
  - {name: CALL-A, venue: opt, symbol: CALLA, tick_size: 0.05, lot_size: 1, underlying: ETH}
  - {name: CALL-B, venue: opt, symbol: CALLB, tick_size: 0.05, lot_size: 1, underlying: ETH}
  - {name: COIN-A, venue: opt, symbol: COINA, tick_size: 0.0005, lot_size: 1, underlying: ETH, premium: underlying}
tiers:
  strategic: {posture: client_priority}
counterparties:
  alpha: {tier: strategic, throttle: {decisions_max: 2, window: 10s, pause: 10s}}
desks:
  main: {allow_request_override: true}
"""
ETH, BTC, SOL, CALL_A, CALL_B, COIN_A = range(6)


def warm(engine: Engine, seconds: float = 20.0) -> tuple[Tape, int]:
    """Three calm walks side by side; the time of the last message."""
    tape = Tape(engine)
    bids = dict.fromkeys((ETH, BTC, SOL), 1000)
    rng = random.Random(7)
    t = T0 + 1
    for instrument in bids:
        tape.snapshot(t, instrument, levels=200)
    while t < T0 + seconds * S:
        t += 50 * MS
        for instrument, bid in bids.items():
            step = rng.choice((-1, 0, 0, 1))
            lots = rng.randint(50, 150)
            changes = [(SideCode.BID, bid, lots)]
            if step > 0:
                changes = [(SideCode.ASK, bid + 2, 0), (SideCode.BID, bid + 1, lots)]
            elif step < 0:
                changes = [(SideCode.BID, bid, 0), (SideCode.ASK, bid + 1, lots)]
            bids[instrument] = bid + step
            tape.diff(t, changes, instrument)
    return tape, t


@pytest.fixture(scope="module")
def config(tmp_path_factory: pytest.TempPathFactory) -> Config:
    return make_config(tmp_path_factory.mktemp("packages"), TEXT)


@pytest.fixture
def engine(config: Config) -> Engine:
    return Engine(config, start_ns=T0)


@pytest.fixture(scope="module")
def warmed(config: Config) -> tuple[Engine, int]:
    """For tests that do not change the market."""
    engine = Engine(config, start_ns=T0)
    return engine, warm(engine)[1]


def leg(instrument: int, side: int, t: int, ratio: float = 1.0, **options: Any) -> RequestRecord:
    return RequestRecord(instrument, side, now_ns=t, ratio=ratio, **options)


def decide(engine: Engine, legs: list[RequestRecord]) -> tuple[list[RequestRecord], list[DecisionRecord]]:
    decisions = [DecisionRecord() for _ in range(len(legs) + 1)]
    requests = engine.decide_package(legs, decisions)
    return requests, decisions[: len(requests)]


def option_spread(t: int, *, sides: tuple[int, int] = (1, -1), **options: Any) -> list[RequestRecord]:
    """A call spread by greeks of the request: net delta 0.2, long gamma and vega where bought."""
    return [
        leg(CALL_A, sides[0], t, delta=0.5, gamma=0.01, vega=0.3, underlying=ETH, **options),
        leg(CALL_B, sides[1], t, delta=0.3, gamma=0.004, vega=0.2, underlying=ETH, **options),
    ]


def firm_alone(engine: Engine, t: int, instrument: int, edge: float, ratio: float = 1.0) -> bool:
    """By tolerance: has the edge not lost the threshold and the spread already?"""
    tick = float(engine.instruments[instrument].tick_size)
    decision = ask(engine, t, 1, instrument)
    return edge / (ratio * tick) > -max(decision.h_ticks, decision.spread_ticks) * (1 - 1e-9)


FRECHET_LEGS = st.tuples(
    st.sampled_from([ETH, BTC, SOL]), st.sampled_from([1, -1]), st.sampled_from([0.5, 1.0, 2.0, 3.0])
)
DELTAS = st.floats(-1, 1).map(lambda delta: round(delta, 4))
# 1 % of the cheapest leg is firm; losses as large as its threshold and nice shares of it among them.
EDGES = st.one_of(
    st.none(),
    st.floats(-0.09, 0.09),
    st.floats(-0.02, 0.0),
    st.sampled_from([-0.08, -0.05, -0.02, -0.01, -0.005, -0.002, -0.001, 0.0, 0.05]),
)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(
    instrument=st.sampled_from([ETH, BTC, SOL]),
    side=st.sampled_from([1, -1]),
    edge=EDGES,
    posture=st.sampled_from(list(PostureCode)),
)
def test_a_package_of_one_leg_is_the_single_instrument(
    warmed: tuple[Engine, int], instrument: int, side: int, edge: float | None, posture: int
) -> None:
    engine, t = warmed
    tick = float(engine.instruments[instrument].tick_size)
    desk = engine.policy.desk_index("main")
    single = ask(
        engine,
        t,
        side,
        instrument,
        edge_ticks=None if edge is None else edge / tick,
        posture=posture,
        desk=desk,
    )
    requests, (decision,) = decide(
        engine, [leg(instrument, side, t, package_edge=edge, posture=posture, desk=desk)]
    )
    assert len(requests) == 1
    assert decision.canonical()[8:] == single.canonical()[8:]  # all but its number
    assert (decision.kind == DecisionCode.QUOTE) == (edge is None or firm_alone(engine, t, instrument, edge))


def test_price_and_reference_of_one_leg_are_those_of_the_instrument(warmed: tuple[Engine, int]) -> None:
    engine, t = warmed
    single = ask(engine, t, -1, ETH, price_ticks=1003.0, reference_ticks=1001.5)
    for package_side, sign in ((1, -1), (-1, 1)):  # selling it is one leg sold, or the package of one bought
        _, (decision,) = decide(
            engine,
            [leg(ETH, -1, t, 2.0, package_side=package_side, package_price=sign * 200.6,
                 package_reference=sign * 200.3)],
        )  # fmt: skip
        assert decision.edge_ticks == pytest.approx(1.5)
        assert decision.p == pytest.approx(single.p)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(legs=st.lists(FRECHET_LEGS, min_size=2, max_size=6), edge=EDGES)
def test_the_bounds_of_frechet_hold_and_the_upper_one_decides(
    warmed: tuple[Engine, int], legs: list[tuple[int, int, float]], edge: float | None
) -> None:
    engine, t = warmed
    requests, decisions = decide(
        engine, [leg(instrument, side, t, ratio, package_edge=edge) for instrument, side, ratio in legs]
    )
    *parts, whole = decisions
    lower, upper = twin.frechet([part.p for part in parts])
    assert whole.p == pytest.approx(upper, rel=1e-12, abs=1e-15)
    assert all(low <= p for low, p in zip(lower, whole.p, strict=True))
    assert {DecisionCode(part.kind) for part in parts} == {DecisionCode.INDICATIVE}
    # It is firm where each of its legs alone would be.
    assert (whole.kind == DecisionCode.QUOTE) == (
        edge is None or all(firm_alone(engine, t, each, edge, ratio) for each, _, ratio in legs)
    )
    # Its threshold is theirs together: the edge where it is larger, else the sum of the legs' own.
    ticks = [float(engine.instruments[part.instrument].tick_size) for part in parts]
    worth = sum(
        ratio * tick * part.h_ticks for (_, _, ratio), tick, part in zip(legs, ticks, parts, strict=True)
    )
    assert whole.h_ticks * ticks[-1] == pytest.approx(worth)
    own = {ETH: 0.1, BTC: 0.5, SOL: 0.02}
    assert worth == pytest.approx(max(edge or 0.0, sum(own[i] * ratio for i, _, ratio in legs)), rel=1e-6)
    assert requests[0].flags & RequestFlags.FIRST_LEG
    assert requests[-1].flags & RequestFlags.LAST_LEG


MODES = {
    "tolerance": "{mode: tolerance, value: {relationship_in_h: R}}",
    "curve": "{mode: tolerance, tolerance_source: curve, value: {relationship_in_h: R}}",
    "step": "{mode: step, value: {relationship_in_h: R}}",
    "refuse": "{mode: tolerance, value: {relationship_in_h: R}}",
    "value": "{mode: expected_value, life_min: 50ms, value: {relationship_in_h: R, inventory_weight: 0.2}}",
}
TIERS = """
tiers:
  strategic: {posture: client_priority, value: {informed_share: 0.02, loss_in_h: 1.0}}
  toxic: {posture: risk_averse, value: {informed_share: 0.4, loss_in_h: 1.5, adverse_share: 0.5}}
counterparties:
  alpha: {tier: strategic}
  beta: {tier: toxic}
"""


@pytest.fixture(scope="module")
def in_modes(tmp_path_factory: pytest.TempPathFactory) -> dict[str, tuple[Engine, int]]:
    """An engine for each mode; relationship value falls with care. One that knows positions, of either sign."""
    engines = {}
    for mode, posture in MODES.items():
        before, after = TEXT.split("tiers:")[0], TEXT[TEXT.index("desks:") :]
        before = before.replace(", adverse_bps: 5", "").replace(", adverse_ticks: 2", "")
        before = before.replace("warmup: 1s", "warmup: 1s, adverse_ticks: 8")
        names = ("client_priority", "liquidity_provider", "risk_averse")
        lines = [
            f"  {name}: {posture.replace('R', str(rho))}"
            for name, rho in zip(names, (0.5, 0.1, 0.1), strict=True)
        ]
        text = before + TIERS + after + "postures:\n" + "\n".join(lines) + "\n"
        if mode == "refuse":
            text += "defaults: {price_bounds: {negative_edge: refuse}}\n"
        engine = Engine(make_config(tmp_path_factory.mktemp(mode), text), start_ns=T0)
        t = warm(engine)[1]
        engines[mode] = (engine, t)
        if mode == "value":
            known = Engine(engine.config, start_ns=T0)
            warm(known)
            for instrument, share in ((ETH, 0.8), (BTC, -0.5), (SOL, 0.3)):
                known.on_signal(SignalCode.INVENTORY, receive_ns=t, source_ns=t, value=share, value2=1.0,
                                instrument=instrument, desk=0)  # fmt: skip
            engines["value with positions"] = (known, t)
    return engines


@pytest.mark.parametrize("mode", [*MODES, "value with positions"])
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None, max_examples=300)
@given(
    legs=st.lists(FRECHET_LEGS, min_size=1, max_size=5),
    more=FRECHET_LEGS,
    place=st.integers(0, 5),
    edge=EDGES,
    posture=st.sampled_from([1, 2, 3]),
    counterparty=st.sampled_from(["alpha", "beta"]),
)
def test_a_further_leg_never_lengthens_the_life(
    in_modes: dict[str, tuple[Engine, int]],
    mode: str,
    legs: list[tuple[int, int, float]],
    more: tuple[int, int, float],
    place: int,
    edge: float | None,
    posture: int,
    counterparty: str,
) -> None:
    engine, t = in_modes[mode]
    desk = engine.policy.desk_index("main")

    def answer(package: list[tuple[int, int, float]]) -> DecisionRecord:
        _, decisions = decide(
            engine,
            [leg(instrument, side, t, ratio, package_edge=edge, posture=posture, desk=desk,
                 counterparty=engine.policy.counterparty_index(counterparty))
             for instrument, side, ratio in package],
        )  # fmt: skip
        return decisions[-1]

    without, whole = answer(legs), answer([*legs[:place], more, *legs[place:]])
    assert whole.life_ns <= without.life_ns
    assert all(a >= b - 1e-12 for a, b in zip(whole.p, without.p, strict=True))


@pytest.mark.parametrize("mode", ["tolerance", "value", "value with positions"])
def test_an_edge_is_held_against_the_smallest_leg(in_modes: dict[str, tuple[Engine, int]], mode: str) -> None:
    """What one leg gives away is not made good by what another's trade would be worth."""
    engine, t = in_modes[mode]
    desk, alpha = engine.policy.desk_index("main"), engine.policy.counterparty_index("alpha")

    def life(*legs: tuple[int, float], edge: float) -> tuple[int, int]:
        decision = decide(
            engine,
            [leg(each, 1, t, ratio, package_edge=edge, posture=1, desk=desk, counterparty=alpha)
             for each, ratio in legs],
        )[1][-1]  # fmt: skip
        return decision.life_ns, decision.reasons & ReasonFlags.EDGE_TOO_SMALL

    shortest = 250 * MS if mode == "tolerance" else 0
    # 0.08 is the threshold of one SOL, 4 that of one BTC; half of it is relationship value.
    assert life((SOL, 1.0), edge=-0.039)[1] == 0
    for edge in (-0.04 * 1.001, -0.079):
        assert life((SOL, 1.0), edge=edge) == (shortest, ReasonFlags.EDGE_TOO_SMALL)
        assert life((BTC, 1.0), edge=edge)[0] > shortest
        for legs in (
            ((SOL, 1.0), (BTC, 1.0)),
            ((BTC, 1.0), (SOL, 1.0)),
            ((BTC, 1.0), (ETH, 1.0), (SOL, 1.0)),
        ):
            assert life(*legs, edge=edge) == (shortest, ReasonFlags.EDGE_TOO_SMALL)
    for edge, wanted in ((-0.081, 0), (-0.079, shortest)):
        assert life((BTC, 1.0), (SOL, 1.0), edge=edge)[0] == wanted
    larger = life((BTC, 1.0), (SOL, 3.0), edge=-0.081)
    assert larger[1] == 0 and (larger[0] > shortest or mode == "value with positions"), (
        "0.3 of a limit, times 4"
    )


def test_by_value_the_largest_position_of_the_legs_counts(in_modes: dict[str, tuple[Engine, int]]) -> None:
    """ETH bought adds to a long position of 0.8, BTC sold to a short one; the other way they unwind it."""
    engine, t = in_modes["value with positions"]
    blank = in_modes["value"][0]
    desk = engine.policy.desk_index("main")

    def worth(which: Engine, *legs: tuple[int, int]) -> float:
        made = [leg(each, side, t, package_edge=0.3, posture=1, desk=desk) for each, side in legs]
        return decide(which, made)[1][-1].expected_value_ticks

    adds, unwinds, mixed = ((ETH, 1), (BTC, -1)), ((ETH, -1), (BTC, 1)), ((ETH, 1), (BTC, 1))
    assert worth(engine, *adds) < worth(blank, *adds)
    assert worth(engine, *mixed) == worth(engine, *adds) < worth(blank, *mixed)
    assert worth(engine, *unwinds) > worth(blank, *unwinds)


def test_a_leg_without_a_book_is_the_worst_case(warmed: tuple[Engine, int]) -> None:
    engine, t = warmed
    requests, decisions = decide(engine, [leg(ETH, 1, t), leg(CALL_A, -1, t)])
    assert [DecisionCode(each.kind) for each in decisions] == [DecisionCode.DECLINE] * 3
    assert decisions[-1].reasons & ReasonFlags.DATA_NOT_GOOD
    assert decisions[-1].quality == QualityCode.WARMING
    assert [each.own_quality for each in requests[:2]] == [QualityCode.GOOD, QualityCode.WARMING]


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(
    ratios=st.tuples(st.floats(0.1, 5), st.floats(0.1, 5)),
    deltas=st.tuples(DELTAS, DELTAS),
    gammas=st.tuples(st.floats(0, 0.5), st.floats(0, 0.5)),
    vegas=st.tuples(st.floats(0, 5), st.floats(0, 5)),
    sides=st.tuples(st.sampled_from([1, -1]), st.sampled_from([1, -1])),
    edge=EDGES,
)
def test_greeks_put_the_package_on_its_underlying(
    warmed: tuple[Engine, int],
    ratios: tuple[float, float],
    deltas: tuple[float, float],
    gammas: tuple[float, float],
    vegas: tuple[float, float],
    sides: tuple[int, int],
    edge: float | None,
) -> None:
    engine, t = warmed
    given_legs = [
        leg(
            instrument, side, t, ratio, delta=delta, gamma=gamma, vega=vega, underlying=ETH, package_edge=edge
        )
        for instrument, side, ratio, delta, gamma, vega in zip(
            (CALL_A, CALL_B), sides, ratios, deltas, gammas, vegas, strict=True
        )
    ]
    wanted = twin.by_greeks(
        [
            twin.Leg(side, ratio, 0.05, 1.0, delta, gamma, vega)
            for side, ratio, delta, gamma, vega in zip(sides, ratios, deltas, gammas, vegas, strict=True)
        ],
        edge=edge or 0.0,
        share=0.05,
        volatility_points=0.01,
        residual_ticks=0.1,
    )
    requests, (*parts, whole) = decide(engine, given_legs)
    assert [part.h_ticks for part in parts] == [0.0, 0.0]
    assert whole.instrument == ETH
    if whole.reasons & ReasonFlags.EDGE_CAPPED:
        return
    assert bool(requests[-1].flags & RequestFlags.RESIDUAL) == wanted.neutral
    assert whole.side == wanted.side
    assert whole.h_ticks * 0.1 == pytest.approx(wanted.h, rel=1e-9)
    sigma = whole.sigma_ticks * 0.1
    if wanted.neutral:
        expected = twin.first_passage(wanted.h, float(np.hypot(wanted.net * sigma, wanted.residual)))
    else:
        curves = [twin.first_passage(wanted.h, each) for each in (sigma, wanted.residual)]
        expected = twin.frechet(curves)[1]
    assert whole.p == pytest.approx(expected, rel=1e-9, abs=1e-12)
    lost = -(edge or 0.0) * (1.0 if wanted.neutral else 1.0 / abs(wanted.net))
    assert (whole.kind == DecisionCode.QUOTE) == (lost < max(wanted.h, whole.spread_ticks * 0.1))


def test_the_golden_model_s_answer_on_the_underlying_is_the_package_s(tmp_path: Path) -> None:
    """A thousand call spreads of a strategic client, in a calm market: the life of the underlying."""
    engine = Engine(
        make_config(tmp_path, TEXT.replace("artifact: first_passage", "artifact: golden")), start_ns=T0
    )
    _, t = warm(engine)
    counterparty = engine.policy.counterparty_index("alpha")
    legs = option_spread(t, sides=(-1, 1), package_side=-1, counterparty=counterparty, size_lots=1000.0)
    whole = decide(engine, legs)[1][-1]
    single = ask(engine, t, -1, ETH, counterparty=counterparty, size_lots=whole_size(engine))
    assert (whole.instrument, whole.side, whole.posture_effective) == (ETH, -1, PostureCode.CLIENT_PRIORITY)
    assert whole.p_ref == pytest.approx(0.005, rel=1e-9)
    assert whole.p_ref == single.p_ref
    assert whole.p == pytest.approx(single.p, abs=1e-8)  # the rest comes in after seconds
    assert whole.life_ns == single.life_ns


def whole_size(engine: Engine) -> float:
    """A thousand times a net delta of 0.2, in lots of the underlying."""
    return 1000 * 0.2 / float(engine.instruments[ETH].lot_size)


def test_either_side_of_a_spread_fears_its_own_move(warmed: tuple[Engine, int]) -> None:
    engine, t = warmed
    bought = decide(engine, option_spread(t))[1][-1]
    sold = decide(engine, option_spread(t, sides=(-1, 1), package_side=-1))[1][-1]
    assert (bought.side, sold.side) == (1, -1)
    assert sold.h_ticks < bought.h_ticks  # it is short gamma


def publish(engine: Engine, instrument: int, t: int, delta: float, vega: float = 0.0, ttl_ns: int = 0,
            underlying: str = "") -> None:  # fmt: skip
    source = name_hash(underlying) if underlying else 0
    for kind, value in ((SignalCode.DELTA_GAMMA, delta), (SignalCode.VEGA_THETA, vega)):
        engine.on_signal(
            kind, receive_ns=t, source_ns=t, value=value, instrument=instrument, ttl_ns=ttl_ns, source=source
        )


def test_published_greeks_serve_while_they_hold(engine: Engine) -> None:
    _, t = warm(engine, 5)
    publish(engine, CALL_A, t, 0.5, 0.3, ttl_ns=S)
    publish(engine, CALL_B, t, 0.3, 0.2, underlying="ETH")

    def spread(at: int) -> DecisionRecord:
        return decide(engine, [leg(CALL_A, 1, at), leg(CALL_B, -1, at)])[1][-1]

    fresh = spread(t + MS)
    assert (fresh.instrument, fresh.kind) == (ETH, DecisionCode.QUOTE)
    by_request = decide(
        engine,
        [leg(CALL_A, 1, t + MS, delta=0.5, vega=0.3, underlying=ETH),
         leg(CALL_B, -1, t + MS, delta=0.3, vega=0.2, underlying=ETH)],
    )[1][-1]  # fmt: skip
    assert by_request.canonical()[8:] == fresh.canonical()[8:]
    late = spread(t + 2 * S)  # the first leg's have run out, and it has no book
    assert (late.instrument, late.kind) == (CALL_B, DecisionCode.DECLINE)


def test_the_underlying_itself_is_a_leg_of_delta_one(warmed: tuple[Engine, int]) -> None:
    engine, t = warmed
    requests, decisions = decide(engine, [leg(CALL_A, 1, t, 2.0, delta=0.5, underlying=ETH), leg(ETH, -1, t)])
    assert requests[-1].flags & RequestFlags.RESIDUAL
    assert requests[1].delta == 1.0
    assert decisions[-1].kind == DecisionCode.QUOTE
    assert decisions[-1].model_role == 0


def test_legs_of_two_underlyings_are_judged_by_their_books(warmed: tuple[Engine, int]) -> None:
    engine, t = warmed
    requests, decisions = decide(
        engine, [leg(SOL, 1, t, delta=0.5, underlying=ETH), leg(BTC, -1, t, delta=0.5, underlying=SOL)]
    )
    assert not requests[-1].flags & (RequestFlags.ON_UNDERLYING | RequestFlags.RESIDUAL)
    assert decisions[-1].p == pytest.approx(twin.frechet([each.p for each in decisions[:2]])[1])


def test_premium_in_the_underlying_is_turned_by_its_price(warmed: tuple[Engine, int]) -> None:
    engine, t = warmed
    _, decisions = decide(
        engine,
        [leg(COIN_A, 1, t, delta=0.5, underlying=ETH), leg(COIN_A, 1, t, delta=0.25, underlying=ETH)],
    )
    spot = decisions[-1].reference_ticks * 0.1
    assert decisions[-1].h_ticks * 0.1 == pytest.approx(2 * 0.0005 * spot / 0.75)


def test_an_underlying_that_is_not_good_declines(engine: Engine) -> None:
    tape, t = warm(engine, 5)
    assert decide(engine, option_spread(t))[1][-1].kind == DecisionCode.QUOTE
    tape.event(EventKindCode.CLEAR, t, ETH, flags=EventFlags.LAST | EventFlags.GAP)
    whole = decide(engine, option_spread(t))[1][-1]
    assert whole.kind == DecisionCode.DECLINE
    assert whole.quality == QualityCode.GAPPED


def test_the_worst_regime_of_the_legs_holds_for_all(engine: Engine) -> None:
    _, t = warm(engine, 5)
    counterparty = engine.policy.counterparty_index("alpha")

    def package() -> list[DecisionRecord]:
        return decide(engine, [leg(i, 1, t, counterparty=counterparty) for i in (ETH, BTC)])[1]

    assert {each.posture_effective for each in package()} == {PostureCode.CLIENT_PRIORITY}
    engine.on_signal(SignalCode.NEWS, receive_ns=t, source_ns=t, value=-1.0, instrument=BTC)
    assert {each.posture_effective for each in package()} == {PostureCode.RISK_AVERSE}
    assert {each.regime for each in package()} == {RegimeCode.STRESS}


def test_a_package_is_one_act_for_the_throttle(engine: Engine) -> None:
    _, t = warm(engine, 5)
    counterparty = engine.policy.counterparty_index("alpha")
    kinds = [
        decide(engine, [leg(i, 1, t, counterparty=counterparty) for i in (ETH, BTC, SOL)])[1][-1].reasons
        & ReasonFlags.THROTTLED
        for _ in range(3)
    ]
    assert [bool(each) for each in kinds] == [False, False, True]


def test_a_kill_declines_every_record(engine: Engine) -> None:
    _, t = warm(engine, 5)
    engine.kill(t, reason="test")
    assert {each.kind for each in decide(engine, option_spread(t))[1]} == {DecisionCode.DECLINE}


def test_a_far_price_is_no_firm_quote(warmed: tuple[Engine, int]) -> None:
    engine, t = warmed
    mids = [ask(engine, t, 1, each).mid_ticks for each in (ETH, BTC)]
    value = mids[0] * 0.1 - mids[1] * 0.5
    for price, kind in ((value - 0.5, DecisionCode.QUOTE), (value - 50, DecisionCode.DECLINE)):
        _, decisions = decide(
            engine, [leg(ETH, 1, t, package_price=price), leg(BTC, -1, t, package_price=price)]
        )
        assert decisions[-1].kind == kind
    assert decisions[-1].reasons & ReasonFlags.PRICE_FAR


@pytest.fixture(scope="module")
def by_value(tmp_path_factory: pytest.TempPathFactory) -> tuple[Engine, int]:
    text = TEXT + "postures: {liquidity_provider: {mode: expected_value}}\n"
    engine = Engine(make_config(tmp_path_factory.mktemp("value"), text), start_ns=T0)
    return engine, warm(engine)[1]


@pytest.mark.parametrize("edge", [0.5, 1.0])
def test_by_value_the_package_s_own_edge_and_threshold_count(
    by_value: tuple[Engine, int], edge: float
) -> None:
    engine, t = by_value
    requests, decisions = decide(
        engine, [leg(ETH, 1, t, package_edge=edge), leg(SOL, 1, t, 2.0, package_edge=edge)]
    )
    whole, tick = decisions[-1], 0.01
    assert whole.mode == ModeCode.EXPECTED_VALUE
    assert whole.edge_ticks == pytest.approx(edge / tick)
    assert whole.h_ticks == pytest.approx(edge / tick)  # above 0.1 + 2 · 0.02
    terms = engine.config.postures.liquidity_provider.value
    value = ExpectedValue(engine.config.defaults.value, terms)
    assert whole.kind == DecisionCode.QUOTE
    assert whole.expected_value_ticks == pytest.approx(
        value.value(whole.p, edge_ticks=edge / tick, h_ticks=whole.h_ticks, tau_ns=whole.life_ns)
    )
    again = DecisionRecord()
    for request, decision in zip(requests, decisions, strict=True):
        engine.redo(request, decision, again)
        assert again.canonical() == decision.canonical()


@pytest.mark.parametrize("by_greeks", [False, True])
def test_a_watched_package_is_withdrawn_by_the_market_it_was_judged_on(
    engine: Engine, by_greeks: bool
) -> None:
    tape, t = warm(engine, 5)
    legs = option_spread(t) if by_greeks else [leg(ETH, 1, t), leg(SOL, -1, t)]
    requests, decisions = decide(engine, legs)
    quote = engine.watch(t, owner="oms", name="q1", requests=requests, decisions=decisions)
    sides = engine.live_quote(quote).sides
    names = [engine.instruments[each[0]].name for each in sides]
    assert names == (["ETH"] if by_greeks else ["ETH", "SOL"])
    assert engine.live_quote(quote).expiry_ns == decisions[-1].expiry_ns
    bid = int(decisions[-1].mid_ticks - 1) if by_greeks else int(decisions[0].mid_ticks - 1)
    moves = [(SideCode.BID, bid + 1 - k, 0) for k in range(4)]
    tape.diff(t + MS, [*moves, (SideCode.ASK, bid - 2, 10)], ETH)
    status = engine.live_quote(quote)
    assert status.withdraw == WithdrawCode.ADVERSE_MOVE


PACKAGES: dict[str, Any] = {
    "frechet": lambda t: [leg(ETH, 1, t, package_edge=0.9), leg(BTC, -1, t, 2.0, package_edge=0.9)],
    "aged": lambda t: [leg(ETH, 1, t, priced_at_ns=t - 200 * MS), leg(SOL, 1, t, priced_at_ns=t - 200 * MS)],
    "greeks": lambda t: option_spread(t, package_edge=0.3, priced_at_ns=t - 200 * MS, size_lots=10.0),
    "published": lambda t: [leg(CALL_A, -1, t, 3.0), leg(CALL_B, 1, t)],
    "neutral": lambda t: [leg(CALL_A, 1, t, 2.0, delta=0.5, vega=2.0, underlying=ETH), leg(ETH, -1, t)],
    "no book": lambda t: [leg(ETH, 1, t), leg(COIN_A, 1, t)],
}


@pytest.mark.parametrize("name", PACKAGES)
def test_every_record_can_be_taken_again(config: Config, name: str) -> None:
    """By itself from the record; and, fed one by one, by an engine that has seen the same market."""
    first, second = Engine(config, start_ns=T0), Engine(config, start_ns=T0)
    t = 0
    for engine in (first, second):
        _, t = warm(engine, 5)
        publish(engine, CALL_A, t, 0.5, 0.3)
        publish(engine, CALL_B, t, 0.3, 0.2)
    requests, decisions = decide(first, PACKAGES[name](t))
    again = DecisionRecord()
    for request, decision in zip(requests, decisions, strict=True):
        first.redo(request, decision, again)
        assert again.canonical() == decision.canonical()
        second.decide(request, again)
        assert again.canonical() == decision.canonical()
    refilled = second.package_requests(requests[:-1], decisions[:-1])
    assert [each.canonical() for each in refilled] == [each.canonical() for each in requests]
    assert [each.input_sequence for each in decisions] == list(
        range(decisions[0].input_sequence, decisions[0].input_sequence + len(decisions))
    )


@pytest.mark.parametrize(
    ("legs", "words"),
    [
        ([], "1 to 16 legs"),
        ([RequestRecord(0, 1, now_ns=T0)], "needs a ratio"),
        ([leg(0, 1, T0), leg(1, 1, T0 + 1)], "at one time"),
        ([leg(0, 1, T0), leg(99, 1, T0)], "unknown instrument"),
        ([leg(0, 1, T0), leg(1, 1, T0, delta=0.1, underlying=99)], "underlying"),
    ],
)
def test_legs_that_make_no_package_are_refused(engine: Engine, legs: list[RequestRecord], words: str) -> None:
    before = engine.input_sequence
    with pytest.raises(ValueError, match=words):
        decide(engine, legs)
    assert engine.input_sequence == before


def test_too_few_decisions_are_refused(engine: Engine) -> None:
    with pytest.raises(ValueError, match="takes 3 decisions"):
        engine.decide_package([leg(0, 1, T0), leg(1, 1, T0)], [DecisionRecord()])


@pytest.mark.parametrize("ratio", [0.0, -1.0, float("nan"), float("inf")])
def test_a_ratio_must_be_above_0(ratio: float) -> None:
    with pytest.raises(ValueError, match="ratio"):
        leg(0, 1, T0, ratio)


def test_configured_underlyings_are_held_against_the_instruments(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="underlying"):
        make_config(tmp_path, TEXT.replace("underlying: ETH,", "underlying: ETHX,"))
