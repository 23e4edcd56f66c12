"""Live quotes on their way: which of them a market ends first, and which of them time does.

A quote is hit when the adverse coordinate −s·mid of one of its sides reaches a key, so of each market the smallest key
says in one comparison whether anything is hit at all, however many quotes are live. One more heap holds ends. An event
that ends nothing costs O(1); what ends costs O(log n) a side. Ties go by id, so the order does not depend on how a heap
has come about.
"""

from libc.math cimport INFINITY
from libc.stdint cimport INT64_MAX, int64_t, uint32_t, uint64_t
from libc.stdlib cimport free, realloc
from libc.string cimport memset

from quotelife.records cimport QUOTE_EXPIRED, QUOTE_LIVE

cdef enum HeapKind:
    BY_KEY
    BY_END
    BY_FORGET
    BY_RISK


# --- heaps ------------------------------------------------------------------------------------------------------------

cdef bint _before(const LiveQuotes* self, HeapKind kind, uint32_t one, uint32_t other) noexcept nogil:
    cdef const LiveQuote* a
    cdef const LiveQuote* b
    if kind == BY_KEY:
        if self.side[one].key != self.side[other].key:
            return self.side[one].key < self.side[other].key
        a = &self.quote[self.side[one].quote]
        b = &self.quote[self.side[other].quote]
        return one < other if a.id == b.id else a.id < b.id
    a = &self.quote[one]
    b = &self.quote[other]
    if kind == BY_END and a.due_ns != b.due_ns:
        return a.due_ns < b.due_ns
    if kind == BY_FORGET and a.forget_ns != b.forget_ns:
        return a.forget_ns < b.forget_ns
    if kind == BY_RISK and a.risk != b.risk:
        return a.risk > b.risk
    return a.id < b.id


cdef inline void _put(LiveQuotes* self, Heap* heap, HeapKind kind, uint32_t at, uint32_t place) noexcept nogil:
    heap.place[at] = place
    if kind == BY_KEY:
        self.side[place].heap_at = at
    elif kind == BY_RISK:
        self.quote[place].wait_at = at
    else:
        self.quote[place].heap_at = at


cdef void _sift(LiveQuotes* self, Heap* heap, HeapKind kind, uint32_t at, uint32_t place) noexcept nogil:
    # Put it at its place, beginning at a hole.
    cdef uint32_t next
    while at > 0 and _before(self, kind, place, heap.place[(at - 1) >> 1]):
        next = (at - 1) >> 1
        _put(self, heap, kind, at, heap.place[next])
        at = next
    while True:
        next = 2 * at + 1
        if next >= heap.n:
            break
        if next + 1 < heap.n and _before(self, kind, heap.place[next + 1], heap.place[next]):
            next += 1
        if not _before(self, kind, heap.place[next], place):
            break
        _put(self, heap, kind, at, heap.place[next])
        at = next
    _put(self, heap, kind, at, place)


cdef bint _make_room(Heap* heap, uint32_t n) noexcept nogil:
    # For n in all.
    cdef uint32_t room = heap.room
    cdef uint32_t* grown
    if n <= room:
        return True
    while room < n:
        room = max(2 * room, 16)
    grown = <uint32_t*>realloc(heap.place, room * sizeof(uint32_t))
    if grown == NULL:
        return False
    heap.place = grown
    heap.room = room
    return True


cdef void _push(LiveQuotes* self, Heap* heap, HeapKind kind, uint32_t place) noexcept nogil:
    # There is room.
    heap.n += 1
    _sift(self, heap, kind, heap.n - 1, place)


cdef void _pull(LiveQuotes* self, Heap* heap, HeapKind kind, uint32_t at) noexcept nogil:
    heap.n -= 1
    if at != heap.n:
        _sift(self, heap, kind, at, heap.place[heap.n])


# --- quotes -----------------------------------------------------------------------------------------------------------

cdef void _list(LiveQuotes* self, uint32_t at) noexcept nogil:
    # A market may end this side. There is room.
    cdef uint32_t market = _market(&self.side[at]), instrument = self.side[at].instrument
    if self.keys[market].n == 0 and self.keys[market ^ 1].n == 0:
        self.watched[self.watched_n] = instrument
        self.watched_at[instrument] = self.watched_n
        self.watched_n += 1
    _push(self, &self.keys[market], BY_KEY, at)
    _look(self, market)


