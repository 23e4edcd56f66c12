# Fixed-size records: what goes into the engine (Event, Signal, Request) and what comes out (Decision).
# Layouts are pinned by tests/core/test_records.py and mirrored by the numpy dtypes in records.pyx.
from libc.stdint cimport int8_t, int32_t, int64_t, uint8_t, uint16_t, uint32_t, uint64_t

cdef enum:
    HORIZONS = 12          # points of the adverse-selection curve
    FEATURES_MAX = 128     # room in a Decision; the schema says how many are in use
    VALID_WORDS = 2        # FEATURES_MAX / 64
    RISK_INPUTS = 12       # inputs a posture may weight

cdef enum:
    NO_INDEX = 0xFFFFFFFF  # "none" or "all" for instrument, counterparty, desk
    EVERY_ORDER = 1        # aux of a SNAPSHOT_BEGIN: every order is told, a record that fits none proves the book wrong

cdef enum EventKind:
    EV_ADD = 1               # a new resting order; one of that id that rests already is replaced
    EV_MODIFY = 2            # the order now rests at price with size (absolute, 0: no more); side as before; aux is
                             # its id from now on, 0: as before
    EV_CANCEL = 3            # size lots less of it; 0: all that is left
    EV_EXECUTE = 4           # size lots of the resting order traded, 0: all that is left; its side is the passive one,
                             # price is the trade's, 0: the order's own. It is the trade too: no EV_TRADE follows
    EV_TRADE = 5             # side = aggressor, none: not told, the middle of the book decides; on order-level
                             # instruments only what no EXECUTE tells: hidden orders
    EV_LEVEL = 6             # absolute size at a price, 0 removes the level
    EV_QUOTE = 7             # best bid and offer; sides may be empty (size 0). On order-level instruments the
                             # venue's published best, which tells stale orders
    EV_SNAPSHOT_BEGIN = 8    # the book is emptied; levels follow. aux EVERY_ORDER: all orders there are, and are to be
    EV_SNAPSHOT_END = 9      # the book is whole again as of sequence. size above 0: the snapshot told so many levels a
                             # side and no more, the last bid at price, the last ask at order_id; a price of 0: all of
                             # that side. Of what lies beyond only what has changed since is known
    EV_CLEAR = 10            # the book is not to be trusted any more; FLAG_GAP says that messages were lost
    EV_STATUS = 11           # aux holds a StatusCode

cdef enum Side:
    SIDE_NONE = 0
    SIDE_BID = 1             # resting bid; for EV_TRADE the buyer was the aggressor
    SIDE_ASK = 2             # resting ask; for EV_TRADE the seller was the aggressor

cdef enum EventFlag:
    FLAG_LAST = 1            # last record of a venue message: evaluate here only
    FLAG_SNAPSHOT = 2        # belongs to a snapshot; a record outside of one: a correction of the book, not order flow
    FLAG_GAP = 4             # sequence broken
    FLAG_NO_SIZE = 8         # QUOTE: the venue gives no sizes; a side that is there has 1 lot, which means nothing

cdef enum StatusCode:
    STATUS_TRADING = 1
    STATUS_HALT = 2
    STATUS_AUCTION = 3
    STATUS_CLOSED = 4
    STATUS_FEED_DOWN = 5     # the connection is lost; instrument NO_INDEX = all of the engine
    STATUS_FEED_UP = 6
    STATUS_HEARTBEAT = 7     # the venue is alive, nothing changed
    STATUS_MISSING = 8       # messages are missing and will be told late: the book is not to be trusted until
                             # SNAPSHOT_END, but what rests stays, and what follows goes on from there
    STATUS_COMPANION_DOWN = 9    # a feed beside the book's own (trades, quotes) is lost: nothing is to be trusted until
    STATUS_COMPANION_UP = 10     # it stands again; the book stays. One DOWN and one UP in turn from each such feed

