"""docs/journal.md says of the format what the code has."""

import re
from pathlib import Path

import pytest

from quotelife.journal.format import FORMAT_VERSION, SEGMENT_HEADER_BYTES, Kind, pack_record
from quotelife.records import (
    DECISION_DTYPE,
    LABEL_DTYPE,
    REQUEST_DTYPE,
    SHADOW_DTYPE,
    SIGNAL_DTYPE,
    WATCH_DTYPE,
)
from quotelife_server.settings import JournalSettings

DOCUMENT = (Path(__file__).parents[2] / "docs/journal.md").read_text()


@pytest.mark.parametrize(
    ("words", "value"),
    [
        (r"(\d+) bytes `DECISION_DTYPE`", DECISION_DTYPE.itemsize),
        (r"(\d+) bytes `REQUEST_DTYPE`", REQUEST_DTYPE.itemsize),
        (r"(\d+) bytes, `SIGNAL_DTYPE`", SIGNAL_DTYPE.itemsize),
        (r"(\d+) bytes, `SHADOW_DTYPE`", SHADOW_DTYPE.itemsize),
        (r"(\d+) bytes, `LABEL_DTYPE`", LABEL_DTYPE.itemsize),
        (r"(\d+) bytes, `WATCH_DTYPE`", WATCH_DTYPE.itemsize),
        (r"format version \((\d+)\)", FORMAT_VERSION),
        (r"a header of (\d+) bytes and records", SEGMENT_HEADER_BYTES),
        (r"\| (\d+) \| \| payload", len(pack_record(Kind.GAP, 1, 0, 0, 0, b""))),
        (r"closed at `segment_bytes` \((\d+) MiB\)", JournalSettings().segment_bytes >> 20),
    ],
)
def test_a_size_in_the_document_is_the_code_s(words: str, value: int) -> None:
    assert re.findall(words, DOCUMENT) == [str(value)]
