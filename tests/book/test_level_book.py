"""The level book against a dictionary, and the quote laid over it."""

import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from quotelife.book.level_book import Book
from quotelife.records import SideCode
from reference.level_twin import SideTwin

BID, ASK = SideCode.BID, SideCode.ASK


@pytest.mark.parametrize("spread_of_prices", [5, 40, 4000])
def test_random_levels_equal_a_dictionary(spread_of_prices: int) -> None:
    seed = 20_260_101 + spread_of_prices
    rng = random.Random(seed)
    book = Book(8192)
    twin: dict[int, dict[int, int]] = {BID: {}, ASK: {}}
    for step in range(30_000):
        side = rng.choice((BID, ASK))
        offset = int(abs(rng.gauss(0, spread_of_prices / 4)))
        price = 100_000 - offset if side == BID else 100_001 + offset
        lots = rng.choice((0, 0, rng.randint(1, 50)))
        assert book.level(side, price, lots) == twin[side].pop(price, 0), f"seed {seed} step {step}"
        if lots:
            twin[side][price] = lots
        if step % 50 == 0:
            book.refresh()
            assert book.bids(10**6) == sorted(twin[BID].items(), reverse=True), f"seed {seed} step {step}"
            assert book.asks(10**6) == sorted(twin[ASK].items()), f"seed {seed} step {step}"
    assert book.dropped == 0


# Prices at the edges of words (64 ticks) and windows (1,024 ticks) of whatever stands at 0, and as far out as can be.
EDGES = [
    base + sign * offset + off
    for base in (0, 100_000)
    for sign in (-1, 1)
    for offset in (0, 64, 192, 256, 320, 768, 832, 1024, 2048, 5000)
    for off in (-1, 0, 1)
]
FAR = [sign * (2**exponent - 1 - k) for sign in (-1, 1) for exponent in (60, 63) for k in (0, 700, 1500)]
PUTS = st.lists(
    st.tuples(
        st.sampled_from([BID, ASK]), st.sampled_from(EDGES + FAR), st.sampled_from([0, 0, 1, 2, -1, 9])
    ),
    max_size=150,
)


def assert_sides(book: Book, twins: dict[int, SideTwin], where: str) -> None:
    book.refresh()
    assert book.bids(10**6) == twins[BID].levels(), where
    assert book.asks(10**6) == twins[ASK].levels(), where
    assert book.dropped == sum(twin.dropped for twin in twins.values()), where


@settings(deadline=None, max_examples=300)
@given(PUTS, st.sampled_from([8, 9, 20, 4096]))
def test_any_prices_give_what_a_dictionary_gives(puts: list[tuple[int, int, int]], capacity: int) -> None:
    book, twins = Book(capacity), {side: SideTwin(side, capacity) for side in (BID, ASK)}
    for side, price, lots in puts:
        assert book.level(side, price, lots) == twins[side].put(price, lots)
        assert_sides(book, twins, f"after {side} {price} {lots}")


def wander(seed: int, steps: int, capacity: int, step_ticks: int, width: int) -> None:
    """A mid that walks and sometimes leaps, levels at normal distances around it, stray ones, a clear now and then."""
    rng = random.Random(seed)
    book, twins = Book(capacity), {side: SideTwin(side, capacity) for side in (BID, ASK)}
    mid = 0
    for step in range(steps):
        mid += rng.randint(-step_ticks, step_ticks)
        if rng.random() < 0.001:
            mid += rng.choice((-1, 1)) * rng.choice((500, 1500, 10**6))
        side = rng.choice((BID, ASK))
        away = int(abs(rng.gauss(0, width))) if rng.random() < 0.97 else rng.randint(-3000, 20_000)
        price = mid - away if side == BID else mid + away
        if rng.random() < 0.4 and twins[side].lots:
            price = rng.choice(list(twins[side].lots)) if rng.random() < 0.7 else twins[side].levels()[0][0]
        lots = rng.choice((0, 0, rng.randint(1, 50)))
        where = f"seed {seed} step {step}"
        assert book.level(side, price, lots) == twins[side].put(price, lots), where
        if step % 37 == 0:
            assert_sides(book, twins, where)
        if rng.random() < 0.0003:
            book.clear()
            for twin in twins.values():
                twin.lots.clear()
    assert_sides(book, twins, f"seed {seed} at the end")