cdef struct Event:           # 64 bytes, one cache line
    int64_t exchange_ns      # venue time, 0 if the venue gives none
    int64_t receive_ns       # local stamp
    int64_t sequence         # venue sequence (Binance: u / lastUpdateId)
    int64_t price_ticks      # QUOTE: bid price; SNAPSHOT_END: lowest bid told
    int64_t size_lots        # QUOTE: bid size; SNAPSHOT_END: levels a side it was cut at
    int64_t order_id         # QUOTE: ask price in ticks; SNAPSHOT_END: highest ask told
    int64_t aux              # QUOTE: ask size in lots; STATUS: StatusCode; TRADE: venue trade id; SNAPSHOT_BEGIN: EVERY_ORDER
    uint32_t instrument
    uint8_t kind
    uint8_t side
    uint16_t flags

cdef enum SignalKind:
    SIG_NEWS = 1             # value = score in [-1, 1]
    SIG_VOLATILITY_INDEX = 2 # value = level; source = index number from configuration
    SIG_INVENTORY = 3        # value = position, value2 = limit (> 0), both in lots
    SIG_DELTA_GAMMA = 4      # of one instrument: value = delta, value2 = gamma; source = hash of the name of the
                             # instrument they refer to, 0: not told
    SIG_VEGA_THETA = 5       # value = vega (per point of implied volatility), value2 = theta (per day)
    SIG_IMPLIED_VOLATILITY = 6  # value = mark iv, per cent a year; value2 = price of the underlying
    SIG_MARK = 7             # value = the venue's mark price in price units; value2 = funding of 8 h, a fraction
    SIG_CALENDAR = 16        # source = id of an event; value = its Regime, from source_ns on for ttl_ns; value
                             # REGIME_NORMAL: the id is forgotten, on all instruments

cdef struct Signal:          # 64 bytes
    int64_t source_ns        # time the source gives
    int64_t receive_ns
    double value
    double value2
    int64_t ttl_ns           # 0: the kind's own default
    uint64_t source          # stable hash of the source's name, or index number
    uint32_t instrument      # NO_INDEX = all
    uint8_t kind
    uint8_t pad0
    uint16_t flags
    uint32_t desk            # NO_INDEX = all
    uint32_t pad1

cdef enum Posture:
    POSTURE_NONE = 0
    POSTURE_CLIENT_PRIORITY = 1
    POSTURE_LIQUIDITY_PROVIDER = 2
    POSTURE_RISK_AVERSE = 3  # larger = more careful: a downgrade is max()

cdef enum Regime:
    REGIME_NORMAL = 0
    REGIME_STRESS = 1
    REGIME_AUCTION = 2
    REGIME_SCHEDULED_NEWS = 3
    REGIME_HALT = 4

cdef enum Quality:
    QUALITY_WARMING = 0
    QUALITY_GOOD = 1
    QUALITY_GAPPED = 2
    QUALITY_STALE = 3
    QUALITY_CROSSED = 4
    QUALITY_HALTED = 5

cdef enum DecisionKind:
    DECISION_QUOTE = 1
    DECISION_INDICATIVE = 2
    DECISION_DECLINE = 3

cdef enum Rule:              # which rule chose the requested posture
    RULE_NONE = 0
    RULE_KILL_SWITCH = 1
    RULE_DATA_QUALITY = 2
    RULE_REQUEST_OVERRIDE = 3
    RULE_RUNTIME_OVERRIDE = 4     # AdminService override with a time to live
    RULE_COUNTERPARTY_OVERRIDE = 5
    RULE_COUNTERPARTY_TIER = 6
    RULE_DESK_DEFAULT = 7
    RULE_GLOBAL_DEFAULT = 8
    RULE_MODEL_MONITOR = 9        # after the regime, in explanations: it lowers what another rule chose

