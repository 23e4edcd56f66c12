from libc.stdint cimport int32_t

from quotelife.model.curve cimport CurveModel
from quotelife.records cimport FEATURES_MAX, HORIZONS

cdef struct LogisticTerm:
    int32_t feature
    int32_t transform
    double mean
    double inverse_scale
    double weight
    double slope
    double missing

cdef struct LogisticParams:
    int32_t terms
    double clip
    double offset_coefficient
    double offset_min
    double offset_max
    double intercept[HORIZONS]
    LogisticTerm term[FEATURES_MAX]


cdef class LogisticHazardModel(CurveModel):
    cdef LogisticParams c
    cdef list _scales          # as given: 1 / (1 / scale) is not always scale
