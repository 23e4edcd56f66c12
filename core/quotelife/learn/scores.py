"""How well curves predicted: AUC, Brier skill, calibration, with block-bootstrap intervals, for each horizon."""

from typing import Any

import numpy as np
import numpy.typing as npt

from quotelife.learn.bootstrap import block_of, block_sums, interval, weights
from quotelife.learn.dataset import Decisions, Floats, Longs
from quotelife.learn.hazard_fit import auc, brier_skill, calibration_error, reliability

WITHIN_NS = 600_000_000_000
AUC_BINS = 512


def auc_within(p: Floats, hit: npt.NDArray[np.bool_], group: Longs) -> float:
    """AUC over the pairs inside one group only; NaN when no group holds both classes."""
    order = np.argsort(group, kind="stable")
    ends = np.flatnonzero(np.diff(group[order])) + 1
    total = pairs = 0.0
    for part in np.split(order, ends):
        hits = int(hit[part].sum())
        weight = float(hits * (len(part) - hits))
        if weight:
            total += weight * auc(p[part], hit[part])
            pairs += weight
    return total / pairs if pairs else float("nan")


def horizon_score(
    p: Floats,
    hit: npt.NDArray[np.bool_],
    now_ns: Longs,
    *,
    block_ns: int,
    seed: int,
    rank: Floats | None = None,
) -> dict[str, Any]:
    """Figures of one horizon; skill is against the base rate of these rows, None like the AUC without both classes, and
    like the calibration error without rows.
    ``rank``: what the AUC goes by, where it is not ``p``."""
    rank = p if rank is None else rank
    table = reliability(p, hit)
    out: dict[str, Any] = {
        "auc": None, "auc_interval": None, "auc_within_10min": None, "brier_skill": None,
        "brier_skill_interval": None, "ece": calibration_error(table) if table else None,
        "reliability": table,
    }  # fmt: skip
    if hit.all() or not hit.any():
        return out
    block = block_of(now_ns, block_ns)
    sums = block_sums(block, np.column_stack([np.ones(len(p)), hit, (p - hit) ** 2]))
    drawn = weights(len(sums), seed=seed) @ sums
    with np.errstate(divide="ignore", invalid="ignore"):
        rate = drawn[:, 1] / drawn[:, 0]
        skill = 1.0 - drawn[:, 2] / drawn[:, 0] / (rate * (1.0 - rate))
    within = auc_within(rank, hit, now_ns // WITHIN_NS)
    out |= {
        "auc": auc(rank, hit),
        "auc_interval": _auc_interval(rank, hit, block, seed),
        "auc_within_10min": None if np.isnan(within) else within,
        "brier_skill": brier_skill(p, hit),
        "brier_skill_interval": interval(skill, len(sums)),
    }
    return out


def _auc_interval(p: Floats, hit: npt.NDArray[np.bool_], block: Longs, seed: int) -> list[float] | None:
    # p in quantile bins, so that a draw is a product of counts; ties inside a bin count half.
    edges = np.unique(np.quantile(p, np.linspace(0.0, 1.0, AUC_BINS + 1)[1:-1]))
    bins = np.searchsorted(edges, p, side="right")
    blocks, width = int(block.max()) + 1, len(edges) + 1
    counts = [
        np.bincount(block[rows] * width + bins[rows], minlength=blocks * width).reshape(blocks, width)
        for rows in (hit, ~hit)
    ]
    drawn = weights(blocks, seed=seed)
    hits, misses = drawn @ counts[0], drawn @ counts[1]
    below = np.cumsum(misses, axis=1) - 0.5 * misses
    with np.errstate(divide="ignore", invalid="ignore"):
        values = (hits * below).sum(axis=1) / (hits.sum(axis=1) * misses.sum(axis=1))
    return interval(values, blocks)


def fit_platt(z: Floats, hit: npt.NDArray[np.bool_], *, ridge: float = 1.0) -> tuple[float, float]:
    """(a, b) of logit P = a + b·z by Newton's method (Platt 1999), b shrunk to 0; (0, 0) of no rows."""
    rate = float(np.clip(hit.mean(), 1e-6, 1.0 - 1e-6)) if len(hit) else 0.5
    theta = np.array([np.log(rate / (1.0 - rate)), 0.0])
    x = np.column_stack([np.ones(len(z)), z])
    for _ in range(50):
        p = 1.0 / (1.0 + np.exp(-(x @ theta)))
        gradient = x.T @ (p - hit) + ridge * np.array([0.0, theta[1]])
        hessian = x.T @ (x * (p * (1.0 - p))[:, None]) + np.diag([1e-9, ridge])
        step = np.linalg.solve(hessian, gradient)
        theta = theta - step
        if float(np.abs(step).max()) < 1e-9:
            break
    return float(theta[0]), float(theta[1])


def known(decisions: Decisions, horizon_ns: int) -> npt.NDArray[np.bool_]:
    """(n,) whether the label of that horizon counts, as ``Decisions.outcome`` says: it was seen to its end."""
    return decisions.observed_ns >= horizon_ns
