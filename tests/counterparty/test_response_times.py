"""Response times from quotes that mostly ended before the answer."""

from itertools import pairwise
from statistics import NormalDist

import numpy as np
import pytest

from quotelife.counterparty.response import ResponseTimes
from reference.counterparty_twin import MS, Prior, Quotes

PRIOR = Prior()
TOLD = {"hit": 0.3, "median_ns": 1000 * MS, "sigma": 0.8, "hit_weight": 20.0, "response_weight": 10.0}


def flow(
    lives_ms: list[float],
    n: int,
    *,
    hit: float = 0.5,
    median_ms: float = 350.0,
    sigma: float = 0.5,
    seed: int,
) -> tuple[ResponseTimes, list[float]]:
    """``n`` quotes to a client whose answers are known, and the answers that were seen, in ms."""
    rng = np.random.default_rng(seed)
    times, seen = ResponseTimes(), []
    for life in rng.choice(lives_ms, n) * MS:
        age = median_ms * MS * np.exp(sigma * rng.standard_normal())
        if rng.random() < hit and age <= life:
            times.answered(age)
            seen.append(age / MS)
        else:
            times.lived(life)
    return times, seen


def test_without_quotes_the_prior_is_the_estimate() -> None:
    fit = ResponseTimes().fit(**TOLD)
    assert fit.hit == pytest.approx(0.3, abs=1e-9)
    assert fit.median_ns == pytest.approx(1000 * MS, rel=1e-9)
    assert fit.sigma == pytest.approx(0.8, abs=1e-9)


@pytest.mark.parametrize("seed", range(6))
def test_the_fit_is_the_largest_posterior_of_the_twin(seed: int) -> None:
    rng = np.random.default_rng(seed)
    times, twin = ResponseTimes(), Quotes()
    lives = 10.0 ** rng.uniform(1.5, 3.7, 3) * MS  # one bin each: binning loses nothing
    for life in rng.choice(lives, int(rng.integers(1, 300))):
        age = 10.0 ** rng.normal(2.4, 0.4) * MS
        answer = rng.random()
        if answer < 0.4 and age <= life:
            times.answered(age)
            twin.answers.append((age, 1.0))
        elif answer > 0.9:
            times.refused()
            twin.refused += 1
        elif answer > 0.75:
            times.answered_within(life)
            twin.within.append((life, 1.0))
        else:
            times.lived(life)
            twin.lives.append((life, 1.0))
    fit, (hit, median_ns, sigma) = times.fit(**TOLD), twin.fit(PRIOR)
    assert fit.hit == pytest.approx(hit, abs=2e-4)
    assert fit.median_ns == pytest.approx(median_ns, rel=2e-3)
    assert fit.sigma == pytest.approx(sigma, rel=2e-3)
    best = twin.log_posterior(PRIOR, fit.hit, fit.median_ns, fit.sigma)
    assert best >= twin.log_posterior(PRIOR, hit, median_ns, sigma) - 1e-6


def test_the_posterior_is_that_of_the_twin_up_to_a_constant() -> None:
    times, twin = ResponseTimes(), Quotes()
    for age in (120.0, 340.0, 900.0):
        times.answered(age * MS)
        twin.answers.append((age * MS, 1.0))
    for life in (200.0, 200.0, 1000.0):
        times.lived(life * MS)
        twin.lives.append((life * MS, 1.0))
    times.refused()
    times.answered_within(700 * MS)
    twin.within.append((700 * MS, 1.0))
    twin.refused = 1.0
    points = [(0.3, 1000 * MS, 0.8), (0.6, 300 * MS, 0.4), (0.05, 5000 * MS, 1.5), (0.9, 80 * MS, 0.2)]
    apart = [
        times.log_posterior(**TOLD, at_hit=hit, at_median_ns=median, at_sigma=sigma)
        - twin.log_posterior(PRIOR, hit, median, sigma)
        for hit, median, sigma in points
    ]
    assert max(abs(b - a) for a, b in pairwise(apart)) < 1e-9


def test_mixed_lives_bring_back_the_truth() -> None:
    for seed in range(5):
        times, seen = flow([200, 500, 1000], 5000, seed=seed)
        fit = times.fit(**TOLD)
        assert fit.median_ns / MS == pytest.approx(350, rel=0.06)
        assert fit.sigma == pytest.approx(0.5, abs=0.05)
        assert fit.hit == pytest.approx(0.5, abs=0.03)
        assert float(np.mean(seen)) < 345  # of those seen in time, although the true mean is 397 ms


