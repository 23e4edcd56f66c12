from typing import NamedTuple

class QuoteNames(NamedTuple):
    owner: str
    name: str
    rfq: str
    boot: str
    decisions: tuple[int, ...]
    counterparty: str
    desk: str | None
    session: str | None

class WatchCounts(NamedTuple):
    live: int
    known: int
    waiting: int
    registered: int
    withdrawn: dict[int, int]
    expired: int
    hints: int
    held_back: int
    judged: int
    unsaid: int
    memory_bytes: int

class Watching:
    unsaid: int
    registered: int
    expired: int
    hints: int
    held_back: int
    judged: int
    next_quote: int
    words: int
    @property
    def live(self) -> int: ...
    @property
    def waiting(self) -> int: ...
    def __init__(self) -> None: ...
    def counts(self) -> WatchCounts: ...
    def exposures(self) -> tuple[list[float], list[float]]: ...
    def exposure_of(self, instrument: int) -> float: ...
    def desk_exposure_of(self, desk: int) -> float: ...
    def ends_ns(self, quote: int) -> tuple[int, int] | None: ...
    def names(self, quote: int) -> QuoteNames | None: ...
    def by_owner(self, owner: str | None = None) -> list[int]: ...
    def find(self, owner: str, name: str) -> int: ...
    def owners(self) -> list[str]: ...
