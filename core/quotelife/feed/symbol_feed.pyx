"""One symbol of a venue, as its decoder sees it."""

from decimal import Decimal
from enum import IntEnum
from typing import NamedTuple

from quotelife.feed.json_bytes cimport Grid


class SyncState(IntEnum):
    """Where a symbol's book stands."""

    WAITING = 0      # no usable snapshot; the book is not to be trusted
    SPLICING = 1     # a snapshot is held, the change that proves the chain has not come yet (Binance)
    SYNCED = 2


class SymbolStats(NamedTuple):
    """Counters of one symbol since the decoder was made."""

    state: SyncState
    update_id: int       # venue id of the last change applied, -1: none
    depths: int          # messages about the levels read, held and passed-over ones included
    quotes: int
    trades: int
    duplicates: int      # older copies of applied changes, ignored
    gaps: int            # changes that did not continue the chain
    mismatches: int      # changes after which the venue's checksum was another
    resyncs: int         # times the book became whole again
    refused: int         # snapshots older than what was known already
    restarts: int        # held changes given up because they outgrew their bound
    malformed: int
    off_grid: int        # messages with a price or size off the grid or out of range
    overflows: int       # messages or splices that did not fit into the event buffer


cdef Grid grid_of(object size, str name) except *:
    cdef Grid grid
    if not isinstance(size, Decimal) or not size.is_finite() or size <= 0:
        raise ValueError(f"{name} must be a positive Decimal, not {size!r}")
    sign, digits, exponent = size.normalize().as_tuple()
    step = int("".join(map(str, digits))) * 10 ** max(exponent, 0)
    if exponent < -12 or step >= 10**12:
        raise ValueError(f"{name} {size} is out of range: at most 12 decimals, below 10^12")
    grid.decimals = max(-exponent, 0)
    grid.step = step
    return grid


cdef class SymbolFeed:
    """What a decoder knows of one symbol; made and read by its decoder."""

    def __init__(self, symbol, instrument, tick_size, lot_size):
        self.symbol = symbol
        self.instrument = instrument
        self.key = symbol.encode("ascii")
        self.price_grid = grid_of(tick_size, "tick_size")
        self.size_grid = grid_of(lot_size, "lot_size")
        self.tick_size = tick_size
        self.lot_size = lot_size
        self.state = WAITING
        self.chain_id = -1

    cdef void forget(self):
        self.state = WAITING
        self.chain_id = -1
        self.chain_ns = 0

    def stats(self):
        """``SymbolStats`` so far."""
        return SymbolStats(
            SyncState(self.state), self.chain_id, self.depths, self.quotes, self.trades, self.duplicates, self.gaps,
            self.mismatches, max(self.syncs - 1, 0), self.refused, self.restarts, self.malformed, self.off_grid,
            self.overflows)
