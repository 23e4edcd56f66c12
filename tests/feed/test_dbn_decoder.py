"""DBN bytes to events: orders, levels, quotes, trades, faults. Files are made here, record by record."""

import random
from decimal import Decimal
from types import SimpleNamespace

import pytest

from quotelife.errors import DecodeError
from quotelife.feed.dbn import DbnDecoder
from quotelife.feed.dbn_layout import metadata_bytes
from quotelife.records import EventBuffer, EventFlags, EventKindCode, StatusKind

kit = pytest.importorskip("tests.reference.dbn_kit", reason="databento-dbn is not installed")
TICK = 250_000_000
SNAPSHOT, LAST = 0x20, 0x80
MAPPED = {"ESH1": [(20010101, 20990101, "7")]}


def decoder_of(
    *, symbol: str = "ESH1", orders: bool = True, quotes: bool = False, capacity: int = 8192
) -> DbnDecoder:
    decoder = DbnDecoder(EventBuffer(capacity))
    decoder.add_instrument(symbol, 0, Decimal("0.25"), Decimal(1), order_level=orders, quotes_only=quotes)
    return decoder


def run(decoder: DbnDecoder, data: bytes) -> list[list[tuple[object, ...]]]:
    decoder.feed(data)
    decoder.decode()
    decoder.end()
    return kit.told(decoder.buffer.array())


def random_orders(seed: int, n: int) -> tuple[bytes, list[SimpleNamespace]]:
    """Orders, trades that fill them, cancels and snapshots, in messages of several records."""
    chance = random.Random(seed)
    data, records = b"", []
    ids = [chance.randrange(2**64) for _ in range(12)]
    for i in range(n):
        action = chance.choices("ACMTFR", (5, 4, 3, 3, 4, 0.3))[0]
        side = chance.choice("BA") if action in "AMF" else chance.choice("BAN")
        flags = (LAST if chance.random() < 0.5 else 0) | (
            SNAPSHOT if action == "R" and chance.random() < 0.5 else 0
        )
        if records and records[-1].snapshot and not records[-1].flags & LAST and action != "R":
            flags |= SNAPSHOT
        record = SimpleNamespace(
            action=action, side=side, price=TICK * chance.randrange(-40, 40), size=chance.randrange(1, 9),
            order_id=chance.choice(ids), flags=flags, snapshot=flags & SNAPSHOT,
        )  # fmt: skip
        records.append(record)
        data += kit.mbo(action, side, record.price, record.size, record.order_id, flags=flags, sequence=i)
    data += kit.mbo("A", "B", TICK, 1, 1, flags=LAST | records[-1].snapshot)
    records.append(SimpleNamespace(action="A", side="B", price=TICK, size=1, order_id=1, flags=LAST))
    return data, records


@pytest.mark.parametrize("seed", range(25))
def test_orders_are_what_the_twin_makes_of_them(seed: int) -> None:
    data, records = random_orders(seed, 300)
    assert run(decoder_of(), kit.metadata(mappings=MAPPED) + data) == kit.events_of_orders(records, TICK)


@pytest.mark.parametrize("version", [1, 2, 3])
def test_any_cut_of_the_bytes_gives_the_same_events(version: int) -> None:
    data = kit.metadata(version=version, mappings=MAPPED) + random_orders(99, 60)[0]
    whole = run(decoder_of(), data)
    for size in (1, 3, 7, 56, 113):
        decoder = decoder_of()
        for at in range(0, len(data), size):
            decoder.feed(data[at : at + size])
            decoder.decode()
        decoder.end()
        assert kit.told(decoder.buffer.array()) == whole


def test_a_full_buffer_is_drained_in_the_middle_of_a_snapshot() -> None:
    """1,000 orders of one message through a buffer of 1,024 events: nothing is lost."""
    data = kit.metadata(mappings=MAPPED) + kit.mbo("R", "N", kit.UNDEF, 0, 0, flags=SNAPSHOT)
    for i in range(1000):
        data += kit.mbo("A", "B", TICK * i, 1, i, flags=SNAPSHOT | (LAST if i == 999 else 0))
    decoder = decoder_of(capacity=1024)
    decoder.feed(data)
    kinds: list[int] = []
    ended = 0
    while not decoder.starved:
        ended += decoder.decode()
        kinds += decoder.buffer.array()["kind"].tolist()
        decoder.buffer.clear()
    add, begin, end = EventKindCode.ADD, EventKindCode.SNAPSHOT_BEGIN, EventKindCode.SNAPSHOT_END
    assert (ended, kinds) == (1, [begin, *[add] * 1000, end])


