"""Protobuf to engine records and back: the one file that knows both.

Requests come as bytes and leave as ``RequestRecord`` or as plain values; whatever is wrong with them becomes
one ``RpcError`` that names every field at fault and how to mend it. Replies come as ``DecisionRecord`` and
leave as bytes. The wire's conventions (decimal strings, UTC nanoseconds, presence) are in
``proto/quote_expiry/v1/types.proto``.
"""

import hashlib
import math
import time
from collections import Counter
from collections.abc import Callable, Collection, Container, Sequence
from dataclasses import dataclass, field
from decimal import Decimal
from functools import lru_cache
from typing import Any, NamedTuple, NoReturn, TypeVar, cast

import numpy as np
from google.protobuf.message import DecodeError, Message
from google.rpc import error_details_pb2

from quote_expiry.v1 import admin_service_pb2 as admin
from quote_expiry.v1 import market_data_service_pb2 as market
from quote_expiry.v1 import quote_expiry_service_pb2 as expiry
from quote_expiry.v1 import signal_service_pb2 as signals
from quote_expiry.v1 import types_pb2 as types
from quotelife.decision.kill import STRANGERS, KillStatus
from quotelife.engine import CALENDAR_KEPT, Engine, GreeksStatus, InstrumentStatus, OverrideStatus
from quotelife.errors import QuotelifeError
from quotelife.explain.decision import Explanation
from quotelife.explain.grounds import Grounds, has_curve
from quotelife.explain.journaled import JournaledAnswer
from quotelife.explain.watched import WatchedEventKind, WatchedQuote
from quotelife.features.schema import SCHEMA, SCHEMA_HASH
from quotelife.instruments import Instrument, InstrumentTable, name_hash
from quotelife.journal.records import LIFE
from quotelife.news import HEADLINE_CHARACTERS_MAX
from quotelife.records import (
    HORIZONS_NS,
    NO_INDEX_VALUE,
    ActuationCode,
    DecisionCode,
    DecisionRecord,
    EventKindCode,
    RegimeCode,
    RequestRecord,
    SignalCode,
)
from quotelife.units import NS_PER_S
from quotelife_server import envelopes
from quotelife_server.faults import COUNT_MAX as COUNT_MAX
from quotelife_server.faults import GREEK_MAX, POINTS_PER_UNIT, quoted
from quotelife_server.faults import Faults as Faults
from quotelife_server.faults import find_instrument as find_instrument
from quotelife_server.faults import unknown_instrument as unknown_instrument
from quotelife_server.packages import DecidedPackage as DecidedPackage
from quotelife_server.packages import check_legs, leg_records, legs_of, package_message, price_of
from quotelife_server.reply_writer import ReplyWriter
from quotelife_server.rpc import Code, RpcError

DEALERS_MAX = 10_000
BATCH_MAX = 256
MARKET_EVENTS_MAX = 4096
SEQUENCE_MAX = 2**62
PRICED_BACK_NS_MAX = 60 * NS_PER_S
PRICED_AHEAD_NS_MAX = NS_PER_S
DEADLINE_BACK_NS_MAX = 86_400 * NS_PER_S
DEADLINE_AHEAD_NS_MAX = 7 * 86_400 * NS_PER_S
PUBLISHED_BACK_NS_MAX = 86_400 * NS_PER_S
PUBLISHED_AHEAD_NS_MAX = NS_PER_S
CALENDAR_EVENTS_MAX = 100
CALENDAR_AHEAD_NS_MAX = 366 * 86_400 * NS_PER_S
CALENDAR_LENGTH_NS_MAX = 31 * 86_400 * NS_PER_S
TTL_NS_MAX = 7 * 86_400 * NS_PER_S
STATUS_NAMES_MAX = 256
VOLATILITY_LEVEL_MAX = 1e6

M = TypeVar("M", bound=Message)


def parse(message: type[M], payload: bytes) -> M:
    """Raises ``RpcError`` INVALID_ARGUMENT when the bytes are no such message."""
    try:
        return message.FromString(payload)
    except DecodeError:
        faults = Faults()
        faults.add("", f"the bytes are not a {message.DESCRIPTOR.full_name}")
        faults.raise_if_any()
        raise


def _in_contracts(instrument: Instrument) -> bool:
    """Does the venue count this instrument's orders in contracts of a fixed quote-currency value?"""
    return instrument.venue.endswith("coinm")


def to_lots(
    instrument: Instrument, quantity: Decimal, unit: int, price: Decimal | None, faults: Faults, name: str
) -> float | None:
    """Lots, fractions kept; ``None`` with a fault noted where the unit does not fit the instrument."""
    if unit == types.SIZE_UNIT_LOTS:
        return float(quantity)
    coin_margined = _in_contracts(instrument)
    derivative = coin_margined or instrument.venue.endswith("usdm")
    if unit == types.SIZE_UNIT_CONTRACTS:
        if not derivative:
            faults.add(name, "the instrument has no contracts; use LOTS, BASE_QUANTITY or NOTIONAL")
            return None
        return float(quantity / instrument.lot_size)
    if coin_margined:
        faults.add(name, "the instrument is sized in contracts; use CONTRACTS or LOTS")
        return None
    if unit == types.SIZE_UNIT_NOTIONAL:
        if price is None:
            faults.add(name, "needs a price: give one with the request, or use another unit")
            return None
        return float(quantity / price / instrument.lot_size)
    return float(quantity / instrument.lot_size)


# --- GetExpiry ----------------------------------------------------------------------------------------------


@dataclass(slots=True)
class ExpiryCall:
    """A valid request, ready for the engine: one record, or two (BUY first) when TWO_WAY; of a package its legs."""

    message: expiry.GetExpiryRequest
    instruments: InstrumentTable
    records: list[RequestRecord] = field(default_factory=list)
    venue_step_ns: int = 1
    packages: list[list[RequestRecord]] = field(default_factory=list)

    def tick_of(self, decision: DecisionRecord) -> float:
        return float(self.instruments[decision.instrument].tick_size)


def parse_expiry(payload: bytes) -> expiry.GetExpiryRequest:
    return parse(expiry.GetExpiryRequest, payload)


