"""Addresses to listen on, as both gRPC front ends take them."""

import errno
import os
import socket
import stat
from pathlib import Path
from typing import Any

from quotelife_server.addresses import UNIX, host_and_port

PATH_BYTES_MAX = 107  # of a Unix socket, the kernel's


class CannotListen(OSError):
    """An address that cannot be had, in plain words with the mend; ``address`` as it was asked for."""

    def __init__(self, address: str, reason: str) -> None:
        super().__init__(f"{address} {reason}")
        self.address = address


def cannot_listen(address: str, error: OSError) -> CannotListen:
    """What to do about ``error`` at binding."""
    thing = "path" if address.startswith(UNIX) else "port"
    if isinstance(error, socket.gaierror):
        return CannotListen(address, "has a name that is not known here; give an address of this machine")
    reason = {
        errno.EADDRINUSE: "is in use, by another process or another key of server; stop that process or "
        f"choose another {thing}",
        errno.EADDRNOTAVAIL: "is no address of this machine; give one that is, or 0.0.0.0 for all of them",
        errno.EACCES: "is not for this user to listen on; choose "
        + ("a folder that it may write to" if thing == "path" else "a port from 1024 on"),
        errno.ENOENT: "is in a folder that does not exist; make it or choose another path",
    }
    other = f"cannot be listened on ({error.strerror or error}); choose another {thing}"
    return CannotListen(address, reason.get(error.errno or 0, other))


def bound_as(address: str, port: int) -> str:
    """The address with its real port."""
    return address if address.startswith(UNIX) else f"{address.rpartition(':')[0]}:{port}"


def tcp_sockets(address: str, backlog: int) -> list[socket.socket]:
    """Bound and listening, on each of the machine's addresses that the name has, all at one port. Raises
    ``CannotListen``."""
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
        raise cannot_listen(address, error) from error
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
    """Bound and listening; what a killed process has left there is removed. Raises ``CannotListen``."""
    remove_stale_socket(path)
    try:
        return _listening(socket.socket(socket.AF_UNIX, socket.SOCK_STREAM), str(path), backlog)
    except OSError as error:
        raise cannot_listen(f"{UNIX}{path}", error) from error


def remove_stale_socket(path: Path) -> None:
    """Remove a socket file on which nobody listens, as a killed process leaves it; binding would fail.

    Raises ``CannotListen`` when somebody does."""
    try:
        if not stat.S_ISSOCK(os.lstat(path).st_mode):  # binding follows no link either
            reason = "is there already and is no socket; remove it or choose another path"
            raise CannotListen(f"{UNIX}{path}", reason)
        with socket.socket(socket.AF_UNIX) as probe:
            probe.settimeout(1.0)
            probe.connect(str(path))
    except FileNotFoundError:
        return
    except ConnectionRefusedError:
        path.unlink(missing_ok=True)
        return
    except CannotListen:
        raise
    except (BlockingIOError, TimeoutError):  # somebody does, and has no time for one more
        pass
    except OSError as error:
        raise cannot_listen(f"{UNIX}{path}", error) from error
    raise cannot_listen(f"{UNIX}{path}", _os_error(errno.EADDRINUSE))


def refused_by_grpc(address: str) -> CannotListen | None:
    """Why gRPC, which tells no reason, could not bind, a stale socket being out of its way; ``None``: not for want of
    the address."""
    if address.startswith(UNIX):
        fault = _unix_fault(Path(address.removeprefix(UNIX)))
        return None if fault is None else cannot_listen(address, fault)
    try:
        for each in tcp_sockets(address, 1):
            each.close()
    except CannotListen as found:
        return found
    return None


def _unix_fault(path: Path) -> OSError | None:
    """Found without binding: to remove what we had bound could take the path from who has bound it since."""
    if len(os.fsencode(path)) > PATH_BYTES_MAX:
        return OSError("AF_UNIX path too long")  # as Python says it
    try:
        os.stat(path.parent)
    except OSError as error:
        return error
    if not os.access(path.parent, os.W_OK | os.X_OK):
        return _os_error(errno.EACCES)
    return _os_error(errno.EADDRINUSE) if os.path.lexists(path) else None


def _os_error(code: int) -> OSError:
    return OSError(code, os.strerror(code))
