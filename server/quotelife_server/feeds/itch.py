"""NASDAQ ITCH 5.0, live: MoldUDP64 lines received on a thread of their own, or a SoupBinTCP connection.

Sockets around ``MoldReceiver`` and ``SoupClient``, on the event loop that called ``start``; ``docs/itch.md``.
"""

import asyncio
import os
import random
import socket
import time
from collections.abc import Sequence
from typing import Any

from quotelife.clock import Clock
from quotelife.errors import DecodeError, QuotelifeError
from quotelife.feed.itch import ItchDecoder
from quotelife.feed.itch_files import midnight_before
from quotelife.feed.mold import MoldReceiver
from quotelife.feed.soupbin import HEARTBEAT, LOGOUT, SoupClient
from quotelife.instruments import Instrument, InstrumentTable
from quotelife.records import EventBuffer
from quotelife.units import NS_PER_MS, NS_PER_S
from quotelife_server.addresses import host_and_port
from quotelife_server.feeds.base import (
    Backoff,
    FaultLog,
    Feed,
    FeedFigures,
    Sink,
    tell_down,
    why_not_connected,
)
from quotelife_server.feeds.datagrams import asking, listening
from quotelife_server.feeds.settings import ItchFeedConfig
from quotelife_server.feeds.udp_ring import UdpRing

HOLE_LOOK_NS = NS_PER_MS
LOOK_S = 0.05
HEARTBEAT_S = 1.0 - LOOK_S  # SoupBinTCP: a packet in every second
LINE_A, LINE_B, REREQUESTED = range(3)
LIVE = 2


class ItchFeed:
    """What both transports have in common; ``from_table`` makes the one that the configuration asks for."""

    def __init__(
        self,
        config: ItchFeedConfig,
        instruments: Sequence[Instrument],
        *,
        sink: Sink,
        clock: Clock,
        logger: Any,
        rng: random.Random | None = None,
    ) -> None:
        self.config = config
        self.buffer = EventBuffer(config.buffer_events)
        self.decoder = ItchDecoder(
            self.buffer, [(i.symbol, i.index, i.tick_size, i.lot_size) for i in instruments]
        )
        self.connected = False
        self.reconnects = 0
        self.last_message_ns = 0
        self._sink = sink
        self._clock = clock
        self._log = FaultLog(logger, config.name, clock)
        self._rng = rng or random.Random()
        self._running: asyncio.Task[None] | None = None
        self._unlisted_told = False

    @classmethod
    def from_table(
        cls, config: ItchFeedConfig, table: InstrumentTable, *, sink: Sink, clock: Clock, logger: Any
    ) -> Feed:
        """The feed, its instruments looked up by name. Raises ``UnknownInstrumentError``."""
        made = MoldFeed if config.transport == "mold" else SoupFeed
        instruments = [table.by_name(name) for name in config.instruments]
        return made(config, instruments, sink=sink, clock=clock, logger=logger)

    def drain(self) -> None:
        if self.buffer.count:
            try:
                self._sink(self.buffer)
            finally:
                self.buffer.clear()

    def silent(self) -> bool:
        return self._clock.now_ns() - self.last_message_ns > self.config.silence_ns

    def on_up(self) -> None:
        self.connected = True
        self.decoder.up(self._clock.now_ns())
        self.drain()
        self._log.info("feed_up", transport=self.config.transport, instruments=self.decoder.instruments)

    def tell_refused(self, error: str | None) -> None:
        if error is not None:
            self._log.often("message_refused", error=error)

    def tell_unlisted(self) -> None:
        """Once a session, when the venue has named all its symbols."""
        if self.decoder.system_hours and not self._unlisted_told and (symbols := self.decoder.unlisted):
            mend = "mend their symbol in instruments, or take them out of this feed"
            self._log.warning("symbols_not_listed", symbols=symbols, mend=mend)
        self._unlisted_told = self.decoder.system_hours

    def decoder_counters(self) -> dict[str, int]:
        decoder = self.decoder
        return {
            "messages": decoder.messages,
            "decode_errors": decoder.malformed,
            "unknown_types": decoder.unknown,
            "off_grid": decoder.off_grid,
            "broken_trades": decoder.broken_trades,
            "reconnects": self.reconnects,
        }


