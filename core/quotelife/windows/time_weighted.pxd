# Time-weighted mean and population variance of a piecewise constant integer process over (t - W, t], exact.
from libc.stdint cimport int32_t, int64_t

from quotelife.windows.int128 cimport int128_t

cdef enum:
    TIME_WEIGHTED_SLOTS_MIN = 64   # a window begins with so many, or its capacity

cdef struct TimeWeighted:
    int64_t* slots             # room for capacity x (time from which the value holds, value); not owned
    int64_t mask               # slots in use - 1
    int64_t head               # serial number of the next entry
    int64_t first              # serial number of the entry in effect at t - W (or the first one there is)
    int64_t now_ns
    int64_t window_ns
    int64_t next_ns            # time of the entry behind the first; INT64_MAX: there is none
    int64_t whole_at_ns        # entries were overwritten early: incomplete before this time
    int64_t first_ns           # the first entry and the last, so that a reading touches no slot
    int64_t first_value
    int64_t last_ns
    int64_t last_value
    int128_t area              # sum of value * duration over the ended segments first .. head - 2
    int128_t area2             # sum of value^2 * duration over the same
    int64_t capacity

cdef size_t time_weighted_bytes(int32_t capacity) noexcept nogil
cdef void time_weighted_init(TimeWeighted* self, void* memory, int32_t capacity, int64_t window_ns) noexcept nogil
cdef void time_weighted_reset(TimeWeighted* self) noexcept nogil
# From t on the process has this value; |value| is held below 2^27.
cdef void time_weighted_set(TimeWeighted* self, int64_t t, int64_t value) noexcept nogil
# Moves to t; the part of the window that is covered, in ns.
cdef int64_t time_weighted_advance(TimeWeighted* self, int64_t t) noexcept nogil
# At now_ns. 0.0 while nothing is covered.
cdef double time_weighted_mean(const TimeWeighted* self) noexcept nogil
cdef double time_weighted_variance(const TimeWeighted* self) noexcept nogil

cdef inline bint time_weighted_whole(const TimeWeighted* self) noexcept nogil:
    return self.now_ns >= self.whole_at_ns


cdef class TimeWeightedWindow:
    cdef TimeWeighted c
    cdef void* memory
