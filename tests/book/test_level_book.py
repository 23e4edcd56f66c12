"""The level book against a dictionary, and the quote laid over it."""

import random

import pytest

from quotelife.book.level_book import Book
from quotelife.records import SideCode

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
