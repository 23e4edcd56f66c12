"""The native front end byte by byte: clients that say anything, no sockets, and time in the test's hand."""

import asyncio
import base64
import gc
import struct
import time
import tracemalloc
import weakref
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from google.rpc import error_details_pb2, status_pb2

from quotelife_server.handlers import Service
from quotelife_server.rpc import (
    TEXT_BYTES_MAX,
    CallContext,
    Code,
    Deferred,
    MethodTable,
    RpcError,
    Stream,
    StreamCall,
    StreamHandler,
    Turn,
    Unary,
)
from quotelife_server.transport import limits, native_call
from quotelife_server.transport.limits import BEGUN_MAX, EXPIRED_MAX
from reference.http2_kit import (
    ACK,
    CANCEL,
    CONTINUATION,
    DATA,
    END_HEADERS,
    END_STREAM,
    ENHANCE_YOUR_CALM,
    GOAWAY,
    HEADERS,
    LAST_STREAM,
    NO_ERROR,
    PADDED,
    PING,
    PREFACE,
    PRIORITY,
    RST_STREAM,
    SETTINGS,
    WINDOW_UPDATE,
    Line,
    Response,
    frame,
    gzipped,
    message,
    rst_stream,
    settings,
    window_update,
)
from reference.service_kit import Kit

pytest.importorskip("quotelife_server.transport.native_connection", reason="built without nghttp2")

from quotelife_server.transport.native import AttendedTime
from quotelife_server.transport.native_call import Desk
from quotelife_server.transport.native_connection import Connection, sweep

ECHO, HANG, FAIL, TALK, EAGER, BUSY = "/t/Echo", "/t/Hang", "/t/Fail", "/t/Talk", "/t/Eager", "/t/Busy"
MESSAGE_BYTES_MAX = 65_536
IN_FLIGHT_MAX = 64
NOW_S = 1000.0


class Late(Deferred):
    """An answer of which the test says what is found when it leaves."""

    def __init__(self, turn: Turn | None = None) -> None:
        super().__init__(turn)
        self.asked = 0
        self.killed = False

    def leaving(self) -> bytes:
        self.asked += 1
        if self.killed:
            raise RpcError(Code.UNAVAILABLE, "killed meanwhile")
        return super().leaving()


class Talk:
    """A stream's handler that takes down what it is told, and does what the test says."""

    def __init__(self, call: StreamCall) -> None:
        self.call = call
        self.messages: list[bytes] = []
        self.half_closed = self.cancelled = 0
        self.room: Deferred | None = None
        self.answers = 1

    def on_message(self, payload: bytes) -> Deferred | None:
        self.messages.append(payload)
        if payload == b"wrong":
            raise RpcError(Code.INVALID_ARGUMENT, "that is wrong")
        for _ in range(self.answers):
            self.call.send(payload)
        return self.room

    def on_half_close(self) -> None:
        self.half_closed += 1
        self.call.finish()

    def on_cancel(self) -> None:
        self.cancelled += 1


class Bench:
    """Methods of a few kinds behind one ``Desk``, and lines to it."""

    def __init__(self, service: Service, **options: Any) -> None:
        self.service = service
        self.calls: list[tuple[bytes, CallContext]] = []
        self.hanging: list[Late] = []
        self.talks: list[Talk] = []
        self.turn: Turn | None = None
        self.on_busy: Callable[[bytes, CallContext], bytes] | None = None
        table: MethodTable = {
            ECHO: Unary(self._echo),
            HANG: Unary(self._hang),
            FAIL: Unary(self._fail),
            BUSY: Unary(self._busy),
            TALK: Stream(self._talk),
            EAGER: Stream(self._talk, reads_on=True),
        }
        usual: dict[str, Any] = {
            "message_bytes_max": MESSAGE_BYTES_MAX,
            "streams_max": 128,
            "held_bytes_max": 1 << 20,
            "keepalive_s": 30.0,
            "keepalive_timeout_s": 10.0,
            "client_ping_s": 5.0,
            "overload_turn_ns": 10**9,
            "age_s": 0.0,
            "age_grace_s": 60.0,
        }
        self.desk = Desk(service, table, **{**usual, **options})
        self.desk.now_s = self.desk.loop_s = self.desk.looked_s = NOW_S
        self.lines: list[Line] = []

    def line(self, **options: Any) -> Line:
        self.lines.append(Line(lambda loop: Connection(self.desk, loop), **options))
        self.lines[-1].loop.now_s = self.desk.loop_s
        return self.lines[-1]

    def later(self, seconds: float) -> None:
        """Time goes by, and everybody is looked after."""
        self.look(seconds, seconds)

    def look(self, attended_s: float, seconds: float) -> None:
        """So much time goes by, in ``attended_s`` of which the event loop runs."""
        now_s = self.desk.loop_s + seconds
        for line in self.lines:
            line.loop.now_s = now_s
        sweep(self.desk, self.desk.now_s + attended_s, self.service.clock.now_ns(), now_s)

    def _echo(self, payload: bytes, context: CallContext) -> bytes:
        self.calls.append((payload, context))
        return payload

    def _hang(self, payload: bytes, context: CallContext) -> Deferred:
        self.calls.append((payload, context))
        self.hanging.append(Late(self.turn))
        return self.hanging[-1]

    def _busy(self, payload: bytes, context: CallContext) -> bytes:
        if self.on_busy is not None:
            return self.on_busy(payload, context)
        self.calls.append((payload, context))
        until_s = time.thread_time() + 50e-6
        while time.thread_time() < until_s:
            pass
        return payload

    def _fail(self, payload: bytes, context: CallContext) -> bytes:
        field = error_details_pb2.BadRequest(field_violations=[{"field": "price"}])
        raise RpcError(Code.INVALID_ARGUMENT, "price: 10 % too much, naïve", (field,))

    def _talk(self, context: CallContext, call: StreamCall) -> StreamHandler:
        self.talks.append(Talk(call))
        return self.talks[-1]


@pytest.fixture
def service(tmp_path: Path) -> Service:
    return Kit(tmp_path, warm=False, in_flight_max=IN_FLIGHT_MAX).service


@pytest.fixture
def bench(service: Service) -> Iterator[Bench]:
    """Whatever a test does, nothing is held and no place taken once its lines are lost."""
    made = Bench(service)
    yield made
    for line in made.lines:
        line.lose()
    for answer in made.hanging:
        answer.resolve(b"late")
    assert made.desk.held_bytes == 0
    assert not made.desk.conversations
    assert not made.desk.connections
    assert service.in_flight.count == 0
    assert all(talk.cancelled == 1 for talk in made.talks)


# --- calls ------------------------------------------------------------------------------------------------------------


def test_a_unary_call_is_headers_message_and_trailers(bench: Bench) -> None:
    response = bench.line().call(ECHO, b"hello")
    assert response == Response(
        {":status": "200", "content-type": "application/grpc"},
        {"grpc-status": "0"},
        message(b"hello"),
        ended=True,
    )


def test_a_chunk_of_calls_is_answered_by_one_write(bench: Bench) -> None:
    line = bench.line()
    writes = len(line.wire.writes)
    calls = [line.client.call(ECHO, b"%d" % k) for k in range(40)]
    line.say(b"".join(data for _, data in calls))
    assert len(line.wire.writes) == writes + 1
    assert [line.client.responses[number].messages for number, _ in calls] == [[b"%d" % k] for k in range(40)]


def test_answers_of_one_turn_leave_in_one_write_as_it_ends(bench: Bench) -> None:
    bench.turn = Turn()
    line = bench.line()
    line.say(b"".join(line.client.call(HANG, b"")[1] for _ in range(10)))
    writes = len(line.wire.writes)
    for k, answer in enumerate(bench.hanging):
        answer.resolve(b"%d" % k)
    assert len(line.wire.writes) == writes
    bench.turn.over()
    line.hear()
    assert len(line.wire.writes) == writes + 1
    assert [line.client.responses[1 + 2 * k].messages for k in range(10)] == [[b"%d" % k] for k in range(10)]
    line.turn()
    assert len(line.wire.writes) == writes + 1


class Journal:
    """Ends turns when it is asked to, as a ledger that has written what they brought."""

    def __init__(self, bench: Bench) -> None:
        self.bench = bench
        self.wrote: list[int] = []
        self.is_long = False
        self.begin()

    def begin(self) -> None:
        self.bench.turn = Turn(self.write)
        self.bench.turn.is_long = self.is_long

    def write(self) -> None:
        waiting = [each for each in self.bench.hanging if each.outcome is None]
        if waiting:
            turn = self.bench.turn
            assert turn is not None
            self.wrote.append(len(waiting))
            self.begin()
            for each in waiting:
                each.resolve(b"now")
            turn.over()


@pytest.mark.parametrize("busy_poll_ns", [0, 10**15])
def test_a_turn_ends_at_once_where_one_connection_calls_and_is_shared_where_several_do(
    service: Service, busy_poll_ns: int
) -> None:
    bench = Bench(service, busy_poll_ns=busy_poll_ns)
    journal = Journal(bench)
    lines = [bench.line() for _ in range(3)]

    def turn(*callers: int) -> tuple[list[int], list[int]]:
        """Each of these lines brings two calls; then the event loop goes on. How many answers each write took, of those
        as the calls came and of those behind them."""
        del journal.wrote[:]
        for each in callers:
            line = lines[each]
            line.say(b"".join(line.client.call(HANG, b"")[1] for _ in range(2)))
        early = len(journal.wrote)
        for line in lines:
            line.turn()
        journal.write()  # as a ledger's own turn of the loop does
        for line in lines:
            line.turn()
            assert all(each.messages == [b"now"] for each in line.client.responses.values())
        return journal.wrote[:early], journal.wrote[early:]

    assert turn(0) == ([2], []), "at once"
    assert turn(1) == ([2], []), "whichever it is"
    assert turn(0, 1, 2) == ([2], [4]), "that others would call was not known"
    assert turn(0, 1, 2) == ([], [6]), "as the last time several call"
    assert turn(2) == ([], [2]), "it might have been several again"
    assert turn(2) == ([2], [])
    journal.is_long = True
    journal.begin()
    assert turn(2) == ([], [2]), "a device has to be waited for: who may join it, joins it"
    bench.desk.draining = True  # or a busy poll would never end
    for line in lines:
        line.turn()
        line.lose()


@pytest.mark.parametrize("pieces", [1, 2, 7, 100])
def test_bytes_may_come_in_any_pieces(bench: Bench, pieces: int) -> None:
    line = bench.line(greet=False)
    line.say(PREFACE + settings(), pieces)
    payload = bytes(range(256)) * 20
    number, head = line.client.open(ECHO)
    body = message(payload)
    frames = b"".join(
        frame(DATA, 0, number, body[at : at + pieces * 3]) for at in range(0, len(body), pieces * 3)
    )
    line.say(head + frames + frame(DATA, END_STREAM, number), pieces)
    response = line.client.responses[number]
    assert response.messages == [payload] and response.status == Code.OK


def test_an_empty_message_is_a_message(bench: Bench) -> None:
    assert bench.line().call(ECHO, b"").messages == [b""]
    assert bench.calls[0][0] == b""


