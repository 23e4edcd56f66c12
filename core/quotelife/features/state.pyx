"""Features of one instrument: fed event by event, read by decisions, replay and training alike.

Time. Every function takes engine time in ns (above 0); an earlier time than the last counts as the last.
Window W means (t − W, t]. Windows of 1 s and less are exact. Longer ones are kept in 100 ms buckets (2 s, 10 s,
60 s) or as exponential averages. A "60 s baseline" is what the buckets hold, at least 5 s of it.

Validity. A feature of the market needs a two-sided, uncrossed book, and its window must have been covered since the
start or the last gap: W for windows up to 2 s, 5 s for longer ones. Averages and baselines survive a gap; the time
of the gap is left out of them and the jump over it is no return. An invalid feature is 0.0 with a clear bit.

Room. One arena an instrument, ``feature_state_bytes()`` long (548,864 B reserved). The rings hold what comes within
1 s: 4,096 top changes, 4,096 trades, 4,096 messages with level or order changes, 1,024 mid moves and spread changes.
On the recorded BTC perpetual the busiest second has 907, 1,650, 21, 133 and 132. A ring grows by doubling, so an
instrument goes round in no more room than its busiest second needed. Beyond capacity the oldest entries
are given up and the features of every window they belonged to are invalid until they would have left; the 100 ms
windows therefore stay valid up to 40,960 changes a second.

Cost. O(1) an event, amortised, whatever the window. Nothing transcendental runs unless the mid moves; the 100 ms
grid of samples is settled once a grid point, by whichever input comes first after it.

Range. Every sum is an integer and none can wrap. A size counts as at most 2^40 lots, the changes of one message as
at most 2^50, a 100 ms bucket of lots as at most 2^53, so that 4,096 ring entries and messages and 600 buckets stay
below 2^63. Prices may reach 2^60 ticks.

Volatility. Where the mid has moved less than half a tick in all the time observed, sigma is what one such move in
that time would give, 0.5 / sqrt(T): a market that stands still has a small risk of moving, not none and not an
unknown one.

Adds and cancels. Where orders come by id, every cancel and every reduction is one, and what was traded is none. Where
only levels come, they are differences: an add is a level that grew, a cancel one that shrank, less the trades that
explain it, in lots and in number. Own is the side on which the quote stands, the bid of a desk that buys.

Inventory. The last position of each of 16 desks, of more the newest, and one for all desks, which holds for every
desk without a living one of its own.

Stress inputs. The update frequency is judged over 2 s, not 100 ms: top changes come in bursts, and on the recorded
BTC perpetual a 100 ms count exceeds 4 times its baseline 5.5 % of the time, spread so that a 10 s hysteresis would
never let go. Over 1 s that hysteresis still holds stress for 9 to 36 % of the recorded tapes, over 2 s for 0 to 7 %.
Where there is too little to compare, the ratio is known to be 0, which is not the same as unknown. The spread's 60 s
level is taken as at least 0.1 tick and 0.05 bp of the mid, below which a ratio says nothing about risk. Volatility is
compared once 5 mid moves lie in the last second.

Formulas. Order flow imbalance: Cont, Kukanov & Stoikov (2014), e_n at the best prices; the five-level form takes
e_n rank by rank. Realised volatility: see ``ewma_variance``. Decorrelation: Fisher's z of the slow less the fast
correlation, times sqrt(n − 3), n the effective number of 100 ms steps in which anything moved within the fast
average; steps in which nothing moved say nothing about correlation and do not count.
"""

from libc.math cimport NAN, atanh, exp, exp2, fabs, isfinite, log, sqrt
from libc.stdint cimport INT64_MAX, int32_t, int64_t, uint32_t, uint64_t
from libc.stdlib cimport calloc, free
from libc.string cimport memset

from quotelife.arena cimport arena_free, arena_new, arena_size
from quotelife.book.level_book cimport LevelBook, book_next_ask, book_next_bid, book_two_sided
from quotelife.features.schema cimport *
from quotelife.features.signal_time cimport past, source_time
from quotelife.features.stress cimport (
    STRESS_HAS_DECORRELATION, STRESS_HAS_NEWS, STRESS_HAS_SPREAD, STRESS_HAS_UPDATES, STRESS_HAS_VOLATILITY,
)
from quotelife.records cimport (
    FEATURES_MAX,
    NO_INDEX,
    SIDE_BID,
    SIG_INVENTORY,
    SIG_NEWS,
    SIG_VOLATILITY_INDEX,
    VALID_WORDS,
    Signal,
    set_valid,
)
from quotelife.windows.buckets cimport (
    BUCKET_NS,
    buckets_add,
    buckets_advance,
    buckets_bytes,
    buckets_init,
    buckets_sum,
)
from quotelife.windows.ewma_correlation cimport (
    ewma_correlation_add,
    ewma_correlation_init,
    ewma_correlation_known,
    ewma_correlation_n,
    ewma_correlation_value,
)
from quotelife.windows.ewma_mean cimport ewma_mean_at, ewma_mean_init, ewma_mean_set
from quotelife.windows.ewma_variance cimport (
    ewma_variance_add,
    ewma_variance_init,
    ewma_variance_observed_ns,
    ewma_variance_rate,
    ewma_variance_skip,
    ewma_variance_start,
)
from quotelife.windows.ring cimport (
    ring_advance,
    ring_bytes,
    ring_count,
    ring_holds,
    ring_init,
    ring_pass,
    ring_push,
    ring_reset,
    ring_whole,
)
from quotelife.windows.time_weighted cimport (
    time_weighted_advance,
    time_weighted_bytes,
    time_weighted_init,
    time_weighted_reset,
    time_weighted_set,
    time_weighted_variance,
    time_weighted_whole,
)
from quotelife.windows.vwap cimport (
    VwapTail,
    vwap_advance,
    vwap_bytes,
    vwap_count,
    vwap_deviation,
    vwap_init,
    vwap_push,
    vwap_reset,
    vwap_volume,
    vwap_whole,
)

cdef enum:
    MS = 1000000
    SECOND = 1000000000
    BASELINE_SAMPLES = 50          # 5 s of 100 ms samples before a 60 s baseline is believed
    BUCKETS_2S = 0
    BUCKETS_10S = 1
    BUCKETS_60S = 2
    C_TOP = 0                      # bucket channels
    C_MOVES = 1
    C_TRADES = 2
    C_BOUGHT = 3                   # lots by aggressor
    C_SOLD = 4
    C_REMOVED_BID = 5
    C_REMOVED_ASK = 6
    C_SAMPLES = 7                  # grid points sampled
    C_SPREAD_VARIANCE = 8          # 1 s variance of the spread, ticks^2 x 2^20
    C_DEPTH = 9                    # lots of 5 levels of both sides
    CHANNELS = 10
    FLOW_VALUES = 7                # entries of flow
    FLOW_REMOVED = 0               # bid, ask
    FLOW_ADDED = 2                 # bid, ask
    FLOW_DEEPER = 4
    FLOW_REMOVALS = 5
    FLOW_ADDS = 6
    TAIL_100MS = 0                 # tails of the exact windows
    TAIL_1S = 1                    # of top and flow
    TAIL_500MS = 1                 # of mid and trades
    TAIL_LONG_1S = 2
    V_100MS = 0                    # variances
    V_1S = 1
    V_10S = 2
    V_60S = 3
    PRESSURE_LEVELS = 10
    PRESSURE_TICKS = 64            # beyond, the weight is below 3e-6 and taken as 0
    SWEEP_LEVELS = 64

