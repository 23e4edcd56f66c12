"""FIX 4.4: market data messages, and the session layer beneath them."""

from collections.abc import Iterator
from decimal import Decimal

from fuzz_targets.kit import Bytes, Target, ended, pieces, same
from quotelife.errors import DecodeError
from quotelife.feed.fix import FixDecoder
from quotelife.feed.fix_session import FixReader, FixSession, FixSessionError, encode, fields_of
from quotelife.feed.symbol_feed import SyncState
from quotelife.records import EventBuffer
from reference.event_books import AppliedBooks

SOH = b"\x01"
SYMBOLS = ("AAA", "BBB")
NOW = b"20260809-21:05:48.228"
BOOK = ((b"0", b"99.5", b"3"), (b"0", b"99", b"4"), (b"1", b"100.5", b"5"))
TAGS = (
    34, 35, 49, 52, 54, 55, 56, 60, 83, 262, 268, 269, 270, 271, 278, 279, 280, 326,
    7, 16, 36, 43, 45, 58, 95, 96, 98, 108, 112, 122, 123, 141, 371, 372,
)  # fmt: skip
WORDS = (
    *(b"\x01%d=" % tag for tag in TAGS),
    b"35=W\x01", b"35=X\x01", b"35=f\x01", b"35=Y\x01", b"262=AAA.1\x01", b"55=AAA\x01", b"55=BBB\x01",
    b"279=0\x01269=0\x01", b"279=1\x01269=1\x01", b"279=2\x01", b"269=J\x01", b"269=2\x01", NOW,
)  # fmt: skip


def refresh(request: bytes, sequence: int) -> bytes:
    fields: list[tuple[int, str | bytes]] = [
        (35, b"W"),
        (34, b"%d" % sequence),
        (52, NOW),
        (262, request),
        (55, "AAA"),
    ]
    fields.append((268, b"%d" % len(BOOK)))
    for side, price, size in BOOK:
        fields += [(269, side), (270, price), (271, size)]
    return encode(fields)


# --- market data ---


class Books:
    """What the events say, beside what the decoder says of itself."""

    def __init__(self, decoder: FixDecoder) -> None:
        self.decoder = decoder
        self.books = AppliedBooks(2)

    def see(self, data: bytes) -> None:
        events = ended(self.books.drain(self.decoder.buffer))
        for event in events:
            assert min(event.price_ticks, event.size_lots, event.order_id, event.aux) >= 0, data
        for index, symbol in enumerate(SYMBOLS):
            assert self.books[index].whole == (self.decoder.state(symbol) is SyncState.SYNCED), data
            assert not self.books[index].open, data


def subscribed(decoder: FixDecoder) -> bytes:
    decoder.disconnected(0)
    decoder.connected(0)
    for symbol in SYMBOLS:
        (fields,) = decoder.subscribe(symbol)
        if symbol == "AAA":
            request = fields[0][1]
    assert isinstance(request, bytes)
    return request


def run_messages(data: bytes) -> None:
    """Messages, one a line, after a refresh; a line of one byte is something that the session tells."""
    source = Bytes(data)
    options = source.byte()
    decoder = FixDecoder(EventBuffer(256), depth=2 if options & 1 else 0, incremental=not options & 2)
    for index, symbol in enumerate(SYMBOLS):
        decoder.add_instrument(symbol, index, Decimal("0.5"), Decimal(1))
    books = Books(decoder)
    request = subscribed(decoder)
    books.see(b"")
    if options & 4:
        decoder.message(refresh(request, 1), 1)
        books.see(b"")
    for line in source.rest().split(b"\n"):
        if line == b"g":
            decoder.gap(2)
        elif line == b"s":
            for symbol in decoder.wants_snapshot():
                decoder.subscribe(symbol)
        elif line == b"d":
            request = subscribed(decoder)
        else:
            refused = decoder.malformed + decoder.off_grid
            full = [decoder.stats(symbol).overflows for symbol in SYMBOLS]
            try:
                decoder.message(line, 5)
            except DecodeError as error:
                assert str(error)
                assert (
                    decoder.malformed + decoder.off_grid == refused + 1
                    or [decoder.stats(symbol).overflows for symbol in SYMBOLS] != full
                )
        books.see(line)
    request = subscribed(decoder)
    books.see(b"")
    decoder.message(refresh(request, 1), 9)
    books.see(b"")
    assert decoder.state("AAA") is SyncState.SYNCED
    assert books.books[0].levels() == ({199: 3, 198: 4}, {201: 5})


