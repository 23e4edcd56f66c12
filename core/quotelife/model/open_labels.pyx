"""Labels on their way: each decision is watched until all that is asked of it is known: first
passage, one touch.

A decision passes when the adverse coordinate −s·M reaches its key, so the smallest key of a heap says in one comparison
whether anything passes at all, whatever the number that is open; one more heap holds what comes to an end next. An
event costs O(1) but for what it resolves, and that is O(log n) a part.

A place is free again as soon as nothing more is asked of it. From half of the room on a burst is thinned: a decision is
taken when so much time has passed since the one before that what is left lasts for the longest horizon: then that one
or the one behind it, by its sequence, lest it be always the same side of a request. So no moment goes without labels.
"""

from libc.math cimport INFINITY
from libc.stdint cimport INT64_MAX, int64_t, uint32_t, uint64_t
from libc.stdlib cimport calloc, free

cdef enum:
    DUE = WATCHED               # the heap of due times

cdef int64_t SPACED_NS = 6_000_000_000 // (LABELS_MAX // 2)    # the longest horizon and latency

LABEL_ANCHOR_NS[0] = 500_000_000
LABEL_ANCHOR_NS[1] = 2_000_000_000


cdef bint labels_init(OpenLabels* self) noexcept nogil:
    cdef int k
    if self.pool != NULL:
        return True
    self.pool = <OpenLabel*>calloc(LABEL_ROOM, sizeof(OpenLabel))
    self.free = <uint32_t*>calloc(LABEL_ROOM * (WATCHED + 2), sizeof(uint32_t))
    if self.pool == NULL or self.free == NULL:
        labels_free(self)
        return False
    for k in range(WATCHED + 1):
        self.heap[k] = self.free + (k + 1) * LABEL_ROOM
        _know_top(self, k)
    for k in range(LABEL_ROOM):
        self.free[k] = LABEL_ROOM - 1 - k
    self.free_n = LABEL_ROOM
    return True


cdef void labels_free(OpenLabels* self) noexcept nogil:
    free(self.pool)
    free(self.free)
    self.pool = NULL
    self.free = NULL


cdef uint64_t labels_bytes(const OpenLabels* self) noexcept nogil:
    return LABEL_ROOM * (sizeof(OpenLabel) + (WATCHED + 2) * sizeof(uint32_t)) if self.pool != NULL else 0


# --- heaps ------------------------------------------------------------------------------------------------------------

cdef inline bint _before(const OpenLabels* self, int h, uint32_t one, uint32_t other) noexcept nogil:
    cdef const OpenLabel* a = &self.pool[one]
    cdef const OpenLabel* b = &self.pool[other]
    if h != DUE:
        return a.key < b.key
    if a.due_ns != b.due_ns:
        return a.due_ns < b.due_ns
    if (a.waits ^ b.waits) & (1 << <int>LABEL_LIVE):    # first where the market stands, then what has not been passed
        return a.waits & (1 << <int>LABEL_LIVE) != 0
    return a.serial < b.serial


cdef inline void _know_top(OpenLabels* self, int h) noexcept nogil:
    cdef const OpenLabel* top = &self.pool[self.heap[h][0]] if self.heap_n[h] else NULL
    if h == DUE:
        self.due_ns = top.due_ns if top != NULL else INT64_MAX
    else:
        self.key[h] = top.key if top != NULL else INFINITY


cdef inline void _put(OpenLabels* self, int h, int at, uint32_t place) noexcept nogil:
    self.heap[h][at] = place
    self.pool[place].heap_at[h == DUE] = at


cdef void _sift(OpenLabels* self, int h, int at, uint32_t place) noexcept nogil:
    # Put it at its place, beginning at a hole.
    cdef int next
    while at > 0 and _before(self, h, place, self.heap[h][(at - 1) >> 1]):
        next = (at - 1) >> 1
        _put(self, h, at, self.heap[h][next])
        at = next
    while True:
        next = 2 * at + 1
        if next >= self.heap_n[h]:
            break
        if next + 1 < self.heap_n[h] and _before(self, h, self.heap[h][next + 1], self.heap[h][next]):
            next += 1
        if not _before(self, h, self.heap[h][next], place):
            break
        _put(self, h, at, self.heap[h][next])
        at = next
    _put(self, h, at, place)
    _know_top(self, h)


cdef void _push(OpenLabels* self, int h, uint32_t place) noexcept nogil:
    self.heap_n[h] += 1
    _sift(self, h, self.heap_n[h] - 1, place)


