"""What the payload of each kind of record means."""

from __future__ import annotations

import json
import struct
from typing import Any, NamedTuple

import numpy as np

from quotelife.errors import JournalError
from quotelife.inputs import Change
from quotelife.journal.format import Kind
from quotelife.journal.state import OperationalState
from quotelife.model.lineup import LineUp
from quotelife.records import (
    DECISION_DTYPE,
    LABEL_DTYPE,
    REQUEST_DTYPE,
    SHADOW_DTYPE,
    SIGNAL_DTYPE,
    WATCH_DTYPE,
    DecisionRecord,
    RequestRecord,
)

_SIZES = struct.Struct("<6I")
LIFE = 2  # part of a label; 0 and 1 are the anchors of the recalibration


class Record(NamedTuple):
    """One record. ``number`` is consecutive over the whole journal, ``segment`` its file, ``offset`` its place there.

    ``now_ns`` is the engine's time when it was written.
    """

    number: int
    kind: Kind
    input_sequence: int
    payload: bytes
    segment: str
    offset: int
    boot_id: str
    now_ns: int

    @property
    def decision_id(self) -> str:
        """``<boot id>-<input sequence>``, for a decision."""
        return f"{self.boot_id}-{self.input_sequence}"


class Answer(NamedTuple):
    """One answer as it left: the decisions it tells of, the request as it came, the reply byte for byte."""

    sequences: tuple[int, ...]
    request_id: bytes
    digest: bytes
    request: bytes
    reply: bytes
    boot_id: str
    now_ns: int


class ChangeRecord(NamedTuple):
    """One change, as a sink was told of it."""

    kind: Change
    payload: dict[str, Any]
    now_ns: int


class Gap(NamedTuple):
    """Inputs ``first`` to ``last`` were served without a journal."""

    first: int
    last: int
    reason: str


def _expect(record: Record, kind: Kind) -> bytes:
    if record.kind != kind:
        raise JournalError(f"record {record.number} is {record.kind.name}, not {kind.name}")
    return record.payload


def decode_decision(record: Record) -> tuple[RequestRecord, DecisionRecord]:
    payload = _expect(record, Kind.DECISION)
    if len(payload) != REQUEST_DTYPE.itemsize + DECISION_DTYPE.itemsize:
        raise JournalError(f"record {record.number}: a decision of another build; use that one to read it")
    return (
        RequestRecord.from_bytes(payload[: REQUEST_DTYPE.itemsize]),
        DecisionRecord.from_bytes(payload[REQUEST_DTYPE.itemsize :]),
    )


def decode_signal(record: Record) -> np.void:
    """The signal as a scalar of ``SIGNAL_DTYPE``."""
    signal: np.void = np.frombuffer(_expect(record, Kind.SIGNAL), dtype=SIGNAL_DTYPE)[0]
    return signal


def decode_shadow(record: Record) -> np.void:
    """A shadow's answer as a scalar of ``SHADOW_DTYPE``."""
    payload = _expect(record, Kind.SHADOW)
    if len(payload) != SHADOW_DTYPE.itemsize:
        raise JournalError(
            f"record {record.number}: a shadow's answer of another build; use that one to read it"
        )
    answer: np.void = np.frombuffer(payload, dtype=SHADOW_DTYPE)[0]
    return answer


def decode_watch(record: Record) -> np.void:
    """A word on a live quote as a scalar of ``WATCH_DTYPE``."""
    payload = _expect(record, Kind.WATCH)
    if len(payload) != WATCH_DTYPE.itemsize:
        raise JournalError(
            f"record {record.number}: a word on a live quote of another build; use that one to read it"
        )
    said: np.void = np.frombuffer(payload, dtype=WATCH_DTYPE)[0]
    return said


def decode_label(record: Record) -> np.void:
    """A part of a label as a scalar of ``LABEL_DTYPE``."""
    payload = _expect(record, Kind.LABEL)
    if len(payload) != LABEL_DTYPE.itemsize:
        raise JournalError(f"record {record.number}: a label of another build; use that one to read it")
    label: np.void = np.frombuffer(payload, dtype=LABEL_DTYPE)[0]
    return label


def decode_answer(record: Record) -> Answer:
    payload = _expect(record, Kind.ANSWER)
    count, *lengths, _ = _SIZES.unpack_from(payload)
    at = _SIZES.size + 8 * count
    sequences = struct.unpack_from(f"<{count}Q", payload, _SIZES.size)
    parts = []
    for length in lengths:
        parts.append(payload[at : at + length])
        at += length
    request_id, digest, request, reply = parts
    return Answer(sequences, request_id, digest, request, reply, record.boot_id, record.now_ns)


def decode_change(record: Record) -> ChangeRecord:
    value = json.loads(_expect(record, Kind.CHANGE))
    return ChangeRecord(Change(value["kind"]), value["payload"], value["now_ns"])


def decode_boot(record: Record) -> dict[str, Any]:
    value: dict[str, Any] = json.loads(_expect(record, Kind.BOOT))
    return value


def decode_state(record: Record) -> OperationalState:
    return OperationalState.from_json(json.loads(_expect(record, Kind.STATE)))


def decode_refused(record: Record) -> tuple[int, ...]:
    payload = _expect(record, Kind.REFUSED)
    return struct.unpack(f"<{len(payload) // 8}Q", payload)


def decode_gap(record: Record) -> Gap:
    value = json.loads(_expect(record, Kind.GAP))
    return Gap(value["first"], value["last"], value["reason"])


def models_named(kind: int, payload: bytes) -> set[str]:
    """The digests of the models that a record says are in use; none where it says nothing of it."""
    if kind == Kind.STATE:
        named = json.loads(payload)["config"]
        digest = named.get("model_digest", "")
    elif kind == Kind.CHANGE:
        change = json.loads(payload)
        named = change["payload"]
        if change["kind"] not in (Change.CONFIG, Change.MODEL):
            return set()
        digest = named["model_digest" if change["kind"] == Change.CONFIG else "digest"]
    else:
        return set()
    return (LineUp.from_json(named.get("lineup")).digests() | {str(digest)}) - {""}


def apply_record(state: OperationalState, record: Record) -> OperationalState:
    """``state`` after ``record``: changed in place, or the snapshot that the record holds."""
    if record.kind == Kind.STATE:
        return decode_state(record)
    if record.kind == Kind.SIGNAL:
        state.signal(record.payload)
    elif record.kind is Kind.WATCH:
        state.watch(record.payload)
    elif record.kind == Kind.CHANGE:
        change = json.loads(record.payload)
        state.change(change["kind"], change["payload"], change["now_ns"])
    return state
