"""HTTP/2 by hand for benches: frames, blocks of headers, connections, and what came of a load."""

import socket
import struct
from dataclasses import dataclass, field

import numpy as np

PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
DATA, HEADERS, PRIORITY, RST_STREAM, SETTINGS, _, PING, GOAWAY, WINDOW_UPDATE, CONTINUATION = range(10)
END_STREAM, ACK, END_HEADERS = 0x1, 0x1, 0x4
WINDOW_MAX = 2**31 - 1
INITIAL_WINDOW_SIZE = 4
HEAD = struct.Struct(">HBBBI")

Address = tuple[str, int] | str
"""Host and port, or the path of a Unix socket."""


def frame(kind: int, flags: int = 0, stream: int = 0, payload: bytes = b"") -> bytes:
    size = len(payload)
    return HEAD.pack(size >> 8, size & 0xFF, kind, flags, stream) + payload


def setting(identifier: int, value: int) -> bytes:
    return frame(SETTINGS, 0, 0, struct.pack(">HI", identifier, value))


def window_update(stream: int, size: int) -> bytes:
    return frame(WINDOW_UPDATE, 0, stream, struct.pack(">I", size))


def message(payload: bytes, *, compressed: bool = False) -> bytes:
    """With gRPC's prefix."""
    return struct.pack(">BI", compressed, len(payload)) + payload


def literal(name: bytes, value: bytes, *, indexed: bool = False) -> bytes:
    """A header field, kept in the table where it is ``indexed``."""
    return (b"\x40" if indexed else b"\x00") + _text(name) + _text(value)


def _text(value: bytes) -> bytes:
    if len(value) < 127:
        return bytes((len(value),)) + value
    rest, out = len(value) - 127, b"\x7f"
    while rest >= 128:
        out += bytes((rest & 127 | 128,))
        rest >>= 7
    return out + bytes((rest,)) + value


def first_block(path: str) -> bytes:
    """Of the first call of a connection: its fields are in the table from then on."""
    return (
        b"\x83\x86\x44"
        + _text(path.encode())
        + b"\x41\x05bench\x5f\x10application/grpc"
        + literal(b"te", b"trailers", indexed=True)
    )


NEXT_BLOCK = b"\x83\x86\xc1\xc0\xbf\xbe"
"""Of all others to the same method, while nothing else has been put into the table."""


def plain_block(path: str, *more: bytes) -> bytes:
    """Of a call, with nothing kept in the table; ``more``: further fields."""
    return (
        b"\x83\x86\x04"
        + _text(path.encode())
        + b"\x01\x05bench\x0f\x10\x10application/grpc"
        + literal(b"te", b"trailers")
        + b"".join(more)
    )


def connect(address: Address, settings: bytes = frame(SETTINGS)) -> socket.socket:
    """A connection that has said who it is. Its receive windows are as wide as they can be."""
    if isinstance(address, str):
        made = socket.socket(socket.AF_UNIX)
        made.connect(address)
    else:
        made = socket.create_connection(address, 10)
        made.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    made.sendall(PREFACE + settings + window_update(0, WINDOW_MAX - 65_535))
    return made


@dataclass
class Load:
    """What came of a load. Latencies in ns, from the instant at which a call was due."""

    seconds: float
    sent: int
    answered: int
    refused: int
    unanswered: int
    latency_ns: np.ndarray = field(repr=False)
    refusal_ns: np.ndarray = field(repr=False)
    late_ns: np.ndarray = field(repr=False)  # calls that left later than they were due
    due_ns: np.ndarray = field(repr=False)  # of the answered ones, from ``began_ns`` (monotonic)
    began_ns: int = 0

    def percentile_us(self, p: float) -> float:
        """Of the answers."""
        return round(float(np.percentile(self.latency_ns, p)) / 1e3, 1) if len(self.latency_ns) else 0.0

    def late_p99_us(self) -> float:
        """By which the caller itself was late."""
        return round(float(np.percentile(self.late_ns, 99)) / 1e3, 1)
