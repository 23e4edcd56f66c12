"""The suites of ``quotelife bench``. Each is imported when it is asked for: together they import all there is."""

import multiprocessing
import os
import statistics
import tempfile
from concurrent.futures import ProcessPoolExecutor
from decimal import Decimal
from pathlib import Path
from typing import Any

import numpy as np

from quotelife.bench import (
    time_book,
    time_capture,
    time_clock,
    time_copy_and_write,
    time_decisions,
    time_engine,
    time_quality,
    time_reference,
    time_windows,
)
from quotelife.capture.segments import SegmentFiles
from quotelife.capture.writer import CaptureWriter
from quotelife.config import load_config
from quotelife.config.checks import POSTURE_NAMES
from quotelife.engine import Engine
from quotelife.errors import QuotelifeError
from quotelife.feed.binance import BinanceDecoder
from quotelife.feed.recorded import merge_recorded
from quotelife.records import EventBuffer, RequestRecord
from quotelife.sim.events import EventWriter
from quotelife.sim.market import BTC, MarketConfig, MarketSimulator
from quotelife.units import NS_PER_S

ON_THE_TAPE = frozenset(("engine", "decide", "capture", "ingest", "ledger", "trees", "withdraw"))
RECORDING = "binance/usdm/btcusdt_20240808.gz"
SIMULATED_S = 300


def measure(
    chosen: frozenset[str], data: Path | None, rounds: int, nautilus: Path | None, step_s: float
) -> dict[str, Any]:
    """The figures of the ``chosen`` suites by their names, and those of the tape where one of them takes it."""
    result: dict[str, Any] = {}
    if chosen & ON_THE_TAPE:
        tape, result["tape"] = _tape(data)
        result["events"] = len(tape)
    if "engine" in chosen:
        result["engine"] = _engine(tape, rounds)
        result["engine"]["instruments"] = _instruments(data, rounds)
    if "decide" in chosen:
        result["decide"] = _decide(tape, rounds)
    if "capture" in chosen:
        result["capture"] = _capture(tape, rounds)
    if "journal" in chosen:
        from quotelife_server.cli.bench_journal import bench_journal

        result["journal"] = bench_journal(rounds)
    if "restart" in chosen:
        from quotelife_server.cli.bench_journal import bench_restart

        result["restart"] = bench_restart(rounds)
    if "book" in chosen:
        from quotelife_server.cli.bench_book import bench_book

        result["book"] = bench_book(data, rounds, nautilus)
    if "ingest" in chosen:
        from quotelife_server.cli.bench_ingest import ingest

        result["ingest"] = ingest(tape, rounds, lambda: _engine_for(1))
    if "feeds" in chosen:
        from quotelife_server.cli.bench_feeds import bench_feeds

        result["feeds"] = bench_feeds(data, rounds)
    if "kill" in chosen:
        from quotelife_server.cli.bench_kill import bench_kill

        result["kill"] = bench_kill(rounds)
    if "withdraw" in chosen:
        from quotelife_server.cli.bench_withdraw import bench_withdraw

        result["withdraw"] = bench_withdraw(tape, rounds)
    if "overload" in chosen:
        from quotelife_server.cli.bench_overload import bench_overload

        result["overload"] = bench_overload(rounds)
    if "abuse" in chosen:
        from quotelife_server.cli.bench_abuse import bench_abuse

        result["abuse"] = bench_abuse(rounds)
    if "rpc" in chosen:
        from quotelife_server.cli.rpc_bench.run import bench_rpc

        result["rpc"] = bench_rpc(rounds, step_s)
    if "trees" in chosen:
        from quotelife_server.cli.bench_trees import bench_trees

        result["trees"] = bench_trees(rounds, lambda model: _decision_ns(tape, rounds, model)[0])
    if "ledger" in chosen:
        from quotelife_server.cli.bench_ledger import ledger_figures

        result["ledger"] = ledger_figures(tape, rounds)
    return result


def _tape(data: Path | None) -> tuple[EventBuffer, str]:
    """Events of one instrument, its index 0, and where they come from: a recording, else the simulator."""
    tape = EventBuffer(4_000_000)
    folder = data or (Path(os.environ["QUOTELIFE_DATA"]) if "QUOTELIFE_DATA" in os.environ else None)
    if folder is None:
        _simulate(tape)
        return tape, f"simulated, {SIMULATED_S} s"
    path = folder / RECORDING
    if not path.is_file():
        raise QuotelifeError(f"{path}: no such recording")
    buffer = EventBuffer(65536)
    decoder = BinanceDecoder("usdm", buffer)
    decoder.add_instrument("BTCUSDT", 0, Decimal("0.1"), Decimal("0.001"))
    for stamp, _, line, is_snapshot in merge_recorded([path]):
        buffer.clear()
        if is_snapshot:
            decoder.snapshot("BTCUSDT", line, stamp)
        else:
            decoder.message(line, stamp)
        tape.extend(buffer.array())
    return tape, RECORDING


