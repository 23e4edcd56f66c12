"""Segments by name, and the sidecar of a sealed one: where its decisions, answers and request ids lie.

A sidecar only saves time. Whatever it says can be found again by reading its segment, and is wherever the sidecar is
missing, damaged or of another segment.
"""

from __future__ import annotations

import re
import struct
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import numpy.typing as npt

from quotelife.checksum import crc32c
from quotelife.errors import JournalError
from quotelife.journal.format import (
    RECORD_HEADER_SIZE,
    SEGMENT_HEADER_BYTES,
    Kind,
    SegmentHeader,
    SegmentScan,
    read_record,
    record_size,
    unpack_header,
)
from quotelife.journal.storage import Storage, write_whole

Column = npt.NDArray[np.uint64]

PIECE_BYTES = 1 << 20
"""That are read at a time of a segment that is not wanted whole. After each, the interpreter may have to be waited for
as long as ``sys.getswitchinterval`` says, 5 ms: smaller ones keep up with fewer segments a second."""

_NAME = re.compile(r"([0-9]{10})\.qlj")
_MAGIC = b"QLJIDX\r\n"
_VERSION = 1
SEAL_BYTES = RECORD_HEADER_SIZE + 16
_HEAD = struct.Struct("<8sIIQQQQQqqqQ32s32s32sII9QI4x")
_COLUMNS = (
    "decision_sequence",
    "decision_offset",
    "answer_sequence",
    "answer_offset",
    "id_hash",
    "id_offset",
    "id_ns",
    "refused_sequence",
    "other_offset",
)


def segment_name(number: int) -> str:
    """File of the segment of that number."""
    return f"{number:010d}.qlj"


def sidecar_name(segment: str) -> str:
    return segment.removesuffix(".qlj") + ".idx"


def segment_names(storage: Storage) -> list[tuple[int, str]]:
    """(number, name) of every segment, oldest first."""
    found = [(int(match[1]), name) for name in storage.list() if (match := _NAME.fullmatch(name))]
    return sorted(found)


@dataclass(frozen=True)
class SegmentIndex:
    """What one segment holds, up to ``end``. Columns: see ``SegmentScan``; sequences and hashes are sorted."""

    name: str
    header: SegmentHeader
    end: int
    next_number: int
    records: int
    sealed: bool
    first_ns: int
    last_ns: int
    durable: int
    decision_sequence: Column
    decision_offset: Column
    answer_sequence: Column
    answer_offset: Column
    id_hash: Column
    id_offset: Column
    id_ns: Column
    refused_sequence: Column
    other_offset: Column

    columns: ClassVar[tuple[str, ...]] = _COLUMNS

    def to_bytes(self, segment_crc: int) -> bytes:
        """The sidecar; ``segment_crc`` ties it to its segment (checksum of its header and seal)."""
        body = b"".join(getattr(self, name).astype("<u8").tobytes() for name in _COLUMNS)
        head = _HEAD.pack(
            _MAGIC,
            _VERSION,
            _HEAD.size,
            self.header.segment,
            self.header.first_number,
            self.next_number,
            self.records,
            self.end,
            self.header.created_ns,
            self.first_ns,
            self.last_ns,
            self.durable,
            self.header.boot_id.encode(),
            self.header.layout_hash,
            self.header.schema_hash,
            segment_crc,
            crc32c(body),
            *(len(getattr(self, name)) for name in _COLUMNS),
            0,
        )
        crc = struct.pack("<I", crc32c(head[: _HEAD.size - 8]))
        return head[: _HEAD.size - 8] + crc + bytes(4) + body

    @classmethod
    def from_bytes(cls, name: str, raw: bytes) -> tuple[SegmentIndex, int]:
        """(index, segment checksum) of a sidecar. ``JournalError`` when it is damaged or of another version."""
        if len(raw) < _HEAD.size:
            raise JournalError(f"{sidecar_name(name)}: cut short")
        fields = _HEAD.unpack_from(raw)
        counts = fields[17:26]
        body = memoryview(raw)[_HEAD.size :]
        if (
            fields[0] != _MAGIC
            or fields[2] != _HEAD.size
            or fields[26] != crc32c(raw[: _HEAD.size - 8])
            or raw[_HEAD.size - 4 : _HEAD.size] != bytes(4)
            or len(body) != 8 * sum(counts)
            or fields[16] != crc32c(body)
        ):
            raise JournalError(f"{sidecar_name(name)}: damaged")
        if fields[1] != _VERSION:
            raise JournalError(f"{sidecar_name(name)}: version {fields[1]}; this build reads {_VERSION}")
        (
            segment,
            first,
            next_number,
            records,
            end,
            created,
            first_ns,
            last_ns,
            durable,
            boot,
            layout,
            schema,
        ) = fields[3:15]
        columns, at = {}, 0
        for column, count in zip(_COLUMNS, counts, strict=True):
            columns[column] = np.frombuffer(body, dtype="<u8", count=count, offset=at)
            at += 8 * count
        header = SegmentHeader(segment, first, created, boot.rstrip(b"\0").decode(), layout, schema)
        index = cls(name, header, end, next_number, records, True, first_ns, last_ns, durable, **columns)
        return index, fields[15]


def column_at(index: SegmentIndex, column: str) -> int:
    """Where in the sidecar of ``index`` a column begins: 8 bytes an entry, little-endian."""
    before = _COLUMNS[: _COLUMNS.index(column)]
    return _HEAD.size + 8 * sum(len(getattr(index, name)) for name in before)


