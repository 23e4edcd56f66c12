"""Training: logistic hazards and trees of one market, and the universal one pooled over several; docs/training.md.

Of each instrument's span, by the clock: trees and coefficients are fitted on the first part, what brings margins to
probabilities on the second, and the last part is for scores alone. Trees are grown for P(500 ms) and P(2 s); between
those their margins are interpolated in ln τ, beyond held, and a logistic regression for each horizon makes P of them.
The same data, recipe and seed give the same bytes.
"""

import hashlib
import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict, dataclass, replace
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from quotelife.errors import QuotelifeError
from quotelife.features.schema import INDEX
from quotelife.learn.boosters import ensemble_parameters
from quotelife.learn.bootstrap_logistic import INPUTS
from quotelife.learn.gradient_boosting import Recipe, boost
from quotelife.learn.hazard_fit import ANCHOR, LOG_TAU, Floats, fit_curve, fit_hazard
from quotelife.learn.samples import OFFSET, Market, Sample, drawn, joined, rows_a_label, stored, thin
from quotelife.learn.static_calibration import levelled
from quotelife.model.curve import CurveModel
from quotelife.model.logistic import LogisticHazardModel
from quotelife.model.tree_curve import TreeCurveModel

HORIZONS_NS = (500_000_000, 2_000_000_000)  # that trees are grown for
CLIP = 5.0
RIDGE = 20.0
SCORE_RIDGE = 10.0  # in labels that do not overlap
LOGISTIC_ROWS = 60_000
CALIBRATION_ROWS = 120_000

# Of trees: (feature, divided by). Free of ticks, lots and currency: a split means the same elsewhere. No transforms:
# a rising one leaves every split where it is and only costs its logarithm in each decision.
SIGMA = "sigma"
AFTER = ("log_h_room", "log_h_sigma")  # columns that no single feature is, as their importance is named
COLUMNS: tuple[tuple[str, str | None], ...] = (
    ("spread_ticks", SIGMA),
    ("spread_volatility_1s", SIGMA),
    ("spread_volatility_ratio", None),
    ("top_updates_100ms", None),
    ("top_updates_1s", None),
    ("top_update_ratio", None),
    ("book_imbalance", None),
    ("queue_imbalance", None),
    ("microprice_deviation", SIGMA),
    ("book_pressure", None),
    ("depth_ratio", None),
    ("cancel_ratio", None),
    ("order_flow_imbalance_100ms", None),
    ("order_flow_imbalance_1s", None),
    ("order_flow_imbalance_5_100ms", None),
    ("order_flow_imbalance_5_1s", None),
    ("trade_imbalance_500ms", None),
    ("trade_imbalance_2s", None),
    ("trade_intensity_100ms", None),
    ("trade_intensity_500ms", None),
    ("trade_intensity_2s", None),
    ("mid_moves_100ms", None),
    ("mid_moves_1s", None),
    ("mid_moves_10s", None),
    ("mid_moves_60s", None),
    ("last_move_age_s", None),
    ("last_move_direction", None),
    ("realised_volatility_100ms", SIGMA),
    ("realised_volatility_1s", SIGMA),
    ("realised_volatility_10s", SIGMA),
    ("realised_volatility_60s", SIGMA),
    ("adds_own_100ms", None),
    ("adds_opposite_100ms", None),
    ("cancels_own_100ms", None),
    ("cancels_opposite_100ms", None),
    ("adds_own_1s", None),
    ("adds_opposite_1s", None),
    ("cancels_own_1s", None),
    ("cancels_opposite_1s", None),
    ("news_score", None),
    ("news_age_s", None),
)
UNIVERSAL = Recipe(depth=3)
# By horizon, the share of the ensemble for 2 s in a source's margin; the rest is that of the ensemble for 500 ms.
LATE: Floats = np.clip(LOG_TAU / math.log(HORIZONS_NS[1] / HORIZONS_NS[0]), 0.0, 1.0)
LOCAL = Recipe(depth=4, trees=150, eta=0.05, columns_share=0.3, bins=64)
# What minutes of data can teach: steps of one feature alone. They stand beside the trees of a market whose first part
# holds fewer labels that do not overlap (40 minutes of it at 500 ms).
IMBALANCE_LABELS = 5_000
IMBALANCE = Recipe(depth=1, trees=100, eta=0.05, columns_share=1.0, leaf_rows=300.0, bins=64)
IMBALANCE_COLUMN = [name for name, _ in COLUMNS].index("queue_imbalance")
ROWS_WANTED = 700_000  # of each instrument in the universal pool
DRAWS_MOST = 8

