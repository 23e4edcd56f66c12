"""What a handler and a transport agree on. Knows gRPC's status codes, not gRPC.

A unary handler takes bytes and returns bytes, or a ``Deferred`` that will be resolved with bytes; it fails by
raising ``RpcError``. A streaming method is opened once a call and told of messages, of the end of the
client's messages and of the end of the call; it answers through its ``StreamCall``.
"""

import asyncio
from collections.abc import Callable, MutableSequence, Sequence
from dataclasses import dataclass
from enum import IntEnum
from typing import Any, Protocol

from google.protobuf.message import Message
from google.rpc import status_pb2

from quotelife_server.deferred import Deferred as Deferred
from quotelife_server.deferred import Turn as Turn
from quotelife_server.short_way import ShortWay

TEXT_BYTES_MAX = 2048
"""Of a message as it goes over the wire: printable ASCII but for % as it is, all else %XX for each byte of UTF-8."""
STATUS_BYTES_MAX = 4096
"""Of a status and its details, before base64. Clients take 8 kB of trailers."""


class Code(IntEnum):
    """gRPC status codes."""

    OK = 0
    CANCELLED = 1
    UNKNOWN = 2
    INVALID_ARGUMENT = 3
    DEADLINE_EXCEEDED = 4
    NOT_FOUND = 5
    ALREADY_EXISTS = 6
    PERMISSION_DENIED = 7
    RESOURCE_EXHAUSTED = 8
    FAILED_PRECONDITION = 9
    ABORTED = 10
    OUT_OF_RANGE = 11
    UNIMPLEMENTED = 12
    INTERNAL = 13
    UNAVAILABLE = 14
    DATA_LOSS = 15
    UNAUTHENTICATED = 16


class State(IntEnum):
    """Of a service; values of the wire's ServiceState."""

    STARTING = 1
    SERVING = 2
    DRAINING = 3


class RpcError(Exception):
    """A call's failure as its caller will see it: code, text and google.rpc details. Nothing else leaves.

    The text is cut to ``TEXT_BYTES_MAX``: beyond what a client takes of trailers it would see another code.
    """

    def __init__(self, code: Code, message: str, details: Sequence[Message] = ()) -> None:
        self.code = code
        self.message = _cut(message)
        super().__init__(self.message)
        self.details = details

    def status_bytes(self) -> bytes | None:
        """The serialised google.rpc.Status for ``grpc-status-details-bin``; ``None`` without details, and with more
        than there is room for."""
        if not self.details:
            return None
        status = status_pb2.Status(code=int(self.code), message=self.message)
        for detail in self.details:
            status.details.add().Pack(detail)
        found = bytes(status.SerializeToString())
        return found if len(found) <= STATUS_BYTES_MAX else None

    def with_room_for(self, violations: MutableSequence[Any]) -> "RpcError":
        """Itself, with as many of ``violations``, a part of its details, as there is room for."""
        while violations and self.status_bytes() is None:
            violations.pop()
        return self


def _cut(text: str) -> str:
    if text.isascii() and text.isprintable() and "%" not in text:
        return text[:TEXT_BYTES_MAX]
    n_bytes = 0
    for at, letter in enumerate(text):
        n_bytes += 1 if " " <= letter <= "~" and letter != "%" else 3 * len(letter.encode("utf-8", "replace"))
        if n_bytes > TEXT_BYTES_MAX:
            return text[:at]
    return text


@dataclass(frozen=True, slots=True)
class CallContext:
    """One call: its full method name, when its caller stops waiting (service clock), where it came from."""

    method: str
    deadline_ns: int | None = None
    peer: str = ""


Answer = bytes | Deferred


def mapped(answer: Answer, change: Callable[[bytes | BaseException], bytes | BaseException]) -> Deferred:
    """What ``change`` makes of the answer's outcome, as soon as there is one."""
    changed = Deferred()

    def came(outcome: bytes | BaseException) -> None:
        try:
            changed.resolve(change(outcome))
        except BaseException as error:  # or nobody who waits would hear anything
            changed.resolve(error)

    if isinstance(answer, Deferred):
        answer.then(came)
    else:
        came(answer)
    return changed


async def waited(answer: Answer) -> bytes:
    """The bytes of an answer, now or later. Raises its failure."""
    if not isinstance(answer, Deferred):
        return answer
    turn = answer.turn
    if turn is None:
        turn = Turn()
        answer.then(lambda _: turn.over())
    while answer.outcome is None:
        try:
            await turn.future()
        except asyncio.CancelledError:
            # A task that is cancelled cancels what it waits for, and with it everybody else's wait.
            task = asyncio.current_task()
            if task is None or task.cancelling():
                raise
    return answer.leaving()


class StreamCall(Protocol):
    """A transport's end of a stream. ``send`` after ``finish`` is ignored."""

    def send(self, payload: bytes | Callable[[], bytes]) -> None:
        """One that is called is called when nothing else is left to do than to send it. It must not raise."""

    def finish(self, error: RpcError | None = None) -> None: ...


class StreamHandler(Protocol):
    """A handler's end of a stream. Each method may raise ``RpcError``, which ends the call."""

    def on_message(self, payload: bytes) -> Deferred | None:
        """No further message is handed over before what is returned has been resolved."""

    def on_half_close(self) -> None: ...

    def on_cancel(self) -> None: ...


UnaryHandler = Callable[[bytes, CallContext], Answer]
StreamOpener = Callable[[CallContext, StreamCall], StreamHandler]


@dataclass(frozen=True, slots=True)
class Unary:
    """A unary method. ``bounded`` calls count against the limit of calls in flight; those that are
    ``needs_serving`` are refused unless the service is serving. ``short`` is asked before ``handle``."""

    handle: UnaryHandler
    bounded: bool = True
    needs_serving: bool = True
    short: ShortWay | None = None


@dataclass(frozen=True, slots=True)
class Stream:
    """A streaming method of any kind. ``reads_on``: its messages are handed over while answers wait to be written;
    the handler bounds what waits."""

    open: StreamOpener
    reads_on: bool = False


MethodTable = dict[str, Unary | Stream]


def too_late() -> RpcError:
    return RpcError(Code.DEADLINE_EXCEEDED, "the deadline passed before work began")


def unserved(method: str) -> RpcError:
    return RpcError(Code.UNIMPLEMENTED, f"{method} is not served by this version")
