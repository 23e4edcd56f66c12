"""What Deribit, Coinbase and OKX messages become, one claim at a time."""

import json
import random
import zlib
from decimal import Decimal
from typing import Any

import pytest

from quotelife.errors import DecodeError
from quotelife.feed.coinbase import CoinbaseDecoder
from quotelife.feed.deribit import DeribitDecoder
from quotelife.feed.deribit_instruments import read_instrument, read_instruments
from quotelife.feed.okx import OkxDecoder
from quotelife.feed.streamed_decoder import StreamedDecoder
from quotelife.feed.symbol_feed import SyncState
from quotelife.records import EventBuffer, EventFlags, EventKindCode, SideCode, StatusKind
from reference.event_books import AppliedBooks, EventRow, rows
from reference.streamed_wire import SYMBOLS, Sender, decoder_of, okx_checksum

BTC = "BTC-PERPETUAL"
DECODERS: dict[str, Any] = {"deribit": DeribitDecoder, "coinbase": CoinbaseDecoder, "okx": OkxDecoder}
LAST, GAP = int(EventFlags.LAST), int(EventFlags.GAP)


def made(kind: str, tick: str = "0.5", lot: str = "0.1", capacity: int = 4096, **settings: Any) -> Any:
    decoder = DECODERS[kind](EventBuffer(capacity), **settings)
    decoder.add_instrument(BTC, 3, Decimal(tick), Decimal(lot))
    return decoder


def deribit(channel: str, data: Any) -> bytes:
    params = {"channel": channel, "data": data}
    return json.dumps({"jsonrpc": "2.0", "method": "subscription", "params": params}).encode()


def deribit_book(bids: str, change_id: int = 5, previous: int | None = None) -> bytes:
    """``bids`` as JSON text, so that numbers are written as the test wants them."""
    ids = "" if previous is None else f'"prev_change_id":{previous},'
    kind = "snapshot" if previous is None else "change"
    return (
        f'{{"jsonrpc":"2.0","method":"subscription","params":{{"channel":"book.{BTC}.raw","data":{{"type":"{kind}",'
        f'"timestamp":1700000000000,"instrument_name":"{BTC}",{ids}"change_id":{change_id},"bids":{bids},"asks":[]}}}}}}'
    ).encode()


def drained(decoder: StreamedDecoder) -> list[EventRow]:
    events = rows(decoder.buffer)
    decoder.buffer.clear()
    return events


# Numbers.


@pytest.mark.parametrize(
    ("tick", "lot", "price", "amount", "ticks", "lots"),
    [
        ("0.5", "10", "61800.5", "120.0", 123601, 12),
        ("1e-8", "1e-8", "1e-8", "3.0E-8", 1, 3),
        ("0.0001", "0.1", "1.5e-3", "2.5e1", 15, 250),
        ("0.0005", "1", "0.0015", "4714", 3, 4714),
        ("1", "1", "6.18e4", "1e+3", 61800, 1000),
        ("0.25", "0.5", "2.50", "0.5000", 10, 1),
        ("1", "1", "100e-2", "0010", 1, 10),
        ("0.01", "1", "0.12345e3", "1", 12345, 1),
    ],
)
def test_json_numbers_are_exact_with_and_without_exponents(tick, lot, price, amount, ticks, lots):
    decoder = made("deribit", tick, lot)
    decoder.message(deribit_book(f'[["new",{price},{amount}]]'), 0)
    assert [(e.price_ticks, e.size_lots) for e in drained(decoder)[1:-1]] == [(ticks, lots)]


@pytest.mark.parametrize(
    "price",
    [
        "0.3",
        "1e-1",
        "-1.0",
        "1e",
        "e5",
        "1e400",
        ".5",
        "5.",
        "NaN",
        "1.2.3",
        "01x",
        "1e-400",
        "99999999999999999999",
    ],
)
def test_a_number_that_is_not_on_the_grid_is_refused_and_distrusts_its_book(price):
    decoder = made("deribit")
    decoder.message(deribit_book('[["new",1.0,1.0]]'), 0)
    drained(decoder)
    with pytest.raises(DecodeError):
        decoder.message(deribit_book(f'[["new",{price},1.0]]', 6, 5), 7)
    assert [(e.kind, e.flags, e.instrument) for e in drained(decoder)] == [
        (EventKindCode.CLEAR, GAP | LAST, 3)
    ]
    assert decoder.wants_snapshot() == [BTC]


