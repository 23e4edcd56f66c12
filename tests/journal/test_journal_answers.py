"""Answers by request id over many segments, against a plain dictionary."""

import math
import random

import pytest

from quotelife.engine import Engine
from quotelife.errors import JournalError
from quotelife.journal.answers import AnswerIndex
from quotelife.journal.format import Kind
from quotelife.journal.index import SegmentIndex
from quotelife.journal.reader import Journal
from quotelife.journal.records import Answer, decode_answer
from quotelife.records import SignalCode
from reference.journal_kit import T0, S, begin, make_config
from reference.simulated_disk import SimulatedDisk

SEGMENTS = 40


@pytest.fixture(scope="module")
def written(
    tmp_path_factory: pytest.TempPathFactory,
) -> tuple[SimulatedDisk, list[SegmentIndex], list[Answer]]:
    """Segments with few and with many answers; some ids are answered again and again."""
    rng = random.Random(7)
    disk = SimulatedDisk()
    engine = Engine(make_config(tmp_path_factory.mktemp("config")), start_ns=T0)
    writer = begin(disk, engine, segment_bytes=4096)
    sequence = 0
    while writer.segment < SEGMENTS:
        for _ in range(rng.choice((0, 1, 3, 30))):
            sequence += 1
            request_id = f"r{rng.randrange(400)}".encode()
            engine.on_signal(
                SignalCode.NEWS, receive_ns=T0 + sequence * S, source_ns=T0 + sequence * S, value=0.1
            )
            writer.answer([sequence], request_id, b"digest", b"request", b"reply %d" % sequence)
        writer.gap(1, 1, "x" * 2000)
        writer.commit()
        writer.finish_segments()
    journal = Journal(disk)
    return disk, journal.segments, [decode_answer(r) for r in journal.records([Kind.ANSWER])]


def newest(answers: list[Answer], refused: set[int], since_ns: int = 0) -> dict[bytes, bytes]:
    return {
        answer.request_id: answer.reply
        for answer in answers
        if answer.now_ns >= since_ns and refused.isdisjoint(answer.sequences)
    }


Written = tuple[SimulatedDisk, list[SegmentIndex], list[Answer]]


def test_an_index_that_grew_finds_the_newest_answer_and_no_other(written: Written) -> None:
    disk, segments, answers = written
    refused = {sequence for answer in answers for sequence in answer.sequences if sequence % 5 == 0}
    index = AnswerIndex(disk, segments[:3], {"b1": {s for s in refused if s % 2}})
    for segment in segments[3:]:
        index.add(segment)
    index.take_back("b1", refused)
    wanted = newest(answers, refused)
    assert len(answers) > 300 and len(index) == len(answers)
    for n in range(500):
        found = index.find(f"r{n}".encode())
        assert (found and found.reply) == wanted.get(f"r{n}".encode())


def test_what_is_too_old_is_not_found_and_leaves_memory(written: Written) -> None:
    disk, segments, answers = written
    since_ns = answers[len(answers) // 2].now_ns
    index = AnswerIndex(disk, [], {})
    for segment in segments:
        index.add(segment, since_ns)
    wanted = newest(answers, set(), since_ns)
    for n in range(500):
        found = index.find(f"r{n}".encode(), since_ns)
        assert (found and found.reply) == wanted.get(f"r{n}".encode())
    assert len(index) < 0.8 * len(answers)


def test_the_places_to_look_at_are_a_logarithm_of_the_segments(written: Written) -> None:
    disk, segments, answers = written
    index = AnswerIndex(disk, [], {})
    for segment in segments:
        index.add(segment)
        assert index.runs <= math.log2(max(2, len(index))) + 1
    assert len(index) == len(answers)


def test_a_segment_that_is_gone_is_an_error_unless_it_was_to_be_removed(written: Written) -> None:
    disk, segments, answers = written
    index = AnswerIndex(disk, segments, {})
    segment = next(each for each in reversed(segments) if len(each.id_hash))
    last, name = answers[-1], segment.name
    taken = disk.names.pop(name)
    try:
        with pytest.raises(JournalError, match="is gone"):
            index.find(last.request_id)
        index.forget(name)
        kept = [answer for answer in answers if answer.now_ns < segment.id_ns.min()]
        found = index.find(last.request_id)
        assert (found and found.reply) == newest(kept, set()).get(last.request_id)
    finally:
        disk.names[name] = taken
