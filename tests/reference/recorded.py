"""Recorded Binance messages read the plain way: gzip, json, Decimal. No code of the project is used."""

import gzip
import json
from collections.abc import Iterator
from decimal import Decimal
from pathlib import Path
from typing import Any, NamedTuple

SIZES = {  # (tick, lot)
    ("usdm", "btcusdt"): (Decimal("0.1"), Decimal("0.001")),
    ("usdm", "ethusdt"): (Decimal("0.01"), Decimal("0.001")),
    ("spot", "btcusdt"): (Decimal("0.01"), Decimal("0.00001")),
    ("spot", "ethusdt"): (Decimal("0.01"), Decimal("0.0001")),
}


class Quote(NamedTuple):
    t: int
    bid_ticks: int
    bid_lots: int
    ask_ticks: int
    ask_lots: int


class Trade(NamedTuple):
    t: int
    price_ticks: int
    lots: int
    aggressor: int  # 1 the buyer, 2 the seller


def lines(path: Path) -> Iterator[tuple[int, dict[str, Any]]]:
    with gzip.open(path, "rt") as file:
        for line in file:
            stamp, _, text = line.partition(" ")
            yield int(stamp), json.loads(text)


def top_and_trades(data_dir: Path, market: str, symbol: str, count: int) -> Iterator[Quote | Trade]:
    """The first ``count`` bookTicker and trade messages, in order of receipt."""
    tick, lot = SIZES[market, symbol]
    for t, message in lines(data_dir / "binance" / market / f"{symbol}_20240808.gz"):
        stream = message.get("stream", "")
        if count == 0:
            return
        if stream.endswith("bookTicker"):
            row = message["data"]
            yield Quote(
                t,
                int(Decimal(row["b"]) / tick),
                int(Decimal(row["B"]) / lot),
                int(Decimal(row["a"]) / tick),
                int(Decimal(row["A"]) / lot),
            )
        elif stream.endswith("trade"):
            row = message["data"]
            yield Trade(t, int(Decimal(row["p"]) / tick), int(Decimal(row["q"]) / lot), 2 if row["m"] else 1)
        else:
            continue
        count -= 1
