"""Rule path, constraints, summary and verification of decisions that a real engine took."""

import math
import random
from dataclasses import replace
from typing import Any

import pytest
from tests.reference.service_kit import MS, T0, Market, S

from quotelife.config.checks import find_problems
from quotelife.config.schema import Config, PostureSettings
from quotelife.decision.policy import OverrideSpec, Policy
from quotelife.engine import Engine
from quotelife.explain.constraints import value_of
from quotelife.explain.decision import Explanation, explain, verify
from quotelife.explain.grounds import Grounds
from quotelife.explain.rules import RuleStep
from quotelife.features.schema import INDEX
from quotelife.model.first_passage import FirstPassageModel
from quotelife.records import (
    HORIZONS_NS,
    NO_INDEX_VALUE,
    BindingFlags,
    DecisionCode,
    DecisionRecord,
    EventBuffer,
    EventKindCode,
    ModeCode,
    PostureCode,
    QualityCode,
    ReasonFlags,
    RegimeCode,
    RequestRecord,
    RuleCode,
    SignalCode,
    StatusKind,
)

CP, LP, RA = PostureCode.CLIENT_PRIORITY, PostureCode.LIQUIDITY_PROVIDER, PostureCode.RISK_AVERSE
POSTURES = ("client_priority", "liquidity_provider", "risk_averse")
WEEKDAYS = ("mon", "tue", "wed", "thu", "fri")


def instrument(name: str, **keys: Any) -> dict[str, Any]:
    base = {"name": name, "venue": "binance-usdm", "symbol": name, "tick_size": 0.1, "lot_size": 0.001}
    return base | {"warmup": "1s"} | keys


def config(**keys: Any) -> Config:
    three = (instrument("BTC"), instrument("ETH"), instrument("SOL"))
    return Config.model_validate(
        {"version": 1, "instruments": three, "model": {"artifact": "logistic"}} | keys
    )


NAMES: dict[str, Any] = {
    "tiers": {"strategic": {"posture": "client_priority"}, "silent": {}},
    "counterparties": {
        "alpha": {"tier": "strategic"},
        "quiet": {"tier": "silent"},
        "special": {
            "tier": "strategic",
            "overrides": (
                {"instruments": ("ETH",), "posture": "risk_averse"},
                {
                    "instruments": "all",
                    "window": {"days": ("sun",), "from": "09:00", "to": "17:00", "timezone": "Europe/London"},
                    "posture": "risk_averse",
                },
                {"instruments": ("BTC",), "posture": "liquidity_provider"},
            ),
        },
    },
    "desks": {
        "open": {"posture": "risk_averse", "allow_request_override": True, "not_good": "risk_averse"},
        "shut": {},
    },
}


class Desk:
    """An engine with good books, and requests by name."""

    def __init__(self, settings: Config, seconds: float = 8.0) -> None:
        self.engine = Engine(settings, start_ns=T0)
        self.now_ns = Market(self.engine).run(T0, seconds)

    def request(self, counterparty: str | None = None, desk: str | None = None, **keys: Any) -> RequestRecord:
        policy = self.engine.policy
        client = policy.counterparty_index(counterparty) if counterparty else None
        where = policy.desk_index(desk) if desk else None
        place = {
            "counterparty": NO_INDEX_VALUE if client is None else client,
            "desk": NO_INDEX_VALUE if where is None else where,
        }
        return RequestRecord(0, 1, **({"now_ns": self.now_ns} | place | keys))

    def explained(self, request: RequestRecord) -> tuple[DecisionRecord, Explanation]:
        decision = DecisionRecord()
        self.engine.decide(request, decision)
        return decision, explain(request, decision, Grounds.of(self.engine, decision))


@pytest.fixture
def desk() -> Desk:
    return Desk(config(**NAMES))


def applied(explanation: Explanation) -> RuleStep:
    (step,) = [each for each in explanation.rule_path if each.applied and each.rule != RuleCode.NONE]
    return step


def step(explanation: Explanation, rule: RuleCode) -> RuleStep:
    (found,) = [each for each in explanation.rule_path if each.rule == rule]
    return found


