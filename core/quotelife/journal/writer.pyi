from collections.abc import Iterable
from typing import Any

from quotelife.engine import Engine
from quotelife.inputs import InputSink
from quotelife.journal.state import OperationalState
from quotelife.journal.storage import Storage

SEGMENT_BYTES: int
BUFFER_BYTES: int

class JournalWriter(InputSink):
    boot_id: str
    next_number: int
    committed_number: int
    durable_number: int
    lost: int
    commits: int
    syncs: int
    failures: int
    segment: int
    power_loss: bool
    def __init__(
        self,
        storage: Storage,
        *,
        boot_id: str,
        segment_bytes: int = ...,
        buffer_bytes: int = ...,
        power_loss: bool = False,
        next_number: int = 1,
        segment: int = 0,
    ) -> None: ...
    def begin(self, engine: Engine, now_ns: int, carried: OperationalState | None = None) -> None: ...
    def answer(
        self, sequences: Iterable[int], request_id: bytes, digest: bytes, request: bytes, reply: bytes
    ) -> None: ...
    def refuse(self, sequences: Iterable[int]) -> None: ...
    def gap(self, first: int, last: int, reason: str) -> None: ...
    @property
    def pending_bytes(self) -> int: ...
    @property
    def held_bytes(self) -> int: ...
    @property
    def full(self) -> bool: ...
    @property
    def state(self) -> OperationalState: ...
    def commit(self) -> int: ...
    def sync(self) -> int: ...
    def finish_segments(self) -> int: ...
    def close(self) -> None: ...

def encode(value: Any) -> bytes: ...
