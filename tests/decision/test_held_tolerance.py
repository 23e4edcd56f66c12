"""Held tolerance: the realised share stays below α, whatever the model is worth."""

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from quotelife.config.schema import (
    ClientPriority,
    HeldToleranceSettings,
    LiquidityProvider,
    PostureSettings,
    RiskAverse,
)
from quotelife.decision.held_tolerance import FREE, FROZEN, REMEMBERED, SHORTEST, HeldTolerance
from quotelife.decision.life import PostureLife
from quotelife.records import HORIZONS_NS

MS = 1_000_000
NEVER = 2**63 - 1
SHIPPED = HeldToleranceSettings()
POSTURES = (ClientPriority, LiquidityProvider, RiskAverse)


@given(st.lists(st.booleans(), max_size=300), st.floats(0.001, 0.5), st.floats(0.001, 0.5))
def test_each_label_moves_alpha_by_the_formula(hits: list[bool], alpha: float, rate: float) -> None:
    held = HeldTolerance(alpha, rate)
    expected = alpha
    for hit in hits:
        expected = min(max(expected + rate * (alpha - hit), 0.0), alpha)
        assert held.update(hit) == pytest.approx(expected, abs=1e-15)


@given(st.lists(st.booleans(), max_size=300))
def test_what_something_else_set_moves_nothing(hits: list[bool]) -> None:
    held = HeldTolerance(0.05, 0.01)
    held.update(True)
    before = held.alpha
    for hit in hits:
        held.update(hit, FROZEN)
    assert held.alpha == before


@given(st.lists(st.booleans(), max_size=300))
def test_hits_within_the_shortest_life_take_nothing_from_alpha(hits: list[bool]) -> None:
    held = HeldTolerance(0.05, 0.01)
    for _ in range(3):
        held.update(True)
    alpha, debt = held.alpha, 0.0
    for hit in hits:
        held.update(hit, SHORTEST)
        debt += 0.01 * (0.05 - hit)
        alpha = min(alpha + max(debt, 0.0), 0.05)
        debt = min(max(debt, -20 * 0.05), 0.0)
        assert held.alpha == pytest.approx(alpha)
        assert held.debt == pytest.approx(debt)


@given(
    st.lists(st.tuples(st.booleans(), st.booleans(), st.integers(1, 300)), max_size=20), st.floats(0.1, 0.3)
)
@example(runs=[(True, False, 24), (False, True, 50), (True, False, 24)], alpha=0.2)
def test_hits_of_lives_that_the_tolerance_set_are_bounded_over_labels_of_both_kinds(
    runs: list[tuple[bool, bool, int]], alpha: float
) -> None:
    """Over every stretch of them, by α·n and α/rate and those that bring it to 0; whoever chooses the labels."""
    held, rate = HeldTolerance(alpha, 0.05 * alpha), 0.05 * alpha
    excess = worst = 0.0
    for hit, short in (label for *label, count in runs for _ in range(count)):
        free = held.alpha > 0.0 and not short
        after = held.update(hit, FREE if free else SHORTEST)
        counted = free and hit and after > 0.0
        excess = max(excess + counted - alpha, 0.0)
        worst = max(worst, excess)
    assert worst <= alpha / rate + 1e-6


RUNS = st.lists(
    st.tuples(st.floats(0.0, 1.0), st.floats(0.0, 1.0), st.integers(1, 3000)), min_size=1, max_size=8
)
"""Stretches of a market: the share of lives that are the shortest, the share passed, and how many labels."""


def played(
    held: HeldTolerance, runs: list[tuple[float, float, int]], seed: int
) -> list[tuple[bool, bool, float]]:
    """Of each label: was its life set by the tolerance, was it passed, and the tolerance after it."""
    rng = np.random.default_rng(seed)
    out = []
    for shortest, passed, n in runs:
        for short, hit in zip(rng.random(n) < shortest, rng.random(n) < passed, strict=True):
            free = held.alpha > 0.0 and not short
            out.append((free, bool(hit), held.update(bool(hit), FREE if free else SHORTEST)))
    return out


@pytest.mark.parametrize("posture", POSTURES)
@given(runs=RUNS, seed=st.integers(0, 2**31))
@example(runs=[(0.0, 1.0, 27), (1.0, 0.0, 500)] * 4, seed=0)
@example(runs=[(0.0, 0.5, 60), (1.0, 1.0, 600), (1.0, 0.0, 3000), (1.0, 0.0, 3000)] * 2, seed=0)
def test_as_shipped_passages_within_lives_that_it_set_are_at_most_alpha_of_any_two_thousand_labels(
    posture: type[PostureSettings], runs: list[tuple[float, float, int]], seed: int
) -> None:
    """Where each label is known before the next life is set, and but for the passages that bring it to 0."""
    tolerance = posture.model_validate({}).tolerance
    labels = played(HeldTolerance(tolerance * SHIPPED.target, SHIPPED.rate), runs, seed)
    counted = np.array([free and hit and after > 0.0 for free, hit, after in labels], dtype=np.int64)
    total = np.concatenate([[0], np.cumsum(counted)])
    worst = max(total[min(k + 2000, len(counted))] - total[k] for k in range(len(total)))
    assert worst <= tolerance * 2000 + 1e-6


