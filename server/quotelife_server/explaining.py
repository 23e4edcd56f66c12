"""Explanations of decisions, beside the path of decisions.

An explanation takes as long as some dozens of decisions. ``Turns`` does such work one piece a turn of the event
loop, so that whoever asks for many explanations delays a decision by one of them at most.
"""

import asyncio
from collections import deque
from collections.abc import Callable, Sequence
from pathlib import Path

from quotelife.engine import Engine
from quotelife.errors import JournalError, QuotelifeError
from quotelife.explain.decision import explain, verify
from quotelife.explain.grounds import Grounds
from quotelife.explain.journaled import explain_from
from quotelife.journal.reader import Journal
from quotelife.records import DecisionRecord, RequestRecord
from quotelife_server import convert
from quotelife_server.limits import reused_request_id
from quotelife_server.log import get_logger
from quotelife_server.rpc import Answer, Code, Deferred, RpcError

_log = get_logger(__name__)

Later = Callable[[Callable[[], None]], None]


def at_once(work: Callable[[], None]) -> None:
    work()


class Turns:
    """Work that may wait: one piece a turn of the running loop, in order. A piece must not raise."""

    def __init__(self) -> None:
        self._waiting: deque[Callable[[], None]] = deque()

    def add(self, work: Callable[[], None]) -> None:
        self._waiting.append(work)
        if len(self._waiting) == 1:
            asyncio.get_running_loop().call_soon(self._turn)

    def _turn(self) -> None:
        try:
            self._waiting[0]()
        finally:
            self._waiting.popleft()
            if self._waiting:
                asyncio.get_running_loop().call_soon(self._turn)


class JournalExplanations:
    """Explanations of what a journal holds, one after another on a thread of their own."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._journal: Journal | None = None
        self._one_at_a_time = asyncio.Lock()

    async def answer(self, decision_id: str) -> bytes:
        """The bytes of an ``ExplainDecisionResponse``. Raises ``RpcError``."""
        async with self._one_at_a_time:
            try:
                found = await asyncio.to_thread(self._explained, decision_id)
            except JournalError as error:
                _log.error(
                    "cannot explain: the journal is damaged", decision_id=decision_id, error=str(error)
                )
                raise RpcError(Code.DATA_LOSS, "the journal is damaged where that decision lies") from None
            except OSError as error:  # or its segment is past keeping since a moment ago: a retry says so
                _log.error(
                    "cannot explain: the journal cannot be read", decision_id=decision_id, error=str(error)
                )
                self._journal = None  # it has segments in mind that are gone
                raise RpcError(Code.UNAVAILABLE, "the journal cannot be read; retry") from None
            except QuotelifeError as error:
                _log.error("cannot explain", decision_id=decision_id, error=str(error))
                raise RpcError(
                    Code.FAILED_PRECONDITION, "that decision was recorded by another version of the service"
                ) from None
        if found is None:
            raise RpcError(Code.NOT_FOUND, "decision_id: the journal holds no such decision")
        return found

    def _explained(self, decision_id: str) -> bytes | None:
        if self._journal is None:
            self._journal = Journal(self._folder)
        found = explain_from(self._journal, decision_id)
        return None if found is None else convert.explained_answer(found).SerializeToString()


class _Completed(Deferred):
    """May leave while its ``source``, the answer with its explanation, may."""

    __slots__ = ("source",)

    def __init__(self) -> None:
        super().__init__()
        self.source: Deferred | None = None

    def leaving(self) -> bytes:
        return super().leaving() if self.source is None else self.source.leaving()


class Explainer:
    """Completes replies by explanations. A retry that comes before its reply is complete waits for the same one."""

    def __init__(self, engine: Engine, boot_id: str, later: Later) -> None:
        self._engine = engine
        self._boot_id = boot_id
        self._later = later
        self.under_way: dict[str, tuple[bytes, list[_Completed]]] = {}

    def joined(self, request_id: str, digest: bytes) -> Deferred | None:
        """The answer that is being completed for this id. Raises ``RpcError`` when it is to something else."""
        entry = self.under_way.get(request_id)
        if entry is None:
            return None
        if entry[0] != digest:
            raise reused_request_id()
        entry[1].append(_Completed())
        return entry[1][-1]

    def completed(
        self,
        request_id: str,
        digest: bytes,
        records: Sequence[RequestRecord],
        decisions: Sequence[DecisionRecord],
        reply: bytes,
        deliver: Callable[[bytes], Answer],
    ) -> Deferred:
        """Explain what has just been decided; ``deliver`` gets the reply with its explanations, later."""
        drawn = next((each for each in decisions if each.model_role), decisions[0])
        grounds = Grounds.of(self._engine, drawn)  # of both sides, and of all legs, the posture is the same
        taken = [
            (record, DecisionRecord.from_bytes(decision.canonical()), verify(self._engine, record, decision))
            for record, decision in zip(records, decisions, strict=True)
        ]
        waiters = [_Completed()]
        if request_id:
            self.under_way[request_id] = (digest, waiters)

        def resolve(outcome: bytes | BaseException) -> None:
            for waiter in waiters:
                waiter.resolve(outcome)

        def complete() -> None:
            try:
                explanations = [
                    convert.explanation(
                        convert.decision_id(self._boot_id, decision),
                        decision,
                        explain(record, decision, grounds),
                        grounds,
                        convert.Verification.of(same),
                    )
                    for record, decision, same in taken
                ]
                outcome: Answer | BaseException = deliver(convert.explained(reply, explanations))
            except Exception as error:
                outcome = error
            self.under_way.pop(request_id, None)
            if isinstance(outcome, Deferred):
                for waiter in waiters:
                    waiter.source = outcome
                outcome.then(resolve)
            else:
                resolve(outcome)

        self._later(complete)
        return waiters[0]