def venue_messages() -> Iterator[bytes]:
    from reference.fix_venue import FixVenue, message

    for named in (False, True):
        venue = FixVenue(list(SYMBOLS), seed=1, named=named)
        for index, symbol in enumerate(SYMBOLS):
            entries = [item for entry in venue.refresh(symbol, 4) for item in entry.items()]
            head = [(262, f"{symbol}.{index + 1}"), (55, symbol), (268, len(entries))]
            yield message("W", 2 + index, *head, *entries)
        for at in range(4):
            symbol = SYMBOLS[at % 2]
            items = [(83, at), *venue.change(symbol)[0].items()]
            items.insert(1, (55, symbol))
            yield message(
                "X", 4 + at, (262, f"{symbol}.{at % 2 + 1}"), (268, 1), (279, 0), *items[1:], items[0]
            )
    yield message("f", 9, (55, "AAA"), (326, 2))
    yield message(
        "X", 10, (262, "AAA.1"), (268, 1), (279, 0), (269, 2), (55, "AAA"), (270, "99.5"), (271, 3), (54, 1)
    )
    yield message("Y", 11, (262, "AAA.1"), (281, 0), (58, "no"))


def message_seeds() -> Iterator[bytes]:
    messages = list(venue_messages())
    yield b"\0" + b"\n".join(messages[:6] + messages[-3:])
    yield b"\1" + b"\n".join(messages[6:])
    yield b"\2" + b"\n".join((messages[0], messages[1], messages[0], messages[1]))
    for one in messages:
        yield b"\4" + one


fix = Target(run_messages, message_seeds, WORDS)


# --- the session ---


def shaped(line: bytes, sequence: int) -> bytes:
    """A body with the length and checksum that make it a message; ``#`` is the next number."""
    body = line.replace(b"#", b"%d" % sequence)
    head = b"8=FIX.4.4\x019=%d\x01%s" % (len(body), body)
    return b"%s10=%03d\x01" % (head, sum(head) & 255)


def run_session(data: bytes) -> None:
    """Lines as they are, or made whole messages; the same is told in one piece and in many."""
    source = Bytes(data)
    options = source.byte()
    lines = source.rest().split(b"\n")
    body = b"".join(
        line[1:] if line[:1] == b"=" else shaped(line, number) for number, line in enumerate(lines, start=1)
    )
    told = []
    for chunks in ([body], pieces(body, options)):
        session = FixSession("US", "V", reset_on_logon=not options & 1, message_bytes_max=2000)
        session.connected(1, [(553, "user")])
        out, fault = [], None
        try:
            for chunk in chunks:
                out += session.received(chunk, 10**9)
        except FixSessionError as error:
            fault = str(error)
        assert session.next_in >= 1 and session.next_out >= 2
        sent = session.take()
        reader = FixReader()
        for message in reader.read(sent):
            assert fields_of(message)[0] == (8, b"FIX.4.4")
        assert reader.garbled == 0
        told.append((fault, sent, session.next_in, session.next_out, session.gaps, session.rejects))
        if fault is None:
            told[-1] += (out,)  # type: ignore[assignment]
            session.tick(2 * 10**9)
    same(*told)


def session_seeds() -> Iterator[bytes]:
    head = b"49=V\x0156=US\x0134=#\x0152=20260809-21:05:48.228\x01"
    logon = b"35=A\x01" + head + b"98=0\x01108=10\x01141=Y\x01"
    others = [
        b"35=0\x01" + head,
        b"35=1\x01" + head + b"112=T1\x01",
        b"35=2\x01" + head + b"7=1\x0116=0\x01",
        b"35=3\x01" + head + b"45=1\x01371=35\x0158=why\x01",
        b"35=4\x01" + head + b"123=Y\x0136=9\x01",
        b"35=4\x01" + head + b"36=20\x01",
        b"35=0\x01" + head.replace(b"#", b"9"),
        b"35=5\x01" + head + b"58=bye\x01",
        b"35=A\x01" + head + b"95=3\x0196=a\x01b\x01108=20\x01",
    ]
    market = next(venue_messages())
    yield b"\0" + logon
    yield b"\3" + b"\n".join((logon, *others[:4], b"=" + market, *others[4:]))
    for other in others:
        yield b"\2" + logon + b"\n" + other + b"\n=" + market + b"\n" + others[0]


fix_session = Target(run_session, session_seeds, WORDS, python_lines=True)
