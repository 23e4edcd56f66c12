# Decisions whose first passage is not known yet, of one instrument.
from libc.stdint cimport int8_t, int64_t, uint8_t, uint32_t, uint64_t

cdef enum:
    LABELS_MAX = 1024          # open at once; beyond, decisions go without a label, and are counted
    LABEL_ANCHORS = 2          # 500 ms and 2 s, what the rolling recalibration is fitted at
    LABEL_ENDS = 3             # those and the last: the label is let go
    WATCHED = 4                # what is watched: mid and microprice, against a buyer and against a seller

cdef int64_t LABEL_END_NS[LABEL_ENDS]

cdef struct OpenLabel:
    int64_t decided_ns
    int64_t passage_ns         # from the decision; -1: not passed so far
    int64_t life_ns            # that held tolerance asks about; 0: does not ask, or has its answer
    double key                 # passed when the adverse coordinate, -side * M, is at or above it
    double raw[LABEL_ANCHORS]  # P at the anchors as the model gave it …
    double p[LABEL_ANCHORS]    # … and after recalibration; NaN: the model gave none
    uint64_t sequence          # of the decision's input; 0: a probe
    uint64_t model             # first 16 digits of the digest of the one that was asked
    int heap_at
    uint8_t watched
    uint8_t posture
    uint8_t held_by

cdef struct OpenLabels:
    OpenLabel* ring            # by serial & (LABELS_MAX - 1)
    uint32_t* heap[WATCHED]    # places in the ring, smallest key on top
    int heap_n[WATCHED]
    int64_t head               # serial of the next one
    int64_t next[LABEL_ENDS]   # serial of the next that comes to each end; the last: everything before is free
    uint64_t opened
    uint64_t overflowed
    uint64_t censored

cdef int labels_init(OpenLabels* self) except -1
cdef void labels_free(OpenLabels* self) noexcept nogil
cdef inline bint labels_any(const OpenLabels* self) noexcept nogil:
    return self.head != self.next[LABEL_ENDS - 1]
# False where there is no room. Decisions come in order of time.
cdef bint labels_open(OpenLabels* self, const OpenLabel* label) noexcept nogil
# One that is passed by the adverse coordinate x at t, its passage_ns set; NULL: no more.
cdef OpenLabel* labels_passed(OpenLabels* self, int watched, double x, int64_t t) noexcept nogil
# The next whose end lies before t, from oldest to newest; NULL: no more. One that has come to its last end is free
# when the next call is made.
cdef OpenLabel* labels_due(OpenLabels* self, int end, int64_t t) noexcept nogil
# The market was lost sight of: all that is open stays unknown.
cdef void labels_censor(OpenLabels* self) noexcept nogil


cdef class OpenLabelsView:
    cdef OpenLabels c
