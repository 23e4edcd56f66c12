"""``quotelife bench rpc``: what a call costs our two front ends, and servers of others that decide nothing, in one run.

Every server is a process of its own and lives through the whole run; rounds go through all of them in turns. Figures
are medians. The host's speed drifts within seconds, so each load goes to all servers before the next one begins, round
trips are taken in short slices, all servers in each, forwards and backwards by turns, and a ratio that must be reached
is the median of those of single rounds (CPU) or slices (round trips).
"""

import os
import re
import statistics
import tempfile
import time
import urllib.request
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any, TypeVar

import numpy as np

from quotelife.errors import QuotelifeError
from quotelife_server.cli.progress import Progress
from quotelife_server.cli.rpc_bench.build import build_all, cache_folder
from quotelife_server.cli.rpc_bench.fleet import CALL_S, EVENTS_PER_S, MARKET, Fleet
from quotelife_server.cli.rpc_bench.load import CONNECTIONS, H2LOAD, SLICES, Load, RefusedError, Target
from quotelife_server.cli.rpc_bench.processes import Cores

IN_FLIGHT = (1, 8, 64)
IN_FLIGHT_ALSO = 64  # all that rows of ALSO are measured with
FRONT_ENDS = ("native", "native_no_op", "grpc_aio", "grpc_aio_no_op", "cpp_no_op", "go_no_op")
ALSO = ("unix_socket", "tls", "stream_expiry")
EVENTS_SHARE_MIN = 0.98
SETTLE_S = 0.5
STEP_S = 1.0
SPINNING = "in C, polls a socket that does not block, HTTP/2 by hand, one connection, one call in flight"
# What must be reached: figure of native, beside that of whom, at most.
MUST = {
    "cpu_to_grpc_aio": ("cpu", "grpc_aio_no_op", 1 / 20),
    "cpu_to_cpp": ("cpu", "cpp_no_op", 0.6),
    "p50_to_cpp": ("p50", "cpp_no_op", 1.2),
    "p50_to_grpc_aio": ("p50", "grpc_aio_no_op", 1 / 5),
}
EVENTS_P50_MAX = 1.3
# The figures of a kind; the first of them that both rows have is taken.
OF_KIND = {"cpu": ("cpu_us_h2load_64", "cpu_us_cpp_client_64"), "p50": ("round_trip_p50_us",)}

When = tuple[int, int]  # a round, and the slice of it; loads are not sliced and have 0
Values = Mapping[When, float]
Row = TypeVar("Row")


def bench_rpc(
    rounds: int,
    step_s: float = STEP_S,
    rows: tuple[str, ...] = (*FRONT_ENDS, *ALSO, MARKET),
    cache: Path | None = None,
) -> dict[str, Any]:
    """``rows``: those of ``FRONT_ENDS``, ``ALSO`` and ``MARKET`` that are wanted; ``step_s``: seconds of a measured
    step; ``cache``: where built programs are kept. CPU is the server's, in microseconds a call. Raises
    ``QuotelifeError``."""
    with Progress() as progress, ExitStack() as stack:
        cores, tell, busy = Cores(), Tell(progress), os.getloadavg()[0]
        programs = build_all(cache_folder() if cache is None else cache, tell)
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="quotelife-rpc-")))
        load = Load(programs, cores, folder, step_s)
        if not (load.clients or load.has_spin):
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


