"""Binance spot, USD-M and COIN-M market data: JSON bytes in, events out. No I/O; docs/feeds.md.

How a book becomes whole. Depth diffs of a symbol are held (never shown) until a REST snapshot arrives *and* a
diff proves that the two belong together: on spot the first diff kept has U <= lastUpdateId + 1 <= u, on futures
U <= lastUpdateId <= u, and each later one continues its predecessor (spot U == previous u + 1, futures
pu == previous u). Only then SNAPSHOT_BEGIN, the snapshot's levels, the levels of the held diffs (all marked
SNAPSHOT) and SNAPSHOT_END are written, in one piece. END carries LAST, and as its sequence the update id at
which the book now stands: the u of the last held diff. Until END nothing of the book is visible, so a book whose
chain is not proven is never reported whole, and the catching-up is no burst of market activity.

How trust is lost. A diff that does not continue the chain, a message that is malformed, off the instrument's
grid or too large for the event buffer, and a lost connection give CLEAR (GAP | LAST) as the first event of that
message; the symbol then wants a snapshot and holds diffs again. An older copy of what was applied already
(u <= previous u *and* not sent later than the last diff) is no break: absolute sizes of the past, already
superseded in an unbroken chain. The second condition tells it from a venue whose numbering started again.

A side of ``snapshot_levels`` was cut there: of what rests farther out, only what has changed since is known. END tells
where (records.pxd); whoever keeps the book sees when the market gets there, and calls ``resynchronise``.
"""

from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_GET_SIZE
from libc.stdint cimport INT64_MAX, int64_t
from libc.string cimport memset

from quotelife.errors import DecodeError

from quotelife.feed.json_bytes cimport (
    FAULT_FULL, FAULT_MISSING, FAULT_NONE, FAULT_VALUE, NS_PER_MS, Fault, Members, Text, expect, expect_end, fail,
    first_item, first_member, next_item, next_member, read_decimal, read_int, read_ms, read_text, same, skip_space,
    skip_value,
)
from quotelife.feed.symbol_feed cimport SPLICING, SYNCED, WAITING, SymbolFeed
from quotelife.feed.venue_decoder cimport VenueDecoder, describe, push_level, push_quote, push_trade, stamp
from quotelife.records cimport (
    EV_SNAPSHOT_BEGIN, EV_SNAPSHOT_END, FLAG_LAST, FLAG_SNAPSHOT, SIDE_ASK, SIDE_BID, Event,
    EventBuffer,
)

cdef enum MessageKind:
    KIND_NONE = 0                  # no "e" seen yet
    KIND_DEPTH = 1
    KIND_QUOTE = 2
    KIND_TRADE = 3
    KIND_AGG_TRADE = 4
    KIND_OTHER = 5                 # well formed, not for us

cdef enum Field:
    HAS_e = 1
    HAS_s = 2
    HAS_E = 4
    HAS_T = 8
    HAS_U = 16
    HAS_u = 32
    HAS_pu = 64
    HAS_b = 128
    HAS_a = 256
    HAS_B = 512
    HAS_A = 1024
    HAS_p = 2048
    HAS_q = 4096
    HAS_t = 8192
    HAS_m = 16384
    HAS_X = 32768
    HAS_data = 65536
    HAS_result = 131072
    HAS_error = 262144

cdef enum:
    QUOTE_FIELDS = HAS_s | HAS_u | HAS_b | HAS_a | HAS_B | HAS_A


cdef const char* read_levels(const char* p, SymbolFeed feed, int side, EventBuffer buffer, Fault* fault) noexcept:
    # [["price","size"], ...] straight into the event buffer; stamp() adds what the whole message says.
    cdef int64_t price = 0, size = 0
    cdef const char* at
    cdef bint more
    p = first_item(p, &more, "a list of levels", fault)
    while more:
        at = expect(p, b'[', "a level", fault)
        p = expect(read_decimal(at, &feed.price_grid, &price, fault), b',', "a level of price and size", fault)
        p = expect(read_decimal(p, &feed.size_grid, &size, fault), b']', "a level of price and size", fault)
        if p == NULL:
            return NULL
        if price == 0:
            return fail(fault, FAULT_VALUE, "a price above 0", at)
        if not push_level(buffer, feed, side, price, size):
            return fail(fault, FAULT_FULL, "room in the event buffer", p)
        p = next_item(p, &more, fault)
    return p


