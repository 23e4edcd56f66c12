"""``quotelife bench feeds``: ns a message of each feed's decoder, each also as a ratio within the run."""

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

from quotelife_server.cli.bench_dbn import bench_dbn
from quotelife_server.cli.bench_itch import bench_itch
from quotelife_server.cli.bench_json import VENUES, bench_json

DECODERS: dict[str, Callable[[Path | None, int], dict[str, Any]]] = {
    **{venue: partial(bench_json, venue) for venue in VENUES},
    "dbn": bench_dbn,
    "itch": bench_itch,
}
"""By name: takes the folder of recorded data, None where there is none, and the rounds to take medians of."""


def bench_feeds(data: Path | None, rounds: int) -> dict[str, Any]:
    """The figures of every decoder."""
    return {name: measure(data, rounds) for name, measure in DECODERS.items()}
