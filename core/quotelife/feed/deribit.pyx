"""Deribit market data: JSON-RPC 2.0 notifications in, events out. No I/O; SPEC 3.2.

Channels: ``book.{instrument}.{interval}`` (whole books; grouped books are passed over), ``trades``, ``ticker`` and,
where there is no book, ``quote``. A book begins with a ``snapshot``; each ``change`` names its predecessor in
``prev_change_id``. How trust is lost and won again: streamed_decoder.pyx. Prices and amounts are JSON numbers, read
exactly to ticks and lots. Block trades are passed over: no order of the book was hit.

``test_requests`` counts the heartbeats that want an answer (public/test); the venue closes the connection without one.
"""

from typing import NamedTuple

from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_GET_SIZE
from libc.math cimport isfinite
from libc.stdint cimport int64_t
from libc.string cimport memset

from quotelife.feed.json_bytes cimport (
    FAULT_FULL, FAULT_MISSING, FAULT_NONE, FAULT_RANGE, FAULT_REPEATED, FAULT_SYNTAX, FAULT_VALUE, Fault, after_value,
    fail, read_int, read_key, read_number, same, skip_space, skip_string, skip_value,
)
from quotelife.feed.streamed_decoder cimport StreamedDecoder, StreamedSymbol
from quotelife.feed.symbol_feed cimport SymbolFeed
from quotelife.feed.venue_decoder cimport MS_MAX, NS_PER_MS, push_level, push_trade, stamp
from quotelife.records cimport (
    EV_QUOTE, EV_SNAPSHOT_BEGIN, FLAG_LAST, SIDE_ASK, SIDE_BID, STATUS_HEARTBEAT, Event, EventBuffer,
)

cdef extern from "Python.h":
    double PyOS_string_to_double(const char* text, char** end, object overflow) except? -1.0

cdef enum Method:
    METHOD_NONE = 0
    METHOD_SUBSCRIPTION = 1
    METHOD_HEARTBEAT = 2
    METHOD_OTHER = 3

cdef enum Channel:
    CHANNEL_NONE = 0
    CHANNEL_BOOK = 1
    CHANNEL_TICKER = 2
    CHANNEL_TRADES = 3
    CHANNEL_QUOTE = 4
    CHANNEL_OTHER = 5

cdef enum Field:
    HAS_method = 1
    HAS_params = 2
    HAS_channel = 4
    HAS_data = 8
    HAS_reply = 16
    HAS_type = 32
    HAS_timestamp = 64
    HAS_change_id = 128
    HAS_prev_change_id = 256
    HAS_bids = 512
    HAS_asks = 1024
    HAS_bid_size = 2048
    HAS_ask_size = 4096

cdef enum TickerField:
    HAS_mark_price = 1
    HAS_mark_iv = 2
    HAS_underlying = 4
    HAS_funding = 8
    HAS_delta = 16
    HAS_gamma = 32
    HAS_vega = 64
    HAS_theta = 128
    HAS_time = 256


class Ticker(NamedTuple):
    """What a ticker says of one instrument beside its best prices; ``None``: it does not say it."""

    instrument: int
    exchange_ns: int
    mark_price: float | None          # in the instrument's own price units
    mark_iv: float | None             # per cent a year
    underlying_price: float | None
    funding: float | None             # of the last 8 h, a fraction; perpetuals
    delta: float | None
    gamma: float | None
    vega: float | None
    theta: float | None

    def pairs(self):
        """What of it is known, as ``Engine.on_greeks`` takes it."""
        pairs = {
            "delta_gamma": (self.delta, self.gamma),
            "vega_theta": (self.vega, self.theta),
            "volatility_underlying": (self.mark_iv, self.underlying_price),
            "mark_funding": (self.mark_price, self.funding or 0.0),
        }
        return {name: pair for name, pair in pairs.items() if None not in pair}


