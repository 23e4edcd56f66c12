"""A TCP proxy on loopback that can fall silent, or break what runs through it."""

import asyncio
import contextlib
from types import TracebackType
from typing import Self


class ChaosProxy:
    """``cut``: bytes go nowhere and nobody is told. ``mend``: new connections work again. ``reset``: what stands
    breaks. ``stall``: what the target says is not taken, as by a client that does not read."""

    def __init__(self, target: str) -> None:
        host, _, port = target.rpartition(":")
        self._target = host, int(port)
        self._through = asyncio.Event()
        self._through.set()
        self._taken = asyncio.Event()
        self._taken.set()
        self._writers: set[asyncio.StreamWriter] = set()
        self._dead: set[asyncio.StreamWriter] = set()
        self._tasks: set[asyncio.Task[None]] = set()
        self._server: asyncio.Server | None = None
        self.address = ""

    async def __aenter__(self) -> Self:
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        port = self._server.sockets[0].getsockname()[1]
        self.address = f"127.0.0.1:{port}"
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        assert self._server is not None
        self._server.close()
        for task in list(self._tasks):
            task.cancel()
        self.reset()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    def cut(self) -> None:
        self._through.clear()
        self._dead |= self._writers

    def stall(self) -> None:
        self._taken.clear()

    def mend(self) -> None:
        self._through.set()

    def reset(self) -> None:
        for writer in list(self._writers):
            writer.transport.abort()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            there, back = await asyncio.open_connection(*self._target)
        except OSError:
            writer.transport.abort()
            return
        self._writers |= {writer, back}
        if not self._through.is_set():
            self._dead |= {writer, back}
        pumps = [
            asyncio.ensure_future(self._pump(reader, back)),
            asyncio.ensure_future(self._pump(there, writer, self._taken)),
        ]
        self._tasks.update(pumps)
        await asyncio.wait(pumps, return_when=asyncio.FIRST_COMPLETED)
        for each in (writer, back):
            self._writers.discard(each)
            self._dead.discard(each)
            each.transport.abort()
        self._tasks.difference_update(pumps)

    async def _pump(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, taken: asyncio.Event | None = None
    ) -> None:
        with contextlib.suppress(OSError):
            while data := await reader.read(65536):
                if taken is not None:
                    await taken.wait()
                if writer in self._dead:
                    continue
                writer.write(data)
                await writer.drain()
