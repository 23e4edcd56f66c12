from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt

from quotelife.model.curve import CurveModel
from quotelife.model.trees import TreeEnsemble

ENSEMBLE_KEYS: tuple[str, ...]
ROOM_FEATURES: tuple[str, str]

class TreeCurveModel(CurveModel):
    def __init__(self, parameters: Mapping[str, Any]) -> None: ...
    def parameters(self) -> dict[str, Any]: ...
    def reference(self) -> dict[str, float]: ...
    def columns(
        self,
        x: npt.NDArray[np.float64],
        valid: npt.NDArray[np.uint64],
        h_ticks: npt.NDArray[np.float64],
        sigma_ticks: npt.NDArray[np.float64],
    ) -> npt.NDArray[np.float32]: ...
    def margins(self, columns: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]: ...

def pack(ensemble: TreeEnsemble) -> dict[str, Any]: ...
def unpack(parameters: Mapping[str, Any], columns: int, where: str) -> TreeEnsemble: ...
