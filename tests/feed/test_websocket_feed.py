"""One feed, one connection: what comes late, from a connection that was given up or has failed, reaches nobody."""

import asyncio
import base64
import hashlib
import json
from decimal import Decimal
from typing import Any

import pytest
import structlog
from picows import ws_connect

from quotelife.instruments import Instrument, InstrumentTable
from quotelife.records import EventBuffer, EventKindCode, StatusKind
from quotelife.units import NS_PER_S
from quotelife_server.clock import SystemClock
from quotelife_server.feeds import websocket
from quotelife_server.feeds.binance import BinanceFeed
from quotelife_server.feeds.settings import BinanceFeedConfig
from reference.event_books import EventRow, rows
from reference.fix_kit import until

ACCEPT = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11"
PONG = b"\x8a\x00"
TABLE = InstrumentTable([Instrument(0, "BTC", "binance", "BTCUSDT", Decimal("0.1"), Decimal("0.001"))])


def frame(update_id: int) -> bytes:
    """A text frame with a quote."""
    quote = {"u": update_id, "s": "BTCUSDT", "b": "100.0", "B": "1", "a": "100.1", "A": "1"}
    body = json.dumps({"stream": "btcusdt@bookTicker", "data": quote}, separators=(",", ":")).encode()
    assert len(body) < 126
    return b"\x81" + bytes([len(body)]) + body


class Server:
    """Answers the n-th handshake after ``waits_s[n]``, the last one's for all others."""

    def __init__(self, *waits_s: float) -> None:
        self.writers: list[asyncio.StreamWriter] = []
        self._waits_s = waits_s
        self._begun = 0

    async def start(self) -> str:
        self._server = await asyncio.start_server(self._talk, "127.0.0.1", 0)
        return f"127.0.0.1:{self._server.sockets[0].getsockname()[1]}"

    async def _talk(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        wait_s = self._waits_s[min(self._begun, len(self._waits_s) - 1)]
        self._begun += 1
        head = await reader.readuntil(b"\r\n\r\n")
        (key,) = (
            line[18:].strip()
            for line in head.split(b"\r\n")
            if line.lower().startswith(b"sec-websocket-key:")
        )
        await asyncio.sleep(wait_s)
        answer = base64.b64encode(hashlib.sha1(key + ACCEPT).digest())
        writer.write(
            b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
            b"Sec-WebSocket-Accept: " + answer + b"\r\n\r\n"
        )
        self.writers.append(writer)

    def stop(self) -> None:
        self._server.close()
        for writer in self.writers:
            writer.transport.abort()


class Told:
    """A sink that remembers, and fails when it is told to."""

    def __init__(self) -> None:
        self.rows: list[EventRow] = []
        self.fails = False

    def __call__(self, buffer: EventBuffer) -> None:
        if self.fails:
            self.fails = False
            raise RuntimeError("the engine failed")
        self.rows += rows(buffer)

    def quotes(self) -> list[int]:
        return [row.sequence for row in self.rows if row.kind == EventKindCode.QUOTE]


def feed_to(address: str, told: Told, **fields: Any) -> BinanceFeed:
    written = {
        "kind": "binance",
        "name": "line",
        "market": "spot",
        "ws_url": f"ws://{address}",
        "rest_url": f"http://{address}",
        "instruments": ["BTC"],
        "streams": ["bookTicker"],
        "liveness": {"ping": "10s", "idle": "20s"},
    }
    config = BinanceFeedConfig.model_validate_json(json.dumps(written | fields))
    clock = SystemClock(NS_PER_S)
    return BinanceFeed.from_table(config, TABLE, sink=told, clock=clock, logger=structlog.get_logger())


async def test_an_attempt_that_was_given_up_brings_nothing_when_it_stands_after_all(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async def patient(*arguments: Any, **named: Any) -> Any:
        """picows ends a late handshake by a timer of its own, which a busy loop may come to too late."""
        return await ws_connect(*arguments, **named | {"websocket_handshake_timeout": None})

    monkeypatch.setattr(websocket, "ws_connect", patient)
    server, told = Server(0.3, 0.0), Told()
    feed = feed_to(await server.start(), told, reconnect={"min": "10ms", "max": "20ms", "timeout": "150ms"})
    await feed.start()
    try:
        await until(lambda: len(server.writers) == 2)
        late, second = server.writers[1], server.writers[0]
        late.write(frame(2))
        await asyncio.sleep(0.05)
        second.write(frame(1))
        await until(lambda: told.quotes() != [])
        assert told.quotes() == [1]
        assert feed.connected
        late.transport.abort()
        await asyncio.sleep(0.05)
        assert feed.connected, "the end of the late one is not the end of the other"
    finally:
        await feed.stop()
        server.stop()


async def test_after_a_sink_that_failed_nothing_of_the_same_read_is_built_upon() -> None:
    server, told = Server(0.0), Told()
    feed = feed_to(await server.start(), told, reconnect={"min": "2s", "max": "3s"})
    await feed.start()
    try:
        await until(lambda: len(server.writers) == 1 and feed.connected)
        told.fails = True
        server.writers[0].write(frame(1) + PONG + frame(2) + frame(3))
        await until(lambda: not feed.connected)
        await asyncio.sleep(0.05)
        assert told.quotes() == []
        kinds = [(row.kind, row.aux) for row in told.rows]
        assert kinds[-2:] == [(EventKindCode.CLEAR, 0), (EventKindCode.STATUS, StatusKind.FEED_DOWN)]
    finally:
        await feed.stop()
        server.stop()


@pytest.mark.parametrize(
    ("delay_s", "told_of_it"),
    [(30.0, "feed down: no answer within 0.05 s"), (None, "feed down: ConnectionRefused")],
)
async def test_status_has_the_reason_why_a_feed_is_down(delay_s: float | None, told_of_it: str) -> None:
    server = Server(delay_s or 0.0)
    address = await server.start()
    if delay_s is None:
        server.stop()
    feed = feed_to(address, Told(), reconnect={"min": "1s", "max": "2s", "timeout": "50ms"})
    await feed.start()
    try:
        await until(lambda: feed.figures().fault is not None)
        fault = feed.figures().fault
        assert fault is not None and fault.text.startswith(told_of_it) and address in fault.text
    finally:
        await feed.stop()
        server.stop()


async def test_a_sink_that_fails_while_it_is_told_of_the_end_is_told_again() -> None:
    server, told = Server(0.0), Told()
    feed = feed_to(await server.start(), told, reconnect={"min": "2s", "max": "3s"})
    await feed.start()
    try:
        await until(lambda: len(server.writers) == 1 and feed.connected)
        told.fails = True
        server.writers[0].transport.abort()
        await until(lambda: not feed.connected)
        assert not told.fails
        assert told.rows[-1].aux == StatusKind.FEED_DOWN
    finally:
        await feed.stop()
        server.stop()


async def test_a_companion_that_never_came_to_stand_is_told_of_at_the_start() -> None:
    server, told = Server(30.0), Told()
    feed = feed_to(await server.start(), told)
    feed.books_elsewhere(["BTC"])
    await feed.start()
    try:
        down = (EventKindCode.STATUS, StatusKind.COMPANION_DOWN)
        assert [(row.kind, row.aux) for row in told.rows] == [down]
    finally:
        await feed.stop()
        server.stop()
