# The engine: the one place that wires events, book, features, model and decision together.
from libc.stdint cimport int64_t, uint8_t, uint32_t, uint64_t

from quotelife.book.level_book cimport LevelBook
from quotelife.book.order_book cimport OrderBook
from quotelife.book.quality cimport QualityRecord, Verdict
from quotelife.decision.kill cimport KillSwitch
from quotelife.decision.life cimport PostureParams
from quotelife.decision.learned_prior cimport LearnedPriors
from quotelife.decision.policy cimport InstrumentParams, Policy, PriceBoundsParams, RuntimeOverride
from quotelife.decision.regime cimport RegimeState
from quotelife.decision.throttle cimport Throttle
from quotelife.features.greeks cimport Greeks
from quotelife.features.state cimport FeatureParams, FeatureState, SharedSignals
from quotelife.counterparty.marks cimport Marks
from quotelife.counterparty.posterior cimport Counterparties
from quotelife.decision.expected_value cimport ValuePrior
from quotelife.decision.held_tolerance cimport Held
from quotelife.decision.package cimport PACKAGE_LEGS_MAX
from quotelife.decision.policy cimport POSTURES
from quotelife.model.curve cimport CurveModel
from quotelife.model.ladder cimport Monitors
from quotelife.model.open_labels cimport LABEL_ANCHORS, WATCHED, OpenLabel, OpenLabels, ResolvedLabel
from quotelife.model.recalibration cimport AnchorGrid, CalibrationPair, Rolling, RollingCalibration
from quotelife.model.served cimport SERVED_SHADOWS_MAX, ModelSlot, ServedModels
from quotelife.quotes.live_quotes cimport LiveQuote
from quotelife.quotes.watching cimport Watching
from quotelife.records cimport Decision, DecisionRecord, Event, LabelRecord, Request, RequestRecord, ShadowAnswer, Signal, WatchRecord

cdef enum:
    STRESS_CADENCE_NS = 1_000_000   # stress, and with it quality, is judged at most this often between decisions

cdef enum:
    OVERRIDES_MAX = 1024       # runtime overrides alive at once
    REGIMES = 5

cdef enum:
    ANNOUNCED_MAX = 32         # events of the calendar not yet over, for one instrument, and as many for all of them

cdef struct CalendarEntry:
    int64_t from_ns
    int64_t until_ns
    uint64_t id
    uint8_t regime

cdef struct CalendarList:
    CalendarEntry entry[ANNOUNCED_MAX]
    int n

cdef enum:
    FOLLOWED_MAX = 16          # models whose level is followed; one more takes the place of the longest unserved

cdef struct Followed:
    uint64_t model             # first 16 digits of the digest
    uint64_t served_at         # input that it was last seen serving at
    const ModelSlot* slot      # while it serves; NULL: it does not, and what it knows fades with its labels

cdef struct Group:             # instruments that learn together
    Rolling* calibration[FOLLOWED_MAX]     # by place in the engine's _followed; NULL: no label so far, the identity
    Held held[POSTURES]        # by records.Posture
    Held noted[POSTURES]       # of them, what was written down last …
    int64_t noted_ns           # … and when

cdef enum BookState:
    BOOK_WAITING = 0           # never whole so far
    BOOK_WHOLE = 1
    BOOK_GAPPED = 2            # was whole or on the way to it; messages were lost

cdef struct InstrumentState:
    LevelBook book
    OrderBook orders           # what the levels are summed from, on order-level instruments
    FeatureState* features
    Greeks greeks              # of an option, from its venue or from signals
    RegimeState stress
    int64_t last_book_ns       # last message of the stream that the book is built from, empty ones among them
    int64_t last_quote_ns      # last QUOTE
    int64_t last_alive_ns      # last message of any kind, heartbeats among them
    int64_t unanswered_ns      # first trade or quote since last_book_ns; 0: none
    int64_t whole_since_ns
    int64_t crossed_since_ns   # an order-level book has stood crossed since; 0: it does not
    int64_t regime_since_ns    # start of the time not yet booked in regime_ns; -1 before the first look
    int64_t stress_checked_ns
    int64_t regime_ns[REGIMES]
    QualityRecord quality
    OpenLabels labels          # decisions and probes whose first passage is not known yet
    double* raws               # by place in labels' pool, followed model and anchor: P as the model gave it, NaN: not asked
    int raws_width             # models that raws has room for: those followed when the last label was opened
    double seen[WATCHED]       # where the market stands by the last stamp judged; while labels are open
    int64_t stamp_ns           # of the last message, whose end is not judged yet; 0: it is
    int64_t heard_ns           # of the stamp judged last
    uint64_t gaps_judged       # gaps by then
    int64_t silent_ns          # the silence before stamp_ns was too long from then on; INT64_MAX: it was not
    int64_t probe_ns           # when the next probe is due
    uint64_t probes            # so far
    uint32_t group
    uint32_t instrument        # its own index
    CalendarList announced     # events of the calendar, for this instrument
    double gap_sum             # of the times between book messages, and of their squares, both forgotten over
    double gap_square_sum      # RHYTHM_NS: their ratio is the silence to be expected at a random moment
    uint64_t reasons           # why the instrument is in its regime
    uint64_t events
    uint64_t messages
    uint64_t gaps
    uint64_t resyncs
    uint64_t crossed
    uint64_t unsupported
    uint64_t unsided_trades    # told without an aggressor …
    uint64_t undecided_trades  # … of which the middle of the book could not decide either
    uint64_t decisions
    uint64_t declines
    uint64_t stress_entries
    uint8_t book_state
    uint8_t distrust           # Cause of the last time the book was distrusted
    uint8_t regime
    bint in_snapshot
    bint every_order
    bint dirty                 # the message under way touched the book
    bint halted
    bint closed                # halted because the market is closed
    bint auction
    uint8_t companions_down    # feeds beside the book's own that are lost

