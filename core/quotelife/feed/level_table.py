"""Tables of level rows and of trades with floating-point prices, as the CME set has them: rows to events.

A row of quotes holds bid and offer prices and quantities, best first; it becomes the LEVEL records of what it
changed. A row whose bid is not below its ask is passed on as it is: the book is CROSSED until the next one.
"""

from collections.abc import Mapping, Sequence
from decimal import Decimal

import numpy as np
import numpy.typing as npt

from quotelife.errors import DecodeError
from quotelife.feed.level_window import LevelWindow
from quotelife.records import EventBuffer, EventFlags, EventKindCode, SideCode

NEAR = 1e-4  # of a tick or a lot: what floating point may be off; a real fault is off by far more
LEVELS_MAX = 64
AGGRESSORS = {"B": SideCode.ASK, "O": SideCode.BID}
"""A trade at the bid was sold, one at the offer bought."""

Numbers = npt.NDArray[np.int64]


def on_grid(values: npt.NDArray[np.float64], unit: Decimal, column: str, setting: str, row: int) -> Numbers:
    """Multiples of the unit; NaN is 0. Raises ``DecodeError`` naming the first row that is none."""
    scaled = np.nan_to_num(values / float(unit), nan=0.0, posinf=np.inf, neginf=-np.inf)
    whole = np.rint(scaled)
    wrong = np.flatnonzero(~(np.abs(scaled - whole) <= NEAR) | (np.abs(whole) > 2**53))
    if len(wrong):
        at = int(wrong[0])
        raise DecodeError(
            f"row {row + at}: {column} is {values[at]!r}, no multiple of {unit.normalize():f}; mend {setting}"
        )
    return whole.astype(np.int64)


class LevelTableDecoder:
    """Rows of one instrument's quotes in, events out. No I/O.

    ``rows`` takes a batch of columns and ``message`` hands on one of its rows. Raises ``DecodeError`` naming row
    and column.
    """

    def __init__(
        self, buffer: EventBuffer, *, depth: int, instrument: int, tick_size: Decimal, lot_size: Decimal
    ) -> None:
        if not 1 <= depth <= LEVELS_MAX:
            raise DecodeError(f"{depth} levels a side; 1 to {LEVELS_MAX} are known")
        self._window = LevelWindow(buffer, depth)
        self._depth = depth
        self._instrument = instrument
        self._units = {"price": (tick_size, "tick_size"), "quantity": (lot_size, "lot_size")}
        self._batch: list[list[list[int]]] = []
        self._times: list[int] = []
        self._row = 0

    def rows(self, times_ns: Numbers, columns: Mapping[str, npt.NDArray[np.float64]]) -> None:
        """The next batch: ``bid_price_0``, ``bid_quantity_0``, ``offer_price_0``, … by name."""
        batch = []
        for side in ("bid", "offer"):
            for kind, (unit, setting) in self._units.items():
                names = [f"{side}_{kind}_{k}" for k in range(self._depth)]
                batch.append(
                    np.stack(
                        [on_grid(columns[name], unit, name, setting, self._row + 1) for name in names], axis=1
                    ).tolist()
                )
        self._batch = batch
        self._times = times_ns.tolist()

    def message(self, at: int) -> tuple[int, int, int, int]:
        """Row ``at`` of the batch; the best prices and sizes that it says."""
        self._row += 1
        bid_ticks, bid_lots, ask_ticks, ask_lots = (column[at] for column in self._batch)
        bids = [level for level in zip(bid_ticks, bid_lots, strict=True) if level[1] > 0]
        asks = [level for level in zip(ask_ticks, ask_lots, strict=True) if level[1] > 0]
        t = self._times[at]
        self._window.row(
            bids, asks, instrument=self._instrument, receive_ns=t, exchange_ns=t, sequence=self._row
        )
        return (*(bids[0] if bids else (0, 0)), *(asks[0] if asks else (0, 0)))


class TradeTableDecoder:
    """Rows of one instrument's trades in, TRADEs out. No I/O. A side that is neither B nor O is refused."""

    def __init__(
        self, buffer: EventBuffer, *, instrument: int, tick_size: Decimal, lot_size: Decimal
    ) -> None:
        self._buffer = buffer
        self._instrument = instrument
        self._tick, self._lot = tick_size, lot_size
        self._row = 0
        self._batch: tuple[list[int], Sequence[str | None], list[int], list[int]] = ([], [], [], [])

    def rows(
        self,
        times_ns: Numbers,
        sides: Sequence[str | None],
        prices: npt.NDArray[np.float64],
        quantities: npt.NDArray[np.float64],
    ) -> None:
        """The next batch."""
        row = self._row + 1
        ticks = on_grid(prices, self._tick, "price", "tick_size", row).tolist()
        lots = on_grid(quantities, self._lot, "quantity", "lot_size", row).tolist()
        self._batch = times_ns.tolist(), sides, ticks, lots

    def message(self, at: int) -> bool:
        """Row ``at`` of the batch; False when it says nothing that can be used."""
        self._row += 1
        times, sides, ticks, lots = (column[at] for column in self._batch)
        aggressor = AGGRESSORS.get(str(sides))
        if aggressor is None or int(lots or 0) <= 0:
            return False
        self._buffer.append(
            EventKindCode.TRADE, instrument=self._instrument, receive_ns=int(times or 0), exchange_ns=int(times or 0),
            sequence=self._row, side=aggressor, price_ticks=int(ticks or 0), size_lots=int(lots or 0),
            flags=EventFlags.LAST,
        )  # fmt: skip
        return True
