"""No bit of a journal changes unseen."""

import contextlib
import errno
import io
import os
import random
import struct
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from quotelife.checksum import HARDWARE, crc32c, crc32c_chained, crc32c_portable
from quotelife.engine import Engine
from quotelife.errors import JournalError
from quotelife.journal.format import (
    LAYOUT_HASH,
    SEGMENT_HEADER_BYTES,
    Kind,
    SegmentScan,
    pack_header,
    pack_record,
    unpack_header,
)
from quotelife.journal.index import (
    SegmentIndex,
    last_time,
    load_sidecar,
    scan_segment,
    scan_stored,
    scanned,
    segment_names,
    sidecar_name,
)
from quotelife.journal.reader import Journal
from quotelife.journal.recovery import Severity, recover, retain, unnamed_models, verify
from quotelife.journal.storage import CUT_BYTES, DirectoryStorage
from quotelife.model.artifact import builtin_artifact, load_artifact
from quotelife.records import SignalCode
from reference.journal_kit import T0, Flow, S, begin, make_config
from reference.simulated_disk import SimulatedDisk

FLIPS = 400
ALL_FLIPS = int(os.environ.get("QUOTELIFE_JOURNAL_FLIPS", "10000"))


@pytest.fixture(scope="module")
def disk(tmp_path_factory: pytest.TempPathFactory) -> SimulatedDisk:
    """Sealed segments with sidecars, and an open one."""
    disk = SimulatedDisk()
    engine = Engine(make_config(tmp_path_factory.mktemp("config")), start_ns=T0)
    writer = begin(disk, engine, segment_bytes=9_000)
    flow = Flow(engine, writer)
    for k in range(12):
        flow.ask(3, 61)
        engine.on_signal(SignalCode.NEWS, receive_ns=T0 + k * S, source_ns=T0 + k * S, value=0.1)
        writer.refuse([1])
        writer.commit()
        writer.finish_segments()
    return disk


def flip_and_verify(disk: SimulatedDisk, seed: int, count: int) -> None:
    rng = random.Random(seed)
    files = [name for name in disk.list() if name.endswith((".qlj", ".idx"))]
    sizes = [disk.size(name) for name in files]
    assert verify(disk).findings == []
    for _ in range(count):
        name = rng.choices(files, sizes)[0]
        content = disk.names[name].content
        at, bit = rng.randrange(len(content)), rng.randrange(8)
        content[at] ^= 1 << bit
        found = verify(disk).findings
        content[at] ^= 1 << bit
        assert found, f"seed {seed}: {name} byte {at} bit {bit} was not seen"


def test_flipped_bits_are_all_detected(disk: SimulatedDisk) -> None:
    flip_and_verify(disk, 1, FLIPS)


@pytest.mark.slow
def test_ten_thousand_flipped_bits_are_all_detected(disk: SimulatedDisk) -> None:
    """QUOTELIFE_JOURNAL_FLIPS says how many."""
    flip_and_verify(disk, 2, ALL_FLIPS)


