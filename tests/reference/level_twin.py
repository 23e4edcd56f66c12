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
        self.given_up: int | None = None  # the best price of what was

    def put(self, price: int, lots: int) -> int:
        before = self.lots.get(price, 0)
        if lots < 1:
            self.lots.pop(price, None)
            return before
        if price not in self.lots and len(self.lots) >= self.capacity:
            self.dropped += 1
            farthest = self.levels()[-1][0]
            better, worse = (max, min) if self.side == BID else (min, max)
            lost = worse(price, farthest)
            self.given_up = lost if self.given_up is None else better(lost, self.given_up)
            if lost == price:
                return before
            del self.lots[farthest]
        self.lots[price] = lots
        return before

    def levels(self) -> list[tuple[int, int]]:
        """Best first."""
        return sorted(self.lots.items(), reverse=self.side == BID)

    def known(self, wanted: int) -> bool:
        """Are the best so many levels those of a side without a bound?"""
        if self.given_up is None:
            return True
        return wanted <= sum(p > self.given_up if self.side == BID else p < self.given_up for p in self.lots)

    def behind(self, price: int) -> list[tuple[int, int]]:
        """The levels worse than a price, best first."""
        return [(p, q) for p, q in self.levels() if (p < price if self.side == BID else p > price)]
