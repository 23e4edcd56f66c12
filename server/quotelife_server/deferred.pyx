"""Answers that come later (``rpc.Deferred``), and what those of one turn of the event loop have in common."""

import asyncio

from quotelife_server.log import get_logger

_log = get_logger(__name__)


cpdef int tell(call) except -1:
    """Call somebody who must not raise. Others wait to be told: what he raises all the same is logged and no more."""
    try:
        call()
    except BaseException as error:
        _log.error("a callback failed", exc_info=error)
    return 0


cdef int tell_outcome(callback, outcome) except -1:
    """``tell`` whoever waits for an answer."""
    try:
        callback(outcome)
    except BaseException as error:
        _log.error("a callback of an answer failed", exc_info=error)
    return 0


cdef class Turn:
    """What answers that come together have in common: one future for all who wait, instead of one each. ``hasten`` is called
    by whoever expects no more to join them, where whoever resolves them would wait and see. ``is_long``: it takes longer
    to end than to wait for all who might join it, as where a device has to be waited for."""

    def __cinit__(self, hasten=None):
        self._hasten = hasten

    cpdef int after(self, call) except -1:
        """``call`` when the turn is over, in the same turn of the event loop."""
        if self._calls is None:
            self._calls = []
        self._calls.append(call)
        return 0

    cpdef int end_soon(self) except -1:
        """Nobody who knows of it expects any more answers: it may be over at once, and then is before this returns."""
        if self._hasten is not None:
            self._hasten()
        return 0

    def future(self):
        """Done when the turn is over, or when one of those who wait for it is cancelled: look again then."""
        if self._future is None or self._future.done():
            self._future = asyncio.get_running_loop().create_future()
        return self._future

    cpdef int over(self) except -1:
        """All of its answers have been resolved."""
        cdef list calls = self._calls
        if calls is not None:
            self._calls = None
            for call in calls:
                tell(call)
        if self._future is not None and not self._future.done():
            self._future.set_result(None)
        return 0


cdef class Deferred:
    """An answer that comes later, once: bytes or a failure. Whoever waits registers one callback, or uses
    ``rpc.waited``. Whoever resolves the answers of a ``turn`` says when it is over."""

    def __init__(self, Turn turn=None):
        self.turn = turn

    cpdef int resolve(self, outcome) except -1:
        """Later outcomes than the first are ignored."""
        if self.outcome is not None:
            return 0
        self.outcome = outcome
        if self.callback is not None:
            tell_outcome(self.callback, outcome)
        return 0

    cpdef int then(self, callback) except -1:
        """``callback`` is called with the outcome, at once where it has come. One callback alone."""
        self.callback = callback
        if self.outcome is not None:
            callback(self.outcome)
        return 0

    cpdef bytes leaving(self):
        """The bytes to send, asked for last before they are sent: what was fine when the answer was resolved may
        have been taken back since. Raises the answer's failure."""
        if isinstance(self.outcome, BaseException):
            raise self.outcome
        return self.outcome
