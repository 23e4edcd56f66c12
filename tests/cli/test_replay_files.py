"""``quotelife replay`` on every format of recorded file, made here; which one it is, is told by content."""

import gzip
import json
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest
import zstandard

from quotelife.config import load_config
from quotelife.replay.signals import read_signals
from reference.cli_kit import Ended, Run

T = 1_700_000_000 * 10**9
TICK = 10**9 // 4
CONFIG = """
version: 1
model: {artifact: logistic}
signals: {volatility_indices: [VIX]}
instruments:
  - {name: ES, venue: xtst-book, symbol: ESZ3, tick_size: 0.25, lot_size: 1, order_level: true, adverse_ticks: 2}
  - {name: ES-L, venue: levels, symbol: ESZ3, tick_size: 0.25, lot_size: 1, adverse_ticks: 2, volatility_index: VIX}
  - {name: EURUSD, venue: fx, symbol: EURUSD, tick_size: 0.00001, lot_size: 1, quotes_only: true}
  - {name: BTC, venue: binance-usdm, symbol: BTCUSDT, tick_size: 0.1, lot_size: 0.001}
  - {name: GBP, venue: cme, symbol: GBPUSD, tick_size: 0.0001, lot_size: 1}
  - {name: STAMP, venue: bitstamp, symbol: btcusd, tick_size: 0.01, lot_size: 0.1, order_level: true}
"""


@pytest.fixture
def config(tmp_path: Path) -> Path:
    path = tmp_path / "config.yaml"
    path.write_text(CONFIG, encoding="utf-8")
    return path


@pytest.fixture
def report(run: Run, config: Path) -> Callable[..., dict[str, object]]:
    """The JSON report of a replay that went well."""

    def replay(*arguments: object) -> dict[str, object]:
        ended = run("replay", "--config", config, "--json", "--strict", *arguments)
        assert ended.code == 0, ended.err + ended.out
        out: dict[str, object] = json.loads(ended.out)
        return out

    return replay


def refused(ended: Ended, *words: str) -> None:
    assert ended.code == 1
    assert "Traceback" not in ended.err
    for word in words:
        assert word in ended.err


def dbn_orders(seconds: int = 30) -> bytes:
    """Two best orders that come and go every 100 ms; a whole snapshot first."""
    kit = pytest.importorskip("tests.reference.dbn_kit", reason="databento-dbn is not installed")
    data = kit.metadata(mappings={"ESZ3": [(20010101, 20990101, "7")]})
    data += kit.mbo("R", "N", kit.UNDEF, 0, 0, flags=0x20, t=T)
    data += kit.mbo("A", "B", 99 * TICK, 5, 1, flags=0x20, t=T)
    data += kit.mbo("A", "A", 101 * TICK, 5, 2, flags=0xA0, t=T)
    for i in range(10 * seconds):
        t = T + (i + 1) * 10**8
        data += kit.mbo("A", "B", 100 * TICK, 1 + i % 3, 10 + i, flags=0x80, t=t)
        data += kit.mbo("C", "B", 100 * TICK, 1 + i % 3, 10 + i, flags=0x80, t=t + 5 * 10**7)
    return bytes(data)


def test_dbn_plain_compressed_and_as_a_fragment(
    report: Callable[..., dict[str, dict]], tmp_path: Path
) -> None:  # type: ignore[type-arg]
    plain = dbn_orders()
    start = 8 + int.from_bytes(plain[4:8], "little")
    half = len(plain) // 2
    frames = zstandard.compress(plain[:half]) + zstandard.compress(plain[half:])
    reports = []
    for name, data, of in (
        ("a.dbn", plain, ""), ("b.dbn.zst", frames, ""), ("c.dbn.frag", plain[start:], "ES="), ("d", plain, ""),
    ):  # fmt: skip
        (tmp_path / name).write_bytes(data)
        out = report(f"{of}{tmp_path / name}")
        assert out["sources"]["ES"]["lines"] == 601
        assert out["decisions"]["QUOTE"] > 400
        reports.append(out)
    assert all(other == reports[0] for other in reports)


