"""The service's clock: UTC by an anchor taken once, moved on by a clock that never steps."""

import time
from collections.abc import Callable

from quotelife.units import NS_PER_US

READINGS_MAX = 5
READING_SPAN_NS_MAX = 20 * NS_PER_US


def steady_ns() -> int:
    """Nanoseconds since boot. They go on while the machine is suspended, where the system can tell: a book from
    before a sleep is old, not fresh."""
    return time.clock_gettime_ns(_STEADY)


_STEADY = getattr(time, "CLOCK_BOOTTIME", time.CLOCK_MONOTONIC)


class SystemClock:
    """UTC nanoseconds that never step.

    The wall clock is read once, when the clock is made; from then on only the steady clock counts, so that
    an administrator, a leap second or a virtual machine's host moving the wall clock moves neither engine
    time nor the end of a quote. How far the wall clock has gone away since is measured by
    ``measure_wall_offset_ns``; beyond ``offset_limit_ns`` the clock is not ``synchronised`` and absolute
    instants must not be sent to a venue, until the wall clock has come back to half of that.
    """

    def __init__(
        self,
        offset_limit_ns: int,
        *,
        wall_ns: Callable[[], int] = time.time_ns,
        steady_ns: Callable[[], int] = steady_ns,
    ) -> None:
        self.offset_limit_ns = offset_limit_ns
        self.wall_offset_ns = 0
        self.synchronised = True
        self._wall_ns = wall_ns
        self._steady_ns = steady_ns
        self._base_ns = 0
        self._base_ns = self._read_offset_ns()

    def now_ns(self) -> int:
        return self._base_ns + self._steady_ns()

    def measure_wall_offset_ns(self) -> int:
        """Read both clocks; returns wall clock minus this clock, keeps it in ``wall_offset_ns`` and judges it."""
        self.wall_offset_ns = self._read_offset_ns() - self._base_ns
        limit_ns = self.offset_limit_ns if self.synchronised else self.offset_limit_ns // 2
        self.synchronised = abs(self.wall_offset_ns) <= limit_ns
        return self.wall_offset_ns

    def _read_offset_ns(self) -> int:
        """Wall minus steady. A reading that was interrupted is taken again, the tightest one counts."""
        best_span_ns, best_offset_ns = -1, 0
        for _ in range(READINGS_MAX):
            before_ns = self._steady_ns()
            wall_ns = self._wall_ns()
            after_ns = self._steady_ns()
            span_ns = after_ns - before_ns
            if best_span_ns < 0 or span_ns < best_span_ns:
                best_span_ns, best_offset_ns = span_ns, wall_ns - (before_ns + after_ns) // 2
            if span_ns <= READING_SPAN_NS_MAX:
                break
        return best_offset_ns