@pytest.mark.parametrize("text", ["1e-8", "0.00000001", "0.1e-7"])
def test_quoted_decimals_may_have_exponents_too(text):
    decoder = made("okx", "0.1", "1e-8")
    level = [["0.5", text, "0", "1"]]
    book = {"asks": [], "bids": level, "ts": "1", "checksum": 0, "seqId": 5, "prevSeqId": -1}
    arg = {"channel": "books", "instId": BTC}
    decoder.message(json.dumps({"arg": arg, "action": "snapshot", "data": [book]}).encode(), 0)
    assert drained(decoder)[1].size_lots == 1


# Faults.


@pytest.mark.parametrize("kind", ["deribit", "coinbase", "okx"])
def test_an_error_names_symbol_and_place(kind):
    venue = Sender(kind, random.Random(1))
    decoder = decoder_of(kind, EventBuffer(4096))
    decoder.message(venue.snapshot(0).data, 0)
    wrong = venue.snapshot(0).data.replace(b"50.0", b"50.3").replace(b'"50"', b'"50.3"')
    with pytest.raises(DecodeError, match=r"AAA: expected a multiple of .*tick_size 0.5.* at byte \d+"):
        decoder.message(wrong, 0)
    assert decoder.stats("AAA").off_grid == 1


@pytest.mark.parametrize("kind", ["deribit", "coinbase", "okx"])
def test_a_message_that_does_not_fit_the_buffer_leaves_nothing_but_the_flag(kind):
    venue = Sender(kind, random.Random(1))
    decoder = decoder_of(kind, EventBuffer(24))
    venue.books[0][0].update(dict.fromkeys(range(10, 40), 1))
    venue.past[0][0] = (*venue.past[0][0][:2], (venue.books[0][0], venue.books[0][1]))
    with pytest.raises(DecodeError, match="does not fit"):
        decoder.message(venue.snapshot(0).data, 0)
    assert [e.kind for e in drained(decoder)] == [EventKindCode.CLEAR]
    assert decoder.stats("AAA").overflows == 1


@pytest.mark.parametrize("kind", ["deribit", "coinbase", "okx"])
def test_an_undrained_buffer_is_an_error_that_changes_nothing(kind):
    decoder = decoder_of(kind, EventBuffer(24))
    while decoder.buffer.count <= 20:
        decoder.buffer.append(EventKindCode.STATUS)
    with pytest.raises(OverflowError, match="drain"):
        decoder.message(Sender(kind, random.Random(1)).snapshot(0).data, 0)
    assert decoder.messages == 0


@pytest.mark.parametrize("kind", ["deribit", "coinbase", "okx"])
def test_a_change_without_levels_is_a_heartbeat_of_its_book(kind):
    venue = Sender(kind, random.Random(1))
    decoder = decoder_of(kind, EventBuffer(4096))
    decoder.message(venue.snapshot(0).data, 0)
    drained(decoder)
    while True:
        sent = venue.change(0)
        decoder.message(sent.data, 0)
        events = drained(decoder)
        if events[0].kind == EventKindCode.STATUS:
            assert (events[0].aux, events[0].flags) == (StatusKind.HEARTBEAT, LAST)
            return


@pytest.mark.parametrize("kind", ["deribit", "coinbase", "okx"])
def test_keys_in_another_order_mean_the_same(kind):
    venue = Sender(kind, random.Random(3))
    decoder = decoder_of(kind, EventBuffer(4096))
    books = AppliedBooks(2)

    def turned(value: Any) -> Any:
        if isinstance(value, dict):
            return {key: turned(value[key]) for key in reversed(value)}
        return [turned(each) for each in value] if isinstance(value, list) else value

    for sent in [venue.snapshot(0), *(venue.change(0) for _ in range(20))]:
        decoder.message(json.dumps(turned(json.loads(sent.data))).encode(), 0)
        books.drain(decoder.buffer)
        assert books[0].levels() == (sent.bids, sent.asks)


# Deribit.