def test_an_error_is_trailers_only_with_text_and_details(bench: Bench) -> None:
    response = bench.line().call(FAIL, b"")
    assert response.ended and not response.trailers and not response.data
    assert response.headers[":status"] == "200"
    assert response.status == Code.INVALID_ARGUMENT
    assert response.message == "price: 10 %25 too much, na%C3%AFve"
    raw = response.headers["grpc-status-details-bin"]
    status = status_pb2.Status.FromString(base64.b64decode(raw + "=" * (-len(raw) % 4)))
    assert status.code == Code.INVALID_ARGUMENT and status.message == "price: 10 % too much, naïve"


def test_unknown_methods_and_what_is_no_grpc(bench: Bench) -> None:
    line = bench.line()
    assert line.call("/t/Nope", b"").status == Code.UNIMPLEMENTED
    assert line.call(ECHO, b"", content_type="application/json").headers[":status"] == "415"
    assert line.call(ECHO, b"", content_type="application/grpcx").headers[":status"] == "415"
    assert line.call(ECHO, b"", content_type="").headers[":status"] == "415"
    refused = line.call(ECHO, b"", method="PUT")
    assert refused.headers == {":status": "405", "allow": "POST"} and refused.ended
    for kind in ("application/grpc+proto", "application/grpc;charset=x"):
        assert line.call(ECHO, b"x", content_type=kind).status == Code.OK
    assert len(bench.calls) == 2


def test_metrics_do_not_grow_by_methods_that_clients_make_up(bench: Bench) -> None:
    line = bench.line()
    for k in range(50):
        line.call(f"/t/Nope{k}", b"")
    line.call(ECHO, b"")
    assert bench.service.metrics.answers == {(ECHO, "OK"): 1}


def test_a_call_without_a_message_or_with_half_of_one(bench: Bench) -> None:
    line = bench.line()
    number, data = line.client.open(ECHO, end=True)
    line.say(data)
    assert line.client.responses[number].status == Code.INVALID_ARGUMENT
    number, data = line.client.open(ECHO)
    line.say(data + frame(DATA, END_STREAM, number, message(b"hello")[:-1]))
    assert line.client.responses[number].status == Code.INVALID_ARGUMENT
    assert bench.calls == []


def test_a_deadline_is_told_and_kept(bench: Bench) -> None:
    line, clock = bench.line(), bench.service.clock
    number, data = line.client.call(HANG, b"", grpc_timeout="50m")
    line.say(data)
    assert bench.calls[0][1].deadline_ns == clock.now_ns() + 50_000_000
    bench.later(0.01)
    assert not line.hear()
    clock.set_ns(clock.now_ns() + 50_000_000)  # type: ignore[attr-defined]
    bench.later(0.01)
    line.hear()
    assert line.client.responses[number].status == Code.DEADLINE_EXCEEDED
    assert bench.service.in_flight.count == 0
    bench.hanging[0].resolve(b"late")
    assert not line.turn()


@pytest.mark.parametrize("text", ["", "5", "S", "123456789S", "-1S", "5 S", "5s", "1.5S"])
def test_a_timeout_that_is_none_is_refused(bench: Bench, text: str) -> None:
    line = bench.line()
    number, data = line.client.open(ECHO, ("grpc-timeout", text))
    line.say(data + frame(DATA, END_STREAM, number, message(b"")))
    response = line.client.responses[number]
    assert response.status == Code.INTERNAL and "grpc-timeout" in response.message


@pytest.mark.parametrize(
    ("text", "ns"),
    [("1H", 3_600_000_000_000), ("2M", 120_000_000_000), ("3S", 3 * 10**9), ("4m", 4_000_000), ("5u", 5_000), ("7n", 7),
     ("99999999H", 86_400 * 10**9)],
)  # fmt: skip
def test_units_of_timeouts(bench: Bench, text: str, ns: int) -> None:
    bench.line().call(ECHO, b"", grpc_timeout=text)
    assert bench.calls[0][1].deadline_ns == bench.service.clock.now_ns() + ns


def test_a_cancelled_call_gives_its_place_back_and_its_answer_goes_nowhere(bench: Bench) -> None:
    line = bench.line()
    number, data = line.client.call(HANG, b"")
    line.say(data)
    assert bench.service.in_flight.count == 1
    line.say(rst_stream(number))
    assert bench.service.in_flight.count == 0
    bench.hanging[0].resolve(b"late")
    assert not line.turn()


def test_a_call_that_is_reset_in_the_same_chunk_is_never_looked_at(bench: Bench) -> None:
    line = bench.line()
    number, data = line.client.call(ECHO, b"")
    line.say(data + rst_stream(number))
    number, data = line.client.open(TALK)
    line.say(data + rst_stream(number))
    assert bench.calls == [] and bench.talks == []
    assert line.call(ECHO, b"next").messages == [b"next"]


def test_beyond_the_limit_calls_of_one_chunk_are_refused(bench: Bench) -> None:
    line = bench.line()
    calls = [line.client.call(ECHO, b"") for _ in range(100)]
    line.say(b"".join(data for _, data in calls))
    codes = [line.client.responses[number].status for number, _ in calls]
    assert codes == [Code.OK] * IN_FLIGHT_MAX + [Code.RESOURCE_EXHAUSTED] * (100 - IN_FLIGHT_MAX)
    number, data = line.client.call(ECHO, b"")
    line.say(data)
    line.turn()
    assert line.client.responses[number].status == Code.OK


def test_the_limit_holds_for_a_turn_of_the_loop_whoever_calls(bench: Bench) -> None:
    """Each answer is out before the next call comes, and none of them is in flight any more: the loop is held all the
    same."""
    first, second = bench.line(), bench.line()
    assert [first.call(ECHO, b"").status for _ in range(IN_FLIGHT_MAX)] == [Code.OK] * IN_FLIGHT_MAX
    assert second.call(ECHO, b"").status == Code.RESOURCE_EXHAUSTED
    first.turn()
    number, data = second.client.call(ECHO, b"")
    second.say(data)
    second.turn()
    assert second.client.responses[number].status == Code.OK


# --- overload ---------------------------------------------------------------------------------------------------------


def overloaded(bench: Bench, line: Line) -> None:
    """More has come at once than there are places."""
    line.say(b"".join(line.client.call(ECHO, b"")[1] for _ in range(IN_FLIGHT_MAX + 1)))
    line.turn()
    bench.calls.clear()
    assert bench.desk.overloaded


def test_while_overloaded_a_turn_takes_the_newest_calls_and_of_each_connection(service: Service) -> None:
    """One nanosecond of a turn is one call; nothing is answered before all that the turn brings is known."""
    bench = Bench(service, overload_turn_ns=1)
    lines = [bench.line(), bench.line()]
    for line in lines:  # the loop of each
        overloaded(bench, line)
    taken: list[bytes] = []
    for _ in range(2):
        for line in lines:
            name = b"%d:" % lines.index(line)
            line.say(b"".join(line.client.call(ECHO, name + b"%d" % k)[1] for k in range(10)))
            assert bench.calls == []
        for line in lines:
            line.loop.turn()
        taken += [payload for payload, _ in bench.calls]
        bench.calls.clear()
    assert sorted(taken) == [b"0:9", b"1:9"]
    for line in lines:
        line.hear()
        line.lose()
    assert service.in_flight.count == 0


def test_while_overloaded_all_is_answered_that_fits_into_the_turn(bench: Bench) -> None:
    line = bench.line()
    overloaded(bench, line)
    calls = [line.client.call(ECHO, b"%d" % k) for k in range(10)]
    line.say(b"".join(data for _, data in calls))
    assert not line.hear()
    writes = len(line.wire.writes)
    line.turn()
    assert [line.client.responses[number].messages for number, _ in calls] == [[b"%d" % k] for k in range(10)]
    assert [payload for payload, _ in bench.calls] == [b"%d" % k for k in reversed(range(10))]
    assert len(line.wire.writes) == writes + 1


def test_who_is_turned_away_is_told_when_to_come_again_and_counted(service: Service) -> None:
    bench = Bench(service, overload_turn_ns=1)
    line = bench.line()
    overloaded(bench, line)
    refused = service.in_flight.refused
    calls = [line.client.call(ECHO, b"") for _ in range(10)]
    line.say(b"".join(data for _, data in calls))
    line.turn()
    *others, last = (line.client.responses[number] for number, _ in calls)
    assert last.status == Code.OK
    for response in others:
        assert response.ended and response.status == Code.RESOURCE_EXHAUSTED
        assert response.message == "too many calls in flight; retry later"
        raw = base64.b64decode(response.headers["grpc-status-details-bin"] + "==")
        retry = error_details_pb2.RetryInfo()
        assert status_pb2.Status.FromString(raw).details[0].Unpack(retry)
        assert retry.retry_delay.ToNanoseconds() == service.retry_delay_ns
    assert service.in_flight.refused == refused + 9
    assert service.metrics.answers[ECHO, "RESOURCE_EXHAUSTED"] == 1 + 9
    line.lose()


def test_refusals_leave_with_the_answers_of_their_turn(service: Service) -> None:
    bench = Bench(service, overload_turn_ns=1)
    bench.turn = Turn()
    line = bench.line()
    overloaded(bench, line)
    calls = [line.client.call(HANG, b"") for _ in range(10)]
    line.say(b"".join(data for _, data in calls))
    writes = len(line.wire.writes)
    line.turn()
    assert len(bench.hanging) == 1 and len(line.wire.writes) == writes
    bench.hanging[0].resolve(b"late")
    bench.turn.over()
    line.hear()
    assert len(line.wire.writes) == writes + 1
    codes = Counter(line.client.responses[number].status for number, _ in calls)
    assert codes == {Code.OK: 1, Code.RESOURCE_EXHAUSTED: 9}
    line.lose()


def test_while_overloaded_answers_leave_in_the_turn_that_decided_them(service: Service) -> None:
    """Nothing joins them: all of the turn's calls have been looked at."""
    bench = Bench(service)

    def end() -> None:
        for answer in bench.hanging:
            answer.resolve(b"now")
        turn.over()

    bench.turn = turn = Turn(end)
    line = bench.line()
    overloaded(bench, line)
    line.say(b"".join(line.client.call(HANG, b"")[1] for _ in range(5)))
    writes = len(line.wire.writes)
    line.turn()
    assert len(line.wire.writes) == writes + 1
    assert sum(each.messages == [b"now"] for each in line.client.responses.values()) == 5
    line.lose()


def test_a_turn_is_processor_time(service: Service) -> None:
    """What others had of the processor meanwhile is not the calls' doing."""
    bench = Bench(service, overload_turn_ns=20_000_000)
    line = bench.line()
    overloaded(bench, line)
    first = len(bench.calls)
    slept: list[float] = []

    def sleep_once(payload: bytes, context: CallContext) -> bytes:
        if not slept:
            slept.append(0.05)
            time.sleep(0.05)
        bench.calls.append((payload, context))
        return payload

    bench.on_busy = sleep_once
    line.say(b"".join(line.client.call(BUSY, b"")[1] for _ in range(20)))
    line.turn()
    assert len(bench.calls) - first == 20
    line.lose()