def _simulate(tape: EventBuffer) -> None:
    market = MarketSimulator(MarketConfig(symbols=(BTC,)), 1, 0)
    writer = EventWriter(tape, [0])
    for second in range(1, SIMULATED_S + 1):
        updates = market.advance(second * NS_PER_S)
        if second == 1:
            writer.write_snapshot(market.snapshot(0))
        else:
            writer.write_all(updates)


def _engine_for(n: int, model: str = "logistic", mode: str = "tolerance") -> Engine:
    """An engine of ``n`` like instruments, the first driving the rest."""
    rows = ["version: 1", f"model: {{artifact: {model}}}", "postures:"]
    rows += [f"  {name}: {{mode: {mode}}}" for name in POSTURE_NAMES]
    rows.append("instruments:")
    for i in range(n):
        driver = "" if i == 0 else ", drivers: [I0]"
        rows.append(
            f"  - {{name: I{i}, venue: bench, symbol: S{i}, tick_size: 0.1, lot_size: 0.001, warmup: 0s{driver}}}"
        )
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "bench.yaml"
        path.write_text("\n".join(rows) + "\n", encoding="utf-8")
        return Engine(load_config(path))


def _rss_bytes() -> int:
    text = Path("/proc/self/statm").read_text(encoding="ascii")
    return int(text.split()[1]) * os.sysconf("SC_PAGE_SIZE")


