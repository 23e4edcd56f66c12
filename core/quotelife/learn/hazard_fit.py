"""Fitting the pooled logistic hazard, and scoring curves. Offline; numpy only.

The model is that of ``quotelife.model.logistic``. Its coefficients maximise the penalised likelihood of the
discrete-time survival data by Newton's method: convex, so that the same data give the same answer. The ridge
pulls towards first passage (c = 1, all else 0), so that what the data do not say is left to the diffusion.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from quotelife.records import HORIZONS_NS

Floats = npt.NDArray[np.float64]

K = len(HORIZONS_NS)
LOG_TAU: Floats = np.log(np.array(HORIZONS_NS) / 500e6)


@dataclass(frozen=True)
class HazardData:
    """Survival data of n decisions over f features.

    ``z`` (n, f): transformed, standardised and clipped, 0 where missing; ``missing`` (n, f) bool; ``offset``
    (n, 12): clipped first-passage logits; ``event`` (n,): bin in which h was passed, 12 if in none.
    """

    z: Floats
    missing: npt.NDArray[np.bool_]
    offset: Floats
    event: npt.NDArray[np.int64]


@dataclass(frozen=True)
class HazardFit:
    """Coefficients in the names of ``quotelife.model.logistic``; ``log_loss`` is per bin at risk."""

    intercepts: Floats
    coefficient: float
    weight: Floats
    slope: Floats
    missing: Floats
    iterations: int
    log_loss: float


def fit_hazard(data: HazardData, *, ridge: float = 10.0, iterations_max: int = 50) -> HazardFit:
    """The penalised maximum-likelihood fit. ``ridge`` is in units of observations of variance 1.

    ``ValueError`` when there are no rows, or Newton's method has not settled after ``iterations_max`` steps.
    """
    n, f = data.z.shape
    if n == 0:
        raise ValueError("there are no rows to fit")
    seen = np.flatnonzero(data.missing.any(axis=0))
    size = K + 1 + 2 * f + len(seen)
    prior = np.zeros(size)
    prior[K] = 1.0
    theta = prior.copy()
    loss = _loss(data, seen, theta, prior, ridge)
    for iteration in range(1, iterations_max + 1):
        gradient = ridge * (theta - prior)
        hessian = np.diag(np.full(size, ridge))
        for k in range(K):
            risk = data.event >= k
            x = _design(data, seen, k)[risk]
            columns = np.concatenate([[k], np.arange(K, size)])
            p = 1.0 / (1.0 + np.exp(-(x @ theta[columns])))
            gradient[columns] += x.T @ (p - (data.event[risk] == k))
            hessian[np.ix_(columns, columns)] += x.T @ (x * (p * (1.0 - p))[:, None])
        step = np.linalg.solve(hessian, gradient)
        scale = 1.0
        while (trial := _loss(data, seen, theta - scale * step, prior, ridge)) > loss and scale > 1e-6:
            scale /= 2.0
        theta = theta - scale * step
        settled = abs(loss - trial) <= 1e-10 * abs(loss)
        loss = trial
        if settled:
            missing = np.zeros(f)
            missing[seen] = theta[K + 1 + 2 * f :]
            at_risk = int(np.minimum(data.event + 1, K).sum())
            return HazardFit(
                theta[:K],
                float(theta[K]),
                theta[K + 1 : K + 1 + f],
                theta[K + 1 + f : K + 1 + 2 * f],
                missing,
                iteration,
                float(_loss(data, seen, theta, prior, 0.0) / at_risk),
            )
    raise ValueError(
        f"the fit has not settled in {iterations_max} steps; raise ridge or look for a broken feature"
    )


def _design(data: HazardData, seen: npt.NDArray[np.int64], k: int) -> Floats:
    return np.hstack(
        [
            np.ones((len(data.event), 1)),
            data.offset[:, k : k + 1],
            data.z,
            data.z * LOG_TAU[k],
            data.missing[:, seen],
        ]
    )


def _loss(data: HazardData, seen: npt.NDArray[np.int64], theta: Floats, prior: Floats, ridge: float) -> float:
    total = 0.5 * ridge * float(np.sum((theta - prior) ** 2))
    for k in range(K):
        risk = data.event >= k
        logit = _design(data, seen, k)[risk] @ np.concatenate([theta[k : k + 1], theta[K:]])
        total += float(np.sum(np.logaddexp(0.0, logit) - logit * (data.event[risk] == k)))
    return total


def auc(p: Floats, hit: npt.NDArray[np.bool_]) -> float:
    """Area under the ROC curve, ties counted half; NaN when one class is empty."""
    _, place, count = np.unique(p, return_inverse=True, return_counts=True)
    rank = (np.cumsum(count) - (count - 1) / 2.0)[place]
    hits = int(hit.sum())
    misses = len(hit) - hits
    if hits == 0 or misses == 0:
        return float("nan")
    return float((rank[hit].sum() - hits * (hits + 1) / 2.0) / (hits * misses))


def brier_skill(p: Floats, hit: npt.NDArray[np.bool_]) -> float:
    """1 − Brier score / that of the constant base rate of the same rows; NaN when one class is empty."""
    rate = float(hit.mean())
    if rate in (0.0, 1.0):
        return float("nan")
    return float(1.0 - np.mean((p - hit) ** 2) / (rate * (1.0 - rate)))


def reliability(p: Floats, hit: npt.NDArray[np.bool_], bins: int = 10) -> list[dict[str, Any]]:
    """Rows cut into ``bins`` quantiles of p: how many, the mean p, the share that was hit."""
    table = []
    for part in np.array_split(np.argsort(p, kind="stable"), bins):
        if len(part):
            table.append({"rows": len(part), "p": float(p[part].mean()), "hit": float(hit[part].mean())})
    return table


def calibration_error(table: list[dict[str, Any]]) -> float:
    """Expected calibration error of a reliability table: mean |hit − p| over its rows."""
    rows = sum(entry["rows"] for entry in table)
    return float(sum(entry["rows"] * abs(entry["hit"] - entry["p"]) for entry in table) / rows)


def score(p: Floats, event: npt.NDArray[np.int64]) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    """(metrics, reliability) per horizon of curves ``p`` (n, 12) against the bins in which h was passed.

    A horizon whose base rate is 0 or 1 has no AUC and no skill, and is left out.
    """
    metrics, tables = [], []
    for k, horizon_ns in enumerate(HORIZONS_NS):
        hit = event <= k
        if hit.all() or not hit.any():
            continue
        table = reliability(p[:, k], hit)
        metrics.append(
            {
                "horizon_ns": horizon_ns,
                "rows": len(hit),
                "base_rate": float(hit.mean()),
                "auc": auc(p[:, k], hit),
                "brier_skill": brier_skill(p[:, k], hit),
                "calibration_error": calibration_error(table),
            }
        )
        tables.append({"horizon_ns": horizon_ns, "bins": table})
    return metrics, tables