def test_a_turn_that_cannot_be_ended_early_ends_later(service: Service) -> None:
    def fail() -> None:
        raise RuntimeError("no")

    bench = Bench(service)
    bench.turn = Turn(fail)
    lines = [bench.line() for _ in range(2)]
    for line in lines:
        overloaded(bench, line)
    for line in lines:
        line.say(b"".join(line.client.call(HANG, b"")[1] for _ in range(2)))
    lines[0].turn()
    for answer in bench.hanging:
        answer.resolve(b"late")
    bench.turn.over()
    for line in lines:
        line.hear()
        assert sum(each.messages == [b"late"] for each in line.client.responses.values()) == 2
        line.lose()


def test_calls_that_wait_for_their_messages_are_bounded_over_all_connections(service: Service) -> None:
    bench = Bench(service, streams_max=1024)
    good = bench.line()
    number, head = good.client.open(ECHO)
    good.say(head)
    bad = [bench.line() for _ in range(5)]
    for line in bad:
        line.say(b"".join(line.client.open(ECHO)[1] for _ in range(1000)))
    assert bench.desk.begun == BEGUN_MAX
    for line in bad:
        line.turn()
    refused = [
        sum(each.status == Code.RESOURCE_EXHAUSTED for each in line.client.responses.values()) for line in bad
    ]
    assert sum(refused) == 5001 - BEGUN_MAX and number not in good.client.responses, "of those who have most"
    good.say(frame(DATA, END_STREAM, number, message(b"whole")))
    assert good.client.responses[number].messages == [b"whole"]
    assert bench.desk.begun == BEGUN_MAX - 1
    bench.later(11.0)
    assert bench.desk.begun == BEGUN_MAX - 1 - EXPIRED_MAX, (
        "the others have to wait until they have been looked at"
    )
    for _ in range(20):
        bench.later(0.01)
    assert bench.desk.begun == 0
    for line in (good, *bad):
        line.lose()


@pytest.mark.parametrize("end", ["reset", "message", "half-close", "lost", "bomb"])
def test_a_call_is_expected_to_become_whole_until_it_ends(service: Service, end: str) -> None:
    bench = Bench(service)
    line = bench.line()
    number, head = line.client.open(ECHO)
    line.say(head + frame(DATA, 0, number, message(b"piece")[:-2]))
    assert bench.desk.begun == 1
    if end == "lost":
        line.lose()
    else:
        line.say(
            {
                "reset": frame(RST_STREAM, 0, number, bytes(4)),
                "message": frame(DATA, END_STREAM, number, b"ce"),
                "half-close": frame(DATA, END_STREAM, number),
                "bomb": frame(DATA, 0, number, b"ce" + b"\0\xff\xff\xff\xff"),
            }[end]
        )
    assert bench.desk.begun == 0
    line.lose()


def test_refusals_do_not_wait_longer_than_a_turn(service: Service) -> None:
    bench = Bench(service, overload_turn_ns=1)
    bench.turn = Turn()
    line = bench.line()
    overloaded(bench, line)
    calls = [line.client.call(HANG, b"") for _ in range(10)]
    line.say(b"".join(data for _, data in calls))
    line.turn()
    line.turn()
    refused = [number for number, _ in calls if number in line.client.responses]
    assert len(refused) == 9, "the answer waits for its records, they do not"
    line.lose()


def test_what_is_not_bounded_does_not_wait_while_overloaded(bench: Bench, service: Service) -> None:
    free = Bench(service)
    free.desk = Desk(
        service, {ECHO: Unary(free._echo), FAIL: Unary(free._echo, bounded=False)}, message_bytes_max=1024,
        streams_max=128, held_bytes_max=1024, keepalive_s=30, keepalive_timeout_s=10, client_ping_s=5, age_s=0,
        age_grace_s=0, overload_turn_ns=10**6,
    )  # fmt: skip
    line = free.line()
    overloaded(free, line)
    assert line.call(FAIL, b"kill").messages == [b"kill"]
    line.lose()


def test_overload_is_over_when_few_are_turned_away(bench: Bench) -> None:
    line = bench.line()
    overloaded(bench, line)
    bench.later(0.2)
    assert not bench.desk.overloaded, "of 65 calls one was refused"
    line.say(b"".join(line.client.call(ECHO, b"")[1] for _ in range(2 * IN_FLIGHT_MAX)))
    assert bench.desk.overloaded
    line.turn()
    bench.later(0.05)
    assert bench.desk.overloaded
    bench.later(0.2)
    assert bench.desk.overloaded, "half of them"
    bench.later(0.2)
    assert not bench.desk.overloaded
    assert line.call(ECHO, b"").status == Code.OK


def test_callers_who_ask_again_at_once_do_not_keep_overload_up(service: Service) -> None:
    """Fewer than there are places for, each with one call under way: no turn of one call serves them all, longer ones
    do."""
    bench = Bench(service, overload_turn_ns=200_000)
    line = bench.line()
    overloaded(bench, line)
    for _ in range(600):
        line.say(b"".join(line.client.call(BUSY, b"")[1] for _ in range(16)))
        line.turn()
        bench.later(0.01)
        if not bench.desk.overloaded:
            break
    assert not bench.desk.overloaded
    line.lose()


def test_clients_that_take_no_answers_do_not_keep_overload_up(bench: Bench) -> None:
    shut, line = bench.line(greet=False), bench.line()
    shut.say(PREFACE + settings(initial_window_size=0))
    for _ in range(IN_FLIGHT_MAX):
        shut.say(shut.client.call(ECHO, b"")[1])
        shut.turn()
    overloaded(bench, line)
    for _ in range(15):
        number, data = shut.client.call(ECHO, b"")
        shut.say(data)
        shut.turn()
        assert shut.client.responses[number].status == Code.RESOURCE_EXHAUSTED
        bench.later(0.01)
    assert not bench.desk.overloaded


def test_calls_that_come_whatever_is_answered_keep_it_up(service: Service) -> None:
    """However long a turn is, it brings three times as many as it can answer."""
    bench = Bench(service, overload_turn_ns=20_000)
    line = bench.line()
    overloaded(bench, line)
    answered = 1
    for _ in range(600):
        line.say(b"".join(line.client.call(BUSY, b"")[1] for _ in range(3 * answered)))
        bench.calls.clear()
        line.turn()
        answered = min(len(bench.calls), 30)
        bench.later(0.01)
        assert bench.desk.overloaded
    line.lose()


def test_calls_that_wait_for_their_turn_may_go_with_their_connection(service: Service) -> None:
    bench = Bench(service, overload_turn_ns=10**9)
    going, staying = bench.line(), bench.line()
    overloaded(bench, going)
    overloaded(bench, staying)
    cancelled, data = going.client.call(ECHO, b"cancelled")
    going.say(data + going.client.call(ECHO, b"lost")[1])
    going.say(rst_stream(cancelled))
    going.lose()
    going.turn()
    assert bench.calls == []
    number, data = staying.client.call(ECHO, b"cancelled")
    staying.say(data + rst_stream(number))
    staying.turn()
    assert bench.calls == [] and service.in_flight.count == 0
    staying.lose()


def test_calls_that_wait_while_the_socket_is_full_are_answered_when_it_is_not(bench: Bench) -> None:
    line = bench.line()
    overloaded(bench, line)
    number, data = line.client.call(ECHO, b"x")
    line.say(data)
    line.connection.pause_writing()
    line.turn()
    assert bench.calls == []
    line.connection.resume_writing()
    line.turn()
    assert line.client.responses[number].messages == [b"x"]


def test_a_full_socket_is_given_no_more_of_answers_that_are_ready(bench: Bench) -> None:
    """3.6 MB for a client whose windows are wide: they stay with us until the socket has room."""
    line = bench.line(greet=False)
    line.say(PREFACE + settings(initial_window_size=1 << 20) + window_update(0, 1 << 24))
    payload, size = bytes(60_000), 15_001
    body = message(payload)
    said, numbers = b"", []
    for _ in range(60):
        number, data = line.client.open(ECHO)
        numbers.append(number)
        said += data
        for at in range(0, len(body), size):
            said += frame(DATA, END_STREAM * (at + size >= len(body)), number, body[at : at + size])
    line.wire.full = True
    before = len(line.wire.writes)
    line.say(said)
    for _ in range(100):
        written = sum(map(len, line.wire.writes[before:]))
        assert written < 1 << 18
        if not written:
            break
        before = len(line.wire.writes)
        line.connection.resume_writing()
        line.turn()
    assert [line.client.responses[number].messages for number in numbers] == [[payload]] * 60


def test_calls_without_a_message_take_no_place(bench: Bench) -> None:
    """Or a client with nothing but headers keeps all others from theirs."""
    silent, line = bench.line(), bench.line()
    for _ in range(2):
        silent.say(b"".join(silent.client.open(ECHO)[1] for _ in range(IN_FLIGHT_MAX)))
    assert bench.service.in_flight.count == 0
    assert line.call(ECHO, b"x").messages == [b"x"]


def test_an_answer_taken_back_before_it_leaves_is_an_error(bench: Bench) -> None:
    line = bench.line()
    number, data = line.client.call(HANG, b"")
    line.say(data)
    bench.hanging[0].resolve(b"firm")
    bench.hanging[0].killed = True
    line.turn()
    response = line.client.responses[number]
    assert (response.status, response.message) == (Code.UNAVAILABLE, "killed meanwhile")


def test_a_handlers_exception_leaves_nothing_of_itself(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bench, "calls", None)  # append fails
    response = bench.line().call(ECHO, b"")
    assert response.status == Code.INTERNAL and "NoneType" not in response.message


def test_a_status_too_large_for_clients_goes_without_details(bench: Bench, service: Service) -> None:
    def verbose(payload: bytes, context: CallContext) -> bytes:
        violations = [{"field": f"f{k}", "description": "x" * 100} for k in range(200)]
        raise RpcError(
            Code.INVALID_ARGUMENT, "y" * 10_000, (error_details_pb2.BadRequest(field_violations=violations),)
        )

    large = Bench(service)
    large.desk = Desk(
        service, {ECHO: Unary(verbose)}, message_bytes_max=1024, streams_max=8, held_bytes_max=1024, keepalive_s=30,
        keepalive_timeout_s=10, client_ping_s=5, age_s=0, age_grace_s=0, overload_turn_ns=10**6,
    )  # fmt: skip
    line = large.line()
    response = line.call(ECHO, b"")
    assert response.status == Code.INVALID_ARGUMENT
    assert response.message == "y" * TEXT_BYTES_MAX and "grpc-status-details-bin" not in response.headers
    line.lose()


# --- messages: size and compression -----------------------------------------------------------------------------------


def test_a_message_above_the_limit_is_refused_at_its_prefix(bench: Bench) -> None:
    line = bench.line()
    number, data = line.client.open(ECHO)
    line.say(data + frame(DATA, 0, number, b"\0" + struct.pack(">I", MESSAGE_BYTES_MAX + 1)))
    response = line.client.responses[number]
    assert response.status == Code.RESOURCE_EXHAUSTED
    assert (
        response.message
        == f"Received message larger than max ({MESSAGE_BYTES_MAX + 1} vs. {MESSAGE_BYTES_MAX})"
    )


