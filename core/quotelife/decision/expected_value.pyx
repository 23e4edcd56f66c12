"""The value of a firm life and where it is largest; docs/expected-value.md works an example.

    V(τ) = (1 − π) ∫₀^τ [e + ρ − m(u)] dF_A(u) − λ π L P(τ − ℓᵢ) − κ I F_A(τ)

per lot in ticks, with F_A(u) = a·G(u − ℓ), G lognormal. In it:

- m(u) = β h P(u): the mean adverse move met by a benign accept, as a share β of the threshold. β = 0: the client
  accepts whatever the price does, and a price without drift has moved by nothing on average;
- L = max(0, c h − e): whoever picks the quote off does so when the market has moved by h or (overshoot, c > 1) more;
- ρ = relationship_in_h · h, so that one number serves instruments of any tick;
- I = h · position / limit, positive where the fill adds to the position.

Of a quote that is watched V has w L and w m(u) for L and m(u): w is the share that a withdrawal leaves over.

Of a quote that has stood for A and was not accepted, F_A is conditional on that: accepted within the next u is

    F(u | A) = a (G(A + u − ℓ) − G(A − ℓ)) / (1 − a G(A − ℓ)),

which is a prior of its own, with latency ℓ − A and hit probability a / (1 − a G(A − ℓ)), and G counted from now on.

The curve's pieces are smooth between the horizons, G is smooth everywhere, the taker's curve is shifted by ℓᵢ: all the
places where V can bend are known from the tier alone, and so are Gauss–Legendre nodes between them. ``compile_prior``
lays them out once; a decision then integrates the curve over them, looks at V at every bend, and goes into those
panels only whose bound could hold more. V and the maximum are within 1e-9 h of the exact ones; a value not above
that counts as none.
"""

from math import factorial
from typing import NamedTuple

import numpy as np

from libc.math cimport INFINITY, NAN, ceil, erfc, exp, fabs, fmax, fmin, log, pow, sqrt
from libc.stdint cimport int64_t
from libc.string cimport memcpy

from quotelife.model.curve cimport CurveSegment, curve_segments, segment_p
from quotelife.records cimport HORIZONS

from quotelife.records import HORIZONS_NS

cdef enum:
    STACK = 48                 # halvings of one panel
    LOOKS_MAX = 400            # panels looked into in one maximisation, all in all
    RATIOS_MAX = 12            # pieces to a common ratio before the first horizon
    STEPS_MAX = 30             # towards the break-even edge; it takes three or four

cdef double VALUE_MIN = 1e-9           # in h
cdef double EXACT = 1e-11              # in h: how exactly the adverse moves of one panel are weighed, and ...
cdef double EXACT_SHARE = 1e-9         # ... in h and for each client who has accepted by then, where few have
cdef double FLAT = 1e-12               # a rise of P that nobody can tell from none
cdef double SLACK = 1e-11              # in h: how much more a panel must promise to be looked into
cdef double FINE_SLACK = 1e-15         # the same where a value is held against VALUE_MIN
cdef double EDGE_MIN = 1e-6            # how exactly the break-even edge is known, in the larger of h and itself
cdef double Z_MAX = 8.0                # G is 6e-16 there
cdef double Z_AGED = 10.0              # the same of clients who have not accepted by z = 6
cdef double NOBODY = 1e-9              # so few clients who may accept yet count as none
cdef double LN_STEP = 1.5              # a piece before the first horizon is no wider in ln u
cdef double HAZARD_MAX = 40.0          # a curve's at a horizon
cdef double PART = 6.0                 # change that the highest order follows to 1e-16
cdef double Z_STEP = 1.5               # a panel is no wider in z, nor in ln(u - l)
cdef double SQRT_HALF = 0.70710678118654752440
cdef double INV_SQRT_2PI = 0.39894228040143267794
cdef double LAST_NS = HORIZONS_NS[HORIZONS - 1]

VALUE_MIN_IN_H = VALUE_MIN

cdef double HORIZON[HORIZONS]
for _i in range(HORIZONS):
    HORIZON[_i] = HORIZONS_NS[_i]

cdef int ORDER[ORDERS]
cdef int FIRST[ORDERS]                 # place of an order's nodes among all
cdef double GL_X[NODES]                # Gauss-Legendre on [-1, 1], one order after the other
cdef double GL_W[NODES]
cdef double GL_ERROR[ORDERS]           # of n nodes for exp(x) over a unit of x: (n!)^4 / ((2n + 1) (2n)!^3)

_place = 0
for _i, _order in enumerate((2, 3, 4, 5, 6, 8, 12)):
    ORDER[_i] = _order
    FIRST[_i] = _place
    GL_ERROR[_i] = factorial(_order) ** 4 / ((2 * _order + 1) * factorial(2 * _order) ** 3)
    for _x, _w in zip(*np.polynomial.legendre.leggauss(_order), strict=True):
        GL_X[_place] = _x
        GL_W[_place] = _w
        _place += 1


cdef struct Slope:             # what the slope of V at one tau is made of, as seen from inside a panel
    double tau
    double log_tau
    double log_taker           # ln(tau - l_i)
    double z                   # -inf up to l
    double density             # dG/dtau
    double p                   # P(tau)
    double taker_density       # slope of P(tau - l_i)
    double hazard              # H(tau - l_i)


cdef struct Factors:           # V = gain G - adverse moment - loss taker
    double gain
    double adverse
    double loss


cdef struct Problem:
    const ValuePrior* prior
    CurveSegment segment[HORIZONS]
    bint moments               # whether anybody asks for int P dG
    int n                      # places; panel[i] lies between place i and i + 1
    double tau[PANELS_MAX + 3]
    double g[PANELS_MAX + 3]
    double p[PANELS_MAX + 3]
    double moment[PANELS_MAX + 3]
    double taker[PANELS_MAX + 3]
    const ValuePoint* point[PANELS_MAX + 3]    # where the place is one that the prior knows, else NULL
    int panel[PANELS_MAX + 3]
    bint located[PANELS_MAX + 3]   # whether the slope at both ends of the panel has been read
    Slope begin[PANELS_MAX + 3]
    Slope end[PANELS_MAX + 3]


cdef struct Best_:
    double tau
    double value
    double g
    double p
    double moment
    double taker
    int i                      # the panel that it lies in or begins
    int looks
    double narrow