class Rounds:
    """Figures by row and name, and by when they were measured: one a round, of round trips one a slice."""

    def __init__(self, load: Load, fleet: Fleet, rows: tuple[str, ...]) -> None:
        self._load, self._fleet = load, fleet
        self._rows = [row for row in (*FRONT_ENDS, *ALSO) if row in rows]
        self.figures: dict[str, dict[str, dict[When, float]]] = {}
        self.market: dict[str, dict[When, float]] = {}
        self.short: list[float] = []
        self.refused: dict[str, str] = {}

    def measure(self, number: int, rounds: int, progress: Progress) -> None:
        tell = Tell(progress, f"bench rpc, round {number} of {rounds}")
        for in_flight in IN_FLIGHT:
            for client in self._load.clients:
                tell(f"{client}, {in_flight} in flight")
                for row in to_and_fro(self._rows, number):
                    with self._refusing(row) as target:
                        if target is not None:
                            self._loaded(row, target, client, in_flight, number)
        if not self._load.has_spin:
            return
        for part in range(SLICES):
            tell(f"round trips, slice {part + 1} of {SLICES}")
            for row in to_and_fro(self._rows, part):
                with self._refusing(row) as target:
                    if target is not None and target.authority is None:
                        self._round_trips(row, target, (number, part))
        with self._refusing(MARKET) as target:
            if target is not None:
                tell(f"round trips with {EVENTS_PER_S:,} market events a second")
                self._with_events(target, number)

    @contextmanager
    def _refusing(self, row: str) -> Iterator[Target | None]:
        """The row's server, ``None`` where it is not there or was refused, as it is when what is done here raises
        ``RefusedError``."""
        try:
            yield None if row in self.refused else self._fleet.targets.get(row)
        except RefusedError as error:
            self.refused[row] = str(error)

    def _loaded(self, row: str, target: Target, client: str, in_flight: int, number: int) -> None:
        stream = row == "stream_expiry"
        if (row in ALSO and in_flight != IN_FLIGHT_ALSO) or (stream and client == H2LOAD):
            return
        if client == H2LOAD:
            taken = self._load.h2load(target, in_flight)
        else:
            taken = self._load.cpp(target, in_flight, stream=stream)
        self._add(row, f"cpu_us_{client}_{in_flight}", taken.cpu_us, (number, 0))
        self._add(row, f"calls_per_s_{client}_{in_flight}", taken.calls_per_s, (number, 0))

    def _round_trips(self, row: str, target: Target, when: When) -> None:
        taken = self._load.spin(target, stream=row == "stream_expiry")
        self._add(row, "round_trip_p50_us", taken.p50_us, when)
        self._add(row, "round_trip_p99_us", taken.p99_us, when)

    def _add(self, row: str, name: str, value: float | None, when: When) -> None:
        if value is not None:
            self.figures.setdefault(row, {}).setdefault(name, {})[when] = value

    def _with_events(self, target: Target, number: int) -> None:
        """Round trips of a service with a quiet market and with a busy one, side by side in each slice."""
        market = self._fleet.market
        assert market is not None
        now = "idle"
        try:
            for part in range(SLICES):
                values: dict[str, float | None] = {}
                for state in to_and_fro(("idle", "busy"), part):
                    if state != now:
                        now = state
                        market.child.tell(state)
                        time.sleep(SETTLE_S)
                    # Asked of a quiet market too: what the asking disturbs is the same on both sides.
                    before, before_s = self._events(), time.monotonic()
                    taken = self._load.spin(target)
                    per_s = (self._events() - before) / (time.monotonic() - before_s)
                    values |= {f"{state}_p50_us": taken.p50_us, f"{state}_p99_us": taken.p99_us}
                    if state == "busy":
                        values["events_per_s"] = per_s
                self._add_market(values, (number, part))
        finally:
            market.child.tell("idle")
            time.sleep(SETTLE_S)

    def _add_market(self, values: Mapping[str, float | None], when: When) -> None:
        per_s = values["events_per_s"]
        assert per_s is not None
        if per_s < EVENTS_SHARE_MIN * EVENTS_PER_S:
            self.short.append(per_s)  # this slice tells nothing; another may
            return
        for name in ("idle_p50_us", "busy_p50_us", "idle_p99_us", "busy_p99_us", "events_per_s"):
            value = values[name]
            assert value is not None
            self.market.setdefault(name, {})[when] = value

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
        if len(self.short) > len(self.market.get("events_per_s", ())):
            # Those in which the service or the host lagged are the ones that fall out: the rest say too little.
            self.refused[MARKET] = (
                f"in most slices too few events came in, at most {max(self.short):,.0f} a second"
            )
        if self.refused:
            out["refused"] = self.refused
        figures = {row: of for row, of in self.figures.items() if row not in self.refused}
        market = {} if MARKET in self.refused else self.market
        medians = {row: _medians(of) for row, of in figures.items()}
        for name, rows, in_flight in (
            ("front_ends", FRONT_ENDS, IN_FLIGHT),
            ("native_also", ALSO, (IN_FLIGHT_ALSO,)),
        ):
            if group := self._group(rows, load.clients, in_flight, medians):
                out[name] = group
        if market:
            out[f"round_trip_with_{EVENTS_PER_S // 1000}_k_events_per_s"] = {
                **{name: round(value, 1) for name, value in _medians(market).items()},
                "rounds": len({number for number, _ in market["events_per_s"]}),
            }
        out["must_reach"] = judged(figures, market)
        return out

    def _group(
        self,
        rows: tuple[str, ...],
        clients: Sequence[str],
        in_flight: tuple[int, ...],
        medians: Mapping[str, Mapping[str, float]],
    ) -> dict[str, dict[str, float | None]]:
        names = [
            f"{figure}_{client}_{n}"
            for figure in ("cpu_us", "calls_per_s")
            for client in clients
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


def to_and_fro(of: Sequence[Row], part: int) -> Sequence[Row]:
    """Forwards and backwards by turns, so that a steady drift of the host favours nobody."""
    return of[::-1] if part % 2 else of


def _medians(figures: Mapping[str, Values]) -> dict[str, float]:
    return {name: statistics.median(values.values()) for name, values in figures.items()}


def judged(
    figures: Mapping[str, Mapping[str, Values]], market: Mapping[str, Values]
) -> dict[str, dict[str, float | bool | None]]:
    """Each ratio that must be reached, beside its bound: the median of the ratios of what was measured in the same
    slice, or for CPU in the same round, with the quartiles and the number of these pairs. ``None`` where there is none.

    CPU is under h2load where it is there, else under the C++ client.
    """
    out: dict[str, dict[str, float | bool | None]] = {}
    for name, (kind, other, at_most) in MUST.items():
        native, beside = figures.get("native", {}), figures.get(other, {})
        found = (_ratios(native.get(figure, {}), beside.get(figure, {})) for figure in OF_KIND[kind])
        out[name] = _judged(next(filter(None, found), []), at_most)
    ratios = _ratios(market.get("busy_p50_us", {}), market.get("idle_p50_us", {}))
    out["p50_with_events_to_idle"] = _judged(ratios, EVENTS_P50_MAX)
    return out


def _ratios(values: Values, beside: Values) -> list[float]:
    return [value / beside[when] for when, value in values.items() if beside.get(when)]


def _judged(ratios: list[float], at_most: float) -> dict[str, float | bool | None]:
    if not ratios:
        empty = {"lower_quartile": None, "upper_quartile": None}
        return {"is": None, "at_most": at_most, "reached": None, "pairs": 0, **empty}
    lower, median, upper = np.quantile(ratios, (0.25, 0.5, 0.75)).tolist()
    return {
        "is": round(median, 3),
        "at_most": at_most,
        "reached": median <= at_most,
        "pairs": len(ratios),
        "lower_quartile": round(lower, 3),
        "upper_quartile": round(upper, 3),
    }
