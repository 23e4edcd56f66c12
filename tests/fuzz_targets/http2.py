"""A client's connection to the native gRPC front end: its bytes, and whatever happens beside them."""

import struct
from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any

from google.rpc import error_details_pb2

from fuzz_targets.kit import Bytes, Target
from quotelife_server import log
from quotelife_server.answer_counts import AnswerCounts
from quotelife_server.in_flight import InFlight
from quotelife_server.rpc import (
    CallContext,
    Code,
    Deferred,
    MethodTable,
    RpcError,
    State,
    Stream,
    StreamCall,
    Turn,
    Unary,
)
from quotelife_server.transport import native_connection
from quotelife_server.transport.native_call import Desk
from quotelife_server.transport.native_connection import Connection, sweep
from reference.http2_kit import (
    CONTINUATION,
    DATA,
    END_HEADERS,
    HEADERS,
    PING,
    PREFACE,
    RST_STREAM,
    SETTINGS,
    WINDOW_UPDATE,
    Line,
    frame,
    gzipped,
    message,
    settings,
)

log.configure("critical")


class Strict:
    """What a connection logs: a fault of the client is none of ours, an error is a finding."""

    def debug(self, *_: object, **__: object) -> None: ...

    def error(self, *_: object, exc_info: BaseException, **__: object) -> None:
        raise exc_info


STRICT = Strict()

IN_FLIGHT_MAX = 8
HELD_BYTES_MAX = 20_000
MESSAGE_BYTES_MAX = 4096
CHUNK_BYTES_MAX = 1 << 17


def literal(fields: dict[str, str]) -> bytes:
    """A block of headers that needs no table."""
    out = b""
    for name, value in fields.items():
        out += b"\0" + bytes([len(name)]) + name.encode() + bytes([len(value)]) + value.encode()
    return out


def block(path: str, **more: str) -> bytes:
    usual = {":method": "POST", ":scheme": "http", ":path": path, "content-type": "application/grpc"}
    return literal(usual | {name.replace("_", "-"): value for name, value in more.items()})


BLOCKS = (
    block("/t/Echo"),
    block("/t/Hang", grpc_timeout="20m"),
    block("/t/Fail"),
    block("/t/Talk"),
    block("/t/Eager", grpc_timeout="1S"),
    block("/t/Echo", grpc_encoding="gzip"),
    block("/t/Talk", grpc_encoding="deflate"),
    block("/t/Nope", content_type="text/plain"),
    block("/t/Echo", grpc_encoding="snappy"),
    block("/t/Hang", grpc_timeout="x"),
    literal({":method": "GET", ":scheme": "http", ":path": "/t/Echo"}),
    block("/t/Echo", x_long="y" * 120),
)
MESSAGES = (
    message(b""),
    message(b"hello"),
    message(b"wrong"),
    message(gzipped(b"\0" * 9000), flag=1),
    message(b"x" * 2000),
)


class Talk:
    def __init__(self, call: StreamCall) -> None:
        self.call = call
        self.room: Deferred | None = None
        self.ends = 0

    def on_message(self, payload: bytes) -> Deferred | None:
        assert not self.ends, "the call is over"
        assert len(payload) <= MESSAGE_BYTES_MAX
        if payload == b"wrong":
            raise RpcError(Code.INVALID_ARGUMENT, "wrong")
        self.call.send(payload if len(payload) % 2 else lambda: payload)
        return self.room

    def on_half_close(self) -> None:
        assert not self.ends
        self.call.finish()

    def on_cancel(self) -> None:
        self.ends += 1


