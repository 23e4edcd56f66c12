"""Feeds that subscribe on the connection and get their snapshots on it: what Deribit, Coinbase and OKX share.

Requests leave one at a time, spaced as the venue demands. A book that breaks is subscribed anew, alone, while the
connection and all other books go on; the wait grows with every time that follows another closely, so that a book
which breaks as soon as it is whole (a wrong tick size) does not become a flood of requests. A snapshot that does not
come counts as lost.

Broken books go before everything else that waits to be asked for. A request may have failed as a whole because of one
symbol that the venue does not know, so what got no snapshot is asked for in batches of half the size each time, until
the symbol that spoils them stands alone.
"""

import asyncio
import random
from abc import ABC, abstractmethod
from collections import deque
from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple

from picows import WSMsgType

from quotelife.clock import Clock
from quotelife.feed.streamed_decoder import StreamedDecoder
from quotelife.feed.symbol_feed import SyncState
from quotelife.instruments import Instrument
from quotelife.units import NS_PER_S
from quotelife_server.feeds.base import Backoff, Sink, few
from quotelife_server.feeds.settings import StreamedFeedConfig
from quotelife_server.feeds.websocket import WebsocketFeed


class Outgoing(NamedTuple):
    """A request, and the symbols whose snapshot it asks for."""

    text: bytes
    asks: tuple[str, ...] = ()