def expiry_request(
    request: expiry.GetExpiryRequest,
    engine: Engine,
    now_ns: int,
    *,
    synchronised: bool,
    watched: bool = False,
) -> ExpiryCall:
    """Message to validated records; ``synchronised``: the wall clock agrees with ``now_ns``, ``watched``: a firm quote
    will be. Raises ``RpcError``."""
    faults = Faults()
    if request.legs:
        check_legs(request, engine, faults)
    if request.watch:
        faults.text("watch_owner", request.watch_owner, required=True)
    elif request.watch_owner:
        faults.add("watch_owner", "goes with watch; set it, or leave this out")
    faults.text("request_id", request.request_id)
    faults.text("rfq_id", request.rfq_id)
    faults.text("quote_id", request.quote_id)
    faults.text("instrument", request.instrument, required=not request.legs)
    faults.text("counterparty", request.counterparty)
    faults.text("desk", request.desk)
    faults.text("venue_session", request.venue_session)
    side = request.side
    if side not in (types.SIDE_BUY, types.SIDE_SELL, types.SIDE_TWO_WAY):
        faults.add("side", "must be SIDE_BUY, SIDE_SELL or SIDE_TWO_WAY")
    if request.HasField("dealers_asked") and not 1 <= request.dealers_asked <= DEALERS_MAX:
        faults.add(
            "dealers_asked", f"must lie between 1 and {DEALERS_MAX}; leave it out where it is not known"
        )
    posture = request.overrides.posture
    if not 0 <= posture <= types.POSTURE_RISK_AVERSE:
        faults.add("overrides.posture", "must be one of the postures")
    quantity = None
    if request.HasField("size"):
        quantity = faults.above_zero("size.quantity", request.size.quantity)
        if not types.SIZE_UNIT_LOTS <= request.size.unit <= types.SIZE_UNIT_NOTIONAL:
            faults.add("size.unit", "must be one of the units")
    price, bid_price, ask_price, edge = _quoted(request, faults)
    reference = None
    if request.HasField("reference_price"):
        read = faults.decimal if request.legs else faults.above_zero
        reference = read("reference_price", request.reference_price)
    priced_at_ns = None
    if request.HasField("priced_at_utc_ns"):
        priced_at_ns = request.priced_at_utc_ns
        faults.instant("priced_at_utc_ns", priced_at_ns, now_ns, PRICED_BACK_NS_MAX, PRICED_AHEAD_NS_MAX)
    deadline_ns = None
    if request.HasField("client_deadline_utc_ns"):
        deadline_ns = request.client_deadline_utc_ns
        faults.instant(
            "client_deadline_utc_ns", deadline_ns, now_ns, DEADLINE_BACK_NS_MAX, DEADLINE_AHEAD_NS_MAX
        )
    policy = engine.policy
    desk = policy.desk_index(request.desk) if request.desk else None
    if request.desk and desk is None:
        faults.add("desk", f"{quoted(request.desk)} is not configured; leave it out for the defaults")
    session = policy.session_index(request.venue_session) if request.venue_session else None
    if request.venue_session and session is None:
        named = quoted(request.venue_session)
        faults.add(
            "venue_session",
            f"{named} is not in venue_sessions of the configuration; leave it out for the plain life",
        )
    faults.raise_if_any()
    counterparty = policy.counterparty_index(request.counterparty) if request.counterparty else None
    common: dict[str, Any] = {
        "now_ns": now_ns,
        "counterparty": NO_INDEX_VALUE if counterparty is None else counterparty,
        "desk": NO_INDEX_VALUE if desk is None else desk,
        "priced_at_ns": priced_at_ns,
        "client_deadline_ns": deadline_ns,
        "posture": posture,
        "session": NO_INDEX_VALUE if session is None else session,
        "synchronised": synchronised,
        "watched": watched,
    }
    step_ns = 1 if session is None else engine.config.venue_sessions[request.venue_session].granularity_ns
    if request.legs:
        legs = legs_of(request, engine, faults)
        faults.raise_if_any()
        sides = [(1, bid_price), (-1, ask_price)] if side == types.SIDE_TWO_WAY else [(_sign(side), price)]
        packages = [
            leg_records(
                legs,
                sign,
                price=at,
                edge=edge,
                reference=reference,
                packages=quantity,
                two_way=side == types.SIDE_TWO_WAY,
                second_side=place > 0,
                **common,
            )
            for place, (sign, at) in enumerate(sides)
        ]
        return ExpiryCall(request, engine.instruments, venue_step_ns=step_ns, packages=packages)

    instrument = find_instrument(engine, request.instrument)
    tick = instrument.tick_size

    def ticks(name: str, value: Decimal | None) -> float | None:
        if value is None:
            return None
        number = float(value / tick)
        if abs(number) > COUNT_MAX:
            faults.add(name, "is out of range for the instrument's tick size")
        return number

    lots = None
    if quantity is not None:
        mid = price or reference or _mid_of(bid_price, ask_price)
        if mid is None and request.size.unit == types.SIZE_UNIT_NOTIONAL:
            mid = _market_mid(engine, instrument, now_ns)
        lots = to_lots(instrument, quantity, request.size.unit, mid, faults, "size.unit")
        if lots is not None and not 0 < lots <= COUNT_MAX:
            faults.add("size.quantity", "is out of range for the instrument's lot size")
    reference_ticks = ticks("reference_price", reference)
    edge_ticks = ticks("edge", edge)
    if side == types.SIDE_TWO_WAY:
        quotes = [(1, ticks("bid_price", bid_price)), (-1, ticks("ask_price", ask_price))]
    else:
        quotes = [(_sign(side), ticks("price", price))]
    faults.raise_if_any()

    records = [
        RequestRecord(
            instrument.index,
            sign,
            size_lots=lots,
            price_ticks=price_ticks,
            edge_ticks=edge_ticks,
            reference_ticks=reference_ticks,
            two_way=side == types.SIDE_TWO_WAY,
            second_side=place > 0,
            **common,
        )
        for place, (sign, price_ticks) in enumerate(quotes)
    ]
    return ExpiryCall(request, engine.instruments, records, step_ns)


def _sign(side: int) -> int:
    return 1 if side == types.SIDE_BUY else -1


def content_digest(request: Message) -> bytes:
    """The same for requests that say the same; byte order on the wire does not count."""
    return hashlib.blake2b(request.SerializeToString(deterministic=True), digest_size=16).digest()


def _quoted(
    request: expiry.GetExpiryRequest, faults: Faults
) -> tuple[Decimal | None, Decimal | None, Decimal | None, Decimal | None]:
    """Price, bid price, ask price and edge, as far as they were given and fit the side and one another."""
    has_price, has_edge = request.HasField("price"), request.HasField("edge")
    has_bid, has_ask = request.HasField("bid_price"), request.HasField("ask_price")
    two_way = request.side == types.SIDE_TWO_WAY
    if has_edge and (has_price or has_bid or has_ask):
        faults.add("edge", "stands beside a price; give one of the two")
    if two_way and has_price:
        faults.add("price", "is for BUY and SELL; give bid_price and ask_price with TWO_WAY")
    if not two_way and (has_bid or has_ask):
        faults.add("bid_price" if has_bid else "ask_price", "is for TWO_WAY; give price with BUY and SELL")
    if two_way and has_bid != has_ask:
        faults.add("ask_price" if has_bid else "bid_price", "is missing; TWO_WAY takes both prices or none")
    read = faults.decimal if request.legs else faults.above_zero  # a package may be worth less than nothing
    price = read("price", request.price) if has_price else None
    bid = read("bid_price", request.bid_price) if has_bid else None
    ask = read("ask_price", request.ask_price) if has_ask else None
    if bid is not None and ask is not None and bid > ask:
        faults.add("bid_price", "lies above ask_price")
    edge = faults.decimal("edge", request.edge) if has_edge else None
    return price, bid, ask, edge


def _mid_of(bid: Decimal | None, ask: Decimal | None) -> Decimal | None:
    return (bid + ask) / 2 if bid is not None and ask is not None else None


def _market_mid(engine: Engine, instrument: Instrument, now_ns: int) -> Decimal | None:
    status = engine.instrument_status(instrument.index, now_ns)
    if status.bid_lots <= 0 or status.ask_lots <= 0:
        return None
    mid = instrument.tick_size * (status.bid_ticks + status.ask_ticks) / 2
    return mid if mid > 0 else None


@lru_cache(maxsize=4096)
def _set_bits(mask: int) -> tuple[int, ...]:
    """Bit i of the core's masks is value i + 1 of the wire's enum."""
    return tuple(bit + 1 for bit in range(mask.bit_length()) if mask >> bit & 1)


def _known(value: float) -> float | None:
    return value if math.isfinite(value) else None


WRITER = ReplyWriter(HORIZONS_NS, SCHEMA_HASH)
_CAREFUL = {DecisionCode.QUOTE: 0, DecisionCode.INDICATIVE: 1, DecisionCode.DECLINE: 2}
_FEATURES = [(spec.index, spec.name, spec.unit) for spec in SCHEMA]


def binding_side(decisions: Sequence[DecisionRecord]) -> DecisionRecord:
    """The side that a TWO_WAY quote must follow: the more careful decision, then the shorter life."""
    return min(decisions, key=lambda decision: (-_CAREFUL[DecisionCode(decision.kind)], decision.life_ns))


def _features(decision: DecisionRecord) -> list[expiry.Feature]:
    return [
        expiry.Feature(name=name, unit=unit, value=decision.feature(index)) for index, name, unit in _FEATURES
    ]


