# What every JSON decoder of a venue has in common: its symbols, its event buffer, and how a fault is told.
from libc.stdint cimport int64_t
from libc.string cimport memset

from quotelife.feed.json_bytes cimport Fault
from quotelife.feed.symbol_feed cimport SymbolFeed
from quotelife.records cimport EV_LEVEL, EV_QUOTE, EV_TRADE, FLAG_LAST, Event, EventBuffer


cdef class VenueDecoder:
    cdef readonly EventBuffer buffer
    cdef readonly int64_t messages, ignored, malformed, off_grid, replies, heartbeats, errors, drifts
    cdef readonly object last_error
    cdef list feeds
    cdef dict by_symbol
    cdef dict due                # ordered set of symbols whose snapshot nobody has asked for yet
    cdef void** table            # SymbolFeed by hash of the wire symbol, borrowed; a power of two
    cdef size_t table_mask
    cdef SymbolFeed current      # of the message being read

    cpdef Py_ssize_t message(self, bytes data, int64_t receive_ns) except -1

    cdef SymbolFeed new_feed(self, str symbol, object instrument_index, object tick_size, object lot_size)
    cdef SymbolFeed find(self, const char* symbol, Py_ssize_t n)
    cdef const char* read_own_symbol(self, const char* p, Fault* fault)
    cdef void place(self, SymbolFeed feed)
    cdef SymbolFeed feed_of(self, str symbol)
    cdef int need_room(self) except -1
    cdef int want(self, SymbolFeed feed) except -1
    cdef int distrust(self, SymbolFeed feed, int64_t sequence, int64_t receive_ns) except -1
    cdef int refuse(self, const Fault* fault, bytes data, SymbolFeed feed, Py_ssize_t start,
                    int64_t receive_ns) except -1
    cdef int distrust_all(self, int64_t receive_ns) except -1
    cdef void count_fault(self, SymbolFeed feed, const Fault* fault)
    cdef bint push_marker(self, SymbolFeed feed, int kind)
    cdef bint push_status(self, SymbolFeed feed, int code)
    cdef int companion_status(self, SymbolFeed feed, bint down, int64_t receive_ns) except -1
    cdef int status_of_all(self, int code, int64_t receive_ns) except -1
    cdef int show(self, SymbolFeed feed, Py_ssize_t start, int64_t id, int64_t exchange_ns,
                  int64_t receive_ns) except -1


cdef str describe(const Fault* fault, bytes data, SymbolFeed feed)


cdef inline void stamp(EventBuffer buffer, Py_ssize_t start, int64_t exchange_ns, int64_t receive_ns,
                       int64_t sequence, int flags) noexcept:
    cdef Py_ssize_t i
    for i in range(start, buffer.count):
        buffer.events[i].exchange_ns = exchange_ns
        buffer.events[i].receive_ns = receive_ns
        buffer.events[i].sequence = sequence
        buffer.events[i].flags |= flags


cdef inline bint push_level(EventBuffer buffer, SymbolFeed feed, int side, int64_t price, int64_t size) noexcept:
    # stamp() adds what the whole message says. push() written out: a call a level is felt.
    cdef Event* event
    if buffer.count >= buffer.capacity:
        buffer.overflowed += 1
        return False
    event = &buffer.events[buffer.count]
    buffer.count += 1
    memset(event, 0, sizeof(Event))
    event.price_ticks = price
    event.size_lots = size
    event.instrument = feed.instrument
    event.kind = EV_LEVEL
    event.side = side
    return True


cdef inline void push_quote(EventBuffer buffer, SymbolFeed feed, int64_t bid, int64_t bid_size, int64_t ask,
                            int64_t ask_size, int64_t sequence, int64_t exchange_ns, int64_t receive_ns) noexcept:
    # The one event of its message: need_room() keeps place for it.
    cdef Event* event = buffer.push()
    event.exchange_ns = exchange_ns
    event.receive_ns = receive_ns
    event.sequence = sequence
    event.price_ticks = bid
    event.size_lots = bid_size
    event.order_id = ask
    event.aux = ask_size
    event.instrument = feed.instrument
    event.kind = EV_QUOTE
    event.flags = FLAG_LAST
    feed.quotes += 1


cdef inline bint push_trade(EventBuffer buffer, SymbolFeed feed, int side, int64_t price, int64_t size,
                            int64_t trade_id, int64_t exchange_ns, int64_t receive_ns) noexcept:
    # side: of the aggressor.
    cdef Event* event = buffer.push()
    if event == NULL:
        return False
    event.exchange_ns = exchange_ns
    event.receive_ns = receive_ns
    event.sequence = trade_id
    event.price_ticks = price
    event.size_lots = size
    event.aux = trade_id
    event.instrument = feed.instrument
    event.kind = EV_TRADE
    event.side = side
    event.flags = FLAG_LAST
    return True
