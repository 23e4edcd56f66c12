"""A service killed under load at random moments: what it has answered is never lost, and never answered otherwise.

A real process on a simulated venue; the client notes every answer. ``QUOTELIFE_KILLS`` sets the number of kills
(200 for the full figure), ``QUOTELIFE_SEED`` repeats a run.
"""

import asyncio
import os
import random
import signal
import sys
import time
from collections import Counter
from pathlib import Path

import grpc
import grpc.aio
import yaml

from quote_expiry.v1 import quote_expiry_service_pb2 as expiry
from quote_expiry.v1 import types_pb2 as types
from quotelife.journal.format import Kind
from quotelife.journal.reader import Journal
from quotelife.journal.records import decode_answer
from quotelife.journal.recovery import verify
from quotelife_server.demo.processes import Child, Children
from reference.service_kit import GET_EXPIRY

KILLS = int(os.environ.get("QUOTELIFE_KILLS", "4"))
CALLERS = 32
UP_S = 60.0
LOAD_S = 0.6
LONG_LOAD_S = 5.0  # of one in four: by then the service quotes
EARLY = 0.15  # share of the kills that come at any moment of a start, answered anything or not
GONE = {grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.CANCELLED, grpc.StatusCode.DEADLINE_EXCEEDED}


class Client:
    """Asks on and on; ``answers`` holds what came back, ``open`` what was asked and not answered."""

    def __init__(self, socket: Path, rng: random.Random) -> None:
        self._socket = socket
        self._rng = rng
        self._asked = 0
        self.answers: dict[str, bytes] = {}
        self.open: set[str] = set()
        self.retried = 0
        self.decisions: Counter[int] = Counter()

    async def load(self, up: asyncio.Event) -> None:
        """Until the service is gone. ``up`` is set with the first answer."""
        async with grpc.aio.insecure_channel(
            f"unix:{self._socket}",
            options=[("grpc.initial_reconnect_backoff_ms", 50), ("grpc.max_reconnect_backoff_ms", 100)],
        ) as channel:
            method = channel.unary_unary(GET_EXPIRY)
            callers = [asyncio.create_task(self._caller(method, up)) for _ in range(CALLERS)]
            try:
                await asyncio.gather(*callers)
            finally:
                for caller in callers:
                    caller.cancel()
                await asyncio.gather(*callers, return_exceptions=True)

    async def _caller(self, method: grpc.aio.UnaryUnaryMultiCallable, up: asyncio.Event) -> None:
        while True:
            request_id = self._next_id()
            try:
                reply: bytes = await method(
                    self.payload(request_id), timeout=UP_S, wait_for_ready=not up.is_set()
                )
            except grpc.aio.AioRpcError as error:
                assert error.code() in GONE, error
                if up.is_set():
                    return
                continue
            up.set()
            self._note(request_id, reply)

    def _next_id(self) -> str:
        draw = self._rng.random()
        if self.answers and draw < 0.1:
            return self._rng.choice(list(self.answers)[-2000:])
        if self.open and draw < 0.2:
            return self._rng.choice(sorted(self.open))
        self._asked += 1
        request_id = f"kill-{self._asked}"
        self.open.add(request_id)
        return request_id

    def _note(self, request_id: str, reply: bytes) -> None:
        self.open.discard(request_id)
        before = self.answers.setdefault(request_id, reply)
        assert before == reply, f"{request_id} was answered twice, and differently"
        self.retried += before is not reply

    async def check(self, count: int) -> None:
        """Old answers are given again, byte for byte; waits for the service."""
        known = list(self.answers)
        sample = {*known[-count:], *self._rng.sample(known, min(count, len(known)))}
        async with grpc.aio.insecure_channel(f"unix:{self._socket}") as channel:
            method = channel.unary_unary(GET_EXPIRY)
            for request_id in sample:
                reply = await method(self.payload(request_id), timeout=UP_S, wait_for_ready=True)
                assert reply == self.answers[request_id], f"{request_id}: another answer after the restart"

    @staticmethod
    def payload(request_id: str) -> bytes:
        n = int(request_id.rpartition("-")[2])
        return expiry.GetExpiryRequest(
            request_id=request_id,
            instrument="BTC-USDT" if n % 3 else "ETH-USDT",
            side=(types.SIDE_BUY, types.SIDE_SELL, types.SIDE_TWO_WAY)[n % 3],
            size=types.Size(quantity=str(1 + n % 7), unit=types.SIZE_UNIT_LOTS),
        ).SerializeToString()


