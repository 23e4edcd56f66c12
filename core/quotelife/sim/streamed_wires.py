"""Venue updates as Deribit, Coinbase and OKX write them: venues that stream snapshots and changes.

Each wire renders one published book (``PublishedBook``) and its trades. Numbers are written from integers: exact.
Deribit writes JSON numbers, the others decimal strings; only Coinbase trims zeros.
"""

from __future__ import annotations

import zlib
from collections.abc import Iterable
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Protocol

from quotelife.sim.binance_wire import DecimalWriter, decimal_places
from quotelife.sim.updates import BookSnapshot, DepthUpdate, Level, TradeUpdate
from quotelife.units import NS_PER_MS, NS_PER_S

if TYPE_CHECKING:
    from quotelife.sim.market import SymbolConfig

CHECKED_LEVELS = 25


class PublishedBook:
    """What a venue's clients can know of one symbol: its book as of the last change that was published."""

    def __init__(self, start: BookSnapshot) -> None:
        self.bids = dict(start.bids)
        self.asks = dict(start.asks)
        self.id = start.last_update_id
        self.previous_id = self.id
        self.time_ns = start.time_ns

    def apply(self, update: DepthUpdate) -> None:
        for side, changes in ((self.bids, update.bids), (self.asks, update.asks)):
            for ticks, lots in changes:
                if lots:
                    side[ticks] = lots
                else:
                    side.pop(ticks, None)
        self.previous_id, self.id = self.id, update.last_id
        self.time_ns = update.time_ns

    def levels(self) -> tuple[tuple[Level, ...], tuple[Level, ...]]:
        """Bids and asks, best first."""
        return tuple(sorted(self.bids.items(), reverse=True)), tuple(sorted(self.asks.items()))


class StreamedWire(Protocol):
    """Renders the payloads of one symbol; what a connection numbers is put in by ``numbered``."""

    def snapshot(self, book: PublishedBook) -> bytes: ...
    def change(self, book: PublishedBook, update: DepthUpdate) -> bytes:
        """``update``, which ``book`` holds already."""
        ...

    def trade(self, trade: TradeUpdate) -> bytes: ...


def _ms(time_ns: int) -> int:
    return time_ns // NS_PER_MS


def _utc(time_ns: int) -> str:
    seconds, part = divmod(time_ns, NS_PER_S)
    return f"{datetime.fromtimestamp(seconds, UTC):%Y-%m-%dT%H:%M:%S}.{part:09d}Z"


class _Numbers:
    def __init__(self, symbol: SymbolConfig) -> None:
        self.symbol = symbol.symbol
        self.price = DecimalWriter(symbol.tick_size, decimal_places(symbol.tick_size))
        self.size = DecimalWriter(symbol.lot_size, decimal_places(symbol.lot_size))


class DeribitWire(_Numbers):
    """JSON-RPC notifications. ``interval`` is the beat in the channels' names."""

    def __init__(self, symbol: SymbolConfig, interval: str) -> None:
        super().__init__(symbol)
        self.interval = interval

    def snapshot(self, book: PublishedBook) -> bytes:
        levels = book.levels()
        ids = f'"type":"snapshot","timestamp":{_ms(book.time_ns)},"change_id":{book.id}'
        return self._book(ids, *levels)

    def change(self, book: PublishedBook, update: DepthUpdate) -> bytes:
        ids = f'"type":"change","timestamp":{_ms(book.time_ns)},"prev_change_id":{book.previous_id}'
        return self._book(f'{ids},"change_id":{book.id}', update.bids, update.asks)

    def trade(self, trade: TradeUpdate) -> bytes:
        side = "sell" if trade.seller_is_aggressor else "buy"
        body = (
            f'[{{"trade_seq":{trade.trade_id},"trade_id":"{trade.trade_id}","timestamp":{_ms(trade.time_ns)},'
            f'"tick_direction":0,"price":{self.price(trade.price_ticks)},"instrument_name":"{self.symbol}",'
            f'"direction":"{side}","amount":{self.size(trade.lots)}}}]'
        )
        return self._notification("trades", body)

    def ticker(
        self, time_ns: int, mark: float, greeks: dict[str, float], iv: float, underlying: float
    ) -> bytes:
        listed = ",".join(f'"{name}":{value!r}' for name, value in greeks.items())
        body = (
            f'{{"timestamp":{_ms(time_ns)},"state":"open","mark_price":{mark!r},"mark_iv":{iv!r},'
            f'"underlying_price":{underlying!r},"instrument_name":"{self.symbol}","greeks":{{{listed}}}}}'
        )
        return self._notification("ticker", body)

    def _book(self, ids: str, bids: Iterable[Level], asks: Iterable[Level]) -> bytes:
        def listed(levels: Iterable[Level]) -> str:
            return ",".join(
                f'["{"change" if lots else "delete"}",{self.price(ticks)},{self.size(lots)}]'
                for ticks, lots in levels
            )

        body = f'{{{ids},"instrument_name":"{self.symbol}","bids":[{listed(bids)}],"asks":[{listed(asks)}]}}'
        return self._notification("book", body)

    def _notification(self, kind: str, data: str) -> bytes:
        channel = f"{kind}.{self.symbol}.{self.interval}"
        return (
            f'{{"jsonrpc":"2.0","method":"subscription","params":{{"channel":"{channel}","data":{data}}}}}'
        ).encode()


