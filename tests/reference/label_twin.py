"""First passages by walking over the path, one decision after the other, in plain Python."""

import math
from collections.abc import Sequence

NEVER = 2**63 - 1
Point = tuple[int, float, bool]
"""From when on, the reference in ticks, and whether it is known."""


def watched(path: Sequence[Point], now: int, latency: int, longest: int) -> int:
    """How long from ``now + latency`` on nothing is unknown, from the decision on."""
    state = False
    for time, _, good in path:
        if time <= now:
            state = good
    if not state:
        return 0
    end = next((time for time, _, good in path if time > now and not good), path[-1][0])
    return max(0, min(end, path[-1][0]) - (now + latency)) if end - (now + latency) < longest else longest


def passage(
    path: Sequence[Point], now: int, side: int, origin: float, h: float, latency: int, observed: int
) -> int:
    """The first age at which the reference stands ``h`` or more against the desk, ``NEVER`` if at none."""
    if math.isnan(h) or math.isnan(origin) or observed <= 0:
        return NEVER
    live = now + latency
    standing = [point for point in path if point[0] <= live][-1:]
    for time, value, good in standing + [point for point in path if live < point[0] <= live + observed]:
        if good and side * (origin - value) >= h - 1e-9:
            return max(0, time - live)
    return NEVER
