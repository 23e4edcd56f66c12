"""``quotelife report``: the results of a backtest as one HTML page and in short on the terminal."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from quotelife.errors import QuotelifeError
from quotelife_server.cli.options import writing, wrong

if TYPE_CHECKING:
    from quotelife.learn.drift import Drift
    from quotelife.model.curve import CurveModel


def report(
    results: Annotated[Path, typer.Argument(help="JSON of quotelife backtest --json.")],
    output: Annotated[
        Path | None,
        typer.Option("--output", "-o", help="The page to write. [default: only the summary]"),
    ] = None,
    artifact: Annotated[
        Path | None,
        typer.Option(help="Folder of the artifact that was tested: its card and what it looks at."),
    ] = None,
    dataset: Annotated[
        Path | None,
        typer.Option(help="Folder of the dataset: drift of each feature from training on. Needs --artifact."),
    ] = None,
    model: Annotated[
        str | None,
        typer.Option(help="Model whose reliability is drawn. [default: the most skilled at 500 ms]"),
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="The summary as JSON (docs/report.md).")] = False,
) -> None:
    """Write the report of a backtest: one file, no network, no script.

    Exit 0: written. 1: the results, the artifact or the dataset cannot be read.
    """
    import json

    from quotelife.learn.report import html, read_results, summary
    from quotelife.model.artifact import load_artifact

    if dataset is not None and artifact is None:
        wrong(
            "--dataset", "drift is told against the span that an artifact was trained on: name --artifact too"
        )
    found = read_results(results)
    loaded = load_artifact(artifact) if artifact is not None else None
    if output is not None:
        drifted = _drift(dataset, loaded) if dataset is not None and loaded is not None else {}
        try:
            output.parent.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            wrong("--output", f"{output}: cannot be written ({error.strerror})")
        with writing(output, "--output") as write:
            write(html(found, source=results.name, model=loaded, drifted=drifted, wanted=model))
    lines = summary(found, model)
    if as_json:
        typer.echo(json.dumps({"report": None if output is None else str(output), "sets": lines}, indent=2))
        return
    _print(lines)
    if output is not None:
        typer.echo(f"{output}: {output.stat().st_size / 1024:.0f} KiB, opens in any browser")


def _print(lines: list[dict[str, Any]]) -> None:
    from rich import box
    from rich.console import Console
    from rich.markup import escape
    from rich.table import Table

    from quotelife.learn.svg import cut

    console = Console(soft_wrap=False, highlight=False)
    table = Table(box=box.SIMPLE_HEAD, show_edge=False, padding=(0, 1))
    spare = max(0, console.width - 80)
    room = {"set": 12 + spare // 2, "model": 18 + spare // 2}
    for head in ("set", "model", "τ"):
        table.add_column(head)
    for head in ("base", "AUC", "10 min", "skill", "ECE"):
        table.add_column(head, justify="right")
    for line in lines:
        name, chosen = cut(str(line["set"]), room["set"]), cut(str(line["model"] or ""), room["model"])
        for at in ("500 ms", "2 s"):
            if at not in line:
                continue
            scored = line[at]
            figures = [
                _figure(scored.get(key), digits)
                for key, digits in (
                    ("prevalence", 4), ("auc", 3), ("auc_within_10min", 3), ("brier_skill", 3), ("ece", 4),
                )
            ]  # fmt: skip
            table.add_row(escape(name), escape(chosen), at, *figures)
            name = chosen = ""
    console.print(table)
    for line in lines:
        for each in line["frontier"]:
            bounds = each.get("interval")
            span = f" [{100 * bounds[0]:+.0f}, {100 * bounds[1]:+.0f}]" if bounds else ""
            typer.echo(
                f"{line['set']}: pick-offs of {each['policy']} at {100 * each['fill']:.0f} % fill "
                f"{100 * each['change']:+.0f} %{span} against a fixed life"
            )


def _figure(value: float | None, digits: int) -> str:
    return "" if value is None else f"{value:.{digits}f}"


def _drift(folder: Path, model: "CurveModel") -> "dict[str, Drift]":
    """Drift of what the model reads, by instrument, from the end of its training on."""
    import numpy as np

    from quotelife.features.schema import INDEX
    from quotelife.learn.dataset import Dataset
    from quotelife.learn.drift import drift
    from quotelife.learn.report import training_span
    from quotelife_server.cli.progress import Progress

    span = training_span(model)
    if span is None:
        raise QuotelifeError(f"{model.name}: was not trained on a span of time, so nothing can drift from it")
    names = tuple(dict.fromkeys(each["name"] for each in model.parameters()["features"]))
    columns = [INDEX[name] for name in names]
    data, found = Dataset(folder), {}
    with Progress() as progress:
        for instrument in data.instruments:
            progress(f"drift of {instrument}")
            parts = [data.decisions(piece) for piece in data.of(instrument)]
            x = np.concatenate([each.x[:, columns] for each in parts])
            now_ns = np.concatenate([each.now_ns for each in parts])
            train, test = (now_ns >= span[0]) & (now_ns <= span[1]), now_ns > span[1]
            if train.any() and test.any():
                found[instrument] = drift(names, x[train], x[test], now_ns[test])
    if not found:
        raise QuotelifeError(
            f"{folder}: holds no instrument with decisions both inside the training span and after it"
        )
    return found
