"""A whole service, its market data and its callers for benches, each in a process of its own.

The service has one core; callers, attackers and the publisher of market data share the others, so that what is measured
is the service and not who gets the processor. Everything ends with the process that made it.
"""

import asyncio
import gc
import multiprocessing
import os
import socket
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager, suppress
from functools import partial
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import numpy as np
import uvloop

from quote_expiry.v1 import quote_expiry_service_pb2 as expiry
from quote_expiry.v1 import types_pb2 as types
from quotelife.errors import QuotelifeError
from quotelife.records import EventBuffer
from quotelife_server.cli.bench_http2 import Address

GET_EXPIRY = "/quote_expiry.v1.QuoteExpiryService/GetExpiry"
REQUEST = expiry.GetExpiryRequest(
    rfq_id="rfq-4711", quote_id="quote-4711", instrument="BTC", side=types.SIDE_BUY
).SerializeToString()
READY_S = 180.0
WARM_S = 6.0
ANSWER_S = 120.0
QUOTES_A_TURN = 10
TURN_S = 0.001
BOOK_S = 0.02
# At tens of thousands of answers a second a journal is more than many a disk takes: the service then says UNAVAILABLE.
MEMORY = "/dev/shm" if os.access("/dev/shm", os.W_OK) else None
JOURNAL_IS = "on, in memory" if MEMORY else "on, on disk"
CONFIG = """
version: 1
model: {artifact: first_passage}
instruments:
  - {name: BTC, venue: bench, symbol: BTC, tick_size: 0.1, lot_size: 0.001, warmup: 0s}
  - {name: FAST, venue: bench, symbol: FAST, tick_size: 0.1, lot_size: 0.001, warmup: 0s, quotes_only: true}
feeds:
  - {kind: binary, name: bench, transport: tcp, address: "127.0.0.1:PORT", instruments: [BTC, FAST]}
server:
  transport: native
  address: 127.0.0.1:0
  metrics_address: null
  kill_file: null
  drain: {notice: 0ns}
  log_level: error
"""


def cores() -> tuple[set[int], set[int]]:
    """For the service, and for everybody else. Raises ``QuotelifeError`` where there is one only."""
    first, *others = sorted(os.sched_getaffinity(0))
    if not others:
        raise QuotelifeError(
            "this bench needs two processor cores: one for the service, one for those who call it"
        )
    return {first}, set(others)


# --- processes --------------------------------------------------------------------------------------------------------


@contextmanager
def child(run: Callable[..., None], *arguments: Any, pinned: set[int]) -> Iterator[Connection]:
    """``run(pipe, *arguments)`` in a process of its own on these cores, which ends when the pipe is closed."""
    context = multiprocessing.get_context("spawn")
    ours, theirs = context.Pipe()
    process = context.Process(target=_pinned, args=(pinned, run, theirs, *arguments), daemon=True)
    process.start()
    theirs.close()
    try:
        yield ours
    finally:
        ours.close()
        process.join(10)
        if process.is_alive():
            process.kill()
            process.join()


def _pinned(pinned: set[int], run: Callable[..., None], pipe: Connection, *arguments: Any) -> None:
    os.sched_setaffinity(0, pinned)
    run(pipe, *arguments)


def told(pipe: Connection, seconds: float = ANSWER_S) -> Any:
    """What a child says next. Raises ``QuotelifeError`` where it does not."""
    try:
        if pipe.poll(seconds):
            answer = pipe.recv()
            if isinstance(answer, Exception):
                raise QuotelifeError(f"a process of the bench failed: {answer}")
            return answer
    except EOFError:
        pass
    raise QuotelifeError("a process of the bench says nothing")


def _go_first(priority: int) -> None:
    """Whoever tells the time of something must not wait for others of its core between that and what it tells: it would
    be their time. Where that is not allowed it has to be put up with."""
    with suppress(PermissionError):
        os.sched_setscheduler(0, os.SCHED_FIFO, os.sched_param(priority))