def test_a_message_of_just_the_limit_is_taken(bench: Bench) -> None:
    payload = b"x" * MESSAGE_BYTES_MAX
    line = bench.line()
    number, data = line.client.open(ECHO)
    body = message(payload)
    for at in range(0, len(body), 16_384):
        last = at + 16_384 >= len(body)
        data += frame(DATA, END_STREAM if last else 0, number, body[at : at + 16_384])
    line.say(data)
    line.say(window_update(0, 1 << 20) + window_update(number, 1 << 20))
    assert line.client.responses[number].messages == [payload]


@pytest.mark.parametrize("coding", ["gzip", "deflate"])
def test_a_compressed_message_is_inflated(bench: Bench, coding: str) -> None:
    import zlib

    payload = b"tick " * 1000
    packed = gzipped(payload) if coding == "gzip" else zlib.compress(payload)
    line = bench.line()
    number, data = line.client.open(ECHO, grpc_encoding=coding)
    line.say(data + frame(DATA, END_STREAM, number, message(packed, flag=1)))
    assert line.client.responses[number].messages == [payload]
    number, data = line.client.open(ECHO, grpc_encoding=coding)
    line.say(data + frame(DATA, END_STREAM, number, message(payload)))
    assert line.client.responses[number].messages == [payload], "each message says for itself"


def test_a_compression_bomb_is_refused_at_the_limit(bench: Bench) -> None:
    packed = gzipped(b"\0" * (64 * 1024 * 1024))
    line = bench.line()
    number, data = line.client.open(ECHO, grpc_encoding="gzip")
    body = message(packed, flag=1)
    assert len(packed) <= MESSAGE_BYTES_MAX
    for at in range(0, len(body), 16_384):
        data += frame(DATA, 0, number, body[at : at + 16_384])
    line.say(data + frame(DATA, END_STREAM, number))
    assert line.client.responses[number].status == Code.RESOURCE_EXHAUSTED
    assert bench.calls == []


@pytest.mark.parametrize(
    ("encoding", "flag", "body", "code"),
    [
        ("snappy", 1, b"x", Code.UNIMPLEMENTED),
        ("", 1, b"x", Code.INTERNAL),
        ("identity", 1, b"x", Code.INTERNAL),
        ("gzip", 1, b"no gzip", Code.INTERNAL),
        ("gzip", 1, gzipped(b"hello")[:-3], Code.INTERNAL),
        ("gzip", 1, gzipped(b"hello") + gzipped(b"world"), Code.INTERNAL),
        ("gzip", 1, gzipped(b"hello") + b"!", Code.INTERNAL),
        ("", 2, b"x", Code.INTERNAL),
    ],
)
def test_compression_that_cannot_be(bench: Bench, encoding: str, flag: int, body: bytes, code: Code) -> None:
    line = bench.line()
    number, data = line.client.open(ECHO, grpc_encoding=encoding)
    line.say(data + frame(DATA, END_STREAM, number, message(body, flag=flag)))
    response = line.client.responses[number]
    assert response.status == code and bench.calls == []
    if encoding == "snappy":
        assert response.headers["grpc-accept-encoding"] == "identity,deflate,gzip"


def test_what_all_calls_hold_together_is_bounded(service: Service) -> None:
    bench = Bench(service, held_bytes_max=200_000)
    lines = [bench.line() for _ in range(3)]
    opened = []
    for line in lines:
        for _ in range(2):
            number, data = line.client.open(ECHO)
            opened.append((line, number))
            line.say(data + frame(DATA, 0, number, (b"\0" + struct.pack(">I", 65_000))))
            for _ in range(3):
                line.say(frame(DATA, 0, number, b"x" * 16_000))
    refused = [line.client.responses.get(number) for line, number in opened]
    codes = [each.status for each in refused if each is not None and each.headers]
    assert codes == [Code.RESOURCE_EXHAUSTED] * 2
    assert bench.desk.held_bytes <= 200_000
    for line in lines:
        line.lose()
    assert bench.desk.held_bytes == 0 and service.in_flight.count == 0


def test_small_messages_count_as_what_they_take(service: Service) -> None:
    bench = Bench(service)
    line = bench.line(greet=False)
    line.say(PREFACE + settings(initial_window_size=0))
    number, data = line.client.open(TALK, grpc_encoding="gzip")
    line.say(data + frame(DATA, 0, number, message(b"a")))
    one = message(b"xy", flag=1)
    tracemalloc.start()
    for _ in range(4):
        line.say(frame(DATA, 0, number, one * 2000))
    taken, _ = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert taken < 2 * bench.desk.held_bytes
    line.lose()
    assert bench.desk.held_bytes == 0


# --- streams ----------------------------------------------------------------------------------------------------------


def test_a_stream_is_told_of_messages_half_close_and_end(bench: Bench) -> None:
    line = bench.line()
    number, data = line.client.open(TALK)
    line.say(data + frame(DATA, 0, number, message(b"one") + message(b"two")))
    assert line.client.responses[number].messages == [b"one", b"two"]
    line.say(frame(DATA, END_STREAM, number, message(b"three")))
    (talk,) = bench.talks
    assert (talk.messages, talk.half_closed, talk.cancelled) == ([b"one", b"two", b"three"], 1, 1)
    response = line.client.responses[number]
    assert response.messages == [b"one", b"two", b"three"] and response.status == Code.OK and response.ended


def test_a_stream_whose_client_goes_is_told_once(bench: Bench) -> None:
    line = bench.line()
    number, data = line.client.open(TALK)
    line.say(data + frame(DATA, 0, number, message(b"one")))
    line.say(rst_stream(number))
    (talk,) = bench.talks
    assert (talk.half_closed, talk.cancelled) == (0, 1)
    talk.call.send(b"more")
    talk.call.finish()
    assert not line.turn()


def test_an_error_of_a_stream_ends_it_behind_what_was_sent(bench: Bench) -> None:
    line = bench.line()
    number, data = line.client.open(TALK)
    line.say(data + frame(DATA, 0, number, message(b"one") + message(b"wrong") + message(b"two")))
    response = line.client.responses[number]
    assert response.messages == [b"one"] and not response.ended, (
        "a writing client hears of it when it has stopped"
    )
    bench.later(limits.HOLD_S + 0.01)
    line.hear()
    assert response.ended and (response.status, response.message) == (Code.INVALID_ARGUMENT, "that is wrong")
    (talk,) = bench.talks
    assert talk.messages == [b"one", b"wrong"]
    bench.later(limits.HOLD_S + 0.01)
    line.hear()
    assert response.reset == NO_ERROR, "its own half is ended for it"


def test_no_message_is_handed_over_while_the_handler_has_no_room(bench: Bench) -> None:
    line = bench.line()
    number, data = line.client.open(TALK)
    line.say(data)
    (talk,) = bench.talks
    talk.room = Deferred()
    talk.answers = 0
    body = message(b"x" * 1000)
    line.say(b"".join(frame(DATA, 0, number, body) for _ in range(65)))  # all that the window lets through
    assert len(talk.messages) == 1
    assert line.client.count(WINDOW_UPDATE, number) == 0
    room, talk.room = talk.room, None
    room.resolve(b"")
    line.turn()
    line.turn()
    line.turn()
    assert len(talk.messages) == 65
    assert line.client.count(WINDOW_UPDATE, number) >= 1


def test_no_message_is_handed_over_while_answers_wait_unless_the_method_reads_on(bench: Bench) -> None:
    line = bench.line(greet=False)
    line.say(PREFACE + settings(initial_window_size=0))
    for path in (TALK, EAGER):
        number, data = line.client.open(path)
        line.say(data + frame(DATA, 0, number, message(b"1")))
        line.say(frame(DATA, 0, number, message(b"2")))
        line.say(frame(DATA, 0, number, message(b"3")))
    held_back, eager = bench.talks
    assert held_back.messages == [b"1"] and eager.messages == [b"1", b"2", b"3"]
    line.say(settings(initial_window_size=1000))
    assert held_back.messages == [b"1", b"2", b"3"]
    assert line.client.responses[1].messages == line.client.responses[3].messages == [b"1", b"2", b"3"]


def test_a_payload_to_be_called_is_called_when_it_can_be_sent(bench: Bench) -> None:
    line = bench.line(greet=False)
    line.say(PREFACE + settings(initial_window_size=0))
    number, data = line.client.open(EAGER)
    line.say(data)
    called = []
    bench.talks[0].call.send(lambda: called.append(1) or b"now")  # type: ignore[func-returns-value]
    line.turn()
    assert called == []
    line.say(window_update(number, 100))
    assert called == [1] and line.client.responses[number].messages == [b"now"]


def test_a_client_that_reads_nothing_is_cut_off_not_buffered(bench: Bench) -> None:
    line = bench.line(greet=False)
    line.say(PREFACE + settings(initial_window_size=0))
    number, data = line.client.open(EAGER)
    line.say(data)
    (talk,) = bench.talks
    for _ in range(limits.BACKLOG_MAX + 10):
        talk.call.send(b"x")
    line.turn()
    assert talk.cancelled == 0
    bench.later(limits.HOLD_S + 0.01)
    line.hear()
    assert line.client.responses[number].reset is not None and talk.cancelled == 1


def test_streams_are_bounded_over_all_connections(service: Service) -> None:
    bench = Bench(service, streams_max=3)
    first, second = bench.line(), bench.line()
    for _ in range(3):
        first.say(first.client.open(TALK)[1])
    number, data = second.client.open(TALK)
    second.say(data)
    assert second.client.responses[number].status == Code.RESOURCE_EXHAUSTED
    first.say(rst_stream(1))
    number, data = second.client.open(TALK)
    second.say(data)
    assert len(bench.talks) == 4
    first.lose()
    second.lose()
    assert not bench.desk.conversations


def test_one_connection_opens_no_more_streams_than_it_was_told(service: Service) -> None:
    bench = Bench(service, streams_max=3)
    line = bench.line()
    numbers = []
    for _ in range(5):
        number, data = line.client.call(HANG, b"")
        numbers.append(number)
        line.say(data)
    assert len(bench.calls) == 3
    assert line.client.count(RST_STREAM) + line.client.count(GOAWAY) >= 1
    line.lose()


def test_a_deadline_ends_a_stream(bench: Bench) -> None:
    line, clock = bench.line(), bench.service.clock
    number, data = line.client.open(TALK, grpc_timeout="1S")
    line.say(data + frame(DATA, 0, number, message(b"one")))
    clock.set_ns(clock.now_ns() + 10**9)  # type: ignore[attr-defined]
    bench.later(0.01)
    line.hear()
    assert line.client.responses[number].status == Code.DEADLINE_EXCEEDED
    assert bench.talks[0].cancelled == 1


