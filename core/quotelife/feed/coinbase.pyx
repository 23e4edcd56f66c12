"""Coinbase Advanced Trade market data: JSON bytes in, events out. No I/O; docs/feeds.md.

Every message of a connection carries ``sequence_num``, one more than that of the message before, whatever its channel
and product. A hole therefore makes *all* books unreliable at once, and all are wanted anew. The channel ``level2``
(on the wire ``l2_data``) gives a snapshot of a product and then absolute sizes; ``market_trades`` gives trades, whose
``side`` is that of the maker; ``heartbeats`` comes each second and bounds the time a lost message stays unnoticed.
How trust is lost and won again: streamed_decoder.pyx.
"""

from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_GET_SIZE
from libc.stdint cimport int64_t
from libc.string cimport memset, strncmp

from quotelife.feed.json_bytes cimport (
    FAULT_FULL, FAULT_MISSING, FAULT_NONE, FAULT_VALUE, Fault, Members, Text, expect_end, fail, first_item,
    first_member, next_item, next_member, read_decimal, read_either, read_int, read_quoted_int, read_text, read_utc,
    same, skip_space, skip_value,
)
from quotelife.feed.streamed_decoder cimport StreamedDecoder, StreamedSymbol
from quotelife.feed.symbol_feed cimport SYNCED, SymbolFeed
from quotelife.feed.venue_decoder cimport push_level, push_trade
from quotelife.records cimport (
    EV_LEVEL, EV_SNAPSHOT_BEGIN, EV_TRADE, FLAG_LAST, SIDE_ASK, SIDE_BID, STATUS_HEARTBEAT, EventBuffer,
)

cdef enum Channel:
    CHANNEL_NONE = 0
    CHANNEL_LEVELS = 1
    CHANNEL_TRADES = 2
    CHANNEL_HEARTBEATS = 3
    CHANNEL_SUBSCRIPTIONS = 4
    CHANNEL_OTHER = 5

cdef enum Field:
    HAS_channel = 1
    HAS_timestamp = 2
    HAS_sequence = 4
    HAS_events = 8
    HAS_type = 16
    HAS_product = 32
    HAS_updates = 64
    HAS_trades = 128
    HAS_side = 256
    HAS_price = 512
    HAS_size = 1024
    HAS_time = 2048

cdef enum:
    NUMBERED = HAS_channel | HAS_timestamp | HAS_sequence
    OF_A_BOOK = HAS_type | HAS_product
    LEVEL_FIELDS = HAS_side | HAS_price | HAS_size
    TRADE_FIELDS = HAS_product | HAS_side | HAS_price | HAS_size | HAS_time