cdef inline double _value(const Factors* f, double g, double moment, double taker) noexcept nogil:
    return f.gain * g - f.adverse * moment - f.loss * taker


cdef bint has_value(double value, double h) noexcept nogil:
    return value > VALUE_MIN * h


cdef inline double _z(const ValuePrior* prior, double tau) noexcept nogil:
    cdef double x = tau - prior.latency_ns
    return (log(x) - prior.mu) / prior.sigma if x > 0.0 else -INFINITY


cdef inline double _log_taker(const ValuePrior* prior, double tau) noexcept nogil:
    return log(tau - prior.taker_ns) if tau > prior.taker_ns else -INFINITY


cdef inline double _cdf(double z) noexcept nogil:
    return 0.5 * erfc(-z * SQRT_HALF)


cdef inline double _g(const ValuePrior* prior, double z) noexcept nogil:
    # Of G up to z, what is still to come. Far up by its tail: there G is 1 but for what matters.
    if prior.from_z == -INFINITY:
        return _cdf(z)
    if prior.from_z > 0.0:
        return fmax(0.0, prior.from_g - _cdf(-z))
    return fmax(0.0, _cdf(z) - prior.from_g)


cdef inline double _allowed(const ValuePrior* prior, double g) noexcept nogil:
    # How far a panel's int P dG may be off, G being g at its right end.
    return fmin(prior.exact, prior.exact_share * g)


cdef inline double _rate(const CurveSegment* segment, double p_high) noexcept nogil:
    # How fast P changes with ln tau, as what Gauss-Legendre has to follow: far down its tail 1 - exp(-H) is H.
    return segment.exponent if p_high < 1e-2 else 2.5 * segment.exponent


cdef inline int _order_for(double change, double scale, double allowed) noexcept nogil:
    # The least order whose error is allowed for an integrand up to ``scale`` whose logarithm changes by ``change``;
    # -1: the trapezium in G will do; ORDERS: none will.
    cdef double square = change * change, power = square
    cdef int n = 1, i
    if scale * fmin(1.0, square) <= allowed:
        return -1
    for i in range(ORDERS):
        while n < ORDER[i]:
            power *= square
            n += 1
        if scale * GL_ERROR[i] * power <= allowed:
            return i
    return ORDERS


cdef double _moment(const ValuePrior* prior, const CurveSegment* segment, double low, double high, double p_low,
                    double p_high, double g_low, double g_high) noexcept nogil:
    # int P dG over [low, high] inside one segment, by nodes of its own.
    cdef double mass = g_high - g_low, allowed = _allowed(prior, g_high)
    cdef double z_low, z_high, step, half, centre, z, z_far, density, change, stretch, scale, root, rho, total = 0.0
    cdef int parts = 1, order, i, k
    if (p_high - p_low) * mass <= allowed:
        return 0.5 * (p_low + p_high) * mass
    z_low = fmax(-Z_MAX, _z(prior, low))
    z_high = fmin(prior.z_max, _z(prior, high))
    if z_high <= z_low:
        return p_high * mass
    stretch = 1.0 - prior.latency_ns / high
    if prior.latency_ns < 0.0:
        if low <= 0.0:                     # the first piece, which was cut so short that no more is needed
            return 0.5 * (p_low + p_high) * mass
        stretch = 1.0 - prior.latency_ns / low
    z_far = fmax(fabs(z_low), fabs(z_high))
    density = _density_z(z_low, z_high)
    change = (z_far + 2.0 + _rate(segment, p_high) * prior.sigma * stretch) * (z_high - z_low)
    scale = (p_high - p_low) * density * (z_high - z_low)
    order = _order_for(change, scale, allowed)
    if order < 0:
        return 0.5 * (p_low + p_high) * mass
    if prior.latency_ns < 0.0:
        # u is nearly linear in z here, and a power of u begins at 0: n nodes follow it by the 2n-th power of this.
        root = sqrt(high / low)
        rho = (root - 1.0) / (root + 1.0)
        while order < ORDERS and 4.0 * scale * pow(rho, 2.0 * ORDER[order]) > allowed:
            order += 1
    if order == ORDERS:
        parts = max(2, min(<int>ceil(change / PART), 256))
        order = ORDERS - 1
    step = (z_high - z_low) / parts
    half = 0.5 * step
    for i in range(parts):
        centre = z_low + (i + 0.5) * step
        for k in range(FIRST[order], FIRST[order] + ORDER[order]):
            z = centre + half * GL_X[k]
            total += GL_W[k] * exp(-0.5 * z * z) * (
                segment_p(segment, log(prior.latency_ns + exp(prior.mu + prior.sigma * z))) - p_low)
    return p_low * mass + total * half * INV_SQRT_2PI


cdef double _panel_moment(const ValuePrior* prior, int j, const CurveSegment* segment, double p_low,
                          double p_high) noexcept nogil:
    # The same over a whole panel, by the tier's nodes where they can follow.
    cdef const ValuePanel* panel = &prior.panel[j]
    cdef double total = 0.0
    cdef int k, order = ORDERS
    if prior.laid_out:
        order = _order_for(panel.change + panel.stretch * _rate(segment, p_high), (p_high - p_low) * panel.scale,
                           panel.allowed)
    if order < 0:
        return 0.5 * (p_low + p_high) * panel.mass
    if order == ORDERS:
        return _moment(prior, segment, prior.point[j].tau_ns, prior.point[j + 1].tau_ns, p_low, p_high,
                       prior.point[j].g, prior.point[j + 1].g)
    for k in range(FIRST[order], FIRST[order] + ORDER[order]):
        total += panel.weight[k] * (segment_p(segment, panel.log_u[k]) - p_low)
    return p_low * panel.mass + total


cdef inline double _density_z(double low, double high) noexcept nogil:
    # The largest normal density between two z.
    cdef double nearest = 0.0 if low < 0.0 < high else fmin(fabs(low), fabs(high))
    return INV_SQRT_2PI * exp(-0.5 * nearest * nearest)


