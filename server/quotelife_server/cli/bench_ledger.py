"""``quotelife bench ledger``: what the journal adds to a ``GetExpiry``, in CPU time of the whole process.

Requests go through the handlers, ``IN_FLIGHT`` at a time, without a transport: what a transport costs is the same
with a journal and without. Kernel time of the writes and the worker thread's syncs are in it.
"""

import asyncio
import gc
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Literal

import numpy as np
import uvloop

from quote_expiry.v1 import quote_expiry_service_pb2 as expiry
from quote_expiry.v1 import types_pb2 as types
from quotelife.config import load_config
from quotelife.engine import Engine
from quotelife.journal.answers import AnswerIndex
from quotelife.journal.format import SegmentHeader, id_hash
from quotelife.journal.index import SegmentIndex, segment_name
from quotelife.journal.storage import DirectoryStorage
from quotelife.records import EventBuffer
from quotelife_server.clock import SystemClock
from quotelife_server.handlers import Service, State
from quotelife_server.in_flight import InFlight
from quotelife_server.journaling import JournalLedger, OpenJournal
from quotelife_server.metrics import Metrics
from quotelife_server.reply_store import ReplyStore
from quotelife_server.rpc import CallContext, Unary, waited
from quotelife_server.settings import JournalSettings, Server, ServiceConfig

IN_FLIGHT = 64
DECISIONS = (
    1_280  # of one kind before the next kind has its turn: what else the machine does then hits all alike
)
REPEATS = 20  # in one round
ANSWERS = 30_000  # in a segment of 64 MiB
SEGMENTS = (8, 30, 240)  # closed ones; the last are those of a day at 83 requests a second
GET_EXPIRY = "/quote_expiry.v1.QuoteExpiryService/GetExpiry"
CONFIG = """
version: 1
model: {artifact: logistic}
instruments:
  - {name: I0, venue: bench, symbol: S0, tick_size: 0.1, lot_size: 0.001, warmup: 0s, stale: {min: 10min, max: 10min}}
tiers: {regular: {posture: liquidity_provider}}
counterparties: {client: {tier: regular}}
"""

Durability = Literal["process-crash", "power-loss"]


class _Bench:
    """One service, with a journal or without."""

    def __init__(
        self, config: ServiceConfig, tape: EventBuffer, folder: Path, durability: Durability | None
    ) -> None:
        self.clock = SystemClock(10**9)
        now_ns = self.clock.now_ns()
        self.engine = Engine(config, start_ns=now_ns - 10**12)
        self.replies = ReplyStore(2**26, 86_400 * 10**9)
        self.threads = ThreadPoolExecutor(2)
        self.ledger: JournalLedger | None = None
        if durability is not None:
            settings = JournalSettings(directory=str(folder / durability), durability=durability)
            self.ledger = JournalLedger(
                OpenJournal(Server(journal=settings), self.engine, f"{now_ns:x}", now_ns),
                self.replies,
                now_ns=self.clock.now_ns,
                call_soon=lambda work: asyncio.get_running_loop().call_soon(work),
                in_thread=self._in_thread,
            )
        shifted = tape.array().copy()
        shifted["receive_ns"] += now_ns - int(shifted["receive_ns"][-1])
        events = EventBuffer(len(shifted))
        events.extend(shifted)
        self.engine.on_events(events)
        self.service = Service(
            self.engine,
            self.clock,
            boot_id=f"{now_ns:x}",
            metrics=Metrics(),
            replies=self.replies,
            in_flight=InFlight(2 * IN_FLIGHT),
            retry_delay_ns=1,
            ledger=self.ledger,
        )
        self.service.set_state(State.SERVING)
        self.asked = 0

    def _in_thread(self, work: Callable[[], int], done: Callable[[int | BaseException], None]) -> None:
        future = asyncio.get_running_loop().run_in_executor(self.threads, work)
        future.add_done_callback(lambda ended: done(ended.exception() or ended.result()))

    async def run(self, decisions: int) -> float:
        """CPU seconds a decision."""
        payloads = [self._payload(self.asked + i) for i in range(decisions)]
        self.asked += decisions
        pending: Iterator[bytes] = iter(payloads)
        entry = self.service.methods[GET_EXPIRY]
        assert isinstance(entry, Unary)
        context = CallContext(GET_EXPIRY)

        async def caller() -> None:
            for payload in pending:
                await waited(self.service.unary(entry, payload, context))
                await asyncio.sleep(0)  # a reply is written, another request comes in

        gc.collect()
        started = time.process_time()
        await asyncio.gather(*(caller() for _ in range(IN_FLIGHT)))
        used = time.process_time() - started
        if self.ledger is not None:
            self.ledger.tick(self.clock.now_ns())
        return used / decisions

    def _payload(self, n: int) -> bytes:
        return expiry.GetExpiryRequest(
            request_id=f"bench-{n}",
            rfq_id=f"rfq-{n}",
            instrument="I0",
            side=types.SIDE_BUY if n % 2 else types.SIDE_SELL,
            counterparty="client",
            size=types.Size(quantity="2.5", unit=types.SIZE_UNIT_BASE_QUANTITY),
            edge="0.1",
        ).SerializeToString()

    def close(self) -> None:
        self.threads.shutdown()
        if self.ledger is not None:
            self.ledger.close()


