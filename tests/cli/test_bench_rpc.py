"""``quotelife bench rpc``: that it measures what it says. No figure is judged here; that is the bench's own work."""

import itertools
import os
import shutil
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path
from typing import cast

import numpy as np
import pytest

from quote_expiry.v1 import quote_expiry_service_pb2 as expiry
from quotelife.errors import QuotelifeError
from quotelife_server.cli.bench import lines
from quotelife_server.cli.progress import Progress
from quotelife_server.cli.rpc_bench import build, processes
from quotelife_server.cli.rpc_bench import load as bench_load
from quotelife_server.cli.rpc_bench import run as bench_run
from quotelife_server.cli.rpc_bench.fleet import MARKET, Fleet, Market
from quotelife_server.cli.rpc_bench.load import (
    ID_DIGITS,
    SLICES,
    Load,
    RefusedError,
    Taken,
    Target,
    parse_h2load,
)
from quotelife_server.cli.rpc_bench.market import LATER_STEPS, Source
from quotelife_server.cli.rpc_bench.processes import Child, Cores, CpuClock, Turns
from quotelife_server.cli.rpc_bench.run import (
    Rounds,
    Values,
    When,
    bench_rpc,
    judged,
    to_and_fro,
)

H2LOAD = """\
starting benchmark...
spawning thread #0: 4 total client(s). 2000 total requests
Application protocol: h2c
progress: 100% done

finished in 424.27ms, 4714.01 req/s, 2.45MB/s
requests: 2000 total, 2000 started, 2000 done, 1998 succeeded, 2 failed, 0 errored, 0 timeout
status codes: 1998 2xx, 0 3xx, 2 4xx, 0 5xx
traffic: 1.04MB (1090204) total, 12.07KB (12364) headers (space savings 91.69%), 1018.56KB (1043002) data
                     min         max         mean         sd        +/- sd
time for request:     1.22ms     35.69ms     13.30ms      4.71ms    78.00%
"""
NATIVE = pytest.mark.skipif(
    find_spec("quotelife_server.transport.native_connection") is None,
    reason="built without nghttp2",
)
COMPILER = pytest.mark.skipif(shutil.which("gcc") is None, reason="no C compiler here")


@pytest.fixture
def only_the_spinning_client(monkeypatch: pytest.MonkeyPatch) -> None:
    """C++ and Go take a minute to build and need packages."""
    monkeypatch.setattr(build, "KITS", {"spinning_client": build.KITS["spinning_client"]})


def test_h2loads_report_is_read() -> None:
    said = parse_h2load(H2LOAD)
    assert (said.seconds, said.succeeded, said.data_bytes) == (0.42427, 1998, 1043002)
    assert parse_h2load(H2LOAD.replace("424.27ms", "1.05s")).seconds == 1.05
    with pytest.raises(QuotelifeError, match="could not connect"):
        parse_h2load("could not connect to host")


def test_what_must_be_reached_is_judged_by_ratios_of_one_run() -> None:
    def once(**figures: float) -> dict[str, Values]:
        return {name: {(1, 0): value} for name, value in figures.items()}

    figures = {
        "native": once(cpu_us_h2load_64=20.0, cpu_us_cpp_client_64=99.0, round_trip_p50_us=60.0),
        "grpc_aio_no_op": once(cpu_us_h2load_64=400.0, round_trip_p50_us=240.0),
        "cpp_no_op": once(cpu_us_h2load_64=40.0, round_trip_p50_us=50.0),
    }
    found = judged(figures, once(busy_p50_us=78.0, idle_p50_us=60.0))
    assert {name: (each["is"], each["reached"]) for name, each in found.items()} == {
        "cpu_to_grpc_aio": (0.05, True),
        "cpu_to_cpp": (0.5, True),
        "p50_to_cpp": (1.2, True),
        "p50_to_grpc_aio": (0.25, False),
        "p50_with_events_to_idle": (1.3, True),
    }


def test_a_ratio_without_its_figures_is_neither_reached_nor_missed() -> None:
    found = judged({"native": {"cpu_us_cpp_client_64": {(1, 0): 20.0}}}, {})
    assert {(each["reached"], each["pairs"]) for each in found.values()} == {(None, 0)}
    assert {len(row.split()) for row in lines({"ratios": found}).splitlines()[1:]} >= {6}


