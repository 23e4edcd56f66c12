"""Life from the adverse-selection curve: tolerance by P(500 ms) or by curve, steps, expected value.

- ``p500``: life = 500 ms · (ln(1 − α) / ln(1 − p500))^(1/γ), the time at which a Weibull curve of shape γ through
  P(500 ms) reaches α. P = 0 gives the longest life, P = 1 the shortest, and so does α = 0.
- ``curve``: the largest τ with P(τ) ≤ α on the whole curve.
- ``step``: the life of the last row whose p is not above P(500 ms).
- expected value: the life of the largest V (``expected_value``) among those that the tolerance allows, by its own
  source and by the curve, P(τ) ≤ α; of a quote that is watched w P(τ) ≤ α, w the share of losses that a watch leaves.

Then the posture's bounds. Lives are rounded to the nearest microsecond; bounds are whole microseconds, so a life
never leaves them. A probability that is no number counts as 1.
"""

from typing import NamedTuple

import numpy as np

from libc.math cimport INFINITY, NAN, floor, log1p, pow
from libc.stdint cimport int64_t

from quotelife.decision.expected_value cimport (ExpectedValue, ValueResult, ValueTerms, compile_terms, has_value,
                                                value_best)
from quotelife.model.curve cimport curve_invert
from quotelife.records cimport (BIND_BELOW_MINIMUM, BIND_HORIZON, BIND_MAX, BIND_MIN, BIND_STEP, BIND_TOLERANCE,
                                BIND_VALUE, DECISION_DECLINE, DECISION_INDICATIVE,
                                HORIZONS, MODE_EXPECTED_VALUE, MODE_STEP, MODE_TOLERANCE_CURVE,
                                MODE_TOLERANCE_P500, WHY_BELOW_MINIMUM, WHY_EDGE_TOO_SMALL, WHY_NO_VALUE)

from quotelife.decision.risk import INPUTS
from quotelife.records import HORIZONS_NS

cdef double HALF_SECOND_NS = 5e8
cdef double LAST_HORIZON_NS = HORIZONS_NS[HORIZONS - 1]

if HORIZONS_NS[P500] != 500_000_000:
    raise AssertionError("P500 does not point at 500 ms")


cdef inline double _by_p500(double alpha, double gamma, double p) noexcept nogil:
    if not p < 1.0 or not alpha > 0.0:     # no tolerance, no life, whatever the curve says
        return 0.0
    if p <= 0.0:
        return INFINITY
    return HALF_SECOND_NS * pow(log1p(-alpha) / log1p(-p), 1.0 / gamma)


cdef inline int64_t _round_us(double ns) noexcept nogil:
    return <int64_t>floor(ns / 1e3 + 0.5) * 1000


cdef int64_t _by_steps(const PostureParams* posture, double p) noexcept nogil:
    cdef int row = posture.steps - 1
    if p == p:
        while row > 0 and p < posture.step[row].p:
            row -= 1
    return posture.step[row].life_ns


cdef void choose_life(const PostureParams* posture, double alpha, const double* p, LifeResult* out) noexcept nogil:
    cdef double life_ns
    cdef int inside = BIND_TOLERANCE
    out.reasons = 0
    out.decline = False
    if posture.mode == MODE_STEP:
        life_ns = <double>_by_steps(posture, p[P500])
        inside = BIND_STEP
    elif posture.tolerance_mode == MODE_TOLERANCE_CURVE:
        life_ns = <double>curve_invert(p, alpha)
        if life_ns >= LAST_HORIZON_NS:
            inside = BIND_HORIZON
    else:
        life_ns = _by_p500(alpha, posture.gamma, p[P500])

    if life_ns > posture.max_ns:
        out.life_ns = posture.max_ns
        out.binding = BIND_MAX
    elif life_ns >= posture.min_ns:
        out.life_ns = _round_us(life_ns)
        out.binding = inside
    elif posture.mode == MODE_STEP:
        out.life_ns = posture.min_ns
        out.binding = BIND_MIN
    elif posture.decline_below_minimum:
        out.life_ns = 0
        out.binding = BIND_BELOW_MINIMUM
        out.reasons = WHY_BELOW_MINIMUM
        out.decline = True
    else:
        out.life_ns = posture.min_ns
        out.binding = BIND_MIN | BIND_BELOW_MINIMUM
        out.reasons = WHY_BELOW_MINIMUM
    if posture.mode == MODE_STEP:
        out.binding |= BIND_STEP


cdef inline double _watched_alpha(double alpha, double left) noexcept nogil:
    # w P(life) <= alpha: a passage that the withdrawal forestalls is none. Exact where nothing is taken away.
    if left == 1.0 or not alpha > 0.0:
        return alpha
    return 1.0 if alpha >= left else alpha / left


