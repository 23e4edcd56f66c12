"""The segment files of a capture: appended to, rotated, compressed at rest, and removed when they are old."""

import contextlib
import fcntl
import os
import re
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple, Protocol

import zstandard

from quotelife.capture.format import CaptureError

RAW = ".qlc"
COMPRESSED = ".qlc.zst"
LOCK = "capture.lock"
LEVEL = 3
CHUNK_BYTES = 1024 * 1024
_NAME = re.compile(r"([0-9]{10})(\.qlc|\.qlc\.zst)")


class Segment(NamedTuple):
    """One file of a capture."""

    number: int
    path: Path
    compressed: bool


def list_segments(folder: Path) -> list[Segment]:
    """The segments of a folder by number; of a raw and a compressed copy of one number the compressed.

    Raises ``OSError`` when the folder cannot be read.
    """
    found: dict[int, Segment] = {}
    for path in sorted(
        folder.iterdir()
    ):  # NAME.qlc sorts before NAME.qlc.zst, which is whole once it has its name
        match = _NAME.fullmatch(path.name)
        if match:
            found[int(match[1])] = Segment(int(match[1]), path, match[2] == COMPRESSED)
    return [found[number] for number in sorted(found)]


class AppendFile(Protocol):
    """What is asked of an open file; ``write`` may take less than it is given."""

    def write(self, data: memoryview, /) -> int | None: ...
    def seek(self, offset: int, /) -> int: ...
    def truncate(self, size: int, /) -> int: ...
    def close(self) -> None: ...


def _create(path: Path) -> AppendFile:
    return path.open("xb", buffering=0)


class SegmentFiles:
    """The folder that a capture is written to; locked until ``close``.

    A segment is closed before it would grow over ``segment_bytes``. ``tidy`` compresses closed segments and removes
    the oldest until all take at most ``total_bytes_max`` and none was last written over ``age_max_ns`` ago (None: no
    bound). Used from one thread at a time. Raises ``CaptureError`` when another process writes here.
    """

    def __init__(
        self,
        folder: Path,
        *,
        segment_bytes: int = 64 * 1024 * 1024,
        total_bytes_max: int | None = None,
        age_max_ns: int | None = None,
        compress: bool = True,
        create: Callable[[Path], AppendFile] = _create,
    ) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self.folder = folder
        self.segment_bytes = segment_bytes
        self.total_bytes_max = total_bytes_max
        self.age_max_ns = age_max_ns
        self.compress = compress
        self.bytes = 0  # written since start
        self.stopping = False  # set from anywhere: a compression under way is given up
        self._create = create
        self._file: AppendFile | None = None
        self._path = folder
        self._size = 0
        self._lock = os.open(folder / LOCK, os.O_RDWR | os.O_CREAT, 0o644)
        try:
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            os.close(self._lock)
            raise CaptureError(
                f"{folder}: another process captures into this folder; name another one"
            ) from None
        for leftover in folder.glob("*.tmp"):
            leftover.unlink()
        segments = list_segments(folder)
        self._number = segments[-1].number if segments else 0
        self.count = len(segments)

    def append(self, block: memoryview, head: bytes) -> None:
        """Write a block whole, at the start of a new segment behind ``head`` when it is time for one.

        Raises ``OSError``; then nothing of the block is left that a later call would not overwrite or leave behind
        as the torn tail of a closed segment.
        """
        if self._file is not None and self._size + len(block) > self.segment_bytes:
            self.rotate()
        if self._file is None:
            self._start(head)
        self._write(block)

    def append_head(self, head: bytes) -> None:
        """Write a head where it stands in the order of blocks. Raises ``OSError``."""
        if self._file is None:
            self._start(head)
        else:
            self.append(memoryview(head), head)

    def rotate(self) -> None:
        """End the segment being written."""
        if self._file is not None:
            with contextlib.suppress(OSError):
                self._file.close()
            self._file = None

    def close(self) -> None:
        self.rotate()
        if self._lock >= 0:
            os.close(self._lock)
            self._lock = -1

    def _start(self, head: bytes) -> None:
        path = self.folder / f"{self._number + 1:010}{RAW}"
        self._file = self._create(path)
        self._path = path
        self._size = 0
        try:
            self._write(memoryview(head))
        except OSError:
            self.rotate()
            path.unlink(missing_ok=True)
            raise
        self._number += 1
        self.count += 1

    def _write(self, block: memoryview) -> None:
        assert self._file is not None
        done = 0
        try:
            while done < len(block):
                done += self._file.write(block[done:]) or 0
        except OSError:
            try:
                self._file.truncate(self._size)
                self._file.seek(self._size)
            except OSError:
                self.rotate()  # its torn tail costs the reader nothing
            raise
        self._size += len(block)
        self.bytes += len(block)

    # --- at rest --------------------------------------------------------------------------------------------------

    def tidy(self, now_ns: int, *, meanwhile: Callable[[], object] = lambda: None) -> bool:
        """Remove what is too old, then compress one closed segment; True while there is more to do.

        ``now_ns`` is wall time. ``meanwhile`` is called every megabyte. Raises ``OSError``.
        """
        segments = list_segments(self.folder)
        current = self._path if self._file is not None else None
        sizes = {segment: segment.path.stat() for segment in segments}
        total = sum(stat.st_size for stat in sizes.values())
        for segment, stat in sizes.items():
            too_much = self.total_bytes_max is not None and total > self.total_bytes_max
            too_old = self.age_max_ns is not None and now_ns - stat.st_mtime_ns > self.age_max_ns
            if segment.path == current or not (too_much or too_old):
                break
            segment.path.unlink()
            total -= stat.st_size
            segments.remove(segment)
        self.count = len(segments)
        for segment in segments:
            raw = self.folder / f"{segment.number:010}{RAW}"
            if segment.compressed:
                raw.unlink(missing_ok=True)  # left where a process ended between the two
            elif self.compress and segment.path != current:
                return self._compress(raw, meanwhile)
        return False

    def _compress(self, raw: Path, meanwhile: Callable[[], object]) -> bool:
        target = raw.with_name(raw.name + ".zst")
        unfinished = target.with_name(target.name + ".tmp")
        stat = raw.stat()
        try:
            with raw.open("rb", buffering=0) as source, unfinished.open("wb") as sink:
                compressor = zstandard.ZstdCompressor(level=LEVEL, write_checksum=True).compressobj(
                    size=stat.st_size
                )
                while chunk := source.read(CHUNK_BYTES):
                    if self.stopping:
                        return False
                    sink.write(compressor.compress(chunk))
                    meanwhile()
                sink.write(compressor.flush())
                sink.flush()
                os.fsync(sink.fileno())
            os.utime(
                unfinished, ns=(stat.st_atime_ns, stat.st_mtime_ns)
            )  # age_max counts from the last input
            unfinished.rename(target)
            raw.unlink()
        finally:
            unfinished.unlink(missing_ok=True)
        return True
