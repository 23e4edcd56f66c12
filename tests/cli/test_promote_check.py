"""``quotelife promote-check --out``: refused before anything is judged, written whole or not at all."""

from pathlib import Path

from quotelife.model.artifact import builtin_artifact
from reference.cli_kit import Run


def test_a_path_that_cannot_be_written_is_refused_before_anything_is_judged(run: Run, tmp_path: Path) -> None:
    ask = ("promote-check", builtin_artifact("golden"), "--dataset", tmp_path / "no-dataset", "--out")
    for path, why in (
        (tmp_path / "nowhere" / "verdict.json", "cannot be written"),
        (tmp_path, "is a folder"),
    ):
        ended = run(*ask, path)
        assert ended.code == 2 and why in ended.err and "no-dataset" not in ended.err


def test_where_nothing_could_be_judged_the_verdict_before_stays(run: Run, tmp_path: Path) -> None:
    out = tmp_path / "verdict.json"
    out.write_text("before")
    ask = ("promote-check", builtin_artifact("golden"), "--dataset", tmp_path / "no-dataset", "--out", out)
    assert run(*ask).code == 1
    assert out.read_text() == "before" and list(tmp_path.iterdir()) == [out]
