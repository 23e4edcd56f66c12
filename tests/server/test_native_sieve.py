"""Calls that are refused without being decoded: what is held back, what overtakes it, and that nothing else changes."""

import random
import struct
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hpack import Encoder, NeverIndexedHeaderTuple

from quotelife_server.handlers import Service
from quotelife_server.rpc import CallContext, Code, Deferred, MethodTable, State, Unary
from reference.http2_kit import (
    ACK,
    CONTINUATION,
    DATA,
    END_HEADERS,
    END_STREAM,
    GOAWAY,
    HEADERS,
    PING,
    PRIORITY,
    PROTOCOL_ERROR,
    REFUSED_STREAM,
    RST_STREAM,
    SETTINGS,
    WINDOW_UPDATE,
    Line,
    Response,
    frame,
    message,
    rst_stream,
    settings,
    window_update,
)
from reference.service_kit import Kit

pytest.importorskip("quotelife_server.transport.native_connection", reason="built without nghttp2")

from quotelife_server.transport.native_call import Desk
from quotelife_server.transport.native_connection import Connection, sweep

ECHO, KILL, HANG = "/t/Echo", "/t/Kill", "/t/Hang"
HELD_BYTES_MAX = 1 << 20
HELD_MAX = 1024
"""Calls that one connection may have held back."""
IN_FLIGHT_MAX = 8
UNSEEN_BYTES_MIN = 100
"""Headers of a refusal that nghttp2 knows nothing of are written out; its own are a few bytes after the first."""


class Bench:
    """One connection of a service that is overloaded, and of which a turn takes one call."""

    def __init__(self, service: Service) -> None:
        self.taken: list[bytes] = []
        self.killed: list[bytes] = []
        self.hanging: list[Deferred] = []
        table: MethodTable = {
            ECHO: Unary(self._echo), KILL: Unary(self._kill, bounded=False), HANG: Unary(self._hang),
        }  # fmt: skip
        self.desk = Desk(
            service, table, message_bytes_max=65_536, streams_max=2048, held_bytes_max=HELD_BYTES_MAX, keepalive_s=30,
            keepalive_timeout_s=10, client_ping_s=5, age_s=0, age_grace_s=0, overload_turn_ns=1,
        )  # fmt: skip
        self.desk.now_s = 1000.0
        self.line = Line(lambda loop: Connection(self.desk, loop))
        self.calls = 0
        self.begin_overload()

    def begin_overload(self) -> None:
        self.say(b"".join(self.call(b"")[1] for _ in range(IN_FLIGHT_MAX + 1)))
        self.turn()
        assert self.desk.overloaded
        self.say(self.call(b"")[1])  # its headers are known from now on
        self.turn()
        self.taken.clear()

    def call(self, payload: bytes, *more: tuple[str, str]) -> tuple[int, bytes]:
        self.calls += 1
        return self.line.client.call(ECHO, payload, *more)

    def say(self, data: bytes, pieces: int = 0) -> None:
        self.line.say(data, pieces)

    def turn(self) -> None:
        self.line.turn()
        assert not self.line.wire.closed

    def burst(self, n: int, *more: tuple[str, str]) -> list[int]:
        """So many calls in one chunk; their numbers. Payloads are the numbers."""
        numbers, data = [], b""
        for _ in range(n):
            number, _ = made = self.call(b"%d" % self.line.client._next, *more)
            numbers.append(number)
            data += made[1]
        self.say(data)
        return numbers

    def response(self, number: int) -> Response:
        return self.line.client.responses[number]

    def codes(self, numbers: list[int]) -> Counter[int]:
        assert all(self.response(number).ended for number in numbers)
        return Counter(self.response(number).status for number in numbers)

    def unseen(self, number: int) -> bool:
        blocks = [
            each.payload for each in self.line.client.frames if each.kind == HEADERS and each.stream == number
        ]
        return len(blocks) == 1 and len(blocks[0]) > UNSEEN_BYTES_MIN

    def _echo(self, payload: bytes, context: CallContext) -> bytes:
        self.taken.append(payload)
        return payload

    def _kill(self, payload: bytes, context: CallContext) -> bytes:
        self.killed.append(payload)
        return payload

    def _hang(self, payload: bytes, context: CallContext) -> Deferred:
        self.hanging.append(Deferred())
        return self.hanging[-1]


