"""Features against figures worked out by hand."""

import pytest

from quotelife.features.probe import FeatureProbe

MS = 1_000_000
SECOND = 1_000_000_000
T = 1_700_000_000 * SECOND
BID, ASK = 1, 2


def test_spread_volatility_of_three_hundredths_of_a_cent() -> None:
    """1.00 ¢ for 0.5 s, then 1.06 ¢ for 0.5 s; one tick is 0.01 ¢."""
    probe = FeatureProbe()
    probe.quote(T - 3 * SECOND, 9_950, 5, 10_050, 5)
    probe.quote(T + 500 * MS, 9_947, 5, 10_053, 5)
    features = probe.features(T + SECOND)
    assert features["spread_ticks"] == 106
    assert features["spread_volatility_1s"] == 3.0


def test_87_changes_and_one_exactly_on_the_border() -> None:
    probe = FeatureProbe()
    probe.quote(T - SECOND, 100, 1, 101, 1)
    probe.quote(T - 100 * MS, 100, 2, 101, 1)  # exactly at t − 100 ms: out
    for k in range(87):
        probe.quote(T - 100 * MS + (k + 1) * 100 * MS // 87, 100, 3 + k, 101, 1)
    assert probe.features(T)["top_updates_100ms"] == 87


def test_identical_republish_is_not_counted() -> None:
    probe = FeatureProbe()
    probe.quote(T - SECOND, 100, 1, 101, 1)
    for k in range(10):
        probe.quote(T - 50 * MS + k, 100, 7, 101, 1)
    assert probe.features(T)["top_updates_100ms"] == 1


def test_imbalance_of_125_to_100() -> None:
    probe = FeatureProbe()
    bids, asks = [(100 - k, 25) for k in range(5)], [(101 + k, 20) for k in range(5)]
    probe.snapshot(T, [*bids, (90, 9999)], [*asks, (120, 9999)])  # the sixth level does not count
    features = probe.features(T)
    assert features["book_imbalance_ratio"] == 1.25
    assert features["book_imbalance"] == pytest.approx(1 / 9, rel=1e-15)


def test_vwap_deviation_of_half_a_hundredth_percent() -> None:
    """99.995 × 100 and 100.005 × 100; one tick is 0.005."""
    probe = FeatureProbe()
    probe.quote(T - SECOND, 19_999, 1, 20_001, 1)
    probe.trade(T - 90 * MS, 19_999, 100, ASK)
    probe.trade(T - 10 * MS, 20_001, 100, BID)
    features = probe.features(T)
    assert features["vwap_deviation_100ms"] == 0.00005
    assert features["vwap_deviation_500ms"] == 0.00005


def test_driver_velocity_of_15_hundredths_percent_a_second() -> None:
    """100.000 → 100.075 in 500 ms."""
    driver, probe = FeatureProbe(), FeatureProbe()
    probe.set_driver(0, driver)
    probe.quote(T - 2 * SECOND, 500, 1, 501, 1)
    driver.quote(T - 2 * SECOND, 99_999, 1, 100_001, 1)
    driver.quote(T - 200 * MS, 100_074, 1, 100_076, 1)
    features = probe.features(T)
    assert features["driver0_velocity_500ms"] == pytest.approx(0.15, rel=1e-12)
    assert features["driver0_velocity_100ms"] == 0.0


def test_news_of_minus_three_quarters() -> None:
    probe = FeatureProbe()
    probe.news(T, -0.75)
    assert probe.features(T)["news_score"] == -0.75
    assert probe.features(T, side=1)["news_score"] == 0.75, "bad news moves against a desk that buys"
