"""The real Bitstamp order log as the replay reads it: from the first published book on, not after an hour."""

from pathlib import Path

import pytest

from quotelife.config import load_config
from quotelife.engine import Engine
from quotelife.records import RequestRecord
from quotelife.replay.bitstamp import BitstampRecording
from quotelife.replay.files import FileSource
from quotelife.replay.run import Replay

pytestmark = pytest.mark.realdata
HOUR = 3600 * 10**9
TEXT = """
version: 1
model: {artifact: logistic}
instruments:
  - {name: BTC-USD, venue: bitstamp, symbol: btcusd, tick_size: 0.01, lot_size: 0.00000001, order_level: true,
     adverse_bps: 2}
"""


def test_every_published_best_is_the_books(data_dir: Path, tmp_path: Path) -> None:
    """Prices and sizes, as the book stood up to 100 ms before: 3,956 of 3,956 after the first hour, 1,055 before it."""
    path = tmp_path / "config.yaml"
    path.write_text(TEXT, encoding="utf-8")
    engine = Engine(load_config(path))
    source = FileSource(
        [BitstampRecording.find(str(data_dir / "bitstamp" / "2015-05-01.log.xz"), engine.instruments)]
    )
    lives: set[int] = set()
    run = Replay(
        engine,
        source,
        ask_every_ns=10 * 10**9,
        ask=lambda t: [("BTC", RequestRecord(0, 1, now_ns=t))],
        on_decision=lambda _, decision: lives.add(decision.life_ns),
    )
    entry = run.report.sources["BTC-USD"]
    first = 0
    early: tuple[int, int] | None = None
    for stamp in run.steps():
        first = first or stamp
        if stamp - first > HOUR and early is None:
            early = entry.checked, entry.equal
    status = engine.instrument_status(0, engine.now_ns)
    assert early is not None
    assert (entry.checked - early[0], entry.equal - early[1]) == (3956, 3956)
    assert early == (1055, 1055)
    assert (entry.lines, entry.mismatches) == (56_000, [])
    assert (status.purged_orders, status.unknown_orders, status.dropped_orders, status.invalid_orders) == (
        1,
        0,
        0,
        0,
    )
    assert run.report.qualities["GOOD"] > 0.99 * sum(run.report.qualities.values())
    assert len(lives) > 100