@pytest.fixture
def service(tmp_path: Path) -> Service:
    return Kit(tmp_path, warm=False, in_flight_max=IN_FLIGHT_MAX).service


@pytest.fixture
def bench(service: Service) -> Iterator[Bench]:
    made = Bench(service)
    yield made
    made.line.lose()
    assert made.desk.held_bytes == 0 and not made.desk.connections
    assert service.in_flight.count == 0


def test_the_newest_call_is_taken_and_the_others_are_refused_unseen(bench: Bench, service: Service) -> None:
    refused, answered = service.in_flight.refused, service.metrics.answers[ECHO, "RESOURCE_EXHAUSTED"]
    seen = bench.line.connection.calls_begun
    numbers = bench.burst(20)
    assert bench.taken == []
    writes = len(bench.line.wire.writes)
    bench.turn()
    assert len(bench.line.wire.writes) == writes + 1
    *others, newest = numbers
    assert bench.taken == [b"%d" % newest] and bench.response(newest).status == Code.OK
    assert bench.codes(others) == {Code.RESOURCE_EXHAUSTED: 19}
    assert sum(bench.unseen(number) for number in others) >= 18
    assert service.in_flight.refused == refused + 19
    assert service.metrics.answers[ECHO, "RESOURCE_EXHAUSTED"] == answered + 19
    assert bench.line.connection.calls_begun == seen + 20


def test_a_refusal_says_the_same_whether_it_was_decoded_or_not(bench: Bench) -> None:
    numbers = bench.burst(20)
    bench.turn()
    unseen = next(number for number in numbers if bench.unseen(number))
    first, others = bench.burst(1, ("x", "1")), bench.burst(5, ("x", "1"))
    bench.turn()
    decoded = first[0]
    assert not bench.unseen(decoded) and bench.codes(others) == {Code.RESOURCE_EXHAUSTED: 4, Code.OK: 1}
    assert bench.response(unseen) == bench.response(decoded)


def test_the_same_bytes_after_the_table_has_changed_are_another_call(bench: Bench) -> None:
    """Index 62 is whatever was put into the table last: the path of a call that may be refused unseen, then another."""

    def opened(number: int, block: bytes) -> bytes:
        return frame(HEADERS, END_HEADERS, number, block) + frame(DATA, END_STREAM, number, message(b"k"))

    def text(value: str) -> bytes:
        return bytes([len(value)]) + value.encode()

    kind = b"\x01" + text("test") + b"\x0f\x10" + text("application/grpc")
    same = b"\x83\x86\xbe" + kind
    number = bench.line.client._next
    bench.say(opened(number, b"\x83\x86\x44" + text(ECHO) + kind))
    bench.turn()
    bench.say(b"".join(opened(number + 2 * k, same) for k in range(1, 6)))
    bench.turn()
    assert bench.unseen(number + 4)
    bench.say(
        b"".join(opened(number + 2 * k, same) for k in range(6, 9))
        + opened(number + 18, b"\x83\x86\x44" + text(KILL) + kind)
        + b"".join(opened(number + 2 * k, same) for k in range(10, 13))
    )
    bench.turn()
    assert bench.killed == [b"k"] * 4
    assert [bench.response(number + 2 * k).status for k in range(9, 13)] == [Code.OK] * 4
    assert bench.codes([number + 2 * k for k in range(1, 9)])[Code.RESOURCE_EXHAUSTED] >= 6


