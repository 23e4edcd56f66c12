"""FX ticks: rows of ``ms since midnight,bid,ask``, best prices without sizes. One QUOTE a row, flagged NO_SIZE.

The day is not in the rows; times are UTC. A row whose bid is not below its ask is passed on as it is: the book is
CROSSED until the next one.
"""

import re
from datetime import UTC, datetime
from decimal import Decimal
from typing import NamedTuple

from quotelife.errors import DecodeError
from quotelife.feed.grid import Grid
from quotelife.records import EventBuffer, EventFlags, EventKindCode
from quotelife.units import NS_PER_MS, NS_PER_S

DAY_NS = 86_400 * NS_PER_S
_ROW = re.compile(rb"(\d{1,8}(?:\.\d{1,6})?),([\d.]+),([\d.]+)")
_DAY = re.compile(r"(?<!\d)((?:19|20)\d{2})-?([01]\d)-?([0-3]\d)(?!\d)")


class FxTick(NamedTuple):
    """One row: ns since midnight, prices as written."""

    since_midnight_ns: int
    bid: str
    ask: str


def parse_tick(line: bytes) -> FxTick:
    """Raises ``ValueError`` saying what is wrong with the row."""
    match = _ROW.fullmatch(line.strip())
    if match is None:
        raise ValueError(f"expected 'ms since midnight,bid,ask', found {line[:60]!r}")
    whole, _, fraction = match[1].partition(b".")
    since_ns = int(whole) * NS_PER_MS + int(fraction.ljust(6, b"0"))
    if since_ns >= DAY_NS:
        raise ValueError(f"the time lies beyond the day, found {match[1].decode()} ms")
    return FxTick(since_ns, match[2].decode(), match[3].decode())


def is_tick(line: bytes) -> bool:
    """Whether a file's first line is one of these."""
    try:
        parse_tick(line)
    except ValueError:
        return False
    return True


def midnight_of(text: str) -> int | None:
    """Midnight UTC, ns since 1970, of the first day in a text (20140507 or 2014-05-07); ``None``: there is none."""
    for match in _DAY.finditer(text):
        try:
            return int(datetime(*map(int, match.groups()), tzinfo=UTC).timestamp()) * NS_PER_S  # type: ignore[misc, arg-type]
        except ValueError:
            continue
    return None


class FxTickDecoder:
    """Rows in, QUOTEs of one instrument out. No I/O.

    Raises ``DecodeError`` on a row that does not follow the format or whose price is not on the grid; nothing of such
    a row reaches the buffer.
    """

    def __init__(self, buffer: EventBuffer, *, instrument: int, tick_size: Decimal, midnight_ns: int) -> None:
        self._buffer = buffer
        self._instrument = instrument
        self._ticks = Grid(tick_size, "tick_size")
        self._midnight_ns = midnight_ns
        self._row = 0

    def message(self, line: bytes) -> int:
        """Decode one row; returns its time in ns since 1970."""
        self._row += 1
        try:
            tick = parse_tick(line)
            bid, ask = self._ticks(tick.bid), self._ticks(tick.ask)
            if bid <= 0 or ask <= 0:
                raise ValueError(f"prices must be above 0, found {tick.bid} and {tick.ask}")
        except ValueError as error:
            raise DecodeError(f"row {self._row}: {error}") from None
        t = self._midnight_ns + tick.since_midnight_ns
        self._buffer.append(
            EventKindCode.QUOTE, instrument=self._instrument, receive_ns=t, exchange_ns=t, sequence=self._row,
            price_ticks=bid, size_lots=1, order_id=ask, aux=1, flags=EventFlags.LAST | EventFlags.NO_SIZE,
        )  # fmt: skip
        return t
