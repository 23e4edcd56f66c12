"""Correlated assets and stress inputs: what moves them, what must not, and how calm a calm tape is."""

import math
from pathlib import Path

import numpy as np
import pytest

from quotelife.features.probe import FeatureProbe
from reference.recorded import Quote, top_and_trades

MS = 1_000_000
SECOND = 1_000_000_000
T = 1_700_000_000 * SECOND
GRID = 100 * MS


def walk(
    probe: FeatureProbe,
    driver: FeatureProbe,
    seconds: float,
    rho: float,
    rng: np.random.Generator,
    t: int = T,
    mids: tuple[int, int] = (100_000, 200_000),
    scale: float = 40.0,
) -> tuple[int, tuple[int, int], list[tuple[int, int]]]:
    """Both mids take a Gaussian step of correlation ``rho`` 50 ms before each grid point."""
    own, other = mids
    path = []
    for _ in range(int(seconds * 10)):
        z = rng.standard_normal(2)
        own += round(scale * (rho * z[1] + math.sqrt(1 - rho * rho) * z[0]))
        other += round(2 * scale * z[1])
        t += GRID
        driver.quote(t - 50 * MS, other - 1, 5, other + 1, 5)
        probe.quote(t - 50 * MS, own - 1, 5, own + 1, 5)
        path.append((own, other))
    return t, (own, other), path


def decorrelation(path: list[tuple[int, int]]) -> float:
    """Fisher z of slow (60 s) less fast (2 s) correlation over its standard error, recomputed whole."""
    x, y = (np.diff(column) / column[:-1] for column in np.array(path, dtype=float).T)
    active = (x != 0) | (y != 0)
    age = np.arange(len(x))[::-1]

    def rho(steps: float) -> float:
        w = np.exp(-age / steps)
        return float(
            np.clip(np.sum(w * x * y) / np.sqrt(np.sum(w * x * x) * np.sum(w * y * y)), -0.999, 0.999)
        )

    n = (1 + np.exp(-1 / 20)) * np.sum(np.exp(-age / 20)[active])
    return float((np.arctanh(rho(600)) - np.arctanh(rho(20))) * np.sqrt(n - 3))


def test_decorrelation_equals_its_definition() -> None:
    probe, driver = FeatureProbe(), FeatureProbe()
    probe.set_driver(0, driver)
    t, _, path = walk(probe, driver, 20, 0.8, np.random.default_rng(4))
    z = probe.features(t)["driver0_decorrelation"]
    # The grid point at t itself is not settled: an event at t could still change what holds there.
    assert z == pytest.approx(decorrelation(path[:-1]), rel=1e-9)


def test_collapse_of_a_strong_correlation_is_seen_within_two_seconds() -> None:
    rng = np.random.default_rng(1)
    probe, driver = FeatureProbe(), FeatureProbe()
    probe.set_driver(0, driver)
    t, mids, _ = walk(probe, driver, 60, 0.95, rng)
    assert probe.stress(t)["decorrelation_z"] < 3
    t, _, _ = walk(probe, driver, 2, -0.5, rng, t, mids)
    assert probe.stress(t)["decorrelation_z"] > 4


def test_driver_that_is_followed_late_gives_the_same_as_one_followed_at_once() -> None:
    """The grid of mids is kept: an instrument that was quiet for some seconds catches up exactly."""
    eager, lazy = FeatureProbe(), FeatureProbe()
    drivers = FeatureProbe(), FeatureProbe()
    rng = np.random.default_rng(8)
    for probe, driver in zip((eager, lazy), drivers, strict=True):
        probe.set_driver(0, driver)
        probe.quote(T, 999, 1, 1001, 1)
        driver.quote(T, 1999, 1, 2001, 1)
    t, other = T, 2000
    for k in range(400):
        t += 37 * MS
        other += int(rng.integers(-2, 3))
        for driver in drivers:
            driver.quote(t, other - 1, 1, other + 1, 1)
        if k % 100 > 60:
            own = 1000 + int(rng.integers(-3, 4))
            for probe in (eager, lazy):
                probe.quote(t, own - 1, 1, own + 1, 1)
        eager.stress(t)
    ours, expected = lazy.features(t), eager.features(t)
    assert "driver0_decorrelation" in expected and ours == expected


