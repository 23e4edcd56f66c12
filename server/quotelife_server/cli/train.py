"""``quotelife train`` and ``quotelife calibrate``: from labelled decisions to artifacts."""

import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from quotelife.errors import QuotelifeError
from quotelife_server.cli.options import wrong
from quotelife_server.cli.progress import Progress

if TYPE_CHECKING:
    from quotelife.learn.train import Plan

SHOWN_NS = (500_000_000, 2_000_000_000)

Datasets = Annotated[
    list[Path], typer.Argument(help="Folders that quotelife labels wrote.", exists=True, file_okay=False)
]
Out = Annotated[Path, typer.Option("--out", "-o", help="Folder the artifacts are written below.")]
Name = Annotated[str, typer.Option(help="Of the artifact. [default: the model and the instrument]")]
Instruments = Annotated[
    str | None, typer.Option("--instrument", "-i", help="Only these, with commas. [default: all]")
]
Thresholds = Annotated[
    str | None,
    typer.Option(
        "--threshold",
        "-t",
        help="Only these of the thresholds stored, with commas, such as 1tick. [default: all]",
    ),
]
Split = Annotated[
    str, typer.Option(help="Parts of the span, by the clock: to fit, to calibrate, to score, in percent.")
]
Json = Annotated[bool, typer.Option("--json", help="The summary as JSON.")]


def train(
    datasets: Datasets,
    model: Annotated[
        str,
        typer.Option(
            "--model",
            "-m",
            help="logistic and trees: one artifact for each instrument; universal: trees pooled over all of them, for "
            "any threshold.",
        ),
    ] = "trees",
    out: Out = Path("models"),
    name: Name = "",
    instruments: Instruments = None,
    thresholds: Thresholds = None,
    stack: Annotated[
        Path | None,
        typer.Option(help="Artifact of a universal model that the trees of each instrument are stacked on."),
    ] = None,
    tune: Annotated[
        int,
        typer.Option(min=0, max=200, help="Recipes to try, on parts that are not scored; 0: as they are."),
    ] = 0,
    refit: Annotated[
        bool,
        typer.Option(
            "--refit",
            help="In the end grow the trees once more, on the first two parts: twice the time, more data.",
        ),
    ] = False,
    split: Split = "50/15/35",
    trees: Annotated[int | None, typer.Option(min=1, max=1000, help="Of each ensemble.")] = None,
    depth: Annotated[int | None, typer.Option(min=1, max=10, help="Of a tree.")] = None,
    rows: Annotated[
        int | None, typer.Option(min=1000, help="Of each instrument in the universal pool. [default: 700000]")
    ] = None,
    seed: Annotated[
        int, typer.Option(min=0, max=2**31 - 1, help="Equal seed and data give equal bytes.")
    ] = 1,
    threads: Annotated[
        int, typer.Option(min=1, max=64, help="Of XGBoost; another number may round otherwise.")
    ] = 1,
    as_json: Json = False,
) -> None:
    """Train models on labelled decisions, calibrate them, score them on what they have not seen.

    Interrupted, the same command goes on from the last 25 trees.
    """
    from quotelife.learn.train import MODELS, Plan, open_markets
    from quotelife.learn.train import train as fit

    if model not in MODELS:
        wrong("--model", f"{model!r} is none of {', '.join(MODELS)}")
    if stack is not None and model != "trees":
        wrong("--stack", "belongs to --model trees")
    if (tune or refit) and model == "logistic":
        wrong("--tune, --refit", "belong to trees: the logistic model has no recipe")
    chosen = {"trees": trees, "depth": depth, "seed": seed, "threads": threads}
    plan = Plan(
        model,
        out,
        name=name,
        instruments=_names(instruments),
        thresholds=_names(thresholds),
        stack=stack,
        tune=tune,
        refit=refit,
        shares=_shares(split),
        recipe={key: value for key, value in chosen.items() if value is not None},
        **({} if rows is None else {"rows_wanted": rows}),
    )

    def run(progress: Callable[[str, int, int], None]) -> dict[str, Any]:
        found = fit(open_markets(datasets, plan.instruments, plan.shares), plan, progress)
        return {"interrupted": False, "artifacts": [one.summary() for one in found]}

    _drive(run, plan, as_json)


