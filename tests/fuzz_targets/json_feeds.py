"""The venues that speak JSON: Binance (spot, usdm, coinm), Deribit, Coinbase, OKX.

An input is messages, one a line, that follow a snapshot. In them ``#`` stands for the number that would continue the
book and ``@`` for the one it stands at, so that an input can follow a chain that it does not know.
"""

import json
import random
from collections.abc import Callable, Iterable, Iterator
from decimal import Decimal

from fuzz_targets.kit import Bytes, Target, ended
from quotelife.errors import DecodeError
from quotelife.feed.binance import BinanceDecoder
from quotelife.feed.coinbase import CoinbaseDecoder
from quotelife.feed.deribit import DeribitDecoder
from quotelife.feed.okx import OkxDecoder
from quotelife.feed.symbol_feed import SyncState
from quotelife.feed.venue_decoder import VenueDecoder
from quotelife.records import EventBuffer
from reference.event_books import AppliedBooks
from reference.streamed_wire import Sender

STREAMED = ("AAA", "BBB")
BUFFER = 256
MARKETS = {"spot": "BTCUSDT", "usdm": "BTCUSDT", "coinm": "BTCUSD_PERP"}
START_NS = 1_700_000_000 * 10**9
SNAPSHOT = (
    b'{"lastUpdateId":20,"E":5,"T":5,"bids":[["99.00","1.000"]],"asks":[["102.00","1.500"],["103.00","2"]]}'
)
BINANCE_BOOK = ({990: 1000}, {1020: 1500, 1030: 2000})


class Watched:
    """A decoder and what its events say: both must agree on which book is whole."""

    def __init__(self, decoder: VenueDecoder, symbols: Iterable[str], tick: str, lot: str) -> None:
        self.decoder = decoder
        self.symbols = tuple(symbols)
        self.books = AppliedBooks(len(self.symbols))
        for index, symbol in enumerate(self.symbols):
            decoder.add_instrument(symbol, index, Decimal(tick), Decimal(lot))

    def see(self, data: bytes) -> None:
        events = ended(self.books.drain(self.decoder.buffer))
        for event in events:
            assert min(event.price_ticks, event.size_lots, event.order_id, event.aux) >= 0, data
        for index, symbol in enumerate(self.symbols):
            assert self.books[index].whole == (self.decoder.state(symbol) is SyncState.SYNCED), data
            assert not self.books[index].open, data

    def refusals(self) -> int:
        overflows = sum(self.decoder.stats(symbol).overflows for symbol in self.symbols)
        return self.decoder.malformed + self.decoder.off_grid + overflows

    def give(self, data: bytes, take: Callable[[bytes], int]) -> None:
        """One message, or its refusal, which is told and counted and leaves only what says so."""
        refusals, messages = self.refusals(), self.decoder.messages
        try:
            assert take(data) == len(self.decoder.buffer)
        except DecodeError as error:
            assert str(error)
            assert self.refusals() == refusals + 1, data
            assert len(self.decoder.buffer) <= 2 * len(self.symbols), data
        assert self.decoder.messages <= messages + 1
        self.see(data)

    def message(self, data: bytes) -> None:
        number = self.decoder.stats(self.symbols[0]).update_id
        if isinstance(self.decoder, CoinbaseDecoder):
            number = self.decoder.sequence
        data = data.replace(b"#", b"%d" % (number + 1)).replace(b"@", b"%d" % max(number, 0))
        self.give(data, lambda given: self.decoder.message(given, 5))

    def anew(self) -> None:
        """Another connection."""
        self.decoder.disconnected(0)
        self.decoder.connected(0)
        self.see(b"")


# --- Binance ---


def depth(market: str, first: int, last: int, previous: int) -> bytes:
    futures = {} if market == "spot" else {"T": 1, "pu": previous}
    body = (
        {"e": "depthUpdate", "E": 1, "s": MARKETS[market], "U": first, "u": last}
        | futures
        | {"b": [], "a": []}
    )
    return json.dumps(body).encode()