cdef int64_t BASELINE_NS = 5 * <int64_t>SECOND
cdef int64_t NEWS_HALF_LIFE_NS = 60 * <int64_t>SECOND
cdef int64_t NEWS_HALF_LIVES = 10                          # a score's time to live when it names none
cdef int64_t INDEX_TTL_NS = 86400 * <int64_t>SECOND
cdef int64_t INDEX_WINDOW_NS = 86400 * <int64_t>SECOND
cdef int64_t INDEX_HISTORY_NS = 600 * <int64_t>SECOND      # before the z-score is believed
cdef int64_t ABSENT = -(<int64_t>1 << 60)                  # price key of a level that is not there
cdef double VARIANCE_SCALE = 1048576.0
cdef double VARIANCE_MAX = 4294967296.0                    # keeps 60 s of samples inside 63 bits
cdef double IMBALANCE_MAX = 1000.0                         # cap of the size ratio
cdef double SPREAD_LEVEL_MIN = 0.1                         # ticks, and
cdef double SPREAD_LEVEL_MIN_OF_MID = 5e-6                 # 0.05 bp of the mid: a calm spread's flicker is no stress
cdef double RHO_MAX = 0.999
cdef double N_MIN = 6.0                                    # effective active steps in the fast correlation
cdef int64_t PAIR_STEPS_MIN = 50                           # 5 s of common history
cdef int64_t STRESS_MOVES_MIN = 5                          # mid moves in 1 s before its volatility is compared
cdef int64_t STRESS_UPDATES_MIN = 40                       # top changes in 2 s before their frequency is
cdef double LEAST_MOVE = 0.5                               # ticks: the smallest change of a mid
cdef int64_t COUNTS_MASK = 0xFFFFFFFF
cdef int64_t COUNTS_MAX = <int64_t>1 << 18                 # of one message; x FLOW_CAPACITY stays below 2^31
cdef int64_t LOTS_MAX = <int64_t>1 << 40                   # see Range above
cdef int64_t MESSAGE_LOTS_MAX = <int64_t>1 << 50
cdef int64_t BUCKET_LOTS_MAX = <int64_t>1 << 53

cdef double[PRESSURE_TICKS] pressure_weight


def _fill_weights():
    cdef int k
    for k in range(PRESSURE_TICKS):
        pressure_weight[k] = exp(-k / 5.0)


_fill_weights()


# --- life and memory ---

cdef inline size_t aligned(size_t size) noexcept nogil:
    return (size + 63) & ~<size_t>63


cdef size_t arena_bytes() noexcept nogil:
    return (aligned(sizeof(FeatureState)) + aligned(ring_bytes(TOP_CAPACITY, 2)) + aligned(ring_bytes(MID_CAPACITY, 1))
            + aligned(ring_bytes(FLOW_CAPACITY, FLOW_VALUES)) + aligned(vwap_bytes(TRADE_CAPACITY))
            + aligned(time_weighted_bytes(SPREAD_CAPACITY)) + aligned(buckets_bytes(600, CHANNELS)))


cdef FeatureState* feature_state_new(const FeatureParams* params) except NULL:
    cdef int64_t[3] windows
    cdef int32_t[3] lengths
    cdef char* memory = <char*>arena_new(arena_bytes())
    cdef FeatureState* self = <FeatureState*>memory
    if self == NULL:
        raise MemoryError()
    memory += aligned(sizeof(FeatureState))
    windows[0] = 100 * <int64_t>MS
    windows[1] = SECOND
    ring_init(&self.top, memory, TOP_CAPACITY, 2, windows, 2)
    memory += aligned(ring_bytes(TOP_CAPACITY, 2))
    ring_init(&self.flow, memory, FLOW_CAPACITY, FLOW_VALUES, windows, 2)
    memory += aligned(ring_bytes(FLOW_CAPACITY, FLOW_VALUES))
    windows[1] = 500 * <int64_t>MS
    windows[2] = SECOND
    ring_init(&self.mid, memory, MID_CAPACITY, 1, windows, 3)
    memory += aligned(ring_bytes(MID_CAPACITY, 1))
    vwap_init(&self.trades, memory, TRADE_CAPACITY, windows, 3)
    memory += aligned(vwap_bytes(TRADE_CAPACITY))
    time_weighted_init(&self.spread, memory, SPREAD_CAPACITY, SECOND)
    memory += aligned(time_weighted_bytes(SPREAD_CAPACITY))
    lengths[0] = 20
    lengths[1] = 100
    lengths[2] = 600
    buckets_init(&self.buckets, memory, CHANNELS, lengths, 3)
    ewma_variance_init(&self.variance[V_100MS], 100 * <int64_t>MS)
    ewma_variance_init(&self.variance[V_1S], SECOND)
    ewma_variance_init(&self.variance[V_10S], 10 * <int64_t>SECOND)
    ewma_variance_init(&self.variance[V_60S], 60 * <int64_t>SECOND)
    self.news_half_life_ns = params.news_half_life_ns if params.news_half_life_ns > 0 else NEWS_HALF_LIFE_NS
    self.now_ns = 1
    self.grid = -1
    return self


cdef void feature_state_free(FeatureState* self) noexcept nogil:
    arena_free(self, arena_bytes())


cdef size_t feature_state_bytes(const FeatureState* self) noexcept nogil:
    return arena_size(arena_bytes())


cdef SharedSignals* shared_signals_new() except NULL:
    cdef SharedSignals* self = <SharedSignals*>calloc(1, sizeof(SharedSignals))
    cdef int k
    if self == NULL:
        raise MemoryError()
    for k in range(VOLATILITY_INDICES):
        ewma_mean_init(&self.index[k].mean, INDEX_WINDOW_NS)
        ewma_mean_init(&self.index[k].square, INDEX_WINDOW_NS)
    return self


cdef void shared_signals_free(SharedSignals* self) noexcept nogil:
    free(self)


cdef void feature_set_driver(FeatureState* self, int slot, FeatureState* numerator,
                             FeatureState* denominator) noexcept nogil:
    cdef Pair* pair
    if slot < 0 or slot >= DRIVERS:
        return
    pair = &self.pair[slot]
    if pair.numerator == numerator and pair.denominator == denominator:
        return
    memset(pair, 0, sizeof(Pair))
    pair.numerator = numerator
    pair.denominator = denominator
    pair.step = self.grid
    ewma_correlation_init(&pair.fast, 20.0)
    ewma_correlation_init(&pair.slow, 600.0)


# --- time and the 100 ms grid ---

cdef inline int64_t clock(FeatureState* self, int64_t t) noexcept nogil:
    if t > self.now_ns:
        self.now_ns = t
        return t
    return self.now_ns


cdef inline double grid_mid(const FeatureState* self, int64_t point) noexcept nogil:
    # Twice the mid in effect at a grid point that lies before the present; 0.0 where it is not known.
    if point > self.grid:
        return self.mid2 if self.live else 0.0
    return self.grid_mid2[point & (GRID_MIDS - 1)] if point > self.grid - GRID_MIDS else 0.0


cdef inline double driver_grid_mid(const Pair* pair, int64_t point) noexcept nogil:
    cdef double value = grid_mid(pair.numerator, point)
    cdef double below
    if pair.denominator != NULL:
        below = grid_mid(pair.denominator, point)
        return value / below if below > 0.0 else 0.0
    return value


cdef inline double clip_rho(double rho) noexcept nogil:
    return RHO_MAX if rho > RHO_MAX else (-RHO_MAX if rho < -RHO_MAX else rho)


