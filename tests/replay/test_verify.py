"""Every journaled decision comes out again byte for byte, from its record and from market bytes; all else is said."""

import dataclasses
import json
import os
import struct
import time
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from quotelife.checksum import crc32c
from quotelife.config import Config, load_config
from quotelife.engine import Engine
from quotelife.errors import QuotelifeError
from quotelife.journal.format import Kind, read_record
from quotelife.journal.index import scan_segment, segment_names
from quotelife.journal.records import Record, decode_label
from quotelife.journal.storage import DirectoryStorage
from quotelife.records import LABEL_DTYPE, DecisionCode, EventBuffer, RuleCode
from quotelife.replay import verify as module
from quotelife.replay.follow import Follower, read_config
from quotelife.replay.recorded import RecordedSource, find_recording
from quotelife.replay.verify import Verification, verify
from reference import capture_twin
from reference.market_kit import CONFIG, START_NS, market
from reference.session_kit import Session

ROOT = Path(__file__).resolve().parents[2]


def session(folder: Path, **settings: Any) -> Session:
    return Session(folder / "journal", folder / "capture", CONFIG, start_ns=START_NS, **settings)


def worked(folder: Path, decisions: int = 1500, **settings: Any) -> Session:
    run = session(folder, **settings)
    run.work(market(60), decisions, 0.25)
    assert run.figures.decisions == decisions
    run.close()
    return run


@pytest.fixture(scope="module")
def day(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Session]:
    """A session that is only read."""
    folder = tmp_path_factory.mktemp("day")
    return folder, worked(folder, segment_bytes=500_000, block_bytes=10_000)


def both(folder: Path) -> tuple[Verification, Verification]:
    return verify(folder / "journal"), verify(folder / "journal", folder / "capture")


def test_the_session_leaves_nothing_out(day: tuple[Path, Session]) -> None:
    figures = day[1].figures
    assert (
        figures.decisions == 1500 and figures.changes > 15 and figures.signals > 15 and figures.timers > 100
    )
    assert {DecisionCode.QUOTE, DecisionCode.DECLINE} <= figures.kinds
    assert {RuleCode.RUNTIME_OVERRIDE, RuleCode.COUNTERPARTY_TIER} <= figures.rules
    assert len(figures.postures) >= 3


def test_from_the_journal_alone_every_decision_is_equal(day: tuple[Path, Session]) -> None:
    folder, run = day
    report = verify(folder / "journal")
    assert (report.decisions, report.equal, report.complete) == (1500, 1500, True)
    assert report.changes == run.figures.changes
    assert report.events == 0


def test_from_market_bytes_up_every_decision_is_equal(day: tuple[Path, Session]) -> None:
    folder, run = day
    report = verify(folder / "journal", folder / "capture")
    assert report.mismatches == []
    assert (report.decisions, report.equal, report.complete) == (1500, 1500, True)
    assert (report.changes, report.signals) == (run.figures.changes, run.figures.signals)
    assert 0 < report.events <= run.figures.events


def test_both_ways_every_answer_of_a_shadow_is_equal(day: tuple[Path, Session]) -> None:
    kept, market_up = both(day[0])
    assert kept.shadows == kept.shadows_equal > 100
    assert (market_up.shadows, market_up.shadows_equal) == (kept.shadows, kept.shadows)


def test_shadows_and_labels_stand_in_no_index_from_which_state_is_made(
    day: tuple[Path, Session], learning_day: Path
) -> None:
    """They are as many as decisions: a restart, explain and retention would read every one of them."""
    for folder in (day[0], learning_day):
        storage = DirectoryStorage(folder / "journal")
        kinds: Counter[Kind] = Counter()
        for _, name in segment_names(storage):
            raw = (folder / "journal" / name).read_bytes()
            for offset in scan_segment(name, raw).other_offset.tolist():
                record = read_record(raw, offset)
                assert record is not None
                kinds[Kind(record.kind)] += 1
        assert kinds[Kind.CHANGE] > 0 and kinds[Kind.SHADOW] == kinds[Kind.LABEL] == 0


