"""What watching costs an event, and how long it takes from an event to the bytes of a withdrawal."""

import statistics
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np

from quotelife.bench import time_engine
from quotelife.config import load_config
from quotelife.engine import Engine
from quotelife.inputs import Change, DerivedTap
from quotelife.records import (
    HORIZONS_NS,
    WATCH_DTYPE,
    EventBuffer,
    EventFlags,
    EventKindCode,
    SideCode,
    WatchCode,
)
from quotelife.units import NS_PER_S

IDLE = (0, 10_000, 100_000)
LIVE = 10_000
EVENTS = 500_000
MARKETS = (10, 10_000)
LOOKED_AT = 10
FAR_TICKS = 1e9
HOUR_NS = 3600 * NS_PER_S
# No regime and no silence ends a quote here: what is timed is what watching costs while nothing does.
CONFIG = """
version: 1
model: {artifact: first_passage}
regimes:
  {volatility_ratio: 1e6, spread_volatility_ratio: 1e6, decorrelation_z: 1e6, update_frequency_ratio: 1e6}
watch: {hints_most: 0}
instruments:
  - name: I0
    venue: bench
    symbol: S0
    tick_size: 0.1
    lot_size: 0.001
    warmup: 0s
    stale: {min: 1h, max: 1h}
"""


def _engine(instruments: int = 1) -> Engine:
    head, first = CONFIG.split("  - name: I0\n")
    more = (f"  - name: I{k}\n" + first.replace("symbol: S0", f"symbol: S{k}") for k in range(instruments))
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "bench.yaml"
        path.write_text(head + "".join(more), encoding="utf-8")
        return Engine(load_config(path))


def quote(
    number: int, instrument: str, side: int, mid_ticks: float, h_ticks: float, end_ns: int
) -> dict[str, Any]:
    """A live quote as a journal holds one, of which no decision is known."""
    return {
        "quote": number,
        "owner": "bench",
        "name": str(number),
        "rfq": "",
        "boot": "",
        "decisions": [],
        "expiry_ns": end_ns,
        "unwatched_ns": end_ns,
        "size_lots": 1.0,
        "counterparty": "",
        "desk": None,
        "session": None,
        "cancels": False,
        "state": 1,
        "withdraw": 0,
        "sides": [
            {
                "instrument": instrument,
                "side": side,
                "mid_ticks": mid_ticks,
                "h_ticks": h_ticks,
                "edge_ticks": None,
                "p": [0.01] * len(HORIZONS_NS),
                "posture": 1,
                "mode": 1,
                "regime": 0,
                "quality": 0,  # whatever the data is now, it has not got worse
            }
        ],
    }


def idle_figures(tape: EventBuffer, rounds: int) -> dict[str, Any]:
    """Processor time of an event by the number of live quotes that it does not touch, and the ratio to none."""
    events = tape.array()[:EVENTS]
    half = len(events) // 2
    warm, timed = EventBuffer(half), EventBuffer(len(events) - half)
    warm.extend(events[:half])
    timed.extend(events[half:])
    end_ns = int(events["receive_ns"].max()) + HOUR_NS
    times: dict[int, list[float]] = {n: [] for n in IDLE}
    for _ in range(rounds):
        for n in IDLE:
            engine = _engine()
            time_engine(engine, warm)
            for number in range(1, n + 1):
                payload = quote(number, "I0", (1, -1)[number % 2], 1.0, FAR_TICKS + number, end_ns)
                engine.apply_watch(Change.WATCHED, payload, engine.now_ns)
            assert engine.watching.counts().live == n
            times[n].append(time_engine(engine, timed) / len(timed))
            assert engine.watching.counts().live == n, "none may be touched"
    out: dict[str, Any] = {}
    base = statistics.median(times[0])
    for n in IDLE:
        median = statistics.median(times[n])
        out[str(n)] = {"ns_per_event": round(median, 1), "ratio_to_none": round(median / base, 3)}
    return out


def timer_figures(rounds: int) -> dict[str, Any]:
    """One look of the timer at ``LOOKED_AT`` live quotes, by the number of instruments that have none, beside a timer
    of everything."""
    times: dict[tuple[str, int], list[int]] = {}
    for _ in range(rounds):
        for instruments in MARKETS:
            engine = _engine(instruments)
            for number in range(1, LOOKED_AT + 1):
                payload = quote(number, f"I{number - 1}", 1, 1.0, FAR_TICKS, NS_PER_S + 10 * HOUR_NS)
                engine.apply_watch(Change.WATCHED, payload, NS_PER_S)
            now_ns = NS_PER_S
            for name, let_pass in (("looks", engine.on_watch_timer), ("timers", engine.on_timer)):
                for _ in range(50):
                    now_ns += 50_000_000
                    began = time.perf_counter_ns()
                    let_pass(now_ns)
                    times.setdefault((name, instruments), []).append(time.perf_counter_ns() - began)
            assert engine.watching.counts().live == LOOKED_AT
    few, many = MARKETS
    median = {key: statistics.median(taken) for key, taken in times.items()}
    return {
        f"look_us_of_{few}_instruments": round(median["looks", few] / 1e3, 2),
        f"look_us_of_{many}_instruments": round(median["looks", many] / 1e3, 2),
        "ratio": round(median["looks", many] / median["looks", few], 2),
        f"timer_us_of_{many}_instruments": round(median["timers", many] / 1e3, 2),
    }