def test_an_execution_is_told_once() -> None:
    """T 5 at the ask, two orders filled, one of them whole: EXECUTE 2 and 3, no TRADE, no CANCEL."""
    data = kit.metadata(mappings=MAPPED)
    data += kit.mbo("T", "B", 4 * TICK, 5, 0, flags=0)
    data += kit.mbo("F", "A", 4 * TICK, 2, 11, flags=0) + kit.mbo("F", "A", 4 * TICK, 3, 12, flags=0)
    data += kit.mbo("C", "A", 4 * TICK, 2, 11, flags=0) + kit.mbo("M", "A", 4 * TICK, 6, 12)
    assert run(decoder_of(), data) == [
        [("EXECUTE", 2, 4, 2, 11, 0), ("EXECUTE", 2, 4, 3, 12, 0), ("MODIFY", 2, 4, 6, 12, 0)]
    ]


def test_a_hidden_execution_between_two_ticks_is_a_trade() -> None:
    assert run(
        decoder_of(), kit.metadata(mappings=MAPPED) + kit.mbo("T", "A", 4 * TICK + TICK // 2, 5, 0)
    ) == [[("TRADE", 2, 5, 5, 0, 0)]]


def rows(seed: int, depth: int, n: int) -> list[tuple[list[tuple[int, int]], list[tuple[int, int]]]]:
    chance = random.Random(seed)
    out = []
    mid = 1000
    for _ in range(n):
        mid += chance.choice((-1, 0, 0, 0, 1))
        out.append(
            tuple(
                [
                    (TICK * (mid + way * (k + 1 + chance.random().__lt__(0.1))), chance.randrange(1, 4))
                    for k in range(depth)
                    if chance.random() < 0.95
                ]
                for way in (-1, 1)
            )
        )
    return [(_distinct(b), _distinct(a)) for b, a in out]


def _distinct(levels: list[tuple[int, int]]) -> list[tuple[int, int]]:
    return list(dict(levels).items())


@pytest.mark.parametrize("depth", [1, 10])
def test_levels_are_those_of_the_row_after_each_record(depth: int) -> None:
    decoder = decoder_of(orders=False)
    decoder.feed(kit.metadata(mappings=MAPPED))
    book: tuple[dict[int, int], dict[int, int]] = ({}, {})
    written = 0
    for bids, asks in rows(1, depth, 400):
        decoder.buffer.clear()
        decoder.feed(kit.mbp(depth, bids, asks))
        assert decoder.decode() == 1
        for e in decoder.buffer.array():
            if e["kind"] == EventKindCode.LEVEL:
                written += 1
                side = book[int(e["side"]) - 1]
                side[int(e["price_ticks"])] = int(e["size_lots"])
        for side, row in zip(book, (bids, asks), strict=True):
            assert {p * TICK: q for p, q in side.items() if q} == dict(row)
    assert depth == 1 or written < 0.9 * 400 * 2 * depth, "only what changed is written"


def test_what_slides_out_of_the_window_is_no_flow() -> None:
    """Ten levels, the market moves up a tick: the lowest bid leaves as a correction, the best ask as flow."""
    decoder = decoder_of(orders=False)
    bids = [(TICK * (100 - k), 5) for k in range(11)]
    asks = [(TICK * (101 + k), 5) for k in range(11)]
    decoder.feed(kit.metadata(mappings=MAPPED) + kit.mbp(10, bids[1:], asks[:10]))
    decoder.decode()
    decoder.buffer.clear()
    decoder.feed(kit.mbp(10, bids[:10], asks[1:]))
    decoder.decode()
    assert [e[:1] + e[2:4] + e[5:] for e in kit.told(decoder.buffer.array())[0]] == [
        ("LEVEL", 90, 0, EventFlags.SNAPSHOT), ("LEVEL", 100, 5, 0),
        ("LEVEL", 101, 0, 0), ("LEVEL", 111, 5, EventFlags.SNAPSHOT),
    ]  # fmt: skip


def test_quotes_only_gives_one_quote_a_record() -> None:
    decoder = decoder_of(orders=False, quotes=True)
    decoder.feed(
        kit.metadata(mappings=MAPPED)
        + kit.mbp(1, [(TICK * 8, 3)], [(TICK * 9, 4)])
        + kit.mbp(1, [], [(TICK * 9, 4)], action="T", side="B", price=TICK * 9, size=2)
    )
    assert decoder.decode() == 2
    events = decoder.buffer.array()
    fields = ["kind", "price_ticks", "size_lots", "order_id", "aux", "flags"]
    assert [tuple(int(e[f]) for f in fields) for e in events] == [
        (EventKindCode.QUOTE, 8, 3, 9, 4, EventFlags.LAST),
        (EventKindCode.TRADE, 9, 2, 0, 0, 0),
        (EventKindCode.QUOTE, 0, 0, 9, 4, EventFlags.LAST),
    ]


@pytest.mark.parametrize(
    ("action", "trading", "code"),
    [
        (7, "Y", StatusKind.TRADING), (8, "N", StatusKind.HALT), (9, "~", StatusKind.HALT),
        (1, "N", StatusKind.AUCTION), (12, "N", StatusKind.CLOSED), (6, "Y", StatusKind.TRADING),
        (6, "N", StatusKind.AUCTION), (0, "~", StatusKind.HEARTBEAT),
    ],
)  # fmt: skip
def test_status(action: int, trading: str, code: StatusKind) -> None:
    decoder = decoder_of()
    decoder.feed(kit.metadata(mappings=MAPPED) + kit.status(action, trading))
    decoder.decode()
    assert decoder.buffer.array()["aux"].tolist() == [code]


def test_a_bad_book_is_given_up_until_the_next_snapshot() -> None:
    decoder = decoder_of()
    decoder.feed(
        kit.metadata(mappings=MAPPED)
        + kit.mbo("R", "N", kit.UNDEF, 0, 0)
        + kit.mbo("A", "B", TICK, 1, 1, flags=LAST | 0x04)
        + kit.mbo("A", "B", TICK, 1, 2, flags=LAST | 0x04)
        + kit.mbo("R", "N", kit.UNDEF, 0, 0)
        + kit.mbo("A", "B", TICK, 1, 3, flags=LAST | 0x04)
    )
    decoder.decode()
    events = decoder.buffer.array()
    clears = [(i, int(e["flags"])) for i, e in enumerate(events) if e["kind"] == EventKindCode.CLEAR]
    assert clears == [(2, EventFlags.GAP | EventFlags.LAST), (7, EventFlags.GAP | EventFlags.LAST)]


def test_a_bad_receive_stamp_moves_no_clock() -> None:
    decoder = decoder_of()
    t = 10**18
    decoder.feed(
        kit.metadata(mappings=MAPPED)
        + kit.mbo("A", "B", TICK, 1, 1, t=t)
        + kit.mbo("A", "B", TICK, 1, 2, t=t + 10, received=t + 10**15, flags=LAST | 0x08)
        + kit.mbo("A", "B", TICK, 1, 3, t=t + 20)
    )
    decoder.decode()
    assert decoder.buffer.array()["receive_ns"].tolist() == [t + 5, t + 5, t + 25]
    assert decoder.bad_stamps == 1


# --- faults ---


@pytest.mark.parametrize(
    ("record", "words"),
    [
        (lambda: kit.mbo("A", "B", TICK + 1, 1, 1), "price 0.250000001 is no multiple of the tick 0.25; mend"),
        (lambda: kit.mbo("A", "B", kit.UNDEF, 1, 1), "action A without a price"),
        (lambda: kit.mbo("A", "N", TICK, 1, 1), "action A without a side"),
        (lambda: kit.mbo("A", "B", TICK, 1, 1, flags=0x80 | 0x40), "fetch schema mbp-1 or mbp-10"),
        (lambda: kit.mbo("A", "B", TICK, 0, 1), "an order of size 0"),
    ],
)  # fmt: skip
def test_a_refused_order_gives_the_book_up_and_decoding_goes_on(record: object, words: str) -> None:
    decoder = decoder_of()
    decoder.feed(
        kit.metadata(mappings=MAPPED) + kit.mbo("A", "B", TICK, 1, 1)
        + record() + kit.mbo("A", "B", TICK, 1, 2)  # type: ignore[operator]
    )  # fmt: skip
    with pytest.raises(DecodeError, match=r"record 2 .up to byte") as refused:
        decoder.decode()
    assert words in str(refused.value)
    assert decoder.decode() == 1
    assert [(EventKindCode(int(e["kind"])).name, int(e["order_id"])) for e in decoder.buffer.array()] == [
        ("ADD", 1), ("CLEAR", 0), ("ADD", 2),
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (b"DBN\x04" + bytes(300), "DBN version 4; versions 1 to 3 are known"),
        (b"\x28\xb5\x2f\xfd" + bytes(20), "compressed with zstd"),
        (b"P*M\x18" + bytes(20), "DBZ, the format before DBN"),
        (bytes(200), "length 0 of a record of type 0x00"),
    ],
)
def test_foreign_bytes_are_named(data: bytes, words: str) -> None:
    decoder = decoder_of()
    decoder.feed(data)
    with pytest.raises(DecodeError, match=words):
        decoder.decode()


