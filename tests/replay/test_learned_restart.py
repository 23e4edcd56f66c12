"""What was learned outlives the process: a journal whose writer was killed gives it to the next one, and verifies."""

import json
import multiprocessing
import os
import signal
from collections.abc import Iterator
from pathlib import Path

from quotelife.config import Config
from quotelife.engine import Engine
from quotelife.journal.index import segment_names
from quotelife.journal.recovery import recover
from quotelife.journal.storage import DirectoryStorage
from quotelife.records import DecisionRecord, EventBuffer, RequestRecord
from quotelife.replay.verify import verify
from reference.market_kit import CONFIG, START_NS, market
from reference.session_kit import Session

S = 1_000_000_000


def learning(artifact: str) -> Config:
    content = CONFIG.model_dump(mode="json", by_alias=True)
    content["model"]["artifact"] = artifact
    content["learning"]["recalibration"] |= {"enabled": True, "refit": "1s", "ridge": 1.0}
    for posture in content["postures"].values():
        posture["held_tolerance"] = {"enabled": True, "rate": 0.005}
    return Config.model_validate_json(json.dumps(content))


def session(folder: Path, boot_id: str, start_ns: int, artifact: str = "logistic") -> Session:
    return Session(
        folder / "journal", folder / "capture", learning(artifact), start_ns=start_ns, boot_id=boot_id,
        segment_bytes=400_000,
    )  # fmt: skip


def live_and_die(folder: Path) -> None:
    """Learn, note it, say what is known, and be killed with the journal open."""
    run = session(folder, "boot1", START_NS)
    run.engine.on_timer(START_NS)
    for number, buffer in enumerate(market(30)):
        run.engine.on_events(buffer)
        if number % 4 == 0:
            run.decide(run.engine.now_ns)
        if number % 40 == 0:
            run.engine.note_learned(run.engine.now_ns)
            run.flush()
    run.engine.note_learned(run.engine.now_ns + 10 * S)
    run.flush()
    known = [(g.calibration, g.labels, g.tolerance) for g in run.engine.learned()]
    (folder / "known.json").write_text(json.dumps([run.engine.now_ns, known]))
    os.kill(os.getpid(), signal.SIGKILL)


def killed(folder: Path) -> tuple[int, list[list[list[list[float]]]]]:
    child = multiprocessing.get_context("spawn").Process(target=live_and_die, args=(folder,))
    child.start()
    child.join(120)
    assert child.exitcode == -signal.SIGKILL
    now_ns, known = json.loads((folder / "known.json").read_text())
    return now_ns, known


def first_decision(run: Session) -> DecisionRecord:
    """The first with a curve once the book is whole again."""
    return next(decided for decided in decisions(run) if decided.model_role and decided.h_ticks > 0)


def decisions(run: Session) -> Iterator[DecisionRecord]:
    """One behind each update of 12 s of market."""
    later, shifted = run.engine.now_ns - START_NS, EventBuffer(65536)
    for buffer in market(12):
        events = buffer.array().copy()
        events["receive_ns"] += later
        shifted.clear()
        shifted.extend(events)
        run.engine.on_events(shifted)
        decided = DecisionRecord()
        run.engine.decide(RequestRecord(0, 1, now_ns=run.engine.now_ns, counterparty=1), decided)
        yield decided


def test_the_first_decision_after_a_kill_has_what_was_known_before(tmp_path: Path) -> None:
    now_ns, known = killed(tmp_path)
    assert len(segment_names(DirectoryStorage(str(tmp_path / "journal"), lock=False))) > 1
    run = session(tmp_path, "boot2", now_ns)
    for (_, labels, tolerance), group in zip(known, run.engine.learned(), strict=True):
        assert [list(each) for each in group.labels] == labels
        assert list(group.tolerance) == tolerance
    before = run.engine.learned()[0]
    assert before.calibration != ((0.0, 1.0), (0.0, 1.0))
    afresh = Engine(learning("logistic")).learned()
    assert [group.tolerance for group in run.engine.learned()] != [group.tolerance for group in afresh]
    decided = first_decision(run)
    assert decided.calibration == tuple(x for pair in before.calibration for x in pair)
    assert decided.held_alpha == before.tolerance[decided.posture_effective - 1]
    assert (
        run.engine.note_learned(run.engine.now_ns + 10 * S) == 0
    )  # all of it was known and written down before
    assert sum(1 for _ in decisions(run)) > 100
    assert run.engine.note_learned(run.engine.now_ns + 10 * S) > 0
    run.flush()
    run.close()
    for capture in (None, tmp_path / "capture"):
        report = verify(tmp_path / "journal", capture)
        assert (report.mismatches, report.complete, report.boots) == ([], True, 2)
        assert report.equal == report.decisions > 100
        assert report.notes == report.notes_equal and (report.notes > 2) is (capture is not None)


def test_pairs_of_a_model_that_does_not_serve_are_left_out(tmp_path: Path) -> None:
    """The tolerances stay: they are of the market and the posture, whatever the model is."""
    now_ns, known = killed(tmp_path)
    run = session(tmp_path, "boot2", now_ns, "first_passage")
    for (_, _, tolerance), group in zip(known, run.engine.learned(), strict=True):
        assert (group.calibration, group.labels) == (((0.0, 1.0), (0.0, 1.0)), ((0, 0), (0, 0)))
        assert list(group.tolerance) == tolerance
    decided = first_decision(run)
    assert decided.calibration == (0.0, 1.0, 0.0, 1.0)
    run.close()
    assert verify(tmp_path / "journal", tmp_path / "capture").complete


def test_labels_that_have_left_their_window_meanwhile_are_not_known_any_more(tmp_path: Path) -> None:
    now_ns, _ = killed(tmp_path)
    storage = DirectoryStorage(str(tmp_path / "journal"))
    state = recover(storage, now_ns).state
    storage.close()
    assert any(entry["models"] for entry in state.learned(now_ns))
    assert not any(entry["models"] for entry in state.learned(now_ns + 901 * S))
