"""The event loop never waits for a device: syncs of 200 ms, segments closed every few answers, models copied."""

import asyncio
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import ClassVar

import pytest

from quotelife.journal.format import Kind
from quotelife.journal.reader import Journal
from quotelife.journal.records import decode_answer
from quotelife.journal.recovery import verify
from quotelife.journal.storage import DirectoryStorage, StorageFile
from quotelife_server.journaling import JournalLedger, OpenJournal
from quotelife_server.reply_store import ReplyStore
from quotelife_server.rpc import RpcError, waited
from quotelife_server.settings import JournalSettings
from reference.faulty_storage import FaultyFile, FaultyStorage
from reference.service_kit import Kit, S

SYNC_S = 0.2
STALL_S = 0.05
TRIES = 4  # the machine may hold up any one run; a loop that waits for the device is held up in each
BATCHES = 15
SEGMENTS = 5  # begun, the last perhaps empty: how many batches share one depends on disk and machine
BEGUN_S_MAX = 30.0


class SlowFile(FaultyFile):
    def sync(self) -> None:
        SlowStorage.synced_by.add(threading.get_ident())
        time.sleep(SlowStorage.sync_s)
        super().sync()


class SlowStorage(FaultyStorage):
    synced_by: ClassVar[set[int]] = set()
    sync_s = SYNC_S

    def create(self, name: str) -> StorageFile:
        return SlowFile(DirectoryStorage.create(self, name), self)

    def sync_names(self, name: str = "") -> None:
        self.synced_by.add(threading.get_ident())
        time.sleep(SlowStorage.sync_s)
        super().sync_names(name)


class Ledger:
    """A ledger on a slow disk, on the loop that runs."""

    def __init__(self, kit: Kit, folder: Path, durability: str) -> None:
        self.threads = ThreadPoolExecutor(2)
        self.now_ns = kit.clock.now_ns
        # Smaller than a configuration may ask for: closed after one batch.
        settings = JournalSettings(directory=str(folder), durability=durability)  # type: ignore[arg-type]
        settings = settings.model_copy(update={"segment_bytes": 8192})
        server = kit.config.server.model_copy(update={"journal": settings})
        self.journal = OpenJournal(server, kit.engine, "b00t", kit.clock.now_ns())
        self.ledger = JournalLedger(
            self.journal,
            ReplyStore(2**24, 24 * 3600 * S),
            now_ns=kit.clock.now_ns,
            call_soon=asyncio.get_running_loop().call_soon,
            in_thread=self._in_thread,
        )

    def _in_thread(self, work: Callable[[], int], done: Callable[[int | BaseException], None]) -> None:
        future = asyncio.get_running_loop().run_in_executor(self.threads, work)
        future.add_done_callback(lambda ended: done(ended.exception() or ended.result()))

    async def run(self, given: dict[bytes, bytes]) -> float:
        """Answers that left are added to ``given``; the longest time for which the loop ran nothing else."""
        self.ledger.begin()
        SlowStorage.synced_by.clear()
        SlowStorage.sync_s = SYNC_S
        longest = 0.0
        last = time.monotonic()
        running = True

        async def watch() -> None:
            nonlocal longest, last
            while running:
                await asyncio.sleep(0.002)
                now = time.monotonic()
                longest, last = max(longest, now - last), now

        async def answer(request_id: str) -> None:
            reply = request_id.encode() * 300
            try:
                found = self.ledger.answer([1], request_id, b"digest", b"request", reply, self.now_ns())
                given[request_id.encode()] = await waited(found)
            except RpcError:
                pass  # the policy, when the disk is behind

        last = time.monotonic()
        watcher = asyncio.create_task(watch())
        answers = []
        batches = 0
        end = last + BEGUN_S_MAX
        while batches < BATCHES or self.journal.writer.segment < SEGMENTS:
            assert time.monotonic() < end, f"{self.journal.writer.segment} segments of {batches} batches"
            answers += [asyncio.create_task(answer(f"r{batches}-{i}")) for i in range(4)]
            await asyncio.sleep(0.03)
            self.ledger.tick(self.now_ns())
            batches += 1
        await asyncio.wait_for(asyncio.gather(*answers), 30)
        running = False
        await watcher
        assert threading.get_ident() not in SlowStorage.synced_by
        SlowStorage.sync_s = 0.0
        await asyncio.to_thread(self.threads.shutdown)
        self.ledger.close()
        return longest


@pytest.mark.parametrize("durability", ["process-crash", "power-loss"])
async def test_the_loop_does_not_wait_for_a_slow_disk(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, durability: str
) -> None:
    monkeypatch.setattr("quotelife_server.journaling.DirectoryStorage", SlowStorage)
    stalls: list[float] = []
    for run in range(TRIES):
        given: dict[bytes, bytes] = {}
        folder = tmp_path / str(run) / "journal"
        folder.parent.mkdir()
        stalls.append(await Ledger(Kit(folder.parent), folder, durability).run(given))
        assert len(given) >= 4
        stored = {(a := decode_answer(r)).request_id: a.reply for r in Journal(folder).records([Kind.ANSWER])}
        assert {name: stored.get(name) for name in given} == given
        assert len(Journal(folder).segments) > 3
        assert verify(str(folder)).findings == []
        if stalls[-1] < STALL_S:
            return
    raise AssertionError(f"stalls of {stalls} s")