def _judgement(
    decision: DecisionRecord,
    call: ExpiryCall,
    *,
    with_features: bool,
    synchronised: bool,
    package: DecidedPackage | None = None,
) -> dict[str, Any]:
    """Fields that a whole reply and one side of it share. An end in UTC goes out by a synchronised clock only."""
    quote = decision.kind == DecisionCode.QUOTE
    tick = call.tick_of(decision)
    fields: dict[str, Any] = {
        "decision": decision.kind,
        "life_ns": decision.life_ns,
        "expiry_utc_ns": decision.expiry_ns if quote and synchronised else None,
        "reasons": _set_bits(decision.reasons),
        "binding": _set_bits(decision.binding),
    }
    if quote and decision.actuation != ActuationCode.NONE:
        fields["venue_life_ns"] = decision.venue_life_ns
        if synchronised and decision.actuation in (ActuationCode.ABSOLUTE, ActuationCode.WITHDRAW):
            end_ns = decision.now_ns + decision.venue_life_ns
            fields["venue_expiry_utc_ns"] = end_ns - end_ns % call.venue_step_ns
    if decision.h_ticks > 0:  # without good data nothing below is computed
        curve = decision.p
        if not any(map(math.isnan, curve)):
            fields["curve"] = expiry.Curve(horizon_ns=HORIZONS_NS, p=curve)
            fields["p_ref"] = _known(decision.p_ref)
            fields["p_life"] = _known(decision.p_life) if quote else None
        if decision.model_role or call.packages:  # a tolerance of 0 is one that held tolerance has used up
            fields["alpha"] = decision.alpha
            fields["held_alpha"] = decision.held_alpha
        fields["h_ticks"] = decision.h_ticks
        fields["h_price"] = decision.h_ticks * tick
        fields["edge_ticks"] = _known(decision.edge_ticks)
        fields["moved_ticks"] = _known(decision.moved_ticks)
        values = (decision.expected_value_ticks, decision.break_even_edge_ticks)
        if package is None:
            value, break_even = (each * tick for each in values)
        else:
            value, break_even = (price_of(package, each, call.instruments) for each in values)
        fields["expected_value"] = _known(value)
        fields["break_even_edge"] = _known(break_even)
        if with_features:
            fields["features"] = _features(decision)
    return fields


@dataclass(frozen=True, slots=True)
class ReplyFrame:
    """What a reply says beside the decision."""

    boot_id: str
    model_digest: str
    synchronised: bool
    watched: bool = False
    watch_refusal: int = 0  # expiry.WatchRefusal


def decision_id(boot_id: str, decision: DecisionRecord) -> str:
    """Unique across restarts: the run of the service and the place in its order of inputs."""
    return f"{boot_id}-{decision.input_sequence}"


def expiry_reply(
    call: ExpiryCall,
    decisions: Sequence[DecisionRecord],
    frame: ReplyFrame,
    started_ns: int,
    packages: Sequence[DecidedPackage] = (),
) -> bytes:
    """The bytes of a ``GetExpiryResponse``; ``started_ns``: when work on it began (``perf_counter_ns``).

    ``packages``: of legs, what was decided, a side each; ``decisions`` are then the last of each."""
    if len(decisions) == 1 and not packages and not call.message.include_features:
        (decision,) = decisions
        reply = WRITER.reply(
            decision,
            boot_id=frame.boot_id,
            request_id=call.message.request_id,
            model_digest=frame.model_digest,
            tick=call.tick_of(decision),
            venue_step_ns=call.venue_step_ns,
            synchronised=frame.synchronised,
            watched=frame.watched,
            watch_refusal=frame.watch_refusal,
            compute_ns=time.perf_counter_ns() - started_ns,
        )
        if reply is not None:
            return reply
    return whole_reply(call, decisions, frame, started_ns, packages)


def whole_reply(
    call: ExpiryCall,
    decisions: Sequence[DecisionRecord],
    frame: ReplyFrame,
    started_ns: int,
    packages: Sequence[DecidedPackage] = (),
) -> bytes:
    """``expiry_reply`` of whatever there is, through protobuf's objects: some ten times the cost."""
    with_features = call.message.include_features
    decision = decisions[0] if len(decisions) == 1 else binding_side(decisions)
    tick = call.tick_of(decision)
    package = packages[decisions.index(decision)] if packages else None
    quote = decision.kind == DecisionCode.QUOTE
    synchronised = frame.synchronised
    fields = _judgement(
        decision,
        call,
        with_features=with_features and len(decisions) == 1,
        synchronised=synchronised,
        package=package,
    )
    if package is not None:
        fields["package"] = _package(package, call, frame)
    if decision.h_ticks > 0 and decision.reference_ticks != 0:  # a package by its legs' curves has none
        fields["reference_ticks"] = _known(decision.reference_ticks)
        fields["reference_price"] = _known(decision.reference_ticks * tick)
        fields["sigma_ticks"] = _known(decision.sigma_ticks)
    fields |= {
        "decision_id": decision_id(frame.boot_id, decision),
        "request_id": call.message.request_id,
        "decided_at_utc_ns": decision.now_ns,
        "counted_from_utc_ns": decision.expiry_ns - decision.life_ns if quote else None,
        "clock": expiry.CLOCK_SERVICE_UTC if synchronised else expiry.CLOCK_UNSYNCHRONISED,
        "posture_requested": decision.posture_requested,
        "posture_effective": decision.posture_effective,
        "rule": decision.rule,
        "rule_index": None if decision.rule_index == NO_INDEX_VALUE else decision.rule_index,
        "mode": decision.mode,
        "actuation": decision.actuation,
        "regime": decision.regime + 1,
        "quality": decision.quality + 1,
        "data_age_ns": _data_age(decision, package),
        "model_digest": frame.model_digest,
        "model_revision": decision.model_revision,
        "schema_hash": SCHEMA_HASH,
        "config_revision": decision.config_revision,
        "watched": frame.watched,
        "life_without_watch_ns": _unwatched_life_ns(decisions) if frame.watched else None,
        "watch_refusal": frame.watch_refusal,
    }
    response = expiry.GetExpiryResponse(**fields)
    if len(decisions) > 1:
        of_sides = packages or (None, None)
        for side, each, package in zip((types.SIDE_BUY, types.SIDE_SELL), decisions, of_sides, strict=True):
            response.sides.add(
                side=side,
                decision_id=decision_id(frame.boot_id, each),
                package=None if package is None else _package(package, call, frame),
                **_judgement(
                    each, call, with_features=with_features, synchronised=synchronised, package=package
                ),
            )
    response.compute_ns = time.perf_counter_ns() - started_ns
    return response.SerializeToString()


def _data_age(decision: DecisionRecord, package: DecidedPackage | None) -> int | None:
    """The oldest of the markets that it went by."""
    ages = [decision.data_age_ns]
    if package is not None and package.by_legs:
        ages = [each.data_age_ns for each in package.decisions]
    return max(ages) if min(ages) >= 0 else None


def _package(package: DecidedPackage, call: ExpiryCall, frame: ReplyFrame) -> expiry.PackageExpiry:
    ids = [decision_id(frame.boot_id, each) for each in package.decisions]
    return package_message(package, call.instruments, ids)


def _unwatched_life_ns(decisions: Sequence[DecisionRecord]) -> int:
    # Of two sides what the shorter would have.
    lives = [each.life_without_watch_ns for each in decisions if each.kind == DecisionCode.QUOTE]
    return min(lives, default=0)


_UNJOURNALED = expiry.GetExpiryResponse(unjournaled=True).SerializeToString()


def unjournaled(reply: bytes) -> bytes:
    """A serialised ``GetExpiryResponse`` with the field ``unjournaled`` set: serialised messages add up."""
    return reply + _UNJOURNALED


def firm(reply: bytes) -> bool:
    """Does a serialised ``GetExpiryResponse`` hold a QUOTE?"""
    message = expiry.GetExpiryResponse.FromString(reply)
    return types.DECISION_QUOTE in (message.decision, *(side.decision for side in message.sides))


def batch_requests(payload: bytes) -> list[bytes]:
    """The bytes of each request of a batch, to be judged on its own. Raises ``RpcError`` when there are too many."""
    requests = envelopes.batch_requests(payload)
    if requests is None:
        batch = parse(expiry.BatchGetExpiryRequest, payload)
        requests = [each.SerializeToString() for each in batch.requests]
    if len(requests) > BATCH_MAX:
        faults = Faults()
        faults.add("requests", f"must be at most {BATCH_MAX}; split the batch")
        faults.raise_if_any()
    return requests


