"""Reading a journal: records in order, one decision by its id, one answer by its request id.

A reader takes no lock and writes nothing; it may look at a journal that a service is writing.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import TypeVar

import numpy as np

from quotelife.errors import JournalError
from quotelife.journal.format import (
    RECORD_HEADER_SIZE,
    SEGMENT_HEADER_BYTES,
    Kind,
    SegmentHeader,
    SegmentScan,
    id_hash,
    read_record,
    unpack_header,
)
from quotelife.journal.index import SegmentIndex, load_sidecar, scanned, segment_names, stop_numbers
from quotelife.journal.records import Answer, Record, apply_record, decode_answer
from quotelife.journal.state import OperationalState
from quotelife.journal.storage import DirectoryStorage, Storage

_FIRST_READ = 4096
_Found = TypeVar("_Found", Record, Answer)


class _Segment:
    """One file: its sidecar where it has one, else a scan that goes on where it ended."""

    def __init__(self, name: str, header: SegmentHeader) -> None:
        self.name = name
        self.header = header
        self.stop_number = 0
        self.index: SegmentIndex | None = None
        self.scan: SegmentScan | None = None
        self.seen = -1


class Journal:
    """The journal in a folder (or any ``Storage``), read-only.

    ``refresh`` looks for what was written since; finding does so by itself when it finds nothing. Records after
    damage are not read: ``records`` raises ``JournalError`` there, naming file and offset.
    """

    def __init__(self, path: str | os.PathLike[str] | Storage) -> None:
        if isinstance(path, str | os.PathLike):
            if not Path(path).is_dir():
                raise JournalError(f"{path}: no such folder; name the journal's")
            self.storage: Storage = DirectoryStorage(path, lock=False)
        else:
            self.storage = path
        self._segments: list[_Segment] = []
        self.refresh()

    def refresh(self) -> None:
        """Take in what was written or removed since the last look. Raises ``OSError``."""
        known = {segment.name: segment for segment in self._segments}
        found = []
        for _, name in segment_names(self.storage):
            segment = known.get(name)
            if segment is None:
                try:
                    header = unpack_header(self.storage.read(name, 0, SEGMENT_HEADER_BYTES))
                except (JournalError, FileNotFoundError):
                    continue  # being created, or damaged: verify tells which
                segment = _Segment(name, header)
            found.append(segment)
        stops = stop_numbers([segment.header.first_number for segment in found])
        for segment, stop in zip(found, stops, strict=True):
            if stop != segment.stop_number:
                segment.stop_number = stop
                if segment.index is None or segment.index.next_number > stop:
                    segment.index, segment.scan, segment.seen = None, None, -1
            if not 0 < stop <= segment.header.first_number:
                try:
                    self._load(segment)
                except FileNotFoundError:  # past keeping, removed since its name was listed
                    segment.index = None
        self._segments = [
            segment for segment in found if not 0 < segment.stop_number <= segment.header.first_number
        ]

    def _load(self, segment: _Segment) -> None:
        if segment.index is not None and segment.index.sealed:
            return
        size = self.storage.size(segment.name)
        if size == segment.seen:
            return
        if segment.scan is None:
            index = load_sidecar(self.storage, segment.name)
            if index is not None and segment.stop_number in (0, index.next_number):
                segment.index = index
                return
            segment.scan = SegmentScan(SEGMENT_HEADER_BYTES, segment.header.first_number, segment.stop_number)
        end = segment.scan.end
        segment.scan.run(self.storage.read(segment.name, end), end)
        segment.seen = size
        segment.index = scanned(segment.name, segment.header, segment.scan)

    @property
    def segments(self) -> list[SegmentIndex]:
        """Indexes of all segments that can be read, oldest first."""
        return [segment.index for segment in self._segments if segment.index is not None]

    def records(self, kinds: Iterable[Kind] | None = None, first_number: int = 0) -> Iterator[Record]:
        """Records from ``first_number`` on, of these ``kinds`` (default: all but seals), in order.

        They begin behind what has been removed since the last look; ``FileNotFoundError`` when more goes meanwhile.
        """
        wanted = None if kinds is None else frozenset(kinds)
        indexes = self.segments
        begun = False
        for at, index in enumerate(indexes):
            if index.next_number <= first_number or not (begun or self.storage.exists(index.name)):
                continue
            begun = True
            yield from self._records_of(index, wanted, first_number, last=at == len(indexes) - 1)

    def following(self, record: Record, kinds: Iterable[Kind]) -> Iterator[Record]:
        """Records behind ``record``, of these ``kinds``, in order."""
        wanted = frozenset(kinds)
        indexes = self.segments
        for at, index in enumerate(indexes):
            if index.next_number > record.number:
                start = (record.offset, record.number) if index.name == record.segment else None
                yield from self._records_of(
                    index, wanted, record.number + 1, last=at == len(indexes) - 1, start=start
                )

    def _records_of(
        self,
        index: SegmentIndex,
        wanted: frozenset[Kind] | None,
        first_number: int,
        *,
        last: bool,
        start: tuple[int, int] | None = None,
    ) -> Iterator[Record]:
        """``start``: offset and number of a record to begin with; none: the segment's first."""
        raw = self.storage.read(index.name, 0, index.end)
        offset, number = start or (SEGMENT_HEADER_BYTES, index.header.first_number)
        while offset < index.end and number < index.next_number:
            found = read_record(raw, offset)
            if found is None or found.number != number:
                raise JournalError(
                    f"{self.storage.where(index.name)}: damaged at offset {offset}, record {number}; "
                    f"run quotelife journal verify"
                )
            if found.number >= first_number and (wanted is None or found.kind in wanted):
                yield Record(
                    found.number,
                    Kind(found.kind),
                    found.input_sequence,
                    found.payload,
                    index.name,
                    offset,
                    index.header.boot_id,
                    found.now_ns,
                )
            offset += found.size
            number += 1
        if not last and number < self._stop_of(index.name):
            raise JournalError(
                f"{self.storage.where(index.name)}: damaged at offset {offset}, record {number} or its segment; "
                f"run quotelife journal verify"
            )

    def _stop_of(self, name: str) -> int:
        return next((segment.stop_number for segment in self._segments if segment.name == name), 0)

    def record_at(self, index: SegmentIndex, offset: int) -> Record:
        """The record at ``offset`` of a segment. ``JournalError`` when it is damaged."""
        return read_one(self.storage, index.name, index.header.boot_id, offset)

    def records_at(
        self, index: SegmentIndex, offsets: Iterable[int], kinds: Iterable[Kind]
    ) -> Iterator[Record]:
        """Of the records at these offsets of a segment those of these ``kinds``. ``JournalError`` on damage."""
        wanted = frozenset(int(kind) for kind in kinds)
        raw = self.storage.read(index.name, 0, index.end)
        for offset in offsets:
            found = read_record(raw, offset)
            if found is None:
                raise JournalError(
                    f"{self.storage.where(index.name)}: damaged at offset {offset}; run quotelife journal verify"
                )
            if found.kind in wanted:
                yield Record(
                    found.number,
                    Kind(found.kind),
                    found.input_sequence,
                    found.payload,
                    index.name,
                    offset,
                    index.header.boot_id,
                    found.now_ns,
                )

    def find_decision(self, decision_id: str) -> Record | None:
        """The record of one decision, ``None`` when there is none of that id. ``JournalError`` when damaged."""
        boot_id, _, digits = decision_id.rpartition("-")
        if not digits.isascii() or not digits.isdigit() or len(digits) > 19:
            return None
        return self._found(lambda: self._decision(boot_id, np.uint64(int(digits))))

    def _decision(self, boot_id: str, sequence: np.uint64) -> Record | None:
        for index in reversed(self.segments):
            if index.header.boot_id != boot_id:
                continue
            place = int(np.searchsorted(index.decision_sequence, sequence))
            if place < len(index.decision_sequence) and index.decision_sequence[place] == sequence:
                return self.record_at(index, int(index.decision_offset[place]))
        return None

    def find_answer(self, request_id: bytes, since_ns: int = 0) -> Answer | None:
        """The newest answer to that request id given since ``since_ns`` and not taken back; ``None``: none."""
        return self._found(lambda: find_answer(self.storage, self.segments, request_id, since_ns))

    def _found(self, find: Callable[[], _Found | None]) -> _Found | None:
        """What ``find`` finds: now, or in what has been written since the last look. What it finds in a segment that
        has been removed since is not there any more."""
        try:
            found = find()
        except FileNotFoundError:
            found = None
        if found is None:
            self.refresh()
            found = find()
        return found

    def newest_decision(self) -> Record | None:
        """The last decision that is there; ``None``: there is none. ``JournalError`` when damaged."""

        def newest() -> Record | None:
            for index in reversed(self.segments):
                if len(index.decision_offset):
                    return self.record_at(index, int(index.decision_offset.max()))
            return None

        return self._found(newest)

    def answer_of(self, decision: Record) -> Answer | None:
        """The answer that told of a decision, the last of several; ``None`` where none was journaled."""
        sequence = np.uint64(decision.input_sequence)
        for index in reversed(self.segments):
            if index.header.boot_id != decision.boot_id or index.next_number <= decision.number:
                continue
            place = int(np.searchsorted(index.answer_sequence, sequence, "right")) - 1
            if place >= 0 and index.answer_sequence[place] == sequence:
                return decode_answer(self.record_at(index, int(index.answer_offset[place])))
        return None

    def state_at(self, record: Record) -> OperationalState:
        """Operational state and configuration in force when ``record`` was written, ``record`` itself included."""
        return state_before(self.storage, self.segments, record.number + 1)


