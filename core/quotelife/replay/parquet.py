"""Parquet files of level rows and of trades as recordings (the CME set). pyarrow is needed only here."""

import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from quotelife.config.schema import InstrumentSettings
from quotelife.errors import DecodeError, QuotelifeError
from quotelife.feed.level_table import LevelTableDecoder, TradeTableDecoder
from quotelife.instruments import Instrument, InstrumentTable
from quotelife.records import EventBuffer
from quotelife.replay.files import MESSAGE_EVENTS, FileMessage, fault, find_instrument, named_instrument

VENUE = "cme"
BATCH = 8192
TIME = "transact_time"
_LEVEL = re.compile(r"(bid|offer)_(price|quantity)_(\d+)")
_TRADE = ("side", "price", "quantity")


def is_parquet(path: Path) -> bool:
    """Told by the first bytes."""
    if not path.is_file():
        return False
    with path.open("rb") as file:
        return file.read(4) == b"PAR1"


class ParquetRecording:
    """One file of quotes or of trades of one instrument."""

    lag_ns = 0
    left_out_trades = 0

    def __init__(self, path: Path, instrument: Instrument) -> None:
        self.path = path
        self.instruments = [instrument]
        self.buffer = EventBuffer(MESSAGE_EVENTS)

    @classmethod
    def find(cls, argument: str, table: InstrumentTable) -> "ParquetRecording":
        """``INSTRUMENT=PATH``, or a path whose name begins with the symbol of an instrument with venue cme.

        Raises ``QuotelifeError`` when no instrument fits.
        """
        path, instrument = named_instrument(argument, table)
        if instrument is None:
            instrument = find_instrument(path, table, VENUE, re.split(r"[_.]", path.name)[0].upper())
        return cls(path, instrument)

    def messages(self, settings: Sequence[InstrumentSettings]) -> Iterator[FileMessage]:
        """See ``Recording``."""
        own = settings[self.instruments[0].index]
        if own.order_level or own.quotes_only:
            raise QuotelifeError(
                f"{self.instruments[0].name}: the file holds levels; set order_level and quotes_only to false for it"
            )
        try:
            import pyarrow
            import pyarrow.parquet
        except ImportError:
            raise QuotelifeError(
                f"{self.path}: Parquet needs pyarrow; pip install 'quotelife[export]'"
            ) from None
        try:
            with pyarrow.parquet.ParquetFile(self.path) as file:
                names = set(file.schema_arrow.names)
                depth = 1 + max((int(m[3]) for name in names if (m := _LEVEL.fullmatch(name))), default=-1)
                if TIME in names and depth and all(m in names for m in _level_names(depth)):
                    yield from self._quotes(file, depth)
                elif TIME in names and all(name in names for name in _TRADE):
                    yield from self._trades(file)
                else:
                    raise DecodeError(
                        f"columns {', '.join(sorted(names))[:200]} are neither those of quotes ({TIME}, bid_price_0, "
                        f"bid_quantity_0, offer_price_0, offer_quantity_0, …) nor "
                        f"of trades ({TIME}, {', '.join(_TRADE)})"
                    )
        except (DecodeError, pyarrow.ArrowException, OSError) as error:
            raise fault(self.path, error) from None

    def _quotes(self, file: Any, depth: int) -> Iterator[FileMessage]:
        instrument = self.instruments[0]
        decoder = LevelTableDecoder(
            self.buffer,
            depth=depth,
            instrument=instrument.index,
            tick_size=instrument.tick_size,
            lot_size=instrument.lot_size,
        )
        names = _level_names(depth)
        for batch in file.iter_batches(BATCH, columns=[*names, TIME]):
            times = _times(batch)
            decoder.rows(times, {n: _floats(batch, n) for n in names})
            for at, t in enumerate(times.tolist()):
                self.buffer.clear()
                yield FileMessage(t, instrument, decoder.message(at))

    def _trades(self, file: Any) -> Iterator[FileMessage]:
        instrument = self.instruments[0]
        decoder = TradeTableDecoder(
            self.buffer,
            instrument=instrument.index,
            tick_size=instrument.tick_size,
            lot_size=instrument.lot_size,
        )
        for batch in file.iter_batches(BATCH, columns=[*_TRADE, TIME]):
            times = _times(batch)
            sides = batch.column("side").to_pylist()
            decoder.rows(times, sides, _floats(batch, "price"), _floats(batch, "quantity"))
            for at, t in enumerate(times.tolist()):
                self.buffer.clear()
                yield FileMessage(t, instrument, refused=not decoder.message(at))


def _level_names(depth: int) -> list[str]:
    return [
        f"{s}_{kind}_{k}" for s in ("bid", "offer") for kind in ("price", "quantity") for k in range(depth)
    ]


def _floats(batch: Any, name: str) -> Any:
    values = batch.column(name).to_numpy(zero_copy_only=False)
    if values.dtype.kind not in "iuf":
        raise DecodeError(f"{name} must be a number in every row, found {batch.column(name).type}")
    return values.astype(np.float64)


def _times(batch: Any) -> Any:
    values = batch.column(TIME).to_numpy(zero_copy_only=False)
    if values.dtype.kind != "M" or np.isnat(values).any():
        raise DecodeError(f"{TIME} must be a time in every row, found {values.dtype}")
    return values.astype("datetime64[ns]").astype(np.int64)
