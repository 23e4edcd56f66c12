from decimal import Decimal
from typing import NamedTuple

from quotelife.feed.streamed_decoder import StreamedDecoder, StreamedSymbol
from quotelife.records import EventBuffer

class Ticker(NamedTuple):
    instrument: int
    exchange_ns: int
    mark_price: float | None
    mark_iv: float | None
    underlying_price: float | None
    funding: float | None
    delta: float | None
    gamma: float | None
    vega: float | None
    theta: float | None
    def pairs(self) -> dict[str, tuple[float, float]]: ...

class DeribitSymbol(StreamedSymbol):
    def __init__(self, symbol: str, instrument: int, tick_size: Decimal, lot_size: Decimal) -> None: ...

class DeribitDecoder(StreamedDecoder):
    def __init__(self, buffer: EventBuffer, *, quotes: bool = False) -> None: ...
    def take_tickers(self) -> list[Ticker]: ...
    def message(self, data: bytes, receive_ns: int) -> int: ...
    @property
    def quotes(self) -> bool: ...
    @property
    def test_requests(self) -> int: ...
