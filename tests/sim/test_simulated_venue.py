"""The simulated venue over loopback sockets: what a feed handler meets."""

import asyncio
import json
import os
import signal
import sys
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from itertools import pairwise
from typing import Any

import aiohttp
import pytest
from aiohttp import WSMsgType
from aiohttp.test_utils import TestClient, TestServer

from quotelife.sim.market import MarketConfig, MarketSimulator
from quotelife.units import NS_PER_MS, NS_PER_S
from quotelife_server.simvenue.base import VenueSettings
from quotelife_server.simvenue.faults import Fault, FaultLine
from quotelife_server.simvenue.venue import SimulatedVenue

Client = TestClient[Any, Any]
Open = Callable[..., Awaitable[tuple[SimulatedVenue, Client]]]


@pytest.fixture
async def open_venue() -> AsyncIterator[Open]:
    clients: list[Client] = []

    async def start(market: str = "usdm", seed: int = 1, **settings: Any) -> tuple[SimulatedVenue, Client]:
        simulator = MarketSimulator(MarketConfig(market=market), seed, time.time_ns())
        venue = SimulatedVenue(simulator, VenueSettings(**settings))
        client = TestClient(TestServer(venue.app))
        await client.start_server()
        clients.append(client)
        return venue, client

    yield start
    for client in clients:
        await client.close()


async def receive(socket: Any, count: int) -> list[Any]:
    return [json.loads(await asyncio.wait_for(socket.receive_str(), 5)) for _ in range(count)]


async def receive_for(socket: Any, seconds: float) -> list[Any]:
    out = []
    end = time.monotonic() + seconds
    while (left := end - time.monotonic()) > 0:
        try:
            out.append(json.loads(await asyncio.wait_for(socket.receive_str(), left)))
        except TimeoutError:
            break
    return out


# ------------------------------------------------------------------------------------------------- streams


async def test_combined_stream_names_every_message(open_venue: Open):
    _, client = await open_venue()
    names = ["btcusdt@depth@100ms", "btcusdt@bookTicker", "ethusdt@trade"]
    async with client.ws_connect("/stream?streams=" + "/".join(names)) as socket:
        messages = await receive_for(socket, 1.0)
    assert {message["stream"] for message in messages} == set(names)
    assert {message["data"]["s"] for message in messages} == {"BTCUSDT", "ETHUSDT"}


async def test_raw_stream_has_no_wrapper(open_venue: Open):
    _, client = await open_venue("spot")
    async with client.ws_connect("/ws/ethusdt@bookTicker") as socket:
        (message,) = await receive(socket, 1)
    assert set(message) == {"u", "s", "b", "B", "a", "A"}


async def test_depth_under_another_speed_keeps_the_name_asked_for(open_venue: Open):
    _, client = await open_venue()
    async with client.ws_connect("/stream?streams=btcusdt@depth@0ms") as socket:
        (message,) = await receive(socket, 1)
    assert message["stream"] == "btcusdt@depth@0ms"
    assert message["data"]["e"] == "depthUpdate"


async def test_unknown_stream_is_refused_with_what_there_is(open_venue: Open):
    _, client = await open_venue()
    response = await client.get("/stream?streams=dogeusdt@trade")
    assert response.status == 400
    assert "btcusdt@trade" in await response.text()


async def test_subscribe_list_and_unsubscribe(open_venue: Open):
    _, client = await open_venue()
    async with client.ws_connect("/ws") as socket:
        await socket.send_json({"method": "SUBSCRIBE", "params": ["btcusdt@bookTicker"], "id": 7})
        assert await receive(socket, 1) == [{"result": None, "id": 7}]
        assert {message["e"] for message in await receive(socket, 5)} == {"bookTicker"}
        await socket.send_json({"method": "UNSUBSCRIBE", "params": ["btcusdt@bookTicker"], "id": 8})
        while (await receive(socket, 1))[0].get("id") != 8:
            pass
        await socket.send_json({"method": "LIST_SUBSCRIPTIONS", "id": 9})
        assert await receive(socket, 1) == [{"result": [], "id": 9}]