def binance(market: str) -> Target:
    symbol = MARKETS[market]

    def whole(watched: Watched, decoder: BinanceDecoder, answer: bytes) -> None:
        watched.anew()
        watched.give(depth(market, 20, 21, 19), lambda data: decoder.message(data, 1))
        watched.give(answer, lambda data: decoder.snapshot(symbol, data, 2))

    def run(data: bytes) -> None:
        source = Bytes(data)
        options = source.byte()
        decoder = BinanceDecoder(market, EventBuffer(BUFFER), pending_bytes_max=1024)
        watched = Watched(decoder, (symbol, "OTHER"), "0.10", "0.001")
        lines = source.rest().split(b"\n")
        whole(watched, decoder, lines.pop(0) if options & 1 else SNAPSHOT)
        for line in lines:
            if line == b"d":
                watched.anew()
            elif line[:1] == b"!":
                watched.give(line[1:], lambda given: decoder.snapshot(symbol, given, 3))
            else:
                watched.message(line)
            for wanted in decoder.wants_snapshot():
                if options & 2:
                    decoder.snapshot_failed(wanted)
        whole(watched, decoder, SNAPSHOT)
        assert decoder.state(symbol) is SyncState.SYNCED
        assert watched.books[0].levels() == BINANCE_BOOK

    def seeds() -> Iterator[bytes]:
        from quotelife.sim.binance_wire import BinanceWire
        from quotelife.sim.market import MarketConfig, MarketSimulator, SymbolConfig

        config = MarketConfig(
            symbols=(SymbolConfig(symbol, Decimal("0.10"), Decimal("0.001"), Decimal(300)),), market=market
        )
        simulator, wire = MarketSimulator(config, 1, START_NS), BinanceWire(config)
        told: dict[type, list[bytes]] = {}
        snapshot = wire.snapshot(simulator.snapshot(0, 3))
        for update in simulator.advance(START_NS + 2 * 10**9):
            told.setdefault(type(update), []).append(wire.encode(update))
        depths, tops, trades = (
            next(found for kind, found in told.items() if kind.__name__ == name)
            for name in ("DepthUpdate", "TopUpdate", "TradeUpdate")
        )
        mixed = min(depths, key=len), tops[0], trades[0], wire.combined("x@y", tops[1]), trades[1]
        yield b"\0" + b"\n".join(mixed)
        yield b"\1" + b"\n".join((snapshot, *sorted(depths, key=len)[:2], *tops[:2]))
        chained = depth(market, 0, 0, -1).replace(b'"U": 0', b'"U":#').replace(b'"u": 0', b'"u":#')
        chained = chained.replace(b'"pu": -1', b'"pu":@').replace(
            b'"b": []', b'"b":[["99.10","1.000"],["99","0"]]'
        )
        yield b"\0" + b"\n".join((chained, chained, b"!" + SNAPSHOT, b"d", chained))
        yield b"\2" + b"\n".join(
            (trades[0].replace(b'"trade"', b'"aggTrade"'), b'{"result":null,"id":1}', chained)
        )

    keys = (
        "e",
        "E",
        "T",
        "s",
        "U",
        "u",
        "pu",
        "b",
        "a",
        "B",
        "A",
        "p",
        "q",
        "t",
        "m",
        "stream",
        "data",
        "bids",
        "asks",
    )
    words = tuple(
        f'"{key}":'.encode() for key in (*keys, "lastUpdateId", "result", "id", "error", "code", "msg")
    )
    words += tuple(
        f'"{kind}"'.encode() for kind in ("depthUpdate", "trade", "aggTrade", "bookTicker", symbol, "OTHER")
    )
    return Target(
        run, seeds, (*words, b'["100.10","1.000"]', b'"#"', b"@", b"true", b"false", b"null", b"\\u0041")
    )


