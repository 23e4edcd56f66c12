"""The FIX feed against QuickFIX. Needs an environment of its own: QUOTELIFE_QUICKFIX names its Python (docs/fix.md)."""

import asyncio
import json
import os
import socket
from pathlib import Path

import pytest
import uvloop

from quotelife.feed.symbol_feed import SyncState
from reference.fix_kit import Sink, config, opened, until

PYTHON = os.environ.get("QUOTELIFE_QUICKFIX")
pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(
        PYTHON is None, reason="QUOTELIFE_QUICKFIX names no Python with quickfix: make test-fix"
    ),
]


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


class Acceptor:
    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self.process = process

    def tell(self, command: str) -> None:
        assert self.process.stdin is not None
        self.process.stdin.write(command.encode() + b"\n")

    async def books(self) -> list[tuple[dict[int, int], dict[int, int]]]:
        assert self.process.stdout is not None
        self.tell("books")
        said = json.loads(await asyncio.wait_for(self.process.stdout.readline(), 10))
        return [
            ({int(t): n for t, n in said[s]["0"].items()}, {int(t): n for t, n in said[s]["1"].items()})
            for s in "AB"
        ]


async def same(acceptor: Acceptor, sink: Sink) -> None:
    theirs = await acceptor.books()
    await until(lambda: [sink.books[n].levels() for n in (0, 1)] == theirs)


async def run() -> None:
    port = free_port()
    assert PYTHON is not None
    process = await asyncio.create_subprocess_exec(
        PYTHON,
        str(Path(__file__).with_name("quickfix_acceptor.py")),
        str(port),
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
    )
    acceptor = Acceptor(process)
    feed, sink = opened(config(port))
    try:
        assert process.stdout is not None
        assert (await asyncio.wait_for(process.stdout.readline(), 20)).strip() == b"ready"
        await feed.start()
        await until(lambda: all(feed.decoder.state(s) == SyncState.SYNCED for s in "AB"), 20)
        acceptor.tell("change 2000")
        await same(acceptor, sink)
        assert feed.session.gaps == 0 and feed.session.rejects == 0 and feed.session.garbled == 0
        for n in range(1, 6):
            # Sequence numbers are missing: asked for, filled, and every book asked for anew.
            acceptor.tell(f"skip {n}")
            acceptor.tell("change 50")
            await until(lambda n=n: feed.session.gaps == n)
            await until(lambda: all(feed.decoder.state(s) == SyncState.SYNCED for s in "AB"), 20)
            acceptor.tell("change 200")
            await same(acceptor, sink)
        # Heartbeats and test requests of a quiet line: ten intervals of a second.
        await asyncio.sleep(10)
        assert feed.connected and feed.reconnects == 0 and feed.session.rejects == 0
        acceptor.tell("change 20")
        await same(acceptor, sink)
    finally:
        await feed.stop()
        acceptor.tell("quit")
        try:
            await asyncio.wait_for(process.wait(), 10)
        except TimeoutError:
            process.kill()


def test_books_equal_those_of_a_quickfix_acceptor() -> None:
    uvloop.run(run())
