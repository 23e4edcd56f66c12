"""Per counterparty: fill rate, response time, markouts, share of informed fills, sizes; shrunk to its tier.

Three levels: a counterparty is shrunk to the rest of its tier, a tier to what is configured of it, moved by as much as
the counterparties of all other tiers together differ from the defaults. Nobody's evidence counts twice. Each level's
word is worth as many quotes, answers and fills as ``counterparty_statistics`` says. Whoever has no evidence is believed
to be as its tier is, and a tier without any is as it is configured, bit for bit.

- fill rate: beta-binomial over quotes that were firm to their end or answered;
- response time: ``response.pyx``, censored;
- markouts: normal mean and variance shrunk to the tier's; in basis points of the fill price, positive for the desk;
- informed share: the mean move against fills since pricing, a second after the fill, in adverse thresholds h and cut at
  ±3 each, is π·c where an informed taker costs c h and the others nothing on average: π = mean / c;
- size: mean of the sizes asked for, by instrument.

Every quote multiplies what was known before by 2^(−1/half-life). What decisions are made by moves in steps only, so
that the quadrature of a prior is laid out anew seldom, and never inside a decision.
"""

from enum import IntEnum
from typing import NamedTuple

from libc.math cimport NAN, exp, fabs, fmax, fmin, isnan, log, sqrt
from libc.stdint cimport INT64_MIN
from libc.stdlib cimport calloc, free
from libc.string cimport memcpy, memset

from quotelife.counterparty.marks cimport MARKOUT_NS
from quotelife.counterparty.response cimport (
    LIFE_BINS, LN_SECOND, MU_MAX, MU_MIN, SIGMA_MAX, SIGMA_MIN, ResponseFit, ResponsePrior, fit_responses,
    responses_add_answer, responses_add_lived,
    responses_add_within,
)
from quotelife.records cimport NO_INDEX

cdef enum:
    REFITS_A_CALL = 64                 # up to 0.2 ms each, most of them a hundredth of it
    CHANGES_A_CALL = 2                 # each is a prior to be compiled, which takes half a millisecond
    FITTED_AT_ONCE = 256               # of those that a restart takes up; the others follow on timers
    TIERS_MAX = 256                    # as in the schema of the configuration

cdef int EVIDENCE = sizeof(Evidence) // sizeof(double)
cdef int HEAD = EVIDENCE - 4 * LIFE_BINS

cdef int64_t POOL_EVERY_NS = 10_000_000_000
cdef int64_t NOTE_EVERY_NS = 10_000_000_000
cdef double ADVERSE_MOST = 3.0         # h: a fill counts no more than this, either way
cdef double HIT_EDGE = 1e-4
cdef double STEP[TERMS]
STEP[0] = STEP[1] = 0.005
STEP[2] = STEP[3] = 0.01

INFORMED_MARKOUT = 1                   # the markout that says who was informed: after 1 s


class OutcomeCode(IntEnum):
    """How a quote ended, as in ``OutcomeKind`` of the interface."""

    HIT = OUTCOME_HIT
    LIFTED = OUTCOME_LIFTED
    EXPIRED = OUTCOME_EXPIRED
    DONE_AWAY = OUTCOME_DONE_AWAY
    COVER = OUTCOME_COVER
    CANCELLED = OUTCOME_CANCELLED


class Markout(NamedTuple):
    """After ``after_ns``: mean in basis points of the fill price, positive for the desk, its standard deviation, and
    how many fills it rests on, as forgetting has left them. ``None``: not known."""

    after_ns: int
    fills: float
    mean_bp: float | None
    deviation_bp: float | None


class AverageSize(NamedTuple):
    instrument: str
    quotes: float
    lots: float


class ValueTerms(NamedTuple):
    """What expected value assumes: as in ``TierValue``."""

    hit_probability: float
    informed_share: float
    response_median_ns: float
    response_sigma: float


class CounterpartyStatus(NamedTuple):
    """What is known of one counterparty. Counts are as forgetting has left them, but ``reported``."""

    name: str
    tier: str | None
    reported: int                # outcomes so far
    last_ns: int                 # of the last; 0: none
    quotes: float
    fills: float
    answers: float               # fills whose time is known
    censored: float              # quotes that ended before an answer
    refused: float
    fill_rate: float | None
    fill_deviation: float | None
    believed: ValueTerms         # the estimate ...
    used: ValueTerms             # ... what decisions are made by ...
    configured: ValueTerms       # ... and what they would be without any outcome
    adverse_in_h: float
    markouts: tuple
    sizes: tuple


cdef double _logit(double p) noexcept nogil:
    cdef double inside = fmin(fmax(p, HIT_EDGE), 1.0 - HIT_EDGE)
    return log(inside / (1.0 - inside))


cdef double _moved(double p, double by) noexcept nogil:
    # A probability moved on the logit scale; not at all by 0.
    return p if by == 0.0 else 1.0 / (1.0 + exp(-(_logit(p) + by)))