def write_config(folder: Path, venue: str) -> Path:
    path = folder / "config.yaml"
    config = {
        "version": 1,
        "model": {"artifact": "logistic"},
        "instruments": [
            {
                "name": f"{symbol}-USDT",
                "venue": "binance-usdm",
                "symbol": f"{symbol}USDT",
                "tick_size": tick_size,
                "lot_size": 0.001,
                "warmup": "0s",
            }
            for symbol, tick_size in (("BTC", 0.1), ("ETH", 0.01))
        ],
        "server": {
            "address": None,
            "unix_socket": str(folder / "quotelife.sock"),
            "metrics_address": None,
            "journal": {"directory": str(folder / "journal"), "segment_bytes": 4 * 2**20},
            "replies": {"bytes_max": 2**20},
            "drain": {"notice": "0ns"},
        },
        "feeds": [
            {
                "kind": "binance",
                "name": "venue",
                "market": "usdm",
                "ws_url": f"ws://{venue}",
                "rest_url": f"http://{venue}",
                "instruments": ["BTC-USDT", "ETH-USDT"],
            }
        ],
    }
    path.write_text(yaml.safe_dump(config), encoding="utf-8")
    return path


async def start(children: Children, config: Path) -> Child:
    command = [sys.executable, "-m", "quotelife_server.cli", "serve", "--config", str(config)]
    return await children.start("service", command)


async def kill(service: Child) -> None:
    assert service.process.returncode is None, service.failure("ended by itself")
    service.process.send_signal(signal.SIGKILL)
    await service.process.wait()


async def test_nothing_answered_is_lost_by_kills_under_load(tmp_path: Path) -> None:
    seed = int(os.environ.get("QUOTELIFE_SEED", random.SystemRandom().randrange(2**32)))
    rng = random.Random(seed)
    client = Client(tmp_path / "quotelife.sock", rng)
    starts: list[float] = []
    async with Children() as children:
        venue = await children.start(
            "venue", [sys.executable, "-m", "quotelife_server.simvenue", "--seed", "5"]
        )
        listening = await venue.said(lambda line: "port" in line, UP_S)
        config = write_config(tmp_path, f"{listening['host']}:{listening['port']}")
        for left in reversed(range(KILLS)):
            service = await start(children, config)
            began = time.monotonic()
            if rng.random() < EARLY and (starts or left):  # one at least has answered something
                await asyncio.sleep(rng.uniform(0, 2.0))
                await kill(service)
                continue
            up = asyncio.Event()
            load = asyncio.create_task(client.load(up))
            await asyncio.wait_for(up.wait(), UP_S)
            starts.append(time.monotonic() - began)
            await client.check(20)
            await asyncio.sleep(rng.uniform(0, rng.choice((LOAD_S, LOAD_S, LOAD_S, LONG_LOAD_S))))
            await kill(service)
            await load
        service = await start(children, config)
        await client.check(500)
        await service.stop()
        assert service.process.returncode == 0, service.failure("did not stop")

    journal = Journal(tmp_path / "journal")
    assert verify(str(tmp_path / "journal")).findings == [], f"seed {seed}"
    stored: dict[str, bytes] = {}
    for record in journal.records([Kind.ANSWER]):
        answer = decode_answer(record)
        stored[answer.request_id.decode()] = answer.reply
    lost = [request_id for request_id, reply in client.answers.items() if stored.get(request_id) != reply]
    assert lost == [], f"seed {seed}"
    ids = Counter(record.decision_id for record in journal.records([Kind.DECISION]))
    assert [name for name, times in ids.items() if times > 1] == [], f"seed {seed}"
    told = Counter(
        expiry.GetExpiryResponse.FromString(reply).decision_id for reply in client.answers.values()
    )
    assert all(times == 1 for times in told.values()), f"seed {seed}"
    kinds = Counter(expiry.GetExpiryResponse.FromString(reply).decision for reply in client.answers.values())
    print(
        f"seed {seed}: {KILLS} kills, {len(client.answers)} answers ({client.retried} retries, "
        f"{kinds[types.DECISION_QUOTE]} quotes), 0 lost; start {min(starts):.2f} to {max(starts):.2f} s"
    )
    assert len(client.answers) > 20 * KILLS
