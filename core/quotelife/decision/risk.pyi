from collections.abc import Mapping

from quotelife.config.schema import RiskInputs

INPUTS: tuple[str, ...]

class Risk:
    def __init__(self, settings: RiskInputs) -> None: ...
    def scores(self, features: Mapping[str, float]) -> dict[str, float]: ...

def scaled_tolerance(alpha: float, weights: Mapping[str, float], scores: Mapping[str, float]) -> float: ...
