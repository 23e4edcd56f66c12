"""BinanceDecoder: what each message becomes, the splice rule, and every way trust is lost."""

import json
from decimal import Decimal
from typing import Any

import pytest

from quotelife.errors import DecodeError, UnknownInstrumentError
from quotelife.feed.binance import BinanceDecoder
from quotelife.feed.symbol_feed import SyncState
from quotelife.records import EventBuffer, EventFlags, EventKindCode, SideCode, StatusKind
from reference.event_books import AppliedBooks, EventRow, rows

KIND = EventKindCode
LAST, SNAPSHOT, GAP = EventFlags.LAST, EventFlags.SNAPSHOT, EventFlags.GAP
SYMBOLS = {
    "spot": ("BTCUSDT", "ETHUSDT"),
    "usdm": ("BTCUSDT", "ETHUSDT"),
    "coinm": ("BTCUSD_PERP", "ETHUSD_PERP"),
}
MARKETS = list(SYMBOLS)
every_market = pytest.mark.parametrize("market", MARKETS)


class Venue:
    """A decoder with two instruments (indices 3 and 4), its buffer, and messages of its market."""

    def __init__(self, market: str, capacity: int = 4096, **options: Any) -> None:
        self.market = market
        self.futures = market != "spot"
        self.buffer = EventBuffer(capacity)
        self.decoder = BinanceDecoder(market, self.buffer, **options)
        self.symbol, self.other = SYMBOLS[market]
        self.decoder.add_instrument(self.symbol, 3, Decimal("0.10"), Decimal("0.001"))
        self.decoder.add_instrument(self.other, 4, Decimal("0.01"), Decimal("1"))
        self.books = AppliedBooks(5)

    def diff(
        self,
        first: int,
        last: int,
        previous: int | None = None,
        bids: Any = (("100.0", "1"),),
        asks: Any = (("101.0", "2"),),
        at: int = 1_000,
        symbol: str | None = None,
    ) -> bytes:
        """``previous`` matters on futures only; left out, it continues a chain without holes."""
        data = {"e": "depthUpdate", "E": at, "s": symbol or self.symbol, "U": first, "u": last}
        if self.futures:
            data["T"] = at - 1
            data["pu"] = first - 1 if previous is None else previous
        data |= {"b": bids, "a": asks}
        return json.dumps({"stream": "x@depth", "data": data}, separators=(",", ":")).encode()

    def send(self, data: bytes, receive_ns: int = 7) -> list[EventRow]:
        self.decoder.message(data, receive_ns)
        return self.books.drain(self.buffer)

    def answer(
        self, last_id: int, bids: Any = (("99.0", "5"),), asks: Any = (("102.0", "6"),)
    ) -> list[EventRow]:
        data = json.dumps({"lastUpdateId": last_id, "bids": bids, "asks": asks}).encode()
        self.decoder.snapshot(self.symbol, data, 8)
        return self.books.drain(self.buffer)

    def synced(self) -> "Venue":
        """Whole at update id 12; the next diff starts at 13."""
        self.send(self.diff(9, 12))
        self.answer(10)
        assert self.state is SyncState.SYNCED
        return self

    @property
    def state(self) -> SyncState:
        return self.decoder.state(self.symbol)

    @property
    def book(self):
        return self.books[3]

    def stats(self):
        return self.decoder.stats(self.symbol)


def kinds(events: list[EventRow]) -> list[tuple[int, int]]:
    return [(event.kind, event.flags) for event in events]


# The splice rule.


@every_market
def test_nothing_is_shown_before_a_snapshot(market):
    venue = Venue(market)
    assert venue.send(venue.diff(1, 2)) == []
    assert venue.send(venue.diff(3, 4)) == []
    assert venue.state is SyncState.WAITING


@every_market
def test_a_snapshot_is_wanted_with_the_first_diff_and_named_once(market):
    venue = Venue(market)
    assert venue.decoder.wants_snapshot() == []
    venue.send(venue.diff(1, 2))
    venue.send(venue.diff(3, 4))
    assert venue.decoder.wants_snapshot() == [venue.symbol]
    venue.send(venue.diff(5, 6))
    assert venue.decoder.wants_snapshot() == []
    venue.decoder.snapshot_failed(venue.symbol)
    assert venue.decoder.wants_snapshot() == [venue.symbol]


