"""Faults between the market and its clients: lost, doubled, swapped, garbled, late messages, silence. No I/O.

``garbage`` spoils a message, ``noise`` comes before one that is whole.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass, field
from fnmatch import fnmatchcase

Message = tuple[str, bytes]

COUNTED = ("drop", "duplicate", "reorder", "garbage", "noise")
TIMED = ("delay", "mute")
KINDS = COUNTED + TIMED
NOISE = (b"{}", b"null", b"[]", b'"', b"{" * 300, b"\x00\xff\x81\x7e", b'{"a":1e999,"b":', b"8=FIX.4.4\x019=")


@dataclass(slots=True)
class Fault:
    """One fault on the streams that match ``stream`` (a shell pattern such as ``btcusdt@depth*``).

    Counted kinds hit the next ``count`` messages; ``delay`` and ``mute`` last until ``until_ns``.
    """

    kind: str
    stream: str = "*"
    count: int = 1
    until_ns: int = 0
    delay_ns: int = 0
    held: Message | None = field(default=None, repr=False)


class FaultLine:
    """Every message passes through here on its way out, in order unless a fault says otherwise."""

    def __init__(self) -> None:
        self._faults: list[Fault] = []
        self._late: deque[tuple[int, Message]] = deque()
        self.hits = dict.fromkeys(KINDS, 0)

    def add(self, fault: Fault) -> None:
        if fault.kind not in KINDS:
            raise ValueError(f"kind: {fault.kind!r} is none of {', '.join(KINDS)}")
        self._faults.append(fault)

    def clear(self) -> list[Message]:
        """End all faults; what was held back comes out now."""
        out = [fault.held for fault in self._faults if fault.held is not None]
        out += [message for _, message in self._late]
        self._faults.clear()
        self._late.clear()
        return out

    def due(self, now_ns: int) -> Iterator[Message]:
        """Late messages whose time has come, and the end of faults whose time is over."""
        while self._late and self._late[0][0] <= now_ns:
            yield self._late.popleft()[1]
        if self._faults:
            self._faults = [
                fault
                for fault in self._faults
                if (fault.count > 0 or fault.held is not None)
                if fault.kind in COUNTED or now_ns < fault.until_ns
            ]

    def through(self, message: Message, now_ns: int) -> list[Message]:
        """What leaves when ``message`` comes: it, nothing, it twice, or it and one held back before."""
        if not self._faults and not self._late:
            return [message]
        for fault in self._faults:
            if not fnmatchcase(message[0], fault.stream):
                continue
            if fault.held is not None:
                held, fault.held = fault.held, None
                return [message, held]
            if fault.kind in COUNTED:
                if fault.count <= 0:
                    continue
                fault.count -= 1
                self.hits[fault.kind] += 1
                if fault.kind == "drop":
                    return []
                if fault.kind == "garbage":
                    stream, payload = message
                    return [(stream, payload[: len(payload) // 2] + b"?" * (1 + len(payload) % 7))]
                if fault.kind == "noise":
                    noise = NOISE[self.hits["noise"] % len(NOISE)]
                    return [(message[0], noise), message]
                if fault.kind == "duplicate":
                    return [message, message]
                fault.held = message
                return []
            if now_ns < fault.until_ns:
                self.hits[fault.kind] += 1
                if fault.kind == "delay":
                    self._late.append((now_ns + fault.delay_ns, message))
                return []
        # A stream that was late stays in order until its queue has run dry.
        if any(late[0] == message[0] for _, late in self._late):
            self._late.append((self._late[-1][0], message))
            return []
        return [message]
