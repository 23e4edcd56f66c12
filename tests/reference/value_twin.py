"""Expected value in plain Python: the formula of SPEC.md 6.1 read literally, adaptive quadrature, dense search.

Shares nothing with the compiled code but the curve's reading between its points (``model.curve.probability_at``,
held against its own twin elsewhere).
"""

import math
from collections.abc import Callable, Sequence
from functools import cached_property
from itertools import pairwise

from quotelife.config.schema import TierValue, ValueSettings
from quotelife.model.curve import probability_at
from quotelife.records import HORIZONS_NS

_NODES = 15
_KRONROD = [
    (0.991455371120812639206854697526329, 0.022935322010529224963732008058970, 0.0),
    (0.949107912342758524526189684047851, 0.063092092629978553290700663189204, 0.129484966168869693270611432679082),
    (0.864864423359769072789712788640926, 0.104790010322250183839876322541518, 0.0),
    (0.741531185599394439863864773280788, 0.140653259715525918745189590510238, 0.279705391489276667901467771423780),
    (0.586087235467691130294144691693, 0.169004726639267902826583426598550, 0.0),
    (0.405845151377397166906606412076961, 0.190350578064785409913256402421014, 0.381830050505118944950369775488975),
    (0.207784955007898467600689403773245, 0.204432940075298892414161999234649, 0.0),
    (0.0, 0.209482141084727828012999174891714, 0.417959183673469387755102040816327),
]  # fmt: skip


def _kronrod(f: Callable[[float], float], a: float, b: float) -> tuple[float, float]:
    """Gauss-Kronrod 7-15: (integral, estimate of its error)."""
    centre, half = (a + b) / 2, (b - a) / 2
    fine = coarse = 0.0
    for x, wide, narrow in _KRONROD:
        value = f(centre) if x == 0 else f(centre - half * x) + f(centre + half * x)
        fine += wide * value
        coarse += narrow * value
    return half * fine, abs(half * (fine - coarse))


def integrate(f: Callable[[float], float], a: float, b: float, tolerance: float, depth: int = 40) -> float:
    value, error = _kronrod(f, a, b)
    if error <= tolerance or depth == 0:
        return value
    middle = (a + b) / 2
    return integrate(f, a, middle, tolerance / 2, depth - 1) + integrate(
        f, middle, b, tolerance / 2, depth - 1
    )


