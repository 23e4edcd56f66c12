"""Venues that speak the wires of Deribit, Coinbase and OKX on a real socket.

A subscription to a book is answered with a snapshot of what has been published, and everything published after it
continues that snapshot. Subscribing anew gives a new one.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable, Sequence
from typing import Any, ClassVar, Generic, TypeVar

from aiohttp import web

from quotelife.sim.market import MarketSimulator, SymbolConfig
from quotelife.sim.streamed_wires import (
    CoinbaseWire,
    DeribitWire,
    OkxWire,
    PublishedBook,
    StreamedWire,
)
from quotelife.sim.updates import DepthUpdate, TradeUpdate, VenueUpdate
from quotelife.units import NS_PER_S
from quotelife_server.simvenue.base import VenueSettings
from quotelife_server.simvenue.websocket import Client, WebsocketVenue

Wire = TypeVar("Wire", bound=StreamedWire)
WHOLE = 10_000  # levels a side: all


class StreamedVenue(WebsocketVenue, Generic[Wire]):
    """Books by symbol, published as changes; streams are named ``book.SYMBOL`` and ``trades.SYMBOL``."""

    PATH: ClassVar[str] = "/"

    def __init__(
        self, market: MarketSimulator, wire_of: Callable[[SymbolConfig], Wire], settings: VenueSettings | None
    ) -> None:
        super().__init__(market, settings, [web.get(self.PATH, self._connect)])
        symbols = market.config.symbols
        self.names = [symbol.symbol for symbol in symbols]
        self.wires = [wire_of(symbol) for symbol in symbols]
        self.books = [PublishedBook(market.snapshot(i, WHOLE)) for i in range(len(symbols))]
        for name in self.names:
            for kind in ("book", "trades", "ticker"):
                self.subscribers[f"{kind}.{name}"] = set()

    async def _connect(self, request: web.Request) -> web.StreamResponse:
        return await self.serve_socket(request, lambda socket: Client(socket, request))

    def publish(self, updates: Sequence[VenueUpdate]) -> None:
        for update in updates:
            at = update.symbol
            if isinstance(update, DepthUpdate):
                self.books[at].apply(update)
                self.deliver(f"book.{self.names[at]}", self.change(at, update))
            elif isinstance(update, TradeUpdate):
                self.deliver(f"trades.{self.names[at]}", self.wires[at].trade(update))

    def change(self, symbol: int, update: DepthUpdate) -> bytes:
        return self.wires[symbol].change(self.books[symbol], update)

    def send_snapshot(self, client: Client, symbol: int) -> None:
        """The book to one client alone; it meets the faults of its stream as any message."""
        stream = f"book.{self.names[symbol]}"
        payload = self.framed(client, stream, self.wires[symbol].snapshot(self.books[symbol]))
        for _, message in self.faults.through((stream, payload), self.market.now_ns):
            self.enqueue(client, message)


class SimulatedDeribit(StreamedVenue[DeribitWire]):
    """Deribit: heartbeats with tests that must be answered, subscriptions by channel, instrument metadata.

    Each symbol has a ticker with made-up greeks on every beat of its book.
    """

    PATH: ClassVar[str] = "/ws/api/v2"

    def __init__(
        self,
        market: MarketSimulator,
        settings: VenueSettings | None = None,
        interval: str = "100ms",
        heartbeat_scale: float = 1.0,
    ) -> None:
        """``heartbeat_scale``: seconds that a second of the heartbeats asked for takes."""
        super().__init__(market, lambda symbol: DeribitWire(symbol, interval), settings)
        self.interval = interval
        self.heartbeat_scale = heartbeat_scale
        self.tests_sent = 0
        self.tests_answered = 0
        self._heartbeats: dict[Client, asyncio.Task[None]] = {}
        self._unanswered: dict[Client, int] = {}

    def publish(self, updates: Sequence[VenueUpdate]) -> None:
        super().publish(updates)
        for update in updates:
            if isinstance(update, DepthUpdate) and update.bids + update.asks:
                at, book = update.symbol, self.books[update.symbol]
                bids, asks = book.levels()
                tick = float(self.market.config.symbols[at].tick_size)
                mid = (bids[0][0] + asks[0][0]) / 2 * tick
                greeks = {"delta": 0.5, "gamma": 0.001, "vega": mid / 100, "theta": -mid / 365}
                payload = self.wires[at].ticker(update.time_ns, mid, greeks, 60.0, mid)
                self.deliver(f"ticker.{self.names[at]}", payload)

    def command(self, client: Client, text: str) -> None:
        try:
            request = json.loads(text)
            method, params, number = request["method"], request["params"], request.get("id")
        except (ValueError, KeyError, TypeError):
            self._error(client, None, -32700, "Parse error")
            return
        if method in ("public/subscribe", "public/unsubscribe"):
            known = [channel for channel in params["channels"] if self._place(channel) is not None]
            self._result(client, number, known)
            for channel in known:
                kind, at = self._place(channel) or ("", 0)
                stream = f"{kind}.{self.names[at]}"
                if method == "public/unsubscribe":
                    self.unsubscribe(client, stream)
                    continue
                self.subscribe(client, stream)
                if kind == "book":
                    self.send_snapshot(client, at)
        elif method == "public/set_heartbeat":
            self._result(client, number, "ok")
            if client not in self._heartbeats:
                beat = self._beat(client, self.heartbeat_scale * float(params["interval"]))
                self._heartbeats[client] = asyncio.create_task(beat)
        elif method == "public/test":
            self.tests_answered += 1
            self._unanswered[client] = 0
            self._result(client, number, {"version": "simulated"})
        elif method == "public/get_instrument" and params.get("instrument_name") in self.names:
            symbol = self.market.config.symbols[self.names.index(params["instrument_name"])]
            instrument = {
                "instrument_name": symbol.symbol,
                "kind": "future",
                "tick_size": float(symbol.tick_size),
                "tick_size_steps": [],
                "min_trade_amount": float(symbol.lot_size),
                "contract_size": float(symbol.lot_size),
                "is_active": True,
            }
            self._result(client, number, instrument)
        elif method == "public/get_instrument":
            self._error(client, number, 13020, "instrument_not_found")
        else:
            self._error(client, number, -32601, "Method not found")

    def _place(self, channel: str) -> tuple[str, int] | None:
        kind, _, rest = channel.partition(".")
        name, _, interval = rest.rpartition(".")
        if kind in ("book", "trades", "ticker") and name in self.names and interval == self.interval:
            return kind, self.names.index(name)
        return None

    async def _beat(self, client: Client, interval_s: float) -> None:
        try:
            while not client.cut:
                await asyncio.sleep(interval_s)
                if self._unanswered.get(client, 0) > 1:
                    client.abort()
                    return
                self.tests_sent += 1
                self._unanswered[client] = self._unanswered.get(client, 0) + 1
                self.enqueue(
                    client, b'{"jsonrpc":"2.0","method":"heartbeat","params":{"type":"test_request"}}'
                )
        finally:
            self._heartbeats.pop(client, None)
            self._unanswered.pop(client, None)

    async def _stop(self, app: web.Application) -> None:
        for task in list(self._heartbeats.values()):
            task.cancel()
        await super()._stop(app)

    def _result(self, client: Client, number: Any, result: Any) -> None:
        body = {"jsonrpc": "2.0", "id": number, "result": result, "testnet": False}
        self.enqueue(client, json.dumps(body).encode())

    def _error(self, client: Client, number: Any, code: int, message: str) -> None:
        body = {"jsonrpc": "2.0", "id": number, "error": {"code": code, "message": message}}
        self.enqueue(client, json.dumps(body).encode())


class SimulatedCoinbase(StreamedVenue[CoinbaseWire]):
    """Coinbase: every message of a connection is numbered, whatever becomes of it on the way."""

    HEARTBEAT_S: ClassVar[float] = 1.0

    def __init__(self, market: MarketSimulator, settings: VenueSettings | None = None) -> None:
        super().__init__(market, CoinbaseWire, settings)
        self._beating: set[Client] = set()
        self._beat_ns = 0

    def publish(self, updates: Sequence[VenueUpdate]) -> None:
        super().publish(updates)
        if self.market.now_ns - self._beat_ns >= self.HEARTBEAT_S * NS_PER_S:
            self._beat_ns = self.market.now_ns
            beat = CoinbaseWire.message("heartbeats", self.market.now_ns, '{"heartbeat_counter":1}')
            for client in list(self._beating & self.clients):
                self.enqueue(client, self.framed(client, "", beat))

    def deliver(self, stream: str, payload: bytes) -> None:
        # The number is given before a message may be lost.
        for client in list(self.subscribers[stream]):
            numbered = self.framed(client, stream, payload)
            for _, message in self.faults.through((stream, numbered), self.market.now_ns):
                self.enqueue(client, message)

    def send(self, stream: str, payload: bytes) -> None:
        # What a fault held back has its number already.
        for client in list(self.subscribers.get(stream, ())):
            self.enqueue(client, payload)

    def framed(self, client: Client, stream: str, payload: bytes) -> bytes:
        client.sent += 1
        return CoinbaseWire.numbered(payload, client.sent - 1)

    def command(self, client: Client, text: str) -> None:
        try:
            request = json.loads(text)
            kind, channel = request["type"], request["channel"]
            names = request.get("product_ids", [])
            streams = {"level2": "book", "market_trades": "trades", "heartbeats": ""}
            if kind not in ("subscribe", "unsubscribe") or channel not in streams:
                raise ValueError("no such channel")
            places = [self.names.index(name) for name in names]
        except (ValueError, KeyError, TypeError) as error:
            self.enqueue(client, json.dumps({"type": "error", "message": str(error)}).encode())
            return
        if channel == "heartbeats":
            self._beating.add(client)
        for at in places:
            stream = f"{streams[channel]}.{self.names[at]}"
            if kind == "unsubscribe":
                self.unsubscribe(client, stream)
                continue
            self.subscribe(client, stream)
            if channel == "level2":
                self.send_snapshot(client, at)
        listed = json.dumps({"subscriptions": {channel: names}})
        note = CoinbaseWire.message("subscriptions", self.market.now_ns, listed)
        self.enqueue(client, self.framed(client, "", note))


class SimulatedOkx(StreamedVenue[OkxWire]):
    """OKX: checksums and sequence numbers, and the text ping. ``wrong_checksum`` is a fault of its own."""

    PATH: ClassVar[str] = "/ws/v5/public"
    FAULTS: ClassVar[tuple[str, ...]] = ("wrong_checksum",)

    def __init__(self, market: MarketSimulator, settings: VenueSettings | None = None) -> None:
        super().__init__(market, OkxWire, settings)
        self.pings = 0

    def change(self, symbol: int, update: DepthUpdate) -> bytes:
        error = 1 if self.own_fault("wrong_checksum") else 0
        return self.wires[symbol].change(self.books[symbol], update, error)

    def command(self, client: Client, text: str) -> None:
        if text == "ping":
            self.pings += 1
            self.enqueue(client, b"pong")
            return
        streams = {"books": "book", "trades": "trades"}
        try:
            request = json.loads(text)
            if request["op"] not in ("subscribe", "unsubscribe"):
                raise ValueError(f"op {request['op']!r}")
            for arg in request["args"]:
                at = self.names.index(arg["instId"])
                stream = f"{streams[arg['channel']]}.{self.names[at]}"
                self.enqueue(client, json.dumps({"event": request["op"], "arg": arg}).encode())
                if request["op"] == "unsubscribe":
                    self.unsubscribe(client, stream)
                    continue
                self.subscribe(client, stream)
                if arg["channel"] == "books":
                    self.send_snapshot(client, at)
        except (ValueError, KeyError, TypeError) as error:
            answer = {"event": "error", "code": "60012", "msg": f"Invalid request: {error}"}
            self.enqueue(client, json.dumps(answer).encode())
