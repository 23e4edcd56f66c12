"""The service's clock: UTC by an anchor taken once, moved on by the monotonic clock."""

import time

from quotelife.units import NS_PER_US

READINGS_MAX = 5
READING_SPAN_NS_MAX = 20 * NS_PER_US


class SystemClock:
    """UTC nanoseconds that never step.

    The wall clock is read once, when the clock is made; from then on only the monotonic clock counts, so that
    an administrator, a leap second or a virtual machine's host moving the wall clock moves neither engine
    time nor the end of a quote. How far the wall clock has gone away since is measured by
    ``measure_wall_offset_ns``; beyond ``offset_limit_ns`` the clock is not ``synchronised`` and absolute
    instants must not be sent to a venue.
    """

    def __init__(self, offset_limit_ns: int) -> None:
        self.offset_limit_ns = offset_limit_ns
        self.wall_offset_ns = 0
        self._base_ns = 0
        self._base_ns = self._read_offset_ns()

    def now_ns(self) -> int:
        return self._base_ns + time.monotonic_ns()

    @property
    def synchronised(self) -> bool:
        return abs(self.wall_offset_ns) <= self.offset_limit_ns

    def measure_wall_offset_ns(self) -> int:
        """Read both clocks; returns wall clock minus this clock and keeps it in ``wall_offset_ns``."""
        self.wall_offset_ns = self._read_offset_ns() - self._base_ns
        return self.wall_offset_ns

    def _read_offset_ns(self) -> int:
        """Wall minus monotonic. A reading that was interrupted is taken again, the tightest one counts."""
        best_span_ns, best_offset_ns = -1, 0
        for _ in range(READINGS_MAX):
            before_ns = time.monotonic_ns()
            wall_ns = time.time_ns()
            after_ns = time.monotonic_ns()
            span_ns = after_ns - before_ns
            if best_span_ns < 0 or span_ns < best_span_ns:
                best_span_ns, best_offset_ns = span_ns, wall_ns - (before_ns + after_ns) // 2
            if span_ns <= READING_SPAN_NS_MAX:
                break
        return best_offset_ns