cdef void _unlist_side(LiveQuotes* self, uint32_t at) noexcept nogil:
    cdef uint32_t market = _market(&self.side[at]), place, last
    _pull(self, &self.keys[market], BY_KEY, self.side[at].heap_at)
    _look(self, market)
    self.side[at].heap_at = NOWHERE
    if self.keys[market].n == 0 and self.keys[market ^ 1].n == 0:
        place = self.watched_at[self.side[at].instrument]
        self.watched_n -= 1
        last = self.watched[self.watched_n]
        self.watched[place] = last
        self.watched_at[last] = place


cdef inline uint32_t _market(const LiveSide* side) noexcept nogil:
    return 2 * side.instrument + (side.side < 0)


cdef inline void _look(LiveQuotes* self, uint32_t market) noexcept nogil:
    cdef const Heap* heap = &self.keys[market]
    self.trigger[market] = self.side[heap.place[0]].key if heap.n else INFINITY


cdef bint quotes_markets(LiveQuotes* self, uint32_t instruments) noexcept nogil:
    cdef uint32_t n = 2 * instruments, k
    cdef Heap* keys
    cdef double* trigger
    cdef uint32_t* watched
    if n <= self.markets:
        return True
    keys = <Heap*>realloc(self.keys, n * sizeof(Heap))
    if keys == NULL:
        return False
    self.keys = keys
    trigger = <double*>realloc(self.trigger, n * sizeof(double))
    if trigger == NULL:
        return False
    self.trigger = trigger
    watched = <uint32_t*>realloc(self.watched, max(instruments, 1) * sizeof(uint32_t))
    if watched == NULL:
        return False
    self.watched = watched
    watched = <uint32_t*>realloc(self.watched_at, max(instruments, 1) * sizeof(uint32_t))
    if watched == NULL:
        return False
    self.watched_at = watched
    for k in range(self.markets, n):
        memset(&keys[k], 0, sizeof(Heap))
        trigger[k] = INFINITY
    if self.markets == 0:
        self.free = self.free_side = NOWHERE
    self.markets = n
    return True


cdef bint quotes_sessions(LiveQuotes* self, uint32_t sessions) noexcept nogil:
    cdef Heap* waiting
    cdef uint32_t k
    for k in range(sessions, self.sessions):
        free(self.waiting[k].place)
    if sessions < self.sessions:
        self.sessions = sessions
    waiting = <Heap*>realloc(self.waiting, max(sessions, 1) * sizeof(Heap))
    if waiting == NULL:
        return False
    self.waiting = waiting
    for k in range(self.sessions, sessions):
        memset(&waiting[k], 0, sizeof(Heap))
    self.sessions = sessions
    return True


cdef void quotes_free(LiveQuotes* self) noexcept nogil:
    cdef uint32_t k
    for k in range(self.markets):
        free(self.keys[k].place)
    free(self.keys)
    free(self.trigger)
    free(self.watched)
    free(self.watched_at)
    free(self.ends.place)
    free(self.ended.place)
    for k in range(self.sessions):
        free(self.waiting[k].place)
    free(self.waiting)
    free(self.quote)
    free(self.side)
    memset(self, 0, sizeof(LiveQuotes))


cdef uint64_t quotes_bytes(const LiveQuotes* self) noexcept nogil:
    cdef uint64_t held = self.room * sizeof(LiveQuote) + self.sides_room * sizeof(LiveSide)
    cdef uint32_t k
    held += self.markets * (sizeof(Heap) + sizeof(double) + sizeof(uint32_t))    # of two markets, two places
    held += (self.ends.room + self.ended.room) * sizeof(uint32_t) + self.sessions * sizeof(Heap)
    for k in range(self.sessions):
        held += self.waiting[k].room * sizeof(uint32_t)
    for k in range(self.markets):
        held += self.keys[k].room * sizeof(uint32_t)
    return held


cdef bint _grow_quotes(LiveQuotes* self) noexcept nogil:
    cdef uint32_t room = max(2 * self.room, 64), k
    cdef LiveQuote* grown = <LiveQuote*>realloc(self.quote, room * sizeof(LiveQuote))
    if grown == NULL:
        return False
    self.quote = grown
    for k in range(self.room, room):
        memset(&grown[k], 0, sizeof(LiveQuote))
        grown[k].first = k + 1 if k + 1 < room else self.free
    self.free = self.room
    self.room = room
    return True


