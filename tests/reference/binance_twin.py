"""Binance's splice rule in plain Python over parsed JSON: the oracle for ``quotelife.feed.binance``.

Written from the venue's manual and docs/feeds.md, with none of the decoder's structure: it keeps every message it
ever saw since the last break and decides anew each time.
"""

from dataclasses import dataclass, field
from decimal import Decimal
from typing import Any

Levels = dict[Decimal, Decimal]


@dataclass
class BinanceTwin:
    """One symbol of one market."""

    futures: bool
    diffs: list[dict[str, Any]] = field(default_factory=list)  # unbroken, newest last
    snapshot: dict[str, Any] | None = None
    whole: bool = False
    bids: Levels = field(default_factory=dict)
    asks: Levels = field(default_factory=dict)
    gaps: int = 0
    duplicates: int = 0

    @property
    def update_id(self) -> int:
        return self.diffs[-1]["u"] if self.diffs else -1

    def continues(self, diff: dict[str, Any]) -> bool:
        if not self.diffs:
            return True
        return diff["pu"] == self.update_id if self.futures else diff["U"] == self.update_id + 1

    def on_diff(self, diff: dict[str, Any]) -> None:
        if not self.continues(diff):
            if diff["u"] <= self.update_id and diff["E"] <= self.diffs[-1]["E"]:
                self.duplicates += 1
                return
            self.gaps += 1
            self.diffs = []
            if self.whole:
                self.snapshot = None
            self.whole = False
        self.diffs.append(diff)
        if self.whole:
            self.apply(diff)
        else:
            self.try_splice()

    def on_snapshot(self, snapshot: dict[str, Any]) -> None:
        if self.whole:
            return
        if self.snapshot is None or snapshot["lastUpdateId"] > self.snapshot["lastUpdateId"]:
            self.snapshot = snapshot
        self.try_splice()

    def on_disconnect(self) -> None:
        self.whole = False
        self.snapshot = None
        self.diffs = []

    def try_splice(self) -> None:
        if self.snapshot is None:
            return
        seen = self.snapshot["lastUpdateId"]
        must_cover = seen if self.futures else seen + 1
        kept = [diff for diff in self.diffs if diff["u"] >= must_cover]
        if not kept:
            return
        if not kept[0]["U"] <= must_cover <= kept[0]["u"]:
            self.snapshot = None
            return
        self.bids = {Decimal(p): Decimal(q) for p, q in self.snapshot["bids"]}
        self.asks = {Decimal(p): Decimal(q) for p, q in self.snapshot["asks"]}
        for diff in kept:
            self.apply(diff)
        self.whole = True

    def apply(self, diff: dict[str, Any]) -> None:
        for levels, changes in ((self.bids, diff["b"]), (self.asks, diff["a"])):
            for price, size in changes:
                if Decimal(size) == 0:
                    levels.pop(Decimal(price), None)
                else:
                    levels[Decimal(price)] = Decimal(size)
