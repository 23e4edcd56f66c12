"""Recorded files as streams, plain or compressed as the name says: ``.gz``, ``.xz``, ``.bz2``, ``.zst`` or ``.zip``.

Nothing is loaded whole, and a file that was cut short is never taken for a whole one.
"""

import bz2
import gzip
import io
import lzma
import zipfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, TYPE_CHECKING, cast

import zstandard

from quotelife.errors import DecodeError

if TYPE_CHECKING:
    from _typeshed import WriteableBuffer

SUFFIXES = (".gz", ".xz", ".bz2", ".zst", ".zstd", ".zip")
CHUNK_BYTES = 1 << 20
FIRST_LINE_MAX = 1 << 16
_PACKED_BYTES = 4096  # of zstd at a time: at its best ratio they unpack to 128 MB
_DAMAGE = (
    EOFError,
    OSError,
    RuntimeError,
    zlib.error,
    lzma.LZMAError,
    zipfile.BadZipFile,
    zstandard.ZstdError,
)


class _ZstdFrames(io.RawIOBase):
    """The frames of a zstd file, one after the other. The library's own reader takes the end of the file for the end
    of a frame; this one raises ``EOFError``."""

    def __init__(self, packed: IO[bytes]) -> None:
        self._packed = packed
        self._begin()
        self._rest = b""  # packed, of the next frame
        self._out = memoryview(b"")

    def _begin(self) -> None:
        self._frame = zstandard.ZstdDecompressor().decompressobj()

    def readable(self) -> bool:
        return True

    def readinto(self, into: "WriteableBuffer", /) -> int:
        while not self._out:
            data = self._rest or self._packed.read(_PACKED_BYTES)
            if not data:
                if not self._frame.eof:
                    raise EOFError("the file is cut short")
                return 0
            if self._frame.eof:
                self._begin()
            self._out = memoryview(self._frame.decompress(data))
            self._rest = self._frame.unused_data if self._frame.eof else b""
        target = memoryview(into).cast("B")
        size = min(len(target), len(self._out))
        target[:size] = self._out[:size]
        self._out = self._out[size:]
        return size


@contextmanager
def opened(path: Path) -> Iterator[IO[bytes]]:
    """The unpacked bytes; of a zip those of its only member. Raises ``DecodeError`` where a zip has several.

    What the reading itself raises on damage is the library's own: see ``chunks`` and ``lines``.
    """
    with path.open("rb") as file:
        if path.suffix == ".zip":
            with zipfile.ZipFile(file) as archive:
                names = [name for name in archive.namelist() if not name.endswith("/")]
                if len(names) != 1:
                    raise DecodeError(f"{path}: holds {len(names)} files; unpack it and name one")
                with archive.open(names[0]) as member:
                    yield member
        elif path.suffix in (".zst", ".zstd"):
            yield cast("IO[bytes]", io.BufferedReader(_ZstdFrames(file), CHUNK_BYTES))
        elif path.suffix == ".gz":
            yield cast("IO[bytes]", gzip.GzipFile(fileobj=file))
        elif path.suffix == ".xz":
            yield cast("IO[bytes]", lzma.LZMAFile(file))  # noqa: SIM115
        elif path.suffix == ".bz2":
            yield cast("IO[bytes]", bz2.BZ2File(file))
        else:
            yield file


def chunks(path: Path) -> Iterator[bytes]:
    """The unpacked bytes in pieces. Raises ``DecodeError`` where the file is damaged."""
    done = 0
    try:
        with opened(path) as file:
            while chunk := file.read(CHUNK_BYTES):
                yield chunk
                done += len(chunk)
    except _DAMAGE as error:
        raise _damaged(path, f"byte {done}", error) from None


def lines(path: Path) -> Iterator[bytes]:
    """The lines of a file. Raises ``DecodeError`` where it is damaged."""
    number = 0
    try:
        with opened(path) as file:
            for number, line in enumerate(file, start=1):  # noqa: B007
                yield line
    except _DAMAGE as error:
        raise _damaged(path, f"line {number}", error) from None


def first_line(path: Path) -> bytes:
    """Empty where the file is. Raises ``DecodeError`` where it is damaged."""
    try:
        with opened(path) as file:
            return file.readline(FIRST_LINE_MAX)
    except _DAMAGE as error:
        raise _damaged(path, "line 0", error) from None


def _damaged(path: Path, place: str, error: Exception) -> Exception:
    if isinstance(error, OSError) and error.errno is not None:
        return error  # of the disk, not of what is on it
    return DecodeError(f"{path}: damaged after {place} ({error}); fetch the file again")
