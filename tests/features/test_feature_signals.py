"""News, volatility index, inventory: what a decision sees of them."""

import math

import pytest

from quotelife.features.probe import FeatureProbe

MS = 1_000_000
SECOND = 1_000_000_000
T = 1_700_000_000 * SECOND


def test_news_halves_in_its_half_life() -> None:
    probe = FeatureProbe(news_half_life_ns=60 * SECOND)
    probe.news(T, -0.8)
    features = probe.features(T + 60 * SECOND)
    assert [features["news_score"], features["news_age_s"], features["news_count"]] == [-0.4, 60.0, 1.0]


def test_strongest_news_wins_by_decayed_magnitude_across_both_lists() -> None:
    probe = FeatureProbe()
    probe.news(T, -0.9)
    probe.news(T + 120 * SECOND, 0.3, to_all=True)
    assert probe.features(T + 120 * SECOND)["news_score"] == 0.3, "−0.9 has decayed to −0.225"
    assert probe.features(T + 120 * SECOND)["news_count"] == 2


def test_news_for_all_reaches_every_instrument() -> None:
    first = FeatureProbe()
    second = FeatureProbe(share_signals_with=first)
    first.news(T, 0.5, to_all=True)
    first.news(T, 0.9)
    assert [first.features(T)["news_score"], second.features(T)["news_score"]] == [0.9, 0.5]


def test_news_from_the_future_counts_from_receipt() -> None:
    probe = FeatureProbe()
    probe.news(T, 0.5, source_ns=T + 3600 * SECOND)
    assert probe.features(T + 30 * SECOND)["news_age_s"] == 30.0


def test_late_news_keeps_its_own_age() -> None:
    probe = FeatureProbe()
    probe.news(T, 0.2)
    probe.news(T + SECOND, -0.9, source_ns=T - 10 * SECOND)
    assert probe.features(T + SECOND)["news_age_s"] == 11.0


def test_only_the_newest_eight_scores_are_kept_in_whatever_order_they_come() -> None:
    probe = FeatureProbe(news_half_life_ns=3600 * SECOND)
    probe.news(T, 1.0, source_ns=T - 100 * SECOND)
    for k in range(8):
        probe.news(T, 0.1, source_ns=T - (8 - k) * SECOND)
    assert probe.features(T)["news_count"] == 8
    assert probe.features(T)["news_score"] < 0.11, "the old strong score has been displaced"
    probe.news(T, 1.0, source_ns=T - 50 * SECOND)
    assert probe.features(T)["news_score"] < 0.11, "older than all that are kept: not taken"


def test_news_dies_with_its_time_to_live() -> None:
    probe = FeatureProbe()
    probe.news(T, 0.9, ttl_ns=5 * SECOND)
    assert "news_score" in probe.features(T + 5 * SECOND - 1)
    after = probe.features(T + 5 * SECOND)
    assert "news_score" not in after and after["news_count"] == 0


def test_score_that_is_no_number_is_ignored() -> None:
    probe = FeatureProbe()
    probe.news(T, math.nan)
    probe.news(T, math.inf)
    probe.inventory(T, math.nan, 10.0)
    probe.inventory(T, 5.0, 0.0)
    probe.volatility_index(T, math.nan)
    features = probe.features(T, volatility_index=0)
    assert set(features) == {"news_count"}


def test_inventory_is_positive_when_a_fill_pushes_it_further() -> None:
    probe = FeatureProbe()
    probe.inventory(T, -30, 120)
    assert probe.features(T, side=-1)["inventory"] == 0.25
    assert probe.features(T, side=1)["inventory"] == -0.25
    probe.inventory(T + SECOND, 60, 120, ttl_ns=SECOND)
    assert "inventory" not in probe.features(T + 2 * SECOND)


def test_volatility_index_change_over_a_minute() -> None:
    probe = FeatureProbe()
    probe.volatility_index(T, 20.0)
    probe.volatility_index(T + 30 * SECOND, 21.0)
    assert "volatility_index_change_1m" not in probe.features(T + 59 * SECOND, volatility_index=0)
    assert probe.features(T + 61 * SECOND, volatility_index=0)["volatility_index_change_1m"] == 1.0
    features = probe.features(T + 95 * SECOND, volatility_index=0)
    assert [features["volatility_index"], features["volatility_index_age_s"]] == [21.0, 65.0]
    assert features["volatility_index_change_1m"] == 0.0


def test_volatility_index_change_survives_ten_updates_a_second() -> None:
    probe = FeatureProbe()
    for k in range(2000):
        probe.volatility_index(T + k * 100 * MS, k / 10)
    change = probe.features(T + 1999 * 100 * MS, volatility_index=0)["volatility_index_change_1m"]
    assert change == pytest.approx(60.0, abs=1.0)


def test_volatility_index_z_against_its_own_past() -> None:
    probe = FeatureProbe()
    for k in range(3600):
        probe.volatility_index(T + k * SECOND, 20.0 if k % 2 else 22.0)
    t = T + 3600 * SECOND
    probe.volatility_index(t, 25.0)
    assert probe.features(t, volatility_index=0)["volatility_index_z"] == pytest.approx(4.0, rel=1e-3)


def test_volatility_index_z_needs_ten_minutes_and_some_movement() -> None:
    probe = FeatureProbe()
    probe.volatility_index(T, 20.0, index=3)
    assert "volatility_index_z" not in probe.features(T + 3600 * SECOND, volatility_index=3)
    probe.volatility_index(T + 3600 * SECOND, 21.0, index=4)
    probe.volatility_index(T + 3660 * SECOND, 23.0, index=4)
    assert "volatility_index_z" not in probe.features(T + 3670 * SECOND, volatility_index=4)


def test_request_features() -> None:
    probe = FeatureProbe()
    bids, asks = [(100 - k, 10) for k in range(5)], [(102 + k, 20) for k in range(5)]
    probe.snapshot(T, bids, asks)
    features = probe.features(
        T, side=1, size_lots=25, h_ticks=3, sigma_ticks=1.5, fill_rate=0.4, average_size_lots=50
    )
    assert features["threshold"] == 2.0
    assert features["counterparty_fill_rate"] == 0.4
    assert features["counterparty_size_ratio"] == 0.5
    assert features["size_to_depth"] == 0.5, "a desk that buys hedges on the bids"
    assert features["sweep_cost"] == (10 * 0 + 10 * 1 + 5 * 2) / 25
    assert "sweep_cost" not in probe.features(T, side=1, size_lots=51), "more than the book holds"
    assert "size_to_depth" not in probe.features(T, side=1)
    assert probe.features(T, side=-1, size_lots=25)["size_to_depth"] == 0.25
