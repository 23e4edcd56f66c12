"""ITCH 5.0 files as NASDAQ gives them out: messages with two bytes of length before each.

The file's name says which day it is, as in ``01302020.NASDAQ_ITCH50.gz`` or ``S013020-v50.txt.gz``, or it is given.
"""

import re
from datetime import date, datetime
from pathlib import Path
from typing import NamedTuple
from zoneinfo import ZoneInfo

from quotelife.errors import DecodeError
from quotelife.feed.lobster import midnight_of
from quotelife.units import NS_PER_S

_DAYS = (
    re.compile(r"(?<!\d)(?P<year>\d{4})-?(?P<month>\d{2})-?(?P<day>\d{2})(?!\d)"),
    re.compile(r"(?<!\d)(?P<month>\d{2})-?(?P<day>\d{2})-?(?P<year>\d{4})(?!\d)"),
    re.compile(r"\bS(?P<month>\d{2})(?P<day>\d{2})(?P<year>\d{2})(?!\d)"),
)


class ItchFile(NamedTuple):
    """One day's messages."""

    path: Path
    midnight_ns: int

    @classmethod
    def find(cls, path: Path, day: str | None = None) -> "ItchFile":
        """``day`` (YYYY-MM-DD) stands in for the one in the file's name.

        Raises ``DecodeError`` when neither says which day it is: times count from its midnight in New York.
        """
        named = day_in(path.name)
        if day is None and named is None:
            raise DecodeError(
                f"{path}: its name says no day, as 01302020.NASDAQ_ITCH50.gz or S013020-v50.txt do; "
                "give --date YYYY-MM-DD"
            )
        try:
            return cls(path, midnight_of(day or str(named)))
        except ValueError:
            raise DecodeError(f"{path}: --date {day} is no day; give --date YYYY-MM-DD") from None


def midnight_before(now_ns: int) -> int:
    """Midnight in New York of the day that it is there at ``now_ns``; both ns since 1970."""
    there = datetime.fromtimestamp(now_ns // NS_PER_S, ZoneInfo("America/New_York"))
    return midnight_of(there.date().isoformat())


def is_itch(path: Path) -> bool:
    """Whether the name is one of an ITCH file; a dataset of Databento's has it in its name too."""
    name = path.name.lower()
    return ".dbn" not in name and (".itch" in name or "_itch50" in name or "-v50" in name)


def day_in(name: str) -> date | None:
    """The day that a file's name speaks of."""
    for pattern in _DAYS:
        for match in pattern.finditer(name):
            year = int(match["year"])
            try:
                return date(year if year > 99 else 2000 + year, int(match["month"]), int(match["day"]))
            except ValueError:
                continue
    return None