def test_setting_the_same_driver_again_keeps_its_history() -> None:
    probe, driver = FeatureProbe(), FeatureProbe()
    probe.set_driver(0, driver)
    probe.set_driver(1, driver, probe)
    t, _, _ = walk(probe, driver, 20, 0.8, np.random.default_rng(4))
    before = probe.features(t)
    assert {"driver0_decorrelation", "driver1_decorrelation"} <= set(before)
    probe.set_driver(0, driver)
    probe.set_driver(1, driver, probe)
    assert probe.features(t) == before
    probe.set_driver(0, driver, probe)
    probe.set_driver(1, driver)
    assert not any(name.endswith("decorrelation") for name in probe.features(t))


def test_driver_without_a_book_is_invalid() -> None:
    probe, driver = FeatureProbe(), FeatureProbe()
    probe.set_driver(0, driver)
    t, _, _ = walk(probe, driver, 10, 0.9, np.random.default_rng(3))
    assert "driver0_velocity_500ms" in probe.features(t)
    driver.gap(t + 1)
    t += SECOND
    features = probe.features(t)
    assert not any(name.startswith("driver0_velocity") or name.startswith("driver0_res") for name in features)
    assert "driver0_decorrelation" not in features
    assert "decorrelation_z" not in probe.stress(t)


def test_ratio_driver_moves_with_its_numerator_and_against_its_denominator() -> None:
    probe, top, bottom = FeatureProbe(), FeatureProbe(), FeatureProbe()
    probe.set_driver(1, top, bottom)
    for each in (probe, top, bottom):
        each.quote(T, 999, 1, 1001, 1)
    top.quote(T + SECOND, 1009, 1, 1011, 1)
    bottom.quote(T + SECOND, 1019, 1, 1021, 1)
    velocity = probe.features(T + SECOND + 1)["driver1_velocity_500ms"]
    assert velocity == pytest.approx((1010 / 1020 - 1) * 100 / 0.5, rel=1e-12)


def test_residual_velocity_is_what_the_driver_does_not_explain() -> None:
    probe, driver = FeatureProbe(), FeatureProbe()
    probe.set_driver(0, driver)
    t, _, _ = walk(probe, driver, 20, 1.0, np.random.default_rng(6))
    features = probe.features(t)
    assert abs(features["driver0_residual_velocity"]) < 0.05 * abs(features["own_velocity_500ms"])


def test_sigma_is_the_volatility_of_the_walk() -> None:
    probe = FeatureProbe()
    rng = np.random.default_rng(12)
    mid, t = 100_000, T
    for _ in range(6000):
        t += 10 * MS
        mid += int(rng.choice([-1, 1]))
        probe.quote(t, mid - 1, 1, mid + 1, 1)
    # 100 moves of one tick a second: 10 ticks per sqrt(s), and half a move's worth more right after a move
    assert probe.sigma(t) == pytest.approx(10.0, rel=1e-3)


def test_market_that_never_moves_has_the_sigma_of_half_a_tick_in_all_the_time_seen() -> None:
    probe = FeatureProbe()
    probe.quote(T, 100, 1, 101, 1)
    assert probe.sigma(T + 5 * SECOND - 1) is None
    for seconds in (5, 60, 3600):
        assert probe.sigma(T + seconds * SECOND) == pytest.approx(0.5 / math.sqrt(seconds), rel=1e-12)
        assert probe.features(T + seconds * SECOND, h_ticks=2)["threshold"] == pytest.approx(
            4 * math.sqrt(seconds)
        )


