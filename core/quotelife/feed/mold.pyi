from collections.abc import Callable

from quotelife.feed.itch import ItchDecoder

LINE_NAMES: tuple[str, ...]

class MoldReceiver:
    decoder: ItchDecoder
    window: int
    reorder_ns: int
    gap_ns: int
    retry_ns: int
    heartbeat_ns: int
    request_messages: int
    rerequest: bool
    expected: int
    known: int
    missing_since_ns: int
    last_ns: int
    more: bool
    ended: bool
    sessions: int
    duplicates: int
    reordered: int
    malformed: int
    foreign: int
    heartbeats: int
    gaps: int
    lost: int
    beyond: int
    requests: int
    recovered: int
    held: int
    def __init__(
        self,
        decoder: ItchDecoder,
        *,
        window: int = 65_536,
        rerequest: bool = False,
        reorder_ns: int = 1_000_000,
        gap_ns: int = 5_000_000,
        retry_ns: int = 10_000_000,
        request_messages: int = 1000,
        heartbeat_ns: int = 1_000_000_000,
        session: str | None = None,
        midnight_ns: Callable[[int], int] | None = None,
    ) -> None: ...
    def packet(self, data: bytes | bytearray | memoryview, line: int, now_ns: int) -> None: ...
    def go_on(self, now_ns: int) -> None: ...
    def tick(self, now_ns: int) -> None: ...
    def request(self, now_ns: int) -> bytes | None: ...
    def down(self, now_ns: int) -> None: ...
    def silent(self, now_ns: int) -> None: ...
    @property
    def session(self) -> str | None: ...
    @property
    def line_counts(self) -> dict[str, tuple[int, int]]: ...
