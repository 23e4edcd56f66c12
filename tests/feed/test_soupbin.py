"""SoupBinTCP 3.0 as a state machine: login, where the past ends, resuming, refusal, wrong packets."""

from decimal import Decimal

import pytest

from quotelife.errors import DecodeError
from quotelife.feed.itch import ItchDecoder
from quotelife.feed.soupbin import LOGOUT, SoupClient
from quotelife.records import EventBuffer, EventKindCode, StatusKind
from quotelife.sim.itch_wire import soup_packet
from reference.itch_twin import build, example

S = 1_000_000_000
LOST, CATCHING_UP, LIVE = 0, 1, 2
KIND = EventKindCode
EVERY = [example("R"), *(build("A", 1, 5, i, "B", 1, "AAA", 1_000_000) for i in range(2, 200))]


def accepted(sequence: int, session: str = "S1") -> bytes:
    return soup_packet(b"A", f"{session:>10}{sequence:>20}".encode())


def data(first: int, last: int) -> bytes:
    return b"".join(soup_packet(b"S", message) for message in EVERY[first - 1 : last])


class Client:
    def __init__(self, capacity: int = 256, session: str | None = None) -> None:
        self.buffer = EventBuffer(capacity)
        self.decoder = ItchDecoder(self.buffer, [("AAA", 0, Decimal("0.01"), Decimal(1))])
        self.soup = SoupClient(self.decoder, username="ME", password="SECRET", session=session)
        self.told: list[int] = []
        self.control: list[tuple[int, int]] = []
        self.now_ns = 1

    def connect(self) -> tuple[str, int]:
        """(session, number) that the login asks for."""
        login = self.soup.connect()
        assert login[:3] == b"\x00\x2fL"
        assert login[3:19] == b"ME    SECRET    "
        return login[19:29].decode().strip(), int(login[29:49])

    def receive(self, stream: bytes, step: int = 1000) -> None:
        for at in range(0, len(stream), step):
            piece = stream[at : at + step]
            self.soup.input_view()[: len(piece)] = piece
            more = self.soup.received(len(piece), self.now_ns)
            self.drain()
            while more:
                more = self.soup.received(0, self.now_ns)
                self.drain()

    def drain(self) -> None:
        for row in self.buffer.array().tolist():
            if row[8] == KIND.ADD:
                assert row[2] == row[5]
                self.told.append(row[5])
            else:
                self.control.append((row[8], row[6]))
        self.buffer.clear()

    def take_control(self) -> list[tuple[int, int]]:
        out, self.control = self.control, []
        return out

    def caught_up(self, n: int) -> None:
        """Probe, then all up to number n."""
        self.connect()
        self.receive(accepted(n + 1))
        assert self.soup.leave
        self.soup.disconnected(self.now_ns)
        self.connect()
        self.receive(accepted(1) + data(1, n))
        self.drain()


@pytest.mark.parametrize("step", [1, 7, 1000])
@pytest.mark.parametrize("capacity", [68, 256])
def test_a_day_is_caught_up_with_from_its_first_message_and_good_at_the_target(step, capacity):
    client = Client(capacity)
    assert client.connect() == ("", 0)
    client.receive(accepted(101))
    assert (client.soup.leave, client.soup.target) == (True, 101)
    client.soup.disconnected(1)
    assert client.connect() == ("S1", 1)
    client.receive(accepted(1) + data(1, 99), step)
    assert client.take_control() == [(KIND.SNAPSHOT_BEGIN, 1)]
    client.receive(data(100, 150), step)
    assert client.told == list(range(2, 151))
    assert client.take_control() == [(KIND.SNAPSHOT_END, 0)]
    assert client.decoder.state == LIVE


def test_a_broken_line_is_resumed_at_the_next_message_and_gapped_until_then():
    client = Client()
    client.caught_up(50)
    client.take_control()
    client.soup.disconnected(client.now_ns)
    client.drain()
    assert client.take_control() == [(KIND.STATUS, StatusKind.MISSING)]
    assert client.connect() == ("S1", 0)
    client.receive(accepted(81))
    client.soup.disconnected(client.now_ns)
    assert client.connect() == ("S1", 51)
    client.receive(accepted(51) + data(51, 79))
    assert client.take_control() == []
    client.receive(data(80, 80))
    assert client.take_control() == [(KIND.SNAPSHOT_END, 0)]
    assert client.told == list(range(2, 81))


def test_a_target_that_has_grown_old_is_asked_for_again_until_it_is_fresh():
    """Who reads no faster than the day goes on has no book, rather than one that is behind."""
    client = Client()
    client.connect()
    client.receive(accepted(51))
    for first, last in ((1, 50), (51, 60), (61, 70), (71, 80), (81, 90)):
        client.soup.disconnected(client.now_ns)
        client.connect()
        client.now_ns += S + 1
        client.receive(accepted(first) + data(first, last))
        assert (client.soup.leave, client.soup.again, client.decoder.state) == (True, True, CATCHING_UP)
        client.soup.disconnected(client.now_ns)
        assert client.connect()[1] == 0
        client.receive(accepted(last + 11))
    client.soup.disconnected(client.now_ns)
    client.connect()
    client.now_ns += S
    client.receive(accepted(91) + data(91, 100))
    assert client.decoder.state == LIVE


