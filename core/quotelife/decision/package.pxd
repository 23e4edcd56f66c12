# What packages (quotes of several legs) add to a decision: bounds on the combined curve, and what greeks make of it.
from libc.math cimport fabs, fmin, sqrt

from quotelife.records cimport HORIZONS, Decision, Request

cdef enum:
    PACKAGE_LEGS_MAX = 16


cdef inline void package_add(double* total, const double* p) noexcept nogil:
    # One curve more under the Frechet bound: of events any of which may hit, min(1, sum of P).
    cdef int k
    for k in range(HORIZONS):
        total[k] = fmin(1.0, total[k] + p[k])


cdef inline double package_on_underlying(double price, double delta, double gamma) noexcept nogil:
    # The adverse move x > 0 of the underlying that costs ``price``: delta * x + gamma * x^2 / 2 = price, with delta > 0
    # and gamma >= 0 as they work against the desk. Of a gain, price <= 0, the straight line.
    if price <= 0.0 or gamma <= 0.0:
        return price / delta
    return 2.0 * price / (delta + sqrt(delta * delta + 2.0 * gamma * price))


cdef inline bint package_loses(double edge, double least) noexcept nogil:
    # Does the edge lie below -least? A package and its legs alone count in different ticks: an edge that only a
    # rounding keeps above the bound lies below it, whatever the order of the legs.
    return edge + least < 1e-12 * least


cdef inline double package_inventory(const Request* package, double h) noexcept nogil:
    # Position / limit as it counts times h. Where every leg unwinds, the least of what that is worth.
    return package.inventory if package.inventory >= 0.0 else package.inventory * package.h_least / h


cdef inline bint package_neutral(double net, double gross, double share) noexcept nogil:
    # Also where there is no delta at all, and where it is no number.
    return not fabs(net) > share * gross


cdef void package_carry(const Request* asked, const Decision* decided, Request* following) noexcept nogil
