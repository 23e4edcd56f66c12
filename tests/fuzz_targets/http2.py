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
    END_STREAM,
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

IN_FLIGHT_MAX = 4
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
    usual = {
        ":method": "POST", ":scheme": "http", ":path": path, ":authority": "test", "content-type": "application/grpc",
    }  # fmt: skip
    return literal(usual | {name.replace("_", "-"): value for name, value in more.items()})


def text(value: str) -> bytes:
    return bytes([len(value)]) + value.encode()


TABLE_ECHO = b"\x83\x86\x01" + text("test") + b"\x44" + text("/t/Echo") + b"\x5f" + text("application/grpc")
"""Puts two fields into the decoder's table: the path, then the content type."""
INDEXED = b"\x83\x86\x01" + text("test") + b"\xbf\xbe"
"""Whatever was put into the table last but one is the path."""

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
    literal({":method": "GET", ":scheme": "http", ":path": "/t/Echo", ":authority": "test"}),
    block("/t/Echo", x_long="y" * 120),
    TABLE_ECHO,
    INDEXED,
    TABLE_ECHO.replace(b"Echo", b"Kill"),
    block("/t/Kill"),
    b"\x20\x3f\xe1\x1f" + block("/t/Echo"),
    block("/t/Echo", grpc_timeout="30m"),
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
            "/t/Kill": Unary(lambda payload, context: payload, bounded=False),
            "/t/Hang": Unary(self._hang),
            "/t/Fail": Unary(self._fail),
            "/t/Talk": Stream(self._talk),
            "/t/Eager": Stream(self._talk, reads_on=True),
        }

    def admit(self, entry: Unary) -> None:
        if entry.needs_serving and self.state is not State.SERVING:
            raise RpcError(Code.UNAVAILABLE, "the service is draining")
        if entry.bounded and not self.in_flight.try_enter():
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


class Speaker:
    """A client's bytes, cut as the input says. The end of what was said last may wait for what is said next."""

    def __init__(self, line: Line, source: Bytes, *, pieces: int, cuts: bool) -> None:
        self.line, self.source = line, source
        self.pieces, self.cuts = pieces, cuts
        self.waiting = b""
        self.newest = -1

    def say(self, data: bytes) -> None:
        data, self.waiting = self.waiting + data, b""
        if self.cuts:
            cut = max(len(data) - self.source.byte(), 0)
            data, self.waiting = data[:cut], data[cut:]
        self.line.say(data, self.pieces)

    def begin(self, what: int, *, ends: bool = False) -> bytes:
        """HEADERS of the next call."""
        self.newest += 2
        return frame(HEADERS, END_HEADERS | ends, self.newest, BLOCKS[(what & 31) % len(BLOCKS)])

    def calls(self, what: int, payload: bytes) -> bytes:
        """Up to eight whole calls that begin with the same bytes."""
        return b"".join(
            self.begin(what) + frame(DATA, END_STREAM, self.newest, payload) for _ in range(1 + (what >> 5))
        )


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
    speaker = Speaker(line, source, pieces=(0, 1, 7, 60)[first >> 2 & 3], cuts=bool(first & 64))
    if first & 32:  # overloaded from the start
        line.say(b"".join(speaker.calls(0, MESSAGES[0]) for _ in range(IN_FLIGHT_MAX + 1)))
        line.turn()
    for _ in range(200):
        if not source or line.wire.closed:
            break
        what = source.byte()
        if what < 40:
            speaker.say(speaker.begin(source.byte(), ends=bool(what & 1)))
        elif what < 100:
            speaker.say(speaker.calls(source.byte(), MESSAGES[what % len(MESSAGES)]))
        elif what < 190:
            speaker.say(frames_of(source, max(speaker.newest, 1)))
        elif what < 205:
            beside(source, service, desk, line)
        elif what < 215:
            # Seldom so much that overload, which wants calls to go on, is over.
            later_s = desk.now_s + source.byte() / (10 if what < 208 else 5000)
            service.now_ns += source.byte() * 1_000_000
            sweep(desk, later_s, service.now_ns)
        elif what < 235:
            line.turn()
        elif what < 240:
            line.connection.pause_writing()
        elif what < 248:
            line.connection.resume_writing()
        else:
            data = b""
            for _ in range(what - 246):
                kind = source.byte()
                data += (
                    speaker.calls(kind, MESSAGES[1])
                    if kind % 3
                    else frames_of(source, max(speaker.newest, 1))
                )
            speaker.say(data)
        assert desk.held_bytes <= HELD_BYTES_MAX + CHUNK_BYTES_MAX
        assert 0 <= desk.sifted_bytes <= HELD_BYTES_MAX
        assert 0 <= service.in_flight.count <= IN_FLIGHT_MAX
    line.hear()
    assert not line.client._rest, "frames leave whole"
    nothing_behind_the_end(line)
    line.lose()
    for answer in service.hanging:
        answer.resolve(b"late")
    if service.turn is not None:
        service.turn.over()
    line.loop.turn()
    if service.wrong:
        raise service.wrong[0]
    assert service.in_flight.count == 0
    assert desk.held_bytes == 0 and desk.sifted_bytes == 0
    assert not desk.conversations and not desk.connections
    assert all(talk.ends == 1 for talk in service.talks)


