from enum import IntEnum, IntFlag
from typing import Any

import numpy as np
import numpy.typing as npt

HORIZONS_NS: tuple[int, ...]
NO_INDEX_VALUE: int
EVENT_DTYPE: np.dtype[np.void]
SIGNAL_DTYPE: np.dtype[np.void]
REQUEST_DTYPE: np.dtype[np.void]
DECISION_DTYPE: np.dtype[np.void]
SHADOW_DTYPE: np.dtype[np.void]
LABEL_DTYPE: np.dtype[np.void]
WATCH_DTYPE: np.dtype[np.void]

class EventKindCode(IntEnum):
    ADD = 1
    MODIFY = 2
    CANCEL = 3
    EXECUTE = 4
    TRADE = 5
    LEVEL = 6
    QUOTE = 7
    SNAPSHOT_BEGIN = 8
    SNAPSHOT_END = 9
    CLEAR = 10
    STATUS = 11

class SideCode(IntEnum):
    NONE = 0
    BID = 1
    ASK = 2

class EventFlags(IntFlag):
    LAST = 1
    SNAPSHOT = 2
    GAP = 4
    NO_SIZE = 8

class StatusKind(IntEnum):
    TRADING = 1
    HALT = 2
    AUCTION = 3
    CLOSED = 4
    FEED_DOWN = 5
    FEED_UP = 6
    HEARTBEAT = 7
    MISSING = 8
    COMPANION_DOWN = 9
    COMPANION_UP = 10

class SignalCode(IntEnum):
    NEWS = 1
    VOLATILITY_INDEX = 2
    INVENTORY = 3
    DELTA_GAMMA = 4
    VEGA_THETA = 5
    IMPLIED_VOLATILITY = 6
    MARK = 7
    CALENDAR = 16

class PostureCode(IntEnum):
    NONE = 0
    CLIENT_PRIORITY = 1
    LIQUIDITY_PROVIDER = 2
    RISK_AVERSE = 3

class RegimeCode(IntEnum):
    NORMAL = 0
    STRESS = 1
    AUCTION = 2
    SCHEDULED_NEWS = 3
    HALT = 4

class QualityCode(IntEnum):
    WARMING = 0
    GOOD = 1
    GAPPED = 2
    STALE = 3
    CROSSED = 4
    HALTED = 5

class DecisionCode(IntEnum):
    QUOTE = 1
    INDICATIVE = 2
    DECLINE = 3

class RuleCode(IntEnum):
    NONE = 0
    KILL_SWITCH = 1
    DATA_QUALITY = 2
    REQUEST_OVERRIDE = 3
    RUNTIME_OVERRIDE = 4
    COUNTERPARTY_OVERRIDE = 5
    COUNTERPARTY_TIER = 6
    DESK_DEFAULT = 7
    GLOBAL_DEFAULT = 8
    MODEL_MONITOR = 9

class BindingFlags(IntFlag):
    TOLERANCE = 1
    MINIMUM = 2
    MAXIMUM = 4
    CLIENT_DEADLINE = 8
    STEP = 16
    BELOW_MINIMUM = 32
    HORIZON = 64
    VALUE = 128
    VENUE_MAXIMUM = 256
    VENUE_MINIMUM = 512
    GRANULARITY = 1024
    TRANSIT = 2048
    MARKET = 4096
    EDGE = 8192
    EXPOSURE = 16384

class ReasonFlags(IntFlag):
    DATA_NOT_GOOD = 1
    DOWNGRADED = 2
    VOLATILITY = 4
    SPREAD_VOLATILITY = 8
    NEWS = 16
    DECORRELATION = 32
    UPDATE_FREQUENCY = 64
    AUCTION = 128
    SCHEDULED_NEWS = 256
    HALT = 512
    BELOW_MINIMUM = 1024
    DEADLINE_TOO_CLOSE = 2048
    MODEL_FALLBACK = 4096
    NO_VOLATILITY = 8192
    STALE_REQUEST = 16384
    HYSTERESIS = 32768
    OVERRIDE_REFUSED = 65536
    DISABLED = 131072
    MOVED_THROUGH = 262144
    NO_VALUE = 524288
    EDGE_TOO_SMALL = 1048576
    NO_EDGE = 2097152
    VENUE_MINIMUM = 4194304
    CLOCK = 8388608
    KILLED = 16777216
    THROTTLED = 33554432
    PRICE_FAR = 67108864
    REFERENCE_FAR = 134217728
    EDGE_CAPPED = 268435456
    MODEL_STEPPED_DOWN = 536870912
    EXPOSURE = 1073741824

