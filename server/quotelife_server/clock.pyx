"""The service's clock: UTC by an anchor taken once, moved on by a clock that never steps."""

import time

from libc.stdint cimport int64_t
from posix.time cimport CLOCK_MONOTONIC, clock_gettime, timespec

from quotelife.units import NS_PER_US

cdef int READINGS_MAX = 5
cdef int64_t READING_SPAN_NS_MAX = 20 * NS_PER_US
cdef int _STEADY = getattr(time, "CLOCK_BOOTTIME", CLOCK_MONOTONIC)
time.clock_gettime_ns(_STEADY)  # a system that does not have it says so here


cpdef int64_t steady_ns() noexcept:
    """Nanoseconds since boot. They go on while the machine is suspended, where the system can tell: a book from
    before a sleep is old, not fresh."""
    cdef timespec now
    clock_gettime(_STEADY, &now)
    return <int64_t>now.tv_sec * 1_000_000_000 + now.tv_nsec


cdef class SystemClock:
    """UTC nanoseconds that never step.

    The wall clock is read once, when the clock is made; from then on only the steady clock counts, so that
    an administrator, a leap second or a virtual machine's host moving the wall clock moves neither engine
    time nor the end of a quote. How far the wall clock has gone away since is measured by
    ``measure_wall_offset_ns``; beyond ``offset_limit_ns`` the clock is not ``synchronised`` and absolute
    instants must not be sent to a venue, until the wall clock has come back to half of that.
    """

    cdef public int64_t offset_limit_ns
    cdef readonly int64_t wall_offset_ns
    cdef readonly bint synchronised
    cdef public object _wall_ns
    cdef object _steady_ns                  # None: the system's
    cdef public int64_t _base_ns

    def __init__(self, int64_t offset_limit_ns, *, wall_ns=time.time_ns, steady_ns=None):
        self.offset_limit_ns = offset_limit_ns
        self.synchronised = True
        self._wall_ns = wall_ns
        self._steady_ns = steady_ns
        self._base_ns = self._read_offset_ns()

    cpdef int64_t now_ns(self) except? -1:
        return self._base_ns + self._steady()

    cdef int64_t _steady(self) except? -1:
        return steady_ns() if self._steady_ns is None else self._steady_ns()

    def measure_wall_offset_ns(self):
        """Read both clocks; returns wall clock minus this clock, keeps it in ``wall_offset_ns`` and judges it."""
        cdef int64_t limit_ns = self.offset_limit_ns if self.synchronised else self.offset_limit_ns // 2
        self.wall_offset_ns = self._read_offset_ns() - self._base_ns
        self.synchronised = abs(self.wall_offset_ns) <= limit_ns
        return self.wall_offset_ns

    cdef int64_t _read_offset_ns(self) except? -1:
        """Wall minus steady. A reading that was interrupted is taken again, the tightest one counts."""
        cdef int64_t before_ns, wall_ns, after_ns, span_ns
        cdef int64_t best_span_ns = -1, best_offset_ns = 0
        for _ in range(READINGS_MAX):
            before_ns = self._steady()
            wall_ns = self._wall_ns()
            after_ns = self._steady()
            span_ns = after_ns - before_ns
            if best_span_ns < 0 or span_ns < best_span_ns:
                best_span_ns, best_offset_ns = span_ns, wall_ns - (before_ns + after_ns) // 2
            if span_ns <= READING_SPAN_NS_MAX:
                break
        return best_offset_ns
