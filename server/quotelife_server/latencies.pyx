"""How long something took, counted by bounds, as metrics show it."""


cdef class Latencies:
    """Rising ``bounds_ns``, at most 32."""

    def __init__(self, bounds_ns):
        cdef int i
        self.bounds_ns = tuple(bounds_ns)
        if not 0 < len(self.bounds_ns) <= BOUNDS_MAX:
            raise ValueError(f"bounds_ns: must be 1 to {BOUNDS_MAX}")
        self._n = <int>len(self.bounds_ns)
        for i in range(self._n):
            self._bounds[i] = self.bounds_ns[i]

    @property
    def counts(self):
        """One for each bound, of those up to it and above the one before, and one for all above the last."""
        return [self._counts[i] for i in range(self._n + 1)]

    cpdef int observe(self, int64_t latency_ns) except -1:
        cdef int i = 0
        while i < self._n and self._bounds[i] < latency_ns:
            i += 1
        self._counts[i] += 1
        self.sum_ns += latency_ns
        return 0
