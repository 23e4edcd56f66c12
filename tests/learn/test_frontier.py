"""Frontier on flows whose answer is known, and the bootstrap's coverage on a process whose mean is known."""

from dataclasses import replace

import numpy as np
import pytest

from quotelife.learn.bootstrap import block_of, block_sums, interval, means, weights
from quotelife.learn.flow import Flow, Met
from quotelife.learn.frontier import frontier
from quotelife.learn.labels import NEVER
from quotelife.learn.scores import auc_within, fit_platt, horizon_score
from reference import flow_twin as twin

MS = twin.MS
S = 1000 * MS


def two_kinds() -> Met:
    """Half the quotes are picked off at 1 ms, the other half never."""
    d = twin.market(3, seconds=400)
    m = Flow(taker_latency_ns=0).meet(d, d.h_ticks[:, 0], seed=1)
    bad = np.arange(len(d)) % 2 == 0
    return replace(m, hit_ns=np.where(bad, MS, NEVER // 2))


def test_a_family_of_one_life_for_all_equals_the_fixed_life() -> None:
    m = two_kinds()
    block = block_of(m.decisions.now_ns, 10_000 * MS)
    rows = frontier(m, lambda life: np.full(len(block), int(life * MS)), 25.0, 5000.0, block, seed=1)
    for row in rows:
        assert row["change"] == pytest.approx(0.0, abs=1e-9)
        assert row["static"] == pytest.approx(0.5, abs=0.01)


def test_who_knows_the_bad_half_avoids_it_at_half_fill_and_not_beyond() -> None:
    """Quoting only the good half: no pick-offs up to a fill of one half; at 0.7 a fill of 0.4 of the bad half is
    needed at least, which a life of 25 ms.. brings with every bad quote picked off."""
    m = two_kinds()
    bad = np.arange(len(m.decisions)) % 2 == 0
    block = block_of(m.decisions.now_ns, 10_000 * MS)

    def family(life: float) -> np.ndarray:
        return np.where(bad, 0, int(life * MS))

    rows = frontier(m, family, 25.0, 5000.0, block, seed=1, levels=(0.2, 0.3, 0.7))
    assert [row["change"] for row in rows] == [-1.0, -1.0, None]


def test_between_two_points_the_pick_offs_are_those_of_a_coin() -> None:
    """A family that knows two lives only: at a fill between theirs, the mixture."""
    m = two_kinds()
    bad = np.arange(len(m.decisions)) % 2 == 0
    block = block_of(m.decisions.now_ns, 10_000 * MS)

    def family(x: float) -> np.ndarray:
        return np.full(len(bad), 5000 * MS) if x > 1.0 else np.where(bad, 0, 5000 * MS)

    low, high = (float(m.settle(family(x)).fill.mean()) for x in (0.5, 2.0))
    (row,) = frontier(m, family, 0.1, 10.0, block, seed=1, levels=(0.7,))
    assert row["policy"] == pytest.approx(0.5 * (0.7 - low) / (high - low), abs=2e-3)


def test_the_block_bootstrap_covers_the_mean_of_a_dependent_process() -> None:
    """95 % intervals of an AR(1) mean hold 0 in 85 to 99 of 100; single rows as blocks hold it in far fewer, as the
    first 20 show."""
    hits = {1: 0, 200: 0}
    for trial in range(100):
        rng = np.random.default_rng(trial)
        shock = rng.standard_normal(6000)
        x = np.empty(6000)
        level = 0.0
        for i, each in enumerate(shock):
            level = 0.9 * level + each
            x[i] = level
        for size in hits if trial < 20 else (200,):
            block = block_of(np.arange(6000), size)
            drawn = weights(6000 // size, seed=trial, draws=300 if size > 1 else 100)
            ((_, found),) = means(x[:, None], np.ones(6000, bool), block, drawn)
            assert found is not None
            hits[size] += found[0] <= 0.0 <= found[1]
    assert 85 <= hits[200] <= 99
    assert hits[1] < 12


def test_blocks_hold_whole_stretches_and_sums_add_up() -> None:
    now = np.array([0, 5, 10, 11, 35])
    block = block_of(now, 10)
    assert block.tolist() == [0, 0, 1, 1, 2]
    assert block_sums(block, np.arange(5.0))[:, 0].tolist() == [1.0, 5.0, 4.0]
    assert (weights(3, seed=1, draws=50).sum(axis=1) == 3).all()


def test_no_interval_where_draws_without_a_number_could_lie_inside_it() -> None:
    """25 of 1,000 are no more than a tail; 26 are."""
    draws = np.arange(1000.0)
    draws[:25] = np.nan
    assert interval(draws, 10) == pytest.approx([49.35, 974.65], abs=0.1)
    draws[25] = np.nan
    assert interval(draws, 10) is None


def test_rows_in_few_blocks_have_a_mean_and_no_interval() -> None:
    """One value a block: with the rows of nine blocks there is no interval, with those of ten the draws of them; a
    draw that holds none of them is no zero."""
    block, values = np.repeat(np.arange(40), 5), np.full((200, 1), 3.0)
    drawn = weights(40, seed=1)
    assert means(values, block < 9, block, drawn) == [(3.0, None)]
    assert means(values, block < 10, block, drawn) == [(3.0, [3.0, 3.0])]


@pytest.mark.parametrize(("blocks", "told"), [(9, False), (10, True)])
def test_scores_and_frontier_of_few_blocks_have_no_interval_either(blocks: int, told: bool) -> None:
    m = two_kinds()
    now = m.decisions.now_ns
    m = m_of(m, now < (now[0] // S + blocks * 20) * S)
    now, rng = m.decisions.now_ns, np.random.default_rng(1)
    block = block_of(now - now[0], 20 * S)
    assert block.max() + 1 == blocks
    rows = frontier(m, lambda x: np.full(len(block), int(x * MS)), 25.0, 5000.0, block, seed=1, levels=(0.3,))
    score = horizon_score(
        rng.random(len(now)), rng.random(len(now)) < 0.5, now - now[0], block_ns=20 * S, seed=1
    )
    found = [rows[0]["interval"], score["auc_interval"], score["brier_skill_interval"]]
    assert [each is not None for each in found] == [told] * 3
    assert None not in (rows[0]["change"], score["auc"], score["brier_skill"])


def m_of(met: Met, keep: np.ndarray) -> Met:
    """The same quotes, those of ``keep`` alone."""
    d = met.decisions[np.flatnonzero(keep)]
    return replace(met.flow.meet(d, met.h_ticks[keep], seed=1), hit_ns=met.hit_ns[keep])


def test_a_horizon_without_rows_has_no_figures_and_no_error() -> None:
    nothing = np.empty(0)
    score = horizon_score(nothing, nothing.astype(bool), nothing.astype(np.int64), block_ns=60 * S, seed=1)
    assert score.pop("reliability") == [] and set(score.values()) == {None}


def test_a_clock_does_not_pass_within_ten_minutes() -> None:
    """A score that tells only which block it is: a good AUC across the day, one half inside the blocks."""
    rng = np.random.default_rng(1)
    group = np.repeat(np.arange(10), 400)
    hit = rng.random(4000) < 0.02 + 0.05 * group
    p = 0.02 + 0.05 * group.astype(float)
    now = group * 600_000_000_000
    score = horizon_score(p, hit, now, block_ns=60_000_000_000, seed=1)
    assert score["auc"] > 0.65 and score["auc_within_10min"] == 0.5
    assert score["auc_interval"][0] < score["auc"] < score["auc_interval"][1]


def test_auc_within_groups_weighs_each_by_its_pairs() -> None:
    p = np.array([0.1, 0.2, 0.3, 0.4, 0.5, 0.1])
    hit = np.array([False, True, False, False, True, True])
    # group 0: rows 0, 1: right. group 1: rows 2..5: (0.5 beats two, 0.1 loses to two) = 2 of 4.
    assert auc_within(p, hit, np.array([0, 0, 1, 1, 1, 1])) == pytest.approx((1 + 2) / 5)


def test_platt_finds_the_line_it_was_drawn_from() -> None:
    rng = np.random.default_rng(2)
    z = rng.standard_normal(40000)
    hit = rng.random(40000) < 1.0 / (1.0 + np.exp(-(-2.0 + 0.7 * z)))
    a, b = fit_platt(z, hit)
    assert (a, b) == (pytest.approx(-2.0, abs=0.06), pytest.approx(0.7, abs=0.06))