cdef void choose_by_value(const PostureParams* posture, const ValuePrior* prior, double left, double alpha,
                          const double* p, double edge, double h, double inventory, int64_t limit_ns,
                          uint16_t limit_binding, LifeResult* out) noexcept nogil:
    cdef ValueResult best
    cdef ValueTerms terms = posture.value
    cdef double cap
    cdef int64_t low, high
    cdef uint16_t high_binding
    terms.left = left
    alpha = _watched_alpha(alpha, left)
    cap = <double>curve_invert(p, alpha)
    high_binding = BIND_HORIZON if cap >= LAST_HORIZON_NS else BIND_TOLERANCE
    out.life_ns = 0
    out.reasons = 0
    out.binding = 0
    out.decline = True
    out.value_ticks = NAN
    out.break_even_ticks = INFINITY
    if posture.tolerance_mode == MODE_TOLERANCE_P500 and _by_p500(alpha, posture.gamma, p[P500]) < cap:
        cap = _by_p500(alpha, posture.gamma, p[P500])
        high_binding = BIND_TOLERANCE
    if edge + posture.value.relationship_in_h * h <= 0.0:
        out.reasons |= WHY_EDGE_TOO_SMALL
    high = <int64_t>(cap / 1e3) * 1000                 # down, so that P(life) stays within alpha
    if high < posture.min_ns:
        out.reasons |= WHY_BELOW_MINIMUM
        out.binding = BIND_BELOW_MINIMUM
        if posture.decline_below_minimum:
            return
        high = posture.min_ns
        high_binding = BIND_MIN
    if high > posture.max_ns:
        high = posture.max_ns
        high_binding = BIND_MAX
    if high > limit_ns:
        high = limit_ns - limit_ns % 1000
        high_binding = limit_binding
    low = min(posture.min_ns, high)
    value_best(prior, &terms, p, edge, h, inventory, low, high, &best)
    out.break_even_ticks = best.break_even_ticks
    out.value_ticks = best.life_value_ticks
    if out.reasons & <uint64_t>WHY_EDGE_TOO_SMALL:
        out.reasons = WHY_EDGE_TOO_SMALL               # the minimum would have been given
        out.binding = 0
        return
    if not has_value(best.life_value_ticks, h):
        out.reasons |= WHY_NO_VALUE
        return
    out.decline = False
    out.life_ns = best.life_ns
    if best.life_ns == high:
        out.binding |= high_binding
    elif best.life_ns == low:
        out.binding |= BIND_MIN
    else:
        out.binding |= BIND_VALUE


class Life(NamedTuple):
    """What ``choose_life`` answers: nanoseconds, ``BindingFlags``, ``ReasonFlags``, and whether to decline."""

    life_ns: int
    binding: int
    reasons: int
    decline: bool


_TOLERANCES = {"p500": MODE_TOLERANCE_P500, "curve": MODE_TOLERANCE_CURVE}
_MODES = {"step": MODE_STEP, "expected_value": MODE_EXPECTED_VALUE}


