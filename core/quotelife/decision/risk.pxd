# Standardised risk scores and the tolerance they scale.
from libc.stdint cimport uint64_t

from quotelife.records cimport RISK_INPUTS

cdef enum:                             # inputs a posture may weight
    RISK_FILL_RATE = 0
    RISK_SIZE_RATIO = 1
    RISK_DEPTH = 2
    RISK_IMBALANCE = 3
    RISK_INVENTORY = 4
    RISK_VWAP_DEVIATION = 5
    RISK_CANCEL_RATE = 6
    RISK_SPREAD_VOLATILITY = 7
    RISK_UPDATE_FREQUENCY = 8
    RISK_DRIVER_VELOCITY = 9
    RISK_IN_USE = 10                   # the rest of RISK_INPUTS is room, always 0

cdef struct RiskParams:
    double center[RISK_INPUTS]         # in the input's own measure: ln of ratios, plain otherwise
    double inverse_scale[RISK_INPUTS]

cdef void risk_scores(const RiskParams* params, const double* x, const uint64_t* valid, double* risk) noexcept nogil
cdef double risk_weighted_sum(const double* weights, const double* risk) noexcept nogil
cdef double risk_alpha(double alpha, double risk_sum) noexcept nogil


cdef class Risk:
    cdef RiskParams c
