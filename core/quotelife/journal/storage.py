"""Where a journal's files lie: a folder of a disk, or anything that behaves like one.

A name is a path inside the journal with ``/``. What is promised is what a disk promises: bytes are safe from a power
cut after ``sync`` of their file, a name after ``sync_names``, and a rename replaces its target whole.
"""

import contextlib
import errno
import fcntl
import mmap
import os
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Protocol

from quotelife.errors import JournalError
from quotelife.journal.format import give_back

LOCK = ".lock"
TEMPORARY = ".tmp"
CUT_BYTES = 1 << 20
WRITTEN_BYTES = 256 << 10
"""That are written or read at a time where others want the core meanwhile; some 0.1 ms."""
ARTIFACTS = "artifacts"
"""Folder of the models that were used, each in a folder by its digest."""


class StorageFile(Protocol):
    """One file open for appending.

    ``descriptor``, an attribute that it may have: number of the open file of the system, to which bytes may be appended
    by write(2) instead of ``write``, until ``close``.
    """

    def write(self, data: memoryview) -> int:
        """Append; the number of bytes taken, which may be fewer than given. Raises ``OSError``."""

    def sync(self) -> None:
        """Make everything written safe from a power cut; other threads run meanwhile. Raises ``OSError``."""

    def write_behind(self, begin: int, pause_s: float = 0.0) -> None:
        """From there on, begin to put on the device what is not there yet, and keep in memory nothing that is; in one
        go, or a piece at a time with pauses for others who need this core. Any thread; a hint, whose failure shows
        nowhere."""

    def truncate(self, size: int) -> None:
        """Cut to ``size`` bytes and append from there. Raises ``OSError``."""

    def measure(self) -> int:
        """Bytes it holds. Raises ``OSError`` when its name leads nowhere, or to another file."""

    def read(self, offset: int, size: int) -> bytes:
        """At most so many bytes of it, whatever has become of its name. Raises ``OSError``."""

    def close(self) -> None: ...


class Storage(Protocol):
    """What a journal needs of a file system. Everything raises ``OSError``."""

    def list(self) -> list[str]:
        """Names at the top of the journal, files only, sorted."""

    def below(self, folder: str) -> Sequence[str]:
        """Names of all files in a folder and in those in it, sorted."""

    def create(self, name: str) -> StorageFile:
        """A new, empty file; ``FileExistsError`` when there is one. Folders on the way are made."""

    def append(self, name: str) -> StorageFile:
        """An existing file, opened for appending."""

    def read(self, name: str, offset: int = 0, size: int | None = None) -> bytes:
        """Bytes of the file as of now, at most ``size``, fewer at its end. ``FileNotFoundError``."""

    def open(self, name: str) -> int:
        """Descriptor of the file, to read from until the caller closes it. ``FileNotFoundError``."""

    def size(self, name: str) -> int: ...

    def exists(self, name: str) -> bool: ...

    def rename(self, old: str, new: str) -> None: ...

    def remove(self, name: str, *, pause_s: float = 0.0) -> None:
        """The file, and a folder of the journal that it was the last in. ``pause_s``: its name first, then a piece at a
        time with such pauses; who is reading it then is told that it is gone."""

    def sync_names(self, name: str = "") -> None:
        """Make names made, renamed and removed in the folder of ``name``, and in those above, safe."""

    def hold(self) -> None:
        """Keep other writers out, still: the journal's folder may have been removed and made again.

        Raises ``OSError``, ``JournalError`` when another writer came first.
        """

    def where(self, name: str = "") -> str:
        """``name`` as a person would look for it."""


def write_whole(storage: Storage, name: str, *parts: bytes | memoryview, pause_s: float = 0.0) -> None:
    """Put ``parts``, one after the other, in place of ``name`` whole or not at all, safe from a power cut; with pauses
    for others who need this core. Raises ``OSError``."""
    aside = name.rpartition("/")[2] + TEMPORARY
    if storage.exists(aside):
        storage.remove(aside)
    stream = storage.create(aside)
    try:
        for part in parts:
            rest = memoryview(part).cast("B")
            while rest:
                taken = stream.write(rest[:WRITTEN_BYTES] if pause_s else rest)
                if taken <= 0:
                    raise OSError(errno.EIO, "nothing was written", aside)
                rest = rest[taken:]
                if pause_s:
                    time.sleep(pause_s)
        stream.sync()
    finally:
        stream.close()
    storage.rename(aside, name)
    storage.sync_names(name)


def read_whole(storage: Storage, name: str, *, pause_s: float = 0.0) -> bytes | bytearray:
    """Everything the file holds; with pauses for others who need this core. ``FileNotFoundError``, ``OSError``."""
    if not pause_s:
        return storage.read(name)
    content = bytearray()
    while piece := storage.read(name, len(content), WRITTEN_BYTES):
        content += piece
        time.sleep(pause_s)
    return content


