"""Recorded Binance captures through the decoder; the oracle is the venue's own bookTicker."""

import json
from bisect import bisect_right
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from decimal import Decimal
from itertools import islice
from pathlib import Path

import pytest

from quotelife.feed.binance import BinanceDecoder
from quotelife.feed.recorded import RecordedMessage, merge_recorded
from quotelife.feed.symbol_feed import SyncState
from quotelife.records import EventBuffer, EventFlags, EventKindCode
from reference.event_books import AppliedBook, AppliedBooks, EventRow

pytestmark = pytest.mark.realdata


@dataclass(frozen=True)
class Capture:
    name: str
    market: str
    symbol: str
    tick_size: Decimal
    lot_size: Decimal
    files: tuple[str, ...]


USDM_LOT = Decimal("0.001")
SPOT_LOT = Decimal("0.00000001")  # resting sizes are finer than the venue's order size step
CAPTURES = [
    Capture("spot-btc", "spot", "BTCUSDT", Decimal("0.01"), SPOT_LOT, ("spot/btcusdt_20240808.gz",)),
    Capture("spot-eth", "spot", "ETHUSDT", Decimal("0.01"), SPOT_LOT, ("spot/ethusdt_20240808.gz",)),
    Capture("usdm-btc", "usdm", "BTCUSDT", Decimal("0.10"), USDM_LOT, ("usdm/btcusdt_20240808.gz",)),
    Capture("usdm-eth", "usdm", "ETHUSDT", Decimal("0.01"), USDM_LOT, ("usdm/ethusdt_20240808.gz",)),
    Capture(
        "usdm-btc-2023",
        "usdm",
        "BTCUSDT",
        Decimal("0.10"),
        USDM_LOT,
        ("usdm/btcusdt_20230404.dat.gz", "usdm/btcusdt_20230405.dat.gz"),
    ),
]
BY_CAPTURE = pytest.mark.parametrize("capture", CAPTURES, ids=lambda capture: capture.name)


class Run:
    """One capture through one decoder into one book."""

    def __init__(self, capture: Capture) -> None:
        self.symbol = capture.symbol
        self.buffer = EventBuffer()
        self.decoder = BinanceDecoder(capture.market, self.buffer)
        self.decoder.add_instrument(capture.symbol, 0, capture.tick_size, capture.lot_size)
        self.books = AppliedBooks()

    @property
    def book(self) -> AppliedBook:
        return self.books[0]

    def feed(self, message: RecordedMessage) -> list[EventRow]:
        if message.is_snapshot:
            self.decoder.snapshot(self.symbol, message.data, message.receive_ns)
        else:
            self.decoder.message(message.data, message.receive_ns)
        return self.books.drain(self.buffer)

    def feed_all(self, messages: Iterable[RecordedMessage]) -> "Run":
        for message in messages:
            self.feed(message)
        return self

    def snapshot(self, capture: Capture) -> bytes:
        """The book as the venue's REST answer would give it."""
        bids, asks = (
            [[str(t * capture.tick_size), str(q * capture.lot_size)] for t, q in side.items()]
            for side in self.book.levels()
        )
        return json.dumps({"lastUpdateId": self.book.sequence, "bids": bids, "asks": asks}).encode()


def messages(capture: Capture, data_dir: Path) -> Iterator[RecordedMessage]:
    return merge_recorded([data_dir / "binance" / name for name in capture.files])


def is_depth(message: RecordedMessage) -> bool:
    return b'"depthUpdate"' in message.data


@BY_CAPTURE
def test_book_equals_book_ticker_at_every_update_id(capture, data_dir):
    """Where both streams carry an id they agree; and between tickers the last ticker still holds."""
    depth_ids, ticker_ids = set(), set()
    for message in messages(capture, data_dir):
        if not message.is_snapshot and b"@markPrice" not in message.data and b"@trade" not in message.data:
            data = json.loads(message.data)["data"]
            (depth_ids if is_depth(message) else ticker_ids).add(data["u"])
    run = Run(capture).feed_all(messages(capture, data_dir))
    best, quotes = run.book.best, run.book.quotes
    first = min(best)
    stats = run.decoder.stats(capture.symbol)

    assert (stats.state, stats.gaps, stats.malformed, stats.off_grid) == (SyncState.SYNCED, 0, 0, 0)
    assert run.book.crossed == 0
    assert quotes.keys() == ticker_ids
    assert best.keys() == {u for u in depth_ids if u >= first}

    shared = best.keys() & quotes.keys()
    assert {u for u in shared if best[u] != quotes[u]} == set()
    assert len(shared) > 500

    ordered = sorted(quotes)
    followed = [u for u in best if u >= ordered[0]]
    assert [u for u in followed if best[u] != quotes[ordered[bisect_right(ordered, u) - 1]]] == []
    print(f"{capture.name}: {len(shared)} shared ids, {len(followed)} diffs, all equal")


FAULTS = ["drop", "cut", "reorder"]


def broken(kept: list[RecordedMessage], fault: str, at: list[int]) -> tuple[list[RecordedMessage], int]:
    """The capture with a fault at its depth messages ``at``, and the index of the first one that shows it."""
    first, second = at[0], at[1]
    if fault == "drop":
        return kept[:first] + kept[first + 1 :], second - 1
    if fault == "cut":
        return kept[:first] + kept[at[5] :], first
    swapped = list(kept)
    swapped[first], swapped[second] = kept[second], kept[first]
    return swapped, first


@pytest.mark.parametrize("fault", FAULTS)
@BY_CAPTURE
def test_a_break_is_flagged_at_once_and_heals_with_a_snapshot(capture, fault, data_dir):
    kept = list(islice(messages(capture, data_dir), 3000))
    depths = [i for i, message in enumerate(kept) if is_depth(message)]
    at = depths[len(depths) // 2 :]
    sound = Run(capture).feed_all(kept)
    faulty, shows_at = broken(kept, fault, at)
    heals_at = next(i for i in range(shows_at + 200, len(faulty)) if is_depth(faulty[i]))

    run = Run(capture).feed_all(faulty[:shows_at])
    assert run.book.whole
    assert run.decoder.wants_snapshot() in ([], [capture.symbol])  # the recorded one was never asked for

    events = run.feed(faulty[shows_at])
    gap = int(EventFlags.GAP | EventFlags.LAST)
    assert [(event.kind, event.flags) for event in events] == [(EventKindCode.CLEAR, gap)]
    assert not run.book.whole
    assert run.decoder.wants_snapshot() == [capture.symbol]
    assert run.decoder.wants_snapshot() == []

    for message in faulty[shows_at + 1 : heals_at]:
        run.feed(message)
        assert not run.book.whole

    venue = Run(capture).feed_all(kept[: kept.index(faulty[heals_at]) + 1])
    run.decoder.snapshot(capture.symbol, venue.snapshot(capture), faulty[heals_at].receive_ns)
    run.books.drain(run.buffer)
    run.feed_all(faulty[heals_at:])
    stats = run.decoder.stats(capture.symbol)
    assert (stats.state, stats.resyncs) == (SyncState.SYNCED, 1)
    assert run.book.whole
    assert run.book.levels() == sound.book.levels()
    wrong = {u for u, best in run.book.best.items() if best != sound.book.best.get(u, best)}
    assert wrong == set()
