"""What the writer hands to the system: through a file's own ``write``, or by write(2) where it has a descriptor."""

import contextlib
import fcntl
import gc
import os
import resource
import select
import signal
from collections.abc import Callable, Iterator
from pathlib import Path
from types import FrameType

import pytest

from quotelife.engine import Engine
from quotelife.errors import JournalError
from quotelife.journal.format import Kind
from quotelife.journal.reader import Journal
from quotelife.journal.records import decode_answer
from quotelife.journal.recovery import verify
from quotelife.journal.storage import DirectoryStorage, StorageFile
from quotelife.journal.writer import JournalWriter
from reference.faulty_storage import FaultyFile, FaultyStorage
from reference.journal_kit import T0, Flow, make_config

LONG = 300_000  # bytes of a reply: a write of it lets other threads run


class PipeFile(FaultyFile):
    """Written into a pipe that takes 4 kB before somebody reads; what was read goes to the file."""

    def __init__(self, inner: StorageFile, storage: "PipeStorage") -> None:
        super().__init__(inner, storage)
        self._inner = inner
        self.reads, self.descriptor = os.pipe()
        os.set_blocking(self.reads, False)
        fcntl.fcntl(self.descriptor, fcntl.F_SETPIPE_SZ, 4096)
        storage.opened.append(self)

    def write(self, data: memoryview) -> int:
        raise AssertionError("it has a descriptor")

    def drain(self) -> int:
        size = 0
        with contextlib.suppress(BlockingIOError):
            while content := os.read(self.reads, 1 << 20):
                size += len(content)
                assert self._inner.write(memoryview(content)) == len(content)
        return size

    def truncate(self, size: int) -> None:
        self.drain()
        super().truncate(size)

    def close(self) -> None:
        self.drain()
        os.close(self.reads)
        os.close(self.descriptor)
        super().close()


class PipeStorage(FaultyStorage):
    """Segments alone are pipes."""

    def __init__(self, path: str | os.PathLike[str]) -> None:
        super().__init__(path)
        self.opened: list[PipeFile] = []

    def create(self, name: str) -> StorageFile:
        file = DirectoryStorage.create(self, name)
        return PipeFile(file, self) if name.endswith(".qlj") else file


class Desk:
    def __init__(self, folder: Path, storage: DirectoryStorage) -> None:
        config = folder / "config"
        config.mkdir()
        self.storage = storage
        self.engine = Engine(make_config(config), start_ns=T0)
        self.writer = JournalWriter(storage, boot_id="b00t", buffer_bytes=1 << 21)
        self.writer.begin(self.engine, T0)
        self.writer.prepare()
        self.engine.record_to(self.writer)
        self.flow = Flow(self.engine, self.writer, "r")

    def replies(self) -> list[bytes]:
        return [decode_answer(record).reply for record in Journal(self.storage).records([Kind.ANSWER])]


@pytest.fixture
def every_ms() -> Iterator[Callable[[Callable[[], object]], None]]:
    """Has a signal come each millisecond, and a function called for it."""
    before = signal.getsignal(signal.SIGALRM)
    gc.disable()  # what it calls may not raise, and a signal could come just there

    def begin(call: Callable[[], object]) -> None:
        def handle(_: int, frame: FrameType | None) -> None:
            call()

        signal.signal(signal.SIGALRM, handle)
        signal.setitimer(signal.ITIMER_REAL, 0.001, 0.001)

    yield begin
    signal.setitimer(signal.ITIMER_REAL, 0)
    signal.signal(signal.SIGALRM, before)
    gc.enable()


def test_both_ways_write_the_same_bytes(tmp_path: Path) -> None:
    contents: list[dict[str, bytes]] = []
    for number, kind in enumerate((DirectoryStorage, FaultyStorage)):
        folder = tmp_path / str(number)
        folder.mkdir()
        storage = kind(folder / "journal")
        desk = Desk(folder, storage)
        for batch in (1, 3, 1, 64):
            desk.flow.ask(batch, 400)
            desk.writer.commit(wait=False)
        desk.flow.ask(1, LONG)
        desk.writer.close()
        contents.append({name: storage.read(name) for name in storage.list()})
    by_system, by_file = contents
    assert len(by_system["0000000001.qlj"]) > LONG
    assert by_system == by_file


@pytest.mark.parametrize("size", [20_000, LONG])
def test_a_short_write_goes_on_and_a_signal_before_any_byte_is_no_error(
    tmp_path: Path, every_ms: Callable[[Callable[[], object]], None], size: int
) -> None:
    storage = PipeStorage(tmp_path / "journal")
    desk = Desk(tmp_path, storage)
    reads: list[int] = []

    def drain() -> None:
        reads.extend(file.drain() for file in storage.opened)

    every_ms(drain)
    desk.flow.ask(1, size)
    desk.writer.commit(wait=False)
    drain()
    assert 0 < max(reads) <= 4096 and len([read for read in reads if read]) > size // 4096
    assert desk.writer.failures == 0 and desk.writer.pending_bytes == 0
    assert [len(reply) for reply in desk.replies()] == [size]
    assert verify(storage).findings == []


@pytest.mark.parametrize("size", [20_000, LONG])
def test_what_a_signal_raises_ends_a_write_and_the_next_commit_writes_all_of_it(
    tmp_path: Path, every_ms: Callable[[Callable[[], object]], None], size: int
) -> None:
    storage = PipeStorage(tmp_path / "journal")
    desk = Desk(tmp_path, storage)

    def end() -> None:
        if any(select.select([file.reads], [], [], 0)[0] for file in storage.opened):
            signal.setitimer(signal.ITIMER_REAL, 0)
            raise KeyboardInterrupt

    desk.flow.ask(1, size)
    pending = desk.writer.pending_bytes
    every_ms(end)
    with pytest.raises(KeyboardInterrupt):
        desk.writer.commit(wait=False)
    assert desk.writer.pending_bytes == pending
    every_ms(lambda: [file.drain() for file in storage.opened])
    desk.writer.commit(wait=False)
    signal.setitimer(signal.ITIMER_REAL, 0)
    storage.opened[0].drain()
    assert [len(reply) for reply in desk.replies()] == [size]
    assert verify(storage).findings == []


@pytest.mark.parametrize("kind", [DirectoryStorage, FaultyStorage])
def test_a_file_that_takes_a_part_and_no_more_fails_with_the_systems_words(
    tmp_path: Path, kind: type[DirectoryStorage]
) -> None:
    storage = kind(tmp_path / "journal")
    desk = Desk(tmp_path, storage)
    desk.flow.ask(1, 400)
    desk.writer.commit(wait=False)
    whole = storage.read("0000000001.qlj")
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    desk.flow.ask(2, 400)
    pending = desk.writer.pending_bytes
    resource.setrlimit(resource.RLIMIT_FSIZE, (len(whole) + 100, before[1]))
    try:
        with pytest.raises(JournalError) as caught:
            desk.writer.commit(wait=False)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    where = storage.where("0000000001.qlj")
    assert str(caught.value) == f"{where}: File too large; the journal keeps {pending} bytes and tries again"
    assert isinstance(caught.value.__cause__, OSError) and caught.value.__cause__.filename is None
    assert storage.read("0000000001.qlj") == whole, "what was taken of it is cut off again"
    assert desk.writer.failures == 1
    desk.writer.commit(wait=False)
    assert len(desk.replies()) == 3 and verify(storage).findings == []
