"""A capture replayed: the same engine again, another configuration by name, gaps that are not papered over, pacing."""

import json
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from quotelife.capture.reader import Capture
from quotelife.capture.segments import SegmentFiles
from quotelife.capture.writer import CaptureWriter
from quotelife.config import Config
from quotelife.engine import Engine
from quotelife.errors import QuotelifeError
from quotelife.records import DECISION_DTYPE, DecisionRecord, QualityCode, RequestRecord, SignalCode
from quotelife.replay.captured import CapturedSource
from quotelife.replay.follow import read_config
from quotelife.replay.run import Replay, pace
from quotelife.units import NS_PER_S
from reference.market_kit import CONFIG, START_NS, market


def capture_market(folder: Path, seconds: float = 3, seed: int = 1, boot_id: str = "first") -> Engine:
    """An engine after ``seconds`` of market, with signals and timers; all of it captured."""
    files = SegmentFiles(folder)
    writer = CaptureWriter(files, boot_id=boot_id, block_bytes=20_000)
    engine = Engine(CONFIG, start_ns=START_NS)
    writer.begin(engine.config_payload(), start_ns=START_NS)
    engine.record_to(writer)
    for i, buffer in enumerate(market(seconds, seed)):
        engine.on_events(buffer)
        if i % 50 == 10:
            engine.on_timer(engine.now_ns)
        if i % 200 == 20:
            engine.on_signal(SignalCode.NEWS, receive_ns=engine.now_ns, source_ns=0, value=0.3)
            engine.on_signal(
                SignalCode.VOLATILITY_INDEX,
                receive_ns=engine.now_ns,
                source_ns=0,
                value=60 + i / 100,
                source=0,
            )
            engine.on_signal(
                SignalCode.INVENTORY,
                receive_ns=engine.now_ns,
                source_ns=0,
                value=5,
                value2=9,
                instrument=0,
                desk=1,
            )
        writer.write_pending()
    engine.record_to()
    assert writer.close() and writer.lost == 0
    return engine


def decide(engine: Engine, instrument: int = 0, desk: int = 1) -> DecisionRecord:
    decision = DecisionRecord()
    engine.decide(
        RequestRecord(instrument, 1, now_ns=engine.now_ns, edge_ticks=1.0, size_lots=10.0, desk=desk),
        decision,
    )
    return decision


def test_a_replayed_engine_decides_as_the_captured_one(tmp_path: Path) -> None:
    engine = capture_market(tmp_path)
    source = CapturedSource(Capture(tmp_path))
    again = Engine(read_config(source.head.configuration), start_ns=source.head.start_ns)
    report = Replay(again, source).run()
    assert report.clean and report.sources["BTC"].events > 500
    for instrument in (0, 1):
        was = decide(engine, instrument)
        assert was.quality == QualityCode.GOOD
        assert decide(again, instrument).canonical() == was.canonical()


def test_another_configuration_finds_instruments_desks_and_indices_by_name(tmp_path: Path) -> None:
    engine = capture_market(tmp_path)
    text = CONFIG.model_dump(mode="json", by_alias=True)
    text["instruments"].reverse()
    text["desks"]["aaa"] = {}
    text["signals"]["volatility_indices"] = ["vix", "dvol"]
    config = Config.model_validate_json(json.dumps(text))
    again = Engine(config, start_ns=START_NS)
    source = CapturedSource(Capture(tmp_path), table=config.instrument_table())
    Replay(again, source).run()
    was, now = decide(engine, 0, desk=1), decide(again, 1, desk=2)
    assert now.life_ns == was.life_ns
    features = [
        np.frombuffer(each.canonical(), DECISION_DTYPE)[0]["features"].tobytes() for each in (was, now)
    ]
    assert features[0] == features[1]


@pytest.mark.parametrize(
    ("change", "words"),
    [({"name": "SOL"}, "no instrument BTC"), ({"tick_size": "0.5"}, "captured with tick size 0.1")],
)
def test_a_configuration_that_does_not_fit_is_refused(
    tmp_path: Path, change: dict[str, str], words: str
) -> None:
    capture_market(tmp_path, seconds=1)
    text = CONFIG.model_dump(mode="json", by_alias=True)
    text["instruments"][0] |= change
    text["instruments"][1]["drivers"] = []
    config = Config.model_validate_json(json.dumps(text))
    with pytest.raises(QuotelifeError, match=words):
        CapturedSource(Capture(tmp_path), table=config.instrument_table())


def test_the_newest_boot_is_replayed_unless_one_is_named(tmp_path: Path) -> None:
    capture_market(tmp_path, seconds=1, boot_id="first")
    second = capture_market(tmp_path, seconds=1, seed=2, boot_id="second")
    source = CapturedSource(Capture(tmp_path))
    assert source.boots == ["first", "second"] and source.head.boot_id == "second"
    again = Engine(CONFIG, start_ns=START_NS)
    Replay(again, source).run()
    assert again.level_top(0) == second.level_top(0)
    assert CapturedSource(Capture(tmp_path), boot_id="first").head.boot_id == "first"
    with pytest.raises(QuotelifeError, match="first, second"):
        CapturedSource(Capture(tmp_path), boot_id="third")


def test_behind_a_damaged_block_no_book_is_trusted(tmp_path: Path) -> None:
    capture_market(tmp_path)
    path = tmp_path / "0000000001.qlc"
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)
    again = Engine(CONFIG, start_ns=START_NS)
    report = Replay(again, CapturedSource(Capture(tmp_path))).run()
    assert report.damaged == 1 and not report.clean
    assert decide(again).quality == QualityCode.GAPPED


def test_asking_in_between_does_not_disturb_what_is_replayed(tmp_path: Path) -> None:
    engine = capture_market(tmp_path)
    source = CapturedSource(Capture(tmp_path))
    again = Engine(CONFIG, start_ns=START_NS)
    report = Replay(
        again,
        source,
        ask_every_ns=100_000_000,
        ask=lambda now_ns: [("BTC", RequestRecord(0, 1, now_ns=now_ns))],
    ).run()
    assert 15 <= sum(report.decisions.values()) <= 35
    assert again.level_top(0) == engine.level_top(0)


class Clock:
    def __init__(self) -> None:
        self.now = 0
        self.slept: list[float] = []

    def now_ns(self) -> int:
        return self.now

    def sleep(self, seconds: float) -> None:
        self.slept.append(seconds)
        self.now += round(seconds * NS_PER_S)


@pytest.mark.parametrize("speed", [1.0, 7.5])
def test_at_a_speed_each_stamp_comes_at_its_time(speed: float) -> None:
    clock = Clock()
    stamps = [START_NS + k * 30_000_000 for k in (0, 1, 5, 4, 40)]
    seen = [(stamp, clock.now) for stamp in pace(iter(stamps), speed, clock.now_ns, clock.sleep)]
    latest = 0
    for stamp, now in seen:
        latest = max(latest, stamp)
        assert now == pytest.approx((latest - START_NS) / speed, abs=1e6)


def test_a_slow_consumer_is_not_made_slower() -> None:
    clock = Clock()

    def busy() -> Iterator[int]:
        for k in range(10):
            yield START_NS + k * NS_PER_S
            clock.now += 2 * NS_PER_S

    assert sum(1 for _ in pace(busy(), 1.0, clock.now_ns, clock.sleep)) == 10
    assert clock.slept == []


def test_as_fast_as_possible_never_sleeps(tmp_path: Path) -> None:
    clock = Clock()
    assert list(pace(iter([0, NS_PER_S * 1000]), 0.0, clock.now_ns, clock.sleep)) == [0, NS_PER_S * 1000]
    assert clock.slept == []
