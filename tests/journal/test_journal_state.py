"""Overrides, kills and live signals go from boot to boot by name, through the engine's ordinary inputs."""

import json
from pathlib import Path

import pytest

from quotelife.engine import Engine
from quotelife.features.schema import INDEX
from quotelife.inputs import Change
from quotelife.journal.format import Kind
from quotelife.journal.reader import Journal
from quotelife.journal.recovery import recover
from quotelife.journal.state import OperationalState
from quotelife.journal.writer import JournalWriter
from quotelife.records import DecisionRecord, PostureCode, RegimeCode, RequestRecord, SignalCode
from reference.journal_kit import T0, TEXT, Flow, S, begin, make_config
from reference.simulated_disk import SimulatedDisk

LATER = T0 + 60 * S


@pytest.fixture
def engine(tmp_path: Path) -> Engine:
    return Engine(make_config(tmp_path), start_ns=T0)


def busy(engine: Engine) -> None:
    """Overrides 1 to 3, of which 2 is cleared; news, an index, positions, of which one is replaced."""
    engine.set_override(now_ns=T0, expires_ns=T0 + 900 * S, posture=PostureCode.RISK_AVERSE, counterparty=1)
    engine.set_override(now_ns=T0, expires_ns=T0 + 900 * S, posture=PostureCode.RISK_AVERSE)
    engine.clear_override(2, T0)
    engine.set_override(now_ns=T0, expires_ns=T0 + 30 * S, posture=PostureCode.RISK_AVERSE, desk=1)
    engine.on_signal(SignalCode.NEWS, receive_ns=T0, source_ns=T0, value=-0.5, instrument=1)
    engine.on_signal(SignalCode.VOLATILITY_INDEX, receive_ns=T0, source_ns=T0, value=55.0, source=1)
    for value in (1.0, 3.0):
        engine.on_signal(
            SignalCode.INVENTORY, receive_ns=T0, source_ns=T0, value=value, value2=10.0, desk=1, instrument=0
        )
    engine.on_signal(SignalCode.NEWS, receive_ns=T0, source_ns=T0, value=0.9, ttl_ns=S)


def features(engine: Engine, instrument: int, desk: int) -> DecisionRecord:
    decision = DecisionRecord()
    engine.decide(RequestRecord(instrument, 1, now_ns=LATER, desk=desk, counterparty=1), decision)
    return decision


def restart(disk: SimulatedDisk, engine: Engine, boot_id: str) -> tuple[JournalWriter, list[str]]:
    recovered = recover(disk, LATER)
    writer = JournalWriter(
        disk, boot_id=boot_id, next_number=recovered.next_number, segment=recovered.segment
    )
    writer.begin(engine, LATER, recovered.state)
    engine.record_to(writer)
    left_out = recovered.state.restore(engine, LATER)
    writer.commit()
    return writer, left_out


def test_state_survives_restarts_and_ids_go_on(engine: Engine, tmp_path: Path) -> None:
    disk = SimulatedDisk()
    writer = begin(disk, engine)
    busy(engine)
    writer.commit()
    for boot in ("b2", "b3"):
        again = Engine(make_config(tmp_path), start_ns=LATER)
        writer, left_out = restart(disk, again, boot)
        assert left_out == []
        assert [(o.override_id, o.counterparty) for o in again.overrides(LATER)] == [(1, 1)]
        assert writer.state.to_json(LATER) | {"config": {}} == recover(disk, LATER).state.to_json(LATER) | {
            "config": {}
        }
    assert again.set_override(now_ns=LATER, expires_ns=LATER + S, posture=PostureCode.RISK_AVERSE) == 4
    kept = writer.state.signals(LATER)
    assert sorted((entry["kind"], entry["value"]) for entry in kept) == [
        (SignalCode.NEWS, -0.5),
        (SignalCode.VOLATILITY_INDEX, 55.0),
        (SignalCode.INVENTORY, 3.0),
    ]


def test_an_engine_brought_back_sees_the_signals_it_saw(engine: Engine, tmp_path: Path) -> None:
    disk = SimulatedDisk()
    writer = begin(disk, engine)
    busy(engine)
    writer.commit()
    again = Engine(make_config(tmp_path), start_ns=LATER)
    restart(disk, again, "b2")
    for instrument, desk in ((0, 1), (1, 1), (1, 0)):
        before, after = features(engine, instrument, desk), features(again, instrument, desk)
        for name in ("inventory", "news_score"):
            places = [place for key, place in INDEX.items() if key.startswith(name)]
            assert places
            assert [before.feature(place) for place in places] == [after.feature(place) for place in places]


def test_events_of_the_calendar_come_back_but_those_forgotten_or_over(engine: Engine, tmp_path: Path) -> None:
    disk = SimulatedDisk()
    writer = begin(disk, engine)
    engine.name_events(T0, [{"id": event, "event_id": f"e{event}"} for event in (1, 2, 3)])
    for event, instrument, start, length in ((1, 0, 600, 60), (1, 1, 600, 60), (2, 1, 600, 60), (3, 1, 1, 9)):
        engine.on_signal(
            SignalCode.CALENDAR,
            receive_ns=T0,
            source_ns=T0 + start * S,
            value=RegimeCode.HALT,
            ttl_ns=length * S,
            instrument=instrument,
            source=event,
        )
    engine.on_signal(SignalCode.CALENDAR, receive_ns=T0, source_ns=0, value=RegimeCode.NORMAL, source=2)
    writer.commit()
    for boot in ("b2", "b3"):
        again = Engine(make_config(tmp_path), start_ns=LATER)
        writer, _ = restart(disk, again, boot)
        assert [again.event_name(event) for event in (1, 2, 3)] == [{"id": 1, "event_id": "e1"}, None, None]
        writer.commit()
        ahead = (RegimeCode.HALT, T0 + 600 * S, T0 + 660 * S)
        assert again.calendar(LATER) == [(1, *ahead, 0), (1, *ahead, 1)]


