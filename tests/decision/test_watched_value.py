"""Expected value of quotes that are watched: less is lost, so lives are no shorter, and within the same bounds."""

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from decision.test_expected_value import EXACT, Problem, problems
from quotelife.config.schema import PostureSettings, TierValue
from quotelife.decision.expected_value import ExpectedValue
from quotelife.decision.life import PostureLife
from quotelife.model.curve import probability_at
from reference.value_twin import ValueTwin

MS = 1_000_000
shares = st.one_of(st.sampled_from([0.0, 1.0]), st.floats(0, 1))
relaxed = settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])


def tier_of(problem: Problem, leaves: float) -> TierValue:
    return problem[0].model_copy(update={"watch_leaves": leaves})


def life_of(problem: Problem, leaves: float, source: str, alpha: float, *, watched: bool = True) -> int:
    _, terms, p, edge, h, *_ = problem
    posture = PostureLife(
        PostureSettings.model_validate(
            {
                "mode": "expected_value",
                "tolerance_source": source,
                "tolerance": 0.5,
                "life_min": "20ms",
                "life_max": "4s",
                "below_minimum": "decline",
            }
        )
    )
    value = ExpectedValue(tier_of(problem, leaves), terms, watched=watched)
    found = posture.choose_by_value(np.array([p]), value, edge_ticks=edge, h_ticks=h, alpha=alpha)
    return int(found.life_ns[0])


@settings(relaxed, max_examples=30)
@given(problems(), shares)
def test_a_watch_takes_its_share_of_losses_and_adverse_moves(problem: Problem, leaves: float) -> None:
    """V with a watch is V with so much less of both, by the twin; its maximum lies within the bounds asked for."""
    tier, terms, p, edge, h, inventory, low, high = problem
    less = tier.model_copy(update={"adverse_share": tier.adverse_share * leaves})
    weight = terms.model_copy(update={"pick_off_weight": terms.pick_off_weight * leaves})
    twin = ValueTwin(less, weight, p, edge, h, inventory)
    value = ExpectedValue(tier_of(problem, leaves), terms, watched=True)
    best = value.best(p, edge_ticks=edge, h_ticks=h, low_ns=low, high_ns=high, inventory=inventory)
    assert low <= best.life_ns <= high
    assert best.value_ticks == pytest.approx(twin.value(best.tau_ns), abs=EXACT * h, rel=0)
    assert best.value_ticks >= twin.best(low, high)[1] - EXACT * h


@settings(relaxed, max_examples=100)
@given(problems(), st.sampled_from(["p500", "curve"]), st.floats(0, 0.9))
def test_a_watch_that_leaves_everything_changes_nothing(problem: Problem, source: str, alpha: float) -> None:
    _, terms, p, edge, h, inventory, low, high = problem
    watched, alone = (ExpectedValue(tier_of(problem, 1.0), terms, watched=each) for each in (True, False))
    asked = {"edge_ticks": edge, "h_ticks": h, "low_ns": low, "high_ns": high, "inventory": inventory}
    assert watched.best(p, **asked) == alone.best(p, **asked)
    assert life_of(problem, 1.0, source, alpha) == life_of(problem, 1.0, source, alpha, watched=False)


@settings(relaxed, max_examples=100)
@given(problems(), st.sampled_from(["p500", "curve"]), st.floats(0, 0.9), shares, shares)
def test_the_less_a_watch_leaves_the_longer_the_life(
    problem: Problem, source: str, alpha: float, first: float, second: float
) -> None:
    """No life is shorter for a watch that leaves less; every life keeps to the bounds, and what a watch leaves of
    P(life) to the tolerance. Lives of equal value may be told in either order: they lie within what V is exact to."""
    _, terms, p, edge, h, *_ = problem
    low, high = sorted((first, second))
    better, worse = life_of(problem, low, source, alpha), life_of(problem, high, source, alpha)
    for leaves, life in ((low, better), (high, worse)):
        assert life == 0 or 20 * MS <= life <= 4000 * MS
        assert life == 0 or leaves * probability_at(p, life) <= alpha + 1e-9
    if better < worse:
        value = ExpectedValue(tier_of(problem, low), terms, watched=True)
        there, here = (
            value.value(p, edge_ticks=edge, h_ticks=h, tau_ns=life) if life else 0.0
            for life in (worse, better)
        )
        assert there <= here + EXACT * h
        value = ExpectedValue(tier_of(problem, high), terms, watched=True)
        gain = value.value(p, edge_ticks=edge, h_ticks=h, tau_ns=worse)
        gain -= value.value(p, edge_ticks=edge, h_ticks=h, tau_ns=better) if better else 0.0
        assert gain <= 4 * EXACT * h
