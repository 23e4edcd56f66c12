"""Real NASDAQ order messages: the order-level book against the book that LOBSTER itself published after each."""

from collections.abc import Iterator
from decimal import Decimal
from itertools import islice
from pathlib import Path

import pytest

from quotelife.book.order_book import Orders
from quotelife.config import load_config
from quotelife.engine import Engine
from quotelife.feed.lobster import LobsterDecoder, LobsterFiles, anonymous_id, parse_book, parse_message
from quotelife.records import EventBuffer, EventFlags, EventKindCode, RequestRecord, SideCode
from quotelife.replay.files import FileSource
from quotelife.replay.lobster import LobsterRecording
from quotelife.replay.run import Replay

pytestmark = pytest.mark.realdata
S = 1_000_000_000
BID, ASK = SideCode.BID, SideCode.ASK
Levels = list[tuple[int, int]]


def rows_of(data_dir: Path, name: str) -> Iterator[tuple[bytes, bytes]]:
    yield from LobsterFiles.find(data_dir / "lobster" / name).lines()


@pytest.mark.parametrize(
    ("rows", "newly_seen"), [(40_000, 10_871), pytest.param(155_935, 33_840, marks=pytest.mark.slow)]
)
def test_one_step_from_any_published_book_gives_the_next_one(
    data_dir: Path, rows: int, newly_seen: int
) -> None:
    """AMZN, five levels: message i applied to row i−1 is row i, but for a level newly seen at the bottom."""
    mismatches, revealed, steps = 0, 0, 0
    before: tuple[Levels, Levels] | None = None
    book = Orders(16, 16)
    for line, row in islice(rows_of(data_dir, "LOBSTER_SampleFile_AMZN_2012-06-21_5.zip"), rows):
        bids, asks = parse_book(row)
        now = list(bids.items()), list(asks.items())
        if before is not None:
            book.clear()
            for side, levels in zip((BID, ASK), before, strict=True):
                for price, lots in levels:
                    book.add(anonymous_id(side, price), side, price, lots)
            message = parse_message(line)
            side = BID if message.direction == 1 else ASK
            if message.kind == 1:
                book.add(message.order_id, side, message.price, message.size)
            elif message.kind == 4:
                book.execute(anonymous_id(side, message.price), message.size)
            elif message.kind in (2, 3):
                book.cancel(anonymous_id(side, message.price), message.size)
            book.levels.refresh()
            ours = book.levels.bids(5), book.levels.asks(5)
            mismatches += any(mine != theirs[: len(mine)] for mine, theirs in zip(ours, now, strict=True))
            short = sum(len(theirs) - len(mine) for mine, theirs in zip(ours, now, strict=True))
            mismatches += short > 1
            revealed += short == 1
            steps += 1
        before = now
    assert not any(book.counts.values())
    assert (mismatches, steps, revealed) == (0, rows - 1, newly_seen)


class Played:
    """Events of a decoder on an order-level book of their own."""

    def __init__(self, files: LobsterFiles) -> None:
        self.buffer = EventBuffer(4096)
        self.decoder = LobsterDecoder(
            self.buffer,
            instrument=0,
            tick_size=Decimal("0.01"),
            lot_size=Decimal(1),
            midnight_ns=files.midnight_ns,
        )
        self.book = Orders()
        self.corrections: list[tuple[int, int]] = []  # side and price, in the last message

    def step(self, line: bytes, row: bytes | None) -> None:
        self.buffer.clear()
        self.decoder.message(line, row)
        self.corrections = []
        for event in self.buffer.array().tolist():
            _, _, _, price, lots, order_id, _, _, kind, side, flags = event
            if kind == EventKindCode.ADD:
                self.book.add(order_id, side, price, lots)
            elif kind == EventKindCode.MODIFY:
                self.book.modify(order_id, price, lots)
            elif kind == EventKindCode.CANCEL:
                self.book.cancel(order_id, lots)
            elif kind == EventKindCode.EXECUTE:
                self.book.execute(order_id, lots)
            if kind <= EventKindCode.EXECUTE and flags & EventFlags.SNAPSHOT:
                self.corrections.append((side, price))
        self.book.levels.refresh()


