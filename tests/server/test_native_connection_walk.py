"""Random walks of two clients of the native front end, against a model of what HTTP/2 and gRPC allow.

After each step every frame that came is held against the model: order in its call, windows, the size of HPACK's table,
nothing for a call that is over, and no end without a cause. What clients say may be cut at any byte, come in one chunk
with what they say next, and be read late. Most walks are overloaded at times, so that calls are held back and refused
unseen. At the end clients take and finish everything, and each call must have ended once.
"""

import random
import struct
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from enum import Enum
from pathlib import Path

import pytest
from test_native_connection import EAGER, ECHO, FAIL, HANG, TALK, Bench, Talk

from quotelife_server.rpc import CallContext, Code, Deferred, RpcError, State, StreamCall, StreamHandler, Turn
from quotelife_server.transport.native_connection import Connection
from reference.http2_kit import (
    ACK,
    CANCEL,
    DATA,
    END_STREAM,
    GOAWAY,
    HEADERS,
    LAST_STREAM,
    NO_ERROR,
    PING,
    PREFACE,
    PRIORITY,
    REFUSED_STREAM,
    RST_STREAM,
    SETTINGS,
    WINDOW_UPDATE,
    Client,
    Frame,
    Line,
    Response,
    Soon,
    frame,
    message,
    rst_stream,
    settings,
    window_update,
)
from reference.service_kit import MS, Kit

NOPE = "/t/Nope"
UNARY = (ECHO, HANG, FAIL)
STREAMING = (TALK, EAGER)
WINDOW = 65_535
SENT_BYTES_MAX = 50_000  # of one call: its client never waits for the server's window
OPEN_MAX = 24
STEPS = 250
IN_FLIGHT_MAX = 6
HELD_BYTES_MAX = 1 << 20
TABLE_BYTES = 4096
UNKNOWN = 0xBE
PINGS_MAX = 2  # without an answer of the server's in between: gRPC's rule
TURNED_AWAY = "too many calls in flight; retry later"
UNSEEN = b"\x88\x0f\x10"
"""What a refusal begins with of which nghttp2 knows nothing: it puts nothing into the client's table."""


class Spoken(Talk):
    """Knows its call by the first message, and what it has said."""

    def __init__(self, call: StreamCall) -> None:
        super().__init__(call)
        self.said: list[bytes] = []
        self.over = False

    def say(self, payload: bytes, *, late: bool = False) -> None:
        if not self.over:
            self.said.append(payload)
            self.call.send((lambda: payload) if late else payload)

    def end(self, error: RpcError | None = None) -> None:
        self.over = True
        self.call.finish(error)

    def on_message(self, payload: bytes) -> Deferred | None:
        assert not self.over, "nothing is handed over any more"
        self.messages.append(payload)
        self.say(payload, late=len(payload) % 2 == 1)
        return self.room

    def on_half_close(self) -> None:
        assert not self.over
        self.half_closed += 1
        self.end()

    def on_cancel(self) -> None:
        super().on_cancel()
        assert self.cancelled == 1
        self.over = True


class Floor(Bench):
    """A bench whose streams speak."""

    spoken: list[Spoken]

    def _talk(self, context: CallContext, call: StreamCall) -> StreamHandler:
        self.spoken.append(Spoken(call))
        return self.spoken[-1]


class Got(Enum):
    """What has come of a call."""

    NOTHING = 0
    HEADERS = 1
    TRAILERS = 2
    RESET = 3


@dataclass
class Asked:
    """One call as its client sees it."""

    path: str
    window: int
    payloads: list[bytes] = field(default_factory=list)
    waiting: bytes = b""  # of the message that has begun
    sent: int = 0
    half_closed: bool = False
    half_closed_read: bool = False  # as far as the server has it
    limited: bool = False  # it has a deadline
    late: bool = False  # asked while the service was draining
    reset: bool = False
    lost: bool = False  # the connection has ended, or was ending when the call came
    got: Got = Got.NOTHING

    @property
    def is_open(self) -> bool:
        return not self.reset and not self.lost and self.got in (Got.NOTHING, Got.HEADERS)


