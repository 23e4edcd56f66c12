from typing import NamedTuple

class Response(NamedTuple):
    hit: float
    median_ns: float
    sigma: float

class ResponseTimes:
    def answered(self, age_ns: float, latency_ns: float = 0.0) -> None: ...
    def lived(self, age_ns: float, latency_ns: float = 0.0) -> None: ...
    def answered_within(self, life_ns: float, latency_ns: float = 0.0) -> None: ...
    def refused(self) -> None: ...
    def fit(
        self, *, hit: float, median_ns: float, sigma: float, hit_weight: float, response_weight: float
    ) -> Response: ...
    def log_posterior(
        self,
        *,
        hit: float,
        median_ns: float,
        sigma: float,
        at_hit: float,
        at_median_ns: float,
        at_sigma: float,
        hit_weight: float,
        response_weight: float,
    ) -> float: ...
