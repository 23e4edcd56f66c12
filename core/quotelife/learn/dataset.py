"""Labelled decisions, in memory and as Parquet files (docs/dataset.md). Reading and writing need pyarrow.

A dataset is a folder: ``dataset.json`` and, for each source day and instrument (a piece), one file of decisions, one
of the path of the reference, and ``NAME.json``, which is written last: a piece without it does not count.
"""

import hashlib
import json
import os
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, fields
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from quotelife.errors import QuotelifeError
from quotelife.features.schema import INDEX, NAMES, SCHEMA_HASH
from quotelife.learn.labels import NEVER, TOUCH_TICKS, observed_ns
from quotelife.records import HORIZONS_NS

FORMAT = 1
LONGEST_NS = HORIZONS_NS[-1]
REFERENCES = ("mid", "microprice")
HEAD = "dataset.json"
KEY = b"quotelife.dataset"  # of the JSON in the metadata of each Parquet file
SIMULATED_SOURCE = (
    "simulated "  # how "source" of that JSON begins for a simulated market; others have a digest there
)
ROW_GROUP = 65536
ROOM = 128  # features a decision has room for
WORDS = ROOM // 64

Floats = npt.NDArray[np.float64]
Longs = npt.NDArray[np.int64]

_THRESHOLD = INDEX["threshold"]
# Columns of one value a row, beside the features and the thresholds: name, dtype in memory.
_PLAIN = (
    ("now_ns", np.int64),
    ("side", np.int8),
    ("sigma_ticks", np.float64),
    ("reference_ticks", np.float64),
    ("mid_ticks", np.float64),
    ("spread_ticks", np.float64),
    ("regime", np.int8),
    ("observed_ns", np.int64),
)
_PATH = (
    ("time_ns", np.int64),
    ("mid_ticks", np.float64),
    ("microprice_ticks", np.float64),
    ("good", np.bool_),
)


class DatasetError(QuotelifeError):
    """A dataset cannot be read or written; the text names the file and the mend."""


@dataclass(frozen=True)
class ReferencePath:
    """The reference of one instrument over time: m points, each of which holds until the next.

    ``time_ns`` (m,) rises strictly; ``mid_ticks`` and ``microprice_ticks`` (m,) are NaN where ``good`` (m,) is False:
    from there on to the next point nothing is known (gap, crossed, stale, halt, closed). The last point is the end.
    """

    time_ns: Longs
    mid_ticks: Floats
    microprice_ticks: Floats
    good: npt.NDArray[np.bool_]

    def __len__(self) -> int:
        return len(self.time_ns)

    def values(self, reference: str) -> Floats:
        """(m,) ticks of "mid" or "microprice"."""
        if reference not in REFERENCES:
            raise ValueError(f"reference: {reference!r} is none of {', '.join(REFERENCES)}")
        return self.mid_ticks if reference == "mid" else self.microprice_ticks

    def at(self, now_ns: Longs, reference: str) -> Floats:
        """(n,) ticks of the last point at or before each instant; NaN where nothing is known then."""
        place = np.searchsorted(self.time_ns, now_ns, side="right") - 1
        if not len(self):
            return np.full(len(place), np.nan)
        known = (place >= 0) & self.good[np.maximum(place, 0)]
        return np.where(known, self.values(reference)[np.maximum(place, 0)], np.nan)


