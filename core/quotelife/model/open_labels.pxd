# Decisions whose first passage is not known yet, of one instrument.
from libc.stdint cimport int8_t, int64_t, uint8_t, uint32_t, uint64_t

cdef enum:
    LABELS_MAX = 1024          # decisions open at once; from half of it on they are thinned
    PROBES_MAX = 256           # probes have a room of their own
    LABEL_ROOM = LABELS_MAX + PROBES_MAX
    LABEL_ANCHORS = 2          # 500 ms and 2 s, what the rolling recalibration is fitted at
    WATCHED = 4                # what is watched: mid and microprice, against a buyer and against a seller

cdef enum LabelPart:           # what a label is asked; the first are the anchors
    LABEL_LIFE = LABEL_ANCHORS
    LABEL_LIVE                 # not asked: the quote is on its way, and nobody can hit it yet

cdef int64_t LABEL_ANCHOR_NS[LABEL_ANCHORS]

cdef struct OpenLabel:
    int64_t live_ns            # ages count from here: the decision and the latency
    int64_t due_ns             # when it has its next answer, passed or not
    int64_t passage_ns         # age; -1: not passed so far
    int64_t life_ns            # age that held tolerance asks about; 0: does not ask
    double key                 # passed when the adverse coordinate, -side * M, is at or above it
    double p[LABEL_ANCHORS]    # P at the anchors as it was served; NaN: by no model
    uint64_t sequence          # of the decision's input; 0: a probe
    uint64_t model             # first 16 digits of the digest of the one that was asked
    uint64_t serial            # in the order of opening
    uint32_t heap_at[2]        # places in its heap of keys and in that of due times
    uint8_t waits              # bits of LabelPart: of what is asked when it is opened, then of what is not known yet
    uint8_t watched
    uint8_t posture
    uint8_t held_by

cdef struct ResolvedLabel:     # one part of a label
    int64_t at_ns              # when it was decided: the passage, the end of the horizon, or of what could be seen
    int64_t passage_ns         # as far as it was seen
    int64_t life_ns
    int64_t live_ns
    double p                   # at the anchor
    uint64_t sequence
    uint64_t model
    uint32_t place             # in the pool, of the label while it was there
    uint8_t part
    uint8_t posture
    uint8_t held_by
    int8_t hit                 # -1: it will never be known

cdef struct OpenLabels:
    int64_t due_ns             # of the top of the last heap, and the keys on top of the others: INT64_MAX and infinity
    double key[WATCHED]        # where there is none; an event that resolves nothing reads no more than these
    OpenLabel* pool
    uint32_t* free             # places that are free, free_n of them
    uint32_t* heap[WATCHED + 1]    # smallest key on top; the last: next due on top
    int heap_n[WATCHED + 1]
    int free_n
    int probes
    int64_t newest_ns          # live_ns of the decision opened last
    bint passed_over           # one was left to the next
    uint64_t opened
    uint64_t thinned           # left out so that a burst does not fill the room
    uint64_t overflowed        # found no room at all
    uint64_t censored          # will never be known whole

# Room for them, where there is none yet; False: no memory.
cdef bint labels_init(OpenLabels* self) noexcept nogil
cdef void labels_free(OpenLabels* self) noexcept nogil
cdef uint64_t labels_bytes(const OpenLabels* self) noexcept nogil

# Of how many all that was asked is known.
cdef inline uint64_t labels_resolved(const OpenLabels* self) noexcept nogil:
    return self.opened - self.censored - <uint64_t>self.heap_n[WATCHED]
cdef inline bint labels_any(const OpenLabels* self) noexcept nogil:
    return self.heap_n[WATCHED] != 0
# Its place in the pool; -1 where it finds none.
cdef int labels_open(OpenLabels* self, const OpenLabel* label) noexcept nogil
# The next that has its answer before until, in order of time; x[WATCHED]: where the market has stood all along.
# False: no more.
cdef bint labels_due(OpenLabels* self, int64_t until, const double* x, ResolvedLabel* out) noexcept nogil
# The next that is answered by the market coming to x[WATCHED] at t; False: no more.
cdef bint labels_passed(OpenLabels* self, const double* x, int64_t t, ResolvedLabel* out) noexcept nogil
# The next that will never be answered, since from at_ns on nothing was seen; those that go live from live_before on are
# none of them. at: 0 at first, then as it is left. False: no more.
cdef bint labels_lost(OpenLabels* self, int64_t at_ns, int64_t live_before, int* at, ResolvedLabel* out) noexcept nogil


cdef class OpenLabelsView:
    cdef OpenLabels c
