"""A whole service on a simulated venue, by wire, journaled and captured: every decision comes out again."""

import asyncio
import struct
import time
from pathlib import Path

import numpy as np
import pytest
from aiohttp.test_utils import TestServer

from quote_expiry.v1 import types_pb2
from quote_expiry.v1.signal_service_pb2 import CalendarEvent
from quotelife.capture.format import BlockKind
from quotelife.checksum import crc32c
from quotelife.journal.reader import Journal
from quotelife.records import EVENT_DTYPE, EventKindCode
from quotelife.sim.market import MarketConfig, MarketSimulator
from quotelife_client import Decision, ExpiryRequest, Posture, Side
from quotelife_client.aio import AsyncClient
from quotelife_server.app import Application
from quotelife_server.simvenue.venue import SimulatedVenue
from reference.capture_twin import HEADER, blocks
from reference.cli_kit import Run, run
from reference.service_kit import write_config

CONFIG = """
version: 1
model: {artifact: first_passage}
signals: {volatility_indices: [DVOL]}
instruments:
  - {name: BTC, venue: binance-usdm, symbol: BTCUSDT, tick_size: 0.1, lot_size: 0.001, warmup: 0s}
  - {name: ETH, venue: binance-usdm, symbol: ETHUSDT, tick_size: 0.01, lot_size: 0.001, warmup: 0s}
feeds:
  - kind: binance
    name: venue
    market: usdm
    ws_url: ws://VENUE
    rest_url: http://VENUE
    instruments: [BTC, ETH]
tiers:
  strategic: {posture: client_priority}
  regular: {posture: POSTURE}
counterparties:
  alpha: {tier: strategic}
  beta: {tier: regular}
desks: {main: {}}
server:
  address: 127.0.0.1:0
  metrics_address: null
  log_level: error
  drain: {notice: 0ns}
  journal: {directory: FOLDER/journal, segment_bytes: 1048576}
  capture: {directory: FOLDER/capture, compress: false}
"""
__all__ = ["run"]
DECISIONS = 3 * 6 * (10 + 5 + 5)


def text(folder: Path, venue: str, posture: str) -> str:
    return CONFIG.replace("FOLDER", str(folder)).replace("VENUE", venue).replace("POSTURE", posture)


async def work(folder: Path) -> None:
    """Three configurations, and between them overrides, signals, a kill and its end."""
    venue = SimulatedVenue(MarketSimulator(MarketConfig(), 7, time.time_ns()))
    server = TestServer(venue.app)
    await server.start_server()
    address = f"{server.host}:{server.port}"
    app = Application(write_config(folder, text(folder, address, "liquidity_provider")))
    await app.start()
    try:
        async with AsyncClient(app.addresses[0], timeout_s=10) as client:
            async with asyncio.timeout(10):
                while await decided(client) is not Decision.QUOTE:  # noqa: ASYNC110 (nobody tells)
                    await asyncio.sleep(0.05)
            for turn, posture in enumerate(("risk_averse", "client_priority", "liquidity_provider")):
                await ask(client)
                await client.publish_news(-0.8, instrument="BTC")
                await client.publish_headline("Exchange halts withdrawals after hack", instrument="ETH")
                await client.publish_volatility_index("DVOL", 70.0 + turn)
                await client.publish_inventory("BTC", position=turn, limit=10, time_to_live_ns=10**9)
                await client.publish_greeks("ETH", delta=0.1 * turn, gamma=0.0, underlying="BTC")
                now_ns = time.time_ns()
                await client.publish_calendar(
                    [
                        CalendarEvent(
                            event_id=f"auction {turn}",
                            regime=types_pb2.REGIME_AUCTION,
                            instruments=["ETH"],
                            from_utc_ns=now_ns,
                            until_utc_ns=now_ns + 10**9,
                        )
                    ],
                    removed=[f"auction {turn - 1}"],
                )
                await ask(client)
                override = await client.set_override(
                    posture=Posture.RISK_AVERSE, ttl_ns=60 * 10**9, instrument="ETH"
                )
                await ask(client)
                await client.clear_override(override.override_id)
                await client.kill("test", counterparty="alpha")
                await ask(client)
                await client.enable("test", counterparty="alpha")
                await ask(client)
                write_config(folder, text(folder, address, posture))
                assert (await client.reload()).changed
                await ask(client)
    finally:
        await app.drain()
        await server.close()


