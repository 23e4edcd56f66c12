"""A firm quote of a short while ago, as registrations and outcomes speak of it."""

from dataclasses import dataclass

from quotelife.records import DecisionRecord, RequestRecord


@dataclass(frozen=True, slots=True)
class RecentQuote:
    """One request and its firm decisions: one, or two for TWO_WAY, BUY first; the engine's own records.

    ``parts``: all that gave it its life, the legs of a package among them; else the decisions."""

    boot_id: str
    rfq_id: str
    quote_id: str
    counterparty: str  # as it was named, configured or not
    requests: tuple[RequestRecord, ...]
    decisions: tuple[DecisionRecord, ...]
    part_requests: tuple[RequestRecord, ...]
    parts: tuple[DecisionRecord, ...]

    @property
    def first_id(self) -> str:
        """Id of its first decision."""
        return f"{self.boot_id}-{self.decisions[0].input_sequence}"

    @property
    def expiry_ns(self) -> int:
        """The first end of its sides."""
        return min(decision.expiry_ns for decision in self.decisions)
