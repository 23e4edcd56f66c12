"""A real order log with one order whose end came before its last change: purged, or the book is wrong for hours."""

import json
import lzma
from collections.abc import Iterator
from pathlib import Path

import pytest

from quotelife.config import load_config
from quotelife.engine import Engine
from quotelife.records import EventBuffer, EventFlags, EventKindCode, QualityCode, SideCode

pytestmark = pytest.mark.realdata
MS = 1_000_000
HOUR = 3600 * 1000 * MS
SATOSHI = 10**8
TEXT = """
version: 1
model: {artifact: first_passage}
instruments:
  - {name: BTC-USD, venue: bitstamp, symbol: btcusd, tick_size: 0.01, lot_size: 0.00000001, order_level: true}
"""
Best = tuple[int, int]


def rows(path: Path) -> Iterator[tuple[int, str, dict]]:  # type: ignore[type-arg]
    with lzma.open(path, "rt") as lines:
        for line in lines:
            stamp, kind, data = line.split(" ", 2)
            yield int(stamp) * MS, kind, json.loads(data)


def ticks(price: str) -> int:
    return round(float(price) * 100)


def lots(amount: str) -> int:
    return round(float(amount) * SATOSHI)


class Log:
    """The log as an order-level feed would hand it on, published books with or without."""

    def __init__(self, engine: Engine) -> None:
        self.engine = engine
        self.buffer = EventBuffer(64)
        self.resting: set[int] = set()

    def send(self, kind: EventKindCode, t: int, **fields: int) -> None:
        self.buffer.append(kind, receive_ns=t, flags=EventFlags.LAST, **fields)
        self.engine.on_events(self.buffer)
        self.buffer.clear()

    def order(self, kind: str, t: int, data: dict) -> None:  # type: ignore[type-arg]
        order_id = data["id"]
        if kind == "order_deleted":
            self.resting.discard(order_id)
            self.send(EventKindCode.CANCEL, t, order_id=order_id)
            return
        # A change of an order from before the log makes it known; so does one that comes after the end, the fault.
        event = EventKindCode.MODIFY if order_id in self.resting else EventKindCode.ADD
        self.resting.add(order_id)
        self.send(
            event, t, order_id=order_id, side=SideCode.ASK if data["order_type"] else SideCode.BID,
            price_ticks=ticks(data["price"]), size_lots=lots(data["amount"]),
        )  # fmt: skip

    def published(self, t: int, data: dict) -> None:  # type: ignore[type-arg]
        bid, ask = data["bids"][0], data["asks"][0]
        self.send(EventKindCode.QUOTE, t, price_ticks=ticks(bid[0]), size_lots=lots(bid[1]),
                  order_id=ticks(ask[0]), aux=lots(ask[1]))  # fmt: skip

    def best(self) -> Best:
        _, bid, _, ask, _ = self.engine.level_top(0)
        return bid, ask


@pytest.fixture
def log(tmp_path: Path) -> Log:
    path = tmp_path / "config.yaml"
    path.write_text(TEXT, encoding="utf-8")
    log = Log(Engine(load_config(path)))
    log.send(EventKindCode.SNAPSHOT_BEGIN, 1)
    log.send(EventKindCode.SNAPSHOT_END, 1)
    return log


def play(log: Log, path: Path, *, quotes: bool) -> tuple[int, int, int]:
    """(books published after the first hour, equal best prices now, equal ones at some moment of the last 50 ms)."""
    books, equal, near = 0, 0, 0
    start = 0
    history: list[tuple[int, Best]] = [
        (0, (0, 0))
    ]  # best prices from when on, the last 50 ms and what held then
    for t, kind, data in rows(path):
        start = start or t
        if kind == "order_book":
            if quotes:
                log.published(t, data)
            if t - start > HOUR:
                best = ticks(data["bids"][0][0]), ticks(data["asks"][0][0])
                books += 1
                equal += best == log.best()
                near += best in [log.best(), *(then for _, then in history)]
        elif kind != "trade":
            log.order(kind, t, data)
            history.append((t, log.best()))
            while len(history) > 1 and history[1][0] < t - 50 * MS:
                del history[0]
    return books, equal, near


def test_best_prices_equal_the_published_ones_once_the_stale_order_is_purged(
    data_dir: Path, log: Log
) -> None:
    books, equal, near = play(log, data_dir / "bitstamp" / "2015-05-01.log.xz", quotes=True)
    status = log.engine.instrument_status(0, log.engine.now_ns)
    assert (books, near) == (3956, 3956)
    assert equal == 3954, (
        "two books left the venue before the order record that came 0 and 17 ms ahead of them"
    )
    assert status.purged_orders == 1
    assert QualityCode(status.quality) is not QualityCode.CROSSED


def test_without_published_books_what_stays_crossed_is_purged(data_dir: Path, log: Log) -> None:
    books, equal, _ = play(log, data_dir / "bitstamp" / "2015-05-01.log.xz", quotes=False)
    assert (books, log.engine.instrument_status(0, log.engine.now_ns).purged_orders) == (3956, 1)
    assert equal == 3954
