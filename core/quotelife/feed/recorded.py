"""Recorded websocket captures, merged by local stamp.

Either lines of ``<local stamp> <json>``, gzipped or plain, where a line without ``"stream"`` that holds
``lastUpdateId`` is the REST depth snapshot of the file's symbol; or a recorded session (``.jsonl``, ``.jsonl.zst``):
one JSON object a line, of which those with ``"t": "recv"`` hold a message (``data``, a string) and the second of its
arrival (``ts``).
"""

import gzip
import heapq
import json
import zlib
from collections.abc import Iterator, Sequence
from decimal import Decimal
from pathlib import Path
from typing import IO, NamedTuple, cast

import zstandard

from quotelife.errors import DecodeError
from quotelife.units import NS_PER_MS, NS_PER_S, NS_PER_US

SESSION_SUFFIXES = (".jsonl", ".jsonl.zst")


class RecordedMessage(NamedTuple):
    """One line of a capture."""

    receive_ns: int  # local stamp
    file: int  # index into the paths given
    data: bytes  # the JSON text
    is_snapshot: bool


def stamp_to_ns(stamp: int) -> int:
    """Milliseconds, microseconds or nanoseconds since 1970, told apart by magnitude, to nanoseconds.

    Unambiguous for the years 1973 to 5138 in each unit.
    """
    if stamp < 100_000_000_000_000:
        return stamp * NS_PER_MS
    if stamp < 100_000_000_000_000_000:
        return stamp * NS_PER_US
    return stamp


def read_lines(path: Path, file: int = 0) -> Iterator[RecordedMessage]:
    """The messages of one file in the order recorded.

    Raises ``DecodeError`` naming file and line when a line has no stamp or no text, or the file is cut short.
    """
    if path.name.endswith(SESSION_SUFFIXES):
        yield from read_session(path, file)
        return
    number = 0
    with cast(IO[bytes], gzip.open(path, "rb") if path.suffix == ".gz" else path.open("rb")) as lines:
        try:
            for number, line in enumerate(lines, start=1):
                stamp, _, data = line.rstrip().partition(b" ")
                if not (stamp.isdigit() and data):
                    raise DecodeError(
                        f"{path}:{number}: expected '<local stamp> <json>', found {line[:40]!r}"
                    )
                is_snapshot = b'"lastUpdateId"' in data and b'"stream"' not in data
                yield RecordedMessage(stamp_to_ns(int(stamp)), file, data, is_snapshot)
        except (EOFError, gzip.BadGzipFile, zlib.error) as error:
            raise DecodeError(f"{path}: damaged after line {number}: {error}") from None


def read_session(path: Path, file: int = 0) -> Iterator[RecordedMessage]:
    """The messages that a recorded session received, in order.

    Raises ``DecodeError`` naming file and line when a line is no such object, or the file is cut short.
    """
    number = 0
    with path.open("rb") as raw:
        try:
            for line in _unpacked_lines(raw) if path.suffix == ".zst" else raw:
                number += 1
                row = json.loads(line, parse_float=Decimal)
                if row["t"] == "recv":
                    yield RecordedMessage(int(row["ts"] * NS_PER_S), file, row["data"].encode(), False)
        except (KeyError, TypeError, AttributeError, ValueError) as error:
            raise DecodeError(f"{path}:{number}: no line of a recorded session: {error}") from None
        except (EOFError, zstandard.ZstdError) as error:
            raise DecodeError(f"{path}: damaged after line {number}: {error}") from None


def _unpacked_lines(raw: IO[bytes]) -> Iterator[bytes]:
    """Lines of zstd frames. Raises ``EOFError`` when the last frame is not whole, which a stream reader passes over."""
    unpacker = zstandard.ZstdDecompressor()
    frame = unpacker.decompressobj()
    rest = b""
    while chunk := raw.read(1 << 20):
        while chunk:
            if frame.eof:
                frame = unpacker.decompressobj()
            *lines, rest = (rest + frame.decompress(chunk)).split(b"\n")
            yield from lines
            chunk = frame.unused_data if frame.eof else b""
    if not frame.eof:
        raise EOFError("the file is cut short")
    if rest:
        yield rest


def merge_recorded(paths: Sequence[Path]) -> Iterator[RecordedMessage]:
    """The messages of several files in order of their local stamps.

    The order inside a file is never changed: a stamp that steps back is merged at the latest stamp before it
    (and yielded as recorded). Equal stamps keep the order of ``paths``.
    """

    def keyed(path: Path, file: int) -> Iterator[tuple[int, int, RecordedMessage]]:
        latest = 0
        for message in read_lines(path, file):
            latest = max(latest, message.receive_ns)
            yield latest, file, message

    streams = (keyed(path, file) for file, path in enumerate(paths))
    for _, _, message in heapq.merge(*streams, key=lambda item: item[:2]):
        yield message