def test_a_file_cut_short_is_decoded_as_far_as_it_goes() -> None:
    decoder = decoder_of()
    decoder.feed(
        kit.metadata(mappings=MAPPED) + kit.mbo("A", "B", TICK, 1, 1) + kit.mbo("A", "B", TICK, 1, 2)[:-1]
    )
    assert decoder.decode() == 1
    with pytest.raises(DecodeError, match="55 bytes into a record; it was cut short"):
        decoder.end()


def test_two_publishers_are_two_books() -> None:
    decoder = decoder_of()
    decoder.feed(
        kit.metadata(mappings=MAPPED)
        + kit.mbo("A", "B", TICK, 1, 1)
        + kit.mbo("A", "B", TICK, 1, 2, publisher=9)
    )
    with pytest.raises(DecodeError, match="publisher 9 after 1"):
        decoder.decode()


def test_a_continuous_symbol_rolls_to_another_book() -> None:
    day = 86_400 * 10**9
    decoder = decoder_of(symbol="ES.c.0")
    decoder.feed(
        kit.metadata(mappings={"ES.c.0": [(19700101, 19700102, "7"), (19700102, 19700103, "8")]})
        + kit.mbo("A", "B", TICK, 1, 1, t=day - 100)  # received 5 ns later, as all
        + kit.mbo("A", "B", TICK, 1, 2, t=day, number=7)
        + kit.mbo("A", "B", TICK, 1, 3, t=day, number=8)
    )
    decoder.decode()
    assert [(EventKindCode(int(e["kind"])).name, int(e["order_id"])) for e in decoder.buffer.array()] == [
        ("ADD", 1), ("CLEAR", 0), ("ADD", 3),
    ]  # fmt: skip
    assert decoder.foreign == 1


