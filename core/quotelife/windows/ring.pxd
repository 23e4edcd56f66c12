# One bounded ring of (time, integer values) with several tails: exact counts and sums over windows (t - W, t],
# and the entry in effect at t - W. Integers only, so nothing drifts and a read never changes a later answer.
from libc.stdint cimport int16_t, int32_t, int64_t

cdef enum:
    RING_TAILS = 3
    RING_VALUES = 7
    RING_LAZY = 32             # entries that may wait to be counted
    RING_SLOTS_MIN = 64        # a ring begins with so many, or its capacity

cdef struct RingTail:
    int64_t window_ns
    int64_t first              # serial number of the oldest entry inside
    int64_t whole_at_ns        # entries were overwritten early: incomplete before this time
    int64_t sum[RING_VALUES]   # over the entries inside
    int64_t before[RING_VALUES]  # values of the last entry that left: in effect at t - W
    bint has_before

# What a push touches is one cache line of this and one slot. Tails stand as of settled and settled_ns; readers bring
# them to the present with ring_advance.
cdef struct RingWindow:
    int64_t* slots             # room for capacity x (1 + values); not owned
    int64_t mask               # slots in use - 1
    int64_t head               # serial number of the next entry
    int64_t now_ns
    int64_t settled            # serial number of the first entry that the tails do not know yet
    int64_t settled_ns
    int64_t settle_at          # serial number before whose entry the tails must be brought to the present
    int32_t capacity
    int16_t stride             # 1 + values
    int16_t tails
    RingTail tail[RING_TAILS]

cdef size_t ring_bytes(int32_t capacity, int values) noexcept nogil
# capacity: a power of two; memory: ring_bytes() long; windows_ns ascending.
cdef void ring_init(RingWindow* self, void* memory, int32_t capacity, int values,
                    const int64_t* windows_ns, int tails) noexcept nogil
cdef void ring_reset(RingWindow* self) noexcept nogil
# Brings the tails to now_ns.
cdef void ring_settle(RingWindow* self) noexcept nogil
# Settles, and sees to it that there is a slot for one more entry.
cdef void ring_make_room(RingWindow* self) noexcept nogil

# Time has come to t; the tails follow when somebody reads them.
cdef inline void ring_pass(RingWindow* self, int64_t t) noexcept nogil:
    if t > self.now_ns:
        self.now_ns = t

# To t, or to the present where t lies before it; the tails can be read then.
cdef inline void ring_advance(RingWindow* self, int64_t t) noexcept nogil:
    ring_pass(self, t)
    if self.settled_ns != self.now_ns or self.settled != self.head:
        ring_settle(self)

# The loops over the one to seven values are written out: a compiler's vector loop costs more than it saves here. More
# than four are seven.
cdef inline void ring_copy(int64_t* to, const int64_t* value, int stride) noexcept nogil:
    to[0] = value[0]
    if stride > 2:
        to[1] = value[1]
        if stride > 3:
            to[2] = value[2]
            if stride > 4:
                to[3] = value[3]
                if stride > 5:
                    to[4] = value[4]
                    to[5] = value[5]
                    to[6] = value[6]

# The caller keeps capacity x |value| below 2^63.
cdef inline void ring_push(RingWindow* self, int64_t t, const int64_t* value) noexcept nogil:
    cdef int64_t* slot
    ring_pass(self, t)
    if self.head >= self.settle_at:
        ring_make_room(self)
    slot = self.slots + (self.head & self.mask) * self.stride
    slot[0] = self.now_ns
    ring_copy(slot + 1, value, self.stride)
    self.head += 1

# At now_ns, settled or not: have n entries come within the window? n: at most RING_SLOTS_MIN and the capacity.
cdef inline bint ring_holds(const RingWindow* self, int64_t window_ns, int64_t n) noexcept nogil:
    return (self.head >= n
            and self.slots[((self.head - n) & self.mask) * self.stride] > self.now_ns - window_ns)

# Of a ring that was advanced.
cdef inline int64_t ring_count(const RingWindow* self, int tail) noexcept nogil:
    return self.head - self.tail[tail].first

cdef inline bint ring_whole(const RingWindow* self, int tail) noexcept nogil:
    return self.now_ns >= self.tail[tail].whole_at_ns


cdef class Ring:
    cdef RingWindow c
    cdef void* memory
    cdef int values
    cdef int _tail(self, int tail) except -1