cdef enum Binding:           # the constraint that set the life, bit mask
    BIND_TOLERANCE = 1       # inside the bounds: P(life) meets alpha
    BIND_MIN = 2
    BIND_MAX = 4
    BIND_CLIENT_DEADLINE = 8
    BIND_STEP = 16
    BIND_BELOW_MINIMUM = 32
    BIND_HORIZON = 64        # life held at the end of the horizon grid
    BIND_VALUE = 128         # expected value is largest there
    BIND_VENUE_MAX = 256     # the venue session takes no longer life
    BIND_VENUE_MIN = 512     # the venue session takes no shorter life
    BIND_GRANULARITY = 1024  # rounded down to what the venue session can say
    BIND_TRANSIT = 2048      # the way to the venue was taken off a relative life
    BIND_MARKET = 4096       # price or reference is too far from the market
    BIND_EDGE = 8192         # the edge is negative
    BIND_EXPOSURE = 16384    # so much may be lost by what is live, and no more

cdef enum Reason:            # bit mask, why the answer is what it is
    WHY_NOT_GOOD = 1         # data quality
    WHY_DOWNGRADED = 2       # the regime lowered the posture
    WHY_VOLATILITY = 4       # stress triggers
    WHY_SPREAD_VOLATILITY = 8
    WHY_NEWS = 16
    WHY_DECORRELATION = 32
    WHY_UPDATE_FREQUENCY = 64
    WHY_AUCTION = 128
    WHY_SCHEDULED_NEWS = 256
    WHY_HALT = 512
    WHY_BELOW_MINIMUM = 1024
    WHY_DEADLINE_TOO_CLOSE = 2048
    WHY_MODEL_FALLBACK = 4096    # the model could not answer; first passage did
    WHY_NO_VOLATILITY = 8192     # no volatility estimate yet
    WHY_STALE_REQUEST = 16384    # priced_at lies so far back that no life is left
    WHY_HYSTERESIS = 32768       # still in stress, triggers have faded
    WHY_OVERRIDE_REFUSED = 65536 # the request asked for a posture it may not have
    WHY_DISABLED = 131072        # the instrument is switched off by configuration
    WHY_MOVED_THROUGH = 262144   # the market has passed the threshold since the quote was priced
    WHY_NO_VALUE = 524288        # no life has an expected value above 0
    WHY_EDGE_TOO_SMALL = 1048576 # edge and relationship value together are not above 0; outside of value: below 0
    WHY_NO_EDGE = 2097152        # neither price nor edge was given: tolerance decided, not expected value
    WHY_VENUE_MINIMUM = 4194304  # the venue session takes no life as short as this
    WHY_CLOCK = 8388608          # the session takes instants, and the wall clock cannot be trusted
    WHY_KILLED = 16777216        # the kill switch is on
    WHY_THROTTLED = 33554432     # this counterparty had too many decisions in too short a time
    WHY_PRICE_FAR = 67108864     # the quoted price lies too far from the market
    WHY_REFERENCE_FAR = 134217728    # the caller's reference lies too far from the market
    WHY_EDGE_CAPPED = 268435456  # the edge widened the threshold only up to the configured multiple
    WHY_MODEL_STEPPED_DOWN = 536870912   # the monitor of the model has lowered the posture of its instrument group
    WHY_EXPOSURE = 1073741824    # what is live leaves no room for it

cdef enum:                   # reasons that come from the market and the calendar, not from request and policy
    REGIME_REASONS = (WHY_VOLATILITY | WHY_SPREAD_VOLATILITY | WHY_NEWS | WHY_DECORRELATION | WHY_UPDATE_FREQUENCY
                      | WHY_AUCTION | WHY_SCHEDULED_NEWS | WHY_HALT | WHY_HYSTERESIS)

cdef enum Observed:          # bit mask: what the engine saw beside features; recorded, so that a decision can be redone
    OBS_MOVED_KNOWN = 1      # moved_ticks is known, or the quote has no age
    OBS_BOOK_SEEN = 2        # a whole book has been seen once
    OBS_KILLED = 4           # the kill switch was on for everybody
    OBS_COUNTERPARTY_KILLED = 8
    OBS_THROTTLED = 16       # this very decision tripped the throttle, or came while it held
    OBS_STEPPED_DOWN = 32    # the instrument's group had stepped down to Risk Averse

