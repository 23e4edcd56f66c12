"""Instruments whose feed sends single orders: the same engine, the same doubts, the same features."""

import random
from pathlib import Path

import pytest

from quotelife.book.quality import QualityCause
from quotelife.config import load_config
from quotelife.engine import Engine
from quotelife.features.schema import INDEX
from quotelife.records import (
    DecisionCode,
    DecisionRecord,
    EventBuffer,
    EventFlags,
    EventKindCode,
    QualityCode,
    RequestRecord,
    SideCode,
    StatusKind,
)

S = 1_000_000_000
MS = 1_000_000
T0 = 1_700_000_000 * S
BID, ASK = SideCode.BID, SideCode.ASK
ADD, MODIFY, CANCEL, EXECUTE = (
    EventKindCode.ADD,
    EventKindCode.MODIFY,
    EventKindCode.CANCEL,
    EventKindCode.EXECUTE,
)
TEXT = """
version: 1
model: {artifact: first_passage}
instruments:
  - {name: AMZN, venue: test, symbol: AMZN, tick_size: 0.01, lot_size: 1, warmup: 1s, order_level: true,
     book_orders_max: 100, purge_after: 500ms}
  - {name: BTC, venue: test, symbol: BTC, tick_size: 0.1, lot_size: 0.001, warmup: 1s}
"""


class Feed:
    """Order records of instrument 0, one venue message each."""

    def __init__(self, engine: Engine) -> None:
        self.engine = engine
        self.buffer = EventBuffer(4096)
        self.sequence = 0

    def send(self, kind: int, t: int, **fields: int) -> None:
        self.sequence += 1
        fields.setdefault("sequence", self.sequence)
        self.buffer.append(kind, receive_ns=t, flags=fields.pop("flags", EventFlags.LAST), **fields)
        self.engine.on_events(self.buffer)
        self.buffer.clear()

    def add(self, t: int, order_id: int, side: int, price: int, lots: int, **more: int) -> None:
        self.send(ADD, t, order_id=order_id, side=side, price_ticks=price, size_lots=lots, **more)

    def snapshot(self, t: int, levels: int = 12, *, every_order: bool = False) -> None:
        """Two orders a level: ids 1.. on the bid, 101.. on the ask; best prices 1000 and 1002, 100 lots each."""
        self.send(EventKindCode.SNAPSHOT_BEGIN, t, flags=0, aux=int(every_order))
        for k in range(levels):
            for half, lots in enumerate((60, 40)):
                self.add(t, 1 + 2 * k + half, BID, 1000 - k, lots, flags=EventFlags.SNAPSHOT)
                self.add(t, 101 + 2 * k + half, ASK, 1002 + k, lots, flags=EventFlags.SNAPSHOT)
        self.send(EventKindCode.SNAPSHOT_END, t)

    def top(self) -> tuple[int, int, int, int]:
        status = self.engine.instrument_status(0, self.engine.now_ns)
        return status.bid_ticks, status.bid_lots, status.ask_ticks, status.ask_lots

    def quality(self) -> QualityCode:
        return QualityCode(self.engine.instrument_status(0, self.engine.now_ns).quality)

    def features(self, t: int, side: int = -1) -> dict[str, float]:
        decision = DecisionRecord()
        self.engine.decide(RequestRecord(0, side, now_ns=t), decision)
        values = {name: decision.feature(i) for name, i in INDEX.items()}
        return {name: value for name, value in values.items() if value is not None}


@pytest.fixture
def feed(tmp_path: Path) -> Feed:
    path = tmp_path / "config.yaml"
    path.write_text(TEXT, encoding="utf-8")
    return Feed(Engine(load_config(path), start_ns=T0))


@pytest.fixture
def warm(feed: Feed) -> Feed:
    """A whole book, good for 2 s."""
    feed.snapshot(T0 + S)
    for k in range(40):
        feed.add(T0 + S + (k + 1) * 50 * MS, 1000 + k, BID, 990, 1)
        feed.send(CANCEL, T0 + S + (k + 1) * 50 * MS, order_id=1000 + k)
    assert feed.quality() is QualityCode.GOOD
    return feed


NOW = T0 + 3 * S


def test_orders_of_one_level_are_summed(feed: Feed) -> None:
    feed.snapshot(T0 + S)
    assert feed.top() == (1000, 100, 1002, 100)
    feed.add(T0 + S, 500, BID, 1001, 7)
    assert feed.top() == (1001, 7, 1002, 100)
    feed.send(MODIFY, T0 + S, order_id=500, price_ticks=1000, size_lots=9)
    assert feed.top() == (1000, 109, 1002, 100)
    feed.send(CANCEL, T0 + S, order_id=1, size_lots=10)
    feed.send(EXECUTE, T0 + S, order_id=101)
    assert feed.top() == (1000, 99, 1002, 40)


