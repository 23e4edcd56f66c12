"""What every websocket feed has in common: connect, stay connected, hand events on.

All on the event loop that called ``start``. A message is decoded in the websocket callback, out of a copy of the
frame (picows reuses its buffer), and its events go to the sink once per read of the socket. What a venue adds hangs
at the methods between the comments: what to send, what to ask for, what keeps the line alive.
"""

import asyncio
import contextlib
import random
from collections.abc import Iterable, Sequence
from typing import Any, Protocol

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
from quotelife.feed.venue_decoder import VenueDecoder
from quotelife.instruments import Instrument, InstrumentTable
from quotelife.records import EventBuffer
from quotelife.units import NS_PER_S
from quotelife_server.feeds.base import (
    UNREAD_BYTES_MAX,
    Backoff,
    FaultLog,
    FeedFigures,
    Sink,
    tell_down,
    why_not_connected,
)
from quotelife_server.feeds.settings import LivenessSettings, ReconnectSettings


class WebsocketConfig(Protocol):
    """What of a feed's settings concerns its connection."""

    @property
    def name(self) -> str: ...
    @property
    def ws_url(self) -> str: ...
    @property
    def reconnect(self) -> ReconnectSettings: ...
    @property
    def liveness(self) -> LivenessSettings: ...
    @property
    def message_bytes_max(self) -> int: ...


def instruments_of(name: str, wanted: Sequence[str], table: InstrumentTable) -> list[Instrument]:
    """The instruments a feed names. Raises ``ConfigError`` for names not there."""
    unknown = [each for each in wanted if table.get(each) is None]
    if unknown:
        raise ConfigError(
            [f"feeds: {name}: instruments: {each} is not among the instruments" for each in unknown]
        )
    return [table.by_name(each) for each in wanted]


