"""Snapshots that Binance cut at so many levels a side: GAPPED before a wrong price is shown, and never for less."""

import json
import random
from collections.abc import Iterable
from decimal import Decimal
from pathlib import Path

import pytest

from engine.test_engine import MS, T0, TEXT, make_config
from quotelife.book.quality import QualityCause
from quotelife.engine import Engine
from quotelife.feed.binance import BinanceDecoder
from quotelife.feed.symbol_feed import SyncState
from quotelife.records import EventBuffer, QualityCode

MARKETS = ("spot", "usdm", "coinm")
BEYOND = (QualityCode.GAPPED, QualityCause.BEYOND_KNOWN_DEPTH)
GOOD = (QualityCode.GOOD, QualityCause.NONE)
Levels = dict[int, int]


class Line:
    """A venue's whole book, the decoder that hears its changes and is given snapshots of ``limit``, and the engine."""

    def __init__(self, tmp_path: Path, market: str, limit: int) -> None:
        text = TEXT.replace("warmup: 1s, drivers: [ETH]", "warmup: 0s, drivers: [ETH]")
        self.engine = Engine(make_config(tmp_path, text), start_ns=T0)
        self.buffer = EventBuffer(4096)
        self.decoder = BinanceDecoder(market, self.buffer, snapshot_levels=limit)
        self.decoder.add_instrument("BTC", 0, Decimal("0.1"), Decimal("0.001"))
        self.futures = market != "spot"
        self.limit = limit
        self.bids: Levels = {}
        self.asks: Levels = {}
        self.id = 100
        self.t = T0

    def fill(self, levels: int, best_bid: int = 1000, best_ask: int = 1002) -> "Line":
        self.bids = {best_bid - k: 1 + k for k in range(levels)}
        self.asks = {best_ask + k: 1 + k for k in range(levels)}
        return self

    def _drain(self) -> None:
        self.engine.on_events(self.buffer)
        self.buffer.clear()

    @staticmethod
    def _words(levels: Iterable[tuple[int, int]]) -> list[tuple[str, str]]:
        return [(f"{price / 10:.1f}", f"{lots / 1000:.3f}") for price, lots in levels]

    def change(self, bids: Levels | None = None, asks: Levels | None = None) -> None:
        """One depth diff: absolute sizes, 0 removes."""
        for side, changes in ((self.bids, bids or {}), (self.asks, asks or {})):
            side.update(changes)
            for price in [price for price, lots in side.items() if not lots]:
                del side[price]
        self.id += 1
        self.t += MS
        data = {"e": "depthUpdate", "E": self.t // MS, "s": "BTC", "U": self.id, "u": self.id}
        if self.futures:
            data |= {"T": self.t // MS, "pu": self.id - 1}
        data |= {"b": self._words((bids or {}).items()), "a": self._words((asks or {}).items())}
        self.decoder.message(json.dumps(data).encode(), self.t)
        self._drain()

    def snapshot(self) -> bytes:
        bids = sorted(self.bids.items(), reverse=True)[: self.limit]
        asks = sorted(self.asks.items())[: self.limit]
        return json.dumps(
            {"lastUpdateId": self.id, "bids": self._words(bids), "asks": self._words(asks)}
        ).encode()

    def answer(self, data: bytes | None = None) -> None:
        self.decoder.snapshot("BTC", data or self.snapshot(), self.t)
        self._drain()

    def tick(self) -> list[str]:
        """The service's: what the engine has lost sight of is asked for anew. Symbols to fetch."""
        for index in self.engine.want_resync():
            self.decoder.resynchronise(index)
        return self.decoder.wants_snapshot()

    def reconnect(self) -> None:
        self.decoder.disconnected(self.t)
        self.decoder.connected(self.t)
        self._drain()

    def begin(self) -> "Line":
        self.change()
        assert self.tick() == ["BTC"]
        self.answer()
        self.change()
        assert self.decoder.state("BTC") is SyncState.SYNCED
        return self

    @property
    def state(self) -> tuple[QualityCode, QualityCause]:
        status = self.engine.instrument_status(0, self.t)
        return QualityCode(status.quality), QualityCause(status.quality_cause)

    def shown(self) -> tuple[int, int, int, int]:
        status = self.engine.instrument_status(0, self.t)
        return status.bid_ticks, status.bid_lots, status.ask_ticks, status.ask_lots

    def best(self) -> tuple[int, int, int, int]:
        bid, ask = max(self.bids), min(self.asks)
        return bid, self.bids[bid], ask, self.asks[ask]


@pytest.mark.parametrize("market", MARKETS)
@pytest.mark.parametrize("side", ["bids", "asks"])
def test_a_side_cancelled_down_to_the_edge_is_a_gap_and_comes_back(
    tmp_path: Path, market: str, side: str
) -> None:
    line = Line(tmp_path, market, 20).fill(60).begin()
    prices = [1000 - k if side == "bids" else 1002 + k for k in range(11)]
    for price in prices[:-1]:
        line.change(**{side: {price: 0}})
        assert (line.state, line.shown()) == (GOOD, line.best())
    line.change(**{side: {prices[-1]: 0}})
    assert line.state == BEYOND
    assert line.tick() == ["BTC"]
    line.change()
    line.answer()
    line.change()
    assert (line.state, line.shown()) == (GOOD, line.best())
    assert (line.decoder.drifts, line.decoder.stats("BTC").gaps) == (1, 0)


def test_a_whole_snapshot_has_no_edge_to_fall_off(tmp_path: Path) -> None:
    line = Line(tmp_path, "spot", 20).fill(19).begin()
    line.change(bids={1000 - k: 0 for k in range(18)}, asks={1002 + k: 0 for k in range(18)})
    assert (line.state, line.shown()) == (GOOD, line.best())


def test_one_side_that_was_cut_says_nothing_of_the_other(tmp_path: Path) -> None:
    line = Line(tmp_path, "spot", 20).fill(60)
    line.asks = {1002: 5, 1003: 6, 1004: 7}
    line.begin()
    line.change(asks={1002: 0, 1003: 0})
    assert (line.state, line.shown()) == (GOOD, line.best())
    line.change(bids={1000 - k: 0 for k in range(11)})
    assert line.state == BEYOND


def test_held_diffs_that_leave_the_snapshot_behind_ask_for_another(tmp_path: Path) -> None:
    line = Line(tmp_path, "spot", 20).fill(60)
    line.change()
    assert line.tick() == ["BTC"]
    old = line.snapshot()
    line.change(bids={1000 - k: 0 for k in range(11)})
    line.answer(old)
    assert line.state == BEYOND
    assert line.tick() == ["BTC"]


def test_levels_beyond_the_edge_do_not_move_it(tmp_path: Path) -> None:
    """Held while the snapshot was on its way, or later."""
    line = Line(tmp_path, "spot", 20).fill(60)
    line.change()
    assert line.tick() == ["BTC"]
    old = line.snapshot()
    line.change(bids={981: 0} | {900 - k: 3 for k in range(20)})
    line.answer(old)
    line.change(bids={800 - k: 3 for k in range(20)})
    assert (line.state, line.shown()) == (GOOD, line.best())
    line.change(bids={1000 - k: 0 for k in range(9)})
    assert (line.state, line.shown()) == (GOOD, line.best())
    line.change(bids={991: 0})
    assert line.state == BEYOND


@pytest.mark.parametrize(("limit", "kept"), [(5, 2), (10, 5), (100, 10)])
def test_a_short_snapshot_is_good_while_half_of_it_stands(tmp_path: Path, limit: int, kept: int) -> None:
    line = Line(tmp_path, "spot", limit).fill(200).begin()
    for k in range(limit - kept):
        line.change(bids={1000 - k: 0})
        assert (line.state, line.shown()) == (GOOD, line.best())
    line.change(bids={1000 - limit + kept: 0})
    assert line.state == BEYOND


@pytest.mark.parametrize("market", MARKETS)
@pytest.mark.parametrize("seed", [1, 2])
def test_whenever_it_is_good_its_best_levels_are_those_of_a_book_without_a_bound(
    tmp_path: Path, market: str, seed: int
) -> None:
    """A side is taken, cancelled or refilled while the other stands still, in turns; snapshots are of 20 levels, and
    sometimes late; a refilled book is begun anew."""
    rng = random.Random(seed)
    line = Line(tmp_path, market, 20).fill(150).begin()
    good = lost = 0
    answer: bytes | None = None
    for step in range(4000):
        turn = step // 50
        taken = turn % 4 < 2
        own, sign = (line.bids, -1) if turn % 2 else (line.asks, 1)
        best = max if sign < 0 else min
        if step % 200 == 0:
            line.reconnect()
            answer = None
        changes: Levels = {}
        if taken and len(own) > 30:
            for price in (best(own), rng.choice(sorted(own))):
                changes[price] = 0
        for _ in range(rng.randint(0, 1 if taken else 4)):
            price = (1000 if sign < 0 else 1002) + sign * int(abs(rng.gauss(0, 40)))
            if price not in changes:
                changes[price] = rng.randint(1, 9)
        if sign < 0:
            line.change(bids=changes)
        else:
            line.change(asks=changes)
        if answer is not None and rng.random() < 0.5:
            line.answer(answer)
            answer = None
        if line.tick():
            answer = line.snapshot()
        state = line.state
        if state == GOOD:
            good += 1
            assert line.shown() == line.best(), step
        else:
            lost += state == BEYOND
    assert line.decoder.drifts > 10
    assert good > 3000
    assert lost > 10
