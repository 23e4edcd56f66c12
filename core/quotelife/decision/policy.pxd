# A configuration compiled to flat C arrays: immutable, swapped whole, read without the GIL.
from libc.stdint cimport int32_t, int64_t, uint8_t, uint32_t, uint64_t

from quotelife.decision.expected_value cimport ValuePrior
from quotelife.decision.life cimport LifeResult, PostureParams, StepRow
from quotelife.decision.regime cimport RegimeParams
from quotelife.decision.risk cimport RiskParams
from quotelife.records cimport Request

cdef enum Reference:
    REF_AUTO = 0                       # microprice while the spread is tight, else mid
    REF_MID = 1
    REF_MICROPRICE = 2

cdef enum:
    POSTURES = 4                       # array room by records.Posture, entry 0 unused

cdef struct Resolution:
    uint8_t requested                  # records.Posture chosen by the order of ``policy.pyx``
    uint8_t effective                  # after the regime: never less careful than requested
    uint8_t rule                       # records.Rule
    uint32_t rule_index                # the override that chose: its place in its list, its id for an operator's;
                                       # NO_INDEX otherwise
    uint64_t reasons                   # records.Reason

cdef struct RuntimeOverride:
    int64_t expires_ns                 # in force while now < expires_ns
    uint32_t id                        # told as Decision.rule_index: places change when others end
    uint32_t counterparty              # NO_INDEX: any
    uint32_t desk
    uint32_t instrument
    uint8_t posture

cdef struct InstrumentParams:
    double adverse_ticks
    double adverse_bps
    double microprice_spread_ticks_max
    double stale_gap_multiple
    double tick_value                  # money: tick size times lot size
    double exposure_max                # money; NaN: without bound
    int64_t stale_min_ns
    int64_t stale_max_ns
    int64_t warmup_ns
    int64_t purge_after_ns
    int reference                      # Reference
    int driver[2][2]                   # numerator and denominator index, -1 none
    int volatility_index               # -1 none
    int32_t book_levels_max
    int32_t book_orders_max
    bint enabled
    bint quotes_only                   # no depth feed: the view is the QUOTE
    bint order_level                   # orders by id, not levels

cdef struct TimeWindow:                # local wall time, seconds since midnight; to < from crosses midnight
    uint32_t zone
    int32_t from_s
    int32_t to_s
    uint8_t days                       # bit 0 = Monday; the day on which the window opens

cdef struct ZoneTable:                 # UTC offsets of one time zone
    int32_t n
    int64_t* from_s                    # ascending UTC seconds; offset_s[i] holds from from_s[i]
    int32_t* offset_s

cdef struct OverrideParams:
    uint32_t instruments               # first word of its instrument set, NO_INDEX: all
    uint32_t window                    # NO_INDEX: always
    uint8_t posture

cdef struct CounterpartyParams:
    uint32_t tier                      # NO_INDEX none
    uint32_t override_first
    uint32_t override_count

cdef struct TierParams:
    uint8_t posture                    # POSTURE_NONE: the tier leaves it to the desk
    double fill_rate                   # NaN unknown

cdef struct PriceBoundsParams:
    double share                       # of the mid
    double spreads                     # of the spread; the wider counts
    double edge_widens_max             # how often the threshold without edge, or the spread
    uint8_t beyond_kind                # records.DecisionKind of what lies beyond
    bint refuse_negative_edge

cdef struct DeskParams:
    PriceBoundsParams price_bounds
    double exposure_max                # money; NaN: without bound
    uint8_t posture                    # POSTURE_NONE: the desk leaves it to the global default
    bint allow_request_override
    bint not_good_risk_averse

cdef struct SessionParams:             # a venue session
    int64_t granularity_ns
    int64_t life_min_ns
    int64_t life_max_ns                # INT64_MAX: none
    int64_t transit_ns
    int64_t cancel_ns                  # between two withdrawals in the long run; 0: as many as there are
    int64_t cancels_burst
    uint8_t actuation                  # records.Actuation

