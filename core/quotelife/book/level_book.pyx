"""Level book: best prices, n levels a side, microprice. One LevelBook an instrument; see level_book.pxd."""

from libc.stdint cimport INT64_MAX, INT64_MIN
from libc.string cimport memcpy, memmove, memset

from quotelife.arena cimport arena_free, arena_new, arena_size
from quotelife.records cimport SIDE_ASK, SIDE_BID


cdef inline int32_t blocks_for(int32_t capacity) noexcept nogil:
    # Neighbours hold more than BLOCK_MERGE levels together, which bounds the blocks that capacity levels can need.
    return 2 * (capacity // BLOCK_MERGE + 1) + 2


cdef inline size_t side_bytes(int32_t blocks) noexcept nogil:
    return (WINDOW + <size_t>blocks * (2 * BLOCK + 3)) * sizeof(int64_t)


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
    side.near = side.top + 3 * blocks                   # three int32 a block, room for four: stays aligned
    side.lots = side.near + WINDOW
    side.key = side.lots + <size_t>blocks * BLOCK
    side.blocks = blocks
    side.capacity = capacity
    side.dropped = 0
    side.base = 0
    return 0


cdef void side_free(BookSide* side) noexcept nogil:
    arena_free(side.top, side_bytes(side.blocks))
    side.key = side.lots = side.near = side.top = NULL
    side.order = side.fill = side.spare = NULL


cdef void side_clear(BookSide* side) noexcept nogil:
    cdef int32_t b
    if side.words:
        memset(side.near, 0, WINDOW * sizeof(int64_t))
    memset(side.bits, 0, sizeof(side.bits))
    side.words = 0
    side.known_above = INT64_MIN
    side.beyond = 0
    side.wanted = min(LEVELS_READ, side.capacity // 2)
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
    book.crossed = book.unsized = False
    book.quote_bid_ticks = book.quote_bid_lots = book.quote_ask_ticks = book.quote_ask_lots = 0
    book.bid_ticks = book.bid_lots = book.ask_ticks = book.ask_lots = 0


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


cdef inline void give_up(BookSide* side, int64_t key) noexcept nogil:
    # No level but the one that is going to go can stand as far out.
    side.dropped += 1
    if key > side.known_above:
        side.known_above = key
        side.beyond = side_worst(side) <= key


cdef inline bint is_few(int32_t i, int32_t after) noexcept nogil:
    # May the levels after i be moved by one with move_few, without leaving the block?
    return after <= 8 and i + 9 <= BLOCK


cdef void remove(BookSide* side, int32_t place, int32_t i) noexcept nogil:
    cdef int32_t block = side.order[place]
    cdef int32_t left = side.fill[block] - 1
    cdef int64_t* key = side.key + block * BLOCK
    cdef int64_t* lots = side.lots + block * BLOCK
    side.beyond -= key[i] <= side.known_above
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
        if place == 0 and i == 0:
            give_up(side, key)
            return             # itself the farthest
        give_up(side, side_worst(side))
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
    side.beyond += key <= side.known_above


cdef int64_t blocks_put(BookSide* side, int64_t key, int64_t lots, bint is_change) noexcept nogil:
    cdef int32_t place, i
    cdef int64_t* at
    cdef int64_t old
    if not locate(side, key, &place, &i):
        if lots > 0:
            insert(side, place, i, key, lots)
        return 0
    at = side.lots + side.order[place] * BLOCK + i
    old = at[0]
    lots += old if is_change else 0
    if lots > 0:
        at[0] = lots
    else:
        remove(side, place, i)
    return old


cdef inline int blocks_best(const BookSide* side, int64_t* key, int64_t* lots) noexcept nogil:
    cdef int32_t block, i
    if side.used == 0:
        return 0
    block = side.order[side.used - 1]
    i = block * BLOCK + side.fill[block] - 1
    key[0] = side.key[i]
    lots[0] = side.lots[i]
    return 1


cdef int far_below(const BookSide* side, int64_t* key, int64_t* lots) noexcept nogil:
    cdef int32_t place, i
    if side.used == 0:
        return 0
    locate(side, key[0], &place, &i)
    if i == 0:
        if place == 0:
            return 0
        place -= 1
        i = side.fill[side.order[place]]
    i += side.order[place] * BLOCK - 1
    key[0] = side.key[i]
    lots[0] = side.lots[i]
    return 1


# --- the window ---

cdef inline int64_t base_for(int64_t best) noexcept nogil:
    # No price is too far out for the window to stand there.
    if best < INT64_MIN + WINDOW:
        return INT64_MIN
    return min((best & ~<int64_t>63) - WINDOW // 4 * 3, INT64_MAX - WINDOW + 1)


cdef inline int64_t near_lowest(const BookSide* side) noexcept nogil:
    # Key of the window's lowest level; it has one.
    cdef uint32_t words = words_from_base(side)
    cdef int64_t word
    words &= 0 - words
    word = (side.base >> 6) + 63 - leading_zeros(words)
    cdef uint64_t bits = side.bits[word & (WORDS - 1)]
    return (word << 6) + 63 - leading_zeros(bits & (0 - bits))


cdef void move_up(BookSide* side, int64_t base) noexcept nogil:
    # What falls out goes to the blocks, where it is the best.
    cdef int64_t key, lots
    while side.words:
        key = near_lowest(side)
        if key >= base:
            break
        lots = near_put(side, key, 0, False)
        insert(side, max(side.used - 1, 0), side.fill[side.order[side.used - 1]] if side.used else 0, key, lots)
    side.base = base


cdef void move_down(BookSide* side, int64_t base) noexcept nogil:
    cdef int64_t key = 0, lots = 0
    side.base = base
    while blocks_best(side, &key, &lots) and key >= base:
        remove(side, side.used - 1, side.fill[side.order[side.used - 1]] - 1)
        near_put(side, key, lots, False)


cdef inline void move_window(BookSide* side, int64_t key) noexcept nogil:
    # A level at this key, outside the window, is going to change: should the window hold it?
    cdef int64_t best = key, lots = 0
    if key > side.base:
        move_up(side, base_for(key))
    elif side.words == 0:
        if blocks_best(side, &best, &lots) and best < key:
            best = key
        move_down(side, base_for(best))
    elif (words_from_base(side) >> WORDS // 4) == 0:
        near_highest(side, words_from_base(side), &best, &lots)
        move_down(side, base_for(best))


cdef int64_t side_put_far(BookSide* side, int64_t key, int64_t lots, bint is_change) noexcept nogil:
    cdef int64_t worst
    if <uint64_t>key - <uint64_t>side.base >= WINDOW:
        if lots > 0:
            move_window(side, key)
        if <uint64_t>key - <uint64_t>side.base >= WINDOW:
            return blocks_put(side, key, lots, is_change)
    if side.n >= side.capacity and lots > 0 and side.near[key & (WINDOW - 1)] == 0:
        worst = side_worst(side)
        give_up(side, min(key, worst))
        if key < worst:
            return 0           # itself the farthest
        if side.used:
            remove(side, 0, 0)
        else:
            near_put(side, worst, 0, False)
    return near_put(side, key, lots, is_change)


cdef int side_best(const BookSide* side, int64_t* key, int64_t* lots) noexcept nogil:
    return near_highest(side, words_from_base(side), key, lots) or blocks_best(side, key, lots)


cdef int64_t side_worst(const BookSide* side) noexcept nogil:
    return side.key[side.order[0] * BLOCK] if side.used else near_lowest(side)


cdef void side_cut(BookSide* side, int64_t levels, int64_t last) noexcept nogil:
    # The farthest level told is the last one known.
    cdef int64_t key = last, lots = 0
    if last - 1 > side.known_above:
        side.known_above = last - 1
        side.beyond = 0
        while side_below(side, &key, &lots):
            side.beyond += 1
    side.wanted = <int32_t>min(<int64_t>side.wanted, max(levels // 2, 1))


cdef void book_cut(LevelBook* book, int64_t levels, int64_t bid_ticks, int64_t ask_ticks) noexcept nogil:
    if bid_ticks:
        side_cut(&book.bid, levels, bid_ticks)
    if ask_ticks:
        side_cut(&book.ask, levels, -ask_ticks)


cdef int64_t book_level(LevelBook* book, int side, int64_t price_ticks, int64_t lots) noexcept nogil:
    if side == SIDE_BID:
        return side_put(&book.bid, price_ticks, lots, False)
    return side_put(&book.ask, -price_ticks, lots, False)


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
    cdef int64_t bid_ticks, bid_lots, ask_ticks, ask_lots
    cdef bint changed
    if book.has_quote and book.quote_sequence <= book.level_sequence:
        book.has_quote = False
    if book.has_quote:
        bid_ticks = book.quote_bid_ticks
        bid_lots = book.quote_bid_lots
        ask_ticks = book.quote_ask_ticks
        ask_lots = book.quote_ask_lots
    else:
        if not side_best(&book.bid, &bid_ticks, &bid_lots):
            bid_ticks = bid_lots = 0
        if not side_best(&book.ask, &ask_ticks, &ask_lots):
            ask_ticks = ask_lots = 0
        ask_ticks = -ask_ticks
    # Whether one differs is known to nobody before; which one need not cost a branch.
    changed = ((bid_ticks ^ book.bid_ticks) | (bid_lots ^ book.bid_lots)
               | (ask_ticks ^ book.ask_ticks) | (ask_lots ^ book.ask_lots)) != 0
    book.bid_ticks = bid_ticks
    book.bid_lots = bid_lots
    book.ask_ticks = ask_ticks
    book.ask_lots = ask_lots
    book.crossed = (bid_lots > 0) & (ask_lots > 0) & (bid_ticks >= ask_ticks)
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

    @property
    def known(self):
        """Are the best levels of both sides known, as many as are wanted (``level_book.pxd``)?"""
        return bool(book_is_known(&self.c))

    def bids(self, int n=10):
        """The best ``n`` bid levels of the view as (price ticks, lots)."""
        cdef int64_t price = 0, lots = 0
        cdef int k
        out = []
        for k in range(n):
            if not book_next_bid(&self.c, k, &price, &lots):
                break
            out.append((price, lots))
        return out

    def asks(self, int n=10):
        """The best ``n`` ask levels of the view as (price ticks, lots)."""
        cdef int64_t price = 0, lots = 0
        cdef int k
        out = []
        for k in range(n):
            if not book_next_ask(&self.c, k, &price, &lots):
                break
            out.append((price, lots))
        return out

    @property
    def microprice_ticks(self):
        """The microprice (a·q_b + b·q_a)/(q_a + q_b); ``None`` unless both sides stand."""
        if not book_two_sided(&self.c):
            return None
        return (self.c.ask_ticks * <double>self.c.bid_lots + self.c.bid_ticks * <double>self.c.ask_lots) / (
            <double>self.c.bid_lots + <double>self.c.ask_lots)
