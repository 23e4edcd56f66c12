"""NASDAQ ITCH: single messages, messages framed as in files, MoldUDP64 and SoupBinTCP."""

from collections.abc import Iterator
from decimal import Decimal

from fuzz_targets.kit import Bytes, Target, drain, ended, exact, pieces, same
from quotelife.errors import DecodeError
from quotelife.feed.itch import MESSAGE_LENGTHS, ItchDecoder
from quotelife.feed.mold import MoldReceiver
from quotelife.feed.soupbin import SoupClient
from quotelife.records import EventBuffer, EventKindCode
from reference.event_books import EventRow

INSTRUMENTS = 3
MIDNIGHT_NS = 1_700_000_000_000_000_000
LIVE = 2  # ItchDecoder.state
LENGTHS = {ord(kind): length for kind, length in MESSAGE_LENGTHS.items()}
ORDERS = {
    EventKindCode.ADD,
    EventKindCode.MODIFY,
    EventKindCode.CANCEL,
    EventKindCode.EXECUTE,
    EventKindCode.TRADE,
}
WORDS = tuple(kind.encode() for kind in MESSAGE_LENGTHS)


def decoder_of(capacity: int = 128, lot: int = 1) -> ItchDecoder:
    instruments = [(symbol * 3, i, Decimal("0.01"), Decimal(lot)) for i, symbol in enumerate("ABC")]
    return ItchDecoder(EventBuffer(capacity), instruments, midnight_ns=MIDNIGHT_NS)


def of_its_length(message: bytes) -> bytes:
    """Cut or padded to the length of its type, where that has one."""
    length = LENGTHS.get(message[0]) if message else None
    return message if length is None else message[:length].ljust(length, b"\0")


def directory(locate: int, symbol: str) -> bytes:
    return b"R" + locate.to_bytes(2, "big") + bytes(8) + symbol.ljust(8).encode() + bytes(20)


def order(locate: int, reference: int) -> bytes:
    return (
        b"A" + locate.to_bytes(2, "big") + bytes(8) + reference.to_bytes(8, "big") + b"B"
        + (100).to_bytes(4, "big") + symbol_bytes(locate) + (10_000).to_bytes(4, "big")
    )  # fmt: skip


def symbol_bytes(locate: int) -> bytes:
    return ("ABC"[locate % 3] * 3).ljust(8).encode()


def begins_anew(decoder: ItchDecoder) -> None:
    """Whatever there was, a new session gives whole books."""
    decoder.take_fault()
    decoder.begin(1)
    drain(decoder.buffer, INSTRUMENTS)
    for i, symbol in enumerate("ABC"):
        assert decoder.message(exact(directory(9 + i, symbol * 3)), 2) <= 1
        assert decoder.message(exact(order(9 + i, 77 + i)), 3) == 1
    decoder.settle(4)
    events = ended(drain(decoder.buffer, INSTRUMENTS))
    assert sum(event.kind == EventKindCode.ADD for event in events) == INSTRUMENTS
    assert [event.instrument for event in events[-3:]] == [0, 1, 2]
    assert all(event.kind == EventKindCode.SNAPSHOT_END for event in events[-3:])


# --- messages ---


def run_messages(data: bytes) -> None:
    """Each message is behind a byte that says what to do and one of its length."""
    source = Bytes(data)
    options = source.byte()
    decoder = decoder_of(lot=100 if options & 1 else 1)
    decoder.begin(1)
    decoder.settle(1)
    drain(decoder.buffer, INSTRUMENTS)
    while source:
        action, length = source.byte(), source.byte()
        match action:
            case 250:
                decoder.begin(5, midnight_ns=MIDNIGHT_NS)
            case 251:
                decoder.doubt(5)
            case 252:
                decoder.lose(5)
            case 253:
                decoder.settle(5)
            case 254:
                decoder.down(5)
            case _:
                message = source.take(length)
                if action & 3:
                    message = of_its_length(message)
                refused = decoder.malformed + decoder.unknown
                try:
                    added = decoder.message(exact(message), 5 if action & 4 else 0, 9)
                    assert added == len(decoder.buffer) <= INSTRUMENTS
                    assert decoder.malformed + decoder.unknown == refused
                except DecodeError as error:
                    assert str(error)
                    assert decoder.malformed + decoder.unknown == refused + 1
        events = drain(decoder.buffer, INSTRUMENTS)
        if decoder.state == LIVE:
            ended(events)
    begins_anew(decoder)


