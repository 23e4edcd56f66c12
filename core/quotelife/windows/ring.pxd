# One bounded ring of (time, integer values) with several tails: exact counts and sums over windows (t - W, t],
# and the entry in effect at t - W. Integers only, so nothing drifts and a read never changes a later answer.
from libc.stdint cimport int32_t, int64_t

cdef enum:
    RING_TAILS = 3
    RING_VALUES = 7

cdef struct RingTail:
    int64_t window_ns
    int64_t first              # serial number of the oldest entry inside
    int64_t whole_at_ns        # entries were overwritten early: incomplete before this time
    int64_t sum[RING_VALUES]   # over the entries inside
    int64_t before[RING_VALUES]  # values of the last entry that left: in effect at t - W
    bint has_before

cdef struct RingWindow:
    int64_t* slots             # capacity x (1 + values); not owned
    int64_t mask               # capacity - 1
    int64_t head               # serial number of the next entry
    int64_t now_ns
    int32_t stride             # 1 + values
    int32_t tails
    RingTail tail[RING_TAILS]

cdef size_t ring_bytes(int32_t capacity, int values) noexcept nogil
# capacity: a power of two; memory: ring_bytes() long; windows_ns ascending.
cdef void ring_init(RingWindow* self, void* memory, int32_t capacity, int values,
                    const int64_t* windows_ns, int tails) noexcept nogil
cdef void ring_reset(RingWindow* self) noexcept nogil
cdef void ring_advance(RingWindow* self, int64_t t) noexcept nogil
# The caller keeps capacity x |value| below 2^63.
cdef void ring_push(RingWindow* self, int64_t t, const int64_t* value) noexcept nogil

cdef inline int64_t ring_count(const RingWindow* self, int tail) noexcept nogil:
    return self.head - self.tail[tail].first

cdef inline bint ring_whole(const RingWindow* self, int tail) noexcept nogil:
    return self.now_ns >= self.tail[tail].whole_at_ns


cdef class Ring:
    cdef RingWindow c
    cdef void* memory
    cdef int values
    cdef int _tail(self, int tail) except -1
