"""``quotelife backtest``: artifacts and datasets in, figures out; what is missing is named."""

import errno
import json
import os
import re
import shutil
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from quotelife.errors import QuotelifeError
from quotelife.learn.dataset import HEAD, Piece, dataset_digest, schema_head, write_decisions
from quotelife.model.artifact import builtin_artifact
from quotelife_server.cli.commands import app
from reference import flow_twin as twin

ROOT = Path(__file__).resolve().parents[2]
ARTIFACT = str(builtin_artifact("first_passage"))


@pytest.fixture(scope="module")
def dataset(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("dataset")
    d = twin.market(7, seconds=300)
    piece = Piece(
        name="X", day="1970-01-01", instrument="X", group="x", reference=d.reference, rows=len(d),
        points=len(d.path), first_ns=int(d.now_ns[0]), last_ns=int(d.now_ns[-1]), key="k", digest=d.digest(),
    )  # fmt: skip
    write_decisions(d, folder / piece.decisions_file, folder / piece.path_file, {})
    head = {**schema_head(), "settings": {}, "digest": dataset_digest({}, [piece]), "pieces": [vars(piece)]}
    (folder / HEAD).write_text(json.dumps(head))
    return folder


def test_a_dataset_and_an_artifact_give_figures(dataset: Path, tmp_path: Path) -> None:
    """JSON with scores, frontier, value and held tolerance, the same in --out; twice the same."""
    out = tmp_path / "out.json"
    arguments = [
        "backtest",
        ARTIFACT,
        str(dataset),
        "--json",
        "--rows",
        "1000",
        "--block",
        "10s",
        "--window",
        "30s",
    ]
    run = CliRunner().invoke(app, [*arguments, "--out", str(out)])
    assert run.exit_code == 0, run.output
    result = json.loads(run.stdout)
    assert result == json.loads(out.read_text())
    (entry,) = result["sets"]
    assert entry["h"] == "h" and entry["model"] == "first_passage"
    assert {row["fill"] for row in entry["frontier"]} == {0.2, 0.3, 0.5, 0.7, 0.9}
    assert entry["value"] and entry["held_tolerance"] and entry["horizons"]
    assert CliRunner().invoke(app, arguments).stdout == run.stdout


def test_figures_are_told_in_words_without_json(dataset: Path) -> None:
    run = CliRunner().invoke(app, ["backtest", ARTIFACT, str(dataset), "--rows", "1000", "--block", "10s"])
    assert run.exit_code == 0, run.output
    assert "pick-offs against a fixed life at equal fill" in run.stdout


def test_curves_are_judged_under_the_configuration_that_is_named(dataset: Path, tmp_path: Path) -> None:
    """Off: other figures than under a window of labels."""
    config = tmp_path / "config"
    shutil.copytree(ROOT / "configs" / "default", config)
    written = (config / "market.yaml").read_text()
    off = re.sub(r"(recalibration: .*\n    enabled:) \w+", r"\1 false", written)
    (config / "market.yaml").write_text(off)
    arguments = ["backtest", ARTIFACT, str(dataset), "--json", "--rows", "1000", "--block", "10s"]
    found = []
    for more in (["--config", str(config)], ["--window", "30s"]):
        run = CliRunner().invoke(app, [*arguments, *more])
        assert run.exit_code == 0, run.output
        (entry,) = json.loads(run.stdout)["sets"]
        found.append([horizon["models"][0]["ece"] for horizon in entry["horizons"]])
    assert found[0] != found[1]


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ([ARTIFACT], "at least one artifact folder and one dataset folder"),
        (["--suite", "unreal"], "none of realdata"),
        (["--suite", "realdata", "--data", "x", "--set", "DAX"], "none of GBP"),
        ([ARTIFACT, "--block", "0s"], "must be above 0"),
        ([ARTIFACT, "--block", "5s"], "must be 10 s or more, twice the longest horizon"),
        ([ARTIFACT, "--window", "1ms"], "--window"),
        ([ARTIFACT, "--rows", "500"], "--rows: must be 1,000 or more, not 500"),
    ],
)
def test_wrong_usage_is_named(arguments: list[str], words: str) -> None:
    run = CliRunner().invoke(app, ["backtest", *arguments])
    assert run.exit_code == 2
    assert words in " ".join(run.output.replace("│", " ").split())


def test_a_threshold_that_is_none_is_named(dataset: Path) -> None:
    run = CliRunner().invoke(app, ["backtest", ARTIFACT, str(dataset), "--threshold", "6ticks ago"])
    assert run.exit_code == 2 and "is no threshold" in " ".join(run.output.replace("│", " ").split())


def test_the_suite_names_the_file_that_is_missing(tmp_path: Path) -> None:
    run = CliRunner().invoke(
        app, ["backtest", "--suite", "realdata", "--data", str(tmp_path), "--work", str(tmp_path / "work")]
    )
    assert isinstance(run.exception, QuotelifeError) and "name the folder with --data" in str(run.exception)


def test_figures_that_cannot_be_written_are_refused_at_once_and_lose_none(
    dataset: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A folder that is not there: before any work. A disk that fills up: the file of before stays as it was."""
    arguments = [
        "backtest",
        ARTIFACT,
        str(dataset),
        "--rows",
        "1000",
        "--block",
        "10s",
        "--window",
        "30s",
        "--out",
    ]
    run = CliRunner().invoke(app, [*arguments, str(tmp_path / "none" / "out.json")])
    assert run.exit_code == 2 and "cannot be written" in run.output
    out = tmp_path / "out.json"
    out.write_text("before")
    write_text = Path.write_text

    def full(path: Path, *rest: Any, **options: Any) -> int:
        write_text(path, "half")
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(Path, "write_text", full)
    run = CliRunner().invoke(app, [*arguments, str(out)])
    assert run.exit_code == 2 and "cannot be written (No space left on device)" in run.output
    assert out.read_text() == "before"
    assert list(tmp_path.iterdir()) == [out]


def test_what_a_watch_is_worth_is_told_by_path(dataset: Path, tmp_path: Path) -> None:
    """--withdraw gives a row for each path, as JSON, in words and on the page of ``quotelife report``."""
    arguments = ["backtest", ARTIFACT, str(dataset), "--rows", "1000", "--block", "10s", "--withdraw"]
    out = tmp_path / "out.json"
    run = CliRunner().invoke(app, [*arguments, "--out", str(out)])
    assert run.exit_code == 0, run.output
    for words in ("no watch", "1 ms", "5 ms", "50 ms", "500 ms"):
        assert f" {words} " in run.stdout
    (entry,) = json.loads(out.read_text())["sets"]
    assert {row["path_ns"] for row in entry["withdrawal"]} == {None, *(k * 10**6 for k in (1, 5, 50, 500))}
    page = tmp_path / "page.html"
    run = CliRunner().invoke(app, ["report", str(out), "--output", str(page)])
    assert run.exit_code == 0, run.output
    assert "by how long a withdrawal takes" in page.read_text()
