"""What a DBN record costs: simulated orders as MBO records, decoded, and the book that they make."""

import statistics
import time
from decimal import Decimal
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from quotelife.bench import time_orders
from quotelife.feed.dbn import DbnDecoder
from quotelife.feed.dbn_layout import DTYPES
from quotelife.records import EventBuffer, EventKindCode
from quotelife.sim.orders import OrderFlow

MESSAGES = 200_000
_MBO = 0xA0
_LAST = 0x80
_PRICE = 10_000_000  # of a tick of 0.01
_ACTIONS = {
    EventKindCode.ADD: b"A",
    EventKindCode.MODIFY: b"M",
    EventKindCode.CANCEL: b"C",
    EventKindCode.SNAPSHOT_BEGIN: b"R",
}
_SIDES = np.array([b"N", b"B", b"A"])


def orders_to_mbo(events: npt.NDArray[np.void]) -> npt.NDArray[np.void]:
    """Order events as MBO records, a message each; an execution is T, F and C."""
    kinds = events["kind"]
    events = events[np.isin(kinds, [*_ACTIONS, EventKindCode.EXECUTE])]
    executed = events["kind"] == EventKindCode.EXECUTE
    records = np.repeat(events, np.where(executed, 3, 1))
    place = np.concatenate([[0], np.cumsum(np.where(executed, 3, 1))[:-1]])
    actions = np.full(len(records), b"C")
    for kind, action in _ACTIONS.items():
        actions[records["kind"] == kind] = action
    actions[place[executed]], actions[place[executed] + 1] = b"T", b"F"
    out = np.zeros(len(records), dtype=DTYPES["mbo"][0])
    out["length"], out["rtype"], out["instrument_id"], out["publisher_id"] = 14, _MBO, 1, 1
    out["ts_event"] = out["ts_recv"] = records["receive_ns"]
    out["sequence"] = records["sequence"]
    out["order_id"] = records["order_id"]
    out["price"], out["size"] = records["price_ticks"] * _PRICE, records["size_lots"]
    out["action"], out["side"] = actions, _SIDES[records["side"]]
    out["side"][place[executed]] = _SIDES[3 - records["side"][place[executed]].astype(int)]  # the aggressor
    out["flags"] = np.where((actions == b"T") | (actions == b"F"), 0, _LAST)
    return out


def bench_dbn(data: Path | None, rounds: int) -> dict[str, Any]:
    """Medians, ns of processor time a record: decoding, and the book of what was decoded. Always on simulated orders:
    the recorded files have four records each; ``data`` is for the shape of the registry."""
    tape = EventBuffer(MESSAGES + 10)
    OrderFlow().write(tape, MESSAGES)
    records = orders_to_mbo(tape.array())
    encoded = records.tobytes()
    events = EventBuffer(len(records) + 1024)
    times: dict[str, list[float]] = {"decode": [], "book": []}
    for _ in range(rounds):
        decoder = DbnDecoder(events)
        decoder.add_instrument("1", 0, Decimal("0.01"), Decimal(1), order_level=True)
        decoder.feed(encoded)
        events.clear()
        started = time.thread_time_ns()
        decoder.decode()
        times["decode"].append((time.thread_time_ns() - started) / len(records))
        decoder.end()
        ns, _, best = time_orders(events)
        times["book"].append(ns / len(records))
    if best != time_orders(tape)[2]:
        raise AssertionError("the decoded orders make another book than those that were encoded")
    medians = {key: round(statistics.median(values), 1) for key, values in times.items()}
    return {
        "records": len(records),
        "decode_ns_per_record": medians["decode"],
        "book_ns_per_record": medians["book"],
        "decode_and_book_ns_per_record": round(medians["decode"] + medians["book"], 1),
    }
