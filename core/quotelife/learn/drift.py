"""How far the features of a test have moved from those that a model was fitted on: the population stability index."""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np
import numpy.typing as npt

from quotelife.features.schema import INDEX
from quotelife.learn.samples import Market
from quotelife.model.curve import CurveModel

Floats = npt.NDArray[np.float64]
Longs = npt.NDArray[np.int64]

BINS = 10
SHARE_LEAST = 1e-4  # an empty bin counts as this, or ln 0 would be the answer
INSTRUMENTS_MOST = 16  # told one by one in a manifest; of more, only what they are together
_PARTS = ("train", "calibrate")


@dataclass(frozen=True)
class Drift:
    """``psi`` (features, slices) of features ``names`` in slices of time that begin at ``starts_ns``."""

    names: tuple[str, ...]
    starts_ns: Longs
    psi: Floats


def shares(values: npt.NDArray[np.floating], edges: Floats) -> Floats:
    """Share of ``values`` (n,) in each bin between ``edges`` (k,), and last the share of those missing: (k + 2,)."""
    missing = np.isnan(values)
    counts = np.bincount(np.searchsorted(edges, values[~missing], side="left"), minlength=len(edges) + 1)
    return np.append(counts, missing.sum()) / max(len(values), 1)


def index(expected: Floats, actual: Floats) -> float:
    """PSI = Σ (a − e)·ln(a / e) over the bins; 0 where the shares are the same."""
    e, a = np.maximum(expected, SHARE_LEAST), np.maximum(actual, SHARE_LEAST)
    return float(np.sum((a - e) * np.log(a / e)))


def drift(
    names: tuple[str, ...],
    train: npt.NDArray[np.floating],
    test: npt.NDArray[np.floating],
    test_ns: Longs,
    *,
    slices: int = 12,
) -> Drift:
    """PSI of each column of ``test`` (n, f), in ``slices`` of equal time, against ``train`` (m, f); NaN is missing.

    The bins are tenths of the training column; one of fewer values has fewer. A slice without rows is left out.
    ``ValueError`` when there are no rows on either side.
    """
    if not len(train) or not len(test):
        raise ValueError("drift needs rows to compare on both sides")
    cuts = np.linspace(int(test_ns.min()), int(test_ns.max()) + 1, slices + 1).astype(np.int64)
    parts = [
        (start, rows) for start, end in pairwise(cuts) if (rows := (test_ns >= start) & (test_ns < end)).any()
    ]
    psi = np.empty((len(names), len(parts)))
    for i in range(len(names)):
        column = train[:, i].astype(np.float64)
        known = column[~np.isnan(column)]
        edges = (
            np.unique(np.quantile(known, np.linspace(0, 1, BINS + 1)[1:-1])) if len(known) else np.empty(0)
        )
        expected = shares(column, edges)
        for k, (_, rows) in enumerate(parts):
            psi[i, k] = index(expected, shares(test[rows, i].astype(np.float64), edges))
    return Drift(names, np.array([start for start, _ in parts]), psi)


def feature_bins(group: Sequence[Market], model: CurveModel) -> dict[str, Any] | None:
    """How what ``model`` reads is distributed in what it was fitted on, for its manifest: live decisions are held
    against it (``quotelife.model.feature_bins``). ``None`` for a model that reads no features.

    The edges are tenths of all instruments together, in four digits: a share is of what those leave. Features are told
    before any transform of a logistic model (all rise, so bins are the same), but divided by σ where the model divides.
    """
    read = [(each["name"], each.get("per")) for each in model.parameters().get("features", ())]
    if not read:
        return None
    columns = [
        np.concatenate([_columns(market, read, part) for part in _PARTS]) for market in group
    ]  # per instrument (n, features)
    features: list[dict[str, Any]] = []
    by_instrument: dict[str, list[list[float]]] = {market.instrument: [] for market in group}
    for i, (name, per) in enumerate(read):
        pooled = np.concatenate([each[:, i] for each in columns])
        known = pooled[~np.isnan(pooled)]
        quantiles = np.quantile(known, np.linspace(0, 1, BINS + 1)[1:-1]) if len(known) else np.empty(0)
        edges = np.unique([float(f"{edge:.4g}") for edge in quantiles])
        features.append(
            {"name": name, "per": per, "edges": edges.tolist(), "shares": _rounded(shares(pooled, edges))}
        )
        for market, each in zip(group, columns, strict=True):
            by_instrument[market.instrument].append(_rounded(shares(each[:, i], edges)))
    return {
        "rows": sum(len(each) for each in columns),
        "features": features,
        "instruments": by_instrument if len(group) <= INSTRUMENTS_MOST else {},
    }


def _columns(market: Market, read: Sequence[tuple[str, str | None]], part: str) -> npt.NDArray[np.float64]:
    out = []
    for piece, rows in zip(market.pieces, market.rows, strict=True):
        x = piece.x[rows[part]][:, [INDEX[name] for name, _ in read]].astype(np.float64)
        sigma = piece.sigma_ticks[rows[part]]
        per_sigma = [per == "sigma" for _, per in read]
        x[:, per_sigma] /= np.where(sigma > 0.0, sigma, np.nan)[:, None]
        out.append(x)
    return np.concatenate(out)


def _rounded(values: Floats) -> list[float]:
    return [round(value, 5) for value in values.tolist()]
