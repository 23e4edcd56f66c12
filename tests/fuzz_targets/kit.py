"""What targets have in common: how one is declared, bytes taken apart, and what must hold of any events."""

from collections.abc import Callable, Iterable
from typing import NamedTuple

import numpy as np

from quotelife.records import EventBuffer, EventFlags, EventKindCode
from reference.event_books import EventRow, rows

KINDS = {int(kind) for kind in EventKindCode}
MARKERS = {
    EventKindCode.SNAPSHOT_BEGIN,
    EventKindCode.SNAPSHOT_END,
    EventKindCode.CLEAR,
    EventKindCode.STATUS,
}
"""Kinds whose price and size say nothing."""
LAST = int(EventFlags.LAST)


class Target(NamedTuple):
    """``run`` takes one input; ``seeds`` gives inputs from the project's own simulated wires to start from.

    ``words`` are put into inputs as they are. ``python_lines``: what is fuzzed is Python, whose lines count as
    coverage.
    """

    run: Callable[[bytes], None]
    seeds: Callable[[], Iterable[bytes]]
    words: tuple[bytes, ...] = ()
    python_lines: bool = False


class Bytes:
    """An input taken apart from its beginning; beyond its end there is nothing but zeros."""

    def __init__(self, data: bytes) -> None:
        self.data = data
        self.at = 0

    def __bool__(self) -> bool:
        return self.at < len(self.data)

    def byte(self) -> int:
        return self.number(1)

    def number(self, size: int) -> int:
        return int.from_bytes(self.take(size), "little")

    def take(self, n: int) -> bytes:
        """At most so many."""
        out = self.data[self.at : self.at + n]
        self.at += n
        return out

    def rest(self) -> bytes:
        return self.take(len(self.data))


def exact(data: bytes) -> memoryview:
    """The bytes in memory of just their size: a read of one more is seen, which ``bytes`` with its zero would hide."""
    held = np.frombuffer(data, dtype=np.uint8).copy()  # array and bytearray take more than they hold
    return held.data


def pieces(data: bytes, seed: int) -> list[bytes]:
    """The same bytes in chunks of 1 to 64, other ones for each seed."""
    out = []
    at, state = 0, seed * 2 + 1
    while at < len(data):
        state = state * 1103515245 + 12345 & 0x7FFFFFFF
        n = 1 + (state >> 16) % (8 if seed & 1 else 64)
        out.append(data[at : at + n])
        at += n
    return out


def drain(buffer: EventBuffer, instruments: int) -> list[EventRow]:
    """Takes all events out; each must be one that the engine may be given."""
    assert buffer.overflowed == 0
    if not len(buffer):
        return []
    events = rows(buffer)
    buffer.clear()
    for event in events:
        assert event.kind in KINDS, event
        assert 0 <= event.instrument < instruments, event
        assert event.kind in MARKERS or min(event.price_ticks, event.size_lots) >= 0, event
    return events


def ended(events: list[EventRow]) -> list[EventRow]:
    """The events of whole venue messages: the last one says so."""
    assert not events or events[-1].flags & LAST, events[-1]
    return events


def same(one: object, other: object) -> None:
    """Both tellings of the same bytes; says where they part."""
    if one == other:
        return
    if isinstance(one, tuple | list) and isinstance(other, tuple | list) and len(one) == len(other):
        for a, b in zip(one, other, strict=True):
            same(a, b)
    raise AssertionError(f"in one piece {one!r}\nin many {other!r}")
