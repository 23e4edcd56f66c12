from collections.abc import Callable

def steady_ns() -> int: ...

class SystemClock:
    offset_limit_ns: int
    wall_offset_ns: int
    synchronised: bool
    _base_ns: int
    _wall_ns: Callable[[], int]
    def __init__(
        self,
        offset_limit_ns: int,
        *,
        wall_ns: Callable[[], int] = ...,
        steady_ns: Callable[[], int] | None = None,
    ) -> None: ...
    def now_ns(self) -> int: ...
    def measure_wall_offset_ns(self) -> int: ...
