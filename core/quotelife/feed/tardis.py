"""CSV files as Tardis writes them: incremental_book_L2, book_snapshot_N, quotes (book_ticker), trades.

Stamps are microseconds since 1970, ``timestamp`` the exchange's and ``local_timestamp`` the receiver's. Rows of one
message have the same ``local_timestamp``. Rows with ``is_snapshot`` after rows without begin the book anew; it is whole
with the first row that is none.
"""

import re
from collections.abc import Callable, Sequence
from decimal import Decimal
from typing import NamedTuple

from quotelife.errors import DecodeError
from quotelife.feed.grid import Grid
from quotelife.feed.level_window import LevelWindow
from quotelife.records import EventBuffer, EventFlags, EventKindCode, SideCode
from quotelife.units import NS_PER_US, since_1970_ns

_COMMON = ("exchange", "symbol", "timestamp", "local_timestamp")
_SCHEMAS = {
    "incremental_book_L2": ("is_snapshot", "side", "price", "amount"),
    "trades": ("id", "side", "price", "amount"),
    "quotes": ("ask_amount", "ask_price", "bid_price", "bid_amount"),
}
_SIDES = ("asks", "bids")
_LEVEL = re.compile(r"(?:asks|bids)\[\d+\]\.(?:price|amount)")
LEVELS_MAX = 64
VENUES = {"binance": "binance-spot", "binance-futures": "binance-usdm", "binance-delivery": "binance-coinm"}


class Schema(NamedTuple):
    """What the columns are; ``place`` by name. ``depth``: levels a side of a book_snapshot."""

    kind: str
    place: dict[str, int]
    depth: int = 0


class TardisRow(NamedTuple):
    """One row, split."""

    symbol: str
    exchange_ns: int
    receive_ns: int
    is_snapshot: bool
    fields: list[str]


def parse_header(line: bytes) -> Schema | None:
    """The schema of a file by its first line; ``None``: none of Tardis'."""
    names = line.decode("utf-8", "replace").lstrip("\ufeff").strip().split(",")
    place = {name: at for at, name in enumerate(names)}
    if not all(name in place for name in _COMMON):
        return None
    if len(place) != len(names):  # a column twice
        return Schema("", place)
    for kind, columns in _SCHEMAS.items():
        if all(name in place for name in columns):
            return Schema(kind, place)
    depth = sum(1 for name in names if _LEVEL.fullmatch(name)) // 4
    if depth and all(
        f"{side}[{k}].{what}" in place
        for side in _SIDES
        for k in range(depth)
        for what in ("price", "amount")
    ):
        return Schema(f"book_snapshot_{depth}", place, depth)
    return Schema("", place)


def _not_below_0(grid: Callable[[str], int], text: str, name: str) -> int:
    number = grid(text)
    if number < 0:
        raise ValueError(f"{name} must not be below 0, found {text}")
    return number


