"""Tickers of a recorded session, held against the book by the venue's own stamps.

A ticker names no change of the book: it comes down a channel of its own, before or after the change that it shows, at
some venues seconds late. So it is held against the book of its own instant first, and then against every book within a
second of it.
"""

import json
from collections import deque
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from decimal import Decimal, InvalidOperation
from typing import Any, NamedTuple

from quotelife.errors import DecodeError
from quotelife.instruments import Instrument
from quotelife.units import NS_PER_MS, NS_PER_S

NEAR_NS = NS_PER_S
SETTLE_NS = 3 * NS_PER_S  # a change of the book may come so much later than a ticker with a later stamp
KEPT_NS = 10 * NS_PER_S
MISMATCHES_KEPT = 20

Best = tuple[int | Decimal, int | Decimal, int | Decimal, int | Decimal]
"""Bid ticks, bid lots, ask ticks, ask lots; 0 and 0 for a side that is empty."""


class Ticker(NamedTuple):
    """Best prices and sizes as a venue's ticker tells them, in its own words."""

    symbol: str
    exchange_ns: int
    bid: str
    bid_size: str
    ask: str
    ask_size: str


@dataclass(slots=True)
class TickerReport:
    """What became of the tickers that a book stood beside; each is in one of the four counts below ``compared``."""

    compared: int = 0
    at_stamp: int = 0  # best prices and sizes of the book at the ticker's own stamp
    near: int = 0  # those of another book within NEAR_NS
    prices: int = 0  # the prices of a book within NEAR_NS, not the sizes
    unequal: int = 0
    mismatches: list[str] = field(default_factory=list)


class TickerCheck:
    """Books and tickers of one instrument, in the order in which they came; stamps in ns of the venue's clock."""

    def __init__(self, report: TickerReport) -> None:
        self._report = report
        self._books: deque[tuple[int, Best]] = deque()  # from when on
        self._tickers: deque[tuple[int, Best]] = deque()

    def book(self, exchange_ns: int, best: Best) -> None:
        """The book after a message."""
        if self._books:
            exchange_ns = max(exchange_ns, self._books[-1][0])
        if not self._books or self._books[-1][1] != best:
            self._books.append((exchange_ns, best))
        self._settle(exchange_ns)

    def ticker(self, exchange_ns: int, best: Best) -> None:
        """A ticker; it is judged once the books of its second are here."""
        self._tickers.append((exchange_ns, best))
        self._settle(exchange_ns)

    def forget(self) -> None:
        """The book is not to be trusted: what waits stays without a judgement."""
        self._books.clear()
        self._tickers.clear()

    def finish(self) -> None:
        """Nothing comes any more."""
        while self._tickers:
            self._judge(*self._tickers.popleft())

    def _settle(self, now_ns: int) -> None:
        while self._tickers and self._tickers[0][0] + SETTLE_NS < now_ns:
            self._judge(*self._tickers.popleft())
        while len(self._books) > 1 and self._books[1][0] < now_ns - KEPT_NS:
            self._books.popleft()

    def _judge(self, exchange_ns: int, best: Best) -> None:
        near = list(self._standing(exchange_ns - NEAR_NS, exchange_ns + NEAR_NS))
        if not near:
            return  # from before the book
        report = self._report
        report.compared += 1
        if best in self._standing(exchange_ns, exchange_ns):
            report.at_stamp += 1
        elif best in near:
            report.near += 1
        elif best[::2] in [book[::2] for book in near]:
            report.prices += 1
        else:
            report.unequal += 1
            if len(report.mismatches) < MISMATCHES_KEPT:
                told, held = (", ".join(map(str, each)) for each in (best, near[-1]))
                report.mismatches.append(f"at {exchange_ns}: ticker ({told}), book ({held})")

    def _standing(self, first_ns: int, last_ns: int) -> Iterator[Best]:
        """The books that stood at any moment from ``first_ns`` to ``last_ns``."""
        for place, (since_ns, best) in enumerate(self._books):
            if since_ns > last_ns:
                return
            if place + 1 == len(self._books) or self._books[place + 1][0] > first_ns or since_ns >= first_ns:
                yield best


def best_of(ticker: Ticker, instrument: Instrument) -> Best:
    """In ticks and lots, exactly. Raises ``InvalidOperation`` when a price or size is no number."""
    out: list[int | Decimal] = []
    for price, size in ((ticker.bid, ticker.bid_size), (ticker.ask, ticker.ask_size)):
        lots = _finite(size) / instrument.lot_size
        out += (_finite(price) / instrument.tick_size, lots) if lots else (0, 0)
    bid, bid_lots, ask, ask_lots = (int(number) if number == int(number) else number for number in out)
    return bid, bid_lots, ask, ask_lots


def _finite(text: str) -> Decimal:
    number = Decimal(text or "0")
    if not number.is_finite():
        raise InvalidOperation(f"{text} is no number")
    return number


def read_tickers(venue: str, data: bytes) -> list[Ticker]:
    """The tickers in one message; none in a message of another kind. Raises ``DecodeError``."""
    if b'"ticker' not in data:
        return []
    try:
        message = json.loads(data, parse_float=str, parse_int=str)
        return list(_READERS[venue](message))
    except (KeyError, TypeError, AttributeError, ValueError, RecursionError, InvalidOperation) as error:
        raise DecodeError(f"no ticker of {venue}: {error!r}") from None


def _deribit(message: Mapping[str, Any]) -> Iterator[Ticker]:
    params = message.get("params") or {}
    if str(params.get("channel", "")).startswith("ticker."):
        said = params["data"]
        parts = (said[f"best_{what}"] for what in ("bid_price", "bid_amount", "ask_price", "ask_amount"))
        yield Ticker(said["instrument_name"], int(said["timestamp"]) * NS_PER_MS, *parts)


def _okx(message: Mapping[str, Any]) -> Iterator[Ticker]:
    if "data" in message and message["arg"]["channel"] == "tickers":
        for said in message["data"]:
            parts = (said[name] for name in ("bidPx", "bidSz", "askPx", "askSz"))
            yield Ticker(said["instId"], int(said["ts"]) * NS_PER_MS, *parts)


def _coinbase(message: Mapping[str, Any]) -> Iterator[Ticker]:
    if message.get("channel") == "ticker":
        at_ns = _instant_ns(message["timestamp"])
        for event in message["events"]:
            for said in event["tickers"]:
                names = ("best_bid", "best_bid_quantity", "best_ask", "best_ask_quantity")
                yield Ticker(said["product_id"], at_ns, *(said[name] for name in names))


def _instant_ns(text: str) -> int:
    """UTC ns of ``2026-08-09T21:05:48.229198328Z``."""
    whole, _, rest = text.removesuffix("Z").partition(".")
    seconds = int(datetime.fromisoformat(whole + "+00:00").timestamp())
    return seconds * NS_PER_S + int(rest.ljust(9, "0")[:9] or "0")


_READERS: dict[str, Callable[[Mapping[str, Any]], Iterator[Ticker]]] = {
    "deribit": _deribit,
    "okx": _okx,
    "coinbase": _coinbase,
}