cdef bint _grow_sides(LiveQuotes* self) noexcept nogil:
    cdef uint32_t room = max(2 * self.sides_room, 64), k
    cdef LiveSide* grown = <LiveSide*>realloc(self.side, room * sizeof(LiveSide))
    if grown == NULL:
        return False
    self.side = grown
    for k in range(self.sides_room, room):
        memset(&grown[k], 0, sizeof(LiveSide))
        grown[k].next = k + 1 if k + 1 < room else self.free_side
    self.free_side = self.sides_room
    self.sides_room = room
    return True


cdef uint32_t quotes_open(LiveQuotes* self, const LiveQuote* quote, const LiveSide* sides, int n) noexcept nogil:
    cdef LiveQuote* mine
    cdef LiveSide* side
    cdef uint32_t place, at, market
    cdef int k
    # All that may fail comes first.
    if self.free == NOWHERE and not _grow_quotes(self):
        return NOWHERE
    if not _make_room(&self.ends, self.n + 1) or not _make_room(&self.ended, self.n + 1):
        return NOWHERE
    for k in range(n):
        market = _market(&sides[k])
        if not _make_room(&self.keys[market], self.keys[market].n + n):
            return NOWHERE
    place = self.free
    mine = &self.quote[place]
    self.free = mine.first
    mine[0] = quote[0]
    mine.first = mine.heap_at = mine.wait_at = NOWHERE
    for k in range(n - 1, -1, -1):
        if self.free_side == NOWHERE and not _grow_sides(self):
            _drop_sides(self, place)
            mine.first = self.free
            self.free = place
            return NOWHERE
        at = self.free_side
        side = &self.side[at]
        self.free_side = side.next
        side[0] = sides[k]
        side.quote = place
        side.next = mine.first
        side.heap_at = NOWHERE
        mine.first = at
    at = mine.first
    while at != NOWHERE:
        _list(self, at)
        at = self.side[at].next
    _push(self, &self.ends, BY_END, place)
    self.n += 1
    self.live += 1
    return place


cdef void _unlist(LiveQuotes* self, uint32_t place) noexcept nogil:
    # No market ends it any more.
    cdef uint32_t at = self.quote[place].first
    while at != NOWHERE:
        if self.side[at].heap_at != NOWHERE:
            _unlist_side(self, at)
        at = self.side[at].next


cdef void _drop_sides(LiveQuotes* self, uint32_t place) noexcept nogil:
    cdef uint32_t at = self.quote[place].first, next
    while at != NOWHERE:
        next = self.side[at].next
        self.side[at].next = self.free_side
        self.free_side = at
        at = next
    self.quote[place].first = NOWHERE


cdef uint32_t quotes_due(const LiveQuotes* self, int64_t t) noexcept nogil:
    if self.ends.n == 0 or self.quote[self.ends.place[0]].due_ns > t:
        return NOWHERE
    return self.ends.place[0]


cdef bint quotes_wait(LiveQuotes* self, uint32_t place) noexcept nogil:
    cdef Heap* heap
    if self.quote[place].wait_at != NOWHERE:
        return True
    heap = &self.waiting[self.quote[place].session]
    if not _make_room(heap, heap.n + 1):
        return False
    _unlist(self, place)
    _push(self, heap, BY_RISK, place)
    return True


cdef void quotes_hold(LiveQuotes* self, uint32_t place) noexcept nogil:
    self.quote[place].due_ns = INT64_MAX
    _sift(self, &self.ends, BY_END, self.quote[place].heap_at, place)


cdef void quotes_stop_waiting(LiveQuotes* self, uint32_t place) noexcept nogil:
    if self.quote[place].wait_at != NOWHERE:
        _pull(self, &self.waiting[self.quote[place].session], BY_RISK, self.quote[place].wait_at)
        self.quote[place].wait_at = NOWHERE


