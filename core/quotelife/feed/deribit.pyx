"""Deribit market data: JSON-RPC 2.0 notifications in, events out. No I/O; docs/feeds.md.

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
    FAULT_FULL, FAULT_MISSING, FAULT_NONE, FAULT_RANGE, FAULT_SYNTAX, FAULT_VALUE, NS_PER_MS, Fault, Members, Text,
    expect, expect_end, fail, first_item, first_member, next_item, next_member, read_either, read_int, read_ms,
    read_number, read_text, same, skip_space, skip_value,
)
from quotelife.feed.streamed_decoder cimport StreamedDecoder, StreamedSymbol
from quotelife.feed.symbol_feed cimport SymbolFeed
from quotelife.feed.venue_decoder cimport push_level, push_quote, push_trade, stamp
from quotelife.records cimport (
    EV_SNAPSHOT_BEGIN, FLAG_LAST, SIDE_ASK, SIDE_BID, STATUS_CLOSED, STATUS_HEARTBEAT, STATUS_TRADING,
    EventBuffer,
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
    HAS_direction = 8192

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
    HAS_state = 512


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


cdef const char* read_given(const char* p, double* out, unsigned int field, Members* m, Fault* fault):
    # A JSON number, the field of m; null is as if it were not there.
    cdef char* end = NULL
    if p[0] == b'n':
        return skip_value(p, fault)
    if not (b'0' <= p[0] <= b'9' or p[0] == b'-' and b'0' <= p[1] <= b'9'):
        return fail(fault, FAULT_SYNTAX, "a number", p)
    try:
        out[0] = PyOS_string_to_double(p, &end, OverflowError)
    except (ValueError, OverflowError):
        return fail(fault, FAULT_RANGE, "a number that a double holds", p)
    if not isfinite(out[0]):
        return fail(fault, FAULT_RANGE, "a number that a double holds", p)
    m.field = field
    return end


cdef class DeribitSymbol(StreamedSymbol):
    """A symbol with its newest ticker."""


cdef class DeribitDecoder(StreamedDecoder):
    """Messages of one Deribit connection to events in ``buffer``, which the caller drains between messages.

    ``quotes``: the quote channel becomes QUOTE events. It names no change id, so beside a book nobody could tell
    which of the two is newer: only for feeds without a book channel; else quotes are passed over.

    A ticker that says ``closed`` becomes STATUS CLOSED, the next that says ``open`` STATUS TRADING.
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
        p = expect_end(self.read_top(skip_space(text), &f, &fault), text + PyBytes_GET_SIZE(data), &fault)
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
        push_quote(self.buffer, feed, bid, bid_size, ask, ask_size, f.time_ms, f.time_ms * NS_PER_MS, f.receive_ns)
        return True

    cdef bint on_ticker(self, Fields* f, Fault* fault):
        cdef DeribitSymbol feed = <DeribitSymbol>self.current
        if not f.ticker.seen & HAS_time:
            fail(fault, FAULT_MISSING, "timestamp", NULL)
            return False
        if f.ticker.exchange_ns < feed.ticker.exchange_ns:
            feed.duplicates += 1
            return True
        if f.ticker.seen & HAS_state and f.ticker.closed != feed.closed:
            feed.closed = f.ticker.closed              # expired, settled, or the platform is locked
            self.push_status(feed, STATUS_CLOSED if feed.closed else STATUS_TRADING)
        elif not feed.companion:
            # It comes on the line of the book: an unchanged book is a quiet one.
            self.push_status(feed, STATUS_HEARTBEAT)   # need_room() keeps place for one
        stamp(self.buffer, f.start, f.ticker.exchange_ns, f.receive_ns, 0, FLAG_LAST)
        feed.ticker = f.ticker
        if not feed.ticker_fresh:
            feed.ticker_fresh = True
            self.fresh.append(feed)
        return True

    # Reading.

    cdef const char* read_top(self, const char* p, Fields* f, Fault* fault):
        # {"jsonrpc":"2.0","method":...,"params":{...}} or a reply with id and result or error.
        cdef Members m
        cdef Text text
        p = first_member(p, &m, &f.seen, fault)
        while m.more:
            if same(m.key, b"method") and p[0] == b'"':
                m.field = HAS_method
                p = read_text(p, &text, fault)
                if same(text, b"subscription"):
                    f.method = METHOD_SUBSCRIPTION
                elif same(text, b"heartbeat"):
                    f.method = METHOD_HEARTBEAT
                else:
                    f.method = METHOD_OTHER
            elif same(m.key, b"params"):
                m.field = HAS_params
                if f.method == METHOD_NONE:
                    f.params = p
                    p = skip_value(p, fault)
                else:
                    p = self.read_params(p, f, fault)
            else:
                if same(m.key, b"result") or same(m.key, b"error"):
                    m.field = HAS_reply
                    f.failed = m.key.at[0] == b'e' and p[0] != b'n'
                p = skip_value(p, fault)
            p = next_member(p, &m, fault)
        if p != NULL and f.params != NULL and f.method != METHOD_NONE \
                and self.read_params(f.params, f, fault) == NULL:
            return NULL
        return p

    cdef const char* read_params(self, const char* p, Fields* f, Fault* fault):
        # Of a notification: {"channel":"book.BTC-PERPETUAL.raw","data":...}; of a heartbeat: {"type":"test_request"}.
        cdef Members m
        cdef Text text
        if f.method == METHOD_OTHER:
            return skip_value(p, fault)
        p = first_member(p, &m, &f.seen, fault)
        while m.more:
            if f.method == METHOD_HEARTBEAT:
                if same(m.key, b"type") and p[0] == b'"':
                    p = read_text(p, &text, fault)
                    f.test = same(text, b"test_request")
                else:
                    p = skip_value(p, fault)
            elif same(m.key, b"channel") and p[0] == b'"':
                m.field = HAS_channel
                p = read_text(p, &text, fault)
                self.read_channel(text.at, text.at + text.n, f)
            elif same(m.key, b"data"):
                m.field = HAS_data
                if f.seen & HAS_channel:
                    p = self.read_data(p, f, fault)
                else:
                    f.data = p
                    p = skip_value(p, fault)
            else:
                p = skip_value(p, fault)
            p = next_member(p, &m, fault)
        if p != NULL and f.data != NULL and f.seen & HAS_channel and self.read_data(f.data, f, fault) == NULL:
            return NULL
        return p

    cdef void read_channel(self, const char* p, const char* end, Fields* f):
        # kind.SYMBOL.interval, or kind.SYMBOL; anything longer is another channel (grouped books).
        cdef Text parts[3]
        cdef int n = 1
        parts[0].at = p
        f.channel = CHANNEL_OTHER
        while p != end:
            if p[0] == b'.':
                if n == 3:
                    return
                parts[n - 1].n = p - parts[n - 1].at
                parts[n].at = p + 1
                n += 1
            p += 1
        parts[n - 1].n = p - parts[n - 1].at
        if n == 2:
            if not same(parts[0], b"quote"):
                return
            f.channel = CHANNEL_QUOTE
        elif n == 3:
            if same(parts[0], b"book"):
                f.channel = CHANNEL_BOOK
            elif same(parts[0], b"ticker"):
                f.channel = CHANNEL_TICKER
            elif same(parts[0], b"trades"):
                f.channel = CHANNEL_TRADES
            else:
                return
        else:
            return
        self.current = self.find(parts[1].at, parts[1].n)
        f.known = self.current is not None

    cdef const char* read_data(self, const char* p, Fields* f, Fault* fault):
        if not f.known:
            return skip_value(p, fault)
        if f.channel == CHANNEL_BOOK:
            return self.read_book(p, f, fault)
        if f.channel == CHANNEL_QUOTE:
            return self.read_quote(p, f, fault)
        if f.channel == CHANNEL_TICKER:
            return self.read_ticker(p, &f.ticker, fault)
        return self.read_trades(p, f, fault)

    cdef const char* read_book(self, const char* p, Fields* f, Fault* fault):
        # Levels are read in passing once the type is known, as the venue orders them.
        cdef Members m
        p = first_member(p, &m, &f.seen, fault)
        while m.more:
            if same(m.key, b"timestamp"):
                m.field = HAS_timestamp
                p = read_ms(p, &f.time_ms, fault)
            elif same(m.key, b"instrument_name"):
                p = self.read_own_symbol(p, fault)
            elif same(m.key, b"type"):
                m.field = HAS_type
                p = read_either(p, b"change", b"snapshot", &f.snapshot, "snapshot or change", fault)
            elif same(m.key, b"change_id"):
                m.field = HAS_change_id
                p = read_int(p, &f.change_id, fault)
            elif same(m.key, b"prev_change_id"):
                m.field = HAS_prev_change_id
                p = read_int(p, &f.previous_id, fault)
            elif same(m.key, b"bids"):
                m.field = HAS_bids
                f.bids = p
                f.bids_done = f.seen & HAS_type
                p = self.read_levels(p, SIDE_BID, f, fault) if f.bids_done else skip_value(p, fault)
            elif same(m.key, b"asks"):
                m.field = HAS_asks
                f.asks = p
                f.asks_done = f.seen & HAS_type
                p = self.read_levels(p, SIDE_ASK, f, fault) if f.asks_done else skip_value(p, fault)
            else:
                p = skip_value(p, fault)
            p = next_member(p, &m, fault)
        return p

    cdef const char* read_quote(self, const char* p, Fields* f, Fault* fault):
        cdef Members m
        p = first_member(p, &m, &f.seen, fault)
        while m.more:
            if same(m.key, b"timestamp"):
                m.field = HAS_timestamp
                p = read_ms(p, &f.time_ms, fault)
            elif same(m.key, b"instrument_name"):
                p = self.read_own_symbol(p, fault)
            else:
                if same(m.key, b"best_bid_price"):
                    m.field = HAS_bids
                    f.bids = p
                elif same(m.key, b"best_ask_price"):
                    m.field = HAS_asks
                    f.asks = p
                elif same(m.key, b"best_bid_amount"):
                    m.field = HAS_bid_size
                    f.bid_size = p
                elif same(m.key, b"best_ask_amount"):
                    m.field = HAS_ask_size
                    f.ask_size = p
                p = skip_value(p, fault)
            p = next_member(p, &m, fault)
        return p

    cdef const char* read_levels(self, const char* p, int side, Fields* f, Fault* fault):
        # [["new",0.0015,4714.0],["delete",0.002,0.0], ...] into the event buffer.
        cdef SymbolFeed feed = self.current
        cdef const char* at
        cdef int64_t price = 0, size = 0
        cdef bint more
        cdef Text action
        if f.snapshot and self.buffer.count == f.start and not self.push_marker(feed, EV_SNAPSHOT_BEGIN):
            return fail(fault, FAULT_FULL, "room in the event buffer", p)
        p = first_item(p, &more, "a list of levels", fault)
        while more:
            at = expect(p, b'[', "a level", fault)
            p = expect(read_text(at, &action, fault), b',', "a level of action, price and amount", fault)
            if p == NULL:
                return NULL
            if not (same(action, b"change") or same(action, b"new") or same(action, b"delete")):
                return fail(fault, FAULT_VALUE, "new, change or delete", at)
            at = p
            p = expect(read_number(p, &feed.price_grid, &price, fault), b',', "a level of action, price and amount",
                       fault)
            p = expect(read_number(p, &feed.size_grid, &size, fault), b']', "a level of action, price and amount",
                       fault)
            if p == NULL:
                return NULL
            if price == 0:
                return fail(fault, FAULT_VALUE, "a price above 0", at)
            if not push_level(self.buffer, feed, side, price, 0 if action.at[0] == b'd' else size):
                return fail(fault, FAULT_FULL, "room in the event buffer", p)
            p = next_item(p, &more, fault)
        return p

    cdef const char* read_trades(self, const char* p, Fields* f, Fault* fault):
        cdef bint more
        p = first_item(p, &more, "a list of trades", fault)
        while more:
            p = next_item(self.read_trade(p, f, fault), &more, fault)
        return p

    cdef const char* read_trade(self, const char* p, Fields* f, Fault* fault):
        cdef SymbolFeed feed = self.current
        cdef EventBuffer buffer = self.buffer
        cdef Members m
        cdef int64_t price = 0, size = 0, sequence = 0, time_ms = 0
        cdef unsigned int seen = 0
        cdef bint sell = False, block = False
        p = first_member(p, &m, &seen, fault)
        while m.more:
            if same(m.key, b"price"):
                p = read_number(p, &feed.price_grid, &price, fault)
            elif same(m.key, b"amount"):
                p = read_number(p, &feed.size_grid, &size, fault)
            elif same(m.key, b"trade_seq"):
                p = read_int(p, &sequence, fault)
            elif same(m.key, b"timestamp"):
                p = read_ms(p, &time_ms, fault)
            elif same(m.key, b"direction"):
                m.field = HAS_direction
                p = read_either(p, b"buy", b"sell", &sell, "buy or sell", fault)
            elif same(m.key, b"instrument_name"):
                p = self.read_own_symbol(p, fault)
            else:
                block = block or same(m.key, b"block_trade_id") and p[0] != b'n'
                p = skip_value(p, fault)
            p = next_member(p, &m, fault)
        if p == NULL:
            return NULL
        if block:
            self.ignored += 1
            return p
        if price == 0 or size == 0 or not seen & HAS_direction or sequence == 0 or time_ms == 0:
            return fail(fault, FAULT_MISSING, "price, amount, direction, trade_seq and timestamp of a trade", NULL)
        if buffer.count > f.start:
            buffer.events[buffer.count - 1].flags &= ~FLAG_LAST
        if not push_trade(buffer, feed, SIDE_ASK if sell else SIDE_BID, price, size, sequence, time_ms * NS_PER_MS,
                          f.receive_ns):
            return fail(fault, FAULT_FULL, "room in the event buffer", p)
        feed.trades += 1
        return p

    cdef const char* read_ticker(self, const char* p, TickerFields* t, Fault* fault):
        cdef Members m
        cdef Text text
        cdef int64_t time_ms = 0
        p = first_member(p, &m, &t.seen, fault)
        while m.more:
            if same(m.key, b"timestamp"):
                m.field = HAS_time
                p = read_ms(p, &time_ms, fault)
                t.exchange_ns = time_ms * NS_PER_MS
            elif same(m.key, b"instrument_name"):
                p = self.read_own_symbol(p, fault)
            elif same(m.key, b"greeks") and p[0] == b'{':
                p = self.read_greeks(p, t, fault)
            elif same(m.key, b"state") and p[0] == b'"':
                m.field = HAS_state
                p = read_text(p, &text, fault)
                t.closed = same(text, b"closed")
            elif same(m.key, b"mark_price"):
                p = read_given(p, &t.mark_price, HAS_mark_price, &m, fault)
            elif same(m.key, b"mark_iv"):
                p = read_given(p, &t.mark_iv, HAS_mark_iv, &m, fault)
            elif same(m.key, b"underlying_price"):
                p = read_given(p, &t.underlying_price, HAS_underlying, &m, fault)
            elif same(m.key, b"funding_8h"):
                p = read_given(p, &t.funding, HAS_funding, &m, fault)
            else:
                p = skip_value(p, fault)
            p = next_member(p, &m, fault)
        return p

    cdef const char* read_greeks(self, const char* p, TickerFields* t, Fault* fault):
        cdef Members m
        p = first_member(p, &m, &t.seen, fault)
        while m.more:
            if same(m.key, b"delta"):
                p = read_given(p, &t.delta, HAS_delta, &m, fault)
            elif same(m.key, b"gamma"):
                p = read_given(p, &t.gamma, HAS_gamma, &m, fault)
            elif same(m.key, b"vega"):
                p = read_given(p, &t.vega, HAS_vega, &m, fault)
            elif same(m.key, b"theta"):
                p = read_given(p, &t.theta, HAS_theta, &m, fault)
            else:
                p = skip_value(p, fault)
            p = next_member(p, &m, fault)
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