cdef void follow(FeatureState* self, Pair* pair) noexcept nogil:
    # Take the settled grid points since the last time. Points that either side did not observe are left out.
    cdef double own, driver, n
    if pair.step >= self.grid:
        return
    if pair.step < self.grid - GRID_MIDS:
        pair.step = self.grid - GRID_MIDS
        pair.own_before = pair.driver_before = 0.0
    while pair.step < self.grid:
        pair.step += 1
        own = grid_mid(self, pair.step)
        driver = driver_grid_mid(pair, pair.step)
        if own > 0.0 and pair.own_before > 0.0 and driver > 0.0 and pair.driver_before > 0.0:
            pair.steps += 1
            ewma_correlation_add(&pair.fast, pair.steps, own / pair.own_before - 1.0, driver / pair.driver_before - 1.0)
            ewma_correlation_add(&pair.slow, pair.steps, own / pair.own_before - 1.0, driver / pair.driver_before - 1.0)
        pair.own_before = own
        pair.driver_before = driver
    pair.z_known = False
    pair.beta_known = pair.steps >= PAIR_STEPS_MIN and pair.slow.yy > 0.0
    if pair.beta_known:
        pair.beta = pair.slow.xy / pair.slow.yy
    if (pair.own_before > 0.0 and pair.driver_before > 0.0 and pair.steps >= PAIR_STEPS_MIN
            and ewma_correlation_known(&pair.fast) and ewma_correlation_known(&pair.slow)):
        n = ewma_correlation_n(&pair.fast, pair.steps)
        if n >= N_MIN:
            pair.z_known = True
            pair.z = (atanh(clip_rho(ewma_correlation_value(&pair.slow)))
                      - atanh(clip_rho(ewma_correlation_value(&pair.fast)))) * sqrt(n - 3.0)


cdef void settle(FeatureState* self, int64_t t) noexcept nogil:
    # Grid points before t are past: nothing can change what held there. An input at a grid point itself still can.
    cdef int64_t last = (t - 1) // BUCKET_NS
    cdef int64_t point = self.grid + 1
    cdef double variance
    cdef int k
    if self.grid < 0 or last - point >= 600:
        # Never or long ago: the buckets reach back 600 points, the grid fewer.
        point = last - 599
    while point <= last:
        self.grid_mid2[point & (GRID_MIDS - 1)] = self.mid2 if self.live else 0
        if self.live:
            time_weighted_advance(&self.spread, point * BUCKET_NS)
            variance = time_weighted_variance(&self.spread)
            buckets_advance(&self.buckets, point * BUCKET_NS)
            buckets_add(&self.buckets, C_SAMPLES, 1)
            buckets_add(&self.buckets, C_DEPTH, self.depth)
            if variance > 0.0:
                if variance > VARIANCE_MAX:
                    variance = VARIANCE_MAX
                buckets_add(&self.buckets, C_SPREAD_VARIANCE, <int64_t>(variance * VARIANCE_SCALE + 0.5))
        point += 1
    self.grid = last
    self.grid_due_ns = (last + 1) * BUCKET_NS
    for k in range(DRIVERS):
        if self.pair[k].numerator != NULL:
            follow(self, &self.pair[k])


cdef inline int64_t arrive(FeatureState* self, int64_t t) noexcept nogil:
    t = clock(self, t)
    if t > self.grid_due_ns:
        settle(self, t)
    buckets_advance(&self.buckets, t)
    return t


# --- market events ---

cdef inline int64_t held(int64_t lots, int64_t most) noexcept nogil:
    return lots if lots < most else most


cdef inline void bucket_lots(FeatureState* self, int channel, int64_t lots) noexcept nogil:
    buckets_add(&self.buckets, channel, held(lots, BUCKET_LOTS_MAX - self.buckets.running[channel]))


cdef inline int64_t flow_e(int64_t key, int64_t lots, int64_t old_key, int64_t old_lots) noexcept nogil:
    # e_n of one side, keys ascending towards the market (asks negated).
    return (lots if key >= old_key else 0) - (old_lots if key <= old_key else 0)


cdef int64_t look_deeper(FeatureState* self, const LevelBook* book) noexcept nogil:
    # e_n of the levels 2 to 5, rank by rank, and remember them.
    cdef int64_t bid = book.bid_ticks, ask = book.ask_ticks, lots = 0, key, e = 0
    cdef int k
    for k in range(1, OFI_LEVELS):
        if book_next_bid(book, k, &bid, &lots):
            key = bid
            lots = held(lots, LOTS_MAX)
        else:
            key = ABSENT
            lots = 0
        e += flow_e(key, lots, self.ofi_ticks[0][k], self.ofi_lots[0][k])
        self.ofi_ticks[0][k] = key
        self.ofi_lots[0][k] = lots
        if book_next_ask(book, k, &ask, &lots):
            key = -ask
            lots = held(lots, LOTS_MAX)
        else:
            key = ABSENT
            lots = 0
        e -= flow_e(key, lots, self.ofi_ticks[1][k], self.ofi_lots[1][k])
        self.ofi_ticks[1][k] = key
        self.ofi_lots[1][k] = lots
    self.levels_touched = False
    return e


cdef int64_t sample_depth(const LevelBook* book) noexcept nogil:
    cdef int64_t price = 0, lots = 0, total = 0
    cdef int k
    for k in range(5):
        if not book_next_bid(book, k, &price, &lots):
            break
        total += held(lots, LOTS_MAX)
    for k in range(5):
        if not book_next_ask(book, k, &price, &lots):
            break
        total += held(lots, LOTS_MAX)
    return total


cdef inline void remember_top(FeatureState* self, const LevelBook* book) noexcept nogil:
    self.bid_ticks = book.bid_ticks
    self.bid_lots = held(book.bid_lots, LOTS_MAX)
    self.ask_ticks = book.ask_ticks
    self.ask_lots = held(book.ask_lots, LOTS_MAX)


cdef inline void forget_pending(FeatureState* self) noexcept nogil:
    self.pending_removed[0] = self.pending_removed[1] = self.pending_added[0] = self.pending_added[1] = 0
    self.pending_removals = self.pending_adds = 0


cdef void begin(FeatureState* self, const LevelBook* book, int64_t t) noexcept nogil:
    # First book since the start or the last gap.
    cdef int k
    self.live = True
    self.start_ns = t
    remember_top(self, book)
    self.mid2 = self.start_mid2 = book.bid_ticks + book.ask_ticks
    for k in range(4):
        if self.ever:
            ewma_variance_skip(&self.variance[k], self.gap_ns, t)
        else:
            ewma_variance_start(&self.variance[k], t)
    self.ever = True
    time_weighted_set(&self.spread, t, book.ask_ticks - book.bid_ticks)
    forget_pending(self)
    self.depth_bucket = -1
    look_deeper(self, book)


cdef void move_mid(FeatureState* self, int64_t mid2, int64_t t) noexcept nogil:
    cdef double r = (mid2 - self.mid2) * 0.5
    cdef int k
    ring_push(&self.mid, t, &mid2)
    buckets_add(&self.buckets, C_MOVES, 1)
    for k in range(4):
        ewma_variance_add(&self.variance[k], t, r)
    self.last_move = 1 if r > 0.0 else -1
    self.last_move_ns = t
    self.mid2 = mid2


