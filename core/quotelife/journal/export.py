"""A journal as Parquet, for DuckDB, pandas and Polars: every record in one table, ``TABLES``.

Needs pyarrow (extra ``export``).
"""

from __future__ import annotations

import json
import shutil
import sys
from collections.abc import Callable
from enum import IntEnum, IntFlag
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from quotelife.counterparty.posterior import OutcomeCode
from quotelife.errors import JournalError, QuotelifeError
from quotelife.features.schema import NAMES, SCHEMA_HASH
from quotelife.inputs import Change
from quotelife.journal.format import LAYOUT_HASH, Kind
from quotelife.journal.reader import Journal, refused_sequences
from quotelife.journal.records import LIFE, Record, decode_answer
from quotelife.records import (
    DECISION_DTYPE,
    HORIZONS_NS,
    LABEL_DTYPE,
    REQUEST_DTYPE,
    SHADOW_DTYPE,
    SIGNAL_DTYPE,
    WATCH_DTYPE,
    ActuationCode,
    BindingFlags,
    DecisionCode,
    ModeCode,
    ModelRoleCode,
    PostureCode,
    QualityCode,
    QuoteStateCode,
    ReasonFlags,
    RegimeCode,
    RequestFlags,
    RuleCode,
    SignalCode,
    WatchCode,
    WithdrawCode,
)
from quotelife.units import NS_PER_MS

ROWS = 50_000
TABLES = (
    "decisions", "shadows", "labels", "answers", "signals", "watched_quotes", "watches", "outcomes", "changes",
)  # fmt: skip

_PAIR = np.dtype([("request", REQUEST_DTYPE), ("decision", DECISION_DTYPE)])
_CODES: dict[str, type[IntEnum]] = {
    "kind": DecisionCode,
    "posture_requested": PostureCode,
    "posture_effective": PostureCode,
    "rule": RuleCode,
    "regime": RegimeCode,
    "quality": QualityCode,
    "mode": ModeCode,
    "actuation": ActuationCode,
    "model_role": ModelRoleCode,
}
_GIVEN = {"size_lots": 1, "price_ticks": 2, "edge_ticks": 4, "reference_ticks": 8, "client_deadline_ns": 16,
          "priced_at_ns": 32}  # fmt: skip
_PLAIN = (
    "life_ns", "expiry_ns", "venue_life_ns", "data_age_ns", "reference_ticks", "edge_ticks", "h_ticks", "moved_ticks",
    "sigma_ticks", "alpha", "risk_sum", "p_ref", "p_life", "expected_value_ticks", "break_even_edge_ticks",
    "mid_ticks", "spread_ticks", "held_alpha", "life_without_watch_ns", "config_revision", "model_revision",
)  # fmt: skip
_CALIBRATION = ("calibration_a_500ms", "calibration_b_500ms", "calibration_a_2s", "calibration_b_2s")


_SHADOW_PLAIN = ("life_ns", "h_ticks", "p_life", "expected_value_ticks", "model_revision")


def export_parquet(
    journal: Journal, out: Path, *, progress: Callable[[int, int], None] = lambda done, total: None
) -> dict[str, int]:
    """Write one Parquet file for each of ``TABLES`` to the new folder ``out``; rows of each.

    The folder gets its name when it is whole. ``progress(done, total)`` is told of records. Raises ``JournalError``
    on damage and where ``out`` exists or cannot be made, ``QuotelifeError`` when pyarrow is not there.
    """
    try:
        import pyarrow as pa
        import pyarrow.parquet as parquet
    except ImportError:
        mend = f"{sys.executable} -m pip install 'quotelife[export]'"
        raise QuotelifeError(f"an export needs pyarrow in this environment: {mend}") from None
    if out.exists():
        raise JournalError(f"{out}: exists; remove it, or name another folder")
    aside = out.with_name(out.name + ".tmp")
    shutil.rmtree(aside, ignore_errors=True)
    try:
        aside.mkdir(parents=True)
    except OSError as error:
        raise JournalError(
            f"{out}: cannot be made ({error.strerror}); name a folder where you may write"
        ) from None
    total = sum(index.records for index in journal.segments)
    try:
        writer = _Tables(pa, parquet, aside, refused_sequences(journal.segments))
        for done, record in enumerate(journal.records(), 1):
            writer.take(record)
            if done % ROWS == 0:
                progress(done, total)
        rows = writer.close()
        progress(total, total)
        aside.rename(out)
    finally:
        shutil.rmtree(aside, ignore_errors=True)
    return rows