class ModeCode(IntEnum):
    TOLERANCE_P500 = 1
    TOLERANCE_CURVE = 2
    STEP = 3
    EXPECTED_VALUE = 4

class WatchCode(IntEnum):
    WITHDRAW = 1
    EXPIRED = 2
    REQUOTE_HINT = 3

class WithdrawCode(IntEnum):
    NONE = 0
    VALUE = 1
    ADVERSE_MOVE = 2
    STRESS = 3
    HALT = 4
    KILL_SWITCH = 5
    DATA_QUALITY = 6
    WATCH_LOST = 7
    LIFE_ENDED = 8

class QuoteStateCode(IntEnum):
    NONE = 0
    LIVE = 1
    PARTLY_FILLED = 2
    FILLED = 3
    WITHDRAWN = 4
    TOO_LATE = 5
    EXPIRED = 6
    CANCELLED = 7

class ModelRoleCode(IntEnum):
    NONE = 0
    CHAMPION = 1
    CHALLENGER = 2

class ActuationCode(IntEnum):
    NONE = 0
    ABSOLUTE = 1
    RELATIVE = 2
    WITHDRAW = 3
    LAST_LOOK = 4

class ObservedFlags(IntFlag):
    MOVED_KNOWN = 1
    BOOK_SEEN = 2
    KILLED = 4
    COUNTERPARTY_KILLED = 8
    THROTTLED = 16
    STEPPED_DOWN = 32

class EventBuffer:
    def __init__(self, capacity: int = 65536) -> None: ...
    @property
    def capacity(self) -> int: ...
    @property
    def count(self) -> int: ...
    @property
    def overflowed(self) -> int: ...
    def __len__(self) -> int: ...
    def clear(self) -> None: ...
    def append(
        self,
        kind: int,
        *,
        instrument: int = 0,
        side: int = 0,
        flags: int = 0,
        exchange_ns: int = 0,
        receive_ns: int = 0,
        sequence: int = 0,
        price_ticks: int = 0,
        size_lots: int = 0,
        order_id: int = 0,
        aux: int = 0,
    ) -> None: ...
    def extend(self, array: npt.NDArray[np.void]) -> None: ...
    def array(self) -> npt.NDArray[np.void]: ...

class RequestFlags(IntFlag):
    HAS_SIZE = 1
    HAS_PRICE = 2
    HAS_EDGE = 4
    HAS_REFERENCE = 8
    HAS_DEADLINE = 16
    HAS_PRICED_AT = 32
    UNSYNCHRONISED = 64
    SECOND_SIDE = 128
    WATCHED = 256
    FIRST_LEG = 512
    LEG = 1024
    LAST_LEG = 2048
    ON_UNDERLYING = 4096
    RESIDUAL = 8192
    GREEKS = 16384
    SENSITIVITIES = 32768