def test_no_order_is_taken_before_the_book_is_whole(feed: Feed) -> None:
    feed.add(T0 + S, 1, BID, 1000, 5)
    assert feed.top() == (0, 0, 0, 0)
    assert feed.quality() is QualityCode.WARMING


def test_a_half_applied_message_is_not_shown(warm: Feed) -> None:
    warm.add(NOW, 2000, BID, 1002, 500, flags=0)
    assert warm.top() == (1000, 100, 1002, 100)
    for order_id in (101, 102):
        warm.send(EXECUTE, NOW, order_id=order_id, flags=EventFlags.LAST if order_id == 102 else 0)
    assert warm.top() == (1002, 500, 1003, 100)
    assert warm.engine.instrument_status(0, NOW).crossed == 0


def test_a_gap_empties_the_book_until_the_next_snapshot(warm: Feed) -> None:
    warm.send(EventKindCode.CLEAR, NOW, flags=EventFlags.GAP | EventFlags.LAST)
    assert warm.quality() is QualityCode.GAPPED
    warm.add(NOW, 3000, BID, 1000, 5)
    assert warm.top() == (0, 0, 0, 0)
    warm.snapshot(NOW)
    assert warm.top() == (1000, 100, 1002, 100)
    warm.send(CANCEL, NOW, order_id=1)
    assert warm.top() == (1000, 40, 1002, 100), "ids of the new snapshot rest, those from before do not"


def test_an_execution_is_a_trade_of_the_other_side(warm: Feed) -> None:
    warm.send(EXECUTE, NOW, order_id=101, size_lots=20, side=ASK)
    seen = warm.features(NOW + MS)
    assert seen["trade_imbalance_100ms"] == 1.0
    assert seen["trade_intensity_100ms"] == pytest.approx(10.0)
    assert seen["vwap_deviation_100ms"] == 0.0


def test_an_execution_is_no_cancel(warm: Feed) -> None:
    before = warm.features(NOW)["cancel_rate_1s"]
    warm.send(EXECUTE, NOW, order_id=101, size_lots=20)
    assert warm.features(NOW)["cancel_rate_1s"] == before
    warm.send(CANCEL, NOW, order_id=102, size_lots=30)
    assert warm.features(NOW)["cancel_rate_1s"] == before + 30


def test_a_hidden_trade_takes_nothing_off_the_cancels(warm: Feed) -> None:
    before = warm.features(NOW)["cancel_rate_1s"]
    warm.send(EventKindCode.TRADE, NOW, side=BID, price_ticks=1001, size_lots=50)
    seen = warm.features(NOW)
    assert seen["cancel_rate_1s"] == before
    assert seen["trade_imbalance_100ms"] == 1.0


def test_an_execution_of_an_unknown_order_still_is_a_trade(warm: Feed) -> None:
    warm.send(EXECUTE, NOW, order_id=77_777, side=BID, price_ticks=1000, size_lots=5)
    assert warm.features(NOW)["trade_imbalance_100ms"] == -1.0
    assert warm.top() == (1000, 100, 1002, 100)


def test_a_correction_is_no_order_flow(warm: Feed) -> None:
    before = warm.features(NOW)
    warm.add(NOW, 4000, BID, 999, 500, flags=EventFlags.LAST | EventFlags.SNAPSHOT)
    warm.send(CANCEL, NOW, order_id=3, flags=EventFlags.LAST | EventFlags.SNAPSHOT)
    seen = warm.features(NOW)
    assert (seen["add_rate_1s"], seen["cancel_rate_1s"]) == (before["add_rate_1s"], before["cancel_rate_1s"])
    assert seen["depth_bid_3"] == before["depth_bid_3"] + 440


def test_more_orders_than_there_is_room_for_are_a_gap(warm: Feed) -> None:
    """A book that misses orders is never called GOOD."""
    for k in range(53):
        warm.add(NOW, 5000 + k, BID, 980, 1)
    assert warm.quality() is QualityCode.GAPPED
    status = warm.engine.instrument_status(0, NOW)
    assert (status.gaps, status.dropped_orders) == (1, 1)
    warm.snapshot(NOW)
    warm.send(EventKindCode.STATUS, NOW + 1500 * MS, aux=7)
    assert warm.quality() is QualityCode.GOOD


