"""The live feed against a small venue on loopback: splice, gaps, reconnects, liveness, snapshot pacing."""

import asyncio
import json
import time
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Any

import pytest
import structlog
import uvloop
from aiohttp import WSMsgType, web
from pydantic import ValidationError

from quotelife.errors import ConfigError
from quotelife.feed.symbol_feed import SyncState
from quotelife.instruments import Instrument, InstrumentTable
from quotelife.records import EventBuffer, EventKindCode, StatusKind
from quotelife_server.feeds.base import Backoff
from quotelife_server.feeds.binance import BinanceFeed
from quotelife_server.feeds.settings import BinanceFeedConfig
from reference.event_books import AppliedBooks, EventRow

TABLE = InstrumentTable(
    [
        Instrument(0, "BTC", "binance-usdm", "BTCUSDT", Decimal("0.1"), Decimal("0.001")),
        Instrument(1, "ETH", "binance-usdm", "ETHUSDT", Decimal("0.01"), Decimal("0.001")),
    ]
)


class RealClock:
    def now_ns(self) -> int:
        return time.monotonic_ns()


@dataclass
class Answer:
    """What the venue says to a snapshot request instead of the book."""

    status: int = 200
    body: bytes = b"{}"
    headers: dict[str, str] = field(default_factory=dict)
    delay_s: float = 0.0


class Venue:
    """USD-M wire: a book that gains one level per diff."""

    def __init__(self) -> None:
        self.sockets: list[web.WebSocketResponse] = []
        self.queries: list[str] = []
        self.requests: list[tuple[float, str]] = []
        self.answers: list[Answer] = []
        self.update_id = 100
        self.url = ""
        self.refuse_sockets = False

    def app(self) -> web.Application:
        app = web.Application()
        app.add_routes([web.get("/stream", self.stream), web.get("/fapi/v1/depth", self.depth)])
        return app

    async def stream(self, request: web.Request) -> web.StreamResponse:
        if self.refuse_sockets:
            raise web.HTTPServiceUnavailable
        self.queries.append(request.query_string)
        socket = web.WebSocketResponse()
        await socket.prepare(request)
        self.sockets.append(socket)
        async for message in socket:
            assert message.type is WSMsgType.TEXT
        return socket

    async def depth(self, request: web.Request) -> web.Response:
        assert request.query["limit"] == "1000"
        self.requests.append((time.monotonic(), request.query["symbol"]))
        if self.answers:
            answer = self.answers.pop(0)
            await asyncio.sleep(answer.delay_s)
            return web.Response(status=answer.status, body=answer.body, headers=answer.headers)
        body = {"lastUpdateId": self.update_id, "bids": [["100.0", "1.000"]], "asks": [["101.0", "1.000"]]}
        return web.json_response(body)

    def diff(self, symbol: str = "BTCUSDT", price: str = "99.0", skip: int = 0) -> str:
        previous = self.update_id
        self.update_id += 2 + skip
        data = {"e": "depthUpdate", "E": 5, "T": 5, "s": symbol, "U": self.update_id - 1, "u": self.update_id}
        data |= {"pu": previous + skip, "b": [[price, "2.000"]], "a": []}
        return json.dumps({"stream": f"{symbol.lower()}@depth@100ms", "data": data})

    async def send(self, text: str) -> None:
        await self.sockets[-1].send_str(text)


@pytest.fixture(scope="module")
def event_loop_policy() -> uvloop.EventLoopPolicy:
    """The loop of production."""
    return uvloop.EventLoopPolicy()


@pytest.fixture
async def venue() -> AsyncIterator[Venue]:
    venue = Venue()
    runner = web.AppRunner(venue.app(), shutdown_timeout=0.1)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    host, port = runner.addresses[0]
    venue.url = f"{host}:{port}"
    yield venue
    await runner.cleanup()


