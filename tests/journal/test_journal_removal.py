"""What is past keeping goes while others read, and never what a power cut would miss."""

import errno
import random
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from quotelife.engine import Engine
from quotelife.errors import JournalError
from quotelife.journal.index import segment_name, segment_names, sidecar_name
from quotelife.journal.reader import Journal
from quotelife.journal.recovery import Severity, recover, retain, verify
from quotelife.model.artifact import builtin_artifact, load_artifact
from reference.journal_kit import T0, Flow, S, begin, make_config
from reference.simulated_disk import SimulatedDisk


class LookedAt(SimulatedDisk):
    """``meanwhile`` happens just before the ``nth`` time that something is read or measured."""

    def __init__(self) -> None:
        super().__init__()
        self.looks = 0
        self.nth = 0
        self.meanwhile: Callable[[], None] = lambda: None

    def _look(self) -> None:
        self.looks += 1
        if self.looks == self.nth:
            self.meanwhile()

    def read(self, name: str, offset: int = 0, size: int | None = None) -> bytes:
        self._look()
        return super().read(name, offset, size)

    def size(self, name: str) -> int:
        self._look()
        return super().size(name)


def remove_oldest(disk: SimulatedDisk, count: int) -> None:
    for _, name in segment_names(disk)[:count]:
        del disk.names[name]
        disk.names.pop(sidecar_name(name), None)


def written(folder: Path) -> tuple[LookedAt, Flow]:
    """Five sealed segments and an open one; the first alone names the first model."""
    disk = LookedAt()
    engine = Engine(make_config(folder), start_ns=T0)
    writer = begin(disk, engine, segment_bytes=8192)
    flow = Flow(engine, writer)
    for at in range(5):
        flow.ask(4, 2000)
        if at == 0:
            engine.apply_model(load_artifact(builtin_artifact("logistic")), T0)
        writer.commit()
    flow.ask(1)
    writer.commit()
    writer.finish_segments()
    assert len(segment_names(disk)) == 6
    return disk, flow


def each_look(disk: LookedAt, remove: Callable[[], None], read: Callable[[], object]) -> Iterator[int]:
    """``read`` again and again, with ``remove`` before its first look at the disk, its second, and so on."""
    whole = dict(disk.names)
    nth = 1
    while True:
        disk.names = dict(whole)
        disk.looks, disk.nth, disk.meanwhile = 0, nth, remove
        read()
        if disk.looks < nth:
            disk.names, disk.nth = whole, 0
            return
        disk.nth = 0
        yield nth
        nth += 1


@pytest.mark.parametrize("count", [1, 3])
def test_what_goes_while_a_journal_is_verified_is_no_finding(tmp_path: Path, count: int) -> None:
    disk, _ = written(tmp_path)
    first = Engine(make_config(tmp_path), start_ns=T0).model.digest

    def remove() -> None:
        remove_oldest(disk, count)
        for name in disk.below(f"artifacts/{first}"):
            del disk.names[name]

    reports = []
    for _ in each_look(disk, remove, lambda: reports.append(verify(disk))):
        assert reports[-1].findings == []
        assert len(reports[-1].segments) >= 6 - count
    assert len(reports) > 6 * 3


def test_a_start_beside_verify_is_no_damage(tmp_path: Path) -> None:
    """It removes what a kill left between the creation of a segment and its first write."""
    disk, _ = written(tmp_path)
    disk.create(segment_name(7)).close()
    assert [finding.severity for finding in verify(disk).findings] == [Severity.TORN]
    severities = []
    for _ in each_look(
        disk, lambda: recover(disk, T0) and None, lambda: severities.append(verify(disk).severity)
    ):
        pass
    assert set(severities) == {0, Severity.TORN}


def test_a_hole_that_comes_while_a_journal_is_verified_is_damage(tmp_path: Path) -> None:
    disk, _ = written(tmp_path)
    middle = segment_names(disk)[2][1]
    found = []
    for _ in each_look(disk, lambda: disk.names.pop(middle) and None, lambda: found.append(verify(disk))):
        report = found[-1]
        if middle not in [entry.name for entry in report.segments]:
            assert report.severity == Severity.DAMAGE
            assert "are missing before this segment" in report.findings[0].text
    assert not all(report.findings for report in found) and any(report.findings for report in found)


def test_a_reader_finds_what_is_left_and_not_what_is_gone(tmp_path: Path) -> None:
    disk, flow = written(tmp_path)
    newest = max(sequence for _, _, sequence in flow.given.values())
    oldest = min(sequence for _, _, sequence in flow.given.values())

    def look() -> None:
        journal = Journal(disk)
        assert journal.find_decision(f"b1-{newest}") is not None
        assert journal.find_answer(b"r21") is not None
        journal.find_decision(f"b1-{oldest}")
        journal.find_answer(b"r1")

    for _ in each_look(disk, lambda: remove_oldest(disk, 3), look):
        pass
    journal = Journal(disk)
    assert journal.find_decision(f"b1-{oldest}") is not None
    remove_oldest(disk, 3)
    assert journal.find_decision(f"b1-{oldest}") is None
    assert journal.find_answer(b"r1") is None


def test_records_begin_behind_what_has_been_removed(tmp_path: Path) -> None:
    disk, flow = written(tmp_path)
    journal = Journal(disk)
    names = [name for _, name in segment_names(disk)]
    remove_oldest(disk, 2)
    records = list(journal.records())
    assert records[0].segment == names[2] and records[-1].number == journal.segments[-1].next_number - 1
    remove_oldest(disk, 3)
    newest = journal.newest_decision()
    assert newest is not None
    assert newest.input_sequence == max(sequence for _, _, sequence in flow.given.values())
    remove_oldest(disk, 1)
    assert journal.newest_decision() is None


@pytest.mark.parametrize("failures", [0, 1, 20])
@pytest.mark.parametrize("seed", range(4))
def test_with_power_loss_something_safe_is_kept(tmp_path: Path, seed: int, failures: int) -> None:
    """However little is to be kept, and however often a sync has failed since: what the last record known to be safe
    lies in is all that a power cut leaves."""
    disk = SimulatedDisk()
    engine = Engine(make_config(tmp_path), start_ns=T0)
    writer = begin(disk, engine, segment_bytes=8192, power_loss=True)
    flow = Flow(engine, writer)

    def make_room() -> None:
        retain(
            disk,
            T0 + S,
            age_ns=0,
            total_bytes=1,
            held_from=writer.first_held,
            abandoned=writer.take_abandoned(),
        )

    for _ in range(3):
        flow.ask(4, 2000)
        writer.commit()
        writer.sync()
    acknowledged = writer.durable_number
    writer.finish_segments()
    flow.ask(1)
    writer.commit()
    disk.fault = lambda operation: OSError(errno.EIO, "made up") if operation == "sync" else None
    for _ in range(failures):
        with pytest.raises(JournalError):
            writer.sync()
        writer.mend()
        writer.commit()
    make_room()
    assert len(segment_names(disk)) == 2
    after = disk.after_power_cut(random.Random(seed))
    assert recover(after, T0 + S).next_number > acknowledged
    disk.fault = lambda operation: None
    writer.sync()
    make_room()
    assert len(segment_names(disk)) == 1
    assert verify(disk).findings == []
