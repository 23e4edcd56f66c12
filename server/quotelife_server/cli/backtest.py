"""``quotelife backtest``: models and policies over labelled decisions, or over the recorded sets of the suite."""

import json
import os
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from quotelife.errors import QuotelifeError
from quotelife_server.cli.options import writing, wrong
from quotelife_server.cli.progress import Progress

if TYPE_CHECKING:
    from quotelife.config.schema import Recalibration
    from quotelife.learn.backtest import Plan

SUITES = ("realdata",)
ROWS_LEAST = 1000


def backtest(
    paths: Annotated[
        list[str] | None,
        typer.Argument(help="Folders of model artifacts and of datasets (quotelife labels), in any order."),
    ] = None,
    suite: Annotated[
        str | None, typer.Option(help="realdata: the recorded sets instead of datasets of your own.")
    ] = None,
    data: Annotated[
        Path | None,
        typer.Option(help="With --suite: folder of the recorded data. [default: $QUOTELIFE_DATA]"),
    ] = None,
    work: Annotated[
        Path, typer.Option(help="With --suite: what is made is kept here and taken up again.")
    ] = Path("backtest-work"),
    sets: Annotated[
        str | None, typer.Option("--set", help="With --suite: only these, with commas. [default: all]")
    ] = None,
    threshold: Annotated[
        str | None,
        typer.Option(
            "--threshold", "-t", help="6tick, 0.5bp, 0.3sigma, or a stored one. [default: first stored]"
        ),
    ] = None,
    seed: Annotated[int, typer.Option(min=0, help="Of takers and bootstrap.")] = 20260101,
    block: Annotated[str, typer.Option(help="Length of a bootstrap block.")] = "60s",
    config: Annotated[
        Path | None,
        typer.Option(
            "--config",
            "-c",
            help="Curves under this configuration's learning.recalibration. [default: what ships]",
        ),
    ] = None,
    window: Annotated[
        str | None, typer.Option(help="Another time that a label counts for recalibration.")
    ] = None,
    withdraw: Annotated[
        bool,
        typer.Option(
            "--withdraw",
            help="What a watch is worth, by 1, 5, 50 and 500 ms that a withdrawal takes, instead of all else.",
        ),
    ] = False,
    rows: Annotated[
        int,
        typer.Option(help=f"Policies are judged on about so many decisions, {ROWS_LEAST:,} or more."),
    ] = 24_000,
    out: Annotated[Path | None, typer.Option("--out", "-o", help="Write the JSON there too.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="All figures as JSON.")] = False,
) -> None:
    """Backtest models: prediction scores, frontier at equal fill, value a request, held tolerance.

    The first artifact decides the lives; each has scores and a frontier. Figures are of the last 35 % of the time; what
    is learned on the way (the fixed life to beat, the loss given pick-off) comes from before.
    """
    from quotelife.learn.backtest import Plan
    from quotelife.units import parse_duration_ns

    if rows < ROWS_LEAST:
        wrong("--rows", f"must be {ROWS_LEAST:,} or more, not {rows:,}: fewer say nothing of tails")
    with writing(out, "--out") as write, Progress(show=not as_json) as progress:
        try:
            if suite is None:
                block_ns = _duration("--block", block, parse_duration_ns)
                recalibration = _recalibration(config, window)
                try:
                    plan = Plan(seed=seed, rows_max=rows, block_ns=block_ns, recalibration=recalibration)
                except ValueError as error:
                    wrong("--block", str(error))
                result = _own(paths or [], threshold, plan, progress, withdraw=withdraw)
            elif suite not in SUITES:
                wrong("--suite", f"{suite!r} is none of {', '.join(SUITES)}")
            else:
                result = _suite(paths or [], data, work, seed, sets, progress, withdraw=withdraw)
        except KeyboardInterrupt:
            kept = f"; {work} keeps what is whole: the same command goes on from there" if suite else ""
            typer.echo(f"interrupted{kept}", err=True)
            raise typer.Exit(130) from None
        except OSError as error:
            raise QuotelifeError(f"{error.filename or 'backtest'}: {error.strerror or error}") from None
        text = json.dumps(result, indent=2, allow_nan=False)
        write(text)
    if as_json:
        typer.echo(text)
    else:
        _print(result)


def _recalibration(config: Path | None, window: str | None) -> "Recalibration":
    from pydantic import ValidationError

    from quotelife.config import load_config
    from quotelife.config.schema import Recalibration
    from quotelife.learn.served import FULL_DAY
    from quotelife_server.settings import ServiceConfig

    found = load_config(config, ServiceConfig).learning.recalibration if config is not None else FULL_DAY
    if window is None:
        return found
    try:
        return Recalibration.model_validate(
            {**found.model_dump(mode="json", by_alias=True), "window": window}
        )
    except ValidationError as error:
        wrong("--window", error.errors()[0]["msg"])


def _duration(option: str, text: str, parse: Any) -> int:
    try:
        found: int = parse(text)
    except ValueError as error:
        wrong(option, str(error))
    if found <= 0:
        wrong(option, "must be above 0")
    return found


def _own(
    paths: list[str], threshold: str | None, plan: "Plan", progress: Progress, *, withdraw: bool
) -> dict[str, Any]:
    from quotelife.learn.backtest import (
        Case,
        fitted_later,
        hide_seen,
        joined,
        judge,
        make_case,
        model_curves,
        seen_in_training,
    )
    from quotelife.learn.dataset import HEAD, Dataset, threshold_ticks
    from quotelife.learn.withdrawal import judge_withdrawal
    from quotelife.model.artifact import load_artifact

    datasets = [path for path in paths if (Path(path) / HEAD).is_file()]
    artifacts = [path for path in paths if path not in datasets]
    if not datasets or not artifacts:
        wrong("PATHS", "name at least one artifact folder and one dataset folder, or --suite realdata")
    loaded = [load_artifact(path) for path in artifacts]
    models = {}
    for model in loaded:
        name = model.name if model.name not in models else f"{model.name}-{model.digest[:8]}"
        models[name] = model
    results = []
    for path in datasets:
        dataset = Dataset(Path(path))
        for instrument in dataset.instruments:
            pieces = [dataset.decisions(piece) for piece in dataset.of(instrument) if piece.rows]
            if not pieces:
                continue
            d = joined(pieces)
            spec = threshold or d.thresholds[0]
            if spec in d.thresholds:
                h = d.h_ticks[:, d.thresholds.index(spec)]
            else:
                try:
                    h = threshold_ticks(spec, d.sigma_ticks, d.reference_ticks)
                except ValueError as error:
                    wrong("--threshold", str(error))
            progress(f"{instrument}: curves")
            curves = {name: hide_seen(model_curves(model, d, h), d, model) for name, model in models.items()}
            case: Case = make_case(instrument, spec, d, h, curves, plan)
            decider = next(iter(models))
            if withdraw:
                result = judge_withdrawal(case, decider, progress=progress)
            else:
                result = judge(case, decider, list(models), progress=progress)
            result["models"] = {name: model.digest for name, model in models.items()}
            result["data_digest"] = dataset.digest
            result["seen_in_training"] = seen_in_training(case, models)
            result["fitted_later"] = fitted_later(case, models)
            results.append(result)
    if not results:
        raise QuotelifeError(
            f"{', '.join(datasets)}: no decisions; make the dataset of good data: quotelife labels"
        )
    return {"format": 1, "seed": plan.seed, "data_digest": results[0]["data_digest"], "sets": results}


def _suite(
    paths: list[str],
    data: Path | None,
    work: Path,
    seed: int,
    sets: str | None,
    progress: Progress,
    *,
    withdraw: bool,
) -> dict[str, Any]:
    from quotelife.learn.realdata import SETS
    from quotelife.learn.suite import run_suite
    from quotelife.learn.suite_models import given_models, trained_models

    folder = data or (Path(os.environ["QUOTELIFE_DATA"]) if "QUOTELIFE_DATA" in os.environ else None)
    if folder is None:
        wrong("--data", "name the folder of the recorded data, or set QUOTELIFE_DATA")
    names = tuple(each.strip() for each in sets.split(",")) if sets else ()
    unknown = [name for name in names if name not in {spec.name for spec in SETS}]
    if unknown:
        wrong("--set", f"{unknown[0]!r} is none of {', '.join(spec.name for spec in SETS)}")
    models = given_models(paths) if paths else trained_models
    from quotelife.learn.suite_sets import collect_sets

    collected = collect_sets(folder, work, progress)
    return run_suite(collected, work, models, progress, seed=seed, names=names, withdraw=withdraw)


def _percent(value: float | None) -> str:
    return "    –" if value is None else f"{100 * value:+5.0f}"


def _print_withdrawal(rows: list[dict[str, Any]]) -> None:
    typer.echo("  value a request, h; in brackets over the best fixed life under the same watch")
    for name in dict.fromkeys(row["case"] for row in rows):
        typer.echo(f"    {name}")
        for policy in dict.fromkeys(row["policy"] for row in rows):
            cells = "  ".join(
                f"{_way(row['path_ns'])} {row['value']:+.4f} ({row['over_static']:+.4f})"
                for row in rows
                if (row["case"], row["policy"]) == (name, policy)
            )
            typer.echo(f"      {policy:33} {cells}")


def _way(path_ns: int | None) -> str:
    return "no watch" if path_ns is None else f"{path_ns / 1e6:g} ms"


def _print(result: dict[str, Any]) -> None:
    for entry in result["sets"]:
        typer.echo(
            f"\n{entry['name']}, h {entry['h']}, reference {entry['reference']}: {entry['rows']:,} test rows"
        )
        for name in (name for name, seen in entry.get("seen_in_training", {}).items() if seen):
            typer.echo(
                f"  {name} was fitted or calibrated on part of these rows: what it shows here is too good; backtest it "
                "on a dataset of later"
            )
        for name in (name for name, later in entry.get("fitted_later", {}).items() if later):
            typer.echo(
                f"  {name} was fitted or calibrated on what came after these rows, which nobody knew then; backtest it "
                "on a dataset of later"
            )
        if "withdrawal" in entry:
            _print_withdrawal(entry["withdrawal"])
            continue
        for horizon in entry["horizons"]:
            for model in horizon["models"]:
                if model["auc"] is None:
                    continue
                within = model["auc_within_10min"]
                typer.echo(
                    f"  {horizon['horizon_ns'] / 1e6:5.0f} ms  {model['model']:24} AUC {model['auc']:.3f}, within ten "
                    f"minutes {'–' if within is None else f'{within:.3f}'}, Brier skill {model['brier_skill']:+.4f}, "
                    f"ECE {model['ece']:.4f}"
                )
        typer.echo("  pick-offs against a fixed life at equal fill, %")
        rows = entry["frontier"]
        for key in dict.fromkeys((row["model"], row["policy"]) for row in rows):
            own = [row for row in rows if (row["model"], row["policy"]) == key]
            cells = "  ".join(f"{row['fill']:.1f}: {_percent(row['change'])}" for row in own)
            typer.echo(f"    {key[0]:20} {key[1]:16} {cells}")
        typer.echo("  value a request over the best fixed life, h")
        for row in entry["value"]:
            if (
                row["slice"] == "all"
                and row["policy"].startswith("expected value")
                and "," not in row["policy"]
            ):
                typer.echo(
                    f"    {row['case']:36} {row['policy']:27} {row['value']:+.4f} ({row['over_static']:+.4f})"
                )
        for row in entry["held_tolerance"]:
            worst, word = row["worst_2000"], "held" if row["held"] else "free"
            typer.echo(
                f"  {row['posture']:18} {row['model']:24} {word}: alpha {row['alpha']:.2f}, "
                f"worst 2,000 {'–' if worst is None else f'{worst:.4f}'}, {row['bound_limited']:,} at the shortest life"
            )
    for target in result.get("targets", []):
        word = "not known" if target["met"] is None else "met" if target["met"] else "NOT MET"
        value = "–" if target["value"] is None else f"{target['value']:.4f}"
        bounds = target.get("interval")
        reach = f" [{bounds[0]:.4f}, {bounds[1]:.4f}]" if bounds else ""
        why = f" ({target['reason']})" if target.get("reason") else ""
        typer.echo(
            f"{word:9} {target['set']:20} {target['what']}: {value}{reach}, must be {target['must']}{why}"
        )
