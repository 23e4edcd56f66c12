"""LOBSTER files (message and orderbook CSV, alone or inside a zip) to order-level events.

A message file names every order by id, but it begins in the middle of the day and holds only what happened inside
the recorded window of prices. Two things follow. The orders that rest at the start are known by their level alone:
such a level stands as one anonymous order (a negative id), and records of ids that were never seen are taken from
it. And levels enter the bottom of the window, and leave it, without a message: they are taken from the orderbook
file, row by row, as records flagged ``SNAPSHOT``, which are state, not order flow. After each message the book is
the row of the orderbook file. Without rows (``message(line)``) the book runs free, which is right as long as nothing
happens outside the window.

Format: https://lobsterdata.com/info/DataStructure.php. Times count from midnight in New York, prices are dollars
times 10,000, the direction is that of the resting order.
"""

import re
import zipfile
from collections.abc import Iterator
from contextlib import ExitStack
from datetime import datetime
from decimal import Decimal
from itertools import zip_longest
from pathlib import Path
from typing import NamedTuple
from zoneinfo import ZoneInfo

from quotelife.errors import DecodeError
from quotelife.records import EventBuffer, EventFlags, EventKindCode, SideCode, StatusKind
from quotelife.units import NS_PER_S

PRICE_SCALE = 10_000
ABSENT = 9_999_999_999  # price of a level that is not there, on either side with its sign
SIZE_MAX = 2**31
DAY_S = 86_400
_NAME = re.compile(r"([A-Za-z0-9.]+)_(\d{4}-\d{2}-\d{2})_.*message.*\.csv")
_STATUS = {-1: StatusKind.HALT, 0: StatusKind.AUCTION, 1: StatusKind.TRADING}

Row = tuple[dict[int, int], dict[int, int]]
"""Sizes by price, bids and asks, in ticks and lots."""


class LobsterMessage(NamedTuple):
    """One row of a message file, prices and sizes as written."""

    since_midnight_ns: int
    kind: int
    order_id: int
    size: int
    price: int
    direction: int


class LobsterFiles(NamedTuple):
    """A recording: one zip that holds both files, or the two by themselves."""

    path: Path
    message: str
    book: str
    symbol: str
    midnight_ns: int

    @classmethod
    def find(cls, path: Path) -> "LobsterFiles":
        """From a zip, or from a message file with its orderbook file beside it.

        Raises ``DecodeError`` when one is missing, or no name says which day it is.
        """
        if zipfile.is_zipfile(path):
            with zipfile.ZipFile(path) as archive:
                names = archive.namelist()
        else:
            names = [path.name]
        message, match = next(((n, m) for n in names if (m := _NAME.fullmatch(n))), (None, None))
        if message is None or match is None:
            raise DecodeError(f"{path}: expected a LOBSTER recording: SYMBOL_YYYY-MM-DD_…_message_N.csv")
        book = message.replace("_message_", "_orderbook_")
        if book not in names and not (path.parent / book).is_file():
            raise DecodeError(f"{path}: {book} is missing; the book cannot be started without its first row")
        try:
            return cls(path, message, book, match[1], midnight_of(match[2]))
        except ValueError as error:
            raise DecodeError(f"{path}: {message}: {error}") from None

    def lines(self) -> Iterator[tuple[bytes, bytes]]:
        """(message row, orderbook row) in order. Raises ``DecodeError`` where one file ends before the other."""
        with ExitStack() as stack:
            if zipfile.is_zipfile(self.path):
                archive = stack.enter_context(zipfile.ZipFile(self.path))
                message, book = (stack.enter_context(archive.open(n)) for n in (self.message, self.book))
            else:
                message, book = (
                    stack.enter_context((self.path.parent / n).open("rb")) for n in (self.message, self.book)
                )
            for row, (line, levels) in enumerate(zip_longest(message, book), start=1):
                if line is None or levels is None:
                    name = self.message if line is None else self.book
                    raise DecodeError(f"{self.path}: {name} ends before row {row}")
                yield line, levels


