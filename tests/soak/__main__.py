"""``python -m soak``, with ``tests`` on PYTHONPATH: one service with all feeds, against a simulated venue for each.

A line of JSON from each every ten seconds, on standard output and in DIRECTORY/HANDLER.jsonl; SIGINT ends it. Exit
status 1 when any book was wrong, or did not become the venue's again. One seed makes the same faults in the same
order, though not at the same instants.
"""

import argparse
import json
import sys
import tempfile
from pathlib import Path
from typing import Any, TextIO

import uvloop

from quotelife_server import log
from soak.rig import Rig
from soak.venues import HANDLERS


def parser() -> argparse.ArgumentParser:
    cli = argparse.ArgumentParser(prog="python -m soak", description=__doc__)
    cli.add_argument("--seconds", type=float, default=3600.0)
    cli.add_argument("--seed", type=int, default=1)
    cli.add_argument("--handlers", default=",".join(HANDLERS), help="names with commas between")
    cli.add_argument("--directory", type=Path, help="where the lines go, too")
    cli.add_argument("--checkpoint", type=float, default=150.0, help="seconds between checkpoints, at most")
    cli.add_argument("--pause", type=float, default=3.0, help="seconds between faults, at most")
    return cli


class Lines:
    """A line of JSON on standard output, and in the handler's own file."""

    def __init__(self, directory: Path | None) -> None:
        self._directory = directory
        self._files: dict[str, TextIO] = {}
        if directory is not None:
            directory.mkdir(parents=True, exist_ok=True)

    def __call__(self, told: dict[str, Any]) -> None:
        line = json.dumps(told) + "\n"
        sys.stdout.write(line)
        sys.stdout.flush()
        if self._directory is not None:
            name = told.get("handler", "all")
            if name not in self._files:
                self._files[name] = (self._directory / f"{name}.jsonl").open("w", encoding="utf-8")
            self._files[name].write(line)
            self._files[name].flush()


def main() -> int:
    arguments = parser().parse_args()
    names = [name for name in arguments.handlers.split(",") if name]
    unknown = [name for name in names if name not in HANDLERS]
    if unknown:
        parser().error(f"--handlers: {unknown[0]!r} is none of {', '.join(HANDLERS)}")
    log.configure("warning")
    tell = Lines(arguments.directory)
    tell({"seed": arguments.seed, "seconds": arguments.seconds, "handlers": names})
    with tempfile.TemporaryDirectory() as folder:
        rig = Rig([HANDLERS[name](name) for name in names], arguments.seed, Path(folder), tell)
        between_s, pause_s = (arguments.checkpoint / 5, arguments.checkpoint), (0.05, arguments.pause)
        try:
            found = uvloop.run(rig.run(arguments.seconds, between_s, pause_s))
        except KeyboardInterrupt:
            tell({"interrupted": True})
            return 130
    tell({"passed": not found, "found": found})
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