def test_a_snapshot_that_does_not_fit_leaves_the_gap_open(feed: Feed) -> None:
    feed.snapshot(T0 + S, levels=26)
    assert feed.quality() is QualityCode.GAPPED
    assert feed.engine.instrument_status(0, T0 + S).dropped_orders == 4
    feed.snapshot(T0 + S, levels=25)
    assert feed.quality() is not QualityCode.GAPPED


def test_what_cannot_be_applied_is_counted_and_changes_nothing(warm: Feed) -> None:
    warm.send(CANCEL, NOW, order_id=99_999)
    warm.send(MODIFY, NOW, order_id=99_999, price_ticks=1001, size_lots=5)
    warm.add(NOW, 6000, BID, 1001, -5)
    warm.add(NOW, 6001, 0, 1001, 5)
    status = warm.engine.instrument_status(0, NOW)
    assert (status.unknown_orders, status.invalid_orders) == (2, 2)
    warm.add(NOW, 7000, BID, 999, 5)
    assert warm.engine.instrument_status(0, NOW).orders == status.orders + 1
    warm.send(CANCEL, NOW, order_id=7000, size_lots=5)
    assert warm.engine.instrument_status(0, NOW).orders == status.orders > 0
    assert warm.top() == (1000, 100, 1002, 100)


def test_levels_on_an_order_level_instrument_are_unsupported_and_orders_elsewhere(warm: Feed) -> None:
    warm.send(EventKindCode.LEVEL, NOW, side=BID, price_ticks=1001, size_lots=5)
    warm.add(NOW, 1, BID, 1001, 5, instrument=1)
    assert warm.top() == (1000, 100, 1002, 100)
    assert [warm.engine.instrument_status(i, NOW).unsupported for i in (0, 1)] == [1, 1]


def test_quiet_order_lines_are_alive_by_their_trades(warm: Feed) -> None:
    """A hidden trade comes down the same line as the orders: it owes no answer of the book."""
    t = NOW
    for _ in range(40):
        t += 100 * MS
        warm.send(EventKindCode.TRADE, t, side=BID, price_ticks=1001, size_lots=1)
    assert warm.quality() is QualityCode.GOOD
    assert warm.engine.instrument_status(0, t + 40 * S).quality == QualityCode.STALE


def test_a_decision_is_made_on_an_order_level_book(warm: Feed) -> None:
    t = NOW
    for k in range(80):
        t += 50 * MS
        warm.add(t, 7000 + k, BID, 1001, 50)
        t += 50 * MS
        warm.send(CANCEL, t, order_id=7000 + k)
    decision = DecisionRecord()
    warm.engine.decide(RequestRecord(0, 1, now_ns=t), decision)
    assert DecisionCode(decision.kind) is DecisionCode.QUOTE
    assert decision.life_ns > 0


def test_adds_and_cancels_are_counted_by_order_and_side(warm: Feed) -> None:
    """Against a plain list of what was sent, for desks on both sides; executions are neither."""
    rng = random.Random(11)
    sent: list[tuple[int, int, int, int]] = []  # t, side, lots added, lots cancelled
    resting: dict[int, tuple[int, int, int]] = {}
    t = NOW + 2 * S
    for k in range(400):
        t += rng.choice((0, MS, 9 * MS, 40 * MS))
        if len(resting) < 20 or (len(resting) < 40 and rng.random() < 0.3):
            side, lots = rng.choice((BID, ASK)), rng.randint(1, 90)
            price = 995 if side == BID else 1010
            warm.add(t, 20_000 + k, side, price, lots)
            resting[20_000 + k] = (side, price, lots)
            sent.append((t, side, lots, 0))
            continue
        order_id = rng.choice(sorted(resting))
        side, price, lots = resting.pop(order_id)
        what, less = rng.choice((MODIFY, CANCEL, EXECUTE)), rng.randint(1, lots)
        if what == MODIFY:
            new, moved = rng.randint(1, 90), price + rng.choice((0, 1))
            warm.send(MODIFY, t, order_id=order_id, price_ticks=moved, size_lots=new)
            if moved != price:
                sent.append((t, side, new, lots))
            elif new != lots:
                sent.append((t, side, max(new - lots, 0), max(lots - new, 0)))
            resting[order_id] = (side, moved, new)
            continue
        warm.send(what, t, order_id=order_id, size_lots=less)
        if what == CANCEL:
            sent.append((t, side, 0, less))
        if less < lots:
            resting[order_id] = (side, price, lots - less)
    for desk, own, opposite in ((1, BID, ASK), (-1, ASK, BID)):
        seen = warm.features(t, desk)
        for name, window in (("100ms", 100 * MS), ("1s", S)):
            for which, side in (("own", own), ("opposite", opposite)):
                there = [row for row in sent if row[0] > t - window and row[1] == side]
                expected = {
                    f"add_rate_{which}_{name}": sum(row[2] for row in there),
                    f"adds_{which}_{name}": sum(row[2] > 0 for row in there),
                    f"cancel_rate_{which}_{name}": sum(row[3] for row in there),
                    f"cancels_{which}_{name}": sum(row[3] > 0 for row in there),
                }
                for feature, total in expected.items():
                    assert seen[feature] == pytest.approx(total * S / window), feature


