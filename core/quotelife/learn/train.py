"""Datasets to artifacts: what ``quotelife train`` and ``quotelife calibrate`` do."""

import shutil
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np

from quotelife.errors import QuotelifeError
from quotelife.learn.dataset import Dataset, Decisions
from quotelife.learn.drift import feature_bins
from quotelife.learn.flow import LONGEST_NS, Flow
from quotelife.learn.hazard_fit import score
from quotelife.learn.loss_given_pickoff import learn
from quotelife.learn.samples import Market, Sample, drawn, folds, markets, stored, thin
from quotelife.learn.scores import WITHIN_NS, auc_within
from quotelife.learn.splits import SHARES, SplitError, fitted_on, levelled_on, purge_ns, seen_until_ns
from quotelife.learn.static_calibration import levelled
from quotelife.learn.training import (
    CALIBRATION_ROWS,
    DRAWS_MOST,
    LOCAL,
    ROWS_WANTED,
    UNIVERSAL,
    Progress,
    data_digest,
    train_logistic,
    train_trees,
    train_universal,
    tuned,
)
from quotelife.model.artifact import load_artifact, save_artifact, simulated_share
from quotelife.model.curve import CurveModel
from quotelife.model.tree_curve import TreeCurveModel
from quotelife.records import HORIZONS_NS

CREATED_BY = "quotelife 0.1.0"
MODELS = ("logistic", "trees", "universal")
CHECKPOINTS = ".checkpoints"
PICK_OFF_ROWS = 20_000
FOLDS = 3  # of the walk-forward that recipes are tried on


@dataclass(frozen=True)
class Plan:
    """What to train. ``thresholds``: names of stored ones, all where empty. ``stack``: an artifact to stack on."""

    model: str
    out: Path
    name: str = ""
    instruments: tuple[str, ...] = ()
    thresholds: tuple[str, ...] = ()
    stack: Path | None = None
    tune: int = 0
    refit: bool = False
    shares: tuple[float, float, float] = SHARES
    rows_wanted: int = ROWS_WANTED
    recipe: dict[str, Any] = field(default_factory=dict)  # parts of Recipe that are not the default


@dataclass(frozen=True)
class Trained:
    """An artifact that was written, and its manifest."""

    folder: Path
    model: CurveModel

    def summary(self) -> dict[str, Any]:
        manifest = self.model.manifest
        return {
            "artifact": str(self.folder),
            "name": self.model.name,
            "kind": self.model.kind,
            "digest": self.model.digest,
            "training": manifest["training"],
            "metrics": manifest["metrics"],
        }


@dataclass(frozen=True)
class Calibrated:
    """What setting the level has come to: ``trained`` None where it was not written. ``after`` and ``before``: scores
    on the same rows; ``worse``: of how many the calibration error is larger than before."""

    trained: Trained | None
    after: list[dict[str, Any]]
    before: list[dict[str, Any]]
    worse: int


def silent(stage: str, done: int, of: int) -> None: ...


def open_markets(
    datasets: Sequence[Path],
    instruments: Sequence[str] = (),
    shares: tuple[float, float, float] = SHARES,
    *,
    after: CurveModel | None = None,
) -> list[Market]:
    """The instruments of all datasets, or those named; of decisions ``after`` all that a model was fitted on, if one
    is given. ``QuotelifeError`` naming an instrument that is in none, or that has nothing so late."""
    pieces: list[Decisions] = []
    known: set[str] = set()
    for folder in datasets:
        dataset = Dataset(folder)
        known |= set(dataset.instruments)
        pieces += [
            dataset.decisions(piece)
            for piece in dataset.pieces
            if not instruments or piece.instrument in instruments
        ]
    lacking = sorted(set(instruments) - known)
    if lacking:
        raise QuotelifeError(
            f"no instrument {lacking[0]!r} in the data; there are: {', '.join(sorted(known)) or 'none'}"
        )
    if after is not None:
        pieces = _later(pieces, after)
    return markets(pieces, shares=shares)


