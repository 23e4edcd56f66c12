"""Alerts: said once each way, shown meanwhile."""

import asyncio
import time
from pathlib import Path

import pytest
import structlog

from quotelife_client import AsyncClient, Reason
from quotelife_server import alerts as alerts_module
from quotelife_server.alerts import Alert, Alerts
from reference.service_kit import CONFIG, running, write_config


def test_an_alert_is_shown_from_when_it_began_until_it_ends() -> None:
    alerts = Alerts()
    alerts.raise_("disk", "full", 5)
    alerts.raise_("clock", "gone", 6)
    alerts.raise_("disk", "read-only", 7)
    assert alerts.active() == [Alert("disk", "read-only", 5), Alert("clock", "gone", 6)]
    assert alerts.levels() == [("disk", 1), ("clock", 1)]
    alerts.clear("disk", 8)
    assert alerts.active() == [Alert("clock", "gone", 6)]
    assert alerts.levels() == [("disk", 0), ("clock", 1)]


def test_an_alert_is_logged_once_each_way(monkeypatch: pytest.MonkeyPatch) -> None:
    with structlog.testing.capture_logs() as lines:
        monkeypatch.setattr(alerts_module, "_log", structlog.get_logger())
        alerts = Alerts()
        alerts.clear("disk", 1)
        for now_ns in range(3):
            alerts.raise_("disk", "full", now_ns)
        for _ in range(2):
            alerts.clear("disk", 3_000_000_000)
    assert [(line["event"], line["log_level"]) for line in lines] == [
        ("alert", "error"),
        ("alert ended", "warning"),
    ]
    assert lines[1]["after_s"] == 3.0


async def test_a_throttle_that_trips_by_itself_is_an_alert_until_its_pause_ends(tmp_path: Path) -> None:
    """In status, metrics and log within a tick of the service; one that is released by hand is a kill instead."""
    throttle = "throttle: {decisions_max: 3, window: 10s, release: automatic, pause: 1s}\n"
    by_hand = "{tier: regular, throttle: {decisions_max: 3, window: 10s, release: manual}}"
    text = CONFIG.replace("  beta: {tier: regular}", f"  beta: {by_hand}") + throttle
    async with (
        running(write_config(tmp_path, text)) as app,
        AsyncClient(app.addresses[0], timeout_s=5) as client,
    ):

        async def alerts() -> dict[str, str]:
            return {each.name: each.text for each in (await client.status()).alerts}

        async def until(wanted: set[str]) -> float:
            began = time.monotonic()
            while set(await alerts()) != wanted:
                assert time.monotonic() - began < 5.0, await alerts()
                await asyncio.sleep(0.02)
            return time.monotonic() - began

        for _ in range(4):
            last = await client.get_expiry(instrument="BTC-USDT", side="BUY", counterparty="alpha")
        assert Reason.THROTTLED in last.reasons
        await until({"throttled"})
        expected = "alpha: more than 3 decisions in 10s; declined until the pause ends"
        assert (await alerts())["throttled"] == expected
        assert b'quotelife_alert{name="throttled"} 1.0' in await app.exposition.text()
        await until(set())
        assert b'quotelife_alert{name="throttled"} 0.0' in await app.exposition.text()
        for _ in range(4):
            await client.get_expiry(instrument="BTC-USDT", side="BUY", counterparty="beta")
        await until({"killed"})
