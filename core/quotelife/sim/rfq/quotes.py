"""Quotes of dealers and what happens to them."""

from dataclasses import dataclass, field
from enum import Enum
from typing import NamedTuple

from quotelife.sim.rfq.population import Inquiry

NEVER_NS = 2**62


class Kind(Enum):
    """What has happened; the words are those of reports."""

    NEWS = "news"
    ASKED = "asked"
    QUOTED = "quoted"
    DECLINED = "declined"
    WALKED_AWAY = "walked away"
    ORDERED = "ordered"
    FILLED = "filled"
    PICKED_OFF = "picked off"
    REFUSED = "refused"
    WITHDRAWING = "withdrawing"
    WITHDRAWN = "withdrawn"
    TOO_LATE = "too late"
    EXPIRED = "expired"
    HINT = "requote hint"


@dataclass(slots=True)
class Quote:
    """One dealer's firm quote. Prices in ticks, ``mid_ticks`` is the dealer's mid at pricing, ``h_ticks`` the move
    against it that makes it worth picking off. ``end_ns``: its expiry; ``gone_ns``: when a withdrawal has reached the
    client's side, ``NEVER_NS`` where none is on its way. ``detail``: what the dealer tells of it, for reports."""

    dealer: str
    number: int
    inquiry: Inquiry
    made_ns: int
    end_ns: int
    mid_ticks: float
    price_ticks: float
    h_ticks: float
    gone_ns: int = NEVER_NS
    traded: bool = False
    ended: bool = False
    detail: dict[str, object] = field(default_factory=dict)

    @property
    def life_ns(self) -> int:
        return self.end_ns - self.made_ns

    def live(self, now_ns: int) -> bool:
        """An order that arrives at this time finds it. The end itself is too late, as for a gateway."""
        return not self.traded and now_ns < self.end_ns and now_ns < self.gone_ns

    def moved(self, mid_ticks: float) -> float:
        """D: how far the mid has moved against it since pricing, in ticks."""
        return -self.inquiry.side * (mid_ticks - self.mid_ticks)

    def value(self, mid_ticks: float) -> float:
        """What a trade now is worth to the dealer per unit, in ticks, marked at the mid."""
        return self.inquiry.side * (mid_ticks - self.price_ticks)


class Withdrawal(NamedTuple):
    """A dealer's word that a quote is to be taken back."""

    at_ns: int
    quote: int
    reason: str
    moved_ticks: float


class Happening(NamedTuple):
    """One line of what has happened. ``text``: a reason; ``mid_ticks``: the exchange's mid then, NaN where none;
    ``late_ns``: how long after the end of its quote a refused order came."""

    at_ns: int
    kind: Kind
    dealer: str
    inquiry: Inquiry | None
    quote: Quote | None
    text: str
    mid_ticks: float
    late_ns: int = 0
    sniper: bool = False
