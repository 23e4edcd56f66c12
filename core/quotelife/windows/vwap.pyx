"""Volume-weighted mean price and signed volumes over (t − W, t]: integers, amortised O(1) an event.

The sum of price × volume is kept in 128 bits, so no reference price is subtracted and nothing is recomputed.
Laziness, growth and overflow as in ``ring``.
"""

from libc.stdint cimport int32_t, int64_t
from libc.stdlib cimport calloc, free
from libc.string cimport memcpy, memset

cdef int64_t NEVER = -(<int64_t>1 << 62)


cdef size_t vwap_bytes(int32_t capacity) noexcept nogil:
    return <size_t>capacity * 3 * sizeof(int64_t)


cdef void vwap_init(VwapWindow* self, void* memory, int32_t capacity, const int64_t* windows_ns,
                    int tails) noexcept nogil:
    cdef int k
    memset(self, 0, sizeof(VwapWindow))
    self.slots = <int64_t*>memory
    self.capacity = capacity
    self.mask = min(capacity, <int32_t>VWAP_SLOTS_MIN) - 1
    self.tails = tails
    for k in range(tails):
        self.tail[k].window_ns = windows_ns[k]
    self.now_ns = NEVER
    vwap_reset(self)


cdef void vwap_reset(VwapWindow* self) noexcept nogil:
    cdef int k
    cdef int64_t window_ns
    self.head = 0
    self.last_price = 0
    for k in range(self.tails):
        window_ns = self.tail[k].window_ns
        memset(&self.tail[k], 0, sizeof(VwapTail))
        self.tail[k].window_ns = window_ns
        self.tail[k].whole_at_ns = NEVER
    settled(self)


cdef inline void settled(VwapWindow* self) noexcept nogil:
    self.settled = self.head
    self.settled_ns = self.now_ns
    self.settle_at = min(self.head + <int64_t>VWAP_LAZY, self.tail[self.tails - 1].first + self.mask + 1)


cdef inline void leave(VwapTail* tail, const int64_t* slot) noexcept nogil:
    cdef int64_t volume = slot[2]
    if volume > 0:
        tail.positive -= volume
        tail.positives -= 1
    else:
        volume = -volume
        tail.negative -= volume
    tail.product -= <int128_t>slot[1] * volume


cdef inline void enter(VwapTail* tail, const int64_t* slot) noexcept nogil:
    cdef int64_t volume = slot[2]
    if volume > 0:
        tail.positive += volume
        tail.positives += 1
    else:
        volume = -volume
        tail.negative += volume
    tail.product += <int128_t>slot[1] * volume


cdef void vwap_settle(VwapWindow* self) noexcept nogil:
    cdef int k
    cdef int64_t out, serial, head = self.head, known = self.settled
    cdef VwapTail* tail
    cdef const int64_t* slot
    for k in range(self.tails):
        tail = &self.tail[k]
        out = self.now_ns - tail.window_ns
        while tail.first < head:
            slot = self.slots + (tail.first & self.mask) * 3
            if slot[0] > out:
                break
            if tail.first < known:
                leave(tail, slot)
            tail.first += 1
        for serial in range(max(tail.first, known), head):
            enter(tail, self.slots + (serial & self.mask) * 3)
    settled(self)


cdef void vwap_make_room(VwapWindow* self) noexcept nogil:
    cdef int k
    cdef int64_t serial
    cdef int64_t* slot
    cdef VwapTail* tail = &self.tail[self.tails - 1]
    vwap_settle(self)
    if self.head - tail.first > self.mask and self.mask + 1 < self.capacity:
        self.mask = 2 * self.mask + 1          # as in ring_make_room
        for serial in range(tail.first, self.head):
            slot = self.slots + (serial & (self.mask >> 1)) * 3
            if serial & (self.mask + 1) >> 1:
                memcpy(slot + ((self.mask + 1) >> 1) * 3, slot, 3 * sizeof(int64_t))
    elif self.head - tail.first > self.mask:
        slot = self.slots + (self.head & self.mask) * 3
        for k in range(self.tails):
            tail = &self.tail[k]
            if self.head - tail.first > self.mask:
                tail.whole_at_ns = slot[0] + tail.window_ns
                leave(tail, slot)
                tail.first += 1
    settled(self)


cdef double vwap_deviation(const VwapWindow* self, int tail) noexcept nogil:
    # (last * volume - product) / product: the difference is exact before anything is rounded.
    cdef int128_t product = self.tail[tail].product
    cdef int128_t volume = vwap_volume(self, tail)
    if product == 0:
        return 0.0
    return <double>(self.last_price * volume - product) / <double>product


cdef class Vwap:
    """Python view, for tests and tools. Prices in ticks; a volume's sign says who was the aggressor."""

    def __cinit__(self, int capacity, windows_ns):
        cdef int64_t windows[VWAP_TAILS]
        cdef int k
        if capacity < 1 or capacity & (capacity - 1):
            raise ValueError("capacity must be a power of two")
        if not 1 <= len(windows_ns) <= VWAP_TAILS or list(windows_ns) != sorted(windows_ns) or windows_ns[0] <= 0:
            raise ValueError(f"windows_ns must be 1 to {VWAP_TAILS} positive lengths, ascending")
        for k in range(len(windows_ns)):
            windows[k] = windows_ns[k]
        self.memory = calloc(1, vwap_bytes(capacity))
        if self.memory == NULL:
            raise MemoryError()
        vwap_init(&self.c, self.memory, capacity, windows, len(windows_ns))

    def __dealloc__(self):
        free(self.memory)

    cdef int _tail(self, int tail) except -1:
        if not 0 <= tail < self.c.tails:
            raise IndexError("no such tail")
        return tail

    def push(self, int64_t t, int64_t price, int64_t signed_volume):
        """A trade at ``t`` ns; an earlier time than the last counts as the last."""
        vwap_push(&self.c, t, price, signed_volume)

    def advance(self, int64_t t):
        vwap_advance(&self.c, t)

    def reset(self):
        vwap_reset(&self.c)

    def count(self, int tail=0):
        self._tail(tail)
        vwap_advance(&self.c, self.c.now_ns)
        return vwap_count(&self.c, tail)

    def volumes(self, int tail=0):
        """(positive, negative), both as positive numbers."""
        self._tail(tail)
        vwap_advance(&self.c, self.c.now_ns)
        return self.c.tail[tail].positive, self.c.tail[tail].negative

    def deviation(self, int tail=0):
        """Last price / mean price − 1; ``None`` without volume in the window."""
        self._tail(tail)
        vwap_advance(&self.c, self.c.now_ns)
        return vwap_deviation(&self.c, tail) if vwap_volume(&self.c, tail) > 0 else None

    def whole(self, int tail=0):
        """False while entries that belong to the window have been given up."""
        self._tail(tail)
        vwap_advance(&self.c, self.c.now_ns)
        return bool(vwap_whole(&self.c, tail))
