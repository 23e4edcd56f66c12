from quote_expiry.v1 import quote_expiry_service_pb2 as _quote_expiry_service_pb2
from quote_expiry.v1 import signal_service_pb2 as _signal_service_pb2
from quote_expiry.v1 import types_pb2 as _types_pb2
from google.protobuf.internal import containers as _containers
from google.protobuf.internal import enum_type_wrapper as _enum_type_wrapper
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from typing import ClassVar as _ClassVar, Iterable as _Iterable, Mapping as _Mapping, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class ServiceState(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    SERVICE_STATE_UNSPECIFIED: _ClassVar[ServiceState]
    SERVICE_STATE_STARTING: _ClassVar[ServiceState]
    SERVICE_STATE_SERVING: _ClassVar[ServiceState]
    SERVICE_STATE_DRAINING: _ClassVar[ServiceState]
    SERVICE_STATE_KILLED: _ClassVar[ServiceState]

class MonitorLevel(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    MONITOR_LEVEL_UNSPECIFIED: _ClassVar[MonitorLevel]
    MONITOR_LEVEL_WELL: _ClassVar[MonitorLevel]
    MONITOR_LEVEL_WARNED: _ClassVar[MonitorLevel]
    MONITOR_LEVEL_DEGRADED: _ClassVar[MonitorLevel]
    MONITOR_LEVEL_WORST: _ClassVar[MonitorLevel]

class CalendarSource(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    CALENDAR_SOURCE_UNSPECIFIED: _ClassVar[CalendarSource]
    CALENDAR_SOURCE_PUBLISHED: _ClassVar[CalendarSource]
    CALENDAR_SOURCE_CONFIGURATION: _ClassVar[CalendarSource]

class KillSource(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    KILL_SOURCE_UNSPECIFIED: _ClassVar[KillSource]
    KILL_SOURCE_RPC: _ClassVar[KillSource]
    KILL_SOURCE_FILE: _ClassVar[KillSource]
    KILL_SOURCE_THROTTLE: _ClassVar[KillSource]

class ModelChangeKind(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    MODEL_CHANGE_KIND_UNSPECIFIED: _ClassVar[ModelChangeKind]
    MODEL_CHANGE_KIND_PROMOTION: _ClassVar[ModelChangeKind]
    MODEL_CHANGE_KIND_ROLLBACK: _ClassVar[ModelChangeKind]
    MODEL_CHANGE_KIND_CANARY: _ClassVar[ModelChangeKind]
    MODEL_CHANGE_KIND_CONFIGURATION: _ClassVar[ModelChangeKind]
SERVICE_STATE_UNSPECIFIED: ServiceState
SERVICE_STATE_STARTING: ServiceState
SERVICE_STATE_SERVING: ServiceState
SERVICE_STATE_DRAINING: ServiceState
SERVICE_STATE_KILLED: ServiceState
MONITOR_LEVEL_UNSPECIFIED: MonitorLevel
MONITOR_LEVEL_WELL: MonitorLevel
MONITOR_LEVEL_WARNED: MonitorLevel
MONITOR_LEVEL_DEGRADED: MonitorLevel
MONITOR_LEVEL_WORST: MonitorLevel
CALENDAR_SOURCE_UNSPECIFIED: CalendarSource
CALENDAR_SOURCE_PUBLISHED: CalendarSource
CALENDAR_SOURCE_CONFIGURATION: CalendarSource
KILL_SOURCE_UNSPECIFIED: KillSource
KILL_SOURCE_RPC: KillSource
KILL_SOURCE_FILE: KillSource
KILL_SOURCE_THROTTLE: KillSource
MODEL_CHANGE_KIND_UNSPECIFIED: ModelChangeKind
MODEL_CHANGE_KIND_PROMOTION: ModelChangeKind
MODEL_CHANGE_KIND_ROLLBACK: ModelChangeKind
MODEL_CHANGE_KIND_CANARY: ModelChangeKind
MODEL_CHANGE_KIND_CONFIGURATION: ModelChangeKind

class GetStatusRequest(_message.Message):
    __slots__ = ("instruments",)
    INSTRUMENTS_FIELD_NUMBER: _ClassVar[int]
    instruments: _containers.RepeatedScalarFieldContainer[str]
    def __init__(self, instruments: _Optional[_Iterable[str]] = ...) -> None: ...

class GetStatusResponse(_message.Message):
    __slots__ = ("state", "version", "boot_id", "now_utc_ns", "uptime_ns", "wall_offset_ns", "input_sequence", "in_flight", "config_revision", "config_problems", "model", "schema_hash", "instruments", "feeds", "restart_required", "kills", "alerts", "journal", "capture", "calendar", "model_failures", "groups", "labels", "shadows_lost", "labels_lost", "groups_unjudged", "groups_first_window", "watch", "exposures", "watches_lost", "inputs_lost")
    STATE_FIELD_NUMBER: _ClassVar[int]
    VERSION_FIELD_NUMBER: _ClassVar[int]
    BOOT_ID_FIELD_NUMBER: _ClassVar[int]
    NOW_UTC_NS_FIELD_NUMBER: _ClassVar[int]
    UPTIME_NS_FIELD_NUMBER: _ClassVar[int]
    WALL_OFFSET_NS_FIELD_NUMBER: _ClassVar[int]
    INPUT_SEQUENCE_FIELD_NUMBER: _ClassVar[int]
    IN_FLIGHT_FIELD_NUMBER: _ClassVar[int]
    CONFIG_REVISION_FIELD_NUMBER: _ClassVar[int]
    CONFIG_PROBLEMS_FIELD_NUMBER: _ClassVar[int]
    MODEL_FIELD_NUMBER: _ClassVar[int]
    SCHEMA_HASH_FIELD_NUMBER: _ClassVar[int]
    INSTRUMENTS_FIELD_NUMBER: _ClassVar[int]
    FEEDS_FIELD_NUMBER: _ClassVar[int]
    RESTART_REQUIRED_FIELD_NUMBER: _ClassVar[int]
    KILLS_FIELD_NUMBER: _ClassVar[int]
    ALERTS_FIELD_NUMBER: _ClassVar[int]
    JOURNAL_FIELD_NUMBER: _ClassVar[int]
    CAPTURE_FIELD_NUMBER: _ClassVar[int]
    CALENDAR_FIELD_NUMBER: _ClassVar[int]
    MODEL_FAILURES_FIELD_NUMBER: _ClassVar[int]
    GROUPS_FIELD_NUMBER: _ClassVar[int]
    LABELS_FIELD_NUMBER: _ClassVar[int]
    SHADOWS_LOST_FIELD_NUMBER: _ClassVar[int]
    LABELS_LOST_FIELD_NUMBER: _ClassVar[int]
    GROUPS_UNJUDGED_FIELD_NUMBER: _ClassVar[int]
    GROUPS_FIRST_WINDOW_FIELD_NUMBER: _ClassVar[int]
    WATCH_FIELD_NUMBER: _ClassVar[int]
    EXPOSURES_FIELD_NUMBER: _ClassVar[int]
    WATCHES_LOST_FIELD_NUMBER: _ClassVar[int]
    INPUTS_LOST_FIELD_NUMBER: _ClassVar[int]
    state: ServiceState
    version: str
    boot_id: str
    now_utc_ns: int
    uptime_ns: int
    wall_offset_ns: int
    input_sequence: int
    in_flight: int
    config_revision: int
    config_problems: _containers.RepeatedScalarFieldContainer[str]
    model: ModelStatus
    schema_hash: str
    instruments: _containers.RepeatedCompositeFieldContainer[InstrumentStatus]
    feeds: _containers.RepeatedCompositeFieldContainer[FeedStatus]
    restart_required: _containers.RepeatedScalarFieldContainer[str]
    kills: _containers.RepeatedCompositeFieldContainer[KillStatus]
    alerts: _containers.RepeatedCompositeFieldContainer[Alert]
    journal: JournalStatus
    capture: CaptureStatus
    calendar: _containers.RepeatedCompositeFieldContainer[CalendarStatus]
    model_failures: _containers.RepeatedCompositeFieldContainer[ModelFailure]
    groups: _containers.RepeatedCompositeFieldContainer[GroupStatus]
    labels: LabelCounts
    shadows_lost: int
    labels_lost: int
    groups_unjudged: int
    groups_first_window: int
    watch: WatchStatus
    exposures: _containers.RepeatedCompositeFieldContainer[ExposureStatus]
    watches_lost: int
    inputs_lost: int
    def __init__(self, state: _Optional[_Union[ServiceState, str]] = ..., version: _Optional[str] = ..., boot_id: _Optional[str] = ..., now_utc_ns: _Optional[int] = ..., uptime_ns: _Optional[int] = ..., wall_offset_ns: _Optional[int] = ..., input_sequence: _Optional[int] = ..., in_flight: _Optional[int] = ..., config_revision: _Optional[int] = ..., config_problems: _Optional[_Iterable[str]] = ..., model: _Optional[_Union[ModelStatus, _Mapping]] = ..., schema_hash: _Optional[str] = ..., instruments: _Optional[_Iterable[_Union[InstrumentStatus, _Mapping]]] = ..., feeds: _Optional[_Iterable[_Union[FeedStatus, _Mapping]]] = ..., restart_required: _Optional[_Iterable[str]] = ..., kills: _Optional[_Iterable[_Union[KillStatus, _Mapping]]] = ..., alerts: _Optional[_Iterable[_Union[Alert, _Mapping]]] = ..., journal: _Optional[_Union[JournalStatus, _Mapping]] = ..., capture: _Optional[_Union[CaptureStatus, _Mapping]] = ..., calendar: _Optional[_Iterable[_Union[CalendarStatus, _Mapping]]] = ..., model_failures: _Optional[_Iterable[_Union[ModelFailure, _Mapping]]] = ..., groups: _Optional[_Iterable[_Union[GroupStatus, _Mapping]]] = ..., labels: _Optional[_Union[LabelCounts, _Mapping]] = ..., shadows_lost: _Optional[int] = ..., labels_lost: _Optional[int] = ..., groups_unjudged: _Optional[int] = ..., groups_first_window: _Optional[int] = ..., watch: _Optional[_Union[WatchStatus, _Mapping]] = ..., exposures: _Optional[_Iterable[_Union[ExposureStatus, _Mapping]]] = ..., watches_lost: _Optional[int] = ..., inputs_lost: _Optional[int] = ...) -> None: ...

class ExposureStatus(_message.Message):
    __slots__ = ("instrument", "desk", "exposed", "exposure_max", "shortened", "declined")
    INSTRUMENT_FIELD_NUMBER: _ClassVar[int]
    DESK_FIELD_NUMBER: _ClassVar[int]
    EXPOSED_FIELD_NUMBER: _ClassVar[int]
    EXPOSURE_MAX_FIELD_NUMBER: _ClassVar[int]
    SHORTENED_FIELD_NUMBER: _ClassVar[int]
    DECLINED_FIELD_NUMBER: _ClassVar[int]
    instrument: str
    desk: str
    exposed: float
    exposure_max: float
    shortened: int
    declined: int
    def __init__(self, instrument: _Optional[str] = ..., desk: _Optional[str] = ..., exposed: _Optional[float] = ..., exposure_max: _Optional[float] = ..., shortened: _Optional[int] = ..., declined: _Optional[int] = ...) -> None: ...

class WatchStatus(_message.Message):
    __slots__ = ("live", "known", "waiting", "unacknowledged", "registered", "withdrawn", "expired", "hints", "held_back", "repeats", "refused", "lost_streams", "slow_consumers", "streams", "awaited")
    LIVE_FIELD_NUMBER: _ClassVar[int]
    KNOWN_FIELD_NUMBER: _ClassVar[int]
    WAITING_FIELD_NUMBER: _ClassVar[int]
    UNACKNOWLEDGED_FIELD_NUMBER: _ClassVar[int]
    REGISTERED_FIELD_NUMBER: _ClassVar[int]
    WITHDRAWN_FIELD_NUMBER: _ClassVar[int]
    EXPIRED_FIELD_NUMBER: _ClassVar[int]
    HINTS_FIELD_NUMBER: _ClassVar[int]
    HELD_BACK_FIELD_NUMBER: _ClassVar[int]
    REPEATS_FIELD_NUMBER: _ClassVar[int]
    REFUSED_FIELD_NUMBER: _ClassVar[int]
    LOST_STREAMS_FIELD_NUMBER: _ClassVar[int]
    SLOW_CONSUMERS_FIELD_NUMBER: _ClassVar[int]
    STREAMS_FIELD_NUMBER: _ClassVar[int]
    AWAITED_FIELD_NUMBER: _ClassVar[int]
    live: int
    known: int
    waiting: int
    unacknowledged: int
    registered: int
    withdrawn: _containers.RepeatedCompositeFieldContainer[WithdrawnCount]
    expired: int
    hints: int
    held_back: int
    repeats: int
    refused: int
    lost_streams: int
    slow_consumers: int
    streams: _containers.RepeatedCompositeFieldContainer[WatchStreamStatus]
    awaited: int
    def __init__(self, live: _Optional[int] = ..., known: _Optional[int] = ..., waiting: _Optional[int] = ..., unacknowledged: _Optional[int] = ..., registered: _Optional[int] = ..., withdrawn: _Optional[_Iterable[_Union[WithdrawnCount, _Mapping]]] = ..., expired: _Optional[int] = ..., hints: _Optional[int] = ..., held_back: _Optional[int] = ..., repeats: _Optional[int] = ..., refused: _Optional[int] = ..., lost_streams: _Optional[int] = ..., slow_consumers: _Optional[int] = ..., streams: _Optional[_Iterable[_Union[WatchStreamStatus, _Mapping]]] = ..., awaited: _Optional[int] = ...) -> None: ...

class WithdrawnCount(_message.Message):
    __slots__ = ("reason", "count")
    REASON_FIELD_NUMBER: _ClassVar[int]
    COUNT_FIELD_NUMBER: _ClassVar[int]
    reason: _quote_expiry_service_pb2.WithdrawReason
    count: int
    def __init__(self, reason: _Optional[_Union[_quote_expiry_service_pb2.WithdrawReason, str]] = ..., count: _Optional[int] = ...) -> None: ...

class WatchStreamStatus(_message.Message):
    __slots__ = ("owner", "since_utc_ns", "silent_ns", "waiting_messages", "unacknowledged")
    OWNER_FIELD_NUMBER: _ClassVar[int]
    SINCE_UTC_NS_FIELD_NUMBER: _ClassVar[int]
    SILENT_NS_FIELD_NUMBER: _ClassVar[int]
    WAITING_MESSAGES_FIELD_NUMBER: _ClassVar[int]
    UNACKNOWLEDGED_FIELD_NUMBER: _ClassVar[int]
    owner: str
    since_utc_ns: int
    silent_ns: int
    waiting_messages: int
    unacknowledged: int
    def __init__(self, owner: _Optional[str] = ..., since_utc_ns: _Optional[int] = ..., silent_ns: _Optional[int] = ..., waiting_messages: _Optional[int] = ..., unacknowledged: _Optional[int] = ...) -> None: ...

class LabelCounts(_message.Message):
    __slots__ = ("opened", "resolved", "censored", "overflowed", "thinned")
    OPENED_FIELD_NUMBER: _ClassVar[int]
    RESOLVED_FIELD_NUMBER: _ClassVar[int]
    CENSORED_FIELD_NUMBER: _ClassVar[int]
    OVERFLOWED_FIELD_NUMBER: _ClassVar[int]
    THINNED_FIELD_NUMBER: _ClassVar[int]
    opened: int
    resolved: int
    censored: int
    overflowed: int
    thinned: int
    def __init__(self, opened: _Optional[int] = ..., resolved: _Optional[int] = ..., censored: _Optional[int] = ..., overflowed: _Optional[int] = ..., thinned: _Optional[int] = ...) -> None: ...

class CalibrationStatus(_message.Message):
    __slots__ = ("horizon_ns", "a", "b")
    HORIZON_NS_FIELD_NUMBER: _ClassVar[int]
    A_FIELD_NUMBER: _ClassVar[int]
    B_FIELD_NUMBER: _ClassVar[int]
    horizon_ns: int
    a: float
    b: float
    def __init__(self, horizon_ns: _Optional[int] = ..., a: _Optional[float] = ..., b: _Optional[float] = ...) -> None: ...

class CurveScores(_message.Message):
    __slots__ = ("horizon_ns", "labels", "prevalence", "brier", "skill", "ece", "auc", "cusum_p_low", "cusum_p_high", "limit_warned", "limit_degraded", "limit_worst")
    HORIZON_NS_FIELD_NUMBER: _ClassVar[int]
    LABELS_FIELD_NUMBER: _ClassVar[int]
    PREVALENCE_FIELD_NUMBER: _ClassVar[int]
    BRIER_FIELD_NUMBER: _ClassVar[int]
    SKILL_FIELD_NUMBER: _ClassVar[int]
    ECE_FIELD_NUMBER: _ClassVar[int]
    AUC_FIELD_NUMBER: _ClassVar[int]
    CUSUM_P_LOW_FIELD_NUMBER: _ClassVar[int]
    CUSUM_P_HIGH_FIELD_NUMBER: _ClassVar[int]
    LIMIT_WARNED_FIELD_NUMBER: _ClassVar[int]
    LIMIT_DEGRADED_FIELD_NUMBER: _ClassVar[int]
    LIMIT_WORST_FIELD_NUMBER: _ClassVar[int]
    horizon_ns: int
    labels: int
    prevalence: float
    brier: float
    skill: float
    ece: float
    auc: float
    cusum_p_low: float
    cusum_p_high: float
    limit_warned: float
    limit_degraded: float
    limit_worst: float
    def __init__(self, horizon_ns: _Optional[int] = ..., labels: _Optional[int] = ..., prevalence: _Optional[float] = ..., brier: _Optional[float] = ..., skill: _Optional[float] = ..., ece: _Optional[float] = ..., auc: _Optional[float] = ..., cusum_p_low: _Optional[float] = ..., cusum_p_high: _Optional[float] = ..., limit_warned: _Optional[float] = ..., limit_degraded: _Optional[float] = ..., limit_worst: _Optional[float] = ...) -> None: ...

class FeatureDrift(_message.Message):
    __slots__ = ("feature", "psi")
    FEATURE_FIELD_NUMBER: _ClassVar[int]
    PSI_FIELD_NUMBER: _ClassVar[int]
    feature: str
    psi: float
    def __init__(self, feature: _Optional[str] = ..., psi: _Optional[float] = ...) -> None: ...

class ModelMonitorStatus(_message.Message):
    __slots__ = ("model", "level", "text", "scores", "features", "features_above", "features_samples", "features_own", "features_note", "features_text")
    MODEL_FIELD_NUMBER: _ClassVar[int]
    LEVEL_FIELD_NUMBER: _ClassVar[int]
    TEXT_FIELD_NUMBER: _ClassVar[int]
    SCORES_FIELD_NUMBER: _ClassVar[int]
    FEATURES_FIELD_NUMBER: _ClassVar[int]
    FEATURES_ABOVE_FIELD_NUMBER: _ClassVar[int]
    FEATURES_SAMPLES_FIELD_NUMBER: _ClassVar[int]
    FEATURES_OWN_FIELD_NUMBER: _ClassVar[int]
    FEATURES_NOTE_FIELD_NUMBER: _ClassVar[int]
    FEATURES_TEXT_FIELD_NUMBER: _ClassVar[int]
    model: str
    level: MonitorLevel
    text: str
    scores: _containers.RepeatedCompositeFieldContainer[CurveScores]
    features: _containers.RepeatedCompositeFieldContainer[FeatureDrift]
    features_above: int
    features_samples: int
    features_own: bool
    features_note: str
    features_text: str
    def __init__(self, model: _Optional[str] = ..., level: _Optional[_Union[MonitorLevel, str]] = ..., text: _Optional[str] = ..., scores: _Optional[_Iterable[_Union[CurveScores, _Mapping]]] = ..., features: _Optional[_Iterable[_Union[FeatureDrift, _Mapping]]] = ..., features_above: _Optional[int] = ..., features_samples: _Optional[int] = ..., features_own: bool = ..., features_note: _Optional[str] = ..., features_text: _Optional[str] = ...) -> None: ...

class GroupStatus(_message.Message):
    __slots__ = ("group", "stepped_down", "level", "since_utc_ns", "reason", "labels", "calibration", "held_tolerance", "models")
    GROUP_FIELD_NUMBER: _ClassVar[int]
    STEPPED_DOWN_FIELD_NUMBER: _ClassVar[int]
    LEVEL_FIELD_NUMBER: _ClassVar[int]
    SINCE_UTC_NS_FIELD_NUMBER: _ClassVar[int]
    REASON_FIELD_NUMBER: _ClassVar[int]
    LABELS_FIELD_NUMBER: _ClassVar[int]
    CALIBRATION_FIELD_NUMBER: _ClassVar[int]
    HELD_TOLERANCE_FIELD_NUMBER: _ClassVar[int]
    MODELS_FIELD_NUMBER: _ClassVar[int]
    group: str
    stepped_down: bool
    level: MonitorLevel
    since_utc_ns: int
    reason: str
    labels: LabelCounts
    calibration: _containers.RepeatedCompositeFieldContainer[CalibrationStatus]
    held_tolerance: _containers.RepeatedScalarFieldContainer[float]
    models: _containers.RepeatedCompositeFieldContainer[ModelMonitorStatus]
    def __init__(self, group: _Optional[str] = ..., stepped_down: bool = ..., level: _Optional[_Union[MonitorLevel, str]] = ..., since_utc_ns: _Optional[int] = ..., reason: _Optional[str] = ..., labels: _Optional[_Union[LabelCounts, _Mapping]] = ..., calibration: _Optional[_Iterable[_Union[CalibrationStatus, _Mapping]]] = ..., held_tolerance: _Optional[_Iterable[float]] = ..., models: _Optional[_Iterable[_Union[ModelMonitorStatus, _Mapping]]] = ...) -> None: ...

class EndStepDownRequest(_message.Message):
    __slots__ = ("group", "reason")
    GROUP_FIELD_NUMBER: _ClassVar[int]
    REASON_FIELD_NUMBER: _ClassVar[int]
    group: str
    reason: str
    def __init__(self, group: _Optional[str] = ..., reason: _Optional[str] = ...) -> None: ...

class EndStepDownResponse(_message.Message):
    __slots__ = ("ended",)
    ENDED_FIELD_NUMBER: _ClassVar[int]
    ended: bool
    def __init__(self, ended: bool = ...) -> None: ...

class CalendarStatus(_message.Message):
    __slots__ = ("event", "active", "source")
    EVENT_FIELD_NUMBER: _ClassVar[int]
    ACTIVE_FIELD_NUMBER: _ClassVar[int]
    SOURCE_FIELD_NUMBER: _ClassVar[int]
    event: _signal_service_pb2.CalendarEvent
    active: bool
    source: CalendarSource
    def __init__(self, event: _Optional[_Union[_signal_service_pb2.CalendarEvent, _Mapping]] = ..., active: bool = ..., source: _Optional[_Union[CalendarSource, str]] = ...) -> None: ...

class KillStatus(_message.Message):
    __slots__ = ("counterparty", "reason", "since_utc_ns", "source")
    COUNTERPARTY_FIELD_NUMBER: _ClassVar[int]
    REASON_FIELD_NUMBER: _ClassVar[int]
    SINCE_UTC_NS_FIELD_NUMBER: _ClassVar[int]
    SOURCE_FIELD_NUMBER: _ClassVar[int]
    counterparty: str
    reason: str
    since_utc_ns: int
    source: KillSource
    def __init__(self, counterparty: _Optional[str] = ..., reason: _Optional[str] = ..., since_utc_ns: _Optional[int] = ..., source: _Optional[_Union[KillSource, str]] = ...) -> None: ...

class Alert(_message.Message):
    __slots__ = ("name", "text", "since_utc_ns")
    NAME_FIELD_NUMBER: _ClassVar[int]
    TEXT_FIELD_NUMBER: _ClassVar[int]
    SINCE_UTC_NS_FIELD_NUMBER: _ClassVar[int]
    name: str
    text: str
    since_utc_ns: int
    def __init__(self, name: _Optional[str] = ..., text: _Optional[str] = ..., since_utc_ns: _Optional[int] = ...) -> None: ...

class JournalStatus(_message.Message):
    __slots__ = ("writable", "durability", "records", "bytes", "segments", "unjournaled", "refused", "fault")
    WRITABLE_FIELD_NUMBER: _ClassVar[int]
    DURABILITY_FIELD_NUMBER: _ClassVar[int]
    RECORDS_FIELD_NUMBER: _ClassVar[int]
    BYTES_FIELD_NUMBER: _ClassVar[int]
    SEGMENTS_FIELD_NUMBER: _ClassVar[int]
    UNJOURNALED_FIELD_NUMBER: _ClassVar[int]
    REFUSED_FIELD_NUMBER: _ClassVar[int]
    FAULT_FIELD_NUMBER: _ClassVar[int]
    writable: bool
    durability: str
    records: int
    bytes: int
    segments: int
    unjournaled: int
    refused: int
    fault: str
    def __init__(self, writable: bool = ..., durability: _Optional[str] = ..., records: _Optional[int] = ..., bytes: _Optional[int] = ..., segments: _Optional[int] = ..., unjournaled: _Optional[int] = ..., refused: _Optional[int] = ..., fault: _Optional[str] = ...) -> None: ...

class CaptureStatus(_message.Message):
    __slots__ = ("writable", "records", "lost", "segments", "fault")
    WRITABLE_FIELD_NUMBER: _ClassVar[int]
    RECORDS_FIELD_NUMBER: _ClassVar[int]
    LOST_FIELD_NUMBER: _ClassVar[int]
    SEGMENTS_FIELD_NUMBER: _ClassVar[int]
    FAULT_FIELD_NUMBER: _ClassVar[int]
    writable: bool
    records: int
    lost: int
    segments: int
    fault: str
    def __init__(self, writable: bool = ..., records: _Optional[int] = ..., lost: _Optional[int] = ..., segments: _Optional[int] = ..., fault: _Optional[str] = ...) -> None: ...

class ModelStatus(_message.Message):
    __slots__ = ("digest", "kind", "revision", "champion", "name", "configured")
    DIGEST_FIELD_NUMBER: _ClassVar[int]
    KIND_FIELD_NUMBER: _ClassVar[int]
    REVISION_FIELD_NUMBER: _ClassVar[int]
    CHAMPION_FIELD_NUMBER: _ClassVar[int]
    NAME_FIELD_NUMBER: _ClassVar[int]
    CONFIGURED_FIELD_NUMBER: _ClassVar[int]
    digest: str
    kind: str
    revision: int
    champion: bool
    name: str
    configured: bool
    def __init__(self, digest: _Optional[str] = ..., kind: _Optional[str] = ..., revision: _Optional[int] = ..., champion: bool = ..., name: _Optional[str] = ..., configured: bool = ...) -> None: ...

class PostureModels(_message.Message):
    __slots__ = ("posture", "champion", "challenger", "canary_share", "shadows", "rollbacks", "wanted")
    POSTURE_FIELD_NUMBER: _ClassVar[int]
    CHAMPION_FIELD_NUMBER: _ClassVar[int]
    CHALLENGER_FIELD_NUMBER: _ClassVar[int]
    CANARY_SHARE_FIELD_NUMBER: _ClassVar[int]
    SHADOWS_FIELD_NUMBER: _ClassVar[int]
    ROLLBACKS_FIELD_NUMBER: _ClassVar[int]
    WANTED_FIELD_NUMBER: _ClassVar[int]
    posture: _types_pb2.Posture
    champion: str
    challenger: str
    canary_share: float
    shadows: _containers.RepeatedScalarFieldContainer[str]
    rollbacks: int
    wanted: str
    def __init__(self, posture: _Optional[_Union[_types_pb2.Posture, str]] = ..., champion: _Optional[str] = ..., challenger: _Optional[str] = ..., canary_share: _Optional[float] = ..., shadows: _Optional[_Iterable[str]] = ..., rollbacks: _Optional[int] = ..., wanted: _Optional[str] = ...) -> None: ...

class PostureChampion(_message.Message):
    __slots__ = ("posture", "champion")
    POSTURE_FIELD_NUMBER: _ClassVar[int]
    CHAMPION_FIELD_NUMBER: _ClassVar[int]
    posture: _types_pb2.Posture
    champion: str
    def __init__(self, posture: _Optional[_Union[_types_pb2.Posture, str]] = ..., champion: _Optional[str] = ...) -> None: ...

class ModelChange(_message.Message):
    __slots__ = ("at_utc_ns", "kind", "champions", "verdict", "reason", "judged_from_utc_ns", "judged_to_utc_ns", "challenger", "canary_share", "market")
    AT_UTC_NS_FIELD_NUMBER: _ClassVar[int]
    KIND_FIELD_NUMBER: _ClassVar[int]
    CHAMPIONS_FIELD_NUMBER: _ClassVar[int]
    VERDICT_FIELD_NUMBER: _ClassVar[int]
    REASON_FIELD_NUMBER: _ClassVar[int]
    JUDGED_FROM_UTC_NS_FIELD_NUMBER: _ClassVar[int]
    JUDGED_TO_UTC_NS_FIELD_NUMBER: _ClassVar[int]
    CHALLENGER_FIELD_NUMBER: _ClassVar[int]
    CANARY_SHARE_FIELD_NUMBER: _ClassVar[int]
    MARKET_FIELD_NUMBER: _ClassVar[int]
    at_utc_ns: int
    kind: ModelChangeKind
    champions: _containers.RepeatedCompositeFieldContainer[PostureChampion]
    verdict: str
    reason: str
    judged_from_utc_ns: int
    judged_to_utc_ns: int
    challenger: str
    canary_share: float
    market: str
    def __init__(self, at_utc_ns: _Optional[int] = ..., kind: _Optional[_Union[ModelChangeKind, str]] = ..., champions: _Optional[_Iterable[_Union[PostureChampion, _Mapping]]] = ..., verdict: _Optional[str] = ..., reason: _Optional[str] = ..., judged_from_utc_ns: _Optional[int] = ..., judged_to_utc_ns: _Optional[int] = ..., challenger: _Optional[str] = ..., canary_share: _Optional[float] = ..., market: _Optional[str] = ...) -> None: ...

class ModelFailure(_message.Message):
    __slots__ = ("digest", "reason", "at_utc_ns")
    DIGEST_FIELD_NUMBER: _ClassVar[int]
    REASON_FIELD_NUMBER: _ClassVar[int]
    AT_UTC_NS_FIELD_NUMBER: _ClassVar[int]
    digest: str
    reason: str
    at_utc_ns: int
    def __init__(self, digest: _Optional[str] = ..., reason: _Optional[str] = ..., at_utc_ns: _Optional[int] = ...) -> None: ...

class StoredModel(_message.Message):
    __slots__ = ("digest", "name", "kind", "description", "problem")
    DIGEST_FIELD_NUMBER: _ClassVar[int]
    NAME_FIELD_NUMBER: _ClassVar[int]
    KIND_FIELD_NUMBER: _ClassVar[int]
    DESCRIPTION_FIELD_NUMBER: _ClassVar[int]
    PROBLEM_FIELD_NUMBER: _ClassVar[int]
    digest: str
    name: str
    kind: str
    description: str
    problem: str
    def __init__(self, digest: _Optional[str] = ..., name: _Optional[str] = ..., kind: _Optional[str] = ..., description: _Optional[str] = ..., problem: _Optional[str] = ...) -> None: ...

class RegimeTime(_message.Message):
    __slots__ = ("regime", "time_ns")
    REGIME_FIELD_NUMBER: _ClassVar[int]
    TIME_NS_FIELD_NUMBER: _ClassVar[int]
    regime: _types_pb2.Regime
    time_ns: int
    def __init__(self, regime: _Optional[_Union[_types_pb2.Regime, str]] = ..., time_ns: _Optional[int] = ...) -> None: ...

class QualityTime(_message.Message):
    __slots__ = ("quality", "time_ns", "entered")
    QUALITY_FIELD_NUMBER: _ClassVar[int]
    TIME_NS_FIELD_NUMBER: _ClassVar[int]
    ENTERED_FIELD_NUMBER: _ClassVar[int]
    quality: _types_pb2.Quality
    time_ns: int
    entered: int
    def __init__(self, quality: _Optional[_Union[_types_pb2.Quality, str]] = ..., time_ns: _Optional[int] = ..., entered: _Optional[int] = ...) -> None: ...

class InstrumentStatus(_message.Message):
    __slots__ = ("instrument", "quality", "regime", "bid_price", "bid_size", "ask_price", "ask_size", "data_age_ns", "events", "gaps", "resyncs", "crossed", "dropped_levels", "decisions", "declines", "stress_entries", "regimes", "orders", "unknown_orders", "invalid_orders", "dropped_orders", "purged_orders", "option", "quality_cause", "quality_since_utc_ns", "qualities", "feeds", "unsided_trades", "undecided_trades")
    INSTRUMENT_FIELD_NUMBER: _ClassVar[int]
    QUALITY_FIELD_NUMBER: _ClassVar[int]
    REGIME_FIELD_NUMBER: _ClassVar[int]
    BID_PRICE_FIELD_NUMBER: _ClassVar[int]
    BID_SIZE_FIELD_NUMBER: _ClassVar[int]
    ASK_PRICE_FIELD_NUMBER: _ClassVar[int]
    ASK_SIZE_FIELD_NUMBER: _ClassVar[int]
    DATA_AGE_NS_FIELD_NUMBER: _ClassVar[int]
    EVENTS_FIELD_NUMBER: _ClassVar[int]
    GAPS_FIELD_NUMBER: _ClassVar[int]
    RESYNCS_FIELD_NUMBER: _ClassVar[int]
    CROSSED_FIELD_NUMBER: _ClassVar[int]
    DROPPED_LEVELS_FIELD_NUMBER: _ClassVar[int]
    DECISIONS_FIELD_NUMBER: _ClassVar[int]
    DECLINES_FIELD_NUMBER: _ClassVar[int]
    STRESS_ENTRIES_FIELD_NUMBER: _ClassVar[int]
    REGIMES_FIELD_NUMBER: _ClassVar[int]
    ORDERS_FIELD_NUMBER: _ClassVar[int]
    UNKNOWN_ORDERS_FIELD_NUMBER: _ClassVar[int]
    INVALID_ORDERS_FIELD_NUMBER: _ClassVar[int]
    DROPPED_ORDERS_FIELD_NUMBER: _ClassVar[int]
    PURGED_ORDERS_FIELD_NUMBER: _ClassVar[int]
    OPTION_FIELD_NUMBER: _ClassVar[int]
    QUALITY_CAUSE_FIELD_NUMBER: _ClassVar[int]
    QUALITY_SINCE_UTC_NS_FIELD_NUMBER: _ClassVar[int]
    QUALITIES_FIELD_NUMBER: _ClassVar[int]
    FEEDS_FIELD_NUMBER: _ClassVar[int]
    UNSIDED_TRADES_FIELD_NUMBER: _ClassVar[int]
    UNDECIDED_TRADES_FIELD_NUMBER: _ClassVar[int]
    instrument: str
    quality: _types_pb2.Quality
    regime: _types_pb2.Regime
    bid_price: str
    bid_size: str
    ask_price: str
    ask_size: str
    data_age_ns: int
    events: int
    gaps: int
    resyncs: int
    crossed: int
    dropped_levels: int
    decisions: int
    declines: int
    stress_entries: int
    regimes: _containers.RepeatedCompositeFieldContainer[RegimeTime]
    orders: int
    unknown_orders: int
    invalid_orders: int
    dropped_orders: int
    purged_orders: int
    option: OptionStatus
    quality_cause: _types_pb2.QualityCause
    quality_since_utc_ns: int
    qualities: _containers.RepeatedCompositeFieldContainer[QualityTime]
    feeds: _containers.RepeatedScalarFieldContainer[str]
    unsided_trades: int
    undecided_trades: int
    def __init__(self, instrument: _Optional[str] = ..., quality: _Optional[_Union[_types_pb2.Quality, str]] = ..., regime: _Optional[_Union[_types_pb2.Regime, str]] = ..., bid_price: _Optional[str] = ..., bid_size: _Optional[str] = ..., ask_price: _Optional[str] = ..., ask_size: _Optional[str] = ..., data_age_ns: _Optional[int] = ..., events: _Optional[int] = ..., gaps: _Optional[int] = ..., resyncs: _Optional[int] = ..., crossed: _Optional[int] = ..., dropped_levels: _Optional[int] = ..., decisions: _Optional[int] = ..., declines: _Optional[int] = ..., stress_entries: _Optional[int] = ..., regimes: _Optional[_Iterable[_Union[RegimeTime, _Mapping]]] = ..., orders: _Optional[int] = ..., unknown_orders: _Optional[int] = ..., invalid_orders: _Optional[int] = ..., dropped_orders: _Optional[int] = ..., purged_orders: _Optional[int] = ..., option: _Optional[_Union[OptionStatus, _Mapping]] = ..., quality_cause: _Optional[_Union[_types_pb2.QualityCause, str]] = ..., quality_since_utc_ns: _Optional[int] = ..., qualities: _Optional[_Iterable[_Union[QualityTime, _Mapping]]] = ..., feeds: _Optional[_Iterable[str]] = ..., unsided_trades: _Optional[int] = ..., undecided_trades: _Optional[int] = ...) -> None: ...

class OptionStatus(_message.Message):
    __slots__ = ("greeks", "mark_iv", "underlying_price", "mark_price", "funding", "age_ns", "updates", "ignored")
    GREEKS_FIELD_NUMBER: _ClassVar[int]
    MARK_IV_FIELD_NUMBER: _ClassVar[int]
    UNDERLYING_PRICE_FIELD_NUMBER: _ClassVar[int]
    MARK_PRICE_FIELD_NUMBER: _ClassVar[int]
    FUNDING_FIELD_NUMBER: _ClassVar[int]
    AGE_NS_FIELD_NUMBER: _ClassVar[int]
    UPDATES_FIELD_NUMBER: _ClassVar[int]
    IGNORED_FIELD_NUMBER: _ClassVar[int]
    greeks: _quote_expiry_service_pb2.Greeks
    mark_iv: float
    underlying_price: float
    mark_price: float
    funding: float
    age_ns: int
    updates: int
    ignored: int
    def __init__(self, greeks: _Optional[_Union[_quote_expiry_service_pb2.Greeks, _Mapping]] = ..., mark_iv: _Optional[float] = ..., underlying_price: _Optional[float] = ..., mark_price: _Optional[float] = ..., funding: _Optional[float] = ..., age_ns: _Optional[int] = ..., updates: _Optional[int] = ..., ignored: _Optional[int] = ...) -> None: ...

class FeedStatus(_message.Message):
    __slots__ = ("feed", "connected", "reconnects", "messages", "bytes", "gaps", "decode_errors", "data_age_ns", "fault", "fault_age_ns")
    FEED_FIELD_NUMBER: _ClassVar[int]
    CONNECTED_FIELD_NUMBER: _ClassVar[int]
    RECONNECTS_FIELD_NUMBER: _ClassVar[int]
    MESSAGES_FIELD_NUMBER: _ClassVar[int]
    BYTES_FIELD_NUMBER: _ClassVar[int]
    GAPS_FIELD_NUMBER: _ClassVar[int]
    DECODE_ERRORS_FIELD_NUMBER: _ClassVar[int]
    DATA_AGE_NS_FIELD_NUMBER: _ClassVar[int]
    FAULT_FIELD_NUMBER: _ClassVar[int]
    FAULT_AGE_NS_FIELD_NUMBER: _ClassVar[int]
    feed: str
    connected: bool
    reconnects: int
    messages: int
    bytes: int
    gaps: int
    decode_errors: int
    data_age_ns: int
    fault: str
    fault_age_ns: int
    def __init__(self, feed: _Optional[str] = ..., connected: bool = ..., reconnects: _Optional[int] = ..., messages: _Optional[int] = ..., bytes: _Optional[int] = ..., gaps: _Optional[int] = ..., decode_errors: _Optional[int] = ..., data_age_ns: _Optional[int] = ..., fault: _Optional[str] = ..., fault_age_ns: _Optional[int] = ...) -> None: ...

class SetOverrideRequest(_message.Message):
    __slots__ = ("posture", "ttl_ns", "counterparty", "instrument", "desk")
    POSTURE_FIELD_NUMBER: _ClassVar[int]
    TTL_NS_FIELD_NUMBER: _ClassVar[int]
    COUNTERPARTY_FIELD_NUMBER: _ClassVar[int]
    INSTRUMENT_FIELD_NUMBER: _ClassVar[int]
    DESK_FIELD_NUMBER: _ClassVar[int]
    posture: _types_pb2.Posture
    ttl_ns: int
    counterparty: str
    instrument: str
    desk: str
    def __init__(self, posture: _Optional[_Union[_types_pb2.Posture, str]] = ..., ttl_ns: _Optional[int] = ..., counterparty: _Optional[str] = ..., instrument: _Optional[str] = ..., desk: _Optional[str] = ...) -> None: ...

class Override(_message.Message):
    __slots__ = ("override_id", "posture", "expires_utc_ns", "counterparty", "instrument", "desk")
    OVERRIDE_ID_FIELD_NUMBER: _ClassVar[int]
    POSTURE_FIELD_NUMBER: _ClassVar[int]
    EXPIRES_UTC_NS_FIELD_NUMBER: _ClassVar[int]
    COUNTERPARTY_FIELD_NUMBER: _ClassVar[int]
    INSTRUMENT_FIELD_NUMBER: _ClassVar[int]
    DESK_FIELD_NUMBER: _ClassVar[int]
    override_id: int
    posture: _types_pb2.Posture
    expires_utc_ns: int
    counterparty: str
    instrument: str
    desk: str
    def __init__(self, override_id: _Optional[int] = ..., posture: _Optional[_Union[_types_pb2.Posture, str]] = ..., expires_utc_ns: _Optional[int] = ..., counterparty: _Optional[str] = ..., instrument: _Optional[str] = ..., desk: _Optional[str] = ...) -> None: ...

class SetOverrideResponse(_message.Message):
    __slots__ = ("override",)
    OVERRIDE_FIELD_NUMBER: _ClassVar[int]
    override: Override
    def __init__(self, override: _Optional[_Union[Override, _Mapping]] = ...) -> None: ...

class ClearOverrideRequest(_message.Message):
    __slots__ = ("override_id",)
    OVERRIDE_ID_FIELD_NUMBER: _ClassVar[int]
    override_id: int
    def __init__(self, override_id: _Optional[int] = ...) -> None: ...

class ClearOverrideResponse(_message.Message):
    __slots__ = ("cleared",)
    CLEARED_FIELD_NUMBER: _ClassVar[int]
    cleared: bool
    def __init__(self, cleared: bool = ...) -> None: ...

class ListOverridesRequest(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...

class ListOverridesResponse(_message.Message):
    __slots__ = ("overrides",)
    OVERRIDES_FIELD_NUMBER: _ClassVar[int]
    overrides: _containers.RepeatedCompositeFieldContainer[Override]
    def __init__(self, overrides: _Optional[_Iterable[_Union[Override, _Mapping]]] = ...) -> None: ...

class ReloadRequest(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...

class ReloadResponse(_message.Message):
    __slots__ = ("config_revision", "changed", "restart_required")
    CONFIG_REVISION_FIELD_NUMBER: _ClassVar[int]
    CHANGED_FIELD_NUMBER: _ClassVar[int]
    RESTART_REQUIRED_FIELD_NUMBER: _ClassVar[int]
    config_revision: int
    changed: bool
    restart_required: _containers.RepeatedScalarFieldContainer[str]
    def __init__(self, config_revision: _Optional[int] = ..., changed: bool = ..., restart_required: _Optional[_Iterable[str]] = ...) -> None: ...

class KillRequest(_message.Message):
    __slots__ = ("reason", "counterparty")
    REASON_FIELD_NUMBER: _ClassVar[int]
    COUNTERPARTY_FIELD_NUMBER: _ClassVar[int]
    reason: str
    counterparty: str
    def __init__(self, reason: _Optional[str] = ..., counterparty: _Optional[str] = ...) -> None: ...

class KillResponse(_message.Message):
    __slots__ = ("since_utc_ns", "unrecorded")
    SINCE_UTC_NS_FIELD_NUMBER: _ClassVar[int]
    UNRECORDED_FIELD_NUMBER: _ClassVar[int]
    since_utc_ns: int
    unrecorded: str
    def __init__(self, since_utc_ns: _Optional[int] = ..., unrecorded: _Optional[str] = ...) -> None: ...

class EnableRequest(_message.Message):
    __slots__ = ("reason", "counterparty")
    REASON_FIELD_NUMBER: _ClassVar[int]
    COUNTERPARTY_FIELD_NUMBER: _ClassVar[int]
    reason: str
    counterparty: str
    def __init__(self, reason: _Optional[str] = ..., counterparty: _Optional[str] = ...) -> None: ...

class EnableResponse(_message.Message):
    __slots__ = ("since_utc_ns",)
    SINCE_UTC_NS_FIELD_NUMBER: _ClassVar[int]
    since_utc_ns: int
    def __init__(self, since_utc_ns: _Optional[int] = ...) -> None: ...

class LoadModelRequest(_message.Message):
    __slots__ = ("digest", "postures")
    DIGEST_FIELD_NUMBER: _ClassVar[int]
    POSTURES_FIELD_NUMBER: _ClassVar[int]
    digest: str
    postures: _containers.RepeatedScalarFieldContainer[_types_pb2.Posture]
    def __init__(self, digest: _Optional[str] = ..., postures: _Optional[_Iterable[_Union[_types_pb2.Posture, str]]] = ...) -> None: ...

class LoadModelResponse(_message.Message):
    __slots__ = ("model",)
    MODEL_FIELD_NUMBER: _ClassVar[int]
    model: ModelStatus
    def __init__(self, model: _Optional[_Union[ModelStatus, _Mapping]] = ...) -> None: ...

class PromoteModelRequest(_message.Message):
    __slots__ = ("digest", "postures", "verdict", "force_reason", "expected_revision", "expected_champion")
    DIGEST_FIELD_NUMBER: _ClassVar[int]
    POSTURES_FIELD_NUMBER: _ClassVar[int]
    VERDICT_FIELD_NUMBER: _ClassVar[int]
    FORCE_REASON_FIELD_NUMBER: _ClassVar[int]
    EXPECTED_REVISION_FIELD_NUMBER: _ClassVar[int]
    EXPECTED_CHAMPION_FIELD_NUMBER: _ClassVar[int]
    digest: str
    postures: _containers.RepeatedScalarFieldContainer[_types_pb2.Posture]
    verdict: bytes
    force_reason: str
    expected_revision: int
    expected_champion: str
    def __init__(self, digest: _Optional[str] = ..., postures: _Optional[_Iterable[_Union[_types_pb2.Posture, str]]] = ..., verdict: _Optional[bytes] = ..., force_reason: _Optional[str] = ..., expected_revision: _Optional[int] = ..., expected_champion: _Optional[str] = ...) -> None: ...

class PromoteModelResponse(_message.Message):
    __slots__ = ("model", "revision")
    MODEL_FIELD_NUMBER: _ClassVar[int]
    REVISION_FIELD_NUMBER: _ClassVar[int]
    model: ModelStatus
    revision: int
    def __init__(self, model: _Optional[_Union[ModelStatus, _Mapping]] = ..., revision: _Optional[int] = ...) -> None: ...

class RollbackModelRequest(_message.Message):
    __slots__ = ("postures", "expected_revision", "expected_champion")
    POSTURES_FIELD_NUMBER: _ClassVar[int]
    EXPECTED_REVISION_FIELD_NUMBER: _ClassVar[int]
    EXPECTED_CHAMPION_FIELD_NUMBER: _ClassVar[int]
    postures: _containers.RepeatedScalarFieldContainer[_types_pb2.Posture]
    expected_revision: int
    expected_champion: str
    def __init__(self, postures: _Optional[_Iterable[_Union[_types_pb2.Posture, str]]] = ..., expected_revision: _Optional[int] = ..., expected_champion: _Optional[str] = ...) -> None: ...

class RollbackModelResponse(_message.Message):
    __slots__ = ("model", "revision")
    MODEL_FIELD_NUMBER: _ClassVar[int]
    REVISION_FIELD_NUMBER: _ClassVar[int]
    model: ModelStatus
    revision: int
    def __init__(self, model: _Optional[_Union[ModelStatus, _Mapping]] = ..., revision: _Optional[int] = ...) -> None: ...

class ListModelsRequest(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...

class ListModelsResponse(_message.Message):
    __slots__ = ("models", "postures", "failures", "stored", "history", "revision")
    MODELS_FIELD_NUMBER: _ClassVar[int]
    POSTURES_FIELD_NUMBER: _ClassVar[int]
    FAILURES_FIELD_NUMBER: _ClassVar[int]
    STORED_FIELD_NUMBER: _ClassVar[int]
    HISTORY_FIELD_NUMBER: _ClassVar[int]
    REVISION_FIELD_NUMBER: _ClassVar[int]
    models: _containers.RepeatedCompositeFieldContainer[ModelStatus]
    postures: _containers.RepeatedCompositeFieldContainer[PostureModels]
    failures: _containers.RepeatedCompositeFieldContainer[ModelFailure]
    stored: _containers.RepeatedCompositeFieldContainer[StoredModel]
    history: _containers.RepeatedCompositeFieldContainer[ModelChange]
    revision: int
    def __init__(self, models: _Optional[_Iterable[_Union[ModelStatus, _Mapping]]] = ..., postures: _Optional[_Iterable[_Union[PostureModels, _Mapping]]] = ..., failures: _Optional[_Iterable[_Union[ModelFailure, _Mapping]]] = ..., stored: _Optional[_Iterable[_Union[StoredModel, _Mapping]]] = ..., history: _Optional[_Iterable[_Union[ModelChange, _Mapping]]] = ..., revision: _Optional[int] = ...) -> None: ...

class UnloadModelRequest(_message.Message):
    __slots__ = ("digest", "postures")
    DIGEST_FIELD_NUMBER: _ClassVar[int]
    POSTURES_FIELD_NUMBER: _ClassVar[int]
    digest: str
    postures: _containers.RepeatedScalarFieldContainer[_types_pb2.Posture]
    def __init__(self, digest: _Optional[str] = ..., postures: _Optional[_Iterable[_Union[_types_pb2.Posture, str]]] = ...) -> None: ...

class UnloadModelResponse(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...

class SetCanaryRequest(_message.Message):
    __slots__ = ("digest", "share", "postures", "verdict", "force_reason")
    DIGEST_FIELD_NUMBER: _ClassVar[int]
    SHARE_FIELD_NUMBER: _ClassVar[int]
    POSTURES_FIELD_NUMBER: _ClassVar[int]
    VERDICT_FIELD_NUMBER: _ClassVar[int]
    FORCE_REASON_FIELD_NUMBER: _ClassVar[int]
    digest: str
    share: float
    postures: _containers.RepeatedScalarFieldContainer[_types_pb2.Posture]
    verdict: bytes
    force_reason: str
    def __init__(self, digest: _Optional[str] = ..., share: _Optional[float] = ..., postures: _Optional[_Iterable[_Union[_types_pb2.Posture, str]]] = ..., verdict: _Optional[bytes] = ..., force_reason: _Optional[str] = ...) -> None: ...

class SetCanaryResponse(_message.Message):
    __slots__ = ("model",)
    MODEL_FIELD_NUMBER: _ClassVar[int]
    model: ModelStatus
    def __init__(self, model: _Optional[_Union[ModelStatus, _Mapping]] = ...) -> None: ...

class ClearModelFailuresRequest(_message.Message):
    __slots__ = ("digest",)
    DIGEST_FIELD_NUMBER: _ClassVar[int]
    digest: str
    def __init__(self, digest: _Optional[str] = ...) -> None: ...

class ClearModelFailuresResponse(_message.Message):
    __slots__ = ("cleared",)
    CLEARED_FIELD_NUMBER: _ClassVar[int]
    cleared: int
    def __init__(self, cleared: _Optional[int] = ...) -> None: ...

class GetCounterpartyRequest(_message.Message):
    __slots__ = ("counterparty",)
    COUNTERPARTY_FIELD_NUMBER: _ClassVar[int]
    counterparty: str
    def __init__(self, counterparty: _Optional[str] = ...) -> None: ...

class GetCounterpartyResponse(_message.Message):
    __slots__ = ("counterparty",)
    COUNTERPARTY_FIELD_NUMBER: _ClassVar[int]
    counterparty: CounterpartyStatus
    def __init__(self, counterparty: _Optional[_Union[CounterpartyStatus, _Mapping]] = ...) -> None: ...

class ListCounterpartiesRequest(_message.Message):
    __slots__ = ("after",)
    AFTER_FIELD_NUMBER: _ClassVar[int]
    after: str
    def __init__(self, after: _Optional[str] = ...) -> None: ...

class ListCounterpartiesResponse(_message.Message):
    __slots__ = ("counterparties", "more")
    COUNTERPARTIES_FIELD_NUMBER: _ClassVar[int]
    MORE_FIELD_NUMBER: _ClassVar[int]
    counterparties: _containers.RepeatedCompositeFieldContainer[CounterpartyStatus]
    more: bool
    def __init__(self, counterparties: _Optional[_Iterable[_Union[CounterpartyStatus, _Mapping]]] = ..., more: bool = ...) -> None: ...

class CounterpartyTerms(_message.Message):
    __slots__ = ("hit_probability", "informed_share", "response_median_ns", "response_sigma")
    HIT_PROBABILITY_FIELD_NUMBER: _ClassVar[int]
    INFORMED_SHARE_FIELD_NUMBER: _ClassVar[int]
    RESPONSE_MEDIAN_NS_FIELD_NUMBER: _ClassVar[int]
    RESPONSE_SIGMA_FIELD_NUMBER: _ClassVar[int]
    hit_probability: float
    informed_share: float
    response_median_ns: int
    response_sigma: float
    def __init__(self, hit_probability: _Optional[float] = ..., informed_share: _Optional[float] = ..., response_median_ns: _Optional[int] = ..., response_sigma: _Optional[float] = ...) -> None: ...

class CounterpartyMarkout(_message.Message):
    __slots__ = ("after_ns", "fills", "mean_bp", "deviation_bp")
    AFTER_NS_FIELD_NUMBER: _ClassVar[int]
    FILLS_FIELD_NUMBER: _ClassVar[int]
    MEAN_BP_FIELD_NUMBER: _ClassVar[int]
    DEVIATION_BP_FIELD_NUMBER: _ClassVar[int]
    after_ns: int
    fills: float
    mean_bp: float
    deviation_bp: float
    def __init__(self, after_ns: _Optional[int] = ..., fills: _Optional[float] = ..., mean_bp: _Optional[float] = ..., deviation_bp: _Optional[float] = ...) -> None: ...

class CounterpartySize(_message.Message):
    __slots__ = ("instrument", "quotes", "mean_lots")
    INSTRUMENT_FIELD_NUMBER: _ClassVar[int]
    QUOTES_FIELD_NUMBER: _ClassVar[int]
    MEAN_LOTS_FIELD_NUMBER: _ClassVar[int]
    instrument: str
    quotes: float
    mean_lots: float
    def __init__(self, instrument: _Optional[str] = ..., quotes: _Optional[float] = ..., mean_lots: _Optional[float] = ...) -> None: ...

class CounterpartyStatus(_message.Message):
    __slots__ = ("counterparty", "tier", "reported", "last_utc_ns", "quotes", "fills", "answers", "censored", "refused", "fill_rate", "fill_rate_deviation", "estimated", "used", "configured", "adverse_in_h", "markouts", "sizes")
    COUNTERPARTY_FIELD_NUMBER: _ClassVar[int]
    TIER_FIELD_NUMBER: _ClassVar[int]
    REPORTED_FIELD_NUMBER: _ClassVar[int]
    LAST_UTC_NS_FIELD_NUMBER: _ClassVar[int]
    QUOTES_FIELD_NUMBER: _ClassVar[int]
    FILLS_FIELD_NUMBER: _ClassVar[int]
    ANSWERS_FIELD_NUMBER: _ClassVar[int]
    CENSORED_FIELD_NUMBER: _ClassVar[int]
    REFUSED_FIELD_NUMBER: _ClassVar[int]
    FILL_RATE_FIELD_NUMBER: _ClassVar[int]
    FILL_RATE_DEVIATION_FIELD_NUMBER: _ClassVar[int]
    ESTIMATED_FIELD_NUMBER: _ClassVar[int]
    USED_FIELD_NUMBER: _ClassVar[int]
    CONFIGURED_FIELD_NUMBER: _ClassVar[int]
    ADVERSE_IN_H_FIELD_NUMBER: _ClassVar[int]
    MARKOUTS_FIELD_NUMBER: _ClassVar[int]
    SIZES_FIELD_NUMBER: _ClassVar[int]
    counterparty: str
    tier: str
    reported: int
    last_utc_ns: int
    quotes: float
    fills: float
    answers: float
    censored: float
    refused: float
    fill_rate: float
    fill_rate_deviation: float
    estimated: CounterpartyTerms
    used: CounterpartyTerms
    configured: CounterpartyTerms
    adverse_in_h: float
    markouts: _containers.RepeatedCompositeFieldContainer[CounterpartyMarkout]
    sizes: _containers.RepeatedCompositeFieldContainer[CounterpartySize]
    def __init__(self, counterparty: _Optional[str] = ..., tier: _Optional[str] = ..., reported: _Optional[int] = ..., last_utc_ns: _Optional[int] = ..., quotes: _Optional[float] = ..., fills: _Optional[float] = ..., answers: _Optional[float] = ..., censored: _Optional[float] = ..., refused: _Optional[float] = ..., fill_rate: _Optional[float] = ..., fill_rate_deviation: _Optional[float] = ..., estimated: _Optional[_Union[CounterpartyTerms, _Mapping]] = ..., used: _Optional[_Union[CounterpartyTerms, _Mapping]] = ..., configured: _Optional[_Union[CounterpartyTerms, _Mapping]] = ..., adverse_in_h: _Optional[float] = ..., markouts: _Optional[_Iterable[_Union[CounterpartyMarkout, _Mapping]]] = ..., sizes: _Optional[_Iterable[_Union[CounterpartySize, _Mapping]]] = ...) -> None: ...
