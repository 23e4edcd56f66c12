from typing import NamedTuple

from quotelife.model.recalibration import RollingCalibration

class CurveScores(NamedTuple):
    labels: int
    prevalence: float
    brier: float
    skill: float
    ece: float
    auc: float
    z: float

def scores(labels: RollingCalibration) -> tuple[CurveScores, ...]: ...
