"""What crosses the wire, without any input or output: messages from values and back, errors, the fallback."""

import operator
import secrets
from collections.abc import Iterable, Sequence
from dataclasses import fields
from decimal import Decimal
from enum import IntEnum
from typing import Any, Final, TypeVar

import grpc
from google.protobuf.message import DecodeError, Message
from google.rpc import error_details_pb2, status_pb2

from quote_expiry.v1 import (
    admin_service_pb2,
    market_data_service_pb2,
    quote_expiry_service_pb2,
    signal_service_pb2,
    types_pb2,
)
from quotelife_client import tls
from quotelife_client.types import (
    Actuation,
    BookSide,
    Clock,
    Constraint,
    ConstraintStep,
    Contribution,
    Decision,
    EventKind,
    Expiry,
    ExpiryRequest,
    Explanation,
    Feature,
    Leg,
    LegExpiry,
    MarketEvent,
    Mode,
    Number,
    Package,
    PackageRoute,
    Posture,
    PublishReceipt,
    Quality,
    Reason,
    Regime,
    RiskStep,
    Rule,
    RuleStep,
    Side,
    SideExpiry,
    SizeUnit,
    Source,
    TradingStatus,
    WatchRefusal,
)

HEALTH_CHECK: Final = "/grpc.health.v1.Health/Check"
WHY_NOT_S: Final = 0.1  # waiting has no reasons of its own: a call that does not wait is asked for them
HEALTH_SERVING: Final = b"\x08\x01"  # grpc.health.v1.HealthCheckResponse{status: SERVING}

# The service broke or could not be reached, as against: the caller asked for something wrong. CANCELLED is
# what an overloaded or dying server's gRPC answers; a caller that cancels gets no answer at all.
_COULD_NOT_ANSWER = frozenset(
    {
        grpc.StatusCode.CANCELLED,
        grpc.StatusCode.UNAVAILABLE,
        grpc.StatusCode.DEADLINE_EXCEEDED,
        grpc.StatusCode.INTERNAL,
        grpc.StatusCode.UNKNOWN,
    }
)

_LOST_REASON = "Internal error from Core"  # grpc.aio's own words, whatever the service has said

_CODES = {code.value[0]: code for code in grpc.StatusCode}

E = TypeVar("E", bound=IntEnum)


def serialize(message: Message) -> bytes:
    return message.SerializeToString()


class ServiceError(Exception):
    """A call failed. ``violations`` names the fields at fault; ``retry_after_ns`` is the service's advice; ``killed``:
    a kill took the answer back."""

    def __init__(
        self,
        code: grpc.StatusCode,
        message: str,
        violations: tuple[tuple[str, str], ...] = (),
        retry_after_ns: int | None = None,
        *,
        killed: bool = False,
    ) -> None:
        super().__init__(f"{code.name}: {message}")
        self.code = code
        self.message = message
        self.violations = violations
        self.retry_after_ns = retry_after_ns
        self.killed = killed

    @property
    def could_not_answer(self) -> bool:
        """True when a fallback may stand in: unreachable, too late, overloaded or broken."""
        if self.code is grpc.StatusCode.RESOURCE_EXHAUSTED:
            return self.retry_after_ns is not None  # without advice it is the request that is too large
        return self.code in _COULD_NOT_ANSWER


def service_error(error: Any) -> ServiceError:
    """From what grpc raised."""
    violations: list[tuple[str, str]] = []
    retry_after_ns = None
    killed = False
    for key, value in error.trailing_metadata() or ():
        if key != "grpc-status-details-bin":
            continue
        try:
            status = status_pb2.Status.FromString(value)
        except DecodeError:
            continue
        for detail in status.details:
            bad_request = error_details_pb2.BadRequest()
            precondition = error_details_pb2.PreconditionFailure()
            retry = error_details_pb2.RetryInfo()
            info = error_details_pb2.ErrorInfo()
            if detail.Unpack(bad_request):
                violations += [(each.field, each.description) for each in bad_request.field_violations]
            elif detail.Unpack(precondition):
                violations += [(each.subject, each.description) for each in precondition.violations]
            elif detail.Unpack(retry):
                retry_after_ns = retry.retry_delay.ToNanoseconds()
            elif detail.Unpack(info):
                killed |= info.reason == "KILLED"
    code, details = end_of_call(error.code(), error.details())
    if code is grpc.StatusCode.UNAVAILABLE and (what := tls.mend(details)):
        details = f"{what} ({details})"
    return ServiceError(code, details, tuple(violations), retry_after_ns, killed=killed)


