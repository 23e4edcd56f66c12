"""A capture as one Parquet file, for pandas, Polars and DuckDB. Needs pyarrow (extra ``export``)."""

import sys
from collections.abc import Callable, Iterator
from decimal import Decimal
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from quotelife.capture.format import Head, InputKind
from quotelife.capture.reader import Capture, Inputs
from quotelife.errors import QuotelifeError
from quotelife.records import (
    EVENT_DTYPE,
    SIGNAL_DTYPE,
    EventFlags,
    EventKindCode,
    SideCode,
    SignalCode,
    StatusKind,
)

ROWS = 200_000  # about so many make a row group
SCALE = 12  # digits behind the point: the finest tick and lot that a configuration may name
DIGITS = 38
INT64_MAX = 2**63 - 1


def export_parquet(
    capture: Capture,
    out: Path,
    *,
    boot_id: str | None = None,
    progress: Callable[[int], None] = lambda _: None,
) -> int:
    """Write every event, every signal and every marked loss as a row, by input sequence; returns their number.

    Prices and sizes stand there in ticks and lots, and as exact decimals (null where the configuration does not have
    the instrument). ``progress`` is told of the rows so far. The file gets its name when it is whole. Raises
    ``QuotelifeError`` when pyarrow is not there, or the file cannot be written.
    """
    try:
        import pyarrow as pa
        import pyarrow.parquet as parquet
    except ImportError:
        mend = f"{sys.executable} -m pip install 'quotelife[export]'"
        raise QuotelifeError(f"an export needs pyarrow in this environment: {mend}") from None
    schema = _schema(pa)
    unfinished = out.with_name(out.name + ".tmp")
    rows = 0
    try:
        unfinished.touch()
    except OSError as error:
        raise QuotelifeError(
            f"{out}: cannot be written ({error.strerror}); name a file in a folder that is there, and where you may "
            "write"
        ) from None
    try:
        with parquet.ParquetWriter(unfinished, schema, compression="zstd") as writer:
            for head, runs in _batches(capture, boot_id):
                table = pa.concat_tables(_tables(pa, schema, head, runs))
                if len(table.column("input_sequence").chunks) > 1:
                    table = table.unify_dictionaries().combine_chunks().sort_by("input_sequence")
                writer.write_table(table)
                rows += len(table)
                progress(rows)
        unfinished.rename(out)
    finally:
        unfinished.unlink(missing_ok=True)
    return rows


def _schema(pa: Any) -> Any:
    word = pa.dictionary(pa.int32(), pa.string())
    decimal = pa.decimal128(DIGITS, SCALE)
    return pa.schema(
        [
            ("boot_id", word),
            ("input_sequence", pa.uint64()),
            ("kind", word),  # of EventKindCode, SignalCode, or LOST
            ("instrument", word),
            ("exchange_ns", pa.int64()),  # of a signal: the time that its source gives
            ("receive_ns", pa.int64()),
            ("sequence", pa.int64()),
            ("side", word),
            ("last", pa.bool_()),
            ("snapshot", pa.bool_()),
            ("gap", pa.bool_()),
            ("price_ticks", pa.int64()),  # QUOTE: of the bid
            ("size_lots", pa.int64()),
            ("price", decimal),
            ("size", decimal),
            ("ask_price_ticks", pa.int64()),  # QUOTE
            ("ask_size_lots", pa.int64()),
            ("ask_price", decimal),
            ("ask_size", decimal),
            ("order_id", pa.int64()),
            ("trade_id", pa.int64()),
            ("status", word),
            ("value", pa.float64()),  # signals
            ("value2", pa.float64()),
            ("ttl_ns", pa.int64()),
            ("source", pa.uint64()),
            ("desk", word),
            ("lost", pa.uint32()),  # LOST: so many inputs from input_sequence on
        ]
    )


def _batches(capture: Capture, boot_id: str | None) -> Iterator[tuple[Head, list[Inputs]]]:
    """Runs under one head, about ROWS rows at a time, without timers."""
    runs: list[Inputs] = []
    rows = 0
    for run in capture.inputs(boot_id):
        if run.kind in (InputKind.TIMER, InputKind.WATCH_TIMER):
            continue
        if runs and (rows >= ROWS or run.head is not runs[0].head):
            yield runs[0].head, runs
            runs, rows = [], 0
        runs.append(run)
        rows += len(run.records)
    if runs:
        yield runs[0].head, runs


