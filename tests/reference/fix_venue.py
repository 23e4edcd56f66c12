"""A FIX 4.4 acceptor with books of its own, for tests: written from the standard, sharing nothing with the product.

It answers market data requests with refreshes and increments of books that change at random, and makes the faults it
is told to make: messages lost, bytes changed, connections dropped, silence, entries nobody has heard of.
"""

import asyncio
import random
import re
from dataclasses import dataclass, field
from datetime import UTC, datetime

SOH = "\x01"
Levels = dict[int, int]


def message(
    kind: str, sequence: int, *fields: tuple[int, object], sender: str = "V", target: str = "US"
) -> bytes:
    now = datetime.now(UTC).strftime("%Y%m%d-%H:%M:%S.%f")[:-3]
    head = [(35, kind), (49, sender), (56, target), (34, sequence), (52, now)]
    body = "".join(f"{tag}={value}{SOH}" for tag, value in [*head, *fields])
    text = f"8=FIX.4.4{SOH}9={len(body)}{SOH}{body}"
    return f"{text}10={sum(text.encode()) % 256:03d}{SOH}".encode()


@dataclass
class Book:
    bids: Levels = field(default_factory=dict)
    asks: Levels = field(default_factory=dict)
    ids: dict[str, tuple[str, int, int]] = field(default_factory=dict)  # id → side, ticks, lots

    def best(self, depth: int = 0) -> tuple[list[tuple[int, int]], list[tuple[int, int]]]:
        bids, asks = sorted(self.bids.items(), reverse=True), sorted(self.asks.items())
        return (bids[:depth], asks[:depth]) if depth else (bids, asks)


class FixVenue:
    """Symbols with a tick of 0.5 and a lot of 1."""

    def __init__(self, symbols: list[str], *, seed: int, named: bool = False, faults: float = 0.0) -> None:
        self.rng = random.Random(seed)
        self.books = {symbol: Book() for symbol in symbols}
        self.named = named  # entries carry MDEntryID
        self.faults = faults  # probability a message
        self.made: list[str] = []
        self.requests = 0
        self.connections = 0
        self.mute = False
        self.unanswered = 0  # so many requests are taken and never answered
        self.logouts = 0
        self._server: asyncio.Server | None = None
        self._lines: set[_Acceptor] = set()
        self._next_id = 0
        for symbol in symbols:
            for _ in range(40):
                self.change(symbol)

    async def start(self) -> int:
        loop = asyncio.get_running_loop()
        self._server = await loop.create_server(lambda: _Acceptor(self), "127.0.0.1", 0)
        return int(self._server.sockets[0].getsockname()[1])

    async def stop(self) -> None:
        assert self._server is not None
        for line in list(self._lines):
            line.transport.abort()
        self._server.close()
        await self._server.wait_closed()

    def change(self, symbol: str) -> list[dict[int, object]]:
        """One change of a book; returns the entries of its increment."""
        book, rng = self.books[symbol], self.rng
        side = rng.choice("01")
        levels = book.bids if side == "0" else book.asks
        ticks = (200 - rng.randrange(1, 25)) if side == "0" else 200 + rng.randrange(1, 25)
        px = {270: f"{ticks / 2:g}"}
        if self.named:
            known = [key for key, value in book.ids.items() if value[0] == side]
            if len(known) < 12 or rng.random() < 0.3:
                self._next_id += 1
                lots = rng.randrange(1, 9)
                book.ids[f"E{self._next_id}"] = (side, ticks, lots)
                entry = {279: 0, 269: side, 278: f"E{self._next_id}", **px, 271: lots}
                levels[ticks] = levels.get(ticks, 0) + lots
                return [entry]
            key = rng.choice(known)
            _, old_ticks, old_lots = book.ids.pop(key)
            levels[old_ticks] -= old_lots
            if not levels[old_ticks]:
                del levels[old_ticks]
            if rng.random() < 0.5:
                return [{279: 2, 269: side, 278: key}]
            lots = rng.randrange(1, 9)
            book.ids[key] = (side, ticks, lots)
            levels[ticks] = levels.get(ticks, 0) + lots
            return [{279: 1, 269: side, 278: key, **px, 271: lots}]
        if ticks in levels and rng.random() < 0.5:
            del levels[ticks]
            return [{279: 2, 269: side, **px}]
        action = 1 if ticks in levels else 0
        levels[ticks] = rng.randrange(1, 99)
        return [{279: action, 269: side, **px, 271: levels[ticks]}]

    def tick(self) -> None:
        """One change of every book, told to whoever asked for it."""
        for symbol in self.books:
            entries = [entry for _ in range(self.rng.randrange(1, 4)) for entry in self.change(symbol)]
            for line in list(self._lines):
                line.increment(symbol, entries)

    def refresh(self, symbol: str, depth: int) -> list[dict[int, object]]:
        book = self.books[symbol]
        if self.named:
            return [
                {269: side, 278: key, 270: f"{ticks / 2:g}", 271: lots}
                for key, (side, ticks, lots) in book.ids.items()
            ]
        bids, asks = book.best(depth)
        return [
            {269: side, 270: f"{ticks / 2:g}", 271: lots}
            for side, levels in (("0", bids), ("1", asks))
            for ticks, lots in levels
        ]


