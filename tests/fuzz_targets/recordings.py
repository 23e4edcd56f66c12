"""Readers of files that others wrote: order logs, CSV tables, headlines, recorded sessions. All Python."""

import gzip
import json
import os
import tempfile
from collections.abc import Iterator
from decimal import Decimal
from pathlib import Path

import zstandard

from fuzz_targets.kit import Bytes, Target, drain, ended, same
from quotelife.errors import DecodeError
from quotelife.feed.bitstamp import BitstampDecoder, parse_line
from quotelife.feed.fx_ticks import FxTickDecoder, midnight_of
from quotelife.feed.headlines import parse_headlines, parse_time
from quotelife.feed.lobster import LobsterDecoder
from quotelife.feed.recorded import RecordedMessage, read_lines
from quotelife.feed.tardis import TardisDecoder, parse_header
from quotelife.records import EventBuffer, EventKindCode
from reference.event_books import EventRow

CAPACITY = 4096
TICK, LOT = Decimal("0.01"), Decimal("0.001")


def refused_whole(buffer: EventBuffer) -> None:
    """Nothing of a refused message reaches the buffer."""
    assert len(buffer) == 0


def order_events(buffer: EventBuffer) -> list[EventRow]:
    """A whole message of an order log; what has no price and size has 0."""
    events = ended(drain(buffer, 1))
    assert all(min(event.price_ticks, event.size_lots) >= 0 for event in events)
    return events


# --- Bitstamp's order log ---


def run_bitstamp(data: bytes) -> None:
    buffer = EventBuffer(CAPACITY)
    decoder = BitstampDecoder(buffer, instrument=0, tick_size=TICK, lot_size=LOT)
    for line in data.split(b"\n"):
        try:
            parsed = parse_line(line)
        except ValueError as error:
            assert str(error)
            continue
        try:
            top = decoder.message(parsed)
        except DecodeError as error:
            assert str(error)
            refused_whole(buffer)
            continue
        events = order_events(buffer)
        if top is not None:
            assert events[-1].kind == EventKindCode.QUOTE
            assert 0 < top.bid_ticks < top.ask_ticks and min(top.bid_lots, top.ask_lots) > 0


def bitstamp_seeds() -> Iterator[bytes]:
    def line(kind: str, body: object) -> bytes:
        return f"1700000000000 {kind} {json.dumps(body)}".encode()

    def order(number: int, side: int, price: float, amount: float) -> dict[str, object]:
        return {"id": number, "order_type": side, "price": price, "amount": amount}

    book = {"bids": [["100.00", "1.5"], ["99.50", "2"]], "asks": [["100.10", "1"]]}
    lines = [
        line("order_created", order(1, 0, 99.5, 1)),
        line("order_book", book),
        line("order_created", order(2, 1, 100.2, 0.5)),
        line("order_changed", order(2, 1, 100.2, 0.25)),
        line("order_changed", order(3, 1, 100.1, 0.25)),
        line("trade", {"amount": 0.25, "price": 100.2, "id": 7}),
        line("order_deleted", order(2, 1, 100.2, 0)),
        line("order_deleted", order(1, 0, 99.5, 1)),
        line("order_book", book | {"asks": [["100.20", "3"]]}),
    ]
    yield b"\n".join(lines)
    yield b"\n".join(lines[:3])


bitstamp = Target(
    run_bitstamp,
    bitstamp_seeds,
    (
        *(f'"{key}": '.encode() for key in ("id", "order_type", "price", "amount", "bids", "asks")),
        b"1700000000000 order_created ", b"order_book", b"order_deleted", b"order_changed", b"trade", b"1e9", b"NaN",
    ),
    python_lines=True,
)  # fmt: skip


# --- Tardis ---

COMMON = b"exchange,symbol,timestamp,local_timestamp,"
HEADERS = (
    COMMON + b"is_snapshot,side,price,amount",
    COMMON + b"id,side,price,amount",
    COMMON + b"ask_amount,ask_price,bid_price,bid_amount",
    COMMON + b"asks[0].price,asks[0].amount,bids[0].price,bids[0].amount",
    COMMON
    + b"asks[0].price,asks[0].amount,bids[0].price,bids[0].amount,asks[1].price,asks[1].amount,"
    + b"bids[1].price,bids[1].amount",
)


