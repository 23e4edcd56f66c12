"""FX ticks, Tardis CSV, level tables and the Bitstamp log: rows to events, and what is said of wrong ones."""

import random
from decimal import Decimal
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from quotelife.book.level_book import Book
from quotelife.book.order_book import Orders
from quotelife.config import load_config
from quotelife.engine import Engine
from quotelife.errors import DecodeError
from quotelife.features.schema import INDEX
from quotelife.feed.bitstamp import BitstampDecoder, parse_line
from quotelife.feed.fx_ticks import FxTickDecoder, midnight_of
from quotelife.feed.grid import Grid
from quotelife.feed.level_table import LevelTableDecoder, TradeTableDecoder
from quotelife.feed.level_window import LevelWindow
from quotelife.feed.tardis import TardisDecoder
from quotelife.records import (
    DecisionRecord,
    EventBuffer,
    EventFlags,
    EventKindCode,
    QualityCode,
    RequestRecord,
    SideCode,
)

MS = 1_000_000
S = 1_000 * MS
LAST, SNAPSHOT = EventFlags.LAST, EventFlags.SNAPSHOT


def engine_of(tmp_path: Path, settings: str) -> Engine:
    path = tmp_path / "config.yaml"
    path.write_text(
        "version: 1\nmodel: {artifact: first_passage}\ninstruments:\n"
        f"  - {{name: X, venue: v, symbol: X, {settings}}}\n",
        encoding="utf-8",
    )
    return Engine(load_config(path))


def rows_of(buffer: EventBuffer, *fields: str) -> list[tuple[int, ...]]:
    return [tuple(int(e[f]) for f in fields) for e in buffer.array()]


# --- the grid ---


def test_a_price_is_on_the_grid_exactly_or_refused() -> None:
    grid = Grid(Decimal("0.05"), "tick_size")
    assert [grid(text) for text in ("1.05", "1.0500", "-0.1", "1e-1", "0")] == [21, 21, -2, 2, 0]
    for text in (
        "1.051",
        "nan",
        "1e400",
        "199.99e999999999",
        "1e-999999999",
        "",
        "0x1",
        "99999999999999999999",
    ):
        with pytest.raises(ValueError, match=r"mend tick_size|expected a number"):
            grid(text)


# --- FX ticks ---


def fx_decoder() -> FxTickDecoder:
    return FxTickDecoder(EventBuffer(8), instrument=0, tick_size=Decimal("0.00001"), midnight_ns=10 * S)


def test_a_tick_is_a_quote_of_unknown_size() -> None:
    decoder = fx_decoder()
    assert decoder.message(b"1014.25,1.39248,1.39250\r\n") == 10 * S + 1_014_250_000
    assert rows_of(decoder._buffer, "kind", "price_ticks", "size_lots", "order_id", "aux", "flags") == [
        (EventKindCode.QUOTE, 139248, 1, 139250, 1, LAST | EventFlags.NO_SIZE)
    ]


@pytest.mark.parametrize(
    ("line", "words"),
    [
        (b"1,2", "row 1: expected 'ms since midnight,bid,ask'"),
        (b"86400000,1,2", "beyond the day"),
        (b"1,1.392481,1.4", "1.392481 is no multiple of 0.00001; mend tick_size"),
        (b"1,0,1.4", "prices must be above 0"),
        (b"1,1..2,1.4", "expected a number"),
    ],
)
def test_a_wrong_tick_is_refused_and_leaves_nothing(line: bytes, words: str) -> None:
    decoder = fx_decoder()
    with pytest.raises(DecodeError) as refused:
        decoder.message(line)
    assert words in str(refused.value)
    assert len(decoder._buffer) == 0


def test_the_day_is_in_the_name() -> None:
    assert midnight_of("eurusd_20140507_quote.zip") == midnight_of("2014-05-07") == 1_399_420_800 * S
    assert midnight_of("eurusd_99999999.csv") is None