@pytest.mark.parametrize("quotes", [100, 300, 1000, 5000])
def test_lives_of_200_ms_do_not_drag_the_estimate_to_200_ms(quotes: int) -> None:
    for seed in range(5):
        times, seen = flow([200], quotes, seed=seed)
        fit = times.fit(**TOLD)
        naive_ms = float(np.mean(seen))
        assert naive_ms < 175
        # Between the truth and the prior, and never near what was seen.
        assert 330 < fit.median_ns / MS < 1000
        assert abs(fit.median_ns / MS - 350) < abs(1000 - 350)
        assert fit.median_ns / MS > 1.9 * naive_ms


def test_longer_lives_now_and_then_settle_what_short_ones_leave_open() -> None:
    apart = []
    for lives in ([200] * 20, [200] * 19 + [2000]):
        fits = [flow(lives, 2000, seed=seed)[0].fit(**TOLD) for seed in range(8)]
        apart.append(float(np.mean([abs(fit.median_ns / MS - 350) for fit in fits])))
    assert apart[1] < 0.6 * apart[0]


def test_what_short_lives_do_settle_is_the_share_answered_within_them() -> None:
    shares = []
    for seed in range(8):
        times, seen = flow([200], 20_000, seed=seed)
        fit = times.fit(**TOLD)
        model = fit.hit * NormalDist().cdf(np.log(200 * MS / fit.median_ns) / fit.sigma)
        shares.append(model / (len(seen) / 20_000))
    assert float(np.mean(shares)) == pytest.approx(1.0, abs=0.04)


def test_a_quote_no_longer_than_the_latency_says_nothing() -> None:
    times = ResponseTimes()
    for _ in range(1000):
        times.lived(20 * MS, latency_ns=20 * MS)
    assert times.fit(**TOLD).hit == pytest.approx(0.3, abs=1e-9)


def test_refusals_lower_the_hit_probability_and_not_the_response_time() -> None:
    times = ResponseTimes()
    for _ in range(200):
        times.refused()
    fit = times.fit(**TOLD)
    assert fit.hit == pytest.approx(20 * 0.3 / 220, abs=1e-6)
    assert fit.median_ns == pytest.approx(1000 * MS, rel=1e-6)


def test_fills_whose_time_nobody_told_are_fills() -> None:
    times = ResponseTimes()
    for _ in range(300):
        times.answered_within(500 * MS)
        times.lived(500 * MS)
    fit = times.fit(**TOLD)
    share = fit.hit * NormalDist().cdf(np.log(500 * MS / fit.median_ns) / fit.sigma)
    assert share == pytest.approx(0.5, abs=0.02)


def test_binned_lives_cost_less_than_a_hundredth() -> None:
    rng = np.random.default_rng(1)
    times, twin = ResponseTimes(), Quotes()
    for life in np.exp(rng.uniform(np.log(50), np.log(3000), 400)) * MS:
        age = 350 * MS * np.exp(0.5 * rng.standard_normal())
        if rng.random() < 0.5 and age <= life:
            times.answered(age)
            twin.answers.append((age, 1.0))
        else:
            times.lived(life)
            twin.lives.append((life, 1.0))
    fit, (hit, median_ns, sigma) = times.fit(**TOLD), twin.fit(PRIOR)
    assert fit.median_ns == pytest.approx(median_ns, rel=0.01)
    assert fit.hit == pytest.approx(hit, rel=0.01)
    assert fit.sigma == pytest.approx(sigma, rel=0.01)


def test_no_flow_of_quotes_breaks_the_fit() -> None:
    rng = np.random.default_rng(3)
    for _ in range(300):
        times = ResponseTimes()
        for age in 10.0 ** rng.uniform(-3, 13, int(rng.integers(0, 20))):
            times.answered(age, latency_ns=20 * MS)
        for life in 10.0 ** rng.uniform(-3, 13, int(rng.integers(0, 20))):
            times.lived(life, latency_ns=20 * MS)
        fit = times.fit(
            hit=float(rng.choice([0.0, 0.3, 1.0])), median_ns=float(10.0 ** rng.uniform(6, 12.5)),
            sigma=float(rng.uniform(0.01, 3)), hit_weight=20, response_weight=float(10.0 ** rng.uniform(-2, 3)),
        )  # fmt: skip
        assert 0 < fit.hit < 1
        assert 1 * MS * 0.999 <= fit.median_ns <= 3_600_000 * MS * 1.001
        assert 0.01 <= fit.sigma <= 3


def test_a_prior_that_is_none_is_refused() -> None:
    with pytest.raises(ValueError, match="hit in"):
        ResponseTimes().fit(**{**TOLD, "hit": 1.5})
