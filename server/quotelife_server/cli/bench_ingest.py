"""``quotelife bench ingest``: what market data by the binary record costs before it reaches a book."""

import asyncio
import multiprocessing
import socket
import statistics
import struct
import time
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import structlog
import uvloop

from quotelife.clock import Clock
from quotelife.engine import Engine
from quotelife.feed.binary import BinaryDecoder
from quotelife.records import EventBuffer
from quotelife_client.binary import COUNT_MAX, BinaryEncoder
from quotelife_server.feeds.binary import BinaryFeed
from quotelife_server.feeds.settings import BinaryFeedConfig

DECODED_EVENTS = 200 * COUNT_MAX
SENT_EVENTS = 1_000 * COUNT_MAX
PACED_EVENTS_PER_S = 200_000
PACED_S = 3
TURN_S = 0.001
DATAGRAM_EVENTS = 20
RECORD = struct.Struct("<qqqqqqqIBBH")


def ingest(tape: EventBuffer, rounds: int, engine: Callable[[], Engine]) -> dict[str, Any]:
    """``tape``: events of instrument 0, a snapshot first, used over and over; ``engine`` makes one that knows it."""
    records = tape.array()
    records["receive_ns"] = 0
    body = np.resize(records, DECODED_EVENTS)
    return {
        "decode": _decode(body, rounds),
        "tcp": _tcp(body, rounds, engine),
        "udp_20_events_a_datagram": _udp(body, engine),
    }


# --- in process ---------------------------------------------------------------------------------------------


def _decode(body: np.ndarray[Any, Any], rounds: int) -> dict[str, Any]:
    """The decoder on bytes at hand, beside Python's own ways over the same bytes."""
    raw = body.tobytes()
    n = len(body)
    times: dict[str, list[float]] = {}
    for _ in range(rounds):
        for name, took in (
            ("copy", _copied(raw)),
            ("struct_iter_unpack", _unpacked(raw)),
            ("frames_of_1023", _received(raw, COUNT_MAX)),
            ("frames_of_20", _received(raw, DATAGRAM_EVENTS)),
            ("frames_of_1", _received(raw, 1)),
        ):
            times.setdefault(name, []).append(took / n)
    medians = {name: statistics.median(values) for name, values in times.items()}
    out: dict[str, Any] = {f"{name}_ns_per_event": round(value, 1) for name, value in medians.items()}
    out["frames_of_1023_ratio_to_struct_iter_unpack"] = round(
        medians["frames_of_1023"] / medians["struct_iter_unpack"], 3
    )
    out["frames_of_1023_ratio_to_copy"] = round(medians["frames_of_1023"] / medians["copy"], 1)
    return out


def _copied(raw: bytes) -> int:
    """Nanoseconds of CPU for one copy of all of it."""
    out = bytearray(raw)  # its pages are there
    started = time.process_time_ns()
    out[:] = raw
    return time.process_time_ns() - started


def _unpacked(raw: bytes) -> int:
    """Nanoseconds of CPU for Python's own way to read the records."""
    started = time.process_time_ns()
    for _ in RECORD.iter_unpack(raw):
        pass
    return time.process_time_ns() - started


def _received(raw: bytes, events: int) -> int:
    """Nanoseconds that a decoder takes for all of it, in frames of so many events, read by read."""
    stream = b"".join(_frames(raw, events))
    decoder = BinaryDecoder(EventBuffer(65_536), [0], 1)
    took = at = 0
    while at < len(stream):
        view = decoder.input_view()
        n = min(len(view), len(stream) - at)
        view[:n] = stream[at : at + n]
        at += n
        started = time.process_time_ns()
        while decoder.received(n, 1):
            decoder.buffer.clear()
            n = 0
        took += time.process_time_ns() - started
        decoder.buffer.clear()
    return took


def _frames(raw: bytes, events: int) -> list[bytes]:
    encoder = BinaryEncoder(1, session=1)
    return [encoder.frame(raw[at : at + 64 * events]) for at in range(0, len(raw), 64 * events)]


# --- over sockets -------------------------------------------------------------------------------------------


class _Clock(Clock):
    def now_ns(self) -> int:
        return time.time_ns()


def _feed(transport: str, address: str, sink: Callable[[EventBuffer], None]) -> BinaryFeed:
    config = BinaryFeedConfig.model_validate(
        {
            "kind": "binary",
            "name": "bench",
            "transport": transport,
            "address": address,
            "instruments": ("I0",),
            "silence": "30s",
        }
    )
    return BinaryFeed(config, [0], sink=sink, clock=_Clock(), logger=structlog.wrap_logger(None, [_quiet]))


def _quiet(logger: Any, name: str, event: Any) -> Any:
    raise structlog.DropEvent


def _nothing(buffer: EventBuffer) -> None:
    pass


