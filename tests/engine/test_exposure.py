"""Caps on what live quotes may lose: sums that follow from the quotes, lives that shorten, and then no quote."""

import json
import math
import random
from pathlib import Path
from typing import Any

import pytest

from quotelife.config import Config
from quotelife.engine import Engine
from quotelife.errors import QuotelifeError
from quotelife.inputs import Change, InputTap
from quotelife.model.curve import probability_at
from quotelife.records import (
    BindingFlags,
    DecisionCode,
    DecisionRecord,
    QuoteStateCode,
    ReasonFlags,
    RequestRecord,
)
from reference.live_quotes_kit import MS, Market, S, config_of


def capped(
    tmp_path: Path,
    *,
    instrument: float | None = None,
    desk: float | None = None,
    life_min: str | None = None,
) -> Config:
    content = config_of(tmp_path).model_dump(mode="json", by_alias=True)
    for posture in content["postures"].values() if life_min else ():
        posture["life_min"] = life_min
    content["instruments"][0]["exposure_max"] = instrument
    content["desks"]["main"]["exposure_max"] = desk
    content["watch"]["forget"] = "1s"
    return Config.model_validate_json(json.dumps(content))


def at_risk(market: Market, quotes: dict[int, dict[str, Any]], now_ns: int) -> float:
    """Recomputed from what each quote was registered with."""
    engine = market.engine
    total = 0.0
    for status in engine.live_quotes():
        if status.state <= QuoteStateCode.PARTLY_FILLED or (
            status.state == QuoteStateCode.WITHDRAWN and not status.acknowledged
        ):
            size = 1.0 if math.isnan(status.size_lots) else status.size_lots
            for h, edge, p in quotes[status.quote]:
                loss = max(0.0, engine.config.tiers["strategic"].value.loss_in_h * h - edge)
                total += size * loss * 0.1 * 0.001 * probability_at(p, status.expiry_ns - now_ns)
    return total


def test_the_sum_is_that_of_the_live_quotes_whatever_happens(tmp_path: Path) -> None:
    market = Market(capped(tmp_path))
    engine, rng = market.engine, random.Random(3)
    made: dict[int, Any] = {}
    for k in range(300):
        edge = rng.choice([None, 1.0, 4.0])
        request, decision = market.decide(0, rng.choice((1, -1)), size_lots=rng.choice([None, 5.0, 40.0]),
                                          edge_ticks=edge, desk=0)  # fmt: skip
        if decision.kind == DecisionCode.QUOTE:
            id = engine.watch(market.t, owner="oms", name=f"{k}", requests=[request], decisions=[decision])
            made[id] = [(decision.h_ticks, edge or 0.0, decision.p)]
        if made and rng.random() < 0.3:
            state = rng.choice([QuoteStateCode.PARTLY_FILLED, QuoteStateCode.FILLED])
            engine.watch_updated(market.t, rng.choice(list(made)), state, size_lots=2.0)
        market.t += rng.randrange(40 * MS)
        market.move(0, rng.choice((-1, 0, 0, 1)))
        engine.on_timer(market.t)  # goes through all of them
        market.t += 60 * MS
        engine.on_timer(market.t)
        (by_instrument, by_desk) = engine.watching.exposures()
        assert by_instrument[0] == pytest.approx(at_risk(market, made, market.t), rel=1e-9, abs=1e-12)
        assert by_desk[0] == pytest.approx(by_instrument[0], rel=1e-9, abs=1e-12)
    assert len(made) > 200
    engine.watch_lost(market.t, "oms")
    assert engine.watching.exposures()[0][0] > 0, "nobody has said that they cannot be hit any more"
    for status in engine.live_quotes():
        engine.watch_acknowledged(market.t, status.quote)
    assert engine.watching.exposures() == ([0.0, 0.0], [0.0])


