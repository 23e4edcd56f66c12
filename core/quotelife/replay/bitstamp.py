"""Bitstamp's order log as a recording, held against the books that the exchange publishes in it."""

from collections.abc import Iterator, Sequence
from pathlib import Path

from quotelife.config.schema import InstrumentSettings
from quotelife.errors import DecodeError, QuotelifeError
from quotelife.feed.bitstamp import BitstampDecoder, parse_line
from quotelife.feed.unpack import lines
from quotelife.instruments import Instrument, InstrumentTable
from quotelife.records import EventBuffer
from quotelife.replay.files import MESSAGE_EVENTS, FileMessage, named_instrument
from quotelife.units import NS_PER_MS

LAG_NS = 100 * NS_PER_MS  # published books come so much later than the orders, at most


class BitstampRecording:
    """One order log of one instrument."""

    lag_ns = LAG_NS
    left_out_trades = 0

    def __init__(self, path: Path, instrument: Instrument) -> None:
        self.path = path
        self.instruments = [instrument]
        self.buffer = EventBuffer(MESSAGE_EVENTS)

    @classmethod
    def find(cls, argument: str, table: InstrumentTable) -> "BitstampRecording":
        """``INSTRUMENT=PATH``, or the path alone where one instrument has the venue bitstamp.

        Raises ``QuotelifeError`` when no instrument fits.
        """
        path, instrument = named_instrument(argument, table)
        if instrument is None:
            fitting = [i for i in table if i.venue == "bitstamp"]
            if len(fitting) != 1:
                raise QuotelifeError(
                    f"{path}: {len(fitting)} instruments with venue bitstamp in the configuration, and the log names "
                    f"no symbol; write INSTRUMENT={path}"
                )
            instrument = fitting[0]
        return cls(path, instrument)

    def messages(self, settings: Sequence[InstrumentSettings]) -> Iterator[FileMessage]:
        """See ``Recording``."""
        instrument = self.instruments[0]
        if not settings[instrument.index].order_level:
            raise QuotelifeError(
                f"{instrument.name}: the log holds single orders; set order_level: true for it"
            )
        decoder = BitstampDecoder(
            self.buffer,
            instrument=instrument.index,
            tick_size=instrument.tick_size,
            lot_size=instrument.lot_size,
        )
        for row, line in enumerate(lines(self.path), start=1):
            self.buffer.clear()
            try:
                parsed = parse_line(line)
                published = decoder.message(parsed)
            except (ValueError, DecodeError) as error:
                raise DecodeError(f"{self.path}: row {row}: {error}") from None
            yield FileMessage(parsed.receive_ns, instrument, published)