cdef void _locate(const Problem* problem, int j, double tau, Slope* out) noexcept nogil:
    cdef const ValuePrior* prior = problem.prior
    cdef const CurveSegment* segment
    cdef double x = tau - prior.latency_ns, y = tau - prior.taker_ns
    cdef int s = prior.panel[j].taker_segment
    out.tau = tau
    out.log_tau = log(tau)
    out.z = out.log_taker = -INFINITY
    out.density = out.taker_density = out.hazard = 0.0
    if x > 0.0:
        out.z = (log(x) - prior.mu) / prior.sigma
        out.density = INV_SQRT_2PI * exp(-0.5 * out.z * out.z) / (prior.sigma * x)
    out.p = segment_p(&problem.segment[prior.panel[j].segment], out.log_tau) if problem.moments else 0.0
    if s >= 0 and y > 0.0:
        segment = &problem.segment[s]
        if not segment.flat:
            out.log_taker = log(y)
            out.hazard = exp(segment.log_hazard + segment.exponent * (out.log_taker - segment.log_tau))
            out.taker_density = segment.exponent * out.hazard * exp(-out.hazard) / y


cdef void _locate_place(const Problem* problem, int j, int i, Slope* out) noexcept nogil:
    # The same at a place, as seen from inside panel j: the prior knows what does not depend on the curve.
    cdef const ValuePrior* prior = problem.prior
    cdef const ValuePoint* point = problem.point[i]
    cdef const CurveSegment* segment
    cdef int s = prior.panel[j].taker_segment
    if point == NULL or not prior.laid_out:
        _locate(problem, j, problem.tau[i], out)
        return
    out.tau = point.tau_ns
    out.log_tau = point.log_tau
    out.z = point.z
    out.density = point.density
    out.p = problem.p[i] if problem.moments else 0.0
    out.log_taker = -INFINITY
    out.taker_density = out.hazard = 0.0
    if s >= 0 and point.log_taker > -INFINITY:
        segment = &problem.segment[s]
        if not segment.flat:
            out.log_taker = point.log_taker
            out.hazard = exp(segment.log_hazard + segment.exponent * (out.log_taker - segment.log_tau))
            out.taker_density = segment.exponent * out.hazard * exp(-out.hazard) / (point.tau_ns - prior.taker_ns)


cdef void _add_place(Problem* problem, int j, double tau, double g, double p, double moment,
                     const ValuePoint* point) noexcept nogil:
    # j: the panel that begins or goes on here. P(tau - l_i) is what the curve says at that very point.
    cdef const ValuePrior* prior = problem.prior
    cdef double log_taker = point.log_taker if point != NULL else _log_taker(prior, tau)
    cdef int k = problem.n, s
    problem.tau[k] = tau
    problem.g[k] = g
    problem.p[k] = p
    problem.moment[k] = moment
    problem.taker[k] = 0.0
    if point != NULL and point.taker_horizon >= 0:
        problem.taker[k] = problem.segment[point.taker_horizon].high
    elif log_taker > -INFINITY:
        s = max(0, prior.panel[min(j, prior.panels - 1)].taker_segment)
        problem.taker[k] = segment_p(&problem.segment[s], log_taker)
    problem.point[k] = point
    problem.panel[k] = min(j, prior.panels - 1)        # behind the last point: there is none
    problem.located[k] = False
    problem.n += 1


cdef void _set_up(Problem* problem, const ValuePrior* prior, const double* p, bint moments, double low,
                  double high) noexcept nogil:
    # Places at low, at every bend between, and at high.
    cdef const CurveSegment* segment
    cdef const ValuePoint* left
    cdef const ValuePoint* right
    cdef double moment = 0.0, p_left = 0.0, p_right, p_at, g_at, low_moment
    cdef int j
    problem.prior = prior
    problem.moments = moments
    problem.n = 0
    curve_segments(p, problem.segment)
    for j in range(HORIZONS):
        if problem.segment[j].high - problem.segment[j].low < FLAT:
            problem.segment[j].flat = True
            problem.segment[j].exponent = 0.0
    for j in range(prior.panels):
        left = &prior.point[j]
        right = &prior.point[j + 1]
        segment = &problem.segment[prior.panel[j].segment]
        if j == 0:
            p_left = segment.low
        p_right = segment.high if right.horizon and not segment.flat else segment_p(segment, right.log_tau)
        if problem.n == 0 and low < right.tau_ns:
            p_at = segment_p(segment, log(low))
            g_at = _g(prior, _z(prior, low))
            low_moment = moment
            if moments:
                low_moment += _moment(prior, segment, left.tau_ns, low, p_left, p_at, left.g, g_at)
            _add_place(problem, j, low, g_at, p_at, low_moment, NULL)
        elif problem.n:
            _add_place(problem, j, left.tau_ns, left.g, p_left, moment, left)
        if problem.n and high < right.tau_ns:
            if high > problem.tau[problem.n - 1]:
                p_at = segment_p(segment, log(high))
                g_at = _g(prior, _z(prior, high))
                if moments:
                    moment += _moment(prior, segment, left.tau_ns, high, p_left, p_at, left.g, g_at)
                _add_place(problem, j, high, g_at, p_at, moment, NULL)
            return
        if moments:
            moment += _panel_moment(prior, j, segment, p_left, p_right)
        p_left = p_right
    # high is the last horizon (and low may be)
    j = prior.panels
    _add_place(problem, j, prior.point[j].tau_ns, prior.point[j].g, p_left, moment, &prior.point[j])


cdef inline void _consider(const Problem* problem, const Factors* f, int i, double tau, double g, double p,
                           double moment, double taker, Best_* best) noexcept nogil:
    cdef double value = _value(f, g, moment, taker)
    if value > best.value:
        best.value = value
        best.tau = tau
        best.g = g
        best.p = p
        best.moment = moment
        best.taker = taker
        best.i = i


cdef inline double _slope(const Factors* f, const Slope* at) noexcept nogil:
    return (f.gain - f.adverse * at.p) * at.density - f.loss * at.taker_density