def deribit_trade(**changes: Any) -> dict[str, Any]:
    trade = {"trade_seq": 9, "timestamp": 1_700_000_000_123, "price": 100.5, "instrument_name": BTC}
    return trade | {"direction": "sell", "amount": 2.0, "trade_id": "x9", "index_price": 1.0} | changes


def test_deribit_trades_of_one_message_end_with_one_last():
    decoder = made("deribit")
    data = [deribit_trade(), deribit_trade(trade_seq=10, direction="buy")]
    decoder.message(deribit(f"trades.{BTC}.raw", data), 5)
    events = drained(decoder)
    assert [(e.kind, e.side, e.flags) for e in events] == [
        (EventKindCode.TRADE, SideCode.ASK, 0),
        (EventKindCode.TRADE, SideCode.BID, LAST),
    ]
    assert (events[0].price_ticks, events[0].size_lots, events[0].aux) == (201, 20, 9)
    assert events[0].exchange_ns == 1_700_000_000_123_000_000


def test_deribit_block_trades_hit_no_order_of_the_book():
    decoder = made("deribit")
    decoder.message(deribit(f"trades.{BTC}.raw", [deribit_trade(block_trade_id="1")]), 5)
    assert (drained(decoder), decoder.ignored) == ([], 1)


def test_deribit_a_number_that_is_null_is_not_known():
    decoder = made("deribit")
    data = {
        "timestamp": 5,
        "instrument_name": BTC,
        "mark_price": 1e-06,
        "mark_iv": None,
        "funding_8h": -2.5e-5,
    }
    decoder.message(deribit(f"ticker.{BTC}.100ms", data), 5)
    (ticker,) = decoder.take_tickers()
    assert (ticker.instrument, ticker.mark_price, ticker.mark_iv, ticker.funding) == (3, 1e-06, None, -2.5e-5)
    assert ticker.delta is None
    assert [(e.kind, e.aux, e.flags) for e in drained(decoder)] == [
        (EventKindCode.STATUS, StatusKind.HEARTBEAT, LAST)
    ]
    assert decoder.take_tickers() == []


def test_deribit_a_closed_market_is_halted_until_it_is_open_again():
    decoder = made("deribit")
    told = []
    for at, state in enumerate(["open", "closed", "closed", None, "open", "open"]):
        data = {"timestamp": 100 + at, "instrument_name": BTC} | ({"state": state} if state else {})
        decoder.message(deribit(f"ticker.{BTC}.100ms", data), 5)
        told += [StatusKind(event.aux) for event in drained(decoder)]
    heartbeat = StatusKind.HEARTBEAT
    assert told == [heartbeat, StatusKind.CLOSED, heartbeat, heartbeat, StatusKind.TRADING, heartbeat]


def test_deribit_an_older_ticker_changes_nothing():
    decoder = made("deribit")
    for at, mark in ((9, 1.0), (5, 2.0)):
        decoder.message(
            deribit(f"ticker.{BTC}.raw", {"timestamp": at, "instrument_name": BTC, "mark_price": mark}), 5
        )
    assert [ticker.mark_price for ticker in decoder.take_tickers()] == [1.0]


def test_deribit_heartbeats_that_want_an_answer_are_counted():
    decoder = made("deribit")
    for kind in ("heartbeat", "test_request"):
        body = {"jsonrpc": "2.0", "method": "heartbeat", "params": {"type": kind}}
        decoder.message(json.dumps(body).encode(), 5)
    assert (decoder.heartbeats, decoder.test_requests) == (2, 1)
    assert [(e.kind, e.aux) for e in drained(decoder)] == [(EventKindCode.STATUS, StatusKind.HEARTBEAT)] * 2


def test_deribit_replies_are_handed_out_once_and_errors_kept():
    decoder = made("deribit")
    reply = b'{"jsonrpc":"2.0","id":4,"error":{"code":-32601,"message":"Method not found"}}'
    decoder.message(reply, 5)
    assert (decoder.take_reply(), decoder.take_reply()) == (reply, None)
    assert decoder.errors == 1
    assert "Method not found" in decoder.last_error


@pytest.mark.parametrize(
    "channel", [f"book.{BTC}.none.20.100ms", "book.ETH.raw", "deribit_price_index.btc_usd"]
)
def test_deribit_other_channels_are_passed_over(channel):
    decoder = made("deribit")
    decoder.message(deribit(channel, {"whatever": [1, 2]}), 5)
    assert (decoder.ignored, drained(decoder)) == (1, [])


