from decimal import Decimal

from quotelife.feed.streamed_decoder import StreamedDecoder, StreamedSymbol
from quotelife.records import EventBuffer

class OkxSymbol(StreamedSymbol):
    def __init__(self, symbol: str, instrument: int, tick_size: Decimal, lot_size: Decimal) -> None: ...

class OkxDecoder(StreamedDecoder):
    def __init__(self, buffer: EventBuffer, *, quotes: bool = False) -> None: ...
    @property
    def quotes(self) -> bool: ...