def test_dbn_that_fits_no_instrument(run: Run, config: Path, tmp_path: Path) -> None:
    path = tmp_path / "x.dbn"
    path.write_bytes(dbn_orders(1))
    refused(run("replay", "-c", config, f"ES-L={path}"), "x.dbn", "set order_level: true")
    refused(run("replay", "-c", config, f"BTC={path}"), "has ESZ3, not BTCUSDT")
    path.write_bytes(dbn_orders(1)[:-3])
    refused(run("replay", "-c", config, path), "x.dbn", "it was cut short")
    path.write_bytes(zstandard.compress(dbn_orders(1))[:-20])
    refused(run("replay", "-c", config, path), "x.dbn")


def test_fx_ticks(report: Callable[..., dict[str, dict]], run: Run, config: Path, tmp_path: Path) -> None:  # type: ignore[type-arg]
    rows = "".join(f"{i * 200}.5,1.3924{i % 3},1.39250\n" for i in range(300))
    path = tmp_path / "eurusd_20140507.csv"
    path.write_text(rows, encoding="utf-8")
    out = report(path)
    assert (out["sources"]["EURUSD"]["lines"], out["sources"]["EURUSD"]["refused"]) == (300, 0)
    assert out["decisions"]["QUOTE"] > 100
    with zipfile.ZipFile(tmp_path / "eurusd_20140507.zip", "w") as archive:
        archive.write(path, "ticks.csv")
    assert report(tmp_path / "eurusd_20140507.zip") == out
    (tmp_path / "ticks.csv").write_text(rows, encoding="utf-8")
    refused(run("replay", "-c", config, f"EURUSD={tmp_path / 'ticks.csv'}"), "--date YYYY-MM-DD")
    assert report("--date", "2014-05-07", f"EURUSD={tmp_path / 'ticks.csv'}") == out
    refused(run("replay", "-c", config, f"BTC={path}"), "set quotes_only: true")
    path.write_text(rows + "1,2\n", encoding="utf-8")
    refused(
        run("replay", "-c", config, path), "eurusd_20140507.csv", "row 301", "expected 'ms since midnight"
    )


def test_nobody_asks_while_the_market_is_closed(
    report: Callable[..., dict[str, dict]],
    tmp_path: Path,  # type: ignore[type-arg]
) -> None:
    """Two days with a night between them are as many decisions as each by itself."""
    paths = []
    for day in ("20140507", "20140508"):
        paths.append(tmp_path / f"eurusd_{day}.csv")
        paths[-1].write_text(
            "".join(f"{i * 200},1.3924{i % 3},1.39250\n" for i in range(300)), encoding="utf-8"
        )
    alone = [sum(report(path)["decisions"].values()) for path in paths]
    assert sum(report(*paths)["decisions"].values()) == sum(alone) > 1000


def test_tardis(report: Callable[..., dict[str, dict]], run: Run, config: Path, tmp_path: Path) -> None:  # type: ignore[type-arg]
    """Increments and trades of one instrument, merged; venue and symbol out of the file."""
    us = T // 1000
    head = "exchange,symbol,timestamp,local_timestamp,"
    book = head + "is_snapshot,side,price,amount\n"
    book += "".join(
        f"binance-futures,BTCUSDT,{us},{us},true,{side},{price},0.5\n"
        for side, price in (("bid", 99.9), ("ask", 100.1))
    )
    trades = head + "id,side,price,amount\n"
    for i in range(1, 300):
        t = us + i * 100_000
        book += f"binance-futures,BTCUSDT,{t},{t},false,bid,99.9,{0.001 * (1 + i % 5):.3f}\n"
        trades += f"binance-futures,BTCUSDT,{t},{t + 10},{i},sell,99.9,0.001\n"
    paths = [tmp_path / "binance_book.csv.gz", tmp_path / "binance_trades.csv"]
    paths[0].write_bytes(gzip.compress(book.encode()))
    paths[1].write_text(trades, encoding="utf-8")
    out = report(*paths)
    assert (out["sources"]["BTC"]["lines"], out["sources"]["BTC"]["gaps"]) == (300 + 299, 0)
    assert out["qualities"]["GOOD"] > 200
    assert out["left_out_trades"] == 0
    paths[1].write_text(trades.replace("sell", "unknown", 7), encoding="utf-8")
    assert report(*paths)["left_out_trades"] == 7
    paths[1].write_text(head + "funding_rate\n", encoding="utf-8")
    refused(run("replay", "-c", config, f"BTC={paths[1]}"), "binance_trades.csv", "row 1: columns")
    paths[1].write_text(trades, encoding="utf-8")
    refused(run("replay", "-c", config, f"GBP={paths[1]}"), "has BTCUSDT, not GBPUSD")


