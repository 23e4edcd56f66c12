"""Mutated messages of Deribit, Coinbase and OKX: DecodeError or plain events, never a crash, nothing half applied."""

import json
import random
import time
from decimal import Decimal
from typing import Any

import pytest

from quotelife.errors import DecodeError
from quotelife.feed.coinbase import CoinbaseDecoder
from quotelife.feed.deribit import DeribitDecoder
from quotelife.feed.okx import OkxDecoder
from quotelife.feed.symbol_feed import SyncState
from quotelife.records import EventBuffer, EventKindCode
from reference.event_books import AppliedBooks
from reference.streamed_wire import Sender

VENUES = ("deribit", "coinbase", "okx", "okx-checksum")
ALPHABET = b'{}[]",:\\0123456789.-+eEbdnaks_ \x00\xff\nTZ'
KINDS = {int(kind) for kind in EventKindCode}
TIME = "2026-08-09T21:05:48.228568804Z"


def others(venue: str) -> list[bytes]:
    """Messages that are not about levels."""
    bodies: list[dict[str, Any]]
    if venue == "deribit":
        trade = {"trade_seq": 3, "trade_id": "9", "timestamp": 1_700_000_000_000, "price": 50.5}
        trade |= {"instrument_name": "AAA", "direction": "buy", "amount": 2.5}
        ticker = {
            "timestamp": 1_700_000_000_001,
            "mark_price": 50.1,
            "mark_iv": 61.2,
            "instrument_name": "AAA",
        }
        ticker |= {"greeks": {"delta": -0.5, "gamma": 1e-05, "vega": 2.0, "theta": -3.25}, "funding_8h": None}
        quote = {"timestamp": 1_700_000_000_002, "instrument_name": "AAA", "best_bid_price": 50.0}
        quote |= {"best_bid_amount": 1.25, "best_ask_price": 50.5, "best_ask_amount": 1.0}
        data = {"trades.AAA.raw": [trade, trade], "ticker.AAA.raw": ticker, "quote.AAA": quote}
        bodies = [
            {"jsonrpc": "2.0", "method": "subscription", "params": {"channel": channel, "data": body}}
            for channel, body in data.items()
        ]
        bodies += [
            {"jsonrpc": "2.0", "method": "heartbeat", "params": {"type": "test_request"}},
            {"jsonrpc": "2.0", "id": 7, "result": ["book.AAA.raw"]},
        ]
    elif venue == "coinbase":
        trade = {"product_id": "AAA", "trade_id": "12", "price": "50.5", "size": "0.25", "time": TIME}
        events = [{"type": "update", "trades": [trade | {"side": "BUY"}, trade | {"side": "SELL"}]}]
        head = {"timestamp": TIME, "sequence_num": 9}
        bodies = [
            {"channel": "market_trades"} | head | {"events": events},
            {"channel": "heartbeats"} | head | {"events": [{"heartbeat_counter": 3}]},
            {"channel": "subscriptions"} | head | {"events": [{"subscriptions": {"level2": ["AAA"]}}]},
            {"type": "error", "message": "no"},
        ]
    else:
        trade = {"instId": "AAA", "tradeId": "9", "px": "50.5", "sz": "0.25", "side": "sell", "ts": "17"}
        quote = {"asks": [["50.5", "1", "0", "3"]], "bids": [["50", "2", "0", "1"]], "ts": "17", "seqId": 5}
        bodies = [
            {"arg": {"channel": "trades", "instId": "AAA"}, "data": [trade, trade]},
            {"arg": {"channel": "bbo-tbt", "instId": "AAA"}, "data": [quote]},
            {"event": "subscribe", "arg": {"channel": "books", "instId": "AAA"}},
            {"event": "error", "code": "60012", "msg": "no"},
        ]
    return [json.dumps(body).encode() for body in bodies]


def mutate(rng: random.Random, data: bytes, pool: list[bytes]) -> bytes:
    out = bytearray(data)
    for _ in range(rng.choice((1, 1, 1, 2, 4, 8))):
        at = rng.randrange(len(out) + 1)
        match rng.randrange(6):
            case 0 if at < len(out):
                out[at] = rng.choice(ALPHABET)
            case 1:
                out[at:at] = bytes([rng.choice(ALPHABET)])
            case 2:
                del out[at : at + rng.randrange(1, 6)]
            case 3:
                out[at:at] = out[at : at + rng.randrange(1, 40)]
            case 4:
                del out[at:]
            case _:
                other = rng.choice(pool)
                out[at:] = other[rng.randrange(len(other)) :]
    return bytes(out)


def fuzz(venue: str, seed: int, seconds: float) -> int:
    rng = random.Random(seed)
    buffer = EventBuffer(512)
    quotes = bool(seed & 1)
    decoder = {
        "deribit": lambda: DeribitDecoder(buffer, quotes=quotes),
        "coinbase": lambda: CoinbaseDecoder(buffer),
    }.get(venue, lambda: OkxDecoder(buffer, quotes=quotes))()
    symbols = ("AAA", "BBB")
    for index, symbol in enumerate(symbols):
        decoder.add_instrument(symbol, index, Decimal("0.5"), Decimal("0.25"))
    books = AppliedBooks(2)
    refused = done = 0
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        decoder.disconnected(0)
        decoder.connected(0)
        books.drain(buffer)
        sender = Sender(venue, rng)
        for symbol in (0, 1):
            decoder.message(sender.snapshot(symbol).data, 1)
            books.drain(buffer)
            assert books[symbol].whole
        pool = [*others(venue), sender.change(0).data, sender.change(1).data, sender.snapshot(0).data]
        for _ in range(8):
            data = mutate(rng, rng.choice(pool), pool)
            try:
                decoder.message(data, 5)
            except DecodeError as error:
                refused += 1
                assert str(error)
                assert 1 <= len(buffer) <= 4  # Coinbase: a gap and a fault in one message
            events = books.drain(buffer)
            done += 1
            if events:
                assert events[-1].flags & 1, data
            for event in events:
                assert event.kind in KINDS
                assert min(event.size_lots, event.aux, event.price_ticks, event.order_id) >= 0
            for index, symbol in enumerate(symbols):
                synced = decoder.state(symbol) is SyncState.SYNCED
                assert books[index].whole == synced, data
                assert not books[index].open
        if venue == "deribit":
            decoder.take_tickers()  # type: ignore[attr-defined]
        decoder.wants_snapshot()
    assert refused > done // 10
    return done


@pytest.mark.parametrize("venue", VENUES)
@pytest.mark.parametrize("seed", [1, 2])
def test_mutated_messages_never_break_the_decoder(venue: str, seed: int):
    assert fuzz(venue, seed, seconds=0.6) > 300


@pytest.mark.slow
@pytest.mark.parametrize("venue", VENUES)
def test_mutated_messages_never_break_the_decoder_for_long(venue: str):
    fuzz(venue, seed=random.SystemRandom().randrange(2**32), seconds=120.0)
