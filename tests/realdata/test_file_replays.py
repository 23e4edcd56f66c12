"""Real FX ticks, CME level rows and trades, the VIX and headlines: what is in the files, counted, through an engine."""

import json
from collections import Counter
from pathlib import Path

import numpy as np
import pytest

from quotelife.config import load_config
from quotelife.engine import Engine
from quotelife.feed.headlines import parse_headlines
from quotelife.feed.unpack import lines
from quotelife.news import lexicon
from quotelife.records import DecisionRecord, QualityCode, RequestRecord
from quotelife.replay.fx_ticks import FxTickRecording
from quotelife.replay.parquet import ParquetRecording
from quotelife.replay.recordings import open_recordings
from quotelife.replay.run import Replay
from quotelife.replay.signals import WithSignals, read_signals

pytestmark = pytest.mark.realdata
S = 1_000_000_000
TEXT = """
version: 1
model: {artifact: logistic}
signals: {volatility_indices: [VIX]}
instruments:
  - {name: GBPUSD-FUT, venue: cme, symbol: GBPUSD, tick_size: 0.0001, lot_size: 1, adverse_bps: 1,
     volatility_index: VIX}
  - {name: EURUSD, venue: fx, symbol: EURUSD, tick_size: 0.00001, lot_size: 1, quotes_only: true, adverse_bps: 0.1}
  - {name: NZDUSD, venue: fx, symbol: NZDUSD, tick_size: 0.00001, lot_size: 1, quotes_only: true, adverse_bps: 0.5}
  - {name: XAUUSD, venue: fx, symbol: XAUUSD, tick_size: 0.001, lot_size: 1, quotes_only: true, adverse_bps: 0.5}
"""


@pytest.fixture
def engine(tmp_path: Path) -> Engine:
    path = tmp_path / "config.yaml"
    path.write_text(TEXT, encoding="utf-8")
    return Engine(load_config(path))


def test_every_row_of_the_cme_day_is_the_book(data_dir: Path, engine: Engine) -> None:
    """228,703 rows, the best prices and sizes equal in each; 159 lock or cross and are CROSSED, no other is."""
    files = [data_dir / "cme" / f"gbpusd_16june_{kind}_0503.parquez.gzip" for kind in ("quotes", "trades")]
    run = Replay(engine, open_recordings([str(path) for path in files], engine.instruments))
    entry = run.report.sources["GBPUSD-FUT"]
    # Recomputed from the file alone.
    import pyarrow.parquet

    table = pyarrow.parquet.read_table(files[0], columns=["bid_price_0", "offer_price_0"])
    crossed = np.rint(table["bid_price_0"].to_numpy() * 10_000) >= np.rint(
        table["offer_price_0"].to_numpy() * 10_000
    )
    seen = wrong = 0
    checked = 0
    for stamp in run.steps():
        if entry.checked > checked and entry.checked % 7 == 0:  # a row has just been applied
            is_crossed = (
                engine.instrument_status(0, stamp).quality == QualityCode.CROSSED
                if entry.checked > 200
                else bool(crossed[entry.checked - 1])
            )
            wrong += is_crossed != bool(crossed[entry.checked - 1])
            seen += 1
        checked = entry.checked
    assert (int(crossed.sum()), seen > 30_000, wrong) == (159, True, 0)
    assert (entry.checked, entry.equal, entry.lines) == (228_703, 228_703, 228_703 + 25_599)
    assert (entry.refused, entry.gaps) == (0, 0)


def test_trades_of_the_cme_day_have_a_side_each(data_dir: Path, engine: Engine) -> None:
    """B is a trade at the bid: 12,941 sold, 12,658 bought."""
    recording = ParquetRecording.find(
        str(data_dir / "cme" / "gbpusd_16june_trades_0503.parquez.gzip"), engine.instruments
    )
    sides = Counter(
        int(recording.buffer.array()["side"][0])
        for message in recording.messages(engine.config.instruments)
        if not message.refused
    )
    assert dict(sides) == {2: 12_941, 1: 12_658}


