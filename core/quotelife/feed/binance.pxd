# Binance market data, bytes to events. BinanceDecoder is a state machine without I/O: see binance.pyx.
from libc.stdint cimport int64_t

from quotelife.feed.json_bytes cimport Fault, Members
from quotelife.feed.symbol_feed cimport SymbolFeed
from quotelife.feed.venue_decoder cimport VenueDecoder


cdef struct Fields:              # what one message said; positions point into its bytes
    unsigned int seen            # Field bits
    int kind                     # MessageKind
    bint known                   # the symbol is one of ours
    bint maker                   # m: the buyer was the maker
    bint market                  # X, true when the venue does not give it
    int64_t event_ms             # E
    int64_t trade_ms             # T
    int64_t first_id             # U
    int64_t last_id              # u, or lastUpdateId
    int64_t previous_id          # pu
    int64_t trade_id             # t, in aggTrade a
    const char* bids             # b or bids: levels or a price
    const char* asks             # a or asks
    const char* bid_size         # B
    const char* ask_size         # A
    const char* price            # p
    const char* size             # q
    const char* error            # of a reply
    bint bids_done               # the levels are in the event buffer
    bint asks_done


cdef struct Edge:                # where a snapshot was cut
    int64_t levels               # a side; 0: nowhere
    int64_t bid_ticks            # its lowest bid, 0: the bids are all there are
    int64_t ask_ticks


cdef class BinanceSymbol(SymbolFeed):
    cdef bytes snapshot          # held until a diff splices, else None
    cdef int64_t snapshot_id     # its lastUpdateId
    cdef list pending            # held diffs (U, u, bytes): one unbroken chain
    cdef Py_ssize_t pending_bytes


cdef class BinanceDecoder(VenueDecoder):
    cdef readonly str market
    cdef readonly Py_ssize_t pending_bytes_max
    cdef Py_ssize_t snapshot_levels
    cdef bint futures

    cpdef Py_ssize_t snapshot(self, str symbol, bytes data, int64_t receive_ns) except -1

    cdef bint read_message(self, bytes data, Fields* f, Fault* fault)
    cdef const char* read_object(self, const char* p, Fields* f, int depth, Fault* fault)
    cdef const char* read_field(self, const char* p, Members* m, Fields* f, Fault* fault)
    cdef bint read_rest(self, Fields* f, Fault* fault)
    cdef int on_depth(self, bytes data, Fields* f, Py_ssize_t start, int64_t receive_ns) except -1
    cdef int on_quote(self, Fields* f, int64_t receive_ns, Fault* fault) except -1
    cdef int on_trade(self, Fields* f, int64_t receive_ns, Fault* fault) except -1
    cdef bint read_snapshot(self, SymbolFeed feed, bytes data, Fields* f, Fault* fault)
    cdef void on_reply(self, bytes data, const Fields* f)
    cdef int give_up_snapshot(self, BinanceSymbol feed) except -1
    cdef Edge find_edge(self, Py_ssize_t start) noexcept
    cdef int hold(self, BinanceSymbol feed, bytes data, const Fields* f) except -1
    cdef int splice(self, BinanceSymbol feed, int64_t receive_ns) except -1
