# The value of a life, its maximum, and the edge at which there is any; docs/expected-value.md.
from libc.stdint cimport int64_t

cdef enum:
    PANELS_MAX = 96
    ORDERS = 7                         # of Gauss-Legendre: 2, 3, 4, 5, 6, 8 and 12 nodes
    NODES = 40                         # of them all

cdef struct ValuePoint:                # one end of a panel
    double tau_ns
    double log_tau                     # -inf at 0
    double log_taker                   # ln(tau - taker latency); not finite where there is none
    double z                           # of G, -inf up to the latency
    double g                           # G(tau - latency)
    double density                     # its slope
    bint horizon                       # tau is one
    int taker_horizon                  # which one tau - taker latency is, else -1

cdef struct ValuePanel:                # between two points; smooth inside
    int segment                        # of the curve at tau
    int taker_segment                  # of the curve at tau - taker latency, -1 before it
    double mass                        # of G
    double scale                       # no less than the integral of G's largest density in here
    double change                      # of the logarithm of G's density over z, and what P adds for ...
    double stretch                     # ... each unit of d ln H / d ln tau
    double allowed                     # how far int P dG may be off
    double log_u[NODES]                # nodes, one order after the other
    double weight[NODES]               # of dG

cdef struct ValuePrior:                # what is assumed of a counterparty, compiled
    double hit                         # a: it accepts at all, were there time
    double informed                    # pi
    double loss_in_h                   # c: L = max(0, c h - e)
    double adverse                     # beta: m(u) = beta h P(u)
    double watch_leaves                # share of pick-offs and adverse moves that a watch leaves over
    double mu                          # G: lognormal of median exp(mu) ns
    double sigma
    double latency_ns                  # l
    double taker_ns                    # l_i
    double exact                       # how far int P dG of a panel may be off, at most, and ...
    double exact_share                 # ... for each unit of G
    double from_z                      # G counts from there on: -inf, or of a quote that has stood for a while, ...
    double from_g                      # ... with G there, or 1 - G where z is above 0
    double z_max                       # G does not rise beyond
    bint laid_out                      # panels have nodes
    int panels
    ValuePoint point[PANELS_MAX + 1]   # from 0 to the last horizon
    ValuePanel panel[PANELS_MAX]

cdef struct ValueTerms:                # what a posture adds
    double relationship_in_h           # rho = relationship_in_h * h
    double pick_off                    # lambda
    double inventory                   # kappa
    double left                        # of pick-offs and adverse moves: 1, or what a watch leaves over

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
# What is left of a quote of that age which was not accepted: whether a life from now on, in [low_ns, high_ns], has any
# value, and which has most. Curve, edge and h are those of now. enough: the first life seen to have some value
# will do. aged: room for its prior. No break-even edge is told.
cdef bint value_left(const ValuePrior* fresh, ValuePrior* aged, const ValueTerms* terms, const double* p, double edge,
                     double h, double inventory, double age_ns, int64_t low_ns, int64_t high_ns, bint enough,
                     ValueResult* out) noexcept nogil
cdef bint has_value(double value, double h) noexcept nogil
cdef int compile_prior(object settings, ValuePrior* out) except -1
# False: there are too many panels; not for terms that statistics of counterparties come to.
cdef bint compile_learned(const ValuePrior* tier, const double* terms, ValuePrior* out) noexcept nogil
cdef ValueTerms compile_terms(object settings)


cdef class ExpectedValue:
    cdef ValuePrior prior
    cdef ValuePrior _aged
    cdef ValueTerms terms