cdef void feature_on_book(FeatureState* self, const LevelBook* book, int64_t t, bint top_changed) noexcept nogil:
    cdef int64_t[FLOW_VALUES] value
    cdef int64_t mid2, bid_lots, ask_lots, deeper = 0
    cdef bint priced
    if not book_two_sided(book) or book.crossed:
        return
    t = arrive(self, t)
    if not self.live:
        begin(self, book, t)
        top_changed = False
    if self.depth_bucket != self.buckets.bucket:
        self.depth_bucket = self.buckets.bucket
        self.depth = sample_depth(book)
    if top_changed:
        bid_lots = held(book.bid_lots, LOTS_MAX)
        ask_lots = held(book.ask_lots, LOTS_MAX)
        value[0] = (flow_e(book.bid_ticks, bid_lots, self.bid_ticks, self.bid_lots)
                    - flow_e(-book.ask_ticks, ask_lots, -self.ask_ticks, self.ask_lots))
        value[1] = bid_lots + ask_lots
        ring_push(&self.top, t, value)
        buckets_add(&self.buckets, C_TOP, 1)
        priced = book.bid_ticks != self.bid_ticks or book.ask_ticks != self.ask_ticks
        if priced:
            time_weighted_set(&self.spread, t, book.ask_ticks - book.bid_ticks)
            mid2 = book.bid_ticks + book.ask_ticks
            if mid2 != self.mid2:
                move_mid(self, mid2, t)
            self.levels_touched = True
        remember_top(self, book)
    if self.levels_touched:
        deeper = look_deeper(self, book)
    if deeper != 0 or self.pending_adds != 0 or self.pending_removals != 0:
        value[FLOW_REMOVED] = self.pending_removed[0]
        value[FLOW_REMOVED + 1] = self.pending_removed[1]
        value[FLOW_ADDED] = self.pending_added[0]
        value[FLOW_ADDED + 1] = self.pending_added[1]
        value[FLOW_DEEPER] = deeper
        value[FLOW_REMOVALS] = self.pending_removals
        value[FLOW_ADDS] = self.pending_adds
        ring_push(&self.flow, t, value)
        bucket_lots(self, C_REMOVED_BID, self.pending_removed[0])
        bucket_lots(self, C_REMOVED_ASK, self.pending_removed[1])
        forget_pending(self)


cdef inline int64_t count_of(int64_t counts, int which) noexcept nogil:
    return counts >> 32 if which == 0 else counts & COUNTS_MASK


cdef inline int64_t one_more(int64_t counts, int which) noexcept nogil:
    # Counts of both sides in one integer: sums of them are sums of both, as long as neither reaches 2^31.
    return counts + (<int64_t>1 << (32 if which == 0 else 0)) if count_of(counts, which) < COUNTS_MAX else counts


cdef inline void note_removed(FeatureState* self, int which, int64_t lots) noexcept nogil:
    self.pending_removed[which] = held(self.pending_removed[which] + lots, MESSAGE_LOTS_MAX)
    self.pending_removals = one_more(self.pending_removals, which)


cdef inline void note_added(FeatureState* self, int which, int64_t lots) noexcept nogil:
    self.pending_added[which] = held(self.pending_added[which] + lots, MESSAGE_LOTS_MAX)
    self.pending_adds = one_more(self.pending_adds, which)


cdef void feature_on_level(FeatureState* self, int64_t t, int side, int64_t price_ticks,
                           int64_t old_lots, int64_t new_lots) noexcept nogil:
    # Gathered up to the LAST of the message: one entry a message.
    cdef int64_t added = held(new_lots, LOTS_MAX) - held(old_lots, LOTS_MAX)
    cdef int which = 0 if side == SIDE_BID else 1
    if added < 0:
        note_removed(self, which, -added)
    elif added > 0:
        note_added(self, which, added)
    self.levels_touched = True


cdef void feature_on_order(FeatureState* self, int side, int64_t added_lots, int64_t cancelled_lots) noexcept nogil:
    cdef int which = 0 if side == SIDE_BID else 1
    if cancelled_lots > 0:
        note_removed(self, which, held(cancelled_lots, LOTS_MAX))
    if added_lots > 0:
        note_added(self, which, held(added_lots, LOTS_MAX))
    self.levels_touched = True


cdef void feature_on_trade(FeatureState* self, int64_t t, int64_t price_ticks, int64_t lots,
                           int aggressor) noexcept nogil:
    if lots <= 0:
        return
    t = arrive(self, t)
    lots = held(lots, LOTS_MAX)
    vwap_push(&self.trades, t, price_ticks, lots if aggressor == SIDE_BID else -lots)
    buckets_add(&self.buckets, C_TRADES, 1)
    bucket_lots(self, C_BOUGHT if aggressor == SIDE_BID else C_SOLD, lots)


cdef void feature_on_gap(FeatureState* self, int64_t t) noexcept nogil:
    t = arrive(self, t)
    if self.live:
        self.gap_ns = t
    self.live = False
    self.last_move = 0
    forget_pending(self)
    self.levels_touched = False
    ring_reset(&self.top)
    ring_reset(&self.mid)
    ring_reset(&self.flow)
    vwap_reset(&self.trades)
    time_weighted_reset(&self.spread)


# --- signals ---

cdef bint news_add(NewsList* self, const Signal* signal, int64_t t) noexcept nogil:
    # Keeps the newest by source time, in whatever order they come.
    cdef int64_t at_ns = source_time(signal, t)
    cdef NewsItem* oldest = &self.item[0]
    cdef int k
    if not isfinite(signal.value) or past(at_ns, signal.ttl_ns, t):
        return False
    for k in range(NEWS_KEPT):
        if not self.item[k].used:
            oldest = &self.item[k]
            break
        if self.item[k].at_ns < oldest.at_ns:
            oldest = &self.item[k]
    if oldest.used and oldest.at_ns > at_ns:
        return False
    oldest.used = True
    oldest.at_ns = at_ns
    oldest.ttl_ns = signal.ttl_ns
    oldest.score = 1.0 if signal.value > 1.0 else (-1.0 if signal.value < -1.0 else signal.value)
    self.any = True
    return True


cdef void news_strongest(const NewsList* self, int64_t t, int64_t half_life_ns, int64_t oldest_ns, double* score,
                         int64_t* age_ns, int* count) noexcept nogil:
    # Updates the strongest so far by decayed magnitude among those no older than oldest_ns; of equals the younger.
    cdef double decayed
    cdef int64_t age
    cdef int k
    if not self.any:
        return
    for k in range(NEWS_KEPT):
        if not self.item[k].used:
            continue
        age = t - self.item[k].at_ns
        if age < 0:
            age = 0
        if age > oldest_ns:
            continue
        if age >= (self.item[k].ttl_ns if self.item[k].ttl_ns > 0 else NEWS_HALF_LIVES * half_life_ns):
            continue
        decayed = self.item[k].score * exp2(-<double>age / <double>half_life_ns)
        if count[0] == 0 or fabs(decayed) > fabs(score[0]) or (fabs(decayed) == fabs(score[0]) and age < age_ns[0]):
            score[0] = decayed
            age_ns[0] = age
        count[0] += 1


cdef Position* position_slot(FeatureState* self, uint32_t desk) noexcept nogil:
    # Where this desk's position is or goes: its own place, else a free one, else that of the oldest position.
    cdef Position* slot = &self.position[1]
    cdef int k
    if desk == NO_INDEX:
        return &self.position[0]
    for k in range(1, 1 + DESKS_KEPT):
        if self.position[k].at_ns > 0 and self.position[k].desk == desk:
            return &self.position[k]
        if self.position[k].at_ns < slot.at_ns:
            slot = &self.position[k]
    return slot


