from collections.abc import Mapping
from typing import Any

from quotelife.model.curve import CurveModel

LARGEST: float
OFFSET_LARGEST: float

class LogisticHazardModel(CurveModel):
    def __init__(self, parameters: Mapping[str, Any]) -> None: ...
    def parameters(self) -> dict[str, Any]: ...
    def reference(self) -> dict[str, float]: ...
