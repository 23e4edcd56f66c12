from collections.abc import Iterable

import numpy as np
import numpy.typing as npt

class FeatureProbe:
    def __init__(
        self,
        *,
        news_half_life_ns: int = 0,
        book_levels_max: int = 4096,
        share_signals_with: FeatureProbe | None = None,
    ) -> None: ...
    @property
    def bytes(self) -> int: ...
    def set_driver(
        self, slot: int, numerator: FeatureProbe | None, denominator: FeatureProbe | None = None
    ) -> None: ...
    def level(self, t: int, side: int, price_ticks: int, lots: int, *, last: bool = True) -> None: ...
    def snapshot(self, t: int, bids: Iterable[tuple[int, int]], asks: Iterable[tuple[int, int]]) -> None: ...
    def quote(self, t: int, bid_ticks: int, bid_lots: int, ask_ticks: int, ask_lots: int) -> None: ...
    def last(self, t: int) -> None: ...
    def trade(self, t: int, price_ticks: int, lots: int, aggressor: int) -> None: ...
    def gap(self, t: int) -> None: ...
    def news(
        self,
        t: int,
        score: float,
        *,
        source_ns: int | None = None,
        ttl_ns: int = 0,
        to_all: bool = False,
    ) -> None: ...
    def volatility_index(
        self, t: int, level: float, *, index: int = 0, source_ns: int | None = None, ttl_ns: int = 0
    ) -> None: ...
    def inventory(
        self,
        t: int,
        position_lots: float,
        limit_lots: float,
        *,
        source_ns: int | None = None,
        ttl_ns: int = 0,
        desk: int = ...,
    ) -> None: ...
    def remap_desks(self, new_index: Iterable[int | None]) -> None: ...
    def sigma(self, t: int) -> float | None: ...
    def stress(self, t: int, *, news_fresh_ns: int = 60_000_000_000) -> dict[str, float]: ...
    def vector(
        self,
        t: int,
        side: int,
        *,
        size_lots: float = ...,
        h_ticks: float = 1.0,
        sigma_ticks: float | None = None,
        fill_rate: float = ...,
        average_size_lots: float = ...,
        volatility_index: int = -1,
        desk: int = ...,
    ) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.bool_]]: ...
    def features(
        self,
        t: int,
        side: int = -1,
        *,
        size_lots: float = ...,
        h_ticks: float = 1.0,
        sigma_ticks: float | None = None,
        fill_rate: float = ...,
        average_size_lots: float = ...,
        volatility_index: int = -1,
        desk: int = ...,
    ) -> dict[str, float]: ...