cdef void quotes_end(LiveQuotes* self, uint32_t place, int state, int64_t forget_ns) noexcept nogil:
    cdef LiveQuote* quote = &self.quote[place]
    _unlist(self, place)
    quotes_stop_waiting(self, place)
    if quote.forget_ns == 0:
        _pull(self, &self.ends, BY_END, quote.heap_at)
        self.live -= 1
    else:
        _pull(self, &self.ended, BY_FORGET, quote.heap_at)
    quote.state = state
    quote.forget_ns = forget_ns
    _push(self, &self.ended, BY_FORGET, place)


cdef uint32_t quotes_to_forget(const LiveQuotes* self, int64_t t) noexcept nogil:
    if self.ended.n == 0 or self.quote[self.ended.place[0]].forget_ns > t:
        return NOWHERE
    return self.ended.place[0]


cdef void quotes_drop(LiveQuotes* self, uint32_t place) noexcept nogil:
    cdef LiveQuote* quote = &self.quote[place]
    if quote.forget_ns == 0:
        quotes_end(self, place, quote.state, INT64_MAX)
    _pull(self, &self.ended, BY_FORGET, quote.heap_at)
    _drop_sides(self, place)
    memset(quote, 0, sizeof(LiveQuote))
    quote.first = self.free
    self.free = place
    self.n -= 1


cdef class LiveQuotesView:
    """The same, to be tried from Python: quotes by id."""

    def __init__(self, uint32_t instruments):
        if not quotes_markets(&self.c, instruments) or not quotes_sessions(&self.c, 1):
            raise MemoryError()
        self._places = {}

    def __dealloc__(self):
        quotes_free(&self.c)

    def __len__(self):
        return self.c.live

    @property
    def memory_bytes(self):
        return quotes_bytes(&self.c)

    def open(self, uint64_t id, int64_t end_ns, sides, double risk=0.0):
        """A live quote; ``sides``: (instrument, side, key) each."""
        cdef LiveQuote quote
        cdef LiveSide side[QUOTE_SIDES_MAX]
        cdef int k
        memset(&quote, 0, sizeof(LiveQuote))
        memset(side, 0, sizeof(side))
        quote.id = id
        quote.end_ns = quote.due_ns = end_ns
        quote.risk = risk
        quote.state = QUOTE_LIVE
        for k, (instrument, way, key) in enumerate(sides):
            side[k].instrument = instrument
            side[k].side = way
            side[k].key = key
        place = quotes_open(&self.c, &quote, side, len(sides))
        if place == NOWHERE:
            raise MemoryError()
        self._places[id] = place

    def triggers(self):
        """Smallest key by market: (against a buyer, against a seller) of each instrument in turn."""
        return [self.c.trigger[k] for k in range(self.c.markets)]

    def watched(self):
        """Indices of instruments whose markets may end a live quote, in rising order."""
        return sorted([self.c.watched[k] for k in range(self.c.watched_n)])

    def passed(self, uint32_t instrument, double mid):
        """Ids of what a market ends by coming to ``mid``, in order."""
        cdef uint32_t at
        cdef int way
        found = []
        for way in range(2):
            while True:
                at = quotes_passed(&self.c, 2 * instrument + way, mid if way else -mid)
                if at == NOWHERE:
                    break
                at = self.c.side[at].quote
                found.append(self.c.quote[at].id)
                quotes_end(&self.c, at, QUOTE_EXPIRED, 1)
        return found

    def due(self, int64_t t):
        """Ids of what time ends by coming to ``t``, in order."""
        cdef uint32_t place
        found = []
        while True:
            place = quotes_due(&self.c, t)
            if place == NOWHERE:
                return found
            found.append(self.c.quote[place].id)
            quotes_end(&self.c, place, QUOTE_EXPIRED, 1)

    def wait(self, uint64_t id):
        """Let a live quote wait: no market ends it any more, time does."""
        if not quotes_wait(&self.c, self._places[id]):
            raise MemoryError()

    def waiting(self):
        """Ids of what waits, in the order of their turn; they end."""
        found = []
        while self.c.waiting[0].n:
            place = self.c.waiting[0].place[0]
            found.append(self.c.quote[place].id)
            quotes_end(&self.c, place, QUOTE_EXPIRED, 1)
        return found

    def drop(self, uint64_t id):
        """Forget a quote, live or not."""
        quotes_drop(&self.c, self._places.pop(id))