class Desk:
    """Stands in for the engine: applies the events and remembers them."""

    def __init__(self, venue: Venue, **changes: Any) -> None:
        settings: dict[str, Any] = {
            "kind": "binance",
            "name": "test",
            "market": "usdm",
            "ws_url": f"ws://{venue.url}",
            "rest_url": f"http://{venue.url}",
            "instruments": ("BTC", "ETH"),
            "snapshot": {"interval": "1ms", "retry_min": "5ms", "retry_max": "50ms", "timeout": "300ms"},
            "reconnect": {"min": "5ms", "max": "50ms", "timeout": "1s"},
            "liveness": {"ping": "20ms", "idle": "1s", "mute": "5s"},
        }
        self.books = AppliedBooks(2)
        self.events: list[EventRow] = []
        self.failing = False
        config = BinanceFeedConfig.model_validate(settings | changes)
        self.feed = BinanceFeed.from_table(
            config, TABLE, sink=self.sink, clock=RealClock(), logger=structlog.get_logger()
        )

    def sink(self, buffer: EventBuffer) -> None:
        if self.failing:
            self.failing = False
            raise RuntimeError("engine failed")
        self.events += self.books.drain(buffer)

    def statuses(self, instrument: int = 0) -> list[int]:
        """FEED_UP and FEED_DOWN in order."""
        wanted = (StatusKind.FEED_UP, StatusKind.FEED_DOWN)
        return [
            event.aux
            for event in self.events
            if event.kind == EventKindCode.STATUS and event.aux in wanted and event.instrument == instrument
        ]


@pytest.fixture
async def desk(venue: Venue) -> AsyncIterator[Desk]:
    desk = Desk(venue)
    await desk.feed.start()
    yield desk
    await desk.feed.stop()


async def until(condition: Callable[[], bool], seconds: float = 5.0) -> None:
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "did not happen in time"
        await asyncio.sleep(0.002)


async def whole(venue: Venue, desk: Desk, sockets: int = 1) -> None:
    """Bring the BTC book up on the newest connection."""
    await until(lambda: len(venue.sockets) >= sockets and desk.feed.connected)
    await venue.send(venue.diff())
    await until(lambda: desk.feed.decoder.state("BTCUSDT") is not SyncState.WAITING)
    await venue.send(venue.diff(price="98.0"))
    await until(lambda: desk.books[0].whole)


async def test_book_becomes_whole_and_follows(venue, desk):
    await whole(venue, desk)
    await venue.send(venue.diff(price="97.0"))
    await until(lambda: 970 in desk.books[0].levels()[0])
    assert desk.books[0].levels()[0] == {1000: 1000, 990: 2000, 980: 2000, 970: 2000}
    assert desk.statuses() == [StatusKind.FEED_UP]
    figures = desk.feed.figures()
    assert (figures.connected, figures.counters["gaps"], figures.counters["snapshots"]) == (True, 0, 1)
    assert figures.counters["messages"] == 3


async def test_all_streams_of_all_symbols_are_asked_for_by_url(venue, desk):
    await until(lambda: bool(venue.queries))
    streams = "@depth@100ms", "@bookTicker", "@trade"
    names = [symbol + stream for symbol in ("btcusdt", "ethusdt") for stream in streams]
    assert venue.queries == ["streams=" + "/".join(names)]


async def test_a_gap_distrusts_at_once_and_a_new_snapshot_heals(venue, desk):
    await whole(venue, desk)
    await venue.send(venue.diff(skip=3))
    await until(lambda: not desk.books[0].whole)
    await until(lambda: len(venue.requests) == 2)
    await venue.send(venue.diff())
    await until(lambda: desk.books[0].whole)
    assert desk.feed.figures().counters["gaps"] == 1
    assert desk.statuses() == [StatusKind.FEED_UP]


async def test_a_lost_connection_distrusts_every_instrument_and_comes_back(venue, desk):
    await whole(venue, desk)
    venue.sockets[-1]._req.transport.abort()
    await until(lambda: not desk.books[0].whole)
    assert desk.statuses(0)[:2] == desk.statuses(1)[:2] == [StatusKind.FEED_UP, StatusKind.FEED_DOWN]
    await whole(venue, desk, sockets=2)
    assert desk.feed.figures().counters["reconnects"] >= 1


async def test_the_venue_closing_politely_is_no_trouble(venue, desk):
    """As every 24 hours."""
    await whole(venue, desk)
    await venue.sockets[-1].close(code=1001, message=b"24 hours")
    await until(lambda: not desk.books[0].whole)
    await whole(venue, desk, sockets=2)


async def test_a_venue_that_is_away_is_tried_until_it_is_back(venue):
    venue.refuse_sockets = True
    desk = Desk(venue)
    await desk.feed.start()
    await until(lambda: desk.feed.figures().counters["reconnects"] >= 3)
    assert desk.events == []
    venue.refuse_sockets = False
    await whole(venue, desk)
    await desk.feed.stop()