class Service:
    """As far as connections need one. Any exception that is no ``RpcError`` is a finding."""

    def __init__(self) -> None:
        self.now_ns = 10**18
        self.state = State.SERVING
        self.in_flight = InFlight(IN_FLIGHT_MAX)
        self.wrong: list[BaseException] = []  # exceptions where none may be
        self.hanging: list[Deferred] = []
        self.talks: list[Talk] = []
        self.turn: Turn | None = None
        self.clock = SimpleNamespace(now_ns=lambda: self.now_ns)
        self.metrics = SimpleNamespace(answers_of=lambda path: AnswerCounts())
        self.table: MethodTable = {
            "/t/Echo": Unary(lambda payload, context: payload),
            "/t/Hang": Unary(self._hang),
            "/t/Fail": Unary(self._fail),
            "/t/Talk": Stream(self._talk),
            "/t/Eager": Stream(self._talk, reads_on=True),
        }

    def admit(self, entry: Unary) -> None:
        if not self.in_flight.try_enter():
            raise self.overloaded()

    def overloaded(self) -> RpcError:
        retry = error_details_pb2.RetryInfo()
        return RpcError(Code.RESOURCE_EXHAUSTED, "too many calls in flight; retry later", (retry,))

    def release(self, entry: Unary) -> None:
        self.in_flight.leave()
        assert self.in_flight.count >= 0

    def unary(self, entry: Unary, payload: bytes, context: CallContext, *, short_asked: bool = False) -> Any:
        assert len(payload) <= MESSAGE_BYTES_MAX
        return entry.handle(payload, context)

    def open_stream(self, entry: Stream, call: StreamCall, context: CallContext) -> Any:
        return entry.open(context, call)

    def as_rpc_error(self, error: BaseException, context: CallContext) -> RpcError:
        if isinstance(error, RpcError):
            return error
        self.wrong.append(error)
        return RpcError(Code.INTERNAL, "internal error")

    def _hang(self, payload: bytes, context: CallContext) -> Deferred:
        if self.turn is None:
            self.turn = Turn()
        self.hanging.append(Deferred(self.turn))
        return self.hanging[-1]

    def _fail(self, payload: bytes, context: CallContext) -> bytes:
        raise RpcError(Code.INVALID_ARGUMENT, "no, naïve")

    def _talk(self, context: CallContext, call: StreamCall) -> Any:
        self.talks.append(Talk(call))
        return self.talks[-1]


def frames_of(source: Bytes, number: int) -> bytes:
    """One frame or a few of a call, near what a client would send; ``number`` is the newest stream."""
    what = source.byte()
    stream = number if what & 1 else source.byte()
    kind = what >> 1 & 15
    if kind < 4:
        return frame(DATA, source.byte() & 1, stream, MESSAGES[source.byte() % len(MESSAGES)])
    if kind == 4:
        return frame(DATA, source.byte(), stream, source.take(source.byte()))
    if kind == 5:
        return frame(RST_STREAM, 0, stream, struct.pack(">I", source.byte()))
    if kind == 6:
        return frame(WINDOW_UPDATE, 0, stream, source.take(4))
    if kind == 7:
        return frame(SETTINGS, source.byte() & 1, 0, source.take(source.byte()))
    if kind == 8:
        return frame(PING, source.byte() & 1, 0, source.take(8))
    if kind == 9:
        cut = source.byte()
        whole = BLOCKS[source.byte() % len(BLOCKS)]
        return frame(HEADERS, 0, stream, whole[:cut]) + frame(CONTINUATION, END_HEADERS, stream, whole[cut:])
    if kind == 10:
        return frame(source.byte(), source.byte(), stream, source.take(source.byte()))
    if kind == 11:
        return source.take(source.byte())
    if kind == 12:
        return frame(HEADERS, END_HEADERS | 1, stream, source.take(source.byte()))
    return frame(DATA, 0, stream, message(source.take(source.byte()))) * (1 + source.byte() % 8)


def run(data: bytes) -> None:
    usual = native_connection._log  # type: ignore[attr-defined]
    native_connection._log = STRICT  # type: ignore[attr-defined]
    try:
        _run(data)
    finally:
        native_connection._log = usual  # type: ignore[attr-defined]


def _run(data: bytes) -> None:
    source = Bytes(data)
    service = Service()
    first = source.byte()
    desk = Desk(
        service, service.table, message_bytes_max=MESSAGE_BYTES_MAX, streams_max=8, held_bytes_max=HELD_BYTES_MAX,
        keepalive_s=30.0, keepalive_timeout_s=10.0, client_ping_s=5.0, age_s=40.0, age_grace_s=5.0,
        overload_turn_ns=1 if first & 16 else 10**9,
    )  # fmt: skip
    desk.now_s = 1000.0
    line = Line(lambda loop: Connection(desk, loop), greet=False)  # type: ignore[arg-type]
    line.say(
        b""
        if first & 1
        else PREFACE + settings(initial_window_size=source.number(2))
        if first & 2
        else PREFACE + settings()
    )
    pieces = (0, 1, 7, 60)[first >> 2 & 3]
    number = -1
    for _ in range(200):
        if not source or line.wire.closed:
            break
        what = source.byte()
        if what < 80:
            number += 2
            end = what & 1
            line.say(frame(HEADERS, END_HEADERS | end, number, BLOCKS[source.byte() % len(BLOCKS)]), pieces)
        elif what < 190:
            line.say(frames_of(source, max(number, 1)), pieces)
        elif what < 205:
            beside(source, service, line)
        elif what < 215:
            later_s = desk.now_s + source.byte() / 10
            service.now_ns += source.byte() * 1_000_000
            sweep(desk, later_s, service.now_ns)
        elif what < 235:
            line.turn()
        elif what < 240:
            line.connection.pause_writing()
        elif what < 248:
            line.connection.resume_writing()
        else:
            line.say(b"".join(frames_of(source, max(number, 1)) for _ in range(what - 246)), pieces)
        assert desk.held_bytes <= HELD_BYTES_MAX + CHUNK_BYTES_MAX
        assert 0 <= service.in_flight.count <= IN_FLIGHT_MAX
    line.hear()
    assert not line.client._rest, "frames leave whole"
    line.lose()
    for answer in service.hanging:
        answer.resolve(b"late")
    if service.turn is not None:
        service.turn.over()
    line.loop.turn()
    if service.wrong:
        raise service.wrong[0]
    assert service.in_flight.count == 0
    assert desk.held_bytes == 0
    assert not desk.conversations and not desk.connections
    assert all(talk.ends == 1 for talk in service.talks)