@dataclass(frozen=True)
class Decisions:
    """n decisions of one instrument in order of (now_ns, side), with the passages of j thresholds.

    ``x`` (n, len(NAMES)) f4 has the features in the order of the schema, signed as models take them, NaN where
    invalid. ``h_ticks`` and ``passage_ns`` (n, j): each threshold, named in ``thresholds``, and its first passage in
    ns after ``now_ns + latency_ns``, ``NEVER`` where it was not passed while observed. ``observed_ns`` (n,): how long
    after ``now_ns + latency_ns`` the path is known without a hole, at most the longest horizon. ``sigma_ticks`` is per
    √s, NaN where unknown. Prices are ticks of ``tick_size``. ``simulated``: read of what
    ``labels --simulated`` made.
    """

    instrument: str
    group: str
    tick_size: float
    reference: str
    latency_ns: int
    now_ns: Longs
    side: npt.NDArray[np.int8]
    x: npt.NDArray[np.float32]
    sigma_ticks: Floats
    reference_ticks: Floats
    mid_ticks: Floats
    spread_ticks: Floats
    regime: npt.NDArray[np.int8]
    observed_ns: Longs
    h_ticks: Floats
    passage_ns: Longs
    path: ReferencePath
    thresholds: tuple[str, ...] = ()
    simulated: bool = False

    def __len__(self) -> int:
        return len(self.now_ns)

    def __getitem__(self, rows: Any) -> "Decisions":
        """Those rows (a slice, a mask or places in rising order), with the whole path."""
        return Decisions(
            **{
                each.name: getattr(self, each.name)[rows]
                if each.name in _BY_ROW
                else getattr(self, each.name)
                for each in fields(self)
            }
        )

    def inputs(
        self, rows: Any = slice(None), h_ticks: Floats | None = None
    ) -> tuple[Floats, npt.NDArray[np.uint64]]:
        """(x (n, 128), valid (n, 2)) as ``CurveModel.curves`` takes them.

        The feature ``threshold`` is that of the h which the engine decided on; with ``h_ticks`` (n,) it is theirs.
        """
        seen = self.x[rows]
        known = ~np.isnan(seen)
        x = np.zeros((len(seen), ROOM))
        x[:, : seen.shape[1]] = np.where(known, seen, 0.0)
        if h_ticks is not None:
            sigma = self.sigma_ticks[rows]
            known[:, _THRESHOLD] = sigma > 0.0
            x[:, _THRESHOLD] = np.divide(h_ticks, sigma, out=np.zeros(len(seen)), where=known[:, _THRESHOLD])
        bits = np.zeros((len(seen), ROOM), dtype=bool)
        bits[:, : seen.shape[1]] = known
        valid = np.packbits(bits, axis=1, bitorder="little").view("<u8").astype(np.uint64)
        return x, valid

    def outcome(self, horizon_ns: int, threshold: int = 0) -> npt.NDArray[np.int8]:
        """(n,) the label of column ``threshold``: 1 passed within the horizon, 0 not, −1 unknown.

        Unknown is a horizon that reaches into a hole, though it was passed before: whether a row counts must not hang
        on what it says, else hits would be kept where misses are lost.
        """
        passed = self.passage_ns[:, threshold] <= horizon_ns
        unknown = (self.observed_ns < horizon_ns) | np.isnan(self.h_ticks[:, threshold])
        return np.where(unknown, -1, passed).astype(np.int8)

    def digest(self) -> str:
        """SHA-256 over every value, the path included."""
        sha = hashlib.sha256()
        words = [
            self.instrument,
            self.group,
            repr(self.tick_size),
            self.reference,
            self.latency_ns,
            self.thresholds,
        ]
        sha.update(json.dumps(words).encode())
        for owner, names in ((self, [*_BY_ROW]), (self.path, [name for name, _ in _PATH])):
            for name in names:
                column = np.ascontiguousarray(getattr(owner, name))
                sha.update(f"{name} {column.dtype.str} {column.shape}".encode())
                sha.update(column.data if column.size else b"")
        return sha.hexdigest()


_BY_ROW = (*(name for name, _ in _PLAIN), "x", "h_ticks", "passage_ns")


@dataclass(frozen=True)
class Piece:
    """One source day of one instrument. ``key`` is the digest of all that made it, ``digest`` that of what it holds."""

    name: str
    day: str
    instrument: str
    group: str
    reference: str
    rows: int
    points: int
    first_ns: int
    last_ns: int
    key: str
    digest: str

    @property
    def decisions_file(self) -> str:
        return f"{self.name}.decisions.parquet"

    @property
    def path_file(self) -> str:
        return f"{self.name}.path.parquet"


def read_piece(entry: dict[str, Any]) -> Piece:
    """``TypeError`` where one of its values is missing, unknown or of another type."""
    piece = Piece(**entry)
    for each in fields(Piece):
        if type(getattr(piece, each.name)) is not each.type:
            raise TypeError(f"{each.name} of a piece is {getattr(piece, each.name)!r}")
    return piece


