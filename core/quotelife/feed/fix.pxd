# FIX 4.4 market data, whole messages to events. FixDecoder is a state machine without I/O: see fix.pyx.
from libc.stdint cimport int64_t

from quotelife.feed.json_bytes cimport Fault
from quotelife.feed.streamed_decoder cimport StreamedDecoder, StreamedSymbol


cdef struct Message:             # what stands before the entries; positions point into its bytes
    int64_t sequence             # MsgSeqNum (34)
    int64_t exchange_ns          # TransactTime (60), else SendingTime (52); 0: neither
    int64_t receive_ns
    int status                   # SecurityTradingStatus (326), -1: none
    Py_ssize_t start             # of its events in the buffer
    bint refresh                 # 35=W


cdef struct Entry:               # one of NoMDEntries (268)
    int action                   # MDUpdateAction (279), -1: none
    int kind                     # MDEntryType (269) as its character, 0: none
    int taker                    # Side (54): 1 buy, 2 sell, 0 not said
    const char* price            # MDEntryPx (270)
    const char* size             # MDEntrySize (271)
    const char* id               # MDEntryID (278)
    Py_ssize_t id_len
    const char* reference        # MDEntryRefID (280)
    Py_ssize_t reference_len
    int64_t report               # RptSeq (83), -1: none
    bint begun


cdef class FixSymbol(StreamedSymbol):
    cdef dict bids               # price ticks → lots
    cdef dict asks
    cdef dict ids                # (side, MDEntryID) → (price ticks, lots), where the venue names entries
    cdef readonly bytes request  # MDReqID of the subscription that counts; empty: none yet
    cdef int64_t report          # RptSeq of the last entry, -1: none given
    cdef bint touched            # by the message being read
    cdef bint broken             # which shows a hole in RptSeq


cdef class FixDecoder(StreamedDecoder):
    cdef readonly int depth
    cdef readonly bint incremental
    cdef readonly int64_t refused_requests, statuses
    cdef dict by_request
    cdef int64_t requests
    cdef list touched
    cdef FixSymbol entry_feed

    cdef list request_fields(self, FixSymbol feed, bytes kind)
    cdef dict new_bids           # of the refresh being read
    cdef dict new_asks
    cdef dict new_ids
    cdef int64_t new_report      # the highest RptSeq in it

    cdef bint read(self, bytes data, Message* m, Fault* fault) except *
    cdef bint end_entry(self, Message* m, Entry* e, Fault* fault) except *
    cdef bint keep(self, FixSymbol feed, Entry* e, Fault* fault) except *
    cdef bint read_level(self, FixSymbol feed, Entry* e, int64_t* price, int64_t* lots, Fault* fault) noexcept
    cdef bint on_level(self, FixSymbol feed, Entry* e, int side, Fault* fault) except *
    cdef bint on_trade(self, FixSymbol feed, Message* m, Entry* e, Fault* fault) except *
    cdef bint set_level(self, FixSymbol feed, int side, int64_t price, int64_t lots, Fault* fault) except *
    cdef bint empty(self, FixSymbol feed, Fault* fault) except *
    cdef bint trim(self, FixSymbol feed, Fault* fault) except *
    cdef bint end_increment(self, Message* m, Fault* fault) except *
    cdef bint on_refresh(self, FixSymbol feed, Message* m, Fault* fault) except *
    cdef bint on_status(self, FixSymbol feed, Message* m, Fault* fault) except *
