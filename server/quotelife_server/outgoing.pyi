from collections import deque
from collections.abc import Callable, Sequence

from quotelife.engine import Engine
from quotelife.journal.answers import AnswerIndex
from quotelife.journal.writer import JournalWriter
from quotelife_server.deferred import Deferred, Turn
from quotelife_server.latencies import Latencies
from quotelife_server.ledger import Ledger, Stands
from quotelife_server.reply_store import ReplyStore

class Standing:
    def __init__(self, engine: Engine, counterparty: str) -> None: ...
    def __call__(self, reply: bytes) -> bool: ...

class Waiting(Deferred):
    reply: bytes
    stands: Stands | None
    ledger: Ledger | None
    def __init__(
        self,
        turn: Turn | None,
        reply: bytes,
        sequences: Sequence[int] = (),
        request_id: str = "",
        digest: bytes = b"",
        request: bytes = b"",
        stands: Stands | None = None,
        unanswered: Callable[[], None] | None = None,
        *,
        strict: bool = False,
        is_replay: bool = False,
    ) -> None: ...
    sequences: Sequence[int]
    @property
    def request_id(self) -> str: ...
    @property
    def digest(self) -> bytes: ...
    @property
    def request(self) -> bytes: ...
    @property
    def unanswered(self) -> Callable[[], None] | None: ...
    @property
    def strict(self) -> bool: ...
    @property
    def is_replay(self) -> bool: ...
    def leaving(self) -> bytes: ...

class Batch:
    def __init__(self, hasten: Callable[[], None] | None = None) -> None: ...
    number: int
    @property
    def turn(self) -> Turn: ...
    @property
    def waiting(self) -> list[Waiting]: ...
    def release(self) -> None: ...

class JournalFigures:
    bytes: int
    unjournaled: int
    refused: int
    def __init__(self, bounds_ns: Sequence[int]) -> None: ...
    @property
    def commits(self) -> Latencies: ...
    @property
    def commit_counts(self) -> list[int]: ...
    @property
    def commit_sum_ns(self) -> int: ...

class Outgoing:
    fault: str
    figures: JournalFigures
    _refuses: bool
    _syncs: bool
    _writer: JournalWriter
    _replies: ReplyStore
    _index: AnswerIndex
    _call_soon: Callable[[Callable[[], None]], object]
    _batch: Batch
    @property
    def _hasten(self) -> Callable[[], None]: ...
    _held: deque[Batch]
    _scheduled: bool
    _after_write: list[Callable[[], None]]
    _served_first: int
    _served_last: int
    _segment: int
    def check(self) -> None: ...
    def take(self, waiting: Waiting, now_ns: int) -> Waiting: ...
    def _note(self, waiting: Waiting) -> bool: ...
    def _commit_soon(self) -> None: ...
    def _commit(self) -> None: ...
    def _release(self, number: int) -> None: ...
