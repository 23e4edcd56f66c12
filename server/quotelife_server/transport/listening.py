"""Addresses to listen on, as both gRPC front ends take them."""

import os
import socket
import ssl
import stat
from pathlib import Path
from typing import Any

from quotelife_server.addresses import UNIX, host_and_port
from quotelife_server.transport.options import TlsFiles


def tcp_context(files: TlsFiles) -> ssl.SSLContext:
    """For a server that speaks HTTP/2 alone. Raises ``OSError`` in plain words."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.set_alpn_protocols(["h2"])
    try:
        context.load_cert_chain(files.certificate, files.key)
    except OSError as error:
        raise OSError(
            f"server.tls: {files.certificate} and {files.key} cannot be used: {_reason(error)}"
        ) from error
    if files.client_ca is not None:
        context.verify_mode = ssl.CERT_REQUIRED
        try:
            context.load_verify_locations(files.client_ca)
        except OSError as error:
            raise OSError(f"server.tls: {files.client_ca} cannot be used: {_reason(error)}") from error
    return context


def _reason(error: OSError) -> str:
    return error.strerror or str(error)


def cannot_listen(address: str) -> OSError:
    return OSError(f"cannot listen on {address}: in use, or not an address of this machine")


def bound_as(address: str, port: int) -> str:
    """The address with its real port."""
    return address if address.startswith(UNIX) else f"{address.rpartition(':')[0]}:{port}"


def tcp_sockets(address: str, backlog: int) -> list[socket.socket]:
    """Bound and listening, on each of the machine's addresses that the name has, all at one port. Raises ``OSError`` in
    plain words."""
    host, port = host_and_port(address)
    listeners: list[socket.socket] = []
    try:
        found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
        for family, _, protocol, _, where in dict.fromkeys(found):
            if listeners:
                where = (where[0], listeners[0].getsockname()[1], *where[2:])
            try:
                listeners.append(
                    _listening(socket.socket(family, socket.SOCK_STREAM, protocol), where, backlog)
                )
            except OSError:
                if not listeners:  # a name may have an address of a family that the machine has not
                    raise
    except OSError as error:
        for each in listeners:
            each.close()
        raise cannot_listen(address) from error
    return listeners


def _listening(listener: socket.socket, where: Any, backlog: int) -> socket.socket:
    try:
        if listener.family != socket.AF_UNIX:
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind(where)
        listener.listen(backlog)
    except OSError:
        listener.close()
        raise
    listener.setblocking(False)
    return listener


def unix_socket(path: Path, backlog: int) -> socket.socket:
    """Bound and listening; what a killed process has left there is removed. Raises ``OSError`` in plain words."""
    remove_stale_socket(path)
    try:
        return _listening(socket.socket(socket.AF_UNIX, socket.SOCK_STREAM), str(path), backlog)
    except OSError as error:
        raise cannot_listen(f"{UNIX}{path}") from error


def remove_stale_socket(path: Path) -> None:
    """Remove a socket file on which nobody listens, as a killed process leaves it; binding would fail.

    Raises ``OSError`` when somebody does."""
    try:
        if not stat.S_ISSOCK(os.stat(path).st_mode):
            return
        with socket.socket(socket.AF_UNIX) as probe:
            probe.settimeout(1.0)
            probe.connect(str(path))
    except FileNotFoundError:
        return
    except ConnectionRefusedError:
        path.unlink(missing_ok=True)
        return
    raise OSError(f"cannot listen on {UNIX}{path}: in use by another process")