cdef void _root(const Problem* problem, const Factors* f, int i, const Slope* left, const Slope* right,
                Best_* best) noexcept nogil:
    # The slope falls through 0 once in here: Illinois.
    cdef const ValuePrior* prior = problem.prior
    cdef const CurveSegment* segment
    cdef Slope at
    cdef double a = left.tau, b = right.tau, fa = _slope(f, left), fb = _slope(f, right), fc, c = a
    cdef double narrow = best.narrow * (b - a), g, moment, taker = 0.0
    cdef int j = problem.panel[i], side = 0, step
    for step in range(60):
        c = (a * fb - b * fa) / (fb - fa)
        if not a < c < b:
            c = 0.5 * (a + b)
        _locate(problem, j, c, &at)
        fc = _slope(f, &at)
        if fc == 0.0 or b - a < narrow:
            break
        if fc > 0.0:
            if c - a < narrow and side == 1:
                break
            a = c
            fa = fc
            if side == 1:
                fb *= 0.5
            side = 1
        else:
            if b - c < narrow and side == -1:
                break
            b = c
            fb = fc
            if side == -1:
                fa *= 0.5
            side = -1
    g = _g(prior, _z(prior, c))
    moment = problem.moment[i]
    if problem.moments:
        segment = &problem.segment[prior.panel[j].segment]
        moment += _moment(prior, segment, problem.tau[i], c, problem.p[i], at.p, problem.g[i], g)
    if prior.panel[j].taker_segment >= 0 and c > prior.taker_ns:
        taker = segment_p(&problem.segment[prior.panel[j].taker_segment], log(c - prior.taker_ns))
    _consider(problem, f, i, c, g, at.p, moment, taker, best)


cdef double _width(const Problem* problem, int j, const Slope* a, const Slope* b) noexcept nogil:
    # How far the logarithms of what the slope is made of can change between a and b; infinity where one starts.
    cdef const ValuePrior* prior = problem.prior
    cdef double width
    cdef int s = prior.panel[j].taker_segment
    if a.z == -INFINITY:
        return INFINITY
    width = fmax(b.z - a.z, problem.segment[prior.panel[j].segment].exponent * (b.log_tau - a.log_tau))
    if s >= 0 and not problem.segment[s].flat:
        if a.log_taker == -INFINITY:
            return INFINITY
        width = fmax(width, problem.segment[s].exponent * (b.log_taker - a.log_taker))
    return width


cdef double _density_max(const ValuePrior* prior, const Slope* a, const Slope* b) noexcept nogil:
    cdef double mode = exp(prior.mu - prior.sigma * prior.sigma)
    if a.tau - prior.latency_ns < mode < b.tau - prior.latency_ns:
        return INV_SQRT_2PI * exp(-0.5 * prior.sigma * prior.sigma) / (prior.sigma * mode)
    return fmax(a.density, b.density)


cdef double _taker_max(const Problem* problem, int j, const Slope* a, const Slope* b) noexcept nogil:
    # b H exp(-H) / y has its peak at H = (b - 1) / b, and none for an exponent of 1 or less.
    cdef int s = problem.prior.panel[j].taker_segment
    cdef double peak, y
    cdef const CurveSegment* segment
    if s < 0:
        return 0.0
    segment = &problem.segment[s]
    if segment.flat:
        return 0.0
    if segment.exponent > 1.0:
        peak = (segment.exponent - 1.0) / segment.exponent
        if a.hazard < peak < b.hazard:
            y = exp(segment.log_tau + (log(peak) - segment.log_hazard) / segment.exponent)
            return segment.exponent * peak * exp(-peak) / y
    elif a.tau <= problem.prior.taker_ns:
        return INFINITY if segment.exponent < 1.0 else b.taker_density + segment.exponent * exp(
            segment.log_hazard - segment.log_tau)
    return fmax(a.taker_density, b.taker_density)


cdef bint _keeps_sign(const Problem* problem, const Factors* f, int j, const Slope* a, const Slope* b) noexcept nogil:
    # Whether V goes on rising, or falling, from a to b: the logarithm of gain over loss, both a nanosecond, has one
    # sign at both ends and is farther from 0 there than it can bend away from its chord: an eighth of its second
    # derivative, taken twice over.
    cdef const ValuePrior* prior = problem.prior
    cdef const CurveSegment* taker
    cdef int s = prior.panel[j].taker_segment
    cdef double rate_a = f.gain - f.adverse * a.p, rate_b = f.gain - f.adverse * b.p
    cdef double left, right, dz, dx, dy, dt, fall, bend
    if s < 0 or rate_b <= 0.0 or a.density <= 0.0 or f.loss * a.taker_density <= 0.0 or b.taker_density <= 0.0 or (
            b.p > 0.99):
        return False
    left = log(rate_a * a.density / (f.loss * a.taker_density))
    right = log(rate_b * b.density / (f.loss * b.taker_density))
    if not left * right > 0.0:
        return False
    taker = &problem.segment[s]
    dz = b.z - a.z
    dx = prior.sigma * dz
    dy = b.log_taker - a.log_taker
    dt = b.log_tau - a.log_tau
    fall = f.adverse * (b.p - a.p) / rate_b
    if fmax(fmax(dz, dx), fmax(fmax(1.0, taker.exponent) * dy, fall)) > 0.7:
        return False
    bend = dz * dz + fmax(fabs(a.z), fabs(b.z)) * dx * dz + dx * dx
    bend += (fabs(taker.exponent - 1.0) + taker.exponent * (1.0 + taker.exponent) * b.hazard) * dy * dy
    bend += fall * (fall + (1.0 + problem.segment[prior.panel[j].segment].exponent) * dt + (b.p - a.p) / (1.0 - b.p))
    return fmin(fabs(left), fabs(right)) > 0.25 * bend


cdef void _look(Problem* problem, const Factors* f, int i, Best_* best) noexcept nogil:
    # All maxima inside panel i: halve until the slope's sign is sure, or turns but once.
    cdef Slope stack[STACK]
    cdef Slope left
    cdef Slope* right
    cdef double width, rate_left, rate_right, taker_max
    cdef int j = problem.panel[i], depth = 0
    if not problem.located[i]:
        problem.located[i] = True
        _locate_place(problem, j, i, &problem.begin[i])
        _locate_place(problem, j, i + 1, &problem.end[i])
    left = problem.begin[i]
    stack[0] = problem.end[i]
    while depth >= 0:
        right = &stack[depth]
        rate_left = f.gain - f.adverse * left.p
        rate_right = f.gain - f.adverse * right.p
        taker_max = f.loss * _taker_max(problem, j, &left, right) if f.loss > 0.0 else 0.0
        if rate_right >= 0.0 and rate_right * fmin(left.density, right.density) >= taker_max:
            pass                           # rises throughout
        elif fmax(rate_left, 0.0) * _density_max(problem.prior, &left, right) <= (
                f.loss * fmin(left.taker_density, right.taker_density)):
            pass                           # falls throughout
        else:
            best.looks += 1
            width = _width(problem, j, &left, right)
            if width <= 0.5 and _slope(f, &left) > 0.0 > _slope(f, right):
                _root(problem, f, i, &left, right, best)
            elif _keeps_sign(problem, f, j, &left, right):
                pass
            elif width > 1.0 / 512.0 and depth < STACK - 1 and best.looks < LOOKS_MAX:
                _locate(problem, j, 0.5 * (left.tau + right.tau), &stack[depth + 1])
                depth += 1
                continue
        left = right[0]
        depth -= 1


