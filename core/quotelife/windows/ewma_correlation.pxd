# Exponentially weighted second moments of two zero-mean series on a common grid of steps. Steps where both
# are zero only decay, and the decay is applied in closed form at the next step that is not idle: the state does
# not depend on when or how often it is read.
from libc.stdint cimport int64_t

cdef struct EwmaCorrelation:
    double decay               # per step, in the exponent: step / W
    double xx
    double yy
    double xy
    double active              # weight of the steps that were not idle; the newest step weighs 1
    int64_t last_step          # step as of which the sums stand
    bint started

cdef void ewma_correlation_init(EwmaCorrelation* self, double steps) noexcept nogil
cdef void ewma_correlation_add(EwmaCorrelation* self, int64_t step, double x, double y) noexcept nogil
# In [-1, 1]; 0.0 unless ewma_correlation_known().
cdef double ewma_correlation_value(const EwmaCorrelation* self) noexcept nogil
# Effective number of independent, not idle steps at this step: (1 + l) sum of l^age, l = e^(-decay).
cdef double ewma_correlation_n(const EwmaCorrelation* self, int64_t step) noexcept nogil

cdef inline bint ewma_correlation_known(const EwmaCorrelation* self) noexcept nogil:
    return self.xx > 0.0 and self.yy > 0.0


cdef class EwmaCorrelationWindow:
    cdef EwmaCorrelation c
