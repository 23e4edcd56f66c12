"""The ITCH feed on loopback sockets against the simulated venue: lines, re-requests, SoupBinTCP, faults, stop."""

import asyncio
import json
import re
import socket
import sys
import threading
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import structlog
import uvloop

from quotelife.config import load_config
from quotelife.engine import Engine
from quotelife.errors import QuotelifeError
from quotelife.records import EventBuffer, EventKindCode, QualityCode, StatusKind
from quotelife.sim.itch_wire import ItchMarket, ItchSymbol, soup_packet
from quotelife_server.feeds.itch import ItchFeed
from quotelife_server.feeds.settings import ItchFeedConfig
from quotelife_server.feeds.udp_ring import UdpRing, send_all
from quotelife_server.settings import ServiceConfig
from quotelife_server.simvenue.__main__ import parser
from quotelife_server.simvenue.itch import ItchVenue, LineFaults
from reference.itch_twin import build

NAMES = ("AAA", "BBB")
MIDNIGHT, OPEN = 0, 34_200_000_000_000


@pytest.fixture
def event_loop_policy() -> asyncio.AbstractEventLoopPolicy:
    return uvloop.EventLoopPolicy()


class RealClock:
    def now_ns(self) -> int:
        return time.time_ns()


class Desk:
    """An engine behind a feed, and what it was told."""

    def __init__(self, folder: Path) -> None:
        path = folder / "config.yaml"
        path.write_text(
            "version: 1\ninstruments:\n"
            + "".join(
                f"  - {{name: {name}, venue: nasdaq, symbol: {name}, tick_size: 0.01, lot_size: 1, warmup: 0s, "
                "order_level: true}\n"
                for name in NAMES
            ),
            encoding="utf-8",
        )
        self.engine = Engine(load_config(path))
        self.statuses: list[int] = []
        self.ends = 0
        self.fails = 0

    def __call__(self, buffer: EventBuffer) -> None:
        if self.fails:
            self.fails -= 1
            raise RuntimeError("the engine failed")
        array = buffer.array()
        self.statuses += array["aux"][array["kind"] == EventKindCode.STATUS].tolist()
        self.ends += int((array["kind"] == EventKindCode.SNAPSHOT_END).sum())
        self.engine.on_events(buffer)

    def quality(self, index: int = 0) -> QualityCode:
        return QualityCode(self.engine.instrument_status(index, self.engine.now_ns).quality)

    def good(self) -> bool:
        return all(self.quality(i) is QualityCode.GOOD for i in range(len(NAMES)))

    def equals(self, market: ItchMarket) -> bool:
        return all(tuple(self.engine.level_top(i)[1:]) == market.encoder.best(i) for i in range(len(NAMES)))


def market(seed: int = 1) -> ItchMarket:
    """AAA and BBB in the order of the desk, and a symbol that nobody asked for."""
    symbols = [ItchSymbol(name) for name in (*NAMES, "OTHER")]
    return ItchMarket(symbols, seed, midnight_ns=MIDNIGHT, start_ns=OPEN)


def config(**fields: Any) -> ItchFeedConfig:
    base: dict[str, Any] = {"kind": "itch", "name": "nasdaq", "instruments": NAMES, "socket_bytes": 4_000_000}
    return ItchFeedConfig.model_validate(base | fields)


def feed_of(desk: Desk, settings: ItchFeedConfig) -> Any:
    return ItchFeed.from_table(
        settings, desk.engine.instruments, sink=desk, clock=RealClock(), logger=structlog.get_logger()
    )


async def until(condition: Callable[[], bool], seconds: float = 10.0) -> None:
    async with asyncio.timeout(seconds):
        while not condition():  # noqa: ASYNC110 (the other side is a socket)
            await asyncio.sleep(0.005)


def free_port() -> int:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as udp:
        udp.bind(("127.0.0.1", 0))
        return int(udp.getsockname()[1])


@asynccontextmanager
async def mold(
    desk: Desk, *, rerequest: bool = True, group: str = "127.0.0.1", silence: str = "3s", **venue_fields: Any
) -> AsyncIterator[Any]:
    lines = [f"{group}:{free_port()}" for _ in range(2)]
    venue = ItchVenue(lines=lines, **venue_fields)
    await venue.start()
    feed = feed_of(
        desk,
        config(
            transport="mold",
            line_a=lines[0],
            line_b=lines[1],
            interface="127.0.0.1",
            silence=silence,
            rerequest=venue.rerequest_address if rerequest else None,
        ),
    )
    await feed.start()
    try:
        yield feed, venue
    finally:
        await feed.stop()
        await venue.stop()


