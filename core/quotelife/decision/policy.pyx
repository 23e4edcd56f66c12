"""Which posture, which regime the calendar says, which priors: a configuration compiled to flat C arrays.

Order (kill switch and data quality stand before it, in the engine): request override, where the desk
may → runtime override of an operator → the desk's overrides of the counterparty → the counterparty's tier → the
desk's default → the global default. Then the regime may only make the posture more careful.

Time windows are judged on the wall clock of their zone, from tables of UTC offsets made when the policy is built:
an hour that a change of clocks leaves out never comes, one that it repeats comes twice.
"""

from typing import NamedTuple

from libc.math cimport NAN
from libc.stdint cimport INT64_MAX, int32_t, int64_t, uint8_t, uint32_t, uint64_t
from libc.stdlib cimport calloc, free

from quotelife.decision.expected_value cimport ValuePrior, compile_prior
from quotelife.decision.life cimport PostureLife
from quotelife.decision.regime cimport regime_params
from quotelife.decision.risk cimport Risk
from quotelife.records cimport (ACTUATION_ABSOLUTE, ACTUATION_LAST_LOOK, ACTUATION_RELATIVE, ACTUATION_WITHDRAW,
                                DECISION_DECLINE, DECISION_INDICATIVE, NO_INDEX,
                                POSTURE_CLIENT_PRIORITY, POSTURE_LIQUIDITY_PROVIDER, POSTURE_NONE,
                                POSTURE_RISK_AVERSE, REGIME_AUCTION, REGIME_HALT, REGIME_NORMAL,
                                REGIME_SCHEDULED_NEWS, RULE_COUNTERPARTY_OVERRIDE, RULE_COUNTERPARTY_TIER,
                                RULE_DESK_DEFAULT, RULE_GLOBAL_DEFAULT, RULE_REQUEST_OVERRIDE,
                                RULE_RUNTIME_OVERRIDE, Request, RequestRecord, WHY_AUCTION, WHY_DOWNGRADED,
                                WHY_HALT, WHY_OVERRIDE_REFUSED, WHY_SCHEDULED_NEWS)

from quotelife.config.checks import find_problems
from quotelife.config.schema import DAYS
from quotelife.decision.zones import offset_table
from quotelife.errors import ConfigError

cdef int64_t NS_PER_S = 1_000_000_000
cdef int32_t DAY_S = 86_400

_POSTURES = {
    None: POSTURE_NONE,
    "client_priority": POSTURE_CLIENT_PRIORITY,
    "liquidity_provider": POSTURE_LIQUIDITY_PROVIDER,
    "risk_averse": POSTURE_RISK_AVERSE,
}
_REGIMES = {"auction": REGIME_AUCTION, "scheduled_news": REGIME_SCHEDULED_NEWS, "halt": REGIME_HALT}
_ACTUATIONS = {"absolute": ACTUATION_ABSOLUTE, "relative": ACTUATION_RELATIVE, "withdraw": ACTUATION_WITHDRAW,
               "last_look": ACTUATION_LAST_LOOK}
_REFERENCES = {"auto": REF_AUTO, "mid": REF_MID, "microprice": REF_MICROPRICE}


class PostureChoice(NamedTuple):
    """What ``resolve`` answers: ``PostureCode`` requested and effective, ``RuleCode``, override, ``ReasonFlags``."""

    requested: int
    effective: int
    rule: int
    rule_index: int
    reasons: int


class OverrideSpec(NamedTuple):
    """An operator's override with its end; ``None`` stands for any."""

    posture: int
    expires_ns: int
    counterparty: int | None = None
    desk: int | None = None
    instrument: int | None = None
    override_id: int = 0


class RuleWord(NamedTuple):
    """One rule alone: its ``RuleCode``, the posture it asks for (0: none), which override, ``ReasonFlags``."""

    rule: int
    posture: int
    rule_index: int
    reasons: int


cdef enum:
    FIRST_RULE = RULE_REQUEST_OVERRIDE     # of those that a policy knows

cdef enum Misfit:
    FITS = 0
    OTHER_INSTRUMENT = 1
    WINDOW_SHUT = 2
    OTHER_COUNTERPARTY = 3
    OTHER_DESK = 4
    EXPIRED = 5

