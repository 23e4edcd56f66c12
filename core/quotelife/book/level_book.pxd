# Level book: absolute sizes at prices. Bids are kept under the key +price and asks under -price, so the best level
# has the highest key and one code serves both sides.
#
# A side is a window of WINDOW ticks around its best price, one place a tick, and behind it a sorted array cut into
# blocks for what lies farther away:
#   [base, base + WINDOW)      near[key mod WINDOW] is the size, 0: no level. A bit a level in bits and a bit a word of
#                              them in words say where levels stand, so the best and the next are found by counting
#                              zeros. Setting a size takes no search, and no branch but for "is it in the window?".
#   below base                 blocks: an insert or a delete moves the levels of one block, never those between it and
#                              the best price.
# Nothing stands above the window: a better price moves it up, the levels that fall out go to the blocks. It moves down
# when a change falls below it while the best level stands in its lowest quarter. Either way the best price stands three
# quarters up afterwards, so a market must go hundreds of ticks before the window moves again.
#
# A full side gives up its farthest levels, and a snapshot that was cut never told them. No venue tells them again, so
# from there on outwards levels may be missing, between those that came later: above known_above the side is complete,
# at and below it nothing can be told.
#
# A QUOTE newer than the levels is an overlay on the view, never written into the levels: a feed whose best
# quote runs ahead of its depth would otherwise lose levels that the depth stream has no reason to repeat.
from libc.stdint cimport INT64_MIN, int32_t, int64_t, uint32_t, uint64_t

cdef extern from *:
    int leading_zeros "__builtin_clzll"(uint64_t word) noexcept nogil      # of a word that is not 0

cdef enum:
    WINDOW = 1024              # ticks; a multiple of 64, with a bit a word in BookSide.words
    WORDS = 16                 # WINDOW / 64
    LEVELS_READ = 10           # a side, by features; what looks farther looks at known_above too
    BLOCK = 64                 # levels a block holds
    BLOCK_MERGE = 48           # neighbours that hold no more than this together become one

cdef struct BookSide:
    int64_t base               # lowest key of the window, a multiple of 64
    int64_t known_above        # highest key given up, or not told, since the side was cleared; INT64_MIN: none, the side
                               # is complete
    int64_t* near              # by key mod WINDOW: lots
    uint32_t words             # bit w: bits[w] is not 0
    int32_t n                  # levels, near and far
    int32_t beyond             # of them, those at and below known_above
    int32_t capacity
    int32_t wanted             # levels that must be known: LEVELS_READ, half of what is kept or told if that is less
    uint64_t bits[16]          # by (key / 64) mod WORDS, bit key mod 64: a level stands there
    int64_t* top               # by place: highest key of the block; start of the side's memory
    int64_t* key               # blocks x BLOCK, each block ascending
    int64_t* lots
    int32_t* order             # by place, ascending keys: number of the block
    int32_t* fill              # by number: levels in the block
    int32_t* spare             # numbers of unused blocks
    int32_t used               # blocks in use
    int32_t spares
    int32_t blocks             # blocks allocated
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
    bint has_quote             # a quote newer than the levels is laid over them
    bint crossed               # view: bid >= ask
    bint unsized               # the quotes come without sizes: those of the view say nothing

cdef int book_init(LevelBook* book, int32_t capacity) except -1
cdef void book_free(LevelBook* book) noexcept nogil
cdef void book_clear(LevelBook* book) noexcept nogil
# The levels alone: a quote that is newer than the snapshot to come stays.
cdef void book_clear_levels(LevelBook* book) noexcept nogil
cdef size_t book_bytes(const LevelBook* book) noexcept nogil
# Returns the size that stood there before.
cdef int64_t book_level(LevelBook* book, int side, int64_t price_ticks, int64_t lots) noexcept nogil
cdef void book_quote(LevelBook* book, int64_t sequence, int64_t bid_ticks, int64_t bid_lots,
                     int64_t ask_ticks, int64_t ask_lots) noexcept nogil
# Recompute the view after a venue message; True when a best price or size changed.
cdef bint book_refresh(LevelBook* book) noexcept nogil
# The levels come from a snapshot that told so many a side: the farthest bid and ask; 0: that side is complete.
cdef void book_cut(LevelBook* book, int64_t levels, int64_t bid_ticks, int64_t ask_ticks) noexcept nogil
# Best level of the arrays alone, no quote laid over them; 0 when the side is empty.
cdef int side_best(const BookSide* side, int64_t* key, int64_t* lots) noexcept nogil
# Key of the worst level; the side has one.
cdef int64_t side_worst(const BookSide* side) noexcept nogil
# side_put where the window does not hold the key, or the side is full.
cdef int64_t side_put_far(BookSide* side, int64_t key, int64_t lots, bint is_change) noexcept nogil
# Highest level of the blocks whose key is lower than key; 0 when there is none.
cdef int far_below(const BookSide* side, int64_t* key, int64_t* lots) noexcept nogil


