"""The real-data suite: recorded sets to datasets, models to figures, figures beside what they must reach.

What is made is kept in a work folder, so that an interrupted run goes on where it was: datasets by their key, models by
name and data, results by the digests of both and the plan.
"""

import hashlib
import json
from collections.abc import Callable, Mapping
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

from quotelife.learn.backtest import Plan, judge, make_case, model_curves
from quotelife.learn.dataset import Decisions, threshold_ticks
from quotelife.learn.realdata import SETS, SetSpec, targets
from quotelife.model.curve import CurveModel

FORMAT = 1

Progress = Callable[[str], None]
Models = Callable[[Mapping[str, Decisions], Path, Progress], Mapping[str, Mapping[str, CurveModel]]]


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
) -> dict[str, Any]:
    """All sets, each with the digest of its dataset, under both references, beside baselines and targets; ``names``
    leaves the others out."""
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
            key = _key(spec, reference, digest, {name: model.digest for name, model in own.items()}, plan)
            cached = results / f"{key}.json"
            if cached.is_file():
                sets.append(json.loads(cached.read_bytes()))
                continue
            d = decisions if reference == "microprice" else against_mid(decisions)
            h = threshold_ticks(spec.threshold, d.sigma_ticks, d.mid_ticks)
            progress(f"{spec.name}, {reference}: curves")
            curves = {name: model_curves(model, d, h) for name, model in own.items()}
            case = make_case(spec.name, spec.threshold, d, h, curves, plan)
            decider, *others = own
            compared = [decider, *others] if reference == "microprice" else [decider]
            result = judge(case, decider, compared, progress=progress)
            result["models"] = {name: model.digest for name, model in own.items()}
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
        "targets": targets(sets),
    }


def _key(spec: SetSpec, reference: str, digest: str, models: dict[str, str], plan: Plan) -> str:
    words = [FORMAT, spec.name, spec.threshold, reference, digest, models, asdict(plan)]
    return hashlib.sha256(json.dumps(words, sort_keys=True).encode()).hexdigest()[:24]
