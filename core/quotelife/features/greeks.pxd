# What the market says of an option beside its book: the last of each pair of values, and when it came. Packages and
# status read it; no feature does.
from libc.stdint cimport int64_t, uint64_t

from quotelife.features.signal_time cimport past, source_time
from quotelife.records cimport SIG_DELTA_GAMMA, SIG_MARK, Signal

cdef enum:
    GREEK_PAIRS = 4            # SIG_DELTA_GAMMA .. SIG_MARK

cdef struct GreekPair:
    double first               # as the signal's value and value2
    double second
    int64_t at_ns              # what its age counts from; 0: never told
    int64_t ttl_ns             # 0: it holds until the next
    uint64_t source            # as the signal's

cdef struct Greeks:
    GreekPair pair[GREEK_PAIRS]
    uint64_t taken             # signals that changed something, and that did not
    uint64_t ignored


cdef inline bint is_greek(int kind) noexcept nogil:
    return SIG_DELTA_GAMMA <= kind <= SIG_MARK


cdef inline bint greeks_on_signal(Greeks* self, const Signal* signal, int64_t t) noexcept nogil:
    # False: older than what is held, or its time was over before it came.
    cdef GreekPair* pair = &self.pair[<int>signal.kind - <int>SIG_DELTA_GAMMA]
    cdef int64_t at_ns = source_time(signal, t)
    if at_ns < pair.at_ns or past(at_ns, signal.ttl_ns, t):
        self.ignored += 1
        return False
    pair.first = signal.value
    pair.second = signal.value2
    pair.at_ns = at_ns
    pair.ttl_ns = signal.ttl_ns
    pair.source = signal.source
    self.taken += 1
    return True


cdef inline bint greeks_alive(const GreekPair* pair, int64_t t) noexcept nogil:
    return pair.at_ns != 0 and not past(pair.at_ns, pair.ttl_ns, t)
