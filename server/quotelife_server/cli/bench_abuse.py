"""``quotelife bench abuse``: what a good client notices of those that mean harm, and what is held for them."""

import shutil
import statistics
import subprocess
import tempfile
import time
from contextlib import ExitStack
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import numpy as np

from quotelife_server.cli.bench_attacks import ATTACKS, BATCHES_A_SECOND, CONNECTS_A_SECOND, attack
from quotelife_server.cli.bench_http2 import Load
from quotelife_server.cli.bench_rig import (
    JOURNAL_IS,
    RunningService,
    asked,
    calling,
    child,
    cores,
    may_go_first,
    ratio,
    running_service,
    spin,
    told,
)

GOOD_CALLS_A_SECOND = 200.0
BEFORE_S = 5.0
DURING_S = 8.0
AFTER_S = 3.0
LOOK_S = 0.25
BUSY_SHARE = 0.1
BUSY_TURN_S = 0.01
ATTACKERS = 2
GROWTH_MB_MAX = 64
"""What an attack may make the service hold: the bound on unread bytes of all connections."""
AGAIN = 20  # calls in a row that are as good as before: the service has recovered

Calls = tuple[np.ndarray[Any, Any], np.ndarray[Any, Any]]
"""Latencies of a good client's calls before and during an attack, ns."""


def bench_abuse(rounds: int) -> dict[str, Any]:
    """One attack after the other; of each the median over the rounds, and in ``worst`` the worst round of any.

    A p99 of one round is that of some ten calls, which processors that are shared delay by milliseconds now and then:
    ``good_p99_ratio_of_all`` compares the calls of all rounds.
    """
    found: dict[str, list[dict[str, Any]]] = {}
    calls: dict[str, list[Calls]] = {}

    def attacked(service: RunningService, name: str, round_: int) -> None:
        figures, latencies = _attacked(service, name, round_)
        found.setdefault(name, []).append(figures)
        calls.setdefault(name, []).append(latencies)

    plain = [name for name in ATTACKS if name != "tls_handshakes"]
    for round_ in range(rounds):
        with running_service() as service:
            for name in plain:
                attacked(service, name, round_)
        if shutil.which("openssl"):
            with tempfile.TemporaryDirectory() as folder, running_service(_with_tls(Path(folder))) as service:
                attacked(service, "tls_handshakes", round_)
    everything = [each for rounds_ in found.values() for each in rounds_]
    return {
        "good_client": f"{GOOD_CALLS_A_SECOND:g} calls/s (Poisson), on a connection of its own",
        "attackers": f"{ATTACKERS} processes, each {BATCHES_A_SECOND} batches and at most {CONNECTS_A_SECOND} "
        "connections a second",
        "journal": JOURNAL_IS,
        "good_client_goes_first": may_go_first(),
        "before_is": f"beside {ATTACKERS} harmless processes that take {BUSY_SHARE:.0%} of a core each",
        "worst_p99_ratio_of_all": max(_ratio_of_all(each) for each in calls.values()),
        "worst_p99_ratio_during_to_before": max(each["good_p99_ratio"] for each in everything),
        "worst_recovery_s": max(each["recovery_s"] for each in everything),
        "worst_rss_growth_mb": max(each["rss_growth_mb"] for each in everything),
        "rss_growth_bound_mb": GROWTH_MB_MAX,
        **{
            name: {
                "good_p99_ratio_of_all": _ratio_of_all(calls[name]),
                **{key: _median([each[key] for each in rounds_]) for key in rounds_[0]},
            }
            for name, rounds_ in found.items()
        },
    }


def _median(values: list[Any]) -> Any:
    return round(statistics.median(values), 3)


def _ratio_of_all(rounds: list[Calls]) -> float:
    before, during = (float(np.percentile(np.concatenate(each), 99)) for each in zip(*rounds, strict=True))
    return ratio(during, before)