async def decided(client: AsyncClient) -> Decision:
    return (await client.get_expiry(instrument="BTC", side="BUY", request_id="")).decision


async def ask(client: AsyncClient) -> None:
    """20 decisions: single calls, a batch, a stream."""
    each = [
        ExpiryRequest(instrument=name, side=side, counterparty=counterparty)
        for name, side, counterparty in (
            ("BTC", Side.BUY, "alpha"),
            ("ETH", Side.SELL, "beta"),
            ("BTC", Side.SELL, ""),
            ("ETH", Side.BUY, "alpha"),
            ("BTC", Side.BUY, "beta"),
        )
    ]
    for _ in range(2):
        for one in each:
            await client.get_expiry(instrument=one.instrument, side=one.side, counterparty=one.counterparty)
    assert len(await client.batch_get_expiry(each)) == len(each)
    assert len([answer async for answer in client.stream_expiry(each)]) == len(each)


@pytest.fixture(scope="module")
def day(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("day")
    asyncio.run(work(folder))
    return folder


def test_from_the_journal_alone_every_decision_comes_out_again(run: Run, day: Path) -> None:
    ended = run("replay", "--verify", "--journal", day / "journal")
    assert ended.code == 0, ended.out + ended.err
    assert " 0 unequal, 0 could not be verified" in ended.out
    equal = int(ended.out.split(" equal")[0].rsplit(" ", 1)[1].replace(",", ""))
    assert equal >= DECISIONS


def test_from_market_bytes_up_every_decision_comes_out_again(run: Run, day: Path) -> None:
    ended = run("replay", "--verify", "--journal", day / "journal", "--capture", day / "capture")
    assert ended.code == 0, ended.out + ended.err
    assert "from market bytes up" in ended.out and " 0 unequal, 0 could not be verified" in ended.out


def test_one_byte_of_a_captured_price_is_noticed_and_the_decision_named(
    run: Run, day: Path, tmp_path: Path
) -> None:
    (source,) = (day / "capture").glob("*.qlc")
    changed = bytearray(source.read_bytes())
    changed[price_of_a_best_bid(bytes(changed))] ^= 0x01
    (tmp_path / source.name).write_bytes(sealed_again(bytes(changed)))
    ended = run("replay", "--verify", "--journal", day / "journal", "--capture", tmp_path)
    assert ended.code == 1
    named = [line.split()[1].rstrip(":") for line in ended.out.splitlines() if line.startswith("UNEQUAL ")]
    journal = Journal(day / "journal")
    assert named and all(journal.find_decision(name) is not None for name in named)


def price_of_a_best_bid(raw: bytes) -> int:
    """Offset of the price in the event in the middle of those that tell of the first instrument's best prices."""
    price_at = EVENT_DTYPE.fields["price_ticks"][1]  # type: ignore[index]
    found = []
    for at, block in blocks(raw):
        fields = HEADER.unpack_from(block)
        if fields[4] == BlockKind.INPUTS:
            events = np.frombuffer(block, EVENT_DTYPE, fields[7], HEADER.size)
            found += [
                at + HEADER.size + place * EVENT_DTYPE.itemsize + price_at
                for place in np.flatnonzero(
                    (events["kind"] == EventKindCode.QUOTE) & (events["instrument"] == 0)
                )
            ]
    return int(found[len(found) // 2])


def sealed_again(raw: bytes) -> bytes:
    """With the checksums of its blocks made to fit."""
    out = bytearray(raw)
    at = 0
    while at < len(out):
        length = struct.unpack_from("<I", out, at + 8)[0]
        struct.pack_into("<I", out, at + 4, crc32c(bytes(out[at + 8 : at + length])))
        at += length
    return bytes(out)