@pytest.mark.parametrize("change", ["size", "continuation", "cut"])
def test_a_table_that_may_have_changed_is_not_trusted(bench: Bench, change: str) -> None:
    """A change of the table's size, a block in two frames, and one cut by the end of a turn."""
    number = bench.line.client._next
    plain = b"\x83\x86\x04" + bytes([len(ECHO)]) + ECHO.encode() + b"\x01\x04test\x0f\x10\x10application/grpc"
    body = frame(DATA, END_STREAM, number, message(b"k"))
    if change == "size":
        bench.say(frame(HEADERS, END_HEADERS, number, b"\x20\x3f\xe1\x1f" + plain) + body)
    elif change == "continuation":
        bench.say(
            frame(HEADERS, 0, number, plain[:5]) + frame(CONTINUATION, END_HEADERS, number, plain[5:]) + body
        )
    else:
        whole = frame(HEADERS, END_HEADERS, number, plain) + body
        bench.say(whole[:20])
        bench.turn()
        bench.say(whole[20:])
    bench.turn()
    assert bench.codes([number]) == {Code.OK: 1}
    bench.line.client._next = number + 2
    if change == "size":
        bench.line.client.encoder = Encoder()  # the table is empty now
    numbers = bench.burst(5)
    bench.turn()
    assert bench.codes(numbers) == {Code.OK: 1, Code.RESOURCE_EXHAUSTED: 4}
    assert not bench.unseen(numbers[0]), "decoded, to be known again"


@pytest.mark.parametrize("later", ["reset", "window", "priority", "data"])
def test_what_a_client_says_of_a_call_that_was_refused_unseen_is_ignored(bench: Bench, later: str) -> None:
    numbers = bench.burst(6)
    bench.turn()
    assert bench.unseen(numbers[2])
    bench.say(
        {
            "reset": rst_stream(numbers[2]),
            "window": window_update(numbers[2], 1000),
            "priority": frame(PRIORITY, 0, numbers[2], struct.pack(">IB", 0, 15)),
            "data": frame(DATA, 0, numbers[2], b"x"),
        }[later]
    )
    bench.turn()
    assert not bench.line.client.goaways()
    more = bench.burst(3)
    bench.turn()
    assert bench.codes(more) == {Code.OK: 1, Code.RESOURCE_EXHAUSTED: 2}


def test_a_call_that_is_reset_while_it_is_held_back_is_not_answered(bench: Bench) -> None:
    numbers = bench.burst(3)
    bench.say(rst_stream(numbers[2]))
    bench.turn()
    assert numbers[2] not in bench.line.client.responses
    assert all(bench.response(number).ended for number in numbers[:2])


def test_a_call_that_is_reset_before_its_refusal_is_written_hears_nothing(bench: Bench) -> None:
    """Some are refused as they come, since no more can be held back."""
    calls = [bench.call(b"x") for _ in range(HELD_MAX)]
    numbers = [number for number, _ in calls]
    reset = [numbers[0], numbers[500], numbers[-2]]
    bench.say(b"".join(made for _, made in calls) + b"".join(map(rst_stream, reset)))
    bench.turn()
    assert not any(number in bench.line.client.responses for number in reset)
    others = [number for number in numbers if number not in reset]
    assert bench.codes(others) == {Code.OK: 1, Code.RESOURCE_EXHAUSTED: HELD_MAX - 4}


def test_what_is_about_no_call_overtakes_those_that_are_held_back(bench: Bench) -> None:
    numbers = bench.burst(3)
    bench.say(frame(PING, 0, 0, b"12345678") + settings())
    bench.say(bench.line.client.call(KILL, b"now")[1])
    assert bench.killed == [b"now"] and bench.taken == []
    bench.turn()
    assert any(each.kind == PING and each.flags & ACK for each in bench.line.client.frames)
    assert bench.codes(numbers) == {Code.OK: 1, Code.RESOURCE_EXHAUSTED: 2}


