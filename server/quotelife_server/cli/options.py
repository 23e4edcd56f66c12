"""Options that several commands share. What is wrong with the command line itself is wrong usage, exit 2."""

import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from contextvars import ContextVar
from enum import Enum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, NoReturn

import typer

from quotelife.errors import QuotelifeError

if TYPE_CHECKING:
    from quotelife_client import ServiceError, Tls

TARGET = "127.0.0.1:50051"
REASON_CHARACTERS_MAX = 128
VIOLATIONS_IN_MESSAGE = 3  # the service's message repeats as many itself


def wrong(option: str, what: str) -> NoReturn:
    """End as wrong usage of an option or argument."""
    raise typer.BadParameter(what, param_hint=option)


def failed(target: str, error: "ServiceError", mend: str = "") -> QuotelifeError:
    """What a command says of a call that failed: where, why, and each fault once."""
    violations = error.violations if len(error.violations) > VIOLATIONS_IN_MESSAGE else ()
    faults = "".join(f"\n  {field}: {reason}" for field, reason in violations)
    return QuotelifeError(f"{target}: {error}{mend}{faults}")


def checked_target(text: str | None) -> str | None:
    """``host:port`` or ``unix:PATH``, as it is."""
    from quotelife_server.addresses import checked_or_unix

    try:
        return None if text is None else checked_or_unix(text)
    except ValueError as error:
        raise typer.BadParameter(str(error)) from None


def checked_address(text: str | None) -> str | None:
    from quotelife_server.addresses import checked

    try:
        return None if text is None else checked(text)
    except ValueError as error:
        raise typer.BadParameter(str(error)) from None


def checked_number(text: str | None) -> str | None:
    if text is not None and re.fullmatch(r"-?[0-9]+(\.[0-9]+)?", text) is None:
        raise typer.BadParameter("must be a decimal, such as 2.5")
    return text


def checked_name(text: str | None) -> str | None:
    """A variable of a script that is empty by mistake must not stand for everybody."""
    if text == "":
        raise typer.BadParameter("must not be empty; leave the option out for everybody")
    return text


def checked_reason(text: str) -> str:
    if not text or not text.isprintable() or len(text) > REASON_CHARACTERS_MAX:
        raise typer.BadParameter(f"must be 1 to {REASON_CHARACTERS_MAX} printable characters")
    return text


Config = Annotated[
    Path | None,
    typer.Option("--config", "-c", help="Folder of YAML files, or one file. [default: configs/default]"),
]
Target = Annotated[str, typer.Option(callback=checked_target, help="The service, as host:port or unix:PATH.")]
Admin = Annotated[
    str,
    typer.Option(
        "--target",
        "--address",
        callback=checked_target,
        help="The service, as host:port or unix:PATH: its server.admin_address where it has one.",
    ),
]
Timeout = Annotated[float, typer.Option(min=0.001, help="How long to wait for the service, in seconds.")]


_connection: ContextVar[tuple[Path | None, Path | None, Path | None, str]] = ContextVar(
    "connection", default=(None, None, None, "")
)


def connection(
    tls_ca: Annotated[
        Path | None,
        typer.Option(
            envvar="QUOTELIFE_TLS_CA",
            help="PEM file of the authorities that may have signed the service's certificate.",
        ),
    ] = None,
    tls_certificate: Annotated[
        Path | None,
        typer.Option(
            envvar="QUOTELIFE_TLS_CERTIFICATE",
            help="PEM file of our certificate, for a service that asks for one.",
        ),
    ] = None,
    tls_key: Annotated[
        Path | None, typer.Option(envvar="QUOTELIFE_TLS_KEY", help="PEM file of its key.")
    ] = None,
    tls_server_name: Annotated[
        str,
        typer.Option(
            envvar="QUOTELIFE_TLS_SERVER_NAME",
            help="Name that the service's certificate is for. [default: that in --target]",
        ),
    ] = "",
) -> None:
    """Before the command: how commands that ask a service connect to it. In the clear without --tls-ca and
    --tls-certificate."""
    if (tls_certificate is None) != (tls_key is None):
        missing, given = ("key", "certificate") if tls_key is None else ("certificate", "key")
        wrong(f"--tls-{missing}", f"goes with --tls-{given}; give both, or neither")
    if tls_server_name and tls_ca is None and tls_certificate is None:
        wrong(
            "--tls-server-name", "goes with --tls-ca or --tls-certificate; without them nothing is encrypted"
        )
    _connection.set((tls_ca, tls_certificate, tls_key, tls_server_name))


def tls_of(target: str) -> "Tls | None":
    """What ``connection`` was told, for a command that asks ``target``. Unix sockets are never encrypted."""
    given = _connection.get()
    if given[:2] == (None, None) or target.startswith("unix:"):
        return None
    from quotelife_client import Tls

    tls = Tls(*given)
    try:
        tls.credentials()
    except ValueError as error:
        raise QuotelifeError(f"--{str(error).replace('.', '-', 1)}") from None
    return tls


@contextmanager
def writing(path: Path | None, option: str) -> Iterator[Callable[[str], None]]:
    """What writes the file that an ``option`` names, whole or not at all, and nothing where it names none. A path that
    cannot be written is refused at once, not after minutes of work."""
    if path is None:
        yield lambda text: None
        return
    in_place = path.is_symlink() or (
        path.exists() and not path.is_file() and not path.is_dir()
    )  # /dev/stdout, a pipe
    aside = path if in_place else path.with_name(path.name + ".tmp")

    def write(text: str) -> None:
        try:
            aside.write_text(text + "\n", encoding="utf-8")
            if not in_place:
                aside.replace(path)
        except OSError as error:
            wrong(option, f"{path}: cannot be written ({error.strerror})")

    try:
        if path.is_dir():
            wrong(option, f"{path}: is a folder; name a file")
        try:
            aside.touch()
        except OSError as error:
            wrong(option, f"{path}: cannot be written ({error.strerror})")
        yield write
    finally:
        with suppress(OSError):
            if not in_place:
                aside.unlink(missing_ok=True)


def plain(value: object) -> object:
    """As JSON has it; enumerations, also those that are numbers, by name."""
    if isinstance(value, dict):
        return {str(key): plain(each) for key, each in value.items()}
    if isinstance(value, list | tuple):
        return [plain(each) for each in value]
    if isinstance(value, Enum):
        return value.name
    return value if value is None or isinstance(value, bool | int | float | str) else str(value)
