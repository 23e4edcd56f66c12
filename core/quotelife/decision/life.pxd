# Life from the adverse-selection curve: tolerance (P(500 ms) or the whole curve), step tables, expected value.
from libc.stdint cimport int64_t, uint8_t, uint16_t, uint64_t

from quotelife.decision.expected_value cimport ValuePrior, ValueTerms
from quotelife.records cimport RISK_INPUTS

cdef enum:
    STEPS_MAX = 16
    P500 = 5                           # index of 500 ms on the horizon grid

cdef struct StepRow:
    double p                           # the row holds for P(500 ms) at or above this
    int64_t life_ns

cdef struct PostureParams:
    int mode                           # records.Mode
    int tolerance_mode                 # how its tolerance is read, whatever the mode
    uint8_t no_value_kind              # records.DecisionKind of what is not worth a firm quote
    bint decline_below_minimum
    bint one_tick_threshold            # preset step_2pct: h is always 1 tick
    double alpha
    double held_rate                   # held tolerance: its rate; 0: off
    double held_alpha                  # what it holds the share of passed lives to; alpha where it is off
    double gamma
    int64_t min_ns
    int64_t max_ns
    ValueTerms value
    double weights[RISK_INPUTS]
    int steps
    StepRow step[STEPS_MAX]            # p strictly rising from 0, lives strictly falling

cdef struct LifeResult:
    int64_t life_ns                    # 0 when decline is set
    uint64_t reasons                   # records.Reason
    uint16_t binding                   # records.Binding
    bint decline                       # by value: whatever no_value_kind says
    double value_ticks                 # by value: of the life, or the largest there is; NaN where no life is allowed
    double break_even_ticks

cdef void choose_life(const PostureParams* posture, double alpha, const double* p, LifeResult* out) noexcept nogil

# limit_ns: no life goes beyond it, and limit_binding names who says so. left: 1, or the share that a watch leaves over.
cdef void choose_by_value(const PostureParams* posture, const ValuePrior* prior, double left, double alpha,
                          const double* p, double edge, double h, double inventory, int64_t limit_ns,
                          uint16_t limit_binding, LifeResult* out) noexcept nogil


cdef class PostureLife:
    cdef PostureParams c
