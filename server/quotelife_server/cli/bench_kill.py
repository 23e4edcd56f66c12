"""From the kill to the last firm answer, with 64 calls in flight: by RPC behind them, by RPC on an address of its own,
and by file."""

import asyncio
import multiprocessing
import os
import statistics
import tempfile
import time
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import grpc.aio
import uvloop

from quote_expiry.v1 import admin_service_pb2 as admin
from quote_expiry.v1 import quote_expiry_service_pb2 as expiry
from quote_expiry.v1 import types_pb2 as types
from quotelife.errors import QuotelifeError
from quotelife.records import EventBuffer
from quotelife.sim.events import EventWriter
from quotelife.sim.market import BTC, MarketConfig, MarketSimulator
from quotelife.units import NS_PER_MS

IN_FLIGHT = 64
WARM_S = 6.0
SETTLE_S = 0.3
READY_S = 60.0
CONFIG = """
version: 1
model: {artifact: first_passage}
instruments:
  - {name: BTC, venue: bench, symbol: BTC, tick_size: 0.1, lot_size: 0.001, warmup: 0s}
server:
  address: 127.0.0.1:0
  admin_address: 127.0.0.1:0
  metrics_address: null
  drain: {notice: 0ns}
  log_level: error
"""
_ADMIN = "/quote_expiry.v1.AdminService/"
_GET = "/quote_expiry.v1.QuoteExpiryService/GetExpiry"
_REQUEST = expiry.GetExpiryRequest(instrument="BTC", side=types.SIDE_BUY).SerializeToString()


def bench_kill(rounds: int) -> dict[str, Any]:
    """Figures in milliseconds by way; ``last_quote_*``: when the last QUOTE was decided or received after the kill
    began."""
    context = multiprocessing.get_context("spawn")
    ours, theirs = context.Pipe()
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "config.yaml"
        path.write_text(CONFIG, encoding="utf-8")
        child = context.Process(target=_serve, args=(path, theirs), daemon=True)
        child.start()
        try:
            if not ours.poll(READY_S):
                raise QuotelifeError("the service did not come up")
            return uvloop.run(_measure(ours.recv(), path.parent / "KILL", rounds))
        finally:
            ours.close()  # the child ends by it
            child.join(10)
            if child.is_alive():
                child.kill()


# --- the service, in a process of its own -------------------------------------------------------------------


def _serve(path: Path, pipe: Connection) -> None:
    uvloop.run(_serve_until_closed(path, pipe))


async def _serve_until_closed(path: Path, pipe: Connection) -> None:
    from quotelife_server import log
    from quotelife_server.app import Application

    log.configure("critical")
    app = Application(path, overrides={"journal": {"directory": str(path.parent / "journal")}})
    await app.start()
    market = asyncio.create_task(_market(app))
    closed = asyncio.Event()
    asyncio.get_running_loop().add_reader(pipe.fileno(), closed.set)
    await asyncio.sleep(WARM_S)
    pipe.send((app.addresses[0], app.admin_address))
    await closed.wait()
    market.cancel()
    await app.drain()


async def _market(app: Any) -> None:
    buffer = EventBuffer(65_536)
    writer = EventWriter(buffer, [0])
    market = MarketSimulator(MarketConfig(symbols=(BTC,)), 1, app.clock.now_ns())
    first = True
    while True:
        updates = market.advance(app.clock.now_ns())
        if first:
            writer.write_snapshot(market.snapshot(0))
            first = False
        else:
            writer.write_all(updates)
        app.engine.on_events(buffer)
        buffer.clear()
        await asyncio.sleep(0.02)


# --- the callers --------------------------------------------------------------------------------------------


