# Rolling two-parameter recalibration of the curve from labels already resolved.
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
    int64_t noted              # of n, how many were written down

# Where in the ring the part of a window with that number lies; inside it for every number, below 0 too.
cdef inline int bucket_place(int64_t number) noexcept nogil:
    cdef int place = <int>(number % CALIBRATION_BUCKETS)
    return place + CALIBRATION_BUCKETS if place < 0 else place

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

# Another with the settings of like and no labels; NULL: no memory.
cdef Rolling* rolling_new(const Rolling* like) noexcept nogil
cdef void rolling_free(Rolling* self) noexcept nogil
cdef inline size_t rolling_bytes(const Rolling* self) noexcept nogil:
    return sizeof(Rolling) + self.grid.anchors * sizeof(AnchorLabels)
# Let time pass: what has come to the end of the window leaves it.
cdef void rolling_pass(Rolling* self, int64_t now_ns) noexcept nogil
# Is there a label in the window?
cdef inline bint rolling_any(const Rolling* self) noexcept nogil:
    cdef int j
    for j in range(self.grid.anchors):
        if self.anchor[j].total.n:
            return True
    return False
# The labels of that part are written down.
cdef void rolling_noted(Rolling* self, int64_t bucket) noexcept nogil
cdef int64_t rolling_hits(const Rolling* self, int place) noexcept nogil
# Labels of the part of the window with that number, as bytes that rolling_load takes; empty where there are none.
cdef bytes rolling_part(const Rolling* self, int64_t bucket)
# Put them there, as written down; false where they are there already, or that part has left the window. Only what
# checked_part gave.
cdef bint rolling_load(Rolling* self, int64_t bucket, bytes part) except -1
# One label: P at an anchor as the model gave it, before this calibration; time never goes back.
cdef void rolling_add(Rolling* self, int64_t now_ns, int place, double p, bint hit) noexcept nogil
# Refit the pairs, where that is due and labels came or left; true where that was done. They are in ``pair``.
cdef bint rolling_refit(Rolling* self, int64_t now_ns) noexcept nogil


cdef class RollingCalibration:
    cdef Rolling c
    cdef void _add_label(self, const int64_t[::1] at, const int8_t[::1] y, const double[:, ::1] curve,
                         int64_t place) noexcept nogil
