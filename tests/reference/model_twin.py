"""Plain twins of the curve models: the formulas of their docstrings, one number at a time, no shared code."""

import math
from collections.abc import Mapping
from typing import Any

GRID_MS = (25, 50, 100, 150, 250, 500, 750, 1000, 1500, 2000, 3000, 5000)

TRANSFORM = {
    "identity": lambda x: x,
    "abs": abs,
    "asinh": math.asinh,
    "log1p": lambda x: math.log(1.0 + max(x, 0.0)),
    "log": lambda x: math.log(max(x, 1e-9)),
}


def _normal_cdf(x: float) -> float:
    return 0.5 * math.erfc(-x / math.sqrt(2.0))


def first_passage(
    parameters: Mapping[str, Any], features: Mapping[str, float], h: float, sigma: float
) -> Any:
    if math.isnan(h) or math.isnan(sigma) or sigma < 0:
        return None
    if h <= 0:
        return [1.0] * 12
    if sigma == 0:
        return [0.0] * 12
    return [2.0 * _normal_cdf(-h / (sigma * math.sqrt(ms / 1000.0))) for ms in GRID_MS]


def logistic(parameters: Mapping[str, Any], features: Mapping[str, float], h: float, sigma: float) -> Any:
    if math.isnan(h):
        return None
    if h <= 0:
        return [1.0] * 12
    offset = parameters["offset"]
    base = None
    if offset["coefficient"] != 0:
        base = first_passage({}, {}, h, sigma)
        if base is None:
            return None
    alive, before, curve = 1.0, 0.0, []
    for k, ms in enumerate(GRID_MS):
        logit = parameters["intercepts"][k]
        if base is not None:
            hit, left = base[k] - before, 1.0 - base[k]
            before = base[k]
            own = -math.inf if hit <= 0 else math.inf if left <= 0 else math.log(hit / left)
            logit += offset["coefficient"] * min(max(own, offset["min"]), offset["max"])
        for entry in parameters["features"]:
            if entry["name"] not in features:
                logit += entry["missing"]
                continue
            z = (TRANSFORM[entry["transform"]](features[entry["name"]]) - entry["mean"]) / entry["scale"]
            z = min(max(z, -parameters["clip"]), parameters["clip"])
            logit += (entry["weight"] + entry["slope"] * math.log(ms / 500.0)) * z
        alive *= 1.0 - 1.0 / (1.0 + math.exp(-min(max(logit, -700.0), 700.0)))
        curve.append(1.0 - alive)
    return curve


def golden(parameters: Mapping[str, Any], features: Mapping[str, float], h: float, sigma: float) -> Any:
    score = parameters["intercept"]
    for entry in parameters["features"]:
        if entry["name"] in features:
            x = TRANSFORM[entry["transform"]](features[entry["name"]])
            score += entry["weight"] * min(
                max((x - entry["calm"]) / (entry["stress"] - entry["calm"]), 0.0), 1.0
            )
    p500 = 1.0 / (1.0 + math.exp(-score))
    return [1.0 - (1.0 - p500) ** ((ms / 500.0) ** parameters["gamma"]) for ms in GRID_MS]


def probability_at(p: list[float], tau_ns: int) -> float:
    """The interpolation rules of quotelife.model.curve, from their text."""

    def hazard(value: float) -> float:
        return 40.0 if value >= 1.0 else -math.log1p(-value)

    grid = [ms * 1_000_000 for ms in GRID_MS]
    if tau_ns <= 0:
        return 0.0
    if tau_ns in grid:
        return p[grid.index(tau_ns)]
    if tau_ns < grid[0] and p[0] >= 1.0:
        return 1.0
    k = min(max(sum(tau_ns > t for t in grid) - 1, 0), 10)
    left, right = hazard(p[k]), hazard(p[k + 1])
    if left == right:
        power = 1.0 if tau_ns < grid[0] else 0.0
    elif left == 0.0:
        if tau_ns < grid[0]:
            return 0.0
        return -math.expm1(-right * (tau_ns - grid[k]) / (grid[k + 1] - grid[k]))
    else:
        power = (math.log(right) - math.log(left)) / math.log(grid[k + 1] / grid[k])
        power = max(power, 1.0) if tau_ns < grid[0] else power
    return -math.expm1(-math.exp(math.log(left) + power * math.log(tau_ns / grid[k]))) if left else 0.0


TWINS = {"first_passage": first_passage, "logistic": logistic, "golden": golden}
