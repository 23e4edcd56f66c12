from libc.stdint cimport int64_t, uint8_t, uint32_t


cdef enum:
    PREFIX_BYTES = 5


cpdef enum Coding:
    """How a call's messages are compressed: its ``grpc-encoding``."""
    IDENTITY = 0
    GZIP = 1
    DEFLATE = 2
    OTHER = 3


cdef int64_t timeout_of(const uint8_t *text, size_t n) noexcept nogil
cdef int coding_of(const uint8_t *text, size_t n) noexcept nogil
cdef bint is_grpc(const uint8_t *text, size_t n) noexcept nogil
cdef void put_prefix(uint8_t *into, size_t n) noexcept nogil


cdef class MessageReader:
    cdef readonly size_t limit
    cdef readonly int coding
    cdef uint8_t _prefix[PREFIX_BYTES]
    cdef int _prefix_have
    cdef size_t _length
    cdef bytearray _body

    cdef int _begin(self) except -1
    cdef int _finish(self, bytes body, list into) except -1
    cdef int feed_c(self, const uint8_t *data, size_t n, list into) except -1
    cdef bint unfinished(self) noexcept
    cdef size_t held(self) noexcept
    cpdef bytes whole(self, object message)
