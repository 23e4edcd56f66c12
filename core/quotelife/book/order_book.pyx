"""Order-level book: orders by id behind the same view as the level book. See order_book.pxd."""

from libc.stdint cimport INT64_MIN, int32_t, int64_t, uint32_t, uint64_t
from libc.string cimport memset

from quotelife.arena cimport arena_forget, arena_free, arena_new, arena_size
from quotelife.book.level_book cimport (
    Book, BookSide, LevelBook, book_clear, side_best, side_put, side_worst,
)
from quotelife.records cimport (
    EV_ADD, EV_CANCEL, EV_EXECUTE, EV_MODIFY, SIDE_ASK, SIDE_BID, SIDE_NONE, Event,
)

cdef enum:
    SLOTS_MIN = 4096
    SLOTS_PER_ORDER = 3        # at least: most orders then stand where they are looked for first
    TOUCH_SHIFT = 24

# GOLDEN is 2^64 / golden ratio: it spreads ids that are counted up, or stepped. LOTS_MAX x ORDERS_MAX is below 2^63.
cdef extern from *:
    """
    #define GOLDEN 0x9E3779B97F4A7C15ULL
    #define LOTS_MAX (1LL << 40)
    #define PRICE_MAX (1LL << 60)
    #define PLACE 0xFFFFFFFFULL
    #define HASH (~PLACE)
    """
    const uint64_t GOLDEN
    const int64_t LOTS_MAX
    const int64_t PRICE_MAX
    const uint64_t PLACE       # of a slot: the order's place …
    const uint64_t HASH        # … and the upper half of its hash, which says where its home is in a table of any size


cdef int orders_init(OrderBook* self, int64_t orders_max) except -1:
    cdef int64_t slots = SLOTS_MIN
    if not 1 <= orders_max <= ORDERS_MAX:
        raise ValueError(f"orders_max must be 1 to {ORDERS_MAX}")
    memset(self, 0, sizeof(OrderBook))
    while slots < SLOTS_PER_ORDER * orders_max:
        slots *= 2
    self.slots_max = slots
    self.orders_max = orders_max
    self.memory = <uint64_t*>arena_new(2 * slots * sizeof(uint64_t))
    self.orders = <Order*>arena_new((orders_max + 1) * sizeof(Order))
    if self.memory == NULL or self.orders == NULL:
        orders_free(self)
        raise MemoryError()
    self.floor[0] = self.floor[1] = INT64_MIN
    use_table(self, SLOTS_MIN)
    return 0


cdef void orders_free(OrderBook* self) noexcept nogil:
    arena_free(self.memory, 2 * self.slots_max * sizeof(uint64_t))
    arena_free(self.orders, (self.orders_max + 1) * sizeof(Order))
    self.memory = self.slots = NULL
    self.orders = NULL


cdef size_t orders_bytes(const OrderBook* self) noexcept nogil:
    if self.memory == NULL:
        return 0
    return arena_size(2 * self.slots_max * sizeof(uint64_t)) + arena_size((self.orders_max + 1) * sizeof(Order))


cdef void orders_clear(OrderBook* self) noexcept nogil:
    memset(self.slots, 0, (self.mask + 1) * sizeof(uint64_t))
    self.n = self.used = self.spare = 0
    self.full = self.diverged = False
    self.floor[0] = self.floor[1] = INT64_MIN


# --- the table ---

cdef void use_table(OrderBook* self, int64_t slots) noexcept nogil:
    self.slots = self.memory + slots
    self.mask = slots - 1
    self.shift = 64
    while slots > 1:
        slots >>= 1
        self.shift -= 1


cdef inline uint64_t hash_of(int64_t order_id) noexcept nogil:
    return (<uint64_t>order_id * GOLDEN) & HASH


cdef inline Order* order_at(const OrderBook* self, const uint64_t* slot) noexcept nogil:
    return self.orders + (slot[0] & PLACE)


