"""``quotelife labels``: market data to labelled decisions, the dataset that training and backtest read."""

import json
import os
import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from quotelife.errors import QuotelifeError
from quotelife.units import parse_duration_ns
from quotelife_server.cli.options import wrong
from quotelife_server.cli.progress import Progress

if TYPE_CHECKING:
    from quotelife.learn.build import Building
    from quotelife.learn.collect import CollectSettings
    from quotelife.learn.dataset import Dataset
    from quotelife.learn.units import Unit


def labels(
    sources: Annotated[
        list[str] | None,
        typer.Argument(
            help="Captured folders, or recorded files, PATH or INSTRUMENT=PATH, as quotelife replay takes them."
        ),
    ] = None,
    out: Annotated[
        Path, typer.Option("--out", "-o", help="Folder of the dataset; one that is there is completed.")
    ] = Path("dataset"),
    config: Annotated[
        Path | None,
        typer.Option(
            "--config",
            "-c",
            help="Folder of YAML files, or one file. [default: configs/default; of a capture the captured one; with "
            "--simulated configs/demo]",
        ),
    ] = None,
    simulated: Annotated[
        float | None, typer.Option(help="So many hours of the simulated market instead of sources.")
    ] = None,
    seed: Annotated[int, typer.Option(min=0, help="Of --simulated.")] = 1,
    every: Annotated[
        str, typer.Option(help="Ask both sides of every instrument so often in recorded time.")
    ] = "250ms",
    latency: Annotated[
        str, typer.Option(help="From a decision until its quote stands: labels count from then on.")
    ] = "1ms",
    thresholds: Annotated[
        str | None,
        typer.Option(
            "--threshold",
            "-t",
            help="Thresholds h, with commas: 6tick, 0.5bp of the reference, 0.3sigma (of one second), configured (the "
            "instrument's own). [default: configured,1tick,0.3sigma,1sigma,3sigma]",
        ),
    ] = None,
    reference: Annotated[
        str, typer.Option(help="mid, microprice or configured, the reference of each instrument.")
    ] = "configured",
    boot: Annotated[str | None, typer.Option(help="One boot of a capture, by id. [default: all]")] = None,
    day: Annotated[
        str | None,
        typer.Option(
            "--date",
            help="YYYY-MM-DD, of ITCH (New York) and FX ticks (UTC). [default: as in the file's name]",
        ),
    ] = None,
    continued: Annotated[
        bool,
        typer.Option(
            "--continued", help="The files go on from one another: keep the book from one day to the next."
        ),
    ] = False,
    jobs: Annotated[
        int | None,
        typer.Option(min=1, help="Processes; each holds a day in memory. [default: one a core]"),
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="The summary as JSON.")] = False,
) -> None:
    """Make a dataset: what the live engine answers on the way, and when the market next moved against it.

    Days and instruments that do not drive each other go in parallel. Interrupted work is taken up by the same command:
    what is whole is kept and not made again.
    """
    from quotelife.learn.build import build_dataset

    settings = _settings(every, latency, thresholds, reference)
    units = _units(sources or [], config, simulated, seed, boot, day, continued)
    started = time.monotonic()

    def tell(state: "Building") -> None:
        if progress.due():
            progress(
                f"{state.done} of {state.units} done, {state.kept} of them kept, {state.rows:,} rows, "
                f"{state.span_ns / 3.6e12:.2f} h of market replayed, {time.monotonic() - started:,.0f} s"
            )

    with Progress(show=not as_json) as progress:
        try:
            dataset, state = build_dataset(
                out, units, settings, jobs=jobs or os.cpu_count() or 1, progress=tell
            )
        except KeyboardInterrupt:
            typer.echo(
                f"interrupted; {out} keeps what is whole: the same command goes on from there", err=True
            )
            raise typer.Exit(130) from None
        except OSError as error:
            raise QuotelifeError(
                f"{error.filename or out}: {error.strerror or error}; make room, or name another --out where you may "
                "write: the same command goes on where it was"
            ) from None
    summary = _summary(dataset, state, time.monotonic() - started)
    if as_json:
        typer.echo(json.dumps(summary, indent=2))
    else:
        _print(summary)
    if not any(piece.rows for piece in dataset.pieces):
        raise QuotelifeError(
            f"{out}: no decision could be taken on good data; quotelife replay on the same sources says why"
        )


