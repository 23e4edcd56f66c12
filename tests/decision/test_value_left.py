"""What is left of a quote that has stood for a while: only who has not accepted so far can still accept."""

import math

import numpy as np
import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from decision.test_expected_value import EXACT, FLAT, Problem, plain, problems, tiers
from quotelife.config.schema import TierValue, ValueSettings
from quotelife.decision.expected_value import VALUE_MIN_IN_H, ExpectedValue
from quotelife.model.curve import first_passage
from reference.value_twin import AgedTwin, ValueTwin

MS = 1_000_000
S = 1_000 * MS
relaxed = settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])
ages = st.floats(math.log(1e3), math.log(1e11)).map(math.exp)


def old(tier: TierValue, share: float) -> float:
    """An age at which that share of those who accept at all has done so."""
    z = math.sqrt(2) * float(np.clip(6 * share - 3, -3, 3))
    return tier.latency_ns + tier.response_median_ns * math.exp(tier.response_sigma * z)


def asked(problem: Problem) -> tuple[list[float], dict[str, float]]:
    _, _, p, edge, h, inventory, _, _ = problem
    return p, {"edge_ticks": edge, "h_ticks": h, "inventory": inventory}


@settings(relaxed, max_examples=200)
@given(problems())
def test_of_a_fresh_quote_all_is_left(problem: Problem) -> None:
    """To the bit what its decision was made by."""
    tier, terms, *_, low, high = problem
    p, told = asked(problem)
    value = ExpectedValue(tier, terms)
    best = value.best(p, **told, low_ns=low, high_ns=high)
    left = value.left(p, **told, age_ns=0.0, low_ns=low, high_ns=high)
    assert tuple(left) == tuple(best)[:4]
    assert value.value(p, **told, tau_ns=high, age_ns=0.0) == value.value(p, **told, tau_ns=high)


def check_against_twin(problem: Problem, age_ns: float) -> None:
    tier, terms, p, edge, h, inventory, low, high = problem
    _, told = asked(problem)
    value = ExpectedValue(tier, terms)
    twin = AgedTwin(ValueTwin(tier, terms, p, edge, h, inventory), age_ns)
    left = value.left(p, **told, age_ns=age_ns, low_ns=low, high_ns=high)
    for tau in (low, high, left.tau_ns, math.sqrt(low * high)):
        ours = value.value(p, **told, tau_ns=tau, age_ns=age_ns)
        assert ours == pytest.approx(twin.value(tau), abs=EXACT * h, rel=0)
        assert left.value_ticks >= ours - EXACT * h
    assert left.value_ticks == pytest.approx(twin.value(left.tau_ns), abs=EXACT * h, rel=0)
    assert left.life_value_ticks == pytest.approx(twin.value(left.life_ns), abs=EXACT * h, rel=0)
    for tau in np.geomspace(low, high, 30):
        assert left.value_ticks >= twin.value(float(tau)) - EXACT * h
    assert low <= left.life_ns <= high and left.life_ns % 1000 == 0


@settings(relaxed, max_examples=40)
@given(problems(), ages)
def test_what_is_left_equals_the_integral_of_the_conditional_density(problem: Problem, age_ns: float) -> None:
    check_against_twin(problem, age_ns)


@settings(relaxed, max_examples=40)
@given(problems(), st.floats(0, 1))
def test_and_so_it_does_while_answers_come_in(problem: Problem, share: float) -> None:
    """Ages that the client answers at, whatever its time and its spread."""
    check_against_twin(problem, old(problem[0], share))


@pytest.mark.slow
@settings(relaxed, max_examples=2000)
@given(problems(), st.one_of(ages, st.floats(0, 1)))
def test_what_is_left_equals_the_integral_two_thousand_times(problem: Problem, age: float) -> None:
    check_against_twin(problem, old(problem[0], age) if age <= 1 else age)


@settings(relaxed, max_examples=200)
@given(problems(), ages)
def test_enough_tells_whether_anything_is_left(problem: Problem, age_ns: float) -> None:
    """The first life with a value is found where there is one, and is no better than the best."""
    tier, terms, *_, low, high = problem
    p, told = asked(problem)
    value = ExpectedValue(tier, terms, watched=True)
    none = VALUE_MIN_IN_H * problem[4]
    for age in (0.0, age_ns):
        best = value.left(p, **told, age_ns=age, low_ns=low, high_ns=high)
        first = value.left(p, **told, age_ns=age, low_ns=low, high_ns=high, enough=True)
        assert first.life_value_ticks <= best.life_value_ticks + EXACT * problem[4]
        assert low <= first.life_ns <= high
        if first.life_value_ticks <= none:
            assert first == best
        else:
            assert best.value_ticks > none - EXACT * problem[4]


def accepts(tier: TierValue, age_ns: float, tau_ns: float) -> float:
    """F(τ | A): without risk, and at an edge of 1, it is all of V."""
    tier = tier.model_copy(update={"informed_share": 0.0, "adverse_share": 0.0})
    return ExpectedValue(tier, ValueSettings()).value(
        FLAT, edge_ticks=1.0, h_ticks=1.0, tau_ns=tau_ns, age_ns=age_ns
    )


