"""Which kind of recording a file is, by content and name, and all of them as one source."""

from collections.abc import Callable, Sequence
from pathlib import Path

from quotelife.errors import QuotelifeError
from quotelife.instruments import InstrumentTable
from quotelife.replay.bitstamp import BitstampRecording, is_bitstamp
from quotelife.replay.dbn import DbnRecording, is_dbn
from quotelife.replay.files import FileSource, Recording
from quotelife.replay.fx_ticks import FxTickRecording, is_fx_ticks
from quotelife.replay.lobster import LobsterRecording, is_lobster
from quotelife.replay.parquet import ParquetRecording, is_parquet
from quotelife.replay.recorded import RecordedSource, find_recording
from quotelife.replay.run import Source
from quotelife.replay.tardis import TardisRecording, is_tardis

Find = Callable[[str, InstrumentTable], Recording]
_FORMATS: tuple[tuple[Callable[[Path], bool], Find], ...] = (
    (is_dbn, DbnRecording.find),
    (is_parquet, ParquetRecording.find),
    (is_lobster, LobsterRecording.find),
    (is_tardis, TardisRecording.find),
    (is_bitstamp, BitstampRecording.find),
)


def open_recordings(arguments: Sequence[str], table: InstrumentTable, *, day: str | None = None) -> Source:
    """Recorded files, ``[INSTRUMENT=]PATH`` each, as one source.

    ``day`` (YYYY-MM-DD) is for files whose rows and names do not say it. What is none of the known formats is read as
    a capture of Binance messages. Raises ``QuotelifeError`` naming the file and what is wrong with it.
    """
    recordings: list[Recording] = []
    messages: list[str] = []
    for argument in arguments:
        path = Path(argument.rpartition("=")[2])
        find = next((find for fits, find in _FORMATS if fits(path)), None)
        if find is not None:
            recordings.append(find(argument, table))
        elif is_fx_ticks(path):
            recordings.append(FxTickRecording.find(argument, table, day))
        else:
            messages.append(argument)
    if messages and recordings:
        raise QuotelifeError(
            f"{messages[0]}: captures of Binance messages and other files do not go into one replay"
        )
    if messages:
        return RecordedSource([find_recording(argument, table) for argument in messages])
    return FileSource(recordings)