def _later(pieces: Sequence[Decisions], model: CurveModel) -> list[Decisions]:
    until = seen_until_ns(model.manifest)
    later = [p[p.now_ns > until + purge_ns(p.latency_ns)] if until else p for p in pieces]
    left = {piece.instrument for piece in later if len(piece)}
    for piece in pieces:
        if piece.instrument not in left:
            raise QuotelifeError(
                f"{piece.instrument}: every decision lies within what {model.name} was fitted on, or less than the "
                "longest horizon after it; label what came later, and name that dataset"
            )
    return [piece for piece in later if len(piece)]


def train(found: Sequence[Market], plan: Plan, progress: Progress = silent) -> list[Trained]:
    """One artifact for each market; of the universal model one for all."""
    if plan.model not in MODELS:
        raise QuotelifeError(f"model {plan.model!r} is none of {', '.join(MODELS)}")
    base = None
    if plan.stack is not None:
        loaded = load_artifact(plan.stack)
        if not isinstance(loaded, TreeCurveModel) or plan.model != "trees":
            raise QuotelifeError("--stack takes an artifact of kind trees, to train --model trees on")
        check_unseen(loaded, found)
        base = loaded
    checkpoint = plan.out / CHECKPOINTS
    done = []
    groups = [list(found)] if plan.model == "universal" else [[market] for market in found]
    for group in groups:
        recipe = replace(UNIVERSAL if plan.model == "universal" else LOCAL, **plan.recipe)
        places = {market.instrument: threshold_places(market, plan.thresholds) for market in group}
        tried: list[dict[str, Any]] = []
        if plan.model == "logistic":
            model: CurveModel = train_logistic(group[0], places[group[0].instrument], progress=progress)
        else:
            if plan.tune:
                recipe, tried = tuned(_folded(group, plan, recipe.seed), recipe, plan.tune, progress=progress)
            if plan.model == "universal":
                fitted = train_universal(
                    group,
                    recipe,
                    rows_wanted=plan.rows_wanted,
                    refit=plan.refit,
                    checkpoint=checkpoint,
                    progress=progress,
                )
            else:
                fitted = train_trees(
                    group[0],
                    places[group[0].instrument],
                    recipe,
                    base=base,
                    refit=plan.refit,
                    checkpoint=checkpoint,
                    progress=progress,
                )
            model = fitted.model
        training = training_record(group, plan.model, plan.shares, refit=plan.refit)
        if plan.model != "logistic":
            training["importance"] = fitted.importance
            training["recipe"] = asdict(recipe)
            training["seed"] = recipe.seed
            training["refit"] = plan.refit
            training["tried"] = tried
        if base is not None:
            stands_on(training, "stacked_on", base)
        progress("scores", 0, 1)
        done.append(_save(model, group, evaluate(model, group, places), plan, training, progress))
    shutil.rmtree(checkpoint, ignore_errors=True)
    return done


def _folded(group: Sequence[Market], plan: Plan, seed: int) -> Iterator[tuple[list[Sample], list[Sample]]]:
    """(train, tested) samples of each fold of a walk-forward over the first two parts.

    Trained on is as much as the fit itself would take of that span, for leaves of so many rows are right for so many
    rows; what is tested is thinned.
    """
    rng = np.random.default_rng(seed)
    by_market = [folds(market, FOLDS) for market in group]

    def samples(k: int, part: str, rows_most: int | None) -> list[Sample]:
        own = [each[k] for each in by_market]
        if plan.model == "universal":
            wanted = plan.rows_wanted if rows_most is None else rows_most // len(group)
            return [s for market in own for s in drawn(market, part, rng, wanted, DRAWS_MOST)]
        (market,) = own
        found = [s for j in threshold_places(market, plan.thresholds) for s in stored(market, part, j)]
        return found if rows_most is None else thin(found, rows_most)

    for k in range(FOLDS):
        yield samples(k, "train", None), samples(k, "calibrate", CALIBRATION_ROWS)


def check_unseen(base: CurveModel, found: Sequence[Market]) -> None:
    """``QuotelifeError`` where trees to stack on have seen what they are weighed or scored on here, or what came after
    it, or do not say."""
    try:
        spans = fitted_on(base.manifest)
    except SplitError as error:
        raise QuotelifeError(str(error)) from None
    for market in found:
        weighed = market.span_ns("calibrate")[0]
        for name, _, until in spans:
            if weighed <= until:
                raise QuotelifeError(
                    f"{base.name}: its trees have seen {name or 'decisions'} in the part of {market.instrument} on "
                    "which they would be weighed and scored, or of later; train it on what ends before that: with "
                    "this --split and without --refit"
                )