@pytest.mark.parametrize(
    "text", ["{", "[]", "null", '{"method":"SUBSCRIBE","params":["nope"],"id":1}', '{"method":1}']
)
async def test_a_bad_command_is_answered_and_the_connection_lives(open_venue: Open, text: str):
    _, client = await open_venue()
    async with client.ws_connect("/ws") as socket:
        await socket.send_str(text)
        (answer,) = await receive(socket, 1)
        assert answer["error"]["code"] == 2
        await socket.send_json({"method": "LIST_SUBSCRIPTIONS", "id": 2})
        assert await receive(socket, 1) == [{"result": [], "id": 2}]


async def test_venue_pings(open_venue: Open):
    _, client = await open_venue(ping_s=0.2)
    async with client.ws_connect("/ws", autoping=False) as socket:
        message = await asyncio.wait_for(socket.receive(), 3)
    assert message.type is WSMsgType.PING


async def test_a_client_that_does_not_answer_pings_is_closed(open_venue: Open):
    _, client = await open_venue(ping_s=0.2)
    async with client.ws_connect("/ws", autoping=False) as socket:
        assert (await asyncio.wait_for(socket.receive(), 3)).type is WSMsgType.PING
        message = await asyncio.wait_for(socket.receive(), 3)
    assert message.type in (WSMsgType.CLOSE, WSMsgType.CLOSED, WSMsgType.ERROR)


async def test_a_slow_client_is_cut_off_and_others_are_not(open_venue: Open):
    """One client reads nothing while a shock floods it; its neighbour loses no message."""
    venue, client = await open_venue(queue_bytes_max=50_000)
    streams = "/stream?streams=" + "/".join(
        f"{s}@{k}" for s in ("btcusdt", "ethusdt") for k in ("bookTicker", "depth")
    )
    quick = await client.ws_connect("/stream?streams=ethusdt@depth@100ms")
    reader, writer = await asyncio.open_connection(client.host, client.port, limit=1024)
    writer.write(
        f"GET {streams} HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
        "Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n".encode()
    )
    await writer.drain()
    assert b"101" in await reader.readline()
    previous = None
    end = time.monotonic() + 10
    step = 0
    while not venue.cut_off and time.monotonic() < end:
        # Faster than real time, so that the socket buffers of the kernel fill in this test's time.
        step += 1
        venue.run_to(venue.market.now_ns + 100 * NS_PER_MS)
        (message,) = await receive(quick, 1)
        assert previous is None or message["data"]["pu"] == previous
        previous = message["data"]["u"]
    assert venue.cut_off == 1, f"not cut off after {step} steps"
    venue.run_to(venue.market.now_ns + 100 * NS_PER_MS)
    (message,) = await receive(quick, 1)
    assert message["data"]["pu"] == previous
    writer.close()
    await quick.close()


# ---------------------------------------------------------------------------------------------------- REST


@pytest.mark.parametrize(
    ("market", "path"), [("spot", "/api/v3"), ("usdm", "/fapi/v1"), ("coinm", "/dapi/v1")]
)
async def test_snapshot_splices_into_the_stream(open_venue: Open, market: str, path: str):
    """Buffer the stream, fetch, drop what is older, and the first batch left must cover the snapshot's id."""
    _, client = await open_venue(market)
    async with client.ws_connect("/ws/btcusdt@depth@100ms") as socket:
        early = await receive(socket, 2)
        await asyncio.sleep(0.05)
        response = await client.get(f"{path}/depth?symbol=BTCUSDT&limit=1000")
        assert response.status == 200
        snapshot = await response.json()
        late = await receive(socket, 5)
    head = snapshot["lastUpdateId"]
    left = [batch for batch in early + late if batch["u"] > head]
    assert left[0]["U"] <= head + 1 or left[0].get("pu") == head
    for before, after in pairwise(left):
        assert after["U"] == before["u"] + 1 if market == "spot" else after["pu"] == before["u"]
    assert len(snapshot["bids"]) >= 20
    bids = [float(price) for price, _ in snapshot["bids"]]
    assert bids == sorted(bids, reverse=True)
    assert bids[0] < float(snapshot["asks"][0][0])


