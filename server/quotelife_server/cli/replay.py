"""``quotelife replay``: recorded or captured market data through the live engine."""

import json
import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from quotelife.errors import QuotelifeError
from quotelife.units import parse_duration_ns
from quotelife_server.cli.options import wrong
from quotelife_server.cli.progress import Progress

if TYPE_CHECKING:
    from array import array

    from quotelife.config import Config
    from quotelife.records import DecisionRecord
    from quotelife.replay.run import Replay, ReplayReport, Source
    from quotelife_server.demo.record import DecisionRow


def replay(
    sources: Annotated[
        list[str] | None,
        typer.Argument(
            help="A captured folder, or recorded files, PATH or INSTRUMENT=PATH: Binance messages, Databento DBN, "
            "LOBSTER, ITCH, Bitstamp order log, Tardis CSV, FX ticks, Parquet; see docs/recordings.md. Or one recorded "
            "session (Deribit, Coinbase, OKX), PATH or VENUE=PATH."
        ),
    ] = None,
    config: Annotated[
        Path | None,
        typer.Option(
            "--config",
            "-c",
            help="Folder of YAML files, or one file. [default: configs/default; of a capture the captured one]",
        ),
    ] = None,
    boot: Annotated[
        str | None, typer.Option(help="Which boot of a capture, by id. [default: the newest]")
    ] = None,
    signals: Annotated[
        list[str] | None,
        typer.Option(
            help="Slow signals beside them: INDEX=PATH of an index by day, or PATH of headlines. [default: none]"
        ),
    ] = None,
    scorer: Annotated[
        str,
        typer.Option(
            help="Scores headlines without a score: lexicon, a name that a package registers, module:callable."
        ),
    ] = "lexicon",
    day: Annotated[
        str | None,
        typer.Option(
            "--date",
            help="YYYY-MM-DD, of ITCH (New York) and FX ticks (UTC). [default: as in the file's name]",
        ),
    ] = None,
    ask_every: Annotated[
        str,
        typer.Option(
            help="Ask for lives so often in recorded time, a duration such as 100ms or 1s; 0ms: never."
        ),
    ] = "100ms",
    speed: Annotated[
        str, typer.Option(help="1: as recorded, 10: ten times, max: as fast as possible.")
    ] = "max",
    show: Annotated[
        bool, typer.Option("--show", help="Show each decision as the demo does; with --speed 1 live.")
    ] = False,
    as_json: Annotated[bool, typer.Option("--json", help="The report as JSON.")] = False,
    strict: Annotated[
        bool, typer.Option("--strict", help="Exit 1 on a gap, a crossed book, or an unequal best price.")
    ] = False,
    verify: Annotated[
        bool,
        typer.Option("--verify", help="Decide again all that --journal holds; exit 1 unless all is equal."),
    ] = False,
    journal: Annotated[Path | None, typer.Option(help="With --verify: folder of the journal.")] = None,
    capture: Annotated[
        Path | None,
        typer.Option(
            help="With --verify: folder of a capture, to decide from its market bytes up. "
            "[default: from the journal's records alone]"
        ),
    ] = None,
    allow_gaps: Annotated[
        bool,
        typer.Option("--allow-gaps", help="With --verify: what cannot be verified is named, and no failure."),
    ] = False,
) -> None:
    """Replay a capture or recordings through the live engine, or verify a journal.

    Lives are asked for on the way, and every recorded book is held against the venue's own best prices. Exit 1 where
    no book could be built.
    """
    from quotelife.engine import Engine
    from quotelife.records import NO_INDEX_VALUE, DecisionRecord, RequestRecord
    from quotelife.replay.run import Replay
    from quotelife_server.demo.runner import open_display
    from quotelife_server.demo.table import Display

    if verify:
        if sources or journal is None:
            wrong("--verify", "takes --journal DIR, and --capture DIR where there is one, nothing else")
        _verify(journal, capture, as_json=as_json, allow_gaps=allow_gaps)
        return
    if journal is not None or capture is not None or allow_gaps:
        wrong("--journal, --capture, --allow-gaps", "belong to --verify")
    if not sources:
        wrong("SOURCES", "nothing to replay: name a captured folder or recorded files")
    pace, every_ns = _speed(speed), _ask_every_ns(ask_every)
    loaded, source = _open(sources, config, boot, day)
    if signals:
        source = _with_signals(source, signals, loaded, scorer)
    engine = Engine(loaded)
    # One counterparty of each tier, one without overrides where there is one, so that every posture is asked.
    names: dict[str, int] = {}
    for name, counterparty in sorted(loaded.counterparties.items(), key=lambda item: len(item[1].overrides)):
        index = engine.policy.counterparty_index(name)
        if counterparty.tier is not None and counterparty.tier not in names and index is not None:
            names[counterparty.tier] = index
    if not names:
        names["default"] = NO_INDEX_VALUE

    def ask(now_ns: int) -> list[tuple[str, RequestRecord]]:
        return [
            (
                f"{instrument.name} {tier} {'BUY' if side > 0 else 'SELL'}",
                RequestRecord(instrument.index, side, now_ns=now_ns, counterparty=counterparty),
            )
            for instrument in source.instruments
            if engine.instrument_status(instrument.index, now_ns).events
            for tier, counterparty in names.items()
            for side in (1, -1)
        ]

    display: Display | None = None

    def on_decision(label: str, decision: DecisionRecord) -> None:
        nonlocal display
        if display is None:
            display = open_display(False, decision.now_ns, "quotelife   replay")
        display.decision(_row(label, decision))

    run = Replay(
        engine,
        source,
        ask_every_ns=every_ns,
        ask=ask,
        on_decision=on_decision if show and not as_json else None,
    )
    try:
        interrupted = _drive(run, pace, quiet=as_json or show)
    finally:
        if display is not None:
            display.close()
    report = run.report
    if as_json:
        typer.echo(json.dumps(_as_dict(report, interrupted), indent=2))
    else:
        _print(report, interrupted)
    if interrupted:
        raise typer.Exit(130)
    if not any(s.resyncs for s in report.sources.values()):
        raise QuotelifeError(
            "no book was ever built: "
            + (
                "nothing in the recording says what a book held at the start. Record the snapshot too (Binance: the "
                "answer of /depth, as one of the lines; Databento: orders with a snapshot, or from the start of the "
                "session), and begin with it. Quotes alone are a market with quotes_only: true, trades alone are none"
                if report.lines
                else f"the recording holds no market data of {', '.join(report.sources)}"
            )
        )
    if strict and not report.clean:
        raise typer.Exit(1)


