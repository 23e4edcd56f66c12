"""Coinbase Advanced Trade market data: JSON bytes in, events out. No I/O; SPEC 3.2.

Every message of a connection carries ``sequence_num``, one more than that of the message before, whatever its channel
and product. A hole therefore makes *all* books unreliable at once, and all are wanted anew. The channel ``level2``
(on the wire ``l2_data``) gives a snapshot of a product and then absolute sizes; ``market_trades`` gives trades, whose
``side`` is that of the maker; ``heartbeats`` comes each second and bounds the time a lost message stays unnoticed.
How trust is lost and won again: streamed_decoder.pyx.
"""

from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_GET_SIZE
from libc.stdint cimport int64_t
from libc.string cimport memset

from quotelife.feed.json_bytes cimport (
    FAULT_FULL, FAULT_MISSING, FAULT_NONE, FAULT_REPEATED, FAULT_SYNTAX, FAULT_VALUE, Fault, after_value, fail,
    read_decimal, read_int, read_key, read_quoted_int, read_utc, same, skip_space, skip_string, skip_value,
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

cdef enum:
    NUMBERED = HAS_channel | HAS_timestamp | HAS_sequence


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
        self.touched = []
        memset(&f, 0, sizeof(Fields))
        fault.code = FAULT_NONE
        f.start = start
        f.receive_ns = receive_ns
        p = self.read_top(skip_space(text), &f, &fault)
        if p != NULL:
            p = skip_space(p)
            if p != text + PyBytes_GET_SIZE(data):
                p = fail(&fault, FAULT_SYNTAX, "the end of the message", p)
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
        cdef const char* key
        cdef const char* value
        cdef Py_ssize_t n = 0
        cdef unsigned int bit
        cdef bint more = True
        if p[0] != b'{':
            return fail(fault, FAULT_SYNTAX, "a JSON object", p)
        p = skip_space(p + 1)
        if p[0] == b'}':
            return p + 1
        while more:
            p = read_key(p, &key, &n, fault)
            if p == NULL:
                return NULL
            value = p
            bit = 0
            if same(key, n, b"channel", 7) and p[0] == b'"':
                bit = HAS_channel
                p = skip_string(p + 1, fault)
                if p == NULL:
                    return NULL
                n = p - value - 2
                if same(value + 1, n, b"l2_data", 7):
                    f.channel = CHANNEL_LEVELS
                elif same(value + 1, n, b"market_trades", 13):
                    f.channel = CHANNEL_TRADES
                elif same(value + 1, n, b"heartbeats", 10):
                    f.channel = CHANNEL_HEARTBEATS
                elif same(value + 1, n, b"subscriptions", 13):
                    f.channel = CHANNEL_SUBSCRIPTIONS
                else:
                    f.channel = CHANNEL_OTHER
            elif same(key, n, b"timestamp", 9):
                bit = HAS_timestamp
                p = read_utc(p, &f.time_ns, fault)
            elif same(key, n, b"sequence_num", 12):
                bit = HAS_sequence
                p = read_int(p, &f.sequence, fault)
            elif same(key, n, b"events", 6):
                bit = HAS_events
                if f.seen & NUMBERED == NUMBERED:
                    if self.on_sequence(f):
                        p = self.read_events(p, f, fault)
                    else:
                        p = skip_value(p, fault)
                else:
                    f.events = p
                    p = skip_value(p, fault)
            elif same(key, n, b"type", 4) and p[0] == b'"':
                f.failed = is_error(p + 1)
                p = skip_string(p + 1, fault)
            else:
                p = skip_value(p, fault)
            if p == NULL:
                return NULL
            if f.seen & bit:
                return fail(fault, FAULT_REPEATED, "each field once", key)
            f.seen |= bit
            p = after_value(p, &more, fault)
            if p == NULL:
                return NULL
        if f.seen & HAS_channel:
            if f.seen & NUMBERED != NUMBERED or not f.seen & HAS_events:
                return fail(fault, FAULT_MISSING, "channel, timestamp, sequence_num and events", NULL)
            if f.events != NULL and self.on_sequence(f) and self.read_events(f.events, f, fault) == NULL:
                return NULL
        return p

    cdef const char* read_events(self, const char* p, Fields* f, Fault* fault):
        if f.channel != CHANNEL_LEVELS and f.channel != CHANNEL_TRADES:
            return skip_value(p, fault)
        if p[0] != b'[':
            return fail(fault, FAULT_SYNTAX, "a list of events", p)
        p = skip_space(p + 1)
        if p[0] == b']':
            return p + 1
        while True:
            p = self.read_entry(p, f, fault)
            if p == NULL:
                return NULL
            p = skip_space(p)
            if p[0] == b']':
                return p + 1
            if p[0] != b',':
                return fail(fault, FAULT_SYNTAX, "the end of a list of events", p)
            p = skip_space(p + 1)

    cdef const char* read_entry(self, const char* p, Fields* f, Fault* fault):
        # {"type":"update","product_id":"BTC-USD","updates":[...]} or {"type":"update","trades":[...]}
        cdef const char* key
        cdef const char* value
        cdef const char* updates = NULL
        cdef const char* trades = NULL
        cdef Py_ssize_t n = 0
        cdef unsigned int seen = 0, bit
        cdef bint more = True
        self.current = None
        f.snapshot = False
        if p[0] != b'{':
            return fail(fault, FAULT_SYNTAX, "a JSON object", p)
        p = skip_space(p + 1)
        while more:
            p = read_key(p, &key, &n, fault)
            if p == NULL:
                return NULL
            value = p
            bit = 0
            if same(key, n, b"type", 4) and p[0] == b'"':
                bit = HAS_type
                p = skip_string(p + 1, fault)
                if p == NULL:
                    return NULL
                f.snapshot = same(value + 1, p - value - 2, b"snapshot", 8)
                if not f.snapshot and not same(value + 1, p - value - 2, b"update", 6):
                    return fail(fault, FAULT_VALUE, "snapshot or update", value)
            elif same(key, n, b"product_id", 10) and p[0] == b'"':
                bit = HAS_product
                p = skip_string(p + 1, fault)
                if p == NULL:
                    return NULL
                self.current = self.find(value + 1, p - value - 2)
            elif same(key, n, b"updates", 7):
                bit = HAS_updates
                updates = p
                p = skip_value(p, fault)
            elif same(key, n, b"trades", 6):
                bit = HAS_trades
                trades = p
                p = skip_value(p, fault)
            else:
                p = skip_value(p, fault)
            if p == NULL:
                return NULL
            if seen & bit:
                return fail(fault, FAULT_REPEATED, "each field once", key)
            seen |= bit
            p = after_value(p, &more, fault)
            if p == NULL:
                return NULL
        if f.channel == CHANNEL_TRADES:
            if seen & (HAS_type | HAS_trades) != HAS_type | HAS_trades:
                return fail(fault, FAULT_MISSING, "type and trades", NULL)
            return p if self.read_trades(trades, f.snapshot, f, fault) != NULL else NULL
        if seen & (HAS_type | HAS_product | HAS_updates) != HAS_type | HAS_product | HAS_updates:
            return fail(fault, FAULT_MISSING, "type, product_id and updates", NULL)
        if self.current is None:
            f.last_feed = NULL
            return p
        self.touch(self.current)
        return p if self.on_levels(updates, f, fault) else NULL

    cdef bint on_levels(self, const char* p, Fields* f, Fault* fault):
        # [{"side":"bid","event_time":"...","price_level":"65083.66","new_quantity":"0.2"}, ...]
        cdef StreamedSymbol feed = <StreamedSymbol>self.current
        cdef EventBuffer buffer = self.buffer
        cdef Py_ssize_t start = buffer.count
        cdef const char* key
        cdef const char* value
        cdef Py_ssize_t n = 0
        cdef int64_t price, size, time_ns = 0
        cdef int side
        cdef bint more, sized, joined
        if f.snapshot and not self.push_marker(feed, EV_SNAPSHOT_BEGIN):
            fail(fault, FAULT_FULL, "room in the event buffer", p)
            return False
        if p[0] != b'[':
            fail(fault, FAULT_SYNTAX, "a list of levels", p)
            return False
        p = skip_space(p + 1)
        while p[0] != b']':
            if p[0] != b'{':
                fail(fault, FAULT_SYNTAX, "a level", p)
                return False
            p = skip_space(p + 1)
            price = size = 0
            side = 0
            sized = False
            more = True
            while more:
                p = read_key(p, &key, &n, fault)
                if p == NULL:
                    return False
                value = p
                if n == 4 and same(key, n, b"side", 4):
                    p = skip_string(p + 1, fault) if p[0] == b'"' else skip_value(p, fault)
                    if p != NULL:
                        side = SIDE_BID if same(value, p - value, b'"bid"', 5) else (
                            SIDE_ASK if same(value, p - value, b'"offer"', 7) else 0)
                elif n == 11 and same(key, n, b"price_level", 11):
                    p = read_decimal(p, &feed.price_grid, &price, fault)
                elif n == 12 and same(key, n, b"new_quantity", 12):
                    sized = True
                    p = read_decimal(p, &feed.size_grid, &size, fault)
                elif time_ns == 0 and same(key, n, b"event_time", 10):
                    p = read_utc(p, &time_ns, fault)
                else:
                    p = skip_value(p, fault)
                if p == NULL:
                    return False
                p = after_value(p, &more, fault)
                if p == NULL:
                    return False
            if side == 0 or price == 0 or not sized:
                fail(fault, FAULT_VALUE, "a level with side, price_level above 0 and new_quantity", p)
                return False
            if not push_level(buffer, feed, side, price, size):
                fail(fault, FAULT_FULL, "room in the event buffer", p)
                return False
            p = skip_space(p)
            if p[0] == b',':
                p = skip_space(p + 1)
                if p[0] == b']':
                    fail(fault, FAULT_SYNTAX, "a level", p)
                    return False
            elif p[0] != b']':
                fail(fault, FAULT_SYNTAX, "the end of a list of levels", p)
                return False
        if time_ns == 0:
            time_ns = f.time_ns
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

    cdef const char* read_trades(self, const char* p, bint past, Fields* f, Fault* fault):
        if p[0] != b'[':
            return fail(fault, FAULT_SYNTAX, "a list of trades", p)
        p = skip_space(p + 1)
        if p[0] == b']':
            return p + 1
        while True:
            p = self.read_trade(p, past, f, fault)
            if p == NULL:
                return NULL
            p = skip_space(p)
            if p[0] == b']':
                return p + 1
            if p[0] != b',':
                return fail(fault, FAULT_SYNTAX, "the end of a list of trades", p)
            p = skip_space(p + 1)

    cdef const char* read_trade(self, const char* p, bint past, Fields* f, Fault* fault):
        cdef EventBuffer buffer = self.buffer
        cdef SymbolFeed feed
        cdef const char* key
        cdef const char* value
        cdef const char* price_at = NULL
        cdef const char* size_at = NULL
        cdef Py_ssize_t n = 0
        cdef int64_t price = 0, size = 0, trade_id = 0, time_ns = 0
        cdef int side = 0
        cdef bint more = True, named = False
        self.current = None
        if p[0] != b'{':
            return fail(fault, FAULT_SYNTAX, "a trade", p)
        p = skip_space(p + 1)
        while more:
            p = read_key(p, &key, &n, fault)
            if p == NULL:
                return NULL
            value = p
            if same(key, n, b"product_id", 10) and p[0] == b'"':
                named = True
                p = skip_string(p + 1, fault)
                if p != NULL:
                    self.current = self.find(value + 1, p - value - 2)
            elif same(key, n, b"trade_id", 8):
                p = read_quoted_int(p, &trade_id, fault)
            elif same(key, n, b"time", 4):
                p = read_utc(p, &time_ns, fault)
            elif same(key, n, b"side", 4) and p[0] == b'"':
                p = skip_string(p + 1, fault)
                if p != NULL:      # of the maker: the aggressor is the other one
                    side = SIDE_ASK if same(value + 1, p - value - 2, b"BUY", 3) else (
                        SIDE_BID if same(value + 1, p - value - 2, b"SELL", 4) else 0)
            else:
                if same(key, n, b"price", 5):
                    price_at = p
                elif same(key, n, b"size", 4):
                    size_at = p
                p = skip_value(p, fault)
            if p == NULL:
                return NULL
            p = after_value(p, &more, fault)
            if p == NULL:
                return NULL
        if not named or price_at == NULL or size_at == NULL or side == 0 or time_ns == 0:
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
        if not push_trade(buffer, feed, side, price, size, trade_id, time_ns, f.receive_ns):
            return fail(fault, FAULT_FULL, "room in the event buffer", p)
        feed.trades += 1
        return p


cdef inline bint is_error(const char* p) noexcept nogil:
    return p[0] == b'e' and p[1] == b'r' and p[2] == b'r' and p[3] == b'o' and p[4] == b'r' and p[5] == b'"'
