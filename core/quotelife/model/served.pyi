from collections.abc import Mapping, Sequence

from quotelife.model.curve import CurveModel
from quotelife.model.lineup import LineUp

class ServedModels:
    def __init__(
        self,
        base: CurveModel,
        lineup: LineUp,
        models: Mapping[str, CurveModel],
        counterparties: Sequence[str],
    ) -> None: ...
    @property
    def base(self) -> CurveModel: ...
    @property
    def lineup(self) -> LineUp: ...
    @property
    def models(self) -> dict[str, CurveModel]: ...
    def all(self) -> list[CurveModel]: ...
    def model_of(self, posture: int, role: int) -> CurveModel: ...
