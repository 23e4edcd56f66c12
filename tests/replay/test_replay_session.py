"""Recorded sessions through a replay: the synthetic ones whole, broken ones named."""

import json
import random
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path

import pytest

from quotelife.config import load_config
from quotelife.engine import Engine
from quotelife.errors import QuotelifeError
from quotelife.instruments import Instrument, InstrumentTable
from quotelife.replay.run import Replay
from quotelife.replay.session import SessionSource, find_session
from quotelife.replay.tickers import TickerCheck, TickerReport
from reference.streamed_wire import LOT, SYMBOLS, TICK, Sender

VENUES = ("deribit", "coinbase", "okx")
T0 = 1_700_000_000


def config_of(folder: Path, venue: str) -> Path:
    instruments = "\n".join(
        f'  - {{name: {name}, venue: {venue}, symbol: {name}, tick_size: "{TICK}", lot_size: "{LOT}"}}'
        for name in SYMBOLS
    )
    path = folder / "config.yaml"
    path.write_text(f"version: 1\ninstruments:\n{instruments}\n")
    return path


def record(path: Path, messages: list[bytes]) -> Path:
    lines = [{"t": "header", "format": 2}]
    lines += [
        {"t": "recv", "conn": "ws.1", "ts": T0 + at / 100, "data": data.decode()}
        for at, data in enumerate(messages)
    ]
    path.write_text("".join(json.dumps(line) + "\n" for line in lines))
    return path


def session(venue: str, changes: int, lost: int | None = None) -> tuple[Sender, list[bytes]]:
    sender = Sender(venue, random.Random(2))
    out = [sender.snapshot(symbol).data for symbol in (0, 1)]
    for at in range(changes):
        data = sender.change(at % 2).data
        if at != lost:
            out.append(data)
    return sender, out


def replayed(folder: Path, venue: str, path: Path) -> tuple[Engine, Replay]:
    config = load_config(config_of(folder, venue))
    engine = Engine(config)
    run = Replay(engine, SessionSource(find_session(str(path), config.instrument_table())))
    run.run()
    return engine, run


@pytest.mark.parametrize("venue", VENUES)
def test_a_session_ends_at_the_venues_book(tmp_path: Path, venue: str) -> None:
    sender, messages = session(venue, 40)
    engine, run = replayed(tmp_path, venue, record(tmp_path / f"{venue}.jsonl", messages))
    assert run.report.clean
    for index, (bids, asks) in enumerate(sender.books):
        _, bid, bid_lots, ask, ask_lots = engine.level_top(index)
        assert (bid, bid_lots) == (max(bids, default=0), bids.get(max(bids, default=0), 0))
        assert (ask, ask_lots) == (min(asks, default=0), asks.get(min(asks, default=0), 0))
        assert run.report.sources[SYMBOLS[index]].lines > 20


