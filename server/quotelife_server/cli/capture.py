"""``quotelife capture``: the configured feeds on disk, without serving; ``capture export``: a capture as Parquet."""

import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from quotelife_server.cli.options import Config, wrong
from quotelife_server.cli.progress import Progress

if TYPE_CHECKING:
    from quotelife.engine import Engine
    from quotelife_server.app import FeedOpener
    from quotelife_server.capturing import CaptureFigures
    from quotelife_server.settings import ServiceConfig

app = typer.Typer(rich_markup_mode=None, context_settings={"help_option_names": ["-h", "--help"]})
TICK_S = 0.1
PLAIN_EVERY_S = 10.0


@app.callback(invoke_without_command=True)
def capture(
    context: typer.Context,
    out: Annotated[
        Path | None, typer.Option(help="Folder for the segments. [default: server.capture.directory]")
    ] = None,
    config: Config = None,
    seconds: Annotated[
        float | None, typer.Option(min=0.1, help="End by itself after so many seconds. [default: at Ctrl-C]")
    ] = None,
) -> None:
    """Run the configured feeds and capture every event with both time stamps, without serving.

    Exit 0: ended by Ctrl-C, SIGTERM or --seconds. 1: something was lost.
    """
    if context.invoked_subcommand is not None:
        return
    import asyncio

    from quotelife_server import log
    from quotelife_server.app import load, open_feeds
    from quotelife_server.cli.paths import config_path

    loaded = load(config_path(config, "default"), {})
    log.configure(loaded.server.log_level)
    figures = asyncio.run(run(loaded, out, seconds, open_feeds))
    typer.echo(
        f"{figures.records:,} events, {figures.bytes:,} bytes, {figures.segments} segments, {figures.lost:,} lost"
    )
    if figures.lost or figures.fault:
        typer.echo(figures.fault or "the disk was too slow", err=True)
        raise typer.Exit(1)


async def run(
    config: "ServiceConfig", out: Path | None, seconds: float | None, open_feeds: "FeedOpener"
) -> "CaptureFigures":
    """Capture until SIGINT, SIGTERM or the end of ``seconds``. Raises ``QuotelifeError`` and ``OSError``."""
    import asyncio
    import signal

    from quotelife.engine import Engine
    from quotelife.errors import QuotelifeError
    from quotelife_server.alerts import Alerts
    from quotelife_server.capturing import Capturing
    from quotelife_server.clock import SystemClock

    if not config.feeds:
        raise QuotelifeError("the configuration has no feeds: add one to its feeds section")
    settings = config.server.capture
    if out is not None:
        settings = settings.model_copy(update={"directory": str(out)})
    if settings.directory is None:
        wrong("--out", "nowhere to capture to: name a folder, or set server.capture.directory")
    clock = SystemClock(config.server.wall_offset_max_ns)
    started_ns = clock.now_ns()
    engine = Engine(config, start_ns=started_ns)
    capturing = Capturing(settings, engine, boot_id=f"{started_ns:x}", alerts=Alerts())
    engine.record_to(capturing.sink)
    feeds = open_feeds(config, engine.instruments, clock, engine.on_events, engine.on_greeks)
    stopping = asyncio.Event()
    loop = asyncio.get_running_loop()
    for name in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(name, stopping.set)
    if seconds is not None:
        loop.call_later(seconds, stopping.set)
    try:
        for feed in feeds:
            await feed.start()
        line = _Progress(engine)
        while not stopping.is_set():
            try:
                await asyncio.wait_for(stopping.wait(), TICK_S)
            except TimeoutError:
                now_ns = clock.now_ns()
                engine.on_timer(now_ns)
                capturing.tick(now_ns)
                line.show(capturing.figures(), now_ns)
        line.close()
    finally:
        for feed in feeds:
            await feed.stop()
        await capturing.stop()
    return capturing.figures()


class _Progress:
    """A line that is written over on a terminal; elsewhere a line now and then."""

    def __init__(self, engine: "Engine") -> None:
        self._engine = engine
        self._terminal = sys.stderr.isatty()
        self._shown = time.monotonic()

    def show(self, figures: "CaptureFigures", now_ns: int) -> None:
        from quotelife.records import QualityCode

        if time.monotonic() - self._shown < (1.0 if self._terminal else PLAIN_EVERY_S):
            return
        self._shown = time.monotonic()
        statuses = [self._engine.instrument_status(each.index, now_ns) for each in self._engine.instruments]
        good = sum(status.quality == QualityCode.GOOD for status in statuses)
        text = (
            f"{figures.records:,} events, {figures.bytes / 1e6:,.1f} MB, {figures.segments} segments, "
            f"{good} of {len(statuses)} books good"
        )
        if figures.lost:
            text += f", {figures.lost:,} LOST"
        if figures.fault:
            text += f", FAILING: {figures.fault}"
        sys.stderr.write(f"\r\033[K{text}" if self._terminal else f"{text}\n")
        sys.stderr.flush()

    def close(self) -> None:
        if self._terminal:
            sys.stderr.write("\r\033[K")


@app.command()
def export(
    folder: Annotated[Path, typer.Argument(help="A captured folder.")],
    out: Annotated[Path, typer.Option(help="Parquet file to write.")],
    boot: Annotated[str | None, typer.Option(help="Only this boot, by id. [default: all]")] = None,
) -> None:
    """Write a capture as one Parquet file: a row for each event, signal and marked loss."""
    from quotelife.capture.export import export_parquet
    from quotelife.capture.reader import Capture

    capture = Capture(folder)
    with Progress() as progress:

        def told(rows: int) -> None:
            progress(f"{rows:,} rows, {capture.bytes_read / max(1, capture.bytes_total):.0%}")

        rows = export_parquet(capture, out, boot_id=boot, progress=told)
    typer.echo(f"{rows:,} rows in {out}")
    for damage in capture.damage:
        what = "torn tail" if damage.torn else "damaged"
        typer.echo(f"{damage.path}: {what}, {damage.length} bytes at {damage.offset} left out", err=True)