cdef enum Actuation:         # how a venue session consumes a life
    ACTUATION_NONE = 0       # no session named: the plain life
    ACTUATION_ABSOLUTE = 1   # an instant
    ACTUATION_RELATIVE = 2   # a span from receipt
    ACTUATION_WITHDRAW = 3   # the venue gets its longest life, the quote is cancelled at the end of ours
    ACTUATION_LAST_LOOK = 4  # accepted orders are checked against the life

cdef enum RequestFlag:
    REQ_HAS_SIZE = 1
    REQ_HAS_PRICE = 2
    REQ_HAS_EDGE = 4
    REQ_HAS_REFERENCE = 8
    REQ_HAS_DEADLINE = 16
    REQ_HAS_PRICED_AT = 32
    REQ_UNSYNCHRONISED = 64  # the wall clock had left the service's clock when the request came
    REQ_SECOND_SIDE = 128    # the other side of the TWO_WAY request before it: one act of its counterparty
    REQ_WATCHED = 256        # its quote will be watched, and withdrawn when the market moves
    # A package, docs/packages.md: a request for each leg, then one for the package itself.
    REQ_FIRST_LEG = 512
    REQ_LEG = 1024           # a leg: judged for what it adds to the package, never firm by itself
    REQ_LAST_LEG = 2048      # the package, behind its legs: its decision is the answer
    REQ_ON_UNDERLYING = 4096 # of the package: by greeks, on the underlying's own curve
    REQ_RESIDUAL = 8192      # of the package: by greeks, near delta-neutral, by what is left
    REQ_GREEKS = 16384       # of a leg: its greeks speak for it, no curve is drawn
    REQ_SENSITIVITIES = 32768    # of a leg: the caller gave its greeks

cdef struct Request:
    int64_t now_ns
    int64_t priced_at_ns
    int64_t client_deadline_ns
    double size_lots
    double price_ticks           # quoted price
    double edge_ticks            # s * (M - price), used when no price is given
    double reference_ticks       # caller's own M at priced_at
    uint32_t instrument
    uint32_t counterparty
    uint32_t desk
    uint32_t session             # venue session, NO_INDEX if none
    uint16_t flags               # RequestFlag
    int8_t side                  # +1 the desk buys, -1 the desk sells
    uint8_t posture              # requested override, POSTURE_NONE if none
    uint32_t underlying          # of a leg by its greeks: the instrument that they refer to; else 0
    uint8_t two_way              # 1: one of the two sides of a TWO_WAY quote, which share what is left of a cap
    uint8_t pad0[7]
    # Of a package alone, else 0 throughout. As the caller gave it:
    double ratio                 # of a leg: its units in one package
    double package_price         # quoted price of one package, in price units; NaN: not given
    double package_edge          # the desk's edge, in price units of one package; NaN: not given
    double package_reference     # caller's own value of one package at priced_at; NaN: not given
    double delta                 # of a leg: of one unit; of the package: net, against the desk, of one package
    double gamma                 # likewise
    double vega                  # likewise, per point of implied volatility; of the package: net
    # As the engine found it, for all of the chain alike:
    double weight                # of a leg: ticks of the package that one tick of the leg makes
    double residual_ticks        # of the package: volatility that its net delta does not explain
    # As the decisions before it left it:
    double before[HORIZONS]      # curves of the legs, added up
    double h_ticks               # their thresholds, added up; by greeks: the package's, without edge
    double alpha                 # the smallest of their tolerances
    double h_least               # the smallest of their thresholds, as h_ticks counts them
    double loss_least            # the smallest loss that would leave one of them alone without a firm quote
    double inventory             # the largest of their positions / limits, positive where a fill adds to one
    uint64_t reasons             # of the regime and of all legs so far
    uint8_t package_quality      # the worst of those that count …
    uint8_t package_regime
    uint8_t own_quality          # … and this leg's own
    uint8_t own_regime
    uint8_t package_posture      # the most careful that any of them asks for
    uint8_t package_kind         # the most careful DecisionKind so far
    uint8_t moved_known          # of all legs so far it is known how far they have moved since pricing
    int8_t package_side          # +1 the desk buys the package, -1 it sells it