class WebsocketFeed:
    """``Feed`` around a decoder. ``url`` is where to connect; ``buffer`` is the decoder's own."""

    def __init__(
        self,
        config: WebsocketConfig,
        decoder: VenueDecoder,
        instruments: Sequence[Instrument],
        url: str,
        *,
        sink: Sink,
        clock: Clock,
        logger: Any,
        rng: random.Random | None = None,
    ) -> None:
        self.config = config
        self.decoder = decoder
        self.buffer: EventBuffer = decoder.buffer
        for instrument in instruments:
            decoder.add_instrument(
                instrument.symbol, instrument.index, instrument.tick_size, instrument.lot_size
            )
        self._symbols = {instrument.name: instrument.symbol for instrument in instruments}
        self.url = url
        self.connected = False
        self.reconnects = 0
        self.bytes = 0
        self.last_message_ns = 0
        self.last_frame_ns = 0
        self._sink = sink
        self._clock = clock
        self._log = FaultLog(logger, config.name, clock)
        self._rng = rng or random.Random()
        self.transport: WSTransport | None = None
        self._running: asyncio.Task[None] | None = None
        self._stopping = False

    def books_elsewhere(self, names: Iterable[str]) -> None:
        """Other feeds give the books of these instruments, this one what goes beside them. Before ``start``."""
        for name in names:
            self.decoder.book_elsewhere(self._symbols[name])

    def resynchronise(self, instruments: Iterable[int]) -> None:
        """The engine has given up the books of these (``Engine.want_resync``): those that are whole here are asked for
        anew after the next message, as ones that broke are."""
        for index in instruments:
            self.decoder.resynchronise(index)

    # Feed.

    async def start(self) -> None:
        if self._running is not None:
            raise RuntimeError("the feed runs already")
        self._stopping = False
        self.decoder.not_yet_connected(self._clock.now_ns())
        self._drain()
        self._running = asyncio.create_task(self._run(), name=f"feed-{self.config.name}")

    async def stop(self) -> None:
        self._stopping = True
        if self._running is not None:
            self._running.cancel()
            await asyncio.gather(self._running, return_exceptions=True)
            self._running = None

    def figures(self) -> FeedFigures:
        return FeedFigures(
            self.config.name, self.connected, self.last_message_ns, self.counters(), self._log.newest
        )

    def counters(self) -> dict[str, int]:
        """What ``figures`` tells; a subclass adds its own."""
        decoder = self.decoder
        stats = [decoder.stats(symbol) for symbol in decoder.symbols]
        return {
            "reconnects": self.reconnects,
            "messages": decoder.messages,
            "bytes": self.bytes,
            "ignored": decoder.ignored,
            "decode_errors": decoder.malformed + decoder.off_grid + sum(s.overflows for s in stats),
            "venue_errors": decoder.errors,
            "gaps": sum(s.gaps + s.mismatches for s in stats),
            "drifts": decoder.drifts,
            "resyncs": sum(s.resyncs for s in stats),
            "duplicates": sum(s.duplicates for s in stats),
            "snapshots_refused": sum(s.refused for s in stats),
        }

    # What a venue adds.

    def ready(self) -> None:
        """The connection stands and its instruments know it: subscribe, where the address does not do it."""

    def after_message(self, now_ns: int) -> None:
        """A message has been decoded: do what it asks for."""

    def dropped(self) -> None:
        """The connection is gone: give up what was under way."""

    def keep_alive(self, transport: WSTransport, now_ns: int) -> None:
        """Every ``liveness.ping``."""
        transport.send_ping(None)

    # Connection.

    async def _run(self) -> None:
        reconnect = self.config.reconnect
        backoff = Backoff(reconnect.min_ns, reconnect.max_ns, self._rng)
        while not self._stopping:
            began_ns = self._clock.now_ns()
            try:
                reason = await self._connection()
            except WSHandshakeError as error:
                reason = f"{error}: {(error.raw_body or b'')[:200]!r}"  # the venue says there what it refuses
            except (OSError, WSError, TimeoutError) as error:
                reason = why_not_connected(error, reconnect.timeout_ns)
            except Exception as error:  # the sink failed: say so loudly, and begin anew from a snapshot
                self._log.exception("feed_failed")
                reason = f"{type(error).__name__}: {error}"
            if self._clock.now_ns() - began_ns > reconnect.max_ns:
                backoff.reset()  # it stood for a while: this is a new trouble, not the old one going on
            if self._stopping:
                return
            wait_s = backoff.next_s()
            self._log.warning("feed_down", reason=reason, retry_s=round(wait_s, 3), url=self.config.ws_url)
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
            listener.give_up()
            self.drop()

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
            if transport.underlying_transport.get_write_buffer_size() > UNREAD_BYTES_MAX:
                return "the venue does not read what we send"  # pongs, say
            self.keep_alive(transport, now_ns)

    def drop(self) -> None:
        """End the connection, if there is one, now: nothing that is under way on it is taken any more."""
        transport = self.transport
        self.on_disconnected()
        if transport is not None:
            transport.disconnect(graceful=False)

    def failed(self) -> None:
        """The sink failed: the engine may have stopped half-way. Say so loudly, and begin anew from a snapshot."""
        self._log.exception("feed_failed")
        self.drop()

    def on_connected(self, transport: WSTransport) -> None:
        now_ns = self._clock.now_ns()
        self.transport = transport
        self.connected = True
        self.last_frame_ns = self.last_message_ns = now_ns
        self.decoder.connected(now_ns)
        self._drain()
        self._log.info("feed_up", url=self.config.ws_url, symbols=len(self.decoder.symbols))
        self.ready()

    def on_disconnected(self) -> None:
        """Distrust every instrument at once. Called for each way a connection can end; the first counts."""
        if not self.connected:
            return
        self.connected = False
        self.transport = None
        self.dropped()
        tell_down(self._tell_down, self._log)

    def _tell_down(self) -> None:
        self.buffer.clear()
        self.decoder.disconnected(self._clock.now_ns())
        self._drain()

    # Messages.

    def on_message(self, data: bytes, last_in_read: bool) -> None:
        now_ns = self._clock.now_ns()
        self.last_frame_ns = now_ns
        self.bytes += len(data)
        decoder = self.decoder
        errors = decoder.errors
        asides = decoder.heartbeats + decoder.replies + decoder.ignored + decoder.malformed
        try:
            decoder.message(data, now_ns)
        except DecodeError as error:
            self._log.often("message_refused", error=str(error))
        if decoder.errors != errors:
            self._log.often("venue_error", error=decoder.last_error or "")
        if decoder.heartbeats + decoder.replies + decoder.ignored + decoder.malformed == asides:
            self.last_message_ns = now_ns
        if last_in_read or 2 * self.buffer.count > self.buffer.capacity:
            self._drain()
        self.after_message(now_ns)

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


class _Listener(WSListener):
    """picows callbacks of one connection. Frames are copied: picows reuses their buffer.

    An attempt that was given up may still come to stand, and a connection that was ended delivers what it has read:
    neither may reach the feed, which may have another connection by then.
    """

    def __init__(self, feed: WebsocketFeed) -> None:
        super().__init__()
        self._feed = feed
        self._parts = bytearray()
        self._given_up = False

    def give_up(self) -> None:
        self._given_up = True

    def on_ws_connected(self, transport: WSTransport) -> None:
        if self._given_up:
            transport.disconnect(graceful=False)
            return
        try:
            self._feed.on_connected(transport)
        except Exception:
            self._feed.failed()

    def on_ws_frame(self, transport: WSTransport, frame: WSFrame) -> None:
        if transport is not self._feed.transport:
            return
        try:
            self._take(transport, frame)
        except Exception:
            self._feed.failed()

    def _take(self, transport: WSTransport, frame: WSFrame) -> None:
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
        elif kind == WSMsgType.CLOSE:  # nothing comes any more, however long the venue keeps the line
            transport.send_close(WSCloseCode.OK)
            transport.disconnect(graceful=False)

    def on_ws_disconnected(self, transport: WSTransport) -> None:
        if transport is self._feed.transport:
            self._feed.on_disconnected()