def _settings(every: str, latency: str, thresholds: str | None, reference: str) -> "CollectSettings":
    from quotelife.learn.collect import THRESHOLDS, CollectSettings

    durations = {}
    for option, text in (("--every", every), ("--latency", latency)):
        try:
            durations[option] = parse_duration_ns(text)
        except ValueError as error:
            wrong(option, str(error))
    chosen = THRESHOLDS if thresholds is None else tuple(each.strip() for each in thresholds.split(","))
    try:
        return CollectSettings(durations["--every"], durations["--latency"], chosen, reference)
    except ValueError as error:
        field = str(error).partition(":")[0]
        wrong(f"--{field}" if field in ("every", "latency", "reference") else "--threshold", str(error))


def _units(
    sources: list[str],
    config: Path | None,
    simulated: float | None,
    seed: int,
    boot: str | None,
    day: str | None,
    continued: bool,
) -> "list[Unit]":
    from quotelife.config import load_config
    from quotelife.learn.units import captured_units, file_units, simulated_units
    from quotelife.replay.sources import SourcesError
    from quotelife_server.cli.paths import config_path
    from quotelife_server.settings import ServiceConfig

    if simulated is not None:
        if sources or boot or day or continued:
            wrong("--simulated", "takes no sources, and none of --boot, --date, --continued")
        loaded = load_config(config_path(config, "demo"), ServiceConfig)
        try:
            return simulated_units(loaded, simulated, seed)
        except ValueError as error:
            wrong("--simulated", str(error))
    if not sources:
        wrong("SOURCES", "name a captured folder or recorded files, or --simulated HOURS")
    folders = [source for source in sources if Path(source).is_dir()]
    files = [source for source in sources if source not in folders]
    units: list[Unit] = []
    for folder in folders:
        given = load_config(config_path(config, "default"), ServiceConfig) if config is not None else None
        units += captured_units(Path(folder), boot, given)
    if files:
        if boot is not None and not folders:
            wrong("--boot", "belongs to a capture")
        loaded = load_config(config_path(config, "default"), ServiceConfig)
        try:
            units += file_units(files, loaded, day=day, continued=continued)
        except SourcesError as error:
            wrong("SOURCES", str(error))
    return units


def _summary(dataset: "Dataset", state: "Building", took_s: float) -> dict[str, Any]:
    return {
        "folder": str(dataset.folder),
        "digest": dataset.digest,
        "rows": sum(piece.rows for piece in dataset.pieces),
        "kept_units": state.kept,
        "units": state.units,
        "took_s": round(took_s, 3),
        "settings": dataset.settings,
        "warnings": state.warnings,
        "pieces": [
            {
                "instrument": piece.instrument,
                "day": piece.day,
                "reference": piece.reference,
                "rows": piece.rows,
                "points": piece.points,
                "first_ns": piece.first_ns,
                "last_ns": piece.last_ns,
                "digest": piece.digest,
            }
            for piece in dataset.pieces
        ],
    }


def _print(summary: dict[str, Any]) -> None:
    for piece in summary["pieces"]:
        hours = (piece["last_ns"] - piece["first_ns"]) / 3.6e12
        typer.echo(
            f"{piece['instrument']:16} {piece['day']}  {piece['rows']:>9,} decisions over {hours:6.2f} h, reference "
            f"{piece['reference']}, path of {piece['points']:,} points"
        )
    for warning in summary["warnings"]:
        typer.echo(f"warning: {warning}", err=True)
    typer.echo(
        f"{summary['folder']}: {summary['rows']:,} decisions in {summary['took_s']:,.1f} s, {summary['kept_units']} of "
        f"{summary['units']} sources kept from before\ndigest {summary['digest']}"
    )
