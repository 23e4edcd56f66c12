"""The ``quotelife`` command. Each command lives in its own module and imports what it needs when it runs."""

from __future__ import annotations

import sys

import typer

from quotelife.errors import ConfigError, QuotelifeError

app = typer.Typer(
    name="quotelife",
    help="Decides how long a firm quote may live.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)

EXIT_FAILED = 1
EXIT_USAGE = 2
EXIT_CONFIG = 3


def _register() -> None:
    from quotelife_server.cli import (
        bench,
        capture,
        config,
        demo,
        doctor,
        explain,
        get,
        journal,
        kill,
        replay,
        serve,
    )

    app.command("serve")(serve.serve)
    app.command("demo")(demo.demo)
    app.command("get")(get.get)
    app.command("kill")(kill.kill)
    app.command("enable")(kill.enable)
    app.command("replay")(replay.replay)
    app.command("explain")(explain.explain)
    app.command("doctor")(doctor.doctor)
    app.command("bench")(bench.bench)
    app.add_typer(config.app, name="config")
    app.add_typer(capture.app, name="capture")
    app.add_typer(journal.app, name="journal")


_register()


def main() -> None:
    """Entry point. Exit codes: 0 done, 1 failed, 2 wrong usage, 3 configuration refused, 130 interrupted."""
    try:
        app()
    except ConfigError as error:
        sys.stderr.write("configuration refused, nothing changed:\n")
        for problem in error.problems:
            sys.stderr.write(f"  {problem}\n")
        sys.exit(EXIT_CONFIG)
    except QuotelifeError as error:
        sys.stderr.write(f"quotelife: {error}\n")
        sys.exit(EXIT_FAILED)
    except OSError as error:
        sys.stderr.write(f"quotelife: {error}\n")
        sys.exit(EXIT_FAILED)
    except KeyboardInterrupt:
        sys.exit(130)
