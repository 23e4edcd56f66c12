"""Alerts: said once each way, shown meanwhile."""

import pytest
import structlog

from quotelife_server import alerts as alerts_module
from quotelife_server.alerts import Alert, Alerts


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