def midnight_of(day: str) -> int:
    """Midnight in New York on that day (YYYY-MM-DD), ns since 1970. Raises ``ValueError`` when there is none."""
    moment = datetime.strptime(day, "%Y-%m-%d").replace(tzinfo=ZoneInfo("America/New_York"))
    return int(moment.timestamp()) * NS_PER_S


def parse_message(line: bytes) -> LobsterMessage:
    """Raises ``ValueError`` saying what is wrong with the row."""
    fields = line.strip().split(b",")
    if len(fields) != 6:
        raise ValueError(f"expected time,type,id,size,price,direction, found {line[:60]!r}")
    seconds, _, fraction = fields[0].partition(b".")
    if not seconds.isdigit() or not (fraction.isdigit() or not fraction):
        raise ValueError(f"time must be seconds after midnight, found {fields[0][:30]!r}")
    # Digits beyond the ns are the writer's floating point.
    since_ns = int(seconds) * NS_PER_S + int(fraction[:9].ljust(9, b"0"))
    if since_ns >= DAY_S * NS_PER_S:
        raise ValueError(f"time lies beyond the day, found {fields[0][:30]!r}")
    kind, order_id, size, price, direction = map(int, fields[1:])
    if direction not in (-1, 1):
        raise ValueError(f"direction must be 1 or -1, found {direction}")
    if not 1 <= kind <= 7:
        raise ValueError(f"type must be 1 to 7, found {kind}")
    if kind < 6 and not (0 < size < SIZE_MAX and 0 <= order_id < 2**62 and 0 < price < ABSENT):
        raise ValueError(f"id, size and price must be above 0, found {line[:60]!r}")
    return LobsterMessage(since_ns, kind, order_id, size, price, direction)


def parse_book(line: bytes) -> tuple[dict[int, int], dict[int, int]]:
    """(bids, asks), sizes by price as written, best first. Raises ``ValueError`` saying what is wrong with the row."""
    fields = [int(field) for field in line.strip().rstrip(b",").split(b",")]
    if not fields or len(fields) % 4:
        raise ValueError(
            f"expected ask price, ask size, bid price, bid size a level, found {len(fields)} fields"
        )
    asks = dict(zip(fields[0::4], fields[1::4], strict=True))
    bids = dict(zip(fields[2::4], fields[3::4], strict=True))
    asks.pop(ABSENT, None)
    bids.pop(-ABSENT, None)
    for levels in (asks, bids):
        for price, size in levels.items():
            if not (0 < price < ABSENT and 0 < size < SIZE_MAX):
                raise ValueError(f"a level at {price} of {size}: price and size must be above 0")
    return bids, asks


class _Side:
    """What rests on one side: sizes by level, and whose they are."""

    def __init__(self) -> None:
        self.lots: dict[int, int] = {}
        self.anonymous: dict[int, int] = {}
        self.ids: dict[int, set[int]] = {}


