"""What benches count of a load is what the service did."""

import contextlib
import socket
import threading
import time
from collections.abc import Iterator

import pytest

from quotelife_server.cli.bench_caller import Caller, closed_loop, open_loop
from quotelife_server.cli.bench_http2 import (
    ACK,
    DATA,
    END_HEADERS,
    END_STREAM,
    GOAWAY,
    HEAD,
    HEADERS,
    PING,
    PREFACE,
    RST_STREAM,
    SETTINGS,
    frame,
)

REFUSED = 3  # every third call, by trailers alone; ...
RESET = 5  # ... every fifth of the others by a reset
PIECE = 37  # bytes of a write: frames are cut anywhere


class Servant(threading.Thread):
    """Answers, refuses and resets calls by their place, and asks whether the client is there."""

    def __init__(self) -> None:
        super().__init__(daemon=True)
        self._listener = socket.create_server(("127.0.0.1", 0))
        self._listener.settimeout(10)
        self.address = self._listener.getsockname()
        self.calls = self.answered = self.refused = self.pongs = 0
        self.goaway_after = 1 << 30
        self.start()

    def run(self) -> None:
        with (
            self._listener,
            self._listener.accept()[0] as client,
            contextlib.suppress(ConnectionError),  # the caller may go at any time
        ):
            client.settimeout(10)
            client.sendall(frame(SETTINGS))
            data = b""
            while new := client.recv(65_536):
                data += new
                if data.startswith(PREFACE):
                    data = data[len(PREFACE) :]
                out = b""
                while len(data) >= HEAD.size:
                    high, low, kind, flags, stream = HEAD.unpack_from(data)
                    size = HEAD.size + (high << 8 | low)
                    if len(data) < size:
                        break
                    data = data[size:]
                    self.pongs += kind == PING and bool(flags & ACK)
                    if kind == DATA and flags & END_STREAM:
                        out += self._response(stream)
                for at in range(0, len(out), PIECE):
                    client.sendall(out[at : at + PIECE])

    def _response(self, stream: int) -> bytes:
        place = self.calls
        self.calls += 1
        assert stream == 2 * place + 1
        if place >= self.goaway_after:
            return frame(GOAWAY, 0, 0, bytes(8))
        ping = frame(PING, 0, 0, b"are you?")
        if place % REFUSED == 0:
            self.refused += 1
            return frame(HEADERS, END_HEADERS | END_STREAM, stream, b"\x88") + ping
        if place % RESET == 0:
            self.refused += 1
            return frame(RST_STREAM, 0, stream, bytes(4))
        self.answered += 1
        return (
            frame(HEADERS, END_HEADERS, stream, b"\x88")
            + frame(DATA, 0, stream, b"\0\0\0\0\2ok")
            + frame(HEADERS, END_HEADERS | END_STREAM, stream, b"\x88")
        )


@pytest.fixture
def servant() -> Iterator[Servant]:
    made = Servant()
    yield made
    made.join(10)


@pytest.mark.parametrize("known", [True, False])
def test_a_closed_loop_counts_what_came(servant: Servant, known: bool) -> None:
    caller = Caller(servant.address, "/a/B", b"request", known=known)
    load = closed_loop([caller], 7, 0.2)
    again = closed_loop([caller], 7, 0.1)
    caller.close()
    servant.join(10)
    assert load.sent + again.sent == servant.calls > 50
    assert load.answered + again.answered == servant.answered
    assert load.refused + again.refused == servant.refused
    assert load.unanswered == again.unanswered == 0
    assert servant.pongs > 0


def test_an_open_loop_takes_times_from_the_instant_a_call_was_due(servant: Servant) -> None:
    caller = Caller(servant.address, "/a/B", b"request")
    began_ns = time.monotonic_ns()
    load = open_loop([caller], 2000.0, 0.5, 1)
    took_ns = time.monotonic_ns() - began_ns
    caller.close()
    servant.join(10)
    assert load.sent == servant.calls == 1000
    assert (load.answered, load.refused, load.unanswered) == (servant.answered, servant.refused, 0)
    assert len(load.latency_ns) == len(load.due_ns) == load.answered and len(load.refusal_ns) == load.refused
    assert (load.latency_ns > 0).all() and (load.refusal_ns > 0).all() and (load.late_ns >= 0).all()
    assert (load.due_ns + load.latency_ns <= took_ns).all()
    assert began_ns <= load.began_ns <= began_ns + took_ns
    # Random arrivals: the standard deviation of 1,000 gaps of 0.5 ms is near their mean.
    assert 0.3 < load.due_ns[-1] / 1e9 < 0.7


def test_a_connection_that_ends_ends_the_load(servant: Servant) -> None:
    caller = Caller(servant.address, "/a/B", b"request")
    servant.goaway_after = 20
    with pytest.raises(ConnectionError, match="GOAWAY"):
        closed_loop([caller], 4, 5.0)
    caller.close()


def test_load_needs_callers() -> None:
    with pytest.raises(ValueError, match="between 1 and 64"):
        closed_loop([], 1, 0.1)
