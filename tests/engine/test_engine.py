"""The engine as a whole: one order of inputs, states that do not lie, decisions that say why."""

import random
from pathlib import Path

import numpy as np
import pytest

from quotelife.config import Config, load_config
from quotelife.engine import Engine
from quotelife.errors import ConfigError, QuotelifeError
from quotelife.features.schema import INDEX
from quotelife.inputs import InputTap
from quotelife.records import (
    NO_INDEX_VALUE,
    BindingFlags,
    DecisionCode,
    DecisionRecord,
    EventBuffer,
    EventFlags,
    EventKindCode,
    PostureCode,
    QualityCode,
    ReasonFlags,
    RegimeCode,
    RequestRecord,
    RuleCode,
    SideCode,
    SignalCode,
    StatusKind,
)

S = 1_000_000_000
MS = 1_000_000
T0 = 1_700_000_000 * S

TEXT = """
version: 1
model: {artifact: first_passage}
instruments:
  - {name: BTC, venue: test, symbol: BTC, tick_size: 0.1, lot_size: 0.001, warmup: 1s, drivers: [ETH]}
  - {name: ETH, venue: test, symbol: ETH, tick_size: 0.01, lot_size: 0.001, warmup: 1s, drivers: [BTC]}
tiers:
  strategic: {posture: client_priority}
  regular: {posture: liquidity_provider}
counterparties:
  alpha: {tier: strategic}
  beta: {tier: regular}
desks:
  main: {allow_request_override: true}
"""


def make_config(tmp_path: Path, text: str = TEXT) -> Config:
    path = tmp_path / "config.yaml"
    path.write_text(text, encoding="utf-8")
    return load_config(path)


class Tape:
    """Writes venue messages for one engine, one at a time."""

    def __init__(self, engine: Engine) -> None:
        self.engine = engine
        self.buffer = EventBuffer(4096)
        self.sequence = 1

    def flush(self) -> None:
        self.engine.on_events(self.buffer)
        self.buffer.clear()

    def snapshot(
        self, t: int, instrument: int = 0, bid: int = 1000, ask: int = 1002, levels: int = 12
    ) -> None:
        self.sequence += 1
        self.buffer.append(EventKindCode.SNAPSHOT_BEGIN, instrument=instrument, receive_ns=t)
        for k in range(levels):
            self.buffer.append(EventKindCode.LEVEL, instrument=instrument, side=SideCode.BID, receive_ns=t,
                               flags=EventFlags.SNAPSHOT, price_ticks=bid - k, size_lots=100 + k)  # fmt: skip
            self.buffer.append(EventKindCode.LEVEL, instrument=instrument, side=SideCode.ASK, receive_ns=t,
                               flags=EventFlags.SNAPSHOT, price_ticks=ask + k, size_lots=100 + k)  # fmt: skip
        self.buffer.append(EventKindCode.SNAPSHOT_END, instrument=instrument, receive_ns=t,
                           flags=EventFlags.LAST, sequence=self.sequence)  # fmt: skip
        self.flush()

    def diff(self, t: int, changes: list[tuple[int, int, int]], instrument: int = 0) -> None:
        """One depth message; ``changes`` holds (side, price, lots)."""
        self.sequence += 1
        for i, (side, price, lots) in enumerate(changes):
            last = EventFlags.LAST if i == len(changes) - 1 else 0
            self.buffer.append(EventKindCode.LEVEL, instrument=instrument, side=side, receive_ns=t, flags=last,
                               sequence=self.sequence, price_ticks=price, size_lots=lots)  # fmt: skip
        self.flush()

    def event(self, kind: int, t: int, instrument: int = 0, **fields: int) -> None:
        self.buffer.append(
            kind, instrument=instrument, receive_ns=t, flags=fields.pop("flags", EventFlags.LAST), **fields
        )
        self.flush()


def walk(tape: Tape, start: int, seconds: float, *, seed: int = 1, instrument: int = 0, mid: int = 1001,
         every_ns: int = 50 * MS) -> int:  # fmt: skip
    """A calm random walk of the best prices, one depth message each ``every_ns``; returns the last time."""
    rng = random.Random(seed)
    t = start
    bid = mid - 1
    while t < start + int(seconds * S):
        t += every_ns
        step = rng.choice((-1, 0, 0, 1))
        new = bid + step
        changes: list[tuple[int, int, int]] = []
        if step > 0:
            changes = [(SideCode.ASK, bid + 2, 0), (SideCode.ASK, new + 2, rng.randint(50, 150)),
                       (SideCode.BID, new, rng.randint(50, 150))]  # fmt: skip
        elif step < 0:
            changes = [(SideCode.BID, bid, 0), (SideCode.BID, new, rng.randint(50, 150)),
                       (SideCode.ASK, new + 2, rng.randint(50, 150))]  # fmt: skip
        else:
            changes = [(SideCode.BID, bid, rng.randint(50, 150))]
        bid = new
        tape.diff(t, changes, instrument)
    return t


def ask(engine: Engine, t: int, side: int = 1, instrument: int = 0, **options: object) -> DecisionRecord:
    decision = DecisionRecord()
    engine.decide(RequestRecord(instrument, side, now_ns=t, **options), decision)  # type: ignore[arg-type]
    return decision


@pytest.fixture
def config(tmp_path: Path) -> Config:
    return make_config(tmp_path)


