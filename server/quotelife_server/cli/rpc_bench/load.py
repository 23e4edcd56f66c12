"""Who calls the servers of ``bench rpc``: h2load, the client of gRPC C++ and the spinning client; and what they ask."""

import json
import re
import secrets
import shutil
import subprocess
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from quote_expiry.v1 import quote_expiry_service_pb2 as expiry
from quote_expiry.v1 import types_pb2 as types
from quotelife.errors import QuotelifeError
from quotelife_server.cli.rpc_bench.build import Programs
from quotelife_server.cli.rpc_bench.processes import Child, Cores, CpuClock, Turns
from quotelife_server.cli.rpc_bench.servers import GET_EXPIRY, STREAM_EXPIRY

CONNECTIONS = 4  # that calls in flight are spread over, where there are so many
WARM_CALLS = 200
WARM_SHARE = 0.2
SLICES = 5  # that a step of round trips is cut into
SLICE_S_MIN = 0.15
CLIENT_S = 30.0  # beyond the step itself
QUOTED_MIN = 0.99
BYTES_OFF_MAX = 0.1
ID_DIGITS = 16  # that the clients write behind a prefix
INSTRUMENT = "BTC"
H2LOAD, CPP_CLIENT = "h2load", "cpp_client"
NO_H2LOAD = "h2load is not here: apt-get install -y nghttp2-client"


class RefusedError(Exception):
    """What was measured is not what it would be called."""


@dataclass(frozen=True, slots=True)
class Target:
    """``address``: ``host:port`` or ``unix:/path``; ``authority``: the certificate that signed the server's, where it
    speaks TLS."""

    pid: int
    address: str
    authority: Path | None = None


@dataclass(frozen=True, slots=True)
class Taken:
    """What a load has measured: server CPU, rate, and the round trip where the client times it."""

    calls: int
    cpu_us: float
    calls_per_s: float
    p50_us: float | None = None
    p99_us: float | None = None


@dataclass(frozen=True, slots=True)
class H2load:
    """What h2load says at its end."""

    seconds: float
    succeeded: int
    data_bytes: int


def parse_h2load(text: str) -> H2load:
    """Raises ``QuotelifeError`` where it is not its report."""
    finished = re.search(r"^finished in ([\d.]+)(us|ms|s|m|h)", text, re.MULTILINE)
    requests = re.search(r"^requests: .*?(\d+) succeeded", text, re.MULTILINE)
    data = re.search(r"^traffic: .*\((\d+)\) data", text, re.MULTILINE)
    if finished is None or requests is None or data is None:
        raise QuotelifeError(f"h2load: not understood: {text.strip()[-300:] or 'it says nothing'}")
    unit = {"us": 1e-6, "ms": 1e-3, "s": 1.0, "m": 60.0, "h": 3600.0}[finished[2]]
    return H2load(float(finished[1]) * unit, int(requests[1]), int(data[1]))


def request(request_id: str, fill: int = 0) -> expiry.GetExpiryRequest:
    """One as an OMS sends it; ``fill``: characters that its quote id is longer."""
    return expiry.GetExpiryRequest(
        request_id=request_id,
        rfq_id="rfq-20240808-08-000417",
        quote_id="quote-20240808-08-000417-01" + "x" * fill,
        instrument=INSTRUMENT,
        side=types.SIDE_BUY,
        size=types.Size(quantity="1.5", unit=types.SIZE_UNIT_BASE_QUANTITY),
        counterparty="alpine-pension",
        desk="crypto-otc",
        edge="0.5",
        client_deadline_utc_ns=time.time_ns() + 3600 * 10**9,
    )


