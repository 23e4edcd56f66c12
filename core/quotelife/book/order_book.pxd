# Order-level book: the resting orders by id, summed into the very levels that a level feed would set, so that
# everything behind the view is the same for both.
#
# Orders stand in an array, the place that was given up last is taken first. They are found through an open-addressing
# table of 8 bytes a slot: half of the id's hash and the place (linear probing, a removal shifts its followers back, so
# there are no tombstones and a lookup never slows down with age). What a record touches is so a line of each, and the
# whole of a busy book stays in the cache; a table of the orders themselves, most of it empty, did not. Room for
# orders_max is reserved at the start and costs nothing until it is used: the table begins with 4,096 slots, doubles when
# a third of them is taken, and a table of n slots stands at slot n of the reserved memory, so that growing cannot fail.
# One that has grown stays so.
#
# No record can corrupt the book. What cannot be applied changes nothing and is counted: see order_apply.
#
# Levels are a window on the orders: where a side outgrows the levels kept, the farthest are given up, orders at and
# beyond that price are kept by id alone, and when half the levels have gone the window is filled again from the orders.
from libc.stdint cimport int32_t, int64_t, uint8_t, uint32_t, uint64_t

from quotelife.book.level_book cimport Book, LevelBook
from quotelife.records cimport Event

cdef enum:
    ORDERS_MAX = 1 << 22       # the largest orders_max

cdef struct Order:             # 32 bytes
    int64_t id
    int64_t key                # price in ticks, asks negated
    int64_t lots               # above 0; of a place that is free: the next one, 0: none
    uint32_t touched           # receive stamp of its last record, in 2^24 ns (17 ms); ages up to a year compare right
    uint8_t side               # Side; SIDE_NONE: the place is free

cdef struct OrderBook:
    Order* orders              # places 1 to orders_max
    int64_t used               # places taken so far
    int64_t spare              # the first free place among them, 0: none
    uint64_t* memory           # 2 x slots_max
    uint64_t* slots            # the table in use; 0: empty
    int64_t mask               # its slots - 1
    int64_t slots_max
    int64_t orders_max
    int64_t n                  # orders
    int32_t shift              # 64 - log2(slots): the hash is the upper bits of the product
    int64_t floor[2]           # bid, ask: key at and below which orders are not in the levels
    bint full                  # an ADD was dropped since the last clear: the book is not whole
    bint diverged              # a record did not fit what rests since the last clear: repeated, unknown, invalid, excessive
    uint64_t repeated          # ADDs with the id of an order that rests already
    uint64_t unknown           # MODIFY, CANCEL, EXECUTE of an id that does not rest
    uint64_t invalid           # no side, a price or size out of range
    uint64_t excessive         # CANCEL or EXECUTE of more than was left
    uint64_t dropped           # ADDs beyond orders_max
    uint64_t purged            # stale orders taken out

cdef struct OrderChange:       # what one record did, for who counts flow
    int64_t added_lots         # size that came to rest
    int64_t cancelled_lots     # size taken away without a trade
    int64_t executed_lots      # size traded, of an unknown order too
    int64_t executed_ticks
    int side                   # of the resting order

cdef int orders_init(OrderBook* self, int64_t orders_max) except -1
cdef void orders_free(OrderBook* self) noexcept nogil
# Forget every order; the levels are cleared by their owner. Counters stay.
cdef void orders_clear(OrderBook* self) noexcept nogil
cdef size_t orders_bytes(const OrderBook* self) noexcept nogil
cdef const Order* orders_find(const OrderBook* self, int64_t order_id) noexcept nogil
# Apply one ADD, MODIFY, CANCEL or EXECUTE, as records.pxd says what they mean; False when the book stays as it was:
#   ADD of an id that rests      the newer record is the truth: the old order is replaced, counted as repeated; so it
#                                is where a MODIFY gives an order the id of another
#   an id that does not rest     nothing happens, counted as unknown; an EXECUTE that carries price and size and side is
#                                reported as traded all the same
#   more than is left            all that is left, counted as excessive
#   ADD, MODIFY of no size       an ADD is invalid, a MODIFY takes the order away
#   size < 0 or > 2^40 lots, |price| > 2^60 ticks, an ADD without a side: invalid
#   ADD beyond orders_max        dropped, and the book is full: what rests is not all there is until it is cleared
cdef bint order_apply(OrderBook* self, LevelBook* book, const Event* event, OrderChange* change) noexcept nogil
# Two ways to be rid of orders whose end was never told; both are rare and look through the whole table.
#
# What crosses the best prices that the venue itself publishes (a side without lots is none), unless a record touched
# it later than before_ns: published books lag behind the orders. Returns how many went.
cdef int64_t orders_purge(OrderBook* self, LevelBook* book, int64_t bid_ticks, int64_t bid_lots, int64_t ask_ticks,
                          int64_t ask_lots, int64_t before_ns) noexcept nogil
# In a book that stays crossed one side is wrong: the one with fewer orders inside the other, of equally many the one
# that was touched last the longer ago, else both. Uncrosses the book. Returns how many went.
cdef int64_t orders_uncross(OrderBook* self, LevelBook* book) noexcept nogil


cdef class Orders:
    # Python view of one order-level book: tests, tools, research.
    cdef OrderBook c
    cdef readonly Book levels
    cdef public int64_t now_ns
    cdef tuple _apply(self, int kind, int64_t order_id, int side, int64_t price_ticks, int64_t lots,
                      int64_t new_id=*)
