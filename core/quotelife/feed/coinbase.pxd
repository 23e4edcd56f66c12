# Coinbase Advanced Trade market data, bytes to events: see coinbase.pyx.
from libc.stdint cimport int64_t

from quotelife.feed.json_bytes cimport Fault
from quotelife.feed.streamed_decoder cimport StreamedDecoder
from quotelife.feed.symbol_feed cimport SymbolFeed


cdef struct Fields:              # what one message said; positions point into its bytes
    unsigned int seen            # Field bits
    int channel                  # Channel
    bint failed                  # an error
    bint snapshot                # the entry being read is one
    bint copied                  # an older copy of a message that came before
    Py_ssize_t start             # where the events of the message begin, behind those that a gap made
    int64_t receive_ns
    int64_t time_ns              # timestamp
    int64_t sequence             # sequence_num
    const char* events           # passed over, to be read once channel, timestamp and sequence are known
    void* last_feed              # of the entry before, or of the trade before


cdef class CoinbaseDecoder(StreamedDecoder):
    cdef readonly int64_t sequence       # of the last message, -1: none on this connection
    cdef readonly int64_t sequence_gaps, duplicates
    cdef int64_t sequence_ns
    cdef list touched            # feeds that entries of the message being read were for

    cdef bint on_sequence(self, Fields* f) except *
    cdef int touch(self, SymbolFeed feed) except -1
    cdef const char* read_top(self, const char* p, Fields* f, Fault* fault)
    cdef const char* read_events(self, const char* p, Fields* f, Fault* fault)
    cdef const char* read_book_entry(self, const char* p, Fields* f, Fault* fault)
    cdef const char* read_levels(self, const char* p, int64_t* time_ns, Fields* f, Fault* fault)
    cdef bint on_levels(self, Py_ssize_t start, int64_t time_ns, Fields* f, Fault* fault) except *
    cdef const char* read_trades_entry(self, const char* p, Fields* f, Fault* fault)
    cdef const char* read_trade(self, const char* p, bint past, Fields* f, Fault* fault)