@pytest.mark.parametrize("quotes", [False, True])
def test_deribit_quotes_are_events_only_where_there_is_no_book(quotes):
    decoder = made("deribit", quotes=quotes)
    data = {"timestamp": 17, "instrument_name": BTC, "best_bid_price": 100.5, "best_bid_amount": 2.0}
    decoder.message(deribit(f"quote.{BTC}", data | {"best_ask_price": None, "best_ask_amount": 0.0}), 5)
    events = drained(decoder)
    if not quotes:
        assert events == []
        return
    (event,) = events
    assert (event.kind, event.price_ticks, event.size_lots) == (EventKindCode.QUOTE, 201, 20)
    assert (event.order_id, event.aux, event.exchange_ns) == (0, 0, 17_000_000)


INSTRUMENT = {
    "instrument_name": "BTC-1JAN27-9-C",
    "kind": "option",
    "tick_size": 0.0001,
    "tick_size_steps": [{"above_price": 0.005, "tick_size": 0.0005}],
    "min_trade_amount": 0.1,
    "contract_size": 1,
}


def test_deribit_instruments_carry_their_steps_exactly():
    (read,) = read_instruments(json.dumps({"result": [INSTRUMENT]}).encode())
    assert read == read_instrument(json.dumps({"result": INSTRUMENT}).encode())
    assert read.tick_steps == ((Decimal("0.005"), Decimal("0.0005")),)
    assert list(read.faults(Decimal("0.0001"), Decimal("0.1"))) == []


@pytest.mark.parametrize(
    ("tick", "lot", "mend"),
    [("0.0005", "0.1", "set 0.0001"), ("0.0001", "1", "set 0.1"), ("0.0003", "0.1", "set 0.0001")],
)
def test_a_grid_too_coarse_for_a_deribit_instrument_is_named_with_its_mend(tick, lot, mend):
    read = read_instrument(json.dumps({"result": INSTRUMENT}).encode())
    (fault,) = read.faults(Decimal(tick), Decimal(lot))
    assert fault.endswith(mend)


@pytest.mark.parametrize(
    "change", [{"tick_size": 0}, {"min_trade_amount": "x"}, {"kind": None, "contract_size": None}]
)
def test_a_deribit_instrument_that_makes_no_sense_is_refused(change):
    with pytest.raises(DecodeError):
        read_instrument(json.dumps({"result": INSTRUMENT | change}).encode())


# Coinbase.


def coinbase(sequence: int, channel: str, events: list[Any], second: int = 0) -> bytes:
    stamp = f"2026-08-09T21:05:{second:02d}.000000001Z"
    head = {"channel": channel, "timestamp": stamp, "sequence_num": sequence}
    return json.dumps(head | {"events": events}).encode()


def entry(kind: str, product: str, *levels: tuple[str, str, str]) -> dict[str, Any]:
    time = "2026-08-09T21:05:48.170326Z"
    updates = [
        {"side": side, "event_time": time, "price_level": price, "new_quantity": size}
        for side, price, size in levels
    ]
    return {"type": kind, "product_id": product, "updates": updates}


def test_coinbase_a_hole_in_the_numbers_of_any_channel_distrusts_every_book():
    decoder = decoder_of("coinbase", EventBuffer(4096))
    snapshots = [entry("snapshot", symbol, ("bid", "50", "1")) for symbol in SYMBOLS]
    decoder.message(coinbase(0, "l2_data", snapshots), 0)
    drained(decoder)
    decoder.message(coinbase(2, "heartbeats", [{"heartbeat_counter": 3}]), 0)
    events = drained(decoder)
    assert [(e.kind, e.instrument) for e in events[:2]] == [
        (EventKindCode.CLEAR, 0),
        (EventKindCode.CLEAR, 1),
    ]
    assert [e.kind for e in events[2:]] == [EventKindCode.STATUS] * 2
    assert decoder.wants_snapshot() == ["AAA", "BBB"]


