"""When a counterparty answers: a lognormal with a cure fraction, fitted to censored response times.

Of a quote that ended unanswered after a life L it is known only that no answer came by then: either none would ever
have come (1 − a), or one would have come later. Its likelihood is 1 − a·G(L − ℓ); that of an answer at age u is
a·g(u − ℓ), that of one which came at an unknown time within the life a·G(L − ℓ), that of a quote known to have been
turned down 1 − a. This is the mixture ("cure") model of survival
analysis (Boag 1949; Farewell, Biometrics 38, 1982). A mean over the answers seen would never exceed the lives given.

The prior is that of as many quotes and answers as its weights say: α₀ ln a + β₀ ln(1 − a) with its mode at the prior's
a, and n₀ answers of the prior's mean and standard deviation. What is returned is the largest posterior, found by EM
(Dempster, Laird, Rubin 1977) with the steps of SQUAREM (Varadhan, Roland, Scand. J. Stat. 35, 2008): a pure function of
data and prior, and with no data the prior itself.

Answers enter by their exact sums; quotes of which the life alone is known by 64 bins of it, each at its own mean, so
that what is kept does not grow.
"""

from typing import NamedTuple

from libc.math cimport erfc, exp, fabs, fmax, fmin, isfinite, log, sqrt

cdef enum:
    PASSES_MAX = 400

LN_SECOND = 20.72326583694641                    # ln(1e9)

cdef double FIRST_X = -6.907755278982137         # ln(1 ms in s)
cdef double BINS_A_UNIT = 5.770780163555854      # 4 / ln 2
cdef double AGE_MIN_NS = 1e6                     # an answer faster than the latency: not less than this beyond it
cdef double TOLERANCE = 1e-10                    # of a step in (logit a, mu, ln sigma)
cdef double SQRT_HALF = 0.70710678118654752440
cdef double INV_SQRT_2PI = 0.39894228040143267794
cdef double HIT_EDGE = 1e-4                      # a prior of 0 or 1 could learn nothing
SIGMA_MIN = 0.01
SIGMA_MAX = 3.0
MU_MIN = -6.907755278982137                      # 1 ms
MU_MAX = 8.188689124444202                       # 1 h


cdef double _x(double age_ns, double latency_ns) noexcept nogil:
    return log(fmax(age_ns - latency_ns, AGE_MIN_NS)) - LN_SECOND


cdef void responses_add_answer(Responses* self, double age_ns, double latency_ns) noexcept nogil:
    cdef double x = _x(age_ns, latency_ns)
    self.answers += 1.0
    self.sum_x += x
    self.sum_xx += x * x


cdef inline int _bin(double x) noexcept nogil:
    return max(0, min(LIFE_BINS - 1, <int>((x - FIRST_X) * BINS_A_UNIT)))


cdef void responses_add_within(Responses* self, double life_ns, double latency_ns) noexcept nogil:
    cdef double x = _x(life_ns, latency_ns)
    cdef int k = _bin(x)
    self.within[k] += 1.0
    self.within_x[k] += x


cdef void responses_add_lived(Responses* self, double age_ns, double latency_ns) noexcept nogil:
    # Up to the latency nobody can have answered: it says nothing.
    cdef double x
    cdef int k
    if age_ns <= latency_ns:
        return
    x = _x(age_ns, latency_ns)
    k = _bin(x)
    self.lived[k] += 1.0
    self.lived_x[k] += x


cdef struct Sums:                      # of one pass over the data
    double answered                    # answers at times that nobody told
    double later                       # answers still to come of the quotes that ended before
    double later_x                     # sum of x - mu of those and of the untold
    double later_xx                    # and of its square
    double lived
    double posterior                   # ln, up to a constant


cdef inline double _survival(double z) noexcept nogil:
    return 0.5 * erfc(z * SQRT_HALF)


cdef inline double _hazard(double z, double survival) noexcept nogil:
    # Of the normal; beyond 8 the first terms of its asymptotic series are exact to 1e-6.
    return INV_SQRT_2PI * exp(-0.5 * z * z) / survival if z < 8.0 else z + 1.0 / z - 2.0 / (z * z * z)


