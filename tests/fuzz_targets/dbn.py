"""Databento Binary Encoding, versions 1 to 3, every kind of record."""

from collections.abc import Iterator
from decimal import Decimal

from fuzz_targets.kit import Bytes, Target, pieces, same
from quotelife.errors import DecodeError
from quotelife.feed.dbn import DbnDecoder
from quotelife.feed.dbn_layout import DTYPES, RTYPES
from quotelife.records import EventBuffer, EventKindCode
from reference.event_books import EventRow, rows

SYMBOLS = ("ORDERS", "LEVELS", "QUOTES")
FAULTS_MAX = 50
KINDS = {int(kind) for kind in EventKindCode}
LENGTHS = {rtype: [dtype.itemsize for dtype in DTYPES[kind]] for rtype, kind in RTYPES.items()}


def decoder_of(buffer: EventBuffer) -> DbnDecoder:
    decoder = DbnDecoder(buffer)
    for index, symbol in enumerate(SYMBOLS):
        decoder.add_instrument(
            symbol, index, Decimal("0.01"), Decimal(1), order_level=index == 0, quotes_only=index == 2
        )
    return decoder


def text(value: str, length: int) -> bytes:
    return value.encode().ljust(length, b"\0")


def metadata(version: int, ts_out: bool = False) -> bytes:
    """What stands before records: instruments 1, 2 and 3 are the symbols, for good."""
    symbol = 22 if version == 1 else 71
    body = text("XTST.BOOK", 16) + (0).to_bytes(2, "little") + bytes(8) + b"\xff" * 8 + bytes(8)
    body += b"\xff" * 8 if version == 1 else b""
    body += bytes((1, 0, ts_out))
    body += bytes(47) if version == 1 else symbol.to_bytes(2, "little") + bytes(53)
    body += bytes(4) + len(SYMBOLS).to_bytes(4, "little") + b"".join(text(name, symbol) for name in SYMBOLS)
    body += bytes(8) + len(SYMBOLS).to_bytes(4, "little")
    for number, name in enumerate(SYMBOLS, start=1):
        days = (19700101).to_bytes(4, "little") + (21000101).to_bytes(4, "little")
        body += text(name, symbol) + (1).to_bytes(4, "little") + days + text(str(number), symbol)
    body += bytes(-len(body) % 8)
    return b"DBN" + bytes((version,)) + len(body).to_bytes(4, "little") + body


def record_of(source: Bytes) -> bytes:
    """A record whose length is one of its type's and whose instrument is one of ours or the next."""
    head = source.byte()
    rtype = source.byte()
    lengths = LENGTHS.get(rtype, [source.byte() * 4])
    length = lengths[head % len(lengths)]
    raw = source.take(max(length - 8, 0)).ljust(max(length - 8, 0), b"\0")
    return bytes((length // 4, rtype, 1, 0, 1 + (head >> 4 & 3), 0, 0, 0)) + raw


def told(chunks: list[bytes], limit: int) -> tuple[list[EventRow], list[str], tuple[object, ...]]:
    """All events and faults of the bytes in these pieces; of a decoder that cannot go on the first fault."""
    buffer = EventBuffer(1100)
    decoder = decoder_of(buffer)
    events: list[EventRow] = []
    faults: list[str] = []

    def drain() -> None:
        assert buffer.overflowed == 0
        if not len(buffer):
            return
        found = rows(buffer)
        for event in found:
            assert event.kind in KINDS, event
            assert event.instrument < len(SYMBOLS), event
            assert event.size_lots >= 0, event
        events.extend(found)
        buffer.clear()

    for chunk in chunks:
        decoder.feed(chunk)
        while True:
            try:
                decoder.decode(limit)
            except DecodeError as error:
                drain()
                again = faults[-1:] == [str(error)]  # the bytes make no sense from here on
                if again or len(faults) == FAULTS_MAX:
                    return events, faults, ()
                faults.append(str(error))
                continue
            drain()
            if decoder.starved:
                break
    try:
        decoder.end()
    except DecodeError as error:
        faults.append(str(error))
    counts = (
        decoder.records,
        decoder.messages,
        decoder.skipped,
        decoder.foreign,
        decoder.unsided,
        decoder.bad_stamps,
    )
    return events, faults, (*counts, decoder.errors, decoder.offset, decoder.metadata)


def run(data: bytes) -> None:
    """Bytes as they are, or records made to fit their types; the same in one piece and in many."""
    source = Bytes(data)
    options, seed = source.byte(), source.byte()
    body = b""
    version = options & 3
    if version:
        body = metadata(version, ts_out=bool(options & 4))
    if options & 8:
        while source:
            body += record_of(source)
    else:
        body += source.rest()
    one, many = told([body], 1 << 60), told(pieces(body, seed), 1 + seed % 5)
    same(one, many)


def seeds() -> Iterator[bytes]:
    from reference.dbn_kit import mbo, mbp, metadata, status, trade

    tick = 10_000_000
    orders = [
        mbo("R", "N", 0, 0, 0, flags=0x20, number=1),
        mbo("A", "B", 9999 * tick, 5, 1, flags=0x20, number=1),
        mbo("A", "A", 10001 * tick, 5, 2, flags=0xA0, number=1),
        mbo("A", "B", 9998 * tick, 7, 3, number=1),
        mbo("T", "A", 9999 * tick, 3, 0, flags=0, number=1),
        mbo("F", "B", 9999 * tick, 3, 1, flags=0, number=1),
        mbo("C", "B", 9999 * tick, 3, 1, number=1),
        mbo("M", "B", 9997 * tick, 6, 3, number=1),
        mbo("T", "N", 9999 * tick, 3, 0, number=1),
        mbo("R", "N", 0, 0, 0, number=1),
    ]
    bids, asks = [(9999 * tick - k * tick, 4 + k) for k in range(3)], [(10001 * tick, 3)]
    levels = [
        mbp(10, bids, asks, number=2),
        mbp(10, bids[1:], asks, number=2, flags=0x84),
        mbp(1, bids, asks, number=3),
        mbp(1, bids, asks, action="T", side="A", price=9999 * tick, size=2, number=3),
        trade("B", 10001 * tick, 2, number=2),
        status(8, "N", number=2),
        status(7, "Y", number=1),
    ]
    for version in (1, 2, 3):
        yield bytes((version, version)) + b"".join(orders + levels)
    yield b"\0\5" + metadata(mappings={"ORDERS": [(20200101, 20300101, "1")]}) + b"".join(orders[:4])
    others = [
        bytes((length // 4, rtype, 1, 0, 1, 0, 0, 0)) + bytes(length - 8)
        for rtype, lengths in LENGTHS.items()
        for length in lengths
    ]
    yield b"\3\2" + b"".join(others)[:4000]
    shaped = b"".join(bytes((16 * raw[4] - 16, raw[1])) + raw[8:] for raw in (*orders, *levels))
    yield b"\x0b\7" + shaped
    yield b"\x0f\7" + shaped[:300]


dbn = Target(run, seeds, (b"DBN\1", b"DBN\2", b"DBN\3", *(name.encode() for name in SYMBOLS)))