class SubscribingFeed(WebsocketFeed, ABC):
    """``Feed`` of a venue with streamed snapshots; a subclass words the requests."""

    config: StreamedFeedConfig
    decoder: StreamedDecoder

    def __init__(
        self,
        config: StreamedFeedConfig,
        decoder: StreamedDecoder,
        instruments: Sequence[Instrument],
        *,
        sink: Sink,
        clock: Clock,
        logger: Any,
        rng: random.Random | None = None,
    ) -> None:
        super().__init__(
            config, decoder, instruments, config.ws_url, sink=sink, clock=clock, logger=logger, rng=rng
        )
        self.resubscriptions = 0
        again = config.resubscribe
        self._retries = {
            symbol: Backoff(again.retry_min_ns, again.retry_max_ns, self._rng) for symbol in decoder.symbols
        }
        self._asked_ns: dict[str, int] = {}  # since when a snapshot is awaited
        self._resubscribed_ns: dict[str, int] = {}
        self._timers: dict[str, asyncio.TimerHandle] = {}
        self._again: dict[str, None] = {}  # ordered set of symbols to subscribe anew with the next request
        self._together: dict[str, int] = {}  # by symbol: how many were asked for with it
        self._most: dict[str, int] = {}  # by symbol whose snapshot did not come: how many may be so next time
        self._urgent: deque[Outgoing] = deque()  # leaves before the outbox
        self._outbox: deque[Outgoing] = deque()
        self._sending: asyncio.TimerHandle | None = None
        self._watching: asyncio.TimerHandle | None = None

    # What a venue words.

    @abstractmethod
    def subscriptions(self, symbols: Sequence[str]) -> Iterable[Outgoing]:
        """The requests for everything configured, of ``symbols``."""

    @abstractmethod
    def resubscriptions_of(self, symbols: Sequence[str]) -> Iterable[Outgoing]:
        """The requests that make the venue send snapshots of ``symbols``, at most ``config.batch``, again."""

    @abstractmethod
    def others_of(self, symbols: Sequence[str]) -> Iterable[Outgoing]:
        """The requests for what is configured beside the books, such as trades, of ``symbols``."""

    def has_books(self) -> bool:
        return True

    # Feed.

    def counters(self) -> dict[str, int]:
        return super().counters() | {"resubscriptions": self.resubscriptions}

    # Connection.

    def ready(self) -> None:
        self.send(*self.subscriptions(self.decoder.symbols))
        if self.has_books():
            self._watch_snapshots()

    def dropped(self) -> None:
        for timer in (*self._timers.values(), self._sending, self._watching):
            if timer is not None:
                timer.cancel()
        self._sending = self._watching = None
        self._timers.clear()
        self._again.clear()
        self._together.clear()
        self._most.clear()
        self._urgent.clear()
        self._outbox.clear()
        self._asked_ns.clear()

    def after_message(self, now_ns: int) -> None:
        if self.has_books():
            self._resubscribe_wanted(now_ns)

    # Requests.

    def send(self, *requests: Outgoing) -> None:
        """Send in this order, as soon as the spacing allows."""
        self._outbox.extend(requests)
        if self._sending is None:
            self._send_next()

    def send_first(self, request: Outgoing) -> None:
        """Send before all that waits."""
        self._urgent.appendleft(request)
        if self._sending is None:
            self._send_next()

    def _send_next(self) -> None:
        self._sending = None
        if self.transport is None:
            return
        if not self._urgent and self._again:
            symbols = self._next_batch()
            self.resubscriptions += len(symbols)
            self._urgent.extend(self.resubscriptions_of(symbols))
            if any(symbol in self._most for symbol in symbols):
                self._outbox.extend(self.others_of(symbols))  # refused together with the books, presumably
        waiting = self._urgent or self._outbox
        if not waiting:
            return
        text, asks = waiting.popleft()
        self.transport.send(WSMsgType.TEXT, text)
        now_ns = self._clock.now_ns()
        for symbol in asks:
            self._asked_ns[symbol] = now_ns
            self._together[symbol] = len(asks)
        self._sending = asyncio.get_running_loop().call_later(
            self.config.request_interval_ns / NS_PER_S, self._send_next
        )

    def _next_batch(self) -> tuple[str, ...]:
        """Symbols to subscribe anew together, taken from those that wait for it."""
        symbols: list[str] = []
        most = self.config.batch
        for symbol in self._again:
            most = min(most, self._most.get(symbol, most))
            if len(symbols) >= most:
                break
            symbols.append(symbol)
        for symbol in symbols:
            del self._again[symbol]
        return tuple(symbols)

    # Snapshots.

    def _resubscribe_wanted(self, now_ns: int) -> None:
        for symbol in self.decoder.wants_snapshot():
            self._asked_ns.pop(symbol, None)
            retry = self._retries[symbol]
            wait_s = 0.0
            if now_ns - self._resubscribed_ns.get(symbol, 0) > self.config.resubscribe.retry_max_ns:
                retry.reset()
            else:
                wait_s = retry.next_s()
            self._resubscribed_ns[symbol] = now_ns + int(wait_s * NS_PER_S)
            self._timers[symbol] = asyncio.get_running_loop().call_later(wait_s, self._ask_again, symbol)

    def _ask_again(self, symbol: str) -> None:
        self._timers.pop(symbol, None)
        self._again[symbol] = None
        if self._sending is None:  # a turn later: others that broke with it share its request
            self._sending = asyncio.get_running_loop().call_later(0, self._send_next)

    def _watch_snapshots(self) -> None:
        """Find snapshots that did not come; four looks in one time-out."""
        now_ns = self._clock.now_ns()
        timeout_ns = self.config.resubscribe.timeout_ns
        late = []
        for symbol, asked_ns in list(self._asked_ns.items()):
            if self.decoder.state(symbol) is SyncState.SYNCED:
                del self._asked_ns[symbol]
                self._most.pop(symbol, None)
            elif now_ns - asked_ns > timeout_ns:
                del self._asked_ns[symbol]
                self._most[symbol] = max(self._together[symbol] // 2, 1)
                self.decoder.snapshot_failed(symbol)
                late.append(symbol)
        if late:
            self._log.warning("snapshots_late", symbols=few(late), error="the venue sent none in time")
        self._resubscribe_wanted(now_ns)
        self._watching = asyncio.get_running_loop().call_later(
            timeout_ns / 4 / NS_PER_S, self._watch_snapshots
        )


def in_batches(items: Sequence[str], size: int) -> Iterable[tuple[str, ...]]:
    return (tuple(items[at : at + size]) for at in range(0, len(items), size))