Progress = Callable[[str, int, int], None]
Columns = npt.NDArray[np.float32]


def _silent(stage: str, done: int, of: int) -> None: ...


@dataclass(frozen=True)
class Fitted:
    """A fitted ``model``, and ``half``: the same curve over trees of the first part alone, the model itself where
    none was grown again. ``importance``: total gain of the splits on each feature, of the trees grown here."""

    model: TreeCurveModel
    half: TreeCurveModel
    importance: dict[str, float]


@dataclass(frozen=True)
class Pool:
    """Samples of one part with what the trees read of them, stacked."""

    samples: list[Sample]
    columns: Columns

    def labels(self, horizon_ns: int) -> tuple[npt.NDArray[np.bool_], npt.NDArray[np.bool_], Floats]:
        """(known, hit, weight) of all rows at one horizon."""
        hit = np.concatenate([s.passage_ns <= horizon_ns for s in self.samples])
        seen = np.concatenate([s.decisions.observed_ns[s.rows] >= horizon_ns for s in self.samples])
        return seen, hit, np.concatenate([s.weight for s in self.samples])


def train_universal(
    markets: Sequence[Market],
    recipe: Recipe = UNIVERSAL,
    *,
    rows_wanted: int = ROWS_WANTED,
    refit: bool = False,
    checkpoint: Path | None = None,
    progress: Progress = _silent,
) -> Fitted:
    """One model for all ``markets``, of random thresholds in units of σ.

    ``refit``: in the end the trees are grown once more on the first two parts, under the weights that were fitted on
    the second to trees that had not seen it.
    """
    rng = np.random.default_rng(recipe.seed)
    part: dict[str, list[Sample]] = {"train": [], "calibrate": []}
    for name, samples in part.items():
        wanted = rows_wanted if name == "train" or refit else CALIBRATION_ROWS // len(markets)
        for i, market in enumerate(markets):
            progress(f"labels of {name}", i, len(markets))
            samples += drawn(market, name, rng, wanted, DRAWS_MOST)
    return _train(part["train"], part["calibrate"], recipe, None, refit, checkpoint, progress)


def train_trees(
    market: Market,
    thresholds: Sequence[int],
    recipe: Recipe = LOCAL,
    *,
    base: TreeCurveModel | None = None,
    base_refit: TreeCurveModel | None = None,
    refit: bool = False,
    checkpoint: Path | None = None,
    progress: Progress = _silent,
) -> Fitted:
    """A model of one market at the stored ``thresholds``; with ``base``, stacked on that one's ensembles.

    Its own are trees over all columns and, where the first part is short, steps of queue imbalance alone: little more
    can be learned then, and the other columns are so many ways to be wrong. What each is worth the second part says.

    The base, a universal model, must read the same columns and have its two ensembles. What each is worth here
    is fitted on the second part, shrunk to the mean. ``base_refit``, the base grown once more on both parts, takes its
    place after that: judged on rows that it had seen, it would seem worth more than it is.
    """
    for model in (each for each in (base, base_refit) if each is not None):
        read = model.parameters()
        reads = [(e["name"], e["per"]) for e in read["features"]]
        if reads != list(COLUMNS) or not (read["log_room"] and read["log_threshold"]):
            raise QuotelifeError(
                "the model to stack on reads other columns than are trained here; train it again"
            )
        if len(read["ensembles"]) != len(HORIZONS_NS):
            raise QuotelifeError(
                f"the model to stack on has not an ensemble for each of {len(HORIZONS_NS)} horizons; stack on a "
                "universal one"
            )
    part = {name: [s for j in thresholds for s in stored(market, name, j)] for name in ("train", "calibrate")}
    rows = sum(len(sample.rows) for sample in part["train"])
    short = bool(part["train"]) and rows < IMBALANCE_LABELS * rows_a_label(part["train"])[ANCHOR]
    fitted = _train(
        part["train"], part["calibrate"], recipe, base, refit, checkpoint, progress, imbalance=short
    )
    if base is None or base_refit is None:
        return fitted
    parameters = fitted.model.parameters()
    again = base_refit.parameters()["ensembles"]
    for entry, grown in zip(parameters["ensembles"], again, strict=False):
        entry.update({key: value for key, value in grown.items() if key != "weights"})
    return replace(fitted, model=TreeCurveModel(parameters))