@pytest.mark.parametrize("which", ["instrument", "desk"])
def test_lives_shorten_then_nothing_is_quoted_and_the_cap_holds(tmp_path: Path, which: str) -> None:
    free = Market(capped(tmp_path)).decide(0, 1, size_lots=100.0, desk=0)[1]
    loss = Market(capped(tmp_path)).engine.config.tiers["strategic"].value.loss_in_h * free.h_ticks
    cap = 2.5 * 100.0 * loss * 1e-4 * free.p_life
    market = Market(capped(tmp_path, **{which: cap}))
    kinds = []
    for k in range(8):
        request, decision = market.decide(0, 1, size_lots=100.0, desk=0)
        assert decision.life_ns <= free.life_ns
        blank = Engine(market.engine.config)
        again = DecisionRecord()
        blank.redo(request, decision, again)
        assert again.canonical() == decision.canonical(), "it follows from its record"
        if decision.kind == DecisionCode.QUOTE:
            kinds.append("cut" if decision.binding & BindingFlags.EXPOSURE else "whole")
            market.engine.watch(market.t, owner="oms", name=f"{k}", requests=[request], decisions=[decision])
        else:
            assert decision.reasons & ReasonFlags.EXPOSURE and decision.binding & BindingFlags.EXPOSURE
            kinds.append("none")
        exposed = market.engine.watching.exposures()[0][0]
        assert exposed <= cap * (1 + 1e-9)
    assert kinds[:3] == ["whole", "whole", "cut"] and kinds[-1] == "none"
    other = market.decide(1, 1, size_lots=100.0, desk=0xFFFFFFFF)[1]
    assert other.kind == DecisionCode.QUOTE and math.isnan(other.exposure_room), "no cap of its own"
    market.t += 6 * S
    for instrument in (0, 1):
        market.move(instrument, 0)
    market.engine.on_timer(market.t)
    assert market.decide(0, 1, size_lots=100.0, desk=0)[1].life_ns > 0, "room again when they have ended"


@pytest.mark.parametrize("size", [math.inf, math.nan, -1.0, "much"])
def test_a_size_that_is_none_is_refused_wherever_it_comes_in(tmp_path: Path, size: Any) -> None:
    market = Market(capped(tmp_path, instrument=1.0))
    quote = market.watch(size_lots=5.0, desk=0)
    before, at = market.engine.watching.exposures(), market.engine.input_sequence
    if isinstance(size, float):
        with pytest.raises(ValueError, match="size_lots"):
            market.engine.watch_updated(market.t, quote, QuoteStateCode.PARTLY_FILLED, size_lots=size)
        with pytest.raises(ValueError, match="size_lots"):
            market.decide(0, 1, size_lots=size)
        with pytest.raises(ValueError, match="size_lots"):
            market.engine.decide_package(
                [RequestRecord(k, 1, now_ns=market.t, ratio=1.0, size_lots=size) for k in range(2)],
                [DecisionRecord() for _ in range(3)],
            )
    payloads: list[dict[str, Any]] = []
    market.engine.record_to(
        InputTap(lambda name, _, *rest: payloads.append(rest[1]) if name == "change" else None)
    )
    market.watch("q2", desk=0)
    (payload,) = payloads
    with pytest.raises(QuotelifeError, match="size_lots"):
        market.engine.apply_watch(
            Change.WATCHED, {**payload, "quote": 99, "name": "q99", "size_lots": size}, market.t
        )
    for field in ("mid_ticks", "h_ticks", "edge_ticks", "share"):
        sides = [{**payload["sides"][0], field: math.inf}]
        with pytest.raises(QuotelifeError, match=field):
            market.engine.apply_watch(
                Change.WATCHED, {**payload, "quote": 99, "name": "q99", "sides": sides}, market.t
            )
    assert len(market.engine.live_quotes()) == 2
    assert market.engine.watching.exposures()[0][0] > before[0][0] > 0 and market.engine.input_sequence > at


def test_a_size_beyond_all_bounds_hides_no_small_one(tmp_path: Path) -> None:
    market = Market(capped(tmp_path, instrument=1.0))
    engine = market.engine
    small = market.watch("small", size_lots=1.0, desk=0)
    alone = engine.watching.exposures()
    for k, size in enumerate((1e18, 1e15, 1e300)):
        large = market.watch(f"large {k}", size_lots=2.0, desk=0xFFFFFFFF)
        engine.watch_updated(market.t, large, QuoteStateCode.PARTLY_FILLED, size_lots=size)
        assert engine.watching.exposures()[0][0] > 1e9
        assert market.decide(0, 1, size_lots=1.0, desk=0)[1].kind == DecisionCode.DECLINE
        engine.watch_updated(market.t, large, QuoteStateCode.CANCELLED)
        assert engine.watching.exposures() == alone and alone[0][0] > 0
    engine.watch_updated(market.t, small, QuoteStateCode.FILLED)
    assert engine.watching.exposures() == ([0.0, 0.0], [0.0])


