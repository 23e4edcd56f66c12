"""The bound on calls in flight, the first that every call meets."""


cdef class InFlight:
    """Counts calls from their receipt to their answer; refuses beyond the limit instead of queueing."""

    def __init__(self, Py_ssize_t limit):
        self.limit = limit

    cpdef bint try_enter(self, Py_ssize_t waiting=0):
        """``waiting``: calls received by the transport that have not come here yet."""
        if self.count + waiting >= self.limit:
            self.refused += 1
            return False
        self.count += 1
        return True

    cpdef void leave(self):
        self.count -= 1
