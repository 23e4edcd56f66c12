"""Mutated messages: DecodeError or plain events, never a crash, never a half-applied message."""

import json
import random
import time
from decimal import Decimal

import pytest

from quotelife.errors import DecodeError
from quotelife.feed.binance import BinanceDecoder
from quotelife.feed.symbol_feed import SyncState
from quotelife.records import EventBuffer, EventKindCode
from reference.event_books import AppliedBooks

SYMBOLS = {"spot": "BTCUSDT", "usdm": "BTCUSDT", "coinm": "BTCUSD_PERP"}
ALPHABET = b'{}[]",:\\0123456789.-+eEUubBaApqtmTs \x00\xff\n'
KINDS = {int(kind) for kind in EventKindCode}


def samples(market: str) -> list[bytes]:
    symbol = SYMBOLS[market]
    futures = {} if market == "spot" else {"T": 1_700_000_000_000, "pu": 20}
    depth = {"e": "depthUpdate", "E": 1_700_000_000_001, "s": symbol, "U": 21, "u": 22} | futures
    depth |= {
        "b": [["100.10", "1.000"], ["100.00", "0.000"]],
        "a": [["101.00", "2.500"], ["101.10", "3.001"]],
    }
    quote = {"u": 25, "s": symbol, "b": "100.10", "B": "1.000", "a": "101.00", "A": "2.500"}
    trade = {"e": "trade", "E": 3, "s": symbol, "t": 9, "p": "100.10", "q": "0.004", "T": 2, "m": True}
    bodies = [depth, quote, trade, trade | {"e": "aggTrade", "a": 8}, {"result": None, "id": 1}]
    bare = [json.dumps(body).encode() for body in bodies]
    return bare + [b'{"stream":"x@y","data":' + body + b"}" for body in bare]


def mutate(rng: random.Random, data: bytes, others: list[bytes]) -> bytes:
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
                other = rng.choice(others)
                cut = rng.randrange(len(other))
                out[at:] = other[cut:]
    return bytes(out)


def fuzz(market: str, seed: int, seconds: float) -> int:
    rng = random.Random(seed)
    symbol = SYMBOLS[market]
    bodies = samples(market)
    snapshot = b'{"lastUpdateId":20,"bids":[["99.00","1.000"]],"asks":[["102.00","1.000"]]}'
    base = json.loads(bodies[0]) | {"U": 20, "u": 20, "pu": 19, "E": 1}
    buffer = EventBuffer(512)
    decoder = BinanceDecoder(market, buffer, pending_bytes_max=4096)
    decoder.add_instrument(symbol, 0, Decimal("0.10"), Decimal("0.001"))
    decoder.add_instrument("OTHER", 1, Decimal("1"), Decimal("1"))
    books = AppliedBooks(2)
    refused = done = 0
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        decoder.disconnected(0)
        decoder.message(json.dumps(base | {"b": [], "a": []}).encode(), 0)
        answer = mutate(rng, snapshot, bodies) if rng.random() < 0.2 else snapshot
        try:
            decoder.snapshot(symbol, answer, 0)
        except DecodeError:
            assert decoder.state(symbol) is not SyncState.SYNCED
        books.drain(buffer)
        for _ in range(8):
            data = mutate(rng, rng.choice(bodies), bodies)
            was_synced = decoder.state(symbol) is SyncState.SYNCED
            try:
                decoder.message(data, 5)
            except DecodeError as error:
                refused += 1
                assert str(error)
                assert len(buffer) in (1, 2)
                if was_synced and len(buffer) == 2:
                    assert decoder.state(symbol) is SyncState.WAITING
            events = books.drain(buffer)
            done += 1
            if events:
                assert events[-1].flags & 1, data
            for event in events:
                assert event.kind in KINDS
                assert event.size_lots >= 0
                assert event.aux >= 0
                assert event.price_ticks >= 0
            assert books[0].whole == (decoder.state(symbol) is SyncState.SYNCED), data
            assert not books[0].open
    assert refused > done // 10
    return done


@pytest.mark.parametrize("market", list(SYMBOLS))
def test_mutated_messages_never_break_the_decoder(market):
    assert fuzz(market, seed=1, seconds=1.0) > 500


@pytest.mark.slow
@pytest.mark.parametrize("market", list(SYMBOLS))
def test_mutated_messages_never_break_the_decoder_for_long(market):
    fuzz(market, seed=random.SystemRandom().randrange(2**32), seconds=60.0)
