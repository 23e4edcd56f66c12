# How many decisions a counterparty gets in a time: exact, O(1) a decision, by engine time alone.
from libc.stdint cimport int32_t, int64_t, uint32_t, uint64_t

cdef enum Throttled:
    THROTTLE_FREE = 0
    THROTTLE_HELD = 1              # tripped before, not yet released
    THROTTLE_TRIPPED = 2           # by this very decision

cdef struct Bucket:
    int64_t* at_ns                 # times of the last decisions, a ring of decisions_max; NULL until the first
    int64_t window_ns
    int64_t pause_ns
    int64_t held_until_ns          # held while now < held_until
    int32_t decisions_max          # 0: never held
    int32_t next                   # place of the oldest once the ring is full, else of the next
    int32_t count
    bint manual

cdef class Throttle:
    cdef Bucket* _bucket           # by counterparty index; one more for those not configured
    cdef uint32_t _counterparties
    cdef tuple _names
    cdef readonly uint64_t trips

    cdef Throttled decided(self, uint32_t counterparty, int64_t now_ns, bint counts) noexcept nogil
    cdef bint is_manual(self, uint32_t counterparty) noexcept nogil
