"""Captures on disk: stamps, order, snapshots, damage."""

import gzip
import json

import pytest
import zstandard

from quotelife.errors import DecodeError
from quotelife.feed.recorded import RecordedMessage, merge_recorded, read_lines, stamp_to_ns

STREAM = b'{"stream":"x@depth","data":{}}'
SNAPSHOT = b'{"lastUpdateId": 5, "bids": [], "asks": []}'


@pytest.mark.parametrize(
    ("stamp", "ns"),
    [
        (1_723_161_255_319_702_566, 1_723_161_255_319_702_566),
        (1_680_652_700_599_351, 1_680_652_700_599_351_000),
        (1_680_652_700_599, 1_680_652_700_599_000_000),
    ],
    ids=["ns", "us", "ms"],
)
def test_the_unit_of_a_stamp_is_told_by_its_magnitude(stamp, ns):
    assert stamp_to_ns(stamp) == ns


@pytest.mark.parametrize("name", ["capture.gz", "capture.dat.gz", "capture.txt"])
def test_gzipped_and_plain_files_read_alike(tmp_path, name):
    path = tmp_path / name
    text = b"1700000000000000 " + STREAM + b"\r\n1700000000000001 " + SNAPSHOT + b"\n"
    path.write_bytes(gzip.compress(text) if name.endswith(".gz") else text)
    assert list(read_lines(path, 4)) == [
        RecordedMessage(1_700_000_000_000_000_000, 4, STREAM, False),
        RecordedMessage(1_700_000_000_000_001_000, 4, SNAPSHOT, True),
    ]


def test_a_streamed_last_update_id_is_no_snapshot(tmp_path):
    path = tmp_path / "a"
    path.write_bytes(b'1 {"stream":"x@depth20","data":{"lastUpdateId":1}}\n')
    assert [message.is_snapshot for message in read_lines(path)] == [False]


def test_files_are_merged_by_stamp_and_each_keeps_its_order(tmp_path):
    """A stamp that steps back stays where it was recorded."""
    stamps = {"a": (10, 30, 20, 50), "b": (15, 30, 40)}
    paths = []
    for name, values in stamps.items():
        paths.append(tmp_path / name)
        paths[-1].write_bytes(b"".join(b"1700000000000000%03d {}\n" % value for value in values))
    merged = [(message.file, message.receive_ns % 1000) for message in merge_recorded(paths)]
    assert merged == [(0, 10), (1, 15), (0, 30), (0, 20), (1, 30), (1, 40), (0, 50)]


@pytest.mark.parametrize("line", [b"{}", b"12", b"x {}", b"", b"-5 {}"])
def test_a_bad_line_is_named(tmp_path, line):
    path = tmp_path / "bad"
    path.write_bytes(b"1 {}\n" + line + b"\n")
    with pytest.raises(DecodeError, match=r"bad:2: "):
        list(read_lines(path))


def test_a_file_cut_short_is_named(tmp_path):
    path = tmp_path / "cut.gz"
    path.write_bytes(gzip.compress(b"1 {}\n" * 1000)[:-9])
    with pytest.raises(DecodeError, match=r"cut\.gz: damaged"):
        list(read_lines(path))


def test_a_file_that_is_no_gzip_is_named(tmp_path):
    path = tmp_path / "plain.gz"
    path.write_bytes(b"1 {}\n")
    with pytest.raises(DecodeError, match=r"plain\.gz: damaged after line 0"):
        list(read_lines(path))


ROWS = [
    {"t": "header", "format": 2},
    {"t": "send", "ts": 1.5, "data": "x"},
    {"t": "recv", "ts": 1626993724.318123, "data": '{"a":"ä"}'},
]


@pytest.mark.parametrize("name", ["s.jsonl", "s.jsonl.zst", "s.jsonl.gz"])
def test_a_session_gives_what_was_received_with_its_exact_stamp(tmp_path, name):
    text = b"".join(json.dumps(row).encode() + b"\n" for row in ROWS)
    path = tmp_path / name
    pack = {".zst": zstandard.compress, ".gz": gzip.compress}.get(path.suffix, bytes)
    path.write_bytes(pack(text))
    (message,) = read_lines(path, 2)
    assert message == RecordedMessage(1_626_993_724_318_123_000, 2, '{"a":"ä"}'.encode(), False)


@pytest.mark.parametrize("line", ["{}", "[]", "x", '{"t":"recv","ts":"1","data":"x"}', '{"t":"recv","ts":1}'])
def test_a_line_that_is_none_of_a_session_is_named(tmp_path, line):
    path = tmp_path / "bad.jsonl"
    path.write_text(json.dumps(ROWS[0]) + "\n" + line + "\n")
    with pytest.raises(DecodeError, match=r"bad.jsonl:2: "):
        list(read_lines(path))


def test_a_session_cut_short_is_named(tmp_path):
    path = tmp_path / "cut.jsonl.zst"
    packed = zstandard.ZstdCompressor().compress(json.dumps(ROWS[2]).encode() + b"\n")
    path.write_bytes(packed[: len(packed) // 2])
    with pytest.raises(DecodeError, match="cut"):
        list(read_lines(path))