cdef double _total(const double* bins) noexcept nogil:
    cdef double total = 0.0
    cdef int k
    for k in range(LIFE_BINS):
        total += bins[k]
    return total


cdef bint _empty(const Evidence* evidence) noexcept nogil:
    cdef const double* value = <const double*>evidence
    cdef int k
    for k in range(EVIDENCE):
        if value[k] != 0.0:
            return False
    return True


cdef bint _gone(double left, double total) noexcept nogil:
    # What is left of a sum is what rounding left of it.
    return left <= 1e-9 * total


cdef void _without(const Evidence* all_of_it, const Evidence* own, Evidence* out) noexcept nogil:
    # all_of_it less own, which is a part of it.
    cdef const double* a = <const double*>all_of_it
    cdef const double* b = <const double*>own
    cdef double* c = <double*>out
    cdef int k
    for k in range(EVIDENCE):
        c[k] = a[k] - b[k]
    if _gone(out.quotes, all_of_it.quotes):
        out.quotes = out.fills = 0.0
    out.fills = fmin(fmax(out.fills, 0.0), out.quotes)
    for k in range(MARKOUTS):
        if _gone(out.marks[k], all_of_it.marks[k]):
            out.marks[k] = out.mark_sum[k] = out.mark_square[k] = 0.0
    if _gone(out.adverse, all_of_it.adverse):
        out.adverse = out.adverse_sum = out.adverse_square = 0.0
    if _gone(out.responses.answers, all_of_it.responses.answers):
        out.responses.answers = out.responses.sum_x = out.responses.sum_xx = 0.0
    if _gone(out.responses.refused, all_of_it.responses.refused):
        out.responses.refused = 0.0
    for k in range(LIFE_BINS):
        if _gone(out.responses.lived[k], all_of_it.responses.lived[k]):
            out.responses.lived[k] = out.responses.lived_x[k] = 0.0
        if _gone(out.responses.within[k], all_of_it.responses.within[k]):
            out.responses.within[k] = out.responses.within_x[k] = 0.0


cdef object _known(double value):
    return None if isnan(value) else value


cdef object _terms(double hit, double informed, double mu, double sigma):
    return ValueTerms(hit, informed, exp(mu), sigma)


cdef class CounterpartyTables:
    """What a configuration says of counterparties, compiled, for ``Counterparties`` to go on under."""

    def __init__(self, config):
        cdef uint32_t i
        cdef size_t k
        cdef Base* base
        settings = config.counterparty_statistics
        self.enabled = settings.enabled
        self.features = settings.enabled and settings.used_by == "all"
        self.keep = 2.0 ** (-1.0 / settings.half_life_quotes)
        self.quotes = settings.prior_quotes
        self.answers = settings.prior_answers
        self.fills = settings.prior_fills
        self.pooled = settings.pooled
        self.room = settings.counterparties_max
        self.names = tuple(sorted(config.counterparties))          # numbered as in Policy
        self.tier_names = tuple(sorted(config.tiers))
        self.index = {name: k for k, name in enumerate(self.names)}
        self.instruments = [each.name for each in config.instruments]
        self.instrument_index = {name: k for k, name in enumerate(self.instruments)}
        self.counterparties = len(self.names)
        self.tiers = len(self.tier_names)
        tiers = {name: k for k, name in enumerate(self.tier_names)}
        unknown = config.defaults.unknown_counterparty_tier
        self.unknown_tier = self.tiers if unknown is None else tiers[unknown]
        self.place = <int32_t*>calloc(max(1, self.counterparties), sizeof(int32_t))
        self.tier = <uint32_t*>calloc(max(1, self.counterparties), sizeof(uint32_t))
        self.base = <Base*>calloc(self.tiers + 1, sizeof(Base))
        self.pool = <Pool*>calloc(self.tiers + 2, sizeof(Pool))
        if self.place == NULL or self.tier == NULL or self.base == NULL or self.pool == NULL:
            raise MemoryError()
        for i in range(self.counterparties):
            self.place[i] = -1
            tier = config.counterparties[self.names[i]].tier
            self.tier[i] = self.tiers if tier is None else tiers[tier]
        for k in range(<size_t>self.tiers + 1):
            tier = config.tiers[self.tier_names[k]] if k < self.tiers else None
            value = config.defaults.value if tier is None else tier.value
            base = &self.base[k]
            base.hit = value.hit_probability
            base.mu = log(<double>value.response_median_ns)
            base.sigma = value.response_sigma
            base.informed = value.informed_share
            base.loss_in_h = value.loss_in_h
            base.latency_ns = value.latency_ns
            base.fill_rate = NAN if tier is None or tier.fill_rate is None else tier.fill_rate

    def __dealloc__(self):
        free(self.place)
        free(self.tier)
        free(self.base)
        free(self.pool)


