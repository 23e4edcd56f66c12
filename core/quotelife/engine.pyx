"""One engine: market events, signals and requests in, decisions out.

One thread owns an engine. Every input (event, signal, request, timer, configuration, model, override) gets the
next ``input_sequence`` when it is applied, and engine time is the largest receive stamp seen so far: fed the same
inputs in the same order, an engine gives byte-equal decisions, whatever the wall clock does.

The path of a decision is one C function, ``decide_c``: no Python object is touched and the GIL is not needed.
"""

from base64 import b64encode
from pathlib import Path
from types import MappingProxyType
from typing import NamedTuple

import numpy as np

from libc.math cimport INFINITY, NAN, fabs, fmax, fmin, isfinite, isnan, sqrt
from libc.stdint cimport INT64_MAX, int8_t, uint8_t, uint16_t, uint32_t
from libc.stdlib cimport calloc, free, malloc, realloc
from libc.string cimport memcpy, memset

from quotelife.book.level_book cimport (
    WINDOW, LevelBook, book_bytes, book_clear, book_clear_levels, book_cut, book_free, book_init, book_is_known,
    book_level, book_quote, book_refresh, book_two_sided, side_best,
)
from quotelife.book.order_book cimport (
    OrderChange, order_apply, orders_bytes, orders_clear, orders_free, orders_init, orders_purge, orders_uncross,
)
from quotelife.book.quality cimport (
    CAUSE_BEYOND_KNOWN_DEPTH, CAUSE_BOOK_FULL, CAUSE_BOOK_SILENT, CAUSE_BOOK_UNANSWERED, CAUSE_CLOSED, CAUSE_CROSSED,
    CAUSE_DIVERGED, CAUSE_FEED_DOWN, CAUSE_HALT, CAUSE_LINE_SILENT, CAUSE_LOST_MESSAGES, CAUSE_NO_DATA, CAUSE_NONE,
    CAUSE_ONE_SIDED, CAUSE_RESYNCHRONISING, CAUSE_WARMING_UP, QUALITIES, QualityRecord, Verdict, quality_note,
)
from quotelife.counterparty.marks cimport Mark
from quotelife.counterparty.posterior cimport Counterparties, CounterpartyTables
from quotelife.decision.expected_value cimport (
    ValuePrior, ValueResult, ValueTerms, has_value, value_at, value_left,
)
from quotelife.decision.held_tolerance cimport HELD_FROZEN, Held, HeldBy, held_by, held_restore, held_update
from quotelife.decision.life cimport LifeResult, PostureParams, choose_by_value, choose_life
from quotelife.decision.kill cimport KillSwitch
from quotelife.decision.learned_prior cimport LearnedPriors
from quotelife.decision.policy cimport (
    POSTURES, REF_AUTO, REF_MICROPRICE, InstrumentParams, Policy, PriceBoundsParams, Resolution, RuntimeOverride,
    SessionParams,
)
from quotelife.decision.regime cimport RegimeState, regime_update
from quotelife.decision.package cimport (
    PACKAGE_LEGS_MAX, package_add, package_carry, package_inventory, package_loses, package_neutral,
    package_on_underlying,
)
from quotelife.decision.throttle cimport THROTTLE_FREE, THROTTLE_TRIPPED, Throttle, Throttled
from quotelife.decision.risk cimport risk_alpha, risk_scores, risk_weighted_sum
from quotelife.features.schema cimport F_INVENTORY
from quotelife.features.greeks cimport GREEK_PAIRS, GreekPair, Greeks, greeks_alive, greeks_on_signal, is_greek
from quotelife.features.state cimport (
    GRID_MIDS, FeatureQuery, FeatureState, feature_compute, feature_fetch, feature_fetch_slots, feature_on_book,
    feature_on_gap, feature_on_level, feature_on_order, feature_on_signal, feature_on_trade, feature_remap_desks,
    feature_set_driver, feature_sigma, feature_state_bytes, feature_state_free, feature_state_new, feature_stress,
    fetch, shared_on_signal, shared_signals_free, shared_signals_new,
)
from quotelife.features.stress cimport StressInputs
from quotelife.inputs cimport (
    CHANGE_CONFIG, CHANGE_ENABLED, CHANGE_EVENTS_NAMED, CHANGE_KILLED, CHANGE_MODEL, CHANGE_OVERRIDE_CLEARED,
    CHANGE_COUNTERPARTIES, CHANGE_LEARNED, CHANGE_OUTCOME, CHANGE_OVERRIDE_SET, CHANGE_STEPPED,
    CHANGE_WATCH_ACKNOWLEDGED, CHANGE_WATCH_LOST, CHANGE_WATCH_UPDATED, CHANGE_WATCHED,
    InputSink,
)
from quotelife.model.curve cimport CurveModel, ModelInput, curve_at, curve_invert, first_passage_curve
from quotelife.model.ladder cimport Monitors
from quotelife.model.served cimport SERVED_POSTURES, ModelSlot, PostureModels, ServedModels
from quotelife.model.open_labels cimport (
    LABEL_ANCHOR_NS, LABEL_ANCHORS, LABEL_LIFE, LABEL_ROOM, PROBES_MAX, OpenLabel, ResolvedLabel, WATCHED,
    labels_any, labels_bytes,
    labels_due, labels_free, labels_init, labels_lost, labels_open, labels_passed, labels_resolved,
)
from quotelife.model.recalibration cimport CALIBRATION_BUCKETS, LabelBucket, bucket_place
from quotelife.model.recalibration cimport (
    CalibrationPair, Rolling, RollingCalibration, calibrate_curve, rolling_add, rolling_any, rolling_bytes,
    rolling_free, rolling_hits, rolling_load, rolling_new, rolling_part, rolling_pass, rolling_refit,
)
from quotelife.quotes.live_quotes cimport NOWHERE, QUOTE_SIDES_MAX, LiveQuote, LiveQuotes, LiveSide, quotes_markets
from quotelife.quotes.watching cimport Watching
from quotelife.windows.ring cimport RingTail, RingWindow, ring_advance
from quotelife.records cimport (
    ACTUATION_ABSOLUTE, ACTUATION_WITHDRAW, BIND_BELOW_MINIMUM, BIND_CLIENT_DEADLINE, BIND_EDGE, BIND_GRANULARITY,
    BIND_EXPOSURE, BIND_MARKET, BIND_MAX, BIND_MIN, BIND_TRANSIT, BIND_VENUE_MAX, BIND_VENUE_MIN, DECISION_DECLINE,
    DECISION_QUOTE,
    EV_ADD, EV_CLEAR, EV_EXECUTE, EV_LEVEL, EV_QUOTE, EV_SNAPSHOT_BEGIN, EV_SNAPSHOT_END,
    EV_STATUS, EV_TRADE, EVERY_ORDER, FLAG_GAP, FLAG_LAST, FLAG_NO_SIZE, FLAG_SNAPSHOT, HORIZONS,
    MODE_EXPECTED_VALUE, MODE_TOLERANCE_P500, NO_INDEX, OBS_BOOK_SEEN, OBS_MOVED_KNOWN,
    POSTURE_RISK_AVERSE, QUALITY_CROSSED, QUALITY_GAPPED, QUALITY_GOOD, QUALITY_HALTED, QUALITY_STALE, QUALITY_WARMING,
    REGIME_AUCTION, REGIME_HALT, REGIME_NORMAL, REGIME_REASONS, REGIME_SCHEDULED_NEWS, REGIME_STRESS, REQ_HAS_DEADLINE,
    REQ_HAS_EDGE, REQ_HAS_PRICE, REQ_HAS_PRICED_AT, REQ_HAS_REFERENCE, REQ_HAS_SIZE, REQ_UNSYNCHRONISED,
    RULE_DATA_QUALITY, SIDE_ASK, SIDE_BID, SIDE_NONE, SIG_CALENDAR, SIG_DELTA_GAMMA, SIG_IMPLIED_VOLATILITY,
    SIG_INVENTORY, SIG_MARK, SIG_NEWS, SIG_VEGA_THETA, SIG_VOLATILITY_INDEX, STATUS_AUCTION,
    STATUS_CLOSED, STATUS_COMPANION_DOWN, STATUS_COMPANION_UP, STATUS_FEED_DOWN, STATUS_HALT, STATUS_MISSING,
    STATUS_TRADING, WHY_AUCTION, WHY_BELOW_MINIMUM, WHY_CLOCK,
    WHY_DEADLINE_TOO_CLOSE, WHY_DISABLED, WHY_EDGE_CAPPED, WHY_EDGE_TOO_SMALL, WHY_EXPOSURE, WHY_HALT,
    WHY_MODEL_FALLBACK,
    WHY_MOVED_THROUGH, WHY_NOT_GOOD, WHY_NO_EDGE, WHY_NO_VALUE, WHY_NO_VOLATILITY, WHY_PRICE_FAR, WHY_REFERENCE_FAR,
    WHY_SCHEDULED_NEWS, WHY_STALE_REQUEST, WHY_VENUE_MINIMUM, Decision,
    MODEL_CHALLENGER, DecisionRecord, Event, EventBuffer, LabelRecord, Request, RequestRecord, ShadowAnswer, Signal,
)
from quotelife.records cimport (
    DECISION_INDICATIVE, OBS_COUNTERPARTY_KILLED, OBS_KILLED, OBS_STEPPED_DOWN, OBS_THROTTLED, REQ_FIRST_LEG,
    REQ_GREEKS, REQ_LAST_LEG, REQ_LEG, REQ_ON_UNDERLYING, REQ_RESIDUAL, REQ_SECOND_SIDE, REQ_SENSITIVITIES, REQ_WATCHED,
    RULE_KILL_SWITCH, WHY_KILLED, WHY_MODEL_STEPPED_DOWN, WHY_THROTTLED,
)
from quotelife.records cimport (
    QUOTE_CANCELLED, QUOTE_EXPIRED, QUOTE_FILLED, QUOTE_LIVE, QUOTE_PARTLY_FILLED, QUOTE_TOO_LATE, QUOTE_WITHDRAWN,
    WATCH_EXPIRED, WATCH_WITHDRAW, WITHDRAW_ADVERSE_MOVE, WITHDRAW_DATA_QUALITY, WITHDRAW_HALT, WITHDRAW_KILL_SWITCH,
    WITHDRAW_LIFE_ENDED,
    WITHDRAW_REASONS, WITHDRAW_STRESS, WITHDRAW_VALUE, WITHDRAW_WATCH_LOST, WatchRecord,
)

from quotelife.decision.kill import STRANGERS, KillSource, KillStatus
from quotelife.errors import ArtifactError, ConfigError, QuotelifeError
from quotelife.instruments import name_hash
from quotelife.model.artifact import builtin_artifact, load_artifact
from quotelife.model.ladder import StepSource
from quotelife.model.lineup import LineUp
from quotelife.model.recalibration import checked_number, checked_part
from quotelife.quotes.watching import QuoteNames
from quotelife.records import SHADOW_DTYPE

cdef enum:
    REF_HORIZON = 5                 # index of 500 ms on the horizon grid
    MID_TAIL_1S = 2                 # the longest tail of the ring of mids
    GRID_NS = 100_000_000
    PROBES_A_TIMER = 64             # pairs of evaluations, 10 us each and more with more models
    REFITS_A_TIMER = 8              # each takes tens of microseconds
    MARKETS_A_TIMER = 256           # with live quotes, looked at between timers of all, some 0.5 us each
    LOOKS_A_TIMER = 4096            # live quotes whose risk is counted anew, some 50 ns each
    REQ_PACKAGE = REQ_LEG | REQ_LAST_LEG
    STOPPED = OBS_KILLED | OBS_COUNTERPARTY_KILLED | OBS_THROTTLED

cdef size_t PACKAGE_OFFSET = <size_t>&(<Request*>NULL).ratio       # from there on a request speaks of its package

LEARNED_EVERY_NS = 10_000_000_000    # so much of what was learned may be lost with a process, of each group
CALENDAR_KEPT = ANNOUNCED_MAX    # events not yet over, for one instrument, and as many for all of them
_CALENDAR_REGIMES = (REGIME_NORMAL, REGIME_AUCTION, REGIME_SCHEDULED_NEWS, REGIME_HALT)

cdef double RHYTHM_NS = 300e9                 # memory of an instrument's rhythm
cdef double RHYTHM_KNOWN_NS = 10e9             # of the book's own stream: then its rhythm is believed
cdef double ALIVE_FACTOR = 10.0               # heartbeats stretch the silence that is taken for quiet by so much
cdef int64_t US = 1_000
cdef double TOUCH = 1e-9                      # ticks: a microprice that moves by just h may miss it by a rounding


class GreeksStatus(NamedTuple):
    """What was last said of an option. ``None``: never said, or its time to live has passed. Units as in
    ``SignalCode``; times in nanoseconds."""

    delta: float | None
    gamma: float | None
    vega: float | None
    theta: float | None
    mark_iv: float | None
    underlying_price: float | None
    mark_price: float | None
    funding: float | None
    oldest_ns: int       # what the age of the oldest of them counts from; 0: none is left
    underlying: int      # hash of the name of the instrument that delta and gamma refer to; 0: not told
    taken: int           # signals so far that changed something, and that came too late to
    ignored: int


class InstrumentStatus(NamedTuple):
    """What the engine knows of one instrument now. Prices in ticks, sizes in lots, times in nanoseconds."""

    quality: int
    regime: int
    reasons: int
    bid_ticks: int
    bid_lots: int
    ask_ticks: int
    ask_lots: int
    last_event_ns: int
    events: int
    messages: int
    gaps: int
    resyncs: int
    crossed: int
    dropped_levels: int
    unsupported: int
    unsided_trades: int
    undecided_trades: int
    orders: int
    unknown_orders: int
    invalid_orders: int
    dropped_orders: int
    purged_orders: int
    decisions: int
    declines: int
    regime_ns: tuple
    not_good_ns: int
    quality_cause: int
    quality_since_ns: int
    quality_ns: tuple
    quality_entered: tuple
    stress_entries: int
    greeks: GreeksStatus | None
    memory_bytes: int


class ModelStatus(NamedTuple):
    """What the labels of a group say of one model."""

    model: str           # first 16 digits of its digest
    serves: bool         # else it is remembered, for a rollback
    calibration: tuple   # (a, b) at 500 ms and at 2 s
    labels: tuple        # (labels, hits) within the window, for each of the two


class GroupStatus(NamedTuple):
    """What instruments that learn together have learned. ``calibration`` and ``labels`` are those of the champion of
    the default posture, and empty while off; so is ``models``."""

    name: str
    calibration: tuple
    labels: tuple
    models: tuple        # of ModelStatus
    memory_bytes: int    # of the labels in the window of all its models
    tolerance: tuple     # held tolerance by posture, from CLIENT_PRIORITY on
    opened: int          # decisions and probes watched so far …
    resolved: int        # … of which all that was asked is known …
    thinned: int         # … that were left out of a burst …
    overflowed: int      # … that found no room …
    censored: int        # … and whose label will never be known


class LiveQuoteStatus(NamedTuple):
    """A quote that is watched, or was until a while ago. Prices in ticks, times in nanoseconds."""

    quote: int            # id; rises over restarts
    owner: str            # stream that has it watched
    name: str             # the quote's, among those of its owner
    rfq: str
    boot: str             # of the decisions that gave its life
    decisions: tuple      # their input sequences
    state: int            # records.QuoteStateCode
    withdraw: int         # records.WithdrawCode, from when it was to be withdrawn on
    waiting: bool         # … and its venue session takes no more cancels just now
    number: int           # of the word that ended it, 0: none has; of its withdrawal the same over restarts
    withdrawn_ns: int     # when its withdrawal was said, 0: it was not …
    moved_ticks: float    # … D of the side that brought it then, NaN: not known …
    value_ticks: float    # … what was left was worth then, NaN: not judged …
    withdrawn_at: int     # … index of the instrument that it was said of, NO_INDEX_VALUE: none …
    held: bool            # … and it had waited for the venue session's cancel rate
    acknowledged: bool
    expiry_ns: int
    unwatched_ns: int     # end of the life that it would have without a watch
    size_lots: float      # still live; NaN: not told
    counterparty: str
    desk: str | None
    session: str | None
    sides: tuple          # (instrument index, side, mid at pricing, threshold h, key in ticks of the mid) each


class OverrideStatus(NamedTuple):
    """One runtime override that is still alive; ``NO_INDEX_VALUE`` means any."""

    override_id: int
    posture: int
    counterparty: int
    desk: int
    instrument: int
    expires_ns: int


def configured_model(config):
    """The curve model that a configuration names: an artifact shipped with the library, or a folder.

    Raises ``ArtifactError`` when it does not load.
    """
    name = config.model.artifact
    return load_artifact(Path(name) if "/" in name else builtin_artifact(name))


cdef object greeks_of(const Greeks* greeks, int64_t t):
    # GreeksStatus, or None when nothing was ever said.
    cdef int i
    cdef int64_t oldest = 0
    if not greeks.taken and not greeks.ignored:
        return None
    values = []
    for i in range(GREEK_PAIRS):
        if not greeks_alive(&greeks.pair[i], t):
            values += [None, None]
            continue
        values += [greeks.pair[i].first, greeks.pair[i].second]
        if oldest == 0 or greeks.pair[i].at_ns < oldest:
            oldest = greeks.pair[i].at_ns
    underlying = greeks.pair[0].source if greeks_alive(&greeks.pair[0], t) else 0
    return GreeksStatus(*values, oldest, underlying, greeks.taken, greeks.ignored)


cdef void _free_state(InstrumentState* state) noexcept:
    if state == NULL:
        return
    labels_free(&state.labels)
    free(state.raws)
    book_free(&state.book)
    orders_free(&state.orders)
    if state.features != NULL:
        feature_state_free(state.features)
    free(state)