cdef struct CalendarParams:
    uint8_t regime                     # records.Regime
    uint32_t window                    # NO_INDEX: dated
    int64_t start_ns                   # dated: [start, end)
    int64_t end_ns


cdef class Policy:
    cdef PostureParams posture[POSTURES]
    cdef RegimeParams regime
    cdef RiskParams risk
    cdef InstrumentParams* instrument          # by dense index
    cdef readonly uint32_t instruments

    cdef CounterpartyParams* _counterparty
    cdef TierParams* _tier
    cdef DeskParams* _desk
    cdef SessionParams* _session
    cdef OverrideParams* _override
    cdef uint64_t* _sets                       # instrument sets of overrides, a bit an instrument
    cdef TimeWindow* _window
    cdef ZoneTable* _zone
    cdef CalendarParams* _calendar
    cdef uint32_t* _calendar_of                # calendar entries by instrument, concatenated
    cdef uint32_t* _calendar_first             # instruments + 1 offsets into it
    cdef ValuePrior* _value_prior              # by tier; the last is for counterparties without one
    cdef double* _average_size_lots            # tiers x instruments, NaN unknown
    cdef uint32_t _counterparties
    cdef uint32_t _desks
    cdef uint32_t _tiers
    cdef uint32_t _sessions
    cdef uint32_t _zones
    cdef uint32_t _unknown_tier                # tier of a counterparty that is not configured
    cdef uint8_t _global_posture
    cdef DeskParams _no_desk
    cdef dict _counterparty_index
    cdef dict _desk_index
    cdef dict _session_index
    cdef dict _tier_index
    cdef dict _window_index
    cdef readonly tuple counterparty_names     # by dense index
    cdef readonly tuple desk_names
    cdef readonly tuple tier_names
    cdef readonly tuple session_names
    cdef readonly object config
    cdef readonly str digest

    cdef void resolve(self, const Request* request, int regime, const RuntimeOverride* overrides, int n_overrides,
                      int64_t now_ns, Resolution* out) noexcept nogil
    cdef int calendar_regime(self, uint32_t instrument, int64_t now_ns) noexcept nogil
    cdef double fill_rate(self, uint32_t counterparty) noexcept nogil
    cdef const SessionParams* session(self, uint32_t session) noexcept nogil
    cdef const ValuePrior* value_prior(self, uint32_t counterparty) noexcept nogil
    cdef const ValuePrior* tier_prior(self, uint32_t tier) noexcept nogil
    cdef double average_size_lots(self, uint32_t counterparty, uint32_t instrument) noexcept nogil
    cdef bint not_good_risk_averse(self, uint32_t desk) noexcept nogil
    cdef const PriceBoundsParams* price_bounds(self, uint32_t desk) noexcept nogil
    cdef double desk_exposure_max(self, uint32_t desk) noexcept nogil
    cdef uint32_t _tier_of(self, uint32_t counterparty) noexcept nogil
    cdef const DeskParams* _desk_of(self, uint32_t desk) noexcept nogil
    cdef bint _in_set(self, uint32_t first_word, uint32_t instrument) noexcept nogil
    cdef uint8_t _say(self, int rule, const Request* request, const RuntimeOverride* overrides, int n_overrides,
                      int64_t now_ns, Resolution* out) noexcept nogil
    cdef int _misfit(self, const OverrideParams* entry, uint32_t instrument, int64_t now_ns) noexcept nogil
    cdef uint8_t _from_request(self, const Request* request, Resolution* out) noexcept nogil
    cdef uint8_t _from_counterparty(self, const Request* request, int64_t now_ns, Resolution* out) noexcept nogil
    cdef bint _window_open(self, uint32_t window, int64_t now_ns) noexcept nogil
    cdef int _compile_postures(self, config) except -1
    cdef int _compile_instruments(self, config) except -1
    cdef int _compile_tiers(self, config) except -1
    cdef int _compile_desks(self, config) except -1
    cdef int _compile_sessions(self, config) except -1
    cdef int _compile_overrides(self, config) except -1
    cdef int _compile_zone(self, ZoneTable* zone, starts, offsets) except -1
    cdef int _compile_calendars(self, config) except -1
