"""Every command through its entry point: exit codes, words for people, JSON for machines, never a traceback."""

import asyncio
import contextlib
import errno
import gzip
import io
import json
import re
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from quote_expiry.v1 import admin_service_pb2 as admin
from quote_expiry.v1 import types_pb2 as types
from quotelife.decision.kill import KillSource
from quotelife.journal import recovery
from quotelife.journal.storage import DirectoryStorage
from quotelife.learn import time_boosters
from quotelife.model.booster_file import read_booster
from quotelife.model.trees import TreeEnsemble
from quotelife.sim.binance_wire import BinanceWire
from quotelife.sim.market import BTC, MarketConfig, MarketSimulator
from quotelife.units import NS_PER_MS, NS_PER_S
from quotelife_server import cli
from quotelife_server.app import Application
from quotelife_server.cli.bench import lines as bench_lines
from quotelife_server.cli.doctor_service import of_status
from quotelife_server.kill import orders
from reference.cli_kit import Ended, Run
from reference.service_kit import CONFIG, running, write_config

ROOT = Path(__file__).resolve().parents[2]
DEFAULT = ROOT / "configs" / "default"
NOBODY = "127.0.0.1:1"
COMMANDS = [
    "serve",
    "demo",
    "get",
    "watch",
    "kill",
    "enable",
    "replay",
    "explain",
    "doctor",
    "bench",
    "config",
    "config check",
    "capture",
    "capture export",
    "journal",
    "journal verify",
    "journal export",
    "models",
    *(
        f"models {name}"
        for name in (
            "list",
            "add",
            "verify",
            "remove",
            "load",
            "unload",
            "canary",
            "promote",
            "rollback",
            "clear",
        )
    ),
]


def failed(ended: Ended, *words: str) -> None:
    """Exit 1, and one line that says why."""
    assert ended.code == 1
    (line,) = ended.err.splitlines()
    assert line.startswith("quotelife: ")
    for word in words:
        assert word in line


def record(path: Path, seconds: int = 8) -> Path:
    """A recording of the simulated venue, as ``quotelife replay`` takes it."""
    config = MarketConfig(symbols=(BTC,), market="usdm")
    market = MarketSimulator(config, 3, 1_700_000_000 * NS_PER_S)
    wire = BinanceWire(config)
    lines: list[bytes] = []

    def add(time_ns: int, data: bytes) -> None:
        lines.append(b"%d %b\n" % (time_ns + NS_PER_MS, data))

    for second in range(1, seconds + 1):
        now_ns = market.start_ns + second * NS_PER_S
        for update in market.advance(now_ns):
            add(update.time_ns, wire.combined(wire.stream_of(update), wire.encode(update)))
        if second == 1:
            add(now_ns, wire.snapshot(market.snapshot(0)))
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(gzip.compress(b"".join(lines)))
    return path


