"""Cuts by the clock, purge, embargo and overlap weights, held against brute force over every row."""

import numpy as np
import pytest

from quotelife.learn.splits import (
    LONGEST_HORIZON_NS,
    LONGEST_WINDOW_NS,
    SplitError,
    clock_split,
    fitted_on,
    levelled_on,
    overlap_weights,
    purge_ns,
    uniqueness,
    walk_forward,
)

PURGE = 7
EMBARGO = 11


def times(seed: int, n: int = 400) -> np.ndarray:
    return np.sort(np.random.default_rng(seed).integers(0, 1_000, n))


@pytest.mark.parametrize("seed", [1, 2, 3])
def test_a_cut_by_the_clock_purges_what_ends_behind_it(seed: int) -> None:
    now = times(seed)
    split = clock_split(now, purge_ns=PURGE)
    span = now[-1] - now[0]
    cuts = (now[0] + round(0.5 * span), now[0] + round(0.65 * span))
    assert split.cuts_ns == cuts
    assert split.train.tolist() == [i for i, t in enumerate(now) if t + PURGE < cuts[0]]
    assert split.calibrate.tolist() == [i for i, t in enumerate(now) if t >= cuts[0] and t + PURGE < cuts[1]]
    assert split.test.tolist() == [i for i, t in enumerate(now) if t >= cuts[1]]


def test_a_span_too_short_for_the_purge_is_refused_by_name() -> None:
    with pytest.raises(SplitError, match="GBP: 10 s leave nothing to calibrate"):
        clock_split(np.arange(11, dtype=np.int64) * 10**9, purge_ns=2 * 10**9, label="GBP")
    with pytest.raises(SplitError, match="collect a dataset"):
        clock_split(np.array([], dtype=np.int64), purge_ns=1)


@pytest.mark.parametrize("seed", [1, 2, 3])
def test_a_fold_is_trained_on_all_before_it_whose_labels_and_windows_do_not_reach_a_test(seed: int) -> None:
    """Row by row: purge before the tested span, embargo after each span that was tested before."""
    now = times(seed)
    first, last = int(now[0]), int(now[-1]) + 1
    edges = [int(first + (last - first) * k / 5) for k in range(5)] + [last]
    folds = list(walk_forward(now, 4, purge_ns=PURGE, embargo_ns=EMBARGO))
    for k, (train, test) in enumerate(folds, start=1):
        assert test.tolist() == [i for i, t in enumerate(now) if edges[k] <= t < edges[k + 1]]
        assert train.tolist() == [
            i
            for i, t in enumerate(now)
            if t + PURGE < edges[k] and not any(0 <= t - edges[j] < EMBARGO for j in range(2, k + 1))
        ]
    assert len(folds) == 4


@pytest.mark.parametrize("seed", [1, 2])
def test_the_weight_of_a_label_is_its_mean_uniqueness(seed: int) -> None:
    """Instant by instant, in whole nanoseconds."""
    now, horizon = times(seed, 150), 13
    open_at_once = np.zeros(1_100)
    for t in now:
        open_at_once[t : t + horizon] += 1
    expected = np.array([np.mean(1.0 / open_at_once[t : t + horizon]) for t in now])
    np.testing.assert_allclose(uniqueness(now, horizon), expected, rtol=1e-12)
    np.testing.assert_allclose(overlap_weights(now, horizon), expected / expected.mean(), rtol=1e-12)


def test_purge_and_embargo_reach_over_the_longest_horizon_and_window() -> None:
    assert purge_ns(1_000) == 5_000_001_000 == LONGEST_HORIZON_NS + 1_000
    assert LONGEST_WINDOW_NS == 60_000_000_000


@pytest.mark.parametrize("junk", [None, 5, [["A", "x", 1]], [["A", 1]]])
def test_a_manifest_whose_spans_are_none_is_refused_by_name(junk: object) -> None:
    for key, read in (("fitted_on", fitted_on), ("levelled_on", levelled_on)):
        with pytest.raises(SplitError, match=f"mine: training.{key} of its manifest"):
            read({"name": "mine", "training": {key: junk, "span_end_ns": 1}})