@pytest.fixture
def engine(config: Config) -> Engine:
    return Engine(config, start_ns=T0)


def warm(engine: Engine, seconds: float = 20.0) -> tuple[Tape, int]:
    tape = Tape(engine)
    tape.snapshot(T0 + 1, 0)
    tape.snapshot(T0 + 1, 1)
    return tape, walk(tape, T0 + 1, seconds)


def test_every_input_takes_the_next_number(engine: Engine) -> None:
    tape = Tape(engine)
    before = engine.input_sequence
    tape.snapshot(T0 + 1, levels=2)
    assert engine.input_sequence == before + 6
    engine.on_signal(SignalCode.NEWS, receive_ns=T0 + 2, source_ns=T0, value=0.1)
    engine.on_timer(T0 + 3)
    decision = ask(engine, T0 + 4)
    assert decision.input_sequence == engine.input_sequence == before + 9
    engine.set_override(now_ns=T0 + 5, expires_ns=T0 + S, posture=PostureCode.RISK_AVERSE)
    assert engine.input_sequence == before + 10


def test_same_inputs_in_the_same_order_give_equal_bytes(config: Config) -> None:
    def run() -> list[bytes]:
        engine = Engine(config, start_ns=T0)
        tape, t = warm(engine, 5)
        out = []
        for k in range(40):
            t = walk(tape, t, 0.2, seed=k)
            if k == 10:
                engine.on_signal(SignalCode.NEWS, receive_ns=t, source_ns=t, value=-1.0)
            if k == 20:
                engine.set_override(now_ns=t, expires_ns=t + S, posture=PostureCode.CLIENT_PRIORITY)
            if k == 25:
                engine.apply_config(config, t)
            out.append(
                ask(
                    engine, t + 1, 1 if k % 2 else -1, counterparty=k % 2, edge_ticks=float(k % 3)
                ).canonical()
            )
        return out

    first, second = run(), run()
    assert first == second
    assert len(set(first)) == len(first)


def test_time_never_goes_back(engine: Engine) -> None:
    tape, t = warm(engine, 3)
    tape.diff(t - 3600 * S, [(SideCode.BID, 1000, 7)])
    assert engine.now_ns == t
    decision = ask(engine, t - 3600 * S)
    assert decision.now_ns == t
    assert decision.life_ns >= 0 and decision.expiry_ns >= t
    assert decision.data_age_ns == 0


def test_no_book_is_a_decline_that_says_so(engine: Engine) -> None:
    decision = ask(engine, T0 + 1)
    assert DecisionCode(decision.kind) is DecisionCode.DECLINE
    assert QualityCode(decision.quality) is QualityCode.WARMING
    assert decision.reasons & ReasonFlags.DATA_NOT_GOOD
    assert RuleCode(decision.rule) is RuleCode.DATA_QUALITY
    assert (decision.life_ns, decision.data_age_ns) == (0, -1)


def test_book_warms_before_it_is_good(engine: Engine) -> None:
    tape = Tape(engine)
    tape.snapshot(T0 + 1)
    assert engine.instrument_status(0, T0 + 2).quality == QualityCode.WARMING
    walk(tape, T0 + 1, 1.2)
    assert engine.instrument_status(0, engine.now_ns).quality == QualityCode.GOOD


def test_gap_distrusts_from_that_event_until_resynchronised(engine: Engine) -> None:
    tape, t = warm(engine)
    assert DecisionCode(ask(engine, t).kind) is DecisionCode.QUOTE
    tape.event(EventKindCode.CLEAR, t + 1, flags=EventFlags.GAP | EventFlags.LAST)
    for decision in (ask(engine, t + 1), ask(engine, t + 5 * MS)):
        assert QualityCode(decision.quality) is QualityCode.GAPPED
        assert DecisionCode(decision.kind) is DecisionCode.DECLINE
    tape.diff(t + 2, [(SideCode.BID, 1000, 5)])
    assert engine.instrument_status(0, t + 2).quality == QualityCode.GAPPED
    assert engine.level_top(0)[1:] == (0, 0, 0, 0)
    tape.snapshot(t + 3)
    walk(tape, t + 3, 2.0)
    status = engine.instrument_status(0, engine.now_ns)
    assert (status.quality, status.gaps) == (QualityCode.GOOD, 1)


def test_lost_feed_distrusts_every_instrument_at_once(engine: Engine) -> None:
    _, t = warm(engine)
    buffer = EventBuffer(1)
    buffer.append(EventKindCode.STATUS, instrument=NO_INDEX_VALUE, receive_ns=t + 1, aux=StatusKind.FEED_DOWN,
                  flags=EventFlags.LAST)  # fmt: skip
    engine.on_events(buffer)
    assert [engine.instrument_status(i, t + 1).quality for i in (0, 1)] == [QualityCode.GAPPED] * 2


def heartbeats(tape: Tape, start: int, seconds: float, every_ns: int = S) -> int:
    t = start
    while t < start + int(seconds * S):
        t += every_ns
        tape.event(EventKindCode.STATUS, t, aux=StatusKind.HEARTBEAT)
    return t


