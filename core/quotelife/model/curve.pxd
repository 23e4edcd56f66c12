# The adverse-selection curve on the horizon grid, and what every model of it looks like to the engine.
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
