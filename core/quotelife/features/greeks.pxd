# What the market says of an option beside its book: the last of each pair of values, and when it came. Packages and
# status read it; no feature does.
from libc.stdint cimport int64_t

from quotelife.records cimport SIG_DELTA_GAMMA, SIG_MARK, Signal

cdef enum:
    GREEK_PAIRS = 4            # SIG_DELTA_GAMMA .. SIG_MARK

cdef struct GreekPair:
    double first               # as the signal's value and value2
    double second
    int64_t source_ns
    int64_t at_ns              # local time of the signal; 0: never told

cdef struct Greeks:
    GreekPair pair[GREEK_PAIRS]


cdef inline bint is_greek(int kind) noexcept nogil:
    return SIG_DELTA_GAMMA <= kind <= SIG_MARK


cdef inline bint greeks_on_signal(Greeks* self, const Signal* signal, int64_t t) noexcept nogil:
    # One that its source made before the one held comes late and changes nothing: False.
    cdef GreekPair* pair = &self.pair[<int>signal.kind - <int>SIG_DELTA_GAMMA]
    if pair.at_ns != 0 and 0 < signal.source_ns < pair.source_ns:
        return False
    pair.first = signal.value
    pair.second = signal.value2
    pair.source_ns = signal.source_ns
    pair.at_ns = signal.receive_ns if 0 < signal.receive_ns < t else t
    return True
