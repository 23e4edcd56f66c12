"""Value priors of counterparties that something was learned of.

Compiling one takes a tenth of a millisecond, so it is done when what was learned has moved by a step, on timers; in a
decision only for the first one by a counterparty whose tier a reload has changed. A decision records the four numbers
that it was made by; to take it again from its record, that prior is compiled once more.

A prior follows from its tier's and these four numbers alone: one that has them is the right one, wherever it lies.
"""

from libc.stdlib cimport calloc, free, malloc
from libc.string cimport memcpy

from quotelife.decision.expected_value cimport ValuePanel, compile_learned


cdef bint _is(const ValuePrior* prior, const ValuePrior* tier, const double* terms) noexcept nogil:
    return (prior != NULL and prior.hit == terms[0] and prior.informed == terms[1] and prior.mu == terms[2]
            and prior.sigma == terms[3] and prior.loss_in_h == tier.loss_in_h and prior.adverse == tier.adverse
            and prior.watch_leaves == tier.watch_leaves and prior.latency_ns == tier.latency_ns
            and prior.taker_ns == tier.taker_ns)


cdef class LearnedPriors:
    """By place, as ``Counterparties`` numbers them; about 40 kB each."""

    def __init__(self, int places):
        self._prior = <ValuePrior**>calloc(places, sizeof(ValuePrior*))
        if self._prior == NULL:
            raise MemoryError()
        self._room = places

    def __dealloc__(self):
        self.clear()
        free(self._prior)
        for i in range(AGAIN):
            free(self._again[i])

    cdef void clear(self) noexcept nogil:
        cdef int i
        for i in range(self._room):
            free(self._prior[i])
            self._prior[i] = NULL

    cdef const ValuePrior* at(self, int place, const ValuePrior* tier, const double* terms) noexcept nogil:
        # The prior of a place, compiled unless it is already; NULL: no memory.
        cdef ValuePrior* prior = self._prior[place]
        if not _is(prior, tier, terms):
            prior = self._compiled(tier, terms)
            if prior != NULL:
                free(self._prior[place])
                self._prior[place] = prior
        return prior

    cdef ValuePrior* _compiled(self, const ValuePrior* tier, const double* terms) noexcept nogil:
        cdef ValuePrior* prior
        cdef size_t size
        if not compile_learned(tier, terms, &self._scratch):
            return NULL
        # Panels are its last member, and most priors need half of them.
        size = sizeof(ValuePrior) - sizeof(self._scratch.panel) + self._scratch.panels * sizeof(ValuePanel)
        prior = <ValuePrior*>malloc(size)
        if prior != NULL:
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
            if self._again[i] == NULL:
                raise MemoryError()
        return 0

    cdef const ValuePrior* find(self, Policy policy, uint32_t counterparty, int place,
                                const double* terms) noexcept nogil:
        # The prior of these terms; NULL where there is none. place: of the counterparty, -1: it has none.
        cdef const ValuePrior* tier = policy.value_prior(counterparty)
        cdef int i
        if 0 <= place < self._room and _is(self._prior[place], tier, terms):
            return self._prior[place]
        if <void*>self._again_under == <void*>policy:
            for i in range(AGAIN):
                if self._again_for[i] == counterparty and _is(self._again[i], tier, terms):
                    return self._again[i]
        return NULL
