# STRESS with hysteresis: in at once, out after exit_after_ns below exit_fraction of the threshold.
from libc.stdint cimport int64_t, uint64_t

from quotelife.features.stress cimport StressInputs

cdef enum:                             # triggers
    TRIGGER_VOLATILITY = 0
    TRIGGER_SPREAD_VOLATILITY = 1
    TRIGGER_NEWS = 2
    TRIGGER_DECORRELATION = 3
    TRIGGER_UPDATE_FREQUENCY = 4
    TRIGGERS = 5

cdef struct RegimeParams:
    double threshold[TRIGGERS]
    int64_t news_fresh_ns              # news counts up to this age; feature_stress() applies it
    int64_t exit_after_ns
    double exit_fraction
    int64_t unknown_release_ns

cdef struct RegimeState:               # zeroed memory is a valid start: NORMAL
    unsigned active                    # bit per trigger
    unsigned calm                      # bit per active trigger that is on its way out
    unsigned unknown                   # bit per active trigger whose input is missing
    int64_t since_ns[TRIGGERS]         # when that way out, or the absence, began
    int64_t entered_ns                 # start of the current stress
    uint64_t entries                   # times NORMAL turned into STRESS

cdef int regime_update(RegimeState* state, const RegimeParams* params, const StressInputs* inputs, int64_t now_ns,
                       uint64_t* reasons) noexcept nogil
cdef RegimeParams regime_params(settings) except *     # from the Regimes of a configuration


cdef class Regime:
    # One instrument's regime for tests and tools: the same C code as in the engine.
    cdef RegimeParams params
    cdef RegimeState state
