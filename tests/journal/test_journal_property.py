"""Whatever is answered, refused and committed in whatever order: the documented format holds it, and the reader too."""

import tempfile
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from quotelife.config import Config
from quotelife.engine import Engine
from quotelife.journal.format import Kind
from quotelife.journal.reader import Journal
from quotelife.journal.records import decode_answer, decode_decision, decode_refused
from quotelife.journal.recovery import recover, verify
from quotelife.journal.writer import JournalWriter
from quotelife.records import DecisionRecord, RequestRecord
from reference.journal_kit import T0, make_config
from reference.journal_twin import read_answer, read_segment
from reference.simulated_disk import SimulatedDisk

ANSWER = st.tuples(
    st.integers(1, 3),
    st.binary(max_size=20),
    st.binary(max_size=16),
    st.binary(max_size=200),
    st.binary(max_size=3000),
)
DEED = st.one_of(
    ANSWER,
    st.just("commit"),
    st.just("sync"),
    st.just("finish"),
    st.lists(st.integers(1, 2**64 - 1), max_size=3),
)


@pytest.fixture(scope="module")
def config() -> Config:
    with tempfile.TemporaryDirectory() as folder:
        return make_config(Path(folder))


@settings(max_examples=60, deadline=None)
@given(
    deeds=st.lists(DEED, max_size=25),
    segment_bytes=st.sampled_from((4096, 20_000, 1 << 20)),
    power_loss=st.booleans(),
    closed=st.booleans(),
)
def test_twin_and_reader_find_what_was_written(
    config: Config, deeds: list[object], segment_bytes: int, power_loss: bool, closed: bool
) -> None:
    disk = SimulatedDisk()
    engine = Engine(config, start_ns=T0)
    writer = JournalWriter(disk, boot_id="b", segment_bytes=segment_bytes, power_loss=power_loss)
    writer.begin(engine, T0)
    engine.record_to(writer)
    decided: list[bytes] = []
    answered: list[tuple[object, ...]] = []
    refused: list[tuple[int, ...]] = []
    for deed in deeds:
        if isinstance(deed, tuple):
            sequences = []
            for _ in range(deed[0]):
                request, decision = RequestRecord(0, 1, now_ns=T0), DecisionRecord()
                engine.decide(request, decision)
                sequences.append(decision.input_sequence)
                decided.append(request.canonical() + decision.canonical())
            writer.answer(sequences, *deed[1:])
            answered.append((tuple(sequences), *deed[1:]))
        elif isinstance(deed, list):
            writer.refuse(deed)
            refused += [tuple(deed)] if deed else []
        else:
            {"commit": writer.commit, "sync": writer.sync, "finish": writer.finish_segments}[str(deed)]()
    writer.commit()
    if closed:
        writer.close()
    names = [name for name in disk.list() if name.endswith(".qlj")]
    twins = [record for name in names for record in read_segment(disk.read(name))]
    twins = [record for record in twins if record.kind != Kind.SEAL]
    assert [record.number for record in twins] == list(range(1, len(twins) + 1))
    assert [record.payload for record in twins if record.kind == Kind.DECISION] == decided
    assert [tuple(read_answer(record.payload)) for record in twins if record.kind == Kind.ANSWER] == answered
    assert verify(disk).findings == []
    journal = Journal(disk)
    for _ in range(2):
        records = list(journal.records())
        assert [tuple(record) for record in twins] == [
            (r.number, r.input_sequence, r.now_ns, r.kind, r.payload, r.boot_id) for r in records
        ]
        assert [
            b"".join(each.canonical() for each in decode_decision(r))
            for r in records
            if r.kind == Kind.DECISION
        ] == decided
        assert [tuple(decode_answer(r))[:5] for r in records if r.kind == Kind.ANSWER] == answered
        assert [decode_refused(r) for r in records if r.kind == Kind.REFUSED] == refused
        recover(disk, T0)
        journal.refresh()
