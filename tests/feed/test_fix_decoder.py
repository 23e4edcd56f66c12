"""FIX market data decoder against books kept by the tests' own venue."""

import contextlib
import random
from decimal import Decimal
from typing import Any

import pytest

from quotelife.errors import DecodeError
from quotelife.feed.fix import FixDecoder
from quotelife.feed.symbol_feed import SyncState
from quotelife.records import EventBuffer, EventFlags, EventKindCode, SideCode, StatusKind
from reference.event_books import AppliedBooks, EventRow
from reference.fix_venue import FixVenue, message

KIND = EventKindCode


class Line:
    """A decoder with its books, fed with a venue's entries."""

    def __init__(self, symbols: list[str], **options: Any) -> None:
        self.buffer = EventBuffer(16384)
        self.decoder = FixDecoder(self.buffer, **options)
        for index, symbol in enumerate(symbols):
            self.decoder.add_instrument(symbol, index, Decimal("0.5"), Decimal(1))
        self.books = AppliedBooks(len(symbols))
        self.sequence = 0
        self.requests: dict[str, bytes] = {}
        self.decoder.connected(1)
        self.take()
        for symbol in symbols:
            self.subscribe(symbol)

    def subscribe(self, symbol: str) -> None:
        fields = self.decoder.subscribe(symbol)[-1]
        self.requests[symbol] = dict(fields)[262]  # type: ignore[assignment]

    def send(self, kind: str, *fields: tuple[int, object]) -> list[EventRow]:
        self.sequence += 1
        try:
            self.decoder.message(message(kind, self.sequence, *fields), 7)
        finally:
            got = self.take()
        return got

    def take(self) -> list[EventRow]:
        return self.books.drain(self.buffer)

    def refresh(self, symbol: str, *entries: dict[int, object]) -> list[EventRow]:
        return self.send("W", (55, symbol), (262, self.requests[symbol].decode()), *flat(entries))

    def increment(self, symbol: str, *entries: dict[int, object]) -> list[EventRow]:
        return self.send("X", (262, self.requests[symbol].decode()), *flat(entries))


def flat(entries: Any) -> list[tuple[int, object]]:
    return [(268, len(entries)), *(pair for entry in entries for pair in entry.items())]


BID, ASK = {269: 0, 270: "100.0", 271: 5}, {269: 1, 270: "101", 271: 7}


@pytest.fixture
def line() -> Line:
    made = Line(["A", "B"])
    made.refresh("A", BID, ASK)
    return made


def levels(line: Line, instrument: int = 0) -> tuple[dict[int, int], dict[int, int]]:
    return line.books[instrument].levels()


def test_a_refresh_is_a_snapshot_with_the_time_and_number_of_its_message(line: Line) -> None:
    assert levels(line) == ({200: 5}, {202: 7})
    rows = line.refresh("B", BID)
    assert [row.kind for row in rows] == [KIND.SNAPSHOT_BEGIN, KIND.LEVEL, KIND.SNAPSHOT_END]
    assert rows[-1].flags == EventFlags.LAST | EventFlags.SNAPSHOT
    assert {row.sequence for row in rows} == {line.sequence}


def test_increments_by_price_change_add_and_delete(line: Line) -> None:
    rows = line.increment(
        "A",
        {279: 1, 269: 0, 270: 100, 271: 9},
        {279: 0, 269: 1, 270: 101.5, 271: 3},
        {279: 2, 269: 1, 270: 101},
    )
    assert levels(line) == ({200: 9}, {203: 3})
    assert [row.flags & EventFlags.LAST for row in rows] == [0, 0, EventFlags.LAST]


def test_several_orders_at_one_price_are_one_level() -> None:
    line = Line(["A"])
    line.refresh("A", BID | {278: "a"}, BID | {278: "b", 271: 2}, ASK | {278: "c"})
    assert levels(line) == ({200: 7}, {202: 7})
    line.increment("A", {279: 1, 269: 0, 278: "a", 270: 99.5, 271: 4})
    assert levels(line) == ({200: 2, 199: 4}, {202: 7})
    line.increment("A", {279: 2, 269: 0, 278: "b"}, {279: 0, 269: 0, 278: "d", 270: 99.5, 271: 1})
    assert levels(line) == ({199: 5}, {202: 7})


@pytest.mark.parametrize(
    "entry", [{279: 1, 278: "x", 271: 1}, {279: 2, 278: "x"}, {279: 0, 278: "a", 270: 100, 271: 1}]
)
def test_an_entry_that_contradicts_the_book_breaks_it(entry: dict[int, object]) -> None:
    line = Line(["A", "B"])
    line.refresh("A", BID | {278: "a"})
    line.refresh("B", BID)
    with pytest.raises(DecodeError, match="MDEntryID"):
        line.increment("A", {279: entry[279], 269: 0} | entry)
    assert not line.books[0].whole and line.books[1].whole
    assert line.decoder.wants_snapshot() == ["A"]


