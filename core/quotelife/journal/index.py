"""Segments by name, and the sidecar of a sealed one: where its decisions, answers and request ids lie.

A sidecar only saves time. Whatever it says can be found again by reading its segment, and is wherever the sidecar is
missing, damaged or of another segment.
"""

from __future__ import annotations

import os
import re
import struct
from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar, NamedTuple

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
    unpack_header,
)
from quotelife.journal.storage import Storage, read_whole, write_whole

Column = npt.NDArray[np.uint64]

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


def sidecars_alone(storage: Storage) -> list[str]:
    """Names of sidecars whose segment is not there: the process ended between the removal of the two."""
    there = {sidecar_name(name) for _, name in segment_names(storage)}
    return [
        name
        for name in storage.list()
        if name.endswith(".idx") and _NAME.fullmatch(f"{name[:-4]}.qlj") and name not in there
    ]


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

    def parts(self, segment_crc: int) -> list[bytes | memoryview]:
        """The sidecar, a head and the columns; ``segment_crc`` ties it to its segment (checksum of its header and
        seal)."""
        body = [memoryview(getattr(self, name).astype("<u8", copy=False).view("u1")) for name in _COLUMNS]
        body_crc = 0
        for column in body:
            body_crc = crc32c(column, body_crc)
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
            body_crc,
            *(len(column) // 8 for column in body),
            0,
        )
        crc = struct.pack("<I", crc32c(head[: _HEAD.size - 8]))
        return [head[: _HEAD.size - 8] + crc + bytes(4), *body]

    def to_bytes(self, segment_crc: int) -> bytes:
        """``parts`` in one."""
        return b"".join(self.parts(segment_crc))

    @classmethod
    def from_bytes(cls, name: str, raw: bytes | bytearray) -> tuple[SegmentIndex, int]:
        """(index, segment checksum) of a sidecar. ``JournalError`` when it is damaged or of another version."""
        head = _Head.from_bytes(name, raw)
        body = memoryview(raw)[_HEAD.size :]
        if len(body) != 8 * sum(head.counts) or head.body_crc != crc32c(body):
            raise JournalError(f"{sidecar_name(name)}: damaged")
        columns, at = {}, 0
        for column, count in zip(_COLUMNS, head.counts, strict=True):
            columns[column] = np.frombuffer(body, dtype="<u8", count=count, offset=at)
            at += 8 * count
        boot_id = head.boot_id.rstrip(b"\0").decode()
        header = SegmentHeader(
            head.segment, head.first_number, head.created_ns, boot_id, head.layout_hash, head.schema_hash
        )
        index = cls(
            name, header, head.end, head.next_number, head.records, True, head.first_ns, head.last_ns, head.durable,
            **columns,
        )  # fmt: skip
        return index, head.segment_crc


class _Head(NamedTuple):
    """What a sidecar says before its columns."""

    segment: int
    first_number: int
    next_number: int
    records: int
    end: int
    created_ns: int
    first_ns: int
    last_ns: int
    durable: int
    boot_id: bytes
    layout_hash: bytes
    schema_hash: bytes
    segment_crc: int
    body_crc: int
    counts: tuple[int, ...]

    @classmethod
    def from_bytes(cls, name: str, raw: bytes | bytearray) -> _Head:
        """``JournalError`` when it is damaged or of another version."""
        if len(raw) < _HEAD.size:
            raise JournalError(f"{sidecar_name(name)}: cut short")
        magic, version, size, *fields, crc = _HEAD.unpack_from(raw)
        if (
            magic != _MAGIC
            or size != _HEAD.size
            or crc != crc32c(raw[: _HEAD.size - 8])
            or raw[_HEAD.size - 4 : _HEAD.size] != bytes(4)
        ):
            raise JournalError(f"{sidecar_name(name)}: damaged")
        if version != _VERSION:
            raise JournalError(f"{sidecar_name(name)}: version {version}; this build reads {_VERSION}")
        return cls._make((*fields[:14], tuple(fields[14:])))

    def fits(self, storage: Storage, name: str) -> bool:
        """It tells of that segment, as it is. Raises ``OSError``."""
        if self.end != storage.size(name) or self.end < SEGMENT_HEADER_BYTES + SEAL_BYTES:
            return False
        head = storage.read(name, 0, SEGMENT_HEADER_BYTES)
        last = storage.read(name, self.end - SEAL_BYTES, SEAL_BYTES)
        seal = read_record(last, 0)
        return (
            self.segment_crc == segment_crc(head, last)
            and seal is not None
            and seal.kind == Kind.SEAL
            and seal.number == self.next_number == self.first_number + self.records
        )


