"""Venues that stream snapshots and changes, in plain Python: what they send, and what a client may believe of it.

Deribit names a predecessor in each change, OKX too (with or without a checksum beside it; old captures have the
checksum alone), Coinbase numbers all messages of a connection. ``Sender`` is the venue, ``StreamTwin`` says from the
order of deliveries alone whether a book can be known, with none of a decoder's parsing.
"""

import json
import random
import zlib
from dataclasses import dataclass
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

from quotelife.feed.coinbase import CoinbaseDecoder
from quotelife.feed.deribit import DeribitDecoder
from quotelife.feed.okx import OkxDecoder
from quotelife.feed.streamed_decoder import StreamedDecoder
from quotelife.records import EventBuffer

WIRES = ("deribit", "coinbase", "okx", "okx-checksum", "okx-checksum-only")
SYMBOLS = ("AAA", "BBB")
TICK, LOT = Decimal("0.5"), Decimal("0.25")
Levels = dict[int, int]
Book = tuple[Levels, Levels]


def decoder_of(wire: str, buffer: EventBuffer) -> StreamedDecoder:
    kinds: dict[str, Any] = {"deribit": DeribitDecoder, "coinbase": CoinbaseDecoder}
    decoder: StreamedDecoder = kinds.get(wire, OkxDecoder)(buffer)
    for index, symbol in enumerate(SYMBOLS):
        decoder.add_instrument(symbol, index, TICK, LOT)
    return decoder


@dataclass(frozen=True)
class Sent:
    """One message, and what is true of its symbol's book with it."""

    data: bytes
    symbol: int
    snapshot: bool
    state: int  # changes of the symbol so far
    number: int  # of the message on its connection
    bids: Levels
    asks: Levels


def price(ticks: int) -> str:
    return format((ticks * TICK).normalize(), "f")


def size(lots: int) -> str:
    return format((lots * LOT).normalize(), "f")


def okx_checksum(bids: Levels, asks: Levels) -> int:
    """The venue's manual: best 25 levels a side, bid and ask in turn, joined by colons, CRC-32 as int32."""
    best = (sorted(bids.items(), reverse=True)[:25], sorted(asks.items())[:25])
    parts: list[str] = []
    for i in range(25):
        for side in best:
            if i < len(side):
                parts += [price(side[i][0]), size(side[i][1])]
    value = zlib.crc32(":".join(parts).encode())
    return value - 2**32 if value >= 2**31 else value