cdef void _maximise(Problem* problem, const Factors* f, double slack, double narrow, Best_* best) noexcept nogil:
    # slack: how much more than the best so far a panel must promise. narrow: how exactly a top's place is found, as
    # a share of its panel; what is read there is exact.
    cdef double value[PANELS_MAX + 3]
    cdef double mass, rate, bound
    cdef int i
    best.value = -INFINITY
    best.looks = 0
    best.narrow = narrow
    for i in range(problem.n):
        value[i] = _value(f, problem.g[i], problem.moment[i], problem.taker[i])
        if value[i] > best.value:
            best.value = value[i]
            best.i = i
            best.tau = problem.tau[i]
            best.g = problem.g[i]
            best.p = problem.p[i]
            best.moment = problem.moment[i]
            best.taker = problem.taker[i]
    for i in range(problem.n - 1):
        # No more inside than all gain and no loss from the left end, nor than all loss and no gain to the right end.
        mass = problem.g[i + 1] - problem.g[i]
        rate = f.gain - f.adverse * problem.p[i]
        bound = value[i] + fmax(rate, 0.0) * mass
        if bound <= best.value + slack:
            continue
        rate = f.gain - f.adverse * problem.p[i + 1]
        bound = value[i + 1] + f.loss * (problem.taker[i + 1] - problem.taker[i]) + fmax(-rate, 0.0) * mass
        if bound > best.value + slack:
            _look(problem, f, i, best)


cdef double _value_beside(const Problem* problem, const Factors* f, const Best_* best, double tau) noexcept nogil:
    # V at tau, from what is known at the best where no place lies between them, else from the place before tau.
    cdef const ValuePrior* prior = problem.prior
    cdef const CurveSegment* segment
    cdef double g = _g(prior, _z(prior, tau)), p, taker = 0.0
    cdef double from_tau = best.tau, from_g = best.g, from_p = best.p, moment = best.moment
    cdef int i = best.i, j
    if not (problem.tau[i] <= tau and (i + 1 == problem.n or tau <= problem.tau[i + 1])):
        i = problem.n - 2
        while i > 0 and tau < problem.tau[i]:
            i -= 1
        from_tau = problem.tau[i]
        from_g = problem.g[i]
        from_p = problem.p[i]
        moment = problem.moment[i]
    j = problem.panel[i]
    if problem.moments:
        segment = &problem.segment[prior.panel[j].segment]
        p = segment_p(segment, log(tau))
        if tau < from_tau:
            moment -= _moment(prior, segment, tau, from_tau, p, from_p, g, from_g)
        else:
            moment += _moment(prior, segment, from_tau, tau, from_p, p, from_g, g)
    if prior.panel[j].taker_segment >= 0 and tau > prior.taker_ns:
        taker = segment_p(&problem.segment[prior.panel[j].taker_segment], log(tau - prior.taker_ns))
    return _value(f, g, moment, taker)


cdef inline Factors _factors(const ValuePrior* prior, const ValueTerms* terms, double edge, double h,
                             double inventory) noexcept nogil:
    cdef Factors f
    cdef double benign = prior.hit * (1.0 - prior.informed)
    f.gain = benign * (edge + terms.relationship_in_h * h) - prior.hit * terms.inventory * inventory * h
    f.adverse = benign * prior.adverse * terms.left * h
    f.loss = terms.pick_off * terms.left * prior.informed * fmax(0.0, prior.loss_in_h * h - edge)
    return f


cdef double _edge_for(const ValuePrior* prior, const ValueTerms* terms, double h, double inventory, double g,
                      double moment, double taker) noexcept nogil:
    # The edge at which the life with these terms is worth VALUE_MIN h: V rises in e, with a bend where L ends.
    cdef double benign = prior.hit * (1.0 - prior.informed)
    cdef double picked = terms.pick_off * terms.left * prior.informed
    cdef double owed = (VALUE_MIN * h + benign * prior.adverse * terms.left * h * moment
                        + (prior.hit * terms.inventory * inventory - benign * terms.relationship_in_h) * h * g)
    cdef double slope = benign * g + picked * taker, edge
    if slope <= 0.0:                       # the edge does not count: a fill that unwinds a position may do alone
        return INFINITY if owed > 0.0 else -INFINITY
    edge = (owed + picked * prior.loss_in_h * h * taker) / slope
    if edge > prior.loss_in_h * h:
        return owed / (benign * g) if benign * g > 0.0 else INFINITY
    return edge


cdef double _break_even(Problem* problem, const ValueTerms* terms, double h, double inventory) noexcept nogil:
    # The largest value of all lives rises with the edge; sought is where it passes VALUE_MIN h. Above: an edge at
    # which some life has that value. Below: each try asks at a trifle less; the life that is best there still needs
    # less (Dinkelbach's step, quadratic), or there is none, and the root lies in that trifle.
    cdef const ValuePrior* prior = problem.prior
    cdef double edge = INFINITY, least, needed, floor = -terms.relationship_in_h * h
    cdef Best_ best
    cdef Factors f
    cdef int i
    for i in range(problem.n):
        edge = fmin(edge, _edge_for(prior, terms, h, inventory, problem.g[i], problem.moment[i], problem.taker[i]))
    if edge == INFINITY:
        return edge
    for i in range(STEPS_MAX):
        if edge <= floor:
            return floor
        least = edge - EDGE_MIN * fmax(h, fabs(edge))
        f = _factors(prior, terms, least, h, inventory)
        _maximise(problem, &f, FINE_SLACK * h, 1e-4, &best)    # an edge is flat in the life that it is best for
        needed = _edge_for(prior, terms, h, inventory, best.g, best.moment, best.taker)
        if best.value <= VALUE_MIN * h:
            edge = fmax(least, fmin(edge, needed))     # what that life needs is nearer to the root by far
            break
        edge = fmin(least, needed)
    return fmax(edge, floor)


