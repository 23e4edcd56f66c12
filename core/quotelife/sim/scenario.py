"""The ETH scenario: a headline, a call spread for a strategic client one second later, and who is picked off.

Everything is simulated and seeded: an exchange with ETH and BTC, a headline at 14:30:00.000 that sends ETH down and
back up again, a dealer with a static expiry of 2 s and one whose lives are the engine's, both asked by the same client
and both at the same price. The features are the engine's own, from the exchange's messages; the golden model, whose
coefficients are fixed, turns them into P(500 ms). Variants:

- ``expires``: the price turns after our quote has expired. The client's orders arrive at 14:30:02.500.
- ``moves``: it turns inside the life of 150 ms, and who asked trades as soon as h is passed.
- ``calm``: the same market without the headline.

``SEED`` is one whose market has the properties of the story (spread, updates, imbalance, correlation, a quiet first
150 ms); each of them is an expectation that is checked, so that another seed shows which of them it lacks.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import UTC, datetime
from decimal import Decimal
from enum import StrEnum
from math import erfc, exp, log, pi, sqrt
from typing import Any

from quotelife.config import Config
from quotelife.features.schema import INDEX
from quotelife.model.artifact import builtin_artifact, load_artifact
from quotelife.records import DecisionRecord, RequestFlags, RequestRecord
from quotelife.sim.market import MarketConfig, MarketSimulator, NewsShock, SymbolConfig
from quotelife.sim.rfq.accounts import Accounts
from quotelife.sim.rfq.dealers import EngineDealer, StaticDealer
from quotelife.sim.rfq.market import RfqMarket
from quotelife.sim.rfq.population import Aim, Inquiry, Intent
from quotelife.sim.rfq.quotes import Happening, Kind, Quote
from quotelife.sim.updates import NewsItem, TopUpdate, VenueUpdate
from quotelife.units import NS_PER_MS, NS_PER_S

SEED = 16
NEWS_NS = round(datetime(2026, 1, 15, 14, 30, tzinfo=UTC).timestamp()) * NS_PER_S
START_NS = NEWS_NS - 70 * NS_PER_S  # the minute of the slow windows, and what warms up
BEFORE_NS = NEWS_NS - NS_PER_MS
ASKED_NS = NEWS_NS + NS_PER_S
HIT_NS = NEWS_NS + 2500 * NS_PER_MS
STATIC_LIFE_NS = 2 * NS_PER_S
HEADLINE = "Headline: large venue halts ETH withdrawals"
HINT = "hint: a new quote would get"
CLIENT = "helios-fund"
CONTRACTS = 1000
EDGE_BPS = 2.0
OURS, STATIC = "quotelife", "static 2 s"
BTC_INDEX, ETH_INDEX = 0, 1
ORDER_NS = 20 * NS_PER_MS
SNIPER_NS = 8 * NS_PER_MS
AGAIN_NS = 250 * NS_PER_MS

BTC = SymbolConfig(
    symbol="BTC-PERPETUAL",
    tick_size=Decimal("0.10"),
    lot_size=Decimal("0.001"),
    start_price=Decimal("60000.00"),
    volatility_bps=0.3,
    level_lots=1500.0,
    shock_drift_bps=2.0,
)
# Spreads of some ticks, so that their volatility is 0.05 dollars in calm and half a dollar under the shock.
ETH = SymbolConfig(
    symbol="ETH-PERPETUAL",
    tick_size=Decimal("0.05"),
    lot_size=Decimal("0.001"),
    start_price=Decimal("3000.00"),
    volatility_bps=0.4,
    level_lots=15000.0,
    shock_drift_bps=6.0,
    half_spread_ticks=1.8,
    spread_noise=0.3,
    shock_spread_noise=0.12,
    shock_half_spread=8.0,
    shock_volatility=3.0,
    shock_flow=5.0,
    size_spread=0.3,
    tilt=0.2,
)
TICK = float(ETH.tick_size)
LEGS = ("ETH-14FEB26-3000-C", "ETH-14FEB26-3300-C")
GREEKS_EVERY_NS = 100 * NS_PER_MS  # as often as a venue's ticker


class Variant(StrEnum):
    EXPIRES = "expires"
    MOVES = "moves"
    CALM = "calm"


@dataclass(frozen=True, slots=True)
class Call:
    """One call by Black and Scholes without interest. ``vega`` is per point of volatility, all else per dollar."""

    value: float
    delta: float
    gamma: float
    vega: float


@dataclass(frozen=True, slots=True)
class CallSpread:
    """Bought at one strike and sold at a higher one. ``years`` to expiry."""

    strikes: tuple[float, float] = (3000.0, 3300.0)
    volatility: float = 0.6
    years: float = 30 / 365

    def legs(self, underlying: float) -> tuple[Call, Call]:
        """The call bought and the call sold."""
        return self._call(underlying, self.strikes[0]), self._call(underlying, self.strikes[1])

    def value(self, underlying: float) -> float:
        """Dollars per contract."""
        low, high = self.legs(underlying)
        return low.value - high.value

    def delta(self, underlying: float) -> float:
        """Dollars per dollar of the underlying."""
        low, high = self.legs(underlying)
        return low.delta - high.delta

    def _call(self, underlying: float, strike: float) -> Call:
        spread = self.volatility * sqrt(self.years)
        d1 = (log(underlying / strike) + spread * spread / 2.0) / spread
        density = exp(-d1 * d1 / 2.0) / sqrt(2.0 * pi)
        return Call(
            underlying * _normal(d1) - strike * _normal(d1 - spread),
            _normal(d1),
            density / (underlying * spread),
            underlying * density * sqrt(self.years) / 100.0,
        )


def _normal(z: float) -> float:
    return 0.5 * erfc(-z / sqrt(2.0))


class SpreadDealer(EngineDealer):
    """Quotes the call spread as a package of two legs, whose greeks it hears as a venue's ticker tells them.

    The options have no books: with fresh greeks the engine judges the package on its underlying, at h over net delta.
    """

    def __init__(self, name: str, spread: CallSpread, **options: Any) -> None:
        super().__init__(name, scenario_config(), **options)
        table = self.engine.instruments
        self._spread = spread
        self._legs = [table.by_name(leg).index for leg in LEGS]
        self._greeks_ns = 0
        self.asked: list[RequestRecord] = []
        """The last request as the engine decided it: each leg, then the package."""

    def hears(self, item: VenueUpdate | NewsItem) -> None:
        super().hears(item)
        if isinstance(item, TopUpdate) and item.symbol == ETH_INDEX:
            receive_ns = item.time_ns + self.latency_ns
            if receive_ns >= self._greeks_ns + GREEKS_EVERY_NS:
                self._greeks_ns = receive_ns
                self._tell_greeks(item.time_ns, receive_ns)

    def _tell_greeks(self, time_ns: int, receive_ns: int) -> None:
        underlying = self._mid[ETH_INDEX] * TICK
        for leg, call in zip(self._legs, self._spread.legs(underlying), strict=True):
            self.engine.on_greeks(
                leg,
                receive_ns=receive_ns,
                source_ns=time_ns,
                delta_gamma=(call.delta, call.gamma),
                vega_theta=(call.vega, 0.0),
                volatility_underlying=(100.0 * self._spread.volatility, underlying),
                mark_funding=(call.value, 0.0),
            )

    def _decide(
        self, inquiry: Inquiry, now_ns: int, edge_ticks: float
    ) -> tuple[list[RequestRecord], list[DecisionRecord]]:
        """Both legs and the package; the edge on the underlying times net delta is the package's."""
        edge = edge_ticks * TICK * self._spread.delta(self._mid[ETH_INDEX] * TICK)
        legs = [
            RequestRecord(
                leg,
                inquiry.side * sign,
                now_ns=now_ns,
                counterparty=self._counterparty(inquiry),
                desk=self._desk,
                session=self._session,
                size_lots=inquiry.size_lots,
                ratio=1.0,
                package_side=inquiry.side,
                package_edge=edge,
            )
            for leg, sign in zip(self._legs, (1, -1), strict=True)
        ]
        decisions = [DecisionRecord() for _ in range(len(legs) + 1)]
        self.asked = self.engine.decide_package(legs, decisions)
        return self.asked, decisions


