"""Order flow of one order-level instrument: limit orders, cancels, changes and executions, with an id each.

Not a market model: a tape of the shape that order-level feeds have, for benchmarks and fuzzing. New orders come at
geometric distances from a wandering mid, two in five events end an order, most within a few ticks of the best price.
"""

from quotelife.records import EventBuffer, EventFlags, EventKindCode, SideCode
from quotelife.sim.streams import RandomStream
from quotelife.units import NS_PER_MS

MEAN_GAP_NS = 2 * NS_PER_MS
RESTING = 3000
"""Orders that rest once the tape has warmed up."""


class OrderFlow:
    """Writes messages of one instrument, index 0, into a buffer; equal seeds give equal tapes."""

    def __init__(
        self, seed: int = 1, *, start_ns: int = 1_700_000_000_000_000_000, mid: int = 100_000
    ) -> None:
        self._random = RandomStream(seed, "orders")
        self._t = start_ns
        self._mid = mid
        self._next_id = 1
        self._sequence = 0
        self._ids: list[int] = []
        self._orders: dict[int, tuple[int, int, int]] = {}  # side, price, lots
        self._levels: dict[int, dict[int, set[int]]] = {SideCode.BID: {}, SideCode.ASK: {}}

    @property
    def now_ns(self) -> int:
        """Stamp of the last message."""
        return self._t

    def write(self, buffer: EventBuffer, messages: int) -> None:
        """The book as it stands, as a snapshot, then so many messages of one record each."""
        buffer.append(EventKindCode.SNAPSHOT_BEGIN, receive_ns=self._t)
        for order_id, (side, price, lots) in self._orders.items():
            buffer.append(EventKindCode.ADD, receive_ns=self._t, flags=EventFlags.SNAPSHOT, side=side,
                          price_ticks=price, size_lots=lots, order_id=order_id)  # fmt: skip
        buffer.append(EventKindCode.SNAPSHOT_END, receive_ns=self._t, flags=EventFlags.LAST)
        for _ in range(messages):
            self.step(buffer)

    def step(self, buffer: EventBuffer) -> None:
        """One more message, of one record."""
        random = self._random
        self._t += 1 + int(random.exponential() * MEAN_GAP_NS)
        self._sequence += 1
        if random.uniform() < 0.02:
            self._mid += 1 if random.uniform() < 0.5 else -1
        u = random.uniform()
        grown = len(self._ids) >= RESTING
        if u < (0.47 if grown else 0.7) or len(self._ids) < 100:
            kind, order_id, lots = EventKindCode.ADD, *self._add()
        elif u < 0.9:
            place = int(random.uniform() * len(self._ids))
            order_id = self._ids[place]
            _, _, left = self._orders[order_id]
            if random.uniform() < 0.05 and left > 1:
                kind, lots = EventKindCode.MODIFY, max(1, int(random.uniform() * left))
            else:
                kind, lots = EventKindCode.CANCEL, left
        else:
            kind = EventKindCode.EXECUTE
            order_id = self._best(SideCode.BID if random.uniform() < 0.5 else SideCode.ASK)
            lots = 1 + int(random.uniform() * self._orders[order_id][2])
        side, price, left = self._orders[order_id]
        buffer.append(
            kind, receive_ns=self._t, exchange_ns=self._t, sequence=self._sequence, flags=EventFlags.LAST,
            side=side, price_ticks=price, size_lots=lots, order_id=order_id,
        )  # fmt: skip
        if kind is EventKindCode.MODIFY:
            self._orders[order_id] = (side, price, lots)
        elif kind is not EventKindCode.ADD:
            self._less(order_id, lots)

    def _add(self) -> tuple[int, int]:
        random = self._random
        side = SideCode.BID if random.uniform() < 0.5 else SideCode.ASK
        away = 1 + int(random.exponential() * 40)
        price = self._mid - away if side is SideCode.BID else self._mid + away
        other = self._levels[SideCode.ASK if side is SideCode.BID else SideCode.BID]
        if other:
            price = min(price, min(other) - 1) if side is SideCode.BID else max(price, max(other) + 1)
        lots = 1 + int(random.exponential() * 100)
        # Ids of all of a venue's instruments are counted up together.
        self._next_id += 1 + int(random.exponential() * 50)
        self._orders[self._next_id] = (side, price, lots)
        self._levels[side].setdefault(price, set()).add(self._next_id)
        self._ids.append(self._next_id)
        return self._next_id, lots

    def _best(self, side: SideCode) -> int:
        levels = self._levels[side]
        return min(levels[max(levels) if side is SideCode.BID else min(levels)])

    def _less(self, order_id: int, lots: int) -> None:
        side, price, left = self._orders[order_id]
        if lots < left:
            self._orders[order_id] = (side, price, left - lots)
            return
        del self._orders[order_id]
        at = self._levels[side][price]
        at.discard(order_id)
        if not at:
            del self._levels[side][price]
        place = self._ids.index(order_id)
        self._ids[place] = self._ids[-1]
        self._ids.pop()
