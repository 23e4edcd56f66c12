"""Order-level events to ITCH 5.0 messages, and the packets of MoldUDP64 and SoupBinTCP 3.0 around them.

The encoder keeps all orders that its messages have brought to rest: the book that every receiver must arrive at.
"""

import struct
from collections import defaultdict
from collections.abc import Iterable, Sequence
from typing import NamedTuple

from quotelife.records import EventBuffer, EventKindCode, SideCode, StatusKind
from quotelife.sim.orders import OrderFlow

SESSION_BYTES = 10
_HEAD = struct.Struct(">cHH6s")
_STATES = {StatusKind.TRADING: b"T", StatusKind.HALT: b"H", StatusKind.AUCTION: b"Q"}
Levels = dict[int, int]


class ItchSymbol(NamedTuple):
    """An instrument of the venue; its place in the list is its index in events, one more its locate."""

    symbol: str
    units: int = 100
    """1/10,000 of a dollar a tick."""
    shares: int = 1
    """A lot."""


class Resting(NamedTuple):
    instrument: int
    side: int
    ticks: int
    lots: int


class ItchEncoder:
    """Events of a day to messages; times count from ``midnight_ns``."""

    def __init__(self, symbols: Sequence[ItchSymbol], midnight_ns: int = 0) -> None:
        self.symbols = list(symbols)
        self.midnight_ns = midnight_ns
        self.orders: dict[int, Resting] = {}  # by reference number
        self._references: dict[tuple[int, int], int] = {}  # (instrument, order id of the events) → reference
        self._next = 1
        self._match = 1

    def opening(self, now_ns: int) -> list[bytes]:
        """What comes before all orders: start of messages, the directory, everything trading."""
        out = [self._head(b"S", 0, now_ns) + b"O"]
        for locate, symbol in enumerate(self.symbols, start=1):
            name = symbol.symbol.encode().ljust(8)
            out.append(
                self._head(b"R", locate, now_ns)
                + name
                + struct.pack(">ccIcc2scccccIc", b"Q", b"N", 100, b"N", b"C", b"Z ", b"P", b"N", b"N", b"1", b"N", 0,
                              b"N")
            )  # fmt: skip
            out.append(self._state(locate, now_ns, b"T"))
        return out

    def closing(self, now_ns: int) -> list[bytes]:
        """End of system hours, end of messages."""
        return [self._head(b"S", 0, now_ns) + code for code in (b"E", b"C")]

    def levels(self, instrument: int, side: int) -> Levels:
        """Lots by price in ticks: all that rests on one side now."""
        out: Levels = defaultdict(int)
        for order in self.orders.values():
            if order.instrument == instrument and order.side == side:
                out[order.ticks] += order.lots
        return dict(out)

    def best(self, instrument: int) -> tuple[int, int, int, int]:
        """(bid ticks, bid lots, ask ticks, ask lots), 0 for a side that is empty."""
        bids, asks = self.levels(instrument, SideCode.BID), self.levels(instrument, SideCode.ASK)
        bid, ask = max(bids, default=0), min(asks, default=0)
        return bid, bids.get(bid, 0), ask, asks.get(ask, 0)

    def encode(self, buffer: EventBuffer, instrument: int | None = None) -> list[bytes]:
        """The messages that tell all events of a buffer; of ``instrument``, where the events do not say it."""
        out: list[bytes] = []
        for row in buffer.array().tolist():
            if instrument is not None:
                row = (*row[:7], instrument, *row[8:])
            out += self._event(*row)
        return out

    def _event(
        self, exchange_ns: int, receive_ns: int, _sequence: int, ticks: int, lots: int, order_id: int, aux: int,
        instrument: int, kind: int, side: int, _flags: int,
    ) -> list[bytes]:  # fmt: skip
        now_ns = exchange_ns or receive_ns
        locate, symbol = instrument + 1, self.symbols[instrument]
        key = instrument, order_id
        reference = self._references.get(key, 0)
        if kind == EventKindCode.SNAPSHOT_BEGIN:
            gone = [key for key in self._references if key[0] == instrument]
            return [self._delete(key, now_ns) for key in gone]
        if kind == EventKindCode.STATUS and aux in _STATES:
            return [self._state(locate, now_ns, _STATES[StatusKind(aux)])]
        if kind == EventKindCode.ADD:
            before = [self._delete(key, now_ns)] if reference else []
            return [*before, self._add(key, Resting(instrument, side, ticks, lots), now_ns)]
        if kind == EventKindCode.TRADE or (kind == EventKindCode.EXECUTE and not reference):
            resting = b"B" if (side == SideCode.ASK) == (kind == EventKindCode.TRADE) else b"S"
            self._match += 1
            return [
                self._head(b"P", locate, now_ns)
                + struct.pack(">QcI8sIQ", 0, resting, lots * symbol.shares, symbol.symbol.encode().ljust(8),
                              ticks * symbol.units, self._match)
            ]  # fmt: skip
        if not reference:
            return []
        order = self.orders[reference]
        if kind == EventKindCode.MODIFY and lots > 0:
            del self.orders[reference], self._references[key]
            new = self._take_number((instrument, aux or order_id), order._replace(ticks=ticks, lots=lots))
            return [
                self._head(b"U", locate, now_ns)
                + struct.pack(">QQII", reference, new, lots * symbol.shares, ticks * symbol.units)
            ]
        taken = min(lots or order.lots, order.lots)
        if kind == EventKindCode.EXECUTE:
            self._match += 1
            self._less(key, taken)
            fields = struct.pack(">QIQ", reference, taken * symbol.shares, self._match)
            if ticks in (0, order.ticks):
                return [self._head(b"E", locate, now_ns) + fields]
            return [
                self._head(b"C", locate, now_ns) + fields + struct.pack(">cI", b"Y", ticks * symbol.units)
            ]
        if kind == EventKindCode.CANCEL and taken < order.lots:
            self._less(key, taken)
            return [self._head(b"X", locate, now_ns) + struct.pack(">QI", reference, taken * symbol.shares)]
        if kind in (EventKindCode.CANCEL, EventKindCode.MODIFY):
            return [self._delete(key, now_ns)]
        return []

    def _head(self, kind: bytes, locate: int, now_ns: int) -> bytes:
        return _HEAD.pack(kind, locate, 0, (now_ns - self.midnight_ns).to_bytes(6, "big"))

    def _state(self, locate: int, now_ns: int, state: bytes) -> bytes:
        name = self.symbols[locate - 1].symbol.encode().ljust(8)
        return self._head(b"H", locate, now_ns) + name + state + b"     "

    def _take_number(self, key: tuple[int, int], order: Resting) -> int:
        self._next += 1
        self._references[key] = self._next
        self.orders[self._next] = order
        return self._next

    def _add(self, key: tuple[int, int], order: Resting, now_ns: int) -> bytes:
        symbol = self.symbols[order.instrument]
        return self._head(b"A", order.instrument + 1, now_ns) + struct.pack(
            ">QcI8sI", self._take_number(key, order), b"B" if order.side == SideCode.BID else b"S",
            order.lots * symbol.shares, symbol.symbol.encode().ljust(8), order.ticks * symbol.units,
        )  # fmt: skip

    def _delete(self, key: tuple[int, int], now_ns: int) -> bytes:
        reference = self._references.pop(key)
        order = self.orders.pop(reference)
        return self._head(b"D", order.instrument + 1, now_ns) + reference.to_bytes(8, "big")

    def _less(self, key: tuple[int, int], lots: int) -> None:
        reference = self._references[key]
        order = self.orders[reference]
        if lots < order.lots:
            self.orders[reference] = order._replace(lots=order.lots - lots)
        else:
            del self.orders[reference], self._references[key]