def stands_on(training: dict[str, Any], key: str, model: CurveModel) -> None:
    """Write into ``training`` that the model was made from another: its digest, its spans, and how much of both was
    simulated."""
    spans = fitted_on(model.manifest)
    training[key] = model.digest
    training["fitted_on"] = [*training["fitted_on"], *spans]
    training["levelled_on"] = [*training["levelled_on"], *levelled_on(model.manifest)]
    before = (model.manifest or {}).get("training") or {}
    rows = training["rows"], max(1, int(before.get("rows_of_all", before.get("rows", 1))))
    shares = training["simulated_share"], simulated_share(before)
    training["rows_of_all"] = sum(rows)
    training["simulated_share"] = float(np.average(shares, weights=rows))
    training["span_start_ns"] = min([training["span_start_ns"], *(start for _, start, _ in spans)])
    training["span_end_ns"] = max(training["span_end_ns"], seen_until_ns(model.manifest))


def calibrate(
    model: CurveModel,
    found: Sequence[Market],
    plan: Plan,
    progress: Progress = silent,
    *,
    force: bool = False,
) -> Calibrated:
    """The model with its level set by the first two parts of ``found``, which it must not have been fitted on, scored
    on the last; and the scores of the model as it was, on the same rows. Not written where the calibration error of
    most scores has become larger, unless by ``force``."""
    places = {market.instrument: threshold_places(market, plan.thresholds) for market in found}
    recent = [
        sample
        for market in found
        for part in ("train", "calibrate")
        for j in places[market.instrument]
        for sample in stored(market, part, j)
    ]
    progress("calibration", 0, 1)
    level = levelled(model, thin(recent, CALIBRATION_ROWS))
    before, _ = evaluate(model, found, places)
    after, tables = evaluate(level, found, places)
    worse = sum(
        new["calibration_error"] > old["calibration_error"] for new, old in zip(after, before, strict=True)
    )
    if 2 * worse > len(after) and not force:
        return Calibrated(None, after, before, worse)
    training = {
        **training_record(found, "calibrated", plan.shares),
        "fitted_on": [],
        "levelled_on": [[m.instrument, m.span_ns("train")[0], m.span_ns("calibrate")[1]] for m in found],
        "trained": (model.manifest or {}).get("training"),
    }
    stands_on(training, "calibrated_from", model)
    named = replace(plan, name=plan.name or f"{model.name}_calibrated")
    return Calibrated(_save(level, found, (after, tables), named, training, progress), after, before, worse)


def threshold_places(market: Market, names: Sequence[str]) -> list[int]:
    """Where the stored thresholds stand that are named, all where none is."""
    stored_names = market.pieces[0].thresholds
    if not names:
        return list(range(market.pieces[0].h_ticks.shape[1]))
    for name in names:
        if name not in stored_names:
            raise QuotelifeError(
                f"{market.instrument}: threshold {name!r} is not stored; there are: {', '.join(stored_names)}"
            )
    return [stored_names.index(name) for name in names]


def training_record(
    group: Sequence[Market], model: str, shares: tuple[float, float, float], *, refit: bool = False
) -> dict[str, Any]:
    """What the manifest says of the data: instruments, spans, rows, digest, what a pick-off costs. By instrument,
    ``fitted_on``: what trees or coefficients were fitted on; ``levelled_on``: what level, slope and weights were."""
    last = "calibrate" if refit else "train"
    return {
        "model": model,
        "data_digest": data_digest(group),
        "shares": list(shares),
        "fitted_on": [[m.instrument, m.span_ns("train")[0], m.span_ns(last)[1]] for m in group],
        "levelled_on": [[m.instrument, *m.span_ns("calibrate")] for m in group],
        "span_start_ns": min(market.span_ns("train")[0] for market in group),
        "span_end_ns": max(market.span_ns("calibrate")[1] for market in group),
        "rows": sum(len(rows["train"]) + len(rows["calibrate"]) for m in group for rows in m.rows),
        "simulated_share": simulated_rows(group) / max(1, sum(market.decisions for market in group)),
        "test_rows": sum(len(rows["test"]) for m in group for rows in m.rows),
        "instruments": [
            {
                "instrument": market.instrument,
                "reference": market.pieces[0].reference,
                "latency_ns": market.pieces[0].latency_ns,
                **{
                    f"{part}_{end}_ns": at
                    for part in ("train", "calibrate", "test")
                    for end, at in zip(("start", "end"), market.span_ns(part), strict=True)
                },
            }
            for market in group
        ],
        "loss_given_pickoff": [entry for market in group for entry in loss_given_pickoff(market)],
    }


