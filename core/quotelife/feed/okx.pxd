# OKX market data, bytes to events: see okx.pyx.
from libc.stdint cimport int64_t

from quotelife.feed.json_bytes cimport Fault, Text
from quotelife.feed.streamed_decoder cimport StreamedDecoder, StreamedSymbol
from quotelife.feed.text_book cimport TextBook


cdef struct LevelText:           # a level in the venue's words
    Text price
    Text size


cdef struct Fields:              # what one message said; positions point into its bytes
    unsigned int seen            # Field bits
    int channel                  # Channel
    bint known
    bint snapshot                # action
    bint failed                  # an event that is an error or a notice
    Py_ssize_t start
    int64_t receive_ns
    int64_t time_ms              # ts
    int64_t sequence             # seqId
    int64_t previous             # prevSeqId
    int64_t checksum
    const char* data             # passed over, to be read once channel and action are known


cdef class OkxSymbol(StreamedSymbol):
    cdef TextBook texts          # None as long as the venue sends no checksums


cdef class OkxDecoder(StreamedDecoder):
    cdef readonly bint quotes
    cdef LevelText* texts        # by place of the level among the events of the message
    cdef Py_ssize_t texts_max

    cdef bint on_message(self, bytes data, Fields* f, Fault* fault) except *
    cdef const char* read_top(self, const char* p, Fields* f, Fault* fault)
    cdef const char* read_arg(self, const char* p, Fields* f, Fault* fault)
    cdef const char* read_data(self, const char* p, Fields* f, Fault* fault)
    cdef const char* read_book(self, const char* p, Fields* f, Fault* fault)
    cdef const char* read_levels(self, const char* p, int side, Fields* f, Fault* fault)
    cdef LevelText* text_of(self, Py_ssize_t place) noexcept
    cdef const char* read_trade(self, const char* p, Fields* f, Fault* fault)
    cdef bint on_book(self, Fields* f, Fault* fault) except *
    cdef bint on_quote(self, Fields* f, Fault* fault)
    cdef bint holds(self, OkxSymbol feed, Fields* f, Fault* fault) except *
