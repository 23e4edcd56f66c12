# SoupBinTCP 3.0, client side. SoupClient is a state machine without I/O: see soupbin.pyx.
from libc.stdint cimport int64_t, uint8_t

from quotelife.feed.itch cimport ItchDecoder


cdef class SoupClient:
    cdef readonly ItchDecoder decoder
    cdef readonly str username, session
    cdef readonly object input             # bytearray that a stream is received into, see input_view()
    cdef readonly int64_t expected         # sequence of the next message
    cdef readonly int64_t target           # the server had sent all below when it was last asked
    cdef readonly bint probing             # this connection only asks how far the server is
    cdef readonly bint logged_in, leave, again, ended
    cdef readonly str rejected             # why the server refused the last login, or None
    cdef readonly int64_t messages, heartbeats, unsequenced, malformed, probes, sessions, lost
    cdef Py_ssize_t start, end
    cdef str password
    cdef str wanted                        # session that the next login asks for, empty: any
    cdef bint fixed
    cdef int64_t probed_ns
    cdef object _midnight

    cpdef bint received(self, Py_ssize_t n, int64_t now_ns) except -1
    cdef int control(self, uint8_t kind, const uint8_t* p, Py_ssize_t n, int64_t now_ns) except -1
    cdef int accepted(self, const uint8_t* p, int64_t now_ns) except -1
    cdef void reach(self, int64_t now_ns)
    cdef int refuse(self, str fault) except -1
