"""The first-passage model: always there, for the cold start, as sanity check and as fallback."""

from libc.math cimport INFINITY, erf, erfc, log, sqrt
from libc.stdint cimport int64_t

from quotelife.errors import ArtifactError
from quotelife.records import HORIZONS_NS
from quotelife.model.curve cimport CurveModel, ModelInput, first_passage_answers, first_passage_curve
from quotelife.records cimport HORIZONS

cdef double INV_SQRT_2TAU[HORIZONS]    # 1 / sqrt(2 τ_k / 1 s)

for _k in range(HORIZONS):
    INV_SQRT_2TAU[_k] = 1.0 / sqrt(2e-9 * <double><int64_t>HORIZONS_NS[_k])


cdef void first_passage_log_odds(double h_ticks, double sigma_ticks, double* out) noexcept nogil:
    # hazard / (1 − hazard) of a bin = (P_k − P_{k−1}) / (1 − P_k). Below x = 1/2 the survival erf(x) is the small
    # number and is computed itself; above it P = erfc(x) is: neither is ever a difference from 1.
    cdef double z, x, p, s, p_before = 0.0, s_before = 1.0
    cdef bint near = False, near_before
    cdef int k
    if h_ticks <= 0.0 or sigma_ticks <= 0.0:
        for k in range(HORIZONS):
            out[k] = INFINITY if h_ticks <= 0.0 else -INFINITY
        return
    z = h_ticks / sigma_ticks
    for k in range(HORIZONS):
        x = z * INV_SQRT_2TAU[k]
        near_before = near
        near = x < 0.5
        if near:
            s = erf(x)
            p = 1.0 - s
        else:
            p = erfc(x)
            s = 1.0 - p
        if s <= 0.0:
            out[k] = INFINITY
        else:
            out[k] = log((s_before - s if near and near_before else p - p_before) / s)
        p_before = p
        s_before = s


cdef int _curve(const void* params, const ModelInput* row, double* p) noexcept nogil:
    if not first_passage_answers(row.h_ticks, row.sigma_ticks):
        return 1
    first_passage_curve(row.h_ticks, row.sigma_ticks, p)
    return 0


cdef class FirstPassageModel(CurveModel):
    """P(τ) = 2Φ(−h/(σ√τ)). No parameters; cannot answer without σ."""

    def __init__(self, parameters=None):
        if parameters:
            raise ArtifactError(f"first passage has no parameters; remove {', '.join(sorted(parameters))}")
        self.kind = "first_passage"
        self.fn = _curve

    def parameters(self):
        return {}
