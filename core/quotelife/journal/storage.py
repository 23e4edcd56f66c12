"""Where a journal's files lie: a folder of a disk, or anything that behaves like one.

A name is a path inside the journal with ``/``. What is promised is what a disk promises: bytes are safe from a power
cut after ``sync`` of their file, a name after ``sync_names``, and a rename replaces its target whole.
"""

import contextlib
import errno
import fcntl
import os
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Protocol

from quotelife.errors import JournalError

LOCK = ".lock"
TEMPORARY = ".tmp"
FORGOTTEN_BYTES = 1 << 20
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

    def size(self, name: str) -> int: ...

    def exists(self, name: str) -> bool: ...

    def rename(self, old: str, new: str) -> None: ...

    def remove(self, name: str, *, pause_s: float = 0.0) -> None:
        """The file, and a folder of the journal that it was the last in. ``pause_s``: what the system keeps of it in
        memory is given back before, a piece at a time with such pauses."""

    def sync_names(self, name: str = "") -> None:
        """Make names made, renamed and removed in the folder of ``name``, and in those above, safe."""

    def hold(self) -> None:
        """Keep other writers out, still: the journal's folder may have been removed and made again.

        Raises ``OSError``, ``JournalError`` when another writer came first.
        """

    def where(self, name: str = "") -> str:
        """``name`` as a person would look for it."""


def write_whole(storage: Storage, name: str, content: bytes) -> None:
    """Put ``content`` in place of ``name`` whole or not at all, safe from a power cut. Raises ``OSError``."""
    aside = name.rpartition("/")[2] + TEMPORARY
    if storage.exists(aside):
        storage.remove(aside)
    stream = storage.create(aside)
    try:
        rest = memoryview(content)
        while rest:
            taken = stream.write(rest)
            if taken <= 0:
                raise OSError(errno.EIO, "nothing was written", aside)
            rest = rest[taken:]
        stream.sync()
    finally:
        stream.close()
    storage.rename(aside, name)
    storage.sync_names(name)


class _DirectoryFile:
    def __init__(self, path: Path, flags: int) -> None:
        self._path = path
        self.descriptor = os.open(path, flags | os.O_RDWR | os.O_APPEND | os.O_CLOEXEC, 0o640)

    def write(self, data: memoryview) -> int:
        return os.write(self.descriptor, data)

    def sync(self) -> None:
        os.fdatasync(self.descriptor)

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


def _forget_pages(path: Path, pause_s: float) -> None:
    """Of a file that will be removed: at once, the kernel frees the pages of 64 MB in some 6 ms and lets nobody else
    have the core meanwhile. Its content stays what it was, for whoever reads it or has another name for it."""
    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        for offset in range(0, os.fstat(descriptor).st_size, FORGOTTEN_BYTES):
            os.posix_fadvise(descriptor, offset, FORGOTTEN_BYTES, os.POSIX_FADV_DONTNEED)
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
            if size is None:
                return stream.read()
            return stream.read(size)

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
            with contextlib.suppress(OSError):  # it is only for the others of this core
                _forget_pages(target, pause_s)
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
