"""Random interleavings, losses, copies and reorderings: never a wrong book while whole."""

import json
import random
from dataclasses import dataclass
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from quotelife.feed.binance import BinanceDecoder
from quotelife.feed.symbol_feed import SyncState
from quotelife.records import EventBuffer
from reference.binance_twin import BinanceTwin
from reference.event_books import AppliedBooks

Levels = dict[int, int]


@dataclass(frozen=True)
class Update:
    """One diff, and the venue's true book after it."""

    diff: dict[str, Any]
    bids: Levels
    asks: Levels


def venue_history(seed: int, futures: bool, diffs: int) -> list[Update]:
    """A venue's true book at the end of each diff. Futures ids have holes, spot ids have none."""
    rng = random.Random(seed)
    sides: tuple[Levels, Levels] = ({100: 5}, {101: 5})
    last, out = 50, []
    for n in range(diffs):
        changes: tuple[dict[int, int], dict[int, int]] = ({}, {})
        for _ in range(rng.randrange(4)):
            side = rng.randrange(2)
            price = rng.randrange(95, 101) if side == 0 else rng.randrange(101, 107)
            size = rng.randrange(3)
            changes[side][price] = size
            sides[side][price] = size
            if not size:
                del sides[side][price]
        hole = rng.randrange(3) if futures else 0
        first = last + 1 + hole
        diff = {
            "e": "depthUpdate",
            "E": 1_000 + 10 * n,
            "s": "BTCUSDT",
            "U": first,
            "u": first + rng.randrange(3),
            "pu": last,
            "b": [[str(price), str(size)] for price, size in changes[0].items()],
            "a": [[str(price), str(size)] for price, size in changes[1].items()],
        }
        if not futures:
            del diff["pu"]
        last = diff["u"]
        out.append(Update(diff, dict(sides[0]), dict(sides[1])))
    return out


def rest_answer(update: Update) -> dict[str, Any]:
    return {
        "lastUpdateId": update.diff["u"],
        "bids": [[str(price), str(size)] for price, size in update.bids.items()],
        "asks": [[str(price), str(size)] for price, size in update.asks.items()],
    }


class Rig:
    """Decoder, applied book and twin side by side, held against each other and the truth at each step."""

    def __init__(self, futures: bool, history: list[Update]) -> None:
        self.buffer = EventBuffer(4096)
        self.decoder = BinanceDecoder("usdm" if futures else "spot", self.buffer)
        self.decoder.add_instrument("BTCUSDT", 0, Decimal(1), Decimal(1))
        self.books = AppliedBooks()
        self.twin = BinanceTwin(futures)
        self.history = history
        self.truth = {update.diff["u"]: (update.bids, update.asks) for update in history}

    def diff(self, i: int) -> None:
        self.decoder.message(json.dumps(self.history[i].diff).encode(), i)
        self.twin.on_diff(self.history[i].diff)
        self.check()

    def snapshot(self, i: int) -> None:
        answer = rest_answer(self.history[i])
        self.decoder.snapshot("BTCUSDT", json.dumps(answer).encode(), i)
        self.twin.on_snapshot(answer)
        self.check()

    def disconnect(self) -> None:
        self.decoder.disconnected(0)
        self.twin.on_disconnect()
        self.check()

    def check(self) -> None:
        self.books.drain(self.buffer)
        book = self.books[0]
        stats = self.decoder.stats("BTCUSDT")
        assert book.whole == self.twin.whole == (stats.state is SyncState.SYNCED)
        assert (stats.gaps, stats.duplicates) == (self.twin.gaps, self.twin.duplicates)
        if book.whole:
            assert book.levels() == (self.twin.bids, self.twin.asks)
            assert book.levels() == self.truth[stats.update_id]
            assert stats.update_id == self.twin.update_id


STEPS = st.lists(
    st.one_of(
        st.just(("next", 0)),
        st.just(("next", 0)),
        st.just(("next", 0)),
        st.tuples(st.just("skip"), st.integers(1, 3)),
        st.tuples(st.just("again"), st.integers(1, 6)),
        st.tuples(st.just("swap"), st.just(0)),
        st.tuples(st.just("snapshot"), st.integers(-5, 3)),
        st.just(("disconnect", 0)),
    ),
    max_size=40,
)
DIFFS = 160


def play(futures: bool, seed: int, steps: list[tuple[str, int]]) -> None:
    history = venue_history(seed, futures, DIFFS)
    rig = Rig(futures, history)
    now = 0
    for step, by in steps:
        if step == "next":
            rig.diff(now)
            now += 1
        elif step == "skip":
            now += by
        elif step == "again":
            rig.diff(max(now - by, 0))
        elif step == "swap":
            rig.diff(now + 1)
            rig.diff(now)
            now += 2
        elif step == "snapshot":
            rig.snapshot(min(max(now + by, 0), DIFFS - 1))
        else:
            rig.disconnect()
    # Whatever happened: an orderly stream and one fresh snapshot make the book whole again.
    now = min(now, DIFFS - 12)
    for i in range(now, now + 6):
        rig.diff(i)
    rig.snapshot(now + 5)
    for i in range(now + 6, now + 12):
        rig.diff(i)
    assert rig.books[0].whole


@pytest.mark.parametrize("futures", [False, True], ids=["spot", "futures"])
@settings(max_examples=300, deadline=None)
@given(seed=st.integers(0, 2**32), steps=STEPS)
def test_never_a_wrong_book_while_whole(futures, seed, steps):
    play(futures, seed, steps)


@pytest.mark.slow
@pytest.mark.parametrize("futures", [False, True], ids=["spot", "futures"])
def test_never_a_wrong_book_while_whole_in_many_cases(futures):
    """The same property over 50,000 random plays a market; a failure names its seed."""
    names = ["next"] * 6 + ["skip", "again", "swap", "snapshot", "snapshot", "disconnect"]
    for seed in range(50_000):
        rng = random.Random(seed)
        steps = []
        for _ in range(rng.randrange(30)):
            name = rng.choice(names)
            by = {"skip": rng.randint(1, 3), "again": rng.randint(1, 6), "snapshot": rng.randint(-5, 3)}
            steps.append((name, by.get(name, 0)))
        try:
            play(futures, seed, steps)
        except AssertionError as error:
            raise AssertionError(f"seed {seed}: {steps}") from error