def _with_signals(source: "Source", arguments: list[str], config: "Config", scorer: str) -> "Source":
    from quotelife.news import find_scorer, import_scorer
    from quotelife.replay.signals import WithSignals, read_signals

    try:
        found = import_scorer(scorer) if ":" in scorer else find_scorer(scorer)
    except Exception as error:  # of its import too
        wrong("--scorer", f"{type(error).__name__}: {error}")
    with Progress() as progress:
        read = read_signals(
            arguments, config, found, progress=lambda scored: progress(f"{scored:,} headlines scored")
        )
    if read.unscored:
        typer.echo(f"{read.unscored} headlines left out: the scorer has no opinion of them", err=True)
    return WithSignals(source, read)


def _open(
    arguments: list[str], config: Path | None, boot: str | None, day: str | None
) -> "tuple[Config, Source]":
    """The configuration to replay with, and what to replay."""
    from quotelife.capture.reader import Capture
    from quotelife.config import load_config
    from quotelife.replay.captured import CapturedSource
    from quotelife.replay.follow import read_config
    from quotelife.replay.sources import SourcesError, open_files
    from quotelife_server.cli.paths import config_path
    from quotelife_server.settings import ServiceConfig

    if not any(Path(argument).is_dir() for argument in arguments):
        loaded = load_config(config_path(config, "default"), ServiceConfig)
        try:
            return loaded, open_files(arguments, loaded.instrument_table(), day=day)
        except SourcesError as error:
            wrong("SOURCES", str(error))
    if len(arguments) > 1:
        wrong("SOURCES", "one captured folder at a time, and no recorded files beside it")
    capture = Capture(Path(arguments[0]))
    if config is not None:
        loaded = load_config(config_path(config, "default"), ServiceConfig)
        return loaded, CapturedSource(capture, boot_id=boot, table=loaded.instrument_table())
    source = CapturedSource(capture, boot_id=boot)
    if boot is None and len(source.boots) > 1:
        typer.echo(
            f"{capture.folder}: {len(source.boots)} boots, {', '.join(source.boots)}; replaying the newest",
            err=True,
        )
    return read_config(source.head.configuration), source


def _speed(text: str) -> float:
    try:
        speed = 0.0 if text == "max" else float(text) or -1.0
    except ValueError:
        speed = -1.0
    if not 0 <= speed < float("inf"):
        wrong("--speed", f"{text!r} is neither max nor a number, such as 1 or 10")
    return speed


def _ask_every_ns(text: str) -> int:
    try:
        return parse_duration_ns(text)
    except ValueError as error:
        wrong("--ask-every", str(error))


