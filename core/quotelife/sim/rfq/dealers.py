"""Dealers of the simulated RFQ market: one with a fixed expiry, and one that asks an engine for lives, a watch or both.

All price alike, mid ± a fixed edge, from what they have seen of the market, so that their accounts differ by how long
their quotes live, by what is taken back, and by nothing else. Times are the simulation's; nothing here knows another
clock.
"""

from collections.abc import Sequence
from typing import Protocol

import numpy as np

from quotelife.config import Config
from quotelife.counterparty.posterior import OutcomeCode
from quotelife.engine import Engine
from quotelife.errors import QuotelifeError
from quotelife.inputs import DerivedTap
from quotelife.instruments import Instrument
from quotelife.model.curve import CurveModel
from quotelife.records import (
    NO_INDEX_VALUE,
    WATCH_DTYPE,
    DecisionCode,
    DecisionRecord,
    EventBuffer,
    PostureCode,
    QuoteStateCode,
    ReasonFlags,
    RegimeCode,
    RequestRecord,
    SignalCode,
    WatchCode,
    WithdrawCode,
)
from quotelife.sim.events import EventWriter
from quotelife.sim.market import SymbolConfig
from quotelife.sim.rfq.population import Inquiry
from quotelife.sim.rfq.quotes import NEVER_NS, Kind, Quote, Withdrawal
from quotelife.sim.source import LATENCY_NS, instrument_of
from quotelife.sim.updates import BookSnapshot, NewsItem, TopUpdate, VenueUpdate
from quotelife.units import NS_PER_MS

TIMER_NS = 50 * NS_PER_MS
"""How often a dealer's engine is woken when nothing else happens, as often as the service's."""

BPS = 1e-4


class Dealer(Protocol):
    """Who answers requests. ``latency_ns``: how old the market is when it hears of it; ``path_ns``: how long a
    withdrawal of its own is on its way to the client's side."""

    name: str
    latency_ns: int
    path_ns: int

    def start(self, snapshots: Sequence[BookSnapshot]) -> None:
        """The whole books, before anything else."""

    def hears(self, item: VenueUpdate | NewsItem) -> None:
        """One message of the exchange, or a headline, when it arrives."""

    def quotes(self, inquiry: Inquiry, number: int, now_ns: int) -> Quote | None:
        """A firm quote of that number, or ``None``; why, ``declined`` tells."""

    def declined(self) -> str:
        """Why the last request got no quote."""

    def wakes_ns(self) -> int:
        """When it wants to be woken next, ``NEVER_NS``: not by time."""

    def on_timer(self, now_ns: int) -> None: ...

    def said(self) -> tuple[list[Withdrawal], list[tuple[int, int]]]:
        """Withdrawals, and (quote, life in ns) of hints what a new quote would get, since the last call."""

    def is_over(self, quote: Quote, what: Kind, now_ns: int) -> None:
        """A quote of its own was traded, its withdrawal has arrived, or it has expired."""


class StaticDealer:
    """Every quote lives for ``life_ns`` and is never taken back. ``edge_bps`` by symbol, ``adverse_bps`` as in the
    configuration of instruments: the larger of both, at least one tick, is h."""

    def __init__(
        self,
        name: str,
        *,
        life_ns: int,
        edge_bps: Sequence[float],
        adverse_bps: Sequence[float],
        latency_ns: int = LATENCY_NS,
    ) -> None:
        if life_ns <= 0:
            raise ValueError("life_ns must be above 0")
        self.name = name
        self.latency_ns = latency_ns
        self.path_ns = 0
        self._life_ns = life_ns
        self._edge_bps = list(edge_bps)
        self._adverse_bps = list(adverse_bps)
        self._mid = [float("nan")] * len(self._edge_bps)

    def start(self, snapshots: Sequence[BookSnapshot]) -> None:
        for book in snapshots:
            self._mid[book.symbol] = (book.bids[0][0] + book.asks[0][0]) / 2.0

    def hears(self, item: VenueUpdate | NewsItem) -> None:
        if isinstance(item, TopUpdate):
            self._mid[item.symbol] = (item.bid_ticks + item.ask_ticks) / 2.0

    def quotes(self, inquiry: Inquiry, number: int, now_ns: int) -> Quote | None:
        mid = self._mid[inquiry.symbol]
        edge = self._edge_bps[inquiry.symbol] * BPS * mid
        h = max(1.0, edge, self._adverse_bps[inquiry.symbol] * BPS * mid)
        return Quote(
            self.name, number, inquiry, now_ns, now_ns + self._life_ns, mid, mid - inquiry.side * edge, h
        )

    def declined(self) -> str:
        return ""

    def wakes_ns(self) -> int:
        return NEVER_NS

    def on_timer(self, now_ns: int) -> None:
        pass

    def said(self) -> tuple[list[Withdrawal], list[tuple[int, int]]]:
        return [], []

    def is_over(self, quote: Quote, what: Kind, now_ns: int) -> None:
        pass


