"""``quotelife kill`` and ``quotelife enable``: stop a service's quotes, and let them go on."""

from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated

import typer

from quotelife.units import NS_PER_S
from quotelife_server.cli.options import (
    REASON_CHARACTERS_MAX,
    TARGET,
    Admin,
    Timeout,
    checked_name,
    checked_reason,
    failed,
    tls_of,
    wrong,
)

Reason = Annotated[
    str,
    typer.Option(
        callback=checked_reason, help=f"Why, for the record; at most {REASON_CHARACTERS_MAX} characters."
    ),
]
Counterparty = Annotated[
    str | None,
    typer.Option(
        callback=checked_name,
        help="One counterparty by its configured name; '(unknown)': all not configured. [default: everybody]",
    ),
]

NOBODY = "nobody was killed"


def kill(
    reason: Reason,
    counterparty: Counterparty = None,
    target: Admin = TARGET,
    file: Annotated[
        Path | None,
        typer.Option(
            help="Write the service's kill file (server.kill_file) instead of asking the service. "
            "[default: ask]"
        ),
    ] = None,
    timeout: Timeout = 2.0,
) -> None:
    """Turn every answer, or every answer to one counterparty, into DECLINE until it is enabled again.

    Exit 0: in force, and kept over a restart unless it says what is not written down yet. With --file it is in force
    once the service looks at the file, within 10 ms where one runs, and as long as the file exists nobody can enable.
    """
    if file is not None:
        typer.echo(_write(file, counterparty, reason))
        return
    from quotelife_client import Client, ServiceError

    try:
        with Client(target, timeout_s=timeout, tls=tls_of(target)) as client:
            reply = client.kill(reason, counterparty=counterparty or "")
    except ServiceError as error:
        mend = "; where the service does not answer, use --file with its kill file"
        raise failed(target, error, mend if error.could_not_answer else "") from None
    since = datetime.fromtimestamp(reply.since_utc_ns / NS_PER_S, UTC).isoformat(timespec="milliseconds")
    typer.echo(f"{counterparty or 'everybody'} killed since {since}; it ends by quotelife enable alone")
    if reply.unrecorded:
        typer.echo(f"in force, but a restart may forget it: {reply.unrecorded}")


def enable(
    reason: Reason,
    counterparty: Counterparty = None,
    target: Admin = TARGET,
    timeout: Timeout = 2.0,
) -> None:
    """End the kill of everybody, or that of one counterparty. The other kills stay, and are listed.

    Refused while the service's kill file exists.
    """
    from quotelife_client import Client, ServiceError

    name = counterparty or ""
    try:
        with Client(target, timeout_s=timeout, tls=tls_of(target)) as client:
            before = client.status().kills
            client.enable(reason, counterparty=name)
            after = client.status().kills
    except ServiceError as error:
        raise failed(target, error) from None
    if any(each.counterparty == name for each in before):
        typer.echo(f"{name or 'everybody'} enabled")
    else:
        typer.echo(
            f"{name} was not killed" if name else "there was no kill of everybody" if after else NOBODY
        )
    for each in after:
        typer.echo(f"still killed: {each.counterparty or 'everybody'}: {each.reason}")


def _write(file: Path, counterparty: str | None, reason: str) -> str:
    """Add to a kill file, which a running service then never sees half written; what it does now, in words."""
    from quotelife_server.kill import FILE_BYTES_MAX, orders, write_synced

    name = counterparty or ""
    for option, text in (("--reason", reason), ("--counterparty", name)):
        if not text.isprintable() or "#" in text:
            wrong(option, "must be one line of printable characters without #")
    line = f"{name} # {reason}\n".lstrip()
    before = ""
    try:
        before = file.read_text(encoding="utf-8")
        everybody = any(wanted is None for wanted, _ in orders(before))
    except FileNotFoundError:
        everybody = False
    except (OSError, ValueError):
        everybody = True  # that is how a service takes a file that it cannot read
    if everybody:
        return f"{file} kills everybody already and stays as it is"
    content = line if not name else before + ("\n" if before and not before.endswith("\n") else "") + line
    if len(content.encode()) > FILE_BYTES_MAX:
        content = "# more names than a kill file holds\n"
    write_synced(file, content.encode())
    return f"{file} kills {name or 'everybody'}; remove it before quotelife enable"
