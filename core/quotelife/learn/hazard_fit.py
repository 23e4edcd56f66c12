"""Fitting the pooled logistic hazard and the curve over margins of trees, and scoring curves. Offline; numpy only.

The hazard is that of ``quotelife.model.logistic``, the curve that of ``quotelife.model.tree_curve``. Coefficients
maximise a penalised likelihood by Newton's method: convex, so that the same data give the same answer. The ridge of
the hazard pulls towards first passage (c = 1, all else 0), that of the curve towards the margins as they are, so that
what the data do not say is left to those.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt

from quotelife.records import HORIZONS_NS

Floats = npt.NDArray[np.float64]
Longs = npt.NDArray[np.int64]
Bools = npt.NDArray[np.bool_]

K = len(HORIZONS_NS)
LOG_TAU: Floats = np.log(np.array(HORIZONS_NS) / 500e6)
ANCHOR = HORIZONS_NS.index(500_000_000)
INTERCEPT_RIDGE = 1.0  # of the curve: so little that a horizon of few hits is still seldom passed


def event_bins(passage_ns: Longs, observed_ns: Longs) -> tuple[Longs, Longs]:
    """(event, known) of n first passages: the bin in which h was passed, 12 if in none, and how many bins were seen.

    A bin counts as seen when the path is known to its end, though h was passed in it, as ``Decisions.outcome`` has it:
    of the rows whose path ends inside a bin the misses are lost, and to keep the hits would raise the hazard.
    """
    event = np.searchsorted(HORIZONS_NS, passage_ns, side="left").astype(np.int64)
    return event, np.searchsorted(HORIZONS_NS, observed_ns, side="right").astype(np.int64)


@dataclass(frozen=True)
class HazardData:
    """Survival data of n decisions over f features.

    ``z`` (n, f): transformed, standardised and clipped, 0 where missing; ``missing`` (n, f) bool; ``offset``
    (n, 12): clipped first-passage logits; ``event`` (n,): bin in which h was passed, 12 if in none; ``known`` (n,):
    bins that were seen, all where None; ``weight`` (n,): of the row, 1 where None.
    """

    z: Floats
    missing: Bools
    offset: Floats
    event: Longs
    known: Longs | None = None
    weight: Floats | None = None


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
class CurveFit:
    """logit P(τ_k) = ``intercepts``_k + Σ_s ``weights``_ks·margin_ks: (12,) and (12, s) ≥ 0."""

    intercepts: Floats
    weights: Floats


@dataclass(frozen=True)
class LevelFit:
    """logit h'_k = ``shift``_k + ``scale``·logit h_k, scale > 0; of trees the same of P(τ_k)."""

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

    def design(k: int, risk: Bools) -> Floats:
        z = data.z[risk]
        return np.hstack([data.offset[risk, k : k + 1], z, z * LOG_TAU[k], data.missing[risk][:, seen]])

    bins = _hazards(data.event, data.known, data.weight, design)
    theta, iteration, loss, rows = _fit(bins, prior, np.full(len(prior), ridge), iterations_max)
    missing = np.zeros(f)
    missing[seen] = theta[K + 1 + 2 * f :]
    return HazardFit(
        theta[:K],
        float(theta[K]),
        theta[K + 1 : K + 1 + f],
        theta[K + 1 + f : K + 1 + 2 * f],
        missing,
        iteration,
        loss / rows,
    )


