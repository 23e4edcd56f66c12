"""Recorded files of any format as one source: merged by receive stamp, held against what they publish themselves."""

import heapq
from collections import deque
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple, Protocol

from quotelife.config.schema import InstrumentSettings
from quotelife.engine import Engine
from quotelife.errors import DecodeError, QuotelifeError
from quotelife.instruments import Instrument, InstrumentTable
from quotelife.records import EventBuffer
from quotelife.replay.run import ReplayReport

MISMATCHES_KEPT = 20
MESSAGE_EVENTS = 4096
Best = tuple[int, int, int, int]
"""Bid ticks, bid lots, ask ticks, ask lots; 0 and 0 for a side that is empty."""


class FileMessage(NamedTuple):
    """One venue message, its events in the recording's buffer until the next is asked for."""

    receive_ns: int
    instrument: Instrument
    published: Best | None = None  # best prices and sizes as the file says they are after it
    refused: int = 0  # rows that said nothing that can be used


class Recording(Protocol):
    """One recorded file. ``lag_ns``: published best prices may be this old when they are written.

    ``left_out_trades``: trades so far that the file tells without an aggressor, and that are no input.
    """

    @property
    def path(self) -> Path: ...
    @property
    def instruments(self) -> Sequence[Instrument]: ...
    @property
    def buffer(self) -> EventBuffer: ...
    @property
    def lag_ns(self) -> int: ...
    @property
    def left_out_trades(self) -> int: ...
    def messages(self, settings: Sequence[InstrumentSettings]) -> Iterator[FileMessage]:
        """In order of the file. Raises ``QuotelifeError`` when an instrument is not set up for the format,
        ``DecodeError`` naming file and place on what cannot be read."""


def split_argument(argument: str) -> tuple[str | None, Path]:
    """``[NAME=]PATH``; what is a file as it stands has no name. Raises ``QuotelifeError`` when there is none."""
    name, given, rest = argument.partition("=")
    named = bool(given) and not Path(argument).is_file()
    path = Path(rest if named else argument)
    if not path.is_file():
        what = "is no recorded file; copy it to one" if path.exists() else "no such file"
        raise QuotelifeError(f"{path}: {what}")
    return name if named else None, path


def named_instrument(argument: str, table: InstrumentTable) -> tuple[Path, Instrument | None]:
    """``[INSTRUMENT=]PATH``. Raises ``QuotelifeError`` when there is no such file or no such instrument."""
    name, path = split_argument(argument)
    if name is None:
        return path, None
    instrument = table.get(name)
    if instrument is None:
        raise QuotelifeError(f"{name}: no such instrument in the configuration")
    return path, instrument


def find_instrument(path: Path, table: InstrumentTable, venue: str, symbol: str) -> Instrument:
    """The instrument of that venue and symbol (letters of either case, ``/-_.`` left out).

    Raises ``QuotelifeError`` when there is none.
    """
    for instrument in table:
        if instrument.venue == venue and plain_symbol(instrument.symbol) == plain_symbol(symbol):
            return instrument
    raise QuotelifeError(
        f"{path}: no instrument with venue {venue} and symbol {symbol} in the configuration; "
        f"write INSTRUMENT={path}"
    )


def plain_symbol(symbol: str) -> str:
    return "".join(c for c in symbol.upper() if c.isalnum())


class FileSource:
    """Recordings, merged by receive stamp; a stamp that steps back is merged at the latest before it.

    Where a file says what the best prices are, those of the book's levels are held against them. With a ``lag_ns``
    they may be those of any moment so long before.
    """

    def __init__(self, recordings: Sequence[Recording]) -> None:
        found = {i.index: i for recording in recordings for i in recording.instruments}
        self.instruments = list(found.values())
        self._recordings = list(recordings)

    def steps(self, engine: Engine, report: ReplayReport) -> Iterator[int]:
        """One venue message a step."""
        try:
            yield from self._steps(engine, report)
        finally:
            report.left_out_trades = sum(recording.left_out_trades for recording in self._recordings)

    def _steps(self, engine: Engine, report: ReplayReport) -> Iterator[int]:
        settings = engine.config.instruments
        held: dict[int, _History] = {}
        for recording in self._recordings:
            if recording.lag_ns:
                held |= {i.index: _History(recording.lag_ns) for i in recording.instruments}
        streams = [self._keyed(place, settings) for place in range(len(self._recordings))]
        for at, place, message in heapq.merge(*streams, key=lambda item: item[:2]):
            yield at
            index = message.instrument.index
            entry = report.sources[message.instrument.name]
            buffer = self._recordings[place].buffer
            if len(buffer):
                engine.on_events(buffer)
            entry.lines += 1
            entry.refused += message.refused
            history = held.get(index)
            if history is None and message.published is None:
                continue
            top: Best = engine.level_top(index)[1:]
            if history is not None:
                history.add(at, top)
            if message.published is not None:
                entry.checked += 1
                if message.published == top or (history is not None and message.published in history):
                    entry.equal += 1
                elif len(entry.mismatches) < MISMATCHES_KEPT:
                    entry.mismatches.append(
                        f"message {entry.lines}: book {top}, published {message.published}"
                    )

    def _keyed(
        self, place: int, settings: Sequence[InstrumentSettings]
    ) -> Iterator[tuple[int, int, FileMessage]]:
        latest = 0
        for message in self._recordings[place].messages(settings):
            latest = max(latest, message.receive_ns)
            yield latest, place, message


class _History:
    """Best prices of the last so many ns, and the ones that held when that time began."""

    def __init__(self, lag_ns: int) -> None:
        self._lag_ns = lag_ns
        self._tops: deque[tuple[int, Best]] = deque()

    def add(self, at: int, top: Best) -> None:
        if not self._tops or self._tops[-1][1] != top:
            self._tops.append((at, top))
        while len(self._tops) > 1 and self._tops[1][0] <= at - self._lag_ns:
            self._tops.popleft()

    def __contains__(self, top: object) -> bool:
        return any(top == other for _, other in self._tops)


def fault(path: Path, error: Exception) -> DecodeError:
    """The same error, with the file's name."""
    return DecodeError(f"{path}: {error}")
