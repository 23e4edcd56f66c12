"""Real ITCH messages, and real NASDAQ days told as ITCH over two lossy UDP lines."""

import asyncio
import time
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
import structlog
import uvloop

from quotelife.config import load_config
from quotelife.engine import Engine
from quotelife.feed.itch import MESSAGE_LENGTHS, ItchDecoder
from quotelife.feed.lobster import LobsterDecoder, LobsterFiles, parse_book
from quotelife.records import EventBuffer, EventKindCode, QualityCode
from quotelife.sim.itch_wire import ItchEncoder, ItchSymbol
from quotelife_server.feeds.itch import ItchFeed
from quotelife_server.feeds.settings import ItchFeedConfig
from quotelife_server.simvenue.itch import ItchVenue, LineFaults
from reference.itch_twin import ASK, BID, ItchTwin

pytestmark = pytest.mark.realdata
HOUR = 3_600_000_000_000


def test_the_first_thousand_messages_of_a_real_day(data_dir: Path) -> None:
    """Every length that of its type, stamps that rise from 3.0756 to 3.1540 h, the directory known, nothing refused."""
    raw = (data_dir / "itch" / "sample.itch").read_bytes()
    messages, at = [], 0
    while at < len(raw):
        n = int.from_bytes(raw[at : at + 2], "big")
        messages.append(raw[at + 2 : at + 2 + n])
        at += 2 + n
    assert [len(message) for message in messages] == [MESSAGE_LENGTHS[chr(m[0])] for m in messages]
    stamps = [int.from_bytes(message[5:11], "big") for message in messages]
    assert stamps == sorted(stamps)
    assert (round(stamps[0] / HOUR, 4), round(stamps[-1] / HOUR, 4)) == (3.0756, 3.1540)
    symbols = [message[11:19].decode().strip() for message in messages if message[:1] == b"R"]
    buffer = EventBuffer(8192)
    decoder = ItchDecoder(buffer, [(s, i, Decimal("0.0001"), Decimal(1)) for i, s in enumerate(symbols)])
    decoder.begin(0)
    decoder.settle(0)
    buffer.clear()
    at, sequence = decoder.framed(raw, 0, 1, 100_000)
    assert (at, sequence, decoder.malformed, decoder.unknown) == (len(raw), 1001, 0, 0)
    assert decoder.counts == {"H": 3, "R": 993, "S": 1, "Y": 3}
    halted = [m[11:19].decode().strip() for m in messages if m[:1] == b"H"]
    told = [row for row in buffer.array().tolist() if row[6] != 7]
    assert [symbols[row[7]] for row in told] == halted
    assert {row[8] for row in told} == {EventKindCode.STATUS}


class Played:
    """A recording, the ITCH messages that tell it, and the books that its publisher gave after each row."""

    def __init__(self, path: Path, rows: int | None) -> None:
        files = LobsterFiles.find(path)
        buffer = EventBuffer(4096)
        decoder = LobsterDecoder(
            buffer,
            instrument=0,
            tick_size=Decimal("0.01"),
            lot_size=Decimal(1),
            midnight_ns=files.midnight_ns,
        )
        encoder = ItchEncoder([ItchSymbol(files.symbol)], files.midnight_ns)
        self.symbol = files.symbol
        self.groups: list[list[bytes]] = [encoder.opening(files.midnight_ns + HOUR)]
        for i, (line, book) in enumerate(files.lines()):
            if i == rows:
                break
            buffer.clear()
            decoder.message(line, book)
            self.groups.append(encoder.encode(buffer))
            last = book
        self.bids, self.asks = parse_book(last)


class Clock:
    def now_ns(self) -> int:
        return time.time_ns()


async def over_udp(played: Played, folder: Path) -> tuple[int, ...]:
    """The recording from the venue to an engine; the best prices and sizes that it ends with."""
    path = folder / "config.yaml"
    path.write_text(
        f"version: 1\ninstruments:\n  - {{name: X, venue: nasdaq, symbol: {played.symbol}, tick_size: 0.01, "
        "lot_size: 1, warmup: 0s, order_level: true}\n",
        encoding="utf-8",
    )
    engine = Engine(load_config(path))
    settings = {"kind": "itch", "name": "nasdaq", "transport": "mold", "instruments": ("X",)}
    ports = {"line_a": "127.0.0.1:0", "line_b": "127.0.0.1:0"}
    finder = ItchVenue()
    await finder.start()
    config = ItchFeedConfig.model_validate(settings | ports | {"rerequest": finder.rerequest_address})
    feed: Any = ItchFeed.from_table(
        config, engine.instruments, sink=engine.on_events, clock=Clock(), logger=structlog.get_logger()
    )
    await feed.start()
    lines = [f"{host}:{port}" for host, port in feed.addresses]
    faults = [LineFaults(loss=0.05, duplicate=0.01, reorder=0.02, seed=seed) for seed in (11, 12)]
    venue = ItchVenue(lines=lines, faults=faults)
    await venue.start()
    finder.messages = venue.messages  # one day, whoever is asked
    try:
        sent = 0
        for group in played.groups:
            venue.publish(group)
            sent += len(group)
            if sent > 100:
                sent = 0
                await asyncio.sleep(0.001)
        venue.flush()
        async with asyncio.timeout(60):
            while feed.mold.expected <= len(venue.messages):  # noqa: ASYNC110 (the other side is a socket)
                await asyncio.sleep(0.01)
        both = set(venue.lines[0].lost) & set(venue.lines[1].lost)
        counters = feed.figures().counters
        assert counters["kernel_drops"] == counters["messages_lost"] == counters["decode_errors"] == 0
        assert counters["messages_recovered"] == len(both)
        assert counters["gaps"] <= len(both)
        status = engine.instrument_status(0, engine.now_ns)
        assert QualityCode(status.quality) is QualityCode.GOOD
        assert (status.unknown_orders, status.invalid_orders, status.dropped_orders) == (0, 0, 0)
        return tuple(engine.level_top(0)[1:])
    finally:
        await feed.stop()
        await venue.stop()
        await finder.stop()


@pytest.mark.parametrize(
    ("name", "rows"),
    [
        ("LOBSTER_SampleFile_AMZN_2012-06-21_5.zip", 20_000),
        pytest.param("LOBSTER_SampleFile_AMZN_2012-06-21_5.zip", None, marks=pytest.mark.slow),
        pytest.param("LOBSTER_SampleFile_AAPL_2012-06-21_1.zip", None, marks=pytest.mark.slow),
        pytest.param("LOBSTER_SampleFile_AMZN_2012-06-21_1.zip", None, marks=pytest.mark.slow),
    ],
)
def test_a_real_day_over_two_lossy_lines_ends_with_the_published_book(
    data_dir: Path, tmp_path: Path, name: str, rows: int | None
) -> None:
    """5 % independent loss a line: only what both lost is asked for, and the book is LOBSTER's and the twin's."""
    played = Played(data_dir / "lobster" / name, rows)
    twin = ItchTwin()
    for message in (message for group in played.groups for message in group):
        twin.message(message)
    assert twin.levels(played.symbol, BID) == list(played.bids.items())
    assert twin.levels(played.symbol, ASK) == list(played.asks.items())
    tops: list[tuple[int, ...]] = []

    async def run() -> None:
        tops.append(await over_udp(played, tmp_path))

    uvloop.run(run())
    bid, ask = next(iter(played.bids.items())), next(iter(played.asks.items()))
    assert tops == [(bid[0] // 100, bid[1], ask[0] // 100, ask[1])]