cdef inline uint64_t* find(const OrderBook* self, int64_t order_id) noexcept nogil:
    # The order's slot, else the empty one that would take it.
    cdef uint64_t hashed = hash_of(order_id)
    cdef int64_t i = hashed >> self.shift
    cdef uint64_t* slot = self.slots + i
    while slot[0] != 0 and ((slot[0] & HASH) != hashed or order_at(self, slot).id != order_id):
        i = (i + 1) & self.mask
        slot = self.slots + i
    return slot


cdef const Order* orders_find(const OrderBook* self, int64_t order_id) noexcept nogil:
    cdef const uint64_t* slot = find(self, order_id)
    return order_at(self, slot) if slot[0] else NULL


cdef void grow(OrderBook* self) noexcept nogil:
    cdef uint64_t* old = self.slots
    cdef int64_t i, at, slots = self.mask + 1
    use_table(self, 2 * slots)
    for i in range(slots):
        if old[i]:
            at = (old[i] & HASH) >> self.shift
            while self.slots[at]:
                at = (at + 1) & self.mask
            self.slots[at] = old[i]
    arena_forget(old, slots * sizeof(uint64_t))


cdef inline void unlink(OrderBook* self, uint64_t* slot) noexcept nogil:
    # Slots behind the hole move into it as long as that brings them no further from home than their home is.
    cdef int64_t hole = slot - self.slots, i = hole
    cdef uint64_t word
    while True:
        i = (i + 1) & self.mask
        word = self.slots[i]
        if word == 0:
            break
        if ((i - <int64_t>(word >> self.shift)) & self.mask) >= ((i - hole) & self.mask):
            self.slots[hole] = word
            hole = i
    self.slots[hole] = 0


cdef inline void forget(OrderBook* self, uint64_t* slot) noexcept nogil:
    # Its place is the next one taken: what was touched last is near.
    cdef Order* order = order_at(self, slot)
    order.side = SIDE_NONE
    order.lots = self.spare
    self.spare = slot[0] & PLACE
    unlink(self, slot)
    self.n -= 1


# --- levels ---

cdef inline BookSide* side_of(LevelBook* book, int side) noexcept nogil:
    return &book.bid + (side - SIDE_BID)           # they stand side by side; which one cannot be predicted


cdef inline int64_t key_of(int side, int64_t price_ticks) noexcept nogil:
    # And back: bids as they are, asks negated.
    return (3 - 2 * side) * price_ticks


cdef inline void level_add(OrderBook* self, LevelBook* book, int side, int64_t key, int64_t lots) noexcept nogil:
    cdef BookSide* levels = side_of(book, side)
    cdef int64_t farthest, dropped
    if key <= self.floor[side - 1]:
        return
    if levels.n < levels.capacity:
        side_put(levels, key, lots, True)
        return
    farthest = side_worst(levels)
    dropped = levels.dropped
    side_put(levels, key, lots, True)
    if levels.dropped != dropped:
        self.floor[side - 1] = min(farthest, key)


cdef void refill(OrderBook* self, LevelBook* book, int side) noexcept nogil:
    # Every order below the window gets another chance; the window is at most half full.
    cdef int64_t i, floor = self.floor[side - 1]
    cdef const Order* order
    self.floor[side - 1] = INT64_MIN
    for i in range(1, self.used + 1):
        order = self.orders + i
        if order.side == side and order.key <= floor:
            level_add(self, book, side, order.key, order.lots)


cdef inline void level_remove(OrderBook* self, LevelBook* book, int side, int64_t key, int64_t lots) noexcept nogil:
    cdef BookSide* levels = side_of(book, side)
    if key <= self.floor[side - 1]:
        return
    side_put(levels, key, -lots, True)
    if self.floor[side - 1] != INT64_MIN and levels.n <= levels.capacity // 2:
        refill(self, book, side)


# --- records ---

cdef inline uint32_t stamp(const Event* event) noexcept nogil:
    return <uint32_t>(event.receive_ns >> TOUCH_SHIFT)


