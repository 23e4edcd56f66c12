"""``quotelife bench book``: the order-level book, alone and with every window, against nautilus_trader's.

Ours is timed with and without the view (best prices and sizes) brought up to date after each record, theirs with
and without reading it. nautilus_trader is no dependency: it runs in a process of its own under the interpreter that is
named, round by round in turn with ours, on deltas built beforehand.
"""

import os
import statistics
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from decimal import Decimal
from pathlib import Path
from typing import IO, Any

import numpy as np
import numpy.typing as npt

from quotelife.bench import time_engine, time_orders
from quotelife.config import load_config
from quotelife.engine import Engine
from quotelife.errors import QuotelifeError
from quotelife.feed.lobster import LobsterDecoder, LobsterFiles
from quotelife.records import EventBuffer, EventKindCode
from quotelife.sim.orders import OrderFlow

MESSAGES = "lobster/AAPL_2012-06-21_34200000_37800000_message_50.csv"
FIRST_BOOK = "lobster/bigfatwhale_tests_AAPL_2012-06-21_orderbook_50.csv"
SIMULATED = 200_000
ADD, UPDATE, DELETE = 1, 2, 3
Best = tuple[int, int, int, int]


def bench_book(data: Path | None, rounds: int, nautilus: Path | None) -> dict[str, Any]:
    """By tape: medians over interleaved rounds, ns an event, and ratios. ``QuotelifeError`` when books differ."""
    return {name: _measure(tape, rounds, nautilus) for name, tape in _tapes(data).items()}


def _measure(tape: EventBuffer, rounds: int, nautilus: Path | None) -> dict[str, Any]:
    orders = tape.array()
    orders = orders[orders["kind"] <= EventKindCode.EXECUTE]
    deltas, known = _deltas(orders)
    orders = orders[known]
    alone = EventBuffer(len(orders))
    alone.extend(orders)
    times: dict[str, list[float]] = {
        key: [] for key in ("book", "book_and_view", "book_and_windows", "nautilus", "nautilus_and_view")
    }
    with _nautilus(nautilus, deltas) as theirs:
        for _ in range(rounds):
            times["book"].append(time_orders(alone, view=False)[0] / len(alone))
            ns, _, ours = time_orders(alone)
            times["book_and_view"].append(ns / len(alone))
            times["book_and_windows"].append(time_engine(order_engine(), tape) / len(tape))
            if theirs is not None:
                ns, view_ns, best = theirs()
                times["nautilus"].append(ns / len(alone))
                times["nautilus_and_view"].append(view_ns / len(alone))
                if best != ours:
                    raise QuotelifeError(f"the books differ: ours {ours}, nautilus_trader's {best}")
    out: dict[str, Any] = {"events": len(alone)}
    medians = {key: statistics.median(values) for key, values in times.items() if values}
    out |= {f"{key}_ns_per_event": round(value, 1) for key, value in medians.items()}
    for name in ("", "_and_view") if times["nautilus"] else ():
        ratios = [b / a for a, b in zip(times[f"book{name}"], times[f"nautilus{name}"], strict=True)]
        out[f"nautilus{name}_ratio_to_book{name}"] = round(statistics.median(ratios), 1)
    return out


def _tapes(data: Path | None) -> dict[str, EventBuffer]:
    """Order records of one instrument, index 0: the simulator's; before it, where recordings are at hand, AAPL's."""
    tapes = {}
    folder = data or (Path(os.environ["QUOTELIFE_DATA"]) if "QUOTELIFE_DATA" in os.environ else None)
    if folder is not None:
        tapes["recorded_aapl"] = recorded_orders(folder)
    tapes["simulated"] = EventBuffer(SIMULATED + 10)
    OrderFlow().write(tapes["simulated"], SIMULATED)
    return tapes


