"""Fixed-size input and output records, their numpy dtypes, and Python views of them."""

from enum import IntEnum, IntFlag

import numpy as np

from cpython.mem cimport PyMem_Calloc, PyMem_Free
from libc.math cimport NAN, isfinite
from libc.string cimport memcpy, memset

HORIZONS_NS = tuple(ms * 1_000_000 for ms in (25, 50, 100, 150, 250, 500, 750, 1000, 1500, 2000, 3000, 5000))
NO_INDEX_VALUE = 0xFFFFFFFF


class EventKindCode(IntEnum):
    ADD = EV_ADD
    MODIFY = EV_MODIFY
    CANCEL = EV_CANCEL
    EXECUTE = EV_EXECUTE
    TRADE = EV_TRADE
    LEVEL = EV_LEVEL
    QUOTE = EV_QUOTE
    SNAPSHOT_BEGIN = EV_SNAPSHOT_BEGIN
    SNAPSHOT_END = EV_SNAPSHOT_END
    CLEAR = EV_CLEAR
    STATUS = EV_STATUS


class SideCode(IntEnum):
    NONE = SIDE_NONE
    BID = SIDE_BID
    ASK = SIDE_ASK


class EventFlags(IntFlag):
    LAST = FLAG_LAST
    SNAPSHOT = FLAG_SNAPSHOT
    GAP = FLAG_GAP
    NO_SIZE = FLAG_NO_SIZE


class StatusKind(IntEnum):
    TRADING = STATUS_TRADING
    HALT = STATUS_HALT
    AUCTION = STATUS_AUCTION
    CLOSED = STATUS_CLOSED
    FEED_DOWN = STATUS_FEED_DOWN
    FEED_UP = STATUS_FEED_UP
    HEARTBEAT = STATUS_HEARTBEAT
    MISSING = STATUS_MISSING
    COMPANION_DOWN = STATUS_COMPANION_DOWN
    COMPANION_UP = STATUS_COMPANION_UP


class SignalCode(IntEnum):
    NEWS = SIG_NEWS
    VOLATILITY_INDEX = SIG_VOLATILITY_INDEX
    INVENTORY = SIG_INVENTORY
    DELTA_GAMMA = SIG_DELTA_GAMMA
    VEGA_THETA = SIG_VEGA_THETA
    IMPLIED_VOLATILITY = SIG_IMPLIED_VOLATILITY
    MARK = SIG_MARK
    CALENDAR = SIG_CALENDAR


class PostureCode(IntEnum):
    NONE = POSTURE_NONE
    CLIENT_PRIORITY = POSTURE_CLIENT_PRIORITY
    LIQUIDITY_PROVIDER = POSTURE_LIQUIDITY_PROVIDER
    RISK_AVERSE = POSTURE_RISK_AVERSE


class RegimeCode(IntEnum):
    NORMAL = REGIME_NORMAL
    STRESS = REGIME_STRESS
    AUCTION = REGIME_AUCTION
    SCHEDULED_NEWS = REGIME_SCHEDULED_NEWS
    HALT = REGIME_HALT


class QualityCode(IntEnum):
    WARMING = QUALITY_WARMING
    GOOD = QUALITY_GOOD
    GAPPED = QUALITY_GAPPED
    STALE = QUALITY_STALE
    CROSSED = QUALITY_CROSSED
    HALTED = QUALITY_HALTED


class DecisionCode(IntEnum):
    QUOTE = DECISION_QUOTE
    INDICATIVE = DECISION_INDICATIVE
    DECLINE = DECISION_DECLINE


class RuleCode(IntEnum):
    NONE = RULE_NONE
    KILL_SWITCH = RULE_KILL_SWITCH
    DATA_QUALITY = RULE_DATA_QUALITY
    REQUEST_OVERRIDE = RULE_REQUEST_OVERRIDE
    RUNTIME_OVERRIDE = RULE_RUNTIME_OVERRIDE
    COUNTERPARTY_OVERRIDE = RULE_COUNTERPARTY_OVERRIDE
    COUNTERPARTY_TIER = RULE_COUNTERPARTY_TIER
    DESK_DEFAULT = RULE_DESK_DEFAULT
    GLOBAL_DEFAULT = RULE_GLOBAL_DEFAULT
    MODEL_MONITOR = RULE_MODEL_MONITOR


class RequestFlags(IntFlag):
    HAS_SIZE = REQ_HAS_SIZE
    HAS_PRICE = REQ_HAS_PRICE
    HAS_EDGE = REQ_HAS_EDGE
    HAS_REFERENCE = REQ_HAS_REFERENCE
    HAS_DEADLINE = REQ_HAS_DEADLINE
    HAS_PRICED_AT = REQ_HAS_PRICED_AT
    UNSYNCHRONISED = REQ_UNSYNCHRONISED
    SECOND_SIDE = REQ_SECOND_SIDE
    WATCHED = REQ_WATCHED
    FIRST_LEG = REQ_FIRST_LEG
    LEG = REQ_LEG
    LAST_LEG = REQ_LAST_LEG
    ON_UNDERLYING = REQ_ON_UNDERLYING
    RESIDUAL = REQ_RESIDUAL
    GREEKS = REQ_GREEKS
    SENSITIVITIES = REQ_SENSITIVITIES


