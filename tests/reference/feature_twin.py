"""Plain twin of the market features: keeps the whole history and recomputes each feature with numpy.

Written from the definitions (the schema's docstrings), not from the streaming code. Signed features
are as for a desk that sells (−s = +1).
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np

SECOND = 1_000_000_000
MS = 1_000_000
BUCKET = 100 * MS
Level = tuple[int, int]
Trade = tuple[int, int, int, int]  # t, price, lots, aggressor
Change = tuple[int, int, int]  # t, side, new − old size


class View(NamedTuple):
    """The book after a venue message."""

    t: int
    bids: tuple[Level, ...]
    asks: tuple[Level, ...]

    @property
    def top(self) -> tuple[int, int, int, int]:
        return (*self.bids[0], *self.asks[0])

    @property
    def mid(self) -> float:
        return (self.bids[0][0] + self.asks[0][0]) / 2

    @property
    def spread(self) -> int:
        return self.asks[0][0] - self.bids[0][0]

    def depth(self, n: int) -> tuple[int, int]:
        return sum(lots for _, lots in self.bids[:n]), sum(lots for _, lots in self.asks[:n])


def order_flow(old: View, new: View, rank: int) -> int:
    """Cont, Kukanov & Stoikov (2014), equation for e_n, at one rank; a level that is not there has size 0."""

    def level(side: tuple[Level, ...], absent: float) -> tuple[float, int]:
        return side[rank] if rank < len(side) else (absent, 0)

    (pb, qb), (pb0, qb0) = level(new.bids, -np.inf), level(old.bids, -np.inf)
    (pa, qa), (pa0, qa0) = level(new.asks, np.inf), level(old.asks, np.inf)
    return (
        (qb if pb >= pb0 else 0)
        - (qb0 if pb <= pb0 else 0)
        - (qa if pa <= pa0 else 0)
        + (qa0 if pa >= pa0 else 0)
    )


class FeatureTwin:
    """Feed it as the probe is fed: ``on_view`` at each LAST with a two-sided, uncrossed book."""

    def __init__(self) -> None:
        self.views: list[View] = []  # since the start, one a message
        self.trades: list[Trade] = []
        self.changes: list[Change] = []
        # Kept beside the views, whose 5-level sizes and spreads are asked for at 600 grid points: stamps and spreads
        # of all, and of each bucket the first message's.
        self.spreads: list[tuple[int, int]] = []
        self.sampled: dict[int, tuple[int, int]] = {}

    def on_view(self, view: View) -> None:
        self.views.append(view)
        self.spreads.append((view.t, view.spread))
        self.sampled.setdefault(view.t // BUCKET, (view.t, sum(view.depth(5))))

    def on_trade(self, t: int, price: int, lots: int, aggressor: int) -> None:
        self.trades.append((t, price, lots, aggressor))

    def on_level(self, t: int, side: int, old: int, new: int) -> None:
        self.changes.append((t, side, new - old))

    # --- history ---

    def changed(self, what: Callable[[View], Any]) -> list[tuple[View, View]]:
        """(before, after) of each message that changed ``what``."""
        pairs = zip(self.views, self.views[1:], strict=False)
        return [(old, new) for old, new in pairs if what(old) != what(new)]

    def in_effect(self, t: int) -> View | None:
        found = None
        for view in self.views:
            if view.t > t:
                break
            found = view
        return found

    def spread_variance(self, t: int, window: int, rows: np.ndarray | None = None) -> float:
        """Weighted by how long each spread stood. ``rows``: stamps and spreads, where the caller asks often."""
        times, spreads = (np.array(self.spreads) if rows is None else rows).T
        seen = int(np.searchsorted(times, t, side="right"))
        edges = np.clip(np.append(times[:seen], t), t - window, t)
        durations = np.diff(edges).astype(float)
        if durations.sum() == 0:
            return 0.0
        mean = np.average(spreads[:seen], weights=durations)
        return float(np.average((spreads[:seen] - mean) ** 2, weights=durations))

    def grid_points(self, t: int) -> list[int]:
        """Settled 100 ms grid points of the last 60 s that the book has been seen at."""
        last = (t - 1) // BUCKET
        first = -(-self.views[0].t // BUCKET)
        return list(range(max(first, t // BUCKET - 599), last + 1))

    def depth_sample(self, point: int) -> int:
        """5-level size at the first message of the newest bucket, up to the grid point, that had one."""
        # A message exactly on a grid point opens the bucket that starts there.
        opened = [bucket for bucket, (t, _) in self.sampled.items() if t <= point * BUCKET]
        return self.sampled[max(opened)][1]

    # --- features ---

    def features(self, t: int, side_depth: float | None = None) -> dict[str, float]:
        """Every feature that needs only this instrument's book and trades, for a desk that sells."""
        out: dict[str, float] = {}
        now, start = self.views[-1], self.views[0].t
        elapsed = t - start
        points = self.grid_points(t)
        baseline = len(points) >= 50
        self._book(out, now)

        tops = self.changed(lambda view: view.top)
        mids = self.changed(lambda view: view.mid)

        def recent(pairs: list[tuple[View, View]], window: int) -> list[tuple[View, View]]:
            return [pair for pair in pairs if pair[1].t > t - window]

        def in_buckets(times: list[int], buckets: int) -> int:
            return sum(t // BUCKET - buckets < at // BUCKET for at in times)

        rate60 = in_buckets([new.t for _, new in tops], 600) * 10 / len(points) if baseline else 0.0
        if baseline:
            depths = [self.depth_sample(point) for point in points]
            side_depth = float(np.mean(depths)) / 2
            out["depth_ratio"] = sum(now.depth(5)) / 2 / side_depth
        for name, window in (("100ms", 100 * MS), ("1s", SECOND)):
            if elapsed < window:
                continue
            updates = recent(tops, window)
            out[f"top_updates_{name}"] = len(updates)
            flow = sum(order_flow(old, new, 0) for old, new in updates)
            sizes = [(new.bids[0][1] + new.asks[0][1]) / 2 for _, new in updates]
            out[f"order_flow_imbalance_{name}"] = flow / float(np.mean(sizes)) if updates else 0.0
            if side_depth:
                pairs = [
                    (old, new)
                    for old, new in zip(self.views, self.views[1:], strict=False)
                    if new.t > t - window
                ]
                flow5 = sum(order_flow(old, new, rank) for old, new in pairs for rank in range(5))
                out[f"order_flow_imbalance_5_{name}"] = flow5 / side_depth
            seconds = window / SECOND
            changes = [change for change in self.changes if change[0] > t - window]
            out[f"add_rate_{name}"] = sum(max(delta, 0) for _, _, delta in changes) / seconds
            out[f"cancel_rate_{name}"] = self._cancelled(changes, self._recent_trades(t, window)) / seconds
            self._sides(out, name, changes, self._recent_trades(t, window), seconds)
            out[f"mid_moves_{name}"] = len(recent(mids, window))
        if elapsed >= SECOND:
            out["spread_volatility_1s"] = float(np.sqrt(self.spread_variance(t, SECOND)))
            if baseline:
                rows = np.array(self.spreads)
                level = np.sqrt(
                    np.mean([self.spread_variance(point * BUCKET, SECOND, rows) for point in points])
                )
                out["spread_volatility_ratio"] = out["spread_volatility_1s"] / max(level, 0.1, 5e-6 * now.mid)
            newest = t // BUCKET
            cancelled = self._cancelled(
                [change for change in self.changes if newest - 600 < change[0] // BUCKET],
                [trade for trade in self.trades if newest - 600 < trade[0] // BUCKET],
            )
            if baseline and cancelled:
                out["cancel_ratio"] = out["cancel_rate_1s"] / (cancelled * 10 / len(points))
        if rate60:
            out["top_update_ratio"] = out["top_updates_100ms"] * 10 / rate60
        self._trades(out, t, elapsed)
        if elapsed >= 5 * SECOND:
            times = [new.t for _, new in mids]
            out["mid_moves_10s"] = in_buckets(times, 100)
            out["mid_moves_60s"] = in_buckets(times, 600)
        if mids:
            old, new = mids[-1]
            out["last_move_age_s"] = (t - new.t) / SECOND
            out["last_move_direction"] = float(np.sign(new.mid - old.mid))
        self._volatility(out, t, elapsed, mids)
        before = self.in_effect(t - 500 * MS)
        if before is not None:
            out["own_velocity_500ms"] = (now.mid / before.mid - 1) * 100 / 0.5
        return out

    def _book(self, out: dict[str, float], now: View) -> None:
        (bid, bid_lots), (ask, ask_lots) = now.bids[0], now.asks[0]
        b5, a5 = now.depth(5)
        out["spread_ticks"] = ask - bid
        out["spread_bps"] = (ask - bid) / now.mid * 1e4
        out["book_imbalance_ratio"] = float(np.clip(b5 / a5, 1e-3, 1e3))
        out["book_imbalance"] = (b5 - a5) / (b5 + a5)
        out["book_imbalance_log"] = float(np.clip(np.log(b5 / a5), -np.log(1e3), np.log(1e3)))
        out["queue_imbalance"] = (bid_lots - ask_lots) / (bid_lots + ask_lots)
        microprice = (ask * bid_lots + bid * ask_lots) / (bid_lots + ask_lots)
        out["microprice_deviation"] = microprice - now.mid
        b = sum(lots * np.exp(-(bid - price) / 5) for price, lots in now.bids[:10] if bid - price < 64)
        a = sum(lots * np.exp(-(price - ask) / 5) for price, lots in now.asks[:10] if price - ask < 64)
        out["book_pressure"] = float((b - a) / (b + a))
        for n in (1, 3, 5, 10):
            out[f"depth_bid_{n}"], out[f"depth_ask_{n}"] = now.depth(n)

    def _recent_trades(self, t: int, window: int) -> list[Trade]:
        return [trade for trade in self.trades if trade[0] > t - window]

    def _cancelled(self, changes: list[Change], trades: list[Trade]) -> float:
        """Size removed on both sides less what trades took: buyers take asks (2), sellers take bids (1)."""
        total = 0.0
        for side, taker in ((1, 2), (2, 1)):
            removed = sum(-delta for _, on, delta in changes if on == side and delta < 0)
            total += max(0, removed - sum(lots for _, _, lots, aggressor in trades if aggressor == taker))
        return total

    def _sides(
        self, out: dict[str, float], name: str, changes: list[Change], trades: list[Trade], seconds: float
    ) -> None:
        """Sizes and counts by side; the quote of a desk that sells stands on the ask."""
        for which, side, taker in (("own", 2, 1), ("opposite", 1, 2)):
            deltas = [delta for _, on, delta in changes if on == side]
            taken = [lots for _, _, lots, aggressor in trades if aggressor == taker]
            removed = -sum(delta for delta in deltas if delta < 0)
            removals = sum(delta < 0 for delta in deltas)
            out[f"add_rate_{which}_{name}"] = sum(delta for delta in deltas if delta > 0) / seconds
            out[f"adds_{which}_{name}"] = sum(delta > 0 for delta in deltas) / seconds
            out[f"cancel_rate_{which}_{name}"] = max(0, removed - sum(taken)) / seconds
            out[f"cancels_{which}_{name}"] = max(0, removals - len(taken)) / seconds

    def _trades(self, out: dict[str, float], t: int, elapsed: int) -> None:
        for name, window in (("100ms", 100 * MS), ("500ms", 500 * MS)):
            if elapsed < window:
                continue
            trades = self._recent_trades(t, window)
            out[f"trade_intensity_{name}"] = len(trades) / (window / SECOND)
            if trades:
                prices, lots, signs = self._columns(trades)
                out[f"vwap_deviation_{name}"] = float(prices[-1] / np.average(prices, weights=lots) - 1)
                out[f"trade_imbalance_{name}"] = float(np.average(signs, weights=lots))
        if elapsed >= 2 * SECOND:
            first = t // BUCKET - 19
            trades = [trade for trade in self.trades if trade[0] >= first * BUCKET]
            out["trade_intensity_2s"] = len(trades) / ((t - first * BUCKET) / SECOND)
            if trades:
                _, lots, signs = self._columns(trades)
                out["trade_imbalance_2s"] = float(np.average(signs, weights=lots))

    @staticmethod
    def _columns(trades: list[Trade]) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        rows = np.array(trades, dtype=float)
        return rows[:, 1], rows[:, 2], np.where(rows[:, 3] == 1, 1.0, -1.0)

    def _volatility(self, out: dict[str, float], t: int, elapsed: int, mids: list[tuple[View, View]]) -> None:
        ages = np.array([t - new.t for _, new in mids], dtype=float) / SECOND
        squares = np.array([(new.mid - old.mid) ** 2 for old, new in mids])
        for name, window in (("100ms", 0.1), ("1s", 1.0), ("10s", 10.0), ("60s", 60.0)):
            if elapsed >= min(window, 5.0) * SECOND:
                norm = window * -np.expm1(-elapsed / SECOND / window)
                out[f"realised_volatility_{name}"] = float(
                    np.sqrt(np.sum(squares * np.exp(-ages / window)) / norm)
                )
        if out.get("realised_volatility_60s"):
            out["volatility_ratio"] = out["realised_volatility_1s"] / out["realised_volatility_60s"]
