"""What is read back from disk: blocks of a capture, records of a journal's segment."""

import struct
import tempfile
from collections.abc import Iterator
from pathlib import Path

import zstandard

from fuzz_targets.kit import Bytes, Target, exact, pieces, same
from quotelife.capture.format import CHECKED_FROM, HEADER_BYTES, LAYOUT, MAGIC, CaptureError, Head
from quotelife.capture.reader import Capture
from quotelife.checksum import crc32c
from quotelife.errors import JournalError
from quotelife.journal.format import (
    SEGMENT_HEADER_BYTES,
    Kind,
    RawRecord,
    SegmentScan,
    find_after,
    pack_header,
    pack_record,
    read_record,
    unpack_header,
)

BOOT = "b1"
HEADER = struct.Struct("<4sIIHBBQIIIIII32s")  # HEADER_DTYPE
COLUMNS = ("decision_offset", "answer_sequence", "id_hash", "refused_sequence", "other_offset")
SORTED = ("decision_sequence", "answer_sequence", "id_hash")


# --- a capture ---


def block(kind: int, first: int, slots: int, runs: int, payload: bytes, boot: str = BOOT) -> bytes:
    """A block whose length and checksum hold; its payload may be anything."""
    length = HEADER_BYTES + len(payload)
    raw = HEADER.pack(MAGIC, 0, length, 1, kind, 0, first, slots, runs, 0, 0, 0, 0, boot.encode())
    return raw[:4] + struct.pack("<I", crc32c(raw[CHECKED_FROM:] + payload)) + raw[CHECKED_FROM:] + payload


