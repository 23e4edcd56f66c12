"""MoldUDP64 as a state machine: what two lines lose, double and swap, holes and their end, sessions, wrong packets."""

import random
from decimal import Decimal

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from quotelife.errors import DecodeError
from quotelife.feed.itch import ItchDecoder
from quotelife.feed.mold import MoldReceiver
from quotelife.records import EventBuffer, EventFlags, EventKindCode, StatusKind
from quotelife.sim.itch_wire import mold_header, mold_packet
from reference.itch_twin import build, example

MS = 1_000_000
A, B, R = 0, 1, 2
LOST, CATCHING_UP, LIVE = 0, 1, 2
KIND = EventKindCode
ORDERS = (KIND.ADD, KIND.CANCEL)


def messages(n: int) -> list[bytes]:
    """The directory, then so many orders, numbered by the sequence that tells them."""
    adds = [build("A", 1, 5, i + 2, "B", 1, "AAA", 1_000_000) for i in range(n - 1)]
    return [example("R"), *adds]


class Line:
    """A receiver and all that it told."""

    def __init__(self, *, capacity: int = 256, **settings: object) -> None:
        self.buffer = EventBuffer(capacity)
        self.decoder = ItchDecoder(self.buffer, [("AAA", 0, Decimal("0.01"), Decimal(1))])
        self.mold = MoldReceiver(self.decoder, **settings)  # type: ignore[arg-type]
        self.told: list[int] = []  # sequences of the orders told, which are their numbers
        self.control: list[tuple[int, int]] = []
        self.now_ns = 1

    def send(self, packet: bytes, line: int = A) -> None:
        self.mold.packet(packet, line, self.now_ns)
        self.drain()

    def pass_ns(self, ns: int) -> None:
        self.now_ns += ns
        self.mold.tick(self.now_ns)
        self.drain()

    def drain(self) -> None:
        while True:
            for row in self.buffer.array().tolist():
                _, _, sequence, _, _, order_id, aux, _, kind, _, _ = row
                if kind in ORDERS:
                    assert order_id == sequence
                    self.told.append(order_id)
                else:
                    self.control.append((kind, aux))
            self.buffer.clear()
            if not self.mold.more:
                return
            self.mold.go_on(self.now_ns)

    def take_control(self) -> list[tuple[int, int]]:
        out, self.control = self.control, []
        return out


def packets(all_messages: list[bytes], sizes: list[int], session: str = "S1") -> list[bytes]:
    out, at = [], 0
    while at < len(all_messages):
        size = sizes[len(out) % len(sizes)]
        out.append(mold_packet(session, at + 1, all_messages[at : at + size]))
        at += size
    return out


def answer(all_messages: list[bytes], request: bytes, most: int) -> bytes:
    first, count = int.from_bytes(request[10:18], "big"), int.from_bytes(request[18:20], "big")
    return mold_packet("S1", first, all_messages[first - 1 : first - 1 + min(count, most)])


def test_a_session_met_at_its_beginning_is_whole_at_once():
    line = Line()
    line.send(mold_packet("S1", 1, messages(3)))
    assert line.told == [2, 3]
    assert line.take_control() == [(KIND.SNAPSHOT_BEGIN, 1), (KIND.SNAPSHOT_END, 0)]
    assert (line.mold.session, line.mold.expected, line.decoder.state) == ("S1", 4, LIVE)


def test_the_second_line_is_all_duplicates():
    line = Line()
    for packet in packets(messages(10), [3]):
        line.send(packet, A)
        line.send(packet, B)
    assert line.told == list(range(2, 11))
    assert line.mold.line_counts == {"a": (4, 10), "b": (4, 0), "rerequested": (0, 0)}
    assert line.mold.duplicates == 10


