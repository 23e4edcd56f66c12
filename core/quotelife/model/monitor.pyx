"""Monitoring of the served curve against realised first passages: rolling scores, calibration in the long run, and
drift of what is asked.

**Rolling scores.** Labels are counted in 64 bins of logit P, P as it was served, by eight parts of a window, so that a
label costs O(1) and Brier score, calibration error and AUC are made when somebody asks. Within a bin the mean logit
stands for all; two labels of one bin are a tie for the AUC.

**CUSUM.** The risk-adjusted one (Steiner, Cook, Farewell and Treasure 2000): a label adds the log likelihood ratio of
odds R times those that P says, against P itself,

    w = y·ln R − ln(1 − p + R·p)

R for the direction "P is too low", 1/R for "too high", and the sum never falls below 0. Residuals (y − p) over their
standard deviation would do for p near ½; one hit at p = .001 is 31 of them and would be an alarm by itself.

Labels of neighbouring decisions share their market, so the sum goes by blocks: all labels of decisions made within
one block of length τ add their *mean* w, and even and odd blocks have sums of their own, since what was decided in one
block is known by the end of the next. exp is convex: whatever the dependence within a block, the mean of w has
E[exp] ≤ 1 where P is right, given all that was known before the block. The Shiryaev–Roberts argument (Pollak 1985;
Shin, Ramdas and Rinaldo 2022 for such dependence) then gives a mean time of at least e^limit·τ between false alarms.
Nothing is assumed of the market beyond P being right. There are ``STATISTICS`` of them (two directions at two horizons)
for each of n monitors, one for every model in every group; rates of false alarms add up, so a limit of
ln(STATISTICS·n·T/τ) makes T the least mean time between false alarms of them all, and that is how limits are
configured.

What one level of wrongness costs: odds between 1 and (R − 1)/ln R times those of P (1.44 for R = 2) never add up.
"""

from typing import NamedTuple

from libc.math cimport NAN, exp, fabs, fmax, isnan, log, sqrt
from libc.stdint cimport int64_t, uint32_t, uint64_t
from libc.stdlib cimport calloc, free
from libc.string cimport memcpy, memset

from quotelife.model.feature_bins cimport bins_count, bins_psi
from quotelife.model.recalibration cimport (
    CALIBRATION_BINS, LabelCell, RollingCalibration, bucket_add, bucket_forget,
)

STATISTICS = MONITOR_ANCHORS * DIRECTIONS

cdef double FIXED = 16777216.0         # 2^24, as in recalibration
cdef int64_t TAU_NS[MONITOR_ANCHORS]
TAU_NS[0] = 500_000_000
TAU_NS[1] = 2_000_000_000
cdef double RELEASE = 0.5              # a sum that has raised something is over below so much of its limit …
cdef double SCORE_RELEASE = 0.8        # … and a score so


class CurveScores(NamedTuple):
    """Of one horizon. ``z``: hits beyond Σp in standard deviations of independent labels; overlapping ones waver more.
    NaN where there is nothing to say: no labels, or for ``skill`` and ``auc`` only one outcome."""

    labels: int
    prevalence: float
    brier: float
    skill: float
    ece: float
    auc: float
    z: float


cdef void scores_of(const LabelBucket* labels, Scores* out) noexcept nogil:
    cdef const LabelCell* cell
    cdef double n = <double>labels.n, hits = 0.0, misses_below = 0.0, pairs = 0.0, error = 0.0, brier = 0.0
    cdef double expected = 0.0, variance = 0.0, p, misses
    cdef int i
    out.labels = n
    out.prevalence = out.brier = out.skill = out.ece = out.auc = out.z = NAN
    if labels.n == 0:
        return
    for i in range(CALIBRATION_BINS):
        cell = &labels.bin[i]
        if cell.n == 0:
            continue
        p = 1.0 / (1.0 + exp(-<double>cell.z / FIXED / cell.n))
        misses = cell.n - cell.hits
        brier += cell.n * p * p + cell.hits * (1.0 - 2.0 * p)
        error += fabs(cell.hits - cell.n * p)
        expected += cell.n * p
        variance += cell.n * p * (1.0 - p)
        pairs += cell.hits * (misses_below + 0.5 * misses)
        misses_below += misses
        hits += cell.hits
    out.prevalence = hits / n
    out.brier = brier / n
    out.ece = error / n
    out.z = (hits - expected) / sqrt(variance)
    if 0.0 < hits < n:
        out.skill = 1.0 - out.brier / (out.prevalence * (1.0 - out.prevalence))
        out.auc = pairs / (hits * (n - hits))


