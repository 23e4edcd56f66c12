"""Outcomes of quotes in, what is known of counterparties out: ReportOutcome, GetCounterparty, ListCounterparties."""

from bisect import bisect_right
from collections import OrderedDict
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any, NamedTuple

from quote_expiry.v1 import admin_service_pb2 as admin
from quote_expiry.v1 import quote_expiry_service_pb2 as expiry
from quote_expiry.v1 import types_pb2 as types
from quotelife.config import Config
from quotelife.counterparty.posterior import CounterpartyStatus, OutcomeCode, ValueTerms
from quotelife.engine import Engine
from quotelife.journal.state import COUNTED_KEPT
from quotelife.records import DecisionRecord, RequestFlags, RequestRecord
from quotelife.units import NS_PER_MS, NS_PER_S
from quotelife_server import convert
from quotelife_server.earlier_quotes import EarlierQuotes
from quotelife_server.recent import RecentQuote
from quotelife_server.rpc import Answer, CallContext, Code, MethodTable, RpcError, Unary

if TYPE_CHECKING:
    from quotelife_server.handlers import Service

OUTCOMES_MAX = 1024
LISTED_MAX = 256
EARLIER_MAX = 32  # decisions looked for in the journal in one call: some 0.2 ms each, and a read
BACK_NS_MAX = 86_400 * NS_PER_S
AHEAD_NS_MAX = NS_PER_S
BEFORE_NS_MAX = NS_PER_S  # before its decision: as far as clocks may lie apart
HELD_SLACK_NS = 100 * NS_PER_MS  # a fill behind the end of what the venue held: clocks and ways to it
SHARE_OF_MID_MAX = 0.5  # no price counts as near the market beyond that, whatever is configured
ROUNDING = 1e-9  # of shares of a size
KEY = "\x01outcome "  # no request id begins with it: they are printable
TOO_MANY_EARLIER = (
    f"more than {EARLIER_MAX} decisions of one call are none that memory holds: report it again"
)
FILLED = (OutcomeCode.HIT, OutcomeCode.LIFTED)
FILL_SIDE = {OutcomeCode.HIT: 1, OutcomeCode.LIFTED: -1}
SIDES = {types.SIDE_UNSPECIFIED: 0, types.SIDE_BUY: 1, types.SIDE_SELL: -1}


class _Outcome(NamedTuple):
    """One that reads, of a quote that is known."""

    message: expiry.Outcome
    digest: bytes
    kind: OutcomeCode
    quote: RecentQuote
    request: RequestRecord
    decision: DecisionRecord
    one_side: bool  # of a quote with another one
    price_ticks: float | None
    traded_lots: float | None

    @property
    def share(self) -> float | None:
        """The part of the size asked for that was traded, at most all of it; ``None`` where sizes are not told."""
        asked = self.request.size_lots
        if self.traded_lots is None or asked is None or _is_package(self.quote):
            return None
        return min(self.traded_lots / asked, 1.0)


class Room(NamedTuple):
    """How far from the market a price may lie: the widest ``price_bounds`` of all desks, as a desk may have another
    number since the decision, or be gone."""

    of_mid: float
    spreads: float

    @classmethod
    def of(cls, config: Config) -> "Room":
        every = [config.defaults.price_bounds]
        every += [desk.price_bounds for desk in config.desks.values() if desk.price_bounds is not None]
        return cls(1e-4 * max(each.bps for each in every), max(each.spreads for each in every))

    def ticks(self, decision: DecisionRecord) -> float:
        """Of a decision that knew a mid."""
        mid = _mid_at_pricing(decision)
        return min(max(self.of_mid * mid, self.spreads * decision.spread_ticks), SHARE_OF_MID_MAX * mid)


class Counted:
    """Quotes whose first outcome has come, by the id of their first decision, and how much of each side was filled
    since; the oldest leave first. ``earlier``: of those before this start, of which nobody knows what was filled."""

    def __init__(self, earlier: Iterable[str] = (), quotes_max: int = COUNTED_KEPT) -> None:
        self._quotes_max = quotes_max
        self._quotes: OrderedDict[str, dict[int, float] | None] = OrderedDict.fromkeys(earlier)

    def count(self, each: _Outcome) -> tuple[bool, bool]:
        """Whether this is the first outcome of its quote, and whether a fill lies within what was quoted: those of
        one side add up to one fill at most, however they are cut."""
        first = each.quote.first_id not in self._quotes
        if first:
            self._quotes[each.quote.first_id] = {}
            if len(self._quotes) > self._quotes_max:
                self._quotes.popitem(last=False)
        filled = self._quotes.get(each.quote.first_id)
        if each.kind not in FILLED:
            return first, True
        if filled is None:
            return first, False
        side = each.decision.input_sequence
        share = each.share
        if share is None:
            share = float(first)  # the first alone is marked
        total = filled.get(side, 0.0) + share
        if total > 1.0 + ROUNDING:
            return first, False
        filled[side] = total
        return first, True


