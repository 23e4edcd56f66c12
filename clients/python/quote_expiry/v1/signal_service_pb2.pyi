from quote_expiry.v1 import quote_expiry_service_pb2 as _quote_expiry_service_pb2
from quote_expiry.v1 import types_pb2 as _types_pb2
from google.protobuf.internal import containers as _containers
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from typing import ClassVar as _ClassVar, Iterable as _Iterable, Mapping as _Mapping, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class SignalReceipt(_message.Message):
    __slots__ = ("input_sequence", "applied_at_utc_ns", "ignored")
    INPUT_SEQUENCE_FIELD_NUMBER: _ClassVar[int]
    APPLIED_AT_UTC_NS_FIELD_NUMBER: _ClassVar[int]
    IGNORED_FIELD_NUMBER: _ClassVar[int]
    input_sequence: int
    applied_at_utc_ns: int
    ignored: bool
    def __init__(self, input_sequence: _Optional[int] = ..., applied_at_utc_ns: _Optional[int] = ..., ignored: bool = ...) -> None: ...

class PublishNewsRequest(_message.Message):
    __slots__ = ("score", "instrument", "source", "published_at_utc_ns", "headline", "time_to_live_ns")
    SCORE_FIELD_NUMBER: _ClassVar[int]
    INSTRUMENT_FIELD_NUMBER: _ClassVar[int]
    SOURCE_FIELD_NUMBER: _ClassVar[int]
    PUBLISHED_AT_UTC_NS_FIELD_NUMBER: _ClassVar[int]
    HEADLINE_FIELD_NUMBER: _ClassVar[int]
    TIME_TO_LIVE_NS_FIELD_NUMBER: _ClassVar[int]
    score: float
    instrument: str
    source: str
    published_at_utc_ns: int
    headline: str
    time_to_live_ns: int
    def __init__(self, score: _Optional[float] = ..., instrument: _Optional[str] = ..., source: _Optional[str] = ..., published_at_utc_ns: _Optional[int] = ..., headline: _Optional[str] = ..., time_to_live_ns: _Optional[int] = ...) -> None: ...

class PublishNewsResponse(_message.Message):
    __slots__ = ("receipt", "score")
    RECEIPT_FIELD_NUMBER: _ClassVar[int]
    SCORE_FIELD_NUMBER: _ClassVar[int]
    receipt: SignalReceipt
    score: float
    def __init__(self, receipt: _Optional[_Union[SignalReceipt, _Mapping]] = ..., score: _Optional[float] = ...) -> None: ...

class PublishVolatilityIndexRequest(_message.Message):
    __slots__ = ("index", "level", "published_at_utc_ns", "time_to_live_ns")
    INDEX_FIELD_NUMBER: _ClassVar[int]
    LEVEL_FIELD_NUMBER: _ClassVar[int]
    PUBLISHED_AT_UTC_NS_FIELD_NUMBER: _ClassVar[int]
    TIME_TO_LIVE_NS_FIELD_NUMBER: _ClassVar[int]
    index: str
    level: float
    published_at_utc_ns: int
    time_to_live_ns: int
    def __init__(self, index: _Optional[str] = ..., level: _Optional[float] = ..., published_at_utc_ns: _Optional[int] = ..., time_to_live_ns: _Optional[int] = ...) -> None: ...

class PublishVolatilityIndexResponse(_message.Message):
    __slots__ = ("receipt",)
    RECEIPT_FIELD_NUMBER: _ClassVar[int]
    receipt: SignalReceipt
    def __init__(self, receipt: _Optional[_Union[SignalReceipt, _Mapping]] = ...) -> None: ...

class PublishInventoryRequest(_message.Message):
    __slots__ = ("instrument", "desk", "position", "limit", "unit", "as_of_utc_ns", "time_to_live_ns")
    INSTRUMENT_FIELD_NUMBER: _ClassVar[int]
    DESK_FIELD_NUMBER: _ClassVar[int]
    POSITION_FIELD_NUMBER: _ClassVar[int]
    LIMIT_FIELD_NUMBER: _ClassVar[int]
    UNIT_FIELD_NUMBER: _ClassVar[int]
    AS_OF_UTC_NS_FIELD_NUMBER: _ClassVar[int]
    TIME_TO_LIVE_NS_FIELD_NUMBER: _ClassVar[int]
    instrument: str
    desk: str
    position: str
    limit: str
    unit: _types_pb2.SizeUnit
    as_of_utc_ns: int
    time_to_live_ns: int
    def __init__(self, instrument: _Optional[str] = ..., desk: _Optional[str] = ..., position: _Optional[str] = ..., limit: _Optional[str] = ..., unit: _Optional[_Union[_types_pb2.SizeUnit, str]] = ..., as_of_utc_ns: _Optional[int] = ..., time_to_live_ns: _Optional[int] = ...) -> None: ...