def test_a_heartbeat_amid_the_past_makes_no_book_whole():
    client = Client()
    client.connect()
    client.receive(accepted(51))
    client.soup.disconnected(1)
    client.connect()
    client.receive(accepted(1) + data(1, 20) + soup_packet(b"H"))
    assert (client.decoder.state, client.soup.heartbeats) == (CATCHING_UP, 1)
    client.receive(data(21, 50))
    assert client.decoder.state == LIVE


def test_a_session_that_is_over_is_not_fetched_again():
    client = Client()
    client.caught_up(50)
    client.receive(soup_packet(b"Z"))
    client.soup.disconnected(1)
    client.drain()
    client.take_control()
    assert client.connect() == ("", 0)
    client.receive(accepted(51))
    assert (client.soup.leave, client.soup.again, client.soup.expected) == (True, False, 51)
    assert client.take_control() == []


def test_a_feed_that_is_told_its_session_asks_for_no_other():
    client = Client(session="S1")
    client.caught_up(50)
    client.receive(soup_packet(b"Z"))
    client.soup.disconnected(1)
    assert client.connect() == ("S1", 0)
    client.receive(soup_packet(b"J", b"S"))
    client.soup.disconnected(1)
    assert client.connect() == ("S1", 0)
    with pytest.raises(DecodeError, match="another session"):
        client.receive(accepted(1, "S2"))


def test_a_server_that_has_less_than_it_sent_is_not_asked_again_at_once():
    client = Client()
    client.caught_up(50)
    client.soup.disconnected(1)
    client.connect()
    with pytest.raises(DecodeError, match="less than it has sent"):
        client.receive(accepted(40))
    client.soup.disconnected(1)
    assert (client.soup.again, client.soup.expected) == (False, 51)


def test_another_session_begins_a_new_day():
    client = Client()
    client.caught_up(50)
    client.receive(soup_packet(b"Z"))
    assert (client.soup.ended, client.soup.leave) == (True, True)
    client.soup.disconnected(1)
    client.take_control()
    assert client.connect() == ("", 0)
    client.receive(accepted(1, "S2"))
    client.soup.disconnected(1)
    assert client.connect() == ("S2", 1)
    client.receive(accepted(1, "S2"))
    assert client.decoder.state == LIVE
    assert (client.soup.session, client.soup.sessions) == ("S2", 2)


def test_a_server_that_keeps_no_past_leaves_no_book():
    client = Client()
    client.connect()
    client.receive(accepted(51))
    client.soup.disconnected(1)
    client.connect()
    client.receive(accepted(51) + data(51, 60))
    assert (client.decoder.state, client.soup.lost, client.told) == (LOST, 50, [])


@pytest.mark.parametrize(("code", "said"), [(b"A", "not authorised"), (b"S", "session"), (b"?", "'\\?'")])
def test_a_refused_login_says_why(code, said):
    client = Client()
    client.connect()
    client.receive(soup_packet(b"J", code))
    assert client.soup.leave
    assert client.soup.rejected is not None
    assert said.replace("\\", "") in client.soup.rejected


@pytest.mark.parametrize(
    "stream",
    [
        b"\x00\x00\x00",
        soup_packet(b"x"),
        b"GET / HTTP/1.1\r\n\r\n",  # a length of 18 kB: not waited for
        soup_packet(b"S", EVERY[0]),
        soup_packet(b"A", b"short"),
        accepted(0),
        soup_packet(b"A", b"\xa1S1".rjust(10) + b"1".rjust(20)),
        soup_packet(b"A", b" " * 30),
        soup_packet(b"A", b"S1".rjust(10) + b"12x4".rjust(20)),
    ],
)
def test_a_wrong_packet_ends_the_connection(stream):
    client = Client()
    client.connect()
    with pytest.raises(DecodeError, match="SoupBinTCP packet"):
        client.receive(stream)
    assert client.soup.malformed == 1


def test_unsequenced_and_debug_packets_have_no_number():
    client = Client()
    client.caught_up(3)
    client.receive(soup_packet(b"+", b"hello") + soup_packet(b"U", b"x") + data(4, 5))
    assert (client.soup.unsequenced, client.told) == (2, [2, 3, 4, 5])


def test_a_client_that_was_stopped_begins_with_number_1():
    client = Client()
    client.caught_up(50)
    client.soup.down(1)
    assert client.connect()[1] == 0
    client.receive(accepted(51))
    client.soup.disconnected(1)
    assert client.connect() == ("S1", 1)


def test_who_logs_out_says_so():
    assert soup_packet(b"O") == LOGOUT


@pytest.mark.parametrize(("field", "value"), [("username", "TOOLONG"), ("password", "12345678901")])
def test_credentials_that_do_not_fit_are_refused(field, value):
    decoder = ItchDecoder(EventBuffer(128), [("AAA", 0, Decimal("0.01"), Decimal(1))])
    with pytest.raises(ValueError, match=field):
        SoupClient(decoder, **{field: value})