async def test_rest_refuses_as_the_venue_does(open_venue: Open):
    _, client = await open_venue("spot")
    response = await client.get("/api/v3/depth?symbol=NOPE")
    assert (response.status, (await response.json())["code"]) == (400, -1121)
    response = await client.get("/api/v3/depth?symbol=BTCUSDT&limit=0")
    assert (response.status, (await response.json())["code"]) == (400, -1130)
    assert (await client.get("/fapi/v1/depth?symbol=BTCUSDT")).status == 404
    now_ms = (await (await client.get("/api/v3/time")).json())["serverTime"]
    assert abs(now_ms - time.time() * 1000) < 1000


# ------------------------------------------------------------------------------------------------- control


async def test_shock_by_control_brings_the_headline_and_the_flood(open_venue: Open):
    _, client = await open_venue()
    async with client.ws_connect("/stream?streams=!news/btcusdt@bookTicker") as socket:
        calm = await receive_for(socket, 1.0)
        response = await client.post("/control/shock", json={"duration_ms": 3000, "score": -0.9})
        assert response.status == 200
        torn = await receive_for(socket, 1.0)
    news = [message["data"] for message in torn if message["stream"] == "!news"]
    assert [item["score"] for item in news] == [-0.9]
    assert not any(message["stream"] == "!news" for message in calm)
    assert len(torn) > 3 * len(calm)


async def test_planned_shock_repeats_in_the_other_direction(open_venue: Open):
    venue, _ = await open_venue(shock_every_ns=2 * NS_PER_S)
    start_ns = venue.market.now_ns + NS_PER_S
    venue.plan_shock(venue.market.schedule_shock(start_ns, NS_PER_S).moved_to(start_ns, -1))
    seen = []
    for _ in range(60):
        venue.run_to(venue.market.now_ns + 100 * NS_PER_MS)
        seen.append(venue.market.shock_level(0) > 0.5)
    starts = [i for i in range(1, 60) if seen[i] and not seen[i - 1]]
    assert len(starts) == 3
    assert starts[1] - starts[0] == pytest.approx(20, abs=1)


async def test_control_names_what_is_wrong(open_venue: Open):
    _, client = await open_venue()
    for path, body, word in (
        ("/control/fault", {"kind": "melt"}, "melt"),
        ("/control/fault", {"kind": "mute"}, "duration_ms"),
        ("/control/fault", {"kind": "drop", "colour": 1}, "colour"),
        ("/control/shock", {"duration_ms": -1}, "duration_ns"),
        ("/control/shock", {"mood": 1}, "mood"),
        ("/control/shock", {"symbol": "NOPE"}, "NOPE"),
    ):
        response = await client.post(path, json=body)
        assert response.status == 400
        assert word in (await response.json())["error"]


async def test_dropped_batch_breaks_the_chain_once(open_venue: Open):
    _, client = await open_venue()
    async with client.ws_connect("/ws/btcusdt@depth@100ms") as socket:
        batches = await receive(socket, 1)
        await client.post("/control/fault", json={"kind": "drop", "stream": "btcusdt@depth*"})
        batches += await receive(socket, 6)
        status = await (await client.get("/control/status")).json()
    assert status["faults"]["drop"] == 1
    assert sum(after["pu"] != before["u"] for before, after in pairwise(batches)) == 1


async def test_cut_drops_every_connection_and_the_venue_goes_on(open_venue: Open):
    _, client = await open_venue()
    async with client.ws_connect("/ws/btcusdt@bookTicker") as socket:
        await receive(socket, 1)
        await client.post("/control/fault", json={"kind": "cut"})
        while (message := await asyncio.wait_for(socket.receive(), 5)).type is WSMsgType.TEXT:
            pass
        assert message.type in (WSMsgType.CLOSED, WSMsgType.ERROR, WSMsgType.CLOSE)
    async with client.ws_connect("/ws/btcusdt@bookTicker") as socket:
        await receive(socket, 1)


