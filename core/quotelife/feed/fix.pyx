"""FIX 4.4 market data: 35=W and 35=X in, events out; 35=V is what to ask for. No I/O; docs/fix.md.

The session layer (fix_session.py) gives whole messages in their turn. A book becomes whole with a full refresh (W)
that answers our newest request, and is continued by the increments (X) of that request; messages under an older
MDReqID are passed over, so that after a break nothing of the past can mix with what was asked for anew. Breaks are:
lost messages (``gap``), a hole in RptSeq (83) where the venue numbers its entries, an entry that names an MDEntryID
nobody has heard of, and everything malformed or off the grid. Books are then CLEARed (GAP | LAST) and
``wants_snapshot`` names the symbols; ``subscribe`` says what to send.

Entries are known by side and price or, where they carry MDEntryID (278), by that; several of them can stand at one
price then, and a level is their sum. With a market depth above 0 the levels that an increment pushes out of it are
removed, since venues need not say so.

Source: FIX 4.4 with Errata 20030618, volume 3, Market Data; tags 268–290.
"""

from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_FromStringAndSize, PyBytes_GET_SIZE
from libc.stdint cimport int64_t
from libc.string cimport memset

from quotelife.feed.json_bytes cimport (
    FAULT_FULL, FAULT_MISSING, FAULT_NONE, FAULT_SYNTAX, FAULT_VALUE, Fault, fail, read_number,
)
from quotelife.feed.streamed_decoder cimport StreamedDecoder, StreamedSymbol
from quotelife.feed.symbol_feed cimport SYNCED, SymbolFeed
from quotelife.feed.venue_decoder cimport push_level, push_trade, stamp
from quotelife.records cimport (
    EV_SNAPSHOT_BEGIN, FLAG_LAST, SIDE_ASK, SIDE_BID, SIDE_NONE, STATUS_AUCTION, STATUS_CLOSED, STATUS_HALT,
    STATUS_HEARTBEAT, STATUS_TRADING, EventBuffer,
)

cdef enum:
    SOH = 1
    TAG_MAX = 999_999_999
    DEPTH_MAX = 10_000

cdef enum:
    NEW = 0
    CHANGE = 1
    DELETE = 2

cdef int64_t NS_PER_S = 1_000_000_000


cdef const char* read_tag(const char* p, int* tag, Fault* fault) noexcept nogil:
    # 270= ; the position behind the equals sign.
    cdef const char* start = p
    cdef int n = 0
    while b'0' <= p[0] <= b'9':
        if n > TAG_MAX // 10 - 1:
            return fail(fault, FAULT_SYNTAX, "a tag", start)
        n = n * 10 + (p[0] - 48)
        p += 1
    if p == start or p[0] != b'=':
        return fail(fault, FAULT_SYNTAX, "TAG=VALUE", start)
    tag[0] = n
    return p + 1


cdef int64_t whole(const char* p, Py_ssize_t n) noexcept nogil:
    # A number of at most 18 digits, -1: it is none.
    cdef int64_t out = 0
    cdef Py_ssize_t i
    if n < 1 or n > 18:
        return -1
    for i in range(n):
        if not b'0' <= p[i] <= b'9':
            return -1
        out = out * 10 + (p[i] - 48)
    return out


