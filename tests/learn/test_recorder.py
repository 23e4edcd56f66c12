"""The path that is taken down: one point a receive stamp, and holes where the engine would not trust its book."""

from collections.abc import Callable

import numpy as np
import pytest

from quotelife.config import Config
from quotelife.engine import Engine
from quotelife.features.schema import NAMES
from quotelife.learn.recorder import Recorder
from quotelife.records import (
    DecisionRecord,
    EventBuffer,
    EventFlags,
    EventKindCode,
    QualityCode,
    RequestRecord,
    StatusKind,
)

MS = 1_000_000
S = 1000 * MS
T0 = 1_700_000_000 * S
CONFIG = Config.model_validate_json("""{
  "version": 1,
  "instruments": [
    {"name": "EUR", "venue": "fx", "symbol": "EUR", "tick_size": "0.1", "lot_size": "1", "quotes_only": true,
     "warmup": "100ms", "stale": {"min": "1s", "max": "2s"}}]
}""")
Path = list[tuple[float, float | None, float | None]]
"""From when on (ms after T0), mid and microprice; None where nothing is known."""


class Market:
    """One instrument that is quoted by hand."""

    def __init__(self) -> None:
        self.engine = Engine(CONFIG, start_ns=T0)
        self.recorder = Recorder(self.engine)
        self.engine.record_to(self.recorder)
        self.sequence = 0

    def event(self, ms: float, kind: EventKindCode, **fields: int) -> None:
        self.sequence += 1
        buffer = EventBuffer(16)
        flags = EventFlags.LAST | fields.pop("flags", 0)
        buffer.append(kind, flags=flags, receive_ns=at(ms), sequence=self.sequence, **fields)
        self.engine.on_events(buffer)

    def quote(self, ms: float, bid: int, ask: int, bid_lots: int = 1, ask_lots: int = 1) -> None:
        self.event(ms, EventKindCode.QUOTE, price_ticks=bid, size_lots=bid_lots, order_id=ask, aux=ask_lots)

    def status(self, ms: float, status: StatusKind) -> None:
        self.event(ms, EventKindCode.STATUS, aux=status)

    def ask(self, ms: float, side: int = 1) -> DecisionRecord:
        decision = DecisionRecord()
        self.engine.decide(RequestRecord(0, side, now_ns=at(ms)), decision)
        return decision

    def path(self) -> Path:
        """After the warm-up, which the first half second is left for."""
        time, mid, microprice, good = self.recorder.path(0)
        assert (np.diff(time) > 0).all()
        rows = zip(((time - T0) / MS).tolist(), mid.tolist(), microprice.tolist(), good.tolist(), strict=True)
        return [(t, m if g else None, p if g else None) for t, m, p, g in rows if t >= 500]


def at(ms: float) -> int:
    return T0 + round(ms * MS)


@pytest.fixture
def market() -> Market:
    made = Market()
    made.quote(0, 100, 102)
    made.quote(400, 100, 102)
    return made


def test_a_point_is_mid_and_microprice_and_stands_where_they_are_new(market: Market) -> None:
    market.quote(500, 100, 104, 3, 1)
    market.quote(600, 100, 104, 3, 1)
    market.quote(700, 100, 102)
    assert market.path() == [(500, 102, 103), (700, 101, 101), (700 + 1 / MS, None, None)]


def test_of_one_receive_stamp_only_the_end_counts(market: Market) -> None:
    market.quote(500, 98, 100)
    market.quote(500, 97, 99)
    market.quote(600, 95, 97)
    market.quote(600, 97, 99)
    market.quote(700, 97, 99)
    assert market.path() == [(500, 98, 98), (700, None, None)]


def test_the_path_ends_with_the_last_message(market: Market) -> None:
    market.quote(500, 100, 104)
    market.quote(900, 100, 104)
    assert market.path() == [(500, 102, 102), (900, None, None)]


def test_lost_messages_make_a_hole_from_the_last_one_that_was_heard(market: Market) -> None:
    market.quote(500, 100, 104)
    market.quote(550, 100, 104)
    market.event(800, EventKindCode.CLEAR, flags=EventFlags.GAP)
    assert market.path() == [(500, 102, 102), (550 + 1 / MS, None, None)]


