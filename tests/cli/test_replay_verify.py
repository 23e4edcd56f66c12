"""Captures and journals through ``quotelife``: replayed, exported, verified, with exit codes and words."""

import json
from pathlib import Path

import pytest

from quotelife.replay.follow import Follower
from reference.cli_kit import Run
from reference.market_kit import CONFIG, START_NS, market
from reference.session_kit import Session


@pytest.fixture(scope="module")
def day(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("day")
    session = Session(folder / "journal", folder / "capture", CONFIG, start_ns=START_NS, block_bytes=10_000)
    session.work(market(40), 800, 0.25)
    session.close()
    return folder


def test_verify_says_that_all_is_equal(run: Run, day: Path) -> None:
    alone = run("replay", "--verify", "--journal", day / "journal")
    assert alone.code == 0 and "800 equal, 0 unequal, 0 could not be verified" in alone.out
    ended = run("replay", "--verify", "--journal", day / "journal", "--capture", day / "capture")
    assert ended.code == 0 and "from market bytes up: 800 equal" in ended.out


def test_verify_fails_on_what_is_unequal_and_names_the_fields(
    run: Run, day: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Follower, "apply", lambda *_: None)  # no change is followed any more
    ended = run("replay", "--verify", "--journal", day / "journal")
    assert ended.code == 1
    assert "UNEQUAL boot1-" in ended.out and "revision was" in ended.out


def test_verify_fails_on_what_cannot_be_verified_unless_that_is_allowed(
    run: Run, day: Path, tmp_path: Path
) -> None:
    (tmp_path / "0000000001.qlc").write_bytes((day / "capture" / "0000000001.qlc").read_bytes()[:40_000])
    arguments = ("replay", "--verify", "--journal", day / "journal", "--capture", tmp_path)
    ended = run(*arguments)
    assert ended.code == 1 and "UNVERIFIABLE boot boot1 from input" in ended.out
    assert run(*arguments, "--allow-gaps").code == 0
    report = json.loads(run(*arguments, "--json").out)
    assert report["unequal"] == 0 and report["decisions"] + report["unverifiable_decisions"] == 800


def test_verify_says_what_it_takes(run: Run, day: Path) -> None:
    assert "--verify: takes --journal DIR" in run("replay", "--verify").err
    assert "belong to --verify" in run("replay", "--journal", day / "journal", day / "capture").err
    assert "nothing to replay" in run("replay").err
    assert "no such folder" in run("replay", "--verify", "--journal", day / "none").err
    assert "no segment of a journal" in run("replay", "--verify", "--journal", day / "capture").err


def test_replay_of_a_capture_asks_for_lives(run: Run, day: Path) -> None:
    report = json.loads(run("replay", "--json", "--speed", "max", day / "capture").out)
    assert report["lost"] == 0 and report["sources"]["BTC"]["events"] > 500
    assert report["decisions"]["QUOTE"] > 20
    assert "--speed" in run("replay", "--speed", "fast", day / "capture").err
    assert "--speed" in run("replay", "--speed", "0", day / "capture").err


def test_export_of_a_capture(run: Run, day: Path, tmp_path: Path) -> None:
    pytest.importorskip("pyarrow")
    ended = run("capture", "export", day / "capture", "--out", tmp_path / "day.parquet")
    assert ended.code == 0 and "rows in" in ended.out and (tmp_path / "day.parquet").is_file()


def test_capture_without_feeds_or_folder_says_so(run: Run, tmp_path: Path) -> None:
    (tmp_path / "c.yaml").write_text(
        "version: 1\ninstruments:\n  - {name: A, venue: v, symbol: A, tick_size: 1, lot_size: 1}\n"
    )
    ended = run("capture", "--config", tmp_path, "--out", tmp_path / "out", "--seconds", "1")
    assert ended.code == 1 and "no feeds" in ended.err
