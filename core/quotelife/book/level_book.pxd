# Level book: absolute sizes at prices. Bids are kept under the key +price and asks under -price, so the best level
# has the highest key and one code serves both sides.
#
# A side is a sorted array cut into blocks: an insert or a delete moves the levels of one block, never those between
# it and the best price, so a change a thousand levels away costs what one at the best price does.
#
# A QUOTE newer than the levels is an overlay on the view, never written into the levels: a feed whose best
# quote runs ahead of its depth would otherwise lose levels that the depth stream has no reason to repeat.
from libc.stdint cimport int32_t, int64_t

cdef enum:
    BLOCK = 64                 # levels a block holds
    BLOCK_MERGE = 48           # neighbours that hold no more than this together become one

cdef struct BookSide:
    int64_t* top               # by place: highest key of the block; start of the side's memory
    int64_t* key               # blocks x BLOCK, each block ascending
    int64_t* lots
    int32_t* order             # by place, ascending keys: number of the block
    int32_t* fill              # by number: levels in the block
    int32_t* spare             # numbers of unused blocks
    int32_t used               # blocks in use
    int32_t spares
    int32_t blocks             # blocks allocated
    int32_t n                  # levels
    int32_t capacity
    int64_t dropped            # far levels given up to stay inside capacity

cdef struct BookCursor:        # levels strictly worse than the view's best: blocks before place, and i of this one
    int32_t place
    int32_t i

cdef struct LevelBook:
    BookSide bid
    BookSide ask
    int64_t level_sequence     # venue sequence of the last level message
    int64_t quote_sequence     # venue sequence of the last quote
    int64_t quote_bid_ticks
    int64_t quote_bid_lots
    int64_t quote_ask_ticks
    int64_t quote_ask_lots
    int64_t bid_ticks          # the view, valid after book_refresh(); lots == 0: side empty
    int64_t bid_lots
    int64_t ask_ticks
    int64_t ask_lots
    BookCursor bid_deep
    BookCursor ask_deep
    bint has_quote             # a quote newer than the levels is laid over them
    bint crossed               # view: bid >= ask

cdef int book_init(LevelBook* book, int32_t capacity) except -1
cdef void book_free(LevelBook* book) noexcept nogil
cdef void book_clear(LevelBook* book) noexcept nogil
# The levels alone: a quote that is newer than the snapshot to come stays.
cdef void book_clear_levels(LevelBook* book) noexcept nogil
cdef size_t book_bytes(const LevelBook* book) noexcept nogil
# Returns the size that stood there before.
cdef int64_t book_level(LevelBook* book, int side, int64_t price_ticks, int64_t lots) noexcept nogil
# Change the size at a key of one side by lots; a size below 1 removes the level. Returns the size before.
cdef int64_t side_add(BookSide* side, int64_t key, int64_t lots) noexcept nogil
cdef void book_quote(LevelBook* book, int64_t sequence, int64_t bid_ticks, int64_t bid_lots,
                     int64_t ask_ticks, int64_t ask_lots) noexcept nogil
# Recompute the view after a venue message; True when a best price or size changed.
cdef bint book_refresh(LevelBook* book) noexcept nogil
# Best level of the arrays alone, no quote laid over them; 0 when the side is empty.
cdef int side_best(const BookSide* side, int64_t* key, int64_t* lots) noexcept nogil

cdef inline bint book_two_sided(const LevelBook* book) noexcept nogil:
    return book.bid_lots > 0 and book.ask_lots > 0

cdef inline int side_level(const BookSide* side, BookCursor deep, int k, int64_t* key, int64_t* lots) noexcept nogil:
    # k-th level below the cursor, 1 = the next; 0 when there are fewer.
    cdef int32_t place = deep.place, i = deep.i
    while place >= 0:
        if i >= k:
            i = side.order[place] * BLOCK + i - k
            key[0] = side.key[i]
            lots[0] = side.lots[i]
            return 1
        k -= i
        place -= 1
        if place >= 0:
            i = side.fill[side.order[place]]
    return 0

cdef inline int book_bid_level(const LevelBook* book, int k, int64_t* price_ticks, int64_t* lots) noexcept nogil:
    # k-th populated bid level of the view, 0 = best; 0 when there are fewer.
    if k == 0:
        price_ticks[0] = book.bid_ticks
        lots[0] = book.bid_lots
        return book.bid_lots > 0
    return side_level(&book.bid, book.bid_deep, k, price_ticks, lots)

cdef inline int book_ask_level(const LevelBook* book, int k, int64_t* price_ticks, int64_t* lots) noexcept nogil:
    if k == 0:
        price_ticks[0] = book.ask_ticks
        lots[0] = book.ask_lots
        return book.ask_lots > 0
    cdef int found = side_level(&book.ask, book.ask_deep, k, price_ticks, lots)
    price_ticks[0] = -price_ticks[0]
    return found


cdef class Book:
    # Python view of one book: tests, tools, bench.
    cdef LevelBook c
