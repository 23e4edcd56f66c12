# Counts and sums in 100 ms buckets for windows too long to keep every event. The window of n buckets is
# (floor(t / 100 ms) - n, floor(t / 100 ms)]: whole buckets, the running one among them.
from libc.stdint cimport int32_t, int64_t

cdef enum:
    BUCKET_NS = 100000000
    BUCKET_TAILS = 3
    BUCKET_CHANNELS = 12

cdef struct BucketWindow:
    int64_t* slots             # capacity x channels; not owned
    int64_t* running           # the running bucket's
    int64_t bucket             # floor(t / BUCKET_NS) of the running bucket
    int64_t end_ns             # where the running bucket ends
    int32_t at                 # slot of the running bucket
    int32_t capacity           # buckets of the longest window
    int32_t channels
    int32_t tails
    int32_t length[BUCKET_TAILS]  # buckets of each window, ascending
    int64_t ended[BUCKET_TAILS][BUCKET_CHANNELS]   # sums over the buckets of each window but the running one

cdef size_t buckets_bytes(int32_t longest, int channels) noexcept nogil
# memory: buckets_bytes(longest window, channels) long
cdef void buckets_init(BucketWindow* self, void* memory, int channels, const int32_t* lengths, int tails) noexcept nogil
cdef void buckets_reset(BucketWindow* self) noexcept nogil
cdef void buckets_roll(BucketWindow* self, int64_t t) noexcept nogil

cdef inline void buckets_advance(BucketWindow* self, int64_t t) noexcept nogil:
    if t >= self.end_ns:
        buckets_roll(self, t)

cdef inline void buckets_add(BucketWindow* self, int channel, int64_t value) noexcept nogil:
    # Into the running bucket alone. The caller keeps the longest window's sum below 2^63.
    self.running[channel] += value

cdef inline int64_t buckets_sum(const BucketWindow* self, int tail, int channel) noexcept nogil:
    return self.ended[tail][channel] + self.running[channel]


cdef class Buckets:
    cdef BucketWindow c
    cdef void* memory
