"""``quotelife config``: look at configuration before a service does."""

from pathlib import Path
from typing import Annotated

import typer

app = typer.Typer(help="Check configuration files.", no_args_is_help=True, rich_markup_mode=None)


@app.callback()
def _group() -> None:
    """Check configuration files."""


@app.command()
def check(
    path: Annotated[Path, typer.Argument(help="Folder of YAML files, or one file.")],
) -> None:
    """Load a configuration as the service would, with the files of server.tls.

    Exit 0: good, and a summary. 3: every fault with file and line.
    """
    from quotelife.config import load_config
    from quotelife.decision.policy import Policy
    from quotelife_server.feeds.base import few
    from quotelife_server.settings import ServiceConfig
    from quotelife_server.tls import check_tls

    config = load_config(path, ServiceConfig)
    Policy(config)
    check_tls(path, config.server)
    table = config.instrument_table()
    typer.echo(f"{path}: good, digest {config.digest[:16]}")
    typer.echo(f"  instruments     {len(table)}: {', '.join(i.name for i in table)}")
    typer.echo(f"  counterparties  {len(config.counterparties)} in {len(config.tiers)} tiers")
    typer.echo(f"  desks           {len(config.desks)}")
    typer.echo(f"  feeds           {len(config.feeds)}")
    if unfed := config.without_feed():
        typer.echo(f"warning: no feed carries {few(unfed)}: quotes in them are declined for ever", err=True)
    if bookless := config.without_book():
        mend = "add a feed with depth, or set quotes_only"
        typer.echo(f"warning: no feed has a book of {few(bookless)}, declined for ever: {mend}", err=True)
