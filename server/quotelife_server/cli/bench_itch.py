"""The ITCH part of ``quotelife bench feeds``: decoder and book against plain C, and 200,000 messages a second live."""

import asyncio
import itertools
import multiprocessing
import os
import socket
import statistics
import time
from collections.abc import Callable
from decimal import Decimal
from pathlib import Path
from typing import Any

import numpy as np
import structlog
import uvloop

from quotelife.bench import time_itch, time_itch_reference
from quotelife.clock import Clock
from quotelife.feed.itch import ItchDecoder
from quotelife.instruments import Instrument
from quotelife.records import EventBuffer
from quotelife.sim.itch_wire import ItchEncoder, ItchMarket, ItchSymbol, framed
from quotelife.units import NS_PER_S
from quotelife_server.cli.bench_book import order_engine, recorded_orders
from quotelife_server.cli.bench_itch_venue import PACED_PER_S, kept_of, send_datagrams, send_stream
from quotelife_server.feeds.itch import MoldFeed, SoupFeed
from quotelife_server.feeds.settings import ItchFeedConfig

SYMBOLS = 4
SIMULATED = 200_000
WARM_SHARE = 0.25
OPEN_NS = 34_200 * NS_PER_S
PACED_S = 5.0
DROPPED_SHARES = (0.0001, 0.001)
BOTH_LINES_PER_S = 100_000


def bench_itch(data: Path | None, rounds: int) -> dict[str, Any]:
    folder = data or (Path(os.environ["QUOTELIFE_DATA"]) if "QUOTELIFE_DATA" in os.environ else None)
    simulated = ItchMarket([ItchSymbol(f"S{i}") for i in range(SYMBOLS)], midnight_ns=0, start_ns=OPEN_NS)
    messages = simulated.opening + simulated.advance(SIMULATED)
    out: dict[str, Any] = {"simulated": _decoded(messages, SYMBOLS, rounds)}
    if folder is not None:
        out["recorded"] = _decoded(_recorded(folder), 1, rounds)
    for name, engine in (("before_the_book", False), ("with_books", True)):
        out[f"udp_one_message_a_datagram_at_200_k_a_second_{name}"] = uvloop.run(_udp(messages, engine))
        out[f"tcp_at_200_k_a_second_{name}"] = uvloop.run(_tcp(messages, engine))
    for share in DROPPED_SHARES:
        out[f"udp_at_200_k_a_second_with_{share:.2%}_dropped_by_the_sender"] = uvloop.run(
            _udp(messages, True, dropped=share, truth=simulated.encoder)
        )
    out["udp_two_lines_at_100_k_a_second_with_1_%_dropped_on_each"] = uvloop.run(
        _udp(messages, True, dropped=0.01, lines=2, per_s=BOTH_LINES_PER_S, truth=simulated.encoder)
    )
    return out


def _recorded(folder: Path) -> list[bytes]:
    """An hour of AAPL as the ITCH messages that would have told it, as S0."""
    tape = recorded_orders(folder)
    encoder = ItchEncoder([ItchSymbol("S0")])
    return [*encoder.opening(OPEN_NS), *encoder.encode(tape)]


def _decoded(messages: list[bytes], symbols: int, rounds: int) -> dict[str, Any]:
    """In process: the decoder alone, with a book for each symbol and its view, and plain C over the same bytes."""
    stream = framed(messages)
    warm = int(WARM_SHARE * len(messages))
    decoder = ItchDecoder(
        EventBuffer(4096), [(f"S{i}", i, Decimal("0.01"), Decimal(1)) for i in range(symbols)]
    )
    times: dict[str, list[float]] = {}
    checksums = set()
    for _ in range(rounds):
        for name, (ns, n, checksum) in (
            ("reference", time_itch_reference(stream, symbols, 100, warm=warm)),
            ("dense_ladder", time_itch_reference(stream, symbols, 100, warm=warm, dense=True)),
            ("decode_and_book", time_itch(decoder, stream, warm=warm)),
        ):
            times.setdefault(name, []).append(ns / n)
            checksums.add(checksum)
        ns, n, _ = time_itch(decoder, stream, book=False, warm=warm)
        times.setdefault("decode", []).append(ns / n)
    medians = {name: statistics.median(values) for name, values in times.items()}
    out: dict[str, Any] = {f"{name}_ns_per_message": round(value, 1) for name, value in medians.items()}
    for name in ("decode", "decode_and_book"):
        ratios = (a / b for a, b in zip(times[name], times["reference"], strict=True))
        out[f"{name}_ratio_to_reference"] = round(statistics.median(ratios), 2)
    out["messages"] = len(messages)
    out["best_prices_equal_to_reference"] = len(checksums) == 1
    return out


# --- over sockets -------------------------------------------------------------------------------------------


class _Clock(Clock):
    def now_ns(self) -> int:
        return time.time_ns()


def _quiet(logger: Any, name: str, event: Any) -> Any:
    raise structlog.DropEvent


def _nothing(buffer: EventBuffer) -> None:
    pass