def test_with_the_cap_full_what_can_lose_nothing_passes(tmp_path: Path) -> None:
    content = capped(tmp_path, instrument=1e-9).model_dump(mode="json", by_alias=True)
    content["tiers"]["strategic"]["value"]["loss_in_h"] = 0.5
    market = Market(Config.model_validate_json(json.dumps(content)))
    quote = market.watch(size_lots=0.0, desk=0)
    market.engine.watch_updated(market.t, quote, QuoteStateCode.PARTLY_FILLED, size_lots=1e6)
    assert market.engine.watching.exposures()[0][0] > 1e-9
    for edge, size, kind in (
        (None, 1.0, DecisionCode.DECLINE),
        (None, 0.0, DecisionCode.QUOTE),
        (4.0, 1.0, DecisionCode.QUOTE),  # as much as is lost
    ):
        decision = market.decide(0, 1, edge_ticks=edge, size_lots=size, desk=0)[1]
        assert decision.exposure_room < 0
        assert decision.kind == kind, (edge, size, decision.h_ticks, decision.edge_ticks)
        assert bool(decision.reasons & ReasonFlags.EXPOSURE) == (kind == DecisionCode.DECLINE)


def risk_of(market: Market, quote: int, decision: DecisionRecord, left_ns: int, lots: float = 1.0) -> float:
    loss = market.engine.config.tiers["strategic"].value.loss_in_h * decision.h_ticks
    return lots * loss * 1e-4 * probability_at(decision.p, left_ns)


def test_a_withdrawn_quote_counts_until_that_is_acknowledged_or_it_has_ended(tmp_path: Path) -> None:
    market = Market(capped(tmp_path))
    engine = market.engine
    made = [market.decide(0, 1, size_lots=5.0, desk=0) for _ in range(3)]
    quotes = [
        engine.watch(market.t, owner="oms", name=f"{k}", requests=[request], decisions=[decision])
        for k, (request, decision) in enumerate(made)
    ]
    decision = made[0][1]
    engine.watch_acknowledged(market.t, quotes[0])  # of what was never said
    assert engine.watching.exposures()[0][0] == pytest.approx(
        3 * risk_of(market, quotes[0], decision, decision.life_ns, 5.0), rel=1e-12
    )
    market.t += 10 * MS
    market.move(0, -5)
    assert {engine.live_quote(quote).state for quote in quotes} == {QuoteStateCode.WITHDRAWN}
    left = risk_of(market, quotes[0], decision, decision.life_ns - 10 * MS, 5.0)
    for count, quote in zip((3, 2), quotes, strict=False):
        assert engine.watching.exposures()[0][0] == pytest.approx(count * left, rel=1e-9)
        assert engine.watching.exposures()[1][0] == engine.watching.exposures()[0][0]
        engine.watch_acknowledged(market.t, quote)
    assert not engine.live_quote(quotes[2]).acknowledged
    # What is left of it runs down as that of a live one does; then its venue has ended it.
    market.t += decision.life_ns // 2
    engine.on_timer(market.t)
    later = engine.watching.exposures()[0][0]
    assert 0 < later < left
    market.t += decision.life_ns
    engine.on_timer(market.t)
    assert engine.watching.exposures() == ([0.0, 0.0], [0.0])
    for quote in quotes:
        engine.watch_acknowledged(market.t, quote)
        engine.watch_updated(market.t, quote, QuoteStateCode.FILLED)
    assert engine.watching.exposures() == ([0.0, 0.0], [0.0])


