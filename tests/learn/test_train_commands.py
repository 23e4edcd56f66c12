"""``quotelife train`` and ``quotelife calibrate`` over datasets on disk."""

import json
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pytest
from tests.learn.training_kit import decisions
from typer.testing import CliRunner

from quotelife.errors import QuotelifeError
from quotelife.learn import dataset as files
from quotelife.learn import train
from quotelife.model.artifact import load_artifact
from quotelife_server.cli.commands import app
from reference import jump_kit

pytest.importorskip("xgboost")
pytest.importorskip("pyarrow")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A dataset of two instruments, a piece each."""
    out = tmp_path_factory.mktemp("dataset")
    pieces = []
    for seed, name in ((1, "A"), (2, "B")):
        made = decisions(seed, 200, instrument=name)
        piece = files.Piece(
            name=name,
            day="",
            instrument=name,
            group=name,
            reference=made.reference,
            rows=len(made),
            points=len(made.path),
            first_ns=int(made.now_ns[0]),
            last_ns=int(made.now_ns[-1]),
            key=name,
            digest=made.digest(),
        )
        files.write_decisions(made, out / piece.decisions_file, out / piece.path_file, {})
        pieces.append(piece)
    head = {
        **files.schema_head(),
        "digest": files.dataset_digest({}, pieces),
        "settings": {},
        "pieces": [asdict(piece) for piece in pieces],
    }
    (out / files.HEAD).write_text(json.dumps(head))
    return out


def run(*arguments: object) -> Any:
    return CliRunner().invoke(app, [str(argument) for argument in arguments])


FEW = ("--trees", 5, "--depth", 2)


def test_a_model_for_each_instrument_from_data_to_artifact_and_to_a_calibrated_one(
    folder: Path, tmp_path: Path
) -> None:
    done = run("train", folder, "-o", tmp_path, "-t", "3tick", *FEW, "--json")
    assert done.exit_code == 0, done.output
    artifacts = json.loads(done.output)["artifacts"]
    assert [one["name"] for one in artifacts] == ["trees_A", "trees_B"]
    model = load_artifact(artifacts[0]["artifact"])
    assert model.digest == artifacts[0]["digest"] and model.kind == "trees"
    told = run("calibrate", artifacts[0]["artifact"], folder, "-o", tmp_path, "-i", "B", "-t", "3tick")
    assert told.exit_code == 0, told.output
    assert "B, 3tick, 500 ms before" in told.output and "a pick-off on B at 3tick costs" in told.output


def test_a_level_that_makes_most_scores_worse_is_told_and_written_by_force_alone(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The level that is found is one of a market where everything is passed at once."""
    done = run("train", folder, "-i", "A", "-o", tmp_path, "-t", "3tick", *FEW, "--json")
    (one,) = json.loads(done.output)["artifacts"]
    monkeypatch.setattr(train, "levelled", lambda model, samples: jump_kit.model(20.0))
    arguments = ("calibrate", one["artifact"], folder, "-i", "B", "-t", "3tick", "--name", "spoilt")
    told = run(*arguments, "-o", tmp_path / "out")
    assert told.exit_code == 1 and not (tmp_path / "out").exists()
    assert "B, 3tick, 500 ms before" in told.output
    assert "of 7 scores got worse: nothing is written" in told.output and "--force" in told.output
    summary = json.loads(run(*arguments, "-o", tmp_path / "out", "--json").output)
    assert summary["artifacts"] == [] and summary["written"] is False and summary["worse"] > 3
    ece = [[entry["calibration_error"] for entry in summary[key]] for key in ("after", "before")]
    assert summary["worse"] == sum(after > before for after, before in zip(*ece, strict=True))
    forced = run(*arguments, "-o", tmp_path / "out", "--force")
    assert forced.exit_code == 0 and "written all the same" in forced.output
    assert load_artifact(*(tmp_path / "out").glob("spoilt-*")).kind == "logistic"


def test_one_universal_model_of_all_and_a_stack_on_it(folder: Path, tmp_path: Path) -> None:
    done = run("train", folder, "-m", "universal", "-o", tmp_path, *FEW, "--rows", 1000, "--json")
    (one,) = json.loads(done.output)["artifacts"]
    assert [entry["instrument"] for entry in one["training"]["instruments"]] == ["A", "B"]
    stack = run(
        "train",
        folder,
        "-i",
        "A",
        "-o",
        tmp_path,
        *FEW,
        "--stack",
        one["artifact"],
        "--name",
        "stack",
        "--json",
    )
    (stacked,) = json.loads(stack.output)["artifacts"]
    assert stacked["name"] == "stack" and stacked["training"]["stacked_on"] == one["digest"]


def test_an_interrupted_training_keeps_its_checkpoints_and_says_how_to_go_on(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Stopped at the scores: the trees are there when it runs again, and gone when it is done."""

    def stop(*_: object) -> Any:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(train, "evaluate", stop)
        stopped = run("train", folder, "-i", "A", "-o", tmp_path, *FEW)
    assert stopped.exit_code == 130 and "the same command goes on" in stopped.output
    assert len(list((tmp_path / train.CHECKPOINTS).glob("*.ubj"))) == 4
    assert run("train", folder, "-i", "A", "-o", tmp_path, *FEW).exit_code == 0
    assert not (tmp_path / train.CHECKPOINTS).exists()


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["-m", "forest"], "none of logistic, trees, universal"),
        (["-m", "logistic", "--tune", "3"], "has no recipe"),
        (["-m", "universal", "--stack", "x"], "belongs to --model trees"),
        (["--split", "50/50"], "three parts that make 100"),
    ],
)
def test_wrong_usage_names_the_option(folder: Path, tmp_path: Path, arguments: list[str], says: str) -> None:
    done = run("train", folder, "-o", tmp_path, *arguments)
    assert done.exit_code == 2
    assert says in " ".join(done.output.replace("│", " ").split())


def test_an_instrument_in_no_dataset_is_named_with_those_there_are(folder: Path, tmp_path: Path) -> None:
    done = run("train", folder, "-o", tmp_path, "-i", "C")
    assert done.exit_code == 1 and "no instrument 'C' in the data; there are: A, B" in str(done.exception)


def test_a_dataset_named_twice_is_refused(folder: Path, tmp_path: Path) -> None:
    ended = run("train", folder, folder, *FEW, "--out", tmp_path)
    assert isinstance(ended.exception, QuotelifeError) and "name each dataset once" in str(ended.exception)


def test_a_disk_that_takes_nothing_is_named(folder: Path, tmp_path: Path) -> None:
    (tmp_path / "models").touch()
    ended = run("train", folder, *FEW, "--out", tmp_path / "models")
    assert isinstance(ended.exception, QuotelifeError)
    assert str(tmp_path / "models") in str(ended.exception) and "name another --out" in str(ended.exception)
