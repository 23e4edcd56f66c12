"""Explanations of decisions, beside the path of decisions.

An explanation takes as long as some dozens of decisions. ``Turns`` does such work one piece a turn of the event
loop, so that whoever asks for many explanations delays a decision by one of them at most.
"""

import asyncio
from collections import deque
from collections.abc import Callable, Sequence

from quotelife.engine import Engine
from quotelife.explain import Grounds, explain, verify
from quotelife.records import DecisionRecord, RequestRecord
from quotelife_server import convert
from quotelife_server.limits import reused_request_id
from quotelife_server.rpc import Deferred

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


class Explainer:
    """Completes replies by explanations. A retry that comes before its reply is complete waits for the same one."""

    def __init__(self, engine: Engine, boot_id: str, later: Later) -> None:
        self._engine = engine
        self._boot_id = boot_id
        self._later = later
        self._under_way: dict[str, tuple[bytes, list[Deferred]]] = {}

    def joined(self, request_id: str, digest: bytes) -> Deferred | None:
        """The answer that is being completed for this id. Raises ``RpcError`` when it is to something else."""
        entry = self._under_way.get(request_id)
        if entry is None:
            return None
        if entry[0] != digest:
            raise reused_request_id()
        entry[1].append(Deferred())
        return entry[1][-1]

    def completed(
        self,
        request_id: str,
        digest: bytes,
        records: Sequence[RequestRecord],
        decisions: Sequence[DecisionRecord],
        reply: bytes,
        deliver: Callable[[bytes], bytes | Deferred],
    ) -> Deferred:
        """Explain what has just been decided; ``deliver`` gets the reply with its explanations, later."""
        grounds = Grounds.of(self._engine)
        taken = [
            (record, DecisionRecord.from_bytes(decision.canonical()), verify(self._engine, record, decision))
            for record, decision in zip(records, decisions, strict=True)
        ]
        waiters = [Deferred()]
        if request_id:
            self._under_way[request_id] = (digest, waiters)

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
                outcome: bytes | BaseException | Deferred = deliver(convert.explained(reply, explanations))
            except Exception as error:
                outcome = error
            self._under_way.pop(request_id, None)
            if isinstance(outcome, Deferred):
                outcome.then(resolve)
            else:
                resolve(outcome)

        self._later(complete)
        return waiters[0]
