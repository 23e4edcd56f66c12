from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from quotelife.config.schema import PostureSettings
from quotelife.decision.expected_value import ExpectedValue

class Life(NamedTuple):
    life_ns: int
    binding: int
    reasons: int
    decline: bool

class Lives(NamedTuple):
    life_ns: npt.NDArray[np.int64]
    binding: npt.NDArray[np.uint16]
    value_ticks: npt.NDArray[np.float64]

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
    def choose(self, p: npt.ArrayLike, alpha: npt.ArrayLike | None = None) -> Lives: ...
    def choose_by_value(
        self,
        p: npt.ArrayLike,
        value: ExpectedValue,
        *,
        edge_ticks: npt.ArrayLike,
        h_ticks: npt.ArrayLike,
        alpha: npt.ArrayLike | None = None,
    ) -> Lives: ...
