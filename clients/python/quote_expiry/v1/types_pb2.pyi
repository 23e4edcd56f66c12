from google.protobuf.internal import enum_type_wrapper as _enum_type_wrapper
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class Side(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    SIDE_UNSPECIFIED: _ClassVar[Side]
    SIDE_BUY: _ClassVar[Side]
    SIDE_SELL: _ClassVar[Side]
    SIDE_TWO_WAY: _ClassVar[Side]

class SizeUnit(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    SIZE_UNIT_UNSPECIFIED: _ClassVar[SizeUnit]
    SIZE_UNIT_LOTS: _ClassVar[SizeUnit]
    SIZE_UNIT_BASE_QUANTITY: _ClassVar[SizeUnit]
    SIZE_UNIT_CONTRACTS: _ClassVar[SizeUnit]
    SIZE_UNIT_NOTIONAL: _ClassVar[SizeUnit]

class Decision(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    DECISION_UNSPECIFIED: _ClassVar[Decision]
    DECISION_QUOTE: _ClassVar[Decision]
    DECISION_INDICATIVE: _ClassVar[Decision]
    DECISION_DECLINE: _ClassVar[Decision]

class Posture(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    POSTURE_UNSPECIFIED: _ClassVar[Posture]
    POSTURE_CLIENT_PRIORITY: _ClassVar[Posture]
    POSTURE_LIQUIDITY_PROVIDER: _ClassVar[Posture]
    POSTURE_RISK_AVERSE: _ClassVar[Posture]

class Mode(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    MODE_UNSPECIFIED: _ClassVar[Mode]
    MODE_TOLERANCE_P500: _ClassVar[Mode]
    MODE_TOLERANCE_CURVE: _ClassVar[Mode]
    MODE_STEP: _ClassVar[Mode]
    MODE_EXPECTED_VALUE: _ClassVar[Mode]

class Regime(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    REGIME_UNSPECIFIED: _ClassVar[Regime]
    REGIME_NORMAL: _ClassVar[Regime]
    REGIME_STRESS: _ClassVar[Regime]
    REGIME_AUCTION: _ClassVar[Regime]
    REGIME_SCHEDULED_NEWS: _ClassVar[Regime]
    REGIME_HALT: _ClassVar[Regime]

class Quality(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    QUALITY_UNSPECIFIED: _ClassVar[Quality]
    QUALITY_WARMING: _ClassVar[Quality]
    QUALITY_GOOD: _ClassVar[Quality]
    QUALITY_GAPPED: _ClassVar[Quality]
    QUALITY_STALE: _ClassVar[Quality]
    QUALITY_CROSSED: _ClassVar[Quality]
    QUALITY_HALTED: _ClassVar[Quality]

class QualityCause(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    QUALITY_CAUSE_UNSPECIFIED: _ClassVar[QualityCause]
    QUALITY_CAUSE_NO_DATA: _ClassVar[QualityCause]
    QUALITY_CAUSE_RESYNCHRONISING: _ClassVar[QualityCause]
    QUALITY_CAUSE_ONE_SIDED: _ClassVar[QualityCause]
    QUALITY_CAUSE_WARMING_UP: _ClassVar[QualityCause]
    QUALITY_CAUSE_LOST_MESSAGES: _ClassVar[QualityCause]
    QUALITY_CAUSE_FEED_DOWN: _ClassVar[QualityCause]
    QUALITY_CAUSE_BOOK_FULL: _ClassVar[QualityCause]
    QUALITY_CAUSE_LINE_SILENT: _ClassVar[QualityCause]
    QUALITY_CAUSE_BOOK_SILENT: _ClassVar[QualityCause]
    QUALITY_CAUSE_BOOK_UNANSWERED: _ClassVar[QualityCause]
    QUALITY_CAUSE_CROSSED: _ClassVar[QualityCause]
    QUALITY_CAUSE_HALT: _ClassVar[QualityCause]
    QUALITY_CAUSE_CLOSED: _ClassVar[QualityCause]
    QUALITY_CAUSE_DIVERGED: _ClassVar[QualityCause]
    QUALITY_CAUSE_BEYOND_KNOWN_DEPTH: _ClassVar[QualityCause]

class Rule(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    RULE_UNSPECIFIED: _ClassVar[Rule]
    RULE_KILL_SWITCH: _ClassVar[Rule]
    RULE_DATA_QUALITY: _ClassVar[Rule]
    RULE_REQUEST_OVERRIDE: _ClassVar[Rule]
    RULE_RUNTIME_OVERRIDE: _ClassVar[Rule]
    RULE_COUNTERPARTY_OVERRIDE: _ClassVar[Rule]
    RULE_COUNTERPARTY_TIER: _ClassVar[Rule]
    RULE_DESK_DEFAULT: _ClassVar[Rule]
    RULE_GLOBAL_DEFAULT: _ClassVar[Rule]
    RULE_MODEL_MONITOR: _ClassVar[Rule]

class Constraint(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    CONSTRAINT_UNSPECIFIED: _ClassVar[Constraint]
    CONSTRAINT_TOLERANCE: _ClassVar[Constraint]
    CONSTRAINT_MINIMUM: _ClassVar[Constraint]
    CONSTRAINT_MAXIMUM: _ClassVar[Constraint]
    CONSTRAINT_CLIENT_DEADLINE: _ClassVar[Constraint]
    CONSTRAINT_STEP: _ClassVar[Constraint]
    CONSTRAINT_BELOW_MINIMUM: _ClassVar[Constraint]
    CONSTRAINT_HORIZON: _ClassVar[Constraint]
    CONSTRAINT_VALUE: _ClassVar[Constraint]
    CONSTRAINT_VENUE_MAXIMUM: _ClassVar[Constraint]
    CONSTRAINT_VENUE_MINIMUM: _ClassVar[Constraint]
    CONSTRAINT_GRANULARITY: _ClassVar[Constraint]
    CONSTRAINT_TRANSIT: _ClassVar[Constraint]
    CONSTRAINT_MARKET: _ClassVar[Constraint]
    CONSTRAINT_EDGE: _ClassVar[Constraint]
    CONSTRAINT_EXPOSURE: _ClassVar[Constraint]

class Reason(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    REASON_UNSPECIFIED: _ClassVar[Reason]
    REASON_DATA_NOT_GOOD: _ClassVar[Reason]
    REASON_DOWNGRADED: _ClassVar[Reason]
    REASON_VOLATILITY: _ClassVar[Reason]
    REASON_SPREAD_VOLATILITY: _ClassVar[Reason]
    REASON_NEWS: _ClassVar[Reason]
    REASON_DECORRELATION: _ClassVar[Reason]
    REASON_UPDATE_FREQUENCY: _ClassVar[Reason]
    REASON_AUCTION: _ClassVar[Reason]
    REASON_SCHEDULED_NEWS: _ClassVar[Reason]
    REASON_HALT: _ClassVar[Reason]
    REASON_BELOW_MINIMUM: _ClassVar[Reason]
    REASON_DEADLINE_TOO_CLOSE: _ClassVar[Reason]
    REASON_MODEL_FALLBACK: _ClassVar[Reason]
    REASON_NO_VOLATILITY: _ClassVar[Reason]
    REASON_STALE_REQUEST: _ClassVar[Reason]
    REASON_HYSTERESIS: _ClassVar[Reason]
    REASON_OVERRIDE_REFUSED: _ClassVar[Reason]
    REASON_DISABLED: _ClassVar[Reason]
    REASON_MOVED_THROUGH: _ClassVar[Reason]
    REASON_NO_VALUE: _ClassVar[Reason]
    REASON_EDGE_TOO_SMALL: _ClassVar[Reason]
    REASON_NO_EDGE: _ClassVar[Reason]
    REASON_VENUE_MINIMUM: _ClassVar[Reason]
    REASON_CLOCK: _ClassVar[Reason]
    REASON_KILLED: _ClassVar[Reason]
    REASON_THROTTLED: _ClassVar[Reason]
    REASON_PRICE_FAR: _ClassVar[Reason]
    REASON_REFERENCE_FAR: _ClassVar[Reason]
    REASON_EDGE_CAPPED: _ClassVar[Reason]
    REASON_MODEL_STEPPED_DOWN: _ClassVar[Reason]
    REASON_EXPOSURE: _ClassVar[Reason]

class Actuation(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    ACTUATION_UNSPECIFIED: _ClassVar[Actuation]
    ACTUATION_ABSOLUTE: _ClassVar[Actuation]
    ACTUATION_RELATIVE: _ClassVar[Actuation]
    ACTUATION_WITHDRAW: _ClassVar[Actuation]
    ACTUATION_LAST_LOOK: _ClassVar[Actuation]
SIDE_UNSPECIFIED: Side
SIDE_BUY: Side
SIDE_SELL: Side
SIDE_TWO_WAY: Side
SIZE_UNIT_UNSPECIFIED: SizeUnit
SIZE_UNIT_LOTS: SizeUnit
SIZE_UNIT_BASE_QUANTITY: SizeUnit
SIZE_UNIT_CONTRACTS: SizeUnit
SIZE_UNIT_NOTIONAL: SizeUnit
DECISION_UNSPECIFIED: Decision
DECISION_QUOTE: Decision
DECISION_INDICATIVE: Decision
DECISION_DECLINE: Decision
POSTURE_UNSPECIFIED: Posture
POSTURE_CLIENT_PRIORITY: Posture
POSTURE_LIQUIDITY_PROVIDER: Posture
POSTURE_RISK_AVERSE: Posture
MODE_UNSPECIFIED: Mode
MODE_TOLERANCE_P500: Mode
MODE_TOLERANCE_CURVE: Mode
MODE_STEP: Mode
MODE_EXPECTED_VALUE: Mode
REGIME_UNSPECIFIED: Regime
REGIME_NORMAL: Regime
REGIME_STRESS: Regime
REGIME_AUCTION: Regime
REGIME_SCHEDULED_NEWS: Regime
REGIME_HALT: Regime
QUALITY_UNSPECIFIED: Quality
QUALITY_WARMING: Quality
QUALITY_GOOD: Quality
QUALITY_GAPPED: Quality
QUALITY_STALE: Quality
QUALITY_CROSSED: Quality
QUALITY_HALTED: Quality
QUALITY_CAUSE_UNSPECIFIED: QualityCause
QUALITY_CAUSE_NO_DATA: QualityCause
QUALITY_CAUSE_RESYNCHRONISING: QualityCause
QUALITY_CAUSE_ONE_SIDED: QualityCause
QUALITY_CAUSE_WARMING_UP: QualityCause
QUALITY_CAUSE_LOST_MESSAGES: QualityCause
QUALITY_CAUSE_FEED_DOWN: QualityCause
QUALITY_CAUSE_BOOK_FULL: QualityCause
QUALITY_CAUSE_LINE_SILENT: QualityCause
QUALITY_CAUSE_BOOK_SILENT: QualityCause
QUALITY_CAUSE_BOOK_UNANSWERED: QualityCause
QUALITY_CAUSE_CROSSED: QualityCause
QUALITY_CAUSE_HALT: QualityCause
QUALITY_CAUSE_CLOSED: QualityCause
QUALITY_CAUSE_DIVERGED: QualityCause
QUALITY_CAUSE_BEYOND_KNOWN_DEPTH: QualityCause
RULE_UNSPECIFIED: Rule
RULE_KILL_SWITCH: Rule
RULE_DATA_QUALITY: Rule
RULE_REQUEST_OVERRIDE: Rule
RULE_RUNTIME_OVERRIDE: Rule
RULE_COUNTERPARTY_OVERRIDE: Rule
RULE_COUNTERPARTY_TIER: Rule
RULE_DESK_DEFAULT: Rule
RULE_GLOBAL_DEFAULT: Rule
RULE_MODEL_MONITOR: Rule
CONSTRAINT_UNSPECIFIED: Constraint
CONSTRAINT_TOLERANCE: Constraint
CONSTRAINT_MINIMUM: Constraint
CONSTRAINT_MAXIMUM: Constraint
CONSTRAINT_CLIENT_DEADLINE: Constraint
CONSTRAINT_STEP: Constraint
CONSTRAINT_BELOW_MINIMUM: Constraint
CONSTRAINT_HORIZON: Constraint
CONSTRAINT_VALUE: Constraint
CONSTRAINT_VENUE_MAXIMUM: Constraint
CONSTRAINT_VENUE_MINIMUM: Constraint
CONSTRAINT_GRANULARITY: Constraint
CONSTRAINT_TRANSIT: Constraint
CONSTRAINT_MARKET: Constraint
CONSTRAINT_EDGE: Constraint
CONSTRAINT_EXPOSURE: Constraint
REASON_UNSPECIFIED: Reason
REASON_DATA_NOT_GOOD: Reason
REASON_DOWNGRADED: Reason
REASON_VOLATILITY: Reason
REASON_SPREAD_VOLATILITY: Reason
REASON_NEWS: Reason
REASON_DECORRELATION: Reason
REASON_UPDATE_FREQUENCY: Reason
REASON_AUCTION: Reason
REASON_SCHEDULED_NEWS: Reason
REASON_HALT: Reason
REASON_BELOW_MINIMUM: Reason
REASON_DEADLINE_TOO_CLOSE: Reason
REASON_MODEL_FALLBACK: Reason
REASON_NO_VOLATILITY: Reason
REASON_STALE_REQUEST: Reason
REASON_HYSTERESIS: Reason
REASON_OVERRIDE_REFUSED: Reason
REASON_DISABLED: Reason
REASON_MOVED_THROUGH: Reason
REASON_NO_VALUE: Reason
REASON_EDGE_TOO_SMALL: Reason
REASON_NO_EDGE: Reason
REASON_VENUE_MINIMUM: Reason
REASON_CLOCK: Reason
REASON_KILLED: Reason
REASON_THROTTLED: Reason
REASON_PRICE_FAR: Reason
REASON_REFERENCE_FAR: Reason
REASON_EDGE_CAPPED: Reason
REASON_MODEL_STEPPED_DOWN: Reason
REASON_EXPOSURE: Reason
ACTUATION_UNSPECIFIED: Actuation
ACTUATION_ABSOLUTE: Actuation
ACTUATION_RELATIVE: Actuation
ACTUATION_WITHDRAW: Actuation
ACTUATION_LAST_LOOK: Actuation

class Size(_message.Message):
    __slots__ = ("quantity", "unit")
    QUANTITY_FIELD_NUMBER: _ClassVar[int]
    UNIT_FIELD_NUMBER: _ClassVar[int]
    quantity: str
    unit: SizeUnit
    def __init__(self, quantity: _Optional[str] = ..., unit: _Optional[_Union[SizeUnit, str]] = ...) -> None: ...