def test_the_window_of_the_connection_is_given_back_for_calls_that_nobody_has_seen(bench: Bench) -> None:
    before = sum(
        int.from_bytes(each.payload, "big")
        for each in bench.line.client.frames
        if each.kind == WINDOW_UPDATE and not each.stream
    )
    sent = 0
    for _ in range(40):
        calls = [bench.call(b"x" * 1000)[1] for _ in range(50)]
        sent += 50 * 1005
        bench.say(b"".join(calls))
        bench.turn()
    given = sum(
        int.from_bytes(each.payload, "big")
        for each in bench.line.client.frames
        if each.kind == WINDOW_UPDATE and not each.stream
    )
    assert sent * 0.9 < given - before <= sent


def test_more_than_can_be_held_back_is_refused_at_once_but_for_the_newest(bench: Bench) -> None:
    for n in (2500, 6000, 2500):  # for the most of them space is made, and given back
        bench.taken.clear()
        numbers = bench.burst(n)
        bench.turn()
        assert bench.codes(numbers)[Code.RESOURCE_EXHAUSTED] >= n - 10
        assert bench.response(numbers[-1]).status == Code.OK
        assert bench.taken == [b"%d" % numbers[-1]]


def test_refusals_wait_while_the_client_takes_none(bench: Bench) -> None:
    bench.line.wire.full = True
    bench.say(frame(PING, 0, 0, b"12345678"))  # its answer fills the socket
    bench.line.wire.full = False
    numbers = bench.burst(6)
    bench.turn()
    assert not any(number in bench.line.client.responses for number in numbers)
    bench.line.connection.resume_writing()
    bench.turn()
    bench.turn()
    assert bench.codes(numbers) == {Code.OK: 1, Code.RESOURCE_EXHAUSTED: 5}


def test_a_connection_that_leaves_answers_those_that_were_held_back(bench: Bench) -> None:
    numbers = bench.burst(6)
    bench.line.connection.leave()
    later = bench.burst(2)
    bench.turn()
    assert bench.codes([*numbers, *later]) == {Code.OK: 1, Code.RESOURCE_EXHAUSTED: 7}
    bench.line.connection.refuse_new()
    bench.line.hear()
    assert bench.line.wire.ended


def test_a_connection_may_go_while_calls_are_held_back(bench: Bench) -> None:
    bench.burst(6)
    bench.line.lose()
    bench.line.loop.turn()
    assert bench.taken == []
    bench.line = Line(lambda loop: Connection(bench.desk, loop))


def test_calls_that_were_held_back_are_looked_at_when_overload_is_over(bench: Bench) -> None:
    numbers = bench.burst(3)
    bench.desk.now_s += 1.0
    for _ in range(3):
        sweep(bench.desk, bench.desk.now_s + 0.2, bench.desk.service.clock.now_ns())
    if bench.desk.overloaded:
        pytest.skip("not over yet")
    number, data = bench.call(b"calm")
    bench.say(data)
    bench.turn()
    assert bench.codes([*numbers, number])[Code.OK] >= 2


@pytest.mark.parametrize(
    ("kind", "block"),
    [(HEADERS, b"\x40\x01a\x01b"), (CONTINUATION, b"\x82")],
    ids=["headers", "continuation"],
)
def test_headers_of_stream_0_end_the_connection_though_calls_are_held_back(
    bench: Bench, kind: int, block: bytes
) -> None:
    """What is known is forgotten with them, so that nothing that was known may still be held back."""
    numbers = bench.burst(6)
    bench.say(frame(kind, END_HEADERS, 0, block))
    bench.line.turn()
    bench.line.turn()
    ((last, code, _),) = bench.line.client.goaways()
    assert (last, code) == (numbers[-1], PROTOCOL_ERROR)