def test_cpu_is_compared_under_the_same_load() -> None:
    native = {"cpu_us_h2load_64": {(1, 0): 20.0}, "cpu_us_cpp_client_64": {(1, 0): 40.0}}
    found = judged({"native": native, "cpp_no_op": {"cpu_us_cpp_client_64": {(1, 0): 100.0}}}, {})
    assert found["cpu_to_cpp"]["is"] == 0.4


def test_a_missing_slice_shifts_no_pair() -> None:
    speeds = (1.0, 2.0, 1.5, 4.0, 0.5)
    native: dict[When, float] = {(1, part): 60.0 * speed for part, speed in enumerate(speeds)}
    cpp: dict[When, float] = {(1, part): 50.0 * speed for part, speed in enumerate(speeds)}
    del native[1, 0], cpp[1, 3]
    rows = {"native": {"round_trip_p50_us": native}, "cpp_no_op": {"round_trip_p50_us": cpp}}
    found = judged(rows, {"busy_p50_us": native, "idle_p50_us": cpp})
    for name in ("p50_to_cpp", "p50_with_events_to_idle"):
        of = found[name]
        assert (of["is"], of["pairs"], of["lower_quartile"], of["upper_quartile"]) == (1.2, 3, 1.2, 1.2)


def test_quartiles_are_those_of_the_pairs_ratios() -> None:
    busy: dict[When, float] = {(1, part): 10.0 + part for part in range(5)}
    idle = dict.fromkeys(busy, 10.0)
    of = judged({}, {"busy_p50_us": busy, "idle_p50_us": idle})["p50_with_events_to_idle"]
    assert (of["lower_quartile"], of["is"], of["upper_quartile"]) == (1.1, 1.2, 1.3)


class DriftingHost(Load):
    """Each call of a load takes what its server costs, times what the host is slower now: twice in every other slice of
    round trips, and of other loads each time that all servers have had one as much again."""

    def __init__(self, rows: int) -> None:
        self.costs = {1: 60.0, 2: 50.0, 3: 300.0}  # by process
        self.rows, self.spun, self.busy = rows, 0, False
        self.loaded: list[tuple[int, int]] = []  # calls in flight and process of each
        self.fails_at: int | None = None
        self.request_bytes = self.reply_bytes = 1

    clients = ("h2load",)  # type: ignore[assignment]
    has_spin = True  # type: ignore[assignment]

    def h2load(self, target: Target, in_flight: int) -> Taken:
        slow = 1.0 + len(self.loaded) // self.rows
        self.loaded.append((in_flight, target.pid))
        return Taken(100, self.costs[target.pid] * slow, 1000 / slow)

    def spin(self, target: Target, *, stream: bool = False) -> Taken:
        slow = 2.0 if self.spun // self.rows % 2 else 1.0
        self.spun += 1
        if self.spun == self.fails_at:
            raise RefusedError("a call failed")
        p50_us = self.costs[target.pid] * slow * (1.25 if self.busy else 1.0)
        return Taken(100, 1.0, 1000.0, p50_us, 2 * p50_us)


class Standing(Fleet):
    """Servers that are not there."""

    def __init__(self, *rows: str) -> None:
        self.targets = {row: Target(pid, "") for pid, row in enumerate(rows, 1)}
        self.missing = {}


def measured(load: DriftingHost, fleet: Fleet, rounds: int = 2) -> Rounds:
    figures = Rounds(load, fleet, tuple(fleet.targets))
    with Progress() as progress:
        for number in range(1, rounds + 1):
            figures.measure(number, rounds, progress)
    return figures


def test_a_host_that_drifts_leaves_the_ratios_as_they_are() -> None:
    figures = measured(DriftingHost(3), Standing("native", "cpp_no_op", "grpc_aio_no_op"))
    found = figures.result(Cores())["must_reach"]
    for name, ratio, pairs in (
        ("cpu_to_cpp", 1.2, 2),
        ("cpu_to_grpc_aio", 0.2, 2),
        ("p50_to_cpp", 1.2, 2 * SLICES),
        ("p50_to_grpc_aio", 0.2, 2 * SLICES),
    ):
        of = found[name]
        assert (of["is"], of["lower_quartile"], of["upper_quartile"], of["pairs"]) == (ratio,) * 3 + (pairs,)
    # What is told of a row alone is the median of what was measured.
    front_ends = figures.result(Cores())["front_ends"]
    assert front_ends["cpp_no_op"]["cpu_us_h2load_64"] == 50.0 * (3 + 6) / 2  # the last load of each round
    assert front_ends["cpp_no_op"]["round_trip_p50_us"] in (50.0, 75.0, 100.0)


