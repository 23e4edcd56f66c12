"""gRPC by nghttp2 on the event loop: listens, keeps the connections, looks after them every 10 ms, drains."""

import asyncio
import contextlib
import os
import random
import socket
from collections.abc import Callable, Collection, Sequence
from functools import partial
from pathlib import Path
from typing import ClassVar, cast

from quotelife.units import NS_PER_S
from quotelife_server import log
from quotelife_server.addresses import UNIX
from quotelife_server.handlers import Service
from quotelife_server.rpc import MethodTable, StreamCall
from quotelife_server.transport.limits import PREFACE_S, draining
from quotelife_server.transport.listening import bound_as, tcp_sockets, unix_socket
from quotelife_server.transport.native_call import Desk
from quotelife_server.transport.native_connection import Connection, sweep
from quotelife_server.transport.options import GrpcOptions
from quotelife_server.transport.tls_files import tcp_context
from quotelife_server.transport.tls_listening import FAILED_SAID_S, TlsListener

SWEEP_S = 0.01
BACKLOG = 1024
LOOK_S = 0.005
LAST_WORDS_S = 0.6  # for what was said last to be written and read
AGE_SPREAD = 0.1  # so that connections made together do not end together
HANDSHAKES_SHARE = 4  # TLS handshakes under way are as many as a quarter of the connections
HELD_BYTES_MIN = 64 * 1024**2
HELD_MESSAGES = 256  # that all connections together may hold unfinished or unread, where messages are large

ATTENDED_S_MAX = 0.1  # between two looks after clients that counts against them

_log = log.get_logger(__name__)


class AttendedTime:
    """The event loop's time without that in which it stood still, as on a machine with more work than cores. It read
    nothing then: what clients said meanwhile waits in their sockets, and they must not be blamed for it."""

    def __init__(self, time: Callable[[], float]) -> None:
        self._time = time
        self._looked_s = self._now_s = time()

    def now_s(self) -> float:
        """Asked at each look after clients."""
        looked_s = self._time()
        self._now_s += min(looked_s - self._looked_s, ATTENDED_S_MAX)
        self._looked_s = looked_s
        return self._now_s


