"""A reader of journal segments written from docs/journal.md alone: plain Python, no part of the library."""

import struct
from collections.abc import Iterator
from typing import NamedTuple

_TABLE = []
for _byte in range(256):
    _crc = _byte
    for _ in range(8):
        _crc = _crc >> 1 ^ (0x82F63B78 if _crc & 1 else 0)
    _TABLE.append(_crc)


def crc32c(data: bytes) -> int:
    crc = 0xFFFFFFFF
    for byte in data:
        crc = crc >> 8 ^ _TABLE[(crc ^ byte) & 255]
    return crc ^ 0xFFFFFFFF


class TwinRecord(NamedTuple):
    number: int
    input_sequence: int
    now_ns: int
    kind: int
    payload: bytes
    boot_id: str


class TwinAnswer(NamedTuple):
    sequences: tuple[int, ...]
    request_id: bytes
    digest: bytes
    request: bytes
    reply: bytes


def read_segment(raw: bytes) -> Iterator[TwinRecord]:
    """Every record of a segment, the seal too. ``AssertionError`` where it is not as documented."""
    assert raw[:8] == b"QLJRNL\r\n"
    version, header_bytes, _, number = struct.unpack_from("<IIQQ", raw, 8)
    assert (version, header_bytes) == (4, 160)
    assert struct.unpack_from("<I", raw, 156)[0] == crc32c(raw[:156])
    boot_id = raw[40:72].rstrip(b"\0").decode("ascii")
    at = 160
    while at < len(raw):
        crc, length, found, sequence, now_ns, _durable, kind, flags, zero = struct.unpack_from(
            "<IIQQqQHHI", raw, at
        )
        end = at + 48 + (length + 7) // 8 * 8
        assert end <= len(raw) and zero == 0
        assert crc == crc32c(raw[at + 4 : end])
        assert found == number
        payload = raw[at + 48 : at + 48 + length]
        if flags & 2:
            payload = unpacked(payload)
        yield TwinRecord(number, sequence, now_ns, kind, payload, boot_id)
        if kind == 9:
            assert end == len(raw)
        number += kind != 9
        at = end


def unpacked(payload: bytes) -> bytes:
    (count,) = struct.unpack_from("<Q", payload)
    places = 8 * ((count + 63) // 64)
    bits = int.from_bytes(payload[8 : 8 + places], "little")
    words = iter(struct.unpack_from(f"<{bits.bit_count()}Q", payload, 8 + places))
    assert bits >> count == 0 and len(payload) == 8 + places + 8 * bits.bit_count()
    return struct.pack(f"<{count}Q", *(next(words) if bits >> place & 1 else 0 for place in range(count)))


def read_answer(payload: bytes) -> TwinAnswer:
    count, *lengths, zero = struct.unpack_from("<6I", payload)
    assert zero == 0
    sequences = struct.unpack_from(f"<{count}Q", payload, 24)
    parts, at = [], 24 + 8 * count
    for length in lengths:
        parts.append(payload[at : at + length])
        at += length
    assert at == len(payload)
    request_id, digest, request, reply = parts
    return TwinAnswer(sequences, request_id, digest, request, reply)