def fit_curve(
    margins: Floats,
    event: Longs,
    known: Longs | None = None,
    weight: Floats | None = None,
    *,
    ridge: float | Floats = 10.0,
) -> CurveFit:
    """The fit over s margins for each horizon, (n, 12, s), which may only raise P.

    A logistic regression for each horizon, on the rows that were seen to it. At 500 ms the ridge pulls to the
    mean of the margins as they are, from there on outwards to what was found at the horizon before: one of few hits is
    shaped like its neighbour, and its intercept, which is hardly held, goes where its own hits say. A weight that the
    data would have below 0 is 0. ``ridge``, of every horizon or (12,), is in rows. Errors as ``fit_hazard``.
    """
    sources = margins.shape[2]
    ridges = np.broadcast_to(np.asarray(ridge, dtype=np.float64), K)
    theta = np.zeros((K, 1 + sources))
    bins = _passages(event, known, weight, lambda k, seen: margins[seen, k])

    def fit(k: int, prior: Floats) -> None:
        pull = np.array([INTERCEPT_RIDGE, *[ridges[k]] * sources])
        free = np.ones(1 + sources, dtype=bool)
        while True:
            one = replace(bins[k], design=lambda: bins[k].design()[:, free[1:]])
            found, _, _, _ = _fit([one], prior[free], pull[free], iterations_max=50)
            if (found[1:] >= 0.0).all():
                break
            free[np.flatnonzero(free)[1 + int(np.argmin(found[1:]))]] = False
        theta[k, free] = found

    fit(ANCHOR, np.array([0.0, *[1.0 / sources] * sources]))
    for k in range(ANCHOR - 1, -1, -1):
        fit(k, theta[k + 1])
    for k in range(ANCHOR + 1, K):
        fit(k, theta[k - 1])
    return CurveFit(theta[:, 0], theta[:, 1:])


def fit_level(
    logit: Floats,
    event: Longs,
    known: Longs | None = None,
    weight: Floats | None = None,
    *,
    passed: bool = False,
    ridge: float = 50.0,
) -> LevelFit:
    """Static calibration of hazards (n, 12) given by their logits, or with ``passed`` of curves by the logits of P: a
    shift per horizon and one scale.

    The ridge pulls the shifts to 0 and the scale to 1, where the model stays as it is. Errors as ``fit_hazard``; also
    where the data turn the model round.
    """
    bins = (_passages if passed else _hazards)(event, known, weight, lambda k, rows: logit[rows, k : k + 1])
    prior = np.concatenate([np.zeros(K), [1.0]])
    theta, _, _, _ = _fit(bins, prior, np.full(K + 1, ridge), iterations_max=50)
    if theta[K] <= 0.0:
        raise ValueError(
            "the labels rise where the model falls: it knows nothing of this market; train one on it"
        )
    return LevelFit(theta[:K], float(theta[K]))


@dataclass(frozen=True)
class _Bin:
    """The rows that speak of one intercept: ``hit`` (m,), ``weight`` (m,), and what makes their columns (m, f)."""

    hit: Bools
    weight: Floats
    design: Callable[[], Floats]


def _hazards(
    event: Longs, known: Longs | None, weight: Floats | None, design: Callable[[int, Bools], Floats]
) -> list[_Bin]:
    """Of each bin the rows at risk in it, which it was seen to the end for, hit where h was passed in it."""
    risk = [event >= k if known is None else (event >= k) & (known > k) for k in range(K)]
    return _bins(risk, [event == k for k in range(K)], weight, design)


def _passages(
    event: Longs, known: Longs | None, weight: Floats | None, design: Callable[[int, Bools], Floats]
) -> list[_Bin]:
    """Of each horizon the rows that were seen to it, hit where h was passed by then."""
    seen = [np.ones(len(event), bool) if known is None else known > k for k in range(K)]
    return _bins(seen, [event <= k for k in range(K)], weight, design)


def _bins(
    rows: list[Bools], hit: list[Bools], weight: Floats | None, design: Callable[[int, Bools], Floats]
) -> list[_Bin]:
    return [
        _Bin(
            hit[k][at],
            np.ones(int(at.sum())) if weight is None else weight[at],
            lambda k=k, at=at: design(k, at),  # type: ignore[misc]
        )
        for k, at in enumerate(rows)
    ]


