# Level book: absolute sizes at prices, best at the end of each array so that the busy end moves few elements.
# Bids are kept under the key +price and asks under −price: one code for both sides.
#
# A QUOTE newer than the levels is an overlay on the view, never written into the levels: a feed whose best
# quote runs ahead of its depth would otherwise lose levels that the depth stream has no reason to repeat.
from libc.stdint cimport int32_t, int64_t

cdef struct BookSide:
    int64_t* key               # ascending; key[n - 1] is the best
    int64_t* lots
    int32_t n
    int32_t capacity
    int64_t dropped            # far levels given up to stay inside capacity

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
    int32_t bid_deep           # levels of the arrays that are strictly worse than the view's best
    int32_t ask_deep
    bint has_quote             # a quote newer than the levels is laid over them
    bint crossed               # view: bid >= ask

cdef int book_init(LevelBook* book, int32_t capacity) except -1
cdef void book_free(LevelBook* book) noexcept nogil
cdef void book_clear(LevelBook* book) noexcept nogil
# Returns the size that stood there before.
cdef int64_t book_level(LevelBook* book, int side, int64_t price_ticks, int64_t lots) noexcept nogil
cdef void book_quote(LevelBook* book, int64_t sequence, int64_t bid_ticks, int64_t bid_lots,
                     int64_t ask_ticks, int64_t ask_lots) noexcept nogil
# Recompute the view after a venue message; True when a best price or size changed.
cdef bint book_refresh(LevelBook* book) noexcept nogil

cdef inline bint book_two_sided(const LevelBook* book) noexcept nogil:
    return book.bid_lots > 0 and book.ask_lots > 0

cdef inline int book_bid_level(const LevelBook* book, int k, int64_t* price_ticks, int64_t* lots) noexcept nogil:
    # k-th populated bid level of the view, 0 = best; 0 when there are fewer.
    if k == 0:
        price_ticks[0] = book.bid_ticks
        lots[0] = book.bid_lots
        return book.bid_lots > 0
    cdef int32_t i = book.bid_deep - k
    if i < 0:
        return 0
    price_ticks[0] = book.bid.key[i]
    lots[0] = book.bid.lots[i]
    return 1

cdef inline int book_ask_level(const LevelBook* book, int k, int64_t* price_ticks, int64_t* lots) noexcept nogil:
    if k == 0:
        price_ticks[0] = book.ask_ticks
        lots[0] = book.ask_lots
        return book.ask_lots > 0
    cdef int32_t i = book.ask_deep - k
    if i < 0:
        return 0
    price_ticks[0] = -book.ask.key[i]
    lots[0] = book.ask.lots[i]
    return 1


cdef class Book:
    # Python view of one book: tests, tools, bench.
    cdef LevelBook c