def test_what_its_venue_holds_beyond_its_end_counts_until_it_is_cancelled(tmp_path: Path) -> None:
    content = capped(tmp_path).model_dump(mode="json", by_alias=True)
    content["venue_sessions"]["coarse"] |= {"cancels_per_s": 1, "cancels_burst": 1}
    content["watch"]["forget"] = "60s"
    market = Market(Config.model_validate_json(json.dumps(content)))
    engine = market.engine
    session = engine.policy.session_index("coarse")
    made = [market.decide(0, 1, size_lots=1.0 + k, session=session, desk=0) for k in range(3)]
    quotes = [
        engine.watch(market.t, owner="oms", name=f"{k}", requests=[request], decisions=[decision])
        for k, (request, decision) in enumerate(made)
    ]
    decision = made[0][1]
    market.t = decision.expiry_ns + MS
    for instrument in (0, 1):
        market.move(instrument, 0)
    engine.on_timer(market.t)
    market.t += 60 * MS
    engine.on_timer(market.t)
    states = [engine.live_quote(quote) for quote in quotes]
    assert [status.waiting for status in states].count(True) == 2
    said = next(quote for quote in quotes if not engine.live_quote(quote).waiting)
    before = engine.watching.exposures()[0][0]
    least = sum(risk_of(market, quote, decision, 100 * MS, 1.0 + k) for k, quote in enumerate(quotes))
    assert before > least > 0, "those that wait count for as long as their turn may take"
    engine.watch_acknowledged(market.t, said)
    after = engine.watching.exposures()[0][0]
    assert before - after == pytest.approx(
        risk_of(market, said, decision, 100 * MS, 1.0 + quotes.index(said)), rel=1e-9
    )
    for _ in range(3):
        market.t += S
        engine.on_timer(market.t)
        assert engine.watching.exposures()[0][0] > 0
    market.t += 60 * MS
    engine.on_timer(market.t)
    rest = [(k, quote) for k, quote in enumerate(quotes) if quote != said]
    assert [engine.live_quote(quote).state for _, quote in rest] == [QuoteStateCode.WITHDRAWN] * 2
    assert engine.watching.exposures()[0][0] == pytest.approx(
        sum(risk_of(market, quote, decision, 100 * MS, 1.0 + k) for k, quote in rest), rel=1e-9
    )
    for _, quote in rest:
        engine.watch_acknowledged(market.t, quote)
    assert engine.watching.exposures() == ([0.0, 0.0], [0.0])


def test_of_a_lost_watch_nobody_may_cancel_what_its_venue_holds(tmp_path: Path) -> None:
    market = Market(capped(tmp_path))
    engine = market.engine
    made = [
        market.decide(0, 1, session=engine.policy.session_index(name), desk=0) for name in ("coarse", "slow")
    ]
    for k, (request, decision) in enumerate(made):
        engine.watch(market.t, owner="oms", name=f"{k}", requests=[request], decisions=[decision])
    (_, held), (_, given) = made
    assert held.venue_life_ns == 60 * S and held.life_ns < 10 * S
    market.t += 10 * MS
    engine.watch_lost(market.t, "oms")
    expected = risk_of(market, 0, held, 60 * S - 10 * MS) + risk_of(market, 1, given, given.life_ns - 10 * MS)
    assert engine.watching.exposures()[0][0] == pytest.approx(expected, rel=1e-9)
    assert risk_of(market, 0, held, 60 * S) > 1.5 * risk_of(market, 0, held, held.life_ns)


BY_LEGS: dict[str, Any] = {
    "legs": [(0, 1, 2.0, {}), (1, -1, 1.0, {})],
    "underlying": [(1, 1, 1.0, {"delta": 0.5, "underlying": 0}), (0, 1, 0.1, {})],
    "residual": [(1, 1, 2.0, {"delta": 0.5, "vega": 30.0, "underlying": 0}), (0, -1, 1.0, {})],
}


