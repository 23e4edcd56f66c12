# Value priors of counterparties that something was learned of, compiled; docs/counterparties.md.
from libc.stdint cimport uint32_t

from quotelife.decision.expected_value cimport ValuePrior
from quotelife.decision.policy cimport Policy

cdef enum:
    AGAIN = 64                         # priors that are kept of decisions taken again


cdef class LearnedPriors:
    cdef ValuePrior** _prior           # by place, NULL: none
    cdef int _room
    cdef ValuePrior _scratch
    cdef ValuePrior* _again[AGAIN]     # of decisions taken again from their records ...
    cdef uint32_t _again_for[AGAIN]    # ... their counterparties ...
    cdef Policy _again_under           # ... under one policy
    cdef int _again_next
    cdef void clear(self) noexcept nogil
    cdef const ValuePrior* at(self, int place, const ValuePrior* tier, const double* terms) noexcept nogil
    cdef ValuePrior* _compiled(self, const ValuePrior* tier, const double* terms) noexcept nogil
    cdef int recall(self, Policy policy, uint32_t counterparty, int place, const double* terms) except -1
    cdef const ValuePrior* find(self, Policy policy, uint32_t counterparty, int place,
                                const double* terms) noexcept nogil