cdef bint position_update(FeatureState* self, const Signal* signal, int64_t t) noexcept nogil:
    cdef int64_t at_ns = source_time(signal, t)
    cdef Position* slot
    if not signal.value2 > 0.0 or not isfinite(signal.value2) or not isfinite(signal.value / signal.value2):
        return False
    slot = position_slot(self, signal.desk)
    if at_ns < slot.at_ns or past(at_ns, signal.ttl_ns, t):
        return False               # an older copy, older than all that are kept, or no longer true
    slot.at_ns = at_ns
    slot.ttl_ns = signal.ttl_ns
    slot.share = signal.value / signal.value2
    slot.desk = signal.desk
    return True


cdef inline bint position_alive(const Position* self, int64_t t) noexcept nogil:
    return self.at_ns > 0 and (self.ttl_ns <= 0 or t - self.at_ns < self.ttl_ns)


cdef const Position* position_of(const FeatureState* self, uint32_t desk, int64_t t) noexcept nogil:
    # The desk's own position where one is alive, else the one for all desks; NULL: neither.
    cdef int k
    for k in range(1, 1 + DESKS_KEPT):
        if self.position[k].at_ns == 0:
            break
        if self.position[k].desk == desk and position_alive(&self.position[k], t):
            return &self.position[k]
    if position_alive(&self.position[0], t):
        return &self.position[0]
    return NULL


cdef void feature_remap_desks(FeatureState* self, const uint32_t* new_index, uint32_t n) noexcept nogil:
    cdef uint32_t desk
    cdef int k, kept = 1
    for k in range(1, 1 + DESKS_KEPT):
        if self.position[k].at_ns == 0:
            break
        desk = self.position[k].desk
        desk = new_index[desk] if desk < n else NO_INDEX
        if desk != NO_INDEX:
            self.position[kept] = self.position[k]
            self.position[kept].desk = desk
            kept += 1
    for k in range(kept, 1 + DESKS_KEPT):
        self.position[k].at_ns = 0


cdef bint feature_on_signal(FeatureState* self, const Signal* signal, int64_t t) noexcept nogil:
    t = clock(self, t)
    if signal.kind == SIG_NEWS:
        return news_add(&self.news, signal, t)
    if signal.kind == SIG_INVENTORY:
        return position_update(self, signal, t)
    return False


cdef bint index_update(VolatilityIndex* self, const Signal* signal, int64_t t) noexcept nogil:
    cdef int64_t at_ns = source_time(signal, t)
    cdef IndexSlot* slot
    cdef double x
    if not isfinite(signal.value) or (self.used and at_ns < self.last_ns) or past(at_ns, signal.ttl_ns, t):
        return False               # not a number, an older copy, or no longer true
    if not self.used:
        self.used = True
        self.first_ns = at_ns
        self.origin = signal.value
    self.last_ns = at_ns
    self.level = signal.value
    self.ttl_ns = signal.ttl_ns if signal.ttl_ns > 0 else INDEX_TTL_NS
    x = signal.value - self.origin
    ewma_mean_set(&self.mean, at_ns, x)
    ewma_mean_set(&self.square, at_ns, x * x)
    slot = &self.slot[(self.slots - 1) % INDEX_SECONDS] if self.slots > 0 else NULL
    if slot == NULL or slot.second != at_ns // SECOND:
        slot = &self.slot[self.slots % INDEX_SECONDS]
        self.slots += 1
        slot.second = at_ns // SECOND
    slot.level = signal.value
    return True


cdef bint shared_on_signal(SharedSignals* self, const Signal* signal, int64_t t) noexcept nogil:
    if signal.kind == SIG_NEWS:
        return news_add(&self.news, signal, t)
    if signal.kind == SIG_VOLATILITY_INDEX and signal.source < VOLATILITY_INDICES:
        return index_update(&self.index[signal.source], signal, t)
    return False


# --- reading ---

cdef inline void put(double* out, uint64_t* valid, int index, double value, bint good) noexcept nogil:
    if good and isfinite(value):
        out[index] = value
        set_valid(valid, index)


cdef inline bint covered(const FeatureState* self, int64_t t, int64_t window_ns) noexcept nogil:
    return self.live and t - self.start_ns >= window_ns


cdef inline int64_t in_60s(const FeatureState* self, int channel) noexcept nogil:
    return buckets_sum(&self.buckets, BUCKETS_60S, channel)


cdef inline int64_t in_2s(const FeatureState* self, int channel) noexcept nogil:
    return buckets_sum(&self.buckets, BUCKETS_2S, channel)


cdef inline int64_t baseline(const FeatureState* self) noexcept nogil:
    # 100 ms samples in the last 60 s; 0 while there are too few to believe.
    cdef int64_t samples = in_60s(self, C_SAMPLES)
    return samples if samples >= BASELINE_SAMPLES else 0


cdef inline double baseline_rate(const FeatureState* self, double total) noexcept nogil:
    # A second; 0.0 while unknown.
    cdef int64_t samples = baseline(self)
    return total * 10.0 / samples if samples > 0 else 0.0


cdef inline double bucket_seconds(const FeatureState* self, int tail, int64_t t) noexcept nogil:
    # What the buckets of a window cover at t: up to 100 ms less than the window.
    return (t - (self.buckets.bucket - self.buckets.length[tail] + 1) * BUCKET_NS) / 1e9


cdef inline double spread_ratio(const FeatureState* self, double deviation) noexcept nogil:
    # 1 s deviation of the spread over the root mean square of its 60 s of samples; NaN while unknown.
    cdef int64_t samples = baseline(self)
    cdef double level, least = SPREAD_LEVEL_MIN_OF_MID * 0.5 * self.mid2
    if samples == 0:
        return NAN
    if least < SPREAD_LEVEL_MIN:
        least = SPREAD_LEVEL_MIN
    level = sqrt(in_60s(self, C_SPREAD_VARIANCE) / VARIANCE_SCALE / samples)
    return deviation / (level if level > least else least)


cdef inline double floored(double value) noexcept nogil:
    return value if value > 0.0 else 0.0


cdef double mid_before(FeatureState* self, int64_t t, int tail) noexcept nogil:
    # Twice the mid in effect at t - W; 0.0 where it is not known.
    if not covered(self, t, self.mid.tail[tail].window_ns):
        return 0.0
    ring_advance(&self.mid, t)
    if not ring_whole(&self.mid, tail):
        return 0.0
    return self.mid.tail[tail].before[0] if self.mid.tail[tail].has_before else self.start_mid2


cdef double velocity(FeatureState* numerator, FeatureState* denominator, int64_t t, int tail) noexcept nogil:
    # (M(t)/M(t - W) - 1)/W in % a second; NaN where it is not known.
    cdef double before = mid_before(numerator, t, tail)
    cdef double now = numerator.mid2
    cdef double below
    if denominator != NULL:
        below = mid_before(denominator, t, tail)
        if below <= 0.0 or denominator.mid2 <= 0:
            return NAN
        before = before / below
        now = now / denominator.mid2
    if before <= 0.0:
        return NAN
    return (now / before - 1.0) * 100.0 / (numerator.mid.tail[tail].window_ns / 1e9)


cdef double feature_sigma(FeatureState* self, int64_t t) noexcept nogil:
    cdef double slow, rate, least
    cdef int64_t observed_ns
    t = clock(self, t)
    observed_ns = ewma_variance_observed_ns(&self.variance[V_60S], t)
    if observed_ns < BASELINE_NS:
        return NAN
    rate = ewma_variance_rate(&self.variance[V_10S], t)
    slow = ewma_variance_rate(&self.variance[V_60S], t)
    least = LEAST_MOVE * LEAST_MOVE / (observed_ns / 1e9)
    if slow > rate:
        rate = slow
    return sqrt(rate if rate > least else least)