def head() -> bytes:
    text = Head(BOOT, 0, 1, {"config": {"instruments": []}}).to_json()
    assert LAYOUT in text.decode()
    return block(1, 1, 0, 0, text.ljust(-(-len(text) // 16) * 16))


def block_of(source: Bytes) -> bytes:
    """Slots and runs of the input's, or any bytes."""
    action = source.byte()
    if action == 255:
        return source.take(source.number(2))
    slots, runs = action & 3, action >> 2 & 3
    payload = source.take(64 * slots).ljust(64 * slots, b"\0")
    for _ in range(runs):
        count, kind = source.byte() % 4, source.byte() % 5
        payload += struct.pack("<QIB3x", source.byte(), count, kind)
    if action & 16:
        slots += source.byte() - 128
    if action & 32:
        payload += source.take(16)
    return block(2 if not action & 64 else source.byte(), 1, slots & 0xFFFFFFFF, runs, payload)


def run_capture(data: bytes) -> None:
    """A segment as a file, raw and compressed: the same is read, and what is no block is told as damage."""
    source = Bytes(data)
    options = source.byte()
    raw = b"" if options & 1 else head()
    while source:
        raw += block_of(source)
    told = []
    with tempfile.TemporaryDirectory() as folder:
        for name, content in (("0000000001.qlc", raw), ("0000000001.qlc.zst", zstandard.compress(raw, 1))):
            path = Path(folder) / name
            path.write_bytes(content)
            told.append(read(Path(folder)))
            path.unlink()
    same(*told)


def read(folder: Path) -> object:
    capture = Capture(folder)
    out = []
    try:
        capture.heads()
        for run in capture.inputs():
            assert len(run.records) in (0, run.length)
            out.append((run.first_sequence, run.kind, run.length, run.records.tobytes()))
    except CaptureError as error:
        return out, str(error).partition(": ")[2]
    return out, [(damage.offset, damage.length, damage.torn) for damage in capture.damage]


def capture_seeds() -> Iterator[bytes]:
    slots = bytes(range(64)) * 2
    yield b"\0" + bytes((2 | 2 << 2,)) + slots + bytes((1, 1, 5, 1, 3, 6)) + bytes((1 << 2, 3, 4, 9))
    whole = block(2, 1, 1, 1, bytes(64) + struct.pack("<QIB3x", 1, 1, 1))
    yield b"\0\xff" + len(whole).to_bytes(2, "little") + whole + b"\xff\5\0QLCBx"
    yield b"\1\xff" + len(whole).to_bytes(2, "little") + whole


capture = Target(run_capture, capture_seeds, (b"QLCB", b"QLCB\0\0\0\0"), python_lines=True)


# --- a journal ---


def record_of(source: Bytes, number: int) -> bytes:
    """A record whose checksum holds, or any bytes."""
    action = source.byte()
    if action == 255:
        return source.take(source.byte())
    payload = source.take(source.byte())
    if action & 128:
        number = source.number(8)
    return pack_record(action & 15, number, source.byte(), source.byte(), number, payload, action >> 4 & 3)


def record_there(raw: memoryview, at: int) -> RawRecord | None:
    return None if packed_otherwise(raw, at) else read_record(raw, at)


def packed_otherwise(raw: memoryview, at: int) -> bool:
    try:
        read_record(raw, at)
    except JournalError as error:
        assert "is sound, but its payload is not packed" in str(error)
        return True
    return False


def figures(scan: SegmentScan) -> tuple[object, ...]:
    return (
        scan.end, scan.next_number, scan.records, scan.sealed, scan.first_ns, scan.last_ns, scan.durable,
        [scan.column(name).tolist() for name in COLUMNS],
    )  # fmt: skip


def scanned(raw: bytes, first: int, chunks: list[bytes]) -> SegmentScan:
    scan = SegmentScan(SEGMENT_HEADER_BYTES, first)
    held = b""
    for chunk in chunks:
        held += chunk
        base = scan.end
        whole = scan.run(exact(held[base - SEGMENT_HEADER_BYTES :]), base)
        assert whole == (scan.end == SEGMENT_HEADER_BYTES + len(held))
    return scan


def scanned_file(raw: bytes, first: int, piece: int) -> SegmentScan:
    scan = SegmentScan(SEGMENT_HEADER_BYTES, first)
    with tempfile.TemporaryFile() as file:
        file.write(raw)
        file.flush()
        scan.run_file(file.fileno(), piece)
    return scan


def run_journal(data: bytes) -> None:
    """Records are read one by one, scanned at once, in pieces and from a file: all agree on where soundness ends."""
    source = Bytes(data)
    options = source.byte()
    header = pack_header(1, 1, 5, BOOT, bytes(32), bytes(32))
    if options & 1:
        header = source.take(len(header)).ljust(len(header), b"\0")
    first = 1
    try:
        first = unpack_header(exact(header)).first_number
    except JournalError as error:
        assert str(error)
    body, number = b"", first
    while source:
        body += record_of(source, number)
        number = number + 1 & (1 << 64) - 1
    scan = scanned(header + body, first, [body])
    one = figures(scan)
    same(one, figures(scanned(header + body, first, pieces(body, options))))
    same(one, figures(scanned_file(header + body, first, 1 + (options >> 1) * 7)))
    keys = {key: scan.column(key).tolist() for key in SORTED}
    scan.sort()
    same({key: scan.column(key).tolist() for key in SORTED}, {key: sorted(keys[key]) for key in SORTED})
    raw = exact(header + body)
    at, number = SEGMENT_HEADER_BYTES, first
    while (found := record_there(raw, at)) is not None and found.number == number:
        assert at + found.size <= len(raw)
        at += found.size
        if found.kind == Kind.SEAL:
            break
        number += 1
    assert at == scan.end or packed_otherwise(raw, at)
    after = find_after(raw, at, number)
    assert after is None or (at <= after[0] < len(raw) and after[1] >= number)


def journal_seeds() -> Iterator[bytes]:
    answer = struct.pack("<6I", 1, 3, 0, 0, 0, 0) + struct.pack("<Q", 7) + b"abc"
    records = b"".join(
        bytes((kind, len(payload))) + payload + b"\7\5"
        for kind, payload in ((1, b"{}"), (4, bytes(40)), (5, answer), (6, bytes(16)), (9, b""))
    )
    yield b"\0" + records
    yield b"\4" + records[:60] + b"\xff\5abcde" + records
    for bits in (0b101, 0b111):  # a payload packed as it should be, and one that lacks a word
        packed = struct.pack("<4Q", 3, bits, 7, 5)
        yield b"\0" + bytes((2 << 4 | 4, len(packed))) + packed + b"\7\5" + records


journal = Target(run_journal, journal_seeds)