cdef inline const char* read_double(const char* p, double* out, bint* given, Fault* fault):
    # A JSON number, or null, which leaves given as it is.
    cdef char* end = NULL
    cdef double value
    if p[0] == b'n':
        return skip_value(p, fault)
    if not (b'0' <= p[0] <= b'9' or p[0] == b'-' and b'0' <= p[1] <= b'9'):
        return fail(fault, FAULT_SYNTAX, "a number", p)
    try:
        value = PyOS_string_to_double(p, &end, OverflowError)
    except (ValueError, OverflowError):
        return fail(fault, FAULT_RANGE, "a number that a double holds", p)
    if not isfinite(value):
        return fail(fault, FAULT_RANGE, "a number that a double holds", p)
    out[0] = value
    given[0] = True
    return end


cdef class DeribitSymbol(StreamedSymbol):
    """A symbol with its newest ticker."""


cdef class DeribitDecoder(StreamedDecoder):
    """Messages of one Deribit connection to events in ``buffer``, which the caller drains between messages.

    ``quotes``: the quote channel becomes QUOTE events. It names no change id, so beside a book nobody could tell
    which of the two is newer: only for feeds without a book channel; else quotes are passed over.

    A change without levels becomes a STATUS heartbeat that carries its change id, a ticker one without; a heartbeat of
    the venue becomes one for every instrument. Not thread-safe.
    """

    def __init__(self, EventBuffer buffer not None, *, bint quotes=False):
        super().__init__(buffer)
        self.quotes = quotes
        self.fresh = []

    cdef SymbolFeed new_feed(self, str symbol, object instrument_index, object tick_size, object lot_size):
        return DeribitSymbol(symbol, instrument_index, tick_size, lot_size)

    cpdef Py_ssize_t message(self, bytes data, int64_t receive_ns) except -1:
        """Decode one websocket message; returns the number of events appended.

        Raises ``DecodeError`` naming the fault; the CLEAR events of the books it makes unreliable are in the
        buffer then. Raises ``OverflowError``, having changed nothing, when the buffer was not drained.
        """
        cdef const char* text = PyBytes_AS_STRING(data)
        cdef const char* p
        cdef Fields f
        cdef Fault fault
        self.need_room()
        self.messages += 1
        self.current = None
        memset(&f, 0, sizeof(Fields))
        fault.code = FAULT_NONE
        f.start = self.buffer.count
        f.receive_ns = receive_ns
        p = self.read_top(skip_space(text), &f, &fault)
        if p != NULL:
            p = skip_space(p)
            if p != text + PyBytes_GET_SIZE(data):
                p = fail(&fault, FAULT_SYNTAX, "the end of the message", p)
        if p == NULL or not self.on_message(data, &f, &fault):
            if f.snapshot and self.current is not None:
                self.current.requested = False         # this was the answer
            self.refuse(&fault, data, self.current, f.start, receive_ns)
        return self.buffer.count - f.start

    def take_tickers(self):
        """The newest ``Ticker`` of each symbol that had one since the last call."""
        cdef DeribitSymbol feed
        out = []
        for feed in self.fresh:
            feed.ticker_fresh = False
            t = feed.ticker
            out.append(Ticker(
                feed.instrument, t.exchange_ns,
                t.mark_price if t.seen & HAS_mark_price else None,
                t.mark_iv if t.seen & HAS_mark_iv else None,
                t.underlying_price if t.seen & HAS_underlying else None,
                t.funding if t.seen & HAS_funding else None,
                t.delta if t.seen & HAS_delta else None,
                t.gamma if t.seen & HAS_gamma else None,
                t.vega if t.seen & HAS_vega else None,
                t.theta if t.seen & HAS_theta else None,
            ))
        self.fresh = []
        return out

    # What was read.

    cdef bint on_message(self, bytes data, Fields* f, Fault* fault) except *:
        if f.method == METHOD_HEARTBEAT:
            self.heartbeats += 1
            self.test_requests += f.test
            self.status_of_all(STATUS_HEARTBEAT, f.receive_ns)
            return True
        if f.method == METHOD_NONE and f.seen & HAS_reply:
            self.on_reply(data, f.failed)
            return True
        if f.method != METHOD_SUBSCRIPTION or f.channel == CHANNEL_OTHER or not f.known:
            if f.method == METHOD_SUBSCRIPTION and not f.seen & HAS_channel:
                fail(fault, FAULT_MISSING, "params with channel and data", NULL)
                return False
            self.ignored += 1
            return True
        if not f.seen & HAS_data:
            fail(fault, FAULT_MISSING, "data", NULL)
            return False
        if f.channel == CHANNEL_BOOK:
            return self.on_book(f, fault)
        if f.channel == CHANNEL_QUOTE:
            return self.on_quote(f, fault)
        if f.channel == CHANNEL_TICKER:
            return self.on_ticker(f, fault)
        return True                                    # trades are in the buffer

    cdef bint on_book(self, Fields* f, Fault* fault) except *:
        cdef StreamedSymbol feed = <StreamedSymbol>self.current
        cdef unsigned int needed = HAS_type | HAS_timestamp | HAS_change_id | HAS_bids | HAS_asks
        cdef int64_t exchange_ns = f.time_ms * NS_PER_MS
        if not f.snapshot:
            needed |= HAS_prev_change_id
        if f.seen & needed != needed:
            fail(fault, FAULT_MISSING, "type, timestamp, change_id, prev_change_id of a change, bids and asks", NULL)
            return False
        if not f.bids_done and self.read_levels(f.bids, SIDE_BID, f, fault) == NULL:
            return False
        if not f.asks_done and self.read_levels(f.asks, SIDE_ASK, f, fault) == NULL:
            return False
        if f.snapshot:
            if self.outdated(feed, f.start, f.change_id, exchange_ns):
                return True
            return self.on_snapshot(feed, f.start, f.change_id, exchange_ns, f.receive_ns, fault)
        if f.previous_id >= f.change_id:
            fail(fault, FAULT_VALUE, "prev_change_id below change_id", NULL)
            return False
        if self.continues(feed, f.previous_id, f.change_id, exchange_ns, f.start, f.receive_ns):
            self.show(feed, f.start, f.change_id, exchange_ns, f.receive_ns)
        return True

    cdef bint on_quote(self, Fields* f, Fault* fault):
        cdef SymbolFeed feed = self.current
        cdef unsigned int needed = HAS_timestamp | HAS_bids | HAS_asks | HAS_bid_size | HAS_ask_size
        cdef int64_t bid = 0, bid_size = 0, ask = 0, ask_size = 0
        cdef Event* event
        if f.seen & needed != needed:
            fail(fault, FAULT_MISSING, "timestamp and the four of best bid and ask", NULL)
            return False
        # An empty side is null or 0.
        if (read_side(f.bids, f.bid_size, feed, &bid, &bid_size, fault) == NULL
                or read_side(f.asks, f.ask_size, feed, &ask, &ask_size, fault) == NULL):
            return False
        if not self.quotes:
            self.ignored += 1
            return True
        event = self.buffer.push()                     # need_room() keeps place for one
        event.exchange_ns = f.time_ms * NS_PER_MS
        event.receive_ns = f.receive_ns
        event.sequence = f.time_ms
        event.price_ticks = bid
        event.size_lots = bid_size
        event.order_id = ask
        event.aux = ask_size
        event.instrument = feed.instrument
        event.kind = EV_QUOTE
        event.flags = FLAG_LAST
        feed.quotes += 1
        return True

    cdef bint on_ticker(self, Fields* f, Fault* fault):
        cdef DeribitSymbol feed = <DeribitSymbol>self.current
        if not f.ticker.seen & HAS_time:
            fail(fault, FAULT_MISSING, "timestamp", NULL)
            return False
        if f.ticker.exchange_ns < feed.ticker.exchange_ns:
            feed.duplicates += 1
            return True
        # It comes on the line of the book: an unchanged book is a quiet one.
        self.push_status(feed, STATUS_HEARTBEAT)       # need_room() keeps place for one
        stamp(self.buffer, f.start, f.ticker.exchange_ns, f.receive_ns, 0, FLAG_LAST)
        feed.ticker = f.ticker
        if not feed.ticker_fresh:
            feed.ticker_fresh = True
            self.fresh.append(feed)
        return True

    # Reading.

    cdef const char* read_top(self, const char* p, Fields* f, Fault* fault):
        # {"jsonrpc":"2.0","method":...,"params":{...}} or a reply with id and result or error.
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
            if same(key, n, b"method", 6) and p[0] == b'"':
                bit = HAS_method
                p = skip_string(p + 1, fault)
                if p == NULL:
                    return NULL
                f.method = METHOD_OTHER
                if same(value + 1, p - value - 2, b"subscription", 12):
                    f.method = METHOD_SUBSCRIPTION
                elif same(value + 1, p - value - 2, b"heartbeat", 9):
                    f.method = METHOD_HEARTBEAT
            elif same(key, n, b"params", 6):
                bit = HAS_params
                if f.method == METHOD_NONE:
                    f.params = p
                    p = skip_value(p, fault)
                else:
                    p = self.read_params(p, f, fault)
            else:
                if same(key, n, b"result", 6) or same(key, n, b"error", 5):
                    bit = HAS_reply
                    f.failed = key[0] == b'e' and p[0] != b'n'
                p = skip_value(p, fault)
            if p == NULL:
                return NULL
            if f.seen & bit:
                return fail(fault, FAULT_REPEATED, "each field once", key)
            f.seen |= bit
            p = after_value(p, &more, fault)
            if p == NULL:
                return NULL
        if f.params != NULL and f.method != METHOD_NONE and self.read_params(f.params, f, fault) == NULL:
            return NULL
        return p

    cdef const char* read_params(self, const char* p, Fields* f, Fault* fault):
        # Of a notification: {"channel":"book.BTC-PERPETUAL.raw","data":...}; of a heartbeat: {"type":"test_request"}.
        cdef const char* key
        cdef const char* value
        cdef Py_ssize_t n = 0
        cdef unsigned int bit
        cdef bint more = True
        if f.method == METHOD_OTHER:
            return skip_value(p, fault)
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
            if same(key, n, b"channel", 7) and p[0] == b'"' and f.method == METHOD_SUBSCRIPTION:
                bit = HAS_channel
                p = skip_string(p + 1, fault)
                if p == NULL:
                    return NULL
                self.read_channel(value + 1, p - 1, f)
            elif same(key, n, b"data", 4) and f.method == METHOD_SUBSCRIPTION:
                bit = HAS_data
                if f.seen & HAS_channel:
                    p = self.read_data(p, f, fault)
                else:
                    f.data = p
                    p = skip_value(p, fault)
            elif same(key, n, b"type", 4) and f.method == METHOD_HEARTBEAT and p[0] == b'"':
                p = skip_string(p + 1, fault)
                if p != NULL:
                    f.test = same(value + 1, p - value - 2, b"test_request", 12)
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
        if f.data != NULL and f.seen & HAS_channel and self.read_data(f.data, f, fault) == NULL:
            return NULL
        return p

    cdef void read_channel(self, const char* p, const char* end, Fields* f):
        # kind.SYMBOL.interval, or kind.SYMBOL; anything longer is another channel (grouped books).
        cdef const char* parts[4]
        cdef int dots = 0
        cdef Py_ssize_t n
        cdef const char* at = p
        while at != end:
            if at[0] == b'.':
                if dots < 3:
                    parts[dots] = at
                dots += 1
            at += 1
        f.channel = CHANNEL_OTHER
        if dots < 1 or dots > 2:
            return
        n = parts[0] - p
        if same(p, n, b"book", 4) and dots == 2:
            f.channel = CHANNEL_BOOK
        elif same(p, n, b"ticker", 6) and dots == 2:
            f.channel = CHANNEL_TICKER
        elif same(p, n, b"trades", 6) and dots == 2:
            f.channel = CHANNEL_TRADES
        elif same(p, n, b"quote", 5) and dots == 1:
            f.channel = CHANNEL_QUOTE
        else:
            return
        at = parts[0] + 1
        self.current = self.find(at, (parts[1] if dots == 2 else end) - at)
        f.known = self.current is not None

    cdef const char* read_data(self, const char* p, Fields* f, Fault* fault):
        if not f.known:
            return skip_value(p, fault)
        if f.channel == CHANNEL_TRADES:
            return self.read_trades(p, f, fault)
        if f.channel == CHANNEL_TICKER:
            return self.read_ticker(p, &f.ticker, 0, fault)
        return self.read_object(p, f, fault)

    cdef const char* read_object(self, const char* p, Fields* f, Fault* fault):
        # Data of book and quote. Levels are read in passing once the type is known, as the venue orders them.
        cdef const char* key
        cdef const char* value
        cdef Py_ssize_t n = 0
        cdef unsigned int bit
        cdef bint more = True
        cdef bint book = f.channel == CHANNEL_BOOK
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
            if same(key, n, b"timestamp", 9):
                bit = HAS_timestamp
                p = read_int(p, &f.time_ms, fault)
                if f.time_ms > <int64_t>MS_MAX:
                    return fail(fault, FAULT_RANGE, "a time in milliseconds", value)
            elif same(key, n, b"instrument_name", 15) and p[0] == b'"':
                p = skip_string(p + 1, fault)
                if p != NULL and self.find(value + 1, p - value - 2) is not self.current:
                    return fail(fault, FAULT_VALUE, "the channel's own instrument", value)
            elif book and same(key, n, b"type", 4) and p[0] == b'"':
                bit = HAS_type
                p = skip_string(p + 1, fault)
                if p != NULL:
                    f.snapshot = same(value + 1, p - value - 2, b"snapshot", 8)
                    if not f.snapshot and not same(value + 1, p - value - 2, b"change", 6):
                        return fail(fault, FAULT_VALUE, "snapshot or change", value)
            elif book and same(key, n, b"change_id", 9):
                bit = HAS_change_id
                p = read_int(p, &f.change_id, fault)
            elif book and same(key, n, b"prev_change_id", 14):
                bit = HAS_prev_change_id
                p = read_int(p, &f.previous_id, fault)
            elif book and same(key, n, b"bids", 4):
                bit = HAS_bids
                f.bids = p
                f.bids_done = f.seen & HAS_type
                p = self.read_levels(p, SIDE_BID, f, fault) if f.bids_done else skip_value(p, fault)
            elif book and same(key, n, b"asks", 4):
                bit = HAS_asks
                f.asks = p
                f.asks_done = f.seen & HAS_type
                p = self.read_levels(p, SIDE_ASK, f, fault) if f.asks_done else skip_value(p, fault)
            elif not book and same(key, n, b"best_bid_price", 14):
                bit = HAS_bids
                f.bids = p
                p = skip_value(p, fault)
            elif not book and same(key, n, b"best_ask_price", 14):
                bit = HAS_asks
                f.asks = p
                p = skip_value(p, fault)
            elif not book and same(key, n, b"best_bid_amount", 15):
                bit = HAS_bid_size
                f.bid_size = p
                p = skip_value(p, fault)
            elif not book and same(key, n, b"best_ask_amount", 15):
                bit = HAS_ask_size
                f.ask_size = p
                p = skip_value(p, fault)
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
        return p

    cdef const char* read_levels(self, const char* p, int side, Fields* f, Fault* fault):
        # [["new",0.0015,4714.0],["delete",0.002,0.0], ...] into the event buffer.
        cdef SymbolFeed feed = self.current
        cdef EventBuffer buffer = self.buffer
        cdef const char* action
        cdef int64_t price = 0, size = 0
        cdef bint gone
        if f.snapshot and buffer.count == f.start and not self.push_marker(feed, EV_SNAPSHOT_BEGIN):
            return fail(fault, FAULT_FULL, "room in the event buffer", p)
        if p[0] != b'[':
            return fail(fault, FAULT_SYNTAX, "a list of levels", p)
        p = skip_space(p + 1)
        if p[0] == b']':
            return p + 1
        while True:
            if p[0] != b'[':
                return fail(fault, FAULT_SYNTAX, "a level", p)
            p = skip_space(p + 1)
            action = p + 1
            if p[0] != b'"':
                return fail(fault, FAULT_SYNTAX, "new, change or delete", p)
            p = skip_string(action, fault)
            if p == NULL:
                return NULL
            gone = same(action, p - action - 1, b"delete", 6)
            if not gone and not same(action, p - action - 1, b"new", 3) \
                    and not same(action, p - action - 1, b"change", 6):
                return fail(fault, FAULT_VALUE, "new, change or delete", action)
            p = skip_space(p)
            if p[0] != b',':
                return fail(fault, FAULT_SYNTAX, "a level of action, price and amount", p)
            p = skip_space(p + 1)
            action = p
            p = read_number(p, &feed.price_grid, &price, fault)
            if p == NULL:
                return NULL
            if price == 0:
                return fail(fault, FAULT_VALUE, "a price above 0", action)
            p = skip_space(p)
            if p[0] != b',':
                return fail(fault, FAULT_SYNTAX, "a level of action, price and amount", p)
            p = read_number(skip_space(p + 1), &feed.size_grid, &size, fault)
            if p == NULL:
                return NULL
            p = skip_space(p)
            if p[0] != b']':
                return fail(fault, FAULT_SYNTAX, "a level of action, price and amount", p)
            if not push_level(buffer, feed, side, price, 0 if gone else size):
                return fail(fault, FAULT_FULL, "room in the event buffer", p)
            p = skip_space(p + 1)
            if p[0] == b']':
                return p + 1
            if p[0] != b',':
                return fail(fault, FAULT_SYNTAX, "the end of a list of levels", p)
            p = skip_space(p + 1)

    cdef const char* read_trades(self, const char* p, Fields* f, Fault* fault):
        if p[0] != b'[':
            return fail(fault, FAULT_SYNTAX, "a list of trades", p)
        p = skip_space(p + 1)
        if p[0] == b']':
            return p + 1
        while True:
            p = self.read_trade(p, f, fault)
            if p == NULL:
                return NULL
            p = skip_space(p)
            if p[0] == b']':
                return p + 1
            if p[0] != b',':
                return fail(fault, FAULT_SYNTAX, "the end of a list of trades", p)
            p = skip_space(p + 1)

    cdef const char* read_trade(self, const char* p, Fields* f, Fault* fault):
        cdef SymbolFeed feed = self.current
        cdef EventBuffer buffer = self.buffer
        cdef const char* key
        cdef const char* value
        cdef Py_ssize_t n = 0
        cdef int64_t price = 0, size = 0, sequence = 0, time_ms = 0
        cdef int side = 0
        cdef bint block = False, more = True
        if p[0] != b'{':
            return fail(fault, FAULT_SYNTAX, "a trade", p)
        p = skip_space(p + 1)
        while more:
            p = read_key(p, &key, &n, fault)
            if p == NULL:
                return NULL
            value = p
            if same(key, n, b"price", 5):
                p = read_number(p, &feed.price_grid, &price, fault)
            elif same(key, n, b"amount", 6):
                p = read_number(p, &feed.size_grid, &size, fault)
            elif same(key, n, b"trade_seq", 9):
                p = read_int(p, &sequence, fault)
            elif same(key, n, b"timestamp", 9):
                p = read_int(p, &time_ms, fault)
                if time_ms > <int64_t>MS_MAX:
                    return fail(fault, FAULT_RANGE, "a time in milliseconds", value)
            elif same(key, n, b"direction", 9) and p[0] == b'"':
                p = skip_string(p + 1, fault)
                if p != NULL:
                    side = SIDE_BID if same(value + 1, p - value - 2, b"buy", 3) else (
                        SIDE_ASK if same(value + 1, p - value - 2, b"sell", 4) else 0)
            elif same(key, n, b"instrument_name", 15) and p[0] == b'"':
                p = skip_string(p + 1, fault)
                if p != NULL and self.find(value + 1, p - value - 2) is not self.current:
                    return fail(fault, FAULT_VALUE, "the channel's own instrument", value)
            else:
                block = block or same(key, n, b"block_trade_id", 14) and p[0] != b'n'
                p = skip_value(p, fault)
            if p == NULL:
                return NULL
            p = after_value(p, &more, fault)
            if p == NULL:
                return NULL
        if block:
            self.ignored += 1
            return p
        if price == 0 or size == 0 or side == 0 or sequence == 0 or time_ms == 0:
            return fail(fault, FAULT_MISSING, "price, amount, direction, trade_seq and timestamp of a trade", NULL)
        if buffer.count > f.start:
            buffer.events[buffer.count - 1].flags &= ~FLAG_LAST
        if not push_trade(buffer, feed, side, price, size, sequence, time_ms * NS_PER_MS, f.receive_ns):
            return fail(fault, FAULT_FULL, "room in the event buffer", p)
        feed.trades += 1
        return p

    cdef const char* read_ticker(self, const char* p, TickerFields* t, int depth, Fault* fault):
        # Members of the ticker, and of the object "greeks" in it.
        cdef const char* key
        cdef const char* value
        cdef Py_ssize_t n = 0
        cdef int64_t time_ms = 0
        cdef unsigned int bit
        cdef double number
        cdef bint given, more = True
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
            number = 0.0
            given = False
            if depth == 0:
                if same(key, n, b"timestamp", 9):
                    p = read_int(p, &time_ms, fault)
                    if time_ms > <int64_t>MS_MAX:
                        return fail(fault, FAULT_RANGE, "a time in milliseconds", value)
                    t.exchange_ns = time_ms * NS_PER_MS
                    t.seen |= HAS_time
                elif same(key, n, b"greeks", 6) and p[0] == b'{':
                    p = self.read_ticker(p, t, 1, fault)
                elif same(key, n, b"instrument_name", 15) and p[0] == b'"':
                    p = skip_string(p + 1, fault)
                    if p != NULL and self.find(value + 1, p - value - 2) is not self.current:
                        return fail(fault, FAULT_VALUE, "the channel's own instrument", value)
                elif same(key, n, b"mark_price", 10):
                    bit = HAS_mark_price
                elif same(key, n, b"mark_iv", 7):
                    bit = HAS_mark_iv
                elif same(key, n, b"underlying_price", 16):
                    bit = HAS_underlying
                elif same(key, n, b"funding_8h", 10):
                    bit = HAS_funding
                else:
                    p = skip_value(p, fault)
            elif same(key, n, b"delta", 5):
                bit = HAS_delta
            elif same(key, n, b"gamma", 5):
                bit = HAS_gamma
            elif same(key, n, b"vega", 4):
                bit = HAS_vega
            elif same(key, n, b"theta", 5):
                bit = HAS_theta
            else:
                p = skip_value(p, fault)
            if bit:
                p = read_double(p, &number, &given, fault)
                if given:
                    t.seen |= bit
                    if bit == HAS_mark_price:
                        t.mark_price = number
                    elif bit == HAS_mark_iv:
                        t.mark_iv = number
                    elif bit == HAS_underlying:
                        t.underlying_price = number
                    elif bit == HAS_funding:
                        t.funding = number
                    elif bit == HAS_delta:
                        t.delta = number
                    elif bit == HAS_gamma:
                        t.gamma = number
                    elif bit == HAS_vega:
                        t.vega = number
                    else:
                        t.theta = number
            if p == NULL:
                return NULL
            p = after_value(p, &more, fault)
            if p == NULL:
                return NULL
        return p


cdef inline const char* read_side(const char* price_at, const char* size_at, SymbolFeed feed, int64_t* price,
                                  int64_t* size, Fault* fault) noexcept:
    # One side of a quote; null stands for nothing.
    if price_at[0] != b'n' and read_number(price_at, &feed.price_grid, price, fault) == NULL:
        return NULL
    if size_at[0] != b'n' and read_number(size_at, &feed.size_grid, size, fault) == NULL:
        return NULL
    if price[0] == 0 and size[0] != 0:
        return fail(fault, FAULT_VALUE, "a price above 0 where there is an amount", price_at)
    if size[0] == 0:
        price[0] = 0
    return price_at
