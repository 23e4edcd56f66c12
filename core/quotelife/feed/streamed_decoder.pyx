"""Venues that send snapshots on the same connection as the changes that continue them (Deribit, Coinbase, OKX).

A book becomes whole with a snapshot and stays so as long as each change names the one before it. On a break it is
CLEARed (GAP | LAST), changes are passed over, and ``wants_snapshot`` names the symbol: subscribing anew makes the
venue send a snapshot. A snapshot older than a message that has been heard of already is refused, since the changes
between the two are gone and nothing after it might ever tell; it is told from a venue that began to number anew by
its time stamp, which is not later then. So what is whole is never older than what the connection has shown.
"""

from libc.stdint cimport int64_t

from quotelife.feed.json_bytes cimport FAULT_FULL, Fault, fail
from quotelife.feed.symbol_feed cimport SYNCED, SymbolFeed
from quotelife.feed.venue_decoder cimport VenueDecoder, stamp
from quotelife.records cimport EV_SNAPSHOT_END, FLAG_LAST, FLAG_SNAPSHOT


cdef class StreamedSymbol(SymbolFeed):
    """A symbol whose snapshots are streamed."""

    def __init__(self, symbol, instrument, tick_size, lot_size):
        super().__init__(symbol, instrument, tick_size, lot_size)
        self.seen_id = -1


cdef class StreamedDecoder(VenueDecoder):
    """The part of the three that is the same; one connection at a time."""

    cdef SymbolFeed new_feed(self, str symbol, object instrument_index, object tick_size, object lot_size):
        return StreamedSymbol(symbol, instrument_index, tick_size, lot_size)

    def connected(self, int64_t receive_ns):
        """A connection stands: STATUS FEED_UP for every instrument. Subscribing to all of them is the caller's first
        act; ``wants_snapshot`` names what has to be subscribed anew after that."""
        cdef StreamedSymbol feed
        VenueDecoder.connected(self, receive_ns)
        for feed in self.feeds:
            feed.requested = True
            feed.seen_id = -1
            feed.seen_ns = 0

    def disconnected(self, int64_t receive_ns):
        """The connection is lost: every instrument is distrusted at once (CLEAR, then STATUS FEED_DOWN)."""
        cdef SymbolFeed feed
        VenueDecoder.disconnected(self, receive_ns)
        self.due = {}
        for feed in self.feeds:
            feed.requested = False

    def take_reply(self):
        """The message just decoded, if it was a reply to a request; ``None`` if not, or if it was taken."""
        reply = self.last_reply
        self.last_reply = None
        return reply

    cdef void on_reply(self, bytes data, bint failed):
        self.replies += 1
        self.last_reply = data
        if failed:
            self.errors += 1
            self.last_error = data.decode("utf-8", "replace")

    cdef int distrust(self, SymbolFeed feed, int64_t sequence, int64_t receive_ns) except -1:
        if feed.state == SYNCED:
            feed.requested = False     # what was asked for has come, and is spoilt
        VenueDecoder.distrust(self, feed, sequence, receive_ns)
        return self.want(feed)

    cdef void heard(self, StreamedSymbol feed, int64_t id, int64_t exchange_ns) noexcept:
        if id > feed.seen_id or exchange_ns > feed.seen_ns:
            feed.seen_id = id
            feed.seen_ns = exchange_ns

    cdef bint outdated(self, StreamedSymbol feed, Py_ssize_t start, int64_t id, int64_t exchange_ns) except *:
        # A snapshot older than what has been heard of already is taken back, and another one wanted.
        if id >= feed.seen_id or exchange_ns > feed.seen_ns:
            return False
        self.buffer.count = start
        feed.depths += 1
        feed.refused += 1
        if feed.state != SYNCED:
            feed.requested = False
            self.want(feed)
        return True

    cdef bint on_snapshot(self, StreamedSymbol feed, Py_ssize_t start, int64_t id, int64_t exchange_ns,
                          int64_t receive_ns, Fault* fault) except *:
        # SNAPSHOT_BEGIN and levels stand in the buffer from start on. False: no room for the end.
        cdef Py_ssize_t end = self.buffer.count
        feed.depths += 1
        if not self.push_marker(feed, EV_SNAPSHOT_END):
            fail(fault, FAULT_FULL, "room in the event buffer", NULL)
            return False
        stamp(self.buffer, start, exchange_ns, receive_ns, id, FLAG_SNAPSHOT)
        self.buffer.events[end].flags |= FLAG_LAST
        if feed.state != SYNCED:
            feed.syncs += 1
        feed.state = SYNCED
        feed.requested = False
        feed.chain_id = feed.seen_id = id
        feed.chain_ns = feed.seen_ns = exchange_ns
        return True

    cdef bint continues(self, StreamedSymbol feed, int64_t previous_id, int64_t id, int64_t exchange_ns,
                        Py_ssize_t start, int64_t receive_ns) except *:
        # Does the change, whose levels stand in the buffer from start on, continue a whole book? If not they are taken
        # back, and a break is flagged.
        feed.depths += 1
        if feed.state == SYNCED and previous_id == feed.chain_id:
            self.heard(feed, id, exchange_ns)
            return True
        self.buffer.count = start
        if feed.state == SYNCED:
            if id <= feed.chain_id and exchange_ns <= feed.chain_ns:
                feed.duplicates += 1
                return False
            feed.gaps += 1
            self.distrust(feed, id, receive_ns)
        self.heard(feed, id, exchange_ns)
        return False
