from libc.stdint cimport int32_t

from quotelife.model.curve cimport CurveModel
from quotelife.model.trees cimport Trees
from quotelife.records cimport FEATURES_MAX, HORIZONS

cdef enum:
    ENSEMBLES_MAX = 6

cdef struct TreeColumn:
    int32_t feature
    bint per_sigma

cdef struct TreeCurveParams:
    int32_t columns            # features; ln(h/room) and ln(h/σ), where read, are one column more each
    bint log_room
    bint log_threshold
    int32_t spread
    int32_t deviation
    int32_t ensembles
    double intercept[HORIZONS]
    double weight[ENSEMBLES_MAX][HORIZONS]
    const Trees* trees[ENSEMBLES_MAX]
    TreeColumn column[FEATURES_MAX]


cdef class TreeCurveModel(CurveModel):
    cdef TreeCurveParams c
    cdef tuple _ensembles
    cdef list _references
    cdef int _width(self) noexcept
