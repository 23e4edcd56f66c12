"""The RFQ market: one exchange, its news, those who ask and the dealers who answer, in one order of time.

An inquiry goes to every dealer at once. A client's order is blind to lives: it finds its quote, or is refused and,
if it can, tries the next dealer. A sniper sends its order when the exchange's mid has passed h against a quote, and
trades only if the order arrives while the quote lives. A withdrawal takes ``path_ns`` of its dealer; what comes before
it has arrived trades, and that is told as too late.

At equal times the exchange comes first, then what dealers hear, then their timers, then orders and requests. Nothing is
drawn here: equal market, inquiries and dealers give equal happenings.
"""

from __future__ import annotations

import heapq
from collections import deque
from collections.abc import Callable, Iterable, Sequence
from typing import Any

from quotelife.sim.market import MarketSimulator
from quotelife.sim.rfq.dealers import Dealer
from quotelife.sim.rfq.population import Aim, Inquiry, Intent
from quotelife.sim.rfq.quotes import NEVER_NS, Happening, Kind, Quote
from quotelife.sim.source import in_order
from quotelife.sim.updates import NewsItem, TopUpdate, VenueUpdate
from quotelife.units import NS_PER_MS, NS_PER_S

CHUNK_NS = 50 * NS_PER_MS
PATIENCE_NS = 5 * NS_PER_S
"""How long a sniper goes on looking at a quote that nobody told it the end of."""

Listener = Callable[[Happening], None]


