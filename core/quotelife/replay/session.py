"""Recorded sessions of venues whose snapshots are streamed (Deribit, Coinbase, OKX) as a source of a replay.

Tickers in the recording are held against the book; tickers.py says how.
"""

from collections.abc import Iterator
from decimal import InvalidOperation
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from quotelife.engine import Engine
from quotelife.errors import DecodeError, QuotelifeError
from quotelife.feed.coinbase import CoinbaseDecoder
from quotelife.feed.deribit import DeribitDecoder
from quotelife.feed.okx import OkxDecoder
from quotelife.feed.recorded import SESSION_SUFFIXES, read_session
from quotelife.feed.streamed_decoder import StreamedDecoder
from quotelife.instruments import Instrument, InstrumentTable
from quotelife.records import EventBuffer, EventKindCode
from quotelife.replay.files import split_argument
from quotelife.replay.run import ReplayReport
from quotelife.replay.tickers import TickerCheck, best_of, read_tickers

DECODERS: dict[str, type[StreamedDecoder]] = {
    "deribit": DeribitDecoder,
    "coinbase": CoinbaseDecoder,
    "okx": OkxDecoder,
}
BOOK_KINDS = (EventKindCode.LEVEL, EventKindCode.SNAPSHOT_END)
MESSAGE_EVENTS_MAX = 262_144  # a Coinbase snapshot has some 50,000 levels


class Session(NamedTuple):
    """One recorded session and the instruments of its venue."""

    path: Path
    venue: str
    instruments: tuple[Instrument, ...]


def is_session(path: Path) -> bool:
    """Whether the name is that of a recorded session."""
    return path.name.endswith(SESSION_SUFFIXES)


def find_session(argument: str, table: InstrumentTable) -> Session:
    """``VENUE=PATH``, or a path whose file name starts with the venue; its instruments are those of that venue in the
    configuration.

    Raises ``QuotelifeError`` naming what could not be found.
    """
    name, path = split_argument(argument)
    said = path.name.lower() if name is None else name
    venue = next(
        (each for each in DECODERS if said == each or (name is None and said.startswith(each))), None
    )
    if venue is None:
        raise QuotelifeError(
            f"{path}: sessions of {', '.join(DECODERS)} are known, and {said!r} is none of them; write VENUE={path} if "
            f"it is one"
        )
    instruments = tuple(instrument for instrument in table if instrument.venue == venue)
    if not instruments:
        raise QuotelifeError(f"{path}: no instrument with venue {venue} in the configuration")
    return Session(path, venue, instruments)


class SessionSource:
    """One recorded session through the live decoder; greeks in it reach the engine as they do live."""

    def __init__(self, session: Session) -> None:
        self.instruments = list(session.instruments)
        self._path = session.path
        self._venue = session.venue
        self._by_symbol = {each.symbol: each for each in session.instruments}
        self._buffer = EventBuffer(MESSAGE_EVENTS_MAX)
        self._decoder = DECODERS[session.venue](self._buffer)
        for each in session.instruments:
            self._decoder.add_instrument(each.symbol, each.index, each.tick_size, each.lot_size)

    def steps(self, engine: Engine, report: ReplayReport) -> Iterator[int]:
        """One message a step."""
        checks = {each.index: TickerCheck(report.sources[each.name].tickers) for each in self.instruments}
        try:
            yield from self._steps(engine, report, checks)
        finally:
            for check in checks.values():
                check.finish()

    def _steps(self, engine: Engine, report: ReplayReport, checks: dict[int, TickerCheck]) -> Iterator[int]:
        names = {instrument.index: instrument.name for instrument in self.instruments}
        connected = False
        for message in read_session(self._path):
            yield message.receive_ns
            self._buffer.clear()
            if not connected:
                connected = True
                self._decoder.connected(message.receive_ns)
                engine.on_events(self._buffer)
                self._buffer.clear()
            refused = False
            try:
                self._decoder.message(message.data, message.receive_ns)
            except DecodeError:
                refused = True
            events = self._buffer.array()
            engine.on_events(self._buffer)
            for index in {int(index) for index in events["instrument"]}:
                entry = report.sources[names[index]]
                entry.lines += 1
                entry.refused += refused and bool((events["kind"] == EventKindCode.CLEAR).any())
                self._look(engine, index, events[events["instrument"] == index], checks[index])
            self._hold_against_tickers(message.data, report, checks)
            if isinstance(self._decoder, DeribitDecoder):
                for ticker in self._decoder.take_tickers():
                    engine.on_greeks(
                        ticker.instrument,
                        receive_ns=message.receive_ns,
                        source_ns=ticker.exchange_ns,
                        **ticker.pairs(),
                    )

    @staticmethod
    def _look(engine: Engine, index: int, events: npt.NDArray[Any], check: TickerCheck) -> None:
        """Tell the check what a message made of the book."""
        kinds = events["kind"]
        if (kinds == EventKindCode.CLEAR).any():
            check.forget()
            return
        changes = events[np.isin(kinds, BOOK_KINDS)]
        sequence, bid, bid_lots, ask, ask_lots = engine.level_top(index)
        if len(changes) and sequence:
            check.book(int(changes["exchange_ns"][-1]), (bid, bid_lots, ask, ask_lots))

    def _hold_against_tickers(
        self, data: bytes, report: ReplayReport, checks: dict[int, TickerCheck]
    ) -> None:
        try:
            for ticker in read_tickers(self._venue, data):
                instrument = self._by_symbol.get(ticker.symbol)
                if instrument is not None:
                    best = best_of(ticker, instrument)
                    checks[instrument.index].ticker(ticker.exchange_ns, best)
        except (DecodeError, InvalidOperation):
            report.unread_tickers += 1