@settings(relaxed, max_examples=300)
@given(tiers, st.one_of(st.just(0.0), ages), st.floats(1e3, 2e9), st.floats(1e3, 2e9))
@example(plain(hit_probability=1.0, response_median="100ms", response_sigma=0.1), 180.0 * MS, 5e6, 5e6)
def test_it_stays_a_distribution(tier: TierValue, age_ns: float, first: float, then: float) -> None:
    """Within [0, 1], rising, and whoever has not accepted in the first part has the second as its own."""
    one, both = accepts(tier, age_ns, first), accepts(tier, age_ns, first + then)
    assert 0.0 <= one <= both <= 1.0 + 1e-12
    two = accepts(tier, age_ns + first, then)
    if two > 0.0 or tier.hit_probability < 1.0 or both == one:  # else nobody counts as left by then
        assert (1 - both) == pytest.approx((1 - one) * (1 - two), abs=1e-11)


@settings(relaxed, max_examples=300)
@given(problems(), st.floats(0, 40), st.booleans(), st.integers(0, 400))
def test_it_is_always_a_number(problem: Problem, decades: float, sure: bool, z: int) -> None:
    """Whatever the age, and however sure it is that everybody has accepted by then."""
    tier, terms, *_, low, high = problem
    if sure:
        tier = tier.model_copy(update={"hit_probability": 1.0})
    p, told = asked(problem)
    value = ExpectedValue(tier, terms)
    at_z = tier.latency_ns + tier.response_median_ns * math.exp(min(600.0, tier.response_sigma * z / 10))
    for age in (10.0**decades, at_z):
        left = value.left(p, **told, age_ns=age, low_ns=low, high_ns=high)
        assert all(map(math.isfinite, left))
        assert math.isfinite(value.value(p, **told, tau_ns=high, age_ns=age))
        assert abs(left.value_ticks) <= 10 * (abs(told["edge_ticks"]) + 10 * told["h_ticks"])


def test_where_nobody_is_left_only_the_taker_is() -> None:
    """σ = 0.01 around 500 ms, sure to accept: at 600 ms nobody is left, and each life costs what its pick-offs cost."""
    p = [float(x) for x in first_passage(1.0, 0.8)]
    tier = plain(hit_probability=1.0, response_median="500ms", response_sigma=0.01, informed_share=0.3)
    value = ExpectedValue(tier, ValueSettings())
    told = {"edge_ticks": 0.9, "h_ticks": 1.0}
    early, late = (
        value.left(p, **told, age_ns=age * MS, low_ns=50 * MS, high_ns=500 * MS) for age in (490, 600)
    )
    assert early.value_ticks > 0.4
    assert late.life_ns == 50 * MS
    assert late.value_ticks == pytest.approx(-0.3 * (1.5 - 0.9) * float(_p_at(p, 45 * MS)), rel=1e-9)


def _p_at(p: list[float], tau_ns: int) -> float:
    return float(ValueTwin(plain(), ValueSettings(), p, 1.0, 1.0).probability(np.array([tau_ns]))[0])


def test_the_fewer_still_come_the_less_is_left() -> None:
    """The market stands where it stood; a client who answers in 200 ms or not at all has not answered for a second."""
    p = [float(x) for x in first_passage(4.0, 4.0)]
    tier = plain(hit_probability=0.3, response_median="200ms", response_sigma=0.3, informed_share=0.3)
    value = ExpectedValue(tier, ValueSettings())

    def left(age_ms: int) -> float:
        return value.left(
            p, edge_ticks=1.0, h_ticks=4.0, age_ns=age_ms * MS, low_ns=50 * MS, high_ns=500 * MS
        ).value_ticks

    assert left(0) > 0.01 and left(150) > left(0)
    values = [left(age) for age in range(250, 1000, 50)]
    assert values == sorted(values, reverse=True)
    assert values[-1] < 0.0


def test_by_hand() -> None:
    """a = 1/2, G(A) = 1/2 at the median: of those left a third accepts: (1/2 · 1/2) / (3/4), half of them, one sigma
    on, by Φ(1) − 1/2."""
    tier = plain(response_median="500ms", response_sigma=math.log(2))
    assert accepts(tier, 500.0 * MS, 500.0 * MS) == pytest.approx(
        0.5 * (0.5 * math.erf(1 / math.sqrt(2))) / 0.75, abs=1e-15
    )


def test_a_wrong_age_is_refused() -> None:
    value = ExpectedValue(plain(), ValueSettings())
    for age in (-1.0, math.nan, math.inf):
        with pytest.raises(ValueError, match="age_ns"):
            value.left(FLAT, edge_ticks=1.0, h_ticks=1.0, age_ns=age, low_ns=1000, high_ns=2000)
        with pytest.raises(ValueError, match="age_ns"):
            value.value(FLAT, edge_ticks=1.0, h_ticks=1.0, tau_ns=1000, age_ns=age)
    with pytest.raises(ValueError, match="low_ns"):
        value.left(FLAT, edge_ticks=1.0, h_ticks=1.0, age_ns=1.0, low_ns=2000, high_ns=1000)
