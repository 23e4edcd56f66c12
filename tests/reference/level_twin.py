"""Plain twin of one side of the level book: a dictionary, sorted whenever it is asked.

Written from the meaning of the calls (level_book.pxd), not from the C code.
"""

BID, ASK = 1, 2


class SideTwin:
    """Absolute sizes at prices of one side; a new level on a full side costs the farthest its place."""

    def __init__(self, side: int, capacity: int) -> None:
        self.side = side
        self.capacity = capacity
        self.lots: dict[int, int] = {}
        self.dropped = 0

    def put(self, price: int, lots: int) -> int:
        before = self.lots.get(price, 0)
        if lots < 1:
            self.lots.pop(price, None)
            return before
        if price not in self.lots and len(self.lots) >= self.capacity:
            self.dropped += 1
            farthest = self.levels()[-1][0]
            if price < farthest if self.side == BID else price > farthest:
                return before
            del self.lots[farthest]
        self.lots[price] = lots
        return before

    def levels(self) -> list[tuple[int, int]]:
        """Best first."""
        return sorted(self.lots.items(), reverse=self.side == BID)

    def behind(self, price: int) -> list[tuple[int, int]]:
        """The levels worse than a price, best first."""
        return [(p, q) for p, q in self.levels() if (p < price if self.side == BID else p > price)]
