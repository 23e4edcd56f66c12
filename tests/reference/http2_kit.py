"""HTTP/2 by hand: a client that says any bytes at all, a transport and an event loop without sockets."""

import struct
import zlib
from collections import deque
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Any

from hpack import Decoder, Encoder

PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
DATA, HEADERS, PRIORITY, RST_STREAM, SETTINGS, PUSH_PROMISE, PING, GOAWAY, WINDOW_UPDATE, CONTINUATION = (
    range(10)
)
END_STREAM, ACK, END_HEADERS, PADDED = 0x1, 0x1, 0x4, 0x8
NO_ERROR, PROTOCOL_ERROR, REFUSED_STREAM, CANCEL, ENHANCE_YOUR_CALM = 0x0, 0x1, 0x7, 0x8, 0xB
INITIAL_WINDOW_SIZE = 4
LAST_STREAM = 2**31 - 1


@dataclass(frozen=True)
class Frame:
    kind: int
    flags: int
    stream: int
    payload: bytes


@dataclass
class Response:
    """What has come of one call. ``trailers`` are the headers where there are no others."""

    headers: dict[str, str] = field(default_factory=dict)
    trailers: dict[str, str] = field(default_factory=dict)
    data: bytes = b""
    ended: bool = False
    reset: int | None = None

    @property
    def status(self) -> int:
        return int((self.trailers or self.headers)["grpc-status"])

    @property
    def message(self) -> str:
        return (self.trailers or self.headers).get("grpc-message", "")

    @property
    def messages(self) -> list[bytes]:
        found, at = [], 0
        while at < len(self.data):
            (size,) = struct.unpack_from(">I", self.data, at + 1)
            found.append(self.data[at + 5 : at + 5 + size])
            at += 5 + size
        return found


def frame(kind: int, flags: int = 0, stream: int = 0, payload: bytes = b"") -> bytes:
    return struct.pack(">I", len(payload))[1:] + struct.pack(">BBI", kind, flags, stream) + payload


def settings(**values: int) -> bytes:
    known = {"initial_window_size": INITIAL_WINDOW_SIZE, "max_frame_size": 5}
    return frame(SETTINGS, 0, 0, b"".join(struct.pack(">HI", known[k], v) for k, v in values.items()))


def window_update(stream: int, size: int) -> bytes:
    return frame(WINDOW_UPDATE, 0, stream, struct.pack(">I", size))


def rst_stream(stream: int, code: int = CANCEL) -> bytes:
    return frame(RST_STREAM, 0, stream, struct.pack(">I", code))


def message(payload: bytes, *, flag: int = 0) -> bytes:
    """With gRPC's prefix."""
    return struct.pack(">BI", flag, len(payload)) + payload


def gzipped(payload: bytes) -> bytes:
    packer = zlib.compressobj(9, zlib.DEFLATED, 31)
    return packer.compress(payload) + packer.flush()


class Client:
    """The client's half of a connection: makes bytes, and understands those that come."""

    def __init__(self) -> None:
        self.encoder = Encoder()
        self.decoder = Decoder()
        self.frames: list[Frame] = []
        self.responses: dict[int, Response] = {}
        self._rest = b""
        self._next = 1

    def headers(self, path: str, *more: tuple[str, str], **fields: str) -> list[tuple[str, str]]:
        """Of a gRPC call; ``fields`` replace or, where empty, remove what is usual."""
        usual = {
            ":method": "POST", ":scheme": "http", ":path": path, ":authority": "test",
            "te": "trailers", "content-type": "application/grpc",
        }  # fmt: skip
        replaced = {
            name.replace("_", "-").replace("method", ":method"): value for name, value in fields.items()
        }
        usual.update(replaced)
        return [*((name, value) for name, value in usual.items() if value), *more]

    def open(self, path: str, *more: tuple[str, str], end: bool = False, **fields: str) -> tuple[int, bytes]:
        """The next stream's number, and its HEADERS."""
        number = self._next
        self._next += 2
        block = self.encoder.encode(self.headers(path, *more, **fields))
        return number, frame(HEADERS, END_HEADERS | (END_STREAM if end else 0), number, block)

    def call(self, path: str, payload: bytes, *more: tuple[str, str], **fields: str) -> tuple[int, bytes]:
        """A whole unary call."""
        number, head = self.open(path, *more, **fields)
        return number, head + frame(DATA, END_STREAM, number, message(payload))

    def feed(self, data: bytes) -> list[Frame]:
        """The frames that these bytes bring; responses are kept."""
        self._rest += data
        found = []
        while len(self._rest) >= 9:
            size = int.from_bytes(self._rest[:3], "big")
            if len(self._rest) < 9 + size:
                break
            kind, flags, stream = struct.unpack(">BBI", self._rest[3:9])
            found.append(Frame(kind, flags, stream, self._rest[9 : 9 + size]))
            self._rest = self._rest[9 + size :]
        for each in found:
            self._take(each)
        self.frames += found
        return found

    def _take(self, each: Frame) -> None:
        if not each.stream:
            return
        response = self.responses.setdefault(each.stream, Response())
        if each.kind == HEADERS:
            assert each.flags & END_HEADERS
            fields = dict(self.decoder.decode(each.payload))
            if response.headers:
                response.trailers = fields
            else:
                response.headers = fields
        elif each.kind == DATA:
            response.data += each.payload
        elif each.kind == RST_STREAM:
            (response.reset,) = struct.unpack(">I", each.payload)
        if each.kind in (HEADERS, DATA) and each.flags & END_STREAM:
            response.ended = True

    def goaways(self) -> list[tuple[int, int, bytes]]:
        """Last stream, code and text of each GOAWAY."""
        found = [each.payload for each in self.frames if each.kind == GOAWAY]
        return [(*struct.unpack(">II", payload[:8]), payload[8:]) for payload in found]

    def count(self, kind: int, stream: int | None = None) -> int:
        return sum(each.kind == kind and stream in (None, each.stream) for each in self.frames)


