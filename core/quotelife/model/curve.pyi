from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

UNMIRRORED: frozenset[str]
P_MIN: float

class Attribution(NamedTuple):
    logit: float
    baseline: float
    effects: dict[str, float]

class CurveModel:
    kind: str
    name: str
    digest: str
    manifest: dict[str, Any]
    files: dict[str, bytes]
    def __init__(self, parameters: Mapping[str, Any] = ...) -> None: ...
    def parameters(self) -> dict[str, Any]: ...
    def reference(self) -> dict[str, float]: ...
    def attribute(
        self,
        features: Mapping[str, float],
        *,
        h_ticks: float,
        sigma_ticks: float,
        h_reference: float,
        sigma_reference: float,
    ) -> Attribution | None: ...
    def stamp(self, manifest: dict[str, Any], files: Mapping[str, bytes] | None = None) -> None: ...
    def curve(
        self, features: Mapping[str, float], *, h_ticks: float, sigma_ticks: float
    ) -> npt.NDArray[np.float64] | None: ...
    def curves(
        self, x: npt.ArrayLike, valid: npt.ArrayLike, h_ticks: npt.ArrayLike, sigma_ticks: npt.ArrayLike
    ) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.bool_]]: ...

def probability_at(p: npt.ArrayLike, tau_ns: int) -> float: ...
def invert(p: npt.ArrayLike, alpha: float) -> int: ...
def enforce(p: npt.ArrayLike) -> npt.NDArray[np.float64]: ...
def first_passage(h_ticks: float, sigma_ticks: float) -> npt.NDArray[np.float64]: ...
