"""What every JSON decoder of a venue has in common: symbols, event buffer, and how faults are told.

A decoder takes back all that a faulty message gave, emits CLEAR (GAP | LAST) for the books it makes unreliable, or
for all of them where it does not say which, and raises ``DecodeError``: nothing is ever half applied.

An instrument may have its book from one connection and its trades from another, its companion. What the companion loses
is no reason to clear a book that it could not bring back: it says COMPANION_DOWN and COMPANION_UP instead.
"""

from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_GET_SIZE
from libc.stdint cimport int64_t, uint32_t, uint64_t
from libc.stdlib cimport calloc, free
from libc.string cimport memcmp

from quotelife.errors import DecodeError, UnknownInstrumentError
from quotelife.feed.symbol_feed import SyncState

from quotelife.feed.json_bytes cimport (
    FAULT_FULL, FAULT_MISSING, FAULT_OFF_GRID, FAULT_RANGE, FAULT_VALUE, Fault, Text, fail, read_text,
)
from quotelife.feed.symbol_feed cimport SYNCED, WAITING, SymbolFeed
from quotelife.records cimport (
    EV_CLEAR, EV_STATUS, FLAG_GAP, FLAG_LAST, STATUS_COMPANION_DOWN, STATUS_COMPANION_UP, STATUS_FEED_DOWN,
    STATUS_FEED_UP, STATUS_HEARTBEAT, Event, EventBuffer,
)

cdef enum:
    EXCERPT = 40                   # bytes of a bad message shown in the error


cdef inline size_t hash_of(const char* text, Py_ssize_t n) noexcept nogil:
    cdef uint64_t h = 14695981039346656037ULL      # FNV-1a
    cdef Py_ssize_t i
    for i in range(n):
        h = (h ^ <unsigned char>text[i]) * 1099511628211ULL
    return <size_t>(h ^ (h >> 32))


