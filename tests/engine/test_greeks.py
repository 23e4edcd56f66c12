"""Greeks of an option: signals as any other, kept with their age, the same after a restart and in a replay."""

import math
from pathlib import Path
from typing import Any

import pytest

from quotelife.engine import Engine, GreeksStatus
from quotelife.inputs import InputTap
from quotelife.journal.recovery import recover
from quotelife.journal.writer import JournalWriter
from quotelife.records import SignalCode
from quotelife_server import convert
from reference.journal_kit import T0, S, begin, make_config
from reference.simulated_disk import SimulatedDisk

PAIRS: dict[str, Any] = {
    "delta_gamma": (0.5, 1e-5),
    "vega_theta": (12.5, -3.25),
    "volatility_underlying": (61.2, 60_000.0),
    "mark_funding": (0.0125, 0.0),
}


@pytest.fixture
def engine(tmp_path: Path) -> Engine:
    return Engine(make_config(tmp_path), start_ns=T0)


def told(engine: Engine, at_ns: int = T0 + 9 * S) -> GreeksStatus | None:
    return engine.instrument_status(1, at_ns).greeks


def test_nothing_is_known_before_it_was_told(engine: Engine) -> None:
    assert told(engine) is None


def test_the_last_of_each_pair_is_kept_with_the_age_of_the_oldest(engine: Engine) -> None:
    engine.on_greeks(1, receive_ns=T0 + S, source_ns=T0, **PAIRS)
    engine.on_greeks(1, receive_ns=T0 + 2 * S, source_ns=T0 + S, delta_gamma=(0.75, 2e-5))
    assert told(engine) == GreeksStatus(
        0.75, 2e-5, 12.5, -3.25, 61.2, 60_000.0, 0.0125, 0.0, oldest_ns=T0, underlying=0, taken=5, ignored=0
    )
    assert engine.instrument_status(0, T0 + 9 * S).greeks is None


def test_what_comes_late_changes_nothing(engine: Engine) -> None:
    engine.on_greeks(1, receive_ns=T0 + S, source_ns=T0 + S, delta_gamma=(0.5, 0.1))
    engine.on_greeks(1, receive_ns=T0 + 2 * S, source_ns=T0, delta_gamma=(0.9, 0.1))
    kept = told(engine)
    assert kept is not None
    assert (kept.delta, kept.oldest_ns) == (0.5, T0 + S)
    assert (kept.taken, kept.ignored) == (1, 1)


def test_a_source_whose_clock_is_ahead_is_aged_by_our_own(engine: Engine) -> None:
    engine.on_greeks(1, receive_ns=T0 + S, source_ns=T0 + 3600 * S, delta_gamma=(0.5, 0.1))
    kept = told(engine)
    assert kept is not None
    assert kept.oldest_ns == T0 + S
    engine.on_greeks(1, receive_ns=T0 + 2 * S, source_ns=T0 + 2 * S, delta_gamma=(0.6, 0.1))
    kept = told(engine)
    assert kept is not None and kept.delta == 0.6, "one wrong stamp ahead does not silence those that follow"


def pair(engine: Engine, receive_ns: int, source_ns: int, **fields: Any) -> bool:
    given: dict[str, Any] = {"value": 0.5, "value2": 0.1, "instrument": 1, **fields}
    return engine.on_signal(SignalCode.DELTA_GAMMA, receive_ns=receive_ns, source_ns=source_ns, **given)


def test_a_pair_holds_for_its_time_to_live_from_its_own_stamp(engine: Engine) -> None:
    assert pair(engine, T0 + S, T0, ttl_ns=3 * S, source=7)
    alive, over = told(engine, T0 + 3 * S - 1), told(engine, T0 + 3 * S)
    assert alive is not None and (alive.delta, alive.underlying) == (0.5, 7)
    assert over is not None and (over.delta, over.gamma, over.underlying, over.oldest_ns) == (
        None,
        None,
        0,
        0,
    )


