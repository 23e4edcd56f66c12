from google.protobuf.internal import containers as _containers
from google.protobuf.internal import enum_type_wrapper as _enum_type_wrapper
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from typing import ClassVar as _ClassVar, Iterable as _Iterable, Mapping as _Mapping, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class EventKind(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    EVENT_KIND_UNSPECIFIED: _ClassVar[EventKind]
    EVENT_KIND_ADD: _ClassVar[EventKind]
    EVENT_KIND_MODIFY: _ClassVar[EventKind]
    EVENT_KIND_CANCEL: _ClassVar[EventKind]
    EVENT_KIND_EXECUTE: _ClassVar[EventKind]
    EVENT_KIND_TRADE: _ClassVar[EventKind]
    EVENT_KIND_LEVEL: _ClassVar[EventKind]
    EVENT_KIND_QUOTE: _ClassVar[EventKind]
    EVENT_KIND_SNAPSHOT_BEGIN: _ClassVar[EventKind]
    EVENT_KIND_SNAPSHOT_END: _ClassVar[EventKind]
    EVENT_KIND_CLEAR: _ClassVar[EventKind]
    EVENT_KIND_STATUS: _ClassVar[EventKind]

class BookSide(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    BOOK_SIDE_UNSPECIFIED: _ClassVar[BookSide]
    BOOK_SIDE_BID: _ClassVar[BookSide]
    BOOK_SIDE_ASK: _ClassVar[BookSide]

class TradingStatus(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    TRADING_STATUS_UNSPECIFIED: _ClassVar[TradingStatus]
    TRADING_STATUS_TRADING: _ClassVar[TradingStatus]
    TRADING_STATUS_HALT: _ClassVar[TradingStatus]
    TRADING_STATUS_AUCTION: _ClassVar[TradingStatus]
    TRADING_STATUS_CLOSED: _ClassVar[TradingStatus]
EVENT_KIND_UNSPECIFIED: EventKind
EVENT_KIND_ADD: EventKind
EVENT_KIND_MODIFY: EventKind
EVENT_KIND_CANCEL: EventKind
EVENT_KIND_EXECUTE: EventKind
EVENT_KIND_TRADE: EventKind
EVENT_KIND_LEVEL: EventKind
EVENT_KIND_QUOTE: EventKind
EVENT_KIND_SNAPSHOT_BEGIN: EventKind
EVENT_KIND_SNAPSHOT_END: EventKind
EVENT_KIND_CLEAR: EventKind
EVENT_KIND_STATUS: EventKind
BOOK_SIDE_UNSPECIFIED: BookSide
BOOK_SIDE_BID: BookSide
BOOK_SIDE_ASK: BookSide
TRADING_STATUS_UNSPECIFIED: TradingStatus
TRADING_STATUS_TRADING: TradingStatus
TRADING_STATUS_HALT: TradingStatus
TRADING_STATUS_AUCTION: TradingStatus
TRADING_STATUS_CLOSED: TradingStatus

class MarketEvent(_message.Message):
    __slots__ = ("instrument", "kind", "side", "price", "size", "ask_price", "ask_size", "order_id", "exchange_utc_ns", "sequence", "status")
    INSTRUMENT_FIELD_NUMBER: _ClassVar[int]
    KIND_FIELD_NUMBER: _ClassVar[int]
    SIDE_FIELD_NUMBER: _ClassVar[int]
    PRICE_FIELD_NUMBER: _ClassVar[int]
    SIZE_FIELD_NUMBER: _ClassVar[int]
    ASK_PRICE_FIELD_NUMBER: _ClassVar[int]
    ASK_SIZE_FIELD_NUMBER: _ClassVar[int]
    ORDER_ID_FIELD_NUMBER: _ClassVar[int]
    EXCHANGE_UTC_NS_FIELD_NUMBER: _ClassVar[int]
    SEQUENCE_FIELD_NUMBER: _ClassVar[int]
    STATUS_FIELD_NUMBER: _ClassVar[int]
    instrument: str
    kind: EventKind
    side: BookSide
    price: str
    size: str
    ask_price: str
    ask_size: str
    order_id: int
    exchange_utc_ns: int
    sequence: int
    status: TradingStatus
    def __init__(self, instrument: _Optional[str] = ..., kind: _Optional[_Union[EventKind, str]] = ..., side: _Optional[_Union[BookSide, str]] = ..., price: _Optional[str] = ..., size: _Optional[str] = ..., ask_price: _Optional[str] = ..., ask_size: _Optional[str] = ..., order_id: _Optional[int] = ..., exchange_utc_ns: _Optional[int] = ..., sequence: _Optional[int] = ..., status: _Optional[_Union[TradingStatus, str]] = ...) -> None: ...

class PublishEventsRequest(_message.Message):
    __slots__ = ("events",)
    EVENTS_FIELD_NUMBER: _ClassVar[int]
    events: _containers.RepeatedCompositeFieldContainer[MarketEvent]
    def __init__(self, events: _Optional[_Iterable[_Union[MarketEvent, _Mapping]]] = ...) -> None: ...

class PublishEventsResponse(_message.Message):
    __slots__ = ("applied", "refused")
    APPLIED_FIELD_NUMBER: _ClassVar[int]
    REFUSED_FIELD_NUMBER: _ClassVar[int]
    applied: int
    refused: int
    def __init__(self, applied: _Optional[int] = ..., refused: _Optional[int] = ...) -> None: ...