def test_sizes_that_nobody_gave_poison_no_feature(tmp_path: Path) -> None:
    """Quotes without sizes are GOOD, and every feature that a size would make is invalid; with sizes it is valid."""
    valid = {}
    for flags in (LAST | EventFlags.NO_SIZE, LAST):
        engine = engine_of(tmp_path, "tick_size: 0.01, lot_size: 1, quotes_only: true")
        buffer = EventBuffer(4)
        for i in range(200):
            buffer.clear()
            buffer.append(
                EventKindCode.QUOTE, receive_ns=S + i * 50 * MS, sequence=i, price_ticks=100 + i % 2, size_lots=1,
                order_id=103, aux=1, flags=flags,
            )  # fmt: skip
            engine.on_events(buffer)
        decision = DecisionRecord()
        now = S + 200 * 50 * MS
        engine.decide(RequestRecord(0, 1, now_ns=now, size_lots=5.0), decision)
        assert decision.quality == QualityCode.GOOD
        valid[flags] = {name for name, index in INDEX.items() if decision.feature(index) is not None}
    sizes = {
        "book_imbalance_ratio", "book_imbalance", "book_imbalance_log", "queue_imbalance", "microprice_deviation",
        "book_pressure", "depth_ratio", "size_to_depth", "sweep_cost",
        *(f"depth_{side}_{n}" for side in ("bid", "ask") for n in (1, 3, 5, 10)),
        *(f"order_flow_imbalance{deep}_{window}" for deep in ("", "_5") for window in ("100ms", "1s")),
    }  # fmt: skip
    assert valid[LAST] - valid[LAST | EventFlags.NO_SIZE] == sizes & valid[LAST]
    assert len(sizes & valid[LAST]) >= 18
    assert {"spread_ticks", "realised_volatility_1s"} <= valid[LAST | EventFlags.NO_SIZE]


# --- level windows ---


def random_rows(seed: int, depth: int, n: int) -> list[tuple[list[tuple[int, int]], list[tuple[int, int]]]]:
    chance = random.Random(seed)
    mid, out = 1000, []
    for _ in range(n):
        mid += chance.choice((-3, -1, 0, 0, 0, 1, 2))
        sides = []
        for way in (-1, 1):
            price, side = mid, []
            for _ in range(chance.choice((depth, depth, depth - 1, 0))):
                price += way * chance.choice((1, 1, 2))
                side.append((price, chance.randrange(1, 4)))
            sides.append(side)
        out.append((sides[0], sides[1]))
    return out


@pytest.mark.parametrize("seed", range(20))
def test_a_window_is_followed_with_records_of_what_changed_only(seed: int) -> None:
    """The book after each row is the row; no level is told that stands already; LAST is on the last record alone."""
    buffer, book = EventBuffer(64), Book()
    window = LevelWindow(buffer, 5)
    for bids, asks in random_rows(seed, 5, 200):
        buffer.clear()
        before = dict(book.bids(64)), dict(book.asks(64))
        window.row(bids, asks, instrument=0, receive_ns=1)
        events = buffer.array()
        for e in events:
            if e["kind"] == EventKindCode.LEVEL:
                side, ticks, lots = int(e["side"]), int(e["price_ticks"]), int(e["size_lots"])
                assert before[side - 1].get(ticks, 0) != lots
                book.level(side, ticks, lots)
        book.refresh()
        assert (book.bids(64), book.asks(64)) == (bids, asks)
        assert [int(e["flags"]) & LAST for e in events] == [0] * (len(events) - 1) + [LAST]