def calibrate(
    artifact: Annotated[Path, typer.Argument(help="The artifact to calibrate; it stays as it is.")],
    datasets: Datasets,
    out: Out = Path("models"),
    name: Name = "",
    instruments: Instruments = None,
    thresholds: Thresholds = None,
    split: Split = "50/15/35",
    force: Annotated[
        bool, typer.Option("--force", help="Write the artifact though most of its scores got worse.")
    ] = False,
    as_json: Json = False,
) -> None:
    """Set the level of a model by what came after all that it was fitted on: the first two parts of that; the last is
    scored.

    The result is another artifact. Its scores stand beside those of the model as it was. Exit 1, and nothing is
    written, where the calibration error of most of them got worse: too little data, or another market than before.
    """
    from quotelife.learn.train import Plan, open_markets
    from quotelife.learn.train import calibrate as fit
    from quotelife.model.artifact import load_artifact

    plan = Plan(
        "calibrated",
        out,
        name=name,
        instruments=_names(instruments),
        thresholds=_names(thresholds),
        shares=_shares(split),
    )

    def run(progress: Callable[[str, int, int], None]) -> dict[str, Any]:
        model = load_artifact(artifact)
        found = open_markets(datasets, plan.instruments, plan.shares, after=model)
        done = fit(model, found, plan, progress, force=force)
        artifacts = [done.trained.summary()] if done.trained is not None else []
        told = {"before": done.before, "after": done.after, "worse": done.worse, "written": bool(artifacts)}
        return {"interrupted": False, "artifacts": artifacts, **told}

    summary = _drive(run, plan, as_json)
    worse, of = summary["worse"], len(summary["after"])
    if 2 * worse > of and not as_json:
        text = f"the calibration error of {worse} of {of} scores got worse"
        if summary["written"]:
            typer.echo(f"  {text}; written all the same")
        else:
            _table(summary["after"], summary["before"])
            typer.echo(
                f"{text}: nothing is written; calibrate on more data, or write it all the same with --force"
            )
    if not summary["written"]:
        raise typer.Exit(1)


def _drive(
    run: Callable[[Callable[[str, int, int], None]], dict[str, Any]], plan: "Plan", as_json: bool
) -> dict[str, Any]:
    try:
        with Progress(show=not as_json) as line:
            summary = run(lambda stage, done, of: line(f"{stage}, {done} of {of}"))
    except KeyboardInterrupt:
        if as_json:
            typer.echo(json.dumps({"interrupted": True, "artifacts": []}))
        else:
            typer.echo("interrupted; the same command goes on where it was")
        raise typer.Exit(130) from None
    except OSError as error:
        raise QuotelifeError(
            f"{error.filename or plan.out}: {error.strerror or error}; make room or name another --out: the same "
            "command goes on where it was"
        ) from None
    if as_json:
        typer.echo(json.dumps(summary, indent=2))
        return summary
    for one in summary["artifacts"]:
        typer.echo(f"{one['artifact']}\n  {one['kind']}, digest {one['digest'][:16]}")
        _table(one["metrics"], summary.get("before", ()))
        if share := one["training"]["simulated_share"]:
            typer.echo(
                f"  {share:.0%} of what it was fitted on are simulated decisions: they say nothing of a real market"
            )
        for entry in one["training"]["loss_given_pickoff"]:
            typer.echo(
                f"  a pick-off on {entry['instrument']} at {entry['threshold']} costs {entry['loss_in_h']:.2f} h "
                f"before the edge (loss_in_h), adverse_share {entry['adverse_share']:.2f}, {entry['passages']:,} seen"
            )
    return summary


def _table(scores: Sequence[dict[str, Any]], before: Sequence[dict[str, Any]]) -> None:
    old = {_row(entry): entry for entry in before}
    typer.echo(f"  {'instrument, h, horizon':40}{'base':>8}{'AUC':>8}{'in 10 min':>10}{'skill':>8}{'ECE':>8}")
    for entry in scores:
        if entry["horizon_ns"] in SHOWN_NS:
            _line(entry, "")
            if _row(entry) in old:
                _line(old[_row(entry)], " before")


def _row(entry: dict[str, Any]) -> tuple[str, str, int]:
    return entry["instrument"], entry["threshold"], entry["horizon_ns"]


def _line(entry: dict[str, Any], tail: str) -> None:
    within = entry["auc_within_10min"]
    what = f"{entry['instrument']}, {entry['threshold']}, {entry['horizon_ns'] / 1e6:g} ms{tail}"
    typer.echo(
        f"  {what:40}{entry['base_rate']:8.4f}{entry['auc']:8.3f}"
        + (f"{'-':>10}" if within is None else f"{within:10.3f}")
        + f"{entry['brier_skill']:8.3f}{entry['calibration_error']:8.4f}"
    )


def _names(text: str | None) -> tuple[str, ...]:
    return () if text is None else tuple(name.strip() for name in text.split(",") if name.strip())


def _shares(text: str) -> tuple[float, float, float]:
    try:
        parts = [float(part) for part in text.split("/")]
    except ValueError:
        parts = []
    if len(parts) != 3 or not all(part > 0 for part in parts) or abs(sum(parts) - 100.0) > 1e-6:
        wrong("--split", f"{text!r} is not three parts that make 100, such as 50/15/35")
    return parts[0] / 100.0, parts[1] / 100.0, parts[2] / 100.0
