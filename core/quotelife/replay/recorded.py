"""Recordings of venues as a source of a replay: the live decoder, and the book held against the venue.

Whenever a depth message and a bookTicker carry the same update id, best prices and sizes of the depth levels must
equal the ticker's.
"""

import re
from collections import OrderedDict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from quotelife.engine import Engine
from quotelife.errors import DecodeError, QuotelifeError
from quotelife.feed.binance import BinanceDecoder
from quotelife.feed.recorded import RecordedMessage, merge_recorded
from quotelife.instruments import Instrument, InstrumentTable
from quotelife.records import EventBuffer, EventKindCode
from quotelife.replay.files import named_instrument
from quotelife.replay.run import ReplayReport, SourceReport

PENDING_MAX = 65536
MARKETS = ("spot", "usdm", "coinm")
_STEM = re.compile(r"([A-Za-z0-9]+?(?:_perp|_\d{6})?)(?:[_.-].*)?")


@dataclass(frozen=True, slots=True)
class RecordedFile:
    """One recorded file and the instrument it belongs to. ``market`` is spot, usdm or coinm."""

    path: Path
    instrument: Instrument
    market: str


def find_recording(argument: str, table: InstrumentTable) -> RecordedFile:
    """``INSTRUMENT=PATH``, or a path whose folder names the market and whose file name starts with the symbol.

    Raises ``QuotelifeError`` naming what could not be found.
    """
    path, given = named_instrument(argument, table)
    if given is not None:
        venue, _, market = given.venue.partition("-")
        if venue != "binance" or market not in MARKETS:
            raise QuotelifeError(
                f"{path}: holds Binance messages, and the venue of {given.name} is {given.venue}; it must be one of "
                f"{', '.join(f'binance-{each}' for each in MARKETS)}"
            )
        return RecordedFile(path, given, market)
    market = path.resolve().parent.name
    match = _STEM.fullmatch(path.name)
    symbol = match[1].upper() if match else ""
    for instrument in table:
        if instrument.venue == f"binance-{market}" and instrument.symbol.upper() == symbol:
            return RecordedFile(path, instrument, market)
    raise QuotelifeError(
        f"{path}: no instrument with venue binance-{market} and symbol {symbol} in the configuration; "
        f"write INSTRUMENT={path}"
    )


class _Oracle:
    """Pairs depth tops and tickers by update id, whichever comes first."""

    def __init__(self, report: SourceReport) -> None:
        self._report = report
        self._tops: OrderedDict[int, tuple[int, ...]] = OrderedDict()
        self._tickers: OrderedDict[int, tuple[int, ...]] = OrderedDict()

    def _compare(self, update_id: int, top: tuple[int, ...], ticker: tuple[int, ...]) -> None:
        self._report.checked += 1
        if top == ticker:
            self._report.equal += 1
        elif len(self._report.mismatches) < 20:
            self._report.mismatches.append(f"update {update_id}: book {top}, ticker {ticker}")

    def top(self, update_id: int, top: tuple[int, ...]) -> None:
        ticker = self._tickers.get(update_id)
        if ticker is not None:
            self._compare(update_id, top, ticker)
        self._remember(self._tops, update_id, top)

    def ticker(self, update_id: int, ticker: tuple[int, ...]) -> None:
        if update_id in self._tickers:
            return
        top = self._tops.get(update_id)
        if top is not None:
            self._compare(update_id, top, ticker)
        self._remember(self._tickers, update_id, ticker)

    @staticmethod
    def _remember(store: OrderedDict[int, tuple[int, ...]], key: int, value: tuple[int, ...]) -> None:
        store[key] = value
        if len(store) > PENDING_MAX:
            store.popitem(last=False)


class RecordedSource:
    """Recorded Binance files, merged by their local stamps."""

    def __init__(self, files: Sequence[RecordedFile]) -> None:
        if not files:
            raise QuotelifeError("nothing to replay: name at least one recorded file")
        self.instruments = list({file.instrument.index: file.instrument for file in files}.values())
        self._files = list(files)
        self._buffer = EventBuffer(65536)
        self._decoders: dict[str, BinanceDecoder] = {}
        known = set()
        for file in files:
            if file.market not in self._decoders:
                self._decoders[file.market] = BinanceDecoder(file.market, self._buffer)
            each = file.instrument
            if each.index not in known:
                known.add(each.index)
                self._decoders[file.market].add_instrument(
                    each.symbol, each.index, each.tick_size, each.lot_size
                )

    def steps(self, engine: Engine, report: ReplayReport) -> Iterator[int]:
        """One recorded line a step."""
        oracles = {i.name: _Oracle(report.sources[i.name]) for i in self.instruments}
        for message in self._messages():
            yield message.receive_ns
            file = self._files[message.file]
            entry = report.sources[file.instrument.name]
            entry.refused += not self._decode(message)
            engine.on_events(self._buffer)
            entry.lines += 1
            if len(self._buffer):
                self._hold_against_venue(engine, file.instrument.index, oracles[file.instrument.name])

    def batches(self) -> Iterator[EventBuffer]:
        """The events of one recorded line at a time, good until the next: for tools that have an engine already."""
        for message in self._messages():
            self._decode(message)
            yield self._buffer

    def _messages(self) -> Iterator[RecordedMessage]:
        return merge_recorded([file.path for file in self._files])

    def _decode(self, message: RecordedMessage) -> bool:
        """Fill the buffer; False when the line was refused."""
        file = self._files[message.file]
        decoder = self._decoders[file.market]
        self._buffer.clear()
        try:
            if message.is_snapshot:
                decoder.snapshot(file.instrument.symbol, message.data, message.receive_ns)
            else:
                decoder.message(message.data, message.receive_ns)
        except DecodeError:
            return False
        return True

    def _hold_against_venue(self, engine: Engine, index: int, oracle: _Oracle) -> None:
        last = self._buffer.array()[-1]
        kind = int(last["kind"])
        if kind == EventKindCode.LEVEL:
            sequence, *top = engine.level_top(index)
            if sequence:
                oracle.top(sequence, tuple(top))
        elif kind == EventKindCode.QUOTE:
            oracle.ticker(
                int(last["sequence"]),
                (int(last["price_ticks"]), int(last["size_lots"]), int(last["order_id"]), int(last["aux"])),
            )