def beside(source: Bytes, service: Service, line: Line) -> None:
    """What handlers and the server do meanwhile."""
    what = source.byte()
    if what < 80 and service.hanging:
        service.hanging[source.byte() % len(service.hanging)].resolve(
            RpcError(Code.UNAVAILABLE, "not now") if what & 1 else bytes(source.byte() * 20)
        )
    elif what < 120 and service.turn is not None:
        turn, service.turn = service.turn, None
        turn.over()
    elif what < 220 and service.talks:
        talk = service.talks[source.byte() % len(service.talks)]
        if what < 150:
            talk.call.send(bytes(source.number(2)))
        elif what < 170:
            talk.call.finish(RpcError(Code.ABORTED, "that is all") if what & 1 else None)
        elif talk.room is None:
            talk.room = Deferred()
        else:
            talk.room.resolve(b"")
            talk.room = None
    elif what < 230:
        line.connection.leave()
    elif what < 240:
        line.connection.refuse_new()
    elif what < 243:
        line.connection.cut_off()


def seeds() -> Iterator[bytes]:
    echo = bytes((10, 0, 81, 1 << 1 | 1, 0, 1))  # opened, a message
    hang = bytes((10, 1, 81, 3, 1, 1))
    talk = bytes((10, 3, 81, 3, 0, 1, 81, 3, 0, 0, 81, 3, 1, 1))
    gzip = bytes((10, 5, 81, 3, 1, 3))
    settle = bytes((190, 2, 0, 10, 190, 100, 216))
    yield bytes((0,)) + echo * 20
    yield bytes((0,)) + hang * 5 + settle * 5
    yield bytes((2, 10, 0)) + talk + echo + bytes((81, 13, 0, 0, 1, 0)) * 5
    yield bytes((4,)) + gzip * 3 + talk
    yield bytes((0,)) + talk + bytes((205, 200, 200)) * 3 + bytes((190, 160, 0)) + bytes((216,))
    yield bytes((0,)) + echo + bytes((236,)) + echo + talk + bytes((242,)) + echo
    yield bytes((0,)) + bytes((81, 17, 0, 49, 50, 51, 52, 53, 54, 55, 56)) * 5
    yield bytes((0,)) + bytes((81, 19, 10, 0)) * 5 + echo
    yield bytes((0,)) + talk + bytes((190, 225, 205, 5, 5)) + talk + bytes((190, 235)) + settle
    yield bytes((16,)) + echo * 20 + bytes((216,)) + (echo + hang) * 3 + bytes((216, 190, 0, 10, 216))
    yield bytes((0,)) + hang * 9 + echo * 4 + bytes((216,)) + settle + echo
    # A window of 3 bytes, or of none that is opened later.
    yield (
        bytes((2, 0, 3))
        + (echo + hang + talk) * 3
        + settle
        + bytes((81, 13, 0, 0, 0, 9, 205, 210, 0, 216)) * 3
    )
    yield bytes((2, 0, 0)) + echo * 12 + talk + bytes((81, 15, 0, 6, 0, 4, 0, 0, 0, 99, 216)) + settle
    yield bytes((1,)) + b"\xbc\x16\x0cGET / HTTP/1"


http2 = Target(
    run, seeds, words=(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", b"/t/Talk", b"grpc-timeout", b"\x1f\x8b\x08")
)
