from decimal import Decimal
from enum import IntEnum
from typing import NamedTuple

class SyncState(IntEnum):
    WAITING = 0
    SPLICING = 1
    SYNCED = 2

class SymbolStats(NamedTuple):
    state: SyncState
    update_id: int
    depths: int
    quotes: int
    trades: int
    duplicates: int
    gaps: int
    mismatches: int
    resyncs: int
    refused: int
    restarts: int
    malformed: int
    off_grid: int
    overflows: int

class SymbolFeed:
    def __init__(self, symbol: str, instrument: int, tick_size: Decimal, lot_size: Decimal) -> None: ...
    def stats(self) -> SymbolStats: ...
    @property
    def symbol(self) -> str: ...
    @property
    def instrument(self) -> int: ...
    @property
    def companion(self) -> bool: ...