cdef inline void take_away(OrderBook* self, LevelBook* book, uint64_t* slot, int64_t lots,
                           uint32_t touched) noexcept nogil:
    cdef Order* order = order_at(self, slot)
    cdef int side = order.side
    cdef int64_t key = order.key
    if lots < order.lots:
        order.lots -= lots
        order.touched = touched
    else:
        forget(self, slot)
    level_remove(self, book, side, key, lots)


cdef inline void replace(OrderBook* self, LevelBook* book, uint64_t* slot) noexcept nogil:
    self.repeated += 1
    self.diverged = True
    take_away(self, book, slot, order_at(self, slot).lots, 0)


cdef inline bint add(OrderBook* self, LevelBook* book, const Event* event, OrderChange* change) noexcept nogil:
    cdef uint64_t* slot
    cdef Order* order
    cdef int64_t lots = event.size_lots, place
    if lots == 0 or (event.side != SIDE_BID and event.side != SIDE_ASK):
        self.invalid += 1
        self.diverged = True
        return False
    slot = find(self, event.order_id)
    if slot[0]:
        replace(self, book, slot)
        slot = find(self, event.order_id)
    elif self.n >= self.orders_max:
        self.dropped += 1
        self.full = True
        return False
    if SLOTS_PER_ORDER * self.n > self.mask:
        grow(self)
        slot = find(self, event.order_id)
    place = self.spare
    if place:
        order = self.orders + place
        self.spare = order.lots
    else:
        self.used += 1
        place = self.used
        order = self.orders + place
    slot[0] = hash_of(event.order_id) | <uint64_t>place
    order.id = event.order_id
    order.side = event.side
    order.key = key_of(event.side, event.price_ticks)
    order.lots = lots
    order.touched = stamp(event)
    self.n += 1
    level_add(self, book, order.side, order.key, lots)
    change.added_lots = lots
    change.side = order.side
    return True


cdef void rename(OrderBook* self, LevelBook* book, Order* order, int64_t new_id) noexcept nogil:
    # The order under its new id; one of that id that rests already is replaced, as by an ADD.
    cdef uint64_t* slot = find(self, new_id)
    if slot[0]:
        replace(self, book, slot)
    unlink(self, find(self, order.id))
    order.id = new_id
    find(self, new_id)[0] = hash_of(new_id) | <uint64_t>(order - self.orders)


cdef bint modify(OrderBook* self, LevelBook* book, uint64_t* slot, const Event* event,
                 OrderChange* change) noexcept nogil:
    cdef Order* order = order_at(self, slot)
    cdef int64_t key = key_of(order.side, event.price_ticks)
    cdef int64_t before = order.lots, lots = event.size_lots
    change.side = order.side
    if lots == 0:
        change.cancelled_lots = before
        take_away(self, book, slot, before, 0)
        return True
    if event.aux != 0 and event.aux != order.id:
        rename(self, book, order, event.aux)
    if key == order.key:
        order.touched = stamp(event)
        order.lots = lots
        if lots > before:
            change.added_lots = lots - before
            level_add(self, book, order.side, key, lots - before)
        elif lots < before:
            change.cancelled_lots = before - lots
            level_remove(self, book, order.side, key, before - lots)
        return lots != before
    # Into the new level, then out of the old one: should that make room for more levels, the order is in its place.
    change.cancelled_lots = before
    change.added_lots = lots
    level_add(self, book, order.side, key, lots)
    before = order.key
    order.key = key
    order.lots = lots
    order.touched = stamp(event)
    level_remove(self, book, order.side, before, change.cancelled_lots)
    return True