def test_send_stamps_behind_each_record_are_passed_over() -> None:
    """``ts_out``: eight bytes more a record, which the package appends too."""
    data = kit.metadata(mappings=MAPPED, ts_out=True)
    for i in range(3):
        record = kit.mbo("A", "B", TICK, 1, i)
        data += bytes([16]) + record[1:] + (10**18 + i).to_bytes(8, "little")
    assert run(decoder_of(), data) == [[("ADD", 1, 1, 1, i, 0)] for i in range(3)]
    assert [int(r.ts_out) for r in kit.decoded(data)[1]] == [10**18 + i for i in range(3)]
    short = bytes([14]) + kit.mbo("A", "B", TICK, 1, 1)[1:]
    decoder = decoder_of()
    decoder.feed(kit.metadata(mappings=MAPPED, ts_out=True) + short)
    with pytest.raises(DecodeError, match="length 56 of a record of type 0xA0"):
        decoder.decode()


def test_a_live_stream_names_its_instruments_as_it_goes() -> None:
    """Symbol mappings and definitions among the records; what came before them is not ours."""
    mapping = (
        kit.header(0x16, 176, 9, 10**18) + bytes([0]) + kit.cstr("ESH1", 71) + bytes([0]) + kit.cstr("9", 71)
    )
    decoder = decoder_of()
    decoder.add_instrument("OTHER", 1, Decimal("0.25"), Decimal(1), order_level=True)
    decoder.feed(
        kit.metadata(schema=0xFFFF)
        + kit.mbo("A", "B", TICK, 1, 1, number=9)
        + mapping.ljust(176, b"\0")
        + kit.mbo("A", "B", TICK, 1, 2, number=9)
    )
    assert decoder.decode() == 1
    assert (decoder.foreign, int(decoder.buffer.array()[0]["order_id"])) == (1, 2)