binance_spot, binance_usdm, binance_coinm = (binance(market) for market in MARKETS)


# --- snapshots on the stream ---


def streamed(wire: str, make: Callable[[EventBuffer, int], VenueDecoder], words: Iterable[str]) -> Target:
    """Two symbols, the first whole when the input begins; at its end a new connection makes it whole again."""

    def whole(watched: Watched) -> None:
        sender = Sender(wire, random.Random(1))
        watched.anew()
        for symbol in (0, 1):
            watched.give(sender.snapshot(symbol).data, lambda data: watched.decoder.message(data, 1))

    def run(data: bytes) -> None:
        source = Bytes(data)
        options = source.byte()
        decoder = make(EventBuffer(BUFFER), options)
        watched = Watched(decoder, STREAMED, "0.5", "0.25")
        whole(watched)
        for line in source.rest().split(b"\n"):
            if line == b"d":
                watched.anew()
            elif line == b"s":
                decoder.wants_snapshot()
            else:
                watched.message(line)
            if isinstance(decoder, DeribitDecoder):
                for ticker in decoder.take_tickers():
                    assert 0 <= ticker.instrument < len(STREAMED)
                    assert ticker.pairs() is not None
        whole(watched)
        for index, symbol in enumerate(STREAMED):
            assert decoder.state(symbol) is SyncState.SYNCED
            assert watched.books[index].levels() == ({100: 5}, {101: 5})

    def seeds() -> Iterator[bytes]:
        """What a venue sends of two books, and what the simulated one says beside them."""
        sender = Sender(wire, random.Random(2))
        yield b"\0" + b"\n".join(
            message.data for message in (sender.change(0), sender.change(1), sender.snapshot(0))
        )
        for options in (b"\0", b"\1"):
            yield options + b"\n".join(chained(wire))
            for message in (*beside(wire), *simulated(wire)):
                yield options + message

    return Target(run, seeds, tuple(words_of(words)))


def words_of(names: Iterable[str]) -> Iterator[bytes]:
    yield from (f'"{name}"'.encode() for name in names)
    yield from (f'"{name}":'.encode() for name in names)
    yield from (
        b"#",
        b"@",
        b"true",
        b"null",
        b'["50.5","1"]',
        b'[["new",50.5,1]]',
        b"\\u0041",
        b"1e-5",
        b"2026-08-09T21:05:48Z",
    )


def chained(wire: str) -> list[bytes]:
    """Three changes that continue whatever book there is."""
    sender = Sender(wire, random.Random(3))
    out = []
    for _ in range(3):
        body = json.loads(sender.change(0).data)
        if wire == "deribit":
            body["params"]["data"] |= {"change_id": "#", "prev_change_id": "@", "bids": [["new", 49.5, 1.0]]}
        elif wire == "coinbase":
            body["sequence_num"] = "#"
        else:
            body["data"][0] |= {
                "seqId": "#",
                "prevSeqId": "@",
                "bids": [["49.5", "1", "0", "1"]],
                "checksum": 0,
            }
        out.append(json.dumps(body).replace('"#"', "#").replace('"@"', "@").encode())
    return out


