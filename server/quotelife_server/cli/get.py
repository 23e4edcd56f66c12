"""``quotelife get``: one question to a running service."""

import json
import secrets
from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated, Any

import typer

from quotelife_server.cli.options import TARGET, Target, Timeout, checked_number, failed, plain, tls_of
from quotelife_server.cli.watch import follow

if TYPE_CHECKING:
    from quotelife_client import AsyncClient, AsyncWatcher, Expiry, Leg, Package


def _side(text: str) -> str:
    if text.upper() not in ("BUY", "SELL", "TWO_WAY"):
        raise typer.BadParameter(f"{text!r} is none of BUY, SELL, TWO_WAY")
    return text.upper()


def _leg(text: str) -> "Leg":
    from quotelife_client import Leg

    name, *rest = text.split(",")
    if not name or not 1 <= len(rest) <= 6 or rest[0].upper() not in ("BUY", "SELL"):
        raise typer.BadParameter(
            f"{text!r} is not INSTRUMENT,SIDE[,RATIO[,DELTA[,GAMMA[,VEGA[,UNDERLYING]]]]]", param_hint="--leg"
        )
    side, ratio, *greeks = rest if len(rest) > 1 else [*rest, "1"]
    try:
        numbers = [float(each) for each in greeks[:3]]
    except ValueError:
        raise typer.BadParameter(f"{text!r}: greeks are numbers", param_hint="--leg") from None
    delta, gamma, vega = (*numbers, None, None, None)[:3]
    return Leg(
        instrument=name,
        side=side.upper(),
        ratio=checked_number(ratio) or "1",
        delta=delta,
        gamma=gamma,
        vega=vega,
        underlying="".join(greeks[3:]),
    )


def get(
    instrument: Annotated[
        str, typer.Argument(help="Instrument name, such as BTC-USDT; - with --leg, for a package.")
    ],
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
    edge: Annotated[
        str | None,
        typer.Option(callback=checked_number, help="Our edge in price units, decimal. [default: none given]"),
    ] = None,
    leg: Annotated[
        list[str] | None,
        typer.Option(
            help="A leg of a package, once for each: INSTRUMENT,SIDE[,RATIO[,DELTA[,GAMMA[,VEGA[,UNDERLYING]]]]], "
            "SIDE as the desk trades it when it buys the package, greeks of one unit. SIZE then counts packages. "
            "[default: none]"
        ),
    ] = None,
    venue_session: Annotated[
        str | None, typer.Option(help="Venue session that the quote goes out on. [default: none]")
    ] = None,
    target: Target = TARGET,
    timeout: Timeout = 1.0,
    watched: Annotated[
        bool,
        typer.Option("--watch", help="Have the quote watched, and print what is said of it until it ends."),
    ] = False,
    as_json: Annotated[
        bool, typer.Option("--json", help="The whole answer as JSON; with --watch, one object a line.")
    ] = False,
) -> None:
    """Ask a running service for the life of one quote.

    Exit 0: answered, a DECLINE among it. 1: no answer, or with --watch nobody watches it, and why.
    """
    from quotelife_client import Client, ServiceError

    options: dict[str, Any] = {"counterparty": counterparty, "desk": desk, "size": size, "price": price}
    options |= {"venue_session": venue_session, "edge": edge}
    legs = [_leg(text) for text in leg or ()]
    if bool(legs) != (instrument == "-"):
        raise typer.BadParameter(
            "give - as the instrument with --leg, and only then", param_hint="INSTRUMENT"
        )
    if legs:
        options["legs"] = legs
    given = {key: value for key, value in options.items() if value is not None}
    if watched:

        async def begin(client: "AsyncClient", watcher: "AsyncWatcher") -> str:
            quote_id = secrets.token_hex(8)
            reply = await watcher.get_expiry(
                quote_id, instrument="" if legs else instrument, side=side, **given
            )
            _tell(reply, as_json, one_line=True)
            if not reply.watched:
                typer.echo(f"not watched: {reply.watch_refusal.name}", err=True)
            return quote_id if reply.watched else ""

        follow(target, None, timeout, as_json, begin)
        return
    try:
        with Client(target, timeout_s=timeout, tls=tls_of(target)) as client:
            reply = client.get_expiry(instrument="" if legs else instrument, side=side, **given)
    except ServiceError as error:
        raise failed(target, error) from None
    _tell(reply, as_json)


def _tell(reply: "Expiry", as_json: bool, *, one_line: bool = False) -> None:
    if as_json:
        typer.echo(json.dumps(plain(asdict(reply)), indent=None if one_line else 2))
        return
    reasons = ", ".join(reason.name for reason in reply.reasons) or "none"
    typer.echo(
        f"{reply.decision.name} for {reply.life_ms:.3f} ms: {reply.posture_requested.name} → "
        f"{reply.posture_effective.name} ({reply.rule.name}), regime {reply.regime.name}, data {reply.quality.name}, "
        f"reasons: {reasons}"
    )
    typer.echo(f"decision {reply.decision_id}: quotelife explain takes it")
    if reply.package is not None:
        typer.echo(_package_words(reply.package, reply.p_ref))


def _package_words(package: "Package", p_ref: float | None) -> str:
    lines = [f"package: {package.route.name}" + (f" on {package.underlying}" if package.underlying else "")]
    if package.net_delta is not None:
        lines[0] += f", net delta {package.net_delta:.4g}"
    if package.p_lower is not None and p_ref is not None:
        lines[0] += f", P(500 ms) between {package.p_lower:.4f} and {p_ref:.4f}"
    for leg in package.legs:
        what = "no curve"
        if leg.p_ref is not None and leg.contribution is not None:
            what = f"P(500 ms) {leg.p_ref:.4f}, {leg.contribution:.0%} of the sum"
        elif leg.delta is not None and leg.contribution is not None:
            what = f"delta {leg.delta:.4g}, adds {leg.contribution:.4g}"
        lines.append(
            f"  {leg.side.name} {leg.instrument}: {what}; {leg.regime.name}, data {leg.quality.name}"
        )
    return "\n".join(lines)
