# What a transport asks before a unary method's handler.
from libc.stdint cimport int64_t


cdef class ShortWay:
    cpdef object answer(self, bytes payload, int64_t now_ns)