async def test_pongs_are_heartbeats_of_every_instrument(venue, desk):
    def heard(instrument: int) -> bool:
        return any(
            event.kind == EventKindCode.STATUS
            and event.aux == StatusKind.HEARTBEAT
            and event.instrument == instrument
            for event in desk.events
        )

    await until(lambda: heard(0) and heard(1))


async def test_a_mute_venue_that_answers_pings_is_left(venue):
    desk = Desk(venue, liveness={"ping": "20ms", "idle": "1s", "mute": "100ms"})
    await desk.feed.start()
    await until(lambda: len(venue.sockets) >= 2)
    assert StatusKind.FEED_DOWN in desk.statuses()
    await desk.feed.stop()


async def test_messages_that_say_nothing_about_our_markets_do_not_hide_a_mute_venue(venue):
    desk = Desk(venue, liveness={"ping": "20ms", "idle": "1s", "mute": "200ms"})
    await desk.feed.start()
    await until(lambda: desk.feed.connected and bool(venue.sockets))
    end = time.monotonic() + 5.0
    while len(venue.sockets) < 2 and time.monotonic() < end:
        for text in ("{", '{"e":"kline","s":"BTCUSDT"}', venue.diff("DOGEUSDT")):
            if desk.feed.connected:
                await venue.send(text)
        await asyncio.sleep(0.02)
    assert len(venue.sockets) >= 2
    await desk.feed.stop()


