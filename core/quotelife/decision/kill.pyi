from collections.abc import Sequence
from enum import IntEnum
from typing import NamedTuple

STRANGERS: str

class KillSource(IntEnum):
    RPC = 1
    FILE = 2
    THROTTLE = 3

class KillStatus(NamedTuple):
    counterparty: str | None
    reason: str
    source: KillSource
    since_ns: int

class KillSwitch:
    def __init__(self, names: Sequence[str]) -> None: ...
    def follow(self, names: Sequence[str]) -> None: ...
    def get(self, counterparty: str | None) -> KillStatus | None: ...
    def set(self, kill: KillStatus) -> None: ...
    def end(self, counterparty: str | None) -> None: ...
    def kills(self) -> list[KillStatus]: ...
    @property
    def changes(self) -> int: ...
    def fits(self, counterparty: int | None) -> bool: ...
