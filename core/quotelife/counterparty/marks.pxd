# Markouts under way: which mid to look at when. A bounded heap by due time; docs/counterparties.md.
from libc.stdint cimport int8_t, int64_t, uint8_t, uint32_t

cdef enum:
    MARKOUTS = 4                       # 100 ms, 1 s, 10 s, 60 s after the fill
    MARKS_MAX = 65_536                 # 3.5 MB; one more is given up and counted

cdef int64_t MARKOUT_NS[MARKOUTS]

cdef struct Mark:
    int64_t due_ns
    double mid_ticks                   # at pricing; 0: not known
    double price_ticks                 # of the fill
    double h_ticks                     # adverse threshold of the decision; 0: none
    double weight                      # of the quote: 1, or the part of it that this fill was
    uint32_t counterparty
    uint32_t instrument
    uint8_t markout                    # which one
    int8_t side                        # +1 the desk bought


cdef class Marks:
    cdef Mark* heap
    cdef int room
    cdef readonly int open             # under way
    cdef readonly int64_t next_ns      # when the first is due; INT64_MAX: none
    cdef int push(self, const Mark* mark) except -1
    cdef void pop(self, Mark* out) noexcept nogil
