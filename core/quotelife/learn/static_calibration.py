"""Static calibration: what a recent slice says of a model's level, written into its parameters.

logit h'_k = shift_k + scale·logit h_k for the hazard of each bin of a logistic model, and the same for each P(τ_k) of
trees, before the maximum that keeps their curve from falling: what a model can hold by its own parameters. The result
is one of the same kind, and a wider threshold or a shorter horizon is still never more likely. Shrunk to
the identity, for a slice may be of another regime than what comes: the rolling recalibration stands on top.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np

from quotelife.errors import QuotelifeError
from quotelife.learn.hazard_fit import Floats, LevelFit, fit_level
from quotelife.learn.samples import Sample
from quotelife.model.curve import CurveModel
from quotelife.model.logistic import LogisticHazardModel
from quotelife.model.tree_curve import TreeCurveModel

RIDGE = 50.0
HAZARD_LEAST = 1e-12


def hazard_logits(p: Floats) -> Floats:
    """logit of the hazard of each bin of curves ``p`` (n, 12)."""
    alive = 1.0 - np.concatenate([np.zeros((len(p), 1)), p[:, :-1]], axis=1)
    hazard = np.diff(p, axis=1, prepend=0.0) / np.maximum(alive, HAZARD_LEAST)
    hazard = np.clip(hazard, HAZARD_LEAST, 1.0 - 1e-9)
    return np.asarray(np.log(hazard) - np.log1p(-hazard), dtype=np.float64)


def passage_logits(p: Floats) -> Floats:
    """logit of curves ``p`` (n, 12)."""
    p = np.clip(p, HAZARD_LEAST, 1.0 - 1e-9)
    return np.asarray(np.log(p) - np.log1p(-p), dtype=np.float64)


def levelled(model: CurveModel, recent: Sequence[Sample], *, ridge: float = RIDGE) -> CurveModel:
    """``model`` calibrated to the labels of ``recent``. ``QuotelifeError`` where it cannot be, saying why."""
    if not recent:
        raise QuotelifeError("no decision is left to calibrate on; record for longer")
    curves = [sample.curves(model) for sample in recent]
    answered = [~np.isnan(p[:, 0]) for p in curves]
    passed = isinstance(model, TreeCurveModel)
    logits = passage_logits if passed else hazard_logits
    logit = np.concatenate([logits(p[rows]) for p, rows in zip(curves, answered, strict=True)])
    event, known, weight = (
        np.concatenate([getattr(s, name)[rows] for s, rows in zip(recent, answered, strict=True)])
        for name in ("event", "known", "weight")
    )
    try:
        fit = fit_level(logit, event, known, weight, passed=passed, ridge=ridge)
    except ValueError as error:
        raise QuotelifeError(f"calibration: {error}") from None
    return with_level(model, fit)


def with_level(model: CurveModel, fit: LevelFit) -> CurveModel:
    """The model whose every hazard, of trees whose every P, is that of ``model`` under ``fit``."""
    parameters: dict[str, Any] = model.parameters()
    scale = fit.scale
    if isinstance(model, LogisticHazardModel):
        parameters["offset"]["coefficient"] *= scale
        for entry in parameters["features"]:
            for key in ("weight", "slope", "missing"):
                entry[key] *= scale
    elif isinstance(model, TreeCurveModel):
        for entry in parameters["ensembles"]:
            entry["weights"] = [scale * weight for weight in entry["weights"]]
    else:
        raise QuotelifeError(
            f"a model of kind {model.kind} has no level to calibrate; train logistic or trees"
        )
    parameters["intercepts"] = [
        float(shift + scale * b) for shift, b in zip(fit.shift, parameters["intercepts"], strict=True)
    ]
    return type(model)(parameters)
