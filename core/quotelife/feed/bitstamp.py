"""Bitstamp's order log: lines of ``<ms> <kind> <json>``, kinds order_created, order_changed, order_deleted, trade and
order_book, the exchange's own best twenty levels.

The log begins in the middle: what rests from before it is known by level only, from published books, as one order a
level (``anonymous_id``). A level is taken in once, when a published book first reaches down to it; from then on
each book only tells how much of it is left. Orders of the log itself are never corrected by a published book, except
that what it says is crossed is purged (the engine does that, see ``docs/ORDER_BOOKS.md``).

A trade names no orders. Both orders of it shrink or end with nothing left, just before it, by its size; the younger
one (the larger id) was the aggressor. So those changes are corrections and no order flow, and the trade is one TRADE.
 Where only one of them is known, the other one rested from before the log, at the trade's price.
"""

import json
from collections import deque
from decimal import Decimal
from typing import NamedTuple

from quotelife.errors import DecodeError
from quotelife.feed.grid import Grid
from quotelife.records import EventBuffer, EventFlags, EventKindCode, SideCode
from quotelife.units import NS_PER_MS, since_1970_ns

KINDS = ("order_created", "order_changed", "order_deleted", "trade", "order_book")
STAMP_DIGITS_MAX = 19
RECENT = 64  # changes among which a trade's orders are looked for
_SIDES = (SideCode.BID, SideCode.ASK)


class BitstampLine(NamedTuple):
    """One line of the log."""

    receive_ns: int
    kind: str
    data: dict[str, object]


class PublishedTop(NamedTuple):
    """Best prices of a published book, in ticks and lots."""

    bid_ticks: int
    bid_lots: int
    ask_ticks: int
    ask_lots: int


class _Reduced(NamedTuple):
    order_id: int
    side: SideCode
    lots: int


def parse_line(line: bytes) -> BitstampLine:
    """Raises ``ValueError`` saying what is wrong with the line."""
    stamp, _, rest = line.strip().partition(b" ")
    kind, _, text = rest.partition(b" ")
    if not stamp.isdigit() or len(stamp) > STAMP_DIGITS_MAX or kind.decode("latin-1") not in KINDS:
        raise ValueError(f"expected '<ms> <{'|'.join(KINDS)}> <json>', found {line[:60]!r}")
    try:
        data = json.loads(text, parse_float=str, parse_int=str)
    except (ValueError, RecursionError):
        data = None
    if not isinstance(data, dict):
        raise ValueError(f"expected a JSON object after {kind.decode()}, found {text[:60]!r}")
    return BitstampLine(since_1970_ns(int(stamp), NS_PER_MS), kind.decode(), data)


def is_order_log(line: bytes) -> bool:
    """Whether a file's first line is one of this log."""
    try:
        parse_line(line)
    except ValueError:
        return False
    return True


def anonymous_id(side: SideCode, ticks: int) -> int:
    """The id of what rests at a level from before the log; negative, unlike those of orders."""
    return -(2 * ticks + (side == SideCode.ASK))