ORDER = [
    *(RuleCode(code) for code in range(RuleCode.KILL_SWITCH, RuleCode.GLOBAL_DEFAULT + 1)),
    RuleCode.NONE,
]


def test_every_rule_stands_in_the_order_in_which_rules_are_tried(desk: Desk) -> None:
    _, explanation = desk.explained(desk.request())
    assert [each.rule for each in explanation.rule_path] == ORDER


def test_a_request_override_is_seen_applied(desk: Desk) -> None:
    _, explanation = desk.explained(desk.request("special", "open", posture=CP))
    assert applied(explanation).rule == RuleCode.REQUEST_OVERRIDE
    assert applied(explanation).detail == "the request asks for Client Priority and desk open may override"


def test_a_refused_request_override_says_who_may_not(desk: Desk) -> None:
    _, explanation = desk.explained(desk.request("alpha", "shut", posture=LP))
    refused = step(explanation, RuleCode.REQUEST_OVERRIDE)
    assert not refused.applied
    assert refused.detail == "the request asks for Liquidity Provider, but desk shut may not override"


def test_an_operators_override_is_seen_applied(desk: Desk) -> None:
    ends_ns = desk.now_ns + 90 * S
    desk.engine.set_override(now_ns=desk.now_ns, expires_ns=ends_ns, posture=LP)
    desk.engine.set_override(now_ns=desk.now_ns, expires_ns=ends_ns, posture=RA, instrument=0)
    _, explanation = desk.explained(desk.request("alpha"))
    assert applied(explanation).rule == RuleCode.RUNTIME_OVERRIDE
    assert applied(explanation).detail == (
        "operator's override 2 for instrument BTC asks for Risk Averse, 90.0 s left; the most specific, then "
        "latest, of 2 that fit"
    )


def test_an_operators_override_for_somebody_else_says_so(desk: Desk) -> None:
    desk.engine.set_override(now_ns=desk.now_ns, expires_ns=desk.now_ns + S, posture=LP, instrument=1)
    _, explanation = desk.explained(desk.request("alpha"))
    detail = step(explanation, RuleCode.RUNTIME_OVERRIDE).detail
    assert detail == "none fits: operator's override 1 is for another instrument"


def test_a_counterparty_override_names_its_place_and_what_stood_before_it(desk: Desk) -> None:
    _, explanation = desk.explained(desk.request("special"))  # T0 is a Tuesday
    assert applied(explanation).rule == RuleCode.COUNTERPARTY_OVERRIDE
    assert applied(explanation).detail == (
        "counterparty special: override 2 (BTC; at all times) asks for Liquidity Provider; override 0 is for "
        "another instrument; override 1 is outside its time window"
    )


def test_a_tier_is_seen_applied(desk: Desk) -> None:
    _, explanation = desk.explained(desk.request("alpha"))
    assert applied(explanation).rule == RuleCode.COUNTERPARTY_TIER
    assert "tier strategic" in applied(explanation).detail


def test_a_desk_default_is_seen_applied(desk: Desk) -> None:
    _, explanation = desk.explained(desk.request("quiet", "open"))
    assert applied(explanation).rule == RuleCode.DESK_DEFAULT
    assert applied(explanation).detail == "desk open has the default Risk Averse"
    assert "leaves it to the desk" in step(explanation, RuleCode.COUNTERPARTY_TIER).detail


def test_the_global_default_is_seen_applied(desk: Desk) -> None:
    _, explanation = desk.explained(desk.request("quiet", "shut"))
    assert applied(explanation).rule == RuleCode.GLOBAL_DEFAULT
    assert step(explanation, RuleCode.DESK_DEFAULT).detail == "desk shut has no default"


def test_data_that_is_not_good_is_seen_applied(desk: Desk) -> None:
    """A later rule still says what it would have chosen."""
    desk.now_ns += 3600 * S
    decision, explanation = desk.explained(desk.request("alpha", "open"))
    assert decision.quality == QualityCode.STALE
    assert applied(explanation).rule == RuleCode.DATA_QUALITY
    assert applied(explanation).detail == "data is STALE, not GOOD"
    assert step(explanation, RuleCode.COUNTERPARTY_TIER).posture == CP
    assert explanation.summary.startswith(
        "100 ms: Risk Averse because data is STALE; set by the posture's min"
    )
    (bound,) = explanation.constraints
    assert (bound.constraint, bound.life_ns, bound.binding) == (BindingFlags.MINIMUM, decision.life_ns, True)


