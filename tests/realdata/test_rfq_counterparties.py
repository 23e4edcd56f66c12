"""5,000 recorded RFQs of four counterparties, two of them toxic: who gets the shorter life once outcomes are told.

The log has no clock and no book: one RFQ a time slot, its mid as a quote of one tick either side, the mid after it half
a second later. What traded is a fill at some time within a second, what did not is a quote that ran out after it.
"""

import csv
import json
from pathlib import Path
from typing import NamedTuple

import pytest

from quotelife.config import Config
from quotelife.counterparty.posterior import CounterpartyStatus, OutcomeCode
from quotelife.engine import Engine
from quotelife.records import (
    DecisionCode,
    DecisionRecord,
    EventBuffer,
    EventFlags,
    EventKindCode,
    RequestRecord,
)
from reference.outcome_kit import outcome

pytestmark = pytest.mark.realdata
MS = 1_000_000
S = 1000 * MS
START_NS = 1_700_000_000 * S
SLOT_NS = 2 * S
BONDS = ("Bond_0", "Bond_1", "Bond_2")
TOXIC, BENIGN = ("Ctpy_0", "Ctpy_2"), ("Ctpy_1", "Ctpy_3")
NOBODY = "Ctpy_9"


class Rfq(NamedTuple):
    instrument: int
    side: int  # +1 the desk buys
    counterparty: str
    mid: int  # ticks
    quoted: int
    done: bool
    next_mid: int


def rfqs(path: Path) -> list[Rfq]:
    def ticks(text: str) -> int:
        return round(float(text) * 100)

    with path.open(newline="", encoding="utf-8") as file:
        return [
            Rfq(
                BONDS.index(row["Bond"]), 1 if row["Side"] == "Bid" else -1, row["Counterparty"],
                ticks(row["MidPrice"]), ticks(row["QuotedPrice"]), row["Traded"] == "DONE",
                ticks(row["NextMidPrice"]),
            )
            for row in csv.DictReader(file)
        ]  # fmt: skip


def config() -> Config:
    postures = {
        name: {"mode": "expected_value", "tolerance_source": "curve", "tolerance": tolerance,
               "life_min": "50ms", "life_max": "5s",
               "weights": {}}
        for name, tolerance in (("client_priority", 0.5), ("liquidity_provider", 0.5), ("risk_averse", 0.5))
    }  # fmt: skip
    return Config.model_validate_json(
        json.dumps(
            {
                "version": 1,
                "instruments": [
                    {"name": bond, "venue": "course", "symbol": bond, "tick_size": "0.01", "lot_size": "1",
                     "quotes_only": True, "warmup": "1s", "adverse_ticks": 6, "stale": {"min": "10s", "max": "60s"}}
                    for bond in BONDS
                ],
                "postures": postures,
                "tiers": {"dealt": {}},
                "counterparties": {name: {"tier": "dealt"} for name in (*TOXIC, *BENIGN, NOBODY)},
                "counterparty_statistics": {"half_life_quotes": 500, "pooled": False},
                "defaults": {"price_bounds": {"bps": 1000}},
            }
        )
    )  # fmt: skip


class Desk:
    def __init__(self) -> None:
        self.engine = Engine(config(), start_ns=START_NS)
        self.buffer = EventBuffer(8)
        self.sequence = 0
        self.mids = [10_000] * len(BONDS)

    def show(self, instrument: int, mid: int, now_ns: int) -> None:
        self.sequence += 1
        self.buffer.clear()
        self.buffer.append(
            EventKindCode.QUOTE, instrument=instrument, receive_ns=now_ns, price_ticks=mid - 1, size_lots=1000,
            order_id=mid + 1, aux=1000, sequence=self.sequence, flags=EventFlags.LAST,
        )  # fmt: skip
        self.engine.on_events(self.buffer)

    def ask(self, counterparty: str, instrument: int, edge: float, now_ns: int) -> DecisionRecord:
        index = self.engine.policy.counterparty_index(counterparty)
        assert index is not None
        request = RequestRecord(instrument, 1, now_ns=now_ns, counterparty=index, edge_ticks=edge)
        decision = DecisionRecord()
        self.engine.decide(request, decision)
        return decision

    def deal(self, rfq: Rfq, now_ns: int) -> None:
        self.show(rfq.instrument, rfq.mid, now_ns)
        index = self.engine.policy.counterparty_index(rfq.counterparty)
        assert index is not None
        request = RequestRecord(
            rfq.instrument, rfq.side, now_ns=now_ns, counterparty=index, price_ticks=float(rfq.quoted)
        )
        decision = DecisionRecord()
        self.engine.decide(request, decision)
        kind = OutcomeCode.EXPIRED
        if rfq.done:
            kind = OutcomeCode.HIT if rfq.side > 0 else OutcomeCode.LIFTED
        h = max(6.0, float(rfq.side * (rfq.mid - rfq.quoted)))
        payload = outcome(
            self.engine, request, decision, kind, price_ticks=float(rfq.quoted), mid_ticks=float(rfq.mid), h_ticks=h,
            life_ns=S,
        )  # fmt: skip
        self.engine.outcome(now_ns, payload)
        self.show(rfq.instrument, rfq.next_mid, now_ns + 500 * MS)
        self.mids[rfq.instrument] = rfq.next_mid
        self.engine.on_timer(now_ns + 1500 * MS)

    def calm(self) -> None:
        """Two minutes in which the market moves by two ticks a second, and back."""
        start_ns = self.engine.now_ns + S
        for k in range(120):
            for instrument in range(3):
                self.show(instrument, self.mids[instrument] + (-1) ** k, start_ns + k * S + instrument)
        self.engine.on_timer(self.engine.now_ns + MS)

    def known(self, name: str) -> CounterpartyStatus:
        status = self.engine.counterparties.status(name)
        assert status is not None
        return status