def published(feed: Feed, t: int, bid: int, ask: int) -> None:
    feed.send(EventKindCode.QUOTE, t, price_ticks=bid, size_lots=1, order_id=ask, aux=1)


def test_what_crosses_the_published_best_price_is_purged_once_it_is_old(warm: Feed) -> None:
    warm.add(NOW, 8000, BID, 1001, 5)
    published(warm, NOW + 100 * MS, 999, 1001)
    assert warm.top() == (1001, 5, 1002, 100), "published books lag behind the orders"
    published(warm, NOW + 700 * MS, 999, 1001)
    assert warm.top() == (1000, 100, 1002, 100)
    assert warm.engine.instrument_status(0, NOW + S).purged_orders == 1


def test_published_prices_are_no_view_of_their_own(warm: Feed) -> None:
    published(warm, NOW, 990, 1010)
    assert warm.top() == (1000, 100, 1002, 100)


def test_a_crossed_book_waits_for_the_match_before_anything_is_purged(warm: Feed) -> None:
    warm.add(NOW, 8000, BID, 1003, 150)
    assert warm.quality() is QualityCode.CROSSED
    for k, order_id in enumerate((101, 102, 103)):
        warm.send(EXECUTE, NOW + (k + 1) * 100 * MS, order_id=order_id, size_lots=0 if k < 2 else 50)
    warm.send(CANCEL, NOW + 400 * MS, order_id=8000)
    assert warm.top() == (1000, 100, 1003, 50)
    assert warm.engine.instrument_status(0, NOW + S).purged_orders == 0


def test_of_a_book_that_stays_crossed_the_lonely_side_is_purged(warm: Feed) -> None:
    """One bid above four asks that rest since long: its end was lost, not theirs."""
    warm.add(NOW, 8000, BID, 1004, 5)
    warm.add(NOW + 400 * MS, 8001, BID, 990, 1)
    assert warm.quality() is QualityCode.CROSSED
    warm.add(NOW + 600 * MS, 8002, BID, 990, 1)
    assert warm.top() == (1000, 100, 1002, 100)
    assert warm.quality() is QualityCode.GOOD
    assert warm.engine.instrument_status(0, NOW + S).purged_orders == 1


def storm(feed: Feed, seed: int, events: int) -> None:
    """Records of every kind with values from everywhere, among them impossible ones."""
    rng = random.Random(seed)
    wild = (0, 1, -1, 2**40, 2**40 + 1, 2**60, -(2**60), 2**63 - 1, -(2**63))
    t = feed.engine.now_ns
    for _ in range(events):
        t += rng.choice((0, 0, 1, MS, 90 * MS, 2 * S))
        near = rng.random() < 0.8
        feed.send(
            rng.choice((ADD, ADD, ADD, MODIFY, CANCEL, EXECUTE, *range(13))), t,
            order_id=rng.randrange(150) if near else rng.choice(wild),
            side=rng.choice((BID, ASK, 0, 255)) if rng.random() < 0.1 else rng.choice((BID, ASK)),
            price_ticks=rng.randint(990, 1010) if near else rng.choice(wild),
            size_lots=rng.randint(0, 20) if near else rng.choice(wild),
            aux=rng.randint(0, 9) if near else rng.choice(wild),
            flags=rng.choice((EventFlags.LAST, EventFlags.LAST, 0, EventFlags.SNAPSHOT, 7)),
            sequence=rng.choice((0, 1, feed.sequence, 2**62)),
        )  # fmt: skip
        status = feed.engine.instrument_status(0, t)
        if status.quality == QualityCode.GOOD:
            assert status.bid_lots > 0 < status.ask_lots, f"seed {seed}"
            assert status.bid_ticks < status.ask_ticks, f"seed {seed}"


