"""``quotelife counterparty``: what a service knows of its counterparties from reported outcomes."""

from typing import TYPE_CHECKING, Annotated

import typer

from quotelife_server.cli.options import TARGET, Admin, Timeout, failed, tls_of

if TYPE_CHECKING:
    from quote_expiry.v1 import admin_service_pb2 as admin

app = typer.Typer(help="What is known of counterparties from reported outcomes.", no_args_is_help=True)

Json = Annotated[bool, typer.Option("--json", help="As JSON.")]


@app.command("show")
def show(
    name: Annotated[str, typer.Argument(help="The counterparty, as it is configured.")],
    as_json: Json = False,
    target: Admin = TARGET,
    timeout: Timeout = 5.0,
) -> None:
    """Show fill rate, response time, markouts and sizes of one counterparty, and what decisions make of them."""
    from quotelife_client import Client, ServiceError

    try:
        with Client(target, timeout_s=timeout, tls=tls_of(target)) as client:
            found = client.counterparty(name)
    except ServiceError as error:
        raise failed(target, error) from None
    if as_json:
        _print_json(found)
    else:
        _print(found)


@app.command("list")
def list_(as_json: Json = False, target: Admin = TARGET, timeout: Timeout = 5.0) -> None:
    """List the counterparties that outcomes were told of."""
    from quotelife_client import Client, ServiceError

    found: list[admin.CounterpartyStatus] = []
    try:
        with Client(target, timeout_s=timeout, tls=tls_of(target)) as client:
            while True:
                reply = client.counterparties(found[-1].counterparty if found else "")
                found += reply.counterparties
                if not reply.more or not reply.counterparties:
                    break
    except ServiceError as error:
        raise failed(target, error) from None
    if as_json:
        _print_json(found)
        return
    if not found:
        typer.echo("no outcome was reported so far")
        return
    from rich.console import Console
    from rich.table import Table

    table = Table("counterparty", "tier", "reported", "fill rate", "hit", "informed", "median", "1 s markout",
                  box=None)  # fmt: skip
    for each in found:
        table.add_row(
            each.counterparty,
            each.tier,
            f"{each.reported:,}",
            _fill_rate(each),
            f"{each.used.hit_probability:.3f}",
            f"{each.used.informed_share:.3f}",
            f"{each.used.response_median_ns / 1e6:,.0f} ms",
            _markout(each.markouts[1]),
        )
    Console().print(table)


def _print_json(found: "admin.CounterpartyStatus | list[admin.CounterpartyStatus]") -> None:
    import json

    from google.protobuf.json_format import MessageToDict

    def plain(each: "admin.CounterpartyStatus") -> dict[str, object]:
        return MessageToDict(
            each, preserving_proto_field_name=True, always_print_fields_with_no_presence=True
        )

    typer.echo(
        json.dumps([plain(each) for each in found] if isinstance(found, list) else plain(found), indent=2)
    )


def _print(of: "admin.CounterpartyStatus") -> None:
    from rich.console import Console
    from rich.table import Table

    console = Console(highlight=False)
    console.print(f"{of.counterparty}, tier {of.tier or 'none'}: {of.reported:,} outcomes reported")
    console.print(
        f"in memory: {of.quotes:.1f} quotes, {of.fills:.1f} filled, {of.refused:.1f} turned down, "
        f"{of.censored:.1f} ended before an answer"
    )
    console.print(
        f"fill rate {_fill_rate(of)}; mean move against its fills after 1 s {of.adverse_in_h:+.3f} h"
    )
    terms = Table("expected value", "hit", "informed", "median", "sigma", box=None)
    for name, each in (("configured", of.configured), ("estimated", of.estimated), ("used", of.used)):
        terms.add_row(
            name,
            f"{each.hit_probability:.3f}",
            f"{each.informed_share:.3f}",
            f"{each.response_median_ns / 1e6:,.1f} ms",
            f"{each.response_sigma:.3f}",
        )
    console.print(terms)
    marks = Table("markout after", "fills", "bp", box=None)
    for markout in of.markouts:
        marks.add_row(f"{markout.after_ns / 1e9:g} s", f"{markout.fills:.1f}", _markout(markout))
    console.print(marks)
    if of.sizes:
        sizes = Table("instrument", "quotes", "mean size, lots", box=None)
        for size in of.sizes:
            sizes.add_row(size.instrument, f"{size.quotes:.1f}", f"{size.mean_lots:,.4g}")
        console.print(sizes)


def _fill_rate(of: "admin.CounterpartyStatus") -> str:
    if not of.HasField("fill_rate"):
        return "not known"
    deviation = f" ± {of.fill_rate_deviation:.3f}" if of.HasField("fill_rate_deviation") else ""
    return f"{of.fill_rate:.3f}{deviation}"


def _markout(of: "admin.CounterpartyMarkout") -> str:
    return f"{of.mean_bp:+.2f} ± {of.deviation_bp:.2f}" if of.HasField("mean_bp") else ""