class Dataset:
    """A whole dataset on disk. Iterating gives the decisions, piece by piece.

    Raises ``DatasetError`` when the folder holds none, or one of another feature schema, horizons or format.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = Path(folder)
        head = _read_json(self.folder / HEAD, "make it with: quotelife labels SOURCES --out FOLDER")
        check_head(self.folder / HEAD, head)
        try:
            self.pieces = tuple(read_piece(entry) for entry in head["pieces"])
            self.digest = str(head["digest"])
            self.settings: dict[str, Any] = head["settings"]
            if not isinstance(self.settings, dict):
                raise TypeError(f"settings are {self.settings!r}")
        except (KeyError, TypeError) as error:
            raise _spoilt(self.folder / HEAD, f"{type(error).__name__}: {error}") from None

    def __iter__(self) -> Iterator[Decisions]:
        for piece in self.pieces:
            yield self.decisions(piece)

    def of(self, instrument: str) -> tuple[Piece, ...]:
        """The pieces of one instrument in order of time."""
        found = [piece for piece in self.pieces if piece.instrument == instrument]
        return tuple(sorted(found, key=lambda piece: piece.first_ns))

    @property
    def instruments(self) -> tuple[str, ...]:
        return tuple(dict.fromkeys(piece.instrument for piece in self.pieces))

    def decisions(self, piece: Piece) -> Decisions:
        """One piece, held against its digest. Raises ``DatasetError`` naming the file that is missing or spoilt."""
        found = read_decisions(self.folder / piece.decisions_file, self.folder / piece.path_file)
        if found.digest() != piece.digest:
            raise _spoilt(
                self.folder / piece.decisions_file,
                "or the path beside it does not have the digest of the dataset",
            )
        return found


def check_together(pieces: Sequence[Decisions]) -> None:
    """``DatasetError`` where the pieces of one instrument, in order of time, do not make one: thresholds are told apart
    by their place, scores by their reference, prices are in ticks of one size, and a decision that is there twice would
    count twice."""
    for before, after in pairwise(piece for piece in pieces if len(piece)):
        for what in ("thresholds", "reference", "latency_ns", "tick_size"):
            mine, other = getattr(before, what), getattr(after, what)
            if mine != other:
                raise DatasetError(
                    f"{before.instrument}: its pieces do not go together: {what} is {mine!r} in one and {other!r} in "
                    "another; label all of them with the same settings and tick size, or name fewer datasets"
                )
        if after.now_ns[0] <= before.now_ns[-1]:
            raise DatasetError(
                f"{before.instrument}: two pieces hold decisions of the same time; name each dataset once, and none "
                "whose sources are in another"
            )


def check_decisions(decisions: Decisions) -> None:
    """``DatasetError`` naming the field that is no number, or that the path contradicts.

    What is read of a path in a hole is no number, and so would be every figure made of it. That nothing was passed is
    asked at the end of each label alone, for to look at all points between is to label anew.
    """
    d, path = decisions, decisions.path
    seen = d.observed_ns > 0
    end = np.minimum(d.observed_ns, LONGEST_NS) + d.now_ns + d.latency_ns
    known = observed_ns(path, d.now_ns, latency_ns=d.latency_ns, longest_ns=LONGEST_NS)
    _refuse_if(d, "tick_size", not 0.0 < d.tick_size < np.inf, "must be a number above 0")
    _refuse_if(d, "thresholds", not d.thresholds, "there are none, and so no labels")
    _refuse_if(d, "latency_ns", d.latency_ns < 0, "must not be below 0")
    _refuse_if(d, "reference", d.reference not in REFERENCES, f"is none of {', '.join(REFERENCES)}")
    _refuse_if(d, "path.time_ns", np.diff(path.time_ns) <= 0, "must rise from point to point")
    for name in ("mid_ticks", "microprice_ticks"):
        lacks = path.good & ~np.isfinite(getattr(path, name))
        _refuse_if(d, f"path.{name}", lacks, "is no finite number where the path is good")
    _refuse_if(d, "now_ns", np.diff(d.now_ns) < 0, "must not fall")
    _refuse_if(d, "side", np.abs(d.side) != 1, "must be 1 or -1")
    for i in np.flatnonzero(np.isinf(d.x).any(axis=0))[:1]:
        _refuse_if(
            d, f"x.{NAMES[i]}", np.isinf(d.x[:, i]), "is infinite; NaN says that a feature is not known"
        )
    _refuse_if(d, "sigma_ticks", (d.sigma_ticks < 0.0) | np.isinf(d.sigma_ticks), "must be 0 or more, or NaN")
    for name in ("reference_ticks", "mid_ticks"):
        _refuse_if(d, name, seen & ~np.isfinite(getattr(d, name)), "is no finite number")
    _refuse_if(
        d, "observed_ns", (d.observed_ns < 0) | (d.observed_ns > known), "is more than the path is known for"
    )
    for j, threshold in enumerate(d.thresholds):
        h, passage = d.h_ticks[:, j], d.passage_ns[:, j]
        _refuse_if(d, f"h_ticks.{threshold}", (h <= 0.0) | np.isinf(h), "must be above 0, or NaN")
        passed = passage != NEVER
        at = np.where(passed, d.now_ns + d.latency_ns + np.where(passed, passage, 0), end)
        with np.errstate(invalid="ignore"):
            touched = -d.side * (path.at(at, d.reference) - d.reference_ticks) >= h - TOUCH_TICKS
        wrong = (passage < 0) | (passed & (passage > d.observed_ns)) | (seen & (passed != touched))
        _refuse_if(d, f"passage_ns.{threshold}", wrong, "is not what the path says")


def _refuse_if(decisions: Decisions, field: str, wrong: Any, what: str) -> None:
    rows = np.flatnonzero(wrong)
    if len(rows):
        where = f" (row {rows[0]}, and {len(rows) - 1} more)" if np.ndim(wrong) else ""
        raise DatasetError(
            f"{decisions.instrument}: {field}: {what}{where}; make the dataset anew with: quotelife labels"
        )


def schema_head() -> dict[str, Any]:
    """What a reader must have in common with the writer."""
    return {"format": FORMAT, "schema_hash": SCHEMA_HASH, "horizons_ns": list(HORIZONS_NS)}


def check_head(path: Path, head: Any) -> None:
    """Raises ``DatasetError`` when a file was written for another schema, other horizons or another format."""
    if not isinstance(head, dict):
        raise _spoilt(path, "not a JSON object")
    for key, mine in schema_head().items():
        if head.get(key) != mine:
            what = {
                "format": "format of datasets",
                "schema_hash": "feature schema",
                "horizons_ns": "horizon grid",
            }[key]
            raise DatasetError(
                f"{path}: of another {what}: {key} is {head.get(key)!r}, this build has {mine!r}; make the dataset "
                f"anew from its sources with this build: quotelife labels"
            )


def write_decisions(
    decisions: Decisions, decisions_path: Path, path_path: Path, provenance: dict[str, Any]
) -> None:
    """Write both files; each gets its name when it is whole and on disk. ``provenance`` goes into their metadata as it
    is. ``DatasetError`` as ``check_decisions`` has it."""
    pa, parquet = need_pyarrow()
    check_decisions(decisions)
    head = {
        **schema_head(),
        **provenance,
        "instrument": decisions.instrument,
        "group": decisions.group,
        "tick_size": decisions.tick_size,
        "reference": decisions.reference,
        "latency_ns": decisions.latency_ns,
        "thresholds": list(decisions.thresholds),
    }
    columns = {name: pa.array(getattr(decisions, name)) for name, _ in _PLAIN}
    for i, threshold in enumerate(decisions.thresholds):
        passage = np.ascontiguousarray(decisions.passage_ns[:, i])
        columns[f"h_ticks.{threshold}"] = pa.array(np.ascontiguousarray(decisions.h_ticks[:, i]))
        columns[f"passage_ns.{threshold}"] = pa.array(passage, mask=passage == NEVER)
    for i, name in enumerate(NAMES):
        columns[f"x.{name}"] = pa.array(np.ascontiguousarray(decisions.x[:, i]))
    path = {name: pa.array(getattr(decisions.path, name)) for name, _ in _PATH}
    for out, each in ((path_path, path), (decisions_path, columns)):
        table = pa.table(each).replace_schema_metadata({KEY: json.dumps(head, sort_keys=True)})
        unfinished = out.with_name(out.name + ".tmp")
        try:
            parquet.write_table(table, unfinished, compression="zstd", row_group_size=ROW_GROUP)
            put_in_place(unfinished, out)
        finally:
            unfinished.unlink(missing_ok=True)


def put_in_place(unfinished: Path, path: Path) -> None:
    """Rename once it is on disk: after a power cut a name never stands for half a file."""
    descriptor = os.open(unfinished, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
    unfinished.replace(path)


def read_decisions(decisions_path: Path, path_path: Path) -> Decisions:
    """Both files of a piece. Raises ``DatasetError`` naming the one that is missing, spoilt, or of another schema, or
    as ``check_decisions`` has it."""
    table, head = _read_table(decisions_path)
    points, other = _read_table(path_path)
    if head != other:
        raise _spoilt(path_path, f"does not belong to {decisions_path.name}")
    try:
        thresholds = tuple(head["thresholds"])
        n = table.num_rows
        x = np.empty((n, len(NAMES)), dtype=np.float32)
        for i, name in enumerate(NAMES):
            x[:, i] = table.column(f"x.{name}").to_numpy()
        h_ticks = np.empty((n, len(thresholds)))
        passage_ns = np.empty((n, len(thresholds)), dtype=np.int64)
        for i, threshold in enumerate(thresholds):
            h_ticks[:, i] = table.column(f"h_ticks.{threshold}").to_numpy()
            passage_ns[:, i] = table.column(f"passage_ns.{threshold}").fill_null(NEVER).to_numpy()
        found = Decisions(
            instrument=str(head["instrument"]),
            group=str(head["group"]),
            tick_size=float(head["tick_size"]),
            reference=str(head["reference"]),
            latency_ns=int(head["latency_ns"]),
            x=x,
            h_ticks=h_ticks,
            passage_ns=passage_ns,
            thresholds=thresholds,
            simulated=str(head.get("source", "")).startswith(SIMULATED_SOURCE),
            path=ReferencePath(**{name: _column(points, name, dtype) for name, dtype in _PATH}),
            **{name: _column(table, name, dtype) for name, dtype in _PLAIN},
        )
    except (KeyError, TypeError, ValueError) as error:
        raise _spoilt(decisions_path, f"or {path_path.name}: {type(error).__name__}: {error}") from None
    try:
        check_decisions(found)
    except DatasetError as error:
        raise DatasetError(f"{decisions_path}: {error}") from None
    return found


def rows_of(path: Path) -> int | None:
    """How many rows a Parquet file says that it has, by its footer alone; ``None`` where it has none that is whole."""
    pa, parquet = need_pyarrow()
    try:
        return int(parquet.read_metadata(path).num_rows)
    except (OSError, pa.ArrowException):
        return None


def dataset_digest(settings: dict[str, Any], pieces: list[Piece]) -> str:
    """One digest over what went in and what came out; the order in which pieces were made plays no part."""
    held = sorted((piece.name, piece.key, piece.digest) for piece in pieces)
    words = json.dumps([schema_head(), settings, held], sort_keys=True)
    return hashlib.sha256(words.encode()).hexdigest()


def _column(table: Any, name: str, dtype: Any) -> Any:
    return np.ascontiguousarray(table.column(name).to_numpy(), dtype=dtype)


def _read_table(path: Path) -> tuple[Any, dict[str, Any]]:
    pa, parquet = need_pyarrow()
    try:
        table = parquet.read_table(path)
    except FileNotFoundError:
        raise _spoilt(path, "no such file") from None
    except (OSError, pa.ArrowException) as error:
        raise _spoilt(path, str(error).splitlines()[0]) from None
    try:
        head = json.loads((table.schema.metadata or {})[KEY])
    except (KeyError, ValueError):
        raise _spoilt(path, "not a file of a dataset: it lacks the metadata that quotelife writes") from None
    check_head(path, head)
    return table, head


def _read_json(path: Path, mend: str) -> Any:
    try:
        return json.loads(path.read_bytes())
    except FileNotFoundError:
        raise DatasetError(f"{path}: no such file, so the folder holds no whole dataset; {mend}") from None
    except (ValueError, RecursionError) as error:
        raise _spoilt(path, str(error)) from None


def _spoilt(path: Path, what: str) -> DatasetError:
    return DatasetError(
        f"{path}: {what}; remove it and run the same quotelife labels again: it makes anew what is missing"
    )


def need_pyarrow() -> tuple[Any, Any]:
    """pyarrow and its Parquet part. ``QuotelifeError`` with the mend where they are not installed."""
    try:
        import pyarrow as pa
        import pyarrow.parquet as parquet
    except ImportError:
        mend = f"{sys.executable} -m pip install 'quotelife[learn]'"
        raise QuotelifeError(f"datasets need pyarrow in this environment: {mend}") from None
    return pa, parquet


def threshold_ticks(spec: str, sigma_ticks: Floats, reference_ticks: Floats) -> Floats:
    """(n,) ticks of a threshold as it is written: ``6tick``, ``0.5bp`` of the reference, ``0.3sigma`` (σ·√1 s).

    NaN where it depends on what is not known. Raises ``ValueError`` saying how it is written.
    """
    for unit in ("tick", "bp", "sigma"):
        text = spec.removesuffix("s") if unit != "sigma" else spec
        number = text.removesuffix(unit)
        if number == text:
            continue
        try:
            size = float(number)
        except ValueError:
            break
        if not 0.0 < size < float("inf"):
            break
        if unit == "tick":
            return np.full(len(sigma_ticks), size)
        if unit == "bp":
            return size * 1e-4 * reference_ticks
        return np.where(sigma_ticks > 0.0, size * sigma_ticks, np.nan)
    raise ValueError(
        f"{spec!r} is no threshold: write a number above 0 and tick, bp or sigma, such as 1tick or 0.5bp"
    )
