"""Why data is not GOOD, since when and how often: the record of an instrument's states."""

from pathlib import Path

import pytest

from engine.test_engine import MS, T0, S, Tape, ask, heartbeats, make_config, warm
from quotelife.book.quality import QualityCause
from quotelife.config import Config
from quotelife.engine import Engine, InstrumentStatus
from quotelife.records import EventFlags, EventKindCode, QualityCode, SideCode, StatusKind


@pytest.fixture
def config(tmp_path: Path) -> Config:
    return make_config(tmp_path)


@pytest.fixture
def engine(config: Config) -> Engine:
    return Engine(config, start_ns=T0)


def state(engine: Engine, t: int) -> tuple[QualityCode, QualityCause]:
    status = engine.instrument_status(0, t)
    return QualityCode(status.quality), QualityCause(status.quality_cause)


def times(status: InstrumentStatus) -> dict[QualityCode, int]:
    return dict(zip(QualityCode, status.quality_ns, strict=True))


def entered(status: InstrumentStatus) -> dict[str, int]:
    return {code.name: n for code, n in zip(QualityCode, status.quality_entered, strict=True) if n}


def test_a_warming_book_says_what_it_waits_for(engine: Engine) -> None:
    tape = Tape(engine)
    assert state(engine, T0) == (QualityCode.WARMING, QualityCause.NO_DATA)
    tape.snapshot(T0 + 1)
    assert state(engine, T0 + 2) == (QualityCode.WARMING, QualityCause.WARMING_UP)
    assert state(engine, T0 + 1 + S) == (QualityCode.GOOD, QualityCause.NONE)


def test_the_end_of_the_warmup_counts_from_its_own_instant(engine: Engine) -> None:
    tape = Tape(engine)
    tape.snapshot(T0 + 1)
    for after_ns in (600 * MS, 1500 * MS):
        tape.diff(T0 + 1 + after_ns, [(SideCode.BID, 1000, 7)])
    assert engine.instrument_status(0, T0 + 2 * S).quality_since_ns == T0 + 1 + S


@pytest.mark.parametrize(
    ("status", "quality", "cause"),
    [
        (StatusKind.HALT, QualityCode.HALTED, QualityCause.HALT),
        (StatusKind.CLOSED, QualityCode.HALTED, QualityCause.CLOSED),
        (StatusKind.FEED_DOWN, QualityCode.GAPPED, QualityCause.FEED_DOWN),
    ],
)
def test_what_the_venue_or_the_line_says_is_the_cause(
    engine: Engine, status: int, quality: QualityCode, cause: QualityCause
) -> None:
    tape, t = warm(engine)
    tape.event(EventKindCode.STATUS, t + MS, aux=status)
    assert state(engine, t + 2 * MS) == (quality, cause)
    assert engine.instrument_status(0, t + 2 * MS).quality_since_ns == t + MS


def test_a_gap_and_its_mending_within_one_millisecond_are_counted(engine: Engine) -> None:
    tape, t = warm(engine)
    before = entered(engine.instrument_status(0, t))
    tape.event(EventKindCode.CLEAR, t + 1, flags=EventFlags.GAP | EventFlags.LAST)
    assert state(engine, t + 1) == (QualityCode.GAPPED, QualityCause.LOST_MESSAGES)
    tape.snapshot(t + 2)
    for k in (1, 2):
        tape.diff(t + k * 600 * MS, [(SideCode.BID, 1000, 7)])
    after = entered(engine.instrument_status(0, t + 1200 * MS))
    assert after == {
        "WARMING": before["WARMING"] + 1,
        "GOOD": before["GOOD"] + 1,
        "GAPPED": before.get("GAPPED", 0) + 1,
    }


def test_a_crossed_book_is_counted_however_short_it_is_crossed(engine: Engine) -> None:
    tape, t = warm(engine)
    ask_price = engine.level_top(0)[3]
    tape.diff(t + 1, [(SideCode.BID, ask_price + 5, 7)])
    assert state(engine, t + 1) == (QualityCode.CROSSED, QualityCause.CROSSED)
    tape.diff(t + 2, [(SideCode.BID, ask_price + 5, 0)])
    assert state(engine, t + 2) == (QualityCode.GOOD, QualityCause.NONE)
    assert entered(engine.instrument_status(0, t + 2))["CROSSED"] == 1