cdef bint order_apply(OrderBook* self, LevelBook* book, const Event* event, OrderChange* change) noexcept nogil:
    cdef uint64_t* slot
    cdef const Order* order
    cdef int64_t lots
    change.added_lots = change.cancelled_lots = change.executed_lots = change.executed_ticks = 0
    change.side = SIDE_NONE
    if not 0 <= event.size_lots <= LOTS_MAX or not -PRICE_MAX <= event.price_ticks <= PRICE_MAX:
        self.invalid += 1
        self.diverged = True
        return False
    if event.kind == EV_ADD:
        return add(self, book, event, change)
    slot = find(self, event.order_id)
    if slot[0] == 0:
        self.unknown += 1
        self.diverged = True
        if (event.kind == EV_EXECUTE and event.size_lots > 0 and event.price_ticks != 0
                and (event.side == SIDE_BID or event.side == SIDE_ASK)):
            change.executed_lots = event.size_lots
            change.executed_ticks = event.price_ticks
            change.side = event.side
        return False
    if event.kind == EV_MODIFY:
        return modify(self, book, slot, event, change)
    order = order_at(self, slot)
    lots = event.size_lots
    if lots == 0:
        lots = order.lots
    elif lots > order.lots:
        self.excessive += 1
        self.diverged = True
        lots = order.lots
    change.side = order.side
    if event.kind == EV_EXECUTE:
        change.executed_lots = lots
        change.executed_ticks = event.price_ticks
        if event.price_ticks == 0:
            change.executed_ticks = key_of(order.side, order.key)
    else:
        change.cancelled_lots = lots
    take_away(self, book, slot, lots, stamp(event))
    return True


# --- stale orders ---

cdef inline bint inside(const Order* order, int side, int64_t key) noexcept nogil:
    # At or beyond the other side's price, given as a key of this side.
    return order.side == side and order.key >= key


cdef int64_t purge(OrderBook* self, LevelBook* book, int side, int64_t key, uint32_t before,
                   bint any_age) noexcept nogil:
    cdef int64_t i, n = self.n
    cdef const Order* order
    for i in range(1, self.used + 1):
        order = self.orders + i
        if inside(order, side, key) and (any_age or <int32_t>(before - order.touched) >= 0):
            take_away(self, book, find(self, order.id), order.lots, 0)
    self.purged += n - self.n
    return n - self.n


cdef int64_t orders_purge(OrderBook* self, LevelBook* book, int64_t bid_ticks, int64_t bid_lots, int64_t ask_ticks,
                          int64_t ask_lots, int64_t before_ns) noexcept nogil:
    cdef uint32_t before = <uint32_t>(before_ns >> TOUCH_SHIFT)
    cdef int64_t key = 0, lots = 0, n = 0
    if bid_lots > 0 and ask_lots > 0 and bid_ticks >= ask_ticks:
        return 0               # it crosses itself and says nothing
    if ask_lots > 0 and side_best(&book.bid, &key, &lots) and key >= ask_ticks:
        n += purge(self, book, SIDE_BID, ask_ticks, before, False)
    if bid_lots > 0 and side_best(&book.ask, &key, &lots) and key >= -bid_ticks:
        n += purge(self, book, SIDE_ASK, -bid_ticks, before, False)
    return n


cdef int64_t orders_uncross(OrderBook* self, LevelBook* book) noexcept nogil:
    cdef int64_t bid = 0, ask = 0, lots = 0, i
    cdef int64_t[2] count
    cdef uint32_t[2] youngest
    cdef int64_t[2] key
    cdef const Order* order
    cdef int which
    if not side_best(&book.bid, &bid, &lots) or not side_best(&book.ask, &ask, &lots) or bid < -ask:
        return 0
    key[0] = -ask              # bids from here on are inside the asks
    key[1] = -bid
    count[0] = count[1] = 0
    youngest[0] = youngest[1] = 0
    for i in range(1, self.used + 1):
        order = self.orders + i
        which = order.side - 1
        if which >= 0 and order.key >= key[which]:
            if count[which] == 0 or <int32_t>(order.touched - youngest[which]) > 0:
                youngest[which] = order.touched
            count[which] += 1
    i = 0
    if count[0] < count[1] or (count[0] == count[1] and <int32_t>(youngest[0] - youngest[1]) <= 0):
        i += purge(self, book, SIDE_BID, key[0], 0, True)
    if count[1] < count[0] or (count[0] == count[1] and <int32_t>(youngest[1] - youngest[0]) <= 0):
        i += purge(self, book, SIDE_ASK, key[1], 0, True)
    return i