@asynccontextmanager
async def soup(
    desk: Desk, *, fields: dict[str, Any] | None = None, **venue_fields: Any
) -> AsyncIterator[Any]:
    venue = ItchVenue(**venue_fields)
    await venue.start()
    feed = feed_of(
        desk,
        config(
            transport="soup",
            server=venue.soup_address,
            reconnect={"min": "10ms", "max": "50ms"},
            **(fields or {}),
        ),
    )
    try:
        yield feed, venue
    finally:
        await feed.stop()
        await venue.stop()


async def told(feed: Any, venue: ItchVenue) -> None:
    await until(lambda: feed.mold.expected == len(venue.messages) + 1 and not feed.mold.missing_since_ns)


async def publish(venue: ItchVenue, day: ItchMarket, messages: int, turn: int = 50) -> None:
    for _ in range(messages // turn):
        venue.publish(day.advance(turn))
        await asyncio.sleep(0.001)


@pytest.mark.parametrize("group", ["127.0.0.1", "239.255.31.7"])
async def test_two_lines_that_lose_different_packets_make_one_whole_book(tmp_path, group):
    """5 % loss a line, doubles and reordering, unicast and multicast: no gap where either line delivered."""
    desk, day = Desk(tmp_path), market()
    faults = [LineFaults(loss=0.05, duplicate=0.02, reorder=0.05, seed=i) for i in (1, 2)]
    async with mold(desk, faults=faults, group=group) as (feed, venue):
        venue.publish(day.opening)
        for _ in range(60):
            venue.publish(day.advance(50))
            venue.flush()  # none is late for longer than a turn, whatever the machine does in between
            await asyncio.sleep(0.001)
        await told(feed, venue)
        assert desk.equals(day)
        assert desk.good()
        counters = feed.figures().counters
        both = set(venue.lines[0].lost) & set(venue.lines[1].lost)
        assert len(venue.lines[0].lost) > 100
        assert 0 < len(both) < 20
        assert counters["messages_lost"] == counters["kernel_drops"] == 0
        assert counters["gaps"] <= len(both)
        assert counters["messages_first_on_a"] > counters["messages_first_on_b"] > 50
    assert not any(t.name == "feed-nasdaq" for t in threading.enumerate())


async def test_what_neither_line_brought_is_fetched_and_the_book_is_gapped_meanwhile(tmp_path):
    desk, day = Desk(tmp_path), market()
    async with mold(desk) as (feed, venue):
        venue.publish(day.opening)
        await publish(venue, day, 500)
        await told(feed, venue)
        assert desk.good()
        desk.statuses.clear()
        venue.mute = True
        venue.publish(day.advance(100))
        venue.mute = False
        await asyncio.sleep(0.02)
        venue.publish(day.advance(10))
        await told(feed, venue)
        assert desk.equals(day)
        assert desk.good()
        assert feed.figures().counters["messages_recovered"] >= 100
        assert venue.requests >= 1


async def test_a_gap_that_nobody_answers_is_flagged_within_the_gap_timer(tmp_path):
    desk, day = Desk(tmp_path), market()
    async with mold(desk, rerequest_loss=1.0) as (feed, venue):
        venue.publish(day.opening)
        await publish(venue, day, 500)
        await told(feed, venue)
        venue.mute = True
        venue.publish(day.advance(1))
        venue.mute = False
        venue.publish(day.advance(1))
        await until(lambda: feed.mold.missing_since_ns != 0)
        shown_ns = feed.mold.missing_since_ns
        await until(lambda: desk.quality() is QualityCode.GAPPED)
        # The clock of the machine under test may be late, not the feed's own figures.
        assert desk.engine.now_ns - shown_ns < 50_000_000
        assert StatusKind.MISSING in desk.statuses
        await asyncio.sleep(0.05)
        assert desk.quality(0) is desk.quality(1) is QualityCode.GAPPED


async def test_who_comes_late_fetches_the_day_and_is_good_at_its_end(tmp_path):
    desk, day = Desk(tmp_path), market()
    async with mold(desk) as (feed, venue):
        venue.mute = True
        venue.publish(day.opening)
        venue.publish(day.advance(20_000))
        venue.mute = False
        await publish(venue, day, 500)
        await told(feed, venue)
        assert desk.equals(day)
        assert desk.good()
        assert desk.ends == len(NAMES)


async def test_without_a_rerequest_server_a_loss_leaves_no_book(tmp_path):
    desk, day = Desk(tmp_path), market()
    async with mold(desk, rerequest=False) as (feed, venue):
        venue.publish(day.opening)
        await publish(venue, day, 500)
        venue.mute = True
        venue.publish(day.advance(3))
        venue.mute = False
        venue.publish(day.advance(3))
        await until(lambda: feed.mold.lost > 0)
        assert desk.quality(0) is desk.quality(1) is QualityCode.GAPPED
        day = market(7)
        venue.begin_session("SIM0000002")
        venue.publish(day.opening)
        await publish(venue, day, 500)
        await told(feed, venue)
        assert desk.equals(day)
        assert desk.good()


async def test_silence_is_found_and_ends_when_the_line_is_heard(tmp_path):
    desk, day = Desk(tmp_path), market()
    lines = [f"127.0.0.1:{free_port()}"]
    venue = ItchVenue(lines=lines)
    await venue.start()
    feed = feed_of(desk, config(transport="mold", line_a=lines[0], silence="200ms"))
    await feed.start()
    try:
        venue.publish(day.opening)
        await publish(venue, day, 500)
        await told(feed, venue)
        venue.mute = True
        await until(lambda: desk.quality() is QualityCode.GAPPED)
        assert not feed.connected
        venue.mute = False
        venue.publish(day.advance(10))
        await until(desk.good)  # at a heartbeat, if that is heard first
        await told(feed, venue)
        assert desk.equals(day)
    finally:
        await feed.stop()
        await venue.stop()


async def test_a_symbol_that_the_venue_does_not_list_is_named_once(tmp_path):
    desk = Desk(tmp_path)
    day = ItchMarket([ItchSymbol("AAA")], midnight_ns=MIDNIGHT, start_ns=OPEN)
    with structlog.testing.capture_logs() as log:
        async with mold(desk) as (feed, venue):
            venue.publish([*day.opening, build("S", 0, 2, "S")])
            await told(feed, venue)
            await asyncio.sleep(0.2)
    assert [line["symbols"] for line in log if line["event"] == "symbols_not_listed"] == [["BBB"]]


async def test_one_of_two_lines_that_is_not_heard_is_told_and_costs_no_book(tmp_path):
    desk, day = Desk(tmp_path), market()
    with structlog.testing.capture_logs() as log:
        async with mold(desk, silence="300ms", faults=[LineFaults(), LineFaults(loss=1.0)]) as (feed, venue):
            venue.publish(day.opening)
            for _ in range(8):
                await publish(venue, day, 200)
                await asyncio.sleep(0.1)
            assert feed.figures().counters["line_silences"] >= 1
            assert desk.good()
    told = [line for line in log if line["event"] == "line_silent"]
    assert {line["line"] for line in told} == {"b"}


async def test_an_engine_that_failed_is_rebuilt_from_the_first_message(tmp_path):
    desk, day = Desk(tmp_path), market()
    async with mold(desk) as (feed, venue):
        venue.publish(day.opening)
        await publish(venue, day, 500)
        await told(feed, venue)
        desk.fails = 1
        await publish(venue, day, 500)
        await told(feed, venue)
        await until(desk.good)
        assert desk.equals(day)


async def test_an_engine_that_fails_at_a_silence_is_told_again_and_the_feed_goes_on(tmp_path):
    desk, day = Desk(tmp_path), market()
    lines = [f"127.0.0.1:{free_port()}"]
    venue = ItchVenue(lines=lines)
    await venue.start()
    settings = config(transport="mold", line_a=lines[0], rerequest=venue.rerequest_address, silence="200ms")
    feed = feed_of(desk, settings)
    await feed.start()
    try:
        venue.publish(day.opening)
        await publish(venue, day, 500)
        await told(feed, venue)
        for _ in range(2):  # whoever watches must outlive the first
            await until(desk.good)
            desk.fails = 1
            venue.mute = True
            await until(lambda: desk.quality() is QualityCode.GAPPED)
            assert desk.fails == 0
            venue.mute = False
            venue.publish(day.advance(10))
        await until(desk.good)
        assert desk.equals(day)
    finally:
        await feed.stop()
        await venue.stop()


async def test_a_stopped_feed_says_so_and_calls_no_one_any_more(tmp_path):
    desk, day = Desk(tmp_path), market()
    async with mold(desk) as (feed, venue):
        venue.publish(day.opening)
        await publish(venue, day, 500)
        await told(feed, venue)
        await feed.stop()
        assert desk.statuses[-2:] == [StatusKind.FEED_DOWN] * 2
        assert desk.quality() is QualityCode.GAPPED
        before = desk.engine.input_sequence
        venue.publish(day.advance(100))
        await asyncio.sleep(0.05)
        assert desk.engine.input_sequence == before


async def test_soup_fetches_the_day_and_goes_on_live(tmp_path):
    desk, day = Desk(tmp_path), market()
    async with soup(desk, credentials=None) as (feed, venue):
        venue.publish(day.opening)
        venue.publish(day.advance(20_000))
        await feed.start()
        await until(desk.good)
        await publish(venue, day, 1000)
        await until(lambda: feed.soup.expected == len(venue.messages) + 1)
        assert desk.equals(day)
        assert desk.ends == len(NAMES)


async def test_soup_resumes_where_the_line_broke(tmp_path):
    desk, day = Desk(tmp_path), market()
    async with soup(desk) as (feed, venue):
        venue.publish(day.opening)
        await feed.start()
        for _ in range(5):
            await publish(venue, day, 500)
            venue.drop_connections()
            await until(lambda: desk.quality() is QualityCode.GAPPED)
            await publish(venue, day, 500)
            await until(lambda: feed.soup.expected == len(venue.messages) + 1 and desk.good())
            assert desk.equals(day)
        assert feed.soup.lost == 0
        assert feed.decoder.messages == len(venue.messages)


async def test_soup_waits_between_connections_when_the_server_leaves_after_the_first(tmp_path):
    """It has just said how far it is: still it is not called without pause."""
    desk = Desk(tmp_path)

    async def answer_once(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readexactly(49)
        writer.write(soup_packet(b"A", f"{'S1':>10}{51:>20}".encode()))
        server.close()

    server = await asyncio.start_server(answer_once, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    waits = {"min": "100ms", "max": "200ms"}
    feed = feed_of(desk, config(transport="soup", server=f"127.0.0.1:{port}", reconnect=waits))
    with structlog.testing.capture_logs() as log:
        await feed.start()
        await until(lambda: feed.soup.probes == 1)
        await asyncio.sleep(0.5)
        await feed.stop()
    assert 1 <= [line["event"] for line in log].count("no_connection") <= 8


async def test_a_soup_server_that_says_nothing_is_told_as_a_fault(tmp_path):
    """The first connection asks how far the server is, and ends by design: only an end without an answer is told."""
    ended = asyncio.Event()

    async def mute(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read()
        writer.close()
        ended.set()

    server = await asyncio.start_server(mute, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    settings = config(
        transport="soup", server=f"127.0.0.1:{port}", silence="100ms", reconnect={"min": "20ms"}
    )
    feed = feed_of(Desk(tmp_path), settings)
    await feed.start()
    try:
        await until(lambda: feed.figures().fault is not None)
        assert feed.figures().fault.text == f"feed down: nothing heard for 0.1 s; 127.0.0.1:{port}"
        await until(ended.is_set)
    finally:
        await feed.stop()
        server.close()


async def test_soup_takes_the_next_session(tmp_path):
    desk, day = Desk(tmp_path), market()
    async with soup(desk) as (feed, venue):
        venue.publish(day.opening)
        await feed.start()
        await publish(venue, day, 500)
        await until(lambda: desk.good() and feed.soup.expected == len(venue.messages) + 1)
        venue.end_session()
        day = market(3)
        venue.begin_session("SIM0000002")
        venue.publish(day.opening)
        await publish(venue, day, 500)
        await until(lambda: feed.soup.session == "SIM0000002" and desk.good())
        await until(lambda: feed.soup.expected == len(venue.messages) + 1)
        assert desk.equals(day)


async def test_credentials_are_taken_from_the_environment_and_a_refusal_is_told(tmp_path, monkeypatch):
    desk, day = Desk(tmp_path), market()
    monkeypatch.setenv("ITCH_PASSWORD", "wrong")
    fields = {"username": "ME", "password_env": "ITCH_PASSWORD"}
    async with soup(desk, fields=fields, credentials=("ME", "SECRET")) as (feed, venue):
        venue.publish(day.opening)
        await feed.start()
        await until(lambda: feed.soup.rejected is not None)
        assert not feed.connected
    monkeypatch.setenv("ITCH_PASSWORD", "SECRET")
    async with soup(desk, fields=fields, credentials=("ME", "SECRET")) as (feed, venue):
        venue.publish(day.opening)
        await feed.start()
        await until(lambda: feed.connected)
    monkeypatch.delenv("ITCH_PASSWORD")
    with pytest.raises(QuotelifeError, match="ITCH_PASSWORD"):
        feed_of(desk, config(transport="soup", server="127.0.0.1:1", **fields))


async def test_the_command_line_of_the_venue_is_heard_over_lines_and_over_soup(tmp_path):
    """Lines that lose and double some: both desks get to whole books of the same market."""
    lines = [f"127.0.0.1:{free_port()}" for _ in range(2)]
    options = (
        "--symbols",
        "AAA,BBB",
        "--line-a",
        lines[0],
        "--line-b",
        lines[1],
        "--loss",
        "0.05",
        "--duplicate",
        "0.1",
    )
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "quotelife_server.simvenue", "--venue", "itch", *options),
        stdout=asyncio.subprocess.PIPE,
    )
    assert process.stdout is not None
    told = json.loads(await asyncio.wait_for(process.stdout.readline(), 30))
    addresses = {"line_a": told["line_a"], "line_b": told["line_b"], "rerequest": told["rerequest"]}
    desks = [Desk(tmp_path), Desk(tmp_path)]
    feeds = [
        feed_of(desks[0], config(transport="mold", **addresses)),
        feed_of(desks[1], config(transport="soup", server=told["server"])),
    ]
    for feed in feeds:
        await feed.start()
    try:
        for desk in desks:
            await until(desk.good, 20)
        counters = feeds[0].figures().counters
        assert counters["messages_recovered"] > 0 == counters["messages_lost"]
        mid = [sum(desk.engine.level_top(0)[i] for i in (1, 3)) / 2 for desk in desks]
        assert abs(mid[0] - mid[1]) < 50
        assert feeds[1].soup.session == feeds[0].mold.session
    finally:
        for feed in feeds:
            await feed.stop()
        process.terminate()
        assert await asyncio.wait_for(process.wait(), 10) == 0


def test_the_documented_trial_fits_the_venues_own_addresses(tmp_path):
    text = (Path(__file__).resolve().parents[2] / "docs" / "itch.md").read_text(encoding="utf-8")
    trial = text.partition("## Trying it")[2]
    (document,) = re.findall(r"```yaml\n(.*?)```", trial, re.DOTALL)
    (commands,) = re.findall(r"```sh\n(.*?)```", trial, re.DOTALL)
    venue = parser().parse_args(commands.splitlines()[0].split()[3:])
    (tmp_path / "itch.yaml").write_text(document, encoding="utf-8")
    (feed,) = load_config(tmp_path / "itch.yaml", ServiceConfig).feeds
    assert isinstance(feed, ItchFeedConfig)
    assert (feed.line_a, feed.line_b) == (venue.line_a, venue.line_b)
    assert feed.rerequest == f"{venue.host}:{venue.port}"
    assert list(feed.instruments) == venue.symbols


async def test_an_address_that_cannot_be_had_is_named(tmp_path):
    desk = Desk(tmp_path)
    feed = feed_of(desk, config(transport="mold", line_a="192.0.2.1:31000"))
    with pytest.raises(OSError, match=r"nasdaq: cannot listen on 192\.0\.2\.1"):
        await feed.start()


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        ({"transport": "mold"}, "line_a"),
        ({"transport": "soup"}, "server"),
        ({"transport": "soup", "server": "a:1", "line_b": "a:2"}, "belong to transport mold"),
        ({"transport": "mold", "line_a": "a:1", "window_messages": 1000}, "512"),
        ({"transport": "mold", "line_a": "a:1", "gap": "6ms"}, "at most 5ms"),
        ({"transport": "mold", "line_a": "a:1", "reorder": "4ms"}, "reorder"),
        ({"transport": "mold", "line_a": "a:1", "interface": "999.1.1.1"}, "IPv4 address of one of our"),
    ],
)
def test_a_configuration_that_does_not_fit_together_is_refused(fields, said):
    with pytest.raises(ValueError, match=said):
        config(**fields)


def test_a_full_ring_leaves_the_rest_to_the_kernel_which_counts_what_it_drops():
    """Nothing takes from the ring: 64 wait there, the kernel keeps what it has room for and counts the others."""
    with (
        socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as ours,
        socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as to,
    ):
        ours.setblocking(False)
        ours.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 20_000)
        ours.bind(("127.0.0.1", 0))
        to.connect(ours.getsockname())
        ring = UdpRing([(0, ours.fileno())], capacity=64)
        ring.start()
        try:
            assert send_all(to.fileno(), bytes(100 * 5000), np.arange(100, 500_001, 100)) == 5000
            end = time.monotonic() + 5
            while ring.full == 0 and time.monotonic() < end:
                time.sleep(0.005)
            assert ring.full > 0
            assert ring.datagrams == 64
        finally:
            began = time.monotonic()
            ring.stop()
        assert time.monotonic() - began < 1
        assert ring.stamped == 64
