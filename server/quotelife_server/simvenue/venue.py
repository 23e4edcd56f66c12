"""A venue that speaks Binance's wire on a real socket: websocket streams, REST snapshots, a control door.

One task lets the simulated market run by the loop's clock and hands its messages to the clients; each client
has a bounded queue and a task that empties it. Who does not keep up is cut off, as at the real venue.
"""

from __future__ import annotations

import asyncio
import json
from collections import deque
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any

from aiohttp import WSCloseCode, WSMsgType, web

from quotelife.sim.binance_wire import NEWS_STREAM, BinanceWire
from quotelife.sim.market import MarketSimulator, NewsShock
from quotelife.units import NS_PER_MS, NS_PER_S
from quotelife_server.simvenue.faults import COUNTED, KINDS, Fault, FaultLine

REST_PREFIX = {"spot": "/api/v3", "usdm": "/fapi/v1", "coinm": "/dapi/v1"}
LIMITS = {"spot": (100, 5000), "usdm": (500, 1000), "coinm": (500, 1000)}
CATCH_UP_NS = 200 * NS_PER_MS
STREAMS_MAX = 1024


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


class _Client:
    """One websocket: what it subscribed to, and what still has to be written to it."""

    def __init__(self, socket: web.WebSocketResponse, request: web.Request, combined: bool) -> None:
        self.socket = socket
        self.request = request
        self.combined = combined
        self.streams: dict[str, str] = {}  # canonical stream -> the name this client used
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