def train_logistic(market: Market, thresholds: Sequence[int], *, progress: Progress = _silent) -> CurveModel:
    """The pooled logistic hazard of one market at the stored ``thresholds``, level and scale fitted on the second
    part. ``QuotelifeError`` where all or none were passed.

    Over the inputs of the shipped one: counts and volatilities, which the trees read too, stand for the hour of the
    morning and mislead in the afternoon (GBP at 500 ms, AUC as it is .654 with them, .815 without).
    """
    samples = thin([s for j in thresholds for s in stored(market, "train", j)], LOGISTIC_ROWS)
    passed = np.concatenate([s.passage_ns <= HORIZONS_NS[-1] for s in samples])
    if passed.all() or not passed.any():
        raise QuotelifeError(
            f"{'all' if passed.all() else 'none'} of {len(passed)} rows passed the threshold: choose another, or a "
            "longer span"
        )
    inputs = list(INPUTS)
    progress("inputs", 0, 2)
    parts = [_transformed(sample, inputs) for sample in samples]
    seen = np.concatenate(parts)
    with np.errstate(invalid="ignore"):
        counted = (~np.isnan(seen)).sum(axis=0)
        mean = np.divide(np.nansum(seen, axis=0), counted, out=np.zeros(len(inputs)), where=counted > 0)
        scale = np.sqrt(np.nansum((seen - mean) ** 2, axis=0) / np.maximum(counted, 1))
    live = [i for i in range(len(inputs)) if scale[i] > 1e-9]
    mean, scale = mean[live], scale[live]
    data = []
    for sample, g in zip(samples, parts, strict=True):
        missing = np.isnan(g[:, live])
        z = np.where(missing, 0.0, np.clip((g[:, live] - mean) / scale, -CLIP, CLIP))
        data.append(sample.hazard_data(z, missing))
    progress("fit", 1, 2)
    fit = fit_hazard(joined(data), ridge=RIDGE)
    model = LogisticHazardModel(
        {
            "intercepts": fit.intercepts.tolist(),
            "clip": CLIP,
            "offset": {"coefficient": max(0.0, fit.coefficient), "min": OFFSET[0], "max": OFFSET[1]},
            "features": [
                {
                    "name": inputs[j][0],
                    "transform": inputs[j][1],
                    "mean": float(mean[i]),
                    "scale": float(scale[i]),
                    "weight": float(fit.weight[i]),
                    "slope": float(fit.slope[i]),
                    "missing": float(fit.missing[i]),
                }
                for i, j in enumerate(live)
            ],
        }
    )
    recent = thin([s for j in thresholds for s in stored(market, "calibrate", j)], CALIBRATION_ROWS)
    progress("calibration", 2, 2)
    return levelled(model, recent)