def run_tardis(data: bytes) -> None:
    """A header, told by its place or the input's own, and rows; an empty line ends a message."""
    source = Bytes(data)
    options = source.byte()
    header, _, body = source.rest().partition(b"\n")
    if options & 15 < len(HEADERS):
        header = HEADERS[options & 15]
    buffer = EventBuffer(CAPACITY)
    try:
        decoder = TardisDecoder(
            buffer, header, instrument=0, tick_size=TICK, lot_size=LOT, quotes_only=bool(options & 16)
        )
    except DecodeError as error:
        assert str(error)
        schema = parse_header(header)
        assert schema is None or not schema.kind or schema.depth > 64
        return
    number = 2
    for group in body.split(b"\n\n"):
        rows = []
        for line in group.split(b"\n"):
            try:
                rows.append(decoder.parse(line, number))
            except DecodeError as error:
                assert str(error).startswith(f"row {number}")
            number += 1
        if not rows:
            continue
        try:
            decoder.message(rows, number)
        except DecodeError as error:
            assert str(error).startswith(f"row {number}")
            refused_whole(buffer)
        ended(drain(buffer, 1))
    if decoder.end():
        assert drain(buffer, 1)[-1].kind == EventKindCode.SNAPSHOT_END


def tardis_seeds() -> Iterator[bytes]:
    head = b"binance,BTCUSDT,1700000000000000,1700000000001000,"
    rows = (
        (b"true,bid,100.10,1", b"true,ask,100.20,2", b"", b"false,bid,100.10,0", b"false,ask,100.30,1.5"),
        (b"9,buy,100.20,0.5", b"", b"10,sell,100.10,1", b"11,unknown,100.15,1"),
        (b"1,100.20,100.10,2", b"", b"0,,100.10,2"),
        (b"100.20,1,100.10,2", b"", b"100.30,1,100.10,2"),
        (b"100.20,1,100.10,2,100.30,1,100.00,1", b"", b"100.20,0,100.10,2,,,,"),
    )
    for at, of_schema in enumerate(rows):
        body = b"\n".join(head + row if row else b"" for row in of_schema)
        for options in (at, at | 16, 15):
            yield bytes((options,)) + HEADERS[at] + b"\n" + body


tardis = Target(
    run_tardis, tardis_seeds, (COMMON, b"asks[1].price", b"bids[63].amount", b"true", b"1700000000000000", b",,"),
    python_lines=True,
)  # fmt: skip


# --- FX ticks ---


def run_fx(data: bytes) -> None:
    midnight_of(data.decode("utf-8", "replace"))
    buffer = EventBuffer(CAPACITY)
    decoder = FxTickDecoder(buffer, instrument=0, tick_size=Decimal("0.00001"), midnight_ns=0)
    for line in data.split(b"\n"):
        try:
            t = decoder.message(line)
        except DecodeError as error:
            assert str(error)
            refused_whole(buffer)
            continue
        (event,) = ended(drain(buffer, 1))
        assert event.receive_ns == t >= 0
        assert event.price_ticks > 0 and event.order_id > 0


def fx_seeds() -> Iterator[bytes]:
    yield b"0,1.39250,1.39256\n86399999.999999,1.39251,1.39255\n7,1.4,1.3"
    yield b"EURUSD 20140507\n2014-05-07"


fx_ticks = Target(run_fx, fx_seeds, (b"1.39250", b"86399999", b"20140507"), python_lines=True)


# --- LOBSTER ---


def run_lobster(data: bytes) -> None:
    """Lines of a message file, each with the line of the book file behind a ``|``, or without."""
    buffer = EventBuffer(CAPACITY)
    decoder = LobsterDecoder(buffer, instrument=0, tick_size=TICK, lot_size=Decimal(1), midnight_ns=0)
    for line in data.split(b"\n"):
        message, bar, book = line.partition(b"|")
        try:
            decoder.message(message, book if bar else None)
        except DecodeError as error:
            assert str(error)
            refused_whole(buffer)
            continue
        order_events(buffer)


