"""Feeds of the binary record on loopback sockets: TCP and UDP, loss, silence, broken frames, the documented example."""

import asyncio
import re
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
import structlog
import uvloop

from quotelife.instruments import Instrument, InstrumentTable
from quotelife.records import EventBuffer, EventKindCode, StatusKind
from quotelife_client.binary import BinaryEncoder, record
from quotelife_client.types import BookSide, EventKind
from quotelife_server.feeds import datagrams
from quotelife_server.feeds.binary import SLICE_EVENTS, BinaryFeed
from quotelife_server.feeds.settings import BinaryFeedConfig
from reference.binary_record_twin import Publisher

DOC = Path(__file__).resolve().parents[2] / "docs" / "binary-feed.md"
TABLE = InstrumentTable(
    [
        Instrument(0, "OTHER", "desk", "O", Decimal("0.1"), Decimal("0.001")),
        Instrument(1, "BTC", "desk", "B", Decimal("0.1"), Decimal("0.001")),
        Instrument(2, "ETH", "desk", "E", Decimal("0.01"), Decimal("0.001")),
    ]
)
LEVEL = record(EventKind.LEVEL, 0, side=BookSide.BID, price_ticks=10, size_lots=1, last=True)


@pytest.fixture
def event_loop_policy() -> asyncio.AbstractEventLoopPolicy:
    return uvloop.EventLoopPolicy()


class RealClock:
    def now_ns(self) -> int:
        return time.monotonic_ns()


class Told:
    """A sink that remembers."""

    def __init__(self) -> None:
        self.rows: list[Any] = []
        self.fails = 0

    def __call__(self, buffer: EventBuffer) -> None:
        if self.fails:
            self.fails -= 1
            raise RuntimeError("the engine failed")
        self.rows += list(buffer.array())

    def count(self, kind: int, aux: int | None = None) -> int:
        return sum(1 for row in self.rows if row["kind"] == kind and (aux is None or row["aux"] == aux))


async def until(condition: Callable[[], bool], seconds: float = 5.0) -> None:
    async with asyncio.timeout(seconds):
        while not condition():  # noqa: ASYNC110 (the other side is a socket)
            await asyncio.sleep(0.005)


def config(address: str, transport: str = "tcp", **fields: Any) -> BinaryFeedConfig:
    base: dict[str, Any] = {
        "kind": "binary",
        "name": "desk",
        "transport": transport,
        "address": address,
        "instruments": ("BTC", "ETH"),
        "reconnect": {"min": "10ms", "max": "20ms"},
        "silence": "5s",
        "socket_bytes": 200_000,
    }
    return BinaryFeedConfig.model_validate({**base, **fields})


@contextmanager
def listening() -> Iterator[tuple[socket.socket, str]]:
    with socket.create_server(("127.0.0.1", 0)) as server:
        server.setblocking(False)
        yield server, f"127.0.0.1:{server.getsockname()[1]}"


class Running:
    """A started feed; stopped at the end of the block."""

    def __init__(self, config: BinaryFeedConfig) -> None:
        self.told = Told()
        self.logs: list[Any] = []
        logger = structlog.wrap_logger(None, processors=[self._log])
        self.feed = BinaryFeed.from_table(config, TABLE, sink=self.told, clock=RealClock(), logger=logger)

    def _log(self, logger: Any, name: str, event: Any) -> Any:
        self.logs.append(event)
        raise structlog.DropEvent

    async def __aenter__(self) -> "Running":
        await self.feed.start()
        return self

    async def __aexit__(self, *error: object) -> None:
        await self.feed.stop()

    def logged(self, name: str) -> list[Any]:
        return [event for event in self.logs if event["event"] == name]


async def accepted(server: socket.socket) -> socket.socket:
    connection, _ = await asyncio.wait_for(asyncio.get_running_loop().sock_accept(server), 5)
    return connection


