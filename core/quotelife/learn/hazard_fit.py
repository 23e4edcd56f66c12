"""Fitting the pooled logistic hazard, and scoring curves. Offline; numpy only.

The model is that of ``quotelife.model.logistic``. Its coefficients maximise the penalised likelihood of the
discrete-time survival data by Newton's method: convex, so that the same data give the same answer. The ridge
pulls towards first passage (c = 1, all else 0), so that what the data do not say is left to the diffusion.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from quotelife.records import HORIZONS_NS

Floats = npt.NDArray[np.float64]
Longs = npt.NDArray[np.int64]

K = len(HORIZONS_NS)
LOG_TAU: Floats = np.log(np.array(HORIZONS_NS) / 500e6)


def event_bins(passage_ns: Longs, observed_ns: Longs) -> tuple[Longs, Longs]:
    """(event, known) of n first passages: the bin in which h was passed, 12 if in none, and how many bins were seen.

    A bin counts as seen when the path is known to its end, or when h was passed in it.
    """
    event = np.searchsorted(HORIZONS_NS, passage_ns, side="left").astype(np.int64)
    known = np.searchsorted(HORIZONS_NS, observed_ns, side="right").astype(np.int64)
    return event, np.where(event < K, np.maximum(known, event + 1), known)


@dataclass(frozen=True)
class HazardData:
    """Survival data of n decisions over f features.

    ``z`` (n, f): transformed, standardised and clipped, 0 where missing; ``missing`` (n, f) bool; ``offset``
    (n, 12): clipped first-passage logits; ``event`` (n,): bin in which h was passed, 12 if in none; ``known`` (n,):
    bins that were seen, all where None; ``weight`` (n,): of the row, 1 where None.
    """

    z: Floats
    missing: npt.NDArray[np.bool_]
    offset: Floats
    event: Longs
    known: Longs | None = None
    weight: Floats | None = None

    def at_risk(self, k: int) -> npt.NDArray[np.bool_]:
        """(n,) rows whose bin ``k`` was seen and began with h not passed."""
        risk = self.event >= k
        return np.asarray(risk if self.known is None else risk & (self.known > k))


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


@dataclass(frozen=True)
class ScoreFit:
    """What makes a hazard of e margins: ``intercepts`` (12,), first passage's ``coefficient``, ``weight`` and
    ``slope`` (e,), bounded as ``quotelife.model.tree_hazard`` asks."""

    intercepts: Floats
    coefficient: float
    weight: Floats
    slope: Floats


@dataclass(frozen=True)
class LevelFit:
    """logit h'_k = ``shift``_k + ``scale``·logit h_k, scale > 0."""

    shift: Floats
    scale: float


def fit_hazard(data: HazardData, *, ridge: float = 10.0, iterations_max: int = 50) -> HazardFit:
    """The penalised maximum-likelihood fit. ``ridge`` is in units of observations of variance 1.

    ``ValueError`` when there are no rows, or Newton's method has not settled after ``iterations_max`` steps.
    """
    f = data.z.shape[1]
    seen = np.flatnonzero(data.missing.any(axis=0))
    prior = np.zeros(K + 1 + 2 * f + len(seen))
    prior[K] = 1.0

    def design(k: int, risk: npt.NDArray[np.bool_]) -> Floats:
        z = data.z[risk]
        return np.hstack([data.offset[risk, k : k + 1], z, z * LOG_TAU[k], data.missing[risk][:, seen]])

    theta, iteration, loss, bins = _fit(data, design, prior, np.full(len(prior), ridge), iterations_max)
    missing = np.zeros(f)
    missing[seen] = theta[K + 1 + 2 * f :]
    return HazardFit(
        theta[:K],
        float(theta[K]),
        theta[K + 1 : K + 1 + f],
        theta[K + 1 + f : K + 1 + 2 * f],
        missing,
        iteration,
        loss / bins,
    )


def fit_score(data: HazardData, *, ridge: float = 10.0, iterations_max: int = 50) -> ScoreFit:
    """The fit over the margins ``data.z`` of trees, which may only raise the hazard, as may first passage.

    Each margin has a coefficient ≥ 0 at either end of the grid, so that it has one at every horizon: the two stand for
    weight and slope. One that the data would have below 0 is 0. The ridge pulls to the mean of the margins.
    ``data.missing`` is not read. Errors as ``fit_hazard``.
    """
    e = data.z.shape[1]
    late = (LOG_TAU - LOG_TAU[0]) / (LOG_TAU[-1] - LOG_TAU[0])
    free = np.ones(K + 1 + 2 * e, dtype=bool)
    while True:
        columns = np.flatnonzero(free[K:])

        def design(k: int, risk: npt.NDArray[np.bool_], columns: Longs = columns) -> Floats:
            z = data.z[risk]
            return np.hstack([data.offset[risk, k : k + 1], z * (1.0 - late[k]), z * late[k]])[:, columns]

        prior = np.concatenate([np.zeros(K + 1), np.full(2 * e, 1.0 / e)])[free]
        found, _, _, _ = _fit(data, design, prior, np.full(len(prior), ridge), iterations_max)
        if (found[K:] >= 0.0).all():
            break
        free[np.flatnonzero(free)[K + int(np.argmin(found[K:]))]] = False
    theta = np.zeros(len(free))
    theta[free] = found
    first, last = theta[K + 1 : K + 1 + e], theta[K + 1 + e :]
    slope = (last - first) / (LOG_TAU[-1] - LOG_TAU[0])
    # Bound by what is computed, not by what is meant: w + v·ln τ must not round below 0 at either end.
    weight = np.maximum.reduce([first - slope * LOG_TAU[0], -slope * LOG_TAU[0], -slope * LOG_TAU[-1]])
    return ScoreFit(theta[:K], float(theta[K]), weight, slope)