def test_sigma_does_not_fall_below_that_when_the_moves_are_long_ago() -> None:
    probe = FeatureProbe()
    probe.quote(T, 100, 1, 101, 1)
    probe.quote(T + SECOND, 101, 1, 102, 1)
    assert probe.sigma(T + 10_000 * SECOND) == 0.005


def test_even_rhythm_has_an_update_frequency_ratio_of_one_at_any_moment() -> None:
    """The 2 s buckets hold 1.9 to 2.0 s; the ratio is of what they hold."""
    probe = FeatureProbe()
    for k in range(70 * 100):
        probe.quote(T + k * 10 * MS, 10_000, 1 + k % 2, 10_001, 1)
        if k > 65 * 100:
            assert probe.stress(T + k * 10 * MS)["update_frequency_ratio"] == pytest.approx(1.0, abs=0.01)


def test_quiet_market_that_flickers_once_is_no_stress() -> None:
    probe = FeatureProbe()
    for k in range(300):
        probe.quote(T + k * GRID, 10_000, 1 + k % 2, 10_001, 1)
    t = T + 300 * GRID
    probe.quote(t, 10_000, 1, 10_002, 1)
    probe.quote(t + 300 * MS, 10_000, 1, 10_001, 1)
    stress = probe.stress(t + 500 * MS)
    assert stress["spread_volatility_ratio"] <= 5
    assert stress["volatility_ratio"] == 0.0, "two moves are not five: known to be calm, not unknown"
    assert stress["update_frequency_ratio"] == 0.0


def test_burst_raises_every_ratio() -> None:
    probe = FeatureProbe()
    rng = np.random.default_rng(0)
    t, mid = T, 10_000
    for k in range(6000):
        t += 10 * MS
        if k % 20 == 0:
            mid += int(rng.choice([-1, 1]))
        probe.quote(t, mid, int(rng.integers(1, 99)), mid + 1 + (k % 100 == 0), 5)
    calm = probe.stress(t)
    assert calm["update_frequency_ratio"] < 2 and calm["spread_volatility_ratio"] < 2
    assert calm["volatility_ratio"] < 2
    highest: dict[str, float] = {}
    for _ in range(1600):
        t += MS
        mid += int(rng.choice([-9, 9]))
        probe.quote(t, mid, 3, mid + int(rng.integers(1, 60)), 5)
        for name, value in probe.stress(t).items():
            highest[name] = max(value, highest.get(name, 0.0))
    assert highest["update_frequency_ratio"] > 4
    assert highest["spread_volatility_ratio"] > 5
    assert highest["volatility_ratio"] > 5


@pytest.mark.realdata
def test_calm_tape_is_mostly_calm(data_dir: Path) -> None:
    """BTC and ETH perpetuals, 60,000 messages: each trigger is on for less than 3 % of the time."""
    probes = {symbol: FeatureProbe() for symbol in ("btcusdt", "ethusdt")}
    probes["ethusdt"].set_driver(0, probes["btcusdt"])
    rows = [(row, symbol) for symbol in probes for row in top_and_trades(data_dir, "usdm", symbol, 30_000)]
    rows.sort(key=lambda item: item[0].t)
    limits = {
        "volatility_ratio": 5,
        "spread_volatility_ratio": 5,
        "update_frequency_ratio": 4,
        "decorrelation_z": 4,
    }
    samples, over = 0, dict.fromkeys(limits, 0)
    due = rows[0][0].t
    for row, symbol in rows:
        while due < row.t:
            due += 50 * MS
            for probe in probes.values():
                stress = probe.stress(due)
                samples += 1
                for name, limit in limits.items():
                    over[name] += stress.get(name, 0.0) > limit
        if isinstance(row, Quote):
            probes[symbol].quote(*row)
        else:
            probes[symbol].trade(*row)
    shares = {name: count / samples for name, count in over.items()}
    assert samples > 2000
    assert all(share < 0.03 for share in shares.values()), shares
    assert shares["decorrelation_z"] < 0.002