def nothing_behind_the_end(line: Line) -> None:
    """Each call ends once: behind END_STREAM, or a reset, nothing is said of it."""
    over: set[int] = set()
    for each in line.client.frames:
        if each.stream and each.kind in (HEADERS, DATA):
            assert each.stream not in over, each
            if each.flags & END_STREAM:
                over.add(each.stream)
        elif each.kind == RST_STREAM:
            over.add(each.stream)


def beside(source: Bytes, service: Service, desk: Desk, line: Line) -> None:
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
    elif what < 247:
        desk.draining = True
        service.state = State.DRAINING


def seeds() -> Iterator[bytes]:
    echo = bytes((10, 0, 101, 1 << 1 | 1, 0, 1))  # opened, a message
    hang = bytes((10, 1, 101, 3, 1, 1))
    talk = bytes((10, 3, 101, 3, 0, 1, 101, 3, 0, 0, 101, 3, 1, 1))
    gzip = bytes((10, 5, 101, 3, 1, 3))
    settle = bytes((190, 2, 0, 10, 190, 100, 216))
    yield bytes((0,)) + echo * 20
    yield bytes((0,)) + hang * 5 + settle * 5
    yield bytes((2, 10, 0)) + talk + echo + bytes((101, 13, 0, 0, 1, 0)) * 5
    yield bytes((4,)) + gzip * 3 + talk
    yield bytes((0,)) + talk + bytes((205, 200, 200)) * 3 + bytes((190, 160, 0)) + bytes((216,))
    yield bytes((0,)) + echo + bytes((236,)) + echo + talk + bytes((242,)) + echo
    yield bytes((0,)) + bytes((101, 17, 0, 49, 50, 51, 52, 53, 54, 55, 56)) * 5
    yield bytes((0,)) + bytes((101, 19, 10, 0)) * 5 + echo
    yield bytes((0,)) + talk + bytes((190, 225, 205, 5, 5)) + talk + bytes((190, 235)) + settle
    yield bytes((16,)) + echo * 20 + bytes((216,)) + (echo + hang) * 3 + bytes((216, 190, 0, 10, 216))
    yield bytes((0,)) + hang * 9 + echo * 4 + bytes((216,)) + settle + echo
    # A window of 3 bytes, or of none that is opened later.
    yield (
        bytes((2, 0, 3))
        + (echo + hang + talk) * 3
        + settle
        + bytes((101, 13, 0, 0, 0, 9, 205, 210, 0, 216)) * 3
    )
    yield bytes((2, 0, 0)) + echo * 12 + talk + bytes((101, 15, 0, 6, 0, 4, 0, 0, 0, 99, 216)) + settle
    yield bytes((1,)) + b"\xbc\x16\x0cGET / HTTP/1"
    # Overloaded: calls are held back, refused and passed on, whole and cut, with frames of other kinds between them.
    calls = bytes((41, 7 << 5))
    ping, reset, smaller = (
        bytes((101, 16, 1, 0)) + bytes(8),
        bytes((101, 11, 8)),
        bytes((101, 15, 0, 6, 0, 1, 0, 0, 0, 0)),
    )
    for first in (32, 48):
        yield bytes((first,)) + (calls * 3 + bytes((216,))) * 4
        yield bytes((first,)) + (calls + ping + calls + reset + bytes((216,))) * 4
        yield bytes((first,)) + (calls + talk + calls + bytes((41, 15)) + calls + bytes((216,))) * 3
        yield bytes((first,)) + (calls + bytes((236,)) + calls + bytes((216, 241, 216))) * 3
        yield bytes((first,)) + calls + smaller + calls + bytes((216,)) + calls * 2 + bytes((216,))
        yield bytes((first,)) + calls * 2 + bytes((190, 225, 208, 1, 1)) + calls + bytes((190, 235, 216))
        yield bytes((first,)) + calls * 2 + bytes((190, 243)) + calls + bytes((216, 190, 241))
        # The same bytes, and another path each time.
        yield bytes((first, 41, 12, 216, 41, 13 + 32, 216, 41, 14, 216)) + bytes((41, 13 + 96, 216)) * 3
        yield bytes((first | 64,)) + bytes((41, 224, 30, 41, 224, 3, 41, 224, 70, 216)) * 5
        yield bytes((first | 4,)) + (calls + bytes((216,))) * 3


http2 = Target(
    run, seeds, words=(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", b"/t/Talk", b"grpc-timeout", b"\x1f\x8b\x08")
)
