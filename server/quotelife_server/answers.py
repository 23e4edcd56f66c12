"""Answers that may come later: many of them as one reply, or along a stream in the order of the requests."""

from collections import deque
from collections.abc import Callable, Sequence
from functools import partial

from quotelife_server import convert
from quotelife_server.rpc import Answer, Deferred, RpcError, StreamCall

PENDING_MAX = 64  # requests of one stream whose answers have not come yet


class _Gathered(Deferred):
    """Built when it leaves, out of what may leave then."""

    __slots__ = ("_answers", "_build")

    def __init__(
        self,
        answers: Sequence[Answer | RpcError],
        build: Callable[[Sequence[bytes | BaseException]], bytes],
    ) -> None:
        super().__init__()
        self._answers = answers
        self._build = build

    def leaving(self) -> bytes:
        return self._build([_leaving(answer) for answer in self._answers])


def gathered(
    answers: Sequence[Answer | RpcError],
    build: Callable[[Sequence[bytes | BaseException]], bytes],
    done: Callable[[], None] = lambda: None,
) -> Answer:
    """``build`` of what came of all of them, in their order; at once when none is still to come. ``done`` is called
    when all of them have come."""
    later = [answer for answer in answers if isinstance(answer, Deferred)]
    reply = _Gathered(answers, build)
    missing = len(later)

    def came(_: bytes | BaseException) -> None:
        nonlocal missing
        missing -= 1
        if not missing:
            try:
                done()
            finally:
                reply.resolve(b"")

    if not later:
        done()
        return reply.leaving()
    for answer in later:
        answer.then(came)
    return reply


def _leaving(answer: Answer | BaseException) -> bytes | BaseException:
    if not isinstance(answer, Deferred):
        return answer
    try:
        return answer.leaving()
    except BaseException as error:  # cancelled, for one: the others' answers are whole
        return error


class ExpiryStream:
    """``StreamExpiry``: one answer a request, in the order of the requests; a fault is an answer too.

    An answer that is not there yet holds back those behind it. With ``PENDING_MAX`` of them the transport is
    asked to read on only when one has left. Each request counts as a call in flight until it is answered.
    """

    def __init__(
        self,
        call: StreamCall,
        *,
        answer: Callable[[bytes], Answer | RpcError],
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
            tag, request = convert.stream_request(payload)
            self._admit()
        except RpcError as refusal:
            self._queue(_Slot(tag, refusal, admitted=False))
            return self._until_room()
        answer = self._answer(request)
        if isinstance(answer, Deferred):
            slot = _Slot(tag, answer, admitted=True, ready=False)
            self._pending.append(slot)
            answer.then(lambda _: self._came(slot))
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

    def _came(self, slot: "_Slot") -> None:
        slot.ready = True
        self._send_ready()

    def _send_ready(self) -> None:
        while self._pending and self._pending[0].ready:
            slot = self._pending.popleft()
            self._release_once(slot)
            self._call.send(partial(self._leaving, slot))
        if self._room is not None and len(self._pending) < PENDING_MAX:
            room, self._room = self._room, None
            room.resolve(b"")
        if self._half_closed and not self._pending:
            self._call.finish()

    def _leaving(self, slot: "_Slot") -> bytes:
        outcome = _leaving(slot.answer)
        if isinstance(outcome, BaseException):
            outcome = self._as_rpc_error(outcome)
        return convert.stream_reply(slot.tag, outcome)

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

    __slots__ = ("admitted", "answer", "ready", "tag")

    def __init__(self, tag: int, answer: Answer | RpcError, *, admitted: bool, ready: bool = True) -> None:
        self.tag = tag
        self.answer = answer
        self.admitted = admitted
        self.ready = ready
