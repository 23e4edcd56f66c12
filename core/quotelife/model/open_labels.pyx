"""Labels on their way: each decision is watched until its last horizon is over (SPEC 2: first passage, one touch).

A decision passes when the adverse coordinate −s·M reaches its key, so the smallest key of a heap says in one comparison
whether anything passes at all, whatever the number that is open. Ends come in the order of decisions: one ring with a
place for each end. Both are O(1) an event but for what resolves, and that is O(log n) once.
"""

from libc.stdint cimport int64_t, uint32_t, uint64_t
from libc.stdlib cimport calloc, free

from quotelife.records import HORIZONS_NS

cdef enum:
    MASK = LABELS_MAX - 1

LABEL_END_NS[0] = 500_000_000
LABEL_END_NS[1] = 2_000_000_000
LABEL_END_NS[2] = max(HORIZONS_NS)


cdef int labels_init(OpenLabels* self) except -1:
    cdef int k
    if self.ring != NULL:
        return 0
    self.ring = <OpenLabel*>calloc(LABELS_MAX, sizeof(OpenLabel))
    for k in range(WATCHED):
        self.heap[k] = <uint32_t*>calloc(LABELS_MAX, sizeof(uint32_t))
        if self.ring == NULL or self.heap[k] == NULL:
            labels_free(self)
            raise MemoryError()
    return 0


cdef void labels_free(OpenLabels* self) noexcept nogil:
    cdef int k
    for k in range(WATCHED):
        free(self.heap[k])
        self.heap[k] = NULL
    free(self.ring)
    self.ring = NULL


cdef inline void _put(OpenLabels* self, int w, int at, uint32_t place) noexcept nogil:
    self.heap[w][at] = place
    self.ring[place].heap_at = at


cdef void _up(OpenLabels* self, int w, int at, uint32_t place) noexcept nogil:
    cdef int parent
    cdef double key = self.ring[place].key
    while at > 0:
        parent = (at - 1) >> 1
        if self.ring[self.heap[w][parent]].key <= key:
            break
        _put(self, w, at, self.heap[w][parent])
        at = parent
    _put(self, w, at, place)


cdef void _down(OpenLabels* self, int w, int at, uint32_t place) noexcept nogil:
    cdef int child
    cdef double key = self.ring[place].key
    while True:
        child = 2 * at + 1
        if child >= self.heap_n[w]:
            break
        if child + 1 < self.heap_n[w] and self.ring[self.heap[w][child + 1]].key < self.ring[self.heap[w][child]].key:
            child += 1
        if self.ring[self.heap[w][child]].key >= key:
            break
        _put(self, w, at, self.heap[w][child])
        at = child
    _put(self, w, at, place)


cdef void _remove(OpenLabels* self, OpenLabel* label) noexcept nogil:
    cdef int w = label.watched, at = label.heap_at
    cdef uint32_t last
    label.heap_at = -1
    self.heap_n[w] -= 1
    if at == self.heap_n[w]:
        return
    last = self.heap[w][self.heap_n[w]]
    if at > 0 and self.ring[self.heap[w][(at - 1) >> 1]].key > self.ring[last].key:
        _up(self, w, at, last)
    else:
        _down(self, w, at, last)


cdef bint labels_open(OpenLabels* self, const OpenLabel* label) noexcept nogil:
    cdef uint32_t place = <uint32_t>(self.head & MASK)
    if self.ring == NULL or self.head - self.next[LABEL_ENDS - 1] >= LABELS_MAX:
        self.overflowed += 1
        return False
    self.ring[place] = label[0]
    self.ring[place].passage_ns = -1
    self.heap_n[label.watched] += 1
    _up(self, label.watched, self.heap_n[label.watched] - 1, place)
    self.head += 1
    self.opened += 1
    return True


cdef OpenLabel* labels_passed(OpenLabels* self, int watched, double x, int64_t t) noexcept nogil:
    cdef OpenLabel* label
    if self.heap_n[watched] == 0:
        return NULL
    label = &self.ring[self.heap[watched][0]]
    if not x >= label.key:
        return NULL
    label.passage_ns = t - label.decided_ns
    _remove(self, label)
    return label


cdef OpenLabel* labels_due(OpenLabels* self, int end, int64_t t) noexcept nogil:
    cdef OpenLabel* label
    if self.next[end] == self.head:
        return NULL
    label = &self.ring[self.next[end] & MASK]
    if label.decided_ns + LABEL_END_NS[end] >= t:       # a touch at the very end still counts
        return NULL
    self.next[end] += 1
    if end == LABEL_ENDS - 1 and label.heap_at >= 0:
        _remove(self, label)
    return label


cdef void labels_censor(OpenLabels* self) noexcept nogil:
    cdef int k
    self.censored += <uint64_t>(self.head - self.next[LABEL_ENDS - 1])
    for k in range(LABEL_ENDS):
        self.next[k] = self.head
    for k in range(WATCHED):
        self.heap_n[k] = 0


cdef class OpenLabelsView:
    """Python view, for tests. Labels are told as (decided_ns, passage_ns), −1 where not passed."""

    def __cinit__(self):
        labels_init(&self.c)

    def __dealloc__(self):
        labels_free(&self.c)

    @property
    def open(self):
        """How many are open."""
        return self.c.head - self.c.next[LABEL_ENDS - 1]

    @property
    def overflowed(self):
        """How many found no room so far."""
        return self.c.overflowed

    @property
    def censored(self):
        """How many will never be known."""
        return self.c.censored

    def add(self, int64_t decided_ns, double key, int watched=0):
        """Watch one more; False where there is no room."""
        cdef OpenLabel label
        if not 0 <= watched < WATCHED:
            raise ValueError(f"watched must be 0 to {WATCHED - 1}")
        label.decided_ns = decided_ns
        label.key = key
        label.watched = watched
        return labels_open(&self.c, &label)

    def moved(self, int64_t t, double x, int watched=0):
        """The adverse coordinate is ``x`` at ``t``: what passes."""
        cdef OpenLabel* label
        found = []
        while True:
            label = labels_passed(&self.c, watched, x, t)
            if label == NULL:
                return found
            found.append((label.decided_ns, label.passage_ns))

    def due(self, int end, int64_t t):
        """What has come to one of its ends before ``t``."""
        cdef OpenLabel* label
        found = []
        while True:
            label = labels_due(&self.c, end, t)
            if label == NULL:
                return found
            found.append((label.decided_ns, label.passage_ns))

    def censor(self):
        """The market was lost sight of."""
        labels_censor(&self.c)
