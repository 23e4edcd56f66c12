"""``quotelife serve``: the service."""

from pathlib import Path
from typing import Annotated

import typer

from quotelife_server.cli.options import Config


def serve(
    config: Config = None,
    address: Annotated[
        str | None, typer.Option(help="Where to listen, host:port. [default: server.address]")
    ] = None,
    unix_socket: Annotated[
        Path | None, typer.Option(help="Unix socket to listen on. [default: server.unix_socket]")
    ] = None,
    metrics_address: Annotated[
        str | None,
        typer.Option(help="Where /metrics is, host:port. [default: server.metrics_address]"),
    ] = None,
) -> None:
    """Run the service until SIGTERM or Ctrl-C.

    Then it drains and stops, exit 0; a second Ctrl-C ends the drain at once, exit 1. SIGHUP reads the configuration
    again.
    """
    import uvloop

    from quotelife_server.app import run
    from quotelife_server.cli.paths import config_path

    code = uvloop.run(
        run(
            config_path(config, "default"),
            address=address,
            unix_socket=str(unix_socket) if unix_socket else None,
            metrics_address=metrics_address,
        )
    )
    raise typer.Exit(code)
