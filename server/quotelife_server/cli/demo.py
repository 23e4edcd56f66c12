"""``quotelife demo``: simulated venue, service and a small OMS, shown live."""

from pathlib import Path
from typing import Annotated

import typer


def demo(
    seconds: Annotated[
        float | None, typer.Option(min=5, help="Stop after so many seconds; default: Ctrl-C.")
    ] = None,
    seed: Annotated[int, typer.Option(help="Seed of the simulated market.")] = 7,
    config: Annotated[Path | None, typer.Option("--config", "-c", help="Default: configs/demo.")] = None,
    plain: Annotated[bool, typer.Option(help="Lines instead of a live table.")] = False,
    summary_json: Annotated[Path | None, typer.Option(help="Also write the summary to this file.")] = None,
    address: Annotated[
        str, typer.Option(help="Where the service listens, host:port; default: a free port.")
    ] = "127.0.0.1:0",
    target: Annotated[
        str | None, typer.Option(help="Only the OMS and the table, on a service that runs at host:port.")
    ] = None,
) -> None:
    """Start everything over real sockets on free loopback ports, go through a news shock, print a summary.

    With --target nothing else is started and no news is made: live decisions of a service on its own market.
    """
    from quotelife_server.cli.paths import config_path
    from quotelife_server.demo.runner import main

    raise typer.Exit(
        main(
            seconds=seconds,
            seed=seed,
            configs=config_path(config, "demo" if target is None else "default"),
            plain=plain,
            summary_json=summary_json,
            target=target,
            address=address,
        )
    )