def test_a_rhythm_not_yet_known_is_given_the_longest_bound(engine: Engine) -> None:
    tape = Tape(engine)
    tape.snapshot(T0 + 1)  # of a quiet symbol; the venue's heartbeats are further apart than stale.min
    t = heartbeats(tape, T0 + 1, 28, every_ns=2 * S)
    assert state(engine, t + 1900 * MS) == (QualityCode.GOOD, QualityCause.NONE)
    assert state(engine, t + 30 * S) == (QualityCode.GOOD, QualityCause.NONE)
    assert state(engine, t + 30 * S + 1) == (QualityCode.STALE, QualityCause.LINE_SILENT)


def test_silence_of_the_line_and_silence_of_the_book_are_told_apart(config: Config) -> None:
    silent, muted = Engine(config, start_ns=T0), Engine(config, start_ns=T0)
    _, t = warm(silent)
    assert state(silent, t + 2 * S) == (QualityCode.STALE, QualityCause.LINE_SILENT)
    tape, t = warm(muted)
    late = heartbeats(tape, t, 60)
    assert state(muted, late) == (QualityCode.STALE, QualityCause.BOOK_SILENT)
    tape.event(EventKindCode.TRADE, late, side=SideCode.BID, price_ticks=1100, size_lots=5)
    later = heartbeats(tape, late, 5)
    assert state(muted, later) == (QualityCode.STALE, QualityCause.BOOK_UNANSWERED)


def test_staleness_counts_from_the_bound_that_was_passed_not_from_the_next_look(engine: Engine) -> None:
    _, t = warm(engine)  # a message each 50 ms: the least bound of 1 s holds
    decision = ask(engine, t + 20 * S)
    assert QualityCode(decision.quality) is QualityCode.STALE
    status = engine.instrument_status(0, t + 20 * S)
    assert status.quality_since_ns == t + S
    assert times(status)[QualityCode.STALE] == 19 * S


def test_the_times_of_all_states_add_up(engine: Engine) -> None:
    tape, t = warm(engine)
    tape.event(EventKindCode.CLEAR, t + S, flags=EventFlags.GAP | EventFlags.LAST)
    tape.snapshot(t + 3 * S)
    tape.event(EventKindCode.STATUS, t + 5 * S, aux=StatusKind.HALT)
    status = engine.instrument_status(0, t + 9 * S)
    assert sum(status.quality_ns) == t + 9 * S - (T0 + 1)
    assert times(status)[QualityCode.GAPPED] == 2 * S
    assert times(status)[QualityCode.HALTED] == 4 * S
    assert status.not_good_ns == sum(status.quality_ns) - times(status)[QualityCode.GOOD]


def test_trouble_begins_where_good_ended_and_a_resynchronisation_does_not_end_it(engine: Engine) -> None:
    tape, t = warm(engine)
    tape.event(EventKindCode.CLEAR, t + S, flags=EventFlags.GAP | EventFlags.LAST)

    def troubled(at: int) -> list[tuple[int, ...]]:
        engine.on_timer(at)
        return [found for found in engine.troubled(at, 2 * S, 9)[1] if found[0] == 0]

    gapped = [(0, QualityCode.GAPPED, QualityCause.LOST_MESSAGES, t + S)]
    assert troubled(t + 3 * S) == [], "not for more than 2 s"
    assert troubled(t + 3 * S + 1) == gapped
    tape.snapshot(t + 4 * S)
    assert troubled(t + 4 * S) == [], "it only warms up"
    tape.event(EventKindCode.CLEAR, t + 4 * S + 1, flags=EventFlags.GAP | EventFlags.LAST)
    assert troubled(t + 4 * S + 1) == gapped


def test_a_halt_is_no_trouble(engine: Engine) -> None:
    tape, t = warm(engine)
    for instrument in (0, 1):
        tape.event(EventKindCode.STATUS, t, aux=StatusKind.HALT, instrument=instrument)
    engine.on_timer(t + 60 * S)
    assert engine.troubled(t + 60 * S, S, 9) == (0, [])


def test_troubles_are_counted_whole_and_named_up_to_a_bound(engine: Engine) -> None:
    engine.on_timer(T0)
    engine.on_timer(T0 + 9 * S)
    count, named = engine.troubled(T0 + 9 * S, S, 1)
    assert count == 2
    assert named == [(0, QualityCode.WARMING, QualityCause.NO_DATA, T0)]
