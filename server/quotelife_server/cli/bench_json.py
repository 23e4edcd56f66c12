"""``quotelife bench feeds``, the JSON venues: ns a message about the levels, beside orjson and float() in one run."""

import statistics
import time
from collections.abc import Callable, Iterable
from decimal import Decimal
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import orjson

from quotelife.feed.binance import BinanceDecoder
from quotelife.feed.coinbase import CoinbaseDecoder
from quotelife.feed.deribit import DeribitDecoder
from quotelife.feed.okx import OkxDecoder
from quotelife.feed.recorded import RecordedMessage, read_lines
from quotelife.feed.venue_decoder import VenueDecoder
from quotelife.records import EventBuffer
from quotelife.sim.binance_wire import BinanceWire
from quotelife.sim.market import MarketConfig, MarketSimulator
from quotelife.sim.streamed_wires import CoinbaseWire, DeribitWire, OkxWire, PublishedBook, StreamedWire
from quotelife.sim.updates import DepthUpdate

MESSAGES_MAX = 5_000
SIMULATED_S = 60
BUFFER_EVENTS = 131_072

Grids = dict[str, tuple[Decimal, Decimal]]
Levels = Iterable[tuple[Any, Any]]


class Venue(NamedTuple):
    """How the messages of one venue are had and read."""

    recording: str
    grids: Grids
    decoder: Callable[[EventBuffer], VenueDecoder]
    is_change: Callable[[bytes], bool]
    levels: Callable[[Any], Levels]
    """Prices and sizes of a parsed change, as the JSON has them."""


def _grid(tick: str, lot: str) -> tuple[Decimal, Decimal]:
    return Decimal(tick), Decimal(lot)


def _coinbase_levels(body: Any) -> Levels:
    return [
        (update["price_level"], update["new_quantity"])
        for event in body["events"]
        for update in event["updates"]
    ]


BTC_OPTION, ETH_OPTION = _grid("0.0005", "0.1"), _grid("0.0005", "1")
VENUES: dict[str, Venue] = {
    "binance": Venue(
        "binance/usdm/btcusdt_20240808.gz",
        {"BTCUSDT": _grid("0.1", "0.001")},
        partial(BinanceDecoder, "usdm"),
        lambda data: b'"depthUpdate"' in data,
        lambda body: body["data"]["b"] + body["data"]["a"],
    ),
    "deribit": Venue(
        "venues/DERIBIT.jsonl.zst",
        {
            "BTC-24SEP21-8000-P": BTC_OPTION,
            "BTC-31DEC21-34000-P": BTC_OPTION,
            "ETH-30JUL21-2800-C": ETH_OPTION,
        },
        DeribitDecoder,
        lambda data: b'"prev_change_id"' in data,
        lambda body: [
            (price, amount) for side in ("bids", "asks") for _, price, amount in body["params"]["data"][side]
        ],
    ),
    "coinbase": Venue(
        "venues/COINBASE.jsonl.zst",
        dict.fromkeys(("BTC-USD", "ETH-USD"), _grid("0.01", "0.00000001")),
        CoinbaseDecoder,
        lambda data: b'"l2_data"' in data[:24] and b'"update"' in data[:160],
        _coinbase_levels,
    ),
    "okx": Venue(
        "venues/OKX.jsonl.zst",
        {
            "BTC-USD-220527": _grid("0.1", "1"),
            "UNI-USD-SWAP": _grid("0.001", "1"),
            "BTC-USDT": _grid("0.1", "0.00000001"),
        },
        OkxDecoder,
        lambda data: b'"action":"update"' in data[:120],
        lambda body: [level[:2] for side in ("bids", "asks") for level in body["data"][0][side]],
    ),
}


