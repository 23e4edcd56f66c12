"""Plain twins of the streaming windows: they keep every event and recompute from scratch.

Each has the methods of the window it stands for, so that one sequence of calls drives both.
"""

from collections.abc import Sequence

import numpy as np

BUCKET_NS = 100_000_000


class _Log:
    """Times (never going backwards) and integer values of all events since the last reset."""

    def __init__(self) -> None:
        self.now: int | None = None
        self.reset()

    def reset(self) -> None:
        self.times: list[int] = []
        self.values: list[tuple[int, ...]] = []

    def _at(self, t: int) -> int:
        self.now = t if self.now is None else max(t, self.now)
        return self.now

    def advance(self, t: int) -> None:
        self._at(t)

    def _record(self, t: int, *values: int) -> None:
        self.times.append(self._at(t))
        self.values.append(values)


class _EventLog(_Log):
    """Windows (t − W, t] over the newest ``capacity`` events."""

    def __init__(self, capacity: int, windows_ns: Sequence[int]) -> None:
        self.capacity = capacity
        self.windows_ns = windows_ns
        super().__init__()

    def inside(self, tail: int) -> list[int]:
        if self.now is None:
            return []
        oldest = max(0, len(self.times) - self.capacity)
        out = self.now - self.windows_ns[tail]
        return [k for k in range(oldest, len(self.times)) if self.times[k] > out]

    def count(self, tail: int = 0) -> int:
        return len(self.inside(tail))

    def whole(self, tail: int = 0) -> bool:
        """No event that belongs to the window has been pushed out by ``capacity`` later ones."""
        if self.now is None:
            return True
        out = self.now - self.windows_ns[tail]
        return not any(t > out for t in self.times[: max(0, len(self.times) - self.capacity)])


class RingTwin(_EventLog):
    def __init__(self, capacity: int, windows_ns: Sequence[int], values: int = 1) -> None:
        self.width = values
        super().__init__(capacity, windows_ns)

    def push(self, t: int, *values: int) -> None:
        self._record(t, *values)

    def sums(self, tail: int = 0) -> tuple[int, ...]:
        return tuple(sum(self.values[k][v] for k in self.inside(tail)) for v in range(self.width))

    def before(self, tail: int = 0) -> tuple[int, ...] | None:
        first = len(self.times) - self.count(tail)
        return self.values[first - 1] if first > 0 else None


class VwapTwin(_EventLog):
    def push(self, t: int, price: int, signed_volume: int) -> None:
        self._record(t, price, signed_volume)

    def volumes(self, tail: int = 0) -> tuple[int, int]:
        volumes = [self.values[k][1] for k in self.inside(tail)]
        return sum(v for v in volumes if v > 0), -sum(v for v in volumes if v < 0)

    def deviation(self, tail: int = 0) -> float | None:
        inside = self.inside(tail)
        if not inside:
            return None
        prices = np.array([self.values[k][0] for k in inside], dtype=float)
        volumes = np.array([abs(self.values[k][1]) for k in inside], dtype=float)
        return float(prices[-1] / np.average(prices, weights=volumes) - 1)


class TimeWeightedTwin(_Log):
    def __init__(self, capacity: int, window_ns: int) -> None:
        self.capacity = capacity
        self.window_ns = window_ns
        super().__init__()

    def set(self, t: int, value: int) -> None:
        now = self._at(t)
        if not self.values or self.values[-1] != (value,):
            self.times.append(now)
            self.values.append((value,))

    def _segments(self) -> tuple[np.ndarray, np.ndarray]:
        """Values and durations within (now − W, now]."""
        if not self.times or self.now is None:
            return np.zeros(0), np.zeros(0)
        out = self.now - self.window_ns
        starts = np.maximum(np.array(self.times, dtype=np.int64), out)
        ends = np.maximum(np.array([*self.times[1:], self.now], dtype=np.int64), out)
        return np.array(self.values, dtype=float)[:, 0], (ends - starts).astype(float)

    def advance(self, t: int) -> int:  # type: ignore[override]
        self._at(t)
        return int(self._segments()[1].sum())

    @property
    def mean(self) -> float:
        values, durations = self._segments()
        return float(np.average(values, weights=durations)) if durations.sum() > 0 else 0.0

    @property
    def variance(self) -> float:
        values, durations = self._segments()
        if durations.sum() <= 0:
            return 0.0
        return float(np.average((values - self.mean) ** 2, weights=durations))

    @property
    def whole(self) -> bool:
        """The value in effect at now − W, and all after it, are among the newest ``capacity``."""
        if self.now is None or len(self.times) <= self.capacity:
            return True
        kept_from = self.times[len(self.times) - self.capacity]
        return kept_from <= self.now - self.window_ns


