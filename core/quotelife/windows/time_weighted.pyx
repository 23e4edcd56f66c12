"""Time-weighted moments of a piecewise constant integer process over (t − W, t], with nothing rounded.

With D = covered time, A = ∫ v dt and Q = ∫ v² dt, the population variance is (Q·D − A²)/D²: 128-bit integers up
to the last division. Values are held below 2²⁷ in magnitude, so that Q·D and A² stay below 2¹²⁶ for W ≤ 60 s.
"""

from libc.stdint cimport INT64_MAX, int32_t, int64_t
from libc.stdlib cimport calloc, free
from libc.string cimport memcpy

cdef int64_t NEVER = -(<int64_t>1 << 62)
cdef int64_t LARGEST = (<int64_t>1 << 27) - 1


cdef size_t time_weighted_bytes(int32_t capacity) noexcept nogil:
    return <size_t>capacity * 2 * sizeof(int64_t)


cdef void time_weighted_init(TimeWeighted* self, void* memory, int32_t capacity, int64_t window_ns) noexcept nogil:
    self.slots = <int64_t*>memory
    self.capacity = capacity
    self.mask = min(capacity, <int32_t>TIME_WEIGHTED_SLOTS_MIN) - 1
    self.window_ns = window_ns
    self.now_ns = NEVER
    time_weighted_reset(self)


cdef void time_weighted_reset(TimeWeighted* self) noexcept nogil:
    self.head = 0
    self.first = 0
    self.next_ns = INT64_MAX
    self.whole_at_ns = NEVER
    self.area = 0
    self.area2 = 0


cdef inline const int64_t* slot_of(const TimeWeighted* self, int64_t serial) noexcept nogil:
    return self.slots + (serial & self.mask) * 2


cdef inline void drop(TimeWeighted* self) noexcept nogil:
    # The oldest segment, which has ended, leaves.
    cdef int128_t part = <int128_t>self.first_value * (self.next_ns - self.first_ns)
    self.area -= part
    self.area2 -= part * self.first_value
    self.first += 1
    self.first_ns = self.next_ns
    self.first_value = slot_of(self, self.first)[1]
    self.next_ns = slot_of(self, self.first + 1)[0] if self.first + 1 < self.head else INT64_MAX


cdef int64_t time_weighted_advance(TimeWeighted* self, int64_t t) noexcept nogil:
    cdef int64_t covered
    if t > self.now_ns:
        self.now_ns = t
        while self.next_ns <= t - self.window_ns:
            drop(self)
    if self.head == self.first:
        return 0
    covered = self.now_ns - self.first_ns
    return covered if covered < self.window_ns else self.window_ns


cdef void make_room(TimeWeighted* self) noexcept nogil:
    # Of a window without a slot for one more.
    cdef int64_t serial
    cdef int64_t* slot
    if self.mask + 1 < self.capacity:
        self.mask = 2 * self.mask + 1          # what stands in the upper half now goes there
        for serial in range(self.first, self.head):
            slot = self.slots + (serial & (self.mask >> 1)) * 2
            if serial & (self.mask + 1) >> 1:
                memcpy(slot + ((self.mask + 1) >> 1) * 2, slot, 2 * sizeof(int64_t))
    else:
        # Until the second entry's time has left, the window lacks what came before it.
        self.whole_at_ns = self.next_ns + self.window_ns
        drop(self)


cdef void time_weighted_set(TimeWeighted* self, int64_t t, int64_t value) noexcept nogil:
    cdef int64_t* slot
    cdef int128_t part
    time_weighted_advance(self, t)
    if value > LARGEST:
        value = LARGEST
    elif value < -LARGEST:
        value = -LARGEST
    if self.head > self.first:
        if self.last_value == value:
            return
        if self.head - self.first > self.mask:
            make_room(self)
        part = <int128_t>self.last_value * (self.now_ns - self.last_ns)
        self.area += part
        self.area2 += part * self.last_value
        if self.head - self.first == 1:
            self.next_ns = self.now_ns
    else:
        self.first_ns = self.now_ns
        self.first_value = value
    slot = self.slots + (self.head & self.mask) * 2
    slot[0] = self.last_ns = self.now_ns
    slot[1] = self.last_value = value
    self.head += 1


cdef int64_t moments(const TimeWeighted* self, int128_t* area, int128_t* area2) noexcept nogil:
    # Covered time; the ended segments, plus the running one, less what of the oldest lies before t - W.
    cdef int64_t out, from_ns
    cdef int128_t part
    area[0] = self.area
    area2[0] = self.area2
    if self.head == self.first:
        return 0
    part = <int128_t>self.last_value * (self.now_ns - self.last_ns)
    area[0] += part
    area2[0] += part * self.last_value
    from_ns = self.first_ns
    out = self.now_ns - self.window_ns
    if from_ns < out:
        part = <int128_t>self.first_value * (out - from_ns)
        area[0] -= part
        area2[0] -= part * self.first_value
        from_ns = out
    return self.now_ns - from_ns


cdef double time_weighted_mean(const TimeWeighted* self) noexcept nogil:
    cdef int128_t area, area2
    cdef int64_t covered = moments(self, &area, &area2)
    return <double>area / <double>covered if covered > 0 else 0.0


cdef double time_weighted_variance(const TimeWeighted* self) noexcept nogil:
    cdef int128_t area, area2
    cdef int64_t covered
    if self.head - self.first <= 1:
        return 0.0
    covered = moments(self, &area, &area2)
    if covered <= 0:
        return 0.0
    return <double>(area2 * covered - area * area) / (<double>covered * <double>covered)


cdef class TimeWeightedWindow:
    """Python view, for tests and tools. ``capacity`` (a power of two) bounds the changes kept."""

    def __cinit__(self, int capacity, int64_t window_ns):
        if capacity < 2 or capacity & (capacity - 1):
            raise ValueError("capacity must be a power of two, at least 2")
        if not 0 < window_ns <= 60_000_000_000:
            raise ValueError("window_ns must be above 0 and at most 60 s")
        self.memory = calloc(1, time_weighted_bytes(capacity))
        if self.memory == NULL:
            raise MemoryError()
        time_weighted_init(&self.c, self.memory, capacity, window_ns)

    def __dealloc__(self):
        free(self.memory)

    def set(self, int64_t t, int64_t value):
        """From ``t`` ns on the process has this value."""
        time_weighted_set(&self.c, t, value)

    def advance(self, int64_t t):
        """Move to ``t``; returns the covered part of the window in ns."""
        return time_weighted_advance(&self.c, t)

    def reset(self):
        time_weighted_reset(&self.c)

    @property
    def mean(self):
        return time_weighted_mean(&self.c)

    @property
    def variance(self):
        """Time-weighted population variance over the covered part of (t − W, t]."""
        return time_weighted_variance(&self.c)

    @property
    def whole(self):
        """False while changes that belong to the window have been given up."""
        return bool(time_weighted_whole(&self.c))
