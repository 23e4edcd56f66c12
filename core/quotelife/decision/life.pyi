from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from quotelife.config.schema import PostureSettings

class Life(NamedTuple):
    life_ns: int
    binding: int
    reasons: int
    decline: bool

class PostureLife:
    def __init__(self, settings: PostureSettings) -> None: ...
    @property
    def mode(self) -> int: ...
    @property
    def one_tick_threshold(self) -> bool: ...
    def life(
        self, p: float | Sequence[float] | npt.NDArray[np.float64], alpha: float | None = None
    ) -> Life: ...
    def lives_ns(self, p500: Sequence[float] | npt.NDArray[np.float64]) -> npt.NDArray[np.int64]: ...
