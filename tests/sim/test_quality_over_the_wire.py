"""Lost messages and clocks, from the simulated venue's own bytes to quality and decision."""

import random
from collections.abc import Iterator
from dataclasses import dataclass, field

import pytest

from quotelife.book.quality import QualityCause
from quotelife.config import Config
from quotelife.engine import Engine
from quotelife.feed.binance import BinanceDecoder
from quotelife.records import (
    NO_INDEX_VALUE,
    DecisionCode,
    DecisionRecord,
    EventBuffer,
    EventKindCode,
    QualityCode,
    ReasonFlags,
    RequestRecord,
    SideCode,
)
from quotelife.sim.binance_wire import BinanceWire
from quotelife.sim.market import BTC, ETH, MarketConfig, MarketSimulator
from quotelife.sim.updates import BookSnapshot, DepthUpdate, VenueUpdate
from quotelife.units import NS_PER_MS, NS_PER_S

START_NS = 1_700_000_000 * NS_PER_S
WHOLE = 5000
SYMBOLS = (BTC, ETH)


def config(warmup: str) -> Config:
    rows = ",".join(
        f'{{"name": "{each.symbol}", "venue": "sim", "symbol": "{each.symbol}", "tick_size": "{each.tick_size}",'
        f' "lot_size": "{each.lot_size}", "warmup": "{warmup}"}}'
        for each in SYMBOLS
    )
    return Config.model_validate_json(
        f'{{"version": 1, "model": {{"artifact": "logistic"}}, "instruments": [{rows}]}}'
    )


@dataclass
class Sides:
    """A book by nothing but the events."""

    bids: dict[int, int] = field(default_factory=dict)
    asks: dict[int, int] = field(default_factory=dict)

    @classmethod
    def of(cls, snapshot: BookSnapshot) -> "Sides":
        return cls(dict(snapshot.bids), dict(snapshot.asks))

    def apply(self, update: DepthUpdate) -> None:
        """As the venue means it: sizes are absolute."""
        for side, levels in ((self.bids, update.bids), (self.asks, update.asks)):
            for price, lots in levels:
                side[price] = lots
                if not lots:
                    del side[price]


class Line:
    """A market, its bytes, the decoder and an engine behind it; ``offset_ns`` is what the local clock is ahead."""

    def __init__(self, market: str, seed: int, *, warmup: str = "0s", offset_ns: int = 0) -> None:
        self.config = MarketConfig(market=market, symbols=SYMBOLS)
        self.venue = MarketSimulator(self.config, seed, START_NS)
        self.wire = BinanceWire(self.config)
        self.buffer = EventBuffer(65_536)
        self.decoder = BinanceDecoder(market, self.buffer)
        for place, each in enumerate(SYMBOLS):
            self.decoder.add_instrument(each.symbol, place, each.tick_size, each.lot_size)
        self.wanted: set[str] = set()  # symbols of which the decoder has asked for a snapshot
        self.offset_ns = offset_ns
        self.engine = Engine(config(warmup), start_ns=START_NS + offset_ns)
        self.books = [Sides() for _ in SYMBOLS]
        self.venue.advance(START_NS + NS_PER_S)
        self.decoder.connected(self.now_ns)
        self._flush()

    @property
    def now_ns(self) -> int:
        return self.venue.now_ns + self.offset_ns

    def updates(self, seconds: float) -> Iterator[VenueUpdate]:
        yield from self.venue.run(seconds)

    def hear(self, update: VenueUpdate) -> None:
        payload = self.wire.combined(self.wire.stream_of(update), self.wire.encode(update))
        self.decoder.message(payload, self.now_ns)
        self.wanted.update(self.decoder.wants_snapshot())
        self._flush()

    def resynchronise(self, symbol: int) -> int:
        """One answer to the snapshot that the decoder asked for; its update id."""
        name = SYMBOLS[symbol].symbol
        self.wanted.remove(name)
        snapshot = self.venue.snapshot(symbol, WHOLE)
        self.decoder.snapshot(name, self.wire.snapshot(snapshot), self.now_ns)
        self._flush()
        return snapshot.last_update_id

    def quality(self, symbol: int) -> QualityCode:
        return QualityCode(self.engine.instrument_status(symbol, self.now_ns).quality)

    def ask(self, symbol: int, side: int = 1) -> DecisionRecord:
        decision = DecisionRecord()
        self.engine.decide(RequestRecord(symbol, side, now_ns=self.now_ns, size_lots=10), decision)
        return decision

    def _flush(self) -> None:
        for event in self.buffer.array():
            if event["instrument"] == NO_INDEX_VALUE:
                continue
            book, kind = self.books[event["instrument"]], int(event["kind"])
            if kind in (EventKindCode.SNAPSHOT_BEGIN, EventKindCode.CLEAR):
                book.bids.clear()
                book.asks.clear()
            elif kind == EventKindCode.LEVEL:
                side = book.bids if event["side"] == SideCode.BID else book.asks
                side[int(event["price_ticks"])] = int(event["size_lots"])
                if not event["size_lots"]:
                    del side[int(event["price_ticks"])]
        self.engine.on_events(self.buffer)
        self.buffer.clear()


