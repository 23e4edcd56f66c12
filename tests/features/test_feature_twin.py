"""Every market feature against the plain twin, on random books and on recorded ones."""

from decimal import Decimal
from itertools import islice
from pathlib import Path

import numpy as np
import pytest

from quotelife.features.probe import FeatureProbe
from quotelife.features.schema import NAMES
from reference.feature_twin import FeatureTwin, View
from reference.recorded import SIZES, Quote, lines, top_and_trades

MS = 1_000_000
SECOND = 1_000_000_000
START = 1_700_000_000 * SECOND + 12_345_678
BID, ASK = 1, 2

# Features that other inputs make, tested elsewhere: drivers, signals, the request itself.
OTHER = {
    name
    for name in NAMES
    if name.startswith(("driver", "news", "volatility_index", "counterparty", "inventory"))
} | {"threshold", "size_to_depth", "sweep_cost"}


class Pair:
    """A probe and its twin behind one book of levels."""

    def __init__(self) -> None:
        self.probe = FeatureProbe()
        self.twin = FeatureTwin()
        self.sides: dict[int, dict[int, int]] = {BID: {}, ASK: {}}

    def view(self, t: int) -> View | None:
        bids = tuple(sorted(self.sides[BID].items(), reverse=True))
        asks = tuple(sorted(self.sides[ASK].items()))
        return View(t, bids, asks) if bids and asks and bids[0][0] < asks[0][0] else None

    def snapshot(self, t: int, bids: dict[int, int], asks: dict[int, int]) -> None:
        self.sides = {BID: dict(bids), ASK: dict(asks)}
        self.probe.snapshot(t, bids.items(), asks.items())
        view = self.view(t)
        assert view is not None
        self.twin.on_view(view)

    def message(self, t: int, changes: list[tuple[int, int, int]]) -> None:
        for k, (side, price, lots) in enumerate(changes):
            old = self.sides[side].get(price, 0)
            self.sides[side].pop(price, None)
            if lots:
                self.sides[side][price] = lots
            self.probe.level(t, side, price, lots, last=k == len(changes) - 1)
            self.twin.on_level(t, side, old, lots)
        view = self.view(t)
        if view is not None:
            self.twin.on_view(view)

    def trade(self, t: int, price: int, lots: int, aggressor: int) -> None:
        self.probe.trade(t, price, lots, aggressor)
        self.twin.on_trade(t, price, lots, aggressor)

    def check(self, t: int) -> None:
        ours = {name: value for name, value in self.probe.features(t).items() if name not in OTHER}
        expected = {name: value for name, value in self.twin.features(t).items() if name not in OTHER}
        assert set(ours) == set(expected)
        for name, value in expected.items():
            # The baseline of the spread is kept to 2^-20 tick^2 a sample.
            tolerance = 1e-5 if name == "spread_volatility_ratio" else 1e-9
            assert ours[name] == pytest.approx(value, rel=tolerance, abs=1e-9), f"{name} at {t}"


def random_changes(pair: Pair, rng: np.random.Generator) -> list[tuple[int, int, int]]:
    """A few level changes that leave the book two-sided and uncrossed."""
    changes: list[tuple[int, int, int]] = []
    for _ in range(int(rng.integers(1, 4))):
        side = int(rng.choice([BID, ASK]))
        best_bid, best_ask = max(pair.sides[BID]), min(pair.sides[ASK])
        away = int(rng.integers(0, 9))
        if side == BID:
            price = min(best_bid + 1, best_ask - 1) - away
        else:
            price = max(best_ask - 1, best_bid + 1) + away
        lots = int(rng.choice([0, 1, 2, 5, 40, 900]))
        if any(price == p and side == s for s, p, _ in changes) or any(s != side for s, _, _ in changes):
            continue  # one side and one change a price in a message keeps the book uncrossed throughout
        left = set(pair.sides[side]) - {p for _, p, q in changes if not q}
        if lots == 0 and not left - {price}:
            continue
        changes.append((side, price, lots))
    return changes


