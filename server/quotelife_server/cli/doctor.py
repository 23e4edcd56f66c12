"""``quotelife doctor``: is this machine and installation fit, and does a running service answer?"""

import importlib
import os
import platform
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Annotated

import typer

from quotelife_server.cli.options import Timeout, checked_target, tls_of, wrong

EXTENSIONS = [
    "quotelife.records",
    "quotelife.book.level_book",
    "quotelife.features.state",
    "quotelife.model.curve",
    "quotelife.decision.policy",
    "quotelife.feed.binance",
    "quotelife.engine",
]
ENDS_SOON = timedelta(days=14)  # of a certificate


class Worth(Exception):
    """What a check found is worth knowing, and nothing is known to be wrong."""


def doctor(
    config: Annotated[
        Path | None,
        typer.Option("--config", "-c", help="Also check this configuration and its folders. [default: none]"),
    ] = None,
    target: Annotated[
        str | None,
        typer.Option(
            "--target",
            "--address",
            callback=checked_target,
            help="Ask a running service how it is instead, as host:port or unix:PATH. [default: none]",
        ),
    ] = None,
    timeout: Timeout = 2.0,
) -> None:
    """Check installation, clock and configuration, or with --target a running service.

    Of a configuration: is it good, can its journal be written and its certificate be used, and for how long.
    Of a service: does it serve, and which alerts stand; are its feeds connected and its books good, do journal and
    capture take records, was its configuration taken. Exit 0: all good, or no worse than WARN: worth knowing, nothing
    known to be wrong. 1: something is marked FAIL.
    """
    if target is not None:
        if config is not None:
            wrong("--config", "check a configuration or ask a --target, not both")
        from quotelife_server.cli.doctor_service import findings

        found = findings(target, timeout, tls_of(target))
        for finding in found:
            typer.echo(f"  {finding.mark}  {finding.name}: {finding.text}")
        raise typer.Exit(0 if all(finding.good for finding in found) else 1)
    checks: list[tuple[str, Callable[[], str]]] = [
        ("python", _python),
        ("packages", _packages),
        ("extensions", _extensions),
        ("model", _model),
        ("clock", _clock),
        ("open files", _open_files),
    ]
    if config is not None:
        checks.append(("configuration", lambda: _config(config)))
        checks.append(("journal", lambda: _journal(config)))
        checks.append(("tls", lambda: _tls(config)))
    failed = 0
    for name, check in checks:
        try:
            typer.echo(f"  ok    {name}: {check()}")
        except Worth as found:
            typer.echo(f"  WARN  {name}: {found}")
        except Exception as error:
            failed += 1
            typer.echo(f"  FAIL  {name}: {error}")
    raise typer.Exit(1 if failed else 0)


def _python() -> str:
    return f"{platform.python_version()} on {platform.machine()}, {os.cpu_count()} cores"


def _packages() -> str:
    import importlib.metadata

    names = ["quotelife", "quotelife-client", "grpcio", "protobuf", "uvloop", "numpy", "picows", "aiohttp"]
    return ", ".join(f"{name} {importlib.metadata.version(name)}" for name in names)


def _extensions() -> str:
    for name in EXTENSIONS:
        importlib.import_module(name)
    return f"{len(EXTENSIONS)} compiled modules load"


def _model() -> str:
    from quotelife.model.artifact import builtin_artifact, load_artifact

    return ", ".join(
        f"{name} {load_artifact(builtin_artifact(name)).digest[:12]}"
        for name in ("first_passage", "logistic")
    )


def _clock() -> str:
    import time

    resolution = time.get_clock_info("monotonic").resolution
    if resolution > 1e-6:
        raise RuntimeError(f"the monotonic clock ticks every {resolution} s; 1 µs or finer is needed")
    return f"monotonic resolution {resolution * 1e9:.0f} ns"


def _open_files() -> str:
    import resource

    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft < 1024:
        raise RuntimeError(f"only {soft} open files allowed; raise it with ulimit -n 4096")
    return f"{soft} (hard {hard})"


def _config(path: Path) -> str:
    from quotelife.config import load_config
    from quotelife.engine import Engine
    from quotelife_server.settings import ServiceConfig

    config = load_config(path, ServiceConfig)
    Engine(config)
    return f"{path} good, digest {config.digest[:16]}"


def _journal(path: Path) -> str:
    """Could a service started from here write its journal? Makes no folder; writes a small file where there is
    one and nobody holds it."""
    import shutil

    from quotelife.config import load_config
    from quotelife.errors import JournalError
    from quotelife.journal.index import segment_names
    from quotelife.journal.storage import DirectoryStorage
    from quotelife_server.journaling import probe
    from quotelife_server.settings import ServiceConfig

    settings = load_config(path, ServiceConfig).server.journal
    if settings.directory is None:
        raise Worth(
            "server.journal.directory is null: decisions are kept nowhere, and replies say unjournaled; name a folder"
        )
    folder = Path(settings.directory).absolute()
    there = next(each for each in (folder, *folder.parents) if each.exists())
    if not there.is_dir() or not os.access(there, os.W_OK | os.X_OK):
        raise RuntimeError(f"{there} cannot be written to; change its owner or server.journal.directory")
    free = shutil.disk_usage(there).free
    if free < 2 * settings.segment_bytes:
        raise RuntimeError(
            f"{there}: {free / 1e6:.0f} MB are free, two files of the journal take "
            f"{2 * settings.segment_bytes / 1e6:.0f} MB; make room, or set server.journal.keep_bytes"
        )
    text = f"{folder}, {free / 1e9:.1f} GB free, {settings.durability}"
    if there != folder:
        return f"{text}, to be made"
    try:
        storage = DirectoryStorage(folder)
    except JournalError:
        return f"{text}, held by a running service"
    try:
        probe(storage)
        return f"{text}, {len(segment_names(storage))} files"
    finally:
        storage.close()


def _tls(path: Path) -> str:
    """Can a service started by this user use its certificate, and for how long?"""
    from quotelife.config import load_config
    from quotelife_server.settings import ServiceConfig
    from quotelife_server.tls import check_tls
    from quotelife_server.transport.tls_files import valid_between

    files = check_tls(path, load_config(path, ServiceConfig).server)
    if files is None:
        return "none: TCP addresses are in the clear"
    text = str(files.certificate)
    if (valid := valid_between(files.certificate)) is not None:
        begin, end = valid
        now = datetime.now(UTC)
        if now >= end:
            raise RuntimeError(f"server.tls.certificate: {text} ended {end.isoformat()}; have it renewed")
        if now < begin:
            raise RuntimeError(
                f"server.tls.certificate: {text} is not good before {begin.isoformat()}; "
                "set the clock, or have another made"
            )
        if end - now < ENDS_SOON:
            raise Worth(f"server.tls.certificate: {text} ends {end.isoformat()}; have it renewed")
        text += f" until {end.isoformat()}"
    return text if files.client_ca is None else f"{text}; clients show one that {files.client_ca} knows"