class LobsterDecoder:
    """Rows in, events of one instrument out. No I/O: see ``LobsterFiles`` for the files.

    The first row starts the book, so its orderbook row is needed; whether later rows have theirs decides whether the
    book follows them. Raises ``DecodeError`` on a row that does not follow the format, or whose price or size is not
    on the instrument's grid; nothing of such a row reaches the buffer.
    """

    def __init__(
        self,
        buffer: EventBuffer,
        *,
        instrument: int,
        tick_size: Decimal,
        lot_size: Decimal,
        midnight_ns: int,
    ) -> None:
        self._buffer = buffer
        self._instrument = instrument
        self._tick = tick_size * PRICE_SCALE
        if self._tick != int(self._tick) or lot_size != int(lot_size):
            raise DecodeError("LOBSTER needs a tick_size of at least 0.0001 and a lot_size of whole shares")
        self._units = int(self._tick)
        self._shares = int(lot_size)
        self._midnight_ns = midnight_ns
        self._row = 0
        self._sides = {SideCode.BID: _Side(), SideCode.ASK: _Side()}
        self._orders: dict[int, tuple[SideCode, int, int]] = {}  # side, ticks, lots left
        self._out: list[tuple[EventKindCode, dict[str, int]]] = []

    def message(self, line: bytes, book: bytes | None = None) -> int:
        """Decode one row; returns its time in ns since 1970."""
        self._row += 1
        try:
            message = parse_message(line)
            rows = None if book is None else self._levels(book)
            if message.kind in (1, 2, 3, 4):
                self._ticks(message.price)
            if message.kind < 6:
                self._lots(message.size)
            if message.kind == 1 and message.order_id in self._orders:
                raise ValueError(f"order {message.order_id} is there already")
        except ValueError as error:
            raise DecodeError(f"row {self._row}: {error}") from None
        t = self._midnight_ns + message.since_midnight_ns
        if self._row == 1:
            if rows is None:
                raise DecodeError("row 1: the first row of the orderbook file is needed to start the book")
            self._begin(message, rows)
            self._flush(t)
            return t
        self._apply(message)
        if rows is not None and message.kind < 6:
            side = SideCode.BID if message.direction == 1 else SideCode.ASK
            self._follow(side, rows[side - 1])
        self._flush(t)
        return t

    # --- what a row says ---

    def _ticks(self, price: int) -> int:
        if price % self._units:
            raise ValueError(f"price {price} is no multiple of the tick ({self._units})")
        return price // self._units

    def _lots(self, size: int) -> int:
        if size % self._shares:
            raise ValueError(f"size {size} is no multiple of the lot ({self._shares})")
        return size // self._shares

    def _levels(self, book: bytes) -> Row:
        bids, asks = (
            {self._ticks(price): self._lots(size) for price, size in side.items()}
            for side in parse_book(book)
        )
        if bids and asks and max(bids) >= min(asks):
            raise ValueError("the book crosses")
        return bids, asks

    # --- what it does ---

    def _begin(self, message: LobsterMessage, rows: Row) -> None:
        """The book after the first message: its order by id where it added one, all others by level."""
        self._emit(EventKindCode.SNAPSHOT_BEGIN)
        if message.kind == 1:
            self._add(message, flags=EventFlags.SNAPSHOT)
        for side, levels in zip((SideCode.BID, SideCode.ASK), rows, strict=True):
            self._follow(side, levels)
        self._emit(EventKindCode.SNAPSHOT_END)

    def _apply(self, message: LobsterMessage) -> None:
        if message.kind == 1:
            self._add(message)
        elif message.kind in (2, 3, 4):
            self._reduce(message)
        elif message.kind == 5:
            # Hidden orders may rest between two ticks.
            self._emit(
                EventKindCode.TRADE,
                side=SideCode.ASK if message.direction == 1 else SideCode.BID,
                price_ticks=(message.price + self._units // 2) // self._units,
                size_lots=self._lots(message.size),
            )
        elif message.kind == 7:
            self._emit(EventKindCode.STATUS, aux=_STATUS.get(message.price, StatusKind.HEARTBEAT))
        else:
            self._emit(EventKindCode.STATUS, aux=StatusKind.HEARTBEAT)  # a cross: not of this book

    def _add(self, message: LobsterMessage, flags: int = 0) -> None:
        side = SideCode.BID if message.direction == 1 else SideCode.ASK
        ticks, lots = self._ticks(message.price), self._lots(message.size)
        levels = self._sides[side]
        self._orders[message.order_id] = (side, ticks, lots)
        levels.ids.setdefault(ticks, set()).add(message.order_id)
        levels.lots[ticks] = levels.lots.get(ticks, 0) + lots
        self._emit(
            EventKindCode.ADD, side=side, price_ticks=ticks, size_lots=lots, order_id=message.order_id,
            flags=flags,
        )  # fmt: skip

    def _reduce(self, message: LobsterMessage) -> None:
        """A cancel or an execution, of an order of the recording or of one from before it."""
        side = SideCode.BID if message.direction == 1 else SideCode.ASK
        ticks, lots = self._ticks(message.price), self._lots(message.size)
        order_id = message.order_id
        known = self._orders.get(order_id)
        if known is not None:
            side, ticks, left = known
            self._take(side, ticks, min(lots, left))
            if lots < left:
                self._orders[order_id] = (side, ticks, left - lots)
            else:
                self._forget(order_id)
        else:
            order_id = anonymous_id(side, ticks)
            anonymous = self._sides[side].anonymous
            taken = min(lots, anonymous.get(ticks, 0))
            if taken:
                self._take(side, ticks, taken)
                anonymous[ticks] -= taken
                if not anonymous[ticks]:
                    del anonymous[ticks]
        self._emit(
            EventKindCode.EXECUTE if message.kind == 4 else EventKindCode.CANCEL,
            side=side, price_ticks=ticks, size_lots=lots, order_id=order_id,
        )  # fmt: skip

    def _take(self, side: SideCode, ticks: int, lots: int) -> None:
        levels = self._sides[side].lots
        levels[ticks] -= lots
        if not levels[ticks]:
            del levels[ticks]

    def _forget(self, order_id: int) -> None:
        side, ticks, _ = self._orders.pop(order_id)
        ids = self._sides[side].ids
        ids[ticks].discard(order_id)
        if not ids[ticks]:
            del ids[ticks]

    def _follow(self, side: SideCode, row: dict[int, int]) -> None:
        """Bring one side to what its row says, in records that are no order flow."""
        levels = self._sides[side]
        if levels.lots == row:
            return
        for ticks in [ticks for ticks in levels.lots if row.get(ticks, 0) < levels.lots[ticks]]:
            excess = levels.lots[ticks] - row.get(ticks, 0)
            if excess > levels.anonymous.get(ticks, 0):
                # Gone from the window: what happens to these orders out there is not told.
                for order_id in sorted(levels.ids.get(ticks, ())):
                    self._state(EventKindCode.CANCEL, side, ticks, 0, order_id)
                    self._take(side, ticks, self._orders[order_id][2])
                    self._forget(order_id)
                excess = levels.lots.get(ticks, 0) - row.get(ticks, 0)
            if excess > 0:
                self._state(EventKindCode.CANCEL, side, ticks, excess, anonymous_id(side, ticks))
                self._take(side, ticks, excess)
                levels.anonymous[ticks] -= excess
                if not levels.anonymous[ticks]:
                    del levels.anonymous[ticks]
        for ticks, lots in row.items():
            more = lots - levels.lots.get(ticks, 0)
            if more:
                before = levels.anonymous.get(ticks, 0)
                kind = EventKindCode.MODIFY if before else EventKindCode.ADD
                self._state(kind, side, ticks, before + more, anonymous_id(side, ticks))
                levels.anonymous[ticks] = before + more
                levels.lots[ticks] = lots

    # --- events ---

    def _state(self, kind: EventKindCode, side: SideCode, ticks: int, lots: int, order_id: int) -> None:
        self._emit(
            kind, side=side, price_ticks=ticks, size_lots=lots, order_id=order_id, flags=EventFlags.SNAPSHOT
        )

    def _emit(self, kind: EventKindCode, **fields: int) -> None:
        self._out.append((kind, fields))

    def _flush(self, t: int) -> None:
        """One venue message: all its records, the last one flagged."""
        self._out[-1][1]["flags"] = self._out[-1][1].get("flags", 0) | EventFlags.LAST
        for kind, fields in self._out:
            self._buffer.append(
                kind, instrument=self._instrument, receive_ns=t, exchange_ns=t, sequence=self._row, **fields
            )
        self._out.clear()


def anonymous_id(side: SideCode, ticks: int) -> int:
    """The id of whatever rests at a level and was there before the recording; negative, unlike those of orders."""
    return -(2 * ticks + (side == SideCode.ASK))
