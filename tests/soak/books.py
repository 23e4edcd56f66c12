"""Two sides of a soak: what a venue's book was after each of its messages, and what a receiver made of them.

A book is a dict of entries, levels or orders, and a digest of them that costs no more than the change: the sum of the
entries' hashes. Equal digests are taken for equal books from message to message; checkpoints compare the entries.
"""

from bisect import bisect_right
from collections import defaultdict
from collections.abc import Hashable

from quotelife.records import EventFlags, EventKindCode, SideCode, StatusKind
from reference.event_books import EventRow

MASK = (1 << 64) - 1
KEPT = 20_000  # states of a truth that can be looked up
KIND = EventKindCode
LAST = int(EventFlags.LAST)
DOUBTS = (StatusKind.FEED_DOWN, StatusKind.MISSING)
Top = tuple[int, int, int, int]  # bid ticks, bid lots, ask ticks, ask lots


class Entries:
    """Levels, (side, ticks) → lots, or orders, id → (side, ticks, lots)."""

    def __init__(self) -> None:
        self.all: dict[Hashable, Hashable] = {}
        self.digest = 0

    def put(self, key: Hashable, value: Hashable | None) -> None:
        """``None`` takes the entry out."""
        old = self.all.pop(key, None)
        if old is not None:
            self.digest -= hash((key, old))
        if value is not None:
            self.all[key] = value
            self.digest += hash((key, value))
        self.digest &= MASK

    def clear(self) -> None:
        self.all.clear()
        self.digest = 0

    def level(self, side: int, ticks: int, lots: int) -> None:
        self.put((side, ticks), lots or None)

    def reduce(self, order_id: int, lots: int) -> None:
        """An order loses so much; 0: all that is left. ``KeyError`` where there is none."""
        side, ticks, left = self.all[order_id]  # type: ignore[misc]
        self.put(order_id, (side, ticks, left - lots) if 0 < lots < left else None)

    def replace(self, order_id: int, new_id: int, ticks: int, lots: int) -> None:
        side, _, _ = self.all[order_id]  # type: ignore[misc]
        self.put(order_id, None)
        self.put(new_id, (side, ticks, lots))

    def top(self, order_level: bool) -> Top:
        """0 for a side that is empty."""
        sides: dict[int, dict[int, int]] = {SideCode.BID: defaultdict(int), SideCode.ASK: defaultdict(int)}
        for key, value in self.all.items():
            side, ticks, lots = value if order_level else (*key, value)  # type: ignore[misc]
            sides[side][ticks] += lots
        bids, asks = sides[SideCode.BID], sides[SideCode.ASK]
        bid, ask = max(bids, default=0), min(asks, default=0)
        return bid, bids[bid], ask, asks[ask]


class Truth:
    """The venue's own book, and the digest it had after each message it sent, by a key that only grows."""

    def __init__(self) -> None:
        self.book = Entries()
        self._keys: list[int] = []
        self._digests: list[int] = []
        self._times: list[float] = []
        self._before: tuple[list[int], list[int]] = ([], [])

    def note(self, key: int, now_s: float) -> None:
        """A message has been sent: the book as it is now is what a receiver must have after it."""
        if self._keys and key <= self._keys[-1]:
            assert key == self._keys[-1], f"key {key} after {self._keys[-1]}"
            self._digests[-1] = self.book.digest
            return
        self._keys.append(key)
        self._digests.append(self.book.digest)
        self._times.append(now_s)
        if len(self._keys) > 2 * KEPT:
            for kept in (self._keys, self._digests, self._times):
                del kept[:KEPT]

    def begin_anew(self) -> None:
        """Another session: keys and book begin anew. What is still on its way belongs to the one before."""
        self.book.clear()
        self._before = self._keys, self._digests
        self._keys, self._digests, self._times = [], [], []

    def digest_at(self, key: int) -> int | None:
        """As of the last message up to ``key``; None where there was none yet."""
        return _at(self._keys, self._digests, key)

    def was(self, digest: int, key: int) -> bool:
        """Whether the book had this digest after the message ``key``, of this session or the one before."""
        return digest in (self.digest_at(key), _at(*self._before, key))

    def outdated_s(self, key: int, now_s: float) -> float:
        """Since when there has been something newer than ``key``; 0: nothing newer."""
        at = bisect_right(self._keys, key)
        return now_s - self._times[at] if at < len(self._times) else 0.0


def _at(keys: list[int], digests: list[int], key: int) -> int | None:
    at = bisect_right(keys, key)
    return digests[at - 1] if at else None


class Received:
    """What the events of one instrument make of its book."""

    def __init__(self, order_level: bool) -> None:
        self.order_level = order_level
        self.book = Entries()
        self.whole = False
        self.ended = True  # not inside a venue message
        self.row: EventRow | None = None  # the last one that spoke of the book
        self.snapshots = 0
        self.gaps = 0

    def apply(self, row: EventRow) -> None:
        kind, book = row.kind, self.book
        if kind in (KIND.TRADE, KIND.QUOTE):
            return
        if kind == KIND.STATUS:
            if row.aux in DOUBTS:
                self.whole = False
            return
        self.ended = bool(row.flags & LAST)
        if kind in (KIND.SNAPSHOT_BEGIN, KIND.CLEAR):
            book.clear()
            self.whole = False
            self.gaps += kind == KIND.CLEAR
            return
        self.row = row
        if kind == KIND.SNAPSHOT_END:
            self.whole = True
            self.snapshots += 1
        elif kind == KIND.LEVEL:
            book.level(row.side, row.price_ticks, row.size_lots)
        elif kind == KIND.ADD:
            book.put(row.order_id, (row.side, row.price_ticks, row.size_lots))
        elif kind == KIND.MODIFY:
            book.replace(row.order_id, row.aux or row.order_id, row.price_ticks, row.size_lots)
        else:
            book.reduce(row.order_id, row.size_lots)