cdef inline bint is_digit(char c) noexcept nogil:
    return b'0' <= c <= b'9'


cdef inline int kind_of(Text name) noexcept nogil:
    if same(name, b"depthUpdate"):
        return KIND_DEPTH
    if same(name, b"bookTicker"):
        return KIND_QUOTE
    if same(name, b"trade"):
        return KIND_TRADE
    if same(name, b"aggTrade"):
        return KIND_AGG_TRADE
    return KIND_OTHER


cdef inline int64_t exchange_ns_of(const Fields* f) noexcept:
    # T, when it happened, before E, when it was sent; spot bookTicker has neither.
    if f.seen & HAS_T:
        return f.trade_ms * <int64_t>NS_PER_MS
    return f.event_ms * <int64_t>NS_PER_MS if f.seen & HAS_E else 0


cdef class BinanceSymbol(SymbolFeed):
    """A symbol whose diffs are held until its snapshot has come."""

    def __init__(self, symbol, instrument, tick_size, lot_size):
        super().__init__(symbol, instrument, tick_size, lot_size)
        self.pending = []

    cdef void forget(self):
        SymbolFeed.forget(self)
        self.snapshot = None
        self.pending = []
        self.pending_bytes = 0


cdef class BinanceDecoder(VenueDecoder):
    """Messages of one Binance market to events in ``buffer``, which the caller drains between messages.

    ``market`` is ``"spot"``, ``"usdm"`` or ``"coinm"``. ``pending_bytes_max`` bounds the diffs held per symbol
    while a snapshot is on its way; the default holds more than ten seconds of a busy symbol, and snapshot plus
    held diffs of that size still fit the default ``EventBuffer``. ``snapshot_levels`` is what the venue is asked for a
    side; 0: snapshots are taken for whole books.

    Depth diffs become LEVEL events (LAST on the last one; a diff without levels becomes a STATUS heartbeat that
    carries its update id), bookTicker becomes QUOTE, trade and aggTrade become TRADE. Time stamps are
    transaction time (T), or event time (E), in nanoseconds; 0 where the venue gives none. Other streams are
    counted as ignored. Not thread-safe.
    """

    def __init__(self, str market, EventBuffer buffer not None, *, Py_ssize_t snapshot_levels=0,
                 Py_ssize_t pending_bytes_max=1 << 20):
        if market not in ("spot", "usdm", "coinm"):
            raise ValueError(f"market must be spot, usdm or coinm, not {market!r}")
        if pending_bytes_max <= 0:
            raise ValueError("pending_bytes_max must be positive")
        super().__init__(buffer)
        self.market = market
        self.pending_bytes_max = pending_bytes_max
        self.snapshot_levels = snapshot_levels
        self.futures = market != "spot"

    cdef SymbolFeed new_feed(self, str symbol, object instrument_index, object tick_size, object lot_size):
        return BinanceSymbol(symbol, instrument_index, tick_size, lot_size)

    # What comes in.

    cpdef Py_ssize_t message(self, bytes data, int64_t receive_ns) except -1:
        """Decode one websocket message, combined-stream or bare; returns the number of events appended.

        Raises ``DecodeError`` naming the fault; the CLEAR events of the books it makes unreliable are in the
        buffer then. Raises ``OverflowError``, having changed nothing, when the buffer was not drained.
        """
        cdef EventBuffer buffer = self.buffer
        cdef Py_ssize_t start = buffer.count
        cdef Fields f
        cdef Fault fault
        self.need_room()
        self.messages += 1
        self.current = None
        memset(&f, 0, sizeof(Fields))
        f.market = True
        if not self.read_message(data, &f, &fault):
            self.refuse(&fault, data, self.current, start, receive_ns)
        if f.kind == KIND_NONE and f.seen & QUOTE_FIELDS == QUOTE_FIELDS:
            f.kind = KIND_QUOTE
        if f.kind == KIND_NONE and f.seen & (HAS_result | HAS_error):
            self.on_reply(data, &f)
            return 0
        if f.kind == KIND_NONE or f.kind == KIND_OTHER or not f.known and f.seen & HAS_s:
            self.ignored += 1
            return 0
        if not self.read_rest(&f, &fault):
            self.refuse(&fault, data, self.current, start, receive_ns)
        if f.kind == KIND_DEPTH:
            self.on_depth(data, &f, start, receive_ns)
        else:
            fault.code = FAULT_NONE
            if f.kind == KIND_QUOTE:
                self.on_quote(&f, receive_ns, &fault)
            else:
                self.on_trade(&f, receive_ns, &fault)
            if fault.code != FAULT_NONE:
                self.refuse(&fault, data, self.current, start, receive_ns)
        return buffer.count - start

    cpdef Py_ssize_t snapshot(self, str symbol, bytes data, int64_t receive_ns) except -1:
        """The REST depth answer for ``symbol``, asked for or not; returns the number of events appended.

        Nothing is appended before a diff proves the splice. Raises ``DecodeError`` when the answer is no
        usable snapshot (it is then wanted again), ``UnknownInstrumentError`` for a symbol never added.
        """
        cdef EventBuffer buffer = self.buffer
        cdef Py_ssize_t start = buffer.count
        cdef BinanceSymbol feed = <BinanceSymbol>self.feed_of(symbol)
        cdef Fields f
        cdef Fault fault
        self.need_room()
        feed.requested = False
        if feed.state == SYNCED:
            self.ignored += 1
            return 0
        if not self.read_snapshot(feed, data, &f, &fault):
            buffer.count = start
            self.count_fault(feed, &fault)
            self.want(feed)
            raise DecodeError(f"snapshot of {symbol}: {describe(&fault, data, feed)}")
        buffer.count = start       # it was only checked; splice() shows it
        if feed.snapshot is None or f.last_id > feed.snapshot_id:
            feed.snapshot = data
            feed.snapshot_id = f.last_id
            feed.state = SPLICING
        else:
            feed.refused += 1
        self.splice(feed, receive_ns)
        return buffer.count - start

    # Snapshots.

    def snapshot_failed(self, str symbol):
        """The request for a snapshot of ``symbol`` came to nothing: it is wanted again if still needed."""
        cdef BinanceSymbol feed = <BinanceSymbol>self.feed_of(symbol)
        feed.requested = False
        if feed.state == WAITING and feed.pending:
            self.want(feed)

    # Reading.

    cdef bint read_message(self, bytes data, Fields* f, Fault* fault):
        cdef const char* text = PyBytes_AS_STRING(data)
        cdef const char* p = self.read_object(skip_space(text), f, 0, fault)
        return expect_end(p, text + PyBytes_GET_SIZE(data), fault) != NULL

    cdef const char* read_object(self, const char* p, Fields* f, int depth, Fault* fault):
        # A message, or the "data" of one of a combined stream.
        cdef Members m
        p = first_member(p, &m, &f.seen, fault)
        while m.more:
            if f.kind == KIND_OTHER:
                p = skip_value(p, fault)
            elif m.key.n == 1:
                p = self.read_field(p, &m, f, fault)
            elif same(m.key, b"pu") and is_digit(p[0]):
                m.field = HAS_pu
                p = read_int(p, &f.previous_id, fault)
            elif same(m.key, b"data") and depth == 0 and p[0] == b'{':
                m.field = HAS_data
                p = self.read_object(p, f, 1, fault)
            else:
                if same(m.key, b"result") or same(m.key, b"id"):
                    f.seen |= HAS_result
                elif same(m.key, b"error") or same(m.key, b"code"):
                    f.seen |= HAS_error
                    f.error = p
                p = skip_value(p, fault)
            p = next_member(p, &m, fault)
        return p

    cdef const char* read_field(self, const char* p, Members* m, Fields* f, Fault* fault):
        # One that is named by a letter. Levels are read in passing once kind and symbol are known (the order the
        # venue uses); otherwise read_rest() comes back to them. What is not of the type expected is not for us.
        cdef char letter = m.key.at[0]
        cdef bint levels = f.kind == KIND_DEPTH and f.known
        cdef Text text
        if letter == b'b':
            m.field = HAS_b
            f.bids = p
            f.bids_done = levels
            if levels:
                return read_levels(p, self.current, SIDE_BID, self.buffer, fault)
        elif letter == b'a':
            m.field = HAS_a
            f.asks = p
            f.asks_done = levels
            if levels:
                return read_levels(p, self.current, SIDE_ASK, self.buffer, fault)
        elif letter == b'B':
            m.field = HAS_B
            f.bid_size = p
        elif letter == b'A':
            m.field = HAS_A
            f.ask_size = p
        elif letter == b'p':
            m.field = HAS_p
            f.price = p
        elif letter == b'q':
            m.field = HAS_q
            f.size = p
        elif letter == b'm':
            if p[0] == b't' or p[0] == b'f':
                m.field = HAS_m
                f.maker = p[0] == b't'
        elif letter == b'E':
            if is_digit(p[0]):
                m.field = HAS_E
                return read_ms(p, &f.event_ms, fault)
        elif letter == b'T':
            if is_digit(p[0]):
                m.field = HAS_T
                return read_ms(p, &f.trade_ms, fault)
        elif letter == b'U':
            if is_digit(p[0]):
                m.field = HAS_U
                return read_int(p, &f.first_id, fault)
        elif letter == b'u':
            if is_digit(p[0]):
                m.field = HAS_u
                return read_int(p, &f.last_id, fault)
        elif letter == b't':
            if is_digit(p[0]):
                m.field = HAS_t
                return read_int(p, &f.trade_id, fault)
        elif letter == b'e':
            if p[0] == b'"':
                m.field = HAS_e
                p = read_text(p, &text, fault)
                f.kind = kind_of(text)
                return p
        elif letter == b's':
            if p[0] == b'"':
                m.field = HAS_s
                p = read_text(p, &text, fault)
                self.current = self.find(text.at, text.n)
                f.known = self.current is not None
                return p
        elif letter == b'X':
            if p[0] == b'"':
                m.field = HAS_X
                p = read_text(p, &text, fault)
                f.market = same(text, b"MARKET")
                return p
        return skip_value(p, fault)

    cdef bint read_snapshot(self, SymbolFeed feed, bytes data, Fields* f, Fault* fault):
        # A REST answer; pushes its levels.
        cdef const char* text = PyBytes_AS_STRING(data)
        cdef const char* p
        cdef Members m
        memset(f, 0, sizeof(Fields))
        p = first_member(skip_space(text), &m, &f.seen, fault)
        while m.more:
            if same(m.key, b"bids"):
                m.field = HAS_b
                p = read_levels(p, feed, SIDE_BID, self.buffer, fault)
            elif same(m.key, b"asks"):
                m.field = HAS_a
                p = read_levels(p, feed, SIDE_ASK, self.buffer, fault)
            elif same(m.key, b"lastUpdateId"):
                m.field = HAS_u
                p = read_int(p, &f.last_id, fault)
            elif same(m.key, b"T"):
                m.field = HAS_T
                p = read_ms(p, &f.trade_ms, fault)
            else:
                p = skip_value(p, fault)
            p = next_member(p, &m, fault)
        if expect_end(p, text + PyBytes_GET_SIZE(data), fault) == NULL:
            return False
        if f.seen & (HAS_u | HAS_b | HAS_a) != HAS_u | HAS_b | HAS_a:
            fail(fault, FAULT_MISSING, "lastUpdateId, bids and asks", NULL)
            return False
        return True

    cdef bint read_rest(self, Fields* f, Fault* fault):
        # Is everything there that the kind needs, and does it make sense? Reads levels that were passed over.
        cdef unsigned int needed
        if f.kind == KIND_DEPTH:
            needed = HAS_s | HAS_U | HAS_u | HAS_b | HAS_a | (HAS_pu if self.futures else 0)
            if f.seen & needed != needed:
                fail(fault, FAULT_MISSING, "s, U, u, pu, b and a" if self.futures else "s, U, u, b and a", NULL)
                return False
            if f.first_id > f.last_id:
                fail(fault, FAULT_VALUE, "U not above u", NULL)
                return False
            if f.previous_id > f.last_id:
                fail(fault, FAULT_VALUE, "pu not above u", NULL)
                return False
            if not f.bids_done and read_levels(f.bids, self.current, SIDE_BID, self.buffer, fault) == NULL:
                return False
            return f.asks_done or read_levels(f.asks, self.current, SIDE_ASK, self.buffer, fault) != NULL
        if f.kind == KIND_QUOTE:
            if f.seen & QUOTE_FIELDS != QUOTE_FIELDS:
                fail(fault, FAULT_MISSING, "s, u, b, B, a and A", NULL)
                return False
            return True
        needed = HAS_s | HAS_p | HAS_q | HAS_m | (HAS_a if f.kind == KIND_AGG_TRADE else HAS_t)
        if f.seen & needed != needed:
            fail(fault, FAULT_MISSING, "s, p, q, m and t (or a)", NULL)
            return False
        if f.kind == KIND_AGG_TRADE:
            return read_int(f.asks, &f.trade_id, fault) != NULL
        return True

    # Depth diffs.

    cdef int on_depth(self, bytes data, Fields* f, Py_ssize_t start, int64_t receive_ns) except -1:
        cdef BinanceSymbol feed = <BinanceSymbol>self.current
        cdef EventBuffer buffer = self.buffer
        cdef int64_t exchange_ns = exchange_ns_of(f)
        feed.depths += 1
        if feed.chain_id >= 0 and not (
                f.previous_id == feed.chain_id if self.futures else f.first_id == feed.chain_id + 1):
            buffer.count = start
            if f.last_id <= feed.chain_id and 0 < exchange_ns <= feed.chain_ns:
                feed.duplicates += 1
                return 0
            feed.gaps += 1
            if feed.state == SYNCED:
                self.distrust(feed, f.last_id, receive_ns)
            # A held snapshot may still splice with this diff; what was held before it cannot.
            feed.pending = []
            feed.pending_bytes = 0
        elif feed.state == SYNCED:
            return self.show(feed, start, f.last_id, exchange_ns, receive_ns)
        else:
            buffer.count = start
        self.hold(feed, data, f)
        return self.splice(feed, receive_ns)

    cdef int give_up_snapshot(self, BinanceSymbol feed) except -1:
        feed.refused += 1
        feed.snapshot = None
        feed.state = WAITING
        return self.want(feed)

    cdef Edge find_edge(self, Py_ssize_t start) noexcept:
        # Of the snapshot whose levels stand in the buffer from start on.
        cdef Py_ssize_t bids = 0, asks = 0, limit = self.snapshot_levels
        cdef int64_t bid = INT64_MAX, ask = 0
        cdef Py_ssize_t i
        cdef const Event* event
        cdef Edge edge
        memset(&edge, 0, sizeof(Edge))
        for i in range(start, self.buffer.count):
            event = &self.buffer.events[i]
            if event.side == SIDE_BID:
                bids += 1
                bid = min(bid, event.price_ticks)
            elif event.side == SIDE_ASK:
                asks += 1
                ask = max(ask, event.price_ticks)
        if limit > 0 and max(bids, asks) >= limit:
            edge.levels = limit
            edge.bid_ticks = bid if bids >= limit else 0
            edge.ask_ticks = ask if asks >= limit else 0
        return edge

    cdef int hold(self, BinanceSymbol feed, bytes data, const Fields* f) except -1:
        cdef Py_ssize_t n = PyBytes_GET_SIZE(data)
        if feed.pending_bytes + n > self.pending_bytes_max and feed.pending:
            feed.restarts += 1
            feed.pending = []
            feed.pending_bytes = 0
        feed.pending.append((f.first_id, f.last_id, data))
        feed.pending_bytes += n
        feed.chain_id = f.last_id
        feed.chain_ns = exchange_ns_of(f)
        if feed.snapshot is None:
            self.want(feed)
        return 0

    cdef int splice(self, BinanceSymbol feed, int64_t receive_ns) except -1:
        # Join the held snapshot and the held diffs if the venue's rule allows; all or nothing.
        cdef EventBuffer buffer = self.buffer
        cdef Py_ssize_t start = buffer.count
        cdef Py_ssize_t at, older = 0
        cdef int64_t last_id, base
        cdef Edge edge
        cdef Event* end
        cdef Fields f
        cdef Fault fault
        if feed.snapshot is None:
            return 0
        base = feed.snapshot_id if self.futures else feed.snapshot_id + 1
        for _, last_id, data in feed.pending:
            if last_id >= base:
                break
            older += 1
            feed.pending_bytes -= len(data)
        del feed.pending[:older]
        if not feed.pending:
            return 0
        if feed.pending[0][0] > base:
            return self.give_up_snapshot(feed)
        try:
            self.push_marker(feed, EV_SNAPSHOT_BEGIN)
            if not self.read_snapshot(feed, feed.snapshot, &f, &fault):
                self.refuse(&fault, feed.snapshot, feed, start, receive_ns)
            edge = self.find_edge(start)
            stamp(buffer, start, exchange_ns_of(&f), receive_ns, feed.snapshot_id, FLAG_SNAPSHOT)
            for _, last_id, data in feed.pending:
                at = buffer.count
                memset(&f, 0, sizeof(Fields))
                if not self.read_message(data, &f, &fault) or not self.read_rest(&f, &fault):
                    self.refuse(&fault, data, feed, start, receive_ns)
                stamp(buffer, at, exchange_ns_of(&f), receive_ns, last_id, FLAG_SNAPSHOT)
            at = buffer.count
            if not self.push_marker(feed, EV_SNAPSHOT_END):
                fail(&fault, FAULT_FULL, "room in the event buffer", NULL)
                self.refuse(&fault, feed.snapshot, feed, start, receive_ns)
        except DecodeError:
            # All were read before: only the event buffer can have been too small.
            feed.forget()
            raise
        end = &buffer.events[at]
        end.size_lots = edge.levels
        end.price_ticks = edge.bid_ticks
        end.order_id = edge.ask_ticks
        stamp(buffer, at, feed.chain_ns, receive_ns, feed.chain_id, FLAG_SNAPSHOT | FLAG_LAST)
        feed.state = SYNCED
        feed.syncs += 1
        feed.snapshot = None
        feed.pending = []
        feed.pending_bytes = 0
        return 0

    # Quotes, trades, replies.

    cdef int on_quote(self, Fields* f, int64_t receive_ns, Fault* fault) except -1:
        cdef SymbolFeed feed = self.current
        cdef int64_t bid = 0, bid_size = 0, ask = 0, ask_size = 0
        if (read_decimal(f.bids, &feed.price_grid, &bid, fault) == NULL
                or read_decimal(f.bid_size, &feed.size_grid, &bid_size, fault) == NULL
                or read_decimal(f.asks, &feed.price_grid, &ask, fault) == NULL
                or read_decimal(f.ask_size, &feed.size_grid, &ask_size, fault) == NULL):
            return 0
        if bid == 0 and bid_size != 0 or ask == 0 and ask_size != 0:
            fail(fault, FAULT_VALUE, "a price above 0 where there is a size", f.bids)
            return 0
        push_quote(self.buffer, feed, bid, bid_size, ask, ask_size, f.last_id, exchange_ns_of(f), receive_ns)
        return 0

    cdef int on_trade(self, Fields* f, int64_t receive_ns, Fault* fault) except -1:
        cdef SymbolFeed feed = self.current
        cdef int64_t price = 0, size = 0
        if not f.market:               # insurance fund, auto-deleveraging: no order in the book was hit
            self.ignored += 1
            return 0
        if (read_decimal(f.price, &feed.price_grid, &price, fault) == NULL
                or read_decimal(f.size, &feed.size_grid, &size, fault) == NULL):
            return 0
        if price == 0 or size == 0:
            fail(fault, FAULT_VALUE, "a price and a size above 0", f.price)
            return 0
        push_trade(self.buffer, feed, SIDE_ASK if f.maker else SIDE_BID, price, size, f.trade_id,
                   exchange_ns_of(f), receive_ns)      # need_room() keeps place for one
        feed.trades += 1
        return 0

    cdef void on_reply(self, bytes data, const Fields* f):
        self.replies += 1
        if f.error != NULL and f.error[0] != b'n':     # "error": null is a success
            self.errors += 1
            self.last_error = data.decode("utf-8", "replace")
