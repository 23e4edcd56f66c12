# The kill switch: who gets no quote until somebody says otherwise. Looked up by counterparty index, kept by name.
from libc.stdint cimport uint8_t, uint16_t, uint32_t, uint64_t

cdef class KillSwitch:
    cdef uint16_t _everybody               # records.Observed bits of the kill of everybody
    cdef uint8_t* _flags                   # the same by counterparty index; one more for those not configured
    cdef uint32_t _counterparties
    cdef readonly uint64_t changes         # kills turned on and off so far
    cdef tuple _names
    cdef dict _kills                       # name, None for everybody → KillStatus; oldest first
    cdef dict _turned_on                   # name → what ``changes`` was when it was last killed, ended since or not

    cdef uint16_t observed(self, uint32_t counterparty) noexcept nogil
    cdef int _mark(self) except -1