# (lastUpdateId, spliced?) for held diffs 11..14 and 15..18.
SPOT_EDGES = [(9, False), (10, True), (13, True), (14, True), (17, True), (18, False)]
FUTURES_EDGES = [(9, False), (10, False), (11, True), (14, True), (15, True), (18, True), (19, False)]


@pytest.mark.parametrize(
    ("market", "last_id", "spliced"),
    [("spot", *edge) for edge in SPOT_EDGES]
    + [(market, *edge) for market in ("usdm", "coinm") for edge in FUTURES_EDGES],
)
def test_splice_rule_at_its_edges(market, last_id, spliced):
    """Spot: U <= lastUpdateId + 1 <= u. Futures: U <= lastUpdateId <= u."""
    venue = Venue(market)
    venue.send(venue.diff(11, 14))
    venue.send(venue.diff(15, 18))
    events = venue.answer(last_id)
    assert (venue.state is SyncState.SYNCED) == spliced
    assert bool(events) == spliced
    assert venue.book.whole == spliced


def test_futures_snapshot_in_a_hole_between_diffs_is_not_spliced():
    """pu < lastUpdateId < U proves nothing by the venue's rule: it is refused and asked for again."""
    venue = Venue("usdm")
    venue.send(venue.diff(20, 25, previous=10))
    assert venue.decoder.wants_snapshot() == [venue.symbol]
    assert venue.answer(15) == []
    assert venue.stats().refused == 1
    assert venue.decoder.wants_snapshot() == [venue.symbol]


@every_market
def test_snapshot_older_than_the_held_diffs_is_refused_and_asked_for_again(market):
    venue = Venue(market)
    venue.send(venue.diff(11, 14))
    venue.decoder.wants_snapshot()
    assert venue.answer(5) == []
    assert (venue.state, venue.stats().refused) == (SyncState.WAITING, 1)
    assert venue.decoder.wants_snapshot() == [venue.symbol]
    venue.answer(12)
    assert venue.book.whole


@every_market
def test_snapshot_newer_than_the_held_diffs_waits_for_the_diff_that_proves_it(market):
    venue = Venue(market)
    venue.send(venue.diff(11, 14))
    assert venue.answer(20) == []
    assert venue.state is SyncState.SPLICING
    assert venue.send(venue.diff(15, 18)) == []
    events = venue.send(venue.diff(19, 22))
    assert venue.state is SyncState.SYNCED
    assert events[-1].kind == KIND.SNAPSHOT_END
    assert (events[-1].sequence, events[-1].flags) == (22, LAST | SNAPSHOT)
    assert venue.decoder.wants_snapshot() == []


@every_market
def test_snapshot_that_the_next_diff_passes_over_is_refused(market):
    venue = Venue(market)
    venue.send(venue.diff(11, 14))
    venue.decoder.wants_snapshot()
    venue.answer(20)
    assert venue.send(venue.diff(30, 31)) == []
    assert (venue.state, venue.stats().gaps, venue.stats().refused) == (SyncState.WAITING, 1, 1)
    assert venue.decoder.wants_snapshot() == [venue.symbol]


@every_market
def test_a_snapshot_that_nobody_asked_for_is_used(market):
    venue = Venue(market)
    assert venue.answer(12) == []
    venue.send(venue.diff(11, 14))
    assert venue.book.whole
    assert venue.decoder.wants_snapshot() == []


@every_market
def test_spliced_block_holds_snapshot_then_diffs_and_ends_at_the_last_diff(market):
    venue = Venue(market)
    venue.send(venue.diff(9, 12, bids=[["99.0", "0"]], asks=[]))
    venue.send(venue.diff(13, 14, bids=[["98.5", "4"]], asks=[["102.0", "1.5"]]))
    events = venue.answer(10)
    assert [
        (event.kind, event.side, event.price_ticks, event.size_lots, event.sequence) for event in events
    ] == [
        (KIND.SNAPSHOT_BEGIN, SideCode.NONE, 0, 0, 10),
        (KIND.LEVEL, SideCode.BID, 990, 5000, 10),
        (KIND.LEVEL, SideCode.ASK, 1020, 6000, 10),
        (KIND.LEVEL, SideCode.BID, 990, 0, 12),
        (KIND.LEVEL, SideCode.BID, 985, 4000, 14),
        (KIND.LEVEL, SideCode.ASK, 1020, 1500, 14),
        (KIND.SNAPSHOT_END, SideCode.NONE, 0, 0, 14),
    ]
    assert [event.flags for event in events] == [SNAPSHOT] * 6 + [SNAPSHOT | LAST]
    assert {event.instrument for event in events} == {3}
    assert {event.receive_ns for event in events} == {8}
    assert venue.book.levels() == ({985: 4000}, {1020: 1500})


