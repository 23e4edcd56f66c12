from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from quotelife.config.schema import TierValue, ValueSettings

Curve = Sequence[float] | npt.NDArray[np.float64]

VALUE_MIN_IN_H: float

class Left(NamedTuple):
    tau_ns: float
    value_ticks: float
    life_ns: int
    life_value_ticks: float

class Best(NamedTuple):
    tau_ns: float
    value_ticks: float
    life_ns: int
    life_value_ticks: float
    break_even_ticks: float

class ExpectedValue:
    def __init__(self, tier: TierValue, terms: ValueSettings, *, watched: bool = False) -> None: ...
    def best(
        self,
        p: Curve,
        *,
        edge_ticks: float,
        h_ticks: float,
        low_ns: int,
        high_ns: int,
        inventory: float = 0.0,
    ) -> Best: ...
    def value(
        self,
        p: Curve,
        *,
        edge_ticks: float,
        h_ticks: float,
        tau_ns: float,
        inventory: float = 0.0,
        age_ns: float = 0.0,
    ) -> float: ...
    def left(
        self,
        p: Curve,
        *,
        edge_ticks: float,
        h_ticks: float,
        age_ns: float,
        low_ns: int,
        high_ns: int,
        inventory: float = 0.0,
        enough: bool = False,
    ) -> Left: ...