Effect = Callable[[], None]


def nothing() -> None: ...


class Strict(Client):
    """Knows when its own SETTINGS hold, and what HPACK (RFC 7541 section 4.2) wants of the block behind them."""

    def __init__(self) -> None:
        super().__init__()
        self.told: list[list[int]] = []  # sizes of the table, of each SETTINGS that is not acknowledged
        self.smallest: int | None = None  # since the last block
        self.unseen = 0

    def settings(self, *sizes: int, **values: int) -> bytes:
        self.told.append(list(sizes))
        made = settings(**values)
        table = b"".join(struct.pack(">HI", 1, size) for size in sizes)
        return frame(SETTINGS, 0, 0, table + made[9:])

    def _take(self, each: Frame) -> None:
        if each.kind == SETTINGS and each.flags & ACK:
            for size in self.told.pop(0):
                self.smallest = size if self.smallest is None else min(size, self.smallest)
                self.decoder.max_allowed_table_size = size
        elif each.kind == HEADERS:
            if self.smallest is not None and self.smallest < self.decoder.header_table_size:
                assert each.payload[0] & 0xE0 == 0x20, (
                    "the table is smaller, and the block does not begin with it"
                )
                if self.smallest < 31:
                    assert each.payload[0] & 0x1F <= self.smallest
            self.smallest = None
            self.unseen += each.payload.startswith(UNSEEN)
        super()._take(each)


@dataclass
class Said:
    """Bytes on their way: ``grow`` is what the server may do more once their first has come, ``shrink`` what it may
    not do any more once their last has."""

    data: bytes
    grow: list[Effect]
    shrink: list[Effect]


