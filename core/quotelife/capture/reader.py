"""Reading a capture: the runs of inputs in the order in which the engine applied them."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple, cast

import numpy as np
import numpy.typing as npt
import zstandard

from quotelife.capture.format import (
    BLOCK_BYTES_MAX,
    CHECKED_FROM,
    HEADER_BYTES,
    HEADER_DTYPE,
    LAYOUT,
    MAGIC,
    RUN_BYTES,
    RUN_DTYPE,
    SLOT_BYTES,
    SLOT_DTYPES,
    VERSION,
    BlockKind,
    CaptureError,
    Head,
    InputKind,
)
from quotelife.capture.segments import COMPRESSED, Segment, list_segments
from quotelife.checksum import crc32c


class Inputs(NamedTuple):
    """A run: ``length`` inputs of one kind with consecutive sequences.

    ``records`` has the dtype of its kind (``SLOT_DTYPES``) and shape (length,); for ``LOST`` it is empty. ``head``
    says what their instrument indices mean.
    """

    head: Head
    first_sequence: int
    kind: InputKind
    length: int
    records: npt.NDArray[np.void]


class Damage(NamedTuple):
    """Bytes that are no block: the torn tail of a segment, or a fault of the disk in its middle."""

    path: Path
    offset: int  # in the segment as it was before compression
    length: int
    torn: bool


class _Block(NamedTuple):
    header: Any
    payload: memoryview


def _block_at(data: memoryview, offset: int) -> _Block | None:
    """The block that starts there, None when there is no whole and undamaged one."""
    if offset + HEADER_BYTES > len(data):
        return None
    header = np.frombuffer(data, dtype=HEADER_DTYPE, count=1, offset=offset)[0]
    length = int(header["length"])
    if header["magic"] != MAGIC or not HEADER_BYTES <= length <= len(data) - offset:
        return None
    block = data[offset : offset + length]
    if crc32c(block[CHECKED_FROM:]) != header["checksum"]:
        return None
    return _Block(header, block[HEADER_BYTES:])


class Capture:
    """A captured folder, read only; nothing is locked, so that it can be read while it grows.

    Raises ``CaptureError`` when there is no segment.
    """

    def __init__(self, folder: Path) -> None:
        if not folder.is_dir():
            raise CaptureError(f"{folder}: no such folder; name the one that was captured into")
        self.folder = folder
        self.segments = list_segments(folder)
        if not self.segments:
            raise CaptureError(f"{folder}: no segment of a capture (*.qlc, {COMPRESSED}) in it")
        self.bytes_total = sum(segment.path.stat().st_size for segment in self.segments)
        self.bytes_read = 0  # of the segments finished by the iteration under way
        self.damage: list[Damage] = []  # found by the iteration under way

    def heads(self) -> list[Head]:
        """The first head of each boot that can be read, in order: from the start of every segment."""
        found: dict[str, Head] = {}
        for segment in self.segments:
            for _, block in _blocks(segment, _first_block(segment), []):
                if block.header["kind"] == BlockKind.HEAD:
                    head = _head(segment, block)
                    found.setdefault(head.boot_id, head)
        return list(found.values())

    def inputs(self, boot_id: str | None = None) -> Iterator[Inputs]:
        """All runs in order; of one boot if it is named.

        Damage is noted in ``damage`` and passed over: what lacks is seen by the sequences. Raises ``CaptureError``
        when the capture was written by a build with other records.
        """
        self.damage = []
        self.bytes_read = 0
        head: Head | None = None
        for segment in self.segments:
            size = segment.path.stat().st_size if segment.path.exists() else 0
            for offset, block in _blocks(segment, _content(segment, self.damage), self.damage):
                boot = block.header["boot_id"].decode("ascii")
                if block.header["kind"] == BlockKind.HEAD:
                    head = _head(segment, block)
                elif head is None or head.boot_id != boot:  # its head was damaged
                    self.damage.append(Damage(segment.path, offset, int(block.header["length"]), torn=False))
                elif boot_id is None or boot == boot_id:
                    yield from _runs(head, block)
            self.bytes_read += size


def _open(segment: Segment) -> BinaryIO:
    path = segment.path
    if not segment.compressed and not path.exists():  # compressed since it was listed
        path = path.with_name(path.name + ".zst")
    file = path.open("rb")
    return cast(BinaryIO, zstandard.ZstdDecompressor().stream_reader(file)) if path.suffix == ".zst" else file


def _content(segment: Segment, damage: list[Damage]) -> bytes:
    pieces = bytearray()
    with _open(segment) as stream:
        try:
            while piece := stream.read(1024 * 1024):
                pieces += piece
        except zstandard.ZstdError:
            damage.append(Damage(segment.path, len(pieces), 0, torn=False))
    return bytes(pieces)


def _first_block(segment: Segment) -> bytes:
    with _open(segment) as stream:
        try:
            start = stream.read(HEADER_BYTES)
            if len(start) < HEADER_BYTES:
                return start
            length = int(np.frombuffer(start, dtype=HEADER_DTYPE)["length"][0])
            return start + stream.read(min(max(length, HEADER_BYTES), BLOCK_BYTES_MAX) - HEADER_BYTES)
        except zstandard.ZstdError:
            return b""


def _blocks(segment: Segment, raw: bytes, damage: list[Damage]) -> Iterator[tuple[int, _Block]]:
    data = memoryview(raw)
    offset = 0
    while offset < len(data):
        block = _block_at(data, offset)
        if block is None:
            start = offset
            while block is None and offset >= 0:
                offset = raw.find(MAGIC, offset + 1)
                block = _block_at(data, offset) if offset >= 0 else None
            end = offset if offset >= 0 else len(data)
            damage.append(Damage(segment.path, start, end - start, torn=offset < 0))
            if block is None:
                return
        if not 1 <= block.header["version"] <= VERSION:
            raise CaptureError(
                f"{segment.path}: format {block.header['version']}, this build reads up to {VERSION}; "
                f"read it with the version of quotelife that wrote it"
            )
        yield offset, block
        offset += int(block.header["length"])


def _head(segment: Segment, block: _Block) -> Head:
    try:
        head = Head.from_json(bytes(block.payload))
    except (ValueError, KeyError, TypeError) as error:
        raise CaptureError(f"{segment.path}: its head is not one of a capture: {error!r}") from None
    if head.layout != LAYOUT:
        raise CaptureError(
            f"{segment.path}: written by a build whose event or signal records lie otherwise "
            f"({head.layout}); read it with the version of quotelife that wrote it"
        )
    return head


def _runs(head: Head, block: _Block) -> Iterator[Inputs]:
    try:
        yield from _unpacked(head, block)
    except ValueError as error:  # its checksum holds: it was written so
        raise CaptureError(f"a block whose counts do not fit its bytes: {error}") from None


def _unpacked(head: Head, block: _Block) -> Iterator[Inputs]:
    header = block.header
    slots_end = int(header["slots"]) * SLOT_BYTES
    runs = np.frombuffer(block.payload, dtype=RUN_DTYPE, count=int(header["runs"]), offset=slots_end)
    if slots_end + len(runs) * RUN_BYTES != len(block.payload):
        raise ValueError(f"{len(block.payload)} bytes")
    slot = 0
    for first_sequence, count, number, _ in runs.tolist():
        kind = InputKind(number)
        if kind is InputKind.LOST:
            yield Inputs(head, first_sequence, kind, count, np.empty(0, dtype=SLOT_DTYPES[InputKind.EVENT]))
            continue
        records = np.frombuffer(block.payload, dtype=SLOT_DTYPES[kind], count=count, offset=slot * SLOT_BYTES)
        yield Inputs(head, first_sequence, kind, count, records)
        slot += count