_MISFITS = {
    FITS: "",
    OTHER_INSTRUMENT: "is for another instrument",
    WINDOW_SHUT: "is outside its time window",
    OTHER_COUNTERPARTY: "is for another counterparty",
    OTHER_DESK: "is for another desk",
    EXPIRED: "has expired",
}


cdef void* _array(size_t count, size_t size) except NULL:
    cdef void* memory = calloc(count if count else 1, size)
    if memory == NULL:
        raise MemoryError()
    return memory


cdef RuntimeOverride* _runtime_overrides(specs) except NULL:
    # Owned by the caller.
    cdef RuntimeOverride* array = <RuntimeOverride*>_array(len(specs), sizeof(RuntimeOverride))
    try:
        for i, spec in enumerate(specs):
            array[i].id = spec.override_id
            array[i].posture = spec.posture
            array[i].expires_ns = spec.expires_ns
            array[i].counterparty = NO_INDEX if spec.counterparty is None else spec.counterparty
            array[i].desk = NO_INDEX if spec.desk is None else spec.desk
            array[i].instrument = NO_INDEX if spec.instrument is None else spec.instrument
    except BaseException:
        free(array)
        raise
    return array


cdef inline int64_t _floor_div(int64_t a, int64_t b) noexcept nogil:
    return a // b - (a % b < 0)            # cdivision truncates; b > 0


cdef inline bint _fits(uint32_t wanted, uint32_t given) noexcept nogil:
    return wanted == NO_INDEX or wanted == given


