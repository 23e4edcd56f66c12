from collections.abc import Iterable, Mapping
from enum import IntEnum
from typing import Any, NamedTuple

from quotelife.config import Config
from quotelife.counterparty.marks import Marks

INFORMED_MARKOUT: int

class OutcomeCode(IntEnum):
    HIT = 1
    LIFTED = 2
    EXPIRED = 3
    DONE_AWAY = 4
    COVER = 5
    CANCELLED = 6

class Markout(NamedTuple):
    after_ns: int
    fills: float
    mean_bp: float | None
    deviation_bp: float | None

class AverageSize(NamedTuple):
    instrument: str
    quotes: float
    lots: float

class ValueTerms(NamedTuple):
    hit_probability: float
    informed_share: float
    response_median_ns: float
    response_sigma: float

class CounterpartyStatus(NamedTuple):
    name: str
    tier: str | None
    reported: int
    last_ns: int
    quotes: float
    fills: float
    answers: float
    censored: float
    refused: float
    fill_rate: float | None
    fill_deviation: float | None
    believed: ValueTerms
    used: ValueTerms
    configured: ValueTerms
    adverse_in_h: float
    markouts: tuple[Markout, ...]
    sizes: tuple[AverageSize, ...]

class CounterpartyTables:
    def __init__(self, config: Config) -> None: ...

class Counterparties:
    enabled: bool
    features: bool
    marks: Marks
    censored: int
    strangers: int
    forgotten: int
    owed: int
    def __init__(self, config: Config) -> None: ...
    def follow(self, config: Config, now_ns: int) -> None: ...
    def outcome(
        self,
        counterparty: int,
        instrument: int,
        kind: int,
        counts: bool,
        *,
        age_ns: float,
        life_ns: float,
        size_lots: float,
        at_ns: int,
    ) -> bool: ...
    def filled(
        self,
        counterparty: int,
        instrument: int,
        *,
        side: int,
        at_ns: int,
        price_ticks: float,
        mid_ticks: float,
        h_ticks: float,
        weight: float = 1.0,
    ) -> None: ...
    def refit(self, now_ns: int, everything: bool = False) -> list[int]: ...
    def note(self, now_ns: int, most: int) -> list[dict[str, Any]]: ...
    def load(self, entries: Iterable[Mapping[str, Any]]) -> list[int]: ...
    @property
    def names(self) -> tuple[str, ...]: ...
    @property
    def known(self) -> list[str]: ...
    def status(self, name: str) -> CounterpartyStatus | None: ...
