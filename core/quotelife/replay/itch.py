"""ITCH files as a source of a replay: any number of instruments from one day's file, and several days in turn."""

from collections import defaultdict
from collections.abc import Iterator, Sequence
from itertools import pairwise
from pathlib import Path
from typing import NamedTuple

import numpy as np

from quotelife.engine import Engine
from quotelife.errors import DecodeError, QuotelifeError
from quotelife.feed.itch import ItchDecoder
from quotelife.feed.itch_files import ItchFile
from quotelife.feed.unpack import chunks
from quotelife.instruments import Instrument, InstrumentTable
from quotelife.records import EventBuffer
from quotelife.replay.files import named_instrument
from quotelife.replay.run import ReplayReport

FIRST_MESSAGE = (b"\x00\x0cS", b"O")


class ItchRecording(NamedTuple):
    """A day's file and those of its instruments to take."""

    file: ItchFile
    instruments: tuple[Instrument, ...]


def find_itch(
    arguments: Sequence[str], table: InstrumentTable, *, day: str | None = None
) -> list[ItchRecording]:
    """``INSTRUMENT=PATH``, as often as there are instruments, or ``PATH`` for all with venue ``nasdaq``; by day.

    ``day`` (YYYY-MM-DD) stands in for the one in the file's name.

    Raises ``QuotelifeError`` naming what could not be found.
    """
    wanted: dict[Path, dict[int, Instrument]] = defaultdict(dict)
    for argument in arguments:
        path, instrument = named_instrument(argument, table)
        if instrument is not None:
            wanted[path][instrument.index] = instrument
        else:
            wanted[path] |= {each.index: each for each in table if each.venue == "nasdaq"}
            if not wanted[path]:
                raise QuotelifeError(
                    f"{path}: no instrument with venue nasdaq in the configuration; write INSTRUMENT={path}"
                )
    recordings = [
        ItchRecording(ItchFile.find(path, day), tuple(own.values())) for path, own in wanted.items()
    ]
    recordings.sort(key=lambda recording: recording.file.midnight_ns)
    for one, next_ in pairwise(recordings):
        if one.file.midnight_ns == next_.file.midnight_ns:
            raise QuotelifeError(f"{next_.file.path}: the same day as {one.file.path}; one file a day")
    return recordings


class ItchSource:
    """ITCH files, day by day. Raises ``QuotelifeError`` when an instrument is not ``order_level``."""

    def __init__(self, recordings: Sequence[ItchRecording]) -> None:
        self._recordings = list(recordings)
        self.instruments = list(
            {each.index: each for recording in recordings for each in recording.instruments}.values()
        )

    def steps(self, engine: Engine, report: ReplayReport) -> Iterator[int]:
        """One message of the instruments a step, stamped by the exchange's time.

        A message that cannot be decoded counts as refused, for every instrument, and costs the books that it may
        have spoken of. A file that does not begin with the start of the day, or ends inside a message, is a
        ``DecodeError`` naming it.
        """
        for instrument in self.instruments:
            if not engine.config.instruments[instrument.index].order_level:
                raise QuotelifeError(
                    f"{instrument.name}: ITCH tells single orders; set order_level: true for it"
                )
        for recording in self._recordings:
            yield from self._day(recording, engine, report)

    def _day(self, recording: ItchRecording, engine: Engine, report: ReplayReport) -> Iterator[int]:
        file, instruments = recording
        buffer = EventBuffer(4 * len(instruments) + 64)
        try:
            decoder = ItchDecoder(
                buffer,
                [(each.symbol, each.index, each.tick_size, each.lot_size) for each in instruments],
                midnight_ns=file.midnight_ns,
            )
        except ValueError as error:
            raise QuotelifeError(str(error)) from None
        decoder.begin(file.midnight_ns)
        decoder.settle(file.midnight_ns)
        rest, sequence = b"", 1
        for chunk in chunks(file.path):
            data, at = rest + chunk, 0
            if sequence == 1 and len(data) >= 14 and (data[:3], data[13:14]) != FIRST_MESSAGE:
                raise DecodeError(f"{file.path}: does not begin with the start of messages of a day")
            while True:
                at, sequence = decoder.framed(data, at, sequence, 1)
                fault = decoder.take_fault()
                if fault is not None:
                    for instrument in instruments:
                        report.sources[instrument.name].refused += 1
                if len(buffer):
                    yield int(np.max(buffer.array()["receive_ns"]))
                    engine.on_events(buffer)
                    buffer.clear()
                elif fault is None:
                    break
            rest = data[at:]
        if rest:
            raise DecodeError(f"{file.path}: ends inside message {sequence}")
