"""LOBSTER recordings: order by order, the book held against the published row each time."""

from collections.abc import Iterator, Sequence
from pathlib import Path

from quotelife.config.schema import InstrumentSettings
from quotelife.errors import DecodeError, QuotelifeError
from quotelife.feed.lobster import LobsterDecoder, LobsterFiles, parse_book
from quotelife.instruments import Instrument, InstrumentTable
from quotelife.records import EventBuffer
from quotelife.replay.files import (
    MESSAGE_EVENTS,
    Best,
    FileMessage,
    fault,
    find_instrument,
    named_instrument,
)

VENUE = "nasdaq"


def is_lobster(path: Path) -> bool:
    """Whether the name is one that LOBSTER gives a message file, or a zip of one."""
    if "_message_" in path.name and path.suffix == ".csv":
        return True
    if path.suffix != ".zip" or not path.is_file():
        return False
    try:
        LobsterFiles.find(path)
    except DecodeError:
        return False
    return True


class LobsterRecording:
    """One recording of one order-level instrument."""

    lag_ns = 0
    left_out_trades = 0

    def __init__(self, files: LobsterFiles, instrument: Instrument) -> None:
        self.path = files.path
        self.instruments = [instrument]
        self.buffer = EventBuffer(MESSAGE_EVENTS)
        self._files = files

    @classmethod
    def find(cls, argument: str, table: InstrumentTable) -> "LobsterRecording":
        """``INSTRUMENT=PATH``, or a path to a recording of the symbol of an instrument with venue ``nasdaq``.

        Raises ``QuotelifeError`` naming what could not be found.
        """
        path, instrument = named_instrument(argument, table)
        files = LobsterFiles.find(path)
        return cls(files, instrument or find_instrument(path, table, VENUE, files.symbol))

    def messages(self, settings: Sequence[InstrumentSettings]) -> Iterator[FileMessage]:
        """One row a message; see ``Recording``."""
        instrument = self.instruments[0]
        if not settings[instrument.index].order_level:
            raise QuotelifeError(
                f"{instrument.name}: LOBSTER holds single orders; set order_level: true for it"
            )
        try:
            decoder = LobsterDecoder(
                self.buffer,
                instrument=instrument.index,
                tick_size=instrument.tick_size,
                lot_size=instrument.lot_size,
                midnight_ns=self._files.midnight_ns,
            )
            for line, book in self._files.lines():
                self.buffer.clear()
                yield FileMessage(decoder.message(line, book), instrument, _best(book, instrument))
        except DecodeError as error:
            raise error if str(error).startswith(str(self.path)) else fault(self.path, error) from None


def _best(book: bytes, instrument: Instrument) -> Best:
    bids, asks = (next(iter(side.items()), (0, 0)) for side in parse_book(book))
    tick, lot = instrument.tick_size * 10_000, instrument.lot_size
    return int(bids[0] / tick), int(bids[1] / lot), int(asks[0] / tick), int(asks[1] / lot)