# Diffs.


@every_market
def test_a_diff_becomes_levels_with_last_on_the_last(market):
    venue = Venue(market).synced()
    message = venue.diff(13, 15, bids=[["100.1", "0.001"], ["100.0", "0"]], asks=[["101.0", "7"]], at=5)
    events = venue.send(message, receive_ns=77)
    stamp_ms = 4 if venue.futures else 5  # transaction time where the venue gives it
    assert [(event.side, event.price_ticks, event.size_lots, event.flags) for event in events] == [
        (SideCode.BID, 1001, 1, 0),
        (SideCode.BID, 1000, 0, 0),
        (SideCode.ASK, 1010, 7000, LAST),
    ]
    assert {(e.exchange_ns, e.receive_ns, e.sequence, e.kind) for e in events} == {
        (stamp_ms * 1_000_000, 77, 15, KIND.LEVEL)
    }


@every_market
def test_a_diff_without_levels_moves_the_chain_as_a_heartbeat(market):
    venue = Venue(market).synced()
    events = venue.send(venue.diff(13, 15, bids=[], asks=[]))
    assert [(e.kind, e.aux, e.sequence, e.flags) for e in events] == [
        (KIND.STATUS, StatusKind.HEARTBEAT, 15, LAST)
    ]
    assert venue.send(venue.diff(16, 16))
    assert venue.stats().gaps == 0


@every_market
@pytest.mark.parametrize("order", ["forward", "backward", "levels first"])
def test_field_order_does_not_matter(market, order):
    venue = Venue(market).synced()
    data = json.loads(venue.diff(13, 15))["data"]
    names = list(data)
    names = {
        "forward": names,
        "backward": names[::-1],
        "levels first": ["a", "b", *(set(names) - {"a", "b"})],
    }[order]
    expected = Venue(market).synced().send(venue.diff(13, 15))
    events = venue.send(json.dumps({name: data[name] for name in names}).encode())
    assert {event._replace(flags=0) for event in events} == {event._replace(flags=0) for event in expected}
    assert [event.flags for event in events] == [0, LAST]
    assert venue.book.sequence == 15
    assert venue.book.levels() == ({1000: 1000, 990: 5000}, {1010: 2000, 1020: 6000})


@every_market
def test_white_space_is_tolerated(market):
    venue = Venue(market).synced()
    text = json.dumps(json.loads(venue.diff(13, 15)), indent=3).replace("\n", "\r\n\t")
    assert len(venue.send(f" {text} \n".encode())) == 2
    assert venue.book.sequence == 15


@every_market
def test_unknown_fields_of_any_shape_are_passed_over(market):
    venue = Venue(market).synced()
    data = json.loads(venue.diff(13, 15))["data"]
    extra = {
        "new": {"deep": [{"b": [["1", "1"]]}, ']}"\\']},
        "ps": "BTCUSD",
        "x": None,
        "y": -1.5e9,
        "z": True,
    }
    assert len(venue.send(json.dumps(extra | data | {"last": []}).encode())) == 2


# Loss of trust.


def gap_only(events: list[EventRow], instruments: set[int] = frozenset({3})) -> None:
    assert kinds(events) == [(KIND.CLEAR, GAP | LAST)] * len(instruments)
    assert {event.instrument for event in events} == instruments


@every_market
@pytest.mark.parametrize(
    ("first", "last", "previous"),
    [(14, 15, 13), (20, 25, 19), (12, 14, 11), (5, 30, 4), (13, 14, 11)],
    ids=["one lost", "many lost", "overlap", "swallows", "pu alone"],
)
def test_a_diff_that_does_not_continue_the_chain_flags_the_book_at_once(market, first, last, previous):
    venue = Venue(market).synced()
    if market == "spot" and first == 13:
        first = 14  # spot has no pu
    gap_only(venue.send(venue.diff(first, last, previous, at=2_000)))
    assert (venue.state, venue.stats().gaps) == (SyncState.WAITING, 1)
    assert venue.decoder.wants_snapshot() == [venue.symbol]
    assert venue.decoder.state(venue.other) is SyncState.WAITING


