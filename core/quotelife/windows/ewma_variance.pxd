# Event-driven exponentially weighted variance a second: S <- S e^(-dt/W) + r^2, rate S / (W (1 - e^(-T/W))),
# T the time observed. The denominator removes the bias of a short history.
from libc.stdint cimport int64_t

cdef struct EwmaVariance:
    double window_s
    double sum                 # S as of last_ns
    int64_t last_ns
    int64_t start_ns           # moved forward by time that was not observed
    int64_t rated_ns           # the rate was last asked at, with its answer: a decision asks three times;
    double rated               # INT64_MIN: not since the last change
    bint started

cdef void ewma_variance_init(EwmaVariance* self, int64_t window_ns) noexcept nogil
cdef void ewma_variance_start(EwmaVariance* self, int64_t t) noexcept nogil
cdef void ewma_variance_add(EwmaVariance* self, int64_t t, double r) noexcept nogil
# The time from gap_ns to t was not observed: it neither decays S nor counts as history.
cdef void ewma_variance_skip(EwmaVariance* self, int64_t gap_ns, int64_t t) noexcept nogil
# r^2 a second at t, 0.0 before any history.
cdef double ewma_variance_rate(EwmaVariance* self, int64_t t) noexcept nogil

cdef inline int64_t ewma_variance_observed_ns(const EwmaVariance* self, int64_t t) noexcept nogil:
    return t - self.start_ns if self.started and t > self.start_ns else 0


cdef class EwmaVarianceWindow:
    cdef EwmaVariance c