def test_coinbase_entries_of_one_product_are_one_change():
    """Between the two the book would stand crossed."""
    decoder = decoder_of("coinbase", EventBuffer(4096))
    decoder.message(coinbase(0, "l2_data", [entry("snapshot", "AAA", ("bid", "50", "1"))]), 0)
    drained(decoder)
    entries = [entry("update", "AAA", ("offer", "49.5", "1")), entry("update", "AAA", ("bid", "50", "0"))]
    decoder.message(coinbase(1, "l2_data", [*entries, entry("update", "BBB", ("bid", "1", "1"))]), 0)
    assert [(e.side, e.flags) for e in drained(decoder)] == [(SideCode.ASK, 0), (SideCode.BID, LAST)]


def test_coinbase_a_fault_in_a_later_entry_takes_the_earlier_ones_back():
    decoder = decoder_of("coinbase", EventBuffer(4096))
    snapshots = [entry("snapshot", symbol, ("bid", "50", "1")) for symbol in SYMBOLS]
    decoder.message(coinbase(0, "l2_data", snapshots), 0)
    drained(decoder)
    entries = [entry("update", "AAA", ("bid", "49", "1")), entry("update", "BBB", ("bid", "49.3", "1"))]
    with pytest.raises(DecodeError, match="BBB"):
        decoder.message(coinbase(1, "l2_data", entries), 0)
    assert sorted((e.kind, e.instrument) for e in drained(decoder)) == [
        (EventKindCode.CLEAR, 0),
        (EventKindCode.CLEAR, 1),
    ]
    decoder.message(coinbase(2, "heartbeats", []), 0)
    assert decoder.sequence_gaps == 0


def test_coinbase_a_trade_names_the_maker_and_the_event_the_taker():
    decoder = decoder_of("coinbase", EventBuffer(4096))
    trade = {"product_id": "AAA", "trade_id": "7", "price": "50.5", "size": "0.75", "side": "BUY"}
    trade |= {"time": "2024-02-29T00:00:00.5Z"}
    decoder.message(coinbase(0, "market_trades", [{"type": "update", "trades": [trade]}]), 0)
    (event,) = drained(decoder)
    assert (event.side, event.price_ticks, event.size_lots, event.aux) == (SideCode.ASK, 101, 3, 7)
    assert event.exchange_ns == 1_709_164_800_500_000_000


def test_coinbase_trades_of_a_snapshot_lie_in_the_past():
    decoder = decoder_of("coinbase", EventBuffer(4096))
    trade = {"product_id": "AAA", "trade_id": "7", "price": "50.5", "size": "0.75", "side": "BUY"}
    trade |= {"time": "2024-02-29T00:00:00.5Z"}
    decoder.message(coinbase(0, "market_trades", [{"type": "snapshot", "trades": [trade]}]), 0)
    assert drained(decoder) == []


@pytest.mark.parametrize(
    ("text", "ns"),
    [
        ("1970-01-01T00:00:00Z", 0),
        ("2000-02-29T23:59:59.999999999Z", 951_868_799_999_999_999),
        ("2100-03-01T00:00:00.1Z", 4_107_542_400_100_000_000),
        ("2026-08-09T21:05:48.228568804Z", 1_786_309_548_228_568_804),
    ],
)
def test_coinbase_times_are_exact(text, ns):
    decoder = decoder_of("coinbase", EventBuffer(4096))
    body = entry("snapshot", "AAA", ("bid", "50", "1"))
    body["updates"][0]["event_time"] = text
    decoder.message(coinbase(0, "l2_data", [body]), 0)
    # Time 0 is none at all: the message's own counts.
    assert drained(decoder)[0].exchange_ns == (ns or 1_786_309_500_000_000_001)


def test_coinbase_an_error_is_kept():
    decoder = made("coinbase")
    decoder.message(b'{"type":"error","message":"rate limit exceeded"}', 0)
    assert (decoder.errors, decoder.replies) == (1, 1)
    assert "rate limit" in decoder.last_error


# OKX.


def okx(action: str, ids: tuple[int, int], bids: dict[int, int], *, checksum: int = 0, ts: int = 17) -> bytes:
    levels = [[str(ticks), str(lots), "0", "1"] for ticks, lots in bids.items()]
    book = {
        "asks": [],
        "bids": levels,
        "ts": str(ts),
        "checksum": checksum,
        "prevSeqId": ids[0],
        "seqId": ids[1],
    }
    return json.dumps({"arg": {"channel": "books", "instId": BTC}, "action": action, "data": [book]}).encode()