def test_a_line_that_is_lost_makes_a_hole_too(market: Market) -> None:
    market.quote(500, 100, 104)
    market.status(800, StatusKind.FEED_DOWN)
    assert market.path() == [(500, 102, 102), (500 + 1 / MS, None, None)]


@pytest.mark.parametrize("status", [StatusKind.HALT, StatusKind.CLOSED])
def test_a_halt_is_known_until_it_comes(market: Market, status: StatusKind) -> None:
    market.quote(500, 100, 104)
    market.status(800, status)
    market.status(1000, StatusKind.TRADING)
    assert market.path()[:2] == [(500, 102, 102), (800, None, None)]


def test_a_crossed_book_is_not_known(market: Market) -> None:
    market.quote(500, 100, 104)
    market.quote(700, 104, 100)
    market.quote(800, 100, 106)
    assert market.path()[:3] == [(500, 102, 102), (700, None, None), (800, 103, 103)]


def test_a_silence_that_was_stale_is_a_hole_from_its_bound_though_nobody_looked(market: Market) -> None:
    """Of a rhythm that is not known yet, 2 s of silence are expected."""
    market.quote(500, 100, 104)
    market.quote(4000, 100, 104)
    market.quote(4100, 100, 106)
    assert market.path()[:4] == [(500, 102, 102), (2500, None, None), (4000, 102, 102), (4100, 103, 103)]


def test_a_silence_that_was_stale_is_a_hole_though_what_ends_it_is_not_good_either(market: Market) -> None:
    market.quote(500, 100, 104)
    market.status(4000, StatusKind.HALT)
    assert market.path() == [(500, 102, 102), (2500, None, None)]


def test_a_stale_silence_that_ends_in_a_loss_was_a_loss_from_the_start(market: Market) -> None:
    market.quote(500, 100, 104)
    market.ask(3000)
    market.event(3500, EventKindCode.CLEAR, flags=EventFlags.GAP)
    assert market.path() == [(500, 102, 102), (500 + 1 / MS, None, None)]


def test_the_warm_up_ends_at_its_instant_and_not_when_it_is_asked() -> None:
    market = Market()
    market.quote(600, 100, 102)
    market.ask(750)
    market.quote(900, 100, 102)
    assert market.path() == [(600, None, None), (700, 101, 101), (900, None, None)]


@pytest.fixture
def lively(market: Market) -> Market:
    """Moves for six seconds: before, its volatility is not known, and nobody is answered."""
    for i in range(5, 61):
        market.quote(100 * i, 100 + i % 2, 104 + i % 2, 3, 1)
    return market


def test_a_decision_is_taken_down_with_its_features(lively: Market) -> None:
    asked = [lively.ask(6050, side) for side in (-1, 1)]
    rows = lively.recorder.rows(0)
    assert rows["now_ns"].tolist() == [at(6050)] * 2 and rows["side"].tolist() == [-1, 1]
    for name in ("mid_ticks", "spread_ticks", "reference_ticks", "h_ticks", "sigma_ticks"):
        np.testing.assert_array_equal(rows[name], [getattr(each, name) for each in asked])
    assert rows["microprice_ticks"].tolist() == [103, 103]
    expected = [[np.nan if (v := d.feature(i)) is None else v for i in range(len(NAMES))] for d in asked]
    np.testing.assert_array_equal(rows["x"], np.array(expected, np.float32))


def test_where_the_engine_answers_nobody_there_is_no_decision(lively: Market, market: Market) -> None:
    """Not on data that is not good, and before that not without a volatility."""
    market.status(6100, StatusKind.HALT)
    market.ask(6150)
    quiet = Market()
    quiet.quote(0, 100, 102)
    assert quiet.ask(400).quality == QualityCode.GOOD
    assert len(lively.recorder.rows(0)["now_ns"]) == len(quiet.recorder.rows(0)["now_ns"]) == 0


def test_more_decisions_than_a_block_holds_are_all_there(lively: Market) -> None:
    n = 16384 * 2 + 3
    for i in range(n):
        lively.ask(6000 + i / 1000)
    rows = lively.recorder.rows(0)
    assert rows["now_ns"].tolist() == [at(6000 + i / 1000) for i in range(n)]
    assert {len(column) for column in rows.values()} == {n}


def test_an_instrument_that_is_not_there_has_no_path(market: Market) -> None:
    look: Callable[[int], object] = market.recorder.path
    with pytest.raises(IndexError):
        look(1)
