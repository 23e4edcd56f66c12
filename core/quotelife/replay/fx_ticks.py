"""FX tick files as recordings; the day is in the file's name or given."""

import re
from collections.abc import Iterator, Sequence
from pathlib import Path

from quotelife.config.schema import InstrumentSettings
from quotelife.errors import DecodeError, QuotelifeError
from quotelife.feed.fx_ticks import FxTickDecoder, midnight_of
from quotelife.feed.unpack import lines
from quotelife.instruments import Instrument, InstrumentTable
from quotelife.records import EventBuffer
from quotelife.replay.files import MESSAGE_EVENTS, FileMessage, fault, find_instrument, named_instrument

VENUE = "fx"
_SYMBOL = re.compile(r"(?:\d{8}[_-])?([A-Za-z]{6})(?![A-Za-z])")


class FxTickRecording:
    """One day of one pair."""

    lag_ns = 0
    left_out_trades = 0

    def __init__(self, path: Path, instrument: Instrument, midnight_ns: int) -> None:
        self.path = path
        self.instruments = [instrument]
        self.buffer = EventBuffer(MESSAGE_EVENTS)
        self._midnight_ns = midnight_ns

    @classmethod
    def find(cls, argument: str, table: InstrumentTable, day: str | None = None) -> "FxTickRecording":
        """``INSTRUMENT=PATH``, or a path whose name begins with the symbol of an instrument with venue fx.

        ``day`` (YYYY-MM-DD) stands in for the one in the file's name. Raises ``QuotelifeError`` naming what is missing.
        """
        path, instrument = named_instrument(argument, table)
        midnight_ns = midnight_of(day if day is not None else path.name)
        if midnight_ns is None:
            where = "the file's name" if day is None else f"--date {day}"
            raise QuotelifeError(f"{path}: no day in {where}; give --date YYYY-MM-DD")
        if instrument is None:
            match = _SYMBOL.match(path.name)
            if match is None:
                raise QuotelifeError(f"{path}: the name begins with no symbol; write INSTRUMENT={path}")
            instrument = find_instrument(path, table, VENUE, match[1].upper())
        return cls(path, instrument, midnight_ns)

    def messages(self, settings: Sequence[InstrumentSettings]) -> Iterator[FileMessage]:
        """See ``Recording``."""
        instrument = self.instruments[0]
        if not settings[instrument.index].quotes_only:
            raise QuotelifeError(
                f"{instrument.name}: the file holds best prices only; set quotes_only: true for it"
            )
        decoder = FxTickDecoder(
            self.buffer,
            instrument=instrument.index,
            tick_size=instrument.tick_size,
            midnight_ns=self._midnight_ns,
        )
        for line in lines(self.path):
            self.buffer.clear()
            try:
                t = decoder.message(line)
            except DecodeError as error:
                raise fault(self.path, error) from None
            yield FileMessage(t, instrument)