def fit_level(
    logit: Floats,
    event: Longs,
    known: Longs | None = None,
    weight: Floats | None = None,
    *,
    ridge: float = 50.0,
) -> LevelFit:
    """Static calibration of hazards (n, 12) given by their logits: a shift per horizon and one scale.

    The ridge pulls the shifts to 0 and the scale to 1, where the model stays as it is. Errors as ``fit_hazard``; also
    where the data turn the model round.
    """
    data = HazardData(logit[:, :, None], np.zeros((len(event), 0), bool), logit, event, known, weight)
    prior = np.concatenate([np.zeros(K), [1.0]])
    theta, _, _, _ = _fit(
        data, lambda k, risk: logit[risk, k : k + 1], prior, np.full(K + 1, ridge), iterations_max=50
    )
    if theta[K] <= 0.0:
        raise ValueError(
            "the labels rise where the model falls: it knows nothing of this market; train one on it"
        )
    return LevelFit(theta[:K], float(theta[K]))


def _fit(
    data: HazardData,
    design: Callable[[int, npt.NDArray[np.bool_]], Floats],
    prior: Floats,
    ridge: Floats,
    iterations_max: int,
) -> tuple[Floats, int, float, int]:
    """(coefficients, iterations, loss without the ridge, bins at risk). Coefficients: 12 intercepts, then the columns
    that ``design`` gives of the rows at risk in bin k."""
    if len(data.event) == 0:
        raise ValueError("there are no rows to fit")
    risk = [data.at_risk(k) for k in range(K)]
    hit = [data.event[rows] == k for k, rows in enumerate(risk)]
    weight = [np.ones(int(rows.sum())) if data.weight is None else data.weight[rows] for rows in risk]

    def loss_at(theta: Floats, pull: Floats) -> float:
        total = 0.5 * float(np.sum(pull * (theta - prior) ** 2))
        for k in range(K):
            logit = theta[k] + design(k, risk[k]) @ theta[K:]
            total += float(np.sum(weight[k] * (np.logaddexp(0.0, logit) - logit * hit[k])))
        return total

    theta = prior.copy()
    loss = loss_at(theta, ridge)
    for iteration in range(1, iterations_max + 1):
        gradient = ridge * (theta - prior)
        hessian = np.diag(ridge)
        for k in range(K):
            x = np.hstack([np.ones((len(hit[k]), 1)), design(k, risk[k])])
            columns = np.concatenate([[k], np.arange(K, len(theta))])
            p = 1.0 / (1.0 + np.exp(-(x @ theta[columns])))
            gradient[columns] += x.T @ (weight[k] * (p - hit[k]))
            hessian[np.ix_(columns, columns)] += x.T @ (x * (weight[k] * p * (1.0 - p))[:, None])
        step = np.linalg.solve(hessian, gradient)
        scale = 1.0
        while (trial := loss_at(theta - scale * step, ridge)) > loss and scale > 1e-6:
            scale /= 2.0
        theta = theta - scale * step
        settled = abs(loss - trial) <= 1e-10 * abs(loss)
        loss = trial
        if settled:
            return theta, iteration, loss_at(theta, np.zeros(len(theta))), sum(map(len, hit))
    raise ValueError(
        f"the fit has not settled in {iterations_max} steps; raise ridge or look for a broken feature"
    )


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


def score(
    p: Floats, event: Longs, known: Longs | None = None
) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    """(metrics, reliability) per horizon of curves ``p`` (n, 12) against the bins in which h was passed.

    Rows whose bin was not seen (``known`` as in HazardData) are left out, and a horizon whose base rate is 0 or 1,
    which has no AUC and no skill.
    """
    metrics, tables = [], []
    for k, horizon_ns in enumerate(HORIZONS_NS):
        seen = np.ones(len(event), bool) if known is None else (event <= k) | (known > k)
        hit, told = event[seen] <= k, p[seen, k]
        if hit.all() or not hit.any():
            continue
        table = reliability(told, hit)
        metrics.append(
            {
                "horizon_ns": horizon_ns,
                "rows": len(hit),
                "base_rate": float(hit.mean()),
                "auc": auc(told, hit),
                "brier_skill": brier_skill(told, hit),
                "calibration_error": calibration_error(table),
            }
        )
        tables.append({"horizon_ns": horizon_ns, "bins": table})
    return metrics, tables
