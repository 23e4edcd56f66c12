"""UTC offsets of time zones as plain tables, so that a decision never asks the operating system."""

from datetime import datetime
from functools import lru_cache
from zoneinfo import ZoneInfo

FIRST_S = 946_684_800  # 2000-01-01
LAST_S = 2_208_988_800  # 2040-01-01
_DAY_S = 86_400


@lru_cache(maxsize=1024)
def offset_table(name: str) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """(UTC second from which it holds, offset in seconds) of every offset between 2000 and 2040, ascending.

    Before the first and after the last change the nearest offset holds. An unknown zone raises ``KeyError``.
    """
    zone = ZoneInfo(name)

    def offset_s(at_s: int) -> int:
        offset = datetime.fromtimestamp(at_s, zone).utcoffset()
        return 0 if offset is None else round(offset.total_seconds())

    starts, offsets = [FIRST_S], [offset_s(FIRST_S)]
    for day_s in range(FIRST_S + _DAY_S, LAST_S, _DAY_S):
        if offset_s(day_s) == offsets[-1]:
            continue
        before, after = day_s - _DAY_S, day_s
        while after - before > 1:
            middle = (before + after) // 2
            if offset_s(middle) == offsets[-1]:
                before = middle
            else:
                after = middle
        starts.append(after)
        offsets.append(offset_s(after))
    return tuple(starts), tuple(offsets)