cdef class VenueDecoder:
    """Messages of one connection to events in ``buffer``, which the caller drains between messages."""

    def __cinit__(self, *_args, **_named):
        self.feeds = []
        self.by_symbol = {}
        self.due = {}
        self.table_mask = 15
        self.table = <void**>calloc(16, sizeof(void*))
        if self.table == NULL:
            raise MemoryError()

    def __init__(self, EventBuffer buffer not None):
        self.buffer = buffer

    def __dealloc__(self):
        free(self.table)

    def add_instrument(self, str symbol not None, uint32_t instrument_index, tick_size, lot_size):
        """Decode ``symbol`` (as it stands on the wire) as the instrument of that index; sizes are exact Decimals.

        Raises ``ValueError`` for a symbol given twice, a size that is no positive Decimal, or an event buffer
        too small to flag every instrument at once.
        """
        cdef SymbolFeed feed
        if not symbol or not symbol.isascii() or symbol in self.by_symbol:
            raise ValueError(f"symbol {symbol!r} must be ASCII, not empty and given once")
        if self.buffer.capacity < 4 * (len(self.feeds) + 1) + 16:
            raise ValueError(f"an event buffer of {self.buffer.capacity} is too small for "
                             f"{len(self.feeds) + 1} instruments; give it more capacity")
        feed = self.new_feed(symbol, instrument_index, tick_size, lot_size)
        cdef void** larger
        cdef size_t mask
        if 2 * (len(self.feeds) + 1) > <Py_ssize_t>self.table_mask:
            mask = 2 * self.table_mask + 1
            larger = <void**>calloc(mask + 1, sizeof(void*))
            if larger == NULL:
                raise MemoryError()
            free(self.table)
            self.table = larger
            self.table_mask = mask
            for known in self.feeds:
                self.place(known)
        self.feeds.append(feed)
        self.by_symbol[symbol] = feed
        self.place(feed)

    def book_elsewhere(self, str symbol):
        """Another feed gives the book of ``symbol``; this one is its companion."""
        self.feed_of(symbol).companion = True

    cdef SymbolFeed new_feed(self, str symbol, object instrument_index, object tick_size, object lot_size):
        return SymbolFeed(symbol, instrument_index, tick_size, lot_size)

    cdef void place(self, SymbolFeed feed):
        cdef size_t i = hash_of(PyBytes_AS_STRING(feed.key), PyBytes_GET_SIZE(feed.key)) & self.table_mask
        while self.table[i] != NULL:
            i = (i + 1) & self.table_mask
        self.table[i] = <void*>feed

    cdef SymbolFeed find(self, const char* symbol, Py_ssize_t n):
        cdef size_t i = hash_of(symbol, n) & self.table_mask
        cdef SymbolFeed feed
        while self.table[i] != NULL:
            feed = <SymbolFeed>self.table[i]
            if PyBytes_GET_SIZE(feed.key) == n and memcmp(PyBytes_AS_STRING(feed.key), symbol, n) == 0:
                return feed
            i = (i + 1) & self.table_mask
        return None

    cdef const char* read_own_symbol(self, const char* p, Fault* fault):
        # Entries of a channel of one instrument repeat its name.
        cdef Text text
        cdef const char* end = read_text(p, &text, fault)
        if end != NULL and self.find(text.at, text.n) is not self.current:
            return fail(fault, FAULT_VALUE, "the channel's own instrument", p)
        return end

    # What comes in.

    cpdef Py_ssize_t message(self, bytes data, int64_t receive_ns) except -1:
        """Decode one websocket message; returns the number of events appended.

        Raises ``DecodeError`` naming the fault; the CLEAR events of the books it makes unreliable are in the
        buffer then. Raises ``OverflowError``, having changed nothing, when the buffer was not drained.
        """
        raise NotImplementedError("each venue has its own messages")

    def not_yet_connected(self, int64_t receive_ns):
        """Before the first connection: an instrument is not to be trusted without its companion (COMPANION_DOWN)."""
        cdef SymbolFeed feed
        self.need_room()
        for feed in self.feeds:
            self.companion_status(feed, True, receive_ns)

    def disconnected(self, int64_t receive_ns):
        """The connection is lost: every instrument is distrusted at once (CLEAR, then STATUS FEED_DOWN)."""
        cdef SymbolFeed feed
        self.need_room()
        self.due = {}
        for feed in self.feeds:
            feed.forget()
            feed.requested = False
            self.distrust(feed, 0, receive_ns)
        self.status_of_all(STATUS_FEED_DOWN, receive_ns)

    def connected(self, int64_t receive_ns):
        """A connection stands: STATUS FEED_UP for every instrument. Books stay unreliable until spliced."""
        self.need_room()
        self.status_of_all(STATUS_FEED_UP, receive_ns)

    def heartbeat(self, int64_t receive_ns):
        """The venue answered a ping: STATUS HEARTBEAT for every instrument. Nothing before it was left out."""
        self.need_room()
        self.status_of_all(STATUS_HEARTBEAT, receive_ns)

    # Snapshots.

    def wants_snapshot(self):
        """Symbols whose snapshot should be fetched now; each is named once until answered or failed."""
        cdef SymbolFeed feed
        cdef list out
        if not self.due:
            return []
        out = []
        for symbol in self.due:
            feed = self.by_symbol[symbol]
            if feed.state == WAITING:
                out.append(symbol)
            else:                  # an unasked snapshot came in between
                feed.requested = False
        self.due = {}
        return out

    def snapshot_failed(self, str symbol):
        """The request for a snapshot of ``symbol`` came to nothing: it is wanted again if still needed."""
        cdef SymbolFeed feed = self.feed_of(symbol)
        feed.requested = False
        if feed.state == WAITING:
            self.want(feed)

    def resynchronise(self, uint32_t instrument_index):
        """Whoever keeps the book has given it up, though no message was lost: it is wanted anew, if it is whole here.

        No event is written, nothing is shown of the book before its next snapshot. Others' instruments are ignored.
        """
        cdef SymbolFeed feed
        for feed in self.feeds:
            if feed.instrument == instrument_index and feed.state == SYNCED and not feed.companion:
                self.drifts += 1
                feed.forget()
                feed.requested = False     # what was asked for has come, and is of no use any more
                self.want(feed)

    cdef int want(self, SymbolFeed feed) except -1:
        if not feed.requested:
            feed.requested = True
            self.due[feed.symbol] = None
        return 0

    # What it looks like inside.

    @property
    def symbols(self):
        """The symbols added, in order."""
        return [feed.symbol for feed in self.feeds]

    def state(self, str symbol):
        """``SyncState`` of a symbol."""
        return SyncState(self.feed_of(symbol).state)

    def stats(self, str symbol):
        """``SymbolStats`` of a symbol."""
        return self.feed_of(symbol).stats()

    cdef SymbolFeed feed_of(self, str symbol):
        try:
            return <SymbolFeed>self.by_symbol[symbol]
        except KeyError:
            raise UnknownInstrumentError(symbol) from None

    # Faults.

    cdef int need_room(self) except -1:
        # Place for the flags of every instrument, so that a fault can always be told.
        cdef Py_ssize_t needed = 2 * len(self.feeds) + 1
        if self.buffer.capacity - self.buffer.count < needed:
            raise OverflowError(f"the event buffer holds {self.buffer.count} of {self.buffer.capacity} events; "
                                "drain and clear it between messages")
        return 0

    cdef int distrust(self, SymbolFeed feed, int64_t sequence, int64_t receive_ns) except -1:
        cdef Py_ssize_t start = self.buffer.count
        if feed.companion:
            return 0
        if feed.state == SYNCED:
            feed.forget()
        self.push_marker(feed, EV_CLEAR)
        stamp(self.buffer, start, 0, receive_ns, sequence, FLAG_GAP | FLAG_LAST)
        return 0

    cdef int refuse(self, const Fault* fault, bytes data, SymbolFeed feed, Py_ssize_t start,
                    int64_t receive_ns) except -1:
        # Take back what the message gave, flag the book (or all, if it does not say which), and raise.
        self.buffer.count = start
        self.count_fault(feed, fault)
        if feed is not None:
            self.distrust(feed, 0, receive_ns)
        else:
            self.distrust_all(receive_ns)
        raise DecodeError(describe(fault, data, feed))

    cdef int distrust_all(self, int64_t receive_ns) except -1:
        cdef SymbolFeed feed
        for feed in self.feeds:
            self.distrust(feed, 0, receive_ns)
        return 0

    cdef void count_fault(self, SymbolFeed feed, const Fault* fault):
        if fault.code == FAULT_FULL:
            feed.overflows += 1    # only levels of a known symbol can fill the buffer
        elif fault.code == FAULT_OFF_GRID or fault.code == FAULT_RANGE:
            self.off_grid += 1
            if feed is not None:
                feed.off_grid += 1
        else:
            self.malformed += 1
            if feed is not None:
                feed.malformed += 1

    cdef bint push_marker(self, SymbolFeed feed, int kind):
        cdef Event* event = self.buffer.push()
        if event == NULL:
            return False
        event.instrument = feed.instrument
        event.kind = kind
        return True

    cdef bint push_status(self, SymbolFeed feed, int code):
        if not self.push_marker(feed, EV_STATUS):
            return False
        self.buffer.events[self.buffer.count - 1].aux = code
        return True

    cdef int companion_status(self, SymbolFeed feed, bint down, int64_t receive_ns) except -1:
        cdef Py_ssize_t start = self.buffer.count
        if feed.companion and feed.down != down:
            feed.down = down
            self.push_status(feed, STATUS_COMPANION_DOWN if down else STATUS_COMPANION_UP)
            stamp(self.buffer, start, 0, receive_ns, 0, FLAG_LAST)
        return 0

    cdef int status_of_all(self, int code, int64_t receive_ns) except -1:
        # The line of a companion says nothing of the line of the book.
        cdef SymbolFeed feed
        cdef Py_ssize_t start = self.buffer.count
        for feed in self.feeds:
            if not feed.companion:
                self.push_status(feed, code)
        stamp(self.buffer, start, 0, receive_ns, 0, FLAG_LAST)
        if code != STATUS_HEARTBEAT:
            for feed in self.feeds:
                self.companion_status(feed, code == STATUS_FEED_DOWN, receive_ns)
        return 0

    cdef int show(self, SymbolFeed feed, Py_ssize_t start, int64_t id, int64_t exchange_ns,
                  int64_t receive_ns) except -1:
        # The levels from start on are a change that continues the chain of a whole book: one venue message.
        if self.buffer.count == start:
            self.push_status(feed, STATUS_HEARTBEAT)   # need_room() keeps place for one
        stamp(self.buffer, start, exchange_ns, receive_ns, id, 0)
        self.buffer.events[self.buffer.count - 1].flags |= FLAG_LAST
        feed.chain_id = id
        feed.chain_ns = exchange_ns
        return 0


cdef str describe(const Fault* fault, bytes data, SymbolFeed feed):
    cdef const char* text = PyBytes_AS_STRING(data)
    cdef Py_ssize_t at
    what = (<bytes>fault.what).decode()
    where = f"{feed.symbol}: " if feed is not None else ""
    if fault.code == FAULT_FULL:
        return f"{where}the message does not fit into the event buffer; drain it first or give it more capacity"
    if fault.code == FAULT_MISSING:
        return f"{where}{what} must be there: {data[:EXCERPT]!r}"
    if fault.at == NULL:
        return f"{where}expected {what}: {data[:EXCERPT]!r}"
    at = fault.at - text
    found = data[at:at + EXCERPT] or b"the end"
    grid = ""
    if fault.code == FAULT_OFF_GRID and feed is not None:
        grid = f" (tick_size {feed.tick_size}, lot_size {feed.lot_size})"
    return f"{where}expected {what}{grid} at byte {at}, found {found!r}"
