# Databento Binary Encoding (DBN), bytes to events. DbnDecoder is a state machine without I/O: see dbn.pyx.
from libc.stdint cimport int32_t, int64_t, uint8_t, uint16_t, uint32_t, uint64_t

from quotelife.feed.level_window cimport Window
from quotelife.records cimport Event, EventBuffer

cdef enum:
    FILLS_MAX = 256            # fills of one message whose book change has not come yet

cdef struct Fill:
    uint64_t order_id
    int64_t lots
    int64_t ticks
    uint8_t side               # of the resting order

cdef struct Track:             # one instrument of ours
    uint32_t instrument        # engine index
    uint32_t number            # instrument id that its records carry now
    uint16_t publisher
    bint bound                 # number and publisher are known
    bint orders                # order_level
    bint quotes                # quotes_only
    int64_t tick               # in 1e-9
    int64_t lot
    int64_t received_ns        # last receive stamp that is to be trusted
    bint in_snapshot
    bint bad                   # the book was given up since its last snapshot
    int64_t traded_lots        # of the trade under way: what no fill has told
    int64_t traded_ticks
    uint8_t aggressor
    int fills
    Fill fill[FILLS_MAX]
    Window window

cdef struct Identity:          # an instrument id, and whose it is from when to when
    uint32_t number
    int32_t track
    int64_t from_ns
    int64_t until_ns


cdef class DbnDecoder:
    cdef readonly EventBuffer buffer
    cdef readonly object metadata          # Metadata or None
    cdef readonly object last_error        # text of the last error record, or None
    cdef readonly int64_t records, messages, skipped, foreign, unsided, bad_stamps, errors
    cdef readonly int64_t offset           # bytes decoded
    cdef readonly int64_t receive_ns       # of the last record that made events
    cdef readonly uint32_t instrument      # of the last message
    cdef list names
    cdef dict by_symbol
    cdef Track* track
    cdef Identity* identity
    cdef int tracks, tracks_max, identities, identities_max
    cdef bytes data
    cdef Py_ssize_t at
    cdef bint begun, ts_out, starved_
    cdef int _begin(self) except -1
    cdef int _learn(self, str symbol, uint32_t number, int64_t from_ns, int64_t until_ns) except -1
    cdef Track* _whose(self, uint32_t number, uint16_t publisher, int64_t ts, bint booked) except? NULL
    cdef bint _record(self, const unsigned char* raw, Py_ssize_t size) except -1
    cdef bint _mbo(self, const unsigned char* raw) except -1
    cdef bint _levels(self, const unsigned char* raw, int rtype, int depth) except -1
    cdef bint _trade(self, const unsigned char* raw) except -1
    cdef bint _status(self, const unsigned char* raw) except -1
    cdef int _tell(self, const unsigned char* raw, Py_ssize_t size, int rtype) except -1
    cdef Event* _push(self, Track* track, const Event* like, uint8_t kind)
    cdef bint _close(self, Track* track, const Event* like, Py_ssize_t start, bint last)
    cdef object _fault(self, str text)
    cdef int _refuse(self, Track* track, const Event* like, str text) except -1
    cdef int64_t _stamp(self, Track* track, uint64_t received, uint64_t event, uint8_t flags)
    cdef void _break(self, Track* track, const Event* like)
    cdef void _flush_trade(self, Track* track, const Event* like)
    cdef void _flush_fills(self, Track* track, const Event* like)
