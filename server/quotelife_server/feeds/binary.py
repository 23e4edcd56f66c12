"""The binary record from an in-house feed handler: a TCP connection that we make, or a UDP port that we listen on.

Sockets around ``BinaryDecoder``, on the event loop that called ``start``; ``docs/binary-feed.md`` has the format. A
TCP read lands in the decoder's own input. Its events go to the sink in slices, one a turn of the loop, so that a
request waits for a slice and not for all that a read can hold; meanwhile nothing more is read. Where the others on the
loop take long, slices follow one another for as long as those took: neither side starves the other.
"""

import asyncio
import random
from collections.abc import Sequence
from typing import Any

from quotelife.clock import Clock
from quotelife.errors import DecodeError
from quotelife.feed.binary import BinaryDecoder
from quotelife.instruments import InstrumentTable
from quotelife.records import EventBuffer
from quotelife.units import NS_PER_S
from quotelife_server.addresses import host_and_port
from quotelife_server.feeds.base import Backoff, FaultLog, FeedFigures, Sink, tell_down, why_not_connected
from quotelife_server.feeds.datagrams import listening
from quotelife_server.feeds.settings import BinaryFeedConfig

LOOKS_PER_SILENCE = 8
SLICE_EVENTS = 128  # some 60 µs of work


class BinaryFeed:
    """``Feed`` for one ``BinaryFeedConfig``; ``instruments`` are dense indices in the order of its list."""

    def __init__(
        self,
        config: BinaryFeedConfig,
        instruments: Sequence[int],
        *,
        sink: Sink,
        clock: Clock,
        logger: Any,
        rng: random.Random | None = None,
    ) -> None:
        self.config = config
        self.buffer = EventBuffer(config.buffer_events)
        window = config.reorder_frames if config.transport == "udp" else 0
        self.decoder = BinaryDecoder(self.buffer, instruments, config.source, window=window)
        self.address: tuple[str, int] | None = None  # where UDP listens
        self.connected = False
        self.reconnects = 0
        self.bytes = 0
        self.last_message_ns = 0
        self._sink = sink
        self._clock = clock
        self._log = FaultLog(logger, config.name, clock)
        self._rng = rng or random.Random()
        self._running: asyncio.Task[None] | None = None
        self._gap_timer: asyncio.TimerHandle | None = None

    @classmethod
    def from_table(
        cls, config: BinaryFeedConfig, table: InstrumentTable, *, sink: Sink, clock: Clock, logger: Any
    ) -> "BinaryFeed":
        """The feed, its instruments looked up by name. Raises ``UnknownInstrumentError``."""
        indices = [table.by_name(name).index for name in config.instruments]
        return cls(config, indices, sink=sink, clock=clock, logger=logger)

    # Feed.

    async def start(self) -> None:
        """Raises ``OSError`` when a UDP address cannot be had: that is ours, not the publisher's."""
        if self._running is not None:
            raise RuntimeError("the feed runs already")
        if self.config.transport == "udp":
            transport = await self._listen()
            self._running = asyncio.create_task(
                self._watch_silence(transport), name=f"feed-{self.config.name}"
            )
        else:
            self._running = asyncio.create_task(self._keep_connected(), name=f"feed-{self.config.name}")

    async def stop(self) -> None:
        if self._running is not None:
            self._running.cancel()
            await asyncio.gather(self._running, return_exceptions=True)
            self._running = None

    def figures(self) -> FeedFigures:
        decoder = self.decoder
        return FeedFigures(
            self.config.name,
            self.connected,
            self.last_message_ns,
            {
                "reconnects": self.reconnects,
                "messages": decoder.frames,
                "bytes": self.bytes,
                "decode_errors": decoder.malformed,
                "gaps": decoder.gaps,
                "resyncs": decoder.resyncs,
                "duplicates": decoder.duplicates,
                "reordered": decoder.reordered,
                "heartbeats": decoder.heartbeats,
                "events": decoder.events,
                "events_lost": decoder.lost,
                "foreign": decoder.foreign,
            },
            self._log.newest,
        )

    # The line, whatever carries it.

    def on_up(self) -> None:
        self.connected = True
        now_ns = self.last_message_ns = self._clock.now_ns()
        self.decoder.connected(now_ns)
        self.drain()
        self._log.info("feed_up", address=self.config.address, instruments=self.decoder.instruments)

    def on_down(self, reason: str) -> None:
        """Distrust every instrument at once. Called for each way a line can end; the first counts."""
        if not self.connected:
            return
        self.connected = False
        self._cancel_gap_timer()
        tell_down(self._tell_down, self._log)
        self._log.warning("feed_down", reason=reason, address=self.config.address)

    def _tell_down(self) -> None:
        self.drain()
        self.decoder.disconnected(self._clock.now_ns())
        self.drain()

    def drain(self) -> None:
        if self.buffer.count:
            try:
                self._sink(self.buffer)
            finally:
                self.buffer.clear()

    def silent(self) -> bool:
        return self._clock.now_ns() - self.last_message_ns > self.config.silence_ns

    # TCP.

    async def _keep_connected(self) -> None:
        reconnect = self.config.reconnect
        backoff = Backoff(reconnect.min_ns, reconnect.max_ns, self._rng)
        while True:
            began_ns = self._clock.now_ns()
            try:
                await self._connection()
            except (OSError, TimeoutError) as error:
                reason = why_not_connected(error, reconnect.timeout_ns)
                self._log.warning("no_connection", address=self.config.address, error=reason)
            except Exception:  # the sink failed: say so loudly, and begin anew from snapshots
                self._log.exception("feed_failed")
            if self._clock.now_ns() - began_ns > reconnect.max_ns:
                backoff.reset()  # it stood for a while: this is a new trouble, not the old one going on
            await asyncio.sleep(backoff.next_s())
            self.reconnects += 1

    async def _connection(self) -> None:
        """One connection from its making to its end."""
        host, port = host_and_port(self.config.address)
        loop = asyncio.get_running_loop()
        line = _Line(self)
        async with asyncio.timeout(self.config.reconnect.timeout_ns / NS_PER_S):
            transport, _ = await loop.create_connection(lambda: line, host, port)
        reason = "stopped"
        try:
            while not line.ended.done():
                if self.silent():
                    reason = f"no frame for {self.config.silence_ns / NS_PER_S:g} s"
                    return
                # Not wait_for: in Python 3.11 it swallows a cancellation that meets the end of what it waits for.
                await asyncio.wait((line.ended,), timeout=self._look_s())
            reason = line.reason
        finally:
            transport.abort()
            line.ended.cancel()
            self.on_down(reason)

    def _look_s(self) -> float:
        return self.config.silence_ns / LOOKS_PER_SILENCE / NS_PER_S

    # UDP.

    async def _listen(self) -> asyncio.DatagramTransport:
        config = self.config
        udp = await listening(config.name, config.address, config.interface, config.socket_bytes, self._log)
        self.address = udp.getsockname()[:2]
        loop = asyncio.get_running_loop()
        transport, _ = await loop.create_datagram_endpoint(lambda: _Port(self), sock=udp)
        return transport

    async def _watch_silence(self, transport: asyncio.DatagramTransport) -> None:
        try:
            while True:
                await asyncio.sleep(self._look_s())
                if self.connected and self.silent():
                    self.on_down(f"no frame for {self.config.silence_ns / NS_PER_S:g} s")
                    self.reconnects += 1
        finally:
            transport.abort()
            self.on_down("stopped")

    def on_datagram(self, data: bytes) -> None:
        try:
            self._take(data)
        except Exception:  # the sink failed: the engine may have stopped half-way, begin anew from snapshots
            self._failed()

    def _take(self, data: bytes) -> None:
        now_ns = self._clock.now_ns()
        self.bytes += len(data)
        decoder = self.decoder
        frames = decoder.frames
        try:
            decoder.datagram(data, now_ns)
        except DecodeError as error:
            self._log.often("frame_refused", error=str(error))
        self.drain()
        if decoder.frames != frames:
            self.last_message_ns = now_ns
            if not self.connected:
                self.on_up()
        if decoder.missing_since_ns:
            if self._gap_timer is None:
                self._set_gap_timer()
        else:
            self._cancel_gap_timer()

    def _failed(self) -> None:
        self._log.exception("feed_failed")
        self.connected = True  # as far as the engine knows, even if this was the first frame
        self.on_down("the engine failed")

    def _set_gap_timer(self) -> None:
        wait_ns = self.decoder.missing_since_ns + self.config.reorder_ns - self._clock.now_ns()
        self._gap_timer = asyncio.get_running_loop().call_later(
            max(0, wait_ns) / NS_PER_S, self._on_gap_timer
        )

    def _on_gap_timer(self) -> None:
        self._gap_timer = None
        since_ns = self.decoder.missing_since_ns
        if not since_ns:
            return
        if self._clock.now_ns() - since_ns >= self.config.reorder_ns:
            self.decoder.give_up(self._clock.now_ns())
            try:
                self.drain()
            except Exception:
                self._failed()
        if self.decoder.missing_since_ns:
            self._set_gap_timer()

    def _cancel_gap_timer(self) -> None:
        if self._gap_timer is not None:
            self._gap_timer.cancel()
            self._gap_timer = None


