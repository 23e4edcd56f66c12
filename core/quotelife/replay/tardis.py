"""Tardis-style CSV files as recordings."""

from collections.abc import Iterator, Sequence
from itertools import groupby
from pathlib import Path

from quotelife.config.schema import InstrumentSettings
from quotelife.errors import DecodeError, QuotelifeError
from quotelife.feed.tardis import VENUES, TardisDecoder, TardisRow, parse_header
from quotelife.feed.unpack import lines
from quotelife.instruments import Instrument, InstrumentTable
from quotelife.records import EventBuffer
from quotelife.replay.files import FileMessage, fault, find_instrument, named_instrument, plain_symbol

MESSAGE_EVENTS = 65_536  # a snapshot is one message


class TardisRecording:
    """One file and one instrument of it."""

    lag_ns = 0
    left_out_trades = 0

    def __init__(self, path: Path, instrument: Instrument) -> None:
        self.path = path
        self.instruments = [instrument]
        self.buffer = EventBuffer(MESSAGE_EVENTS)

    @classmethod
    def find(cls, argument: str, table: InstrumentTable) -> "TardisRecording":
        """``INSTRUMENT=PATH``, or a path to a file whose first row names exchange and symbol of an instrument.

        Raises ``QuotelifeError`` when no instrument fits.
        """
        path, instrument = named_instrument(argument, table)
        if instrument is None:
            rows = lines(path)
            schema = parse_header(next(rows, b""))
            fields = next(rows, b"").decode("utf-8", "replace").strip().split(",")
            if schema is None or len(fields) != len(schema.place):
                raise QuotelifeError(f"{path}: no row in it names a symbol; write INSTRUMENT={path}")
            exchange = fields[schema.place["exchange"]]
            venue = VENUES.get(exchange, exchange)
            instrument = find_instrument(path, table, venue, fields[schema.place["symbol"]])
        return cls(path, instrument)

    def messages(self, settings: Sequence[InstrumentSettings]) -> Iterator[FileMessage]:
        """See ``Recording``. A row of another symbol is left out."""
        instrument = self.instruments[0]
        own = settings[instrument.index]
        if own.order_level:
            raise QuotelifeError(f"{instrument.name}: the file holds levels; set order_level: false for it")
        rows = lines(self.path)
        try:
            decoder = TardisDecoder(
                self.buffer,
                next(rows, b""),
                instrument=instrument.index,
                tick_size=instrument.tick_size,
                lot_size=instrument.lot_size,
                quotes_only=own.quotes_only,
            )
            if own.quotes_only and decoder.schema.kind == "incremental_book_L2":
                raise QuotelifeError(
                    f"{instrument.name}: the file holds levels; set quotes_only: false for it"
                )
            symbols: set[str] = set()
            seen = 0
            t = 0
            for _, group in groupby(self._ours(decoder, rows, symbols), key=_message_of):
                numbered = list(group)
                self.buffer.clear()
                t = numbered[0][1].receive_ns
                try:
                    decoder.message([row for _, row in numbered], numbered[0][0])
                except OverflowError:
                    raise DecodeError(
                        f"row {numbered[0][0]}: a message of more than {MESSAGE_EVENTS} rows"
                    ) from None
                seen += 1
                self.left_out_trades = decoder.unsided
                yield FileMessage(t, instrument, decoder.published)
            self.buffer.clear()
            if decoder.end():
                yield FileMessage(t, instrument)
        except DecodeError as error:
            raise error if str(error).startswith(str(self.path)) else fault(self.path, error) from None
        if not seen and symbols:
            raise QuotelifeError(
                f"{self.path}: has {', '.join(sorted(symbols)[:5])}, not {instrument.symbol}, the symbol of "
                f"{instrument.name}"
            )

    def _ours(
        self, decoder: TardisDecoder, rows: Iterator[bytes], symbols: set[str]
    ) -> Iterator[tuple[int, TardisRow]]:
        wanted = plain_symbol(self.instruments[0].symbol)
        ours: dict[str, bool] = {}
        for number, line in enumerate(rows, start=2):
            row = decoder.parse(line, number)
            if row.symbol not in ours:
                symbols.add(row.symbol)
                ours[row.symbol] = plain_symbol(row.symbol) == wanted
            if ours[row.symbol]:
                yield number, row


def _message_of(numbered: tuple[int, TardisRow]) -> tuple[int, bool]:
    return numbered[1].receive_ns, numbered[1].is_snapshot