def test_a_downgrade_by_news_names_its_trigger(desk: Desk) -> None:
    desk.engine.on_signal(SignalCode.NEWS, receive_ns=desk.now_ns, source_ns=desk.now_ns, value=-1.0)
    decision, explanation = desk.explained(desk.request("alpha"))
    assert decision.regime == RegimeCode.STRESS
    last = explanation.rule_path[-1]
    assert (last.rule, last.posture, last.applied) == (RuleCode.NONE, RA, True)
    assert last.detail == ("regime STRESS (news -1.00, fires at 0.8) lowers Client Priority to Risk Averse")
    assert "Risk Averse because of STRESS (news -1.00" in explanation.summary
    assert applied(explanation).rule == RuleCode.COUNTERPARTY_TIER


def test_a_halt_is_a_decline_in_words(desk: Desk) -> None:
    events = EventBuffer(4)
    events.append(EventKindCode.STATUS, aux=StatusKind.HALT, receive_ns=desk.now_ns, flags=1)
    desk.engine.on_events(events)
    decision, explanation = desk.explained(desk.request("alpha"))
    assert decision.kind == DecisionCode.DECLINE
    assert explanation.summary.startswith("Declined: trading is halted")
    assert explanation.contributions == explanation.constraints == explanation.risks == ()
    assert explanation.logit is None


# --- properties over random configurations and requests -------------------------------------------------------


def random_config(rng: random.Random) -> Config:
    while find_problems(candidate := some_config(rng)):  # overrides that can never be reached, mostly
        pass
    return candidate


def some_config(rng: random.Random) -> Config:
    def posture(chance: float = 0.5) -> dict[str, Any]:
        return {"posture": rng.choice(POSTURES)} if rng.random() < chance else {}

    def override() -> dict[str, Any]:
        entry: dict[str, Any] = {"posture": rng.choice(POSTURES)}
        entry["instruments"] = rng.choice(["all", ("BTC",), ("ETH", "SOL"), ("BTC", "SOL")])
        if rng.random() < 0.5:
            entry["window"] = {
                "days": tuple(rng.sample(WEEKDAYS, rng.randint(1, 5))),
                "from": f"{rng.randint(0, 23):02}:00",
                "to": f"{rng.randint(0, 23):02}:30",
                "timezone": rng.choice(["UTC", "America/New_York", "Asia/Tokyo"]),
            }
        return entry

    def postures() -> dict[str, Any]:
        source = rng.choice(["p500", "curve"])
        mode = rng.choice(["tolerance", "step", "expected_value"])
        shared = {"mode": mode, "below_minimum": rng.choice(["clip", "decline"])}
        if mode != "step":
            shared["tolerance_source"] = source
        return {name: dict(shared) for name in POSTURES}

    tiers = {f"tier{i}": posture() for i in range(2)}
    return config(
        tiers=tiers,
        counterparties={
            f"client{i}": {
                **({"tier": rng.choice(list(tiers))} if rng.random() < 0.7 else {}),
                "overrides": tuple(override() for _ in range(rng.randint(0, 3))),
            }
            for i in range(4)
        },
        desks={
            f"desk{i}": {
                **posture(),
                "allow_request_override": rng.random() < 0.5,
                "not_good": rng.choice(["decline", "risk_averse"]),
            }
            for i in range(2)
        },
        defaults={"unknown_counterparty_tier": rng.choice([None, *tiers])},
        postures=postures(),
    )