cdef void value_best(const ValuePrior* prior, const ValueTerms* terms, const double* p, double edge, double h,
                     double inventory, int64_t low_ns, int64_t high_ns, ValueResult* out) noexcept nogil:
    cdef Problem problem
    cdef Best_ best
    cdef Factors f = _factors(prior, terms, edge, h, inventory)
    _set_up(&problem, prior, p, f.adverse > 0.0, <double>low_ns, <double>high_ns)
    _maximise(&problem, &f, SLACK * h, 1e-6, &best)
    out.tau_ns = best.tau
    out.value_ticks = best.value
    out.life_ns = <int64_t>(best.tau / 1e3 + 0.5) * 1000
    out.life_value_ticks = best.value if <double>out.life_ns == best.tau else _value_beside(
        &problem, &f, &best, <double>out.life_ns)
    out.break_even_ticks = _break_even(&problem, terms, h, inventory)


cdef double value_at(const ValuePrior* prior, const ValueTerms* terms, const double* p, double edge, double h,
                     double inventory, double tau_ns) noexcept nogil:
    cdef Problem problem
    cdef Factors f = _factors(prior, terms, edge, h, inventory)
    tau_ns = fmin(tau_ns, LAST_NS)
    _set_up(&problem, prior, p, f.adverse > 0.0, tau_ns, tau_ns)
    return _value(&f, problem.g[0], problem.moment[0], problem.taker[0])


cdef bint value_left(const ValuePrior* fresh, ValuePrior* aged, const ValueTerms* terms, const double* p, double edge,
                     double h, double inventory, double age_ns, int64_t low_ns, int64_t high_ns, bint enough,
                     ValueResult* out) noexcept nogil:
    cdef const ValuePrior* prior = fresh
    cdef Problem problem
    cdef Best_ best
    cdef Factors f
    cdef double low = fmin(<double>low_ns, LAST_NS), high = fmin(<double>high_ns, LAST_NS), g
    cdef int k
    if age_ns > 0.0:
        _grow_old(fresh, age_ns, aged)
        prior = aged
    f = _factors(prior, terms, edge, h, inventory)
    out.break_even_ticks = NAN
    if enough and f.loss >= 0.0:
        # Some value at a horizon, all moves met and all pick-offs being there from the beginning, is enough.
        for k in range(HORIZONS):
            if HORIZON[k] > high:
                break
            if HORIZON[k] >= low:
                g = _g(prior, _z(prior, HORIZON[k]))
                out.value_ticks = _value(&f, g, p[k] * g, p[k])
                if has_value(out.value_ticks, h):
                    out.tau_ns = HORIZON[k]
                    out.life_ns = <int64_t>HORIZON[k]
                    out.life_value_ticks = out.value_ticks
                    return True
    if age_ns > 0.0:
        _cut(aged, f.adverse > 0.0, high)
    _set_up(&problem, prior, p, f.adverse > 0.0, low, high)
    _maximise(&problem, &f, SLACK * h, 1e-6, &best)
    out.tau_ns = best.tau
    out.value_ticks = best.value
    out.life_ns = <int64_t>(best.tau / 1e3 + 0.5) * 1000
    out.life_value_ticks = best.value if <double>out.life_ns == best.tau else _value_beside(
        &problem, &f, &best, <double>out.life_ns)
    return has_value(out.life_value_ticks, h)


cdef void _grow_old(const ValuePrior* prior, double age, ValuePrior* out) noexcept nogil:
    # What is assumed of who has not accepted by that age: all of it but points and panels.
    cdef double left
    out.hit = prior.hit
    out.informed = prior.informed
    out.loss_in_h = prior.loss_in_h
    out.adverse = prior.adverse
    out.watch_leaves = prior.watch_leaves
    out.mu = prior.mu
    out.sigma = prior.sigma
    out.latency_ns = prior.latency_ns - age
    out.taker_ns = prior.taker_ns
    out.laid_out = False
    out.z_max = Z_AGED
    out.from_z = _z(out, 0.0)
    if out.from_z > 0.0:
        out.from_g = _cdf(-out.from_z)
        left = (1.0 - prior.hit) + prior.hit * out.from_g
    else:
        out.from_g = _cdf(out.from_z)
        left = 1.0 - prior.hit * out.from_g
    # Who is sure to accept and has not for so long will not: no honest client is left.
    out.hit = prior.hit / left if left > NOBODY else 0.0
    out.exact = EXACT / fmax(1e-3, out.hit * (1.0 - out.informed) * out.adverse)
    out.exact_share = 1.0
    out.panels = 0