class TardisDecoder:
    """Messages of one instrument in, events out. No I/O.

    Raises ``DecodeError`` on columns that are not known, a row that does not fit them, or a price or size that is not
    on the instrument's grid; nothing of such a message reaches the buffer.
    """

    def __init__(
        self, buffer: EventBuffer, header: bytes, *, instrument: int, tick_size: Decimal, lot_size: Decimal,
        quotes_only: bool = False,
    ) -> None:  # fmt: skip
        schema = parse_header(header)
        if schema is None or not schema.kind or schema.depth > LEVELS_MAX:
            raise DecodeError(
                f"row 1: columns {header[:80].decode('utf-8', 'replace').strip()!r} are none of "
                f"{', '.join(_SCHEMAS)}, book_snapshot_1 to {LEVELS_MAX}"
            )
        self.schema = schema
        self.published: tuple[int, int, int, int] | None = None
        self.unsided = 0
        self._buffer = buffer
        self._instrument = instrument
        self._ticks = Grid(tick_size, "tick_size")
        self._lots = Grid(lot_size, "lot_size")
        self._quotes_only = quotes_only
        self._window = LevelWindow(buffer, schema.depth) if schema.depth else None
        self._in_snapshot = False
        self._begun = False

    def parse(self, line: bytes, row: int) -> TardisRow:
        """Raises ``DecodeError`` saying which row does not fit the columns."""
        fields = line.decode("utf-8", "replace").strip().split(",")
        place = self.schema.place
        if len(fields) != len(place):
            raise DecodeError(f"row {row}: {len(fields)} fields, {len(place)} in the first line")
        stamps = [fields[place[name]] for name in ("timestamp", "local_timestamp")]
        if not all(stamp.isdigit() and len(stamp) <= 19 for stamp in stamps):
            raise DecodeError(f"row {row}: timestamps must be microseconds since 1970, found {stamps}")
        try:
            exchange_ns, receive_ns = (since_1970_ns(int(stamp), NS_PER_US) for stamp in stamps)
        except ValueError as error:
            raise DecodeError(f"row {row}: {error}") from None
        snapshot = fields[place["is_snapshot"]] if "is_snapshot" in place else "false"
        if snapshot not in ("true", "false"):
            raise DecodeError(f"row {row}: is_snapshot must be true or false, found {snapshot!r}")
        return TardisRow(
            fields[place["symbol"]], exchange_ns, receive_ns, snapshot == "true", fields,
        )  # fmt: skip

    def message(self, rows: Sequence[TardisRow], row: int) -> None:
        """The rows of one message, the first of them number ``row`` of the file; ``published`` is what they say of
        the best prices."""
        self.published = None
        try:
            if self.schema.kind == "incremental_book_L2":
                self._increments(rows)
            elif self.schema.kind == "trades":
                self._trades(rows)
            elif self.schema.kind == "quotes":
                self._quote(rows[-1])
            else:
                self._snapshot(rows[-1])
        except ValueError as error:
            raise DecodeError(f"row {row}: {error}") from None

    def end(self) -> bool:
        """The file is at its end: a snapshot that nothing followed is whole now; whether it was one."""
        if not self._in_snapshot:
            return False
        self._in_snapshot = False
        last = self._last
        self._put(EventKindCode.SNAPSHOT_END, last, flags=EventFlags.LAST)
        return True

    def _field(self, row: TardisRow, name: str) -> str:
        return row.fields[self.schema.place[name]]

    def _put(self, kind: EventKindCode, row: TardisRow, **fields: int) -> None:
        self._buffer.append(
            kind, instrument=self._instrument, exchange_ns=row.exchange_ns, receive_ns=row.receive_ns,
            sequence=row.receive_ns, **fields,
        )  # fmt: skip

    def _increments(self, rows: Sequence[TardisRow]) -> None:
        changes = []
        for row in rows:
            side = {"bid": SideCode.BID, "ask": SideCode.ASK}.get(self._field(row, "side"))
            if side is None:
                raise ValueError(f"side must be bid or ask, found {self._field(row, 'side')!r}")
            ticks = _not_below_0(self._ticks, self._field(row, "price"), "price")
            lots = _not_below_0(self._lots, self._field(row, "amount"), "amount")
            changes.append((side, ticks, lots))
        first, last = rows[0], len(rows) - 1
        self._last = rows[last]
        snapshot = first.is_snapshot
        if snapshot and not self._in_snapshot:
            self._put(EventKindCode.SNAPSHOT_BEGIN, first, flags=EventFlags.SNAPSHOT)
            self._begun = True
        elif self._in_snapshot and not snapshot:
            self._put(EventKindCode.SNAPSHOT_END, first)
        self._in_snapshot = snapshot
        for at, (side, ticks, lots) in enumerate(changes):
            flags = (EventFlags.SNAPSHOT if snapshot else 0) | (EventFlags.LAST if at == last else 0)
            self._put(
                EventKindCode.LEVEL, rows[at], side=side, price_ticks=ticks, size_lots=lots, flags=flags
            )

    def _trades(self, rows: Sequence[TardisRow]) -> None:
        sides = {"buy": SideCode.BID, "sell": SideCode.ASK, "unknown": SideCode.NONE}
        trades = []
        for row in rows:
            side = sides.get(self._field(row, "side"))
            if side is None:
                raise ValueError(f"side must be buy, sell or unknown, found {self._field(row, 'side')!r}")
            ticks, lots = (
                _not_below_0(self._ticks.nearest, self._field(row, "price"), "price"),
                self._lots(self._field(row, "amount")),
            )
            if side is SideCode.NONE or lots <= 0:
                self.unsided += 1
            else:
                trades.append((row, side, ticks, lots))
        for at, (row, side, ticks, lots) in enumerate(trades, start=1):
            flags = EventFlags.LAST if at == len(trades) else 0
            self._put(EventKindCode.TRADE, row, side=side, price_ticks=ticks, size_lots=lots, flags=flags)

    def _side(self, row: TardisRow, price: str, amount: str) -> tuple[int, int]:
        """An empty field, or a size of 0: nobody is there."""
        place = self.schema.place
        prices, amounts = row.fields[place[price]], row.fields[place[amount]]
        lots = _not_below_0(self._lots, amounts, amount) if amounts else 0
        return (_not_below_0(self._ticks, prices, price), lots) if prices and lots else (0, 0)

    def _quote(self, row: TardisRow) -> None:
        bid, bid_lots = self._side(row, "bid_price", "bid_amount")
        ask, ask_lots = self._side(row, "ask_price", "ask_amount")
        self._put(
            EventKindCode.QUOTE, row, price_ticks=bid, size_lots=bid_lots, order_id=ask, aux=ask_lots,
            flags=EventFlags.LAST,
        )  # fmt: skip

    def _snapshot(self, row: TardisRow) -> None:
        assert self._window is not None
        sides = [
            [
                level
                for k in range(self.schema.depth)
                if (level := self._side(row, f"{name}[{k}].price", f"{name}[{k}].amount"))[1]
            ]
            for name in ("bids", "asks")
        ]
        best = [side[0] if side else (0, 0) for side in sides]
        if self._quotes_only:
            (bid, bid_lots), (ask, ask_lots) = best
            self._put(
                EventKindCode.QUOTE, row, price_ticks=bid, size_lots=bid_lots, order_id=ask, aux=ask_lots,
                flags=EventFlags.LAST,
            )  # fmt: skip
            return
        self._window.row(
            *sides, instrument=self._instrument, receive_ns=row.receive_ns, exchange_ns=row.exchange_ns,
            sequence=row.receive_ns,
        )  # fmt: skip
        self.published = (*best[0], *best[1])
