"""The RFQ flow against a plain-Python twin, quote by quote, and what it may not know."""

from dataclasses import replace

import numpy as np
import pytest

from quotelife.learn.flow import Flow, Met, Outcome, Withdrawal
from reference import flow_twin as twin

MS = twin.MS
FLOWS = [Flow(), Flow(walks_away=True, hit_probability=0.6, taker_sigma=0.5, response_median_ns=900 * MS)]


def met(flow: Flow, *, seed: int = 3) -> Met:
    decisions = twin.market(seed)
    return flow.meet(decisions, decisions.h_ticks[:, 0], seed=11)


def lives(n: int, seed: int = 5) -> np.ndarray:
    return np.random.default_rng(seed).choice([0, 40 * MS, 250 * MS, 1000 * MS, 5000 * MS], size=n)


@pytest.mark.parametrize("withdraw", [False, True])
@pytest.mark.parametrize("flow", FLOWS, ids=["stays", "walks away"])
def test_each_quote_ends_as_its_twin_does(flow: Flow, withdraw: bool) -> None:
    """Fill, pick-off and value of every row, worked out from the path alone."""
    m = met(flow)
    d = m.decisions
    life = lives(len(d))
    got = m.settle(life, withdraw=withdraw)
    times = d.path.time_ns.tolist()
    micro, mid = d.path.microprice_ticks.tolist(), d.path.mid_ticks.tolist()
    some = {"picked": 0, "withdrawn": 0, "walked": 0}
    for i in range(len(d)):
        now, s, h = int(d.now_ns[i]), int(d.side[i]), float(d.h_ticks[i, 0])
        ref, ref_mid = twin.price_at(times, micro, now), twin.price_at(times, mid, now)
        end = int(life[i])
        until = now + twin.LONGEST
        warned = twin.first(times, mid, now, until, lambda v, s=s, r=ref_mid, h=h: -s * (v - r) >= 0.5 * h)
        if withdraw and warned is not None and warned + 5 * MS < end:
            end = warned + 5 * MS
            some["withdrawn"] += 1
        passed = twin.first(times, micro, now, until, lambda v, s=s, r=ref, h=h: -s * (v - r) >= h)
        away = twin.first(times, micro, now, until, lambda v, s=s, r=ref, h=h: s * (v - r) >= h)
        benign_end = end
        if flow.walks_away and away is not None and away < end:
            benign_end = away
            some["walked"] += 1
        fill = flow.hit_probability * twin.accepted(
            benign_end, flow.response_median_ns, flow.response_sigma, flow.latency_ns
        )
        taker = int(m.hit_ns[i]) - passed if passed is not None else 0
        picked = passed is not None and passed + taker <= end and end > 0
        moved = [
            -s * (twin.price_at(times, micro, now + int(a)) - ref)
            for a in m.accept_ns[i]
            if a <= benign_end and benign_end > 0
        ]
        value = (1 - flow.informed_share) * (fill * 0.5 * h - flow.hit_probability * sum(moved) / flow.draws)
        if picked:
            some["picked"] += 1
            hit = -s * (twin.price_at(times, micro, now + passed + taker) - ref)
            value += flow.informed_share * (0.5 * h - hit)
        assert got.fill[i] == pytest.approx(fill, abs=2e-6)
        assert got.picked[i] == picked
        assert got.value_in_h[i] == pytest.approx(value / h, abs=2e-6)
    assert (
        some["picked"] > 5 and (some["withdrawn"] > 5) == withdraw and (some["walked"] > 5) == flow.walks_away
    )


