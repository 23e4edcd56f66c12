"""Plain twin of the order-level book: a dictionary of orders, levels summed anew whenever they are asked for.

Written from the meaning of the records (records.pxd, order_book.pxd), not from the C code.
"""

BID, ASK = 1, 2
LOTS_MAX = 2**40
PRICE_MAX = 2**60
Outcome = tuple[int, int, int, int, int]  # side, added, cancelled, executed, execution price
NOTHING: Outcome = (0, 0, 0, 0, 0)


class OrderTwin:
    """Same calls and answers as ``quotelife.book.order_book.Orders``."""

    def __init__(self, orders_max: int) -> None:
        self.orders_max = orders_max
        self.orders: dict[int, tuple[int, int, int]] = {}
        self.touched: dict[int, int] = {}  # by id, in 2^24 ns
        self.now_ns = 0
        self.counts = dict.fromkeys(("repeated", "unknown", "invalid", "excessive", "dropped", "purged"), 0)

    def _touch(self, order_id: int, order: tuple[int, int, int]) -> None:
        self.orders[order_id] = order
        self.touched[order_id] = self.now_ns >> 24

    def _invalid(self, price: int, lots: int) -> bool:
        wrong = not 0 <= lots <= LOTS_MAX or abs(price) > PRICE_MAX
        self.counts["invalid"] += wrong
        return wrong

    def add(self, order_id: int, side: int, price: int, lots: int) -> Outcome:
        if self._invalid(price, lots):
            return NOTHING
        if lots == 0 or side not in (BID, ASK):
            self.counts["invalid"] += 1
            return NOTHING
        if order_id in self.orders:
            self.counts["repeated"] += 1
        elif len(self.orders) >= self.orders_max:
            self.counts["dropped"] += 1
            return NOTHING
        self._touch(order_id, (side, price, lots))
        return side, lots, 0, 0, 0

    def modify(self, order_id: int, price: int, lots: int, new_id: int = 0) -> Outcome:
        if self._invalid(price, lots):
            return NOTHING
        if order_id not in self.orders:
            self.counts["unknown"] += 1
            return NOTHING
        side, before_price, before = self.orders[order_id]
        if lots == 0:
            del self.orders[order_id]
            return side, 0, before, 0, 0
        if new_id:
            del self.orders[order_id]
            self.counts["repeated"] += new_id in self.orders
            order_id = new_id
        self._touch(order_id, (side, price, lots))
        if price != before_price:
            return side, lots, before, 0, 0
        return side, max(lots - before, 0), max(before - lots, 0), 0, 0

    def _less(self, order_id: int, lots: int) -> tuple[int, int, int]:
        """(side, price, lots taken) of an order that rests."""
        side, price, left = self.orders[order_id]
        self.counts["excessive"] += lots > left
        taken = left if lots == 0 else min(lots, left)
        if taken == left:
            del self.orders[order_id]
        else:
            self._touch(order_id, (side, price, left - taken))
        return side, price, taken

    def cancel(self, order_id: int, lots: int) -> Outcome:
        if self._invalid(0, lots):
            return NOTHING
        if order_id not in self.orders:
            self.counts["unknown"] += 1
            return NOTHING
        side, _, taken = self._less(order_id, lots)
        return side, 0, taken, 0, 0

    def execute(self, order_id: int, lots: int, price: int, side: int) -> Outcome:
        if self._invalid(price, lots):
            return NOTHING
        if order_id not in self.orders:
            self.counts["unknown"] += 1
            told = lots > 0 and price != 0 and side in (BID, ASK)
            return (side, 0, 0, lots, price) if told else NOTHING
        side, own, taken = self._less(order_id, lots)
        return side, 0, 0, taken, price or own

    def _inside(self, side: int, price: int) -> set[int]:
        """Ids of this side's orders that the other side's price touches or crosses."""
        return {
            order_id
            for order_id, (on, at, _) in self.orders.items()
            if on == side and (at >= price if side == BID else at <= price)
        }

    def _purge(self, ids: set[int]) -> int:
        for order_id in ids:
            del self.orders[order_id]
        self.counts["purged"] += len(ids)
        return len(ids)

    def purge(self, bid: int, bid_lots: int, ask: int, ask_lots: int, before_ns: int) -> int:
        if bid_lots > 0 and ask_lots > 0 and bid >= ask:
            return 0
        crossing = (self._inside(BID, ask) if ask_lots > 0 else set()) | (
            self._inside(ASK, bid) if bid_lots > 0 else set()
        )
        return self._purge({i for i in crossing if self.touched[i] <= before_ns >> 24})

    def uncross(self) -> int:
        bids, asks = self.levels(BID), self.levels(ASK)
        if not bids or not asks or bids[0][0] < asks[0][0]:
            return 0
        wrong_bids, wrong_asks = self._inside(BID, asks[0][0]), self._inside(ASK, bids[0][0])
        bid_rank, ask_rank = (
            (len(ids), max(self.touched[i] for i in ids)) for ids in (wrong_bids, wrong_asks)
        )
        gone = (
            wrong_bids
            if bid_rank < ask_rank
            else wrong_asks
            if ask_rank < bid_rank
            else wrong_bids | wrong_asks
        )
        return self._purge(gone)

    def clear(self) -> None:
        self.orders.clear()

    def levels(self, side: int) -> list[tuple[int, int]]:
        """(price, lots) from the best on."""
        lots: dict[int, int] = {}
        for on, price, left in self.orders.values():
            if on == side:
                lots[price] = lots.get(price, 0) + left
        return sorted(lots.items(), reverse=side == BID)
