"""The golden model: fixed coefficients, so that tests can say what the answer must be.

    logit p500 = b + Σ_i w_i·clip((g_i(x_i) − calm_i)/(stress_i − calm_i), 0, 1)
    P(τ) = 1 − (1 − p500)^((τ/500 ms)^γ)

Each input counts nothing up to its calm value and fully from its stress value on: calm markets that differ in
their noise give the same p500, and so do stressed ones. An invalid feature counts as calm, h and σ are not read:
this model is for tests and demonstrations, never for a market.
"""

from libc.math cimport exp, expm1, log1p, pow
from libc.stdint cimport int64_t

from quotelife.errors import ArtifactError
from quotelife.model.transform import TRANSFORMS, check_keys
from quotelife.features.schema import NAMES
from quotelife.records import HORIZONS_NS
from quotelife.model.curve cimport CurveModel, ModelInput, feature_index
from quotelife.model.transform cimport clip, number, text, transform, transform_index, transform_inverse
from quotelife.records cimport HORIZONS, is_valid

# Calm: every input at or below its calm value, logit(.005). Stress: every input at or beyond its stress value,
# logit(.15). The thresholds lie at or inside the regime's, the news one leaves room for its decay.
PARAMETERS = {
    "intercept": -5.293304824724492,
    "gamma": 1.7317483049889,
    "features": [
        {"name": "spread_volatility_ratio", "transform": "identity", "calm": 3.0, "stress": 5.0, "weight": 1.4},
        {"name": "top_update_ratio", "transform": "identity", "calm": 3.0, "stress": 4.0, "weight": 1.0},
        {"name": "news_score", "transform": "abs", "calm": 0.2, "stress": 0.8, "weight": 0.6},
        {"name": "book_imbalance_log", "transform": "abs", "calm": 0.5, "stress": 0.69,
         "weight": 0.558703769336386},
    ],
}


cdef int _curve(const void* params, const ModelInput* row, double* p) noexcept nogil:
    cdef const GoldenParams* m = <const GoldenParams*>params
    cdef const GoldenTerm* term
    cdef double score = m.intercept, x, log_alive
    cdef int i, k
    for i in range(m.terms):
        term = &m.term[i]
        x = row.x[term.feature]
        if not is_valid(row.valid, term.feature) or x != x:
            continue
        x = (transform(term.transform, x) - term.calm) / (term.stress - term.calm)
        score += term.weight * clip(x, 0.0, 1.0)
    log_alive = -log1p(exp(clip(score, -700.0, 700.0)))    # ln(1 − p500)
    for k in range(HORIZONS):
        p[k] = clip(-expm1(log_alive * m.power[k]), 0.0, 1.0)
    return 0


cdef class GoldenModel(CurveModel):
    """Fixed coefficients and a Weibull curve. ``parameters`` (default: the shipped ones)::

        {"intercept": b, "gamma": γ, "features": [{"name", "transform", "calm", "stress", "weight"}, ...]}

    Raises ``ArtifactError`` naming the parameter that does not fit.
    """

    def __init__(self, parameters=None):
        cdef GoldenTerm* term
        cdef int i
        if parameters is None:
            parameters = PARAMETERS
        check_keys(parameters, ("intercept", "gamma", "features"), "parameters")
        self.c.intercept = number(parameters, "intercept", "parameters", -700.0, 700.0)
        self._gamma = number(parameters, "gamma", "parameters", 0.01, 100.0)
        for i in range(HORIZONS):
            self.c.power[i] = pow(<double><int64_t>HORIZONS_NS[i] / 500e6, self._gamma)
        features = parameters["features"]
        if not isinstance(features, list) or len(features) > len(NAMES):
            raise ArtifactError(f"features: a list of at most {len(NAMES)} objects is needed")
        for i, entry in enumerate(features):
            where = f"features[{i}]"
            check_keys(entry, ("name", "transform", "calm", "stress", "weight"), where)
            name = text(entry, "name", where)
            term = &self.c.term[i]
            term.feature = feature_index(name, where)
            term.transform = transform_index(text(entry, "transform", where), name, where)
            term.calm = number(entry, "calm", where, -1e15, 1e15)
            term.stress = number(entry, "stress", where, -1e15, 1e15)
            term.weight = number(entry, "weight", where, -700.0, 700.0)
            if not term.stress > term.calm:
                raise ArtifactError(f"{where}: stress {term.stress:g} must lie above calm {term.calm:g}")
        self.c.terms = len(features)
        self.kind = "golden"
        self.params = &self.c
        self.fn = _curve

    def parameters(self):
        return {
            "intercept": self.c.intercept,
            "gamma": self._gamma,
            "features": [
                {
                    "name": NAMES[self.c.term[i].feature],
                    "transform": TRANSFORMS[self.c.term[i].transform],
                    "calm": self.c.term[i].calm,
                    "stress": self.c.term[i].stress,
                    "weight": self.c.term[i].weight,
                }
                for i in range(self.c.terms)
            ],
        }

    def reference(self):
        """Calm values, in place of means: nothing was fitted."""
        return {
            NAMES[self.c.term[i].feature]: transform_inverse(self.c.term[i].transform, self.c.term[i].calm)
            for i in range(self.c.terms)
        }
