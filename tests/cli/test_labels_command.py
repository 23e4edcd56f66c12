"""``quotelife labels``: from sources to a dataset folder, interrupted, resumed and in parallel to the same digest."""

import json
import shutil
from pathlib import Path
from typing import Any

import pytest

from quotelife.capture.segments import SegmentFiles
from quotelife.capture.writer import CaptureWriter
from quotelife.engine import Engine
from quotelife.learn import build
from quotelife.learn.dataset import Dataset
from reference import market_kit
from reference.cli_kit import Run

HOURS = 0.0039  # 14 s
QUOTES = """
version: 1
instruments:
  - {name: EUR, venue: fx, symbol: EURUSD, tick_size: 0.00001, lot_size: 1, quotes_only: true}
  - {name: NZD, venue: fx, symbol: NZDUSD, tick_size: 0.00001, lot_size: 1, quotes_only: true, drivers: [AUD]}
  - {name: AUD, venue: fx, symbol: AUDUSD, tick_size: 0.00001, lot_size: 1, quotes_only: true}
"""


@pytest.fixture(autouse=True)
def short_pieces(monkeypatch: pytest.MonkeyPatch) -> None:
    """Two simulated pieces instead of one an hour."""
    monkeypatch.setattr("quotelife.learn.units.SIMULATED_PIECE_NS", 7 * 10**9)


def made(run: Run, out: Path, *arguments: object) -> dict[str, Any]:
    ended = run("labels", "--out", out, "--json", *arguments)
    assert ended.code == 0, ended.err + ended.out
    summary: dict[str, Any] = json.loads(ended.out)
    return summary


SIMULATED = ("--simulated", HOURS, "--seed", 3)


