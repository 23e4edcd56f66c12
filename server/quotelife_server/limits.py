"""Bounds on what clients can make the service hold: stored replies, the event loop. ``in_flight`` has that on calls."""

import asyncio
from collections import OrderedDict
from collections.abc import AsyncIterator, Sequence
from typing import TypeVar

from quotelife_server.rpc import Code, RpcError

NEVER_NS = 2**63 - 1
ENTRY_BYTES = 512  # what a stored reply takes beside its own bytes: id, digest, place in the table

T = TypeVar("T")


async def in_pieces(items: Sequence[T], size: int) -> AsyncIterator[Sequence[T]]:
    """``items``, ``size`` at a time; whatever else the event loop has to do is done in between."""
    for at in range(0, len(items), size):
        yield items[at : at + size]
        await asyncio.sleep(0)


class ReplyStore:
    """Replies by request id: the same id with the same content gets the stored reply.

    Of the request only a digest is kept. Holds about ``bytes_max`` bytes and no reply longer than
    ``age_ns_max``; the oldest leave first, and those that leave for want of room are counted in ``evicted``.
    Replies since ``held_from_ns`` stay whatever room they take: nobody else could find them yet.
    """

    def __init__(self, bytes_max: int, age_ns_max: int) -> None:
        self._bytes_max = bytes_max
        self.age_ns_max = age_ns_max
        self.held_from_ns = NEVER_NS
        self._entries: OrderedDict[str, tuple[int, bytes, bytes]] = OrderedDict()
        self.bytes = 0
        self.evicted = 0

    def __len__(self) -> int:
        return len(self._entries)

    def find(self, request_id: str, now_ns: int) -> tuple[bytes, bytes] | None:
        """``(digest, reply)`` stored under the id, or ``None``."""
        entry = self._entries.get(request_id)
        if entry is None or now_ns - entry[0] > self.age_ns_max:
            return None
        return entry[1], entry[2]

    def keep(self, request_id: str, digest: bytes, reply: bytes, now_ns: int) -> None:
        self.forget(request_id)
        self._entries[request_id] = (now_ns, digest, reply)
        self.bytes += ENTRY_BYTES + len(reply)
        while self.bytes > self._bytes_max:
            oldest = next(iter(self._entries))
            if self._entries[oldest][0] >= self.held_from_ns:
                return
            self.forget(oldest)
            self.evicted += 1

    def expire(self, now_ns: int) -> None:
        """Drop what is too old, a few at a time so that a timer tick stays short."""
        for _ in range(256):
            oldest = next(iter(self._entries), None)
            if oldest is None or now_ns - self._entries[oldest][0] <= self.age_ns_max:
                return
            self.forget(oldest)

    def oldest_age_ns(self, now_ns: int) -> int:
        """How far back a retry finds its reply; 0 when there is none."""
        oldest = next(iter(self._entries.values()), None)
        return 0 if oldest is None else now_ns - oldest[0]

    def forget(self, request_id: str) -> None:
        entry = self._entries.pop(request_id, None)
        if entry is not None:
            self.bytes -= ENTRY_BYTES + len(entry[2])


def reused_request_id() -> RpcError:
    """Same id, other content."""
    return RpcError(Code.INVALID_ARGUMENT, "request_id: was used for another request; choose a new id")
