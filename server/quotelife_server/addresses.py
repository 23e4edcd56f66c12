"""Addresses as they stand in the configuration: ``host:port``."""

import re
from typing import Annotated

from pydantic import AfterValidator, Field

_ADDRESS = re.compile(r"(\[[0-9A-Fa-f:.]+\]|[A-Za-z0-9._-]+):([0-9]{1,5})")
PORT_MAX = 65_535


def checked(text: str) -> str:
    """The address as it is. Raises ``ValueError`` with what it must be."""
    match = _ADDRESS.fullmatch(text)
    if match is None:
        raise ValueError("must be host:port, such as 127.0.0.1:50051 or [::1]:50051")
    if int(match[2]) > PORT_MAX:
        raise ValueError(f"the port must be from 0 to {PORT_MAX}")
    return text


Address = Annotated[str, Field(max_length=256), AfterValidator(checked)]


def host_and_port(address: str) -> tuple[str, int]:
    host, _, port = address.rpartition(":")
    return host.strip("[]"), int(port)