@pytest.fixture(scope="module")
def recording(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return record(tmp_path_factory.mktemp("recording") / "usdm" / "btcusdt_1.gz")


# ----------------------------------------------------------------------------------------------------- help


@pytest.mark.parametrize("command", COMMANDS)
def test_help_of_every_command(run: Run, command: str) -> None:
    ended = run(*command.split(), "--help")
    assert ended.code == 0
    assert "Usage: " in ended.out


def test_help_lists_every_command_and_an_unknown_one_is_wrong_usage(run: Run) -> None:
    listed = run("--help").out
    assert all(command.split()[0] in listed for command in COMMANDS)
    assert run("bid").code == cli.EXIT_USAGE
    assert run("get").code == cli.EXIT_USAGE


WRONG = {
    "serve": [["--address", "nonsense"], ["--metrics-address", "x:70000"]],
    "demo": [
        ["--seconds", "1"],
        ["--address", "nonsense"],
        ["--target", "nowhere"],
        ["--scenario", "nonsense"],
        ["--json"],
        ["--scenario", "eth-news", "--seconds", "10"],
        ["--scenario", "rfq-market", "--plain"],
    ],
    "get": [
        ["BTC-USDT", "SIDEWAYS"],
        ["BTC-USDT", "BUY", "much"],
        ["BTC-USDT", "BUY", "--price", "1e5"],
        ["BTC-USDT", "BUY", "--timeout", "0"],
        ["BTC-USDT", "BUY", "--target", "nowhere"],
        ["-", "BUY"],
        ["BTC-USDT", "BUY", "--leg", "BTC-USDT,BUY"],
        ["-", "BUY", "--leg", "BTC-USDT"],
        ["-", "BUY", "--leg", "BTC-USDT,BUY,1,x"],
        ["-", "BUY", "--leg", "BTC-USDT,BUY,0x1"],
    ],
    "watch": [[], ["id", "--target", "nowhere"], ["id", "--timeout", "0"]],
    "kill": [
        [],
        ["--reason", ""],
        ["--reason", "x", "--counterparty", ""],
        ["--reason", "x" * 129],
        ["--reason", "a # b", "--file", "KILL"],
    ],
    "enable": [[], ["--reason", ""], ["--reason", "x", "--target", "host:port"]],
    "replay": [
        [],
        ["--speed", "fast", "x.gz"],
        ["--ask-every", "soon", "x.gz"],
        ["--verify"],
        ["--verify", "--journal", "j", "x.gz"],
        ["--journal", "j"],
        [".", "x.gz"],
    ],
    "explain": [
        [],
        ["id", "--journal", "j", "--target", NOBODY],
        ["id", "--side", "both"],
        ["id", "--target", "nowhere"],
    ],
    "doctor": [["--target", "nowhere"], ["--target", NOBODY, "--config", "c"], ["--timeout", "0"]],
    "bench": [["everything"], ["--rounds", "0"]],
    "config": [[], ["no-such-command"]],
    "config check": [[]],
    "capture": [["--seconds", "0"], ["--config", str(DEFAULT)]],
    "capture export": [[], ["folder"]],
    "journal": [[], ["no-such-command"]],
    "journal verify": [[], ["a", "b"]],
    "journal export": [[], ["folder"]],
    "models": [[], ["no-such-command"]],
    "models list": [["a"], ["--timeout", "soon"]],
    "models add": [[], ["golden"]],
    "models verify": [[]],
    "models remove": [[], ["golden"]],
    "models load": [[], ["a", "-p", "bold"]],
    "models unload": [[], ["a", "-p", "bold"]],
    "models canary": [["a"], ["a", "2"], ["a", "half"]],
    "models promote": [[], ["a", "b"]],
    "models rollback": [["a"]],
    "models clear": [["a", "b"]],
}


@pytest.mark.parametrize("command", COMMANDS)
def test_wrong_usage_of_every_command_is_exit_2_and_words(run: Run, command: str) -> None:
    for arguments in [*WRONG[command], ["--no-such-option"]]:
        ended = run(*command.split(), *arguments)
        assert ended.code == cli.EXIT_USAGE, (arguments, ended)
        assert ended.err, arguments


@pytest.mark.parametrize("command", COMMANDS)
def test_help_says_what_every_option_is_and_is_by_default(run: Run, command: str) -> None:
    text = run(*command.split(), "--help").out
    options = text.partition("Options:")[2].partition("Commands:")[0]
    for entry in re.split(r"\n  (?=-)", options)[1:]:
        declared, _, said = re.sub(r"\s+", " ", entry).partition(" <")
        if not said:
            continue  # a flag: off unless given
        assert "default: " in said or "[required]" in said or "With --verify: " in said, (declared, said)
        if "float" in said:
            assert "second" in said, (declared, said)


# ------------------------------------------------------------------------------------------------- interrupted

INTERRUPT = """
import signal, sys
class Finder:
    def find_spec(self, name, path=None, target=None):
        if name == {module!r}:
            sys.meta_path.remove(self)
            signal.raise_signal(signal.SIGINT)
sys.meta_path.insert(0, Finder())
sys.argv = ["quotelife", *{arguments!r}]
from quotelife_server.cli import main
main()
"""


@pytest.mark.parametrize(
    ("module", "arguments"),
    [
        ("quotelife.errors", ["--help"]),
        ("typer", ["--help"]),
        ("numpy", ["journal", "verify", "."]),
        ("quotelife.engine", ["serve"]),
        ("quotelife_server.app", ["serve"]),
        ("quotelife_server.app", ["capture", "--out", "x"]),
        ("quotelife_server.demo.runner", ["demo"]),
        ("quotelife_client", ["get", "x", "BUY"]),
        ("quotelife_client", ["kill", "--reason", "x"]),
        ("quotelife_client", ["enable", "--reason", "x"]),
        ("quotelife.replay.run", ["replay", "x.gz"]),
        ("quotelife.explain.journaled", ["explain", "id", "--journal", "."]),
        ("quotelife_server.settings", ["config", "check", "."]),
        ("grpc_health.v1", ["doctor", "--target", NOBODY]),
        ("quotelife.capture.reader", ["capture", "export", ".", "--out", "x"]),
        ("quotelife.journal.recovery", ["journal", "verify", "."]),
        ("quotelife.journal.export", ["journal", "export", ".", "--out", "x"]),
    ],
)
def test_ctrl_c_while_modules_are_imported_is_quiet(module: str, arguments: list[str]) -> None:
    # A shell without job control starts what goes on behind it with SIGINT ignored, and children inherit that.
    heard = "import signal; signal.signal(signal.SIGINT, signal.default_int_handler)"
    code = heard + INTERRUPT.format(module=module, arguments=arguments)
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, timeout=60, cwd=ROOT)
    assert (done.returncode, done.stdout, done.stderr) == (cli.EXIT_INTERRUPTED, b"", b"")


def test_ctrl_c_is_left_alone_where_it_was_ignored() -> None:
    """As behind nohup, or in the background of a script."""
    code = INTERRUPT.format(module="typer", arguments=["config", "check", str(DEFAULT)])
    code = "import signal; signal.signal(signal.SIGINT, signal.SIG_IGN)" + code
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, timeout=60)
    assert done.returncode == 0 and b"good, digest" in done.stdout


# --------------------------------------------------------------------------------------------- config check