@settings(max_examples=300, deadline=None)
@given(
    seed=st.integers(0, 2**32),
    n=st.integers(2, 150),
    sizes_a=st.lists(st.integers(1, 7), min_size=1, max_size=4),
    sizes_b=st.lists(st.integers(1, 7), min_size=1, max_size=4),
    capacity=st.sampled_from([68, 256]),
)
def test_whatever_order_two_lines_come_in_all_is_told_once_and_in_order(seed, n, sizes_a, sizes_b, capacity):
    """Any packets, doubled and shuffled within 4 ms, as long as a copy of each comes: no gap, nothing left."""
    rng = random.Random(seed)
    every = messages(n)
    kept = [(A, p) for p in packets(every, sizes_a) if rng.random() > 0.3]
    have = {s for _, p in kept for s in covered(p)}
    kept += [(B, p) for p in packets(every, sizes_b) if rng.random() > 0.3 or not covered(p) <= have]
    kept += rng.choices(kept, k=len(kept) // 4)
    line = Line(capacity=capacity)
    line.send(mold_packet("S1", 1, every[:1]))
    rng.shuffle(kept)
    for which, packet in kept:
        line.pass_ns(4 * MS // len(kept))
        line.send(packet, which)
    assert line.told == list(range(2, n + 1))
    assert (line.mold.gaps, line.mold.lost, line.mold.held, line.mold.missing_since_ns) == (0, 0, 0, 0)
    assert line.take_control() == [(KIND.SNAPSHOT_BEGIN, 1), (KIND.SNAPSHOT_END, 0)]


def covered(packet: bytes) -> set[int]:
    first = int.from_bytes(packet[10:18], "big")
    return set(range(first, first + int.from_bytes(packet[18:20], "big")))


@settings(max_examples=80, deadline=None)
@given(
    seed=st.integers(0, 2**32),
    n=st.integers(20, 200),
    loss=st.sampled_from([0.05, 0.3, 0.8]),
    window=st.sampled_from([64, 1024]),
    most=st.sampled_from([1, 5, 1000]),
)
def test_what_both_lines_lost_is_asked_for_and_told_in_its_place(seed, n, loss, window, most):
    """Loss on both lines, reordering, doubles, and a server that loses requests and answers in part: never a wrong
    order, never whole while something is missing, all told in the end."""
    rng = random.Random(seed)
    every = messages(n)
    line = Line(window=window, rerequest=True)
    on_the_way: list[tuple[int, int, bytes]] = []
    for i, packet in enumerate(packets(every, [1, 3, 2])):
        for which in (A, B):
            for _ in range(rng.choice([1, 1, 1, 2])):
                if rng.random() > loss:
                    on_the_way.append((i * MS // 5 + rng.randrange(2 * MS), which, packet))
    on_the_way.append((n * MS, A, mold_packet("S1", n + 1, [])))
    on_the_way.sort(key=lambda item: item[0])
    end_ns = n * MS + 60_000 * MS
    while line.mold.expected <= n and line.now_ns < end_ns:
        while on_the_way and on_the_way[0][0] <= line.now_ns:
            _, which, packet = on_the_way.pop(0)
            line.send(packet, which)
            assert (line.decoder.state == LIVE) <= (line.told == list(range(2, line.mold.expected)))
            if line.mold.missing_since_ns == 0:
                assert line.mold.expected == line.mold.known
        line.pass_ns(MS)
        request = line.mold.request(line.now_ns)
        if request is not None and rng.random() > min(loss, 0.3):
            on_the_way.insert(0, (line.now_ns + MS, R, answer(every, request, most)))
    assert line.told == list(range(2, n + 1))
    assert (line.mold.held, line.mold.lost, line.decoder.state) == (0, 0, LIVE)
    control = line.take_control()
    assert control[:1] == [(KIND.SNAPSHOT_BEGIN, 1)]
    assert control.count((KIND.STATUS, StatusKind.MISSING)) == line.mold.gaps
    assert control.count((KIND.SNAPSHOT_END, 0)) == line.mold.gaps + 1


def started(n: int = 40, **settings: object) -> tuple[Line, list[bytes]]:
    line, every = Line(**settings), messages(n)
    line.send(mold_packet("S1", 1, every[:5]))
    line.take_control()
    return line, every


def test_a_hole_is_asked_for_after_the_wait_for_the_other_line_and_flagged_by_the_gap_timer():
    line, every = started(rerequest=True)
    line.send(mold_packet("S1", 8, every[7:10]))
    assert line.mold.request(line.now_ns) is None
    line.pass_ns(1 * MS)
    assert line.mold.request(line.now_ns) == mold_header("S1", 6, 2)
    assert line.mold.request(line.now_ns) is None
    line.pass_ns(4 * MS - 1)
    assert line.take_control() == []
    line.pass_ns(1)
    assert line.take_control() == [(KIND.STATUS, StatusKind.MISSING)]
    line.send(answer(every, mold_header("S1", 6, 2), 99), R)
    assert line.told == list(range(2, 11))
    assert line.take_control() == [(KIND.SNAPSHOT_END, 0)]
    assert (line.mold.gaps, line.mold.recovered) == (1, 2)


def test_the_gap_timer_runs_from_what_first_showed_the_hole():
    """Later messages behind the same hole, or before its end, do not give it more time."""
    line, every = started(rerequest=True)
    line.send(mold_packet("S1", 9, every[8:9]))
    for sequence in (8, 7):
        line.pass_ns(2 * MS)
        line.send(mold_packet("S1", sequence, every[sequence - 1 : sequence]))
    line.pass_ns(1 * MS)
    assert line.take_control() == [(KIND.STATUS, StatusKind.MISSING)]


def test_a_new_hole_has_time_of_its_own():
    line, every = started(rerequest=True)
    for sequence in range(7, 39, 2):  # an odd one shows that the even one before it is missing
        line.send(mold_packet("S1", sequence, every[sequence - 1 : sequence]))
        line.pass_ns(3 * MS)
        line.send(mold_packet("S1", sequence - 1, every[sequence - 2 : sequence - 1]))
    assert line.take_control() == []
    assert line.told == list(range(2, 38))


def test_a_heartbeat_shows_that_the_last_messages_are_missing():
    line, _ = started(rerequest=True)
    line.send(mold_packet("S1", 9, []))
    line.pass_ns(5 * MS)
    assert line.mold.request(line.now_ns) == mold_header("S1", 6, 3)
    assert line.take_control() == [(KIND.STATUS, StatusKind.MISSING)]


def test_without_a_server_to_ask_a_hole_is_lost_and_there_is_no_book_any_more():
    line, every = started()
    line.send(mold_packet("S1", 8, every[7:10]))
    line.pass_ns(5 * MS)
    assert line.take_control() == [(KIND.CLEAR, 0)]
    line.send(mold_packet("S1", 11, every[10:]))
    assert line.told == [2, 3, 4, 5]
    assert (line.mold.lost, line.mold.expected, line.decoder.state) == (2, 41, LOST)
    line.send(mold_packet("S2", 1, messages(3)))
    assert line.take_control() == [(KIND.SNAPSHOT_BEGIN, 1), (KIND.SNAPSHOT_END, 0)]
    assert line.told[4:] == [2, 3]


def test_a_session_met_in_its_middle_is_asked_for_from_its_first_message_on():
    """A small window drops what is far ahead; it is asked for when it is its turn."""
    every = messages(500)
    line = Line(window=64, rerequest=True, request_messages=50)
    line.send(mold_packet("S1", 400, every[399:450]))
    for _ in range(40):
        line.pass_ns(20 * MS)
        request = line.mold.request(line.now_ns)
        if request is None:
            break
        assert line.control == [(KIND.SNAPSHOT_BEGIN, 1)]
        line.send(answer(every, request, 20), R)
    assert line.told == list(range(2, 451))
    assert line.take_control() == [(KIND.SNAPSHOT_BEGIN, 1), (KIND.SNAPSHOT_END, 0)]
    assert line.mold.beyond == 51


def test_who_does_not_answer_is_asked_ever_more_slowly():
    line, _ = started(rerequest=True)
    line.send(mold_packet("S1", 9, []))
    asked = 0
    for _ in range(3000):
        line.pass_ns(MS)
        asked += line.mold.request(line.now_ns) is not None
    assert 6 < asked < 12


def test_the_rest_of_an_answer_that_ended_early_is_asked_for_at_once():
    """A server that sends one packet of five for each request closes a hole of 50 in 10 round trips."""
    every = messages(56)
    line = Line(rerequest=True)
    line.send(mold_packet("S1", 1, every[:5]))
    line.send(mold_packet("S1", 56, every[55:]))
    for _ in range(25):
        line.pass_ns(MS)
        request = line.mold.request(line.now_ns)
        if request is not None:
            line.send(answer(every, request, 5), R)
    assert line.told == list(range(2, 57))
    assert line.mold.requests == 10


def test_what_comes_without_a_pause_is_one_answer():
    every = messages(56)
    line = Line(rerequest=True)
    line.send(mold_packet("S1", 1, every[:5]))
    line.send(mold_packet("S1", 56, every[55:]))
    line.pass_ns(2 * MS)
    assert line.mold.request(line.now_ns) == mold_header("S1", 6, 50)
    for at in range(5, 55, 10):
        line.pass_ns(MS - 1)
        assert line.mold.request(line.now_ns) is None
        line.send(mold_packet("S1", at + 1, every[at : at + 10]), R)
    assert (line.mold.requests, line.told) == (1, list(range(2, 57)))


def test_quiet_instruments_are_told_that_nothing_was_missed_while_the_line_is_heard():
    line, _ = started()
    for _ in range(30):
        line.pass_ns(100 * MS)
        line.send(mold_packet("S1", 6, []))
    beats = line.take_control()
    assert set(beats) == {(KIND.STATUS, StatusKind.HEARTBEAT)}
    assert 2 <= len(beats) <= 4
    line.pass_ns(5000 * MS)
    assert line.take_control() == []


def test_after_a_silence_an_old_copy_proves_nothing():
    """Only a line that tells all that was known before shows that the silence has cost nothing."""
    line, every = started(rerequest=True)
    line.mold.silent(line.now_ns)
    line.drain()
    line.send(mold_packet("S1", 2, every[1:5]), B)
    line.send(mold_packet("S1", 3, []), A)
    assert line.take_control() == [(KIND.STATUS, StatusKind.MISSING)]
    line.send(mold_packet("S1", 6, []), B)
    assert line.take_control() == [(KIND.SNAPSHOT_END, 0)]


def test_what_the_rerequest_server_tells_is_no_sign_of_the_lines():
    """The lines died while the day was fetched: a book of what they had told last is not called whole."""
    every = messages(40)
    line = Line(rerequest=True)
    line.send(mold_packet("S1", 21, every[20:30]))
    heard_ns = line.mold.last_ns
    line.pass_ns(4000 * MS)
    line.mold.silent(line.now_ns)
    line.send(answer(every, line.mold.request(line.now_ns), 99), R)
    assert (line.mold.last_ns, line.told) == (heard_ns, list(range(2, 31)))
    assert line.take_control() == [(KIND.SNAPSHOT_BEGIN, 1)]
    line.send(mold_packet("S1", 31, every[30:31]))
    assert line.take_control() == [(KIND.SNAPSHOT_END, 0)]


def test_the_rerequest_server_begins_no_session():
    line, every = started(rerequest=True)
    line.send(mold_packet("OLD", 1, every[:3]), R)
    assert (line.mold.foreign, line.mold.session, line.decoder.state) == (1, "S1", LIVE)


def test_the_end_of_a_session_is_known():
    line, _ = started()
    line.send(mold_header("S1", 6, 0xFFFF))
    assert line.mold.ended
    assert line.take_control() == []


def test_late_packets_of_the_session_before_do_not_end_the_new_one():
    line, every = started()
    line.send(mold_packet("S2", 1, every[:2]))
    line.take_control()
    line.send(mold_packet("S1", 6, every[5:7]))
    assert line.take_control() == []
    assert (line.mold.foreign, line.mold.session, line.mold.expected) == (1, "S2", 3)


def test_a_feed_that_is_told_its_session_takes_no_other():
    line = Line(session="S7")
    line.send(mold_packet("S1", 1, messages(2)))
    line.send(mold_packet("S7", 1, messages(2)))
    assert (line.mold.foreign, line.told) == (1, [2])


@pytest.mark.parametrize(
    "packet",
    [
        b"",
        mold_header("S1", 6, 1),
        mold_header("S1", 6, 1) + b"\x00\x24" + bytes(35),
        mold_header("S1", 6, 1) + b"\x00",
        mold_packet("S1", 6, [example("D")]) + b"x",
        mold_packet("S1", 6, []) + b"x",
        mold_header("S1", 0, 0),
        mold_header("S1", 2**63, 1),
        mold_header("S1", 2**61, 0),
    ],
)
def test_a_malformed_packet_gives_nothing_at_all(packet):
    line, _ = started()
    with pytest.raises(DecodeError, match="MoldUDP64 packet"):
        line.send(packet)
    line.drain()
    assert (line.mold.malformed, line.mold.expected, line.mold.known, line.told) == (1, 6, 6, [2, 3, 4, 5])


def test_a_wrong_message_in_a_good_packet_is_told_and_the_next_ones_are_taken():
    line, every = started()
    with pytest.raises(DecodeError, match="a length"):
        line.send(mold_packet("S1", 6, [b"", example("A")[:-1], every[7]]))
    line.drain()
    assert line.take_control()[0][0] == KIND.CLEAR
    assert line.mold.expected == 9


def test_a_stopped_feed_begins_anew():
    line, every = started(rerequest=True)
    line.mold.down(line.now_ns)
    line.drain()
    assert line.take_control() == [(KIND.STATUS, StatusKind.FEED_DOWN)]
    line.send(mold_packet("S1", 6, every[5:7]))
    line.pass_ns(MS)
    assert line.mold.request(line.now_ns) == mold_header("S1", 1, 5)


def test_a_line_that_was_silent_is_whole_again_when_nothing_was_missed():
    line, every = started()
    line.mold.silent(line.now_ns)
    line.drain()
    line.send(mold_packet("S1", 6, every[5:6]))
    assert line.take_control() == [(KIND.STATUS, StatusKind.MISSING), (KIND.SNAPSHOT_END, 0)]


def test_orders_caught_up_with_carry_no_last():
    line = Line(rerequest=True)
    every = messages(3)
    line.mold.packet(mold_packet("S1", 3, every[2:]), A, 1)
    line.mold.packet(mold_packet("S1", 1, every[:2]), R, 2)
    flags = [row[-1] for row in line.buffer.array().tolist() if row[8] in ORDERS]
    assert flags == [EventFlags.SNAPSHOT] * 2