def lobster_seeds() -> Iterator[bytes]:
    book = b"|1001000,10,1000000,20,1002000,5,999000,7"
    lines = (
        b"34200.1,1,11,100,1000000,1" + book,
        b"34200.2,2,11,50,1000000,1" + book,
        b"34200.3,4,11,50,1000000,1" + book,
        b"34200.4,5,0,50,1000500,-1" + book,
        b"34200.5,1,12,10,1001000,-1",
        b"34200.6,3,12,10,1001000,-1" + book,
        b"34200.7,7,0,0,-1,-1" + book,
        b"34200.8,6,-1,10,1000000,1",
    )
    yield b"\n".join(lines)
    yield b"\n".join(line.partition(b"|")[0] for line in lines)


lobster = Target(
    run_lobster, lobster_seeds, (b"34200.000000001,", b",-1", b"|", b"-9999999999"), python_lines=True
)


# --- headlines ---


def run_headlines(data: bytes) -> None:
    try:
        entries = parse_headlines(data)
    except DecodeError as error:
        assert str(error)
        return
    for entry in entries:
        assert entry.text.strip()
        assert entry.score is None or -1.0 <= entry.score <= 1.0
        assert entry.time_ns is None or 0 <= entry.time_ns < 1 << 63


def headline_seeds() -> Iterator[bytes]:
    one = {"title": "Profits rise", "company": "ACME", "sentiment": 0.5, "time": "2026-08-09T21:05:48+01:00"}
    two = {"headline": "Loss", "instrument": "BTC", "score": -1, "time": 1_700_000_000_000}
    yield json.dumps([one, two]).encode()
    yield json.dumps(one).encode() + b"\n" + json.dumps(two).encode()
    assert parse_time(two["time"])


headlines = Target(
    run_headlines, headline_seeds,
    (
        *(f'"{key}": '.encode() for key in ("title", "headline", "company", "sentiment", "score", "time")),
        b"2026-08-09T21:05:48Z", b"0001-01-01T00:00:00+23:59", b"9999-12-31T23:59:59-23:59", b"NaN", b"Infinity",
    ),
    python_lines=True,
)  # fmt: skip


# --- recorded sessions ---

SUFFIXES = (".txt", ".gz", ".jsonl", ".jsonl.zst")


def run_recorded(data: bytes) -> None:
    """The input as a file of each kind, and packed where the kind is a packed one."""
    source = Bytes(data)
    options = source.byte()
    body = source.rest()
    suffix = SUFFIXES[options & 3]
    if options & 4:
        body = {".gz": gzip.compress(body, 1), ".jsonl.zst": zstandard.compress(body, 1)}.get(suffix, body)
    handle, name = tempfile.mkstemp(suffix=suffix)
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(body)
        told = [told_of(Path(name)) for _ in range(2)]
    finally:
        Path(name).unlink()
    same(*told)


def told_of(path: Path) -> tuple[list[RecordedMessage], str | None]:
    out = []
    try:
        for message in read_lines(path):
            assert 0 <= message.receive_ns < 1 << 63
            out.append(message)
    except DecodeError as error:
        return out, str(error)
    return out, None


def recorded_seeds() -> Iterator[bytes]:
    lines = b'1700000000000 {"stream":"a@b","data":{}}\n1700000000000000 {"lastUpdateId":5}\n'
    session = b'{"t":"recv","ts":1700000000.25,"data":"{}"}\n{"t":"sent","ts":1,"data":"x"}\n'
    for options in (0, 5):
        yield bytes((options,)) + lines
    for options in (2, 7):
        yield bytes((options,)) + session
    yield b"\1" + gzip.compress(lines)
    yield b"\3" + zstandard.compress(session)


recorded = Target(
    run_recorded, recorded_seeds, (b'"t":"recv"', b'"ts":', b'"data":', b'"lastUpdateId"', b"1e999", b"NaN"),
    python_lines=True,
)  # fmt: skip
