"""Value priors of counterparties that something was learned of.

Compiling one takes a fraction of a millisecond, so it is done when what was learned has moved by a step, and never
inside a decision. A decision records the four numbers that it was made by; to take it again from its record, that
prior is compiled once more.
"""

from libc.stdlib cimport calloc, free, malloc
from libc.string cimport memcpy

from quotelife.decision.expected_value cimport ValuePanel, compile_learned


cdef bint _is(const ValuePrior* prior, const double* terms) noexcept nogil:
    return (prior != NULL and prior.hit == terms[0] and prior.informed == terms[1] and prior.mu == terms[2]
            and prior.sigma == terms[3])


cdef class LearnedPriors:
    """By place, as ``Counterparties`` numbers them; about 40 kB each."""

    def __dealloc__(self):
        cdef int i
        for i in range(self._room):
            free(self._prior[i])
        free(self._prior)
        for i in range(AGAIN):
            free(self._again[i])

    cdef int clear(self) except -1:
        cdef int i
        for i in range(self._room):
            free(self._prior[i])
            self._prior[i] = NULL
        return 0

    cdef int learn(self, int place, const ValuePrior* tier, const double* terms) except -1:
        cdef ValuePrior** grown
        cdef ValuePrior* prior
        cdef int room = max(64, 2 * place)
        if place >= self._room:
            grown = <ValuePrior**>calloc(room, sizeof(ValuePrior*))
            if grown == NULL:
                raise MemoryError()
            if self._room:
                memcpy(grown, self._prior, self._room * sizeof(ValuePrior*))
            free(self._prior)
            self._prior = grown
            self._room = room
        prior = self._compiled(tier, terms)
        free(self._prior[place])
        self._prior[place] = prior
        return 0

    cdef ValuePrior* _compiled(self, const ValuePrior* tier, const double* terms) except NULL:
        cdef ValuePrior* prior
        cdef size_t size
        compile_learned(tier, terms, &self._scratch)
        # Panels are its last member, and most priors need half of them.
        size = sizeof(ValuePrior) - sizeof(self._scratch.panel) + self._scratch.panels * sizeof(ValuePanel)
        prior = <ValuePrior*>malloc(size)
        if prior == NULL:
            raise MemoryError()
        memcpy(prior, &self._scratch, size)
        return prior

    cdef int recall(self, Policy policy, uint32_t counterparty, int place, const double* terms) except -1:
        # Before a decision is taken again: have the prior that it was made by.
        cdef int i
        if not terms[3] > 0.0:
            return 0
        if self._again_under is not policy:
            self._again_under = None
            for i in range(AGAIN):
                free(self._again[i])
                self._again[i] = NULL
            self._again_under = policy
        if self.find(policy, counterparty, place, terms) == NULL:
            i = self._again_next
            self._again_next = (i + 1) % AGAIN
            free(self._again[i])
            self._again[i] = NULL
            self._again[i] = self._compiled(policy.value_prior(counterparty), terms)
            self._again_for[i] = counterparty
        return 0

    cdef const ValuePrior* find(self, Policy policy, uint32_t counterparty, int place,
                                const double* terms) noexcept nogil:
        # The prior of these terms; NULL where there is none. place: of the counterparty, -1: it has none.
        cdef int i
        if 0 <= place < self._room and _is(self._prior[place], terms):
            return self._prior[place]
        if <void*>self._again_under == <void*>policy:
            for i in range(AGAIN):
                if self._again_for[i] == counterparty and _is(self._again[i], terms):
                    return self._again[i]
        return NULL