class _Line(asyncio.BufferedProtocol):
    """One TCP connection: reads straight into the decoder's input."""

    def __init__(self, feed: BinaryFeed) -> None:
        self._feed = feed
        self._transport: asyncio.Transport | None = None
        self._loop = asyncio.get_running_loop()
        self._stamp_ns = 0  # of the newest read
        self._left_ns: int | None = None  # when the others' turn began, while some of that read is left
        self.reason = "closed by the publisher"
        self.ended: asyncio.Future[None] = self._loop.create_future()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = transport  # type: ignore[assignment]
        self._feed.on_up()

    def get_buffer(self, sizehint: int) -> memoryview:
        return self._feed.decoder.input_view()

    def buffer_updated(self, nbytes: int) -> None:
        if self.ended.done():
            return
        self._stamp_ns = self._feed._clock.now_ns()
        self._feed.bytes += nbytes
        if self._take(nbytes):
            self._transport.pause_reading()  # type: ignore[union-attr]
            self._leave()

    def _go_on(self) -> None:
        if self.ended.done() or self._left_ns is None:
            return
        began_ns = self._feed._clock.now_ns()
        others_ns = began_ns - self._left_ns
        while self._take(0):
            if self._feed._clock.now_ns() - began_ns >= others_ns:
                self._leave()
                return
        self._left_ns = None
        if not self.ended.done():
            self._transport.resume_reading()  # type: ignore[union-attr]

    def _leave(self) -> None:
        self._left_ns = self._feed._clock.now_ns()
        self._loop.call_soon(self._go_on)

    def _take(self, nbytes: int) -> bool:
        """A slice of what has been read; true when some is left."""
        feed, now_ns = self._feed, self._stamp_ns
        decoder = feed.decoder
        frames = decoder.frames
        more = False
        try:
            more = decoder.received(nbytes, now_ns, SLICE_EVENTS)
            feed.drain()
        except DecodeError as error:
            feed.drain()
            feed._log.often("frame_refused", error=str(error))
            self._end(str(error))
        except Exception as error:  # the sink failed
            self._end(f"{type(error).__name__}: {error}")
            raise
        if decoder.frames != frames:
            feed.last_message_ns = now_ns
        return more

    def connection_lost(self, error: Exception | None) -> None:
        if error is not None:
            self.reason = f"{type(error).__name__}: {error}"
        self._end(self.reason)

    def _end(self, reason: str) -> None:
        if not self.ended.done():
            self.reason = reason
            self.ended.set_result(None)
            if self._transport is not None:
                self._transport.abort()
            self._feed.on_down(reason)


class _Port(asyncio.DatagramProtocol):
    def __init__(self, feed: BinaryFeed) -> None:
        self._feed = feed

    def datagram_received(self, data: bytes, address: Any) -> None:
        self._feed.on_datagram(data)