def test_many_small_messages_do_not_keep_others_waiting(bench: Bench) -> None:
    """A chunk of 3,000 messages is handed over in portions, between which the loop turns."""
    line = bench.line()
    number, data = line.client.open(EAGER)
    line.say(data)
    (talk,) = bench.talks
    talk.answers = 0
    body = message(b"") * 3000
    line.say(frame(DATA, 0, number, body[:15_000]))
    assert 0 < len(talk.messages) < 200
    turns = 0
    while len(talk.messages) < 3000:
        line.turn()
        turns += 1
        assert turns < 200
    assert turns > 10


def test_others_have_their_turn_between_portions_of_one_stream(bench: Bench) -> None:
    line = bench.line()
    number, data = line.client.open(EAGER)
    line.say(data)
    bench.talks[0].answers = 0
    line.say(frame(DATA, 0, number, message(b"") * 2000))
    assert len(bench.talks[0].messages) == 32
    line.turn()
    assert len(bench.talks[0].messages) == 64


def test_a_stream_whose_time_is_over_before_it_begins_is_not_opened(bench: Bench) -> None:
    line = bench.line()
    number, data = line.client.open(TALK, grpc_timeout="0n")
    line.say(data)
    bench.later(limits.HOLD_S + 0.1)
    line.hear()
    assert line.client.responses[number].status == Code.DEADLINE_EXCEEDED and not bench.talks


@pytest.mark.parametrize("how", ["ok", "error", "deadline"])
def test_a_status_needs_no_window(bench: Bench, how: str) -> None:
    """All of a message has been taken, and with it the whole window."""
    line = bench.line(greet=False)
    line.say(PREFACE + settings(initial_window_size=len(message(b"ab"))))
    number, data = line.client.open(TALK, ("grpc-timeout", "1S"))
    line.say(data)
    (talk,) = bench.talks
    talk.call.send(b"ab")
    line.turn()
    response = line.client.responses[number]
    assert response.messages == [b"ab"] and not response.trailers
    if how == "deadline":
        bench.service.clock.set_ns(bench.service.clock.now_ns() + 2 * 10**9)  # type: ignore[attr-defined]
    else:
        talk.call.finish(None if how == "ok" else RpcError(Code.ABORTED, "no"))
        line.turn()
    bench.later(limits.HOLD_S + 0.1)
    line.hear()
    assert response.status == {"ok": Code.OK, "error": Code.ABORTED, "deadline": Code.DEADLINE_EXCEEDED}[how]
    line.say(window_update(number, 100))
    assert response.messages == [b"ab"] and response.ended


# --- flow control and back-pressure -----------------------------------------------------------------------------------


def test_a_reply_is_sent_as_the_clients_window_lets_it(bench: Bench) -> None:
    line = bench.line(greet=False)
    line.say(PREFACE + settings(initial_window_size=10))
    number, data = line.client.call(ECHO, b"y" * 400)
    line.say(data)
    response = line.client.responses[number]
    assert len(response.data) == 10 and not response.ended
    while not response.ended:
        before = len(response.data)
        line.say(window_update(number, 100))
        assert len(response.data) - before <= 100
    assert response.messages == [b"y" * 400] and response.status == Code.OK


def test_an_answer_is_asked_for_last_when_the_window_opens(bench: Bench) -> None:
    line = bench.line(greet=False)
    line.say(PREFACE + settings(initial_window_size=0))
    number, data = line.client.call(HANG, b"")
    line.say(data)
    (answer,) = bench.hanging
    answer.resolve(b"firm")
    line.turn()
    assert answer.asked == 0 and bench.service.in_flight.count == 0, "who takes no answers keeps no place"
    line.say(window_update(number, 100))
    assert answer.asked == 1 and line.client.responses[number].messages == [b"firm"]


def test_no_more_answers_are_asked_for_than_the_window_takes(bench: Bench) -> None:
    """A kill takes back what has not left: what is asked for too soon would leave after it."""
    line = bench.line()
    calls = [line.client.call(HANG, b"") for _ in range(60)]
    line.say(b"".join(data for _, data in calls))
    size = 5000
    for answer in bench.hanging:
        answer.resolve(b"z" * size)
    line.turn()
    asked = sum(answer.asked for answer in bench.hanging)
    assert asked == 65_535 // (size + 5) + 1
    for answer in bench.hanging:
        answer.killed = True
    line.say(window_update(0, 10**6))
    line.turn()
    codes = Counter(line.client.responses[number].status for number, _ in calls)
    assert codes == {Code.OK: asked, Code.UNAVAILABLE: 60 - asked}


def test_what_a_closed_call_leaves_unsent_is_no_longer_in_the_way(bench: Bench) -> None:
    line = bench.line()
    first, data = line.client.call(ECHO, b"y" * 40_000)
    second, more = line.client.call(ECHO, b"z" * 40_000)
    third, last = line.client.call(ECHO, b"small")
    line.say(_open_slowly(data) + _open_slowly(more))
    line.say(last)
    assert not line.client.responses[first].ended and not line.client.responses[second].ended
    assert third not in line.client.responses
    line.say(rst_stream(second))
    line.say(window_update(0, 10_000))
    assert line.client.responses[first].ended
    assert line.client.responses[third].messages == [b"small"]


def _open_slowly(call: bytes) -> bytes:
    """The one large DATA frame of a call in frames that HTTP/2 lets through."""
    out, at = b"", 0
    while at < len(call):
        size = int.from_bytes(call[at : at + 3], "big")
        kind, flags, number = call[at + 3], call[at + 4], int.from_bytes(call[at + 5 : at + 9], "big")
        payload = call[at + 9 : at + 9 + size]
        if kind == DATA:
            for part in range(0, size, 16_384):
                last = part + 16_384 >= size
                out += frame(DATA, flags if last else 0, number, payload[part : part + 16_384])
        else:
            out += call[at : at + 9 + size]
        at += 9 + size
    return out


def test_answers_that_nobody_takes_are_bounded(service: Service) -> None:
    """Over all connections as many as calls may be in flight; who has no window beyond that is turned away."""
    bench = Bench(service)
    lines = [bench.line(greet=False) for _ in range(4)]
    codes: Counter[int] = Counter()
    for line in lines:
        line.say(PREFACE + settings(initial_window_size=0))
        for _ in range(40):
            number, data = line.client.call(ECHO, b"x")
            line.say(data)
            if number in line.client.responses:
                codes[line.client.responses[number].status] += 1
            line.turn()
    assert len(bench.calls) == IN_FLIGHT_MAX and codes == {Code.RESOURCE_EXHAUSTED: 4 * 40 - IN_FLIGHT_MAX}
    assert bench.line().call(ECHO, b"x").status == Code.OK, "whose window is open is answered"
    lines[0].say(settings(initial_window_size=1000))
    lines[3].turn()
    number, data = lines[3].client.call(ECHO, b"x")
    lines[3].say(data)
    assert number not in lines[3].client.responses, "there is room for it again"
    for line in bench.lines:
        line.lose()


def test_a_client_that_takes_a_part_of_a_message_and_no_more_is_given_up(bench: Bench) -> None:
    line = bench.line(greet=False)
    line.say(PREFACE + settings(initial_window_size=3))
    stream, data = line.client.open(TALK)
    line.say(data)
    bench.talks[0].call.send(b"abcdef")
    line.turn()
    unary, data = line.client.call(ECHO, b"abcdef")
    line.say(data)
    for _ in range(int(limits.STALL_S) - 2):
        bench.later(1.0)
    line.say(window_update(stream, 1))
    bench.later(1.0)
    bench.later(limits.STALL_S - 0.5)
    line.hear()
    assert line.client.responses[unary].reset is not None
    assert line.client.responses[stream].reset is None, "it took another byte"
    bench.later(1.0)
    line.hear()
    assert line.client.responses[stream].reset is not None


def test_messages_that_wait_to_be_sent_are_bounded_by_their_bytes(service: Service) -> None:
    bench = Bench(service, held_bytes_max=10 * limits.BACKLOG_BYTES_MAX)
    line = bench.line(greet=False)
    line.say(PREFACE + settings(initial_window_size=0))
    for _ in range(3):
        line.say(line.client.open(EAGER)[1])
    large, many, small = (talk.call for talk in bench.talks)
    large.send(b"x" * (2 * limits.BACKLOG_BYTES_MAX))  # one always may
    assert not large.finished  # type: ignore[attr-defined]
    large.send(b"x")
    assert large.finished  # type: ignore[attr-defined]
    for _ in range(100):
        many.send(b"x" * 20_000)
    assert many.finished  # type: ignore[attr-defined]
    for _ in range(100):
        small.send(b"x" * 100)
    assert not small.finished  # type: ignore[attr-defined]
    line.lose()


def test_messages_of_all_streams_that_wait_to_be_sent_are_bounded(service: Service) -> None:
    bench = Bench(service, held_bytes_max=1_000_000)
    for _ in range(4):
        line = bench.line(greet=False)
        line.say(PREFACE + settings(initial_window_size=0) + line.client.open(EAGER)[1])
    for talk in bench.talks:
        for _ in range(4):
            talk.call.send(b"x" * 100_000)
    assert [talk.call.finished for talk in bench.talks] == [False, False, True, True]  # type: ignore[attr-defined]
    for line in bench.lines:
        line.lose()


def test_a_connection_whose_window_is_shut_is_given_up(bench: Bench) -> None:
    line = bench.line(greet=False)
    line.say(PREFACE + settings(initial_window_size=0))
    numbers = []
    for _ in range(3):
        number, data = line.client.call(ECHO, b"x")
        numbers.append(number)
        line.say(data)
    bench.later(limits.STALL_S + 0.1)
    line.hear()
    assert all(line.client.responses[number].reset is not None for number in numbers)


def open_with_a_window_of(bench: Bench, line: Line, size: int, *more: tuple[str, str]) -> tuple[int, Talk]:
    """A stream whose client takes just so many bytes."""
    line.say(PREFACE + settings(initial_window_size=size))
    number, data = line.client.open(TALK, *more)
    line.say(data)
    return number, bench.talks[-1]


def test_a_status_does_not_overtake_what_waits(bench: Bench) -> None:
    line = bench.line(greet=False)
    number, talk = open_with_a_window_of(bench, line, 3)
    talk.call.send(b"ab")
    talk.call.finish()
    line.turn()
    response = line.client.responses[number]
    assert response.data == message(b"ab")[:3] and not response.ended
    line.say(window_update(number, 4))
    assert response.messages == [b"ab"] and response.status == Code.OK


def test_an_answer_that_waits_for_its_own_window_does_not_hold_up_others(bench: Bench) -> None:
    line = bench.line()
    line.say(window_update(0, 1 << 19))
    big, data = line.client.call(HANG, b"")
    line.say(data + b"".join(line.client.call(HANG, b"")[1] for _ in range(10)))
    for answer in bench.hanging:
        answer.resolve(b"z" * (1 << 20) if answer is bench.hanging[0] else b"small")
    line.turn()
    assert not line.client.responses[big].ended
    assert [line.client.responses[big + 2 * k].messages for k in range(1, 11)] == [[b"small"]] * 10


