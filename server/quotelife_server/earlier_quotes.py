"""Firm quotes that memory does not hold: of an earlier start, or put out for want of room. From the journal."""

from dataclasses import replace
from decimal import Decimal

import numpy as np

from quote_expiry.v1 import quote_expiry_service_pb2 as expiry
from quotelife.engine import Engine
from quotelife.journal.decisions import InstrumentTerms
from quotelife.records import DECISION_DTYPE, DecisionCode, DecisionRecord, RequestFlags, RequestRecord
from quotelife_server.ledger import Ledger
from quotelife_server.recent import RecentQuote, RecentQuotes

Part = tuple[RequestRecord, DecisionRecord]


class EarlierQuotes:
    """One thread, the event loop's. A look takes some 0.2 ms and a read: callers bound how many they take at once."""

    def __init__(self, engine: Engine, ledger: Ledger, recent: RecentQuotes, boot_id: str) -> None:
        self._engine = engine
        self._ledger = ledger
        self._recent = recent
        self._boot_id = boot_id

    def find(self, decision_id: str, now_ns: int) -> RecentQuote | str:
        """As ``RecentQuotes.find``, as far back after the end of its life, with instruments by the numbers that they
        have now; else why it is not to be had. Raises ``RpcError`` where the journal is damaged."""
        decided = self._ledger.decided(decision_id, now_ns)
        if decided is None:
            return "is no firm decision of this service, or the journal does not hold its answer any more"
        boot_id, _, digits = decision_id.rpartition("-")
        quote = _quote(boot_id, expiry.GetExpiryRequest.FromString(decided.answer.request), decided.parts)
        if quote is None or int(digits) not in {each.input_sequence for each in quote.decisions}:
            return "is no firm decision: nothing to report of it"
        if quote.expiry_ns + self._recent.keep_ns < now_ns:
            return "its quote ended too long ago (server.recent.keep)"
        if boot_id == self._boot_id:
            return quote
        decisions = []
        for decision in quote.decisions:
            place = self._place_now(decision.instrument, decided.instruments)
            if isinstance(place, str):
                return place
            decisions.append(_moved(decision, place))
        return replace(quote, decisions=tuple(decisions))

    def _place_now(self, index: int, instruments: tuple[InstrumentTerms, ...]) -> int | str:
        if index >= len(instruments):
            return "the journal does not say of which instrument it was"
        was = instruments[index]
        now = self._engine.instruments.get(was.name)
        if now is None:
            return f"its instrument {was.name} is not configured any more"
        if (now.tick_size, now.lot_size) != (Decimal(was.tick_size), Decimal(was.lot_size)):
            return f"its instrument {was.name} has another tick_size or lot_size now"
        return now.index


def _quote(boot_id: str, request: expiry.GetExpiryRequest, decided: tuple[Part, ...]) -> RecentQuote | None:
    """What ``RecentQuotes.keep`` made of them; ``None`` where no side was firm."""
    sides: list[Part] = []
    parts: list[Part] = []
    of_this: list[Part] = []
    for part in decided:
        of_this.append(part)
        if part[0].flags & RequestFlags.LEG and not part[0].flags & RequestFlags.LAST_LEG:
            continue
        if part[1].kind == DecisionCode.QUOTE:
            sides.append(part)
            parts += of_this
        of_this = []
    if not sides:
        return None
    return RecentQuote(
        boot_id,
        request.rfq_id,
        request.quote_id,
        request.counterparty,
        tuple(each for each, _ in sides),
        tuple(each for _, each in sides),
        tuple(each for each, _ in parts),
        tuple(each for _, each in parts),
    )


def _moved(decision: DecisionRecord, index: int) -> DecisionRecord:
    if decision.instrument == index:
        return decision
    fields = np.frombuffer(bytearray(decision.canonical()), dtype=DECISION_DTYPE)
    fields["instrument"] = index
    return DecisionRecord.from_bytes(fields.tobytes())