def _attacked(service: RunningService, name: str, seed: int) -> tuple[dict[str, Any], Calls]:
    _, others = cores()
    total_s = BEFORE_S + DURING_S + AFTER_S
    with ExitStack() as stack:
        stack.enter_context(child(spin, pinned=others))
        attackers = [
            stack.enter_context(child(attack, name, service.address, pinned=others)) for _ in range(ATTACKERS)
        ]
        for each in attackers:
            told(each)
        good = stack.enter_context(calling(service.good_address, 1, True, True, pinned=others))
        asked(good, "open", GOOD_CALLS_A_SECOND, 1.0, seed)
        service.figures()
        with ExitStack() as neighbours:
            for _ in range(ATTACKERS):
                told(neighbours.enter_context(child(busy, pinned=others)))
            good.send(("open", GOOD_CALLS_A_SECOND, total_s, seed))
            time.sleep(BEFORE_S)
        before = service.figures()
        began_ns = time.monotonic_ns()
        for each in attackers:
            each.send("go")
        peak, cpu_s = 0, 0.0
        while time.monotonic_ns() - began_ns < DURING_S * 1e9:
            time.sleep(LOOK_S)
            now = service.figures()
            peak, cpu_s = max(peak, now["rss"]), cpu_s + now["cpu_s"]
        for each in attackers:
            each.send("stop")
        ended_ns = time.monotonic_ns()
        harm = [told(each) for each in attackers]
        load: Load = told(good)
        after = service.figures()
    figures, calls = _judged(load, began_ns, ended_ns)
    figures |= {
        "service_share_of_a_core": ratio(cpu_s, DURING_S),
        "rss_growth_mb": round((peak - before["rss"]) / 2**20, 1),
        "rss_growth_after_mb": round((after["rss"] - before["rss"]) / 2**20, 1),
        **{key: sum(each[key] for each in harm) for key in harm[0]},
    }
    return figures, calls


def _judged(load: Load, began_ns: int, ended_ns: int) -> tuple[dict[str, Any], Calls]:
    due_ns = load.due_ns + load.began_ns
    before = load.latency_ns[due_ns < began_ns]
    during = load.latency_ns[(due_ns >= began_ns) & (due_ns < ended_ns)]
    after, after_due_ns = load.latency_ns[due_ns >= ended_ns], due_ns[due_ns >= ended_ns]
    p99 = float(np.percentile(before, 99))
    good = after < 2 * p99
    recovered_s = AFTER_S
    for at in range(len(good) - AGAIN):
        if good[at : at + AGAIN].all():
            recovered_s = 0.0 if at == 0 else float(after_due_ns[at] - ended_ns) / 1e9
            break
    figures = {
        "good_p50_us_before": round(float(np.percentile(before, 50)) / 1e3),
        "good_p50_us_during": round(float(np.percentile(during, 50)) / 1e3),
        "good_p99_us_before": round(p99 / 1e3),
        "good_p99_us_during": round(float(np.percentile(during, 99)) / 1e3),
        "good_p99_ratio": ratio(float(np.percentile(during, 99)), p99),
        "good_refused": load.refused,
        "good_unanswered": load.unanswered,
        "recovery_s": round(recovered_s, 3),
    }
    return figures, (before, during)


def busy(pipe: Connection) -> None:
    """A neighbour that takes its share of a core and does nothing with it."""
    pipe.send("busy")
    due_s = time.monotonic()
    while not pipe.poll(0):
        until_s = time.thread_time() + BUSY_SHARE * BUSY_TURN_S
        while time.thread_time() < until_s:
            pass
        due_s = max(due_s + BUSY_TURN_S, time.monotonic() - 0.1)
        time.sleep(max(0.0, due_s - time.monotonic()))


def _with_tls(folder: Path) -> dict[str, object]:
    """TLS for the attackers; the good client comes by a Unix socket, which is never encrypted."""
    subprocess.run(
        ("openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-days", "2",
         "-subj", "/CN=localhost", "-keyout", str(folder / "service.key"), "-out", str(folder / "service.pem")),
        check=True,
        capture_output=True,
    )  # fmt: skip
    return {
        "tls": {"certificate": str(folder / "service.pem"), "key": str(folder / "service.key")},
        "unix_socket": str(folder / "socket"),
    }