async def test_a_venue_that_answers_nothing_is_left():
    """A listener that shakes hands and then reads nothing: no frame, no pong."""
    import base64
    import hashlib

    connections = 0

    async def silent(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal connections
        head = await reader.readuntil(b"\r\n\r\n")
        key = next(line for line in head.split(b"\r\n") if line.lower().startswith(b"sec-websocket-key:"))
        digest = hashlib.sha1(key.split(b":")[1].strip() + b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11").digest()
        accept = base64.b64encode(digest)
        writer.write(
            b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
            b"Sec-WebSocket-Accept: " + accept + b"\r\n\r\n"
        )
        connections += 1
        await reader.read()
        writer.close()

    server = await asyncio.start_server(silent, "127.0.0.1", 0)
    venue = Venue()
    host, port = server.sockets[0].getsockname()
    venue.url = f"{host}:{port}"
    desk = Desk(venue, liveness={"ping": "20ms", "idle": "100ms", "mute": "5s"})
    await desk.feed.start()
    await until(lambda: connections >= 2)
    await desk.feed.stop()
    server.close()
    await server.wait_closed()


async def test_failed_snapshots_are_asked_for_again(venue, desk):
    venue.answers = [
        Answer(status=503),
        Answer(body=b'{"code":-1000}'),
        Answer(body=b"<html>"),
        Answer(delay_s=0.5),
        Answer(body=b'{"lastUpdateId":1,"bids":[],"asks":[]}'),
    ]
    await whole(venue, desk)
    assert len(venue.requests) == 6
    counters = desk.feed.figures().counters
    assert (counters["snapshot_failures"], counters["snapshots_refused"]) == (4, 1)


async def test_retry_after_is_honoured(venue, desk):
    venue.answers = [Answer(status=429, headers={"Retry-After": "1"})]
    await whole(venue, desk)
    first, second = (at for at, _ in venue.requests)
    assert second - first >= 0.99


async def test_retry_after_counts_from_the_answer(venue):
    desk = Desk(venue, snapshot={"interval": "1ms", "retry_min": "5ms", "retry_max": "50ms", "timeout": "5s"})
    venue.answers = [Answer(status=429, headers={"Retry-After": "1"}, delay_s=0.25)]
    await desk.feed.start()
    await whole(venue, desk)
    first, second = (at for at, _ in venue.requests)
    assert second - first >= 1.2
    await desk.feed.stop()


async def test_requests_are_paced_across_symbols(venue):
    desk = Desk(venue, snapshot={"interval": "100ms"})
    await desk.feed.start()
    await until(lambda: desk.feed.connected and bool(venue.sockets))
    before_s = time.monotonic()  # the first may be long on its way, so that the second comes soon after it
    await venue.send(venue.diff("BTCUSDT"))
    await venue.send(venue.diff("ETHUSDT"))
    await until(lambda: len(venue.requests) == 2)
    assert venue.requests[1][0] - before_s >= 0.1
    await desk.feed.stop()


async def test_a_venue_that_is_limiting_us_without_saying_for_how_long_is_left_alone(venue, desk):
    venue.answers = [Answer(status=418)]
    await until(lambda: desk.feed.connected and bool(venue.sockets))
    await venue.send(venue.diff("BTCUSDT"))
    await venue.send(venue.diff("ETHUSDT"))
    await until(lambda: desk.feed.figures().counters["snapshot_failures"] == 1)
    await asyncio.sleep(0.2)
    assert len(venue.requests) == 1


async def test_no_more_snapshots_are_asked_for_in_a_minute_than_the_weight_allows(venue):
    """1,000 levels of USD-M weigh 20."""
    desk = Desk(
        venue,
        snapshot={"interval": "1ms", "retry_max": "1ms", "retry_min": "1ms"} | {"weight_per_minute": 70},
    )
    venue.answers = [Answer(status=500)] * 10
    await desk.feed.start()
    await until(lambda: desk.feed.connected and bool(venue.sockets))
    await venue.send(venue.diff("BTCUSDT"))
    await until(lambda: len(venue.requests) == 3)
    await asyncio.sleep(0.2)
    assert len(venue.requests) == 3
    await desk.feed.stop()


@pytest.mark.parametrize(
    ("market", "limit", "allowed"),
    [("spot", 1000, 60), ("spot", 5000, 12), ("usdm", 1000, 60), ("coinm", 5, 600)],
)
def test_half_of_the_markets_request_weight_goes_to_snapshots(market, limit, allowed):
    config = BinanceFeedConfig.model_validate(
        {"kind": "binance", "name": "a", "market": market, "ws_url": "ws://h", "rest_url": "http://h"}
        | {"instruments": ("BTC",), "snapshot": {"limit": limit}}
    )
    assert config.snapshots_per_minute == allowed


async def test_a_book_that_breaks_again_and_again_is_no_flood_of_requests(venue):
    """As with a wrong tick size: every message after the snapshot breaks the book."""
    desk = Desk(venue, snapshot={"interval": "1ms", "retry_min": "50ms", "retry_max": "10s"})
    await desk.feed.start()
    await until(lambda: desk.feed.connected and bool(venue.sockets))
    end = time.monotonic() + 1.0
    while time.monotonic() < end:
        await venue.send(venue.diff(price="99.0"))
        await venue.send(venue.diff(price="99.05"))
        await asyncio.sleep(0.005)
    assert 1 <= len(venue.requests) <= 7
    assert desk.feed.figures().counters["decode_errors"] > 20
    await desk.feed.stop()


async def test_malformed_messages_do_not_end_the_connection(venue, desk):
    await whole(venue, desk)
    await venue.send('{"stream":"btcusdt@depth","data":{"e":"depthUpdate","s":"BTCUSDT","U":')
    await until(lambda: not desk.books[0].whole)
    await venue.send(venue.diff())
    await until(lambda: len(venue.requests) == 2)
    await venue.send(venue.diff())
    await until(lambda: desk.books[0].whole)
    assert len(venue.sockets) == 1
    assert desk.feed.figures().counters["decode_errors"] == 1


async def test_a_failing_engine_starts_from_a_new_connection(venue, desk):
    await whole(venue, desk)
    desk.failing = True
    await venue.send(venue.diff())
    await whole(venue, desk, sockets=2)
    assert desk.statuses()[-2:] == [StatusKind.FEED_DOWN, StatusKind.FEED_UP]


async def test_fragmented_messages_are_put_together(venue, desk):
    await whole(venue, desk)
    text = venue.diff(price="95.0").encode()
    frames = b""
    for i, (first, part) in enumerate(((1, text[:50]), (0, text[50:90]), (0, text[90:]))):
        frames += bytes([first | (0x80 if i == 2 else 0)])
        frames += bytes([len(part)]) if len(part) < 126 else b"\x7e" + len(part).to_bytes(2, "big")
        frames += part
    venue.sockets[-1]._req.transport.write(frames)
    await until(lambda: 950 in desk.books[0].levels()[0])


async def test_stopping_distrusts_and_leaves_nothing_behind(venue, desk):
    await whole(venue, desk)
    await desk.feed.stop()
    assert not desk.books[0].whole
    assert desk.statuses() == [StatusKind.FEED_UP, StatusKind.FEED_DOWN]
    events = len(desk.events)
    await asyncio.sleep(0.05)
    assert len(desk.events) == events
    assert not [task for task in asyncio.all_tasks() if task.get_name().startswith(("feed-", "snapshot-"))]


def test_unknown_instruments_are_named():
    venue = Venue()
    venue.url = "127.0.0.1:1"
    with pytest.raises(ConfigError, match="DOGE"):
        Desk(venue, instruments=("BTC", "DOGE"))


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ({"ws_url": "https://x"}, "ws_url"),
        ({"rest_url": "ftp://x"}, "rest_url"),
        ({"market": "margin"}, "market"),
        ({"instruments": ()}, "instruments"),
        ({"instruments": ("BTC", "BTC")}, "once"),
        ({"streams": ("depth", "depth@100ms")}, "one depth stream"),
        ({"streams": ("trade", "aggTrade")}, "choose one"),
        ({"streams": ("kline_1m",)}, "streams"),
        ({"snapshot": {"limit": 5000}}, "5 to 1000"),
        ({"instruments": tuple(f"I{i}" for i in range(101))}, "split the feed"),
        ({"streams": ("depth", "aggTrade")}, "make two feeds of this one"),
        ({"streams": ("trade",)}, "take aggTrade"),
        ({"streams": ("aggTrade",)}, "ws_path: must be /market/stream for aggTrade"),
        ({"ws_path": "/stream"}, "ws_path: must be /public/stream"),
        ({"reconnect": {"min": "2s", "max": "1s"}}, "reconnect.min"),
        ({"liveness": {"ping": "9s"}}, "liveness.ping"),
        ({"surprise": 1}, "surprise"),
    ],
)
def test_settings_that_cannot_work_are_refused(change, told):
    good = {
        "kind": "binance",
        "name": "b",
        "market": "usdm",
        "ws_url": "wss://fstream.binance.com",
        "rest_url": "https://fapi.binance.com",
        "ws_path": "/public/stream",
        "streams": ("depth@100ms", "bookTicker"),
        "instruments": ("BTC",),
    }
    BinanceFeedConfig.model_validate(good)
    with pytest.raises(ValidationError, match=told):
        BinanceFeedConfig.model_validate(good | change)


