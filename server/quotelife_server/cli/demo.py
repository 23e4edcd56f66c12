"""``quotelife demo``: simulated venue, service and a small OMS, shown live."""

from pathlib import Path
from typing import Annotated

import typer

from quotelife_server.cli.options import checked_address, checked_target


def demo(
    seconds: Annotated[
        float | None, typer.Option(min=5, help="Stop after so many seconds. [default: at Ctrl-C]")
    ] = None,
    seed: Annotated[int, typer.Option(help="Seed of the simulated market.")] = 7,
    config: Annotated[
        Path | None,
        typer.Option(
            "--config",
            "-c",
            help="Folder of YAML files, or one file. [default: configs/demo; with --target configs/default]",
        ),
    ] = None,
    plain: Annotated[bool, typer.Option("--plain", help="Lines instead of a live table.")] = False,
    summary_json: Annotated[
        Path | None, typer.Option(help="File to write the summary to as well. [default: none]")
    ] = None,
    address: Annotated[
        str,
        typer.Option(
            callback=checked_address, help="Where the service listens, host:port; port 0: a free one."
        ),
    ] = "127.0.0.1:0",
    target: Annotated[
        str | None,
        typer.Option(
            callback=checked_target,
            help="Only the OMS and the table, on a service that runs, as host:port or unix:PATH. "
            "[default: a service of its own]",
        ),
    ] = None,
) -> None:
    """Simulated venue, service and OMS over real sockets, through a news shock, to a summary.

    Journal and capture are kept where --config names folders; without a journal's it is kept while the demo runs.
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
