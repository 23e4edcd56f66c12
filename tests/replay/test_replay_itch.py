"""ITCH files through the engine: several instruments from one file, packed files, days in turn, wrong files."""

from datetime import date, datetime
from pathlib import Path
from zoneinfo import ZoneInfo

import pytest

from quotelife.config import load_config
from quotelife.engine import Engine
from quotelife.errors import DecodeError, QuotelifeError
from quotelife.feed.itch_files import ItchFile, day_in, is_itch, midnight_before
from quotelife.feed.lobster import midnight_of
from quotelife.records import RequestRecord
from quotelife.replay.itch import ItchSource, find_itch
from quotelife.replay.run import Replay
from quotelife.sim.itch_wire import ItchMarket, ItchSymbol, framed
from quotelife_server.simvenue.itch import ItchVenue

S = 1_000_000_000
DAY = "2020-01-30"
MIDNIGHT = midnight_of(DAY)


def engine_of(folder: Path, *, order_level: bool = True) -> Engine:
    path = folder / "config.yaml"
    path.write_text(
        "version: 1\nmodel: {artifact: logistic}\ninstruments:\n"
        + "".join(
            f"  - {{name: {name}, venue: {venue}, symbol: {name}, tick_size: 0.01, lot_size: 1, warmup: 0s, "
            f"order_level: {str(order_level).lower()}, adverse_bps: 2}}\n"
            for name, venue in (("AAA", "nasdaq"), ("BBB", "nasdaq"), ("CCC", "elsewhere"))
        ),
        encoding="utf-8",
    )
    return Engine(load_config(path))


def market(day: str = DAY, seed: int = 1) -> ItchMarket:
    symbols = [ItchSymbol(name) for name in ("OTHER", "AAA", "BBB")]
    midnight_ns = midnight_of(day)
    return ItchMarket(symbols, seed, midnight_ns=midnight_ns, start_ns=midnight_ns + 34_200 * S)


def write(path: Path, day: ItchMarket, messages: int = 3000) -> Path:
    venue = ItchVenue()
    venue.messages = day.opening + day.advance(messages)
    venue.write(path)
    return path


def equal(engine: Engine, day: ItchMarket) -> bool:
    return all(tuple(engine.level_top(i)[1:]) == day.encoder.best(i + 1) for i in (0, 1))


@pytest.mark.parametrize("suffix", ["", ".gz", ".zst"])
def test_two_instruments_of_one_file_end_with_the_books_of_the_venue(tmp_path, suffix):
    engine, day = engine_of(tmp_path), market()
    path = write(tmp_path / f"01302020.NASDAQ_ITCH50{suffix}", day)
    source = ItchSource(find_itch([f"AAA={path}", f"BBB={path}"], engine.instruments))
    report = Replay(
        engine,
        source,
        ask_every_ns=S // 10,
        ask=lambda t: [("AAA", RequestRecord(0, 1, now_ns=t))],
    ).run()
    assert equal(engine, day)
    assert report.clean
    assert report.sources["AAA"].events > 900
    assert report.span_ns > 0
    assert report.qualities["GOOD"] > 0.9 * sum(report.qualities.values()) > 5


def test_a_file_alone_is_taken_for_all_instruments_of_the_venue(tmp_path):
    engine, day = engine_of(tmp_path), market()
    path = write(tmp_path / "S013020-v50.txt", day)
    source = ItchSource(find_itch([str(path)], engine.instruments))
    Replay(engine, source).run()
    assert [instrument.name for instrument in source.instruments] == ["AAA", "BBB"]
    assert equal(engine, day)


def test_days_are_replayed_in_turn_each_from_an_empty_book(tmp_path):
    engine, later = engine_of(tmp_path), market("2020-01-31", seed=9)
    paths = [
        write(tmp_path / "01312020.NASDAQ_ITCH50", later),
        write(tmp_path / "01302020.NASDAQ_ITCH50", market()),
    ]
    report = Replay(
        engine, ItchSource(find_itch([f"AAA={paths[0]}", *map(str, paths)], engine.instruments))
    ).run()
    assert equal(engine, later)
    assert report.span_ns > 80_000 * S
    assert report.sources["AAA"].resyncs == 2