def test_parquet(report: Callable[..., dict[str, dict]], run: Run, config: Path, tmp_path: Path) -> None:  # type: ignore[type-arg]
    pa = pytest.importorskip("pyarrow")
    import pyarrow.parquet as pq

    n = 300
    times = pa.array([T // 1000 + i * 100_000 for i in range(n)], type=pa.timestamp("us"))
    columns = {"transact_time": times}
    for k in range(2):
        columns[f"bid_price_{k}"] = [1.2489 - 0.0001 * k + (0.0003 if i == 200 else 0) for i in range(n)]
        columns[f"offer_price_{k}"] = [1.2491 + 0.0001 * k] * n
        columns[f"bid_quantity_{k}"] = [float(1 + i % 5) for i in range(n)]
        columns[f"offer_quantity_{k}"] = [3.0] * n
    pq.write_table(pa.table(columns), tmp_path / "gbpusd_quotes.parquet")
    trades = {"transact_time": times, "side": ["B"] * n, "price": [1.2489] * n, "quantity": [1.0] * n}
    pq.write_table(pa.table(trades), tmp_path / "gbpusd_trades.parquet")
    ended = run(
        "replay",
        "-c",
        config,
        "--json",
        tmp_path / "gbpusd_quotes.parquet",
        tmp_path / "gbpusd_trades.parquet",
    )
    source = json.loads(ended.out)["sources"]["GBP"]
    assert (source["compared"], source["equal"], source["lines"], source["crossed"]) == (n, n, 2 * n, 1)
    pq.write_table(pa.table({"a": [1]}), tmp_path / "gbpusd_other.parquet")
    refused(
        run("replay", "-c", config, tmp_path / "gbpusd_other.parquet"),
        "gbpusd_other.parquet",
        "columns a are",
    )
    (tmp_path / "gbpusd_bad.parquet").write_bytes(b"PAR1 and nothing else")
    refused(run("replay", "-c", config, tmp_path / "gbpusd_bad.parquet"), "gbpusd_bad.parquet")


def test_the_bitstamp_log(
    report: Callable[..., dict[str, dict]], run: Run, config: Path, tmp_path: Path
) -> None:  # type: ignore[type-arg]
    ms = T // 10**6
    log = f'{ms} order_book {{"bids": [["99", "5"]], "asks": [["101", "5"]]}}\n'
    for i in range(300):
        order = f'{{"id": {i}, "order_type": 0, "price": "100", "amount": "2"}}'
        log += f"{ms + 100 * i} order_created {order}\n"
        log += f'{ms + 100 * i + 20} order_book {{"bids": [["100", "2"], ["99", "5"]], "asks": [["101", "5"]]}}\n'
        log += f"{ms + 100 * i + 50} order_deleted {order}\n"
    path = tmp_path / "2015-05-01.log"
    path.write_text(log, encoding="utf-8")
    source = report(path)["sources"]["STAMP"]
    assert (source["lines"], source["compared"], source["equal"]) == (901, 301, 301)
    path.write_text(log + "1 order_shed {}\n", encoding="utf-8")
    refused(run("replay", "-c", config, path), "2015-05-01.log", "row 902", "order_created")


def test_signals_beside_a_recording(run: Run, config: Path, tmp_path: Path) -> None:
    """The index of the day before and two headlines, one of which the lexicon knows nothing of."""
    path = tmp_path / "x.dbn"
    path.write_bytes(dbn_orders())
    vix = tmp_path / "vix.csv"
    vix.write_text(
        "DATE,OPEN,HIGH,LOW,CLOSE\n2023-11-13,14,15,13,14.5\n2023-11-20,1,1,1,1\n", encoding="utf-8"
    )
    news = tmp_path / "news.jsonl"
    rows = [
        {"time": "2023-11-14T22:13:25+00:00", "title": "Profit surges to a record", "instrument": "ES"},
        {"time": "2023-11-14T22:13:26+00:00", "title": "Chairman speaks"},
    ]
    news.write_text("\n".join(map(json.dumps, rows)), encoding="utf-8")
    ended = run("replay", "-c", config, "--json", "--signals", vix, "--signals", news, path)
    assert ended.code == 0, ended.err
    assert json.loads(ended.out)["signals"] == 2 + 1
    assert "1 headlines left out: the scorer has no opinion of them" in ended.err
    ended = run(
        "replay",
        "-c",
        config,
        "--json",
        "--signals",
        news,
        "--scorer",
        "tests.cli.test_replay_files:dire",
        path,
    )
    report = json.loads(ended.out)
    assert (report["signals"], report["regimes"].get("STRESS", 0) > 0) == (2, True)
    for scorer, words in (
        ("tests.cli.test_replay_files:broken", ("news.jsonl: entry 1", "Profit surges", "ZeroDivisionError")),
        ("tests.cli.test_replay_files:wild", ("news.jsonl: entry 1", "scores are -1 to 1")),
    ):
        refused(run("replay", "-c", config, "--signals", news, "--scorer", scorer, path), *words)
    for scorer, word in (
        ("nobody", "there are: lexicon"),
        ("tests:nobody", "nobody"),
        ("tests.cli:__name__", "called"),
    ):
        ended = run("replay", "-c", config, "--signals", news, "--scorer", scorer, path)
        assert (
            ended.code == 2 and "--scorer" in ended.err and word in ended.err and "Traceback" not in ended.err
        )


def test_a_headline_before_the_recording_lives_as_long_as_the_configuration_says(
    run: Run, config: Path, tmp_path: Path
) -> None:
    """Twenty seconds before: alive by the half-life, over by a time to live of ten seconds."""
    path = tmp_path / "x.dbn"
    path.write_bytes(dbn_orders())
    news = tmp_path / "news.jsonl"
    news.write_text(json.dumps({"time": T // 10**9 - 20, "title": "x", "sentiment": -1}), encoding="utf-8")
    told = []
    for more in ("", ", news_time_to_live: 10s", ", news_half_life: 1s"):
        config.write_text(CONFIG.replace("[VIX]", f"[VIX]{more}"), encoding="utf-8")
        ended = run("replay", "-c", config, "--json", "--signals", news, path)
        assert ended.code == 0, ended.err
        told.append(json.loads(ended.out)["signals"])
    assert told == [1, 0, 0]


def test_who_scores_many_headlines_is_told_how_far_it_is(config: Path, tmp_path: Path) -> None:
    news = tmp_path / "news.json"
    rows = [{"time": T, "title": "x", **({"score": 0} if i == 1 else {})} for i in range(4)]
    news.write_text(json.dumps(rows), encoding="utf-8")
    told: list[int] = []
    read_signals([str(news)], load_config(config), dire, progress=told.append)
    assert told == [1, 3, 4], "one of them has its score"


def dire(headline: str) -> float:
    """A scorer of one's own."""
    return -1.0


def broken(headline: str) -> float:
    return 1 / 0


def wild(headline: str) -> float:
    return float("nan")


@pytest.mark.parametrize(
    ("name", "text", "words"),
    [
        ("a.jsonl", '{"title": "x"}', "entry 1: no time; a headline without one can be scored, not replayed"),
        ("a.jsonl", '{"time": "soon", "title": "x"}', "entry 1: time must be ISO 8601"),
        ("a.jsonl", '{"time": 1}', "entry 1: title (or headline)"),
        ("a.jsonl", "{", "neither a JSON list nor"),
        ("a.jsonl", '{"time": 1, "title": "x", "instrument": "NO"}', "no instrument NO"),
        ("a.csv", "DATE,OPEN,CLOSE\n2023-11-13,14,0\n", "row 2: CLOSE must be a level above 0"),
        (
            "a.csv",
            "DATE,OPEN,CLOSE\n2023-11-13,14,1\n2023-11-13,14,1\n",
            "row 3: DATE 2023-11-13 is not after",
        ),
    ],
)
def test_wrong_signals(run: Run, config: Path, tmp_path: Path, name: str, text: str, words: str) -> None:
    (tmp_path / "x.dbn").write_bytes(dbn_orders(1))
    (tmp_path / name).write_text(text, encoding="utf-8")
    refused(run("replay", "-c", config, "--signals", tmp_path / name, tmp_path / "x.dbn"), name, words)


def test_formats_that_do_not_go_together(run: Run, config: Path, tmp_path: Path) -> None:
    (tmp_path / "x.dbn").write_bytes(dbn_orders(1))
    (tmp_path / "y.gz").write_bytes(gzip.compress(b'1 {"stream": "x"}\n'))
    refused(
        run("replay", "-c", config, f"BTC={tmp_path / 'y.gz'}", tmp_path / "x.dbn"),
        "do not go into one replay",
    )


@pytest.mark.parametrize(
    ("name", "data", "words"),
    [
        ("usdm.csv", b"a,b,c\n1,2,3\n", ("no format known here", "a,b,c", "docs/recordings.md")),
        ("usdm.bin", bytes(range(256)), ("no format known here",)),
        ("usdm.csv", b"", ("the file is empty",)),
        ("usdm.csv.gz", gzip.compress(b"", mtime=0), ("the file is empty",)),
        ("usdm.csv.gz", gzip.compress(b"0,1.3,1.4\n" * 999, mtime=0)[:30], ("damaged after line 0",)),
        ("usdm.zip", b"PK\x03\x04" + bytes(99), ("damaged after line 0",)),
        ("usdm.txt", b"1700000000000 {}\n", ("EURUSD is fx", "binance-spot, binance-usdm, binance-coinm")),
    ],
)
def test_a_file_of_no_known_format_is_refused_by_name(
    run: Run, config: Path, tmp_path: Path, name: str, data: bytes, words: tuple[str, ...]
) -> None:
    """Whether an instrument is named or not; what looks like Binance messages needs one of Binance."""
    path = tmp_path / name
    path.write_bytes(data)
    refused(run("replay", "-c", config, f"EURUSD={path}"), name, *words)
    if "fx" not in words[0]:
        refused(run("replay", "-c", config, path), name, *words)


def test_a_path_may_hold_an_equals_sign(report: Callable[..., dict[str, dict]], tmp_path: Path) -> None:  # type: ignore[type-arg]
    """As the folders of partitioned sets do."""
    folder = tmp_path / "day=2014-05-07"
    folder.mkdir()
    path = folder / "eurusd_20140507.csv"
    path.write_text("".join(f"{i * 200},1.3924{i % 3},1.39250\n" for i in range(300)), encoding="utf-8")
    assert report(path) == report(f"EURUSD={path}")


def test_a_table_whose_prices_are_text_is_refused(run: Run, config: Path, tmp_path: Path) -> None:
    pyarrow = pytest.importorskip("pyarrow")
    parquet = pytest.importorskip("pyarrow.parquet")

    names = [f"{side}_{kind}_0" for side in ("bid", "offer") for kind in ("price", "quantity")]
    rows = {name: pyarrow.array(["1.0"]) for name in names}
    rows["transact_time"] = pyarrow.array([T], pyarrow.timestamp("ns"))
    path = tmp_path / "gbpusd.parquet"
    parquet.write_table(pyarrow.table(rows), path)
    refused(run("replay", "-c", config, path), "bid_price_0 must be a number in every row, found string")


def test_the_share_of_time_not_good_is_one_of_the_time_looked_at(
    run: Run, config: Path, tmp_path: Path
) -> None:
    """Two pairs, one of them for a tenth of the time: STALE from then on, nine tenths of it."""
    for name, rows in (("eurusd", 3000), ("usdjpy", 300)):
        (tmp_path / f"{name}_20140507.csv").write_text(
            "".join(f"{i * 200},1.3924{i % 3},1.39250\n" for i in range(rows)), encoding="utf-8"
        )
    text = config.read_text(encoding="utf-8")
    config.write_text(
        text
        + "  - {name: USDJPY, venue: fx, symbol: USDJPY, tick_size: 0.00001, lot_size: 1, quotes_only: true}\n",
        encoding="utf-8",
    )
    ended = run("replay", "-c", config, *(tmp_path / f"{name}_20140507.csv" for name in ("eurusd", "usdjpy")))
    assert ended.code == 0
    shares = [
        float(line.split("GOOD ")[1].split("%")[0]) for line in ended.out.splitlines() if "not GOOD" in line
    ]
    assert shares[0] < 1 and 85 < shares[1] < 92
    assert ended.out.count("has none of the venue's own to compare with") == 2


def test_a_recording_without_a_book_says_what_is_missing(run: Run, config: Path, tmp_path: Path) -> None:
    path = tmp_path / "a.csv"
    path.write_text(
        "exchange,symbol,timestamp,local_timestamp,id,side,price,amount\n"
        f"binance-futures,BTCUSDT,{T // 1000},{T // 1000},1,buy,100.1,0.5\n",
        encoding="utf-8",
    )
    refused(run("replay", "-c", config, path), "no book was ever built", "trades alone are none")
    path.write_text(path.read_text(encoding="utf-8").splitlines(keepends=True)[0], encoding="utf-8")
    refused(run("replay", "-c", config, f"BTC={path}"), "the recording holds no market data of BTC")
    path.write_text(
        "exchange,symbol,timestamp,local_timestamp,ask_amount,ask_price,bid_price,bid_amount\n"
        f"binance-futures,BTCUSDT,{T // 1000},{T // 1000},0.5,100.1,99.9,0.5\n",
        encoding="utf-8",
    )
    refused(run("replay", "-c", config, path), "no book was ever built", "quotes_only: true")


def test_increments_are_no_quotes(run: Run, config: Path, tmp_path: Path) -> None:
    path = tmp_path / "a.csv"
    path.write_text(
        "exchange,symbol,timestamp,local_timestamp,is_snapshot,side,price,amount\n"
        f"fx,EURUSD,{T // 1000},{T // 1000},true,bid,1.3,1\n",
        encoding="utf-8",
    )
    refused(run("replay", "-c", config, path), "EURUSD: the file holds levels; set quotes_only: false")


def test_an_instrument_id_is_a_symbol_beside_mappings_too(run: Run, config: Path, tmp_path: Path) -> None:
    """The id of ESZ3 in the file is 7."""
    path = tmp_path / "x.dbn"
    path.write_bytes(dbn_orders())
    whole = run("replay", "-c", config, "--json", f"ES={path}")
    config.write_text(
        CONFIG.replace(
            "symbol: ESZ3, tick_size: 0.25, lot_size: 1, order_level",
            'symbol: "7", tick_size: 0.25, lot_size: 1, order_level',
        ),
        encoding="utf-8",
    )
    assert run("replay", "-c", config, "--json", f"ES={path}").out == whole.out
    config.write_text(config.read_text(encoding="utf-8").replace('"7"', '"8"'), encoding="utf-8")
    refused(run("replay", "-c", config, f"ES={path}"), "no market data of ES")


def test_the_instruments_that_the_page_shows_are_a_configuration(tmp_path: Path) -> None:
    """And every one of them is used by a command of the page."""
    page = (Path(__file__).resolve().parents[2] / "docs" / "recordings.md").read_text(encoding="utf-8")
    text = page.split("```yaml\n")[1].split("```")[0]
    (tmp_path / "a.yaml").write_text(text, encoding="utf-8")
    config = load_config(tmp_path / "a.yaml")
    assert len(config.instruments) == 6
    named = {
        word.rstrip(",")
        for line in text.splitlines()
        if "# " in line
        for word in line.split()
        if ".yaml" in word
    }
    commands = [line for line in page.splitlines() if line.startswith("quotelife replay ")]
    used = {word for line in commands for word in line.split() if word.endswith(".yaml")}
    assert used == named - {"nasdaq.yaml"}
    assert len(commands) > 6
