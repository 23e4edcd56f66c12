"""Markouts under way, by when they are due."""

from libc.stdint cimport INT64_MAX
from libc.stdlib cimport free, realloc

from quotelife.units import NS_PER_MS, NS_PER_S

cdef enum:
    FIRST_ROOM = 64

MARKOUTS_NS = (100 * NS_PER_MS, NS_PER_S, 10 * NS_PER_S, 60 * NS_PER_S)

cdef int _i
for _i in range(MARKOUTS):
    MARKOUT_NS[_i] = MARKOUTS_NS[_i]


cdef bint _before(const Mark* a, const Mark* b) noexcept nogil:
    # A total order, so that equal inputs give equal sums whatever the history of the heap.
    if a.due_ns != b.due_ns:
        return a.due_ns < b.due_ns
    if a.counterparty != b.counterparty:
        return a.counterparty < b.counterparty
    if a.instrument != b.instrument:
        return a.instrument < b.instrument
    if a.markout != b.markout:
        return a.markout < b.markout
    if a.price_ticks != b.price_ticks:
        return a.price_ticks < b.price_ticks
    if a.mid_ticks != b.mid_ticks:
        return a.mid_ticks < b.mid_ticks
    if a.h_ticks != b.h_ticks:
        return a.h_ticks < b.h_ticks
    if a.weight != b.weight:
        return a.weight < b.weight
    return a.side < b.side


cdef class Marks:
    """See ``marks.pxd``."""

    def __cinit__(self):
        self.next_ns = INT64_MAX

    def __dealloc__(self):
        free(self.heap)

    cdef int push(self, const Mark* mark) except -1:
        # 0 where there is no room.
        cdef Mark* grown
        cdef int at = self.open, above
        if self.open == self.room:
            if self.room == MARKS_MAX:
                return 0
            grown = <Mark*>realloc(self.heap, max(<int>FIRST_ROOM, 2 * self.room) * sizeof(Mark))
            if grown == NULL:
                raise MemoryError()
            self.heap = grown
            self.room = max(<int>FIRST_ROOM, 2 * self.room)
        self.open += 1
        while at > 0:
            above = (at - 1) // 2
            if not _before(mark, &self.heap[above]):
                break
            self.heap[at] = self.heap[above]
            at = above
        self.heap[at] = mark[0]
        self.next_ns = self.heap[0].due_ns
        return 1

    cdef void pop(self, Mark* out) noexcept nogil:
        # The first; there must be one.
        cdef int at = 0, child
        cdef Mark last
        out[0] = self.heap[0]
        self.open -= 1
        if self.open == 0:
            self.next_ns = INT64_MAX
            return
        last = self.heap[self.open]
        while True:
            child = 2 * at + 1
            if child >= self.open:
                break
            if child + 1 < self.open and _before(&self.heap[child + 1], &self.heap[child]):
                child += 1
            if not _before(&self.heap[child], &last):
                break
            self.heap[at] = self.heap[child]
            at = child
        self.heap[at] = last
        self.next_ns = self.heap[0].due_ns