def test_a_client_that_makes_its_table_smaller_gets_no_block_that_does_not_say_so(bench: Bench) -> None:
    """RFC 7541 section 4.2: the first block after the acknowledgement begins with the size. No window, so that no
    answer goes before the refusals."""
    client = bench.line.client
    bench.say(frame(SETTINGS, 0, 0, struct.pack(">HI", 1, 0)) + settings(initial_window_size=0))
    client.decoder.max_allowed_table_size = 0  # raises where a block does not begin with it
    seen = len(client.frames)
    numbers = bench.burst(6)
    bench.turn()
    assert bench.codes(numbers[:-1]) == {Code.RESOURCE_EXHAUSTED: 5}
    first = next(each for each in client.frames[seen:] if each.kind == HEADERS)
    assert first.payload[0] == 0x20


@pytest.mark.parametrize("sizes", [(0,), (0, 4096)], ids=["smaller", "smaller-and-large-again"])
def test_refusals_that_wait_when_a_client_makes_its_table_smaller_are_resets(
    bench: Bench, sizes: tuple[int, ...]
) -> None:
    """They were made for a table that keeps its size, and no block may come before the one that tells the new one. More
    calls come in one chunk than can be held back: some are refused before the SETTINGS behind them are read."""
    client = bench.line.client
    seen = len(client.frames)
    calls = [bench.call(b"x") for _ in range(HELD_MAX)]
    told = frame(SETTINGS, 0, 0, b"".join(struct.pack(">HI", 1, size) for size in sizes))
    bench.say(b"".join(made for _, made in calls) + told)
    more = bench.burst(4)
    bench.turn()
    new = client.frames[seen:]
    acknowledged = next(k for k, each in enumerate(new) if each.kind == SETTINGS and each.flags & ACK)
    assert not any(each.kind == HEADERS for each in new[:acknowledged])
    first = next(each for each in new if each.kind == HEADERS)
    assert first.payload[0] == 0x20
    *others, newest = [number for number, _ in calls]
    assert all(client.responses[number].reset == REFUSED_STREAM for number in others)
    assert bench.codes([newest, *more]) == {Code.OK: 1, Code.RESOURCE_EXHAUSTED: 4}
    assert sum(each.kind == RST_STREAM for each in new) == HELD_MAX - 1


def test_calls_that_are_held_back_when_the_service_drains_hear_that(bench: Bench, service: Service) -> None:
    """Those whose headers are known, those that were decoded, and one in two pieces."""
    numbers = bench.burst(4) + bench.burst(2, ("x", "1")) + bench.burst(3)
    number, data = bench.call(b"cut")
    bench.say(data[:-1])
    service.set_state(State.DRAINING)
    bench.turn()
    bench.say(data[-1:])
    later = bench.burst(3)
    assert bench.codes([*numbers, number, *later]) == {Code.UNAVAILABLE: 13}
    assert bench.taken == []


def test_calls_that_are_held_back_when_no_more_are_taken_are_named_by_goaway(bench: Bench) -> None:
    numbers = bench.burst(6)
    bench.line.connection.refuse_new()
    bench.line.turn()
    ((last, code, _),) = bench.line.client.goaways()
    assert (last, code) == (numbers[-1], 0)
    assert bench.codes(numbers) == {Code.OK: 1, Code.RESOURCE_EXHAUSTED: 5}
    assert bench.line.wire.ended


