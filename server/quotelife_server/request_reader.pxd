# Bytes of a request to the engine's record.
from libc.stdint cimport int64_t, uint8_t, uint32_t, uint64_t

from quotelife.records cimport RequestRecord

cdef struct Span:
    const uint8_t *at
    Py_ssize_t n                 # 0: not given

cdef struct Exact:               # ± count / 10^places
    uint64_t count
    int places
    bint negative

cdef struct Grid:                # of an instrument
    Exact tick
    Exact lot
    double tick_size
    bint known                   # the rest is filled in
    bint exact                   # tick and lot fit
    bint coin_margined
    bint derivative

cdef struct Slot:
    uint64_t hash
    const char *text             # of the name beside it in _held
    Py_ssize_t n                 # 0: empty
    int64_t step_ns              # of a session
    uint32_t index


cdef class _Names:
    cdef Slot *_slots
    cdef uint64_t _mask
    cdef list _held              # keeps each slot's text alive
    cdef uint64_t _turn

    cdef Slot *find(self, Span name, uint64_t hash) noexcept
    cdef Slot *put(self, str name, uint64_t hash, uint32_t index, int64_t step_ns) except NULL
    cdef str text(self, Slot *slot)


cdef class PlainRequest:
    cdef readonly RequestRecord record
    cdef readonly str request_id
    cdef readonly str counterparty
    cdef readonly bytes digest
    cdef readonly double tick
    cdef readonly int64_t venue_step_ns


cdef class RequestReader:
    cdef object _engine
    cdef object _policy          # of the engine when what follows was read
    cdef object _config
    cdef object _instruments
    cdef _Names _instrument
    cdef _Names _counterparty
    cdef _Names _desk
    cdef _Names _session
    cdef Grid *_grids            # by index of the instrument

    cdef int _follow(self) except -1
    cdef bint fill(self, PlainRequest plain, bytes payload, int64_t now_ns, bint synchronised) except -1
    cdef Slot *_find_instrument(self, Span name) except? NULL
    cdef Slot *_find_counterparty(self, Span name) except? NULL
    cdef Slot *_find_desk(self, Span name) except? NULL
    cdef Slot *_find_session(self, Span name) except? NULL
