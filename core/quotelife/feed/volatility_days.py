"""A volatility index by day: rows of ``DATE,OPEN,HIGH,LOW,CLOSE`` as Cboe publishes the VIX.

Of a day two levels are known in time: the open at 09:30 and the close at 16:15 New York, when the index is last
computed. The high and the low are known only afterwards and are not used.
"""

from collections.abc import Iterator
from datetime import datetime
from typing import NamedTuple
from zoneinfo import ZoneInfo

from quotelife.errors import DecodeError
from quotelife.units import NS_PER_S

COLUMNS = ("DATE", "OPEN", "CLOSE")
OPEN_S = 9 * 3600 + 30 * 60
CLOSE_S = 16 * 3600 + 15 * 60
TTL_NS = 5 * 86_400 * NS_PER_S  # over a long weekend
_ZONE = ZoneInfo("America/New_York")


class IndexLevel(NamedTuple):
    """A level and when it was known, ns since 1970."""

    time_ns: int
    level: float


def is_index_days(header: bytes) -> bool:
    """Whether a file's first line has the columns."""
    return all(name in _columns(header) for name in COLUMNS)


def _columns(header: bytes) -> list[str]:
    return [name.strip().upper() for name in header.decode("utf-8", "replace").lstrip("\ufeff").split(",")]


def index_levels(lines: Iterator[bytes]) -> Iterator[IndexLevel]:
    """Two levels a day, in order. Raises ``DecodeError`` naming row and column."""
    names = _columns(next(lines, b""))
    missing = [name for name in COLUMNS if name not in names]
    if missing:
        raise DecodeError(f"row 1: no column {missing[0]}; expected DATE,OPEN,HIGH,LOW,CLOSE")
    latest = 0
    for row, line in enumerate(lines, start=2):
        fields = line.decode("utf-8", "replace").strip().split(",")
        if fields == [""]:
            continue
        if len(fields) != len(names):
            raise DecodeError(f"row {row}: {len(fields)} fields, {len(names)} in the first line")
        by_name = dict(zip(names, fields, strict=True))
        day = _day(by_name["DATE"], row)
        for column, seconds in (("OPEN", OPEN_S), ("CLOSE", CLOSE_S)):
            try:
                level = float(by_name[column])
            except ValueError:
                level = -1.0
            if not 0 < level < 1e4:
                raise DecodeError(f"row {row}: {column} must be a level above 0, found {by_name[column]!r}")
            moment = day.replace(hour=seconds // 3600, minute=seconds // 60 % 60)
            t = int(moment.timestamp()) * NS_PER_S
            if t <= latest:
                raise DecodeError(
                    f"row {row}: DATE {by_name['DATE']} is not after the one before; sort the file"
                )
            latest = t
            yield IndexLevel(t, level)


def _day(text: str, row: int) -> datetime:
    for form in ("%Y-%m-%d", "%m/%d/%Y"):
        try:
            return datetime.strptime(text.strip(), form).replace(tzinfo=_ZONE)
        except ValueError:
            continue
    raise DecodeError(f"row {row}: DATE must be YYYY-MM-DD or MM/DD/YYYY, found {text!r}")