class _DirectoryFile:
    def __init__(self, path: Path, flags: int) -> None:
        self._path = path
        self.descriptor = os.open(path, flags | os.O_RDWR | os.O_APPEND | os.O_CLOEXEC, 0o640)

    def write(self, data: memoryview) -> int:
        return os.write(self.descriptor, data)

    def sync(self) -> None:
        os.fdatasync(self.descriptor)

    def write_behind(self, begin: int, pause_s: float = 0.0) -> None:
        # Not the page that is being filled: the next write would have to read it back. Where the file is closed
        # meanwhile the number may lead to another one, to which the advice does no harm either.
        with contextlib.suppress(OSError):
            begin, end = (
                at // mmap.PAGESIZE * mmap.PAGESIZE for at in (begin, os.fstat(self.descriptor).st_size)
            )
            give_back(self.descriptor, begin, end, CUT_BYTES if pause_s else max(1, end - begin), pause_s)

    def truncate(self, size: int) -> None:
        os.ftruncate(self.descriptor, size)

    def measure(self) -> int:
        here = os.fstat(self.descriptor)
        try:
            there = os.stat(self._path)
        except FileNotFoundError:
            raise OSError(errno.ESTALE, "was removed or renamed", str(self._path)) from None
        if (here.st_ino, here.st_dev) != (there.st_ino, there.st_dev):
            raise OSError(errno.ESTALE, "was replaced by another file", str(self._path))
        return here.st_size

    def read(self, offset: int, size: int) -> bytes:
        return os.pread(self.descriptor, size, offset)

    def close(self) -> None:
        if self.descriptor >= 0:
            os.close(self.descriptor)
            self.descriptor = -1


def _cut_down(path: Path, pause_s: float) -> None:
    """Of a file that will be removed: at once, the kernel frees the pages of 64 MB in some 4 to 12 ms and lets nobody
    else have the core meanwhile. One that has another name is left as it is."""
    descriptor = os.open(path, os.O_WRONLY | os.O_CLOEXEC)
    try:
        held = os.fstat(descriptor)
        if held.st_nlink > 1:
            return
        for offset in reversed(range(0, held.st_size, CUT_BYTES)):
            os.ftruncate(descriptor, offset)
            time.sleep(pause_s)
    finally:
        os.close(descriptor)


class DirectoryStorage:
    """A folder. ``lock`` keeps a second writer out until ``close``.

    Raises ``JournalError`` when another process holds the journal, ``OSError`` when the folder cannot be made.
    """

    def __init__(self, path: str | os.PathLike[str], *, lock: bool = True) -> None:
        self.path = Path(path)
        self._lock = -1
        if lock:
            self.hold()

    def hold(self) -> None:
        target = self.path / LOCK
        if self._lock >= 0:
            with contextlib.suppress(FileNotFoundError):
                if os.path.samestat(os.fstat(self._lock), os.stat(target)):
                    return
        self.path.mkdir(parents=True, exist_ok=True)
        lock = os.open(target, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(lock)
            raise JournalError(
                f"{self.path}: another process writes this journal; stop it, or name another folder"
            ) from None
        self.close()
        self._lock = lock

    def close(self) -> None:
        """Let another process write here."""
        if self._lock >= 0:
            os.close(self._lock)
            self._lock = -1

    def list(self) -> list[str]:
        with contextlib.suppress(FileNotFoundError), os.scandir(self.path) as entries:
            return sorted(entry.name for entry in entries if entry.is_file(follow_symlinks=False))
        return []

    def below(self, folder: str) -> Sequence[str]:
        found = (path for path in (self.path / folder).rglob("*") if path.is_file())
        return sorted(path.relative_to(self.path).as_posix() for path in found)

    def create(self, name: str) -> StorageFile:
        target = self.path / name
        target.parent.mkdir(parents=True, exist_ok=True)
        return _DirectoryFile(target, os.O_CREAT | os.O_EXCL)

    def append(self, name: str) -> StorageFile:
        return _DirectoryFile(self.path / name, 0)

    # Read, never mapped: a bad sector, or a file cut under one's feet, is then an OSError and not the end.
    def read(self, name: str, offset: int = 0, size: int | None = None) -> bytes:
        with open(self.path / name, "rb", buffering=0) as stream:
            if offset:
                stream.seek(offset)
            content = stream.read() if size is None else stream.read(size)
        os.stat(self.path / name)  # one that is being removed loses its name before its content
        return content

    def open(self, name: str) -> int:
        return os.open(self.path / name, os.O_RDONLY | os.O_CLOEXEC)

    def size(self, name: str) -> int:
        return (self.path / name).stat().st_size

    def exists(self, name: str) -> bool:
        return (self.path / name).exists()

    def rename(self, old: str, new: str) -> None:
        target = self.path / new
        target.parent.mkdir(parents=True, exist_ok=True)
        os.replace(self.path / old, target)

    def remove(self, name: str, *, pause_s: float = 0.0) -> None:
        target = self.path / name
        if pause_s:
            aside = target.with_name(target.name + TEMPORARY)
            try:
                os.replace(target, aside)
            except OSError:
                pass  # a full disk may take no longer name
            else:
                target = aside
                self.sync_names(name)  # after a power cut too nothing half cut has the name
                with contextlib.suppress(OSError):  # it is only for the others of this core
                    _cut_down(target, pause_s)
        target.unlink()
        if target.parent != self.path:
            with contextlib.suppress(OSError):
                target.parent.rmdir()

    def sync_names(self, name: str = "") -> None:
        folder = (self.path / name).parent if name else self.path
        while True:
            descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
            try:
                os.fsync(descriptor)
            finally:
                os.close(descriptor)
            if folder == self.path:
                return
            folder = folder.parent

    def where(self, name: str = "") -> str:
        return str(self.path / name) if name else str(self.path)
