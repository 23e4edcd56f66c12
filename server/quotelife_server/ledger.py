"""Where answers go on their way out: kept for retries and, where there is a journal, recorded first."""

from collections.abc import Sequence
from typing import Protocol

from quotelife_server import convert
from quotelife_server.limits import ReplyStore
from quotelife_server.rpc import Deferred


class Ledger(Protocol):
    """One thread, the event loop's. ``Deferred`` answers come once they have been recorded, or never could be."""

    @property
    def refusing(self) -> bool:
        """Nothing may be decided or changed now: ``check`` would raise."""

    def check(self) -> None:
        """Raises ``RpcError`` while nothing may be decided or changed."""

    def find(self, request_id: str, now_ns: int) -> tuple[bytes, bytes] | None:
        """``(digest, reply)`` that a request of this id got, or ``None``."""

    def answer(
        self,
        sequences: Sequence[int],
        request_id: str,
        digest: bytes,
        request: bytes,
        reply: bytes,
        now_ns: int,
    ) -> bytes | Deferred:
        """The reply to a request whose decisions have these input sequences; found by a retry where it has an
        id."""

    def replay(self, request_id: str, reply: bytes) -> bytes | Deferred:
        """A reply that was found, once more; not before the first one could leave."""

    def acknowledge(self, reply: bytes) -> bytes | Deferred:
        """The reply to any other input: a signal, an override, a reload."""


class NoJournal:
    """Answers leave at once and say that nobody recorded them."""

    refusing = False

    def __init__(self, replies: ReplyStore) -> None:
        self._replies = replies

    def check(self) -> None:
        return

    def find(self, request_id: str, now_ns: int) -> tuple[bytes, bytes] | None:
        return self._replies.find(request_id, now_ns)

    def answer(
        self,
        sequences: Sequence[int],
        request_id: str,
        digest: bytes,
        request: bytes,
        reply: bytes,
        now_ns: int,
    ) -> bytes:
        reply = convert.unjournaled(reply)
        if request_id:
            self._replies.keep(request_id, digest, reply, now_ns)
        return reply

    def replay(self, request_id: str, reply: bytes) -> bytes:
        return reply

    def acknowledge(self, reply: bytes) -> bytes:
        return reply