def in_ticks(levels: dict[int, int]) -> Levels:
    return [(price // 100, lots) for price, lots in levels.items()]


@pytest.mark.parametrize(
    ("name", "rows"),
    [
        ("LOBSTER_SampleFile_AMZN_2012-06-21_5.zip", 30_000),
        ("LOBSTER_SampleFile_AAPL_2012-06-21_1.zip", 30_000),
        pytest.param("LOBSTER_SampleFile_AMZN_2012-06-21_5.zip", 155_935, marks=pytest.mark.slow),
        pytest.param("LOBSTER_SampleFile_AAPL_2012-06-21_1.zip", 118_497, marks=pytest.mark.slow),
    ],
)
def test_a_windowed_recording_is_followed_row_by_row(data_dir: Path, name: str, rows: int) -> None:
    """After each message the book is the published row, and only the bottom of the window ever needed correcting."""
    played = Played(LobsterFiles.find(data_dir / "lobster" / name))
    unequal, above_the_bottom = 0, 0
    for i, (line, row) in enumerate(islice(rows_of(data_dir, name), rows)):
        played.step(line, row)
        bids, asks = map(in_ticks, parse_book(row))
        unequal += (played.book.levels.bids(50), played.book.levels.asks(50)) != (bids, asks)
        for side, price in played.corrections if i else ():
            above_the_bottom += price > bids[-1][0] if side == BID else price < asks[-1][0]
    assert (i + 1, unequal, above_the_bottom) == (rows, 0, 0)
    assert not any(played.book.counts.values())


def test_fifty_levels_run_free_for_an_hour(data_dir: Path) -> None:
    """AAPL from the first row on by messages alone: 91,907 of 91,997 best levels, and every head row ten deep."""
    folder = data_dir / "lobster"
    messages = (folder / "AAPL_2012-06-21_34200000_37800000_message_50.csv").read_bytes().splitlines()
    best = (folder / "bigfatwhale_AAPL_2012-06-21_orderbook_50_head.csv").read_bytes().splitlines()
    deep = (folder / "bigfatwhale_tests_AAPL_2012-06-21_orderbook_50.csv").read_bytes().splitlines()
    played = Played(LobsterFiles(folder, "", "", "AAPL", 0))
    equal_best, equal_deep = 0, 0
    for i, line in enumerate(messages):
        played.step(line, deep[0] if i == 0 else None)
        bids, asks = map(in_ticks, parse_book(best[i]))
        equal_best += (played.book.levels.bids(1), played.book.levels.asks(1)) == (bids, asks)
        if i < len(deep):
            bids, asks = map(in_ticks, parse_book(deep[i]))
            equal_deep += (played.book.levels.bids(10), played.book.levels.asks(10)) == (bids[:10], asks[:10])
    assert (len(messages), len(deep)) == (91_997, 672)
    assert equal_best >= 91_907
    assert equal_deep == 672


def test_a_day_is_replayed_and_lives_follow_it(data_dir: Path, tmp_path: Path) -> None:
    """AMZN, the first 60,000 rows through the engine: every published best equal, and lives that are not one."""
    path = tmp_path / "config.yaml"
    path.write_text(
        "version: 1\nmodel: {artifact: logistic}\ninstruments:\n  - {name: AMZN, venue: nasdaq, symbol: AMZN, "
        "tick_size: 0.01, lot_size: 1, order_level: true, adverse_bps: 2}\n",
        encoding="utf-8",
    )
    engine = Engine(load_config(path))
    recording = data_dir / "lobster" / "LOBSTER_SampleFile_AMZN_2012-06-21_5.zip"
    lives: set[int] = set()
    run = Replay(
        engine,
        FileSource([LobsterRecording.find(str(recording), engine.instruments)]),
        ask_every_ns=S,
        ask=lambda t: [("AMZN", RequestRecord(0, 1, now_ns=t))],
        on_decision=lambda _, decision: lives.add(decision.life_ns),
    )
    for _ in run.steps():
        if run.report.lines == 60_000:
            break
    entry, report = run.report.sources["AMZN"], run.report
    assert (entry.checked, entry.equal, entry.mismatches) == (60_000, 60_000, [])
    status = engine.instrument_status(0, engine.now_ns)
    assert (status.crossed, status.gaps, status.purged_orders, status.unsupported) == (0, 0, 0, 0)
    assert (status.unknown_orders, status.invalid_orders, status.dropped_orders) == (0, 0, 0)
    assert report.qualities["GOOD"] > 0.99 * sum(report.qualities.values())
    assert report.decisions["QUOTE"] > 0.5 * sum(report.decisions.values())
    assert len(lives) > 100