@pytest.fixture(scope="module")
def log(data_dir: Path) -> list[Rfq]:
    return rfqs(data_dir / "rfq" / "dev_training_rfqs.csv")


@pytest.fixture(scope="module")
def desk(log: list[Rfq]) -> Desk:
    desk = Desk()
    for k, rfq in enumerate(log):
        desk.deal(rfq, START_NS + (k + 2) * SLOT_NS)
    desk.calm()
    return desk


def lives(desk: Desk, names: tuple[str, ...], edge: float) -> list[int]:
    now_ns = desk.engine.now_ns
    decisions = [desk.ask(name, 0, edge, now_ns) for name in names]
    assert len({decision.p for decision in decisions}) == 1, "the market is the same for all"
    return [decision.life_ns if decision.kind == DecisionCode.QUOTE else 0 for decision in decisions]


def test_the_log_is_the_one_described(log: list[Rfq]) -> None:
    assert len(log) == 5000
    for name, rate in (("Ctpy_0", 0.49), ("Ctpy_1", 0.56), ("Ctpy_2", 0.16), ("Ctpy_3", 0.61)):
        mine = [rfq for rfq in log if rfq.counterparty == name]
        assert sum(rfq.done for rfq in mine) / len(mine) == pytest.approx(rate, abs=0.006)


def test_fill_rates_and_informed_shares_are_those_of_the_log(desk: Desk, log: list[Rfq]) -> None:
    for name in (*TOXIC, *BENIGN):
        mine = [rfq for rfq in log if rfq.counterparty == name]
        weights = [2 ** (-(len(mine) - 1 - k) / 500) for k in range(len(mine))]
        filled = sum(w for w, rfq in zip(weights, mine, strict=True) if rfq.done)
        status = desk.known(name)
        assert status.fill_rate == pytest.approx((20 * 0.3 + filled) / (20 + sum(weights)), rel=1e-9)
    informed = {name: desk.known(name).used.informed_share for name in (*TOXIC, *BENIGN)}
    assert min(informed[name] for name in TOXIC) > 2 * max(informed[name] for name in BENIGN)


def test_the_toxic_get_shorter_lives_at_equal_market_state(desk: Desk) -> None:
    for edge in (1.0, 2.0, 3.0, 4.0):
        toxic, benign = lives(desk, TOXIC, edge), lives(desk, BENIGN, edge)
        assert max(toxic) < min(benign), edge
        assert min(toxic) > 0


def test_before_anything_is_told_all_get_the_same(log: list[Rfq]) -> None:
    desk = Desk()
    desk.calm()
    assert len(set(lives(desk, (*TOXIC, *BENIGN, NOBODY), 2.0))) == 1


def test_whoever_told_nothing_is_exactly_as_its_tier(desk: Desk) -> None:
    nobody = desk.known(NOBODY)
    assert nobody.used == nobody.configured == nobody.believed
    decision = desk.ask(NOBODY, 0, 2.0, desk.engine.now_ns)
    assert decision.learned is None
    blank = Engine(config(), start_ns=START_NS)
    request = RequestRecord(0, 1, now_ns=decision.now_ns, counterparty=decision.counterparty, edge_ticks=2.0)
    again = DecisionRecord()
    blank.redo(request, decision, again)
    assert again.canonical() == decision.canonical()


def test_every_decision_follows_from_its_record(desk: Desk) -> None:
    blank, again = Engine(config(), start_ns=START_NS), DecisionRecord()
    for name in (*TOXIC, *BENIGN):
        decision = desk.ask(name, 0, 2.0, desk.engine.now_ns)
        request = RequestRecord(
            0, 1, now_ns=decision.now_ns, counterparty=decision.counterparty, edge_ticks=2.0
        )
        blank.redo(request, decision, again)
        assert decision.learned is not None
        assert again.canonical() == decision.canonical()
