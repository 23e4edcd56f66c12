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

class WatchTap(InputSink):
    def __init__(self, notify: Callable[[], object]) -> None: ...
    def take(self) -> list[bytes]: ...

class InputTap(InputSink):
    def __init__(self, tap: Callable[..., Any]) -> None: ...