class ItchMarket:
    """A day of several symbols with order flow of its own each; equal seeds give equal days."""

    def __init__(
        self, symbols: Sequence[ItchSymbol], seed: int = 1, *, midnight_ns: int, start_ns: int
    ) -> None:
        self.encoder = ItchEncoder(symbols, midnight_ns)
        self.opening = self.encoder.opening(start_ns)
        self._flows = [OrderFlow(seed + i, start_ns=start_ns) for i in range(len(symbols))]
        self._buffer = EventBuffer(64)
        self._place = 0

    def advance(self, messages: int) -> list[bytes]:
        """About so many messages more, symbol by symbol in turn."""
        out: list[bytes] = []
        while len(out) < messages:
            out += self._step(self._place)
            self._place = (self._place + 1) % len(self._flows)
        return out

    def advance_to(self, now_ns: int) -> list[bytes]:
        """What happens up to this time, the symbol that is furthest behind first."""
        out: list[bytes] = []
        while True:
            place = min(range(len(self._flows)), key=lambda i: self._flows[i].now_ns)
            if self._flows[place].now_ns >= now_ns:
                return out
            out += self._step(place)

    def _step(self, place: int) -> list[bytes]:
        self._buffer.clear()
        self._flows[place].step(self._buffer)
        return self.encoder.encode(self._buffer, place)


def framed(messages: Iterable[bytes]) -> bytes:
    """As files and packets hold them: two bytes of length before each."""
    return b"".join(len(message).to_bytes(2, "big") + message for message in messages)


def mold_packet(session: str, sequence: int, messages: Sequence[bytes]) -> bytes:
    """A MoldUDP64 packet; without messages a heartbeat."""
    return mold_header(session, sequence, len(messages)) + framed(messages)


def mold_header(session: str, sequence: int, count: int) -> bytes:
    """Also a request for ``count`` messages from ``sequence`` on; a count of 0xFFFF ends the session."""
    return session.encode().rjust(SESSION_BYTES) + struct.pack(">QH", sequence, count)


def soup_packet(kind: bytes, payload: bytes = b"") -> bytes:
    """A SoupBinTCP packet."""
    return struct.pack(">Hc", len(payload) + 1, kind) + payload