class EngineDealer:
    """Every request goes through an engine of its own, which hears the market, gives the life, and watches the quote.

    ``symbols``: the simulated market's, each of which must be an instrument of ``config`` (symbol, tick and lot size).
    ``watch`` false: lives are the engine's, but no quote is taken back. ``life_ns``: every quote lives so long instead,
    and the engine only watches it. Raises ``QuotelifeError`` where an instrument,
    ``desk`` or ``session`` is not in ``config``.
    """

    def __init__(
        self,
        name: str,
        config: Config,
        *,
        symbols: Sequence[SymbolConfig],
        edge_bps: Sequence[float],
        start_ns: int,
        model: CurveModel | None = None,
        desk: str | None = None,
        session: str | None = None,
        watch: bool = True,
        life_ns: int | None = None,
        latency_ns: int = LATENCY_NS,
        path_ns: int = 5 * NS_PER_MS,
    ) -> None:
        if life_ns is not None and life_ns <= 0:
            raise ValueError("life_ns must be above 0")
        self.name = name
        self.latency_ns = latency_ns
        self.path_ns = path_ns
        self.instruments: list[Instrument] = [
            instrument_of(config.instrument_table(), symbol) for symbol in symbols
        ]
        self.engine = Engine(config, model=model, start_ns=start_ns)
        self._tap = DerivedTap()
        self.engine.record_to(self._tap)
        self._buffer = EventBuffer(8192)
        self._writer = EventWriter(self._buffer, [each.index for each in self.instruments], latency_ns)
        policy = self.engine.policy
        self._desk = _place(policy.desk_names, desk, "desks")
        self._session = _place(policy.session_names, session, "venue_sessions")
        self._edge_bps = list(edge_bps)
        self._watch = watch
        self._life_ns = life_ns
        self._mid = [float("nan")] * len(self.instruments)
        self._timer_ns = start_ns + TIMER_NS
        self._why = ""
        self._watched: dict[int, int] = {}  # our number of a live quote → the engine's
        self._open: dict[int, DecisionRecord] = {}
        self.decisions: dict[int, DecisionRecord] = {}
        """The last decision on each symbol, for reports."""

    def start(self, snapshots: Sequence[BookSnapshot]) -> None:
        for book in snapshots:
            self._mid[book.symbol] = (book.bids[0][0] + book.asks[0][0]) / 2.0
            self._writer.write_snapshot(book)
        self._hand_over()

    def hears(self, item: VenueUpdate | NewsItem) -> None:
        if isinstance(item, NewsItem):
            self.engine.on_signal(
                SignalCode.NEWS,
                receive_ns=item.time_ns + self.latency_ns,
                source_ns=item.time_ns,
                value=item.score,
                instrument=NO_INDEX_VALUE if item.symbol is None else self.instruments[item.symbol].index,
            )
            return
        if isinstance(item, TopUpdate):
            self._mid[item.symbol] = (item.bid_ticks + item.ask_ticks) / 2.0
        self._writer.write(item)
        self._hand_over()

    def quotes(self, inquiry: Inquiry, number: int, now_ns: int) -> Quote | None:
        mid = self._mid[inquiry.symbol]
        edge = self._edge_bps[inquiry.symbol] * BPS * mid
        requests, decisions = self._decide(inquiry, now_ns, edge)
        decision = decisions[-1]
        self.decisions[inquiry.symbol] = decision
        if decision.kind != DecisionCode.QUOTE:
            reasons = [reason.name or "" for reason in ReasonFlags if decision.reasons & reason]
            self._why = " ".join([DecisionCode(decision.kind).name, *reasons])
            return None
        expiry_ns = decision.expiry_ns if self._life_ns is None else now_ns + self._life_ns
        quote = Quote(
            self.name,
            number,
            inquiry,
            now_ns,
            expiry_ns,
            mid,
            mid - inquiry.side * edge,
            decision.h_ticks,
            detail=told(decision),
        )
        self._open[number] = decision
        if self._watch:
            self._watched[number] = self.engine.watch(
                now_ns,
                owner=self.name,
                name=str(number),
                requests=requests,
                decisions=decisions,
                rfq=str(inquiry.number),
                expiry_ns=expiry_ns,
            )
        return quote

    def _decide(
        self, inquiry: Inquiry, now_ns: int, edge_ticks: float
    ) -> tuple[list[RequestRecord], list[DecisionRecord]]:
        """What was asked of the engine and what it decided; the last decision is the answer."""
        request = RequestRecord(
            self.instruments[inquiry.symbol].index,
            inquiry.side,
            now_ns=now_ns,
            counterparty=self._counterparty(inquiry),
            desk=self._desk,
            session=self._session,
            size_lots=inquiry.size_lots,
            edge_ticks=edge_ticks,
        )
        decision = DecisionRecord()
        self.engine.decide(request, decision)
        return [request], [decision]

    def _counterparty(self, inquiry: Inquiry) -> int:
        found = self.engine.policy.counterparty_index(inquiry.client)
        return NO_INDEX_VALUE if found is None else found

    def declined(self) -> str:
        return self._why

    def wakes_ns(self) -> int:
        return min(self._timer_ns, self.engine.next_watch_ns())

    def on_timer(self, now_ns: int) -> None:
        self.engine.on_timer(now_ns)
        self._tap.labels()
        if now_ns >= self._timer_ns:
            self._timer_ns = now_ns + TIMER_NS

    def said(self) -> tuple[list[Withdrawal], list[tuple[int, int]]]:
        gone: list[Withdrawal] = []
        hints: list[tuple[int, int]] = []
        for raw in self._tap.watches():
            word = np.frombuffer(raw, WATCH_DTYPE)[0]
            names = self.engine.watching.names(int(word["quote"]))
            if names is None:
                continue
            number = int(names.name)
            if word["kind"] == WatchCode.WITHDRAW:
                reason = WithdrawCode(word["reason"]).name
                gone.append(Withdrawal(int(word["at_ns"]), number, reason, float(word["moved_ticks"])))
            elif word["kind"] == WatchCode.REQUOTE_HINT:
                hints.append((number, int(word["life_ns"])))
        return gone, hints

    def is_over(self, quote: Quote, what: Kind, now_ns: int) -> None:
        watched = self._watched.pop(quote.number, None)
        if watched is not None:
            if what is Kind.WITHDRAWN:
                self.engine.watch_acknowledged(now_ns, watched)
            elif what in (Kind.FILLED, Kind.PICKED_OFF):
                self.engine.watch_updated(now_ns, watched, QuoteStateCode.FILLED)
        self._report(quote, what, now_ns)

    def _report(self, quote: Quote, what: Kind, now_ns: int) -> None:
        """The outcome, as an OMS reports it: a desk cannot tell a sniper's trade from a client's."""
        decision = self._open.pop(quote.number)
        traded = what in (Kind.FILLED, Kind.PICKED_OFF)
        if traded:
            kind = OutcomeCode.HIT if quote.inquiry.side > 0 else OutcomeCode.LIFTED
        else:
            kind = OutcomeCode.CANCELLED if what is Kind.WITHDRAWN else OutcomeCode.EXPIRED
        lots = float(quote.inquiry.size_lots)
        self.engine.outcome(
            now_ns,
            {
                "outcome": f"{self.name}-{quote.number}",
                "decision": decision.input_sequence,
                "boot": "",
                "quote": str(quote.number),
                "counterparty": quote.inquiry.client,
                "instrument": self.instruments[quote.inquiry.symbol].name,
                "side": quote.inquiry.side,
                "kind": int(kind),
                "counts": True,
                "at_ns": now_ns,
                "age_ns": float(now_ns - quote.made_ns),
                "life_ns": quote.life_ns,
                "price_ticks": quote.price_ticks if traded else None,
                "traded_lots": lots if traded else None,
                "size_lots": lots,
                "quoted_ticks": quote.price_ticks,
                "mid_ticks": quote.mid_ticks,
                "h_ticks": quote.h_ticks,
            },
        )

    def _hand_over(self) -> None:
        self.engine.on_events(self._buffer)
        self._buffer.clear()


def told(decision: DecisionRecord) -> dict[str, object]:
    """What a decision says of itself, in the words of the API."""
    return {
        "posture_requested": PostureCode(decision.posture_requested).name,
        "posture_effective": PostureCode(decision.posture_effective).name,
        "regime": RegimeCode(decision.regime).name,
        "p500": decision.p_ref,
        "h_ticks": decision.h_ticks,
        "reasons": [reason.name for reason in ReasonFlags if decision.reasons & reason],
    }


def _place(names: Sequence[str], name: str | None, where: str) -> int:
    if name is None:
        return NO_INDEX_VALUE
    if name not in names:
        raise QuotelifeError(
            f"{where}: the configuration has no {name!r}; it has {', '.join(names) or 'none'}"
        )
    return names.index(name)