def test_okx_numbers_may_step_back_and_still_continue():
    """Maintenance: seqId below prevSeqId."""
    decoder = made("okx", "1", "1")
    for message in (
        okx("snapshot", (-1, 100), {5: 1}, ts=17),
        okx("update", (100, 3), {6: 1}, ts=18),
        okx("update", (3, 4), {7: 1}, ts=19),
    ):
        decoder.message(message, 0)
    assert decoder.state(BTC) is SyncState.SYNCED
    assert decoder.stats(BTC).update_id == 4


def test_okx_a_checksum_of_zero_is_none_where_messages_are_numbered():
    decoder = made("okx", "1", "1")
    decoder.message(okx("snapshot", (-1, 100), {5: 1}), 0)
    decoder.message(okx("update", (100, 101), {6: 1}, checksum=12345), 0)  # this connection has none
    assert decoder.stats(BTC).mismatches == 0


def test_okx_the_checksum_covers_25_levels_a_side_and_no_more():
    bids = {ticks: ticks for ticks in range(1, 41)}
    decoder = decoder_of("okx-checksum", EventBuffer(4096))
    venue = Sender("okx-checksum", random.Random(1))
    body = json.loads(venue.snapshot(0).data)
    (book,) = body["data"]
    book["bids"] = [[str(ticks / 2), str(lots / 4), "0", "1"] for ticks, lots in bids.items()]
    book["asks"] = []
    best = sorted(bids.items(), reverse=True)[:25]
    text = ":".join(f"{ticks / 2}:{lots / 4}" for ticks, lots in best)
    value = zlib.crc32(text.encode())
    book["checksum"] = value - 2**32 if value >= 2**31 else value
    decoder.message(json.dumps(body).encode(), 0)
    assert decoder.state("AAA") is SyncState.SYNCED
    assert okx_checksum({1: 1}, {}) != book["checksum"]


def test_okx_an_old_capture_without_numbers_needs_its_checksum():
    decoder = made("okx", "1", "1")
    body = json.loads(okx("snapshot", (-1, 1), {5: 1}))
    for key in ("seqId", "prevSeqId"):
        del body["data"][0][key]
    decoder.message(json.dumps(body).encode(), 0)  # a checksum of 0 that does not hold
    assert decoder.stats(BTC).mismatches == 1
    del body["data"][0]["checksum"]
    with pytest.raises(DecodeError, match="seqId or checksum"):
        decoder.message(json.dumps(body).encode(), 0)


def test_okx_trades_name_the_taker():
    decoder = made("okx")
    trade = {"instId": BTC, "tradeId": "9", "px": "50.5", "sz": "0.3", "side": "sell", "ts": "17"}
    body = {"arg": {"channel": "trades", "instId": BTC}, "data": [trade, trade | {"side": "buy"}]}
    decoder.message(json.dumps(body).encode(), 0)
    assert [(e.side, e.flags) for e in drained(decoder)] == [(SideCode.ASK, 0), (SideCode.BID, LAST)]


@pytest.mark.parametrize("quotes", [False, True])
def test_okx_best_prices_are_events_only_where_there_is_no_book(quotes):
    decoder = made("okx", quotes=quotes)
    data = {"asks": [["50.5", "0.3", "0", "1"]], "bids": [["50", "0.1", "0", "1"]], "ts": "17", "seqId": 4}
    decoder.message(json.dumps({"arg": {"channel": "bbo-tbt", "instId": BTC}, "data": [data]}).encode(), 0)
    events = drained(decoder)
    assert [(e.price_ticks, e.size_lots, e.order_id, e.aux, e.sequence) for e in events] == (
        [(100, 1, 101, 3, 4)] if quotes else []
    )


def test_okx_pong_and_notices():
    decoder = made("okx")
    decoder.message(b"pong", 0)
    decoder.message(b'{"event":"notice","code":"64008","msg":"The connection will soon be closed"}', 0)
    assert (decoder.heartbeats, decoder.errors) == (1, 1)
    assert [(e.kind, e.aux) for e in drained(decoder)] == [(EventKindCode.STATUS, StatusKind.HEARTBEAT)]
