"""A book that gave up its far levels, and a market that walks there: GAPPED before a wrong price is shown."""

import random
from pathlib import Path

import pytest

from engine.test_engine import MS, T0, TEXT, Tape, make_config
from quotelife.book.quality import QualityCause
from quotelife.engine import Engine
from quotelife.records import EventFlags, QualityCode, SideCode, StatusKind
from quotelife.records import EventKindCode as Kind

BID, ASK = SideCode.BID, SideCode.ASK
BEYOND = (QualityCode.GAPPED, QualityCause.BEYOND_KNOWN_DEPTH)
GOOD = (QualityCode.GOOD, QualityCause.NONE)


@pytest.fixture
def engine(tmp_path: Path) -> Engine:
    text = TEXT.replace("warmup: 1s, drivers: [ETH]", "warmup: 0s, book_levels_max: 24, drivers: [ETH]")
    return Engine(make_config(tmp_path, text), start_ns=T0)


def state(engine: Engine) -> tuple[QualityCode, QualityCause]:
    status = engine.instrument_status(0, engine.now_ns)
    return QualityCode(status.quality), QualityCause(status.quality_cause)


def walked_off(engine: Engine) -> tuple[Tape, int]:
    """Forty bids, of which 24 are kept; all of those but nine are taken."""
    tape = Tape(engine)
    tape.snapshot(T0 + 1, levels=40)
    assert state(engine) == GOOD
    t = T0 + MS
    for price in range(1000, 986, -1):
        tape.diff(t, [(BID, price, 0)])
        assert state(engine) == GOOD, price
    tape.diff(t, [(BID, 986, 0)])
    return tape, t


def test_the_first_level_too_few_is_a_gap_and_a_wish_for_a_snapshot(engine: Engine) -> None:
    walked_off(engine)
    assert state(engine) == BEYOND
    assert engine.want_resync() == [0]
    assert engine.instrument_status(0, engine.now_ns).gaps == 1


def test_what_comes_after_it_is_not_taken_for_a_book(engine: Engine) -> None:
    tape, t = walked_off(engine)
    tape.diff(t + MS, [(BID, price, 5) for price in range(900, 950)])
    status = engine.instrument_status(0, engine.now_ns)
    assert (status.bid_lots, status.ask_lots) == (0, 0)
    assert state(engine) == BEYOND


def test_a_snapshot_ends_it(engine: Engine) -> None:
    tape, t = walked_off(engine)
    tape.snapshot(t + MS, levels=40, bid=985)
    assert state(engine) == GOOD
    assert engine.want_resync() == []


def test_a_lost_feed_is_no_wish_of_the_books(engine: Engine) -> None:
    tape, t = walked_off(engine)
    tape.event(Kind.STATUS, t + MS, aux=StatusKind.FEED_DOWN)
    assert state(engine) == (QualityCode.GAPPED, QualityCause.FEED_DOWN)
    assert engine.want_resync() == []


def test_a_thin_book_that_gave_up_nothing_is_good(engine: Engine) -> None:
    tape = Tape(engine)
    tape.snapshot(T0 + 1, levels=2)
    tape.diff(T0 + MS, [(BID, 1000, 0), (ASK, 1002, 0)])
    assert state(engine) == GOOD


def test_whenever_it_is_good_its_best_prices_are_those_of_a_book_without_a_bound(engine: Engine) -> None:
    rng = random.Random(11)
    tape = Tape(engine)
    books: dict[int, dict[int, int]] = {BID: {}, ASK: {}}

    def snapshot(t: int) -> None:
        tape.sequence += 1
        tape.buffer.append(Kind.SNAPSHOT_BEGIN, receive_ns=t)
        for side, levels in books.items():
            for price in rng.sample(sorted(levels), len(levels)):
                tape.buffer.append(
                    Kind.LEVEL, side=side, receive_ns=t, price_ticks=price, size_lots=levels[price]
                )
        tape.buffer.append(Kind.SNAPSHOT_END, receive_ns=t, flags=EventFlags.LAST, sequence=tape.sequence)
        tape.flush()

    for k in range(60):
        books[BID][1000 - k] = books[ASK][1002 + k] = 1 + k
    snapshot(T0 + 1)
    good = lost = 0
    t = T0 + 1
    for step in range(8000):
        t += MS
        side, other, sign = rng.choice(((BID, ASK, -1), (ASK, BID, 1)))
        levels, best = books[side], (max if side == BID else min)
        if rng.random() < (0.85 if step // 150 % 2 else 0.15) and len(levels) > 2:
            price, lots = rng.choice((best(levels), best(levels), rng.choice(sorted(levels)))), 0
            del levels[price]
        else:
            inside = max(books[BID]) + 1 if side == BID else min(books[ASK]) - 1
            price = inside + sign * int(abs(rng.gauss(0, 15)))
            if price in books[other] or (
                price >= min(books[ASK]) if side == BID else price <= max(books[BID])
            ):
                continue
            lots = levels[price] = rng.randint(1, 9)
        tape.diff(t, [(side, price, lots)])
        if state(engine) == GOOD:
            good += 1
            status = engine.instrument_status(0, t)
            bid, ask = max(books[BID]), min(books[ASK])
            shown = (
                status.bid_ticks,
                status.bid_lots,
                status.ask_ticks,
                status.ask_lots,
            )
            assert shown == (bid, books[BID][bid], ask, books[ASK][ask]), step
        elif state(engine) == BEYOND:
            lost += 1
            snapshot(t)
    assert lost > 10
    assert good > 3000