@pytest.fixture(scope="module")
def shelf(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("shelf")


@pytest.fixture
def was(run: Run, shelf: Path, tmp_path: Path) -> dict[str, Any]:
    """Summary of a dataset in ``tmp_path``: a copy of what the first test that wants one makes."""
    summary, folder = shelf / "summary.json", shelf / "dataset"
    if not summary.exists():
        summary.write_text(json.dumps(made(run, folder, *SIMULATED, "--jobs", 1)))
    shutil.copytree(folder, tmp_path, dirs_exist_ok=True)
    told: dict[str, Any] = json.loads(summary.read_text())
    return told


def test_a_simulated_market_becomes_a_dataset(run: Run, tmp_path: Path) -> None:
    summary = made(run, tmp_path / "d", *SIMULATED, "--jobs", 1)
    dataset = Dataset(tmp_path / "d")
    assert dataset.digest == summary["digest"] and dataset.instruments == ("BTC-USDT", "ETH-USDT")
    assert [sum(len(each) for each in dataset)] == [summary["rows"]] and summary["rows"] > 0
    assert summary["units"] == 2 and len(summary["pieces"]) == 4
    assert [p.first_ns for p in dataset.of("BTC-USDT")] == sorted(p.first_ns for p in dataset.of("BTC-USDT"))


def test_the_same_sources_and_settings_give_the_same_digest_and_others_do_not(
    run: Run, tmp_path: Path
) -> None:
    first = made(run, tmp_path / "a", *SIMULATED, "--jobs", 1)
    parallel = made(run, tmp_path / "b", *SIMULATED, "--jobs", 2)
    assert parallel["digest"] == first["digest"]
    for path in sorted((tmp_path / "a").glob("*.parquet")):
        assert (tmp_path / "b" / path.name).read_bytes() == path.read_bytes()
    other = made(run, tmp_path / "c", "--simulated", HOURS, "--seed", 4, "--jobs", 1)
    slower = made(run, tmp_path / "e", *SIMULATED, "--jobs", 1, "--latency", "9ms")
    assert len({first["digest"], other["digest"], slower["digest"]}) == 3


def test_interrupted_work_is_taken_up_and_gives_the_same_digest(
    run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = made(run, tmp_path / "whole", *SIMULATED, "--jobs", 1)
    make, calls = build.make_pieces, 0

    def interrupted(*arguments: Any) -> Any:
        nonlocal calls
        calls += 1
        if calls == 2:
            (tmp_path / "cut" / "half.parquet.tmp").write_bytes(b"half")
            raise KeyboardInterrupt
        return make(*arguments)

    with monkeypatch.context() as patch:
        patch.setattr(build, "make_pieces", interrupted)
        ended = run("labels", "--out", tmp_path / "cut", *SIMULATED, "--jobs", 1)
    assert ended.code == 130 and "the same command goes on from there" in ended.err
    assert not (tmp_path / "cut" / "dataset.json").exists()
    again = made(run, tmp_path / "cut", *SIMULATED, "--jobs", 1)
    assert again["kept_units"] == 1 and again["digest"] == whole["digest"]
    assert not list((tmp_path / "cut").glob("*.tmp"))
    assert made(run, tmp_path / "cut", *SIMULATED, "--jobs", 1)["kept_units"] == 2


def test_a_piece_without_its_last_file_does_not_count(run: Run, tmp_path: Path) -> None:
    whole = made(run, tmp_path / "d", *SIMULATED, "--jobs", 1)
    piece = Dataset(tmp_path / "d").pieces[0]
    for name in (f"{piece.name}.json", piece.path_file):
        (tmp_path / "d" / name).unlink()
        again = made(run, tmp_path / "d", *SIMULATED, "--jobs", 1)
        assert again["kept_units"] == 1 and again["digest"] == whole["digest"]


def test_a_folder_of_other_settings_is_not_overwritten(run: Run, tmp_path: Path) -> None:
    made(run, tmp_path / "d", *SIMULATED, "--jobs", 1)
    ended = run("labels", "--out", tmp_path / "d", *SIMULATED, "--every", "1s")
    assert ended.code == 1 and "every_ns 250000000" in ended.err and "another --out" in ended.err


def test_a_folder_that_cannot_be_written_is_named_with_the_mend(run: Run, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    ended = run("labels", "--out", tmp_path / "file" / "d", *SIMULATED)
    assert ended.code == 1 and "file/d: Not a directory; make room, or name another --out" in ended.err


def test_the_process_of_a_source_that_fails_is_named_and_the_others_end(run: Run, tmp_path: Path) -> None:
    config = tmp_path / "c.yaml"
    config.write_text(QUOTES)
    for name in ("EURUSD_2024-05-07.csv", "AUDUSD_2024-05-07.csv"):
        (tmp_path / name).write_text("0,1.00000,1.00010\nbroken\n")
    ended = run(
        "labels", "--config", config, "--out", tmp_path / "d", "--jobs", 2,
        f"EUR={tmp_path / 'EURUSD_2024-05-07.csv'}", f"AUD={tmp_path / 'AUDUSD_2024-05-07.csv'}",
    )  # fmt: skip
    assert ended.code == 1 and "broken" in ended.err and "Traceback" not in ended.err
    assert not (tmp_path / "d" / "dataset.json").exists()


def ticks(path: Path, seed: int) -> None:
    """A minute of quotes that move by a tick each second."""
    rows = []
    for ms in range(0, 60_000, 250):
        up = ms // 1000 * seed % 7 * 1e-5
        rows.append(f"{ms},{1 + up:.5f},{1.0001 + up:.5f}")
    path.write_text("\n".join(rows) + "\n")


def test_days_go_apart_and_what_drives_each_other_goes_together(run: Run, tmp_path: Path) -> None:
    config = tmp_path / "c.yaml"
    config.write_text(QUOTES)
    sources = []
    for name, symbol in (("EUR", "EURUSD"), ("NZD", "NZDUSD"), ("AUD", "AUDUSD")):
        for day in (7, 8):
            path = tmp_path / f"{symbol}_2024-05-0{day}.csv"
            ticks(path, 1 + day + len(sources))
            sources.append(f"{name}={path}")
    summary = made(run, tmp_path / "d", "--config", config, *sources, "--jobs", 1)
    assert summary["units"] == 4  # EUR; NZD with AUD; two days
    assert sorted((p["instrument"], p["day"][-2:]) for p in summary["pieces"]) == [
        (name, day) for name in ("AUD", "EUR", "NZD") for day in ("07", "08")
    ]
    assert made(run, tmp_path / "e", "--config", config, *sources, "--jobs", 1, "--continued")["units"] == 2


def captured(folder: Path, boot_id: str, seed: int) -> None:
    writer = CaptureWriter(SegmentFiles(folder), boot_id=boot_id)
    engine = Engine(market_kit.CONFIG, start_ns=market_kit.START_NS)
    writer.begin(engine.config_payload(), start_ns=market_kit.START_NS)
    engine.record_to(writer)
    for buffer in market_kit.market(10, seed):
        engine.on_events(buffer)
        writer.write_pending()
    engine.record_to()
    assert writer.close()


def test_boots_of_a_capture_are_labelled_apart_and_kept_when_another_joins_them(
    run: Run, tmp_path: Path
) -> None:
    """One piece an instrument and boot, under the captured configuration; compressing a segment changes nothing."""
    captured(tmp_path / "capture", "first", 1)
    summary = made(run, tmp_path / "d", tmp_path / "capture", "--reference", "mid")
    assert [(p["instrument"], p["reference"]) for p in summary["pieces"]] == [("BTC", "mid"), ("ETH", "mid")]
    assert all(p["rows"] > 30 for p in summary["pieces"])
    files = SegmentFiles(tmp_path / "capture")
    while files.tidy(0):
        pass
    files.close()
    assert list((tmp_path / "capture").glob("*.zst"))
    captured(tmp_path / "capture", "second", 2)
    both = made(run, tmp_path / "d", tmp_path / "capture", "--reference", "mid", "--jobs", 1)
    assert (both["units"], both["kept_units"], len(both["pieces"])) == (2, 1, 4)


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ((), "name a captured folder or recorded files, or --simulated HOURS"),
        (("--simulated", "0"), "hours"),
        (("--simulated", "1", "x.csv"), "takes no sources"),
        (("--simulated", "1", "--every", "fast"), "--every"),
        (("--simulated", "1", "--every", "0ms"), "--every"),
        (("--simulated", "1", "-t", "3pips"), "tick, bp or sigma"),
        (("--simulated", "1", "--reference", "last"), "--reference"),
    ],
)
def test_wrong_usage_is_named(run: Run, tmp_path: Path, arguments: tuple[str, ...], words: str) -> None:
    ended = run("labels", "--out", tmp_path / "d", *arguments)
    assert ended.code == 2 and words in " ".join(ended.err.replace("│", " ").split())


def test_a_source_without_a_book_says_so(run: Run, tmp_path: Path) -> None:
    path = tmp_path / "a.csv"
    path.write_text("")
    ended = run("labels", "--out", tmp_path / "d", path)
    assert ended.code == 1 and "a.csv" in ended.err


@pytest.mark.parametrize("spoilt", ["[" * 100_000, "[]", '{"settings": null}'])
def test_a_spoilt_head_is_written_anew(run: Run, tmp_path: Path, was: dict[str, Any], spoilt: str) -> None:
    (tmp_path / "dataset.json").write_text(spoilt)
    again = made(run, tmp_path, *SIMULATED)
    assert (again["kept_units"], again["digest"]) == (again["units"], was["digest"])


@pytest.mark.parametrize("kept", [0, 4, 0.5])
@pytest.mark.parametrize("which", ["decisions_file", "path_file"])
def test_a_piece_whose_file_is_empty_or_cut_short_is_made_anew(
    run: Run, tmp_path: Path, was: dict[str, Any], which: str, kept: float
) -> None:
    path = tmp_path / getattr(Dataset(tmp_path).pieces[0], which)
    whole = path.read_bytes()
    path.write_bytes(whole[: round(kept * len(whole)) if isinstance(kept, float) else kept])
    again = made(run, tmp_path, *SIMULATED)
    assert (again["kept_units"], again["digest"]) == (again["units"] - 1, was["digest"])
    assert path.read_bytes() == whole


@pytest.mark.parametrize("spoilt", ["[" * 100_000, "[]", "rows"])
def test_a_spoilt_piece_is_made_anew(run: Run, tmp_path: Path, was: dict[str, Any], spoilt: str) -> None:
    path = next(tmp_path.glob("BTC*.json"))
    if spoilt == "rows":
        spoilt = json.dumps({**json.loads(path.read_text()), "rows": "40"})
    path.write_text(spoilt)
    again = made(run, tmp_path, *SIMULATED)
    assert (again["kept_units"], again["digest"]) == (again["units"] - 1, was["digest"])
