# How long something took, counted by bounds.
from libc.stdint cimport int64_t, uint64_t

cdef enum:
    BOUNDS_MAX = 32


cdef class Latencies:
    cdef readonly tuple bounds_ns
    cdef readonly int64_t sum_ns
    cdef int64_t _bounds[BOUNDS_MAX]
    cdef uint64_t _counts[BOUNDS_MAX + 1]
    cdef int _n

    cpdef int observe(self, int64_t latency_ns) except -1