cdef struct Decision:
    uint64_t input_sequence      # place of the request in the one order of inputs
    int64_t now_ns               # engine time of the decision
    int64_t life_ns              # 0 unless kind is DECISION_QUOTE
    int64_t expiry_ns            # now + life
    int64_t data_age_ns          # since the instrument's last message that speaks of its book; -1 if there was none
    uint64_t reasons
    double reference_ticks       # M
    double edge_ticks            # e
    double h_ticks               # adverse threshold, counted from the moment of pricing
    double moved_ticks           # D since then: h - moved is what is left
    double sigma_ticks           # volatility, ticks per sqrt(second); NaN when unknown
    double alpha                 # tolerance after input weights
    double risk_sum              # sum of w_i * risk_i
    double p_ref                 # P(500 ms)
    double p_life                # P(life)
    double expected_value_ticks  # of the life, per lot; NaN outside expected-value mode
    double break_even_edge_ticks # edge at which a quote would be worth giving; NaN outside expected-value mode
    int64_t venue_life_ns        # what the venue session is told: life_ns less transit, or its longest; 0: as life_ns
    double mid_ticks             # the service's own mid, now; 0 where data is not GOOD
    double spread_ticks          # ask - bid, now; 0 where data is not GOOD
    double p[HORIZONS]
    double risk[RISK_INPUTS]
    double features[FEATURES_MAX]
    uint64_t valid[VALID_WORDS]
    uint32_t instrument
    uint32_t counterparty
    uint32_t desk
    uint32_t config_revision
    uint32_t model_revision
    uint16_t binding
    uint8_t kind
    uint8_t posture_requested    # chosen by the resolution order
    uint8_t posture_effective    # after the regime
    uint8_t rule
    uint8_t regime
    uint8_t quality
    int8_t side
    uint8_t mode                 # Mode of the effective posture
    uint16_t observed            # Observed
    uint32_t rule_index          # which override, NO_INDEX if none
    uint32_t session             # venue session, NO_INDEX if none
    uint8_t actuation            # Actuation
    uint8_t model_role           # ModelRole: whose curve it is
    uint8_t pad0[2]
    double calibration[4]        # (a, b) at 500 ms, (a, b) at 2 s: logit P = a + b logit P of the model; 0: no curve drawn
    double held_alpha            # tolerance before input weights: the posture's, or what held tolerance leaves of it
    double learned[4]            # of its counterparty, for expected value: hit, informed, mu and sigma; 0: as its tier is
    double exposure_room         # money that live quotes left of the caps of its instrument and desk; NaN: no cap
    int64_t life_without_watch_ns    # of a watched quote: what it would be given unwatched, 0: nothing; 0 when not watched

cdef enum ModelRole:
    MODEL_NONE = 0               # decided before a model was asked
    MODEL_CHAMPION = 1
    MODEL_CHALLENGER = 2         # the canary of the posture

# What a model that did not serve would have decided: never sent, journaled behind the decision that was.
cdef struct ShadowAnswer:
    uint64_t input_sequence      # of the decision
    int64_t now_ns
    int64_t life_ns              # 0 unless kind is DECISION_QUOTE
    uint64_t reasons
    uint64_t model               # first 16 digits of its digest, as a number
    double h_ticks
    double p_life
    double expected_value_ticks  # NaN outside expected-value mode
    double p[HORIZONS]
    uint32_t instrument
    uint32_t model_revision
    uint16_t binding
    uint8_t kind
    uint8_t posture_effective
    int8_t side
    uint8_t pad0[3]
    double calibration[4]        # as a decision's, for this model

