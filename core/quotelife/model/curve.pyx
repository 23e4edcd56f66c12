"""The adverse-selection curve P(τ) = Pr(T_h ≤ τ) on the horizon grid, read between its points and backwards.

The curve is interpolated in log-hazard. With the cumulative hazard H = −ln(1 − P):

- between two points ln H is linear in ln τ, which is exact for a Weibull time. Below 1e-12, H is read as 1e-12, 0
  among it: a rule of its own at 0 would let a life jump up where P rises from it;
- before the first point the power law of the first segment goes on, with an exponent of at least 1: H starts at
  0 and is never above the straight line H₁·τ/τ₁. A first point at P = 1 means that the threshold is passed
  already, so P = 1 for every τ > 0;
- after the last point the power law of the last segment goes on. Only the report of a life beyond the grid reads
  that: ``invert`` never leaves the grid;
- P = 1 is carried as H = 40, the first whole number whose exp(−H) vanishes beside 1 in a double.
"""

import numpy as np

from libc.math cimport INFINITY, NAN, erfc, exp, expm1, fmax, fmin, isinf, isnan, log, log1p, sqrt
from libc.stdint cimport int64_t, uint64_t

from typing import NamedTuple

from quotelife.errors import ArtifactError
from quotelife.features.schema import INDEX
from quotelife.records import HORIZONS_NS
from quotelife.records cimport FEATURES_MAX, HORIZONS, VALID_WORDS, set_valid

# Not mirrored by side: a model that read them would treat bids and asks differently.
UNMIRRORED = frozenset(
    name for name in INDEX if name == "book_imbalance_ratio" or name.startswith(("depth_bid_", "depth_ask_"))
)

cdef double HAZARD_MAX = 40.0
cdef double HAZARD_MIN = 1e-12
cdef double INV_SQRT_2 = 0.70710678118654752440

cdef int64_t GRID_NS[HORIZONS]
cdef double LOG_GRID[HORIZONS]         # ln(τ_k / 1 ns)
cdef double LOG_STEP[HORIZONS]         # ln(τ_{k+1} / τ_k)
cdef double INV_SQRT_GRID[HORIZONS]    # 1 / sqrt(τ_k / 1 s)

for _k in range(HORIZONS):
    GRID_NS[_k] = HORIZONS_NS[_k]
    LOG_GRID[_k] = log(<double>GRID_NS[_k])
    INV_SQRT_GRID[_k] = 1.0 / sqrt(<double>GRID_NS[_k] * 1e-9)
for _k in range(HORIZONS - 1):
    LOG_STEP[_k] = LOG_GRID[_k + 1] - LOG_GRID[_k]


cdef inline double _hazard(double p) noexcept nogil:
    if p >= 1.0:
        return HAZARD_MAX
    return fmax(HAZARD_MIN, -log1p(-p))


cdef inline double _exponent(double left, double right, int k) noexcept nogil:
    # d ln H / d ln τ of segment k.
    return (log(right) - log(left)) / LOG_STEP[k]


cdef inline double _power(double hazard, double exponent, int64_t tau_ns, int k) noexcept nogil:
    # hazard·(τ/τ_k)^exponent, in logarithms: the power alone may overflow where the product does not.
    return exp(log(hazard) + exponent * (log(<double>tau_ns) - LOG_GRID[k]))


cdef int curve_enforce(double* p) noexcept nogil:
    # Clip to [0, 1] and take the running maximum; nonzero when a value is no number.
    cdef double level = 0.0
    cdef int k
    for k in range(HORIZONS):
        if isnan(p[k]):
            return 1
        level = fmin(1.0, fmax(level, p[k]))
        p[k] = level
    return 0