def may_go_first() -> bool:
    """Whether those who tell times do; what they tell elsewhere is not to be compared with it."""
    before = os.sched_getscheduler(0), os.sched_getparam(0)
    _go_first(1)
    granted = os.sched_getscheduler(0) == os.SCHED_FIFO
    os.sched_setscheduler(0, *before)
    return granted


def asked(pipe: Connection, *what: Any) -> Any:
    pipe.send(what)
    return told(pipe)


def spin(pipe: Connection) -> None:
    """Fills what others leave of a core, until the pipe is closed: where cores share execution units, a neighbour that
    is busy now and idle then would be what is measured."""
    os.sched_setscheduler(0, os.SCHED_IDLE, os.sched_param(0))
    pipe.send("spinning")
    while not pipe.poll(0):
        for _ in range(10_000):
            pass


# --- the service ------------------------------------------------------------------------------------------------------


class RunningService:
    """A service in a process of its own, with the market data that ``publish`` gives it."""

    def __init__(self, pipe: Connection, address: Address, unix_socket: str | None) -> None:
        self._pipe = pipe
        self.address = address
        self.good_address: Address = unix_socket or address

    def figures(self) -> dict[str, Any]:
        """Since they were last asked for: ``cpu_s``, ``lag_ns`` of each batch of market data, answers by status
        code; and ``rss`` now, in bytes."""
        figures: dict[str, Any] = asked(self._pipe, "figures")
        return figures


@contextmanager
def running_service(
    overrides: Mapping[str, object] | None = None, *, market: bool = True, journal: bool = True
) -> Iterator[RunningService]:
    ours, others = cores()
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(dir=MEMORY)))
        port = 1
        if market:
            port = told(stack.enter_context(child(publish, pinned=others)))
        path = folder / "config.yaml"
        text = CONFIG.replace("PORT", str(port))
        if not market:
            head, _, tail = text.partition("feeds:")
            text = head + tail.partition("\n")[2].partition("\n")[2]
        path.write_text(text, encoding="utf-8")
        given: dict[str, object] = {**(overrides or {})}
        if journal:
            given["journal"] = {
                "directory": str(folder / "journal"),
                "keep_bytes": 3 * 2**26,
                "segment_bytes": 2**26,
            }
        pipe = stack.enter_context(child(_serve, path, given, pinned=ours))
        host, port = told(pipe, READY_S)
        unix_socket = given.get("unix_socket")
        yield RunningService(pipe, (host, port), None if unix_socket is None else str(unix_socket))


def _serve(pipe: Connection, path: Path, overrides: Mapping[str, object]) -> None:
    uvloop.run(_serve_until_closed(pipe, path, overrides))


async def _serve_until_closed(pipe: Connection, path: Path, overrides: Mapping[str, object]) -> None:
    from quotelife_server import log
    from quotelife_server.app import Application, open_feeds

    log.configure("critical")
    lags: list[int] = []

    def timed(*arguments: Any) -> Any:
        config, instruments, clock, sink, greeks = arguments

        def applied(buffer: EventBuffer) -> None:
            oldest_ns = int(buffer.array()["exchange_ns"][0])
            sink(buffer)
            lags.append(time.time_ns() - oldest_ns)

        return open_feeds(config, instruments, clock, applied, greeks)

    app = Application(path, overrides=overrides, open_feeds=timed)
    await app.start()
    loop = asyncio.get_running_loop()
    closed = asyncio.Event()
    before: dict[str, Any] = {}

    def figures() -> dict[str, Any]:
        cpu_s, answers = time.process_time(), app.metrics.answers
        codes: dict[str, int] = {}
        for (_, code), n in answers.items():
            codes[code] = codes.get(code, 0) + n
        told = {
            "cpu_s": cpu_s - before.get("cpu_s", 0.0),
            "answers": {code: n - before.get("codes", {}).get(code, 0) for code, n in codes.items()},
            "lag_ns": np.array(lags),
            "rss": rss_bytes(),
            "in_flight": app.service.in_flight.count,
        }
        before.update(cpu_s=cpu_s, codes=codes)
        lags.clear()
        return told

    def answer() -> None:
        try:
            pipe.recv()
        except EOFError:
            loop.remove_reader(pipe.fileno())
            closed.set()
            return
        pipe.send(figures())

    loop.add_reader(pipe.fileno(), answer)
    if app.feeds:
        await asyncio.sleep(WARM_S)
    gc.collect()
    figures()
    host, _, port = app.addresses[0].rpartition(":")
    pipe.send((host, int(port)))
    await closed.wait()
    await app.drain()