def mended_gaps(market: str, wanted: int, seed: int) -> int:
    """Loses messages at random and holds every step of each recovery; returns how many were mended."""
    rng = random.Random(seed)
    line = Line(market, seed)
    losing = [0, 0]  # messages still to be lost
    lost = [False, False]
    gapped_at: list[int | None] = [None, None]
    truth = [Sides.of(line.venue.snapshot(place, WHOLE)) for place in range(len(SYMBOLS))]
    covered = [0, 0]  # update id of the snapshot given
    mended = checked = 0
    for update in line.updates(1e9):
        symbol = update.symbol
        if not isinstance(update, DepthUpdate):
            line.hear(update)
            continue
        truth[symbol].apply(update)
        if losing[symbol]:
            losing[symbol] -= 1
            lost[symbol] = True
            continue
        line.hear(update)
        if lost[symbol]:  # the first message after the loss
            lost[symbol] = False
            status = line.engine.instrument_status(symbol, line.now_ns)
            assert QualityCode(status.quality) is QualityCode.GAPPED, f"seed {seed}, gap {mended}"
            assert QualityCause(status.quality_cause) is QualityCause.LOST_MESSAGES
            decision = line.ask(symbol)
            assert DecisionCode(decision.kind) is DecisionCode.DECLINE
            assert decision.reasons & ReasonFlags.DATA_NOT_GOOD
            gapped_at[symbol] = status.resyncs
            covered[symbol] = line.resynchronise(symbol)
            continue
        if gapped_at[symbol] is not None and update.last_id > covered[symbol]:
            # The first message that goes beyond the snapshot.
            status = line.engine.instrument_status(symbol, line.now_ns)
            assert QualityCode(status.quality) is QualityCode.GOOD, f"seed {seed}, gap {mended}"
            assert status.resyncs == gapped_at[symbol] + 1, "one snapshot was enough"
            gapped_at[symbol] = None
            mended += 1
            if mended == wanted:
                break
        elif SYMBOLS[symbol].symbol in line.wanted:
            line.resynchronise(symbol)  # the very first book
            continue
        if line.quality(symbol) is not QualityCode.GOOD:
            assert gapped_at[symbol] is not None or not mended
            continue
        if rng.random() < 0.5:
            losing[symbol] = rng.choice((1, 1, 1, 2, 5))
        assert (line.books[symbol].bids, line.books[symbol].asks) == (
            truth[symbol].bids,
            truth[symbol].asks,
        ), f"seed {seed}, gap {mended}"
        _, bid, bid_lots, ask, ask_lots = line.engine.level_top(symbol)
        assert (bid, ask) == (max(truth[symbol].bids), min(truth[symbol].asks))
        assert (bid_lots, ask_lots) == (truth[symbol].bids[bid], truth[symbol].asks[ask])
        checked += 1
    assert checked > mended / 4
    return mended


@pytest.mark.parametrize("market", ["spot", "usdm", "coinm"])
def test_random_gaps_are_flagged_at_the_next_message_and_mended_by_one_snapshot(market: str) -> None:
    assert mended_gaps(market, 100, seed=5) == 100


@pytest.mark.slow
@pytest.mark.parametrize(("market", "gaps"), [("spot", 3334), ("usdm", 3333), ("coinm", 3333)])
def test_ten_thousand_random_gaps(market: str, gaps: int) -> None:
    assert mended_gaps(market, gaps, seed=random.SystemRandom().randrange(2**32)) == gaps


def decided(offset_ns: int, seconds: float) -> list[dict[str, bytes]]:
    """Fields of the decisions over one market whose receiver's clock is ahead by so much; stamps less the offset."""
    line = Line("usdm", 11, warmup="1s", offset_ns=offset_ns)
    taken = []
    for n, update in enumerate(line.updates(seconds)):
        line.hear(update)
        for place, each in enumerate(SYMBOLS):
            if each.symbol in line.wanted:
                line.resynchronise(place)
        if n % 25 == 0:
            record = line.ask(n % 2, side=1 if n % 4 < 2 else -1).array().copy()
            for stamp in ("now_ns", "expiry_ns"):
                record[stamp] -= offset_ns
            taken.append({name: record[name].tobytes() for name in record.dtype.names})
    return taken


@pytest.mark.parametrize("offset_ns", [-1500 * NS_PER_MS, 1500 * NS_PER_MS])
def test_a_receive_clock_beside_the_exchanges_changes_no_decision(offset_ns: int) -> None:
    level = decided(0, 12.0)
    assert decided(offset_ns, 12.0) == level
    quotes = sum(each["kind"] == bytes([DecisionCode.QUOTE]) for each in level)
    assert quotes > 30, "there is something to compare"
