"""A venue that accepts FIX 4.4 sessions: market data by refreshes (35=W) and increments (35=X) of books by price.

Its codec shares nothing with the feed's. Every message gets its MsgSeqNum before a fault may lose it, as at a venue
whose network loses what its engine has sent. What is asked for again is gap-filled: market data is not repeated.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime
from typing import ClassVar, NamedTuple

from aiohttp import web

from quotelife.sim.binance_wire import DecimalWriter, decimal_places
from quotelife.sim.market import MarketSimulator
from quotelife.sim.streamed_wires import PublishedBook
from quotelife.sim.updates import DepthUpdate, TradeUpdate, VenueUpdate
from quotelife.units import NS_PER_MS, NS_PER_S
from quotelife_server.simvenue.base import Connection, Venue, VenueSettings

SOH = "\x01"
HEAD = re.compile(rb"8=FIX\.4\.4\x019=(\d{1,6})\x01")
WHOLE = 10_000  # levels a side: all
Fields = Iterable[tuple[int, object]]


class Wanted(NamedTuple):
    """What a session has subscribed to for one symbol."""

    request: str
    depth: int
    incremental: bool


class SimulatedFix(Venue):
    """Symbols of the market, subscribed by 35=V one at a time, with increments (265=1) or a refresh each time (265=0).

    Streams are named ``book.SYMBOL#N`` and ``trades.SYMBOL#N``, N being the number of the connection.

    Beside the faults of every venue, each of which hits one connection's message: ``bad_checksum``; ``skip`` (numbers
    left out); ``logout``; ``sequence_reset`` (35=4 without gap fill); ``resend`` (the other side is asked to repeat
    everything); ``test`` (35=1); ``silent_refresh`` (a request that is never answered).
    """

    PATH: ClassVar[str] = ""
    FAULTS: ClassVar[tuple[str, ...]] = (
        "bad_checksum",
        "skip",
        "logout",
        "sequence_reset",
        "resend",
        "test",
        "silent_refresh",
    )
    SESSION_FAULTS: ClassVar[tuple[str, ...]] = ("logout", "sequence_reset", "resend", "test")

    def __init__(
        self,
        market: MarketSimulator,
        settings: VenueSettings | None = None,
        sender: str = "SIM",
        target: str = "QUOTELIFE",
    ) -> None:
        """``sender`` is our own CompID, ``target`` that of who connects."""
        super().__init__(market, settings)
        symbols = market.config.symbols
        self.sender = sender
        self.target = target
        self.names = [symbol.symbol for symbol in symbols]
        self.books = [PublishedBook(market.snapshot(i, WHOLE)) for i in range(len(symbols))]
        self.prices = [DecimalWriter(each.tick_size, decimal_places(each.tick_size)) for each in symbols]
        self.sizes = [DecimalWriter(each.lot_size, decimal_places(each.lot_size)) for each in symbols]
        self.logons = 0
        self.requests = 0
        self.sessions: set[_Session] = set()
        self.control_port = 0
        self._server: asyncio.Server | None = None

    # Venue.

    def publish(self, updates: Sequence[VenueUpdate]) -> None:
        for session in list(self.sessions):
            session.beat(self.market.now_ns)
        for update in updates:
            at = update.symbol
            if isinstance(update, DepthUpdate):
                self.books[at].apply(update)
                self._tell("book", at, update.time_ns, self._changes(at, update))
            elif isinstance(update, TradeUpdate):
                # Whose order it met is not in the standard's entries.
                entry = self._entry(0, "2", at, update.price_ticks, update.lots)
                self._tell("trades", at, update.time_ns, [entry])

    def send(self, stream: str, payload: bytes) -> None:
        # What a fault held back had its number and its session when it was made; that one may be gone.
        _, _, number = stream.rpartition("#")
        for session in self.sessions:
            if session.number == int(number):
                session.write(payload)

    def lines(self) -> Sequence[Connection]:
        return list(self.sessions)

    async def open(self, host: str, port: int) -> int:
        if not self.control_port:
            assert self._runner is not None
            site = web.TCPSite(self._runner, host, 0)
            await site.start()
            self.control_port = int(self._runner.addresses[0][1])
        loop = asyncio.get_running_loop()
        self._server = await loop.create_server(lambda: _Session(self), host, port, reuse_address=True)
        return int(self._server.sockets[0].getsockname()[1])

    async def shut(self) -> None:
        if self._server is not None:
            self._server.close()
            self._server = None

    async def _stop(self, app: web.Application) -> None:
        await super()._stop(app)
        for session in list(self.sessions):
            session.abort()

    # Books.

    def _changes(self, at: int, update: DepthUpdate) -> list[Fields]:
        return [
            self._entry(1 if lots else 2, side, at, ticks, lots)
            for side, changes in (("0", update.bids), ("1", update.asks))
            for ticks, lots in changes
        ]

    def _entry(self, action: int, side: str, at: int, ticks: int, lots: int) -> list[tuple[int, object]]:
        entry: list[tuple[int, object]] = [(279, action), (269, side), (55, self.names[at])]
        entry.append((270, self.prices[at](ticks)))
        return [*entry, (271, self.sizes[at](lots))] if lots else entry

    def _tell(self, kind: str, at: int, time_ns: int, entries: Sequence[Fields]) -> None:
        body = [pair for entry in entries for pair in entry]
        for session in list(self.sessions):
            wanted = session.wanted.get(self.names[at])
            if wanted is None or not entries:
                continue
            if wanted.incremental or kind == "trades":
                fields = [(262, wanted.request), (268, len(entries)), *body]
                session.send("X", fields, f"{kind}.{self.names[at]}", time_ns)
            else:
                session.refresh(at, wanted.request, wanted.depth)

    def entries_of(self, at: int, depth: int) -> list[tuple[int, object]]:
        """NoMDEntries and the entries of one book, all or the best ``depth`` levels of it."""
        entries: list[tuple[int, object]] = []
        count = 0
        for side, levels in zip("01", self.books[at].levels(), strict=True):
            for ticks, lots in levels[: depth or None]:
                count += 1
                entries += [(269, side), (270, self.prices[at](ticks)), (271, self.sizes[at](lots))]
        return [(268, count), *entries]


class _Session(asyncio.Protocol):
    """One connection: log on, sequence numbers, heartbeats, and what it has asked for."""

    def __init__(self, venue: SimulatedFix) -> None:
        self.venue = venue
        self.number = 0
        self.wanted: dict[str, Wanted] = {}
        self.transport: asyncio.Transport
        self._held = b""
        self._out = 1
        self._in = 1
        self._logged_on = False
        self._heartbeat_ns = 30 * NS_PER_S
        self._sent_ns = self._heard_ns = venue.market.now_ns
        self._tested = False
        self._stalled = False
        self._waiting: list[bytes] = []

    # Connection.

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = transport  # type: ignore[assignment]
        self.venue.logons += 1
        self.number = self.venue.logons
        self.venue.sessions.add(self)

    def connection_lost(self, error: Exception | None) -> None:
        self.venue.sessions.discard(self)

    def abort(self) -> None:
        self.transport.abort()

    def break_off(self) -> None:
        whole = self._message("0", [])
        self.transport.write(whole[: len(whole) // 2])
        self.transport.close()

    def stall(self, stalled: bool) -> None:
        self._stalled = stalled
        if self.transport.is_closing():
            return
        if stalled:
            self.transport.pause_reading()
            return
        self.transport.resume_reading()
        waiting, self._waiting = self._waiting, []
        for data in waiting:
            self.write(data)

    def write(self, data: bytes) -> None:
        if self._stalled:
            self._waiting.append(data)
        elif not self.transport.is_closing():
            if self.transport.get_write_buffer_size() > self.venue.settings.queue_bytes_max:
                self.venue.cut_off += 1
                self.abort()
            else:
                self.venue.messages += 1
                self.transport.write(data)

    # What goes out.

    def _message(
        self, kind: str, fields: Fields, number: int | None = None, time_ns: int | None = None
    ) -> bytes:
        head: list[tuple[int, object]] = [(35, kind), (49, self.venue.sender), (56, self.venue.target)]
        if number is None:
            number = self._out
            self._out += 1
        now_ns = self.venue.market.now_ns
        head += [(34, number), (52, _utc(now_ns if time_ns is None else time_ns))]
        self._sent_ns = now_ns
        body = "".join(f"{tag}={value}{SOH}" for tag, value in [*head, *fields]).encode()
        text = b"8=FIX.4.4\x019=%d\x01%b" % (len(body), body)
        return b"%b10=%03d\x01" % (text, sum(text) % 256)

    def send(self, kind: str, fields: Fields, stream: str | None = None, time_ns: int | None = None) -> None:
        """``stream``: it meets that stream's faults; the session's own messages meet none. ``time_ns``: when it
        happened; left out, now."""
        venue = self.venue
        if venue.own_fault("skip"):
            self._out += 3
        data = self._message(kind, fields, time_ns=time_ns)
        if stream is None:
            self.write(data)
            return
        if venue.own_fault("bad_checksum"):
            data = data[:-4] + b"%03d\x01" % ((int(data[-4:-1]) + 1) % 256)
        # The name carries the session, so that what is held back goes to nobody else.
        named = (f"{stream}#{self.number}", data)
        for _, message in venue.faults.through(named, venue.market.now_ns):
            self.write(message)
        for fault in venue.SESSION_FAULTS:
            if venue.own_fault(fault):
                self._session_fault(fault)

    def _session_fault(self, fault: str) -> None:
        if fault == "logout":
            self.send("5", [(58, "end of the simulated session")])
            self.transport.close()
        elif fault == "sequence_reset":
            self._out += 5
            self.write(self._message("4", [(123, "N"), (36, self._out)], self._out))
        elif fault == "resend":
            self.send("2", [(7, 1), (16, 0)])
        else:
            self.send("1", [(112, f"T{self._out}")])

    def beat(self, now_ns: int) -> None:
        if not self._logged_on or self._stalled:
            return
        if now_ns - self._sent_ns >= self._heartbeat_ns:
            self.send("0", [])
        silent_ns = now_ns - self._heard_ns
        if silent_ns > 3 * self._heartbeat_ns:
            self.abort()
        elif silent_ns > 3 * self._heartbeat_ns // 2 and not self._tested:
            self._tested = True
            self.send("1", [(112, f"T{self._out}")])

    # What comes in.

    def data_received(self, data: bytes) -> None:
        self._held += data
        while self._held:
            head = HEAD.match(self._held)
            if head is None:
                if len(self._held) > 20:
                    self.abort()  # whoever garbles what he sends is not talked to
                return
            end = head.end() + int(head[1]) + 7
            if len(self._held) < end:
                return
            message, self._held = self._held[:end], self._held[end:]
            if sum(message[:-7]) % 256 != int(message[-4:-1]):
                self.abort()
                return
            self._heard_ns = self.venue.market.now_ns
            self._tested = False
            fields: dict[int, str] = {}
            try:
                for field in message.decode("latin-1").split(SOH)[:-1]:
                    tag, _, value = field.partition("=")
                    fields.setdefault(int(tag), value)
                self._take(fields)
            except (ValueError, KeyError):
                self.abort()
                return

    def _take(self, fields: dict[int, str]) -> None:
        kind, number = fields[35], int(fields[34])
        if (fields[49], fields[56]) != (self.venue.target, self.venue.sender):
            self.send("5", [(58, f"SenderCompID (49) must be {self.venue.target}, "
                                 f"TargetCompID (56) {self.venue.sender}")])  # fmt: skip
            self.transport.close()
            return
        if kind == "A":
            self._in = number + 1
            self._logged_on = True
            self._heartbeat_ns = int(fields[108]) * NS_PER_S
            self.send("A", [(98, 0), (108, fields[108]), (141, "Y")])
            return
        if not self._logged_on or (number < self._in and fields.get(43) != "Y"):
            self.send("5", [(58, f"MsgSeqNum too low, expecting {self._in} but received {number}")])
            self.transport.close()
            return
        if kind == "4":
            self._in = max(self._in, int(fields[36]))
            return
        if number > self._in:
            self.send("2", [(7, self._in), (16, 0)])
            return
        self._in = max(self._in, number + 1)
        if kind == "1":
            self.send("0", [(112, fields[112])])
        elif kind == "2":
            fill = [(43, "Y"), (123, "Y"), (36, self._out)]
            self.write(self._message("4", fill, int(fields[7])))
        elif kind == "5":
            self.send("5", [])
            self.transport.close()
        elif kind == "V":
            self._request(fields)

    def _request(self, fields: dict[int, str]) -> None:
        venue, symbol, request = self.venue, fields.get(55, ""), fields[262]
        venue.requests += 1
        if symbol not in venue.names:
            self.send("Y", [(262, request), (281, 0), (58, f"no such symbol: {symbol}")])
            return
        if fields[263] == "2":
            if symbol in self.wanted and self.wanted[symbol].request == request:
                del self.wanted[symbol]
            return
        if request in [wanted.request for wanted in self.wanted.values()]:
            self.send("Y", [(262, request), (281, 1), (58, "MDReqID (262) is in use")])
            return
        if venue.own_fault("silent_refresh"):
            return
        depth = int(fields.get(264, "0"))
        if fields[263] == "1":
            self.wanted[symbol] = Wanted(request, depth, fields.get(265, "1") == "1")
        self.refresh(venue.names.index(symbol), request, depth)

    def refresh(self, at: int, request: str, depth: int) -> None:
        name = self.venue.names[at]
        body = self.venue.entries_of(at, depth)
        self.send("W", [(262, request), (55, name), *body], f"book.{name}")


def _utc(time_ns: int) -> str:
    seconds, part = divmod(time_ns, NS_PER_S)
    return f"{datetime.fromtimestamp(seconds, UTC):%Y%m%d-%H:%M:%S}.{part // NS_PER_MS:03d}"