def test_futures_ids_may_have_holes_as_long_as_pu_continues():
    venue = Venue("usdm").synced()
    assert len(venue.send(venue.diff(500, 900, previous=12))) == 2
    assert venue.stats().gaps == 0


@every_market
def test_the_diff_that_showed_the_gap_serves_the_next_splice(market):
    venue = Venue(market).synced()
    venue.send(venue.diff(20, 25))
    venue.answer(22)
    assert venue.book.whole
    assert (venue.stats().resyncs, venue.book.sequence) == (1, 25)


@every_market
def test_an_old_copy_is_ignored_and_counted(market):
    venue = Venue(market).synced()
    message = venue.diff(13, 15)
    venue.send(message)
    assert venue.send(message) == []
    assert venue.send(venue.diff(9, 12, at=999)) == []
    assert (venue.stats().duplicates, venue.stats().gaps) == (2, 0)
    assert len(venue.send(venue.diff(16, 17))) == 2


@every_market
def test_old_ids_sent_later_are_a_venue_that_started_again(market):
    venue = Venue(market).synced()
    gap_only(venue.send(venue.diff(1, 2, at=1_001)))


@every_market
def test_a_break_among_held_diffs_starts_them_again(market):
    venue = Venue(market)
    venue.send(venue.diff(11, 14))
    venue.send(venue.diff(20, 24))
    assert venue.answer(12) == []
    venue.answer(21)
    assert venue.book.whole


@every_market
def test_held_diffs_are_bounded(market):
    venue = Venue(market, pending_bytes_max=1_000)
    for i in range(50):
        venue.send(venue.diff(10 * i + 1, 10 * i + 10))
    assert venue.stats().restarts > 5
    assert venue.answer(5) == []
    venue.answer(499)
    assert venue.book.whole
    assert venue.book.sequence == 500


@every_market
def test_disconnect_distrusts_every_instrument_and_a_new_snapshot_heals(market):
    venue = Venue(market).synced()
    venue.decoder.disconnected(99)
    events = venue.books.drain(venue.buffer)
    assert [(e.kind, e.instrument, e.flags, e.receive_ns) for e in events[:2]] == [
        (KIND.CLEAR, 3, GAP | LAST, 99),
        (KIND.CLEAR, 4, GAP | LAST, 99),
    ]
    assert [(e.kind, e.instrument, e.aux, e.flags) for e in events[2:]] == [
        (KIND.STATUS, 3, StatusKind.FEED_DOWN, LAST),
        (KIND.STATUS, 4, StatusKind.FEED_DOWN, LAST),
    ]
    venue.decoder.connected(100)
    assert [(e.instrument, e.aux) for e in venue.books.drain(venue.buffer)] == [
        (3, StatusKind.FEED_UP),
        (4, StatusKind.FEED_UP),
    ]
    assert venue.send(venue.diff(13, 15)) == []  # would have continued: the time between was not seen
    assert venue.decoder.wants_snapshot() == [venue.symbol]
    venue.answer(14)
    assert venue.book.whole


# Numbers.


@every_market
@pytest.mark.parametrize(
    ("price", "size"),
    [("100.05", "1"), ("100.0", "0.0005"), ("100.00001", "1"), ("9" * 19, "1"), ("100.0", "9" * 17 + ".001")],
    ids=["price off tick", "size off lot", "far digit", "price too long", "size too long"],
)
def test_what_is_off_the_grid_breaks_trust_and_is_counted(market, price, size):
    venue = Venue(market).synced()
    with pytest.raises(DecodeError, match=venue.symbol):
        venue.send(venue.diff(13, 15, bids=[["99.0", "1"], [price, size]]))
    gap_only(venue.books.drain(venue.buffer))
    assert (venue.stats().off_grid, venue.state) == (1, SyncState.WAITING)


