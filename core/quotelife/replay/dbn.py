"""Databento DBN files as recordings: ``.dbn``, ``.dbn.zst`` and fragments without metadata."""

from collections.abc import Iterator, Sequence
from pathlib import Path

from quotelife.config.schema import InstrumentSettings
from quotelife.errors import DecodeError, QuotelifeError
from quotelife.feed.dbn import DbnDecoder
from quotelife.feed.dbn_layout import Metadata, metadata_bytes, parse_metadata
from quotelife.feed.unpack import chunks
from quotelife.instruments import Instrument, InstrumentTable
from quotelife.records import EventBuffer
from quotelife.replay.files import FileMessage, fault, named_instrument

BUFFER_EVENTS = 4096


def is_dbn(path: Path) -> bool:
    """Told by the first bytes, for a fragment by the name."""
    if ".dbn" in path.name or path.suffix == ".dbz":
        return True
    if not path.is_file():
        return False
    with path.open("rb") as file:
        return file.read(3) == b"DBN"


def read_metadata(path: Path) -> Metadata | None:
    """``None`` for a fragment. Raises ``DecodeError``."""
    data = b""
    try:
        for chunk in chunks(path):
            data += chunk
            if len(data) >= 8 and len(data) >= (size := metadata_bytes(data[:8])):
                return parse_metadata(data[:size]) if size else None
    except DecodeError as error:
        raise error if str(error).startswith(str(path)) else fault(path, error) from None
    raise DecodeError(f"{path}: the file ends inside its metadata; fetch it again")


def venue_of(dataset: str) -> str:
    """A dataset as a venue is written: GLBX.MDP3 is glbx-mdp3."""
    return dataset.lower().replace(".", "-")


class DbnRecording:
    """One DBN file and the instruments whose records are read from it."""

    lag_ns = 0
    left_out_trades = 0

    def __init__(self, path: Path, instruments: Sequence[Instrument]) -> None:
        self.path = path
        self.instruments = list(instruments)
        self.buffer = EventBuffer(BUFFER_EVENTS)

    @classmethod
    def find(cls, argument: str, table: InstrumentTable) -> "DbnRecording":
        """``INSTRUMENT=PATH``, or a path to a file that names symbols of instruments whose venue is its dataset.

        Raises ``QuotelifeError`` when no instrument fits, ``DecodeError`` on a file that is no DBN.
        """
        path, instrument = named_instrument(argument, table)
        metadata = read_metadata(path)
        if instrument is not None:
            return cls(path, [instrument])
        if metadata is None:
            raise QuotelifeError(f"{path}: a fragment names no symbols; write INSTRUMENT={path}")
        venue, symbols = venue_of(metadata.dataset), {name for name, *_ in metadata.identities()}
        fitting = [i for i in table if i.venue == venue and (not symbols or i.symbol in symbols)]
        if not fitting:
            raise QuotelifeError(
                f"{path}: no instrument with venue {venue} and symbol {' or '.join(sorted(symbols)[:5])} in the "
                f"configuration; write INSTRUMENT={path}"
            )
        return cls(path, fitting)

    def messages(self, settings: Sequence[InstrumentSettings]) -> Iterator[FileMessage]:
        """See ``Recording``."""
        decoder = DbnDecoder(self.buffer)
        by_index = {instrument.index: instrument for instrument in self.instruments}
        metadata = read_metadata(self.path)
        named = {name for name, *_ in metadata.identities()} if metadata is not None else set()
        symbol = self.instruments[0].symbol
        if len(self.instruments) == 1 and named and symbol not in named and not symbol.isdigit():
            raise QuotelifeError(
                f"{self.path}: has {', '.join(sorted(named)[:5])}, not {symbol}, the symbol of "
                f"{self.instruments[0].name}"
            )
        for instrument in self.instruments:
            own = settings[instrument.index]
            try:
                decoder.add_instrument(
                    instrument.symbol,
                    instrument.index,
                    instrument.tick_size,
                    instrument.lot_size,
                    order_level=own.order_level,
                    quotes_only=own.quotes_only,
                )
            except ValueError as error:
                raise QuotelifeError(f"{self.path}: {error}") from None
        self.left_out_trades = 0
        try:
            for chunk in chunks(self.path):
                decoder.feed(chunk)
                while not decoder.starved:
                    if (
                        decoder.decode(1) or not decoder.starved
                    ):  # a message, or as much of one as there is room for
                        yield FileMessage(decoder.receive_ns, by_index[decoder.instrument])
                        self.buffer.clear()
                self.left_out_trades = decoder.unsided
            if len(self.buffer):
                yield FileMessage(decoder.receive_ns, by_index[decoder.instrument])
                self.buffer.clear()
            decoder.end()
            self.left_out_trades = decoder.unsided
        except DecodeError as error:
            raise error if str(error).startswith(str(self.path)) else fault(self.path, error) from None
