"""Expected value against a plain-Python twin: V, its maximum, break-even, what moves the life."""

import math
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from quotelife.config.schema import TierValue, ValueSettings
from quotelife.decision.expected_value import VALUE_MIN_IN_H, Best, ExpectedValue
from quotelife.model.curve import first_passage
from quotelife.records import HORIZONS_NS
from reference.value_twin import ValueTwin

MS = 1_000_000
EXACT = 1e-9  # in h: the accuracy that is promised

Problem = tuple[TierValue, ValueSettings, list[float], float, float, float, int, int]


def milliseconds(low: float, high: float) -> st.SearchStrategy[str]:
    """Durations spread evenly over their logarithm, or none at all."""
    spread = st.floats(math.log(low), math.log(high)).map(lambda x: f"{math.exp(x):.3f}ms")
    return spread if low >= 1 else st.one_of(st.just("0ms"), spread)


tiers = st.builds(
    lambda **keys: TierValue.model_validate(keys),
    hit_probability=st.one_of(st.just(1.0), st.floats(0.01, 1)),
    response_median=milliseconds(1, 60_000),
    response_sigma=st.one_of(st.just(0.01), st.floats(0.01, 3)),
    latency=milliseconds(0.1, 9000),
    informed_share=st.one_of(st.sampled_from([0.0, 1.0]), st.floats(0, 1)),
    taker_latency=milliseconds(0.1, 2000),
    loss_in_h=st.floats(0, 4),
    adverse_share=st.one_of(st.just(0.0), st.floats(0, 2)),
)
terms = st.builds(
    lambda **keys: ValueSettings.model_validate(keys),
    relationship_in_h=st.one_of(st.just(0.0), st.floats(0, 1)),
    pick_off_weight=st.floats(0, 3),
    inventory_weight=st.one_of(st.just(0.0), st.floats(0, 1)),
)


@st.composite
def curves(draw: st.DrawFn) -> list[float]:
    """First passage, random rises over up to fourteen decades, steep ones, and curves that start at 0 or end at 1."""
    if draw(st.booleans()):
        return [float(p) for p in first_passage(1.0, math.exp(draw(st.floats(-3, 3))))]
    decades = draw(st.floats(0, 14))
    points = draw(st.lists(st.floats(0, 1), min_size=12, max_size=12))
    p = sorted(10 ** (-decades * x) for x in points)
    zeros, ones = draw(st.integers(0, 6)), draw(st.integers(0, 6))
    if draw(st.integers(0, 3)) == 0:
        p[:zeros] = [0.0] * zeros
    if draw(st.integers(0, 3)) == 0:
        p[12 - ones :] = [1.0] * ones
    if draw(st.integers(0, 5)) == 0:
        p = [draw(st.sampled_from([0.0, 1.0]))] * 12
    return p


@st.composite
def problems(draw: st.DrawFn) -> Problem:
    h = draw(st.sampled_from([1.0, 7.5]))
    edge = h * draw(st.floats(-0.2, 1))
    low = draw(st.integers(1, 500)) * 1000 * draw(st.sampled_from([10, 1000]))
    high = min(low + int(1e3 * math.exp(draw(st.floats(0, 15.5)))) // 1000 * 1000, HORIZONS_NS[-1])
    return draw(tiers), draw(terms), draw(curves()), edge, h, draw(st.floats(-1.5, 1.5)), low, high


def solve(problem: Problem, **changes: Any) -> Best:
    tier, posture, p, edge, h, inventory, low, high = problem
    tier = tier.model_copy(update={k: v for k, v in changes.items() if k in TierValue.model_fields})
    posture = posture.model_copy(update={k: v for k, v in changes.items() if k in ValueSettings.model_fields})
    return ExpectedValue(tier, posture).best(
        p,
        edge_ticks=changes.get("edge", edge),
        h_ticks=h,
        inventory=changes.get("inventory", inventory),
        low_ns=low,
        high_ns=high,
    )


def check_against_twin(problem: Problem) -> None:
    tier, posture, p, edge, h, inventory, low, high = problem
    twin = ValueTwin(tier, posture, p, edge, h, inventory)
    value = ExpectedValue(tier, posture).value
    best = solve(problem)
    assert best.value_ticks == pytest.approx(twin.value(best.tau_ns), abs=EXACT * h, rel=0)
    assert best.life_value_ticks == pytest.approx(twin.value(best.life_ns), abs=EXACT * h, rel=0)
    tau_ns, most = twin.best(low, high)
    assert best.value_ticks >= most - EXACT * h
    ours = value(p, edge_ticks=edge, h_ticks=h, tau_ns=tau_ns, inventory=inventory)
    assert ours == pytest.approx(most, abs=EXACT * h, rel=0)
    assert low <= best.tau_ns <= high
    assert low <= best.life_ns <= high
    assert best.life_ns % 1000 == 0


relaxed = settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])


