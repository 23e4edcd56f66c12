"""Packages: one life for a quote of several legs (docs/packages.md, SPEC section 7).

**Frechet.** The package has lost h = sum of ratio_i * h_i only if one of its legs has moved against the desk by its own
h_i, so max P_i <= P <= min(1, sum of P_i) at every age; the upper bound decides, the lower is reported.
A further leg must not lengthen the life. So what speaks for a longer one counts by the leg for which it is least:
relationship value and the loss from which on a quote is not firm (``package_loses``), and the inventory term where all
legs unwind. What speaks against it counts for the whole: under expected value h is no less than the edge, so that
neither L = c h - e nor m(u) = beta h P(u) ever falls.

**Greeks.** The move of the underlying that costs h is h / |net delta|, less where gamma works against the desk; what
moves of implied volatility and what greeks do not explain add is first passage of h under
sigma^2 = w' Sigma w, w the net vega and the ratios of the legs, Sigma diagonal; both are added as legs are. A net delta
near zero leaves the residual alone, sigma^2 then with net delta and the underlying's own volatility.

A package is decided as a chain: each leg, then the package itself. ``package_carry`` hands on what a decision leaves
to the next request, so that each can be taken again by itself.
"""

from libc.math cimport fmax, fmin
from libc.string cimport memcmp, memcpy

from quotelife.features.schema cimport F_INVENTORY
from quotelife.records cimport (
    DECISION_DECLINE, OBS_MOVED_KNOWN, REQ_FIRST_LEG, REQ_GREEKS, Decision, DecisionRecord, Request, RequestRecord,
)


cdef void package_carry(const Request* asked, const Decision* decided, Request* following) noexcept nogil:
    # All that ``following`` says of the decisions before it; what was known before the first stays as it is.
    cdef double h = asked.weight * decided.h_ticks, loss = asked.weight * fmax(decided.h_ticks, decided.spread_ticks)
    cdef double inventory = decided.features[<int>F_INVENTORY]         # 0 where no position is known
    cdef bint first = asked.flags & REQ_FIRST_LEG != 0
    cdef int k
    memcpy(following.before, asked.before, sizeof(asked.before))
    following.h_ticks = asked.h_ticks
    following.alpha = asked.alpha
    following.reasons = asked.reasons | decided.reasons
    following.package_kind = max(asked.package_kind, decided.kind)     # DECLINE is the largest
    following.moved_known = asked.moved_known
    if asked.flags & REQ_GREEKS:
        return                                 # no curve, no threshold of its own
    following.moved_known = asked.moved_known and decided.observed & OBS_MOVED_KNOWN != 0
    following.h_ticks += h
    following.h_least = h if first else fmin(asked.h_least, h)
    following.loss_least = loss if first else fmin(asked.loss_least, loss)
    following.inventory = inventory if first else fmax(asked.inventory, inventory)
    if decided.h_ticks > 0.0:
        package_add(following.before, decided.p)
        if decided.model_role:
            following.alpha = fmin(asked.alpha, decided.alpha)
    elif decided.kind == DECISION_DECLINE:     # nothing is known of it: the worst
        for k in range(HORIZONS):
            following.before[k] = 1.0


def follows(RequestRecord asked not None, DecisionRecord decided not None, RequestRecord following not None):
    """Does ``following`` say of a package what ``asked`` and its decision left? It stands right behind ``asked``."""
    cdef Request again = following.c
    package_carry(&asked.c, &decided.c, &again)
    return memcmp(&again, &following.c, sizeof(Request)) == 0