def test_a_correction_moves_the_book_and_no_flow(tmp_path: Path) -> None:
    """Levels that slide out of the window (SNAPSHOT) count as no cancellation; the same without the flag do."""
    rates = []
    for flag in (SNAPSHOT, 0):
        engine = engine_of(tmp_path, "tick_size: 1, lot_size: 1")
        buffer = EventBuffer(64)
        window = LevelWindow(buffer, 2)
        window.row([(99, 5), (98, 5)], [(101, 5), (102, 5)], instrument=0, receive_ns=S)
        engine.on_events(buffer)
        for i in range(1, 31):
            buffer.clear()
            for lots in (0, 5):
                buffer.append(
                    EventKindCode.LEVEL, receive_ns=S + i * 100 * MS, side=SideCode.BID, price_ticks=98, size_lots=lots,
                    sequence=i, flags=flag | (LAST if lots else 0),
                )  # fmt: skip
            engine.on_events(buffer)
        decision = DecisionRecord()
        engine.decide(RequestRecord(0, 1, now_ns=S + 3050 * MS), decision)
        rates.append(decision.feature(INDEX["cancel_rate_1s"]))
    assert rates[0] == 0.0
    assert rates[1] > 0.0


# --- Tardis ---

INCREMENTAL = b"exchange,symbol,timestamp,local_timestamp,is_snapshot,side,price,amount"
TRADES = b"exchange,symbol,timestamp,local_timestamp,id,side,price,amount"
QUOTES = b"exchange,symbol,timestamp,local_timestamp,ask_amount,ask_price,bid_price,bid_amount"
SNAPSHOTS = (
    b"exchange,symbol,timestamp,local_timestamp,asks[0].price,asks[0].amount,bids[0].price,bids[0].amount,"
    b"asks[1].price,asks[1].amount,bids[1].price,bids[1].amount"
)


def tardis(header: bytes, **fields: bool) -> TardisDecoder:
    return TardisDecoder(
        EventBuffer(64), header, instrument=0, tick_size=Decimal("0.5"), lot_size=Decimal("0.1"), **fields
    )


def decode(decoder: TardisDecoder, *texts: str) -> None:
    decoder.message([decoder.parse(text.encode(), at) for at, text in enumerate(texts, start=2)], 2)


def test_increments_begin_with_a_snapshot_and_are_whole_at_the_first_change() -> None:
    decoder = tardis(INCREMENTAL)
    decode(decoder, "x,S,1,2,true,bid,10,0.5", "x,S,1,2,true,ask,11,0.3")
    decode(decoder, "x,S,3,4,false,bid,10,0", "x,S,3,4,false,bid,9.5,2")
    fields = ("kind", "side", "price_ticks", "size_lots", "receive_ns", "flags")
    level = EventKindCode.LEVEL
    assert rows_of(decoder._buffer, *fields) == [
        (EventKindCode.SNAPSHOT_BEGIN, 0, 0, 0, 2000, SNAPSHOT),
        (level, 1, 20, 5, 2000, SNAPSHOT), (level, 2, 22, 3, 2000, SNAPSHOT | LAST),
        (EventKindCode.SNAPSHOT_END, 0, 0, 0, 4000, 0),
        (level, 1, 20, 0, 4000, 0), (level, 1, 19, 20, 4000, LAST),
    ]  # fmt: skip


def test_trades_quotes_and_snapshots() -> None:
    decoder = tardis(TRADES)
    decode(decoder, "x,S,1,2,7,buy,10.2,0.5", "x,S,1,2,8,sell,10,1", "x,S,1,2,9,unknown,10,1")
    assert rows_of(decoder._buffer, "side", "price_ticks", "size_lots", "flags") == [
        (1, 20, 5, 0), (2, 20, 10, LAST),
    ]  # fmt: skip
    assert decoder.unsided == 1
    decoder = tardis(QUOTES)
    decode(decoder, "x,S,1,2,0.4,11,10.5,0.3")
    decode(decoder, "x,S,1,3,0.4,11,,")
    assert rows_of(decoder._buffer, "price_ticks", "size_lots", "order_id", "aux") == [
        (21, 3, 22, 4), (0, 0, 22, 4),
    ]  # fmt: skip
    decoder = tardis(SNAPSHOTS)
    decode(decoder, "x,S,1,2,11,0.1,10,0.2,12,0.3,9,0.4")
    assert decoder.published == (20, 2, 22, 1)
    decoder._buffer.clear()
    decode(decoder, "x,S,1,3,11,0.1,10,0.5,12,0.3,9,0.4")
    assert rows_of(decoder._buffer, "kind", "side", "price_ticks", "size_lots") == [(6, 1, 20, 5)]