def _fit(
    bins: list[_Bin], prior: Floats, ridge: Floats, iterations_max: int
) -> tuple[Floats, int, float, int]:
    """(coefficients, iterations, loss without the ridge, rows of all bins). Coefficients: an intercept for each bin,
    then those of the columns, which the bins share."""
    intercepts = len(bins)
    if not any(len(one.hit) for one in bins):
        raise ValueError("there are no rows to fit")

    def loss_at(theta: Floats, pull: Floats) -> float:
        total = 0.5 * float(np.sum(pull * (theta - prior) ** 2))
        for k, one in enumerate(bins):
            logit = theta[k] + one.design() @ theta[intercepts:]
            total += float(np.sum(one.weight * (np.logaddexp(0.0, logit) - logit * one.hit)))
        return total

    theta = prior.copy()
    loss = loss_at(theta, ridge)
    for iteration in range(1, iterations_max + 1):
        gradient = ridge * (theta - prior)
        hessian = np.diag(ridge)
        for k, one in enumerate(bins):
            x = np.hstack([np.ones((len(one.hit), 1)), one.design()])
            columns = np.concatenate([[k], np.arange(intercepts, len(theta))])
            p = 1.0 / (1.0 + np.exp(-(x @ theta[columns])))
            gradient[columns] += x.T @ (one.weight * (p - one.hit))
            hessian[np.ix_(columns, columns)] += x.T @ (x * (one.weight * p * (1.0 - p))[:, None])
        step = np.linalg.solve(hessian, gradient)
        scale = 1.0
        while (trial := loss_at(theta - scale * step, ridge)) > loss and scale > 1e-6:
            scale /= 2.0
        theta = theta - scale * step
        settled = abs(loss - trial) <= 1e-10 * abs(loss)
        loss = trial
        if settled:
            return theta, iteration, loss_at(theta, np.zeros(len(theta))), sum(len(one.hit) for one in bins)
    raise ValueError(
        f"the fit has not settled in {iterations_max} steps; raise ridge or look for a broken feature"
    )


def auc(p: Floats, hit: Bools) -> float:
    """Area under the ROC curve, ties counted half; NaN when one class is empty."""
    _, place, count = np.unique(p, return_inverse=True, return_counts=True)
    rank = (np.cumsum(count) - (count - 1) / 2.0)[place]
    hits = int(hit.sum())
    misses = len(hit) - hits
    if hits == 0 or misses == 0:
        return float("nan")
    return float((rank[hit].sum() - hits * (hits + 1) / 2.0) / (hits * misses))


def brier_skill(p: Floats, hit: Bools) -> float:
    """1 − Brier score / that of the constant base rate of the same rows; NaN when one class is empty."""
    rate = float(hit.mean())
    if rate in (0.0, 1.0):
        return float("nan")
    return float(1.0 - np.mean((p - hit) ** 2) / (rate * (1.0 - rate)))


def reliability(p: Floats, hit: Bools, bins: int = 10) -> list[dict[str, Any]]:
    """Rows cut into ``bins`` quantiles of p: how many, the mean p, the share that was hit."""
    table = []
    for part in np.array_split(np.argsort(p, kind="stable"), bins):
        if len(part):
            table.append({"rows": len(part), "p": float(p[part].mean()), "hit": float(hit[part].mean())})
    return table


def calibration_error(table: list[dict[str, Any]]) -> float:
    """Expected calibration error of a reliability table, which has rows: mean |hit − p| over them."""
    rows = sum(entry["rows"] for entry in table)
    return float(sum(entry["rows"] * abs(entry["hit"] - entry["p"]) for entry in table) / rows)


def score(
    p: Floats, event: Longs, known: Longs | None = None
) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    """(metrics, reliability) per horizon of curves ``p`` (n, 12) against the bins in which h was passed.

    Rows that were not seen to a horizon (``known`` as in HazardData) are left out there, and a horizon whose base rate
    is 0 or 1, which has no AUC and no skill.
    """
    metrics, tables = [], []
    for k, horizon_ns in enumerate(HORIZONS_NS):
        seen = np.ones(len(event), bool) if known is None else known > k
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