def batch_reply(outcomes: Sequence[bytes | RpcError]) -> bytes:
    """The bytes of a ``BatchGetExpiryResponse``, out of those of each ``GetExpiryResponse``."""
    return b"".join(
        expiry.BatchGetExpiryResponse(results=(_fault(outcome),)).SerializeToString()
        if isinstance(outcome, RpcError)
        else envelopes.batch_result(outcome)
        for outcome in outcomes
    )


def stream_request(payload: bytes) -> tuple[int, bytes]:
    """Tag and bytes of the request of a ``StreamExpiryRequest``. Raises ``RpcError``."""
    found = envelopes.stream_request(payload)
    if found is not None:
        return found
    message = parse(expiry.StreamExpiryRequest, payload)
    return message.tag, message.request.SerializeToString()


def stream_reply(tag: int, outcome: bytes | RpcError) -> bytes:
    """The bytes of a ``StreamExpiryResponse``."""
    if isinstance(outcome, RpcError):
        return expiry.StreamExpiryResponse(tag=tag, result=_fault(outcome)).SerializeToString()
    return envelopes.stream_response(tag, outcome)


def _fault(error: RpcError) -> expiry.ExpiryResult:
    """What would have been the status of a single call."""
    fault = expiry.RequestFault(code=int(error.code), message=error.message)
    for detail in error.details:
        if isinstance(detail, error_details_pb2.BadRequest):
            for violation in detail.field_violations:
                fault.fields.add(field=violation.field, description=violation.description)
    return expiry.ExpiryResult(fault=fault)


# --- explanations -------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Verification:
    """Was the decision computed again from its record, byte for byte? ``None``: it could not be tried."""

    same: bool | None
    detail: str

    @classmethod
    def of(cls, same: bool) -> "Verification":
        if same:
            return cls(True, "computed again from its record: every byte came out the same")
        return cls(False, "computed again from its record: the bytes differ; this explanation may not hold")


def explanation(
    id_: str,
    decision: DecisionRecord,
    found: Explanation,
    grounds: Grounds,
    verification: Verification,
) -> expiry.Explanation:
    message = expiry.Explanation(
        decision_id=id_,
        side=types.SIDE_BUY if decision.side > 0 else types.SIDE_SELL,
        summary=found.summary,
        logit=found.logit,
        baseline_logit=found.baseline_logit,
        left_over=found.left_over,
        verification=verification.detail,
        config_digest=grounds.config_digest,
        config_revision=decision.config_revision,
        model_revision=decision.model_revision,
        schema_hash=SCHEMA_HASH,
    )
    if grounds.model_known:
        message.model_kind = grounds.model.kind
        message.model_name = grounds.model.name
        message.model_digest = grounds.model.digest
    if verification.same is not None:
        message.verified = verification.same
    if has_curve(decision):
        message.risk_sum = decision.risk_sum
        message.held_alpha = decision.held_alpha
        message.features.extend(_features(decision))
        message.curve.horizon_ns.extend(HORIZONS_NS)
        message.curve.p.extend(decision.p)
    for each in found.contributions:
        message.contributions.add(
            feature=each.feature,
            unit=each.unit,
            value=None if each.value is None else _known(each.value),
            reference=_known(each.reference),
            logit=each.logit,
        )
    for rule in found.rule_path:
        message.rule_path.add(
            rule=cast(Any, int(rule.rule)),
            posture=cast(Any, int(rule.posture)),
            applied=rule.applied,
            detail=rule.detail,
        )
    for bound in found.constraints:
        message.constraints.add(
            constraint=cast(Any, int(bound.constraint).bit_length()),
            life_ns=bound.life_ns,
            binding=bound.binding,
            next=bound.next,
            detail=bound.detail,
        )
    for risk in found.risks:
        message.risks.add(input=risk.input, score=risk.score, weight=risk.weight)
    return message


def _label(message: expiry.DecisionLabel, id_: str, label: np.void) -> None:
    """``label``: a scalar of ``LABEL_DTYPE``."""
    message.decision_id = id_
    message.horizon_ns = int(label["horizon_ns"])
    message.at_utc_ns = int(label["at_ns"])
    message.life = int(label["part"]) == LIFE
    if label["hit"] >= 0:
        message.passed = bool(label["hit"])
    if label["passage_ns"] >= 0:
        message.passage_ns = int(label["passage_ns"])
    if message.life:
        message.moved, message.held_alpha, message.account = (
            float(label[name]) for name in ("moved", "alpha", "debt")
        )
    elif not math.isnan(label["p"]):
        message.p = float(label["p"])


def explained_answer(found: JournaledAnswer) -> expiry.ExplainDecisionResponse:
    """Raises ``QuotelifeError`` where the journal holds messages of another kind of service."""
    response = expiry.ExplainDecisionResponse()
    if found.answer is not None:
        try:
            response.request.ParseFromString(found.answer.request)
            response.response.ParseFromString(found.answer.reply)
        except DecodeError:
            raise QuotelifeError(
                "the journal holds a request or a reply that is none of this service's"
            ) from None
    for each in found.decisions:
        verification = (
            Verification(None, each.problem) if each.verified is None else Verification.of(each.verified)
        )
        response.explanations.append(
            explanation(each.decision_id, each.decision, each.explanation, each.grounds, verification)
        )
        for label in each.labels:
            _label(response.labels.add(), each.decision_id, label)
    if found.aftermath.watched is not None:
        _watched(response.watched, found.aftermath.watched)
    for reported_ns, outcome in found.aftermath.outcomes:
        response.outcomes.add(
            outcome_id=outcome["outcome"],
            decision_id=f"{outcome['boot']}-{outcome['decision']}",
            kind=outcome["kind"],
            at_utc_ns=outcome["at_ns"],
            reported_at_utc_ns=reported_ns,
            age_ns=outcome["age_ns"],
            price_ticks=outcome["price_ticks"],
            traded_lots=outcome["traded_lots"],
            counted=outcome["counts"],
        )
    return response


def _watched(message: expiry.WatchedQuote, quote: WatchedQuote) -> None:
    registered = quote.registered
    message.owner, message.quote_id = registered["owner"], registered["name"]
    message.decision_ids.extend(quote.decision_ids)
    message.registered_at_utc_ns = quote.registered_ns
    message.expiry_utc_ns = registered["expiry_ns"]
    message.unwatched_expiry_utc_ns = registered["unwatched_ns"]
    if registered["size_lots"] is not None:
        message.size_lots = registered["size_lots"]
    message.incomplete = not quote.complete
    for event in quote.events:
        each = message.events.add(
            kind=cast(Any, int(event.kind)),
            at_utc_ns=event.at_ns,
            reason=cast(Any, event.reason),
            state=cast(Any, event.state),
            number=event.number,
            held_back=event.held_back,
            size_lots=event.size_lots,
        )
        if not math.isnan(event.moved_ticks):
            each.moved_ticks = event.moved_ticks
        if not math.isnan(event.value_ticks):
            each.value_ticks = event.value_ticks
        if event.kind is WatchedEventKind.REQUOTE_HINT:
            each.life_ns = event.life_ns


def explain_request(payload: bytes) -> str:
    """The decision id. Raises ``RpcError``."""
    request = parse(expiry.ExplainDecisionRequest, payload)
    faults = Faults()
    faults.text("decision_id", request.decision_id, required=True)
    faults.raise_if_any()
    return request.decision_id


def explained(reply: bytes, explanations: Sequence[expiry.Explanation]) -> bytes:
    """A serialised ``GetExpiryResponse`` with its explanations: serialised messages add up."""
    return reply + expiry.GetExpiryResponse(explanations=explanations).SerializeToString()


# --- signals ------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class NewsSignal:
    score: float | None  # None: the headline is to be scored
    headline: str
    instrument: int
    source: int
    source_ns: int
    ttl_ns: int


@dataclass(frozen=True, slots=True)
class VolatilitySignal:
    index: int
    level: float
    source_ns: int
    ttl_ns: int


@dataclass(frozen=True, slots=True)
class InventorySignal:
    instrument: int
    desk: int
    position_lots: float
    limit_lots: float
    source_ns: int
    ttl_ns: int