@pytest.mark.parametrize(
    ("market", "ws_url", "rest_url", "depth"),
    [
        (
            "spot",
            "wss://stream.binance.com:9443",
            "https://api.binance.com",
            "https://api.binance.com/api/v3/depth",
        ),
        (
            "usdm",
            "wss://fstream.binance.com",
            "https://fapi.binance.com",
            "https://fapi.binance.com/fapi/v1/depth",
        ),
        (
            "coinm",
            "wss://dstream.binance.com/",
            "https://dapi.binance.com/",
            "https://dapi.binance.com/dapi/v1/depth",
        ),
    ],
)
async def test_the_real_venue_is_a_matter_of_configuration(market, ws_url, rest_url, depth):
    venue = Venue()
    venue.url = "127.0.0.1:1"
    path = "/market/stream" if market == "usdm" else "/stream"
    desk = Desk(
        venue,
        market=market,
        ws_url=ws_url,
        rest_url=rest_url,
        ws_path=path,
        instruments=("BTC",),
        streams=("aggTrade",),
    )
    assert desk.feed.url == f"{ws_url.rstrip('/')}{path}?streams=btcusdt@aggTrade"
    assert desk.feed.depth_url == depth


def test_backoff_doubles_within_its_bounds():
    import random

    backoff = Backoff(100_000_000, 1_000_000_000, random.Random(1))
    waits = [backoff.next_s() for _ in range(100)]
    for wait, whole_s in zip(waits, [0.1, 0.2, 0.4, 0.8, 1.0, 1.0], strict=False):
        assert whole_s / 2 <= wait <= whole_s
    assert max(waits) <= 1.0
    backoff.reset()
    assert backoff.next_s() <= 0.1


async def test_a_stop_that_meets_the_end_of_the_connection_still_stops(venue: Venue) -> None:
    for delay_s in (0.0, 0.0005, 0.001, 0.002, 0.004) * 4:
        desk = Desk(venue, reconnect={"min": "1s", "max": "30s", "timeout": "1s"})
        await desk.feed.start()
        await until(lambda desk=desk: desk.feed.connected)
        closing = asyncio.create_task(venue.sockets[-1].close())
        await asyncio.sleep(delay_s)
        async with asyncio.timeout(0.5):
            await desk.feed.stop()
        await closing
        assert not desk.feed.connected
