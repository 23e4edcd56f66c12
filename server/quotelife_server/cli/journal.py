"""``quotelife journal``: is a journal whole, and what does it hold."""

import json
from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer

from quotelife_server.cli.progress import Progress

app = typer.Typer(
    help="Check and export the journal.",
    no_args_is_help=True,
    rich_markup_mode=None,
    context_settings={"help_option_names": ["-h", "--help"]},
)
EXIT_TORN = 4
EXIT_DAMAGE = 5


@app.callback()
def _group() -> None:
    """Check and export the journal."""


@app.command()
def verify(
    folder: Annotated[Path, typer.Argument(help="The journal's folder.")],
    as_json: Annotated[bool, typer.Option("--json", help="The report as JSON.")] = False,
) -> None:
    """Read every byte and name what is wrong; changes nothing, and may run beside the service.

    Exit 0: clean. 4: something torn that nobody was told of, which the next start mends. 5: damage.
    """
    from quotelife.errors import JournalError
    from quotelife.journal.recovery import Severity
    from quotelife.journal.recovery import verify as read_through

    if not folder.is_dir():
        raise JournalError(f"{folder}: no such folder; name the journal's")
    with Progress() as progress:
        report = read_through(str(folder), lambda done, total: progress(_share(done, total, "bytes")))
    if not report.segments:  # a wrong path must not pass for a clean journal
        raise JournalError(f"{folder}: no segment of a journal in it; name the folder of server.journal")
    if as_json:
        found = [
            {"severity": Severity(f.severity).name, "file": f.file, "offset": f.offset, "text": f.text}
            for f in report.findings
        ]
        content = {"segments": [asdict(entry) for entry in report.segments], "findings": found}
        typer.echo(json.dumps({"clean": not found, "records": report.records, **content}, indent=2))
    else:
        for finding in report.findings:
            typer.echo(f"{Severity(finding.severity).name}: {finding}")
        state = "clean" if not report.findings else f"{len(report.findings)} findings"
        first = report.segments[0].first_number
        if first > 1:
            typer.echo(f"begins at record {first:,}: what was before it has been removed")
        typer.echo(f"{folder}: {len(report.segments)} segments, {report.records:,} records, {state}")
    if report.severity:
        raise typer.Exit(EXIT_TORN if report.severity == Severity.TORN else EXIT_DAMAGE)


@app.command()
def export(
    folder: Annotated[Path, typer.Argument(help="The journal's folder.")],
    out: Annotated[Path, typer.Option(help="Folder of Parquet files to write; must not exist.")],
) -> None:
    """Write decisions, answers, signals and changes as Parquet files. The folder appears when it is whole."""
    from quotelife.journal.export import export_parquet
    from quotelife.journal.reader import Journal

    with Progress() as progress:
        rows = export_parquet(
            Journal(folder), out, progress=lambda done, total: progress(_share(done, total, "records"))
        )
    typer.echo(f"{out}: " + ", ".join(f"{count:,} {name}" for name, count in rows.items()))


def _share(done: int, total: int, unit: str) -> str:
    return f"{done:,} of {total:,} {unit}, {done / max(1, total):.0%}"
