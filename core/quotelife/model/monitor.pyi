from typing import NamedTuple

from quotelife.model.recalibration import RollingCalibration

STATISTICS: int

class CurveScores(NamedTuple):
    labels: int
    prevalence: float
    brier: float
    skill: float
    ece: float
    auc: float
    z: float

class CusumView:
    def __init__(self, tau_ns: int, odds: float = ...) -> None: ...
    def add(self, decided_ns: int, p: float, hit: bool) -> tuple[float, float]: ...
    def reset(self) -> None: ...
    @property
    def values(self) -> tuple[float, float]: ...

def scores(labels: RollingCalibration) -> tuple[CurveScores, ...]: ...
