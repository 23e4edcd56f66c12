"""Recorded sessions through a replay: the synthetic ones whole, broken ones named."""

import json
import random
from decimal import Decimal
from pathlib import Path

import pytest

from quotelife.config import load_config
from quotelife.engine import Engine
from quotelife.errors import QuotelifeError
from quotelife.instruments import Instrument, InstrumentTable
from quotelife.replay.run import Replay
from quotelife.replay.session import SessionSource, find_session
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
