# The adverse-selection curve on the horizon grid, and what every model of it looks like to the engine.
from libc.math cimport exp, fmax, fmin
from libc.stdint cimport int64_t, uint64_t

cdef struct ModelInput:
    const double* x            # [FEATURES_MAX], side-signed; invalid features hold 0.0
    const uint64_t* valid      # [VALID_WORDS]
    double h_ticks             # adverse threshold
    double sigma_ticks         # ticks per sqrt(second), NaN when unknown

# Fills p[HORIZONS] with a non-decreasing curve in [0, 1]. Nonzero: this model cannot answer this input, p is not to
# be read, and the engine takes first passage instead.
ctypedef int (*curve_fn)(const void* params, const ModelInput* input, double* p) noexcept nogil

# The functions below read a curve as curve_enforce() leaves it: in [0, 1], non-decreasing, no NaN.
cdef int curve_enforce(double* p) noexcept nogil
cdef double curve_at(const double* p, int64_t tau_ns) noexcept nogil
cdef int64_t curve_invert(const double* p, double alpha) noexcept nogil

# One piece of a curve, P(tau) = 1 - exp(-exp(log_hazard + exponent * (ln tau - log_tau))) inside [low, high], for who
# reads many points of one curve: segment k lies between the horizons k - 1 and k, segment 0 before the first.
cdef struct CurveSegment:
    double log_hazard          # ln H at exp(log_tau) ns
    double log_tau
    double exponent            # d ln H / d ln tau, 0 where flat
    double low
    double high
    bint flat                  # P is low throughout

cdef void curve_segments(const double* p, CurveSegment* out) noexcept nogil

cdef inline double segment_p(const CurveSegment* segment, double log_tau) noexcept nogil:
    if segment.flat:
        return segment.low
    return fmin(fmax(1.0 - exp(-exp(segment.log_hazard + segment.exponent * (log_tau - segment.log_tau))),
                     segment.low), segment.high)

# P(tau) = 2 Phi(-h / (sigma sqrt(tau))). Where h or sigma is no number, or sigma is negative: 1, the worst case.
cdef void first_passage_curve(double h_ticks, double sigma_ticks, double* p) noexcept nogil
cdef bint first_passage_answers(double h_ticks, double sigma_ticks) noexcept nogil

cdef int feature_index(str name, str where) except -1


cdef class CurveModel:
    # Immutable once built: any thread may call fn(params, ...) while a reference is held. params points into the
    # subclass's own C struct and dies with it.
    cdef curve_fn fn
    cdef const void* params
    cdef readonly str kind
    cdef readonly str name
    cdef readonly str digest
    cdef readonly dict manifest
    cdef readonly dict files   # name: bytes of the artifact's files, so that a journal can keep a copy
    cdef int _evaluate(self, const ModelInput* row, double* p) except -1
