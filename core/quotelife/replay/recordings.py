"""Which kind of recording a file is, by content and name, and all of them as one source."""

from collections.abc import Callable, Sequence
from pathlib import Path

from quotelife.errors import QuotelifeError
from quotelife.feed.bitstamp import is_order_log
from quotelife.feed.fx_ticks import is_tick
from quotelife.feed.recorded import is_message
from quotelife.feed.tardis import parse_header
from quotelife.feed.unpack import first_line
from quotelife.instruments import InstrumentTable
from quotelife.replay.bitstamp import BitstampRecording
from quotelife.replay.dbn import DbnRecording, is_dbn
from quotelife.replay.files import FileSource, Recording, split_argument
from quotelife.replay.fx_ticks import FxTickRecording
from quotelife.replay.lobster import LobsterRecording, is_lobster
from quotelife.replay.parquet import ParquetRecording, is_parquet
from quotelife.replay.recorded import RecordedSource, find_recording
from quotelife.replay.run import Source
from quotelife.replay.tardis import TardisRecording

Find = Callable[[str, InstrumentTable], Recording]
_BY_NAME_OR_MAGIC: tuple[tuple[Callable[[Path], bool], Find], ...] = (
    (is_dbn, DbnRecording.find),
    (is_parquet, ParquetRecording.find),
    (is_lobster, LobsterRecording.find),
)


def open_recordings(arguments: Sequence[str], table: InstrumentTable, *, day: str | None = None) -> Source:
    """Recorded files, ``[INSTRUMENT=]PATH`` each, as one source.

    ``day`` (YYYY-MM-DD) is for files whose rows and names do not say it. Raises ``QuotelifeError`` naming the file and
    what is wrong with it.
    """
    recordings: list[Recording] = []
    messages: list[str] = []
    for argument in arguments:
        recording = _find(argument, table, day)
        if recording is None:
            messages.append(argument)
        else:
            recordings.append(recording)
    if messages and recordings:
        raise QuotelifeError(
            f"{messages[0]}: captures of Binance messages and other files do not go into one replay"
        )
    if messages:
        return RecordedSource([find_recording(argument, table) for argument in messages])
    return FileSource(recordings)


def _find(argument: str, table: InstrumentTable, day: str | None) -> Recording | None:
    """``None``: a capture of Binance messages."""
    path = split_argument(argument)[1]
    for fits, find in _BY_NAME_OR_MAGIC:
        if fits(path):
            return find(argument, table)
    line = first_line(path)
    if parse_header(line) is not None:
        return TardisRecording.find(argument, table)
    if is_order_log(line):
        return BitstampRecording.find(argument, table)
    if is_tick(line):
        return FxTickRecording.find(argument, table, day)
    if is_message(line):
        return None
    raise QuotelifeError(
        f"{path}: {f'no format known here begins with {line[:60]!r}' if line else 'the file is empty'}; "
        f"docs/recordings.md tells how each format is recognised"
    )