class RequestRecord:
    def __init__(
        self,
        instrument: int,
        side: int,
        *,
        now_ns: int,
        counterparty: int = 0xFFFFFFFF,
        desk: int = 0xFFFFFFFF,
        size_lots: float | None = None,
        price_ticks: float | None = None,
        edge_ticks: float | None = None,
        reference_ticks: float | None = None,
        priced_at_ns: int | None = None,
        client_deadline_ns: int | None = None,
        posture: int = 0,
        session: int = 0xFFFFFFFF,
        synchronised: bool = True,
        two_way: bool = False,
        second_side: bool = False,
        watched: bool = False,
        ratio: float | None = None,
        package_side: int = 1,
        package_price: float | None = None,
        package_edge: float | None = None,
        package_reference: float | None = None,
        delta: float | None = None,
        gamma: float = 0.0,
        vega: float = 0.0,
        underlying: int = 0xFFFFFFFF,
    ) -> None: ...
    def canonical(self) -> bytes: ...
    @staticmethod
    def from_bytes(raw: bytes | memoryview) -> RequestRecord: ...
    @property
    def now_ns(self) -> int: ...
    @property
    def instrument(self) -> int: ...
    @property
    def side(self) -> int: ...
    @property
    def counterparty(self) -> int: ...
    @property
    def desk(self) -> int: ...
    @property
    def session(self) -> int: ...
    @property
    def watched(self) -> bool: ...
    @property
    def posture(self) -> int: ...
    @property
    def two_way(self) -> bool: ...
    @property
    def size_lots(self) -> float | None: ...
    @property
    def price_ticks(self) -> float | None: ...
    @property
    def flags(self) -> int: ...
    @property
    def ratio(self) -> float: ...
    @property
    def delta(self) -> float: ...
    @property
    def gamma(self) -> float: ...
    @property
    def vega(self) -> float: ...
    @property
    def underlying(self) -> int: ...
    @property
    def weight(self) -> float: ...
    @property
    def residual_ticks(self) -> float: ...
    @property
    def h_least(self) -> float: ...
    @property
    def loss_least(self) -> float: ...
    @property
    def inventory(self) -> float: ...
    @property
    def before(self) -> tuple[float, ...]: ...
    @property
    def own_quality(self) -> int: ...
    @property
    def own_regime(self) -> int: ...
    @property
    def package_side(self) -> int: ...
    @property
    def priced_at_ns(self) -> int | None: ...
    @property
    def client_deadline_ns(self) -> int | None: ...

class DecisionRecord:
    def __init__(self) -> None: ...
    def canonical(self) -> bytes: ...
    @staticmethod
    def from_bytes(raw: bytes | memoryview) -> DecisionRecord: ...
    def array(self) -> Any: ...
    def feature(self, index: int) -> float | None: ...
    @property
    def input_sequence(self) -> int: ...
    @property
    def now_ns(self) -> int: ...
    @property
    def life_ns(self) -> int: ...
    @property
    def expiry_ns(self) -> int: ...
    @property
    def data_age_ns(self) -> int: ...
    @property
    def reasons(self) -> int: ...
    @property
    def reference_ticks(self) -> float: ...
    @property
    def edge_ticks(self) -> float: ...
    @property
    def h_ticks(self) -> float: ...
    @property
    def moved_ticks(self) -> float: ...
    @property
    def sigma_ticks(self) -> float: ...
    @property
    def alpha(self) -> float: ...
    @property
    def calibration(self) -> tuple[float, float, float, float]: ...
    @property
    def held_alpha(self) -> float: ...
    @property
    def exposure_room(self) -> float: ...
    @property
    def learned(self) -> tuple[float, float, float, float] | None: ...
    @property
    def life_without_watch_ns(self) -> int: ...
    @property
    def risk_sum(self) -> float: ...
    @property
    def p_ref(self) -> float: ...
    @property
    def p_life(self) -> float: ...
    @property
    def p(self) -> tuple[float, ...]: ...
    @property
    def risk(self) -> tuple[float, ...]: ...
    @property
    def instrument(self) -> int: ...
    @property
    def counterparty(self) -> int: ...
    @property
    def desk(self) -> int: ...
    @property
    def config_revision(self) -> int: ...
    @property
    def model_revision(self) -> int: ...
    @property
    def binding(self) -> int: ...
    @property
    def kind(self) -> int: ...
    @property
    def posture_requested(self) -> int: ...
    @property
    def posture_effective(self) -> int: ...
    @property
    def rule(self) -> int: ...
    @property
    def regime(self) -> int: ...
    @property
    def quality(self) -> int: ...
    @property
    def side(self) -> int: ...
    @property
    def mode(self) -> int: ...
    @property
    def rule_index(self) -> int: ...
    @property
    def expected_value_ticks(self) -> float: ...
    @property
    def break_even_edge_ticks(self) -> float: ...
    @property
    def venue_life_ns(self) -> int: ...
    @property
    def mid_ticks(self) -> float: ...
    @property
    def spread_ticks(self) -> float: ...
    @property
    def observed(self) -> int: ...
    @property
    def session(self) -> int: ...
    @property
    def actuation(self) -> int: ...
    @property
    def model_role(self) -> int: ...
