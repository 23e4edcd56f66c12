"""``quotelife bench journal`` and ``restart``: what a decision costs on its way to the disk, and how soon back."""

import os
import statistics
import tempfile
import time
from pathlib import Path
from typing import Any

from quotelife.bench import time_journal, time_plain_writes
from quotelife.errors import QuotelifeError
from quotelife.journal.index import segment_names, sidecar_name
from quotelife.journal.recovery import recover, verify
from quotelife.journal.storage import DirectoryStorage
from quotelife.journal.writer import JournalWriter


def bench_journal(rounds: int) -> dict[str, Any]:
    """Processor time of a decision and its answer of common size, committed 64 at a time, against write(2) alone."""
    request, reply, batch = bytes(range(154)), bytes(255) + bytes(156), 64
    out: dict[str, Any] = {}
    for name, power_loss, n in (("process_crash", False, 64 * 400), ("power_loss", True, 64 * 100)):
        journaled, plain = [], []
        for _ in range(rounds):
            with tempfile.TemporaryDirectory() as folder:
                storage = DirectoryStorage(Path(folder) / "journal")
                writer = JournalWriter(storage, boot_id="bench", power_loss=power_loss)
                journaled.append(time_journal(writer, n, batch, request, reply, power_loss) / n)
                writer.close()
                storage.close()
                pair = storage.size("0000000001.qlj") // n
                file = os.open(Path(folder) / "plain", os.O_WRONLY | os.O_CREAT)
                try:
                    plain.append(time_plain_writes(file, bytes(pair * batch), n // batch, power_loss) / n)
                finally:
                    os.close(file)
        ns, reference = statistics.median(journaled), statistics.median(plain)
        out[name] = {
            "cpu_ns_per_decision_and_answer": round(ns),
            "plain_write_ns": round(reference),
            "ratio_to_plain_write": round(ns / reference, 2),
            "bytes": pair,
        }
    return out


def bench_restart(rounds: int, decisions: int = 500_000) -> dict[str, Any]:
    """Seconds to recover a million records left by a killed process, with and without their sidecars."""
    out: dict[str, Any] = {"records": 2 * decisions}
    request, reply = bytes(range(154)), bytes(411)
    with tempfile.TemporaryDirectory() as folder:
        storage = DirectoryStorage(folder)
        writer = JournalWriter(storage, boot_id="bench")
        time_journal(writer, decisions, 64, request, reply, False)
        writer.finish_segments()
        names = [name for _, name in segment_names(storage)]
        out["bytes"] = sum(storage.size(name) for name in names)
        # A start seals the last segment: each round has it as the killed process left it.
        last, left = names[-1], storage.read(names[-1])
        times = []
        for _ in range(rounds):
            (Path(folder) / last).write_bytes(left)
            Path(folder, sidecar_name(last)).unlink(missing_ok=True)
            start = time.monotonic()
            recovered = recover(storage, 0)
            times.append(time.monotonic() - start)
            if recovered.records < 2 * decisions:
                raise QuotelifeError(f"{recovered.records} of {2 * decisions} records came back")
        out["seconds"] = round(statistics.median(times), 3)
        start = time.monotonic()
        if verify(storage).findings:
            raise QuotelifeError("the journal does not read back")
        out["verify_seconds"] = round(time.monotonic() - start, 3)
        for name in names:
            Path(folder, sidecar_name(name)).unlink()
        start = time.monotonic()
        recover(storage, 0)
        out["seconds_without_sidecars"] = round(time.monotonic() - start, 3)
    return out
