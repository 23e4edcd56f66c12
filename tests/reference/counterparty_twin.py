"""Counterparty statistics in plain Python: every quote kept, every formula written out, the fit by another method."""

from dataclasses import dataclass, field
from math import erfc, exp, log, sqrt

import numpy as np
from scipy.optimize import minimize

MS = 1e6


@dataclass
class Prior:
    hit: float = 0.3
    median_ns: float = 1000 * MS
    sigma: float = 0.8
    hit_weight: float = 20.0
    response_weight: float = 10.0


@dataclass
class Quotes:
    """Response times, each with a weight: ages of answers, lives of quotes without one, and refusals."""

    answers: list[tuple[float, float]] = field(default_factory=list)
    lives: list[tuple[float, float]] = field(default_factory=list)
    within: list[tuple[float, float]] = field(
        default_factory=list
    )  # accepted, nobody told when: by their lives
    refused: float = 0.0

    def forget(self, keep: float) -> None:
        self.answers = [(age, weight * keep) for age, weight in self.answers]
        self.lives = [(life, weight * keep) for life, weight in self.lives]
        self.within = [(life, weight * keep) for life, weight in self.within]
        self.refused *= keep

    def log_posterior(self, prior: Prior, hit: float, median_ns: float, sigma: float) -> float:
        mu, mu0 = log(median_ns), log(prior.median_ns)
        total = prior.hit_weight * (prior.hit * log(hit) + (1 - prior.hit) * log(1 - hit))
        total -= prior.response_weight * (log(sigma) + (prior.sigma**2 + (mu - mu0) ** 2) / (2 * sigma**2))
        for age, weight in self.answers:
            z = (log(age) - mu) / sigma
            total += weight * (log(hit) - log(sigma) - z * z / 2)
        for life, weight in self.lives:
            z = (log(life) - mu) / sigma
            total += weight * log(1 - hit + hit * 0.5 * erfc(z / sqrt(2)))
        for life, weight in self.within:
            z = (log(life) - mu) / sigma
            total += weight * log(hit * 0.5 * erfc(-z / sqrt(2)))
        return total + self.refused * log(1 - hit)

    def fit(self, prior: Prior) -> tuple[float, float, float]:
        """(hit, median in ns, sigma) of the largest posterior, by a search that knows no derivative."""

        def cost(x: np.ndarray) -> float:
            hit = 1 / (1 + exp(-x[0]))
            return -self.log_posterior(prior, hit, exp(x[1]) * prior.median_ns, exp(x[2]))

        start = np.array([log(prior.hit / (1 - prior.hit)), 0.0, log(prior.sigma)])
        found = minimize(
            cost, start, method="Nelder-Mead", options={"xatol": 1e-7, "fatol": 1e-11, "maxiter": 4000}
        )
        hit = 1 / (1 + exp(-found.x[0]))
        return hit, exp(found.x[1]) * prior.median_ns, exp(found.x[2])


def beta_binomial(prior: float, weight: float, quotes: float, fills: float) -> tuple[float, float]:
    """Mean and standard deviation of the fill rate."""
    a, b = weight * prior + fills, weight * (1 - prior) + quotes - fills
    mean = a / (a + b)
    return mean, sqrt(mean * (1 - mean) / (a + b + 1))