def read_one(storage: Storage, name: str, boot_id: str, offset: int) -> Record:
    """One record of a segment. ``JournalError`` when it is damaged, ``OSError``."""
    raw = storage.read(name, offset, _FIRST_READ)
    if len(raw) >= RECORD_HEADER_SIZE:
        size = RECORD_HEADER_SIZE + (int.from_bytes(raw[4:8], "little") + 7 & ~7)
        if size > len(raw) == _FIRST_READ:
            raw = storage.read(name, offset, size)
    found = read_record(raw, 0)
    if found is None:
        raise JournalError(f"{storage.where(name)}: damaged at offset {offset}; run quotelife journal verify")
    return Record(
        found.number,
        Kind(found.kind),
        found.input_sequence,
        found.payload,
        name,
        offset,
        boot_id,
        found.now_ns,
    )


def refused_sequences(indexes: Sequence[SegmentIndex]) -> dict[str, set[int]]:
    """Boot id → sequences whose answers were taken back."""
    refused: dict[str, set[int]] = {}
    for index in indexes:
        if len(index.refused_sequence):
            refused.setdefault(index.header.boot_id, set()).update(index.refused_sequence.tolist())
    return refused


def find_answer(
    storage: Storage, indexes: Sequence[SegmentIndex], request_id: bytes, since_ns: int
) -> Answer | None:
    """See ``Journal.find_answer``."""
    if not request_id:
        return None
    wanted = np.uint64(id_hash(request_id))
    refused = refused_sequences(indexes)
    for index in reversed(indexes):
        if index.last_ns < since_ns:
            continue
        left = int(np.searchsorted(index.id_hash, wanted, "left"))
        right = int(np.searchsorted(index.id_hash, wanted, "right"))
        for place in range(right - 1, left - 1, -1):
            if int(index.id_ns[place]) < since_ns:
                continue
            answer = decode_answer(
                read_one(storage, index.name, index.header.boot_id, int(index.id_offset[place]))
            )
            if answer.request_id == request_id and not refused.get(answer.boot_id, set()) & set(
                answer.sequences
            ):
                return answer
    return None