def _row(label: str, decision: "DecisionRecord") -> "DecisionRow":
    from quotelife.records import DecisionCode, PostureCode, ReasonFlags, RegimeCode
    from quotelife_server.demo.record import DecisionRow

    instrument, who, side = label.split(" ")
    return DecisionRow(
        answered_ns=decision.now_ns,
        counterparty=who,
        instrument=instrument,
        side=side,
        size="-",
        requested=PostureCode(decision.posture_requested).name,
        effective=PostureCode(decision.posture_effective).name,
        regime=RegimeCode(decision.regime).name,
        decision=DecisionCode(decision.kind).name,
        p500=decision.p_ref if decision.h_ticks > 0 else None,
        life_ns=decision.life_ns,
        reasons=tuple(reason.name or "" for reason in ReasonFlags(decision.reasons)),
        latency_ns=0,
    )


def _drive(run: "Replay", speed: float, *, quiet: bool) -> bool:
    """Pace and show progress; True when interrupted. The report holds what was seen so far either way."""
    from quotelife.replay.run import pace

    first = 0
    steps = run.steps()
    with Progress(show=not quiet) as progress:
        try:
            for stamp in pace(steps, speed, time.monotonic_ns, time.sleep):
                first = first or stamp
                if progress.due():
                    progress(f"{run.report.lines:,} lines, {(stamp - first) / 1e9:,.0f} s of market")
        except KeyboardInterrupt:
            return True
        finally:
            steps.close()  # writes the report
    return False


def _percentiles(lives: "array[int]") -> dict[str, float]:
    import numpy as np

    ordered = np.sort(np.asarray(lives))
    at = {"min": 0.0, "p10": 0.1, "p50": 0.5, "p90": 0.9, "max": 1.0}
    return {name: int(ordered[min(len(ordered) - 1, int(q * len(ordered)))]) / 1e6 for name, q in at.items()}


def _as_dict(report: "ReplayReport", interrupted: bool) -> dict[str, object]:
    from quotelife.records import RegimeCode

    return {
        "interrupted": interrupted,
        "lines": report.lines,
        "signals": report.signals,
        "lost": report.lost,
        "damaged": report.damaged,
        "left_out_trades": report.left_out_trades,
        "unread_tickers": report.unread_tickers,
        "span_s": report.span_ns / 1e9,
        "clean": report.clean,
        "decisions": dict(report.decisions),
        "postures": dict(report.postures),
        "regimes": dict(report.regimes),
        "qualities": dict(report.qualities),
        "lives_ms": {label: _percentiles(lives) for label, lives in sorted(report.lives_ns.items())},
        "sources": {
            name: {
                "lines": s.lines,
                "events": s.events,
                "refused": s.refused,
                "gaps": s.gaps,
                "resyncs": s.resyncs,
                "crossed": s.crossed,
                "compared": s.checked,
                "equal": s.equal,
                "mismatches": s.mismatches,
                "tickers": {
                    "compared": s.tickers.compared,
                    "equal_at_stamp": s.tickers.at_stamp,
                    "equal_within_1s": s.tickers.near,
                    "prices_equal_within_1s": s.tickers.prices,
                    "unequal": s.tickers.unequal,
                    "mismatches": s.tickers.mismatches,
                },
                "unsided_trades": s.unsided_trades,
                "undecided_trades": s.undecided_trades,
                "stress_entries": s.stress_entries,
                "not_good_s": s.not_good_ns / 1e9,
                "regime_s": {RegimeCode(i).name: ns / 1e9 for i, ns in enumerate(s.regime_ns) if ns},
            }
            for name, s in report.sources.items()
        },
    }


