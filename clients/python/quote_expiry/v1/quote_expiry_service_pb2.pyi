from quote_expiry.v1 import types_pb2 as _types_pb2
from google.protobuf.internal import containers as _containers
from google.protobuf.internal import enum_type_wrapper as _enum_type_wrapper
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from typing import ClassVar as _ClassVar, Iterable as _Iterable, Mapping as _Mapping, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class Clock(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    CLOCK_UNSPECIFIED: _ClassVar[Clock]
    CLOCK_SERVICE_UTC: _ClassVar[Clock]
    CLOCK_UNSYNCHRONISED: _ClassVar[Clock]

class PackageRoute(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    PACKAGE_ROUTE_UNSPECIFIED: _ClassVar[PackageRoute]
    PACKAGE_ROUTE_FRECHET: _ClassVar[PackageRoute]
    PACKAGE_ROUTE_UNDERLYING: _ClassVar[PackageRoute]
    PACKAGE_ROUTE_RESIDUAL: _ClassVar[PackageRoute]

class WatchRefusal(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    WATCH_REFUSAL_UNSPECIFIED: _ClassVar[WatchRefusal]
    WATCH_REFUSAL_NO_STREAM: _ClassVar[WatchRefusal]
    WATCH_REFUSAL_UNKNOWN_DECISION: _ClassVar[WatchRefusal]
    WATCH_REFUSAL_NOT_FIRM: _ClassVar[WatchRefusal]
    WATCH_REFUSAL_ENDED: _ClassVar[WatchRefusal]
    WATCH_REFUSAL_NAME_IN_USE: _ClassVar[WatchRefusal]
    WATCH_REFUSAL_FULL: _ClassVar[WatchRefusal]
    WATCH_REFUSAL_INVALID: _ClassVar[WatchRefusal]
    WATCH_REFUSAL_UNAVAILABLE: _ClassVar[WatchRefusal]
    WATCH_REFUSAL_KILLED: _ClassVar[WatchRefusal]
    WATCH_REFUSAL_UPDATE: _ClassVar[WatchRefusal]

class QuoteState(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    QUOTE_STATE_UNSPECIFIED: _ClassVar[QuoteState]
    QUOTE_STATE_LIVE: _ClassVar[QuoteState]
    QUOTE_STATE_PARTLY_FILLED: _ClassVar[QuoteState]
    QUOTE_STATE_FILLED: _ClassVar[QuoteState]
    QUOTE_STATE_WITHDRAWN: _ClassVar[QuoteState]
    QUOTE_STATE_TOO_LATE: _ClassVar[QuoteState]
    QUOTE_STATE_EXPIRED: _ClassVar[QuoteState]
    QUOTE_STATE_CANCELLED: _ClassVar[QuoteState]

class WithdrawReason(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    WITHDRAW_REASON_UNSPECIFIED: _ClassVar[WithdrawReason]
    WITHDRAW_REASON_VALUE: _ClassVar[WithdrawReason]
    WITHDRAW_REASON_ADVERSE_MOVE: _ClassVar[WithdrawReason]
    WITHDRAW_REASON_STRESS: _ClassVar[WithdrawReason]
    WITHDRAW_REASON_HALT: _ClassVar[WithdrawReason]
    WITHDRAW_REASON_KILL_SWITCH: _ClassVar[WithdrawReason]
    WITHDRAW_REASON_DATA_QUALITY: _ClassVar[WithdrawReason]
    WITHDRAW_REASON_WATCH_LOST: _ClassVar[WithdrawReason]
    WITHDRAW_REASON_LIFE_ENDED: _ClassVar[WithdrawReason]

class OutcomeKind(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    OUTCOME_KIND_UNSPECIFIED: _ClassVar[OutcomeKind]
    OUTCOME_KIND_HIT: _ClassVar[OutcomeKind]
    OUTCOME_KIND_LIFTED: _ClassVar[OutcomeKind]
    OUTCOME_KIND_EXPIRED: _ClassVar[OutcomeKind]
    OUTCOME_KIND_DONE_AWAY: _ClassVar[OutcomeKind]
    OUTCOME_KIND_COVER: _ClassVar[OutcomeKind]
    OUTCOME_KIND_CANCELLED: _ClassVar[OutcomeKind]

class WatchedEventKind(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    WATCHED_EVENT_KIND_UNSPECIFIED: _ClassVar[WatchedEventKind]
    WATCHED_EVENT_KIND_WITHDRAW: _ClassVar[WatchedEventKind]
    WATCHED_EVENT_KIND_EXPIRED: _ClassVar[WatchedEventKind]
    WATCHED_EVENT_KIND_REQUOTE_HINT: _ClassVar[WatchedEventKind]
    WATCHED_EVENT_KIND_UPDATED: _ClassVar[WatchedEventKind]
    WATCHED_EVENT_KIND_ACKNOWLEDGED: _ClassVar[WatchedEventKind]
    WATCHED_EVENT_KIND_RESTORED: _ClassVar[WatchedEventKind]
CLOCK_UNSPECIFIED: Clock
CLOCK_SERVICE_UTC: Clock
CLOCK_UNSYNCHRONISED: Clock
PACKAGE_ROUTE_UNSPECIFIED: PackageRoute
PACKAGE_ROUTE_FRECHET: PackageRoute
PACKAGE_ROUTE_UNDERLYING: PackageRoute
PACKAGE_ROUTE_RESIDUAL: PackageRoute
WATCH_REFUSAL_UNSPECIFIED: WatchRefusal
WATCH_REFUSAL_NO_STREAM: WatchRefusal
WATCH_REFUSAL_UNKNOWN_DECISION: WatchRefusal
WATCH_REFUSAL_NOT_FIRM: WatchRefusal
WATCH_REFUSAL_ENDED: WatchRefusal
WATCH_REFUSAL_NAME_IN_USE: WatchRefusal
WATCH_REFUSAL_FULL: WatchRefusal
WATCH_REFUSAL_INVALID: WatchRefusal
WATCH_REFUSAL_UNAVAILABLE: WatchRefusal
WATCH_REFUSAL_KILLED: WatchRefusal
WATCH_REFUSAL_UPDATE: WatchRefusal
QUOTE_STATE_UNSPECIFIED: QuoteState
QUOTE_STATE_LIVE: QuoteState
QUOTE_STATE_PARTLY_FILLED: QuoteState
QUOTE_STATE_FILLED: QuoteState
QUOTE_STATE_WITHDRAWN: QuoteState
QUOTE_STATE_TOO_LATE: QuoteState
QUOTE_STATE_EXPIRED: QuoteState
QUOTE_STATE_CANCELLED: QuoteState
WITHDRAW_REASON_UNSPECIFIED: WithdrawReason
WITHDRAW_REASON_VALUE: WithdrawReason
WITHDRAW_REASON_ADVERSE_MOVE: WithdrawReason
WITHDRAW_REASON_STRESS: WithdrawReason
WITHDRAW_REASON_HALT: WithdrawReason
WITHDRAW_REASON_KILL_SWITCH: WithdrawReason
WITHDRAW_REASON_DATA_QUALITY: WithdrawReason
WITHDRAW_REASON_WATCH_LOST: WithdrawReason
WITHDRAW_REASON_LIFE_ENDED: WithdrawReason
OUTCOME_KIND_UNSPECIFIED: OutcomeKind
OUTCOME_KIND_HIT: OutcomeKind
OUTCOME_KIND_LIFTED: OutcomeKind
OUTCOME_KIND_EXPIRED: OutcomeKind
OUTCOME_KIND_DONE_AWAY: OutcomeKind
OUTCOME_KIND_COVER: OutcomeKind
OUTCOME_KIND_CANCELLED: OutcomeKind
WATCHED_EVENT_KIND_UNSPECIFIED: WatchedEventKind
WATCHED_EVENT_KIND_WITHDRAW: WatchedEventKind
WATCHED_EVENT_KIND_EXPIRED: WatchedEventKind
WATCHED_EVENT_KIND_REQUOTE_HINT: WatchedEventKind
WATCHED_EVENT_KIND_UPDATED: WatchedEventKind
WATCHED_EVENT_KIND_ACKNOWLEDGED: WatchedEventKind
WATCHED_EVENT_KIND_RESTORED: WatchedEventKind

class Leg(_message.Message):
    __slots__ = ("instrument", "side", "ratio", "greeks")
    INSTRUMENT_FIELD_NUMBER: _ClassVar[int]
    SIDE_FIELD_NUMBER: _ClassVar[int]
    RATIO_FIELD_NUMBER: _ClassVar[int]
    GREEKS_FIELD_NUMBER: _ClassVar[int]
    instrument: str
    side: _types_pb2.Side
    ratio: str
    greeks: Greeks
    def __init__(self, instrument: _Optional[str] = ..., side: _Optional[_Union[_types_pb2.Side, str]] = ..., ratio: _Optional[str] = ..., greeks: _Optional[_Union[Greeks, _Mapping]] = ...) -> None: ...

class Greeks(_message.Message):
    __slots__ = ("delta", "gamma", "vega", "theta_per_day", "underlying")
    DELTA_FIELD_NUMBER: _ClassVar[int]
    GAMMA_FIELD_NUMBER: _ClassVar[int]
    VEGA_FIELD_NUMBER: _ClassVar[int]
    THETA_PER_DAY_FIELD_NUMBER: _ClassVar[int]
    UNDERLYING_FIELD_NUMBER: _ClassVar[int]
    delta: float
    gamma: float
    vega: float
    theta_per_day: float
    underlying: str
    def __init__(self, delta: _Optional[float] = ..., gamma: _Optional[float] = ..., vega: _Optional[float] = ..., theta_per_day: _Optional[float] = ..., underlying: _Optional[str] = ...) -> None: ...

class RequestOverrides(_message.Message):
    __slots__ = ("posture",)
    POSTURE_FIELD_NUMBER: _ClassVar[int]
    posture: _types_pb2.Posture
    def __init__(self, posture: _Optional[_Union[_types_pb2.Posture, str]] = ...) -> None: ...

class GetExpiryRequest(_message.Message):
    __slots__ = ("request_id", "rfq_id", "quote_id", "instrument", "legs", "side", "size", "counterparty", "desk", "dealers_asked", "price", "bid_price", "ask_price", "edge", "reference_price", "priced_at_utc_ns", "client_deadline_utc_ns", "venue_session", "overrides", "watch", "explain", "include_features", "watch_owner")
    REQUEST_ID_FIELD_NUMBER: _ClassVar[int]
    RFQ_ID_FIELD_NUMBER: _ClassVar[int]
    QUOTE_ID_FIELD_NUMBER: _ClassVar[int]
    INSTRUMENT_FIELD_NUMBER: _ClassVar[int]
    LEGS_FIELD_NUMBER: _ClassVar[int]
    SIDE_FIELD_NUMBER: _ClassVar[int]
    SIZE_FIELD_NUMBER: _ClassVar[int]
    COUNTERPARTY_FIELD_NUMBER: _ClassVar[int]
    DESK_FIELD_NUMBER: _ClassVar[int]
    DEALERS_ASKED_FIELD_NUMBER: _ClassVar[int]
    PRICE_FIELD_NUMBER: _ClassVar[int]
    BID_PRICE_FIELD_NUMBER: _ClassVar[int]
    ASK_PRICE_FIELD_NUMBER: _ClassVar[int]
    EDGE_FIELD_NUMBER: _ClassVar[int]
    REFERENCE_PRICE_FIELD_NUMBER: _ClassVar[int]
    PRICED_AT_UTC_NS_FIELD_NUMBER: _ClassVar[int]
    CLIENT_DEADLINE_UTC_NS_FIELD_NUMBER: _ClassVar[int]
    VENUE_SESSION_FIELD_NUMBER: _ClassVar[int]
    OVERRIDES_FIELD_NUMBER: _ClassVar[int]
    WATCH_FIELD_NUMBER: _ClassVar[int]
    EXPLAIN_FIELD_NUMBER: _ClassVar[int]
    INCLUDE_FEATURES_FIELD_NUMBER: _ClassVar[int]
    WATCH_OWNER_FIELD_NUMBER: _ClassVar[int]
    request_id: str
    rfq_id: str
    quote_id: str
    instrument: str
    legs: _containers.RepeatedCompositeFieldContainer[Leg]
    side: _types_pb2.Side
    size: _types_pb2.Size
    counterparty: str
    desk: str
    dealers_asked: int
    price: str
    bid_price: str
    ask_price: str
    edge: str
    reference_price: str
    priced_at_utc_ns: int
    client_deadline_utc_ns: int
    venue_session: str
    overrides: RequestOverrides
    watch: bool
    explain: bool
    include_features: bool
    watch_owner: str
    def __init__(self, request_id: _Optional[str] = ..., rfq_id: _Optional[str] = ..., quote_id: _Optional[str] = ..., instrument: _Optional[str] = ..., legs: _Optional[_Iterable[_Union[Leg, _Mapping]]] = ..., side: _Optional[_Union[_types_pb2.Side, str]] = ..., size: _Optional[_Union[_types_pb2.Size, _Mapping]] = ..., counterparty: _Optional[str] = ..., desk: _Optional[str] = ..., dealers_asked: _Optional[int] = ..., price: _Optional[str] = ..., bid_price: _Optional[str] = ..., ask_price: _Optional[str] = ..., edge: _Optional[str] = ..., reference_price: _Optional[str] = ..., priced_at_utc_ns: _Optional[int] = ..., client_deadline_utc_ns: _Optional[int] = ..., venue_session: _Optional[str] = ..., overrides: _Optional[_Union[RequestOverrides, _Mapping]] = ..., watch: bool = ..., explain: bool = ..., include_features: bool = ..., watch_owner: _Optional[str] = ...) -> None: ...

class Curve(_message.Message):
    __slots__ = ("horizon_ns", "p")
    HORIZON_NS_FIELD_NUMBER: _ClassVar[int]
    P_FIELD_NUMBER: _ClassVar[int]
    horizon_ns: _containers.RepeatedScalarFieldContainer[int]
    p: _containers.RepeatedScalarFieldContainer[float]
    def __init__(self, horizon_ns: _Optional[_Iterable[int]] = ..., p: _Optional[_Iterable[float]] = ...) -> None: ...

class Feature(_message.Message):
    __slots__ = ("name", "unit", "value")
    NAME_FIELD_NUMBER: _ClassVar[int]
    UNIT_FIELD_NUMBER: _ClassVar[int]
    VALUE_FIELD_NUMBER: _ClassVar[int]
    name: str
    unit: str
    value: float
    def __init__(self, name: _Optional[str] = ..., unit: _Optional[str] = ..., value: _Optional[float] = ...) -> None: ...

class LegExpiry(_message.Message):
    __slots__ = ("instrument", "side", "p_ref", "quality", "regime", "contribution", "decision_id", "h_price", "greeks", "reasons")
    INSTRUMENT_FIELD_NUMBER: _ClassVar[int]
    SIDE_FIELD_NUMBER: _ClassVar[int]
    P_REF_FIELD_NUMBER: _ClassVar[int]
    QUALITY_FIELD_NUMBER: _ClassVar[int]
    REGIME_FIELD_NUMBER: _ClassVar[int]
    CONTRIBUTION_FIELD_NUMBER: _ClassVar[int]
    DECISION_ID_FIELD_NUMBER: _ClassVar[int]
    H_PRICE_FIELD_NUMBER: _ClassVar[int]
    GREEKS_FIELD_NUMBER: _ClassVar[int]
    REASONS_FIELD_NUMBER: _ClassVar[int]
    instrument: str
    side: _types_pb2.Side
    p_ref: float
    quality: _types_pb2.Quality
    regime: _types_pb2.Regime
    contribution: float
    decision_id: str
    h_price: float
    greeks: Greeks
    reasons: _containers.RepeatedScalarFieldContainer[_types_pb2.Reason]
    def __init__(self, instrument: _Optional[str] = ..., side: _Optional[_Union[_types_pb2.Side, str]] = ..., p_ref: _Optional[float] = ..., quality: _Optional[_Union[_types_pb2.Quality, str]] = ..., regime: _Optional[_Union[_types_pb2.Regime, str]] = ..., contribution: _Optional[float] = ..., decision_id: _Optional[str] = ..., h_price: _Optional[float] = ..., greeks: _Optional[_Union[Greeks, _Mapping]] = ..., reasons: _Optional[_Iterable[_Union[_types_pb2.Reason, str]]] = ...) -> None: ...

class PackageExpiry(_message.Message):
    __slots__ = ("route", "legs", "p_lower", "h_price", "underlying", "net_delta", "residual_p_ref")
    ROUTE_FIELD_NUMBER: _ClassVar[int]
    LEGS_FIELD_NUMBER: _ClassVar[int]
    P_LOWER_FIELD_NUMBER: _ClassVar[int]
    H_PRICE_FIELD_NUMBER: _ClassVar[int]
    UNDERLYING_FIELD_NUMBER: _ClassVar[int]
    NET_DELTA_FIELD_NUMBER: _ClassVar[int]
    RESIDUAL_P_REF_FIELD_NUMBER: _ClassVar[int]
    route: PackageRoute
    legs: _containers.RepeatedCompositeFieldContainer[LegExpiry]
    p_lower: float
    h_price: float
    underlying: str
    net_delta: float
    residual_p_ref: float
    def __init__(self, route: _Optional[_Union[PackageRoute, str]] = ..., legs: _Optional[_Iterable[_Union[LegExpiry, _Mapping]]] = ..., p_lower: _Optional[float] = ..., h_price: _Optional[float] = ..., underlying: _Optional[str] = ..., net_delta: _Optional[float] = ..., residual_p_ref: _Optional[float] = ...) -> None: ...

class SideExpiry(_message.Message):
    __slots__ = ("side", "decision_id", "decision", "life_ns", "expiry_utc_ns", "reasons", "binding", "curve", "p_ref", "p_life", "h_ticks", "h_price", "edge_ticks", "alpha", "expected_value", "break_even_edge", "features", "moved_ticks", "venue_life_ns", "venue_expiry_utc_ns", "held_alpha", "package")
    SIDE_FIELD_NUMBER: _ClassVar[int]
    DECISION_ID_FIELD_NUMBER: _ClassVar[int]
    DECISION_FIELD_NUMBER: _ClassVar[int]
    LIFE_NS_FIELD_NUMBER: _ClassVar[int]
    EXPIRY_UTC_NS_FIELD_NUMBER: _ClassVar[int]
    REASONS_FIELD_NUMBER: _ClassVar[int]
    BINDING_FIELD_NUMBER: _ClassVar[int]
    CURVE_FIELD_NUMBER: _ClassVar[int]
    P_REF_FIELD_NUMBER: _ClassVar[int]
    P_LIFE_FIELD_NUMBER: _ClassVar[int]
    H_TICKS_FIELD_NUMBER: _ClassVar[int]
    H_PRICE_FIELD_NUMBER: _ClassVar[int]
    EDGE_TICKS_FIELD_NUMBER: _ClassVar[int]
    ALPHA_FIELD_NUMBER: _ClassVar[int]
    EXPECTED_VALUE_FIELD_NUMBER: _ClassVar[int]
    BREAK_EVEN_EDGE_FIELD_NUMBER: _ClassVar[int]
    FEATURES_FIELD_NUMBER: _ClassVar[int]
    MOVED_TICKS_FIELD_NUMBER: _ClassVar[int]
    VENUE_LIFE_NS_FIELD_NUMBER: _ClassVar[int]
    VENUE_EXPIRY_UTC_NS_FIELD_NUMBER: _ClassVar[int]
    HELD_ALPHA_FIELD_NUMBER: _ClassVar[int]
    PACKAGE_FIELD_NUMBER: _ClassVar[int]
    side: _types_pb2.Side
    decision_id: str
    decision: _types_pb2.Decision
    life_ns: int
    expiry_utc_ns: int
    reasons: _containers.RepeatedScalarFieldContainer[_types_pb2.Reason]
    binding: _containers.RepeatedScalarFieldContainer[_types_pb2.Constraint]
    curve: Curve
    p_ref: float
    p_life: float
    h_ticks: float
    h_price: float
    edge_ticks: float
    alpha: float
    expected_value: float
    break_even_edge: float
    features: _containers.RepeatedCompositeFieldContainer[Feature]
    moved_ticks: float
    venue_life_ns: int
    venue_expiry_utc_ns: int
    held_alpha: float
    package: PackageExpiry
    def __init__(self, side: _Optional[_Union[_types_pb2.Side, str]] = ..., decision_id: _Optional[str] = ..., decision: _Optional[_Union[_types_pb2.Decision, str]] = ..., life_ns: _Optional[int] = ..., expiry_utc_ns: _Optional[int] = ..., reasons: _Optional[_Iterable[_Union[_types_pb2.Reason, str]]] = ..., binding: _Optional[_Iterable[_Union[_types_pb2.Constraint, str]]] = ..., curve: _Optional[_Union[Curve, _Mapping]] = ..., p_ref: _Optional[float] = ..., p_life: _Optional[float] = ..., h_ticks: _Optional[float] = ..., h_price: _Optional[float] = ..., edge_ticks: _Optional[float] = ..., alpha: _Optional[float] = ..., expected_value: _Optional[float] = ..., break_even_edge: _Optional[float] = ..., features: _Optional[_Iterable[_Union[Feature, _Mapping]]] = ..., moved_ticks: _Optional[float] = ..., venue_life_ns: _Optional[int] = ..., venue_expiry_utc_ns: _Optional[int] = ..., held_alpha: _Optional[float] = ..., package: _Optional[_Union[PackageExpiry, _Mapping]] = ...) -> None: ...

class GetExpiryResponse(_message.Message):
    __slots__ = ("decision_id", "request_id", "decision", "life_ns", "expiry_utc_ns", "decided_at_utc_ns", "counted_from_utc_ns", "clock", "posture_requested", "posture_effective", "rule", "rule_index", "mode", "regime", "reasons", "binding", "curve", "p_ref", "p_life", "alpha", "h_ticks", "h_price", "edge_ticks", "reference_ticks", "reference_price", "sigma_ticks", "expected_value", "break_even_edge", "features", "quality", "data_age_ns", "model_digest", "model_revision", "schema_hash", "config_revision", "compute_ns", "sides", "life_without_watch_ns", "unjournaled", "moved_ticks", "actuation", "venue_life_ns", "venue_expiry_utc_ns", "explanations", "held_alpha", "watched", "watch_refusal", "package")
    DECISION_ID_FIELD_NUMBER: _ClassVar[int]
    REQUEST_ID_FIELD_NUMBER: _ClassVar[int]
    DECISION_FIELD_NUMBER: _ClassVar[int]
    LIFE_NS_FIELD_NUMBER: _ClassVar[int]
    EXPIRY_UTC_NS_FIELD_NUMBER: _ClassVar[int]
    DECIDED_AT_UTC_NS_FIELD_NUMBER: _ClassVar[int]
    COUNTED_FROM_UTC_NS_FIELD_NUMBER: _ClassVar[int]
    CLOCK_FIELD_NUMBER: _ClassVar[int]
    POSTURE_REQUESTED_FIELD_NUMBER: _ClassVar[int]
    POSTURE_EFFECTIVE_FIELD_NUMBER: _ClassVar[int]
    RULE_FIELD_NUMBER: _ClassVar[int]
    RULE_INDEX_FIELD_NUMBER: _ClassVar[int]
    MODE_FIELD_NUMBER: _ClassVar[int]
    REGIME_FIELD_NUMBER: _ClassVar[int]
    REASONS_FIELD_NUMBER: _ClassVar[int]
    BINDING_FIELD_NUMBER: _ClassVar[int]
    CURVE_FIELD_NUMBER: _ClassVar[int]
    P_REF_FIELD_NUMBER: _ClassVar[int]
    P_LIFE_FIELD_NUMBER: _ClassVar[int]
    ALPHA_FIELD_NUMBER: _ClassVar[int]
    H_TICKS_FIELD_NUMBER: _ClassVar[int]
    H_PRICE_FIELD_NUMBER: _ClassVar[int]
    EDGE_TICKS_FIELD_NUMBER: _ClassVar[int]
    REFERENCE_TICKS_FIELD_NUMBER: _ClassVar[int]
    REFERENCE_PRICE_FIELD_NUMBER: _ClassVar[int]
    SIGMA_TICKS_FIELD_NUMBER: _ClassVar[int]
    EXPECTED_VALUE_FIELD_NUMBER: _ClassVar[int]
    BREAK_EVEN_EDGE_FIELD_NUMBER: _ClassVar[int]
    FEATURES_FIELD_NUMBER: _ClassVar[int]
    QUALITY_FIELD_NUMBER: _ClassVar[int]
    DATA_AGE_NS_FIELD_NUMBER: _ClassVar[int]
    MODEL_DIGEST_FIELD_NUMBER: _ClassVar[int]
    MODEL_REVISION_FIELD_NUMBER: _ClassVar[int]
    SCHEMA_HASH_FIELD_NUMBER: _ClassVar[int]
    CONFIG_REVISION_FIELD_NUMBER: _ClassVar[int]
    COMPUTE_NS_FIELD_NUMBER: _ClassVar[int]
    SIDES_FIELD_NUMBER: _ClassVar[int]
    LIFE_WITHOUT_WATCH_NS_FIELD_NUMBER: _ClassVar[int]
    UNJOURNALED_FIELD_NUMBER: _ClassVar[int]
    MOVED_TICKS_FIELD_NUMBER: _ClassVar[int]
    ACTUATION_FIELD_NUMBER: _ClassVar[int]
    VENUE_LIFE_NS_FIELD_NUMBER: _ClassVar[int]
    VENUE_EXPIRY_UTC_NS_FIELD_NUMBER: _ClassVar[int]
    EXPLANATIONS_FIELD_NUMBER: _ClassVar[int]
    HELD_ALPHA_FIELD_NUMBER: _ClassVar[int]
    WATCHED_FIELD_NUMBER: _ClassVar[int]
    WATCH_REFUSAL_FIELD_NUMBER: _ClassVar[int]
    PACKAGE_FIELD_NUMBER: _ClassVar[int]
    decision_id: str
    request_id: str
    decision: _types_pb2.Decision
    life_ns: int
    expiry_utc_ns: int
    decided_at_utc_ns: int
    counted_from_utc_ns: int
    clock: Clock
    posture_requested: _types_pb2.Posture
    posture_effective: _types_pb2.Posture
    rule: _types_pb2.Rule
    rule_index: int
    mode: _types_pb2.Mode
    regime: _types_pb2.Regime
    reasons: _containers.RepeatedScalarFieldContainer[_types_pb2.Reason]
    binding: _containers.RepeatedScalarFieldContainer[_types_pb2.Constraint]
    curve: Curve
    p_ref: float
    p_life: float
    alpha: float
    h_ticks: float
    h_price: float
    edge_ticks: float
    reference_ticks: float
    reference_price: float
    sigma_ticks: float
    expected_value: float
    break_even_edge: float
    features: _containers.RepeatedCompositeFieldContainer[Feature]
    quality: _types_pb2.Quality
    data_age_ns: int
    model_digest: str
    model_revision: int
    schema_hash: str
    config_revision: int
    compute_ns: int
    sides: _containers.RepeatedCompositeFieldContainer[SideExpiry]
    life_without_watch_ns: int
    unjournaled: bool
    moved_ticks: float
    actuation: _types_pb2.Actuation
    venue_life_ns: int
    venue_expiry_utc_ns: int
    explanations: _containers.RepeatedCompositeFieldContainer[Explanation]
    held_alpha: float
    watched: bool
    watch_refusal: WatchRefusal
    package: PackageExpiry
    def __init__(self, decision_id: _Optional[str] = ..., request_id: _Optional[str] = ..., decision: _Optional[_Union[_types_pb2.Decision, str]] = ..., life_ns: _Optional[int] = ..., expiry_utc_ns: _Optional[int] = ..., decided_at_utc_ns: _Optional[int] = ..., counted_from_utc_ns: _Optional[int] = ..., clock: _Optional[_Union[Clock, str]] = ..., posture_requested: _Optional[_Union[_types_pb2.Posture, str]] = ..., posture_effective: _Optional[_Union[_types_pb2.Posture, str]] = ..., rule: _Optional[_Union[_types_pb2.Rule, str]] = ..., rule_index: _Optional[int] = ..., mode: _Optional[_Union[_types_pb2.Mode, str]] = ..., regime: _Optional[_Union[_types_pb2.Regime, str]] = ..., reasons: _Optional[_Iterable[_Union[_types_pb2.Reason, str]]] = ..., binding: _Optional[_Iterable[_Union[_types_pb2.Constraint, str]]] = ..., curve: _Optional[_Union[Curve, _Mapping]] = ..., p_ref: _Optional[float] = ..., p_life: _Optional[float] = ..., alpha: _Optional[float] = ..., h_ticks: _Optional[float] = ..., h_price: _Optional[float] = ..., edge_ticks: _Optional[float] = ..., reference_ticks: _Optional[float] = ..., reference_price: _Optional[float] = ..., sigma_ticks: _Optional[float] = ..., expected_value: _Optional[float] = ..., break_even_edge: _Optional[float] = ..., features: _Optional[_Iterable[_Union[Feature, _Mapping]]] = ..., quality: _Optional[_Union[_types_pb2.Quality, str]] = ..., data_age_ns: _Optional[int] = ..., model_digest: _Optional[str] = ..., model_revision: _Optional[int] = ..., schema_hash: _Optional[str] = ..., config_revision: _Optional[int] = ..., compute_ns: _Optional[int] = ..., sides: _Optional[_Iterable[_Union[SideExpiry, _Mapping]]] = ..., life_without_watch_ns: _Optional[int] = ..., unjournaled: bool = ..., moved_ticks: _Optional[float] = ..., actuation: _Optional[_Union[_types_pb2.Actuation, str]] = ..., venue_life_ns: _Optional[int] = ..., venue_expiry_utc_ns: _Optional[int] = ..., explanations: _Optional[_Iterable[_Union[Explanation, _Mapping]]] = ..., held_alpha: _Optional[float] = ..., watched: bool = ..., watch_refusal: _Optional[_Union[WatchRefusal, str]] = ..., package: _Optional[_Union[PackageExpiry, _Mapping]] = ...) -> None: ...

class BatchGetExpiryRequest(_message.Message):
    __slots__ = ("requests",)
    REQUESTS_FIELD_NUMBER: _ClassVar[int]
    requests: _containers.RepeatedCompositeFieldContainer[GetExpiryRequest]
    def __init__(self, requests: _Optional[_Iterable[_Union[GetExpiryRequest, _Mapping]]] = ...) -> None: ...

class BatchGetExpiryResponse(_message.Message):
    __slots__ = ("results",)
    RESULTS_FIELD_NUMBER: _ClassVar[int]
    results: _containers.RepeatedCompositeFieldContainer[ExpiryResult]
    def __init__(self, results: _Optional[_Iterable[_Union[ExpiryResult, _Mapping]]] = ...) -> None: ...

class ExpiryResult(_message.Message):
    __slots__ = ("response", "fault")
    RESPONSE_FIELD_NUMBER: _ClassVar[int]
    FAULT_FIELD_NUMBER: _ClassVar[int]
    response: GetExpiryResponse
    fault: RequestFault
    def __init__(self, response: _Optional[_Union[GetExpiryResponse, _Mapping]] = ..., fault: _Optional[_Union[RequestFault, _Mapping]] = ...) -> None: ...

class RequestFault(_message.Message):
    __slots__ = ("code", "message", "fields")
    CODE_FIELD_NUMBER: _ClassVar[int]
    MESSAGE_FIELD_NUMBER: _ClassVar[int]
    FIELDS_FIELD_NUMBER: _ClassVar[int]
    code: int
    message: str
    fields: _containers.RepeatedCompositeFieldContainer[FieldFault]
    def __init__(self, code: _Optional[int] = ..., message: _Optional[str] = ..., fields: _Optional[_Iterable[_Union[FieldFault, _Mapping]]] = ...) -> None: ...

class FieldFault(_message.Message):
    __slots__ = ("field", "description")
    FIELD_FIELD_NUMBER: _ClassVar[int]
    DESCRIPTION_FIELD_NUMBER: _ClassVar[int]
    field: str
    description: str
    def __init__(self, field: _Optional[str] = ..., description: _Optional[str] = ...) -> None: ...

class StreamExpiryRequest(_message.Message):
    __slots__ = ("tag", "request")
    TAG_FIELD_NUMBER: _ClassVar[int]
    REQUEST_FIELD_NUMBER: _ClassVar[int]
    tag: int
    request: GetExpiryRequest
    def __init__(self, tag: _Optional[int] = ..., request: _Optional[_Union[GetExpiryRequest, _Mapping]] = ...) -> None: ...

class StreamExpiryResponse(_message.Message):
    __slots__ = ("tag", "result")
    TAG_FIELD_NUMBER: _ClassVar[int]
    RESULT_FIELD_NUMBER: _ClassVar[int]
    tag: int
    result: ExpiryResult
    def __init__(self, tag: _Optional[int] = ..., result: _Optional[_Union[ExpiryResult, _Mapping]] = ...) -> None: ...

class WatchQuotesRequest(_message.Message):
    __slots__ = ("register", "acknowledge", "update", "heartbeat", "open", "batch")
    REGISTER_FIELD_NUMBER: _ClassVar[int]
    ACKNOWLEDGE_FIELD_NUMBER: _ClassVar[int]
    UPDATE_FIELD_NUMBER: _ClassVar[int]
    HEARTBEAT_FIELD_NUMBER: _ClassVar[int]
    OPEN_FIELD_NUMBER: _ClassVar[int]
    BATCH_FIELD_NUMBER: _ClassVar[int]
    register: WatchRegister
    acknowledge: WatchAcknowledge
    update: WatchUpdate
    heartbeat: WatchHeartbeat
    open: WatchOpen
    batch: WatchRequests
    def __init__(self, register: _Optional[_Union[WatchRegister, _Mapping]] = ..., acknowledge: _Optional[_Union[WatchAcknowledge, _Mapping]] = ..., update: _Optional[_Union[WatchUpdate, _Mapping]] = ..., heartbeat: _Optional[_Union[WatchHeartbeat, _Mapping]] = ..., open: _Optional[_Union[WatchOpen, _Mapping]] = ..., batch: _Optional[_Union[WatchRequests, _Mapping]] = ...) -> None: ...

class WatchRequests(_message.Message):
    __slots__ = ("messages",)
    MESSAGES_FIELD_NUMBER: _ClassVar[int]
    messages: _containers.RepeatedCompositeFieldContainer[WatchQuotesRequest]
    def __init__(self, messages: _Optional[_Iterable[_Union[WatchQuotesRequest, _Mapping]]] = ...) -> None: ...

class WatchOpen(_message.Message):
    __slots__ = ("owner", "heartbeat_interval_ns", "resume", "lease_ns")
    OWNER_FIELD_NUMBER: _ClassVar[int]
    HEARTBEAT_INTERVAL_NS_FIELD_NUMBER: _ClassVar[int]
    RESUME_FIELD_NUMBER: _ClassVar[int]
    LEASE_NS_FIELD_NUMBER: _ClassVar[int]
    owner: str
    heartbeat_interval_ns: int
    resume: bool
    lease_ns: int
    def __init__(self, owner: _Optional[str] = ..., heartbeat_interval_ns: _Optional[int] = ..., resume: bool = ..., lease_ns: _Optional[int] = ...) -> None: ...

class WatchRegister(_message.Message):
    __slots__ = ("quote_id", "decision_id", "quote", "sent_at_utc_ns")
    QUOTE_ID_FIELD_NUMBER: _ClassVar[int]
    DECISION_ID_FIELD_NUMBER: _ClassVar[int]
    QUOTE_FIELD_NUMBER: _ClassVar[int]
    SENT_AT_UTC_NS_FIELD_NUMBER: _ClassVar[int]
    quote_id: str
    decision_id: str
    quote: GetExpiryRequest
    sent_at_utc_ns: int
    def __init__(self, quote_id: _Optional[str] = ..., decision_id: _Optional[str] = ..., quote: _Optional[_Union[GetExpiryRequest, _Mapping]] = ..., sent_at_utc_ns: _Optional[int] = ...) -> None: ...

class WatchAcknowledge(_message.Message):
    __slots__ = ("quote_id", "sequence")
    QUOTE_ID_FIELD_NUMBER: _ClassVar[int]
    SEQUENCE_FIELD_NUMBER: _ClassVar[int]
    quote_id: str
    sequence: int
    def __init__(self, quote_id: _Optional[str] = ..., sequence: _Optional[int] = ...) -> None: ...

class WatchUpdate(_message.Message):
    __slots__ = ("quote_id", "state", "remaining", "at_utc_ns")
    QUOTE_ID_FIELD_NUMBER: _ClassVar[int]
    STATE_FIELD_NUMBER: _ClassVar[int]
    REMAINING_FIELD_NUMBER: _ClassVar[int]
    AT_UTC_NS_FIELD_NUMBER: _ClassVar[int]
    quote_id: str
    state: QuoteState
    remaining: _types_pb2.Size
    at_utc_ns: int
    def __init__(self, quote_id: _Optional[str] = ..., state: _Optional[_Union[QuoteState, str]] = ..., remaining: _Optional[_Union[_types_pb2.Size, _Mapping]] = ..., at_utc_ns: _Optional[int] = ...) -> None: ...

class WatchHeartbeat(_message.Message):
    __slots__ = ("at_utc_ns", "interval_ns", "sequence")
    AT_UTC_NS_FIELD_NUMBER: _ClassVar[int]
    INTERVAL_NS_FIELD_NUMBER: _ClassVar[int]
    SEQUENCE_FIELD_NUMBER: _ClassVar[int]
    at_utc_ns: int
    interval_ns: int
    sequence: int
    def __init__(self, at_utc_ns: _Optional[int] = ..., interval_ns: _Optional[int] = ..., sequence: _Optional[int] = ...) -> None: ...

class WatchQuotesResponse(_message.Message):
    __slots__ = ("sequence", "registered", "withdraw", "expired", "requote_hint", "heartbeat", "opened", "resumed", "refused", "batch")
    SEQUENCE_FIELD_NUMBER: _ClassVar[int]
    REGISTERED_FIELD_NUMBER: _ClassVar[int]
    WITHDRAW_FIELD_NUMBER: _ClassVar[int]
    EXPIRED_FIELD_NUMBER: _ClassVar[int]
    REQUOTE_HINT_FIELD_NUMBER: _ClassVar[int]
    HEARTBEAT_FIELD_NUMBER: _ClassVar[int]
    OPENED_FIELD_NUMBER: _ClassVar[int]
    RESUMED_FIELD_NUMBER: _ClassVar[int]
    REFUSED_FIELD_NUMBER: _ClassVar[int]
    BATCH_FIELD_NUMBER: _ClassVar[int]
    sequence: int
    registered: WatchRegistered
    withdraw: WatchWithdraw
    expired: WatchExpired
    requote_hint: WatchRequoteHint
    heartbeat: WatchHeartbeat
    opened: WatchOpened
    resumed: WatchResumed
    refused: WatchRefused
    batch: WatchResponses
    def __init__(self, sequence: _Optional[int] = ..., registered: _Optional[_Union[WatchRegistered, _Mapping]] = ..., withdraw: _Optional[_Union[WatchWithdraw, _Mapping]] = ..., expired: _Optional[_Union[WatchExpired, _Mapping]] = ..., requote_hint: _Optional[_Union[WatchRequoteHint, _Mapping]] = ..., heartbeat: _Optional[_Union[WatchHeartbeat, _Mapping]] = ..., opened: _Optional[_Union[WatchOpened, _Mapping]] = ..., resumed: _Optional[_Union[WatchResumed, _Mapping]] = ..., refused: _Optional[_Union[WatchRefused, _Mapping]] = ..., batch: _Optional[_Union[WatchResponses, _Mapping]] = ...) -> None: ...

class WatchResponses(_message.Message):
    __slots__ = ("messages",)
    MESSAGES_FIELD_NUMBER: _ClassVar[int]
    messages: _containers.RepeatedCompositeFieldContainer[WatchQuotesResponse]
    def __init__(self, messages: _Optional[_Iterable[_Union[WatchQuotesResponse, _Mapping]]] = ...) -> None: ...

class WatchOpened(_message.Message):
    __slots__ = ("owner", "heartbeat_interval_ns", "silence_max_ns", "client_silence_max_ns", "repeat_interval_ns", "boot_id", "at_utc_ns", "lease_ns")
    OWNER_FIELD_NUMBER: _ClassVar[int]
    HEARTBEAT_INTERVAL_NS_FIELD_NUMBER: _ClassVar[int]
    SILENCE_MAX_NS_FIELD_NUMBER: _ClassVar[int]
    CLIENT_SILENCE_MAX_NS_FIELD_NUMBER: _ClassVar[int]
    REPEAT_INTERVAL_NS_FIELD_NUMBER: _ClassVar[int]
    BOOT_ID_FIELD_NUMBER: _ClassVar[int]
    AT_UTC_NS_FIELD_NUMBER: _ClassVar[int]
    LEASE_NS_FIELD_NUMBER: _ClassVar[int]
    owner: str
    heartbeat_interval_ns: int
    silence_max_ns: int
    client_silence_max_ns: int
    repeat_interval_ns: int
    boot_id: str
    at_utc_ns: int
    lease_ns: int
    def __init__(self, owner: _Optional[str] = ..., heartbeat_interval_ns: _Optional[int] = ..., silence_max_ns: _Optional[int] = ..., client_silence_max_ns: _Optional[int] = ..., repeat_interval_ns: _Optional[int] = ..., boot_id: _Optional[str] = ..., at_utc_ns: _Optional[int] = ..., lease_ns: _Optional[int] = ...) -> None: ...

class WatchResumed(_message.Message):
    __slots__ = ("quotes", "last")
    QUOTES_FIELD_NUMBER: _ClassVar[int]
    LAST_FIELD_NUMBER: _ClassVar[int]
    quotes: _containers.RepeatedCompositeFieldContainer[WatchRegistered]
    last: bool
    def __init__(self, quotes: _Optional[_Iterable[_Union[WatchRegistered, _Mapping]]] = ..., last: bool = ...) -> None: ...

class WatchRegistered(_message.Message):
    __slots__ = ("quote_id", "expiry_utc_ns", "unwatched_expiry_utc_ns", "response", "side", "actuation")
    QUOTE_ID_FIELD_NUMBER: _ClassVar[int]
    EXPIRY_UTC_NS_FIELD_NUMBER: _ClassVar[int]
    UNWATCHED_EXPIRY_UTC_NS_FIELD_NUMBER: _ClassVar[int]
    RESPONSE_FIELD_NUMBER: _ClassVar[int]
    SIDE_FIELD_NUMBER: _ClassVar[int]
    ACTUATION_FIELD_NUMBER: _ClassVar[int]
    quote_id: str
    expiry_utc_ns: int
    unwatched_expiry_utc_ns: int
    response: GetExpiryResponse
    side: _types_pb2.Side
    actuation: _types_pb2.Actuation
    def __init__(self, quote_id: _Optional[str] = ..., expiry_utc_ns: _Optional[int] = ..., unwatched_expiry_utc_ns: _Optional[int] = ..., response: _Optional[_Union[GetExpiryResponse, _Mapping]] = ..., side: _Optional[_Union[_types_pb2.Side, str]] = ..., actuation: _Optional[_Union[_types_pb2.Actuation, str]] = ...) -> None: ...

class WatchRefused(_message.Message):
    __slots__ = ("quote_id", "reason", "message", "fields", "response")
    QUOTE_ID_FIELD_NUMBER: _ClassVar[int]
    REASON_FIELD_NUMBER: _ClassVar[int]
    MESSAGE_FIELD_NUMBER: _ClassVar[int]
    FIELDS_FIELD_NUMBER: _ClassVar[int]
    RESPONSE_FIELD_NUMBER: _ClassVar[int]
    quote_id: str
    reason: WatchRefusal
    message: str
    fields: _containers.RepeatedCompositeFieldContainer[FieldFault]
    response: GetExpiryResponse
    def __init__(self, quote_id: _Optional[str] = ..., reason: _Optional[_Union[WatchRefusal, str]] = ..., message: _Optional[str] = ..., fields: _Optional[_Iterable[_Union[FieldFault, _Mapping]]] = ..., response: _Optional[_Union[GetExpiryResponse, _Mapping]] = ...) -> None: ...

class WatchWithdraw(_message.Message):
    __slots__ = ("quote_id", "reason", "decided_at_utc_ns", "number", "repeated_count", "instrument", "moved_ticks", "value_ticks", "expiry_utc_ns", "held_back")
    QUOTE_ID_FIELD_NUMBER: _ClassVar[int]
    REASON_FIELD_NUMBER: _ClassVar[int]
    DECIDED_AT_UTC_NS_FIELD_NUMBER: _ClassVar[int]
    NUMBER_FIELD_NUMBER: _ClassVar[int]
    REPEATED_COUNT_FIELD_NUMBER: _ClassVar[int]
    INSTRUMENT_FIELD_NUMBER: _ClassVar[int]
    MOVED_TICKS_FIELD_NUMBER: _ClassVar[int]
    VALUE_TICKS_FIELD_NUMBER: _ClassVar[int]
    EXPIRY_UTC_NS_FIELD_NUMBER: _ClassVar[int]
    HELD_BACK_FIELD_NUMBER: _ClassVar[int]
    quote_id: str
    reason: WithdrawReason
    decided_at_utc_ns: int
    number: int
    repeated_count: int
    instrument: str
    moved_ticks: float
    value_ticks: float
    expiry_utc_ns: int
    held_back: bool
    def __init__(self, quote_id: _Optional[str] = ..., reason: _Optional[_Union[WithdrawReason, str]] = ..., decided_at_utc_ns: _Optional[int] = ..., number: _Optional[int] = ..., repeated_count: _Optional[int] = ..., instrument: _Optional[str] = ..., moved_ticks: _Optional[float] = ..., value_ticks: _Optional[float] = ..., expiry_utc_ns: _Optional[int] = ..., held_back: bool = ...) -> None: ...

class WatchExpired(_message.Message):
    __slots__ = ("quote_id", "at_utc_ns")
    QUOTE_ID_FIELD_NUMBER: _ClassVar[int]
    AT_UTC_NS_FIELD_NUMBER: _ClassVar[int]
    quote_id: str
    at_utc_ns: int
    def __init__(self, quote_id: _Optional[str] = ..., at_utc_ns: _Optional[int] = ...) -> None: ...

class WatchRequoteHint(_message.Message):
    __slots__ = ("quote_id", "life_ns", "at_utc_ns")
    QUOTE_ID_FIELD_NUMBER: _ClassVar[int]
    LIFE_NS_FIELD_NUMBER: _ClassVar[int]
    AT_UTC_NS_FIELD_NUMBER: _ClassVar[int]
    quote_id: str
    life_ns: int
    at_utc_ns: int
    def __init__(self, quote_id: _Optional[str] = ..., life_ns: _Optional[int] = ..., at_utc_ns: _Optional[int] = ...) -> None: ...

class Outcome(_message.Message):
    __slots__ = ("outcome_id", "decision_id", "quote_id", "kind", "at_utc_ns", "price", "size", "side")
    OUTCOME_ID_FIELD_NUMBER: _ClassVar[int]
    DECISION_ID_FIELD_NUMBER: _ClassVar[int]
    QUOTE_ID_FIELD_NUMBER: _ClassVar[int]
    KIND_FIELD_NUMBER: _ClassVar[int]
    AT_UTC_NS_FIELD_NUMBER: _ClassVar[int]
    PRICE_FIELD_NUMBER: _ClassVar[int]
    SIZE_FIELD_NUMBER: _ClassVar[int]
    SIDE_FIELD_NUMBER: _ClassVar[int]
    outcome_id: str
    decision_id: str
    quote_id: str
    kind: OutcomeKind
    at_utc_ns: int
    price: str
    size: _types_pb2.Size
    side: _types_pb2.Side
    def __init__(self, outcome_id: _Optional[str] = ..., decision_id: _Optional[str] = ..., quote_id: _Optional[str] = ..., kind: _Optional[_Union[OutcomeKind, str]] = ..., at_utc_ns: _Optional[int] = ..., price: _Optional[str] = ..., size: _Optional[_Union[_types_pb2.Size, _Mapping]] = ..., side: _Optional[_Union[_types_pb2.Side, str]] = ...) -> None: ...

class ReportOutcomeRequest(_message.Message):
    __slots__ = ("outcomes",)
    OUTCOMES_FIELD_NUMBER: _ClassVar[int]
    outcomes: _containers.RepeatedCompositeFieldContainer[Outcome]
    def __init__(self, outcomes: _Optional[_Iterable[_Union[Outcome, _Mapping]]] = ...) -> None: ...

class OutcomeRefusal(_message.Message):
    __slots__ = ("index", "outcome_id", "field", "reason")
    INDEX_FIELD_NUMBER: _ClassVar[int]
    OUTCOME_ID_FIELD_NUMBER: _ClassVar[int]
    FIELD_FIELD_NUMBER: _ClassVar[int]
    REASON_FIELD_NUMBER: _ClassVar[int]
    index: int
    outcome_id: str
    field: str
    reason: str
    def __init__(self, index: _Optional[int] = ..., outcome_id: _Optional[str] = ..., field: _Optional[str] = ..., reason: _Optional[str] = ...) -> None: ...

class ReportOutcomeResponse(_message.Message):
    __slots__ = ("accepted", "repeated_count", "refused")
    ACCEPTED_FIELD_NUMBER: _ClassVar[int]
    REPEATED_COUNT_FIELD_NUMBER: _ClassVar[int]
    REFUSED_FIELD_NUMBER: _ClassVar[int]
    accepted: int
    repeated_count: int
    refused: _containers.RepeatedCompositeFieldContainer[OutcomeRefusal]
    def __init__(self, accepted: _Optional[int] = ..., repeated_count: _Optional[int] = ..., refused: _Optional[_Iterable[_Union[OutcomeRefusal, _Mapping]]] = ...) -> None: ...

class ExplainDecisionRequest(_message.Message):
    __slots__ = ("decision_id",)
    DECISION_ID_FIELD_NUMBER: _ClassVar[int]
    decision_id: str
    def __init__(self, decision_id: _Optional[str] = ...) -> None: ...

class ExplainDecisionResponse(_message.Message):
    __slots__ = ("request", "response", "explanations", "labels", "watched", "outcomes")
    REQUEST_FIELD_NUMBER: _ClassVar[int]
    RESPONSE_FIELD_NUMBER: _ClassVar[int]
    EXPLANATIONS_FIELD_NUMBER: _ClassVar[int]
    LABELS_FIELD_NUMBER: _ClassVar[int]
    WATCHED_FIELD_NUMBER: _ClassVar[int]
    OUTCOMES_FIELD_NUMBER: _ClassVar[int]
    request: GetExpiryRequest
    response: GetExpiryResponse
    explanations: _containers.RepeatedCompositeFieldContainer[Explanation]
    labels: _containers.RepeatedCompositeFieldContainer[DecisionLabel]
    watched: WatchedQuote
    outcomes: _containers.RepeatedCompositeFieldContainer[ReportedOutcome]
    def __init__(self, request: _Optional[_Union[GetExpiryRequest, _Mapping]] = ..., response: _Optional[_Union[GetExpiryResponse, _Mapping]] = ..., explanations: _Optional[_Iterable[_Union[Explanation, _Mapping]]] = ..., labels: _Optional[_Iterable[_Union[DecisionLabel, _Mapping]]] = ..., watched: _Optional[_Union[WatchedQuote, _Mapping]] = ..., outcomes: _Optional[_Iterable[_Union[ReportedOutcome, _Mapping]]] = ...) -> None: ...

class WatchedEvent(_message.Message):
    __slots__ = ("kind", "at_utc_ns", "reason", "state", "number", "moved_ticks", "value_ticks", "life_ns", "held_back", "size_lots")
    KIND_FIELD_NUMBER: _ClassVar[int]
    AT_UTC_NS_FIELD_NUMBER: _ClassVar[int]
    REASON_FIELD_NUMBER: _ClassVar[int]
    STATE_FIELD_NUMBER: _ClassVar[int]
    NUMBER_FIELD_NUMBER: _ClassVar[int]
    MOVED_TICKS_FIELD_NUMBER: _ClassVar[int]
    VALUE_TICKS_FIELD_NUMBER: _ClassVar[int]
    LIFE_NS_FIELD_NUMBER: _ClassVar[int]
    HELD_BACK_FIELD_NUMBER: _ClassVar[int]
    SIZE_LOTS_FIELD_NUMBER: _ClassVar[int]
    kind: WatchedEventKind
    at_utc_ns: int
    reason: WithdrawReason
    state: QuoteState
    number: int
    moved_ticks: float
    value_ticks: float
    life_ns: int
    held_back: bool
    size_lots: float
    def __init__(self, kind: _Optional[_Union[WatchedEventKind, str]] = ..., at_utc_ns: _Optional[int] = ..., reason: _Optional[_Union[WithdrawReason, str]] = ..., state: _Optional[_Union[QuoteState, str]] = ..., number: _Optional[int] = ..., moved_ticks: _Optional[float] = ..., value_ticks: _Optional[float] = ..., life_ns: _Optional[int] = ..., held_back: bool = ..., size_lots: _Optional[float] = ...) -> None: ...

class WatchedQuote(_message.Message):
    __slots__ = ("owner", "quote_id", "decision_ids", "registered_at_utc_ns", "expiry_utc_ns", "unwatched_expiry_utc_ns", "size_lots", "events", "incomplete")
    OWNER_FIELD_NUMBER: _ClassVar[int]
    QUOTE_ID_FIELD_NUMBER: _ClassVar[int]
    DECISION_IDS_FIELD_NUMBER: _ClassVar[int]
    REGISTERED_AT_UTC_NS_FIELD_NUMBER: _ClassVar[int]
    EXPIRY_UTC_NS_FIELD_NUMBER: _ClassVar[int]
    UNWATCHED_EXPIRY_UTC_NS_FIELD_NUMBER: _ClassVar[int]
    SIZE_LOTS_FIELD_NUMBER: _ClassVar[int]
    EVENTS_FIELD_NUMBER: _ClassVar[int]
    INCOMPLETE_FIELD_NUMBER: _ClassVar[int]
    owner: str
    quote_id: str
    decision_ids: _containers.RepeatedScalarFieldContainer[str]
    registered_at_utc_ns: int
    expiry_utc_ns: int
    unwatched_expiry_utc_ns: int
    size_lots: float
    events: _containers.RepeatedCompositeFieldContainer[WatchedEvent]
    incomplete: bool
    def __init__(self, owner: _Optional[str] = ..., quote_id: _Optional[str] = ..., decision_ids: _Optional[_Iterable[str]] = ..., registered_at_utc_ns: _Optional[int] = ..., expiry_utc_ns: _Optional[int] = ..., unwatched_expiry_utc_ns: _Optional[int] = ..., size_lots: _Optional[float] = ..., events: _Optional[_Iterable[_Union[WatchedEvent, _Mapping]]] = ..., incomplete: bool = ...) -> None: ...

class ReportedOutcome(_message.Message):
    __slots__ = ("outcome_id", "decision_id", "kind", "at_utc_ns", "reported_at_utc_ns", "age_ns", "price_ticks", "traded_lots", "counted")
    OUTCOME_ID_FIELD_NUMBER: _ClassVar[int]
    DECISION_ID_FIELD_NUMBER: _ClassVar[int]
    KIND_FIELD_NUMBER: _ClassVar[int]
    AT_UTC_NS_FIELD_NUMBER: _ClassVar[int]
    REPORTED_AT_UTC_NS_FIELD_NUMBER: _ClassVar[int]
    AGE_NS_FIELD_NUMBER: _ClassVar[int]
    PRICE_TICKS_FIELD_NUMBER: _ClassVar[int]
    TRADED_LOTS_FIELD_NUMBER: _ClassVar[int]
    COUNTED_FIELD_NUMBER: _ClassVar[int]
    outcome_id: str
    decision_id: str
    kind: OutcomeKind
    at_utc_ns: int
    reported_at_utc_ns: int
    age_ns: int
    price_ticks: float
    traded_lots: float
    counted: bool
    def __init__(self, outcome_id: _Optional[str] = ..., decision_id: _Optional[str] = ..., kind: _Optional[_Union[OutcomeKind, str]] = ..., at_utc_ns: _Optional[int] = ..., reported_at_utc_ns: _Optional[int] = ..., age_ns: _Optional[int] = ..., price_ticks: _Optional[float] = ..., traded_lots: _Optional[float] = ..., counted: bool = ...) -> None: ...

class DecisionLabel(_message.Message):
    __slots__ = ("decision_id", "horizon_ns", "life", "passed", "passage_ns", "at_utc_ns", "p", "moved", "held_alpha", "account")
    DECISION_ID_FIELD_NUMBER: _ClassVar[int]
    HORIZON_NS_FIELD_NUMBER: _ClassVar[int]
    LIFE_FIELD_NUMBER: _ClassVar[int]
    PASSED_FIELD_NUMBER: _ClassVar[int]
    PASSAGE_NS_FIELD_NUMBER: _ClassVar[int]
    AT_UTC_NS_FIELD_NUMBER: _ClassVar[int]
    P_FIELD_NUMBER: _ClassVar[int]
    MOVED_FIELD_NUMBER: _ClassVar[int]
    HELD_ALPHA_FIELD_NUMBER: _ClassVar[int]
    ACCOUNT_FIELD_NUMBER: _ClassVar[int]
    decision_id: str
    horizon_ns: int
    life: bool
    passed: bool
    passage_ns: int
    at_utc_ns: int
    p: float
    moved: float
    held_alpha: float
    account: float
    def __init__(self, decision_id: _Optional[str] = ..., horizon_ns: _Optional[int] = ..., life: bool = ..., passed: bool = ..., passage_ns: _Optional[int] = ..., at_utc_ns: _Optional[int] = ..., p: _Optional[float] = ..., moved: _Optional[float] = ..., held_alpha: _Optional[float] = ..., account: _Optional[float] = ...) -> None: ...

class Explanation(_message.Message):
    __slots__ = ("decision_id", "side", "contributions", "baseline_logit", "rule_path", "constraints", "risks", "summary", "logit", "left_over", "features", "verified", "verification", "config_digest", "model_kind", "model_name", "risk_sum", "model_digest", "config_revision", "model_revision", "schema_hash", "curve", "held_alpha")
    DECISION_ID_FIELD_NUMBER: _ClassVar[int]
    SIDE_FIELD_NUMBER: _ClassVar[int]
    CONTRIBUTIONS_FIELD_NUMBER: _ClassVar[int]
    BASELINE_LOGIT_FIELD_NUMBER: _ClassVar[int]
    RULE_PATH_FIELD_NUMBER: _ClassVar[int]
    CONSTRAINTS_FIELD_NUMBER: _ClassVar[int]
    RISKS_FIELD_NUMBER: _ClassVar[int]
    SUMMARY_FIELD_NUMBER: _ClassVar[int]
    LOGIT_FIELD_NUMBER: _ClassVar[int]
    LEFT_OVER_FIELD_NUMBER: _ClassVar[int]
    FEATURES_FIELD_NUMBER: _ClassVar[int]
    VERIFIED_FIELD_NUMBER: _ClassVar[int]
    VERIFICATION_FIELD_NUMBER: _ClassVar[int]
    CONFIG_DIGEST_FIELD_NUMBER: _ClassVar[int]
    MODEL_KIND_FIELD_NUMBER: _ClassVar[int]
    MODEL_NAME_FIELD_NUMBER: _ClassVar[int]
    RISK_SUM_FIELD_NUMBER: _ClassVar[int]
    MODEL_DIGEST_FIELD_NUMBER: _ClassVar[int]
    CONFIG_REVISION_FIELD_NUMBER: _ClassVar[int]
    MODEL_REVISION_FIELD_NUMBER: _ClassVar[int]
    SCHEMA_HASH_FIELD_NUMBER: _ClassVar[int]
    CURVE_FIELD_NUMBER: _ClassVar[int]
    HELD_ALPHA_FIELD_NUMBER: _ClassVar[int]
    decision_id: str
    side: _types_pb2.Side
    contributions: _containers.RepeatedCompositeFieldContainer[Contribution]
    baseline_logit: float
    rule_path: _containers.RepeatedCompositeFieldContainer[RuleStep]
    constraints: _containers.RepeatedCompositeFieldContainer[ConstraintStep]
    risks: _containers.RepeatedCompositeFieldContainer[RiskStep]
    summary: str
    logit: float
    left_over: float
    features: _containers.RepeatedCompositeFieldContainer[Feature]
    verified: bool
    verification: str
    config_digest: str
    model_kind: str
    model_name: str
    risk_sum: float
    model_digest: str
    config_revision: int
    model_revision: int
    schema_hash: str
    curve: Curve
    held_alpha: float
    def __init__(self, decision_id: _Optional[str] = ..., side: _Optional[_Union[_types_pb2.Side, str]] = ..., contributions: _Optional[_Iterable[_Union[Contribution, _Mapping]]] = ..., baseline_logit: _Optional[float] = ..., rule_path: _Optional[_Iterable[_Union[RuleStep, _Mapping]]] = ..., constraints: _Optional[_Iterable[_Union[ConstraintStep, _Mapping]]] = ..., risks: _Optional[_Iterable[_Union[RiskStep, _Mapping]]] = ..., summary: _Optional[str] = ..., logit: _Optional[float] = ..., left_over: _Optional[float] = ..., features: _Optional[_Iterable[_Union[Feature, _Mapping]]] = ..., verified: bool = ..., verification: _Optional[str] = ..., config_digest: _Optional[str] = ..., model_kind: _Optional[str] = ..., model_name: _Optional[str] = ..., risk_sum: _Optional[float] = ..., model_digest: _Optional[str] = ..., config_revision: _Optional[int] = ..., model_revision: _Optional[int] = ..., schema_hash: _Optional[str] = ..., curve: _Optional[_Union[Curve, _Mapping]] = ..., held_alpha: _Optional[float] = ...) -> None: ...

class Contribution(_message.Message):
    __slots__ = ("feature", "logit", "value", "unit", "reference")
    FEATURE_FIELD_NUMBER: _ClassVar[int]
    LOGIT_FIELD_NUMBER: _ClassVar[int]
    VALUE_FIELD_NUMBER: _ClassVar[int]
    UNIT_FIELD_NUMBER: _ClassVar[int]
    REFERENCE_FIELD_NUMBER: _ClassVar[int]
    feature: str
    logit: float
    value: float
    unit: str
    reference: float
    def __init__(self, feature: _Optional[str] = ..., logit: _Optional[float] = ..., value: _Optional[float] = ..., unit: _Optional[str] = ..., reference: _Optional[float] = ...) -> None: ...

class ConstraintStep(_message.Message):
    __slots__ = ("constraint", "life_ns", "binding", "next", "detail")
    CONSTRAINT_FIELD_NUMBER: _ClassVar[int]
    LIFE_NS_FIELD_NUMBER: _ClassVar[int]
    BINDING_FIELD_NUMBER: _ClassVar[int]
    NEXT_FIELD_NUMBER: _ClassVar[int]
    DETAIL_FIELD_NUMBER: _ClassVar[int]
    constraint: _types_pb2.Constraint
    life_ns: int
    binding: bool
    next: bool
    detail: str
    def __init__(self, constraint: _Optional[_Union[_types_pb2.Constraint, str]] = ..., life_ns: _Optional[int] = ..., binding: bool = ..., next: bool = ..., detail: _Optional[str] = ...) -> None: ...

class RiskStep(_message.Message):
    __slots__ = ("input", "score", "weight")
    INPUT_FIELD_NUMBER: _ClassVar[int]
    SCORE_FIELD_NUMBER: _ClassVar[int]
    WEIGHT_FIELD_NUMBER: _ClassVar[int]
    input: str
    score: float
    weight: float
    def __init__(self, input: _Optional[str] = ..., score: _Optional[float] = ..., weight: _Optional[float] = ...) -> None: ...

class RuleStep(_message.Message):
    __slots__ = ("rule", "applied", "detail", "posture")
    RULE_FIELD_NUMBER: _ClassVar[int]
    APPLIED_FIELD_NUMBER: _ClassVar[int]
    DETAIL_FIELD_NUMBER: _ClassVar[int]
    POSTURE_FIELD_NUMBER: _ClassVar[int]
    rule: _types_pb2.Rule
    applied: bool
    detail: str
    posture: _types_pb2.Posture
    def __init__(self, rule: _Optional[_Union[_types_pb2.Rule, str]] = ..., applied: bool = ..., detail: _Optional[str] = ..., posture: _Optional[_Union[_types_pb2.Posture, str]] = ...) -> None: ...
