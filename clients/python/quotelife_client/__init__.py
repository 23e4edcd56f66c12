"""Asks quotelife how long a firm quote may live. ``Client`` blocks, ``AsyncClient`` is for asyncio."""

from quotelife_client.aio import AsyncClient
from quotelife_client.calls import ServiceError
from quotelife_client.client import Client
from quotelife_client.types import (
    Clock,
    Constraint,
    Decision,
    Expiry,
    Feature,
    Mode,
    Posture,
    Quality,
    Reason,
    Regime,
    Rule,
    Side,
    SideExpiry,
    SizeUnit,
    Source,
)

__version__ = "0.1.0"

__all__ = [
    "AsyncClient",
    "Client",
    "Clock",
    "Constraint",
    "Decision",
    "Expiry",
    "Feature",
    "Mode",
    "Posture",
    "Quality",
    "Reason",
    "Regime",
    "Rule",
    "ServiceError",
    "Side",
    "SideExpiry",
    "SizeUnit",
    "Source",
]