cdef int64_t utc_ns(const char* p, Py_ssize_t n) noexcept nogil:
    # UTCTimestamp YYYYMMDD-HH:MM:SS[.fraction] to ns since 1970, -1: it is none.
    cdef int64_t y, m, d, hours, minutes, seconds, era, yoe, doy, fraction = 0
    cdef Py_ssize_t i
    if n < 17 or p[8] != b'-' or p[11] != b':' or p[14] != b':':
        return -1
    y, m, d = whole(p, 4), whole(p + 4, 2), whole(p + 6, 2)
    hours, minutes, seconds = whole(p + 9, 2), whole(p + 12, 2), whole(p + 15, 2)
    if y < 1970 or y > 2250 or m < 1 or m > 12 or d < 1 or d > 31 or hours > 23 or minutes > 59 or seconds > 60:
        return -1
    if hours < 0 or minutes < 0 or seconds < 0:
        return -1
    if n > 17:
        if p[17] != b'.' or n > 27 or n == 18:
            return -1
        fraction = whole(p + 18, n - 18)
        if fraction < 0:
            return -1
        for i in range(n - 18, 9):
            fraction *= 10
    # Days from the civil date, years beginning in March.
    y -= m <= 2
    era = y // 400
    yoe = y - era * 400
    doy = (153 * (m + (-3 if m > 2 else 9)) + 2) // 5 + d - 1
    return ((era * 146097 + yoe * 365 + yoe // 4 - yoe // 100 + doy - 719468) * 86400
            + hours * 3600 + minutes * 60 + seconds) * NS_PER_S + fraction


cdef inline void clear_entry(Entry* e) noexcept nogil:
    memset(e, 0, sizeof(Entry))
    e.action = -1
    e.report = -1


cdef inline bint read_value(const char* p, SymbolFeed feed, bint price, int64_t* out, Fault* fault) noexcept:
    # A whole field as ticks or lots.
    cdef const char* end = read_number(p, &feed.price_grid if price else &feed.size_grid, out, fault)
    if end == NULL:
        return False
    if end[0] != SOH:
        fail(fault, FAULT_SYNTAX, "a decimal", p)
        return False
    return True


cdef class FixSymbol(StreamedSymbol):
    """A symbol with its levels, which say what an increment pushes out, and its subscription."""

    def __init__(self, symbol, instrument, tick_size, lot_size):
        super().__init__(symbol, instrument, tick_size, lot_size)
        self.request = b""
        FixSymbol.forget(self)

    cdef void forget(self):
        StreamedSymbol.forget(self)
        self.bids = {}
        self.asks = {}
        self.ids = {}
        self.report = -1


cdef class FixDecoder(StreamedDecoder):
    """Market data of one FIX session to events in ``buffer``, which the caller drains between messages.

    ``depth``: levels a side to ask for (264), 0: the whole book. ``incremental``: ask for increments (265=1), else
    for a full refresh each time, whose difference to the one before becomes the events.
    """

    def __init__(self, EventBuffer buffer not None, *, int depth=0, bint incremental=True):
        super().__init__(buffer)
        if not 0 <= depth <= DEPTH_MAX:
            raise ValueError(f"depth must be 0 (the whole book) to {DEPTH_MAX}, not {depth}")
        self.depth = depth
        self.incremental = incremental
        self.by_request = {}
        self.touched = []

    cdef SymbolFeed new_feed(self, str symbol, object instrument_index, object tick_size, object lot_size):
        return FixSymbol(symbol, instrument_index, tick_size, lot_size)

    # What to ask for.

    def subscribe(self, str symbol):
        """Fields of the messages (each 35=V) that subscribe anew: first the end of the old request, if there is one."""
        cdef FixSymbol feed = self.feed_of(symbol)
        out = []
        if feed.request:
            out.append(self.request_fields(feed, b"2"))
            self.by_request.pop(feed.request, None)
        self.requests += 1
        feed.request = b"%s.%d" % (feed.key, self.requests)
        self.by_request[feed.request] = feed
        feed.requested = True
        out.append(self.request_fields(feed, b"1"))
        return out

    cdef list request_fields(self, FixSymbol feed, bytes kind):
        # Of one MarketDataRequest; kind: SubscriptionRequestType (263).
        return [
            (262, feed.request), (263, kind), (264, b"%d" % self.depth), (265, b"1" if self.incremental else b"0"),
            (267, b"3"), (269, b"0"), (269, b"1"), (269, b"2"), (146, b"1"), (55, feed.key),
        ]

    def connected(self, int64_t receive_ns):
        """Logged on: STATUS FEED_UP for every instrument. Subscribing to all is the caller's first act."""
        cdef FixSymbol feed
        StreamedDecoder.connected(self, receive_ns)
        self.by_request = {}
        for feed in self.feeds:
            feed.request = b""         # of another session: nothing to end

    def gap(self, int64_t receive_ns):
        """Messages of the session were lost: no book can be trusted, and each has to be subscribed anew."""
        self.need_room()
        for feed in self.feeds:
            (<SymbolFeed>feed).gaps += 1
        self.distrust_all(receive_ns)

    # What comes in.

    cpdef Py_ssize_t message(self, bytes data, int64_t receive_ns) except -1:
        """Decode one application message (W, X, Y, f, j; others are ignored); returns the number of events appended.

        Raises ``DecodeError`` naming the fault; the CLEAR events of the books it makes unreliable are in the
        buffer then. Raises ``OverflowError``, having changed nothing, when the buffer was not drained.
        """
        cdef Message m
        cdef Fault fault
        cdef FixSymbol feed
        cdef Py_ssize_t start = self.buffer.count
        self.need_room()
        self.messages += 1
        self.current = self.entry_feed = None
        self.touched = []
        memset(&m, 0, sizeof(Message))
        m.start = start
        m.receive_ns = receive_ns
        m.status = -1
        fault.code = FAULT_NONE
        if not self.read(data, &m, &fault):
            # What a message of several symbols did before the fault is taken back with it.
            self.buffer.count = start
            feed = self.entry_feed if self.entry_feed is not None else self.current
            for other in self.touched:
                (<FixSymbol>other).touched = (<FixSymbol>other).broken = False
                if other is not feed:
                    self.distrust(<SymbolFeed>other, m.sequence, receive_ns)
            if feed is not None and m.refresh:
                feed.requested = False             # this was the answer
            self.refuse(&fault, data, feed, self.buffer.count, receive_ns)
        return self.buffer.count - start

    cdef bint read(self, bytes data, Message* m, Fault* fault) except *:
        cdef const char* p = PyBytes_AS_STRING(data)
        cdef const char* end = p + PyBytes_GET_SIZE(data)
        cdef const char* value
        cdef Py_ssize_t n
        cdef int tag = 0
        cdef char kind = 0
        cdef Entry e
        cdef int64_t stamp_ns
        clear_entry(&e)
        while p < end:
            p = read_tag(p, &tag, fault)
            if p == NULL:
                return False
            value = p
            while p[0] != SOH and p[0] != 0:
                p += 1
            if p[0] == 0:
                fail(fault, FAULT_SYNTAX, "the end of a field", value)
                return False
            n = p - value
            p += 1
            if kind == 0 and tag != 35:
                continue                       # what stands before MsgType (35) is the session's
            if e.begun:
                if tag == 269 and not m.refresh:
                    e.kind = value[0] if n == 1 else 0
                    continue
                elif tag == 270:
                    e.price = value
                    continue
                elif tag == 271:
                    e.size = value
                    continue
                elif tag == 278:
                    e.id = value
                    e.id_len = n
                    continue
                elif tag == 280:
                    e.reference = value
                    e.reference_len = n
                    continue
                elif tag == 83:
                    e.report = whole(value, n)
                    continue
                elif tag == 54:
                    e.taker = <int>whole(value, n)
                    continue
                elif tag == 55 and not m.refresh:
                    self.entry_feed = <FixSymbol>self.find(value, n)
                    continue
            if tag == (269 if m.refresh else 279) and kind != b'f':
                if not self.end_entry(m, &e, fault):
                    return False
                if not e.begun:
                    self.entry_feed = <FixSymbol>self.current     # later entries stay with the symbol named last
                clear_entry(&e)
                e.begun = True
                if m.refresh:
                    e.kind = value[0] if n == 1 else 0
                else:
                    e.action = <int>whole(value, n)
            elif tag == 35:
                if kind != 0:
                    fail(fault, FAULT_SYNTAX, "MsgType (35) once", value)
                    return False
                kind = value[0] if n == 1 else 0
                if kind == b'Y' or kind == b'j':
                    self.refused_requests += 1
                    self.on_reply(data, True)
                    return True
                if kind != b'W' and kind != b'X' and kind != b'f':
                    self.ignored += 1
                    return True
                m.refresh = kind == b'W'
                if m.refresh:
                    self.new_bids, self.new_asks, self.new_ids, self.new_report = {}, {}, {}, -1
            elif tag == 34:
                m.sequence = whole(value, n)
                if m.sequence < 0:
                    fail(fault, FAULT_VALUE, "MsgSeqNum (34), a number", value)
                    return False
            elif tag == 52 or tag == 60:
                stamp_ns = utc_ns(value, n)
                if stamp_ns < 0:
                    fail(fault, FAULT_VALUE, "a UTC timestamp", value)
                    return False
                if tag == 60 or m.exchange_ns == 0:
                    m.exchange_ns = stamp_ns
            elif tag == 262 and not e.begun:
                self.current = <FixSymbol>self.by_request.get(PyBytes_FromStringAndSize(value, n))
                if self.current is None:
                    self.ignored += 1          # of a request that does not count any more
                    return True
            elif tag == 55 and self.current is None:
                self.current = self.find(value, n)
            elif tag == 326:
                m.status = <int>whole(value, n)
        if kind == 0:
            fail(fault, FAULT_MISSING, "MsgType (35)", NULL)
            return False
        if not self.end_entry(m, &e, fault):
            return False
        if kind == b'X':
            return self.end_increment(m, fault)
        if self.current is None:
            self.ignored += 1                  # of a symbol that is not ours
            return True
        if kind == b'f':
            return self.on_status(<FixSymbol>self.current, m, fault)
        return self.on_refresh(<FixSymbol>self.current, m, fault)

    cdef bint end_entry(self, Message* m, Entry* e, Fault* fault) except *:
        cdef FixSymbol feed = self.entry_feed
        cdef int side
        if not e.begun or feed is None:
            return True
        if m.refresh:
            return self.keep(feed, e, fault)
        if not 0 <= e.action <= DELETE:
            fail(fault, FAULT_VALUE, "MDUpdateAction (279) 0, 1 or 2", NULL)
            return False
        if not feed.touched:
            feed.touched = True
            self.touched.append(feed)
        if e.report >= 0:
            if feed.state == SYNCED and feed.report >= 0 and e.report != feed.report + 1:
                if e.report <= feed.report:
                    feed.duplicates += 1
                    return True
                feed.gaps += 1
                feed.broken = True
            feed.report = e.report
        if e.kind == b'2':
            return self.on_trade(feed, m, e, fault)
        if feed.state != SYNCED or feed.broken:
            return True
        if e.kind == b'J':
            return self.empty(feed, fault)
        if e.kind != b'0' and e.kind != b'1':
            return True
        side = SIDE_BID if e.kind == b'0' else SIDE_ASK
        return self.on_level(feed, e, side, fault)

    cdef bint keep(self, FixSymbol feed, Entry* e, Fault* fault) except *:
        # One entry of a full refresh.
        cdef int64_t price = 0, lots = 0
        cdef dict levels
        self.new_report = max(self.new_report, e.report)
        if e.kind != b'0' and e.kind != b'1':
            return True
        if not self.read_level(feed, e, &price, &lots, fault):
            return False
        if lots == 0:
            return True
        levels = self.new_bids if e.kind == b'0' else self.new_asks
        if e.id != NULL:
            key = (SIDE_BID if e.kind == b'0' else SIDE_ASK, PyBytes_FromStringAndSize(e.id, e.id_len))
            if key in self.new_ids:
                fail(fault, FAULT_VALUE, "each MDEntryID (278) once", e.id)
                return False
            self.new_ids[key] = (price, lots)
            lots += levels.get(price, 0)
        elif price in levels:
            fail(fault, FAULT_VALUE, "each price once a side", e.price)
            return False
        levels[price] = lots
        return True

    cdef bint read_level(self, FixSymbol feed, Entry* e, int64_t* price, int64_t* lots, Fault* fault) noexcept:
        if e.price == NULL or e.size == NULL:
            fail(fault, FAULT_MISSING, "MDEntryPx (270) and MDEntrySize (271)", NULL)
            return False
        if not (read_value(e.price, feed, True, price, fault) and read_value(e.size, feed, False, lots, fault)):
            return False
        if price[0] == 0:
            fail(fault, FAULT_VALUE, "a price above 0", e.price)
            return False
        return True

    cdef bint on_level(self, FixSymbol feed, Entry* e, int side, Fault* fault) except *:
        cdef int64_t price = 0, lots = 0, old_price = 0, old_lots = 0
        cdef dict levels = feed.bids if side == SIDE_BID else feed.asks
        cdef tuple key = None
        if e.id == NULL and feed.ids:
            fail(fault, FAULT_MISSING, "MDEntryID (278), which the refresh gave", NULL)
            return False
        if e.id == NULL:
            if e.action == DELETE:
                if e.price == NULL:
                    fail(fault, FAULT_MISSING, "MDEntryPx (270)", NULL)
                    return False
                if not read_value(e.price, feed, True, &price, fault):
                    return False
            elif not self.read_level(feed, e, &price, &lots, fault):
                return False
            if lots == 0 and price not in levels:
                return True                    # it had been pushed out
            return self.set_level(feed, side, price, lots, fault)
        key = (side, PyBytes_FromStringAndSize(e.id, e.id_len))
        if e.action == CHANGE and e.reference != NULL:
            old = feed.ids.pop((side, PyBytes_FromStringAndSize(e.reference, e.reference_len)), None)
        else:
            old = feed.ids.pop(key, None)
        if (old is None) != (e.action == NEW):
            fail(fault, FAULT_VALUE, "a new MDEntryID (278) with NEW, a known one with CHANGE and DELETE", e.id)
            return False
        if old is not None:
            old_price, old_lots = old
            price, lots = old_price, old_lots
        if e.action == DELETE:
            lots = 0
        else:
            if e.price != NULL and not read_value(e.price, feed, True, &price, fault):
                return False
            if e.size != NULL and not read_value(e.size, feed, False, &lots, fault):
                return False
            if price == 0 or (e.action == NEW and e.size == NULL):
                fail(fault, FAULT_MISSING, "MDEntryPx (270) and MDEntrySize (271) above 0", NULL)
                return False
            if lots > 0:
                feed.ids[key] = (price, lots)
        if old_lots > 0 and old_price != price:
            if not self.set_level(feed, side, old_price, levels.get(old_price, 0) - old_lots, fault):
                return False
            old_lots = 0
        return self.set_level(feed, side, price, levels.get(price, 0) - old_lots + lots, fault)

    cdef bint set_level(self, FixSymbol feed, int side, int64_t price, int64_t lots, Fault* fault) except *:
        cdef dict levels = feed.bids if side == SIDE_BID else feed.asks
        if lots > 0:
            levels[price] = lots
        else:
            levels.pop(price, None)
        if not push_level(self.buffer, feed, side, price, lots):
            fail(fault, FAULT_FULL, "room in the event buffer", NULL)
            return False
        return True

    cdef bint empty(self, FixSymbol feed, Fault* fault) except *:
        # An empty book (269=J): every level goes.
        feed.ids = {}
        for side, levels in ((SIDE_BID, feed.bids), (SIDE_ASK, feed.asks)):
            for price in list(levels):
                if not self.set_level(feed, side, price, 0, fault):
                    return False
        return True

    cdef bint on_trade(self, FixSymbol feed, Message* m, Entry* e, Fault* fault) except *:
        cdef int64_t price = 0, lots = 0
        if e.action != NEW:
            return True                        # a correction of what was traded long ago
        if not self.read_level(feed, e, &price, &lots, fault):
            return False
        if lots == 0:
            fail(fault, FAULT_VALUE, "a traded size above 0", e.size)
            return False
        if not push_trade(self.buffer, feed, SIDE_BID if e.taker == 1 else SIDE_ASK if e.taker == 2 else SIDE_NONE,
                          price, lots, m.sequence, m.exchange_ns, m.receive_ns):
            fail(fault, FAULT_FULL, "room in the event buffer", NULL)
            return False
        self.buffer.events[self.buffer.count - 1].flags = 0
        feed.trades += 1
        return True

    cdef bint trim(self, FixSymbol feed, Fault* fault) except *:
        while len(feed.bids) > self.depth:
            if not self.set_level(feed, SIDE_BID, min(feed.bids), 0, fault):
                return False
        while len(feed.asks) > self.depth:
            if not self.set_level(feed, SIDE_ASK, max(feed.asks), 0, fault):
                return False
        return True

    cdef bint end_increment(self, Message* m, Fault* fault) except *:
        # LAST for each symbol of the message; what lost its chain is taken out again.
        cdef FixSymbol feed
        cdef Py_ssize_t i, last, kept
        for feed in self.touched:
            feed.touched = False
            if feed.broken or feed.state != SYNCED:
                continue
            feed.depths += 1
            if self.depth and not feed.ids and not self.trim(feed, fault):
                return False
        stamp(self.buffer, m.start, m.exchange_ns, m.receive_ns, m.sequence, 0)
        for feed in self.touched:
            if feed.broken:
                kept = m.start
                for i in range(m.start, self.buffer.count):
                    if self.buffer.events[i].instrument != feed.instrument:
                        self.buffer.events[kept] = self.buffer.events[i]
                        kept += 1
                self.buffer.count = kept
                feed.broken = False
                self.distrust(feed, m.sequence, m.receive_ns)
                continue
            last = -1
            for i in range(m.start, self.buffer.count):
                if self.buffer.events[i].instrument == feed.instrument:
                    last = i
            if last < 0:
                if not self.push_status(feed, STATUS_HEARTBEAT):
                    fail(fault, FAULT_FULL, "room in the event buffer", NULL)
                    return False
                last = self.buffer.count - 1
                stamp(self.buffer, last, m.exchange_ns, m.receive_ns, m.sequence, 0)
            self.buffer.events[last].flags |= FLAG_LAST
            if feed.state == SYNCED:
                feed.chain_id = m.sequence
                feed.chain_ns = m.exchange_ns
        return True

    cdef bint on_refresh(self, FixSymbol feed, Message* m, Fault* fault) except *:
        cdef dict bids = self.new_bids, asks = self.new_asks
        cdef dict levels, old
        cdef int side
        cdef bint whole_book = self.incremental or feed.state != SYNCED
        if whole_book and not self.push_marker(feed, EV_SNAPSHOT_BEGIN):
            fail(fault, FAULT_FULL, "room in the event buffer", NULL)
            return False
        for side in (SIDE_BID, SIDE_ASK):
            levels = bids if side == SIDE_BID else asks
            old = {} if whole_book else (feed.bids if side == SIDE_BID else feed.asks)
            for price in old:
                if price not in levels and not push_level(self.buffer, feed, side, price, 0):
                    fail(fault, FAULT_FULL, "room in the event buffer", NULL)
                    return False
            for price, lots in levels.items():
                if old.get(price) != lots and not push_level(self.buffer, feed, side, price, lots):
                    fail(fault, FAULT_FULL, "room in the event buffer", NULL)
                    return False
        if whole_book:
            if not self.on_snapshot(feed, m.start, m.sequence, m.exchange_ns, m.receive_ns, fault):
                return False
        else:
            feed.depths += 1
            self.show(feed, m.start, m.sequence, m.exchange_ns, m.receive_ns)
        feed.bids, feed.asks, feed.ids, feed.report = bids, asks, self.new_ids, self.new_report
        return True

    cdef bint on_status(self, FixSymbol feed, Message* m, Fault* fault) except *:
        # SecurityTradingStatus (326): what it says of the market.
        cdef int code
        if m.status == 2:
            code = STATUS_HALT
        elif m.status == 3 or m.status == 17:
            code = STATUS_TRADING
        elif m.status == 21 or m.status == 22:
            code = STATUS_AUCTION
        elif m.status == 18:
            code = STATUS_CLOSED
        else:
            self.ignored += 1
            return True
        self.statuses += 1
        self.push_status(feed, code)
        stamp(self.buffer, m.start, m.exchange_ns, m.receive_ns, m.sequence, FLAG_LAST)
        return True