@pytest.mark.parametrize("sized", [False, True])
@pytest.mark.parametrize("edge", [None, 0.3])
@pytest.mark.parametrize("route", BY_LEGS)
def test_a_package_counts_as_what_it_was_held_against_the_caps_with(
    tmp_path: Path, route: str, edge: float | None, sized: bool
) -> None:
    """3 packages, or one lot of what it was judged on."""

    def legs(market: Market) -> list[RequestRecord]:
        return [
            RequestRecord(instrument, side, now_ns=market.t, ratio=ratio, package_edge=edge, counterparty=0, desk=0,
                          size_lots=3.0 * ratio / 0.001 if sized else None, **more)
            for instrument, side, ratio, more in BY_LEGS[route]
        ]  # fmt: skip

    def decide(market: Market) -> tuple[list[RequestRecord], list[DecisionRecord]]:
        decisions = [DecisionRecord() for _ in range(3)]
        return market.engine.decide_package(legs(market), decisions), decisions

    free = Market(capped(tmp_path))
    requests, decisions = decide(free)
    whole = decisions[-1]
    assert whole.kind == DecisionCode.QUOTE and math.isnan(whole.exposure_room)
    free.engine.watch(free.t, owner="oms", name="q", requests=requests, decisions=decisions)
    counted = free.engine.watching.exposures()
    loss = free.engine.config.tiers["strategic"].value.loss_in_h * whole.h_ticks - whole.edge_ticks
    tick_value = (1e-4, 1e-5)[whole.instrument]
    lots = requests[-1].size_lots if sized else requests[-1].delta if route == "underlying" else 1.0
    assert whole.p_life > 1e-4
    held = lots * loss * tick_value * whole.p_life
    if sized:
        by_package = 3.0 * loss * tick_value / 0.001 * (requests[-1].delta if route == "underlying" else 1.0)
        assert held == pytest.approx(by_package * whole.p_life, rel=1e-9)
    if route == "legs":
        assert all(each > 0 for each in counted[0])
        assert 0.4 * held < counted[1][0] <= held * (1 + 1e-9), "a leg by its own curve, the package by all"
    else:
        assert counted[0] == pytest.approx([held, 0.0], rel=1e-9)
    assert counted[1][0] == pytest.approx(sum(counted[0]), rel=1e-12)

    for which in ("instrument", "desk"):
        cap = 2.5 * counted[0 if which == "instrument" else 1][0]
        market, second = Market(capped(tmp_path, **{which: cap})), Market(capped(tmp_path, **{which: cap}))
        again = DecisionRecord()
        kinds = []
        for k in range(8):
            requests, decisions = decide(market)
            for request, decision in zip(requests, decisions, strict=True):
                second.engine.decide(request, again)  # one by one, as a replay does
                assert again.canonical() == decision.canonical()
            for request, decision in zip(requests, decisions, strict=True):
                Engine(market.engine.config).redo(request, decision, again)
                assert again.canonical() == decision.canonical(), "it follows from its record"
            whole = decisions[-1]
            if whole.kind == DecisionCode.QUOTE:
                kinds.append("cut" if whole.binding & BindingFlags.EXPOSURE else "whole")
                for each in (market, second):
                    each.engine.watch(
                        each.t, owner="oms", name=f"{k}", requests=requests, decisions=decisions
                    )
            else:
                assert whole.reasons & ReasonFlags.EXPOSURE
                kinds.append("none")
            exposed = market.engine.watching.exposures()
            assert (exposed[0][0] if which == "instrument" else exposed[1][0]) <= cap * (1 + 1e-9)
        assert kinds[0] == "whole" and kinds[-1] != "whole", (which, kinds)


@pytest.mark.parametrize("seed", range(4))
def test_sums_are_those_of_a_recount_whatever_comes_in(tmp_path: Path, seed: int) -> None:
    """To the last unit, over sessions of every kind; a configuration taken again counts anew."""
    content = capped(tmp_path).model_dump(mode="json", by_alias=True)
    content["venue_sessions"]["coarse"] |= {"cancels_per_s": 20, "cancels_burst": 1}
    config = Config.model_validate_json(json.dumps(content))
    market = Market(config)
    engine, rng = market.engine, random.Random(seed)
    sessions = [None, *range(2)]
    for k in range(400):
        market.t += rng.randrange(30 * MS)
        act = rng.randrange(8)
        known = [status.quote for status in engine.live_quotes()]
        quote = rng.choice(known) if known else 0
        if act <= 2:
            session = rng.choice(sessions)
            made = [
                market.decide(rng.randrange(2), side, size_lots=rng.choice([None, 0.0, 7.0]), desk=0,
                              **({} if session is None else {"session": session}))
                for side in rng.choice([(1,), (-1,), (1, -1)])
            ]  # fmt: skip
            if all(decision.kind == DecisionCode.QUOTE for _, decision in made):
                engine.watch(market.t, owner=f"oms{k % 2}", name=f"{k}", requests=[request for request, _ in made],
                             decisions=[decision for _, decision in made])  # fmt: skip
        elif act == 3:
            market.move(rng.randrange(2), rng.choice((-5, -1, 1, 5)))
        elif act == 4:
            engine.watch_acknowledged(market.t, quote)
        elif act == 5:
            state = rng.choice(list(QuoteStateCode)[:-1]) or QuoteStateCode.PARTLY_FILLED
            engine.watch_updated(market.t, quote, state, size_lots=rng.choice([None, 0.0, 3.0, 1e18]))
        elif act == 6:
            engine.on_timer(market.t)
        elif rng.random() < 0.2:
            engine.watch_lost(market.t, f"oms{k % 2}")
        before = engine.watching.exposures()
        assert all(each >= 0.0 for part in before for each in part)
        if k % 10 == 0:
            engine.apply_config(config, market.t)
            assert engine.watching.exposures() == before
    assert engine.watching.counts().registered > 60
    for status in engine.live_quotes():
        engine.watch_updated(market.t, status.quote, QuoteStateCode.CANCELLED)
    assert engine.watching.exposures() == ([0.0, 0.0], [0.0])


