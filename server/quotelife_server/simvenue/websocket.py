"""Simulated venues on websockets.

Each client has a bounded queue and a task that empties it.
"""

from __future__ import annotations

import asyncio
import contextlib
from abc import abstractmethod
from collections import deque
from collections.abc import Callable, Iterable, Sequence

from aiohttp import WSCloseCode, WSMsgType, web

from quotelife.sim.market import MarketSimulator
from quotelife_server.simvenue.base import Connection, Venue, VenueSettings

HALF_FRAME = (
    b"\x81\x7e\x02\x00" + b'{"stream":"' + 100 * b"x"
)  # a text frame of 512 bytes, most of them to come


class Client:
    """One websocket: what it subscribed to, and what still has to be written to it."""

    def __init__(self, socket: web.WebSocketResponse, request: web.Request) -> None:
        self.socket = socket
        self.request = request
        self.streams: dict[str, str] = {}  # stream -> the name this client used
        self.sent = 0  # messages made for it so far, for venues that number them
        self.queue: deque[bytes] = deque()
        self.queued_bytes = 0
        self.wake = asyncio.Event()
        self.cut = False
        self.stalled = False

    def abort(self) -> None:
        self.cut = True
        self.queue.clear()
        self.wake.set()
        if self.request.transport is not None:
            self.request.transport.abort()

    def break_off(self) -> None:
        self.cut = True
        self.queue.clear()
        self.wake.set()
        if self.request.transport is not None:
            self.request.transport.write(HALF_FRAME)
            self.request.transport.close()

    def stall(self, stalled: bool) -> None:
        self.stalled = stalled
        self.wake.set()
        transport = self.request.transport
        if isinstance(transport, asyncio.ReadTransport) and not transport.is_closing():
            if stalled:
                transport.pause_reading()
            else:
                transport.resume_reading()

    async def pump(self) -> None:
        """Write the queue to the socket until cut off; a full socket makes this wait, and the queue grow."""
        while not self.cut:
            while self.queue and not self.stalled:
                message = self.queue.popleft()
                self.queued_bytes -= len(message)
                await self.socket.send_frame(message, WSMsgType.TEXT)
            self.wake.clear()
            if self.stalled or not self.queue:
                await self.wake.wait()


class WebsocketVenue(Venue):
    """A venue on websockets. It adds its routes and ``command`` (what a client sends)."""

    def __init__(
        self, market: MarketSimulator, settings: VenueSettings | None, routes: Sequence[web.RouteDef]
    ) -> None:
        self.clients: set[Client] = set()
        self.subscribers: dict[str, set[Client]] = {}
        self._site: web.TCPSite | None = None
        super().__init__(market, settings, routes)

    @abstractmethod
    def command(self, client: Client, text: str) -> None:
        """Do what a client asks for, and answer with ``enqueue``."""

    def lines(self) -> Sequence[Connection]:
        return list(self.clients)

    async def open(self, host: str, port: int) -> int:
        assert self._runner is not None
        self._site = web.TCPSite(self._runner, host, port, reuse_address=True)
        await self._site.start()
        return int(self._site._server.sockets[0].getsockname()[1])  # type: ignore[union-attr]

    async def shut(self) -> None:
        if self._site is not None:
            site, self._site = self._site, None
            await site.stop()

    async def _stop(self, app: web.Application) -> None:
        await super()._stop(app)
        clients = list(self.clients)
        for client in clients:
            client.cut = True
            client.wake.set()
        closing = [
            client.socket.close(code=WSCloseCode.GOING_AWAY, message=b"venue stops") for client in clients
        ]
        await asyncio.gather(*closing, return_exceptions=True)

    # ------------------------------------------------------------------------------------------- messages

    def send(self, stream: str, payload: bytes) -> None:
        """To everybody who subscribed."""
        for client in list(self.subscribers.get(stream, ())):
            self.enqueue(client, self.framed(client, stream, payload))

    def framed(self, client: Client, stream: str, payload: bytes) -> bytes:
        """A payload as this client gets it."""
        return payload

    def enqueue(self, client: Client, message: bytes) -> None:
        if client.cut:
            return
        if client.queued_bytes + len(message) > self.settings.queue_bytes_max:
            self.cut_off += 1
            client.abort()
            return
        self.messages += 1
        client.queue.append(message)
        client.queued_bytes += len(message)
        client.wake.set()

    # ------------------------------------------------------------------------------------------ websocket

    async def serve_socket(
        self,
        request: web.Request,
        client_of: Callable[[web.WebSocketResponse], Client],
        names: Iterable[str] = (),
    ) -> web.StreamResponse:
        """One connection from handshake to end."""
        if len(self.clients) >= self.settings.clients_max:
            raise web.HTTPServiceUnavailable(text="too many clients")
        socket = web.WebSocketResponse(
            heartbeat=self.settings.ping_s, compress=False, max_msg_size=64 * 1024, timeout=1.0
        )
        try:
            await socket.prepare(request)
        except ConnectionResetError:  # cut off before it stood
            return socket
        client = client_of(socket)
        self.clients.add(client)
        for name in names:
            self.subscribe(client, name)
        pump = asyncio.create_task(client.pump())
        try:
            with contextlib.suppress(ConnectionResetError):  # cut off while a ping was to be answered
                async for message in socket:
                    if message.type is WSMsgType.TEXT:
                        self.command(client, message.data)
        finally:
            self.clients.discard(client)
            for subscribers in self.subscribers.values():
                subscribers.discard(client)
            client.cut = True
            pump.cancel()
            await asyncio.gather(pump, return_exceptions=True)
        return socket

    def subscribe(self, client: Client, name: str) -> None:
        """``KeyError`` for a stream that this venue does not have."""
        client.streams[name] = name
        self.subscribers[name].add(client)

    def unsubscribe(self, client: Client, name: str) -> None:
        """``KeyError`` for a stream that this venue does not have."""
        client.streams.pop(name, None)
        self.subscribers[name].discard(client)
