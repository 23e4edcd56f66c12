"""Recorded websocket captures, merged by local stamp.

Either lines of ``<local stamp> <json>``, where a line without ``"stream"`` that holds ``lastUpdateId`` is the REST
depth snapshot of the file's symbol; or a recorded session (``.jsonl``, packed or not): one JSON object a line, of
which those with ``"t": "recv"`` hold a message (``data``, a string) and the second of its arrival (``ts``).
"""

import heapq
import json
from collections.abc import Iterator, Sequence
from decimal import Decimal
from pathlib import Path
from typing import NamedTuple

from quotelife.errors import DecodeError
from quotelife.feed.unpack import SUFFIXES, lines
from quotelife.units import NS_PER_MS, NS_PER_S, NS_PER_US, since_1970_ns

SESSION_SUFFIXES = tuple(f".jsonl{packed}" for packed in ("", *SUFFIXES))


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
    for number, line in enumerate(lines(path), start=1):
        if not is_message(line):
            raise DecodeError(f"{path}:{number}: expected '<local stamp> <json>', found {line[:40]!r}")
        stamp, _, data = line.rstrip().partition(b" ")
        receive_ns = stamp_to_ns(int(stamp))
        is_snapshot = b'"lastUpdateId"' in data and b'"stream"' not in data
        yield RecordedMessage(receive_ns, file, data, is_snapshot)


def is_message(line: bytes) -> bool:
    """Whether a line is one of ``<local stamp> <json>``."""
    stamp, _, data = line.rstrip().partition(b" ")
    return stamp.isdigit() and len(stamp) < 20 and stamp_to_ns(int(stamp)) < 2**63 and bool(data)


def read_session(path: Path, file: int = 0) -> Iterator[RecordedMessage]:
    """The messages that a recorded session received, in order.

    Raises ``DecodeError`` naming file and line when a line is no such object, or the file is cut short.
    """
    for number, line in enumerate(lines(path), start=1):
        try:
            row = json.loads(line, parse_float=Decimal)
            if row["t"] != "recv":
                continue
            if not isinstance(row["ts"], int | Decimal):
                raise ValueError(f"ts must be a number of seconds, found {str(row['ts'])[:40]!r}")
            receive_ns = since_1970_ns(row["ts"], NS_PER_S)
            message = RecordedMessage(receive_ns, file, row["data"].encode(), False)
        except (KeyError, TypeError, AttributeError, ValueError, ArithmeticError, RecursionError) as error:
            raise DecodeError(f"{path}:{number}: no line of a recorded session: {error}") from None
        yield message


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