# One part of a label as it was resolved, docs/online.md. Labels follow from the other inputs; they are journaled so that
# the journal alone can say what was learned.
cdef struct LabelRecord:
    uint64_t number              # consecutive from 1 on for an engine: in the order in which labels act
    uint64_t input_sequence      # of the input that brought it
    uint64_t decision            # input sequence of the decision that is labelled
    int64_t at_ns                # when it came to pass: by the passage, the horizon's end, or the hole it was lost in
    int64_t passage_ns           # age; -1: not passed as far as it was seen
    int64_t horizon_ns           # age that was asked about: of the life, or of the anchor
    double p                     # at an anchor, as it was served; NaN: by no model; 0 for a life
    double moved                 # of a life: by what it moved the tolerance of its posture and group …
    double alpha                 # … which was this then …
    double debt                  # … and the account of the shortest lives this
    uint32_t instrument
    uint8_t part                 # 0: 500 ms, 1: 2 s, 2: the life
    uint8_t posture              # of the life
    uint8_t held_by              # what the tolerance had to do with the life (HeldBy)
    int8_t hit                   # 1 passed, 0 not, -1: it will never be known

# What comes of watching a live quote, docs/watching.md: it follows from the other inputs and is journaled, as labels are.
cdef enum WatchKind:
    WATCH_WITHDRAW = 1
    WATCH_EXPIRED = 2
    WATCH_REQUOTE_HINT = 3

cdef enum WithdrawReason:
    WITHDRAW_NONE = 0
    WITHDRAW_VALUE = 1           # what is left of the quote is worth nothing
    WITHDRAW_ADVERSE_MOVE = 2    # the mid has moved so far against it
    WITHDRAW_STRESS = 3
    WITHDRAW_HALT = 4
    WITHDRAW_KILL_SWITCH = 5
    WITHDRAW_DATA_QUALITY = 6    # the market is not seen any more
    WITHDRAW_WATCH_LOST = 7      # whoever had it watched is gone
    WITHDRAW_LIFE_ENDED = 8      # its life is over, the venue's is not

cdef enum:
    WITHDRAW_REASONS = 9

cdef enum QuoteState:
    QUOTE_NONE = 0
    QUOTE_LIVE = 1
    QUOTE_PARTLY_FILLED = 2      # the rest is live
    QUOTE_FILLED = 3
    QUOTE_WITHDRAWN = 4
    QUOTE_TOO_LATE = 5           # hit before the withdrawal was there
    QUOTE_EXPIRED = 6
    QUOTE_CANCELLED = 7          # by the desk or the client

cdef struct WatchRecord:         # 64 bytes
    uint64_t number              # consecutive, on from the boots before
    uint64_t input_sequence      # of the input that brought it
    int64_t at_ns                # engine time
    uint64_t quote               # id of the live quote
    int64_t life_ns              # of a hint: what a new quote would get now; else what was left
    double moved_ticks           # D on the mid since pricing, of the side that brought it; NaN: not known
    double value_ticks           # what is left is worth, a lot; NaN: not judged
    uint32_t instrument          # of that side
    uint8_t kind                 # WatchKind
    uint8_t reason               # WithdrawReason
    uint8_t state                # QuoteState it is in now
    uint8_t held                 # 1: it had waited for the venue session's cancel rate

cdef enum Mode:
    MODE_TOLERANCE_P500 = 1
    MODE_TOLERANCE_CURVE = 2
    MODE_STEP = 3
    MODE_EXPECTED_VALUE = 4

cdef inline bint is_valid(const uint64_t* valid, int index) noexcept nogil:
    return (valid[index >> 6] >> (index & 63)) & 1

cdef inline void set_valid(uint64_t* valid, int index) noexcept nogil:
    valid[index >> 6] |= (<uint64_t>1) << (index & 63)


cdef class EventBuffer:
    # A bounded array of events: decoders append, the engine reads. Never grows; a full buffer is
    # flushed by its owner between venue messages, so capacity bounds one message.
    cdef Event* events
    cdef readonly Py_ssize_t capacity
    cdef readonly Py_ssize_t count
    cdef readonly Py_ssize_t overflowed    # events refused since the last clear()
    cdef Event* push(self) noexcept nogil  # zeroed slot, or NULL when full


cdef class RequestRecord:
    cdef Request c
    cdef int _set_leg(self, double ratio, int package_side, price, edge, reference) except -1


cdef class DecisionRecord:
    cdef Decision c