@pytest.mark.parametrize(
    ("capacity", "step_ticks", "width"), [(4096, 3, 40), (4096, 60, 900), (12, 20, 300), (70, 200, 1500)]
)
def test_a_market_that_wanders_equals_a_dictionary(capacity: int, step_ticks: int, width: int) -> None:
    wander(capacity + width, 12_000, capacity, step_ticks, width)


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(20))
def test_many_markets_that_wander_equal_dictionaries(seed: int) -> None:
    rng = random.Random(seed)
    wander(
        seed, 100_000, rng.choice((8, 40, 500, 8192)), rng.choice((1, 20, 300)), rng.choice((5, 200, 3000))
    )


def test_a_quote_anywhere_shows_the_levels_behind_it() -> None:
    """Whether it stands above the window, in it, or below, where the levels are blocks."""
    rng = random.Random(5)
    book, twins = Book(), {side: SideTwin(side, 4096) for side in (BID, ASK)}
    for _ in range(400):
        away = rng.randint(1, 4000)
        for side, price in ((BID, 10_000 - away), (ASK, 10_000 + away)):
            book.level(side, price, away)
            twins[side].put(price, away)
    for sequence in range(1, 400):
        bid, ask = 10_000 - rng.randint(-2000, 6000), 10_000 + rng.randint(-2000, 6000)
        book.quote(sequence, bid, 1, ask, 2)
        book.refresh()
        assert book.bids(1000) == [(bid, 1), *twins[BID].behind(bid)], f"bid {bid}"
        assert book.asks(1000) == [(ask, 2), *twins[ASK].behind(ask)], f"ask {ask}"


def test_refresh_says_whether_the_top_changed() -> None:
    book = Book()
    book.level(BID, 99, 5)
    book.level(ASK, 101, 7)
    assert book.refresh(1) is True
    assert book.best == (99, 5, 101, 7)
    book.level(BID, 98, 3)
    assert book.refresh(2) is False
    book.level(BID, 99, 5)
    assert book.refresh(3) is False
    book.level(ASK, 101, 6)
    assert book.refresh(4) is True


def test_a_full_side_gives_up_the_farthest_and_counts_it() -> None:
    book = Book(16)
    for price in range(1, 41):
        book.level(BID, price, 1)
    book.refresh()
    kept = book.bids(100)
    assert kept == [(price, 1) for price in range(40, 40 - len(kept), -1)]
    assert len(kept) <= 16
    assert book.dropped == 40 - len(kept)
    before = book.dropped
    while len(book.bids(100)) < 16:
        book.level(BID, 41 + book.dropped + len(book.bids(100)), 1)
        book.refresh()
    book.level(BID, 0, 9)
    assert book.dropped == before + 1


def test_newer_quote_hides_levels_without_losing_them() -> None:
    book = Book()
    for price in (97, 98, 99):
        book.level(BID, price, 10)
    for price in (101, 102):
        book.level(ASK, price, 20)
    book.refresh(5)
    book.quote(6, 98, 4, 100, 3)
    assert book.refresh() is True
    assert book.best == (98, 4, 100, 3)
    assert book.bids() == [(98, 4), (97, 10)]
    assert book.asks() == [(100, 3), (101, 20), (102, 20)]
    book.refresh(6)
    assert book.bids() == [(99, 10), (98, 10), (97, 10)]
    assert book.asks() == [(101, 20), (102, 20)]


def test_older_quote_is_not_shown() -> None:
    book = Book()
    book.level(BID, 99, 10)
    book.level(ASK, 101, 20)
    book.refresh(5)
    book.quote(4, 98, 1, 102, 1)
    assert book.refresh() is False
    assert book.best == (99, 10, 101, 20)
    book.quote(9, 97, 1, 103, 1)
    book.quote(8, 96, 1, 104, 1)
    book.refresh()
    assert book.best == (97, 1, 103, 1)