def bench_json(venue: str, data: Path | None, rounds: int) -> dict[str, Any]:
    """Figures of one venue; ``data``: folder of recordings, ``None``: simulated messages.

    ``ns_per_message`` is the decoder with its checks, sequence numbers and checksums, on the changes of books alone.
    """
    wanted = VENUES[venue]
    path = None if data is None else data / wanted.recording
    if path is not None and path.is_file():
        messages: list[RecordedMessage] = []
        for message in read_lines(path):
            if wanted.is_change(message.data) or len(messages) < MESSAGES_MAX:
                messages.append(message)
            if len(messages) >= 4 * MESSAGES_MAX:
                break
        grids, source = wanted.grids, wanted.recording
    else:
        messages, grids = _simulated(venue)
        source = f"simulated, {SIMULATED_S} s"
    changes = [message.data for message in messages if wanted.is_change(message.data)]
    if not changes:
        return {"source": source, "messages": 0}
    ours, theirs = [], []
    for _ in range(rounds):
        ours.append(_decoded(wanted, grids, messages) / len(changes))
        theirs.append(_parsed(wanted, changes) / len(changes))
    levels = sum(len(list(wanted.levels(orjson.loads(change)))) for change in changes)
    mine, other = statistics.median(ours), statistics.median(theirs)
    return {
        "source": source,
        "messages": len(changes),
        "levels_per_message": round(levels / len(changes), 1),
        "bytes_per_message": round(sum(map(len, changes)) / len(changes)),
        "ns_per_message": round(mine),
        "orjson_and_float_ns_per_message": round(other),
        "ratio_to_orjson_and_float": round(mine / other, 4),
    }


def _decoded(venue: Venue, grids: Grids, messages: list[RecordedMessage]) -> int:
    """Nanoseconds for the changes alone; what stands between them is decoded beside the clock."""
    buffer = EventBuffer(BUFFER_EVENTS)
    decoder = venue.decoder(buffer)
    for index, (symbol, (tick, lot)) in enumerate(grids.items()):
        decoder.add_instrument(symbol, index, tick, lot)
    took = 0
    run: list[bytes] = []

    def timed() -> int:
        message = decoder.message
        clear = buffer.clear
        started = time.process_time_ns()
        for data in run:
            message(data, 1)
            clear()
        spent = time.process_time_ns() - started
        run.clear()
        return spent

    for message in messages:
        if venue.is_change(message.data):
            run.append(message.data)
            continue
        took += timed()
        if message.is_snapshot and isinstance(decoder, BinanceDecoder):
            decoder.snapshot(next(iter(grids)), message.data, 1)
        else:
            decoder.message(message.data, 1)
        buffer.clear()
    return took + timed()


def _parsed(venue: Venue, changes: list[bytes]) -> int:
    """Nanoseconds for a general parser and floats, which a feed handler in plain Python would take at least."""
    loads = orjson.loads
    levels = venue.levels
    started = time.process_time_ns()
    for data in changes:
        [(float(price), float(size)) for price, size in levels(loads(data))]
    return time.process_time_ns() - started


def _simulated(venue: str) -> tuple[list[RecordedMessage], Grids]:
    """Books of the simulator in the wire of the venue, snapshots first."""
    config = MarketConfig()
    market = MarketSimulator(config, 1, 1_700_000_000_000_000_000)
    grids = {symbol.symbol: (symbol.tick_size, symbol.lot_size) for symbol in config.symbols}
    out: list[bytes] = []
    if venue == "binance":
        wire = BinanceWire(config)
        lines = []
        for update in market.run(SIMULATED_S):
            if isinstance(update, DepthUpdate) and update.symbol == 0:
                diff = wire.combined(wire.stream_of(update), wire.encode(update))
                lines.append(RecordedMessage(1, 0, diff, False))
                if len(lines) == 1:  # diffs first, then the snapshot they are spliced with
                    lines.append(RecordedMessage(1, 0, wire.snapshot(market.snapshot(0)), True))
        return lines, dict(list(grids.items())[:1])
    kinds: dict[str, Callable[[Any], StreamedWire]] = {
        "deribit": partial(DeribitWire, interval="100ms"),
        "coinbase": CoinbaseWire,
        "okx": OkxWire,
    }
    wires = [kinds[venue](symbol) for symbol in config.symbols]
    books = [PublishedBook(market.snapshot(i, 10_000)) for i in range(len(wires))]
    out += [wire.snapshot(book) for wire, book in zip(wires, books, strict=True)]
    for update in market.run(SIMULATED_S):
        if isinstance(update, DepthUpdate):
            books[update.symbol].apply(update)
            out.append(wires[update.symbol].change(books[update.symbol], update))
    if venue == "coinbase":
        out = [CoinbaseWire.numbered(payload, number) for number, payload in enumerate(out)]
    return [RecordedMessage(1, 0, payload, False) for payload in out], grids
