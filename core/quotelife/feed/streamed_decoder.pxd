# Decoders of venues that send snapshots on the same connection as the changes that continue them.
from libc.stdint cimport int64_t

from quotelife.feed.json_bytes cimport Fault
from quotelife.feed.symbol_feed cimport SymbolFeed
from quotelife.feed.venue_decoder cimport VenueDecoder


cdef class StreamedSymbol(SymbolFeed):
    cdef int64_t seen_id         # id of the newest message heard of on this connection, applied or not
    cdef int64_t seen_ns         # its exchange time


cdef class StreamedDecoder(VenueDecoder):
    cdef bytes last_reply        # to a request of ours, as it came; None: taken, or none yet

    cdef void on_reply(self, bytes data, bint failed)
    cdef bint outdated(self, StreamedSymbol feed, Py_ssize_t start, int64_t id, int64_t exchange_ns) except *
    cdef bint on_snapshot(self, StreamedSymbol feed, Py_ssize_t start, int64_t id, int64_t exchange_ns,
                          int64_t receive_ns, Fault* fault) except *
    cdef bint continues(self, StreamedSymbol feed, int64_t previous_id, int64_t id, int64_t exchange_ns,
                        Py_ssize_t start, int64_t receive_ns) except *
    cdef void heard(self, StreamedSymbol feed, int64_t id, int64_t exchange_ns) noexcept