@pytest.mark.parametrize(
    ("tick", "price", "ticks"),
    [
        ("0.10", "61800.20", 618002),
        ("0.1", "61800", 618000),
        ("0.5", "61800.50000000", 123601),
        ("0.01", "0.01", 1),
        ("0.00000001", "0.00001234", 1234),
        ("2.5", "100", 40),
        ("10", "61800.000", 6180),
        ("1", "999999999999999999", 999999999999999999),
        ("0.01", "9999999999999999.99", 999999999999999999),
    ],
)
def test_prices_are_exact(tick, price, ticks):
    buffer = EventBuffer()
    decoder = BinanceDecoder("spot", buffer)
    decoder.add_instrument("X", 0, Decimal(tick), Decimal("1"))
    decoder.message(f'{{"u":1,"s":"X","b":"{price}","B":"1","a":"{price}","A":"1"}}'.encode(), 0)
    (event,) = rows(buffer)
    assert (event.price_ticks, event.order_id) == (ticks, ticks)


@pytest.mark.parametrize("text", ["-1", "+1", "", ".5", "5.", "1.2.3", " 1", "1 ", "NaN", "0x10", "١"])
def test_what_is_no_plain_decimal_is_malformed(text):
    venue = Venue("spot").synced()
    with pytest.raises(DecodeError):
        venue.send(venue.diff(13, 15, bids=[["99.0", text]]))
    gap_only(venue.books.drain(venue.buffer))


def test_a_level_at_price_zero_is_malformed():
    venue = Venue("usdm").synced()
    with pytest.raises(DecodeError, match="a price above 0"):
        venue.send(venue.diff(13, 15, bids=[["0.0", "1"]]))


# Malformed messages.


@every_market
def test_every_truncation_is_refused_and_distrusts(market):
    whole = Venue(market).synced().diff(13, 15)
    for n in range(len(whole)):
        venue = Venue(market).synced()
        with pytest.raises(DecodeError):
            venue.decoder.message(whole[:n], 0)
        events = venue.books.drain(venue.buffer)
        assert not venue.book.whole
        gap_only(events, {3} if b'"s":"' + venue.symbol.encode() + b'"' in whole[:n] else {3, 4})
        assert venue.stats().state is SyncState.WAITING


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ({"U": None}, "U, u"),
        ({"u": None}, "U, u"),
        ({"pu": None}, "pu"),
        ({"b": None}, "b and a"),
        ({"U": 16}, "U not above u"),
        ({"pu": 99}, "pu not above u"),
        ({"u": 10**18}, "18 digits"),
        ({"u": 1.5}, "an integer"),
        ({"T": 10**15}, "milliseconds"),
        ({"b": "100.0"}, "a list of levels"),
        ({"b": [["100.0"]]}, "price and size"),
        ({"b": [["100.0", 1]]}, "a decimal in quotes"),
        ({"b": [["100.0", "1", "2"]]}, "price and size"),
    ],
)
def test_faults_are_named(change, told):
    venue = Venue("usdm").synced()
    data = json.loads(venue.diff(13, 15))["data"] | change
    data = {name: value for name, value in data.items() if value is not None}
    with pytest.raises(DecodeError, match=told):
        venue.send(json.dumps(data).encode())
    gap_only(venue.books.drain(venue.buffer))


def test_a_field_given_twice_is_malformed():
    venue = Venue("usdm").synced()
    with pytest.raises(DecodeError, match="once"):
        venue.send(venue.diff(13, 15).replace(b'"U":13', b'"U":13,"U":13'))


def test_a_message_without_symbol_distrusts_all():
    venue = Venue("usdm").synced()
    with pytest.raises(DecodeError):
        venue.send(b'{"e":"depthUpdate","U":1,"u":2,"pu":0,"b":[],"a":[]}')
    gap_only(venue.books.drain(venue.buffer), {3, 4})


def test_text_behind_the_message_is_malformed():
    venue = Venue("usdm").synced()
    with pytest.raises(DecodeError, match="the end of the message"):
        venue.send(venue.diff(13, 15) + b"{}")


# Room in the event buffer.


def test_a_message_that_does_not_fit_is_a_break_and_never_half_applied():
    venue = Venue("usdm", capacity=40).synced()
    levels = [[f"{100 + i}.0", "1"] for i in range(60)]
    with pytest.raises(DecodeError, match="event buffer"):
        venue.send(venue.diff(13, 15, bids=levels))
    gap_only(venue.books.drain(venue.buffer))
    assert (venue.stats().overflows, venue.stats().malformed) == (1, 0)