class ValueTwin:
    """V of one problem, e and h in ticks, inventory as position / limit."""

    def __init__(
        self,
        tier: TierValue,
        terms: ValueSettings,
        p: Sequence[float],
        edge: float,
        h: float,
        inventory: float = 0.0,
    ) -> None:
        self.tier, self.terms, self.p = tier, terms, list(p)
        self.edge, self.h, self.inventory = edge, h, inventory

    def probability(self, tau_ns: float) -> float:
        """P(τ) between whole nanoseconds: a line, finer than anything it is compared with."""
        if tau_ns <= 0:
            return 0.0
        low = math.floor(tau_ns)
        share = tau_ns - low
        left = probability_at(self.p, low) if low > 0 else (self.p[0] if self.p[0] >= 1 else 0.0)
        return left if share == 0 else left + share * (probability_at(self.p, low + 1) - left)

    def z(self, tau_ns: float) -> float:
        x = tau_ns - self.tier.latency_ns
        if x <= 0:
            return -math.inf
        return (math.log(x) - math.log(self.tier.response_median_ns)) / self.tier.response_sigma

    def accepted(self, tau_ns: float) -> float:
        """F_A(τ)."""
        z = self.z(tau_ns)
        return self.tier.hit_probability * 0.5 * math.erfc(-z / math.sqrt(2)) if z > -math.inf else 0.0

    @cached_property
    def bends(self) -> list[float]:
        return sorted({float(tau) for tau in HORIZONS_NS} | {float(self.tier.latency_ns)})

    def moment(self, low_ns: float, high_ns: float) -> float:
        """∫ P dF_A over [low, high], by z, piece by piece of the curve."""
        total = 0.0
        cuts = [low_ns, *(tau for tau in self.bends if low_ns < tau < high_ns), high_ns]
        for a, b in pairwise(cuts):
            z_a, z_b = max(self.z(a), -9.0), min(self.z(b), 9.0)
            if z_b > z_a:
                total += integrate(self._weighted, z_a, z_b, 1e-13)
        return self.tier.hit_probability * total

    def _weighted(self, z: float) -> float:
        u = self.tier.latency_ns + self.tier.response_median_ns * math.exp(self.tier.response_sigma * z)
        return self.probability(u) * math.exp(-z * z / 2) / math.sqrt(2 * math.pi)

    def from_parts(self, tau_ns: float, moment: float) -> float:
        tier, terms = self.tier, self.terms
        accepted = self.accepted(tau_ns)
        relationship = terms.relationship_in_h * self.h
        benign = (self.edge + relationship) * accepted - tier.adverse_share * self.h * moment
        loss = max(0.0, tier.loss_in_h * self.h - self.edge)
        return (
            (1 - tier.informed_share) * benign
            - terms.pick_off_weight
            * tier.informed_share
            * loss
            * self.probability(tau_ns - tier.taker_latency_ns)
            - terms.inventory_weight * self.inventory * self.h * accepted
        )

    def value(self, tau_ns: float) -> float:
        return self.from_parts(tau_ns, self.moment(0.0, tau_ns))

    def best(self, low_ns: float, high_ns: float, points: int = 400) -> tuple[float, float]:
        """(τ, V) of the largest V on a dense grid that knows where V bends, then zoomed in twelve times."""
        latency, taker = self.tier.latency_ns, self.tier.taker_latency_ns
        grid = {low_ns, high_ns}
        grid |= {float(tau) + shift for tau in (0, *HORIZONS_NS) for shift in (0, taker)}
        for k in range(points + 1):
            grid.add(low_ns * (high_ns / low_ns) ** (k / points))
            z = -8 + 16 * k / points
            grid.add(latency + self.tier.response_median_ns * math.exp(self.tier.response_sigma * z))
        grid = {tau for tau in grid if low_ns <= tau <= high_ns}
        for shift in (0, taker):
            grid |= {tau for tau in self._rises(points, shift) if low_ns <= tau <= high_ns}
        best = self._scan(sorted(grid))
        ordered = sorted(grid)
        # every top of the scan that could still be the highest is zoomed in on
        tops = [
            i for i in range(len(ordered))
            if best[i] >= max(best) - 0.02 * self.h
            and best[i] >= max(best[max(i - 1, 0)], best[min(i + 1, len(ordered) - 1)])
        ]  # fmt: skip
        found = (ordered[0], -math.inf)
        for top in tops:
            a, b = ordered[max(top - 1, 0)], ordered[min(top + 1, len(ordered) - 1)]
            for _ in range(12):
                taus = sorted({a + (b - a) * k / 12 for k in range(13)})
                values = self._scan(taus)
                k = max(range(len(values)), key=values.__getitem__)
                if values[k] > found[1]:
                    found = (taus[k], values[k])
                a, b = taus[max(k - 1, 0)], taus[min(k + 1, len(taus) - 1)]
                if b - a < 1e-3:
                    break
        return found

    def _scan(self, taus: Sequence[float]) -> list[float]:
        moment, last, out = 0.0, 0.0, []
        for tau in taus:
            moment += self.moment(last, tau) if self.tier.adverse_share else 0.0
            last = tau
            out.append(self.from_parts(tau, moment))
        return out

    def _rises(self, points: int, shift: float) -> set[float]:
        """Ages at which ln(−ln(1 − P)) takes evenly spread values: where the curve is steep, many."""
        found: set[float] = set()
        for k in range(len(self.p) - 1):
            left, right = (max(1e-12, -math.log1p(-min(p, 1 - 1e-16))) for p in self.p[k : k + 2])
            steps = min(points, int(8 * (math.log(right) - math.log(left))) + 1)
            for i in range(1, steps):
                found.add(HORIZONS_NS[k] * (HORIZONS_NS[k + 1] / HORIZONS_NS[k]) ** (i / steps) + shift)
        return found
