# Life from the adverse-selection curve: tolerance (P(500 ms) or the whole curve) and step tables, SPEC 6.1.
from libc.stdint cimport int64_t, uint16_t, uint64_t

from quotelife.records cimport RISK_INPUTS

cdef enum:
    STEPS_MAX = 16
    P500 = 5                           # index of 500 ms on the horizon grid

cdef struct StepRow:
    double p                           # the row holds for P(500 ms) at or above this
    int64_t life_ns

cdef struct PostureParams:
    int mode                           # records.Mode
    bint decline_below_minimum
    bint one_tick_threshold            # preset step_2pct: h is always 1 tick
    double alpha
    double gamma
    int64_t min_ns
    int64_t max_ns
    double weights[RISK_INPUTS]
    int steps
    StepRow step[STEPS_MAX]            # p strictly rising from 0, lives strictly falling

cdef struct LifeResult:
    int64_t life_ns                    # 0 when decline is set
    uint64_t reasons                   # records.Reason
    uint16_t binding                   # records.Binding
    bint decline

cdef void choose_life(const PostureParams* posture, double alpha, const double* p, LifeResult* out) noexcept nogil


cdef class PostureLife:
    cdef PostureParams c
