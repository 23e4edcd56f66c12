"""The order-level book against plain dictionaries: whatever the records say, and however wrong they are."""

import random
from collections.abc import Callable

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from quotelife.book.order_book import Orders
from quotelife.records import SideCode
from reference.order_twin import OrderTwin

BID, ASK = SideCode.BID, SideCode.ASK
GOLDEN = 0x9E3779B97F4A7C15
INVERSE = pow(GOLDEN, -1, 2**64)


def colliding(home: int, n: int) -> list[int]:
    """Ids whose hash is the same in tables of every size up to 2^32 slots."""
    ids = [((home << 52) + k) * INVERSE % 2**64 for k in range(n)]
    return [i - 2**64 if i >= 2**63 else i for i in ids]


# Ids that share a home slot, ids in the slots behind it, the end of the table (so that probing wraps), plain ones.
IDS = (
    colliding(5, 6)
    + colliding(6, 4)
    + colliding(4095, 6)
    + colliding(0, 3)
    + [0, 1, 2, -1, 2**63 - 1, -(2**63)]
)
PRICES = st.sampled_from([100, 101, 102, 103, -5, 2**60, 2**60 + 1, -(2**60) - 1])
LOTS = st.sampled_from([0, 1, 2, 7, 2**40, 2**40 + 1, -1, -(2**63)])
STEPS = st.lists(
    st.tuples(
        st.sampled_from(["add", "add", "add", "modify", "cancel", "execute", "clear", "purge", "uncross"]),
        st.sampled_from(IDS),
        st.sampled_from([BID, ASK, BID, ASK, 0, 3, 255]),
        PRICES,
        LOTS,
    ),
    max_size=120,
)


def apply(book: Orders, twin: OrderTwin, step: tuple[str, int, int, int, int]) -> None:
    what, order_id, side, price, lots = step
    book.now_ns = twin.now_ns = twin.now_ns + 2**22 * (order_id % 7)
    if what == "add":
        assert book.add(order_id, side, price, lots) == twin.add(order_id, side, price, lots)
    elif what == "modify":
        new_id = 0 if side % 2 else order_id ^ 1  # renamed half the time, at times to an id that rests
        assert book.modify(order_id, price, lots, new_id=new_id) == twin.modify(order_id, price, lots, new_id)
    elif what == "cancel":
        assert book.cancel(order_id, lots) == twin.cancel(order_id, lots)
    elif what == "execute":
        assert book.execute(order_id, lots, price_ticks=price, side=side) == twin.execute(
            order_id, lots, price, side
        )
    elif what == "purge":
        # Published prices around that price, on one side or both; older than 0 to 3 of a stamp's units.
        published = (price, lots % 2**61, price + 1, side % 2)
        before = twin.now_ns - 2**24 * (order_id % 4)
        assert book.purge(*published, before) == twin.purge(*published, before)
    elif what == "uncross":
        assert book.uncross() == twin.uncross()
    else:
        book.clear()
        twin.clear()


def assert_equal(book: Orders, twin: OrderTwin) -> None:
    book.levels.refresh()
    assert book.levels.bids(10**6) == twin.levels(BID)
    assert book.levels.asks(10**6) == twin.levels(ASK)
    assert len(book) == len(twin.orders)
    assert book.counts == twin.counts
    for order_id, order in twin.orders.items():
        assert book[order_id] == order


@settings(deadline=None, max_examples=300)
@given(STEPS, st.sampled_from([1, 3, 64]))
def test_any_records_give_what_dictionaries_give(
    steps: list[tuple[str, int, int, int, int]], orders_max: int
) -> None:
    book, twin = Orders(orders_max), OrderTwin(orders_max)
    for step in steps:
        apply(book, twin, step)
    assert_equal(book, twin)


