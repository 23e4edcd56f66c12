"""Expected value in numpy: docs/expected-value.md read literally, short Gauss-Legendre pieces, dense search.

Shares nothing with the compiled code: the curve is read by its definition (ln H linear in ln τ between the horizons;
before them the first power law, at least linear). Integrals run in z = (ln(u − ℓ) − ln median)/σ over pieces that end
wherever curve or client bend and on which neither z, nor ln u, nor ln H rises by more than a half: 16 nodes on each.
"""

import math
from collections.abc import Sequence
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from quotelife.config.schema import TierValue, ValueSettings
from quotelife.records import HORIZONS_NS

Array = NDArray[np.float64]

_X, _W = np.polynomial.legendre.leggauss(16)
_GRID = np.array(HORIZONS_NS, dtype=np.float64)
_RISE = 0.5  # of z, of ln u, of ln H over one piece
_Z_MAX = 9.0
_gauss = np.vectorize(lambda z: 0.5 * math.erfc(-z / math.sqrt(2)), otypes=[np.float64])


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
        self.tier, self.terms = tier, terms
        self.edge, self.h, self.inventory = edge, h, inventory
        self.p = np.array(p, dtype=np.float64)
        with np.errstate(divide="ignore"):
            self.hazard = np.where(self.p >= 1, 40.0, np.maximum(1e-12, -np.log1p(-self.p)))
        self.exponent = np.diff(np.log(self.hazard)) / np.diff(np.log(_GRID))
        ends = np.unique(np.concatenate([self.z(self._cuts()), np.arange(-_Z_MAX, _Z_MAX + 0.1, 0.25)]))
        self._ends = ends[(ends >= -_Z_MAX) & (ends <= _Z_MAX)]
        pieces = self._integrals(self._ends[:-1], self._ends[1:])
        self._moments = np.concatenate([[0.0], np.cumsum(pieces)])

    def probability(self, tau_ns: Array) -> Array:
        """P(τ)."""
        tau = np.asarray(tau_ns, dtype=np.float64)
        k = np.searchsorted(_GRID, tau, side="left")  # τ in (grid[k − 1], grid[k]]
        left = np.maximum(k - 1, 0)
        exponent = np.where(k == 0, max(1.0, self.exponent[0]), self.exponent[np.minimum(left, 10)])
        with np.errstate(divide="ignore", over="ignore", invalid="ignore"):
            log_hazard = np.log(self.hazard[left]) + exponent * (np.log(tau) - np.log(_GRID[left]))
            p = -np.expm1(-np.exp(log_hazard))
        high = self.p[np.minimum(k, 11)]
        low = np.where(k == 0, high if self.p[0] <= 0 or self.p[0] >= 1 else 0.0, self.p[left])
        p = np.where((low == high) | (tau == _GRID[np.minimum(k, 11)]), high, np.clip(p, low, high))
        return np.where(tau > 0, p, 0.0)

    def z(self, tau_ns: Array) -> Array:
        x = np.asarray(tau_ns, dtype=np.float64) - self.tier.latency_ns
        with np.errstate(divide="ignore", invalid="ignore"):
            z = (np.log(x) - math.log(self.tier.response_median_ns)) / self.tier.response_sigma
        return np.where(x > 0, z, -np.inf)

    def accepted(self, tau_ns: Array) -> Array:
        """F_A(τ)."""
        return np.asarray(self.tier.hit_probability * _gauss(self.z(tau_ns)))

    def _u(self, z: Array) -> Array:
        tier = self.tier
        return np.asarray(
            tier.latency_ns + np.exp(math.log(tier.response_median_ns) + tier.response_sigma * z)
        )

    def _cuts(self) -> Array:
        """Ages between which the integrand is tame: horizons, and steps of ln u and of ln H between them."""
        low = max(self._u(np.array(-_Z_MAX)), 1e-3)
        cuts = [_GRID, np.exp(np.arange(math.log(low), math.log(_GRID[-1]) + _RISE, _RISE))]
        u = np.concatenate([[low], _GRID[low < _GRID]])
        for a, b in pairwise(u):
            k = int(np.searchsorted(_GRID, b)) - 1
            exponent = max(1.0, self.exponent[0]) if k < 0 else self.exponent[k]
            steps = int(exponent * math.log(b / a) / _RISE) + 1
            cuts.append(a * (b / a) ** (np.arange(1, steps) / steps))
        # ln u rises by no more than a half a step of z either
        steps = math.ceil(2 * _Z_MAX * self.tier.response_sigma / _RISE)
        cuts.append(self._u(np.linspace(-_Z_MAX, _Z_MAX, steps + 1)))
        return np.concatenate(cuts)

    def _integrals(self, a: Array, b: Array) -> Array:
        """∫ P dG over each [a, b] of z."""
        half = 0.5 * (b - a)
        z = (0.5 * (a + b))[..., None] + half[..., None] * _X
        f = self.probability(self._u(z)) * np.exp(-0.5 * z * z) / math.sqrt(2 * math.pi)
        return np.asarray(half * (f @ _W))

    def moment(self, tau_ns: Array) -> Array:
        """∫₀^τ P dF_A."""
        z = np.clip(self.z(tau_ns), -_Z_MAX, _Z_MAX)
        piece = np.clip(np.searchsorted(self._ends, z, side="right") - 1, 0, len(self._ends) - 1)
        rest = self._integrals(self._ends[piece], z)
        return np.asarray(self.tier.hit_probability * (self._moments[piece] + rest))

    def values(self, tau_ns: Array) -> Array:
        """V of many lives, any shape."""
        tier, terms = self.tier, self.terms
        accepted = self.accepted(tau_ns)
        benign = (self.edge + terms.relationship_in_h * self.h) * accepted
        if tier.adverse_share:
            benign = benign - tier.adverse_share * self.h * self.moment(tau_ns)
        loss = max(0.0, tier.loss_in_h * self.h - self.edge)
        picked_off = self.probability(np.asarray(tau_ns) - tier.taker_latency_ns)
        return np.asarray(
            (1 - tier.informed_share) * benign
            - terms.pick_off_weight * tier.informed_share * loss * picked_off
            - terms.inventory_weight * self.inventory * self.h * accepted
        )

    def value(self, tau_ns: float) -> float:
        return float(self.values(np.array([tau_ns], dtype=np.float64))[0])

    def best(self, low_ns: float, high_ns: float, points: int = 400) -> tuple[float, float]:
        """(τ, V) of the largest V on a dense grid that knows where V bends, then zoomed in on."""
        taker = self.tier.taker_latency_ns
        bends = np.concatenate([[0.0], _GRID, self._rises(points)])
        share = np.arange(points + 1) / points
        grid = np.concatenate(
            [
                [low_ns, high_ns],
                bends,
                bends + taker,
                low_ns * (high_ns / low_ns) ** share,
                self._u(-8 + 16 * share),
            ]
        )
        grid = np.unique(grid[(grid >= low_ns) & (grid <= high_ns)])
        values = self.values(grid)
        padded = np.concatenate([[-math.inf], values, [-math.inf]])
        # every top of the scan that could still be the highest is zoomed in on
        tops = np.flatnonzero(
            (values >= values.max() - 0.02 * self.h) & (values >= padded[:-2]) & (values >= padded[2:])
        )
        a, b = grid[np.maximum(tops - 1, 0)], grid[np.minimum(tops + 1, len(grid) - 1)]
        best, most = float(grid[values.argmax()]), float(values.max())
        for _ in range(12):
            taus = a[:, None] + (b - a)[:, None] * np.linspace(0, 1, 13)
            values = self.values(taus)
            top = values.argmax(axis=1)
            if values.max() > most:
                best, most = float(taus.flat[values.argmax()]), float(values.max())
            rows = np.arange(len(taus))
            a, b = taus[rows, np.maximum(top - 1, 0)], taus[rows, np.minimum(top + 1, 12)]
            if (b - a).max() < 1e-3:
                break
        return best, most

    def _rises(self, points: int) -> Array:
        """Ages at which ln H takes evenly spread values: where the curve is steep, many."""
        found = [np.empty(0)]
        for k in range(len(self.p) - 1):
            steps = min(points, int(8 * math.log(self.hazard[k + 1] / self.hazard[k])) + 1)
            found.append(_GRID[k] * (_GRID[k + 1] / _GRID[k]) ** (np.arange(1, steps) / steps))
        return np.concatenate(found)


