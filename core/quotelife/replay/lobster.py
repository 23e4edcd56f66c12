"""LOBSTER recordings as a source of a replay: order by order, the book held against the published row each time."""

import heapq
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

from quotelife.engine import Engine
from quotelife.errors import DecodeError, QuotelifeError
from quotelife.feed.lobster import LobsterDecoder, LobsterFiles, parse_book, parse_message
from quotelife.instruments import Instrument, InstrumentTable
from quotelife.records import EventBuffer
from quotelife.replay.run import ReplayReport

MESSAGE_EVENTS_MAX = 4096


class LobsterRecording(NamedTuple):
    """One recording and the order-level instrument it belongs to."""

    files: LobsterFiles
    instrument: Instrument


def is_lobster(path: Path) -> bool:
    """Whether the name is one that LOBSTER gives: a zip, or a message file."""
    return path.suffix == ".zip" or (path.suffix == ".csv" and "_message_" in path.name)


def find_lobster(argument: str, table: InstrumentTable) -> LobsterRecording:
    """``INSTRUMENT=PATH``, or a path to a recording of the symbol of an instrument with venue ``nasdaq``.

    Raises ``QuotelifeError`` naming what could not be found.
    """
    name, given, rest = argument.partition("=")
    path = Path(rest if given else argument)
    if not path.is_file():
        raise QuotelifeError(f"{path}: no such file")
    files = LobsterFiles.find(path)
    if given:
        instrument = table.get(name)
        if instrument is None:
            raise QuotelifeError(f"{name}: no such instrument in the configuration")
        return LobsterRecording(files, instrument)
    for instrument in table:
        if instrument.venue == "nasdaq" and instrument.symbol == files.symbol:
            return LobsterRecording(files, instrument)
    raise QuotelifeError(
        f"{path}: no instrument with venue nasdaq and symbol {files.symbol} in the configuration; "
        f"write INSTRUMENT={path}"
    )


class LobsterSource:
    """LOBSTER recordings, merged by time. Raises ``QuotelifeError`` when an instrument is not ``order_level``."""

    def __init__(self, recordings: Sequence[LobsterRecording]) -> None:
        self.instruments = [recording.instrument for recording in recordings]
        if len({instrument.index for instrument in self.instruments}) < len(recordings):
            raise QuotelifeError("one recording an instrument: a second one would start its book anew")
        self._recordings = list(recordings)
        self._buffer = EventBuffer(MESSAGE_EVENTS_MAX)

    def steps(self, engine: Engine, report: ReplayReport) -> Iterator[int]:
        """One row a step. A row that cannot be decoded is a ``DecodeError`` naming file and row."""
        for instrument in self.instruments:
            if not engine.config.instruments[instrument.index].order_level:
                raise QuotelifeError(
                    f"{instrument.name}: LOBSTER holds single orders; set order_level: true for it"
                )
        decoders = [
            LobsterDecoder(
                self._buffer,
                instrument=recording.instrument.index,
                tick_size=recording.instrument.tick_size,
                lot_size=recording.instrument.lot_size,
                midnight_ns=recording.files.midnight_ns,
            )
            for recording in self._recordings
        ]
        for t, _, place, line, book in heapq.merge(*map(self._rows, range(len(decoders)))):
            yield t
            instrument = self.instruments[place]
            entry = report.sources[instrument.name]
            self._buffer.clear()
            try:
                decoders[place].message(line, book)
            except DecodeError as error:
                raise DecodeError(f"{self._recordings[place].files.path}: {error}") from None
            engine.on_events(self._buffer)
            entry.lines += 1
            entry.checked += 1
            if self._top(engine, instrument) == _best(book, instrument):
                entry.equal += 1
            elif len(entry.mismatches) < 20:
                entry.mismatches.append(
                    f"row {entry.lines}: book {self._top(engine, instrument)}, published {_best(book, instrument)}"
                )

    def _rows(self, place: int) -> Iterator[tuple[int, int, int, bytes, bytes]]:
        files = self._recordings[place].files
        for row, (line, book) in enumerate(files.lines(), start=1):
            try:
                t = files.midnight_ns + parse_message(line).since_midnight_ns
            except ValueError as error:
                raise DecodeError(f"{files.path}: row {row}: {error}") from None
            yield t, row, place, line, book

    @staticmethod
    def _top(engine: Engine, instrument: Instrument) -> tuple[int, ...]:
        return tuple(engine.level_top(instrument.index)[1:])


def _best(book: bytes, instrument: Instrument) -> tuple[int, ...]:
    """(bid ticks, bid lots, ask ticks, ask lots) of a published row; 0 for a side that is empty."""
    out: list[int] = []
    for side in parse_book(book):
        price, size = next(iter(side.items()), (0, 0))
        out += (int(price / (instrument.tick_size * 10_000)), int(size / instrument.lot_size))
    return tuple(out)