async def test_the_documented_example_makes_a_book() -> None:
    (program,) = re.findall(r"```python\n(.*?)```", DOC.read_text(encoding="utf-8"), re.DOTALL)
    names: dict[str, Any] = {"__name__": "example"}
    exec(program, names)
    with socket.create_server(("127.0.0.1", 0)) as server:
        publisher = threading.Thread(target=names["publish"], args=(server,), daemon=True)
        publisher.start()
        async with Running(config(f"127.0.0.1:{server.getsockname()[1]}")) as running:
            await until(lambda: running.told.count(EventKindCode.STATUS, StatusKind.HEARTBEAT) == 2)
            book = {
                (int(row["instrument"]), int(row["side"]), int(row["price_ticks"])): int(row["size_lots"])
                for row in running.told.rows
                if row["kind"] == EventKindCode.LEVEL
            }
            assert book == {(1, 1, 630_000): 1500, (1, 2, 630_002): 900, (1, 1, 630_001): 200}
            assert running.feed.decoder.resyncs == 1
            assert running.feed.figures().counters["decode_errors"] == 0
        publisher.join(5)
        assert not publisher.is_alive()


async def test_what_comes_over_tcp_is_what_was_sent_and_the_stamp_is_ours() -> None:
    publisher = Publisher(1, 2)
    for _ in range(500):
        publisher.step()
    with listening() as (server, address):
        async with Running(config(address)) as running:
            connection = await accepted(server)
            began_ns = time.monotonic_ns()
            await asyncio.get_running_loop().sock_sendall(connection, b"".join(publisher.frames()))
            await until(lambda: running.feed.decoder.events == publisher.number)
            stamps = [
                int(row["receive_ns"]) for row in running.told.rows if row["kind"] == EventKindCode.LEVEL
            ]
            assert began_ns <= min(stamps) and max(stamps) <= time.monotonic_ns()
            assert {int(row["instrument"]) for row in running.told.rows} == {1, 2}
            figures = running.feed.figures()
            assert figures.connected and figures.counters["events"] == publisher.number
            connection.close()


async def test_others_on_the_loop_have_their_turn_between_slices_of_one_read() -> None:
    loop, turns, slices = asyncio.get_running_loop(), 0, []

    def other() -> None:
        nonlocal turns
        turns += 1
        loop.call_soon(other)

    with listening() as (server, address):
        async with Running(config(address)) as running:
            connection = await accepted(server)
            told = running.feed._sink

            def sink(buffer: EventBuffer) -> None:
                slices.append((turns, len(buffer)))
                told(buffer)

            running.feed._sink = sink
            loop.call_soon(other)
            encoder = BinaryEncoder(1)
            sent = b"".join(encoder.frame(LEVEL * 1000) for _ in range(20))
            await loop.sock_sendall(connection, sent)
            await until(lambda: running.feed.decoder.events == 20_000)
            assert sum(n for _, n in slices) == 20_000 and max(n for _, n in slices) <= SLICE_EVENTS
            # Not one turn for all that came with one read, nor one for each slice where the others take long.
            assert len({turn for turn, _ in slices}) > 20_000 // SLICE_EVENTS // 8
            stamps = [int(row["receive_ns"]) for row in running.told.rows]
            assert stamps == sorted(stamps)
            connection.close()


