# The value of a life, its maximum, and the edge at which there is any: SPEC 6.1, docs/expected-value.md.
from libc.stdint cimport int64_t

cdef enum:
    PANELS_MAX = 96
    NODES_MAX = 8
    FINE = 16

cdef struct ValuePoint:                # one end of a panel
    double tau_ns
    double log_tau                     # -inf at 0
    double log_taker                   # ln(tau - taker latency); not finite where there is none
    double g                           # G(tau - latency)

cdef struct ValuePanel:                # between two points; smooth inside
    int segment                        # of the curve at tau
    int taker_segment                  # of the curve at tau - taker latency, -1 before it
    int nodes
    double width                       # change of ln H that they can follow
    double log_u[NODES_MAX]            # Gauss-Legendre nodes ...
    double weight[NODES_MAX]           # ... of dG
    double fine_log_u[FINE]            # the same for steeper curves
    double fine_weight[FINE]

cdef struct ValuePrior:                # what is assumed of a counterparty, compiled
    double hit                         # a: it accepts at all, were there time
    double informed                    # pi
    double loss_in_h                   # c: L = max(0, c h - e)
    double adverse                     # eta: m(u) = eta h P(u)
    double mu                          # G: lognormal of median exp(mu) ns
    double sigma
    double latency_ns                  # l
    double taker_ns                    # l_i
    int panels
    ValuePoint point[PANELS_MAX + 1]   # from 0 to the last horizon
    ValuePanel panel[PANELS_MAX]

cdef struct ValueTerms:                # what a posture adds
    double relationship_in_h           # rho = relationship_in_h * h
    double pick_off                    # lambda
    double inventory                   # kappa

cdef struct ValueResult:
    double tau_ns                      # where V is largest
    double value_ticks                 # V there
    int64_t life_ns                    # that life in whole microseconds, inside the same bounds
    double life_value_ticks            # V of it
    double break_even_ticks            # smallest edge with V > 0 somewhere; infinity: none

# Largest V over [low_ns, high_ns], whole microseconds inside (0, last horizon]; the shortest life of several. The
# break-even edge holds h and p and takes lives of the same bounds. Needs some 20 kB of stack.
cdef void value_best(const ValuePrior* prior, const ValueTerms* terms, const double* p, double edge, double h,
                     double inventory, int64_t low_ns, int64_t high_ns, ValueResult* out) noexcept nogil
cdef double value_at(const ValuePrior* prior, const ValueTerms* terms, const double* p, double edge, double h,
                     double inventory, double tau_ns) noexcept nogil
cdef bint has_value(double value, double h) noexcept nogil
cdef int compile_prior(object settings, ValuePrior* out) except -1
cdef ValueTerms compile_terms(object settings)


cdef class ExpectedValue:
    cdef ValuePrior prior
    cdef ValueTerms terms
