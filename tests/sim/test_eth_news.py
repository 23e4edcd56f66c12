"""The ETH scenario to the millisecond, both variants and the calm counterpart; and that it sees what is wrong."""

import json
from functools import cache

import pytest

from quotelife.sim.scenario import (
    CLIENT,
    LEGS,
    SEED,
    CallSpread,
    Scenario,
    Variant,
    clock,
    eth_news,
    scenario_config,
)
from quotelife.units import NS_PER_S


@cache
def told(variant: Variant, model: str = "golden", watch: bool = True, seed: int = SEED) -> Scenario:
    return eth_news(variant, model=model, watch=watch, seed=seed)


def missed(story: Scenario) -> list[str]:
    return [each.name for each in story.expectations if not each.held]


@pytest.mark.parametrize("variant", list(Variant))
def test_every_expectation_of_the_scenario_holds(variant: Variant) -> None:
    assert missed(told(variant)) == [] and told(variant).expectations


def test_the_headline_and_what_the_engine_sees_of_it() -> None:
    facts = told(Variant.EXPIRES).facts
    before, asked = facts["before"], facts["asked"]
    assert facts["news_at"] == "14:30:00.000"
    assert before["at"] == "14:29:59.999" and asked["at"] == "14:30:01.000"
    assert before["spread_volatility_dollars"] == pytest.approx(0.05, abs=0.005)
    assert asked["spread_volatility_dollars"] == pytest.approx(0.50, abs=0.05)
    assert asked["update_ratio"] == pytest.approx(5.0, abs=1.0)
    assert before["imbalance"] > 1 and asked["imbalance"] < 0.5
    assert before["decorrelation_z"] < 1.5 < asked["decorrelation_z"]
    assert before["news_score"] == 0.0 and asked["news_score"] < -0.98


def test_the_stressed_life_is_150_ms_and_ours_is_refused_1350_ms_late() -> None:
    facts = told(Variant.EXPIRES).facts
    ours, static = facts["ours"], facts["static"]
    assert (ours["posture_requested"], ours["posture_effective"]) == ("CLIENT_PRIORITY", "RISK_AVERSE")
    assert ours["regime"] == "STRESS"
    assert facts["p500"] == pytest.approx(0.15, abs=1e-12)
    assert round(facts["logit"], 6) == -1.734601
    assert (ours["life_ms"], ours["expiry"]) == (150.0, "14:30:01.150")
    assert (ours["refused"], ours["refused_at"], ours["late_ms"]) == ("expired", "14:30:02.500", 1350.0)
    assert (static["life_ms"], static["expiry"]) == (2000.0, "14:30:03.000")
    assert (static["traded"], static["traded_at"]) == ("filled", "14:30:02.500")
    assert static["dollars"] < 0
    assert facts["requote"]["life_ms"] > 0 and facts["requote"]["premium_dollars"] > ours["premium_dollars"]


def test_the_call_spread_is_two_legs_judged_on_their_underlying() -> None:
    package = told(Variant.EXPIRES).facts["package"]
    assert package["legs"] == list(LEGS) and package["on_underlying"]
    assert package["net_delta"] == pytest.approx(CallSpread().delta(2996.7), abs=1e-3)


def test_the_quote_of_before_the_headline_is_withdrawn_for_stress() -> None:
    lines = told(Variant.EXPIRES).timeline
    at = next(line for line in lines if line.text.startswith("WITHDRAW (STRESS)"))
    assert clock(at.at_ns) == "14:30:00.001", "a millisecond is the latency of the dealer's feed"


def test_a_move_inside_the_life_is_met_by_the_withdrawal() -> None:
    facts = told(Variant.MOVES).facts
    ours, static = facts["ours"], facts["static"]
    assert (ours["life_ms"], ours["expiry"]) == (150.0, "14:30:01.150")
    assert ours["withdrawn_for"] == "ADVERSE_MOVE" and ours["withdrawn_at"] < "14:30:01.150"
    assert "traded" not in ours
    assert static["traded"] == "picked off" and static["traded_at"] < "14:30:01.150" and static["dollars"] < 0


def test_without_the_watch_the_same_move_is_a_pick_off_and_is_counted() -> None:
    story = told(Variant.MOVES, watch=False)
    ours = next(each for each in story.dealers if each["dealer"] == "quotelife")
    assert ours["pick_offs"] == 1 and ours["pick_off_value_price"] < 0
    assert story.facts["ours"]["traded"] == "picked off"
    assert not story.held
    assert set(missed(story)) == {"ours withdrawn for", "withdrawn within the life", "pick-offs of ours"}


def test_a_withdrawal_that_takes_too_long_is_told_as_too_late() -> None:
    story = eth_news(Variant.MOVES, path_ns=NS_PER_S // 10)
    ours = next(each for each in story.dealers if each["dealer"] == "quotelife")
    assert (ours["pick_offs"], ours["withdrawn_too_late"]) == (1, 1)
    assert missed(story) == ["pick-offs of ours"]


def test_in_calm_the_same_request_gets_2902_ms_under_client_priority() -> None:
    facts = told(Variant.CALM).facts
    assert facts["p500"] == pytest.approx(0.005, abs=1e-12)
    assert facts["ours"]["life_ms"] == 2902.0
    assert facts["ours"]["posture_effective"] == "CLIENT_PRIORITY" and facts["ours"]["regime"] == "NORMAL"
    assert facts["news_at"] is None


def test_the_model_trained_on_the_simulator_agrees() -> None:
    stressed = told(Variant.EXPIRES, model="simulated_trees").facts["p500"]
    calm = told(Variant.CALM, model="simulated_trees").facts["p500"]
    assert 0.10 <= stressed <= 0.25
    assert calm <= 0.01


def test_equal_seeds_give_equal_bytes() -> None:
    again = eth_news(Variant.EXPIRES)
    assert json.dumps(again.data()) == json.dumps(told(Variant.EXPIRES).data())


def test_a_market_that_lacks_what_the_story_needs_says_what() -> None:
    story = told(Variant.EXPIRES, seed=SEED + 1)
    assert not story.held
    assert "spread volatility at the request, dollars" in missed(story)


def test_the_call_spread_is_worth_between_nothing_and_its_width() -> None:
    spread = CallSpread()
    assert 0 < spread.value(2000.0) < spread.value(3000.0) < spread.value(4500.0) < 300
    step = (spread.value(3000.5) - spread.value(2999.5)) / 1.0
    assert spread.delta(3000.0) == pytest.approx(step, abs=1e-5)
    for call, up, down in zip(spread.legs(3000.0), spread.legs(3001.0), spread.legs(2999.0), strict=True):
        assert call.gamma == pytest.approx((up.delta - down.delta) / 2.0, rel=1e-3)
    calmer, wilder = (CallSpread(volatility=v).legs(3000.0)[0].value for v in (0.595, 0.605))
    assert spread.legs(3000.0)[0].vega == pytest.approx(wilder - calmer, rel=1e-3)


def test_the_configuration_makes_the_client_strategic() -> None:
    config = scenario_config()
    assert config.tiers[config.counterparties[CLIENT].tier or ""].posture == "client_priority"
    assert {posture.mode for _, posture in config.postures} == {"tolerance"}