def day(messages: int) -> list[bytes]:
    from quotelife.sim.itch_wire import ItchMarket, ItchSymbol

    symbols = [ItchSymbol(symbol * 3) for symbol in "ABC"]
    market = ItchMarket(symbols, midnight_ns=MIDNIGHT_NS, start_ns=MIDNIGHT_NS + 34_200 * 10**9)
    return market.opening + market.advance(messages) + market.encoder.closing(MIDNIGHT_NS + 57_600 * 10**9)


def message_seeds() -> Iterator[bytes]:
    from reference.itch_twin import example

    every = [example(kind, 1, 10**12, 5) for kind in MESSAGE_LENGTHS]
    for messages in (day(40), every):
        yield b"\0" + b"".join(bytes((4, len(message))) + message for message in messages)


itch = Target(run_messages, message_seeds, WORDS)


# --- framed as in files ---


def told(decoder: ItchDecoder, chunks: list[bytes], events_max: int) -> tuple[list[EventRow], list[str], int]:
    """Events, faults and the number of the next message; what is left of a chunk goes before the next one."""
    events: list[EventRow] = []
    faults: list[str] = []
    held, sequence = b"", 1
    for chunk in chunks:
        held += chunk
        at = 0
        view = exact(held)
        while True:
            before = at
            at, sequence = decoder.framed(view, at, sequence, events_max)
            assert before <= at <= len(held)
            fault = decoder.take_fault()
            if fault is not None:
                faults.append(fault)
            events += drain(decoder.buffer, INSTRUMENTS)
            if at == before:
                break
        held = held[at:]
    return events, faults, sequence


def run_framed(data: bytes) -> None:
    """The same in one piece and in many."""
    source = Bytes(data)
    options = source.byte()
    body = source.rest()
    told_of = []
    for chunks, events_max in (([body], 50), (pieces(body, options), 1 + options % 7)):
        decoder = decoder_of(capacity=128 if options & 1 else 76)
        decoder.begin(1)
        decoder.settle(1)
        drain(decoder.buffer, INSTRUMENTS)
        found = told(decoder, chunks, events_max)
        told_of.append((found, decoder.counts, decoder.malformed, decoder.unknown, decoder.off_grid))
        begins_anew(decoder)
    same(*told_of)


def framed_seeds() -> Iterator[bytes]:
    from quotelife.sim.itch_wire import framed

    yield b"\1" + framed(day(40))
    yield b"\2" + framed(day(3))


itch_framed = Target(run_framed, framed_seeds, WORDS)


# --- MoldUDP64 ---


class Ordered:
    """Messages of a session are applied once each, in their order."""

    def __init__(self) -> None:
        self.sequence = 0

    def see(self, events: list[EventRow]) -> None:
        for event in events:
            if event.kind == EventKindCode.SNAPSHOT_BEGIN:
                self.sequence = 0
            elif event.kind in ORDERS:
                assert event.sequence > self.sequence, event
                self.sequence = event.sequence


def packet_of(source: Bytes, expected: int) -> bytes:
    """A packet that is right but for its messages: session, how far from the next number, messages by length."""
    head = source.byte()
    session = b"        S2" if head & 64 else b"        S1"
    sequence = max(1, expected + source.byte() - 16)
    count = head & 7
    messages = [of_its_length(source.take(source.byte())) for _ in range(count)]
    if count == 0 and head & 8:
        count = 0xFFFF
    return (
        session
        + sequence.to_bytes(8, "big")
        + count.to_bytes(2, "big")
        + b"".join(len(message).to_bytes(2, "big") + message for message in messages)
    )


def run_mold(data: bytes) -> None:
    source = Bytes(data)
    options = source.byte()
    decoder = decoder_of(capacity=80 if options & 1 else 256)
    mold = MoldReceiver(decoder, window=64, rerequest=bool(options & 2))
    now_ns, order_of = 1, Ordered()
    while source:
        action = source.byte()
        line = action % 3
        packet = packet_of(source, mold.expected) if action & 4 else source.take(source.number(2))
        expected, sessions = mold.expected, mold.sessions
        malformed = mold.malformed + decoder.malformed + decoder.unknown
        try:
            mold.packet(exact(packet), line, now_ns)
        except DecodeError as error:
            assert str(error)
            assert mold.malformed + decoder.malformed + decoder.unknown > malformed
        order_of.see(drain(decoder.buffer, INSTRUMENTS))
        while mold.more:
            mold.go_on(now_ns)
            order_of.see(drain(decoder.buffer, INSTRUMENTS))
        now_ns += (0, 1000, 10**6, 10**7, 10**10)[(action >> 3) % 5]
        mold.tick(now_ns)
        order_of.see(drain(decoder.buffer, INSTRUMENTS))
        while mold.more:
            mold.go_on(now_ns)
            order_of.see(drain(decoder.buffer, INSTRUMENTS))
        request = mold.request(now_ns)
        assert request is None or len(request) == 20
        assert 0 <= mold.held <= 64
        assert mold.expected >= expected or mold.sessions > sessions
        assert mold.missing_since_ns != 0 or mold.expected >= mold.known or mold.session is None
        assert decoder.state != LIVE or mold.session is not None
        decoder.take_fault()  # of a message that had waited
    mold.down(now_ns)
    drain(decoder.buffer, INSTRUMENTS)
    mold.packet(exact(b"        S9" + (1).to_bytes(8, "big") + bytes(2)), 0, now_ns)
    drain(decoder.buffer, INSTRUMENTS)
    assert decoder.state == LIVE


