"""What a transport asks before a unary method's handler (``rpc.Unary``): no context is made, and from a compiled
transport no function of Python is called."""

from libc.stdint cimport int64_t


cdef class ShortWay:
    cpdef object answer(self, bytes payload, int64_t now_ns):
        """The answer to the bytes of a request, by the service's clock; ``None``: the handler has to answer, nothing has
        been changed. Raises as a handler does."""
        return None