class Load:
    """``step_s``: how many seconds each measured step takes; round trips take it in ``SLICES``. Files of requests are
    written to ``folder``."""

    def __init__(self, programs: Programs, cores: Cores, folder: Path, step_s: float) -> None:
        self._programs = programs.paths
        self._cores = cores
        self._step_s = step_s
        self._slice_s = max(step_s / SLICES, SLICE_S_MIN)
        self._h2load = shutil.which("h2load")
        self._rates: dict[tuple[str, int], float] = {}
        self.reply_bytes = 0
        self.missing = {} if self._h2load else {"h2load": NO_H2LOAD}
        self._number = secrets.token_hex(8)
        placeholder = self._prefix() + "0" * ID_DIGITS
        asked = request(placeholder).SerializeToString()
        self.request_bytes = len(asked)
        # An id that is left out takes its tag and its length with it.
        fixed = request("", len(placeholder) + 2).SerializeToString()
        streamed = expiry.StreamExpiryRequest(tag=1, request=request(placeholder)).SerializeToString()
        self._bodies = {}
        for name, body in (
            ("unary", asked),
            ("stream", streamed),
            ("h2load", b"\0" + len(fixed).to_bytes(4, "big") + fixed),
        ):
            self._bodies[name] = folder / f"{name}.request"
            self._bodies[name].write_bytes(body)
        self._id_at = {
            kind: body.index(placeholder.encode()) for kind, body in (("unary", asked), ("stream", streamed))
        }

    @property
    def clients(self) -> tuple[str, ...]:
        """Those that are here and keep many calls in flight."""
        here = {H2LOAD: self._h2load is not None, CPP_CLIENT: "cpp-client" in self._programs}
        return tuple(name for name, is_here in here.items() if is_here)

    @property
    def has_spin(self) -> bool:
        return "spin" in self._programs

    def h2load(self, target: Target, in_flight: int) -> Taken:
        """One fixed request without an id, so that no stored answer is given. Raises ``RefusedError``."""
        assert self._h2load is not None
        key = (target.address, in_flight)
        if key not in self._rates:
            self._rates[key] = WARM_CALLS / self._run_h2load(target, in_flight, WARM_CALLS).seconds
        calls = max(4 * in_flight, round(self._rates[key] * self._step_s))
        self._run_h2load(target, in_flight, max(in_flight, round(calls * WARM_SHARE)))
        clock = CpuClock(target.pid)
        said = self._run_h2load(target, in_flight, calls)
        cpu_ns = clock.ns()
        self._rates[key] = calls / said.seconds
        if said.succeeded != calls:
            raise RefusedError(f"{calls - said.succeeded} of {calls} calls of h2load failed")
        a_call = said.data_bytes / calls
        if abs(a_call / (5 + self.reply_bytes) - 1) > BYTES_OFF_MAX:
            raise RefusedError(
                f"{a_call:.0f} bytes an answer to h2load: not those of a QUOTE, {5 + self.reply_bytes}"
            )
        return Taken(calls, cpu_ns / calls / 1e3, self._rates[key])

    def cpp(self, target: Target, in_flight: int, *, stream: bool = False) -> Taken:
        """Requests with ids of their own, from the client of gRPC C++. Raises ``RefusedError``."""
        command: list[str | Path] = [self._programs["cpp-client"], target.address, self._bodies["unary"]]
        command += [
            self._prefix(),
            "stream" if stream else "unary",
            str(_connections(in_flight)),
            str(in_flight),
        ]
        command += [str(WARM_CALLS), str(self._step_s)]
        return self._timed(command if target.authority is None else [*command, target.authority], target)

    def spin(self, target: Target, *, stream: bool = False) -> Taken:
        """One call after another by a client that never sleeps, for one slice. Raises ``RefusedError``."""
        kind, path = ("stream", STREAM_EXPIRY) if stream else ("unary", GET_EXPIRY)
        fields = [expiry.GetExpiryResponse.DECISION_FIELD_NUMBER]
        if stream:
            outer = (
                expiry.StreamExpiryResponse.RESULT_FIELD_NUMBER,
                expiry.ExpiryResult.RESPONSE_FIELD_NUMBER,
            )
            fields = [*outer, *fields]
        command: list[str | Path] = [self._programs["spin"], target.address, path, self._bodies[kind]]
        command += [str(self._id_at[kind]), self._prefix(), ".".join(map(str, fields))]
        return self._timed([*command, kind, str(WARM_CALLS), str(self._slice_s)], target)

    def _prefix(self) -> str:
        """20 characters, others each time."""
        self._number = f"{(int(self._number, 16) + 1) % 2**64:016x}"
        return f"{self._number}-bch"

    def _timed(self, command: Sequence[str | Path], target: Target) -> Taken:
        turns = Turns(target.pid)
        with Child(command, self._cores, self._cores.load) as client:
            try:
                if client.line(CLIENT_S) != "ready":
                    raise QuotelifeError(f"{client.name}: it does not say that it is ready")
                clock = CpuClock(target.pid)
                client.tell("go")
                said = json.loads(client.line(self._step_s + CLIENT_S))
            except QuotelifeError as error:
                raise RefusedError(f"{error}; {turns.words()}") from None
            cpu_ns = clock.ns()
        calls = said["calls"]
        if said["failed"]:
            raise RefusedError(f"{said['failed']} of {calls} calls failed")
        if said["quoted"] < QUOTED_MIN * calls:
            raise RefusedError(f"{calls - said['quoted']} of {calls} answers were no QUOTE")
        p50_us, p99_us = said["p50_ns"] / 1e3, said["p99_ns"] / 1e3
        return Taken(calls, cpu_ns / calls / 1e3, calls / said["wall_ns"] * 1e9, p50_us, p99_us)

    def _run_h2load(self, target: Target, in_flight: int, calls: int) -> H2load:
        connections = _connections(in_flight)
        command = [
            str(self._h2load),
            "-n",
            str(calls),
            "-c",
            str(connections),
            "-m",
            str(in_flight // connections),
        ]
        command += [
            "-H",
            "te: trailers",
            "-H",
            "content-type: application/grpc",
            "-d",
            str(self._bodies["h2load"]),
        ]
        host = target.address
        if host.startswith("unix:"):
            command += ["--base-uri", host]
            host = "localhost"
        scheme = "http" if target.authority is None else "https"
        with self._cores.of(self._cores.load):
            process = subprocess.Popen(
                [*command, f"{scheme}://{host}{GET_EXPIRY}"],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                text=True,
            )
        within_s = 10 * self._step_s + CLIENT_S
        turns = Turns(target.pid)
        try:
            out, _ = process.communicate(timeout=within_s)
            return parse_h2load(out)
        except subprocess.TimeoutExpired:
            late = f"h2load was not done with {calls} calls after {within_s:.0f} s"
            raise RefusedError(f"{late}; {turns.words()}") from None
        except QuotelifeError as error:
            raise RefusedError(f"{error}; {turns.words()}") from None
        finally:
            process.kill()
            process.wait()


def _connections(in_flight: int) -> int:
    return min(CONNECTIONS, in_flight)