class NativeServer:
    """Serves one ``Service``. ``start`` binds, ``stop`` drains."""

    name: ClassVar[str] = "native"

    def __init__(
        self,
        service: Service,
        addresses: Sequence[str],
        options: GrpcOptions,
        methods: MethodTable | None = None,
    ) -> None:
        """``addresses``: ``host:port`` (port 0: any) or ``unix:/path``; ``methods``: all of the service's where
        nothing is said."""
        self._service = service
        self._addresses = addresses
        self._options = options
        self._desk = Desk(
            service,
            service.methods if methods is None else methods,
            message_bytes_max=options.message_bytes_max,
            streams_max=options.streams_max,
            held_bytes_max=max(HELD_BYTES_MIN, HELD_MESSAGES * options.message_bytes_max),
            keepalive_s=options.keepalive_interval_ns / NS_PER_S,
            keepalive_timeout_s=options.keepalive_timeout_ns / NS_PER_S,
            client_ping_s=options.client_ping_interval_min_ns / NS_PER_S,
            age_s=(options.connection_age_max_ns or 0) / NS_PER_S,
            age_grace_s=options.connection_age_grace_ns / NS_PER_S,
            overload_turn_ns=options.overload_turn_ns,
            busy_poll_ns=options.busy_poll_ns,
        )
        self._listeners: list[asyncio.Server | TlsListener] = []
        self._unix_paths: list[tuple[Path, tuple[int, int]]] = []
        self._sweeper: asyncio.Task[None] | None = None

    @property
    def streams(self) -> Collection[StreamCall]:
        """Streaming calls under way."""
        return self._desk.conversations

    @property
    def connections(self) -> Collection[Connection]:
        return self._desk.connections

    async def start(self) -> list[str]:
        """Bind and serve. Returns the addresses with their real ports. Raises ``CannotListen``, ``ConfigError``."""
        loop = asyncio.get_running_loop()
        time = AttendedTime(loop.time)
        self._desk.now_s = self._desk.loop_s = self._desk.looked_s = time.now_s()
        tls = None if self._options.tls is None else tcp_context(self._options.tls)
        sockets: list[tuple[str, socket.socket]] = []
        try:
            for address in self._addresses:
                if address.startswith(UNIX):
                    path = Path(address.removeprefix(UNIX))
                    sockets.append((address, unix_socket(path, BACKLOG)))
                    self._unix_paths.append((path, _identity(path)))
                else:
                    sockets += [(address, each) for each in tcp_sockets(address, BACKLOG)]
        except OSError:
            for _, each in sockets:
                each.close()
            self._remove_unix_sockets()
            raise
        self._sweeper = loop.create_task(self._sweep(time))
        bound: dict[str, str] = {}
        for address, each in sockets:
            listener: asyncio.Server | TlsListener
            if address.startswith(UNIX):
                listener = await loop.create_unix_server(self._connect, sock=each, backlog=BACKLOG)
                bound[address] = address
            else:
                if tls is None:
                    listener = await loop.create_server(self._connect, sock=each, backlog=BACKLOG)
                else:
                    listener = TlsListener(
                        each,
                        tls,
                        partial(self._connect, 1),
                        handshakes_max=max(1, self._options.connections_max // HANDSHAKES_SHARE),
                        timeout_s=PREFACE_S,
                    )
                bound.setdefault(address, bound_as(address, each.getsockname()[1]))
            self._listeners.append(listener)
        return list(bound.values())

    async def stop(self, grace_ns: int) -> None:
        """Listen no more, end streams, send clients elsewhere, wait up to ``grace_ns`` for calls in flight.

        A client hears first that the connection will end (GOAWAY without a last call), so that it opens no call that
        crosses the word; the last call is named a little later. Who is not done in time hears UNAVAILABLE.
        """
        loop = asyncio.get_running_loop()
        end_s = loop.time() + grace_ns / NS_PER_S
        desk = self._desk
        desk.draining = True
        for listener in self._listeners:
            listener.close()
        self._listeners.clear()
        self._remove_unix_sockets()  # at once: who takes our place finds the path free, and later it is not ours
        for stream in list(desk.conversations):
            stream.finish(draining())
        for connection in list(desk.connections):
            connection.leave()
        await self._all_gone(end_s)
        for connection in list(desk.connections):
            connection.cut_off()
        await self._all_gone(loop.time() + LAST_WORDS_S)
        for connection in list(desk.connections):
            connection.abort()
        if self._sweeper is not None:
            self._sweeper.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._sweeper
            self._sweeper = None
        await asyncio.sleep(0)  # for transports to tell their protocols

    async def _all_gone(self, end_s: float) -> None:
        """No connection is left, or it is that late."""
        loop = asyncio.get_running_loop()
        while self._desk.connections and loop.time() < end_s:  # noqa: ASYNC110 (each of them would have to tell)
            await asyncio.sleep(LOOK_S)

    def _remove_unix_sockets(self) -> None:
        for path, identity in self._unix_paths:
            with contextlib.suppress(OSError):  # gone already, or another's by now
                if _identity(path) == identity:
                    path.unlink()
        self._unix_paths.clear()

    def _connect(self, own: int = 0) -> asyncio.Protocol:
        """``own``: the handshake for which it is called is one of those under way."""
        desk = self._desk
        shaking = sum(each.handshakes for each in self._listeners if isinstance(each, TlsListener)) - own
        if len(desk.connections) + shaking >= self._options.connections_max and not self._make_room():
            return _TurnedAway()
        age = random.uniform(1 - AGE_SPREAD, 1 + AGE_SPREAD)
        return cast(asyncio.Protocol, Connection(desk, asyncio.get_running_loop(), age))

    def _make_room(self) -> bool:
        """By the oldest connection that has never called."""
        idle = next((each for each in self._desk.connections if each.idle), None)
        if idle is None:
            return False
        idle.abort()
        return True

    async def _sweep(self, time: AttendedTime) -> None:
        loop, desk, clock = asyncio.get_running_loop(), self._desk, self._service.clock
        said_s = -FAILED_SAID_S
        while True:
            await asyncio.sleep(SWEEP_S)
            try:
                sweep(desk, time.now_s(), clock.now_ns(), loop.time())
            except BaseException:  # nobody else would ever look again
                if loop.time() - said_s >= FAILED_SAID_S:
                    said_s = loop.time()
                    _log.exception("looking after connections failed")


def _identity(path: Path) -> tuple[int, int]:
    found = os.stat(path)
    return found.st_dev, found.st_ino


class _TurnedAway(asyncio.Protocol):
    """There are as many connections as there may be."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.WriteTransport)
        transport.abort()