@pytest.mark.parametrize(
    ("header", "row", "words"),
    [
        (INCREMENTAL, "x,S,1,2,true,bid,10", "row 2: 7 fields, 8 in the first line"),
        (INCREMENTAL, "x,S,1,2,maybe,bid,10,1", "is_snapshot must be true or false"),
        (INCREMENTAL, "x,S,1,2,true,buy,10,1", "side must be bid or ask"),
        (INCREMENTAL, "x,S,1,2,true,bid,10.1,1", "10.1 is no multiple of 0.5; mend tick_size"),
        (INCREMENTAL, "x,S,1,2,true,bid,10,-1", "amount must not be below 0"),
        (INCREMENTAL, "x,S,1,2,true,bid,-10,1", "price must not be below 0"),
        (INCREMENTAL, "x,S,-1,2,true,bid,10,1", "microseconds since 1970"),
        (TRADES, "x,S,1,2,7,bid,10,1", "side must be buy, sell or unknown"),
        (TRADES, "x,S,1,2,7,buy,-10,1", "price must not be below 0"),
        (b"exchange,symbol,timestamp,local_timestamp,funding_rate", "", "row 1: columns"),
    ],
)
def test_a_wrong_row_is_refused_and_leaves_nothing(header: bytes, row: str, words: str) -> None:
    with pytest.raises(DecodeError) as refused:
        decoder = tardis(header)
        try:
            decode(decoder, row)
        finally:
            assert len(decoder._buffer) == 0
    assert words in str(refused.value)


# --- level tables ---


def test_a_float_on_the_grid_is_exact_and_one_off_it_names_its_row() -> None:
    decoder = LevelTableDecoder(
        EventBuffer(64), depth=1, instrument=0, tick_size=Decimal("0.0001"), lot_size=Decimal(1)
    )
    columns = {
        "bid_price_0": np.array([1.2489000000000001, 1.24895]), "bid_quantity_0": np.array([3.0, 1.0]),
        "offer_price_0": np.array([1.2492000000000003, 1.25]), "offer_quantity_0": np.array([2.0, np.nan]),
    }  # fmt: skip
    with pytest.raises(
        DecodeError, match=r"row 2: bid_price_0 is .*1.24895.*, no multiple of 0.0001; mend tick_size"
    ):
        decoder.rows(np.array([1, 2]), columns)
    columns["bid_price_0"][1] = 1.2490
    decoder.rows(np.array([1, 2]), columns)
    assert decoder.message(0) == (12489, 3, 12492, 2)
    assert decoder.message(1) == (12490, 1, 0, 0)


def test_a_trade_at_the_bid_was_sold() -> None:
    buffer = EventBuffer(8)
    decoder = TradeTableDecoder(buffer, instrument=0, tick_size=Decimal(1), lot_size=Decimal(1))
    decoder.rows(np.array([1, 2, 3]), ["B", "O", None], np.array([5.0, 6.0, 7.0]), np.array([1.0, 2.0, 3.0]))
    assert [decoder.message(at) for at in range(3)] == [True, True, False]
    assert rows_of(buffer, "side", "price_ticks") == [(SideCode.ASK, 5), (SideCode.BID, 6)]


# --- the Bitstamp log ---


