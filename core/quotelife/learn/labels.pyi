from typing import Any

import numpy as np
import numpy.typing as npt

from quotelife.learn.dataset import ReferencePath

NEVER: int
TOUCH_TICKS: float

def observed_ns(
    path: ReferencePath, now_ns: npt.NDArray[np.int64], *, latency_ns: int, longest_ns: int
) -> npt.NDArray[np.int64]: ...
def first_passage_ns(
    path: ReferencePath,
    reference: str,
    now_ns: npt.NDArray[np.int64],
    side: npt.NDArray[np.int8],
    reference_ticks: npt.NDArray[np.float64],
    h_ticks: Any,
    *,
    latency_ns: int,
    observed_ns: npt.NDArray[np.int64],
) -> npt.NDArray[np.int64]: ...