@pytest.mark.parametrize("piece", [1, 64, 1000, 4096, 1 << 20])
def test_a_segment_read_in_pieces_is_the_segment_read_whole(disk: SimulatedDisk, piece: int) -> None:
    """Whatever the pieces cut, and however much longer than one of them a record is; damaged ones too."""
    rng = random.Random(piece)
    seen_damage = 0
    for _, name in segment_names(disk)[: 1 if piece == 1 else None]:
        raw = bytes(disk.names[name].content)
        whole = scan_segment(name, raw)
        middle = (whole.header.first_number + whole.next_number) // 2
        for stop in (0, middle, whole.next_number, whole.next_number + 5):
            assert_same(read_in_pieces(disk, name, stop, piece), scan_segment(name, raw, stop))
        for stop in (0, 1, middle):
            assert_same(scan_stored(disk, name, stop), scan_segment(name, raw, stop))
        content = disk.names[name].content
        for _ in range(10):
            at = rng.randrange(SEGMENT_HEADER_BYTES, len(content))
            content[at] ^= 1
            damaged = scan_segment(name, bytes(content))
            assert_same(read_in_pieces(disk, name, 0, piece), damaged)
            seen_damage += damaged.end < whole.end
            content[at] ^= 1
        for cut in (len(raw) - 1, len(raw) - 64, len(raw) // 2, SEGMENT_HEADER_BYTES):
            disk.names[name].content = bytearray(raw[:cut])
            assert_same(read_in_pieces(disk, name, 0, piece), scan_segment(name, raw[:cut]))
        disk.names[name].content = content
    assert seen_damage > (5 if piece == 1 else 10)
    assert verify(disk).findings == []


def read_in_pieces(disk: SimulatedDisk, name: str, stop: int, piece: int) -> SegmentIndex:
    header = unpack_header(disk.read(name, 0, SEGMENT_HEADER_BYTES))
    scan = SegmentScan(SEGMENT_HEADER_BYTES, header.first_number, stop)
    descriptor = disk.open(name)
    try:
        scan.run_file(descriptor, piece)
    finally:
        os.close(descriptor)
    return scanned(name, header, scan)


def test_a_segment_is_read_with_pauses_for_others(tmp_path: Path) -> None:
    disk = DirectoryStorage(tmp_path)
    head = pack_header(1, 1, 5, "b00t", bytes(32), bytes(32))
    body = b"".join(pack_record(Kind.SHADOW, 1 + k, 0, 0, 0, bytes(262_144)) for k in range(20))
    (tmp_path / "0000000001.qlj").write_bytes(head + body)
    began = time.monotonic()
    found = scan_stored(disk, "0000000001.qlj", pause_s=0.01)
    assert found.records == 20 and time.monotonic() - began >= 20 * 0.01


def test_what_cannot_be_read_of_a_segment_is_an_error_of_the_system() -> None:
    reading, writing = os.pipe()
    try:
        with pytest.raises(OSError, match="Illegal seek"):
            SegmentScan(SEGMENT_HEADER_BYTES, 1).run_file(reading)
    finally:
        os.close(reading)
        os.close(writing)
    with pytest.raises(ValueError, match="at least one byte"):
        SegmentScan(SEGMENT_HEADER_BYTES, 1).run_file(0, 0)


@pytest.mark.parametrize("kind", ["any", "few", "sorted"])
def test_columns_are_sorted_as_numpy_sorts_them(kind: str) -> None:
    rng = random.Random(kind)
    records, number = [], 1
    for _ in range(3000):
        sequence = {"any": rng.getrandbits(64), "few": rng.randrange(4) << 56, "sorted": number}[kind]
        request_id = f"r{rng.randrange(500)}".encode() if rng.random() < 0.9 else b""
        sizes = struct.pack("<6IQ", 1, len(request_id), 0, 0, 0, 0, sequence)
        records.append(pack_record(Kind.DECISION, number, sequence, number, 0, b""))
        records.append(pack_record(Kind.ANSWER, number + 1, 0, number, 0, sizes + request_id))
        number += 2
    scan = SegmentScan(0, 1)
    assert scan.run(b"".join(records))
    groups = (
        ("decision_sequence", "decision_offset"),
        ("answer_sequence", "answer_offset"),
        ("id_hash", "id_offset", "id_ns"),
    )
    expected = {}
    for group in groups:
        columns = [scan.column(name) for name in group]
        order = np.argsort(columns[0], kind="stable")
        expected |= {name: column[order].tolist() for name, column in zip(group, columns, strict=True)}
    scan.sort(1e-6)
    assert {name: scan.column(name).tolist() for name in expected} == expected
    assert len(expected["id_hash"]) > 2000


def assert_same(one: SegmentIndex, other: SegmentIndex) -> None:
    assert one.to_bytes(0) == other.to_bytes(0)
    assert (one.end, one.sealed, one.next_number) == (other.end, other.sealed, other.next_number)


@pytest.fixture
def folder(tmp_path: Path) -> Iterator[DirectoryStorage]:
    storage = DirectoryStorage(tmp_path / "journal")
    yield storage
    storage.close()


def test_a_file_is_removed_in_pieces_after_its_name(
    folder: DirectoryStorage, monkeypatch: pytest.MonkeyPatch
) -> None:
    name = "0000000001.qlj"
    path = folder.path / name
    path.write_bytes(os.urandom(3 * CUT_BYTES + 5))
    sizes: list[int] = []

    def sleep(pause_s: float) -> None:
        assert pause_s == 0.001 and not path.exists()
        assert folder.list() == [".lock", "0000000001.qlj.tmp"]
        sizes.append(folder.size("0000000001.qlj.tmp"))

    monkeypatch.setattr("quotelife.journal.storage.time.sleep", sleep)
    folder.remove(name, pause_s=0.001)
    assert sizes == [3 * CUT_BYTES, 2 * CUT_BYTES, CUT_BYTES, 0]
    assert folder.list() == [".lock"]


def test_the_name_is_gone_for_good_before_anything_is_cut(
    folder: DirectoryStorage, monkeypatch: pytest.MonkeyPatch
) -> None:
    (folder.path / "0000000001.qlj").write_bytes(bytes(CUT_BYTES))
    steps: list[str] = []
    fsync, ftruncate = os.fsync, os.ftruncate
    monkeypatch.setattr("os.fsync", lambda fd: (steps.append("sync"), fsync(fd)))
    monkeypatch.setattr("os.ftruncate", lambda fd, size: (steps.append("cut"), ftruncate(fd, size)))
    folder.remove("0000000001.qlj", pause_s=1e-6)
    assert steps == ["sync", "cut"]


@pytest.mark.parametrize("refused", ["replace", "ftruncate"])
def test_a_disk_that_takes_no_new_name_lets_a_file_go_all_the_same(
    folder: DirectoryStorage, monkeypatch: pytest.MonkeyPatch, refused: str
) -> None:
    (folder.path / "0000000001.qlj").write_bytes(bytes(CUT_BYTES))

    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    with monkeypatch.context() as patch:
        patch.setattr(f"os.{refused}", full)
        folder.remove("0000000001.qlj", pause_s=1e-6)
    assert folder.list() == [".lock"]
    with pytest.raises(FileNotFoundError):
        folder.remove("0000000001.qlj", pause_s=1e-6)


def test_what_has_not_lost_its_name_for_good_is_not_cut(
    folder: DirectoryStorage, monkeypatch: pytest.MonkeyPatch
) -> None:
    (folder.path / "0000000001.qlj").write_bytes(bytes(CUT_BYTES))

    def broken(_: int) -> None:
        raise OSError(errno.EIO, os.strerror(errno.EIO))

    monkeypatch.setattr("os.fsync", broken)
    with pytest.raises(OSError, match=os.strerror(errno.EIO)):
        folder.remove("0000000001.qlj", pause_s=1e-6)
    assert folder.size("0000000001.qlj.tmp") == CUT_BYTES, "the next start removes it"


def test_a_start_removes_what_a_removal_left(tmp_path: Path) -> None:
    with contextlib.closing(DirectoryStorage(tmp_path)) as storage:
        for name in ("0000000001.idx", "0000000001.qlj.tmp", "notes.idx"):
            (tmp_path / name).write_bytes(b"x")
        recover(storage, T0)
        assert storage.list() == [".lock", "notes.idx"]


@pytest.mark.parametrize("whole", [True, False])
def test_who_reads_a_file_while_it_is_removed_is_told_so(
    folder: DirectoryStorage, monkeypatch: pytest.MonkeyPatch, whole: bool
) -> None:
    name = "0000000001.qlj"
    (folder.path / name).write_bytes(os.urandom(3 * CUT_BYTES))

    class Late(io.FileIO):
        def read(self, *size: int) -> bytes:
            folder.remove(name, pause_s=1e-6)
            return super().read(*size)

    monkeypatch.setattr("builtins.open", lambda path, *_, **__: Late(path))
    with pytest.raises(FileNotFoundError):
        folder.read(name, 0, None if whole else 100)


def test_a_removed_file_with_another_name_stays_what_it_was(folder: DirectoryStorage, tmp_path: Path) -> None:
    path, content = folder.path / "0000000001.qlj", os.urandom(3 * CUT_BYTES + 5)
    path.write_bytes(content)
    linked = tmp_path / "backup"
    linked.hardlink_to(path)
    folder.remove("0000000001.qlj", pause_s=0.001)
    assert linked.read_bytes() == content and folder.list() == [".lock"]


def test_every_bit_of_header_seal_and_sidecar_is_covered(disk: SimulatedDisk) -> None:
    first = disk.list()[1]
    assert first == "0000000001.qlj"
    size = disk.size(first)
    places = [(first, at) for at in [*range(SEGMENT_HEADER_BYTES), *range(size - 64, size)]]
    places += [("0000000001.idx", at) for at in range(0, disk.size("0000000001.idx"), 7)]
    for name, at in places:
        content = disk.names[name].content
        content[at] ^= 0x10
        found = verify(disk).findings
        content[at] ^= 0x10
        assert found, f"{name} byte {at}"


def test_a_segment_taken_away_from_the_middle_is_damage(disk: SimulatedDisk) -> None:
    taken = disk.names.pop("0000000002.qlj")
    report = verify(disk)
    with pytest.raises(JournalError, match="are missing before this segment"):
        recover(disk, T0)
    disk.names["0000000002.qlj"] = taken
    assert report.severity == Severity.DAMAGE
    assert verify(disk).findings == []


def test_a_reader_says_where_damage_lies(disk: SimulatedDisk) -> None:
    content = disk.names["0000000001.qlj"].content
    content[5000] ^= 1
    with pytest.raises(JournalError, match=r"0000000001\.qlj: damaged at offset \d+, record \d+"):
        list(Journal(disk).records())
    content[5000] ^= 1


def test_the_time_of_a_segments_last_record_needs_no_columns(disk: SimulatedDisk) -> None:
    disk = disk.after_kill()
    disk.names = dict(disk.names)
    sealed = [name for _, name in segment_names(disk) if disk.exists(sidecar_name(name))]
    assert len(sealed) > 2
    for name in sealed:
        index = load_sidecar(disk, name)
        assert index is not None and last_time(disk, name) == index.last_ns
        sidecar = disk.names[sidecar_name(name)].content
        for at in (0, 60, 120, 200):
            sidecar[at] ^= 1
            assert last_time(disk, name) is None
            sidecar[at] ^= 1
        content = disk.names[name].content
        for changed in (content[:-1], content[:-1] + b"x"):
            disk.names[name].content = bytearray(changed)
            assert last_time(disk, name) is None
        disk.names[name].content = content
        del disk.names[sidecar_name(name)]
        assert last_time(disk, name) is None


def test_lost_and_damaged_sidecars_are_made_again(disk: SimulatedDisk) -> None:
    whole = bytes(disk.names["0000000001.idx"].content)
    disk.names["0000000001.idx"].content[40] ^= 4
    gone = disk.names.pop("0000000002.idx")
    assert [entry.sidecar for entry in verify(disk).segments[:2]] == ["damaged", "missing"]
    assert Journal(disk).find_answer(b"r1") is None  # taken back, and found by reading the segment
    assert Journal(disk).find_answer(b"r2") is not None
    recover(disk, T0)
    assert disk.read("0000000001.idx") == whole
    assert disk.read("0000000002.idx") == bytes(gone.content)


def test_crc32c_gives_the_published_values() -> None:
    """RFC 3720, appendix B.4, and the check value of the polynomial."""
    for data, value in (
        (bytes(32), 0x8A9136AA),
        (b"\xff" * 32, 0x62A8AB43),
        (bytes(range(32)), 0x46DD794E),
        (bytes(range(31, -1, -1)), 0x113FDB5C),
        (b"123456789", 0xE3069283),
        (b"", 0),
    ):
        assert crc32c(data) == value
        assert crc32c_chained(data) == value
        assert crc32c_portable(data) == value


def test_all_ways_to_a_crc_agree_at_every_length_and_in_parts() -> None:
    """Three streams take a third each, at most 1,024 bytes: 5,000 is more than one round of them."""
    data = random.Random(3).randbytes(5_040)
    whole = crc32c_portable(data)
    for length in range(5_001):
        crc = crc32c_portable(data[:length])
        assert crc32c(data[:length]) == crc
        assert crc32c_chained(data[:length]) == crc
        assert crc32c(data[length:], crc) == whole
    assert isinstance(HARDWARE, bool)


def test_all_ways_to_a_crc_agree_wherever_the_bytes_lie() -> None:
    data = memoryview(random.Random(4).randbytes(5_040))
    for offset in range(17):
        for length in range(offset, 5_001, 7):
            block = data[offset : offset + length]
            crc = crc32c_portable(block, length)
            assert crc32c(block, length) == crc32c_chained(block, length) == crc


def test_a_header_of_another_version_names_it() -> None:
    raw = bytearray(pack_header(1, 1, 0, "b", LAYOUT_HASH, LAYOUT_HASH))
    raw[8] = 9
    raw[-4:] = crc32c(bytes(raw[:-4])).to_bytes(4, "little")
    with pytest.raises(JournalError, match="format version 9 is newer"):
        unpack_header(bytes(raw))


def test_a_header_of_the_version_before_is_read() -> None:
    raw = bytearray(pack_header(7, 1, 0, "b", LAYOUT_HASH, LAYOUT_HASH))
    raw[8] = 1
    raw[-4:] = crc32c(bytes(raw[:-4])).to_bytes(4, "little")
    assert unpack_header(bytes(raw)).segment == 7


def test_a_boot_id_that_does_not_fit_is_refused() -> None:
    with pytest.raises(ValueError, match="1 to 32"):
        pack_header(1, 1, 0, "x" * 33, LAYOUT_HASH, LAYOUT_HASH)


@pytest.mark.parametrize(
    ("age_s", "total", "later_s", "kept"),
    [(0, 0, 10**6, "all"), (3600, 0, 3600 * 23, "all"), (3600, 0, 3600 * 25, "newest"), (0, 1, 0, "newest")],
)
def test_retention_keeps_the_newest_and_the_answers_of_a_day(
    tmp_path: Path, age_s: int, total: int, later_s: int, kept: str
) -> None:
    disk = SimulatedDisk()
    engine = Engine(make_config(tmp_path), start_ns=T0)
    writer = begin(disk, engine, segment_bytes=8192)
    flow = Flow(engine, writer)
    for _ in range(4):
        flow.ask(3)
        writer.commit()
    writer.finish_segments()
    before = [name for name in disk.list() if name.endswith(".qlj")]
    removed = retain(disk, T0 + later_s * S, age_ns=age_s * S, total_bytes=total, held_from=writer.first_held)
    assert removed == ([] if kept == "all" else before[:-1])
    assert verify(disk).findings == []


@pytest.mark.parametrize("deed", ["removed", "changed", "another's"])
def test_a_model_that_a_record_names_and_that_is_not_there_is_damage(tmp_path: Path, deed: str) -> None:
    disk = SimulatedDisk()
    engine = Engine(make_config(tmp_path), start_ns=T0)
    writer = begin(disk, engine)
    writer.close()
    assert verify(disk).findings == []
    folder = f"artifacts/{engine.model.digest}"
    if deed == "removed":
        for name in disk.below("artifacts"):
            del disk.names[name]
    elif deed == "changed":
        disk.names[f"{folder}/parameters.json"].content[-3] ^= 1
    else:
        disk.names[f"{folder}/manifest.json"].content[:] = b'{"digest": "0", "files": {}}'
    report = verify(disk)
    assert report.severity == Severity.DAMAGE
    assert engine.model.digest in report.findings[0].text


def test_a_start_puts_a_changed_copy_of_the_model_in_use_right(tmp_path: Path) -> None:
    disk = SimulatedDisk()
    engine = Engine(make_config(tmp_path), start_ns=T0)
    begin(disk, engine).close()
    disk.names[f"artifacts/{engine.model.digest}/parameters.json"].content[-3] ^= 1
    recovered = recover(disk, T0)
    again = Engine(make_config(tmp_path), start_ns=T0)
    begin(disk, again, boot_id="b2", next_number=recovered.next_number, segment=recovered.segment).close()
    assert verify(disk).findings == []


def test_models_that_no_segment_names_any_more_are_removed(tmp_path: Path) -> None:
    disk = SimulatedDisk()
    engine = Engine(make_config(tmp_path), start_ns=T0)
    writer = begin(disk, engine, segment_bytes=4096)
    flow = Flow(engine, writer)
    first = engine.model
    flow.ask(12)
    writer.commit()
    engine.apply_model(load_artifact(builtin_artifact("logistic")), T0)
    for _ in range(3):
        flow.ask(12)
        writer.commit()
    writer.finish_segments()
    named: dict[str, frozenset[str]] = {}
    assert unnamed_models(disk, writer.models, named) == []
    in_use = {engine.model.digest}
    assert unnamed_models(disk, in_use, named) == [], "the oldest segment still names it"
    retain(disk, T0, age_ns=0, total_bytes=1, held_from=writer.first_held)
    assert unnamed_models(disk, in_use, named) == [first.digest]
    assert not writer.remove_model(first.digest), "it was named since this writer began"
    writer.close()
    after = recover(disk, T0)
    writer = begin(disk, engine, boot_id="b2", next_number=after.next_number, segment=after.segment)
    writer.commit()
    assert unnamed_models(disk, writer.models, named) == [first.digest]
    assert writer.remove_model(first.digest)
    assert {name.split("/")[1] for name in disk.below("artifacts")} == in_use
    assert verify(disk).findings == []


def test_a_sidecar_that_counts_otherwise_than_its_segment_is_made_again(disk: SimulatedDisk) -> None:
    """Sound in itself and tied to its segment, but for one record fewer."""
    name = "0000000002"
    whole = disk.read(f"{name}.idx")
    index, tie = SegmentIndex.from_bytes(f"{name}.qlj", whole)
    wrong = replace(index, next_number=index.next_number - 1, records=index.records - 1)
    disk.names[f"{name}.idx"].content[:] = wrong.to_bytes(tie)
    assert load_sidecar(disk, f"{name}.qlj") is None
    recovered = recover(disk, T0)
    assert any("made again" in line for line in recovered.mended)
    assert disk.read(f"{name}.idx") == whole
