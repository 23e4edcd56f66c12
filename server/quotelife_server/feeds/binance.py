"""One live connection to Binance, or to a venue that speaks the same wire.

Websocket and REST around the decoder, all on the event loop that called ``start``. A message is decoded in
the websocket callback, out of a copy of the frame (picows reuses its buffer), and its events go to the sink
once per read of the socket.
"""

import asyncio
import contextlib
import random
from collections.abc import Sequence
from typing import Any

import aiohttp
from picows import (
    WSCloseCode,
    WSError,
    WSFrame,
    WSHandshakeError,
    WSListener,
    WSMsgType,
    WSTransport,
    ws_connect,
)

from quotelife.clock import Clock
from quotelife.errors import ConfigError, DecodeError
from quotelife.feed.binance import BinanceDecoder
from quotelife.instruments import Instrument, InstrumentTable
from quotelife.records import EventBuffer
from quotelife.units import NS_PER_S
from quotelife_server.feeds.base import Backoff, FeedFigures, Sink
from quotelife_server.feeds.settings import BinanceFeedConfig

FAULT_LOG_INTERVAL_NS = NS_PER_S


class SnapshotError(Exception):
    """The venue did not give a snapshot; ``wait_s`` is how long it asks to be left alone."""

    def __init__(self, reason: str, wait_s: float = 0.0) -> None:
        super().__init__(reason)
        self.wait_s = wait_s


