"""Lives: figures worked out beforehand, the lives of the shipped postures, and what holds on any curve."""

import math
from itertools import pairwise
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from quotelife.config.checks import POSTURE_NAMES, life_ms
from quotelife.config.schema import ClientPriority, LiquidityProvider, Postures, PostureSettings, RiskAverse
from quotelife.decision.life import PostureLife
from quotelife.records import HORIZONS_NS, BindingFlags, ReasonFlags

MS = 1_000_000
POSTURES = [ClientPriority(), LiquidityProvider(), RiskAverse()]
LIVES = [PostureLife(posture) for posture in POSTURES]
CLIENT_PRIORITY, LIQUIDITY_PROVIDER, RISK_AVERSE = LIVES


def posture(base: type[PostureSettings] = RiskAverse, **keys: Any) -> PostureLife:
    return PostureLife(base.model_validate(keys))


@pytest.mark.parametrize(
    ("p500", "expected_ms"),
    [
        (0.001, 750),
        (0.00995, 750),
        (0.01, 748.29),
        (0.02, 500),
        (0.05, 291.95),
        (0.10, 192.66),
        (0.15, 150),
        (0.20, 124.91),
        (0.28, 100),
        (0.5, 100),
        (0.999, 100),
    ],
)
def test_tolerance_fixture(p500: float, expected_ms: float) -> None:
    """Risk Averse, to the hundredth of a millisecond."""
    assert expected_ms == round(RISK_AVERSE.life(p500).life_ns / MS, 2)


def test_capped_fixture_is_a_cap_not_the_formula() -> None:
    """At .00995 the formula gives a little more than 750 ms and the bound takes over."""
    life = RISK_AVERSE.life(0.00995)
    assert life.binding == BindingFlags.MAXIMUM
    assert life_ms(POSTURES[2].model_copy(update={"life_max_ns": 10_000 * MS}), 0.00995) > 750


@pytest.mark.parametrize(("p500", "expected_ms"), [(0.0199999, 750), (0.02, 100), (0.0200001, 100)])
def test_step_fixture(p500: float, expected_ms: int) -> None:
    """The preset step_2pct on both sides of its edge."""
    life = posture(mode="step", step_table="step_2pct").life(p500)
    assert (expected_ms * MS, BindingFlags.STEP) == (life.life_ns, life.binding)


@pytest.mark.parametrize(
    ("p500", "expected_ms"),
    [
        (0.15, (389, 257, 150)),
        (0.02, (1297.6, 856.3, 500)),
        (0.005, (2902, 1915, 750)),
        (0.001, (5000, 2000, 750)),
    ],
)
def test_table_of_lives(p500: float, expected_ms: tuple[float, ...]) -> None:
    """As shipped: Client Priority, Liquidity Provider, Risk Averse."""
    for life, expected in zip(LIVES, expected_ms, strict=True):
        digits = 1 if expected != int(expected) else 0
        assert expected == round(life.life(p500).life_ns / MS, digits)


@pytest.mark.parametrize("life", LIVES)
def test_certain_and_impossible(life: PostureLife) -> None:
    """P = 0 gives the longest life, P = 1 and a P that is no number the shortest."""
    bounds = sorted({life.life(0.0).life_ns, life.life(1.0).life_ns})
    assert life.life(0.0).binding == BindingFlags.MAXIMUM
    assert life.life(1.0).binding == BindingFlags.MINIMUM | BindingFlags.BELOW_MINIMUM
    assert life.life(1.0).reasons == ReasonFlags.BELOW_MINIMUM
    assert life.life(math.nan).life_ns == bounds[0]
    assert len(bounds) == 2


def test_below_minimum_declines_when_told() -> None:
    """``below_minimum: decline`` gives no life at all, and says why."""
    life = posture(below_minimum="decline").life(0.5)
    assert life == (0, BindingFlags.BELOW_MINIMUM, ReasonFlags.BELOW_MINIMUM, True)
    assert not posture(below_minimum="decline").life(0.15).decline


def test_step_table_is_clipped_to_the_bounds() -> None:
    """A preset's row below the posture's minimum is lifted to it, and the minimum is named as binding."""
    life = posture(ClientPriority, mode="step").life(0.5)
    assert (life.life_ns, life.binding) == (250 * MS, BindingFlags.STEP | BindingFlags.MINIMUM)


