from collections.abc import Callable

from quotelife.feed.itch import ItchDecoder

INPUT_BYTES: int
LOGOUT: bytes
HEARTBEAT: bytes

class SoupClient:
    decoder: ItchDecoder
    username: str
    session: str
    input: bytearray
    expected: int
    target: int
    probing: bool
    logged_in: bool
    leave: bool
    again: bool
    ended: bool
    rejected: str | None
    messages: int
    heartbeats: int
    unsequenced: int
    malformed: int
    probes: int
    sessions: int
    lost: int
    def __init__(
        self,
        decoder: ItchDecoder,
        *,
        username: str = "",
        password: str = "",
        session: str | None = None,
        midnight_ns: Callable[[int], int] | None = None,
    ) -> None: ...
    def connect(self) -> bytes: ...
    def disconnected(self, now_ns: int) -> None: ...
    def down(self, now_ns: int) -> None: ...
    def input_view(self) -> memoryview: ...
    def received(self, n: int, now_ns: int) -> bool: ...
