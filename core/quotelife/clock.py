"""Time is handed in. Nothing in the core asks the machine what time it is."""

from typing import Protocol


class Clock(Protocol):
    """Anything that tells UTC nanoseconds since 1970."""

    def now_ns(self) -> int: ...


class ManualClock:
    """A clock that moves when told to: replay, simulation, tests."""

    def __init__(self, now_ns: int = 0) -> None:
        self._now_ns = now_ns

    def now_ns(self) -> int:
        return self._now_ns

    def advance_ns(self, by_ns: int) -> int:
        """Move forward by ``by_ns`` and return the new time."""
        self._now_ns += by_ns
        return self._now_ns

    def set_ns(self, now_ns: int) -> None:
        """Jump to ``now_ns``; backwards is allowed, as on a real machine."""
        self._now_ns = now_ns