cdef double curve_at(const double* p, int64_t tau_ns) noexcept nogil:
    cdef double left, right, hazard
    cdef int k
    if tau_ns <= 0:
        return 0.0
    if tau_ns < GRID_NS[0]:
        if p[0] <= 0.0 or p[0] >= 1.0:
            return p[0]
        left = _hazard(p[0])
        right = _hazard(p[1])
        hazard = _power(left, fmax(1.0, _exponent(left, right, 0)), tau_ns, 0)
        return fmin(-expm1(-hazard), p[0])
    k = HORIZONS - 1
    while tau_ns < GRID_NS[k]:
        k -= 1
    if tau_ns == GRID_NS[k]:
        return p[k]
    if k < HORIZONS - 1:
        if p[k] == p[k + 1]:
            return p[k]
        left = _hazard(p[k])
        right = _hazard(p[k + 1])
        hazard = _power(left, _exponent(left, right, k), tau_ns, k)
        return fmin(fmax(-expm1(-hazard), p[k]), p[k + 1])
    if p[k - 1] == p[k]:
        return p[k]
    left = _hazard(p[k - 1])
    right = _hazard(p[k])
    hazard = _power(right, _exponent(left, right, k - 1), tau_ns, k)
    return fmax(-expm1(-hazard), p[k])


cdef void curve_segments(const double* p, CurveSegment* out) noexcept nogil:
    # The pieces that curve_at() reads, up to the last horizon.
    cdef CurveSegment* segment
    cdef double left, right
    cdef int k
    left = _hazard(p[0])
    right = _hazard(p[1])
    out[0].flat = p[0] <= 0.0 or p[0] >= 1.0
    out[0].log_hazard = log(left)
    out[0].log_tau = LOG_GRID[0]
    out[0].exponent = 0.0 if out[0].flat else fmax(1.0, _exponent(left, right, 0))
    out[0].low = p[0] if out[0].flat else 0.0
    out[0].high = p[0]
    for k in range(1, HORIZONS):
        segment = &out[k]
        right = _hazard(p[k])
        segment.flat = p[k - 1] == p[k]
        segment.log_hazard = log(left)
        segment.log_tau = LOG_GRID[k - 1]
        segment.exponent = 0.0 if segment.flat else (log(right) - segment.log_hazard) / LOG_STEP[k - 1]
        segment.low = p[k - 1]
        segment.high = p[k]
        left = right


cdef int64_t curve_invert(const double* p, double alpha) noexcept nogil:
    # The closed form, then down by as many nanoseconds as rounding asks for: P(result) <= alpha always holds.
    cdef double target, left, right, tau
    cdef int64_t low, high, result, step = 1
    cdef int k = HORIZONS - 1
    if not alpha > 0.0:             # NaN too: no tolerance, no life, though the curve be 0
        return 0
    if p[HORIZONS - 1] <= alpha:
        return GRID_NS[HORIZONS - 1]
    target = -log1p(-alpha)
    if p[0] > alpha:
        if target <= 0.0 or p[0] >= 1.0:
            return 0
        left = _hazard(p[0])
        right = _hazard(p[1])
        low = 0
        high = GRID_NS[0]
        tau = exp(LOG_GRID[0] + (log(target) - log(left)) / fmax(1.0, _exponent(left, right, 0)))
    else:
        while p[k] > alpha:
            k -= 1
        left = _hazard(p[k])
        right = _hazard(p[k + 1])
        low = GRID_NS[k]
        high = GRID_NS[k + 1]
        tau = exp(LOG_GRID[k] + (log(target) - log(left)) / _exponent(left, right, k))
    if not tau > <double>low:
        return low
    result = <int64_t>fmin(tau, <double>high)
    while result > low and curve_at(p, result) > alpha:
        result -= step
        step *= 2
    return result if result > low else low


cdef bint first_passage_answers(double h_ticks, double sigma_ticks) noexcept nogil:
    # False for NaN in either, a negative sigma, and infinity over infinity.
    return h_ticks == h_ticks and sigma_ticks >= 0.0 and not (isinf(h_ticks) and isinf(sigma_ticks))