def test_a_signal_from_before_the_clock_was_set_back_does_not_lead_the_new_clock(
    engine: Engine, tmp_path: Path
) -> None:
    disk = SimulatedDisk()
    writer = begin(disk, engine)
    ahead = LATER + 3600 * S
    engine.on_signal(SignalCode.NEWS, receive_ns=ahead, source_ns=ahead, value=-0.5, instrument=1)
    writer.commit()
    again = Engine(make_config(tmp_path), start_ns=LATER)
    restart(disk, again, "b2")
    assert again.now_ns == LATER


def test_names_move_with_the_configuration_and_those_gone_are_told(engine: Engine, tmp_path: Path) -> None:
    disk = SimulatedDisk()
    writer = begin(disk, engine)
    busy(engine)
    writer.commit()
    text = TEXT.replace("beta: {tier: strategic}", "aaa: {tier: strategic}\n  beta: {tier: strategic}")
    text = text.replace("side: {}", "zzz: {}").replace("[VIX, DVOL]", "[DVOL]")
    again = Engine(make_config(tmp_path, text), start_ns=LATER)
    writer, left_out = restart(disk, again, "b2")
    assert [o.counterparty for o in again.overrides(LATER)] == [again.policy.counterparty_index("beta")]
    assert left_out == ["inventory signal: desk side is not configured any more"]
    (index,) = [s for s in writer.state.signals(LATER) if s["kind"] == SignalCode.VOLATILITY_INDEX]
    assert (index["index"], index["source"]) == ("DVOL", 0)


def test_the_state_of_any_moment_is_found(engine: Engine) -> None:
    disk = SimulatedDisk()
    writer = begin(disk, engine, segment_bytes=4096)
    flow = Flow(engine, writer)
    for k in range(6):
        engine.set_override(now_ns=T0, expires_ns=T0 + 900 * S, posture=PostureCode.RISK_AVERSE)
        flow.ask(9)
        writer.commit()
        assert len(writer.state.overrides) == k + 1
    journal = Journal(disk)
    assert len(journal.segments) > 3
    decisions = list(journal.records([Kind.DECISION]))
    assert [len(journal.state_at(record).overrides) for record in decisions] == [
        1 + k // 9 for k in range(len(decisions))
    ]
    assert journal.state_at(decisions[0]).config == engine.config_payload()


def test_the_bytes_of_a_state_are_its_json(engine: Engine) -> None:
    busy(engine)
    state = OperationalState()
    state.change(Change.CONFIG, engine.config_payload())
    state.change(Change.KILLED, {"counterparty": "alpha", "reason": '„x\\"]}', "source": 1})
    assert json.loads(state.to_bytes(0)) == state.to_json(0)
    window_ns = 900 * S
    for group in ("G", 'of "two" ]} \\ ü'):
        parts = {str(number): f"cGFydA{number}==" for number in (61, 62, 90)}
        models = {f"{model:016x}": {"window_ns": window_ns, "parts": parts} for model in (1, 2)}
        state.change(
            Change.LEARNED,
            {"groups": [{"group": group, "held": [[0.04, -0.0], [1e-9, 0.0]], "models": models}]},
        )
        assert json.loads(state.to_bytes(0)) == state.to_json(0)
    assert len(state.to_json(0)["learned"]) == 2


def test_kills_and_their_end_are_kept_by_name() -> None:
    state = OperationalState()
    state.change(Change.KILLED, {"counterparty": None, "reason": "x", "source": 1})
    state.change(Change.KILLED, {"counterparty": "alpha", "reason": "y", "source": 1})
    state.change(Change.ENABLED, {"counterparty": None, "reason": "z"})
    again = OperationalState.from_json(state.to_json(0))
    assert list(again.kills) == ["alpha"]


def test_kills_survive_restarts_until_they_are_ended(engine: Engine, tmp_path: Path) -> None:
    disk = SimulatedDisk()
    writer = begin(disk, engine)
    engine.kill(T0 + S, reason="drill")
    engine.kill(T0 + S, counterparty="beta", reason="repeats")
    engine.enable(T0 + S)
    writer.commit()
    kills = engine.kills()
    assert len(kills) == 1
    for boot in ("b2", "b3"):
        again = Engine(make_config(tmp_path), start_ns=LATER)
        writer, _ = restart(disk, again, boot)
        assert again.kills() == kills
    again.enable(LATER, counterparty="beta")
    writer.commit()
    last = Engine(make_config(tmp_path), start_ns=LATER)
    restart(disk, last, "b4")
    assert last.kills() == []


def test_signals_fill_no_memory() -> None:
    state = OperationalState()
    import numpy as np

    from quotelife.records import SIGNAL_DTYPE

    for k in range(100):
        raw = np.zeros(1, dtype=SIGNAL_DTYPE)
        raw["kind"], raw["receive_ns"], raw["source_ns"], raw["value"] = SignalCode.NEWS, k + 1, k + 1, 0.5
        raw["instrument"] = raw["desk"] = 0xFFFFFFFF
        state.signal(raw.tobytes())
    assert [entry["source_ns"] for entry in state.signals(200)] == list(range(93, 101))


def test_an_override_id_from_before_may_not_be_taken(engine: Engine) -> None:
    engine.set_override(now_ns=T0, expires_ns=T0 + S, posture=PostureCode.RISK_AVERSE, override_id=7)
    with pytest.raises(ValueError, match="below 8 are taken"):
        engine.set_override(now_ns=T0, expires_ns=T0 + S, posture=PostureCode.RISK_AVERSE, override_id=7)
