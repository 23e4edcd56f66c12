"""The simulated order tape: what it says of its orders is true."""

from quotelife.book.order_book import Orders
from quotelife.records import EventBuffer, EventKindCode
from quotelife.sim.orders import OrderFlow


def tape(seed: int, messages: int) -> list[tuple[int, ...]]:
    buffer = EventBuffer(messages + 10)
    OrderFlow(seed).write(buffer, messages)
    return [tuple(event) for event in buffer.array().tolist()]


def test_equal_seeds_give_equal_tapes() -> None:
    assert tape(1, 2000) == tape(1, 2000) != tape(2, 2000)


def test_every_record_speaks_of_an_order_that_rests_and_the_book_never_crosses() -> None:
    book = Orders()
    kinds = set()
    for _, _, _, price, lots, order_id, _, _, kind, side, _ in tape(3, 20_000):
        kinds.add(kind)
        if kind == EventKindCode.ADD:
            book.add(order_id, side, price, lots)
        elif kind == EventKindCode.MODIFY:
            book.modify(order_id, price, lots)
        elif kind == EventKindCode.CANCEL:
            book.cancel(order_id, lots)
        elif kind == EventKindCode.EXECUTE:
            book.execute(order_id, lots)
        book.levels.refresh()
        assert not book.levels.crossed
    assert not any(book.counts.values())
    assert kinds >= {EventKindCode.ADD, EventKindCode.MODIFY, EventKindCode.CANCEL, EventKindCode.EXECUTE}