@dataclass(frozen=True, slots=True)
class Line:
    """One line of the timeline."""

    at_ns: int
    who: str
    text: str


@dataclass(frozen=True, slots=True)
class Expectation:
    """What the scenario is to show, what it showed, and whether that is it."""

    name: str
    wanted: str
    shown: str
    held: bool


@dataclass(slots=True)
class Scenario:
    """One run. ``facts``: numbers and strings, in ns, ms, dollars and ticks as their names say."""

    variant: Variant
    seed: int
    model: str
    watched: bool
    timeline: list[Line] = field(default_factory=list)
    expectations: list[Expectation] = field(default_factory=list)
    facts: dict[str, Any] = field(default_factory=dict)
    dealers: list[dict[str, Any]] = field(default_factory=list)

    @property
    def held(self) -> bool:
        return all(each.held for each in self.expectations)

    def data(self) -> dict[str, Any]:
        """JSON-able; equal for equal runs."""
        return {
            "variant": self.variant.value,
            "seed": self.seed,
            "model": self.model,
            "watched": self.watched,
            "held": self.held,
            "facts": self.facts,
            "expectations": [
                {"name": each.name, "wanted": each.wanted, "shown": each.shown, "held": each.held}
                for each in self.expectations
            ],
            "timeline": [
                {"at": clock(line.at_ns), "at_ns": line.at_ns, "who": line.who, "text": line.text}
                for line in self.timeline
            ],
            "dealers": self.dealers,
        }