class CoinbaseWire(_Numbers):
    """Channel and events; the number of the message on its connection is put in by ``numbered``."""

    def snapshot(self, book: PublishedBook) -> bytes:
        return self._levels("snapshot", book.time_ns, *book.levels())

    def change(self, book: PublishedBook, update: DepthUpdate) -> bytes:
        return self._levels("update", book.time_ns, update.bids, update.asks)

    def trade(self, trade: TradeUpdate) -> bytes:
        maker = "BUY" if trade.seller_is_aggressor else "SELL"
        body = (
            f'{{"type":"update","trades":[{{"product_id":"{self.symbol}","trade_id":"{trade.trade_id}",'
            f'"price":"{self.price(trade.price_ticks)}","size":"{self._trim(self.size(trade.lots))}",'
            f'"time":"{_utc(trade.time_ns)}","side":"{maker}"}}]}}'
        )
        return self.message("market_trades", trade.time_ns, body)

    def _levels(self, kind: str, time_ns: int, bids: Iterable[Level], asks: Iterable[Level]) -> bytes:
        when = _utc(time_ns)
        updates = ",".join(
            f'{{"side":"{side}","event_time":"{when}","price_level":"{self._trim(self.price(ticks))}",'
            f'"new_quantity":"{self._trim(self.size(lots))}"}}'
            for side, levels in (("bid", bids), ("offer", asks))
            for ticks, lots in levels
        )
        body = f'{{"type":"{kind}","product_id":"{self.symbol}","updates":[{updates}]}}'
        return self.message("l2_data", time_ns, body)

    @staticmethod
    def message(channel: str, time_ns: int, event: str) -> bytes:
        return f'{{"channel":"{channel}","timestamp":"{_utc(time_ns)}","sequence_num":#,"events":[{event}]}}'.encode()

    @staticmethod
    def numbered(payload: bytes, number: int) -> bytes:
        return payload.replace(b'"sequence_num":#', b'"sequence_num":%d' % number, 1)

    @staticmethod
    def _trim(text: str) -> str:
        return text.rstrip("0").rstrip(".") if "." in text else text


class OkxWire(_Numbers):
    """Books with sequence numbers and checksums, the wire before June 2026."""

    def snapshot(self, book: PublishedBook, checksum_error: int = 0) -> bytes:
        return self._book("snapshot", book, -1, *book.levels(), checksum_error)

    def change(self, book: PublishedBook, update: DepthUpdate, checksum_error: int = 0) -> bytes:
        return self._book("update", book, book.previous_id, update.bids, update.asks, checksum_error)

    def trade(self, trade: TradeUpdate) -> bytes:
        side = "sell" if trade.seller_is_aggressor else "buy"
        body = (
            f'{{"instId":"{self.symbol}","tradeId":"{trade.trade_id}","px":"{self.price(trade.price_ticks)}",'
            f'"sz":"{self.size(trade.lots)}","side":"{side}","ts":"{_ms(trade.time_ns)}","count":"1"}}'
        )
        return f'{{"arg":{{"channel":"trades","instId":"{self.symbol}"}},"data":[{body}]}}'.encode()

    def checksum(self, book: PublishedBook) -> int:
        """CRC-32, signed, of the best 25 levels a side: bid, ask, bid, … as price:size."""
        parts = []
        bids, asks = book.levels()
        for i in range(CHECKED_LEVELS):
            for side in (bids, asks):
                if i < len(side):
                    parts.append(f"{self.price(side[i][0])}:{self.size(side[i][1])}")
        value = zlib.crc32(":".join(parts).encode())
        return value - 2**32 if value >= 2**31 else value

    def _book(
        self,
        action: str,
        book: PublishedBook,
        previous: int,
        bids: Iterable[Level],
        asks: Iterable[Level],
        checksum_error: int,
    ) -> bytes:
        def listed(levels: Iterable[Level]) -> str:
            return ",".join(f'["{self.price(ticks)}","{self.size(lots)}","0","1"]' for ticks, lots in levels)

        body = (
            f'{{"asks":[{listed(asks)}],"bids":[{listed(bids)}],"ts":"{_ms(book.time_ns)}",'
            f'"checksum":{self.checksum(book) ^ checksum_error},"prevSeqId":{previous},"seqId":{book.id}}}'
        )
        arg = f'"arg":{{"channel":"books","instId":"{self.symbol}"}}'
        return f'{{{arg},"action":"{action}","data":[{body}]}}'.encode()