def test_what_all_connections_keep_of_calls_that_are_held_back_is_bounded(bench: Bench) -> None:
    """Beyond it a client's calls are refused at once, but for the newest, and nothing of its chunk is kept."""
    lines = [Line(lambda _: Connection(bench.desk, bench.line.loop)) for _ in range(12)]
    said: list[tuple[Line, list[int], int]] = []
    for line in lines:
        line.loop = bench.line.loop
        line.say(line.client.call(ECHO, b"known from now on")[1])
        line.turn()
        line.say(line.client.call(ECHO, b"known from now on")[1])
        line.turn()
    bench.taken.clear()
    calls = 12
    for line in lines:
        numbers = []
        data = b""
        for _ in range(calls):
            number, made = line.client.call(ECHO, bytes(15_000))
            numbers.append(number)
            data += made
        said.append((line, numbers, len(data)))
        line.say(data)
        assert bench.desk.sifted_bytes <= HELD_BYTES_MAX
    kept = HELD_BYTES_MAX // said[0][2]
    assert 0 < kept < len(lines)
    assert bench.desk.sifted_bytes == sum(size for _, _, size in said[:kept])
    before = [line.connection.calls_begun for line, _, _ in said]
    bench.turn()
    assert bench.desk.sifted_bytes == 0
    found: Counter[int] = Counter()
    for k, (line, numbers, _) in enumerate(said):
        line.hear()
        assert all(line.client.responses[number].ended for number in numbers)
        found.update(line.client.responses[number].status for number in numbers)
        assert line.connection.calls_begun - before[k] == (calls if k < kept else 0)
    assert found == {Code.OK: 1, Code.RESOURCE_EXHAUSTED: len(lines) * calls - 1}
    for line in lines[:-1]:
        line.lose()
    lines[-1].say(b"".join(lines[-1].client.call(ECHO, b"held")[1] for _ in range(3)))
    assert bench.desk.sifted_bytes > 0
    lines[-1].lose()
    assert bench.desk.sifted_bytes == 0


def test_a_call_that_is_reset_while_others_are_held_back_gives_its_place_back_at_once(
    bench: Bench, service: Service
) -> None:
    number, data = bench.line.client.call(HANG, b"")
    bench.say(data)
    bench.turn()
    assert service.in_flight.count == 1
    numbers = bench.burst(3)
    bench.say(rst_stream(number))
    assert service.in_flight.count == 0 and bench.taken == []
    bench.turn()
    assert bench.codes(numbers) == {Code.OK: 1, Code.RESOURCE_EXHAUSTED: 2}
    bench.hanging.pop().resolve(b"late")


def test_deadlines_run_while_the_client_takes_nothing(bench: Bench, service: Service) -> None:
    for _ in range(2):
        bench.burst(2, ("grpc-timeout", "100m"))
        bench.turn()
    bench.taken.clear()
    bench.line.wire.full = True
    bench.say(frame(PING, 0, 0, b"12345678"))  # its answer fills the socket
    bench.line.wire.full = False
    (number,) = bench.burst(1, ("grpc-timeout", "100m"))
    bench.turn()
    for _ in range(2):
        bench.desk.now_s += 0.01
        sweep(bench.desk, bench.desk.now_s, service.clock.now_ns())
        service.clock.advance_ns(200_000_000)
    bench.line.connection.resume_writing()
    bench.turn()
    bench.turn()
    assert bench.taken == [] and bench.response(number).status == Code.DEADLINE_EXCEEDED


@pytest.mark.parametrize("calls", [1, 6, 1500])
def test_a_client_that_says_goodbye_behind_its_calls_gets_all_answers(bench: Bench, calls: int) -> None:
    """The calls of a client that has sent GOAWAY first would be lost. The socket is full after the first write."""
    numbers, data = [], b""
    for _ in range(calls):
        number, made = bench.call(b"x")
        numbers.append(number)
        data += made
    bench.line.wire.full = True
    bench.say(data + frame(GOAWAY, 0, 0, struct.pack(">II", 0, 0)))
    bench.line.turn()
    bench.line.wire.full = False
    for _ in range(3):
        bench.line.connection.resume_writing()
        bench.line.turn()
    assert bench.codes(numbers) == Counter([Code.OK] + [Code.RESOURCE_EXHAUSTED] * (calls - 1))
    assert bench.line.wire.closed


