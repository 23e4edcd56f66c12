"""``quotelife promote-check``: may a challenger take the champion's place? Yes or no, and why."""

import json
from dataclasses import asdict, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from quotelife.errors import QuotelifeError
from quotelife_server.cli.models import Posture
from quotelife_server.cli.options import writing, wrong
from quotelife_server.cli.progress import Progress

if TYPE_CHECKING:
    from quotelife.learn.gates import Verdict

EXIT_REFUSED = 1
BLOCK_MIN_S = 10.0  # twice the longest of HORIZONS_NS, written out: help needs no engine
BUILT_IN = "first_passage"


def promote_check(
    challenger: Annotated[Path, typer.Argument(help="Folder of the artifact that wants to be champion.")],
    dataset: Annotated[
        list[Path],
        typer.Option("--dataset", "-d", help="Folder that quotelife labels wrote. May be given again."),
    ],
    champion: Annotated[
        str, typer.Option(help="Folder of the artifact that serves, or the name of a built-in one.")
    ] = BUILT_IN,
    market: Annotated[
        str | None,
        typer.Option(
            help="Bounds: full_day (calibration .004 at 500 ms, .01 at 2 s, blocks of 60 s) or crypto (.05 at both, "
            "10 s), as learning.promotion.market of the service that is to take the verdict. [default: that of "
            "--config; full_day]",
        ),
    ] = None,
    ece_500ms: Annotated[
        float | None, typer.Option("--ece-500ms", min=0.0, max=1.0, help="Another target at 500 ms.")
    ] = None,
    ece_2s: Annotated[
        float | None, typer.Option("--ece-2s", min=0.0, max=1.0, help="Another target at 2 s.")
    ] = None,
    block: Annotated[
        float | None,
        typer.Option(
            min=BLOCK_MIN_S,
            help="Blocks of the bootstrap, s, twice the longest label or more. At "
            "least 30 blocks are needed. [default: the market's]",
        ),
    ] = None,
    latency_ratio: Annotated[
        float,
        typer.Option(
            min=1.0, help="What a decision may take, in decisions by first passage in the same run."
        ),
    ] = 5.0,
    threshold: Annotated[
        str | None,
        typer.Option("--threshold", "-t", help="Only these stored thresholds, with commas. [default: all]"),
    ] = None,
    seed: Annotated[int, typer.Option(min=0, max=2**31 - 1, help="Of the bootstrap.")] = 20260101,
    config: Annotated[
        Path | None,
        typer.Option(
            "--config",
            "-c",
            help="The service's configuration: curves are judged under its learning.recalibration and by the bounds of "
            "its learning.promotion.market, which a promotion asks for, and instruments that it only watches are left "
            "out. [default: what ships]",
        ),
    ] = None,
    posture: Annotated[
        list[Posture] | None,
        typer.Option(
            "--posture",
            "-p",
            help="The verdict is for this posture alone; may be given several times. [default: all]",
        ),
    ] = None,
    out: Annotated[
        Path | None,
        typer.Option(
            help="Write the verdict to this file: what quotelife models promote asks for. [default: none]"
        ),
    ] = None,
    now: Annotated[
        str | None,
        typer.Option(help="The date or time that the verdict is to bear, UTC. [default: that of the clock]"),
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="The verdict as JSON (docs/report.md).")] = False,
) -> None:
    """Ask the promotion gates, on decisions later than all that either model was fitted on.

    Exit 0: yes. 1: no, and which gates refuse; or nothing to judge on.
    """
    from quotelife.config import load_config
    from quotelife.config.schema import Learning
    from quotelife.learn.dataset import Dataset
    from quotelife.learn.gates import BLOCK_NS, LONG_NS, MARKETS, SHORT_NS, Bounds, check
    from quotelife.model.artifact import builtin_artifact, load_artifact
    from quotelife_server.settings import ServiceConfig

    if market is not None and market not in MARKETS:
        wrong("--market", f"{market!r} is none of {', '.join(MARKETS)}")
    at = datetime.now(UTC).isoformat(timespec="seconds") if now is None else _instant(now)
    learning, watched = Learning(), frozenset[str]()
    if config is not None:
        settings = load_config(config, ServiceConfig)
        learning = settings.learning
        watched = frozenset(each.name for each in settings.instruments if not each.enabled)
        if market not in (None, learning.promotion.market):
            wrong(
                "--market",
                f"{market} contradicts {config}, whose learning.promotion.market is {learning.promotion.market}: "
                "leave --market out, or change the configuration",
            )
    own = market or learning.promotion.market
    targets = dict(MARKETS[own])
    targets |= {ns: ece for ns, ece in ((SHORT_NS, ece_500ms), (LONG_NS, ece_2s)) if ece is not None}
    bounds = Bounds(
        ece=tuple(targets.items()),
        decision_to_yardstick=latency_ratio,
        block_ns=BLOCK_NS[own] if block is None else round(block * 1e9),
        recalibration=learning.recalibration,
        seed=seed,
        market=own,
    )
    rival = load_artifact(champion if Path(champion).is_dir() else builtin_artifact(champion))
    wanted = tuple(threshold.split(",")) if threshold else ()
    with Progress(show=not as_json) as progress, writing(out, "--out") as write:
        folders = [Dataset(folder) for folder in dataset]
        found = [each for folder in folders for each in folder]
        decisions = [each for each in found if each.instrument not in watched]
        left_out = sorted({each.instrument for each in found} & watched)
        if left_out and not decisions:
            raise QuotelifeError(
                f"{config}: of the datasets' instruments none is quoted, {', '.join(left_out)} are only watched "
                "(enabled: false); name datasets of those that are"
            )
        verdict = check(
            load_artifact(challenger), rival, decisions, bounds, thresholds=wanted, progress=progress
        )
        verdict = replace(verdict, at=at)
        if posture:
            verdict = replace(verdict, postures=tuple(each.value for each in posture))
        document = verdict.as_json() | {
            "datasets": [folder.digest for folder in folders],
            "thresholds": list(wanted),
            "settings": {name: value for name, value in asdict(bounds).items() if name != "recalibration"},
        }
        text = json.dumps(document, indent=2)
        write(text)
    if as_json:
        typer.echo(text)
    else:
        _print(verdict)
        for name in left_out:
            typer.echo(f"  {name}: left out, the configuration only watches it")
    if not verdict.promoted:
        raise typer.Exit(EXIT_REFUSED)


