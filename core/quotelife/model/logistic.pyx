"""Discrete-time logistic hazard, pooled over the horizon bins, on top of first passage (SPEC 5.2).

Bin k runs from τ_{k−1} (0 for the first) to τ_k. Its hazard h_k = Pr(T_h ≤ τ_k | T_h > τ_{k−1}) obeys

    logit h_k = b_k + c·clip(logit h_k^FP, offset_min, offset_max) + Σ_i (w_i + v_i·ln(τ_k/500 ms))·z_i
    z_i = clip((g_i(x_i) − mean_i)/scale_i, −clip, clip)

with h_k^FP the first-passage hazard of the bin: c = 1 and all else 0 is first passage itself, c = 0 a plain
logistic hazard that needs no σ. An invalid feature adds missing_i instead of its term. Then
P(τ_k) = 1 − Π_{j≤k}(1 − h_j), which never falls. h ≤ 0 (passed already) gives P = 1.

Model form: discrete-time survival by pooled logistic regression (Cox 1972; Efron 1988), with an offset.
"""

from libc.math cimport exp, log
from libc.stdint cimport int64_t

from quotelife.errors import ArtifactError
from quotelife.model.transform import TRANSFORMS, check_keys
from quotelife.features.schema import NAMES
from quotelife.records import HORIZONS_NS
from quotelife.model.curve cimport CurveModel, ModelInput, feature_index, first_passage_answers
from quotelife.model.first_passage cimport first_passage_log_odds
from quotelife.model.transform cimport clip, number, text, transform, transform_index, transform_inverse
from quotelife.records cimport HORIZONS, is_valid

LARGEST = 1e6          # of any weight, intercept or slope: beyond it a file is corrupt, not fitted
OFFSET_LARGEST = 700.0 # exp() of it is still finite

cdef double LOG_TAU[HORIZONS]    # ln(τ_k / 500 ms)

for _k in range(HORIZONS):
    LOG_TAU[_k] = log(<double><int64_t>HORIZONS_NS[_k] / 500e6)


cdef int _curve(const void* params, const ModelInput* row, double* p) noexcept nogil:
    cdef const LogisticParams* m = <const LogisticParams*>params
    cdef const LogisticTerm* term
    cdef double offset[HORIZONS]
    cdef double level = 0.0, slope = 0.0, alive = 1.0, dead = 0.0, x, z, odds, survival
    cdef int i, k
    if row.h_ticks != row.h_ticks:
        return 1
    if row.h_ticks <= 0.0:
        for k in range(HORIZONS):
            p[k] = 1.0
        return 0
    for i in range(m.terms):
        term = &m.term[i]
        x = row.x[term.feature]
        if not is_valid(row.valid, term.feature) or x != x:
            level += term.missing
            continue
        z = clip((transform(term.transform, x) - term.mean) * term.inverse_scale, -m.clip, m.clip)
        level += term.weight * z
        slope += term.slope * z
    if m.offset_coefficient != 0.0:
        if not first_passage_answers(row.h_ticks, row.sigma_ticks):
            return 1
        first_passage_log_odds(row.h_ticks, row.sigma_ticks, offset)
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


cdef class LogisticHazardModel(CurveModel):
    """The pooled logistic hazard. ``parameters``::

        {"intercepts": [12 numbers], "clip": z,
         "offset": {"coefficient": c, "min": lo, "max": hi},
         "features": [{"name", "transform", "mean", "scale", "weight", "slope", "missing"}, ...]}

    Only the features listed are read. Cannot answer without σ unless the coefficient of the offset is 0.
    Raises ``ArtifactError`` naming the parameter that does not fit.
    """

    def __init__(self, parameters):
        cdef LogisticTerm* term
        cdef int i
        check_keys(parameters, ("intercepts", "clip", "offset", "features"), "parameters")
        intercepts = parameters["intercepts"]
        if not isinstance(intercepts, list) or len(intercepts) != HORIZONS:
            raise ArtifactError(f"intercepts: a list of {HORIZONS} numbers is needed")
        by_place = {str(i): value for i, value in enumerate(intercepts)}
        for i in range(HORIZONS):
            self.c.intercept[i] = number(by_place, str(i), "intercepts", -LARGEST, LARGEST)
        self.c.clip = number(parameters, "clip", "parameters", 0.1, LARGEST)
        offset = parameters["offset"]
        check_keys(offset, ("coefficient", "min", "max"), "offset")
        self.c.offset_coefficient = number(offset, "coefficient", "offset", -100.0, 100.0)
        self.c.offset_min = number(offset, "min", "offset", -OFFSET_LARGEST, OFFSET_LARGEST)
        self.c.offset_max = number(offset, "max", "offset", self.c.offset_min, OFFSET_LARGEST)
        features = parameters["features"]
        if not isinstance(features, list) or len(features) > len(NAMES):
            raise ArtifactError(f"features: a list of at most {len(NAMES)} objects is needed")
        seen = set()
        for i, entry in enumerate(features):
            where = f"features[{i}]"
            check_keys(entry, ("name", "transform", "mean", "scale", "weight", "slope", "missing"), where)
            name = text(entry, "name", where)
            if name in seen:
                raise ArtifactError(f"{where}: feature {name!r} stands twice; merge the two")
            seen.add(name)
            term = &self.c.term[i]
            term.feature = feature_index(name, where)
            term.transform = transform_index(text(entry, "transform", where), name, where)
            term.mean = number(entry, "mean", where, -1e15, 1e15)
            term.inverse_scale = 1.0 / number(entry, "scale", where, 1e-15, 1e15)
            term.weight = number(entry, "weight", where, -LARGEST, LARGEST)
            term.slope = number(entry, "slope", where, -LARGEST, LARGEST)
            term.missing = number(entry, "missing", where, -LARGEST, LARGEST)
        self.c.terms = len(features)
        self._scales = [float(entry["scale"]) for entry in features]
        self.kind = "logistic"
        self.params = &self.c
        self.fn = _curve

    def parameters(self):
        return {
            "intercepts": [self.c.intercept[k] for k in range(HORIZONS)],
            "clip": self.c.clip,
            "offset": {
                "coefficient": self.c.offset_coefficient,
                "min": self.c.offset_min,
                "max": self.c.offset_max,
            },
            "features": [
                {
                    "name": NAMES[self.c.term[i].feature],
                    "transform": TRANSFORMS[self.c.term[i].transform],
                    "mean": self.c.term[i].mean,
                    "scale": self._scales[i],
                    "weight": self.c.term[i].weight,
                    "slope": self.c.term[i].slope,
                    "missing": self.c.term[i].missing,
                }
                for i in range(self.c.terms)
            ],
        }

    def reference(self):
        return {
            NAMES[self.c.term[i].feature]: transform_inverse(self.c.term[i].transform, self.c.term[i].mean)
            for i in range(self.c.terms)
        }
