"""What a venue tells the world: book tops, trades, batches of book changes, snapshots, headlines.

Prices are ticks, sizes lots, times UTC nanoseconds. ``symbol`` is the dense number of the symbol in its
``MarketConfig``. Update ids follow Binance: every change of the book raises the id, a batch of changes covers
``first_id..last_id`` and names the batch before it in ``previous_id``.
"""

from typing import NamedTuple

Level = tuple[int, int]


class TopUpdate(NamedTuple):
    """Best bid and ask changed in price or size; ``update_id`` is that of the change."""

    time_ns: int
    symbol: int
    update_id: int
    bid_ticks: int
    bid_lots: int
    ask_ticks: int
    ask_lots: int


class TradeUpdate(NamedTuple):
    """One print; ``seller_is_aggressor`` is Binance's ``m`` (the buyer was the maker)."""

    time_ns: int
    symbol: int
    trade_id: int
    price_ticks: int
    lots: int
    seller_is_aggressor: bool


class DepthUpdate(NamedTuple):
    """Absolute sizes of all levels changed since the batch before; 0 lots removes a level.

    ``time_ns`` is when the batch left, ``changed_ns`` when the last change in it happened.
    """

    time_ns: int
    symbol: int
    changed_ns: int
    first_id: int
    last_id: int
    previous_id: int
    bids: tuple[Level, ...]
    asks: tuple[Level, ...]


VenueUpdate = TopUpdate | TradeUpdate | DepthUpdate


class BookSnapshot(NamedTuple):
    """The whole book, best level first, as of ``last_update_id``."""

    time_ns: int
    symbol: int
    last_update_id: int
    bids: tuple[Level, ...]
    asks: tuple[Level, ...]


class NewsItem(NamedTuple):
    """A headline with its score in [-1, 1]; ``symbol`` ``None`` concerns all."""

    time_ns: int
    symbol: int | None
    score: float
    headline: str
