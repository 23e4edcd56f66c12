"""A packed payload stands for one with its zero words, whatever they are, and nothing else."""

import random
import struct
from pathlib import Path

import pytest

from quotelife.engine import Engine
from quotelife.errors import JournalError
from quotelife.journal.format import Kind, pack_record, read_record
from quotelife.journal.reader import Journal
from quotelife.journal.records import Record, decode_decision
from quotelife.journal.storage import DirectoryStorage
from quotelife.records import DECISION_DTYPE, REQUEST_DTYPE
from reference.journal_kit import T0, Flow, begin, make_config

PACKED = 2


def packed(whole: bytes) -> bytes:
    """By the words of docs/journal.md."""
    words = struct.unpack(f"<{len(whole) // 8}Q", whole)
    bits = sum(1 << place for place, word in enumerate(words) if word)
    kept = [word for word in words if word]
    bitmap = bits.to_bytes(8 * -(-len(words) // 64), "little")
    return struct.pack("<Q", len(words)) + bitmap + struct.pack(f"<{len(kept)}Q", *kept)


def written(payload: bytes, flags: int = PACKED) -> bytes:
    return pack_record(Kind.DECISION, 7, 3, T0, 0, payload, flags)


@pytest.mark.parametrize("words", [0, 1, 63, 64, 65, 128, 230])
def test_it_is_read_as_what_was_packed(words: int) -> None:
    rng = random.Random(words)
    for share in (0.0, 0.1, 0.5, 0.9, 1.0):
        whole = b"".join(rng.randbytes(8) if rng.random() < share else bytes(8) for _ in range(words))
        found = read_record(written(packed(whole)), 0)
        assert found is not None and found.payload == whole
        assert found.size == len(written(packed(whole)))


def test_signs_and_nan_of_a_zero_or_another_number_stay() -> None:
    whole = struct.pack("<4d", -0.0, float("nan"), 0.0, -float("inf"))
    found = read_record(written(packed(whole)), 0)
    assert found is not None and found.payload == whole


def test_a_decision_is_written_packed_and_read_as_it_was(tmp_path: Path) -> None:
    engine = Engine(make_config(tmp_path), start_ns=T0)
    storage = DirectoryStorage(tmp_path / "journal")
    writer = begin(storage, engine)
    flow = Flow(engine, writer)
    flow.ask(5)
    writer.commit()
    decisions = [each for each in Journal(storage).records() if each.kind is Kind.DECISION]
    assert len(decisions) == 5
    for record in decisions:
        raw = storage.read(record.segment, record.offset, 4096)
        flags, length = *struct.unpack_from("<H", raw, 42), *struct.unpack_from("<I", raw, 4)
        assert flags & PACKED
        assert raw[48 : 48 + length] == packed(record.payload)
        assert len(record.payload) == REQUEST_DTYPE.itemsize + DECISION_DTYPE.itemsize
        assert decode_decision(record)[1].canonical() in {given for _, given, _ in flow.given.values()}


def test_a_decision_of_an_older_version_is_read_as_it_stands(tmp_path: Path) -> None:
    engine = Engine(make_config(tmp_path), start_ns=T0)
    storage = DirectoryStorage(tmp_path / "journal")
    writer = begin(storage, engine)
    Flow(engine, writer).ask()
    writer.commit()
    new = next(each for each in Journal(storage).records() if each.kind is Kind.DECISION)
    found = read_record(written(new.payload, flags=0), 0)
    assert found is not None and found.payload == new.payload
    old = Record(7, Kind.DECISION, 3, found.payload, "", 0, "b1", T0)
    assert [each.canonical() for each in decode_decision(old)[1:]] == [decode_decision(new)[1].canonical()]


@pytest.mark.parametrize(
    "payload",
    [
        b"",
        bytes(4),
        struct.pack("<Q", 1),  # no bitmap
        struct.pack("<QQ", 1, 1),  # the word is missing
        struct.pack("<QQQ", 1, 0, 5),  # one word too many
        struct.pack("<QQQ", 1, 2, 5),  # the bit of a second word
        struct.pack("<QQ", 0, 0),
        struct.pack("<QQ", 1 << 61, 0),
        struct.pack("<QQ", 2**64 - 1, 0),
    ],
)
def test_what_is_packed_otherwise_is_told(payload: bytes) -> None:
    with pytest.raises(
        JournalError, match="record 7 is sound, but its payload is not packed as it should be"
    ):
        read_record(written(payload), 0)