def outcome_methods(service: "Service") -> MethodTable:
    engine, clock, ledger = service.engine, service.clock, service.ledger
    # Whatever memory holds may be reported again, and counts once.
    counted = Counted(ledger.recalled_counted(), max(COUNTED_KEPT, service.recent.quotes_max))
    earlier = EarlierQuotes(engine, ledger, service.recent, service.boot_id)

    def report_outcome(payload: bytes, context: CallContext) -> Answer:
        ledger.check()
        now_ns = clock.now_ns()
        message = convert.parse(expiry.ReportOutcomeRequest, payload)
        new: dict[str, bytes] = {}
        repeated = looks = 0
        taken: list[_Outcome] = []
        reply = expiry.ReportOutcomeResponse()
        faults = convert.Faults()
        room = Room.of(engine.config)
        if not 1 <= len(message.outcomes) <= OUTCOMES_MAX:
            faults.add("outcomes", f"give 1 to {OUTCOMES_MAX} of them")
            faults.raise_if_any()
        for place, outcome in enumerate(message.outcomes):
            at = f"outcomes[{place}]"
            kind = _checked(outcome, now_ns, faults, at)
            if kind is None or not outcome.outcome_id:
                continue
            digest = convert.content_digest(outcome)
            known = new.get(outcome.outcome_id)
            if known is None:
                stored = ledger.find(KEY + outcome.outcome_id, now_ns)
                known = None if stored is None else stored[0]
            if known is not None:
                if known != digest:
                    faults.add(f"{at}.outcome_id", "was used for another outcome; choose a new id")
                repeated += 1
                continue
            quote: RecentQuote | str | None = service.recent.find(outcome.decision_id)
            if quote is None:
                looks += 1
                quote = (
                    earlier.find(outcome.decision_id, now_ns) if looks <= EARLIER_MAX else TOO_MANY_EARLIER
                )
            if isinstance(quote, str):
                reply.refused.add(
                    index=place, outcome_id=outcome.outcome_id, field="decision_id", reason=quote
                )
                continue
            new[outcome.outcome_id] = digest
            read = _read(outcome, kind, digest, quote, engine, room, faults, at)
            if read is not None:
                taken.append(read)
        faults.raise_if_any()
        for each in taken:
            first, within = counted.count(each)
            engine.outcome(now_ns, _payload(each, engine, now_ns, first, within))
            ledger.answer((), KEY + each.message.outcome_id, each.digest, b"", b"", now_ns)
            sides = [decision.input_sequence for decision in each.quote.decisions] if each.one_side else ()
            service.watching.outcome(
                now_ns, each.quote.boot_id, each.decision, each.kind, each.traded_lots, sides
            )
            service.metrics.outcome(each.kind)
        reply.accepted, reply.repeated_count = len(taken), repeated
        return ledger.acknowledge(reply.SerializeToString())

    def get_counterparty(payload: bytes, context: CallContext) -> bytes:
        request = convert.parse(admin.GetCounterpartyRequest, payload)
        faults = convert.Faults()
        faults.text("counterparty", request.counterparty, required=True)
        faults.raise_if_any()
        status = engine.counterparties.status(request.counterparty)
        if status is None:
            raise RpcError(Code.NOT_FOUND, f"counterparty: {request.counterparty} is not configured")
        return admin.GetCounterpartyResponse(counterparty=counterparty_status(status)).SerializeToString()

    def list_counterparties(payload: bytes, context: CallContext) -> bytes:
        request = convert.parse(admin.ListCounterpartiesRequest, payload)
        known = engine.counterparties.known
        rest = known[bisect_right(known, request.after) :]
        found = (engine.counterparties.status(name) for name in rest[:LISTED_MAX])
        return admin.ListCounterpartiesResponse(
            counterparties=[counterparty_status(each) for each in found if each is not None],
            more=len(rest) > LISTED_MAX,
        ).SerializeToString()

    return {
        "/quote_expiry.v1.QuoteExpiryService/ReportOutcome": Unary(report_outcome),
        "/quote_expiry.v1.AdminService/GetCounterparty": Unary(get_counterparty),
        "/quote_expiry.v1.AdminService/ListCounterparties": Unary(list_counterparties),
    }


