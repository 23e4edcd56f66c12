from collections.abc import Callable, Sequence

from quotelife.engine import Engine
from quotelife.journal.answers import AnswerIndex
from quotelife.journal.writer import JournalWriter
from quotelife_server.deferred import Deferred, Turn
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
    ) -> None: ...
    @property
    def sequences(self) -> Sequence[int]: ...
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
    def leaving(self) -> bytes: ...

class Batch:
    number: int
    @property
    def turn(self) -> Turn: ...
    @property
    def waiting(self) -> list[Waiting]: ...
    def release(self) -> None: ...

class Outgoing:
    fault: str
    _refuses: bool
    _writer: JournalWriter
    _replies: ReplyStore
    _index: AnswerIndex
    _batch: Batch
    _scheduled: bool
    def check(self) -> None: ...
    def take(self, waiting: Waiting, now_ns: int) -> Waiting: ...
    def _note(self, waiting: Waiting) -> bool: ...