def test_silence_on_a_dead_line_is_stale(engine: Engine) -> None:
    _, t = warm(engine)
    assert engine.instrument_status(0, t + 900 * MS).quality == QualityCode.GOOD
    decision = ask(engine, t + 2 * S)
    assert QualityCode(decision.quality) is QualityCode.STALE
    assert DecisionCode(decision.kind) is DecisionCode.DECLINE


def test_heartbeats_prove_quiet_only_for_a_while(engine: Engine) -> None:
    tape, t = warm(engine)  # a message each 50 ms
    soon = heartbeats(tape, t, 10)
    assert engine.instrument_status(0, soon).quality == QualityCode.GOOD
    assert ask(engine, soon).data_age_ns == soon - t, "a heartbeat says nothing of the book"
    late = heartbeats(tape, soon, 30)
    assert engine.instrument_status(0, late).quality == QualityCode.STALE


def test_quiet_instrument_with_heartbeats_is_no_fault(config: Config) -> None:
    engine = Engine(config, start_ns=T0)
    tape = Tape(engine)
    tape.snapshot(T0 + 1)
    t = T0 + 1
    for k in range(12):  # something happens every two minutes, three messages in a row then
        for _ in range(3):
            t += 20 * MS
            tape.diff(t, [(SideCode.BID, 1000, 50 + k)])
        t = heartbeats(tape, t, 120, 2 * S)
        if k >= 4:
            assert engine.instrument_status(0, t).quality == QualityCode.GOOD, k


def test_trades_that_the_book_does_not_answer_are_no_sign_of_health(engine: Engine) -> None:
    tape, t = warm(engine)
    for k in range(1, 31):
        tape.event(EventKindCode.TRADE, t + k * 100 * MS, side=SideCode.BID, price_ticks=1100, size_lots=5)
    assert engine.instrument_status(0, t + 3 * S).quality == QualityCode.STALE


