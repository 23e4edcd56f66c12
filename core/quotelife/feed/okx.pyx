"""OKX market data: JSON bytes in, events out. No I/O; docs/feeds.md.

A book (``books``, ``books-l2-tbt``, ``books50-l2-tbt``) begins with a ``snapshot``; each ``update`` names its
predecessor in ``prevSeqId``. A message may also carry a checksum: CRC-32, as a signed number, of the best 25 levels a
side in the venue's own words. It is demanded wherever it is there; the venue ended it in June 2026 and sends 0 since,
which counts as absent as long as the message is numbered. Old captures have no numbers: there the checksum alone
proves the chain, and the time stamp tells an older copy. ``seqId`` may step back (maintenance), and then the message
still names its predecessor. How trust is lost and won again: streamed_decoder.pyx.
"""

from zlib import crc32

from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_GET_SIZE
from libc.stdint cimport int32_t, int64_t, uint32_t
from libc.stdlib cimport free, realloc
from libc.string cimport memset

from quotelife.feed.json_bytes cimport (
    FAULT_FULL, FAULT_MISSING, FAULT_NONE, FAULT_RANGE, FAULT_VALUE, NS_PER_MS, Fault, Members, Text, expect,
    expect_end, fail, first_item, first_member, next_item, next_member, read_decimal, read_either, read_quoted_int,
    read_quoted_ms, read_signed_int, read_text, same, skip_space, skip_value,
)
from quotelife.feed.streamed_decoder cimport StreamedDecoder, StreamedSymbol
from quotelife.feed.symbol_feed cimport SymbolFeed
from quotelife.feed.text_book cimport TextBook
from quotelife.feed.venue_decoder cimport push_level, push_quote, push_trade
from quotelife.records cimport (
    EV_LEVEL, EV_SNAPSHOT_BEGIN, FLAG_LAST, SIDE_ASK, SIDE_BID, STATUS_HEARTBEAT, Event, EventBuffer,
)

cdef enum Channel:
    CHANNEL_NONE = 0
    CHANNEL_BOOK = 1
    CHANNEL_TRADES = 2
    CHANNEL_QUOTE = 3
    CHANNEL_OTHER = 4

cdef enum Field:
    HAS_arg = 1
    HAS_action = 2
    HAS_data = 4
    HAS_event = 8
    HAS_bids = 16
    HAS_asks = 32
    HAS_ts = 64
    HAS_checksum = 128
    HAS_sequence = 256
    HAS_previous = 512
    HAS_side = 1024


cdef class OkxSymbol(StreamedSymbol):
    """A symbol and, where checksums are sent, its levels in the venue's words."""