cdef double volatility_ratio(FeatureState* self, int64_t t) noexcept nogil:
    # NaN while the 60 s average is younger than 5 s or has seen no move.
    cdef double slow
    if ewma_variance_observed_ns(&self.variance[V_60S], t) < BASELINE_NS:
        return NAN
    slow = ewma_variance_rate(&self.variance[V_60S], t)
    return sqrt(ewma_variance_rate(&self.variance[V_1S], t) / slow) if slow > 0.0 else NAN


cdef void feature_stress(FeatureState* self, SharedSignals* shared, int64_t t, int64_t news_fresh_ns,
                         StressInputs* out) noexcept nogil:
    cdef double score = 0.0, value
    cdef int64_t age_ns = 0
    cdef int64_t updates
    cdef int k, count = 0
    memset(out, 0, sizeof(StressInputs))
    t = arrive(self, t)
    if covered(self, t, SECOND):
        ring_pass(&self.mid, t)
        value = volatility_ratio(self, t)
        if isfinite(value):
            # Too few moves to compare are known to be calm: the input is there, and it is 0.
            out.volatility_ratio = value if ring_holds(&self.mid, SECOND, STRESS_MOVES_MIN) else 0.0
            out.valid |= STRESS_HAS_VOLATILITY
        time_weighted_advance(&self.spread, t)
        if time_weighted_whole(&self.spread):
            value = spread_ratio(self, sqrt(time_weighted_variance(&self.spread)))
            if isfinite(value):
                out.spread_volatility_ratio = value
                out.valid |= STRESS_HAS_SPREAD
        buckets_advance(&self.buckets, t)
        value = baseline_rate(self, in_60s(self, C_TOP))
        if value > 0.0:
            updates = in_2s(self, C_TOP)
            out.update_frequency_ratio = 0.0
            if updates >= STRESS_UPDATES_MIN:
                out.update_frequency_ratio = updates / (bucket_seconds(self, BUCKETS_2S, t) * value)
            out.valid |= STRESS_HAS_UPDATES
    if self.live:
        for k in range(DRIVERS):
            if self.pair[k].numerator != NULL and self.pair[k].z_known:
                if not out.valid & STRESS_HAS_DECORRELATION or self.pair[k].z > out.decorrelation_z:
                    out.decorrelation_z = self.pair[k].z
                out.valid |= STRESS_HAS_DECORRELATION
    news_strongest(&self.news, t, self.news_half_life_ns, news_fresh_ns, &score, &age_ns, &count)
    if shared != NULL:
        news_strongest(&shared.news, t, self.news_half_life_ns, news_fresh_ns, &score, &age_ns, &count)
    if count > 0:
        out.news_abs = fabs(score)
        out.valid |= STRESS_HAS_NEWS


cdef void put_book(const LevelBook* book, double mirror, const FeatureQuery* query, double* out,
                   uint64_t* valid) noexcept nogil:
    # What the book says now. A one-sided book still has an imbalance, at its cap.
    cdef int64_t price = 0, lots = 0, best
    cdef int64_t[PRESSURE_LEVELS] bid_total, ask_total
    cdef double[2] weighted
    cdef double ratio, b, a, spread, left, cost
    cdef int k, found
    cdef bint both = book_two_sided(book) and not book.crossed
    memset(bid_total, 0, sizeof(bid_total))
    memset(ask_total, 0, sizeof(ask_total))
    weighted[0] = weighted[1] = 0.0
    if book.crossed:
        return
    for k in range(PRESSURE_LEVELS):
        if k > 0:
            bid_total[k] = bid_total[k - 1]
        if book_next_bid(book, k, &price, &lots):
            lots = held(lots, LOTS_MAX)
            bid_total[k] += lots
            if book.bid_ticks - price < PRESSURE_TICKS:
                weighted[0] += pressure_weight[book.bid_ticks - price] * lots
    for k in range(PRESSURE_LEVELS):
        if k > 0:
            ask_total[k] = ask_total[k - 1]
        if book_next_ask(book, k, &price, &lots):
            lots = held(lots, LOTS_MAX)
            ask_total[k] += lots
            if price - book.ask_ticks < PRESSURE_TICKS:
                weighted[1] += pressure_weight[price - book.ask_ticks] * lots
    b = bid_total[4]
    a = ask_total[4]
    if b > 0.0 or a > 0.0:
        ratio = b / a if a > 0.0 else IMBALANCE_MAX
        if ratio > IMBALANCE_MAX:
            ratio = IMBALANCE_MAX
        elif ratio < 1.0 / IMBALANCE_MAX:
            ratio = 1.0 / IMBALANCE_MAX
        put(out, valid, F_BOOK_IMBALANCE_RATIO, ratio, True)
        put(out, valid, F_BOOK_IMBALANCE, mirror * (b - a) / (b + a), True)
        # Both logarithms are taken of a ratio above 1, so that mirrored books give equal bits.
        if b >= a:
            ratio = b / a if a > 0.0 and b < a * IMBALANCE_MAX else IMBALANCE_MAX
            put(out, valid, F_BOOK_IMBALANCE_LOG, mirror * log(ratio), True)
        else:
            ratio = a / b if b > 0.0 and a < b * IMBALANCE_MAX else IMBALANCE_MAX
            put(out, valid, F_BOOK_IMBALANCE_LOG, -mirror * log(ratio), True)
    if not both:
        return
    spread = book.ask_ticks - book.bid_ticks
    b = book.bid_lots
    a = book.ask_lots
    put(out, valid, F_SPREAD_TICKS, spread, True)
    put(out, valid, F_SPREAD_BPS, spread * 20000.0 / (book.bid_ticks + book.ask_ticks),
        book.bid_ticks + book.ask_ticks > 0)
    put(out, valid, F_QUEUE_IMBALANCE, mirror * (b - a) / (b + a), True)
    put(out, valid, F_MICROPRICE_DEVIATION, mirror * 0.5 * spread * (b - a) / (b + a), True)
    put(out, valid, F_BOOK_PRESSURE, mirror * (weighted[0] - weighted[1]) / (weighted[0] + weighted[1]), True)
    put(out, valid, F_DEPTH_BID_1, bid_total[0], True)
    put(out, valid, F_DEPTH_ASK_1, ask_total[0], True)
    put(out, valid, F_DEPTH_BID_3, bid_total[2], True)
    put(out, valid, F_DEPTH_ASK_3, ask_total[2], True)
    put(out, valid, F_DEPTH_BID_5, bid_total[4], True)
    put(out, valid, F_DEPTH_ASK_5, ask_total[4], True)
    put(out, valid, F_DEPTH_BID_10, bid_total[9], True)
    put(out, valid, F_DEPTH_ASK_10, ask_total[9], True)
    if not query.size_lots > 0.0:
        return
    # A desk that buys hedges by selling into the bids.
    put(out, valid, F_SIZE_TO_DEPTH, query.size_lots / (bid_total[4] if query.side > 0 else ask_total[4]), True)
    left = query.size_lots
    cost = 0.0
    best = book.bid_ticks if query.side > 0 else book.ask_ticks
    for k in range(SWEEP_LEVELS):
        if query.side > 0:
            found = book_next_bid(book, k, &price, &lots)
        else:
            found = book_next_ask(book, k, &price, &lots)
        if not found or (price <= book.bid.known_above if query.side > 0 else -price <= book.ask.known_above):
            break              # where levels may be missing, the cost is not known
        if left <= lots:
            put(out, valid, F_SWEEP_COST, (cost + left * fabs(<double>(price - best))) / query.size_lots, True)
            break
        cost += <double>lots * fabs(<double>(price - best))
        left -= lots


