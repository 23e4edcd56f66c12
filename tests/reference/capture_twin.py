"""The format of a capture read with ``struct`` alone, as ``quotelife.capture.format`` describes it."""

import struct
from pathlib import Path
from typing import NamedTuple

HEADER = struct.Struct("<4sIIHBBQIIIIII32s")
RUN = struct.Struct("<QIB3x")
EVENT, SIGNAL, TIMER, LOST, WATCH_TIMER = 1, 2, 3, 4, 5


class Input(NamedTuple):
    sequence: int
    kind: int
    record: bytes


def crc32c(data: bytes) -> int:
    """Bit by bit, RFC 3720 appendix B.4."""
    crc = 0xFFFFFFFF
    for byte in data:
        crc ^= byte
        for _ in range(8):
            crc = crc >> 1 ^ (0x82F63B78 if crc & 1 else 0)
    return crc ^ 0xFFFFFFFF


def blocks(data: bytes) -> list[tuple[int, bytes]]:
    """(offset, block) of a raw segment without damage."""
    found = []
    offset = 0
    while offset < len(data):
        length = HEADER.unpack_from(data, offset)[2]
        found.append((offset, data[offset : offset + length]))
        offset += length
    return found


def block_inputs(block: bytes) -> list[Input]:
    """Every input of a block; a lost range as one input of its first sequence with its length as record."""
    fields = HEADER.unpack_from(block)
    kind, slots, runs = fields[4], fields[7], fields[8]
    if kind != 2:
        return []
    out = []
    slot = HEADER.size
    for at in range(HEADER.size + slots * 64, len(block), RUN.size):
        first, count, run_kind = RUN.unpack_from(block, at)
        if run_kind == LOST:
            out.append(Input(first, LOST, count.to_bytes(4, "little")))
            continue
        for i in range(count):
            out.append(Input(first + i, run_kind, block[slot : slot + 64]))
            slot += 64
    assert runs == (len(block) - HEADER.size - slots * 64) // RUN.size
    return out


def segment_inputs(path: Path) -> list[Input]:
    return [each for _, block in blocks(path.read_bytes()) for each in block_inputs(block)]
