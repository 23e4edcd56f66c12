# Replies by request id.
from libc.stdint cimport int64_t


cdef class _Entry:
    cdef str request_id
    cdef bytes digest
    cdef bytes reply
    cdef int64_t now_ns
    cdef bint gone                 # forgotten, and still in the order
    cdef bint replayed


cdef class ReplyStore:
    cdef readonly int64_t age_ns_max
    cdef readonly int64_t bytes
    cdef readonly int64_t evicted
    cdef public int64_t held_from_ns
    cdef int64_t _bytes_max
    cdef dict _entries             # request id to _Entry
    cdef object _order             # deque of them, oldest first; forgotten ones among them
    cdef Py_ssize_t _gone          # so many

    cdef _Entry _found(self, str request_id, int64_t now_ns)
    cdef _Entry _oldest(self)
    cdef int _drop(self, _Entry entry) except -1
    cpdef bint has(self, str request_id, int64_t now_ns) except -1
    cpdef tuple find(self, str request_id, int64_t now_ns)
    cpdef int keep(self, str request_id, bytes digest, bytes reply, int64_t now_ns) except -1
    cpdef int forget(self, str request_id) except -1