def test_one_sided_quote_shows_an_empty_side() -> None:
    book = Book()
    book.quote(1, 99, 5, 0, 0)
    book.refresh()
    assert book.best == (99, 5, 0, 0)
    assert book.asks() == []
    assert book.microprice_ticks is None


def test_crossed_view_is_said() -> None:
    book = Book()
    book.level(BID, 101, 1)
    book.level(ASK, 101, 1)
    book.refresh(1)
    assert book.crossed
    book.level(ASK, 101, 0)
    book.level(ASK, 102, 1)
    book.refresh(2)
    assert not book.crossed


def test_microprice_leans_to_the_heavier_side() -> None:
    book = Book()
    book.level(BID, 100, 30)
    book.level(ASK, 102, 10)
    book.refresh(1)
    assert book.microprice_ticks == pytest.approx((102 * 30 + 100 * 10) / 40)


# What a full side no longer knows.


def test_levels_that_were_given_up_and_would_be_the_best_by_now_are_missed() -> None:
    book = Book(8)
    for price in range(981, 1001):
        book.level(BID, price, 1)
    assert book.known
    for price in range(992, 1001):
        book.level(BID, price, 0)
    book.level(BID, 900, 1)
    book.refresh()
    assert book.best[0] == 900, "991 stands at the venue"
    assert not book.known


def test_a_thin_side_that_gave_up_nothing_is_known() -> None:
    book = Book(8)
    assert book.known
    book.level(BID, 99, 1)
    book.level(BID, 99, 0)
    book.level(ASK, 101, 1)
    assert book.known


def test_an_empty_side_that_gave_levels_up_is_not_known_until_it_begins_anew() -> None:
    book = Book(8)
    for price in range(1, 10):
        book.level(ASK, price, 1)
    for price in range(1, 10):
        book.level(ASK, price, 0)
    assert not book.known
    book.clear()
    assert book.known


@pytest.mark.parametrize(("capacity", "read"), [(8, 4), (12, 6), (40, 10)])
def test_while_a_book_is_known_its_best_levels_are_those_of_one_without_a_bound(
    capacity: int, read: int
) -> None:
    """Prices of both signs, near ones and some outside the window; one that is no longer known begins anew."""
    rng = random.Random(capacity)
    book, twins = Book(capacity), {side: SideTwin(side, 10**9) for side in (BID, ASK)}
    bounded = {side: SideTwin(side, capacity) for side in (BID, ASK)}
    mid = known = lost = 0
    for step in range(40_000):
        mid += rng.randint(-3, 3)
        side = rng.choice((BID, ASK))
        away = int(abs(rng.gauss(0, 25))) if rng.random() < 0.95 else rng.randint(0, 3000)
        price = mid - away if side == BID else mid + 1 + away
        if twins[side].lots and rng.random() < (0.8 if step // 500 % 2 else 0.3):
            price = twins[side].levels()[0][0] if rng.random() < 0.6 else rng.choice(list(twins[side].lots))
            lots = 0
        else:
            lots = rng.randint(1, 50)
        book.level(side, price, lots)
        twins[side].put(price, lots)
        bounded[side].put(price, lots)
        book.refresh()
        assert book.known == all(twin.known(read) for twin in bounded.values()), f"step {step}"
        if book.known:
            known += 1
            assert book.bids(read) == twins[BID].levels()[:read], f"step {step}"
            assert book.asks(read) == twins[ASK].levels()[:read], f"step {step}"
        else:
            lost += 1
            book.clear()
            for each, twin in twins.items():
                bounded[each] = SideTwin(each, capacity)
                for at, size in rng.sample(twin.levels(), len(twin.lots)):
                    book.level(each, at, size)
                    bounded[each].put(at, size)
            assert book.known, "a snapshot, in whatever order it is told"
    assert lost > 20, "the walk leaves what is known"
    assert known > 20_000
