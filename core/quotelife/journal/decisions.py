"""Answered decisions by their id, in segments to which nothing is appended any more.

What an answer told of is wanted again when its outcome is reported after a restart. Of each segment every 512th entry
of its sidecar is held in memory: two reads of 4 KiB find a record, and the sidecar and the record themselves stay on
the disk.
"""

from __future__ import annotations

import json
from collections import OrderedDict
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from quotelife.errors import JournalError
from quotelife.inputs import Change
from quotelife.journal.format import Kind
from quotelife.journal.index import SegmentIndex, column_at, load_sidecar, sidecar_name
from quotelife.journal.reader import read_one
from quotelife.journal.records import Answer, Record, decode_answer, decode_decision, decode_state
from quotelife.journal.storage import Storage
from quotelife.records import DecisionRecord, RequestRecord

BLOCK = 512
SEQUENCE_DIGITS = 19
BOOTS_KEPT = 8
"""Boots whose instruments are held in memory; those asked for last."""
CONFIG_WITHIN = 8
"""Records at the start of a segment, decisions and answers left out, that its configuration is looked for in."""


class InstrumentTerms(NamedTuple):
    """An instrument as a boot knew it; both sizes as they are written in the configuration."""

    name: str
    tick_size: str
    lot_size: str


class Decided(NamedTuple):
    """An answer that left, and all decisions that it tells of, in their order. Instruments have the numbers that
    ``instruments`` gives them, by place; empty where the journal does not say it any more."""

    answer: Answer
    parts: tuple[tuple[RequestRecord, DecisionRecord], ...]
    instruments: tuple[InstrumentTerms, ...]


class _Pairs:
    """Sequences, sorted, and the offsets of their records: two columns of a sidecar."""

    __slots__ = ("count", "first_of", "last", "name", "offsets_at", "sequences_at")

    def __init__(self, index: SegmentIndex, of: str) -> None:
        sequences = getattr(index, f"{of}_sequence")
        self.name = sidecar_name(index.name)
        self.count = len(sequences)
        self.sequences_at = column_at(index, f"{of}_sequence")
        self.offsets_at = column_at(index, f"{of}_offset")
        self.first_of = sequences[::BLOCK].copy()  # not a view: the whole column would stay
        self.last = int(sequences[-1]) if self.count else 0

    def offset(self, storage: Storage, sequence: int) -> int | None:
        """Of the record with that sequence, the last of several."""
        if not self.count or not int(self.first_of[0]) <= sequence <= self.last:
            return None
        block = int(np.searchsorted(self.first_of, np.uint64(sequence), "right")) - 1
        start = block * BLOCK
        size = 8 * min(BLOCK, self.count - start)
        raw = storage.read(self.name, self.sequences_at + 8 * start, size)
        if len(raw) != size:
            return None
        found = np.frombuffer(raw, dtype="<u8")
        place = int(np.searchsorted(found, np.uint64(sequence), "right")) - 1
        if int(found[place]) != sequence:
            return None
        raw = storage.read(self.name, self.offsets_at + 8 * (start + place), 8)
        return int.from_bytes(raw, "little") if len(raw) == 8 else None


class _Segment:
    __slots__ = ("answers", "boot_id", "decisions", "last_ns", "name")

    def __init__(self, index: SegmentIndex) -> None:
        self.name = index.name
        self.boot_id = index.header.boot_id
        self.last_ns = index.last_ns
        self.decisions = _Pairs(index, "decision")
        self.answers = _Pairs(index, "answer")