def test_a_load_goes_to_all_servers_before_the_next_and_the_other_way_in_the_next_round() -> None:
    load = DriftingHost(2)
    measured(load, Standing("native", "cpp_no_op"))
    one_way, other_way = load.loaded[:6], load.loaded[6:]
    assert [in_flight for in_flight, _ in one_way] == [1, 1, 8, 8, 64, 64]
    assert other_way == [(in_flight, {1: 2, 2: 1}[pid]) for in_flight, pid in one_way]


def test_rows_go_to_and_fro_so_that_a_steady_drift_favours_none() -> None:
    assert [list(to_and_fro("abc", part)) for part in range(3)] == [list("abc"), list("cba"), list("abc")]


def test_a_row_that_is_refused_in_a_slice_is_left_out_and_the_others_go_on() -> None:
    load = DriftingHost(3)
    load.fails_at = 5  # grpc.aio, in the second slice
    figures = measured(load, Standing("native", "cpp_no_op", "grpc_aio_no_op"), 1)
    result = figures.result(Cores())
    assert result["refused"] == {"grpc_aio_no_op": "a call failed"}
    assert result["must_reach"]["p50_to_grpc_aio"]["pairs"] == 0
    assert result["must_reach"]["p50_to_cpp"]["pairs"] == SLICES


class Switch:
    """The market's process, as far as it is told whether to be busy."""

    def __init__(self, load: DriftingHost) -> None:
        self.load, self.told = load, list[str]()

    def tell(self, line: str) -> None:
        self.told.append(line)
        self.load.busy = line == "busy"


@pytest.fixture
def market(monkeypatch: pytest.MonkeyPatch) -> tuple[DriftingHost, Fleet, Switch]:
    """A round trip of 60 µs with a quiet market and 75 with a busy one."""
    monkeypatch.setattr(bench_run, "SETTLE_S", 0.0)
    load, fleet = DriftingHost(2), Standing(MARKET)
    switch = Switch(load)
    fleet.market = Market(cast(Child, switch), "", "", 2)
    return load, fleet, switch


def test_a_slice_has_the_quiet_market_and_the_busy_one(
    market: tuple[DriftingHost, Fleet, Switch], monkeypatch: pytest.MonkeyPatch
) -> None:
    load, fleet, switch = market
    events = itertools.count(0, 10**12)
    monkeypatch.setattr(Rounds, "_events", lambda _: float(next(events)))
    result = measured(load, fleet).result(Cores())
    of = result["must_reach"]["p50_with_events_to_idle"]
    assert (of["is"], of["lower_quartile"], of["upper_quartile"], of["pairs"]) == (1.25,) * 3 + (2 * SLICES,)
    assert result["round_trip_with_200_k_events_per_s"]["rounds"] == 2
    assert switch.told[-1] == "idle"


def test_a_slice_without_its_events_is_left_out(
    market: tuple[DriftingHost, Fleet, Switch], monkeypatch: pytest.MonkeyPatch
) -> None:
    load, fleet, _ = market
    # None come in the second slice of the first round, and none at all in the second round.
    a_round = 4 * SLICES
    comes = [at < 5 or 8 <= at < a_round or 2 * a_round <= at for at in range(3 * a_round)]
    for rounds, pairs in ((3, 2 * SLICES - 1), (2, 0)):
        counted = iter([at * 10**12 if come else 0 for at, come in enumerate(comes)])
        monkeypatch.setattr(Rounds, "_events", lambda _, counted=counted: float(next(counted)))
        result = measured(load, fleet, rounds).result(Cores())
        of = result["must_reach"]["p50_with_events_to_idle"]
        assert of["pairs"] == pairs
        if pairs:
            assert (of["is"], of["lower_quartile"], of["upper_quartile"]) == (1.25,) * 3
            assert result["round_trip_with_200_k_events_per_s"]["rounds"] == 2
            assert "refused" not in result
        else:
            assert "in most slices too few events came in" in result["refused"][MARKET]


def test_a_request_without_an_id_is_as_long_as_one_with(tmp_path: Path) -> None:
    load = Load(build.Programs(), Cores(), tmp_path, 0.1)
    spun = expiry.GetExpiryRequest.FromString((tmp_path / "unary.request").read_bytes())
    fixed = (tmp_path / "h2load.request").read_bytes()
    assert len(fixed) == 5 + load.request_bytes
    assert len(spun.request_id) == 20 + ID_DIGITS
    assert not expiry.GetExpiryRequest.FromString(fixed[5:]).request_id


