from collections.abc import Callable, Sequence

import numpy as np
import numpy.typing as npt

from quotelife.feed.mold import MoldReceiver
from quotelife.records import EventBuffer

class UdpRing:
    capacity: int
    datagrams: int
    calls: int
    wakes: int
    full: int
    truncated: int
    stamped: int
    failures: int
    def __init__(
        self, sockets: Sequence[tuple[int, int]], *, capacity: int = 8192, nap_ns: int = 0
    ) -> None: ...
    def start(self, name: str = "udp-receive") -> None: ...
    def stop(self) -> None: ...
    def fileno(self) -> int: ...
    def take_fault(self) -> str | None: ...
    def pump(
        self, mold: MoldReceiver, sink: Callable[[EventBuffer], None], offset_ns: int, now_ns: int
    ) -> int: ...
    @property
    def dropped(self) -> tuple[int, ...]: ...

def send_all(fd: int, data: bytes | bytearray | memoryview, ends: npt.NDArray[np.int64]) -> int: ...