@pytest.mark.parametrize("posture", POSTURES)
@given(runs=RUNS, seed=st.integers(0, 2**31))
@example(runs=[(0.0, 1.0, 27), (1.0, 1.0, 3000)], seed=0)
def test_after_any_stretch_it_is_whole_again_by_so_many_misses_and_no_more(
    posture: type[PostureSettings], runs: list[tuple[float, float, int]], seed: int
) -> None:
    alpha = posture.model_validate({}).tolerance * SHIPPED.target
    held = HeldTolerance(alpha, SHIPPED.rate)
    played(held, runs, seed)
    owed = alpha - held.alpha - held.debt
    for _ in range(round((REMEMBERED + 1) / SHIPPED.rate)):
        held.update(False, SHORTEST)
    assert owed <= (REMEMBERED + 1) * alpha + 1e-12
    assert held.dump() == (pytest.approx(alpha), pytest.approx(0.0, abs=1e-9))


def test_what_the_shortest_lives_lost_is_earned_back_before_the_tolerance_returns() -> None:
    """Over and over: passages until nothing is left, more of them within the shortest life, then calm until whole."""
    held, alpha = HeldTolerance(0.05, 0.002), 0.05
    hits = labels = 0
    for _ in range(10):
        for k in range(227):
            held.update(True, FREE if k < 27 else SHORTEST)
        hits, labels = hits + 227, labels + 227
        while held.alpha < alpha - 1e-12:
            held.update(False, SHORTEST)
            labels += 1
    assert hits / labels <= alpha + 2e-4


def test_at_no_tolerance_no_life_is_left_though_the_curve_says_never() -> None:
    """P = 0 is what first passage says of a quiet market."""
    for source in ("p500", "curve"):
        posture = PostureLife(LiquidityProvider(tolerance_source=source, life_min="10ms"))
        for curve in (0.0, 1e-300, 0.3):
            assert posture.life(curve, alpha=0.0).life_ns == 10 * MS
        assert posture.life(0.0, alpha=1e-12).life_ns == 2_000 * MS


def test_a_dumped_tolerance_goes_on_where_it_was_and_never_beyond_its_posture() -> None:
    held = HeldTolerance(0.05, 0.01)
    held.update(True)
    held.update(True, SHORTEST)
    again = HeldTolerance(0.05, 0.01)
    again.restore(*held.dump())
    assert again.dump() == held.dump() == (0.05 - 0.01 * 0.95, -0.01 * 0.95)
    stricter = HeldTolerance(0.0002, 0.01)
    stricter.restore(*held.dump())
    assert stricter.dump() == (0.0002, -20 * 0.0002)


def test_a_tolerance_that_came_to_nothing_recovers_by_the_shortest_lives_of_a_calm_market() -> None:
    held = HeldTolerance(0.05, 0.01)
    for _ in range(10):
        held.update(True)
    assert held.alpha == 0.0
    for _ in range(10):
        held.update(True, SHORTEST)
    for _ in range(400):
        held.update(False, SHORTEST)
    assert held.alpha == pytest.approx(0.05)


