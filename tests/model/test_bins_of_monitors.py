"""Counting decisions in a manifest's bins and their index, against plain Python over single rows."""

import copy
import math
from bisect import bisect_left
from typing import Any

import numpy as np
import pytest

from quotelife.errors import ArtifactError
from quotelife.features.schema import INDEX, NAMES
from quotelife.learn.drift import index
from quotelife.model.feature_bins import CELLS, FeatureBins, psi

TOLD: dict[str, Any] = {
    "rows": 1000,
    "features": [
        {
            "name": "spread_ticks",
            "per": "sigma",
            "edges": [0.5, 1.0, 2.0],
            "shares": [0.2, 0.3, 0.3, 0.1, 0.1],
        },
        {"name": "queue_imbalance", "per": None, "edges": [0.0], "shares": [0.5, 0.4, 0.1]},
        {"name": "depth_ratio", "per": None, "edges": [], "shares": [1.0, 0.0]},
    ],
    "instruments": {
        "A": [[0.1, 0.4, 0.3, 0.1, 0.1], [0.4, 0.5, 0.1], [0.9, 0.1]],
        "B": [[0.3, 0.2, 0.3, 0.1, 0.1], [0.6, 0.3, 0.1], [1.0, 0.0]],
    },
}


def rows(n: int = 500) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(3)
    x = rng.normal(0.5, 1.5, (n, len(NAMES)))
    x[:, INDEX["queue_imbalance"]] = rng.choice([-1.0, 0.0, 0.1, 1.0], n)  # some on an edge
    x[rng.random(x.shape) < 0.1] = np.nan
    sigma = rng.choice([0.5, 2.0, 0.0, math.nan], n)
    return x, sigma


def test_counts_are_those_of_single_rows() -> None:
    bins = FeatureBins(TOLD)
    x, sigma = rows()
    expected = np.zeros((3, CELLS), dtype=int)
    for row, s in zip(x, sigma, strict=True):
        for i, feature in enumerate(TOLD["features"]):
            value = float(np.float32(row[INDEX[feature["name"]]]))
            if feature["per"] == "sigma":
                value = value / s if s > 0 else math.nan
            expected[i, CELLS - 1 if math.isnan(value) else bisect_left(feature["edges"], value)] += 1
    assert (bins.count(x, sigma) == expected).all()
    assert bins.names == ("spread_ticks/sigma", "queue_imbalance", "depth_ratio")


def test_the_index_is_the_plain_sum() -> None:
    bins = FeatureBins(TOLD)
    counts = bins.count(*rows())
    shares, own = bins.expected(["A"])
    assert own
    for found, e, n in zip(psi(shares, counts), shares, counts, strict=True):
        assert found == pytest.approx(index(e, n / n.sum()), rel=1e-12)
    assert (psi(shares, np.zeros((3, CELLS))) == 0.0).all()
    assert psi(shares, np.round(shares * 1000))[0] == pytest.approx(0.0, abs=1e-9)


def test_known_instruments_are_held_against_themselves_and_others_against_all() -> None:
    bins = FeatureBins(TOLD)
    both, own = bins.expected(["A", "B", "never seen"])
    assert own and both[0, :4].tolist() == pytest.approx([0.2, 0.3, 0.3, 0.1]) and both[0, CELLS - 1] == 0.1
    pooled, own = bins.expected(["never seen"])
    assert not own and pooled[1, :2].tolist() == [0.5, 0.4]


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (lambda t: t["features"].clear(), "1 to"),
        (lambda t: t["features"][0].update(name="no_such"), "no_such"),
        (lambda t: t["features"][0].update(edges=[1.0, 0.5, 2.0]), "rise"),
        (lambda t: t["features"][0].update(edges=[float(i) for i in range(16)]), "at most 15"),
        (lambda t: t["features"][0].update(edges=[math.nan, 0.5, 2.0]), "rise"),
        (lambda t: t["features"][0]["shares"].pop(), "5 shares"),
        (lambda t: t["features"][0]["shares"].__setitem__(0, -0.1), "5 shares"),
        (lambda t: t["instruments"]["A"].pop(), "3 rows"),
        (lambda t: t.pop("instruments"), "instruments"),
        (lambda t: t.update(features=7), "does not read"),
    ],
)
def test_what_does_not_read_is_refused_by_name(change: Any, says: str) -> None:
    told = copy.deepcopy(TOLD)
    change(told)
    with pytest.raises(ArtifactError, match=says) as refused:
        FeatureBins(told)
    assert "feature_bins" in str(refused.value)
