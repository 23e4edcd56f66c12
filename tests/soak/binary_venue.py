"""A publisher of the binary record around the simulated market, as docs/binary-feed.md asks one to be."""

import asyncio
import socket
import time
from collections.abc import Sequence
from typing import ClassVar

from quotelife.sim.market import MarketSimulator
from quotelife.sim.streamed_wires import PublishedBook
from quotelife.sim.updates import DepthUpdate, TopUpdate, TradeUpdate, VenueUpdate
from quotelife.units import NS_PER_MS
from quotelife_client.binary import BinaryEncoder, quote, record
from quotelife_client.types import BookSide, EventKind
from quotelife_server.addresses import host_and_port
from quotelife_server.simvenue.base import Connection, Venue, VenueSettings

WHOLE = 10_000
BEAT_NS = 200 * NS_PER_MS
SNAPSHOT_NS = 1000 * NS_PER_MS
DATAGRAM_EVENTS = 22


class BinaryVenue(Venue):
    """Over TCP to whoever connects, or by UDP to ``target``. All get the same frames; snapshots come every second, to
    each TCP connection at its beginning too."""

    FAULTS: ClassVar[tuple[str, ...]] = ("new_session", "foreign")

    def __init__(self, market: MarketSimulator, settings: VenueSettings, target: str | None) -> None:
        super().__init__(market, settings)
        self.books = [PublishedBook(market.snapshot(i, WHOLE)) for i in range(len(market.config.symbols))]
        self.encoder = BinaryEncoder(1)
        self.receivers: set[_Receiver] = set()
        self._target = host_and_port(target) if target is not None else None
        self._udp = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self._server: asyncio.Server | None = None
        self._beat_ns = self._snapshot_ns = market.now_ns

    def publish(self, updates: Sequence[VenueUpdate]) -> None:
        if self.own_fault("new_session"):
            self.encoder = BinaryEncoder(1, max(time.time_ns(), self.encoder.session + 1))
        if self.own_fault("foreign"):
            odd = record(EventKind.LEVEL, 0, side=BookSide.BID, price_ticks=1, size_lots=1, last=True)
            self.send("frames", BinaryEncoder(2).frame(odd))
        records: list[bytes] = []
        for update in updates:
            records += self._records(update)
        self._frames(records)
        now_ns = self.market.now_ns
        if now_ns - self._snapshot_ns >= SNAPSHOT_NS:
            self._snapshot_ns = now_ns
            self._frames(self.snapshots())
        if now_ns - self._beat_ns >= BEAT_NS:
            self._beat_ns = now_ns
            self.deliver("frames", self.encoder.heartbeat())

    def _frames(self, records: Sequence[bytes]) -> None:
        for frame in self.encoder.frames(records, DATAGRAM_EVENTS):
            self.deliver("frames", frame)

    def _records(self, update: VenueUpdate) -> list[bytes]:
        at, stamp = update.symbol, update.time_ns
        if isinstance(update, TradeUpdate):
            side = BookSide.ASK if update.seller_is_aggressor else BookSide.BID
            return [record(EventKind.TRADE, at, side=side, price_ticks=update.price_ticks, size_lots=update.lots,
                           trade_id=update.trade_id, last=True, exchange_utc_ns=stamp)]  # fmt: skip
        if isinstance(update, TopUpdate):
            best = (update.bid_ticks, update.bid_lots, update.ask_ticks, update.ask_lots)
            return [quote(at, *best, sequence=update.update_id, exchange_utc_ns=stamp)]
        assert isinstance(update, DepthUpdate)
        self.books[at].apply(update)
        changes = [(BookSide.BID, *level) for level in update.bids]
        changes += [(BookSide.ASK, *level) for level in update.asks]
        return [
            record(EventKind.LEVEL, at, side=side, price_ticks=ticks, size_lots=lots, sequence=update.last_id,
                   last=place == len(changes), exchange_utc_ns=stamp)
            for place, (side, ticks, lots) in enumerate(changes, start=1)
        ]  # fmt: skip

    def snapshots(self) -> list[bytes]:
        out = []
        for at, book in enumerate(self.books):
            out.append(record(EventKind.SNAPSHOT_BEGIN, at))
            for side, levels in zip((BookSide.BID, BookSide.ASK), book.levels(), strict=True):
                for ticks, lots in levels:
                    out.append(record(EventKind.LEVEL, at, side=side, price_ticks=ticks, size_lots=lots))
            out.append(record(EventKind.SNAPSHOT_END, at, sequence=book.id, last=True))
        return out

    def send(self, stream: str, payload: bytes) -> None:
        if self._target is not None:
            self._udp.sendto(payload, self._target)
        for receiver in list(self.receivers):
            receiver.write(payload)

    def lines(self) -> Sequence[Connection]:
        return list(self.receivers)

    async def open(self, host: str, port: int) -> int:
        loop = asyncio.get_running_loop()
        self._server = await loop.create_server(lambda: _Receiver(self), host, port, reuse_address=True)
        return int(self._server.sockets[0].getsockname()[1])

    async def shut(self) -> None:
        if self._server is not None:
            self._server.close()
            self._server = None

    async def close(self) -> None:
        await super().close()
        for receiver in list(self.receivers):
            receiver.abort()
        self._udp.close()


class _Receiver(asyncio.Protocol):
    def __init__(self, venue: BinaryVenue) -> None:
        self.venue = venue
        self.transport: asyncio.Transport
        self._stalled = False
        self._waiting: list[bytes] = []

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = transport  # type: ignore[assignment]
        self.venue.receivers.add(self)
        # Everybody's frames are numbered together.
        for frame in self.venue.encoder.frames(self.venue.snapshots(), DATAGRAM_EVENTS):
            self.venue.deliver("frames", frame)

    def connection_lost(self, error: Exception | None) -> None:
        self.venue.receivers.discard(self)

    def write(self, data: bytes) -> None:
        if self._stalled:
            self._waiting.append(data)
        elif not self.transport.is_closing():
            self.transport.write(data)

    def abort(self) -> None:
        self.transport.abort()

    def break_off(self) -> None:
        self.transport.write(self.venue.encoder.heartbeat()[:20])
        self.transport.close()

    def stall(self, stalled: bool) -> None:
        self._stalled = stalled
        if not stalled:
            waiting, self._waiting = self._waiting, []
            for data in waiting:
                self.write(data)