class Side:
    """One client, what it has asked, and what it may be told."""

    def __init__(self, name: str, bench: Bench, loop: Soon, rng: random.Random) -> None:
        self.name, self.rng = name, rng
        self.initial = rng.choice((WINDOW, WINDOW, WINDOW, 0, 3, 200))
        self.window = WINDOW
        self.calls: dict[int, Asked] = {}
        self.last = LAST_STREAM
        self.may_close = self.lost = self.leaving = self.cut = self.shrank = False
        self.unsaid: list[Said] = []
        self.pings: list[bytes] = []
        self.strikes = self.pinged = 0
        self.asked_back: list[bytes] = []
        self.line = Line(lambda _: Connection(bench.desk, loop), greet=False)
        self.line.loop = loop
        self.line.client = self.client = Strict()
        self.line.say(PREFACE + self.client.settings(initial_window_size=self.initial))

    # --- what comes ---------------------------------------------------------------------------------------------------

    def hear(self) -> None:
        if self.lost:
            return
        for each in self.line.hear():
            if each.stream:
                self._of_call(each)
            elif each.kind == PING and each.flags & ACK:
                assert each.payload == self.pings.pop(0)
            elif each.kind == PING:
                self.asked_back.append(each.payload)
            elif each.kind == GOAWAY:
                last, code = struct.unpack(">II", each.payload[:8])
                assert last <= self.last, "GOAWAY names no later call than the one before"
                assert code == NO_ERROR, each.payload
                assert self.may_close
                self.last = last
                self.leaving = True
                for number, call in self.calls.items():
                    call.lost = call.lost or number > last
            else:
                assert each.kind in (SETTINGS, WINDOW_UPDATE)
        assert not self.line.client._rest, "frames leave whole"
        assert self.line.wire.over <= self.may_close, "closed without a reason"

    def _of_call(self, each: Frame) -> None:
        call = self.calls[each.stream]
        if each.kind == WINDOW_UPDATE:
            return
        response = self.line.client.responses[each.stream]
        if call.reset and each.kind == RST_STREAM:
            # Of an answer that waited longest for its client's window. Submitted before the client's own came, it
            # crosses it: nghttp2 takes back none.
            assert response.reset == CANCEL and call.got is Got.HEADERS and call.path in UNARY
            return
        assert not call.reset, "its client has reset it"
        ends = bool(each.flags & END_STREAM)
        if each.kind in (HEADERS, DATA) and not self.unsaid:
            self.strikes = 0
        if each.kind == HEADERS:
            assert call.got in (Got.NOTHING, Got.HEADERS)
            fields = response.headers if call.got is Got.NOTHING else response.trailers
            assert ends == ("grpc-status" in fields)
            assert call.got is Got.NOTHING or ends
            assert not (call.late and response.message == TURNED_AWAY), (
                "nobody is turned away while none is taken"
            )
            call.got = Got.TRAILERS if ends else Got.HEADERS
        elif each.kind == DATA:
            assert call.got is Got.HEADERS and not ends
            size = len(each.payload)
            call.window -= size
            self.window -= size
            assert not size or min(call.window, self.window) >= 0, "beyond the window"
        else:
            assert each.kind == RST_STREAM and call.got is not Got.RESET
            if call.got is Got.TRAILERS:
                assert response.reset == NO_ERROR and not call.half_closed_read, "the server has said all"
            elif response.reset == REFUSED_STREAM:
                assert self.shrank and call.path in UNARY and call.got is Got.NOTHING
            call.got = Got.RESET

    def open_calls(self) -> list[int]:
        return [number for number, call in self.calls.items() if call.is_open]

    # --- what it does -------------------------------------------------------------------------------------------------

    def say(self, data: bytes, *, grow: Effect = nothing, shrink: Effect = nothing) -> None:
        self.unsaid.append(Said(data, [grow], [shrink]))
        if self.rng.random() < 0.8:
            self.push()

    def push(self, *, all_of_it: bool = False) -> None:
        """As far as the server reads. Chunks begin and end anywhere."""
        rng = self.rng
        self.hear()  # what has been said before crosses what comes now
        while self.unsaid and self.line.wire.reading and not self.line.wire.over:
            joined, self.unsaid = self.unsaid[: (n := rng.choice((1, 1, 2, 6)))], self.unsaid[n:]
            said = Said(b"".join(each.data for each in joined), [], [])
            for each in joined:
                said.grow += each.grow
                said.shrink += each.shrink
            for effect in said.grow:
                effect()
            size = rng.choice((len(said.data), len(said.data), 700, 13))
            pieces = [said.data[at : at + size] for at in range(0, len(said.data), size)]
            kept = b""
            if not all_of_it and rng.random() < 0.15:
                cut = rng.randrange(len(pieces[-1]) + 1)
                pieces[-1], kept = pieces[-1][:cut], pieces[-1][cut:]
            while pieces and self.line.wire.reading and not self.line.wire.over:
                if len(pieces) == 1 and not kept:
                    for effect in said.shrink:
                        effect()
                self.line.connection.data_received(pieces.pop(0))
                self.hear()
            if pieces or kept:
                self.unsaid.insert(0, Said(b"".join(pieces) + kept, [], said.shrink))
            if kept:
                return

    def ask(self, *, whole: bool, late: bool) -> None:
        path = self.rng.choice((ECHO, ECHO, HANG, HANG, FAIL, TALK, TALK, TALK, EAGER, NOPE))
        more = [("grpc-timeout", f"{self.rng.randrange(1, 400)}m")] if self.rng.random() < 0.1 else []
        number, data = self.client.open(path, *more)
        self.calls[number] = Asked(path, self.initial, limited=bool(more), late=late)
        self._begin_message(number)
        if not whole:
            self.say(data)
            return
        if self.rng.random() < 0.1:
            self.say(data)
            self.beside(number)
            data = b""
        data += self._piece(number, end=path in UNARY)
        self.say(data, shrink=self._read_end(number))
        if self.rng.random() < 0.05:
            self.reset(number)

    def beside(self, number: int) -> None:
        """Frames that are about no call, or say nothing of one."""
        rng = self.rng
        what = rng.randrange(8)
        if what == 0:
            self.ping()
        elif what == 1:
            self.resize_table()
        elif what == 2:
            self.say(frame(UNKNOWN, rng.randrange(256), rng.choice((0, number)), bytes(rng.randrange(30))))
        elif what == 3:
            on = rng.choice((number, number + 2, 1))
            self.say(frame(PRIORITY, 0, on, struct.pack(">IB", 0, 15)))
        elif what == 4:
            self.open_window(number if number in self.calls and rng.random() < 0.5 else 0, 1000)
        elif what == 5:
            self.resize(rng.choice((50, WINDOW)))
        elif what == 6 and self.asked_back:
            self.say(frame(PING, ACK, 0, self.asked_back.pop(0)))
        else:
            size = rng.choice((0, 100, TABLE_BYTES))
            if size != self.client.encoder.header_table_size:  # hpack forgets to tell what is set twice
                self.client.encoder.header_table_size = size

    def ping(self) -> None:
        if self.strikes < PINGS_MAX:
            self.strikes += 1
            self.pinged += 1
            payload = struct.pack(">Q", self.pinged)
            self.pings.append(payload)
            self.say(frame(PING, 0, 0, payload))

    def resize_table(self) -> None:
        """Of HPACK, for responses."""
        sizes = self.rng.choice(
            ((0,), (60,), (200,), (TABLE_BYTES,), (65_536,), (0, TABLE_BYTES), (9000, 100))
        )

        def grow() -> None:
            self.shrank = self.shrank or min(sizes) < TABLE_BYTES

        self.say(self.client.settings(*sizes), grow=grow)

    def _read_end(self, number: int) -> Effect:
        call = self.calls[number]

        def shrink() -> None:
            call.half_closed_read = call.half_closed_read or ended

        ended = call.half_closed
        return shrink

    def _begin_message(self, number: int) -> None:
        call = self.calls[number]
        size = self.rng.choice((0, 1, 20, 500, 9000))
        call.payloads.append(f"{self.name}/{number}/{len(call.payloads)} ".encode() + bytes(size))
        call.waiting = message(call.payloads[-1])

    def _piece(self, number: int, *, end: bool = False, most: int = 1 << 20) -> bytes:
        call = self.calls[number]
        piece, call.waiting = call.waiting[:most], call.waiting[most:]
        call.sent += len(piece)
        call.half_closed = end
        return frame(DATA, END_STREAM if end else 0, number, piece)

    def write(self, number: int) -> None:
        """More of a call: a part of a message, the rest of it, another one, or its end."""
        call = self.calls[number]
        if call.waiting:
            most = self.rng.choice((1, 5, 300, 1 << 20, 1 << 20))
            piece = self._piece(number, end=call.path in UNARY and most > len(call.waiting), most=most)
            self.say(piece, shrink=self._read_end(number))
        elif call.path in STREAMING and call.sent < SENT_BYTES_MAX - 10_000 and self.rng.random() < 0.8:
            self._begin_message(number)
            self.say(self._piece(number))
        else:
            self.end(number)

    def end(self, number: int) -> None:
        self.calls[number].half_closed = True
        self.say(frame(DATA, END_STREAM, number), shrink=self._read_end(number))

    def reset(self, number: int) -> None:
        def shrink() -> None:
            self.calls[number].reset = True

        self.calls[number].half_closed = True
        self.say(rst_stream(number), shrink=shrink)

    def open_window(self, number: int, size: int) -> None:
        def grow() -> None:
            if number:
                self.calls[number].window += size
            else:
                self.window += size

        self.say(window_update(number, size), grow=grow)

    def resize(self, size: int) -> None:
        """Windows of calls grow and shrink by it, below 0 too."""
        by = size - self.initial
        self.initial += by
        calls = list(self.calls.values())  # those that come after it begin with the new one

        def change() -> None:
            for call in calls:
                call.window += by

        effects = {"grow": change} if by > 0 else {"shrink": change}
        self.say(self.client.settings(initial_window_size=self.initial), **effects)

    def go(self) -> None:
        """The connection is lost; what was written has come."""
        self.hear()
        self.lost = True
        for call in self.calls.values():
            call.lost = True
        self.line.lose()