cdef void _pull(OpenLabels* self, int h, uint32_t place) noexcept nogil:
    cdef int at = self.pool[place].heap_at[h == DUE]
    self.heap_n[h] -= 1
    if at != self.heap_n[h]:
        _sift(self, h, at, self.heap[h][self.heap_n[h]])
    else:
        _know_top(self, h)


# --- labels -----------------------------------------------------------------------------------------------------------

cdef inline int64_t _age(const OpenLabel* label, int part) noexcept nogil:
    return LABEL_ANCHOR_NS[part] if part < LABEL_ANCHORS else label.life_ns if part == LABEL_LIFE else 0


cdef int _next_part(const OpenLabel* label) noexcept nogil:
    # What comes next; of parts that end at once the first.
    cdef int part, found = LABEL_LIVE
    if label.waits & (1 << <int>LABEL_LIVE):
        return LABEL_LIVE
    for part in range(LABEL_LIVE):
        if label.waits & (1 << part) and (found == LABEL_LIVE or _age(label, part) < _age(label, found)):
            found = part
    return found


cdef int labels_open(OpenLabels* self, const OpenLabel* label) noexcept nogil:
    cdef uint32_t place
    cdef OpenLabel* mine
    cdef int free
    if self.pool == NULL:
        return -1
    if label.sequence == 0:
        free = PROBES_MAX - self.probes
    else:
        free = LABELS_MAX - (LABEL_ROOM - self.free_n - self.probes)
        if 0 < free <= LABELS_MAX // 2 and (label.live_ns - self.newest_ns < SPACED_NS or not self.passed_over and
                                           (label.sequence * <uint64_t>0x9E3779B97F4A7C15) >> 63):
            self.passed_over = label.live_ns - self.newest_ns >= SPACED_NS
            self.thinned += 1
            return -1
    if free == 0:
        self.overflowed += 1
        return -1
    if label.sequence == 0:
        self.probes += 1
    else:
        self.newest_ns = label.live_ns
        self.passed_over = False
    self.free_n -= 1
    place = self.free[self.free_n]
    mine = &self.pool[place]
    mine[0] = label[0]
    mine.passage_ns = -1
    mine.due_ns = mine.live_ns
    mine.serial = self.opened
    mine.waits |= 1 << <int>LABEL_LIVE
    self.opened += 1
    _push(self, DUE, place)
    return place


cdef void _go_on(OpenLabels* self, uint32_t place, bint watched) noexcept nogil:
    # To what it waits for next, or it is free. watched: it is in its heap of keys.
    cdef OpenLabel* label = &self.pool[place]
    if label.waits:
        label.due_ns = label.live_ns + _age(label, _next_part(label))
        _sift(self, DUE, label.heap_at[1], place)
        return
    if watched:
        _pull(self, label.watched, place)
    _pull(self, DUE, place)
    self.probes -= label.sequence == 0
    self.free[self.free_n] = place
    self.free_n += 1


cdef void _tell(const OpenLabels* self, const OpenLabel* label, int part, int hit, int64_t at_ns,
                ResolvedLabel* out) noexcept nogil:
    out.at_ns = at_ns
    out.passage_ns = label.passage_ns
    out.life_ns = label.life_ns
    out.place = <uint32_t>(label - self.pool)
    out.p = label.p[part] if part < LABEL_ANCHORS else 0.0
    out.live_ns = label.live_ns
    out.model = label.model
    out.sequence = label.sequence
    out.part = part
    out.posture = label.posture
    out.held_by = label.held_by
    out.hit = hit


cdef bint _pass(OpenLabels* self, uint32_t place, int64_t t, bint watched, ResolvedLabel* out) noexcept nogil:
    # A life has its answer by that; a horizon only once it is over, since a hole in it would leave it out.
    cdef OpenLabel* label = &self.pool[place]
    cdef bint answered = label.waits & (1 << <int>LABEL_LIFE) != 0
    label.passage_ns = t - label.live_ns
    if watched:
        _pull(self, label.watched, place)
    if answered:
        label.waits &= ~(1 << <int>LABEL_LIFE)
        _tell(self, label, LABEL_LIFE, True, t, out)
    _go_on(self, place, False)
    return answered