cdef inline double _log_survival(double z, double survival) noexcept nogil:
    return log(survival) if z < 30.0 else -0.5 * z * z - log(z) + log(INV_SQRT_2PI)


cdef void _pass(const Responses* self, const ResponsePrior* prior, const ResponseFit* at, Sums* out) noexcept nogil:
    cdef double z, s, hazard, none, share, away, spread
    cdef int k
    out.answered = out.later = out.later_x = out.later_xx = out.lived = 0.0
    away = prior.mu - at.mu
    spread = self.sum_xx - 2.0 * at.mu * self.sum_x + self.answers * at.mu * at.mu
    out.posterior = (
        (prior.hit_weight * prior.hit + self.answers) * log(at.hit)
        + (prior.hit_weight * (1.0 - prior.hit) + self.refused) * log(1.0 - at.hit)
        - (prior.response_weight + self.answers) * log(at.sigma)
        - 0.5 * (prior.response_weight * (prior.sigma * prior.sigma + away * away) + spread) / (at.sigma * at.sigma)
    )
    for k in range(LIFE_BINS):
        if self.within[k] > 0.0:                 # an answer seen in a mirror
            z = -(self.within_x[k] / self.within[k] - at.mu) / at.sigma
            s = _survival(z)
            hazard = _hazard(z, s)
            out.posterior += self.within[k] * (log(at.hit) + _log_survival(z, s))
            out.answered += self.within[k]
            out.later_x -= self.within[k] * at.sigma * hazard
            out.later_xx += self.within[k] * at.sigma * at.sigma * (1.0 + z * hazard)
        if self.lived[k] <= 0.0:
            continue
        z = (self.lived_x[k] / self.lived[k] - at.mu) / at.sigma
        s = _survival(z)
        none = 1.0 - at.hit + at.hit * s
        share = self.lived[k] * at.hit * s / none
        hazard = _hazard(z, s)
        out.posterior += self.lived[k] * log(none)
        out.lived += self.lived[k]
        out.later += share
        out.later_x += share * at.sigma * hazard
        out.later_xx += share * at.sigma * at.sigma * (1.0 + z * hazard)


cdef void _step(const Responses* self, const ResponsePrior* prior, const ResponseFit* at, const Sums* sums,
                ResponseFit* out) noexcept nogil:
    # One step of EM.
    cdef double untold = sums.later + sums.answered
    cdef double n = prior.response_weight + self.answers + untold
    cdef double moved, away, total
    out.hit = (prior.hit_weight * prior.hit + self.answers + untold) / (
        prior.hit_weight + self.answers + sums.answered + self.refused + sums.lived)
    out.mu = (prior.response_weight * prior.mu + self.sum_x + sums.later_x + untold * at.mu) / n
    moved = at.mu - out.mu
    away = prior.mu - out.mu
    total = (prior.response_weight * (prior.sigma * prior.sigma + away * away)
             + self.sum_xx - 2.0 * out.mu * self.sum_x + self.answers * out.mu * out.mu
             + sums.later_xx + 2.0 * moved * sums.later_x + untold * moved * moved)
    out.sigma = sqrt(total / n)
    _bound(out)


cdef void _bound(ResponseFit* fit) noexcept nogil:
    fit.hit = fmin(fmax(fit.hit, 1e-9), 1.0 - 1e-9)
    fit.mu = fmin(fmax(fit.mu, MU_MIN), MU_MAX)
    fit.sigma = fmin(fmax(fit.sigma, SIGMA_MIN), SIGMA_MAX)


cdef void _coordinates(const ResponseFit* fit, double* out) noexcept nogil:
    out[0] = log(fit.hit / (1.0 - fit.hit))
    out[1] = fit.mu
    out[2] = log(fit.sigma)


cdef double log_posterior(const Responses* self, const ResponsePrior* prior, const ResponseFit* at) noexcept nogil:
    cdef Sums sums
    _pass(self, prior, at, &sums)
    return sums.posterior