def tuned(
    folds: Iterable[tuple[list[Sample], list[Sample]]],
    recipe: Recipe,
    budget: int,
    *,
    progress: Progress = _silent,
) -> tuple[Recipe, list[dict[str, Any]]]:
    """The best of ``recipe`` and ``budget`` − 1 random ones, and what each scored: log-loss per row at 500 ms over the
    second samples of each fold, by trees of the first. No fold has anything of the last part; one is held at a time."""
    rng = np.random.default_rng(recipe.seed)
    recipes = [recipe] + [
        replace(
            recipe,
            depth=int(rng.integers(3, 7)),
            eta=float(rng.choice([0.03, 0.05, 0.08, 0.12])),
            trees=int(rng.choice([100, 150, 200])),
            leaf_rows=float(rng.choice([300.0, 1000.0, 3000.0])),
            columns_share=float(rng.choice([0.3, 0.5, 0.8])),
        )
        for _ in range(budget - 1)
    ]
    losses = np.zeros(len(recipes))
    rows = 0
    for fold, (first, second) in enumerate(folds, start=1):
        train, tested = pool(first), pool(second)
        known, hit, weight = train.labels(HORIZONS_NS[0])
        seen, passed, _ = tested.labels(HORIZONS_NS[0])
        columns, told = train.columns[known], tested.columns[seen]
        rows += len(told)
        for i, one in enumerate(recipes):
            progress(f"tuning, fold {fold}", i, len(recipes))
            booster = boost(columns, hit[known], weight[known], one, falling=len(AFTER))
            margin = booster.inplace_predict(told, predict_type="margin").astype(np.float64)
            losses[i] += float((np.logaddexp(0.0, margin) - margin * passed[seen]).sum())
    if not rows:
        raise QuotelifeError(
            "no label of the folds is known at 500 ms; record for longer, or train without --tune"
        )
    tried = [
        {"log_loss": float(loss) / rows, **asdict(one)} for loss, one in zip(losses, recipes, strict=True)
    ]
    return recipes[int(np.argmin(losses))], tried


def pool(samples: list[Sample]) -> Pool:
    """``samples`` with what the trees of ``COLUMNS`` read of them."""
    if not samples:
        raise QuotelifeError("no decision is left to train on: σ is unknown or the path has a hole at each")
    empty = template([0.0] * len(COLUMNS))
    return Pool(samples, np.concatenate([sample.columns(empty) for sample in samples]))


def template(references: Sequence[float]) -> TreeCurveModel:
    """A model without trees over ``COLUMNS``, its effects told against ``references``."""
    leaf = {"base": 0.0, "sizes": "", "slots": "", "values": ""}
    return TreeCurveModel(_parameters(references, [0.0] * 12, [{"weights": [0.0] * 12, **leaf}]))


def _train(
    train: list[Sample],
    recent: list[Sample],
    recipe: Recipe,
    base: TreeCurveModel | None,
    refit: bool,
    checkpoint: Path | None,
    progress: Progress,
    *,
    imbalance: bool = False,
) -> Fitted:
    standing: list[dict[str, Any]] = [] if base is None else list(base.parameters()["ensembles"])
    own, importance = _grown(train, recipe, imbalance, checkpoint, progress)
    references = _references(train)
    if not recent:
        raise QuotelifeError("no decision is left to calibrate on; record for longer")
    progress("calibration", 0, 1)
    bare = TreeCurveModel(_parameters(references, [0.0] * 12, [*standing, *own]))
    told = thin(recent, CALIBRATION_ROWS)
    margins = np.concatenate([bare.margins(sample.columns(bare)) for sample in told]).astype(np.float64)
    event, known, weight = (
        np.concatenate([getattr(s, n) for s in told]) for n in ("event", "known", "weight")
    )
    early, late = margins[:, None, 0::2], margins[:, None, 1::2]
    share = LATE[:, None]
    fit = fit_curve(
        early * (1.0 - share) + late * share, event, known, weight, ridge=SCORE_RIDGE * rows_a_label(told)
    )
    worth = np.stack([fit.weights * (1.0 - share), fit.weights * share], axis=2).reshape(len(LATE), -1)

    def curve(grown: list[dict[str, Any]]) -> TreeCurveModel:
        entries = [
            {**entry, "weights": weights.tolist()}
            for entry, weights in zip([*standing, *grown], worth.T, strict=True)
        ]
        return TreeCurveModel(_parameters(references, fit.intercepts.tolist(), entries))

    model = half = curve(own)
    if refit:
        own, importance = _grown([*train, *recent], recipe, imbalance, checkpoint, progress)
        model = curve(own)
    progress("calibration", 1, 1)
    return Fitted(model, half, importance)