def simulated_rows(group: Sequence[Market]) -> int:
    return sum(len(piece) for market in group for piece in market.pieces if piece.simulated)


def loss_given_pickoff(market: Market) -> list[dict[str, Any]]:
    """``loss_in_h`` and ``adverse_share`` as the counterparties of a configuration take them, before the edge, per
    stored threshold, from the first part alone."""
    out = []
    for j, name in enumerate(market.pieces[0].thresholds):
        learned = []
        for piece, rows in zip(market.pieces, market.rows, strict=True):
            at = rows["train"]
            at = at[(piece.observed_ns[at] >= LONGEST_NS) & (piece.h_ticks[at, j] > 0.0)]
            at = at[:: max(1, -(-len(at) // PICK_OFF_ROWS))]
            if len(at):
                learned.append(learn(Flow().meet(piece[at], piece.h_ticks[at, j], seed=1)))
        seen = sum(one.passages for one in learned)
        if seen:
            out.append(
                {
                    "instrument": market.instrument,
                    "threshold": name,
                    "passages": seen,
                    "loss_in_h": sum(one.loss_in_h * one.passages for one in learned) / seen,
                    "adverse_share": sum(one.adverse_share * one.passages for one in learned) / seen,
                }
            )
    return out


def evaluate(
    model: CurveModel, group: Sequence[Market], places: dict[str, list[int]]
) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    """(metrics, reliability) on the last part of each market, per stored threshold and horizon."""
    metrics, tables = [], []
    for market in group:
        for j in places[market.instrument]:
            samples = stored(market, "test", j)
            if not samples:
                continue
            p, now, event, known = (
                np.concatenate(column)
                for column in zip(
                    *[(s.curves(model), s.decisions.now_ns[s.rows], s.event, s.known) for s in samples],
                    strict=True,
                )
            )
            answered = ~np.isnan(p[:, 0])
            p, now, event, known = p[answered], now[answered], event[answered], known[answered]
            where = {"instrument": market.instrument, "threshold": _name(market, j)}
            scored, binned = score(p, event, known)
            for entry, table in zip(scored, binned, strict=True):
                k = HORIZONS_NS.index(entry["horizon_ns"])
                seen = known > k
                within = auc_within(p[seen, k], event[seen] <= k, now[seen] // WITHIN_NS)
                entry["auc_within_10min"] = None if np.isnan(within) else within
                metrics.append({**where, **entry})
                tables.append({**where, **table})
    return metrics, tables


def _name(market: Market, place: int) -> str:
    names = market.pieces[0].thresholds
    return names[place] if place < len(names) else str(place)


def _kind_of(training: Mapping[str, Any]) -> str:
    share = simulated_share(training)
    return "recorded" if not share else "simulated" if share == 1.0 else "simulated and recorded"


def _save(
    model: CurveModel,
    group: Sequence[Market],
    scored: tuple[list[dict[str, Any]], list[dict[str, Any]]],
    plan: Plan,
    training: dict[str, Any],
    progress: Progress,
) -> Trained:
    metrics, tables = scored
    names = ", ".join(market.instrument for market in group)
    default = (
        plan.model if len(group) > 1 or plan.model == "universal" else f"{plan.model}_{group[0].instrument}"
    )
    safe = "".join(c if c.isascii() and (c.isalnum() or c in "_-") else "_" for c in plan.name or default)
    folder = save_artifact(
        model,
        plan.out,
        name=safe,
        description=f"Fitted on {_kind_of(training)} decisions of {names}; scores are of the last part of the span "
        "alone.",
        created_by=CREATED_BY,
        training={**training, "feature_bins": feature_bins(group, model)},
        metrics=metrics,
        reliability=tables,
    )
    progress("scores", 1, 1)
    return Trained(folder, load_artifact(folder))
