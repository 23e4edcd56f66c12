"""The small HTTP side: ``/metrics`` for Prometheus, ``/healthz`` for whoever cannot speak gRPC health.

Each connection carries one request and is cut off when it takes its time, whatever it is doing.
"""

import asyncio
from collections.abc import Awaitable, Callable

from aiohttp import web
from aiohttp.http import HttpProcessingError
from prometheus_client.exposition import CONTENT_TYPE_PLAIN_0_0_4

from quotelife_server.transport.listening import cannot_listen

CONNECTIONS_MAX = 64
CONNECTION_S = 5.0  # from one to two of these is all a connection gets
SHUTDOWN_S = 0.5
LINE_BYTES_MAX = 2048


class HttpServer:
    def __init__(
        self, metrics: Callable[[], Awaitable[bytes]], serving: Callable[[], bool], address: str
    ) -> None:
        """``metrics`` gives the text of ``/metrics``."""
        self._text = metrics
        self._serving = serving
        self._host, _, port = address.rpartition(":")
        self._port = int(port)
        app = web.Application()
        app.add_routes([web.get("/metrics", self._metrics), web.get("/healthz", self._healthz)])
        app.on_response_prepare.append(_close_after)
        self._runner = web.AppRunner(app, handle_signals=False, shutdown_timeout=SHUTDOWN_S)
        self._connections: set[_Connection] = set()
        self._listener: asyncio.Server | None = None
        self._sweeper: asyncio.Task[None] | None = None

    async def start(self) -> str:
        """Bind and serve. Returns the address with its real port. Raises ``CannotListen``."""
        await self._runner.setup()
        loop = asyncio.get_running_loop()
        try:
            self._listener = await loop.create_server(self._connect, self._host.strip("[]"), self._port)
        except OSError as error:
            raise cannot_listen(f"{self._host}:{self._port}", error) from error
        self._sweeper = loop.create_task(self._cut_off_the_slow())
        return f"{self._host}:{self._listener.sockets[0].getsockname()[1]}"

    async def stop(self) -> None:
        if self._listener is not None:
            self._listener.close()
        if self._sweeper is not None:
            self._sweeper.cancel()
        await self._runner.cleanup()
        for connection in list(self._connections):
            connection.cut_off()

    def _connect(self) -> asyncio.Protocol:
        server = self._runner.server
        if server is None or len(self._connections) >= CONNECTIONS_MAX:
            return _TurnedAway()
        connection = _Connection(server, self._connections.discard)
        self._connections.add(connection)
        return connection

    async def _cut_off_the_slow(self) -> None:
        while True:
            before = list(self._connections)
            await asyncio.sleep(CONNECTION_S)
            for connection in before:
                connection.cut_off()

    async def _metrics(self, request: web.Request) -> web.Response:
        return web.Response(body=await self._text(), headers={"Content-Type": CONTENT_TYPE_PLAIN_0_0_4})

    async def _healthz(self, request: web.Request) -> web.Response:
        serving = self._serving()
        return web.Response(text="serving\n" if serving else "not serving\n", status=200 if serving else 503)


class _TurnedAway(asyncio.Protocol):
    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        transport.close()


class _Connection(web.RequestHandler):
    def __init__(self, server: web.Server, lost: Callable[["_Connection"], None]) -> None:
        self._lost = lost
        super().__init__(
            server,
            loop=asyncio.get_running_loop(),
            access_log=None,  # type: ignore[arg-type]
            keepalive_timeout=CONNECTION_S,
            lingering_time=0.0,
            max_line_size=LINE_BYTES_MAX,
            max_field_size=LINE_BYTES_MAX,
        )

    def connection_lost(self, exc: BaseException | None) -> None:
        super().connection_lost(exc)
        self._lost(self)

    def handle_error(
        self,
        request: web.BaseRequest,
        status: int = 500,
        exc: BaseException | None = None,
        message: str | None = None,
    ) -> web.StreamResponse:
        """A client's garbage is neither logged nor sent back."""
        if not isinstance(exc, HttpProcessingError):
            return super().handle_error(request, status, exc, message)
        response = web.Response(status=status, text="bad request\n")
        response.force_close()
        return response

    def cut_off(self) -> None:
        if isinstance(self.transport, asyncio.WriteTransport):
            self.transport.abort()


async def _close_after(request: web.Request, response: web.StreamResponse) -> None:
    response.force_close()
