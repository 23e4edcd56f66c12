from decimal import Decimal

from quotelife.feed.symbol_feed import SymbolFeed
from quotelife.feed.venue_decoder import VenueDecoder
from quotelife.records import EventBuffer

class StreamedSymbol(SymbolFeed):
    def __init__(self, symbol: str, instrument: int, tick_size: Decimal, lot_size: Decimal) -> None: ...

class StreamedDecoder(VenueDecoder):
    def __init__(self, buffer: EventBuffer) -> None: ...
    def take_reply(self) -> bytes | None: ...
