"""What became of each dealer's quotes: counts, values in ticks and in units of h, a table and plain data."""

from dataclasses import dataclass, field
from decimal import Decimal
from typing import Any

from quotelife.sim.rfq.quotes import Happening, Kind
from quotelife.units import NS_PER_MS


@dataclass(slots=True)
class Account:
    """One dealer's. Values are per lot, marked at the exchange's mid when the trade was done.

    ``fills`` are trades of clients, ``pick_offs`` those of snipers. ``late_hits``: orders refused because the quote was
    over, of which ``saved`` had been withdrawn before its life was; ``fills_missed`` are those of clients among them.
    ``withdrawn_in_time`` and ``withdrawn_too_late`` tell whether a trade came before the withdrawal had arrived.
    """

    dealer: str
    asked: int = 0
    quoted: int = 0
    declined: int = 0
    fills: int = 0
    pick_offs: int = 0
    late_hits: int = 0
    saved: int = 0
    fills_missed: int = 0
    withdrawn_in_time: int = 0
    withdrawn_too_late: int = 0
    value_price: float = 0.0
    value_h: float = 0.0
    pick_off_price: float = 0.0
    late_ns_max: int = 0
    life_ns: int = 0
    withdrawals: dict[str, int] = field(default_factory=dict)

    def data(self) -> dict[str, Any]:
        asked, quoted = max(1, self.asked), max(1, self.quoted)
        return {
            "dealer": self.dealer,
            "asked": self.asked,
            "quoted": self.quoted,
            "declined": self.declined,
            "fills": self.fills,
            "fills_missed": self.fills_missed,
            "pick_offs": self.pick_offs,
            "pick_off_value_price": round(self.pick_off_price, 9),
            "late_hits_refused": self.late_hits,
            "refused_after_withdrawal": self.saved,
            "latest_hit_ms": round(self.late_ns_max / NS_PER_MS, 3),
            "withdrawn_in_time": self.withdrawn_in_time,
            "withdrawn_too_late": self.withdrawn_too_late,
            "withdrawn_for": dict(sorted(self.withdrawals.items())),
            "mean_life_ms": round(self.life_ns / quoted / NS_PER_MS, 3),
            "value_price": round(self.value_price, 9),
            "value_price_per_rfq": round(self.value_price / asked, 9),
            "value_h_per_rfq": round(self.value_h / asked, 9),
        }


class Accounts:
    """A listener of ``RfqMarket``. ``tick_sizes``: price units of a tick, for each symbol of the market."""

    def __init__(self, dealers: list[str], tick_sizes: list[Decimal]) -> None:
        self.of = {name: Account(name) for name in dealers}
        self._ticks = [float(size) for size in tick_sizes]

    def __call__(self, what: Happening) -> None:
        account = self.of.get(what.dealer)
        if account is None:
            return
        kind, quote = what.kind, what.quote
        if kind is Kind.ASKED:
            account.asked += 1
        elif kind is Kind.DECLINED:
            account.declined += 1
        elif kind is Kind.QUOTED and quote is not None:
            account.quoted += 1
            account.life_ns += quote.life_ns
        elif kind in (Kind.FILLED, Kind.PICKED_OFF) and quote is not None:
            value = quote.value(what.mid_ticks)
            price = value * self._ticks[quote.inquiry.symbol]
            account.value_price += price
            account.value_h += value / quote.h_ticks
            if kind is Kind.FILLED:
                account.fills += 1
            else:
                account.pick_offs += 1
                account.pick_off_price += price
        elif kind is Kind.REFUSED and quote is not None:
            account.late_hits += 1
            account.fills_missed += not what.sniper
            account.saved += quote.gone_ns < quote.end_ns
            account.late_ns_max = max(account.late_ns_max, what.late_ns)
        elif kind is Kind.WITHDRAWING:
            account.withdrawals[what.text] = account.withdrawals.get(what.text, 0) + 1
        elif kind is Kind.WITHDRAWN:
            account.withdrawn_in_time += 1
        elif kind is Kind.TOO_LATE:
            account.withdrawn_too_late += 1

    def data(self) -> list[dict[str, Any]]:
        """One entry a dealer, in the order of the dealers; numbers, strings and dicts only."""
        return [account.data() for account in self.of.values()]