def recorded_orders(folder: Path) -> EventBuffer:
    """An hour of AAPL, fifty levels deep."""
    messages, first = folder / MESSAGES, folder / FIRST_BOOK
    for path in (messages, first):
        if not path.is_file():
            raise QuotelifeError(f"{path}: no such recording")
    tape = EventBuffer(200_000)
    files = LobsterFiles(messages, messages.name, first.name, "AAPL", 0)
    decoder = LobsterDecoder(
        tape, instrument=0, tick_size=Decimal("0.01"), lot_size=Decimal(1), midnight_ns=files.midnight_ns
    )
    with messages.open("rb") as lines, first.open("rb") as books:
        for line in lines:
            decoder.message(line, books.readline() if len(tape) == 0 else None)
    return tape


def order_engine(n: int = 1) -> Engine:
    """An engine of ``n`` order-level instruments."""
    rows = [
        f"  - {{name: I{i}, venue: bench, symbol: S{i}, tick_size: 0.01, lot_size: 1, warmup: 0s, order_level: true}}\n"
        for i in range(n)
    ]
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "bench.yaml"
        path.write_text(
            "version: 1\nmodel: {artifact: logistic}\ninstruments:\n" + "".join(rows),
            encoding="utf-8",
        )
        return Engine(load_config(path))


def _deltas(orders: npt.NDArray[Any]) -> tuple[npt.NDArray[np.int64], list[int]]:
    """(action, side, price, size, id) with what is left of the order, as nautilus_trader wants it; of which records.

    Records of orders that do not rest are left out: the other book would refuse them.
    """
    left: dict[int, tuple[int, int, int]] = {}
    out, known = [], []
    for place, event in enumerate(orders):
        kind, order_id, lots = int(event["kind"]), int(event["order_id"]), int(event["size_lots"])
        if kind == EventKindCode.ADD:
            left[order_id] = (int(event["side"]), int(event["price_ticks"]), lots)
            action = ADD
        elif order_id not in left:
            continue
        else:
            side, price, rest = left[order_id]
            if kind == EventKindCode.MODIFY:
                rest, price = lots, int(event["price_ticks"])
            else:
                rest -= lots or rest
            left[order_id] = (side, price, rest)
            action = UPDATE if rest > 0 else DELETE
        side, price, rest = left[order_id]
        known.append(place)
        out.append((action, side, price, max(rest, 0), order_id))
        if action == DELETE:
            del left[order_id]
    return np.array(out, dtype=np.int64), known


@contextmanager
def _nautilus(python: Path | None, deltas: npt.NDArray[np.int64]) -> Iterator[Any]:
    """A call that runs one round there: (ns, ns with the view, best prices and sizes); ``None``: no interpreter."""
    if python is None:
        yield None
        return
    script = Path(__file__).with_name("bench_nautilus.py")
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "deltas.csv"
        np.savetxt(path, deltas, fmt="%d", delimiter=",")
        environment = {key: value for key, value in os.environ.items() if key != "PYTHONPATH"}
        try:
            process = subprocess.Popen(
                [str(python), str(script), str(path)],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                text=True,
                env=environment,
            )
        except OSError as error:
            raise QuotelifeError(f"--nautilus {python}: {error.strerror}") from None
        with process:
            try:
                _answer(process.stdout)
                yield lambda: _round(process)
            finally:
                if process.stdin is not None:
                    process.stdin.close()


def _round(process: "subprocess.Popen[str]") -> tuple[int, int, Best]:
    assert process.stdin is not None
    process.stdin.write("\n")
    process.stdin.flush()
    ns, view_ns, bid, bid_lots, ask, ask_lots = _answer(process.stdout)
    return ns, view_ns, (bid, bid_lots, ask, ask_lots)


def _answer(lines: IO[str] | None) -> list[int]:
    line = lines.readline() if lines is not None else ""
    if not line:
        raise QuotelifeError(
            "--nautilus: name a Python interpreter whose environment has nautilus_trader (pip install nautilus_trader)"
        )
    return [int(field) for field in line.split()]
