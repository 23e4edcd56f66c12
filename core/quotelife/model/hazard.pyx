"""Discrete-time hazard over the horizon bins, on top of first passage.

Bin k runs from τ_{k−1} (0 for the first) to τ_k. Its hazard h_k = Pr(T_h ≤ τ_k | T_h > τ_{k−1}) obeys

    logit h_k = b_k + c·clip(logit h_k^FP, offset_min, offset_max) + level + slope·ln(τ_k/500 ms)

with h_k^FP the first-passage hazard of the bin; level and slope are what a model makes of its features. Then
P(τ_k) = 1 − Π_{j≤k}(1 − h_j), which never falls.

Model form: discrete-time survival by pooled logistic regression (Cox 1972; Efron 1988), with an offset.
"""

from libc.math cimport exp, log
from libc.stdint cimport int64_t

from quotelife.errors import ArtifactError
from quotelife.model.transform import check_keys
from quotelife.records import HORIZONS_NS
from quotelife.model.curve cimport first_passage_answers
from quotelife.model.first_passage cimport first_passage_log_odds
from quotelife.model.transform cimport clip, number
from quotelife.records cimport HORIZONS

LARGEST = 1e6          # of any weight, intercept or slope: beyond it a file is corrupt, not fitted
OFFSET_LARGEST = 700.0 # exp() of it is still finite

for _k in range(HORIZONS):
    LOG_TAU[_k] = log(<double><int64_t>HORIZONS_NS[_k] / 500e6)


cdef int hazard_curve(const HazardParams* m, double h_ticks, double sigma_ticks, double level, double slope,
                      double* p) noexcept nogil:
    cdef double offset[HORIZONS]
    cdef double alive = 1.0, dead = 0.0, z, odds, survival
    cdef int k
    if h_ticks != h_ticks:
        return 1
    if m.offset_coefficient != 0.0:
        if not first_passage_answers(h_ticks, sigma_ticks):
            return 1
        first_passage_log_odds(h_ticks, sigma_ticks, offset)
    for k in range(HORIZONS):
        z = m.intercept[k] + level + slope * LOG_TAU[k]
        if m.offset_coefficient != 0.0:
            z += m.offset_coefficient * clip(offset[k], m.offset_min, m.offset_max)
        odds = exp(clip(z, -700.0, 700.0))
        survival = 1.0 / (1.0 + odds)
        dead += alive * (odds * survival)    # not 1 − alive: small probabilities keep their digits
        alive *= survival
        p[k] = dead if dead < 1.0 else 1.0
    return 0


cdef int read_grid(object values, str where, double low, double* out) except -1:
    cdef int i
    if not isinstance(values, list) or len(values) != HORIZONS:
        raise ArtifactError(f"{where}: a list of {HORIZONS} numbers is needed")
    by_place = {str(i): value for i, value in enumerate(values)}
    for i in range(HORIZONS):
        out[i] = number(by_place, str(i), where, low, LARGEST)
    return 0


cdef int read_hazard(object parameters, HazardParams* m) except -1:
    # The entries "intercepts" and "offset".
    read_grid(parameters["intercepts"], "intercepts", -LARGEST, m.intercept)
    offset = parameters["offset"]
    check_keys(offset, ("coefficient", "min", "max"), "offset")
    m.offset_coefficient = number(offset, "coefficient", "offset", -100.0, 100.0)
    m.offset_min = number(offset, "min", "offset", -OFFSET_LARGEST, OFFSET_LARGEST)
    m.offset_max = number(offset, "max", "offset", m.offset_min, OFFSET_LARGEST)
    return 0


cdef dict hazard_parameters(const HazardParams* m):
    return {
        "intercepts": [m.intercept[k] for k in range(HORIZONS)],
        "offset": {"coefficient": m.offset_coefficient, "min": m.offset_min, "max": m.offset_max},
    }