def test_a_refused_registration_changes_nothing(tmp_path: Path) -> None:
    """It is no input, so a replay does not know of it."""

    def run(*, refused: bool) -> tuple[int, list[float], list[Any]]:
        market = Market(capped(tmp_path))
        market.watch("a", sides=((0, 1),))
        market.move(0, -4)
        for name in ("b", "c"):
            market.watch(name, sides=((1, 1),))
        content = market.engine.config.model_dump(mode="json", by_alias=True)
        content["watch"]["quotes_max"] = 2
        market.engine.apply_config(Config.model_validate_json(json.dumps(content)), market.t)
        request, decision = market.decide(1, 1)
        if refused:
            with pytest.raises(QuotelifeError, match="quotes_max"):
                market.engine.watch(market.t, owner="oms", name="d", requests=[request], decisions=[decision])
        engine = market.engine
        known = [(status.name, status.state) for status in engine.live_quotes()]
        return engine.input_sequence, engine.watching.exposures()[0], known

    with_refusal = run(refused=True)
    assert with_refusal == run(refused=False)
    assert with_refusal[1][0] > 0.0, "the one that is withdrawn can be hit until that is acknowledged"


def test_an_unacknowledged_withdrawal_is_not_forgotten_for_want_of_room(tmp_path: Path) -> None:
    content = capped(tmp_path).model_dump(mode="json", by_alias=True)
    content["watch"]["quotes_max"] = 2
    market = Market(Config.model_validate_json(json.dumps(content)))
    withdrawn = market.watch("a", sides=((0, 1),))
    market.move(0, -4)
    for name in ("b", "c"):
        market.watch(name, sides=((1, 1),))
    status = market.engine.live_quote(withdrawn)
    assert status is not None and not status.acknowledged
    assert market.engine.watch_acknowledged(market.t, withdrawn)


def test_a_lost_watch_counts_the_same_whether_it_was_withdrawn_before(tmp_path: Path) -> None:
    """Held by its venue, and nobody is there who would cancel it."""
    exposed = []
    for withdrawn in (False, True):
        market = Market(capped(tmp_path))
        market.watch("held", session=0, size_lots=1000.0)
        live = market.engine.watching.exposures()[0][0]
        if withdrawn:
            market.move(0, -4)
        market.engine.watch_lost(market.t, "oms")
        exposed.append(market.engine.watching.exposures()[0][0])
        assert exposed[-1] > 2 * live, "by the curve until its venue ends it"
    assert exposed[0] == pytest.approx(exposed[1], rel=1e-6)


TWO_WAYS: dict[str, Any] = {
    "single": None,
    "legs": [(0, 1, 2.0, {}), (1, -1, 1.0, {})],
    "one instrument": [(0, 1, 2.0, {}), (0, 1, 1.0, {})],
    "underlying": BY_LEGS["underlying"],
    "residual": BY_LEGS["residual"],
}


def two_way(
    market: Market, route: str, edges: tuple[float | None, float | None], size: float, first: int = 1
) -> tuple[list[RequestRecord], list[DecisionRecord], list[DecisionRecord]]:
    """Both sides as they are asked one behind the other; requests, decisions, and the answer of each side."""
    requests: list[RequestRecord] = []
    decisions: list[DecisionRecord] = []
    answers = []
    for place, (side, edge) in enumerate(zip((first, -first), edges, strict=True)):
        common: dict[str, Any] = {"two_way": True, "second_side": place > 0, "desk": 0, "counterparty": 0}
        if TWO_WAYS[route] is None:
            request, decision = market.decide(0, side, edge_ticks=edge, size_lots=size, **common)
            made, taken = [request], [decision]
        else:
            legs = [
                RequestRecord(instrument, side * way, now_ns=market.t, ratio=ratio, package_side=side,
                              package_edge=None if edge is None else 0.1 * edge, size_lots=size * ratio, **common,
                              **greeks)
                for instrument, way, ratio, greeks in TWO_WAYS[route]
            ]  # fmt: skip
            taken = [DecisionRecord() for _ in range(len(legs) + 1)]
            made = list(market.engine.decide_package(legs, taken))
        requests += made
        decisions += taken
        answers.append(taken[-1])
    return requests, decisions, answers