class BitstampDecoder:
    """Lines in, events of one order-level instrument out. No I/O.

    Raises ``DecodeError`` on a line that does not follow the format, or whose price or size is not on the
    instrument's grid; nothing of such a line reaches the buffer.
    """

    def __init__(
        self, buffer: EventBuffer, *, instrument: int, tick_size: Decimal, lot_size: Decimal
    ) -> None:
        self._buffer = buffer
        self._instrument = instrument
        self._ticks = Grid(tick_size, "tick_size")
        self._lots = Grid(lot_size, "lot_size")
        self._row = 0
        self._begun = False
        self._orders: dict[int, tuple[SideCode, int, int]] = {}  # side, ticks, lots
        self._levels: dict[SideCode, dict[int, int]] = {side: {} for side in _SIDES}  # of those orders
        self._anonymous: dict[SideCode, dict[int, int]] = {side: {} for side in _SIDES}
        self._reach: dict[SideCode, int] = {}  # the farthest price that a published book has shown
        self._recent: deque[_Reduced] = deque(maxlen=RECENT)
        self._out: list[tuple[EventKindCode, dict[str, int]]] = []

    def message(self, line: BitstampLine) -> PublishedTop | None:
        """Decode one line; the best prices that it publishes, if it is a published book."""
        self._row += 1
        self._out.clear()
        top = None
        try:
            if line.kind == "order_book":
                top = self._book(line)
            elif line.kind == "trade":
                self._trade(line)
            else:
                self._order(line)
        except (ValueError, KeyError, TypeError) as error:
            text = f"{error.args[0]!r} is missing" if isinstance(error, KeyError) else str(error)
            raise DecodeError(f"{line.kind}: {text}") from None
        self._flush(line.receive_ns)
        return top

    # --- orders ---

    def _order(self, line: BitstampLine) -> None:
        order_id = int(_text(line.data, "id"))
        kind = int(_text(line.data, "order_type"))
        if kind not in (0, 1) or not 0 <= order_id < 2**62:
            raise ValueError(f"order_type must be 0 or 1 and id a number, found {kind} and {order_id}")
        side = _SIDES[kind]
        ticks, lots = self._ticks(_text(line.data, "price")), self._lots(_text(line.data, "amount"))
        if ticks <= 0 or lots < 0:
            raise ValueError(
                f"price must be above 0 and amount not below, found {ticks} ticks and {lots} lots"
            )
        known = self._orders.get(order_id)
        if line.kind == "order_deleted":
            self._delete(order_id, side, ticks, lots, known)
        elif known is None:
            if line.kind == "order_changed":
                self._was_anonymous(side, ticks, lots)
            if lots:
                self._rest(order_id, side, ticks, lots)
                self._emit(EventKindCode.ADD, side, ticks, lots, order_id)
        else:
            self._change(order_id, known, ticks, lots)

    def _delete(
        self, order_id: int, side: SideCode, ticks: int, lots: int, known: tuple[SideCode, int, int] | None
    ) -> None:
        if known is None:
            if lots:
                self._was_anonymous(side, ticks, lots)
            return
        side, ticks, left = known
        self._leave(order_id, known)
        if lots:
            self._emit(EventKindCode.CANCEL, side, ticks, 0, order_id)
        else:  # nothing was left: traded
            self._recent.append(_Reduced(order_id, side, left))
            self._emit(EventKindCode.CANCEL, side, ticks, 0, order_id, EventFlags.SNAPSHOT)

    def _change(self, order_id: int, known: tuple[SideCode, int, int], ticks: int, lots: int) -> None:
        side, before_ticks, before = known
        traded = ticks == before_ticks and lots < before
        if traded:
            self._recent.append(_Reduced(order_id, side, before - lots))
        self._leave(order_id, known)
        if lots:
            self._rest(order_id, side, ticks, lots)
        flags = EventFlags.SNAPSHOT if traded else 0
        self._emit(EventKindCode.MODIFY, side, ticks, lots, order_id, flags)

    def _rest(self, order_id: int, side: SideCode, ticks: int, lots: int) -> None:
        self._orders[order_id] = side, ticks, lots
        levels = self._levels[side]
        levels[ticks] = levels.get(ticks, 0) + lots

    def _leave(self, order_id: int, known: tuple[SideCode, int, int]) -> None:
        del self._orders[order_id]
        side, ticks, lots = known
        levels = self._levels[side]
        levels[ticks] -= lots
        if not levels[ticks]:
            del levels[ticks]

    def _was_anonymous(self, side: SideCode, ticks: int, lots: int) -> None:
        """So much of what rests from before the log has a name now, or is gone."""
        left = self._anonymous[side].get(ticks, 0)
        if left:
            self._set_anonymous(side, ticks, max(0, left - lots))

    # --- trades ---

    def _trade(self, line: BitstampLine) -> None:
        lots = self._lots.nearest(_text(line.data, "amount"))  # a float in the log
        ticks = self._ticks.nearest(_text(line.data, "price"))
        if ticks <= 0:
            raise ValueError(f"price must be above 0, found {ticks} ticks")
        orders = [each for each in self._recent if each.lots == lots][-2:]
        if not orders or lots <= 0:
            return
        taker = max(orders)
        if len(orders) == 1:  # the other one rested before the log began
            self._was_anonymous(_SIDES[taker.side == SideCode.BID], ticks, lots)
        self._emit(EventKindCode.TRADE, taker.side, ticks, lots, 0)
        for each in orders:
            self._recent.remove(each)

    # --- published books ---

    def _book(self, line: BitstampLine) -> PublishedTop | None:
        levels = {
            side: self._published(line.data, name)
            for side, name in zip(_SIDES, ("bids", "asks"), strict=True)
        }
        bids, asks = levels[SideCode.BID], levels[SideCode.ASK]
        if not bids or not asks:
            return None
        bid, ask = max(bids), min(asks)
        if bid >= ask:
            raise ValueError(f"the published book crosses: bid {bid}, ask {ask} ticks")
        if not self._begun:
            self._begin(levels)
        for side in _SIDES:
            self._follow(side, levels[side])
        # What it crosses is stale; beside the orders it has no other say.
        self._out.append(
            (
                EventKindCode.QUOTE,
                {"price_ticks": bid, "size_lots": bids[bid], "order_id": ask, "aux": asks[ask]},
            )
        )
        return PublishedTop(bid, bids[bid], ask, asks[ask])

    def _published(self, data: dict[str, object], name: str) -> dict[int, int]:
        rows = data[name]
        if not isinstance(rows, list):
            raise ValueError(f"{name} must be a list")
        levels: dict[int, int] = {}
        for row in rows:
            price, size = row
            ticks, lots = self._ticks(str(price)), self._lots(str(size))
            if ticks <= 0 or lots <= 0:
                raise ValueError(f"{name} has a level at {price} of {size}")
            levels[ticks] = lots
        return levels

    def _begin(self, levels: dict[SideCode, dict[int, int]]) -> None:
        self._begun = True
        self._out.append((EventKindCode.SNAPSHOT_BEGIN, {}))
        for order_id, (side, ticks, lots) in self._orders.items():
            self._emit(EventKindCode.ADD, side, ticks, lots, order_id, EventFlags.SNAPSHOT)
        for side in _SIDES:
            self._take_in(side, levels[side])
        self._out.append((EventKindCode.SNAPSHOT_END, {}))

    def _take_in(self, side: SideCode, levels: dict[int, int]) -> None:
        """Levels below all that a book has shown so far: what no order of the log accounts for was there before."""
        reach = self._reach.get(side)
        for ticks, lots in levels.items():
            if reach is None or (ticks < reach if side == SideCode.BID else ticks > reach):
                unnamed = lots - self._levels[side].get(ticks, 0)
                if unnamed > 0:
                    self._set_anonymous(side, ticks, unnamed)
        far = min(levels) if side == SideCode.BID else max(levels)
        if reach is None or (far < reach if side == SideCode.BID else far > reach):
            self._reach[side] = far

    def _follow(self, side: SideCode, levels: dict[int, int]) -> None:
        far = min(levels) if side == SideCode.BID else max(levels)
        for ticks, left in list(self._anonymous[side].items()):
            if ticks >= far if side == SideCode.BID else ticks <= far:
                now = max(0, levels.get(ticks, 0) - self._levels[side].get(ticks, 0))
                if now < left:
                    self._set_anonymous(side, ticks, now)
        self._take_in(side, levels)

    def _set_anonymous(self, side: SideCode, ticks: int, lots: int) -> None:
        anonymous = self._anonymous[side]
        kind = EventKindCode.MODIFY if ticks in anonymous else EventKindCode.ADD
        if lots:
            anonymous[ticks] = lots
        else:
            del anonymous[ticks]
        self._emit(kind, side, ticks, lots, anonymous_id(side, ticks), EventFlags.SNAPSHOT)

    # --- events ---

    def _emit(
        self, kind: EventKindCode, side: SideCode, ticks: int, lots: int, order_id: int, flags: int = 0
    ) -> None:
        fields = {"side": side, "price_ticks": ticks, "size_lots": lots, "order_id": order_id, "flags": flags}
        self._out.append((kind, fields))

    def _flush(self, t: int) -> None:
        if not self._begun:
            self._out.clear()  # orders are kept until a published book says where they stand
        for at, (kind, fields) in enumerate(self._out, start=1):
            flags = fields.pop("flags", 0) | (EventFlags.LAST if at == len(self._out) else 0)
            self._buffer.append(
                kind, instrument=self._instrument, receive_ns=t, sequence=self._row, flags=flags, **fields
            )


def _text(data: dict[str, object], name: str) -> str:
    value = data[name]
    if not isinstance(value, str):
        raise ValueError(f"{name} must be a number, found {value!r}")
    return value
