"""What every feed has in common: how it is run and what it tells of itself, and how long it waits."""

import random
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple, Protocol

from quotelife.clock import Clock
from quotelife.records import EventBuffer
from quotelife.units import NS_PER_S

FAULT_CHARS_MAX = 512
OFTEN_NS = NS_PER_S

Sink = Callable[[EventBuffer], None]
"""Takes the events of a buffer; the buffer is cleared as soon as it returns."""

UNREAD_BYTES_MAX = 1 << 20
"""So much of what we sent may wait for a venue that does not read: it may go on asking for answers."""


class GreeksSink(Protocol):
    """Takes what a venue says of an option; ``Engine.on_greeks``."""

    def __call__(
        self,
        instrument: int,
        *,
        receive_ns: int,
        source_ns: int,
        delta_gamma: tuple[float, float] | None = None,
        vega_theta: tuple[float, float] | None = None,
        volatility_underlying: tuple[float, float] | None = None,
        mark_funding: tuple[float, float] | None = None,
    ) -> None: ...


class Fault(NamedTuple):
    """Something that went wrong on a feed, in the words of its log."""

    text: str
    at_ns: int


class FaultLog:
    """The logger of one feed; it keeps the newest warning or error, so that status can say what the log says."""

    def __init__(self, logger: Any, name: str, clock: Clock) -> None:
        self._log = logger.bind(feed=name)
        self._clock = clock
        self._often_ns = -OFTEN_NS
        self._not_logged = 0
        self.newest: Fault | None = None

    def info(self, event: str, **fields: object) -> None:
        self._log.info(event, **fields)

    def warning(self, event: str, **fields: object) -> None:
        self._keep(event, fields)
        self._log.warning(event, **fields)

    def often(self, event: str, **fields: object) -> None:
        """A warning that a wrong tick size, say, brings with every message: one a second, which counts the others."""
        now_ns = self._clock.now_ns()
        if now_ns - self._often_ns < OFTEN_NS:
            self._not_logged += 1
            return
        self.warning(event, **fields, not_logged=self._not_logged)
        self._not_logged = 0
        self._often_ns = now_ns

    def error(self, event: str, **fields: object) -> None:
        self._keep(event, fields)
        self._log.error(event, **fields)

    def exception(self, event: str, **fields: object) -> None:
        self._keep(event, fields)
        self._log.exception(event, **fields)

    def _keep(self, event: str, fields: Mapping[str, object]) -> None:
        told = "; ".join(str(value) for key, value in fields.items() if key not in ("retry_s", "not_logged"))
        text = event.replace("_", " ") + (f": {told}" if told else "")
        self.newest = Fault(text[:FAULT_CHARS_MAX], self._clock.now_ns())


def few(names: Sequence[str], most: int = 10) -> str:
    """Some names in words, and how many more there are."""
    more = f" and {len(names) - most} more" if len(names) > most else ""
    return ", ".join(names[:most]) + more


def why_not_connected(error: Exception, timeout_ns: int) -> str:
    """An attempt's end in words; the error of a timeout has none of its own."""
    if isinstance(error, TimeoutError) and not str(error):
        return f"no answer within {timeout_ns / NS_PER_S:g} s"
    return f"{type(error).__name__}: {error}"


@dataclass(frozen=True, slots=True)
class FeedFigures:
    """What one feed tells of itself. Counters only grow."""

    name: str
    connected: bool
    last_message_ns: int  # 0: none yet
    counters: Mapping[str, int]
    fault: Fault | None = None  # the newest that was logged


class Feed(Protocol):
    """A connection to a venue that hands its events to a sink, on the event loop that started it."""

    async def start(self) -> None:
        """Begin to connect; returns at once and never raises because the venue is away."""

    async def stop(self) -> None:
        """Disconnect; the sink is not called any more when this returns."""

    def figures(self) -> FeedFigures: ...


def tell_down(tell: Callable[[], None], logger: Any) -> None:
    """Tell the sink what must not be trusted any more. One that fails at it is told once more: all else may be lost,
    this may not, nor may the feed end over it. ``tell`` may be called twice."""
    for _ in range(2):
        try:
            tell()
            return
        except Exception:
            logger.exception("feed_failed")


class Backoff:
    """Exponential waits with jitter: the n-th lies in [half, whole] of ``min_ns · 2ⁿ``, at most ``max_ns``.

    The jitter keeps many clients of a venue that came back from knocking at the same instant.
    """

    def __init__(self, min_ns: int, max_ns: int, rng: random.Random) -> None:
        self._min_ns = min_ns
        self._max_ns = max_ns
        self._rng = rng
        self.attempts = 0

    def next_s(self) -> float:
        """Seconds to wait before the next attempt."""
        whole_ns = min(self._min_ns << min(self.attempts, 62), self._max_ns)
        self.attempts += 1
        return self._rng.uniform(0.5, 1.0) * whole_ns / NS_PER_S

    def reset(self) -> None:
        self.attempts = 0