def end_of_call(code: grpc.StatusCode, details: str | None) -> tuple[grpc.StatusCode, str]:
    """As the service said it, or, where grpc.aio lost that because it was writing, that the call has ended."""
    if code is grpc.StatusCode.INTERNAL and (details or "").startswith(_LOST_REASON):
        return grpc.StatusCode.UNAVAILABLE, "the service ended the call while it was written to; why is lost"
    return code, details or ""


def decimal_text(name: str, value: Number) -> str:
    if isinstance(value, str):
        return value
    if isinstance(value, int | Decimal) and not isinstance(value, bool):
        return format(value, "f") if isinstance(value, Decimal) else str(value)
    raise TypeError(
        f"{name}: give a str, an int or a Decimal, not {type(value).__name__}; floats are not exact"
    )


def _number(name: str, kind: type[E], value: E | str) -> Any:
    """The wire's number of a member or of its name; ``Any`` since the stubs know their own enums only."""
    if isinstance(value, kind):
        return value.value
    if not isinstance(value, str):
        raise TypeError(f"{name}: give a {kind.__name__} or its name, not {type(value).__name__}")
    names = [member.name for member in kind if member.value]
    if value.upper() not in names:
        raise ValueError(f"{name}: {value!r} is none of {', '.join(names)}")
    return kind[value.upper()].value


def _set_whole(request: Message, name: str, value: int | None) -> None:
    if value is None:
        return
    try:
        setattr(request, name, operator.index(value))
    except TypeError:
        raise TypeError(f"{name}: give an int, not {type(value).__name__}") from None
    except ValueError:
        raise ValueError(f"{name}: {value} is out of range") from None


def expiry_request(
    *,
    instrument: str,
    side: Side | str,
    legs: Sequence[Leg],
    size: Number | None,
    size_unit: SizeUnit | str,
    counterparty: str,
    desk: str,
    price: Number | None,
    bid_price: Number | None,
    ask_price: Number | None,
    edge: Number | None,
    reference_price: Number | None,
    priced_at_utc_ns: int | None,
    client_deadline_utc_ns: int | None,
    venue_session: str,
    posture: Posture | str | None,
    dealers_asked: int | None,
    request_id: str | None,
    rfq_id: str,
    quote_id: str,
    include_features: bool,
    explain: bool,
    watch: bool,
    watch_owner: str,
) -> quote_expiry_service_pb2.GetExpiryRequest:
    request = quote_expiry_service_pb2.GetExpiryRequest(
        request_id=secrets.token_hex(12) if request_id is None else request_id,
        rfq_id=rfq_id,
        quote_id=quote_id,
        instrument=instrument,
        side=_number("side", Side, side),
        counterparty=counterparty,
        desk=desk,
        venue_session=venue_session,
        include_features=include_features,
        explain=explain,
        watch=watch,
        watch_owner=watch_owner,
    )
    for leg in legs:
        _add_leg(request, leg)
    if size is not None:
        request.size.quantity = decimal_text("size", size)
        base = _number("size_unit", SizeUnit, size_unit) == SizeUnit.BASE_QUANTITY
        unit = (
            SizeUnit.CONTRACTS if legs and base else size_unit
        )  # the default: packages have no base quantity
        request.size.unit = _number("size_unit", SizeUnit, unit)
    for name, value in (
        ("price", price),
        ("bid_price", bid_price),
        ("ask_price", ask_price),
        ("edge", edge),
        ("reference_price", reference_price),
    ):
        if value is not None:
            setattr(request, name, decimal_text(name, value))
    _set_whole(request, "priced_at_utc_ns", priced_at_utc_ns)
    _set_whole(request, "client_deadline_utc_ns", client_deadline_utc_ns)
    _set_whole(request, "dealers_asked", dealers_asked)
    if posture is not None:
        request.overrides.posture = _number("posture", Posture, posture)
    return request


