"""Counts and sums in 100 ms buckets over seconds and minutes: integers, O(1) an event, O(1) a bucket.

At t the window of n buckets covers the whole buckets (b − n, b], b = floor(t / 100 ms): the running bucket and
the n − 1 before it. An event exactly on a bucket's border belongs to the later bucket.
"""

from libc.stdint cimport int32_t, int64_t
from libc.stdlib cimport calloc, free
from libc.string cimport memset


cdef size_t buckets_bytes(int32_t longest, int channels) noexcept nogil:
    return <size_t>longest * channels * sizeof(int64_t)


cdef void buckets_init(BucketWindow* self, void* memory, int channels, const int32_t* lengths,
                       int tails) noexcept nogil:
    cdef int k
    memset(self, 0, sizeof(BucketWindow))
    self.slots = <int64_t*>memory
    self.channels = channels
    self.tails = tails
    for k in range(tails):
        self.length[k] = lengths[k]
    self.capacity = lengths[tails - 1]
    buckets_reset(self)


cdef void buckets_reset(BucketWindow* self) noexcept nogil:
    self.at = 0
    self.running = self.slots
    self.bucket = -(<int64_t>1 << 40)
    self.end_ns = -(<int64_t>1 << 62)
    memset(self.slots, 0, buckets_bytes(self.capacity, self.channels))
    memset(self.ended, 0, sizeof(self.ended))


cdef void buckets_roll(BucketWindow* self, int64_t t) noexcept nogil:
    cdef int64_t bucket = t // BUCKET_NS
    cdef int64_t* slot
    cdef int32_t leaving
    cdef int k, c
    if t < 0 and bucket * BUCKET_NS > t:
        bucket -= 1            # C division rounds towards zero
    if bucket - self.bucket >= self.capacity:
        memset(self.slots, 0, buckets_bytes(self.capacity, self.channels))
        memset(self.ended, 0, sizeof(self.ended))
        self.bucket = bucket
    while self.bucket < bucket:
        self.bucket += 1
        self.at = self.at + 1 if self.at + 1 < self.capacity else 0
        for k in range(self.tails):
            leaving = self.at - self.length[k]
            if leaving < 0:
                leaving += self.capacity
            slot = self.slots + <int64_t>leaving * self.channels
            for c in range(self.channels):
                self.ended[k][c] += self.running[c] - slot[c]
        self.running = self.slots + <int64_t>self.at * self.channels
        memset(self.running, 0, self.channels * sizeof(int64_t))
    self.end_ns = (bucket + 1) * BUCKET_NS


cdef class Buckets:
    """Python view, for tests and tools. ``lengths``: up to three ascending windows, in buckets of 100 ms."""

    def __cinit__(self, lengths, int channels=1):
        cdef int32_t length[BUCKET_TAILS]
        cdef int k
        if not 1 <= len(lengths) <= BUCKET_TAILS or list(lengths) != sorted(lengths) or lengths[0] < 1:
            raise ValueError(f"lengths must be 1 to {BUCKET_TAILS} positive numbers of buckets, ascending")
        if not 1 <= channels <= BUCKET_CHANNELS:
            raise ValueError(f"channels must be 1 to {BUCKET_CHANNELS}")
        for k in range(len(lengths)):
            length[k] = lengths[k]
        self.memory = calloc(1, buckets_bytes(length[len(lengths) - 1], channels))
        if self.memory == NULL:
            raise MemoryError()
        buckets_init(&self.c, self.memory, channels, length, len(lengths))

    def __dealloc__(self):
        free(self.memory)

    def add(self, int64_t t, int64_t value=1, int channel=0):
        """Add to the bucket of ``t`` ns; an earlier time than the last counts as the last."""
        if not 0 <= channel < self.c.channels:
            raise IndexError("no such channel")
        buckets_advance(&self.c, t)
        buckets_add(&self.c, channel, value)

    def advance(self, int64_t t):
        buckets_advance(&self.c, t)

    def reset(self):
        buckets_reset(&self.c)

    def sum(self, int tail=0, int channel=0):
        if not 0 <= tail < self.c.tails or not 0 <= channel < self.c.channels:
            raise IndexError("no such tail or channel")
        return buckets_sum(&self.c, tail, channel)