cdef void _cut(ValuePrior* prior, bint moments, double high) noexcept nogil:
    # Points and panels up to high of a prior that has grown old, without nodes: those are of no use to another age.
    cdef double bend[PANELS_MAX + 1]
    cdef double cut[PANELS_MAX + 1]
    cdef double z_low, z_high, right
    cdef int n = 0, cuts = 1, i, k, parts, segment = 0, taker = 0
    cdef ValuePoint* point
    _bend(bend, &n, high)
    for k in range(HORIZONS):
        if HORIZON[k] < high:
            _bend(bend, &n, HORIZON[k])
        if HORIZON[k] + prior.taker_ns < high:
            _bend(bend, &n, HORIZON[k] + prior.taker_ns)
    if 0.0 < prior.taker_ns < high:
        _bend(bend, &n, prior.taker_ns)
    if 0.0 < prior.latency_ns < high:
        _bend(bend, &n, prior.latency_ns)
    cut[0] = 0.0
    if moments and prior.latency_ns <= 0.0:
        # P begins like a power of u, of 1 or more, which z is no measure of: pieces to a common ratio, the first of
        # them so short that P G there, at least quadratic, is as good as nothing.
        right = fmin(HORIZON[0], high)
        parts = <int>ceil(log(fmax(1.0, HAZARD_MAX * _g(prior, _z(prior, right)) / prior.exact)) / (2.0 * LN_STEP))
        for k in range(1, min(parts, RATIOS_MAX) + 1):
            _bend(bend, &n, right * exp(-LN_STEP * k))
    for i in range(n):
        if bend[i] <= cut[cuts - 1]:
            continue
        z_low = fmax(-Z_MAX, _z(prior, cut[cuts - 1]))
        right = bend[i]
        z_high = fmin(prior.z_max, _z(prior, right))
        parts = <int>ceil((z_high - z_low) * fmax(1.0, prior.sigma) / Z_STEP) if z_high > z_low else 0
        parts = min(parts, PANELS_MAX - cuts - (n - i))
        if parts > 0 and _z(prior, cut[cuts - 1]) < -Z_MAX:
            cut[cuts] = prior.latency_ns + exp(prior.mu + prior.sigma * z_low)     # where G begins is a bend too
            cuts += cut[cuts - 1] < cut[cuts] < right
        for k in range(1, parts):
            cut[cuts] = prior.latency_ns + exp(prior.mu + prior.sigma * (z_low + (z_high - z_low) * k / parts))
            cuts += cut[cuts - 1] < cut[cuts] < right
        cut[cuts] = right
        cuts += 1
    prior.panels = cuts - 1
    for i in range(cuts):
        point = &prior.point[i]
        point.tau_ns = cut[i]
        point.log_tau = log(cut[i]) if cut[i] > 0.0 else -INFINITY
        point.log_taker = _log_taker(prior, cut[i])
        point.z = _z(prior, cut[i])
        point.g = _g(prior, point.z)
        point.horizon = segment < HORIZONS and cut[i] == HORIZON[segment]
        point.taker_horizon = taker if taker < HORIZONS and cut[i] - prior.taker_ns == HORIZON[taker] else -1
        segment += point.horizon
        taker += point.taker_horizon >= 0
        if i < prior.panels:
            prior.panel[i].segment = segment
            prior.panel[i].taker_segment = -1 if cut[i] < prior.taker_ns else taker
            prior.panel[i].mass = 0.0


cdef int compile_prior(object settings, ValuePrior* out) except -1:
    # settings: a TierValue that has passed the checks of the configuration.
    out.hit = settings.hit_probability
    out.informed = settings.informed_share
    out.loss_in_h = settings.loss_in_h
    out.adverse = settings.adverse_share
    out.watch_leaves = settings.watch_leaves
    out.mu = log(<double>settings.response_median_ns)
    out.sigma = settings.response_sigma
    out.latency_ns = settings.latency_ns
    out.taker_ns = settings.taker_latency_ns
    if _lay_out(out) < 0:
        raise ValueError("too many panels: response_sigma is out of range")
    return 0


cdef bint compile_learned(const ValuePrior* tier, const double* terms, ValuePrior* out) noexcept nogil:
    # A tier's prior with what was learned of one counterparty: hit, informed, mu and sigma.
    out.hit = terms[0]
    out.informed = terms[1]
    out.mu = terms[2]
    out.sigma = terms[3]
    out.loss_in_h = tier.loss_in_h
    out.adverse = tier.adverse
    out.watch_leaves = tier.watch_leaves
    out.latency_ns = tier.latency_ns
    out.taker_ns = tier.taker_ns
    return _lay_out(out) == 0


cdef int _horizons_before(double tau) noexcept nogil:
    cdef int k, count = 0
    for k in range(HORIZONS):
        count += HORIZON[k] < tau
    return count


cdef bint _bend(double* bends, int* n, double tau) noexcept nogil:
    # One more, in order, each once; none beyond the last horizon. False: there is no room.
    cdef int at = n[0], k
    if not tau <= LAST_NS:
        return True
    while at > 0 and bends[at - 1] > tau:
        at -= 1
    if at > 0 and bends[at - 1] == tau:
        return True
    if n[0] > PANELS_MAX:
        return False
    for k in range(n[0], at, -1):
        bends[k] = bends[k - 1]
    bends[at] = tau
    n[0] += 1
    return True


cdef int _lay_out(ValuePrior* out) noexcept nogil:
    # Points and panels of what the prior assumes; -1: there are too many.
    cdef ValuePanel* panel
    cdef double[PANELS_MAX + 1] bends
    cdef double[PANELS_MAX + 1] first
    cdef double z_low, z_high, z, half, centre, x, adverse, middle, tau
    cdef int k, i, n = 0, firsts, parts
    cdef bint room = True
    out.from_z = -INFINITY
    out.from_g = 0.0
    out.z_max = Z_MAX
    out.laid_out = True
    _bend(bends, &n, 0.0)
    _bend(bends, &n, LAST_NS)
    _bend(bends, &n, out.latency_ns)
    _bend(bends, &n, out.taker_ns)
    for k in range(HORIZONS):
        _bend(bends, &n, HORIZON[k])
        _bend(bends, &n, HORIZON[k] + out.taker_ns)
    adverse = fmax(1e-3, out.hit * (1.0 - out.informed) * out.adverse)
    out.exact = EXACT / adverse
    out.exact_share = EXACT_SHARE / fmax(1e-2, out.adverse)
    firsts = n
    memcpy(first, bends, n * sizeof(double))
    for i in range(firsts - 1):
        z_low = fmax(-Z_MAX, _z(out, first[i]))
        z_high = fmin(Z_MAX, _z(out, first[i + 1]))
        if z_high <= z_low:
            continue
        parts = <int>ceil((z_high - z_low) * fmax(1.0, out.sigma) / Z_STEP)
        for k in range(parts):
            if k > 0 or _z(out, first[i]) < -Z_MAX:        # where G begins is a bend too
                x = out.mu + out.sigma * (z_low + (z_high - z_low) * k / parts)
                room = room and _bend(bends, &n, out.latency_ns + exp(x))
    if not room:
        return -1
    out.panels = n - 1
    for k in range(n):
        tau = bends[k]
        out.point[k].tau_ns = tau
        out.point[k].log_tau = log(tau) if tau > 0.0 else -INFINITY
        out.point[k].log_taker = _log_taker(out, tau)
        z = _z(out, tau)
        x = tau - out.latency_ns
        out.point[k].z = z
        out.point[k].g = _cdf(z)
        out.point[k].density = INV_SQRT_2PI * exp(-0.5 * z * z) / (out.sigma * x) if x > 0.0 else 0.0
        out.point[k].horizon = False
        out.point[k].taker_horizon = -1
        for i in range(HORIZONS):
            if tau == HORIZON[i]:
                out.point[k].horizon = True
            if tau - out.taker_ns == HORIZON[i]:
                out.point[k].taker_horizon = i
    for k in range(out.panels):
        panel = &out.panel[k]
        middle = 0.5 * (out.point[k].tau_ns + out.point[k + 1].tau_ns)
        panel.segment = _horizons_before(middle)
        panel.taker_segment = -1 if middle <= out.taker_ns else _horizons_before(middle - out.taker_ns)
        z_low = fmax(-Z_MAX, out.point[k].z)
        z_high = fmin(Z_MAX, out.point[k + 1].z)
        panel.mass = out.point[k + 1].g - out.point[k].g
        panel.allowed = _allowed(out, out.point[k + 1].g)
        panel.change = panel.stretch = 0.0
        panel.scale = panel.mass
        if z_high <= z_low:
            continue
        half = 0.5 * (z_high - z_low)
        centre = 0.5 * (z_low + z_high)
        panel.change = (fmax(fabs(z_low), fabs(z_high)) + 2.0) * 2.0 * half
        panel.stretch = out.sigma * (1.0 - out.latency_ns / out.point[k + 1].tau_ns) * 2.0 * half
        panel.scale = fmax(panel.mass, _density_z(z_low, z_high) * 2.0 * half)
        for i in range(NODES):
            z = centre + half * GL_X[i]
            panel.log_u[i] = log(out.latency_ns + exp(out.mu + out.sigma * z))
            panel.weight[i] = half * GL_W[i] * INV_SQRT_2PI * exp(-0.5 * z * z)
    return 0