cdef void first_passage_curve(double h_ticks, double sigma_ticks, double* p) noexcept nogil:
    cdef double z
    cdef int k
    if not first_passage_answers(h_ticks, sigma_ticks) or h_ticks <= 0.0:
        for k in range(HORIZONS):
            p[k] = 1.0
        return
    z = h_ticks / sigma_ticks * INV_SQRT_2 if sigma_ticks > 0.0 else INFINITY
    for k in range(HORIZONS):
        p[k] = erfc(z * INV_SQRT_GRID[k])


cdef int feature_index(str name, str where) except -1:
    # Place of a feature in the schema, refusing those that a side-symmetric model may not read.
    index = INDEX.get(name)
    if index is None:
        raise ArtifactError(f"{where}: no feature {name!r} in the schema; take a name from features.schema.NAMES")
    if name in UNMIRRORED:
        raise ArtifactError(f"{where}: feature {name!r} is not mirrored by side, so that a model may not read it; "
                            f"take a signed or side-free one")
    return index


cdef enum:
    REF_HORIZON = 5                # index of 500 ms
    EXACT_INPUTS = 8               # up to so many inputs every set of them is evaluated: 256 curves
    ORDERS = 8                     # beyond that so many random orders, each forwards and backwards
    INPUTS_MAX = FEATURES_MAX + 2
    INPUT_H = FEATURES_MAX         # after the features: the threshold and the volatility
    INPUT_SIGMA = FEATURES_MAX + 1

cdef double LOGIT_P_MIN = 1e-12    # P is read inside [this, 1 - this], so that its logit is finite
P_MIN = LOGIT_P_MIN


class Attribution(NamedTuple):
    """logit P(500 ms) taken apart: ``logit`` = ``baseline`` + the sum of ``effects``, but for rounding.

    ``effects`` holds an entry for every feature that the model reads, by name, and for ``h_ticks`` and
    ``sigma_ticks``.
    """

    logit: float
    baseline: float
    effects: dict


cdef struct Inputs:
    # What is attributed: the input itself, the reference it is held against, and a row between the two.
    int n
    int place[INPUTS_MAX]              # feature, INPUT_H or INPUT_SIGMA
    double x[INPUTS_MAX]
    double reference[INPUTS_MAX]
    bint known[INPUTS_MAX]             # validity of the input; the reference is always valid
    double row_x[FEATURES_MAX]
    uint64_t row_valid[VALID_WORDS]
    ModelInput row


cdef void _put(Inputs* inputs, int i, bint actual) noexcept nogil:
    cdef int place = inputs.place[i]
    cdef double value = inputs.x[i] if actual else inputs.reference[i]
    if place == INPUT_H:
        inputs.row.h_ticks = value
    elif place == INPUT_SIGMA:
        inputs.row.sigma_ticks = value
    else:
        inputs.row_x[place] = value
        if inputs.known[i] or not actual:
            set_valid(inputs.row_valid, place)
        else:
            inputs.row_valid[place >> 6] &= ~((<uint64_t>1) << (place & 63))


cdef double _logit_p500(curve_fn fn, const void* params, const ModelInput* row) noexcept nogil:
    # NaN where the model cannot answer.
    cdef double p[HORIZONS]
    if fn(params, row, p) != 0:
        return NAN
    p[REF_HORIZON] = fmin(1.0 - LOGIT_P_MIN, fmax(LOGIT_P_MIN, p[REF_HORIZON]))
    return log(p[REF_HORIZON]) - log1p(-p[REF_HORIZON])