def trigger_figures(rounds: int) -> dict[str, Any]:
    """From handing an event to the engine until its withdrawal has been told to the sinks, with ``LIVE`` quotes live:
    each event ends one of them."""
    taken: list[int] = []
    for _ in range(rounds):
        engine, book = _engine(), Steps()
        tap = DerivedTap()
        engine.record_to(tap)
        engine.on_events(book.snapshot())
        for number in range(1, LIVE + 1):
            payload = quote(number, "I0", 1, book.mid, 2.0 * number, book.now_ns + HOUR_NS)
            engine.apply_watch(Change.WATCHED, payload, book.now_ns)
        for _ in range(1000):
            events = book.down()
            began = time.perf_counter_ns()
            engine.on_events(events)
            took = time.perf_counter_ns() - began
            said = [np.frombuffer(each, WATCH_DTYPE)[0] for each in tap.watches()]
            if sum(int(each["kind"]) == WatchCode.WITHDRAW for each in said):
                taken.append(took)
    assert len(taken) >= 900 * rounds, "each step should end one"
    p50, p99 = np.percentile(taken, (50, 99))
    return {
        "live": LIVE,
        "withdrawals": len(taken),
        "p50_us": round(p50 / 1e3, 2),
        "p99_us": round(p99 / 1e3, 2),
    }


class Steps:
    """A book whose spread goes down a tick a message."""

    def __init__(self, now_ns: int = NS_PER_S, mid: int = 1_000_000) -> None:
        self.now_ns = now_ns
        self.mid = float(mid)
        self._bid = mid - 1
        self._buffer = EventBuffer(4096)
        self._sequence = 1

    def snapshot(self) -> EventBuffer:
        """The book as it is first, 1,500 levels a side."""
        buffer = self._buffer
        buffer.clear()
        buffer.append(EventKindCode.SNAPSHOT_BEGIN, instrument=0, receive_ns=self.now_ns)
        for k in range(1500):
            for side, price in ((SideCode.BID, self._bid - k), (SideCode.ASK, self._bid + 2 + k)):
                buffer.append(
                    EventKindCode.LEVEL,
                    instrument=0,
                    side=side,
                    receive_ns=self.now_ns,
                    flags=EventFlags.SNAPSHOT,
                    price_ticks=price,
                    size_lots=10,
                )
        buffer.append(
            EventKindCode.SNAPSHOT_END,
            instrument=0,
            receive_ns=self.now_ns,
            flags=EventFlags.LAST,
            sequence=1,
        )
        return buffer

    def down(self, by_ns: int = 1_000_000) -> EventBuffer:
        """Best bid and offer a tick lower, in one message."""
        buffer = self._buffer
        buffer.clear()
        self.now_ns += by_ns
        self._sequence += 1
        self._bid -= 1
        self.mid -= 1.0
        for k, (side, price, lots) in enumerate(
            (
                (SideCode.BID, self._bid + 1, 0),
                (SideCode.ASK, self._bid + 2, 10),
                (SideCode.BID, self._bid, 10),
            )
        ):
            buffer.append(
                EventKindCode.LEVEL,
                instrument=0,
                side=side,
                receive_ns=self.now_ns,
                sequence=self._sequence,
                flags=EventFlags.LAST if k == 2 else 0,
                price_ticks=price,
                size_lots=lots,
            )
        return buffer


def bench_withdraw(tape: EventBuffer, rounds: int) -> dict[str, Any]:
    """All of it; see the functions."""
    from quotelife_server import log
    from quotelife_server.cli.bench_withdraw_wire import wire_figures

    log.configure("critical")  # standard output is the figures'
    return {
        "event_by_idle_quotes": idle_figures(tape, rounds),
        "look_at_live_quotes": timer_figures(rounds),
        "event_to_sinks": trigger_figures(rounds),
        "event_to_bytes_written": wire_figures(LIVE, journal=True, rounds=rounds),
        "event_to_bytes_written_without_journal": wire_figures(LIVE, journal=False, rounds=rounds),
    }
