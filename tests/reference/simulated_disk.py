"""A disk that forgets what was not synced, as disks do: the oracle of what a journal may rely on.

Bytes written lie in a cache of pages. ``sync`` of a file makes its pages safe, ``sync_names`` the names in a folder. A
power cut keeps what is safe and, of the rest, any subset: pages that reached the disk in any order, torn in the
middle, or not at all; a file size between the old and the new; names made, renamed or removed, or not. The end of a
process loses nothing. Faults: an operation fails with ENOSPC or EIO, a write takes part of its bytes first, a failed
sync drops the pages that it did not write, and later syncs say nothing of them (as Linux does).
"""

import errno
import os
import random
from collections.abc import Callable, Sequence

from quotelife.journal.storage import StorageFile

PAGE = 4096
SECTOR = 512


class Ended(BaseException):
    """The process was killed, or the power was cut, in the middle of an operation."""


class Inode:
    def __init__(self) -> None:
        self.content = bytearray()
        self.safe = b""
        self.dirty: set[int] = set()

    def touch(self, start: int, end: int) -> None:
        self.dirty.update(range(start // PAGE, (end + PAGE - 1) // PAGE))

    def sync(self) -> None:
        size = len(self.content)
        safe = bytearray(self.safe[:size].ljust(size, b"\0"))
        for page in self.dirty:
            part = self.content[page * PAGE : (page + 1) * PAGE]
            safe[page * PAGE : page * PAGE + len(part)] = part
        self.safe = bytes(safe)
        self.dirty.clear()

    def after_power_cut(self, rng: random.Random) -> "Inode":
        sizes = sorted((len(self.safe), len(self.content)))
        size = rng.choice([*sizes, rng.randint(*sizes)])
        out = bytearray(self.safe[:size].ljust(size, b"\0"))
        for page in sorted(self.dirty):
            part = bytes(self.content[page * PAGE : (page + 1) * PAGE])[: max(0, size - page * PAGE)]
            fate = rng.choice(("new", "old", "torn"))
            if fate == "torn":
                keep = rng.randrange(0, PAGE, SECTOR)
                part = part[:keep] if rng.random() < 0.5 else b""
            if fate != "old" and part:
                out[page * PAGE : page * PAGE + len(part)] = part
        inode = Inode()
        inode.content = out
        inode.safe = bytes(out)
        return inode


class SimulatedDisk:
    """See the module. ``fault(operation)`` gives an exception, or ``None``, for each operation of an effect."""

    def __init__(self) -> None:
        self.names: dict[str, Inode] = {}
        self.safe_names: dict[str, Inode] = {}
        self.fault: Callable[[str], BaseException | None] = lambda operation: None
        self.rng = random.Random(0)
        self.operations = 0

    def _step(self, operation: str) -> BaseException | None:
        self.operations += 1
        return self.fault(operation)

    def _pass(self, operation: str) -> None:
        fault = self._step(operation)
        if fault is not None:
            raise fault

    def list(self) -> list[str]:
        return sorted(name for name in self.names if "/" not in name)

    def below(self, folder: str) -> Sequence[str]:
        return sorted(name for name in self.names if name.startswith(folder + "/"))

    def create(self, name: str) -> StorageFile:
        self._pass("create")
        if name in self.names:
            raise FileExistsError(errno.EEXIST, "exists", name)
        self.names[name] = Inode()
        return SimulatedFile(self, self.names[name], name)

    def append(self, name: str) -> StorageFile:
        self._pass("open")
        return SimulatedFile(self, self._find(name), name)

    def _find(self, name: str) -> Inode:
        if name not in self.names:
            raise FileNotFoundError(errno.ENOENT, "not there", name)
        return self.names[name]

    def read(self, name: str, offset: int = 0, size: int | None = None) -> bytes:
        content = self._find(name).content
        return bytes(content[offset:] if size is None else content[offset : offset + size])

    def open(self, name: str) -> int:
        content = self._find(name).content
        descriptor = os.memfd_create(name.replace("/", "-"))
        os.write(descriptor, content)
        return descriptor

    def size(self, name: str) -> int:
        return len(self._find(name).content)

    def exists(self, name: str) -> bool:
        return name in self.names

    def rename(self, old: str, new: str) -> None:
        self._pass("rename")
        self.names[new] = self._find(old)
        del self.names[old]

    def remove(self, name: str, *, pause_s: float = 0.0) -> None:
        self._pass("remove")
        self._find(name)
        del self.names[name]

    def sync_names(self, name: str = "") -> None:
        self._pass("sync names")
        folders = {""}
        folder = name.rpartition("/")[0]
        while folder:
            folders.add(folder)
            folder = folder.rpartition("/")[0]
        for each in {*self.names, *self.safe_names}:
            if each.rpartition("/")[0] in folders:
                if each in self.names:
                    self.safe_names[each] = self.names[each]
                else:
                    del self.safe_names[each]

    def hold(self) -> None:
        pass

    def where(self, name: str = "") -> str:
        return f"disk:{name}"

    def after_power_cut(self, rng: random.Random) -> "SimulatedDisk":
        """What is found when the power is back."""
        disk = SimulatedDisk()
        inodes: dict[int, Inode] = {}
        for name in sorted({*self.names, *self.safe_names}):
            found = self.names.get(name), self.safe_names.get(name)
            chosen = found[0] if found[0] is found[1] else rng.choice(found)
            if chosen is not None:
                disk.names[name] = inodes.setdefault(id(chosen), chosen.after_power_cut(rng))
        disk.safe_names = dict(disk.names)
        return disk

    def after_kill(self) -> "SimulatedDisk":
        """What the next process finds when this one is killed: everything that was handed over."""
        disk = SimulatedDisk()
        disk.names, disk.safe_names = self.names, self.safe_names
        return disk


class SimulatedFile:
    def __init__(self, disk: SimulatedDisk, inode: Inode, name: str) -> None:
        self.disk = disk
        self.inode = inode
        self.name = name
        self.open = True

    def write(self, data: memoryview) -> int:
        assert self.open
        fault = self.disk._step("write")
        size = len(data)
        if fault is not None or self.disk.fault("short") is not None:
            size = self.disk.rng.randint(0 if fault is not None else 1, size)
        at = len(self.inode.content)
        self.inode.content += bytes(data[:size])
        self.inode.touch(at, at + size)
        if fault is not None:
            raise fault
        return size

    def sync(self) -> None:
        assert self.open
        fault = self.disk._step("sync")
        if fault is None:
            self.inode.sync()
        else:
            if isinstance(fault, OSError):
                self.inode.dirty.clear()
            raise fault

    def write_behind(self, begin: int, pause_s: float = 0.0) -> None:
        """Nothing that is promised depends on it."""

    def truncate(self, size: int) -> None:
        assert self.open
        self.disk._pass("truncate")
        del self.inode.content[size:]
        self.inode.dirty = {page for page in self.inode.dirty if page * PAGE < size}

    def measure(self) -> int:
        assert self.open
        if self.disk.names.get(self.name) is not self.inode:
            raise OSError(errno.ESTALE, "was removed", self.name)
        return len(self.inode.content)

    def read(self, offset: int, size: int) -> bytes:
        assert self.open
        return bytes(self.inode.content[offset : offset + size])

    def close(self) -> None:
        self.open = False