class BindingFlags(IntFlag):
    TOLERANCE = BIND_TOLERANCE
    MINIMUM = BIND_MIN
    MAXIMUM = BIND_MAX
    CLIENT_DEADLINE = BIND_CLIENT_DEADLINE
    STEP = BIND_STEP
    BELOW_MINIMUM = BIND_BELOW_MINIMUM
    HORIZON = BIND_HORIZON
    VALUE = BIND_VALUE
    VENUE_MAXIMUM = BIND_VENUE_MAX
    VENUE_MINIMUM = BIND_VENUE_MIN
    GRANULARITY = BIND_GRANULARITY
    TRANSIT = BIND_TRANSIT
    MARKET = BIND_MARKET
    EDGE = BIND_EDGE
    EXPOSURE = BIND_EXPOSURE


class ReasonFlags(IntFlag):
    DATA_NOT_GOOD = WHY_NOT_GOOD
    DOWNGRADED = WHY_DOWNGRADED
    VOLATILITY = WHY_VOLATILITY
    SPREAD_VOLATILITY = WHY_SPREAD_VOLATILITY
    NEWS = WHY_NEWS
    DECORRELATION = WHY_DECORRELATION
    UPDATE_FREQUENCY = WHY_UPDATE_FREQUENCY
    AUCTION = WHY_AUCTION
    SCHEDULED_NEWS = WHY_SCHEDULED_NEWS
    HALT = WHY_HALT
    BELOW_MINIMUM = WHY_BELOW_MINIMUM
    DEADLINE_TOO_CLOSE = WHY_DEADLINE_TOO_CLOSE
    MODEL_FALLBACK = WHY_MODEL_FALLBACK
    NO_VOLATILITY = WHY_NO_VOLATILITY
    STALE_REQUEST = WHY_STALE_REQUEST
    HYSTERESIS = WHY_HYSTERESIS
    OVERRIDE_REFUSED = WHY_OVERRIDE_REFUSED
    DISABLED = WHY_DISABLED
    MOVED_THROUGH = WHY_MOVED_THROUGH
    NO_VALUE = WHY_NO_VALUE
    EDGE_TOO_SMALL = WHY_EDGE_TOO_SMALL
    NO_EDGE = WHY_NO_EDGE
    VENUE_MINIMUM = WHY_VENUE_MINIMUM
    CLOCK = WHY_CLOCK
    KILLED = WHY_KILLED
    THROTTLED = WHY_THROTTLED
    PRICE_FAR = WHY_PRICE_FAR
    REFERENCE_FAR = WHY_REFERENCE_FAR
    EDGE_CAPPED = WHY_EDGE_CAPPED
    MODEL_STEPPED_DOWN = WHY_MODEL_STEPPED_DOWN
    EXPOSURE = WHY_EXPOSURE


class ModeCode(IntEnum):
    TOLERANCE_P500 = MODE_TOLERANCE_P500
    TOLERANCE_CURVE = MODE_TOLERANCE_CURVE
    STEP = MODE_STEP
    EXPECTED_VALUE = MODE_EXPECTED_VALUE


class WatchCode(IntEnum):
    WITHDRAW = WATCH_WITHDRAW
    EXPIRED = WATCH_EXPIRED
    REQUOTE_HINT = WATCH_REQUOTE_HINT


class WithdrawCode(IntEnum):
    NONE = WITHDRAW_NONE
    VALUE = WITHDRAW_VALUE
    ADVERSE_MOVE = WITHDRAW_ADVERSE_MOVE
    STRESS = WITHDRAW_STRESS
    HALT = WITHDRAW_HALT
    KILL_SWITCH = WITHDRAW_KILL_SWITCH
    DATA_QUALITY = WITHDRAW_DATA_QUALITY
    WATCH_LOST = WITHDRAW_WATCH_LOST
    LIFE_ENDED = WITHDRAW_LIFE_ENDED


class QuoteStateCode(IntEnum):
    NONE = QUOTE_NONE
    LIVE = QUOTE_LIVE
    PARTLY_FILLED = QUOTE_PARTLY_FILLED
    FILLED = QUOTE_FILLED
    WITHDRAWN = QUOTE_WITHDRAWN
    TOO_LATE = QUOTE_TOO_LATE
    EXPIRED = QUOTE_EXPIRED
    CANCELLED = QUOTE_CANCELLED


class ModelRoleCode(IntEnum):
    NONE = MODEL_NONE
    CHAMPION = MODEL_CHAMPION
    CHALLENGER = MODEL_CHALLENGER