cdef inline int64_t near_put(BookSide* side, int64_t key, int64_t lots, bint is_change) noexcept nogil:
    cdef int64_t* at = side.near + (key & (WINDOW - 1))
    cdef int64_t old = at[0]
    cdef int64_t new = lots + (old if is_change else 0)
    cdef int word = (key >> 6) & (WORDS - 1)
    cdef int bit = key & 63
    cdef uint64_t bits = side.bits[word] & ~(<uint64_t>1 << bit)
    new = new if new > 0 else 0
    bits |= <uint64_t>(new > 0) << bit
    at[0] = new
    side.bits[word] = bits
    side.words = (side.words & ~(<uint32_t>1 << word)) | (<uint32_t>(bits != 0) << word)
    side.n += (new > 0) - (old > 0)
    if key <= side.known_above:
        side.beyond += (new > 0) - (old > 0)
    return old

cdef inline int64_t side_put(BookSide* side, int64_t key, int64_t lots, bint is_change) noexcept nogil:
    # Set the size at a key, or change it by lots; a size below 1 removes the level. Returns the size before.
    if <uint64_t>key - <uint64_t>side.base < WINDOW and side.n < side.capacity:
        return near_put(side, key, lots, is_change)
    return side_put_far(side, key, lots, is_change)

cdef inline uint32_t words_from_base(const BookSide* side) noexcept nogil:
    # words, turned so that bit 0 is the word at base.
    return ((side.words << WORDS | side.words) >> ((side.base >> 6) & (WORDS - 1))) & ((1 << WORDS) - 1)

cdef inline int near_highest(const BookSide* side, uint32_t words, int64_t* key, int64_t* lots) noexcept nogil:
    # Highest level of these words, counted from base; 0 when there are none.
    cdef int64_t word
    if words == 0:
        return 0
    word = (side.base >> 6) + 63 - leading_zeros(words)
    key[0] = (word << 6) + 63 - leading_zeros(side.bits[word & (WORDS - 1)])
    lots[0] = side.near[key[0] & (WINDOW - 1)]
    return 1

cdef inline int side_below(const BookSide* side, int64_t* key, int64_t* lots) noexcept nogil:
    # Highest level whose key is lower than key; 0, and all stays as it was, when there is none.
    cdef int64_t last
    cdef uint64_t bits
    if key[0] <= side.base:
        return far_below(side, key, lots)
    last = min(key[0] - 1, side.base + WINDOW - 1)
    bits = side.bits[(last >> 6) & (WORDS - 1)] & (~<uint64_t>0 >> (63 - (last & 63)))
    if bits:
        key[0] = (last | 63) - leading_zeros(bits)
        lots[0] = side.near[key[0] & (WINDOW - 1)]
        return 1
    if near_highest(side, words_from_base(side) & ((<uint32_t>1 << ((last - side.base) >> 6)) - 1), key, lots):
        return 1
    return far_below(side, key, lots)

cdef inline bint side_is_known(const BookSide* side) noexcept nogil:
    # A side that gave up nothing is known, however few levels it has.
    return side.n - side.beyond >= side.wanted or side.known_above == INT64_MIN

cdef inline bint book_is_known(const LevelBook* book) noexcept nogil:
    # Are the best levels known, as many as are wanted?
    return side_is_known(&book.bid) and side_is_known(&book.ask)

cdef inline bint book_two_sided(const LevelBook* book) noexcept nogil:
    return book.bid_lots > 0 and book.ask_lots > 0

# The populated levels of the view in turn, k = 0, 1, 2 ...: k = 0 gives the best, any other the next one worse than
# price_ticks. 0 when there is none: the side's best is empty, or there are fewer levels; price_ticks then stays.
cdef inline int book_next_bid(const LevelBook* book, int k, int64_t* price_ticks, int64_t* lots) noexcept nogil:
    if k == 0:
        price_ticks[0] = book.bid_ticks
        lots[0] = book.bid_lots
        return book.bid_lots > 0
    return side_below(&book.bid, price_ticks, lots)

cdef inline int book_next_ask(const LevelBook* book, int k, int64_t* price_ticks, int64_t* lots) noexcept nogil:
    cdef int64_t key = -price_ticks[0]
    if k == 0:
        price_ticks[0] = book.ask_ticks
        lots[0] = book.ask_lots
        return book.ask_lots > 0
    if not side_below(&book.ask, &key, lots):
        return 0
    price_ticks[0] = -key
    return 1


cdef class Book:
    # Python view of one book: tests, tools, bench.
    cdef LevelBook c
