"""A simulated ITCH venue on real sockets: MoldUDP64 lines with faults, a re-request server, a SoupBinTCP server, files.

All of them tell the same messages, in the order in which ``publish`` was given them; whoever gives them knows the
book that every receiver must arrive at (``quotelife.sim.itch_wire.ItchEncoder``).
"""

import asyncio
import contextlib
import gzip
import socket
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import zstandard

from quotelife.feed.itch_files import midnight_before
from quotelife.sim.itch_wire import (
    ItchMarket,
    ItchSymbol,
    framed,
    mold_header,
    mold_packet,
    soup_packet,
)
from quotelife.sim.streams import RandomStream
from quotelife.units import NS_PER_S
from quotelife_server.addresses import host_and_port

BEAT_S = 1.0
TURN_S = 0.005
HISTORY_NS = 20 * NS_PER_S  # what a day that begins now has behind it: full books
MUTE_LOOK_S = 0.01
SOUP_SLICE = 2000
END_OF_SESSION = 0xFFFF
REREQUEST_PACKET_MESSAGES = 30


@dataclass(frozen=True, slots=True)
class LineFaults:
    """What one line does to its packets, each with its probability; equal seeds do it to the same ones."""

    loss: float = 0.0
    duplicate: float = 0.0
    reorder: float = 0.0
    """A packet comes after up to three later ones."""
    seed: int = 1


class FaultyLine:
    """The packets that leave a line, one after the other; ``faults`` may be changed. No I/O."""

    def __init__(self, name: str, faults: LineFaults) -> None:
        self.faults = faults
        self._random = RandomStream(faults.seed, f"line-{name}")
        self._late: list[tuple[int, bytes]] = []  # packets to wait for, packet
        self.lost: list[int] = []
        """First sequences of the packets that were lost."""

    def through(self, packet: bytes) -> list[bytes]:
        faults, uniform = self.faults, self._random.uniform
        out: list[bytes] = []
        if uniform() < faults.loss:
            self.lost.append(int.from_bytes(packet[10:18], "big"))
        elif uniform() < faults.reorder:
            self._late.append((1 + int(3 * uniform()), packet))
        else:
            out.append(packet)
            if uniform() < faults.duplicate:
                out.append(packet)
        out += [late for left, late in self._late if left == 1]
        self._late = [(left - 1, late) for left, late in self._late if left > 1]
        return out

    def rest(self) -> list[bytes]:
        out = [late for _, late in self._late]
        self._late.clear()
        return out