def _print(report: "ReplayReport", interrupted: bool) -> None:
    from quotelife.records import RegimeCode

    if interrupted:
        typer.echo("interrupted; so far:")
    typer.echo(f"{report.lines:,} lines over {report.span_ns / 1e9:,.1f} s")
    if report.signals:
        typer.echo(f"{report.signals:,} signals")
    if report.lost or report.damaged:
        typer.echo(
            f"{report.lost} stretches lost when captured, {report.damaged} damaged since: no book is trusted "
            f"from there to its next snapshot"
        )
    if report.left_out_trades:
        typer.echo(f"{report.left_out_trades:,} trades without an aggressor in the recording left out")
    if report.unread_tickers:
        typer.echo(f"{report.unread_tickers:,} messages with tickers that cannot be read")
    for s in report.sources.values():
        if not s.events and not s.lines:
            continue
        known = sum(s.regime_ns) or 1
        regimes = ", ".join(
            f"{RegimeCode(i).name} {ns / known:.1%}" for i, ns in enumerate(s.regime_ns) if ns
        )
        typer.echo(
            f"\n{s.name}: {s.lines:,} lines, {s.events:,} events, {s.gaps} gaps, {s.resyncs} synchronisations, "
            f"{s.crossed} crossed, {s.refused} refused"
        )
        t = s.tickers
        if s.checked:
            typer.echo(f"  best prices and sizes equal to the venue's: {s.equal:,} of {s.checked:,} compared")
        elif not t.compared:
            typer.echo("  best prices and sizes: the recording has none of the venue's own to compare with")
        if t.compared:
            typer.echo(
                f"  {t.compared:,} tickers, which name no change of the book, held against it by the venue's stamps: "
                f"{t.at_stamp:,} equal at their own, {t.near:,} more within 1 s, {t.prices:,} in prices alone within "
                f"1 s, {t.unequal:,} unequal"
            )
        if s.unsided_trades:
            typer.echo(
                f"  {s.unsided_trades:,} trades without an aggressor: the middle of the book decided all but "
                f"{s.undecided_trades:,}, which count for nobody"
            )
        typer.echo(
            f"  data not GOOD {s.not_good_ns / (s.known_ns or 1):.1%} of the time; "
            f"stress entered {s.stress_entries} times"
        )
        if regimes:
            typer.echo(f"  regimes by time: {regimes}")
        for mismatch in s.mismatches:
            typer.echo(f"  UNEQUAL {mismatch}")
        for mismatch in s.tickers.mismatches[:3]:
            typer.echo(f"  unequal {mismatch}")
    asked = sum(report.decisions.values())
    if asked:
        typer.echo(
            f"\n{asked:,} decisions: "
            + ", ".join(f"{k} {n / asked:.1%}" for k, n in report.decisions.items())
        )
        typer.echo("  by regime: " + ", ".join(f"{k} {n / asked:.1%}" for k, n in report.regimes.items()))
        typer.echo("  by quality: " + ", ".join(f"{k} {n / asked:.1%}" for k, n in report.qualities.items()))
        typer.echo(f"\n  {'lives, ms':44}{'min':>10}{'p10':>10}{'p50':>10}{'p90':>10}{'max':>10}")
        for label, lives in sorted(report.lives_ns.items()):
            p = _percentiles(lives)
            typer.echo(
                f"  {label:44}" + "".join(f"{p[k]:10.1f}" for k in ("min", "p10", "p50", "p90", "max"))
            )


def _verify(journal: Path, capture: Path | None, *, as_json: bool, allow_gaps: bool) -> None:
    from dataclasses import asdict

    from quotelife.replay.verify import Verification, verify

    report = Verification()
    interrupted = False
    with Progress(show=not as_json) as progress:
        try:
            verify(
                journal,
                capture,
                report=report,
                progress=lambda report: progress(f"{report.decisions:,} decisions, {report.events:,} events"),
            )
        except KeyboardInterrupt:
            interrupted = True
    left_out = sum(stretch.decisions for stretch in report.unverifiable)
    if as_json:
        extra = {"interrupted": interrupted, "unequal": report.unequal, "unverifiable_decisions": left_out}
        typer.echo(json.dumps(asdict(report) | extra, indent=2))
    else:
        if interrupted:
            typer.echo("interrupted; so far:")
        how = "from market bytes up" if capture is not None else "from the journal alone"
        typer.echo(
            f"{report.decisions:,} decisions of {report.boots} boots decided again {how}: {report.equal:,} equal, "
            f"{report.unequal:,} unequal, {left_out:,} could not be verified\n"
            f"on the way: {report.changes:,} changes, {report.signals:,} signals, {report.labels:,} labels, "
            f"{report.watches:,} words on live quotes, {report.notes:,} notes of what was learned, "
            f"{report.events:,} events"
        )
        for what, missing in (
            ("labels", report.labels_missing),
            ("words on live quotes", report.watches_missing),
            ("answers of shadows", report.shadows_missing),
        ):
            if missing:
                typer.echo(
                    f"MISSING {missing:,} {what} are not in the journal: they found no room in its buffer"
                )
        if report.without_labels:
            typer.echo(
                f"UNKNOWN whether labels are missing: {report.without_labels} boots that learn have none in the "
                "journal; --capture tells"
            )
        for mismatch in report.mismatches:
            differ = "; ".join(f"{name} was {was}, is {now}" for name, was, now in mismatch.fields)
            typer.echo(f"UNEQUAL {mismatch.decision_id}: {differ}")
        if report.unequal > len(report.mismatches):
            typer.echo(f"… and {report.unequal - len(report.mismatches):,} more")
        for stretch in report.unverifiable:
            typer.echo(
                f"UNVERIFIABLE boot {stretch.boot_id} from input {stretch.first} on, {stretch.decisions:,} decisions: "
                f"{stretch.reason}"
            )
    if interrupted:
        raise typer.Exit(130)
    if report.unequal or (report.unverifiable and not allow_gaps):
        raise typer.Exit(1)
