"""What every feed has in common: how it is run and what it tells of itself, and how long it waits."""

import random
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Protocol

from quotelife.records import EventBuffer
from quotelife.units import NS_PER_S

Sink = Callable[[EventBuffer], None]
"""Takes the events of a buffer; the buffer is cleared as soon as it returns."""


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


@dataclass(frozen=True, slots=True)
class FeedFigures:
    """What one feed tells of itself. Counters only grow."""

    name: str
    connected: bool
    last_message_ns: int  # 0: none yet
    counters: Mapping[str, int]


class Feed(Protocol):
    """A connection to a venue that hands its events to a sink, on the event loop that started it."""

    async def start(self) -> None:
        """Begin to connect; returns at once and never raises because the venue is away."""

    async def stop(self) -> None:
        """Disconnect; the sink is not called any more when this returns."""

    def figures(self) -> FeedFigures: ...


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
