"""``quotelife bench overload``: calls, and market data, when three times as many come as can be answered."""

import time
from typing import Any

import numpy as np
from google.rpc import error_details_pb2, status_pb2

from quotelife.errors import QuotelifeError
from quotelife_server.cli.bench_http2 import Address, Load
from quotelife_server.cli.bench_rig import (
    GET_EXPIRY,
    JOURNAL_IS,
    REQUEST,
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

CONNECTIONS = 4
IN_FLIGHT = 64
TIMES = 3.0
UNLOADED = 0.2
TURNS = 4
CAPACITY_S = 1.0
UNLOADED_S = 2.0
OVERLOAD_S = 6.0  # longer turns are tried after 2 s
PAUSE_S = 0.5  # between loads, for the service to have calmed down
REFUSED_IN_FLIGHT = 2048
REFUSED_S = 2.0
P99_TIMES = 2.0  # of the unloaded one: what callers are promised
PROBE_S = 2.0
PROBES = 6


def bench_overload(rounds: int) -> dict[str, Any]:
    """Each round: capacity (closed loop), unloaded and overloaded (open loops) in turns, then what is sustained. Ratios
    are of one round; that of the median goodput is shown, and the worst of all.

    Goodput is a share of a capacity, and there are two: what a closed loop gets out of the processor; and the highest
    rate of random arrivals that are all answered with a p99 of at most twice the unloaded one, which is as much as can
    be promised. Three times the former are offered, and both shares are told.
    """
    _, others = cores()
    found: list[dict[str, Any]] = []
    with (
        running_service() as service,
        child(spin, pinned=others),
        calling(service.address, CONNECTIONS, pinned=others) as callers,
    ):
        asked(callers, "closed", IN_FLIGHT, CAPACITY_S)  # connections, caches, the journal's first segment
        for round_ in range(rounds):
            found.append(_round(service, callers, round_))
        with child(_asks_on, service.address, pinned=others) as friend:
            told_why = _overloaded(callers, found[-1]["capacity_calls_per_s"] * TIMES, 1.5, 99, friend)
    refusal = _refusal_cost("refusal", known=True)
    share = refusal["refusal_ratio_to_answer"]
    refusal["goodput_bound_by_refusals"] = round((1 - TIMES * share) / (1 - share), 3)
    refusal.update(_refusal_cost("refusal_of_new_headers", known=False))
    found.sort(key=lambda each: float(each["goodput_ratio_to_capacity"]))
    median = found[len(found) // 2]
    return {
        "arrivals": f"Poisson, {TIMES:g} times the capacity, {TURNS} times {OVERLOAD_S:g} s, {CONNECTIONS} connections",
        "journal": JOURNAL_IS,
        "market_data_goes_first": may_go_first(),
        "unloaded_is": f"Poisson, {UNLOADED:.0%} of the capacity",
        **median,
        "worst_goodput_ratio": found[0]["goodput_ratio_to_capacity"],
        "worst_p99_ratio": max(each["admitted_p99_ratio_to_unloaded"] for each in found),
        "worst_market_data_lag_p99_us": max(each["market_data_lag_p99_us_overloaded"] for each in found),
        "refusal_tells_when_to_retry": told_why,
        **refusal,
    }


def _round(service: RunningService, callers: Any, round_: int) -> dict[str, Any]:
    """Processors that are shared are faster now and slower then: what is compared is measured in turns."""
    capacity = _Series(service, callers)
    unloaded = _Series(service, callers)
    overloaded = _Series(service, callers)
    seeds = iter(range(1000 * round_, 1000 * (round_ + 1)))
    for _ in range(TURNS):
        capacity.add("closed", IN_FLIGHT, CAPACITY_S)
        unloaded.add("open", capacity.per_s() * UNLOADED, UNLOADED_S, next(seeds))
        overloaded.add("open", capacity.per_s() * TIMES, OVERLOAD_S, next(seeds))
    capacity.add("closed", IN_FLIGHT, CAPACITY_S)
    sustained = _sustained(callers, capacity.per_s(), P99_TIMES * unloaded.percentile_us(99), next(seeds))
    for series in (capacity, unloaded, overloaded):
        for load in series.loads:
            _whole(load, refusals=series is not capacity)
    base, goodput = capacity.per_s(), overloaded.per_s()
    p99_us = unloaded.percentile_us(99)
    latency_ns = overloaded.latency_ns()
    sent = sum(load.sent for load in overloaded.loads)
    refused = sum(load.refused for load in overloaded.loads)
    return {
        "capacity_calls_per_s": round(base),
        "capacity_cpu_us_per_call": round(capacity.cpu_s / capacity.answered * 1e6, 1),
        "offered_calls_per_s": round(sent / (TURNS * OVERLOAD_S)),
        "goodput_calls_per_s": round(goodput),
        "goodput_ratio_to_capacity": ratio(goodput, base),
        "sustained_calls_per_s": round(sustained),
        "sustained_ratio_to_capacity": ratio(sustained, base),
        "goodput_ratio_to_sustained": ratio(goodput, sustained),
        "answered_in_time_share": ratio(int((latency_ns <= P99_TIMES * p99_us * 1e3).sum()), len(latency_ns)),
        "refused_share": ratio(refused, sent),
        "unanswered": sum(load.unanswered for load in overloaded.loads),
        "unloaded_refused": sum(load.refused for load in unloaded.loads),
        "unloaded_p50_us": unloaded.percentile_us(50),
        "unloaded_p99_us": p99_us,
        "admitted_p50_us": overloaded.percentile_us(50),
        "admitted_p99_us": overloaded.percentile_us(99),
        "admitted_p99_ratio_to_unloaded": ratio(overloaded.percentile_us(99), p99_us),
        "service_cpu_share_overloaded": ratio(overloaded.cpu_s, overloaded.seconds),
        "caller_late_p99_us": max(load.late_p99_us() for load in overloaded.loads),
        "market_data_lag_p99_us_unloaded": unloaded.lag_p99_us(),
        "market_data_lag_p99_us_overloaded": overloaded.lag_p99_us(),
        "statuses": ", ".join(f"{code} {n}" for code, n in sorted(overloaded.answers.items()) if n),
    }


class _Series:
    """Loads of one kind, and what the service says of itself meanwhile."""

    def __init__(self, service: RunningService, callers: Any) -> None:
        self._service, self._callers = service, callers
        self._lags: list[np.ndarray[Any, Any]] = []
        self.loads: list[Load] = []
        self.answers: dict[str, int] = {}
        self.cpu_s = 0.0

    def add(self, kind: str, *how: float) -> None:
        time.sleep(PAUSE_S)
        self._service.figures()
        self.loads.append(asked(self._callers, kind, *how))
        figures = self._service.figures()
        self.cpu_s += figures["cpu_s"]
        self._lags.append(figures["lag_ns"])
        for code, n in figures["answers"].items():
            self.answers[code] = self.answers.get(code, 0) + n

    @property
    def seconds(self) -> float:
        return sum(load.seconds for load in self.loads)

    @property
    def answered(self) -> int:
        return sum(load.answered for load in self.loads)

    def per_s(self) -> float:
        return self.answered / self.seconds

    def latency_ns(self) -> np.ndarray[Any, Any]:
        return np.concatenate([load.latency_ns for load in self.loads])

    def percentile_us(self, p: float) -> float:
        return round(float(np.percentile(self.latency_ns(), p)) / 1e3, 1)

    def lag_p99_us(self) -> int:
        return round(float(np.percentile(np.concatenate(self._lags), 99)) / 1e3)


def _sustained(callers: Any, capacity: float, p99_us: float, seed: int) -> float:
    """The highest rate at which every call is answered and the p99 is at most ``p99_us``, found by halving; 0 where
    none above ``UNLOADED`` of the capacity was found."""
    low, high = 0.0, 1.0
    share = (UNLOADED + high) / 2
    for probe in range(PROBES):
        time.sleep(PAUSE_S)
        load: Load = asked(callers, "open", capacity * share, PROBE_S, 1000 * (seed + 1) + probe)
        if not load.refused and not load.unanswered and load.percentile_us(99) <= p99_us:
            low = share
        else:
            high = share
        share = (max(low, UNLOADED) + high) / 2
    return capacity * low


def _whole(load: Load, *, refusals: bool) -> None:
    if load.unanswered or (load.refused and not refusals):
        raise QuotelifeError(
            f"of {load.sent} calls {load.unanswered} were not answered and {load.refused} refused, where none should be"
        )


def _overloaded(callers: Any, rate: float, seconds: float, seed: int, friend: Any) -> str:
    """What a gRPC client of somebody else's is told meanwhile."""
    told(friend)
    callers.send(("open", rate, seconds, seed))
    friend.send("go")
    answer: str = told(friend)
    told(callers)
    return answer


def _asks_on(pipe: Any, address: Address) -> None:
    import grpc

    assert not isinstance(address, str)
    with grpc.insecure_channel(f"{address[0]}:{address[1]}") as channel:
        ask: Any = channel.unary_unary(GET_EXPIRY)  # type: ignore[call-arg]  # bytes both ways
        ask(REQUEST, timeout=10)
        pipe.send("ready")
        pipe.recv()
        for _ in range(100):
            asked_at_once = [ask.future(REQUEST, timeout=10) for _ in range(64)]
            refused = [each for each in asked_at_once if each.code() is not grpc.StatusCode.OK]
            if refused:
                metadata: Any = refused[0].trailing_metadata()
                status = status_pb2.Status.FromString(dict(metadata).get("grpc-status-details-bin", b""))
                retry = error_details_pb2.RetryInfo()
                if status.details and status.details[0].Unpack(retry):
                    wait_ms = retry.retry_delay.ToMilliseconds()
                    pipe.send(f"{refused[0].code().name}, again in {wait_ms} ms")
                else:
                    pipe.send(f"{refused[0].code().name}, without RetryInfo")
                return
        pipe.send("never refused")


def _refusal_cost(name: str, *, known: bool) -> dict[str, Any]:
    """CPU of the service a refusal, where most calls are refused: what answers cost, told by a load that is all
    answered, is taken off. Both are measured in turns, and so of a refusal is all that overload costs beside."""
    _, others = cores()
    with (
        running_service({"in_flight_max": IN_FLIGHT}, market=False) as service,
        child(spin, pinned=others),
        calling(service.address, CONNECTIONS, known, pinned=others) as callers,
    ):
        asked(callers, "closed", REFUSED_IN_FLIGHT, 1.0)
        capacity, overloaded = _Series(service, callers), _Series(service, callers)
        for _ in range(TURNS):
            capacity.add("closed", IN_FLIGHT, CAPACITY_S)
            overloaded.add("closed", REFUSED_IN_FLIGHT, REFUSED_S)
    answer_us = capacity.cpu_s / capacity.answered * 1e6
    refused = sum(load.refused for load in overloaded.loads)
    refusal_us = (overloaded.cpu_s * 1e6 - overloaded.answered * answer_us) / refused
    return {f"{name}_cpu_us": round(refusal_us, 2), f"{name}_ratio_to_answer": ratio(refusal_us, answer_us)}