cdef ValueTerms compile_terms(object settings):
    # settings: a ValueSettings.
    cdef ValueTerms terms
    terms.relationship_in_h = settings.relationship_in_h
    terms.pick_off = settings.pick_off_weight
    terms.inventory = settings.inventory_weight
    terms.left = 1.0
    return terms


class Left(NamedTuple):
    """The life that is worth most of those that are left of a quote, and its value; likewise in whole µs."""

    tau_ns: float
    value_ticks: float
    life_ns: int
    life_value_ticks: float


class Best(NamedTuple):
    """The best life before rounding and its value, the life in whole µs and its value, and the break-even edge.

    Values and edges in ticks; a break-even of infinity says that no edge makes any life worth giving.
    """

    tau_ns: float
    value_ticks: float
    life_ns: int
    life_value_ticks: float
    break_even_ticks: float


cdef class ExpectedValue:
    """The value of lives for one tier under one posture, by the very code the engine runs.

    ``p``: a curve of shape (12,), in [0, 1] and non-decreasing (``model.curve.enforce`` makes one). ``inventory``:
    position / limit, positive where a fill adds to it. Lives lie in (0, last horizon].
    """

    def __init__(self, tier, terms, *, bint watched=False):
        """``tier``: a ``TierValue``, ``terms``: a ``ValueSettings``, both checked by the configuration. ``watched``: of
        quotes that are watched."""
        compile_prior(tier, &self.prior)
        self.terms = compile_terms(terms)
        if watched:
            self.terms.left = self.prior.watch_leaves

    def best(self, p, *, double edge_ticks, double h_ticks, int64_t low_ns, int64_t high_ns, double inventory=0.0):
        """The best life in [``low_ns``, ``high_ns``], whole µs. ``ValueError`` when these bounds hold no life."""
        cdef const double[::1] curve = np.ascontiguousarray(p, dtype=np.float64)
        cdef ValueResult result
        if curve.shape[0] != HORIZONS:
            raise ValueError(f"a curve has {HORIZONS} points")
        _check_lives(low_ns, high_ns)
        value_best(&self.prior, &self.terms, &curve[0], edge_ticks, h_ticks, inventory, low_ns, high_ns, &result)
        return Best(result.tau_ns, result.value_ticks, result.life_ns, result.life_value_ticks,
                    result.break_even_ticks)

    def value(self, p, *, double edge_ticks, double h_ticks, double tau_ns, double inventory=0.0, double age_ns=0.0):
        """V of one life in ticks; ``age_ns``: of a quote that has stood for so long and was not accepted, whose life,
        curve and edge count from now. ``ValueError`` when ``tau_ns`` is none."""
        cdef const double[::1] curve = np.ascontiguousarray(p, dtype=np.float64)
        cdef const ValuePrior* prior = &self.prior
        if curve.shape[0] != HORIZONS:
            raise ValueError(f"a curve has {HORIZONS} points")
        if not 0.0 < tau_ns <= LAST_NS:
            raise ValueError("give 0 < tau_ns <= the last horizon")
        _check_age(age_ns)
        if age_ns > 0.0:
            _grow_old(&self.prior, age_ns, &self._aged)
            _cut(&self._aged, True, tau_ns)
            prior = &self._aged
        return value_at(prior, &self.terms, &curve[0], edge_ticks, h_ticks, inventory, tau_ns)

    def left(self, p, *, double edge_ticks, double h_ticks, double age_ns, int64_t low_ns, int64_t high_ns,
             double inventory=0.0, bint enough=False):
        """What is left of a quote that has stood for ``age_ns`` and was not accepted: the best of its lives from now
        on in [``low_ns``, ``high_ns``], whole µs. Curve, edge and h are those of now. ``enough``: the first life seen
        to have some value will do. ``ValueError`` when these bounds hold no life."""
        cdef const double[::1] curve = np.ascontiguousarray(p, dtype=np.float64)
        cdef ValueResult result
        if curve.shape[0] != HORIZONS:
            raise ValueError(f"a curve has {HORIZONS} points")
        _check_lives(low_ns, high_ns)
        _check_age(age_ns)
        value_left(&self.prior, &self._aged, &self.terms, &curve[0], edge_ticks, h_ticks, inventory, age_ns, low_ns,
                   high_ns, enough, &result)
        return Left(result.tau_ns, result.value_ticks, result.life_ns, result.life_value_ticks)


cdef int _check_lives(int64_t low_ns, int64_t high_ns) except -1:
    if not 0 < low_ns <= high_ns or high_ns > LAST_NS or low_ns % 1000 or high_ns % 1000:
        raise ValueError("give 0 < low_ns <= high_ns <= the last horizon, in whole microseconds")
    return 0


cdef int _check_age(double age_ns) except -1:
    if not 0.0 <= age_ns < INFINITY:
        raise ValueError("age_ns must be a finite number, not below 0")
    return 0
