"""Answers that come later (``rpc.Deferred``), and what those of one turn of the event loop have in common."""

import asyncio


cdef class Turn:
    """What answers that come together have in common: one future for all who wait, instead of one each."""

    def after(self, call):
        """``call`` when the turn is over, in the same turn of the event loop. It must not raise."""
        if self._calls is None:
            self._calls = []
        self._calls.append(call)

    def future(self):
        """Done when the turn is over, or when one of those who wait for it is cancelled: look again then."""
        if self._future is None or self._future.done():
            self._future = asyncio.get_running_loop().create_future()
        return self._future

    def over(self):
        """All of its answers have been resolved."""
        cdef list calls = self._calls
        if calls is not None:
            self._calls = None
            for call in calls:
                call()
        if self._future is not None and not self._future.done():
            self._future.set_result(None)


cdef class Deferred:
    """An answer that comes later, once: bytes or a failure. Whoever waits registers one callback, or uses
    ``rpc.waited``. Whoever resolves the answers of a ``turn`` says when it is over."""

    def __init__(self, Turn turn=None):
        self.turn = turn

    def resolve(self, outcome):
        """Later outcomes than the first are ignored."""
        if self.outcome is not None:
            return
        self.outcome = outcome
        if self.callback is not None:
            self.callback(outcome)

    cpdef object then(self, callback):
        self.callback = callback
        if self.outcome is not None:
            callback(self.outcome)

    cpdef bytes leaving(self):
        """The bytes to send, asked for last before they are sent: what was fine when the answer was resolved may
        have been taken back since. Raises the answer's failure."""
        if isinstance(self.outcome, BaseException):
            raise self.outcome
        return self.outcome