def column_at(index: SegmentIndex, column: str) -> int:
    """Where in the sidecar of ``index`` a column begins: 8 bytes an entry, little-endian."""
    before = _COLUMNS[: _COLUMNS.index(column)]
    return _HEAD.size + 8 * sum(len(getattr(index, name)) for name in before)


def scanned(name: str, header: SegmentHeader, scan: SegmentScan, *, pause_s: float = 0.0) -> SegmentIndex:
    """The index of what ``scan`` has read."""
    scan.sort(pause_s)
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
        **{column: scan.column(column, pause_s) for column in _COLUMNS},
    )


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
    if not 0 < stop_number <= header.first_number:
        descriptor = storage.open(name)
        try:
            scan.run_file(descriptor, pause_s=pause_s)
        finally:
            os.close(descriptor)
    return scanned(name, header, scan, pause_s=pause_s)


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
    """First record number of each segment by its header; 0 where that does not read, or the segment is gone by now.
    Raises ``OSError``."""
    firsts = []
    for _, name in names:
        try:
            firsts.append(unpack_header(storage.read(name, 0, SEGMENT_HEADER_BYTES)).first_number)
        except (JournalError, FileNotFoundError):
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


def index_segment(
    storage: Storage, name: str, scan: SegmentScan | None = None, *, pause_s: float = 0.0
) -> SegmentIndex:
    """Write the sidecar of a sealed segment, in place of what there was.

    ``scan``: of what was written to it, by whom; else it is read. ``pause_s``: as ``scan_stored`` has it.
    ``JournalError`` when the segment is not whole, ``OSError``.
    """
    head = storage.read(name, 0, SEGMENT_HEADER_BYTES)
    if scan is None or not scan.sealed:
        index = scan_stored(storage, name, pause_s=pause_s)
    else:
        index = scanned(name, unpack_header(head), scan, pause_s=pause_s)
    _must_be_whole(index, storage.size(name))
    seal = storage.read(name, index.end - SEAL_BYTES, SEAL_BYTES)
    write_whole(storage, sidecar_name(name), *index.parts(segment_crc(head, seal)), pause_s=pause_s)
    return index


def _must_be_whole(index: SegmentIndex, size: int) -> None:
    if not index.sealed or index.end != size:
        raise JournalError(f"{index.name}: not sealed, or damaged at offset {index.end}")


def load_sidecar(storage: Storage, name: str, *, pause_s: float = 0.0) -> SegmentIndex | None:
    """The index of a segment by its sidecar; ``None`` when there is none, or none that fits. Raises ``OSError``.
    ``pause_s``: as ``read_whole`` has it."""
    try:
        raw = read_whole(storage, sidecar_name(name), pause_s=pause_s)
        head = _Head.from_bytes(name, raw)
        return SegmentIndex.from_bytes(name, raw)[0] if head.fits(storage, name) else None
    except (FileNotFoundError, JournalError):
        return None


def last_time(storage: Storage, name: str) -> int | None:
    """Time of the last record of a segment by its sidecar, whose columns are not looked at; ``None`` when there is no
    sidecar, or none that fits. Raises ``OSError``."""
    try:
        head = _Head.from_bytes(name, storage.read(sidecar_name(name), 0, _HEAD.size))
        return head.last_ns if head.fits(storage, name) else None
    except (FileNotFoundError, JournalError):
        return None
