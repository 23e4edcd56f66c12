from collections.abc import Collection, Sequence
from enum import IntEnum, IntFlag
from typing import Any, NamedTuple

from quotelife.model.curve import CurveModel
from quotelife.model.monitor import CurveScores

class Level(IntEnum):
    WELL = 0
    WARNED = 1
    DEGRADED = 2
    WORST = 3

class Cause(IntFlag):
    P_LOW = 1
    P_HIGH = 2
    CALIBRATION = 4
    SKILL = 8
    FEATURES = 16

class StepSource(IntEnum):
    MONITOR = 1
    OPERATOR = 2
    CONFIGURATION = 3
    MODEL = 4

class ModelMonitor(NamedTuple):
    model: int
    champion: bool
    level: int
    causes: int
    scores: tuple[CurveScores, ...]
    cusum: tuple[tuple[float, float], ...]
    limits: tuple[tuple[float, float, float], ...]
    cusum_labels: tuple[int, ...]
    psi: tuple[tuple[str, float], ...]
    psi_above: int
    psi_samples: int
    psi_own: bool
    psi_note: str
    name: str
    simulated: bool

class GroupMonitor(NamedTuple):
    name: str
    down: bool
    since_ns: int
    source: int
    reason: str
    level: int
    models: tuple[ModelMonitor, ...]

class Step(NamedTuple):
    group: str
    down: bool
    source: int
    reason: str
    model: int

class Monitors:
    @property
    def enabled(self) -> bool: ...
    @property
    def groups(self) -> int: ...
    @property
    def inhabited(self) -> int: ...
    def follow(
        self,
        settings: Any,
        models: Sequence[CurveModel],
        champions: Collection[str],
        names: Sequence[str],
        members: Sequence[Sequence[str]],
    ) -> None: ...
    def due(self, now_ns: int) -> list[Step]: ...
    def dropped(self) -> list[Step]: ...
    def place(self, name: str) -> int | None: ...
    def is_down(self, group: int) -> bool: ...
    def may_step_down(self, model: int) -> bool: ...
    def set(self, group: int, down: bool, since_ns: int, source: int, reason: str, model: int) -> None: ...
    def steps(self) -> list[tuple[str, int, int, str, int]]: ...
    def levels(self) -> tuple[int, int, int, int]: ...
    def unwell(
        self, most: int
    ) -> tuple[tuple[int, list[int]], tuple[int, list[int]], tuple[int, list[int]]]: ...
    def newly(self) -> tuple[tuple[tuple[int, int, int], ...], int]: ...
    def unjudged(self) -> tuple[int, int]: ...
    def group(self, group: int) -> GroupMonitor: ...

def cusum_limits(cusum: Any, monitors: int) -> tuple[tuple[float, float, float], ...]: ...
def in_words(told: ModelMonitor) -> str: ...
def inputs_in_words(told: ModelMonitor) -> str: ...
