"""Firm quotes of a short while ago, by decision id: what a registration or an outcome speaks of.

A decision is kept from when it was taken, whether its answer has left or not, for ``keep_ns`` beyond the end of its
life, and the oldest leave first for want of room. Those of a boot before this one are not here: ``earlier_quotes``.
"""

from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass

from quotelife.records import DecisionCode, DecisionRecord, RequestRecord
from quotelife_server.packages import DecidedPackage
from quotelife_server.request_reader import PlainRequest

Plain = tuple[PlainRequest, DecisionRecord]


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


class RecentQuotes:
    """One thread, the event loop's."""

    def __init__(self, boot_id: str, quotes_max: int, keep_ns: int) -> None:
        self._boot_id = boot_id
        self.quotes_max = quotes_max
        self.keep_ns = keep_ns
        # By the input sequence of the first decision. A plain one becomes a RecentQuote when somebody asks: few are.
        self._quotes: OrderedDict[int, RecentQuote | Plain] = OrderedDict()
        self._others: dict[int, int] = {}  # that of another side leads to it
        self.evicted = 0  # left before their time, for want of room

    def __len__(self) -> int:
        return len(self._quotes)

    def keep(
        self,
        rfq_id: str,
        quote_id: str,
        counterparty: str,
        requests: Sequence[RequestRecord],
        decisions: Sequence[DecisionRecord],
        packages: Sequence[DecidedPackage] = (),
    ) -> RecentQuote | None:
        """The sides that are QUOTE, which nobody may change from here on; ``None`` where there is none. ``packages``
        has those that the decisions are of, if any."""
        firm = [place for place, each in enumerate(decisions) if each.kind == DecisionCode.QUOTE]
        if not firm:
            return None
        sides = tuple(requests[place] for place in firm), tuple(decisions[place] for place in firm)
        parts = sides
        if packages:
            parts = (
                tuple(each for place in firm for each in packages[place].requests),
                tuple(each for place in firm for each in packages[place].decisions),
            )
        quote = RecentQuote(self._boot_id, rfq_id, quote_id, counterparty, *sides, *parts)
        first, *others = (decision.input_sequence for decision in quote.decisions)
        self._make_room()
        self._quotes[first] = quote
        for other in others:
            self._others[other] = first
        return quote

    def keep_plain(self, request: PlainRequest, decision: DecisionRecord) -> None:
        """As ``keep``, of one that is QUOTE."""
        self._make_room()
        self._quotes[decision.input_sequence] = (request, decision)

    def find(self, decision_id: str) -> RecentQuote | None:
        """The quote that the decision of this id was taken for, with all of its firm sides; ``None`` where it was none
        of this boot, was not firm, or has left."""
        boot_id, _, sequence = decision_id.rpartition("-")
        if boot_id != self._boot_id or not (sequence.isascii() and sequence.isdecimal()):
            return None
        number = int(sequence)
        number = self._others.get(number, number)
        quote = self._quotes.get(number)
        if isinstance(quote, tuple):
            quote = self._quotes[number] = self._whole(quote)
        return quote

    def expire(self, now_ns: int, most: int = 1024) -> None:
        """Drop what is past keeping, a few at a time so that a timer tick stays short. In the order of decisions: one
        that lives long keeps those behind it for as long."""
        for _ in range(most):
            oldest = next(iter(self._quotes.values()), None)
            if oldest is None:
                return
            end_ns = oldest[1].expiry_ns if isinstance(oldest, tuple) else oldest.expiry_ns
            if end_ns + self.keep_ns >= now_ns:
                return
            self._drop_oldest()

    def _whole(self, plain: Plain) -> RecentQuote:
        request, decision = plain
        sides = (request.record,), (decision,)
        return RecentQuote(
            self._boot_id, request.rfq_id, request.quote_id, request.counterparty, *sides, *sides
        )

    def _make_room(self) -> None:
        while self._quotes and len(self._quotes) >= self.quotes_max:
            self._drop_oldest()
            self.evicted += 1

    def _drop_oldest(self) -> None:
        _, quote = self._quotes.popitem(last=False)
        if isinstance(quote, tuple):
            return
        for other in quote.decisions[1:]:
            del self._others[other.input_sequence]