def test_trades_without_an_aggressor_are_counted_and_those_at_the_middle_beside_them(engine: Engine) -> None:
    tape, t = warm(engine)
    status = engine.instrument_status(0, t)
    middle2 = status.bid_ticks + status.ask_ticks
    before = (status.unsided_trades, status.undecided_trades)
    for side, price in (
        (0, status.bid_ticks),
        (0, status.ask_ticks),
        (1, status.ask_ticks),
        (0, middle2 // 2),
    ):
        tape.event(EventKindCode.TRADE, t + S, side=side, price_ticks=price, size_lots=1)
    after = engine.instrument_status(0, t + S)
    assert middle2 % 2 == 0
    assert (after.unsided_trades, after.undecided_trades) == (before[0] + 3, before[1] + 1)


def test_quotes_that_the_depth_does_not_answer_are_no_sign_of_health(engine: Engine) -> None:
    tape, t = warm(engine)
    bid, ask_price = engine.level_top(0)[1], engine.level_top(0)[3]
    for k in range(1, 31):
        tape.event(EventKindCode.QUOTE, t + k * 100 * MS, sequence=10_000 + k, price_ticks=bid, size_lots=k,
                   order_id=ask_price, aux=7)  # fmt: skip
    assert engine.instrument_status(0, t + 3 * S).quality == QualityCode.STALE


def test_silence_is_booked_as_not_good(engine: Engine) -> None:
    tape, t = warm(engine)
    before = engine.instrument_status(0, t).not_good_ns
    tape.diff(t + 20 * S, [(SideCode.BID, 1000, 7)])
    assert engine.instrument_status(0, t + 20 * S).not_good_ns - before > 15 * S


def test_newer_quote_outlives_a_snapshot(engine: Engine) -> None:
    tape, t = warm(engine)
    tape.event(EventKindCode.QUOTE, t + 1, sequence=10**6, price_ticks=990, size_lots=3, order_id=992, aux=4)
    tape.snapshot(t + 2)
    status = engine.instrument_status(0, t + 2)
    assert (status.bid_ticks, status.ask_ticks) == (990, 992)


def test_crossed_book_is_not_good(engine: Engine) -> None:
    tape, t = warm(engine)
    bid = engine.level_top(0)[1]
    tape.diff(t + 1, [(SideCode.ASK, bid - 1, 5)])
    assert QualityCode(ask(engine, t + 1).quality) is QualityCode.CROSSED
    tape.diff(t + 2, [(SideCode.ASK, bid - 1, 0)])
    assert QualityCode(ask(engine, t + 2).quality) is QualityCode.GOOD
    assert engine.instrument_status(0, t + 2).crossed == 1


def test_half_a_message_is_never_looked_at(engine: Engine) -> None:
    _, t = warm(engine)
    before = engine.instrument_status(0, t)
    buffer = EventBuffer(4)
    buffer.append(
        EventKindCode.LEVEL, receive_ns=t + 1, side=SideCode.ASK, price_ticks=before.bid_ticks, size_lots=9
    )
    engine.on_events(buffer)
    assert engine.instrument_status(0, t + 1).quality == QualityCode.GOOD
    assert engine.instrument_status(0, t + 1)[3:7] == before[3:7]
    buffer.clear()
    buffer.append(EventKindCode.LEVEL, receive_ns=t + 1, side=SideCode.BID, price_ticks=before.bid_ticks, size_lots=0,
                  flags=EventFlags.LAST)  # fmt: skip
    engine.on_events(buffer)
    after = engine.instrument_status(0, t + 1)
    assert after.quality == QualityCode.GOOD and after.ask_ticks == before.bid_ticks


def test_halt_declines_and_trading_brings_it_back(engine: Engine) -> None:
    tape, t = warm(engine)
    tape.event(EventKindCode.STATUS, t + 1, aux=StatusKind.HALT)
    decision = ask(engine, t + 2)
    assert DecisionCode(decision.kind) is DecisionCode.DECLINE
    assert RegimeCode(decision.regime) is RegimeCode.HALT
    tape.event(EventKindCode.STATUS, t + 3, aux=StatusKind.TRADING)
    assert DecisionCode(ask(engine, t + 4).kind) is DecisionCode.QUOTE


def test_auction_downgrades_to_risk_averse(engine: Engine) -> None:
    tape, t = warm(engine)
    tape.event(EventKindCode.STATUS, t + 1, aux=StatusKind.AUCTION)
    decision = ask(engine, t + 2, counterparty=0)
    assert PostureCode(decision.posture_requested) is PostureCode.CLIENT_PRIORITY
    assert PostureCode(decision.posture_effective) is PostureCode.RISK_AVERSE
    assert decision.reasons & ReasonFlags.AUCTION and decision.reasons & ReasonFlags.DOWNGRADED


def test_news_downgrades_at_once_and_fades_after_hysteresis(engine: Engine) -> None:
    tape, t = warm(engine)
    calm = ask(engine, t, counterparty=0)
    assert RegimeCode(calm.regime) is RegimeCode.NORMAL
    engine.on_signal(SignalCode.NEWS, receive_ns=t + 1, source_ns=t + 1, value=-1.0)
    shocked = ask(engine, t + 2, counterparty=0)
    assert RegimeCode(shocked.regime) is RegimeCode.STRESS
    assert PostureCode(shocked.posture_effective) is PostureCode.RISK_AVERSE
    assert shocked.reasons & ReasonFlags.NEWS
    assert shocked.life_ns < calm.life_ns
    index = INDEX["news_score"]
    assert (shocked.feature(index), ask(engine, t + 2, -1).feature(index)) == (
        pytest.approx(1),
        pytest.approx(-1),
    )
    t = walk(tape, t + 2, 200)
    after = ask(engine, t, counterparty=0)
    assert RegimeCode(after.regime) is RegimeCode.NORMAL
    assert PostureCode(after.posture_effective) is PostureCode.CLIENT_PRIORITY


def test_postures_order_their_lives(engine: Engine) -> None:
    _, t = warm(engine)
    lives = []
    for posture in (PostureCode.RISK_AVERSE, PostureCode.LIQUIDITY_PROVIDER, PostureCode.CLIENT_PRIORITY):
        decision = ask(engine, t, desk=0, posture=posture)
        assert PostureCode(decision.posture_effective) is posture
        assert RuleCode(decision.rule) is RuleCode.REQUEST_OVERRIDE
        lives.append(decision.life_ns)
    assert lives == sorted(lives) and lives[0] < lives[2]


def test_runtime_override_holds_until_it_expires(engine: Engine) -> None:
    tape, t = warm(engine)
    number = engine.set_override(now_ns=t, expires_ns=t + S, posture=PostureCode.RISK_AVERSE, counterparty=0)
    decision = ask(engine, t + 1, counterparty=0)
    assert (decision.posture_effective, RuleCode(decision.rule)) == (
        PostureCode.RISK_AVERSE,
        RuleCode.RUNTIME_OVERRIDE,
    )
    assert ask(engine, t + 1, counterparty=1).posture_effective == PostureCode.LIQUIDITY_PROVIDER
    assert [o.override_id for o in engine.overrides(t + 1)] == [number]
    t = walk(tape, t + 1, 1.1)
    assert ask(engine, t, counterparty=0).posture_effective == PostureCode.CLIENT_PRIORITY
    assert engine.overrides(t) == []
    again = engine.set_override(now_ns=t, expires_ns=t + S, posture=PostureCode.RISK_AVERSE)
    assert engine.clear_override(again, t) is True
    assert engine.clear_override(again, t) is False
    assert ask(engine, t, counterparty=0).posture_effective == PostureCode.CLIENT_PRIORITY


def test_client_deadline_cuts_the_life_inside_the_bounds(engine: Engine) -> None:
    _, t = warm(engine)
    free = ask(engine, t, edge_ticks=6.0)
    cut = ask(engine, t, edge_ticks=6.0, client_deadline_ns=t + 150 * MS + 999)
    assert free.life_ns > 150 * MS
    assert cut.life_ns == 150 * MS, "whole microseconds, never later than the deadline"
    assert cut.binding & BindingFlags.CLIENT_DEADLINE and cut.binding & free.binding
    assert cut.p_life < free.p_life
    for left in (0, 1, 99 * MS):
        late = ask(engine, t, edge_ticks=6.0, client_deadline_ns=t + left)
        assert DecisionCode(late.kind) is DecisionCode.DECLINE, "no life below the posture's minimum"
        assert late.reasons & ReasonFlags.DEADLINE_TOO_CLOSE


def test_longest_life_counts_from_the_moment_of_pricing(engine: Engine) -> None:
    _, t = warm(engine)
    fresh = ask(engine, t, edge_ticks=18.0)
    aged = ask(engine, t, edge_ticks=18.0, priced_at_ns=t - 30 * MS)
    assert fresh.binding & BindingFlags.MAXIMUM
    assert aged.life_ns == fresh.life_ns - 30 * MS
    dead = ask(engine, t, priced_at_ns=t - 3600 * S)
    assert DecisionCode(dead.kind) is DecisionCode.DECLINE
    assert dead.reasons & ReasonFlags.STALE_REQUEST


@pytest.mark.parametrize("age_ms", [15, 400, 3000])
def test_what_the_market_has_moved_since_pricing_is_gone_from_the_threshold(
    engine: Engine, age_ms: int
) -> None:
    tape, t = warm(engine)
    bid = engine.level_top(0)[1]
    steps = max(2, age_ms // 50)
    for k in range(steps):  # two ticks down, then still
        changes = [
            (SideCode.BID, bid - 2, 40 + k),
            (SideCode.BID, bid - 1, 0),
            (SideCode.ASK, bid + 2, 50 + k),
        ]
        if k == 0:
            changes += [(SideCode.BID, bid, 0), (SideCode.ASK, bid, 30), (SideCode.ASK, bid + 1, 30)]
        tape.diff(t + (k + 1) * age_ms * MS // steps, changes)
    now = t + age_ms * MS
    moved = ask(engine, now, edge_ticks=6.0, priced_at_ns=t)
    assert moved.moved_ticks == pytest.approx(2.0)
    assert ask(engine, now, -1, edge_ticks=6.0, priced_at_ns=t).moved_ticks == pytest.approx(-2.0)
    still = ask(engine, now, edge_ticks=6.0)
    assert still.moved_ticks == 0.0
    assert moved.h_ticks == still.h_ticks == 6.0
    assert moved.p_ref > still.p_ref
    threshold = INDEX["threshold"]
    assert moved.feature(threshold) == pytest.approx(still.feature(threshold) * 4.0 / 6.0)
    gone = ask(engine, now, edge_ticks=2.0, priced_at_ns=t)
    assert DecisionCode(gone.kind) is DecisionCode.DECLINE
    assert gone.reasons & ReasonFlags.MOVED_THROUGH


def test_edge_widens_the_threshold_and_lengthens_the_life(engine: Engine) -> None:
    _, t = warm(engine)
    tight, wide = ask(engine, t, edge_ticks=0.0), ask(engine, t, edge_ticks=8.0)
    assert (tight.h_ticks, wide.h_ticks) == (1.0, 8.0)
    assert wide.p_ref < tight.p_ref
    assert wide.life_ns > tight.life_ns
    by_price = ask(engine, t, price_ticks=tight.reference_ticks - 8.0)
    assert by_price.edge_ticks == pytest.approx(8.0)
    sold = ask(engine, t, -1, price_ticks=tight.reference_ticks + 8.0)
    assert sold.edge_ticks == pytest.approx(8.0)


def test_more_volatility_shortens_the_life(config: Config) -> None:
    lives = []
    for every_ns in (200 * MS, 20 * MS):
        engine = Engine(config, start_ns=T0)
        tape = Tape(engine)
        tape.snapshot(T0 + 1)
        t = walk(tape, T0 + 1, 30, every_ns=every_ns)
        decision = ask(engine, t, edge_ticks=6.0)
        assert RegimeCode(decision.regime) is RegimeCode.NORMAL
        lives.append(decision.life_ns)
    assert lives[1] < lives[0]


def test_good_data_not_yet_observed_for_long_has_no_curve(engine: Engine) -> None:
    tape = Tape(engine)
    tape.snapshot(T0 + 1)
    for k in range(30):
        tape.diff(T0 + 1 + k * 50 * MS, [(SideCode.BID, 990, 10 + k)])
    decision = ask(engine, T0 + 1_500 * MS)
    assert QualityCode(decision.quality) is QualityCode.GOOD
    assert DecisionCode(decision.kind) is DecisionCode.DECLINE
    assert decision.reasons & ReasonFlags.NO_VOLATILITY


def test_new_configuration_is_whole_or_nothing(engine: Engine, tmp_path: Path) -> None:
    _, t = warm(engine)
    assert ask(engine, t, counterparty=0).config_revision == 1
    softer = make_config(
        tmp_path, TEXT.replace("strategic: {posture: client_priority}", "strategic: {posture: risk_averse}")
    )
    assert engine.apply_config(softer, t) == 2
    decision = ask(engine, t, counterparty=0)
    assert (decision.config_revision, decision.posture_effective) == (2, PostureCode.RISK_AVERSE)
    other_tick = make_config(tmp_path, TEXT.replace("tick_size: 0.01", "tick_size: 0.05"))
    with pytest.raises(ConfigError, match="ETH"):
        engine.apply_config(other_tick, t)
    fewer = make_config(tmp_path, "\n".join(
        line.replace(", drivers: [ETH]", "") for line in TEXT.splitlines() if "name: ETH" not in line))  # fmt: skip
    with pytest.raises(ConfigError, match="ETH"):
        engine.apply_config(fewer, t)
    assert ask(engine, t).config_revision == 2


def test_instruments_may_be_added_while_running(engine: Engine, tmp_path: Path) -> None:
    _, t = warm(engine)
    sol = "  - {name: SOL, venue: test, symbol: SOL, tick_size: 0.01, lot_size: 1, warmup: 1s}"
    more = make_config(tmp_path, TEXT.replace("tiers:", f"{sol}\ntiers:"))
    engine.apply_config(more, t)
    tape = Tape(engine)
    tape.snapshot(t + 1, 2)
    walk(tape, t + 1, 8, instrument=2)
    assert engine.instrument_status(2, engine.now_ns).quality == QualityCode.GOOD


def test_unknown_instrument_events_are_counted_not_obeyed(engine: Engine) -> None:
    tape = Tape(engine)
    tape.event(EventKindCode.TRADE, T0 + 1, instrument=77)
    assert engine.unknown_events == 1
    with pytest.raises(ValueError, match="77"):
        ask(engine, T0 + 2, instrument=77)


def test_bad_signals_are_refused(engine: Engine) -> None:
    for bad in (float("nan"), float("inf")):
        with pytest.raises(ValueError, match="finite"):
            engine.on_signal(SignalCode.NEWS, receive_ns=T0, source_ns=T0, value=bad)
    with pytest.raises(ValueError, match="kind"):
        engine.on_signal(99, receive_ns=T0, source_ns=T0, value=0.0)
    with pytest.raises(ValueError, match="instrument"):
        engine.on_signal(SignalCode.NEWS, receive_ns=T0, source_ns=T0, value=0.0, instrument=9)


def test_random_events_never_break_bounds(config: Config) -> None:
    seed = 99
    rng = np.random.default_rng(seed)
    engine = Engine(config, start_ns=T0)
    buffer = EventBuffer(512)
    t = T0
    for round_ in range(400):
        buffer.clear()
        for _ in range(64):
            t += int(rng.integers(0, 20 * MS)) - (5 * MS if rng.random() < 0.1 else 0)
            buffer.append(int(rng.integers(0, 14)), instrument=int(rng.integers(0, 3)), side=int(rng.integers(0, 3)),
                          flags=int(rng.integers(0, 8)), receive_ns=t, sequence=int(rng.integers(0, 1000)),
                          price_ticks=1000 + int(rng.integers(-20, 20)), size_lots=int(rng.integers(0, 50)),
                          order_id=1000 + int(rng.integers(-20, 20)), aux=int(rng.integers(0, 50)))  # fmt: skip
        engine.on_events(buffer)
        decision = ask(
            engine, t, 1 if round_ % 2 else -1, instrument=round_ % 2, counterparty=int(rng.integers(0, 3))
        )
        assert 0 <= decision.life_ns <= 5 * S, f"seed {seed} round {round_}"
        assert decision.expiry_ns >= decision.now_ns
        assert all(0 <= a <= b <= 1 for a, b in zip(decision.p, decision.p[1:], strict=False))
        assert np.isfinite([decision.feature(i) or 0.0 for i in range(len(INDEX))]).all(), (
            f"seed {seed} round {round_}"
        )
        if decision.kind == DecisionCode.QUOTE:
            assert decision.quality == QualityCode.GOOD


def test_overrides_stay_with_their_name_over_a_reload(engine: Engine, tmp_path: Path) -> None:
    _, t = warm(engine)
    number = engine.set_override(
        now_ns=t, expires_ns=t + 60 * S, posture=PostureCode.RISK_AVERSE, counterparty=0
    )
    with_newcomer = TEXT.replace("counterparties:", "counterparties:\n  aaa: {tier: strategic}")
    engine.apply_config(make_config(tmp_path, with_newcomer), t)
    index = {name: engine.policy.counterparty_index(name) for name in ("aaa", "alpha")}
    assert index == {"aaa": 0, "alpha": 1}
    assert ask(engine, t, counterparty=0).posture_effective == PostureCode.CLIENT_PRIORITY
    assert ask(engine, t, counterparty=1).posture_effective == PostureCode.RISK_AVERSE
    assert [(o.override_id, o.counterparty) for o in engine.overrides(t)] == [(number, 1)]
    without = with_newcomer.replace("  alpha: {tier: strategic}\n", "")
    engine.apply_config(make_config(tmp_path, without), t)
    assert engine.overrides(t) == []


def test_disabled_instrument_declines_and_says_so(tmp_path: Path) -> None:
    text = TEXT.replace("symbol: BTC,", "symbol: BTC, enabled: false,")
    engine = Engine(make_config(tmp_path, text), start_ns=T0)
    _, t = warm(engine)
    decision = ask(engine, t)
    assert DecisionCode(decision.kind) is DecisionCode.DECLINE
    assert decision.reasons & ReasonFlags.DISABLED


def test_depth_message_without_levels_moves_the_book_on(engine: Engine) -> None:
    tape, t = warm(engine)
    bid, ask_price = engine.level_top(0)[1], engine.level_top(0)[3]
    late = tape.sequence + 5
    tape.event(
        EventKindCode.QUOTE, t, sequence=late, price_ticks=bid - 3, size_lots=1, order_id=ask_price, aux=1
    )
    assert engine.instrument_status(0, t).bid_ticks == bid - 3
    tape.event(EventKindCode.STATUS, t, aux=StatusKind.HEARTBEAT, sequence=late)
    assert engine.instrument_status(0, t).bid_ticks == bid


def test_reload_swaps_the_model_with_the_configuration_or_neither(engine: Engine, tmp_path: Path) -> None:
    _, t = warm(engine)
    first = engine.model.digest
    engine.apply_config(make_config(tmp_path, TEXT.replace("first_passage", "logistic")), t)
    assert (engine.config_revision, engine.model_revision) == (2, 2)
    assert engine.model.digest != first
    with pytest.raises(ConfigError, match="artifact"):
        engine.apply_config(make_config(tmp_path, TEXT.replace("first_passage", "/no/such/artifact")), t)
    assert (engine.config_revision, engine.model_revision) == (2, 2)


@pytest.mark.parametrize(
    "key", ["quotes_only: true", "order_level: true", "book_levels_max: 64", "book_orders_max: 64"]
)
def test_reload_refuses_what_takes_a_restart(engine: Engine, tmp_path: Path, key: str) -> None:
    changed = TEXT.replace("symbol: BTC,", f"symbol: BTC, {key},")
    with pytest.raises(ConfigError, match="restart"):
        engine.apply_config(make_config(tmp_path, changed), T0)
    assert engine.config_revision == 1


def test_reload_refuses_reordered_volatility_indices(tmp_path: Path) -> None:
    engine = Engine(make_config(tmp_path, TEXT + "signals: {volatility_indices: [A, B]}\n"), start_ns=T0)
    engine.apply_config(make_config(tmp_path, TEXT + "signals: {volatility_indices: [A, B, C]}\n"), T0)
    with pytest.raises(ConfigError, match="volatility_indices"):
        engine.apply_config(make_config(tmp_path, TEXT + "signals: {volatility_indices: [B, A, C]}\n"), T0)


def test_bad_data_never_gives_more_than_good_data_would(tmp_path: Path) -> None:
    text = TEXT + "defaults: {not_good: risk_averse}\n"
    engine = Engine(make_config(tmp_path, text), start_ns=T0)
    assert DecisionCode(ask(engine, T0 + 1).kind) is DecisionCode.DECLINE, "no book has ever been seen"
    tape, t = warm(engine)
    tape.event(EventKindCode.CLEAR, t + 1, flags=EventFlags.GAP | EventFlags.LAST)
    gapped = ask(engine, t + 2)
    assert (DecisionCode(gapped.kind), gapped.life_ns) == (DecisionCode.QUOTE, 100 * MS)
    strict = Engine(
        make_config(tmp_path, text + "postures: {risk_averse: {below_minimum: decline}}\n"), start_ns=T0
    )
    tape, t = warm(strict)
    tape.event(EventKindCode.CLEAR, t + 1, flags=EventFlags.GAP | EventFlags.LAST)
    assert DecisionCode(ask(strict, t + 2).kind) is DecisionCode.DECLINE


def test_python_doors_are_checked(engine: Engine) -> None:
    with pytest.raises(ValueError, match="instrument"):
        engine.set_override(now_ns=T0, expires_ns=T0 + S, posture=3, instrument=4711)
    with pytest.raises(ValueError, match="posture"):
        RequestRecord(0, 1, now_ns=T0, posture=257)
    with pytest.raises(ValueError, match="limit"):
        engine.on_signal(SignalCode.INVENTORY, receive_ns=T0, source_ns=T0, value=1.0, value2=0.0)
    with pytest.raises(ValueError, match="volatility index"):
        engine.on_signal(SignalCode.VOLATILITY_INDEX, receive_ns=T0, source_ns=T0, value=1.0, source=3)


def test_positions_are_by_desk_and_stay_with_its_name_over_a_reload(engine: Engine, tmp_path: Path) -> None:
    two = TEXT.replace("desks:\n", "desks:\n  other: {allow_request_override: true}\n")
    engine.apply_config(make_config(tmp_path, two), T0)
    _, t = warm(engine)
    index = {name: engine.policy.desk_index(name) for name in ("main", "other")}
    for name, position in (("main", 50.0), ("other", -20.0)):
        engine.on_signal(SignalCode.INVENTORY, receive_ns=t, source_ns=t, value=position, value2=100.0,
                         instrument=0, desk=index[name])  # fmt: skip
    feature = INDEX["inventory"]
    assert ask(engine, t, desk=index["main"]).feature(feature) == pytest.approx(0.5)
    assert ask(engine, t, desk=index["other"]).feature(feature) == pytest.approx(-0.2)
    assert ask(engine, t).feature(feature) is None
    three = two.replace("desks:\n", "desks:\n  aaa: {allow_request_override: true}\n")
    engine.apply_config(make_config(tmp_path, three), t)
    assert engine.policy.desk_index("main") != index["main"]
    assert ask(engine, t, desk=engine.policy.desk_index("main")).feature(feature) == pytest.approx(0.5)
    assert ask(engine, t, desk=engine.policy.desk_index("aaa")).feature(feature) is None


def test_a_desk_that_a_reload_removes_takes_its_positions_with_it(engine: Engine, tmp_path: Path) -> None:
    two = TEXT.replace("desks:\n", "desks:\n  aaa: {}\n")
    engine.apply_config(make_config(tmp_path, two), T0)
    _, t = warm(engine)
    for desk in (0, 1):
        engine.on_signal(SignalCode.INVENTORY, receive_ns=t, source_ns=t, value=50.0 - 80 * desk, value2=100.0,
                         instrument=0, desk=desk)  # fmt: skip
    engine.apply_config(make_config(tmp_path), t)
    assert ask(engine, t, desk=engine.policy.desk_index("main")).feature(INDEX["inventory"]) == pytest.approx(
        -0.3
    )


def test_a_decision_names_the_override_that_chose_by_its_id_whatever_has_ended_before_it(
    engine: Engine,
) -> None:
    _, t = warm(engine)
    engine.set_override(now_ns=t, expires_ns=t + 50 * MS, posture=PostureCode.RISK_AVERSE, counterparty=1)
    number = engine.set_override(
        now_ns=t, expires_ns=t + 9 * S, posture=PostureCode.RISK_AVERSE, counterparty=0
    )
    assert ask(engine, t, counterparty=0).rule_index == number
    assert ask(engine, t + 100 * MS, counterparty=0).rule_index == number
    engine.on_timer(t + 100 * MS)  # drops the first
    assert ask(engine, t + 100 * MS, counterparty=0).rule_index == number


def test_an_override_too_many_is_no_input(engine: Engine) -> None:
    for _ in range(1024):
        engine.set_override(now_ns=T0, expires_ns=T0 + S, posture=PostureCode.RISK_AVERSE)
    before = engine.input_sequence
    with pytest.raises(QuotelifeError, match="1024 overrides"):
        engine.set_override(now_ns=T0, expires_ns=T0 + S, posture=PostureCode.RISK_AVERSE)
    assert engine.input_sequence == before


def test_reload_keeps_what_is_known_of_a_driver(engine: Engine, config: Config) -> None:
    tape, t = warm(engine, 1)
    t = walk(tape, t, 40)
    walk(tape, t - 40 * S, 40, seed=9, instrument=1)  # time stands: the second walk lands at the end
    before = ask(engine, engine.now_ns).feature(INDEX["driver0_velocity_500ms"])
    engine.apply_config(config, engine.now_ns)
    assert ask(engine, engine.now_ns).feature(INDEX["driver0_velocity_500ms"]) == before


def test_standing_market_has_a_small_volatility_not_none(engine: Engine) -> None:
    tape = Tape(engine)
    tape.snapshot(T0 + 1)
    t = T0 + 1
    for k in range(200):
        t += 50 * MS
        tape.diff(t, [(SideCode.BID, 990, 10 + k)])
    decision = ask(engine, t)
    assert DecisionCode(decision.kind) is DecisionCode.QUOTE
    assert 0 < decision.sigma_ticks < 0.5


def test_sinks_see_every_input_in_order(tmp_path: Path) -> None:
    config = make_config(tmp_path)
    engine = Engine(config, start_ns=T0)
    seen: list[tuple[object, ...]] = []
    engine.record_to(InputTap(lambda *what: seen.append(what)))
    tape = Tape(engine)
    tape.snapshot(T0)
    tape.flush()
    engine.on_signal(
        SignalCode.NEWS, receive_ns=T0 + MS, source_ns=T0, value=-0.5, instrument=0, source=3, ttl_ns=S
    )
    override = engine.set_override(now_ns=T0 + MS, expires_ns=T0 + S, posture=PostureCode.RISK_AVERSE, desk=0)
    engine.clear_override(override, T0 + MS)
    engine.on_timer(T0 + 2 * MS)
    engine.apply_config(config, T0 + 2 * MS)
    engine.apply_model(engine.model, T0 + 2 * MS)
    engine.decide(RequestRecord(0, 1, now_ns=T0 + 3 * MS), DecisionRecord())
    sequence = 1
    names = []
    for name, number, *rest in seen:
        assert number == sequence
        sequence += len(rest[0]) if name == "events" else 1  # type: ignore[arg-type]
        names.append(rest[0].name if name == "change" else name)  # type: ignore[attr-defined]
    assert sequence - 1 == engine.input_sequence
    assert names == [
        "events",
        "signal",
        "OVERRIDE_SET",
        "OVERRIDE_CLEARED",
        "timer",
        "CONFIG",
        "MODEL",
        "decision",
    ]

    again = Engine(config, start_ns=T0)
    again.on_signal_record(seen[1][2].tobytes())  # type: ignore[attr-defined]
    assert again.input_sequence == 1
    with pytest.raises(ValueError, match="64 bytes"):
        again.on_signal_record(b"short")


def test_a_decision_is_redone_from_its_record_alone(tmp_path: Path) -> None:
    """No market behind the second engine: bytes are equal all the same, declines and old prices among them."""
    config = make_config(tmp_path)
    engine, blank = Engine(config, start_ns=T0), Engine(config, start_ns=T0)
    rng = random.Random(5)
    _, start = warm(engine)
    kinds = set()
    for i in range(300):
        now = start + i * 40 * MS
        request = RequestRecord(
            rng.randrange(2),
            rng.choice((1, -1)),
            now_ns=now,
            counterparty=rng.randrange(3),
            price_ticks=1000 + rng.randrange(40),
            priced_at_ns=now - rng.randrange(3) * 50 * MS,
            client_deadline_ns=now + rng.randrange(1, 900) * MS,
        )
        decided, redone = DecisionRecord(), DecisionRecord()
        engine.decide(request, decided)
        blank.redo(request, decided, redone)
        assert redone.canonical() == decided.canonical()
        kinds.add(decided.kind)
    assert kinds == {DecisionCode.QUOTE, DecisionCode.DECLINE}