def _feed(made: type[Any], sink: Callable[[EventBuffer], None], **fields: Any) -> Any:
    config = ItchFeedConfig.model_validate(
        {
            "kind": "itch",
            "name": "bench",
            "instruments": tuple(f"S{i}" for i in range(SYMBOLS)),
            "silence": "30s",
        }
        | fields
    )
    instruments = [
        Instrument(i, f"S{i}", "bench", f"S{i}", Decimal("0.01"), Decimal(1)) for i in range(SYMBOLS)
    ]
    logger = structlog.wrap_logger(None, [_quiet])
    return made(config, instruments, sink=sink, clock=_Clock(), logger=logger)


async def _udp(
    messages: list[bytes],
    engine: bool,
    *,
    dropped: float = 0.0,
    lines: int = 1,
    per_s: int = PACED_PER_S,
    truth: ItchEncoder | None = None,
) -> dict[str, Any]:
    """One message a datagram, from a process of its own that answers re-requests too.

    ``dropped``: share of each line's datagrams that the sender leaves out, so that there is something to recover.
    ``truth``: has the books that the messages lead to.
    """
    sent = (
        list(itertools.islice(itertools.cycle(messages), round(PACED_PER_S * PACED_S)))
        if not engine
        else messages
    )
    context = multiprocessing.get_context("spawn")
    ours, theirs = context.Pipe()
    answers = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    answers.bind(("127.0.0.1", 0))
    books = order_engine(SYMBOLS)
    feed = _feed(
        MoldFeed,
        books.on_events if engine else _nothing,
        transport="mold",
        line_a="127.0.0.1:0",
        line_b="127.0.0.1:0" if lines == 2 else None,
        rerequest=f"127.0.0.1:{answers.getsockname()[1]}",
    )
    await feed.start()
    venue = context.Process(
        target=send_datagrams, args=(feed.addresses, answers, theirs, dropped, per_s), daemon=True
    )
    venue.start()
    answers.close()
    try:
        await asyncio.to_thread(ours.send_bytes, framed(sent))
        measured: dict[str, Any] = await _measure(lambda: feed.mold.expected - 1, len(sent))
        tops = [tuple(books.level_top(i)[1:]) for i in range(SYMBOLS)]
        ours.send_bytes(b"")
        asked = await asyncio.to_thread(ours.recv)
    finally:
        await feed.stop()
        if venue.is_alive():
            venue.kill()
        venue.join(5)
    counters = feed.figures().counters
    kept = np.ones((lines, len(sent)), dtype=bool)
    for line in range(lines):
        kept[line] = kept_of(len(sent), dropped, line)
    arrived = sum(counters[f"packets_on_{line}"] for line in "ab") - counters["heartbeats"]
    out = measured | {
        "datagrams_sent": int(kept.sum()),
        "datagrams_lost_on_the_way": int(kept.sum()) - arrived,
        "loss_share_on_the_way": round(1 - arrived / int(kept.sum()), 6),
        "messages_dropped_on_every_line": int((~kept.any(axis=0)).sum()),
        "requests": counters["requests"],
        "messages_rerequested": asked,
        "messages_recovered": counters["messages_recovered"],
        "messages_lost_for_good": counters["messages_lost"],
        "kernel_drops": counters["kernel_drops"],
        "gaps_flagged": counters["gaps"],
        "datagrams_a_system_call": round(feed.ring.datagrams / max(1, feed.ring.calls), 1),
    }
    if truth is not None:
        out["books_equal"] = tops == [truth.best(i) for i in range(SYMBOLS)]
    return out


async def _tcp(messages: list[bytes], engine: bool) -> dict[str, Any]:
    sent = (
        list(itertools.islice(itertools.cycle(messages), round(PACED_PER_S * PACED_S)))
        if not engine
        else messages
    )
    context = multiprocessing.get_context("spawn")
    ours, theirs = context.Pipe()
    with socket.create_server(("127.0.0.1", 0)) as server:
        sink = order_engine(SYMBOLS).on_events if engine else _nothing
        feed = _feed(SoupFeed, sink, transport="soup", server=f"127.0.0.1:{server.getsockname()[1]}")
        venue = context.Process(target=send_stream, args=(server, theirs), daemon=True)
        venue.start()
    try:
        await asyncio.to_thread(ours.send_bytes, framed(sent))
        await feed.start()
        return await _measure(lambda: feed.soup.expected - 1, len(sent))
    finally:
        await feed.stop()
        ours.send_bytes(b"")
        venue.join(5)


async def _measure(told: Callable[[], int], last: int) -> dict[str, Any]:
    """Processor time of this process from the first message told to the last."""
    async with asyncio.timeout(60):
        while told() == 0:  # noqa: ASYNC110 (the venue is another process, and may die)
            await asyncio.sleep(0.001)
    before, cpu_ns, wall_ns = told(), time.process_time_ns(), time.perf_counter_ns()
    async with asyncio.timeout(60):
        while told() < last:  # noqa: ASYNC110
            await asyncio.sleep(0.01)
    cpu_ns, wall_ns = time.process_time_ns() - cpu_ns, time.perf_counter_ns() - wall_ns
    return {
        "messages_a_second": round((last - before) / wall_ns * NS_PER_S),
        "share_of_a_core": round(cpu_ns / wall_ns, 3),
        "cpu_ns_per_message": round(cpu_ns / (last - before)),
    }
