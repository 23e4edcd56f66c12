"""The throttle on repeated decisions, what MiFID II RTS 6 article 15 calls repeated automated execution throttle.

A counterparty may have ``decisions_max`` decisions in any (t − window, t]. The next one trips the throttle, and with it
every decision until the release: after a pause, or by hand. Those that are not configured, and requests that name
nobody, count together: they cannot be told apart by a name that anybody may make up.
"""

from libc.stdint cimport INT64_MAX, int64_t, uint32_t
from libc.stdlib cimport calloc, free

from quotelife.config.checks import throttle_of
from quotelife.decision.kill import STRANGERS
from quotelife.units import format_duration_ns


cdef class Throttle:
    """Buckets for the counterparties of a configuration, in the order of their indices (sorted names)."""

    def __cinit__(self, config):
        cdef Bucket* bucket
        cdef uint32_t i
        names = (*sorted(config.counterparties), STRANGERS)
        self._counterparties = len(names) - 1
        self._bucket = <Bucket*>calloc(len(names), sizeof(Bucket))
        if self._bucket == NULL:
            raise MemoryError()
        for i, name in enumerate(names):
            bucket = &self._bucket[i]
            settings = throttle_of(config, None if name == STRANGERS else name)
            bucket.decisions_max = settings.decisions_max or 0
            bucket.window_ns = settings.window_ns
            bucket.pause_ns = settings.pause_ns
            bucket.manual = settings.release == "manual"
        self._names = names

    def __dealloc__(self):
        cdef uint32_t i
        if self._bucket != NULL:
            for i in range(self._counterparties + 1):
                free(self._bucket[i].at_ns)
        free(self._bucket)

    def follow(self, Throttle other not None):
        """Go on as ``other``, made of another configuration and asked nothing yet: a name whose limit stays keeps its
        count, every name its hold. ``other`` is of no more use."""
        cdef Bucket* old
        cdef Bucket* bucket
        place = {name: i for i, name in enumerate(self._names)}
        for i, name in enumerate(other._names):
            bucket = &other._bucket[<uint32_t>i]
            if name in place:
                old = &self._bucket[<uint32_t>place[name]]
                bucket.held_until_ns = old.held_until_ns
                if old.decisions_max == bucket.decisions_max:
                    bucket.at_ns, bucket.next, bucket.count = old.at_ns, old.next, old.count
                    old.at_ns = NULL
        self._bucket, other._bucket = other._bucket, self._bucket
        self._names, other._names = other._names, self._names
        self._counterparties, other._counterparties = other._counterparties, self._counterparties

    def release(self, name):
        """End a hold and forget the count; nothing happens where the name has none."""
        cdef Bucket* bucket
        if name in self._names:
            bucket = &self._bucket[<uint32_t>self._names.index(name)]
            bucket.held_until_ns = bucket.next = bucket.count = 0

    def paused(self, int64_t now_ns):
        """Names held until a pause ends by itself, sorted, with what tripped in words."""
        cdef uint32_t i
        found = []
        for i in range(self._counterparties + 1):
            if now_ns < self._bucket[i].held_until_ns < INT64_MAX:
                found.append((self._names[i], self.reason(i)))
        return found

    def reason(self, uint32_t counterparty):
        """What tripped, in words."""
        cdef const Bucket* bucket = &self._bucket[min(counterparty, self._counterparties)]
        return f"more than {bucket.decisions_max} decisions in {format_duration_ns(bucket.window_ns)}"

    def probe(self, counterparty, int64_t now_ns, bint counts=True):
        """One decision, for tests: 0 free, 1 held, 2 tripped."""
        return self.decided(self._counterparties if counterparty is None else counterparty, now_ns, counts)

    cdef Throttled decided(self, uint32_t counterparty, int64_t now_ns, bint counts) noexcept nogil:
        cdef Bucket* bucket = &self._bucket[min(counterparty, self._counterparties)]
        if bucket.decisions_max == 0:
            return THROTTLE_FREE
        if now_ns < bucket.held_until_ns:
            return THROTTLE_HELD
        if not counts:
            return THROTTLE_FREE
        if bucket.at_ns == NULL:
            bucket.at_ns = <int64_t*>calloc(bucket.decisions_max, sizeof(int64_t))
            if bucket.at_ns == NULL:
                return THROTTLE_HELD       # uncounted is unlimited
        if bucket.count == bucket.decisions_max and now_ns - bucket.at_ns[bucket.next] < bucket.window_ns:
            bucket.held_until_ns = INT64_MAX if bucket.manual else now_ns + bucket.pause_ns
            bucket.next = bucket.count = 0
            self.trips += 1
            return THROTTLE_TRIPPED
        bucket.at_ns[bucket.next] = now_ns
        bucket.next += 1
        if bucket.next == bucket.decisions_max:
            bucket.next = 0
        if bucket.count < bucket.decisions_max:
            bucket.count += 1
        return THROTTLE_FREE

    cdef bint is_manual(self, uint32_t counterparty) noexcept nogil:
        return self._bucket[min(counterparty, self._counterparties)].manual