def test_what_was_over_before_it_came_takes_the_place_of_nothing(engine: Engine, tmp_path: Path) -> None:
    disk = SimulatedDisk()
    writer = begin(disk, engine)
    assert pair(engine, T0 + S, T0)
    assert not pair(engine, T0 + 9 * S, T0 + S, value=0.9, ttl_ns=2 * S)
    writer.commit()
    kept = told(engine)
    assert kept is not None and (kept.delta, kept.taken, kept.ignored) == (0.5, 1, 1)
    (after,) = recover(disk, T0 + 60 * S).state.signals(T0 + 60 * S)
    assert after["value"] == 0.5, "nor in the state that a restart begins with"


@pytest.mark.parametrize("bad", [math.nan, math.inf])
def test_a_number_that_is_none_is_refused_whole(engine: Engine, bad: float) -> None:
    before = engine.input_sequence
    with pytest.raises(ValueError, match="finite"):
        engine.on_greeks(1, receive_ns=T0, source_ns=T0, **PAIRS | {"mark_funding": (bad, 0.0)})
    assert (told(engine), engine.input_sequence) == (None, before)


def test_greeks_are_those_of_one_instrument(engine: Engine) -> None:
    with pytest.raises(ValueError, match="one instrument"):
        engine.on_signal(SignalCode.DELTA_GAMMA, receive_ns=T0, source_ns=T0, value=0.5)
    with pytest.raises(ValueError, match="unknown instrument"):
        engine.on_greeks(99, receive_ns=T0, source_ns=T0, delta_gamma=(0.5, 0.1))


def test_the_records_that_sinks_get_make_the_same_state_elsewhere(engine: Engine, tmp_path: Path) -> None:
    """What capture and journal hold is enough for a replay."""
    records: list[bytes] = []

    def tap(name: str, _sequence: int, *values: Any) -> None:
        if name == "signal":
            records.append(values[0].tobytes())

    engine.record_to(InputTap(tap))
    engine.on_greeks(1, receive_ns=T0 + S, source_ns=T0, **PAIRS)
    again = Engine(make_config(tmp_path), start_ns=T0)
    for record in records:
        again.on_signal_record(record)
    assert len(records) == 4
    assert told(again) == told(engine) is not None
    assert again.input_sequence == engine.input_sequence


def test_greeks_survive_a_restart_with_their_age(engine: Engine, tmp_path: Path) -> None:
    disk = SimulatedDisk()
    writer = begin(disk, engine)
    engine.on_greeks(1, receive_ns=T0 + S, source_ns=T0, **PAIRS)
    writer.commit()
    recovered = recover(disk, T0 + 60 * S)
    again = Engine(make_config(tmp_path), start_ns=T0 + 60 * S)
    writer = JournalWriter(disk, boot_id="b2", next_number=recovered.next_number, segment=recovered.segment)
    writer.begin(again, T0 + 60 * S, recovered.state)
    again.record_to(writer)
    assert recovered.state.restore(again, T0 + 60 * S) == []
    assert told(again) == told(engine) is not None


def test_status_shows_them_in_the_units_of_the_interface(engine: Engine) -> None:
    engine.on_greeks(1, receive_ns=T0 + S, source_ns=T0, **PAIRS)
    now_ns = T0 + 3 * S
    message = convert.instrument_status(
        engine.instruments[1], engine.instrument_status(1, now_ns), now_ns, str
    )
    option = message.option
    assert (option.greeks.delta, option.greeks.theta_per_day) == (0.5, -3.25)
    assert option.greeks.vega == 1250.0  # per 1.00 of volatility, the venue's is per point
    assert (option.mark_iv, option.underlying_price, option.mark_price) == (61.2, 60_000.0, 0.0125)
    assert (option.age_ns, option.updates, option.ignored) == (3 * S, 4, 0)
    plain = convert.instrument_status(engine.instruments[0], engine.instrument_status(0, now_ns), now_ns, str)
    assert not plain.HasField("option")