def _add_leg(request: quote_expiry_service_pb2.GetExpiryRequest, leg: Leg) -> None:
    added = request.legs.add(
        instrument=leg.instrument,
        side=_number("side", Side, leg.side),
        ratio=decimal_text("ratio", leg.ratio),
    )
    for name in ("delta", "gamma", "vega"):
        value = getattr(leg, name)
        if value is not None:
            setattr(added.greeks, name, value)
    if leg.underlying:
        added.greeks.underlying = leg.underlying


def request_message(request: ExpiryRequest) -> quote_expiry_service_pb2.GetExpiryRequest:
    return expiry_request(**{each.name: getattr(request, each.name) for each in fields(request)})


def read_result(message: quote_expiry_service_pb2.ExpiryResult) -> Expiry | ServiceError:
    if message.WhichOneof("result") == "response":
        return read_expiry(message.response)
    fault = message.fault
    code = _CODES.get(fault.code, grpc.StatusCode.UNKNOWN)
    # A fault carries no advice; for one of many requests RESOURCE_EXHAUSTED can only mean overload.
    retry_after_ns = 0 if code is grpc.StatusCode.RESOURCE_EXHAUSTED else None
    violations = tuple((each.field, each.description) for each in fault.fields)
    return ServiceError(code, fault.message, violations, retry_after_ns)


def market_message(events: Iterable[MarketEvent]) -> market_data_service_pb2.PublishEventsRequest:
    message = market_data_service_pb2.PublishEventsRequest()
    for event in events:
        out = message.events.add(
            instrument=event.instrument,
            kind=_number("kind", EventKind, event.kind),
            side=_number("side", BookSide, event.side),
            order_id=event.order_id,
            exchange_utc_ns=event.exchange_utc_ns,
            sequence=event.sequence,
            status=_number("status", TradingStatus, event.status),
        )
        for name in ("price", "size", "ask_price", "ask_size"):
            value = getattr(event, name)
            if value is not None:
                setattr(out, name, decimal_text(name, value))
    return message


def read_receipt(message: market_data_service_pb2.PublishEventsResponse) -> PublishReceipt:
    return PublishReceipt(message.applied, message.refused)


def enum_of(kind: type[E], value: int) -> E:
    """A value that a newer service may know and this client does not becomes UNSPECIFIED."""
    try:
        return kind(value)
    except ValueError:
        return kind(0)


def _enums(kind: type[E], values: Iterable[int]) -> tuple[E, ...]:
    return tuple(enum_of(kind, value) for value in values)


def _given(message: Any, name: str) -> Any:
    return getattr(message, name) if message.HasField(name) else None


def _features(message: Any) -> tuple[Feature, ...]:
    return tuple(Feature(each.name, each.unit, _given(each, "value")) for each in message.features)


def _side(message: quote_expiry_service_pb2.SideExpiry) -> SideExpiry:
    return SideExpiry(
        side=enum_of(Side, message.side),
        decision=enum_of(Decision, message.decision),
        life_ns=message.life_ns,
        expiry_utc_ns=_given(message, "expiry_utc_ns"),
        decision_id=message.decision_id,
        reasons=_enums(Reason, message.reasons),
        binding=_enums(Constraint, message.binding),
        p_ref=_given(message, "p_ref"),
        p_life=_given(message, "p_life"),
        h_ticks=_given(message, "h_ticks"),
        h_price=_given(message, "h_price"),
        edge_ticks=_given(message, "edge_ticks"),
        moved_ticks=_given(message, "moved_ticks"),
        alpha=_given(message, "alpha"),
        held_alpha=_given(message, "held_alpha"),
        expected_value=_given(message, "expected_value"),
        break_even_edge=_given(message, "break_even_edge"),
        horizons_ns=tuple(message.curve.horizon_ns),
        p=tuple(message.curve.p),
        features=_features(message),
        venue_life_ns=_given(message, "venue_life_ns"),
        venue_expiry_utc_ns=_given(message, "venue_expiry_utc_ns"),
        package=_package(message),
    )