cdef void cusum_add(Cusum* self, double odds, double log_odds, int64_t tau_ns, int64_t now_ns, int64_t decided_ns,
                    double p, bint hit) noexcept nogil:
    cdef int64_t block = decided_ns // tau_ns
    cdef int phase = <int>(block & 1), k
    cdef double value
    if block > self.block[phase]:
        if self.n[phase]:
            for k in range(DIRECTIONS):
                value = self.value[phase][k] + self.sum[phase][k] / self.n[phase]
                self.value[phase][k] = value if value > 0.0 else 0.0
                if value > self.highest[k]:
                    self.highest[k] = value
                    self.highest_ns[k] = now_ns
        self.sum[phase][P_LOW] = self.sum[phase][P_HIGH] = 0.0
        self.n[phase] = 0
        self.block[phase] = block
    # One that comes later than its block joins the one that is open: left out, quiet instruments would not count.
    self.sum[phase][P_LOW] += (log_odds if hit else 0.0) - log(1.0 - p + odds * p)
    self.sum[phase][P_HIGH] += (-log_odds if hit else 0.0) - log(1.0 - p + p / odds)
    self.n[phase] += 1
    self.labels += 1


cdef void cusum_reset(Cusum* self, int direction) noexcept nogil:
    cdef int phase
    for phase in range(2):
        self.value[phase][direction] = self.sum[phase][direction] = 0.0
    self.highest[direction] = 0.0
    self.highest_ns[direction] = 0


cdef Monitor* monitor_new(const BinnedFeature* bins, int features, const double* expected) noexcept nogil:
    cdef Monitor* self = <Monitor*>calloc(1, sizeof(Monitor))
    if self == NULL:
        return NULL
    if bins != NULL:
        self.counts = <uint32_t*>calloc(2 * features * BIN_CELLS, sizeof(uint32_t))
        if self.counts != NULL:
            self.bins = bins
            self.features = features
            self.expected = expected
    return self


cdef void monitor_free(Monitor* self) noexcept nogil:
    if self != NULL:
        free(self.counts)
        free(self)


cdef void monitor_pass(Monitor* self, const MonitorRules* rules, int64_t now_ns) noexcept nogil:
    # Empty the parts of the window that have come to its end.
    cdef int64_t newest = now_ns // rules.part_ns, gone = newest - self.newest
    cdef LabelBucket* bucket
    cdef int64_t i
    cdef int k
    if gone <= 0:
        return
    for i in range(1, 1 + (gone if gone < MONITOR_PARTS else MONITOR_PARTS)):
        for k in range(MONITOR_ANCHORS):
            bucket = &self.part[k][(self.newest + i) % MONITOR_PARTS]
            if bucket.n:
                bucket_forget(&self.total[k], bucket)
    self.newest = newest


cdef void monitor_label(Monitor* self, const MonitorRules* rules, int64_t now_ns, int64_t decided_ns, int anchor,
                        double p, bint hit) noexcept nogil:
    monitor_pass(self, rules, now_ns)
    if self.first == 0:
        self.first = self.newest
    bucket_add(&self.part[anchor][self.newest % MONITOR_PARTS], p, hit)
    bucket_add(&self.total[anchor], p, hit)
    cusum_add(&self.cusum[anchor], rules.odds, rules.log_odds, TAU_NS[anchor], now_ns, decided_ns, p, hit)


cdef void psi_pass(Monitor* self, const MonitorRules* rules, int64_t now_ns) noexcept nogil:
    cdef int64_t half = now_ns // rules.psi_half_ns
    cdef size_t size = self.features * BIN_CELLS * sizeof(uint32_t)
    if half == self.psi_half:
        return
    if half == self.psi_half + 1:
        memcpy(self.counts + self.features * BIN_CELLS, self.counts, size)
    else:
        memset(self.counts + self.features * BIN_CELLS, 0, size)
    memset(self.counts, 0, size)
    self.psi_half = half


cdef void monitor_asked(Monitor* self, const MonitorRules* rules, int64_t now_ns, const double* x,
                        const uint64_t* valid, double sigma_ticks) noexcept nogil:
    if self.bins == NULL:
        return
    self.asked += 1
    if self.asked % <uint64_t>rules.psi_every:
        return
    psi_pass(self, rules, now_ns)
    bins_count(self.bins, self.features, x, valid, sigma_ticks, self.counts)


cdef void psi_judge(Monitor* self, const MonitorRules* rules, int64_t now_ns) noexcept nogil:
    cdef uint32_t both[BIN_CELLS]
    cdef const uint32_t* now
    cdef const uint32_t* before
    cdef double limit = rules.psi_max * (SCORE_RELEASE if self.causes & CAUSE_FEATURES else 1.0), found
    cdef int64_t samples
    cdef int i, k, at
    self.psi_samples = 0
    self.psi_above = 0
    for k in range(PSI_WORST):
        self.psi[k] = 0.0
        self.psi_feature[k] = -1
    if self.bins == NULL:
        return
    psi_pass(self, rules, now_ns)
    for i in range(self.features):
        now = self.counts + i * BIN_CELLS
        before = self.counts + (self.features + i) * BIN_CELLS
        samples = 0
        for k in range(BIN_CELLS):
            both[k] = now[k] + before[k]
            samples += both[k]
        self.psi_samples = samples             # the same for all
        found = bins_psi(self.expected + i * BIN_CELLS, both)
        self.psi_above += samples >= rules.psi_samples_min and found > limit
        at = PSI_WORST
        while at > 0 and found > self.psi[at - 1]:
            at -= 1
            if at + 1 < PSI_WORST:
                self.psi[at + 1] = self.psi[at]
                self.psi_feature[at + 1] = self.psi_feature[at]
            self.psi[at] = found
            self.psi_feature[at] = i