class Venue:
    """A plain exchange that logs as Bitstamp does: orders from before the log, executions, published books."""

    def __init__(self, seed: int) -> None:
        self.chance = random.Random(seed)
        self.orders: dict[int, list[Any]] = {}
        self.next_id = 1
        self.lines: list[bytes] = []
        self.t = 1_000_000

    def log(self, kind: str, text: str) -> None:
        self.t += self.chance.randrange(3)
        self.lines.append(f"{self.t} {kind} {text}".encode())

    def order_line(self, kind: str, order_id: int, side: int, price: int, size: int) -> None:
        self.log(
            kind,
            f'{{"price": "{price}.00", "amount": "{size}.0", "datetime": "1", "id": {order_id}, "order_type": {side}}}',
        )

    def place(self, *, logged: bool) -> None:
        side = self.chance.randrange(2)
        price = 100 + self.chance.randrange(-12, 12) + (3 if side else -3)
        order_id, size = self.next_id, self.chance.randrange(1, 9)
        self.next_id += 1
        if logged:
            self.order_line("order_created", order_id, side, price, size)
        for maker in sorted(
            (
                o
                for o, (s, p, _) in self.orders.items()
                if s != side and (p <= price if side == 0 else p >= price)
            ),
            key=lambda o: (self.orders[o][1] * (1 if side == 0 else -1), o),
        ):
            if not size:
                break
            _, at, left = self.orders[maker]
            traded = min(size, left)
            size -= traded
            left -= traded
            if logged:
                for who, what, where, rest in ((order_id, side, price, size), (maker, 1 - side, at, left)):
                    self.order_line("order_changed" if rest else "order_deleted", who, what, where, rest)
                self.log("trade", f'{{"price": {at}.0, "amount": {traded}.0000001, "id": 5}}')
            if left:
                self.orders[maker][2] = left
            else:
                del self.orders[maker]
        if size:
            self.orders[order_id] = [side, price, size]

    def cancel(self) -> None:
        if self.orders:
            order_id = self.chance.choice(list(self.orders))
            self.order_line("order_deleted", order_id, *self.orders.pop(order_id))

    def levels(self, side: int) -> list[tuple[int, int]]:
        sizes: dict[int, int] = {}
        for own, price, size in self.orders.values():
            if own == side:
                sizes[price] = sizes.get(price, 0) + size
        return sorted(sizes.items(), reverse=side == 0)

    def publish(self) -> None:
        sides = [", ".join(f'["{p}.00", "{q}.00"]' for p, q in self.levels(side)[:20]) for side in (0, 1)]
        self.log("order_book", f'{{"bids": [{sides[0]}], "asks": [{sides[1]}]}}')


