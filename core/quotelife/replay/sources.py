"""Recorded files of whatever kind as one source: plain recordings, ITCH days, sessions."""

from collections.abc import Sequence

from quotelife.errors import QuotelifeError
from quotelife.feed.itch_files import is_itch
from quotelife.instruments import InstrumentTable
from quotelife.replay.files import split_argument
from quotelife.replay.itch import ItchSource, find_itch
from quotelife.replay.recordings import open_recordings
from quotelife.replay.run import Source
from quotelife.replay.session import SessionSource, find_session, is_session


class SourcesError(QuotelifeError):
    """These sources do not go into one replay."""


def open_files(arguments: Sequence[str], table: InstrumentTable, *, day: str | None = None) -> Source:
    """``[INSTRUMENT=]PATH`` each, a session ``[VENUE=]PATH``; ``day`` as in ``open_recordings``.

    Raises ``SourcesError`` where they do not go together, ``QuotelifeError`` naming what could not be found or read.
    """
    paths = [split_argument(argument)[1] for argument in arguments]
    itch = [is_itch(path) for path in paths]
    if all(itch):
        return ItchSource(find_itch(arguments, table, day=day))
    if any(itch):
        raise SourcesError("ITCH files and other recordings do not go into one replay")
    if any(is_session(path) for path in paths):
        if len(arguments) > 1:
            raise SourcesError("one recorded session at a time, and no other recordings beside it")
        return SessionSource(find_session(arguments[0], table))
    return open_recordings(arguments, table, day=day)