def random_request(rng: random.Random, desk: Desk) -> RequestRecord:
    keys: dict[str, Any] = {}
    if rng.random() < 0.4:
        keys["posture"] = rng.choice((CP, LP, RA))
    if rng.random() < 0.4:
        keys["client_deadline_ns"] = desk.now_ns + rng.randint(50, 3000) * MS
    if rng.random() < 0.4:
        keys["priced_at_ns"] = desk.now_ns - rng.randint(0, 9000) * MS
    if rng.random() < 0.6:
        keys["edge_ticks"] = rng.uniform(-2.0, 40.0)
    return desk.request(
        rng.choice([None, "client0", "client1", "client2", "client3"]),
        rng.choice([None, "desk0", "desk1"]),
        **keys,
    )


def by_hand(decision: DecisionRecord, config: Config) -> float:
    """The life that the curve alone allows, ns, by the formulas of ``decision.life``."""
    key = POSTURES[decision.posture_effective - 1]
    settings = getattr(config.postures, key)
    p500 = decision.p[5]
    if settings.mode == "step":
        return 100e6 if p500 >= 0.02 else 750e6
    formula = 500e6 * (math.log1p(-decision.alpha) / math.log1p(-p500)) ** (1 / settings.gamma)
    inverted = by_bisection(decision)
    if settings.tolerance_source == "curve":
        return inverted
    return min(formula, inverted) if decision.mode == ModeCode.EXPECTED_VALUE else formula


def by_bisection(decision: DecisionRecord) -> float:
    low, high = 0.0, float(HORIZONS_NS[-1])
    if decision.p[-1] <= decision.alpha:
        return high
    for _ in range(80):  # bisection on a curve read in log-hazard
        middle = (low + high) / 2
        low, high = (middle, high) if read(decision.p, middle) <= decision.alpha else (low, middle)
    return low


def read(p: tuple[float, ...], tau: float) -> float:
    hazards = [max(1e-12, -math.log1p(-each)) if each < 1 else 40.0 for each in p]
    k = sum(horizon <= tau for horizon in HORIZONS_NS) - 1
    left = max(k, 0)
    exponent = math.log(hazards[left + 1] / hazards[left]) / math.log(
        HORIZONS_NS[left + 1] / HORIZONS_NS[left]
    )
    if k < 0:
        exponent = max(1.0, exponent)
    return -math.expm1(-hazards[left] * (tau / HORIZONS_NS[left]) ** exponent)


@pytest.mark.parametrize("seed", range(24))
def test_on_random_configurations_the_explanation_is_the_decision(seed: int) -> None:
    """Applied rule, verification, claimed lives, and that the bounds put together give the life."""
    rng = random.Random(seed)
    settings = random_config(rng)
    desk = Desk(settings, seconds=6.0)
    for _ in range(rng.randint(0, 3)):
        desk.engine.set_override(
            now_ns=desk.now_ns,
            expires_ns=desk.now_ns + rng.randint(1, 100) * S,
            posture=rng.choice((CP, LP, RA)),
            **rng.choice([{}, {"instrument": rng.randint(0, 2)}, {"counterparty": rng.randint(0, 3)}]),
        )
    if rng.random() < 0.3:
        desk.engine.on_signal(SignalCode.NEWS, receive_ns=desk.now_ns, source_ns=desk.now_ns, value=0.9)
    if rng.random() < 0.15:
        desk.now_ns += 3600 * S
    seen = 0
    for _ in range(12):
        request = random_request(rng, desk)
        decision, explanation = desk.explained(request)
        assert verify(desk.engine, request, decision)
        assert applied(explanation).rule == decision.rule
        if decision.quality == QualityCode.GOOD:
            assert applied(explanation).posture == decision.posture_requested
        assert explanation.rule_path[-1].applied == bool(decision.reasons & ReasonFlags.DOWNGRADED)
        check_lives(request, decision, explanation, settings)
        seen += decision.kind == DecisionCode.QUOTE
    assert seen or desk.now_ns > T0 + 3600 * S


