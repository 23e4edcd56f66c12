"""Whatever disk and power do, what was acknowledged is there afterwards, once, in order and byte for byte."""

import errno
import os
import random
from collections.abc import Callable
from pathlib import Path

import pytest

from quotelife.config import Config
from quotelife.engine import Engine
from quotelife.errors import JournalError
from quotelife.journal.format import Kind
from quotelife.journal.reader import Journal
from quotelife.journal.records import decode_decision
from quotelife.journal.recovery import recover, verify
from quotelife.journal.writer import JournalWriter
from reference.journal_kit import T0, Flow, make_config
from reference.simulated_disk import Ended, SimulatedDisk

SEEDS = 24
ALL_SEEDS = int(os.environ.get("QUOTELIFE_JOURNAL_SEEDS", "1000"))
BOOTS = 3

Acknowledged = dict[bytes, tuple[str, bytes, bytes, int]]


@pytest.fixture(scope="module")
def config(tmp_path_factory: pytest.TempPathFactory) -> Config:
    return make_config(tmp_path_factory.mktemp("config"))


class Boot:
    """One life of a service on a disk: takes requests, and acknowledges what its durability lets it."""

    def __init__(
        self, config: Config, disk: SimulatedDisk, number: int, rng: random.Random, *, power_loss: bool
    ):
        recovered = recover(disk, T0)
        self.recovered = recovered
        self.power_loss = power_loss
        self.rng = rng
        self.boot_id = f"boot{number}"
        self.engine = Engine(config, start_ns=T0)
        self.writer = JournalWriter(
            disk,
            boot_id=self.boot_id,
            segment_bytes=rng.choice((8_192, 30_000, 1 << 20)),
            buffer_bytes=1 << 18,
            power_loss=power_loss,
            next_number=recovered.next_number,
            segment=recovered.segment,
        )
        self.writer.begin(self.engine, T0, recovered.state)
        self.engine.record_to(self.writer)
        recovered.state.restore(self.engine, T0)
        self.flow = Flow(self.engine, self.writer, f"{self.boot_id}-r")
        self.numbers: dict[bytes, int] = {}
        self.safe_number = 0

    def step(self) -> None:
        deed = self.rng.random()
        try:
            if deed < 0.5:
                for _ in range(self.rng.randint(1, 4)):
                    self.flow.ask(1, self.rng.choice((20, 300, 9000)))
                    self.numbers[f"{self.boot_id}-r{self.flow.asked}".encode()] = self.writer.next_number - 1
            elif deed < 0.75:
                number = self.writer.commit()
                if not self.power_loss:
                    self.safe_number = max(self.safe_number, number)
            elif deed < 0.95:
                number = self.writer.sync()
                if self.power_loss:
                    self.safe_number = max(self.safe_number, number)
            else:
                self.writer.finish_segments()
        except JournalError:
            pass

    def acknowledged(self) -> Acknowledged:
        return {
            name: (self.boot_id, reply, decision, sequence)
            for name, (reply, decision, sequence) in self.flow.given.items()
            if self.numbers[name] <= self.safe_number
        }


def ending(
    disk: SimulatedDisk, rng: random.Random, last: int, rate: float
) -> Callable[[str], BaseException | None]:
    """Faults at that rate, and the end at operation ``last``."""

    def fault(operation: str) -> BaseException | None:
        if disk.operations >= last:
            return Ended()
        if rng.random() >= rate:
            return None
        return OSError(rng.choice((errno.ENOSPC, errno.EIO)), "made up")

    return fault


def lives(config: Config, seed: int, *, power_loss: bool, faults: bool) -> None:
    """Several boots on one disk, each ended in the middle of some operation."""
    rng = random.Random(seed)
    disk = SimulatedDisk()
    acknowledged: Acknowledged = {}
    for number in range(1, BOOTS + 1):
        boot = Boot(config, disk, number, rng, power_loss=power_loss)
        last = disk.operations + rng.randint(1, 60)
        fault_rate = rng.choice((0.0, 0.02, 0.15)) if faults else 0.0

        disk.rng, disk.fault = rng, ending(disk, rng, last, fault_rate)
        try:
            for _ in range(300):
                boot.step()
        except Ended:
            pass
        acknowledged |= boot.acknowledged()
        disk = disk.after_power_cut(rng) if power_loss else disk.after_kill()
        assert verify(disk).severity <= 1
    check(disk, acknowledged)


def check(disk: SimulatedDisk, acknowledged: Acknowledged) -> None:
    recovered = recover(disk, T0)
    assert verify(disk).findings == []
    journal = Journal(disk)
    for name, (boot_id, reply, decision, sequence) in acknowledged.items():
        answer = recovered.answers.find(name)
        record = journal.find_decision(f"{boot_id}-{sequence}")
        assert answer is not None and answer.reply == reply, name
        assert record is not None and decode_decision(record)[1].canonical() == decision, name
    records = list(journal.records())
    assert [record.number for record in records] == list(range(1, len(records) + 1))
    decisions = [record.decision_id for record in records if record.kind == Kind.DECISION]
    assert len(set(decisions)) == len(decisions)