def _tcp(body: np.ndarray[Any, Any], rounds: int, engine: Callable[[], Engine]) -> dict[str, Any]:
    raw = np.resize(body, SENT_EVENTS).tobytes()
    costs: dict[str, list[float]] = {"before_the_book": [], "with_the_engine": []}
    unpack: list[float] = []
    for _ in range(rounds):
        for name, sink in (("before_the_book", _nothing), ("with_the_engine", engine().on_events)):
            costs[name].append(_cpu_ns(raw, COUNT_MAX, None, "tcp", sink)["cpu_ns"] / SENT_EVENTS)
        unpack.append(_unpacked(raw) / SENT_EVENTS)
    medians = {name: statistics.median(values) for name, values in costs.items()}
    out: dict[str, Any] = {
        f"batched_{name}_cpu_ns_per_event": round(value, 1) for name, value in medians.items()
    }
    out["struct_iter_unpack_ns_per_event"] = round(statistics.median(unpack), 1)
    out["batched_before_the_book_ratio_to_struct_iter_unpack"] = round(
        medians["before_the_book"] / statistics.median(unpack), 3
    )
    raw = np.resize(body, PACED_EVENTS_PER_S * PACED_S).tobytes()
    for name, sink in (("before_the_book", _nothing), ("with_the_engine", engine().on_events)):
        paced = _cpu_ns(raw, DATAGRAM_EVENTS, PACED_EVENTS_PER_S, "tcp", sink)
        out[f"at_200_k_events_a_second_{name}_share_of_a_core"] = round(paced["cpu_ns"] / paced["wall_ns"], 3)
    return out


def _udp(body: np.ndarray[Any, Any], engine: Callable[[], Engine]) -> dict[str, Any]:
    raw = np.resize(body, PACED_EVENTS_PER_S * PACED_S).tobytes()
    out: dict[str, Any] = {}
    for name, sink in (("before_the_book", _nothing), ("with_the_engine", engine().on_events)):
        paced = _cpu_ns(raw, DATAGRAM_EVENTS, PACED_EVENTS_PER_S, "udp", sink)
        out[f"{name}_share_of_a_core"] = round(paced["cpu_ns"] / paced["wall_ns"], 3)
        out[f"{name}_events_lost_share"] = round(paced["lost"] / (len(raw) // 64), 6)
        out[f"{name}_gaps"] = paced["gaps"]
    return out


def _cpu_ns(
    raw: bytes, events: int, events_per_s: int | None, transport: str, sink: Callable[[EventBuffer], None]
) -> dict[str, int]:
    """A publisher in a process of its own, a feed in this one: CPU time of this one from first event to last."""
    return uvloop.run(_measured(_frames(raw, events), events, events_per_s, transport, sink))


async def _measured(
    frames: Sequence[bytes],
    events: int,
    events_per_s: int | None,
    transport: str,
    sink: Callable[[EventBuffer], None],
) -> dict[str, int]:
    context = multiprocessing.get_context("spawn")
    ours, theirs = context.Pipe()
    if transport == "tcp":
        with socket.create_server(("127.0.0.1", 0)) as server:
            feed = _feed(transport, f"127.0.0.1:{server.getsockname()[1]}", sink)
            publisher = context.Process(
                target=_publish, args=(server, theirs, events, events_per_s), daemon=True
            )
            publisher.start()
            await feed.start()
    else:
        feed = _feed(transport, "127.0.0.1:0", sink)
        await feed.start()
        publisher = context.Process(
            target=_publish, args=(feed.address, theirs, events, events_per_s), daemon=True
        )
        publisher.start()
    try:
        ours.send_bytes(b"".join(frames))
        decoder = feed.decoder
        last = events * len(frames)
        while not decoder.frames:  # noqa: ASYNC110 (the publisher is another process)
            await asyncio.sleep(0.001)
        cpu_ns, wall_ns, before = time.process_time_ns(), time.perf_counter_ns(), decoder.events
        done_s = None
        while decoder.expected <= last and (done_s is None or time.monotonic() < done_s):
            await asyncio.sleep(0.01)
            if not publisher.is_alive() and done_s is None:
                done_s = time.monotonic() + 1.0  # what has not come now is lost
        cpu_ns, wall_ns = time.process_time_ns() - cpu_ns, time.perf_counter_ns() - wall_ns
        return {
            "cpu_ns": cpu_ns,
            "wall_ns": wall_ns,
            "lost": last - decoder.events,
            "gaps": decoder.gaps,
            "events": decoder.events - before,
        }
    finally:
        await feed.stop()
        publisher.join(5)


def _publish(to: Any, pipe: Any, events: int, events_per_s: int | None) -> None:
    """Send what the pipe brings; ``to``: a listening socket, or the address of a UDP port."""
    stream = memoryview(pipe.recv_bytes())
    size = 32 + 64 * events
    if isinstance(to, socket.socket):
        connection, _ = to.accept()
        with connection:
            if events_per_s is None:
                connection.sendall(stream)
            else:
                per_turn = size * max(1, round(events_per_s * TURN_S / events))
                _paced(stream, per_turn, per_turn // size * events / events_per_s, connection.sendall)
            connection.shutdown(socket.SHUT_WR)
            connection.recv(1)
        return
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as udp:
        udp.connect(to)
        per_turn = size * max(1, round((events_per_s or 0) * TURN_S / events))

        def send(turn: memoryview) -> None:
            for at in range(0, len(turn), size):
                udp.send(turn[at : at + size])

        _paced(stream, per_turn, per_turn // size * events / (events_per_s or 1), send)


def _paced(stream: memoryview, per_turn: int, turn_s: float, send: Callable[[memoryview], Any]) -> None:
    due = time.perf_counter()
    for at in range(0, len(stream), per_turn):
        send(stream[at : at + per_turn])
        due += turn_s
        wait_s = due - time.perf_counter()
        if wait_s > 0:
            time.sleep(wait_s)
