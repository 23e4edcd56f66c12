"""Plain twins of the curve models: the formulas of their docstrings, one number at a time, no shared code."""

import math
from collections.abc import Callable, Mapping
from typing import Any

from reference import tree_kit

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


def hazard(
    parameters: Mapping[str, Any], h: float, sigma: float, score: Callable[[int], float]
) -> list[float] | None:
    """The curve of b_k + c·offset_k + ``score`` of the horizon in ms."""
    offset = parameters["offset"]
    base = None
    if offset["coefficient"] != 0:
        base = first_passage({}, {}, h, sigma)
        if base is None:
            return None
    alive, before, curve = 1.0, 0.0, []
    for k, ms in enumerate(GRID_MS):
        logit = parameters["intercepts"][k] + score(ms)
        if base is not None:
            hit, left = base[k] - before, 1.0 - base[k]
            before = base[k]
            own = -math.inf if hit <= 0 else math.inf if left <= 0 else math.log(hit / left)
            logit += offset["coefficient"] * min(max(own, offset["min"]), offset["max"])
        alive *= 1.0 - 1.0 / (1.0 + math.exp(-min(max(logit, -700.0), 700.0)))
        curve.append(1.0 - alive)
    return curve


def logistic(parameters: Mapping[str, Any], features: Mapping[str, float], h: float, sigma: float) -> Any:
    if math.isnan(h):
        return None
    if h <= 0:
        return [1.0] * 12

    def score(ms: int) -> float:
        total = 0.0
        for entry in parameters["features"]:
            if entry["name"] not in features:
                total += entry["missing"]
                continue
            z = (TRANSFORM[entry["transform"]](features[entry["name"]]) - entry["mean"]) / entry["scale"]
            z = min(max(z, -parameters["clip"]), parameters["clip"])
            total += (entry["weight"] + entry["slope"] * math.log(ms / 500.0)) * z
        return total

    return hazard(parameters, h, sigma, score)


def trees(parameters: Mapping[str, Any], features: Mapping[str, float], h: float, sigma: float) -> Any:
    if math.isnan(h):
        return None
    if h <= 0:
        return [1.0] * 12
    row = []
    for entry in parameters["features"]:
        x = features.get(entry["name"], math.nan)
        if entry["per"] == "sigma":
            x = x / sigma if sigma > 0 else math.nan
        row.append(x)
    if parameters.get("log_room"):
        spread, deviation = (
            features.get(name, math.nan) for name in ("spread_ticks", "microprice_deviation")
        )
        room = spread / 2 - deviation
        row.append(math.nan if math.isnan(room) else math.log(h / max(room, 1e-9)))
    if parameters["log_threshold"]:
        if math.isnan(sigma) or sigma < 0:
            return None
        row.append(math.log(h / sigma) if sigma > 0 else math.inf)
    margins = [
        (entry["weights"], tree_kit.margin(*tree_kit.unpacked(entry), entry["base"], row))
        for entry in parameters["ensembles"]
    ]
    curve = []
    for k in range(12):
        logit = parameters["intercepts"][k] + sum(weights[k] * margin for weights, margin in margins)
        curve.append(max([1.0 / (1.0 + math.exp(-min(max(logit, -700.0), 700.0))), *curve]))
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

    def hazard_of(value: float) -> float:
        return 40.0 if value >= 1.0 else max(1e-12, -math.log1p(-value))

    grid = [ms * 1_000_000 for ms in GRID_MS]
    if tau_ns <= 0:
        return 0.0
    if tau_ns in grid:
        return p[grid.index(tau_ns)]
    if tau_ns < grid[0] and p[0] in (0.0, 1.0):
        return p[0]
    k = min(max(sum(tau_ns > t for t in grid) - 1, 0), 10)
    if p[k] == p[k + 1] and tau_ns > grid[0]:
        return p[k]
    left, right = hazard_of(p[k]), hazard_of(p[k + 1])
    power = (math.log(right) - math.log(left)) / math.log(grid[k + 1] / grid[k])
    if tau_ns < grid[0]:
        power = max(power, 1.0)
    value = -math.expm1(-math.exp(math.log(left) + power * math.log(tau_ns / grid[k])))
    # Where H stands below its floor of 1e-12, the points of the grid are still the bounds.
    low = 0.0 if tau_ns < grid[0] else p[11] if tau_ns > grid[11] else p[k]
    high = p[0] if tau_ns < grid[0] else 1.0 if tau_ns > grid[11] else p[k + 1]
    return min(max(value, low), high)


TWINS = {"first_passage": first_passage, "logistic": logistic, "golden": golden, "trees": trees}