@pytest.mark.parametrize("flow", FLOWS, ids=["stays", "walks away"])
def test_single_outcomes_have_the_means_that_settle_tells(flow: Flow) -> None:
    """Shares and value over many seeds lie within five standard errors of the closed means."""
    d = twin.market(3)
    life = lives(len(d))
    fills, picks, values, means = [], [], [], []
    for seed in range(150):
        m = flow.meet(d, d.h_ticks[:, 0], seed=seed)
        sampled = m.sample(life, withdraw=True)
        fills.append((sampled.outcome == Outcome.FILLED).mean())
        picks.append((sampled.outcome == Outcome.PICKED_OFF).mean())
        values.append((sampled.value_ticks / m.h_ticks).mean())
        settled = m.settle(life, withdraw=True)
        share = flow.informed_share
        means.append(
            [(1 - share) * settled.fill.mean(), share * settled.picked.mean(), settled.value_in_h.mean()]
        )
    for got, expected in zip((fills, picks, values), np.mean(means, axis=0), strict=True):
        assert abs(np.mean(got) - expected) < 5 * np.std(got) / np.sqrt(len(got)) + 1e-6


def test_every_quote_has_one_outcome_and_declined_ones_never_trade() -> None:
    m = met(FLOWS[0])
    life = lives(len(m.decisions))
    sampled = m.sample(life, withdraw=True)
    assert sum(sampled.counts().values()) == len(life)
    assert ((sampled.outcome == Outcome.DECLINED) == (life == 0)).all()
    assert np.isnan(sampled.markout_ticks[life == 0]).all()


def test_a_markout_is_the_price_that_much_after_the_trade() -> None:
    m = met(FLOWS[0])
    d = m.decisions
    sampled = m.sample(np.full(len(d), 2000 * MS))
    times, micro = d.path.time_ns.tolist(), d.path.microprice_ticks.tolist()
    for i in np.flatnonzero(sampled.outcome == Outcome.FILLED)[:40]:
        at = int(d.now_ns[i] + sampled.age_ns[i]) + 100 * MS
        moved = int(d.side[i]) * (twin.price_at(times, micro, at) - d.reference_ticks[i])
        assert sampled.markout_ticks[i, 0] == pytest.approx(0.5 + moved)


def test_what_lies_behind_the_longest_horizon_changes_nothing() -> None:
    """No look-ahead: prices later than the last decision + 5 s may be anything."""
    m = met(FLOWS[1])
    d = m.decisions
    before = d[slice(0, len(d) // 2)]
    end = int(before.now_ns[-1]) + twin.LONGEST
    late = d.path.time_ns > end
    other = replace(
        d.path,
        mid_ticks=np.where(late, d.path.mid_ticks + 50.0, d.path.mid_ticks),
        microprice_ticks=np.where(late, d.path.microprice_ticks - 50.0, d.path.microprice_ticks),
    )
    life = lives(len(before))
    answers = []
    for path in (d.path, other):
        settled = (
            FLOWS[1]
            .meet(replace(before, path=path), before.h_ticks[:, 0], seed=11)
            .settle(life, withdraw=True)
        )
        answers.append((settled.fill, settled.picked, settled.value_in_h))
    for one, two in zip(*answers, strict=True):
        assert np.array_equal(one, two)


def test_the_same_seed_meets_the_same_takers() -> None:
    one, two, other = (
        met(FLOWS[1]),
        met(FLOWS[1]),
        FLOWS[1].meet(twin.market(3), twin.market(3).h_ticks[:, 0], seed=12),
    )
    assert np.array_equal(one.accept_ns, two.accept_ns) and np.array_equal(one.kind, two.kind)
    assert not np.array_equal(one.accept_ns, other.accept_ns)


def test_a_decision_that_is_not_observed_to_the_end_is_refused() -> None:
    d = twin.market(3)
    short = replace(d, observed_ns=np.full(len(d), twin.LONGEST - 1))
    with pytest.raises(ValueError, match="observed"):
        Flow().meet(short, short.h_ticks[:, 0], seed=1)


def test_a_withdrawal_with_an_endless_path_saves_nothing() -> None:
    d = twin.market(3)
    never = Flow().meet(d, d.h_ticks[:, 0], seed=1, withdrawal=Withdrawal(path_ns=10 * twin.LONGEST))
    life = lives(len(d))
    assert np.array_equal(never.settle(life, withdraw=True).value_in_h, never.settle(life).value_in_h)
