"""HTTP/2 clients by hand for benches: what makes load must cost less than what is measured.

Headers are literals the first time and one byte each from then on, as usual clients send them. Responses are told apart
by their frames: one with DATA is an answer, one whose headers end the stream is a refusal.
"""

import select
import socket
import struct
import time
from dataclasses import dataclass, field

import numpy as np

PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
DATA, HEADERS, PRIORITY, RST_STREAM, SETTINGS, _, PING, GOAWAY, WINDOW_UPDATE, CONTINUATION = range(10)
END_STREAM, ACK, END_HEADERS = 0x1, 0x1, 0x4
CANCEL = 8
WINDOW_MAX = 2**31 - 1
INITIAL_WINDOW_SIZE = 4
HEAD = struct.Struct(">HBBBI")
OPEN_MAX = 1000  # calls of one connection: services say 1,024
READ_BYTES = 262_144
ANSWER_S = 10.0  # who has not been answered by then never is
SPIN_S = 0.000_2  # a sleep may take so much longer than it was asked to

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


SAME_TABLE_SIZE = b"\x3f\xe1\x1f"
"""Before a block: the table shall hold 4,096 bytes, as it does. Only who decodes it knows that nothing has changed."""


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


class Caller:
    """One connection: calls of one method out, what came of them in. Sockets do not block."""

    def __init__(self, address: Address, path: str, payload: bytes, *, known: bool = True) -> None:
        """``known``: the headers of all calls but the first are the same bytes, and say that they mean the same."""
        self.socket = connect(address, setting(INITIAL_WINDOW_SIZE, WINDOW_MAX))
        self.socket.setblocking(False)
        body = message(payload)
        self._first = first_block(path)
        self._next = NEXT_BLOCK if known else SAME_TABLE_SIZE + NEXT_BLOCK
        self._headers = HEAD.pack(0, len(self._next), HEADERS, END_HEADERS, 0)[:5]
        self._data = HEAD.pack(len(body) >> 8, len(body) & 0xFF, DATA, END_STREAM, 0)[:5]
        self._body = body
        self._out = b""
        self._in = b""
        self._with_data: set[int] = set()
        self.calls = 0  # asked for; those beyond ``OPEN_MAX`` wait here, as with any client
        self._sent = self._over = 0
        self.lost = ""

    def call(self, n: int) -> None:
        """So many more calls; the k-th of a connection is stream ``2 * k + 1``."""
        self.calls += n
        self._send()

    def _send(self) -> None:
        n = min(self.calls - self._sent, OPEN_MAX - (self._sent - self._over))
        if n <= 0:
            return
        parts = [self._out]
        for number in range(2 * self._sent + 1, 2 * (self._sent + n) + 1, 2):
            stream = number.to_bytes(4, "big")
            if number == 1:
                parts.append(frame(HEADERS, END_HEADERS, 1, self._first))
                parts += (self._data, stream, self._body)
            else:
                parts += (self._headers, stream, self._next, self._data, stream, self._body)
        self._sent += n
        self._out = b"".join(parts)
        self.flush()

    def flush(self) -> None:
        """As much as the socket takes."""
        while self._out and not self.lost:
            try:
                sent = self.socket.send(self._out)
            except BlockingIOError:
                return
            except OSError as error:
                self.lost = str(error)
                return
            self._out = self._out[sent:]

    def read(self) -> tuple[list[int], list[int]]:
        """Calls that were answered, and that were refused, by their place in the order of calls."""
        answered: list[int] = []
        refused: list[int] = []
        try:
            new = self.socket.recv(READ_BYTES)
        except BlockingIOError:
            return answered, refused
        except OSError as error:
            self.lost = str(error)
            return answered, refused
        if not new:
            self.lost = "closed by the service"
            return answered, refused
        data = self._in + new
        at, end = 0, len(data)
        while end - at >= 9:
            high, low, kind, flags, stream = HEAD.unpack_from(data, at)
            after = at + 9 + (high << 8 | low)
            if after > end:
                break
            if kind == DATA:
                self._with_data.add(stream)
            elif kind == HEADERS:
                if flags & END_STREAM:
                    if stream in self._with_data:
                        self._with_data.discard(stream)
                        answered.append(stream >> 1)
                    else:
                        refused.append(stream >> 1)
            elif kind == RST_STREAM:
                refused.append(stream >> 1)
            elif kind in (SETTINGS, PING) and not flags & ACK:
                self._out += frame(kind, ACK, 0, b"" if kind == SETTINGS else data[at + 9 : after])
                self.flush()
            elif kind == GOAWAY:
                self.lost = f"GOAWAY {data[at + 9 : after]!r}"
            at = after
        self._in = data[at:]
        self._over += len(answered) + len(refused)
        self._send()
        return answered, refused

    def close(self) -> None:
        self.socket.close()


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