def ticker(sender: Sender, symbol: str, at_ns: int, best: tuple[int, int, int, int]) -> bytes:
    venue = sender.wire
    sender.number += 1
    bid, bid_size, ask, ask_size = (
        str(number * grid) for number, grid in zip(best, (TICK, LOT, TICK, LOT), strict=True)
    )
    message: dict[str, object]
    if venue == "deribit":
        data = {"instrument_name": symbol, "timestamp": at_ns // 10**6, "mark_price": 1.0}
        said = {
            "best_bid_price": bid,
            "best_bid_amount": bid_size,
            "best_ask_price": ask,
            "best_ask_amount": ask_size,
        }
        data |= {name: float(value) for name, value in said.items()}
        params = {"channel": f"ticker.{symbol}.100ms", "data": data}
        message = {"jsonrpc": "2.0", "method": "subscription", "params": params}
    elif venue == "okx":
        row = {
            "instId": symbol,
            "ts": str(at_ns // 10**6),
            "bidPx": bid,
            "bidSz": bid_size,
            "askPx": ask,
            "askSz": ask_size,
        }
        message = {"arg": {"channel": "tickers", "instId": symbol}, "data": [row]}
    else:
        when = datetime.fromtimestamp(at_ns / 10**9, UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")
        row = {"product_id": symbol, "best_bid": bid, "best_bid_quantity": bid_size}
        row |= {"best_ask": ask, "best_ask_quantity": ask_size}
        events = [{"type": "update", "tickers": [row]}]
        message = {"channel": "ticker", "timestamp": when, "sequence_num": sender.number, "events": events}
    return json.dumps(message).encode()


def best_of(levels: tuple[dict[int, int], dict[int, int]]) -> tuple[int, int, int, int]:
    bid, ask = max(levels[0], default=0), min(levels[1], default=0)
    return bid, levels[0].get(bid, 0), ask, levels[1].get(ask, 0)


@pytest.mark.parametrize(
    ("venue", "late"),
    [("deribit", False), ("okx", False), ("coinbase", False), ("deribit", True), ("okx", True)],
)
def test_tickers_are_held_against_the_book_of_their_own_stamp(tmp_path: Path, venue: str, late: bool) -> None:
    """Each change is followed, or preceded, by the ticker that shows it; all are equal, and none is left out."""
    sender = Sender(venue, random.Random(3))
    messages = [sender.snapshot(symbol).data for symbol in (0, 1)]
    for at in range(60):
        change = sender.change(at % 2).data
        shown = ticker(sender, SYMBOLS[at % 2], sender.ms * 10**6, best_of(sender.books[at % 2]))
        messages += [shown, change] if late else [change, shown]
    _, run = replayed(tmp_path, venue, record(tmp_path / f"{venue}.jsonl", messages))
    found = [run.report.sources[name].tickers for name in SYMBOLS]
    assert [(each.compared, each.at_stamp) for each in found] == [(30, 30), (30, 30)]
    assert run.report.unread_tickers == 0


@pytest.mark.parametrize("venue", VENUES)
def test_a_ticker_of_another_book_is_near_or_equal_in_prices_or_neither(tmp_path: Path, venue: str) -> None:
    sender = Sender(venue, random.Random(4))
    messages = [sender.snapshot(symbol).data for symbol in (0, 1)]
    seen = []
    while len(seen) < 4:  # of four different books of one symbol
        messages.append(sender.change(0).data)
        if best_of(sender.books[0]) not in [best for _, best in seen]:
            seen.append((sender.ms * 10**6, best_of(sender.books[0])))
    assert seen[-1][0] - seen[0][0] < 10**9
    (at_ns, last), (_, first) = seen[-1], seen[0]
    other_size = (last[0], last[1] + 99, last[2], last[3])
    nowhere = (last[0] + 1_000, *last[1:])
    for best in (last, first, other_size, nowhere):
        messages.append(ticker(sender, SYMBOLS[0], at_ns, best))
    _, run = replayed(tmp_path, venue, record(tmp_path / f"{venue}.jsonl", messages))
    found = run.report.sources[SYMBOLS[0]].tickers
    counts = (found.compared, found.at_stamp, found.near, found.prices, found.unequal)
    assert counts == (4, 1, 1, 1, 1)
    assert len(found.mismatches) == 1 and str(last[0] + 1_000) in found.mismatches[0]


def test_a_ticker_that_cannot_be_read_is_counted_and_loses_nothing(tmp_path: Path) -> None:
    sender = Sender("okx", random.Random(4))
    messages = [sender.snapshot(symbol).data for symbol in (0, 1)]
    good = ticker(sender, SYMBOLS[0], sender.ms * 10**6, best_of(sender.books[0]))
    messages += [good.replace(b'"ts"', b'"tz"'), good.replace(b'"bidSz": "', b'"bidSz": "x'), good]
    _, run = replayed(tmp_path, "okx", record(tmp_path / "okx.jsonl", messages))
    assert (run.report.unread_tickers, run.report.sources[SYMBOLS[0]].tickers.at_stamp) == (2, 1)


def test_a_ticker_two_seconds_from_the_book_it_shows_is_unequal() -> None:
    report = TickerReport()
    check = TickerCheck(report)
    for second, bid in enumerate((10, 11, 12, 13)):
        check.book(second * 10**9, (bid, 1, 20, 1))
    check.ticker(3 * 10**9, (11, 1, 20, 1))
    check.ticker(10**9 - 1, (10, 1, 20, 1))  # the last instant of the first
    check.ticker(2 * 10**9 - 1, (10, 1, 20, 1))  # stood until a second ago, less 1 ns
    check.ticker(2 * 10**9, (10, 1, 20, 1))  # a second ago it was another
    check.finish()
    assert (report.compared, report.at_stamp, report.near, report.prices, report.unequal) == (4, 1, 1, 0, 2)


def test_what_waits_when_the_book_breaks_is_not_judged_and_what_comes_before_it_neither() -> None:
    report = TickerReport()
    check = TickerCheck(report)
    check.ticker(1, (1, 1, 2, 1))
    check.book(5 * 10**9, (10, 1, 20, 1))
    check.ticker(5 * 10**9, (10, 1, 20, 1))
    check.forget()
    check.finish()
    assert report.compared == 0


@pytest.mark.parametrize("venue", VENUES)
def test_a_lost_message_shows_as_a_gap(tmp_path: Path, venue: str) -> None:
    _, messages = session(venue, 40, lost=20)
    _, run = replayed(tmp_path, venue, record(tmp_path / f"{venue}.jsonl", messages))
    assert run.report.sources["AAA"].gaps == 1
    assert run.report.sources["BBB"].gaps == (1 if venue == "coinbase" else 0)
    assert not run.report.clean


def test_greeks_in_a_session_reach_the_engine(tmp_path: Path) -> None:
    _, messages = session("deribit", 4)
    data = {
        "timestamp": 5,
        "instrument_name": "AAA",
        "mark_price": 0.5,
        "greeks": {"delta": 0.25, "gamma": 0.5},
    }
    params = {"channel": "ticker.AAA.raw", "data": data}
    messages.append(json.dumps({"jsonrpc": "2.0", "method": "subscription", "params": params}).encode())
    engine, _ = replayed(tmp_path, "deribit", record(tmp_path / "deribit.jsonl", messages))
    greeks = engine.instrument_status(0, engine.now_ns).greeks
    assert greeks is not None
    assert (greeks.delta, greeks.gamma, greeks.mark_price, greeks.vega) == (0.25, 0.5, 0.5, None)


def test_whose_session_it_is_may_be_said_or_is_asked_for(tmp_path: Path) -> None:
    table = InstrumentTable([Instrument(0, "A", "okx", "A", Decimal(1), Decimal(1))])
    path = record(tmp_path / "x.jsonl", [])
    assert find_session(f"okx={path}", table).venue == "okx"
    with pytest.raises(QuotelifeError, match=r"sessions of deribit, coinbase, okx are known.*write VENUE="):
        find_session(str(path), table)
    with pytest.raises(QuotelifeError, match="no instrument with venue deribit"):
        find_session(f"deribit={path}", table)