class Wire:
    """An asyncio transport that only takes down what is done to it. ``full``: its buffer has no room."""

    def __init__(self, alpn: str | None = None) -> None:
        self.writes: list[bytes] = []
        self.reading = True
        self.ended = self.closed = self.aborted = False  # ended: nothing more is written, but still read
        self.protocol: Any = None
        self.full = False
        self._alpn = alpn

    def get_extra_info(self, name: str) -> Any:
        if name == "ssl_object" and self._alpn is not None:
            return self
        return ("127.0.0.1", 4711) if name == "peername" else None

    def selected_alpn_protocol(self) -> str | None:
        return self._alpn or None

    def set_write_buffer_limits(self, high: int) -> None:
        self.high = high

    def write(self, data: bytes) -> None:
        assert not self.aborted and not self.ended
        self.writes.append(bytes(data))
        if self.full:
            self.protocol.pause_writing()

    def pause_reading(self) -> None:
        self.reading = False

    def resume_reading(self) -> None:
        self.reading = True

    def is_closing(self) -> bool:
        return self.closed

    def get_write_buffer_size(self) -> int:
        return int(self.full)

    @property
    def over(self) -> bool:
        """The client hears nothing more."""
        return self.ended or self.closed

    def can_write_eof(self) -> bool:
        return self._alpn is None

    def write_eof(self) -> None:
        if self.closed:
            raise RuntimeError("it is closed")  # as uvloop's
        self.ended = True

    def close(self) -> None:
        self.closed = True

    def abort(self) -> None:
        self.closed = self.aborted = True


class Soon:
    """``call_soon`` of an event loop that turns when it is told to, and its ``time``."""

    def __init__(self) -> None:
        self.calls: deque[Callable[[], None]] = deque()
        self.now_s = 0.0

    def time(self) -> float:
        return self.now_s

    def call_soon(self, call: Callable[[], None]) -> None:
        self.calls.append(call)

    def turn(self) -> None:
        for _ in range(len(self.calls)):
            self.calls.popleft()()


class Line:
    """A client, a connection and nothing between them."""

    def __init__(
        self, connect: Callable[[Soon], Any], *, alpn: str | None = None, greet: bool = True
    ) -> None:
        self.client = Client()
        self.wire = Wire(alpn)
        self.loop = Soon()
        self.connection = connect(self.loop)
        self.wire.protocol = self.connection
        self.connection.connection_made(self.wire)
        self._seen = 0
        if greet:
            self.say(PREFACE + settings())

    def say(self, data: bytes, pieces: int = 0) -> list[Frame]:
        """The client's bytes, in chunks of ``pieces`` where it is said; what comes at once."""
        for chunk in _chunks(data, pieces):
            if self.wire.closed:
                break
            self.connection.data_received(chunk)
        return self.hear()

    def hear(self) -> list[Frame]:
        new = b"".join(self.wire.writes[self._seen :])
        self._seen = len(self.wire.writes)
        return self.client.feed(new)

    def turn(self) -> list[Frame]:
        """One turn of the event loop."""
        self.loop.turn()
        return self.hear()

    def call(self, path: str, payload: bytes, *more: tuple[str, str], **fields: str) -> Response:
        """A unary call that is answered at once."""
        number, data = self.client.call(path, payload, *more, **fields)
        self.say(data)
        return self.client.responses[number]

    def lose(self) -> None:
        self.connection.connection_lost(None)


def _chunks(data: bytes, size: int) -> Iterable[bytes]:
    if not size:
        return [data]
    return (data[at : at + size] for at in range(0, len(data), size))
