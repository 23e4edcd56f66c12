"""Steps down to Risk Averse and back among the inputs: decisions come out again, both ways, and over a restart."""

import json
from pathlib import Path
from typing import Any

import pytest

from quotelife.config import Config
from quotelife.model.artifact import save_artifact
from quotelife.model.ladder import StepSource
from quotelife.records import ReasonFlags
from quotelife.replay import verify as module
from quotelife.replay.verify import verify
from reference import jump_kit
from reference.session_kit import Session


class Watched(Session):
    """Timers alone; notes how many decisions a step down has lowered."""

    lowered = 0

    def tick(self, now_ns: int) -> None:
        self.engine.on_timer(now_ns)
        self.figures.timers += 1

    def decide(self, now_ns: int) -> None:
        super().decide(now_ns)
        self.lowered += bool(self._answer.reasons & ReasonFlags.MODEL_STEPPED_DOWN)


def config(folder: Path, **monitor: Any) -> Config:
    made = jump_kit.config(
        {"worst": "step_down", "labels_min": 500, "well_after": "2min", "window": "10min", **monitor}
    )
    artifact = save_artifact(
        jump_kit.model(jump_kit.RATE),
        folder / "models",
        name="jumps",
        description="constant hazard",
        folder="jumps",
    )
    content = json.loads(made.model_dump_json(by_alias=True))
    content["model"]["artifact"] = str(artifact)
    return Config.model_validate_json(json.dumps(content))


def session(
    folder: Path, settings: Config, start_ns: int = jump_kit.START_NS, boot_id: str = "boot1"
) -> Watched:
    return Watched(folder / "journal", folder / "capture", settings, start_ns=start_ns, boot_id=boot_id)


def work(run: Watched, plan: list[tuple[float, float]], decisions: int, seed: int = 1) -> None:
    batches = (buffer for _, buffer in jump_kit.quotes(plan, seed, run.engine.now_ns))
    steps = sum(seconds for seconds, _ in plan) * 20
    run.work(batches, run.figures.decisions + decisions, decisions / (steps - 100))


HARD, CALM = (300.0, 8 * jump_kit.RATE), (400.0, jump_kit.RATE)


def test_a_step_down_and_the_way_back_are_verified_from_record_and_from_market(tmp_path: Path) -> None:
    run = session(tmp_path, config(tmp_path))
    work(run, [HARD, CALM], 800)
    assert not run.engine.monitors.is_down(0) and 50 < run.lowered < 600
    run.close()
    for report in (verify(tmp_path / "journal"), verify(tmp_path / "journal", tmp_path / "capture")):
        assert report.mismatches == []
        assert (report.decisions, report.equal, report.complete, report.changes) == (800, 800, True, 2)


def test_a_step_down_is_in_force_after_a_restart_until_an_operator_ends_it(tmp_path: Path) -> None:
    settings = config(tmp_path, automatic_return=False)
    run = session(tmp_path, settings)
    work(run, [HARD], 300)
    (before,) = run.engine.monitors.steps()
    run.close()
    again = session(tmp_path, settings, run.engine.now_ns, "boot2")
    assert again.engine.monitors.steps() == [before]
    work(again, [(60.0, jump_kit.RATE)], 200, seed=2)
    assert again.lowered > 50
    again.engine.step(again.engine.now_ns, "X", False, source=StepSource.OPERATOR, reason="looked at")
    lowered = again.lowered
    work(again, [(60.0, jump_kit.RATE)], 200, seed=3)
    assert again.lowered == lowered
    again.close()
    for report in (verify(tmp_path / "journal"), verify(tmp_path / "journal", tmp_path / "capture")):
        assert report.mismatches == []
        assert (report.boots, report.decisions, report.equal, report.complete) == (2, 700, 700, True)


def test_a_step_that_was_switched_off_is_left_out_at_the_restart_and_said(tmp_path: Path) -> None:
    run = session(tmp_path, config(tmp_path))
    work(run, [HARD], 100)
    assert run.engine.monitors.is_down(0)
    run.close()
    again = session(tmp_path, config(tmp_path, worst="alert"), run.engine.now_ns, "boot2")
    assert not again.engine.monitors.is_down(0)
    again.close()


def test_a_step_that_does_not_follow_from_the_labels_is_found(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The journal says stepped down where the labels do not: from market bytes that is not verified any further."""
    run = session(tmp_path, config(tmp_path))
    work(run, [HARD], 300)
    run.close()

    def bent(record: Any) -> Any:
        change = original(record)
        if change.kind is module.Change.STEPPED:
            change.payload["group"] = "Y"
        return change

    original = module.decode_change
    monkeypatch.setattr(module, "decode_change", bent)
    report = verify(tmp_path / "journal", tmp_path / "capture")
    assert (
        not report.complete
        and "step down of group Y does not come out again" in report.unverifiable[0].reason
    )