@dataclass(frozen=True, slots=True)
class GreeksSignals:
    """The pairs that are given: (kind, value, value2, source) each, in the units of the engine's signals."""

    instrument: int
    pairs: list[tuple[SignalCode, float, float, int]]
    source_ns: int
    ttl_ns: int


@dataclass(frozen=True, slots=True)
class CalendarSignal:
    """One event on one instrument or all; ``regime`` NORMAL: the id is forgotten."""

    event: int
    regime: int
    from_ns: int = 0
    ttl_ns: int = 0
    instrument: int = NO_INDEX_VALUE


@dataclass(frozen=True, slots=True)
class CalendarCall:
    signals: list[CalendarSignal]
    removed: list[str]
    names: list[dict[str, Any]]  # as Engine.name_events takes them


def _time_to_live(
    faults: Faults,
    request: signals.PublishNewsRequest
    | signals.PublishVolatilityIndexRequest
    | signals.PublishInventoryRequest
    | signals.PublishGreeksRequest,
    default_ns: int | None,
) -> int:
    """0 where there is none of its own."""
    if not request.HasField("time_to_live_ns"):
        return default_ns or 0
    if not 0 < request.time_to_live_ns <= TTL_NS_MAX:
        faults.add(
            "time_to_live_ns", "must be above 0 and at most 7 days; leave it out for the configured one"
        )
    return request.time_to_live_ns


def calendar_status(engine: Engine, indices: Collection[int], now_ns: int) -> list[admin.CalendarStatus]:
    """Events under way or ahead that concern the instruments of ``indices``, by start."""
    about: dict[int, list[tuple[int, int, int, int, int]]] = {}
    for entry in engine.calendar(now_ns):
        about.setdefault(entry[0], []).append(entry)
    found = []
    for entries in about.values():
        targets = {entry[4] for entry in entries}
        if NO_INDEX_VALUE in targets or not targets.isdisjoint(indices):
            found.append(_published_event(engine, entries))
    asked = [engine.instruments[index] for index in indices]
    names, venues = {each.name for each in asked}, {each.venue for each in asked}
    for calendar in engine.config.calendars:
        if not calendar.concerns(names, venues):
            continue
        for from_ns, until_ns in calendar.ahead(now_ns):
            event = signals.CalendarEvent(
                event_id=calendar.name,
                regime=cast(Any, types.Regime.Value(f"REGIME_{calendar.regime.upper()}")),
                instruments=calendar.instruments or (),
                venues=calendar.venues,
                from_utc_ns=from_ns,
                until_utc_ns=until_ns,
            )
            found.append(admin.CalendarStatus(event=event, source=admin.CALENDAR_SOURCE_CONFIGURATION))
    for status in found:
        status.active = status.event.from_utc_ns <= now_ns
    return sorted(found, key=lambda status: (status.event.from_utc_ns, status.event.event_id))


def _published_event(engine: Engine, entries: list[tuple[int, int, int, int, int]]) -> admin.CalendarStatus:
    source, regime, from_ns, until_ns, _ = entries[0]
    name = engine.event_name(source)
    if name is None:  # announced by a signal alone
        targets = [entry[4] for entry in entries if entry[4] != NO_INDEX_VALUE]
        name = {"event_id": "", "description": "", "venues": ()}
        name["instruments"] = [engine.instruments[target].name for target in targets]
    event = signals.CalendarEvent(
        regime=cast(Any, regime + 1),
        from_utc_ns=from_ns,
        until_utc_ns=until_ns,
        **{key: value for key, value in name.items() if key != "id"},
    )
    return admin.CalendarStatus(event=event, source=admin.CALENDAR_SOURCE_PUBLISHED)


def names_by_hash(engine: Engine) -> Callable[[int], str]:
    """What gives the name of a configured instrument to the hash that a signal's source is; empty: none has it."""
    names: dict[int, str] = {}

    def name_of(source: int) -> str:
        if not names:
            names.update((name_hash(each.name), each.name) for each in engine.instruments)
        return names.get(source, "")

    return name_of


def _source_time(faults: Faults, name: str, given: bool, value_ns: int, now_ns: int) -> int:
    if not given:
        return now_ns
    faults.instant(name, value_ns, now_ns, PUBLISHED_BACK_NS_MAX, PUBLISHED_AHEAD_NS_MAX)
    return value_ns


def news_signal(payload: bytes, engine: Engine, now_ns: int) -> NewsSignal:
    request = parse(signals.PublishNewsRequest, payload)
    faults = Faults()
    has_score = request.HasField("score")
    if has_score:
        faults.finite("score", request.score, -1.0, 1.0)
        if request.headline:
            faults.add("headline", "goes without a score; send one of the two")
    elif not request.headline:
        faults.add("score", "is required, or a headline to be scored")
    elif len(request.headline) > HEADLINE_CHARACTERS_MAX or not request.headline.isprintable():
        faults.add("headline", f"must be at most {HEADLINE_CHARACTERS_MAX} printable characters")
    elif engine.config.signals.news_scorer is None:
        faults.add("headline", "cannot be scored: signals.news_scorer is null; send a score")
    faults.text("instrument", request.instrument)
    faults.text("source", request.source)
    given = request.HasField("published_at_utc_ns")
    source_ns = _source_time(faults, "published_at_utc_ns", given, request.published_at_utc_ns, now_ns)
    ttl_ns = _time_to_live(faults, request, engine.config.signals.news_time_to_live_ns)
    faults.raise_if_any()
    instrument = find_instrument(engine, request.instrument).index if request.instrument else NO_INDEX_VALUE
    score = request.score if has_score else None
    return NewsSignal(score, request.headline, instrument, name_hash(request.source), source_ns, ttl_ns)


def volatility_signal(payload: bytes, engine: Engine, now_ns: int) -> VolatilitySignal:
    request = parse(signals.PublishVolatilityIndexRequest, payload)
    faults = Faults()
    faults.text("index", request.index, required=True)
    if request.HasField("level"):
        faults.finite("level", request.level, 0.0, VOLATILITY_LEVEL_MAX)
    else:
        faults.add("level", "is required")
    given = request.HasField("published_at_utc_ns")
    source_ns = _source_time(faults, "published_at_utc_ns", given, request.published_at_utc_ns, now_ns)
    ttl_ns = _time_to_live(faults, request, engine.config.signals.volatility_index_time_to_live_ns)
    number = engine.config.volatility_index(request.index)
    if request.index and number is None:
        faults.add(
            "index", f"{quoted(request.index)} is not in signals.volatility_indices of the configuration"
        )
    faults.raise_if_any()
    assert number is not None
    return VolatilitySignal(number, request.level, source_ns, ttl_ns)


def inventory_signal(payload: bytes, engine: Engine, now_ns: int) -> InventorySignal:
    request = parse(signals.PublishInventoryRequest, payload)
    faults = Faults()
    faults.text("instrument", request.instrument, required=True)
    faults.text("desk", request.desk)
    position = faults.decimal("position", request.position)
    limit = faults.above_zero("limit", request.limit)
    if request.unit not in (types.SIZE_UNIT_LOTS, types.SIZE_UNIT_BASE_QUANTITY, types.SIZE_UNIT_CONTRACTS):
        faults.add("unit", "must be SIZE_UNIT_LOTS, SIZE_UNIT_BASE_QUANTITY or SIZE_UNIT_CONTRACTS")
    given = request.HasField("as_of_utc_ns")
    source_ns = _source_time(faults, "as_of_utc_ns", given, request.as_of_utc_ns, now_ns)
    ttl_ns = _time_to_live(faults, request, engine.config.signals.inventory_time_to_live_ns)
    desk = engine.policy.desk_index(request.desk) if request.desk else None
    if request.desk and desk is None:
        faults.add("desk", f"{quoted(request.desk)} is not configured; leave it out for all desks")
    faults.raise_if_any()
    assert position is not None and limit is not None
    instrument = find_instrument(engine, request.instrument)
    position_lots = to_lots(instrument, position, request.unit, None, faults, "unit")
    limit_lots = to_lots(instrument, limit, request.unit, None, faults, "unit")
    faults.raise_if_any()
    assert position_lots is not None and limit_lots is not None
    if not limit_lots <= COUNT_MAX:
        faults.add("limit", "is out of range for the instrument's lot size")
    if not abs(position_lots) <= COUNT_MAX:
        faults.add("position", "is out of range for the instrument's lot size")
    faults.raise_if_any()
    return InventorySignal(
        instrument.index,
        NO_INDEX_VALUE if desk is None else desk,
        position_lots,
        limit_lots,
        source_ns,
        ttl_ns,
    )