def _instant(text: str) -> str:
    try:
        at = datetime.fromisoformat(text)
    except ValueError:
        wrong("--now", f"{text!r} is no date or time such as 2026-03-18 or 2026-03-18T18:00:00Z")
    return (at if at.tzinfo else at.replace(tzinfo=UTC)).isoformat()


def _print(verdict: "Verdict") -> None:
    typer.echo(
        f"{verdict.challenger[:16]} against {verdict.champion[:16]}, {verdict.rows:,} labelled decisions, by the "
        f"bounds of {verdict.market}"
    )
    for each in verdict.instruments:
        span = " to ".join(
            f"{datetime.fromtimestamp(ns / 1e9, UTC):%Y-%m-%d %H:%M}" for ns in (each.from_ns, each.to_ns)
        )
        enough = "" if each.asked else ": too few to be judged by themselves"
        typer.echo(f"  {each.instrument}: {each.rows:,} decisions in {each.blocks} blocks, {span}{enough}")
    for gate in verdict.gates:
        figure = "" if gate.figure is None else f"{gate.figure:.4g}"
        bound = "" if gate.bound is None else f"at most {gate.bound:g}"
        typer.echo(
            f"  {'yes' if gate.passed else 'NO ':3}  {gate.name:24} {figure:>10}  {bound:14}  {gate.reason}"
        )
    for text in verdict.loosened:
        typer.echo(f"  loosened: {text}; a promotion by this verdict needs a reason")
    refused = [gate.name for gate in verdict.gates if not gate.passed]
    typer.echo("promote: yes" if verdict.promoted else f"promote: no ({', '.join(refused)})")
