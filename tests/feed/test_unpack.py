"""Recorded files, plain and compressed: the same lines, and what is cut short is never taken for whole."""

import bz2
import gzip
import lzma
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest
import zstandard

from quotelife.errors import DecodeError
from quotelife.feed.unpack import chunks, first_line, lines

TEXT = b"".join(b"%d,line %d\n" % (i * i, i) for i in range(20_000))
PACKERS: dict[str, Callable[[bytes], bytes]] = {
    ".gz": gzip.compress,
    ".xz": lzma.compress,
    ".bz2": bz2.compress,
    ".zst": zstandard.compress,
}


@pytest.mark.parametrize("suffix", ["", *PACKERS])
def test_lines_and_pieces_are_those_of_the_plain_text(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"a.csv{suffix}"
    path.write_bytes(PACKERS[suffix](TEXT) if suffix else TEXT)
    assert b"".join(lines(path)) == b"".join(chunks(path)) == TEXT
    assert first_line(path) == b"0,line 0\n"


@pytest.mark.parametrize("suffix", PACKERS)
def test_a_file_cut_short_anywhere_is_damaged(tmp_path: Path, suffix: str) -> None:
    """Also where what is left unpacks to whole lines."""
    whole = PACKERS[suffix](TEXT)
    path = tmp_path / f"a.csv{suffix}"
    for size in (1, 10, len(whole) // 3, len(whole) - 5, len(whole) - 1):
        path.write_bytes(whole[:size])
        for read in (lines, chunks):
            with pytest.raises(DecodeError, match=r"a\.csv\.\w+: damaged after .* fetch the file again"):
                for _ in read(path):
                    pass


def test_zstd_frames_one_after_the_other(tmp_path: Path) -> None:
    """Frames of every size, an empty one and one cut off at a frame's end among them: the text of all."""
    pieces = [TEXT[:10], b"", TEXT[10:5000], TEXT[5000:]]
    path = tmp_path / "a.zst"
    path.write_bytes(b"".join(map(zstandard.compress, pieces)))
    assert b"".join(lines(path)) == TEXT
    path.write_bytes(b"".join(map(zstandard.compress, pieces[:3])) + zstandard.compress(pieces[3])[:3])
    with pytest.raises(DecodeError, match="cut short"):
        list(lines(path))


def test_what_unpacks_to_far_more_is_read_in_pieces(tmp_path: Path) -> None:
    """64 MB of zeros in 2 kB: no piece is larger than asked for."""
    path = tmp_path / "zeros.zst"
    path.write_bytes(zstandard.compress(bytes(1 << 26)))
    assert {len(chunk) for chunk in chunks(path)} == {1 << 20}


def test_a_zip_has_one_member(tmp_path: Path) -> None:
    path = tmp_path / "a.zip"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("a.csv", TEXT)
    assert b"".join(lines(path)) == TEXT
    path.write_bytes(path.read_bytes()[:1000])
    with pytest.raises(DecodeError, match="damaged after line 0"):
        list(lines(path))
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("a.csv", TEXT)
        archive.writestr("b.csv", TEXT)
    with pytest.raises(DecodeError, match="holds 2 files"):
        first_line(path)


def test_what_the_disk_says_is_no_damage(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        list(lines(tmp_path / "none"))
