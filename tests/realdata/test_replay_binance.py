"""Recorded Binance days through the live decoder and the engine: equal books, no gaps, lives that follow the market."""

from pathlib import Path

import pytest

from quotelife.config import load_config
from quotelife.engine import Engine
from quotelife.records import DecisionCode, DecisionRecord, QualityCode, RegimeCode, RequestRecord
from quotelife.replay.recorded import RecordedSource, find_recording
from quotelife.replay.run import Replay
from quotelife_server.settings import ServiceConfig

ROOT = Path(__file__).resolve().parents[2]
pytestmark = pytest.mark.realdata
# Share of time; spot BTC, at .74, moved 43 bp in these six minutes and is no calm tape.
NORMAL_MIN = {"usdm": 0.8, "spot": 0.7}


@pytest.mark.parametrize("market", ["usdm", "spot"])
def test_books_equal_the_venue_and_lives_follow_the_market(data_dir: Path, market: str) -> None:
    config = load_config(ROOT / "configs" / "default", ServiceConfig)
    table = config.instrument_table()
    folder = data_dir / "binance" / market
    files = [find_recording(str(folder / f"{s}_20240808.gz"), table) for s in ("btcusdt", "ethusdt")]
    engine = Engine(config)
    instruments = [file.instrument for file in files]

    def ask(now_ns: int) -> list[tuple[str, RequestRecord]]:
        return [
            (f"{i.name} {side}", RequestRecord(i.index, side, now_ns=now_ns))
            for i in instruments
            for side in (1, -1)
        ]

    seen: list[DecisionRecord] = []
    report = Replay(
        engine,
        RecordedSource(files),
        ask_every_ns=100_000_000,
        ask=ask,
        on_decision=lambda _, d: seen.append(d),
    ).run()
    assert report.clean
    for entry in report.sources.values():
        assert entry.checked == entry.equal >= 400
        assert entry.gaps == 0 and entry.crossed == 0 and entry.resyncs == 1 and entry.refused == 0
        assert entry.regime_ns[RegimeCode.NORMAL] > NORMAL_MIN[market] * sum(entry.regime_ns)
    quoted = [d for d in seen if d.kind == DecisionCode.QUOTE]
    assert len(quoted) > 0.9 * len(seen)
    assert all(d.quality == QualityCode.GOOD for d in quoted)
    for lives in report.lives_ns.values():
        assert len(set(lives)) > 50
        assert max(lives) > 1.5 * min(lives)