class MoldFeed(ItchFeed):
    """Listens on line A and B, and asks the re-request server for what both lost."""

    def __init__(self, config: ItchFeedConfig, instruments: Sequence[Instrument], **others: Any) -> None:
        super().__init__(config, instruments, **others)
        self.mold = MoldReceiver(
            self.decoder,
            window=config.window_messages,
            rerequest=config.rerequest is not None,
            reorder_ns=config.reorder_ns,
            gap_ns=max(config.gap_ns - HOLE_LOOK_NS, config.gap_ns // 2),  # seen a look later at most
            retry_ns=config.retry_ns,
            request_messages=config.request_messages,
            session=config.session,
            midnight_ns=midnight_before,
        )
        self.ring: UdpRing | None = None
        self.addresses: list[tuple[str, int]] = []  # where the lines listen
        self._sockets: list[socket.socket] = []
        self._asking: socket.socket | None = None
        self._hole_timer: asyncio.TimerHandle | None = None
        self._unsent = 0
        self._heard = {"a": (0, 0), "b": (0, 0)}  # by line: packets, and when the last one had come
        self._silent_lines: set[str] = set()
        self._line_silences = 0

    async def start(self) -> None:
        """Raises ``OSError`` when an address cannot be had: that is ours, not the venue's."""
        if self._running is not None:
            raise RuntimeError("the feed runs already")
        config, lines = self.config, list[tuple[int, int]]()
        self.addresses.clear()
        try:
            for line, address, interface in (
                (LINE_A, config.line_a, config.interface),
                (LINE_B, config.line_b, config.interface_b or config.interface),
            ):
                if address is not None:
                    udp = await listening(config.name, address, interface, config.socket_bytes, self._log)
                    self._sockets.append(udp)
                    self.addresses.append(udp.getsockname()[:2])
                    lines.append((line, udp.fileno()))
            if config.rerequest is not None:
                self._asking = await asking(config.name, config.rerequest, config.socket_bytes, self._log)
                self._sockets.append(self._asking)
                lines.append((REREQUESTED, self._asking.fileno()))
            self.ring = UdpRing(lines, capacity=config.ring_datagrams, nap_ns=config.gather_ns)
        except BaseException:
            self._close()
            raise
        asyncio.get_running_loop().add_reader(self.ring.fileno(), self._on_ready)
        self.ring.start(f"feed-{self.config.name}")
        self._running = asyncio.create_task(self._watch(), name=f"feed-{self.config.name}")

    async def stop(self) -> None:
        if self._running is None or self.ring is None:
            return
        self._running.cancel()
        await asyncio.gather(self._running, return_exceptions=True)
        self._running = None
        asyncio.get_running_loop().remove_reader(self.ring.fileno())
        self.ring.stop()
        self._close()
        self._cancel_hole_timer()
        if self.connected:
            self._down("stopped")

    def figures(self) -> FeedFigures:
        mold, ring = self.mold, self.ring
        lines = mold.line_counts
        return FeedFigures(
            self.config.name,
            self.connected,
            self.last_message_ns,
            {
                **self.decoder_counters(),
                "gaps": mold.gaps,
                "messages_lost": mold.lost,
                "messages_recovered": mold.recovered,
                "messages_first_on_a": lines["a"][1],
                "messages_first_on_b": lines["b"][1],
                "packets_on_a": lines["a"][0],
                "packets_on_b": lines["b"][0],
                "duplicates": mold.duplicates,
                "reordered": mold.reordered,
                "requests": mold.requests,
                "requests_unsent": self._unsent,
                "heartbeats": mold.heartbeats,
                "sessions": mold.sessions,
                "malformed_packets": mold.malformed,
                "foreign_packets": mold.foreign,
                "line_silences": self._line_silences,
                "kernel_drops": sum(ring.dropped) if ring is not None else 0,
                "datagrams_too_long": ring.truncated if ring is not None else 0,
                "receive_failures": ring.failures if ring is not None else 0,
                "ring_full": ring.full if ring is not None else 0,
            },
            self._log.newest,
        )

    # The lines.

    def _close(self) -> None:
        for udp in self._sockets:
            udp.close()
        self._sockets.clear()
        self._asking = None

    # What comes.

    def _on_ready(self) -> None:
        assert self.ring is not None
        now_ns = self._clock.now_ns()
        try:
            self.ring.pump(self.mold, self._sink, now_ns - time.time_ns(), now_ns)
            self.tell_refused(self.ring.take_fault() or self.decoder.take_fault())
            if self.mold.last_ns > self.last_message_ns:
                self.last_message_ns = self.mold.last_ns
                if not self.connected:
                    self.on_up()
        except Exception:  # the sink failed: the engine may have stopped half-way, begin anew
            self._failed()
        if self.mold.missing_since_ns and self._hole_timer is None:
            self._on_hole()

    def _on_hole(self) -> None:
        """Every millisecond while something is missing."""
        self._hole_timer = None
        if self._tick() and self.mold.missing_since_ns:
            request = self.mold.request(self._clock.now_ns())
            if request is not None and self._asking is not None:
                try:
                    self._asking.send(request)
                except OSError:  # nobody there, or no room: asked again soon
                    self._unsent += 1
        if self.mold.missing_since_ns:
            self._hole_timer = asyncio.get_running_loop().call_later(HOLE_LOOK_NS / NS_PER_S, self._on_hole)

    def _tick(self) -> bool:
        try:
            self.mold.tick(self._clock.now_ns())
            self.drain()
            while self.mold.more:
                self.mold.go_on(self._clock.now_ns())
                self.drain()
        except Exception:
            self._failed()
            return False
        return True

    async def _watch(self) -> None:
        began_ns = self._clock.now_ns()
        told = False
        while True:
            await asyncio.sleep(LOOK_S)
            never = self.last_message_ns == 0
            if never and not told and self._clock.now_ns() - began_ns > self.config.silence_ns:
                told = True
                self._log.warning(
                    "never_heard",
                    lines=", ".join(each for each in (self.config.line_a, self.config.line_b) if each),
                    mend="check addresses, interface and cabling",
                )
            if self.mold.missing_since_ns == 0:
                self._tick()
            self.tell_unlisted()
            if self.config.line_b is not None:
                self._look_at_lines(self._clock.now_ns())
            if self.connected and self.silent():
                self.connected = False
                self.reconnects += 1
                self.mold.silent(self._clock.now_ns())
                try:
                    self.drain()
                except Exception:
                    self._failed()
                self._log.warning(
                    "feed_silent", reason=f"nothing heard for {self.config.silence_ns / NS_PER_S:g} s"
                )

    def _look_at_lines(self, now_ns: int) -> None:
        """One of two lines that is not heard costs no book, but the next loss will not be closed by it."""
        counts = self.mold.line_counts
        for line, (packets, since_ns) in self._heard.items():
            came = counts[line][0]
            if came != packets or not self.connected:
                self._heard[line] = came, now_ns
                if came != packets and line in self._silent_lines:
                    self._silent_lines.discard(line)
                    self._log.info("line_heard", line=line)
            elif now_ns - since_ns > self.config.silence_ns and line not in self._silent_lines:
                self._silent_lines.add(line)
                self._line_silences += 1
                self._log.warning("line_silent", line=line, mend="check its group, interface and cabling")

    def _failed(self) -> None:
        self._log.exception("feed_failed")
        self._down("the engine failed")

    def _down(self, reason: str) -> None:
        self.connected = False
        tell_down(self._tell_down, self._log)
        self._log.warning("feed_down", reason=reason)

    def _tell_down(self) -> None:
        self.buffer.clear()
        self.mold.down(self._clock.now_ns())
        self.drain()

    def _cancel_hole_timer(self) -> None:
        if self._hole_timer is not None:
            self._hole_timer.cancel()
            self._hole_timer = None


class SoupFeed(ItchFeed):
    """Connects, asks how far the server is, resumes, and does so again whenever the line breaks."""

    def __init__(self, config: ItchFeedConfig, instruments: Sequence[Instrument], **others: Any) -> None:
        super().__init__(config, instruments, **others)
        self.bytes = 0
        self.soup = SoupClient(
            self.decoder,
            username=config.username,
            password=_password(config),
            session=config.session,
            midnight_ns=midnight_before,
        )

    async def start(self) -> None:
        if self._running is not None:
            raise RuntimeError("the feed runs already")
        self._running = asyncio.create_task(self._keep_connected(), name=f"feed-{self.config.name}")

    async def stop(self) -> None:
        if self._running is not None:
            self._running.cancel()
            await asyncio.gather(self._running, return_exceptions=True)
            self._running = None
            self._begin_anew()

    def figures(self) -> FeedFigures:
        soup = self.soup
        return FeedFigures(
            self.config.name,
            self.connected,
            self.last_message_ns,
            {
                **self.decoder_counters(),
                "bytes": self.bytes,
                "messages_lost": soup.lost,
                "heartbeats": soup.heartbeats,
                "probes": soup.probes,
                "sessions": soup.sessions,
                "malformed_packets": soup.malformed,
            },
            self._log.newest,
        )

    async def _keep_connected(self) -> None:
        reconnect = self.config.reconnect
        backoff = Backoff(reconnect.min_ns, reconnect.max_ns, self._rng)
        while True:
            began_ns = self._clock.now_ns()
            try:
                await self._connection()
                if self.soup.again:
                    continue
            except (OSError, TimeoutError) as error:
                reason = why_not_connected(error, reconnect.timeout_ns)
                self._log.warning("no_connection", address=self.config.server, error=reason)
            except Exception:
                self._log.exception("feed_failed")
                self._begin_anew()
            if self._clock.now_ns() - began_ns > reconnect.max_ns:
                backoff.reset()  # it stood for a while: this is a new trouble, not the old one going on
            await asyncio.sleep(backoff.next_s())
            self.reconnects += 1

    async def _connection(self) -> None:
        """One connection from its making to its end."""
        assert self.config.server is not None
        host, port = host_and_port(self.config.server)
        loop = asyncio.get_running_loop()
        line = _SoupLine(self)
        async with asyncio.timeout(self.config.reconnect.timeout_ns / NS_PER_S):
            transport, _ = await loop.create_connection(lambda: line, host, port)
        self.last_message_ns = self._clock.now_ns()
        try:
            beaten_s, heard_ns = loop.time(), self.last_message_ns
            while not line.ended.done():
                await asyncio.wait((line.ended,), timeout=LOOK_S)
                self.tell_unlisted()
                if line.ended.done():
                    break
                if self.silent():
                    line.reason = f"nothing heard for {self.config.silence_ns / NS_PER_S:g} s"
                    break
                if loop.time() - beaten_s >= HEARTBEAT_S and self.soup.logged_in:
                    beaten_s = loop.time()
                    transport.write(HEARTBEAT)
                    if self.decoder.state == LIVE and self.last_message_ns != heard_ns:
                        heard_ns = self.last_message_ns
                        self.decoder.heartbeat(self._clock.now_ns())
                        self.drain()
        except asyncio.CancelledError:
            line.reason = "stopped"
            raise
        finally:
            if self.soup.logged_in and not transport.is_closing():
                transport.write(LOGOUT)
                transport.close()
            else:
                transport.abort()
            line.ended.cancel()
            self._line_down(line.reason)
        if line.failed:
            self._begin_anew()

    def packets(self) -> tuple[int | bool, ...]:
        """Changes with every whole packet. Bytes alone are no sign of a server: a packet may never end."""
        soup = self.soup
        return soup.messages, soup.heartbeats, soup.unsequenced, soup.logged_in, soup.leave

    def _line_down(self, reason: str) -> None:
        was_connected, self.connected = self.connected, False
        left = self.soup.leave
        self.soup.disconnected(self._clock.now_ns())
        self.drain()
        if self.soup.rejected is not None:
            self._log.error("login_refused", reason=self.soup.rejected, address=self.config.server)
        elif was_connected or not left:
            self._log.warning("feed_down", reason=reason, address=self.config.server)

    def _begin_anew(self) -> None:
        tell_down(self._tell_down, self._log)

    def _tell_down(self) -> None:
        self.buffer.clear()
        self.soup.down(self._clock.now_ns())
        self.drain()


def _password(config: ItchFeedConfig) -> str:
    if config.password_env is None:
        return ""
    password = os.environ.get(config.password_env)
    if password is None:
        raise QuotelifeError(
            f"feeds: {config.name}: password_env: the environment has no {config.password_env}; set it"
        )
    if len(password) > 10 or not password.isascii():
        raise QuotelifeError(
            f"feeds: {config.name}: password_env: {config.password_env} must hold at most 10 ASCII characters"
        )
    return password


class _SoupLine(asyncio.BufferedProtocol):
    """One TCP connection: reads straight into the client's input."""

    def __init__(self, feed: SoupFeed) -> None:
        self._feed = feed
        self._transport: asyncio.Transport | None = None
        self.reason = "closed by the server"
        self.failed = False
        self.ended: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = transport  # type: ignore[assignment]
        assert self._transport is not None
        self._transport.write(self._feed.soup.connect())

    def get_buffer(self, sizehint: int) -> memoryview:
        return self._feed.soup.input_view()

    def buffer_updated(self, nbytes: int) -> None:
        feed = self._feed
        if self.ended.done():
            return
        soup, now_ns = feed.soup, feed._clock.now_ns()
        feed.bytes += nbytes
        packets = feed.packets()
        try:
            more = soup.received(nbytes, now_ns)
            feed.drain()
            while more:
                more = soup.received(0, now_ns)
                feed.drain()
            if feed.packets() != packets:
                feed.last_message_ns = now_ns
            feed.tell_refused(feed.decoder.take_fault())
            if soup.logged_in and not soup.probing and not feed.connected:
                feed.on_up()
        except DecodeError as error:
            feed.drain()
            feed.tell_refused(str(error))
            self._end(str(error))
            return
        except Exception as error:  # the sink failed
            self.failed = True
            self._end(f"{type(error).__name__}: {error}")
            raise
        if soup.leave:
            self._end("asked how far the server is" if soup.probing else "the session is over")

    def connection_lost(self, error: Exception | None) -> None:
        if error is not None:
            self.reason = f"{type(error).__name__}: {error}"
        self._end(self.reason)

    def _end(self, reason: str) -> None:
        if not self.ended.done():
            self.reason = reason
            self.ended.set_result(None)