def _package(
    message: quote_expiry_service_pb2.GetExpiryResponse | quote_expiry_service_pb2.SideExpiry,
) -> Package | None:
    if not message.HasField("package"):
        return None
    package = message.package
    return Package(
        route=enum_of(PackageRoute, package.route),
        legs=tuple(
            LegExpiry(
                instrument=leg.instrument,
                side=enum_of(Side, leg.side),
                p_ref=_given(leg, "p_ref"),
                quality=enum_of(Quality, leg.quality),
                regime=enum_of(Regime, leg.regime),
                contribution=_given(leg, "contribution"),
                decision_id=leg.decision_id,
                h_price=_given(leg, "h_price"),
                reasons=_enums(Reason, leg.reasons),
                delta=_given(leg.greeks, "delta"),
            )
            for leg in package.legs
        ),
        p_lower=_given(package, "p_lower"),
        h_price=_given(package, "h_price"),
        underlying=package.underlying,
        net_delta=_given(package, "net_delta"),
        residual_p_ref=_given(package, "residual_p_ref"),
    )


def read_expiry(message: quote_expiry_service_pb2.GetExpiryResponse) -> Expiry:
    return Expiry(
        source=Source.SERVICE,
        decision=enum_of(Decision, message.decision),
        life_ns=message.life_ns,
        expiry_utc_ns=_given(message, "expiry_utc_ns"),
        counted_from_utc_ns=_given(message, "counted_from_utc_ns"),
        decided_at_utc_ns=message.decided_at_utc_ns,
        request_id=message.request_id,
        decision_id=message.decision_id,
        clock=enum_of(Clock, message.clock),
        posture_requested=enum_of(Posture, message.posture_requested),
        posture_effective=enum_of(Posture, message.posture_effective),
        rule=enum_of(Rule, message.rule),
        rule_index=_given(message, "rule_index"),
        mode=enum_of(Mode, message.mode),
        regime=enum_of(Regime, message.regime),
        quality=enum_of(Quality, message.quality),
        reasons=_enums(Reason, message.reasons),
        binding=_enums(Constraint, message.binding),
        horizons_ns=tuple(message.curve.horizon_ns),
        p=tuple(message.curve.p),
        p_ref=_given(message, "p_ref"),
        p_life=_given(message, "p_life"),
        alpha=_given(message, "alpha"),
        held_alpha=_given(message, "held_alpha"),
        h_ticks=_given(message, "h_ticks"),
        h_price=_given(message, "h_price"),
        edge_ticks=_given(message, "edge_ticks"),
        moved_ticks=_given(message, "moved_ticks"),
        reference_ticks=_given(message, "reference_ticks"),
        reference_price=_given(message, "reference_price"),
        sigma_ticks=_given(message, "sigma_ticks"),
        expected_value=_given(message, "expected_value"),
        break_even_edge=_given(message, "break_even_edge"),
        features=_features(message),
        data_age_ns=_given(message, "data_age_ns"),
        model_digest=message.model_digest,
        model_revision=message.model_revision,
        schema_hash=message.schema_hash,
        config_revision=message.config_revision,
        compute_ns=message.compute_ns,
        unjournaled=message.unjournaled,
        sides=tuple(_side(each) for each in message.sides),
        package=_package(message),
        actuation=enum_of(Actuation, message.actuation),
        venue_life_ns=_given(message, "venue_life_ns"),
        venue_expiry_utc_ns=_given(message, "venue_expiry_utc_ns"),
        explanations=tuple(read_explanation(each) for each in message.explanations),
        watched=message.watched,
        watch_refusal=enum_of(WatchRefusal, message.watch_refusal),
        life_without_watch_ns=_given(message, "life_without_watch_ns"),
    )