async def test_mute_is_silence_and_then_the_market_is_back(open_venue: Open):
    _, client = await open_venue()
    async with client.ws_connect("/ws/btcusdt@bookTicker") as socket:
        await receive(socket, 1)
        await client.post("/control/fault", json={"kind": "mute", "duration_ms": 600})
        await receive_for(socket, 0.1)
        assert await receive_for(socket, 0.3) == []
        assert len(await receive_for(socket, 1.0)) > 5


async def test_failing_snapshots_by_control(open_venue: Open):
    _, client = await open_venue()
    await client.post("/control/fault", json={"kind": "rest_error", "count": 2})
    answers = [(await client.get("/fapi/v1/depth?symbol=BTCUSDT")).status for _ in range(3)]
    assert answers == [503, 503, 200]


# -------------------------------------------------------------------------------------- faults, without I/O


def passed(line: FaultLine, numbers: range, stream: str = "a@depth", now_ns: int = 0) -> list[bytes]:
    return [out for n in numbers for _, out in line.through((stream, b"%d" % n), now_ns)]


def test_without_faults_everything_passes_in_order():
    assert passed(FaultLine(), range(4)) == [b"0", b"1", b"2", b"3"]


@pytest.mark.parametrize(
    ("kind", "expected"),
    [
        ("drop", [b"2", b"3"]),
        ("duplicate", [b"0", b"0", b"1", b"1", b"2", b"3"]),
        ("reorder", [b"1", b"0", b"3", b"2"]),
    ],
)
def test_counted_faults_hit_so_many_messages(kind: str, expected: list[bytes]):
    line = FaultLine()
    line.add(Fault(kind, count=2))
    assert passed(line, range(4)) == expected
    assert line.hits[kind] == 2


def test_a_fault_leaves_other_streams_alone():
    line = FaultLine()
    line.add(Fault("drop", stream="b@*", count=9))
    assert passed(line, range(2)) == [b"0", b"1"]
    assert passed(line, range(2), "b@trade") == []


def test_delayed_messages_come_later_in_order_and_nothing_overtakes():
    line = FaultLine()
    line.add(Fault("delay", until_ns=100, delay_ns=50))
    assert passed(line, range(2), now_ns=60) == []
    assert passed(line, range(2, 3), now_ns=101) == []
    assert [message for _, message in line.due(109)] == []
    assert [message for _, message in line.due(110)] == [b"0", b"1", b"2"]
    assert passed(line, range(3, 4), now_ns=111) == [b"3"]


def test_clear_lets_out_what_was_held():
    line = FaultLine()
    line.add(Fault("reorder"))
    assert passed(line, range(1)) == []
    assert line.clear() == [("a@depth", b"0")]
    assert passed(line, range(2)) == [b"0", b"1"]


# ------------------------------------------------------------------------------------------- as a process


async def test_own_process_tells_its_port_and_ends_on_sigterm():
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        *("-m", "quotelife_server.simvenue", "--seed", "3", "--market", "spot", "--shock-at", "300ms"),
        stdout=asyncio.subprocess.PIPE,
        env={"PYTHONPATH": os.pathsep.join(entry for entry in sys.path if entry), "PATH": ""},
    )
    assert process.stdout is not None
    try:
        line = json.loads(await asyncio.wait_for(process.stdout.readline(), 15))
        assert line["shock_at_ns"] == line["start_ns"] + 300 * NS_PER_MS
        url = f"http://127.0.0.1:{line['port']}"
        async with aiohttp.ClientSession() as session, session.ws_connect(f"{url}/ws/!news") as socket:
            (news,) = await receive(socket, 1)
            assert news["E"] == line["shock_at_ns"] // NS_PER_MS
    finally:
        process.send_signal(signal.SIGTERM)
    assert await asyncio.wait_for(process.wait(), 10) == 0