cdef struct PackageLeg:             # what is known of a leg while its package is put together
    double tick                     # in price units
    double reference_ticks          # NaN: no price is known
    double spread_ticks
    double h_ticks                  # its own threshold, without edge
    uint32_t underlying             # NO_INDEX: no greeks that hold
    bint in_underlying              # its price is in units of the underlying

cdef class Engine:
    cdef InstrumentState** states
    cdef uint32_t n_instruments
    cdef SharedSignals* shared
    cdef CalendarList announced                      # events of the calendar, for all instruments
    cdef dict _event_names                           # what those events and those of the instruments are called
    cdef FeatureParams feature_params
    cdef Policy _policy
    cdef ServedModels _served
    cdef ShadowAnswer _shadows[SERVED_SHADOWS_MAX + 1]   # of the last decision; the challenger's champion is one
    cdef int _n_shadows
    cdef Decision _again                             # a shadow's, while it is being taken
    cdef object _config
    cdef object _instruments
    cdef readonly int64_t now_ns
    cdef readonly uint64_t input_sequence
    cdef readonly uint32_t config_revision
    cdef readonly uint32_t model_revision
    cdef readonly uint64_t unknown_events
    cdef RuntimeOverride overrides_c[OVERRIDES_MAX]
    cdef int n_overrides
    cdef public uint32_t next_override_id  # a restart moves it on, so that no id comes twice
    cdef KillSwitch _killed
    cdef Throttle _throttle
    cdef bint _trip                                  # the decision just made tripped a throttle released by hand
    cdef tuple _sinks          # of InputSink
    cdef int _sinks_n
    cdef LabelRecord* _labels  # resolved by the input under way, not told yet
    cdef size_t _labels_n
    cdef size_t _labels_room
    cdef uint64_t _labels_told # number of the last
    cdef Group* groups
    cdef list _group_names     # in the order of groups, which only grows
    cdef uint32_t _n_groups
    cdef uint32_t _refit_next  # group that the next timer begins behind
    cdef uint32_t _probe_next  # instrument probed last by a timer
    cdef uint32_t _note_next   # and the next note_learned
    cdef AnchorGrid anchors    # of the recalibration
    cdef RollingCalibration _like          # of which each group has one for each model; None: off
    cdef object _learns_by     # its settings
    cdef Followed _followed[FOLLOWED_MAX]
    cdef int _n_followed
    cdef double _raws[FOLLOWED_MAX][LABEL_ANCHORS]     # of the decision or probe under way
    cdef bint _watching        # labels are wanted at all
    cdef Monitors _monitors
    cdef list _members         # by group: indices of its instruments
    cdef list _to_step         # (new group, one that is down and had its instruments)
    cdef int64_t _probe_interval_ns        # 0: no probes
    cdef uint32_t _lessons     # models that labels have come to since they were last asked to fit: bits by place
    cdef int64_t _latency_ns               # from a decision until its quote can be hit
    cdef double _raw[LABEL_ANCHORS]        # P at the anchors as the model gave it to the latest _judge; NaN: none
    cdef double _own[LABEL_ANCHORS]        # and as calibrated, before a package adds to it
    cdef dict _by_hash         # instruments' indices by the hash of their names
    cdef tuple _underlying_of  # by instrument: index of its configured underlying, or None
    cdef Decision _probed      # room for a probe
    cdef Watching _quotes      # live quotes that are watched
    cdef ValuePrior _aged      # room for what is assumed of who has not accepted a live quote so far
    cdef Decision _hinted      # room for what a new quote in the place of one just ended would get
    cdef double _withdraw_at
    cdef double _legs_room     # money that caps leave a package for one tick of its h; NaN: all of it
    cdef int _legs_n           # instruments of its legs so far, and what each has of its h
    cdef uint32_t _legs_at[PACKAGE_LEGS_MAX]
    cdef double _legs_share[PACKAGE_LEGS_MAX]
    cdef int64_t _judge_every_ns
    cdef uint32_t _judge_most
    cdef uint32_t _hints_most
    cdef Counterparties _counterparties
    cdef Marks _marks          # theirs
    cdef LearnedPriors _priors # by their places

    cpdef int decide(self, RequestRecord request, DecisionRecord decision) except -1
    cpdef CurveModel model_of(self, DecisionRecord decision)
    cdef uint64_t kill_changes_c(self) noexcept
    cdef void advance(self, int64_t t) noexcept nogil
    cdef void on_event_c(self, const Event* event) noexcept nogil
    cdef void _fetch(self, const Event* event) noexcept nogil
    cdef void _fetch_features(self, const Event* event) noexcept nogil
    cdef void _fetch_slots(self, const Event* event) noexcept nogil
    cdef bint on_signal_c(self, const Signal* signal) noexcept nogil
    cdef bint _on_calendar(self, const Signal* signal) noexcept nogil
    cdef void decide_c(self, const Request* request, Decision* decision) noexcept nogil
    cdef Verdict quality_c(self, const InstrumentState* state, const InstrumentParams* params,
                           int64_t t) noexcept nogil
    cdef void heard(self, InstrumentState* state, const InstrumentParams* params, const Event* event,
                    int64_t t) noexcept nogil
    cdef void look(self, InstrumentState* state, const InstrumentParams* params, int64_t t) noexcept nogil
    cdef void update_regime(self, InstrumentState* state, uint32_t instrument, int64_t t) noexcept nogil
    cdef bint apply_signal(self, const Signal* signal) except -1
    cdef int told(self, const Request* request, const Decision* decision) except -1
    cdef int _tell(self, int kind, dict payload, int64_t now_ns) except -1
    cdef void drop_expired_overrides(self, int64_t t) noexcept nogil
    cdef object _serve(self, ServedModels served, int64_t now_ns, because=*)
    cdef int _make_states(self, uint32_t n, Policy policy) except -1
    cdef int _wire_drivers(self) except -1
    cdef int _follow_names(self, Policy policy) except -1
    cdef void _on_trade(self, InstrumentState* state, const Event* event, int64_t t) noexcept nogil
    cdef void _distrust(self, InstrumentState* state, int64_t t, bint gap, int cause) noexcept nogil
    cdef void _on_order(self, InstrumentState* state, const Event* event, int64_t t) noexcept nogil
    cdef bint _orders_broken(self, InstrumentState* state, int64_t t) noexcept nogil
    cdef void _on_published(self, InstrumentState* state, const InstrumentParams* params, const Event* event,
                            int64_t t) noexcept nogil
    cdef bint _uncross(self, InstrumentState* state, const InstrumentParams* params, int64_t t) noexcept nogil
    cdef void _on_status(self, InstrumentState* state, uint32_t instrument, int64_t code, int64_t t) noexcept nogil
    cdef void redo_c(self, const Request* request, const Decision* recorded, const ModelSlot* model,
                     const double* calibration, Decision* out) noexcept nogil
    cdef void _ask_shadows(self, const Request* request, const Decision* decision) noexcept nogil
    cdef void _ask_shadow(self, const Request* request, const Decision* decision, const ModelSlot* model,
                          const double* calibration) noexcept nogil
    cdef object _news_of(self, Group* group)
    cdef int _inherit(self, size_t group, came) except -1
    cdef int _follow_models(self) except -1
    cdef int _free_place(self) noexcept nogil
    cdef bint _known(self, int place) noexcept nogil
    cdef bint _make_room(self, InstrumentState* state) noexcept nogil
    cdef int64_t _probe_after(self, const InstrumentState* state, int64_t t) noexcept nogil
    cdef void _probe_some(self, int64_t t) noexcept nogil
    cdef void _forget(self, int place) noexcept nogil
    cdef void _asked(self, const ModelSlot* model, const double* raw) noexcept nogil
    cdef void _pairs_of(self, const InstrumentState* state, const ModelSlot* model, double* out) noexcept nogil
    cdef void _teach(self, InstrumentState* state, const ResolvedLabel* part) noexcept nogil
    cdef void _observe(self, InstrumentState* state, const InstrumentParams* params, const Request* request,
                       bint asked, Decision* out) noexcept nogil
    cdef bint _frame(self, const InstrumentParams* params, const Request* request, Decision* out) noexcept nogil
    cdef void _features(self, InstrumentState* state, const InstrumentParams* params, const Request* request,
                        Decision* out) noexcept nogil
    cdef void _judge(self, const InstrumentParams* params, const Request* request, const ModelSlot* model,
                     Decision* out) noexcept nogil
    cdef void _judge_value(self, const Request* request, const PostureParams* posture, Decision* out,
                           int64_t age) noexcept nogil
    cdef void _take_marks(self, int64_t t) noexcept nogil
    cdef void _take_past_marks(self, int64_t t) noexcept nogil
    cdef int _assume(self, list places) except -1
    cdef const ValuePrior* _prior_now(self, uint32_t counterparty) noexcept nogil
    cdef void _know(self, const Request* request, Decision* out) noexcept nogil
    cdef object _rolling_of(self, object config)
    cdef int _learn(self, object config, RollingCalibration like) except -1
    cdef void _learned(self, const InstrumentState* state, const ModelSlot* model, Decision* out) noexcept nogil
    cdef void _refit_some(self, int64_t t) noexcept nogil
    cdef int _drop_steps(self, int64_t now_ns) except -1
    cdef void _stamp_ends(self, InstrumentState* state, const InstrumentParams* params, int64_t t) noexcept nogil
    cdef void _listen(self, InstrumentState* state, const InstrumentParams* params, int64_t t) noexcept nogil
    cdef void _judge_stamp(self, InstrumentState* state, const InstrumentParams* params, int64_t heard_ns,
                           int64_t silent_ns, bint lost) noexcept nogil
    cdef void _resolved(self, InstrumentState* state, const ResolvedLabel* part) noexcept nogil
    cdef void _hole(self, InstrumentState* state, int64_t t, int64_t decided_ns) noexcept nogil
    cdef void _hold(self, LabelRecord* label) noexcept nogil
    cdef void _note_label(self, const LabelRecord* label) noexcept nogil
    cdef int _tell_derived(self) except -1
    cdef void _lose(self, InstrumentState* state, int64_t t, int64_t live_before_ns) noexcept nogil
    cdef void _watch(self, InstrumentState* state, const InstrumentParams* params, int64_t t, int side, double left,
                     OpenLabel* label) noexcept nogil
    cdef void _watch_decision(self, InstrumentState* state, const InstrumentParams* params, const ModelSlot* model,
                              const double* own, bint lives, const Request* request,
                              const Decision* out) noexcept nogil
    cdef bint _probe(self, InstrumentState* state, const InstrumentParams* params, int64_t t) noexcept nogil
    cdef void _settle(self, const Request* request, const PostureParams* posture, Decision* out,
                      int64_t age) noexcept nogil
    cdef int _follow_watch(self, object config, object sessions_before) except -1
    cdef void _time_quotes(self) noexcept nogil
    cdef void _look_at_watched(self, int64_t t) noexcept nogil
    cdef void _move_quotes(self, InstrumentState* state) noexcept nogil
    cdef void _kill_quotes(self) noexcept nogil
    cdef void _hint_some(self, size_t first) noexcept nogil
    cdef int64_t _life_now(self, uint32_t place) noexcept nogil
    cdef void _judge_quotes(self, int64_t t) noexcept nogil
    cdef bint _worth_nothing(self, uint32_t place, int64_t t, double* value) noexcept nogil
    cdef int _open_quote(self, dict payload, int64_t now_ns) except -1
    cdef int _look_at_new(self, uint32_t place, dict payload, uint8_t reason) except -1
    cdef object _quote_status(self, uint32_t place)
    cdef int _name_quote(self, LiveQuote* quote, object names) except -1
    cdef int _regime_at(self, const InstrumentState* state, RegimeState* judged, int64_t t,
                        uint64_t* reasons) noexcept nogil
    cdef int _name_underlyings(self) except -1
    cdef int _alone(self, RequestRecord leg) except -1
    cdef int _look_at_leg(self, Request* request, PackageLeg* leg) except -1
    cdef uint32_t _one_underlying(self, list chain, PackageLeg* leg) except? 0
    cdef RequestRecord _package_of(self, list chain, PackageLeg* leg)
    cdef double _spot(self, uint32_t instrument)
    cdef uint64_t _too_far(self, const Request* of, const PriceBoundsParams* bounds, double market, double level,
                           double width, double edge) noexcept nogil
    cdef void _worst_of(self, Request* request, Request* of, bint counts) noexcept nogil
    cdef void _most_careful(self, const Request* request, Request* of, int64_t t) noexcept nogil
    cdef double _room(self, uint32_t instrument, uint32_t desk) noexcept nogil
    cdef double _desk_room(self, uint32_t desk) noexcept nogil
    cdef void _take_room(self, const Request* leg, const Decision* out) noexcept nogil
    cdef const ValuePrior* _prior_of(self, const Request* request, const Decision* out) noexcept nogil
    cdef bint _fit_exposure(self, const Request* request, const PostureParams* posture, Decision* out,
                            int64_t age) noexcept nogil
