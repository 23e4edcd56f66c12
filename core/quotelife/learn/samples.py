"""From labelled decisions to what models are fitted on: rows by the clock, thresholds, columns, survival data."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
import numpy.typing as npt

from quotelife.errors import QuotelifeError
from quotelife.learn.dataset import Decisions, check_together
from quotelife.learn.hazard_fit import Floats, HazardData, Longs, event_bins
from quotelife.learn.labels import first_passage_ns
from quotelife.learn.splits import (
    LONGEST_WINDOW_NS,
    SHARES,
    SplitError,
    clock_split,
    overlap_weights,
    purge_ns,
    uniqueness,
    walk_forward,
)
from quotelife.model.curve import CurveModel
from quotelife.model.first_passage import FirstPassageModel
from quotelife.model.tree_curve import TreeCurveModel
from quotelife.records import HORIZONS_NS

PARTS = ("train", "calibrate", "test")
OVERLAP_NS = 500_000_000  # the horizon that the weights of overlapping labels are taken at
THRESHOLDS_SIGMA = (0.3, 6.0)  # of random thresholds, in σ·√1 s
OFFSET = (-15.0, 15.0)
CHUNK = 50_000


@dataclass(frozen=True)
class Market:
    """All decisions of one instrument, cut by the clock. ``rows`` holds, per piece and part, the rows of it."""

    instrument: str
    pieces: tuple[Decisions, ...]
    rows: tuple[dict[str, Longs], ...]
    purge_ns: int = 0  # what was left out before each cut

    @property
    def decisions(self) -> int:
        return sum(len(piece) for piece in self.pieces)

    def span_ns(self, part: str) -> tuple[int, int]:
        """First and last decision of a part."""
        times = [p.now_ns[r[part]] for p, r in zip(self.pieces, self.rows, strict=True) if len(r[part])]
        return int(times[0][0]), int(times[-1][-1])


@dataclass(frozen=True)
class Sample:
    """n decisions of one piece at one threshold each: ``rows`` of ``decisions``, ``h_ticks``, ``event`` and ``known``
    as ``event_bins`` gives them, ``weight`` by overlap."""

    decisions: Decisions
    rows: Longs
    h_ticks: Floats
    passage_ns: Longs
    event: Longs
    known: Longs
    weight: Floats

    @property
    def sigma_ticks(self) -> Floats:
        return self.decisions.sigma_ticks[self.rows]

    def inputs(self) -> Iterator[tuple[slice, Floats, npt.NDArray[np.uint64]]]:
        """(place, x, valid) by parts of the sample, as ``CurveModel.curves`` takes them."""
        for start in range(0, len(self.rows), CHUNK):
            part = slice(start, min(start + CHUNK, len(self.rows)))
            yield part, *self.decisions.inputs(self.rows[part], self.h_ticks[part])

    def columns(self, template: TreeCurveModel) -> npt.NDArray[np.float32]:
        """What the trees of ``template`` read, float32 (n, c)."""
        sigma = self.sigma_ticks
        return np.concatenate(
            [template.columns(x, valid, self.h_ticks[at], sigma[at]) for at, x, valid in self.inputs()]
        )

    def curves(self, model: CurveModel) -> Floats:
        """(n, 12) by ``model``, NaN where it has no answer."""
        sigma = self.sigma_ticks
        return np.concatenate(
            [model.curves(x, valid, self.h_ticks[at], sigma[at])[0] for at, x, valid in self.inputs()]
        )

    def hazard_data(self, z: Floats, missing: npt.NDArray[np.bool_] | None = None) -> HazardData:
        """``z`` (n, f) over first passage, with the labels of the sample."""
        none = np.zeros(z.shape, dtype=bool) if missing is None else missing
        offset = first_passage_logits(self.h_ticks, self.sigma_ticks)
        return HazardData(z, none, offset, self.event, self.known, self.weight)


def markets(
    pieces: Sequence[Decisions], *, shares: tuple[float, float, float] = SHARES, purge: int | None = None
) -> list[Market]:
    """Pieces by instrument, each cut at ``shares`` of its own span. σ unknown or no path: a row is in no part.

    ``purge`` in ns, by default the longest horizon and the latency. ``SplitError`` where a part is empty, or all of it
    is in none.
    """
    found: dict[str, list[Decisions]] = {}
    for piece in pieces:
        found.setdefault(piece.instrument, []).append(piece)
    out = []
    for instrument, days in found.items():
        days.sort(key=lambda day: int(day.now_ns[0]) if len(day) else 0)
        check_together(days)
        now = np.concatenate([day.now_ns for day in days])
        usable = np.concatenate([(day.sigma_ticks > 0.0) & (day.observed_ns > 0) for day in days])
        purged = max(purge_ns(max(day.latency_ns for day in days)), purge or 0)
        split = clock_split(now, purge_ns=purged, shares=shares, label=instrument)
        starts = np.cumsum([0] + [len(day) for day in days])
        rows = []
        for start, end in pairwise(starts):
            parts = {}
            for part in PARTS:
                at = getattr(split, part)
                at = at[(at >= start) & (at < end)]
                parts[part] = at[usable[at]] - start
            rows.append(parts)
        for part in PARTS:
            if not any(len(each[part]) for each in rows):
                raise SplitError(
                    f"{instrument}: σ is unknown or the path ends at every decision of the part to {part}; record for "
                    "longer, or move the cuts: --split"
                )
        out.append(Market(instrument, tuple(days), tuple(rows), purged))
    if not out:
        raise QuotelifeError("the dataset holds no decisions; make it with: quotelife labels")
    return out


def folds(market: Market, count: int) -> list[Market]:
    """Walk-forward over the first two parts: ``count`` markets of the same pieces, whose ``calibrate`` is the span
    that the fold tests and whose ``train`` is what lies before it, purged and with an embargo of the longest window.

    ``QuotelifeError`` where the span is too short for that.
    """
    own = [np.concatenate([rows["train"], rows["calibrate"]]) for rows in market.rows]
    now = np.concatenate([piece.now_ns[at] for piece, at in zip(market.pieces, own, strict=True)])
    starts = np.cumsum([0] + [len(at) for at in own])
    nothing = np.empty(0, dtype=np.int64)
    out = []
    for train, tested in walk_forward(now, count, purge_ns=market.purge_ns, embargo_ns=LONGEST_WINDOW_NS):
        rows = tuple(
            {
                "train": at[train[(train >= start) & (train < end)] - start],
                "calibrate": at[tested[(tested >= start) & (tested < end)] - start],
                "test": nothing,
            }
            for at, (start, end) in zip(own, pairwise(starts), strict=True)
        )
        out.append(Market(market.instrument, market.pieces, rows, market.purge_ns))
    if len(out) < count:
        raise QuotelifeError(
            f"{market.instrument}: the first two parts are too short for {count} folds once they are purged; record "
            "for longer, or train without --tune"
        )
    return out


def stored(market: Market, part: str, threshold: int) -> list[Sample]:
    """The part at one of the thresholds that the dataset stores, a sample for each piece."""
    out = []
    for piece, rows in zip(market.pieces, market.rows, strict=True):
        at = rows[part]
        at = at[~np.isnan(piece.h_ticks[at, threshold])]
        if len(at):
            out.append(_sample(piece, at, piece.h_ticks[at, threshold], piece.passage_ns[at, threshold]))
    return out


def drawn(
    market: Market, part: str, rng: np.random.Generator, rows_wanted: int, draws_most: int
) -> list[Sample]:
    """The part at random thresholds, log-uniform over ``THRESHOLDS_SIGMA``, labelled anew.

    A short market has each decision drawn several times, at most ``draws_most``, a long one is thinned, so that either
    gives about ``rows_wanted`` rows.
    """
    total = sum(len(rows[part]) for rows in market.rows)
    draws = int(np.clip(round(rows_wanted / max(1, total)), 1, draws_most))
    keep = min(1.0, rows_wanted / max(1, total))
    out = []
    for piece, rows in zip(market.pieces, market.rows, strict=True):
        for _ in range(draws):
            at = rows[part]
            if keep < 1.0:
                at = at[np.sort(rng.choice(len(at), round(keep * len(at)), replace=False))]
            if len(at) == 0:
                continue
            low, high = np.log(THRESHOLDS_SIGMA)
            h = np.exp(rng.uniform(low, high, len(at))) * piece.sigma_ticks[at]
            out.append(_sample(piece, at, h, passages(piece, at, h)))
    return out


def passages(piece: Decisions, rows: Longs, h_ticks: Floats) -> Longs:
    """First passages of any thresholds of ``rows``, which rise."""
    return first_passage_ns(
        piece.path,
        piece.reference,
        piece.now_ns[rows],
        piece.side[rows],
        piece.reference_ticks[rows],
        h_ticks,
        latency_ns=piece.latency_ns,
        observed_ns=piece.observed_ns[rows],
    )


def thin(samples: Sequence[Sample], rows_most: int) -> list[Sample]:
    """Every k-th row of each, k the least that leaves at most ``rows_most`` of all."""
    step = -(-sum(len(s.rows) for s in samples) // rows_most)
    if step <= 1:
        return list(samples)
    return [
        Sample(s.decisions, *(getattr(s, name)[::step] for name in list(Sample.__dataclass_fields__)[1:]))
        for s in samples
    ]


def rows_a_label(samples: Sequence[Sample]) -> Floats:
    """(12,), ≥ 1: by horizon, how many rows say as much as one label that overlaps no other. Rows of one piece overlap
    across samples, too: the same market at another threshold."""
    by_piece: dict[int, list[Longs]] = {}
    for sample in samples:
        by_piece.setdefault(id(sample.decisions), []).append(sample.decisions.now_ns[sample.rows])
    pieces = [np.sort(np.concatenate(times)) for times in by_piece.values()]
    rows = sum(len(now) for now in pieces)
    return np.array([rows / sum(float(uniqueness(now, ns).sum()) for now in pieces) for ns in HORIZONS_NS])


def joined(parts: Sequence[HazardData]) -> HazardData:
    """Survival data of several samples, one after the other."""
    each = [
        (d.z, d.missing, d.offset, d.event, d.known, d.weight)
        for d in parts
        if d.known is not None and d.weight is not None
    ]
    return HazardData(*(np.concatenate(column) for column in zip(*each, strict=True)))


def first_passage_logits(h_ticks: Floats, sigma_ticks: Floats) -> Floats:
    """Logit of each bin's first-passage hazard, clipped to OFFSET: (n, 12)."""
    n = len(h_ticks)
    nothing = np.zeros((n, 2), dtype=np.uint64)
    p, _ = FirstPassageModel().curves(np.zeros((n, 128)), nothing, h_ticks, sigma_ticks)
    hit = np.diff(p, axis=1, prepend=0.0)
    with np.errstate(divide="ignore", invalid="ignore"):
        logit = np.log(hit / (1.0 - p))
    return np.asarray(np.clip(np.nan_to_num(logit, nan=OFFSET[1]), *OFFSET), dtype=np.float64)


def _sample(piece: Decisions, rows: Longs, h_ticks: Floats, passage_ns: Longs) -> Sample:
    event, known = event_bins(passage_ns, piece.observed_ns[rows])
    weight = overlap_weights(piece.now_ns[rows], OVERLAP_NS)
    return Sample(piece, rows, h_ticks, passage_ns, event, known, weight)