cdef inline void put_flow(FeatureState* self, int tail, double seconds, double mirror, double side_depth, double* out,
                          uint64_t* valid, int ofi, int ofi5, int cancel, int add, int by_side,
                          double* cancel_rate) noexcept nogil:
    # Order flow of one exact window that is known to be covered; by_side: the first of its eight features a side.
    cdef int64_t traded_tail = TAIL_100MS if tail == TAIL_100MS else TAIL_LONG_1S
    cdef const int64_t* flow = self.flow.tail[tail].sum
    cdef const VwapTail* traded = &self.trades.tail[traded_tail]
    cdef int64_t n = ring_count(&self.top, tail)
    cdef int64_t[2] lots, times
    cdef double size, e = self.top.tail[tail].sum[0]
    cdef bint top_whole = ring_whole(&self.top, tail), flow_whole = ring_whole(&self.flow, tail)
    cdef int k, which
    if n == 0:
        put(out, valid, ofi, 0.0, top_whole)
    else:
        size = self.top.tail[tail].sum[1] * 0.5 / n
        put(out, valid, ofi, mirror * e / size, top_whole and size > 0.0)
    if side_depth > 0.0:
        put(out, valid, ofi5, mirror * (e + flow[FLOW_DEEPER]) / side_depth, top_whole and flow_whole)
    if not flow_whole:
        return
    put(out, valid, add, (flow[FLOW_ADDED] + flow[FLOW_ADDED + 1]) / seconds, True)
    for k in range(2):
        which = k if mirror < 0.0 else 1 - k             # the quote of a desk that buys stands on the bid
        put(out, valid, by_side + k, flow[FLOW_ADDED + which] / seconds, True)
        put(out, valid, by_side + 4 + k, count_of(flow[FLOW_ADDS], which) / seconds, True)
    for which in range(2):
        lots[which] = flow[FLOW_REMOVED + which]
        times[which] = count_of(flow[FLOW_REMOVALS], which)
    if not self.by_order:
        # What was traded went too: what sellers took came off the bid.
        if not vwap_whole(&self.trades, traded_tail):
            return
        lots[0] = max(lots[0] - traded.negative, 0)
        lots[1] = max(lots[1] - traded.positive, 0)
        times[0] = max(times[0] - (vwap_count(&self.trades, traded_tail) - traded.positives), 0)
        times[1] = max(times[1] - traded.positives, 0)
    cancel_rate[0] = (lots[0] + lots[1]) / seconds
    put(out, valid, cancel, cancel_rate[0], True)
    for k in range(2):
        which = k if mirror < 0.0 else 1 - k
        put(out, valid, by_side + 2 + k, lots[which] / seconds, True)
        put(out, valid, by_side + 6 + k, times[which] / seconds, True)


cdef inline void put_trades(FeatureState* self, int tail, double seconds, double mirror, double* out,
                            uint64_t* valid, int deviation, int imbalance, int intensity) noexcept nogil:
    cdef int64_t volume = vwap_volume(&self.trades, tail)
    cdef bint whole = vwap_whole(&self.trades, tail)
    put(out, valid, intensity, vwap_count(&self.trades, tail) / seconds, whole)
    if volume > 0 and whole:
        put(out, valid, imbalance, mirror * (self.trades.tail[tail].positive - self.trades.tail[tail].negative)
            / <double>volume, True)
        put(out, valid, deviation, mirror * vwap_deviation(&self.trades, tail), True)


cdef void put_market(FeatureState* self, const LevelBook* book, int64_t t, double mirror, double* out,
                     uint64_t* valid) noexcept nogil:
    # What happened. The book is two-sided and uncrossed, the state is live.
    cdef double deviation, rate, base, side_depth = 0.0, cancel_rate = NAN, own, driver, seconds
    cdef int64_t samples = baseline(self), volume
    cdef int k
    cdef bint covered_100ms = covered(self, t, 100 * <int64_t>MS), covered_500ms = covered(self, t, 500 * <int64_t>MS)
    cdef bint covered_1s = covered(self, t, SECOND), covered_5s = covered(self, t, BASELINE_NS)
    ring_advance(&self.top, t)
    ring_advance(&self.flow, t)
    ring_advance(&self.mid, t)
    vwap_advance(&self.trades, t)
    time_weighted_advance(&self.spread, t)

    if covered_1s and time_weighted_whole(&self.spread):
        deviation = sqrt(time_weighted_variance(&self.spread))
        put(out, valid, F_SPREAD_VOLATILITY_1S, deviation, True)
        put(out, valid, F_SPREAD_VOLATILITY_RATIO, spread_ratio(self, deviation), True)
    put(out, valid, F_TOP_UPDATES_100MS, ring_count(&self.top, TAIL_100MS),
        covered_100ms and ring_whole(&self.top, TAIL_100MS))
    put(out, valid, F_TOP_UPDATES_1S, ring_count(&self.top, TAIL_1S), covered_1s and ring_whole(&self.top, TAIL_1S))
    rate = baseline_rate(self, in_60s(self, C_TOP))
    if rate > 0.0:
        put(out, valid, F_TOP_UPDATE_RATIO, ring_count(&self.top, TAIL_100MS) * 10.0 / rate,
            covered_100ms and ring_whole(&self.top, TAIL_100MS))
    if samples > 0 and in_60s(self, C_DEPTH) > 0:
        side_depth = in_60s(self, C_DEPTH) * 0.5 / samples
        put(out, valid, F_DEPTH_RATIO, sample_depth(book) * 0.5 / side_depth, True)

    if covered_100ms:
        put_flow(self, TAIL_100MS, 0.1, mirror, side_depth, out, valid, F_ORDER_FLOW_IMBALANCE_100MS,
                 F_ORDER_FLOW_IMBALANCE_5_100MS, F_CANCEL_RATE_100MS, F_ADD_RATE_100MS,
                 F_ADD_RATE_OWN_100MS, &cancel_rate)
        put_trades(self, TAIL_100MS, 0.1, mirror, out, valid, F_VWAP_DEVIATION_100MS, F_TRADE_IMBALANCE_100MS,
                   F_TRADE_INTENSITY_100MS)
    if covered_500ms:
        put_trades(self, TAIL_500MS, 0.5, mirror, out, valid, F_VWAP_DEVIATION_500MS, F_TRADE_IMBALANCE_500MS,
                   F_TRADE_INTENSITY_500MS)
    if covered_1s:
        cancel_rate = NAN
        put_flow(self, TAIL_1S, 1.0, mirror, side_depth, out, valid, F_ORDER_FLOW_IMBALANCE_1S,
                 F_ORDER_FLOW_IMBALANCE_5_1S, F_CANCEL_RATE_1S, F_ADD_RATE_1S,
                 F_ADD_RATE_OWN_1S, &cancel_rate)
        if self.by_order:
            base = baseline_rate(self, <double>(in_60s(self, C_REMOVED_BID) + in_60s(self, C_REMOVED_ASK)))
        else:
            base = baseline_rate(self, floored(<double>(in_60s(self, C_REMOVED_BID) - in_60s(self, C_SOLD)))
                                 + floored(<double>(in_60s(self, C_REMOVED_ASK) - in_60s(self, C_BOUGHT))))
        put(out, valid, F_CANCEL_RATIO, cancel_rate / base, base > 0.0)
    if covered(self, t, 2 * <int64_t>SECOND):
        seconds = bucket_seconds(self, BUCKETS_2S, t)
        put(out, valid, F_TRADE_INTENSITY_2S, in_2s(self, C_TRADES) / seconds, True)
        volume = in_2s(self, C_BOUGHT) + in_2s(self, C_SOLD)
        if volume > 0:
            put(out, valid, F_TRADE_IMBALANCE_2S, mirror * (in_2s(self, C_BOUGHT)
                - in_2s(self, C_SOLD)) / <double>volume, True)

    put(out, valid, F_MID_MOVES_100MS, ring_count(&self.mid, TAIL_100MS),
        covered_100ms and ring_whole(&self.mid, TAIL_100MS))
    put(out, valid, F_MID_MOVES_1S, ring_count(&self.mid, TAIL_LONG_1S),
        covered_1s and ring_whole(&self.mid, TAIL_LONG_1S))
    put(out, valid, F_MID_MOVES_10S, buckets_sum(&self.buckets, BUCKETS_10S, C_MOVES), covered_5s)
    put(out, valid, F_MID_MOVES_60S, in_60s(self, C_MOVES), covered_5s)
    if self.last_move != 0:
        put(out, valid, F_LAST_MOVE_AGE_S, (t - self.last_move_ns) / 1e9, True)
        put(out, valid, F_LAST_MOVE_DIRECTION, mirror * self.last_move, True)
    put(out, valid, F_REALISED_VOLATILITY_100MS, sqrt(ewma_variance_rate(&self.variance[V_100MS], t)),
        ewma_variance_observed_ns(&self.variance[V_100MS], t) >= 100 * <int64_t>MS)
    put(out, valid, F_REALISED_VOLATILITY_1S, sqrt(ewma_variance_rate(&self.variance[V_1S], t)),
        ewma_variance_observed_ns(&self.variance[V_1S], t) >= SECOND)
    put(out, valid, F_REALISED_VOLATILITY_10S, sqrt(ewma_variance_rate(&self.variance[V_10S], t)),
        ewma_variance_observed_ns(&self.variance[V_10S], t) >= BASELINE_NS)
    put(out, valid, F_REALISED_VOLATILITY_60S, sqrt(ewma_variance_rate(&self.variance[V_60S], t)),
        ewma_variance_observed_ns(&self.variance[V_60S], t) >= BASELINE_NS)
    put(out, valid, F_VOLATILITY_RATIO, volatility_ratio(self, t), True)

    own = velocity(self, NULL, t, TAIL_500MS)
    put(out, valid, F_OWN_VELOCITY_500MS, mirror * own, True)
    for k in range(DRIVERS):
        if self.pair[k].numerator == NULL:
            continue
        driver = velocity(self.pair[k].numerator, self.pair[k].denominator, t, TAIL_500MS)
        put(out, valid, F_DRIVER0_VELOCITY_500MS + 4 * k, mirror * driver, True)
        put(out, valid, F_DRIVER0_VELOCITY_100MS + 4 * k,
            mirror * velocity(self.pair[k].numerator, self.pair[k].denominator, t, TAIL_100MS), True)
        put(out, valid, F_DRIVER0_DECORRELATION + 4 * k, self.pair[k].z, self.pair[k].z_known)
        put(out, valid, F_DRIVER0_RESIDUAL_VELOCITY + 4 * k, mirror * (own - self.pair[k].beta * driver),
            self.pair[k].beta_known)