def _grown(
    samples: list[Sample], recipe: Recipe, imbalance: bool, checkpoint: Path | None, progress: Progress
) -> tuple[list[dict[str, Any]], dict[str, float]]:
    """An ensemble for each of ``HORIZONS_NS``, its weight still 1, with ``imbalance`` as many of that alone; and the
    total gain by column, of them together."""
    progress("columns", 0, 1)
    grown = pool(samples)
    kinds = [("trees", grown.columns, recipe)]
    if imbalance:
        alone = np.full_like(grown.columns, np.nan)
        alone[:, IMBALANCE_COLUMN] = grown.columns[:, IMBALANCE_COLUMN]
        kinds.append(("imbalance", alone, replace(IMBALANCE, seed=recipe.seed, threads=recipe.threads)))
    out: list[dict[str, Any]] = []
    names = [*(name for name, _ in COLUMNS), *AFTER]
    gain = dict.fromkeys(names, 0.0)
    for (kind, columns, how), horizon_ns in product(kinds, HORIZONS_NS):
        known, hit, weight = grown.labels(horizon_ns)
        stage = f"{kind} for {horizon_ns / 1e6:g} ms"
        booster = boost(
            columns[known],
            hit[known],
            weight[known],
            how,
            falling=len(AFTER),
            checkpoint=checkpoint,
            progress=lambda done, of, stage=stage: progress(stage, done, of),  # type: ignore[misc]
        )
        out.append(ensemble_parameters(booster))
        for column, value in booster.get_score(importance_type="total_gain").items():
            gain[names[int(column[1:])]] += value
    return out, {name: value for name, value in gain.items() if value > 0.0}


def _parameters(
    references: Sequence[float],
    intercepts: list[float],
    ensembles: list[dict[str, Any]],
) -> dict[str, Any]:
    return {
        "intercepts": intercepts,
        "features": [
            {"name": name, "per": per, "reference": reference}
            for (name, per), reference in zip(COLUMNS, references, strict=True)
        ],
        "log_room": True,
        "log_threshold": True,
        "ensembles": ensembles,
    }


def _references(samples: Sequence[Sample]) -> list[float]:
    """Mean of each feature over all samples, 0 where it is never known."""
    at = np.array([INDEX[name] for name, _ in COLUMNS])
    total, counted = np.zeros(len(at)), np.zeros(len(at))
    for sample in samples:
        x = sample.decisions.x[np.ix_(sample.rows, at)].astype(np.float64)
        total += np.nansum(x, axis=0)
        counted += (~np.isnan(x)).sum(axis=0)
    return [float(t / c) if c and math.isfinite(t) else 0.0 for t, c in zip(total, counted, strict=True)]


def _transformed(sample: Sample, inputs: Sequence[tuple[str, str]]) -> Floats:
    """(n, f) inputs after their transforms, NaN where missing."""
    x: Floats = sample.decisions.x[np.ix_(sample.rows, np.array([INDEX[name] for name, _ in inputs]))].astype(
        np.float64
    )
    for i, (_, transform) in enumerate(inputs):
        x[:, i] = VECTORISED[transform](x[:, i])
    return x


# As ``quotelife.model.transform`` has them, of arrays; a test holds them against it.
VECTORISED: dict[str, Callable[[Floats], Floats]] = {
    "identity": lambda x: x,
    "abs": np.abs,
    "asinh": np.arcsinh,
    "log1p": lambda x: np.log1p(np.maximum(x, 0.0)),
    "log": lambda x: np.log(np.maximum(x, 1e-9)),
}


def data_digest(markets: Sequence[Market]) -> str:
    """SHA-256 over the digests of all pieces, in whichever order they came."""
    digests = sorted(piece.digest() for market in markets for piece in market.pieces)
    return hashlib.sha256("\n".join(digests).encode()).hexdigest()