@pytest.mark.parametrize("name", ["default", "demo"])
def test_config_check_sums_up_a_good_set(run: Run, name: str) -> None:
    ended = run("config", "check", ROOT / "configs" / name)
    assert ended.code == 0
    assert "good, digest" in ended.out and "instruments" in ended.out


def test_config_check_names_file_and_line(run: Run, tmp_path: Path) -> None:
    path = tmp_path / "bad.yaml"
    path.write_text(
        "version: 1\ninstruments:\n  - {name: A, venue: v, symbol: A, tick_size: -1, lot_size: 1}\n"
    )
    ended = run("config", "check", tmp_path)
    assert ended.code == cli.EXIT_CONFIG
    assert "bad.yaml:3: instruments[0].tick_size: " in ended.err


def test_config_check_says_what_it_could_not_check_yet(run: Run, tmp_path: Path) -> None:
    (tmp_path / "bad.yaml").write_text("version: 1\npostures: {risk_averse: {tolerance: 2}}\n")
    assert "once these are mended, postures will also be held against" in run("config", "check", tmp_path).err


def test_config_check_warns_of_instruments_without_a_feed(run: Run, tmp_path: Path) -> None:
    assert "no feed" not in run("config", "check", DEFAULT).err
    ended = run("config", "check", write_config(tmp_path))
    assert ended.code == 0 and "warning: no feed carries BTC-USDT" in ended.err


def test_config_check_of_nothing(run: Run, tmp_path: Path) -> None:
    missing = run("config", "check", tmp_path / "none").err
    assert "no such file or folder" in missing and "changed" not in missing
    assert missing == run("serve", "--config", tmp_path / "none").err
    assert "holds no *.yaml file" in run("config", "check", tmp_path).err


# --------------------------------------------------------------------------------------------------- replay


def test_replay_holds_the_book_against_the_venue(run: Run, recording: Path) -> None:
    ended = run("replay", "--config", DEFAULT, "--strict", recording)
    assert ended.code == 0
    (line,) = [line for line in ended.out.splitlines() if "equal to the venue's" in line]
    equal, compared = (word for word in line.split() if word.isdigit())
    assert equal == compared and int(equal) > 20
    assert "0 gaps" in ended.out and "NORMAL" in ended.out and "lives, ms" in ended.out


def test_replay_as_json(run: Run, recording: Path) -> None:
    report = json.loads(run("replay", "--config", DEFAULT, "--json", f"BTC-USDT-PERP={recording}").out)
    assert report["clean"] and not report["interrupted"]
    source = report["sources"]["BTC-USDT-PERP"]
    assert source["compared"] == source["equal"] > 20
    assert report["decisions"]["QUOTE"] > 0 and report["lives_ms"]


def test_replay_shows_each_decision(run: Run, recording: Path) -> None:
    ended = run("replay", "--config", DEFAULT, "--show", "--ask-every", "1s", recording)
    assert ended.code == 0
    assert "Client Priority" in ended.out and "P500" in ended.out


def test_replay_strict_fails_on_a_gap(run: Run, recording: Path, tmp_path: Path) -> None:
    lines = gzip.decompress(recording.read_bytes()).splitlines(keepends=True)
    depths = [number for number, line in enumerate(lines) if b"@depth" in line]
    del lines[depths[40]]
    path = tmp_path / "gap.txt"
    path.write_bytes(b"".join(lines))
    arguments = ["--config", DEFAULT, f"BTC-USDT-PERP={path}"]
    assert run("replay", *arguments).code == 0
    ended = run("replay", "--strict", *arguments)
    assert ended.code == 1 and "1 gaps" in ended.out


def test_replay_without_a_snapshot_fails_and_says_what_to_begin_with(
    run: Run, recording: Path, tmp_path: Path
) -> None:
    lines = gzip.decompress(recording.read_bytes()).splitlines(keepends=True)
    path = tmp_path / "updates.txt"
    path.write_bytes(b"".join(line for line in lines if b"@" in line))
    ended = run("replay", "--config", DEFAULT, f"BTC-USDT-PERP={path}")
    assert ended.code == 1 and "0 synchronisations" in ended.out
    assert "no book was ever built" in ended.err and "begin with" in ended.err


