"""``quotelife serve``: the service."""

from pathlib import Path
from typing import Annotated

import typer


def serve(
    config: Annotated[
        Path | None, typer.Option("--config", "-c", help="Folder of YAML files; default: configs/default.")
    ] = None,
    address: Annotated[
        str | None, typer.Option(help="TCP address, host:port; overrides the configuration.")
    ] = None,
    unix_socket: Annotated[
        Path | None, typer.Option(help="Unix socket; overrides the configuration.")
    ] = None,
    metrics_address: Annotated[
        str | None, typer.Option(help="Prometheus address, host:port; overrides.")
    ] = None,
) -> None:
    """Run the service until SIGTERM or Ctrl-C, then drain and stop (exit 0)."""
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