class Walk:
    """Two sides at a time, one event loop, and the service's own doing."""

    def __init__(self, kit: Kit, seed: int) -> None:
        self.rng = random.Random(seed)
        self.service = kit.service
        self.clock = kit.clock
        self.loop = Soon()
        self.bench = Floor(
            kit.service, held_bytes_max=HELD_BYTES_MAX, overload_turn_ns=self.rng.choice((1, 10**9))
        )
        self.bench.spoken = []
        self.drained = False
        self.sides: list[Side] = []
        self.live: list[Side] = []
        for _ in range(2):
            self.connect()

    def connect(self) -> None:
        side = Side(f"s{len(self.sides)}", self.bench, self.loop, self.rng)
        self.sides.append(side)
        self.live.append(side)

    def step(self) -> None:
        rng = self.rng
        side = rng.choice(self.live)
        calls = side.open_calls()
        writable = [number for number in calls if not side.calls[number].half_closed]
        talks = [talk for talk in self.bench.spoken if not talk.over]
        what = rng.random()
        if what < 0.25 and not side.leaving and len(calls) < OPEN_MAX:
            draining = self.service.state is State.DRAINING
            for _ in range(rng.choice((1, 1, 3, 10, 25))):
                side.ask(whole=rng.random() < 0.85, late=draining)
        elif what < 0.40 and writable:
            side.write(rng.choice(writable))
        elif what < 0.45 and calls:
            side.reset(rng.choice(calls))
        elif what < 0.50 and writable:
            side.end(rng.choice(writable))
        elif what < 0.58:
            # Of calls that are over too: their client may not have known yet.
            number = rng.choice([0, *(calls if rng.random() < 0.7 else side.calls)])
            side.open_window(number, rng.choice((1, 100, 20_000)))
        elif what < 0.60:
            side.resize(rng.choice((0, 50, 5000, WINDOW)))
        elif what < 0.68 and self.bench.hanging:
            answer = self.bench.hanging.pop(rng.randrange(len(self.bench.hanging)))
            refused = rng.random() < 0.3
            answer.resolve(
                RpcError(Code.UNAVAILABLE, "not now") if refused else bytes(rng.choice((0, 9, 30_000)))
            )
        elif what < 0.71:
            self.turn_over()
            if rng.random() < 0.5:
                self.bench.turn = Turn()
        elif what < 0.78 and talks:
            talk = rng.choice(talks)
            for k in range(rng.choice((1, 1, 5, 40))):
                talk.say(b"more %d" % k + bytes(rng.choice((0, 100, 3000))), late=k % 2 == 1)
        elif what < 0.80 and talks:
            rng.choice(talks).end(RpcError(Code.ABORTED, "that is all") if rng.random() < 0.5 else None)
        elif what < 0.83 and talks:
            self.hold(rng.choice(talks))
        elif what < 0.91:
            self.turn()
        elif what < 0.945:
            self.later(rng.choice((0.01, 0.01, 0.05, 0.5)))
        elif what < 0.965:
            self.fill(side)
        elif what < 0.981:
            side.beside(rng.choice(list(side.calls) or [1]))
        elif what < 0.984:
            side.may_close = True
            side.line.connection.leave()
        elif what < 0.988:
            side.may_close = True
            if rng.random() < 0.5:
                side.line.connection.refuse_new()
            else:
                side.cut = True
                side.line.connection.cut_off()
        elif what < 0.99:
            self.drain()
        elif what < 0.994:
            side.may_close = side.leaving = True
            side.say(frame(GOAWAY, 0, 0, struct.pack(">II", 0, NO_ERROR)))
        elif what < 0.997:
            self.replace(side)

    def hold(self, talk: Spoken) -> None:
        """Its handler asks to be waited for, or need not be any more."""
        room, talk.room = talk.room, None
        if room is None:
            talk.room = Deferred()
        else:
            room.resolve(b"")

    def fill(self, side: Side) -> None:
        """The buffer of its socket has no room, or has some again."""
        if side.line.wire.full:
            side.line.wire.full = False
            if not side.line.wire.reading:
                side.line.connection.resume_writing()
                side.hear()
                side.push()
        else:
            side.line.wire.full = True

    def drain(self) -> None:
        """The service takes no calls, or does so again."""
        self.drained = True
        draining = self.service.state is State.DRAINING
        self.service.set_state(State.SERVING if draining else State.DRAINING)
        if draining:  # what was asked meanwhile may be read from here on
            for side in self.live:
                for call in side.calls.values():
                    call.late = False

    def replace(self, side: Side) -> None:
        self.live.remove(side)
        side.go()
        self.connect()

    def turn(self) -> None:
        self.loop.turn()

    def turn_over(self) -> None:
        turn, self.bench.turn = self.bench.turn, None
        if turn is not None:
            turn.over()

    def later(self, seconds: float) -> None:
        self.clock.set_ns(self.clock.now_ns() + round(seconds * 1000) * MS)
        self.bench.later(seconds)

    def look(self) -> None:
        """What holds after every step."""
        for side in list(self.live):
            before = len(side.line.wire.writes)
            side.hear()
            assert len(side.line.wire.writes) == before
            if side.line.wire.over:
                # With a last word, nobody is left without an answer whose call has come.
                assert side.cut or side.unsaid or not side.open_calls()
                self.replace(side)
        if self.service.in_flight.count > self.asked():  # while overloaded: to the end of the turn
            self.turn()
            self.turn()
        assert 0 <= self.service.in_flight.count <= min(IN_FLIGHT_MAX, self.asked())
        assert 0 <= self.bench.desk.held_bytes <= HELD_BYTES_MAX
        assert len(self.bench.desk.connections) == len(self.live)

    def judge(self, side: Side, call: Asked, response: Response) -> None:
        """The end of a call has a cause."""
        code = response.status
        if call.path == NOPE:
            assert code in (Code.UNIMPLEMENTED, Code.UNAVAILABLE)
        elif code == Code.OK:
            assert call.path != FAIL
        elif code == Code.RESOURCE_EXHAUSTED and response.message == TURNED_AWAY:
            assert call.path in UNARY
        elif code == Code.DEADLINE_EXCEEDED:
            assert call.limited, response.message
        elif code == Code.UNAVAILABLE:
            assert call.path == HANG or side.cut or self.drained
        elif code == Code.ABORTED:
            assert call.path in STREAMING
        elif code == Code.INVALID_ARGUMENT:
            assert call.path == FAIL or call.path in UNARY
        else:
            assert code in (Code.RESOURCE_EXHAUSTED, Code.INTERNAL)

    def asked(self) -> int:
        """Unary calls that are open."""
        return sum(call.path in UNARY and call.is_open for side in self.live for call in side.calls.values())

    def finish(self) -> None:
        """Everybody takes and says all there is."""
        if self.service.state is State.DRAINING:
            self.drain()
        for side in self.live:
            if side.line.wire.full:
                self.fill(side)
            side.open_window(0, 1 << 24)
            if self.rng.random() < 0.5:
                side.resize(1 << 22)
            for number in side.open_calls() if side.initial <= WINDOW else ():
                side.open_window(number, 1 << 22)
        for _ in range(4):
            self.turn_over()
            while self.bench.hanging:
                self.bench.hanging.pop().resolve(b"at last")
            for talk in self.bench.spoken:
                if talk.room is not None:
                    self.hold(talk)
            for side in list(self.live):
                for number in side.open_calls():
                    if not side.calls[number].half_closed:
                        side.end(number)
            for side in list(self.live):
                side.push(all_of_it=True)
            for _ in range(40):  # messages of a stream are handed over some at a time
                self.turn()
                self.look()
            self.later(0.5)
            self.look()