class BinanceFeed:
    """``Feed`` for one ``BinanceFeedConfig``; ``instruments`` are those that the configuration names."""

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
        self.config = config
        self.buffer = EventBuffer(config.buffer_events)
        self.decoder = BinanceDecoder(config.market, self.buffer, pending_bytes_max=config.pending_bytes_max)
        for instrument in instruments:
            self.decoder.add_instrument(
                instrument.symbol, instrument.index, instrument.tick_size, instrument.lot_size
            )
        streams = [
            f"{instrument.symbol.lower()}@{stream}" for instrument in instruments for stream in config.streams
        ]
        self.url = f"{config.ws_url.rstrip('/')}{config.ws_path}?streams={'/'.join(streams)}"
        self.depth_url = f"{config.rest_url.rstrip('/')}{config.depth_path}"
        self.connected = False
        self.reconnects = 0
        self.bytes = 0
        self.snapshots = 0
        self.snapshot_failures = 0
        self.last_message_ns = 0
        self.last_frame_ns = 0
        self._sink = sink
        self._clock = clock
        self._log = logger.bind(feed=config.name)
        self._rng = rng or random.Random()
        self._transport: WSTransport | None = None
        self._http: aiohttp.ClientSession | None = None
        self._running: asyncio.Task[None] | None = None
        self._stopping = False
        self._fetching: dict[str, asyncio.Task[None]] = {}
        self._retries = {
            symbol: Backoff(config.snapshot.retry_min_ns, config.snapshot.retry_max_ns, self._rng)
            for symbol in self.decoder.symbols
        }
        self._fetched_ns: dict[str, int] = {}
        self._snapshot_turn = asyncio.Lock()
        self._next_snapshot_ns = 0
        self._faults_unlogged = 0
        self._fault_logged_ns = -FAULT_LOG_INTERVAL_NS

    @classmethod
    def from_table(
        cls, config: BinanceFeedConfig, table: InstrumentTable, *, sink: Sink, clock: Clock, logger: Any
    ) -> "BinanceFeed":
        """The feed, its instruments looked up by name. Raises ``ConfigError`` for names not there."""
        unknown = [name for name in config.instruments if table.get(name) is None]
        if unknown:
            raise ConfigError(
                [
                    f"feeds: {config.name}: instruments: {name} is not among the instruments"
                    for name in unknown
                ]
            )
        instruments = [table.by_name(name) for name in config.instruments]
        return cls(config, instruments, sink=sink, clock=clock, logger=logger)

    # Feed.

    async def start(self) -> None:
        if self._running is not None:
            raise RuntimeError("the feed runs already")
        self._stopping = False
        self._running = asyncio.create_task(self._run(), name=f"feed-{self.config.name}")

    async def stop(self) -> None:
        self._stopping = True
        if self._running is not None:
            self._running.cancel()
            await asyncio.gather(self._running, return_exceptions=True)
            self._running = None

    def figures(self) -> FeedFigures:
        stats = [self.decoder.stats(symbol) for symbol in self.decoder.symbols]
        decoder = self.decoder
        return FeedFigures(
            self.config.name,
            self.connected,
            self.last_message_ns,
            {
                "reconnects": self.reconnects,
                "messages": decoder.messages,
                "bytes": self.bytes,
                "ignored": decoder.ignored,
                "decode_errors": decoder.malformed + decoder.off_grid + sum(s.overflows for s in stats),
                "venue_errors": decoder.errors,
                "gaps": sum(s.gaps for s in stats),
                "resyncs": sum(s.resyncs for s in stats),
                "duplicates": sum(s.duplicates for s in stats),
                "snapshots": self.snapshots,
                "snapshot_failures": self.snapshot_failures,
                "snapshots_refused": sum(s.refused for s in stats),
            },
        )

    # Connection.

    async def _run(self) -> None:
        reconnect = self.config.reconnect
        backoff = Backoff(reconnect.min_ns, reconnect.max_ns, self._rng)
        async with aiohttp.ClientSession() as self._http:
            while not self._stopping:
                began_ns = self._clock.now_ns()
                try:
                    reason = await self._connection()
                except WSHandshakeError as error:
                    reason = (
                        f"{error}: {(error.raw_body or b'')[:200]!r}"  # the venue says there what it refuses
                    )
                except (OSError, WSError, TimeoutError) as error:
                    reason = f"{type(error).__name__}: {error}"
                except Exception as error:  # the sink failed: say so loudly, and begin anew from a snapshot
                    self._log.exception("feed_failed")
                    reason = f"{type(error).__name__}: {error}"
                if self._clock.now_ns() - began_ns > reconnect.max_ns:
                    backoff.reset()  # it stood for a while: this is a new trouble, not the old one going on
                if self._stopping:
                    return
                wait_s = backoff.next_s()
                self._log.warning(
                    "feed_down", reason=reason, retry_s=round(wait_s, 3), url=self.config.ws_url
                )
                await asyncio.sleep(wait_s)
                self.reconnects += 1

    async def _connection(self) -> str:
        """One connection from handshake to end; returns why it ended."""
        timeout_s = self.config.reconnect.timeout_ns / NS_PER_S
        listener = _Listener(self)
        try:
            async with asyncio.timeout(timeout_s):
                transport, _ = await ws_connect(
                    lambda: listener,
                    self.url,
                    websocket_handshake_timeout=timeout_s,
                    max_frame_size=self.config.message_bytes_max,
                )
            return await self._watch(transport)
        finally:
            if self._transport is not None:
                self._transport.disconnect(graceful=False)
            self.on_disconnected()

    async def _watch(self, transport: WSTransport) -> str:
        """Ping until the connection ends or has gone quiet; returns what happened."""
        liveness = self.config.liveness
        while True:
            # Not wait_for: in Python 3.11 it swallows a cancellation that meets the end of what it waits for.
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(liveness.ping_ns / NS_PER_S):
                    await transport.wait_disconnected()
            if transport.is_disconnected:
                close = transport.close_handshake
                told = close.recv if close is not None else None
                return f"closed by the venue: {told.code} {told.reason}" if told else "connection lost"
            now_ns = self._clock.now_ns()
            if now_ns - self.last_frame_ns > liveness.idle_ns:
                return f"no frame for {(now_ns - self.last_frame_ns) / NS_PER_S:.1f} s"
            if now_ns - self.last_message_ns > liveness.mute_ns:
                return f"no market data for {(now_ns - self.last_message_ns) / NS_PER_S:.1f} s"
            transport.send_ping(None)

    def on_connected(self, transport: WSTransport) -> None:
        now_ns = self._clock.now_ns()
        self._transport = transport
        self.connected = True
        self.last_frame_ns = self.last_message_ns = now_ns
        self.decoder.connected(now_ns)
        self._drain()
        self._log.info("feed_up", url=self.config.ws_url, symbols=len(self.decoder.symbols))

    def on_disconnected(self) -> None:
        """Distrust every instrument at once. Called for each way a connection can end; the first counts."""
        if not self.connected:
            return
        self.connected = False
        self._transport = None
        for task in self._fetching.values():
            task.cancel()
        self._fetching.clear()
        self.buffer.clear()
        self.decoder.disconnected(self._clock.now_ns())
        self._drain()

    # Messages.

    def on_message(self, data: bytes, last_in_read: bool) -> None:
        now_ns = self._clock.now_ns()
        self.last_frame_ns = self.last_message_ns = now_ns
        self.bytes += len(data)
        decoder = self.decoder
        errors = decoder.errors
        try:
            decoder.message(data, now_ns)
        except DecodeError as error:
            self._log_fault("message_refused", str(error), now_ns)
        if decoder.errors != errors:
            self._log_fault("venue_error", decoder.last_error or "", now_ns)
        if last_in_read or 2 * self.buffer.count > self.buffer.capacity:
            self._drain()
        self._fetch_wanted()

    def on_liveness(self) -> None:
        """The venue pinged, or answered a ping."""
        now_ns = self._clock.now_ns()
        self.last_frame_ns = now_ns
        self._drain()
        self.decoder.heartbeat(now_ns)
        self._drain()

    def _drain(self) -> None:
        if self.buffer.count:
            try:
                self._sink(self.buffer)
            finally:
                self.buffer.clear()

    def _log_fault(self, event: str, error: str, now_ns: int) -> None:
        # A wrong tick size would otherwise write one line per message.
        if now_ns - self._fault_logged_ns < FAULT_LOG_INTERVAL_NS:
            self._faults_unlogged += 1
            return
        self._log.warning(event, error=error, not_logged=self._faults_unlogged)
        self._faults_unlogged = 0
        self._fault_logged_ns = now_ns

    # Snapshots.

    def _fetch_wanted(self) -> None:
        for symbol in self.decoder.wants_snapshot():
            task = asyncio.create_task(self._fetch(symbol), name=f"snapshot-{symbol}")
            self._fetching[symbol] = task
            task.add_done_callback(self._fetched)

    def _fetched(self, task: "asyncio.Task[None]") -> None:
        if not task.cancelled() and (error := task.exception()) is not None:
            self._log.error("snapshot_task_failed", exc_info=error)
            if self._transport is not None:
                self._transport.disconnect(graceful=False)  # the engine may have stopped half-way: begin anew

    async def _fetch(self, symbol: str) -> None:
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
            self._log.warning("snapshot_failed", symbol=symbol, error=f"{type(error).__name__}: {error}")
            self.decoder.snapshot_failed(symbol)
        self._fetched_ns[symbol] = self._clock.now_ns()
        self._drain()
        self._fetch_wanted()

    async def _get(self, symbol: str) -> bytes:
        assert self._http is not None
        snapshot = self.config.snapshot
        params = {"symbol": symbol, "limit": str(snapshot.limit)}
        async with self._snapshot_turn:
            wait_ns = self._next_snapshot_ns - self._clock.now_ns()
            if wait_ns > 0:
                await asyncio.sleep(wait_ns / NS_PER_S)
            self._next_snapshot_ns = self._clock.now_ns() + snapshot.interval_ns
            timeout = aiohttp.ClientTimeout(total=snapshot.timeout_ns / NS_PER_S)
            async with self._http.get(self.depth_url, params=params, timeout=timeout) as response:
                body = bytearray()
                async for chunk in response.content.iter_chunked(1 << 16):
                    body += chunk
                    if len(body) > snapshot.bytes_max:
                        raise SnapshotError(f"answer longer than {snapshot.bytes_max} bytes")
                if response.status != 200:
                    wait_s = _retry_after_s(response.headers.get("Retry-After", ""))
                    self._next_snapshot_ns += int(wait_s * NS_PER_S)
                    raise SnapshotError(f"HTTP {response.status}: {bytes(body[:120])!r}")
                return bytes(body)


