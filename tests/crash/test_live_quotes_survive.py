"""kill −9 with thousands of live quotes: after the restart each is withdrawn, has expired, or was told its end."""

import json
import multiprocessing
import os
import random
import signal
import time
from multiprocessing.connection import Connection
from pathlib import Path

import numpy as np
import pytest

from quotelife.engine import Engine
from quotelife.inputs import Change, DerivedTap
from quotelife.journal.format import Kind
from quotelife.journal.reader import Journal
from quotelife.journal.records import decode_change, decode_watch
from quotelife.journal.recovery import recover
from quotelife.journal.storage import DirectoryStorage
from quotelife.records import (
    WATCH_DTYPE,
    DecisionCode,
    DecisionRecord,
    QuoteStateCode,
    RequestRecord,
    WatchCode,
)
from reference.market_kit import CONFIG, START_NS, market
from reference.session_kit import Session

S = 1_000_000_000
LIVE = 10_000  # of the slow runs
FEWER = 2_000
WARM_NS = START_NS + 8 * S


def live_on(folder: Path, seed: int, live: int, pipe: Connection) -> None:
    """Register quotes until there are ``live``, then let market and client go on; after each commit the parent is told
    of what was registered."""
    run = Session(folder / "journal", folder / "capture", CONFIG, start_ns=START_NS, segment_bytes=4 << 20)
    rng = random.Random(seed)
    decision = DecisionRecord()
    told = registered = 0
    for buffer in market(600):
        run.engine.on_events(buffer)
        now_ns = run.engine.now_ns
        if now_ns < WARM_NS:
            continue
        for _ in range(50 if registered < live else 2):
            request = RequestRecord(0, rng.choice((1, -1)), now_ns=now_ns)
            run.engine.decide(request, decision)
            if decision.kind != DecisionCode.QUOTE:
                continue
            registered = run.engine.watch(
                now_ns,
                owner=f"oms{registered % 7}",
                name=str(registered),
                requests=[request],
                decisions=[decision],
                expiry_ns=now_ns + rng.choice((2, 60, 600)) * S,
            )
        if registered and rng.random() < 0.5:
            quote = rng.randrange(1, registered + 1)
            if rng.random() < 0.5:
                run.engine.watch_updated(now_ns, quote, rng.choice((2, 3, 7)), size_lots=1.0)
            else:
                run.engine.watch_acknowledged(now_ns, quote, 0)
        run.engine.on_timer(now_ns)
        run.flush()
        if registered > told:
            told = registered
            pipe.send((registered, run.engine.watching.counts().live))


def kill_at(folder: Path, seed: int, live: int, after_s: float) -> int:
    """Start it, kill it so long after it has ``live`` quotes (or at once, below 0); ids up to this came back."""
    ours, theirs = multiprocessing.get_context("spawn").Pipe(duplex=False)
    child = multiprocessing.get_context("spawn").Process(target=live_on, args=(folder, seed, live, theirs))
    child.start()
    theirs.close()
    known = held = 0
    until = time.monotonic() + 300
    wanted = live if after_s >= 0 else 500
    while held < wanted and known < live + 2000 and time.monotonic() < until:
        assert ours.poll(120)
        known, held = ours.recv()
    time.sleep(max(after_s, 0.0))
    os.kill(child.pid or 0, signal.SIGKILL)
    child.join(60)
    assert child.exitcode == -signal.SIGKILL
    while ours.poll():
        try:
            known, _ = ours.recv()
        except EOFError:
            break
    return known


def ended_before(folder: Path) -> set[int]:
    """Quotes whose end is in the journal, and was acknowledged where that was a withdrawal."""
    ended: set[int] = set()
    withdrawn: set[int] = set()
    for record in Journal(str(folder / "journal")).records((Kind.CHANGE, Kind.WATCH)):
        if record.kind is Kind.WATCH:
            said = decode_watch(record)
            if said["kind"] == WatchCode.EXPIRED:
                ended.add(int(said["quote"]))
            elif said["kind"] == WatchCode.WITHDRAW:
                withdrawn.add(int(said["quote"]))
            continue
        change = decode_change(record)
        quote = change.payload.get("quote")
        acknowledged = change.kind is Change.WATCH_ACKNOWLEDGED and quote in withdrawn
        if acknowledged or (
            change.kind is Change.WATCH_UPDATED and change.payload["state"] >= QuoteStateCode.FILLED
        ):
            ended.add(quote)
    return ended


def none_is_forgotten(folder: Path, seed: int, live: int, after_s: float) -> None:
    known = kill_at(folder, seed, live, after_s)
    assert known > 400
    started = time.perf_counter()
    storage = DirectoryStorage(str(folder / "journal"))
    state = recover(storage, START_NS).state
    restored = {entry["quote"] for entry in state.live_quotes(START_NS)}
    withdrawn = {entry["quote"] for entry in state.live_quotes(START_NS) if "said" in entry}
    now_ns = max(entry["expiry_ns"] for entry in state.live_quotes(START_NS)) - 590 * S
    engine, tap = Engine(CONFIG, start_ns=now_ns), DerivedTap()
    engine.record_to(tap)
    assert state.restore(engine, now_ns) == []
    assert withdrawn <= {
        each.quote for each in engine.live_quotes() if each.state == QuoteStateCode.WITHDRAWN
    }
    took_s = time.perf_counter() - started
    storage.close()
    for k in range(700):
        engine.on_timer(now_ns + k * S)
    said = [np.frombuffer(each, WATCH_DTYPE)[0] for each in tap.watches()]
    reported = {int(each["quote"]) for each in said if each["kind"] != WatchCode.REQUOTE_HINT}
    assert reported == restored - withdrawn, "the next boot says no withdrawal a second time"
    assert engine.watching.counts().live == 0
    forgotten = set(range(1, known + 1)) - restored - ended_before(folder)
    assert forgotten == set(), f"seed {seed}, killed after {after_s:.3f} s"
    assert engine.watching.next_quote > known
    print(json.dumps({"live": len(restored), "restart_s": round(took_s, 3)}))


@pytest.mark.parametrize("seed", [1, 2])
def test_a_killed_process_forgets_no_live_quote(tmp_path: Path, seed: int) -> None:
    none_is_forgotten(tmp_path, seed, FEWER, random.Random(seed).uniform(0, 0.5) if seed % 2 else -1.0)


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(100))
def test_a_hundred_killed_processes_forget_no_live_quote(tmp_path: Path, seed: int) -> None:
    none_is_forgotten(tmp_path, seed, LIVE, random.Random(seed).uniform(0, 2.0) if seed % 5 else -1.0)
