"""The venue's side of the ITCH bench: sends at a steady rate from a process of its own, which imports no more than that
takes."""

import socket
import threading
import time
from collections.abc import Callable
from contextlib import ExitStack
from typing import Any

import numpy as np

from quotelife.sim.itch_wire import mold_packet, soup_packet
from quotelife_server.feeds.udp_ring import send_all
from quotelife_server.simvenue.itch import ItchVenue

PACED_PER_S = 200_000
TURN_S = 0.001


def kept_of(n: int, dropped: float, line: int) -> np.ndarray[Any, Any]:
    """Which of a line's datagrams are sent; the first and the last always."""
    kept = np.random.default_rng(1 + line).random(n) >= dropped
    kept[[0, -1]] = True
    return kept


def _unframed(stream: bytes) -> list[bytes]:
    out, at = [], 0
    while at < len(stream):
        n = int.from_bytes(stream[at : at + 2], "big")
        out.append(stream[at + 2 : at + 2 + n])
        at += 2 + n
    return out


def send_datagrams(to: list[Any], answers: socket.socket, pipe: Any, dropped: float, per_s: int) -> None:
    """Says in the end for how many messages it was asked."""
    venue = ItchVenue()
    venue.messages = _unframed(pipe.recv_bytes())
    asked = 0

    def answer() -> None:
        nonlocal asked
        while True:
            request, address = answers.recvfrom(100)
            asked += int.from_bytes(request[18:20], "big")
            for packet in venue.answers(request):
                answers.sendto(packet, address)

    threading.Thread(target=answer, daemon=True).start()
    packets = [mold_packet(venue.session, i, [message]) for i, message in enumerate(venue.messages, start=1)]
    kept = [kept_of(len(packets), dropped, line) for line in range(len(to))]
    turn = round(per_s * TURN_S)
    turns = []
    for at in range(0, len(packets), turn):
        parts = []
        for which in kept:
            part = [packets[i] for i in range(at, min(at + turn, len(packets))) if which[i]]
            parts.append((b"".join(part), np.cumsum([len(packet) for packet in part], dtype=np.int64)))
        turns.append(parts)
    with ExitStack() as stack:
        lines = [stack.enter_context(socket.socket(socket.AF_INET, socket.SOCK_DGRAM)) for _ in to]
        for udp, address in zip(lines, to, strict=True):
            udp.connect(address)

        def send(parts: list[Any]) -> None:
            for udp, part in zip(lines, parts, strict=True):
                send_all(udp.fileno(), *part)

        _paced(turns, send)
        while not pipe.poll(0.1):
            lines[0].send(mold_packet(venue.session, len(packets) + 1, []))
    pipe.send(asked)


def send_stream(server: socket.socket, pipe: Any) -> None:
    messages = _unframed(pipe.recv_bytes())
    turn = round(PACED_PER_S * TURN_S)
    turns = [
        b"".join(soup_packet(b"S", message) for message in messages[at : at + turn])
        for at in range(0, len(messages), turn)
    ]
    accepted = soup_packet(b"A", f"{'SIM':>10}{1:>20}".encode())
    for last in (False, True):
        connection, _ = server.accept()
        with connection:
            connection.recv(49, socket.MSG_WAITALL)
            connection.sendall(accepted)
            if last:
                _paced(turns, connection.sendall)
                pipe.poll(60)
            connection.recv(1)


def _paced(turns: list[Any], send: Callable[[Any], Any]) -> None:
    due = time.perf_counter()
    for part in turns:
        send(part)
        due += TURN_S
        wait_s = due - time.perf_counter()
        if wait_s > 0:
            time.sleep(wait_s)
