"""Child processes of the demonstration: started, listened to, and ended; never anybody else's."""

from __future__ import annotations

import asyncio
import contextlib
import json
import signal
from collections import deque
from collections.abc import Callable, Sequence
from types import TracebackType
from typing import Any, Self

from quotelife.errors import QuotelifeError

STOP_S = 10.0
LINES_KEPT = 40


class ChildError(QuotelifeError):
    """A child did not come up, or died."""


class Child:
    """One child process; the last lines it wrote are kept for the error message."""

    def __init__(self, name: str, process: asyncio.subprocess.Process) -> None:
        self.name = name
        self.process = process
        self.lines: deque[str] = deque(maxlen=LINES_KEPT)
        self._waiting: list[tuple[Callable[[dict[str, Any]], bool], asyncio.Future[dict[str, Any]]]] = []
        self._readers = [
            asyncio.create_task(self._read(stream))
            for stream in (process.stdout, process.stderr)
            if stream is not None
        ]

    async def said(self, wanted: Callable[[dict[str, Any]], bool], timeout_s: float) -> dict[str, Any]:
        """The first JSON line, on either stream, that ``wanted`` accepts. Raises ``ChildError``."""
        heard: asyncio.Future[dict[str, Any]] = asyncio.get_running_loop().create_future()
        self._waiting.append((wanted, heard))
        ended = asyncio.create_task(self.process.wait())
        either: set[asyncio.Future[Any]] = {heard, ended}
        try:
            await asyncio.wait(either, timeout=timeout_s, return_when=asyncio.FIRST_COMPLETED)
            if heard.done():
                return heard.result()
            await asyncio.sleep(0.1)  # let the readers take in its last words
            raise self.failure(
                f"was not ready within {timeout_s:.0f} s" if not ended.done() else "ended early"
            )
        finally:
            ended.cancel()

    def failure(self, what: str) -> ChildError:
        code = self.process.returncode
        exited = "" if code is None else f" (exit code {code})"
        tail = "\n".join(f"  {line}" for line in self.lines)
        return ChildError(f"{self.name} {what}{exited}" + (f"; it last said:\n{tail}" if tail else ""))

    async def died(self) -> None:
        """Returns never, or raises ``ChildError`` when the child has ended by itself."""
        await self.process.wait()
        raise self.failure("ended by itself")

    async def stop(self) -> None:
        if self.process.returncode is None:
            self.process.send_signal(signal.SIGTERM)
            try:
                await asyncio.wait_for(self.process.wait(), STOP_S)
            except TimeoutError:
                self.process.kill()
                await self.process.wait()
        for reader in self._readers:
            reader.cancel()
        await asyncio.gather(*self._readers, return_exceptions=True)

    async def _read(self, stream: asyncio.StreamReader) -> None:
        while line := await stream.readline():
            text = line.decode(errors="replace").rstrip()
            self.lines.append(text)
            if not self._waiting:
                continue
            with contextlib.suppress(ValueError):
                said = json.loads(text)
                if isinstance(said, dict):
                    self._tell(said)

    def _tell(self, said: dict[str, Any]) -> None:
        for wanted, heard in list(self._waiting):
            if not heard.done() and wanted(said):
                heard.set_result(said)
        self._waiting = [pair for pair in self._waiting if not pair[1].done()]


class Children:
    """The children of one run; leaving the context ends those that still run, last started first."""

    def __init__(self) -> None:
        self._children: list[Child] = []

    async def start(self, name: str, arguments: Sequence[str]) -> Child:
        # A session of its own: Ctrl-C reaches this process, which then ends its children in order.
        process = await asyncio.create_subprocess_exec(
            *arguments,
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
            start_new_session=True,
        )
        child = Child(name, process)
        self._children.append(child)
        return child

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for child in reversed(self._children):
            await child.stop()
