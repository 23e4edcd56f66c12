"""Life from the adverse-selection curve (SPEC.md 6.1): tolerance by P(500 ms), tolerance by curve, step table.

- ``p500``: life = 500 ms · (ln(1 − α) / ln(1 − p500))^(1/γ), the time at which a Weibull curve of shape γ through
  P(500 ms) reaches α. P = 0 gives the longest life, P = 1 the shortest.
- ``curve``: the largest τ with P(τ) ≤ α on the whole curve.
- ``step``: the life of the last row whose p is not above P(500 ms).

Then the posture's bounds. Lives are rounded to the nearest microsecond; bounds are whole microseconds, so a life
never leaves them. A probability that is no number counts as 1.
"""

from typing import NamedTuple

import numpy as np

from libc.math cimport INFINITY, floor, log1p, pow
from libc.stdint cimport int64_t

from quotelife.model.curve cimport curve_invert
from quotelife.records cimport (BIND_BELOW_MINIMUM, BIND_HORIZON, BIND_MAX, BIND_MIN, BIND_STEP, BIND_TOLERANCE,
                                HORIZONS, MODE_STEP, MODE_TOLERANCE_CURVE, MODE_TOLERANCE_P500, WHY_BELOW_MINIMUM)

from quotelife.decision.risk import INPUTS
from quotelife.records import HORIZONS_NS

cdef double HALF_SECOND_NS = 5e8
cdef double LAST_HORIZON_NS = HORIZONS_NS[HORIZONS - 1]

if HORIZONS_NS[P500] != 500_000_000:
    raise AssertionError("P500 does not point at 500 ms")


cdef inline double _by_p500(double alpha, double gamma, double p) noexcept nogil:
    if not p < 1.0:
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
    elif posture.mode == MODE_TOLERANCE_CURVE:
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


class Life(NamedTuple):
    """What ``choose_life`` answers: nanoseconds, ``BindingFlags``, ``ReasonFlags``, and whether to decline."""

    life_ns: int
    binding: int
    reasons: int
    decline: bool


_MODES = {
    ("tolerance", "p500"): MODE_TOLERANCE_P500,
    ("tolerance", "curve"): MODE_TOLERANCE_CURVE,
    ("step", "p500"): MODE_STEP,
    ("step", "curve"): MODE_STEP,
}


cdef class PostureLife:
    """One posture's settings compiled for the decision; also its lives, by the very code the engine runs."""

    def __init__(self, settings):
        """``settings``: a ``PostureSettings`` that has passed the checks of the configuration."""
        steps = settings.step_table.steps()
        if not 0 < len(steps) <= STEPS_MAX:
            raise ValueError(f"a step table holds 1 to {STEPS_MAX} rows")
        self.c.mode = _MODES[settings.mode, settings.tolerance_source]
        self.c.decline_below_minimum = settings.below_minimum == "decline"
        self.c.one_tick_threshold = settings.mode == "step" and settings.step_table.preset == "step_2pct"
        self.c.alpha = settings.tolerance
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
