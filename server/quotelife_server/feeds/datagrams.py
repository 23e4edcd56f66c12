"""UDP sockets of a feed: what the kernel keeps for us, multicast groups, and errors that name the address."""

import asyncio
import socket
import struct
from ipaddress import ip_address
from typing import Any

from quotelife_server.addresses import host_and_port


async def listening(
    feed: str, address: str, interface: str | None, bytes_kept: int, log: Any
) -> socket.socket:
    """Bound to ``address``; a multicast group is joined on our ``interface``, None: where the system's routes say.

    Raises ``OSError`` naming feed and address.
    """
    try:
        family, target = await _resolved(address)
        if interface and family == socket.AF_INET6:
            raise OSError("interface belongs to an IPv4 address; leave it out, the system's routes choose")
        udp = _socket(family, bytes_kept, log)
        try:
            _join_if_group(udp, family, str(target[0]), interface)
            udp.bind(target)
        except BaseException:
            udp.close()
            raise
    except OSError as error:
        on = f" on interface {interface}" if interface else ""
        raise OSError(f"feeds: {feed}: cannot listen on {address}{on}: {error}") from error
    return udp


async def asking(feed: str, address: str, bytes_kept: int, log: Any) -> socket.socket:
    """Sends to ``address`` and receives from nobody else. Raises ``OSError`` naming feed and address."""
    try:
        family, target = await _resolved(address)
        udp = _socket(family, bytes_kept, log)
        try:
            udp.connect(target)
        except BaseException:
            udp.close()
            raise
    except OSError as error:
        raise OSError(f"feeds: {feed}: cannot send to {address}: {error}") from error
    return udp


async def _resolved(address: str) -> tuple[socket.AddressFamily, Any]:
    host, port = host_and_port(address)
    loop = asyncio.get_running_loop()
    (family, _, _, _, target), *_ = await loop.getaddrinfo(host, port, type=socket.SOCK_DGRAM)
    return family, target


def _socket(family: socket.AddressFamily, bytes_kept: int, log: Any) -> socket.socket:
    udp = socket.socket(family, socket.SOCK_DGRAM)
    udp.setblocking(False)
    udp.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, bytes_kept)
    granted = udp.getsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF) // 2  # the kernel counts its own part too
    if granted < bytes_kept:
        mend = "raise net.core.rmem_max, or lower socket_bytes"
        log.warning("socket_buffer_small", bytes=granted, wanted=bytes_kept, mend=mend)
    return udp


def _join_if_group(udp: socket.socket, family: int, host: str, interface: str | None) -> None:
    group = ip_address(host)
    if not group.is_multicast:
        return
    udp.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    if family == socket.AF_INET6:
        member = group.packed + struct.pack("@I", 0)
        udp.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_JOIN_GROUP, member)
    else:
        member = group.packed + ip_address(interface or "0.0.0.0").packed
        udp.setsockopt(socket.IPPROTO_IP, socket.IP_ADD_MEMBERSHIP, member)