def test_an_undrained_buffer_is_refused_before_anything_changes():
    venue = Venue("usdm", capacity=40).synced()
    for i in range(18):
        venue.decoder.message(venue.diff(13 + i, 13 + i), 0)
    with pytest.raises(OverflowError, match="drain"):
        venue.decoder.message(venue.diff(31, 31), 0)
    venue.books.drain(venue.buffer)
    assert len(venue.send(venue.diff(31, 31))) == 2
    assert venue.stats().gaps == 0


def test_a_splice_that_does_not_fit_starts_again():
    venue = Venue("usdm", capacity=40)
    for i in range(15):
        venue.send(venue.diff(i + 1, i + 1, bids=[["99.0", "1"], ["98.0", "1"]]))
    with pytest.raises(DecodeError, match="event buffer"):
        venue.answer(1)
    venue.books.drain(venue.buffer)
    assert venue.state is SyncState.WAITING
    venue.send(venue.diff(16, 17))
    assert venue.decoder.wants_snapshot() == [venue.symbol]
    venue.answer(16)
    assert venue.book.whole


def test_five_thousand_levels_a_side_fit_the_default_buffer():
    venue = Venue("spot", capacity=65536)
    bids = [[str(Decimal(100_000 - i) / 10), "1"] for i in range(5000)]
    asks = [[str(Decimal(100_001 + i) / 10), "1"] for i in range(5000)]
    venue.send(venue.diff(11, 12, bids=bids, asks=asks))
    events = venue.answer(11, bids, asks)
    assert len(events) == 20_002
    assert venue.book.whole


# Quotes, trades, the rest.


def test_spot_book_ticker_has_no_kind_and_no_time():
    venue = Venue("spot")
    message = (
        b'{"stream":"x@bookTicker","data":{"u":5,"s":"BTCUSDT","b":"10.10","B":"2","a":"10.20","A":"3"}}'
    )
    (event,) = venue.send(message)
    assert event == EventRow(0, 7, 5, 101, 2000, 102, 3000, 3, KIND.QUOTE, SideCode.NONE, LAST)


@pytest.mark.parametrize("market", ["usdm", "coinm"])
def test_futures_book_ticker_carries_transaction_time(market):
    venue = Venue(market)
    data = {"e": "bookTicker", "u": 5, "s": venue.symbol, "b": "10.10", "B": "2", "a": "10.20", "A": "3"}
    (event,) = venue.send(json.dumps(data | {"ps": "BTCUSD", "T": 20, "E": 21}).encode())
    assert event == EventRow(20_000_000, 7, 5, 101, 2000, 102, 3000, 3, KIND.QUOTE, SideCode.NONE, LAST)


def test_an_empty_side_of_a_quote_has_size_zero():
    venue = Venue("spot")
    (event,) = venue.send(b'{"u":5,"s":"BTCUSDT","b":"0.00","B":"0.00","a":"10.20","A":"3"}')
    assert (event.price_ticks, event.size_lots, event.order_id) == (0, 0, 102)


@pytest.mark.parametrize(("maker", "side"), [(True, SideCode.ASK), (False, SideCode.BID)])
@pytest.mark.parametrize(("kind", "key"), [("trade", "t"), ("aggTrade", "a")])
@every_market
def test_trade_side_is_the_aggressor(market, kind, key, maker, side):
    """m = true: the buyer was the maker, so the seller was the aggressor."""
    venue = Venue(market)
    data = {"e": kind, "E": 30, "T": 29, "s": venue.symbol, key: 77, "p": "10.10", "q": "0.004", "m": maker}
    (event,) = venue.send(json.dumps(data).encode())
    assert event == EventRow(29_000_000, 7, 77, 101, 4, 0, 77, 3, KIND.TRADE, side, LAST)


def test_spot_trade_with_order_ids_in_b_and_a():
    venue = Venue("spot")
    data = {
        "e": "trade",
        "E": 30,
        "s": "BTCUSDT",
        "t": 7,
        "p": "10.10",
        "q": "1",
        "b": 88,
        "a": 99,
        "T": 29,
        "m": True,
    }
    (event,) = venue.send(json.dumps(data | {"M": True}).encode())
    assert (event.aux, event.size_lots) == (7, 1000)