@contextmanager
def _benches(tape: EventBuffer) -> Iterator[dict[str, _Bench]]:
    with tempfile.TemporaryDirectory(prefix="quotelife-bench-") as folder:
        path = Path(folder) / "bench.yaml"
        path.write_text(CONFIG, encoding="utf-8")
        config = load_config(path, ServiceConfig)
        benches = {
            "without": _Bench(config, tape, Path(folder), None),
            "process_crash": _Bench(config, tape, Path(folder), "process-crash"),
            "power_loss": _Bench(config, tape, Path(folder), "power-loss"),
        }
        try:
            yield benches
        finally:
            for bench in benches.values():
                bench.close()


def _index_of(segment: int) -> SegmentIndex:
    """Of a closed segment with ``ANSWERS`` answers; offsets lead nowhere."""
    column = np.array([id_hash(f"bench-{segment}-{n}".encode()) for n in range(ANSWERS)], dtype=np.uint64)
    column.sort()
    numbers = np.arange(ANSWERS, dtype=np.uint64)
    columns = {name: np.empty(0, dtype=np.uint64) for name in SegmentIndex.columns}
    columns |= {"id_hash": column, "id_offset": numbers, "id_ns": numbers}
    header = SegmentHeader(segment, segment * ANSWERS, 0, "bench", b"", b"")
    end = (segment + 1) * ANSWERS
    return SegmentIndex(segment_name(segment), header, 0, end, ANSWERS, True, 0, ANSWERS, 0, **columns)


def index_figures(rounds: int) -> dict[str, Any]:
    """What it costs to learn that a request id is new, by the number of closed segments; a day has the last."""
    unseen = [f"unseen-{n}".encode() for n in range(20_000)]
    out: dict[str, Any] = {"answers_a_segment": ANSWERS}
    index = AnswerIndex(DirectoryStorage(".", lock=False), [], {})
    for segment in range(1, SEGMENTS[-1] + 1):
        index.add(_index_of(segment))
        if segment not in SEGMENTS:
            continue
        times = []
        for _ in range(rounds):
            started = time.process_time_ns()
            for request_id in unseen:
                index.find(request_id)
            times.append((time.process_time_ns() - started) / len(unseen))
        out[f"new_id_ns_{segment}_segments"] = round(statistics.median(times))
    out["ratio"] = round(
        out[f"new_id_ns_{SEGMENTS[-1]}_segments"] / out[f"new_id_ns_{SEGMENTS[0]}_segments"], 2
    )
    return out


def ledger_figures(tape: EventBuffer, rounds: int) -> dict[str, Any]:
    """Medians over interleaved repeats; differences and ratios are of neighbours."""

    async def measure() -> dict[str, Any]:
        with _benches(tape) as benches:
            times: dict[str, list[float]] = {name: [] for name in benches}
            for repeat in range(-REPEATS, rounds * REPEATS):
                for name, bench in benches.items():
                    used = await bench.run(DECISIONS)
                    if repeat >= 0:  # those before fill caches and tables
                        times[name].append(used * 1e6)
            out: dict[str, Any] = {"decisions_a_round": DECISIONS * REPEATS, "in_flight": IN_FLIGHT}
            for name, values in times.items():
                out[f"{name}_cpu_us"] = round(statistics.median(values), 2)
            for name in ("process_crash", "power_loss"):
                pairs = list(zip(times[name], times["without"], strict=True))
                out[f"{name}_adds_us"] = round(statistics.median(a - b for a, b in pairs), 2)
                out[f"{name}_ratio"] = round(statistics.median(a / b for a, b in pairs), 3)
                ledger = benches[name].ledger
                assert ledger is not None
                out[f"{name}_bytes_a_decision"] = round(ledger.figures.bytes / benches[name].asked)
            return out

    return {**uvloop.run(measure()), "index": index_figures(rounds)}
