# Binance market data, bytes to events. BinanceDecoder is a state machine without I/O: see binance.pyx.
from libc.stdint cimport int64_t, uint32_t

from quotelife.feed.json_bytes cimport Fault, Grid
from quotelife.records cimport EventBuffer


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


cdef class SymbolFeed:
    # One symbol: its grids, where its chain of depth diffs stands, and its counters.
    cdef readonly str symbol
    cdef readonly uint32_t instrument
    cdef bytes key               # the symbol as it stands on the wire
    cdef Grid price_grid
    cdef Grid size_grid
    cdef object tick_size
    cdef object lot_size
    cdef int state               # SyncState
    cdef bint requested          # a snapshot is due or on its way
    cdef int64_t chain_id        # u of the last diff applied or held, -1: none
    cdef int64_t chain_ns        # its exchange time
    cdef bytes snapshot          # held until a diff splices, else None
    cdef int64_t snapshot_id     # its lastUpdateId
    cdef list pending            # held diffs (U, u, bytes): one unbroken chain
    cdef Py_ssize_t pending_bytes
    cdef void forget(self)
    cdef int64_t depths, quotes, trades, duplicates, gaps, syncs, refused, restarts, malformed, off_grid, overflows


cdef class BinanceDecoder:
    cdef readonly str market
    cdef readonly EventBuffer buffer
    cdef readonly Py_ssize_t pending_bytes_max
    cdef readonly int64_t messages, ignored, malformed, off_grid, replies, errors
    cdef readonly object last_error
    cdef bint futures
    cdef list feeds
    cdef dict by_symbol
    cdef dict due                # ordered set of symbols whose snapshot nobody fetched yet
    cdef void** table            # SymbolFeed by hash of the wire symbol, borrowed; a power of two
    cdef size_t table_mask
    cdef SymbolFeed current      # of the message being read

    cpdef Py_ssize_t message(self, bytes data, int64_t receive_ns) except -1
    cpdef Py_ssize_t snapshot(self, str symbol, bytes data, int64_t receive_ns) except -1

    cdef SymbolFeed find(self, const char* symbol, Py_ssize_t n)
    cdef void place(self, SymbolFeed feed)
    cdef SymbolFeed feed_of(self, str symbol)
    cdef int need_room(self) except -1
    cdef bint read_message(self, bytes data, Fields* f, Fault* fault)
    cdef const char* read_object(self, const char* p, Fields* f, int depth, Fault* fault)
    cdef bint read_rest(self, Fields* f, Fault* fault)
    cdef int on_depth(self, bytes data, Fields* f, Py_ssize_t start, int64_t receive_ns) except -1
    cdef int on_quote(self, Fields* f, int64_t receive_ns, Fault* fault) except -1
    cdef int on_trade(self, Fields* f, int64_t receive_ns, Fault* fault) except -1
    cdef bint read_snapshot(self, SymbolFeed feed, bytes data, Fields* f, Fault* fault)
    cdef void on_reply(self, bytes data, const Fields* f)
    cdef void count_fault(self, SymbolFeed feed, const Fault* fault)
    cdef bint push_marker(self, SymbolFeed feed, int kind)
    cdef bint push_status(self, SymbolFeed feed, int code)
    cdef int hold(self, SymbolFeed feed, bytes data, const Fields* f) except -1
    cdef int splice(self, SymbolFeed feed, int64_t receive_ns) except -1
    cdef int want(self, SymbolFeed feed) except -1
    cdef int distrust(self, SymbolFeed feed, int64_t sequence, int64_t receive_ns) except -1
    cdef int refuse(self, const Fault* fault, bytes data, SymbolFeed feed, Py_ssize_t start,
                    int64_t receive_ns) except -1
    cdef int status_of_all(self, int code, int64_t receive_ns) except -1