cdef void put_index(const VolatilityIndex* self, int64_t t, double* out, uint64_t* valid) noexcept nogil:
    cdef int64_t k, newest = self.slots, second = t // SECOND - 60
    cdef const IndexSlot* slot
    cdef double mean, variance
    if not self.used or t - self.last_ns >= self.ttl_ns:
        return
    put(out, valid, F_VOLATILITY_INDEX, self.level, True)
    put(out, valid, F_VOLATILITY_INDEX_AGE_S, (t - self.last_ns) / 1e9 if t > self.last_ns else 0.0, True)
    for k in range(INDEX_SECONDS):
        if k >= newest:
            break
        slot = &self.slot[(newest - 1 - k) % INDEX_SECONDS]
        if slot.second <= second:
            put(out, valid, F_VOLATILITY_INDEX_CHANGE_1M, self.level - slot.level, True)
            break
    if t - self.first_ns >= INDEX_HISTORY_NS:
        mean = ewma_mean_at(&self.mean, t)
        variance = ewma_mean_at(&self.square, t) - mean * mean
        # Below a billionth of the level squared it is rounding, not deviation.
        put(out, valid, F_VOLATILITY_INDEX_Z, (self.level - self.origin - mean) / sqrt(variance),
            variance > 1e-9 * (self.level * self.level + 1e-9))


cdef inline void take_back(double* out, uint64_t* valid, int first, int last) noexcept nogil:
    cdef int i
    for i in range(first, last + 1):
        out[i] = 0.0
        valid[i >> 6] &= ~(<uint64_t>1 << (i & 63))


cdef void take_back_sizes(double* out, uint64_t* valid) noexcept nogil:
    # What sizes in the book would say.
    take_back(out, valid, F_BOOK_IMBALANCE_RATIO, F_SIZE_TO_DEPTH)
    take_back(out, valid, F_ORDER_FLOW_IMBALANCE_100MS, F_ORDER_FLOW_IMBALANCE_1S)
    take_back(out, valid, F_ORDER_FLOW_IMBALANCE_5_100MS, F_ORDER_FLOW_IMBALANCE_5_1S)
    take_back(out, valid, F_SWEEP_COST, F_SWEEP_COST)


cdef void feature_compute(FeatureState* self, const LevelBook* book, SharedSignals* shared, const FeatureQuery* query,
                          double* out, uint64_t* valid) noexcept nogil:
    cdef int64_t t = arrive(self, query.now_ns)
    cdef double side = 1.0 if query.side > 0 else -1.0
    cdef double mirror = -side
    cdef double score = 0.0
    cdef int64_t age_ns = 0
    cdef int count = 0
    cdef const Position* position = position_of(self, query.desk, t)
    memset(out, 0, FEATURES_MAX * sizeof(double))
    memset(valid, 0, VALID_WORDS * sizeof(uint64_t))
    if self.live:
        put_book(book, mirror, query, out, valid)
        if book_two_sided(book) and not book.crossed:
            put_market(self, book, t, mirror, out, valid)
        if book.unsized:
            take_back_sizes(out, valid)

    news_strongest(&self.news, t, self.news_half_life_ns, INT64_MAX, &score, &age_ns, &count)
    if shared != NULL:
        news_strongest(&shared.news, t, self.news_half_life_ns, INT64_MAX, &score, &age_ns, &count)
        if 0 <= query.volatility_index < VOLATILITY_INDICES:
            put_index(&shared.index[query.volatility_index], t, out, valid)
    put(out, valid, F_NEWS_COUNT, count, True)
    put(out, valid, F_NEWS_SCORE, mirror * score, count > 0)
    put(out, valid, F_NEWS_AGE_S, age_ns / 1e9, count > 0)
    if position != NULL:
        put(out, valid, F_INVENTORY, side * position.share, True)
    put(out, valid, F_COUNTERPARTY_FILL_RATE, query.fill_rate, True)
    put(out, valid, F_COUNTERPARTY_SIZE_RATIO, query.size_lots / query.average_size_lots,
        query.size_lots >= 0.0 and query.average_size_lots > 0.0)
    put(out, valid, F_THRESHOLD, query.h_ticks / query.sigma_ticks, query.sigma_ticks > 0.0)
