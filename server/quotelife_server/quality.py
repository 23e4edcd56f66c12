"""Which instruments' data is not as it should be, in words, and the alert about it."""

from collections.abc import Iterable, Sequence
from typing import Protocol

from quotelife.book.quality import QualityCause
from quotelife.engine import Engine
from quotelife.records import QualityCode
from quotelife.units import NS_PER_S
from quotelife_server.alerts import MARKET_DATA, Alerts

TROUBLE_NS = 3 * NS_PER_S
"""Not GOOD for longer is an alert. A gap that a snapshot mends at once, warmup included, is none."""

NAMES_SHOWN_MAX = 10


class ConfiguredFeed(Protocol):
    """An entry of the ``feeds`` section."""

    name: str
    instruments: tuple[str, ...]


def in_words(cause: int) -> str:
    """Such as ``lost messages``."""
    return QualityCause(cause).name.lower().replace("_", " ")


class MarketDataWatch:
    """Raises and ends the alert ``market_data``."""

    def __init__(self, engine: Engine, feeds: Iterable[ConfiguredFeed], alerts: Alerts) -> None:
        self._engine = engine
        self._alerts = alerts
        self._feeds: dict[str, list[str]] = {}
        for feed in feeds:
            for instrument in feed.instruments:
                self._feeds.setdefault(instrument, []).append(feed.name)

    def feeds_of(self, instrument: str) -> Sequence[str]:
        """Names of the feeds that speak of an instrument."""
        return self._feeds.get(instrument, ())

    def check(self, now_ns: int) -> None:
        """To be called after every timer of the engine."""
        count, shown = self._engine.troubled(now_ns, TROUBLE_NS, NAMES_SHOWN_MAX)
        if not count:
            self._alerts.clear(MARKET_DATA, now_ns)
            return
        names = []
        for index, quality, cause, _ in shown:
            name = self._engine.instruments[index].name
            feeds = ", ".join(self.feeds_of(name)) or "none"
            names.append(f"{name} {QualityCode(quality).name} ({in_words(cause)}; feed {feeds})")
        more = f" and {count - len(names)} more" if count > len(names) else ""
        self._alerts.raise_(MARKET_DATA, f"not to be trusted: {'; '.join(names)}{more}", now_ns)