cdef void _attribute_exactly(curve_fn fn, const void* params, Inputs* inputs, double* effect) noexcept nogil:
    # Every set of inputs once; the marginal effect on a set of size k weighs k!(n - 1 - k)!/n!.
    cdef double logit[1 << EXACT_INPUTS]
    cdef double weight[EXACT_INPUTS]
    cdef int n = inputs.n, i, size, members
    cdef int chosen
    if n == 0:
        return
    weight[0] = 1.0 / n
    for i in range(1, n):
        weight[i] = weight[i - 1] * i / (n - i)
    for chosen in range(1 << n):
        for i in range(n):
            _put(inputs, i, (chosen >> i) & 1)
        logit[chosen] = _logit_p500(fn, params, &inputs.row)
    for i in range(n):
        effect[i] = 0.0
        for chosen in range(1 << n):
            if (chosen >> i) & 1:
                continue
            size = 0
            members = chosen
            while members:
                size += members & 1
                members >>= 1
            effect[i] += weight[size] * (logit[chosen | (1 << i)] - logit[chosen])


cdef void _attribute_by_orders(curve_fn fn, const void* params, Inputs* inputs, double* effect) noexcept nogil:
    # The same mean over random orders, each taken forwards and backwards: the sum stays exact, whatever the orders.
    cdef int order[INPUTS_MAX]
    cdef int n = inputs.n, i, j, k, turn
    cdef uint64_t state = 0x9E3779B97F4A7C15       # fixed: the same input gives the same answer
    cdef double before, after
    for i in range(n):
        order[i] = i
        effect[i] = 0.0
    for k in range(ORDERS):
        for i in range(n - 1, 0, -1):              # Fisher and Yates
            state ^= state << 13
            state ^= state >> 7
            state ^= state << 17
            j = <int>(state % <uint64_t>(i + 1))
            order[i], order[j] = order[j], order[i]
        for turn in range(2):
            for i in range(n):
                _put(inputs, i, False)
            before = _logit_p500(fn, params, &inputs.row)
            for i in range(n):
                j = order[i] if turn == 0 else order[n - 1 - i]
                _put(inputs, j, True)
                after = _logit_p500(fn, params, &inputs.row)
                effect[j] += (after - before) / (2 * ORDERS)
                before = after