def _retry_after_s(text: str) -> float:
    """Seconds the venue asks to be left alone (HTTP 429 and 418), at most an hour."""
    return float(min(int(text), 3600)) if text.isascii() and text.isdigit() else 0.0


class _Listener(WSListener):
    """picows callbacks of one connection. Frames are copied: picows reuses their buffer."""

    def __init__(self, feed: BinanceFeed) -> None:
        super().__init__()
        self._feed = feed
        self._parts = bytearray()

    def on_ws_connected(self, transport: WSTransport) -> None:
        self._feed.on_connected(transport)

    def on_ws_frame(self, transport: WSTransport, frame: WSFrame) -> None:
        kind = frame.msg_type
        if kind == WSMsgType.TEXT and frame.fin:
            self._feed.on_message(frame.get_payload_as_bytes(), frame.last_in_buffer)
        elif kind in (WSMsgType.TEXT, WSMsgType.CONTINUATION):
            self._parts += frame.get_payload_as_memoryview()
            if len(self._parts) > self._feed.config.message_bytes_max:
                transport.send_close(WSCloseCode.MESSAGE_TOO_BIG)
                transport.disconnect(graceful=False)
            elif frame.fin:
                self._feed.on_message(bytes(self._parts), frame.last_in_buffer)
                self._parts.clear()
        elif kind in (WSMsgType.PING, WSMsgType.PONG):
            self._feed.on_liveness()

    def on_ws_disconnected(self, transport: WSTransport) -> None:
        self._feed.on_disconnected()