def test_replay_of_what_is_no_recording(run: Run, recording: Path, tmp_path: Path) -> None:
    def replay(path: Path) -> Ended:
        return run("replay", "--config", DEFAULT, f"BTC-USDT-PERP={path}")

    whole = recording.read_bytes()
    damaged = bytearray(whole)
    damaged[len(whole) // 2 :] = b"\xff" * (len(whole) - len(whole) // 2)
    for name, data, words in [
        ("garbage.gz", b"garbage", "damaged after line 0"),
        ("garbage.txt", b"\x00\xff garbage\n", "no format known here"),
        ("second.txt", b"1700000000000 {}\ngarbage\n", "second.txt:2: expected '<local stamp> <json>'"),
        ("cut.gz", whole[: len(whole) // 2], "damaged after line"),
        ("damaged.gz", bytes(damaged), "damaged after line"),
    ]:
        path = tmp_path / name
        path.write_bytes(data)
        failed(replay(path), words)
    failed(replay(tmp_path / "none.gz"), "no such file")
    failed(replay("/dev/null"), "/dev/null: is no recorded file")
    failed(run("replay", "--config", DEFAULT, f"NOBODY={recording}"), "no such instrument")


# ------------------------------------------------------------------------------------------------------ get


def test_get_from_nobody(run: Run) -> None:
    failed(run("get", "BTC-USDT", "BUY", "--target", NOBODY, "--timeout", "0.3"), "UNAVAILABLE")


def test_get_takes_a_side_in_small_letters_too(run: Run) -> None:
    failed(run("get", "BTC-USDT", "buy", "--target", NOBODY, "--timeout", "0.3"), "UNAVAILABLE")


# --------------------------------------------------------------------------------------------------- doctor


def test_doctor_finds_this_installation_good(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("importlib.metadata.version", lambda name: "1.0")  # also from an uninstalled tree
    ended = run("doctor", "--config", DEFAULT)
    assert ended.code == 0, ended.out
    assert "FAIL" not in ended.out and "configuration" in ended.out


def test_doctor_looks_at_the_journal_folder(run: Run, tmp_path: Path) -> None:
    folder = tmp_path / "journal"
    journal = f"  journal: {{directory: {folder}}}\n"
    config = write_config(tmp_path, CONFIG.rstrip() + "\n" + journal)
    ended = run("doctor", "--config", config)
    assert "ok    journal" in ended.out and "to be made" in ended.out and not folder.exists()
    storage = DirectoryStorage(folder)
    assert "held by a running service" in run("doctor", "--config", config).out
    storage.close()
    assert "0 files" in run("doctor", "--config", config).out
    folder.rename(tmp_path / "away")
    folder.write_text("a file")
    ended = run("doctor", "--config", config)
    assert ended.code == 1 and "FAIL  journal" in ended.out and "cannot be written to" in ended.out


def test_doctor_warns_where_no_journal_is_configured(
    run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("importlib.metadata.version", lambda name: "1.0")  # also from an uninstalled tree
    ended = run("doctor", "--config", write_config(tmp_path))
    assert ended.code == 0
    assert "  WARN  journal: server.journal.directory is null: " in ended.out and "name a folder" in ended.out


def test_doctor_warns_of_a_service_without_a_journal() -> None:
    (found,) = [
        each
        for each in of_status(admin.GetStatusResponse())
        if each.name == "journal" and each.mark == "WARN"
    ]
    assert "server.journal.directory is null" in found.text and "name a folder" in found.text
    status = admin.GetStatusResponse(journal=admin.JournalStatus(writable=True))
    assert not [each for each in of_status(status) if each.warning]


def test_doctor_says_what_is_wrong(run: Run, tmp_path: Path) -> None:
    ended = run("doctor", "--target", NOBODY)
    assert ended.code == 1 and "FAIL  service: 127.0.0.1:1: UNAVAILABLE: " in ended.out
    assert "Connection refused" in ended.out
    ended = run("doctor", "--config", tmp_path / "none")
    assert ended.code == 1 and "FAIL  configuration" in ended.out


# ---------------------------------------------------------------------------------------------------- bench


@pytest.fixture
def simulator(monkeypatch: pytest.MonkeyPatch) -> None:
    """The simulator's tape, and a short one."""
    monkeypatch.delenv("QUOTELIFE_DATA", raising=False)
    monkeypatch.setattr("quotelife_server.cli.bench_suites.SIMULATED_S", 10)


def test_bench_as_json(run: Run, simulator: None) -> None:
    result = json.loads(run("bench", "decide", "--rounds", "1", "--json").out)
    assert result["tape"].startswith("simulated") and result["events"] > 0
    for model in ("first_passage", "logistic"):
        figures = result["decide"][model]
        assert figures["p99_ns"] >= figures["p50_ns"] > 0
        assert figures["p50_ratio_to_reference_event"] > 0


def test_bench_feeds_measures_every_json_venue(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("QUOTELIFE_DATA", raising=False)
    monkeypatch.setattr("quotelife_server.cli.bench_json.SIMULATED_S", 5)
    monkeypatch.setattr("quotelife_server.cli.bench_dbn.MESSAGES", 20_000)
    monkeypatch.setattr("quotelife_server.cli.bench_itch.SIMULATED", 20_000)
    monkeypatch.setattr("quotelife_server.cli.bench_itch.PACED_S", 0.1)
    figures = json.loads(run("bench", "feeds", "--rounds", "1", "--json").out)["feeds"]
    for venue in ("binance", "deribit", "coinbase", "okx"):
        assert figures[venue]["messages"] >= 50
        assert figures[venue]["ns_per_message"] > 0
        assert figures[venue]["ratio_to_orjson_and_float"] > 0
    dropping = [each for name, each in figures["itch"].items() if "dropped" in name]
    assert [each["books_equal"] for each in dropping] == [True] * 3


def test_bench_trees_gives_ratios_to_xgboost(
    run: Run, simulator: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("xgboost")
    for name, small in (("SHAPES", ((9, 2), (4, 3))), ("TRAINED_ROWS", 300), ("ROWS", 200), ("CALLS", 5)):
        monkeypatch.setattr(time_boosters, name, small)

    def here(command: list[str], **_: object) -> subprocess.CompletedProcess[str]:
        """In this process, where it is small."""
        assert command[:3] == [sys.executable, "-m", time_boosters.__name__]
        with contextlib.redirect_stdout(io.StringIO()) as out:
            code = time_boosters.main(command[3:])
        return subprocess.CompletedProcess(command, code, out.getvalue(), "")

    monkeypatch.setattr("quotelife_server.cli.bench_trees.subprocess.run", here)
    figures = json.loads(run("bench", "trees", "--rounds", "1", "--json").out)["trees"]
    for shape in ("9_trees_of_depth_2", "4_trees_of_depth_3"):
        assert figures[shape]["rows_with_equal_margins"] == 200
        assert figures[shape]["ns_per_row"] > 0
        assert figures[shape]["inplace_predict_to_ours"] > 0
    for decision in ("decision", "shipped_decision"):
        assert figures[decision]["p50_ns"] > 0
        assert figures[decision]["inplace_predict_to_decision"] > 0


def test_bench_trees_gives_no_figures_for_margins_that_are_not_xgboosts(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    pytest.importorskip("xgboost")
    for name, small in (("SHAPES", ((2, 2),)), ("TRAINED_ROWS", 100), ("ROWS", 10), ("CALLS", 1)):
        monkeypatch.setattr(time_boosters, name, small)

    def other(raw: bytes) -> TreeEnsemble:
        read = read_booster(raw)
        return TreeEnsemble(read.features, read.base + 1e-3, read.sizes, read.slots, read.values)

    monkeypatch.setattr(time_boosters, "read_booster", other)
    with pytest.raises(AssertionError, match="not XGBoost's"):
        time_boosters.main([str(tmp_path)])


def test_bench_book_needs_nothing_but_ours(
    run: Run, simulator: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("quotelife_server.cli.bench_book.SIMULATED", 3000)
    figures = json.loads(run("bench", "book", "--rounds", "1", "--json").out)["book"]["simulated"]
    assert figures["events"] == 3000
    assert figures["book_and_windows_ns_per_event"] > figures["book_ns_per_event"] > 0


def test_bench_book_says_what_the_named_interpreter_lacks(
    run: Run, simulator: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("quotelife_server.cli.bench_book.SIMULATED", 3000)
    result = run("bench", "book", "--rounds", "1", "--nautilus", sys.executable)
    assert result.code != 0
    assert "pip install nautilus_trader" in result.err


def test_bench_ingest_decodes_every_event(run: Run, simulator: None, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("quotelife_server.cli.bench_ingest.DECODED_EVENTS", 2 * 1023)
    monkeypatch.setattr("quotelife_server.cli.bench_ingest._tcp", lambda *_: {})
    monkeypatch.setattr("quotelife_server.cli.bench_ingest._udp", lambda *_: {})
    decode = json.loads(run("bench", "ingest", "--rounds", "1", "--json").out)["ingest"]["decode"]
    assert all(decode[f"frames_of_{n}_ns_per_event"] > 0 for n in (1, 20, 1023))


def test_bench_for_people_is_a_table(run: Run, simulator: None) -> None:
    lines = run("bench", "decide", "--rounds", "1").out.splitlines()
    (head,) = [number for number, line in enumerate(lines) if line.startswith("decide")]
    rows = lines[head : head + 3]
    assert rows[0].split() == ["decide", "first_passage", "logistic", "expected_value"]
    assert [row.split()[0] for row in rows[1:]] == ["p50", "p99"]
    assert len({len(row) for row in rows}) == 1, rows
    assert "{" not in "".join(lines)


def test_bench_lines_hold_every_figure() -> None:
    result = {
        "tape": "simulated",
        "engine": {
            "book_ns_per_event": 31.5,
            "windows": {"sum_100ms_ns_per_event": 4.0},
            "instruments": {
                "10": {"ns_per_event": 200.25, "reserved_bytes_per_instrument": None},
                "100": {"ns_per_event": 1234.0, "reserved_bytes_per_instrument": 65536},
            },
        },
    }
    assert (
        bench_lines(result)
        == """\
tape  simulated

engine
  book ns per event  31.5

engine, windows
  sum 100ms ns per event  4.0

engine, instruments                  10       100
  ns per event                   200.25  1,234.00
  reserved bytes per instrument       -    65,536"""
    )


def test_bench_of_what_there_is_not(run: Run, tmp_path: Path) -> None:
    failed(run("bench", "decide", "--data", tmp_path), "no such recording")


# -------------------------------------------------------------------------------------------- serve and demo


def quotelife(*arguments: object) -> Ended:
    """The same in a process of its own: for commands that own the event loop and the signals."""
    command = [sys.executable, "-m", "quotelife_server.cli", *map(str, arguments)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60)
    assert "Traceback" not in done.stdout + done.stderr
    return Ended(done.returncode, done.stdout, done.stderr)


def test_serve_on_a_port_in_use(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        address = f"127.0.0.1:{taken.getsockname()[1]}"
        for key in ("address", "metrics_address"):
            option = f"--{key.replace('_', '-')}"
            ended = quotelife("serve", "--config", write_config(tmp_path), option, address)
            assert ended.code == 1
            assert ended.err.splitlines()[-1] == (
                f"quotelife: server.{key}: {address} is in use, by another process or another key of server; "
                "stop that process or choose another port"
            )


def test_serve_without_a_journal_says_so_once(tmp_path: Path) -> None:
    config = write_config(tmp_path, CONFIG.replace("log_level: error", "log_level: warning"))
    journal = f"  journal: {{directory: {tmp_path / 'journal'}}}\n"
    with socket.create_server(("127.0.0.1", 0)) as taken:
        option = ("--address", f"127.0.0.1:{taken.getsockname()[1]}")
        said = quotelife("serve", "--config", config, *option).err
        write_config(tmp_path, config.read_text(encoding="utf-8").rstrip() + "\n" + journal)
        unsaid = quotelife("serve", "--config", config, *option).err
    (line,) = [json.loads(line) for line in said.splitlines() if "no journal" in line]
    assert line["level"] == "warning" and "server.journal.directory" in line["mend"]
    assert "no journal" not in unsaid


def test_serve_refuses_what_is_no_address(run: Run, tmp_path: Path) -> None:
    ended = run("serve", "--config", write_config(tmp_path), "--address", "nonsense")
    assert ended.code == cli.EXIT_USAGE
    (problem,) = ended.err.splitlines()
    assert "command line: server.address: " in problem


def test_serve_and_demo_without_a_configuration(run: Run, tmp_path: Path) -> None:
    for command in ("serve", "demo", "capture"):
        ended = run(command, "--config", tmp_path / "none")
        assert ended.code == cli.EXIT_CONFIG and "none:1: file: there is no such file or folder" in ended.err


async def test_commands_on_a_running_service(tmp_path: Path) -> None:
    another = tmp_path / "another" / "market.yaml"
    another.parent.mkdir()
    another.write_text(
        "version: 1\n"
        "instruments: [{name: XYZ-USDT, venue: binance-usdm, symbol: XYZUSDT, tick_size: 0.1, lot_size: 0.001}]\n"
    )
    async with running(write_config(tmp_path)) as app:
        (address, *_) = app.addresses
        doctor, get, watched, unknown, demo, foreign = await asyncio.gather(
            asyncio.to_thread(quotelife, "doctor", "--target", address),
            asyncio.to_thread(quotelife, "get", "BTC-USDT", "BUY", "1", "--target", address, "--json"),
            asyncio.to_thread(
                quotelife, "get", "BTC-USDT", "BUY", "--watch", "--target", address, "--timeout", "5"
            ),
            asyncio.to_thread(quotelife, "watch", "x-1", "--target", address, "--timeout", "5"),
            asyncio.to_thread(
                quotelife, "demo", "--target", address, "--config", tmp_path, "--seconds", 5, "--plain"
            ),
            asyncio.to_thread(
                quotelife, "demo", "--target", address, "--config", another, "--seconds", 5, "--plain"
            ),
        )
    assert doctor.code == 0, doctor.out
    assert "ok    service: " in doctor.out and "3 of 3 good" in doctor.out
    assert json.loads(get.out)["decision"] == "QUOTE"
    assert watched.code == 0 and watched.out.startswith("QUOTE for"), watched.err
    assert re.search(r"^decision [0-9a-f]+-\d+: ", watched.out, re.M)
    assert "its life is over" in watched.out or "withdraw: ADVERSE_MOVE" in watched.out
    assert unknown.code == 1 and "not watched: UNKNOWN_DECISION: " in unknown.out
    assert "watched " in demo.out and "they ended by " in demo.out
    assert demo.code == 0, demo.out + demo.err
    assert "life" in demo.out and "median life, ms" in demo.out
    assert foreign.code == 1
    assert re.search(
        r"'XYZ-USDT'.*; name the service's own configuration with --config, not \S+market.yaml$", foreign.err
    )


def test_doctor_makes_a_finding_of_everything_a_status_says() -> None:
    """Alerts by their text, kills, feeds that are down, a journal and a capture that fail, a refused configuration."""
    status = admin.GetStatusResponse(
        state=admin.SERVICE_STATE_SERVING,
        alerts=[admin.Alert(name="clock_unsynchronised", text="the wall clock is away", since_utc_ns=1)],
        kills=[admin.KillStatus(counterparty="alpha", reason="fat finger")],
        feeds=[
            admin.FeedStatus(
                feed="spot", data_age_ns=1_500_000_000, fault="feed down: no route", fault_age_ns=500_000_000
            ),
            admin.FeedStatus(feed="usdm", connected=True, fault="mended since", fault_age_ns=1),
            admin.FeedStatus(feed="published"),
            admin.FeedStatus(
                feed="options", connected=True, fault="channels refused: E", fault_age_ns=2_000_000_000
            ),
        ],
        instruments=[
            admin.InstrumentStatus(instrument="A", quality=types.QUALITY_GOOD),
            admin.InstrumentStatus(instrument="B", quality=types.QUALITY_HALTED),
            admin.InstrumentStatus(instrument="C", quality=types.QUALITY_STALE, feeds=["spot"]),
            admin.InstrumentStatus(
                instrument="D", quality=types.QUALITY_WARMING, quality_cause=types.QUALITY_CAUSE_NO_DATA
            ),
            admin.InstrumentStatus(instrument="E", quality=types.QUALITY_WARMING, feeds=["options"]),
        ],
        watch=admin.WatchStatus(
            live=7, registered=1200, lost_streams=1, withdrawn=[admin.WithdrawnCount(count=3)]
        ),
        journal=admin.JournalStatus(fault="No space left on device"),
        capture=admin.CaptureStatus(fault="Read-only file system"),
        config_problems=["config.yaml:3: key: wrong"],
    )
    found = list(of_status(status))
    assert [each.name for each in found if each.good] == [
        "state",
        "feed usdm",
        "feed options",
        "watched quotes",
    ]
    texts = {each.name: each.text for each in found}
    assert texts["feed usdm"] == "connected"
    assert texts["watched quotes"] == (
        "7 live on 0 streams; 1,200 registered, 3 withdrawn, 0 not acknowledged; 1 streams lost with live quotes"
    )
    assert texts["feed options"] == "connected; 2.0 s ago: channels refused: E"
    assert [f"{each.name}: {each.text}" for each in found if not each.good] == [
        "alert clock_unsynchronised: the wall clock is away (since 1970-01-01T00:00:00+00:00)",
        "kill: alpha: fat finger (since 1970-01-01T00:00:00+00:00)",
        "feed spot: down, last heard 1.5 s ago; 0.5 s ago: feed down: no route",
        "feed published: down, nothing heard yet",
        "books: 1 of 5 good, 1 halted: declined are "
        "C STALE (feed spot), D WARMING (no data, no feed), E WARMING (feed options)",
        "journal: No space left on device",
        "capture: Read-only file system",
        "configuration: config.yaml:3: key: wrong",
    ]


async def test_doctor_of_a_killed_service_or_one_without_data_fails(tmp_path: Path) -> None:
    app = Application(write_config(tmp_path))
    await app.start()
    try:
        cold = await asyncio.to_thread(quotelife, "doctor", "--target", app.addresses[0])
        app.kills.kill(None, "stop", KillSource.RPC)
        killed = await asyncio.to_thread(quotelife, "doctor", "--target", app.addresses[0])
    finally:
        await app.drain()
    assert cold.code == killed.code == 1
    assert re.search(r"FAIL  books: 0 of 3 good: declined are BTC-USDT WARMING \([^)]*no feed\)", cold.out)
    assert "FAIL  state: KILLED" in killed.out and "FAIL  kill: everybody: stop" in killed.out


# ---------------------------------------------------------------------------------------------- kill, enable


async def test_enable_beside_a_kill_file_names_it_once(tmp_path: Path) -> None:
    async with running(write_config(tmp_path)) as app:
        (tmp_path / "KILL").touch()
        ended = await asyncio.to_thread(
            quotelife, "enable", "--reason", "x", "--target", app.addresses[0], "--timeout", 10
        )
    failed(ended)
    assert ended.err.count("remove it, then enable again") == 1 and ended.err.count("exists") == 1


async def test_kill_and_enable_a_running_service(tmp_path: Path) -> None:
    async with running(write_config(tmp_path)) as app:
        target = ("--target", app.addresses[0], "--timeout", 10)

        async def ended(*arguments: object) -> Ended:
            return await asyncio.to_thread(quotelife, *arguments, *target)

        killed = await ended("kill", "--reason", "desk closed", "--counterparty", "alpha")
        assert killed.code == 0 and killed.out.startswith("alpha killed since 20")
        assert (await ended("kill", "--reason", "desk closed")).code == 0
        assert "DECLINE" in (await ended("get", "BTC-USDT", "BUY")).out
        enabled = await ended("enable", "--reason", "desk open")
        assert (enabled.code, enabled.out) == (0, "everybody enabled\nstill killed: alpha: desk closed\n")
        again = await ended("enable", "--reason", "desk open")
        assert again.out == "there was no kill of everybody\nstill killed: alpha: desk closed\n"
        assert (await ended("enable", "--reason", "x", "--counterparty", "alpha")).out == "alpha enabled\n"
        assert (
            await ended("enable", "--reason", "x", "--counterparty", "alpha")
        ).out == "alpha was not killed\n"
        assert (await ended("enable", "--reason", "x")).out == "nobody was killed\n"


async def test_what_the_service_refuses_begins_with_the_target_and_says_each_fault_once(
    tmp_path: Path,
) -> None:
    async with running(write_config(tmp_path)) as app:
        target = ("--target", app.addresses[0], "--timeout", 10)
        asked = {
            "'nobody' is not configured; (unknown) stands for": (
                "kill",
                "--reason",
                "x",
                "--counterparty",
                "nobody",
            ),
            "'NO-SUCH' is not configured": ("get", "NO-SUCH", "BUY"),
            "desk: 'none' is not configured": ("get", "BTC-USDT", "BUY", "--desk", "none"),
        }
        for words, arguments in asked.items():
            ended = await asyncio.to_thread(quotelife, *arguments, *target)
            failed(ended, words)
            assert ended.err.startswith(f"quotelife: {app.addresses[0]}: "), ended
            assert ended.err.count("is not configured") == 1
            assert "leave it out for everybody" not in ended.err


async def test_a_counterparty_that_is_not_configured_is_killed_as_the_message_says(tmp_path: Path) -> None:
    async with running(write_config(tmp_path)) as app:
        target = ("--target", app.addresses[0], "--timeout", 10)
        await asyncio.to_thread(quotelife, "kill", "--reason", "x", "--counterparty", "(unknown)", *target)
        asked = ("get", "BTC-USDT", "BUY", "--counterparty")
        assert "KILLED" in (await asyncio.to_thread(quotelife, *asked, "nobody", *target)).out
        assert "KILLED" not in (await asyncio.to_thread(quotelife, *asked, "alpha", *target)).out


async def test_enable_and_doctor_go_to_the_address_of_the_administration(tmp_path: Path) -> None:
    async with running(write_config(tmp_path), admin_address=f"unix:{tmp_path / 'admin.sock'}") as app:
        admin_address = f"unix:{tmp_path / 'admin.sock'}"

        async def ended(*arguments: object) -> Ended:
            return await asyncio.to_thread(quotelife, *arguments, "--timeout", 10)

        assert (await ended("kill", "--reason", "x", "--address", admin_address)).code == 0
        refused = await ended("enable", "--reason", "x", "--target", app.addresses[0])
        failed(refused, "PERMISSION_DENIED", f"server.admin_address alone: {admin_address}")
        assert (await ended("enable", "--reason", "x", "--address", admin_address)).code == 0
        doctor = await ended("doctor", "--address", admin_address)
        assert doctor.code == 0 and f"{admin_address} is SERVING" in doctor.out


async def test_a_kill_that_cannot_be_written_down_is_in_force_and_says_so(tmp_path: Path) -> None:
    (tmp_path / "KILL.state.new").mkdir()  # in the way of the file that it is written to
    async with running(write_config(tmp_path)) as app:
        killed = await asyncio.to_thread(
            quotelife, "kill", "--reason", "x", "--target", app.addresses[0], "--timeout", 10
        )
        assert killed.code == 0 and "not yet written beside the kill file" in killed.out
        assert app.engine.killed(None)
        (tmp_path / "KILL.state.new").rmdir()
        async with asyncio.timeout(5):
            while not (tmp_path / "KILL.state").exists():  # noqa: ASYNC110 (nobody tells)
                await asyncio.sleep(0.02)


def test_kill_names_the_file_where_no_service_answers(run: Run) -> None:
    failed(run("kill", "--reason", "x", "--target", NOBODY), "--file", "UNAVAILABLE")
    failed(run("enable", "--reason", "x", "--target", NOBODY), "UNAVAILABLE")
    assert run("kill").code == cli.EXIT_USAGE


def test_kill_by_file_adds_names_and_everybody_stays_everybody(run: Run, tmp_path: Path) -> None:
    file = tmp_path / "KILL"
    for name in ("alpha", "beta"):
        assert run("kill", "--reason", f"of {name}", "--counterparty", name, "--file", file).code == 0
    assert list(orders(file.read_text())) == [("alpha", "of alpha"), ("beta", "of beta")]
    assert run("kill", "--reason", "storm", "--file", file).code == 0
    assert list(orders(file.read_text())) == [(None, "storm")]
    assert "already" in run("kill", "--reason", "x", "--counterparty", "beta", "--file", file).out
    assert list(orders(file.read_text())) == [(None, "storm")]
    assert "--reason" in run("kill", "--reason", "two\nlines", "--file", file).err
    failed(
        run("kill", "--reason", "x", "--file", tmp_path / "none" / "KILL"),
        f"quotelife: {tmp_path / 'none'}",
        "No such file or directory; look whether the name is right",
    )


@pytest.mark.parametrize(
    ("error", "words"),
    [
        (
            PermissionError(errno.EACCES, "Permission denied", "j/1.qlj"),
            "j/1.qlj: Permission denied; run this as",
        ),
        (
            OSError(errno.ENOSPC, "No space left on device", "out"),
            "out: No space left on device; make room on the disk",
        ),
        (
            OSError(errno.ENOSPC, "No space left on device"),
            "quotelife: No space left on device; make room on the disk\n",
        ),
        (PermissionError(errno.EACCES, "Permission denied"), "quotelife: Permission denied\n"),
        (OSError(errno.EIO, "Input/output error", "j/1.qlj"), "quotelife: j/1.qlj: Input/output error\n"),
        (OSError("the pipe is gone"), "quotelife: the pipe is gone\n"),
    ],
)
def test_what_the_system_refuses_is_told_by_its_name_and_with_the_mend(
    run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, error: OSError, words: str
) -> None:
    def refuse(*_: object) -> None:
        raise error

    monkeypatch.setattr(recovery, "verify", refuse)
    ended = run("journal", "verify", tmp_path)
    failed(ended)
    assert words in ended.err
