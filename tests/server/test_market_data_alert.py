"""Data that cannot be trusted, as an operator sees it: alert, status, metrics, doctor."""

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path

from quote_expiry.v1 import admin_service_pb2 as admin
from quote_expiry.v1 import types_pb2 as types
from quotelife.clock import ManualClock
from quotelife.config import load_config
from quotelife.engine import Engine
from quotelife.records import EventBuffer, EventFlags, EventKindCode
from quotelife_client import AsyncClient
from quotelife_server.alerts import MARKET_DATA, Alerts
from quotelife_server.app import Application
from quotelife_server.cli.doctor_service import of_status
from quotelife_server.quality import NAMES_SHOWN_MAX, TROUBLE_NS, MarketDataWatch
from quotelife_server.settings import ServiceConfig
from reference.service_kit import CONFIG, MS, T0, Market, S, running, write_config

FEEDS = "feeds:\n  - {kind: grpc, name: house, instruments: [BTC-USDT, ETH-USDT, BTC-USD]}\n"


@asynccontextmanager
async def watched(folder: Path) -> AsyncIterator[tuple[Application, AsyncClient]]:
    async with (
        running(write_config(folder, CONFIG + FEEDS)) as app,
        AsyncClient(app.addresses[0], timeout_s=5) as client,
    ):
        yield app, client


def lose(engine: Engine, now_ns: int, instrument: int = 0) -> None:
    buffer = EventBuffer(16)
    buffer.append(
        EventKindCode.CLEAR,
        instrument=instrument,
        receive_ns=now_ns,
        flags=EventFlags.GAP | EventFlags.LAST,
    )
    engine.on_events(buffer)


async def until(holds: Callable[[], Awaitable[bool]], bound_s: float) -> float:
    began = time.monotonic()
    while not await holds():
        assert time.monotonic() - began < bound_s
        await asyncio.sleep(0.05)
    return time.monotonic() - began


async def test_a_gap_that_stays_is_an_alert_within_5_s_that_ends_with_it(tmp_path: Path) -> None:
    async with watched(tmp_path) as (app, client):

        async def alerts() -> dict[str, str]:
            return {each.name: each.text for each in (await client.status()).alerts}

        async def raised() -> bool:
            return MARKET_DATA in await alerts()

        async def ended() -> bool:
            return not await raised()

        lose(app.engine, app.clock.now_ns())
        assert await until(raised, 5.0) > 1.0, "what a snapshot mends at once is none"
        expected = "not to be trusted: BTC-USDT GAPPED (lost messages; feed house)"
        assert (await alerts())[MARKET_DATA] == expected
        assert b'quotelife_alert{name="market_data"} 1.0' in await app.exposition.text()
        Market(app.engine).start(app.clock.now_ns())
        await until(ended, 5.0)
        assert b'quotelife_alert{name="market_data"} 0.0' in await app.exposition.text()


async def test_status_metrics_and_doctor_say_state_cause_since_when_how_often_and_which_feed(
    tmp_path: Path,
) -> None:
    async with watched(tmp_path) as (app, client):
        lost_ns = app.clock.now_ns()
        lose(app.engine, lost_ns)
        status = await client.status()
        book = next(each for each in status.instruments if each.instrument == "BTC-USDT")
        assert book.quality == types.QUALITY_GAPPED
        assert book.quality_cause == types.QUALITY_CAUSE_LOST_MESSAGES
        assert book.quality_since_utc_ns >= lost_ns
        assert list(book.feeds) == ["house"]
        entered = {each.quality: each.entered for each in book.qualities}
        assert entered[types.QUALITY_GAPPED] == 1
        assert entered[types.QUALITY_GOOD] >= 1
        text = (await app.exposition.text()).decode()
        labels = 'cause="lost_messages",instrument="BTC-USDT",quality="gapped"'
        assert f"quotelife_instrument_quality{{{labels}}} 1.0" in text
        labels = 'instrument="BTC-USDT",quality="gapped"'
        assert f"quotelife_instrument_quality_entered_total{{{labels}}} 1.0" in text
        assert f"quotelife_instrument_quality_seconds_total{{{labels}}}" in text
        books = next(each for each in of_status(status) if each.name == "books")
        assert not books.good
        assert "BTC-USDT GAPPED (lost messages, since 20" in books.text
        assert "feed house)" in books.text


def many(folder: Path, count: int) -> Engine:
    rows = "".join(
        f"  - {{name: I{k}, venue: test, symbol: I{k}, tick_size: 1, lot_size: 1, warmup: 1s}}\n"
        for k in range(count)
    )
    text = f"version: 1\nmodel: {{artifact: first_passage}}\ninstruments:\n{rows}"
    return Engine(load_config(write_config(folder, text), ServiceConfig), start_ns=T0)


def test_a_venue_that_is_gone_names_a_bounded_number_of_instruments(tmp_path: Path) -> None:
    engine, alerts, clock = many(tmp_path, 50), Alerts(), ManualClock(T0)
    watch = MarketDataWatch(engine, (), alerts)
    engine.on_timer(clock.now_ns())
    clock.set_ns(T0 + TROUBLE_NS + 100 * MS)
    engine.on_timer(clock.now_ns())
    watch.check(clock.now_ns())
    (alert,) = alerts.active()
    assert alert.text.count("WARMING (no data; feed none)") == NAMES_SHOWN_MAX
    assert alert.text.endswith(f" and {50 - NAMES_SHOWN_MAX} more")


def test_an_instrument_that_the_calendar_shuts_is_no_alert(tmp_path: Path) -> None:
    text = CONFIG + (
        "calendars:\n  - {name: holiday, regime: halt, start: '2023-11-14T00:00:00Z',"
        " end: '2023-11-16T00:00:00Z'}\n"
    )
    engine = Engine(load_config(write_config(tmp_path, text), ServiceConfig), start_ns=T0)
    alerts = Alerts()
    watch = MarketDataWatch(engine, (), alerts)
    for now_ns in range(T0, T0 + 10 * S, S):
        engine.on_timer(now_ns)
        watch.check(now_ns)
    assert alerts.active() == []


def test_a_status_without_causes_still_reads(tmp_path: Path) -> None:
    """Of a service older than the doctor that asks it."""
    status = admin.GetStatusResponse(state=admin.SERVICE_STATE_SERVING)
    status.instruments.add(instrument="A", quality=types.QUALITY_STALE)
    books = next(each for each in of_status(status) if each.name == "books")
    assert books.text.endswith("declined are A STALE")