class _Acceptor(asyncio.Protocol):
    def __init__(self, venue: FixVenue) -> None:
        self.venue = venue
        self.held = ""
        self.out = 1
        self.transport: asyncio.Transport
        self.wanted: dict[str, tuple[str, int]] = {}  # symbol → request, depth

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = transport  # type: ignore[assignment]
        self.venue.connections += 1
        self.venue._lines.add(self)

    def connection_lost(self, error: Exception | None) -> None:
        self.venue._lines.discard(self)

    def data_received(self, data: bytes) -> None:
        self.held += data.decode("latin-1")
        while match := re.match(r"8=FIX\.4\.4\x019=(\d+)\x01", self.held):
            end = match.end() + int(match[1]) + 7
            if len(self.held) < end:
                return
            text, self.held = self.held[:end], self.held[end:]
            assert sum(text[:-7].encode("latin-1")) % 256 == int(text[-4:-1]), "our CheckSum is wrong"
            self.on_message([(int(t), v) for t, _, v in (f.partition("=") for f in text.split(SOH)[:-1])])

    def on_message(self, fields: list[tuple[int, str]]) -> None:
        first = dict(reversed(fields))
        kind = first[35]
        if kind == "A":
            self.send("A", (98, 0), (108, first[108]), (141, "Y"), sure=True)
        elif kind == "1":
            self.send("0", (112, first[112]), sure=True)
        elif kind == "2":
            begin = int(first[7])
            self.transport.write(message("4", begin, (43, "Y"), (123, "Y"), (36, self.out)))
        elif kind == "5":
            self.venue.logouts += 1
            self.send("5", sure=True)
            self.transport.close()
        elif kind == "V":
            self.venue.requests += 1
            if first[263] == "2":
                self.wanted.pop(first[55], None)
                return
            if self.venue.unanswered:
                self.venue.unanswered -= 1
                return
            self.wanted[first[55]] = (first[262], int(first[264]))
            entries = self.venue.refresh(first[55], int(first[264]))
            self.send("W", (55, first[55]), (262, first[262]), (268, len(entries)), *_flat(entries))

    def increment(self, symbol: str, entries: list[dict[int, object]]) -> None:
        if symbol in self.wanted:
            body = [{279: e[279], 269: e[269], 55: symbol} | e for e in entries]
            self.send("X", (262, self.wanted[symbol][0]), (268, len(body)), *_flat(body))

    def send(self, kind: str, *fields: tuple[int, object], sure: bool = False) -> None:
        venue, rng = self.venue, self.venue.rng
        if venue.mute:
            return
        data = message(kind, self.out, *fields)
        self.out += 1
        if not sure and rng.random() < venue.faults:
            fault = rng.choice(("lost", "changed", "dropped", "garbage", "unknown"))
            venue.made.append(fault)
            if fault == "lost":
                return
            if fault == "changed":
                at = rng.randrange(len(data))
                data = data[:at] + bytes([data[at] ^ 1 << rng.randrange(8)]) + data[at + 1 :]
            elif fault == "garbage":
                self.transport.write(rng.randbytes(rng.randrange(1, 200)))
            elif fault == "unknown" and self.wanted:
                symbol, (request, _) = rng.choice(list(self.wanted.items()))
                self.transport.write(data)
                data = message(
                    "X", self.out, (262, request), (268, 1), (279, 1), (269, 0), (55, symbol), (278, "none"),
                    (270, "50.25"), (271, 1),
                )  # fmt: skip
                self.out += 1
            elif fault == "dropped":
                self.transport.write(data[: rng.randrange(len(data))])
                self.transport.close()
                return
        self.transport.write(data)


def _flat(entries: list[dict[int, object]]) -> list[tuple[int, object]]:
    return [pair for entry in entries for pair in entry.items()]