class RfqMarket:
    """Runs until ``stop_ns``. ``inquiries`` in order of time; ``listeners`` hear every happening, in order."""

    def __init__(
        self,
        market: MarketSimulator,
        dealers: Sequence[Dealer],
        inquiries: Iterable[Inquiry],
        *,
        stop_ns: int,
        listeners: Sequence[Listener] = (),
    ) -> None:
        if not dealers or len({dealer.name for dealer in dealers}) != len(dealers):
            raise ValueError("dealers: at least one, and all of different names")
        self._market = market
        self._dealers = {dealer.name: dealer for dealer in dealers}
        self._feeds: dict[str, deque[VenueUpdate | NewsItem]] = {dealer.name: deque() for dealer in dealers}
        self._inquiries = iter(inquiries)
        self._stop_ns = stop_ns
        self._listeners = tuple(listeners)
        self._exchange: deque[VenueUpdate | NewsItem] = deque()
        self._mid: list[float] = []
        self._due: list[tuple[int, int, Callable[..., None], tuple[Any, ...]]] = []
        self._scheduled = 0
        self._numbers = 0
        self._quotes: dict[int, Quote] = {}
        self._snipes: list[list[tuple[Quote, Intent, int]]] = []

    def run(self) -> None:
        """Everything up to ``stop_ns``."""
        snapshots = [self._market.snapshot(i) for i in range(len(self._market.config.symbols))]
        self._mid = [(book.bids[0][0] + book.asks[0][0]) / 2.0 for book in snapshots]
        self._snipes = [[] for _ in snapshots]
        for dealer in self._dealers.values():
            dealer.start(snapshots)
        self._next_inquiry()
        while self._step():
            pass

    # ------------------------------------------------------------------ one order of time

    def _step(self) -> bool:
        """The next thing that happens; false when nothing does before the end."""
        while not self._exchange and self._market.now_ns < self._stop_ns:
            before = self._market.now_ns
            updates = self._market.advance(min(self._stop_ns, before + CHUNK_NS))
            self._exchange.extend(in_order(updates, self._market.news()))
            if self._market.now_ns == before:
                break
        at, what, name = NEVER_NS, 4, ""
        if self._exchange:
            at, what = self._exchange[0].time_ns, 0
        # By time, then by ``what``; of like things the first dealer's.
        for dealer, feed in zip(self._dealers.values(), self._feeds.values(), strict=True):
            if feed and ((heard := feed[0].time_ns + dealer.latency_ns) < at or (heard == at and what > 1)):
                at, what, name = heard, 1, dealer.name
            if (wakes := dealer.wakes_ns()) < at or (wakes == at and what > 2):
                at, what, name = wakes, 2, dealer.name
        if self._due and (self._due[0][0] < at or (self._due[0][0] == at and what > 3)):
            at, what = self._due[0][0], 3
        if at > self._stop_ns or at == NEVER_NS:
            return False
        if what == 0:
            self._happens(self._exchange.popleft())
        elif what == 1:
            self._dealers[name].hears(self._feeds[name].popleft())
            self._listen(self._dealers[name], at)
        elif what == 2:
            self._dealers[name].on_timer(at)
            self._listen(self._dealers[name], at)
        else:
            _, _, act, values = heapq.heappop(self._due)
            act(at, *values)
        return True

    def _later(self, at_ns: int, act: Callable[..., None], *values: Any) -> None:
        self._scheduled += 1
        heapq.heappush(self._due, (at_ns, self._scheduled, act, values))

    def _tell(
        self,
        at_ns: int,
        kind: Kind,
        *,
        dealer: str = "",
        inquiry: Inquiry | None = None,
        quote: Quote | None = None,
        text: str = "",
        late_ns: int = 0,
        sniper: bool = False,
    ) -> None:
        if quote is not None:
            dealer, inquiry = quote.dealer, quote.inquiry
        mid = self._mid[inquiry.symbol] if inquiry is not None else float("nan")
        what = Happening(at_ns, kind, dealer, inquiry, quote, text, mid, late_ns, sniper)
        for listener in self._listeners:
            listener(what)

    # ------------------------------------------------------------------ the exchange

    def _happens(self, item: VenueUpdate | NewsItem) -> None:
        for feed in self._feeds.values():
            feed.append(item)
        if isinstance(item, NewsItem):
            self._tell(item.time_ns, Kind.NEWS, text=f"{item.score:+.1f}  {item.headline}")
        elif isinstance(item, TopUpdate):
            mid = (item.bid_ticks + item.ask_ticks) / 2.0
            if mid != self._mid[item.symbol]:
                self._mid[item.symbol] = mid
                self._snipe(item.symbol, item.time_ns)

    def _snipe(self, symbol: int, now_ns: int) -> None:
        mid = self._mid[symbol]
        left = []
        for quote, intent, until_ns in self._snipes[symbol]:
            if quote.traded or now_ns >= min(quote.end_ns, quote.gone_ns, until_ns):
                continue
            if quote.moved(mid) >= quote.h_ticks:
                self._tell(now_ns, Kind.ORDERED, quote=quote, sniper=True)
                self._later(now_ns + intent.latency_ns, self._order, quote, intent, (), True)
            else:
                left.append((quote, intent, until_ns))
        self._snipes[symbol] = left

    # ------------------------------------------------------------------ requests and orders

    def _next_inquiry(self) -> None:
        inquiry = next(self._inquiries, None)
        if inquiry is not None:
            self._later(inquiry.at_ns, self._ask, inquiry, True)

    def _ask(self, now_ns: int, inquiry: Inquiry, drawn: bool) -> None:
        if drawn:
            self._next_inquiry()
        quotes = []
        for name, dealer in self._dealers.items():
            if inquiry.dealers is not None and name not in inquiry.dealers:
                continue
            self._numbers += 1
            self._tell(now_ns, Kind.ASKED, dealer=name, inquiry=inquiry)
            quote = dealer.quotes(inquiry, self._numbers, now_ns)
            if quote is None:
                self._tell(now_ns, Kind.DECLINED, dealer=name, inquiry=inquiry, text=dealer.declined())
            else:
                self._quotes[quote.number] = quote
                quotes.append(quote)
                self._tell(now_ns, Kind.QUOTED, quote=quote)
                self._later(quote.end_ns, self._ends, quote)
            self._listen(dealer, now_ns)
        intent = inquiry.intent
        if not quotes:
            return
        if intent.aim is Aim.SNIPE:
            self._snipes[inquiry.symbol] += [(quote, intent, now_ns + PATIENCE_NS) for quote in quotes]
        elif intent.aim is Aim.ACCEPT:
            self._later(now_ns + intent.response_ns, self._makes_up_its_mind, inquiry, tuple(quotes))

    def _makes_up_its_mind(self, now_ns: int, inquiry: Inquiry, quotes: tuple[Quote, ...]) -> None:
        intent, mid = inquiry.intent, self._mid[inquiry.symbol]
        if intent.walks_away:
            quotes = tuple(quote for quote in quotes if quote.moved(mid) > -quote.h_ticks)
            if not quotes:
                self._tell(now_ns, Kind.WALKED_AWAY, inquiry=inquiry)
                return
        arrives_ns = now_ns + intent.latency_ns
        if intent.everywhere:
            for quote in quotes:
                self._tell(now_ns, Kind.ORDERED, quote=quote)
                self._later(arrives_ns, self._order, quote, intent, (), False)
            return
        turn = int(intent.first * len(quotes))
        order = quotes[turn:] + quotes[:turn]
        first, *rest = sorted(order, key=lambda quote: quote.inquiry.side * -quote.price_ticks)
        self._tell(now_ns, Kind.ORDERED, quote=first)
        self._later(arrives_ns, self._order, first, intent, tuple(rest), False)

    def _order(
        self, now_ns: int, quote: Quote, intent: Intent, rest: tuple[Quote, ...], sniper: bool
    ) -> None:
        """An order arrives."""
        if quote.live(now_ns):
            quote.traded = True
            kind = Kind.PICKED_OFF if sniper else Kind.FILLED
            self._tell(now_ns, kind, quote=quote, sniper=sniper)
            if quote.gone_ns < NEVER_NS:
                self._tell(now_ns, Kind.TOO_LATE, quote=quote, sniper=sniper)
            self._over(quote, kind, now_ns)
            return
        late_ns = now_ns - min(quote.end_ns, quote.gone_ns)
        why = "withdrawn" if quote.gone_ns < quote.end_ns else "expired"
        self._tell(now_ns, Kind.REFUSED, quote=quote, text=why, late_ns=late_ns, sniper=sniper)
        if sniper:
            return
        if rest:
            self._tell(now_ns, Kind.ORDERED, quote=rest[0])
            self._later(now_ns + intent.latency_ns, self._order, rest[0], intent, rest[1:], False)
        elif intent.asks_again_ns is not None:
            inquiry = quote.inquiry
            again = Inquiry(
                inquiry.number,
                now_ns + intent.asks_again_ns,
                inquiry.symbol,
                inquiry.side,
                inquiry.client,
                inquiry.size_lots,
                intent.then or Intent(Aim.NONE),
                again=True,
                dealers=(quote.dealer,) if intent.everywhere else None,
            )
            self._later(again.at_ns, self._ask, again, False)

    def _ends(self, now_ns: int, quote: Quote) -> None:
        if not quote.traded and not quote.ended:
            quote.ended = True
            self._tell(now_ns, Kind.EXPIRED, quote=quote)
            self._over(quote, Kind.EXPIRED, now_ns)
        self._quotes.pop(quote.number, None)

    # ------------------------------------------------------------------ withdrawals

    def _listen(self, dealer: Dealer, now_ns: int) -> None:
        withdrawals, hints = dealer.said()
        for each in withdrawals:
            quote = self._quotes.get(each.quote)
            if quote is None or quote.traded or quote.ended:
                continue
            arrives_ns = now_ns + dealer.path_ns
            text = each.reason
            self._tell(now_ns, Kind.WITHDRAWING, quote=quote, text=text)
            quote.gone_ns = arrives_ns
            self._later(arrives_ns, self._withdrawn, quote, text)
        for number, life_ns in hints:
            if (quote := self._quotes.get(number)) is not None:
                self._tell(
                    now_ns,
                    Kind.HINT,
                    quote=quote,
                    text=f"{life_ns / NS_PER_MS:,.0f} ms",
                )

    def _withdrawn(self, now_ns: int, quote: Quote, text: str) -> None:
        if quote.traded or quote.ended:
            return
        quote.ended = True
        self._tell(now_ns, Kind.WITHDRAWN, quote=quote, text=text)
        self._over(quote, Kind.WITHDRAWN, now_ns)

    def _over(self, quote: Quote, what: Kind, now_ns: int) -> None:
        dealer = self._dealers[quote.dealer]
        dealer.is_over(quote, what, now_ns)
        self._listen(dealer, now_ns)
