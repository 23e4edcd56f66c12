"""How many decisions there were, by kind, posture and regime: counted on the way of each, read when somebody asks."""

from quotelife.records import DecisionCode, PostureCode, RegimeCode

assert (KINDS, POSTURES, REGIMES) == (len(DecisionCode) + 1, len(PostureCode), len(RegimeCode))


cdef class DecisionCounts:
    cpdef int add(self, int kind, int posture, int regime) except -1:
        """One more. Raises ``ValueError`` on what is no decision of the engine's."""
        if not (0 <= kind < KINDS and 0 <= posture < POSTURES and 0 <= regime < REGIMES):
            raise ValueError(f"no decision: kind {kind}, posture {posture}, regime {regime}")
        self._counts[kind][posture][regime] += 1
        return 0

    def of(self, int kind, int posture, int regime):
        """How many of these there were."""
        if not (0 <= kind < KINDS and 0 <= posture < POSTURES and 0 <= regime < REGIMES):
            raise ValueError(f"no decision: kind {kind}, posture {posture}, regime {regime}")
        return self._counts[kind][posture][regime]