async def test_a_broken_frame_closes_the_connection_and_a_new_one_is_made() -> None:
    with listening() as (server, address):
        async with Running(config(address)) as running:
            connection = await accepted(server)
            connection.sendall(BinaryEncoder(1).frame(LEVEL) + b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n")
            await until(lambda: running.told.count(EventKindCode.STATUS, StatusKind.FEED_DOWN) == 2)
            assert running.told.count(EventKindCode.LEVEL) == 1, "the frame before it counts"
            (fault,) = running.logged("frame_refused")
            assert "QLEV" in fault["error"]
            again = await accepted(server)
            again.sendall(BinaryEncoder(1).frame(LEVEL))
            await until(lambda: running.told.count(EventKindCode.LEVEL) == 2)
            counters = running.feed.figures().counters
            assert (counters["decode_errors"], counters["reconnects"]) == (1, 1)
            connection.close()
            again.close()


async def test_a_publisher_that_goes_away_is_waited_for() -> None:
    with listening() as (server, address):
        async with Running(config(address)) as running:
            for k in range(1, 4):
                connection = await accepted(server)
                await until(lambda: running.feed.connected)
                connection.close()
                await until(
                    lambda k=k: running.told.count(EventKindCode.STATUS, StatusKind.FEED_DOWN) == 2 * k
                )
            assert running.told.count(EventKindCode.STATUS, StatusKind.FEED_UP) >= 6


async def test_a_silent_connection_is_given_up() -> None:
    with listening() as (server, address):
        async with Running(config(address, silence="80ms")) as running:
            connection = await accepted(server)
            await until(lambda: running.told.count(EventKindCode.STATUS, StatusKind.FEED_DOWN) == 2)
            assert "no frame for 0.08 s" in running.logged("feed_down")[0]["reason"]
            connection.close()


async def test_a_sink_that_fails_ends_the_connection_and_the_next_begins_anew() -> None:
    with listening() as (server, address):
        async with Running(config(address)) as running:
            connection = await accepted(server)
            await until(lambda: running.feed.connected)
            running.told.fails = 1
            asyncio.get_running_loop().set_exception_handler(lambda loop, context: None)
            connection.sendall(BinaryEncoder(1).frame(LEVEL))
            await until(lambda: running.told.count(EventKindCode.STATUS, StatusKind.FEED_DOWN) == 2)
            again = await accepted(server)
            again.sendall(BinaryEncoder(1).frame(LEVEL))
            await until(lambda: running.told.count(EventKindCode.LEVEL) == 1)
            connection.close()
            again.close()


async def test_datagrams_that_overtake_go_on_in_order() -> None:
    async with Running(config("127.0.0.1:0", "udp", reorder="5ms")) as running:
        encoder = BinaryEncoder(1)
        frames = [encoder.frame(LEVEL) for _ in range(4)]
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as udp:
            for at in (0, 2, 1, 3):
                udp.sendto(frames[at], running.feed.address or ("", 0))
            await until(lambda: running.feed.decoder.events == 4)
        assert running.feed.connected and running.feed.figures().counters["reordered"] == 1
        assert running.told.count(EventKindCode.CLEAR) == 0


async def test_a_lost_datagram_is_a_gap_when_its_time_is_over() -> None:
    async with Running(config("127.0.0.1:0", "udp", reorder="2ms")) as running:
        encoder = BinaryEncoder(1)
        frames = [encoder.frame(LEVEL) for _ in range(3)]
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as udp:
            for at in (0, 2):
                udp.sendto(frames[at], running.feed.address or ("", 0))
            await until(lambda: running.told.count(EventKindCode.CLEAR) == 1)
            udp.sendto(encoder.heartbeat(), running.feed.address or ("", 0))
            await until(lambda: running.told.count(EventKindCode.STATUS, StatusKind.HEARTBEAT) == 2)
        counters = running.feed.figures().counters
        assert (counters["gaps"], counters["events_lost"]) == (1, 1)


async def test_the_loss_of_the_last_datagram_shows_at_the_heartbeat() -> None:
    async with Running(config("127.0.0.1:0", "udp", reorder="2ms")) as running:
        encoder = BinaryEncoder(1)
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as udp:
            udp.sendto(encoder.frame(LEVEL), running.feed.address or ("", 0))
            encoder.frame(LEVEL)
            udp.sendto(encoder.heartbeat(), running.feed.address or ("", 0))
            await until(lambda: running.told.count(EventKindCode.CLEAR) == 1)


async def test_noise_on_the_port_is_counted_and_changes_nothing() -> None:
    async with Running(config("127.0.0.1:0", "udp")) as running:
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as udp:
            for data in (b"", b"x", b"QLEV" + bytes(28), bytes(2000), BinaryEncoder(2).frame(LEVEL)):
                udp.sendto(data, running.feed.address or ("", 0))
            await until(lambda: running.feed.decoder.foreign == 1)
        assert not running.feed.connected and running.told.rows == []
        assert running.feed.figures().counters["decode_errors"] == 4
        assert len(running.logged("frame_refused")) == 1, "one line a second at most"


async def test_a_silent_source_is_down_and_any_frame_brings_it_back() -> None:
    async with Running(config("127.0.0.1:0", "udp", silence="80ms")) as running:
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as udp:
            udp.sendto(BinaryEncoder(1, session=9).frame(LEVEL), running.feed.address or ("", 0))
            await until(lambda: running.told.count(EventKindCode.STATUS, StatusKind.FEED_UP) == 2)
            await until(lambda: running.told.count(EventKindCode.STATUS, StatusKind.FEED_DOWN) == 2)
            assert not running.feed.connected
            udp.sendto(BinaryEncoder(1, session=3).frame(LEVEL), running.feed.address or ("", 0))
            await until(lambda: running.told.count(EventKindCode.STATUS, StatusKind.FEED_UP) == 4)
        assert running.feed.decoder.session == 3, "after a silence any session is taken"


async def test_a_sink_that_fails_while_it_is_told_of_silence_is_told_again_and_the_feed_goes_on() -> None:
    async with Running(config("127.0.0.1:0", "udp", silence="80ms")) as running:
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as udp:
            udp.sendto(BinaryEncoder(1, session=9).frame(LEVEL), running.feed.address or ("", 0))
            await until(lambda: running.told.count(EventKindCode.LEVEL) == 1)
            running.told.fails = 1
            await until(lambda: running.told.count(EventKindCode.STATUS, StatusKind.FEED_DOWN) == 2)
            assert running.told.fails == 0
            udp.sendto(BinaryEncoder(1, session=10).frame(LEVEL), running.feed.address or ("", 0))
            await until(lambda: running.told.count(EventKindCode.LEVEL) == 2)


@pytest.mark.parametrize("in_order", [True, False])
async def test_after_a_sink_that_failed_no_datagram_is_built_upon(in_order: bool) -> None:
    async with Running(config("127.0.0.1:0", "udp", reorder="2ms")) as running:
        encoder = BinaryEncoder(1)
        frames = [encoder.frame(LEVEL) for _ in range(4)]
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as udp:
            to = running.feed.address or ("", 0)
            udp.sendto(frames[0], to)
            await until(lambda: running.told.count(EventKindCode.LEVEL) == 1)
            running.told.fails = 1
            udp.sendto(frames[1 if in_order else 2], to)
            await until(lambda: running.told.count(EventKindCode.STATUS, StatusKind.FEED_DOWN) == 2)
            udp.sendto(frames[3], to)
            await until(lambda: running.told.count(EventKindCode.LEVEL) == 2)
        assert len(running.logged("feed_failed")) == 1 and running.feed.connected


async def test_a_port_that_is_taken_is_said_by_name() -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as udp:
        udp.bind(("127.0.0.1", 0))
        with pytest.raises(OSError, match="feeds: desk: cannot listen on 127"):
            await Running(config(f"127.0.0.1:{udp.getsockname()[1]}", "udp")).feed.start()


async def test_an_interface_that_an_ipv6_group_would_not_heed_is_refused_by_name() -> None:
    expected = (
        r"feeds: desk: cannot listen on \[ff02::1\]:1 on interface 127.0.0.1: interface belongs to an IPv4"
    )
    with pytest.raises(OSError, match=expected):
        await datagrams.listening("desk", "[ff02::1]:1", "127.0.0.1", 65_536, structlog.get_logger())
