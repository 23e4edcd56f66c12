"""Standardised risk scores of a request's inputs, and the tolerance they scale.

risk_i = clip(direction · (measure(x_i) − center_i) / scale_i, −3, 3), where measure is ln for ratios and the value
itself otherwise; an input that is not valid scores 0. The tolerance becomes α · exp(−Σ w_i · risk_i), at most 0.5.

Side-signed features (imbalance, VWAP deviation, driver velocity) are positive when they point to a move against
the quote, so every input but fill rate and depth counts upwards. Of two drivers the worse one counts.
"""

from libc.math cimport exp, fmax, fmin, log
from libc.stdint cimport uint64_t
from libc.string cimport memset

from quotelife.features.schema cimport (F_BOOK_IMBALANCE, F_CANCEL_RATIO, F_COUNTERPARTY_FILL_RATE,
                                        F_COUNTERPARTY_SIZE_RATIO, F_DEPTH_RATIO, F_DRIVER0_VELOCITY_500MS,
                                        F_DRIVER1_VELOCITY_500MS, F_INVENTORY, F_SPREAD_VOLATILITY_RATIO,
                                        F_TOP_UPDATE_RATIO, F_VWAP_DEVIATION_500MS)
from quotelife.records cimport FEATURES_MAX, VALID_WORDS, is_valid, set_valid

from quotelife.features.schema import INDEX

INPUTS = ("fill_rate", "size_ratio", "depth", "imbalance", "inventory", "vwap_deviation", "cancel_rate",
          "spread_volatility", "update_frequency", "driver_velocity")
"""Names of the inputs in the order of ``Decision.risk`` and ``PostureParams.weights``; the rest is room."""

cdef double RISK_MAX = 3.0
cdef double TOLERANCE_MAX = 0.5

cdef struct Source:
    int feature
    double direction
    bint ratio                         # measured by its logarithm

cdef Source SOURCE[RISK_IN_USE]
SOURCE[RISK_FILL_RATE] = Source(F_COUNTERPARTY_FILL_RATE, -1.0, False)
SOURCE[RISK_SIZE_RATIO] = Source(F_COUNTERPARTY_SIZE_RATIO, 1.0, True)
SOURCE[RISK_DEPTH] = Source(F_DEPTH_RATIO, -1.0, True)
SOURCE[RISK_IMBALANCE] = Source(F_BOOK_IMBALANCE, 1.0, False)
SOURCE[RISK_INVENTORY] = Source(F_INVENTORY, 1.0, False)
SOURCE[RISK_VWAP_DEVIATION] = Source(F_VWAP_DEVIATION_500MS, 1.0, False)
SOURCE[RISK_CANCEL_RATE] = Source(F_CANCEL_RATIO, 1.0, True)
SOURCE[RISK_SPREAD_VOLATILITY] = Source(F_SPREAD_VOLATILITY_RATIO, 1.0, True)
SOURCE[RISK_UPDATE_FREQUENCY] = Source(F_TOP_UPDATE_RATIO, 1.0, True)
SOURCE[RISK_DRIVER_VELOCITY] = Source(F_DRIVER0_VELOCITY_500MS, 1.0, False)

if len(INPUTS) != RISK_IN_USE:
    raise AssertionError("risk.pxd and risk.pyx disagree")


cdef void risk_scores(const RiskParams* params, const double* x, const uint64_t* valid, double* risk) noexcept nogil:
    cdef int i, feature, second = F_DRIVER1_VELOCITY_500MS
    cdef double value, score
    memset(risk, 0, RISK_INPUTS * sizeof(double))
    for i in range(RISK_IN_USE):
        feature = SOURCE[i].feature
        if i == RISK_DRIVER_VELOCITY and is_valid(valid, second) and (
                not is_valid(valid, feature) or x[second] > x[feature]):
            feature = second
        if not is_valid(valid, feature):
            continue
        value = x[feature]
        if SOURCE[i].ratio:
            value = log(fmax(value, 0.0))      # 0: minus infinity, which the clip turns into its end
        score = SOURCE[i].direction * (value - params.center[i]) * params.inverse_scale[i]
        if score == score:
            risk[i] = fmin(RISK_MAX, fmax(-RISK_MAX, score))


cdef double risk_weighted_sum(const double* weights, const double* risk) noexcept nogil:
    cdef double total = 0.0
    cdef int i
    for i in range(RISK_IN_USE):
        total += weights[i] * risk[i]
    return total


cdef double risk_alpha(double alpha, double risk_sum) noexcept nogil:
    return fmin(TOLERANCE_MAX, alpha * exp(-risk_sum))


cdef class Risk:
    """The scores by the very code the engine runs, for tests and tools."""

    def __init__(self, settings):
        """``settings``: the ``RiskInputs`` of a configuration."""
        for i, name in enumerate(INPUTS):
            standard = getattr(settings, name)
            self.c.center[i] = standard.center
            self.c.inverse_scale[i] = 1.0 / standard.scale

    def scores(self, features):
        """Scores by input name from features by schema name; features left out are not valid."""
        cdef double x[FEATURES_MAX]
        cdef uint64_t valid[VALID_WORDS]
        cdef double risk[RISK_INPUTS]
        memset(x, 0, sizeof(x))
        memset(valid, 0, sizeof(valid))
        for name, value in features.items():
            x[<int>INDEX[name]] = value
            set_valid(valid, <int>INDEX[name])
        risk_scores(&self.c, x, valid, risk)
        return {name: risk[i] for i, name in enumerate(INPUTS)}


def scaled_tolerance(double alpha, weights, scores):
    """α · exp(−Σ w · risk), at most 0.5; ``weights`` and ``scores`` by input name."""
    cdef double w[RISK_INPUTS]
    cdef double risk[RISK_INPUTS]
    for i, name in enumerate(INPUTS):
        w[i] = weights.get(name, 0.0)
        risk[i] = scores.get(name, 0.0)
    return risk_alpha(alpha, risk_weighted_sum(w, risk))