def scanned(name: str, header: SegmentHeader, scan: SegmentScan) -> SegmentIndex:
    """The index of what ``scan`` has read."""
    columns = {column: scan.column(column) for column in _COLUMNS}
    for key, beside in (("decision_sequence", ("decision_offset",)), ("answer_sequence", ("answer_offset",))):
        _sort(columns, key, beside, np.argsort(columns[key], kind="stable"))
    _sort(columns, "id_hash", ("id_offset", "id_ns"), np.argsort(columns["id_hash"], kind="stable"))
    return SegmentIndex(
        name,
        header,
        scan.end,
        scan.next_number,
        scan.records,
        scan.sealed,
        scan.first_ns,
        scan.last_ns,
        scan.durable,
        **columns,
    )


def _sort(columns: dict[str, Column], key: str, beside: tuple[str, ...], order: npt.NDArray[np.intp]) -> None:
    for column in (key, *beside):
        columns[column] = columns[column][order]


def scan_segment(name: str, raw: bytes, stop_number: int = 0) -> SegmentIndex:
    """Read a segment up to ``stop_number`` (0: to its end). ``JournalError`` when its header is damaged."""
    header = unpack_header(raw)
    scan = SegmentScan(SEGMENT_HEADER_BYTES, header.first_number, stop_number)
    if not 0 < stop_number <= header.first_number:
        scan.run(raw)
    return scanned(name, header, scan)


def scan_stored(storage: Storage, name: str, stop_number: int = 0, *, pause_s: float = 0.0) -> SegmentIndex:
    """``scan_segment`` of what is stored, a piece at a time, with pauses between them: while 64 MB are read at once and
    given back, whoever else needs this core, or the interpreter, waits for many milliseconds.

    ``JournalError`` when its header is damaged, ``OSError``.
    """
    header = unpack_header(storage.read(name, 0, SEGMENT_HEADER_BYTES))
    scan = SegmentScan(SEGMENT_HEADER_BYTES, header.first_number, stop_number)
    size = PIECE_BYTES
    while not 0 < stop_number <= scan.next_number and not scan.sealed:
        begin = scan.end
        if pause_s and begin > SEGMENT_HEADER_BYTES:
            time.sleep(pause_s)
        piece = storage.read(name, begin, size)
        scan.run(piece, begin)
        if scan.end > begin:
            size = PIECE_BYTES
        elif len(piece) < size or size >= (needed := record_size(piece)):
            break  # there it is, or all that is left, and it is not a sound record
        else:
            size = needed
    return scanned(name, header, scan)


def stop_numbers(first_numbers: Sequence[int]) -> list[int]:
    """Where each segment ends for good: the smallest first number of a later one, 0 where there is none.

    What a failed sync may have lost is written again, under the same numbers, to a new segment; the older copies,
    which may run over several segments, count for nothing. A first number of 0 is not known.
    """
    stops, least = [], 0
    for first in reversed(first_numbers):
        stops.append(least)
        if first:
            least = min(first, least or first)
    return stops[::-1]


def first_numbers(storage: Storage, names: Sequence[tuple[int, str]]) -> list[int]:
    """First record number of each segment by its header; 0 where that does not read. Raises ``OSError``."""
    firsts = []
    for _, name in names:
        try:
            firsts.append(unpack_header(storage.read(name, 0, SEGMENT_HEADER_BYTES)).first_number)
        except JournalError:
            firsts.append(0)
    return firsts


def segment_crc(head: bytes, seal: bytes) -> int:
    """What ties a sidecar to its segment: the checksum of its header and of its last 64 bytes, the seal."""
    return crc32c(seal, crc32c(head))


def build_sidecar(name: str, raw: bytes) -> tuple[SegmentIndex, bytes]:
    """Index and sidecar of a sealed segment. ``JournalError`` when it is not whole."""
    index = scan_segment(name, raw)
    return index, sidecar_of(index, raw)


def sidecar_of(index: SegmentIndex, raw: bytes) -> bytes:
    """The sidecar of a sealed segment that has been scanned. ``JournalError`` when it is not whole."""
    _must_be_whole(index, len(raw))
    return index.to_bytes(segment_crc(raw[:SEGMENT_HEADER_BYTES], raw[-SEAL_BYTES:]))


def index_segment(storage: Storage, name: str, *, pause_s: float = 0.0) -> SegmentIndex:
    """Write the sidecar of a sealed segment, in place of what there was. ``pause_s``: as ``scan_stored`` has it.
    ``JournalError``, ``OSError``."""
    index = scan_stored(storage, name, pause_s=pause_s)
    _must_be_whole(index, storage.size(name))
    head = storage.read(name, 0, SEGMENT_HEADER_BYTES)
    seal = storage.read(name, index.end - SEAL_BYTES, SEAL_BYTES)
    write_whole(storage, sidecar_name(name), index.to_bytes(segment_crc(head, seal)))
    return index


def _must_be_whole(index: SegmentIndex, size: int) -> None:
    if not index.sealed or index.end != size:
        raise JournalError(f"{index.name}: not sealed, or damaged at offset {index.end}")


def load_sidecar(storage: Storage, name: str) -> SegmentIndex | None:
    """The index of a segment by its sidecar; ``None`` when there is none, or none that fits. Raises ``OSError``."""
    try:
        index, crc = SegmentIndex.from_bytes(name, storage.read(sidecar_name(name)))
    except (FileNotFoundError, JournalError):
        return None
    if index.end != storage.size(name) or index.end < SEGMENT_HEADER_BYTES + SEAL_BYTES:
        return None
    head, last = (
        storage.read(name, 0, SEGMENT_HEADER_BYTES),
        storage.read(name, index.end - SEAL_BYTES, SEAL_BYTES),
    )
    seal = read_record(last, 0)
    if (
        crc != segment_crc(head, last)
        or seal is None
        or seal.kind != Kind.SEAL
        or seal.number != index.next_number
        or index.next_number != index.header.first_number + index.records
    ):
        return None
    return index