@pytest.mark.parametrize("seed", range(4))
def test_features_equal_the_twin_on_random_books(seed: int) -> None:
    rng = np.random.default_rng(seed)
    pair = Pair()
    t = START
    pair.snapshot(t, {10_000 - k: 10 + k for k in range(12)}, {10_002 + k: 20 + k for k in range(12)})
    steps = [0, 1, 3 * MS, 30 * MS, 99_999_999, 100 * MS, 100_000_001, 700 * MS]
    for k in range(260):
        t += int(rng.choice(steps, p=[0.2, 0.1, 0.2, 0.3, 0.05, 0.05, 0.05, 0.05]))
        if rng.random() < 0.3:
            side = int(rng.choice([BID, ASK]))
            price = min(pair.sides[ASK]) if side == BID else max(pair.sides[BID])
            pair.trade(t, price, int(rng.integers(1, 50)), side)
        changes = random_changes(pair, rng)
        if changes:
            pair.message(t, changes)
        if k % 13 == 0:
            pair.check(t)
            pair.check(t + int(rng.choice([1, 100 * MS, SECOND])))
            t += SECOND


def test_events_on_the_grid_and_on_window_borders() -> None:
    """Every stamp a multiple of 100 ms: each event lies exactly on a border of some window and bucket."""
    rng = np.random.default_rng(9)
    pair = Pair()
    t = 1_700_000_000 * SECOND
    pair.snapshot(t, {100 - k: 5 for k in range(6)}, {101 + k: 7 for k in range(6)})
    for k in range(200):
        t += int(rng.choice([100 * MS, 500 * MS]))
        changes = random_changes(pair, rng)
        if changes:
            pair.message(t, changes)
        pair.trade(t, 101, 1 + k % 5, BID)
        if k % 10 == 0:
            pair.check(t)


@pytest.mark.realdata
@pytest.mark.parametrize(("market", "symbol"), [("usdm", "btcusdt"), ("spot", "ethusdt")])
def test_features_equal_the_twin_on_recorded_quotes(market: str, symbol: str, data_dir: Path) -> None:
    """Best quotes and trades as they came; the levels behind the best are not in this feed."""
    probe, twin = FeatureProbe(), FeatureTwin()
    pair = Pair()
    pair.probe, pair.twin = probe, twin
    t = 0
    for k, row in enumerate(top_and_trades(data_dir, market, symbol, 2400)):
        t = max(t, row.t)
        if isinstance(row, Quote):
            probe.quote(t, row.bid_ticks, row.bid_lots, row.ask_ticks, row.ask_lots)
            twin.on_view(View(t, ((row.bid_ticks, row.bid_lots),), ((row.ask_ticks, row.ask_lots),)))
        else:
            pair.trade(t, row.price_ticks, row.lots, row.aggressor)
        if k % 150 == 100:
            pair.check(t)


@pytest.mark.realdata
def test_features_equal_the_twin_on_recorded_depth(data_dir: Path) -> None:
    """Snapshot and diffs of the ETH perpetual; the twin sees the 40 best levels."""
    tick, lot = SIZES["usdm", "ethusdt"]
    pair = Pair()
    t, known, checks = 0, 0, 0

    def row(levels: list[list[str]]) -> dict[int, int]:
        return {int(Decimal(p) / tick): int(Decimal(q) / lot) for p, q in levels}

    messages = list(islice(lines(data_dir / "binance" / "usdm" / "ethusdt_20240808.gz"), 9000))
    snapshot = next(message for _, message in messages if "lastUpdateId" in message)
    for stamp, message in messages:
        stream = message.get("stream", "")
        if not stream.endswith(("depth@0ms", "trade")):
            continue
        data = message["data"]
        if stream.endswith("trade"):
            if known:
                t = max(t, stamp)
                pair.trade(
                    t, int(Decimal(data["p"]) / tick), int(Decimal(data["q"]) / lot), 2 if data["m"] else 1
                )
            continue
        if data["u"] < snapshot["lastUpdateId"]:
            continue
        t = max(t, stamp)
        if not known:
            pair.snapshot(t, row(snapshot["bids"]), row(snapshot["asks"]))
        known += 1
        changes = [(BID, price, lots) for price, lots in row(data["b"]).items()]
        changes += [(ASK, price, lots) for price, lots in row(data["a"]).items()]
        pair.message(t, changes)
        if known % 40 == 30:
            pair.check(t)
            checks += 1
    assert checks >= 5
