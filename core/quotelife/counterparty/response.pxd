# When a counterparty answers, from quotes most of which ended before it did; docs/counterparties.md.

cdef enum:
    LIFE_BINS = 64                     # of ln life, four to a factor of two, from 1 ms to 65 s

cdef double LN_SECOND                  # ln(1 s in ns)
cdef double SIGMA_MIN, SIGMA_MAX       # what is fitted lies within ...
cdef double MU_MIN, MU_MAX             # ... in ln(s)

cdef struct Responses:                 # x: ln of a response time less latency, in seconds
    double answers                     # quotes that were accepted ...
    double sum_x                       # ... when
    double sum_xx
    double refused                     # quotes known to have been turned down
    double lived[LIFE_BINS]            # quotes that ended unanswered, by their age then
    double lived_x[LIFE_BINS]          # sum of x of those
    double within[LIFE_BINS]           # quotes that were accepted, nobody told when, by their life ...
    double within_x[LIFE_BINS]         # ... likewise

cdef struct ResponsePrior:
    double hit                         # a, and how many quotes it is worth
    double hit_weight
    double mu                          # of x, and how many answers it is worth
    double sigma
    double response_weight

cdef struct ResponseFit:
    double hit
    double mu                          # of x
    double sigma

cdef void responses_add_answer(Responses* self, double age_ns, double latency_ns) noexcept nogil
cdef void responses_add_within(Responses* self, double life_ns, double latency_ns) noexcept nogil
cdef void responses_add_lived(Responses* self, double age_ns, double latency_ns) noexcept nogil
cdef double log_posterior(const Responses* self, const ResponsePrior* prior, const ResponseFit* at) noexcept nogil
# Returns how often the data was passed over.
cdef int fit_responses(const Responses* self, const ResponsePrior* prior, ResponseFit* out) noexcept nogil