cdef class CurveModel:
    """A model of the adverse-selection curve. Immutable; shared freely between threads.

    ``kind`` names the class, ``name`` and ``digest`` the artifact it came from (empty when built by hand),
    ``manifest`` is that artifact's manifest and ``files`` its files as they were read. Subclasses take their
    parameters as the dictionary that ``parameters()`` returns and refuse what does not fit with ``ArtifactError``.
    """

    def __cinit__(self, *args, **kwargs):
        self.fn = NULL
        self.params = NULL
        self.kind = self.name = self.digest = ""
        self.manifest = {}
        self.files = {}

    def parameters(self):
        """The parameters as JSON-ready values; ``type(model)(model.parameters())`` is the same model."""
        raise NotImplementedError

    def reference(self):
        """The value of each feature that the model reads at which the feature speaks neither way, by name.

        The mean of what the model was fitted to, where it was fitted.
        """
        return {}

    def attribute(self, features, *, double h_ticks, double sigma_ticks, double h_reference, double sigma_reference):
        """How much each input moves logit P(500 ms) away from where ``reference()`` puts it; ``None`` where the
        model cannot answer.

        The effect of an input is the mean, over the orders in which inputs can go one by one from the reference to
        what they are, of the change of the logit when its turn comes (Shapley 1953; as attribution of a model's
        answer: Strumbelj and Kononenko 2010). The effects add up to logit − baseline exactly, and an input that
        the model does not read gets 0. Up to 8 inputs all orders count, beyond that 8 fixed random ones, each
        taken both ways. ``features`` as in ``curve``: one left out is missing, which has an effect of its own.
        """
        cdef Inputs inputs
        cdef double effect[INPUTS_MAX]
        cdef double logit, baseline
        cdef int k = 0, i
        if self.fn == NULL:
            raise NotImplementedError("CurveModel has no curve of its own; use a subclass")
        for i in range(FEATURES_MAX):
            inputs.row_x[i] = 0.0
        for i in range(VALID_WORDS):
            inputs.row_valid[i] = 0
        inputs.row.x = inputs.row_x
        inputs.row.valid = inputs.row_valid
        effects = {}
        moved = []
        for name, value in (*self.reference().items(), ("h_ticks", h_reference), ("sigma_ticks", sigma_reference)):
            effects[name] = 0.0
            inputs.place[k] = INPUT_H if name == "h_ticks" else INPUT_SIGMA if name == "sigma_ticks" else INDEX[name]
            inputs.reference[k] = value
            inputs.x[k] = h_ticks if name == "h_ticks" else sigma_ticks if name == "sigma_ticks" else (
                features.get(name, 0.0))
            inputs.known[k] = inputs.place[k] >= FEATURES_MAX or name in features
            _put(&inputs, k, False)
            if not inputs.known[k] or inputs.x[k] != value:    # one that stands at its reference has no effect
                moved.append(name)
                k += 1
        inputs.n = k
        with nogil:
            baseline = _logit_p500(self.fn, self.params, &inputs.row)
            if inputs.n <= EXACT_INPUTS:
                _attribute_exactly(self.fn, self.params, &inputs, effect)
            else:
                _attribute_by_orders(self.fn, self.params, &inputs, effect)
            for i in range(inputs.n):
                _put(&inputs, i, True)
            logit = _logit_p500(self.fn, self.params, &inputs.row)
        for i, name in enumerate(moved):
            effects[name] = effect[i]
        if isnan(logit) or isnan(baseline) or any(value != value for value in effects.values()):
            return None
        return Attribution(logit, baseline, effects)

    def stamp(self, manifest, files=None):
        """Say which artifact this model came from. Once only: ``ValueError`` afterwards."""
        if self.digest:
            raise ValueError("the model is stamped already")
        self.manifest = manifest
        self.files = dict(files or {})
        self.name = manifest["name"]
        self.digest = manifest["digest"]

    def curve(self, features, *, double h_ticks, double sigma_ticks):
        """The curve of one input: array of shape (12,), or ``None`` where the model cannot answer.

        ``features`` maps names to values; a name left out is invalid. ``sigma_ticks`` is in ticks per √s, NaN
        when unknown. ``KeyError`` for a name outside the schema.
        """
        cdef double x[FEATURES_MAX]
        cdef uint64_t valid[VALID_WORDS]
        cdef double p[HORIZONS]
        cdef ModelInput row
        cdef int k
        for k in range(FEATURES_MAX):
            x[k] = 0.0
        for k in range(VALID_WORDS):
            valid[k] = 0
        for name, value in features.items():
            k = INDEX[name]
            x[k] = value
            set_valid(valid, k)
        row.x = x
        row.valid = valid
        row.h_ticks = h_ticks
        row.sigma_ticks = sigma_ticks
        if self._evaluate(&row, p):
            return None
        return np.array([p[k] for k in range(HORIZONS)])

    def curves(self, x, valid, h_ticks, sigma_ticks):
        """The curves of n inputs, without the GIL: ``(p, answered)`` of shapes (n, 12) and (n,).

        ``x``: float64 (n, 128), side-signed. ``valid``: uint64 (n, 2), bit i of word i // 64. ``h_ticks`` and
        ``sigma_ticks``: (n,). Rows that the model cannot answer are NaN. ``ValueError`` when shapes differ.
        """
        cdef const double[:, ::1] rows = np.ascontiguousarray(x, dtype=np.float64)
        cdef const uint64_t[:, ::1] bits = np.ascontiguousarray(valid, dtype=np.uint64)
        cdef const double[::1] h = np.ascontiguousarray(h_ticks, dtype=np.float64)
        cdef const double[::1] sigma = np.ascontiguousarray(sigma_ticks, dtype=np.float64)
        cdef Py_ssize_t n = rows.shape[0], i
        if rows.shape[1] != FEATURES_MAX or bits.shape[1] != VALID_WORDS:
            raise ValueError(f"x must have {FEATURES_MAX} columns and valid {VALID_WORDS}, "
                             f"not {rows.shape[1]} and {bits.shape[1]}")
        if bits.shape[0] != n or h.shape[0] != n or sigma.shape[0] != n:
            raise ValueError("x, valid, h_ticks and sigma_ticks must have the same number of rows")
        if self.fn == NULL:
            raise NotImplementedError("CurveModel has no curve of its own; use a subclass")
        out = np.full((n, HORIZONS), np.nan)
        answered = np.zeros(n, dtype=np.bool_)
        cdef double[:, ::1] p = out
        cdef unsigned char[::1] ok = answered.view(np.uint8)
        cdef double curve[HORIZONS]
        cdef ModelInput row
        cdef int k
        with nogil:
            for i in range(n):
                row.x = &rows[i, 0]
                row.valid = &bits[i, 0]
                row.h_ticks = h[i]
                row.sigma_ticks = sigma[i]
                if self.fn(self.params, &row, curve) == 0:
                    ok[i] = 1
                    for k in range(HORIZONS):
                        p[i, k] = curve[k]
        return out, answered

    cdef int _evaluate(self, const ModelInput* row, double* p) except -1:
        if self.fn == NULL:
            raise NotImplementedError("CurveModel has no curve of its own; use a subclass")
        return self.fn(self.params, row, p) != 0