def test_a_shadow_s_answer_that_was_changed_is_found(
    day: tuple[Path, Session], monkeypatch: pytest.MonkeyPatch
) -> None:
    decode = module.decode_shadow

    def bent(record: Record) -> Any:
        answer = decode(record).copy()
        answer["p"][3] += 1e-15
        return answer

    monkeypatch.setattr(module, "decode_shadow", bent)
    report = verify(day[0] / "journal")
    assert report.unequal == report.shadows > 0
    assert report.mismatches[0].decision_id.endswith("(shadow)")
    assert [name for name, _, _ in report.mismatches[0].fields] == ["p[3]"]


@pytest.fixture(scope="module")
def learning_day(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A session in which calibration and held tolerance move."""
    folder = tmp_path_factory.mktemp("learning")
    content = CONFIG.model_dump(mode="json", by_alias=True)
    content["learning"]["recalibration"] |= {"enabled": True, "refit": "1s", "ridge": 1.0}
    for posture in content["postures"].values():
        posture["held_tolerance"] = {"enabled": True, "rate": 0.02}
    config = Config.model_validate_json(json.dumps(content))
    run = Session(folder / "journal", folder / "capture", config, start_ns=START_NS)
    run.work(market(60), 1500, 0.25)
    learned = run.engine.learned()
    run.close()
    assert all(group.opened > 100 for group in learned)
    afresh = Engine(config).learned()
    assert [group.tolerance for group in learned] != [group.tolerance for group in afresh]
    return folder


def test_what_was_learned_from_the_market_comes_out_again_both_ways(learning_day: Path) -> None:
    """Labels, calibration and tolerances follow from the record and from market bytes alike."""
    for report in both(learning_day):
        assert report.mismatches == []
        assert (report.decisions, report.equal, report.complete) == (1500, 1500, True)
        assert report.labels == report.labels_equal > 1000
        assert (report.labels_missing, report.unequal, report.without_labels) == (0, 0, 0)


def without(monkeypatch: pytest.MonkeyPatch, dropped: Callable[[Record], bool]) -> None:
    """Journals are read as if some records were not in them."""
    whole = module.Journal.records

    def some(self: Any, *args: Any) -> Any:
        return (record for record in whole(self, *args) if not dropped(record))

    monkeypatch.setattr(module.Journal, "records", some)


def test_a_tolerance_that_does_not_follow_from_the_labels_is_found(
    learning_day: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    without(monkeypatch, lambda record: record.kind is Kind.LABEL)
    report = verify(learning_day / "journal")
    assert report.labels == 0 < report.unequal and report.without_labels == 1
    assert report.mismatches[0].fields[0][0] == "held_alpha"


def test_a_boot_that_ended_before_its_labels_came_lacks_none(tmp_path: Path) -> None:
    run = Session(tmp_path / "journal", tmp_path / "capture", CONFIG, start_ns=START_NS)
    assert CONFIG.learning.recalibration.enabled
    run.work(market(20), 30, 1.0)
    run.close()
    report = verify(tmp_path / "journal")
    assert (report.decisions, report.labels, report.without_labels) == (30, 0, 0)


def test_a_label_that_says_another_outcome_is_found(
    learning_day: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """From market bytes, which say what happened; from the journal alone by the tolerance that it claims to leave."""
    whole = module.Journal.records

    def bent(self: Any, *args: Any) -> Any:
        for record in whole(self, *args):
            if record.kind is Kind.LABEL:
                label = np.frombuffer(record.payload, LABEL_DTYPE).copy()
                if label["number"] == 700:
                    label["hit"] = 1 - label["hit"]
                record = record._replace(payload=label.tobytes())
            yield record

    monkeypatch.setattr(module.Journal, "records", bent)
    report = verify(learning_day / "journal", learning_day / "capture")
    assert report.labels - report.labels_equal == 1
    assert report.mismatches[0].decision_id == "boot1 label 700"
    assert [name for name, _, _ in report.mismatches[0].fields] == ["hit"]


def test_labels_that_found_no_room_are_counted_and_accuse_nobody(
    learning_day: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What is not known of a tolerance is not held against a decision until a label says it again."""
    without(monkeypatch, lambda record: record.kind is Kind.LABEL and record.number % 50 == 0)
    report = verify(learning_day / "journal")
    assert report.labels_missing > 20
    assert (report.unequal, report.decisions) == (0, 1500)


@pytest.mark.parametrize("left", [lambda number, last: False, lambda number, last: number < last - 100])
def test_labels_that_are_not_in_the_journal_are_counted_from_market_bytes(
    learning_day: Path, monkeypatch: pytest.MonkeyPatch, left: Callable[[int, int], bool]
) -> None:
    """None at all, or not the last hundred: no hole between two that are there tells of them."""
    kept = verify(learning_day / "journal", learning_day / "capture")
    last = max(
        int(decode_label(record)["number"])
        for record in module.Journal(str(learning_day / "journal")).records()
        if record.kind is Kind.LABEL
    )
    without(
        monkeypatch,
        lambda record: record.kind is Kind.LABEL and not left(int(decode_label(record)["number"]), last),
    )
    report = verify(learning_day / "journal", learning_day / "capture")
    assert report.unequal == 0 and report.decisions == 1500
    # Of those behind the last other record nobody can say whether they came to be written.
    assert 0 <= kept.labels - report.labels - report.labels_missing < 30
    assert report.labels_missing > 50


def test_what_was_learned_and_is_not_what_comes_out_again_is_found(
    learning_day: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A note that says another tolerance is unequal, and moves nothing: all decisions are equal behind it."""
    kept = verify(learning_day / "journal", learning_day / "capture")
    decode = module.decode_change

    def bent(record: Record) -> Any:
        change = decode(record)
        if change.kind is module.Change.LEARNED:
            change.payload["groups"][0]["held"][0][0] *= 0.5
        return change

    monkeypatch.setattr(module, "decode_change", bent)
    report = verify(learning_day / "journal", learning_day / "capture")
    assert kept.notes == kept.notes_equal == report.notes > 3 and report.notes_equal == 0
    assert (report.decisions, report.equal, report.unequal) == (1500, 1500, report.notes)
    assert "learned" in report.mismatches[0].decision_id


def test_answers_of_shadows_that_are_not_there_are_counted(
    day: tuple[Path, Session], monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = both(day[0])
    without(monkeypatch, lambda record: record.kind is Kind.SHADOW and record.number % 3 == 0)
    for kept, report in zip(whole, both(day[0]), strict=True):
        assert (kept.shadows_missing, report.unequal) == (0, 0)
        assert report.shadows_missing == kept.shadows - report.shadows > 0


def test_several_boots_are_verified_each_from_its_own_start(tmp_path: Path) -> None:
    for number, boot in enumerate(("boot1", "boot2", "boot3")):
        worked(tmp_path, 300, boot_id=boot, seed=number)
    for report in both(tmp_path):
        assert (report.boots, report.decisions, report.equal, report.complete) == (3, 900, 900, True)


def rewritten(path: Path, change: Any) -> None:
    """Change a record in a raw capture block and make the block's checksum right again."""
    data = bytearray(path.read_bytes())
    for offset, block in capture_twin.blocks(bytes(data)):
        changed = change(bytearray(block))
        if changed is not None:
            struct.pack_into("<I", changed, 4, crc32c(bytes(changed[8:])))
            data[offset : offset + len(block)] = changed
            path.write_bytes(data)
            return
    raise AssertionError("no block was changed")


def test_one_bit_of_one_captured_price_is_found(tmp_path: Path) -> None:
    worked(tmp_path, 400)

    def flip(block: bytearray) -> bytearray | None:
        inputs = capture_twin.block_inputs(bytes(block))
        for place, each in enumerate(inputs):
            kind = each.record[60] if each.kind == capture_twin.EVENT else 0
            if kind == 7 and each.sequence > 700:  # a QUOTE
                block[capture_twin.HEADER.size + 64 * place + 24] ^= 1
                return block
        return None

    rewritten(tmp_path / "capture" / "0000000001.qlc", flip)
    report = verify(tmp_path / "journal", tmp_path / "capture")
    assert report.unequal > 0 and report.complete
    first = report.mismatches[0]
    assert first.decision_id.startswith("boot1-")
    names = [name for name, _, _ in first.fields]
    assert names and all(was != now for _, was, now in first.fields)
    assert verify(tmp_path / "journal").unequal == 0


def test_a_torn_block_is_no_mismatch_but_ends_what_can_be_verified(tmp_path: Path) -> None:
    run = worked(tmp_path, 400, block_bytes=10_000)
    path = tmp_path / "capture" / "0000000001.qlc"
    data = bytearray(path.read_bytes())
    offset = capture_twin.blocks(bytes(data))[6][0]
    data[offset + 100] ^= 1
    path.write_bytes(data)
    report = verify(tmp_path / "journal", tmp_path / "capture")
    (stretch,) = report.unverifiable
    assert report.unequal == 0 and 0 < report.decisions < 400
    assert report.decisions + stretch.decisions == run.figures.decisions
    assert "in neither journal nor capture; damaged: 0000000001.qlc" in stretch.reason


def test_inputs_that_found_no_room_end_what_can_be_verified(tmp_path: Path) -> None:
    run = session(tmp_path, block_bytes=4_000, blocks=2)
    lost = False
    for number, buffer in enumerate(market(6)):
        run.engine.on_events(buffer)
        if number % 4 == 0:
            run.decide(run.engine.now_ns)
        if not 400 <= number < 500:  # the disk stands still for a while
            run.flush()
        lost |= run.capture.lost > 0
    run.close()
    assert lost
    report = verify(tmp_path / "journal", tmp_path / "capture")
    (stretch,) = report.unverifiable
    assert report.unequal == 0 and report.decisions + stretch.decisions == run.figures.decisions
    assert "found no room when captured" in stretch.reason
    assert verify(tmp_path / "journal").complete


def test_a_capture_that_ends_early_leaves_the_rest_unverified(tmp_path: Path) -> None:
    worked(tmp_path, 400, segment_bytes=40_000, block_bytes=10_000)
    segments = sorted((tmp_path / "capture").glob("*.qlc"))
    assert len(segments) > 3
    for segment in segments[3:]:
        segment.unlink()
    report = verify(tmp_path / "journal", tmp_path / "capture")
    (stretch,) = report.unverifiable
    assert report.equal == report.decisions > 0 and report.decisions + stretch.decisions == 400
    assert "ends before input" in stretch.reason and "the journal alone can be verified" in stretch.reason
    assert verify(tmp_path / "journal").complete


def test_a_boot_that_was_not_captured_is_said(tmp_path: Path) -> None:
    worked(tmp_path, 100, boot_id="boot1")
    for path in (tmp_path / "capture").glob("*.qlc"):
        path.unlink()
    worked(tmp_path, 100, boot_id="boot2")
    report = verify(tmp_path / "journal", tmp_path / "capture")
    (stretch,) = report.unverifiable
    assert (stretch.boot_id, stretch.decisions, report.equal) == ("boot1", 100, 100)
    assert "does not have this boot" in stretch.reason


def test_a_stretch_served_without_a_journal_is_said_and_the_rest_goes_on_from_its_snapshot(
    tmp_path: Path,
) -> None:
    run = session(tmp_path, buffer_bytes=65_536)
    batches = market(30)
    run.work(batches, 200, 0.25)
    for number, buffer in enumerate(batches):  # nothing is committed, and the buffer fills
        run.engine.on_events(buffer)
        run.decide(run.engine.now_ns)
        if number % 20 == 0:
            run.tick(run.engine.now_ns)
        if run.figures.decisions == 400:
            break
    run.flush()
    run.work(batches, 600, 0.25)
    run.close()
    alone, from_market = both(tmp_path)
    (stretch,) = alone.unverifiable
    assert "were served without a journal: the buffer was full" in stretch.reason
    assert alone.unequal == 0 and 200 + 200 <= alone.decisions < 600
    (stretch,) = from_market.unverifiable
    assert from_market.unequal == 0 and 200 <= from_market.decisions < 400
    assert from_market.decisions + stretch.decisions == alone.decisions


def test_where_old_segments_are_gone_the_journal_alone_goes_on_from_a_snapshot(tmp_path: Path) -> None:
    worked(tmp_path, 1000, segment_bytes=300_000)
    names = sorted(path for path in (tmp_path / "journal").iterdir() if path.suffix in (".qlj", ".idx"))
    oldest = names[0].stem
    for path in names:
        if path.stem == oldest:
            path.unlink()
    alone, from_market = both(tmp_path)
    assert alone.complete and 0 < alone.equal == alone.decisions < 1000
    (stretch,) = from_market.unverifiable
    assert stretch.decisions == alone.decisions and "does not reach back" in stretch.reason


@pytest.mark.parametrize("capture", [False, True])
def test_one_other_constant_is_found(
    day: tuple[Path, Session], monkeypatch: pytest.MonkeyPatch, capture: bool
) -> None:
    def other(payload: dict[str, Any]) -> Config:
        fields = json.loads(json.dumps(payload["config"]))
        tolerance = fields["postures"]["liquidity_provider"]["tolerance"]
        fields["postures"]["liquidity_provider"]["tolerance"] = tolerance * (1 + 1e-12)
        return read_config({"config": fields, "digest": ""})

    monkeypatch.setattr("quotelife.replay.follow.read_config", other)
    folder, _ = day
    report = verify(folder / "journal", folder / "capture" if capture else None)
    assert 0 < report.unequal < report.decisions
    assert report.mismatches[0].fields[0][0] in ("life_ns", "alpha", "held_alpha")


@pytest.mark.parametrize(
    ("name", "words"), [("SCHEMA_HASH", "other features"), ("LAYOUT_HASH", "other records")]
)
def test_another_build_is_refused(
    day: tuple[Path, Session], monkeypatch: pytest.MonkeyPatch, name: str, words: str
) -> None:
    value = getattr(module, name)
    monkeypatch.setattr(module, name, "0" * 64 if isinstance(value, str) else bytes(len(value)))
    with pytest.raises(QuotelifeError, match=words):
        verify(day[0] / "journal")


def test_a_model_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(QuotelifeError, match="no copy of the model abc"):
        Follower(tmp_path).model("abc")


# --------------------------------------------------------------------------------------------- recorded markets


def recorded(data_dir: Path, config: Config) -> Iterator[EventBuffer]:
    """The events of both Binance markets of 2024-08-08 through the live decoders, by local stamp."""
    table = config.instrument_table()
    files = [
        find_recording(str(data_dir / "binance" / market / f"{symbol}_20240808.gz"), table)
        for market in ("usdm", "spot")
        for symbol in ("btcusdt", "ethusdt")
    ]
    return RecordedSource(files).batches()


def verified_over_recordings(
    data_dir: Path, folder: Path, decisions: int, per_line: float
) -> list[Verification]:
    from quotelife_server.settings import ServiceConfig

    config = load_config(ROOT / "configs" / "default", ServiceConfig)
    started = time.perf_counter()
    run = Session(folder / "journal", folder / "capture", config, start_ns=1_723_000_000_000_000_000)
    run.work(recorded(data_dir, config), decisions, per_line)
    run.close()
    figures = run.figures
    print(f"\n{dataclasses.asdict(figures)}, written in {time.perf_counter() - started:.1f} s")
    assert figures.decisions == decisions
    reports = []
    for turn in range(3):
        for capture in (None, folder / "capture"):
            started = time.perf_counter()
            report = verify(folder / "journal", capture)
            reports.append(report)
            print(
                f"{turn + 1}: {'from market bytes' if capture else 'from the journal alone'}: {report.equal} of "
                f"{report.decisions} equal, {report.changes} changes, {report.signals} signals, {report.events} "
                f"events, {time.perf_counter() - started:.1f} s"
            )
            assert report.mismatches == []
            assert (report.decisions, report.equal, report.complete) == (decisions, decisions, True)
            assert report.changes == figures.changes
    return reports


@pytest.mark.realdata
def test_a_recorded_market_is_verified_both_ways(data_dir: Path, tmp_path: Path) -> None:
    verified_over_recordings(data_dir, tmp_path, 2000, 0.2)


@pytest.mark.slow
@pytest.mark.realdata
def test_a_million_decisions_over_recorded_markets(data_dir: Path, tmp_path: Path) -> None:
    """Byte-equal, all of them. ``QUOTELIFE_DECISIONS`` asks for another number."""
    decisions = int(os.environ.get("QUOTELIFE_DECISIONS", "1000000"))
    verified_over_recordings(data_dir, tmp_path, decisions, decisions / 240_000)