cdef bint monitor_judge(Monitor* self, const MonitorRules* rules, int64_t now_ns) noexcept nogil:
    cdef const Scores* scores
    cdef Cusum* cusum
    cdef double value, held, hits
    cdef uint32_t causes = 0, cause
    cdef int k, direction, level = LEVEL_WELL, reached
    cdef bint features
    monitor_pass(self, rules, now_ns)
    self.worst = 0.0
    # Overlapping labels come in clusters: of a window that has not been full once nothing is said.
    self.full = self.first != 0 and self.newest - self.first >= MONITOR_PARTS - 1      # first 0: no label yet
    self.judged = self.full
    for k in range(MONITOR_ANCHORS):
        scores_of(&self.total[k], &self.scores[k])
        scores = &self.scores[k]
        hits = scores.labels * scores.prevalence
        if (self.full and scores.labels >= rules.labels_min and hits >= rules.outcomes_min
                and scores.labels - hits >= rules.outcomes_min):
            self.worst = fmax(self.worst, fmax(scores.ece / rules.ece_max, scores.skill / rules.skill_min))
            if scores.ece > rules.ece_max * (SCORE_RELEASE if self.causes & CAUSE_CALIBRATION else 1.0):
                causes |= CAUSE_CALIBRATION
            if scores.skill < rules.skill_min * (RELEASE if self.causes & CAUSE_SKILL else 1.0):
                causes |= CAUSE_SKILL
        else:
            self.judged = False
        cusum = &self.cusum[k]
        for direction in range(DIRECTIONS):
            value = cusum_value(cusum, direction)
            if value > 0.0 and now_ns - cusum.highest_ns[direction] >= rules.well_after_ns:
                cusum_reset(cusum, direction)          # what has raised it is over
                value = 0.0
            self.worst = fmax(self.worst, value / rules.limit[k][LEVEL_WARNED])
            cause = CAUSE_P_LOW if direction == P_LOW else CAUSE_P_HIGH
            held = RELEASE if self.causes & cause else 1.0
            reached = LEVEL_WELL
            if value >= held * rules.limit[k][LEVEL_WARNED]:
                causes |= cause
                reached = LEVEL_WARNED
            held = RELEASE if self.causes & cause and self.level >= LEVEL_DEGRADED else 1.0
            if reached and value >= held * rules.limit[k][LEVEL_DEGRADED]:
                reached = LEVEL_DEGRADED
            if (direction == P_LOW and value >= rules.limit[k][LEVEL_WORST]
                    and cusum.labels >= rules.labels_min):
                reached = LEVEL_WORST
            level = max(level, reached)
    features = self.psi_judged_ns == 0 or now_ns - self.psi_judged_ns >= rules.psi_half_ns // PSI_LOOKS
    if features:
        self.psi_judged_ns = now_ns
        psi_judge(self, rules, now_ns)
    if causes and level == LEVEL_WELL:
        level = LEVEL_WARNED
    if self.psi_above:
        causes |= CAUSE_FEATURES
    self.causes = causes
    self.level = level
    return features


cdef void monitor_reset(Monitor* self) noexcept nogil:
    cdef int k, direction
    for k in range(MONITOR_ANCHORS):
        self.cusum[k].labels = 0
        for direction in range(DIRECTIONS):
            cusum_reset(&self.cusum[k], direction)


cdef class CusumView:
    """The sums of one horizon ``tau_ns``, looking for ``odds`` > 1 times those of P: tests and offline use."""

    cdef Cusum c
    cdef double _odds
    cdef int64_t _tau_ns

    def __init__(self, int64_t tau_ns, double odds=2.0):
        if tau_ns <= 0 or not odds > 1.0:
            raise ValueError("tau_ns must be above 0 and odds above 1")
        self._odds = odds
        self._tau_ns = tau_ns

    def add(self, int64_t decided_ns, double p, bint hit):
        """One label; returns (P too low, P too high) as they stand after it."""
        cusum_add(&self.c, self._odds, log(self._odds), self._tau_ns, decided_ns + self._tau_ns, decided_ns, p, hit)
        return self.values

    def reset(self):
        """Begin anew in both directions."""
        cusum_reset(&self.c, P_LOW)
        cusum_reset(&self.c, P_HIGH)

    @property
    def values(self):
        """(P too low, P too high)."""
        return cusum_value(&self.c, P_LOW), cusum_value(&self.c, P_HIGH)


def scores(RollingCalibration labels not None):
    """``CurveScores`` of each anchor of a store, over the labels within its window."""
    cdef Scores each
    cdef int j
    found = []
    for j in range(labels.c.grid.anchors):
        scores_of(&labels.c.anchor[j].total, &each)
        found.append(told(&each))
    return tuple(found)


cdef object told(const Scores* each):
    return CurveScores(<int>each.labels, each.prevalence, each.brier, each.skill, each.ece, each.auc, each.z)
