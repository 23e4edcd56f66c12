"""Steps down to Risk Averse and back among the inputs: decisions come out again, both ways, and over a restart."""

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from quotelife.config import Config
from quotelife.inputs import Change
from quotelife.journal.format import Kind
from quotelife.journal.records import decode_change
from quotelife.model.artifact import builtin_artifact, load_artifact, save_artifact
from quotelife.model.ladder import StepSource
from quotelife.records import EventBuffer, ReasonFlags
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


def of_two(settings: Config) -> Config:
    """A second instrument, in a group of its own."""
    content = json.loads(settings.model_dump_json(by_alias=True))
    content["instruments"].append({**content["instruments"][0], "name": "Y", "symbol": "Y"})
    return Config.model_validate_json(json.dumps(content))


def alike(plan: list[tuple[float, float]], seed: int, start_ns: int) -> Iterator[EventBuffer]:
    """The same market for both instruments."""
    both = EventBuffer(16)
    for _, buffer in jump_kit.quotes(plan, seed, start_ns):
        events = buffer.array().copy()
        both.clear()
        both.extend(events)
        events["instrument"] = 1
        both.extend(events)
        yield both


def test_two_groups_that_step_down_at_one_timer_are_verified_from_market_bytes(tmp_path: Path) -> None:
    run = session(
        tmp_path, of_two(config(tmp_path, labels_min=1900))
    )  # their sums are beyond the limit long before
    seconds, rate = HARD
    run.work(alike([(seconds - 50, rate)], 1, run.engine.now_ns), 1, 0.0)  # only probes, the same of both
    run.work(alike([(50.0, rate)], 2, run.engine.now_ns), 300, 300 / 950)
    (first, since_ns, *_), (second, other_ns, *_) = run.engine.monitors.steps()
    assert (first, second) == ("X", "Y") and since_ns == other_ns
    run.close()
    for report in (verify(tmp_path / "journal"), verify(tmp_path / "journal", tmp_path / "capture")):
        assert report.unverifiable == [] and report.mismatches == []
        assert (report.decisions, report.equal, report.changes) == (300, 300, 2)


def reload(run: Watched) -> None:
    content = json.loads(run.engine.config.model_dump_json(by_alias=True))
    content["learning"]["monitor"]["worst"] = "alert"
    run.engine.apply_config(Config.model_validate_json(json.dumps(content)), run.engine.now_ns)


def swap(run: Watched) -> None:
    run.engine.apply_model(load_artifact(builtin_artifact("logistic")), run.engine.now_ns)


@pytest.mark.parametrize("change", [reload, swap])
def test_a_change_that_ends_the_steps_of_two_groups_is_verified_from_market_bytes(
    tmp_path: Path, change: Callable[[Watched], None]
) -> None:
    run = session(tmp_path, of_two(config(tmp_path, automatic_return=False)))
    run.work(alike([HARD], 1, run.engine.now_ns), 300, 300 / 5900)
    assert len(run.engine.monitors.steps()) == 2
    change(run)
    assert run.engine.monitors.steps() == []
    run.work(alike([(60.0, jump_kit.RATE)], 2, run.engine.now_ns), 500, 200 / 1100)
    run.close()
    for report in (verify(tmp_path / "journal"), verify(tmp_path / "journal", tmp_path / "capture")):
        assert report.unverifiable == [] and report.mismatches == []
        assert (report.decisions, report.equal, report.changes) == (500, 500, 5)


def test_instruments_that_move_to_a_new_group_take_its_step_along_and_are_verified(tmp_path: Path) -> None:
    run = session(tmp_path, of_two(config(tmp_path, automatic_return=False)))
    run.work(alike([HARD], 1, run.engine.now_ns), 300, 300 / 5900)
    content = json.loads(run.engine.config.model_dump_json(by_alias=True))
    for each in content["instruments"]:
        each["group"] = "both"
    run.engine.apply_config(Config.model_validate_json(json.dumps(content)), run.engine.now_ns)
    assert [name for name, *_ in run.engine.monitors.steps()] == ["both"]
    lowered = run.lowered
    run.work(alike([(60.0, jump_kit.RATE)], 2, run.engine.now_ns), 500, 200 / 1100)
    assert run.lowered > lowered + 100
    run.close()
    for report in (verify(tmp_path / "journal"), verify(tmp_path / "journal", tmp_path / "capture")):
        assert report.unverifiable == [] and report.mismatches == []
        # Changes: down twice, the group, down, up twice.
        assert (report.decisions, report.equal, report.changes) == (500, 500, 6)


@pytest.fixture(scope="module")
def down(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A day with one step down; it is only read."""
    folder = tmp_path_factory.mktemp("down")
    run = session(folder, config(folder))
    work(run, [HARD], 300)
    assert run.engine.monitors.is_down(0)
    run.close()
    return folder


@pytest.mark.parametrize(
    ("key", "value", "said"),
    [
        ("group", "Y", "step down of group Y does not come out again"),
        ("down", False, "return of group X does not come out again"),
        ("reason", "P is far too low", "recorded reason P is far too low; recomputed reason P is too low"),
        ("model", "00000000000000ab", "recorded model 00000000000000ab"),
        ("since_ns", jump_kit.START_NS + 1, f"recorded since_ns {jump_kit.START_NS + 1}"),
    ],
)
def test_a_step_that_does_not_follow_from_the_labels_is_found(
    down: Path, monkeypatch: pytest.MonkeyPatch, key: str, value: Any, said: str
) -> None:
    """The journal says one thing of a step and the labels another: nothing is verified any further."""

    def bent(record: Any) -> Any:
        change = decode_change(record)
        if change.kind is Change.STEPPED:
            change.payload[key] = value
        return change

    monkeypatch.setattr(module, "decode_change", bent)
    report = verify(down / "journal", down / "capture")
    assert said in report.unverifiable[0].reason


def test_a_step_that_the_journal_does_not_tell_of_is_found(
    down: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = module.Journal.records

    def some(self: Any, *args: Any) -> Any:
        for record in whole(self, *args):
            if record.kind is not Kind.CHANGE or decode_change(record).kind is not Change.STEPPED:
                yield record

    monkeypatch.setattr(module.Journal, "records", some)
    report = verify(down / "journal", down / "capture")
    assert "group X steps down here, and the journal does not say so" in report.unverifiable[0].reason