class SimulatedVenue:
    """The aiohttp application around one ``MarketSimulator``; made inside the running event loop."""

    def __init__(self, market: MarketSimulator, settings: VenueSettings | None = None) -> None:
        self.market = market
        self.settings = settings or VenueSettings()
        self.wire = BinanceWire(market.config)
        self.faults = FaultLine()
        self.messages = 0
        self.cut_off = 0
        self._clients: set[_Client] = set()
        self._subscribers: dict[str, set[_Client]] = {NEWS_STREAM: set()}
        self._aliases: dict[str, str] = {NEWS_STREAM: NEWS_STREAM}
        for symbol in self.wire.symbols:
            for stream in (symbol.depth, symbol.ticker, symbol.trade):
                self._subscribers[stream] = set()
                self._aliases[stream] = stream
            lower = symbol.symbol.lower()
            for name in ("depth", "depth@0ms", "depth@100ms", "depth@250ms", "depth@500ms", "depth@1000ms"):
                self._aliases.setdefault(f"{lower}@{name}", symbol.depth)
        self._rest_errors = 0
        # Venue time runs from here: the market's start, as the caller has just stamped it.
        self._epoch = asyncio.get_running_loop().time()
        self._pacing: asyncio.Task[None] | None = None
        self._shock: NewsShock | None = None
        self.app = web.Application(client_max_size=64 * 1024)
        prefix = REST_PREFIX[market.config.market]
        self.app.add_routes(
            [
                web.get("/stream", self._stream),
                web.get("/ws", self._stream),
                web.get("/ws/{streams:.+}", self._stream),
                web.get(f"{prefix}/depth", self._depth),
                web.get(f"{prefix}/ping", self._ping),
                web.get(f"{prefix}/time", self._time),
                web.get("/control/status", self._status),
                web.post("/control/shock", self._control_shock),
                web.post("/control/fault", self._control_fault),
            ]
        )
        self.app.on_startup.append(self._start)
        self.app.on_shutdown.append(self._stop)

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
        clients = list(self._clients)
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
            self._send(name, payload)
        updates = self.market.advance(to_ns)
        for item in self.market.news():
            self._publish(NEWS_STREAM, self.wire.news(item))
        stream_of = self.wire.stream_of
        encode = self.wire.encode
        for update in updates:
            stream = stream_of(update)
            if self._subscribers[stream]:
                self._publish(stream, encode(update))

    def _repeat_shock(self) -> None:
        every = self.settings.shock_every_ns
        shock = self._shock
        if every and shock is not None and self.market.now_ns > shock.start_ns:
            start_ns = max(shock.start_ns + every, self.market.now_ns)
            self.plan_shock(shock.moved_to(start_ns, -shock.direction))

    # ------------------------------------------------------------------------------------------- messages

    def _publish(self, stream: str, payload: bytes) -> None:
        for name, message in self.faults.through((stream, payload), self.market.now_ns):
            self._send(name, message)

    def _send(self, stream: str, payload: bytes) -> None:
        for client in list(self._subscribers[stream]):
            message = BinanceWire.combined(client.streams[stream], payload) if client.combined else payload
            self._enqueue(client, message)

    def _enqueue(self, client: _Client, message: bytes) -> None:
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

    def _subscribe(self, client: _Client, name: str) -> None:
        """``KeyError`` for a stream that this venue does not have."""
        stream = self._aliases[name]
        client.streams[stream] = name
        self._subscribers[stream].add(client)

    def _unsubscribe(self, client: _Client, name: str) -> None:
        stream = self._aliases[name]
        client.streams.pop(stream, None)
        self._subscribers[stream].discard(client)

    # ------------------------------------------------------------------------------------------ websocket

    async def _stream(self, request: web.Request) -> web.StreamResponse:
        combined = request.path == "/stream"
        listed = request.query.get("streams", "") if combined else request.match_info.get("streams", "")
        names = [name for name in listed.split("/") if name]
        unknown = [name for name in names if name not in self._aliases]
        if unknown:
            raise web.HTTPBadRequest(text=f"no such stream: {unknown[0]}; there are: {self._stream_list()}")
        if len(self._clients) >= self.settings.clients_max:
            raise web.HTTPServiceUnavailable(text="too many clients")
        socket = web.WebSocketResponse(
            heartbeat=self.settings.ping_s, compress=False, max_msg_size=64 * 1024, timeout=1.0
        )
        await socket.prepare(request)
        client = _Client(socket, request, combined)
        self._clients.add(client)
        for name in names:
            self._subscribe(client, name)
        pump = asyncio.create_task(client.pump())
        try:
            async for message in socket:
                if message.type is WSMsgType.TEXT:
                    self._enqueue(client, self._command(client, message.data))
        finally:
            self._clients.discard(client)
            for subscribers in self._subscribers.values():
                subscribers.discard(client)
            client.cut = True
            pump.cancel()
            await asyncio.gather(pump, return_exceptions=True)
        return socket

    def _command(self, client: _Client, text: str) -> bytes:
        """SUBSCRIBE, UNSUBSCRIBE, LIST_SUBSCRIPTIONS, answered in Binance's way."""
        request_id: Any = None
        try:
            command = json.loads(text)
            request_id = command.get("id")
            method = command["method"]
            params = command.get("params", [])
            if not isinstance(params, list) or len(params) > STREAMS_MAX:
                raise ValueError("params must be a list of stream names")
            result = None
            if method == "SUBSCRIBE":
                for name in params:
                    self._subscribe(client, name)
            elif method == "UNSUBSCRIBE":
                for name in params:
                    self._unsubscribe(client, name)
            elif method == "LIST_SUBSCRIPTIONS":
                result = list(client.streams.values())
            else:
                raise ValueError(f"unknown method {method!r}")
            return json.dumps({"result": result, "id": request_id}).encode()
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            answer = {"error": {"code": 2, "msg": f"Invalid request: {error}"}, "id": request_id}
            return json.dumps(answer).encode()

    def _stream_list(self) -> str:
        return ", ".join(self._subscribers)

    # ----------------------------------------------------------------------------------------------- REST

    async def _depth(self, request: web.Request) -> web.Response:
        if self._rest_errors:
            self._rest_errors -= 1
            return web.json_response({"code": -1000, "msg": "An unknown error occurred."}, status=503)
        usual, most = LIMITS[self.market.config.market]
        try:
            index = self.market.config.index(request.query.get("symbol", ""))
        except KeyError:
            return web.json_response({"code": -1121, "msg": "Invalid symbol."}, status=400)
        try:
            limit = int(request.query.get("limit", usual))
        except ValueError:
            limit = 0
        if not 1 <= limit <= most:
            return web.json_response(
                {"code": -1130, "msg": "Data sent for parameter 'limit' is not valid."}, status=400
            )
        body = self.wire.snapshot(self.market.snapshot(index, limit))
        return web.Response(body=body, content_type="application/json")

    async def _ping(self, request: web.Request) -> web.Response:
        return web.json_response({})

    async def _time(self, request: web.Request) -> web.Response:
        return web.json_response({"serverTime": self.now_ns // NS_PER_MS})

    # -------------------------------------------------------------------------------------------- control

    async def _status(self, request: web.Request) -> web.Response:
        return web.json_response(
            {
                "market": self.market.config.market,
                "seed": self.market.seed,
                "now_ns": self.market.now_ns,
                "behind_ns": self.now_ns - self.market.now_ns,
                "clients": len(self._clients),
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

        Kinds: drop, duplicate, reorder (``count``), delay, mute (``duration_ms``), cut (all connections,
        now), rest_error (the next ``count`` snapshots fail), clear.
        """

        def plan(body: dict[str, Any]) -> dict[str, Any]:
            kind = body.pop("kind", None)
            count = int(body.pop("count", 1))
            if kind == "cut":
                for client in list(self._clients):
                    client.abort()
            elif kind == "rest_error":
                self._rest_errors = count
            elif kind == "clear":
                for stream, payload in self.faults.clear():
                    self._send(stream, payload)
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
                raise ValueError(f"kind: {kind!r} is none of {', '.join(KINDS)}, cut, rest_error, clear")
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
    venue: SimulatedVenue, host: str, port: int, started: Callable[[int], Awaitable[None] | None]
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
