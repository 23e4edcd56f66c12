# When a signal counts from, and until when.
from libc.stdint cimport int64_t

from quotelife.records cimport Signal


cdef inline int64_t source_time(const Signal* signal, int64_t t) noexcept nogil:
    # A stamp from the future, or none, counts from receipt, and that is engine time: a receive stamp may lie too.
    return signal.source_ns if 0 < signal.source_ns < t else t


cdef inline bint past(int64_t at_ns, int64_t ttl_ns, int64_t t) noexcept nogil:
    return ttl_ns > 0 and t - at_ns >= ttl_ns
