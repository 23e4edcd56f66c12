"""A venue that speaks Binance's wire on a real socket: websocket streams, REST snapshots, a control door."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Sequence
from typing import Any, ClassVar

from aiohttp import web

from quotelife.sim.binance_wire import NEWS_STREAM, BinanceWire
from quotelife.sim.market import MarketSimulator
from quotelife.sim.updates import VenueUpdate
from quotelife.units import NS_PER_MS
from quotelife_server.simvenue.base import VenueSettings
from quotelife_server.simvenue.websocket import Client, WebsocketVenue

REST_PREFIX = {"spot": "/api/v3", "usdm": "/fapi/v1", "coinm": "/dapi/v1"}
LIMITS = {"spot": (100, 5000), "usdm": (500, 1000), "coinm": (500, 1000)}
STREAMS_MAX = 1024
REST_LATE_S = 4.0


class _BinanceClient(Client):
    def __init__(self, socket: web.WebSocketResponse, request: web.Request, combined: bool) -> None:
        super().__init__(socket, request)
        self.combined = combined


class SimulatedVenue(WebsocketVenue):
    """Binance's wire around one ``MarketSimulator``.

    Faults of its own, each of one answer to a request for a snapshot: ``rest_error``; ``rest_garbage`` (cut short);
    ``rest_old`` (the answer to an earlier request, as from a cache); ``rest_late`` (it takes ``REST_LATE_S``).
    """

    FAULTS: ClassVar[tuple[str, ...]] = ("rest_error", "rest_garbage", "rest_old", "rest_late")

    def __init__(self, market: MarketSimulator, settings: VenueSettings | None = None) -> None:
        self.wire = BinanceWire(market.config)
        self._answered: dict[int, bytes] = {}  # the last snapshot given, by symbol
        self._aliases: dict[str, str] = {NEWS_STREAM: NEWS_STREAM}
        prefix = REST_PREFIX[market.config.market]
        super().__init__(
            market,
            settings,
            [
                web.get("/stream", self._stream),
                web.get("/ws", self._stream),
                web.get("/ws/{streams:.+}", self._stream),
                web.get(f"{prefix}/depth", self._depth),
                web.get(f"{prefix}/ping", self._ping),
                web.get(f"{prefix}/time", self._time),
            ],
        )
        self.subscribers[NEWS_STREAM] = set()
        for symbol in self.wire.symbols:
            for stream in (symbol.depth, symbol.ticker, symbol.trade):
                self.subscribers[stream] = set()
                self._aliases[stream] = stream
            lower = symbol.symbol.lower()
            for name in ("depth", "depth@0ms", "depth@100ms", "depth@250ms", "depth@500ms", "depth@1000ms"):
                self._aliases.setdefault(f"{lower}@{name}", symbol.depth)

    def publish(self, updates: Sequence[VenueUpdate]) -> None:
        for item in self.market.news():
            self.deliver(NEWS_STREAM, self.wire.news(item))
        for update in updates:
            stream = self.wire.stream_of(update)
            if self.subscribers[stream]:
                self.deliver(stream, self.wire.encode(update))

    def framed(self, client: Client, stream: str, payload: bytes) -> bytes:
        assert isinstance(client, _BinanceClient)
        return BinanceWire.combined(client.streams[stream], payload) if client.combined else payload

    def subscribe(self, client: Client, name: str) -> None:
        stream = self._aliases[name]
        client.streams[stream] = name
        self.subscribers[stream].add(client)

    def unsubscribe(self, client: Client, name: str) -> None:
        super().unsubscribe(client, self._aliases[name])

    # ------------------------------------------------------------------------------------------ websocket

    async def _stream(self, request: web.Request) -> web.StreamResponse:
        combined = request.path == "/stream"
        listed = request.query.get("streams", "") if combined else request.match_info.get("streams", "")
        names = [name for name in listed.split("/") if name]
        unknown = [name for name in names if name not in self._aliases]
        if unknown:
            raise web.HTTPBadRequest(text=f"no such stream: {unknown[0]}; there are: {self._stream_list()}")
        return await self.serve_socket(
            request, lambda socket: _BinanceClient(socket, request, combined), names
        )

    def command(self, client: Client, text: str) -> None:
        self.enqueue(client, self._answer(client, text))

    def _answer(self, client: Client, text: str) -> bytes:
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
                    self.subscribe(client, name)
            elif method == "UNSUBSCRIBE":
                for name in params:
                    self.unsubscribe(client, name)
            elif method == "LIST_SUBSCRIPTIONS":
                result = list(client.streams.values())
            else:
                raise ValueError(f"unknown method {method!r}")
            return json.dumps({"result": result, "id": request_id}).encode()
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            answer = {"error": {"code": 2, "msg": f"Invalid request: {error}"}, "id": request_id}
            return json.dumps(answer).encode()

    def _stream_list(self) -> str:
        return ", ".join(self.subscribers)

    # ----------------------------------------------------------------------------------------------- REST

    async def _depth(self, request: web.Request) -> web.Response:
        if self.own_fault("rest_error"):
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
        if self.own_fault("rest_old"):
            body = self._answered.get(index, body)
        self._answered[index] = body
        if self.own_fault("rest_late"):
            await asyncio.sleep(REST_LATE_S)
        if self.own_fault("rest_garbage"):
            body = body[: len(body) // 2]
        return web.Response(body=body, content_type="application/json")

    async def _ping(self, request: web.Request) -> web.Response:
        return web.json_response({})

    async def _time(self, request: web.Request) -> web.Response:
        return web.json_response({"serverTime": self.now_ns // NS_PER_MS})
