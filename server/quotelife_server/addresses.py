"""Addresses as they stand in the configuration: ``host:port``, where said also ``unix:PATH``."""

import re
from typing import Annotated

from pydantic import AfterValidator, Field

_ADDRESS = re.compile(r"(\[[0-9A-Fa-f:.]+\]|[A-Za-z0-9._-]+):([0-9]{1,5})")
PORT_MAX = 65_535
UNIX = "unix:"
PATH_CHARACTERS_MAX = 100  # the kernel takes 107 bytes


def checked(text: str) -> str:
    """The address as it is. Raises ``ValueError`` with what it must be."""
    match = _ADDRESS.fullmatch(text)
    if match is None:
        raise ValueError("must be host:port, such as 127.0.0.1:50051 or [::1]:50051")
    if int(match[2]) > PORT_MAX:
        raise ValueError(f"the port must be from 0 to {PORT_MAX}")
    return text


def without_nul(path: str) -> str:
    if "\0" in path:
        raise ValueError("must not contain a NUL, which no path may")
    return path


def checked_or_unix(text: str) -> str:
    """The address as it is, ``host:port`` or ``unix:PATH``. Raises ``ValueError`` with what it must be."""
    if text.startswith(UNIX):
        if not 0 < len(text) - len(UNIX) <= PATH_CHARACTERS_MAX:
            raise ValueError(f"the path after unix: must have 1 to {PATH_CHARACTERS_MAX} characters")
        return without_nul(text)
    try:
        return checked(text)
    except ValueError as error:
        raise ValueError(f"{error}, or unix:PATH") from None


Address = Annotated[str, Field(max_length=256), AfterValidator(checked)]
AddressOrUnix = Annotated[str, Field(max_length=256), AfterValidator(checked_or_unix)]


def host_and_port(address: str) -> tuple[str, int]:
    host, _, port = address.rpartition(":")
    return host.strip("[]"), int(port)
