"""One live connection to Binance, or to a venue that speaks the same wire: websocket and REST around the decoder."""

import asyncio
import random
from collections import deque
from collections.abc import Sequence
from typing import Any

import aiohttp

from quotelife.clock import Clock
from quotelife.errors import DecodeError
from quotelife.feed.binance import BinanceDecoder
from quotelife.instruments import Instrument, InstrumentTable
from quotelife.records import EventBuffer
from quotelife.units import NS_PER_MS, NS_PER_S
from quotelife_server.feeds.base import Backoff, Sink
from quotelife_server.feeds.settings import BinanceFeedConfig
from quotelife_server.feeds.websocket import WebsocketFeed, instruments_of

MINUTE_NS = 60 * NS_PER_S
RETRY_DIGITS_MAX = 9  # more are beyond the hour anyhow, and int() refuses some thousands


class SnapshotError(Exception):
    """The venue did not give a snapshot."""


class BinanceFeed(WebsocketFeed):
    """``Feed`` for one ``BinanceFeedConfig``; ``instruments`` are those that the configuration names."""

    config: BinanceFeedConfig
    decoder: BinanceDecoder

    def __init__(
        self,
        config: BinanceFeedConfig,
        instruments: Sequence[Instrument],
        *,
        sink: Sink,
        clock: Clock,
        logger: Any,
        rng: random.Random | None = None,
    ) -> None:
        streams = [
            f"{instrument.symbol.lower()}@{stream}" for instrument in instruments for stream in config.streams
        ]
        super().__init__(
            config,
            BinanceDecoder(
                config.market,
                EventBuffer(config.buffer_events),
                snapshot_levels=config.snapshot.limit,
                pending_bytes_max=config.pending_bytes_max,
            ),
            instruments,
            f"{config.ws_url.rstrip('/')}{config.ws_path}?streams={'/'.join(streams)}",
            sink=sink,
            clock=clock,
            logger=logger,
            rng=rng,
        )
        self.depth_url = f"{config.rest_url.rstrip('/')}{config.depth_path}"
        self.snapshots = 0
        self.snapshot_failures = 0
        self._http: aiohttp.ClientSession | None = None
        self._fetching: dict[str, asyncio.Task[None]] = {}
        self._retries = {
            symbol: Backoff(config.snapshot.retry_min_ns, config.snapshot.retry_max_ns, self._rng)
            for symbol in self.decoder.symbols
        }
        self._fetched_ns: dict[str, int] = {}
        self._snapshot_turn = asyncio.Lock()
        self._next_snapshot_ns = 0
        self._requested_ns: deque[int] = deque(maxlen=config.snapshots_per_minute)

    @classmethod
    def from_table(
        cls, config: BinanceFeedConfig, table: InstrumentTable, *, sink: Sink, clock: Clock, logger: Any
    ) -> "BinanceFeed":
        """The feed, its instruments looked up by name. Raises ``ConfigError`` for names not there."""
        instruments = instruments_of(config.name, config.instruments, table)
        return cls(config, instruments, sink=sink, clock=clock, logger=logger)

    def counters(self) -> dict[str, int]:
        return super().counters() | {
            "snapshots": self.snapshots,
            "snapshot_failures": self.snapshot_failures,
        }

    async def _run(self) -> None:
        async with aiohttp.ClientSession() as self._http:
            await super()._run()

    def after_message(self, now_ns: int) -> None:
        self._fetch_wanted()

    def dropped(self) -> None:
        for task in self._fetching.values():
            task.cancel()
        self._fetching.clear()

    # Snapshots.

    def _fetch_wanted(self) -> None:
        for symbol in self.decoder.wants_snapshot():
            task = asyncio.create_task(self._fetch(symbol), name=f"snapshot-{symbol}")
            self._fetching[symbol] = task

    async def _fetch(self, symbol: str) -> None:
        try:
            await self._fetch_one(symbol)
        except Exception:
            self.failed()

    async def _fetch_one(self, symbol: str) -> None:
        """Fetch one snapshot and hand it to the decoder; what is wanted after that is fetched by a new task.

        The wait grows with every fetch that follows another closely, failed or not: a book that breaks again
        as soon as it is whole (a wrong tick size) must not turn into a flood of requests.
        """
        retry = self._retries[symbol]
        if self._clock.now_ns() - self._fetched_ns.get(symbol, 0) > self.config.snapshot.retry_max_ns:
            retry.reset()
        else:
            await asyncio.sleep(retry.next_s())
        try:
            data = await self._get(symbol)
            self.snapshots += 1
            self._drain()
            self.decoder.snapshot(symbol, data, self._clock.now_ns())
        except (SnapshotError, DecodeError, aiohttp.ClientError, TimeoutError, OSError) as error:
            self.snapshot_failures += 1
            error_text = f"{symbol}: {type(error).__name__}: {error}"
            self._log.often("snapshot_failed", error=error_text)
            self.decoder.snapshot_failed(symbol)
        self._fetched_ns[symbol] = self._clock.now_ns()
        self._drain()
        self._fetch_wanted()

    async def _get(self, symbol: str) -> bytes:
        assert self._http is not None
        snapshot = self.config.snapshot
        params = {"symbol": symbol, "limit": str(snapshot.limit)}
        async with self._snapshot_turn:
            next_ns = self._next_snapshot_ns
            if len(self._requested_ns) == self._requested_ns.maxlen:
                next_ns = max(next_ns, self._requested_ns[0] + MINUTE_NS)
            # The loop counts in whole milliseconds, and a sleep may end one of them early: the venue counts finer.
            while (now_ns := self._clock.now_ns()) < next_ns:  # noqa: ASYNC110 (it is for the time itself)
                await asyncio.sleep(max(next_ns - now_ns, NS_PER_MS) / NS_PER_S)
            self._requested_ns.append(now_ns)
            self._next_snapshot_ns = now_ns + snapshot.interval_ns
            timeout = aiohttp.ClientTimeout(total=snapshot.timeout_ns / NS_PER_S)
            async with self._http.get(self.depth_url, params=params, timeout=timeout) as response:
                body = bytearray()
                async for chunk in response.content.iter_chunked(1 << 16):
                    body += chunk
                    if len(body) > snapshot.bytes_max:
                        raise SnapshotError(f"answer longer than {snapshot.bytes_max} bytes")
                if response.status != 200:
                    wait_s = _retry_after_s(response.status, response.headers.get("Retry-After", ""))
                    # From now on, not from the request: the answer may have been long on its way.
                    next_ns = self._clock.now_ns() + int(wait_s * NS_PER_S)
                    self._next_snapshot_ns = max(self._next_snapshot_ns, next_ns)
                    raise SnapshotError(f"HTTP {response.status}: {bytes(body[:120])!r}")
                return bytes(body)


def _retry_after_s(status: int, text: str) -> float:
    """Seconds the venue asks to be left alone, at most an hour; a minute where 429 or 418 do not say."""
    if text.isascii() and text.isdigit():
        return float(min(int(text[:RETRY_DIGITS_MAX]), 3600))
    return 60.0 if status in (429, 418) else 0.0