def _checked(outcome: expiry.Outcome, now_ns: int, faults: convert.Faults, at: str) -> OutcomeCode | None:
    """Its kind, once everything that can be said of it alone has been."""
    faults.text(f"{at}.outcome_id", outcome.outcome_id, required=True)
    faults.text(f"{at}.decision_id", outcome.decision_id, required=True)
    faults.text(f"{at}.quote_id", outcome.quote_id)
    if outcome.at_utc_ns:
        faults.instant(f"{at}.at_utc_ns", outcome.at_utc_ns, now_ns, BACK_NS_MAX, AHEAD_NS_MAX)
    if outcome.side not in SIDES:
        faults.add(f"{at}.side", "must be SIDE_BUY or SIDE_SELL, or left out")
    try:
        return OutcomeCode(outcome.kind)
    except ValueError:
        faults.add(f"{at}.kind", "must be one of the kinds")
        return None


def _read(
    outcome: expiry.Outcome,
    kind: OutcomeCode,
    digest: bytes,
    quote: RecentQuote,
    engine: Engine,
    room: Room,
    faults: convert.Faults,
    at: str,
) -> _Outcome | None:
    """The outcome with the decision that it speaks of; ``None`` with faults noted."""
    wanted = SIDES.get(outcome.side, 0)
    filled = FILL_SIDE.get(kind, 0)
    if wanted and filled and wanted != filled:
        faults.add(f"{at}.side", "a HIT is of the side SIDE_BUY, a LIFTED of SIDE_SELL: leave it out")
        return None
    wanted = wanted or filled
    fits = [place for place, each in enumerate(quote.requests) if wanted in (0, _side(each))]
    if not fits:
        faults.add(f"{at}.{'kind' if filled else 'side'}", "the quote was not firm on that side")
        return None
    # Of a whole TWO_WAY quote the side that ended first speaks.
    place = min(fits, key=lambda each: quote.decisions[each].expiry_ns)
    request, decision = quote.requests[place], quote.decisions[place]
    if outcome.at_utc_ns and outcome.at_utc_ns < decision.now_ns - BEFORE_NS_MAX:
        early = (
            f"lies more than {BEFORE_NS_MAX // NS_PER_S} s before the decision; correct it, or leave it out"
        )
        faults.add(f"{at}.at_utc_ns", early)
        return None
    instrument = engine.instruments[decision.instrument]
    price_ticks = traded = None
    if outcome.HasField("price"):
        price = faults.above_zero(f"{at}.price", outcome.price)
        price_ticks = None if price is None else float(price / instrument.tick_size)
        if price_ticks is not None and price_ticks > convert.COUNT_MAX:
            faults.add(f"{at}.price", "is out of range for the instrument's tick size")
        elif price_ticks is not None and filled and not _is_package(quote):
            tick = float(instrument.tick_size)
            _hold_against_market(request, decision, price_ticks, tick, room, faults, f"{at}.price")
    else:
        price = None
    if outcome.HasField("size"):
        quantity = faults.above_zero(f"{at}.size.quantity", outcome.size.quantity)
        if not types.SIZE_UNIT_LOTS <= outcome.size.unit <= types.SIZE_UNIT_NOTIONAL:
            faults.add(f"{at}.size.unit", "must be one of the units")
        elif _is_package(quote):
            if outcome.size.unit not in (types.SIZE_UNIT_LOTS, types.SIZE_UNIT_CONTRACTS):
                faults.add(f"{at}.size.unit", "of a package must be LOTS or CONTRACTS: both count packages")
            elif quantity is not None:
                traded = float(quantity / instrument.lot_size)
        elif quantity is not None:
            traded = convert.to_lots(
                instrument, quantity, outcome.size.unit, price, faults, f"{at}.size.unit"
            )
        if traded is not None and not 0 < traded <= convert.COUNT_MAX:
            faults.add(f"{at}.size.quantity", "is out of range for the instrument's lot size")
    one_side = wanted != 0 and len(quote.decisions) > 1
    return _Outcome(outcome, digest, kind, quote, request, decision, one_side, price_ticks, traded)


