from typing import Any

import numpy as np
import numpy.typing as npt

from quotelife.engine import Engine
from quotelife.inputs import InputSink

COLUMNS: tuple[str, ...]

class Recorder(InputSink):
    def __init__(self, engine: Engine) -> None: ...
    def path(
        self, i: int
    ) -> tuple[
        npt.NDArray[np.int64], npt.NDArray[np.float64], npt.NDArray[np.float64], npt.NDArray[np.bool_]
    ]: ...
    def rows(self, i: int) -> dict[str, npt.NDArray[Any]]: ...
