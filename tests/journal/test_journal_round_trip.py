"""What is written is read back, byte for byte, by number, by id, and after a restart."""

from pathlib import Path

import pytest

from quotelife.engine import Engine
from quotelife.errors import JournalError
from quotelife.inputs import Change
from quotelife.journal.format import Kind
from quotelife.journal.reader import Journal
from quotelife.journal.records import (
    decode_answer,
    decode_boot,
    decode_change,
    decode_decision,
    decode_signal,
)
from quotelife.journal.recovery import recover, verify
from quotelife.journal.storage import DirectoryStorage
from quotelife.journal.writer import JournalWriter
from quotelife.records import PostureCode, SignalCode
from reference.journal_kit import T0, Flow, S, begin, make_config


@pytest.fixture
def engine(tmp_path: Path) -> Engine:
    return Engine(make_config(tmp_path), start_ns=T0)


@pytest.fixture
def storage(tmp_path: Path) -> DirectoryStorage:
    return DirectoryStorage(tmp_path / "journal")


def test_every_kind_reads_back_in_the_order_of_inputs(engine: Engine, storage: DirectoryStorage) -> None:
    writer = begin(storage, engine)
    flow = Flow(engine, writer)
    flow.ask()
    engine.on_signal(SignalCode.NEWS, receive_ns=T0 + S, source_ns=T0, value=-0.5)
    engine.set_override(now_ns=T0 + S, expires_ns=T0 + 9 * S, posture=PostureCode.RISK_AVERSE, counterparty=1)
    writer.refuse([1])
    writer.commit()
    records = list(Journal(storage).records())
    assert [record.kind for record in records] == [
        Kind.BOOT, Kind.CHANGE, Kind.STATE, Kind.DECISION, Kind.ANSWER, Kind.SIGNAL, Kind.CHANGE, Kind.REFUSED,
    ]  # fmt: skip
    assert [record.number for record in records] == list(range(1, 9))
    assert [record.input_sequence for record in records] == [0, 0, 0, 1, 1, 2, 3, 1]
    assert decode_boot(records[0])["boot_id"] == "b1"
    assert decode_change(records[1]).payload == engine.config_payload()
    assert decode_decision(records[3])[1].canonical() == flow.given[b"r1"][1]
    assert decode_answer(records[4]).reply == flow.given[b"r1"][0]
    assert decode_signal(records[5])["value"] == -0.5
    change = decode_change(records[6])
    assert (change.kind, change.payload["counterparty"]) == (Change.OVERRIDE_SET, "beta")


def test_decisions_and_answers_are_found_in_open_and_sealed_segments(
    engine: Engine, storage: DirectoryStorage
) -> None:
    writer = begin(storage, engine, segment_bytes=30_000)
    flow = Flow(engine, writer)
    for _ in range(20):
        flow.ask(10)
        writer.commit()
    writer.finish_segments()
    journal = Journal(storage)
    assert len(journal.segments) > 3 and not journal.segments[-1].sealed
    for name, (reply, decision, sequence) in flow.given.items():
        record = journal.find_decision(f"b1-{sequence}")
        answer = journal.find_answer(name)
        assert record is not None and answer is not None
        assert decode_decision(record)[1].canonical() == decision
        assert answer.reply == reply
        assert journal.answer_of(record) == answer
    assert journal.find_decision("b1-999999") is None
    assert journal.find_decision("b2-1") is None
    assert journal.find_decision("no id") is None
    assert journal.find_answer(b"nobody") is None


def test_a_reader_finds_what_was_written_after_it_was_opened(
    engine: Engine, storage: DirectoryStorage
) -> None:
    writer = begin(storage, engine)
    writer.commit()
    journal = Journal(storage)
    flow = Flow(engine, writer)
    flow.ask(3)
    writer.commit()
    assert journal.find_decision("b1-3") is not None
    assert journal.find_answer(b"r2") is not None


