# How good the served curve has been lately, and whether what is asked still looks like what it was fitted on.
from libc.stdint cimport int64_t, uint32_t, uint64_t

from quotelife.model.feature_bins cimport BIN_CELLS, BinnedFeature
from quotelife.model.recalibration cimport LabelBucket

cdef enum:
    MONITOR_ANCHORS = 2        # 500 ms and 2 s
    MONITOR_PARTS = 8          # of the window of the scores
    PSI_WORST = 5              # features told by name
    PSI_LOOKS = 720            # at features in half a window: a minute apart where that is 12 hours

cdef struct Scores:
    double labels
    double prevalence
    double brier               # mean of (y - p)^2
    double skill               # 1 - brier over that of the prevalence; NaN without both outcomes
    double ece                 # sum over bins of |hits - labels p| over the labels
    double auc                 # NaN without both outcomes
    double z                   # (hits - sum of p) over its standard deviation were the labels independent

cdef void scores_of(const LabelBucket* labels, Scores* out) noexcept nogil

cdef enum:
    P_LOW = 0                  # more hits than P says
    P_HIGH = 1                 # fewer
    DIRECTIONS = 2

cdef enum:
    LEVEL_WELL = 0
    LEVEL_WARNED = 1           # of its answers: drift of what is asked is a cause, and no level
    LEVEL_DEGRADED = 2
    LEVEL_WORST = 3            # step down, where that is allowed
    LEVELS = 4

cdef enum MonitorCause:
    CAUSE_P_LOW = 1
    CAUSE_P_HIGH = 2
    CAUSE_CALIBRATION = 4      # the calibration error
    CAUSE_SKILL = 8
    CAUSE_FEATURES = 16        # drift of what is asked

cdef struct MonitorRules:
    int64_t part_ns            # of the window of the scores
    int64_t labels_min         # in the window, and behind a step down
    int64_t outcomes_min       # of each of the two, in the window
    int64_t psi_half_ns        # half the window of the features
    int64_t psi_every
    int64_t psi_samples_min
    int64_t well_after_ns
    double ece_max
    double skill_min
    double psi_max
    double odds                # that the CUSUM looks for
    double log_odds
    double limit[MONITOR_ANCHORS][LEVELS]
    bint step_down
    bint automatic_return

# Cumulative sums of log likelihood ratios in both directions; see the module.
cdef struct Cusum:
    double value[2][DIRECTIONS]        # of even and of odd blocks
    double sum[2][DIRECTIONS]          # over the labels of the block that is open
    double highest[DIRECTIONS]         # since the reset …
    int64_t highest_ns[DIRECTIONS]     # … and when
    int64_t block[2]
    int64_t n[2]
    int64_t labels                     # since the reset

cdef inline double cusum_value(const Cusum* self, int direction) noexcept nogil:
    return self.value[0][direction] if self.value[0][direction] > self.value[1][direction] else self.value[1][direction]

cdef void cusum_add(Cusum* self, double odds, double log_odds, int64_t tau_ns, int64_t now_ns, int64_t decided_ns,
                    double p, bint hit) noexcept nogil
cdef void cusum_reset(Cusum* self, int direction) noexcept nogil

# Of one model in one group.
cdef struct Monitor:
    LabelBucket total[MONITOR_ANCHORS]
    LabelBucket part[MONITOR_ANCHORS][MONITOR_PARTS]
    Cusum cusum[MONITOR_ANCHORS]
    Scores scores[MONITOR_ANCHORS]     # as of the last judgement, as all below
    const BinnedFeature* bins          # NULL: not known what the model was fitted on
    const double* expected             # [features][BIN_CELLS]
    uint32_t* counts                   # [2][features][BIN_CELLS], of this and of the last half window
    double psi[PSI_WORST]              # worst first
    int psi_feature[PSI_WORST]
    int psi_above                      # features above the limit
    int features
    int64_t psi_samples
    int64_t psi_half                   # of absolute time
    int64_t psi_judged_ns              # when psi was last computed; 0: never
    int64_t newest                     # part of the window, of absolute time …
    int64_t first                      # … and the one of the first label; 0: there was none
    uint64_t asked
    uint32_t causes
    int level
    double worst                       # the figure furthest beyond its first limit, as a multiple of that
    bint full                          # a whole window has passed since the first label
    bint judged                        # the scores, at both horizons: full, and there are labels enough

cdef Monitor* monitor_new(const BinnedFeature* bins, int features, const double* expected) noexcept nogil
cdef void monitor_free(Monitor* self) noexcept nogil
# A label of one anchor: P as it was served, and what became of it.
cdef void monitor_label(Monitor* self, const MonitorRules* rules, int64_t now_ns, int64_t decided_ns, int anchor,
                        double p, bint hit) noexcept nogil
# A decision was asked for; of these every psi_every-th is counted.
cdef void monitor_asked(Monitor* self, const MonitorRules* rules, int64_t now_ns, const double* x,
                        const uint64_t* valid, double sigma_ticks) noexcept nogil
# True where the features were looked at, too: several times as dear, and done PSI_LOOKS times in half a window.
cdef bint monitor_judge(Monitor* self, const MonitorRules* rules, int64_t now_ns) noexcept nogil
cdef void monitor_reset(Monitor* self) noexcept nogil      # of what has been summed up, both directions
