"""Plain twin of the rolling recalibration: every label by itself, exact Newton, no bins, no incremental sums."""

import math
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

BUCKETS = 60
Z_MAX = 16.0


def logit(p: float) -> float:
    if p <= 0.0:
        return -Z_MAX
    if p >= 1.0:
        return Z_MAX
    return min(Z_MAX, max(-Z_MAX, math.log(p / (1.0 - p))))


def loss(z: NDArray[np.float64], y: NDArray[np.float64], ridge: float, a: float, b: float) -> float:
    v = a + b * z
    return float(np.sum(np.logaddexp(0.0, v) - y * v) + 0.5 * ridge * (a * a + (b - 1.0) ** 2))


def fit(p: Sequence[float], hit: Sequence[int], ridge: float) -> tuple[float, float]:
    """The pair without bounds."""
    z = np.array([logit(value) for value in p])
    y = np.array(hit, dtype=float)
    theta = np.array([0.0, 1.0])
    design = np.stack([np.ones_like(z), z], axis=1)
    for _ in range(100):
        q = 1.0 / (1.0 + np.exp(-(design @ theta)))
        gradient = design.T @ (q - y) + ridge * (theta - [0.0, 1.0])
        hessian = (design * (q * (1.0 - q))[:, None]).T @ design + ridge * np.eye(2)
        step = np.linalg.solve(hessian, gradient)
        size = 1.0
        while size > 1e-9 and loss(z, y, ridge, *(theta - size * step)) > loss(z, y, ridge, *theta):
            size /= 2
        theta = theta - size * step
        if np.abs(step).max() < 1e-12:
            break
    return float(theta[0]), float(theta[1])


def in_window(window_ns: int, now_ns: int, resolved_ns: int) -> bool:
    """Is a label still counted? The window goes in 60 parts of absolute time."""
    part = -(-window_ns // BUCKETS)
    return now_ns // part - resolved_ns // part < BUCKETS
