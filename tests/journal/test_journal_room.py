"""Who may fill the buffer how far: what nobody waits for leaves room for decisions, and a state crowds nobody out."""

from typing import Any

import pytest

from quotelife.engine import Engine
from quotelife.inputs import Change
from quotelife.journal.format import Kind
from quotelife.journal.reader import Journal
from quotelife.journal.recovery import recover
from quotelife.journal.state import LEARNED_BYTES, OperationalState
from quotelife.journal.writer import JournalWriter
from quotelife.records import HORIZONS_NS, DecisionRecord, RequestRecord, SignalCode
from reference import jump_kit
from reference.journal_kit import begin
from reference.jump_kit import RATE, START_NS
from reference.simulated_disk import SimulatedDisk

BUFFER = 1 << 16
WINDOW_NS = 900_000_000_000
HOUR_NS = 3_600_000_000_000

durabilities = pytest.mark.parametrize("power_loss", [False, True], ids=["process-crash", "power-loss"])


def make_engine() -> Engine:
    config = jump_kit.config({"enabled": False}, recalibration={"enabled": True})
    return Engine(config, model=jump_kit.model(RATE), start_ns=START_NS)


def decide(engine: Engine, count: int = 1) -> None:
    for _ in range(count):
        engine.decide(RequestRecord(0, 1, now_ns=engine.now_ns + 1000, counterparty=0), DecisionRecord())


def learned(state: OperationalState, group: str, part_bytes: int, parts: int = 60) -> None:
    newest = START_NS * 60 // WINDOW_NS
    texts = {str(newest - k): "A" * part_bytes for k in range(parts)}
    of = {"0" * 15 + "1": {"window_ns": WINDOW_NS, "parts": texts}}
    state.change(Change.LEARNED, {"groups": [{"group": group, "held": [[0.04, 0.0]], "models": of}]})


def large_state(groups: int = 10) -> OperationalState:
    """200 kB of it for each ten groups."""
    state = OperationalState()
    for number in range(groups):
        learned(state, f"G{number}", 340)
    return state


def begin_with_state(disk: SimulatedDisk, engine: Engine, power_loss: bool) -> JournalWriter:
    writer = JournalWriter(disk, boot_id="b1", buffer_bytes=BUFFER, power_loss=power_loss)
    writer.begin(engine, START_NS, large_state())
    engine.record_to(writer)
    return writer


def test_a_burst_of_labels_leaves_room_for_decisions_and_is_counted() -> None:
    """Nothing is written for a while: labels are lost at half the buffer, and decisions still find their place."""
    engine = make_engine()
    writer = begin(SimulatedDisk(), engine, buffer_bytes=BUFFER)
    market = jump_kit.quotes([(60.0, RATE)])
    for _ in range(100):
        engine.on_events(next(market)[1])
    for _ in range(400):  # their labels come all together, 500 ms and 2 s later
        decide(engine)
        writer.commit()
    for _, buffer in market:
        engine.on_events(buffer)
    assert writer.labels_lost > 0
    decide(engine, 8)
    assert writer.lost == 0 and not writer.full


@durabilities
def test_a_state_larger_than_the_buffer_crowds_neither_decisions_nor_labels_out(power_loss: bool) -> None:
    """Neither before it is committed nor, with power-loss, before it is synced."""
    engine = make_engine()
    writer = begin_with_state(SimulatedDisk(), engine, power_loss)
    assert writer.held_bytes > 3 * BUFFER and not writer.full
    market = jump_kit.quotes([(60.0, RATE)])
    for _ in range(100):
        engine.on_events(next(market)[1])
    before = engine.label_counts()[1]
    decide(engine, 3)
    for _ in range(25):  # 500 ms of them are known
        engine.on_events(next(market)[1])
    writer.commit()
    assert (writer.held_bytes > 3 * BUFFER) is power_loss
    for _ in range(30):
        engine.on_events(next(market)[1])
    decide(engine, 3)
    assert engine.label_counts()[1] >= before + 3
    assert (writer.lost, writer.labels_lost, writer.full) == (0, 0, False)