class ActuationCode(IntEnum):
    NONE = ACTUATION_NONE
    ABSOLUTE = ACTUATION_ABSOLUTE
    RELATIVE = ACTUATION_RELATIVE
    WITHDRAW = ACTUATION_WITHDRAW
    LAST_LOOK = ACTUATION_LAST_LOOK


class ObservedFlags(IntFlag):
    MOVED_KNOWN = OBS_MOVED_KNOWN
    BOOK_SEEN = OBS_BOOK_SEEN
    KILLED = OBS_KILLED
    COUNTERPARTY_KILLED = OBS_COUNTERPARTY_KILLED
    THROTTLED = OBS_THROTTLED
    STEPPED_DOWN = OBS_STEPPED_DOWN


# Never read: their only use is to measure where each field lies.
cdef Event _event
cdef Signal _signal
cdef Request _request
cdef Decision _decision
cdef ShadowAnswer _shadow
cdef LabelRecord _label
cdef WatchRecord _watch


cdef Py_ssize_t _offset(const void* base, const void* field) noexcept:
    return <const char*>field - <const char*>base


def _dtype(names, formats, offsets, itemsize):
    return np.dtype({"names": names, "formats": formats, "offsets": offsets, "itemsize": itemsize})


EVENT_DTYPE = _dtype(
    ["exchange_ns", "receive_ns", "sequence", "price_ticks", "size_lots", "order_id", "aux",
     "instrument", "kind", "side", "flags"],
    ["<i8", "<i8", "<i8", "<i8", "<i8", "<i8", "<i8", "<u4", "u1", "u1", "<u2"],
    [_offset(&_event, &_event.exchange_ns), _offset(&_event, &_event.receive_ns), _offset(&_event, &_event.sequence),
     _offset(&_event, &_event.price_ticks), _offset(&_event, &_event.size_lots), _offset(&_event, &_event.order_id),
     _offset(&_event, &_event.aux), _offset(&_event, &_event.instrument), _offset(&_event, &_event.kind),
     _offset(&_event, &_event.side), _offset(&_event, &_event.flags)],
    sizeof(Event),
)
SIGNAL_DTYPE = _dtype(
    ["source_ns", "receive_ns", "value", "value2", "ttl_ns", "source", "instrument", "kind", "flags", "desk"],
    ["<i8", "<i8", "<f8", "<f8", "<i8", "<u8", "<u4", "u1", "<u2", "<u4"],
    [_offset(&_signal, &_signal.source_ns), _offset(&_signal, &_signal.receive_ns), _offset(&_signal, &_signal.value),
     _offset(&_signal, &_signal.value2), _offset(&_signal, &_signal.ttl_ns), _offset(&_signal, &_signal.source),
     _offset(&_signal, &_signal.instrument), _offset(&_signal, &_signal.kind), _offset(&_signal, &_signal.flags),
     _offset(&_signal, &_signal.desk)],
    sizeof(Signal),
)
_REQUEST_FIELDS = [
    ("now_ns", "<i8", _offset(&_request, &_request.now_ns)),
    ("priced_at_ns", "<i8", _offset(&_request, &_request.priced_at_ns)),
    ("client_deadline_ns", "<i8", _offset(&_request, &_request.client_deadline_ns)),
    ("size_lots", "<f8", _offset(&_request, &_request.size_lots)),
    ("price_ticks", "<f8", _offset(&_request, &_request.price_ticks)),
    ("edge_ticks", "<f8", _offset(&_request, &_request.edge_ticks)),
    ("reference_ticks", "<f8", _offset(&_request, &_request.reference_ticks)),
    ("instrument", "<u4", _offset(&_request, &_request.instrument)),
    ("counterparty", "<u4", _offset(&_request, &_request.counterparty)),
    ("desk", "<u4", _offset(&_request, &_request.desk)),
    ("session", "<u4", _offset(&_request, &_request.session)),
    ("flags", "<u2", _offset(&_request, &_request.flags)),
    ("side", "i1", _offset(&_request, &_request.side)),
    ("posture", "u1", _offset(&_request, &_request.posture)),
    ("underlying", "<u4", _offset(&_request, &_request.underlying)),
    ("two_way", "u1", _offset(&_request, &_request.two_way)),
    ("ratio", "<f8", _offset(&_request, &_request.ratio)),
    ("package_price", "<f8", _offset(&_request, &_request.package_price)),
    ("package_edge", "<f8", _offset(&_request, &_request.package_edge)),
    ("package_reference", "<f8", _offset(&_request, &_request.package_reference)),
    ("delta", "<f8", _offset(&_request, &_request.delta)),
    ("gamma", "<f8", _offset(&_request, &_request.gamma)),
    ("vega", "<f8", _offset(&_request, &_request.vega)),
    ("weight", "<f8", _offset(&_request, &_request.weight)),
    ("residual_ticks", "<f8", _offset(&_request, &_request.residual_ticks)),
    ("before", ("<f8", (HORIZONS,)), _offset(&_request, &_request.before[0])),
    ("h_ticks", "<f8", _offset(&_request, &_request.h_ticks)),
    ("alpha", "<f8", _offset(&_request, &_request.alpha)),
    ("h_least", "<f8", _offset(&_request, &_request.h_least)),
    ("loss_least", "<f8", _offset(&_request, &_request.loss_least)),
    ("inventory", "<f8", _offset(&_request, &_request.inventory)),
    ("reasons", "<u8", _offset(&_request, &_request.reasons)),
    ("package_quality", "u1", _offset(&_request, &_request.package_quality)),
    ("package_regime", "u1", _offset(&_request, &_request.package_regime)),
    ("own_quality", "u1", _offset(&_request, &_request.own_quality)),
    ("own_regime", "u1", _offset(&_request, &_request.own_regime)),
    ("package_posture", "u1", _offset(&_request, &_request.package_posture)),
    ("package_kind", "u1", _offset(&_request, &_request.package_kind)),
    ("moved_known", "u1", _offset(&_request, &_request.moved_known)),
    ("package_side", "i1", _offset(&_request, &_request.package_side)),
]
REQUEST_DTYPE = _dtype(
    [name for name, _, _ in _REQUEST_FIELDS],
    [form for _, form, _ in _REQUEST_FIELDS],
    [offset for _, _, offset in _REQUEST_FIELDS],
    sizeof(Request),
)
_DECISION_FIELDS = [
    ("input_sequence", "<u8", _offset(&_decision, &_decision.input_sequence)),
    ("now_ns", "<i8", _offset(&_decision, &_decision.now_ns)),
    ("life_ns", "<i8", _offset(&_decision, &_decision.life_ns)),
    ("expiry_ns", "<i8", _offset(&_decision, &_decision.expiry_ns)),
    ("data_age_ns", "<i8", _offset(&_decision, &_decision.data_age_ns)),
    ("reasons", "<u8", _offset(&_decision, &_decision.reasons)),
    ("reference_ticks", "<f8", _offset(&_decision, &_decision.reference_ticks)),
    ("edge_ticks", "<f8", _offset(&_decision, &_decision.edge_ticks)),
    ("h_ticks", "<f8", _offset(&_decision, &_decision.h_ticks)),
    ("moved_ticks", "<f8", _offset(&_decision, &_decision.moved_ticks)),
    ("sigma_ticks", "<f8", _offset(&_decision, &_decision.sigma_ticks)),
    ("alpha", "<f8", _offset(&_decision, &_decision.alpha)),
    ("risk_sum", "<f8", _offset(&_decision, &_decision.risk_sum)),
    ("p_ref", "<f8", _offset(&_decision, &_decision.p_ref)),
    ("p_life", "<f8", _offset(&_decision, &_decision.p_life)),
    ("expected_value_ticks", "<f8", _offset(&_decision, &_decision.expected_value_ticks)),
    ("break_even_edge_ticks", "<f8", _offset(&_decision, &_decision.break_even_edge_ticks)),
    ("venue_life_ns", "<i8", _offset(&_decision, &_decision.venue_life_ns)),
    ("mid_ticks", "<f8", _offset(&_decision, &_decision.mid_ticks)),
    ("spread_ticks", "<f8", _offset(&_decision, &_decision.spread_ticks)),
    ("p", ("<f8", (HORIZONS,)), _offset(&_decision, _decision.p)),
    ("risk", ("<f8", (RISK_INPUTS,)), _offset(&_decision, _decision.risk)),
    ("features", ("<f8", (FEATURES_MAX,)), _offset(&_decision, _decision.features)),
    ("valid", ("<u8", (VALID_WORDS,)), _offset(&_decision, _decision.valid)),
    ("instrument", "<u4", _offset(&_decision, &_decision.instrument)),
    ("counterparty", "<u4", _offset(&_decision, &_decision.counterparty)),
    ("desk", "<u4", _offset(&_decision, &_decision.desk)),
    ("config_revision", "<u4", _offset(&_decision, &_decision.config_revision)),
    ("model_revision", "<u4", _offset(&_decision, &_decision.model_revision)),
    ("binding", "<u2", _offset(&_decision, &_decision.binding)),
    ("kind", "u1", _offset(&_decision, &_decision.kind)),
    ("posture_requested", "u1", _offset(&_decision, &_decision.posture_requested)),
    ("posture_effective", "u1", _offset(&_decision, &_decision.posture_effective)),
    ("rule", "u1", _offset(&_decision, &_decision.rule)),
    ("regime", "u1", _offset(&_decision, &_decision.regime)),
    ("quality", "u1", _offset(&_decision, &_decision.quality)),
    ("side", "i1", _offset(&_decision, &_decision.side)),
    ("mode", "u1", _offset(&_decision, &_decision.mode)),
    ("observed", "<u2", _offset(&_decision, &_decision.observed)),
    ("rule_index", "<u4", _offset(&_decision, &_decision.rule_index)),
    ("session", "<u4", _offset(&_decision, &_decision.session)),
    ("actuation", "u1", _offset(&_decision, &_decision.actuation)),
    ("model_role", "u1", _offset(&_decision, &_decision.model_role)),
    ("calibration", ("<f8", (4,)), _offset(&_decision, _decision.calibration)),
    ("held_alpha", "<f8", _offset(&_decision, &_decision.held_alpha)),
    ("learned", ("<f8", (4,)), _offset(&_decision, _decision.learned)),
    ("exposure_room", "<f8", _offset(&_decision, &_decision.exposure_room)),
    ("life_without_watch_ns", "<i8", _offset(&_decision, &_decision.life_without_watch_ns)),
]
DECISION_DTYPE = _dtype(
    [name for name, _, _ in _DECISION_FIELDS],
    [form for _, form, _ in _DECISION_FIELDS],
    [offset for _, _, offset in _DECISION_FIELDS],
    sizeof(Decision),
)
_SHADOW_FIELDS = [
    ("input_sequence", "<u8", _offset(&_shadow, &_shadow.input_sequence)),
    ("now_ns", "<i8", _offset(&_shadow, &_shadow.now_ns)),
    ("life_ns", "<i8", _offset(&_shadow, &_shadow.life_ns)),
    ("reasons", "<u8", _offset(&_shadow, &_shadow.reasons)),
    ("model", "<u8", _offset(&_shadow, &_shadow.model)),
    ("h_ticks", "<f8", _offset(&_shadow, &_shadow.h_ticks)),
    ("p_life", "<f8", _offset(&_shadow, &_shadow.p_life)),
    ("expected_value_ticks", "<f8", _offset(&_shadow, &_shadow.expected_value_ticks)),
    ("p", ("<f8", (HORIZONS,)), _offset(&_shadow, _shadow.p)),
    ("instrument", "<u4", _offset(&_shadow, &_shadow.instrument)),
    ("model_revision", "<u4", _offset(&_shadow, &_shadow.model_revision)),
    ("binding", "<u2", _offset(&_shadow, &_shadow.binding)),
    ("kind", "u1", _offset(&_shadow, &_shadow.kind)),
    ("posture_effective", "u1", _offset(&_shadow, &_shadow.posture_effective)),
    ("side", "i1", _offset(&_shadow, &_shadow.side)),
    ("calibration", ("<f8", (4,)), _offset(&_shadow, _shadow.calibration)),
]
SHADOW_DTYPE = _dtype(
    [name for name, _, _ in _SHADOW_FIELDS],
    [form for _, form, _ in _SHADOW_FIELDS],
    [offset for _, _, offset in _SHADOW_FIELDS],
    sizeof(ShadowAnswer),
)
_LABEL_FIELDS = [
    ("number", "<u8", _offset(&_label, &_label.number)),
    ("input_sequence", "<u8", _offset(&_label, &_label.input_sequence)),
    ("decision", "<u8", _offset(&_label, &_label.decision)),
    ("at_ns", "<i8", _offset(&_label, &_label.at_ns)),
    ("passage_ns", "<i8", _offset(&_label, &_label.passage_ns)),
    ("horizon_ns", "<i8", _offset(&_label, &_label.horizon_ns)),
    ("p", "<f8", _offset(&_label, &_label.p)),
    ("moved", "<f8", _offset(&_label, &_label.moved)),
    ("alpha", "<f8", _offset(&_label, &_label.alpha)),
    ("debt", "<f8", _offset(&_label, &_label.debt)),
    ("instrument", "<u4", _offset(&_label, &_label.instrument)),
    ("part", "u1", _offset(&_label, &_label.part)),
    ("posture", "u1", _offset(&_label, &_label.posture)),
    ("held_by", "u1", _offset(&_label, &_label.held_by)),
    ("hit", "i1", _offset(&_label, &_label.hit)),
]
LABEL_DTYPE = _dtype(
    [name for name, _, _ in _LABEL_FIELDS],
    [form for _, form, _ in _LABEL_FIELDS],
    [offset for _, _, offset in _LABEL_FIELDS],
    sizeof(LabelRecord),
)
_WATCH_FIELDS = [
    ("number", "<u8", _offset(&_watch, &_watch.number)),
    ("input_sequence", "<u8", _offset(&_watch, &_watch.input_sequence)),
    ("at_ns", "<i8", _offset(&_watch, &_watch.at_ns)),
    ("quote", "<u8", _offset(&_watch, &_watch.quote)),
    ("life_ns", "<i8", _offset(&_watch, &_watch.life_ns)),
    ("moved_ticks", "<f8", _offset(&_watch, &_watch.moved_ticks)),
    ("value_ticks", "<f8", _offset(&_watch, &_watch.value_ticks)),
    ("instrument", "<u4", _offset(&_watch, &_watch.instrument)),
    ("kind", "u1", _offset(&_watch, &_watch.kind)),
    ("reason", "u1", _offset(&_watch, &_watch.reason)),
    ("state", "u1", _offset(&_watch, &_watch.state)),
    ("held", "u1", _offset(&_watch, &_watch.held)),
]
WATCH_DTYPE = _dtype(
    [name for name, _, _ in _WATCH_FIELDS],
    [form for _, form, _ in _WATCH_FIELDS],
    [offset for _, _, offset in _WATCH_FIELDS],
    sizeof(WatchRecord),
)