class PublishInventoryResponse(_message.Message):
    __slots__ = ("receipt",)
    RECEIPT_FIELD_NUMBER: _ClassVar[int]
    receipt: SignalReceipt
    def __init__(self, receipt: _Optional[_Union[SignalReceipt, _Mapping]] = ...) -> None: ...

class PublishGreeksRequest(_message.Message):
    __slots__ = ("instrument", "greeks", "as_of_utc_ns", "time_to_live_ns")
    INSTRUMENT_FIELD_NUMBER: _ClassVar[int]
    GREEKS_FIELD_NUMBER: _ClassVar[int]
    AS_OF_UTC_NS_FIELD_NUMBER: _ClassVar[int]
    TIME_TO_LIVE_NS_FIELD_NUMBER: _ClassVar[int]
    instrument: str
    greeks: _quote_expiry_service_pb2.Greeks
    as_of_utc_ns: int
    time_to_live_ns: int
    def __init__(self, instrument: _Optional[str] = ..., greeks: _Optional[_Union[_quote_expiry_service_pb2.Greeks, _Mapping]] = ..., as_of_utc_ns: _Optional[int] = ..., time_to_live_ns: _Optional[int] = ...) -> None: ...

class PublishGreeksResponse(_message.Message):
    __slots__ = ("receipt",)
    RECEIPT_FIELD_NUMBER: _ClassVar[int]
    receipt: SignalReceipt
    def __init__(self, receipt: _Optional[_Union[SignalReceipt, _Mapping]] = ...) -> None: ...

class CalendarEvent(_message.Message):
    __slots__ = ("event_id", "regime", "instruments", "from_utc_ns", "until_utc_ns", "description", "venues")
    EVENT_ID_FIELD_NUMBER: _ClassVar[int]
    REGIME_FIELD_NUMBER: _ClassVar[int]
    INSTRUMENTS_FIELD_NUMBER: _ClassVar[int]
    FROM_UTC_NS_FIELD_NUMBER: _ClassVar[int]
    UNTIL_UTC_NS_FIELD_NUMBER: _ClassVar[int]
    DESCRIPTION_FIELD_NUMBER: _ClassVar[int]
    VENUES_FIELD_NUMBER: _ClassVar[int]
    event_id: str
    regime: _types_pb2.Regime
    instruments: _containers.RepeatedScalarFieldContainer[str]
    from_utc_ns: int
    until_utc_ns: int
    description: str
    venues: _containers.RepeatedScalarFieldContainer[str]
    def __init__(self, event_id: _Optional[str] = ..., regime: _Optional[_Union[_types_pb2.Regime, str]] = ..., instruments: _Optional[_Iterable[str]] = ..., from_utc_ns: _Optional[int] = ..., until_utc_ns: _Optional[int] = ..., description: _Optional[str] = ..., venues: _Optional[_Iterable[str]] = ...) -> None: ...

class PublishCalendarRequest(_message.Message):
    __slots__ = ("events", "removed_event_ids")
    EVENTS_FIELD_NUMBER: _ClassVar[int]
    REMOVED_EVENT_IDS_FIELD_NUMBER: _ClassVar[int]
    events: _containers.RepeatedCompositeFieldContainer[CalendarEvent]
    removed_event_ids: _containers.RepeatedScalarFieldContainer[str]
    def __init__(self, events: _Optional[_Iterable[_Union[CalendarEvent, _Mapping]]] = ..., removed_event_ids: _Optional[_Iterable[str]] = ...) -> None: ...

class PublishCalendarResponse(_message.Message):
    __slots__ = ("receipt", "removed_event_ids")
    RECEIPT_FIELD_NUMBER: _ClassVar[int]
    REMOVED_EVENT_IDS_FIELD_NUMBER: _ClassVar[int]
    receipt: SignalReceipt
    removed_event_ids: _containers.RepeatedScalarFieldContainer[str]
    def __init__(self, receipt: _Optional[_Union[SignalReceipt, _Mapping]] = ..., removed_event_ids: _Optional[_Iterable[str]] = ...) -> None: ...