def _spread(n: int, tape: EventBuffer, total: int, shift_ns: int = 0) -> EventBuffer:
    """``total`` events: the tape's first total/n for each of n instruments, messages interleaved, ``shift_ns`` on."""
    events = tape.array()[: max(1, total // n)]
    last = np.flatnonzero(events["flags"] & 1)
    events = events[: last[-1] + 1] if len(last) else events
    message = np.concatenate([[0], np.cumsum(events["flags"] & 1)[:-1]])
    everything = np.tile(events, n)
    everything["receive_ns"] += shift_ns
    everything["instrument"] = np.repeat(np.arange(n, dtype=np.uint32), len(events))
    order = np.lexsort((np.tile(np.arange(len(events)), n), everything["instrument"], np.tile(message, n)))
    out = EventBuffer(len(everything))
    out.extend(everything[order])
    return out


def _engine(tape: EventBuffer, rounds: int) -> dict[str, Any]:
    n = len(tape)
    times: dict[str, list[float]] = {"reference": [], "book": [], "book_and_windows": [], "quality": []}
    for _ in range(rounds):
        times["reference"].append(time_reference(tape)[0] / n)
        times["book"].append(time_book(tape)[0] / n)
        engine = _engine_for(1)
        times["book_and_windows"].append(time_engine(engine, tape) / n)
        ns, looks = time_quality(engine, tape)  # a part of the one before
        times["quality"].append(ns / n)
    medians = {name: statistics.median(values) for name, values in times.items()}
    out: dict[str, Any] = {f"{name}_ns_per_event": round(value, 1) for name, value in medians.items()}
    for name in ("book", "book_and_windows"):
        out[f"{name}_ratio_to_reference"] = round(medians[name] / medians["reference"], 2)
    out["quality_share_of_windows"] = round(medians["quality"] / medians["book_and_windows"], 3)
    out["quality_looks_per_event"] = round(looks / n, 3)
    out["windows"] = _windows(tape, rounds)
    return out


def _windows(tape: EventBuffer, rounds: int) -> dict[str, Any]:
    results: dict[str, list[float]] = {}
    for _ in range(rounds):
        for name, value in time_windows(tape).items():
            results.setdefault(name, []).append(value)
    medians = {name: statistics.median(values) for name, values in results.items()}
    out: dict[str, Any] = {f"{name}_ns_per_event": round(value, 1) for name, value in medians.items()}
    out["slowest_to_fastest"] = round(max(medians.values()) / min(medians.values()), 2)
    return out


def _instruments(data: Path | None, rounds: int) -> dict[str, Any]:
    """Event cost and memory by number of instruments, each number in a process of its own with fresh memory."""
    context = multiprocessing.get_context("spawn")
    out: dict[str, Any] = {}
    for n in (10, 100, 1000, 10_000):
        with ProcessPoolExecutor(1, mp_context=context) as pool:
            out[str(n)] = pool.submit(_instruments_of, n, data, rounds).result()
    base = out["10"]["ns_per_event"]
    for figures in out.values():
        figures["ratio_to_10_instruments"] = round(figures["ns_per_event"] / base, 2)
    return out


def _instruments_of(n: int, data: Path | None, rounds: int) -> dict[str, Any]:
    tape, _ = _tape(data)
    total = max(200_000, 100 * n)
    before = _rss_bytes()
    engine = _engine_for(n)
    time_engine(engine, _spread(n, tape, total))  # fills the windows; what is timed is the steady state
    resident = (_rss_bytes() - before) // n
    costs, ratios = [], []
    for round_ in range(1, rounds + 1):
        later = _spread(n, tape, total, round_ * 400 * NS_PER_S)
        reference = time_reference(tape)[0] / len(tape)
        costs.append(time_engine(engine, later) / len(later))
        ratios.append(costs[-1] / reference)
    return {
        "ns_per_event": round(statistics.median(costs), 1),
        "ratio_to_reference": round(statistics.median(ratios), 2),
        # Below that the tape's own memory would pass for the instruments'.
        "resident_bytes_per_instrument": resident if n >= 1000 else None,
        "reserved_bytes_per_instrument": engine.instrument_status(0, 0).memory_bytes,
    }


def _decision_ns(
    tape: EventBuffer, rounds: int, model: str, mode: str = "tolerance", edge_ticks: float = 0.0
) -> tuple[float, float]:
    """(p50, p99) of a decision in ns after the tape, medians over rounds."""
    n = 20_000
    clock = time_clock()
    p50s, p99s = [], []
    for _ in range(rounds):
        engine = _engine_for(1, model, mode)
        time_engine(engine, tape)
        request = RequestRecord(0, 1, now_ns=engine.now_ns, size_lots=100.0, edge_ticks=edge_ticks)
        # 20 µs apart, as at 50,000 requests a second, so that no window is empty at the end.
        times = time_decisions(engine, request, n, 20_000)
        times.sort()
        p50s.append(float(times[n // 2]) - clock)
        p99s.append(float(times[n * 99 // 100]) - clock)
    return statistics.median(p50s), statistics.median(p99s)


def _decide(tape: EventBuffer, rounds: int) -> dict[str, Any]:
    out: dict[str, Any] = {}
    reference = statistics.median(time_reference(tape)[0] / len(tape) for _ in range(rounds))
    for name, model, mode, edge_ticks in (
        ("first_passage", "first_passage", "tolerance", 0.0),
        ("logistic", "logistic", "tolerance", 0.0),
        ("expected_value", "logistic", "expected_value", 20.0),
    ):
        p50, p99 = _decision_ns(tape, rounds, model, mode, edge_ticks)
        out[name] = {
            "p50_ns": round(p50),
            "p99_ns": round(p99),
            "p50_ratio_to_reference_event": round(p50 / reference, 1),
        }
    for figures in out.values():
        figures["p50_ratio_to_logistic"] = round(figures["p50_ns"] / out["logistic"]["p50_ns"], 2)
    return out


def _capture(tape: EventBuffer, rounds: int) -> dict[str, Any]:
    """A capture, checksums and writes included, against memcpy and write(2) of the same messages."""
    block_bytes = 256 * 1024
    captured, plain = [], []
    head = _engine_for(1).config_payload()
    for round_ in range(rounds):
        with tempfile.TemporaryDirectory() as folder:
            writer = CaptureWriter(
                SegmentFiles(Path(folder), compress=False), boot_id="bench", block_bytes=block_bytes
            )
            writer.begin(head, start_ns=0)
            captured.append(time_capture(writer, tape) / len(tape))
            if not writer.close() or writer.records != len(tape):
                raise QuotelifeError(f"{folder}: the disk would not take the capture: {writer.fault}")
            file = os.open(Path(folder) / f"plain{round_}", os.O_WRONLY | os.O_CREAT)
            try:
                plain.append(time_copy_and_write(file, tape, block_bytes) / len(tape))
            finally:
                os.close(file)
    ns, reference = statistics.median(captured), statistics.median(plain)
    return {
        "ns_per_event": round(ns, 1),
        "copy_and_write_ns_per_event": round(reference, 1),
        "ratio_to_copy_and_write": round(ns / reference, 2),
    }
