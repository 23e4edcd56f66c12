"""One front end and one client: a service of its own for the two, and every case of the client."""

import json
import shutil
import subprocess
import sys
import tempfile
import threading
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from interop.grpc_clients.clients import Case, Client, Target

TRANSPORTS = ("native", "grpc_aio")
CASE_S = 120.0
LOAD_CALLS_PER_S_MIN = 100
EMPTY_S = 5.0  # until nothing is in flight any more


@dataclass(frozen=True, slots=True)
class Outcome:
    """What became of a case."""

    transport: str
    client: str
    case: str
    ok: bool
    note: str = ""


class ServiceProcess:
    """The service in a process of its own; it ends when the block does."""

    def __init__(self, transport: str, papers: Path) -> None:
        self._folder = Path(tempfile.mkdtemp(prefix="quotelife-service-"))
        command = [sys.executable, "-m", "interop.grpc_clients.service", transport, self._folder, papers]
        self._process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, bufsize=1
        )
        self.addresses: dict[str, str] = self._answer()

    def __enter__(self) -> "ServiceProcess":
        return self

    def __exit__(self, *_: object) -> None:
        assert self._process.stdin is not None
        self._process.stdin.close()
        try:
            self._process.wait(30)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        shutil.rmtree(self._folder, ignore_errors=True)

    def order(self, word: str) -> dict[str, Any]:
        assert self._process.stdin is not None
        self._process.stdin.write(word + "\n")
        self._process.stdin.flush()
        return self._answer()

    def _answer(self) -> dict[str, Any]:
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        if not line:
            raise RuntimeError(f"the service has ended with status {self._process.wait()}")
        return dict(json.loads(line))


class Rig:
    """``calls``: of a load; ``seconds``: of load while connections are sent away."""

    def __init__(self, transport: str, papers: Path, *, calls: int, seconds: int) -> None:
        self._transport = transport
        self._papers = papers
        self._calls = calls
        self._seconds = seconds

    def tried(self, client: Client) -> list[Outcome]:
        """Every case of the client, then what the service says of all of them."""
        with ServiceProcess(self._transport, self._papers) as service:
            cases = [case for case in client.cases if case.control or self._transport == "native"]
            outcomes = [self._outcome(client, case, service) for case in cases]
            outcomes.append(self._left_over(client, service))
            if client.drains is not None:
                outcomes.append(self._drained(client, client.drains, service))
        return outcomes

    def _target(self, service: ServiceProcess, case: Case) -> Target:
        return Target(service.addresses[case.service], self._papers, case.papers, self._calls, self._seconds)

    def _outcome(self, client: Client, case: Case, service: ServiceProcess) -> Outcome:
        limit_s = CASE_S + self._calls / LOAD_CALLS_PER_S_MIN
        try:
            ok, note = case.run(self._target(service, case), limit_s)
        except subprocess.TimeoutExpired:
            ok, note = False, f"not done after {limit_s:.0f} s"
        return Outcome(self._transport, client.name, case.name, ok, note)

    def _left_over(self, client: Client, service: ServiceProcess) -> Outcome:
        """Places in flight and streams are given back, and deadlines have come with their calls."""
        end_s = time.monotonic() + EMPTY_S
        while True:
            figures = service.order("figures")
            empty = figures["in_flight"] == figures["streams"] == 0
            if empty or time.monotonic() > end_s:
                break
            time.sleep(0.05)
        told = not client.tells_deadlines or figures["with_deadline"] > 0
        note = ", ".join(f"{name} {value}" for name, value in figures.items())
        return Outcome(self._transport, client.name, "given back", empty and told, note)

    def _drained(self, client: Client, case: Case, service: ServiceProcess) -> Outcome:
        """The service leaves in the middle of the load: calls are answered, or end with UNAVAILABLE."""
        timer = threading.Timer(self._seconds / 2, lambda: service.order("drain"))
        timer.start()
        outcome = self._outcome(client, case, service)
        timer.join()
        return outcome
