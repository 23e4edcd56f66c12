"""``quotelife bench rpc``: what a call costs our two front ends, and servers of others that decide nothing, in one run.

Every server is a process of its own and lives through the whole run; rounds go through all of them in turns, and the
figures are medians over rounds.
"""

import os
import re
import statistics
import tempfile
import time
import urllib.request
from collections.abc import Mapping
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from quotelife.errors import QuotelifeError
from quotelife_server.cli.progress import Progress
from quotelife_server.cli.rpc_bench.build import build_all, cache_folder
from quotelife_server.cli.rpc_bench.fleet import CALL_S, EVENTS_PER_S, MARKET, Fleet
from quotelife_server.cli.rpc_bench.load import CONNECTIONS, Load, RefusedError, Taken, Target
from quotelife_server.cli.rpc_bench.processes import Cores

IN_FLIGHT = (1, 8, 64)
FRONT_ENDS = ("native", "native_no_op", "grpc_aio", "grpc_aio_no_op", "cpp_no_op", "go_no_op")
ALSO = ("unix_socket", "tls", "stream_expiry")
EVENTS_SHARE_MIN = 0.98
SETTLE_S = 1.5
STEP_S = 1.0
SPINNING = "in C, polls a socket that does not block, HTTP/2 by hand, one connection, one call in flight"
# What must be reached: figure, of whom, beside what of whom, at most.
MUST = {
    "cpu_to_grpc_aio": ("cpu", "grpc_aio_no_op", 1 / 20),
    "cpu_to_cpp": ("cpu", "cpp_no_op", 0.6),
    "p50_to_cpp": ("p50", "cpp_no_op", 1.2),
    "p50_to_grpc_aio": ("p50", "grpc_aio_no_op", 1 / 5),
}
EVENTS_P50_MAX = 1.3


def bench_rpc(
    rounds: int,
    step_s: float = STEP_S,
    rows: tuple[str, ...] = (*FRONT_ENDS, *ALSO, MARKET),
    cache: Path | None = None,
) -> dict[str, Any]:
    """``rows``: those of ``FRONT_ENDS``, ``ALSO`` and ``MARKET`` that are wanted; ``step_s``: length of a measured
    step; ``cache``: where built programs are kept. CPU is the server's, in microseconds a call. Raises
    ``QuotelifeError``."""
    with Progress() as progress, ExitStack() as stack:
        cores, tell, busy = Cores(), Tell(progress), os.getloadavg()[0]
        programs = build_all(cache_folder() if cache is None else cache, tell)
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="quotelife-rpc-")))
        load = Load(programs, cores, folder, step_s)
        if not (load.has_h2load or load.has_cpp or load.has_spin):
            whys = "; ".join({**programs.missing, **load.missing}.values())
            raise QuotelifeError(f"nothing is here that could call a server: {whys}")
        fleet = Fleet(stack, cores, folder, programs, load)
        tell("starting servers")
        fleet.start(rows)
        figures = Rounds(load, fleet, rows)
        for number in range(1, rounds + 1):
            figures.measure(number, rounds, progress)
        return {"load_average_before": round(busy, 1), **figures.result(cores)}


class Tell:
    """Says on the terminal what is being done."""

    def __init__(self, progress: Progress, where: str = "bench rpc") -> None:
        self._progress, self._where = progress, where

    def __call__(self, what: str) -> None:
        self._progress(f"{self._where}: {what}")

    def within(self, where: str) -> "Tell":
        return Tell(self._progress, f"{self._where}, {where}")


