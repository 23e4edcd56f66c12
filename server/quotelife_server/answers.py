"""Answers that may come later: many of them as one reply, or along a stream in the order of the requests."""

from collections import deque
from collections.abc import Callable, Sequence

from quote_expiry.v1 import quote_expiry_service_pb2 as expiry
from quotelife_server import convert
from quotelife_server.rpc import Deferred, RpcError, StreamCall

PENDING_MAX = 64  # requests of one stream whose answers have not come yet

Answer = bytes | Deferred


def gathered(
    answers: Sequence[Answer | RpcError], build: Callable[[Sequence[bytes | BaseException]], bytes]
) -> Answer:
    """``build`` of what came of all of them, in their order; at once when none is still to come."""
    outcomes: list[bytes | BaseException] = [
        b"" if isinstance(answer, Deferred) else answer for answer in answers
    ]
    later = [(at, answer) for at, answer in enumerate(answers) if isinstance(answer, Deferred)]
    if not later:
        return build(outcomes)
    reply = Deferred()
    missing = len(later)

    def keep(at: int, outcome: bytes | BaseException) -> None:
        nonlocal missing
        outcomes[at] = outcome
        missing -= 1
        if not missing:
            try:
                reply.resolve(build(outcomes))
            except Exception as error:
                reply.resolve(error)

    for at, answer in later:
        answer.then(lambda outcome, at=at: keep(at, outcome))  # type: ignore[misc]
    return reply


class ExpiryStream:
    """``StreamExpiry``: one answer a request, in the order of the requests; a fault is an answer too.

    An answer that is not there yet holds back those behind it. With ``PENDING_MAX`` of them the transport is
    asked to read on only when one has left. Each request counts as a call in flight until it is answered.
    """

    def __init__(
        self,
        call: StreamCall,
        *,
        answer: Callable[[expiry.GetExpiryRequest], Answer | RpcError],
        admit: Callable[[], None],
        release: Callable[[], None],
        as_rpc_error: Callable[[BaseException], RpcError],
    ) -> None:
        """``admit`` raises ``RpcError`` when a request may not start; otherwise ``release`` follows."""
        self._call = call
        self._answer = answer
        self._admit = admit
        self._release = release
        self._as_rpc_error = as_rpc_error
        self._pending: deque[_Slot] = deque()
        self._room: Deferred | None = None
        self._half_closed = False

    def on_message(self, payload: bytes) -> Deferred | None:
        tag = 0
        try:
            message = convert.stream_request(payload)
            tag = message.tag
            self._admit()
        except RpcError as refusal:
            self._queue(_Slot(tag, refusal, admitted=False))
            return self._until_room()
        answer = self._answer(message.request)
        if isinstance(answer, Deferred):
            slot = _Slot(tag, None, admitted=True)
            self._pending.append(slot)
            answer.then(lambda outcome: self._came(slot, outcome))
        else:
            self._queue(_Slot(tag, answer, admitted=True))
        return self._until_room()

    def on_half_close(self) -> None:
        self._half_closed = True
        self._send_ready()

    def on_cancel(self) -> None:
        """Whoever asked has gone; what was decided stays decided."""
        for slot in self._pending:
            self._release_once(slot)
        self._pending.clear()

    def _queue(self, slot: "_Slot") -> None:
        self._pending.append(slot)
        self._send_ready()

    def _came(self, slot: "_Slot", outcome: bytes | BaseException) -> None:
        slot.outcome = self._as_rpc_error(outcome) if isinstance(outcome, BaseException) else outcome
        self._send_ready()

    def _send_ready(self) -> None:
        while self._pending and self._pending[0].outcome is not None:
            slot = self._pending.popleft()
            self._release_once(slot)
            assert slot.outcome is not None
            self._call.send(convert.stream_reply(slot.tag, slot.outcome))
        if self._room is not None and len(self._pending) < PENDING_MAX:
            room, self._room = self._room, None
            room.resolve(b"")
        if self._half_closed and not self._pending:
            self._call.finish()

    def _until_room(self) -> Deferred | None:
        if len(self._pending) >= PENDING_MAX:
            self._room = Deferred()
        return self._room

    def _release_once(self, slot: "_Slot") -> None:
        if slot.admitted:
            slot.admitted = False
            self._release()


class _Slot:
    """A request's place in the order of answers."""

    __slots__ = ("admitted", "outcome", "tag")

    def __init__(self, tag: int, outcome: bytes | RpcError | None, *, admitted: bool) -> None:
        self.tag = tag
        self.outcome = outcome
        self.admitted = admitted