@pytest.mark.parametrize("seed", range(15))
def test_the_log_gives_every_published_book_from_the_first_on(seed: int) -> None:
    """Orders from before the log, executions of both kinds: the best after every event, 20 levels at each book."""
    venue = Venue(seed)
    for _ in range(60):
        venue.place(logged=False)
    buffer, book = EventBuffer(4096), Orders()
    decoder = BitstampDecoder(buffer, instrument=0, tick_size=Decimal("0.01"), lot_size=Decimal("0.1"))
    equal, traded, expected_trades = 0, 0, 0
    for step in range(400):
        venue.lines.clear()
        if venue.chance.random() < 0.7:
            venue.place(logged=True)
        else:
            venue.cancel()
        if step % 5 == 0:
            venue.publish()
        for line in venue.lines:
            buffer.clear()
            decoder.message(parse_line(line))
            expected_trades += b" trade " in line and step > 0
            for e in buffer.array().tolist():
                _, _, _, price, lots, order_id, _, _, kind, side, _ = e
                if kind == EventKindCode.ADD:
                    book.add(order_id, side, price, lots)
                elif kind == EventKindCode.MODIFY:
                    book.modify(order_id, price, lots)
                elif kind == EventKindCode.CANCEL:
                    book.cancel(order_id, lots)
                elif kind == EventKindCode.TRADE:
                    traded += 1
        if step and venue.levels(0) and venue.levels(1):
            book.levels.refresh()
            best = venue.levels(0)[0], venue.levels(1)[0]
            assert ((book.levels.best[0] // 100, book.levels.best[1] // 10),
                    (book.levels.best[2] // 100, book.levels.best[3] // 10)) == best  # fmt: skip
        if step % 5 == 0 and venue.levels(0) and venue.levels(1):
            book.levels.refresh()
            for side, levels in ((0, book.levels.bids(20)), (1, book.levels.asks(20))):
                assert [(p // 100, q // 10) for p, q in levels] == venue.levels(side)[:20]
            equal += 1
    assert equal > 60
    assert traded == expected_trades > 20
    assert not any(book.counts.values())


@pytest.mark.parametrize(
    ("line", "words"),
    [
        (b"1 order_shed {}", "expected '<ms> <order_created|"),
        (b"x trade {}", "expected '<ms>"),
        (b"1 trade [1]", "expected a JSON object after trade"),
        (b'1 order_created {"id": 1, "price": "1"}', "order_created: 'order_type' is missing"),
        (
            b'1 order_created {"id": 1, "order_type": 2, "price": "1", "amount": "1"}',
            "order_type must be 0 or 1",
        ),
        (b'1 order_created {"id": 1, "order_type": 0, "price": "1.001", "amount": "1"}', "mend tick_size"),
        (b'1 order_book {"bids": [["2", "1"]], "asks": [["1", "1"]]}', "the published book crosses"),
    ],
)
def test_a_wrong_line_is_refused(line: bytes, words: str) -> None:
    decoder = BitstampDecoder(
        EventBuffer(8), instrument=0, tick_size=Decimal("0.01"), lot_size=Decimal("0.1")
    )
    with pytest.raises((ValueError, DecodeError)) as refused:
        decoder.message(parse_line(line))
    assert words in str(refused.value)


# --- mutated rows ---


def mutations(chance: random.Random, rows: list[bytes]) -> list[bytes]:
    out = list(rows)
    for _ in range(chance.randrange(4)):
        at = chance.randrange(len(out))
        row = bytearray(out[at])
        for _ in range(chance.randrange(1, 4)):
            place = chance.randrange(len(row)) if row else 0
            piece = chance.choice(
                (b"", b",", b"-", b"e9", b"\xff", b'"', b"[", b"{", b"9" * 30, b"nan", b".")
            )
            row[place : place + chance.randrange(3)] = piece
        out[at] = bytes(row)
    return out


def fuzz_rows(seconds: float, seed: int) -> int:
    """Files of each text format with bytes changed: only ``DecodeError`` and ``ValueError`` may come of them."""
    import time

    chance = random.Random(seed)
    venue = Venue(seed)
    for _ in range(30):
        venue.place(logged=False)
    for _ in range(30):
        venue.place(logged=True)
        venue.publish()
    files = {
        INCREMENTAL: [b"x,S,1,2,true,bid,10,0.5", b"x,S,3,4,false,bid,10,0"],
        SNAPSHOTS: [b"x,S,1,2,11,0.1,10,0.2,12,0.3,9,0.4"] * 2,
        QUOTES: [b"x,S,1,2,0.4,11,10.5,0.3"],
        TRADES: [b"x,S,1,2,7,buy,10.2,0.5"],
    }
    until, tried = time.monotonic() + seconds, 0
    while time.monotonic() < until:
        tried += 1
        header, rows = chance.choice(list(files.items()))
        try:
            [header] = mutations(chance, [header])
            decoder = tardis(header)
            for row in mutations(chance, rows):
                decoder.message([decoder.parse(row, 2)], 2)
        except DecodeError:
            pass
        fx = fx_decoder()
        for row in mutations(chance, [b"1014.25,1.39248,1.39250"] * 2):
            try:
                fx.message(row)
            except DecodeError:
                continue
        stamp = BitstampDecoder(
            EventBuffer(4096), instrument=0, tick_size=Decimal("0.01"), lot_size=Decimal("0.1")
        )
        for row in mutations(chance, venue.lines[:40]):
            try:
                stamp.message(parse_line(row))
            except (DecodeError, ValueError):
                continue
    return tried


def test_mutated_rows_are_refused_and_nothing_else() -> None:
    assert fuzz_rows(2, 1) > 20


@pytest.mark.slow
def test_mutated_rows_for_five_minutes() -> None:
    assert fuzz_rows(300, random.randrange(2**32)) > 1000
