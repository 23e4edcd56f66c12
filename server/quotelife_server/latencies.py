"""How long something took, counted by bounds, as metrics show it."""

from bisect import bisect_left
from collections.abc import Sequence


class Latencies:
    """``counts``: one for each bound, of those up to it and above the one before, and one for all above the last."""

    __slots__ = ("bounds_ns", "counts", "sum_ns")

    def __init__(self, bounds_ns: Sequence[int]) -> None:
        """``bounds_ns``: rising."""
        self.bounds_ns = bounds_ns
        self.counts = [0] * (len(bounds_ns) + 1)
        self.sum_ns = 0

    def observe(self, latency_ns: int) -> None:
        self.counts[bisect_left(self.bounds_ns, latency_ns)] += 1
        self.sum_ns += latency_ns
