"""FIX session layer: framing, sequence, recovery. Messages are made by the tests' own encoder."""

import random

import pytest

from quotelife.feed.fix_session import (
    FixMessage,
    FixNews,
    FixReader,
    FixSession,
    FixSessionError,
    checksum,
    encode,
    fields_of,
)
from reference.fix_venue import message

S = 1_000_000_000
LOGON = ((98, 0), (108, 5), (141, "Y"))


def sent(session: FixSession) -> list[dict[int, str]]:
    """What it sends, one dictionary a message; repeated tags keep the first."""
    out = []
    for raw in FixReader().read(session.take()):
        out.append({tag: value.decode() for tag, value in reversed(fields_of(raw))})
    return out


@pytest.fixture
def session() -> FixSession:
    made = FixSession("US", "V", heartbeat_s=5)
    made.connected(S)
    assert sent(made)[0][35] == "A"
    assert made.received(message("A", 1, *LOGON), S) == [FixNews.LOGGED_ON]
    return made


def test_whole_messages_come_out_however_the_bytes_are_cut() -> None:
    rng = random.Random(5)
    made = [message("X", n, (58, "x" * rng.randrange(300))) for n in range(1, 60)]
    stream = b"".join(made)
    for _ in range(50):
        reader, got, at = FixReader(), [], 0
        while at < len(stream):
            step = rng.choice((1, 2, 7, 60, 1000))
            got += reader.read(stream[at : at + step])
            at += step
        assert got == made
        assert reader.garbled == 0


def test_a_changed_byte_costs_its_message_alone() -> None:
    """Every single-bit change of one message is noticed, and the message behind it is still found."""
    first, second, third = message("X", 1, (55, "A"), (270, "100.5")), message("0", 2), message("0", 3)
    for at in range(len(first)):
        for bit in range(8):
            reader = FixReader()
            bad = first[:at] + bytes([first[at] ^ 1 << bit]) + first[at + 1 :]
            got = reader.read(bad + second + third)
            assert first not in got and bad not in got, (at, bit)
            assert got[-1:] == [third] or reader.garbled == 0, (at, bit)  # a longer BodyLength waits for more


def test_a_length_beyond_the_bound_is_not_waited_for() -> None:
    reader = FixReader(message_bytes_max=1000)
    good = message("0", 1)
    assert reader.read(b"8=FIX.4.4\x019=99999\x01" + good) == [good]
    assert reader.garbled == 1
    assert "99999" in reader.last_garbled


class CountedReader(FixReader):
    """Counts the messages whose end was looked for."""

    looked = 0

    def _end_of(self, held: bytearray, start: int) -> int:
        self.looked += 1
        return super()._end_of(held, start)


def test_a_garbled_message_full_of_beginnings_is_summed_up_once() -> None:
    """Each of them names the same end: looked for one by one, 4 MB would hold the event loop for hours."""
    begin, beginnings = b"8=FIX.4.4\x019=", 10_000
    unit = len(begin) + 8
    nested = b"".join(b"%s%07d\x01" % (begin, (beginnings - n - 1) * unit + 1) for n in range(beginnings))
    storm = nested + b"\x01"
    wrong = (sum(storm) + 1) & 0xFF
    reader, good = CountedReader(), message("0", 2)
    assert reader.read(b"%s10=%03d\x01" % (storm, wrong) + good) == [good]
    assert (reader.garbled, reader.looked) == (1, 3)  # the storm, the good one, what is not here yet


@pytest.mark.parametrize("size", [200, 5000, 100_000])
def test_the_checksum_is_that_of_plain_summing_at_every_length(size: int) -> None:
    data = random.Random(size).randbytes(size)
    assert checksum(data) == checksum(memoryview(bytearray(data))) == sum(data) % 256


def test_of_a_message_the_session_looks_at_the_beginning_alone(session: FixSession) -> None:
    """A text of 4 MB in a million fields: taken as the message it is, its end not gone through."""
    fields = [(58, "x")] * 200_000 + [(0, "")]
    big = message("B", 2, *fields)
    (taken,) = session.received(big, 2 * S)
    assert isinstance(taken, FixMessage) and taken.data == big
    assert session._header(big).keys() == {8, 9, 35, 49, 56, 34, 52, 58}


def test_encoded_messages_carry_their_length_and_sum() -> None:
    said = [(35, "0"), (49, "V"), (56, "US"), (34, "7")]
    theirs = message("0", 7)
    stamp = dict(fields_of(theirs))[52]
    assert encode([*said, (52, stamp)]) == theirs


def test_raw_data_may_hold_a_separator() -> None:
    raw = b"a\x01b"
    assert (96, raw) in fields_of(encode([(35, "A"), (95, "3"), (96, raw), (58, "t")]))


def test_logon_resets_both_sequences() -> None:
    session = FixSession("US", "V")
    session.next_in = session.next_out = 40
    session.connected(S)
    (logon,) = sent(session)
    assert (logon[34], logon[141], logon[108]) == ("1", "Y", "10")