def closed_loop(callers: list[Caller], in_flight: int, seconds: float) -> Load:
    """``in_flight`` calls under way, over all connections, the next as soon as one is over."""
    began_s = time.monotonic()
    answered = refused = 0
    before = sum(caller.calls for caller in callers)
    for k, caller in enumerate(callers):
        caller.call(in_flight // len(callers) + (k < in_flight % len(callers)))
    by_socket = {caller.socket: caller for caller in callers}
    open_ = sum(caller.calls for caller in callers) - before
    while open_:
        ready, _, _ = select.select(list(by_socket), [], [], ANSWER_S)
        if not ready:
            break
        going_on = time.monotonic() - began_s < seconds
        for each in ready:
            caller = by_socket[each]
            good, bad = caller.read()
            _must_live(caller)
            answered, refused = answered + len(good), refused + len(bad)
            over = len(good) + len(bad)
            open_ -= over
            if over and going_on:
                caller.call(over)
                open_ += over
            caller.flush()
    took = time.monotonic() - began_s
    sent = sum(caller.calls for caller in callers) - before
    nothing = np.zeros(0)
    return Load(took, sent, answered, refused, open_, nothing, nothing, nothing, nothing)


def open_loop(callers: list[Caller], rate: float, seconds: float, seed: int) -> Load:
    """Calls at random instants (Poisson), ``rate`` a second on average, whatever becomes of those before."""
    rng = np.random.default_rng(seed)
    due_ns = np.cumsum(rng.exponential(1e9 / rate, int(rate * seconds))).astype(np.int64)
    n, k = len(due_ns), len(callers)
    bases = [caller.calls for caller in callers]
    done_ns = np.zeros(n, np.int64)
    left_ns = np.zeros(n, np.int64)
    good = np.zeros(n, np.bool_)
    by_socket = {caller.socket: place for place, caller in enumerate(callers)}
    sockets = list(by_socket)
    sent = over = 0
    began_ns = time.monotonic_ns()
    last_ns = int(due_ns[-1])
    while over < n:
        now_ns = time.monotonic_ns() - began_ns
        due = int(np.searchsorted(due_ns, now_ns, "right"))
        if due > sent:
            for place, caller in enumerate(callers):
                # Call i goes by connection i % k.
                count = (due - place + k - 1) // k - (sent - place + k - 1) // k
                if count:
                    caller.call(count)
            left_ns[sent:due] = now_ns
            sent = due
        if sent < n:
            wait_s = max(0.0, (int(due_ns[sent]) - (time.monotonic_ns() - began_ns)) / 1e9 - SPIN_S)
        else:
            wait_s = 0.1
            if now_ns > last_ns + ANSWER_S * 1e9:
                break
        ready, _, _ = select.select(sockets, [], [], wait_s)
        for each in ready:
            place = by_socket[each]
            caller = callers[place]
            answers, refusals = caller.read()
            _must_live(caller)
            caller.flush()
            now_ns = time.monotonic_ns() - began_ns
            base = bases[place]
            for numbers, is_good in ((answers, True), (refusals, False)):
                for number in numbers:
                    i = (number - base) * k + place
                    done_ns[i] = now_ns
                    good[i] = is_good
                over += len(numbers)
        if not ready:
            for caller in callers:
                caller.flush()
    done = done_ns > 0
    latency_ns = done_ns - due_ns
    return Load(
        (time.monotonic_ns() - began_ns) / 1e9,
        n,
        int(np.count_nonzero(done & good)),
        int(np.count_nonzero(done & ~good)),
        int(n - np.count_nonzero(done)),
        latency_ns[done & good],
        latency_ns[done & ~good],
        left_ns - due_ns,
        due_ns[done & good],
        began_ns,
    )


def _must_live(caller: Caller) -> None:
    if caller.lost:
        raise ConnectionError(f"the service ended a connection of the load: {caller.lost}")
