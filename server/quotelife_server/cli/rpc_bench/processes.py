"""Processes of ``bench rpc``: on which core they run, how they are talked to, how they end, what they have used."""

import contextlib
import os
import select
import subprocess
import tempfile
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from types import TracebackType
from typing import IO

from quotelife.errors import QuotelifeError

END_S = 5.0
KILL_S = 2.0
LINE_BYTES_MAX = 65_536


class Cores:
    """One core for the server that is measured and one for whoever calls it, where there are two."""

    def __init__(self) -> None:
        self._all = os.sched_getaffinity(0)
        cores = sorted(self._all)
        self.apart = len(cores) > 1
        self.server = {cores[0]} if self.apart else self._all
        self.load = {cores[1]} if self.apart else self._all
        self.others = {cores[2]} if len(cores) > 2 else self.load

    def words(self) -> str:
        if not self.apart:
            return "one core for servers and load: round trips and calls a second say little"
        words = f"servers on core {min(self.server)}, load on core {min(self.load)}"
        return f"{words}, market events from core {min(self.others)}"

    @contextlib.contextmanager
    def of(self, cores: set[int]) -> Iterator[None]:
        """What is started in here runs on these cores."""
        os.sched_setaffinity(0, cores)
        try:
            yield
        finally:
            os.sched_setaffinity(0, self._all)


class Child:
    """A process that reads lines and writes lines, and that ends when its standard input does.

    So it ends with this process too, however that ends.
    """

    def __init__(self, command: Sequence[str | Path], cores: Cores, on: set[int]) -> None:
        self.name = Path(command[0]).name if len(command) < 3 else " ".join(map(str, command[:3]))
        self._errors: IO[bytes] = tempfile.TemporaryFile()  # noqa: SIM115 (closed in stop)
        with cores.of(on):
            self._process = subprocess.Popen(
                command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=self._errors, bufsize=0
            )
        self._read = b""

    @property
    def pid(self) -> int:
        return self._process.pid

    def line(self, within_s: float) -> str:
        """The next line it writes. Raises ``QuotelifeError``."""
        assert self._process.stdout is not None
        end_s = time.monotonic() + within_s
        while b"\n" not in self._read:
            left_s = end_s - time.monotonic()
            ready, _, _ = select.select([self._process.stdout], [], [], max(0.0, left_s))
            if not ready:
                raise QuotelifeError(f"{self.name}: nothing came within {within_s:.0f} s{self._said()}")
            piece = os.read(self._process.stdout.fileno(), LINE_BYTES_MAX)
            if not piece or len(self._read) > LINE_BYTES_MAX:
                with contextlib.suppress(subprocess.TimeoutExpired):
                    self._process.wait(KILL_S)
                raise QuotelifeError(f"{self.name}: ended with code {self._process.poll()}{self._said()}")
            self._read += piece
        line, _, self._read = self._read.partition(b"\n")
        return line.decode()

    def tell(self, line: str) -> None:
        """Raises ``QuotelifeError`` where nobody reads it."""
        assert self._process.stdin is not None
        try:
            self._process.stdin.write(line.encode() + b"\n")
        except BrokenPipeError:
            raise QuotelifeError(f"{self.name}: it has ended{self._said()}") from None

    def stop(self) -> None:
        """By the end of its standard input; by signals where that does not do."""
        for end, wait_s in (
            (self._close, END_S),
            (self._process.terminate, KILL_S),
            (self._process.kill, KILL_S),
        ):
            end()
            with contextlib.suppress(subprocess.TimeoutExpired):
                self._process.wait(wait_s)
                break
        if self._process.stdout is not None:
            self._process.stdout.close()
        self._errors.close()

    def _close(self) -> None:
        if self._process.stdin is not None:
            with contextlib.suppress(OSError):
                self._process.stdin.close()

    def _said(self) -> str:
        self._errors.seek(0)
        said = self._errors.read().decode(errors="replace").strip().splitlines()
        return f": {said[-1][:300]}" if said else ""

    def __enter__(self) -> "Child":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()


def family(pid: int) -> list[int]:
    """A process and all that descend from it."""
    children: dict[int, list[int]] = {}
    for entry in Path("/proc").iterdir():
        if entry.name.isdecimal():
            with contextlib.suppress(OSError):
                parent = int((entry / "stat").read_text().rpartition(")")[2].split()[1])
                children.setdefault(parent, []).append(int(entry.name))
    found = [pid]
    for each in found:
        found += children.get(each, [])
    return found


class Turns:
    """What a server's threads got of the processor, from ``start`` on: whoever gets no answer wants to know."""

    def __init__(self, pid: int) -> None:
        self._pid = pid
        self._began_s = time.monotonic()
        self._before = self._readings()

    def words(self) -> str:
        now = self._readings()
        ended = not Path(f"/proc/{self._pid}").exists()
        if ended or {state for _, _, state in now.values()} == {"Z"}:
            return f"the server, process {self._pid}, has ended"
        if not now:
            return f"what the server, process {self._pid}, did meanwhile cannot be read here"
        begun = {task: self._before.get(task, (0, 0, "")) for task in now}
        ran_ns = sum(ran - begun[task][0] for task, (ran, _, _) in now.items())
        waited_ns = max(waited - begun[task][1] for task, (_, waited, _) in now.items())
        states = "".join(sorted({state for _, _, state in now.values()}))
        return (
            f"in {time.monotonic() - self._began_s:.1f} s the server, process {self._pid}, "
            f"ran for {ran_ns / 1e9:.2f} s, and a thread of it waited for a processor for {waited_ns / 1e9:.2f} s; "
            f"its threads are {states} now"
        )

    def _readings(self) -> dict[str, tuple[int, int, str]]:
        """By thread: time on a processor, time ready without one, and its state as ``/proc`` has it."""
        out = {}
        with contextlib.suppress(OSError):
            for task in Path(f"/proc/{self._pid}/task").iterdir():
                with contextlib.suppress(OSError):
                    ran, waited, _ = (task / "schedstat").read_text().split()
                    state = (task / "stat").read_text().rpartition(")")[2].split()[0]
                    out[task.name] = (int(ran), int(waited), state)
        return out


class CpuClock:
    """Processor time of a process, its threads and its children, from ``start`` on."""

    def __init__(self, pid: int) -> None:
        self._pids = family(pid)
        self._before = self._readings()

    def ns(self) -> int:
        """The larger of two counts: by ``/proc/PID/task/*/schedstat``, and by the clocks of the processes, which alone
        know threads that have ended."""
        begun = {pid: self._before.get(pid, (0, 0)) for pid in self._pids}
        counts = [
            (threads_ns - begun[pid][0], clock_ns - begun[pid][1])
            for pid, (threads_ns, clock_ns) in self._readings().items()
        ]
        return max(sum(of) for of in zip(*counts, strict=True)) if counts else 0

    def _readings(self) -> dict[int, tuple[int, int]]:
        out = {}
        for pid in self._pids:
            threads_ns = 0
            with contextlib.suppress(OSError):
                for task in Path(f"/proc/{pid}/task").iterdir():
                    with contextlib.suppress(OSError):
                        threads_ns += int((task / "schedstat").read_text().split()[0])
                # CPUCLOCK_SCHED of a process, as clock_getcpuclockid gives it.
                out[pid] = (threads_ns, time.clock_gettime_ns((~pid << 3) | 2))
        return out