class _Tables:
    """Collects records, and writes them as row groups, the decisions under the configuration they were made under."""

    def __init__(self, pa: Any, parquet: Any, folder: Path, refused: dict[str, set[int]]) -> None:
        self.pa, self.parquet, self.folder, self.refused = pa, parquet, folder, refused
        self.writers: dict[str, Any] = {}
        self.rows = dict.fromkeys(TABLES, 0)
        self.waiting: dict[str, list[Record]] = {name: [] for name in TABLES if name != "changes"}
        self.changes: list[dict[str, Any]] = []
        self.config: dict[str, Any] = {}
        self.schema = {"decisions": _decisions_schema(pa), **_other_schemas(pa)}

    def take(self, record: Record) -> None:
        if record.kind == Kind.DECISION:
            self._wait("decisions", record)
        elif record.kind == Kind.SHADOW:
            self._wait("shadows", record)
        elif record.kind == Kind.LABEL:
            self._wait("labels", record)
        elif record.kind == Kind.ANSWER:
            self._wait("answers", record)
        elif record.kind == Kind.SIGNAL:
            self._wait("signals", record)
        elif record.kind == Kind.WATCH:
            self._wait("watches", record)
        elif record.kind == Kind.STATE:
            self._configure(json.loads(record.payload)["config"])
        else:
            self._change(record)

    def _wait(self, name: str, record: Record) -> None:
        self.waiting[name].append(record)
        if len(self.waiting[name]) >= ROWS:
            self._flush(name)

    def _configure(self, payload: dict[str, Any]) -> None:
        config = payload.get("config", {})
        if config != self.config:
            self._flush("decisions")  # indices of records so far mean the old one's names
            self._flush("shadows")
            self._flush("labels")
            self._flush("signals")
            self._flush("watches")
            self.config = config

    def _change(self, record: Record) -> None:
        name, payload = record.kind.name, record.payload.hex()
        if record.kind == Kind.CHANGE:
            change = json.loads(record.payload)
            if change["kind"] in (Change.WATCHED, Change.OUTCOME):
                self._wait("outcomes" if change["kind"] == Change.OUTCOME else "watched_quotes", record)
                return
            name, payload = Change(change["kind"]).name, json.dumps(change["payload"])
            if change["kind"] == Change.CONFIG:
                self._configure(change["payload"])
        elif record.kind in (Kind.BOOT, Kind.GAP):
            payload = record.payload.decode()
        elif record.kind == Kind.REFUSED:
            payload = json.dumps(np.frombuffer(record.payload, dtype="<u8").tolist())
        row = {"record": record.number, "boot_id": record.boot_id, "input_sequence": record.input_sequence}
        self.changes.append(row | {"time": record.now_ns, "kind": name, "payload": payload})

    def _flush(self, name: str) -> None:
        records = self.waiting[name]
        if not records:
            return
        self.waiting[name] = []
        if name == "decisions":
            columns = self._decisions(records)
        elif name == "shadows":
            columns = self._shadows(records)
        elif name == "labels":
            columns = self._labels(records)
        elif name == "answers":
            columns = self._answers(records)
        elif name == "watches":
            columns = self._watches(records)
        elif name == "watched_quotes":
            columns = _watched_quotes(records)
        elif name == "outcomes":
            columns = _outcomes(records)
        else:
            columns = self._signals(records)
        self._write(name, columns)

    def _write(self, name: str, columns: dict[str, Any]) -> None:
        pa = self.pa
        schema = self.schema[name]
        arrays = []
        for field in schema:
            column = columns[field.name]
            if not isinstance(column, pa.Array):
                column = pa.array(column, field.type)
            arrays.append(column.cast(field.type))
        table = pa.Table.from_arrays(arrays, schema=schema)
        if name not in self.writers:
            self.writers[name] = self.parquet.ParquetWriter(
                self.folder / f"{name}.parquet", schema, compression="zstd"
            )
        self.writers[name].write_table(table)
        self.rows[name] += len(table)

    def close(self) -> dict[str, int]:
        for name in self.waiting:
            self._flush(name)
        keys = self.schema["changes"].names
        self._write("changes", {key: [row[key] for row in self.changes] for key in keys})
        for name in TABLES:
            if name not in self.writers:
                self.parquet.write_table(
                    self.schema[name].empty_table(), self.folder / f"{name}.parquet", compression="zstd"
                )
            else:
                self.writers[name].close()
        return self.rows

    def _named(self, index: npt.NDArray[Any], names: list[str]) -> Any:
        known = index < len(names)
        words = self.pa.array(names or [""], self.pa.string())
        return words.take(self.pa.array(np.where(known, index, 0).astype(np.int64), mask=~known))

    def _names(self) -> tuple[list[str], list[str], list[str], list[str]]:
        # Instruments are numbered by their place, the others in the order of their names, as the policy does.
        config = self.config
        return (
            [entry["name"] for entry in config.get("instruments", [])],
            sorted(config.get("counterparties", {})),
            sorted(config.get("desks", {})),
            sorted(config.get("venue_sessions", {})),
        )

    def _decisions(self, records: list[Record]) -> dict[str, Any]:
        if any(len(record.payload) != _PAIR.itemsize for record in records):
            raise JournalError(
                f"record {records[0].number}: a decision of another build; use that one to export it"
            )
        pa = self.pa
        pair = np.frombuffer(b"".join(record.payload for record in records), dtype=_PAIR)
        request, decision = pair["request"], pair["decision"]
        instruments, counterparties, desks, sessions = self._names()
        columns: dict[str, Any] = {
            "record": [record.number for record in records],
            "decision_id": [record.decision_id for record in records],
            "boot_id": [record.boot_id for record in records],
            "input_sequence": decision["input_sequence"],
            "time": pa.array(np.ascontiguousarray(decision["now_ns"])),
            "instrument": self._named(decision["instrument"], instruments),
            "counterparty": self._named(decision["counterparty"], counterparties),
            "desk": self._named(decision["desk"], desks),
            "session": self._named(decision["session"], sessions),
            "side": pa.array(np.where(decision["side"] > 0, "BUY", "SELL")),
            "reasons": _flags(pa, decision["reasons"], ReasonFlags),
            "binding": _flags(pa, decision["binding"], BindingFlags),
            "package": pa.array(_package_part(request["flags"]), pa.string()),
        }
        for name, codes in _CODES.items():
            words = [""] * (max(codes) + 1)
            for code in codes:
                words[code] = code.name
            columns[name] = self._named(decision[name], words)
        for name in _PLAIN:
            columns[name] = _number(pa, decision[name])
        for name, flag in _GIVEN.items():
            columns[f"request_{name}"] = _number(pa, request[name], request["flags"] & flag != 0)
        for k, horizon in enumerate(HORIZONS_NS):
            columns[f"p_{horizon // NS_PER_MS}ms"] = _number(pa, decision["p"][:, k])
        for k, name in enumerate(_CALIBRATION):
            columns[name] = _number(pa, decision["calibration"][:, k])
        for k, name in enumerate(NAMES):
            valid = (decision["valid"][:, k // 64] >> np.uint64(k % 64)) & np.uint64(1) != 0
            columns[f"f_{name}"] = _number(pa, decision["features"][:, k], valid)
        return columns

    def _shadows(self, records: list[Record]) -> dict[str, Any]:
        if any(len(record.payload) != SHADOW_DTYPE.itemsize for record in records):
            raise JournalError(
                f"record {records[0].number}: a shadow's answer of another build; use that one to export it"
            )
        pa = self.pa
        answers = np.frombuffer(b"".join(record.payload for record in records), dtype=SHADOW_DTYPE)
        columns: dict[str, Any] = {
            "record": [record.number for record in records],
            "decision_id": [record.decision_id for record in records],
            "time": np.ascontiguousarray(answers["now_ns"]),
            "model": [f"{model:016x}" for model in answers["model"].tolist()],
            "instrument": self._named(answers["instrument"], self._names()[0]),
            "side": pa.array(np.where(answers["side"] > 0, "BUY", "SELL")),
            "reasons": _flags(pa, answers["reasons"], ReasonFlags),
            "binding": _flags(pa, answers["binding"], BindingFlags),
        }
        for name in ("kind", "posture_effective"):
            columns[name] = [_CODES[name](code).name for code in answers[name].tolist()]
        for name in _SHADOW_PLAIN:
            columns[name] = _number(pa, answers[name])
        for k, horizon in enumerate(HORIZONS_NS):
            columns[f"p_{horizon // NS_PER_MS}ms"] = _number(pa, answers["p"][:, k])
        for k, name in enumerate(_CALIBRATION):
            columns[name] = _number(pa, answers["calibration"][:, k])
        return columns

    def _labels(self, records: list[Record]) -> dict[str, Any]:
        if any(len(record.payload) != LABEL_DTYPE.itemsize for record in records):
            raise JournalError(
                f"record {records[0].number}: a label of another build; use that one to export it"
            )
        labels = np.frombuffer(b"".join(record.payload for record in records), dtype=LABEL_DTYPE)
        life = labels["part"] == LIFE
        decided = [
            f"{record.boot_id}-{decision}" if decision else None
            for record, decision in zip(records, labels["decision"].tolist(), strict=True)
        ]
        columns: dict[str, Any] = {
            "record": [record.number for record in records],
            "boot_id": [record.boot_id for record in records],
            "decision_id": decided,
            "time": np.ascontiguousarray(labels["at_ns"]),
            "instrument": self._named(labels["instrument"], self._names()[0]),
            "asked": [("500 ms", "2 s", "life")[part] for part in labels["part"].tolist()],
            "posture": [
                PostureCode(code).name if asked else None
                for code, asked in zip(labels["posture"].tolist(), life.tolist(), strict=True)
            ],
            "hit": self.pa.array(labels["hit"] == 1, mask=labels["hit"] < 0),
            "passage_ns": _number(self.pa, labels["passage_ns"], labels["passage_ns"] >= 0),
            "p": _number(self.pa, labels["p"], ~life),
        }
        for name in ("input_sequence", "number", "horizon_ns"):
            columns[name] = np.ascontiguousarray(labels[name])
        for name in ("moved", "alpha", "debt"):
            columns[name] = _number(self.pa, labels[name], life)
        return columns

    def _answers(self, records: list[Record]) -> dict[str, Any]:
        answers = [decode_answer(record) for record in records]
        return {
            "record": [record.number for record in records],
            "boot_id": [record.boot_id for record in records],
            "time": [record.now_ns for record in records],
            "request_id": [answer.request_id.decode("utf-8", "replace") for answer in answers],
            "decision_ids": [
                [f"{answer.boot_id}-{sequence}" for sequence in answer.sequences] for answer in answers
            ],
            "taken_back": [
                not self.refused.get(answer.boot_id, set()).isdisjoint(answer.sequences) for answer in answers
            ],
            "request": [answer.request for answer in answers],
            "reply": [answer.reply for answer in answers],
        }

    def _watches(self, records: list[Record]) -> dict[str, Any]:
        if any(len(record.payload) != WATCH_DTYPE.itemsize for record in records):
            raise JournalError(
                f"record {records[0].number}: a word on a live quote of another build; use that one to export it"
            )
        said = np.frombuffer(b"".join(record.payload for record in records), dtype=WATCH_DTYPE)
        columns: dict[str, Any] = {
            "record": [record.number for record in records],
            "boot_id": [record.boot_id for record in records],
            "time": np.ascontiguousarray(said["at_ns"]),
            "instrument": self._named(said["instrument"], self._names()[0]),
            "kind": [WatchCode(code).name for code in said["kind"].tolist()],
            "reason": [WithdrawCode(code).name if code else None for code in said["reason"].tolist()],
            "state": [QuoteStateCode(code).name for code in said["state"].tolist()],
            "held_back": np.ascontiguousarray(said["held"] != 0),
            "life_ns": _number(self.pa, said["life_ns"], said["kind"] == WatchCode.REQUOTE_HINT),
        }
        for name in ("input_sequence", "number", "quote"):
            columns[name] = np.ascontiguousarray(said[name])
        for name in ("moved_ticks", "value_ticks"):
            columns[name] = _number(self.pa, said[name])
        return columns

    def _signals(self, records: list[Record]) -> dict[str, Any]:
        signals = np.frombuffer(b"".join(record.payload for record in records), dtype=SIGNAL_DTYPE)
        instruments, _, desks, _ = self._names()
        columns: dict[str, Any] = {
            "record": [record.number for record in records],
            "boot_id": [record.boot_id for record in records],
            "input_sequence": [record.input_sequence for record in records],
            "time": np.ascontiguousarray(signals["receive_ns"]),
            "source_time": np.ascontiguousarray(signals["source_ns"]),
            "kind": [SignalCode(int(kind)).name for kind in signals["kind"]],
            "instrument": self._named(signals["instrument"], instruments),
            "desk": self._named(signals["desk"], desks),
        }
        for name in ("value", "value2", "ttl_ns", "source"):
            columns[name] = np.ascontiguousarray(signals[name])
        return columns


def _changes_of(records: list[Record]) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    """What the tables of single kinds of change have in common, and the payloads."""
    common = {
        "record": [record.number for record in records],
        "boot_id": [record.boot_id for record in records],
        "input_sequence": [record.input_sequence for record in records],
        "time": [record.now_ns for record in records],
    }
    return common, [json.loads(record.payload)["payload"] for record in records]


def _watched_quotes(records: list[Record]) -> dict[str, Any]:
    columns, told = _changes_of(records)
    decided = [each["boot"] or record.boot_id for record, each in zip(records, told, strict=True)]
    columns |= {
        name: [each[name] for each in told]
        for name in ("quote", "owner", "name", "rfq", "expiry_ns", "unwatched_ns", "size_lots", "desk", "session")
    }  # fmt: skip
    # A build that did not tell took it for as old as its registration.
    columns["decided_ns"] = [
        each.get("decided_ns", record.now_ns) for record, each in zip(records, told, strict=True)
    ]
    columns["counterparty"] = [each["counterparty"] or None for each in told]
    columns["decision_ids"] = [
        [f"{boot}-{sequence}" for sequence in each["decisions"]]
        for boot, each in zip(decided, told, strict=True)
    ]
    columns["restored"] = [boot != record.boot_id for boot, record in zip(decided, records, strict=True)]
    columns["state"] = [QuoteStateCode(each["state"]).name for each in told]
    columns["withdraw"] = [WithdrawCode(each["withdraw"]).name if each["withdraw"] else None for each in told]
    columns["instruments"] = [[side["instrument"] for side in each["sides"]] for each in told]
    columns["sides"] = [["BUY" if side["side"] > 0 else "SELL" for side in each["sides"]] for each in told]
    for name in ("mid_ticks", "h_ticks"):
        columns[name] = [[side[name] for side in each["sides"]] for each in told]
    return columns


def _outcomes(records: list[Record]) -> dict[str, Any]:
    columns, told = _changes_of(records)
    columns |= {
        name: [each[name] for each in told]
        for name in (
            "counts", "at_ns", "age_ns", "life_ns", "price_ticks", "traded_lots", "size_lots", "quoted_ticks",
            "h_ticks", "instrument",
        )
    }  # fmt: skip
    columns["outcome_id"] = [each["outcome"] for each in told]
    columns["decision_id"] = [
        f"{each['boot'] or record.boot_id}-{each['decision']}"
        for record, each in zip(records, told, strict=True)
    ]
    for name, key in (("quote_id", "quote"), ("counterparty", "counterparty")):
        columns[name] = [each[key] or None for each in told]
    columns["side"] = ["BUY" if each["side"] > 0 else "SELL" for each in told]
    columns["kind"] = [OutcomeCode(each["kind"]).name for each in told]
    columns["mid_ticks"] = [each["mid_ticks"] or None for each in told]
    return columns


def _number(pa: Any, values: npt.NDArray[Any], valid: npt.NDArray[np.bool_] | None = None) -> Any:
    values = np.ascontiguousarray(values)
    missing = np.isnan(values) if values.dtype.kind == "f" else np.zeros(len(values), dtype=bool)
    if valid is not None:
        missing |= ~valid
    return pa.array(values, mask=missing)


def _flags(pa: Any, values: npt.NDArray[Any], flags: type[IntFlag]) -> Any:
    words = {int(value): [flag.name for flag in flags if flag & int(value)] for value in np.unique(values)}
    return pa.array([words[int(value)] for value in values], pa.list_(pa.string()))


_ROUTES: dict[int, str] = {
    RequestFlags.LAST_LEG.value: "frechet",
    (RequestFlags.LAST_LEG | RequestFlags.ON_UNDERLYING).value: "underlying",
    (RequestFlags.LAST_LEG | RequestFlags.RESIDUAL).value: "residual",
}
_OF_ROUTES = (RequestFlags.LAST_LEG | RequestFlags.ON_UNDERLYING | RequestFlags.RESIDUAL).value


def _package_part(flags: npt.NDArray[np.uint16]) -> list[str | None]:
    """What each decision is to its package; ``None``: there is none."""
    return ["leg" if each & RequestFlags.LEG else _ROUTES.get(each & _OF_ROUTES) for each in flags.tolist()]


def _decisions_schema(pa: Any) -> Any:
    stamp = pa.timestamp("ns", tz="UTC")
    text = pa.string()
    fields = [
        ("record", pa.uint64()),
        ("decision_id", text),
        ("boot_id", text),
        ("input_sequence", pa.uint64()),
    ]
    fields += [("time", stamp)]
    fields += [(name, text) for name in ("instrument", "counterparty", "desk", "session", "side", *_CODES)]
    fields += [(name, pa.list_(text)) for name in ("reasons", "binding")]
    fields += [("package", text)]
    fields += [(name, _arrow(pa, DECISION_DTYPE, name)) for name in _PLAIN]
    fields += [(f"request_{name}", _arrow(pa, REQUEST_DTYPE, name)) for name in _GIVEN]
    fields += [(f"p_{horizon // NS_PER_MS}ms", pa.float64()) for horizon in HORIZONS_NS]
    fields += [(name, pa.float64()) for name in _CALIBRATION]
    fields += [(f"f_{name}", pa.float64()) for name in NAMES]
    return pa.schema(fields, metadata={"layout": LAYOUT_HASH.hex(), "features": SCHEMA_HASH})


def _arrow(pa: Any, dtype: np.dtype[np.void], name: str) -> Any:
    assert dtype.fields is not None
    return pa.from_numpy_dtype(dtype.fields[name][0])


def _other_schemas(pa: Any) -> dict[str, Any]:
    stamp, text, number = pa.timestamp("ns", tz="UTC"), pa.string(), pa.uint64()
    shadow = [("record", number), ("decision_id", text), ("time", stamp)]
    shadow += [(name, text) for name in ("model", "instrument", "side", "kind", "posture_effective")]
    shadow += [(name, pa.list_(text)) for name in ("reasons", "binding")]
    shadow += [(name, _arrow(pa, SHADOW_DTYPE, name)) for name in _SHADOW_PLAIN]
    shadow += [(f"p_{horizon // NS_PER_MS}ms", pa.float64()) for horizon in HORIZONS_NS]
    shadow += [(name, pa.float64()) for name in _CALIBRATION]
    return {
        "shadows": pa.schema(shadow),
        "labels": pa.schema(
            [("record", number), ("boot_id", text), ("input_sequence", number), ("number", number),
             ("decision_id", text), ("time", stamp), ("instrument", text), ("asked", text), ("horizon_ns", pa.int64()),
             ("hit", pa.bool_()), ("passage_ns", pa.int64()), ("p", pa.float64()), ("posture", text),
             ("moved", pa.float64()), ("alpha", pa.float64()), ("debt", pa.float64())]
        ),
        "answers": pa.schema(
            [("record", number), ("boot_id", text), ("time", stamp), ("request_id", text),
             ("decision_ids", pa.list_(text)), ("taken_back", pa.bool_()), ("request", pa.binary()),
             ("reply", pa.binary())]
        ),
        "signals": pa.schema(
            [("record", number), ("boot_id", text), ("input_sequence", number), ("time", stamp),
             ("source_time", stamp), ("kind", text), ("instrument", text), ("desk", text), ("value", pa.float64()),
             ("value2", pa.float64()), ("ttl_ns", pa.int64()), ("source", number)]
        ),
        "watches": pa.schema(
            [("record", number), ("boot_id", text), ("input_sequence", number), ("number", number), ("time", stamp),
             ("quote", number), ("kind", text), ("reason", text), ("state", text), ("instrument", text),
             ("moved_ticks", pa.float64()), ("value_ticks", pa.float64()), ("life_ns", pa.int64()),
             ("held_back", pa.bool_())]
        ),
        "watched_quotes": pa.schema(
            [("record", number), ("boot_id", text), ("input_sequence", number), ("time", stamp), ("quote", number),
             ("owner", text), ("name", text), ("rfq", text), ("decision_ids", pa.list_(text)), ("restored", pa.bool_()),
             ("decided_ns", pa.int64()), ("expiry_ns", pa.int64()), ("unwatched_ns", pa.int64()),
             ("size_lots", pa.float64()),
             ("counterparty", text), ("desk", text), ("session", text), ("state", text), ("withdraw", text),
             ("instruments", pa.list_(text)), ("sides", pa.list_(text)), ("mid_ticks", pa.list_(pa.float64())),
             ("h_ticks", pa.list_(pa.float64()))]
        ),
        "outcomes": pa.schema(
            [("record", number), ("boot_id", text), ("input_sequence", number), ("time", stamp), ("outcome_id", text),
             ("decision_id", text), ("quote_id", text), ("counterparty", text), ("instrument", text), ("side", text),
             ("kind", text), ("counts", pa.bool_()), ("at_ns", pa.int64()), ("age_ns", pa.int64()),
             ("life_ns", pa.int64()), ("price_ticks", pa.float64()), ("traded_lots", pa.float64()),
             ("size_lots", pa.float64()), ("quoted_ticks", pa.float64()), ("mid_ticks", pa.float64()),
             ("h_ticks", pa.float64())]
        ),
        "changes": pa.schema(
            [("record", number), ("boot_id", text), ("input_sequence", number), ("time", stamp), ("kind", text),
             ("payload", text)]
        ),
    }  # fmt: skip
