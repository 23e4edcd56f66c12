"""What somebody should look at now: said once in the log when it begins and once when it ends, shown meanwhile by
GetStatus and by ``quotelife_alert`` in /metrics."""

from dataclasses import dataclass

from quotelife.units import NS_PER_S
from quotelife_server.log import get_logger

_log = get_logger(__name__)

CLOCK_UNSYNCHRONISED = "clock_unsynchronised"
ENGINE_AHEAD = "engine_ahead"
KILLED = "killed"
JOURNAL_FAILING = "journal_failing"
JOURNAL_LOSES = "journal_loses"
KILL_NOT_KEPT = "kill_not_kept"
WATCH_LOST = "watch_lost"
WITHDRAWALS_HELD_BACK = "withdrawals_held_back"
EXPOSURE_CAPPED = "exposure_capped"
THROTTLED = "throttled"
CAPTURE_FAILING = "capture_failing"
MARKET_DATA = "market_data"
MODEL_FAILED = "model_failed"
MODEL_INPUTS = "model_inputs"
MODEL_WARNED = "model_warned"
MODEL_DEGRADED = "model_degraded"
MODEL_STEPPED_DOWN = "model_stepped_down"
WARNINGS = frozenset({MODEL_INPUTS, EXPOSURE_CAPPED})
"""Alerts of what nothing is known to be wrong with so far: ``quotelife doctor`` shows them and does not fail."""


@dataclass(frozen=True, slots=True)
class Alert:
    """``since_ns``: when it began, by the service's clock."""

    name: str
    text: str
    since_ns: int


class Alerts:
    """By stable names. One thread, the event loop's."""

    def __init__(self) -> None:
        self._active: dict[str, Alert] = {}
        self._seen: dict[str, None] = {}

    def raise_(self, name: str, text: str, now_ns: int) -> None:
        """Begin an alert, or change the text of one that has begun."""
        active = self._active.get(name)
        if active is None:
            self._seen[name] = None
            _log.error("alert", alert=name, text=text)
        self._active[name] = Alert(name, text, now_ns if active is None else active.since_ns)

    def clear(self, name: str, now_ns: int) -> None:
        """End an alert; nothing happens where there is none."""
        ended = self._active.pop(name, None)
        if ended is not None:
            _log.warning("alert ended", alert=name, after_s=(now_ns - ended.since_ns) / NS_PER_S)

    def active(self) -> list[Alert]:
        """Oldest first."""
        return list(self._active.values())

    def levels(self) -> list[tuple[str, int]]:
        """Every name raised since start, with 1 while it is and 0 after."""
        return [(name, int(name in self._active)) for name in self._seen]
