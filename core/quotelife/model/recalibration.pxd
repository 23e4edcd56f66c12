# Rolling two-parameter recalibration of the curve from labels already resolved (SPEC 5).
from libc.stdint cimport int8_t, int32_t, int64_t

from quotelife.records cimport HORIZONS

cdef enum:
    CALIBRATION_BINS = 64      # of logit P
    CALIBRATION_BUCKETS = 60   # of the window
    ANCHORS_MAX = HORIZONS

cdef struct CalibrationPair:
    double a                   # logit P' = a + b logit P; 0 and 1 leave P as it is
    double b

cdef struct LabelCell:
    int64_t z                  # sum of logits in units of 2^-24: integers, so that what leaves the window leaves no trace
    int32_t n
    int32_t hits

cdef struct LabelBucket:
    LabelCell bin[CALIBRATION_BINS]
    int64_t n

cdef void bucket_add(LabelBucket* self, double p, bint hit) noexcept nogil
# What leaves the window: out of the total, and empty.
cdef void bucket_forget(LabelBucket* total, LabelBucket* bucket) noexcept nogil

cdef struct AnchorLabels:
    LabelBucket total
    LabelBucket bucket[CALIBRATION_BUCKETS]
    bint changed               # since the last fit

# Where between its anchors each horizon lies, in ln tau; beyond the first and the last the nearest pair holds.
cdef struct AnchorGrid:
    int anchors
    int horizon[ANCHORS_MAX]
    int low[HORIZONS]
    int high[HORIZONS]
    double share[HORIZONS]     # of high

# p[HORIZONS] in place, a curve before and after: never falls with tau, and falls with h where it fell before.
cdef void calibrate_curve(const AnchorGrid* grid, const CalibrationPair* pair, double* p) noexcept nogil


cdef struct Rolling:
    AnchorLabels* anchor       # one for each anchor
    AnchorGrid grid
    CalibrationPair pair[ANCHORS_MAX]
    int64_t window_ns
    int64_t refit_ns
    double ridge
    double a_max
    double b_min
    double b_max
    int64_t fits
    int64_t bucket_ns
    int64_t bucket             # newest one begun, of absolute time
    int64_t now_ns             # of the newest input
    int64_t fitted_ns
    bint began

# One label: P at an anchor as the model gave it, before this calibration; time never goes back.
cdef void rolling_add(Rolling* self, int64_t now_ns, int place, double p, bint hit) noexcept nogil
# Refit the pairs, where that is due and labels came or left; true where that was done. They are in ``pair``.
cdef bint rolling_refit(Rolling* self, int64_t now_ns) noexcept nogil


cdef class RollingCalibration:
    cdef Rolling c
    cdef void _add_label(self, const int64_t[::1] at, const int8_t[::1] y, const double[:, ::1] curve,
                         int64_t place) noexcept nogil
