"""Stamps that lie: backwards, an hour off, jittering. Engine time is their running maximum and nothing else."""

import math
import random
from pathlib import Path

import pytest

from engine.test_engine import MS, T0, S, make_config
from quotelife.config import Config
from quotelife.engine import Engine
from quotelife.features.schema import SCHEMA
from quotelife.records import (
    DecisionCode,
    DecisionRecord,
    EventBuffer,
    EventFlags,
    EventKindCode,
    RequestRecord,
    SideCode,
    SignalCode,
)

H = 3600 * S
NEVER_NEGATIVE = [
    spec
    for spec in SCHEMA
    if not spec.signed and spec.unit in ("count", "lots", "lots/s", "1/s", "s", "ticks/√s", "ratio", "√s")
]


class Run:
    """The same inputs for a market with one instrument, told with stamps of one's choice."""

    def __init__(self, config: Config) -> None:
        self.engine = Engine(config, start_ns=T0)
        self.buffer = EventBuffer(64)
        self.sequence = 1

    def snapshot(self, t: int, bid: int, exchange_ns: int) -> None:
        self.sequence += 1
        common = {"instrument": 0, "receive_ns": t, "exchange_ns": exchange_ns}
        self.buffer.append(EventKindCode.SNAPSHOT_BEGIN, **common)
        for k in range(6):
            for side, price in ((SideCode.BID, bid - k), (SideCode.ASK, bid + 2 + k)):
                self.buffer.append(
                    EventKindCode.LEVEL, side=side, price_ticks=price, size_lots=100,
                    flags=EventFlags.SNAPSHOT, **common,
                )  # fmt: skip
        self.buffer.append(
            EventKindCode.SNAPSHOT_END, flags=EventFlags.LAST, sequence=self.sequence, **common
        )
        self._flush()

    def level(self, t: int, side: int, price: int, lots: int, exchange_ns: int) -> None:
        self.sequence += 1
        self.buffer.append(
            EventKindCode.LEVEL, instrument=0, side=side, receive_ns=t, exchange_ns=exchange_ns,
            price_ticks=price, size_lots=lots, flags=EventFlags.LAST, sequence=self.sequence,
        )  # fmt: skip
        self._flush()

    def trade(self, t: int, price: int, exchange_ns: int) -> None:
        self.buffer.append(
            EventKindCode.TRADE, instrument=0, side=SideCode.BID, receive_ns=t, exchange_ns=exchange_ns,
            price_ticks=price, size_lots=3, flags=EventFlags.LAST,
        )  # fmt: skip
        self._flush()

    def _flush(self) -> None:
        self.engine.on_events(self.buffer)
        self.buffer.clear()

    def decide(self, t: int, **options: int) -> DecisionRecord:
        decision = DecisionRecord()
        self.engine.decide(RequestRecord(0, 1, now_ns=t, counterparty=0, **options), decision)
        return decision


def stamps(rng: random.Random, n: int, wild: float) -> list[int]:
    """A clock that mostly goes on by a few ms, jitters, and now and then is an hour off for a while."""
    out, t, off = [], T0, 0
    for _ in range(n):
        t += rng.randrange(0, 20 * MS)
        draw = rng.random()
        if draw < wild:
            off = rng.choice((-H, H, -S, S, 0, -rng.randrange(H)))
        elif draw < 5 * wild:
            off = 0
        out.append(t + off + rng.randrange(-3 * MS, 3 * MS))
    return out


@pytest.mark.parametrize("seed", range(6))
@pytest.mark.parametrize("wild", [0.0, 0.001, 0.01])
def test_lying_stamps_are_worth_their_running_maximum(tmp_path: Path, seed: int, wild: float) -> None:
    """Byte for byte, and whatever the exchange's clock says; and no figure of a decision is ever impossible."""
    config = make_config(tmp_path)
    lying, honest = Run(config), Run(config)
    rng = random.Random(f"{seed} {wild}")
    longest_ns = config.postures.client_priority.life_max_ns
    bid, before_ns, latest, quotes = 1000, 0, T0, 0
    for raw in stamps(rng, 2_500, wild):
        latest = max(latest, raw)
        act, lots = rng.random(), rng.randrange(1, 200)
        exchange_ns = raw + rng.choice((0, -5 * H, 5 * H, -raw))
        if act < 0.003:
            lying.snapshot(raw, bid, exchange_ns)
            honest.snapshot(latest, bid, 0)
        elif act < 0.6:
            side, price = rng.choice(((SideCode.BID, bid), (SideCode.ASK, bid + 2), (SideCode.BID, bid - 1)))
            lying.level(raw, side, price, lots, exchange_ns)
            honest.level(latest, side, price, lots, 0)
        elif act < 0.7:
            lying.trade(raw, bid + 2, exchange_ns)
            honest.trade(latest, bid + 2, 0)
        elif act < 0.72:
            source_ns = raw + rng.choice((0, -5 * H, 5 * H))
            for run, stamp in ((lying, raw), (honest, latest)):
                run.engine.on_signal(
                    SignalCode.NEWS, receive_ns=stamp, source_ns=source_ns, value=0.1, instrument=0
                )
        elif act < 0.75:
            lying.engine.on_timer(raw)
            honest.engine.on_timer(latest)
        else:
            options = {"priced_at_ns": raw + rng.choice((0, -50 * MS, -2 * H, 2 * H)), "price_ticks": bid}
            if rng.random() < 0.3:
                options["client_deadline_ns"] = raw + rng.choice((-H, 0, S, H))
            decision = lying.decide(raw, **options)
            assert decision.canonical() == honest.decide(latest, **options).canonical()
            assert decision.now_ns == latest >= before_ns
            before_ns = decision.now_ns
            assert decision.expiry_ns == decision.now_ns + decision.life_ns
            assert decision.data_age_ns >= -1
            quote = DecisionCode(decision.kind) is DecisionCode.QUOTE
            assert 0 < decision.life_ns <= longest_ns if quote else decision.life_ns == 0
            if quote and "client_deadline_ns" in options:
                assert decision.expiry_ns <= options["client_deadline_ns"]
            quotes += quote
            for spec in SCHEMA:
                value = decision.feature(spec.index)
                assert value is None or math.isfinite(value), spec.name
            for spec in NEVER_NEGATIVE:
                value = decision.feature(spec.index)
                assert value is None or value >= 0, spec.name
            status = lying.engine.instrument_status(0, raw)
            assert min(status.regime_ns) >= 0 and status.not_good_ns >= 0
            assert sum(status.regime_ns) <= latest - T0
    if not wild:
        assert quotes > 100, "the market was good enough of the time to say something"


def test_an_hour_ahead_and_back_leaves_lives_counted_from_engine_time(tmp_path: Path) -> None:
    """A clock set back does not bring an old life to life: the next one starts where time has come to."""
    run = Run(make_config(tmp_path))
    t = T0
    for k in range(200):
        t += 50 * MS
        if k == 0:
            run.snapshot(t, 1000, t)
        run.level(t, SideCode.BID, 1000, 100 + k, t)
    ahead = run.decide(t + H)
    run.snapshot(t, 1000, t)
    back = run.decide(t + MS)
    assert (ahead.now_ns, back.now_ns) == (t + H, t + H)
    assert back.expiry_ns >= t + H