cdef class Orders:
    """Up to ``orders_max`` resting orders by id, and ``levels``: the level book that they sum to.

    Prices are ticks, sizes lots. Each of ``add``, ``modify``, ``cancel`` and ``execute`` applies one record and
    returns (side, lots added, lots cancelled, lots executed, execution price in ticks); what cannot be applied
    changes nothing and shows in ``counts``. ``now_ns`` is the stamp of the records to come.
    Call ``levels.refresh()`` before reading the view.
    Raises ``ValueError`` when a bound is out of range.
    """

    def __cinit__(self, int64_t orders_max=65_536, int levels_max=4096):
        self.levels = Book(levels_max)
        orders_init(&self.c, orders_max)

    def __dealloc__(self):
        orders_free(&self.c)

    cdef tuple _apply(self, int kind, int64_t order_id, int side, int64_t price_ticks, int64_t lots, int64_t new_id=0):
        cdef Event event
        cdef OrderChange change
        memset(&event, 0, sizeof(Event))
        event.kind = kind
        event.receive_ns = self.now_ns
        event.order_id = order_id
        event.side = side if 0 <= side <= 255 else 255
        event.price_ticks = price_ticks
        event.size_lots = lots
        event.aux = new_id
        order_apply(&self.c, &self.levels.c, &event, &change)
        return change.side, change.added_lots, change.cancelled_lots, change.executed_lots, change.executed_ticks

    def add(self, int64_t order_id, int side, int64_t price_ticks, int64_t lots):
        """A new resting order."""
        return self._apply(EV_ADD, order_id, side, price_ticks, lots)

    def modify(self, int64_t order_id, int64_t price_ticks, int64_t lots, *, int64_t new_id=0):
        """The order rests at this price with this size now, and under ``new_id`` unless that is 0."""
        return self._apply(EV_MODIFY, order_id, SIDE_NONE, price_ticks, lots, new_id)

    def cancel(self, int64_t order_id, int64_t lots=0):
        """So much less of it; 0: all that is left."""
        return self._apply(EV_CANCEL, order_id, SIDE_NONE, 0, lots)

    def execute(self, int64_t order_id, int64_t lots=0, *, int64_t price_ticks=0, int side=SIDE_NONE):
        """So much of it traded, 0: all that is left; at ``price_ticks``, 0: at its own price."""
        return self._apply(EV_EXECUTE, order_id, side, price_ticks, lots)

    def purge(self, int64_t bid_ticks, int64_t bid_lots, int64_t ask_ticks, int64_t ask_lots, int64_t before_ns):
        """Take out what crosses these published best prices and was not touched after ``before_ns``; how many."""
        return orders_purge(&self.c, &self.levels.c, bid_ticks, bid_lots, ask_ticks, ask_lots, before_ns)

    def uncross(self):
        """Take out the stale side of a book that stays crossed; how many orders."""
        return orders_uncross(&self.c, &self.levels.c)

    def clear(self):
        """Forget all orders and levels; counts stay."""
        orders_clear(&self.c)
        book_clear(&self.levels.c)

    def __len__(self):
        return self.c.n

    def __getitem__(self, int64_t order_id):
        """(side, price ticks, lots) of a resting order; ``KeyError`` when there is none."""
        cdef const Order* order = orders_find(&self.c, order_id)
        if order == NULL:
            raise KeyError(order_id)
        return order.side, key_of(order.side, order.key), order.lots

    @property
    def counts(self):
        """What could not be applied as it came, by reason; see order_book.pxd."""
        return {
            "repeated": self.c.repeated, "unknown": self.c.unknown, "invalid": self.c.invalid,
            "excessive": self.c.excessive, "dropped": self.c.dropped, "purged": self.c.purged,
        }

    @property
    def bytes(self):
        """Memory reserved for orders; used only as far as orders need it."""
        return orders_bytes(&self.c)
