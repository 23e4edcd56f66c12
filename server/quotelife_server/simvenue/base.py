"""What every simulated venue has in common: a market on the loop's clock, websockets, faults, a control door.

One task lets the market run and hands its messages to the clients; each client has a bounded queue and a task that
empties it. Who does not keep up is cut off, as at a real venue.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

from aiohttp import WSCloseCode, WSMsgType, web

from quotelife.sim.market import MarketSimulator, NewsShock
from quotelife.sim.updates import VenueUpdate
from quotelife.units import NS_PER_MS, NS_PER_S
from quotelife_server.simvenue.faults import COUNTED, KINDS, Fault, FaultLine

CATCH_UP_NS = 200 * NS_PER_MS


@dataclass(frozen=True, slots=True)
class VenueSettings:
    """How the venue runs.

    ``tick_s``: how often the market is advanced. ``queue_bytes_max``: what a client may leave unread before
    it is cut off. ``ping_s``: websocket ping interval; a client that does not answer is closed.
    ``shock_every_ns``: repeat the planned shock, in alternating directions; 0: once.
    """

    tick_s: float = 0.005
    queue_bytes_max: int = 1 << 20
    ping_s: float = 20.0
    clients_max: int = 64
    shock_every_ns: int = 0


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

    def abort(self) -> None:
        """Drop the connection without a word."""
        self.cut = True
        self.queue.clear()
        self.wake.set()
        if self.request.transport is not None:
            self.request.transport.abort()

    async def pump(self) -> None:
        """Write the queue to the socket until cut off; a full socket makes this wait, and the queue grow."""
        while not self.cut:
            while self.queue:
                message = self.queue.popleft()
                self.queued_bytes -= len(message)
                await self.socket.send_frame(message, WSMsgType.TEXT)
            self.wake.clear()
            if not self.queue:
                await self.wake.wait()


class WebsocketVenue:
    """The aiohttp application around one ``MarketSimulator``; made inside the running event loop.

    A venue adds its routes, ``publish`` (what has happened, to the clients) and ``command`` (what a client sends).
    """

    FAULTS: ClassVar[tuple[str, ...]] = ()
    """Faults of this venue beside those of its line; each hits ``own_faults[kind]`` times."""

    def __init__(
        self, market: MarketSimulator, settings: VenueSettings | None, routes: Sequence[web.RouteDef]
    ) -> None:
        self.market = market
        self.settings = settings or VenueSettings()
        self.faults = FaultLine()
        self.own_faults = dict.fromkeys(self.FAULTS, 0)
        self.messages = 0
        self.cut_off = 0
        self.clients: set[Client] = set()
        self.subscribers: dict[str, set[Client]] = {}
        # Venue time runs from here: the market's start, as the caller has just stamped it.
        self._epoch = asyncio.get_running_loop().time()
        self._pacing: asyncio.Task[None] | None = None
        self._shock: NewsShock | None = None
        self.app = web.Application(client_max_size=64 * 1024)
        self.app.add_routes(
            [
                *routes,
                web.get("/control/status", self._status),
                web.post("/control/shock", self._control_shock),
                web.post("/control/fault", self._control_fault),
            ]
        )
        self.app.on_startup.append(self._start)
        self.app.on_shutdown.append(self._stop)

    # ---------------------------------------------------------------------------------------------- venue

    def publish(self, updates: Sequence[VenueUpdate]) -> None:
        """Send what has just happened."""
        raise NotImplementedError

    def command(self, client: Client, text: str) -> None:
        """Do what a client asks for, and answer with ``enqueue``."""
        raise NotImplementedError

    def own_fault(self, kind: str) -> bool:
        """Does this fault of the venue hit now? Counts it off."""
        if self.own_faults[kind] <= 0:
            return False
        self.own_faults[kind] -= 1
        return True

    # ---------------------------------------------------------------------------------------------- time

    @property
    def now_ns(self) -> int:
        """Venue time: the market's start plus what the loop's clock has run since."""
        return self.market.start_ns + int((asyncio.get_running_loop().time() - self._epoch) * NS_PER_S)

    def plan_shock(self, shock: NewsShock) -> None:
        """A shock in the market; repeated when the settings say so."""
        self.market.add_shock(shock)
        self._shock = shock

    async def _start(self, app: web.Application) -> None:
        self._pacing = asyncio.create_task(self._pace(), name="venue-pace")

    async def _stop(self, app: web.Application) -> None:
        await self.freeze()
        clients = list(self.clients)
        for client in clients:
            client.cut = True
            client.wake.set()
        closing = [
            client.socket.close(code=WSCloseCode.GOING_AWAY, message=b"venue stops") for client in clients
        ]
        await asyncio.gather(*closing, return_exceptions=True)

    async def freeze(self) -> None:
        """Stop the clock that drives the market; from now on only ``run_to`` moves it. For tests."""
        if self._pacing is not None:
            self._pacing.cancel()
            await asyncio.gather(self._pacing, return_exceptions=True)

    async def stopped(self) -> None:
        """Returns or raises when the market has stopped: a venue without a market must not look alive."""
        if self._pacing is not None:
            await asyncio.wait([self._pacing])
            if not self._pacing.cancelled():
                self._pacing.result()

    async def _pace(self) -> None:
        while True:
            now_ns = self.now_ns
            # After a stall the market catches up in pieces, so that the clients' tasks get their turn.
            self.run_to(min(now_ns, self.market.now_ns + CATCH_UP_NS))
            behind = now_ns - self.market.now_ns > CATCH_UP_NS
            await asyncio.sleep(0 if behind else self.settings.tick_s)

    def run_to(self, to_ns: int) -> None:
        """Let the market run to a time and publish all that happened."""
        self._repeat_shock()
        for name, payload in self.faults.due(to_ns):
            self.send(name, payload)
        updates = self.market.advance(to_ns)
        self.publish(updates)

    def _repeat_shock(self) -> None:
        every = self.settings.shock_every_ns
        shock = self._shock
        if every and shock is not None and self.market.now_ns > shock.start_ns:
            start_ns = max(shock.start_ns + every, self.market.now_ns)
            self.plan_shock(shock.moved_to(start_ns, -shock.direction))

    # ------------------------------------------------------------------------------------------- messages

    def deliver(self, stream: str, payload: bytes) -> None:
        """Through the faults to everybody who subscribed."""
        for name, message in self.faults.through((stream, payload), self.market.now_ns):
            self.send(name, message)

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
        await socket.prepare(request)
        client = client_of(socket)
        self.clients.add(client)
        for name in names:
            self.subscribe(client, name)
        pump = asyncio.create_task(client.pump())
        try:
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

    # -------------------------------------------------------------------------------------------- control

    async def _status(self, request: web.Request) -> web.Response:
        return web.json_response(
            {
                "market": self.market.config.market,
                "seed": self.market.seed,
                "now_ns": self.market.now_ns,
                "behind_ns": self.now_ns - self.market.now_ns,
                "clients": len(self.clients),
                "messages": self.messages,
                "cut_off": self.cut_off,
                "faults": self.faults.hits,
                "shock": [self.market.shock_level(i) for i in range(len(self.market.config.symbols))],
            }
        )

    async def _control_shock(self, request: web.Request) -> web.Response:
        """Start a news shock.

        ``{"duration_ms": 4000, "in_ms": 0, "intensity": 1, "direction": -1, "score": -1, "symbol": null}``
        """

        def plan(body: dict[str, Any]) -> dict[str, Any]:
            symbol = body.pop("symbol", None)
            at_ns = self.market.now_ns + round(float(body.pop("in_ms", 0)) * NS_PER_MS)
            shock = self.market.schedule_shock(
                at_ns,
                round(float(body.pop("duration_ms", 4000)) * NS_PER_MS),
                symbol=None if symbol is None else self.market.config.index(symbol),
                **body,
            )
            return {"start_ns": shock.start_ns, "end_ns": shock.start_ns + shock.duration_ns}

        return await _controlled(request, plan)

    async def _control_fault(self, request: web.Request) -> web.Response:
        """``{"kind": "drop", "stream": "btcusdt@depth*", "count": 1, "duration_ms": 0, "delay_ms": 0}``

        Kinds: drop, duplicate, reorder, garbage (``count``), delay, mute (``duration_ms``), cut (all connections,
        now), clear, and what the venue itself has (``FAULTS``, with ``count``).
        """

        def plan(body: dict[str, Any]) -> dict[str, Any]:
            kind = body.pop("kind", None)
            count = int(body.pop("count", 1))
            if kind == "cut":
                for client in list(self.clients):
                    client.abort()
            elif kind in self.FAULTS:
                self.own_faults[kind] = count
            elif kind == "clear":
                for stream, payload in self.faults.clear():
                    self.send(stream, payload)
            elif kind in KINDS:
                duration_ns = round(float(body.pop("duration_ms", 0)) * NS_PER_MS)
                if kind not in COUNTED and duration_ns <= 0:
                    raise ValueError(f"duration_ms: {kind} needs how long it lasts, above 0")
                self.faults.add(
                    Fault(
                        kind=kind,
                        stream=str(body.pop("stream", "*")),
                        count=count,
                        until_ns=self.market.now_ns + duration_ns,
                        delay_ns=round(float(body.pop("delay_ms", 0)) * NS_PER_MS),
                    )
                )
            else:
                raise ValueError(f"kind: {kind!r} is none of {', '.join((*KINDS, *self.FAULTS))}, cut, clear")
            if body:
                raise ValueError(f"unknown key {next(iter(body))!r}")
            return {"kind": kind, "count": count}

        return await _controlled(request, plan)


async def _controlled(request: web.Request, act: Callable[[dict[str, Any]], dict[str, Any]]) -> web.Response:
    try:
        body = await request.json() if request.can_read_body else {}
        return web.json_response(act(body))
    except (ValueError, TypeError, KeyError) as error:
        return web.json_response({"error": str(error)}, status=400)


async def serve(
    venue: WebsocketVenue, host: str, port: int, started: Callable[[int], Awaitable[None] | None]
) -> None:
    """Run until cancelled; ``started`` is told the port (``port`` 0 takes a free one)."""
    runner = web.AppRunner(venue.app, access_log=None, shutdown_timeout=1.0)
    await runner.setup()
    try:
        site = web.TCPSite(runner, host, port)
        await site.start()
        told = started(runner.addresses[0][1])
        if told is not None:
            await told
        await venue.stopped()
    finally:
        await runner.cleanup()
