"""kill −9 of a service, seen by a client that has quotes watched: after the restart each of them is live or ended, and
none was live meanwhile."""

import asyncio
import multiprocessing
import os
import random
import signal
import socket
import time
from multiprocessing.connection import Connection
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any

import pytest

from quote_expiry.v1 import quote_expiry_service_pb2 as expiry
from quotelife.inputs import Change
from quotelife.journal.format import Kind
from quotelife.journal.reader import Journal
from quotelife.journal.records import decode_change, decode_watch
from quotelife.records import WatchCode
from quotelife_client import (
    AsyncClient,
    AsyncWatcher,
    Expiry,
    ServiceError,
    Side,
    WatchEvent,
    WatchEventKind,
)
from reference.service_kit import CONFIG, running, write_config

LASTING = (
    CONFIG
    + """
postures:
  client_priority: {mode: step, life_max: 60s, step_table: [{p_at_or_above: 0, life: 60s}]}
  liquidity_provider: {mode: step, life_max: 1s, step_table: [{p_at_or_above: 0, life: 1s}]}
watch: {heartbeat: 250ms, withdraw_at: 1.0}
"""
)
SILENCE_S = 0.5
SLACK_S = 1.0  # what a busy machine may add
ENDS = (WatchEventKind.WITHDRAW, WatchEventKind.EXPIRED)


def serve(path: Path, port: int, pipe: Connection) -> None:
    async def run() -> None:
        async with running(
            path, address=f"127.0.0.1:{port}", journal={"directory": str(path.parent / "journal")}
        ):
            pipe.send("serving")
            await asyncio.Event().wait()

    asyncio.run(run())


async def started(path: Path, port: int) -> BaseProcess:
    ours, theirs = multiprocessing.get_context("spawn").Pipe(duplex=False)
    process = multiprocessing.get_context("spawn").Process(target=serve, args=(path, port, theirs))
    process.start()
    theirs.close()
    assert await asyncio.to_thread(ours.poll, 60)
    assert ours.recv() == "serving"
    return process


async def killed(process: BaseProcess) -> None:
    assert process.pid is not None
    os.kill(process.pid, signal.SIGKILL)
    await asyncio.to_thread(process.join, 30)
    assert process.exitcode == -signal.SIGKILL


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


class Oms:
    """Has quotes watched, and keeps what it was told of each."""

    def __init__(self, client: AsyncClient, watcher: AsyncWatcher) -> None:
        self.client, self.watcher = client, watcher
        self.answers: dict[str, Expiry] = {}
        self.events: list[WatchEvent] = []
        self.some = asyncio.Event()

    @property
    def ended(self) -> set[str]:
        return {event.quote_id for event in self.events if event.kind in ENDS}

    async def quote(self, name: str, rng: random.Random) -> None:
        fields: dict[str, Any] = {"instrument": "BTC-USDT", "side": Side.BUY, "edge": "20"}
        answer = await self.watcher.get_expiry(name, counterparty=rng.choice(("alpha", "beta")), **fields)
        assert answer.watched
        self.answers[name] = answer

    async def quoting(self, many: int, rng: random.Random) -> None:
        """Until the service dies: that one it may not have answered."""
        for k in range(many):
            try:
                await self.quote(f"q{k}", rng)
            except ServiceError:
                return
            if k == many // 4:
                self.some.set()


async def through_a_kill(folder: Path, seed: int, many: int) -> None:
    rng, port = random.Random(seed), free_port()
    path = write_config(folder, LASTING)
    process = await started(path, port)
    try:
        async with AsyncClient(f"127.0.0.1:{port}", timeout_s=5, attempts_max=1) as client:
            await client.wait_ready(10)
            events: list[WatchEvent] = []
            async with client.watch("oms", on_event=events.append) as watcher:
                oms = Oms(client, watcher)
                oms.events = events
                quoting = asyncio.create_task(oms.quoting(many, rng))
                await oms.some.wait()
                await asyncio.sleep(rng.uniform(0.0, 0.5))
                before = set(watcher.live_quotes())
                assert before
                await killed(process)
                await quoting
                dead_s = time.monotonic()
                while (gone_s := time.monotonic() - dead_s) < SILENCE_S + 0.3:
                    live = watcher.live_quotes()
                    assert gone_s < SILENCE_S + 0.2 or not live, (
                        "silent beyond its bound, and live in the view"
                    )
                    await asyncio.sleep(0.005)
                answered = dict(oms.answers)
                opened = watcher.connections
                process = await started(path, port)
                until_s = time.monotonic() + 20
                while watcher.connections == opened or not (
                    answered.keys() <= oms.ended | set(watcher.live_quotes())
                ):
                    missing = answered.keys() - oms.ended - set(watcher.live_quotes())
                    assert time.monotonic() < until_s, f"forgotten: {sorted(missing)[:10]} of {len(answered)}"
                    await asyncio.sleep(0.02)
                await agreed(client, watcher)
                for name in watcher.live_quotes():
                    assert name in answered and answered[name].expiry_utc_ns is not None
                assert before <= oms.ended | set(watcher.live_quotes())

                await oms.quote("after", rng)
                assert watcher.live("after")
                hit = expiry.Outcome(
                    outcome_id="o1",
                    decision_id=answered[min(answered)].decision_id,
                    kind=expiry.OUTCOME_KIND_HIT,
                )
                report = await client.report_outcomes([hit])
                assert (report.accepted, list(report.refused)) == (1, [])
        ended_in_journal(folder / "journal", set(answered))
    finally:
        if process.is_alive():
            await killed(process)


async def agreed(client: AsyncClient, watcher: AsyncWatcher) -> None:
    """What the service watches is what the client thinks of as live, and it waits for no acknowledgement."""
    until_s = time.monotonic() + 5 + SLACK_S
    while True:
        watch = (await client.status()).watch
        if (watch.live, watch.unacknowledged) == (len(watcher.live_quotes()), 0):
            return
        assert time.monotonic() < until_s, (watch.live, watch.unacknowledged, len(watcher.live_quotes()))
        await asyncio.sleep(0.05)


def ended_in_journal(folder: Path, names: set[str]) -> None:
    """Each was registered, and its end is recorded: by the engine, or by the owner's word."""
    journal = Journal(folder)
    named: dict[int, str] = {}
    over: set[int] = set()
    for record in journal.records((Kind.CHANGE, Kind.WATCH)):
        if record.kind == Kind.WATCH:
            said = decode_watch(record)
            if said["kind"] != WatchCode.REQUOTE_HINT:
                over.add(int(said["quote"]))
            continue
        change = decode_change(record)
        if change.kind is Change.WATCHED:
            named[change.payload["quote"]] = change.payload["name"]
        elif change.kind is Change.WATCH_UPDATED and change.payload["state"] >= 3:
            over.add(change.payload["quote"])
    assert names <= set(named.values())
    assert {name for quote, name in named.items() if quote not in over} <= {"after"}


@pytest.mark.parametrize("seed", [1])
async def test_every_quote_is_live_or_ended_after_a_kill(tmp_path: Path, seed: int) -> None:
    await through_a_kill(tmp_path, seed, 150)


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(2, 22))
async def test_every_quote_of_many_is_live_or_ended_after_a_kill(tmp_path: Path, seed: int) -> None:
    await through_a_kill(tmp_path, seed, 2_000)