cdef bint labels_due(OpenLabels* self, int64_t until, const double* x, ResolvedLabel* out) noexcept nogil:
    cdef OpenLabel* label
    cdef uint32_t place
    cdef int part
    while self.due_ns < until and self.heap_n[DUE]:
        place = self.heap[DUE][0]
        label = &self.pool[place]
        part = _next_part(label)
        label.waits &= ~(1 << part)
        if part == LABEL_LIVE:
            if not x[label.watched] >= label.key:
                _push(self, label.watched, place)
                _go_on(self, place, True)
            elif _pass(self, place, label.live_ns, False, out):
                return True
            continue
        _tell(self, label, part, 0 <= label.passage_ns <= _age(label, part), label.due_ns, out)
        _go_on(self, place, label.passage_ns < 0)
        return True
    return False


cdef bint labels_passed(OpenLabels* self, const double* x, int64_t t, ResolvedLabel* out) noexcept nogil:
    cdef int watched
    for watched in range(WATCHED):
        while x[watched] >= self.key[watched] and self.heap_n[watched]:
            if _pass(self, self.heap[watched][0], t, True, out):
                return True
    return False


cdef bint labels_lost(OpenLabels* self, int64_t at_ns, int64_t live_before, int* at, ResolvedLabel* out) noexcept nogil:
    # Along the heap: what comes to a place that was left is kept already, or comes from behind.
    cdef OpenLabel* label
    cdef bint watched
    cdef int part = 0
    while at[0] < self.heap_n[DUE]:
        label = &self.pool[self.heap[DUE][at[0]]]
        if label.live_ns >= live_before:
            at[0] += 1
            continue
        while not label.waits & (1 << part):
            part += 1
        watched = label.passage_ns < 0 and not label.waits & (1 << <int>LABEL_LIVE)
        if label.waits & ~(1 << part) & ((1 << <int>LABEL_LIVE) - 1):       # its place does not change before the last
            label.waits &= ~(1 << part)
            _tell(self, label, part, -1, at_ns, out)
            return True
        label.waits = 0
        self.censored += 1
        _tell(self, label, part, -1, at_ns, out)
        _go_on(self, self.heap[DUE][at[0]], watched)
        at[0] = 0
        return True
    return False


cdef class OpenLabelsView:
    """Python view, for tests. Parts are told as (sequence, part, at_ns, hit, passage_ns), −1 where not passed."""

    def __cinit__(self):
        if not labels_init(&self.c):
            raise MemoryError()

    def __dealloc__(self):
        labels_free(&self.c)

    @property
    def open(self):
        """How many are open."""
        return self.c.heap_n[DUE]

    @property
    def thinned(self):
        """How many were left out in a burst so far."""
        return self.c.thinned

    @property
    def overflowed(self):
        """How many found no room so far."""
        return self.c.overflowed

    @property
    def censored(self):
        """How many will never be known."""
        return self.c.censored

    def add(self, uint64_t sequence, int64_t live_ns, double key, int watched=0, *, int64_t life_ns=0, anchors=(0, 1)):
        """Watch one more, a probe where ``sequence`` is 0; False where it is left out."""
        cdef OpenLabel label
        cdef int k
        if not 0 <= watched < WATCHED or (not life_ns and not anchors):
            raise ValueError(f"watched must be 0 to {WATCHED - 1}, and something must be asked")
        label.sequence = sequence
        label.live_ns = live_ns
        label.key = key
        label.watched = watched
        label.life_ns = life_ns
        label.posture = label.held_by = 0
        label.model = 0
        label.waits = (life_ns > 0) << <int>LABEL_LIFE
        for k in range(LABEL_ANCHORS):
            label.p[k] = 0.5
            label.waits |= (k in anchors) << k
        return labels_open(&self.c, &label) >= 0

    def due(self, int64_t until, x):
        """What has its answer before ``until``, the market standing at ``x`` (4,)."""
        cdef double[WATCHED] stands = x
        cdef ResolvedLabel one
        found = []
        while labels_due(&self.c, until, stands, &one):
            found.append((one.sequence, one.part, one.at_ns, one.hit, one.passage_ns))
        return found

    def passed(self, int64_t t, x):
        """What the market answers by coming to ``x`` (4,) at ``t``."""
        cdef double[WATCHED] stands = x
        cdef ResolvedLabel one
        found = []
        while labels_passed(&self.c, stands, t, &one):
            found.append((one.sequence, one.part, one.at_ns, one.hit, one.passage_ns))
        return found

    def lost(self, int64_t at_ns, int64_t live_before=INT64_MAX):
        """What is open, and goes live before that, when the market is lost sight of."""
        cdef ResolvedLabel one
        cdef int at = 0
        found = []
        while labels_lost(&self.c, at_ns, live_before, &at, &one):
            found.append((one.sequence, one.part, one.at_ns, one.hit, one.passage_ns))
        return found