def greeks_signals(payload: bytes, engine: Engine, now_ns: int) -> GreeksSignals:
    request = parse(signals.PublishGreeksRequest, payload)
    faults = Faults()
    faults.text("instrument", request.instrument, required=True)
    told = request.greeks
    pairs: list[tuple[SignalCode, float, float, int]] = []
    if _pair_given(faults, told, "delta", "gamma"):
        underlying = name_hash(told.underlying) if told.underlying else 0
        pairs.append((SignalCode.DELTA_GAMMA, told.delta, told.gamma, underlying))
    elif told.underlying:
        faults.add("greeks.underlying", "goes with delta and gamma only")
    if _pair_given(faults, told, "vega", "theta_per_day"):
        pairs.append((SignalCode.VEGA_THETA, told.vega / POINTS_PER_UNIT, told.theta_per_day, 0))
    if not pairs:
        faults.add("greeks", "is required: delta with gamma, vega with theta_per_day, or all four")
    faults.text("greeks.underlying", told.underlying)
    if told.underlying and engine.instruments.get(told.underlying) is None:
        named = quoted(told.underlying)
        faults.add(
            "greeks.underlying",
            f"{named} is not a configured instrument; leave it out where it is not known",
        )
    given = request.HasField("as_of_utc_ns")
    source_ns = _source_time(faults, "as_of_utc_ns", given, request.as_of_utc_ns, now_ns)
    ttl_ns = _time_to_live(faults, request, engine.config.signals.greeks_time_to_live_ns)
    faults.raise_if_any()
    return GreeksSignals(find_instrument(engine, request.instrument).index, pairs, source_ns, ttl_ns)


def _pair_given(faults: Faults, told: expiry.Greeks, first: str, second: str) -> bool:
    given = [name for name in (first, second) if told.HasField(cast(Any, name))]
    for name in given:
        faults.finite(f"greeks.{name}", getattr(told, name), -GREEK_MAX, GREEK_MAX)
    if len(given) == 1:
        absent = second if given == [first] else first
        faults.add(f"greeks.{absent}", f"goes with {given[0]}; send 0 where it plays no part")
    return bool(given)


_CALENDAR_REGIMES = (types.REGIME_AUCTION, types.REGIME_SCHEDULED_NEWS, types.REGIME_HALT)


def calendar_signals(payload: bytes, engine: Engine, now_ns: int) -> CalendarCall:
    """What is to be applied, in this order: all that is forgotten or replaced, then all that is added."""
    request = parse(signals.PublishCalendarRequest, payload)
    faults = Faults()
    if not request.events and not request.removed_event_ids:
        faults.add("events", "give at least one event, or removed_event_ids")
    if len(request.events) + len(request.removed_event_ids) > CALENDAR_EVENTS_MAX:
        faults.add(
            "events", f"at most {CALENDAR_EVENTS_MAX} with removed_event_ids; send more in a further call"
        )
        faults.raise_if_any()
    known = {entry[0] for entry in engine.calendar(now_ns)}
    added: list[CalendarSignal] = []
    seen: set[str] = set()
    for place, event in enumerate(request.events):
        name = f"events[{place}]"
        faults.text(f"{name}.event_id", event.event_id, required=True)
        faults.text(f"{name}.description", event.description)
        if event.event_id in seen:
            faults.add(f"{name}.event_id", "is in this request twice")
        seen.add(event.event_id)
        if event.regime not in _CALENDAR_REGIMES:
            faults.add(f"{name}.regime", "must be REGIME_AUCTION, REGIME_SCHEDULED_NEWS or REGIME_HALT")
        if event.from_utc_ns <= 0 or event.from_utc_ns > now_ns + CALENDAR_AHEAD_NS_MAX:
            faults.add(f"{name}.from_utc_ns", "must lie within a year; give UTC nanoseconds since 1970")
        elif event.until_utc_ns <= event.from_utc_ns:
            faults.add(f"{name}.until_utc_ns", "must be later than from_utc_ns")
        elif event.until_utc_ns <= now_ns:
            faults.add(f"{name}.until_utc_ns", "is over already; events that are over need not be sent")
        elif event.until_utc_ns - event.from_utc_ns > CALENDAR_LENGTH_NS_MAX:
            faults.add(
                f"{name}.until_utc_ns", "lies more than 31 days after from_utc_ns; send several events"
            )
        targets = _calendar_targets(faults, name, event, engine)
        added += [
            CalendarSignal(
                name_hash(event.event_id),
                event.regime - 1,
                event.from_utc_ns,
                event.until_utc_ns - event.from_utc_ns,
                target,
            )
            for target in targets
        ]
    for place, event_id in enumerate(request.removed_event_ids):
        faults.text(f"removed_event_ids[{place}]", event_id, required=True)
    faults.raise_if_any()
    removed = [event_id for event_id in request.removed_event_ids if name_hash(event_id) in known]
    gone = dict.fromkeys(known.intersection(map(name_hash, [*removed, *seen])))
    _check_calendar_room(engine, added, gone, now_ns)
    names = [
        {
            "id": name_hash(event.event_id),
            "event_id": event.event_id,
            "description": event.description,
            "instruments": list(event.instruments),
            "venues": list(event.venues),
        }
        for event in request.events
    ]
    forgotten = (CalendarSignal(event, RegimeCode.NORMAL) for event in gone)
    return CalendarCall([*forgotten, *added], removed, names)


def _calendar_targets(faults: Faults, name: str, event: signals.CalendarEvent, engine: Engine) -> list[int]:
    if not event.instruments and not event.venues:
        return [NO_INDEX_VALUE]
    targets: dict[int, None] = {}
    for instrument_name in event.instruments:
        instrument = engine.instruments.get(instrument_name)
        if instrument is None:
            faults.add(f"{name}.instruments", f"{quoted(instrument_name)} is not configured")
        else:
            targets[instrument.index] = None
    for venue in event.venues:
        of_venue = [each.index for each in engine.instruments if each.venue == venue]
        if not of_venue:
            faults.add(f"{name}.venues", f"no instrument of venue {quoted(venue)} is configured")
        targets.update(dict.fromkeys(of_venue))
    return list(targets)


def _check_calendar_room(
    engine: Engine, added: Sequence[CalendarSignal], gone: Container[int], now_ns: int
) -> None:
    held = [entry[4] for entry in engine.calendar(now_ns) if entry[0] not in gone]
    counts = Counter([*held, *(each.instrument for each in added)])
    if any(counts[each.instrument] > CALENDAR_KEPT for each in added):
        raise RpcError(
            Code.RESOURCE_EXHAUSTED,
            f"more than {CALENDAR_KEPT} events ahead for one instrument, or for all; remove some first, or write "
            "them into calendars of the configuration",
        )


SignalReply = (
    signals.PublishNewsResponse
    | signals.PublishVolatilityIndexResponse
    | signals.PublishInventoryResponse
    | signals.PublishGreeksResponse
    | signals.PublishCalendarResponse
)


def signal_reply(
    response: type[SignalReply], input_sequence: int, applied_at_ns: int, ignored: bool, **fields: Any
) -> bytes:
    receipt = signals.SignalReceipt(
        input_sequence=input_sequence, applied_at_utc_ns=applied_at_ns, ignored=ignored
    )
    return response(receipt=receipt, **fields).SerializeToString()


def scorer_busy(retry_ns: int) -> RpcError:
    return RpcError(
        Code.RESOURCE_EXHAUSTED,
        "too many headlines wait for the scorer; retry later, or send a score",
        (retry_info(retry_ns),),
    )


def scorer_failed() -> RpcError:
    return RpcError(
        Code.UNAVAILABLE, "headline: the scorer failed, the service's log says why; send a score instead"
    )


