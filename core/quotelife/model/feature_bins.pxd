# Where the features of live decisions fall among the bins that a model's manifest says it was fitted on.
from libc.stdint cimport uint32_t, uint64_t

cdef enum:
    BIN_EDGES_MAX = 15
    BIN_CELLS = BIN_EDGES_MAX + 2      # of one feature; the last one: missing

cdef struct BinnedFeature:
    double edge[BIN_EDGES_MAX]         # rising; a value on an edge belongs below it
    int edges
    int feature
    bint per_sigma

# One decision: a count more for each feature, in cells of BIN_CELLS.
cdef void bins_count(const BinnedFeature* bins, int n, const double* x, const uint64_t* valid, double sigma_ticks,
                     uint32_t* counts) noexcept nogil
# Population stability index of one feature: counts against the shares expected; 0 where nothing was counted.
cdef double bins_psi(const double* expected, const uint32_t* counts) noexcept nogil


cdef class FeatureBins:
    cdef BinnedFeature* bins
    cdef readonly int features
    cdef readonly tuple names
    cdef object _pooled                # (features, BIN_CELLS)
    cdef dict _instruments             # by name, as _pooled