cdef class PostureLife:
    """One posture's settings compiled for the decision; also its lives, by the very code the engine runs.

    Under expected value ``life`` is what the tolerance gives where a request names no edge.
    """

    def __init__(self, settings):
        """``settings``: a ``PostureSettings`` that has passed the checks of the configuration."""
        steps = settings.step_table.steps()
        if not 0 < len(steps) <= STEPS_MAX:
            raise ValueError(f"a step table holds 1 to {STEPS_MAX} rows")
        self.c.tolerance_mode = _TOLERANCES[settings.tolerance_source]
        self.c.mode = _MODES.get(settings.mode, self.c.tolerance_mode)
        self.c.decline_below_minimum = settings.declines_below_minimum
        self.c.no_value_kind = DECISION_DECLINE if settings.value.no_value == "decline" else DECISION_INDICATIVE
        self.c.value = compile_terms(settings.value)
        self.c.one_tick_threshold = settings.mode == "step" and settings.step_table.preset == "step_2pct"
        self.c.alpha = settings.tolerance
        held = settings.held_tolerance
        self.c.held_rate = held.rate if held.enabled else 0.0
        self.c.held_alpha = settings.tolerance * (held.target if held.enabled else 1.0)
        self.c.gamma = settings.gamma
        self.c.min_ns = settings.life_min_ns
        self.c.max_ns = settings.life_max_ns
        self.c.steps = len(steps)
        for i, (p, life_ns) in enumerate(steps):
            self.c.step[i].p = p
            self.c.step[i].life_ns = life_ns
        for i, name in enumerate(INPUTS):
            self.c.weights[i] = getattr(settings.weights, name)

    @property
    def mode(self):
        """``ModeCode`` as a number."""
        return self.c.mode

    @property
    def one_tick_threshold(self):
        """Whether h is always one tick under this posture."""
        return bool(self.c.one_tick_threshold)

    def life(self, p, alpha=None):
        """Life on a curve, shape (12,), or on a flat one of that height; ``alpha`` defaults to the posture's."""
        cdef const double[::1] curve = np.ascontiguousarray(
            np.broadcast_to(np.asarray(p, dtype=np.float64), (HORIZONS,)))
        cdef LifeResult result
        choose_life(&self.c, self.c.alpha if alpha is None else alpha, &curve[0], &result)
        return Life(result.life_ns, result.binding, result.reasons, bool(result.decline))

    def lives_ns(self, p500):
        """Lives of many P(500 ms), shape (n,), as int64 nanoseconds; 0 where the posture declines."""
        cdef const double[::1] values = np.ascontiguousarray(p500, dtype=np.float64)
        out = np.empty(values.shape[0], dtype=np.int64)
        cdef int64_t[::1] lives = out
        cdef double curve[HORIZONS]
        cdef LifeResult result
        cdef Py_ssize_t i
        cdef int k
        with nogil:
            for i in range(values.shape[0]):
                for k in range(HORIZONS):
                    curve[k] = values[i]
                choose_life(&self.c, self.c.alpha, curve, &result)
                lives[i] = result.life_ns
        return out

    def choose(self, p, alpha=None):
        """Lives on many curves, shape (n, 12), each in [0, 1] and non-decreasing: ``Lives`` of arrays of shape (n,).

        ``alpha`` of shape (n,) stands for the posture's tolerance. ``ValueError`` when shapes differ.
        """
        cdef const double[:, ::1] curves = _curves(p)
        cdef Py_ssize_t n = curves.shape[0], i
        cdef const double[::1] alphas = _column(self.c.alpha if alpha is None else alpha, n)
        cdef LifeResult result
        out = _lives(n)
        cdef int64_t[::1] life_ns = out.life_ns
        cdef uint16_t[::1] binding = out.binding
        with nogil:
            for i in range(n):
                choose_life(&self.c, alphas[i], &curves[i, 0], &result)
                life_ns[i] = result.life_ns
                binding[i] = result.binding
        return out

    def choose_by_value(self, p, ExpectedValue value not None, *, edge_ticks, h_ticks, alpha=None):
        """The same by expected value, with the tier and the terms of ``value`` and without a position.

        ``edge_ticks`` and ``h_ticks``: (n,) or one number. The value is that of the life, NaN without one.
        """
        cdef const double[:, ::1] curves = _curves(p)
        cdef Py_ssize_t n = curves.shape[0], i
        cdef const double[::1] alphas = _column(self.c.alpha if alpha is None else alpha, n)
        cdef const double[::1] edge = _column(edge_ticks, n)
        cdef const double[::1] h = _column(h_ticks, n)
        cdef PostureParams posture = self.c
        cdef LifeResult result
        posture.value = value.terms
        out = _lives(n)
        cdef int64_t[::1] life_ns = out.life_ns
        cdef uint16_t[::1] binding = out.binding
        cdef double[::1] worth = out.value_ticks
        with nogil:
            for i in range(n):
                choose_by_value(&posture, &value.prior, value.terms.left, alphas[i], &curves[i, 0], edge[i], h[i],
                                0.0, posture.max_ns, BIND_MAX, &result)
                life_ns[i] = result.life_ns
                binding[i] = result.binding
                if not result.decline:
                    worth[i] = result.value_ticks
        return out


class Lives(NamedTuple):
    """Lives of n curves: int64 ns (0: none is given), ``BindingFlags``, and by value their V in ticks, else NaN."""

    life_ns: np.ndarray
    binding: np.ndarray
    value_ticks: np.ndarray


def _lives(Py_ssize_t n):
    return Lives(np.zeros(n, dtype=np.int64), np.zeros(n, dtype=np.uint16), np.full(n, np.nan))


def _column(values, Py_ssize_t n):
    return np.ascontiguousarray(np.broadcast_to(np.asarray(values, dtype=np.float64), (n,)))


def _curves(p):
    curves = np.ascontiguousarray(p, dtype=np.float64)
    if curves.ndim != 2 or curves.shape[1] != HORIZONS:
        raise ValueError(f"curves have shape (n, {HORIZONS}), not {curves.shape}")
    if not (curves[:, 0] >= 0.0).all() or not (curves[:, -1] <= 1.0).all() or not (np.diff(curves) >= 0.0).all():
        raise ValueError("a curve must lie in [0, 1] and never fall; see model.curve.enforce()")
    return curves
