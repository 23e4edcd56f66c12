"""When a feature may be believed: books, gaps, young windows, full rings. And never a NaN."""

import math

import numpy as np
import pytest

from quotelife.features.probe import FeatureProbe
from quotelife.features.schema import INDEX, NAMES, SCHEMA

MS = 1_000_000
SECOND = 1_000_000_000
T = 1_700_000_000 * SECOND
BID, ASK = 1, 2


def lively(probe: FeatureProbe, t: int, seconds: int, rng: np.random.Generator, drift: int = 0) -> int:
    """Quotes every 10 ms whose mid walks, and a trade every 50 ms."""
    mid = 10_000 + drift
    for k in range(seconds * 100):
        t += 10 * MS
        mid += int(rng.integers(-1, 2)) if k % 5 == 0 else 0
        probe.quote(t, mid - 1, int(rng.integers(1, 50)), mid + 1, int(rng.integers(1, 50)))
        if k % 5 == 0:
            probe.trade(t, mid + 1, int(rng.integers(1, 9)), BID)
    return t


def test_nothing_but_the_news_count_is_known_before_the_first_book() -> None:
    probe = FeatureProbe()
    assert probe.features(T) == {"news_count": 0.0}
    assert probe.sigma(T) is None and probe.stress(T) == {}


def test_one_empty_side_caps_the_imbalance_and_both_void_it() -> None:
    probe = FeatureProbe()
    probe.quote(T, 100, 5, 101, 5)
    probe.quote(T + 1, 100, 5, 101, 0)
    features = probe.features(T + 1)
    assert [features["book_imbalance_ratio"], features["book_imbalance"]] == [1000.0, 1.0]
    assert features["book_imbalance_log"] == math.log(1000)
    assert "spread_ticks" not in features and "queue_imbalance" not in features
    probe.quote(T + 2, 100, 0, 101, 0)
    assert "book_imbalance" not in probe.features(T + 2)


def test_crossed_book_has_no_market_features() -> None:
    probe = FeatureProbe()
    probe.quote(T, 100, 5, 101, 5)
    probe.quote(T + SECOND, 102, 5, 101, 5)
    assert probe.features(T + SECOND) == {"news_count": 0.0}


@pytest.mark.parametrize(
    ("name", "after_ns"),
    [
        ("top_updates_100ms", 100 * MS),
        ("trade_intensity_500ms", 500 * MS),
        ("spread_volatility_1s", SECOND),
        ("mid_moves_1s", SECOND),
        ("order_flow_imbalance_1s", SECOND),
        ("trade_intensity_2s", 2 * SECOND),
        ("mid_moves_60s", 5 * SECOND),
        ("realised_volatility_60s", 5 * SECOND),
    ],
)
def test_window_is_valid_from_the_moment_it_is_covered(name: str, after_ns: int) -> None:
    probe = FeatureProbe()
    probe.quote(T, 100, 5, 101, 5)
    assert name not in probe.features(T + after_ns - 1)
    assert name in probe.features(T + after_ns)


def test_no_trade_in_the_window_voids_the_vwap() -> None:
    probe = FeatureProbe()
    probe.quote(T, 100, 5, 101, 5)
    probe.trade(T + SECOND, 101, 3, BID)
    assert "vwap_deviation_100ms" in probe.features(T + SECOND + 100 * MS - 1)
    features = probe.features(T + SECOND + 100 * MS)
    assert "vwap_deviation_100ms" not in features and "vwap_deviation_500ms" in features


def test_gap_restarts_exact_windows_and_keeps_averages() -> None:
    rng = np.random.default_rng(2)
    probe = FeatureProbe()
    t = lively(probe, T, 8, rng)
    before = probe.features(t)
    probe.gap(t)
    assert "spread_ticks" not in probe.features(t), "no book until the resynchronisation"
    resumed = t + 30 * SECOND
    probe.snapshot(resumed, [(14_999, 5)], [(15_001, 5)])
    after = probe.features(resumed)
    assert "top_updates_100ms" not in after and "mid_moves_1s" not in after
    assert after["realised_volatility_10s"] == pytest.approx(before["realised_volatility_10s"], rel=1e-12), (
        "a jump of 5,000 ticks over the gap is no return, and the gap itself is no time"
    )
    assert "last_move_age_s" not in after
    later = probe.features(resumed + SECOND)
    assert [later["top_updates_1s"], later["mid_moves_1s"], later["own_velocity_500ms"]] == [0, 0, 0]


def test_depth_is_sampled_anew_after_a_gap() -> None:
    """Even within the 100 ms bucket of the gap: the old book's size says nothing about the new one's."""
    probe = FeatureProbe()
    probe.snapshot(T + 1, [(100, 1)], [(101, 1)])
    probe.gap(T + 10 * MS)
    probe.snapshot(T + 20 * MS, [(100, 700)], [(101, 300)])
    assert probe.features(T + 6 * SECOND)["depth_ratio"] == 1.0


def test_gap_while_no_book_stands_changes_nothing() -> None:
    probe = FeatureProbe()
    probe.gap(T)
    probe.gap(T + SECOND)
    probe.quote(T + 2 * SECOND, 100, 5, 101, 5)
    assert probe.features(T + 3 * SECOND)["realised_volatility_1s"] == 0.0


