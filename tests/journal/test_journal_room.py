"""Who may fill the buffer how far: what nobody waits for leaves room for decisions."""

from quotelife.engine import Engine
from quotelife.records import DecisionRecord, RequestRecord
from reference import jump_kit
from reference.journal_kit import begin
from reference.jump_kit import RATE, START_NS
from reference.simulated_disk import SimulatedDisk


def test_a_burst_of_labels_leaves_room_for_decisions_and_is_counted() -> None:
    """Nothing is written for a while: labels are lost at half the buffer, and decisions still find their place."""
    config = jump_kit.config({"enabled": False}, recalibration={"enabled": True})
    engine = Engine(config, model=jump_kit.model(RATE), start_ns=START_NS)
    writer = begin(SimulatedDisk(), engine, buffer_bytes=65536)
    market = jump_kit.quotes([(60.0, RATE)])
    for _ in range(100):
        engine.on_events(next(market)[1])
    for _ in range(400):  # their labels come all together, 500 ms and 2 s later
        engine.decide(RequestRecord(0, 1, now_ns=engine.now_ns + 1000, counterparty=0), DecisionRecord())
        writer.commit()
    for _, buffer in market:
        engine.on_events(buffer)
    assert writer.labels_lost > 0
    for _ in range(8):
        engine.decide(RequestRecord(0, 1, now_ns=engine.now_ns + 1000, counterparty=0), DecisionRecord())
    assert writer.lost == 0 and not writer.full
