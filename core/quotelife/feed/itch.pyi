from collections.abc import Sequence
from decimal import Decimal

from quotelife.records import EventBuffer

MESSAGE_LENGTHS: dict[str, int]
PRICE_SCALE: int

class ItchDecoder:
    buffer: EventBuffer
    instruments: int
    midnight_ns: int
    messages: int
    skipped: int
    unknown: int
    malformed: int
    off_grid: int
    broken_trades: int
    crosses: int
    hidden: int
    state: int
    system_hours: bool
    last_ns: int
    def __init__(
        self,
        buffer: EventBuffer,
        instruments: Sequence[tuple[str, int, Decimal, Decimal]],
        *,
        midnight_ns: int = 0,
    ) -> None: ...
    def begin(self, receive_ns: int, *, midnight_ns: int | None = None) -> None: ...
    def doubt(self, receive_ns: int) -> None: ...
    def settle(self, receive_ns: int, sequence: int = 0) -> None: ...
    def lose(self, receive_ns: int) -> None: ...
    def up(self, receive_ns: int) -> None: ...
    def down(self, receive_ns: int) -> None: ...
    def heartbeat(self, receive_ns: int) -> None: ...
    def message(self, data: bytes | bytearray | memoryview, receive_ns: int, sequence: int = 0) -> int: ...
    def framed(
        self, data: bytes | bytearray | memoryview, at: int, sequence: int, events_max: int
    ) -> tuple[int, int]: ...
    def take_fault(self) -> str | None: ...
    @property
    def unlisted(self) -> list[str]: ...
    @property
    def counts(self) -> dict[str, int]: ...