def test_an_answer_taken_back_is_not_found(engine: Engine, storage: DirectoryStorage) -> None:
    writer = begin(storage, engine)
    Flow(engine, writer).ask(2)
    writer.refuse([2])
    writer.close()
    assert Journal(storage).find_answer(b"r1") is not None
    assert Journal(storage).find_answer(b"r2") is None
    answers = recover(storage, T0).answers
    assert answers.find(b"r1") is not None
    assert answers.find(b"r2") is None


def test_an_answer_older_than_asked_for_is_not_found(engine: Engine, storage: DirectoryStorage) -> None:
    writer = begin(storage, engine)
    Flow(engine, writer).ask(1)
    writer.close()
    assert Journal(storage).find_answer(b"r1", T0 + 1000) is not None
    assert Journal(storage).find_answer(b"r1", T0 + 1001) is None
    assert recover(storage, T0).answers.find(b"r1", T0 + 1001) is None


@pytest.mark.parametrize("segment_bytes", [64 << 20, 50_000])
def test_a_start_goes_on_where_a_killed_one_ended(
    engine: Engine, storage: DirectoryStorage, tmp_path: Path, segment_bytes: int
) -> None:
    writer = begin(storage, engine, segment_bytes=segment_bytes)
    flow = Flow(engine, writer)
    for _ in range(9):
        flow.ask(20)
        writer.commit()
    written = writer.committed_number
    flow.ask(5)  # never committed
    recovered = recover(storage, T0 + 10 * S)
    assert recovered.next_number == written + 1
    assert recovered.torn_bytes == 0
    assert all(
        (recovered.answers.find(name) is not None) == (sequence <= 180)
        for name, (_, _, sequence) in flow.given.items()
    )
    again = Engine(make_config(tmp_path), start_ns=T0 + 10 * S)
    second = JournalWriter(
        storage, boot_id="b2", next_number=recovered.next_number, segment=recovered.segment
    )
    second.begin(again, T0 + 10 * S, recovered.state)
    again.record_to(second)
    Flow(again, second, "s").ask(3)
    second.close()
    report = verify(storage)
    assert report.findings == []
    assert report.records == written + 3 + 6
    journal = Journal(storage)
    assert journal.find_decision("b1-180") is not None and journal.find_decision("b2-3") is not None
    assert journal.find_decision("b1-181") is None
    assert len(list(journal.records())) == report.records


def test_a_torn_tail_is_cut_and_nothing_else(engine: Engine, storage: DirectoryStorage) -> None:
    writer = begin(storage, engine)
    Flow(engine, writer).ask(3)
    writer.commit()
    path = Path(storage.where("0000000001.qlj"))
    whole = path.read_bytes()
    path.write_bytes(whole[:-17])
    assert [finding.severity for finding in verify(storage).findings] == [1]
    recovered = recover(storage, T0)
    assert recovered.torn_bytes > 0
    assert recovered.next_number == writer.committed_number
    assert recovered.answers.find(b"r2") is not None
    assert recovered.answers.find(b"r3") is None
    assert verify(storage).findings == []


def test_damage_before_sound_records_is_refused_and_left_alone(
    engine: Engine, storage: DirectoryStorage
) -> None:
    writer = begin(storage, engine)
    Flow(engine, writer).ask(3)
    writer.commit()
    path = Path(storage.where("0000000001.qlj"))
    raw = bytearray(path.read_bytes())
    raw[-4000] ^= 1
    path.write_bytes(raw)
    with pytest.raises(JournalError, match=r"0000000001\.qlj: offset \d+.*journal verify"):
        recover(storage, T0)
    assert path.read_bytes() == bytes(raw)


def test_a_second_writer_is_kept_out(storage: DirectoryStorage) -> None:
    with pytest.raises(JournalError, match="another process"):
        DirectoryStorage(storage.path)
    storage.close()
    DirectoryStorage(storage.path).close()


def test_the_model_in_use_lies_in_the_journal(engine: Engine, storage: DirectoryStorage) -> None:
    from quotelife.model.artifact import load_artifact

    begin(storage, engine).commit()
    assert load_artifact(storage.path / "artifacts" / engine.model.digest).digest == engine.model.digest