class ItchVenue:
    """One session after another of ITCH messages.

    ``lines``: where the packets of line A and B go, host:port, a receiver's or a multicast group's. ``faults``: one
    for each line. ``rerequest_loss``: probability that an answer is lost. ``credentials``: whom the SoupBinTCP server
    lets in; None: anybody. ``mute``: lines and connections stay open and carry nothing, not even heartbeats;
    ``muted_lines`` are mute alone.
    """

    def __init__(
        self,
        *,
        session: str = "SIM0000001",
        lines: Sequence[str] = (),
        faults: Sequence[LineFaults] = (),
        packet_messages: int = 1,
        rerequest_loss: float = 0.0,
        credentials: tuple[str, str] | None = None,
    ) -> None:
        self.session = session
        self.messages: list[bytes] = []
        self.packet_messages = packet_messages
        self.requests = 0
        self.logins = 0
        self.mute = False
        self.muted_lines: set[int] = set()
        self.rerequest_address = ""
        self.soup_address = ""
        self._targets = [host_and_port(address) for address in lines]
        plain = [LineFaults()] * len(self._targets)
        self.lines = [FaultyLine("ab"[i], given) for i, given in enumerate(list(faults) or plain)]
        self._answers = RandomStream(1, "rerequests")
        self.rerequest_loss = rerequest_loss
        self._credentials = credentials
        self._udp: socket.socket | None = None
        self._server: asyncio.Server | None = None
        self._rerequests: asyncio.DatagramTransport | None = None
        self._beats: asyncio.Task[None] | None = None
        self._reopening: asyncio.Future[None] | None = None
        self._more = asyncio.Event()
        self._clients: set[asyncio.StreamWriter] = set()
        self._talks: set[asyncio.Task[None]] = set()

    async def start(self, host: str = "127.0.0.1", soup_port: int = 0, rerequest_port: int = 0) -> None:
        """Listen; free ports are taken where none is given, see ``rerequest_address`` and ``soup_address``."""
        self._udp = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self._udp.setsockopt(socket.IPPROTO_IP, socket.IP_MULTICAST_IF, socket.inet_aton(host))
        self._udp.setsockopt(socket.IPPROTO_IP, socket.IP_MULTICAST_LOOP, 1)
        loop = asyncio.get_running_loop()
        self._rerequests, _ = await loop.create_datagram_endpoint(
            lambda: _Rerequests(self), local_addr=(host, rerequest_port)
        )
        port = self._rerequests.get_extra_info("sockname")[1]
        self.rerequest_address = f"{host}:{port}"
        await self._listen(host, soup_port)
        self._beats = asyncio.create_task(self._beat())

    async def _listen(self, host: str, port: int) -> None:
        self._server = await asyncio.start_server(self._accept, host, port)
        self.soup_address = f"{host}:{self._server.sockets[0].getsockname()[1]}"

    async def restart(self, away_s: float) -> None:
        """Nothing is sent and nobody let in for so long, then everything is as before; one at a time."""
        if self._server is None:
            return
        from quotelife_server.simvenue.base import again  # brings an HTTP server, which a feed alone has not

        server, self._server = self._server, None
        self.mute = True
        server.close()
        self.drop_connections()
        try:
            await asyncio.sleep(away_s)
        finally:
            self.mute = False
            # Whoever ends the wait must not end the reopening, too.
            reopening = again(lambda: self._listen(*host_and_port(self.soup_address)))
            self._reopening = asyncio.ensure_future(reopening)
            await asyncio.shield(self._reopening)

    async def stop(self) -> None:
        if self._beats is not None:
            self._beats.cancel()
            await asyncio.gather(self._beats, return_exceptions=True)
        if self._reopening is not None:
            await self._reopening
        self.drop_connections()
        if self._server is not None:
            self._server.close()
        for talk in list(self._talks):
            talk.cancel()
        await asyncio.gather(*self._talks, return_exceptions=True)
        if self._rerequests is not None:
            self._rerequests.close()
        if self._udp is not None:
            self._udp.close()

    # What it tells.

    def publish(self, messages: Sequence[bytes]) -> None:
        """Number these messages and send them down every line."""
        first = len(self.messages) + 1
        self.messages += messages
        for at in range(0, len(messages), self.packet_messages):
            self._send(mold_packet(self.session, first + at, messages[at : at + self.packet_messages]))
        self._more.set()

    def flush(self) -> None:
        """Send what the lines still hold back, and a heartbeat, which faults spare."""
        for number, line in enumerate(self.lines):
            for packet in [*line.rest(), mold_packet(self.session, len(self.messages) + 1, [])]:
                self._send_to(number, packet)

    def end_session(self) -> None:
        """End of session on every line and connection."""
        for number in range(len(self.lines)):
            self._send_to(number, mold_header(self.session, len(self.messages) + 1, END_OF_SESSION))
        self._write(soup_packet(b"Z"))

    def begin_session(self, session: str) -> None:
        """Another session, from number 1 on."""
        self.session = session
        self.messages = []

    def drop_connections(self) -> None:
        """Break every SoupBinTCP connection."""
        for writer in self._clients:
            writer.transport.abort()

    def break_off(self) -> None:
        """Break every SoupBinTCP connection in the middle of a packet."""
        self._write(soup_packet(b"S", bytes(36))[:20])
        for writer in self._clients:
            writer.close()

    def noise(self, data: bytes) -> None:
        """Bytes that mean nothing: a datagram of its own on each line, and on each connection."""
        for number in range(len(self._targets)):
            self._send_to(number, data)
        self._write(data)

    def write(self, path: Path) -> None:
        """All messages so far as a file; packed where the name ends so."""
        raw = framed(self.messages)
        if path.suffix == ".gz":
            raw = gzip.compress(raw)
        elif path.suffix == ".zst":
            raw = zstandard.ZstdCompressor().compress(raw)
        path.write_bytes(raw)

    def _send(self, packet: bytes) -> None:
        for number, line in enumerate(self.lines):
            for out in line.through(packet):
                self._send_to(number, out)

    def _send_to(self, number: int, packet: bytes) -> None:
        if self._udp is not None and not self.mute and number not in self.muted_lines:
            with contextlib.suppress(OSError):  # nobody listens yet
                self._udp.sendto(packet, self._targets[number])

    def _write(self, data: bytes) -> None:
        for writer in self._clients:
            if not writer.is_closing():
                writer.write(data)

    async def _beat(self) -> None:
        while True:
            await asyncio.sleep(BEAT_S)
            if not self.mute:
                for number in range(len(self.lines)):
                    self._send_to(number, mold_packet(self.session, len(self.messages) + 1, []))
                self._write(soup_packet(b"H"))

    # Re-requests.

    def answers(self, request: bytes) -> list[bytes]:
        """Packets for one request; none when it is not ours."""
        self.requests += 1
        if len(request) != 20 or request[:10] != self.session.encode().rjust(10):
            return []
        first, count = int.from_bytes(request[10:18], "big"), int.from_bytes(request[18:20], "big")
        if first < 1:
            return []
        asked = self.messages[first - 1 : first - 1 + count]
        return [
            mold_packet(self.session, first + at, asked[at : at + REREQUEST_PACKET_MESSAGES])
            for at in range(0, len(asked), REREQUEST_PACKET_MESSAGES)
            if self._answers.uniform() >= self.rerequest_loss
        ]

    # SoupBinTCP.

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._talks.add(task)
        try:
            await self._talk(reader, writer)
        except (OSError, asyncio.IncompleteReadError, asyncio.CancelledError):
            pass
        finally:
            self._clients.discard(writer)
            self._talks.discard(task)
            writer.transport.abort()

    async def _talk(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        login = await reader.readexactly(49)
        self.logins += 1
        username, password, session = (login[a:b].decode().strip() for a, b in ((3, 9), (9, 19), (19, 29)))
        if self._credentials is not None and (username, password) != self._credentials:
            writer.write(soup_packet(b"J", b"A"))
            await writer.drain()
            return
        if session not in ("", self.session):
            writer.write(soup_packet(b"J", b"S"))
            await writer.drain()
            return
        wanted, here = int(login[29:49]), self.session
        at = (wanted or len(self.messages) + 1) - 1
        writer.write(soup_packet(b"A", f"{here:>10}{at + 1:>20}".encode()))
        self._clients.add(writer)
        listening = asyncio.ensure_future(reader.read(-1))  # until the client leaves
        try:
            while self.session == here and not listening.done() and not writer.is_closing():
                if self.mute:
                    await asyncio.sleep(MUTE_LOOK_S)
                    continue
                if at >= len(self.messages):
                    self._more.clear()
                    waiting = asyncio.ensure_future(self._more.wait())
                    await asyncio.wait((waiting, listening), return_when=asyncio.FIRST_COMPLETED)
                    waiting.cancel()
                    continue
                part = self.messages[at : at + SOUP_SLICE]
                writer.write(b"".join(soup_packet(b"S", message) for message in part))
                at += len(part)
                await writer.drain()
        finally:
            listening.cancel()


class ItchDays:
    """Has ``venue`` tell a simulated market as it happens, by the clock, a session each day of New York."""

    def __init__(self, venue: ItchVenue, symbols: Sequence[str], seed: int = 1) -> None:
        self.venue = venue
        self._symbols = [ItchSymbol(symbol) for symbol in symbols]
        self._seed = seed

    async def run(self) -> None:
        """Until cancelled."""
        while True:
            midnight_ns = midnight_before(time.time_ns())
            await self._day(midnight_ns)
            self.venue.end_session()

    async def _day(self, midnight_ns: int) -> None:
        start_ns = max(midnight_ns, time.time_ns() - HISTORY_NS)
        market = ItchMarket(self._symbols, self._seed, midnight_ns=midnight_ns, start_ns=start_ns)
        self.venue.begin_session(f"S{midnight_ns // (86_400 * NS_PER_S):09}")
        self.venue.publish(market.opening)
        while midnight_before(now_ns := time.time_ns()) == midnight_ns:
            self.venue.publish(market.advance_to(now_ns))
            await asyncio.sleep(TURN_S)


class _Rerequests(asyncio.DatagramProtocol):
    def __init__(self, venue: ItchVenue) -> None:
        self._venue = venue
        self._transport: Any = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = transport

    def datagram_received(self, data: bytes, address: Any) -> None:
        for packet in self._venue.answers(data):
            self._transport.sendto(packet, address)
