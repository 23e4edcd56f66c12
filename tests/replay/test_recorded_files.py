"""Several recordings as one source: the order of their merge, and published best prices that come late."""

from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest

from quotelife.config import load_config
from quotelife.config.schema import InstrumentSettings
from quotelife.engine import Engine
from quotelife.instruments import Instrument
from quotelife.records import EventBuffer, EventFlags, EventKindCode, SideCode
from quotelife.replay.files import Best, FileMessage, FileSource
from quotelife.replay.run import Replay

MS = 1_000_000
TEXT = """
version: 1
model: {artifact: first_passage}
instruments:
  - {name: A, venue: v, symbol: A, tick_size: 1, lot_size: 1}
  - {name: B, venue: v, symbol: B, tick_size: 1, lot_size: 1}
"""


@pytest.fixture
def engine(tmp_path: Path) -> Engine:
    path = tmp_path / "config.yaml"
    path.write_text(TEXT, encoding="utf-8")
    return Engine(load_config(path))


class Told:
    """A recording of bid sizes at 10 ticks, (ms, lots, what it publishes)."""

    def __init__(
        self, instrument: Instrument, rows: list[tuple[int, int, int | None]], lag_ms: int = 0
    ) -> None:
        self.path = Path("told")
        self.instruments = [instrument]
        self.buffer = EventBuffer(8)
        self.lag_ns = lag_ms * MS
        self.left_out_trades = 0
        self._rows = rows

    def messages(self, settings: Sequence[InstrumentSettings]) -> Iterator[FileMessage]:
        for at, (t, lots, published) in enumerate(self._rows):
            self.buffer.clear()
            if not at:
                self._put(EventKindCode.SNAPSHOT_BEGIN, t)
            self._put(EventKindCode.LEVEL, t, side=SideCode.BID, price_ticks=10, size_lots=lots)
            if not at:
                self._put(EventKindCode.SNAPSHOT_END, t, flags=EventFlags.LAST)
            best: Best | None = None if published is None else (10, published, 0, 0)
            yield FileMessage(t * MS, self.instruments[0], best)

    def _put(self, kind: EventKindCode, t: int, **fields: int) -> None:
        fields.setdefault("flags", EventFlags.LAST if kind is EventKindCode.LEVEL else 0)
        self.buffer.append(kind, instrument=self.instruments[0].index, receive_ns=t * MS, **fields)


def test_a_stamp_that_steps_back_is_merged_at_the_latest_before_it(engine: Engine) -> None:
    a, b = engine.instruments
    recordings = [
        Told(a, [(100, 1, 1), (300, 2, 2), (200, 3, 3), (400, 4, 4)]),
        Told(b, [(150, 1, 1), (250, 2, 2), (350, 3, 3)]),
    ]
    run = Replay(engine, FileSource(recordings))
    assert [t // MS for t in run.steps()] == [100, 150, 250, 300, 300, 350, 400]
    assert {name: (s.lines, s.checked, s.equal) for name, s in run.report.sources.items()} == {
        "A": (4, 4, 4), "B": (3, 3, 3),
    }  # fmt: skip


@pytest.mark.parametrize(("lag_ms", "equal"), [(0, 2), (50, 3), (101, 4)])
def test_a_published_best_may_be_as_old_as_the_lag(engine: Engine, lag_ms: int, equal: int) -> None:
    """Published: what holds now, what held 40 ms ago, what holds now, what held up to 100 ms ago."""
    rows = [(100, 1, 1), (140, 2, 1), (200, 3, 3), (300, 4, 2)]
    run = Replay(engine, FileSource([Told(engine.instruments[0], rows, lag_ms)]))
    report = run.run().sources["A"]
    assert (report.checked, report.equal, len(report.mismatches)) == (4, equal, 4 - equal)
