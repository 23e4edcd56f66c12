"""Caps on what live quotes may lose: sums that follow from the quotes, lives that shorten, and then no quote."""

import json
import math
import random
from pathlib import Path
from typing import Any

import pytest

from quotelife.config import Config
from quotelife.engine import Engine
from quotelife.model.curve import probability_at
from quotelife.records import BindingFlags, DecisionCode, DecisionRecord, QuoteStateCode, ReasonFlags
from reference.live_quotes_kit import MS, Market, S, config_of


def capped(tmp_path: Path, *, instrument: float | None = None, desk: float | None = None) -> Config:
    content = config_of(tmp_path).model_dump(mode="json", by_alias=True)
    content["instruments"][0]["exposure_max"] = instrument
    content["desks"]["main"]["exposure_max"] = desk
    content["watch"]["forget"] = "1s"
    return Config.model_validate_json(json.dumps(content))


def at_risk(market: Market, quotes: dict[int, dict[str, Any]], now_ns: int) -> float:
    """Recomputed from what each quote was registered with."""
    engine = market.engine
    total = 0.0
    for status in engine.live_quotes():
        if status.state <= QuoteStateCode.PARTLY_FILLED:
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
