from collections.abc import Sequence

from quotelife.records import DecisionRecord

class ReplyWriter:
    def __init__(self, horizons_ns: Sequence[int], schema_hash: str) -> None: ...
    def reply(
        self,
        record: DecisionRecord,
        *,
        boot_id: str,
        request_id: str,
        model_digest: str,
        tick: float,
        venue_step_ns: int,
        synchronised: bool,
        watched: bool,
        watch_refusal: int,
        compute_ns: int,
    ) -> bytes | None: ...
