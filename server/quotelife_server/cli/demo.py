"""``quotelife demo``: simulated venue, service and a small OMS, shown live; or a scenario on simulated time."""

from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from quotelife_server.cli.options import checked_address, checked_target, tls_of


class ScenarioName(StrEnum):
    ETH_NEWS = "eth-news"
    RFQ_MARKET = "rfq-market"


def demo(
    seconds: Annotated[
        float | None,
        typer.Option(
            min=5,
            help="Stop after so many seconds. [default: at Ctrl-C; of simulated time with rfq-market, 600]",
        ),
    ] = None,
    seed: Annotated[
        int | None, typer.Option(min=0, help="Seed of the simulated market. [default: 7; eth-news its own]")
    ] = None,
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
    scenario: Annotated[
        ScenarioName | None,
        typer.Option(
            help="Instead, on simulated time and without sockets: eth-news, a headline and who is picked off, with a "
            "timeline; rfq-market, clients, snipers and a static expiry against the engine's lives. [default: none]",
        ),
    ] = None,
    json_output: Annotated[
        bool, typer.Option("--json", help="With --scenario: the result as JSON, nothing else.")
    ] = False,
) -> None:
    """Simulated venue, service and OMS over real sockets, through a news shock, to a summary.

    Journal and capture are kept where --config names folders; without a journal's it is kept while the demo runs.
    With --target nothing else is started and no news is made: live decisions of a service on its own market.
    A --scenario ends with exit code 1 when it did not show what it is there to show.
    """
    from quotelife_server.cli.paths import config_path

    if scenario is not None:
        from quotelife_server.demo import scenarios

        if target is not None or summary_json is not None or plain:
            raise typer.BadParameter("--target, --summary-json and --plain do not go with --scenario")
        if scenario is ScenarioName.ETH_NEWS:
            if seconds is not None or config is not None:
                raise typer.BadParameter(
                    "eth-news has its own time and configuration: leave --seconds and --config"
                )
            raise typer.Exit(scenarios.show_eth_news(seed, json_output))
        raise typer.Exit(
            scenarios.show_rfq_market(
                config_path(config, "demo"), 7 if seed is None else seed, seconds, json_output
            )
        )
    if json_output:
        raise typer.BadParameter("--json goes with --scenario; the demo itself has --summary-json")

    from quotelife_server.demo.runner import main

    raise typer.Exit(
        main(
            seconds=seconds,
            seed=7 if seed is None else seed,
            configs=config_path(config, "demo" if target is None else "default"),
            plain=plain,
            summary_json=summary_json,
            target=target,
            address=address,
            tls=None if target is None else tls_of(target),
        )
    )
