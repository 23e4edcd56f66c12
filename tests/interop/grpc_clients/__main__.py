"""``python -m interop.grpc_clients``, with ``tests`` on PYTHONPATH: both front ends against clients that others wrote.

Builds what there is a compiler for (under build/clients), starts the service with each front end, has every client go
through its cases, and prints one table. Exit status 1 when a case failed. What is missing is named, with how to get it.
"""

import argparse
import sys
import tempfile
from pathlib import Path

from interop.grpc_clients.clients import CLIENTS, Client, Unbuilt
from interop.grpc_clients.rig import TRANSPORTS, Outcome, Rig
from reference import tls_kit

MARKS = {True: "ok", False: "FAIL"}


def parser() -> argparse.ArgumentParser:
    cli = argparse.ArgumentParser(prog="python -m interop.grpc_clients", description=__doc__)
    cli.add_argument("--clients", default=",".join(CLIENTS), help="names with commas between")
    cli.add_argument("--transports", default=",".join(TRANSPORTS), help="names with commas between")
    cli.add_argument("--calls", type=int, default=20_000, help="calls of a load, without an error")
    cli.add_argument("--fast-calls", type=int, default=1_000_000, help="of the clients that are fast enough")
    cli.add_argument("--control-calls", type=int, default=5_000, help="through grpc.aio")
    cli.add_argument("--seconds", type=int, default=4, help="of load while connections are sent away")
    return cli


def built(names: list[str]) -> list[Client]:
    there = []
    for name in names:
        try:
            CLIENTS[name].build()
        except Unbuilt as missing:
            say(f"{name}: not tried: {missing}")
        else:
            there.append(CLIENTS[name])
    return there


def say(line: str) -> None:
    sys.stdout.write(line + "\n")
    sys.stdout.flush()


def table(outcomes: list[Outcome]) -> None:
    width = max(len(each.client) for each in outcomes)
    for each in outcomes:
        note = f"  {each.note}" if each.note else ""
        say(f"{each.transport:8}  {each.client:{width}}  {each.case:14}  {MARKS[each.ok]:4}{note}")
    failed = sum(not each.ok for each in outcomes)
    say(f"{len(outcomes) - failed} of {len(outcomes)} cases passed")


def main() -> int:
    given = parser().parse_args()
    names = [name for name in given.clients.split(",") if name]
    transports = [name for name in given.transports.split(",") if name]
    for unknown in (*(set(names) - set(CLIENTS)), *(set(transports) - set(TRANSPORTS))):
        parser().error(f"{unknown!r} is none of {', '.join((*CLIENTS, *TRANSPORTS))}")
    outcomes: list[Outcome] = []
    with tempfile.TemporaryDirectory(prefix="quotelife-clients-") as folder:
        papers = tls_kit.make(Path(folder))
        clients = built(names)
        for transport in transports:
            for client in clients:
                calls = given.fast_calls if client.fast else given.calls
                if transport == "grpc_aio":
                    calls = min(calls, given.control_calls)
                rig = Rig(transport, papers, calls=calls, seconds=given.seconds)
                tried = rig.tried(client)
                outcomes += tried
                failed = [each.case for each in tried if not each.ok]
                say(
                    f"... {transport} {client.name}: {'failed: ' + ', '.join(failed) if failed else 'passed'}"
                )
    if not outcomes:
        say("no client could be built")
        return 1
    table(outcomes)
    return int(any(not each.ok for each in outcomes))


if __name__ == "__main__":
    sys.exit(main())