class AgedTwin:
    """V of a quote that has stood for ``age_ns`` and was not accepted, counted from now: the conditional density of the
    accept time is integrated over ages of the quote, pieces as above and in ln u down to where P is nothing."""

    NOBODY = 1e-9

    def __init__(self, fresh: ValueTwin, age_ns: float) -> None:
        self.fresh, self.age = fresh, age_ns
        tier = fresh.tier
        z = float(fresh.z(np.array(age_ns)))
        self.left = (1 - tier.hit_probability) + tier.hit_probability * 0.5 * math.erfc(z / math.sqrt(2))
        self.hit = tier.hit_probability / self.left if self.left > self.NOBODY else 0.0

    def density(self, u: Array) -> Array:
        """Of the accept at u from now, given none so far."""
        tier = self.fresh.tier
        x = u + (self.age - tier.latency_ns)
        z = self.fresh.z(u + self.age)
        with np.errstate(divide="ignore", invalid="ignore"):
            g = np.exp(-0.5 * z * z) / (math.sqrt(2 * math.pi) * tier.response_sigma * x)
        return self.hit * np.where(x > 0, g, 0.0)

    def integrals(self, tau_ns: float) -> tuple[float, float]:
        """(F(τ | A), ∫₀^τ P dF)."""
        fresh = self.fresh
        cuts = np.concatenate(
            [
                [0.0, tau_ns],
                fresh._cuts(),
                tau_ns * np.exp(-0.25 * np.arange(80)),
                fresh._u(np.arange(-_Z_MAX, 12.0, 0.25)) - self.age,
            ]
        )
        cuts = np.unique(cuts[(cuts >= 0) & (cuts <= tau_ns)])
        half = 0.5 * np.diff(cuts)
        u = (cuts[:-1] + half)[:, None] + half[:, None] * _X
        weight = half[:, None] * _W * self.density(u)
        return float(weight.sum()), float((weight * fresh.probability(u)).sum())

    def value(self, tau_ns: float) -> float:
        fresh = self.fresh
        tier, terms, h = fresh.tier, fresh.terms, fresh.h
        accepted, moment = self.integrals(tau_ns)
        loss = max(0.0, tier.loss_in_h * h - fresh.edge)
        picked_off = float(fresh.probability(np.array([tau_ns - tier.taker_latency_ns]))[0])
        return (
            (1 - tier.informed_share)
            * ((fresh.edge + terms.relationship_in_h * h) * accepted - tier.adverse_share * h * moment)
            - terms.pick_off_weight * tier.informed_share * loss * picked_off
            - terms.inventory_weight * fresh.inventory * h * accepted
        )