def clock(at_ns: int) -> str:
    """``14:30:01.150``, with microseconds where there are any."""
    moment = datetime.fromtimestamp(at_ns // NS_PER_S, UTC)
    us = at_ns % NS_PER_S // 1000
    return f"{moment:%H:%M:%S}.{us // 1000:03}" + (f"{us % 1000:03}" if us % 1000 else "")


def scenario_config() -> Config:
    """The fixtures' configuration: input weights zero, no rolling recalibration of the golden model's coefficients, all
    else as it ships. The client is strategic, hence Client Priority; its platform takes whole milliseconds."""
    instruments = [
        {"name": "BTC-PERP", "venue": "simulated", "symbol": BTC.symbol, "tick_size": BTC.tick_size,
         "lot_size": BTC.lot_size, "drivers": ("ETH-PERP",)},
        {"name": "ETH-PERP", "venue": "simulated", "symbol": ETH.symbol, "tick_size": ETH.tick_size,
         "lot_size": ETH.lot_size, "drivers": ("BTC-PERP",)},
    ]  # fmt: skip
    instruments += [
        {"name": leg, "venue": "simulated", "symbol": leg, "tick_size": Decimal("0.05"), "lot_size": Decimal("1"),
         "underlying": "ETH-PERP"}
        for leg in LEGS
    ]  # fmt: skip
    return Config.model_validate(
        {
            "version": 1,
            "instruments": tuple(instruments),
            "postures": {
                "client_priority": {"weights": {"fill_rate": 0.0, "size_ratio": 0.0, "depth": 0.0}},
                "risk_averse": {
                    "weights": {"spread_volatility": 0.0, "update_frequency": 0.0, "driver_velocity": 0.0}
                },
            },
            "tiers": {"strategic": {"posture": "client_priority"}},
            "counterparties": {CLIENT: {"tier": "strategic"}},
            "venue_sessions": {"rfq-platform": {"actuation": "absolute", "granularity": "1ms"}},
            "learning": {"recalibration": {"enabled": False}},
        }
    )


def eth_news(
    variant: Variant,
    *,
    seed: int = SEED,
    model: str = "golden",
    watch: bool = True,
    path_ns: int = 5 * NS_PER_MS,
) -> Scenario:
    """Run one variant. ``model``: name of a shipped artifact; ``watch`` false leaves quotes to their expiry.

    With another model than the golden one the expectations are those of P(500 ms) alone.
    """
    return _Run(variant, seed, model, watch, path_ns).run()


class _Run:
    def __init__(self, variant: Variant, seed: int, model: str, watch: bool, path_ns: int) -> None:
        self.story = Scenario(variant, seed, model, watch)
        self.spread = CallSpread()
        market_config = MarketConfig(symbols=(BTC, ETH), correlation=0.95)
        market = MarketSimulator(market_config, seed, START_NS)
        for shock in _shocks(variant):
            market.add_shock(shock)
        edges = [EDGE_BPS, EDGE_BPS]
        self.ours = SpreadDealer(
            OURS,
            self.spread,
            symbols=market_config.symbols,
            edge_bps=edges,
            start_ns=START_NS - 1,
            model=load_artifact(builtin_artifact(model)),
            session="rfq-platform",
            watch=watch,
            path_ns=path_ns,
        )
        static = StaticDealer(STATIC, life_ns=STATIC_LIFE_NS, edge_bps=edges, adverse_bps=[0.0, 0.0])
        self.accounts = Accounts([OURS, STATIC], [symbol.tick_size for symbol in market_config.symbols])
        self.readings: dict[int, dict[str, float]] = {}
        self.package: dict[str, Any] = {}
        self.happenings: list[Happening] = []
        self.market = RfqMarket(
            market,
            [self.ours, static],
            _inquiries(variant),
            stop_ns=NEWS_NS + 4 * NS_PER_S,
            listeners=[self.accounts, self._hear],
        )

    def run(self) -> Scenario:
        self.market.run()
        # A hint comes with the end of the quote that it follows: it is told after that.
        self.story.timeline.sort(key=lambda line: (line.at_ns, line.text.startswith(HINT)))
        self.story.dealers = self.accounts.data()
        self._figures()
        self._expect()
        return self.story

    # ------------------------------------------------------------------ timeline

    def _hear(self, what: Happening) -> None:
        self.happenings.append(what)
        if what.kind is Kind.QUOTED and what.dealer == OURS:
            decision = self.ours.decisions[ETH_INDEX]
            self.readings[what.at_ns] = {
                name: value for name, place in INDEX.items() if (value := decision.feature(place)) is not None
            }
            if what.at_ns == ASKED_NS:
                *legs, package = self.ours.asked
                self.package = {
                    "legs": [self.ours.engine.instruments[leg.instrument].name for leg in legs],
                    "on_underlying": bool(package.flags & RequestFlags.ON_UNDERLYING),
                    "net_delta": round(package.delta, 6),
                }
        text = self._words(what)
        if text:
            self.story.timeline.append(Line(what.at_ns, what.dealer or "market", text))

    def _words(self, what: Happening) -> str:
        quote = what.quote
        if what.kind is Kind.NEWS:
            return f"NEWS {what.text}"
        if what.kind is Kind.ASKED and what.inquiry is not None:
            again = "asks again for" if what.inquiry.again else "asks to buy"
            return (
                f"{CLIENT} {again} {CONTRACTS:,} ETH 30-day call spreads; ETH {what.mid_ticks * TICK:,.2f}"
                if what.dealer == OURS
                else ""
            )
        if quote is None:
            return f"no quote: {what.text}" if what.kind is Kind.DECLINED else ""
        if what.kind is Kind.QUOTED:
            return self._quoted(quote)
        if what.kind is Kind.ORDERED:
            return (
                f"h is passed against this quote (D {quote.moved(what.mid_ticks) * TICK:+.2f}): an order leaves"
                if what.sniper
                else ""
            )
        if what.kind in (Kind.FILLED, Kind.PICKED_OFF):
            dollars = self._dollars(quote, what.mid_ticks)
            verb = "PICKED OFF" if what.sniper else "hit" if dollars < 0 else "traded"
            age = (what.at_ns - quote.made_ns) / NS_PER_MS
            return f"{verb} at an age of {age:,.0f} ms, ETH {what.mid_ticks * TICK:,.2f}: {dollars:+,.0f} dollars"
        if what.kind is Kind.REFUSED:
            return f"order refused: {what.text}, {what.late_ns / NS_PER_S:.3f} s late"
        if what.kind is Kind.WITHDRAWING:
            moved = quote.moved(what.mid_ticks) * TICK
            return f"WITHDRAW ({what.text}): D {moved:+.2f} of h {quote.h_ticks * TICK:.2f} dollars"
        if what.kind is Kind.WITHDRAWN:
            return "withdrawal has arrived"
        if what.kind is Kind.TOO_LATE:
            return "the withdrawal came too late"
        if what.kind is Kind.EXPIRED:
            return "expired"
        return f"{HINT} {what.text}" if what.kind is Kind.HINT else ""

    def _quoted(self, quote: Quote) -> str:
        premium = f"offers at {self._premium(quote):,.2f} dollars"
        if quote.dealer != OURS:
            return f"{premium}, lives {quote.life_ns / NS_PER_MS:,.0f} ms, until {clock(quote.end_ns)}"
        detail = quote.detail
        requested, effective = str(detail["posture_requested"]), str(detail["posture_effective"])
        posture = requested if requested == effective else f"{requested} → {effective}"
        return (
            f"{premium}, lives {quote.life_ns / NS_PER_MS:,.0f} ms, until {clock(quote.end_ns)}: {detail['regime']}, "
            f"{posture}, p500 {float(str(detail['p500'])):.4f}"
        )

    # ------------------------------------------------------------------ money

    def _premium(self, quote: Quote) -> float:
        """Both dealers ask for the spread's value at their mid and the edge on the underlying times its delta."""
        mid = quote.mid_ticks * TICK
        edge = -quote.inquiry.side * (quote.price_ticks - quote.mid_ticks) * TICK
        return self.spread.value(mid) + self.spread.delta(mid) * edge

    def _dollars(self, quote: Quote, mid_ticks: float) -> float:
        """What the desk, having sold the spreads, has made by their value now."""
        return CONTRACTS * (self._premium(quote) - self.spread.value(mid_ticks * TICK))

    # ------------------------------------------------------------------ what came of it

    def _quotes(self, dealer: str, again: bool = False) -> list[Quote]:
        return [
            what.quote
            for what in self.happenings
            if what.kind is Kind.QUOTED
            and what.quote is not None
            and what.dealer == dealer
            and what.quote.inquiry.number == 2
            and what.quote.inquiry.again == again
        ]

    def _of(self, quote: Quote, *kinds: Kind) -> Happening | None:
        return next((what for what in self.happenings if what.quote is quote and what.kind in kinds), None)

    def _figures(self) -> None:
        facts = self.story.facts
        ours, static = self._quotes(OURS), self._quotes(STATIC)
        news = next((what for what in self.happenings if what.kind is Kind.NEWS), None)
        facts["news_at"] = clock(news.at_ns) if news else None
        for name, at_ns in (("before", BEFORE_NS), ("asked", ASKED_NS)):
            reading = self.readings.get(at_ns, {})
            facts[name] = {
                "at": clock(at_ns),
                "spread_volatility_dollars": round(reading.get("spread_volatility_1s", 0.0) * TICK, 6),
                "update_ratio": round(_update_ratio(reading), 6),
                "imbalance": round(reading.get("book_imbalance_ratio", 0.0), 6),
                "decorrelation_z": round(reading.get("driver0_decorrelation", 0.0), 6),
                "news_score": round(reading.get("news_score", 0.0), 6),
            }
        facts["package"] = self.package
        if ours:
            facts["ours"] = self._fate(ours[0]) | {
                name: ours[0].detail[name] for name in ("posture_requested", "posture_effective", "regime")
            }
            p500 = float(str(ours[0].detail["p500"]))
            facts["p500"] = p500
            facts["logit"] = log(p500 / (1.0 - p500)) if 0.0 < p500 < 1.0 else None
        if static:
            facts["static"] = self._fate(static[0])
        again = self._quotes(OURS, again=True)
        if again:
            facts["requote"] = self._fate(again[0])

    def _fate(self, quote: Quote) -> dict[str, Any]:
        fate: dict[str, Any] = {
            "life_ms": quote.life_ns / NS_PER_MS,
            "expiry": clock(quote.end_ns),
            "premium_dollars": round(self._premium(quote), 6),
        }
        if (traded := self._of(quote, Kind.FILLED, Kind.PICKED_OFF)) is not None:
            fate["traded"] = traded.kind.value
            fate["traded_at"] = clock(traded.at_ns)
            fate["dollars"] = round(self._dollars(quote, traded.mid_ticks), 2)
        if (refused := self._of(quote, Kind.REFUSED)) is not None:
            fate["refused"] = refused.text
            fate["refused_at"] = clock(refused.at_ns)
            fate["late_ms"] = refused.late_ns / NS_PER_MS
        if (going := self._of(quote, Kind.WITHDRAWING)) is not None:
            fate["withdrawn_for"] = going.text
            fate["withdrawn_at"] = clock(going.at_ns)
        return fate

    def _expect(self) -> None:
        story, facts = self.story, self.story.facts
        p500 = facts.get("p500")
        if story.model != "golden":
            if story.variant is Variant.CALM:
                self._hold("P(500 ms) in calm", "≤ .01", p500, p500 is not None and p500 <= 0.01)
            else:
                self._hold(
                    "P(500 ms) in stress", "[.10, .25]", p500, p500 is not None and 0.10 <= p500 <= 0.25
                )
            return
        ours, static = facts.get("ours", {}), facts.get("static", {})
        if story.variant is Variant.CALM:
            self._equal("regime", "NORMAL", ours.get("regime"))
            self._equal("effective posture", "CLIENT_PRIORITY", ours.get("posture_effective"))
            self._equal("p500", 0.005, None if p500 is None else round(p500, 12))
            self._equal("life, ms", 2902.0, ours.get("life_ms"))
            return
        self._expect_news()
        self._equal("requested posture", "CLIENT_PRIORITY", ours.get("posture_requested"))
        self._equal("regime", "STRESS", ours.get("regime"))
        self._equal("effective posture", "RISK_AVERSE", ours.get("posture_effective"))
        self._equal("p500", 0.15, None if p500 is None else round(p500, 12))
        self._equal(
            "logit of p500", -1.734601, None if facts.get("logit") is None else round(facts["logit"], 6)
        )
        self._equal("life, ms", 150.0, ours.get("life_ms"))
        self._equal("absolute expiry", "14:30:01.150", ours.get("expiry"))
        self._equal("expiry of the static quote", "14:30:03.000", static.get("expiry"))
        if story.variant is Variant.EXPIRES:
            self._equal("static quote hit at", "14:30:02.500", static.get("traded_at"))
            loss = static.get("dollars")
            self._hold("at a loss", "below 0 dollars", loss, loss is not None and loss < 0)
            self._equal("ours refused as", "expired", ours.get("refused"))
            self._equal("late by, ms", 1350.0, ours.get("late_ms"))
            requote = facts.get("requote")
            self._hold("a re-quote follows", "one", requote and requote["expiry"], requote is not None)
            return
        loss = static.get("dollars")
        self._equal("static quote", "picked off", static.get("traded"))
        self._hold("at a loss", "below 0 dollars", loss, loss is not None and loss < 0)
        passed = static.get("traded_at")
        self._hold(
            "h is passed within the life", "before 14:30:01.158", passed, (passed or "~") < "14:30:01.158"
        )
        self._equal("ours withdrawn for", "ADVERSE_MOVE", ours.get("withdrawn_for"))
        at = ours.get("withdrawn_at")
        self._hold(
            "withdrawn within the life", "before 14:30:01.150", at, at is not None and at < "14:30:01.150"
        )
        picked = next(each["pick_offs"] for each in story.dealers if each["dealer"] == OURS)
        self._equal("pick-offs of ours", 0, picked)

    def _expect_news(self) -> None:
        facts = self.story.facts
        before, asked = facts["before"], facts["asked"]
        self._equal("headline at", "14:30:00.000", facts["news_at"])
        self._near("spread volatility before, dollars", 0.05, before["spread_volatility_dollars"], 0.005)
        self._near(
            "spread volatility at the request, dollars", 0.50, asked["spread_volatility_dollars"], 0.05
        )
        self._near("update frequency against its baseline", 5.0, asked["update_ratio"], 1.0)
        self._hold("imbalance before", "above 1", before["imbalance"], before["imbalance"] > 1.0)
        self._hold(
            "imbalance at the request", "below 0.5", asked["imbalance"], 0.0 < asked["imbalance"] < 0.5
        )
        self._hold(
            "correlation with BTC collapses, z",
            "above 1.5, before below 1.5",
            asked["decorrelation_z"],
            before["decorrelation_z"] < 1.5 < asked["decorrelation_z"],
        )

    def _equal(self, name: str, wanted: object, shown: object) -> None:
        self._hold(name, str(wanted), shown, shown == wanted)

    def _near(self, name: str, wanted: float, shown: float, within: float) -> None:
        self._hold(name, f"{wanted:g} ± {within:g}", shown, abs(shown - wanted) <= within)

    def _hold(self, name: str, wanted: str, shown: object, held: bool) -> None:
        text = f"{shown:.6g}" if isinstance(shown, float) and shown != -1.734601 else str(shown)
        self.story.expectations.append(Expectation(name, wanted, text, bool(held)))


def _update_ratio(reading: dict[str, float]) -> float:
    """Changes of the best prices and sizes within the last second against the 60 s baseline, which the engine's ratio
    over 100 ms gives."""
    ratio, within = reading.get("top_update_ratio", 0.0), reading.get("top_updates_100ms", 0.0)
    return reading["top_updates_1s"] / (10.0 * within / ratio) if ratio and within else 0.0


def _shocks(variant: Variant) -> list[NewsShock]:
    if variant is Variant.CALM:
        return []
    fall = NewsShock(NEWS_NS, 1020 * NS_PER_MS, direction=-1, score=-1.0, symbol=ETH_INDEX, headline=HEADLINE,
                     fade_ns=100 * NS_PER_MS)  # fmt: skip
    if variant is Variant.MOVES:
        rise = NewsShock(NEWS_NS + 1030 * NS_PER_MS, 200 * NS_PER_MS, intensity=1.2, direction=1, score=None,
                         symbol=ETH_INDEX)  # fmt: skip
    else:
        rise = NewsShock(
            NEWS_NS + 1300 * NS_PER_MS, 1400 * NS_PER_MS, direction=1, score=None, symbol=ETH_INDEX
        )
    return [fall, rise]


def _inquiries(variant: Variant) -> list[Inquiry]:
    """The client's two requests: one that only looks, a millisecond before the headline, and the one of the story."""
    looks = Inquiry(1, BEFORE_NS, ETH_INDEX, -1, CLIENT, CONTRACTS, Intent(Aim.NONE), dealers=(OURS,))
    if variant is Variant.EXPIRES:
        then = Intent(Aim.ACCEPT, 40 * NS_PER_MS, ORDER_NS, everywhere=True)
        intent = Intent(Aim.ACCEPT, HIT_NS - ORDER_NS - ASKED_NS, ORDER_NS, everywhere=True,
                        asks_again_ns=AGAIN_NS, then=then)  # fmt: skip
    elif variant is Variant.MOVES:
        intent = Intent(Aim.SNIPE, latency_ns=SNIPER_NS, everywhere=True)
    else:
        intent = Intent(Aim.ACCEPT, 900 * NS_PER_MS, ORDER_NS, everywhere=False)
    return [looks, Inquiry(2, ASKED_NS, ETH_INDEX, -1, CLIENT, CONTRACTS, intent)]
