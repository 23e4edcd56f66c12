"""Venue updates as Binance's JSON, byte for byte in its style: decimal strings, millisecond stamps.

Three dialects: ``spot`` (bookTicker without event name and times), ``usdm`` (depth with ``pu``, times
everywhere) and ``coinm`` (as usdm, with the pair in ``ps``). Numbers are written from integers: exact.
"""

from __future__ import annotations

import json
from decimal import Decimal
from typing import TYPE_CHECKING

from quotelife.sim.updates import (
    BookSnapshot,
    DepthUpdate,
    Level,
    NewsItem,
    TopUpdate,
    TradeUpdate,
    VenueUpdate,
)
from quotelife.units import NS_PER_MS

if TYPE_CHECKING:
    from quotelife.sim.market import MarketConfig

NEWS_STREAM = "!news"


class DecimalWriter:
    """Writes ``units × step`` as a decimal string with a fixed number of places."""

    def __init__(self, step: Decimal, places: int) -> None:
        scaled = step.scaleb(places)
        if scaled != scaled.to_integral_value() or scaled <= 0:
            raise ValueError(f"{step} cannot be written with {places} decimal places")
        self._step = int(scaled)
        self._unit = 10**places
        self._places = places

    def __call__(self, units: int) -> str:
        value = units * self._step
        if not self._places:
            return str(value)
        return f"{value // self._unit}.{value % self._unit:0{self._places}d}"


def decimal_places(step: Decimal) -> int:
    """Places that ``step`` needs: 0.10 → 1, 5 → 0."""
    exponent = step.normalize().as_tuple().exponent
    return max(0, -exponent) if isinstance(exponent, int) else 0


class WireSymbol:
    """One symbol's names, number formats and stream names."""

    def __init__(self, symbol: str, price: DecimalWriter, quantity: DecimalWriter, depth_stream: str) -> None:
        self.symbol = symbol
        self.price = price
        self.quantity = quantity
        self.pair = symbol.partition("_")[0]
        lower = symbol.lower()
        self.depth = f"{lower}@{depth_stream}"
        self.ticker = f"{lower}@bookTicker"
        self.trade = f"{lower}@trade"

    def levels(self, levels: tuple[Level, ...]) -> str:
        price = self.price
        quantity = self.quantity
        return ",".join([f'["{price(ticks)}","{quantity(lots)}"]' for ticks, lots in levels])


class BinanceWire:
    """Renders one venue's updates as raw payloads; ``combined`` wraps one for a combined stream."""

    def __init__(self, config: MarketConfig) -> None:
        self.market = config.market
        depth_stream = f"depth@{config.depth_interval_ns // NS_PER_MS}ms"
        # Spot pads every number to eight places; futures write at least two for prices.
        self.symbols: list[WireSymbol] = []
        for symbol in config.symbols:
            price_places = 8 if self._spot else max(2, decimal_places(symbol.tick_size))
            quantity_places = 8 if self._spot else decimal_places(symbol.lot_size)
            price = DecimalWriter(symbol.tick_size, price_places)
            quantity = DecimalWriter(symbol.lot_size, quantity_places)
            self.symbols.append(WireSymbol(symbol.symbol, price, quantity, depth_stream))

    @property
    def _spot(self) -> bool:
        return self.market == "spot"

    def stream_of(self, update: VenueUpdate) -> str:
        """Name of the stream that carries an update, such as ``btcusdt@bookTicker``."""
        symbol = self.symbols[update.symbol]
        if type(update) is TopUpdate:
            return symbol.ticker
        return symbol.trade if type(update) is TradeUpdate else symbol.depth

    def encode(self, update: VenueUpdate) -> bytes:
        """The JSON payload of one update."""
        symbol = self.symbols[update.symbol]
        if isinstance(update, TopUpdate):
            return self._ticker(symbol, update)
        if isinstance(update, TradeUpdate):
            return self._trade(symbol, update)
        return self._depth(symbol, update)

    @staticmethod
    def combined(stream: str, payload: bytes) -> bytes:
        """The payload as a combined stream carries it."""
        return b'{"stream":"%b","data":%b}' % (stream.encode(), payload)

    def snapshot(self, book: BookSnapshot) -> bytes:
        """Answer of the REST depth request."""
        symbol = self.symbols[book.symbol]
        ms = book.time_ns // NS_PER_MS
        times = "" if self._spot else f'"E":{ms},"T":{ms},'
        return (
            f'{{"lastUpdateId":{book.last_update_id},{times}"bids":[{symbol.levels(book.bids)}],'
            f'"asks":[{symbol.levels(book.asks)}]}}'
        ).encode()

    def news(self, item: NewsItem) -> bytes:
        """A headline. Not Binance's: the payload of the simulated venue's own ``!news`` stream."""
        name = "null" if item.symbol is None else f'"{self.symbols[item.symbol].symbol}"'
        ms = item.time_ns // NS_PER_MS
        headline = json.dumps(item.headline)
        return f'{{"e":"news","E":{ms},"s":{name},"score":{item.score!r},"headline":{headline}}}'.encode()

    def _ticker(self, symbol: WireSymbol, update: TopUpdate) -> bytes:
        price = symbol.price
        quantity = symbol.quantity
        body = (
            f'"u":{update.update_id},"s":"{symbol.symbol}",'
            f'"b":"{price(update.bid_ticks)}","B":"{quantity(update.bid_lots)}",'
            f'"a":"{price(update.ask_ticks)}","A":"{quantity(update.ask_lots)}"'
        )
        if self._spot:
            return f"{{{body}}}".encode()
        ms = update.time_ns // NS_PER_MS
        pair = f'"ps":"{symbol.pair}",' if self.market == "coinm" else ""
        return f'{{"e":"bookTicker",{pair}{body},"T":{ms},"E":{ms}}}'.encode()

    def _trade(self, symbol: WireSymbol, update: TradeUpdate) -> bytes:
        ms = update.time_ns // NS_PER_MS
        maker = "true" if update.seller_is_aggressor else "false"
        name = symbol.symbol
        price = symbol.price(update.price_ticks)
        what = f'"t":{update.trade_id},"p":"{price}","q":"{symbol.quantity(update.lots)}"'
        if self._spot:
            return f'{{"e":"trade","E":{ms},"s":"{name}",{what},"T":{ms},"m":{maker},"M":true}}'.encode()
        return f'{{"e":"trade","E":{ms},"T":{ms},"s":"{name}",{what},"X":"MARKET","m":{maker}}}'.encode()

    def _depth(self, symbol: WireSymbol, update: DepthUpdate) -> bytes:
        sent_ms = update.time_ns // NS_PER_MS
        levels = f'"b":[{symbol.levels(update.bids)}],"a":[{symbol.levels(update.asks)}]'
        ids = f'"U":{update.first_id},"u":{update.last_id}'
        if self._spot:
            return f'{{"e":"depthUpdate","E":{sent_ms},"s":"{symbol.symbol}",{ids},{levels}}}'.encode()
        pair = f'"ps":"{symbol.pair}",' if self.market == "coinm" else ""
        changed_ms = update.changed_ns // NS_PER_MS
        return (
            f'{{"e":"depthUpdate","E":{sent_ms},"T":{changed_ms},"s":"{symbol.symbol}",{pair}{ids},'
            f'"pu":{update.previous_id},{levels}}}'
        ).encode()
