from libc.stdint cimport int32_t

from quotelife.model.curve cimport CurveModel
from quotelife.model.hazard cimport HazardParams
from quotelife.records cimport FEATURES_MAX

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
    HazardParams hazard
    LogisticTerm term[FEATURES_MAX]


cdef class LogisticHazardModel(CurveModel):
    cdef LogisticParams c
    cdef list _scales          # as given: 1 / (1 / scale) is not always scale