@pytest.mark.parametrize(
    ("seed", "events"), [(1, 20_000), pytest.param(2, 2_000_000, marks=pytest.mark.slow)]
)
def test_after_any_storm_a_snapshot_makes_the_book_right(feed: Feed, seed: int, events: int) -> None:
    feed.snapshot(T0 + S)
    storm(feed, seed, events)
    t = feed.engine.now_ns + MS
    feed.send(
        EventKindCode.STATUS, t, aux=StatusKind.FEED_UP, instrument=2**32 - 1
    )  # companions begin anew too
    feed.send(EventKindCode.STATUS, t, aux=StatusKind.TRADING)
    feed.send(EventKindCode.CLEAR, t)
    feed.snapshot(t)
    assert feed.top() == (1000, 100, 1002, 100)
    feed.send(EventKindCode.STATUS, t + 1500 * MS, aux=StatusKind.HEARTBEAT)
    assert feed.quality() is QualityCode.GOOD
    assert feed.features(t + 1500 * MS)["depth_bid_5"] == 500


def test_memory_of_the_orders_is_stated(feed: Feed) -> None:
    order_level, level = (feed.engine.instrument_status(i, T0).memory_bytes for i in (0, 1))
    assert order_level - level == 2 * 4096 * 8 + 4096  # two tables, a page for 101 orders


WRONG = {
    "unknown to cancel": (CANCEL, {"order_id": 999, "size_lots": 1}),
    "unknown to execute": (EXECUTE, {"order_id": 999, "size_lots": 1}),
    "unknown to replace": (MODIFY, {"order_id": 999, "aux": 1000, "price_ticks": 1000, "size_lots": 1}),
    "one that rests already": (ADD, {"order_id": 1, "side": BID, "price_ticks": 998, "size_lots": 1}),
    "more than is left": (EXECUTE, {"order_id": 1, "size_lots": 61}),
}


@pytest.mark.parametrize("wrong", WRONG)
def test_where_every_order_is_told_a_record_that_fits_none_makes_the_book_gapped(
    warm: Feed, wrong: str
) -> None:
    """From that record until a new snapshot, under its own cause; another feed's book goes on."""
    kind, fields = WRONG[wrong]
    warm.send(kind, T0 + 2 * S, **fields)
    assert warm.quality() is QualityCode.GOOD
    warm.snapshot(T0 + 3 * S, every_order=True)
    warm.send(EventKindCode.STATUS, T0 + 5 * S, aux=StatusKind.HEARTBEAT)
    assert warm.quality() is QualityCode.GOOD
    warm.send(kind, T0 + 5 * S, **fields)
    status = warm.engine.instrument_status(0, T0 + 5 * S)
    assert (status.quality, status.quality_cause) == (QualityCode.GAPPED, QualityCause.DIVERGED)
    warm.send(EventKindCode.SNAPSHOT_END, T0 + 6 * S)
    warm.add(T0 + 6 * S, 5000, BID, 1000, 1)
    assert warm.quality() is QualityCode.GAPPED
    warm.snapshot(T0 + 7 * S, every_order=True)
    warm.send(EventKindCode.STATUS, T0 + 9 * S, aux=StatusKind.HEARTBEAT)
    assert warm.quality() is QualityCode.GOOD


def test_a_divergence_among_recovered_messages_outlasts_the_recovery(warm: Feed) -> None:
    warm.snapshot(T0 + 2 * S, every_order=True)
    warm.send(EventKindCode.STATUS, T0 + 3 * S, aux=StatusKind.MISSING)
    warm.send(CANCEL, T0 + 3 * S, order_id=999, size_lots=1, flags=EventFlags.SNAPSHOT)
    warm.send(EventKindCode.SNAPSHOT_END, T0 + 3 * S)
    status = warm.engine.instrument_status(0, T0 + 5 * S)
    assert (status.quality, status.quality_cause) == (QualityCode.GAPPED, QualityCause.DIVERGED)


@pytest.mark.parametrize("pause", [StatusKind.HALT, StatusKind.AUCTION, StatusKind.MISSING])
def test_orders_that_cross_while_nothing_is_matched_are_kept(warm: Feed, pause: int) -> None:
    """A halt, an auction, a hole that is being closed: afterwards the matches are told, and the book is as it was."""
    warm.send(EventKindCode.STATUS, T0 + 2 * S, aux=pause)
    flags = EventFlags.SNAPSHOT if pause == StatusKind.MISSING else EventFlags.LAST
    warm.add(T0 + 2 * S, 900, BID, 1003, 5, flags=flags)
    for k in range(10):
        warm.send(EventKindCode.STATUS, T0 + 3 * S + k * S, aux=StatusKind.HEARTBEAT)
        warm.add(T0 + 3 * S + k * S, 901 + k, BID, 980, 5, flags=flags)
    if pause == StatusKind.MISSING:
        warm.send(EventKindCode.STATUS, T0 + 14 * S, aux=StatusKind.HALT)  # a record of a message, LAST
    assert warm.engine.instrument_status(0, T0 + 14 * S).purged_orders == 0