cdef class EventBuffer:
    """A bounded array of events. Owner: whoever made it; views from ``array()`` die with ``clear()``."""

    def __cinit__(self, Py_ssize_t capacity=65536):
        if capacity <= 0:
            raise ValueError("capacity must be positive")
        self.events = <Event*>PyMem_Calloc(capacity, sizeof(Event))
        if self.events == NULL:
            raise MemoryError()
        self.capacity = capacity
        self.count = 0
        self.overflowed = 0

    def __dealloc__(self):
        PyMem_Free(self.events)

    def __len__(self):
        return self.count

    cdef Event* push(self) noexcept nogil:
        if self.count >= self.capacity:
            self.overflowed += 1
            return NULL
        cdef Event* event = self.events + self.count
        memset(event, 0, sizeof(Event))
        self.count += 1
        return event

    def clear(self):
        """Forget all events; views made before must not be read any more."""
        self.count = 0
        self.overflowed = 0

    def append(self, int kind, *, uint32_t instrument=0, int side=0, int flags=0, int64_t exchange_ns=0,
               int64_t receive_ns=0, int64_t sequence=0, int64_t price_ticks=0, int64_t size_lots=0,
               int64_t order_id=0, int64_t aux=0):
        """Add one event (tests, simulation, readers). Raises ``OverflowError`` when full."""
        cdef Event* event = self.push()
        if event == NULL:
            raise OverflowError(f"event buffer is full ({self.capacity} events)")
        event.kind = kind
        event.instrument = instrument
        event.side = side
        event.flags = flags
        event.exchange_ns = exchange_ns
        event.receive_ns = receive_ns
        event.sequence = sequence
        event.price_ticks = price_ticks
        event.size_lots = size_lots
        event.order_id = order_id
        event.aux = aux

    def extend(self, array):
        """Add events from a contiguous array of ``EVENT_DTYPE``. Raises ``OverflowError`` when they do not fit."""
        cdef const unsigned char[::1] raw = np.ascontiguousarray(array, dtype=EVENT_DTYPE).view(np.uint8)
        cdef Py_ssize_t n = raw.shape[0] // <Py_ssize_t>sizeof(Event)
        if n > self.capacity - self.count:
            raise OverflowError(f"event buffer is full ({self.capacity} events)")
        if n:
            memcpy(self.events + self.count, &raw[0], n * sizeof(Event))
            self.count += n

    def array(self):
        """A copy of the events as a numpy array of ``EVENT_DTYPE``, shape (count,)."""
        out = np.empty(self.count, dtype=EVENT_DTYPE)
        cdef unsigned char[::1] raw
        if self.count:
            raw = out.view(np.uint8)
            memcpy(&raw[0], self.events, self.count * sizeof(Event))
        return out


