"""Level book: best prices, n levels a side, microprice. One LevelBook an instrument; see level_book.pxd."""

from libc.string cimport memcpy, memmove

from quotelife.arena cimport arena_free, arena_new, arena_size
from quotelife.records cimport SIDE_ASK, SIDE_BID


cdef inline int32_t blocks_for(int32_t capacity) noexcept nogil:
    # Neighbours hold more than BLOCK_MERGE levels together, which bounds the blocks that capacity levels can need.
    return 2 * (capacity // BLOCK_MERGE + 1) + 2


cdef inline size_t side_bytes(int32_t blocks) noexcept nogil:
    return <size_t>blocks * (2 * BLOCK + 3) * sizeof(int64_t)


cdef int side_init(BookSide* side, int32_t capacity) except -1:
    # What is always in use comes first, so that a shallow book touches few pages.
    cdef int32_t blocks = blocks_for(capacity)
    cdef char* memory = <char*>arena_new(side_bytes(blocks))
    if memory == NULL:
        raise MemoryError()
    side.top = <int64_t*>memory
    side.order = <int32_t*>(side.top + blocks)
    side.fill = side.order + blocks
    side.spare = side.fill + blocks
    side.lots = <int64_t*>(side.top + 3 * blocks)       # three int32 a block, room for four: stays aligned
    side.key = side.lots + <size_t>blocks * BLOCK
    side.blocks = blocks
    side.capacity = capacity
    side.dropped = 0
    return 0


cdef void side_free(BookSide* side) noexcept nogil:
    arena_free(side.top, side_bytes(side.blocks))
    side.key = side.lots = side.top = NULL
    side.order = side.fill = side.spare = NULL


cdef void side_clear(BookSide* side) noexcept nogil:
    cdef int32_t b
    side.n = 0
    side.used = 0
    side.spares = side.blocks
    for b in range(side.blocks):
        side.spare[b] = side.blocks - 1 - b


cdef int book_init(LevelBook* book, int32_t capacity) except -1:
    if capacity < 8:
        raise ValueError("book capacity must be at least 8 levels")
    side_init(&book.bid, capacity)
    try:
        side_init(&book.ask, capacity)
    except MemoryError:
        side_free(&book.bid)
        raise
    book_clear(book)
    return 0


cdef void book_free(LevelBook* book) noexcept nogil:
    side_free(&book.bid)
    side_free(&book.ask)


cdef size_t book_bytes(const LevelBook* book) noexcept nogil:
    return arena_size(side_bytes(book.bid.blocks)) + arena_size(side_bytes(book.ask.blocks))


cdef void book_clear_levels(LevelBook* book) noexcept nogil:
    side_clear(&book.bid)
    side_clear(&book.ask)
    book.level_sequence = 0


cdef void book_clear(LevelBook* book) noexcept nogil:
    book_clear_levels(book)
    book.quote_sequence = 0
    book.has_quote = False
    book.crossed = False
    book.quote_bid_ticks = book.quote_bid_lots = book.quote_ask_ticks = book.quote_ask_lots = 0
    book.bid_ticks = book.bid_lots = book.ask_ticks = book.ask_lots = 0
    book.bid_deep.place = book.ask_deep.place = -1
    book.bid_deep.i = book.ask_deep.i = 0


cdef inline int32_t find_place(const BookSide* side, int64_t key) noexcept nogil:
    # Place of the block that holds the key or would take it; there is at least one block.
    cdef int32_t lo = 0, hi = side.used - 1, mid
    if hi == 0 or side.top[hi - 1] < key:
        return hi              # most changes fall near the best price
    while lo < hi:
        mid = (lo + hi) >> 1
        if side.top[mid] < key:
            lo = mid + 1
        else:
            hi = mid
    return lo


cdef inline int32_t find_in_block(const int64_t* key, int32_t n, int64_t wanted) noexcept nogil:
    # First index whose key is >= wanted. By eights from the best level down, where most changes fall; of eight, seven
    # comparisons tell the place without a branch and without one waiting for another.
    cdef int32_t lo = 0, k
    while n >= 8 and key[n - 8] >= wanted:
        n -= 8
    if n >= 8:
        key += n - 7
        return (n - 7 + (key[0] < wanted) + (key[1] < wanted) + (key[2] < wanted) + (key[3] < wanted)
                + (key[4] < wanted) + (key[5] < wanted) + (key[6] < wanted))
    for k in range(n):
        lo += key[k] < wanted
    return lo


cdef inline void open_place(BookSide* side, int32_t place, int32_t block) noexcept nogil:
    cdef int32_t after = side.used - place
    memmove(side.order + place + 1, side.order + place, after * sizeof(int32_t))
    memmove(side.top + place + 1, side.top + place, after * sizeof(int64_t))
    side.order[place] = block
    side.used += 1


cdef inline void close_place(BookSide* side, int32_t place) noexcept nogil:
    cdef int32_t after = side.used - place - 1
    side.spare[side.spares] = side.order[place]
    side.spares += 1
    memmove(side.order + place, side.order + place + 1, after * sizeof(int32_t))
    memmove(side.top + place, side.top + place + 1, after * sizeof(int64_t))
    side.used -= 1


cdef bint merge(BookSide* side, int32_t place) noexcept nogil:
    # The block at place + 1 goes into the one at place, if the two are small enough.
    cdef int32_t a = side.order[place], b = side.order[place + 1]
    cdef int32_t na = side.fill[a], nb = side.fill[b]
    if na + nb > BLOCK_MERGE:
        return False
    memcpy(side.key + a * BLOCK + na, side.key + b * BLOCK, nb * sizeof(int64_t))
    memcpy(side.lots + a * BLOCK + na, side.lots + b * BLOCK, nb * sizeof(int64_t))
    side.fill[a] = na + nb
    side.top[place] = side.top[place + 1]
    close_place(side, place + 1)
    return True


cdef inline void move_few(int64_t* to, const int64_t* start) noexcept nogil:
    # Eight of them, whether that many are meant or not: for as little, asking how many costs more than moving them.
    cdef int64_t[8] few
    memcpy(few, start, sizeof(few))
    memcpy(to, few, sizeof(few))


cdef inline bint is_few(int32_t i, int32_t after) noexcept nogil:
    # May the levels after i be moved by one with move_few, without leaving the block?
    return after <= 8 and i + 9 <= BLOCK


cdef void remove(BookSide* side, int32_t place, int32_t i) noexcept nogil:
    cdef int32_t block = side.order[place]
    cdef int32_t left = side.fill[block] - 1
    cdef int64_t* key = side.key + block * BLOCK
    cdef int64_t* lots = side.lots + block * BLOCK
    if is_few(i, left - i):
        move_few(key + i, key + i + 1)
        move_few(lots + i, lots + i + 1)
    else:
        memmove(key + i, key + i + 1, (left - i) * sizeof(int64_t))
        memmove(lots + i, lots + i + 1, (left - i) * sizeof(int64_t))
    side.fill[block] = left
    side.n -= 1
    if left == 0:
        close_place(side, place)
        return
    side.top[place] = key[left - 1]
    if left < BLOCK_MERGE:
        if place + 1 < side.used and merge(side, place):
            return
        if place > 0:
            merge(side, place - 1)


cdef inline bint locate(const BookSide* side, int64_t key, int32_t* place, int32_t* i) noexcept nogil:
    # Where the key stands or would stand; whether it does.
    cdef int32_t block
    place[0] = i[0] = 0
    if side.used == 0:
        return False
    place[0] = find_place(side, key)
    block = side.order[place[0]]
    i[0] = find_in_block(side.key + block * BLOCK, side.fill[block], key)
    return i[0] < side.fill[block] and side.key[block * BLOCK + i[0]] == key


cdef void insert(BookSide* side, int32_t place, int32_t i, int64_t key, int64_t lots) noexcept nogil:
    cdef int32_t block, upper, n
    cdef int64_t* keys
    cdef int64_t* sizes
    if side.n >= side.capacity:
        side.dropped += 1
        if place == 0 and i == 0:
            return             # itself the farthest
        remove(side, 0, 0)
        locate(side, key, &place, &i)
    if not side.used:
        side.spares -= 1
        block = side.spare[side.spares]
        side.fill[block] = 0
        open_place(side, 0, block)
    else:
        block = side.order[place]
    n = side.fill[block]
    if n == BLOCK:
        side.spares -= 1
        upper = side.spare[side.spares]
        memcpy(side.key + upper * BLOCK, side.key + block * BLOCK + BLOCK // 2, BLOCK // 2 * sizeof(int64_t))
        memcpy(side.lots + upper * BLOCK, side.lots + block * BLOCK + BLOCK // 2, BLOCK // 2 * sizeof(int64_t))
        side.fill[block] = side.fill[upper] = BLOCK // 2
        open_place(side, place + 1, upper)
        side.top[place + 1] = side.key[upper * BLOCK + BLOCK // 2 - 1]
        side.top[place] = side.key[block * BLOCK + BLOCK // 2 - 1]
        n = BLOCK // 2
        if i > n:
            i -= n
            place += 1
            block = upper
    keys = side.key + block * BLOCK
    sizes = side.lots + block * BLOCK
    if is_few(i, n - i):
        move_few(keys + i + 1, keys + i)
        move_few(sizes + i + 1, sizes + i)
    else:
        memmove(keys + i + 1, keys + i, (n - i) * sizeof(int64_t))
        memmove(sizes + i + 1, sizes + i, (n - i) * sizeof(int64_t))
    keys[i] = key
    sizes[i] = lots
    side.fill[block] = n + 1
    side.top[place] = keys[n]
    side.n += 1


cdef int64_t side_set(BookSide* side, int64_t key, int64_t lots) noexcept nogil:
    cdef int32_t place, i
    cdef int64_t* at
    cdef int64_t old
    if not locate(side, key, &place, &i):
        if lots > 0:
            insert(side, place, i, key, lots)
        return 0
    at = side.lots + side.order[place] * BLOCK + i
    old = at[0]
    if lots > 0:
        at[0] = lots
    else:
        remove(side, place, i)
    return old


cdef int64_t side_add(BookSide* side, int64_t key, int64_t lots) noexcept nogil:
    cdef int32_t place, i
    cdef int64_t* at
    cdef int64_t old
    if not locate(side, key, &place, &i):
        if lots > 0:
            insert(side, place, i, key, lots)
        return 0
    at = side.lots + side.order[place] * BLOCK + i
    old = at[0]
    if old + lots > 0:
        at[0] = old + lots
    else:
        remove(side, place, i)
    return old


cdef int side_best(const BookSide* side, int64_t* key, int64_t* lots) noexcept nogil:
    cdef int32_t block, i
    if side.used == 0:
        return 0
    block = side.order[side.used - 1]
    i = block * BLOCK + side.fill[block] - 1
    key[0] = side.key[i]
    lots[0] = side.lots[i]
    return 1


cdef BookCursor below(const BookSide* side, int64_t key) noexcept nogil:
    # Cursor past all levels whose key is lower.
    cdef BookCursor deep
    cdef int32_t block
    deep.place = side.used - 1
    deep.i = 0
    while deep.place >= 0:
        block = side.order[deep.place]
        deep.i = side.fill[block]
        while deep.i > 0 and side.key[block * BLOCK + deep.i - 1] >= key:
            deep.i -= 1
        if deep.i > 0:
            break
        deep.place -= 1
    return deep


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


cdef inline BookCursor best_of(const BookSide* side, int64_t* key, int64_t* lots) noexcept nogil:
    # The best level, and the cursor past all others.
    cdef BookCursor deep
    cdef int32_t block
    deep.place = side.used - 1
    deep.i = 0
    key[0] = lots[0] = 0
    if deep.place >= 0:
        block = side.order[deep.place]
        deep.i = side.fill[block] - 1
        key[0] = side.key[block * BLOCK + deep.i]
        lots[0] = side.lots[block * BLOCK + deep.i]
    return deep


cdef bint book_refresh(LevelBook* book) noexcept nogil:
    cdef int64_t bid_ticks, bid_lots, ask_ticks, ask_lots
    cdef bint changed
    if book.has_quote and book.quote_sequence <= book.level_sequence:
        book.has_quote = False
    if book.has_quote:
        bid_ticks = book.quote_bid_ticks
        bid_lots = book.quote_bid_lots
        ask_ticks = book.quote_ask_ticks
        ask_lots = book.quote_ask_lots
        book.bid_deep = below(&book.bid, bid_ticks)
        book.ask_deep = below(&book.ask, -ask_ticks)
    else:
        book.bid_deep = best_of(&book.bid, &bid_ticks, &bid_lots)
        book.ask_deep = best_of(&book.ask, &ask_ticks, &ask_lots)
        ask_ticks = -ask_ticks
    changed = (bid_ticks != book.bid_ticks or bid_lots != book.bid_lots
               or ask_ticks != book.ask_ticks or ask_lots != book.ask_lots)
    book.bid_ticks = bid_ticks
    book.bid_lots = bid_lots
    book.ask_ticks = ask_ticks
    book.ask_lots = ask_lots
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