@pytest.mark.parametrize(
    ("name", "rows", "crossed"),
    [
        ("eurusd_20140507", 89_504, 22_670),
        ("nzdusd_20140507", 109_542, 4_120),
        pytest.param("eurusd_20140508", 167_466, 37_336, marks=pytest.mark.slow),
        pytest.param("eurusd_20140509", 102_122, 22_319, marks=pytest.mark.slow),
        pytest.param("nzdusd_20140508", 103_173, 3_685, marks=pytest.mark.slow),
        pytest.param("nzdusd_20140509", 54_273, 1_794, marks=pytest.mark.slow),
        pytest.param("xauusd_20140507", 219_809, 0, marks=pytest.mark.slow),
    ],
)
def test_every_row_of_a_day_of_fx_ticks_is_the_view(
    data_dir: Path, engine: Engine, name: str, rows: int, crossed: int
) -> None:
    """No row refused; best prices equal the text's in each; those that lock or cross are CROSSED."""
    path = data_dir / "fx" / f"{name}_quote.zip"
    recording = FxTickRecording.find(str(path), engine.instruments)
    instrument = recording.instruments[0]
    seen = equal = shown = 0
    text = lines(path)
    for message in recording.messages(engine.config.instruments):
        engine.on_events(recording.buffer)
        status = engine.instrument_status(instrument.index, message.receive_ns)
        _, bid, ask = next(text).decode().strip().split(",")
        expected = tuple(round(float(price) / float(instrument.tick_size)) for price in (bid, ask))
        seen += 1
        equal += (status.bid_ticks, status.ask_ticks) == expected
        shown += status.quality == QualityCode.CROSSED
        assert (status.quality == QualityCode.CROSSED) == (expected[0] >= expected[1])
    assert (seen, equal, shown) == (rows, rows, crossed)


def test_lives_follow_a_day_of_fx_ticks(data_dir: Path, engine: Engine) -> None:
    lives: set[int] = set()
    run = Replay(
        engine,
        open_recordings([str(data_dir / "fx" / "eurusd_20140507_quote.zip")], engine.instruments),
        ask_every_ns=60 * S,
        ask=lambda t: [("FX", RequestRecord(1, 1, now_ns=t))],
        on_decision=lambda _, decision: lives.add(decision.life_ns),
    )
    run.run()
    asked = run.report.decisions.total()
    assert asked > 1_400
    assert run.report.qualities["GOOD"] > 0.5 * asked
    assert len(lives) > 50


def test_the_volatility_index_of_the_day_is_in_the_decisions(data_dir: Path, engine: Engine) -> None:
    """2023-05-03: until the open the close of the day before, then the open of the day."""
    vix = data_dir / "vix" / "vix-daily.csv"
    days = {row.split(",")[0]: row.split(",") for row in vix.read_text(encoding="utf-8").splitlines()}
    signals = read_signals([f"VIX={vix}"], engine.config, lexicon)
    assert len(signals.records) == 2 * (len(days) - 1) == 2 * 9_235
    path = data_dir / "cme" / "gbpusd_16june_quotes_0503.parquez.gzip"
    source = WithSignals(open_recordings([str(path)], engine.instruments), signals)
    levels: list[tuple[int, float]] = []

    def note(_: str, decision: DecisionRecord) -> None:
        from quotelife.features.schema import INDEX

        level = decision.feature(INDEX["volatility_index"])
        if level is not None:
            levels.append((decision.now_ns, level))

    run = Replay(
        engine,
        source,
        ask_every_ns=1800 * S,
        ask=lambda t: [("GBP", RequestRecord(0, 1, now_ns=t))],
        on_decision=note,
    )
    run.run()
    opened = 1_683_120_600 * S  # 09:30 in New York
    closed = opened + (6 * 3600 + 45 * 60) * S
    before, day = days["2023-05-02"], days["2023-05-03"]
    for t, level in levels:
        expected = before[4] if t < opened else day[1] if t < closed else day[4]
        assert level == pytest.approx(float(expected))
    assert len(levels) > 20
    assert run.report.signals == 8, "three days before whose levels still live, and the day itself"


def ranks(values: np.ndarray) -> np.ndarray:
    order = np.argsort(values, kind="stable")
    out = np.empty(len(values))
    out[order] = np.arange(len(values))
    for value in np.unique(values):
        out[values == value] = out[values == value].mean()
    return out


def test_the_lexicon_is_better_than_the_more_frequent_sign(data_dir: Path) -> None:
    """1,142 headlines: rank correlation 0.60; of the 817 that it scores the sign is right in 82 %."""
    raw = (data_dir / "news" / "SemEval2017Task5Headlines.json").read_bytes()
    headlines = parse_headlines(raw)
    assert [h.score for h in headlines] == [float(row["sentiment"]) for row in json.loads(raw)]
    mine = [lexicon(h.text) for h in headlines]
    truth = np.array([h.score for h in headlines])
    scores = np.array([0.0 if score is None else score for score in mine])
    correlation = float(np.corrcoef(ranks(scores), ranks(truth))[0, 1])
    told = (scores != 0) & (truth != 0)
    right = float((np.sign(scores[told]) == np.sign(truth[told])).mean())
    assert len(headlines) == 1_142
    assert sum(score is not None for score in mine) == 817
    assert (round(correlation, 2), round(right, 2), int(told.sum())) == (0.60, 0.82, 740)
