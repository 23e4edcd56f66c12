"""The real-data suite: recorded sets to datasets, models to figures, figures beside what they must reach.

What is made is kept in a work folder, so that an interrupted run goes on where it was: datasets, models and results
each by a digest over all that made them, this code included (``code_digest``).
"""

import hashlib
import json
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, replace
from importlib.machinery import all_suffixes
from pathlib import Path
from typing import Any

import numpy as np

from quotelife import errors
from quotelife.learn.backtest import (
    Plan,
    fitted_later,
    hide_seen,
    judge,
    make_case,
    model_curves,
    seen_in_training,
)
from quotelife.learn.dataset import Decisions, Floats, threshold_ticks
from quotelife.learn.realdata import SETS, SetSpec, targets
from quotelife.learn.splits import clock_split, purge_ns
from quotelife.learn.withdrawal import judge_withdrawal, withdrawal_targets
from quotelife.model.curve import CurveModel

FORMAT = 1
PACKAGE = Path(errors.__file__).parent
LOADED = tuple(all_suffixes())
CODE = (".", "config", "decision", "features", "learn", "model")
"""Folders of the package that have a part in what the suite keeps."""


@dataclass(frozen=True)
class Candidate:
    """A model to judge on the test slice, and what answers before it: ``before``, whose trees have not seen the
    calibrate slice. Where there is none, the model's own answers count from the end of what it was fitted on."""

    model: CurveModel
    before: CurveModel | None = None

    def curves(self, decisions: Decisions, h_ticks: Floats) -> Floats:
        """(n, 12), NaN before the test slice where the one that answers there was fitted on the row."""
        if self.before is None:
            return hide_seen(model_curves(self.model, decisions, h_ticks), decisions, self.model)
        cut = clock_split(decisions.now_ns, purge_ns=purge_ns(decisions.latency_ns)).cuts_ns[1]
        at = int(np.searchsorted(decisions.now_ns, cut, side="left"))
        parts = (slice(None, at), self.before), (slice(at, None), self.model)
        out = np.concatenate([model_curves(model, decisions[rows], h_ticks[rows]) for rows, model in parts])
        return hide_seen(out, decisions, self.before)

    @property
    def digests(self) -> list[str]:
        return [each.digest for each in (self.model, self.before) if each is not None]


Progress = Callable[[str], None]
Models = Callable[[Mapping[str, Decisions], Path, Progress], Mapping[str, Mapping[str, Candidate]]]


def code_digest(package: Path = PACKAGE) -> str:
    """SHA-256 over the code in ``CODE``, compiled modules as they are: what it made is not what it would make once a
    file of it changed."""
    sha = hashlib.sha256()
    for path in code_files(package):
        sha.update(f"{path.relative_to(package).as_posix()}\n".encode())
        sha.update(hashlib.sha256(path.read_bytes()).digest())
    return sha.hexdigest()


def code_files(package: Path = PACKAGE) -> list[Path]:
    """The modules in ``CODE``, sorted: what Python loads, Cython's sources not."""
    found = (path for folder in CODE for path in (package / folder).iterdir())
    return sorted(path for path in found if path.name.endswith(LOADED))


def against_mid(decisions: Decisions) -> Decisions:
    """The same decisions, judged by the mid."""
    return replace(decisions, reference="mid", reference_ticks=decisions.mid_ticks)


def run_suite(
    collected: Mapping[str, tuple[Decisions, str]],
    work: Path,
    models: Models,
    progress: Progress,
    *,
    seed: int,
    names: tuple[str, ...] = (),
    withdraw: bool = False,
) -> dict[str, Any]:
    """All sets, each with the digest of its dataset, under both references, beside baselines and targets; ``names``
    leaves the others out. ``withdraw``: what a watch is worth by its path, instead of all else."""
    progress("models")
    by_set = models({name: decisions for name, (decisions, _) in collected.items()}, work, progress)
    results = work / "results"
    results.mkdir(parents=True, exist_ok=True)
    sets = []
    for spec in SETS:
        if names and spec.name not in names:
            continue
        decisions, digest = collected[spec.name]
        own = by_set[spec.name]
        for reference in ("microprice", "mid"):
            plan = replace(spec.plan, seed=seed)
            digests = {name: each.digests for name, each in own.items()}
            key = _key(spec, reference, digest, digests, plan, withdraw=withdraw)
            cached = results / f"{key}.json"
            if cached.is_file():
                sets.append(json.loads(cached.read_bytes()))
                continue
            d = decisions if reference == "microprice" else against_mid(decisions)
            h = threshold_ticks(spec.threshold, d.sigma_ticks, d.mid_ticks)
            progress(f"{spec.name}, {reference}: curves")
            curves = {name: each.curves(d, h) for name, each in own.items()}
            case = make_case(spec.name, spec.threshold, d, h, curves, plan)
            decider, *others = own
            compared = [decider, *others] if reference == "microprice" else [decider]
            if withdraw:
                result = judge_withdrawal(case, decider, progress=progress)
            else:
                result = judge(case, decider, compared, progress=progress)
            result["models"] = {name: each.model.digest for name, each in own.items()}
            answering = {name: each.model for name, each in own.items()}
            result["seen_in_training"] = seen_in_training(case, answering)
            result["fitted_later"] = fitted_later(case, answering)
            result["data_digest"] = digest
            result["baseline"] = {str(ms): figures for ms, figures in spec.baseline.items()}
            unfinished = cached.with_suffix(".tmp")
            unfinished.write_text(json.dumps(result), encoding="utf-8")
            unfinished.replace(cached)
            sets.append(json.loads(cached.read_bytes()))
    words = json.dumps(sorted({entry["data_digest"] for entry in sets}))
    return {
        "format": FORMAT,
        "suite": "realdata",
        "seed": seed,
        "data_digest": hashlib.sha256(words.encode()).hexdigest(),
        "sets": sets,
        "targets": withdrawal_targets(sets) if withdraw else targets(sets),
    }


def _key(
    spec: SetSpec, reference: str, digest: str, models: dict[str, list[str]], plan: Plan, *, withdraw: bool
) -> str:
    how = {**asdict(plan), "recalibration": plan.recalibration.model_dump(mode="json")}
    words = [FORMAT, code_digest(), spec.name, spec.threshold, reference, digest, models, how, withdraw]
    return hashlib.sha256(json.dumps(words, sort_keys=True).encode()).hexdigest()[:24]
