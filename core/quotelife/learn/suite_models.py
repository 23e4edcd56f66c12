"""Which models the real-data suite judges: those that are named, or those that it trains."""

import hashlib
import json
import shutil
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any

from quotelife.learn.dataset import Decisions
from quotelife.learn.gradient_boosting import xgboost
from quotelife.learn.realdata import SETS
from quotelife.learn.samples import Market, markets
from quotelife.learn.splits import SHARES
from quotelife.learn.suite import Candidate, Models, Progress, code_digest
from quotelife.learn.train import stands_on, training_record
from quotelife.learn.training import (
    LOCAL,
    Fitted,
    data_digest,
    train_logistic,
    train_trees,
    train_universal,
)
from quotelife.learn.training import UNIVERSAL as UNIVERSAL_RECIPE
from quotelife.model.artifact import MANIFEST, builtin_artifact, load_artifact, save_artifact
from quotelife.model.curve import CurveModel
from quotelife.model.tree_curve import TreeCurveModel

UNIVERSAL = "universal"
STACKED = "universal-local"
LOGISTIC = "local-logistic"
SHIPPED = "shipped-logistic"  # trained on the simulated market, never on these sets


def given_models(folders: Sequence[str]) -> Models:
    """The artifacts in these folders, for every set."""

    def models(
        sets: Mapping[str, Decisions], work: Path, progress: Progress
    ) -> Mapping[str, Mapping[str, Candidate]]:
        loaded = {model.name: Candidate(model) for model in map(load_artifact, folders)}
        return dict.fromkeys(sets, loaded)

    return models


def trained_models(
    sets: Mapping[str, Decisions], work: Path, progress: Progress
) -> Mapping[str, Mapping[str, Candidate]]:
    """The universal model over all sets, and for each set one stacked on it and a logistic; trained once, then loaded.

    Trees see the first 65 % of each set; what they are worth was fitted on the last 15 % of that, to trees that had
    seen the first half alone. Those answer before the test slice.
    """
    specs = {spec.name: spec for spec in SETS if spec.name in sets}
    own = {name: markets([sets[name]], purge=spec.plan.purge_ns)[0] for name, spec in specs.items()}
    every = list(own.values())
    shelf = _Shelf(work / "models", work / "trees", progress)
    whole, half = shelf.trees(
        UNIVERSAL, every, [asdict(UNIVERSAL_RECIPE)], partial(train_universal, every, UNIVERSAL_RECIPE)
    )
    shipped = load_artifact(builtin_artifact("logistic"))
    out: dict[str, dict[str, Candidate]] = {}
    for name, market in own.items():
        column = [sets[name].thresholds.index(specs[name].threshold)]
        safe = name.replace(" ", "-")
        stacked, stacked_half = shelf.trees(
            f"{STACKED}-{safe}",
            [market],
            [asdict(LOCAL), column],
            partial(train_trees, market, column, LOCAL, base=half, base_refit=whole),
            (whole, half),
        )
        logistic = shelf.logistic(f"{LOGISTIC}-{safe}", market, column)
        # The first decides the lives: what the stack is worth was fitted here, and a choice by the slice that its trees
        # have seen would be no choice.
        out[name] = {
            STACKED: Candidate(stacked, stacked_half),
            UNIVERSAL: Candidate(whole, half),
            LOGISTIC: Candidate(logistic),
            SHIPPED: Candidate(shipped),
        }
    return out


@dataclass(frozen=True)
class _Shelf:
    """Artifacts by name and by a digest over all that makes them; one that is there is not made again."""

    folder: Path
    checkpoints: Path
    progress: Progress

    def trees(
        self,
        title: str,
        found: list[Market],
        words: list[Any],
        fit: Callable[..., Fitted],
        bases: tuple[TreeCurveModel, ...] = (),
    ) -> tuple[TreeCurveModel, TreeCurveModel]:
        """``model`` and ``half`` of what is fitted, ``bases`` being what these two stand on."""
        key = _key(found, [*words, [base.digest for base in bases]])
        places = [self.folder / f"{each}-{key}" for each in (title, f"{title}-half")]
        if not all((place / MANIFEST).is_file() for place in places):
            fitted = fit(refit=True, checkpoint=self.checkpoints, progress=_Tell(title, self.progress))
            for i, (place, model) in enumerate(zip(places, (fitted.model, fitted.half), strict=True)):
                record = training_record(found, title, SHARES, refit=i == 0)
                record |= {"recipe": words[0], "refit": i == 0, "importance": fitted.importance}
                if bases:
                    stands_on(record, "stacked_on", bases[i])
                self._save(model, place, record)
        loaded = [load_artifact(place) for place in places]
        first, second = (each for each in loaded if isinstance(each, TreeCurveModel))
        return first, second

    def logistic(self, title: str, market: Market, column: list[int]) -> CurveModel:
        place = self.folder / f"{title}-{_key([market], [column])}"
        if not (place / MANIFEST).is_file():
            model = train_logistic(market, column, progress=_Tell(title, self.progress))
            self._save(model, place, training_record([market], title, SHARES))
        return load_artifact(place)

    def _save(self, model: CurveModel, place: Path, record: dict[str, Any]) -> None:
        shutil.rmtree(place, ignore_errors=True)  # half of a pair: the other was not finished
        save_artifact(
            model, self.folder, name=place.name.rpartition("-")[0], folder=place.name, training=record,
            description="Trained by the suite on its recorded sets", created_by="quotelife backtest --suite realdata",
        )  # fmt: skip


def _key(found: list[Market], words: list[Any]) -> str:
    """Digest of what a model is made of: decisions, cuts, thresholds, what the caller adds, and the code."""
    by_market = [[market.instrument, market.purge_ns, list(market.pieces[0].thresholds)] for market in found]
    code = [code_digest(), xgboost().__version__]
    return hashlib.sha256(
        json.dumps([data_digest(found), by_market, words, code], sort_keys=True).encode()
    ).hexdigest()[:12]


class _Tell:
    def __init__(self, what: str, progress: Progress) -> None:
        self._what, self._progress = what, progress

    def __call__(self, stage: str, done: int, of: int) -> None:
        self._progress(f"{self._what}: {stage}, {done} of {of}")