def test_steps_of_ones_own() -> None:
    """Each row holds from its p on; a P that is no number takes the last row."""
    rows = tuple({"p_at_or_above": p, "life": f"{ms}ms"} for p, ms in ((0, 700), (0.01, 400), (0.1, 200)))
    life = posture(mode="step", step_table=rows)
    expected = {0.0: 700, 0.00999: 700, 0.01: 400, 0.0999: 400, 0.1: 200, 1.0: 200, math.nan: 200}
    assert expected == {p: life.life(p).life_ns // MS for p in expected}


def test_one_tick_threshold_belongs_to_the_preset_in_force() -> None:
    """step_2pct always uses h of one tick; no other setting does."""
    rows = ({"p_at_or_above": 0, "life": "200ms"},)
    assert posture(mode="step").one_tick_threshold
    assert not posture().one_tick_threshold
    assert not posture(mode="step", step_table=rows).one_tick_threshold


def curve_of(sigma: float) -> list[float]:
    """First-passage curve for h = 1 on the horizon grid, σ a √s."""
    return [math.erfc(1 / (sigma * math.sqrt(2 * tau / 1e9))) for tau in HORIZONS_NS]


@pytest.mark.parametrize("k", range(2, 10))
def test_curve_mode_finds_the_time_at_which_tolerance_is_met(k: int) -> None:
    """Where the first-passage curve meets α on the grid, the life is that point to the µs."""
    sigma = 1 / (1.959963984540054 * math.sqrt(HORIZONS_NS[k] / 1e9))  # 2Φ(−1.96) = 5 %
    life = posture(LiquidityProvider, tolerance_source="curve").life(curve_of(sigma))
    assert life.life_ns == pytest.approx(HORIZONS_NS[k], abs=1_000)


@pytest.mark.parametrize("sigma", [0.45, 0.6, 0.8, 1.0, 1.3])
def test_curve_mode_stays_between_the_points_around_tolerance(sigma: float) -> None:
    curve = curve_of(sigma)
    life_ns = posture(LiquidityProvider, tolerance_source="curve").life(curve).life_ns
    k = max(k for k in range(12) if curve[k] <= 0.05)
    assert min(HORIZONS_NS[k], 2_000 * MS) <= life_ns <= min(HORIZONS_NS[k + 1], 2_000 * MS)


def test_curve_mode_says_when_the_grid_ends() -> None:
    """A calm curve under a bound beyond the grid is held at the grid's end."""
    life = posture(ClientPriority, tolerance_source="curve", life_max="30s")
    assert life.life(np.zeros(12))[:2] == (5_000 * MS, BindingFlags.HORIZON)


def test_curve_mode_clips_to_bounds() -> None:
    life = posture(RiskAverse, tolerance_source="curve")
    assert life.life(np.zeros(12))[:2] == (750 * MS, BindingFlags.MAXIMUM)
    assert life.life(np.ones(12))[:2] == (100 * MS, BindingFlags.MINIMUM | BindingFlags.BELOW_MINIMUM)


def test_lives_are_whole_microseconds() -> None:
    lives = np.concatenate([life.lives_ns(np.linspace(0, 1, 10_001)) for life in LIVES])
    assert not np.any(lives % 1000)


def test_code_agrees_with_the_plain_formula() -> None:
    """The compiled lives equal the plain Python ones to the microsecond they are rounded to."""
    p500 = np.concatenate([[0, 1], np.logspace(-9, 0, 500)])
    for settings_, life in zip(POSTURES, LIVES, strict=True):
        expected = np.array([life_ms(settings_, p) for p in p500]) * 1e3
        np.testing.assert_allclose(life.lives_ns(p500) / 1e3, expected, atol=0.5001, rtol=0)


def test_invariants_on_a_million_probabilities() -> None:
    """Inside the bounds, ordered by posture, never longer when P is higher."""
    rng = np.random.default_rng(20260101)
    p500 = np.sort(np.concatenate([rng.random(500_000), 10 ** rng.uniform(-9, 0, 500_000)]))
    lives = [life.lives_ns(p500) for life in LIVES]
    for settings_, values in zip(POSTURES, lives, strict=True):
        assert settings_.life_min_ns == values.min()
        assert settings_.life_max_ns == values.max()
        assert np.all(np.diff(values) <= 0)
    for loose, tight in pairwise(lives):
        assert np.all(tight <= loose)


@st.composite
def ordered_postures(draw: st.DrawFn) -> Postures:
    """Any three postures that the configuration accepts: bounds and tolerances in order, one kind of mode."""
    alphas = sorted(draw(st.lists(st.floats(1e-4, 0.5), min_size=3, max_size=3)), reverse=True)
    lows = sorted(draw(st.lists(st.integers(25, 1000), min_size=3, max_size=3)), reverse=True)
    highs = sorted(draw(st.lists(st.integers(1000, 8000), min_size=3, max_size=3)), reverse=True)
    source = draw(st.sampled_from(["p500", "curve"]))
    gamma = draw(st.floats(0.3, 4))
    built = {
        name: {
            "tolerance": alphas[i],
            "life_min": f"{lows[i]}ms",
            "life_max": f"{highs[i]}ms",
            "gamma": gamma,
            "tolerance_source": source,
        }
        for i, name in enumerate(POSTURE_NAMES)
    }
    return Postures.model_validate(built)


@settings(max_examples=200, deadline=None)
@given(ordered_postures(), st.integers(0, 2**32 - 1))
def test_invariants_hold_for_any_accepted_postures(postures: Postures, seed: int) -> None:
    """Both sources of tolerance: 200 triples of postures × 40 curves, each also raised."""
    rng = np.random.default_rng(seed)
    settings_ = [getattr(postures, name) for name in POSTURE_NAMES]
    compiled = [PostureLife(each) for each in settings_]
    for _ in range(40):
        curve = np.sort(10 ** rng.uniform(-rng.uniform(0, 12), 0, 12))
        raised = np.maximum.accumulate(curve + (1 - curve) * rng.random(12) * rng.random())
        lives = [each.life(curve).life_ns for each in compiled]
        for each, life, life_ns in zip(settings_, compiled, lives, strict=True):
            assert each.life_min_ns <= life_ns <= each.life_max_ns
            assert life.life(raised).life_ns <= life_ns
        assert lives == sorted(lives, reverse=True)


@settings(max_examples=200, deadline=None)
@given(st.floats(0, 1), st.lists(st.floats(1e-6, 0.5), min_size=2, max_size=2).map(sorted))
def test_less_tolerance_never_lives_longer(p500: float, alphas: list[float]) -> None:
    for life in LIVES:
        assert life.life(p500, alphas[0]).life_ns <= life.life(p500, alphas[1]).life_ns
