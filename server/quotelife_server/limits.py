"""What keeps clients from holding up each other: long work in pieces, an id for one request only."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from typing import TypeVar

from quotelife_server.rpc import Code, RpcError

T = TypeVar("T")


async def in_pieces(items: Sequence[T], size: int) -> AsyncIterator[Sequence[T]]:
    """``items``, ``size`` at a time; whatever else the event loop has to do is done in between."""
    for at in range(0, len(items), size):
        yield items[at : at + size]
        await asyncio.sleep(0)


def reused_request_id() -> RpcError:
    """Same id, other content."""
    return RpcError(Code.INVALID_ARGUMENT, "request_id: was used for another request; choose a new id")