@pytest.mark.parametrize("which", ["instrument", "desk"])
@pytest.mark.parametrize("route", TWO_WAYS)
def test_both_sides_of_a_two_way_quote_together_pass_no_cap(tmp_path: Path, route: str, which: str) -> None:
    """Nor does any number of them, whatever is live already; each record follows from itself."""
    rng = random.Random(5)
    market = Market(capped(tmp_path, life_min="1ms"))
    free_requests, _, free = two_way(market, route, (None, None), 100.0)
    loss = market.engine.config.tiers["strategic"].value.loss_in_h * free[0].h_ticks
    tick_value = (1e-4, 1e-5)[free[0].instrument]
    size = free_requests[-1].size_lots or 0.0
    one = size * loss * tick_value * free[0].p_life
    kinds = {"cut": 0, "none": 0, "whole": 0}
    for share in (0.3, 1.7, 6.0):
        cap = one * share
        market = Market(capped(tmp_path, life_min="1ms", **{which: cap}))
        blank = Engine(market.engine.config)
        for k in range(12):
            edges = (rng.choice([None, 0.0, 2.0, 9.0, -0.5]), rng.choice([None, 0.0, 2.0, 9.0, -0.5]))
            requests, decisions, answers = two_way(
                market, route, edges, rng.choice([20.0, 100.0]), rng.choice((1, -1))
            )
            for answer in answers:
                firm = answer.kind == DecisionCode.QUOTE
                cut = bool(answer.binding & BindingFlags.EXPOSURE)
                kinds["cut" if firm and cut else "whole" if firm else "none"] += 1
            again = DecisionRecord()
            for request, decision in zip(requests, decisions, strict=True):
                blank.redo(request, decision, again)
                assert again.canonical() == decision.canonical()
            if any(answer.kind == DecisionCode.QUOTE for answer in answers):
                market.engine.watch(
                    market.t, owner="oms", name=f"{k}", requests=requests, decisions=decisions
                )
            by_instrument, by_desk = market.engine.watching.exposures()
            assert max(by_instrument[:1] if which == "instrument" else by_desk[:1]) <= cap * (1 + 1e-9)
    assert kinds["cut"] > 2 and kinds["whole"] > 2, kinds


@pytest.mark.parametrize("route", TWO_WAYS)
def test_sides_of_a_two_way_quote_share_a_cap_whatever_their_order(tmp_path: Path, route: str) -> None:
    free = two_way(Market(capped(tmp_path, life_min="1ms")), route, (None, None), 100.0)[2]
    assert free[0].life_ns == free[1].life_ns > 0
    market = Market(capped(tmp_path, life_min="1ms"))
    made = two_way(market, route, (None, None), 100.0)
    market.engine.watch(market.t, owner="oms", name="q", requests=made[0], decisions=made[1])
    taken = market.engine.watching.exposures()[1][0]
    lives = []
    for first, edges in ((1, (None, 4.0)), (-1, (4.0, None))):
        capped_market = Market(capped(tmp_path, life_min="1ms", desk=0.5 * taken))
        answers = two_way(capped_market, route, edges, 100.0, first)[2]
        assert [each.exposure_room for each in answers] == pytest.approx([0.25 * taken] * 2, rel=1e-12)
        lives.append({first: answers[0].life_ns, -first: answers[1].life_ns})
    assert lives[0] == lives[1], "either may come first"
    alike = two_way(Market(capped(tmp_path, life_min="1ms", desk=0.5 * taken)), route, (None, None), 100.0)[2]
    assert alike[0].life_ns == alike[1].life_ns < free[0].life_ns
    assert alike[0].binding & BindingFlags.EXPOSURE
