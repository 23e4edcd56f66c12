"""Level book: best prices, n levels a side, microprice. One LevelBook an instrument; see level_book.pxd."""

from libc.stdlib cimport calloc, free
from libc.string cimport memmove

from quotelife.records cimport SIDE_ASK, SIDE_BID


cdef int side_init(BookSide* side, int32_t capacity) except -1:
    # calloc leaves untouched pages unmapped: a large bound costs memory only where levels really stand.
    side.key = <int64_t*>calloc(capacity, sizeof(int64_t))
    side.lots = <int64_t*>calloc(capacity, sizeof(int64_t))
    if side.key == NULL or side.lots == NULL:
        raise MemoryError()
    side.n = 0
    side.capacity = capacity
    side.dropped = 0
    return 0


cdef int book_init(LevelBook* book, int32_t capacity) except -1:
    if capacity < 8:
        raise ValueError("book capacity must be at least 8 levels")
    side_init(&book.bid, capacity)
    side_init(&book.ask, capacity)
    book_clear(book)
    return 0


cdef void book_free(LevelBook* book) noexcept nogil:
    free(book.bid.key)
    free(book.bid.lots)
    free(book.ask.key)
    free(book.ask.lots)
    book.bid.key = book.bid.lots = book.ask.key = book.ask.lots = NULL


cdef void book_clear(LevelBook* book) noexcept nogil:
    book.bid.n = 0
    book.ask.n = 0
    book.level_sequence = 0
    book.quote_sequence = 0
    book.has_quote = False
    book.crossed = False
    book.quote_bid_ticks = book.quote_bid_lots = book.quote_ask_ticks = book.quote_ask_lots = 0
    book.bid_ticks = book.bid_lots = book.ask_ticks = book.ask_lots = 0
    book.bid_deep = book.ask_deep = 0


cdef inline int32_t find(const BookSide* side, int64_t key) noexcept nogil:
    # First index whose key is >= key. Most updates fall near the best: walk eight levels, then halve.
    cdef int32_t hi = side.n
    cdef int32_t lo = hi - 8
    cdef int32_t mid
    if lo < 0:
        lo = 0
    if hi > 0 and (lo == 0 or side.key[lo] < key):
        while hi > lo and side.key[hi - 1] >= key:
            hi -= 1
        return hi
    hi = lo + 1 if lo < side.n else side.n
    lo = 0
    while lo < hi:
        mid = (lo + hi) >> 1
        if side.key[mid] < key:
            lo = mid + 1
        else:
            hi = mid
    return lo


cdef int64_t side_set(BookSide* side, int64_t key, int64_t lots) noexcept nogil:
    cdef int32_t i = find(side, key)
    cdef int32_t n = side.n
    cdef int64_t old = 0
    cdef int32_t drop
    if i < n and side.key[i] == key:
        old = side.lots[i]
        if lots > 0:
            side.lots[i] = lots
        else:
            memmove(side.key + i, side.key + i + 1, (n - i - 1) * sizeof(int64_t))
            memmove(side.lots + i, side.lots + i + 1, (n - i - 1) * sizeof(int64_t))
            side.n = n - 1
        return old
    if lots <= 0:
        return 0
    if n == side.capacity:
        if i == 0:
            side.dropped += 1
            return 0
        # Give up the farthest eighth at once, so that a full side costs one large move in many inserts.
        drop = n >> 3
        if drop > i:
            drop = i
        memmove(side.key, side.key + drop, (n - drop) * sizeof(int64_t))
        memmove(side.lots, side.lots + drop, (n - drop) * sizeof(int64_t))
        side.dropped += drop
        n -= drop
        i -= drop
    memmove(side.key + i + 1, side.key + i, (n - i) * sizeof(int64_t))
    memmove(side.lots + i + 1, side.lots + i, (n - i) * sizeof(int64_t))
    side.key[i] = key
    side.lots[i] = lots
    side.n = n + 1
    return 0


cdef int64_t book_level(LevelBook* book, int side, int64_t price_ticks, int64_t lots) noexcept nogil:
    if side == SIDE_BID:
        return side_set(&book.bid, price_ticks, lots)
    return side_set(&book.ask, -price_ticks, lots)


cdef void book_quote(LevelBook* book, int64_t sequence, int64_t bid_ticks, int64_t bid_lots,
                     int64_t ask_ticks, int64_t ask_lots) noexcept nogil:
    if sequence < book.quote_sequence:
        return                 # an older copy
    book.quote_sequence = sequence
    book.quote_bid_ticks = bid_ticks
    book.quote_bid_lots = bid_lots
    book.quote_ask_ticks = ask_ticks
    book.quote_ask_lots = ask_lots
    book.has_quote = True


