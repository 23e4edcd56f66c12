"""Exact event windows up to about a second: one bounded ring, several tails. Window W means (t − W, t].

A push writes one slot. The tails are brought to the present when they are read, at the latest every 32 entries: what
they hold then is the same as if each push and each reading had moved them, and entries are gone through one behind the
other, as memory likes it. An entry enters and leaves each tail at most once: amortised O(1) whatever the window length.
A ring begins with 64 slots and doubles when the longest window needs more, up to its capacity. When all of that is full
the oldest entry is given up; every tail that still held it is incomplete until the moment at which the entry would have
left by itself.
"""

from libc.stdint cimport int16_t, int32_t, int64_t
from libc.stdlib cimport calloc, free
from libc.string cimport memcpy, memset

cdef int64_t NEVER = -(<int64_t>1 << 62)


cdef size_t ring_bytes(int32_t capacity, int values) noexcept nogil:
    return <size_t>capacity * (1 + values) * sizeof(int64_t)


cdef void ring_init(RingWindow* self, void* memory, int32_t capacity, int values,
                    const int64_t* windows_ns, int tails) noexcept nogil:
    cdef int k
    memset(self, 0, sizeof(RingWindow))
    self.slots = <int64_t*>memory
    self.capacity = capacity
    self.mask = min(capacity, <int32_t>RING_SLOTS_MIN) - 1
    self.stride = <int16_t>(1 + values)
    self.tails = <int16_t>tails
    for k in range(tails):
        self.tail[k].window_ns = windows_ns[k]
    self.now_ns = NEVER
    ring_reset(self)


cdef void ring_reset(RingWindow* self) noexcept nogil:
    cdef int k
    self.head = 0
    for k in range(self.tails):
        self.tail[k].first = 0
        self.tail[k].whole_at_ns = NEVER
        self.tail[k].has_before = False
        memset(self.tail[k].sum, 0, sizeof(self.tail[k].sum))
    settled(self)


cdef inline void settled(RingWindow* self) noexcept nogil:
    self.settled = self.head
    self.settled_ns = self.now_ns
    self.settle_at = min(self.head + <int64_t>RING_LAZY, self.tail[self.tails - 1].first + self.mask + 1)


cdef inline void add(int64_t* sum, const int64_t* value, int stride) noexcept nogil:
    sum[0] += value[0]
    if stride > 2:
        sum[1] += value[1]
        if stride > 3:
            sum[2] += value[2]
            if stride > 4:
                sum[3] += value[3]
                if stride > 5:
                    sum[4] += value[4]
                    sum[5] += value[5]
                    sum[6] += value[6]


cdef inline void subtract(int64_t* sum, const int64_t* value, int stride) noexcept nogil:
    sum[0] -= value[0]
    if stride > 2:
        sum[1] -= value[1]
        if stride > 3:
            sum[2] -= value[2]
            if stride > 4:
                sum[3] -= value[3]
                if stride > 5:
                    sum[4] -= value[4]
                    sum[5] -= value[5]
                    sum[6] -= value[6]


cdef inline const int64_t* slot_of(const RingWindow* self, int64_t serial) noexcept nogil:
    return self.slots + (serial & self.mask) * self.stride


cdef void ring_settle(RingWindow* self) noexcept nogil:
    cdef int k
    cdef int64_t out, first, head = self.head, known = self.settled
    cdef RingTail* tail
    cdef const int64_t* slot
    for k in range(self.tails):
        tail = &self.tail[k]
        out = self.now_ns - tail.window_ns
        first = tail.first
        while first < head:
            slot = slot_of(self, first)
            if slot[0] > out:
                break
            if first < known:          # else it has come and gone since, and was never counted
                subtract(tail.sum, slot + 1, self.stride)
            first += 1
        if first > tail.first:
            ring_copy(tail.before, slot_of(self, first - 1) + 1, self.stride)
            tail.has_before = True
            tail.first = first
        for first in range(max(first, known), head):
            add(tail.sum, slot_of(self, first) + 1, self.stride)
    settled(self)


