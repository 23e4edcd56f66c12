"""FIX 4.4 market data: one session that we initiate, over TCP or TLS, on the event loop that called ``start``.

Sockets and timers around ``FixSession`` and ``FixDecoder``; docs/fix.md says what is asked for and how a break ends.
"""

import asyncio
import base64
import hashlib
import random
import secrets
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from quotelife.clock import Clock
from quotelife.errors import DecodeError
from quotelife.feed.fix import FixDecoder
from quotelife.feed.fix_session import Field, FixNews, FixSession, FixSessionError
from quotelife.feed.symbol_feed import SyncState
from quotelife.instruments import Instrument, InstrumentTable
from quotelife.records import EventBuffer
from quotelife.units import NS_PER_MS, NS_PER_S
from quotelife_server.addresses import host_and_port
from quotelife_server.feeds.base import (
    UNREAD_BYTES_MAX,
    Backoff,
    FaultLog,
    FeedFigures,
    Sink,
    tell_down,
    why_not_connected,
)
from quotelife_server.feeds.settings import FixFeedConfig

TICKS_PER_HEARTBEAT = 10
MARKET_DATA = ("W", "X")
LOGOUT_S = 0.5  # a counterparty that does not answer our logout is not waited for


class FixFeed:
    """``Feed`` for one ``FixFeedConfig``; ``instruments`` are those that the configuration names."""

    def __init__(
        self,
        config: FixFeedConfig,
        instruments: Sequence[Instrument],
        *,
        sink: Sink,
        clock: Clock,
        logger: Any,
        rng: random.Random | None = None,
    ) -> None:
        self.config = config
        self.buffer = EventBuffer(config.buffer_events)
        self.decoder = FixDecoder(self.buffer, depth=config.depth, incremental=config.incremental)
        for instrument in instruments:
            self.decoder.add_instrument(
                instrument.symbol, instrument.index, instrument.tick_size, instrument.lot_size
            )
        self.session = FixSession(
            config.sender,
            config.target,
            heartbeat_s=config.heartbeat_ns // NS_PER_S,
            reset_on_logon=config.reset_on_logon,
            logon_timeout_ns=config.reconnect.timeout_ns,
            resend_timeout_ns=config.resend_timeout_ns,
            message_bytes_max=config.message_bytes_max,
        )
        self.connected = False
        self.reconnects = 0
        self.bytes = 0
        self.subscriptions = 0
        self.skipped = 0
        self.last_message_ns = 0
        self._sink = sink
        self._clock = clock
        self._log = FaultLog(logger, config.name, clock)
        self._rng = rng or random.Random()
        self._running: asyncio.Task[None] | None = None
        self._line: _Line | None = None
        retry = config.resubscribe
        self._retries = {
            symbol: Backoff(retry.retry_min_ns, retry.retry_max_ns, self._rng)
            for symbol in self.decoder.symbols
        }
        self._subscribed_ns: dict[str, int] = {}
        self._gap_ns = 0
        self._in_gap = False
        self._waiting: dict[str, asyncio.TimerHandle] = {}

    @classmethod
    def from_table(
        cls, config: FixFeedConfig, table: InstrumentTable, *, sink: Sink, clock: Clock, logger: Any
    ) -> "FixFeed":
        """The feed, its instruments looked up by name. Raises ``UnknownInstrumentError``."""
        instruments = [table.by_name(name) for name in config.instruments]
        return cls(config, instruments, sink=sink, clock=clock, logger=logger)

    # Feed.

    async def start(self) -> None:
        if self._running is not None:
            raise RuntimeError("the feed runs already")
        self._running = asyncio.create_task(self._keep_connected(), name=f"feed-{self.config.name}")

    async def stop(self) -> None:
        if self._running is not None:
            self._running.cancel()
            await asyncio.gather(self._running, return_exceptions=True)
            self._running = None

    def figures(self) -> FeedFigures:
        decoder, session = self.decoder, self.session
        stats = [decoder.stats(symbol) for symbol in decoder.symbols]
        return FeedFigures(
            self.config.name,
            self.connected,
            self.last_message_ns,
            {
                "reconnects": self.reconnects,
                "messages": session.messages,
                "bytes": self.bytes,
                "ignored": decoder.ignored + self.skipped,
                "garbled": session.garbled,
                "decode_errors": decoder.malformed + decoder.off_grid + sum(s.overflows for s in stats),
                "venue_errors": decoder.refused_requests + session.rejects,
                "session_gaps": session.gaps,
                "gaps": sum(s.gaps for s in stats),
                "drifts": decoder.drifts,
                "resyncs": sum(s.resyncs for s in stats),
                "duplicates": sum(s.duplicates for s in stats),
                "subscriptions": self.subscriptions,
            },
            self._log.newest,
        )

    def resynchronise(self, instruments: Iterable[int]) -> None:
        """As ``WebsocketFeed.resynchronise``."""
        for index in instruments:
            self.decoder.resynchronise(index)

    # Connection.

    async def _keep_connected(self) -> None:
        reconnect = self.config.reconnect
        backoff = Backoff(reconnect.min_ns, reconnect.max_ns, self._rng)
        while True:
            began_ns = self._clock.now_ns()
            try:
                reason = await self._connection()
            except (OSError, TimeoutError) as error:
                reason = why_not_connected(error, reconnect.timeout_ns)
            except Exception as error:  # the sink failed: say so loudly, and begin anew from refreshes
                self._log.exception("feed_failed")
                reason = f"{type(error).__name__}: {error}"
            if self._clock.now_ns() - began_ns > reconnect.max_ns:
                backoff.reset()  # it stood for a while: this is a new trouble, not the old one going on
            wait_s = backoff.next_s()
            self._log.warning(
                "feed_down", reason=reason, retry_s=round(wait_s, 3), address=self.config.address
            )
            await asyncio.sleep(wait_s)
            self.reconnects += 1

    async def _connection(self) -> str:
        """One connection from its making to its end; returns why it ended."""
        host, port = host_and_port(self.config.address)
        loop = asyncio.get_running_loop()
        logon = self._logon_fields()
        async with asyncio.timeout(self.config.reconnect.timeout_ns / NS_PER_S):
            _, line = await loop.create_connection(
                lambda: _Line(self), host, port, ssl=True if self.config.tls else None
            )
        self._line = line
        try:
            now_ns = self._clock.now_ns()
            self.last_message_ns = now_ns
            self.session.connected(now_ns, logon)
            self._send()
            return await self._watch(line)
        except asyncio.CancelledError:
            await self._say_goodbye(line)
            raise
        finally:
            self._line = None
            line.close()
            self._down()

    async def _watch(self, line: "_Line") -> str:
        while not line.ended.done():
            wait_s = self.session.heartbeat_ns / TICKS_PER_HEARTBEAT / NS_PER_S
            await asyncio.wait((line.ended,), timeout=min(wait_s, 1.0))
            now_ns = self._clock.now_ns()
            if line.ended.done():
                break
            try:
                self.session.tick(now_ns)
            except FixSessionError as error:
                return str(error)
            finally:
                self._send()
            self._ask_again(now_ns)
            silent_ns = now_ns - self.last_message_ns
            if silent_ns > self.config.mute_ns:
                return f"no market data for {silent_ns / NS_PER_S:.1f} s"
        return line.reason

    async def _say_goodbye(self, line: "_Line") -> None:
        if self.session.logged_on and not line.ended.done():
            self.session.logout(self._clock.now_ns())
            self._send()
            await asyncio.wait((line.ended,), timeout=LOGOUT_S)

    def _logon_fields(self) -> list[Field]:
        """Raises ``OSError`` naming the file when the password cannot be read."""
        config = self.config
        if config.authentication == "none":
            return []
        assert config.username is not None and config.password_file is not None
        password = Path(config.password_file).read_text().strip()
        if config.authentication == "password":
            return [(553, config.username), (554, password)]
        # Deribit: RawData is a time in ms and a nonce, the password a digest of it and the secret.
        nonce = base64.b64encode(secrets.token_bytes(32))
        raw = b"%d.%s" % (self._clock.now_ns() // NS_PER_MS, nonce)
        digest = base64.b64encode(hashlib.sha256(raw + password.encode()).digest())
        return [(95, str(len(raw))), (96, raw), (553, config.username), (554, digest)]

    def _send(self) -> None:
        if (out := self.session.take()) and self._line is not None:
            self._line.write(out)

    def _up(self, now_ns: int) -> None:
        self.connected = True
        self.decoder.connected(now_ns)
        self._drain()
        for symbol in self.decoder.symbols:
            self._subscribe(symbol)
        self._log.info("feed_up", address=self.config.address, symbols=len(self.decoder.symbols))

    def _down(self) -> None:
        """Distrust every instrument at once. Called for each way a connection can end; the first counts."""
        for timer in self._waiting.values():
            timer.cancel()
        self._waiting.clear()
        if not self.connected:
            return
        self.connected = False
        tell_down(self._tell_down, self._log)

    def _tell_down(self) -> None:
        self.buffer.clear()
        self.decoder.disconnected(self._clock.now_ns())
        self._drain()

    # Messages.

    def on_bytes(self, data: bytes) -> None:
        """Raises ``FixSessionError`` when the session cannot go on."""
        now_ns = self._clock.now_ns()
        self.bytes += len(data)
        garbled, rejects, messages = self.session.garbled, self.session.rejects, self.session.messages
        try:
            items = self.session.received(data, now_ns)
        finally:
            self._send()
        if self.session.garbled != garbled:
            self._log.often("message_garbled", error=self.session.last_garbled)
            if self.connected:
                self.decoder.gap(now_ns)  # now, not when the next message shows the hole in the numbers
        if self.session.rejects != rejects:
            self._log.often("rejected", error=self.session.last_reject)
        if not items and self.connected and self.session.messages != messages:
            self.decoder.heartbeat(now_ns)  # nothing but the session's own: the line is heard
        for item in items:
            if item is FixNews.LOGGED_ON:
                self._in_gap = False
                self._up(now_ns)
            elif item is FixNews.GAP:
                self._in_gap = True
                self._gap_ns = now_ns
                self.decoder.gap(now_ns)
            elif item is FixNews.CAUGHT_UP:
                self._in_gap = False
                self._ask_for_what_was_skipped()
            elif not isinstance(item, FixNews):
                if self._in_gap and item.type in MARKET_DATA:
                    # What followed it was dropped as out of turn and may be gap-filled: no book can begin with it.
                    self.last_message_ns = now_ns
                    self.skipped += 1
                else:
                    self._decode(item.data, now_ns)
            if 2 * self.buffer.count > self.buffer.capacity:
                self._drain()
        self._drain()
        self._resubscribe(now_ns)

    def _decode(self, message: bytes, now_ns: int) -> None:
        self.last_message_ns = now_ns
        refused = self.decoder.refused_requests
        try:
            self.decoder.message(message, now_ns)
        except DecodeError as error:
            self._log.often("message_refused", error=str(error))
        if self.decoder.refused_requests != refused:
            self._log.often("request_refused", error=self.decoder.last_error or "")

    def _drain(self) -> None:
        if self.buffer.count:
            try:
                self._sink(self.buffer)
            finally:
                self.buffer.clear()

    # Subscriptions.

    def _resubscribe(self, now_ns: int) -> None:
        """Books that broke are asked for again: at once, but ever later when they go on breaking."""
        for symbol in self.decoder.wants_snapshot():
            retry = self._retries[symbol]
            if now_ns - self._subscribed_ns.get(symbol, 0) > self.config.resubscribe.retry_max_ns:
                retry.reset()
                self._subscribe(symbol)
            elif symbol not in self._waiting:
                loop = asyncio.get_running_loop()
                self._waiting[symbol] = loop.call_later(retry.next_s(), self._subscribe, symbol)

    def _ask_for_what_was_skipped(self) -> None:
        """A refresh asked for before the gap may have been gap-filled: it is not waited for."""
        for symbol, since_ns in self._subscribed_ns.items():
            early = since_ns < self._gap_ns and symbol not in self._waiting
            if early and self.decoder.state(symbol) != SyncState.SYNCED:
                self.decoder.snapshot_failed(symbol)

    def _ask_again(self, now_ns: int) -> None:
        """A refresh that does not come in time counts as lost."""
        if not self.connected:
            return
        for symbol, since_ns in self._subscribed_ns.items():
            late = now_ns - since_ns > self.config.resubscribe.timeout_ns
            if late and symbol not in self._waiting and self.decoder.state(symbol) != SyncState.SYNCED:
                self.decoder.snapshot_failed(symbol)
        self._resubscribe(now_ns)

    def _subscribe(self, symbol: str) -> None:
        self._waiting.pop(symbol, None)
        if not self.connected:
            return
        now_ns = self._clock.now_ns()
        self._subscribed_ns[symbol] = now_ns
        for fields in self.decoder.subscribe(symbol):
            self.session.send("V", fields, now_ns)
        self.subscriptions += 1
        self._send()


class _Line(asyncio.Protocol):
    """One connection."""

    def __init__(self, feed: FixFeed) -> None:
        self._feed = feed
        self._transport: asyncio.Transport | None = None
        self.reason = "closed by the venue"
        self.ended: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = transport  # type: ignore[assignment]

    def data_received(self, data: bytes) -> None:
        if self.ended.done():
            return
        try:
            self._feed.on_bytes(data)
        except FixSessionError as error:
            self._end(str(error))
        except Exception as error:  # the sink failed
            self._end(f"{type(error).__name__}: {error}")
            raise

    def connection_lost(self, error: Exception | None) -> None:
        if error is not None:
            self.reason = f"{type(error).__name__}: {error}"
        self._end(self.reason)

    def write(self, data: bytes) -> None:
        if self._transport is not None and not self._transport.is_closing():
            self._transport.write(data)
            if self._transport.get_write_buffer_size() > UNREAD_BYTES_MAX:
                self._end("the venue does not read what we send")

    def close(self) -> None:
        self.ended.cancel()
        if self._transport is not None:
            self._transport.abort()

    def _end(self, reason: str) -> None:
        if not self.ended.done():
            self.reason = reason
            self.ended.set_result(None)