def mold_seeds() -> Iterator[bytes]:
    from quotelife.sim.itch_wire import mold_packet

    messages = day(30)
    raw = [mold_packet("S1", 1 + at, messages[at : at + 4]) for at in range(0, len(messages), 4)]
    yield b"\2" + b"".join(b"\0" + len(packet).to_bytes(2, "little") + packet for packet in raw)
    swapped = [raw[at ^ 1] for at in range(len(raw) // 2 * 2)]
    yield b"\0" + b"".join(b"\1" + len(packet).to_bytes(2, "little") + packet for packet in swapped)
    shaped = [
        bytes((4, 3, 16 + ahead)) + b"".join(bytes((len(m),)) + m for m in messages[at : at + 3])
        for at, ahead in ((0, 0), (6, 3), (3, 0), (9, 0))
    ]
    yield b"\3" + b"".join(shaped)


mold = Target(run_mold, mold_seeds, (b"        S1", b"        S2", *WORDS))


# --- SoupBinTCP ---


def run_soup(data: bytes) -> None:
    """Connections, each accepted and then sent what the input holds; the same in one piece and in many."""
    source = Bytes(data)
    options = source.byte()
    connections: list[tuple[int, bytes]] = []
    while source and len(connections) < 8:
        connections.append((source.byte(), source.take(source.number(2))))
    told_of = []
    for split in (False, True):
        decoder = decoder_of(capacity=80 if options & 1 else 256)
        soup = SoupClient(decoder, username="user", password="secret")
        events: list[EventRow] = []
        outcomes = []
        for seed, body in connections:
            login = soup.connect()
            assert len(login) == 49
            if seed & 1:
                number = soup.expected + (seed >> 2) % 8
                name = "S2" if seed & 2 else "S1"
                body = b"\0\x1fA" + f"{name:>10}{number:>20}".encode() + body
            fault = None
            try:
                for chunk in pieces(body, seed) if split else [body]:
                    if soup.leave:
                        break
                    soup.input_view()[: len(chunk)] = chunk
                    n = len(chunk)
                    while soup.received(n, 1):
                        n = 0
                        events += drain(decoder.buffer, INSTRUMENTS)
                    events += drain(decoder.buffer, INSTRUMENTS)
            except DecodeError as error:
                fault = str(error)
            events += drain(decoder.buffer, INSTRUMENTS)
            outcomes.append((fault, soup.leave, soup.expected, soup.messages, soup.malformed, soup.session))
            soup.disconnected(2)
            events += drain(decoder.buffer, INSTRUMENTS)
        told_of.append((events, outcomes, decoder.counts, decoder.malformed))
        begins_anew(decoder)
    same(*told_of)
    order_of = Ordered()
    order_of.see(told_of[0][0])


def soup_seeds() -> Iterator[bytes]:
    from quotelife.sim.itch_wire import soup_packet

    body = b"".join(soup_packet(b"S", message) for message in day(20)) + soup_packet(b"H")
    others = b"".join(soup_packet(kind, b"x") for kind in (b"+", b"U")) + soup_packet(b"Z")
    accepted = soup_packet(b"A", f"{'S1':>10}{1:>20}".encode())
    for first in (b"", accepted):
        yield b"\0" + b"".join(
            bytes((0 if first else 1,)) + len(part).to_bytes(2, "little") + part
            for part in (first, first + body, first + others, soup_packet(b"J", b"S"))
        )


soupbin = Target(run_soup, soup_seeds, (b"        S1", b"        S2", b"\0\x1fA", *WORDS))
