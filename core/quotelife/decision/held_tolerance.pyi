from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from quotelife.decision.life import PostureLife

FREE: int
SHORTEST: int
FROZEN: int
REMEMBERED: int

class HeldLives(NamedTuple):
    alpha: NDArray[np.float64]
    life_ns: NDArray[np.int64]
    by: NDArray[np.uint8]
    hit: NDArray[np.int8]

class HeldTolerance:
    def __init__(self, alpha: float, rate: float) -> None: ...
    @property
    def alpha(self) -> float: ...
    @property
    def debt(self) -> float: ...
    def update(self, hit: bool, by: int = ...) -> float: ...
    def dump(self) -> tuple[float, float]: ...
    def restore(self, alpha: float, debt: float) -> None: ...
    def lives(
        self,
        posture: PostureLife,
        now_ns: ArrayLike,
        p: ArrayLike,
        passage_ns: ArrayLike,
        observed_ns: ArrayLike,
        *,
        latency_ns: int = 0,
        heard_ns: ArrayLike | None = None,
    ) -> HeldLives: ...
