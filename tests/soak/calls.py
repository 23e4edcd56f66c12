"""``python -m soak.calls``, with ``tests`` on PYTHONPATH: millions of calls to one service, whose memory must not grow.

h2load asks for the health and for GetExpiry by turns, until there have been ``--calls`` or ``--seconds`` are over.
A line of JSON after each round. Exit status 1 when memory has grown by more than ``GROWTH_BYTES_MAX`` since the first
half of the calls, or one has failed.
"""

import argparse
import json
import re
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from grpc_health.v1 import health_pb2

from quotelife_server.cli.bench_rig import GET_EXPIRY, REQUEST, RunningService, running_service

HEALTH = "/grpc.health.v1.Health/Check"
CONNECTIONS, IN_FLIGHT = 4, 16
ROUND = 250_000
GET_SHARE = 4  # one call of so many is a GetExpiry
GROWTH_BYTES_MAX = 8 * 2**20
SUCCEEDED = re.compile(r"status codes: (\d+) 2xx")


def parser() -> argparse.ArgumentParser:
    cli = argparse.ArgumentParser(prog="python -m soak.calls", description=__doc__)
    cli.add_argument("--calls", type=int, default=10_000_000)
    cli.add_argument("--seconds", type=float, default=1800.0, help="at most")
    return cli


def load(service: RunningService, path: str, message: Path, calls: int) -> int:
    """How many of them were answered."""
    address = service.address
    headers = ("-H", "content-type: application/grpc", "-H", "te: trailers")
    command = (
        *("h2load", "-n", str(calls), "-c", str(CONNECTIONS), "-m", str(IN_FLIGHT), "-d", str(message)),
        *headers,
        f"http://{address[0]}:{address[1]}{path}",
    )
    done = subprocess.run(command, check=True, capture_output=True, text=True)
    found = SUCCEEDED.search(done.stdout)
    return 0 if found is None else int(found[1])


def soak(service: RunningService, calls: int, seconds: float, tell: Any) -> list[str]:
    """What was wrong."""
    wrong: list[str] = []
    with tempfile.TemporaryDirectory() as folder:
        bodies = {}
        for path, payload in (
            (HEALTH, health_pb2.HealthCheckRequest().SerializeToString()),
            (GET_EXPIRY, REQUEST),
        ):
            bodies[path] = Path(folder) / path.rpartition("/")[2]
            bodies[path].write_bytes(b"\0" + len(payload).to_bytes(4, "big") + payload)
        began_s = time.monotonic()
        done, half_bytes, rss = 0, 0, 0
        while done < calls and time.monotonic() - began_s < seconds:
            for path, share in ((HEALTH, 1 - 1 / GET_SHARE), (GET_EXPIRY, 1 / GET_SHARE)):
                asked = round(min(ROUND, calls - done) * share)
                answered = load(service, path, bodies[path], asked)
                if answered != asked:
                    wrong.append(f"{path}: {asked - answered} of {asked} calls were not answered")
            done += min(ROUND, calls - done)
            figures = service.figures()
            rss = figures["rss"]
            failed = {code: n for code, n in figures["answers"].items() if code != "OK" and n}
            if failed:
                wrong.append(f"calls were answered by {failed}")
            if not half_bytes and 2 * done >= calls:
                half_bytes = rss
            tell({"calls": done, "rss": rss, "seconds": round(time.monotonic() - began_s, 1)})
    if half_bytes and rss - half_bytes > GROWTH_BYTES_MAX:
        wrong.append(f"memory grew by {rss - half_bytes} bytes in the second half of the calls")
    if not half_bytes:
        wrong.append(f"{seconds:g} s were over before half of the calls")
    return wrong


def main() -> int:
    arguments = parser().parse_args()
    if shutil.which("h2load") is None:
        parser().error("h2load is not here; run: apt-get install -y nghttp2-client")

    def tell(line: dict[str, Any]) -> None:
        sys.stdout.write(json.dumps(line) + "\n")
        sys.stdout.flush()

    # Firm quotes are kept for a while, and answers too: with little room they are as many in the middle as at the end.
    kept = {"recent": {"quotes_max": 4096}, "replies": {"bytes_max": 2**20}}
    with running_service(kept) as service:
        wrong = soak(service, arguments.calls, arguments.seconds, tell)
    tell({"passed": not wrong, "found": wrong})
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