cdef class RequestRecord:
    """One request to the engine in engine units (ticks, lots, nanoseconds, dense indices).

    ``None`` means "not given", which differs from 0.
    """

    def __init__(self, uint32_t instrument, int side, *, int64_t now_ns, uint32_t counterparty=NO_INDEX,
                 uint32_t desk=NO_INDEX, size_lots=None, price_ticks=None, edge_ticks=None,
                 reference_ticks=None, priced_at_ns=None, client_deadline_ns=None, int posture=0,
                 uint32_t session=NO_INDEX, bint synchronised=True, bint two_way=False, bint second_side=False,
                 bint watched=False,
                 ratio=None, int package_side=1, package_price=None, package_edge=None, package_reference=None,
                 delta=None,
                 double gamma=0.0, double vega=0.0, uint32_t underlying=NO_INDEX):
        if side != 1 and side != -1:
            raise ValueError("side must be +1 (the desk buys) or -1 (the desk sells)")
        if not 0 <= posture <= POSTURE_RISK_AVERSE:
            raise ValueError("posture must be one of PostureCode")
        memset(&self.c, 0, sizeof(Request))
        self.c.instrument = instrument
        self.c.side = side
        self.c.now_ns = now_ns
        self.c.counterparty = counterparty
        self.c.desk = desk
        self.c.posture = posture
        self.c.session = session
        if not synchronised:
            self.c.flags |= REQ_UNSYNCHRONISED
        self.c.two_way = two_way or second_side
        if second_side:
            self.c.flags |= REQ_SECOND_SIDE
        if watched:
            self.c.flags |= REQ_WATCHED
        self.c.size_lots = self.c.price_ticks = self.c.edge_ticks = self.c.reference_ticks = NAN
        self.c.priced_at_ns = now_ns
        if size_lots is not None:
            self.c.size_lots = size_lots
            self.c.flags |= REQ_HAS_SIZE
        if price_ticks is not None:
            self.c.price_ticks = price_ticks
            self.c.flags |= REQ_HAS_PRICE
        if edge_ticks is not None:
            self.c.edge_ticks = edge_ticks
            self.c.flags |= REQ_HAS_EDGE
        if reference_ticks is not None:
            self.c.reference_ticks = reference_ticks
            self.c.flags |= REQ_HAS_REFERENCE
        if priced_at_ns is not None:
            self.c.priced_at_ns = priced_at_ns
            self.c.flags |= REQ_HAS_PRICED_AT
        if client_deadline_ns is not None:
            self.c.client_deadline_ns = client_deadline_ns
            self.c.flags |= REQ_HAS_DEADLINE
        if ratio is not None:
            self._set_leg(ratio, package_side, package_price, package_edge, package_reference)
            if delta is not None:
                if underlying == NO_INDEX:
                    raise ValueError("a delta needs the index of its underlying")
                if not (isfinite(delta) and isfinite(gamma) and isfinite(vega)):
                    raise ValueError("greeks must be finite")
                self.c.flags |= REQ_SENSITIVITIES
                self.c.delta = delta
                self.c.gamma = gamma
                self.c.vega = vega
                self.c.underlying = underlying

    cdef int _set_leg(self, double ratio, int package_side, price, edge, reference) except -1:
        if not (ratio > 0.0 and isfinite(ratio)):
            raise ValueError("a leg's ratio must be above 0")
        if package_side != 1 and package_side != -1:
            raise ValueError("package_side must be +1 (the desk buys the package) or -1 (it sells it)")
        if self.c.flags & (REQ_HAS_PRICE | REQ_HAS_EDGE | REQ_HAS_REFERENCE):
            raise ValueError("price, edge and reference are those of the package: package_price and so on")
        self.c.flags |= REQ_LEG
        self.c.ratio = ratio
        self.c.package_side = package_side
        self.c.package_price = NAN if price is None else price
        self.c.package_edge = NAN if edge is None else edge
        self.c.package_reference = NAN if reference is None else reference
        return 0

    def canonical(self):
        """The record's bytes."""
        return (<const unsigned char*>&self.c)[:sizeof(Request)]

    @staticmethod
    def from_bytes(const unsigned char[::1] raw not None):
        """The record whose ``canonical()`` gave these bytes. Raises ``ValueError`` on another length."""
        cdef RequestRecord record = RequestRecord.__new__(RequestRecord)
        if raw.shape[0] != <Py_ssize_t>sizeof(Request):
            raise ValueError(f"a request takes {sizeof(Request)} bytes, not {raw.shape[0]}")
        memcpy(&record.c, &raw[0], sizeof(Request))
        return record

    @property
    def now_ns(self):
        return self.c.now_ns

    @property
    def instrument(self):
        return self.c.instrument

    @property
    def side(self):
        return self.c.side

    @property
    def counterparty(self):
        return self.c.counterparty

    @property
    def desk(self):
        return self.c.desk

    @property
    def session(self):
        return self.c.session

    @property
    def posture(self):
        return self.c.posture

    @property
    def watched(self):
        """Whether its quote will be watched."""
        return bool(self.c.flags & REQ_WATCHED)

    @property
    def two_way(self):
        """Whether it is one of the two sides of a TWO_WAY quote."""
        return bool(self.c.two_way)

    @property
    def size_lots(self):
        return self.c.size_lots if self.c.flags & REQ_HAS_SIZE else None

    @property
    def price_ticks(self):
        return self.c.price_ticks if self.c.flags & REQ_HAS_PRICE else None

    @property
    def flags(self):
        return self.c.flags

    @property
    def ratio(self):
        return self.c.ratio

    @property
    def delta(self):
        return self.c.delta

    @property
    def gamma(self):
        return self.c.gamma

    @property
    def vega(self):
        return self.c.vega

    @property
    def underlying(self):
        return self.c.underlying

    @property
    def weight(self):
        return self.c.weight

    @property
    def residual_ticks(self):
        return self.c.residual_ticks

    @property
    def h_least(self):
        return self.c.h_least

    @property
    def loss_least(self):
        return self.c.loss_least

    @property
    def inventory(self):
        return self.c.inventory

    @property
    def before(self):
        cdef int i
        return tuple([self.c.before[i] for i in range(HORIZONS)])

    @property
    def own_quality(self):
        return self.c.own_quality

    @property
    def own_regime(self):
        return self.c.own_regime

    @property
    def package_side(self):
        return self.c.package_side

    @property
    def priced_at_ns(self):
        return self.c.priced_at_ns if self.c.flags & REQ_HAS_PRICED_AT else None

    @property
    def client_deadline_ns(self):
        return self.c.client_deadline_ns if self.c.flags & REQ_HAS_DEADLINE else None