def play(seed: int, steps: int, *, orders_max: int = 65_536, ids: int = 10**9, width: int = 200) -> None:
    """A long life: adds outweigh removals first, then the other way round, so that the table fills and empties."""
    rng = random.Random(seed)
    book, twin = Orders(orders_max, 65_536), OrderTwin(orders_max)
    alive: list[int] = []
    for step in range(steps):
        growing = (step * 4 // steps) % 2 == 0
        what = rng.choices(
            ["add", "modify", "cancel", "execute"], [60, 10, 15, 15] if growing else [20, 10, 35, 35]
        )[0]
        if what == "add" or not alive or rng.random() < 0.02:
            order_id = rng.randrange(ids)
            if what == "add":
                alive.append(order_id)
        else:
            place = rng.randrange(len(alive))
            alive[place], alive[-1] = alive[-1], alive[place]
            order_id = alive.pop() if what in ("cancel", "execute") and rng.random() < 0.9 else alive[-1]
        side = rng.choice((BID, ASK))
        price = 10_000 + (-1 if side == BID else 1) * int(abs(rng.gauss(0, width)))
        lots = rng.choice((0, 1, 5, 100)) if what in ("cancel", "execute") else rng.randint(0, 100)
        apply(book, twin, (what, order_id, side, price, lots))
        if step % (steps // 20) == 0:
            assert_equal(book, twin)
    assert_equal(book, twin)


@pytest.mark.parametrize("seed", [1, 2])
def test_a_long_life_equals_dictionaries(seed: int) -> None:
    play(seed, 40_000)


def test_a_book_that_is_full_all_the_time_equals_dictionaries() -> None:
    play(3, 20_000, orders_max=700, ids=3000)


PATTERNS: dict[str, Callable[[int], int]] = {
    "counted up": lambda k: k,
    "counted down from the top": lambda k: 2**63 - 1 - k,
    "every 64th": lambda k: 64 * k,
    "every millionth": lambda k: 1_000_000 * k,
    "high bits only": lambda k: (k << 48) - 2**63,
    "negative": lambda k: -1 - k,
    "steps that the hash maps to its own next slot": lambda k: (k * INVERSE + 2**63) % 2**64 - 2**63,
}


@pytest.mark.parametrize("pattern", PATTERNS)
def test_ids_of_any_pattern_equal_dictionaries(pattern: str) -> None:
    """Orders come and go, ids come back, the table grows from 4,096 slots on and empties; every id is asked for."""
    rng = random.Random(pattern)
    book, twin = Orders(65_536), OrderTwin(65_536)
    ids = [PATTERNS[pattern](k) for k in range(6000)]
    for target in (3000, 200, 1500, 0):
        while len(twin.orders) != target:
            order_id = rng.choice(ids)
            grow = len(twin.orders) < target
            if rng.random() < (0.8 if grow else 0.2):
                apply(book, twin, ("add", order_id, BID, 1000 - order_id % 97, 1 + order_id % 5))
            else:
                apply(book, twin, (rng.choice(["cancel", "execute"]), order_id, BID, 0, rng.choice((0, 1)))
                      if grow else ("cancel", rng.choice(list(twin.orders) or ids), BID, 0, 0))  # fmt: skip
        assert_equal(book, twin)
        for order_id in ids:
            if order_id not in twin.orders:
                with pytest.raises(KeyError):
                    book[order_id]


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(100, 120))
def test_many_long_lives_equal_dictionaries(seed: int) -> None:
    rng = random.Random(seed)
    play(
        seed,
        300_000,
        orders_max=rng.choice((50, 1000, 65_536)),
        ids=rng.choice((500, 10**5, 2**62)),
        width=rng.choice((3, 200, 1500)),
    )


@pytest.mark.parametrize("seed", [1, 2, 3])
def test_a_side_deeper_than_its_levels_shows_the_best_of_them_exactly(seed: int) -> None:
    """Levels given up come back from the orders once there is room again."""
    rng = random.Random(seed)
    book, twin = Orders(4096, 16), OrderTwin(4096)
    for step in range(6000):
        growing = (step // 1000) % 2 == 0
        order_id = rng.randrange(400)
        if rng.random() < (0.7 if growing else 0.2):
            apply(book, twin, ("add", order_id, BID, 1000 - rng.randrange(120), rng.randint(1, 9)))
        else:
            what = rng.choice(["cancel", "modify", "execute"])
            apply(book, twin, (what, order_id, BID, 1000 - rng.randrange(120), rng.randint(0, 9)))
        book.levels.refresh()
        kept = book.levels.bids(1000)
        whole = twin.levels(BID)
        assert kept == whole[: len(kept)], f"seed {seed} step {step}"
        assert len(kept) == len(whole) or len(kept) > 8, f"seed {seed} step {step}"
    assert book.levels.dropped > 0


def test_ids_that_agree_in_all_that_the_table_keeps_of_their_hash_stay_apart() -> None:
    """They all have one home, and only the orders themselves tell which is which."""
    inverse = pow(0x9E3779B97F4A7C15, -1, 2**64)
    ids = [(inverse * (0xABCD0123 << 32 | low)) % 2**64 for low in range(60)]
    ids = [order_id - 2**64 if order_id >= 2**63 else order_id for order_id in ids]
    rng = random.Random(3)
    book, twin = Orders(4096), OrderTwin(4096)
    for step in range(3000):
        what = rng.choice(["add", "add", "modify", "cancel", "execute"])
        apply(book, twin, (what, rng.choice(ids), BID, 1000 - rng.randrange(30), rng.randint(0, 9)))
        book.levels.refresh()
        assert book.levels.bids(100) == twin.levels(BID), f"step {step}"
    assert len(book) > 10


def test_memory_is_reserved_once_and_bounded() -> None:
    book = Orders(65_536)
    reserved = 2 * 262_144 * 8 + 513 * 4096  # slots of two tables, pages of 65,537 orders of 32 bytes
    assert book.bytes == reserved
    for order_id in range(70_000):
        book.add(order_id, BID, order_id % 50, 1)
    assert (len(book), book.counts["dropped"], book.bytes) == (65_536, 70_000 - 65_536, reserved)


@pytest.mark.parametrize("orders_max", [0, -1, 2**22 + 1])
def test_an_impossible_bound_is_refused(orders_max: int) -> None:
    with pytest.raises(ValueError, match="orders_max"):
        Orders(orders_max)


def test_an_order_that_does_not_rest_is_not_found() -> None:
    with pytest.raises(KeyError):
        Orders()[7]