@pytest.mark.parametrize("seed", range(SEEDS))
@pytest.mark.parametrize("faults", [False, True])
def test_a_power_cut_loses_nothing_that_power_loss_mode_acknowledged(
    config: Config, seed: int, faults: bool
) -> None:
    lives(config, seed, power_loss=True, faults=faults)


@pytest.mark.parametrize("seed", range(SEEDS))
@pytest.mark.parametrize("faults", [False, True])
def test_the_end_of_a_process_loses_nothing_that_was_acknowledged(
    config: Config, seed: int, faults: bool
) -> None:
    lives(config, seed, power_loss=False, faults=faults)


@pytest.mark.slow
@pytest.mark.parametrize("power_loss", [True, False])
@pytest.mark.parametrize("faults", [False, True])
def test_a_thousand_ends(config: Config, power_loss: bool, faults: bool) -> None:
    """QUOTELIFE_JOURNAL_SEEDS says how many; a failure names its seed."""
    for seed in range(ALL_SEEDS):
        try:
            lives(config, seed, power_loss=power_loss, faults=faults)
        except Exception as error:
            raise AssertionError(f"seed {seed}, power_loss={power_loss}, faults={faults}: {error}") from error


@pytest.mark.parametrize("seed", range(SEEDS))
@pytest.mark.parametrize("power_loss", [False, True])
def test_a_failing_disk_loses_doubles_and_reorders_nothing(
    config: Config, seed: int, power_loss: bool
) -> None:
    """ENOSPC, EIO, short writes, failed syncs and truncations at random points; then the disk is well again."""
    rng = random.Random(seed)
    disk = SimulatedDisk()
    boot = Boot(config, disk, 1, rng, power_loss=power_loss)
    rate = rng.choice((0.05, 0.3, 0.7))
    failed = 0

    def fault(operation: str) -> BaseException | None:
        nonlocal failed
        if rng.random() >= rate:
            return None
        failed += 1
        return OSError(rng.choice((errno.ENOSPC, errno.EIO)), "made up")

    disk.rng, disk.fault = rng, fault
    for _ in range(60):
        boot.step()
    assert failed
    disk.fault = lambda operation: None
    boot.writer.commit()
    boot.writer.close()
    assert boot.writer.lost == 0
    recover(disk, T0)
    assert verify(disk).findings == []
    found = [decode_decision(record)[1] for record in Journal(disk).records([Kind.DECISION])]
    assert [decision.canonical() for decision in found] == boot.flow.decided


def test_a_full_buffer_is_said_and_what_it_could_not_take_is_a_gap(config: Config) -> None:
    disk = SimulatedDisk()
    boot = Boot(config, disk, 1, random.Random(0), power_loss=False)
    disk.fault = lambda operation: OSError(errno.ENOSPC, "made up") if operation == "write" else None
    while not boot.writer.full:
        boot.flow.ask(1)
    with pytest.raises(JournalError, match="made up"):
        boot.writer.commit()
    kept = boot.engine.input_sequence
    boot.engine.record_to(boot.writer)
    from quotelife.records import DecisionRecord, RequestRecord

    for _ in range(40):
        boot.engine.decide(RequestRecord(0, 1, now_ns=T0), DecisionRecord())
    lost = boot.writer.lost
    assert 0 < lost <= 40
    disk.fault = lambda operation: None
    boot.writer.commit()
    boot.writer.commit()
    boot.writer.close()
    records = list(Journal(disk).records([Kind.GAP, Kind.DECISION]))
    from quotelife.journal.records import decode_gap

    gaps = [decode_gap(record) for record in records if record.kind == Kind.GAP]
    assert [(gap.first, gap.last) for gap in gaps] == [(kept + 41 - lost, kept + 40)]
    held = [record.input_sequence for record in records if record.kind == Kind.DECISION]
    assert held == list(range(1, kept + 41 - lost))


def test_artifacts_and_folders_of_a_real_disk_behave_alike(config: Config, tmp_path: Path) -> None:
    """The simulated disk and a folder end with the same files for the same deeds."""
    from quotelife.journal.storage import DirectoryStorage

    disk, folder = SimulatedDisk(), DirectoryStorage(tmp_path / "journal")
    for storage in (disk, folder):
        writer = JournalWriter(storage, boot_id="b", segment_bytes=8192)
        engine = Engine(config, start_ns=T0)
        writer.begin(engine, T0)
        engine.record_to(writer)
        flow = Flow(engine, writer)
        for _ in range(5):
            flow.ask(3)
            writer.commit()
        writer.close()
    on_disk = {
        str(path.relative_to(folder.path)): path.read_bytes()
        for path in sorted(folder.path.rglob("*"))
        if path.is_file() and path.name != ".lock"
    }
    assert {name: bytes(inode.content) for name, inode in sorted(disk.names.items())} == on_disk