def test_a_gap_is_asked_for_once_and_what_is_out_of_turn_comes_again(session: FixSession) -> None:
    assert session.received(message("W", 4), 2 * S) == [FixNews.GAP]
    (request,) = sent(session)
    assert (request[35], request[7], request[16]) == ("2", "2", "0")
    assert session.received(message("W", 5), 2 * S) == []
    assert sent(session) == []
    again = [message("X", 2, (43, "Y")), message("4", 3, (43, "Y"), (123, "Y"), (36, 4))]
    again += [message("W", 4, (43, "Y")), message("W", 5, (43, "Y"))]
    got = session.received(b"".join(again), 3 * S)
    assert got == [
        FixMessage("X", again[0]),
        FixMessage("W", again[2]),
        FixMessage("W", again[3]),
        FixNews.CAUGHT_UP,
    ]
    assert session.next_in == 6


def test_a_gap_that_is_not_filled_ends_the_session(session: FixSession) -> None:
    session.received(message("W", 9), 2 * S)
    session.received(message("0", 10), 11 * S)
    with pytest.raises(FixSessionError, match="message 2 was not resent"):
        session.tick(12 * S + 1)


def test_a_low_sequence_ends_the_session_unless_it_is_a_repeat(session: FixSession) -> None:
    assert session.received(message("X", 1, (43, "Y")), 2 * S) == []
    with pytest.raises(
        FixSessionError, match="MsgSeqNum too low, expecting 2 but received 1; set reset_on_logon"
    ):
        session.received(message("X", 1), 2 * S)
    assert [m[35] for m in sent(session)] == ["5"]


def test_a_reset_that_skips_messages_is_a_gap(session: FixSession) -> None:
    assert session.received(message("4", 2, (36, 20)), 2 * S) == [FixNews.GAP, FixNews.CAUGHT_UP]
    assert session.next_in == 20


def test_a_gap_fill_that_nobody_asked_for_is_a_gap(session: FixSession) -> None:
    assert session.received(message("4", 2, (123, "Y"), (36, 3)), 2 * S) == []
    assert session.received(message("4", 3, (123, "Y"), (36, 20)), 2 * S) == [FixNews.GAP, FixNews.CAUGHT_UP]
    assert (session.next_in, session.gaps) == (20, 1)


def test_numbers_that_begin_anew_in_the_middle_are_agreed_to(session: FixSession) -> None:
    session.received(message("0", 2), 2 * S)
    assert session.received(message("A", 1, *LOGON), 2 * S) == [FixNews.GAP, FixNews.CAUGHT_UP]
    assert [(m[35], m[34], m[141]) for m in sent(session)] == [("A", "1", "Y")]
    assert (session.next_in, session.next_out) == (2, 2)


def test_a_reset_backwards_is_rejected(session: FixSession) -> None:
    session.received(message("0", 2), 2 * S)
    assert session.received(message("4", 3, (36, 1)), 2 * S) == []
    assert [(m[35], m[371]) for m in sent(session)] == [("3", "36")]
    assert session.next_in == 3


def test_silence_is_tested_and_then_ends_the_session(session: FixSession) -> None:
    session.tick(7 * S + 1)
    assert [m[35] for m in sent(session)] == ["1"]  # which is heartbeat enough
    session.tick(8 * S)
    with pytest.raises(FixSessionError, match="no answer to a test request"):
        session.tick(13 * S)


def test_an_answered_test_request_keeps_the_session(session: FixSession) -> None:
    session.tick(8 * S)
    test = next(m for m in sent(session) if m[35] == "1")
    session.received(message("0", 2, (112, test[112])), 9 * S)
    session.tick(13 * S)


def test_their_test_request_is_answered_with_its_id(session: FixSession) -> None:
    session.received(message("1", 2, (112, "hello")), 2 * S)
    assert [(m[35], m[112]) for m in sent(session)] == [("0", "hello")]


def test_what_they_miss_is_gap_filled_not_repeated(session: FixSession) -> None:
    session.send("V", [(262, "r")], S)
    session.take()
    session.received(message("2", 2, (7, 1), (16, 0)), 2 * S)
    (fill,) = sent(session)
    assert (fill[35], fill[34], fill[43], fill[123], fill[36]) == ("4", "1", "Y", "Y", "3")
    assert session.next_out == 3


@pytest.mark.parametrize(("tag", "name"), [(49, "SenderCompID"), (56, "TargetCompID")])
def test_another_counterparty_is_refused(session: FixSession, tag: int, name: str) -> None:
    names = {"sender": "X"} if tag == 49 else {"target": "X"}
    with pytest.raises(FixSessionError, match=rf"{name} \({tag}\) is 'X', expected"):
        session.received(message("W", 2, **names), 2 * S)


def test_a_refused_logon_says_why() -> None:
    session = FixSession("US", "V")
    session.connected(S)
    with pytest.raises(FixSessionError, match="logon refused: wrong password"):
        session.received(message("5", 1, (58, "wrong password")), S)


def test_any_bytes_end_in_messages_or_a_session_error(session: FixSession) -> None:
    """Mutated streams: nothing but FixSessionError comes out, and sequences never go back."""
    rng = random.Random(11)
    for _ in range(3000):
        made = FixSession("US", "V")
        made.connected(S)
        parts = [
            message("A", 1, *LOGON),
            message("X", 2, (268, 0)),
            message("4", 3, (36, 9)),
            message("1", 4),
        ]
        stream = bytearray(b"".join(rng.sample(parts, rng.randrange(1, 5))))
        for _ in range(rng.randrange(4)):
            at = rng.randrange(len(stream))
            stream[at : at + rng.randrange(3)] = rng.randbytes(rng.randrange(3))
        try:
            made.received(bytes(stream), S)
            made.tick(S)
        except FixSessionError:
            pass
        assert made.next_in >= 1