def market(seed: int, n: int, overconfident: float) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Decisions every 50 ms, their curves as an overconfident model has them, and true first passages."""
    rng = np.random.default_rng(seed)
    phase = np.sin(np.arange(n) / 4000.0)
    z = -3.0 + 1.2 * phase + rng.normal(0.0, 0.8, n)
    true = 1.0 / (1.0 + np.exp(-z))
    said = 1.0 / (1.0 + np.exp(-(z - overconfident)))
    grid = (np.array(HORIZONS_NS) / 5e8) ** 0.9
    curves = -np.expm1(np.log1p(-said)[:, None] * grid)
    rate = -np.log1p(-true)
    passage = 5e8 * (rng.exponential(1.0, n) / rate) ** (1.0 / 0.9)
    return (
        np.arange(n) * 50 * MS,
        curves,
        np.where(passage < 5e9, np.minimum(passage, 5e9).astype(np.int64), NEVER),
    )


@pytest.mark.parametrize("posture", POSTURES)
@pytest.mark.parametrize("overconfident", [0.0, 1.0, 2.0])
def test_as_shipped_no_two_thousand_lives_in_a_row_are_passed_more_often_than_alpha_and_a_point(
    posture: type[PostureSettings], overconfident: float
) -> None:
    """Among those that it set and among all, in a market whose labels come as late as the lives end."""
    settings = posture.model_validate({"tolerance_source": "curve", "life_min": "20ms"})
    now, p, passage = market(11, 40_000, overconfident)
    held = HeldTolerance(settings.tolerance * SHIPPED.target, SHIPPED.rate)
    out = held.lives(PostureLife(settings), now, p, passage, np.full(len(now), 5_000 * MS))
    for counted in (out.hit[(out.by == FREE) & (out.hit >= 0)], out.hit[out.hit >= 0]):
        share = np.convolve(counted[2000:] == 1, np.ones(2000), "valid") / 2000
        assert len(share) > 5_000
        assert share.max() <= settings.tolerance + 0.01


def lives(overconfident: float, rate: float) -> tuple[np.ndarray, np.ndarray]:
    """Hits and what set the life, of an LP posture under the curve tolerance."""
    now, p, passage = market(7, 60_000, overconfident)
    posture = PostureLife(LiquidityProvider(tolerance_source="curve", life_min="20ms"))
    held = HeldTolerance(0.05, rate)
    out = held.lives(posture, now, p, passage, np.full(len(now), 5_000 * MS))
    return out.hit, out.by


@pytest.mark.parametrize("overconfident", [0.0, 1.0, 2.0])
def test_the_share_of_passed_lives_is_held_over_every_two_thousand_labels(overconfident: float) -> None:
    hit, by = lives(overconfident, 0.005)
    counted = hit[(by == FREE) & (hit >= 0)][2000:]
    share = np.convolve(counted == 1, np.ones(2000), "valid") / 2000
    assert len(counted) > 10_000
    assert share.max() <= 0.06


def test_without_it_an_overconfident_model_loses_more_than_the_tolerance() -> None:
    hit, by = lives(2.0, 1e-12)
    counted = hit[(by == FREE) & (hit >= 0)]
    assert np.mean(counted == 1) > 0.08


def test_a_label_counts_only_once_it_is_known() -> None:
    """Decisions 10 ms apart, each passed after 29 ms: the fourth is the first that knows of one."""
    now = np.arange(10) * 10 * MS
    held = HeldTolerance(0.05, 0.01)
    out = held.lives(
        PostureLife(LiquidityProvider(tolerance_source="curve")),
        now,
        np.tile(np.linspace(0.001, 0.04, 12), (10, 1)),
        np.full(10, 29 * MS),
        np.full(10, 5_000 * MS),
    )
    assert out.by.tolist()[:4] == [FREE] * 4
    assert out.alpha[:3].tolist() == [0.05] * 3
    assert out.alpha[3] == pytest.approx(0.05 - 0.01 * 0.95)


def test_a_life_that_was_not_watched_to_its_end_gives_no_label() -> None:
    posture = PostureLife(LiquidityProvider())
    held = HeldTolerance(0.05, 0.01)
    out = held.lives(posture, [0], np.full((1, 12), 1e-6), [NEVER], [10 * MS])
    assert out.hit.tolist() == [-1]


def test_with_the_stamps_of_messages_a_hit_is_known_by_the_next_and_a_miss_by_the_second_after_it() -> None:
    """One decision misses within its life of 2 s, then one is hit by the message at 2 s."""
    posture = PostureLife(LiquidityProvider())
    asked = np.array([0, 100, 2_010, 2_400, 2_500, 2_501, 2_900, 3_000, 3_100]) * MS
    passage = np.full(len(asked), NEVER)
    passage[1] = 1_900 * MS
    held = HeldTolerance(0.05, 0.01)
    curves = np.full((len(asked), 12), 1e-6)
    observed = np.where(np.arange(len(asked)) < 2, 5_000 * MS, 0)
    out = held.lives(
        posture, asked, curves, passage, observed, heard_ns=np.array([1, 2, 2.5, 3]) * 1_000 * MS
    )
    assert out.life_ns[0] == 2_000 * MS
    assert out.hit.tolist() == [0, 1] + [-1] * 7
    hit = 0.05 - 0.01 * 0.95
    assert out.alpha.tolist() == pytest.approx([0.05] * 4 + [hit] * 3 + [hit + 0.01 * 0.05] * 2)


def test_ages_count_from_the_latency_on() -> None:
    posture = PostureLife(LiquidityProvider())
    out = HeldTolerance(0.05, 0.01).lives(
        posture,
        np.array([0, 35, 45]) * MS,
        np.full((3, 12), 1e-6),
        [30 * MS, NEVER, NEVER],
        [5_000 * MS] * 3,
        latency_ns=10 * MS,
    )
    assert (out.alpha < 0.05).tolist() == [False, False, True]
