"""Asks quotelife how long a firm quote may live. ``Client`` blocks, ``AsyncClient`` is for asyncio."""

from quotelife_client.aio import AsyncClient
from quotelife_client.calls import ServiceError
from quotelife_client.client import Client
from quotelife_client.types import (
    Actuation,
    BookSide,
    Clock,
    Constraint,
    Decision,
    EventKind,
    Expiry,
    ExpiryRequest,
    Feature,
    MarketEvent,
    Mode,
    Posture,
    PublishReceipt,
    Quality,
    Reason,
    Regime,
    Rule,
    Side,
    SideExpiry,
    SizeUnit,
    Source,
    TradingStatus,
)

__version__ = "0.1.0"

__all__ = [
    "Actuation",
    "AsyncClient",
    "BookSide",
    "Client",
    "Clock",
    "Constraint",
    "Decision",
    "EventKind",
    "Expiry",
    "ExpiryRequest",
    "Feature",
    "MarketEvent",
    "Mode",
    "Posture",
    "PublishReceipt",
    "Quality",
    "Reason",
    "Regime",
    "Rule",
    "ServiceError",
    "Side",
    "SideExpiry",
    "SizeUnit",
    "Source",
    "TradingStatus",
]
