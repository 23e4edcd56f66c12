from libc.stdint cimport int64_t, uint32_t

from quotelife.book.level_book cimport LevelBook
from quotelife.features.state cimport FeatureQuery, FeatureState, SharedSignals


cdef class FeatureProbe:
    cdef FeatureState* state
    cdef SharedSignals* shared
    cdef LevelBook book
    cdef list drivers              # keeps the probes alive whose state this one reads
    cdef object signals_owner      # the probe whose shared signals these are
    cdef int _signal(self, int64_t t, int kind, double value, double value2, source_ns, int64_t ttl_ns, source,
                     bint to_all, uint32_t desk=*) except -1