class _Load:
    """Calls in flight without a pause; keeps when each QUOTE was decided and received."""

    def __init__(self) -> None:
        self.answers = 0
        self.taken_back = 0
        self.last_decided_ns = 0
        self.last_received_ns = 0
        self._tasks: list[asyncio.Task[None]] = []

    def start(self, channels: list[Any]) -> None:
        self._tasks = [asyncio.create_task(self._call(channels[i % len(channels)])) for i in range(IN_FLIGHT)]

    async def _call(self, channel: Any) -> None:
        call = channel.unary_unary(_GET)
        while True:
            try:
                reply = expiry.GetExpiryResponse.FromString(await call(_REQUEST, timeout=10))
            except grpc.aio.AioRpcError as error:
                if error.code() is not grpc.StatusCode.UNAVAILABLE:
                    raise
                self.taken_back += 1  # decided before a kill, and had not left yet
                continue
            self.answers += 1
            if reply.decision == types.DECISION_QUOTE:
                self.last_decided_ns = max(self.last_decided_ns, reply.decided_at_utc_ns)
                self.last_received_ns = time.time_ns()

    async def stop(self) -> None:
        for task in self._tasks:
            task.cancel()
        for outcome in await asyncio.gather(*self._tasks, return_exceptions=True):
            if isinstance(outcome, Exception):
                raise outcome


async def _measure(addresses: tuple[str, str], file: Path, rounds: int) -> dict[str, Any]:
    apart = [("grpc.use_local_subchannel_pool", 1)]
    asking, admin_address = addresses
    channels = [grpc.aio.insecure_channel(asking, options=apart) for _ in range(5)]
    behind, load = channels.pop(), _Load()
    operator = grpc.aio.insecure_channel(admin_address, options=apart)
    try:
        load.start(channels)
        began_s = time.monotonic()
        figures: dict[str, dict[str, list[float]]] = {"shared": {}, "admin": {}, "file": {}}
        for _ in range(rounds):
            for way, kept in figures.items():
                await _until_quoted(load)
                if way == "file":
                    start_ns, done_ns = await _by_file(file)
                else:
                    start_ns, done_ns = await _by_rpc(behind if way == "shared" else operator)
                await asyncio.sleep(SETTLE_S)
                status = await _admin(
                    operator, "GetStatus", admin.GetStatusRequest(), admin.GetStatusResponse
                )
                decided_ns = load.last_decided_ns + status.wall_offset_ns
                for name, span_ns in (
                    ("begun_to_done", done_ns - start_ns),
                    ("begun_to_last_quote_decided", decided_ns - start_ns),
                    ("done_to_last_quote_decided", decided_ns - done_ns),
                    ("done_to_last_quote_received", load.last_received_ns - done_ns),
                ):
                    kept.setdefault(name, []).append(span_ns / NS_PER_MS)
                file.unlink(missing_ok=True)  # noqa: ASYNC240
                await _admin(operator, "Enable", admin.EnableRequest(reason="bench"), admin.EnableResponse)
        result: dict[str, Any] = {
            "in_flight": IN_FLIGHT,
            "kills": len(figures) * rounds,
            "answers_a_second": round(load.answers / (time.monotonic() - began_s)),
            "taken_back": load.taken_back,
        }
        result["ways"] = {
            way: {
                f"{name}_ms_{kind}": round(of(values), 2)
                for name, values in spans.items()
                for kind, of in (("median", statistics.median), ("max", max))
            }
            for way, spans in figures.items()
        }
        return result
    finally:
        await load.stop()
        for channel in (*channels, behind, operator):
            await channel.close(None)


async def _until_quoted(load: _Load) -> None:
    before_ns = time.time_ns()
    async with asyncio.timeout(READY_S):
        while load.last_received_ns <= before_ns:  # noqa: ASYNC110 (a plain counter)
            await asyncio.sleep(0.01)


async def _by_rpc(channel: Any) -> tuple[int, int]:
    start_ns = time.time_ns()
    await _admin(channel, "Kill", admin.KillRequest(reason="bench"), admin.KillResponse)
    return start_ns, time.time_ns()


async def _by_file(file: Path) -> tuple[int, int]:
    start_ns = time.time_ns()
    os.close(os.open(file, os.O_CREAT | os.O_WRONLY))
    return start_ns, time.time_ns()


async def _admin(channel: Any, method: str, request: Any, response: Any) -> Any:
    reply = await channel.unary_unary(_ADMIN + method)(request.SerializeToString(), timeout=10)
    return response.FromString(reply)