def state_before(storage: Storage, indexes: Sequence[SegmentIndex], number: int) -> OperationalState:
    """The fold of all records below ``number``: from the last snapshot among them on."""
    parts: list[list[Record]] = []
    for index in reversed(indexes):
        if index.header.first_number >= number:
            continue
        records, snapshot = _others(storage, index, number)
        parts.append(records)
        if snapshot:
            break
    state = OperationalState()
    for records in reversed(parts):
        for record in records:
            state = apply_record(state, record)
    return state


def _others(storage: Storage, index: SegmentIndex, number: int) -> tuple[list[Record], bool]:
    """Records below ``number`` other than decisions and answers, from the segment's last snapshot on."""
    raw = storage.read(index.name, 0, index.end)
    kept: list[Record] = []
    for offset in reversed(index.other_offset.tolist()):
        found = read_record(raw, offset)
        if found is None:
            raise JournalError(
                f"{storage.where(index.name)}: damaged at offset {offset}; run quotelife journal verify"
            )
        if found.number >= number:
            continue
        kept.append(
            Record(
                found.number,
                Kind(found.kind),
                found.input_sequence,
                found.payload,
                index.name,
                offset,
                index.header.boot_id,
                found.now_ns,
            )
        )
        if found.kind == Kind.STATE:
            return kept[::-1], True
    return kept[::-1], False
