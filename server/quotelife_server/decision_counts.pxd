# How many decisions there were, by kind, posture and regime.
from libc.stdint cimport uint64_t

cdef enum:
    KINDS = 4                  # by DecisionKind, which starts at 1
    POSTURES = 4
    REGIMES = 5


cdef class DecisionCounts:
    cdef uint64_t _counts[KINDS][POSTURES][REGIMES]

    cpdef int add(self, int kind, int posture, int regime) except -1