cdef class Policy:
    """Immutable once built; any thread may read it while it holds a reference.

    Raises ``ConfigError`` when the configuration has faults that only show between values.
    """

    def __cinit__(self, config):
        problems = find_problems(config)
        if problems:
            raise ConfigError([f"{'.'.join(map(str, path))}: {reason}" for path, reason in problems])
        self.config = config
        self.digest = config.digest
        self.instruments = len(config.instruments)
        # Sorted, so that equal content gives equal indices whatever the order in the files.
        self.tier_names = tuple(sorted(config.tiers))
        self.counterparty_names = tuple(sorted(config.counterparties))
        self.desk_names = tuple(sorted(config.desks))
        self._tier_index = {name: i for i, name in enumerate(self.tier_names)}
        self._counterparty_index = {name: i for i, name in enumerate(self.counterparty_names)}
        self.session_names = tuple(sorted(config.venue_sessions))
        self._session_index = {name: i for i, name in enumerate(self.session_names)}
        self._sessions = len(self.session_names)
        self._desk_index = {name: i for i, name in enumerate(self.desk_names)}
        self._counterparties = len(self.counterparty_names)
        self._desks = len(self.desk_names)
        self._compile_postures(config)
        self._compile_instruments(config)
        self._compile_tiers(config)
        self._compile_desks(config)
        self._compile_sessions(config)
        self._compile_overrides(config)
        self._compile_calendars(config)

    def __dealloc__(self):
        cdef uint32_t i
        if self._zone != NULL:
            for i in range(self._zones):
                free(self._zone[i].from_s)
                free(self._zone[i].offset_s)
        free(self._zone)
        free(self.instrument)
        free(self._counterparty)
        free(self._tier)
        free(self._desk)
        free(self._session)
        free(self._override)
        free(self._sets)
        free(self._window)
        free(self._calendar)
        free(self._calendar_of)
        free(self._calendar_first)
        free(self._value_prior)
        free(self._average_size_lots)

    def counterparty_index(self, name):
        """Dense index of a counterparty, ``None`` when it is not configured."""
        return self._counterparty_index.get(name)

    def desk_index(self, name):
        """Dense index of a desk, ``None`` when it is not configured."""
        return self._desk_index.get(name)

    def session_index(self, name):
        """Dense index of a venue session, ``None`` when it is not configured."""
        return self._session_index.get(name)

    def tier_of(self, counterparty):
        """Name of the tier that an index (``None``: not configured) falls in, ``None`` when there is none."""
        cdef uint32_t tier = self._tier_of(NO_INDEX if counterparty is None else counterparty)
        return None if tier == NO_INDEX else self.tier_names[tier]

    def resolve_request(self, RequestRecord request, int regime=REGIME_NORMAL, overrides=(), now_ns=None):
        """``resolve`` for tests and tools. ``overrides``: a sequence of ``OverrideSpec``."""
        cdef int64_t at_ns = request.c.now_ns if now_ns is None else now_ns
        cdef Resolution out
        cdef RuntimeOverride* array = _runtime_overrides(overrides)
        try:
            self.resolve(&request.c, regime, array, len(overrides), at_ns, &out)
        finally:
            free(array)
        return PostureChoice(out.requested, out.effective, out.rule, out.rule_index, out.reasons)

    def trace(self, RequestRecord request, overrides=(), now_ns=None):
        """What every rule of ``resolve`` says alone, in order: a list of ``RuleWord``. The first posture counts."""
        cdef int64_t at_ns = request.c.now_ns if now_ns is None else now_ns
        cdef Resolution out
        cdef uint8_t posture
        cdef int rule
        cdef RuntimeOverride* array = _runtime_overrides(overrides)
        words = []
        try:
            for rule in range(FIRST_RULE, RULE_GLOBAL_DEFAULT + 1):
                out.reasons = 0
                posture = self._say(rule, &request.c, array, len(overrides), at_ns, &out)
                words.append(RuleWord(rule, posture, out.rule_index, out.reasons))
        finally:
            free(array)
        return words

    def override_misfits(self, RequestRecord request, now_ns=None):
        """Why each configured override of the request's counterparty does not fit it, in order; "" where it does."""
        cdef int64_t at_ns = request.c.now_ns if now_ns is None else now_ns
        cdef const CounterpartyParams* counterparty
        cdef uint32_t i
        if request.c.counterparty >= self._counterparties:
            return []
        counterparty = &self._counterparty[request.c.counterparty]
        return [
            _MISFITS[self._misfit(&self._override[counterparty.override_first + i], request.c.instrument, at_ns)]
            for i in range(counterparty.override_count)
        ]

    def runtime_misfits(self, RequestRecord request, overrides, now_ns=None):
        """Why each of the operator's ``overrides`` does not fit the request, in order; "" where it does."""
        cdef int64_t at_ns = request.c.now_ns if now_ns is None else now_ns
        cdef RuntimeOverride* array = _runtime_overrides(overrides)
        try:
            return [_MISFITS[_operator_misfit(&array[i], &request.c, at_ns)] for i in range(len(overrides))]
        finally:
            free(array)

    def scheduled_regime(self, uint32_t instrument, int64_t now_ns):
        """``calendar_regime`` as a ``RegimeCode`` number."""
        return self.calendar_regime(instrument, now_ns)

    def prior_fill_rate(self, counterparty):
        """Fill rate of the tier of an index (``None``: not configured), ``None`` when unknown."""
        cdef double value = self.fill_rate(NO_INDEX if counterparty is None else counterparty)
        return value if value == value else None

    def prior_size_lots(self, counterparty, uint32_t instrument):
        """Average size in lots that the tier gives for an instrument, ``None`` when unknown."""
        cdef double value = self.average_size_lots(NO_INDEX if counterparty is None else counterparty, instrument)
        return value if value == value else None

    def answers_not_good(self, desk):
        """Whether a desk (``None``: not configured) gets Risk Averse minimum lives on data that is not GOOD."""
        return bool(self.not_good_risk_averse(NO_INDEX if desk is None else desk))

    def instrument_params(self, uint32_t index):
        """The compiled settings of one instrument, by field name."""
        if index >= self.instruments:
            raise IndexError(index)
        return dict(self.instrument[index])

    cdef void resolve(self, const Request* request, int regime, const RuntimeOverride* overrides, int n_overrides,
                      int64_t now_ns, Resolution* out) noexcept nogil:
        out.reasons = 0
        out.rule = FIRST_RULE
        out.requested = self._say(FIRST_RULE, request, overrides, n_overrides, now_ns, out)
        while out.requested == POSTURE_NONE and out.rule < RULE_GLOBAL_DEFAULT:
            out.rule += 1
            out.requested = self._say(out.rule, request, overrides, n_overrides, now_ns, out)

        out.effective = out.requested
        if regime != REGIME_NORMAL:
            out.effective = POSTURE_RISK_AVERSE
            if out.requested != POSTURE_RISK_AVERSE:
                out.reasons |= WHY_DOWNGRADED
        if regime == REGIME_AUCTION:
            out.reasons |= WHY_AUCTION
        elif regime == REGIME_SCHEDULED_NEWS:
            out.reasons |= WHY_SCHEDULED_NEWS
        elif regime == REGIME_HALT:
            out.reasons |= WHY_HALT

    cdef uint8_t _say(self, int rule, const Request* request, const RuntimeOverride* overrides, int n_overrides,
                      int64_t now_ns, Resolution* out) noexcept nogil:
        # The posture that one rule alone asks for, POSTURE_NONE where it leaves it to the next; its override.
        cdef uint32_t tier
        out.rule_index = NO_INDEX
        if rule == RULE_REQUEST_OVERRIDE:
            return self._from_request(request, out)
        if rule == RULE_RUNTIME_OVERRIDE:
            return _from_operator(request, overrides, n_overrides, now_ns, out)
        if rule == RULE_COUNTERPARTY_OVERRIDE:
            return self._from_counterparty(request, now_ns, out)
        if rule == RULE_COUNTERPARTY_TIER:
            tier = self._tier_of(request.counterparty)
            return self._tier[tier].posture if tier != NO_INDEX else POSTURE_NONE
        if rule == RULE_DESK_DEFAULT:
            return self._desk_of(request.desk).posture
        return self._global_posture

    cdef uint8_t _from_request(self, const Request* request, Resolution* out) noexcept nogil:
        if request.posture == POSTURE_NONE:
            return POSTURE_NONE
        if request.posture > POSTURE_RISK_AVERSE or not self._desk_of(request.desk).allow_request_override:
            out.reasons |= WHY_OVERRIDE_REFUSED
            return POSTURE_NONE
        return request.posture

    cdef uint8_t _from_counterparty(self, const Request* request, int64_t now_ns, Resolution* out) noexcept nogil:
        cdef const CounterpartyParams* counterparty
        cdef const OverrideParams* entry
        cdef uint32_t i
        if request.counterparty >= self._counterparties:
            return POSTURE_NONE
        counterparty = &self._counterparty[request.counterparty]
        for i in range(counterparty.override_count):
            entry = &self._override[counterparty.override_first + i]
            if self._misfit(entry, request.instrument, now_ns) == FITS:
                out.rule_index = i
                return entry.posture
        return POSTURE_NONE

    cdef int _misfit(self, const OverrideParams* entry, uint32_t instrument, int64_t now_ns) noexcept nogil:
        if not self._in_set(entry.instruments, instrument):
            return OTHER_INSTRUMENT
        if entry.window != NO_INDEX and not self._window_open(entry.window, now_ns):
            return WINDOW_SHUT
        return FITS

    cdef bint _in_set(self, uint32_t first_word, uint32_t instrument) noexcept nogil:
        if first_word == NO_INDEX:
            return True
        if instrument >= self.instruments:
            return False
        return (self._sets[first_word + (instrument >> 6)] >> (instrument & 63)) & 1

    cdef const DeskParams* _desk_of(self, uint32_t desk) noexcept nogil:
        return &self._desk[desk] if desk < self._desks else &self._no_desk

    cdef uint32_t _tier_of(self, uint32_t counterparty) noexcept nogil:
        if counterparty < self._counterparties:
            return self._counterparty[counterparty].tier
        return self._unknown_tier

    cdef double fill_rate(self, uint32_t counterparty) noexcept nogil:
        cdef uint32_t tier = self._tier_of(counterparty)
        return self._tier[tier].fill_rate if tier != NO_INDEX else NAN

    cdef const SessionParams* session(self, uint32_t session) noexcept nogil:
        # NULL: none, so that a life goes out as it is.
        return &self._session[session] if session < self._sessions else NULL

    cdef const ValuePrior* value_prior(self, uint32_t counterparty) noexcept nogil:
        cdef uint32_t tier = self._tier_of(counterparty)
        return &self._value_prior[tier if tier != NO_INDEX else self._tiers]

    cdef const ValuePrior* tier_prior(self, uint32_t tier) noexcept nogil:
        # By place in tier_names; beyond them that of counterparties without a tier.
        return &self._value_prior[tier if tier < self._tiers else self._tiers]

    cdef double average_size_lots(self, uint32_t counterparty, uint32_t instrument) noexcept nogil:
        cdef uint32_t tier = self._tier_of(counterparty)
        if tier == NO_INDEX or instrument >= self.instruments:
            return NAN
        return self._average_size_lots[<size_t>tier * self.instruments + instrument]

    cdef bint not_good_risk_averse(self, uint32_t desk) noexcept nogil:
        return self._desk_of(desk).not_good_risk_averse

    cdef const PriceBoundsParams* price_bounds(self, uint32_t desk) noexcept nogil:
        return &self._desk_of(desk).price_bounds

    cdef double desk_exposure_max(self, uint32_t desk) noexcept nogil:
        return self._desk[desk].exposure_max if desk < self._desks else self._no_desk.exposure_max

    cdef int calendar_regime(self, uint32_t instrument, int64_t now_ns) noexcept nogil:
        cdef const CalendarParams* entry
        cdef int found = REGIME_NORMAL
        cdef uint32_t i
        if instrument >= self.instruments:
            return REGIME_NORMAL
        for i in range(self._calendar_first[instrument], self._calendar_first[instrument + 1]):
            entry = &self._calendar[self._calendar_of[i]]
            if entry.regime <= found:      # codes rise with severity: AUCTION, SCHEDULED_NEWS, HALT
                continue
            if entry.window != NO_INDEX:
                if self._window_open(entry.window, now_ns):
                    found = entry.regime
            elif entry.start_ns <= now_ns < entry.end_ns:
                found = entry.regime
        return found

    cdef bint _window_open(self, uint32_t window, int64_t now_ns) noexcept nogil:
        cdef const TimeWindow* open_ = &self._window[window]
        cdef const ZoneTable* zone = &self._zone[open_.zone]
        cdef int64_t utc_s = _floor_div(now_ns, NS_PER_S)
        cdef int64_t local_s, day
        cdef int32_t clock_s, low = 0, high = zone.n - 1, middle
        cdef int weekday
        while low < high:                  # last offset that holds from utc_s or before
            middle = (low + high + 1) // 2
            if zone.from_s[middle] <= utc_s:
                low = middle
            else:
                high = middle - 1
        local_s = utc_s + zone.offset_s[low]
        day = _floor_div(local_s, DAY_S)
        clock_s = <int32_t>(local_s - day * DAY_S)
        weekday = <int>(day + 3 - 7 * _floor_div(day + 3, 7))      # 1970-01-01 was a Thursday
        if open_.from_s < open_.to_s:
            return (open_.days >> weekday) & 1 and open_.from_s <= clock_s < open_.to_s
        if clock_s >= open_.from_s:
            return (open_.days >> weekday) & 1
        return clock_s < open_.to_s and (open_.days >> ((weekday + 6) % 7)) & 1

    cdef int _compile_postures(self, config) except -1:
        for name, code in _POSTURES.items():
            if name is not None:
                self.posture[<int>code] = (<PostureLife>PostureLife(getattr(config.postures, name))).c
        self.regime = regime_params(config.regimes)
        self.risk = (<Risk>Risk(config.risk_inputs)).c
        self._global_posture = _POSTURES[config.defaults.posture]
        return 0

    cdef int _compile_instruments(self, config) except -1:
        cdef InstrumentParams* params
        cdef int k
        index = {each.name: i for i, each in enumerate(config.instruments)}
        index[None] = -1
        self.instrument = <InstrumentParams*>_array(self.instruments, sizeof(InstrumentParams))
        for i, each in enumerate(config.instruments):
            params = &self.instrument[i]
            params.adverse_ticks = each.adverse_ticks
            params.adverse_bps = each.adverse_bps
            params.microprice_spread_ticks_max = each.microprice_spread_ticks_max
            params.stale_gap_multiple = each.stale.gap_multiple
            params.tick_value = float(each.tick_size * each.lot_size)
            params.exposure_max = NAN if each.exposure_max is None else each.exposure_max
            params.stale_min_ns = each.stale.min_ns
            params.stale_max_ns = each.stale.max_ns
            params.warmup_ns = each.warmup_ns
            params.purge_after_ns = each.purge_after_ns
            params.reference = _REFERENCES[each.reference]
            params.book_levels_max = each.book_levels_max
            params.book_orders_max = each.book_orders_max
            params.enabled = each.enabled
            params.quotes_only = each.quotes_only
            params.order_level = each.order_level
            params.volatility_index = -1
            if each.volatility_index is not None:
                params.volatility_index = config.volatility_index(each.volatility_index)
            for k in range(2):
                params.driver[k][0] = params.driver[k][1] = -1
                if k < len(each.drivers):
                    params.driver[k][0] = index[each.drivers[k].numerator]
                    params.driver[k][1] = index[each.drivers[k].denominator]
        return 0

    cdef int _compile_tiers(self, config) except -1:
        self._tier = <TierParams*>_array(len(self.tier_names), sizeof(TierParams))
        self._average_size_lots = <double*>_array(<size_t>len(self.tier_names) * self.instruments, sizeof(double))
        self._value_prior = <ValuePrior*>_array(len(self.tier_names) + 1, sizeof(ValuePrior))
        self._tiers = len(self.tier_names)
        compile_prior(config.defaults.value, &self._value_prior[self._tiers])
        cdef size_t cell = 0
        for i, name in enumerate(self.tier_names):
            tier = config.tiers[name]
            self._tier[i].posture = _POSTURES[tier.posture]
            compile_prior(tier.value, &self._value_prior[<size_t>i])
            self._tier[i].fill_rate = NAN if tier.fill_rate is None else tier.fill_rate
            for each in config.instruments:
                size = tier.average_size.get(each.name)
                self._average_size_lots[cell] = NAN if size is None else float(size / each.lot_size)
                cell += 1
        unknown = config.defaults.unknown_counterparty_tier
        self._unknown_tier = NO_INDEX if unknown is None else self._tier_index[unknown]
        return 0

    cdef int _compile_desks(self, config) except -1:
        defaults = config.defaults
        self._no_desk.posture = POSTURE_NONE
        self._no_desk.allow_request_override = defaults.allow_request_override
        self._no_desk.not_good_risk_averse = defaults.not_good == "risk_averse"
        self._no_desk.price_bounds = _price_bounds(defaults.price_bounds)
        self._no_desk.exposure_max = NAN
        self._desk = <DeskParams*>_array(self._desks, sizeof(DeskParams))
        for i, name in enumerate(self.desk_names):
            desk = config.desks[name]
            self._desk[i].posture = _POSTURES[desk.posture]
            self._desk[i].exposure_max = NAN if desk.exposure_max is None else desk.exposure_max
            self._desk[i].allow_request_override = desk.allow_request_override
            self._desk[i].not_good_risk_averse = (desk.not_good or defaults.not_good) == "risk_averse"
            self._desk[i].price_bounds = _price_bounds(desk.price_bounds or defaults.price_bounds)
        return 0

    cdef int _compile_sessions(self, config) except -1:
        self._session = <SessionParams*>_array(self._sessions, sizeof(SessionParams))
        for i, name in enumerate(self.session_names):
            session = config.venue_sessions[name]
            self._session[i].actuation = _ACTUATIONS[session.actuation]
            self._session[i].granularity_ns = session.granularity_ns
            self._session[i].life_min_ns = session.life_min_ns
            self._session[i].life_max_ns = INT64_MAX if session.life_max_ns is None else session.life_max_ns
            self._session[i].transit_ns = session.transit_ns
            self._session[i].cancel_ns = 0 if session.cancels_per_s is None else round(1e9 / session.cancels_per_s)
            self._session[i].cancels_burst = session.cancels_burst
        return 0

    cdef int _compile_overrides(self, config) except -1:
        # Windows and zones are shared with the calendar: both lists are laid out here in one go.
        windows, zones = {}, {}
        for entry in config.calendars:
            if entry.window is not None:
                windows.setdefault(entry.window, len(windows))
        overrides, sets = [], []
        words = (self.instruments + 63) // 64
        index = {each.name: i for i, each in enumerate(config.instruments)}
        self._counterparty = <CounterpartyParams*>_array(self._counterparties, sizeof(CounterpartyParams))
        for i, name in enumerate(self.counterparty_names):
            counterparty = config.counterparties[name]
            self._counterparty[i].tier = NO_INDEX if counterparty.tier is None else self._tier_index[counterparty.tier]
            self._counterparty[i].override_first = len(overrides)
            self._counterparty[i].override_count = len(counterparty.overrides)
            for override in counterparty.overrides:
                if override.window is not None:
                    windows.setdefault(override.window, len(windows))
                overrides.append(override)
        self._override = <OverrideParams*>_array(len(overrides), sizeof(OverrideParams))
        for i, override in enumerate(overrides):
            self._override[i].posture = _POSTURES[override.posture]
            self._override[i].window = NO_INDEX if override.window is None else windows[override.window]
            self._override[i].instruments = NO_INDEX
            if override.instruments is not None:
                self._override[i].instruments = len(sets) * words
                sets.append([index[each] for each in override.instruments])
        self._sets = <uint64_t*>_array(len(sets) * words, sizeof(uint64_t))
        for i, members in enumerate(sets):
            for member in members:
                self._sets[<size_t>(i * words + member // 64)] |= (<uint64_t>1) << <int>(member % 64)
        self._window = <TimeWindow*>_array(len(windows), sizeof(TimeWindow))
        for window, i in windows.items():
            self._window[<size_t>i].zone = zones.setdefault(window.timezone, len(zones))
            self._window[<size_t>i].from_s = window.from_s
            self._window[<size_t>i].to_s = window.to_s
            self._window[<size_t>i].days = sum(1 << DAYS.index(day) for day in window.days)
        self._zone = <ZoneTable*>_array(len(zones), sizeof(ZoneTable))
        self._zones = len(zones)
        for name, i in zones.items():
            starts, offsets = offset_table(name)
            self._compile_zone(&self._zone[<size_t>i], starts, offsets)
        self._window_index = windows
        return 0

    cdef int _compile_zone(self, ZoneTable* zone, starts, offsets) except -1:
        zone.n = len(starts)
        zone.from_s = <int64_t*>_array(len(starts), sizeof(int64_t))
        zone.offset_s = <int32_t*>_array(len(starts), sizeof(int32_t))
        for i in range(len(starts)):
            zone.from_s[<size_t>i] = starts[i]
            zone.offset_s[<size_t>i] = offsets[i]
        return 0

    cdef int _compile_calendars(self, config) except -1:
        cdef uint32_t i = 0
        by_instrument = [[] for _ in range(self.instruments)]
        times = [[(0, 0)] if each.window is not None else each.spans() for each in config.calendars]
        self._calendar = <CalendarParams*>_array(sum(map(len, times)), sizeof(CalendarParams))
        for entry, spans in zip(config.calendars, times):
            about = config.calendar_instruments(entry)
            for start_ns, end_ns in spans:
                self._calendar[i].regime = _REGIMES[entry.regime]
                self._calendar[i].window = NO_INDEX if entry.window is None else self._window_index[entry.window]
                self._calendar[i].start_ns = start_ns
                self._calendar[i].end_ns = end_ns
                for each in about:
                    by_instrument[each].append(i)
                i += 1
        self._calendar_first = <uint32_t*>_array(self.instruments + 1, sizeof(uint32_t))
        self._calendar_of = <uint32_t*>_array(sum(map(len, by_instrument)), sizeof(uint32_t))
        cdef uint32_t place = 0
        for i in range(self.instruments):
            self._calendar_first[i] = place
            entries = by_instrument[i]
            for entry in entries:
                self._calendar_of[place] = entry
                place += 1
        self._calendar_first[self.instruments] = place
        return 0


cdef int _operator_misfit(const RuntimeOverride* entry, const Request* request, int64_t now_ns) noexcept nogil:
    if now_ns >= entry.expires_ns:
        return EXPIRED
    if not _fits(entry.counterparty, request.counterparty):
        return OTHER_COUNTERPARTY
    if not _fits(entry.desk, request.desk):
        return OTHER_DESK
    if not _fits(entry.instrument, request.instrument):
        return OTHER_INSTRUMENT
    return FITS


cdef PriceBoundsParams _price_bounds(settings):
    cdef PriceBoundsParams bounds
    bounds.share = settings.bps * 1e-4
    bounds.spreads = settings.spreads
    bounds.edge_widens_max = settings.edge_widens_max
    bounds.beyond_kind = DECISION_INDICATIVE if settings.beyond == "indicative" else DECISION_DECLINE
    bounds.refuse_negative_edge = settings.negative_edge == "refuse"
    return bounds


cdef uint8_t _from_operator(const Request* request, const RuntimeOverride* overrides, int n_overrides,
                            int64_t now_ns, Resolution* out) noexcept nogil:
    # The most specific one in force; of equally specific ones the latest.
    cdef int i, specific, best = -1
    cdef uint8_t posture = POSTURE_NONE
    for i in range(n_overrides):
        if _operator_misfit(&overrides[i], request, now_ns) != FITS:
            continue
        specific = ((overrides[i].counterparty != NO_INDEX) + (overrides[i].desk != NO_INDEX)
                    + (overrides[i].instrument != NO_INDEX))
        if specific >= best:
            best = specific
            posture = overrides[i].posture
            out.rule_index = overrides[i].id
    return posture
