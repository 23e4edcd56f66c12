# The features of one instrument: what the engine feeds, what a decision reads. See state.pyx for the definitions.
from libc.stdint cimport int32_t, int64_t, uint32_t, uint64_t

from quotelife.book.level_book cimport LevelBook
from quotelife.features.stress cimport StressInputs
from quotelife.records cimport Signal
from quotelife.windows.buckets cimport BucketWindow
from quotelife.windows.ewma_correlation cimport EwmaCorrelation
from quotelife.windows.ewma_mean cimport EwmaMean
from quotelife.windows.ewma_variance cimport EwmaVariance
from quotelife.windows.ring cimport RingWindow
from quotelife.windows.time_weighted cimport TimeWeighted
from quotelife.windows.vwap cimport VwapWindow

cdef extern from *:
    void fetch "__builtin_prefetch"(const void* at) noexcept nogil

cdef enum:
    NEWS_KEPT = 8              # scores kept an instrument, and as many for all instruments
    VOLATILITY_INDICES = 16
    INDEX_SECONDS = 64         # one-second slots of an index's last minute
    DRIVERS = 2
    DESKS_KEPT = 16            # desks of whose own position an instrument keeps track
    OFI_LEVELS = 5
    GRID_MIDS = 256            # 25.6 s of mids on the 100 ms grid, for drivers that follow lazily
    TOP_CAPACITY = 4096        # top-of-book changes in 1 s
    TRADE_CAPACITY = 4096      # trades in 1 s
    FLOW_CAPACITY = 4096       # venue messages with level or order changes in 1 s
    MID_CAPACITY = 1024        # mid changes in 1 s
    SPREAD_CAPACITY = 1024     # spread changes in 1 s

cdef struct FeatureParams:
    int64_t news_half_life_ns  # 0: 60 s

cdef struct NewsItem:
    int64_t at_ns              # source time, or receive time where the source's lies in the future
    int64_t ttl_ns
    double score
    bint used

cdef struct NewsList:
    NewsItem item[NEWS_KEPT]
    bint any                   # False lets every reader skip the list

cdef struct IndexSlot:
    int64_t second
    double level               # last level of that second

cdef struct VolatilityIndex:
    int64_t first_ns
    int64_t last_ns
    int64_t ttl_ns
    double level
    double origin              # first level: moments are taken around it
    EwmaMean mean
    EwmaMean square
    IndexSlot slot[INDEX_SECONDS]  # in order of time; at most one a second
    int64_t slots              # written so far
    bint used

cdef struct SharedSignals:
    NewsList news
    VolatilityIndex index[VOLATILITY_INDICES]

cdef struct Position:
    int64_t at_ns              # source time as for news; 0: none
    int64_t ttl_ns             # 0: until the next one
    double share               # position / limit
    uint32_t desk

cdef struct FeatureState

cdef struct Pair:              # this instrument's 100 ms returns against one driver's
    FeatureState* numerator
    FeatureState* denominator  # NULL: the numerator alone
    EwmaCorrelation fast       # 2 s
    EwmaCorrelation slow       # 60 s
    int64_t step               # last grid step taken
    int64_t steps              # steps taken with both known
    double own_before          # mids at that step, 0 unknown
    double driver_before
    double z                   # decorrelation as of step
    double beta                # own return on driver's, slow
    bint z_known
    bint beta_known

cdef struct FeatureState:
    int64_t news_half_life_ns
    int64_t now_ns
    int64_t start_ns           # first book since the start or the last gap
    int64_t gap_ns
    bint by_order              # removals come by order id: what was traded is not among them
    bint live                  # a two-sided, uncrossed book has come since the last gap
    bint ever                  # ... and once before it
    int64_t bid_ticks          # the top as last seen
    int64_t bid_lots
    int64_t ask_ticks
    int64_t ask_lots
    int64_t mid2               # bid + ask
    int64_t start_mid2         # of the first book since the start or the last gap
    int64_t last_move_ns
    int32_t last_move          # +1, -1, 0: none since the last gap
    RingWindow top             # e_n, bid + ask size at the best prices; 100 ms, 1 s
    RingWindow mid             # mid2; 100 ms, 500 ms, 1 s
    RingWindow flow            # removed bid, ask; added bid, ask; deeper e_n; counts of both, bid << 32 | ask
    VwapWindow trades          # 100 ms, 500 ms, 1 s
    TimeWeighted spread        # 1 s
    BucketWindow buckets       # 2 s, 10 s, 60 s
    EwmaVariance variance[4]   # 100 ms, 1 s, 10 s, 60 s
    int64_t pending_removed[2] # of the message under way: lots, bid and ask
    int64_t pending_added[2]
    int64_t pending_removals   # and how often, as in flow
    int64_t pending_adds
    bint levels_touched        # levels have changed since the deeper levels were last looked at
    int64_t ofi_ticks[2][OFI_LEVELS]
    int64_t ofi_lots[2][OFI_LEVELS]
    int64_t grid               # last 100 ms grid point that is settled
    int64_t grid_due_ns        # an input later than this settles the next one
    int64_t grid_mid2[GRID_MIDS]   # 0: unknown
    int64_t depth              # lots of 5 levels of both sides, as sampled
    int64_t depth_bucket       # bucket of that sample
    Pair pair[DRIVERS]
    NewsList news
    Position position[1 + DESKS_KEPT]  # the one for all desks, then by desk, free places last

