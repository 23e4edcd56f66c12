from typing import NamedTuple

from quotelife.config.schema import Regimes

class Verdict(NamedTuple):
    regime: int
    reasons: int

class Regime:
    def __init__(self, settings: Regimes) -> None: ...
    @property
    def entries(self) -> int: ...
    @property
    def entered_ns(self) -> int: ...
    def update(
        self,
        now_ns: int,
        *,
        volatility_ratio: float | None = None,
        spread_volatility_ratio: float | None = None,
        update_frequency_ratio: float | None = None,
        decorrelation_z: float | None = None,
        news_abs: float | None = None,
    ) -> Verdict: ...