cdef class OkxDecoder(StreamedDecoder):
    """Messages of one OKX connection to events in ``buffer``, which the caller drains between messages.

    ``quotes``: the channel bbo-tbt becomes QUOTE events; only for feeds without a book channel, since nothing says
    which of the two is newer; else it is passed over. An update without levels becomes a STATUS heartbeat. The text
    ``pong`` is a heartbeat of every instrument. Not thread-safe.
    """

    def __init__(self, EventBuffer buffer not None, *, bint quotes=False):
        super().__init__(buffer)
        self.quotes = quotes

    def __dealloc__(self):
        free(self.texts)

    cdef SymbolFeed new_feed(self, str symbol, object instrument_index, object tick_size, object lot_size):
        return OkxSymbol(symbol, instrument_index, tick_size, lot_size)

    cpdef Py_ssize_t message(self, bytes data, int64_t receive_ns) except -1:
        """Decode one websocket message; returns the number of events appended.

        Raises ``DecodeError`` naming the fault; the CLEAR events of the books it makes unreliable are in the
        buffer then. Raises ``OverflowError``, having changed nothing, when the buffer was not drained.
        """
        cdef const char* text = PyBytes_AS_STRING(data)
        cdef const char* p
        cdef Py_ssize_t start
        cdef Fields f
        cdef Fault fault
        self.need_room()
        self.messages += 1
        if data == b"pong":
            self.heartbeats += 1
            start = self.buffer.count
            self.status_of_all(STATUS_HEARTBEAT, receive_ns)
            return self.buffer.count - start
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

    # What was read.

    cdef bint on_message(self, bytes data, Fields* f, Fault* fault) except *:
        if f.seen & HAS_event:
            if f.seen & HAS_data:
                fail(fault, FAULT_VALUE, "an event or data, not both", NULL)
                return False
            self.on_reply(data, f.failed)
            return True
        if not f.seen & HAS_arg or not f.seen & HAS_data:
            fail(fault, FAULT_MISSING, "arg and data, or event", NULL)
            return False
        if f.channel == CHANNEL_OTHER or not f.known:
            self.ignored += 1
            return True
        if f.channel == CHANNEL_BOOK:
            return self.on_book(f, fault)
        if f.channel == CHANNEL_QUOTE:
            return self.on_quote(f, fault)
        return True                                    # trades are in the buffer

    cdef bint on_book(self, Fields* f, Fault* fault) except *:
        cdef OkxSymbol feed = <OkxSymbol>self.current
        cdef int64_t exchange_ns = f.time_ms * NS_PER_MS
        cdef int64_t id, previous
        cdef bint numbered = f.seen & HAS_sequence
        if f.seen & (HAS_action | HAS_bids | HAS_asks | HAS_ts) != HAS_action | HAS_bids | HAS_asks | HAS_ts:
            fail(fault, FAULT_MISSING, "action, bids, asks and ts", NULL)
            return False
        if numbered and not f.seen & HAS_previous:
            fail(fault, FAULT_MISSING, "prevSeqId beside seqId", NULL)
            return False
        if not numbered and not f.seen & HAS_checksum:
            fail(fault, FAULT_MISSING, "seqId or checksum", NULL)
            return False
        id = f.sequence if numbered else f.time_ms
        if id < 0:
            fail(fault, FAULT_VALUE, "seqId not below 0", NULL)
            return False
        if f.snapshot:
            if self.outdated(feed, f.start, id, exchange_ns):
                return True
            if f.checksum == 0 and numbered:
                feed.texts = None                      # this connection has no checksums
            elif feed.texts is None:
                feed.texts = TextBook()
            else:
                feed.texts.clear()
        else:
            previous = f.previous
            if not numbered:                           # in order of time, whatever stood before
                previous = feed.chain_id if id >= feed.chain_id else -1
            if not self.continues(feed, previous, id, exchange_ns, f.start, f.receive_ns):
                return True
        if not self.holds(feed, f, fault):
            if fault.code != FAULT_NONE:
                return False
            feed.mismatches += 1
            feed.requested = False
            self.buffer.count = f.start
            self.distrust(feed, id, f.receive_ns)
            return True
        if f.snapshot:
            return self.on_snapshot(feed, f.start, id, exchange_ns, f.receive_ns, fault)
        self.show(feed, f.start, id, exchange_ns, f.receive_ns)
        return True

    cdef bint holds(self, OkxSymbol feed, Fields* f, Fault* fault) except *:
        # Is the checksum that of the book with this message?
        cdef EventBuffer buffer = self.buffer
        cdef TextBook texts = feed.texts
        cdef Event* event
        cdef LevelText* text
        cdef Py_ssize_t i
        if texts is None:
            return True
        for i in range(f.start, buffer.count):
            event = &buffer.events[i]
            if event.kind != EV_LEVEL:
                continue
            text = &self.texts[i - f.start]
            if not texts.set(event.side, event.price_ticks, event.size_lots, text.price, text.size):
                fail(fault, FAULT_RANGE, "a level of at most 45 characters", text.price.at)
                return False
        if f.checksum == 0 and f.seen & HAS_sequence:
            return True
        return <int32_t><uint32_t>crc32(texts.checked()) == f.checksum

    cdef bint on_quote(self, Fields* f, Fault* fault):
        # The levels in the buffer, one a side at most, become one QUOTE.
        cdef SymbolFeed feed = self.current
        cdef EventBuffer buffer = self.buffer
        cdef int64_t price[3]
        cdef int64_t size[3]
        cdef Py_ssize_t i
        cdef Event* event
        if f.seen & (HAS_bids | HAS_asks | HAS_ts) != HAS_bids | HAS_asks | HAS_ts:
            fail(fault, FAULT_MISSING, "bids, asks and ts", NULL)
            return False
        memset(price, 0, sizeof(price))
        memset(size, 0, sizeof(size))
        for i in range(f.start, buffer.count):
            event = &buffer.events[i]
            if size[event.side] != 0:
                fail(fault, FAULT_VALUE, "one level a side", NULL)
                return False
            if event.size_lots != 0:
                price[event.side] = event.price_ticks
                size[event.side] = event.size_lots
        buffer.count = f.start
        if not self.quotes:
            self.ignored += 1
            return True
        push_quote(buffer, feed, price[<int>SIDE_BID], size[<int>SIDE_BID], price[<int>SIDE_ASK], size[<int>SIDE_ASK],
                   f.sequence if f.seen & HAS_sequence else f.time_ms, f.time_ms * NS_PER_MS, f.receive_ns)
        return True

    # Reading.

    cdef const char* read_top(self, const char* p, Fields* f, Fault* fault):
        # {"arg":{"channel":"books","instId":"BTC-USDT"},"action":"update","data":[...]} or {"event":...}
        cdef Members m
        cdef Text text
        p = first_member(p, &m, &f.seen, fault)
        while m.more:
            if same(m.key, b"arg"):
                m.field = HAS_arg
                p = self.read_arg(p, f, fault)
            elif same(m.key, b"action"):
                m.field = HAS_action
                p = read_either(p, b"update", b"snapshot", &f.snapshot, "snapshot or update", fault)
            elif same(m.key, b"event") and p[0] == b'"':
                m.field = HAS_event
                p = read_text(p, &text, fault)
                f.failed = same(text, b"error") or same(text, b"notice")
            elif same(m.key, b"data"):
                m.field = HAS_data
                if f.seen & HAS_arg and (f.seen & HAS_action or f.channel != CHANNEL_BOOK):
                    p = self.read_data(p, f, fault)
                else:
                    f.data = p
                    p = skip_value(p, fault)
            else:
                p = skip_value(p, fault)
            p = next_member(p, &m, fault)
        if p != NULL and f.data != NULL and f.seen & HAS_arg and self.read_data(f.data, f, fault) == NULL:
            return NULL
        return p

    cdef const char* read_arg(self, const char* p, Fields* f, Fault* fault):
        cdef Members m
        cdef Text text
        f.channel = CHANNEL_OTHER
        p = first_member(p, &m, &f.seen, fault)
        while m.more:
            if same(m.key, b"channel") and p[0] == b'"':
                p = read_text(p, &text, fault)
                if same(text, b"books") or same(text, b"books-l2-tbt") or same(text, b"books50-l2-tbt"):
                    f.channel = CHANNEL_BOOK
                elif same(text, b"trades"):
                    f.channel = CHANNEL_TRADES
                elif same(text, b"bbo-tbt"):
                    f.channel = CHANNEL_QUOTE
            elif same(m.key, b"instId") and p[0] == b'"':
                p = read_text(p, &text, fault)
                self.current = self.find(text.at, text.n)
                f.known = self.current is not None
            else:
                p = skip_value(p, fault)
            p = next_member(p, &m, fault)
        return p

    cdef const char* read_data(self, const char* p, Fields* f, Fault* fault):
        cdef bint more, first = True
        if f.channel == CHANNEL_OTHER or not f.known:
            return skip_value(p, fault)
        p = first_item(p, &more, "a list", fault)
        while more:
            if f.channel == CHANNEL_TRADES:
                p = self.read_trade(p, f, fault)
            elif first:
                p = self.read_book(p, f, fault)
                first = False
            else:
                return fail(fault, FAULT_VALUE, "one book", p)
            p = next_item(p, &more, fault)
        return p

    cdef const char* read_book(self, const char* p, Fields* f, Fault* fault):
        # {"asks":[...],"bids":[...],"ts":"1652459225393","checksum":-855196043,"prevSeqId":-1,"seqId":123}
        cdef Members m
        if f.snapshot and not self.push_marker(self.current, EV_SNAPSHOT_BEGIN):
            return fail(fault, FAULT_FULL, "room in the event buffer", p)
        p = first_member(p, &m, &f.seen, fault)
        while m.more:
            if same(m.key, b"bids"):
                m.field = HAS_bids
                p = self.read_levels(p, SIDE_BID, f, fault)
            elif same(m.key, b"asks"):
                m.field = HAS_asks
                p = self.read_levels(p, SIDE_ASK, f, fault)
            elif same(m.key, b"ts"):
                m.field = HAS_ts
                p = read_quoted_ms(p, &f.time_ms, fault)
            elif same(m.key, b"checksum"):
                m.field = HAS_checksum
                p = read_signed_int(p, &f.checksum, fault)
            elif same(m.key, b"seqId"):
                m.field = HAS_sequence
                p = read_signed_int(p, &f.sequence, fault)
            elif same(m.key, b"prevSeqId"):
                m.field = HAS_previous
                p = read_signed_int(p, &f.previous, fault)
            else:
                p = skip_value(p, fault)
            p = next_member(p, &m, fault)
        return p

    cdef const char* read_levels(self, const char* p, int side, Fields* f, Fault* fault):
        # [["30238.8","2","0","1"], ...] into the event buffer; where its words stand is noted.
        cdef SymbolFeed feed = self.current
        cdef EventBuffer buffer = self.buffer
        cdef const char* price_at
        cdef const char* price_end
        cdef const char* size_at
        cdef const char* size_end
        cdef int64_t price = 0, size = 0
        cdef LevelText* text
        cdef bint more, rest
        p = first_item(p, &more, "a list of levels", fault)
        while more:
            price_at = expect(p, b'[', "a level", fault)
            price_end = read_decimal(price_at, &feed.price_grid, &price, fault)
            size_at = expect(price_end, b',', "a level of price and size", fault)
            size_end = read_decimal(size_at, &feed.size_grid, &size, fault)
            p = next_item(size_end, &rest, fault)
            while rest:                                # deprecated, and the number of orders
                p = next_item(skip_value(p, fault), &rest, fault)
            if p == NULL:
                return NULL
            if price == 0:
                return fail(fault, FAULT_VALUE, "a price above 0", price_at)
            text = self.text_of(buffer.count - f.start)
            if text == NULL:
                return fail(fault, FAULT_FULL, "memory for the level's words", p)
            text.price.at = price_at + 1
            text.price.n = price_end - price_at - 2
            text.size.at = size_at + 1
            text.size.n = size_end - size_at - 2
            if not push_level(buffer, feed, side, price, size):
                return fail(fault, FAULT_FULL, "room in the event buffer", p)
            p = next_item(p, &more, fault)
        return p

    cdef LevelText* text_of(self, Py_ssize_t place) noexcept:
        cdef LevelText* texts
        if place >= self.texts_max:
            texts = <LevelText*>realloc(self.texts, (2 * self.texts_max + 1024) * sizeof(LevelText))
            if texts == NULL:
                return NULL
            self.texts = texts
            self.texts_max = 2 * self.texts_max + 1024
        return &self.texts[place]

    cdef const char* read_trade(self, const char* p, Fields* f, Fault* fault):
        # {"instId":"BTC-USDT","tradeId":"130639474","px":"42219.9","sz":"0.12060306","side":"buy","ts":"1630048897897"}
        cdef SymbolFeed feed = self.current
        cdef EventBuffer buffer = self.buffer
        cdef Members m
        cdef int64_t price = 0, size = 0, trade_id = 0, time_ms = 0
        cdef unsigned int seen = 0
        cdef bint sell = False
        p = first_member(p, &m, &seen, fault)
        while m.more:
            if same(m.key, b"px"):
                p = read_decimal(p, &feed.price_grid, &price, fault)
            elif same(m.key, b"sz"):
                p = read_decimal(p, &feed.size_grid, &size, fault)
            elif same(m.key, b"tradeId"):
                p = read_quoted_int(p, &trade_id, fault)
            elif same(m.key, b"ts"):
                p = read_quoted_ms(p, &time_ms, fault)
            elif same(m.key, b"side"):
                m.field = HAS_side
                p = read_either(p, b"buy", b"sell", &sell, "buy or sell", fault)
            elif same(m.key, b"instId"):
                p = self.read_own_symbol(p, fault)
            else:
                p = skip_value(p, fault)
            p = next_member(p, &m, fault)
        if p == NULL:
            return NULL
        if price == 0 or size == 0 or not seen & HAS_side or time_ms == 0:
            return fail(fault, FAULT_MISSING, "tradeId, px and sz above 0, side and ts of a trade", NULL)
        if buffer.count > f.start:
            buffer.events[buffer.count - 1].flags &= ~FLAG_LAST
        if not push_trade(buffer, feed, SIDE_ASK if sell else SIDE_BID, price, size, trade_id, time_ms * NS_PER_MS,
                          f.receive_ns):
            return fail(fault, FAULT_FULL, "room in the event buffer", p)
        feed.trades += 1
        return p