cdef int _read_curve(object p, double* out) except -1:
    values = np.ascontiguousarray(p, dtype=np.float64)
    if values.shape != (HORIZONS,):
        raise ValueError(f"a curve has {HORIZONS} points, not shape {values.shape}")
    cdef const double[::1] view = values
    cdef int k
    for k in range(HORIZONS):
        if not 0.0 <= view[k] <= 1.0 or (k and view[k] < view[k - 1]):
            raise ValueError("a curve must lie in [0, 1] and never fall; see enforce()")
        out[k] = view[k]
    return 0


def probability_at(p, int64_t tau_ns):
    """P(τ) read from the curve ``p`` of shape (12,), τ in ns. ``ValueError`` when ``p`` is no curve."""
    cdef double curve[HORIZONS]
    _read_curve(p, curve)
    return curve_at(curve, tau_ns)


def invert(p, double alpha):
    """Largest τ in ns with P(τ) ≤ ``alpha``, between 0 and the last horizon; 0 for a negative or NaN ``alpha``.

    The last horizon says that the curve never exceeds ``alpha`` on the grid. ``P(invert(p, α)) ≤ α`` holds
    exactly whenever the result is positive. ``ValueError`` when ``p`` is no curve.
    """
    cdef double curve[HORIZONS]
    _read_curve(p, curve)
    return curve_invert(curve, alpha)


def enforce(p):
    """``p`` (12,) clipped to [0, 1] and made non-decreasing by its running maximum. ``ValueError`` on NaN."""
    cdef double curve[HORIZONS]
    cdef int k
    values = np.asarray(p, dtype=np.float64)
    if values.shape != (HORIZONS,):
        raise ValueError(f"a curve has {HORIZONS} points, not shape {values.shape}")
    for k in range(HORIZONS):
        curve[k] = values[k]
    if curve_enforce(curve):
        raise ValueError("a curve may not hold NaN")
    return np.array([curve[k] for k in range(HORIZONS)])


def first_passage(double h_ticks, double sigma_ticks):
    """P(τ) = 2Φ(−h/(σ√τ)) on the grid, shape (12,): the reflection principle of driftless diffusion.

    ``h_ticks`` ≤ 0 gives 1 (passed already), ``sigma_ticks`` = 0 gives 0; NaN in either, or a negative σ,
    gives 1: the worst case.
    """
    cdef double curve[HORIZONS]
    cdef int k
    first_passage_curve(h_ticks, sigma_ticks, curve)
    return np.array([curve[k] for k in range(HORIZONS)])
