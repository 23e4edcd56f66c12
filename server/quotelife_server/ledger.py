"""Where answers go on their way out: kept for retries and, where there is a journal, recorded first."""

from collections.abc import Callable, Sequence
from typing import Protocol

from quotelife.journal.decisions import Decided
from quotelife_server import convert
from quotelife_server.outgoing import Waiting
from quotelife_server.reply_store import ReplyStore
from quotelife_server.rpc import Answer, Deferred

Stands = Callable[[bytes], bool]
"""Asked of a reply just before it leaves: False when a kill has come that it must not outlive."""


class Ledger(Protocol):
    """One thread, the event loop's. ``Deferred`` answers come once they have been recorded, or never could be."""

    @property
    def refusing(self) -> bool:
        """Nothing may be decided or changed now: ``check`` would raise."""

    def check(self) -> None:
        """Raises ``RpcError`` while nothing may be decided or changed."""

    def find(self, request_id: str, now_ns: int) -> tuple[bytes, bytes] | None:
        """``(digest, reply)`` that a request of this id got, or ``None``."""

    def decided(self, decision_id: str, now_ns: int) -> Decided | None:
        """The answer with that decision and all that were taken for it, of an earlier start or long ago. It takes a
        few reads. Raises ``RpcError`` when it was given and cannot be read back."""

    def recalled_counted(self) -> Sequence[str]:
        """Quotes whose first outcome came before this start, by the id of their first decision, the oldest first."""

    def answer(
        self,
        sequences: Sequence[int],
        request_id: str,
        digest: bytes,
        request: bytes,
        reply: bytes,
        now_ns: int,
        stands: Stands | None = None,
        unanswered: Callable[[], None] | None = None,
    ) -> Answer:
        """The reply to a request whose decisions have these input sequences; found by a retry where it has an id.
        Taken back where it does not stand any more when it is to leave. ``unanswered`` is called where it cannot be
        recorded, so that nobody will ever see it."""

    def take(self, waiting: Waiting, now_ns: int) -> Answer:
        """``answer`` of one that has been made."""

    def taken_back(self, waiting: Waiting) -> None:
        """It was to leave and does not stand any more."""

    def replayed(self, waiting: Waiting) -> None:
        """One of ``replay`` leaves: what it says has been given, whatever becomes of the first call."""

    def replay(self, request_id: str, reply: bytes, stands: Stands) -> Answer:
        """A reply that was found, once more; not before the first one could leave."""

    def acknowledge(self, reply: bytes) -> Answer:
        """The reply to any other input: a signal, an override, a reload."""

    def check_recording(self) -> None:
        """Raises ``RpcError`` while no record can be written, whatever may be decided meanwhile."""

    def recorded(self) -> Answer:
        """Empty bytes once every input so far has been recorded; a failure as soon as that cannot be done. Answers
        to later inputs leave after it."""

    def after_write(self, call: Callable[[], None]) -> None:
        """``call`` in a later turn of the loop, once the records of every input so far were handed to the operating
        system, or at once when they cannot be. It waits for no device: a withdrawal is worth more than its record."""


class NoJournal:
    """Answers leave at once and say that nobody recorded them."""

    refusing = False

    def __init__(self, replies: ReplyStore, call_soon: Callable[[Callable[[], None]], object]) -> None:
        """``call_soon`` runs something in the next turn."""
        self._replies = replies
        self._call_soon = call_soon

    def check(self) -> None:
        return

    def find(self, request_id: str, now_ns: int) -> tuple[bytes, bytes] | None:
        return self._replies.find(request_id, now_ns)

    def decided(self, decision_id: str, now_ns: int) -> None:
        return None

    def recalled_counted(self) -> Sequence[str]:
        return ()

    def answer(
        self,
        sequences: Sequence[int],
        request_id: str,
        digest: bytes,
        request: bytes,
        reply: bytes,
        now_ns: int,
        stands: Stands | None = None,
        unanswered: Callable[[], None] | None = None,
    ) -> Answer:
        return self.take(
            Waiting(None, reply, sequences, request_id, digest, request, stands, unanswered), now_ns
        )

    def take(self, waiting: Waiting, now_ns: int) -> Deferred:
        waiting.ledger = self
        waiting.reply = convert.unjournaled(waiting.reply)
        if waiting.request_id:
            self._replies.keep(waiting.request_id, waiting.digest, waiting.reply, now_ns)
        waiting.resolve(waiting.reply)
        return waiting

    def taken_back(self, waiting: Waiting) -> None:
        if waiting.sequences and not self._replies.was_replayed(waiting.request_id):
            self._replies.forget(waiting.request_id)

    def replayed(self, waiting: Waiting) -> None:
        self._replies.note_replay(waiting.request_id)

    def replay(self, request_id: str, reply: bytes, stands: Stands) -> Deferred:
        waiting = Waiting(None, reply, (), request_id, stands=stands, is_replay=True)
        waiting.ledger = self
        waiting.resolve(reply)
        return waiting

    def acknowledge(self, reply: bytes) -> bytes:
        return reply

    def check_recording(self) -> None:
        return

    def recorded(self) -> bytes:
        return b""

    def after_write(self, call: Callable[[], None]) -> None:
        self._call_soon(call)
