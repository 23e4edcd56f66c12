# Answers that come later, and what those of one turn of the event loop have in common.

cdef class Turn:
    cdef object _future
    cdef list _calls


cdef class Deferred:
    cdef public object outcome     # bytes, a BaseException, or None until it has come
    cdef public Turn turn
    cdef object callback

    cpdef object then(self, callback)
    cpdef bytes leaving(self)