cdef struct FeatureQuery:
    int64_t now_ns
    int side                   # +1 the desk buys, -1 it sells
    double size_lots           # NaN: none, here and below
    double h_ticks
    double sigma_ticks
    double fill_rate
    double average_size_lots
    int volatility_index       # -1: none
    uint32_t desk              # NO_INDEX: none

cdef FeatureState* feature_state_new(const FeatureParams* params) except NULL
cdef void feature_state_free(FeatureState* self) noexcept nogil
cdef size_t feature_state_bytes(const FeatureState* self) noexcept nogil
cdef SharedSignals* shared_signals_new() except NULL
cdef void shared_signals_free(SharedSignals* self) noexcept nogil
# slot 0 or 1; denominator NULL: the numerator alone; numerator NULL: no driver. The pointers are borrowed.
# The history with a driver is kept while both pointers stay the same.
cdef void feature_set_driver(FeatureState* self, int slot, FeatureState* numerator,
                             FeatureState* denominator) noexcept nogil
# What a market event is about to read and write of it, on its way from memory; then what that points to.
cdef inline void feature_fetch(const FeatureState* self) noexcept nogil:
    fetch(self)
    fetch(&self.mid2)
    fetch(&self.top)
    fetch(&self.mid)
    fetch(&self.flow)
    fetch(&self.trades)
    fetch(&self.spread)
    fetch(&self.spread.first_ns)
    fetch(&self.spread.area)
    fetch(&self.buckets)
    fetch(&self.variance[1])
    fetch(&self.variance[3])
    fetch(&self.pending_removed)
    fetch(&self.ofi_ticks)
    fetch(&self.ofi_ticks[1][3])
    fetch(&self.ofi_lots[1])
    fetch(&self.grid_due_ns)
    fetch(&self.depth)

cdef inline void feature_fetch_slots(const FeatureState* self) noexcept nogil:
    fetch(self.buckets.running)
    fetch(self.top.slots + (self.top.head & self.top.mask) * self.top.stride)
    fetch(self.flow.slots + (self.flow.head & self.flow.mask) * self.flow.stride)

# Each level change of a diff message (not of a snapshot).
cdef void feature_on_level(FeatureState* self, int64_t t, int side, int64_t price_ticks,
                           int64_t old_lots, int64_t new_lots) noexcept nogil
# What an order record did to one side, outside snapshots; executions move levels without adding or cancelling.
cdef void feature_on_order(FeatureState* self, int side, int64_t added_lots, int64_t cancelled_lots) noexcept nogil
cdef void feature_on_trade(FeatureState* self, int64_t t, int64_t price_ticks, int64_t lots,
                           int aggressor) noexcept nogil
# At each LAST, after book_refresh(). A one-sided or crossed book is ignored.
cdef void feature_on_book(FeatureState* self, const LevelBook* book, int64_t t, bint top_changed) noexcept nogil
# Exact windows restart; averages and 60 s baselines are kept, the jump over the gap is no return.
cdef void feature_on_gap(FeatureState* self, int64_t t) noexcept nogil
# False where it changed nothing: older than what is held, past its time to live, a value that is not finite, an
# inventory whose limit is not above 0.
cdef bint feature_on_signal(FeatureState* self, const Signal* signal, int64_t t) noexcept nogil
# Desks have been renumbered: new_index by old index, n of them; NO_INDEX: gone, and its position with it.
cdef void feature_remap_desks(FeatureState* self, const uint32_t* new_index, uint32_t n) noexcept nogil
cdef bint shared_on_signal(SharedSignals* self, const Signal* signal, int64_t t) noexcept nogil
# Ticks per sqrt(s), the larger of the 10 s and 60 s averages, at least half a tick in the time observed; NaN before
# 5 s of it.
cdef double feature_sigma(FeatureState* self, int64_t t) noexcept nogil
# news_fresh_ns: the age up to which news counts.
cdef void feature_stress(FeatureState* self, SharedSignals* shared, int64_t t, int64_t news_fresh_ns,
                         StressInputs* out) noexcept nogil
# out: FEATURES_MAX doubles, valid: VALID_WORDS words; both are written whole. Invalid: 0.0 and a clear bit.
cdef void feature_compute(FeatureState* self, const LevelBook* book, SharedSignals* shared,
                          const FeatureQuery* query, double* out, uint64_t* valid) noexcept nogil