@durabilities
def test_as_many_decisions_fit_beside_a_state_as_without_one(power_loss: bool) -> None:
    def fit(engine: Engine, writer: JournalWriter) -> int:
        count = 0
        while not writer.full:
            decide(engine)
            count += 1
        assert writer.lost == 0
        decide(engine, 32)
        assert writer.lost > 0, "there is an end to it"
        return count

    engine = make_engine()
    writer = begin_with_state(SimulatedDisk(), engine, power_loss)
    writer.commit()
    writer.sync()
    writer.commit()
    assert writer.held_bytes == 0
    without = fit(engine, writer)
    engine = make_engine()
    writer = begin_with_state(SimulatedDisk(), engine, power_loss)
    writer.commit()
    writer.sync()
    writer.commit()
    writer.gap(1, 1, "made up")
    assert writer.held_bytes > 3 * BUFFER
    assert without - 1 <= fit(engine, writer) <= without


def test_losses_one_after_the_other_append_no_state_while_one_stands_in_the_buffer() -> None:
    """With power-loss it stands there until a sync. The last one knows what was lost, and a gap says so."""
    engine = make_engine()
    disk = SimulatedDisk()
    writer = begin_with_state(disk, engine, True)
    most, syncs = 0, 6
    for turn in range(syncs * 5):
        decide(engine, 60)  # more than fit
        writer.commit()
        writer.gap(engine.input_sequence, engine.input_sequence, "an answer left without its record")
        if turn % 5 == 4:
            writer.sync()
            writer.commit()
        most = max(most, writer.held_bytes)
    while not writer.full:
        decide(engine)
    decide(engine, 10)
    lost, value = writer.lost, 0.0
    while writer.lost == lost:
        value += 0.001
        engine.on_signal(SignalCode.NEWS, receive_ns=engine.now_ns, source_ns=engine.now_ns, value=value)
    writer.close()
    records = list(Journal(disk).records([Kind.STATE, Kind.GAP]))
    kinds = [record.kind for record in records]
    assert kinds.count(Kind.GAP) > 5 * syncs and syncs < kinds.count(Kind.STATE) < 2 * syncs + 3
    assert most < len(writer.state.to_bytes(engine.now_ns)) + BUFFER, "no two of them at a time"
    last = max(number for number, kind in enumerate(kinds) if kind is Kind.GAP)
    assert Kind.STATE in kinds[last:]
    assert value in [each["value"] for each in recover(disk, engine.now_ns).state.signals(engine.now_ns)]


def test_a_snapshot_holds_the_labels_noted_last_and_the_tolerances_of_all() -> None:
    state = OperationalState()
    groups = 3 * LEARNED_BYTES // (60 * 1024) + 1
    for number in range(groups):
        learned(state, f"G{number}", 1024)
    learned(state, "G0", 1024)
    held = state.to_json(START_NS)["learned"]
    assert [entry["group"] for entry in held] == [f"G{number}" for number in (*range(1, groups), 0)]
    assert all(entry["held"] == [[0.04, 0.0]] for entry in held)
    with_labels = [entry["group"] for entry in held if entry["models"]]
    assert with_labels == [entry["group"] for entry in held][-len(with_labels) :]
    assert 0.9 * LEARNED_BYTES < len(with_labels) * 60 * 1024 <= LEARNED_BYTES
    assert len(state.to_bytes(START_NS)) < 1.1 * LEARNED_BYTES


def test_a_state_larger_than_a_segment_is_not_written_again_with_every_commit() -> None:
    """Of a hundred live quotes: 50 KB, where a segment has 16. The next begins when as much has come behind it."""
    engine = make_engine()
    writer = JournalWriter(SimulatedDisk(), boot_id="b00t", segment_bytes=16_384)
    writer.begin(engine, START_NS)
    engine.record_to(writer)
    for number in range(1, 101):
        engine.apply_watch(Change.WATCHED, live_quote(number, engine.instruments[0].name), START_NS)
    for _ in range(3):
        writer.commit()
    written, segments = writer.committed_number, writer.segment
    for _ in range(40):
        decide(engine)
        writer.commit()
    assert writer.committed_number >= written + 40
    assert writer.segment - segments <= 2


def live_quote(number: int, instrument: str) -> dict[str, Any]:
    side = {
        "instrument": instrument, "side": 1, "mid_ticks": 1000.0, "h_ticks": 8.0, "edge_ticks": None,
        "p": [0.123456789012345] * len(HORIZONS_NS), "posture": 1, "mode": 1, "regime": 0, "quality": 0,
    }  # fmt: skip
    return {
        "quote": number, "owner": "oms", "name": str(number), "rfq": "", "boot": "", "decisions": [number],
        "expiry_ns": START_NS + HOUR_NS, "unwatched_ns": START_NS + HOUR_NS, "size_lots": 1.0, "counterparty": "",
        "desk": None, "session": None, "cancels": False, "state": 1, "withdraw": 0, "sides": [side],
    }  # fmt: skip
