"""Cuts of decisions by the clock, and the weight of those whose labels overlap.

Nothing is shuffled. A decision within the purge before a cut is in no part: its label would be read from the path
of the next part. After a test part comes an embargo before decisions may be trained on, because their features still
look back into it (purge and embargo: López de Prado 2018, chapter 7; average uniqueness: chapter 4).
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from quotelife.errors import QuotelifeError
from quotelife.features.schema import SCHEMA
from quotelife.model.artifact import by_simulator
from quotelife.records import HORIZONS_NS

Rows = npt.NDArray[np.int64]
Longs = npt.NDArray[np.int64]

LONGEST_HORIZON_NS = HORIZONS_NS[-1]
# A day's mean of the volatility index moves with one decision by nothing; it would embargo a day.
LONGEST_WINDOW_NS = max(spec.window_ns for spec in SCHEMA if not spec.name.startswith("volatility_index"))
SHARES = (0.50, 0.15, 0.35)


class SplitError(QuotelifeError):
    """There are too few decisions for the cut that was asked for."""


@dataclass(frozen=True)
class ClockSplit:
    """Rows, in order of time, of one cut by the clock, and the times of its two cuts in ns."""

    train: Rows
    calibrate: Rows
    test: Rows
    cuts_ns: tuple[int, int]


def purge_ns(latency_ns: int) -> int:
    """Least purge: the longest horizon and the latency before the label's clock starts."""
    return LONGEST_HORIZON_NS + latency_ns


def seen_until_ns(manifest: Mapping[str, Any] | None) -> int:
    """The last instant that a model, or one that it was made from, was fitted or calibrated on; 0: fitted to nothing,
    or to simulated markets, whose clock is not the one of any recording.

    ``SplitError`` where the manifest of a fitted model does not say.
    """
    training = (manifest or {}).get("training")
    if training is None or by_simulator(training):
        return 0
    if not isinstance(training.get("span_end_ns"), int):
        name = (manifest or {}).get("name")
        raise SplitError(
            f"{name}: its manifest does not say until when it was fitted (span_end_ns); train it again"
        )
    return int(training["span_end_ns"])


def fitted_on(manifest: Mapping[str, Any] | None) -> list[tuple[str, int, int]]:
    """(instrument, from, to) in ns: what the trees or coefficients of a model, and of those that it stands on, were
    fitted on; nothing where it was fitted to nothing. A level that was set later is no part of it.

    ``SplitError`` where the manifest of a fitted model does not say.
    """
    training = (manifest or {}).get("training")
    if training is None or by_simulator(training):
        return []
    if "fitted_on" in training:
        return _spans(manifest, "fitted_on")
    until = seen_until_ns(manifest)
    return [("", int(training.get("span_start_ns", until)), until)]


def levelled_on(manifest: Mapping[str, Any] | None) -> list[tuple[str, int, int]]:
    """(instrument, from, to) in ns: what level, slope and weights of a model, and of those that it was made from, were
    fitted on. Of a manifest that does not tell them apart, the whole span. Errors as ``fitted_on``."""
    training = (manifest or {}).get("training")
    if training is None or by_simulator(training):
        return []
    if "levelled_on" in training:
        return _spans(manifest, "levelled_on")
    until = seen_until_ns(manifest)
    return [("", int(training.get("span_start_ns", until)), until)]


def _spans(manifest: Mapping[str, Any] | None, key: str) -> list[tuple[str, int, int]]:
    assert manifest is not None
    try:
        return [(str(name), int(start), int(end)) for name, start, end in manifest["training"][key]]
    except (TypeError, ValueError):
        raise SplitError(
            f"{manifest.get('name')}: training.{key} of its manifest is no list of instrument, from and to; train it "
            "again"
        ) from None


def clock_split(
    now_ns: Longs, *, purge_ns: int, shares: tuple[float, float, float] = SHARES, label: str = "decisions"
) -> ClockSplit:
    """``now_ns`` (n,), never falling, cut at the ``shares`` of its span; ``SplitError`` where a part is empty.

    A row of the first two parts lies more than ``purge_ns`` before the cut that ends its part.
    """
    if len(now_ns) == 0:
        raise SplitError(f"{label}: there are none; collect a dataset first")
    first, last = int(now_ns[0]), int(now_ns[-1])
    cuts = tuple(first + round((last - first) * share / sum(shares)) for share in np.cumsum(shares[:2]))
    parts = []
    for start, end in ((first, cuts[0]), (cuts[0], cuts[1]), (cuts[1], None)):
        to = len(now_ns) if end is None else int(np.searchsorted(now_ns, end - purge_ns, side="left"))
        parts.append(np.arange(int(np.searchsorted(now_ns, start, side="left")), to, dtype=np.int64))
    for name, part in zip(("train", "calibrate", "test"), parts, strict=True):
        if len(part) == 0:
            raise SplitError(
                f"{label}: {(last - first) / 1e9:.0f} s leave nothing to {name} once {purge_ns / 1e9:g} s are purged; "
                "record for longer"
            )
    return ClockSplit(parts[0], parts[1], parts[2], (cuts[0], cuts[1]))


def walk_forward(
    now_ns: Longs, folds: int, *, purge_ns: int, embargo_ns: int = 0
) -> Iterator[tuple[Rows, Rows]]:
    """``folds`` pairs (train, test) of rows of ``now_ns`` (n,), never falling: each span tested once, but the first.

    The time is cut into ``folds`` + 1 equal spans. A span is tested by what was trained on all before it, less
    ``purge_ns`` before it, and less ``embargo_ns`` after each span that was tested before.
    """
    edges = np.linspace(int(now_ns[0]), int(now_ns[-1]) + 1, folds + 2).astype(np.int64)
    for k in range(1, folds + 1):
        keep = now_ns < edges[k] - purge_ns
        for tested in range(2, k + 1):
            keep &= ~((now_ns >= edges[tested]) & (now_ns < edges[tested] + embargo_ns))
        test = (now_ns >= edges[k]) & (now_ns < edges[k + 1])
        if keep.any() and test.any():
            yield np.flatnonzero(keep), np.flatnonzero(test)


def overlap_weights(now_ns: Longs, horizon_ns: int) -> npt.NDArray[np.float64]:
    """(n,), mean 1: the ``uniqueness`` of each label beside that of the others."""
    share = uniqueness(now_ns, horizon_ns)
    return share / share.mean() if len(share) else share


def uniqueness(now_ns: Longs, horizon_ns: int) -> npt.NDArray[np.float64]:
    """(n,): the mean of 1 / (labels open at once) over the label's window, ``horizon_ns`` from ``now_ns``. Their sum is
    how many labels that do not overlap would say as much.

    ``now_ns`` never falls. The window is the horizon, passed or not: one that ended with the passage would weigh
    hits otherwise than misses and bend the level.
    """
    if len(now_ns) == 0:
        return np.zeros(0)
    edges = np.unique(np.concatenate([now_ns, now_ns + horizon_ns]))
    started = np.searchsorted(now_ns, edges, side="right")
    open_at_once = started - np.searchsorted(now_ns + horizon_ns, edges, side="right")
    width = np.diff(edges, append=edges[-1]).astype(np.float64)
    share = np.divide(width, open_at_once, out=np.zeros(len(edges)), where=open_at_once > 0)
    total = np.concatenate([[0.0], np.cumsum(share)])
    weight = total[np.searchsorted(edges, now_ns + horizon_ns)] - total[np.searchsorted(edges, now_ns)]
    return np.asarray(weight / horizon_ns, dtype=np.float64)