def walk(kit: Kit, seed: int, steps: int) -> Counter[str]:
    """What has become of calls. Fails where an invariant does not hold."""
    before = Counter(kit.service.metrics.answers)
    made = Walk(kit, seed)
    for _ in range(steps):
        made.step()
        made.look()
    made.finish()
    found: Counter[str] = Counter()
    heard: Counter[tuple[str, str]] = Counter()
    asked: Counter[str] = Counter()
    missed: Counter[str] = Counter()
    talks = {talk.messages[0].partition(b" ")[0]: talk for talk in made.bench.spoken if talk.messages}
    for side in made.live:
        assert side.lost or side.line.wire.over or not side.pings, "each PING is answered"
        assert side.lost or side.line.wire.over or not side.client.told
    for side in made.sides:
        found["unseen"] += side.client.unseen
        for number, call in side.calls.items():
            assert not call.is_open, (side.name, number, call)
            response = side.line.client.responses.get(number, Response())
            asked[call.path] += 1
            if response.ended:
                code = Code(response.status).name
                made.judge(side, call, response)
                heard[call.path, code] += 1
                found[code] += 1
            else:
                missed[call.path] += 1
                found["reset" if response.reset is not None else "lost" if call.lost else "cancelled"] += 1
            check(call, response, talks.get(f"{side.name}/{number}/0".encode()))
    answers = Counter(kit.service.metrics.answers) - before
    # A connection is cut off while the headers of a call come: nobody knows yet of which method it is.
    nameless = sum(side.cut for side in made.sides)
    for path in (*UNARY, *STREAMING):
        told = {code: count for (of, code), count in answers.items() if of == path}
        for code in {*told, *(code for of, code in heard if of == path)}:
            spare = nameless if code == Code.UNAVAILABLE.name else 0
            assert heard[path, code] <= told.get(code, 0) + spare, (path, code)
        assert sum(told.values()) <= asked[path]
        assert sum(told.values()) - sum(n for (of, _), n in heard.items() if of == path) <= missed[path]
    assert not any(of == NOPE for of, _ in answers)
    for side in made.live:
        side.go()
    made.turn()
    assert kit.service.in_flight.count == 0 and kit.service.metrics.internal_errors == 0
    desk = made.bench.desk
    assert desk.held_bytes == 0 and not desk.conversations and not desk.connections
    assert all(talk.cancelled == 1 for talk in made.bench.spoken)
    return found