cdef bint book_refresh(LevelBook* book) noexcept nogil:
    cdef int64_t bid_ticks = 0, bid_lots = 0, ask_ticks = 0, ask_lots = 0
    cdef int32_t nb = book.bid.n, na = book.ask.n
    cdef bint changed
    if book.has_quote and book.quote_sequence <= book.level_sequence:
        book.has_quote = False
    if book.has_quote:
        bid_ticks = book.quote_bid_ticks
        bid_lots = book.quote_bid_lots
        ask_ticks = book.quote_ask_ticks
        ask_lots = book.quote_ask_lots
        if bid_lots > 0:
            while nb > 0 and book.bid.key[nb - 1] >= bid_ticks:
                nb -= 1
        if ask_lots > 0:
            while na > 0 and -book.ask.key[na - 1] <= ask_ticks:
                na -= 1
    else:
        if nb > 0:
            nb -= 1
            bid_ticks = book.bid.key[nb]
            bid_lots = book.bid.lots[nb]
        if na > 0:
            na -= 1
            ask_ticks = -book.ask.key[na]
            ask_lots = book.ask.lots[na]
    changed = (bid_ticks != book.bid_ticks or bid_lots != book.bid_lots
               or ask_ticks != book.ask_ticks or ask_lots != book.ask_lots)
    book.bid_ticks = bid_ticks
    book.bid_lots = bid_lots
    book.ask_ticks = ask_ticks
    book.ask_lots = ask_lots
    book.bid_deep = nb
    book.ask_deep = na
    book.crossed = bid_lots > 0 and ask_lots > 0 and bid_ticks >= ask_ticks
    return changed


cdef class Book:
    """One level book.

    ``capacity`` bounds the levels kept a side; beyond it the farthest are given up and counted.
    Prices are ticks, sizes lots.
    """

    def __cinit__(self, int capacity=4096):
        book_init(&self.c, capacity)

    def __dealloc__(self):
        book_free(&self.c)

    def level(self, int side, int64_t price_ticks, int64_t lots):
        """Set the absolute size at a price (0 removes it); returns the size before."""
        if side != SIDE_BID and side != SIDE_ASK:
            raise ValueError("side must be BID or ASK")
        return book_level(&self.c, side, price_ticks, lots)

    def quote(self, int64_t sequence, int64_t bid_ticks, int64_t bid_lots, int64_t ask_ticks, int64_t ask_lots):
        """Best bid and offer as of ``sequence``; shown while newer than the levels."""
        book_quote(&self.c, sequence, bid_ticks, bid_lots, ask_ticks, ask_lots)

    def refresh(self, level_sequence=None):
        """Recompute the view after a venue message; True when a best price or size changed."""
        if level_sequence is not None:
            self.c.level_sequence = level_sequence
        return bool(book_refresh(&self.c))

    def clear(self):
        book_clear(&self.c)

    @property
    def best(self):
        """(bid ticks, bid lots, ask ticks, ask lots) of the view; lots 0: side empty."""
        return self.c.bid_ticks, self.c.bid_lots, self.c.ask_ticks, self.c.ask_lots

    @property
    def crossed(self):
        return bool(self.c.crossed)

    @property
    def dropped(self):
        """Far levels given up to stay inside capacity, both sides."""
        return self.c.bid.dropped + self.c.ask.dropped

    def bids(self, int n=10):
        """The best ``n`` bid levels of the view as (price ticks, lots)."""
        cdef int64_t price = 0, lots = 0
        cdef int k
        out = []
        for k in range(n):
            if not book_bid_level(&self.c, k, &price, &lots):
                break
            out.append((price, lots))
        return out

    def asks(self, int n=10):
        """The best ``n`` ask levels of the view as (price ticks, lots)."""
        cdef int64_t price = 0, lots = 0
        cdef int k
        out = []
        for k in range(n):
            if not book_ask_level(&self.c, k, &price, &lots):
                break
            out.append((price, lots))
        return out

    @property
    def microprice_ticks(self):
        """(a·q_b + b·q_a)/(q_a + q_b), SPEC 3.3; ``None`` unless both sides stand."""
        if not book_two_sided(&self.c):
            return None
        return (self.c.ask_ticks * <double>self.c.bid_lots + self.c.bid_ticks * <double>self.c.ask_lots) / (
            <double>self.c.bid_lots + <double>self.c.ask_lots)
