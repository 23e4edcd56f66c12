# The monitors of all instrument groups and served models, and the step down that they may lead to.
from libc.stdint cimport int64_t, uint32_t, uint64_t

from quotelife.model.feature_bins cimport BinnedFeature
from quotelife.model.monitor cimport Monitor, MonitorRules

cdef enum:
    MONITORED_MODELS_MAX = 8       # served at once: three champions, three challengers, the configuration's
    JUDGED_AT_ONCE = 256           # groups and models a call, so that ten calls a second go round 10,000 within 8 s
    COST_WITH_FEATURES = 8         # of one model whose features are looked at, too
    JUDGED_EVERY_NS = 1_000_000_000
    NEWLY_MAX = 64                 # told one by one between two calls of newly()
    SHOWN_MAX = 32                 # groups that unwell() names

cdef struct Ladder:                # of one group
    int64_t since_ns               # of the step down
    int64_t well_ns                # since when it has been well; 0: it has not
    uint64_t model                 # that it was for, 0: an operator's
    bint down
    bint inhabited                 # it has an instrument
    # Of all its models, as of the last judgement:
    bint full                      # every champion has had labels for a whole window
    bint judged                    # the scores of every champion
    int level
    uint32_t causes
    double worst                   # see Monitor
    double psi                     # of the worst feature, where inputs are unlike those of the training

cdef struct NewlyUnwell:
    uint32_t group
    uint32_t causes                # that have come
    uint64_t model

cdef struct MonitoredModel:
    uint64_t model                 # first 16 digits of its digest
    Monitor** of                   # by group; NULL before the first label
    const double** expected        # by group, NULL where the bins are not known
    const BinnedFeature* bins      # NULL: not known
    int features
    bint champion                  # of some posture: only then it may make a group step down


cdef class Monitors:
    cdef MonitorRules rules
    cdef Ladder* ladder
    cdef readonly bint enabled
    cdef readonly uint32_t groups
    cdef readonly uint32_t inhabited       # groups with an instrument
    cdef MonitoredModel _model[MONITORED_MODELS_MAX]
    cdef int _models
    cdef uint32_t _next            # group that is judged next
    cdef uint32_t _to_judge        # groups left in the round that began …
    cdef int64_t _round_ns         # … then; 0: there was none
    cdef NewlyUnwell _newly[NEWLY_MAX]
    cdef int64_t _n_newly          # more than NEWLY_MAX: that many were not kept
    cdef dict _about               # by model: (name, trained on simulated markets alone)
    cdef list _names               # of groups
    cdef dict _bins                # by model: FeatureBins or, where they do not read, why
    cdef dict _expected            # by (model, names of instruments): (array, own)
    cdef list _places              # by model slot: by group, (array, own)
    cdef list _why                 # by group: (source, reason) of the step down
    cdef Monitor* _of(self, uint64_t model, uint32_t group) noexcept nogil
    cdef void label(self, uint64_t model, uint32_t group, int64_t now_ns, int64_t decided_ns, int anchor, double p,
                    bint hit) noexcept nogil
    cdef void asked(self, uint64_t model, uint32_t group, int64_t now_ns, const double* x, const uint64_t* valid,
                    double sigma_ticks) noexcept nogil
    cdef int judge(self, uint32_t group, int64_t now_ns, int* left) noexcept nogil
    cdef int _forget_all(self) except -1
    cdef void _reset(self, uint32_t group) noexcept nogil
    cdef void _sum_up(self, uint32_t group) noexcept nogil