@settings(relaxed, max_examples=20)
@given(problems())
def test_value_and_maximum_equal_brute_force(problem: Problem) -> None:
    """V by adaptive quadrature, its maximum by dense search: both to 1e-9 of h."""
    check_against_twin(problem)


@pytest.mark.slow
@settings(relaxed, max_examples=2000)
@given(problems())
def test_value_and_maximum_equal_brute_force_two_thousand_times(problem: Problem) -> None:
    check_against_twin(problem)


def check_break_even(problem: Problem) -> None:
    h = problem[4]
    least = solve(problem).break_even_ticks
    if least == math.inf:
        assert solve(problem, edge=1e6 * h).value_ticks <= VALUE_MIN_IN_H * h * (1 + 1e-6)
        return
    floor = -problem[1].relationship_in_h * h
    assert least >= floor
    step = 1e-5 * max(h, abs(least))
    assert solve(problem, edge=least + step).value_ticks > VALUE_MIN_IN_H * h
    if least > floor:
        assert solve(problem, edge=least - step).value_ticks <= VALUE_MIN_IN_H * h * (1 + 1e-6)


@settings(relaxed, max_examples=100)
@given(problems())
def test_break_even_is_where_value_begins(problem: Problem) -> None:
    """Just above it some life is worth it, just below it none is; infinity: not even a great edge makes one."""
    check_break_even(problem)


@pytest.mark.slow
@settings(relaxed, max_examples=20_000)
@given(problems())
def test_break_even_is_where_value_begins_twenty_thousand_times(problem: Problem) -> None:
    check_break_even(problem)


def test_no_life_is_longer_for_less_and_none_shorter_for_more() -> None:
    """Any problem: e and ρ never shorten the life; λ, c, β and κ (adding to a position) never lengthen it;
    nor does π, where a benign accept is worth its price (β h ≤ e + ρ) or the fill does not unwind a position."""

    @settings(relaxed, max_examples=400)
    @given(problems(), st.floats(0.01, 1), st.floats(1.01, 3))
    def run(problem: Problem, share: float, factor: float) -> None:
        tier, posture, _, edge, h, inventory, _, _ = problem
        life = solve(problem).tau_ns
        slack = 2.0  # ns: equal lives come out of two searches
        same_value = 1e-9 * h

        def longer(**changes: Any) -> bool:
            """The life that was best before is really worse now than a longer one."""
            best = solve(problem, **changes)
            return (
                best.tau_ns > life + slack
                and best.value_ticks > value_of(problem, life, **changes) + same_value
            )

        def shorter(**changes: Any) -> bool:
            best = solve(problem, **changes)
            return (
                best.tau_ns < life - slack
                and best.value_ticks > value_of(problem, life, **changes) + same_value
            )

        assert not shorter(edge=edge + share * h)
        assert not shorter(relationship_in_h=posture.relationship_in_h + share)
        assert not longer(pick_off_weight=posture.pick_off_weight * factor)
        assert not longer(loss_in_h=tier.loss_in_h * factor)
        assert not longer(adverse_share=tier.adverse_share * factor)
        if inventory >= 0:
            assert not longer(inventory_weight=posture.inventory_weight * factor)
        benign_pays = tier.adverse_share * h <= edge + posture.relationship_in_h * h
        if inventory >= 0 or posture.inventory_weight == 0 or benign_pays:
            assert not longer(informed_share=min(1.0, tier.informed_share * factor))

    run()


def value_of(problem: Problem, tau_ns: float, **changes: Any) -> float:
    tier, posture, p, edge, h, inventory, _, _ = problem
    tier = tier.model_copy(update={k: v for k, v in changes.items() if k in TierValue.model_fields})
    posture = posture.model_copy(update={k: v for k, v in changes.items() if k in ValueSettings.model_fields})
    return ExpectedValue(tier, posture).value(
        p, edge_ticks=changes.get("edge", edge), h_ticks=h, tau_ns=tau_ns,
        inventory=changes.get("inventory", inventory),
    )  # fmt: skip


