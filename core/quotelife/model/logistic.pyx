"""Discrete-time logistic hazard, pooled over the horizon bins, on top of first passage.

The hazard of ``quotelife.model.hazard`` with

    level = Σ_i w_i·z_i,  slope = Σ_i v_i·z_i,  z_i = clip((g_i(x_i) − mean_i)/scale_i, −clip, clip)

c = 1 and all else 0 is first passage itself, c = 0 a plain logistic hazard that needs no σ. An invalid feature adds
missing_i to the level instead of its terms. h ≤ 0 (passed already) gives P = 1.
"""

from quotelife.errors import ArtifactError
from quotelife.model.transform import TRANSFORMS, check_keys
from quotelife.features.schema import NAMES
from quotelife.model.hazard import LARGEST
from quotelife.model.curve cimport CurveModel, ModelInput, feature_index
from quotelife.model.hazard cimport hazard_curve, hazard_parameters, hazard_passed, read_hazard
from quotelife.model.transform cimport clip, number, text, transform, transform_index, transform_inverse
from quotelife.records cimport is_valid


cdef int _curve(const void* params, const ModelInput* row, double* p) noexcept nogil:
    cdef const LogisticParams* m = <const LogisticParams*>params
    cdef const LogisticTerm* term
    cdef double level = 0.0, slope = 0.0, x, z
    cdef int i
    if row.h_ticks <= 0.0:
        return hazard_passed(p)
    for i in range(m.terms):
        term = &m.term[i]
        x = row.x[term.feature]
        if not is_valid(row.valid, term.feature) or x != x:
            level += term.missing
            continue
        z = clip((transform(term.transform, x) - term.mean) * term.inverse_scale, -m.clip, m.clip)
        level += term.weight * z
        slope += term.slope * z
    return hazard_curve(&m.hazard, row.h_ticks, row.sigma_ticks, level, slope, p)


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
        read_hazard(parameters, &self.c.hazard)
        self.c.clip = number(parameters, "clip", "parameters", 0.1, LARGEST)
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
            **hazard_parameters(&self.c.hazard),
            "clip": self.c.clip,
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
