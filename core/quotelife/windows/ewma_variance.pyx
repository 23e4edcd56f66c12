"""Exponentially weighted realised variance of irregular events: S ← S·e^(−Δt/W) + r², rate S/(W(1 − e^(−T/W))).

The state changes only when an event comes; reading decays a copy, so how often it is read never shows. Floats
do not drift: every term is positive and decays away.
"""

from libc.math cimport exp, expm1
from libc.stdint cimport INT64_MIN, int64_t


cdef void ewma_variance_init(EwmaVariance* self, int64_t window_ns) noexcept nogil:
    self.window_s = window_ns * 1e-9
    self.sum = 0.0
    self.last_ns = 0
    self.start_ns = 0
    self.started = False
    self.rated_ns = INT64_MIN


cdef void ewma_variance_start(EwmaVariance* self, int64_t t) noexcept nogil:
    self.started = True
    self.sum = 0.0
    self.last_ns = t
    self.start_ns = t
    self.rated_ns = INT64_MIN


cdef inline double decayed(const EwmaVariance* self, int64_t t) noexcept nogil:
    if t <= self.last_ns or self.sum == 0.0:
        return self.sum
    return self.sum * exp((self.last_ns - t) * 1e-9 / self.window_s)


cdef void ewma_variance_add(EwmaVariance* self, int64_t t, double r) noexcept nogil:
    if not self.started:
        ewma_variance_start(self, t)
    self.sum = decayed(self, t) + r * r
    if t > self.last_ns:
        self.last_ns = t
    self.rated_ns = INT64_MIN


cdef void ewma_variance_skip(EwmaVariance* self, int64_t gap_ns, int64_t t) noexcept nogil:
    if not self.started:
        return
    if gap_ns < self.last_ns:
        gap_ns = self.last_ns
    if t <= gap_ns:
        return
    # The same age at t as there was at the gap: shift, rather than decay and round.
    self.start_ns += t - gap_ns
    self.last_ns += t - gap_ns
    self.rated_ns = INT64_MIN


cdef double ewma_variance_rate(EwmaVariance* self, int64_t t) noexcept nogil:
    cdef double age
    if t == self.rated_ns:
        return self.rated
    age = ewma_variance_observed_ns(self, t) * 1e-9 / self.window_s
    self.rated_ns = t
    if age <= 0.0:
        self.rated = 0.0
    elif age > 40.0:
        self.rated = decayed(self, t) / self.window_s       # 1 - e^-40 is 1 in a double
    else:
        self.rated = decayed(self, t) / (self.window_s * -expm1(-age))    # a young history does not cancel
    return self.rated


cdef class EwmaVarianceWindow:
    """Python view, for tests and tools."""

    def __cinit__(self, int64_t window_ns):
        if window_ns <= 0:
            raise ValueError("window_ns must be above 0")
        ewma_variance_init(&self.c, window_ns)

    def start(self, int64_t t):
        """Observation starts at ``t`` ns with no history."""
        ewma_variance_start(&self.c, t)

    def add(self, int64_t t, double r):
        ewma_variance_add(&self.c, t, r)

    def skip(self, int64_t gap_ns, int64_t t):
        """Nothing was observed between ``gap_ns`` and ``t``."""
        ewma_variance_skip(&self.c, gap_ns, t)

    def rate(self, int64_t t):
        """Variance a second at ``t``."""
        return ewma_variance_rate(&self.c, t)
