# Volume-weighted mean price, volumes by sign and counts over windows (t - W, t], exact: integer prices and
# volumes, 128-bit sum of products.
from libc.stdint cimport int32_t, int64_t

from quotelife.windows.int128 cimport int128_t

cdef enum:
    VWAP_TAILS = 3
    VWAP_LAZY = 32             # trades that may wait to be counted
    VWAP_SLOTS_MIN = 64        # a window begins with so many, or its capacity

cdef struct VwapTail:
    int64_t window_ns
    int64_t first
    int64_t whole_at_ns
    int64_t positive           # volume of entries with a positive sign
    int64_t negative           # volume of the others, counted positive
    int64_t positives          # entries with a positive sign
    int128_t product           # sum of price * volume

# As in ring: what a push touches is one cache line of this and one slot; readers call vwap_advance first.
cdef struct VwapWindow:
    int64_t* slots             # room for capacity x (time, price, signed volume); not owned
    int64_t mask               # slots in use - 1
    int64_t head
    int64_t now_ns
    int64_t last_price
    int64_t settled            # serial number of the first entry that the tails do not know yet
    int64_t settled_ns
    int64_t settle_at          # serial number before whose entry the tails must be brought to the present
    int32_t capacity
    int32_t tails
    VwapTail tail[VWAP_TAILS]

cdef size_t vwap_bytes(int32_t capacity) noexcept nogil
cdef void vwap_init(VwapWindow* self, void* memory, int32_t capacity, const int64_t* windows_ns,
                    int tails) noexcept nogil
cdef void vwap_reset(VwapWindow* self) noexcept nogil
# Brings the tails to now_ns.
cdef void vwap_settle(VwapWindow* self) noexcept nogil
# Settles, and sees to it that there is a slot for one more entry.
cdef void vwap_make_room(VwapWindow* self) noexcept nogil

# To t, or to the present where t lies before it; the tails can be read then.
cdef inline void vwap_advance(VwapWindow* self, int64_t t) noexcept nogil:
    if t > self.now_ns:
        self.now_ns = t
    if self.settled_ns != self.now_ns or self.settled != self.head:
        vwap_settle(self)

# The caller keeps capacity x |signed_volume| below 2^63.
cdef inline void vwap_push(VwapWindow* self, int64_t t, int64_t price, int64_t signed_volume) noexcept nogil:
    cdef int64_t* slot
    if t > self.now_ns:
        self.now_ns = t
    if self.head >= self.settle_at:
        vwap_make_room(self)
    slot = self.slots + (self.head & self.mask) * 3
    slot[0] = self.now_ns
    slot[1] = price
    slot[2] = signed_volume
    self.last_price = price
    self.head += 1

# Last price / mean price - 1; call only with volume in the window.
cdef double vwap_deviation(const VwapWindow* self, int tail) noexcept nogil

cdef inline int64_t vwap_count(const VwapWindow* self, int tail) noexcept nogil:
    return self.head - self.tail[tail].first

cdef inline int64_t vwap_volume(const VwapWindow* self, int tail) noexcept nogil:
    return self.tail[tail].positive + self.tail[tail].negative

cdef inline bint vwap_whole(const VwapWindow* self, int tail) noexcept nogil:
    return self.now_ns >= self.tail[tail].whole_at_ns


cdef class Vwap:
    cdef VwapWindow c
    cdef void* memory
    cdef int _tail(self, int tail) except -1
