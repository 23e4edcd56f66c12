"""``quotelife get``: one question to a running service."""

import json
from dataclasses import asdict
from enum import Enum
from typing import Annotated, Any

import typer

from quotelife_server.cli.options import TARGET, Target, Timeout, checked_number, failed


def _side(text: str) -> str:
    if text.upper() not in ("BUY", "SELL", "TWO_WAY"):
        raise typer.BadParameter(f"{text!r} is none of BUY, SELL, TWO_WAY")
    return text.upper()


def get(
    instrument: Annotated[str, typer.Argument(help="Instrument name, such as BTC-USDT.")],
    side: Annotated[str, typer.Argument(callback=_side, help="BUY (the desk buys), SELL or TWO_WAY.")],
    size: Annotated[
        str | None,
        typer.Argument(callback=checked_number, help="Size in base quantity, decimal. [default: none given]"),
    ] = None,
    counterparty: Annotated[
        str | None, typer.Option(help="Who asked, by configured name. [default: nobody known]")
    ] = None,
    desk: Annotated[
        str | None, typer.Option(help="Desk that quotes, by configured name. [default: none]")
    ] = None,
    price: Annotated[
        str | None,
        typer.Option(
            callback=checked_number, help="Quoted price, decimal, for BUY and SELL. [default: none given]"
        ),
    ] = None,
    venue_session: Annotated[
        str | None, typer.Option(help="Venue session that the quote goes out on. [default: none]")
    ] = None,
    target: Target = TARGET,
    timeout: Timeout = 1.0,
    as_json: Annotated[bool, typer.Option("--json", help="The whole answer as JSON.")] = False,
) -> None:
    """Ask a running service for the life of one quote.

    Exit 0: answered, a DECLINE among it. 1: no answer, and why.
    """
    from quotelife_client import Client, ServiceError

    options: dict[str, Any] = {"counterparty": counterparty, "desk": desk, "size": size, "price": price}
    options["venue_session"] = venue_session
    given = {key: value for key, value in options.items() if value is not None}
    try:
        with Client(target, timeout_s=timeout) as client:
            reply = client.get_expiry(instrument=instrument, side=side, **given)
    except ServiceError as error:
        raise failed(target, error) from None
    if as_json:
        typer.echo(json.dumps(_plain(asdict(reply)), indent=2))
        return
    reasons = ", ".join(reason.name for reason in reply.reasons) or "none"
    typer.echo(
        f"{reply.decision.name} for {reply.life_ms:.3f} ms: {reply.posture_requested.name} → "
        f"{reply.posture_effective.name} ({reply.rule.name}), regime {reply.regime.name}, data {reply.quality.name}, "
        f"reasons: {reasons}"
    )


def _plain(value: object) -> object:
    """As JSON has it; enumerations, also those that are numbers, by name."""
    if isinstance(value, dict):
        return {str(key): _plain(each) for key, each in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(each) for each in value]
    if isinstance(value, Enum):
        return value.name
    return value if value is None or isinstance(value, bool | int | float | str) else str(value)