cdef class Counterparties:
    """One thread, the engine's. Places are those of what is known: below ``counterparties_max`` a counterparty, from
    there on a tier."""

    def __cinit__(self):
        self.marks = Marks()

    def __init__(self, config):
        cdef CounterpartyTables tables = CounterpartyTables(config)
        self._pooled_ns = INT64_MIN
        self._room = tables.room
        self._nodes = <Node**>calloc(self._room, sizeof(Node*))
        self._oldest = <int32_t*>calloc(self._room, sizeof(int32_t))
        if self._nodes == NULL or self._oldest == NULL:
            raise MemoryError()
        self._adopt(tables)
        self._repool()

    def __dealloc__(self):
        cdef int i
        for i in range(self._n):
            free(self._nodes[i])
        free(self._nodes)
        free(self._oldest)
        free(self._place)
        free(self._tier)
        free(self._base)
        free(self._pool)

    cdef void _adopt(self, CounterpartyTables tables) noexcept:
        # Cannot fail; the tables get what there was before, to free it.
        self.enabled = tables.enabled
        self.features = tables.features
        self._keep = tables.keep
        self._quotes = tables.quotes
        self._answers = tables.answers
        self._fills = tables.fills
        self._pooled = tables.pooled
        self._names = tables.names
        self._tier_names = tables.tier_names
        self._index = tables.index
        self._instruments = tables.instruments
        self._instrument_index = tables.instrument_index
        self._counterparties = tables.counterparties
        self._tiers = tables.tiers
        self._unknown_tier = tables.unknown_tier
        self._place, tables.place = tables.place, self._place
        self._tier, tables.tier = tables.tier, self._tier
        self._base, tables.base = tables.base, self._base
        self._pool, tables.pool = tables.pool, self._pool

    cdef int places(self) noexcept nogil:
        # Whatever tiers a configuration names.
        return self._room + TIERS_MAX + 1

    def follow(self, config, int64_t now_ns):
        """Go on under another configuration: what is known stays with the names. ``counterparties_max`` stays as it
        was until the next start.

        Whoever something is known of is fitted under it before a decision or an outcome of its own makes use of that,
        some on every timer, to the numbers that all of them would have been fitted to here. One that a second
        configuration overtakes is fitted under that alone."""
        self.go_on(CounterpartyTables(config), now_ns)

    cdef int go_on(self, CounterpartyTables tables, int64_t now_ns) except -1:
        cdef Mark mark
        cdef Node* node
        cdef int i, n = self._n, kept = 0
        places = [tables.index.get(name, -1) for name in self._names]
        self._adopt(tables)
        self._n = 0
        for i in range(n):
            node = self._nodes[i]
            self._nodes[i] = NULL
            if places[node.counterparty] < 0:
                free(node)
                continue
            node.counterparty = places[node.counterparty]
            node.owed = self.enabled
            node.stale = not self.enabled
            node.at = kept
            self._nodes[kept] = node
            self._place[node.counterparty] = kept
            self._oldest[kept] = kept
            self._n = kept + 1
            self._sift(kept)                     # among those before it
            kept += 1
        self.owed = kept if self.enabled else 0
        self._refit_next = self._note_next = self._owed_next = 0
        self._pooled_ns = now_ns
        self._repool()
        self._take_tiers()
        marks, self.marks = self.marks, Marks()
        while (<Marks>marks).open:
            (<Marks>marks).pop(&mark)
            if places[mark.counterparty] < 0:
                self.censored += 1
                continue
            mark.counterparty = places[mark.counterparty]
            self.marks.push(&mark)
        return 0

    cdef uint32_t _tier_of(self, uint32_t counterparty) noexcept nogil:
        return self._tier[counterparty] if counterparty < self._counterparties else self._unknown_tier

    cdef Node* _node(self, uint32_t counterparty, int64_t last_ns) except NULL:
        # Something is told of it, as of then.
        cdef Node* node
        cdef int place = self._place[counterparty]
        if place >= 0:
            node = self._nodes[place]
            self.settle(counterparty)
        elif self._n < self._room:
            place = self._n
            node = <Node*>calloc(1, sizeof(Node))
            if node == NULL:
                raise MemoryError()
            self._nodes[place] = node
            self._oldest[place] = place
            node.at = place
            self._n += 1
        else:                                    # whoever was heard of longest ago makes room
            place = self._oldest[0]
            node = self._nodes[place]
            self.owed -= node.owed
            self._place[node.counterparty] = -1
            memset(node, 0, sizeof(Node))        # it stays on top until it is known how old it is
            self.forgotten += 1
        if self._place[counterparty] < 0:
            node.counterparty = counterparty
            node.noted_ns = INT64_MIN
            self._place[counterparty] = place
        node.last_ns = last_ns
        self._sift(place)
        return node

    cdef bint _older(self, int a, int b) noexcept nogil:
        # Of two places; of those heard of at the same time the first by name, so that places do not matter.
        cdef const Node* one = self._nodes[a]
        cdef const Node* other = self._nodes[b]
        return one.last_ns < other.last_ns or (one.last_ns == other.last_ns and one.counterparty < other.counterparty)

    cdef void _sift(self, int place) noexcept nogil:
        # To where it belongs among the oldest.
        cdef int at = self._nodes[place].at, next
        while at > 0 and self._older(place, self._oldest[(at - 1) // 2]):
            self._oldest[at] = self._oldest[(at - 1) // 2]
            self._nodes[self._oldest[at]].at = at
            at = (at - 1) // 2
        while True:
            next = 2 * at + 1
            if next + 1 < self._n and self._older(self._oldest[next + 1], self._oldest[next]):
                next += 1
            if next >= self._n or not self._older(self._oldest[next], place):
                break
            self._oldest[at] = self._oldest[next]
            self._nodes[self._oldest[at]].at = at
            at = next
        self._oldest[at] = place
        self._nodes[place].at = at

    # --- what is told -------------------------------------------------------------------------------------------

    def outcome(self, uint32_t counterparty, uint32_t instrument, int kind, bint counts, *, double age_ns,
                double life_ns, double size_lots, int64_t at_ns):
        """A quote has ended, or a further part of it was filled (``counts`` false).

        ``age_ns``: how old it was then, NaN where nobody told; ``life_ns``: what it was given; ``size_lots``: asked
        for, NaN where nobody told. False where the counterparty is not configured: then nothing is learned.
        """
        cdef Node* node
        cdef Evidence* evidence
        cdef double* value
        cdef double latency
        cdef int k
        if counterparty >= self._counterparties:
            self.strangers += 1
            return False
        node = self._node(counterparty, at_ns)
        node.reported += 1
        node.news = True
        if not counts:
            return True
        evidence = &node.evidence
        value = <double*>evidence
        for k in range(EVIDENCE):
            value[k] *= self._keep
        for k in range(node.averages):
            node.average[k].weight *= self._keep
            node.average[k].sum_lots *= self._keep
        latency = self._base[self._tier_of(counterparty)].latency_ns
        if kind == OUTCOME_HIT or kind == OUTCOME_LIFTED:
            evidence.quotes += 1.0
            evidence.fills += 1.0
            if isnan(age_ns):
                responses_add_within(&evidence.responses, life_ns, latency)
            else:
                responses_add_answer(&evidence.responses, age_ns, latency)
        elif kind == OUTCOME_CANCELLED:      # ours to end, at any time: no trial of the fill rate
            if not isnan(age_ns):
                responses_add_lived(&evidence.responses, fmin(age_ns, life_ns), latency)
        else:
            evidence.quotes += 1.0
            if kind != OUTCOME_EXPIRED and age_ns < life_ns:
                evidence.responses.refused += 1.0
            else:
                responses_add_lived(&evidence.responses, life_ns, latency)
        if size_lots > 0.0:
            self._average(node, instrument, 1.0, size_lots)
        node.stale = True
        self._pool_stale = True
        return True

    cdef int _average(self, Node* node, uint32_t instrument, double weight, double sum_lots) noexcept nogil:
        cdef int k, least = 0
        for k in range(node.averages):
            if node.average[k].instrument == instrument:
                node.average[k].weight += weight
                node.average[k].sum_lots += sum_lots
                return 0
            if node.average[k].weight < node.average[least].weight:
                least = k
        if node.averages < SIZES_KEPT:
            least = node.averages
            node.averages += 1
        node.average[least].instrument = instrument
        node.average[least].weight = weight
        node.average[least].sum_lots = sum_lots
        return 0

    def filled(self, uint32_t counterparty, uint32_t instrument, *, int side, int64_t at_ns, double price_ticks,
               double mid_ticks, double h_ticks, double weight=1.0):
        """Begin the markouts of a fill.

        ``mid_ticks``: mid at pricing, 0 where it is not known; ``h_ticks``: the decision's adverse threshold;
        ``weight``: the part of its quote that the fill is, so that a quote filled in slices counts once.
        """
        cdef Mark mark
        cdef int k
        if counterparty >= self._counterparties:
            return
        mark.counterparty = counterparty
        mark.instrument = instrument
        mark.side = side
        mark.price_ticks = price_ticks
        mark.mid_ticks = mid_ticks
        mark.h_ticks = h_ticks
        mark.weight = weight
        for k in range(MARKOUTS):
            mark.markout = k
            mark.due_ns = at_ns + MARKOUT_NS[k]
            if not self.marks.push(&mark):
                self.censored += 1

    cdef void marked(self, const Mark* mark, double mid_ticks) noexcept nogil:
        # The mid at a mark's due time.
        cdef Node* node
        cdef Evidence* evidence
        cdef double move, x
        cdef int k = mark.markout
        if mark.counterparty >= self._counterparties or self._place[mark.counterparty] < 0:
            self.censored += 1                   # forgotten since
            return
        self.settle(mark.counterparty)
        node = self._nodes[self._place[mark.counterparty]]
        evidence = &node.evidence
        x = 1e4 * mark.side * (mid_ticks - mark.price_ticks) / mark.price_ticks if mark.price_ticks > 0.0 else NAN
        if not isnan(x):
            evidence.marks[k] += mark.weight
            evidence.mark_sum[k] += mark.weight * x
            evidence.mark_square[k] += mark.weight * x * x
        if k == 1 and mark.h_ticks > 0.0 and mark.mid_ticks > 0.0:
            move = -mark.side * (mid_ticks - mark.mid_ticks) / mark.h_ticks
            move = fmin(fmax(move, -ADVERSE_MOST), ADVERSE_MOST)
            evidence.adverse += mark.weight
            evidence.adverse_sum += mark.weight * move
            evidence.adverse_square += mark.weight * move * move
        node.news = node.stale = True
        self._pool_stale = True

    cdef void lost(self) noexcept nogil:
        self.censored += 1

    # --- what is believed ---------------------------------------------------------------------------------------

    cdef void _base_belief(self, uint32_t tier, Belief* out) noexcept nogil:
        cdef const Base* base = &self._base[tier]
        cdef int k
        out.hit = base.hit
        out.mu = base.mu
        out.sigma = base.sigma
        out.informed = base.informed
        out.adverse = base.informed * base.loss_in_h
        out.fill_rate = base.fill_rate
        out.fill_deviation = NAN
        for k in range(MARKOUTS):
            out.markout[k] = out.markout_deviation[k] = out.markout_variance[k] = NAN

    cdef void _prior_of_tier(self, uint32_t tier, Belief* out) noexcept nogil:
        # As it is configured, moved by what the counterparties of other tiers have shown.
        cdef const Base* root = &self._base[self._tiers]
        cdef const Base* base = &self._base[tier]
        cdef Evidence others
        cdef Belief of_root, belief
        cdef int k
        self._base_belief(tier, out)
        if not self._pooled:
            return
        _without(&self._pool[self._tiers + 1].evidence, &self._pool[tier].evidence, &others)
        if _empty(&others):
            return
        self._base_belief(self._tiers, &of_root)
        self._believe(&others, &of_root, root.loss_in_h, &belief)
        out.hit = _moved(out.hit, _logit(belief.hit) - _logit(root.hit))
        # Within what can be fitted, or what is configured where that lies beyond.
        out.mu = fmin(fmax(out.mu + (belief.mu - root.mu), fmin(MU_MIN + LN_SECOND, base.mu)),
                      fmax(MU_MAX + LN_SECOND, base.mu))
        out.sigma = fmin(fmax(out.sigma * (belief.sigma / root.sigma), fmin(SIGMA_MIN, base.sigma)),
                         fmax(SIGMA_MAX, base.sigma))
        if base.loss_in_h > 0.0 and belief.adverse != of_root.adverse:
            out.adverse += belief.adverse - of_root.adverse
            out.informed = fmin(fmax(out.adverse / base.loss_in_h, 0.0), 1.0)
        if not isnan(out.fill_rate) and not isnan(belief.fill_rate):
            out.fill_rate = _moved(out.fill_rate, _logit(belief.fill_rate) - _logit(root.hit))
        for k in range(MARKOUTS):
            out.markout[k] = belief.markout[k]
            out.markout_deviation[k] = belief.markout_deviation[k]
            out.markout_variance[k] = belief.markout_variance[k]

    cdef void _judge(self, uint32_t tier, const Evidence* own, const Evidence* pooled, Belief* out) noexcept nogil:
        # One counterparty, shrunk to the rest of its tier: the pool without what it put in itself, as old as that is.
        cdef const Pool* pool = &self._pool[tier]
        cdef double loss = self._base[tier].loss_in_h
        cdef Evidence rest
        cdef Belief prior = pool.prior
        if _empty(own):
            out[0] = pool.belief
            return
        if self._pooled:
            _without(&pool.evidence, pooled, &rest)
            self._believe(&rest, &pool.prior, loss, &prior)
        self._believe(own, &prior, loss, out)

    cdef void _believe(self, const Evidence* evidence, const Belief* prior, double loss_in_h,
                       Belief* out) noexcept nogil:
        cdef const Responses* responses = &evidence.responses
        cdef ResponsePrior told
        cdef ResponseFit fit
        cdef double n, mean, spread, weight, before, variance
        cdef int k
        out[0] = prior[0]
        if responses.answers + responses.refused + _total(responses.lived) + _total(responses.within) > 0.0:
            told.hit = prior.hit
            told.hit_weight = self._quotes
            told.mu = prior.mu - LN_SECOND
            told.sigma = prior.sigma
            told.response_weight = self._answers
            fit_responses(responses, &told, &fit)
            out.hit = fit.hit
            out.mu = fit.mu + LN_SECOND
            out.sigma = fit.sigma
        if evidence.adverse > 0.0 and loss_in_h > 0.0:
            out.adverse = (self._fills * prior.adverse + evidence.adverse_sum) / (self._fills + evidence.adverse)
            out.informed = fmin(fmax(out.adverse / loss_in_h, 0.0), 1.0)
        if evidence.quotes > 0.0:
            before = prior.hit if isnan(prior.fill_rate) else prior.fill_rate
            n = self._quotes + evidence.quotes
            out.fill_rate = (self._quotes * before + evidence.fills) / n
            out.fill_deviation = sqrt(out.fill_rate * (1.0 - out.fill_rate) / (n + 1.0))
        for k in range(MARKOUTS):
            n = evidence.marks[k]
            if n <= 0.0:
                continue
            weight = self._fills
            before = prior.markout[k]
            variance = prior.markout_variance[k]
            if isnan(before):                    # nobody has been measured: as if there were no edge and no move
                before = variance = 0.0
            mean = (weight * before + evidence.mark_sum[k]) / (weight + n)
            spread = evidence.mark_square[k] - 2.0 * mean * evidence.mark_sum[k] + n * mean * mean
            out.markout[k] = mean
            if variance > 0.0:
                out.markout_variance[k] = (weight * variance + fmax(spread, 0.0)) / (weight + n)
            else:
                out.markout_variance[k] = fmax(spread, 0.0) / n
            out.markout_deviation[k] = sqrt(out.markout_variance[k] / (weight + n))

    cdef void _repool(self) noexcept nogil:
        # Tiers and all counterparties anew from the counterparties.
        cdef Evidence* evidence
        cdef double* to
        cdef const double* from_
        cdef uint32_t k
        cdef int i, j, part
        self._pool_stale = False
        for k in range(self._tiers + 2):
            memset(&self._pool[k].evidence, 0, sizeof(Evidence))
        for i in range(self._n):
            self._nodes[i].pooled = self._nodes[i].evidence
            from_ = <const double*>&self._nodes[i].evidence
            for part in range(2):
                k = self._tiers + 1 if part else self._tier[self._nodes[i].counterparty]
                evidence = &self._pool[k].evidence
                to = <double*>evidence
                for j in range(EVIDENCE):
                    to[j] += from_[j]
        for k in range(self._tiers + 1):
            self._prior_of_tier(k, &self._pool[k].prior)
            self._pool[k].belief = self._pool[k].prior
            if self._pooled:
                self._believe(&self._pool[k].evidence, &self._pool[k].prior, self._base[k].loss_in_h,
                              &self._pool[k].belief)

    cdef bint _take(self, const Belief* belief, uint32_t tier, double* used, bint* moved) noexcept nogil:
        # Whether what decisions are made by is another now: the estimate rounded to steps, once it is a step away.
        cdef const Base* base = &self._base[tier]
        cdef double wanted[TERMS]
        cdef double step
        cdef bint other = not moved[0]
        cdef int k
        wanted[0] = belief.hit
        wanted[1] = belief.informed
        wanted[2] = belief.mu
        wanted[3] = belief.sigma
        if wanted[0] == base.hit and wanted[1] == base.informed and wanted[2] == base.mu and wanted[3] == base.sigma:
            other = moved[0]
            moved[0] = False
            memcpy(used, wanted, sizeof(wanted))
            return other
        for k in range(TERMS):
            other = other or fabs(wanted[k] - used[k]) >= STEP[k]
        moved[0] = True
        if not other:
            return False
        for k in range(TERMS):
            step = STEP[k]
            used[k] = step * <double>(<int64_t>(wanted[k] / step + 0.5))
        used[0] = fmax(used[0], STEP[0])         # of one that is never hit nothing more would be learned
        used[3] = fmax(used[3], step)
        return True

    cdef void _follow_pool(self) noexcept nogil:
        cdef int i
        cdef uint32_t k
        self._settle_some(self._n)               # by the pools that are
        self._repool()
        if self._pooled:
            for k in range(self._tiers + 1):
                self._pool[k].stale = True
            for i in range(self._n):
                self._nodes[i].stale = True

    def refit(self, int64_t now_ns, bint everything=False):
        """Follow the evidence, a few counterparties in a call unless ``everything`` is asked for; returns the places
        at which decisions are made by something else now."""
        cdef Node* node
        cdef int looked, fitted = 0
        cdef uint32_t k
        changed = []
        if not self.enabled:
            return changed
        self._settle_some(self._n if everything else <int>REFITS_A_CALL)
        if self._pool_stale and (everything or (not self.owed and (
                now_ns - POOL_EVERY_NS >= self._pooled_ns or now_ns < self._pooled_ns))):
            self._pooled_ns = now_ns
            self._follow_pool()
        for k in range(self._tiers + 1):
            if len(changed) == CHANGES_A_CALL and not everything:
                return changed
            if self._pool[k].stale:
                self._pool[k].stale = False
                if self._take(&self._pool[k].belief, k, self._pool[k].used, &self._pool[k].moved):
                    changed.append(self._room + <int>k)
        for looked in range(self._n):
            if (fitted == REFITS_A_CALL or len(changed) >= CHANGES_A_CALL) and not everything:
                break
            self._refit_next = self._refit_next + 1 if self._refit_next + 1 < self._n else 0
            node = self._nodes[self._refit_next]
            if not node.stale:
                continue
            fitted += 1
            if self._fit(node):
                changed.append(self._refit_next)
        return changed

    cdef bint _fit(self, Node* node) noexcept nogil:
        cdef uint32_t tier = self._tier_of(node.counterparty)
        node.stale = False
        self._judge(tier, &node.evidence, &node.pooled, &node.belief)
        return self._take(&node.belief, tier, node.used, &node.moved)

    cdef void _take_tiers(self) noexcept nogil:
        # Of those that are new; the timers follow them.
        cdef uint32_t k
        if self.enabled and self._pooled:
            for k in range(self._tiers + 1):
                self._take(&self._pool[k].belief, k, self._pool[k].used, &self._pool[k].moved)

    cdef void settle(self, uint32_t counterparty) noexcept nogil:
        # Before anything that an input does with it: what it is owed by a configuration.
        cdef Node* node
        if self.owed and counterparty < self._counterparties and self._place[counterparty] >= 0:
            node = self._nodes[self._place[counterparty]]
            if node.owed:
                self._settle(node)

    cdef void _settle(self, Node* node) noexcept nogil:
        node.owed = False
        self.owed -= 1
        self._fit(node)

    cdef void _settle_some(self, int most) noexcept nogil:
        cdef int settled = 0
        while self.owed and settled < most:
            if self._nodes[self._owed_next].owed:
                self._settle(self._nodes[self._owed_next])
                settled += 1
            self._owed_next = self._owed_next + 1 if self._owed_next + 1 < self._n else 0

    # --- what decisions read ------------------------------------------------------------------------------------

    cdef int place(self, uint32_t counterparty) noexcept nogil:
        # Of what decisions are made by; -1: by what is configured of the tier.
        cdef int place
        cdef uint32_t tier
        if not self.enabled:
            return -1
        if counterparty < self._counterparties:
            place = self._place[counterparty]
            if place >= 0 and self._nodes[place].used[3] > 0.0:      # it has been fitted
                return place if self._nodes[place].moved else -1
        tier = self._tier_of(counterparty)
        return self._room + <int>tier if self._pool[tier].moved else -1

    cdef const double* used(self, int place) noexcept nogil:
        if place < self._room:
            return &self._nodes[place].used[0]
        return &self._pool[place - self._room].used[0]

    cdef uint32_t tier_at(self, int place) noexcept nogil:
        return self._tier_of(self._nodes[place].counterparty) if place < self._room else <uint32_t>(place - self._room)

    cdef double fill_rate(self, uint32_t counterparty, double prior) noexcept nogil:
        # prior where there is no evidence.
        cdef int place
        cdef uint32_t tier
        if not self.features:
            return prior
        if counterparty < self._counterparties:
            place = self._place[counterparty]
            if place >= 0 and self._nodes[place].used[3] > 0.0:      # it has been fitted
                return self._nodes[place].belief.fill_rate
        tier = self._tier_of(counterparty)
        if self._pooled and self._pool[tier].evidence.quotes > 0.0:
            return self._pool[tier].belief.fill_rate
        return prior

    cdef double average_size_lots(self, uint32_t counterparty, uint32_t instrument, double prior) noexcept nogil:
        cdef const Node* node
        cdef const Average* average
        cdef int k
        if not self.features or counterparty >= self._counterparties or self._place[counterparty] < 0:
            return prior
        node = self._nodes[self._place[counterparty]]
        for k in range(node.averages):
            average = &node.average[k]
            if average.instrument == instrument and average.weight > 0.0:
                if isnan(prior):
                    return average.sum_lots / average.weight
                return (self._quotes * prior + average.sum_lots) / (self._quotes + average.weight)
        return prior

    # --- what survives a restart ----------------------------------------------------------------------------------

    def note(self, int64_t now_ns, int most):
        """What has changed since it was noted, at most every 10 s for each counterparty: a list of dicts."""
        cdef Node* node
        cdef int looked
        found = []
        for looked in range(self._n):
            if len(found) == most:
                break
            self._note_next = self._note_next + 1 if self._note_next + 1 < self._n else 0
            node = self._nodes[self._note_next]
            if not node.news or (now_ns - NOTE_EVERY_NS < node.noted_ns <= now_ns):
                continue
            node.news = False
            node.noted_ns = now_ns
            found.append(self._entry(self._note_next))
        return found

    def _entry(self, int place):
        cdef const Node* node = self._nodes[place]
        cdef const double* value = <const double*>&node.evidence
        cdef int k
        return {
            "name": self._names[node.counterparty],
            "reported": node.reported,
            "last_ns": node.last_ns,
            "sums": [value[k] for k in range(HEAD)],
            "lived": _bins(node.evidence.responses.lived, node.evidence.responses.lived_x),
            "within": _bins(node.evidence.responses.within, node.evidence.responses.within_x),
            "sizes": {
                self._instruments[node.average[k].instrument]: [node.average[k].weight, node.average[k].sum_lots]
                for k in range(node.averages)
            },
        }

    def load(self, entries):
        """Know what was noted before; of counterparties and instruments that are not configured nothing. Returns the
        places at which decisions are made by something else now. Raises ``KeyError``, ``TypeError`` or ``ValueError``
        on what was never noted, and changes nothing."""
        cdef Node* node
        cdef double* value
        cdef int k, place
        read = [
            (
                self._index.get(str(entry["name"]), -1), int(entry["reported"]), int(entry["last_ns"]),
                [_finite(each) for each in entry["sums"]],
                [(_bin(place), _finite(n), _finite(x)) for place, n, x in entry["lived"]],
                [(_bin(place), _finite(n), _finite(x)) for place, n, x in entry["within"]],
                {str(name): (_finite(w), _finite(lots)) for name, (w, lots) in entry["sizes"].items()},
            )
            for entry in entries
        ]
        for _, reported, last_ns, sums, _, _, _ in read:
            if len(sums) != HEAD or reported < 0:
                raise ValueError(f"{HEAD} sums, not {len(sums)}")
        read = [each for each in read if each[0] >= 0][-self._room:]       # noted last, as many as there is room for
        for counterparty, reported, last_ns, sums, lived, within, sizes in read:
            node = self._node(counterparty, last_ns)
            memset(&node.evidence, 0, sizeof(Evidence))
            value = <double*>&node.evidence
            for k in range(HEAD):
                value[k] = sums[k]
            for k, n, x in lived:
                node.evidence.responses.lived[k] = n
                node.evidence.responses.lived_x[k] = x
            for k, n, x in within:
                node.evidence.responses.within[k] = n
                node.evidence.responses.within_x[k] = x
            node.averages = 0
            for name, (weight, lots) in sizes.items():
                if name in self._instrument_index:
                    self._average(node, self._instrument_index[name], weight, lots)
            node.reported = reported
            node.news = False
            node.stale = True
        if not self.enabled:
            return []
        self._follow_pool()
        changed = []
        for counterparty, _, _, _, _, _, _ in read[-<int>FITTED_AT_ONCE:]:
            place = self._place[<uint32_t>counterparty]
            if place >= 0 and self._fit(self._nodes[place]):
                changed.append(place)
        return changed

    # --- views ----------------------------------------------------------------------------------------------------

    @property
    def names(self):
        """Of the configured counterparties, sorted."""
        return self._names

    @property
    def known(self):
        """Names of those that outcomes were told of."""
        cdef int i
        return sorted([self._names[self._nodes[i].counterparty] for i in range(self._n)])

    def status(self, str name):
        """``CounterpartyStatus`` of one, as of now; ``None`` where it is not configured."""
        cdef uint32_t counterparty, tier
        cdef Belief belief
        cdef Evidence none
        cdef const Evidence* evidence = &none
        cdef const Node* node = NULL
        cdef const Base* base
        cdef const double* used
        cdef double[TERMS] settled
        cdef bint moved
        cdef int k, place
        found = self._index.get(name)
        if found is None:
            return None
        counterparty = found
        tier = self._tier_of(counterparty)
        base = &self._base[tier]
        memset(&none, 0, sizeof(Evidence))
        if self._place[counterparty] >= 0:
            node = self._nodes[self._place[counterparty]]
            evidence = &node.evidence
        self._judge(tier, evidence, &none if node == NULL else &node.pooled, &belief)
        configured = _terms(base.hit, base.informed, base.mu, base.sigma)
        place = self.place(counterparty)
        used = NULL if place < 0 else self.used(place)
        if node != NULL and node.owed:           # to look changes nothing
            memcpy(settled, node.used, sizeof(settled))
            moved = node.moved
            self._take(&belief, tier, settled, &moved)
            used = settled if moved else NULL
        return CounterpartyStatus(
            name=name,
            tier=self._tier_names[tier] if tier < self._tiers else None,
            reported=0 if node == NULL else node.reported,
            last_ns=0 if node == NULL else node.last_ns,
            quotes=evidence.quotes,
            fills=evidence.fills,
            answers=evidence.responses.answers,
            censored=_total(evidence.responses.lived),
            refused=evidence.responses.refused,
            fill_rate=_known(belief.fill_rate),
            fill_deviation=_known(belief.fill_deviation),
            believed=_terms(belief.hit, belief.informed, belief.mu, belief.sigma),
            used=configured if used == NULL else _terms(used[0], used[1], used[2], used[3]),
            configured=configured,
            adverse_in_h=belief.adverse,
            markouts=tuple([
                Markout(MARKOUT_NS[k], evidence.marks[k], _known(belief.markout[k]),
                        _known(belief.markout_deviation[k]))
                for k in range(MARKOUTS)
            ]),
            sizes=() if node == NULL else tuple([
                AverageSize(self._instruments[node.average[k].instrument], node.average[k].weight,
                            node.average[k].sum_lots / node.average[k].weight)
                for k in range(node.averages) if node.average[k].weight > 0.0
            ]),
        )


cdef object _bins(const double* n, const double* x):
    cdef int k
    return [[k, n[k], x[k]] for k in range(LIFE_BINS) if n[k] > 0.0]


def _finite(value):
    number = float(value)
    if number - number != 0.0:
        raise ValueError("a sum is not finite")
    return number


def _bin(place):
    if not 0 <= int(place) < LIFE_BINS:
        raise ValueError(f"no bin {place}")
    return int(place)
