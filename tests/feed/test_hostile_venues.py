"""Venues that keep a line and are no use, or ask and never read: found, left, and no memory lost to them."""

import asyncio
import contextlib
import struct
from collections.abc import Awaitable, Callable
from decimal import Decimal

import structlog
import uvloop

from feed.test_websocket_feed import Server, Told, feed_to
from quotelife.instruments import Instrument, InstrumentTable
from quotelife.records import EventKindCode, StatusKind
from quotelife.units import NS_PER_S
from quotelife_server.clock import SystemClock
from quotelife_server.feeds.binance import _retry_after_s
from quotelife_server.feeds.itch import ItchFeed
from quotelife_server.feeds.settings import ItchFeedConfig
from reference.fix_kit import config, opened, until
from reference.fix_venue import message

SHARES = InstrumentTable([Instrument(0, "X", "nasdaq", "X", Decimal("0.01"), Decimal(1))])
Talk = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


async def served(talk: Talk) -> tuple[asyncio.Server, int]:
    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(ConnectionError, asyncio.CancelledError):
            await talk(reader, writer)
        writer.transport.abort()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    return server, server.sockets[0].getsockname()[1]


def test_a_fix_venue_that_asks_and_never_reads_is_left() -> None:
    """Each test request wants an answer of its size: without a bound they pile up for as long as it likes."""
    asked = 0

    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal asked
        await reader.read(4096)
        writer.write(message("A", 1, (98, 0), (108, 5), (141, "Y")))
        for n in range(2, 3000):
            writer.write(message("1", n, (112, "x" * 60_000)))
            await writer.drain()
            asked += 1

    async def run() -> None:
        server, port = await served(talk)
        feed, _ = opened(config(port, reconnect={"min": "5s", "max": "5s"}))
        await feed.start()
        try:
            await until(lambda: feed.session.messages > 1 and not feed.connected)
            assert 16 < asked < 1000  # more than the bound, far from all of it
        finally:
            await feed.stop()
            server.close()

    uvloop.run(run())


def test_a_soup_server_that_drips_bytes_of_one_packet_is_not_heard() -> None:
    """It is given up after silence, and until then instruments are told that the line lives only by what was heard."""
    logins = 0

    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal logins
        await reader.read(200)
        accepted = b"S1".rjust(10) + b"1".rjust(20)
        writer.write(struct.pack(">H", len(accepted) + 1) + b"A" + accepted)
        logins += 1
        if logins % 2:  # it was only asked how far it is
            await reader.read()
            return
        writer.write(struct.pack(">H", 60_000) + b"S")
        while True:
            writer.write(b"\0")
            await writer.drain()
            await asyncio.sleep(0.05)

    async def run() -> None:
        server, port = await served(talk)
        fields = {"kind": "itch", "name": "nasdaq", "transport": "soup", "server": f"127.0.0.1:{port}"}
        more = {"instruments": ("X",), "silence": "2500ms", "reconnect": {"min": "10ms", "max": "20ms"}}
        told, clock = Told(), SystemClock(NS_PER_S)
        feed = ItchFeed.from_table(
            ItchFeedConfig.model_validate(fields | more),
            SHARES,
            sink=told,
            clock=clock,
            logger=structlog.get_logger(),
        )
        await feed.start()
        try:
            await until(lambda: logins > 2)
            beats = [r for r in told.rows if r.kind == EventKindCode.STATUS and r.aux == StatusKind.HEARTBEAT]
            assert len(beats) <= 1  # for the login's acceptance
        finally:
            await feed.stop()
            server.close()

    uvloop.run(run())


async def test_a_websocket_that_is_closed_over_the_line_is_left_at_once() -> None:
    """A venue may wait long for the line's end after its close frame; nothing comes on it any more."""
    server, told = Server(0.0), Told()
    feed = feed_to(await server.start(), told, reconnect={"min": "10s", "max": "10s"})
    await feed.start()
    try:
        await until(lambda: feed.connected)
        server.writers[0].write(b"\x88\x02" + struct.pack(">H", 1000))
        await until(lambda: not feed.connected, 3.0)  # of idle: 20 s
    finally:
        await feed.stop()
        server.stop()


async def test_a_websocket_venue_that_pings_and_never_reads_is_left() -> None:
    server, told = Server(0.0), Told()
    liveness = {"ping": "100ms", "idle": "20s"}
    feed = feed_to(await server.start(), told, reconnect={"min": "10s", "max": "10s"}, liveness=liveness)
    await feed.start()
    try:
        await until(lambda: feed.connected)
        venue = server.writers[0]
        pings = (b"\x89\x7d" + b"p" * 125) * 100
        async with asyncio.timeout(10):
            while feed.connected:
                with contextlib.suppress(ConnectionError):
                    venue.write(pings)
                    await venue.drain()
                await asyncio.sleep(0)
    finally:
        await feed.stop()
        server.stop()


def test_a_retry_after_of_any_length_is_an_hour_at_most() -> None:
    assert _retry_after_s(429, "9" * 5000) == 3600.0
    assert _retry_after_s(429, "7") == 7.0
