# The discrete-time hazard that models of the curve share: one level and one slope over ln τ give all twelve bins.
from quotelife.records cimport HORIZONS

cdef struct HazardParams:
    double intercept[HORIZONS]
    double offset_coefficient
    double offset_min
    double offset_max

cdef double LOG_TAU[HORIZONS]    # ln(τ_k / 500 ms)

# h ≤ 0: passed already, with or without σ and whatever the features.
cdef inline int hazard_passed(double* p) noexcept nogil:
    cdef int k
    for k in range(HORIZONS):
        p[k] = 1.0
    return 0

# Fills p[HORIZONS] for h > 0. Nonzero: h is NaN, or it needs σ and there is none.
cdef int hazard_curve(const HazardParams* m, double h_ticks, double sigma_ticks, double level, double slope,
                      double* p) noexcept nogil
# ``values``, a list of HORIZONS numbers in [low, LARGEST]; ``ArtifactError`` naming ``where``.
cdef int read_grid(object values, str where, double low, double* out) except -1
cdef int read_hazard(object parameters, HazardParams* m) except -1
cdef dict hazard_parameters(const HazardParams* m)
