# Calls from their receipt to their answer.

cdef class InFlight:
    cdef readonly Py_ssize_t limit
    cdef readonly Py_ssize_t count
    cdef public Py_ssize_t refused

    cpdef bint try_enter(self, Py_ssize_t waiting=*)
    cpdef void leave(self)
