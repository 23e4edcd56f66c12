# Exponentially weighted time mean of a piecewise constant process: integral of x(u) e^(-(t-u)/W) du over its weight.
from libc.stdint cimport int64_t

cdef struct EwmaMean:
    double window_s
    double area                # as of last_ns, in units of x times seconds
    double weight
    double value               # holds since last_ns
    int64_t last_ns
    int64_t start_ns
    bint started

cdef void ewma_mean_init(EwmaMean* self, int64_t window_ns) noexcept nogil
# From t on the process has this value.
cdef void ewma_mean_set(EwmaMean* self, int64_t t, double value) noexcept nogil
# At t; the value itself while no time has passed, 0.0 before the first one.
cdef double ewma_mean_at(const EwmaMean* self, int64_t t) noexcept nogil


cdef class EwmaMeanWindow:
    cdef EwmaMean c
