"""How the calls of one method were answered: counted on the way of each, read when somebody asks."""

from quotelife_server.rpc import Code

assert len(Code) == CODES


cdef class AnswerCounts:
    cpdef int add(self, int code, uint64_t n=1) except -1:
        """So many more with a gRPC status code. Raises ``ValueError`` where there is none of that number."""
        if not 0 <= code < CODES:
            raise ValueError(f"no status code of gRPC: {code}")
        self._counts[code] += n
        return 0

    def by_code(self):
        """How many with each code, those that there were."""
        return {Code(code): self._counts[code] for code in range(CODES) if self._counts[code]}