def beside(wire: str) -> list[bytes]:
    """What is no message about levels."""
    bodies: list[dict[str, object]]
    if wire == "deribit":
        quote = {"timestamp": 2, "instrument_name": "AAA", "best_bid_price": 50.0, "best_bid_amount": 1.25}
        quote |= {"best_ask_price": 50.5, "best_ask_amount": None}
        bodies = [
            {"method": "subscription", "params": {"channel": "quote.AAA", "data": quote}},
            {"jsonrpc": "2.0", "method": "heartbeat", "params": {"type": "test_request"}},
            {"jsonrpc": "2.0", "id": 7, "result": ["book.AAA.raw"]},
            {"jsonrpc": "2.0", "id": 8, "error": {"code": 1, "message": "no"}},
        ]
    elif wire == "coinbase":
        bodies = [
            {"channel": "heartbeats", "sequence_num": "#", "events": [{"heartbeat_counter": 3}]},
            {
                "channel": "subscriptions",
                "sequence_num": "#",
                "events": [{"subscriptions": {"level2": ["AAA"]}}],
            },
            {"type": "error", "message": "no"},
        ]
    else:
        quote = {"asks": [["50.5", "1", "0", "3"]], "bids": [["50", "2", "0", "1"]], "ts": "17", "seqId": 5}
        bodies = [
            {"arg": {"channel": "bbo-tbt", "instId": "AAA"}, "data": [quote]},
            {"event": "subscribe", "arg": {"channel": "books", "instId": "AAA"}},
            {"event": "error", "code": "60012", "msg": "no"},
        ]
    return [json.dumps(body).replace('"#"', "#").encode() for body in bodies]


def simulated(wire: str) -> Iterator[bytes]:
    """Trades, and Deribit's ticker, as the simulated venues write them."""
    from quotelife.sim.market import SymbolConfig
    from quotelife.sim.streamed_wires import CoinbaseWire, DeribitWire, OkxWire
    from quotelife.sim.updates import TradeUpdate

    symbol = SymbolConfig("AAA", Decimal("0.5"), Decimal("0.25"), Decimal(1000))
    trade = TradeUpdate(START_NS, 0, 9, 101, 3, seller_is_aggressor=True)
    if wire == "deribit":
        deribit_wire = DeribitWire(symbol, "raw")
        yield deribit_wire.trade(trade)
        greeks = {"delta": 0.5, "gamma": 0.001, "vega": 1.5, "theta": -1e-05}
        yield deribit_wire.ticker(START_NS, 50.25, greeks, 60.0, 50.0)
    else:
        yield (CoinbaseWire(symbol) if wire == "coinbase" else OkxWire(symbol)).trade(trade)


deribit = streamed(
    "deribit",
    lambda buffer, options: DeribitDecoder(buffer, quotes=bool(options & 1)),
    (
        "jsonrpc", "method", "subscription", "params", "channel", "data", "type", "snapshot", "change", "timestamp",
        "change_id", "prev_change_id", "instrument_name", "bids", "asks", "new", "delete", "trade_id", "trade_seq",
        "direction", "buy", "sell", "price", "amount", "mark_price", "mark_iv", "underlying_price", "greeks", "delta",
        "gamma", "vega", "theta", "current_funding", "funding_8h", "heartbeat", "test_request", "result", "error", "id",
        "best_bid_price", "best_bid_amount", "best_ask_price", "best_ask_amount", "book.AAA.raw", "trades.AAA.raw",
        "ticker.AAA.raw", "quote.AAA", "AAA", "BBB",
    ),
)  # fmt: skip
coinbase = streamed(
    "coinbase",
    lambda buffer, options: CoinbaseDecoder(buffer),
    (
        "channel", "l2_data", "market_trades", "heartbeats", "subscriptions", "timestamp", "sequence_num", "events",
        "type", "snapshot", "update", "product_id", "updates", "side", "bid", "offer", "event_time", "price_level",
        "new_quantity", "trades", "trade_id", "price", "size", "time", "BUY", "SELL", "error", "message", "AAA", "BBB",
    ),
)  # fmt: skip
okx = streamed(
    "okx",
    lambda buffer, options: OkxDecoder(buffer, quotes=bool(options & 1)),
    (
        "arg", "channel", "books", "books5", "bbo-tbt", "trades", "instId", "action", "snapshot", "update", "data",
        "asks", "bids", "ts", "checksum", "prevSeqId", "seqId", "px", "sz", "side", "buy", "sell", "tradeId", "event",
        "subscribe", "error", "code", "msg", "AAA", "BBB",
    ),
)  # fmt: skip
