"""Files of headlines, and the volatility index by day."""

from datetime import UTC, datetime

import pytest

from quotelife.errors import DecodeError
from quotelife.feed.headlines import parse_headlines, parse_time
from quotelife.feed.volatility_days import index_levels

S = 1_000_000_000


@pytest.mark.parametrize(
    ("value", "ns"),
    [
        (1_700_000_000, 1_700_000_000 * S), (1_700_000_000_000, 1_700_000_000 * S),
        (1_700_000_000_000_000, 1_700_000_000 * S), (1_700_000_000_000_000_001, 1_700_000_000 * S + 1),
        ("2023-11-14T22:13:20.000001+00:00", 1_700_000_000 * S + 1000), (None, None),
    ],
)  # fmt: skip
def test_times(value: object, ns: int | None) -> None:
    assert parse_time(value) == ns


@pytest.mark.parametrize("value", ["2023-11-14T22:13:20", 0, -5, True, 1.5, 2**63, []])
def test_what_is_no_time(value: object) -> None:
    with pytest.raises(ValueError, match="time"):
        parse_time(value)


def test_a_list_and_lines_are_the_same() -> None:
    assert parse_headlines(b'[{"title": "a"}, {"headline": "b", "score": 1}]') == parse_headlines(
        b'{"title": "a"}\n\n{"title": "b", "sentiment": 1.0}\n'
    )
    with pytest.raises(DecodeError, match="entry 2: sentiment"):
        parse_headlines(b'[{"title": "a"}, {"title": "b", "score": 2}]')


def test_the_index_is_known_at_the_open_and_at_the_close_of_new_york() -> None:
    """Summer and winter time."""
    rows = [b"DATE,OPEN,HIGH,LOW,CLOSE", b"2023-07-03,13,14,12,13.5", b"12/01/2023,10,11,9,10.5"]
    told = [
        (datetime.fromtimestamp(t / S, UTC).strftime("%m-%d %H:%M"), x) for t, x in index_levels(iter(rows))
    ]
    assert told == [
        ("07-03 13:30", 13.0), ("07-03 20:15", 13.5), ("12-01 14:30", 10.0), ("12-01 21:15", 10.5),
    ]  # fmt: skip
