from collections.abc import Callable
from enum import IntEnum
from typing import Any

class Change(IntEnum):
    CONFIG = 1
    MODEL = 2
    OVERRIDE_SET = 3
    OVERRIDE_CLEARED = 4
    KILLED = 5
    ENABLED = 6
    EVENTS_NAMED = 7
    STEPPED = 8
    LEARNED = 9
    WATCHED = 10
    WATCH_UPDATED = 11
    WATCH_ACKNOWLEDGED = 12
    WATCH_LOST = 13
    OUTCOME = 14
    COUNTERPARTIES = 15

class InputSink: ...

class DerivedTap(InputSink):
    def __init__(self) -> None: ...
    def labels(self) -> list[bytes]: ...
    def watches(self) -> list[bytes]: ...
    def steps(self) -> list[tuple[int, dict[str, Any]]]: ...
    def learned(self) -> list[tuple[int, dict[str, Any]]]: ...
    def counterparties(self) -> list[tuple[int, dict[str, Any]]]: ...

class WatchWord:
    def __init__(
        self,
        *,
        number: int,
        at_ns: int,
        quote: int,
        kind: int,
        reason: int,
        state: int,
        input_sequence: int = 0,
        life_ns: int = 0,
        moved_ticks: float = ...,
        value_ticks: float = ...,
        instrument: int | None = None,
        held: bool = False,
    ) -> None: ...
    @property
    def number(self) -> int: ...
    @property
    def at_ns(self) -> int: ...
    @property
    def quote(self) -> int: ...
    @property
    def life_ns(self) -> int: ...
    @property
    def moved_ticks(self) -> float: ...
    @property
    def value_ticks(self) -> float: ...
    @property
    def instrument(self) -> int: ...
    @property
    def kind(self) -> int: ...
    @property
    def reason(self) -> int: ...
    @property
    def held(self) -> int: ...

class WatchTap(InputSink):
    def __init__(self, notify: Callable[[], object]) -> None: ...
    def take(self) -> list[WatchWord]: ...

class InputTap(InputSink):
    def __init__(self, tap: Callable[..., Any]) -> None: ...