def test_trades_that_hit_no_order_are_ignored():
    venue = Venue("usdm")
    data = {"e": "trade", "T": 29, "s": "BTCUSDT", "t": 7, "p": "0", "q": "0", "X": "NA", "m": True}
    assert venue.send(json.dumps(data).encode()) == []
    assert venue.decoder.ignored == 1


@pytest.mark.parametrize("field", ["p", "q"])
def test_a_trade_off_the_grid_breaks_trust(field):
    venue = Venue("usdm").synced()
    data = {"e": "trade", "T": 29, "s": "BTCUSDT", "t": 7, "p": "10.1", "q": "1", "m": True} | {
        field: "0.00001"
    }
    with pytest.raises(DecodeError, match=r"tick_size 0\.10, lot_size 0\.001"):
        venue.send(json.dumps(data).encode())
    gap_only(venue.books.drain(venue.buffer))
    assert venue.stats().off_grid == 1


def test_a_bad_quote_breaks_trust_even_without_a_book():
    """An instrument that lives on bookTicker alone must learn of a lost message too."""
    venue = Venue("spot")
    with pytest.raises(DecodeError):
        venue.send(b'{"u":5,"s":"BTCUSDT","b":"0.00","B":"1","a":"10.20","A":"3"}')
    gap_only(venue.books.drain(venue.buffer))


@pytest.mark.parametrize(
    "message",
    [
        b'{"stream":"btcusdt@markPrice@1s","data":{"e":"markPriceUpdate","E":1,"s":"BTCUSDT","p":"1.123","T":0}}',
        b'{"stream":"!ticker@arr","data":[{"e":"24hrTicker","s":"BTCUSDT"}]}',
        b'{"stream":"btcusdt@depth20","data":{"lastUpdateId":1,"bids":[["1.0","1"]],"asks":[]}}',
        b'{"e":"depthUpdate","s":"DOGEUSDT","U":1,"u":2,"pu":0,"b":[["0.00001","1"]],"a":[]}',
        b"{}",
    ],
    ids=["mark price", "array", "partial depth", "another symbol", "empty"],
)
def test_what_is_not_for_us_is_counted_and_ignored(message):
    venue = Venue("usdm").synced()
    assert venue.send(message) == []
    assert venue.decoder.ignored == 1
    assert venue.state is SyncState.SYNCED


def test_replies_are_counted_and_errors_kept():
    venue = Venue("usdm").synced()
    assert venue.send(b'{"result":null,"id":1}') == []
    assert (venue.decoder.replies, venue.decoder.errors, venue.decoder.last_error) == (1, 0, None)
    assert venue.send(b'{"error":{"code":2,"msg":"Invalid request"},"id":1}') == []
    assert venue.send(b'{"code":3,"msg":"Invalid JSON"}') == []
    assert (venue.decoder.replies, venue.decoder.errors) == (3, 2)
    assert "Invalid JSON" in venue.decoder.last_error
    assert venue.state is SyncState.SYNCED


def test_heartbeat_reaches_every_instrument():
    venue = Venue("usdm").synced()
    venue.decoder.heartbeat(50)
    events = venue.books.drain(venue.buffer)
    assert [(e.instrument, e.aux, e.receive_ns, e.flags) for e in events] == [
        (3, StatusKind.HEARTBEAT, 50, LAST),
        (4, StatusKind.HEARTBEAT, 50, LAST),
    ]


# Snapshots that are none.


@pytest.mark.parametrize(
    "answer",
    [
        b'{"code":-1121,"msg":"Invalid symbol."}',
        b"<html>",
        b"",
        b"[]",
        b'{"lastUpdateId":10,"bids":[],"asks":[]',
        b'{"lastUpdateId":10,"bids":[["1.05","1"]],"asks":[]}',
        b'{"lastUpdateId":-1,"bids":[],"asks":[]}',
    ],
)
def test_an_unusable_answer_is_refused_and_wanted_again(answer):
    venue = Venue("usdm")
    venue.send(venue.diff(9, 12))
    assert venue.decoder.wants_snapshot() == [venue.symbol]
    with pytest.raises(DecodeError, match="snapshot of BTCUSDT"):
        venue.decoder.snapshot(venue.symbol, answer, 0)
    assert len(venue.buffer) == 0
    assert venue.decoder.wants_snapshot() == [venue.symbol]
    venue.answer(10)
    assert venue.book.whole


