"""How long it takes from a market event to the bytes of a withdrawal in a socket, through journal, loop and stream."""

import asyncio
import socket
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import uvloop

from quote_expiry.v1 import quote_expiry_service_pb2 as expiry
from quotelife.clock import ManualClock
from quotelife.config import load_config
from quotelife.engine import Engine
from quotelife.inputs import Change
from quotelife_server.alerts import Alerts
from quotelife_server.cli.bench_withdraw import CONFIG, HOUR_NS, Steps, quote
from quotelife_server.journaling import JournalLedger, OpenJournal
from quotelife_server.ledger import Ledger, NoJournal
from quotelife_server.recent import RecentQuotes
from quotelife_server.reply_store import ReplyStore
from quotelife_server.rpc import RpcError
from quotelife_server.settings import ServiceConfig
from quotelife_server.watch_stream import WatchStream
from quotelife_server.watching import Ear, LoopSchedule, Watching

EVENTS = 1000
WARM_UP = 50


class _Wire:
    """A transport that writes what it is handed to a socket, from a task of its own as the gRPC front end does."""

    def __init__(self, out: socket.socket) -> None:
        self._out = out
        self._queue: asyncio.Queue[bytes | Callable[[], bytes]] = asyncio.Queue()
        self.written = asyncio.Event()
        self.written_at_ns = 0

    def send(self, payload: bytes | Callable[[], bytes]) -> None:
        self._queue.put_nowait(payload)

    def finish(self, error: RpcError | None = None) -> None:
        raise AssertionError(error)

    async def run(self) -> None:
        while True:
            payload = await self._queue.get()
            self._out.send(payload if isinstance(payload, bytes) else payload())
            self.written_at_ns = time.perf_counter_ns()
            self.written.set()


def wire_figures(live: int, *, journal: bool, rounds: int) -> dict[str, Any]:
    """From handing an event to the engine until the bytes of its withdrawal are written, with ``live`` quotes live."""
    taken: list[int] = []
    for _ in range(rounds):
        with tempfile.TemporaryDirectory() as folder:
            taken += uvloop.run(_round(Path(folder), live, journal))
    p50, p99 = np.percentile(taken, (50, 99))
    return {
        "live": live,
        "journal": journal,
        "withdrawals": len(taken),
        "p50_us": round(float(p50) / 1e3, 1),
        "p99_us": round(float(p99) / 1e3, 1),
    }


async def _round(folder: Path, live: int, journal: bool) -> list[int]:
    path = folder / "bench.yaml"
    path.write_text(
        CONFIG.replace("watch: {", "watch: {heartbeat: 1min, heartbeats_missed: 100, repeat: 1min, ")
        + f"server: {{journal: {{directory: {folder / 'journal' if journal else 'null'}}}}}\n",
        encoding="utf-8",
    )
    config = load_config(path, ServiceConfig)
    engine, steps, ear = Engine(config), Steps(), Ear()
    clock, replies = ManualClock(steps.now_ns), ReplyStore(2**20, HOUR_NS)
    loop = asyncio.get_running_loop()
    ledger: Ledger = NoJournal(replies, loop.call_soon)
    kept: JournalLedger | None = None
    engine.record_to(ear.tap)
    if journal:
        opened = OpenJournal(config.server, engine, "bench", steps.now_ns, [ear.tap])

        def in_thread(work: Callable[[], int], done: Callable[[int | BaseException], None]) -> None:
            loop.run_in_executor(None, work).add_done_callback(lambda f: done(f.exception() or f.result()))

        ledger = kept = JournalLedger(
            opened, replies, now_ns=clock.now_ns, call_soon=loop.call_soon, in_thread=in_thread
        )
        kept.begin()
    engine.on_events(steps.snapshot())
    for number in range(1, live + 1):
        payload = quote(number, "I0", 1, steps.mid, 2.0 * number, steps.now_ns + HOUR_NS)
        engine.apply_watch(Change.WATCHED, payload, steps.now_ns)
    hub = Watching(
        engine,
        clock,
        boot_id="bench",
        ledger=ledger,
        recent=RecentQuotes("bench", 1, 1),
        schedule=LoopSchedule(),
        alerts=Alerts(),
        ear=ear,
        queue_max=2**20,
    )
    hub.begin()
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_STREAM)
    ours.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 4 * 2**20)
    wire = _Wire(ours)
    writer = asyncio.ensure_future(wire.run())
    reader = asyncio.ensure_future(_read(theirs))

    def refuse(*_: object) -> RpcError:
        raise AssertionError("nothing is asked here")

    stream = WatchStream(
        wire, hub, answer=refuse, admit=lambda: None, release=lambda: None, as_rpc_error=refuse
    )
    opening = expiry.WatchOpen(owner="bench", resume=True)
    stream.on_message(expiry.WatchQuotesRequest(open=opening).SerializeToString())
    while hub.unwritten:
        wire.written.clear()
        await wire.written.wait()
    taken: list[int] = []
    left = engine.watching.live
    for _ in range(EVENTS + WARM_UP):
        events = steps.down()
        clock.set_ns(steps.now_ns)
        wire.written.clear()
        began = time.perf_counter_ns()
        engine.on_events(events)
        if engine.watching.live == left:
            continue
        left = engine.watching.live
        await wire.written.wait()
        taken.append(wire.written_at_ns - began)
        await asyncio.sleep(0)
    hub.stop()
    writer.cancel()
    reader.cancel()
    await asyncio.gather(writer, reader, return_exceptions=True)
    ours.close()
    theirs.close()
    if kept is not None:
        kept.close()
    return taken[WARM_UP:]


async def _read(theirs: socket.socket) -> None:
    theirs.setblocking(False)
    while True:
        await asyncio.get_running_loop().sock_recv(theirs, 65_536)
