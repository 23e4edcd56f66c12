# How calls were answered.
from libc.stdint cimport uint64_t

cdef enum:
    CODES = 17                 # of gRPC


cdef class AnswerCounts:
    cdef uint64_t _counts[CODES]

    cpdef int add(self, int code, uint64_t n=*) except -1