def test_a_fragment_knows_one_instrument_only() -> None:
    decoder = decoder_of(symbol="ANY")
    decoder.feed(kit.mbo("A", "B", TICK, 1, 1) + kit.mbo("A", "B", TICK, 1, 2, number=8))
    with pytest.raises(DecodeError, match=r'instrument 8 after 7 .* symbol: "8"'):
        decoder.decode()
    assert len(decoder.buffer) == 1


def tails(data: bytes) -> list[bytes]:
    """What is left of the file from each record on, as far as it can be followed."""
    out = []
    at = 8 + int.from_bytes(data[4:8], "little")
    while at < len(data) and data[at] >= 4:
        out.append(data[at:])
        at += 4 * data[at]
    return out


def fuzz(seconds: float, seed: int) -> int:
    """Mutated and truncated files of every kind; only DecodeError may come of them. Returns how many were tried."""
    import time

    chance = random.Random(seed)
    base = [
        kit.metadata(version=v, mappings=MAPPED)
        + random_orders(v, 30)[0]
        + b"".join(kit.mbp(d, b, a) for d in (1, 10) for b, a in rows(v, d, 4))
        + kit.trade("B", TICK, 1)
        + kit.status(7)
        for v in (1, 2, 3)
    ]
    until, tried = time.monotonic() + seconds, 0
    while time.monotonic() < until:
        data = bytearray(chance.choice(base))
        for _ in range(chance.choice((0, 1, 1, 2, 8, 40))):
            data[chance.randrange(len(data))] = chance.choice((0, 1, 0x7F, 0x80, 0xFF, chance.randrange(256)))
        if chance.random() < 0.4:
            del data[chance.randrange(len(data)) :]
        elif chance.random() < 0.5:
            # The last record claims just the bytes that are left: what it lacks lies behind the end.
            starts = [len(data) - len(tail) for tail in tails(bytes(data))] or [0]
            at = chance.choice(starts)
            words = chance.randrange(4, 15)
            data[at : at + 1] = bytes([words])
            del data[at + 4 * words :]
        decoder = decoder_of(orders=chance.random() < 0.5, quotes=chance.random() < 0.5, capacity=1024)
        at = 0
        while at < len(data):
            size = chance.choice((1, 5, 64, 100_000))
            decoder.feed(bytes(data[at : at + size]))
            at += size
            for _ in range(len(data)):
                try:
                    decoder.decode()
                except DecodeError:
                    if decoder.buffer.capacity - len(decoder.buffer) >= 512:
                        before = decoder.offset
                        try:
                            decoder.decode()
                        except DecodeError:
                            if decoder.offset == before:
                                break
                decoder.buffer.clear()
                if decoder.starved:
                    break
        assert decoder.offset <= len(data)
        tried += 1
    return tried


def test_mutated_files_are_refused_and_nothing_else() -> None:
    assert fuzz(2, 1) > 50


@pytest.mark.slow
def test_mutated_files_for_five_minutes() -> None:
    assert fuzz(300, random.randrange(2**32)) > 1000


def test_metadata_bytes_are_bounded() -> None:
    with pytest.raises(DecodeError, match="damaged in its first 8 bytes"):
        metadata_bytes(b"DBN\x03\xff\xff\xff\xff")