cdef class DecisionRecord:
    """One decision of the engine, in engine units. Every field of the C record has a property here."""

    def __cinit__(self):
        memset(&self.c, 0, sizeof(Decision))

    def canonical(self):
        """The record's bytes: equal bytes, equal decision."""
        return (<const unsigned char*>&self.c)[:sizeof(Decision)]

    @staticmethod
    def from_bytes(const unsigned char[::1] raw not None):
        """The record whose ``canonical()`` gave these bytes. Raises ``ValueError`` on another length."""
        cdef DecisionRecord record = DecisionRecord()
        if raw.shape[0] != <Py_ssize_t>sizeof(Decision):
            raise ValueError(f"a decision takes {sizeof(Decision)} bytes, not {raw.shape[0]}")
        memcpy(&record.c, &raw[0], sizeof(Decision))
        return record

    def array(self):
        """The record as a numpy scalar array of ``DECISION_DTYPE``, shape ()."""
        return np.frombuffer(self.canonical(), dtype=DECISION_DTYPE)[0]

    @property
    def input_sequence(self):
        return self.c.input_sequence

    @property
    def now_ns(self):
        return self.c.now_ns

    @property
    def life_ns(self):
        return self.c.life_ns

    @property
    def expiry_ns(self):
        return self.c.expiry_ns

    @property
    def data_age_ns(self):
        return self.c.data_age_ns

    @property
    def reasons(self):
        return self.c.reasons

    @property
    def reference_ticks(self):
        return self.c.reference_ticks

    @property
    def edge_ticks(self):
        return self.c.edge_ticks

    @property
    def h_ticks(self):
        return self.c.h_ticks

    @property
    def moved_ticks(self):
        return self.c.moved_ticks

    @property
    def sigma_ticks(self):
        return self.c.sigma_ticks

    @property
    def alpha(self):
        return self.c.alpha

    @property
    def calibration(self):
        cdef int i
        return tuple([self.c.calibration[i] for i in range(4)])

    @property
    def held_alpha(self):
        return self.c.held_alpha

    @property
    def exposure_room(self):
        return self.c.exposure_room

    @property
    def learned(self):
        """What expected value assumed of the counterparty: hit probability, informed share, and of the response time
        the logarithm of the median in ns and the standard deviation; ``None``: what its tier is configured with."""
        if self.c.learned[3] == 0.0:
            return None
        return self.c.learned[0], self.c.learned[1], self.c.learned[2], self.c.learned[3]

    @property
    def life_without_watch_ns(self):
        return self.c.life_without_watch_ns

    @property
    def risk_sum(self):
        return self.c.risk_sum

    @property
    def p_ref(self):
        return self.c.p_ref

    @property
    def p_life(self):
        return self.c.p_life

    @property
    def p(self):
        cdef int i
        return tuple([self.c.p[i] for i in range(HORIZONS)])

    @property
    def risk(self):
        cdef int i
        return tuple([self.c.risk[i] for i in range(RISK_INPUTS)])

    def feature(self, int index):
        """Value of one feature, or ``None`` where its validity bit is clear."""
        if index < 0 or index >= FEATURES_MAX:
            raise IndexError(index)
        return self.c.features[index] if is_valid(self.c.valid, index) else None

    @property
    def instrument(self):
        return self.c.instrument

    @property
    def counterparty(self):
        return self.c.counterparty

    @property
    def desk(self):
        return self.c.desk

    @property
    def config_revision(self):
        return self.c.config_revision

    @property
    def model_revision(self):
        return self.c.model_revision

    @property
    def binding(self):
        return self.c.binding

    @property
    def kind(self):
        return self.c.kind

    @property
    def posture_requested(self):
        return self.c.posture_requested

    @property
    def posture_effective(self):
        return self.c.posture_effective

    @property
    def rule(self):
        return self.c.rule

    @property
    def regime(self):
        return self.c.regime

    @property
    def quality(self):
        return self.c.quality

    @property
    def side(self):
        return self.c.side

    @property
    def mode(self):
        return self.c.mode

    @property
    def rule_index(self):
        return self.c.rule_index

    @property
    def expected_value_ticks(self):
        return self.c.expected_value_ticks

    @property
    def break_even_edge_ticks(self):
        return self.c.break_even_edge_ticks

    @property
    def venue_life_ns(self):
        return self.c.venue_life_ns

    @property
    def mid_ticks(self):
        return self.c.mid_ticks

    @property
    def spread_ticks(self):
        return self.c.spread_ticks

    @property
    def observed(self):
        return self.c.observed

    @property
    def session(self):
        return self.c.session

    @property
    def actuation(self):
        return self.c.actuation

    @property
    def model_role(self):
        return self.c.model_role