cdef class CoinbaseDecoder(StreamedDecoder):
    """Messages of one Coinbase connection to events in ``buffer``, which the caller drains between messages.

    Levels carry the sequence number of their message and the matching engine's time (``event_time``). The trades that
    a market_trades snapshot tells lie in the past and are passed over. A heartbeat becomes STATUS HEARTBEAT for every
    instrument. Not thread-safe.
    """

    def __init__(self, EventBuffer buffer not None):
        super().__init__(buffer)
        self.sequence = -1
        self.touched = []

    def connected(self, int64_t receive_ns):
        """A connection stands, and numbers its messages anew: STATUS FEED_UP for every instrument."""
        self.sequence = -1
        self.sequence_ns = 0
        StreamedDecoder.connected(self, receive_ns)

    cpdef Py_ssize_t message(self, bytes data, int64_t receive_ns) except -1:
        """Decode one websocket message; returns the number of events appended.

        Raises ``DecodeError`` naming the fault; the CLEAR events of the books it makes unreliable are in the
        buffer then. Raises ``OverflowError``, having changed nothing, when the buffer was not drained.
        """
        cdef const char* text = PyBytes_AS_STRING(data)
        cdef const char* p
        cdef Py_ssize_t start = self.buffer.count
        cdef SymbolFeed feed
        cdef Fields f
        cdef Fault fault
        self.need_room()
        self.messages += 1
        self.current = None
        self.touched.clear()
        memset(&f, 0, sizeof(Fields))
        fault.code = FAULT_NONE
        f.start = start
        f.receive_ns = receive_ns
        p = expect_end(self.read_top(skip_space(text), &f, &fault), text + PyBytes_GET_SIZE(data), &fault)
        if p == NULL:
            # Where the number was read, only the books the message names are touched; without it, any.
            if f.seen & NUMBERED != NUMBERED:
                self.sequence = -1
                self.current = None
            elif self.current is not None:
                if f.snapshot:
                    self.current.requested = False
                self.buffer.count = f.start
                for feed in self.touched:
                    if feed is not self.current:
                        self.distrust(feed, f.sequence, receive_ns)
                f.start = self.buffer.count
            self.refuse(&fault, data, self.current, f.start, receive_ns)
        if f.seen & HAS_channel == 0 or f.channel == CHANNEL_SUBSCRIPTIONS:
            self.on_reply(data, f.failed)
        elif f.copied:
            self.duplicates += 1
        elif f.channel == CHANNEL_HEARTBEATS:
            self.heartbeats += 1
            self.status_of_all(STATUS_HEARTBEAT, receive_ns)
        elif f.channel == CHANNEL_OTHER:
            self.ignored += 1
        return self.buffer.count - start

    # The chain of the connection.

    cdef bint on_sequence(self, Fields* f) except *:
        # False: an older copy.
        cdef SymbolFeed feed
        if self.sequence >= 0 and f.sequence != self.sequence + 1:
            if f.sequence <= self.sequence and f.time_ns <= self.sequence_ns:
                f.copied = True
                return False
            self.sequence_gaps += 1
            for feed in self.feeds:
                if feed.state == SYNCED:
                    feed.gaps += 1
                    self.distrust(feed, f.sequence, f.receive_ns)
            f.start = self.buffer.count
        self.sequence = f.sequence
        self.sequence_ns = f.time_ns
        return True

    cdef int touch(self, SymbolFeed feed) except -1:
        if feed not in self.touched:
            self.touched.append(feed)
        return 0

    # Reading.

    cdef const char* read_top(self, const char* p, Fields* f, Fault* fault):
        cdef Members m
        cdef Text text
        p = first_member(p, &m, &f.seen, fault)
        while m.more:
            if same(m.key, b"channel") and p[0] == b'"':
                m.field = HAS_channel
                p = read_text(p, &text, fault)
                if same(text, b"l2_data"):
                    f.channel = CHANNEL_LEVELS
                elif same(text, b"market_trades"):
                    f.channel = CHANNEL_TRADES
                elif same(text, b"heartbeats"):
                    f.channel = CHANNEL_HEARTBEATS
                elif same(text, b"subscriptions"):
                    f.channel = CHANNEL_SUBSCRIPTIONS
                else:
                    f.channel = CHANNEL_OTHER
            elif same(m.key, b"timestamp"):
                m.field = HAS_timestamp
                p = read_utc(p, &f.time_ns, fault)
            elif same(m.key, b"sequence_num"):
                m.field = HAS_sequence
                p = read_int(p, &f.sequence, fault)
            elif same(m.key, b"events"):
                m.field = HAS_events
                if f.seen & NUMBERED != NUMBERED:
                    f.events = p
                    p = skip_value(p, fault)
                elif self.on_sequence(f):
                    p = self.read_events(p, f, fault)
                else:
                    p = skip_value(p, fault)
            elif same(m.key, b"type") and p[0] == b'"':
                p = read_text(p, &text, fault)
                f.failed = same(text, b"error")
            else:
                p = skip_value(p, fault)
            p = next_member(p, &m, fault)
        if p != NULL and f.seen & HAS_channel:
            if f.seen & NUMBERED != NUMBERED or not f.seen & HAS_events:
                return fail(fault, FAULT_MISSING, "channel, timestamp, sequence_num and events", NULL)
            if f.events != NULL and self.on_sequence(f) and self.read_events(f.events, f, fault) == NULL:
                return NULL
        return p

    cdef const char* read_events(self, const char* p, Fields* f, Fault* fault):
        cdef bint more
        if f.channel != CHANNEL_LEVELS and f.channel != CHANNEL_TRADES:
            return skip_value(p, fault)
        p = first_item(p, &more, "a list of events", fault)
        while more:
            if f.channel == CHANNEL_TRADES:
                p = self.read_trades_entry(p, f, fault)
            else:
                p = self.read_book_entry(p, f, fault)
            p = next_item(p, &more, fault)
        return p

    cdef const char* read_book_entry(self, const char* p, Fields* f, Fault* fault):
        # {"type":"update","product_id":"BTC-USD","updates":[...]}. Levels are read in passing once it is known of what
        # they are, as the venue orders them.
        cdef Members m
        cdef Text text
        cdef const char* updates = NULL
        cdef Py_ssize_t start = self.buffer.count
        cdef int64_t time_ns = 0
        cdef unsigned int seen = 0
        self.current = None
        f.snapshot = False
        p = first_member(p, &m, &seen, fault)
        while m.more:
            if same(m.key, b"type"):
                m.field = HAS_type
                p = read_either(p, b"update", b"snapshot", &f.snapshot, "snapshot or update", fault)
            elif same(m.key, b"product_id"):
                m.field = HAS_product
                p = read_text(p, &text, fault)
                if p != NULL:
                    self.current = self.find(text.at, text.n)
            elif same(m.key, b"updates"):
                m.field = HAS_updates
                if seen & OF_A_BOOK == OF_A_BOOK and self.current is not None:
                    p = self.read_levels(p, &time_ns, f, fault)
                else:
                    updates = p
                    p = skip_value(p, fault)
            else:
                p = skip_value(p, fault)
            p = next_member(p, &m, fault)
        if p == NULL:
            return NULL
        if seen & (OF_A_BOOK | HAS_updates) != OF_A_BOOK | HAS_updates:
            return fail(fault, FAULT_MISSING, "type, product_id and updates", NULL)
        if self.current is None:
            f.last_feed = NULL
            return p
        if updates != NULL and self.read_levels(updates, &time_ns, f, fault) == NULL:
            return NULL
        return p if self.on_levels(start, time_ns or f.time_ns, f, fault) else NULL

    cdef const char* read_levels(self, const char* p, int64_t* time_ns, Fields* f, Fault* fault):
        # [{"side":"bid","event_time":"...","price_level":"65083.66","new_quantity":"0.2"}, ...] into the event buffer.
        # time_ns: becomes that of the first, if there is one.
        cdef SymbolFeed feed = self.current
        cdef Members m
        cdef Text time
        cdef int64_t price = 0, size = 0
        cdef unsigned int seen
        cdef bint more, offer = False
        self.touch(feed)
        if f.snapshot and not self.push_marker(feed, EV_SNAPSHOT_BEGIN):
            return fail(fault, FAULT_FULL, "room in the event buffer", p)
        memset(&time, 0, sizeof(Text))
        p = first_item(p, &more, "a list of levels", fault)
        while more:
            seen = 0
            p = first_member(p, &m, &seen, fault)
            while m.more:
                if same(m.key, b"side"):
                    m.field = HAS_side
                    p = read_either(p, b"bid", b"offer", &offer, "bid or offer", fault)
                elif same(m.key, b"price_level"):
                    m.field = HAS_price
                    p = read_decimal(p, &feed.price_grid, &price, fault)
                elif same(m.key, b"new_quantity"):
                    m.field = HAS_size
                    p = read_decimal(p, &feed.size_grid, &size, fault)
                elif same(m.key, b"event_time"):
                    if time.at == NULL:
                        time.at = p
                        p = read_utc(p, time_ns, fault)
                        time.n = p - time.at
                    elif strncmp(p, time.at, time.n) == 0:     # as a rule all are the same
                        p += time.n
                    else:
                        p = skip_value(p, fault)
                else:
                    p = skip_value(p, fault)
                p = next_member(p, &m, fault)
            if p == NULL:
                return NULL
            if seen & LEVEL_FIELDS != LEVEL_FIELDS or price == 0:
                return fail(fault, FAULT_VALUE, "a level with side, price_level above 0 and new_quantity", p)
            if not push_level(self.buffer, feed, SIDE_ASK if offer else SIDE_BID, price, size):
                return fail(fault, FAULT_FULL, "room in the event buffer", p)
            p = next_item(p, &more, fault)
        return p

    cdef bint on_levels(self, Py_ssize_t start, int64_t time_ns, Fields* f, Fault* fault) except *:
        # SNAPSHOT_BEGIN, of a snapshot, and levels stand in the buffer from start on.
        cdef StreamedSymbol feed = <StreamedSymbol>self.current
        cdef EventBuffer buffer = self.buffer
        cdef bint joined
        if f.snapshot:
            f.last_feed = NULL
            return self.on_snapshot(feed, start, f.sequence, time_ns, f.receive_ns, fault)
        feed.depths += 1
        if feed.state != SYNCED:
            buffer.count = start
            return True
        # Entries of one product that follow each other are one change of its book.
        joined = f.last_feed == <void*>feed and start > f.start and buffer.events[start - 1].kind == EV_LEVEL
        if joined:
            if buffer.count == start:
                return True
            buffer.events[start - 1].flags &= ~FLAG_LAST
        f.last_feed = <void*>feed
        self.show(feed, start, f.sequence, time_ns, f.receive_ns)
        return True

    cdef const char* read_trades_entry(self, const char* p, Fields* f, Fault* fault):
        # {"type":"update","trades":[...]}
        cdef Members m
        cdef const char* trades = NULL
        cdef unsigned int seen = 0
        cdef bint past = False, more
        self.current = None
        p = first_member(p, &m, &seen, fault)
        while m.more:
            if same(m.key, b"type"):
                m.field = HAS_type
                p = read_either(p, b"update", b"snapshot", &past, "snapshot or update", fault)
            else:
                if same(m.key, b"trades"):
                    m.field = HAS_trades
                    trades = p
                p = skip_value(p, fault)
            p = next_member(p, &m, fault)
        if p == NULL:
            return NULL
        if seen & (HAS_type | HAS_trades) != HAS_type | HAS_trades:
            return fail(fault, FAULT_MISSING, "type and trades", NULL)
        trades = first_item(trades, &more, "a list of trades", fault)
        while more:
            trades = next_item(self.read_trade(trades, past, f, fault), &more, fault)
        return p if trades != NULL else NULL

    cdef const char* read_trade(self, const char* p, bint past, Fields* f, Fault* fault):
        cdef EventBuffer buffer = self.buffer
        cdef SymbolFeed feed
        cdef Members m
        cdef Text text
        cdef const char* price_at = NULL
        cdef const char* size_at = NULL
        cdef int64_t price = 0, size = 0, trade_id = 0, time_ns = 0
        cdef unsigned int seen = 0
        cdef bint sold = False
        self.current = None
        p = first_member(p, &m, &seen, fault)
        while m.more:
            if same(m.key, b"product_id"):
                m.field = HAS_product
                p = read_text(p, &text, fault)
                if p != NULL:
                    self.current = self.find(text.at, text.n)
            elif same(m.key, b"trade_id"):
                p = read_quoted_int(p, &trade_id, fault)
            elif same(m.key, b"time"):
                m.field = HAS_time
                p = read_utc(p, &time_ns, fault)
            elif same(m.key, b"side"):
                m.field = HAS_side     # of the maker: the aggressor is the other one
                p = read_either(p, b"SELL", b"BUY", &sold, "BUY or SELL", fault)
            else:
                if same(m.key, b"price"):
                    m.field = HAS_price
                    price_at = p
                elif same(m.key, b"size"):
                    m.field = HAS_size
                    size_at = p
                p = skip_value(p, fault)
            p = next_member(p, &m, fault)
        if p == NULL:
            return NULL
        if seen & TRADE_FIELDS != TRADE_FIELDS:
            return fail(fault, FAULT_MISSING, "product_id, trade_id, price, size, time and side of a trade", NULL)
        feed = self.current
        if feed is None or past:
            f.last_feed = NULL
            return p
        self.touch(feed)
        if (read_decimal(price_at, &feed.price_grid, &price, fault) == NULL
                or read_decimal(size_at, &feed.size_grid, &size, fault) == NULL):
            return NULL
        if price == 0 or size == 0:
            return fail(fault, FAULT_VALUE, "a price and a size above 0", price_at)
        if f.last_feed == <void*>feed and buffer.count > f.start and buffer.events[buffer.count - 1].kind == EV_TRADE:
            buffer.events[buffer.count - 1].flags &= ~FLAG_LAST
        f.last_feed = <void*>feed
        if not push_trade(buffer, feed, SIDE_ASK if sold else SIDE_BID, price, size, trade_id, time_ns, f.receive_ns):
            return fail(fault, FAULT_FULL, "room in the event buffer", p)
        feed.trades += 1
        return p