def test_messages_of_a_stream_that_do_not_fit_are_not_asked_for(bench: Bench) -> None:
    line = bench.line(greet=False)
    number, talk = open_with_a_window_of(bench, line, 50)
    called = []
    for k in range(20):
        talk.call.send(lambda k=k: called.append(k) or b"x" * 15)  # type: ignore[func-returns-value,misc]
    line.turn()
    assert called == [0, 1, 2], "20 bytes each"
    line.say(window_update(number, 10))
    assert called == [0, 1, 2]
    line.say(window_update(number, 1))
    assert called == [0, 1, 2, 3]


def test_an_answer_that_was_taken_at_last_waits_no_more(bench: Bench) -> None:
    line = bench.line(greet=False)
    line.say(PREFACE + settings(initial_window_size=0))
    for _ in range(3 * IN_FLIGHT_MAX):
        number, data = line.client.call(ECHO, b"x")
        line.say(data)
        line.say(window_update(number, 100))
        line.turn()
        assert line.client.responses[number].messages == [b"x"]
    waiting, data = line.client.call(ECHO, b"x")
    line.say(data)
    for _ in range(IN_FLIGHT_MAX - 1):
        line.say(line.client.call(ECHO, b"x")[1])
        line.turn()
    line.say(window_update(waiting, 100))
    assert line.client.responses[waiting].messages == [b"x"]


def test_a_stream_that_waits_for_its_window_is_looked_at_once_when_it_opens(bench: Bench) -> None:
    """However often something has come for it meanwhile."""
    line = bench.line(greet=False)
    line.say(PREFACE + settings(initial_window_size=0))
    number, data = line.client.open(EAGER)
    line.say(data + frame(DATA, 0, number, message(b"a")))
    for _ in range(200):
        line.say(frame(DATA, 0, number, message(b"a")))
    assert len(bench.talks[0].messages) == 201
    assert max(len(each) for each in gc.get_referents(line.connection) if isinstance(each, list)) == 1


@pytest.mark.parametrize("window", [0, 1])
def test_answers_that_wait_for_windows_are_as_many_as_there_are_places(service: Service, window: int) -> None:
    """Over all connections, though the windows were open when the calls came; who has waited longest gives way."""
    bench = Bench(service, streams_max=1024)
    lines, calls = [], []
    for _ in range(3):
        line = bench.line()
        lines.append(line)
        opened = [line.client.call(HANG, b"") for _ in range(IN_FLIGHT_MAX)]
        line.say(b"".join(data for _, data in opened))
        line.say(settings(initial_window_size=window))
        line.turn()
        for answer in bench.hanging:
            answer.resolve(b"x")
        line.turn()
        calls.append((line, [line.client.responses.setdefault(number, Response()) for number, _ in opened]))
    assert len(bench.calls) == 3 * IN_FLIGHT_MAX and service.in_flight.count == 0
    for line in lines:
        line.turn()
    *gone, (line, waiting) = calls
    for response in (each for _, group in gone for each in group):
        if window:
            assert response.reset == CANCEL and len(response.data) == window
        else:
            assert response.ended and response.status == Code.RESOURCE_EXHAUSTED
    assert not any(response.ended or response.reset for response in waiting)
    line.say(settings(initial_window_size=100))
    assert all(response.messages == [b"x"] for response in waiting)
    for line in lines:
        line.lose()


def test_nothing_is_made_or_read_while_the_transport_is_full(bench: Bench) -> None:
    line = bench.line()
    line.wire.full = True
    number, data = line.client.call(ECHO, b"one")
    line.say(data)
    assert not line.wire.reading
    writes = len(line.wire.writes)
    second, data = line.client.call(ECHO, b"two")
    line.say(data)  # was on its way
    assert len(line.wire.writes) == writes and len(bench.calls) == 1
    line.wire.full = False
    line.connection.resume_writing()
    line.hear()
    assert line.wire.reading
    assert line.client.responses[number].messages == [b"one"]
    assert line.client.responses[second].messages == [b"two"]


def test_a_ping_is_not_missed_while_nothing_is_read(bench: Bench) -> None:
    line = bench.line()
    bench.later(30.1)
    assert [each.kind for each in line.hear()] == [PING]
    line.connection.pause_writing()
    bench.later(12)
    line.connection.resume_writing()
    bench.later(0.01)
    assert not line.wire.closed
    bench.later(10.1)
    assert line.wire.aborted


def test_a_connection_that_leaves_says_so_before_it_is_closed(bench: Bench) -> None:
    line = bench.line()
    line.connection.pause_writing()
    line.connection.leave()
    bench.later(1.1)
    assert not line.wire.closed
    line.connection.resume_writing()
    line.hear()
    assert len(line.client.goaways()) >= 1 and line.wire.ended