def _tables(pa: Any, schema: Any, head: Head, runs: list[Inputs]) -> list[Any]:
    instruments = list(head.instruments())
    names = [each.name for each in instruments]
    ticks = [int(each.tick_size.scaleb(SCALE)) for each in instruments]
    lots = [int(each.lot_size.scaleb(SCALE)) for each in instruments]

    def word(index: npt.NDArray[Any], words: list[str], valid: npt.NDArray[np.bool_] | None = None) -> Any:
        known = index < len(words)
        known = known if valid is None else known & valid
        indices = pa.array(np.where(known, index, 0).astype(np.int32), mask=~known)
        return pa.DictionaryArray.from_arrays(indices, pa.array(words, pa.string()))

    def by_code(codes: npt.NDArray[Any], kinds: Any, valid: npt.NDArray[np.bool_] | None = None) -> Any:
        words = [""] * (max(kinds) + 1)
        for kind in kinds:
            words[kind] = kind.name
        known = np.isin(codes, [int(kind) for kind in kinds])
        return word(codes, words, known if valid is None else known & valid)

    def table(columns: dict[str, Any], n: int) -> Any:
        columns["boot_id"] = word(np.zeros(n, dtype=np.int32), [head.boot_id])
        return pa.Table.from_arrays(
            [columns[field.name] if field.name in columns else pa.nulls(n, field.type) for field in schema],
            schema=schema,
        )

    def chosen(kind: InputKind) -> tuple[npt.NDArray[np.uint64], npt.NDArray[np.void]]:
        of_kind = [run for run in runs if run.kind is kind]
        sequences = [
            np.arange(run.length, dtype=np.uint64) + np.uint64(run.first_sequence) for run in of_kind
        ]
        dtype = EVENT_DTYPE if kind is InputKind.EVENT else SIGNAL_DTYPE
        return (
            np.concatenate([np.empty(0, np.uint64), *sequences]),
            np.concatenate([np.empty(0, dtype), *(run.records for run in of_kind)]),
        )

    out = []
    sequences, events = chosen(InputKind.EVENT)
    if len(events):
        kind, instrument = events["kind"], events["instrument"]
        quote, status = kind == EventKindCode.QUOTE, kind == EventKindCode.STATUS
        priced = np.isin(
            kind,
            [
                EventKindCode.ADD,
                EventKindCode.MODIFY,
                EventKindCode.TRADE,
                EventKindCode.LEVEL,
                EventKindCode.QUOTE,
            ],
        )
        known = instrument < len(instruments)
        columns: dict[str, Any] = {
            "input_sequence": pa.array(sequences),
            "kind": by_code(kind, EventKindCode),
            "instrument": word(instrument, names),
            "side": by_code(events["side"], SideCode, events["side"] != SideCode.NONE),
            "order_id": pa.array(events["order_id"], mask=quote),
            "trade_id": pa.array(events["aux"], mask=kind != EventKindCode.TRADE),
            "status": by_code(events["aux"], StatusKind, status),
            "price": _decimals(pa, events["price_ticks"], instrument, ticks, priced & known),
            "size": _decimals(pa, events["size_lots"], instrument, lots, ~status & known),
            "ask_price_ticks": pa.array(events["order_id"], mask=~quote),
            "ask_size_lots": pa.array(events["aux"], mask=~quote),
            "ask_price": _decimals(pa, events["order_id"], instrument, ticks, quote & known),
            "ask_size": _decimals(pa, events["aux"], instrument, lots, quote & known),
        }
        for name in ("exchange_ns", "receive_ns", "sequence", "price_ticks", "size_lots"):
            columns[name] = pa.array(np.ascontiguousarray(events[name]))
        for name, flag in (
            ("last", EventFlags.LAST),
            ("snapshot", EventFlags.SNAPSHOT),
            ("gap", EventFlags.GAP),
        ):
            columns[name] = pa.array(events["flags"] & int(flag) != 0)
        out.append(table(columns, len(events)))
    sequences, signals = chosen(InputKind.SIGNAL)
    if len(signals):
        desks = sorted(head.configuration["config"]["desks"])
        columns = {
            "input_sequence": pa.array(sequences),
            "kind": by_code(signals["kind"], SignalCode),
            "instrument": word(signals["instrument"], names),
            "exchange_ns": pa.array(signals["source_ns"]),
            "desk": word(signals["desk"], desks),
        }
        for name in ("receive_ns", "value", "value2", "ttl_ns", "source"):
            columns[name] = pa.array(np.ascontiguousarray(signals[name]))
        out.append(table(columns, len(signals)))
    lost = [run for run in runs if run.kind is InputKind.LOST]
    if lost:
        columns = {
            "input_sequence": pa.array([run.first_sequence for run in lost], pa.uint64()),
            "kind": word(np.zeros(len(lost), dtype=np.int32), ["LOST"]),
            "lost": pa.array([run.length for run in lost], pa.uint32()),
        }
        out.append(table(columns, len(lost)))
    return out


def _decimals(
    pa: Any,
    counts: npt.NDArray[np.int64],
    instrument: npt.NDArray[np.uint32],
    units: list[int],
    valid: npt.NDArray[np.bool_],
) -> Any:
    """``counts`` of each instrument's unit (a multiple of 10^-SCALE) as exact decimals; null where not ``valid``."""
    if not valid.any():
        return pa.nulls(len(counts), pa.decimal128(DIGITS, SCALE))
    index = np.where(valid, instrument, 0)
    number = np.where(valid, counts, 0)
    largest = max(abs(int(number.min())), abs(int(number.max())))
    if largest * max(units) > INT64_MAX:
        exact = [
            Decimal(int(n) * units[i]).scaleb(-SCALE) if known else None
            for n, i, known in zip(number, index, valid, strict=True)
        ]
        return pa.array(exact, pa.decimal128(DIGITS, SCALE))
    words = np.empty((len(counts), 2), dtype=np.int64)  # 128 bits, two's complement, low word first
    words[:, 0] = number * np.array(units, dtype=np.int64)[index]
    words[:, 1] = words[:, 0] >> 63
    bits = np.packbits(valid, bitorder="little")
    return pa.Array.from_buffers(
        pa.decimal128(DIGITS, SCALE), len(counts), [pa.py_buffer(bits), pa.py_buffer(words)]
    )
