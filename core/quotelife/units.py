"""Units. Time is int64 nanoseconds, prices int64 ticks, sizes int64 lots."""

import re
from decimal import Decimal

NS_PER_US = 1_000
NS_PER_MS = 1_000_000
NS_PER_S = 1_000_000_000

_DURATION = re.compile(r"\s*([0-9]+(?:\.[0-9]+)?)\s*(ns|us|ms|s|m|min|h|d)\s*")
_UNIT_NS = {
    "ns": 1,
    "us": NS_PER_US,
    "ms": NS_PER_MS,
    "s": NS_PER_S,
    "m": 60 * NS_PER_S,
    "min": 60 * NS_PER_S,
    "h": 3600 * NS_PER_S,
    "d": 86_400 * NS_PER_S,
}


def since_1970_ns(count: int | Decimal, unit_ns: int) -> int:
    """``count`` units since 1970, in ns. Raises ``ValueError`` before 1970 and beyond 2262, where 64 bits end."""
    value = count * unit_ns
    if not 0 <= value < 2**63:
        raise ValueError(f"a time before 1970 or beyond the year 2262: {count}")
    return int(value)


def parse_duration_ns(text: str) -> int:
    """``"150ms"`` → 150_000_000. Units: ns, us, ms, s, m (or min), h, d.

    Raises ``ValueError`` when the text is no duration or not a whole number of nanoseconds.
    """
    match = _DURATION.fullmatch(text)
    if match is None:
        raise ValueError(
            f"{text!r} is not a duration; write a number with ns, us, ms, s, m, h or d, such as 150ms"
        )
    value = Decimal(match[1]) * _UNIT_NS[match[2]]
    if value != int(value):
        raise ValueError(f"{text!r} is not a whole number of nanoseconds")
    if value >= 2**63:
        raise ValueError(f"{text!r} is too long")
    return int(value)


def format_duration_ns(value: int) -> str:
    """The shortest exact form: 150_000_000 → ``"150ms"``."""
    for unit in ("h", "min", "s", "ms", "us"):
        if value and value % _UNIT_NS[unit] == 0:
            return f"{value // _UNIT_NS[unit]}{unit}"
    return f"{value}ns"