def read_explanation(message: quote_expiry_service_pb2.Explanation) -> Explanation:
    return Explanation(
        decision_id=message.decision_id,
        side=enum_of(Side, message.side),
        summary=message.summary,
        contributions=tuple(
            Contribution(
                each.feature, each.unit, each.logit, _given(each, "value"), _given(each, "reference")
            )
            for each in message.contributions
        ),
        baseline_logit=_given(message, "baseline_logit"),
        logit=_given(message, "logit"),
        left_over=_given(message, "left_over"),
        rule_path=tuple(
            RuleStep(enum_of(Rule, each.rule), each.applied, enum_of(Posture, each.posture), each.detail)
            for each in message.rule_path
        ),
        constraints=tuple(
            ConstraintStep(
                enum_of(Constraint, each.constraint),
                _given(each, "life_ns"),
                each.binding,
                each.next,
                each.detail,
            )
            for each in message.constraints
        ),
        risks=tuple(RiskStep(each.input, each.score, each.weight) for each in message.risks),
        risk_sum=_given(message, "risk_sum"),
        held_alpha=_given(message, "held_alpha"),
        features=_features(message),
        horizons_ns=tuple(message.curve.horizon_ns),
        p=tuple(message.curve.p),
        verified=_given(message, "verified"),
        verification=message.verification,
        config_digest=message.config_digest,
        config_revision=message.config_revision,
        model_kind=message.model_kind,
        model_name=message.model_name,
        model_digest=message.model_digest,
        model_revision=message.model_revision,
        schema_hash=message.schema_hash,
    )


def fallback_expiry(
    request: quote_expiry_service_pb2.GetExpiryRequest,
    error: ServiceError,
    life_ns: int,
    asked_at_utc_ns: int,
    now_utc_ns: int,
    *,
    killed: bool,
) -> Expiry:
    """What is left now of the caller's own life: it runs from ``priced_at``, or from the moment of asking, and
    not beyond the client's deadline. Nothing left declines, and so does a kill that was in force when the service
    was last heard: it ends by an enable, not by a service that is away."""
    if killed:
        life_ns = 0
    start_ns = request.priced_at_utc_ns if request.HasField("priced_at_utc_ns") else asked_at_utc_ns
    end_ns = start_ns + life_ns
    if request.HasField("client_deadline_utc_ns"):
        end_ns = min(end_ns, request.client_deadline_utc_ns)
    left_ns = min(
        max(0, end_ns - now_utc_ns), life_ns
    )  # pricing in the future gives no more than was allowed
    quote = left_ns > 0
    decision = Decision.QUOTE if quote else Decision.DECLINE
    expiry_ns = now_utc_ns + left_ns if quote else None
    sides: tuple[SideExpiry, ...] = ()
    if request.side == types_pb2.SIDE_TWO_WAY:
        sides = tuple(SideExpiry(side, decision, left_ns, expiry_ns) for side in (Side.BUY, Side.SELL))
    return Expiry(
        source=Source.FALLBACK,
        decision=decision,
        life_ns=left_ns,
        expiry_utc_ns=expiry_ns,
        counted_from_utc_ns=now_utc_ns if quote else None,
        decided_at_utc_ns=now_utc_ns,
        request_id=request.request_id,
        reasons=(Reason.KILLED,) if killed else (),
        unjournaled=True,
        sides=sides,
        error=str(error),
    )


def inventory_request(
    instrument: str,
    position: Number,
    limit: Number,
    unit: SizeUnit | str,
    desk: str,
    as_of_utc_ns: int | None,
    time_to_live_ns: int | None,
) -> signal_service_pb2.PublishInventoryRequest:
    return signal_service_pb2.PublishInventoryRequest(
        instrument=instrument,
        desk=desk,
        position=decimal_text("position", position),
        limit=decimal_text("limit", limit),
        unit=_number("unit", SizeUnit, unit),
        as_of_utc_ns=as_of_utc_ns,
        time_to_live_ns=time_to_live_ns,
    )


def posture_numbers(postures: Iterable[Posture | str]) -> list[Any]:
    """Each a member or its name."""
    return [_number("postures", Posture, posture) for posture in postures]


def override_request(
    posture: Posture | str, ttl_ns: int, counterparty: str, instrument: str, desk: str
) -> admin_service_pb2.SetOverrideRequest:
    return admin_service_pb2.SetOverrideRequest(
        posture=_number("posture", Posture, posture),
        ttl_ns=ttl_ns,
        counterparty=counterparty,
        instrument=instrument,
        desk=desk,
    )