# --- market data --------------------------------------------------------------------------------------------


class MarketRecord(NamedTuple):
    """One event in engine units; ``sequence`` is ``None`` where none was given."""

    kind: int
    side: int = 0
    price_ticks: int = 0
    size_lots: int = 0
    order_id: int = 0  # QUOTE: ask price in ticks
    aux: int = 0  # QUOTE: ask size in lots; STATUS: code
    exchange_ns: int = 0
    sequence: int | None = None

    @property
    def numbered(self) -> bool:
        """Its sequence is one of the chain that a book is made of."""
        return self.kind not in (EventKindCode.QUOTE, EventKindCode.TRADE)


def market_message(payload: bytes) -> market.PublishEventsRequest:
    """Raises ``RpcError`` when it is not known which instruments it is for."""
    message = parse(market.PublishEventsRequest, payload)
    faults = Faults()
    if len(message.events) > MARKET_EVENTS_MAX:
        faults.add("events", f"must be at most {MARKET_EVENTS_MAX}; a snapshot may take several messages")
    else:
        for at, event in enumerate(message.events):
            faults.text(f"events[{at}].instrument", event.instrument, required=True)
    faults.raise_if_any()
    return message


def market_events(
    message: market.PublishEventsRequest,
    instrument_of: Callable[[str], Instrument],
    in_snapshot: Callable[[str], bool],
) -> list[MarketRecord]:
    """All events of a message in engine units. Raises ``RpcError`` that names every field at fault."""
    faults = Faults()
    open_snapshots: dict[str, bool] = {}
    events = []
    for at, event in enumerate(message.events):
        events.append(_market_event(event, instrument_of(event.instrument), faults, f"events[{at}]."))
        name = event.instrument
        if event.kind == market.EVENT_KIND_SNAPSHOT_BEGIN:
            open_snapshots[name] = True
        elif event.kind == market.EVENT_KIND_SNAPSHOT_END:
            if not open_snapshots.get(name, in_snapshot(name)):
                faults.add(f"events[{at}].kind", "SNAPSHOT_END without a SNAPSHOT_BEGIN before it")
            open_snapshots[name] = False
        elif event.kind == market.EVENT_KIND_CLEAR:
            open_snapshots[name] = False
    faults.raise_if_any()
    return events


_ORDER_KINDS = (
    market.EVENT_KIND_ADD,
    market.EVENT_KIND_MODIFY,
    market.EVENT_KIND_CANCEL,
    market.EVENT_KIND_EXECUTE,
)
_PRICED_KINDS = (
    market.EVENT_KIND_ADD,
    market.EVENT_KIND_MODIFY,
    market.EVENT_KIND_TRADE,
    market.EVENT_KIND_LEVEL,
)
_SIDED_KINDS = (market.EVENT_KIND_ADD, market.EVENT_KIND_TRADE, market.EVENT_KIND_LEVEL)


def _market_event(event: market.MarketEvent, instrument: Instrument, faults: Faults, at: str) -> MarketRecord:
    """Fields that the kind does not use are left alone."""
    kind = event.kind
    if not market.EVENT_KIND_ADD <= kind <= market.EVENT_KIND_STATUS:
        faults.add(at + "kind", "must be one of the kinds")
        return MarketRecord(0)
    side = order_id = aux = price = size = 0
    tick, lot = instrument.tick_size, instrument.lot_size
    if kind in _SIDED_KINDS or (kind in _ORDER_KINDS and event.side):
        side = event.side
        if side not in (market.BOOK_SIDE_BID, market.BOOK_SIDE_ASK):
            faults.add(at + "side", "must be BOOK_SIDE_BID or BOOK_SIDE_ASK")
    if kind in _ORDER_KINDS:
        order_id = event.order_id
        if order_id == 0:
            faults.add(at + "order_id", "is required: the order that the event is about")
        if event.price or kind in _PRICED_KINDS:
            price = faults.steps(at + "price", event.price, tick, "tick_size", least=1)
        if event.size or kind in _PRICED_KINDS:
            size = faults.steps(at + "size", event.size, lot, "lot_size", least=kind in _PRICED_KINDS)
    elif kind in _PRICED_KINDS:
        price = faults.steps(at + "price", event.price, tick, "tick_size", least=1)
        size = faults.steps(at + "size", event.size, lot, "lot_size", least=kind == market.EVENT_KIND_TRADE)
    elif kind == market.EVENT_KIND_QUOTE:
        # A side may be empty: size 0, or nothing given.
        size = faults.steps(at + "size", event.size or "0", lot, "lot_size")
        aux = faults.steps(at + "ask_size", event.ask_size or "0", lot, "lot_size")
        price = faults.steps(at + "price", event.price or "0", tick, "tick_size", least=size > 0)
        order_id = faults.steps(at + "ask_price", event.ask_price or "0", tick, "tick_size", least=aux > 0)
    elif kind == market.EVENT_KIND_STATUS:
        aux = event.status
        if not market.TRADING_STATUS_TRADING <= aux <= market.TRADING_STATUS_CLOSED:
            faults.add(at + "status", "must be one of the trading statuses")
    sequence = event.sequence if event.HasField("sequence") else None
    if sequence is not None and not 0 <= sequence <= SEQUENCE_MAX:
        faults.add(at + "sequence", "must lie between 0 and 2^62")
    if event.exchange_utc_ns < 0:
        faults.add(at + "exchange_utc_ns", "must not be negative; give UTC nanoseconds since 1970")
    return MarketRecord(kind, side, price, size, order_id, aux, event.exchange_utc_ns, sequence)


def publish_reply(applied: int, refused: int) -> bytes:
    return market.PublishEventsResponse(applied=applied, refused=refused).SerializeToString()


def refuse_unpublished(name: str) -> NoReturn:
    """An instrument that a feed of another kind has, or none."""
    faults = Faults()
    faults.add("events.instrument", f"{name} is not published: no feed of kind grpc names it")
    faults.raise_if_any()
    raise AssertionError("a fault was added")


# --- administration -----------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class OverrideCall:
    """A posture for a while, in engine indices."""

    posture: int
    ttl_ns: int
    counterparty: int
    instrument: int
    desk: int
    message: admin.SetOverrideRequest


def override_request(payload: bytes, engine: Engine) -> OverrideCall:
    request = parse(admin.SetOverrideRequest, payload)
    faults = Faults()
    if not types.POSTURE_CLIENT_PRIORITY <= request.posture <= types.POSTURE_RISK_AVERSE:
        faults.add("posture", "must be one of the postures")
    if not 0 < request.ttl_ns <= TTL_NS_MAX:
        faults.add("ttl_ns", "must be above 0 and at most 7 days")
    faults.text("counterparty", request.counterparty)
    faults.text("instrument", request.instrument)
    faults.text("desk", request.desk)
    counterparty = engine.policy.counterparty_index(request.counterparty) if request.counterparty else None
    if request.counterparty and counterparty is None:
        named = quoted(request.counterparty)
        faults.add("counterparty", f"{named} is not configured; leave it out for all counterparties")
    desk = engine.policy.desk_index(request.desk) if request.desk else None
    if request.desk and desk is None:
        faults.add("desk", f"{quoted(request.desk)} is not configured; leave it out for all desks")
    faults.raise_if_any()
    instrument = find_instrument(engine, request.instrument).index if request.instrument else NO_INDEX_VALUE
    return OverrideCall(
        request.posture,
        request.ttl_ns,
        NO_INDEX_VALUE if counterparty is None else counterparty,
        instrument,
        NO_INDEX_VALUE if desk is None else desk,
        request,
    )


def override_reply(call: OverrideCall, override_id: int, expires_ns: int) -> bytes:
    override = admin.Override(
        override_id=override_id,
        posture=call.message.posture,
        expires_utc_ns=expires_ns,
        counterparty=call.message.counterparty,
        instrument=call.message.instrument,
        desk=call.message.desk,
    )
    return admin.SetOverrideResponse(override=override).SerializeToString()


def clear_override_request(payload: bytes) -> int:
    request = parse(admin.ClearOverrideRequest, payload)
    faults = Faults()
    if not 0 < request.override_id < 2**32:
        faults.add("override_id", "is required: the id that SetOverride returned")
    faults.raise_if_any()
    return request.override_id