cdef void ring_make_room(RingWindow* self) noexcept nogil:
    cdef int k
    cdef int64_t serial
    cdef int64_t* slot
    cdef RingTail* tail = &self.tail[self.tails - 1]
    ring_settle(self)
    if self.head - tail.first > self.mask and self.mask + 1 < self.capacity:
        # Twice the slots: what stands in the upper half now goes there.
        self.mask = 2 * self.mask + 1
        for serial in range(tail.first, self.head):
            slot = self.slots + (serial & (self.mask >> 1)) * self.stride
            if serial & (self.mask + 1) >> 1:
                memcpy(slot + ((self.mask + 1) >> 1) * self.stride, slot, self.stride * sizeof(int64_t))
    elif self.head - tail.first > self.mask:
        slot = self.slots + (self.head & self.mask) * self.stride
        for k in range(self.tails):
            tail = &self.tail[k]
            if self.head - tail.first > self.mask:
                tail.whole_at_ns = slot[0] + tail.window_ns
                subtract(tail.sum, slot + 1, self.stride)
                ring_copy(tail.before, slot + 1, self.stride)
                tail.has_before = True
                tail.first += 1
    settled(self)


cdef class Ring:
    """Python view of one ring, for tests and tools.

    ``capacity`` is a power of two, ``windows_ns`` up to three ascending lengths, ``values`` one to four integers
    an entry, or seven. Raises ``ValueError`` naming the argument that is wrong.
    """

    def __cinit__(self, int capacity, windows_ns, int values=1):
        cdef int64_t windows[RING_TAILS]
        cdef int k
        if capacity < 1 or capacity & (capacity - 1):
            raise ValueError("capacity must be a power of two")
        if values not in (1, 2, 3, 4, RING_VALUES):
            raise ValueError(f"values must be 1 to 4, or {RING_VALUES}")
        if not 1 <= len(windows_ns) <= RING_TAILS or list(windows_ns) != sorted(windows_ns) or windows_ns[0] <= 0:
            raise ValueError(f"windows_ns must be 1 to {RING_TAILS} positive lengths, ascending")
        for k in range(len(windows_ns)):
            windows[k] = windows_ns[k]
        self.values = values
        self.memory = calloc(1, ring_bytes(capacity, values))
        if self.memory == NULL:
            raise MemoryError()
        ring_init(&self.c, self.memory, capacity, values, windows, len(windows_ns))

    def __dealloc__(self):
        free(self.memory)

    cdef int _tail(self, int tail) except -1:
        if not 0 <= tail < self.c.tails:
            raise IndexError("no such tail")
        return tail

    def push(self, int64_t t, *values):
        """An event at ``t`` ns; an earlier time than the last counts as the last."""
        cdef int64_t v[RING_VALUES]
        cdef int k
        if len(values) != self.values:
            raise ValueError(f"this ring holds {self.values} values an entry")
        for k in range(self.values):
            v[k] = values[k]
        ring_push(&self.c, t, v)

    def advance(self, int64_t t):
        ring_advance(&self.c, t)

    def reset(self):
        ring_reset(&self.c)

    def count(self, int tail=0):
        self._tail(tail)
        ring_advance(&self.c, self.c.now_ns)
        return ring_count(&self.c, tail)

    def sums(self, int tail=0):
        """One sum a value, over (t − W, t]."""
        cdef int v
        ring_advance(&self.c, self.c.now_ns)
        return tuple([self.c.tail[self._tail(tail)].sum[v] for v in range(self.values)])

    def before(self, int tail=0):
        """Values of the entry in effect at t − W, ``None`` when there was none."""
        cdef int v
        ring_advance(&self.c, self.c.now_ns)
        if not self.c.tail[self._tail(tail)].has_before:
            return None
        return tuple([self.c.tail[tail].before[v] for v in range(self.values)])

    def whole(self, int tail=0):
        """False while entries that belong to the window have been given up."""
        self._tail(tail)
        ring_advance(&self.c, self.c.now_ns)
        return bool(ring_whole(&self.c, tail))