class Rounds:
    """Figures by row and name, one a round."""

    def __init__(self, load: Load, fleet: Fleet, rows: tuple[str, ...]) -> None:
        self._load, self._fleet = load, fleet
        self._rows = [row for row in (*FRONT_ENDS, *ALSO) if row in rows]
        self.figures: dict[str, dict[str, list[float]]] = {}
        self.market: dict[str, list[float]] = {}
        self.short: list[float] = []
        self.refused: dict[str, str] = {}

    def measure(self, number: int, rounds: int, progress: Progress) -> None:
        tell = Tell(progress).within(f"round {number} of {rounds}")
        for row in self._rows:
            target = self._fleet.targets.get(row)
            if target is None or row in self.refused:
                continue
            try:
                self._row(row, target, tell.within(row))
            except RefusedError as error:
                self.refused[row] = str(error)
        if MARKET in self._fleet.targets and MARKET not in self.refused and self._load.has_spin:
            tell(f"round trips with {EVENTS_PER_S:,} market events a second")
            try:
                self._with_events()
            except RefusedError as error:
                self.refused[MARKET] = str(error)

    def _row(self, row: str, target: Target, tell: Tell) -> None:
        load, stream = self._load, row == "stream_expiry"
        for in_flight in (64,) if row in ALSO else IN_FLIGHT:
            if load.has_h2load and not stream:
                tell(f"h2load, {in_flight} in flight")
                self._keep(row, f"h2load_{in_flight}", load.h2load(target, in_flight))
            if load.has_cpp:
                tell(f"gRPC C++ client, {in_flight} in flight")
                self._keep(row, f"cpp_client_{in_flight}", load.cpp(target, in_flight, stream=stream))
        if load.has_spin and target.authority is None:
            tell("round trips")
            taken = load.spin(target, stream=stream)
            self._add(row, "round_trip_p50_us", taken.p50_us)
            self._add(row, "round_trip_p99_us", taken.p99_us)

    def _keep(self, row: str, name: str, taken: Taken) -> None:
        self._add(row, f"cpu_us_{name}", taken.cpu_us)
        self._add(row, f"calls_per_s_{name}", taken.calls_per_s)

    def _add(self, row: str, name: str, value: float | None) -> None:
        if value is not None:
            self.figures.setdefault(row, {}).setdefault(name, []).append(value)

    def _with_events(self) -> None:
        """Round trips of a service with a quiet market and with a busy one."""
        market, target = self._fleet.market, self._fleet.targets[MARKET]
        assert market is not None
        idle = self._load.spin(target)
        market.child.tell("busy")
        try:
            time.sleep(SETTLE_S)
            before, before_s = self._events(), time.monotonic()
            busy = self._load.spin(target)
            per_s = (self._events() - before) / (time.monotonic() - before_s)
        finally:
            market.child.tell("idle")
        time.sleep(SETTLE_S)
        if per_s < EVENTS_SHARE_MIN * EVENTS_PER_S:
            self.short.append(per_s)  # this round tells nothing; another may
            return
        for name, value in (
            ("idle_p50_us", idle.p50_us),
            ("busy_p50_us", busy.p50_us),
            ("idle_p99_us", idle.p99_us),
            ("busy_p99_us", busy.p99_us),
            ("events_per_s", per_s),
        ):
            assert value is not None
            self.market.setdefault(name, []).append(value)

    def _events(self) -> float:
        """That the service has taken so far."""
        with urllib.request.urlopen(f"http://{self._fleet.metrics}/metrics", timeout=CALL_S) as page:
            text = page.read().decode()
        found = re.search(r'^quotelife_feed_events(?:_total)?\{feed="market"\} (\S+)', text, re.MULTILINE)
        if found is None:
            raise QuotelifeError("/metrics: no count of the feed's events")
        return float(found[1])

    # What comes of it.

    def result(self, cores: Cores) -> dict[str, Any]:
        load = self._load
        out: dict[str, Any] = {
            "cores": cores.words(),
            "calls": f"GetExpiry of {load.request_bytes} B, answers of {load.reply_bytes} B, from 8 in flight on over "
            f"{CONNECTIONS} connections; ids of requests are new in each call, h2load sends none",
            "spinning_client": SPINNING,
            "services": "decide each call anew (features, trees, posture, life) and journal it; checked: all are QUOTE",
        }
        if self._fleet.missing:
            out["missing"] = self._fleet.missing
        if self.short and not self.market:
            self.refused[MARKET] = f"only {max(self.short):,.0f} events a second came in"
        if self.refused:
            out["refused"] = self.refused
        medians = {
            row: {name: statistics.median(values) for name, values in figures.items()}
            for row, figures in self.figures.items()
            if row not in self.refused
        }
        loads = [
            name for name in ("h2load", "cpp_client") if getattr(load, f"has_{name.removesuffix('_client')}")
        ]
        for name, rows, in_flight in (("front_ends", FRONT_ENDS, IN_FLIGHT), ("native_also", ALSO, (64,))):
            if group := self._group(rows, loads, in_flight, medians):
                out[name] = group
        market = {} if MARKET in self.refused else {k: statistics.median(v) for k, v in self.market.items()}
        if market:
            market["rounds"] = len(self.market["events_per_s"])
            out[f"round_trip_with_{EVENTS_PER_S // 1000}_k_events_per_s"] = {
                k: round(v, 1) for k, v in market.items()
            }
        out["must_reach"] = judged(medians, market)
        return out

    def _group(
        self,
        rows: tuple[str, ...],
        loads: list[str],
        in_flight: tuple[int, ...],
        medians: Mapping[str, Mapping[str, float]],
    ) -> dict[str, dict[str, float | None]]:
        names = [
            f"{figure}_{name}_{n}"
            for figure in ("cpu_us", "calls_per_s")
            for name in loads
            for n in in_flight
        ]
        names += ["round_trip_p50_us", "round_trip_p99_us"] if self._load.has_spin else []
        places = {name: 0 if name.startswith("calls") else 1 for name in names}
        return {
            row: {
                name: round(medians[row][name], places[name] or None)
                if name in medians.get(row, {})
                else None
                for name in names
            }
            for row in rows
            if row in self._rows
        }


def judged(
    medians: Mapping[str, Mapping[str, float]], market: Mapping[str, float]
) -> dict[str, dict[str, float | bool | None]]:
    """Each ratio that must be reached, beside its bound; ``None`` where a figure of it is not there.

    CPU is under h2load where it is there, else under the C++ client.
    """

    def figure(row: str, kind: str) -> float | None:
        of = medians.get(row, {})
        if kind == "p50":
            return of.get("round_trip_p50_us")
        return of.get("cpu_us_h2load_64", of.get("cpu_us_cpp_client_64"))

    out: dict[str, dict[str, float | bool | None]] = {}
    for name, (kind, other, at_most) in MUST.items():
        out[name] = _judged(figure("native", kind), figure(other, kind), at_most)
    out["p50_with_events_to_idle"] = _judged(
        market.get("busy_p50_us"), market.get("idle_p50_us"), EVENTS_P50_MAX
    )
    return out


def _judged(value: float | None, beside: float | None, at_most: float) -> dict[str, float | bool | None]:
    if value is None or not beside:
        return {"is": None, "at_most": at_most, "reached": None}
    return {"is": round(value / beside, 3), "at_most": at_most, "reached": value / beside <= at_most}
