"""An instrument with its book from one connection and its trades from another: Binance USD-M serves them so."""

import json
from decimal import Decimal
from pathlib import Path

import pytest

from engine.test_engine import MS, T0, S, Tape, make_config
from quotelife.book.quality import QualityCause
from quotelife.engine import Engine
from quotelife.errors import DecodeError
from quotelife.feed.binance import BinanceDecoder
from quotelife.records import EventBuffer, EventKindCode, QualityCode, SideCode, StatusKind
from reference.event_books import rows

GOOD = (QualityCode.GOOD, QualityCause.NONE)
DOWN = (QualityCode.GAPPED, QualityCause.FEED_DOWN)


class Pair:
    """The book by hand, the trades through the decoder of their own feed."""

    def __init__(self, engine: Engine) -> None:
        self.engine = engine
        self.tape = Tape(engine)
        self.buffer = EventBuffer(256)
        self.trades = BinanceDecoder("usdm", self.buffer)
        self.trades.add_instrument("BTCUSDT", 0, Decimal("0.1"), Decimal("0.001"))
        self.trades.book_elsewhere("BTCUSDT")
        self.told: list[tuple[int, int]] = []

    def hand_on(self) -> None:
        self.told += [(row.kind, row.aux) for row in rows(self.buffer)]
        self.engine.on_events(self.buffer)
        self.buffer.clear()

    def connected(self, t: int) -> None:
        self.trades.connected(t)
        self.hand_on()

    def disconnected(self, t: int) -> None:
        self.trades.disconnected(t)
        self.hand_on()

    def state(self, t: int) -> tuple[QualityCode, QualityCause]:
        status = self.engine.instrument_status(0, t)
        return QualityCode(status.quality), QualityCause(status.quality_cause)


@pytest.fixture
def pair(tmp_path: Path) -> Pair:
    return Pair(Engine(make_config(tmp_path), start_ns=T0))


def test_a_lost_companion_leaves_the_book_and_its_return_makes_it_good_again(pair: Pair) -> None:
    pair.connected(T0)
    pair.tape.snapshot(T0 + 1)
    pair.tape.diff(T0 + S, [(SideCode.BID, 1000, 7)])
    assert pair.state(T0 + S + 1) == GOOD
    pair.disconnected(T0 + S + 2)
    assert pair.state(T0 + S + 3) == DOWN
    pair.tape.diff(T0 + S + 500 * MS, [(SideCode.BID, 1001, 9)])
    pair.connected(T0 + S + 600 * MS)
    assert pair.state(T0 + S + 601 * MS) == (QualityCode.WARMING, QualityCause.WARMING_UP)
    pair.tape.diff(T0 + 2 * S, [(SideCode.BID, 1000, 6)])
    assert pair.state(T0 + 2 * S + 600 * MS) == GOOD
    status = pair.engine.instrument_status(0, T0 + 2 * S + 600 * MS)
    assert (status.bid_ticks, status.bid_lots) == (1001, 9)


def test_nothing_is_good_before_the_companion_stands(pair: Pair) -> None:
    pair.trades.not_yet_connected(T0)
    pair.hand_on()
    pair.tape.snapshot(T0 + 1)
    pair.tape.diff(T0 + S, [(SideCode.BID, 1000, 7)])
    assert pair.state(T0 + S + 1) == DOWN


def test_down_and_up_are_told_in_turn(pair: Pair) -> None:
    pair.trades.not_yet_connected(T0)
    for t in range(3):
        pair.connected(T0 + 2 * t)
        pair.disconnected(T0 + 2 * t + 1)
    pair.hand_on()
    up, down = (
        (EventKindCode.STATUS, StatusKind.COMPANION_UP),
        (EventKindCode.STATUS, StatusKind.COMPANION_DOWN),
    )
    assert pair.told == [down, up, down, up, down, up, down]


def test_a_message_the_companion_cannot_read_leaves_the_book(pair: Pair) -> None:
    pair.connected(T0)
    pair.tape.snapshot(T0 + 1)
    pair.tape.diff(T0 + S, [(SideCode.BID, 1000, 7)])
    trade = {"e": "aggTrade", "s": "BTCUSDT", "E": 5, "T": 5, "a": 1, "p": "100.05", "q": "1", "m": True}
    for data in (b"{", json.dumps(trade).encode()):
        with pytest.raises(DecodeError):
            pair.trades.message(data, T0 + S + 1)
        pair.hand_on()
    assert pair.state(T0 + S + 2) == GOOD


def test_pongs_of_the_companion_say_nothing_of_the_line_of_the_book(pair: Pair) -> None:
    pair.trades.heartbeat(T0)
    assert pair.buffer.count == 0