cdef class Engine:
    """See the module. ``start_ns`` is the engine time before the first input, ``model`` defaults to the configured
    artifact and serves where the ``lineup`` names no champion; ``models`` are those that it names, by digest. Raises
    ``ConfigError``, ``ArtifactError`` or, where one is missing, ``QuotelifeError``.
    """

    def __cinit__(self):
        self._legs_room = NAN
        self.states = NULL
        self.shared = NULL
        self.n_instruments = 0
        self.groups = NULL

    def __init__(self, config, *, CurveModel model=None, lineup=None, models=MappingProxyType({}), int64_t start_ns=0):
        if self.shared != NULL:
            raise QuotelifeError("an engine is initialised once")
        self.now_ns = start_ns
        self.next_override_id = 1
        self._sinks = ()
        self._event_names = {}
        self._group_names = []
        self._members = []
        self._to_step = []
        self.anchors = RollingCalibration(1 << 32).c.grid
        self._monitors = Monitors()
        self.shared = shared_signals_new()
        self._policy = Policy(config)
        self._killed = KillSwitch(self._policy.counterparty_names)
        self._throttle = Throttle(config)
        self.feature_params.news_half_life_ns = config.signals.news_half_life_ns
        self._counterparties = Counterparties(config)
        self._marks = self._counterparties.marks
        self._priors = LearnedPriors(self._counterparties.places())
        self._config = config
        self._instruments = config.instrument_table()
        self._make_states(len(self._instruments), self._policy)
        self.n_instruments = len(self._instruments)
        self._wire_drivers()
        self._name_underlyings()
        if model is None:
            model = configured_model(config)
        self._served = ServedModels(model, lineup or LineUp(), models, self._policy.counterparty_names)
        self._quotes = Watching()
        self._follow_watch(config, ())
        self._learn(config, self._rolling_of(config))
        self.config_revision = 1
        self.model_revision = 1

    def __dealloc__(self):
        cdef uint32_t i
        cdef int k
        for i in range(self.n_instruments):
            _free_state(self.states[i])
        free(self.states)
        for i in range(self._n_groups):
            for k in range(self._n_followed):
                rolling_free(self.groups[i].calibration[k])
        free(self.groups)
        free(self._labels)
        if self.shared != NULL:
            shared_signals_free(self.shared)

    cdef int _make_states(self, uint32_t n, Policy policy) except -1:
        # Those of instruments to come. They count once ``n_instruments`` says so.
        cdef InstrumentState** states
        cdef InstrumentState* state
        cdef uint32_t i
        if n <= self.n_instruments:
            return 0
        states = <InstrumentState**>calloc(n, sizeof(InstrumentState*))
        if states == NULL:
            raise MemoryError()
        if self.n_instruments:
            memcpy(states, self.states, self.n_instruments * sizeof(InstrumentState*))
        free(self.states)
        self.states = states
        try:
            for i in range(self.n_instruments, n):
                state = <InstrumentState*>calloc(1, sizeof(InstrumentState))
                if state == NULL:
                    raise MemoryError()
                states[i] = state
                state.instrument = i
                book_init(&state.book, policy.instrument[i].book_levels_max)
                state.features = feature_state_new(&self.feature_params)
                if policy.instrument[i].order_level:
                    orders_init(&state.orders, policy.instrument[i].book_orders_max)
                    state.features.by_order = True
                state.regime_since_ns = -1
                state.quality.since_ns = state.quality.trouble_ns = -1
                state.distrust = CAUSE_NO_DATA
                state.silent_ns = INT64_MAX
        except BaseException:
            for i in range(self.n_instruments, n):
                _free_state(states[i])
                states[i] = NULL
            raise
        return 0

    cdef int _wire_drivers(self) except -1:
        cdef uint32_t i
        cdef int slot, numerator, denominator
        for i in range(self.n_instruments):
            for slot in range(2):
                numerator = self._policy.instrument[i].driver[slot][0]
                denominator = self._policy.instrument[i].driver[slot][1]
                feature_set_driver(
                    self.states[i].features,
                    slot,
                    self.states[numerator].features if numerator >= 0 else NULL,
                    self.states[denominator].features if denominator >= 0 else NULL,
                )
        return 0

    # --- time and order -------------------------------------------------------------------------------------------

    cdef void advance(self, int64_t t) noexcept nogil:
        self.input_sequence += 1
        if t > self.now_ns:
            self.now_ns = t
            if t >= self._quotes.due_ns:
                self._time_quotes()

    # --- market events --------------------------------------------------------------------------------------------

    def on_events(self, EventBuffer buffer):
        """Apply all events of ``buffer`` in order; the caller clears it."""
        cdef Py_ssize_t i
        cdef uint64_t first = self.input_sequence + 1
        cdef InputSink sink
        for i in range(buffer.count):
            # Many instruments do not fit a core's caches: what later events need is on its way meanwhile.
            if i + 4 < buffer.count:
                self._fetch(buffer.events + i + 4)
                self._fetch_features(buffer.events + i + 2)
                self._fetch_slots(buffer.events + i + 1)
            self.on_event_c(buffer.events + i)
        if self._labels_n or self._quotes.said_n:
            self._tell_derived()
        if buffer.count:
            for sink in self._sinks:
                sink.events(buffer.events, buffer.count, first)

    cdef inline void _fetch(self, const Event* event) noexcept nogil:
        cdef const InstrumentState* state
        if event.instrument < self.n_instruments:
            state = self.states[event.instrument]
            fetch(&self._policy.instrument[event.instrument])
            fetch(&state.features)
            fetch(&state.book.bid if event.side == SIDE_BID else &state.book.ask)
            fetch(&state.book.bid.bits[4] if event.side == SIDE_BID else &state.book.ask.bits[4])
            fetch(&state.book.level_sequence)
            fetch(&state.book.ask_ticks)
            fetch(&state.stress)
            fetch(&state.last_book_ns)
            fetch(&state.regime_since_ns)
            fetch(&state.quality)
            fetch(&state.quality.quality)
            fetch(&state.labels)
            fetch(&state.labels.heap_n)
            fetch(&state.seen)
            fetch(&state.silent_ns)
            fetch(&state.announced.n)
            fetch(&state.reasons)
            fetch(&state.dirty)

    cdef inline void _fetch_features(self, const Event* event) noexcept nogil:
        if event.instrument < self.n_instruments:
            feature_fetch(self.states[event.instrument].features)

    cdef inline void _fetch_slots(self, const Event* event) noexcept nogil:
        cdef const InstrumentState* state
        if event.instrument < self.n_instruments:
            state = self.states[event.instrument]
            feature_fetch_slots(state.features)
            if event.kind == EV_LEVEL:
                if event.side == SIDE_BID:
                    fetch(state.book.bid.near + (event.price_ticks & (WINDOW - 1)))
                else:
                    fetch(state.book.ask.near + (-event.price_ticks & (WINDOW - 1)))

    cdef void on_event_c(self, const Event* event) noexcept nogil:
        cdef InstrumentState* state
        cdef const InstrumentParams* params
        cdef int64_t t, old
        cdef uint32_t i
        cdef bint changed
        self.advance(event.receive_ns)
        t = self.now_ns
        if t > self._marks.next_ns:
            self._take_marks(t)
        if event.instrument >= self.n_instruments:
            if event.instrument == NO_INDEX and event.kind == EV_STATUS:
                for i in range(self.n_instruments):
                    if self._watching:
                        self._listen(self.states[i], &self._policy.instrument[i], t)
                        self.states[i].stamp_ns = t
                    self.states[i].companions_down = 0           # all begin anew, and say so
                    self._on_status(self.states[i], i, event.aux, t)
            else:
                self.unknown_events += 1
            return
        state = self.states[event.instrument]
        params = &self._policy.instrument[event.instrument]
        state.events += 1
        if self._watching:
            self._listen(state, params, t)
        if t - state.last_alive_ns > params.stale_min_ns and state.last_alive_ns:
            self.update_regime(state, event.instrument, t)       # books the silence before this event ends it
        if EV_ADD <= event.kind <= EV_EXECUTE:
            if params.order_level:
                self._on_order(state, event, t)
            else:
                state.unsupported += 1
        elif event.kind == EV_LEVEL:
            if params.order_level:
                state.unsupported += 1       # levels are what the orders say
            elif state.in_snapshot:
                book_level(&state.book, event.side, event.price_ticks, event.size_lots)
                state.dirty = True
            elif state.book_state == BOOK_WHOLE:
                old = book_level(&state.book, event.side, event.price_ticks, event.size_lots)
                if not event.flags & FLAG_SNAPSHOT:              # else a correction, no flow
                    feature_on_level(state.features, t, event.side, event.price_ticks, old, event.size_lots)
                state.book.level_sequence = event.sequence
                state.dirty = True
        elif event.kind == EV_QUOTE and params.order_level:
            self._on_published(state, params, event, t)
        elif event.kind == EV_QUOTE:
            book_quote(&state.book, event.sequence, event.price_ticks, event.size_lots, event.order_id, event.aux)
            state.book.unsized = event.flags & FLAG_NO_SIZE
            state.dirty = True
            state.last_quote_ns = t
            if state.book_state != BOOK_WHOLE and params.quotes_only:
                state.book_state = BOOK_WHOLE
                state.whole_since_ns = t
                state.resyncs += 1
        elif event.kind == EV_TRADE:
            self._on_trade(state, event, t)
        elif event.kind == EV_SNAPSHOT_BEGIN:
            book_clear_levels(&state.book)
            if params.order_level:
                orders_clear(&state.orders)
            state.every_order = event.aux == EVERY_ORDER
            state.in_snapshot = True
            state.dirty = True
            if state.book_state == BOOK_WHOLE:
                state.book_state = BOOK_WAITING
                state.distrust = CAUSE_RESYNCHRONISING
                feature_on_gap(state.features, t)
        elif event.kind == EV_SNAPSHOT_END and not state.in_snapshot:
            state.unsupported += 1           # of nothing: what was begun has been given up since
        elif event.kind == EV_SNAPSHOT_END:
            state.in_snapshot = False
            if not self._orders_broken(state, t):
                if event.size_lots > 0 and not params.order_level:
                    book_cut(&state.book, event.size_lots, event.price_ticks, event.order_id)
                state.book.level_sequence = event.sequence
                state.book_state = BOOK_WHOLE
                state.whole_since_ns = t
                state.resyncs += 1
                state.dirty = True
        elif event.kind == EV_CLEAR:
            self._distrust(state, t, event.flags & FLAG_GAP,
                           CAUSE_LOST_MESSAGES if event.flags & FLAG_GAP else CAUSE_RESYNCHRONISING)
            self.look(state, params, t)
        elif event.kind == EV_STATUS:
            self._on_status(state, event.instrument, event.aux, t)
            if event.sequence > state.book.level_sequence and state.book_state == BOOK_WHOLE:
                state.book.level_sequence = event.sequence       # a depth message without a level
                state.dirty = True
        else:
            state.unsupported += 1
        if not event.flags & FLAG_LAST:
            return

        state.messages += 1
        if self._watching:
            state.stamp_ns = t
        self.heard(state, params, event, t)
        if state.dirty:
            # Levels summed from orders are filled up from them; those of a venue are lost until it sends a snapshot.
            if state.book_state == BOOK_WHOLE and not params.order_level and not book_is_known(&state.book):
                self._distrust(state, t, True, CAUSE_BEYOND_KNOWN_DEPTH)
            state.dirty = False
            changed = book_refresh(&state.book)
            if params.order_level and self._uncross(state, params, t):
                changed = True
            if state.book.crossed:
                if changed:
                    state.crossed += 1
            elif state.book_state == BOOK_WHOLE and book_two_sided(&state.book):
                feature_on_book(state.features, &state.book, t, changed)
                if changed and self._quotes.c.live:
                    self._move_quotes(state)
        if t - state.stress_checked_ns >= STRESS_CADENCE_NS:
            self.update_regime(state, event.instrument, t)
        elif state.quality.quality != QUALITY_GOOD or state.book_state != BOOK_WHOLE or state.book.crossed:
            self.look(state, params, t)       # what is worth counting however short it is

    cdef void heard(self, InstrumentState* state, const InstrumentParams* params, const Event* event,
                    int64_t t) noexcept nogil:
        # At the end of a message: what staleness is judged by.
        cdef bint own
        state.last_alive_ns = t
        if params.quotes_only:
            own = event.kind == EV_QUOTE
        elif params.order_level and event.kind <= EV_TRADE:
            own = True         # the trades of an order feed come down the same line
        else:                  # a status with a sequence is a depth message without a level
            own = event.kind == EV_LEVEL or event.kind == EV_SNAPSHOT_END or (
                event.kind == EV_STATUS and event.sequence != 0)
        if own:
            follow_rhythm(state, t)
        elif (event.kind == EV_TRADE or event.kind == EV_QUOTE) and not state.unanswered_ns and not (
            # Published best prices that the orders give already need no answer.
            params.order_level and event.price_ticks == state.book.bid_ticks and event.order_id == state.book.ask_ticks
        ):
            state.unanswered_ns = t

    cdef void _on_trade(self, InstrumentState* state, const Event* event, int64_t t) noexcept nogil:
        # Without an aggressor the middle of the book decides; at the middle, or without one, nobody is.
        cdef int64_t away = 2 * event.price_ticks - state.book.bid_ticks - state.book.ask_ticks
        cdef int side = event.side
        if side == SIDE_NONE:
            state.unsided_trades += 1
            if book_two_sided(&state.book) and away:
                side = SIDE_BID if away > 0 else SIDE_ASK
            else:
                state.undecided_trades += 1
        if side != SIDE_NONE:
            feature_on_trade(state.features, t, event.price_ticks, event.size_lots, side)

    cdef void _distrust(self, InstrumentState* state, int64_t t, bint gap, int cause) noexcept nogil:
        state.distrust = cause
        if gap:
            if state.book_state != BOOK_GAPPED:
                state.gaps += 1
            state.book_state = BOOK_GAPPED
        else:
            state.book_state = BOOK_WAITING
        book_clear(&state.book)
        if state.orders.memory != NULL:
            orders_clear(&state.orders)
        state.in_snapshot = False
        state.dirty = True
        feature_on_gap(state.features, t)

    cdef void _on_order(self, InstrumentState* state, const Event* event, int64_t t) noexcept nogil:
        cdef OrderChange change
        if state.in_snapshot:
            order_apply(&state.orders, &state.book, event, &change)
            state.dirty = True
            return
        if state.book_state != BOOK_WHOLE:
            return
        if order_apply(&state.orders, &state.book, event, &change):
            if event.flags & FLAG_SNAPSHOT:
                change.added_lots = change.cancelled_lots = change.executed_lots = 0     # state, not flow
            feature_on_order(state.features, change.side, change.added_lots, change.cancelled_lots)
            state.dirty = True
        if change.executed_lots > 0:
            # Whoever took a resting bid sold.
            feature_on_trade(state.features, t, change.executed_ticks, change.executed_lots,
                             SIDE_ASK if change.side == SIDE_BID else SIDE_BID)
        state.book.level_sequence = event.sequence
        self._orders_broken(state, t)

    cdef bint _orders_broken(self, InstrumentState* state, int64_t t) noexcept nogil:
        # Where every order is told from the first on, a record that does not fit what rests proves the book wrong.
        if state.orders.full:
            self._distrust(state, t, True, CAUSE_BOOK_FULL)
        elif state.orders.diverged and state.every_order:
            self._distrust(state, t, True, CAUSE_DIVERGED)
        else:
            return False
        return True

    cdef void _on_published(self, InstrumentState* state, const InstrumentParams* params, const Event* event,
                            int64_t t) noexcept nogil:
        # Best prices beside the orders they follow from: no view of their own, but what they cross is stale.
        if state.in_snapshot or state.book_state != BOOK_WHOLE:
            return
        state.last_quote_ns = t
        if state.every_order:
            return
        if orders_purge(&state.orders, &state.book, event.price_ticks, event.size_lots, event.order_id, event.aux,
                        t - params.purge_after_ns):
            feature_on_order(state.features, SIDE_BID, 0, 0)
            state.dirty = True

    cdef bint _uncross(self, InstrumentState* state, const InstrumentParams* params, int64_t t) noexcept nogil:
        # Orders may cross while the records of their match are on the way; what stays crossed holds a stale one.
        # While nothing is matched, or messages are missing, a crossed book is as it should be; and where every order
        # is told nothing is purged: its end would not be known any more.
        if (not state.book.crossed or state.halted or state.auction or state.every_order
                or state.book_state != BOOK_WHOLE):
            state.crossed_since_ns = 0
            return False
        if not state.crossed_since_ns:
            state.crossed_since_ns = t
        if t - state.crossed_since_ns < params.purge_after_ns or not orders_uncross(&state.orders, &state.book):
            return False
        state.crossed_since_ns = 0
        feature_on_order(state.features, SIDE_BID, 0, 0)
        return book_refresh(&state.book)

    cdef void _on_status(self, InstrumentState* state, uint32_t instrument, int64_t code, int64_t t) noexcept nogil:
        if code == STATUS_HALT or code == STATUS_CLOSED:
            state.halted = True
            state.closed = code == STATUS_CLOSED
        elif code == STATUS_AUCTION:
            state.halted = False
            state.auction = True
        elif code == STATUS_TRADING:
            state.halted = False
            state.auction = False
        elif code == STATUS_FEED_DOWN:
            self._distrust(state, t, state.book_state != BOOK_WAITING, CAUSE_FEED_DOWN)
        elif code == STATUS_COMPANION_DOWN:
            state.companions_down += 1
            feature_on_gap(state.features, t)
        elif code == STATUS_COMPANION_UP:
            if state.companions_down == 0:
                return         # it was never known to be down
            state.companions_down -= 1
            feature_on_gap(state.features, t)
            if state.book_state == BOOK_WHOLE:
                state.whole_since_ns = t                         # its features warm up as after a gap
        elif code == STATUS_MISSING:
            if state.book_state != BOOK_WHOLE:
                return         # not trusted anyhow; what rests, if anything does, goes on from there
            state.gaps += 1
            state.book_state = BOOK_GAPPED
            state.distrust = CAUSE_LOST_MESSAGES
            state.in_snapshot = True
            feature_on_gap(state.features, t)
        else:
            return             # FEED_UP and HEARTBEAT prove that the venue is there, not that the book is whole
        self.update_regime(state, instrument, t)

    # --- signals --------------------------------------------------------------------------------------------------

    def on_signal(self, int kind, *, int64_t receive_ns, int64_t source_ns, double value, double value2=0.0,
                  uint32_t instrument=NO_INDEX, uint32_t desk=NO_INDEX, int64_t ttl_ns=0, uint64_t source=0):
        """Apply one slow signal: news score, volatility index level, inventory with its limit, an event of
        the calendar, a pair of an option's greeks (``SignalCode`` says which).

        False when it is an input that changed nothing: what is held is newer, its time to live has passed, or there
        is no room for one more event of the calendar. What ``value`` and the rest mean is said in ``records.pxd``.
        Raises ``ValueError`` on an unknown kind, a value that is not finite, or an unknown instrument.
        """
        cdef Signal signal
        if kind not in (SIG_NEWS, SIG_VOLATILITY_INDEX, SIG_INVENTORY, SIG_CALENDAR) and not is_greek(kind):
            raise ValueError(f"unknown signal kind {kind}")
        if kind == SIG_VOLATILITY_INDEX and source >= <uint64_t>len(self._config.signals.volatility_indices):
            raise ValueError(f"unknown volatility index {source}")
        if kind == SIG_INVENTORY and not value2 > 0:
            raise ValueError("an inventory's limit must be above 0")
        if is_greek(kind) and instrument == NO_INDEX:
            raise ValueError("greeks are those of one instrument")
        if kind == SIG_CALENDAR and value not in _CALENDAR_REGIMES:
            raise ValueError("an event of the calendar must be an auction, scheduled news or a halt")
        if kind == SIG_CALENDAR and value != <int>REGIME_NORMAL and (ttl_ns <= 0 or source_ns > INT64_MAX - ttl_ns):
            raise ValueError("an event of the calendar must end after its start")
        if value - value != 0 or value2 - value2 != 0:
            raise ValueError("a signal's value must be finite")
        if instrument != NO_INDEX and instrument >= self.n_instruments:
            raise ValueError(f"unknown instrument index {instrument}")
        if desk != NO_INDEX and desk >= <uint32_t>len(self._policy.desk_names):
            raise ValueError(f"unknown desk index {desk}")
        memset(&signal, 0, sizeof(Signal))
        signal.kind = kind
        signal.receive_ns = receive_ns
        signal.source_ns = source_ns
        signal.value = value
        signal.value2 = value2
        signal.instrument = instrument
        signal.desk = desk
        signal.ttl_ns = ttl_ns
        signal.source = source
        return self.apply_signal(&signal)

    def on_greeks(self, uint32_t instrument, *, int64_t receive_ns, int64_t source_ns, delta_gamma=None,
                  vega_theta=None, volatility_underlying=None, mark_funding=None):
        """Apply what a venue or a desk says of an option as the signals it takes, one for each pair that is given.

        Raises ``ValueError`` as ``on_signal`` does; then none of it has been applied.
        """
        pairs = [
            (kind, *pair)
            for kind, pair in (
                (SIG_DELTA_GAMMA, delta_gamma), (SIG_VEGA_THETA, vega_theta),
                (SIG_IMPLIED_VOLATILITY, volatility_underlying), (SIG_MARK, mark_funding),
            )
            if pair is not None
        ]
        if not all(isfinite(first) and isfinite(second) for _, first, second in pairs):
            raise ValueError("a signal's value must be finite")
        for kind, first, second in pairs:
            self.on_signal(kind, receive_ns=receive_ns, source_ns=source_ns, value=first, value2=second,
                           instrument=instrument)

    def on_signal_record(self, const unsigned char[::1] record not None):
        """Apply a signal as a capture or journal holds it: the bytes of ``SIGNAL_DTYPE``.

        Raises ``ValueError`` when they are no signal, or one for an instrument or index that is not there.
        """
        cdef Signal signal
        if record.shape[0] != <Py_ssize_t>sizeof(Signal):
            raise ValueError(f"a signal takes {sizeof(Signal)} bytes, not {record.shape[0]}")
        memcpy(&signal, &record[0], sizeof(Signal))
        return self.on_signal(
            signal.kind, receive_ns=signal.receive_ns, source_ns=signal.source_ns, value=signal.value,
            value2=signal.value2, instrument=signal.instrument, desk=signal.desk, ttl_ns=signal.ttl_ns,
            source=signal.source,
        )

    cdef bint apply_signal(self, const Signal* signal) except -1:
        cdef InputSink sink
        cdef bint took = self.on_signal_c(signal)
        if self._quotes.said_n:
            self._tell_derived()
        for sink in self._sinks:
            sink.signal(signal, self.input_sequence)
        return took

    cdef bint on_signal_c(self, const Signal* signal) noexcept nogil:
        cdef uint32_t i
        cdef bint took = False
        self.advance(signal.receive_ns)
        if is_greek(signal.kind):
            return greeks_on_signal(&self.states[signal.instrument].greeks, signal, self.now_ns)
        if signal.kind == SIG_CALENDAR:
            took = self._on_calendar(signal)
        elif signal.kind == SIG_VOLATILITY_INDEX or (signal.kind == SIG_NEWS and signal.instrument == NO_INDEX):
            took = shared_on_signal(self.shared, signal, self.now_ns)
        elif signal.instrument == NO_INDEX:
            for i in range(self.n_instruments):
                took |= feature_on_signal(self.states[i].features, signal, self.now_ns)
        else:
            took = feature_on_signal(self.states[signal.instrument].features, signal, self.now_ns)
        if signal.kind == SIG_NEWS or signal.kind == SIG_CALENDAR:
            for i in range(self.n_instruments):
                if signal.instrument == NO_INDEX or signal.instrument == i:
                    self.update_regime(self.states[i], i, self.now_ns)
        return took

    cdef bint _on_calendar(self, const Signal* signal) noexcept nogil:
        cdef CalendarList* kept = &self.announced
        cdef CalendarEntry* entry
        cdef bint took = False
        cdef uint32_t i
        if signal.value == <int>REGIME_NORMAL:
            took = calendar_forget(kept, signal.source)
            for i in range(self.n_instruments):
                took |= calendar_forget(&self.states[i].announced, signal.source)
            return took
        if signal.instrument != NO_INDEX:
            kept = &self.states[signal.instrument].announced
        calendar_expire(kept, self.now_ns)
        if kept.n == ANNOUNCED_MAX or signal.source_ns + signal.ttl_ns <= self.now_ns:
            return False
        entry = &kept.entry[kept.n]
        entry.from_ns = signal.source_ns
        entry.until_ns = signal.source_ns + signal.ttl_ns
        entry.id = signal.source
        entry.regime = <uint8_t>signal.value
        kept.n += 1
        return True

    def calendar(self, int64_t now_ns):
        """Events published and not yet over: (id, regime, from, until, instrument or ``NO_INDEX_VALUE``) each."""
        cdef const CalendarList* kept
        cdef int64_t place
        cdef int k
        found = []
        for place in range(-1, <int64_t>self.n_instruments):
            kept = &self.announced if place < 0 else &self.states[place].announced
            for k in range(kept.n):
                if kept.entry[k].until_ns > now_ns:
                    found.append((kept.entry[k].id, kept.entry[k].regime, kept.entry[k].from_ns,
                                  kept.entry[k].until_ns, <uint32_t>NO_INDEX if place < 0 else <uint32_t>place))
        return found

    def name_events(self, int64_t now_ns, list events):
        """Say what events of the calendar are called, before the signals that announce them.

        Each is a dict: ``id`` (the signals' source), ``event_id``, ``description``, and the names of the
        ``instruments`` and ``venues`` that it was published for. Names of events that are over or forgotten go.
        """
        self.advance(now_ns)
        held = {entry[0] for entry in self.calendar(self.now_ns)}
        self._event_names = {id: name for id, name in self._event_names.items() if id in held}
        self._event_names.update((event["id"], event) for event in events)
        self._tell(CHANGE_EVENTS_NAMED, {"events": events}, now_ns)

    def event_name(self, uint64_t id):
        """What ``name_events`` said of an event, ``None`` where nothing was."""
        return self._event_names.get(id)

    # --- quality and regime ---------------------------------------------------------------------------------------

    cdef Verdict quality_c(self, const InstrumentState* state, const InstrumentParams* params,
                           int64_t t) noexcept nogil:
        # Judged by arrival against the instrument's own rhythm; exchange time plays no part. A trade or a quote that
        # the book's own stream does not answer, and a line that is not heard at all, count at once; on a line that is
        # heard, silence may be quiet, and is taken for it for longer the quieter the instrument usually is.
        cdef double expected, bound, quiet
        cdef int64_t line_ns
        cdef Verdict verdict
        verdict.since_ns = t
        verdict.cause = CAUSE_NONE
        if state.halted:
            verdict.quality = QUALITY_HALTED
            verdict.cause = CAUSE_CLOSED if state.closed else CAUSE_HALT
            return verdict
        if state.book_state != BOOK_WHOLE:
            verdict.quality = QUALITY_GAPPED if state.book_state == BOOK_GAPPED else QUALITY_WARMING
            verdict.cause = state.distrust
            return verdict
        if state.companions_down:
            verdict.quality = QUALITY_GAPPED
            verdict.cause = CAUSE_FEED_DOWN
            return verdict
        if state.book.crossed:
            verdict.quality = QUALITY_CROSSED
            verdict.cause = CAUSE_CROSSED
            return verdict
        # Of a rhythm that has not been heard for long enough nothing is expected before the longest bound.
        expected = <double>params.stale_max_ns
        if state.gap_sum >= RHYTHM_KNOWN_NS:
            expected = params.stale_gap_multiple * state.gap_square_sum / state.gap_sum
        bound = fmin(fmax(expected, <double>params.stale_min_ns), <double>params.stale_max_ns)
        verdict.quality = QUALITY_STALE
        if state.unanswered_ns and t - state.unanswered_ns > bound:
            verdict.cause = CAUSE_BOOK_UNANSWERED
            verdict.since_ns = state.unanswered_ns + <int64_t>bound
            return verdict
        if t - state.last_book_ns > bound:
            line_ns = max(state.last_alive_ns, state.last_book_ns)
            if t - line_ns > bound:
                verdict.cause = CAUSE_LINE_SILENT
                verdict.since_ns = line_ns + <int64_t>bound
                return verdict
            quiet = fmax(ALIVE_FACTOR * expected, <double>params.stale_max_ns)
            if t - state.last_book_ns > quiet:
                verdict.cause = CAUSE_BOOK_SILENT
                verdict.since_ns = state.last_book_ns + <int64_t>quiet
                return verdict
        verdict.quality = QUALITY_WARMING
        if not book_two_sided(&state.book):
            verdict.cause = CAUSE_ONE_SIDED
        elif t - state.whole_since_ns < params.warmup_ns:
            verdict.cause = CAUSE_WARMING_UP
        else:
            verdict.quality = QUALITY_GOOD
            if state.quality.cause == CAUSE_WARMING_UP:
                verdict.since_ns = state.whole_since_ns + params.warmup_ns
        return verdict

    cdef void look(self, InstrumentState* state, const InstrumentParams* params, int64_t t) noexcept nogil:
        cdef Verdict verdict = self.quality_c(state, params, t)
        cdef bint good = state.quality.quality == QUALITY_GOOD
        quality_note(&state.quality, &verdict, t)
        if good and verdict.quality != QUALITY_GOOD and self._quotes.c.live:
            self._quotes.withdraw_market(state.instrument,
                                         WITHDRAW_HALT if verdict.quality == QUALITY_HALTED else WITHDRAW_DATA_QUALITY,
                                         self.now_ns, self.input_sequence)

    cdef int _regime_at(self, const InstrumentState* state, RegimeState* judged, int64_t t,
                        uint64_t* reasons) noexcept nogil:
        # Changes ``judged`` alone: the state's own, or a copy of it by whom only looks ahead.
        cdef StressInputs inputs
        cdef int stress, calendar
        feature_stress(state.features, self.shared, t, self._policy.regime.news_fresh_ns, &inputs)
        stress = regime_update(judged, &self._policy.regime, &inputs, t, reasons)
        calendar = self._policy.calendar_regime(state.instrument, t)
        calendar = max(calendar, calendar_says(&self.announced, t))    # codes rise with severity
        calendar = max(calendar, calendar_says(&state.announced, t))
        if state.halted or calendar == REGIME_HALT:
            reasons[0] |= WHY_HALT
            return REGIME_HALT
        if stress == REGIME_STRESS:
            return REGIME_STRESS
        if state.auction or calendar == REGIME_AUCTION:
            reasons[0] |= WHY_AUCTION
            return REGIME_AUCTION
        if calendar == REGIME_SCHEDULED_NEWS:
            reasons[0] |= WHY_SCHEDULED_NEWS
            return REGIME_SCHEDULED_NEWS
        return REGIME_NORMAL

    cdef void update_regime(self, InstrumentState* state, uint32_t instrument, int64_t t) noexcept nogil:
        cdef uint64_t reasons = 0
        cdef int regime
        if state.regime_since_ns >= 0:
            state.regime_ns[state.regime] += t - state.regime_since_ns
        state.regime_since_ns = t
        self.look(state, &self._policy.instrument[instrument], t)
        state.stress_checked_ns = t
        regime = self._regime_at(state, &state.stress, t, &reasons)
        if regime == REGIME_STRESS and state.regime != REGIME_STRESS:
            state.stress_entries += 1
        if regime != state.regime and self._quotes.c.live and (regime == REGIME_STRESS or regime == REGIME_HALT):
            self._quotes.withdraw_market(instrument, WITHDRAW_STRESS if regime == REGIME_STRESS else WITHDRAW_HALT,
                                         self.now_ns, self.input_sequence)
        state.regime = regime
        state.reasons = reasons

    def on_timer(self, int64_t now_ns):
        """Let time pass without an event: regimes fade, quality is judged, overrides end, labels resolve."""
        cdef uint32_t i
        cdef InputSink sink
        self.advance(now_ns)
        if self.now_ns > self._marks.next_ns:
            self._take_marks(self.now_ns)
        for i in range(self.n_instruments):
            if self._watching:
                self._stamp_ends(self.states[i], &self._policy.instrument[i], self.now_ns)
            self.update_regime(self.states[i], i, self.now_ns)
        self._refit_some(self.now_ns)
        if self._probe_interval_ns:
            self._probe_some(self.now_ns)
        self.drop_expired_overrides(self.now_ns)
        self._assume(self._counterparties.refit(self.now_ns))
        if self._quotes.c.n:
            self._judge_quotes(self.now_ns)
            self._quotes.forget(self.now_ns)
        if self._labels_n or self._quotes.said_n:
            self._tell_derived()
        for sink in self._sinks:
            sink.timer(now_ns, self.input_sequence)
        for step in self._monitors.due(self.now_ns):
            self.step(now_ns, step.group, step.down, source=step.source, reason=step.reason, model=step.model)

    # --- decisions ------------------------------------------------------------------------------------------------

    cpdef int decide(self, RequestRecord request, DecisionRecord decision) except -1:
        """One decision. Raises ``ValueError`` when the request's instrument index is out of range, or its size is no
        finite number or below 0."""
        if request.c.instrument >= self.n_instruments:
            raise ValueError(f"unknown instrument index {request.c.instrument}")
        check_size(&request.c)
        self.decide_c(&request.c, &decision.c)
        return self.told(&request.c, &decision.c)

    cdef int told(self, const Request* request, const Decision* decision) except -1:
        # After every decide_c: the sinks, and the kill that a throttle has come to.
        cdef InputSink sink
        cdef int k
        if self._labels_n or self._quotes.said_n:
            self._tell_derived()
        for sink in self._sinks:
            sink.decision(request, decision)
            for k in range(self._n_shadows):
                sink.shadow(&self._shadows[k])
        if self._trip:
            self._trip = False
            names = self._policy.counterparty_names
            name = names[request.counterparty] if request.counterparty < len(names) else STRANGERS
            self.kill(decision.now_ns, counterparty=name, reason=self._throttle.reason(request.counterparty),
                      source=KillSource.THROTTLE)
        return 0

    cdef void decide_c(self, const Request* request, Decision* out) noexcept nogil:
        # What the market says → what request and policy make of it → features → curve and life. The second and the
        # last step know no state but policy, model and overrides: redo_c takes them again from a record.
        cdef InstrumentState* state = self.states[request.instrument]
        cdef const InstrumentParams* params = &self._policy.instrument[request.instrument]
        cdef const ModelSlot* model
        cdef double own[LABEL_ANCHORS]
        memset(out, 0, sizeof(Decision))
        self._n_shadows = 0
        self.advance(request.now_ns)
        out.input_sequence = self.input_sequence
        out.now_ns = self.now_ns
        if request.flags & REQ_FIRST_LEG:
            self._legs_room = NAN
            self._legs_n = 0
        self._observe(state, params, request, True, out)
        if self._frame(params, request, out):
            if not package_of_legs(request):
                self._features(state, params, request, out)
                out.held_alpha = self.groups[state.group].held[out.posture_effective].alpha
            self._know(request, out)
            if draws_no_curve(request):
                self._judge(params, request, NULL, out)
            else:
                model = self._served.slot(out.posture_effective, request.counterparty, &out.model_role)
                self._learned(state, model, out)
                self._judge(params, request, model, out)
                memcpy(own, self._own, sizeof(own))
                self._asked(NULL, NULL)
                self._asked(model, self._raw)
                self._ask_shadows(request, out)
                if self._watching:
                    self._watch_decision(state, params, model, own, request.flags & REQ_LEG == 0, request, out)
        if request.flags & (REQ_LEG | REQ_GREEKS) == REQ_LEG:
            self._take_room(request, out)
        state.decisions += 1
        if out.kind == DECISION_DECLINE:
            state.declines += 1

    def redo(self, RequestRecord request, DecisionRecord recorded, DecisionRecord decision):
        """The decision again from what was recorded of the market, by this engine's policy, model and overrides.

        Neither reads nor changes the state of the market: equal bytes mean that the record follows from itself.
        Raises ``ValueError`` when the request's instrument index is out of range.
        """
        if request.c.instrument >= self.n_instruments:
            raise ValueError(f"unknown instrument index {request.c.instrument}")
        self._priors.recall(self._policy, request.c.counterparty, self._counterparties.place(request.c.counterparty),
                            recorded.c.learned)
        self.redo_c(&request.c, &recorded.c, NULL, NULL, &decision.c)

    def redo_shadow(self, RequestRecord request, DecisionRecord recorded, answer):
        """A shadow's recorded ``answer`` (of ``SHADOW_DTYPE``) to a recorded decision again, under the pairs that it
        carries: an array of one, or of none where that model was no shadow then.

        Raises ``ValueError`` when the request's instrument index is out of range.
        """
        cdef const PostureModels* models
        cdef uint64_t wanted = answer["model"]
        cdef const double[::1] calibration = np.array(answer["calibration"], dtype=np.float64)
        cdef bint challenged = recorded.c.model_role == MODEL_CHALLENGER
        cdef const ModelSlot* model = NULL
        cdef uint32_t k
        if request.c.instrument >= self.n_instruments:
            raise ValueError(f"unknown instrument index {request.c.instrument}")
        self._n_shadows = 0
        self._priors.recall(self._policy, request.c.counterparty, self._counterparties.place(request.c.counterparty),
                            recorded.c.learned)
        if recorded.c.model_role:
            models = &self._served.posture[recorded.c.posture_effective]
            if (models.challenger.model if challenged else models.champion.model) != wanted:
                for k in range(models.n_shadows):
                    if models.shadow[k].model == wanted:
                        model = &models.shadow[k]
            if challenged and models.champion.model == wanted:
                model = &models.champion
        if model != NULL:
            self._ask_shadow(&request.c, &recorded.c, model, &calibration[0])
        return self.shadows()

    def shadows(self):
        """What the shadows made of the last decision, as an array of ``SHADOW_DTYPE``; empty where no model was
        asked."""
        cdef bytes raw = (<const char*>self._shadows)[:self._n_shadows * sizeof(ShadowAnswer)]
        return np.frombuffer(raw, dtype=SHADOW_DTYPE)

    cdef void _ask_shadows(self, const Request* request, const Decision* decision) noexcept nogil:
        cdef const PostureModels* models = &self._served.posture[decision.posture_effective]
        cdef bint challenged = decision.model_role == MODEL_CHALLENGER
        cdef uint64_t served = models.challenger.model if challenged else models.champion.model
        cdef const InstrumentState* state = self.states[request.instrument]
        cdef const ModelSlot* model
        cdef double calibration[2 * LABEL_ANCHORS]
        cdef uint32_t k
        for k in range(models.n_shadows + challenged):
            model = &models.shadow[k] if k < models.n_shadows else &models.champion
            if model.model != served:
                self._pairs_of(state, model, calibration)
                self._ask_shadow(request, decision, model, calibration)
                self._asked(model, self._raw)

    cdef void _ask_shadow(self, const Request* request, const Decision* decision, const ModelSlot* model,
                          const double* calibration) noexcept nogil:
        # The decision taken again with another model and what was learned of it: all else in the record is the same.
        cdef ShadowAnswer* answer = &self._shadows[self._n_shadows]
        cdef Decision* again = &self._again
        self._n_shadows += 1
        self.redo_c(request, decision, model, calibration, again)
        memset(answer, 0, sizeof(ShadowAnswer))
        memcpy(answer.calibration, again.calibration, sizeof(answer.calibration))
        answer.input_sequence = again.input_sequence
        answer.now_ns = again.now_ns
        answer.life_ns = again.life_ns
        answer.reasons = again.reasons
        answer.model = model.model
        answer.h_ticks = again.h_ticks
        answer.p_life = again.p_life
        answer.expected_value_ticks = again.expected_value_ticks
        memcpy(answer.p, again.p, sizeof(answer.p))
        answer.instrument = again.instrument
        answer.model_revision = again.model_revision
        answer.binding = again.binding
        answer.kind = again.kind
        answer.posture_effective = again.posture_effective
        answer.side = again.side

    cdef void redo_c(self, const Request* request, const Decision* recorded, const ModelSlot* model,
                     const double* calibration, Decision* out) noexcept nogil:
        # With another model than the one of the record, calibration is that model's.
        cdef const InstrumentParams* params = &self._policy.instrument[request.instrument]
        memset(out, 0, sizeof(Decision))
        out.input_sequence = recorded.input_sequence
        out.now_ns = recorded.now_ns
        out.data_age_ns = recorded.data_age_ns
        out.quality = recorded.quality
        out.regime = recorded.regime
        out.reasons = recorded.reasons & <uint64_t>REGIME_REASONS
        out.reference_ticks = recorded.reference_ticks
        out.mid_ticks = recorded.mid_ticks
        out.spread_ticks = recorded.spread_ticks
        out.sigma_ticks = recorded.sigma_ticks
        out.moved_ticks = recorded.moved_ticks
        out.observed = recorded.observed
        out.exposure_room = recorded.exposure_room
        if self._frame(params, request, out):
            memcpy(out.features, recorded.features, sizeof(out.features))
            memcpy(out.valid, recorded.valid, sizeof(out.valid))
            if calibration == NULL:
                calibration = &recorded.calibration[0]
            memcpy(out.calibration, calibration, sizeof(out.calibration))
            out.held_alpha = self._policy.posture[out.posture_effective].held_alpha
            if self._policy.posture[out.posture_effective].held_rate > 0.0:
                out.held_alpha = fmin(recorded.held_alpha, out.held_alpha)
            memcpy(out.learned, recorded.learned, sizeof(out.learned))
            if model == NULL and not draws_no_curve(request):
                model = self._served.slot(out.posture_effective, request.counterparty, &out.model_role)
            self._judge(params, request, model, out)

    cdef void _observe(self, InstrumentState* state, const InstrumentParams* params, const Request* request,
                       bint asked, Decision* out) noexcept nogil:
        # All that the decision takes from the state of the market beside the features. Unless it was asked for by
        # somebody it does not count for the throttle.
        cdef int64_t t = out.now_ns, age = age_of(request, t), mid2
        cdef int64_t known_ns = max(state.last_book_ns, state.last_quote_ns)
        cdef Throttled throttled
        out.data_age_ns = t - known_ns if known_ns else -1
        self.update_regime(state, request.instrument, t)
        out.quality = state.quality.quality
        out.regime = state.regime
        out.reasons = state.reasons
        if request.flags & REQ_PACKAGE:        # of all that belongs to it, so that one posture holds throughout
            out.quality = request.package_quality
            out.regime = request.package_regime
            out.reasons = request.reasons & <uint64_t>REGIME_REASONS
        if state.whole_since_ns:
            out.observed |= OBS_BOOK_SEEN
        if self._monitors.ladder[state.group].down:
            out.observed |= OBS_STEPPED_DOWN
        out.observed |= self._killed.observed(request.counterparty)
        if asked and not out.observed & STOPPED:
            throttled = self._throttle.decided(request.counterparty, t, counts_as_act(request))
            if throttled != THROTTLE_FREE:
                out.observed |= OBS_THROTTLED
                if throttled == THROTTLE_TRIPPED and self._throttle.is_manual(request.counterparty):
                    self._trip = True
        if out.observed & STOPPED:
            out.reasons = 0
            return
        if not params.enabled or out.regime == REGIME_HALT:
            return
        if package_of_legs(request):           # what is known of its market is in its legs' decisions
            out.sigma_ticks = NAN
            out.exposure_room = self._desk_room(request.desk)
            if not isnan(self._legs_room):
                out.exposure_room = fmin(out.exposure_room, self._legs_room * request.h_ticks)
            share_room(request, out)
            if request.moved_known:
                out.observed |= OBS_MOVED_KNOWN
            return
        out.exposure_room = self._room(request.instrument, request.desk)
        share_room(request, out)
        out.sigma_ticks = feature_sigma(state.features, t)
        # D since the moment of pricing, by the market's own mids.
        if age == 0:
            out.observed |= OBS_MOVED_KNOWN
        if state.book_state != BOOK_WHOLE or state.book.crossed or not book_two_sided(&state.book):
            return                 # no prices to go by; where they are merely old, they are the last that were known
        out.reference_ticks = reference(state, params)
        out.mid_ticks = 0.5 * (state.book.bid_ticks + state.book.ask_ticks)
        out.spread_ticks = state.book.ask_ticks - state.book.bid_ticks
        if age > 0:
            mid2 = mid2_at(state.features, t - age)
            if mid2 != 0 and not request.flags & REQ_RESIDUAL:
                out.observed |= OBS_MOVED_KNOWN
                out.moved_ticks = -request.side * 0.5 * (state.book.bid_ticks + state.book.ask_ticks - mid2)

    cdef bint _frame(self, const InstrumentParams* params, const Request* request, Decision* out) noexcept nogil:
        # Posture, edge and threshold; False when that decides already.
        cdef const PostureParams* posture
        cdef const PriceBoundsParams* bounds
        cdef Resolution resolution
        cdef int64_t t = out.now_ns, age = age_of(request, t)
        cdef double widest
        cdef int k
        out.instrument = request.instrument
        out.counterparty = request.counterparty
        out.desk = request.desk
        out.session = request.session
        if self._policy.session(request.session) != NULL:
            out.actuation = self._policy.session(request.session).actuation
        out.side = request.side
        out.config_revision = self.config_revision
        out.model_revision = self.model_revision
        out.expiry_ns = t
        out.expected_value_ticks = out.break_even_edge_ticks = NAN
        if out.observed & STOPPED:
            stop(out)
            return False
        self._policy.resolve(request, out.regime, self.overrides_c, self.n_overrides, t, &resolution)
        out.posture_requested = resolution.requested
        out.posture_effective = resolution.effective
        out.rule = resolution.rule
        out.rule_index = resolution.rule_index
        out.reasons |= resolution.reasons
        if request.flags & REQ_PACKAGE:
            out.posture_effective = max(out.posture_effective, request.package_posture)
            out.reasons |= request.reasons
        if out.observed & OBS_STEPPED_DOWN:
            out.posture_effective = POSTURE_RISK_AVERSE
            if out.posture_requested != POSTURE_RISK_AVERSE:
                out.reasons |= WHY_MODEL_STEPPED_DOWN
        if out.quality != QUALITY_GOOD:
            out.reasons |= WHY_NOT_GOOD
            out.rule = RULE_DATA_QUALITY
            out.rule_index = NO_INDEX
            out.posture_effective = POSTURE_RISK_AVERSE
        if not params.enabled:
            out.reasons |= WHY_DISABLED
            decline(out)
            return False
        if out.regime == REGIME_HALT:
            decline(out)
            return False
        posture = &self._policy.posture[out.posture_effective]
        bounds = self._policy.price_bounds(request.desk)
        if request.flags & REQ_GREEKS:         # it is judged in the package, on the underlying
            refuse(out, DECISION_INDICATIVE)
            return False
        if request.flags & REQ_LAST_LEG:
            if request.reasons & <uint64_t>(WHY_PRICE_FAR | WHY_REFERENCE_FAR):
                out.binding = BIND_MARKET
                refuse(out, bounds.beyond_kind)
                return False
            if request.package_kind == DECISION_DECLINE:
                decline(out)
                return False
        if request.flags & REQ_HAS_REFERENCE:
            out.reference_ticks = request.reference_ticks
        if request.flags & REQ_HAS_PRICE:
            out.edge_ticks = request.side * (out.reference_ticks - request.price_ticks)
        elif request.flags & REQ_HAS_EDGE:
            out.edge_ticks = request.edge_ticks
        if out.quality != QUALITY_GOOD:
            # A minimum life only where good data could have given no less: by postures that are always firm, on a
            # market that is known not to have moved through, near which the price lies, on its right
            # side, and whose volatility is known.
            if (self._policy.not_good_risk_averse(request.desk) and out.edge_ticks >= 0.0
                    and always_firm(posture) and always_firm(&self._policy.posture[resolution.requested])
                    and not too_close(request, &self._policy.posture[resolution.requested], t, age)
                    and (package_of_legs(request)              # each of them has been held to what follows
                         or out.observed & OBS_BOOK_SEEN
                         and out.observed & OBS_MOVED_KNOWN and not isnan(out.sigma_ticks)
                         and (out.spread_ticks > 0
                              or not request.flags & (REQ_HAS_PRICE | REQ_HAS_EDGE | REQ_HAS_REFERENCE))
                         and (request.flags & REQ_PACKAGE or not far_from_market(bounds, request, out))
                         and out.moved_ticks < 1.0)):          # no threshold is smaller
                out.mode = posture.mode
                if request.flags & REQ_LEG:
                    refuse(out, DECISION_INDICATIVE)
                    return False
                out.binding = BIND_MIN
                out.life_ns = posture.min_ns - age
                self._settle(request, posture, out, age)
            else:
                decline(out)
            return False
        out.mode = posture.mode
        if not request.flags & REQ_PACKAGE and far_from_market(bounds, request, out):
            out.binding = BIND_MARKET
            refuse(out, bounds.beyond_kind)
            return False
        out.h_ticks = 1.0
        if package_of_legs(request):
            out.h_ticks = request.h_ticks      # theirs together, with what the edge adds to each
        elif not posture.one_tick_threshold:
            out.h_ticks = (request.h_ticks if request.flags & REQ_LAST_LEG
                           else default_threshold(params, out.reference_ticks))
            widest = bounds.edge_widens_max * fmax(out.h_ticks, out.spread_ticks)
            if out.edge_ticks > widest:
                out.reasons |= WHY_EDGE_CAPPED
            out.h_ticks = fmax(out.h_ticks, fmin(out.edge_ticks, widest))
        if out.moved_ticks >= out.h_ticks:
            out.reasons |= WHY_MOVED_THROUGH
            for k in range(HORIZONS):
                out.p[k] = 1.0
            out.p_ref = out.p_life = 1.0
            decline(out)
            return False
        return True

    cdef void _features(self, InstrumentState* state, const InstrumentParams* params, const Request* request,
                        Decision* out) noexcept nogil:
        cdef FeatureQuery query
        query.now_ns = out.now_ns
        query.side = request.side
        # Near delta-neutral it counts packages, and hardly anything of the underlying is traded.
        query.size_lots = request.size_lots if request.flags & (REQ_HAS_SIZE | REQ_RESIDUAL) == REQ_HAS_SIZE else NAN
        query.h_ticks = out.h_ticks - out.moved_ticks
        query.sigma_ticks = out.sigma_ticks
        self._counterparties.settle(request.counterparty)
        query.fill_rate = self._counterparties.fill_rate(
            request.counterparty, self._policy.fill_rate(request.counterparty))
        query.average_size_lots = self._counterparties.average_size_lots(
            request.counterparty, request.instrument,
            self._policy.average_size_lots(request.counterparty, request.instrument))
        query.volatility_index = params.volatility_index
        query.desk = request.desk
        feature_compute(state.features, &state.book, self.shared, &query, out.features, out.valid)

    cdef void _judge(self, const InstrumentParams* params, const Request* request, const ModelSlot* model,
                     Decision* out) noexcept nogil:
        # Features and threshold to curve, tolerance, life.
        cdef const PostureParams* posture = &self._policy.posture[out.posture_effective]
        cdef const PriceBoundsParams* bounds
        cdef ModelInput model_input
        cdef LifeResult life
        cdef double left = out.h_ticks - out.moved_ticks       # what can still be passed
        cdef int64_t age = age_of(request, out.now_ns)
        cdef CalibrationPair pair[LABEL_ANCHORS]
        cdef double residual[HORIZONS]
        cdef int k
        for k in range(LABEL_ANCHORS):
            self._raw[k] = NAN
            pair[k].a = out.calibration[2 * k]
            pair[k].b = out.calibration[2 * k + 1]
        model_input.x = out.features
        model_input.valid = out.valid
        model_input.h_ticks = left
        model_input.sigma_ticks = out.sigma_ticks
        if package_of_legs(request):
            memcpy(out.p, request.before, sizeof(out.p))
        elif isnan(out.sigma_ticks) and request.flags & REQ_RESIDUAL:
            no_volatility(out)
            return
        elif request.flags & REQ_RESIDUAL:
            first_passage_curve(left, package_sigma(request, out.sigma_ticks), out.p)
        elif model.fn(model.params, &model_input, out.p) != 0:
            if isnan(out.sigma_ticks):
                # Neither model nor volatility: no curve, so nothing to be firm on.
                no_volatility(out)
                return
            out.reasons |= WHY_MODEL_FALLBACK
            first_passage_curve(left, out.sigma_ticks, out.p)
        else:
            for k in range(LABEL_ANCHORS):
                self._raw[k] = out.p[self.anchors.horizon[k]]
            calibrate_curve(&self.anchors, pair, out.p)
        for k in range(LABEL_ANCHORS):
            self._own[k] = out.p[self.anchors.horizon[k]]
        if request.flags & REQ_ON_UNDERLYING and request.residual_ticks > 0.0:
            first_passage_curve(left, request.residual_ticks, residual)
            package_add(out.p, residual)
        out.p_ref = out.p[REF_HORIZON]

        if package_of_legs(request):
            out.held_alpha = out.alpha = request.alpha         # the smallest of theirs
        else:
            risk_scores(&self._policy.risk, out.features, out.valid, out.risk)
            out.risk_sum = risk_weighted_sum(posture.weights, out.risk)
            out.alpha = risk_alpha(out.held_alpha, out.risk_sum)
        if request.flags & REQ_LEG:            # the package has a life, not its legs
            refuse(out, DECISION_INDICATIVE)
            return
        if posture.mode == MODE_EXPECTED_VALUE:
            if request.flags & (REQ_HAS_PRICE | REQ_HAS_EDGE):
                self._judge_value(request, posture, out, age)
                return
            out.reasons |= WHY_NO_EDGE
            out.mode = posture.tolerance_mode
        choose_life(posture, out.alpha, out.p, &life)
        out.binding = life.binding
        out.reasons |= life.reasons
        if life.decline:
            decline(out)
            return
        if gives_away(request, out, posture.value.relationship_in_h):
            # It loses money when it is taken at once: never firm once the loss has reached h and the spread, else for
            # the shortest life or by configuration not at all.
            bounds = self._policy.price_bounds(request.desk)
            out.reasons |= WHY_EDGE_TOO_SMALL
            if bounds.refuse_negative_edge or lost_already(request, out):
                out.binding = BIND_EDGE
                out.reasons &= ~<uint64_t>WHY_BELOW_MINIMUM    # a life there would have been
                refuse(out, bounds.beyond_kind)
                return
            if life.life_ns > posture.min_ns:
                life.life_ns = posture.min_ns
                out.binding = BIND_EDGE | BIND_MIN
        # The curve starts now, from where the market stands now. Where that is not known for the moment of pricing,
        # the age is taken off instead. The longest life counts from the moment of pricing either way.
        out.life_ns = life.life_ns if out.observed & OBS_MOVED_KNOWN else life.life_ns - age
        if out.life_ns > posture.max_ns - age:
            out.life_ns = posture.max_ns - age
            out.binding |= BIND_MAX
        self._settle(request, posture, out, age)

    cdef void _judge_value(self, const Request* request, const PostureParams* posture, Decision* out,
                           int64_t age) noexcept nogil:
        # The life of the largest value among those that tolerance, bounds and deadline leave. Of a quote that will be
        # watched also the one that it would be given unwatched, under the same bounds.
        cdef const ValuePrior* prior = self._prior_of(request, out)
        cdef LifeResult life, unwatched
        cdef ValueTerms terms = posture.value
        # Lives are judged from now; where the move since pricing is not known, from then, and the age is taken off.
        cdef int64_t off = 0 if out.observed & OBS_MOVED_KNOWN else age
        cdef const SessionParams* session = self._policy.session(request.session)
        cdef int64_t limit = posture.max_ns - age, left
        cdef uint16_t limit_binding = BIND_MAX
        cdef double inventory = out.features[<int>F_INVENTORY]      # 0 where there is none
        cdef double h = out.h_ticks
        cdef PostureParams package
        if package_of_legs(request):           # so that no leg more can lengthen the life
            h = fmax(h, out.edge_ticks)
            inventory = package_inventory(request, h)
            package = posture[0]
            package.value.relationship_in_h *= request.h_least / h
            terms = package.value
            posture = &package
        if request.flags & REQ_HAS_DEADLINE:
            left = request.client_deadline_ns - out.now_ns
            if left < limit:
                limit = left
                limit_binding = BIND_CLIENT_DEADLINE
        if session != NULL:
            left = longest_of(session)
            if left < limit:
                limit = left
                limit_binding = BIND_VENUE_MAX
        if limit < US:
            out.life_ns = limit
            self._settle(request, posture, out, age)           # says why there is no time left
            return
        if request.flags & REQ_WATCHED:
            terms.left = prior.watch_leaves
            choose_by_value(posture, prior, 1.0, out.alpha, out.p, out.edge_ticks, h, inventory, limit + off,
                            limit_binding, &unwatched)
        choose_by_value(posture, prior, terms.left, out.alpha, out.p, out.edge_ticks, h, inventory, limit + off,
                        limit_binding, &life)
        out.binding = life.binding
        out.reasons |= life.reasons
        out.expected_value_ticks = life.value_ticks
        out.break_even_edge_ticks = life.break_even_ticks
        if life.decline:
            refuse(out, posture.no_value_kind)
            return
        out.life_ns = life.life_ns - off
        self._settle(request, posture, out, age)
        if out.kind != DECISION_QUOTE:
            return
        if out.life_ns + off != life.life_ns:                  # cut since: worth what it is worth at its new end
            out.expected_value_ticks = value_at(prior, &terms, out.p, out.edge_ticks, h, inventory,
                                                <double>(out.life_ns + off))
            if not has_value(out.expected_value_ticks, h):
                out.reasons |= WHY_NO_VALUE
                out.p_life = 0
                refuse(out, posture.no_value_kind)
        if out.life_without_watch_ns > 0:                      # so far what the watched quote was given
            out.life_without_watch_ns = max(0, min(out.life_ns, unwatched.life_ns - off))
            if (session != NULL and session.actuation != ACTUATION_WITHDRAW
                    and out.life_without_watch_ns < session.life_min_ns + session.transit_ns):
                out.life_without_watch_ns = 0                  # its venue takes none as short

    cdef void _settle(self, const Request* request, const PostureParams* posture, Decision* out,
                      int64_t age) noexcept nogil:
        # Cut the life by the client's own deadline and by what the venue takes, and give it its end.
        cdef const SessionParams* session = self._policy.session(request.session)
        cdef int64_t left
        if out.life_ns < US:
            out.reasons |= WHY_STALE_REQUEST
            decline(out)
            return
        if request.flags & REQ_HAS_DEADLINE:
            left = request.client_deadline_ns - out.now_ns
            if too_close(request, posture, out.now_ns, age):
                out.reasons |= WHY_DEADLINE_TOO_CLOSE
                out.binding |= BIND_CLIENT_DEADLINE
                decline(out)
                return
            if left < out.life_ns:
                out.life_ns = left
                out.binding |= BIND_CLIENT_DEADLINE
        if not isnan(out.exposure_room) and not self._fit_exposure(request, posture, out, age):
            return
        out.life_ns -= out.life_ns % US           # never later than a bound
        if session != NULL and not fit_to_venue(session, request, posture, out, age):
            return
        if out.h_ticks > 0:
            out.p_life = curve_at(out.p, out.life_ns)
        out.kind = DECISION_QUOTE
        out.expiry_ns = out.now_ns + out.life_ns
        if request.flags & REQ_WATCHED and not cancelled_for_us(session, out):
            out.life_without_watch_ns = out.life_ns

    # --- packages -------------------------------------------------------------------------------------------------

    def decide_package(self, legs, decisions):
        """One life for a quote of several legs (docs/packages.md): ``legs`` are ``RequestRecord`` with a ``ratio``, all
        else in them but instrument, side, size and greeks alike. Returns the requests that were decided: one for each
        leg, then the package's own; ``decisions`` takes as many, the last of them is the answer.

        One leg alone is decided as that instrument is, with one request. Raises ``ValueError`` where legs do not make
        one package or ``decisions`` are too few; then nothing was decided.
        """
        cdef list chain = self.package_requests(legs)
        cdef RequestRecord request, before = None
        cdef DecisionRecord decision, decided = None
        if len(decisions) < len(chain):
            raise ValueError(f"a package of {len(legs)} legs takes {len(chain)} decisions, not {len(decisions)}")
        for request, decision in zip(chain, decisions):
            if before is not None:
                package_carry(&before.c, &decided.c, &request.c)
            self.decide_c(&request.c, &decision.c)
            self.told(&request.c, &decision.c)
            before, decided = request, decision
        return chain

    def package_requests(self, legs, decisions=()):
        """The requests that ``decide_package`` would make of the legs now, as it fills them before it decides; with the
        ``decisions`` of a package that was decided at this very time, as they were then. Legs that have been filled
        already count by what their caller gave.

        Decides nothing and changes nothing. Raises ``ValueError`` as ``decide_package`` does.
        """
        cdef PackageLeg leg[PACKAGE_LEGS_MAX]
        cdef RequestRecord given, request, before
        cdef DecisionRecord decided
        cdef Py_ssize_t n = len(legs), i
        if not 0 < n <= self._config.packages.legs_max:
            raise ValueError(f"a package has 1 to {self._config.packages.legs_max} legs, not {n}")
        given = legs[0]
        for request in legs:
            if not request.c.flags & REQ_LEG:
                raise ValueError("a leg needs a ratio")
            if request.c.instrument >= self.n_instruments:
                raise ValueError(f"unknown instrument index {request.c.instrument}")
            if request.c.now_ns != given.c.now_ns or request.c.package_side != given.c.package_side:
                raise ValueError("the legs of a package are asked at one time, for one side of it")
            if request.c.flags & REQ_SENSITIVITIES and request.c.underlying >= self.n_instruments:
                raise ValueError(f"unknown instrument index {request.c.underlying} of an underlying")
            check_size(&request.c)
        chain = []
        for given in legs:
            request = RequestRecord.from_bytes(given.canonical())
            as_given(&request.c)
            chain.append(request)
        if n == 1:
            self._alone(chain[0])
            return chain
        for i in range(n):
            request = chain[i]
            self._look_at_leg(&request.c, &leg[i])
        chain.append(self._package_of(chain, leg))
        for i, decided in enumerate(decisions[:n]):
            before, request = chain[i], chain[i + 1]
            package_carry(&before.c, &decided.c, &request.c)
        return chain

    cdef int _alone(self, RequestRecord leg) except -1:
        # One leg: the single instrument, price and edge of one unit of it.
        cdef Request* c = &leg.c
        cdef double unit = c.ratio * float(self._instruments[c.instrument].tick_size)
        if not isnan(c.package_price):
            c.price_ticks = c.side * c.package_side * c.package_price / unit
            c.flags |= REQ_HAS_PRICE
        if not isnan(c.package_edge):
            c.edge_ticks = c.package_edge / unit
            c.flags |= REQ_HAS_EDGE
        if not isnan(c.package_reference):
            c.reference_ticks = c.side * c.package_side * c.package_reference / unit
            c.flags |= REQ_HAS_REFERENCE
        c.flags &= <uint16_t>~(REQ_LEG | REQ_SENSITIVITIES)
        c.underlying = 0
        memset(<char*>c + PACKAGE_OFFSET, 0, sizeof(Request) - PACKAGE_OFFSET)
        return 0

    cdef int _look_at_leg(self, Request* request, PackageLeg* leg) except -1:
        # What the engine knows of a leg now, and of the greeks that it goes by.
        cdef InstrumentState* state = self.states[request.instrument]
        cdef const InstrumentParams* params = &self._policy.instrument[request.instrument]
        cdef const GreekPair* pair = &state.greeks.pair[0]
        cdef int64_t t = max(request.now_ns, self.now_ns), oldest = t - self._config.packages.greeks_age_max_ns
        settings = self._config.instruments[request.instrument]
        leg.tick = float(self._instruments[request.instrument].tick_size)
        leg.in_underlying = settings.premium == "underlying"
        leg.underlying = NO_INDEX
        leg.reference_ticks = leg.spread_ticks = NAN
        if state.book_state == BOOK_WHOLE and not state.book.crossed and book_two_sided(&state.book):
            leg.reference_ticks = reference(state, params)
            leg.spread_ticks = state.book.ask_ticks - state.book.bid_ticks
        elif greeks_alive(&pair[3], t) and pair[3].at_ns >= oldest:
            leg.reference_ticks = pair[3].first / leg.tick         # the venue's mark
        leg.h_ticks = default_threshold(params, 0.0 if isnan(leg.reference_ticks) else leg.reference_ticks)
        if request.flags & REQ_SENSITIVITIES:
            leg.underlying = request.underlying
            return 0
        if not greeks_alive(&pair[0], t) or pair[0].at_ns < oldest:
            return 0
        if pair[1].at_ns and (not greeks_alive(&pair[1], t) or pair[1].at_ns < oldest):
            return 0                           # its vega is known to be there, not what it is
        named = self._by_hash.get(pair[0].source) if pair[0].source else self._underlying_of[request.instrument]
        if named is None:
            return 0
        leg.underlying = named
        request.delta = pair[0].first
        request.gamma = pair[0].second
        request.vega = pair[1].first if pair[1].at_ns else 0.0
        request.underlying = leg.underlying
        return 0

    cdef uint32_t _one_underlying(self, list chain, PackageLeg* leg) except? 0:
        # That of all legs, itself as a leg among them; NO_INDEX: there is none, or not for all.
        cdef uint32_t found = NO_INDEX
        cdef RequestRecord request
        cdef int i, n = len(chain)
        for i in range(n):
            if leg[i].underlying != NO_INDEX:
                if found != NO_INDEX and leg[i].underlying != found:
                    return NO_INDEX
                found = leg[i].underlying
        if found == NO_INDEX:
            return NO_INDEX
        for i in range(n):
            request = chain[i]
            if request.c.instrument == found:
                leg[i].underlying = found
                if not request.c.flags & REQ_SENSITIVITIES:
                    request.c.delta = 1.0
                    request.c.gamma = request.c.vega = 0.0
                    request.c.underlying = found
            elif leg[i].underlying == NO_INDEX:
                return NO_INDEX
        return found

    cdef RequestRecord _package_of(self, list chain, PackageLeg* leg):
        # Fill what the engine finds into the requests of the legs, and make that of the package.
        cdef RequestRecord first = chain[0], package = RequestRecord.from_bytes(first.canonical()), each
        cdef Request* request = NULL
        cdef Request* of = &package.c
        cdef const PriceBoundsParams* bounds = self._policy.price_bounds(first.c.desk)
        cdef uint32_t underlying = self._one_underlying(chain, leg), at
        cdef bint greeks = underlying != NO_INDEX
        cdef int i, n = len(chain)
        cdef int64_t t = max(first.c.now_ns, self.now_ns)
        cdef double unit, market = 0.0, level = 0.0, width = 0.0, h = 0.0, edge = NAN, packages = NAN
        cdef double net = 0.0, gross = 0.0, gamma = 0.0, vega = 0.0, variance = 0.0, tick, scale, spot
        cdef bint coins = True
        settings = self._config.packages
        if first.c.flags & REQ_HAS_SIZE:
            packages = first.c.size_lots * float(self._instruments[first.c.instrument].lot_size) / first.c.ratio
            if not isfinite(packages):
                raise ValueError(f"ratio: of {first.c.size_lots} lots in legs of {first.c.ratio} no size follows")
        # One tick of the record of the package: the underlying's, else that of the last leg.
        of.instrument = underlying if greeks else (<RequestRecord>chain[n - 1]).c.instrument
        tick = float(self._instruments[of.instrument].tick_size)
        spot = self._spot(underlying) if greeks else NAN
        for i in range(n):
            request = &(<RequestRecord>chain[i]).c
            unit = request.ratio * leg[i].tick
            market += request.side * unit * leg[i].reference_ticks
            level += unit * fabs(leg[i].reference_ticks)
            width += unit * leg[i].spread_ticks
            coins = coins and (leg[i].in_underlying or request.instrument == underlying)
            if greeks and leg[i].in_underlying:
                unit *= spot
            h += unit * leg[i].h_ticks
            net += request.side * request.ratio * request.delta
            gross += fabs(request.ratio * request.delta)
            gamma += request.side * request.ratio * request.gamma
            vega += request.side * request.ratio * request.vega
            if request.instrument != underlying:
                variance += (unit * settings.residual_ticks) ** 2
        variance += (vega * settings.volatility_points) ** 2
        # The edge of one package, and how far its price lies from the market.
        if not isnan(of.package_edge):
            edge = of.package_edge
        elif not isnan(of.package_price):
            edge = (of.package_side * of.package_reference if not isnan(of.package_reference) else market)
            edge -= of.package_side * of.package_price
        of.reasons = self._too_far(of, bounds, market, level, width, edge)
        if greeks and coins:
            edge *= spot
        of.alpha = 1.0
        of.moved_known = 1
        of.package_kind = DECISION_INDICATIVE
        of.flags = of.flags & <uint16_t>~(REQ_LEG | REQ_SENSITIVITIES | REQ_HAS_SIZE) | REQ_LAST_LEG
        of.size_lots = NAN
        of.ratio = of.delta = of.gamma = of.vega = 0.0
        of.side = of.package_side
        if greeks:
            of.underlying = underlying
            of.side = -1 if net < 0.0 else 1
            of.delta = fabs(net)
            of.gamma = fmax(0.0, -gamma)
            of.vega = vega
            if package_neutral(net, gross, settings.delta_neutral_share):
                of.flags |= REQ_RESIDUAL
                scale = 1.0
                of.h_ticks = h / tick
                of.edge_ticks = edge / tick
            else:
                of.flags |= REQ_ON_UNDERLYING
                scale = of.delta
                of.h_ticks = package_on_underlying(h, of.delta, of.gamma) / tick
                of.edge_ticks = package_on_underlying(edge, of.delta, of.gamma) / tick
                packages *= of.delta
            of.residual_ticks = sqrt(variance) / scale / tick
        else:
            of.underlying = 0
            of.edge_ticks = edge / tick
        if not isnan(of.edge_ticks):
            of.flags |= REQ_HAS_EDGE
        if not isnan(packages):                # by what one unit of the record's instrument loses, as its h and edge
            of.size_lots = packages / float(self._instruments[of.instrument].lot_size)
            of.flags |= REQ_HAS_SIZE
        # Quality, regime and posture are one for all of it.
        of.package_quality = QUALITY_GOOD
        if greeks:
            self._worst_of(of, of, True)
        for i in range(n):
            request = &(<RequestRecord>chain[i]).c
            if greeks:
                request.flags |= REQ_GREEKS
            self._worst_of(request, of, not greeks)
        for i in range(n):                     # once more, under the regime of all
            self._most_careful(&(<RequestRecord>chain[i]).c, of, t)
        if greeks:
            self._most_careful(of, of, t)
        for i in range(n):
            request = &(<RequestRecord>chain[i]).c
            request.package_quality = of.package_quality
            request.package_regime = of.package_regime
            request.package_posture = of.package_posture
            request.reasons = of.reasons
            request.alpha = of.alpha
            request.moved_known = of.moved_known
            request.package_kind = of.package_kind
            request.h_ticks = of.h_ticks if greeks else 0.0
            if not greeks:
                request.delta = request.gamma = request.vega = 0.0
                request.underlying = 0
                request.flags &= <uint16_t>~REQ_SENSITIVITIES
                request.weight = request.ratio * leg[i].tick / tick
                if not isnan(edge):            # as its threshold is a part of theirs
                    request.edge_ticks = edge * leg[i].h_ticks / h
                    request.flags |= REQ_HAS_EDGE
        first.c.flags |= REQ_FIRST_LEG
        return package

    cdef int _name_underlyings(self) except -1:
        # Indices of underlyings by the hash that a signal names them with, and of each instrument its configured one.
        places = {each.name: each.index for each in self._instruments}
        self._by_hash = {name_hash(name): index for name, index in places.items()}
        self._underlying_of = tuple([places.get(each.underlying) for each in self._config.instruments])
        return 0

    cdef double _spot(self, uint32_t instrument):
        # In price units; 0 where no price is known: its data is not GOOD either.
        cdef InstrumentState* state = self.states[instrument]
        if state.book_state != BOOK_WHOLE or state.book.crossed or not book_two_sided(&state.book):
            return 0.0
        return reference(state, &self._policy.instrument[instrument]) * float(self._instruments[instrument].tick_size)

    cdef uint64_t _too_far(self, const Request* of, const PriceBoundsParams* bounds, double market, double level,
                           double width, double edge) noexcept nogil:
        # A price, edge or reference of a package held against its legs' own prices, where they are known.
        cdef double room = fmax(bounds.share * level, bounds.spreads * (0.0 if isnan(width) else width))
        cdef uint64_t reasons = 0
        if isnan(market):
            return 0
        if not isnan(of.package_reference) and not fabs(of.package_side * of.package_reference - market) <= room:
            reasons |= WHY_REFERENCE_FAR
        if not isnan(of.package_price):
            if not fabs(of.package_side * of.package_price - market) <= room:
                reasons |= WHY_PRICE_FAR
        elif not isnan(edge) and not fabs(edge) <= room:
            reasons |= WHY_PRICE_FAR
        return reasons

    cdef void _worst_of(self, Request* request, Request* of, bint counts) noexcept nogil:
        # Of what one member's market says; where a leg's own book plays no part its quality does not count.
        cdef InstrumentState* state = self.states[request.instrument]
        cdef int64_t t = max(request.now_ns, self.now_ns)
        cdef Verdict verdict = self.quality_c(state, &self._policy.instrument[request.instrument], t)
        cdef RegimeState judged = state.stress
        cdef uint64_t reasons = 0
        request.own_quality = verdict.quality
        request.own_regime = self._regime_at(state, &judged, t, &reasons)
        if counts and worse(request.own_quality, of.package_quality):
            of.package_quality = request.own_quality
        of.package_regime = max(of.package_regime, request.own_regime)
        of.reasons |= reasons

    cdef void _most_careful(self, const Request* request, Request* of, int64_t t) noexcept nogil:
        cdef Resolution resolution
        self._policy.resolve(request, of.package_regime, self.overrides_c, self.n_overrides, t, &resolution)
        of.package_posture = max(of.package_posture, resolution.effective)
        if self._monitors.ladder[self.states[request.instrument].group].down:
            of.package_posture = POSTURE_RISK_AVERSE
            if resolution.requested != POSTURE_RISK_AVERSE:
                of.reasons |= WHY_MODEL_STEPPED_DOWN

    # --- caps on what live quotes may lose ------------------------------------------------------------------------

    cdef double _room(self, uint32_t instrument, uint32_t desk) noexcept nogil:
        # What live quotes leave of the caps, money; NaN: there is none.
        return fmin(self._policy.instrument[instrument].exposure_max - self._quotes.exposure(instrument),
                    self._desk_room(desk))

    cdef double _desk_room(self, uint32_t desk) noexcept nogil:
        return self._policy.desk_exposure_max(desk) - self._quotes.desk_exposure(desk)

    cdef void _take_room(self, const Request* leg, const Decision* out) noexcept nogil:
        # What the cap of a leg's instrument leaves for one tick of the package's h: of what the package loses the leg
        # has the share that it has in h, legs of one instrument together.
        cdef double room = self._policy.instrument[leg.instrument].exposure_max - self._quotes.exposure(leg.instrument)
        cdef int k = 0
        while k < self._legs_n and self._legs_at[k] != leg.instrument:
            k += 1
        if k == self._legs_n:
            if k == PACKAGE_LEGS_MAX:          # no chain of a package is as long
                return
            self._legs_at[k] = leg.instrument
            self._legs_share[k] = 0.0
            self._legs_n += 1
        self._legs_share[k] += leg.weight * out.h_ticks
        if self._legs_share[k] > 0.0:
            self._legs_room = fmin(self._legs_room, room / self._legs_share[k])

    cdef const ValuePrior* _prior_of(self, const Request* request, const Decision* out) noexcept nogil:
        # The one that the decision is made by.
        cdef const ValuePrior* prior = NULL
        if out.learned[3] > 0.0:
            prior = self._priors.find(self._policy, request.counterparty,
                                      self._counterparties.place(request.counterparty), out.learned)
        return prior if prior != NULL else self._policy.value_prior(request.counterparty)

    cdef bint _fit_exposure(self, const Request* request, const PostureParams* posture, Decision* out,
                            int64_t age) noexcept nogil:
        # Shorten the life until size L P(life) finds room; False when there is no such life. What can lose nothing
        # needs none; where no curve was drawn it is not known, and a full cap stands. What is learned of a counterparty
        # leaves its tier's loss_in_h alone.
        cdef double loss_in_h = self._policy.value_prior(request.counterparty).loss_in_h
        cdef double loss = fmax(0.0, loss_in_h * out.h_ticks - out.edge_ticks)
        cdef double each = loss * self._policy.instrument[request.instrument].tick_value, risk
        if request.flags & REQ_HAS_SIZE:
            each *= request.size_lots
        elif request.flags & REQ_ON_UNDERLYING:        # one lot's worth of packages
            each *= request.delta
        risk = each * curve_at(out.p, out.life_ns)
        if risk <= out.exposure_room or (risk == 0.0 and out.h_ticks > 0.0):
            return True
        if out.exposure_room > 0.0:
            out.life_ns = min(out.life_ns, <int64_t>curve_invert(out.p, out.exposure_room / each))
            out.binding |= BIND_EXPOSURE
            if out.life_ns >= US and out.life_ns + age >= posture.min_ns:
                return True
        out.binding |= BIND_EXPOSURE
        out.reasons |= WHY_EXPOSURE
        refuse(out, posture.no_value_kind if out.mode == MODE_EXPECTED_VALUE else DECISION_DECLINE)
        return False

    # --- what is learned from the market --------------------------------------------------------------------------

    cdef object _rolling_of(self, config):
        # What every rolling calibration is begun as; None: there is none.
        settings = config.learning.recalibration
        if settings == self._learns_by:
            return self._like
        if not settings.enabled:
            return None
        return RollingCalibration(settings.window_ns, ridge=settings.ridge, refit_ns=settings.refit_ns)

    cdef int _learn(self, config, RollingCalibration like) except -1:
        # Follow configuration and models. What was learned of a model stays with it, serving or not, as long as the
        # settings do; labels that are open stand over a swap.
        cdef Group* groups
        cdef Held* held
        cdef double alpha
        cdef size_t g, known = len(self._group_names)
        cdef uint32_t i
        cdef int k
        settings = config.learning.recalibration
        cdef bint afresh = settings != self._learns_by
        if afresh:
            for k in range(self._n_followed):
                self._forget(k)
            self._like = like
            self._learns_by = settings
        names = [each.group or each.name for each in config.instruments]
        place = {name: g for g, name in enumerate(self._group_names)}
        for name in names:
            if name not in place:
                place[name] = len(place)
        self._group_names = list(place)
        groups = <Group*>calloc(max(len(self._group_names), 1), sizeof(Group))
        if groups == NULL:
            raise MemoryError()
        if known:
            memcpy(groups, self.groups, known * sizeof(Group))
        free(self.groups)
        self.groups = groups
        self._n_groups = len(self._group_names)
        self._watching = settings.enabled or config.learning.monitor.enabled
        self._follow_models()
        for g in range(len(self._group_names)):
            for k in range(1, POSTURES):
                held = &groups[g].held[k]
                alpha = self._policy.posture[k].held_alpha
                if self._policy.posture[k].held_rate > 0.0:
                    self._watching = True
                if g >= known or self._policy.posture[k].held_rate == 0.0:
                    held.alpha = alpha
                    held.debt = 0.0
                held_restore(held, alpha, held)
                if g >= known:
                    groups[g].noted[k] = held[0]
        cdef bint moved = self._latency_ns != config.learning.latency_ns      # ages count from elsewhere
        self._latency_ns = config.learning.latency_ns
        self._probe_interval_ns = 0
        if settings.enabled or config.learning.monitor.enabled:
            self._probe_interval_ns = config.learning.probe_interval_ns
        cdef uint32_t grouped = <uint32_t>sum([len(each) for each in self._members])
        self._members = [[] for _ in self._group_names]
        for i in range(self.n_instruments):
            self._members[place[names[i]]].append(i)
        for g in range(known, self._n_groups):
            self._inherit(g, {self.states[i].group for i in self._members[g] if i < grouped})
        for g in range(self._n_groups):
            if not self._members[g]:
                for k in range(FOLLOWED_MAX):
                    rolling_free(groups[g].calibration[k])
                    groups[g].calibration[k] = NULL
        self._monitors.follow(config.learning.monitor, self._served.serving(), self._served.champions(),
                              self._group_names,
                              [[config.instruments[i].name for i in each] for each in self._members])
        for i in range(self.n_instruments):
            self.states[i].group = place[names[i]]
            if moved or not self._watching:
                self._lose(self.states[i], self.now_ns, INT64_MAX)
        return 0

    cdef int _inherit(self, size_t group, came) except -1:
        # A new group is not better off than those that its instruments came from; pairs are of their labels, and stay.
        cdef size_t g
        cdef int k
        for g in sorted(came):
            for k in range(1, POSTURES):
                self.groups[group].held[k].alpha = fmin(self.groups[group].held[k].alpha, self.groups[g].held[k].alpha)
                self.groups[group].held[k].debt = fmin(self.groups[group].held[k].debt, self.groups[g].held[k].debt)
            if self._monitors.is_down(<uint32_t>g):
                self._to_step.append((self._group_names[group], self._group_names[g]))
        return 0

    cdef int _follow_models(self) except -1:
        # A place for every model that serves, its own again where it had one: those are given first, so that none is
        # taken from a model that the same line-up names. Places of models that serve no more are kept for a rollback,
        # as long as they have labels and no other model needs them.
        cdef PostureModels* models
        cdef ModelSlot* slot
        cdef Followed* followed
        cdef int posture, k, m, place, turn
        for m in range(self._n_followed):
            self._followed[m].slot = NULL
        for turn in range(2):
            for posture in range(1, SERVED_POSTURES):      # nobody is answered under no posture
                models = &self._served.posture[posture]
                for k in range(<int>models.n_shadows + 2):
                    slot = &models.champion if k == 0 else &models.challenger if k == 1 else &models.shadow[k - 2]
                    if turn == 0:
                        slot.place = -1
                    if self._like is None or slot.fn == NULL or slot.place >= 0:
                        continue
                    place = -1
                    for m in range(self._n_followed):
                        if self._followed[m].model == slot.model:
                            place = m
                    if place < 0 and turn == 1:
                        place = self._free_place()
                    if place < 0:
                        continue                   # all of them serve: this one is left as it is
                    followed = &self._followed[place]
                    followed.model = slot.model
                    followed.served_at = self.input_sequence
                    followed.slot = slot
                    slot.place = place
        return 0

    cdef int _free_place(self) noexcept nogil:
        # For a model that has none; -1 where all of them serve. First of one whose labels are gone.
        cdef int m, place = -1
        for m in range(self._n_followed):
            if self._followed[m].slot == NULL and not self._known(m):
                place = m
                break
        if place < 0 and self._n_followed < FOLLOWED_MAX:
            self._n_followed += 1
            return self._n_followed - 1
        if place < 0:
            for m in range(FOLLOWED_MAX):
                if self._followed[m].slot == NULL and (
                        place < 0 or self._followed[m].served_at < self._followed[place].served_at):
                    place = m
        if place >= 0:
            self._forget(place)
        return place

    cdef bint _known(self, int place) noexcept nogil:
        # Is there anything learned of a model?
        cdef uint32_t g
        for g in range(self._n_groups):
            if self.groups[g].calibration[place] != NULL:
                return True
        return False

    cdef bint _make_room(self, InstrumentState* state) noexcept nogil:
        # For the curves of all that is followed, in every label: when the first comes, and when there are more models.
        cdef double* grown
        cdef size_t width = self._n_followed, kept = state.raws_width, place, m
        if width <= kept:
            return True
        grown = <double*>malloc(LABEL_ROOM * width * LABEL_ANCHORS * sizeof(double))
        if grown == NULL:
            return False
        for m in range(LABEL_ROOM * width * LABEL_ANCHORS):
            grown[m] = NAN
        if kept:
            for place in range(LABEL_ROOM):
                memcpy(grown + place * width * LABEL_ANCHORS, state.raws + place * kept * LABEL_ANCHORS,
                       kept * LABEL_ANCHORS * sizeof(double))
        free(state.raws)
        state.raws = grown
        state.raws_width = <int>width
        return True

    cdef void _forget(self, int place) noexcept nogil:
        # What was learned of a model, and what its open labels would say.
        cdef InstrumentState* state
        cdef size_t k, m
        cdef uint32_t i, g
        for g in range(self._n_groups):
            rolling_free(self.groups[g].calibration[place])
            self.groups[g].calibration[place] = NULL
        for i in range(self.n_instruments):
            state = self.states[i]
            if place < state.raws_width and labels_any(&state.labels):
                for k in range(LABEL_ROOM):
                    for m in range(LABEL_ANCHORS):
                        state.raws[(k * state.raws_width + place) * LABEL_ANCHORS + m] = NAN

    cdef void _pairs_of(self, const InstrumentState* state, const ModelSlot* model, double* out) noexcept nogil:
        cdef const Rolling* calibration = NULL
        cdef int k
        if model.place >= 0:
            calibration = self.groups[state.group].calibration[model.place]
        for k in range(LABEL_ANCHORS):
            out[2 * k] = calibration.pair[k].a if calibration != NULL else 0.0
            out[2 * k + 1] = calibration.pair[k].b if calibration != NULL else 1.0

    cdef void _learned(self, const InstrumentState* state, const ModelSlot* model, Decision* out) noexcept nogil:
        # What was learned so far goes into the record: the decision can then be taken again without it.
        self._pairs_of(state, model, out.calibration)
        out.held_alpha = self.groups[state.group].held[out.posture_effective].alpha

    cdef void _asked(self, const ModelSlot* model, const double* raw) noexcept nogil:
        # P of one model in the decision or probe under way; of none: another begins.
        cdef int m, k
        if model == NULL:
            for m in range(self._n_followed):
                for k in range(LABEL_ANCHORS):
                    self._raws[m][k] = NAN
        elif model.place >= 0:
            for k in range(LABEL_ANCHORS):
                self._raws[model.place][k] = raw[k]

    cdef void _listen(self, InstrumentState* state, const InstrumentParams* params, int64_t t) noexcept nogil:
        # Before a message is applied: was the silence that it ends too long, though nobody looked?
        cdef Verdict verdict
        self._stamp_ends(state, params, t)
        if state.silent_ns == INT64_MAX and labels_any(&state.labels) and (
            t - state.last_book_ns > params.stale_min_ns
            or (state.unanswered_ns and t - state.unanswered_ns > params.stale_min_ns)
        ):
            verdict = self.quality_c(state, params, t)
            if verdict.quality == QUALITY_STALE:
                state.silent_ns = verdict.since_ns

    cdef void _refit_some(self, int64_t t) noexcept nogil:
        # Labels leave the window of a group that nothing comes to, too. A few at a time, each in its turn.
        cdef uint32_t groups = self._n_groups, looked = 0
        cdef Rolling* calibration
        cdef int fitted = 0, m
        while looked < groups and fitted < REFITS_A_TIMER:
            self._refit_next = self._refit_next + 1 if self._refit_next + 1 < groups else 0
            looked += 1
            for m in range(self._n_followed):
                calibration = self.groups[self._refit_next].calibration[m]
                if calibration != NULL:
                    fitted += rolling_refit(calibration, t)
                    if self._followed[m].slot == NULL and not rolling_any(calibration):
                        rolling_free(calibration)
                        self.groups[self._refit_next].calibration[m] = NULL

    cdef void _stamp_ends(self, InstrumentState* state, const InstrumentParams* params, int64_t t) noexcept nogil:
        # Time has come to t, before anything of t is applied: the stamp of the last message is over if it lies before.
        cdef int64_t heard_ns = state.heard_ns, silent_ns = state.silent_ns
        cdef bint lost = state.gaps != state.gaps_judged
        cdef int m
        if state.stamp_ns == 0 or t <= state.stamp_ns:
            return
        state.heard_ns = state.stamp_ns
        state.silent_ns = INT64_MAX
        state.gaps_judged = state.gaps
        state.stamp_ns = 0
        if labels_any(&state.labels):
            self._judge_stamp(state, params, heard_ns, silent_ns, lost)
            for m in range(self._n_followed):
                if self._lessons >> m & 1:
                    rolling_refit(self.groups[state.group].calibration[m], t)
            self._lessons = 0

    cdef int64_t _probe_after(self, const InstrumentState* state, int64_t t) noexcept nogil:
        # Each instrument at its own moments of the interval, by a hash of its index, however late the last probe was:
        # counted from the last one, all that a timer probes together would stay together. Where many are open, which
        # is where no message tells what became of them, the interval is longer.
        cdef int64_t interval = self._probe_interval_ns << max(0, state.labels.probes // (PROBES_MAX // 4) - 1)
        cdef uint64_t hashed = (state.instrument * <uint64_t>0x9E3779B97F4A7C15) >> 11
        cdef int64_t phase = <int64_t>(<double>hashed / 9007199254740992.0 * interval)
        cdef int64_t past = (t - phase) % interval
        return t + interval - (past + interval if past < 0 else past)

    cdef void _probe_some(self, int64_t t) noexcept nogil:
        # On the clock, whatever messages come: what is asked only behind messages knows nothing of the calm between
        # them. A few at a time: those left over come first at the next timer.
        cdef InstrumentState* state
        cdef uint32_t looked
        cdef int probed = 0
        for looked in range(self.n_instruments):
            if probed == PROBES_A_TIMER:
                break
            self._probe_next = self._probe_next + 1 if self._probe_next + 1 < self.n_instruments else 0
            state = self.states[self._probe_next]
            if t < state.probe_ns:
                continue
            if state.probe_ns:
                probed += self._probe(state, &self._policy.instrument[self._probe_next], t)
            state.probe_ns = self._probe_after(state, t)

    cdef void _judge_stamp(self, InstrumentState* state, const InstrumentParams* params, int64_t heard_ns,
                           int64_t silent_ns, bint lost) noexcept nogil:
        # The end of a stamp is one point of the path that labels are taken from, docs/dataset.md: what lies between is
        # seen by nobody. What ended since the stamp before is known only now, since this one shows whether a message
        # was lost on the way.
        cdef int64_t t = state.heard_ns, hole = silent_ns, decided_ns = t
        cdef Verdict verdict
        cdef ResolvedLabel part
        if (lost or state.book_state != BOOK_WHOLE or state.halted or state.companions_down or state.book.crossed
                or not book_two_sided(&state.book) or t - state.whole_since_ns < params.warmup_ns
                or state.unanswered_ns):
            verdict = self.quality_c(state, params, t)
            if lost or verdict.quality == QUALITY_GAPPED:
                hole = heard_ns + 1                # what the lost messages said, and when, nobody knows
            elif verdict.quality != QUALITY_GOOD:
                hole = min(hole, verdict.since_ns)
            if verdict.quality != QUALITY_GOOD:
                decided_ns = t + 1
        if hole != INT64_MAX:
            self._hole(state, hole, decided_ns)
            stands(state, state.seen)
            return
        while labels_due(&state.labels, t, state.seen, &part):
            self._resolved(state, &part)
        stands(state, state.seen)
        while labels_passed(&state.labels, state.seen, t, &part):
            self._resolved(state, &part)

    cdef void _hole(self, InstrumentState* state, int64_t t, int64_t decided_ns) noexcept nogil:
        # From t on the market was not seen, until what was decided at decided_ns or later. What ended before is known.
        cdef double nowhere[WATCHED]
        cdef ResolvedLabel part
        cdef int k
        while labels_due(&state.labels, t, state.seen, &part):
            self._resolved(state, &part)
        for k in range(WATCHED):
            nowhere[k] = -INFINITY
        while labels_due(&state.labels, t + 1, nowhere, &part):
            self._resolved(state, &part)
        self._lose(state, t, decided_ns + self._latency_ns)

    cdef void _lose(self, InstrumentState* state, int64_t t, int64_t live_before_ns) noexcept nogil:
        # From t on the market is not seen, or not wanted: what is open stays unknown.
        cdef ResolvedLabel part
        cdef int at = 0
        while labels_lost(&state.labels, t, live_before_ns, &at, &part):
            self._resolved(state, &part)

    cdef void _resolved(self, InstrumentState* state, const ResolvedLabel* part) noexcept nogil:
        # One part of a label is known, or never will be: it teaches, and the sinks will be told of a decision's. Those
        # of probes are many, move no tolerance, and a replay of the market makes them again.
        cdef LabelRecord label
        memset(&label, 0, sizeof(LabelRecord))
        label.decision = part.sequence
        label.at_ns = part.at_ns
        label.passage_ns = part.passage_ns
        label.horizon_ns = part.life_ns if part.part == LABEL_LIFE else LABEL_ANCHOR_NS[part.part]
        label.p = part.p
        label.instrument = state.instrument
        label.part = part.part
        label.posture = part.posture
        label.held_by = part.held_by
        label.hit = part.hit
        if part.part == LABEL_LIFE:
            self._hold(&label)
        elif part.hit >= 0:
            if self._like is not None:
                self._teach(state, part)
            if self._monitors.enabled and not isnan(part.p):
                self._monitors.label(part.model, state.group, self.now_ns, part.live_ns - self._latency_ns, part.part,
                                     part.p, part.hit)
        if part.sequence == 0:
            return
        self._labels_told += 1
        label.number = self._labels_told
        label.input_sequence = self.input_sequence
        if self._sinks_n:
            self._note_label(&label)

    cdef void _hold(self, LabelRecord* label) noexcept nogil:
        # Fills in what it moved. Lives of the market, and of a journal that is verified.
        cdef const PostureParams* posture = &self._policy.posture[label.posture]
        cdef Held* held = &self.groups[self.states[label.instrument].group].held[label.posture]
        cdef double before = held.alpha
        if label.hit >= 0 and posture.held_rate > 0.0:
            held_update(held, posture.held_alpha, posture.held_rate, <HeldBy>label.held_by, label.hit)
        label.moved = held.alpha - before
        label.alpha = held.alpha
        label.debt = held.debt

    cdef void _teach(self, InstrumentState* state, const ResolvedLabel* part) noexcept nogil:
        # One label, as many lessons as models were asked.
        cdef Group* group = &self.groups[state.group]
        cdef const double* raw = state.raws + <size_t>part.place * state.raws_width * LABEL_ANCHORS
        cdef int m
        for m in range(min(self._n_followed, state.raws_width)):
            if isnan(raw[m * LABEL_ANCHORS + part.part]):
                continue
            if group.calibration[m] == NULL:
                group.calibration[m] = rolling_new(&self._like.c)
                if group.calibration[m] == NULL:
                    continue
            rolling_add(group.calibration[m], part.at_ns, part.part, raw[m * LABEL_ANCHORS + part.part], part.hit)
            self._lessons |= <uint32_t>1 << m

    cdef void _note_label(self, const LabelRecord* label) noexcept nogil:
        cdef LabelRecord* grown
        if self._labels_n == self._labels_room:
            grown = <LabelRecord*>realloc(self._labels, max(2 * self._labels_room, 64) * sizeof(LabelRecord))
            if grown == NULL:
                return                         # its number is missing, and says so
            self._labels = grown
            self._labels_room = max(2 * self._labels_room, 64)
        self._labels[self._labels_n] = label[0]
        self._labels_n += 1

    cdef int _tell_derived(self) except -1:
        # Before the input that brought it is told: what a decision went by stands before it.
        cdef InputSink sink
        cdef size_t k, n = self._labels_n
        self._labels_n = 0
        for k in range(n):
            for sink in self._sinks:
                sink.label(&self._labels[k])
        n = self._quotes.said_n
        self._quotes.said_n = 0
        for k in range(n):
            for sink in self._sinks:
                sink.watch(&self._quotes.said[k])
        return 0

    cdef void _watch(self, InstrumentState* state, const InstrumentParams* params, int64_t t, int side, double left,
                     OpenLabel* label) noexcept nogil:
        # The reference stays the one of the decision, whatever the spread does. What nobody asks is not watched.
        cdef bint wanted
        cdef int place, k, f
        cdef bint micro = params.reference == REF_MICROPRICE or (
            params.reference == REF_AUTO
            and state.book.ask_ticks - state.book.bid_ticks <= params.microprice_spread_ticks_max)
        label.watched = 2 * micro + (side < 0)
        label.key = -side * reference(state, params) + left - TOUCH
        label.live_ns = t + self._latency_ns
        if state.stamp_ns == 0:                # else where the market stands is judged first
            stands(state, state.seen)
        for k in range(LABEL_ANCHORS):
            wanted = self._monitors.enabled and not isnan(label.p[k])
            for f in range(self._n_followed if self._like is not None else 0):
                wanted = wanted or not isnan(self._raws[f][k])
            label.waits |= wanted << k
        label.waits |= (label.life_ns > 0) << <int>LABEL_LIFE
        if not label.waits:
            return
        if not labels_init(&state.labels) or (self._like is not None and not self._make_room(state)):
            state.labels.overflowed += 1
            return
        place = labels_open(&state.labels, label)
        if place >= 0 and self._like is not None:
            memcpy(state.raws + <size_t>place * state.raws_width * LABEL_ANCHORS, self._raws,
                   self._n_followed * LABEL_ANCHORS * sizeof(double))

    cdef void _watch_decision(self, InstrumentState* state, const InstrumentParams* params, const ModelSlot* model,
                              const double* own, bint lives, const Request* request,
                              const Decision* out) noexcept nogil:
        # ``own`` is P at the anchors of the instrument itself; a leg of a package has no life of its own.
        # The tolerance is held by lives that nobody watches: a longer one for its watch passes h more often.
        cdef const PostureParams* posture = &self._policy.posture[out.posture_effective]
        cdef OpenLabel label
        cdef int k
        if out.reasons & <uint64_t>WHY_NO_VOLATILITY:
            return                             # no curve was drawn
        memset(&label, 0, sizeof(OpenLabel))
        label.posture = out.posture_effective
        label.sequence = out.input_sequence
        label.held_by = held_by(out.kind, out.binding, out.reasons)
        if posture.held_rate > 0.0 and label.held_by != HELD_FROZEN and lives:
            label.life_ns = out.life_ns if out.kind == DECISION_QUOTE else posture.min_ns
            if request.flags & REQ_WATCHED and out.kind == DECISION_QUOTE:
                label.life_ns = out.life_without_watch_ns if out.life_without_watch_ns > 0 else posture.min_ns
        label.model = model.model
        for k in range(LABEL_ANCHORS):
            label.p[k] = NAN if out.reasons & <uint64_t>WHY_MODEL_FALLBACK else own[k]
        if self._monitors.enabled:
            self._monitors.asked(model.model, state.group, out.now_ns, out.features, out.valid, out.sigma_ticks)
        self._watch(state, params, out.now_ns, out.side, out.h_ticks - out.moved_ticks, &label)

    cdef bint _probe(self, InstrumentState* state, const InstrumentParams* params, int64_t t) noexcept nogil:
        # What a request without price, size and counterparty would be told on either side; nobody is. Was it asked?
        cdef Decision* out = &self._probed
        cdef FeatureQuery query
        cdef ModelInput model_input
        # The models that serve take turns: the monitor gets what the next of them would answer.
        cdef const ModelSlot* asked = self._served.serving_slot[state.probes % self._served.n_serving]
        cdef const ModelSlot* model
        cdef double calibration[2 * LABEL_ANCHORS]
        cdef CalibrationPair pair[LABEL_ANCHORS]
        cdef OpenLabel label
        cdef double raw[LABEL_ANCHORS]
        cdef bint any
        cdef int side, k, m
        if (not params.enabled or PROBES_MAX - state.labels.probes < 2
                or self.quality_c(state, params, t).quality != QUALITY_GOOD):
            return False
        state.probes += 1
        query.now_ns = t
        query.size_lots = query.fill_rate = query.average_size_lots = NAN
        query.h_ticks = fmax(fmax(1.0, params.adverse_ticks), params.adverse_bps * 1e-4 * reference(state, params))
        query.sigma_ticks = feature_sigma(state.features, t)
        query.volatility_index = params.volatility_index
        query.desk = NO_INDEX
        model_input.x = out.features
        model_input.valid = out.valid
        model_input.h_ticks = query.h_ticks
        model_input.sigma_ticks = query.sigma_ticks
        self._pairs_of(state, asked, calibration)
        for k in range(LABEL_ANCHORS):
            pair[k].a = calibration[2 * k]
            pair[k].b = calibration[2 * k + 1]
        for side in range(-1, 2, 2):
            query.side = side
            memset(out, 0, sizeof(Decision))
            feature_compute(state.features, &state.book, self.shared, &query, out.features, out.valid)
            self._asked(NULL, NULL)
            memset(&label, 0, sizeof(OpenLabel))
            any = False
            for m in range(-1, self._n_followed):          # the one whose turn it is first, followed or not
                model = asked if m < 0 else self._followed[m].slot
                if model == NULL or (m >= 0 and model.model == asked.model):
                    continue
                if model.fn(model.params, &model_input, out.p) != 0:
                    if m < 0:
                        label.p[0] = label.p[1] = NAN
                    continue
                any = True
                for k in range(LABEL_ANCHORS):
                    raw[k] = out.p[self.anchors.horizon[k]]
                self._asked(model, raw)
                if m < 0:
                    calibrate_curve(&self.anchors, pair, out.p)
                    for k in range(LABEL_ANCHORS):
                        label.p[k] = out.p[self.anchors.horizon[k]]
            if not any:
                return True
            label.held_by = HELD_FROZEN
            label.model = asked.model
            if self._monitors.enabled:
                self._monitors.asked(asked.model, state.group, t, out.features, out.valid, query.sigma_ticks)
            self._watch(state, params, t, side, query.h_ticks, &label)
        return True

    def apply_label(self, const unsigned char[::1] record not None, *, bint adopt=False):
        """Let a journaled label move the tolerance of an engine that has no market of its own: the bytes of
        ``LABEL_DTYPE`` that it should have. With ``adopt`` the tolerance is what it says, where what came before is not
        known. Raises ``ValueError`` when it is no label of this engine's."""
        cdef LabelRecord label
        cdef Held held
        if record.shape[0] != <Py_ssize_t>sizeof(LabelRecord):
            raise ValueError(f"a label takes {sizeof(LabelRecord)} bytes, not {record.shape[0]}")
        memcpy(&label, &record[0], sizeof(LabelRecord))
        if label.instrument >= self.n_instruments or label.part > <int>LABEL_LIFE or label.posture >= POSTURES:
            raise ValueError("a label of another engine")
        if adopt and label.part == LABEL_LIFE:
            held.alpha = label.alpha
            held.debt = label.debt
            held_restore(&self.groups[self.states[label.instrument].group].held[label.posture],
                         self._policy.posture[label.posture].held_alpha, &held)
        elif label.part == LABEL_LIFE:
            self._hold(&label)
        return (<const char*>&label)[:sizeof(LabelRecord)]

    def held_alpha(self, uint32_t instrument, int posture):
        """The tolerance in force, before input weights. ``ValueError`` on an index out of range."""
        if instrument >= self.n_instruments or not 0 < posture < POSTURES:
            raise ValueError(f"no instrument {instrument} or no posture {posture}")
        return self.groups[self.states[instrument].group].held[posture].alpha

    def step(self, int64_t now_ns, str group, bint down, *, source=StepSource.OPERATOR, str reason="", uint64_t model=0,
             since_ns=None):
        """Have an instrument group step down to Risk Averse for the sake of a ``model`` (first 16 digits of its digest,
        as a number), or return; a numbered input.

        False, and no input, where it is so already, where stepping down is switched off or the model does not serve.
        Raises ``ValueError`` on an unknown group.
        """
        cdef Monitors monitors = self._monitors
        place = monitors.place(group)
        if place is None:
            raise ValueError(f"unknown instrument group {group}")
        if monitors.is_down(place) == down or (down and not monitors.may_step_down(model)):
            return False
        self.advance(now_ns)
        since_ns = self.now_ns if since_ns is None else since_ns
        monitors.set(place, down, since_ns, int(source), reason, model)
        self._tell(CHANGE_STEPPED, {
            "group": group, "down": bool(down), "source": int(source), "reason": reason, "model": f"{model:016x}",
            "since_ns": since_ns,
        }, now_ns)
        return True

    cdef int _drop_steps(self, int64_t now_ns) except -1:
        # What a change of models or of the configuration means for them.
        down = {name: model for name, _, _, _, model in self._monitors.steps()} if self._to_step else {}
        for group, of in self._to_step:
            self.step(now_ns, group, True, source=StepSource.CONFIGURATION, model=down[of],
                      reason=f"it has instruments of {of}, which had stepped down")
        self._to_step = []
        for step in self._monitors.dropped():
            self.step(now_ns, step.group, step.down, source=step.source, reason=step.reason, model=step.model)
        return 0

    @property
    def monitors(self):
        """What the served models are worth by instrument group, ``Monitors``: to be read."""
        return self._monitors

    def learned(self):
        """What was learned so far, by instrument group: a list of ``GroupStatus``."""
        return [self.group_learned(g) for g in range(<uint32_t>len(self._group_names))]

    def group_learned(self, uint32_t g):
        """``GroupStatus`` of one group, by its place in ``monitors``; as much work as it has instruments."""
        cdef int place = self._served.posture[self._policy._global_posture].champion.place
        cdef const Rolling* calibration
        cdef size_t held = 0
        cdef int k, m
        if g >= self._n_groups:
            raise ValueError(f"unknown place of a group {g}")
        nothing = ((0.0, 1.0),) * LABEL_ANCHORS, ((0, 0),) * LABEL_ANCHORS
        models = []
        champion = nothing if place >= 0 else ((), ())
        for m in range(self._n_followed):
            calibration = self.groups[g].calibration[m]
            pairs = nothing
            if calibration != NULL:
                held += rolling_bytes(calibration)
                pairs = (
                    tuple([(calibration.pair[k].a, calibration.pair[k].b) for k in range(LABEL_ANCHORS)]),
                    tuple([(calibration.anchor[k].total.n, rolling_hits(calibration, k))
                           for k in range(LABEL_ANCHORS)]),
                )
            models.append(ModelStatus(f"{self._followed[m].model:016x}", self._followed[m].slot != NULL, *pairs))
            if m == place:
                champion = pairs
        states = self._members[g]
        return GroupStatus(
            name=self._group_names[g],
            calibration=champion[0],
            labels=champion[1],
            models=tuple(models),
            memory_bytes=held,
            tolerance=tuple([self.groups[g].held[k].alpha for k in range(1, POSTURES)]),
            opened=sum([self.states[i].labels.opened for i in states]),
            resolved=sum([labels_resolved(&self.states[i].labels) for i in states]),
            thinned=sum([self.states[i].labels.thinned for i in states]),
            overflowed=sum([self.states[i].labels.overflowed for i in states]),
            censored=sum([self.states[i].labels.censored for i in states]),
        )

    def group_of(self, uint32_t instrument):
        """Place of the group of an instrument. Raises ``ValueError`` on a wrong index."""
        if instrument >= self.n_instruments:
            raise ValueError(f"unknown instrument index {instrument}")
        return self.states[instrument].group

    def label_counts(self):
        """Decisions and probes (opened, resolved, censored, without room, thinned) of all instruments so far; see
        ``GroupStatus``."""
        cdef uint64_t opened = 0, resolved = 0, censored = 0, overflowed = 0, thinned = 0
        cdef uint32_t i
        for i in range(self.n_instruments):
            opened += self.states[i].labels.opened
            resolved += labels_resolved(&self.states[i].labels)
            censored += self.states[i].labels.censored
            overflowed += self.states[i].labels.overflowed
            thinned += self.states[i].labels.thinned
        return opened, resolved, censored, overflowed, thinned

    def note_learned(self, int64_t now_ns, int most=16):
        """Tell the sinks what was learned since the last time, so that it survives a restart: a numbered input, but
        only where there is something. Groups take turns, ``most`` of them in one call and each at most once in
        ``LEARNED_EVERY_NS``. Returns how many it told of.
        """
        cdef Group* group
        cdef uint32_t looked
        told = []
        for looked in range(self._n_groups):
            if len(told) == most:
                break
            self._note_next = self._note_next + 1 if self._note_next + 1 < self._n_groups else 0
            group = &self.groups[self._note_next]
            if now_ns - group.noted_ns < LEARNED_EVERY_NS and group.noted_ns <= now_ns:
                continue
            entry = self._news_of(group)
            if entry is not None:
                group.noted_ns = now_ns
                told.append({"group": self._group_names[self._note_next], **entry})
        if told:
            self.advance(now_ns)
            self._tell(CHANGE_LEARNED, {"groups": told}, now_ns)
        return len(told)

    cdef object _news_of(self, Group* group):
        cdef Rolling* calibration
        cdef LabelBucket* bucket
        cdef Held* held
        cdef int64_t number
        cdef int k, m, j
        cdef bint news = False, fresh
        models = {}
        for m in range(self._n_followed):
            calibration = group.calibration[m]
            if calibration == NULL:
                continue
            parts = {}
            for number in range(max(0, calibration.bucket - CALIBRATION_BUCKETS + 1), calibration.bucket + 1):
                fresh = False
                for j in range(LABEL_ANCHORS):
                    bucket = &calibration.anchor[j].bucket[bucket_place(number)]
                    fresh = fresh or bucket.n != bucket.noted
                    bucket.noted = bucket.n
                if fresh:
                    parts[str(number)] = b64encode(rolling_part(calibration, number)).decode()
            if parts:
                models[f"{self._followed[m].model:016x}"] = {"window_ns": calibration.window_ns, "parts": parts}
        for k in range(1, POSTURES):
            held = &group.held[k]
            news = news or held.alpha != group.noted[k].alpha or held.debt != group.noted[k].debt
            group.noted[k] = held[0]
        if not news and not models:
            return None
        return {"held": [[group.held[k].alpha, group.held[k].debt] for k in range(1, POSTURES)], "models": models}

    def apply_learned(self, payload, int64_t now_ns):
        """Know what an engine before this one noted: after a restart, and in a replay. A numbered input.

        What belongs to a group or a model that is not there, or to another window, is left out, and so is what has left
        the window. Raises ``QuotelifeError`` on what no engine has noted, and changes nothing.
        """
        cdef Rolling* calibration
        cdef Group* group
        cdef Held held
        cdef int k, m
        cdef bint loaded
        places = {name: g for g, name in enumerate(self._group_names)}
        try:
            noted = [
                (
                    places.get(str(entry["group"]), -1),
                    [(float(alpha), float(debt)) for alpha, debt in entry["held"]],
                    {
                        int(model, 16): (
                            int(of["window_ns"]),
                            {checked_number(number): checked_part(part) for number, part in of["parts"].items()},
                        )
                        for model, of in entry["models"].items()
                    },
                )
                for entry in payload["groups"]
            ]
        except (KeyError, TypeError, ValueError, OverflowError, AttributeError) as error:
            raise QuotelifeError(f"what was learned does not read: {error!r}") from None
        self.advance(now_ns)
        for place, tolerances, models in noted:
            if place < 0:
                continue
            group = &self.groups[<uint32_t>place]
            for k in range(1, min(POSTURES, len(tolerances) + 1)):
                if self._policy.posture[k].held_rate > 0.0:
                    held.alpha, held.debt = tolerances[k - 1]
                    held_restore(&group.held[k], self._policy.posture[k].held_alpha, &held)
                    group.noted[k] = group.held[k]
            for m in range(self._n_followed):
                window_ns, parts = models.get(self._followed[m].model, (0, {}))
                if self._like is None or window_ns != self._like.c.window_ns:
                    continue
                calibration = group.calibration[m]
                if calibration == NULL:
                    calibration = group.calibration[m] = rolling_new(&self._like.c)
                    if calibration == NULL:
                        raise MemoryError()
                    rolling_pass(calibration, self.now_ns)
                loaded = False
                for number, part in parts.items():
                    loaded |= rolling_load(calibration, number, part)
                if loaded:
                    rolling_refit(calibration, self.now_ns)
        self._tell(CHANGE_LEARNED, payload, now_ns)
        return 0

    # --- live quotes that are watched -----------------------------------------------------------------------------

    def watch(self, int64_t now_ns, *, str owner, str name, requests, decisions, str rfq="", str boot="",
              expiry_ns=None):
        """Watch a quote from now on, for the stream ``owner``; returns its id, a numbered input.

        ``requests``, ``decisions``: what gave it its life, one for each side or leg, as ``decide`` took and filled
        them. ``boot``: the id under which their sequences are known to others. ``expiry_ns``: its end, by default the
        first of theirs. What comes of it is told to the sinks
        (``InputSink.watch``) behind this input and behind those that follow.
        Raises ``ValueError`` where none of them is a firm quote, ``QuotelifeError`` where the owner has a live quote of
        that name or too many are watched; neither is an input.
        """
        cdef RequestRecord request
        cdef DecisionRecord decision
        cdef const Decision* d
        sides = []
        ends = []
        decided = []
        unwatched = []
        venue_ends = [0]
        if not owner or not name:
            raise ValueError("owner and name must not be empty")
        if len(requests) != len(decisions) or not 0 < len(decisions) <= QUOTE_SIDES_MAX + 2:
            raise ValueError(f"a quote has 1 to {QUOTE_SIDES_MAX + 2} decisions, and a request for each")
        for request, decision in zip(requests, decisions):
            d = &decision.c
            if d.instrument >= self.n_instruments:
                raise ValueError(f"unknown instrument index {d.instrument}")
            if d.kind == DECISION_QUOTE:
                ends.append(d.expiry_ns)
                decided.append(d.now_ns)
                if d.actuation == ACTUATION_WITHDRAW:
                    venue_ends.append(min(d.now_ns + int(d.venue_life_ns), INT64_MAX))
                unwatched.append(d.now_ns + (
                    d.life_without_watch_ns if request.c.flags & REQ_WATCHED else d.life_ns))
            elif not request.c.flags & REQ_LEG:
                continue                       # a side that nobody can hit
            if request.c.flags & REQ_GREEKS or package_of_legs(&request.c):
                continue                       # greeks are watched on the underlying, and curves of legs on the legs
            h_ticks = d.h_ticks
            share = 1.0
            if request.c.flags & REQ_RESIDUAL:         # it has lost h once the underlying alone has cost it so much
                h_ticks /= fmax(request.c.delta, 1e-9)
            elif request.c.flags & REQ_ON_UNDERLYING:
                share = request.c.delta                # for each unit of the package
            elif request.c.flags & REQ_LEG:
                share = request.c.ratio / float(self._instruments[d.instrument].lot_size)
            edge = None
            if request.c.flags & (REQ_HAS_PRICE | REQ_HAS_EDGE):
                edge = d.edge_ticks
                if request.c.flags & REQ_HAS_PRICE and not request.c.flags & REQ_HAS_REFERENCE:
                    edge += d.moved_ticks              # from the reference of now to that of pricing
            sides.append({
                "instrument": self._instruments[d.instrument].name,
                "side": d.side,
                "mid_ticks": d.mid_ticks + d.side * d.moved_ticks,
                "h_ticks": h_ticks,
                "loses_h_ticks": d.h_ticks,
                "share": share,
                "edge_ticks": edge,
                "p": [d.p[k] for k in range(HORIZONS)],
                "posture": d.posture_effective,
                "mode": <int>MODE_TOLERANCE_P500 if request.c.flags & REQ_LEG else d.mode,     # no value by itself
                "regime": d.regime,
                "quality": d.quality,
            })
        if not ends:
            raise ValueError("none of these decisions is a firm quote")
        end = min(ends) if expiry_ns is None else expiry_ns
        d = &decision.c                                # of all of them the same
        size = request.c.size_lots if request.c.flags & REQ_HAS_SIZE else None
        if request.c.flags & REQ_LAST_LEG and sides:   # it counts packages, in lots of the first market
            unit = float(self._instruments.by_name(sides[0]["instrument"]).lot_size)
            if request.c.flags & REQ_ON_UNDERLYING:
                size = None if size is None else size / fmax(request.c.delta, 1e-9)
            elif package_of_legs(&request.c):
                size = None if size is None else size * float(self._instruments[d.instrument].lot_size) / unit
                for each in sides:
                    each["share"] *= unit
        payload = {
            "quote": self._quotes.next_quote,
            "owner": owner,
            "name": name,
            "rfq": rfq,
            "boot": boot,
            "decisions": [each.input_sequence for each in decisions],
            "decided_ns": max(decided),
            "expiry_ns": end,
            "unwatched_ns": min(end, *unwatched),
            "venue_ends_ns": max(end, *venue_ends),
            "size_lots": size,
            "counterparty": self._policy.counterparty_names[d.counterparty]
            if d.counterparty < len(self._policy.counterparty_names) else "",
            "desk": self._policy.desk_names[d.desk] if d.desk < len(self._policy.desk_names) else None,
            "session": self._policy.session_names[d.session]
            if d.session < len(self._policy.session_names) else None,
            "cancels": any([(<DecisionRecord>each).c.actuation == ACTUATION_WITHDRAW for each in decisions]),
            "withdraw_at": self._withdraw_at,
            "state": <int>QUOTE_LIVE,
            "withdraw": 0,
            "words": self._quotes.words,       # so that a replay, which has no boot before, numbers as it was done here
            "sides": sides,
        }
        self.apply_watch(CHANGE_WATCHED, payload, now_ns)
        return payload["quote"]

    def apply_watch(self, int kind, dict payload, int64_t now_ns):
        """One input of watching as a journal holds it (``inputs.Change``: WATCHED, WATCH_UPDATED, WATCH_ACKNOWLEDGED,
        WATCH_LOST), live, after a restart and in a replay alike. Of a quote that is not known nothing changes, but it
        is an input all the same.

        Raises ``QuotelifeError`` on a payload that no engine has told, or where a quote finds no room.
        """
        try:
            if kind == CHANGE_WATCHED:
                self._open_quote(payload, now_ns)
            elif kind == CHANGE_WATCH_UPDATED:
                size = payload["size_lots"]
                self.watch_updated(now_ns, payload["quote"], payload["state"], size_lots=size)
            elif kind == CHANGE_WATCH_ACKNOWLEDGED:
                self.watch_acknowledged(now_ns, payload["quote"], payload["number"])
            elif kind == CHANGE_WATCH_LOST:
                self.watch_lost(now_ns, payload["owner"], payload["reason"])
            else:
                raise QuotelifeError(f"a change of kind {kind} is none of watching")
        except (KeyError, TypeError, ValueError, OverflowError) as error:
            raise QuotelifeError(f"what was said of a live quote does not read: {error!r}") from None

    cdef int _open_quote(self, dict payload, int64_t now_ns) except -1:
        cdef LiveQuote quote
        cdef LiveSide side[QUOTE_SIDES_MAX]
        cdef uint32_t place
        cdef int n = 0, k
        cdef bint unknown = False
        memset(&quote, 0, sizeof(LiveQuote))
        memset(side, 0, sizeof(side))
        names = QuoteNames(
            str(payload["owner"]), str(payload["name"]), str(payload["rfq"]), str(payload["boot"]),
            tuple([int(each) for each in payload["decisions"]]), str(payload["counterparty"]), payload["desk"],
            payload["session"],
        )
        if "decided_ns" not in payload:        # of a build that judged it as if it had just been made
            payload = {**payload, "decided_ns": now_ns}
        quote.id = payload["quote"]
        quote.decided_ns = payload["decided_ns"]
        quote.end_ns = quote.due_ns = payload["expiry_ns"]
        quote.unwatched_ns = payload["unwatched_ns"]
        quote.venue_end_ns = max(quote.end_ns, payload.get("venue_ends_ns", 0))    # 0: of a build before caps knew it
        quote.size_lots = NAN if payload["size_lots"] is None else _not_below_0("size_lots", payload["size_lots"])
        quote.cancels = payload["cancels"]
        quote.state = QUOTE_PARTLY_FILLED if payload["state"] == <int>QUOTE_PARTLY_FILLED else QUOTE_LIVE
        reason = int(payload["withdraw"])
        quote.moved_at = NOWHERE
        quote.moved_ticks = quote.value_ticks = NAN
        quote.withdrawn_at = <uint32_t>NO_INDEX
        said = payload.get("said")             # of a withdrawal that a boot before this one has said
        if said is not None:
            if not 0 < reason < WITHDRAW_REASONS:
                raise ValueError(f"quote {payload['quote']} was withdrawn for reason {reason}")
            quote.withdraw = reason
            quote.number = said["number"]
            quote.withdrawn_ns = said["at_ns"]
            quote.held = bool(said["held"])
            quote.moved_ticks = NAN if said["moved_ticks"] is None else float(said["moved_ticks"])
            quote.value_ticks = NAN if said["value_ticks"] is None else float(said["value_ticks"])
            instrument = None if said["instrument"] is None else self._instruments.get(said["instrument"])
            quote.withdrawn_at = <uint32_t>NO_INDEX if instrument is None else <uint32_t>instrument.index
        words = int(payload.get("words", 0))
        self._name_quote(&quote, names)
        withdraw_at = _finite("withdraw_at", payload.get("withdraw_at", self._withdraw_at))    # since it is told
        if len(payload["sides"]) > <int>QUOTE_SIDES_MAX:
            raise ValueError("too many sides")
        for each in payload["sides"]:
            instrument = self._instruments.get(each["instrument"])
            if instrument is None:
                unknown = True
                continue
            side[n].instrument = instrument.index
            side[n].side = 1 if each["side"] > 0 else -1
            side[n].mid_ticks = _finite("mid_ticks", each["mid_ticks"])
            side[n].h_ticks = _finite("h_ticks", each["h_ticks"])
            side[n].edge_ticks = NAN if each["edge_ticks"] is None else _finite("edge_ticks", each["edge_ticks"])
            side[n].share = _not_below_0("share", each.get("share", 1.0))      # both since there are caps on packages
            side[n].posture = each["posture"] if 0 < each["posture"] < POSTURES else POSTURE_RISK_AVERSE
            side[n].mode = each["mode"]
            for k in range(HORIZONS):
                side[n].p[k] = _finite("p", each["p"][k])
            # Without a threshold, or a price to count from, no move ends it.
            side[n].key = INFINITY
            if side[n].h_ticks > 0.0 and side[n].mid_ticks != 0.0:
                side[n].key = withdraw_at * side[n].h_ticks - side[n].side * side[n].mid_ticks - TOUCH
            side[n].loss_ticks = self._policy.value_prior(quote.counterparty).loss_in_h * _finite(
                "loses_h_ticks", each.get("loses_h_ticks", each["h_ticks"]))
            if not isnan(side[n].edge_ticks):
                side[n].loss_ticks -= side[n].edge_ticks
            side[n].loss_ticks = fmax(0.0, side[n].loss_ticks)
            side[n].tick_value = self._policy.instrument[side[n].instrument].tick_value
            n += 1
        if quote.id == 0 or self._quotes.place(quote.id) != NOWHERE:
            raise ValueError(f"quote {quote.id} is taken")
        held = self._quotes.find(names.owner, names.name)
        if held and not self._quotes.c.quote[self._quotes.place(held)].forget_ns:
            raise QuotelifeError(f"{names.owner} has a live quote {names.name} already; end it, or use another id")
        if not reason:                     # of one to be withdrawn its owner has yet to hear
            self._quotes.check_room()
        self.advance(now_ns)
        place = self._quotes.open(&quote, side, n, names, self.now_ns, bool(payload.get("restored", False)))
        self._quotes.words = max(self._quotes.words, words)
        self._tell(CHANGE_WATCHED, payload, now_ns)
        if said is not None:
            self._quotes.withdrawn_before(place, self.now_ns)
            return 0
        if (unknown or n == 0) and not reason:
            reason = <int>WITHDRAW_DATA_QUALITY                # its market cannot be watched
        self._look_at_new(place, payload, reason)
        self._tell_derived()
        return 0

    cdef int _name_quote(self, LiveQuote* quote, names) except -1:
        # Configurations number counterparties, desks and sessions.
        found = self._policy.counterparty_index(names.counterparty)
        quote.counterparty = <uint32_t>NO_INDEX if found is None else <uint32_t>found
        found = None if names.desk is None else self._policy.desk_index(names.desk)
        quote.desk = <uint32_t>NO_INDEX if found is None else <uint32_t>found
        found = None if names.session is None else self._policy.session_index(names.session)
        quote.session = <uint32_t>NO_INDEX if found is None else <uint32_t>found
        return 0

    cdef int _look_at_new(self, uint32_t place, dict payload, uint8_t reason) except -1:
        # What has become of its market between the decision and the watch, and whether it is over already.
        cdef LiveQuote* quote = &self._quotes.c.quote[place]
        cdef const LiveSide* side
        cdef InstrumentState* state
        cdef uint32_t at = quote.first
        cdef int64_t t = self.now_ns
        if reason:
            self._quotes.withdraw(place, reason, NOWHERE, NAN, NAN, t, self.input_sequence)
        if t >= self._quotes.due_ns:
            self._time_quotes()
        if self._killed.observed(quote.counterparty):
            self._quotes.withdraw(place, WITHDRAW_KILL_SWITCH, NOWHERE, NAN, NAN, t, self.input_sequence)
        decided = {(each["instrument"], each["side"]): (each["regime"], each["quality"]) for each in payload["sides"]}
        while at != NOWHERE and not quote.withdraw and not quote.forget_ns:
            side = &self._quotes.c.side[at]
            state = self.states[side.instrument]
            self.update_regime(state, side.instrument, t)
            regime, quality = decided[self._instruments[side.instrument].name, side.side]
            reason = 0
            if state.regime == REGIME_HALT:
                reason = WITHDRAW_HALT
            elif state.quality.quality != QUALITY_GOOD and quality == <int>QUALITY_GOOD:
                reason = WITHDRAW_DATA_QUALITY
            elif state.regime == REGIME_STRESS and regime != <int>REGIME_STRESS:
                reason = WITHDRAW_STRESS
            if reason:
                self._quotes.withdraw(place, reason, at, NAN, NAN, t, self.input_sequence)
            elif state.book_state == BOOK_WHOLE and not state.book.crossed and book_two_sided(&state.book):
                self._move_quotes(state)
            at = side.next
        return 0

    def watch_updated(self, int64_t now_ns, uint64_t quote, int state, size_lots=None):
        """What its watcher says has become of a quote (``QuoteStateCode``), a numbered input; its state from now on, 0
        where it is not known. A fill of a quote that is being withdrawn is TOO_LATE.

        ``size_lots``: what is left after a partial fill, ``None``: as much as before. Raises ``ValueError`` on another
        state, and on a size that is no finite number or below 0.
        """
        cdef LiveQuote* live
        cdef uint32_t place
        if not QUOTE_LIVE <= state <= QUOTE_CANCELLED:
            raise ValueError("state must be one of QuoteStateCode")
        if size_lots is not None:
            _not_below_0("size_lots", size_lots)
        self.advance(now_ns)
        self._tell(CHANGE_WATCH_UPDATED, {"quote": quote, "state": state, "size_lots": size_lots}, now_ns)
        place = self._quotes.place(quote)
        if place == NOWHERE:
            return 0
        live = &self._quotes.c.quote[place]
        if size_lots is not None and live.counted:
            self._quotes.resize(place, size_lots, self.now_ns)
        if state == QUOTE_FILLED and live.withdraw:
            state = QUOTE_TOO_LATE
        if state >= QUOTE_FILLED:
            live.acknowledged = True
            self._quotes.end(place, state, self.now_ns)
        elif not live.forget_ns:
            live.state = state
        return live.state

    def watch_acknowledged(self, int64_t now_ns, uint64_t quote, uint64_t number=0):
        """Its withdrawal has arrived, and needs not be said again; what it may lose counts no more. A numbered input.
        False where it is not known; of one that is live, or waits, nothing changes."""
        cdef uint32_t place
        self.advance(now_ns)
        self._tell(CHANGE_WATCH_ACKNOWLEDGED, {"quote": quote, "number": number}, now_ns)
        place = self._quotes.place(quote)
        if place == NOWHERE:
            return False
        self._quotes.acknowledge(place)
        return True

    def watch_lost(self, int64_t now_ns, str owner, str reason=""):
        """The stream that had quotes watched is gone: whoever has them counts them as withdrawn, and so does the
        engine. A numbered input; returns how many were live."""
        cdef uint32_t place
        cdef LiveQuote* quote
        cdef int lost = 0
        self.advance(now_ns)
        self._tell(CHANGE_WATCH_LOST, {"owner": owner, "reason": reason}, now_ns)
        for id in self._quotes.by_owner(owner):
            place = self._quotes.place(id)
            quote = &self._quotes.c.quote[place]
            lost += quote.forget_ns == 0
            if quote.counted:                  # those too that are withdrawn, and nobody has said that he cancels
                self._quotes.lose(place, self.now_ns, self.input_sequence)
        self._tell_derived()
        return lost

    @property
    def watching(self):
        """The live quotes, ``Watching``: to be read."""
        return self._quotes

    def live_quote(self, uint64_t quote):
        """``LiveQuoteStatus`` of a quote that is known, live or not; else ``None``."""
        cdef uint32_t place = self._quotes.place(quote)
        return None if place == NOWHERE else self._quote_status(place)

    def live_quotes(self, owner=None):
        """``LiveQuoteStatus`` of every quote that is known, live or not, in the order of registration."""
        return [self.live_quote(id) for id in self._quotes.by_owner(owner)]

    def next_watch_ns(self):
        """When time alone ends or releases the next quote; the largest int64: never."""
        return self._quotes.due_ns

    cdef object _quote_status(self, uint32_t place):
        cdef const LiveQuote* quote = &self._quotes.c.quote[place]
        cdef const LiveSide* side
        cdef uint32_t at = quote.first
        sides = []
        while at != NOWHERE:
            side = &self._quotes.c.side[at]
            sides.append((side.instrument, side.side, side.mid_ticks, side.h_ticks,
                          -side.side * side.key if isfinite(side.key) else None))
            at = side.next
        names = self._quotes.names(quote.id)
        return LiveQuoteStatus(
            quote=quote.id, owner=names.owner, name=names.name, rfq=names.rfq, boot=names.boot,
            decisions=names.decisions, state=quote.state, withdraw=quote.withdraw, waiting=quote.wait_at != NOWHERE,
            number=quote.number, withdrawn_ns=quote.withdrawn_ns, moved_ticks=quote.moved_ticks,
            value_ticks=quote.value_ticks, withdrawn_at=quote.withdrawn_at, held=quote.held,
            acknowledged=quote.acknowledged, expiry_ns=quote.end_ns,
            unwatched_ns=quote.unwatched_ns, size_lots=quote.size_lots, counterparty=names.counterparty,
            desk=names.desk, session=names.session, sides=tuple(sides),
        )

    cdef int _follow_watch(self, config, sessions_before) except -1:
        cdef uint32_t place, i
        settings = config.watch
        self._withdraw_at = settings.withdraw_at
        self._judge_every_ns = settings.judge_every_ns
        self._judge_most = settings.judge_most
        self._hints_most = settings.hints_most
        self._quotes.follow(settings, self._policy, sessions_before, self.n_instruments, self.now_ns,
                            self.input_sequence)
        for id in self._quotes.by_owner():
            place = self._quotes.place(id)
            self._name_quote(&self._quotes.c.quote[place], self._quotes.names(id))
        self._quotes.recount(self.n_instruments, len(self._policy.desk_names))
        for i in range(self.n_instruments):
            if not self._policy.instrument[i].enabled and self._quotes.c.live:
                self._quotes.withdraw_market(i, WITHDRAW_HALT, self.now_ns, self.input_sequence)
        return 0

    def on_watch_timer(self, int64_t now_ns):
        """Let time pass for live quotes alone: they end, are released and judged, and the quality and the regime of
        their instruments are looked at. A numbered input. What has no live quote costs nothing; of many that have,
        some take their turn, so that ``on_timer`` finds the rest at its next."""
        cdef InputSink sink
        self.advance(now_ns)
        self._look_at_watched(self.now_ns)
        if self._quotes.c.n:
            self._judge_quotes(self.now_ns)
            self._quotes.forget(self.now_ns)
        if self._labels_n or self._quotes.said_n:
            self._tell_derived()
        for sink in self._sinks:
            sink.watch_timer(now_ns, self.input_sequence)

    cdef void _look_at_watched(self, int64_t t) noexcept nogil:
        # Downwards, since an instrument that goes makes room for the last.
        cdef LiveQuotes* quotes = &self._quotes.c
        cdef InstrumentState* state
        cdef uint32_t looked = 0, at = self._quotes.watched_next
        if at == 0:
            if self._quotes.watched_ns <= t < self._quotes.watched_ns + self._judge_every_ns:
                return
            self._quotes.watched_ns = t
            at = quotes.watched_n
        while at > 0 and looked < MARKETS_A_TIMER:
            looked += 1
            at = min(at, quotes.watched_n)
            if at == 0:
                break
            at -= 1
            state = self.states[quotes.watched[at]]
            if t - state.stress_checked_ns >= STRESS_CADENCE_NS:
                self.update_regime(state, state.instrument, t)
            else:
                self.look(state, &self._policy.instrument[state.instrument], t)
        self._quotes.watched_next = at

    cdef void _time_quotes(self) noexcept nogil:
        cdef size_t first = self._quotes.said_n
        self._quotes.time(self.now_ns, self.input_sequence)
        self._hint_some(first)

    cdef void _move_quotes(self, InstrumentState* state) noexcept nogil:
        # At the end of a message that has changed the view: D is taken on the mid.
        cdef double mid = 0.5 * (state.book.bid_ticks + state.book.ask_ticks)
        cdef const double* trigger = self._quotes.c.trigger + 2 * state.instrument
        cdef size_t first
        if -mid < trigger[0] and mid < trigger[1]:
            return
        first = self._quotes.said_n
        self._quotes.passed(state.instrument, mid, self.now_ns, self.input_sequence)
        self._hint_some(first)

    cdef void _kill_quotes(self) noexcept nogil:
        cdef LiveQuote* quote
        cdef uint32_t place
        for place in range(self._quotes.c.room):
            quote = &self._quotes.c.quote[place]
            if quote.id and not quote.forget_ns and self._killed.observed(quote.counterparty):
                self._quotes.withdraw(place, WITHDRAW_KILL_SWITCH, NOWHERE, NAN, NAN, self.now_ns, self.input_sequence)

    cdef void _hint_some(self, size_t first) noexcept nogil:
        # What was said from first on of quotes that a new one may follow.
        cdef WatchRecord said
        cdef int64_t life_ns
        cdef uint32_t hinted = 0
        cdef size_t k, n = self._quotes.said_n
        for k in range(first, n):
            said = self._quotes.said[k]
            if hinted == self._hints_most:
                return
            if said.kind == WATCH_EXPIRED or (said.kind == WATCH_WITHDRAW and (
                    said.reason == WITHDRAW_ADVERSE_MOVE or said.reason == WITHDRAW_VALUE
                    or said.reason == WITHDRAW_LIFE_ENDED)):
                hinted += 1
                life_ns = self._life_now(self._quotes.said_of[k])
                if life_ns > 0:
                    self._quotes.hint(self._quotes.said_of[k], life_ns, self.now_ns, self.input_sequence)

    cdef int64_t _life_now(self, uint32_t place) noexcept nogil:
        # Of a new quote like this one, priced now; 0: none, or one of several markets.
        cdef const LiveQuote* quote = &self._quotes.c.quote[place]
        cdef const LiveSide* side
        cdef const InstrumentParams* params
        cdef const ModelSlot* model
        cdef InstrumentState* state
        cdef Decision* out = &self._hinted
        cdef Request request
        cdef uint32_t at = quote.first
        cdef int64_t life_ns = INT64_MAX
        while at != NOWHERE:
            side = &self._quotes.c.side[at]
            if side.instrument != self._quotes.c.side[quote.first].instrument:
                return 0
            memset(&request, 0, sizeof(Request))
            request.now_ns = self.now_ns
            request.instrument = side.instrument
            request.side = side.side
            request.counterparty = quote.counterparty
            request.desk = quote.desk
            request.session = quote.session
            if not isnan(quote.size_lots):
                request.flags |= REQ_HAS_SIZE
                request.size_lots = quote.size_lots * side.share
            memset(out, 0, sizeof(Decision))
            out.now_ns = self.now_ns
            out.input_sequence = self.input_sequence
            state = self.states[side.instrument]
            params = &self._policy.instrument[side.instrument]
            self._observe(state, params, &request, False, out)
            if not self._frame(params, &request, out):
                return 0
            self._features(state, params, &request, out)
            model = self._served.slot(out.posture_effective, request.counterparty, &out.model_role)
            self._learned(state, model, out)
            self._know(&request, out)
            self._judge(params, &request, model, out)
            if out.kind != DECISION_QUOTE:
                return 0
            life_ns = min(life_ns, out.life_ns)
            at = side.next
        return 0 if life_ns == INT64_MAX else life_ns

    cdef void _judge_quotes(self, int64_t t) noexcept nogil:
        # What is left of the quotes that were given for their value: a few in turn, all of them every so often.
        cdef LiveQuote* quote
        cdef double value
        cdef size_t first = self._quotes.said_n
        cdef uint32_t judged = 0, looked = 0, place
        if self._quotes.judged_next == 0:
            if t - self._quotes.judged_ns < self._judge_every_ns and t >= self._quotes.judged_ns:
                return
            self._quotes.judged_ns = t
        while looked < LOOKS_A_TIMER:
            looked += 1
            if self._quotes.judged_next >= self._quotes.c.room:
                self._quotes.judged_next = 0
                break
            place = self._quotes.judged_next
            self._quotes.judged_next += 1
            quote = &self._quotes.c.quote[place]
            if not quote.id or not quote.counted:
                continue
            self._quotes.resize(place, quote.size_lots, t)
            if quote.forget_ns or quote.withdraw or judged >= self._judge_most:
                continue
            if self._worth_nothing(place, t, &value):
                self._quotes.withdraw(place, WITHDRAW_VALUE, quote.first, NAN, value, t, self.input_sequence)
            judged += not isnan(value)
        self._quotes.judged += judged
        self._hint_some(first)

    cdef bint _worth_nothing(self, uint32_t place, int64_t t, double* value) noexcept nogil:
        # No life of what is left has a value above 0; value: the largest, NaN where that is not asked.
        cdef const LiveQuote* quote = &self._quotes.c.quote[place]
        cdef const LiveSide* side
        cdef const InstrumentParams* params
        cdef const PostureParams* posture
        cdef const ValuePrior* prior = self._prior_now(quote.counterparty)
        cdef const ModelSlot* model
        cdef InstrumentState* state
        cdef Decision* out = &self._hinted
        cdef CalibrationPair pair[LABEL_ANCHORS]
        cdef ModelInput model_input
        cdef FeatureQuery query
        cdef ValueResult best
        cdef ValueTerms terms
        cdef double moved, left, total = 0.0
        cdef double age_ns = <double>max(0, t - quote.decided_ns)
        cdef int64_t until = quote.end_ns - t, least
        cdef uint32_t at = quote.first
        cdef bint some
        cdef int k
        value[0] = NAN
        if until < US:
            return False
        # Nobody asks again before: a life that ends until then cannot be chosen.
        until -= until % US
        least = max(US, min(until, self._judge_every_ns - self._judge_every_ns % US))
        while at != NOWHERE:
            side = &self._quotes.c.side[at]
            at = side.next
            if side.mode != MODE_EXPECTED_VALUE or isnan(side.edge_ticks) or not isfinite(side.key):
                return False
            state = self.states[side.instrument]
            if state.quality.quality != QUALITY_GOOD:
                return False
            params = &self._policy.instrument[side.instrument]
            posture = &self._policy.posture[side.posture]
            moved = -side.side * (0.5 * (state.book.bid_ticks + state.book.ask_ticks) - side.mid_ticks)
            left = side.h_ticks - moved
            if left <= 0.0:
                return False                       # its move ends it
            memset(out, 0, sizeof(Decision))
            query.now_ns = t
            query.side = side.side
            query.size_lots = quote.size_lots * side.share
            query.h_ticks = left
            query.sigma_ticks = feature_sigma(state.features, t)
            query.fill_rate = self._counterparties.fill_rate(
                quote.counterparty, self._policy.fill_rate(quote.counterparty))
            query.average_size_lots = self._counterparties.average_size_lots(
                quote.counterparty, side.instrument,
                self._policy.average_size_lots(quote.counterparty, side.instrument))
            query.volatility_index = params.volatility_index
            query.desk = quote.desk
            feature_compute(state.features, &state.book, self.shared, &query, out.features, out.valid)
            model = self._served.slot(side.posture, quote.counterparty, &out.model_role)
            self._pairs_of(state, model, out.calibration)
            for k in range(LABEL_ANCHORS):
                pair[k].a = out.calibration[2 * k]
                pair[k].b = out.calibration[2 * k + 1]
            model_input.x = out.features
            model_input.valid = out.valid
            model_input.h_ticks = left
            model_input.sigma_ticks = query.sigma_ticks
            if model.fn(model.params, &model_input, out.p) != 0:
                return False
            calibrate_curve(&self.anchors, pair, out.p)
            terms = posture.value
            terms.left = prior.watch_leaves
            some = value_left(prior, &self._aged, &terms, out.p, side.edge_ticks - moved, side.h_ticks,
                              out.features[<int>F_INVENTORY], age_ns, least, until, True, &best)
            total += best.life_value_ticks
            if some:
                value[0] = total
                return False
        value[0] = total
        return quote.first != NOWHERE

    # --- counterparties -------------------------------------------------------------------------------------------

    def outcome(self, int64_t now_ns, dict payload):
        """What became of a quote, a numbered input. The payload, all of it JSON-able, says what is to be known of its
        decision too, so that a journal alone can be read:

        ``outcome``: its id; ``decision``, ``boot``: input sequence and boot of the decision; ``quote``: the quote's id,
        may be empty; ``counterparty`` (name, may be empty) and ``instrument``; ``side``: +1 the desk buys; ``kind``
        (``OutcomeCode``); ``counts``: false for a further report on a quote that has counted already; ``at_ns``: when;
        ``age_ns``: how old the quote was then, null where nobody said; ``life_ns``: what it was given;
        ``price_ticks``: of the fill or of the best price, null where not said; ``traded_lots`` and ``size_lots``:
        filled and asked for, null likewise; ``quoted_ticks``: the price quoted, null likewise; ``mid_ticks``: mid at
        pricing, 0 where it is not known; ``h_ticks``: the decision's adverse threshold, 0 where there was none.

        Returns whether something was learned: not of counterparties that are not configured. Raises ``QuotelifeError``
        on a payload that does not read or names no instrument of this engine's, and changes nothing.
        """
        cdef int kind, side
        cdef int64_t at_ns, life_ns
        cdef double price, age_ns, size, mid, h, weight
        cdef uint32_t instrument, counterparty = NO_INDEX
        try:
            instrument = self._instruments.by_name(payload["instrument"]).index
            kind, side = int(payload["kind"]), int(payload["side"])
            at_ns, life_ns = int(payload["at_ns"]), int(payload["life_ns"])
            age_ns = _number(payload["age_ns"])
            price = _number(payload["quoted_ticks"] if payload["price_ticks"] is None else payload["price_ticks"])
            size = _number(payload["size_lots"])
            mid, h = float(payload["mid_ticks"]), float(payload["h_ticks"])
            counts = bool(payload["counts"])
            # A quote filled in slices is one fill, of which each is a part.
            weight = _number(payload["traded_lots"]) / size
            weight = fmin(fmax(weight, 0.0), 1.0) if isfinite(weight) else <double>counts
            place = self._policy.counterparty_index(payload["counterparty"])
            if not 1 <= kind <= 6 or side not in (-1, 1) or not (isfinite(mid) and isfinite(h)):
                raise ValueError("kind, side, mid_ticks or h_ticks")
        except (KeyError, TypeError, ValueError, OverflowError, QuotelifeError) as error:
            raise QuotelifeError(f"an outcome does not read: {error!r}") from None
        if place is not None:
            counterparty = place
        if now_ns > self._marks.next_ns:
            self._take_marks(now_ns)
        self.advance(now_ns)
        took = self._counterparties.outcome(counterparty, instrument, kind, counts, age_ns=age_ns, life_ns=life_ns,
                                            size_lots=size, at_ns=at_ns)
        if took and kind <= 2 and weight > 0.0:
            self._counterparties.filled(counterparty, instrument, side=side, at_ns=at_ns, price_ticks=price,
                                        mid_ticks=mid, h_ticks=h, weight=weight)
            self._take_past_marks(self.now_ns)
        self._tell(CHANGE_OUTCOME, payload, now_ns)
        return took

    cdef void _take_marks(self, int64_t t) noexcept nogil:
        # Those due before t, at which nothing has been applied yet: the book is that of their time.
        cdef const InstrumentState* state
        cdef Mark mark
        while self._marks.next_ns < t:
            self._marks.pop(&mark)
            state = self.states[mark.instrument]
            if self.quality_c(state, &self._policy.instrument[mark.instrument], mark.due_ns).quality == QUALITY_GOOD:
                self._counterparties.marked(&mark, 0.5 * (state.book.bid_ticks + state.book.ask_ticks))
            else:
                self._counterparties.lost()

    cdef void _take_past_marks(self, int64_t t) noexcept nogil:
        # Of an outcome told late: by the mids remembered, where data has been GOOD ever since.
        cdef const InstrumentState* state
        cdef Verdict verdict
        cdef Mark mark
        cdef int64_t mid2
        while self._marks.next_ns < t:
            self._marks.pop(&mark)
            state = self.states[mark.instrument]
            verdict = self.quality_c(state, &self._policy.instrument[mark.instrument], t)
            mid2 = 0
            if verdict.quality == state.quality.quality == QUALITY_GOOD and state.quality.since_ns <= mark.due_ns:
                mid2 = mid2_at(state.features, mark.due_ns)
            if mid2 != 0:
                self._counterparties.marked(&mark, 0.5 * mid2)
            else:
                self._counterparties.lost()

    cdef int _assume(self, list places) except -1:
        # Compile what decisions are made by now, at these places of the counterparties.
        cdef const ValuePrior* tier
        cdef int place
        for place in places:
            tier = self._policy.tier_prior(self._counterparties.tier_at(place))
            if self._priors.at(place, tier, self._counterparties.used(place)) == NULL:
                raise MemoryError()
        return 0

    cdef void _know(self, const Request* request, Decision* out) noexcept nogil:
        # What was learned of the counterparty goes into the record where the decision is made by it.
        cdef int place
        if self._policy.posture[out.posture_effective].mode == MODE_EXPECTED_VALUE and (
                request.flags & (REQ_HAS_PRICE | REQ_HAS_EDGE)):
            self._counterparties.settle(request.counterparty)
            place = self._counterparties.place(request.counterparty)
            if place >= 0 and self._priors.at(place, self._policy.value_prior(request.counterparty),
                                              self._counterparties.used(place)) != NULL:
                memcpy(out.learned, self._counterparties.used(place), sizeof(out.learned))

    cdef const ValuePrior* _prior_now(self, uint32_t counterparty) noexcept nogil:
        # What would be assumed of a counterparty in a decision by value now.
        cdef const ValuePrior* tier = self._policy.value_prior(counterparty)
        cdef const ValuePrior* prior = NULL
        cdef int place
        self._counterparties.settle(counterparty)
        place = self._counterparties.place(counterparty)
        if place >= 0:
            prior = self._priors.at(place, tier, self._counterparties.used(place))
        return prior if prior != NULL else tier

    @property
    def counterparties(self):
        """What is known of counterparties, ``Counterparties``: to be read."""
        return self._counterparties

    def note_counterparties(self, int64_t now_ns, int most=16):
        """Tell the sinks what is known of counterparties that something was learned of since the last time, as
        ``note_learned`` does: ``most`` of them in a call, each at most once in 10 s. Returns how many it told of."""
        told = self._counterparties.note(now_ns, most)
        if told:
            self.advance(now_ns)
            self._tell(CHANGE_COUNTERPARTIES, {"counterparties": told}, now_ns)
        return len(told)

    def apply_counterparties(self, dict payload, int64_t now_ns):
        """Know of counterparties what an engine before this one noted: after a restart, and in a replay. A numbered
        input. Counterparties and instruments that are not configured are left out. Raises ``QuotelifeError`` on what
        no engine has noted, and changes nothing."""
        try:
            changed = self._counterparties.load(payload["counterparties"])
        except (KeyError, TypeError, ValueError, OverflowError, AttributeError) as error:
            raise QuotelifeError(f"what was noted of counterparties does not read: {error!r}") from None
        self.advance(now_ns)
        self._assume(changed)
        self._tell(CHANGE_COUNTERPARTIES, payload, now_ns)
        return 0

    # --- configuration, model, overrides --------------------------------------------------------------------------

    def record_to(self, *sinks):
        """Tell these ``InputSink`` objects of every input from now on, instead of those named before."""
        cdef InputSink sink
        for sink in sinks:
            pass               # raises TypeError on anything else
        self._sinks = sinks
        self._sinks_n = len(sinks)

    cdef int _tell(self, int kind, dict payload, int64_t now_ns) except -1:
        cdef InputSink sink
        if self._labels_n or self._quotes.said_n:
            self._tell_derived()
        for sink in self._sinks:
            sink.change(kind, payload, now_ns, self.input_sequence)
        return 0

    def apply_config(self, config, int64_t now_ns, *, CurveModel model=None):
        """Swap the configuration whole; returns the new revision.

        ``model`` replaces the artifact that the configuration names, where that changes (replay).

        Instruments may be added at the end or disabled, not removed, reordered or given another grid while the
        engine runs, and the model it names must load: raises ``ConfigError`` and changes nothing.
        """
        cdef uint32_t i
        table = config.instrument_table()
        problems = []
        for old in self._instruments:
            if old.index >= len(table):
                problems.append(f"instruments: {old.name} cannot be removed while running; set enabled: false")
            elif table[old.index] != old:
                problems.append(
                    f"instruments: {old.name} (place {old.index}) cannot change its name, venue, symbol, tick_size, "
                    f"lot_size or place while running; restart the service"
                )
        for old, new in zip(self._config.instruments, config.instruments):
            for key in ("quotes_only", "order_level", "book_levels_max", "book_orders_max"):
                if getattr(old, key) != getattr(new, key):
                    problems.append(f"instruments: {new.name}: {key} cannot change while running; restart the service")
        indices = self._config.signals.volatility_indices
        if config.signals.volatility_indices[:len(indices)] != indices:
            problems.append("signals: volatility_indices can only be added at the end while running")
        if problems:
            raise ConfigError(problems)
        policy = Policy(config)
        if config.model == self._config.model:
            model = None
        elif model is None:
            try:
                model = configured_model(config)
            except ArtifactError as error:
                raise ConfigError([f"model: artifact: {error}"]) from None
        served = ServedModels(model or self._served.base, self._served.lineup, self._served.models,
                              policy.counterparty_names)
        throttle = Throttle(config)
        tables = CounterpartyTables(config)
        rolling = self._rolling_of(config)
        self._make_states(len(table), policy)
        self.advance(now_ns)               # nothing below may refuse: what is swapped is swapped whole
        before = self._policy.session_names
        self._follow_names(policy)
        self._killed.follow(policy.counterparty_names)
        self._throttle.follow(throttle)
        self._policy = policy
        self.n_instruments = len(table)
        self._follow_watch(config, before)
        self.feature_params.news_half_life_ns = config.signals.news_half_life_ns
        for i in range(self.n_instruments):
            self.states[i].features.news_half_life_ns = config.signals.news_half_life_ns
        if model is not None:
            self.model_revision += 1
        self._served = served
        self._learn(config, rolling)
        self._counterparties.go_on(tables, self.now_ns)
        self._marks = self._counterparties.marks
        if not self._counterparties.enabled:
            self._priors.clear()
        self._config = config
        self._instruments = table
        self._wire_drivers()
        self._name_underlyings()
        self.config_revision += 1
        if self._sinks:
            self._tell(CHANGE_CONFIG, self.config_payload(), now_ns)
        self._drop_steps(now_ns)
        return self.config_revision

    def config_payload(self):
        """The configuration in force, as sinks are told of it; JSON-able."""
        return {
            "revision": self.config_revision,
            "digest": self._config.digest,
            "config": self._config.model_dump(mode="json", by_alias=True),
            "model_digest": self._served.base.digest,
            "model_revision": self.model_revision,
            "lineup": self._served.lineup.to_json(),
        }

    cdef int _follow_names(self, Policy policy) except -1:
        # Counterparties and desks are numbered by a configuration. Positions and overrides stay with the name they
        # were set for; those whose name is gone end, since they can fit nobody.
        cdef RuntimeOverride* slot
        cdef int i, kept = 0
        cdef uint32_t instrument
        cdef uint32_t[::1] desks
        names = self._policy.desk_names
        if names:
            desks = np.full(len(names), <uint32_t>NO_INDEX, dtype=np.uint32)
            for i, name in enumerate(names):
                index = policy.desk_index(name)
                if index is not None:
                    desks[i] = index
            for instrument in range(self.n_instruments):
                feature_remap_desks(self.states[instrument].features, &desks[0], len(names))
        for i in range(self.n_overrides):
            slot = &self.overrides_c[i]
            if slot.counterparty != NO_INDEX:
                index = policy.counterparty_index(self._policy.counterparty_names[slot.counterparty])
                if index is None:
                    continue
                slot.counterparty = index
            if slot.desk != NO_INDEX:
                index = policy.desk_index(self._policy.desk_names[slot.desk])
                if index is None:
                    continue
                slot.desk = index
            self.overrides_c[kept] = slot[0]
            kept += 1
        self.n_overrides = kept
        return 0

    def continue_revisions(self, uint32_t config_revision, uint32_t model_revision):
        """Count configurations and models on from an engine that this one stands in for (replay)."""
        self.config_revision = config_revision
        self.model_revision = model_revision

    def apply_model(self, CurveModel model not None, int64_t now_ns):
        """Swap the model of the configuration, which serves where the line-up names no champion; returns the new model
        revision."""
        return self._serve(ServedModels(model, self._served.lineup, self._served.models,
                                        self._policy.counterparty_names), now_ns)

    def apply_lineup(self, lineup, models, int64_t now_ns, *, CurveModel model=None, because=None):
        """Swap everything that serves; returns the new model revision.

        ``models``: by digest, at least all that the line-up names. ``model`` replaces that of the configuration too.
        ``because``: what the sinks are told of why (``Entry.because``).
        Raises ``QuotelifeError`` when one is missing, and changes nothing.
        """
        return self._serve(ServedModels(model or self._served.base, lineup, models, self._policy.counterparty_names),
                           now_ns, because)

    cdef object _serve(self, ServedModels served, int64_t now_ns, because=None):
        self.advance(now_ns)
        self._served = served
        self._learn(self._config, self._like)
        self.model_revision += 1
        self._tell(CHANGE_MODEL, {
            "revision": self.model_revision, "digest": served.base.digest, "lineup": served.lineup.to_json(),
            "because": because,
        }, now_ns)
        self._drop_steps(now_ns)
        return self.model_revision

    def set_override(self, *, int64_t now_ns, int64_t expires_ns, int posture, uint32_t counterparty=NO_INDEX,
                     uint32_t instrument=NO_INDEX, uint32_t desk=NO_INDEX, uint32_t override_id=0):
        """Override the posture until ``expires_ns``; returns the override's id.

        Of several that fit, the one that names most wins, then the newest. ``override_id``, larger than any before it,
        is for one that had its id before this engine was: after a restart and in a replay.

        Raises ``ValueError`` on a wrong posture or a time in the past, ``QuotelifeError`` when too many are alive.
        """
        cdef RuntimeOverride* slot
        if counterparty != NO_INDEX and counterparty >= len(self._policy.counterparty_names):
            raise ValueError(f"unknown counterparty index {counterparty}")
        if desk != NO_INDEX and desk >= len(self._policy.desk_names):
            raise ValueError(f"unknown desk index {desk}")
        if instrument != NO_INDEX and instrument >= self.n_instruments:
            raise ValueError(f"unknown instrument index {instrument}")
        if not 1 <= posture <= POSTURE_RISK_AVERSE:
            raise ValueError("posture must be CLIENT_PRIORITY, LIQUIDITY_PROVIDER or RISK_AVERSE")
        if expires_ns <= max(now_ns, self.now_ns):
            raise ValueError("the override would already have expired")
        if override_id and override_id < self.next_override_id:
            raise ValueError(f"override ids below {self.next_override_id} are taken")
        self.drop_expired_overrides(max(now_ns, self.now_ns))
        if self.n_overrides == OVERRIDES_MAX:
            raise QuotelifeError(f"{OVERRIDES_MAX} overrides are alive; clear one first")
        self.advance(now_ns)
        slot = &self.overrides_c[self.n_overrides]
        slot.expires_ns = expires_ns
        slot.counterparty = counterparty
        slot.desk = desk
        slot.instrument = instrument
        slot.posture = posture
        if override_id:
            self.next_override_id = override_id
        slot.id = self.next_override_id
        self.n_overrides += 1
        self.next_override_id += 1
        self._tell(CHANGE_OVERRIDE_SET, {
            "id": self.next_override_id - 1,
            "posture": posture,
            "counterparty": None if counterparty == NO_INDEX else self._policy.counterparty_names[counterparty],
            "desk": None if desk == NO_INDEX else self._policy.desk_names[desk],
            "instrument": None if instrument == NO_INDEX else self._instruments[instrument].name,
            "expires_ns": expires_ns,
        }, now_ns)
        return self.next_override_id - 1

    def clear_override(self, uint32_t override_id, int64_t now_ns):
        """End an override before its time; False when there is none of that id."""
        cdef int i, k
        self.advance(now_ns)
        self._tell(CHANGE_OVERRIDE_CLEARED, {"id": override_id}, now_ns)
        for i in range(self.n_overrides):
            if self.overrides_c[i].id == override_id:
                for k in range(i, self.n_overrides - 1):
                    self.overrides_c[k] = self.overrides_c[k + 1]
                self.n_overrides -= 1
                return True
        return False

    def overrides(self, int64_t now_ns):
        """Overrides alive at ``now_ns``, oldest first."""
        cdef int i
        return [
            OverrideStatus(self.overrides_c[i].id, self.overrides_c[i].posture, self.overrides_c[i].counterparty,
                           self.overrides_c[i].desk, self.overrides_c[i].instrument, self.overrides_c[i].expires_ns)
            for i in range(self.n_overrides)
            if self.overrides_c[i].expires_ns > now_ns
        ]

    cdef void drop_expired_overrides(self, int64_t t) noexcept nogil:
        cdef int i, kept = 0
        for i in range(self.n_overrides):
            if self.overrides_c[i].expires_ns > t:
                self.overrides_c[kept] = self.overrides_c[i]
                kept += 1
        self.n_overrides = kept

    # --- kill switch ----------------------------------------------------------------------------------------------

    def kill(self, int64_t now_ns, *, counterparty=None, str reason="", source=KillSource.RPC, since_ns=None):
        """Decline every request, or every request of one ``counterparty`` (name or index); the kill in force.

        It ends by ``enable`` alone. A kill that is in force already stays as it is, with its first reason, and is no
        input; so restoring twice what was in force before a restart, each with its ``since_ns``, does no harm. A name
        that is not configured is kept for when it is. Raises ``ValueError`` on an index out of range.
        """
        name = self._counterparty_name(counterparty)
        kill = self._killed.get(name)
        if kill is not None:
            return kill
        self.advance(now_ns)
        kill = KillStatus(name, reason, KillSource(source), self.now_ns if since_ns is None else since_ns)
        self._killed.set(kill)
        self._kill_quotes()
        self._tell(CHANGE_KILLED, {
            "counterparty": name, "reason": reason, "source": int(kill.source), "since_ns": kill.since_ns,
        }, now_ns)
        return kill

    def enable(self, int64_t now_ns, *, counterparty=None, str reason="", source=KillSource.RPC):
        """End the kill of everybody, or that of one ``counterparty`` (name or index); the other kills stay.

        False, and no input, when it is not in force. Raises ``ValueError`` on an index out of range.
        """
        name = self._counterparty_name(counterparty)
        if self._killed.get(name) is None:
            return False
        self.advance(now_ns)
        self._killed.end(name)
        self._throttle.release(name)
        self._tell(CHANGE_ENABLED, {
            "counterparty": name, "reason": reason, "source": int(KillSource(source)),
        }, now_ns)
        return True

    def kills(self):
        """Kills in force, oldest first, as ``KillStatus``."""
        return self._killed.kills()

    @property
    def kill_changes(self):
        """How often a kill was turned on or off so far."""
        return self._killed.changes

    cdef uint64_t kill_changes_c(self) noexcept:
        return self._killed.changes

    def killed(self, counterparty):
        """Does a kill hold for a counterparty's index (``None``: not configured)?"""
        return self._killed.fits(counterparty)

    def killed_since(self, uint64_t changes, str counterparty):
        """Was a counterparty (by the name in its requests) killed since ``kill_changes`` was as given, enabled since or
        not?"""
        return self._killed.came_since(changes, counterparty)

    @property
    def throttle_trips(self):
        """How often a throttle tripped so far."""
        return self._throttle.trips

    def paused(self):
        """Counterparties that the throttle holds until a pause ends by itself: (name, what tripped) each, by name."""
        return self._throttle.paused(self.now_ns)

    def _counterparty_name(self, counterparty):
        if counterparty is None or isinstance(counterparty, str):
            return counterparty
        if not 0 <= counterparty < len(self._policy.counterparty_names):
            raise ValueError(f"unknown counterparty index {counterparty}")
        return self._policy.counterparty_names[counterparty]

    # --- views ----------------------------------------------------------------------------------------------------

    @property
    def config(self):
        return self._config

    @property
    def policy(self):
        return self._policy

    @property
    def model(self):
        """The model of the configuration."""
        return self._served.base

    @property
    def served(self):
        """All models that serve, ``ServedModels``."""
        return self._served

    cpdef CurveModel model_of(self, DecisionRecord decision):
        """The model whose curve a decision has, or would have had where none was asked. Only while it is in force."""
        return self._served.model_of(decision.c.posture_effective, decision.c.model_role)

    @property
    def instruments(self):
        return self._instruments

    def instrument_status(self, uint32_t index, int64_t now_ns):
        """Status of one instrument as of ``now_ns``; changes nothing. Raises ``ValueError`` on a wrong index."""
        cdef InstrumentState* state
        cdef QualityRecord quality
        cdef Verdict verdict
        cdef int k
        if index >= self.n_instruments:
            raise ValueError(f"unknown instrument index {index}")
        state = self.states[index]
        if now_ns < self.now_ns:
            now_ns = self.now_ns
        verdict = self.quality_c(state, &self._policy.instrument[index], now_ns)
        quality = state.quality
        quality_note(&quality, &verdict, now_ns)
        quality.time_ns[quality.quality] += now_ns - quality.since_ns
        return InstrumentStatus(
            quality=quality.quality,
            regime=state.regime,
            reasons=state.reasons,
            bid_ticks=state.book.bid_ticks,
            bid_lots=state.book.bid_lots,
            ask_ticks=state.book.ask_ticks,
            ask_lots=state.book.ask_lots,
            last_event_ns=state.last_alive_ns,
            events=state.events,
            messages=state.messages,
            gaps=state.gaps,
            resyncs=state.resyncs,
            crossed=state.crossed,
            dropped_levels=state.book.bid.dropped + state.book.ask.dropped,
            unsupported=state.unsupported,
            unsided_trades=state.unsided_trades,
            undecided_trades=state.undecided_trades,
            orders=state.orders.n,
            unknown_orders=state.orders.unknown,
            invalid_orders=state.orders.invalid + state.orders.excessive + state.orders.repeated,
            dropped_orders=state.orders.dropped,
            purged_orders=state.orders.purged,
            decisions=state.decisions,
            declines=state.declines,
            regime_ns=tuple([state.regime_ns[k] for k in range(REGIMES)]),
            not_good_ns=sum([quality.time_ns[k] for k in range(QUALITIES) if k != QUALITY_GOOD]),
            quality_cause=quality.cause,
            quality_since_ns=quality.since_ns,
            quality_ns=tuple([quality.time_ns[k] for k in range(QUALITIES)]),
            quality_entered=tuple([quality.entered[k] for k in range(QUALITIES)]),
            stress_entries=state.stress_entries,
            greeks=greeks_of(&state.greeks, now_ns),
            memory_bytes=(
                sizeof(InstrumentState)
                + feature_state_bytes(state.features)
                + book_bytes(&state.book)
                + orders_bytes(&state.orders)
                + labels_bytes(&state.labels)
                + LABEL_ROOM * state.raws_width * LABEL_ANCHORS * sizeof(double)
            ),
        )

    def troubled(self, int64_t now_ns, int64_t after_ns, int most):
        """Instruments in trouble: how many, and of the first ``most`` (index, quality, cause, in trouble since, ns).

        In trouble is what has been neither GOOD nor HALTED for more than ``after_ns``, is enabled, is not expected to
        be shut by the calendar, and does not merely wait for the end of its warmup. As of the last input or timer.
        """
        cdef const InstrumentState* state
        cdef int count = 0
        cdef uint32_t i
        found = []
        for i in range(self.n_instruments):
            state = self.states[i]
            if state.quality.trouble_ns < 0 or now_ns - state.quality.trouble_ns <= after_ns:
                continue
            if (not self._policy.instrument[i].enabled or state.regime == REGIME_HALT
                    or state.quality.cause == CAUSE_WARMING_UP):
                continue
            count += 1
            if count <= most:
                found.append((i, state.quality.quality, state.quality.cause, state.quality.trouble_ns))
        return count, found

    def want_resync(self):
        """Indices of the instruments that nothing but another snapshot mends, and of which the feed cannot know."""
        cdef const InstrumentState* state
        cdef uint32_t i
        found = []
        for i in range(self.n_instruments):
            state = self.states[i]
            if state.book_state == BOOK_GAPPED and state.distrust == CAUSE_BEYOND_KNOWN_DEPTH:
                found.append(i)
        return found

    def level_top(self, uint32_t index):
        """(sequence, bid ticks, bid lots, ask ticks, ask lots) of the depth levels alone, no quote laid over them.

        Raises ``ValueError`` on a wrong index.
        """
        cdef LevelBook* book
        cdef int64_t bid_ticks = 0, bid_lots = 0, ask_key = 0, ask_lots = 0
        if index >= self.n_instruments:
            raise ValueError(f"unknown instrument index {index}")
        book = &self.states[index].book
        side_best(&book.bid, &bid_ticks, &bid_lots)
        side_best(&book.ask, &ask_key, &ask_lots)
        return book.level_sequence, bid_ticks, bid_lots, -ask_key, ask_lots


cdef double _number(value) except? -1.0:
    # NaN: not told.
    if value is None:
        return NAN
    number = float(value)
    if not isfinite(number):
        raise ValueError(f"{number} is no number")
    return number


cdef int calendar_says(const CalendarList* self, int64_t t) noexcept nogil:
    cdef int k, found = REGIME_NORMAL
    for k in range(self.n):
        if self.entry[k].from_ns <= t < self.entry[k].until_ns and self.entry[k].regime > found:
            found = self.entry[k].regime
    return found


cdef void calendar_expire(CalendarList* self, int64_t t) noexcept nogil:
    cdef int k, kept = 0
    for k in range(self.n):
        if self.entry[k].until_ns > t:
            self.entry[kept] = self.entry[k]
            kept += 1
    self.n = kept


cdef bint calendar_forget(CalendarList* self, uint64_t id) noexcept nogil:
    cdef int k, kept = 0, before = self.n
    for k in range(self.n):
        if self.entry[k].id != id:
            self.entry[kept] = self.entry[k]
            kept += 1
    self.n = kept
    return kept != before


cdef void as_given(Request* leg) noexcept nogil:
    # Without what the engine fills in.
    cdef double ratio = leg.ratio, price = leg.package_price, edge = leg.package_edge, reference = leg.package_reference
    cdef double delta = leg.delta, gamma = leg.gamma, vega = leg.vega
    cdef int8_t side = leg.package_side
    memset(<char*>leg + PACKAGE_OFFSET, 0, sizeof(Request) - PACKAGE_OFFSET)
    leg.ratio = ratio
    leg.package_price = price
    leg.package_edge = edge
    leg.package_reference = reference
    leg.package_side = side
    leg.flags &= <uint16_t>~(REQ_FIRST_LEG | REQ_GREEKS | REQ_HAS_EDGE)
    leg.edge_ticks = NAN
    if leg.flags & REQ_SENSITIVITIES:
        leg.delta = delta
        leg.gamma = gamma
        leg.vega = vega
    else:
        leg.underlying = 0


cdef int check_size(const Request* request) except -1:
    if request.flags & REQ_HAS_SIZE and not 0.0 <= request.size_lots < INFINITY:
        raise ValueError(f"size_lots: must be a finite number and not below 0, not {request.size_lots}")
    return 0


cdef double _finite(str name, value) except? -1.0:
    if not isinstance(value, (int, float)) or not isfinite(value):
        raise ValueError(f"{name}: must be a finite number, not {value!r}")
    return value


cdef double _not_below_0(str name, value) except? -1.0:
    cdef double number = _finite(name, value)
    if number < 0.0:
        raise ValueError(f"{name}: must not be below 0, is {value}")
    return number


cdef inline bint package_of_legs(const Request* request) noexcept nogil:
    # The package behind legs whose own curves were drawn.
    return request.flags & (REQ_LAST_LEG | REQ_ON_UNDERLYING | REQ_RESIDUAL) == REQ_LAST_LEG


cdef inline bint gives_away(const Request* request, const Decision* out, double relationship_in_h) noexcept nogil:
    # e + rho < 0: it loses money when it is taken at once. A package does where one of its legs alone would.
    if package_of_legs(request):
        return package_loses(out.edge_ticks, relationship_in_h * request.h_least)
    return out.edge_ticks + relationship_in_h * out.h_ticks < 0.0


cdef inline bint lost_already(const Request* request, const Decision* out) noexcept nogil:
    # Has the edge lost h and the spread before the quote goes out, or as much as one leg alone would need for that?
    if package_of_legs(request):
        return package_loses(out.edge_ticks, request.loss_least)
    return out.edge_ticks <= -fmax(out.h_ticks, out.spread_ticks)


cdef inline bint draws_no_curve(const Request* request) noexcept nogil:
    # What it needs of curves is in the request.
    return request.flags & REQ_LAST_LEG and not request.flags & REQ_ON_UNDERLYING


cdef inline double package_sigma(const Request* request, double sigma_ticks) noexcept nogil:
    # sqrt(w' Sigma w) near delta-neutral: the underlying by the net delta, and the rest.
    cdef double moves = request.delta * sigma_ticks
    return sqrt(moves * moves + request.residual_ticks * request.residual_ticks)


cdef inline void share_room(const Request* request, Decision* out) noexcept nogil:
    # The sides of a TWO_WAY quote are decided before either is live: each has half of what is left, so that neither
    # the order of the two counts nor do both together pass a cap.
    if request.two_way:
        out.exposure_room *= 0.5


cdef inline bint counts_as_act(const Request* request) noexcept nogil:
    # A TWO_WAY quote and a package are one act of their counterparty, however many decisions they take.
    if request.flags & REQ_PACKAGE and not request.flags & REQ_FIRST_LEG:
        return False
    return not request.flags & REQ_SECOND_SIDE


cdef inline double default_threshold(const InstrumentParams* params, double reference_ticks) noexcept nogil:
    return fmax(fmax(1.0, params.adverse_ticks), params.adverse_bps * 1e-4 * reference_ticks)


cdef inline bint worse(uint8_t quality, uint8_t than) noexcept nogil:
    return quality != QUALITY_GOOD and (than == QUALITY_GOOD or quality > than)


cdef inline void no_volatility(Decision* out) noexcept nogil:
    cdef int k
    out.reasons |= WHY_NO_VOLATILITY
    out.h_ticks = 0
    for k in range(HORIZONS):
        out.p[k] = 0
    decline(out)


cdef inline int64_t age_of(const Request* request, int64_t t) noexcept nogil:
    # Since the moment of pricing; a moment in the future counts as now.
    return max(t - request.priced_at_ns, 0) if request.flags & REQ_HAS_PRICED_AT else 0


cdef inline bint too_close(const Request* request, const PostureParams* posture, int64_t t,
                           int64_t age) noexcept nogil:
    # Is there no time for the posture's shortest life before the client's own deadline?
    cdef int64_t left = request.client_deadline_ns - t
    return request.flags & REQ_HAS_DEADLINE and (left + age < posture.min_ns or left < US)


cdef inline bint always_firm(const PostureParams* posture) noexcept nogil:
    # With good data it gives at least its shortest life, whatever the curve.
    return posture.mode != MODE_EXPECTED_VALUE and not posture.decline_below_minimum


cdef inline bint cancelled_for_us(const SessionParams* session, const Decision* out) noexcept nogil:
    # Its venue takes no life as short as this: unwatched it would be no quote.
    return session != NULL and out.actuation == ACTUATION_WITHDRAW and session.actuation != ACTUATION_WITHDRAW


cdef inline void refuse(Decision* out, uint8_t kind) noexcept nogil:
    out.kind = kind
    out.life_ns = out.venue_life_ns = out.life_without_watch_ns = 0
    out.expiry_ns = out.now_ns


cdef inline void decline(Decision* out) noexcept nogil:
    refuse(out, DECISION_DECLINE)


cdef bint far_from_market(const PriceBoundsParams* bounds, const Request* request, Decision* out) noexcept nogil:
    # Held against the mid of the moment of pricing, where it is known: what has moved since is judged by the curve.
    cdef double mid = out.mid_ticks, room, price
    if not request.flags & (REQ_HAS_PRICE | REQ_HAS_EDGE | REQ_HAS_REFERENCE):
        return False
    if out.observed & OBS_MOVED_KNOWN:
        mid += request.side * out.moved_ticks
    room = fmax(bounds.share * fabs(mid), bounds.spreads * out.spread_ticks)
    if request.flags & REQ_HAS_REFERENCE and not fabs(request.reference_ticks - mid) <= room:
        out.reasons |= WHY_REFERENCE_FAR
    if request.flags & (REQ_HAS_PRICE | REQ_HAS_EDGE):
        price = (request.price_ticks if request.flags & REQ_HAS_PRICE
                 else out.reference_ticks - request.side * request.edge_ticks)
        if not fabs(price - mid) <= room:
            out.reasons |= WHY_PRICE_FAR
    return out.reasons & <uint64_t>(WHY_PRICE_FAR | WHY_REFERENCE_FAR) != 0


cdef inline int64_t longest_of(const SessionParams* session) noexcept nogil:
    # A relative life begins at the venue, after the way there.
    if session.life_max_ns > INT64_MAX - session.transit_ns:
        return INT64_MAX
    return session.life_max_ns + session.transit_ns


cdef bint fit_to_venue(const SessionParams* session, const Request* request, const PostureParams* posture,
                       Decision* out, int64_t age) noexcept nogil:
    # Shorten the life to one that the venue can hold, never lengthen it; False when there is none.
    cdef uint8_t kind = posture.no_value_kind if out.mode == MODE_EXPECTED_VALUE else DECISION_DECLINE
    cdef int64_t longest = longest_of(session), end, venue_ns
    if session.actuation == ACTUATION_ABSOLUTE and request.flags & REQ_UNSYNCHRONISED:
        out.reasons |= WHY_CLOCK
        decline(out)
        return False
    if out.life_ns > longest:
        out.life_ns = longest
        out.binding |= BIND_VENUE_MAX
    if session.actuation == ACTUATION_WITHDRAW:
        out.venue_life_ns = session.life_max_ns    # ours is cancelled at its end, to the microsecond
    else:
        venue_ns = out.life_ns - session.transit_ns
        if session.transit_ns:
            out.binding |= BIND_TRANSIT
        if session.actuation == ACTUATION_ABSOLUTE:
            end = out.now_ns + venue_ns            # on the grid of UTC
            venue_ns = end - end % session.granularity_ns - out.now_ns
        elif venue_ns > 0:
            venue_ns -= venue_ns % session.granularity_ns
        if venue_ns < session.life_min_ns and request.flags & REQ_WATCHED and session.life_max_ns != INT64_MAX:
            # Its watcher is told to cancel it at our end: the venue gets its longest life, as in a withdraw session.
            out.actuation = ACTUATION_WITHDRAW
            out.binding &= ~<int>BIND_TRANSIT
            out.venue_life_ns = session.life_max_ns
        elif venue_ns < session.life_min_ns or venue_ns < US:
            out.reasons |= WHY_VENUE_MINIMUM
            out.binding |= BIND_VENUE_MIN
            refuse(out, kind)
            return False
        else:
            if venue_ns + session.transit_ns < out.life_ns:
                out.binding |= BIND_GRANULARITY
            out.venue_life_ns = venue_ns
            out.life_ns = venue_ns + session.transit_ns
    if out.life_ns + age < posture.min_ns:
        out.reasons |= WHY_BELOW_MINIMUM
        out.binding |= BIND_BELOW_MINIMUM
        if posture.decline_below_minimum:
            refuse(out, kind)
            return False
    return True


cdef inline void stop(Decision* out) noexcept nogil:
    # By the kill switch or the throttle, whatever the market and the policy would say.
    out.rule = RULE_KILL_SWITCH
    out.rule_index = NO_INDEX
    if out.observed & (OBS_KILLED | OBS_COUNTERPARTY_KILLED):
        out.reasons |= WHY_KILLED
    if out.observed & OBS_THROTTLED:
        out.reasons |= WHY_THROTTLED
    decline(out)


cdef void follow_rhythm(InstrumentState* state, int64_t t) noexcept nogil:
    # Long gaps weigh as much as the time they take: a burst of a thousand messages does not make a quiet instrument
    # look busy, as a mean over messages would.
    cdef double gap, kept
    if state.last_book_ns:
        gap = <double>(t - state.last_book_ns)
        kept = fmax(0.0, 1.0 - gap / RHYTHM_NS)
        state.gap_sum = state.gap_sum * kept + gap
        state.gap_square_sum = state.gap_square_sum * kept + gap * gap
    state.last_book_ns = t
    state.unanswered_ns = 0


cdef int64_t mid2_at(FeatureState* features, int64_t t) noexcept nogil:
    # bid + ask at t, exact for the last second, on the 100 ms grid before that; 0 where it is not known.
    cdef RingWindow* ring = &features.mid
    cdef const RingTail* tail = &ring.tail[MID_TAIL_1S]
    cdef const int64_t* slot
    cdef int64_t serial, step
    ring_advance(ring, ring.now_ns)
    serial = ring.head - 1
    if not features.live or t < features.start_ns or ring.now_ns < tail.whole_at_ns:
        return 0
    while serial >= tail.first:
        slot = ring.slots + (serial & ring.mask) * ring.stride
        if slot[0] <= t:
            return slot[1]
        serial -= 1
    if not tail.has_before:
        return features.start_mid2
    if t >= ring.now_ns - tail.window_ns:
        return tail.before[0]
    step = t // GRID_NS
    if step > features.grid or features.grid - step >= GRID_MIDS:
        return 0
    return features.grid_mid2[step & (GRID_MIDS - 1)]


cdef double reference(const InstrumentState* state, const InstrumentParams* params) noexcept nogil:
    # M: the microprice where the spread is tight, the mid where it is many ticks wide.
    cdef double bid = state.book.bid_ticks, ask = state.book.ask_ticks
    cdef double bid_lots = state.book.bid_lots, ask_lots = state.book.ask_lots
    if params.reference == REF_MICROPRICE or (
        params.reference == REF_AUTO and ask - bid <= params.microprice_spread_ticks_max
    ):
        return (ask * bid_lots + bid * ask_lots) / (bid_lots + ask_lots)
    return 0.5 * (bid + ask)


cdef void stands(const InstrumentState* state, double* x) noexcept nogil:
    # Of a two-sided book: the adverse coordinate -side * M for all that is WATCHED.
    cdef double bid = state.book.bid_ticks, ask = state.book.ask_ticks
    cdef double bid_lots = state.book.bid_lots, ask_lots = state.book.ask_lots
    x[1] = 0.5 * (bid + ask)
    x[3] = (ask * bid_lots + bid * ask_lots) / (bid_lots + ask_lots)
    x[0] = -x[1]
    x[2] = -x[3]
