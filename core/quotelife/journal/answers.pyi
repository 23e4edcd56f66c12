from collections.abc import Mapping, Sequence

from quotelife.journal.index import SegmentIndex
from quotelife.journal.records import Answer
from quotelife.journal.storage import Storage

class AnswerIndex:
    def __init__(
        self, storage: Storage, indexes: Sequence[SegmentIndex], refused: Mapping[str, set[int]]
    ) -> None: ...
    def __len__(self) -> int: ...
    def find(self, request_id: bytes, since_ns: int = 0) -> Answer | None: ...