def test_processor_time_is_that_of_the_process_and_of_threads_that_have_ended() -> None:
    clock, before_ns = CpuClock(os.getpid()), time.process_time_ns()
    thread = threading.Thread(target=lambda: sum(range(3_000_000)))
    thread.start()
    thread.join()
    spent_ns = time.process_time_ns() - before_ns
    assert 0.5 * spent_ns < clock.ns() < 2 * spent_ns


@pytest.fixture
def talker() -> Iterator[Child]:
    program = (
        "import sys; print('up', flush=True); [print(line.strip() * 2, flush=True) for line in sys.stdin]"
    )
    cores = Cores()
    with Child([sys.executable, "-c", program], cores, cores.load) as child:
        yield child


def test_a_server_ends_when_nobody_holds_its_input(talker: Child) -> None:
    assert talker.line(20) == "up"
    talker.tell("ab")
    assert talker.line(20) == "abab"
    talker.stop()
    assert not Path(f"/proc/{talker.pid}").exists()


def test_a_server_that_says_nothing_or_dies_is_an_error_with_its_last_words(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(processes, "END_S", 0.1)
    cores = Cores()
    with (
        Child([sys.executable, "-c", "import time; time.sleep(60)"], cores, cores.load) as silent,
        pytest.raises(QuotelifeError, match="nothing came within 0 s"),
    ):
        silent.line(0.1)
    with (
        Child([sys.executable, "-c", "raise SystemExit('no port is free')"], cores, cores.load) as dead,
        pytest.raises(QuotelifeError, match="ended with code 1: no port is free"),
    ):
        dead.line(20)


@COMPILER
@pytest.mark.usefixtures("only_the_spinning_client")
def test_a_server_that_is_silent_is_refused_and_what_it_did_meanwhile_is_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One that takes the connection and never says a word, as a stopped one does."""
    monkeypatch.setattr(bench_load, "CLIENT_S", 0.5)
    cores = Cores()
    load = Load(build.build_all(tmp_path, lambda _: None), cores, tmp_path, 0.1)
    program = (
        "import socket; s = socket.create_server(('127.0.0.1', 0)); "
        "print(s.getsockname()[1], flush=True); input()"
    )
    with Child([sys.executable, "-c", program], cores, cores.server) as server:
        target = Target(server.pid, f"127.0.0.1:{server.line(20)}")
        told = rf"nothing came within 0 s; in \d+\.\d s the server, process {server.pid}, ran for .* are [A-Z]+ now$"
        with pytest.raises(RefusedError, match=told):
            load.spin(target)


def test_an_h2load_without_a_report_is_refused_with_what_the_server_did(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    program = tmp_path / "h2load"
    program.touch(0o755)
    cores = Cores()
    with Child([sys.executable, "-c", "print('up', flush=True); input()"], cores, cores.server) as server:
        assert server.line(20) == "up"
        did = rf"the server, process {server.pid}, ran for"
        for says, told in (
            ("echo could not connect to host", "could not connect to host"),
            ("exec sleep 60", "h2load was not done with .* calls after"),
        ):
            if says == "exec sleep 60":
                monkeypatch.setattr(bench_load, "CLIENT_S", 0.5)
            program.write_text(f"#!/bin/sh\n{says}\n")
            load = Load(build.Programs(), cores, tmp_path, 0.01)
            with pytest.raises(RefusedError, match=f"{told}.*; in .* {did}"):
                load.h2load(Target(server.pid, "127.0.0.1:1"), 4)


def test_a_server_that_has_ended_is_told_from_one_that_nothing_is_known_of(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    ended = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE)
    turns = Turns(ended.pid)
    assert "ran for" in turns.words()
    monkeypatch.setattr(Turns, "_readings", lambda _: {})
    assert turns.words() == f"what the server, process {ended.pid}, did meanwhile cannot be read here"
    monkeypatch.undo()
    ended.kill()
    os.waitid(os.P_PID, ended.pid, os.WEXITED | os.WNOWAIT)  # it is a zombie now
    assert turns.words() == f"the server, process {ended.pid}, has ended"
    ended.wait()
    assert turns.words() == f"the server, process {ended.pid}, has ended"
    assert ended.stdin is not None
    ended.stdin.close()


def test_other_instruments_live_through_the_same_market_a_little_later() -> None:
    source = Source(1_700_000_000 * 10**9)
    steps = [source.step().copy() for _ in range(500)]
    ids = np.array([3, 7, LATER_STEPS + 7], dtype=np.int64)
    for at in (5, 10, 400):
        events, ends = source.others(ids, at)
        for instrument, end in zip(ids, ends, strict=True):
            mine = events[:end][events[:end]["instrument"] == instrument]
            step = at - int(instrument) % LATER_STEPS
            expected = steps[step]["price_ticks"].tolist() if step >= 0 else []
            assert mine["price_ticks"].tolist() == expected


def test_the_wires_messages_need_no_file() -> None:
    names = [file.name for file in build.descriptors().file]
    assert names[-1] == "quote_expiry/v1/quote_expiry_service.proto" and len(set(names)) == len(names)


def test_what_cannot_be_built_says_why_and_how_to_mend_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def make(work: Path, _: Path) -> None:
        build.run(["sh", "-c", "exit 3"], work)

    kit = build.Kit(("no-such-compiler",), "apt-get install -y no-such-compiler", (), lambda *_: None)
    broken = build.Kit(("sh",), "apt-get install -y sh", (), make)
    monkeypatch.setattr(build, "KITS", {"one": kit, "two": broken})
    programs = build.build_all(tmp_path, lambda _: None)
    assert programs.missing == {
        "one": "no no-such-compiler here: apt-get install -y no-such-compiler",
        "two": "sh failed: it says nothing; needs: apt-get install -y sh",
    }
    assert not programs.paths


@pytest.mark.alone
@NATIVE
@COMPILER
@pytest.mark.usefixtures("only_the_spinning_client")
def test_both_front_ends_are_measured_side_by_side(tmp_path: Path) -> None:
    # Others may use the same cores. A service that is kept from them for a second has stale data and declines, and the
    # bench rightly refuses to measure that: three tries.
    for _ in range(3):
        figures = bench_rpc(
            1, 0.1, ("native", "grpc_aio", "native_no_op", "grpc_aio_no_op", "stream_expiry"), tmp_path
        )
        if "refused" not in figures:
            break
    assert "refused" not in figures, figures["refused"]
    for row in ("native", "grpc_aio", "native_no_op", "grpc_aio_no_op"):
        taken = figures["front_ends"][row]
        assert 0 < taken["round_trip_p50_us"] <= taken["round_trip_p99_us"]
        if shutil.which("h2load"):
            assert taken["cpu_us_h2load_64"] > 0 and taken["calls_per_s_h2load_64"] > 0
    assert figures["native_also"]["stream_expiry"]["round_trip_p50_us"] > 0
    assert figures["must_reach"]["p50_to_grpc_aio"]["is"] > 0


@COMPILER
@pytest.mark.usefixtures("only_the_spinning_client")
def test_answers_that_are_no_quotes_are_refused(tmp_path: Path) -> None:
    """A server whose one reply is a DECLINE."""
    cores = Cores()
    load = Load(build.build_all(tmp_path, lambda _: None), cores, tmp_path, 0.1)
    reply = tmp_path / "reply"
    reply.write_bytes(
        expiry.GetExpiryResponse(decision_id="1", decision="DECISION_DECLINE").SerializeToString()
    )
    command = [sys.executable, "-m", "quotelife_server.cli.rpc_bench.servers", "grpc_aio-no-op", reply]
    with Child(command, cores, cores.server) as server:
        address = server.line(60).split('"')[3]
        with pytest.raises(RefusedError, match="were no QUOTE"):
            load.spin(Target(server.pid, address))


@pytest.mark.skipif(
    any(shutil.which(each) is None for each in build.KITS["grpc_cpp"].needs),
    reason=build.KITS["grpc_cpp"].mend,
)
@NATIVE
def test_the_cpp_client_and_server_work(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(build, "KITS", {"grpc_cpp": build.KITS["grpc_cpp"]})
    figures = bench_rpc(1, 0.1, ("native", "cpp_no_op", "stream_expiry", "tls"))
    if "grpc_cpp" in figures.get("missing", {}):
        pytest.skip(figures["missing"]["grpc_cpp"])
    assert "refused" not in figures, figures["refused"]
    for group, row in (
        ("front_ends", "native"),
        ("front_ends", "cpp_no_op"),
        ("native_also", "stream_expiry"),
    ):
        assert figures[group][row]["cpu_us_cpp_client_64"] > 0
    if shutil.which("openssl"):
        assert figures["native_also"]["tls"]["calls_per_s_cpp_client_64"] > 0