def test_burst_beyond_capacity_voids_the_second_but_not_the_tenth() -> None:
    """5,000 top changes in 0.9 s: the 1 s window is incomplete until the lost ones would have left."""
    probe = FeatureProbe()
    probe.quote(T, 100, 1, 101, 1)
    start = T + SECOND
    for k in range(5000):
        probe.quote(start + k * 180_000, 100, 2 + k % 7, 101, 1)
    end = start + 4999 * 180_000
    features = probe.features(end)
    assert "top_updates_1s" not in features
    assert features["top_updates_100ms"] == 556
    last_lost = start + (5000 - 4096 - 1) * 180_000
    assert "top_updates_1s" not in probe.features(last_lost + SECOND - 1)
    assert probe.features(last_lost + SECOND)["top_updates_1s"] == 4096


def test_invalid_features_are_zero_and_none_is_ever_nan() -> None:
    """Extreme books and sizes: every value finite, every invalid one exactly 0."""
    rng = np.random.default_rng(7)
    driver, probe = FeatureProbe(), FeatureProbe()
    probe.set_driver(0, driver)
    probe.set_driver(1, driver, probe)
    big = 1 << 40
    t = T
    for _ in range(3000):
        t += int(rng.choice([0, 1, MS, 100 * MS, 5 * SECOND]))
        p = int(rng.choice([1, 5, 1000, 1 << 30]))
        lots = [int(rng.choice([0, 1, big])) for _ in range(2)]
        target = (probe, driver)[int(rng.integers(0, 2))]
        target.quote(t, p, lots[0], p + int(rng.choice([-1, 1, 9, 1 << 31])), lots[1])
        if rng.random() < 0.3:
            target.trade(t, p, int(rng.choice([1, big])), int(rng.integers(1, 3)))
        if rng.random() < 0.02:
            target.gap(t)
        size, h, sigma = (float(rng.choice([math.nan, math.inf, 0.0, -1.0, 1e300, 3.0])) for _ in range(3))
        values, valid = probe.vector(
            t, 1, size_lots=size, h_ticks=h, sigma_ticks=sigma, average_size_lots=size
        )
        assert np.isfinite(values).all()
        assert (values[~valid] == 0.0).all()
        assert all(np.isfinite(value) for value in probe.stress(t).values())


def enormous(lots: int) -> FeatureProbe:
    """A minute of a book of ten levels a side that comes and goes, and of trades, all of that size."""
    probe = FeatureProbe()
    probe.snapshot(T, [(1000 - k, lots) for k in range(10)], [(1002 + k, lots) for k in range(10)])
    for k in range(700):
        t = T + k * 100 * MS
        for side, price in ((BID, 1000), (BID, 997), (ASK, 1003)):
            probe.level(t, side, price, 0 if k % 2 else lots, last=price == 1003)
        probe.trade(t, 1002, lots, BID if k % 3 else ASK)
    return probe


def test_no_sum_wraps_however_large_the_sizes() -> None:
    """A size above 2^40 lots counts as 2^40."""
    t = T + 70 * SECOND
    huge, largest = enormous(1 << 62), enormous(1 << 40)
    assert huge.features(t) == largest.features(t)
    features = huge.features(t)
    assert features["depth_ratio"] == pytest.approx(1.0, rel=0.01)
    assert features["depth_bid_10"] == 8 * 2**40
    assert min(features[name] for name in features if name.startswith(("add_rate", "cancel"))) >= 0.0
    assert all(abs(features[name]) <= 1.0 for name in features if "imbalance_2s" in name)
    stress = huge.stress(t)
    assert stress == largest.stress(t)


def test_bucket_of_lots_is_full_at_its_limit() -> None:
    """2^53 lots in 100 ms: 600 such buckets still stay below 2^63."""
    probe = FeatureProbe()
    probe.quote(T, 1000, 5, 1001, 5)
    t = T + 3 * SECOND
    for k in range(3 << 13):
        probe.trade(t, 1000, 1 << 40, BID if k % 3 else ASK)
    assert probe.features(t)["trade_imbalance_2s"] == 0.0


def test_reading_changes_nothing() -> None:
    """Features do not depend on how often they were asked for."""
    read, unread = FeatureProbe(), FeatureProbe()
    for probe in (read, unread):
        probe.set_driver(0, probe)
    rng = np.random.default_rng(11)
    t = T
    for _ in range(1500):
        t += int(rng.integers(0, 30 * MS))
        mid = 1000 + int(rng.integers(-3, 4))
        row = (t, mid - 1, int(rng.integers(1, 9)), mid + 1, int(rng.integers(1, 9)))
        for probe in (read, unread):
            probe.quote(*row)
        read.vector(t + int(rng.integers(0, 1000)), 1)
        read.stress(t)
        read.sigma(t)
        t += 1000
    values, valid = read.vector(t, 1)
    expected, expected_valid = unread.vector(t, 1)
    assert values.tolist() == expected.tolist() and valid.tolist() == expected_valid.tolist()


def test_room_is_stated_and_bounded() -> None:
    """One arena an instrument, whatever happens in it."""
    assert FeatureProbe().bytes <= 536 * 1024


def test_schema_lists_every_feature_once() -> None:
    assert [spec.name for spec in SCHEMA] == list(NAMES) and len(set(NAMES)) == len(NAMES) == len(INDEX)


@pytest.mark.parametrize(
    ("arguments", "field"),
    [({"side": 0}, "side"), ({"side": 2}, "side")],
)
def test_probe_names_the_wrong_argument(arguments: dict[str, int], field: str) -> None:
    with pytest.raises(ValueError, match=field):
        FeatureProbe().vector(T, **arguments)