class Sender:
    """A venue with two symbols and random books of a few levels."""

    def __init__(self, wire: str, rng: random.Random) -> None:
        self.wire = wire
        self.rng = rng
        self.ms = 1_700_000_000_000
        self.number = -1  # of the connection
        self.books: list[Book] = [({100: 5}, {101: 5}), ({100: 5}, {101: 5})]
        self.states = [0, 0]
        self.ids = [50, 1050]
        self.past: list[list[tuple[int, int, Book]]] = [[], []]  # id, ms, book after each change
        for symbol in (0, 1):
            self._remember(symbol)

    def connect(self) -> None:
        self.number = -1

    def change(self, symbol: int) -> Sent:
        rng, (bids, asks) = self.rng, self.books[symbol]
        changes: tuple[Levels, Levels] = ({}, {})
        for _ in range(rng.randrange(4)):
            side = rng.randrange(2)
            at = rng.randrange(95, 101) if side == 0 else rng.randrange(101, 107)
            lots = rng.randrange(3)
            changes[side][at] = lots
            levels = (bids, asks)[side]
            levels[at] = lots
            if not lots:
                del levels[at]
        before = self.ids[symbol]
        self.ids[symbol] += rng.randrange(1, 4)
        self.ms += rng.randrange(1, 9)
        self.states[symbol] += 1
        self._remember(symbol)
        return self._sent(symbol, False, self.states[symbol], changes, self.ids[symbol], before, self.ms)

    def snapshot(self, symbol: int, back: int = 0) -> Sent:
        """The book as it is, or as it was ``back`` changes ago."""
        state = max(self.states[symbol] - back, 0)
        id, ms, book = self.past[symbol][state]
        return self._sent(symbol, True, state, book, id, -1, ms, book)

    def _remember(self, symbol: int) -> None:
        bids, asks = self.books[symbol]
        self.past[symbol].append((self.ids[symbol], self.ms, (dict(bids), dict(asks))))

    def _sent(
        self,
        symbol: int,
        snapshot: bool,
        state: int,
        levels: Book,
        id: int,
        before: int,
        ms: int,
        book: Book | None = None,
    ) -> Sent:
        self.number += 1
        bids, asks = book or self.books[symbol]
        body = getattr(self, f"_{self.wire.partition('-')[0]}")(
            symbol, snapshot, levels, id, before, ms, (bids, asks)
        )
        return Sent(json.dumps(body).encode(), symbol, snapshot, state, self.number, dict(bids), dict(asks))

    def _deribit(
        self, symbol: int, snapshot: bool, levels: Book, id: int, before: int, ms: int, book: Book
    ) -> Any:
        def listed(side: Levels) -> list[list[Any]]:
            return [
                ["delete" if not lots else "new", float(ticks * TICK), float(lots * LOT)]
                for ticks, lots in side.items()
            ]

        data = {"type": "snapshot" if snapshot else "change", "timestamp": ms, "change_id": id}
        data |= {"instrument_name": SYMBOLS[symbol], "bids": listed(levels[0]), "asks": listed(levels[1])}
        if not snapshot:
            data["prev_change_id"] = before
        params = {"channel": f"book.{SYMBOLS[symbol]}.raw", "data": data}
        return {"jsonrpc": "2.0", "method": "subscription", "params": params}

    def _coinbase(
        self, symbol: int, snapshot: bool, levels: Book, id: int, before: int, ms: int, book: Book
    ) -> Any:
        when = datetime.fromtimestamp(self.ms / 1000, UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")
        updates = [
            {"side": side, "event_time": when, "price_level": price(ticks), "new_quantity": size(lots)}
            for side, changed in zip(("bid", "offer"), levels, strict=True)
            for ticks, lots in changed.items()
        ]
        entry = {"type": "snapshot" if snapshot else "update", "product_id": SYMBOLS[symbol]}
        entry |= {"updates": updates}
        head = {"channel": "l2_data", "client_id": "", "timestamp": when, "sequence_num": self.number}
        return head | {"events": [entry]}

    def _okx(
        self, symbol: int, snapshot: bool, levels: Book, id: int, before: int, ms: int, book: Book
    ) -> Any:
        def listed(side: Levels) -> list[list[str]]:
            return [[price(ticks), size(lots), "0", "1"] for ticks, lots in side.items()]

        data: dict[str, Any] = {"asks": listed(levels[1]), "bids": listed(levels[0]), "ts": str(ms)}
        data["checksum"] = okx_checksum(*book) if "checksum" in self.wire else 0
        if "only" not in self.wire:
            data |= {"prevSeqId": before, "seqId": id}
        arg = {"channel": "books", "instId": SYMBOLS[symbol]}
        return {"arg": arg, "action": "snapshot" if snapshot else "update", "data": [data]}


class StreamTwin:
    """What may be believed after each delivery. ``at``: state of the book by symbol, ``None`` when not known."""

    def __init__(self, wire: str) -> None:
        self.numbered = wire == "coinbase"
        self.disconnect()

    def disconnect(self) -> None:
        self.at: list[int | None] = [None, None]
        self.heard = [-1, -1]
        self.last = -1  # number of the newest message

    def deliver(self, sent: Sent) -> None:
        if self.numbered:
            if self.last >= 0 and sent.number <= self.last:
                return
            if self.last >= 0 and sent.number != self.last + 1:
                self.at = [None, None]
            self.last = sent.number
        symbol, state = sent.symbol, sent.state
        at = self.at[symbol]
        if sent.snapshot:
            if state >= self.heard[symbol]:
                self.at[symbol] = self.heard[symbol] = state
            return
        if at is not None and state <= at:
            return
        if at is not None:
            self.at[symbol] = state if at == state - 1 else None
        self.heard[symbol] = max(self.heard[symbol], state)