FLAT = [0.0] * 12


def plain(**keys: Any) -> TierValue:
    base = {"hit_probability": 0.5, "informed_share": 0.0, "adverse_share": 0.0, "latency": "0ms"}
    return TierValue.model_validate(base | keys)


def test_without_risk_the_longest_life_is_best() -> None:
    """π = 0 and β = 0: V = a e G(τ). At the median response half of a comes in."""
    best = ExpectedValue(plain(response_median="1s"), ValueSettings()).best(
        FLAT, edge_ticks=2.0, h_ticks=2.0, low_ns=100 * MS, high_ns=1000 * MS
    )
    assert best.life_ns == 1000 * MS
    assert best.value_ticks == pytest.approx(0.5 * 2.0 * 0.5, abs=1e-15)


def test_a_client_who_cannot_answer_in_time_is_worth_nothing() -> None:
    """Latency beyond the longest life: F_A is 0, and no edge helps."""
    best = ExpectedValue(plain(latency="6s"), ValueSettings()).best(
        FLAT, edge_ticks=1.0, h_ticks=1.0, low_ns=100 * MS, high_ns=5000 * MS
    )
    assert (best.value_ticks, best.break_even_ticks) == (0.0, math.inf)


def test_informed_taker_alone_never_gives_value() -> None:
    """π = 1: there is nobody to earn from."""
    best = ExpectedValue(plain(informed_share=1.0), ValueSettings()).best(
        [float(p) for p in first_passage(1.0, 1.0)],
        edge_ticks=1.0, h_ticks=1.0, low_ns=100 * MS, high_ns=2000 * MS,
    )  # fmt: skip
    assert best.value_ticks <= 0
    assert best.life_ns == 100 * MS
    assert best.break_even_ticks == math.inf


def test_clockwork_client_is_waited_for_and_no_longer() -> None:
    """σ = 0.01 around 500 ms: the life ends once the client has answered, 3 % later."""
    p = [float(x) for x in first_passage(1.0, 0.8)]
    tier = plain(response_median="500ms", response_sigma=0.01, informed_share=0.3)
    best = ExpectedValue(tier, ValueSettings()).best(
        p, edge_ticks=0.9, h_ticks=1.0, low_ns=100 * MS, high_ns=5000 * MS
    )
    assert 505 * MS < best.tau_ns < 520 * MS


def test_taker_that_needs_time_gives_it() -> None:
    """P = 1 from the start: all lives up to the taker's latency are free, the next nanosecond costs all."""
    tier = plain(response_median="200ms", informed_share=0.5, taker_latency="300ms")
    best = ExpectedValue(tier, ValueSettings(pick_off_weight=3.0)).best(
        [1.0] * 12, edge_ticks=1.0, h_ticks=1.0, low_ns=100 * MS, high_ns=5000 * MS
    )
    assert best.life_ns == 300 * MS


def test_break_even_by_hand() -> None:
    """One life only, τ = median: G = 1/2, a = 1, π = 1/5, λ = 1, c = 3/2, h = 2, P(τ) = 1/4, β = ρ = κ = 0.

    V = 0.8·e·0.5 − 0.2·(3 − e)·0.25 = 0.45 e − 0.15 > 0 from e = 1/3 on (and 1e-9·h/0.45 for what counts as value).
    """
    tier = plain(
        hit_probability=1.0, response_median="500ms", informed_share=0.2, taker_latency="0ms", loss_in_h=1.5
    )
    best = ExpectedValue(tier, ValueSettings()).best(
        [0.25] * 12, edge_ticks=1.0, h_ticks=2.0, low_ns=500 * MS, high_ns=500 * MS
    )
    assert best.value_ticks == pytest.approx(0.45 - 0.15, abs=1e-15)
    assert best.break_even_ticks == pytest.approx(1 / 3 + 2e-9 / 0.45, abs=1e-14)


def test_bounds_that_hold_no_life_are_refused() -> None:
    solver = ExpectedValue(plain(), ValueSettings())
    for low, high in ((0, 1000), (2000, 1000), (1500, 2000), (1000, 6_000_000_000)):
        with pytest.raises(ValueError, match="low_ns"):
            solver.best(FLAT, edge_ticks=1.0, h_ticks=1.0, low_ns=low, high_ns=high)
    with pytest.raises(ValueError, match="12 points"):
        solver.value(np.zeros(3), edge_ticks=1.0, h_ticks=1.0, tau_ns=1000)
