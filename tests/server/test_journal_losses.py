"""What finds no room in the journal's buffer is counted where it can be seen, and is an alert for a while."""

import asyncio
import urllib.request
from pathlib import Path

import pytest

from quotelife.records import DecisionRecord, RequestRecord
from quotelife_client import AsyncClient
from quotelife_server.alerts import JOURNAL_LOSES, Alerts
from quotelife_server.app import Application
from quotelife_server.cli.doctor_service import of_status
from quotelife_server.journaling import LOSS_ALERT_NS, JournalLedger, Losses
from reference.service_kit import running, write_config


def flood(app: Application) -> None:
    """In one turn, so that nothing is written: decisions beyond the buffer."""
    now_ns = app.clock.now_ns()
    for _ in range(1_500):
        app.engine.decide(RequestRecord(0, 1, now_ns=now_ns), DecisionRecord())


async def test_losses_are_in_status_metrics_doctor_and_an_alert(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    journal = {"directory": str(tmp_path / "journal"), "buffer_bytes": 2**20}
    async with running(write_config(tmp_path), journal=journal) as app:
        async with AsyncClient(app.addresses[0], timeout_s=5) as client:
            before = await client.status()
            assert (before.watches_lost, before.inputs_lost) == (0, 0)
            assert JOURNAL_LOSES not in {alert.name for alert in app.alerts.active()}
            flood(app)
            monkeypatch.setattr(JournalLedger, "watches_lost", property(lambda ledger: 40))
            await asyncio.sleep(0.3)
            status = await client.status()
        assert status.watches_lost == 40 and status.inputs_lost > 0
        (text,) = (alert.text for alert in status.alerts if alert.name == JOURNAL_LOSES)
        assert "40 words on live quotes" in text and "server.journal.buffer_bytes" in text
        address = f"http://{app.metrics_address}/metrics"
        with await asyncio.to_thread(urllib.request.urlopen, address) as response:
            metrics = response.read().decode()
        assert "quotelife_journal_watches_lost_total 40.0" in metrics
        assert "quotelife_journal_inputs_lost_total" in metrics
        said = {(each.name, each.good): each.text for each in of_status(status)}
        assert any("words found no room" in text for (name, ok), text in said.items() if not ok)


class _Counts:
    inputs_lost = watches_lost = labels_lost = shadows_lost = 0


def test_the_alert_ends_a_minute_after_the_last_loss() -> None:
    counts, alerts = _Counts(), Alerts()
    losses = Losses(counts, alerts)  # type: ignore[arg-type]
    losses.check(1)
    assert not alerts.active()
    counts.watches_lost = 2
    losses.check(10)
    counts.labels_lost = 1
    losses.check(20)
    losses.check(20 + LOSS_ALERT_NS - 1)
    (alert,) = alerts.active()
    assert "2 words on live quotes, 1 labels" in alert.text
    losses.check(20 + LOSS_ALERT_NS)
    assert not alerts.active()
