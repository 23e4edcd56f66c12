# Answers by their request id.
from libc.stdint cimport int64_t, uint32_t, uint64_t


cdef class _Run:
    cdef tuple files           # (name, boot id, time of its last record)
    cdef const uint64_t[::1] hash
    cdef const uint64_t[::1] place
    cdef const int64_t[::1] ns
    cdef const uint32_t[::1] first     # of each bucket, and one more
    cdef int shift             # of a hash, to its bucket
    cdef int64_t last_ns

    cdef Py_ssize_t after(self, uint64_t wanted) noexcept nogil


cdef class AnswerIndex:
    cdef object _storage
    cdef dict _refused
    cdef set _removed
    cdef tuple _runs           # of _Run, oldest first; replaced whole

    cdef bint may_have(self, str request_id) except -1
