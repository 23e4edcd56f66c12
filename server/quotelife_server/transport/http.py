"""The small HTTP side: ``/metrics`` for Prometheus, ``/healthz`` for whoever cannot speak gRPC health."""

from collections.abc import Awaitable, Callable

from aiohttp import web
from prometheus_client.exposition import CONTENT_TYPE_PLAIN_0_0_4


class HttpServer:
    def __init__(
        self, metrics: Callable[[], Awaitable[bytes]], serving: Callable[[], bool], address: str
    ) -> None:
        """``metrics`` gives the text of ``/metrics``."""
        self._text = metrics
        self._serving = serving
        self._host, _, port = address.rpartition(":")
        self._port = int(port)
        self._runner: web.AppRunner | None = None

    async def start(self) -> str:
        """Bind and serve. Returns the address with its real port. Raises ``OSError``."""
        app = web.Application()
        app.add_routes([web.get("/metrics", self._metrics), web.get("/healthz", self._healthz)])
        self._runner = web.AppRunner(app, access_log=None, handle_signals=False)
        await self._runner.setup()
        site = web.TCPSite(self._runner, self._host.strip("[]"), self._port)
        await site.start()
        return f"{self._host}:{self._runner.addresses[0][1]}"

    async def stop(self) -> None:
        if self._runner is not None:
            await self._runner.cleanup()

    async def _metrics(self, request: web.Request) -> web.Response:
        return web.Response(body=await self._text(), headers={"Content-Type": CONTENT_TYPE_PLAIN_0_0_4})

    async def _healthz(self, request: web.Request) -> web.Response:
        serving = self._serving()
        return web.Response(text="serving\n" if serving else "not serving\n", status=200 if serving else 503)