def test_frames_of_a_connection_that_fails_do_not_go_to_another(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its answers are made, and before they are written something goes wrong."""
    one, other = bench.line(), bench.line()
    stream, data = one.client.open(TALK)
    one.say(data)
    bench.talks[0].on_half_close = lambda: None  # type: ignore[method-assign]
    one.say(frame(DATA, END_STREAM, stream, b""))

    def failing(_: str) -> bytes:
        raise RuntimeError("boom")

    monkeypatch.setattr(native_call, "grpc_message", failing)
    call = bench.talks[0].call
    call.send(b"q" * 20_000)
    call.send(b"r")
    call.finish(RpcError(Code.ABORTED, "told by what fails"))
    one.say(one.client.call(ECHO, b"for one alone")[1])
    one.turn()
    assert one.wire.aborted
    writes = len(other.wire.writes)
    other.say(frame(PING, 0, 0, b"12345678"))
    assert b"".join(other.wire.writes[writes:]) == frame(PING, ACK, 0, b"12345678")


def test_a_client_that_does_not_read_its_socket_is_cut_off(bench: Bench) -> None:
    line = bench.line()
    line.connection.pause_writing()
    bench.later(limits.STALL_S - 1)
    assert not line.wire.aborted
    bench.later(2)
    assert line.wire.aborted


def test_after_an_answer_the_event_loop_does_not_sleep_for_a_while(service: Service) -> None:
    for busy_poll_ns, looks in ((0, 0), (1, 0), (10**15, 9)):
        bench = Bench(service, busy_poll_ns=busy_poll_ns)
        line = bench.line()
        line.turn()
        line.say(line.client.call(ECHO, b"one")[1])
        line.say(line.client.call(ECHO, b"two")[1])
        line.turn()  # the end of the turn of these calls is told too
        seen = 0
        while line.loop.calls and seen < 9:
            line.turn()
            seen += 1
        assert seen == looks
        bench.desk.draining = True
        line.turn()
        assert not line.loop.calls


# --- abuse ------------------------------------------------------------------------------------------------------------


def calm(line: Line) -> bool:
    return any(code == ENHANCE_YOUR_CALM for _, code, _ in line.client.goaways()) and line.wire.closed


def test_pings_are_answered_and_too_many_of_them_end_the_connection(bench: Bench) -> None:
    line = bench.line()
    said = line.say(frame(PING, 0, 0, b"12345678"))
    assert [(each.kind, each.flags, each.payload) for each in said] == [(PING, ACK, b"12345678")]
    for _ in range(2):
        line.say(frame(PING, 0, 0, b"12345678"))
    assert not line.wire.closed
    line.say(frame(PING, 0, 0, b"12345678"))
    assert calm(line) and line.client.goaways()[0][2] == b"too_many_pings"


def test_timely_pings_and_those_between_answers_are_welcome(bench: Bench) -> None:
    line = bench.line()
    for _ in range(10):
        line.say(frame(PING, 0, 0, b"12345678"))
        bench.later(5.0)
    for _ in range(10):
        line.call(ECHO, b"")
        line.say(frame(PING, 0, 0, b"12345678"))
        line.call(ECHO, b"")
        line.say(frame(PING, 0, 0, b"12345678"))
    assert not line.wire.closed


def test_pings_are_timely_by_all_the_time_between_them_also_where_the_loop_stood_still(bench: Bench) -> None:
    line, ping = bench.line(), frame(PING, 0, 0, b"12345678")
    bench.look(0.01, 0.01)
    for _ in range(10):
        line.say(ping)
        bench.look(0.1, 5.0)
    for _ in range(10):  # read between two looks
        bench.look(0.1, 4.999)
        line.loop.now_s += 0.003
        line.say(ping)
        bench.look(0.01, 0.01)
    for _ in range(5):
        bench.look(0.1, 12.0)
        line.say(ping + ping)  # both waited to be read
    assert not line.wire.closed
    bench.look(0.01, 0.01)
    bench.look(0.01, 0.01)
    for _ in range(4):
        line.say(ping)
    assert calm(line)


def test_what_a_client_may_do_in_a_second_does_not_depend_on_how_often_it_is_looked_after(
    bench: Bench,
) -> None:
    for seconds in (0.01, 0.5, 4.0):
        line = bench.line()
        for _ in range(round(20 / seconds)):
            bench.look(min(seconds, 0.1), seconds)
            for _ in range(round(20 * seconds) or 1):  # 800 frames a second of the 1,000 allowed
                line.say(window_update(0, 1) * (40 if seconds >= 0.05 else 8))
        assert not line.wire.closed
        line.say(window_update(0, 1) * 6000)
        assert calm(line)


@pytest.mark.parametrize(
    ("name", "bytes_", "most"),
    [
        ("settings", settings(), 200),
        ("ping acks", frame(PING, ACK, 0, b"12345678"), 6000),
        ("priority", frame(PRIORITY, 0, 1, struct.pack(">IB", 0, 1)), 6000),
        ("window updates", window_update(0, 1), 6000),
        ("empty data", frame(DATA, 0, 1), 6000),
        ("padded empty data", frame(DATA, PADDED, 1, bytes([3, 0, 0, 0])), 6000),
        ("data behind a message", frame(DATA, 0, 3, b"x"), 6000),
    ],
)
def test_a_flood_ends_the_connection(bench: Bench, name: str, bytes_: bytes, most: int) -> None:
    line = bench.line()
    line.say(line.client.open(TALK)[1])
    line.say(line.client.open(HANG)[1] + frame(DATA, 0, 3, message(b"x")))
    sent = 0
    while not line.wire.closed:
        line.say(bytes_ * 50)
        sent += 50
        assert sent <= most, f"{sent} {name} are taken"


def test_rapid_resets_end_the_connection_before_they_cost_much(bench: Bench) -> None:
    line = bench.line()
    sent = 0
    while not line.wire.closed:
        number, data = line.client.call(HANG, b"")
        line.say(data + rst_stream(number))
        sent += 1
        assert sent <= 2500
    assert bench.calls == []


def test_cancelling_now_and_then_is_no_abuse(bench: Bench) -> None:
    line = bench.line()
    for k in range(1500):
        number, data = line.client.call(HANG, b"")
        line.say(data)
        line.say(rst_stream(number))
        if k % 2 == 0:
            bench.later(0.01)
        line.call(ECHO, b"")
        line.turn()
    assert not line.wire.closed


def test_answers_earn_the_window_updates_that_clients_send_for_them(bench: Bench) -> None:
    line = bench.line()
    for _ in range(5000):
        number, data = line.client.call(ECHO, b"x")
        line.say(data)
        line.say(window_update(0, 6) * 2 + window_update(number, 6))
        line.turn()
    assert not line.wire.closed and len(bench.calls) == 5000


@pytest.mark.parametrize("last", ["x-long", "content-type"])
def test_headers_beyond_the_limit_are_refused_in_words(bench: Bench, last: str) -> None:
    """Wherever the long one stands: some clients send their own metadata before the content type."""
    line = bench.line()
    more = sorted(
        (("x-long", "a" * 9000), ("content-type", "application/grpc")), key=lambda each: each[0] == last
    )
    number, data = line.client.open(ECHO, *more, content_type="")
    assert len(data) < 16_384
    line.say(data + frame(DATA, END_STREAM, number, message(b"")))
    assert line.client.responses[number].status == Code.RESOURCE_EXHAUSTED
    assert bench.calls == []
    assert line.call(ECHO, b"").status == Code.OK, "the table of headers is whole"


def test_a_header_bomb_ends_the_connection(bench: Bench) -> None:
    """One entry of 4,000 bytes in the table, referred to by one byte a time."""
    line = bench.line()
    name, value = b"x-bomb", b"v" * 3900
    literal = b"\x40" + bytes([len(name)]) + name + b"\x7f" + _integer(len(value) - 127) + value
    _, start = line.client.open(ECHO)
    block = start[9:] + literal + b"\xbe" * 10_000
    line.say(frame(HEADERS, END_HEADERS, 1, block))
    assert line.wire.closed
    assert bench.calls == []


def _integer(value: int) -> bytes:
    out = b""
    while value >= 128:
        out += bytes([value & 127 | 128])
        value >>= 7
    return out + bytes([value])


def test_a_flood_of_continuations_ends_the_connection(bench: Bench) -> None:
    line = bench.line()
    number, data = line.client.open(ECHO)
    sent = 0
    line.say(frame(HEADERS, 0, number, data[9:]))
    while not line.wire.closed:
        line.say(frame(CONTINUATION, 0, number, b""))
        sent += 1
        assert sent <= 20


def test_headers_in_a_few_continuations_are_fine(bench: Bench) -> None:
    line = bench.line()
    number, data = line.client.open(ECHO)
    block = data[9:]
    line.say(
        frame(HEADERS, 0, number, block[:10])
        + frame(CONTINUATION, 0, number, block[10:20])
        + frame(CONTINUATION, END_HEADERS, number, block[20:])
        + frame(DATA, END_STREAM, number, message(b"x"))
    )
    assert line.client.responses[number].messages == [b"x"]


def test_another_protocol_is_not_answered(bench: Bench) -> None:
    line = bench.line(greet=False)
    line.say(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n" + bytes(32))
    assert line.wire.closed


def test_tls_without_h2_is_closed(bench: Bench) -> None:
    assert bench.line(alpn="", greet=False).wire.closed
    assert bench.line(alpn="http/1.1", greet=False).wire.closed
    assert not bench.line(alpn="h2").wire.closed


# --- time -------------------------------------------------------------------------------------------------------------


def test_a_client_that_says_nothing_is_cut_off(bench: Bench) -> None:
    line = bench.line(greet=False)
    line.say(PREFACE)
    bench.later(limits.PREFACE_S - 0.1)
    assert not line.wire.closed
    bench.later(0.2)
    assert line.wire.aborted


@pytest.mark.parametrize("cut", [9, 20])
def test_half_a_frame_or_half_a_block_of_headers_is_not_waited_for(bench: Bench, cut: int) -> None:
    line = bench.line()
    number, data = line.client.open(ECHO)
    line.say(frame(HEADERS, 0, number, data[9:]) if cut == 20 else data[:cut])
    bench.later(0.01)
    bench.later(limits.FRAME_S - 0.1)
    assert not line.wire.closed
    bench.later(0.3)
    assert line.wire.closed


@pytest.mark.parametrize(
    "what", ["window update", "reset", "priority", "unknown", "data", "trailers", "refused"]
)
def test_a_frame_that_means_nothing_is_no_half_frame(service: Service, what: str) -> None:
    """A client says what crosses the end of its call, and is silent then."""
    bench = Bench(service, streams_max=3)
    line = bench.line()
    done, data = line.client.call(ECHO, b"x")
    line.say(data)
    hanging, data = line.client.call(HANG, b"x")
    line.say(data)
    reset, data = line.client.open("/none")
    line.say(data)
    bench.later(limits.HOLD_S + 0.1)
    bench.later(limits.HOLD_S + 0.1)
    line.hear()
    assert line.client.responses[reset].reset == NO_ERROR
    trailers = line.client.encoder.encode([("a", "b")])
    said = {
        "window update": window_update(done, 100),
        "reset": rst_stream(done),
        "priority": frame(PRIORITY, 0, done, b"\0\0\0\0\x10"),
        "unknown": frame(0x20, 0, done, b"abc"),
        "data": frame(DATA, END_STREAM, reset, message(b"x")),
        "trailers": frame(HEADERS, END_HEADERS | END_STREAM, reset, trailers),
        "refused": b"".join(line.client.open(TALK)[1] for _ in range(3)),
    }
    line.say(said[what])
    for _ in range(25):
        bench.later(limits.FRAME_S / 20)
    assert not line.wire.closed
    bench.hanging[0].resolve(b"late")
    line.turn()
    assert line.client.responses[hanging].messages == [b"late"]
    line.lose()


def test_half_a_message_is_waited_for_from_when_it_could_go_on(bench: Bench) -> None:
    line = bench.line(greet=False)
    line.say(PREFACE + settings(initial_window_size=0))
    number, data = line.client.open(TALK)
    line.say(data + frame(DATA, 0, number, message(b"a")))
    line.say(frame(DATA, 0, number, message(b"b") + message(b"cdef")[:-1]))
    (talk,) = bench.talks
    assert talk.messages == [b"a"]
    for _ in range(12):
        bench.later(limits.MESSAGE_S / 10)
    line.say(window_update(number, 1000))
    line.turn()
    bench.later(0.01)
    line.hear()
    assert talk.messages == [b"a", b"b"] and not line.client.responses[number].trailers
    line.say(frame(DATA, 0, number, b"f"))
    assert talk.messages == [b"a", b"b", b"cdef"]


def test_headers_that_come_in_two_pieces_are_waited_for(bench: Bench) -> None:
    """Wherever they are cut, and though connections are looked after in between."""
    line = bench.line()
    for cut in range(1, 40):
        number, data = line.client.call(ECHO, b"hello", ("x-cut", "y" * 30 + str(cut)))
        line.say(data[:cut])
        bench.later(0.01)
        line.say(data[cut:])
        response = line.client.responses[number]
        assert response.status == Code.OK and response.messages == [b"hello"]


def test_a_message_that_does_not_come_is_not_waited_for(bench: Bench) -> None:
    line = bench.line()
    nothing, data = line.client.open(HANG)
    line.say(data)
    half, data = line.client.open(HANG)
    line.say(data + frame(DATA, 0, half, message(b"hello")[:-1]))
    stream, data = line.client.open(TALK)
    line.say(data + frame(DATA, 0, stream, message(b"hello") + message(b"hello")[:-1]))
    quiet, data = line.client.open(TALK)
    line.say(data + frame(DATA, 0, quiet, message(b"hello")))
    assert bench.service.in_flight.count == 0
    bench.later(limits.MESSAGE_S + 0.1)
    line.hear()
    for number in (nothing, half, stream):
        assert line.client.responses[number].status == Code.DEADLINE_EXCEEDED
    assert not line.client.responses[quiet].ended
    assert bench.service.in_flight.count == 0


def test_a_message_has_its_time_from_when_its_client_can_go_on_with_it(bench: Bench) -> None:
    """Messages before it wait, because answers do; what the client may send is full of them."""
    line = bench.line(greet=False)
    line.say(PREFACE + settings(initial_window_size=0))
    number, data = line.client.open(TALK)
    line.say(data + frame(DATA, 0, number, message(b"a")))
    waiting, begun = message(b"b" * 1000), message(b"c" * 1000)
    line.say(frame(DATA, 0, number, waiting + begun[:500]))
    (talk,) = bench.talks
    assert talk.messages == [b"a"]
    bench.later(limits.MESSAGE_S + 2)
    line.say(window_update(number, 60_000))
    line.turn()
    assert talk.messages == [b"a", b"b" * 1000]
    bench.later(limits.MESSAGE_S - 0.1)
    line.say(frame(DATA, 0, number, begun[500:900]))
    assert not line.client.responses[number].ended
    bench.later(0.2)
    line.hear()
    assert line.client.responses[number].trailers["grpc-status"] == str(int(Code.DEADLINE_EXCEEDED)), (
        "and no longer, a little now and then or not"
    )


def test_no_time_runs_for_a_message_while_its_handler_has_no_room(bench: Bench) -> None:
    line = bench.line()
    number, data = line.client.open(TALK)
    line.say(data)
    (talk,) = bench.talks
    room = talk.room = Deferred()
    line.say(frame(DATA, 0, number, message(b"a") + message(b"b")[:-1]))
    talk.room = None
    bench.later(limits.MESSAGE_S + 2)
    room.resolve(b"")
    line.turn()
    bench.later(limits.MESSAGE_S - 1)
    line.say(frame(DATA, 0, number, b"b"))
    assert talk.messages == [b"a", b"b"]


def test_no_time_of_a_client_runs_while_it_is_not_read(bench: Bench) -> None:
    """Neither for the answer to our PING nor for what is missing of a message: they may have come long ago."""
    line = bench.line()
    unary, data = line.client.open(ECHO)
    stream, more = line.client.open(TALK)
    line.say(data + more)
    bench.later(25)
    line.hear()
    assert line.client.responses[unary].ended, "it has not been heard for longer than a message may take"
    unary, data = line.client.open(ECHO)
    line.say(data + frame(DATA, 0, stream, message(b"a")[:-1]))
    bench.later(5.5)
    line.connection.pause_writing()
    bench.later(limits.MESSAGE_S + 2)
    line.connection.resume_writing()
    bench.later(0.01)
    line.say(frame(DATA, END_STREAM, unary, message(b"x")) + frame(DATA, 0, stream, b"a"))
    assert line.client.responses[unary].messages == [b"x"]
    assert line.client.responses[stream].messages == [b"a"]
    bench.later(30.1)
    assert [each.kind for each in line.hear()] == [PING]
    bench.later(5)
    line.connection.pause_writing()
    bench.later(12)
    line.connection.resume_writing()
    bench.later(9)
    assert not line.wire.closed
    bench.later(1.1)
    assert line.wire.aborted


def test_the_service_looks_whether_a_silent_client_is_there(bench: Bench) -> None:
    line = bench.line()
    bench.later(30.1)
    (ping,) = line.hear()
    assert ping.kind == PING and not ping.flags & ACK
    bench.later(1)
    line.say(frame(PING, ACK, 0, ping.payload))
    bench.later(10)
    assert not line.wire.closed
    bench.later(30)
    assert [each.kind for each in line.hear()] == [PING]
    bench.later(10.1)
    assert line.wire.aborted


def test_an_old_connection_is_told_to_leave_and_finishes_what_it_has(service: Service) -> None:
    bench = Bench(service, age_s=100.0, age_grace_s=30.0)
    line = bench.line()
    number, data = line.client.call(HANG, b"")
    line.say(data)
    for _ in range(4):
        bench.later(25)
        for each in line.hear():
            if each.kind == PING:
                line.say(frame(PING, ACK, 0, each.payload))
    bench.later(0.5)
    (ping,) = (each for each in line.hear() if each.kind == PING)
    assert line.client.goaways() == [(LAST_STREAM, NO_ERROR, b"")]
    crossing, data = line.client.call(ECHO, b"crossing")
    line.say(data)
    assert line.client.responses[crossing].messages == [b"crossing"]
    line.say(frame(PING, ACK, 0, bytes(8)))  # of an earlier one
    bench.later(0.2)
    line.hear()
    assert len(line.client.goaways()) == 1  # not heard so far
    line.say(frame(PING, ACK, 0, ping.payload))
    bench.later(0.2)
    line.hear()
    assert line.client.goaways()[1:] == [(crossing, NO_ERROR, b"")]
    late, data = line.client.call(ECHO, b"late")
    line.say(data)
    assert late not in line.client.responses and not line.wire.over
    bench.hanging[0].resolve(b"done")
    line.turn()
    assert line.client.responses[number].messages == [b"done"]
    assert line.wire.ended and not line.wire.closed
    line.say(
        frame(PING, 0, 0, bytes(8)) + line.client.call(ECHO, b"later")[1]
    )  # is read, not looked at: else a reset
    line.connection.eof_received()
    line.lose()


def test_a_client_that_does_not_say_that_it_has_heard_is_not_waited_for_long(bench: Bench) -> None:
    line = bench.line()
    line.connection.leave()
    bench.later(0.9)
    late, data = line.client.call(ECHO, b"late")
    line.say(data)
    assert line.client.responses[late].messages == [b"late"] and not line.wire.over
    bench.later(0.2)
    line.hear()
    assert line.client.goaways()[1:] == [(late, NO_ERROR, b"")] and line.wire.ended
    bench.later(0.4)
    assert not line.wire.closed
    bench.later(0.2)
    assert line.wire.aborted  # a client that does not close is not waited for either


def test_who_does_not_read_when_the_grace_ends_hears_why_when_it_does(bench: Bench) -> None:
    line = bench.line()
    numbers = []
    for _ in range(3):
        number, data = line.client.call(HANG, b"")
        line.say(data)
        numbers.append(number)
    line.wire.full = True
    line.connection.pause_writing()
    line.connection.cut_off()
    bench.later(0.3)
    assert not line.wire.over
    line.wire.full = False
    line.connection.resume_writing()
    line.hear()
    assert [line.client.responses[each].status for each in numbers] == [Code.UNAVAILABLE] * 3
    assert line.client.goaways()[-1][:2] == (numbers[-1], NO_ERROR) and line.wire.ended


def test_with_tls_a_client_that_does_not_close_is_not_waited_for_either(bench: Bench) -> None:
    line = bench.line(alpn="h2")
    line.connection.leave()
    bench.later(1.1)
    assert line.wire.closed and not line.wire.aborted
    bench.later(0.4)
    assert not line.wire.aborted
    bench.later(0.2)
    assert line.wire.aborted


def test_what_still_waits_to_be_written_has_longer(bench: Bench) -> None:
    line = bench.line()
    line.connection.refuse_new()
    line.wire.full = True
    bench.later(0.6)
    assert line.wire.closed and not line.wire.aborted
    bench.later(limits.STALL_S)
    assert line.wire.aborted


def test_a_connection_whose_transport_has_failed_can_still_be_told_to_end(bench: Bench) -> None:
    """Between a transport's failure and ``connection_lost`` the event loop turns once."""
    line = bench.line()
    line.connection.leave()
    line.wire.close()
    bench.later(1.1)
    line.connection.cut_off()
    assert not line.wire.ended and not line.wire.aborted
    line.lose()
    assert not bench.desk.connections


def test_an_old_connection_that_does_not_end_is_ended_in_words(service: Service) -> None:
    bench = Bench(service, age_s=100.0, age_grace_s=5.0)
    line = bench.line()
    bench.later(99)
    for each in line.hear():
        line.say(frame(PING, ACK, 0, each.payload))
    number, data = line.client.call(HANG, b"")
    line.say(data)
    bench.later(2)
    bench.later(6)
    line.hear()
    assert line.client.responses[number].status == Code.UNAVAILABLE and line.wire.ended
    line.lose()


# --- what must not happen, and is survived ----------------------------------------------------------------------------


class Panic(BaseException):
    """No ``Exception``, as what a cancelled task or a library in Rust raises is none."""


def test_an_answer_that_is_no_exception_fails_its_call_alone(bench: Bench) -> None:
    line = bench.line()
    first, one = line.client.call(HANG, b"1")
    second, two = line.client.call(HANG, b"2")
    line.say(one + two)
    bench.hanging[0].resolve(asyncio.CancelledError())
    bench.hanging[1].resolve(b"fine")
    line.turn()
    assert line.client.responses[first].status == Code.INTERNAL
    assert line.client.responses[second].messages == [b"fine"]
    assert bench.service.in_flight.count == 0 and not line.wire.closed


def test_it_is_met_by_a_look_after_connections_too_and_the_others_are_looked_after(bench: Bench) -> None:
    bench.turn = Turn()
    line, other = bench.line(), bench.line()
    number, data = line.client.call(HANG, b"1")
    line.say(data)
    late, data = other.client.call(HANG, b"2", ("grpc-timeout", "10m"))
    other.say(data)
    bench.hanging[0].resolve(asyncio.CancelledError())  # it waits for the end of its turn
    bench.service.clock.advance_ns(20_000_000)
    bench.later(0.01)
    for each in (line, other):
        each.hear()
    assert line.client.responses[number].status == Code.INTERNAL
    assert other.client.responses[late].status == Code.DEADLINE_EXCEEDED


def test_frames_of_a_stream_whose_answer_cannot_be_made_reach_its_client_alone(bench: Bench) -> None:
    one, other = bench.line(), bench.line()
    number, data = one.client.open(TALK)
    one.say(data)

    def panic() -> bytes:
        raise Panic

    bench.talks[0].call.send(b"secret" * 3000)  # a frame full, so that what follows is another pass's
    bench.talks[0].call.send(panic)
    bench.talks[0].call.finish()  # it has nothing to add
    one.say(frame(DATA, END_STREAM, number, b""))
    one.turn()
    one.hear()
    assert one.client.responses[number].messages == [b"secret" * 3000]
    assert one.client.responses[number].status == Code.INTERNAL
    before = len(other.wire.writes)
    mine, data = other.client.call(ECHO, b"mine")
    other.say(data)
    assert b"secret" not in b"".join(other.wire.writes[before:])
    assert other.client.responses[mine].messages == [b"mine"]


def test_a_handler_that_panics_in_overload_takes_no_other_connection_along(bench: Bench) -> None:
    one, other = bench.line(), bench.line()
    one.say(b"".join(one.client.call(HANG, b"x")[1] for _ in range(IN_FLIGHT_MAX + 5)))
    assert bench.desk.overloaded
    for each in bench.hanging:
        each.resolve(b"done")
    one.turn()

    def busy(payload: bytes, _: CallContext) -> bytes:
        if payload == b"panic":
            raise Panic
        return payload

    bench.on_busy = busy
    wrong, data = one.client.call(BUSY, b"panic")
    one.say(data)
    right, data = other.client.call(BUSY, b"fine")
    other.say(data)
    one.turn()
    other.turn()
    assert one.client.responses[wrong].status == Code.INTERNAL
    assert other.client.responses[right].messages == [b"fine"]


@pytest.mark.parametrize("where", ["read", "flush", "overload", "look"])
def test_what_fails_beyond_mending_costs_its_connection_alone(
    bench: Bench, monkeypatch: pytest.MonkeyPatch, where: str
) -> None:
    """The headers of a call cannot be read, its error cannot be told, its deadline cannot be kept."""

    def panic(*_: object) -> None:
        raise Panic

    one, other = bench.line(), bench.line()
    if where == "overload":
        one.say(b"".join(one.client.call(HANG, b"x")[1] for _ in range(IN_FLIGHT_MAX + 5)))
        for each in bench.hanging:
            each.resolve(b"done")
        one.turn()
    assert bench.desk.overloaded == (where == "overload")
    in_time = ("grpc-timeout", "10m")
    if where == "look":
        one.say(one.client.call(HANG, b"", in_time)[1])
        bench.service.clock.advance_ns(20_000_000)
    answered, data = other.client.call(HANG if where == "look" else ECHO, b"fine", in_time)
    if where == "overload":
        other.say(data)
    with monkeypatch.context() as broken:
        if where == "look":
            broken.setattr(native_call, "RpcError", panic)
            bench.later(30.1)
            assert [each.kind for each in other.hear()] == [PING]
        elif where == "read":
            broken.setattr(bench.service.clock, "now_ns", panic)
            one.say(one.client.call(ECHO, b"", in_time)[1])
        else:
            broken.setattr(bench.service, "as_rpc_error", panic)
            one.say(one.client.call(FAIL, b"")[1])
            one.turn()
            other.turn()
    assert one.wire.aborted and not other.wire.closed
    if where != "overload":
        other.say(data)
    bench.service.clock.advance_ns(20_000_000)
    bench.later(0.01)
    other.turn()
    other.hear()
    response = other.client.responses[answered]
    if where == "look":
        assert response.status == Code.DEADLINE_EXCEEDED
    else:
        assert response.messages == [b"fine"]


def test_time_in_which_the_loop_stood_still_counts_against_nobody(bench: Bench) -> None:
    loop_s = [NOW_S]
    time = AttendedTime(lambda: loop_s[0])
    for _ in range(100):
        loop_s[0] += 0.01
        time.now_s()
    assert time.now_s() == pytest.approx(NOW_S + 1)
    line = bench.line(greet=False)
    bench.desk.now_s = time.now_s()
    loop_s[0] += 2 * limits.PREFACE_S  # its greeting is not read before the next look
    sweep(bench.desk, time.now_s(), bench.service.clock.now_ns())
    assert not line.wire.aborted
    bench.later(limits.PREFACE_S + 1)
    assert line.wire.aborted


# --- memory -----------------------------------------------------------------------------------------------------------


def test_calls_and_connections_leave_nothing_behind(bench: Bench) -> None:
    line = bench.line()
    line.call(ECHO, b"x")
    number, data = line.client.open(TALK)
    line.say(data + frame(DATA, 0, number, message(b"one")))
    line.say(rst_stream(number))
    gone = weakref.ref(bench.talks[0])
    bench.talks.clear()
    gc.collect()
    assert gone() is None
    assert line.connection.streams == {}


def test_settings_tell_the_bounds(bench: Bench) -> None:
    line = bench.line()
    (first,) = (each for each in line.client.frames if each.kind == SETTINGS and not each.flags)
    pairs = dict(struct.iter_unpack(">HI", first.payload))
    assert pairs == {3: 128, 6: limits.METADATA_BYTES_MAX}
