# Deribit market data, bytes to events. DeribitDecoder is a state machine without I/O: see deribit.pyx.
from libc.stdint cimport int64_t

from quotelife.feed.json_bytes cimport Fault
from quotelife.feed.streamed_decoder cimport StreamedDecoder, StreamedSymbol


cdef struct TickerFields:
    unsigned int seen            # TickerField bits; a null counts as not seen
    int64_t exchange_ns
    double mark_price
    double mark_iv               # per cent a year
    double underlying_price
    double funding               # of the last 8 h, a fraction
    double delta
    double gamma
    double vega
    double theta
    bint closed                  # state; where it is seen


cdef struct Fields:              # what one message said; positions point into its bytes
    unsigned int seen            # Field bits
    int method
    int channel                  # Channel
    bint known                   # the channel's symbol is one of ours
    bint snapshot                # type of a book message
    bint test                    # a test_request
    bint failed                  # a reply with an error
    Py_ssize_t start             # of the message's events in the buffer
    int64_t receive_ns
    int64_t time_ms              # timestamp
    int64_t change_id
    int64_t previous_id
    const char* params           # passed over, to be read once method is known
    const char* data             # the same for channel
    const char* bids             # the same for type, or a price
    const char* asks
    const char* bid_size
    const char* ask_size
    bint bids_done
    bint asks_done
    TickerFields ticker


cdef class DeribitSymbol(StreamedSymbol):
    cdef TickerFields ticker     # the newest
    cdef bint ticker_fresh
    cdef bint closed             # as told last


cdef class DeribitDecoder(StreamedDecoder):
    cdef readonly bint quotes
    cdef readonly int64_t test_requests
    cdef list fresh              # DeribitSymbols whose ticker nobody took yet

    cdef bint on_message(self, bytes data, Fields* f, Fault* fault) except *
    cdef void read_channel(self, const char* p, const char* end, Fields* f)
    cdef const char* read_top(self, const char* p, Fields* f, Fault* fault)
    cdef const char* read_params(self, const char* p, Fields* f, Fault* fault)
    cdef const char* read_data(self, const char* p, Fields* f, Fault* fault)
    cdef const char* read_book(self, const char* p, Fields* f, Fault* fault)
    cdef const char* read_quote(self, const char* p, Fields* f, Fault* fault)
    cdef const char* read_ticker(self, const char* p, TickerFields* t, Fault* fault)
    cdef const char* read_greeks(self, const char* p, TickerFields* t, Fault* fault)
    cdef const char* read_trades(self, const char* p, Fields* f, Fault* fault)
    cdef const char* read_trade(self, const char* p, Fields* f, Fault* fault)
    cdef const char* read_levels(self, const char* p, int side, Fields* f, Fault* fault)
    cdef bint on_book(self, Fields* f, Fault* fault) except *
    cdef bint on_quote(self, Fields* f, Fault* fault)
    cdef bint on_ticker(self, Fields* f, Fault* fault)
