"""The other side of ``bench book``, run by an interpreter that has nautilus_trader; imports nothing of quotelife.

Reads deltas (action, side, price in cents, size, order id), builds them, says so with a line, and for each line of
standard input applies all of them to a fresh book, and to another whose best prices and sizes are read each time:
ns of processor time of both, best bid, its size, best ask, its size.
"""

import sys
import time
from pathlib import Path

from nautilus_trader.model.book import OrderBook
from nautilus_trader.model.data import BookOrder, OrderBookDelta
from nautilus_trader.model.enums import BookAction, BookType, OrderSide
from nautilus_trader.model.identifiers import InstrumentId
from nautilus_trader.model.objects import Price, Quantity


def say(*numbers: int) -> None:
    sys.stdout.write(" ".join(map(str, numbers)) + "\n")
    sys.stdout.flush()


def main() -> None:
    instrument = InstrumentId.from_str("AAPL.XNAS")
    sides = {1: OrderSide.BUY, 2: OrderSide.SELL}
    deltas = []
    for line in Path(sys.argv[1]).read_text(encoding="ascii").splitlines():
        action, side, price, size, order_id = map(int, line.split(","))
        order = BookOrder(sides[side], Price(price / 100, 2), Quantity(size, 0), order_id % 2**64)
        deltas.append(OrderBookDelta(instrument, BookAction(action), order, 0, 0, 0, 0))
    say()
    for _ in sys.stdin:
        book = OrderBook(instrument, BookType.L3_MBO)
        start = time.thread_time_ns()
        for delta in deltas:
            book.apply_delta(delta)
        alone = time.thread_time_ns() - start
        best = [
            (round(float(top.price) * 100), round(top.size())) for top in (book.bids()[0], book.asks()[0])
        ]
        book = OrderBook(instrument, BookType.L3_MBO)
        start = time.thread_time_ns()
        for delta in deltas:
            book.apply_delta(delta)
            book.best_bid_price()
            book.best_bid_size()
            book.best_ask_price()
            book.best_ask_size()
        view = time.thread_time_ns() - start
        say(alone, view, *best[0], *best[1])


if __name__ == "__main__":
    main()