class DecisionIndex:
    """``indexes``: of sealed segments, oldest first; ``refused``: boot id to sequences whose answers were taken back,
    which others may add to. ``config``: of the newest boot among them, as ``Engine.config_payload`` gave it.

    About 32 bytes for 512 decisions are held in memory. One thread finds, one may ``add``.
    """

    def __init__(
        self,
        storage: Storage,
        indexes: Sequence[SegmentIndex],
        refused: Mapping[str, set[int]],
        config: Mapping[str, Any],
    ) -> None:
        self._storage = storage
        self._refused = refused
        self._segments = tuple(_Segment(index) for index in indexes if len(index.answer_sequence))
        self._instruments: OrderedDict[str, tuple[InstrumentTerms, ...]] = OrderedDict()
        if indexes and config:
            self._instruments[indexes[-1].header.boot_id] = _terms(config)

    def __len__(self) -> int:
        return sum(segment.decisions.count for segment in self._segments)

    def add(self, index: SegmentIndex, since_ns: int = 0) -> None:
        """Take in one more segment, which has a sidecar, and forget those that ended before ``since_ns``."""
        kept = [segment for segment in self._segments if segment.last_ns >= since_ns]
        if len(index.answer_sequence):
            kept.append(_Segment(index))
        self._segments = tuple(kept)

    def forget(self, name: str) -> None:
        """That segment is about to be removed."""
        self._segments = tuple(segment for segment in self._segments if segment.name != name)

    def find(self, decision_id: str, since_ns: int = 0) -> Decided | None:
        """The answer with the decision of that id, in segments that ended at ``since_ns`` or later; ``None`` where
        there is none, none was answered, or its answer was taken back. Raises ``JournalError`` when a record is
        damaged, ``OSError``."""
        boot_id, _, digits = decision_id.rpartition("-")
        if not (digits.isascii() and digits.isdecimal()) or len(digits) > SEQUENCE_DIGITS:
            return None
        segments = [each for each in self._segments if each.boot_id == boot_id and each.last_ns >= since_ns]
        answer = self._answer(segments, int(digits))
        if answer is None or not self._refused.get(boot_id, set()).isdisjoint(answer.sequences):
            return None
        parts = []
        for sequence in answer.sequences:
            record = self._record(segments, "decisions", sequence)
            if record is None:
                return None
            if record.kind != Kind.DECISION or record.input_sequence != sequence:
                raise _astray(self._storage, record)
            parts.append(decode_decision(record))
        return Decided(answer, tuple(parts), self._known_by(boot_id, segments))

    def _answer(self, segments: Sequence[_Segment], sequence: int) -> Answer | None:
        record = self._record(segments, "answers", sequence)
        if record is None:
            return None
        if record.kind != Kind.ANSWER:
            raise _astray(self._storage, record)
        answer = decode_answer(record)
        return answer if sequence in answer.sequences else None

    def _record(self, segments: Sequence[_Segment], of: str, sequence: int) -> Record | None:
        for segment in reversed(segments):
            pairs: _Pairs = getattr(segment, of)
            offset = pairs.offset(self._storage, sequence)
            if offset is not None:
                return read_one(self._storage, segment.name, segment.boot_id, offset)
        return None

    def _known_by(self, boot_id: str, segments: Sequence[_Segment]) -> tuple[InstrumentTerms, ...]:
        """While a boot lasts, instruments are added at the end and keep their sizes: any configuration of it will do,
        the newest segment's at best."""
        found = self._instruments.get(boot_id)
        if found is None:
            found = self._read_terms(segments[-1])
            self._instruments[boot_id] = found
            while len(self._instruments) > BOOTS_KEPT:
                self._instruments.popitem(last=False)
        self._instruments.move_to_end(boot_id)
        return found

    def _read_terms(self, segment: _Segment) -> tuple[InstrumentTerms, ...]:
        index = load_sidecar(self._storage, segment.name)
        if index is None:
            return ()
        for offset in index.other_offset[:CONFIG_WITHIN].tolist():
            record = read_one(self._storage, segment.name, segment.boot_id, offset)
            if record.kind == Kind.STATE:
                return _terms(decode_state(record).config)
            if record.kind == Kind.CHANGE:
                change = json.loads(record.payload)
                if change["kind"] == Change.CONFIG:
                    return _terms(change["payload"])
        return ()


def _terms(config: Mapping[str, Any]) -> tuple[InstrumentTerms, ...]:
    return tuple(
        InstrumentTerms(each["name"], str(each["tick_size"]), str(each["lot_size"]))
        for each in config.get("config", {}).get("instruments", ())
    )


def _astray(storage: Storage, record: Record) -> JournalError:
    return JournalError(
        f"{storage.where(record.segment)}: another record lies at offset {record.offset}, its sidecar is not its own; "
        f"run quotelife journal verify"
    )