cdef int fit_responses(const Responses* self, const ResponsePrior* prior, ResponseFit* out) noexcept nogil:
    cdef ResponsePrior held = prior[0]
    cdef ResponseFit at, one, two, leap
    cdef Sums sums, leapt
    cdef double a[3]
    cdef double b[3]
    cdef double c[3]
    cdef double square, curl, length, widest
    cdef int k, passes = 0
    held.hit = fmin(fmax(held.hit, HIT_EDGE), 1.0 - HIT_EDGE)
    at.hit = held.hit
    at.mu = held.mu
    at.sigma = held.sigma
    _bound(&at)
    _pass(self, &held, &at, &sums)
    while passes < PASSES_MAX:
        _step(self, &held, &at, &sums, &one)
        _pass(self, &held, &one, &sums)
        _step(self, &held, &one, &sums, &two)
        passes += 2
        _coordinates(&at, a)
        _coordinates(&one, b)
        _coordinates(&two, c)
        square = curl = widest = 0.0
        for k in range(3):
            square += (b[k] - a[k]) * (b[k] - a[k])
            curl += (c[k] - 2.0 * b[k] + a[k]) * (c[k] - 2.0 * b[k] + a[k])
            widest = fmax(widest, fabs(c[k] - b[k]))
        at = two
        _pass(self, &held, &at, &sums)
        if widest < TOLERANCE:
            break
        if curl > 0.0:
            length = -sqrt(square / curl)
            if length < -1.0:
                for k in range(3):
                    c[k] = a[k] - 2.0 * length * (b[k] - a[k]) + length * length * (c[k] - 2.0 * b[k] + a[k])
                leap.hit = 1.0 / (1.0 + exp(-c[0]))
                leap.mu = c[1]
                leap.sigma = exp(fmin(fmax(c[2], -10.0), 10.0))
                _bound(&leap)
                _pass(self, &held, &leap, &leapt)
                passes += 1
                if isfinite(leapt.posterior) and leapt.posterior > sums.posterior:
                    at = leap
                    sums = leapt
    out[0] = at
    return passes


class Response(NamedTuple):
    """A fitted response time: it is answered at all with probability ``hit``, then after ``latency`` and a lognormal
    of this median and standard deviation of its logarithm."""

    hit: float
    median_ns: float
    sigma: float


cdef class ResponseTimes:
    """Response times of one counterparty without forgetting, by the very code that the posterior runs."""

    cdef Responses c

    def answered(self, double age_ns, double latency_ns=0.0):
        """A quote was accepted at this age."""
        responses_add_answer(&self.c, age_ns, latency_ns)

    def lived(self, double age_ns, double latency_ns=0.0):
        """A quote ended at this age, and nobody had answered."""
        responses_add_lived(&self.c, age_ns, latency_ns)

    def answered_within(self, double life_ns, double latency_ns=0.0):
        """A quote of this life was accepted, nobody told when."""
        responses_add_within(&self.c, life_ns, latency_ns)

    def refused(self):
        """A quote was turned down, whatever life it had left."""
        self.c.refused += 1.0

    def fit(self, *, double hit, double median_ns, double sigma, double hit_weight, double response_weight):
        """The largest posterior under this prior, worth so many quotes and answers: a ``Response``.

        Raises ``ValueError`` when the prior is none.
        """
        cdef ResponsePrior prior
        cdef ResponseFit found
        if not (0.0 <= hit <= 1.0 and median_ns > 0.0 and sigma > 0.0 and hit_weight > 0.0 and response_weight > 0.0):
            raise ValueError("a prior has hit in [0, 1], and a median, sigma and weights above 0")
        prior.hit = hit
        prior.hit_weight = hit_weight
        prior.mu = log(median_ns) - LN_SECOND
        prior.sigma = sigma
        prior.response_weight = response_weight
        fit_responses(&self.c, &prior, &found)
        return Response(found.hit, exp(found.mu + LN_SECOND), found.sigma)

    def log_posterior(self, *, double hit, double median_ns, double sigma, double at_hit, double at_median_ns,
                      double at_sigma, double hit_weight, double response_weight):
        """ln of the posterior at one point, up to a constant that prior and data give."""
        cdef ResponsePrior prior
        cdef ResponseFit at
        prior.hit = hit
        prior.hit_weight = hit_weight
        prior.mu = log(median_ns) - LN_SECOND
        prior.sigma = sigma
        prior.response_weight = response_weight
        at.hit = at_hit
        at.mu = log(at_median_ns) - LN_SECOND
        at.sigma = at_sigma
        return log_posterior(&self.c, &prior, &at)