def rss_bytes() -> int:
    with open("/proc/self/statm", encoding="ascii") as file:
        return int(file.read().split()[1]) * os.sysconf("SC_PAGE_SIZE")


# --- market data ------------------------------------------------------------------------------------------------------


def publish(pipe: Connection) -> None:
    """A book from the simulator and ``QUOTES_A_TURN`` best prices every ``TURN_S``, by the binary record; each event
    says when it was sent. Tells its port first."""
    from quotelife.sim.events import EventWriter
    from quotelife.sim.market import BTC, MarketConfig, MarketSimulator
    from quotelife_client.binary import BinaryEncoder, quote

    _go_first(2)
    listener = socket.create_server(("127.0.0.1", 0))
    pipe.send(listener.getsockname()[1])
    listener.settimeout(READY_S)
    out, _ = listener.accept()
    out.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    encoder = BinaryEncoder(1)
    buffer = EventBuffer(65_536)
    writer = EventWriter(buffer, [0])
    market = MarketSimulator(MarketConfig(symbols=(BTC,)), 1, time.time_ns())
    market.advance(time.time_ns())
    writer.write_snapshot(market.snapshot(0))
    turn = 0
    due_s = time.monotonic()
    while not pipe.poll(0):
        now_ns = time.time_ns()
        if turn % round(BOOK_S / TURN_S) == 0:
            if turn:
                writer.write_all(market.advance(now_ns))
            rows = buffer.array()
            rows["exchange_ns"] = now_ns
            rows["receive_ns"] = 0
            records = [rows[k : k + 1].tobytes() for k in range(len(rows))]
            buffer.clear()
        else:
            records = []
        for k in range(QUOTES_A_TURN):
            bid = 1000 + (turn + k) % 7
            records.append(quote(1, bid, 5, bid + 1, 5, exchange_utc_ns=now_ns))
        try:
            for each in encoder.frames(records):
                out.sendall(each)
        except OSError:
            return
        turn += 1
        due_s += TURN_S
        time.sleep(max(0.0, due_s - time.monotonic()))
        if time.monotonic() - due_s > 1.0:  # it was kept from running: what it missed is not made up for
            due_s = time.monotonic()


# --- callers ----------------------------------------------------------------------------------------------------------


def call(pipe: Connection, address: Address, connections: int, known: bool = True, few: bool = False) -> None:
    """Does what it is told: ``("closed", in_flight, seconds)`` or ``("open", rate, seconds, seed)``. ``known``: as
    ``Caller`` has it; ``few``: its calls leave its core to others for most of the time."""
    from quotelife_server.cli.bench_caller import Caller, closed_loop, open_loop

    loads: dict[str, Callable[..., Any]] = {"closed": closed_loop, "open": open_loop}
    if few:
        _go_first(1)
    try:
        callers = [Caller(address, GET_EXPIRY, REQUEST, known=known) for _ in range(connections)]
        gc.freeze()
        gc.disable()
        while True:
            kind, *arguments = pipe.recv()
            pipe.send(loads[kind](callers, *arguments))
    except EOFError:
        return
    except Exception as error:
        pipe.send(error)


calling = partial(child, call)
"""``calling(address, connections, known, few, pinned=...)``: a process that makes load."""


def ratio(value: float, to: float) -> float:
    return round(value / to, 3) if to else 0.0
