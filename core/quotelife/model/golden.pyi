from collections.abc import Mapping
from typing import Any

from quotelife.model.curve import CurveModel

PARAMETERS: dict[str, Any]

class GoldenModel(CurveModel):
    def __init__(self, parameters: Mapping[str, Any] | None = None) -> None: ...
    def parameters(self) -> dict[str, Any]: ...
    def reference(self) -> dict[str, float]: ...