def check_lives(
    request: RequestRecord, decision: DecisionRecord, explanation: Explanation, settings: Config
) -> None:
    lives = {each.constraint: each.life_ns for each in explanation.constraints}
    ordered = [each.life_ns for each in explanation.constraints]
    assert ordered == sorted(ordered, key=lambda life: math.inf if life is None else life)
    flags = BindingFlags(decision.binding)
    assert {each.constraint for each in explanation.constraints if each.binding} == set(flags)
    if not decision.alpha > 0:
        return
    posture = getattr(settings.postures, POSTURES[decision.posture_effective - 1])
    age = 0 if request.priced_at_ns is None else decision.now_ns - request.priced_at_ns
    taken = 0 if decision.observed & 1 else age
    curve = next(
        flag for flag in (BindingFlags.TOLERANCE, BindingFlags.STEP, BindingFlags.HORIZON) if flag in lives
    )
    allowed = lives[curve]
    expected = by_hand(decision, settings) - taken
    assert (math.inf if allowed is None else allowed) == pytest.approx(expected, abs=1000)
    assert lives[BindingFlags.MINIMUM] == posture.life_min_ns - taken
    assert lives[BindingFlags.MAXIMUM] == posture.life_max_ns - age
    if decision.mode == ModeCode.EXPECTED_VALUE:
        check_value(request, decision, lives, posture, settings, taken)
        return
    if decision.kind != DecisionCode.QUOTE:
        return
    life = max(expected, posture.life_min_ns - taken)
    life = min(life, posture.life_max_ns - age)
    if request.client_deadline_ns is not None:
        assert lives[BindingFlags.CLIENT_DEADLINE] == request.client_deadline_ns - decision.now_ns
        life = min(life, request.client_deadline_ns - decision.now_ns)
    assert decision.life_ns == pytest.approx(life, abs=2000)
    nexts = [each for each in explanation.constraints if each.next]
    others = [each for each in explanation.constraints if not each.binding and (each.life_ns or 0) > 0]
    assert len(nexts) == bool(others)
    if nexts:
        ratios = [abs(math.log((each.life_ns or 1) / decision.life_ns)) for each in others]
        assert abs(math.log((nexts[0].life_ns or 1) / decision.life_ns)) == min(ratios)


def check_value(
    request: RequestRecord,
    decision: DecisionRecord,
    lives: dict[BindingFlags, int | None],
    posture: PostureSettings,
    settings: Config,
    taken: int,
) -> None:
    """No life on a grid has more value than the one claimed, and it is given where the bounds leave room."""
    claimed = lives[BindingFlags.VALUE]
    assert claimed is not None
    value = value_of(
        request, posture, Grounds(Policy(settings), FirstPassageModel(), settings.instrument_table())
    )
    where = {
        "edge_ticks": decision.edge_ticks,
        "h_ticks": decision.h_ticks,
        "inventory": decision.feature(INDEX["inventory"]) or 0.0,
    }
    best = value.value(decision.p, tau_ns=claimed + taken, **where)
    on_grid = max(value.value(decision.p, tau_ns=5e9 * k / 400, **where) for k in range(1, 401))
    assert best >= on_grid - 1e-9 * decision.h_ticks
    if decision.kind != DecisionCode.QUOTE:
        return
    caps = [life for flag, life in lives.items() if flag not in (BindingFlags.MINIMUM, BindingFlags.VALUE)]
    high = min(life for life in caps if life is not None)
    low = lives[BindingFlags.MINIMUM] or 0
    if low < claimed < high:
        assert decision.life_ns == pytest.approx(claimed, abs=2000)
    else:
        assert decision.life_ns <= max(high, low) + 1000


def test_the_trace_is_what_resolve_takes_on_random_policies() -> None:
    """The first rule of the trace that asks for a posture is the one resolved, with its override."""
    rng = random.Random(11)
    for _ in range(60):
        policy = Policy(random_config(rng))
        overrides = [
            OverrideSpec(
                rng.choice((CP, LP, RA)),
                T0 + rng.choice((-1, 1)) * S,
                counterparty=rng.choice([None, None, 0, 1]),
                desk=rng.choice([None, None, 0]),
                instrument=rng.choice([None, None, 0, 1]),
            )
            for _ in range(rng.randint(0, 3))
        ]
        for _ in range(20):
            request = RequestRecord(
                rng.randint(0, 2),
                1,
                now_ns=T0 + rng.randint(0, 7 * 86_400) * S,
                counterparty=rng.choice([0, 1, 2, 3, NO_INDEX_VALUE]),
                desk=rng.choice([0, 1, NO_INDEX_VALUE]),
                posture=rng.choice([0, 0, 1, 2, 3]),
            )
            resolved = policy.resolve_request(request, overrides=overrides)
            first = next(word for word in policy.trace(request, overrides) if word.posture)
            assert (first.rule, first.posture, first.rule_index) == (
                resolved.rule,
                resolved.requested,
                resolved.rule_index,
            )