def test_what_is_passed_on_of_many_connections_takes_no_time_from_their_calls(tmp_path: Path) -> None:
    """One call at least of each is decoded, which takes longer than all of this turn's time."""
    taken: list[bytes] = []

    def echo(payload: bytes, context: CallContext) -> bytes:
        taken.append(payload)
        return payload

    service = Kit(tmp_path, warm=False, in_flight_max=512).service
    desk = Desk(
        service, {ECHO: Unary(echo)}, message_bytes_max=65_536,
        streams_max=2048, held_bytes_max=1 << 20, keepalive_s=30, keepalive_timeout_s=10, client_ping_s=5, age_s=0,
        age_grace_s=0, overload_turn_ns=200_000,
    )  # fmt: skip
    desk.now_s = 1000.0
    lines = [Line(lambda loop: Connection(desk, loop)) for _ in range(400)]
    for line in lines:
        line.loop = lines[0].loop
    lines[0].say(b"".join(lines[0].client.call(ECHO, b"")[1] for _ in range(513)))
    lines[0].turn()
    assert desk.overloaded
    for _ in range(8):
        taken.clear()
        for line in lines:
            line.connection.data_received(b"".join(line.client.call(ECHO, b"")[1] for _ in range(3)))
        lines[0].turn()
    assert len(taken) > 1
    for line in lines:
        line.lose()


@pytest.mark.parametrize("seed", range(40))
def test_whatever_is_said_in_whatever_pieces_each_call_ends_once(bench: Bench, seed: int) -> None:
    """Known and new headers, put into the table or not, frames beside them, calls in parts, cuts and turns anywhere."""
    rng = random.Random(seed)
    client = bench.line.client
    paths: dict[int, str] = {}
    cancelled: set[int] = set()
    data = b""
    open_: list[int] = []
    for _ in range(300):
        kind = rng.random()
        more: list[Any] = []
        if rng.random() < 0.1:
            more = [(f"x-{rng.randrange(3)}", str(rng.randrange(4)))]
        if rng.random() < 0.05:
            more.append(NeverIndexedHeaderTuple("secret", "s" * rng.randrange(200)))
        if kind < 0.75:
            number, made = client.call(ECHO, b"%d" % client._next, *more)
            paths[number] = ECHO
            data += made
        elif kind < 0.8:
            number, made = client.call(KILL, b"%d" % client._next, *more)
            paths[number] = KILL
            data += made
        elif kind < 0.85:
            number, made = client.open(ECHO, *more)
            paths[number] = ECHO
            open_.append(number)
            data += made
        elif kind < 0.9 and open_:
            number = open_.pop(rng.randrange(len(open_)))
            data += frame(DATA, END_STREAM, number, message(b"%d" % number))
        elif kind < 0.93 and paths:
            number = rng.choice(list(paths))
            if number not in open_:
                cancelled.add(number)
                data += rst_stream(number)
        elif kind < 0.97:
            data += rng.choice((window_update(0, 1), settings(), frame(PRIORITY, 0, 1, b"\0\0\0\0\x0f")))
        if rng.random() < 0.1:
            if rng.random() < 0.5:
                bench.say(data, rng.choice((0, 1, 7, 50, 300)))
                data = b""
            else:
                cut = rng.randrange(len(data) + 1)
                bench.say(data[:cut])
                data = data[cut:]
            if rng.random() < 0.7:
                bench.turn()
    for number in open_:
        data += frame(DATA, END_STREAM, number, message(b"%d" % number))
    bench.say(data)
    for _ in range(4):
        bench.turn()
    assert not client.goaways()
    unseen = 0
    for number, path in paths.items():
        response = client.responses.get(number)
        if response is None:
            assert number in cancelled
            continue
        heads = sum(each.kind == HEADERS and each.stream == number for each in client.frames)
        ends = sum(
            each.kind in (HEADERS, DATA) and each.stream == number and bool(each.flags & END_STREAM)
            for each in client.frames
        )
        assert (ends == 1 and response.ended) or number in cancelled
        if not response.ended:
            continue
        if path == KILL or response.status == Code.OK:
            assert response.status == Code.OK and heads == 2
            assert len(response.messages) == 1
        else:
            assert response.status == Code.RESOURCE_EXHAUSTED and heads == 1
            unseen += bench.unseen(number)
    assert unseen > 0