def check(call: Asked, response: Response, talk: Spoken | None) -> None:
    """What was said is what was heard, as far as it was."""
    whole = response.ended and response.status == Code.OK
    messages, left = messages_of(response.data)
    assert not left or not response.ended, "a call ends behind a message"
    if call.path in UNARY:
        assert len(messages) == whole or not response.ended
        if call.path == ECHO and messages:
            assert messages == call.payloads[:1]
    elif talk is not None:
        assert talk.messages == call.payloads[: len(talk.messages)]
        assert messages == talk.said[: len(messages)]
        if whole:
            assert len(messages) == len(talk.said)
            assert not talk.half_closed or len(talk.messages) == len(call.payloads) - bool(call.waiting)


def messages_of(data: bytes) -> tuple[list[bytes], bytes]:
    """Whole messages, and what is left."""
    found: list[bytes] = []
    while len(data) >= 5 and len(data) >= (size := 5 + int.from_bytes(data[1:5], "big")):
        found.append(data[5:size])
        data = data[size:]
    return found, data


@pytest.mark.parametrize("walks", [30, pytest.param(4000, marks=pytest.mark.slow)])
def test_whatever_two_clients_do_each_call_ends_once_and_nothing_is_left(tmp_path: Path, walks: int) -> None:
    kit = Kit(tmp_path, warm=False, in_flight_max=IN_FLIGHT_MAX)
    first = random.SystemRandom().randrange(2**32) if walks > 30 else 0
    found: Counter[str] = Counter()
    for seed in range(first, first + walks):
        try:
            found += walk(kit, seed, STEPS)
        except Exception as error:
            error.add_note(f"seed {seed}")
            raise
    for ending in ("OK", "INVALID_ARGUMENT", "RESOURCE_EXHAUSTED", "UNAVAILABLE", "ABORTED", "UNIMPLEMENTED",
                   "DEADLINE_EXCEEDED", "cancelled", "lost", "unseen"):  # fmt: skip
        assert found[ending] > walks // 4, found
