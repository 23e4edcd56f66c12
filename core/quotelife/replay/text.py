"""Text files, plain or compressed, line by line; errors name file and line."""

import bz2
import gzip
import io
import lzma
import zipfile
import zlib
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import IO, cast

import zstandard

from quotelife.errors import DecodeError

FIRST_LINE_MAX = 1 << 16
COMPRESSED = (".gz", ".xz", ".bz2", ".zst", ".zip")
_DAMAGE = (EOFError, OSError, zlib.error, lzma.LZMAError, zipfile.BadZipFile, zstandard.ZstdError)


def lines(path: Path) -> Iterator[bytes]:
    """The lines of a file; of a zip those of its only member. Raises ``DecodeError`` where it is damaged."""
    number = 0
    with ExitStack() as stack:
        try:
            for number, line in enumerate(stack.enter_context(opened(path)), start=1):  # noqa: B007
                yield line
        except _DAMAGE as error:
            raise DecodeError(
                f"{path}: damaged after line {number} ({error}); fetch the file again"
            ) from None


def opened(path: Path) -> IO[bytes]:
    """The decompressed bytes of a file."""
    if path.suffix == ".zip":
        archive = zipfile.ZipFile(path)
        names = [name for name in archive.namelist() if not name.endswith("/")]
        if len(names) != 1:
            raise DecodeError(f"{path}: holds {len(names)} files; unpack it and name one")
        return archive.open(names[0])
    if path.suffix == ".zst":
        stream = zstandard.ZstdDecompressor().stream_reader(
            path.open("rb"), closefd=True, read_across_frames=True
        )
        return cast(IO[bytes], io.BufferedReader(cast(io.RawIOBase, stream)))
    if path.suffix == ".gz":
        return cast(IO[bytes], gzip.open(path, "rb"))
    if path.suffix == ".xz":
        return cast(IO[bytes], lzma.open(path, "rb"))
    return cast(IO[bytes], bz2.open(path, "rb") if path.suffix == ".bz2" else path.open("rb"))


def first_line(path: Path) -> bytes:
    """Empty where the file cannot be read."""
    try:
        with opened(path) as file:
            return file.readline(FIRST_LINE_MAX)
    except (DecodeError, *_DAMAGE):
        return b""


def stem(path: Path) -> str:
    """The name without its endings: eurusd_20140507_quote of eurusd_20140507_quote.csv.gz."""
    name = path.name
    while name.endswith((*COMPRESSED, ".csv", ".txt", ".log", ".json", ".jsonl")):
        name = name.rpartition(".")[0]
    return name