class BucketsTwin(_Log):
    def __init__(self, lengths: Sequence[int], channels: int = 1) -> None:
        self.lengths = lengths
        super().__init__()

    def add(self, t: int, value: int = 1, channel: int = 0) -> None:
        self._record(t, value, channel)

    def sum(self, tail: int = 0, channel: int = 0) -> int:
        if self.now is None:
            return 0
        newest = self.now // BUCKET_NS
        return sum(
            value
            for t, (value, into) in zip(self.times, self.values, strict=True)
            if into == channel and newest - self.lengths[tail] < t // BUCKET_NS <= newest
        )


class EwmaVarianceTwin:
    """Σ r_i² e^{−(t − t_i)/W} over W(1 − e^{−T/W}), with unobserved time cut out of the time axis."""

    def __init__(self, window_ns: int) -> None:
        self.window_ns = window_ns
        self.events: list[tuple[int, float]] = []
        self.start_ns: int | None = None
        self.cut_ns = 0

    def start(self, t: int) -> None:
        self.events = []
        self.start_ns = t
        self.cut_ns = 0

    def add(self, t: int, r: float) -> None:
        if self.start_ns is None:
            self.start(t)
        self.events.append((t - self.cut_ns, r))

    def skip(self, gap_ns: int, t: int) -> None:
        if self.start_ns is not None:
            self.cut_ns += t - gap_ns

    def rate(self, t: int) -> float:
        if self.start_ns is None or t - self.cut_ns <= self.start_ns:
            return 0.0
        now = t - self.cut_ns
        ages = np.array([now - at for at, _ in self.events], dtype=float)
        squares = np.array([r * r for _, r in self.events])
        window = self.window_ns
        total = float(np.sum(squares * np.exp(-ages / window)))
        return float(total / (window * 1e-9 * -np.expm1(-(now - self.start_ns) / window)))


class EwmaMeanTwin:
    def __init__(self, window_ns: int) -> None:
        self.window_ns = window_ns
        self.times: list[int] = []
        self.values: list[float] = []

    def set(self, t: int, value: float) -> None:
        self.times.append(t)
        self.values.append(value)

    def at(self, t: int) -> float:
        if not self.times:
            return 0.0
        if t <= self.times[0]:
            return self.values[-1]
        ages = np.array([t - at for at in [*self.times, t]], dtype=float) / self.window_ns
        weights = np.exp(-ages[1:]) * -np.expm1(ages[1:] - ages[:-1])
        return float(np.average(self.values, weights=weights))


class EwmaCorrelationTwin:
    """Moments over the steps where anything moved, weighted by age; idle steps say nothing."""

    def __init__(self, steps: float) -> None:
        self.steps = steps
        self.rows: list[tuple[int, float, float]] = []

    def add(self, step: int, x: float, y: float) -> None:
        if x != 0 or y != 0:
            self.rows.append((step, x, y))

    def _weights(self, step: int) -> np.ndarray:
        return np.exp(-np.array([step - row[0] for row in self.rows], dtype=float) / self.steps)

    @property
    def correlation(self) -> float | None:
        if not self.rows:
            return None
        weights = self._weights(self.rows[-1][0])
        x, y = np.array([row[1:] for row in self.rows]).T
        xx, yy, xy = (float(np.sum(weights * product)) for product in (x * x, y * y, x * y))
        return float(xy / np.sqrt(xx * yy)) if xx > 0 and yy > 0 else None

    def n(self, step: int) -> float:
        return float((1 + np.exp(-1 / self.steps)) * np.sum(self._weights(step))) if self.rows else 0.0
