from collections.abc import Sequence

from quotelife.records import EventBuffer

class LevelWindow:
    def __init__(self, buffer: EventBuffer, depth: int) -> None: ...
    @property
    def buffer(self) -> EventBuffer: ...
    def row(
        self,
        bids: Sequence[tuple[int, int]],
        asks: Sequence[tuple[int, int]],
        *,
        instrument: int,
        receive_ns: int,
        exchange_ns: int = 0,
        sequence: int = 0,
    ) -> int: ...
    def forget(self) -> None: ...