def test_another_configuration_does_not_verify(desk: Desk) -> None:
    request = desk.request("alpha")
    decision = DecisionRecord()
    desk.engine.decide(request, decision)
    other = Engine(config(**NAMES, postures={"client_priority": {"tolerance": 0.11}}), start_ns=T0)
    assert verify(desk.engine, request, decision)
    assert not verify(other, request, decision)


def test_risks_hold_the_scores_and_weights_of_the_tolerance(desk: Desk) -> None:
    decision, explanation = desk.explained(desk.request("alpha", size_lots=50.0))
    total = sum(each.score * each.weight for each in explanation.risks)
    assert decision.risk_sum == pytest.approx(total, abs=1e-15)
    assert decision.alpha == pytest.approx(0.10 * math.exp(-total))


def test_left_over_is_what_the_sum_misses(desk: Desk) -> None:
    decision, explanation = desk.explained(desk.request("alpha"))
    assert explanation.logit == pytest.approx(math.log(decision.p_ref / (1 - decision.p_ref)))
    assert explanation.left_over == pytest.approx(0.0, abs=1e-9)
    strengths = [abs(each.logit) for each in explanation.contributions]
    assert strengths == sorted(strengths, reverse=True)
    assert replace(explanation, summary="") != explanation


def by_value(pick_off_weight: float) -> Desk:
    value = {"pick_off_weight": pick_off_weight}
    bold = {"mode": "expected_value", "tolerance": 0.5, "below_minimum": "clip", "value": value}
    others = {"liquidity_provider": {"value": value}, "risk_averse": {"value": value}}
    return Desk(config(**NAMES, postures={"client_priority": bold} | others))


def test_the_life_of_the_largest_value_binds() -> None:
    """Pick-offs weigh so much that value falls again well inside the bounds."""
    desk = by_value(20.0)
    decision, explanation = desk.explained(desk.request("alpha", edge_ticks=8.0))
    (binding,) = [each for each in explanation.constraints if each.binding]
    assert (binding.constraint, binding.life_ns) == (BindingFlags.VALUE, decision.life_ns)
    assert "expected value" in explanation.summary and "set by expected value" in explanation.summary


def test_a_quote_without_value_says_from_which_edge_it_would_have_some() -> None:
    desk = by_value(100.0)
    decision, explanation = desk.explained(desk.request("alpha", edge_ticks=1.0))
    assert decision.kind == DecisionCode.INDICATIVE
    assert explanation.summary.startswith("Indicative: no life has an expected value above 0")
    assert f"worth giving from {decision.break_even_edge_ticks:.4g} ticks on" in explanation.summary


def test_the_venue_is_among_the_constraints() -> None:
    """A maximum of 90 ms at the venue, 5 ms away, in steps of 10: cut to 95, and told 90."""
    session = {"actuation": "relative", "granularity": "10ms", "life_max": "90ms", "transit": "5ms"}
    postures = {name: {"life_min": "50ms"} for name in POSTURES}
    engine = Engine(config(**NAMES, venue_sessions={"far": session}, postures=postures), start_ns=T0)
    now_ns = Market(engine).run(T0, 10.0)
    request = RequestRecord(0, 1, now_ns=now_ns, session=0)
    decision = DecisionRecord()
    engine.decide(request, decision)
    assert (decision.life_ns, decision.venue_life_ns) == (95 * MS, 90 * MS)
    steps = {
        step.constraint: step for step in explain(request, decision, Grounds.of(engine, decision)).constraints
    }
    assert steps[BindingFlags.VENUE_MAXIMUM].life_ns == 95 * MS
    assert steps[BindingFlags.VENUE_MAXIMUM].binding
    assert "90 ms" in steps[BindingFlags.TRANSIT].detail