def clear_override_reply(cleared: bool) -> bytes:
    return admin.ClearOverrideResponse(cleared=cleared).SerializeToString()


def overrides_reply(overrides: Sequence[OverrideStatus], engine: Engine) -> bytes:
    counterparties, desks = engine.policy.counterparty_names, engine.policy.desk_names

    def name(names: Sequence[str], index: int) -> str:
        return names[index] if index < len(names) else ""

    response = admin.ListOverridesResponse()
    for override in overrides:
        response.overrides.add(
            override_id=override.override_id,
            posture=override.posture,
            expires_utc_ns=override.expires_ns,
            counterparty=name(counterparties, override.counterparty),
            desk=name(desks, override.desk),
            instrument=""
            if override.instrument == NO_INDEX_VALUE
            else engine.instruments[override.instrument].name,
        )
    return response.SerializeToString()


@dataclass(frozen=True, slots=True)
class KillCall:
    """Whom to kill or to enable, ``None`` for everybody, and why."""

    counterparty: str | None
    reason: str


def kill_request(payload: bytes, engine: Engine) -> KillCall:
    return _kill_call(parse(admin.KillRequest, payload), set(), engine)


def enable_request(payload: bytes, engine: Engine) -> KillCall:
    """Names that are killed may be enabled, whether they are still configured or not."""
    killed = {kill.counterparty for kill in engine.kills()}
    return _kill_call(parse(admin.EnableRequest, payload), killed, engine)


def _kill_call(
    request: admin.KillRequest | admin.EnableRequest, known: set[str | None], engine: Engine
) -> KillCall:
    faults = Faults()
    faults.text("reason", request.reason, required=True)
    name = request.counterparty
    faults.text("counterparty", name)
    if name and engine.policy.counterparty_index(name) is None and name not in known | {STRANGERS}:
        faults.add(
            "counterparty", f"{name!r} is not configured; {STRANGERS} stands for all that are not, together"
        )
    faults.raise_if_any()
    return KillCall(name or None, request.reason)


def kill_reply(since_ns: int, unrecorded: str = "") -> bytes:
    return admin.KillResponse(since_utc_ns=since_ns, unrecorded=unrecorded).SerializeToString()


def enable_reply(since_ns: int) -> bytes:
    return admin.EnableResponse(since_utc_ns=since_ns).SerializeToString()


def kill_file_stands(file: str) -> RpcError:
    details = error_details_pb2.PreconditionFailure()
    details.violations.add(type="KILL_FILE", subject=file, description="exists; remove it, then enable again")
    text = f"the kill file {file} exists: remove it, then enable again"
    return RpcError(Code.FAILED_PRECONDITION, text, (details,))


def enabling_not_kept() -> RpcError:
    text = "the kill has ended, but it could not be written down: a restart would bring it back; the log says why"
    return RpcError(Code.FAILED_PRECONDITION, text)


def not_enabled(retry_ns: int) -> RpcError:
    text = "the journal cannot be written: nothing was enabled, the kill stays in force"
    return RpcError(Code.UNAVAILABLE, text, (retry_info(retry_ns),))


def killed_meanwhile() -> RpcError:
    return RpcError(
        Code.UNAVAILABLE,
        "a kill came while a firm answer was on its way, and took it back; ask again",
        (retry_info(0), error_details_pb2.ErrorInfo(reason="KILLED", domain="quotelife")),
    )


def kill_status(kill: KillStatus) -> admin.KillStatus:
    return admin.KillStatus(
        counterparty=kill.counterparty or "",
        reason=kill.reason,
        since_utc_ns=kill.since_ns,
        source=cast(Any, int(kill.source)),
    )


def reload_reply(config_revision: int, changed: bool, restart_required: Sequence[str]) -> bytes:
    return admin.ReloadResponse(
        config_revision=config_revision, changed=changed, restart_required=restart_required
    ).SerializeToString()


def reload_refused(problems: Sequence[str]) -> RpcError:
    """One violation per fault, each ``file:line: key: reason``."""
    details = error_details_pb2.PreconditionFailure()
    for problem in problems[:100]:
        details.violations.add(type="CONFIG", subject="configuration", description=problem)
    first = problems[0] if problems else ""
    text = f"the configuration has {len(problems)} fault(s) and was not applied: {first}"
    return RpcError(Code.FAILED_PRECONDITION, text, (details,)).with_room_for(details.violations)


def retry_info(delay_ns: int) -> error_details_pb2.RetryInfo:
    info = error_details_pb2.RetryInfo()
    info.retry_delay.FromNanoseconds(delay_ns)
    return info


def status_request(payload: bytes, engine: Engine) -> list[int]:
    """Indices of the instruments asked for, each once; all when none is named."""
    request = parse(admin.GetStatusRequest, payload)
    faults = Faults()
    if len(request.instruments) > STATUS_NAMES_MAX:
        faults.add("instruments", f"must be at most {STATUS_NAMES_MAX} names; name none for all")
    else:
        for name in request.instruments:
            faults.text("instruments", name, required=True)
    faults.raise_if_any()
    if not request.instruments:
        return list(range(len(engine.instruments)))
    return [find_instrument(engine, name).index for name in dict.fromkeys(request.instruments)]


def _plain(number: Decimal) -> str:
    return format(number, "f")


def instrument_status(
    instrument: Instrument, status: InstrumentStatus, now_ns: int, name_of: Callable[[int], str]
) -> admin.InstrumentStatus:
    """``name_of`` gives the name of an instrument to its hash."""
    fields: dict[str, Any] = {
        name: getattr(status, name)
        for name in (
            "events",
            "gaps",
            "resyncs",
            "crossed",
            "dropped_levels",
            "orders",
            "unknown_orders",
            "invalid_orders",
            "dropped_orders",
            "purged_orders",
            "decisions",
            "declines",
            "stress_entries",
            "unsided_trades",
            "undecided_trades",
        )
    }
    fields |= {
        "instrument": instrument.name,
        "quality": status.quality + 1,
        "quality_cause": status.quality_cause,  # same numbers
        "quality_since_utc_ns": status.quality_since_ns,
        "qualities": [
            admin.QualityTime(quality=cast(Any, quality + 1), time_ns=time_ns, entered=entered)
            for quality, (time_ns, entered) in enumerate(
                zip(status.quality_ns, status.quality_entered, strict=True)
            )
            if entered
        ],
        "regime": status.regime + 1,
        "data_age_ns": max(0, now_ns - status.last_event_ns) if status.last_event_ns else None,
    }
    message = admin.InstrumentStatus(**fields)
    if status.bid_lots > 0:
        message.bid_price = _plain(instrument.ticks_to_price(status.bid_ticks))
        message.bid_size = _plain(instrument.lot_size * status.bid_lots)
    if status.ask_lots > 0:
        message.ask_price = _plain(instrument.ticks_to_price(status.ask_ticks))
        message.ask_size = _plain(instrument.lot_size * status.ask_lots)
    for regime, time_ns in enumerate(status.regime_ns):
        message.regimes.add(regime=cast(Any, regime + 1), time_ns=time_ns)
    if status.greeks is not None:
        message.option.CopyFrom(_option_status(status.greeks, now_ns, name_of))
    return message


def _option_status(told: GreeksStatus, now_ns: int, name_of: Callable[[int], str]) -> admin.OptionStatus:
    message = admin.OptionStatus(
        mark_iv=told.mark_iv,
        underlying_price=told.underlying_price,
        mark_price=told.mark_price,
        funding=told.funding,
        age_ns=max(0, now_ns - told.oldest_ns) if told.oldest_ns else 0,
        updates=told.taken,
        ignored=told.ignored,
    )
    if told.delta is not None or told.vega is not None:
        message.greeks.CopyFrom(
            expiry.Greeks(
                delta=told.delta,
                gamma=told.gamma,
                vega=None if told.vega is None else POINTS_PER_UNIT * told.vega,
                theta_per_day=told.theta,
                underlying=name_of(told.underlying) if told.underlying else "",
            )
        )
    return message
