# 128-bit accumulators: sums of products of ticks, lots and nanoseconds that never round and never drift.
cdef extern from *:
    """
    typedef __int128 quotelife_int128;
    """
    ctypedef long long int128_t "quotelife_int128"
