"""Which models the real-data suite judges: those that are named, or those that it trains."""

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from quotelife.learn.dataset import Decisions
from quotelife.learn.realdata import SETS
from quotelife.learn.samples import Market, markets
from quotelife.learn.suite import Models, Progress
from quotelife.learn.training import data_digest, train_logistic, train_trees, train_universal
from quotelife.model.artifact import MANIFEST, builtin_artifact, load_artifact, save_artifact
from quotelife.model.curve import CurveModel
from quotelife.model.tree_hazard import TreeHazardModel

BASE = "universal-half"
UNIVERSAL = "universal"
STACKED = "universal-local"
LOGISTIC = "local-logistic"
SHIPPED = "shipped-logistic"  # trained on the simulated market, never on these sets


def given_models(folders: Sequence[str]) -> Models:
    """The artifacts in these folders, for every set."""

    def models(
        sets: Mapping[str, Decisions], work: Path, progress: Progress
    ) -> Mapping[str, Mapping[str, CurveModel]]:
        loaded = {model.name: model for model in map(load_artifact, folders)}
        return dict.fromkeys(sets, loaded)

    return models


def trained_models(
    sets: Mapping[str, Decisions], work: Path, progress: Progress
) -> Mapping[str, Mapping[str, CurveModel]]:
    """The universal model over all sets, and for each set one stacked on it and a logistic; trained once, then loaded.

    Trees see the first 65 % of each set; what they are worth was fitted on the last 15 % of that, to trees that had
    seen the first half alone.
    """
    folder = work / "models"
    own = {
        name: markets([decisions], purge=next(spec.plan.purge_ns for spec in SETS if spec.name == name))[0]
        for name, decisions in sets.items()
    }
    whole = data_digest(list(own.values()))

    def tell(what: str) -> "_Tell":
        return _Tell(what, progress)

    def kept(name: str, digest: str) -> Path:
        return folder / f"{name}-{digest[:12]}"

    def save(
        model: CurveModel, name: str, digest: str, description: str, seen: Iterable[Market]
    ) -> CurveModel:
        place = kept(name, digest)
        save_artifact(
            model, folder, name=name, description=description, folder=place.name,
            created_by="quotelife backtest --suite realdata",
            training={"data_digest": digest, "span_end_ns": max(each.span_ns("calibrate")[1] for each in seen)},
        )  # fmt: skip
        return load_artifact(place)

    pooled: list[TreeHazardModel] = []
    for title, refit in ((BASE, False), (UNIVERSAL, True)):
        path = kept(title, whole)
        if (path / MANIFEST).is_file():
            model = load_artifact(path)
        else:
            model = save(
                train_universal(list(own.values()), refit=refit, checkpoint=work / "trees", progress=tell(title)),
                title, whole, "Pooled over the sets of the suite", own.values(),
            )  # fmt: skip
        assert isinstance(model, TreeHazardModel)
        pooled.append(model)
    base, universal = pooled
    shipped = load_artifact(builtin_artifact("logistic"))
    out: dict[str, dict[str, CurveModel]] = {}
    for name, market in own.items():
        spec = next(each for each in SETS if each.name == name)
        column = [sets[name].thresholds.index(spec.threshold)]
        digest = data_digest([market])
        own_models: dict[str, CurveModel] = {}
        for kind in (STACKED, LOGISTIC):
            title = f"{kind}-{name.replace(' ', '-')}"
            path = kept(title, digest)
            if (path / MANIFEST).is_file():
                own_models[kind] = load_artifact(path)
                continue
            if kind == STACKED:
                grown: CurveModel = train_trees(
                    market, column, base=base, base_refit=universal, refit=True, progress=tell(title)
                )
            else:
                grown = train_logistic(market, column, progress=tell(title))
            own_models[kind] = save(
                grown,
                title,
                digest,
                f"Trained on {name}, {kind}",
                own.values() if kind == STACKED else [market],
            )
        # The first decides the lives: what the stack is worth was fitted here, and a choice by the slice that its trees
        # have seen would be no choice.
        out[name] = {
            STACKED: own_models[STACKED],
            UNIVERSAL: universal,
            LOGISTIC: own_models[LOGISTIC],
            SHIPPED: shipped,
        }
    return out


class _Tell:
    def __init__(self, what: str, progress: Progress) -> None:
        self._what, self._progress = what, progress

    def __call__(self, stage: str, done: int, of: int) -> None:
        self._progress(f"{self._what}: {stage}, {done} of {of}")
