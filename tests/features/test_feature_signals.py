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
    probe.inventory(T, 1.0, math.inf)
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


@pytest.mark.parametrize("limit", [0.0, -1.0, math.nan])
def test_inventory_without_a_limit_is_refused(limit: float) -> None:
    with pytest.raises(ValueError, match="limit_lots"):
        FeatureProbe().inventory(T, 5.0, limit)


def inventory(probe: FeatureProbe, t: int, *desks: int) -> list[float | None]:
    return [probe.features(t, desk=desk).get("inventory") for desk in desks]


def test_each_desk_sees_its_own_inventory_and_the_others_that_of_all() -> None:
    probe = FeatureProbe()
    probe.inventory(T, 10, 100, desk=3)
    assert inventory(probe, T, 3, 4) == [-0.1, None]
    assert "inventory" not in probe.features(T), "no desk asks: one desk's position says nothing"
    probe.inventory(T, 20, 100)
    probe.inventory(T, 0, 100, desk=5)
    assert inventory(probe, T, 3, 4, 5) == [-0.1, -0.2, 0.0]
    assert probe.features(T)["inventory"] == -0.2
    probe.inventory(T + SECOND, 90, 100, source_ns=T - 1, desk=3)
    assert inventory(probe, T + SECOND, 3) == [-0.1], "an older copy"


def test_desk_whose_position_has_run_out_sees_that_of_all() -> None:
    probe = FeatureProbe()
    probe.inventory(T, 20, 100)
    probe.inventory(T, 10, 100, ttl_ns=SECOND, desk=3)
    assert inventory(probe, T + SECOND - 1, 3) == [-0.1]
    assert inventory(probe, T + SECOND, 3) == [-0.2]


def test_inventory_of_sixteen_desks_is_kept_and_of_more_the_newest() -> None:
    probe = FeatureProbe()
    probe.inventory(T, 100, 100)
    for desk in range(18):
        probe.inventory(T + desk, desk, 100, desk=desk)
    probe.inventory(T + 20, 99, 100, source_ns=T + 1, desk=77)
    assert inventory(probe, T + 20, *range(18)) == [-1.0, -1.0, *(-desk / 100 for desk in range(2, 18))]
    assert inventory(probe, T + 20, 77) == [-1.0], "older than all that are kept"


def test_inventory_follows_a_desk_that_is_renumbered_and_ends_with_one_that_is_gone() -> None:
    probe = FeatureProbe()
    for desk in range(4):
        probe.inventory(T, desk + 1, 10, desk=desk)
    probe.remap_desks([1, None, 0])
    assert inventory(probe, T, 0, 1, 2, 3) == [-0.3, -0.1, None, None]
    probe.inventory(T, 7, 10, desk=2)
    assert inventory(probe, T, 0, 1, 2) == [-0.3, -0.1, -0.7]


def test_fresh_news_counts_beside_stronger_old_news() -> None:
    """A regime hears of the strongest among the fresh ones; the features tell the strongest of all."""
    probe = FeatureProbe(news_half_life_ns=3600 * SECOND)
    probe.news(T, -1.0)
    probe.news(T + 50 * SECOND, 0.4, to_all=True)
    probe.news(T + 55 * SECOND, 0.3)
    assert probe.stress(T + 60 * SECOND, news_fresh_ns=60 * SECOND)["news_abs"] > 0.98
    later = T + 60 * SECOND + 1
    assert 0.39 < probe.stress(later, news_fresh_ns=60 * SECOND)["news_abs"] < 0.4
    assert probe.features(later)["news_score"] < -0.98
    assert "news_abs" not in probe.stress(T + 120 * SECOND, news_fresh_ns=60 * SECOND)


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