def test_levels_pushed_out_of_the_depth_go_although_nobody_says_so() -> None:
    line = Line(["A"], depth=2)
    line.refresh("A", BID, BID | {270: 99}, ASK)
    line.increment("A", {279: 0, 269: 0, 270: 99.5, 271: 8})
    assert levels(line)[0] == {200: 5, 199: 8}
    line.increment("A", {279: 2, 269: 0, 270: 99})
    assert levels(line)[0] == {200: 5, 199: 8}


def test_trades_carry_their_aggressor(line: Line) -> None:
    rows = line.increment(
        "A", *({279: 0, 269: 2, 270: 100, 271: 1} | side for side in ({54: 1}, {54: 2}, {}))
    )
    assert [(row.kind, row.side) for row in rows] == [
        (KIND.TRADE, SideCode.BID), (KIND.TRADE, SideCode.ASK), (KIND.TRADE, SideCode.NONE),
    ]  # fmt: skip


def test_entries_name_their_symbols_and_each_ends_its_own_message(line: Line) -> None:
    line.refresh("B", BID)
    rows = line.send(
        "X", (268, 3), (279, 0), (269, 0), (55, "A"), (270, 99), (271, 1), (279, 0), (269, 0), (55, "B"), (270, 98),
        (271, 2), (279, 0), (269, 1), (270, 103), (271, 3),
    )  # fmt: skip
    assert levels(line)[0] == {200: 5, 198: 1}
    assert levels(line, 1) == ({200: 5, 196: 2}, {206: 3})
    assert [(row.instrument, row.flags) for row in rows] == [(0, 1), (1, 0), (1, 1)]


def test_what_answers_an_older_request_is_passed_over(line: Line) -> None:
    old = line.requests["A"]
    line.decoder.gap(7)
    line.take()
    line.subscribe("A")
    assert line.send("W", (55, "A"), (262, old.decode()), *flat([BID])) == []
    assert line.decoder.state("A") == SyncState.WAITING
    line.refresh("A", ASK)
    assert levels(line) == ({}, {202: 7})


def test_resubscribing_first_ends_the_old_request(line: Line) -> None:
    old = line.requests["A"]
    end, anew = line.decoder.subscribe("A")
    assert (dict(end)[262], dict(end)[263]) == (old, b"2")
    assert dict(anew)[262] != old and dict(anew)[263] == b"1"


def test_a_hole_in_the_numbers_of_entries_breaks_that_book_alone(line: Line) -> None:
    line.refresh("B", BID)
    line.increment("A", {279: 0, 269: 0, 270: 99, 271: 1, 83: 5})
    rows = line.send(
        "X", (268, 2), (279, 0), (269, 0), (55, "A"), (270, 98), (271, 1), (83, 7), (279, 0), (269, 0), (55, "B"),
        (270, 98), (271, 1),
    )  # fmt: skip
    assert [(row.instrument, row.kind) for row in rows] == [(1, KIND.LEVEL), (0, KIND.CLEAR)]
    assert line.decoder.stats("A").gaps == 1


def test_the_numbers_of_entries_go_on_from_the_highest_of_the_refresh(line: Line) -> None:
    line.refresh("A", BID | {83: 12}, ASK | {83: 9})
    line.increment("A", {279: 1, 269: 0, 270: 100, 271: 6, 83: 13})
    assert line.decoder.state("A") is SyncState.SYNCED
    assert levels(line) == ({200: 6}, {202: 7})


def test_a_refresh_that_crosses_is_told_as_it_is(line: Line) -> None:
    """Quotes of several banks lock and cross: that the book is crossed is the engine's to say."""
    line.refresh("A", {269: 0, 270: "101", 271: 5}, ASK)
    assert (line.decoder.state("A"), levels(line)) == (SyncState.SYNCED, ({202: 5}, {202: 7}))


def test_an_entry_told_twice_counts_once(line: Line) -> None:
    entry = {279: 0, 269: 0, 270: 99, 271: 1, 83: 5}
    line.increment("A", entry)
    line.increment("A", entry | {271: 50})
    assert levels(line)[0] == {200: 5, 198: 1}


@pytest.mark.parametrize(
    ("entry", "words"),
    [
        (
            {279: 0, 269: 0, 270: "100.25", 271: 1},
            r"multiple of the tick or lot size \(tick_size 0.5, lot_size 1\)",
        ),
        ({279: 0, 269: 0, 270: "x", 271: 1}, "a decimal"),
        ({279: 0, 269: 0, 271: 1}, r"MDEntryPx \(270\)"),
        ({279: 3, 269: 0, 270: 100}, r"MDUpdateAction \(279\) 0, 1 or 2"),
        ({279: 0, 269: 0, 270: 0, 271: 1}, "a price above 0"),
        ({279: 0, 269: 2, 270: 100, 271: 0}, "traded size above 0"),
    ],
)
def test_a_bad_entry_takes_the_message_back_and_says_why(
    line: Line, entry: dict[int, object], words: str
) -> None:
    with pytest.raises(DecodeError, match=words):
        line.increment("A", {279: 0, 269: 0, 270: 98, 271: 1}, entry)
    assert not line.books[0].whole
    assert line.decoder.wants_snapshot() == ["A"]