@pytest.mark.parametrize("name", ["sample.itch", "2020-01-29.itch"])
def test_a_given_day_stands_in_for_the_one_in_the_name(tmp_path, name):
    """Stamps count from its midnight in New York, which here is in summer time."""
    engine, day = engine_of(tmp_path), market("2024-08-08")
    path = write(tmp_path / name, day, 300)
    source = ItchSource(find_itch([str(path)], engine.instruments, day="2024-08-08"))
    stamps = list(source.steps(engine, Replay(engine, source).report))
    first = datetime(2024, 8, 8, 9, 30, tzinfo=ZoneInfo("America/New_York")).timestamp()
    assert min(stamps[2:]) // S == int(first)


def test_a_given_day_that_is_none_is_refused_by_the_option(tmp_path):
    path = write(tmp_path / "2020-01-30.itch", market(), 10)
    with pytest.raises(QuotelifeError, match="--date 2024-13-08 is no day"):
        find_itch([str(path)], engine_of(tmp_path).instruments, day="2024-13-08")


def test_a_wrong_message_is_counted_and_costs_the_books(tmp_path):
    engine, day = engine_of(tmp_path), market()
    path = tmp_path / "01302020.itch"
    path.write_bytes(framed([*day.opening, *day.advance(900), b"A" + bytes(10), *day.advance(900)]))
    report = Replay(engine, ItchSource(find_itch([str(path)], engine.instruments))).run()
    assert [report.sources[name].refused for name in ("AAA", "BBB")] == [1, 1]
    assert [report.sources[name].gaps for name in ("AAA", "BBB")] == [1, 1]
    assert not report.clean


def test_a_file_that_breaks_off_or_begins_late_or_cannot_be_unpacked_is_named(tmp_path):
    engine, day = engine_of(tmp_path), market()
    whole = framed([*day.opening, *day.advance(100)])
    for name, data, said in (
        ("01302020.itch", whole[:-1], "ends inside message"),
        ("01312020.itch", whole[14:], "does not begin"),
        ("02032020.itch.gz", b"\x1f\x8bnot gzip", "damaged after byte 0"),
        ("02042020.itch.zst", b"not zstd", "damaged after byte 0"),
    ):
        path = tmp_path / name
        path.write_bytes(data)
        with pytest.raises(DecodeError, match=f"{name}: {said}"):
            Replay(engine, ItchSource(find_itch([str(path)], engine.instruments))).run()


def test_what_cannot_be_replayed_says_so(tmp_path):
    engine, day = engine_of(tmp_path), market()
    path = write(tmp_path / "01302020.itch", day, 10)
    other = write(tmp_path / "2020-01-30.itch", day, 10)
    nameless = write(tmp_path / "sample.itch", day, 10)
    for arguments, said in (
        ([f"XXX={path}"], "XXX: no such instrument"),
        ([str(path), str(other)], "one file a day"),
        ([str(nameless)], "says no day.* give --date YYYY-MM-DD"),
        ([str(tmp_path / "absent.itch")], "no such file"),
    ):
        with pytest.raises(QuotelifeError, match=said):
            find_itch(arguments, engine.instruments)
    levels = engine_of(tmp_path, order_level=False)
    with pytest.raises(QuotelifeError, match="order_level: true"):
        Replay(levels, ItchSource(find_itch([str(path)], levels.instruments))).run()


@pytest.mark.parametrize(
    ("name", "day"),
    [
        ("01302020.NASDAQ_ITCH50.gz", date(2020, 1, 30)),
        ("S013020-v50.txt.gz", date(2020, 1, 30)),
        ("nasdaq-2020-01-30.itch", date(2020, 1, 30)),
        ("20200130.itch.zst", date(2020, 1, 30)),
        ("13452020.itch", None),
        ("sample.itch", None),
    ],
)
def test_the_day_stands_in_the_name(name, day):
    assert is_itch(Path(name))
    assert day_in(name) == day
    if day is not None:
        assert ItchFile.find(Path(name)).midnight_ns == midnight_of(day.isoformat())


def test_a_databento_file_of_the_dataset_is_none():
    assert not is_itch(Path("XNAS.ITCH-20240102.mbo.dbn.zst"))


def test_midnight_is_that_of_new_york_over_a_change_of_the_clocks():
    assert midnight_before(midnight_of("2020-03-08") + 23 * 3600 * S - 1) == midnight_of("2020-03-08")
    assert midnight_before(midnight_of("2020-03-08") + 23 * 3600 * S) == midnight_of("2020-03-09")
