# A Session that, while more calls come than can be answered, holds back whole calls whose headers it knows by their bytes.
from libc.stdint cimport int32_t, uint8_t, uint32_t

from quotelife_server.transport.native_session cimport Session


cdef struct HeldCall:
    const uint8_t *at                        # its HEADERS, and DATA right behind them
    size_t size
    uint32_t data_bytes                      # that it takes of the connection's window
    int32_t id
    int kind                                 # place in `blocks` and `methods`


cdef class SiftingSession(Session):
    # Headers that were decoded before: `blocks` is a frame's flags and payload, `methods` what the subclass made of it.
    # The same bytes mean the same while nothing has been put into the decoder's table.
    cdef list blocks, methods
    cdef size_t next_kind                    # the place that is given up next
    cdef int32_t newest_id                   # of all calls that have come
    cdef HeldCall *held
    cdef size_t held_n
    cdef list chunks                         # bytes that `held` points into
    cdef Py_ssize_t chunks_bytes
    cdef bytes tail                          # what has come of the next frame or call
    # Calls of which nghttp2 has heard nothing: to be refused, and their bytes given back to the connection's window.
    cdef int32_t *refused                    # ascending; -id: reset by its client meanwhile
    cdef size_t refused_n, refused_room
    cdef size_t owed

    cdef bint sifts(self) noexcept
    cdef int sift(self, bytes data) except -1
    cdef int pass_on(self, size_t take) except -1
    cdef int pass_all(self) except -1
    cdef size_t put_refusals(self, bytes frame, uint8_t *into, size_t room) noexcept
    cdef void forget_refused(self, int32_t id) noexcept
    cdef int forget_kinds(self) except -1
    cdef int forget_held(self) except -1
    cdef size_t _finish_frame(self, const uint8_t *at, size_t n) except? 0
    cdef int _kind(self, const uint8_t *at, size_t length) except -2
    cdef int _pass(self, const uint8_t *at, size_t size) except -1
    cdef bint _keep(self, bytes data) except -1
    cdef list _let_go(self)
    cdef int _hold(self, const uint8_t *at, size_t size, size_t data_bytes, int kind) except -1
    cdef int _refuse(self, int32_t id) except -1

    # What a subclass makes of it.
    cdef object refusable(self, int32_t id)
    cdef int on_refused(self, object method, size_t n) except -1
    cdef bint on_kept(self, Py_ssize_t n) noexcept


cdef bytes refusal_frame(int status, bytes text, bytes details)
