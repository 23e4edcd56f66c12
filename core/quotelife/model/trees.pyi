import numpy as np
import numpy.typing as npt

FEATURES_MOST: int
LEAF: int
NODES_MOST: int
TREES_MOST: int
VALUE_LARGEST: float

class TreeEnsemble:
    features: int
    base: float
    sizes: npt.NDArray[np.int32]
    slots: npt.NDArray[np.uint16]
    values: npt.NDArray[np.float32]
    def __init__(
        self,
        features: int,
        base: float,
        sizes: npt.ArrayLike,
        slots: npt.ArrayLike,
        values: npt.ArrayLike,
        *,
        fill: int = ...,
    ) -> None: ...
    def margins(self, x: npt.ArrayLike) -> npt.NDArray[np.float32]: ...
    def falls_with(self, feature: int) -> bool: ...

def logistic_margin(p: float) -> float: ...
def log_margin(p: float) -> float: ...