def _hold_against_market(
    request: RequestRecord,
    decision: DecisionRecord,
    price_ticks: float,
    tick: float,
    room: Room,
    faults: convert.Faults,
    name: str,
) -> None:
    """A fill is at the price quoted, or near it: one that lies far from it and from the mid of then is mistyped, and
    would outweigh all others in the markouts. Where no mid was known nothing is marked, and none is refused."""
    mid = _mid_at_pricing(decision)
    if mid <= 0:
        return
    ticks = room.ticks(decision)
    quoted = request.price_ticks
    if quoted is None and request.flags & RequestFlags.HAS_EDGE:
        quoted = decision.reference_ticks - decision.side * decision.edge_ticks
    near = [mid] if quoted is None else [mid, quoted]
    if not any(abs(price_ticks - each) <= ticks for each in near):
        of = "the mid at pricing" if quoted is None else "the price quoted and from the mid at pricing"
        faults.add(
            name,
            f"lies more than {ticks * tick:.6g} (price_bounds) from {of}, {mid * tick:.10g}; "
            "correct it, or leave it out",
        )


def _is_package(quote: RecentQuote) -> bool:
    return len(quote.parts) > len(quote.decisions)


def _mid_at_pricing(decision: DecisionRecord) -> float:
    """In ticks, 0 where it is not known: what has moved since is in the decision."""
    return decision.mid_ticks + decision.side * decision.moved_ticks if decision.mid_ticks > 0 else 0.0


def _side(request: RequestRecord) -> int:
    """+1 where the desk buys what was quoted: of a package that is another than the side of what it is judged by."""
    return request.package_side or request.side


def _age_ns(each: _Outcome) -> int | None:
    """How old the quote was then; ``None`` where it is not told, or of a fill that no clock of ours can have seen:
    before the decision, or when no venue held the quote any more. Such a fill came at some time within the life."""
    at_ns, decision = each.message.at_utc_ns, each.decision
    if not at_ns:
        return None
    age_ns = at_ns - decision.now_ns
    if each.kind in FILLED:
        held_ns = max(decision.life_ns, decision.venue_life_ns)
        return age_ns if 0 <= age_ns <= held_ns + HELD_SLACK_NS else None
    return max(0, age_ns)


def _payload(each: _Outcome, engine: Engine, now_ns: int, counts: bool, within: bool) -> dict[str, Any]:
    """What ``Engine.outcome`` takes. ``within``: false for a fill beyond what was quoted. It is no part of its quote,
    so that no size asked for stands beside it, and it is not marked."""
    outcome, decision = each.message, each.decision
    age_ns = _age_ns(each)
    # Prices of a package are no prices of the instrument that it was judged by: its fills have no markouts. Where no
    # mid was known nothing vouches for a price.
    package = _is_package(each.quote)
    mid = 0.0 if package else _mid_at_pricing(decision)
    priced = mid > 0
    return {
        "outcome": outcome.outcome_id,
        "decision": decision.input_sequence,
        "first": each.quote.decisions[0].input_sequence,
        "boot": each.quote.boot_id,
        "quote": outcome.quote_id or each.quote.quote_id,
        "counterparty": each.quote.counterparty,
        "instrument": engine.instruments[decision.instrument].name,
        "side": decision.side,
        "kind": int(each.kind),
        "counts": counts,
        "at_ns": now_ns if age_ns is None else outcome.at_utc_ns,
        "age_ns": age_ns,
        "life_ns": decision.life_ns,
        "price_ticks": each.price_ticks if priced else None,
        "traded_lots": each.traded_lots,
        "size_lots": each.request.size_lots if within and not package else None,
        "quoted_ticks": each.request.price_ticks if priced else None,
        "mid_ticks": mid,
        "h_ticks": decision.h_ticks,
    }


def counterparty_status(status: CounterpartyStatus) -> admin.CounterpartyStatus:
    message = admin.CounterpartyStatus(
        counterparty=status.name,
        tier=status.tier,
        reported=status.reported,
        last_utc_ns=status.last_ns or None,
        quotes=status.quotes,
        fills=status.fills,
        answers=status.answers,
        censored=status.censored,
        refused=status.refused,
        fill_rate=status.fill_rate,
        fill_rate_deviation=status.fill_deviation,
        estimated=_terms(status.believed),
        used=_terms(status.used),
        configured=_terms(status.configured),
        adverse_in_h=status.adverse_in_h,
    )
    for markout in status.markouts:
        message.markouts.add(
            after_ns=markout.after_ns,
            fills=markout.fills,
            mean_bp=markout.mean_bp,
            deviation_bp=markout.deviation_bp,
        )
    for size in status.sizes:
        message.sizes.add(instrument=size.instrument, quotes=size.quotes, mean_lots=size.lots)
    return message


def _terms(terms: ValueTerms) -> admin.CounterpartyTerms:
    return admin.CounterpartyTerms(
        hit_probability=terms.hit_probability,
        informed_share=terms.informed_share,
        response_median_ns=round(terms.response_median_ns),
        response_sigma=terms.response_sigma,
    )
