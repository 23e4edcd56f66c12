# What quotes to each counterparty have come to, and what is believed of it; docs/counterparties.md.
from libc.stdint cimport int32_t, int64_t, uint32_t, uint64_t

from quotelife.counterparty.marks cimport MARKOUTS, Mark, Marks
from quotelife.counterparty.response cimport Responses

cdef enum:
    SIZES_KEPT = 16                    # instruments of which a counterparty's average size is kept
    TERMS = 4                          # of a value prior: hit, informed, mu, sigma

cdef enum OutcomeKind:
    OUTCOME_HIT = 1                    # the client sold to our bid
    OUTCOME_LIFTED = 2                 # the client bought our offer
    OUTCOME_EXPIRED = 3
    OUTCOME_DONE_AWAY = 4              # the client traded elsewhere
    OUTCOME_COVER = 5                  # so, and ours was the second best price
    OUTCOME_CANCELLED = 6              # withdrawn or cancelled before its end

cdef struct Evidence:                  # doubles alone: forgetting multiplies all of them
    double quotes                      # firm to their end, or answered
    double fills
    double marks[MARKOUTS]             # fills whose markout is known ...
    double mark_sum[MARKOUTS]          # ... in basis points of the price, positive for the desk
    double mark_square[MARKOUTS]
    double adverse                     # fills whose move since pricing is known ...
    double adverse_sum                 # ... in adverse thresholds, positive against the desk
    double adverse_square
    Responses responses

cdef struct Average:
    uint32_t instrument
    double weight
    double sum_lots

cdef struct Belief:                    # of one counterparty, of a tier, or of all
    double hit
    double mu                          # ln of the median response time in ns, less latency
    double sigma
    double adverse                     # mean move since pricing against a fill, in h
    double informed
    double fill_rate                   # NaN: unknown
    double fill_deviation
    double markout[MARKOUTS]           # bp; NaN: unknown
    double markout_deviation[MARKOUTS] # of that mean
    double markout_variance[MARKOUTS]  # of one fill

cdef struct Node:
    Evidence evidence
    Evidence pooled                    # of it, what is in the pools
    Average average[SIZES_KEPT]
    Belief belief
    double used[TERMS]                 # what decisions are made by
    uint32_t counterparty
    int averages
    uint64_t reported                  # outcomes so far
    int64_t last_ns                    # of the last outcome
    int64_t noted_ns
    bint news                          # since it was noted
    bint stale                         # belief is older than evidence
    bint owed                          # belief is older than the configuration; evidence and pools are not
    bint moved                         # used differs from what the tier is configured with
    int at                             # place in the heap of those heard of longest ago

cdef struct Base:                      # what is configured of a tier
    double hit
    double mu
    double sigma
    double informed
    double loss_in_h
    double latency_ns
    double fill_rate

cdef struct Pool:                      # a tier, or all counterparties
    Evidence evidence
    Belief prior
    Belief belief
    double used[TERMS]
    bint moved
    bint stale


cdef class CounterpartyTables:
    cdef bint enabled
    cdef bint features
    cdef bint pooled
    cdef int room
    cdef tuple names
    cdef tuple tier_names
    cdef dict index
    cdef list instruments              # names by index
    cdef dict instrument_index
    cdef int32_t* place                # by counterparty, -1: nothing known
    cdef uint32_t* tier                # by counterparty; tiers: none
    cdef Base* base                    # by tier; the last is for counterparties without one
    cdef Pool* pool                    # by tier, likewise; then one of all
    cdef uint32_t counterparties
    cdef uint32_t tiers
    cdef uint32_t unknown_tier
    cdef double keep
    cdef double quotes
    cdef double answers
    cdef double fills


cdef class Counterparties:
    cdef readonly bint enabled
    cdef readonly bint features        # the posterior also stands in for the tier in features
    cdef readonly Marks marks
    cdef readonly uint64_t censored    # markouts that will never be known
    cdef readonly uint64_t strangers   # outcomes of counterparties that are not configured
    cdef readonly uint64_t forgotten   # counterparties given up for want of room
    cdef tuple _names
    cdef tuple _tier_names
    cdef dict _index
    cdef list _instruments             # names by index
    cdef dict _instrument_index
    cdef Node** _nodes                 # by place
    cdef int32_t* _place               # by counterparty, -1: nothing known
    cdef uint32_t* _tier               # by counterparty; _tiers: none
    cdef Base* _base                   # by tier; the last is for counterparties without one
    cdef Pool* _pool                   # by tier, likewise; then one of all
    cdef uint32_t _counterparties
    cdef uint32_t _tiers
    cdef uint32_t _unknown_tier
    cdef int _room
    cdef int _n
    cdef int32_t* _oldest              # places, a heap: heard of longest ago on top
    cdef int _refit_next
    cdef readonly int owed             # how many are owed a fit
    cdef int _owed_next
    cdef int _note_next
    cdef int64_t _pooled_ns
    cdef bint _pool_stale
    cdef double _keep                  # of the evidence, at each quote
    cdef double _quotes                # what the tier's word is worth
    cdef double _answers
    cdef double _fills
    cdef bint _pooled

    cdef void _adopt(self, CounterpartyTables tables) noexcept
    cdef int go_on(self, CounterpartyTables tables, int64_t now_ns) except -1
    cdef int places(self) noexcept nogil
    cdef Node* _node(self, uint32_t counterparty, int64_t last_ns) except NULL
    cdef bint _older(self, int a, int b) noexcept nogil
    cdef void _sift(self, int place) noexcept nogil
    cdef void settle(self, uint32_t counterparty) noexcept nogil
    cdef void _settle(self, Node* node) noexcept nogil
    cdef void _settle_some(self, int most) noexcept nogil
    cdef uint32_t _tier_of(self, uint32_t counterparty) noexcept nogil
    cdef int place(self, uint32_t counterparty) noexcept nogil
    cdef const double* used(self, int place) noexcept nogil
    cdef uint32_t tier_at(self, int place) noexcept nogil
    cdef double fill_rate(self, uint32_t counterparty, double prior) noexcept nogil
    cdef double average_size_lots(self, uint32_t counterparty, uint32_t instrument, double prior) noexcept nogil
    cdef void marked(self, const Mark* mark, double mid_ticks) noexcept nogil
    cdef void lost(self) noexcept nogil
    cdef int _average(self, Node* node, uint32_t instrument, double weight, double sum_lots) noexcept nogil
    cdef void _believe(self, const Evidence* evidence, const Belief* prior, double loss_in_h,
                       Belief* out) noexcept nogil
    cdef void _base_belief(self, uint32_t tier, Belief* out) noexcept nogil
    cdef void _prior_of_tier(self, uint32_t tier, Belief* out) noexcept nogil
    cdef void _judge(self, uint32_t tier, const Evidence* own, const Evidence* pooled, Belief* out) noexcept nogil
    cdef bint _fit(self, Node* node) noexcept nogil
    cdef void _follow_pool(self) noexcept nogil
    cdef void _repool(self) noexcept nogil
    cdef void _take_tiers(self) noexcept nogil
    cdef bint _take(self, const Belief* belief, uint32_t tier, double* used, bint* moved) noexcept nogil