def test_a_snapshot_for_a_whole_book_is_ignored():
    venue = Venue("usdm").synced()
    assert venue.answer(50) == []
    assert venue.book.sequence == 12


def test_a_symbol_never_added_is_an_error():
    venue = Venue("usdm")
    with pytest.raises(UnknownInstrumentError):
        venue.decoder.snapshot("DOGEUSDT", b"{}", 0)
    with pytest.raises(UnknownInstrumentError):
        venue.decoder.state("DOGEUSDT")


# Setting up.


def test_many_instruments_are_all_found():
    buffer = EventBuffer()
    decoder = BinanceDecoder("spot", buffer)
    for i in range(3000):
        decoder.add_instrument(f"S{i}USDT", i, Decimal("1"), Decimal("1"))
    for i in range(3000):
        decoder.message(f'{{"u":1,"s":"S{i}USDT","b":"1","B":"1","a":"2","A":"1"}}'.encode(), 0)
        assert rows(buffer)[0].instrument == i
        buffer.clear()


@pytest.mark.parametrize(
    "size", [Decimal(0), Decimal(-1), Decimal("NaN"), Decimal("1e-13"), Decimal("1e12"), 0.1, 1]
)
def test_a_tick_size_that_is_no_positive_decimal_is_refused(size):
    decoder = BinanceDecoder("spot", EventBuffer())
    with pytest.raises(ValueError, match="tick_size"):
        decoder.add_instrument("BTCUSDT", 0, size, Decimal("1"))


def test_bad_set_ups_are_refused():
    with pytest.raises(ValueError, match="market"):
        BinanceDecoder("futures", EventBuffer())
    decoder = BinanceDecoder("spot", EventBuffer(21))
    decoder.add_instrument("BTCUSDT", 0, Decimal("1"), Decimal("1"))
    with pytest.raises(ValueError, match="once"):
        decoder.add_instrument("BTCUSDT", 1, Decimal("1"), Decimal("1"))
    with pytest.raises(ValueError, match="too small"):
        decoder.add_instrument("ETHUSDT", 1, Decimal("1"), Decimal("1"))


# A snapshot that was cut at its limit.


def ladder(best: str, step: str, levels: int) -> list[tuple[str, str]]:
    return [(str(Decimal(best) + k * Decimal(step)), "1") for k in range(levels)]


def cut(venue: Venue, bids: int, asks: int) -> tuple[int, int, int]:
    """(levels, lowest bid, highest ask) told of a snapshot of so many levels."""
    venue.send(venue.diff(9, 12, bids=(), asks=()))
    *_, end = venue.answer(10, ladder("99.0", "-0.1", bids), ladder("103.0", "0.1", asks))
    assert end.kind == KIND.SNAPSHOT_END
    return end.size_lots, end.price_ticks, end.order_id


@every_market
@pytest.mark.parametrize(
    ("bids", "asks", "told"),
    [(20, 20, (20, 971, 1049)), (20, 19, (20, 971, 0)), (7, 20, (20, 0, 1049)), (19, 19, (0, 0, 0))],
)
def test_the_end_of_a_snapshot_tells_where_each_side_of_as_many_levels_as_were_asked_for_was_cut(
    market, bids, asks, told
):
    assert cut(Venue(market, snapshot_levels=20), bids, asks) == told


def test_where_nothing_is_said_of_a_limit_a_snapshot_is_a_whole_book():
    assert cut(Venue("spot"), 20, 20) == (0, 0, 0)


@every_market
def test_the_cut_is_that_of_the_snapshot_whatever_the_held_diffs_do_to_its_edge(market):
    venue = Venue(market, snapshot_levels=20)
    venue.send(venue.diff(9, 12, bids=(("97.1", "0"), ("90.0", "1")), asks=(("104.9", "0"), ("110.0", "1"))))
    *_, end = venue.answer(10, ladder("99.0", "-0.1", 20), ladder("103.0", "0.1", 20))
    assert (end.kind, end.size_lots, end.price_ticks, end.order_id) == (KIND.SNAPSHOT_END, 20, 971, 1049)