def test_full_refreshes_become_their_differences() -> None:
    line = Line(["A"], incremental=False)
    line.refresh("A", BID, ASK)
    rows = line.refresh("A", BID | {271: 6}, ASK)
    assert [(row.kind, row.side, row.price_ticks, row.size_lots) for row in rows] == [
        (KIND.LEVEL, SideCode.BID, 200, 6)
    ]
    line.refresh("A", ASK)
    assert levels(line) == ({}, {202: 7})


def test_a_security_status_is_a_halt(line: Line) -> None:
    (row,) = line.send("f", (55, "A"), (326, 2))
    assert (row.kind, row.aux) == (KIND.STATUS, StatusKind.HALT)


@pytest.mark.parametrize("kind", ["Y", "j"])
def test_a_refused_request_is_told_in_the_venues_words(line: Line, kind: str) -> None:
    line.send(kind, (262, "1"), (281, "0"), (58, "Unknown symbol"))
    assert line.decoder.refused_requests == 1
    assert "Unknown symbol" in (line.decoder.last_error or "")


@pytest.mark.parametrize(
    "stamp", ["20261126-14:28:39.145", "20261126-14:28:39", "20240229-00:00:00.123456789"]
)
def test_time_stamps_are_utc(line: Line, stamp: str) -> None:
    from datetime import UTC, datetime

    whole, _, fraction = stamp.partition(".")
    expected = int(datetime.strptime(whole, "%Y%m%d-%H:%M:%S").replace(tzinfo=UTC).timestamp()) * 10**9
    rows = line.send(
        "X", (60, stamp), (262, line.requests["A"].decode()), *flat([{279: 0, 269: 0, 270: 99, 271: 1}])
    )
    assert rows[0].exchange_ns == expected + int(fraction.ljust(9, "0"))


@pytest.mark.parametrize("named", [False, True])
@pytest.mark.parametrize("seed", range(8))
def test_random_histories_with_losses_end_in_the_venues_book(seed: int, named: bool) -> None:
    """Messages are lost, repeated and spoilt at random: a book that is whole equals the venue's, at every message."""
    rng = random.Random(seed)
    venue = FixVenue(["A"], seed=seed, named=named)
    line = Line(["A"])
    refreshes = 0
    for step in range(400):
        if line.decoder.wants_snapshot() or step == 0:
            if step:
                line.subscribe("A")
            line.refresh("A", *venue.refresh("A", 0))
            refreshes += 1
        entries = [{279: e[279], 269: e[269], 55: "A"} | e for e in venue.change("A")]
        fault = rng.random()
        if fault < 0.03:
            line.decoder.gap(7)  # the session says that a message is lost
            line.take()
        elif fault < 0.06:
            spoilt = entries[0] | {279: 7}
            with pytest.raises(DecodeError):
                line.increment("A", spoilt)
        else:
            line.increment("A", *entries)
        book = venue.books["A"]
        if line.books[0].whole:
            assert levels(line) == (book.bids, book.asks), step
    assert refreshes > 5


def test_mutated_messages_end_in_events_or_a_decode_error(line: Line) -> None:
    """Bytes changed at will, checksums made right again: never anything else, and no half-applied message."""
    rng = random.Random(3)
    request = line.requests["A"].decode()
    base = message(
        "X", 9, (262, request), *flat([{279: 0, 269: 0, 55: "A", 270: 99, 271: 1}, BID | {279: 1}])
    )
    base_w = message("W", 9, (262, request), *flat([BID, ASK]))
    old = request.encode()
    alphabet = b"0123456789=\x01.-+eWXVY\x00\xff"
    for _ in range(20_000):
        data = bytearray(rng.choice((base, base_w)))
        for _ in range(rng.choice((1, 1, 2, 5))):
            at = rng.randrange(len(data))
            data[at : at + rng.randrange(3)] = bytes(rng.choice(alphabet) for _ in range(rng.randrange(3)))
        with contextlib.suppress(DecodeError):
            line.decoder.message(bytes(data), 7)
        line.take()  # asserts that messages are whole
        if line.decoder.wants_snapshot():
            line.subscribe("A")
            fresh = line.requests["A"]
            base, base_w = (raw.replace(b"262=" + old, b"262=" + fresh) for raw in (base, base_w))
            old = fresh
            line.refresh("A", BID, ASK)
