# Answers that come later, and what those of one turn of the event loop have in common.

cpdef int tell(call) except -1
cdef int tell_outcome(callback, outcome) except -1


cdef class Turn:
    cdef object _future
    cdef list _calls
    cdef object _hasten
    cdef public bint is_long

    cpdef int end_soon(self) except -1
    cpdef int after(self, call) except -1
    cpdef int over(self) except -1


cdef class Deferred:
    cdef public object outcome     # bytes, a BaseException, or None until it has come
    cdef public Turn turn
    cdef object callback

    cpdef int resolve(self, outcome) except -1
    cpdef int then(self, callback) except -1
    cpdef bytes leaving(self)
