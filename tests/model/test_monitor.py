"""Rolling scores against the same over single labels."""

import math

import numpy as np
import pytest

from quotelife.model.monitor import scores
from quotelife.model.recalibration import RollingCalibration

ANCHOR = (500_000_000,)


@pytest.mark.parametrize("shift", [-1.0, 0.0, 0.8])
def test_scores_are_those_over_single_labels(shift: float) -> None:
    rng = np.random.default_rng(11)
    z = rng.normal(-2.5, 1.2, 4000)
    p = 1 / (1 + np.exp(-z))
    hit = rng.random(4000) < 1 / (1 + np.exp(-(z + shift)))
    store = RollingCalibration(1000, anchors_ns=ANCHOR)
    for i in range(4000):
        store.add(10, [p[i]], [int(hit[i])])
    (found,) = scores(store)
    assert (found.labels, found.prevalence) == (4000, pytest.approx(hit.mean()))
    assert found.brier == pytest.approx(np.mean((hit - p) ** 2), rel=2e-3)
    assert found.skill == pytest.approx(1 - np.mean((hit - p) ** 2) / np.var(hit), abs=3e-3)
    assert found.z == pytest.approx(np.sum(hit - p) / np.sqrt(np.sum(p * (1 - p))), abs=0.05)
    pairs = p[hit][:, None] - p[~hit][None]
    assert found.auc == pytest.approx(np.mean(pairs > 0) + 0.5 * np.mean(pairs == 0), abs=0.003)
    bins = np.clip((np.log(p / (1 - p)) + 12) * 4, 0, 63).astype(int)
    error = sum(abs(np.sum((hit - p)[bins == b])) for b in set(bins.tolist())) / 4000
    assert found.ece == pytest.approx(error, abs=2e-4)


def test_without_labels_nothing_is_said_and_with_one_outcome_no_rank() -> None:
    store = RollingCalibration(1000, anchors_ns=ANCHOR)
    assert math.isnan(scores(store)[0].brier)
    store.add(1, [0.2], [0])
    (found,) = scores(store)
    assert found.brier == pytest.approx(0.04, rel=1e-6)
    assert math.isnan(found.auc) and math.isnan(found.skill)
