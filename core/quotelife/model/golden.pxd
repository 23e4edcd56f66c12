from libc.stdint cimport int32_t

from quotelife.model.curve cimport CurveModel
from quotelife.records cimport FEATURES_MAX, HORIZONS

cdef struct GoldenTerm:
    int32_t feature
    int32_t transform
    double calm
    double stress
    double weight

cdef struct GoldenParams:
    int32_t terms
    double intercept
    double power[HORIZONS]     # (τ_k / 500 ms)^γ
    GoldenTerm term[FEATURES_MAX]


cdef class GoldenModel(CurveModel):
    cdef GoldenParams c
    cdef double _gamma
