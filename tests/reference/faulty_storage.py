"""A journal's folder whose disk can be told to fail: full, read-only, broken."""

import errno
import os
from collections.abc import Callable

from quotelife.journal.storage import DirectoryStorage, StorageFile


class FaultyFile:
    def __init__(self, inner: StorageFile, storage: "FaultyStorage") -> None:
        self._inner = inner
        self._storage = storage

    def write(self, data: memoryview) -> int:
        room = self._storage.room
        if room is not None:
            if not room:
                self._storage.check("write")
            data = data[:room]
            self._storage.room = room - len(data)
        self._storage.check("write")
        return self._inner.write(data)

    def sync(self) -> None:
        self._storage.check("sync")
        self._inner.sync()

    def write_behind(self, begin: int, pause_s: float = 0.0) -> None:
        self._inner.write_behind(begin, pause_s)

    def truncate(self, size: int) -> None:
        self._storage.check("truncate")
        self._inner.truncate(size)

    def measure(self) -> int:
        return self._inner.measure()

    def read(self, offset: int, size: int) -> bytes:
        return self._inner.read(offset, size)

    def close(self) -> None:
        self._inner.close()


class FaultyStorage(DirectoryStorage):
    """``fail(errno, *operations)`` until ``heal()``; operations: create, write, sync, truncate. With ``room`` set,
    so many bytes are taken before a write fails with ``ENOSPC``; removing a file gives its bytes back."""

    def __init__(self, path: str | os.PathLike[str], *, lock: bool = True) -> None:
        super().__init__(path, lock=lock)
        self.room: int | None = None
        self._error = 0
        self._operations: tuple[str, ...] = ()

    def fail(self, error: int, *operations: str) -> None:
        self._error, self._operations = error, operations or ("create", "write", "sync", "truncate")

    def heal(self) -> None:
        self._error, self.room = 0, None

    def check(self, operation: str) -> None:
        error = self._error if operation in self._operations else 0
        if not error and self.room == 0 and operation in ("write", "create"):
            error = errno.ENOSPC
        if error:
            raise OSError(error, os.strerror(error))

    def create(self, name: str) -> StorageFile:
        self.check("create")
        return FaultyFile(super().create(name), self)

    def remove(self, name: str, *, pause_s: float = 0.0) -> None:
        size = self.size(name)
        super().remove(name, pause_s=pause_s)
        if self.room is not None:
            self.room += size

    def append(self, name: str) -> StorageFile:
        return FaultyFile(super().append(name), self)


FAULTS: dict[str, Callable[[FaultyStorage], None]] = {
    "full": lambda storage: storage.fail(errno.ENOSPC, "create", "write"),
    "full in the middle of a record": lambda storage: setattr(storage, "room", 100),
    "read-only": lambda storage: storage.fail(errno.EROFS),
    "broken": lambda storage: storage.fail(errno.EIO),
}
